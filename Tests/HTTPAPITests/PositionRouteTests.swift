// The take-profit and stop of a whole position over real sockets and real PostgreSQL (INTERFACES.md 1.9, ORDERS.md 5.2).
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import SmartOrders
import TestKit
import Testing

extension StoredRig {
    fileprivate func exits(
        _ tenant: Tenant,
        _ method: HTTPMethod,
        _ body: String? = nil,
        market: String = "paper:linear:DEMO",
        query: String = "",
        isNew: Bool = false,
        ifMatch: String? = nil,
        idempotency: String? = nil,
    ) async throws -> Answer {
        try await send(
            method,
            "/v1/accounts/\(tenant.account)/positions/\(market)/tpsl\(query)",
            key: tenant.key,
            headers: isNew ? [("If-None-Match", "*")] : [],
            body: body,
            idempotency: idempotency,
            ifMatch: ifMatch,
        )
    }

    /// Somebody who holds `quantity` at 100 and has no order; the price is 101.
    fileprivate func holder(_ quantity: Int) async throws -> Tenant {
        let tenant = try await tenant()
        venues[tenant.account].setPosition(ExactDecimal(quantity), average: Price(ExactDecimal(100)))
        return tenant
    }
}

private let both = #"{"takeProfit": {"price": "105"}, "stopLoss": {"price": "95"}}"#

@Suite(.serialized, .timeLimit(.minutes(3)))
struct `Routes of a position's exits` {
    @Test func `one life: set, read, updated leg by leg, removed, set again`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.holder(10)
            #expect(try await api.exits(tenant, .GET).status == 404)
            #expect(try await api.exits(tenant, .PUT, both).code == "IF_MATCH_REQUIRED")
            #expect(try await api.exits(tenant, .PUT, both, ifMatch: "*").code == "IF_MATCH_REQUIRED")
            #expect(try await api.exits(tenant, .PUT, both, ifMatch: "\"v1\"").status == 404)

            let created = try await api.exits(tenant, .PUT, both, isNew: true)
            #expect(created.status == 201 && created["ETag"] == "\"v1\"", "\(created.text)")
            let id = try #require(created.json["id"]?.text)
            #expect(created["Location"] == "/v1/orders/\(id)")
            #expect(created.json["kind"]?.text == "POSITION" && created.json["qty"]?.text == "10")
            #expect(created.json["side"]?.text == "BUY" && created.json["sizeMode"]?.text == "position")
            #expect(Self.levels(created) == ["105"] && created.json["stopLoss"]?["price"]?.text == "95")

            let twice = try await api.exits(tenant, .PUT, both, isNew: true)
            #expect(twice.status == 409 && twice.code == "POSITION_TPSL_EXISTS", "\(twice.text)")
            #expect(twice.json["orderId"]?.text == id)
            for query in ["", "?side=LONG"] {
                let read = try await api.exits(tenant, .GET, query: query)
                #expect(read.json["id"]?.text == id && read["ETag"] == "\"v1\"")
            }
            #expect(try await api.exits(tenant, .GET, query: "?side=SHORT").status == 404)
            #expect(try await api.exits(tenant, .GET, query: "?side=BUY").code == "BAD_QUERY")

