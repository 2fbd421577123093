// Conditional orders over real sockets and real PostgreSQL (INTERFACES.md 1.9, ORDERS.md R19).
import JSONText
import NIOHTTP1
import OrderEngine
import SmartOrders
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(3)))
struct `Conditional order routes` {
    private static let path = "/v1/conditional-orders"

    @Test func `one life: created once, read, listed, changed, cancelled`() async throws {
        try await withStoredAPI { api in
            // No tier is needed (INTERFACES.md 1.3).
            let tenant = try await api.tenant(tier: "FREE")
            let body = api.conditional(tenant.account)
            let created = try await api.send(.POST, Self.path, key: tenant.key, body: body, idempotency: "one")
            #expect(created.status == 201, "\(created.text)")
            #expect(created["ETag"] == "\"v1\"")
            let id = try #require(created.json["id"]?.text)
            #expect(created["Location"] == "\(Self.path)/\(id)")
            #expect(created.json["kind"]?.text == "CONDITIONAL")
            #expect(created.json["status"]?.text == "PENDING")
            #expect(created.json["condition"]?.text == "<=")
            #expect(created.json["band"]?["min"]?.text == "90.25")

            let again = try await api.send(.POST, Self.path, key: tenant.key, body: body, idempotency: "one")
            #expect(again.status == 201 && again.json["id"]?.text == id)
            #expect(again["Idempotency-Replayed"] == "true")

            let read = try await api.send(.GET, "\(Self.path)/\(id)", key: tenant.key)
            #expect(read.status == 200 && read.json["trigger"]?.text == "95")
            let list = try await api.send(.GET, Self.path + "?status=PENDING", key: tenant.key)
            #expect(Self.items(list).map { $0["id"]?.text } == [id])
            // It is no smart order.
            #expect(Self.items(try await api.send(.GET, "/v1/orders", key: tenant.key)).isEmpty)
            #expect(try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key).status == 404)

            let change = #"{"trigger": "90", "limit": "89"}"#
            let blind = try await api.send(.PATCH, "\(Self.path)/\(id)", key: tenant.key, body: change)
            #expect(blind.code == "IF_MATCH_REQUIRED")
            let changed = try await api.send(
                .PATCH,
                "\(Self.path)/\(id)",
                key: tenant.key,
                body: change,
                ifMatch: "\"v1\"",
            )
            #expect(changed.status == 200, "\(changed.text)")
            #expect(changed.json["trigger"]?.text == "90" && changed.json["limit"]?.text == "89")
            let late = try await api.send(.DELETE, "\(Self.path)/\(id)", key: tenant.key, ifMatch: "\"v1\"")
            #expect(late.status == 412 && late.json["current"]?["trigger"]?.text == "90", "\(late.text)")

            let gone = try await api.send(.DELETE, "\(Self.path)/\(id)", key: tenant.key, ifMatch: "*")
            #expect(gone.status == 202 && gone.json["status"]?.text == "CANCELLED", "\(gone.text)")
            #expect(gone.json["reason"]?.text == "USER_CANCEL")
            let over = try await api.send(.DELETE, "\(Self.path)/\(id)", key: tenant.key, ifMatch: "*")
            #expect(over.code == "ORDER_TERMINAL")

            let events = Self.items(try await api.send(.GET, "\(Self.path)/\(id)/events", key: tenant.key))
            #expect(events.map { $0["version"] } == [.number("1"), .number("2"), .number("3")])
            #expect(events.last?["conditionalOrder"]?["status"]?.text == "CANCELLED")
            #expect(events.last?["order"] == nil)
        }
    }

    @Test func `what a stranger asks for is not there`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let stranger = try await api.tenant()
            let body = api.conditional(tenant.account)
            let created = try await api.send(.POST, Self.path, key: tenant.key, body: body, idempotency: "k")
            let id = try #require(created.json["id"]?.text)
            for path in ["\(Self.path)/\(id)", "\(Self.path)/\(id)/events"] {
                #expect(try await api.send(.GET, path, key: stranger.key).status == 404)
            }
            let cancel = try await api.send(.DELETE, "\(Self.path)/\(id)", key: stranger.key, ifMatch: "*")
            #expect(cancel.status == 404)
            let edit = #"{"trigger": "90"}"#
            let change = try await api.send(
                .PATCH,
                "\(Self.path)/\(id)",
                key: stranger.key,
                body: edit,
                ifMatch: "\"v1\"",
            )
            #expect(change.status == 404)
            #expect(
                try await api.send(.POST, Self.path, key: stranger.key, body: body, idempotency: "s").status == 404
            )
        }
    }

    private static func items(_ answer: Answer) -> [JSONValue] {
        guard case .array(let items)? = answer.json["items"] else {
            Issue.record("\(answer.text)")
            return []
        }
        return items
    }
}