            let tighter = try await api.exits(tenant, .PUT, #"{"stopLoss": {"price": "96"}}"#, ifMatch: "\"v1\"")
            #expect(tighter.status == 200 && tighter["ETag"] == "\"v2\"", "\(tighter.text)")
            #expect(Self.levels(tighter) == ["105"] && tighter.json["stopLoss"]?["price"]?.text == "96")
            let alone = try await api.exits(tenant, .PUT, #"{"takeProfit": null}"#, ifMatch: "\"v2\"")
            #expect(alone.status == 200 && Self.levels(alone) == [], "\(alone.text)")
            let bare = try await api.exits(tenant, .PUT, #"{"stopLoss": null}"#, ifMatch: "\"v3\"")
            #expect(bare.status == 422 && bare.code == "NO_EXIT", "\(bare.text)")
            let trailing = #"{"takeProfit": {"pricePct": "8"}, "trailing": {"callbackRate": "0.02"}}"#
            let follows = try await api.exits(tenant, .PUT, trailing, ifMatch: "\"v3\"")
            #expect(follows.status == 200 && Self.levels(follows) == ["108"], "\(follows.text)")
            let late = try await api.exits(tenant, .PUT, both, ifMatch: "\"v1\"")
            #expect(late.status == 412 && late.json["current"]?["id"]?.text == id, "\(late.text)")
            #expect(try await api.exits(tenant, .DELETE, ifMatch: "\"v1\"").status == 412)

            let gone = try await api.exits(tenant, .DELETE, ifMatch: "*")
            #expect(gone.status == 202 && gone.json["status"]?.text == "CANCELLED", "\(gone.text)")
            #expect(gone.json["closeReason"]?.text == "USER_CANCEL")
            #expect(try await api.exits(tenant, .DELETE, ifMatch: "*").status == 404)
            let again = try await api.exits(tenant, .PUT, both, isNew: true)
            #expect(again.status == 201 && again.json["id"]?.text != id, "\(again.text)")
        }
    }

    @Test func `of many at once one is created`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.holder(10)
            let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
                for _ in 0..<24 {
                    group.addTask { try await api.exits(tenant, .PUT, both, isNew: true) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.count { $0.status == 201 } == 1)
            #expect(answers.filter { $0.status != 201 }.allSatisfy { $0.code == "POSITION_TPSL_EXISTS" })
            // Nor can another order become a second one.
            let other = try await api.create(tenant, ["entry": #"{"mode": "limit", "price": "100"}"#])
            let change = try await api.act(tenant, other, .PATCH, "", #"{"sizeMode": "position"}"#)
            #expect(change.status == 409 && change.code == "POSITION_TPSL_EXISTS", "\(change.text)")
        }
    }

    @Test func `all of a position is meant, also where another order manages a part`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.holder(-10)
            let short = [
                "side": "\"SELL\"", "qty": "\"4\"", "stopLoss": #"{"price": "110"}"#, "takeProfits": "",
            ]
            _ = try await api.create(tenant, short)
            let body = #"{"takeProfit": {"price": "95"}, "stopLoss": {"price": "105"}}"#
            let created = try await api.exits(tenant, .PUT, body, isNew: true)
            #expect(created.status == 201, "\(created.text)")
            #expect(created.json["side"]?.text == "SELL" && created.json["qty"]?.text == "10")
        }
    }

    @Test func `a request that is repeated has the same answer, whatever became of the position`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.holder(10)
            let first = try await api.exits(tenant, .PUT, both, isNew: true, idempotency: "one")
            api.venues[tenant.account].setPosition(.zero)
            let again = try await api.exits(tenant, .PUT, both, isNew: true, idempotency: "one")
            #expect(first.status == 201 && again.status == 201, "\(again.text)")
            #expect(again.json["id"] == first.json["id"] && again["Idempotency-Replayed"] == "true")
        }
    }

    @Test func `without a position, a market or a venue it says so`() async throws {
        try await withStoredAPI { api in
            let nothing = try await api.exits(try await api.holder(0), .PUT, both, isNew: true)
            #expect(nothing.status == 422 && nothing.code == "NO_POSITION", "\(nothing.text)")
            let long = try await api.exits(try await api.holder(10), .PUT, both, query: "?side=SHORT", isNew: true)
            #expect(long.code == "NO_POSITION", "\(long.text)")
            let away = try await api.exits(try await api.tenant(), .PUT, both, isNew: true)
            #expect(away.status == 503 && away.code == "VENUE_UNAVAILABLE", "\(away.text)")
            let tenant = try await api.holder(10)
            let nowhere = try await api.exits(tenant, .PUT, both, market: "paper:linear:NONE", isNew: true)
            #expect(nowhere.code == "INSTRUMENT_UNKNOWN", "\(nowhere.text)")
            let empty = try await api.exits(tenant, .PUT, "{}", isNew: true)
            #expect(empty.code == "NO_EXIT", "\(empty.text)")
            let sized = #"{"takeProfit": {"price": "105", "sizePct": "50"}}"#
            #expect(try await api.exits(tenant, .PUT, sized, isNew: true).code == "UNKNOWN_FIELD")
            let mixed = try await api.exits(tenant, .PUT, both, isNew: true, ifMatch: "\"v1\"")
            #expect(mixed.code == "BAD_HEADER", "\(mixed.text)")
        }
    }

    private static func levels(_ answer: Answer) -> [String?] {
        guard case .array(let levels)? = answer.json["takeProfits"] else { return ["none"] }
        return levels.map { $0["price"]?.text }
    }
}
