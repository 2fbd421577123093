// Conditional orders over real sockets and real PostgreSQL (INTERFACES.md 1.9, ORDERS.md R19).
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import Simulation
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
            for path in ["\(Self.path)/\(id)", "\(Self.path)/\(id)/events", "\(Self.path)/\(id)/explain"] {
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

    @Test func `who waits is told when it has settled, or that it has not`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            func create(_ key: String) async throws -> String {
                let body = api.conditional(tenant.account)
                let created = try await api.send(.POST, Self.path, key: tenant.key, body: body, idempotency: key)
                return try #require(created.json["id"]?.text)
            }
            func cancel(_ id: String) async throws -> Answer {
                try await api.send(
                    .DELETE,
                    "\(Self.path)/\(id)",
                    key: tenant.key,
                    headers: [("Prefer", "wait=1")],
                    ifMatch: "*",
                )
            }
            let (waiting, fired) = (try await create("a"), try await create("b"))
            let gone = try await cancel(waiting)
            #expect(gone.status == 200 && gone["Preference-Applied"] == "wait=1", "\(gone.text)")
            #expect(gone.json["status"]?.text == "CANCELLED")
            // Its order is asked for at the venue, and nobody is there to ask.
            try await api.price(9_390_000_000)
            try await Self.fire(fired, api)
            let late = try await cancel(fired)
            #expect(late.status == 202 && late["Preference-Applied"] == nil, "\(late.text)")
            #expect(late.json["status"]?.text == "TRIGGERED")
        }
    }

    @Test func `why it fired, and how near it was before`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let created = try await api.send(
                .POST,
                Self.path,
                key: tenant.key,
                body: api.conditional(tenant.account),
                idempotency: "k",
            )
            let id = try #require(created.json["id"]?.text)
            try await api.price(9_530_000_000)
            let refused = try await api.send(
                .PATCH,
                "\(Self.path)/\(id)",
                key: tenant.key,
                body: #"{"trigger": "99"}"#,
                ifMatch: "\"v1\"",
            )
            #expect(refused.code == "TRIGGER_WRONG_SIDE" && refused.json["reference"] == "95.3", "\(refused.text)")
            let changed = try await api.send(
                .PATCH,
                "\(Self.path)/\(id)",
                key: tenant.key,
                headers: [("X-Request-Id", "mine")],
                body: #"{"trigger": "94"}"#,
                ifMatch: "\"v1\"",
            )
            #expect(changed.status == 200, "\(changed.text)")
            try await api.price(9_450_000_000)

            let waits = try await api.send(.GET, "\(Self.path)/\(id)/explain", key: tenant.key)
            #expect(waits.status == 200, "\(waits.text)")
            let answer = try #require(Self.list(waits.json["notFired"]).first)
            #expect(answer["leg"] == "COND" && answer["reason"] == "NOT_REACHED", "\(waits.text)")
            #expect(answer["needed"] == "<= 94" && answer["closest"] == "94.5" && answer["missedByTicks"] == 5)
            let earlier = try #require(Self.list(answer["earlier"]).first)
            #expect(earlier["needed"] == "<= 95" && earlier["closest"] == "95.3" && earlier["coverage"] == "ticks")

            try await api.price(9_390_000_000)
            try await Self.fire(id, api)
            let fired = try await api.send(.GET, "\(Self.path)/\(id)/explain", key: tenant.key)
            #expect(
                Self.list(fired.json["timeline"]).map { $0["kind"]?.text } == ["ARMED", "REFUSED", "CHANGED", "FIRED"]
            )
            let entry = try #require(Self.list(fired.json["timeline"]).last)
            #expect(entry["text"] == "Mark 93.9 was at or below the trigger 94.0.", "\(fired.text)")
            #expect(entry["rule"]?["threshold"] == "94" && entry["rule"]?["basis"]?["sinceVersion"] == 2)
            #expect(entry["order"]?["limitPrice"] == "84.6" && entry["tick"]?["price"] == "93.9")
            #expect(Self.list(fired.json["timeline"])[2]["requestId"] == "mine")
            #expect(Self.list(fired.json["notFired"]).map { $0["reason"] } == ["LATCHED_WAITING_VENUE"])

            let some = try await api.send(.GET, "\(Self.path)/\(id)/explain?leg=cond", key: tenant.key)
            #expect(Self.list(some.json["timeline"]).count == 1)
            // The other kind's address does not know it.
            #expect(try await api.send(.GET, "/v1/orders/\(id)/explain", key: tenant.key).status == 404)
            let smart = try await api.create(tenant, ["stopLoss": #"{"price": "90"}"#])
            #expect(try await api.send(.GET, "\(Self.path)/\(smart)/explain", key: tenant.key).status == 404)

            let store = PostgresTimelineStore(pool: api.pool)
            var before: StoredOrder?
            let order = try #require(OrderID(id))
            for version in try await store.versions(of: order, after: 0, limit: 10) {
                let steps = try DecisionReplay.steps(of: version, before: before)
                #expect(steps?.last?.after == version.order, "version \(version.version)")
                before = version.order
            }
            #expect(before?.version == 3)
        }
    }

    /// What a worker does with the newest price, up to its commit.
    private static func fire(_ id: String, _ api: StoredRig) async throws {
        let order = try #require(OrderID(id))
        let row = try #require(try await api.orders.load([order]).first)
        let series = PriceSeries(market: row.instrument.market, source: row.triggerSource)
        let newest = try #require(try await api.ticks.latest(series))
        let price = Price(units: newest.price, decimals: row.instrument.priceDecimals)
        var transition = Transition(row)
        let moment = Moment(now: row.updatedAt, price: price, position: newest.position)
        let isFired = try transition.apply(.trigger(.conditional, attempt: 1), at: moment)
        #expect(isFired)
        transition.reach(newest.position)
        let commit = transition.commit(
            id: 7,
            cause: .tick,
            actor: Actor(kind: .worker, id: "w-1"),
            tick: Tick(
                market: series.market,
                source: series.source,
                price: price,
                position: newest.position,
            ),
        )
        #expect(try await api.orders.commit([commit])[0].isCommitted)
    }

    @Test func `a preview warns, and says what an action means`() async throws {
        try await withStoredAPI(isLiveEnabled: true) { api in
            let tenant = try await api.tenant(mode: .live)
            func preview(_ path: String, _ body: String) async throws -> JSONValue {
                let answer = try await api.send(.POST, Self.path + path + "/preview", key: tenant.key, body: body)
                #expect(answer.status == 200, "\(answer.text)")
                return answer.json
            }
            func create(_ changes: [String: String] = [:]) async throws -> JSONValue {
                try await preview("", api.conditional(tenant.account, changes))
            }
            // However slow the machine is: the price is of this moment, if the next line comes within two seconds.
            func createNow() async throws -> JSONValue {
                try await eventually("a price that is young enough") { () -> JSONValue? in
                    try await api.price(101 * 100_000_000)
                    let made = try await create()
                    guard !"\(made)".contains("FEED_STALE") else { return nil }
                    return made
                }
            }
            let first = try await createNow()
            #expect(first["warnings"] == ["FIRST_LIVE_ORDER"], "\(first)")
            let leg = try #require(Self.list(first["legs"]).first)
            #expect(
                leg["price"] == "95" && leg["qty"] == "10" && leg["venuePrice"] == "85.5" && leg["notional"] == "950"
            )
            #expect(first["worstAcceptedPrice"] == "85.5" && first["consequences"] == [])

            let created = try await api.send(
                .POST,
                Self.path,
                key: tenant.key,
                body: api.conditional(tenant.account),
                idempotency: "k",
            )
            let id = try #require(created.json["id"]?.text)
            #expect(try await createNow()["warnings"] == [])
            var narrow = Instrument.sample()
            narrow = Instrument(
                market: narrow.market,
                kind: narrow.kind,
                tickSize: narrow.tickSize,
                stepSize: narrow.stepSize,
                minQuantity: Quantity(ExactDecimal(6)),
                baseAsset: narrow.baseAsset,
                quoteAsset: narrow.quoteAsset,
                bandRule: PriceBandRule(
                    low: Rate(ExactDecimal(mantissa: 95, scale: 2)),
                    high: Rate(ExactDecimal(mantissa: 105, scale: 2)),
                ),
            )
            try await api.accounts.save([narrow])
            let clamped = try await createNow()
            #expect(clamped["warnings"] == ["STOP_OUTSIDE_VENUE_BAND", "LEVEL_NEAR_MIN"], "\(clamped)")
            #expect(clamped["worstAcceptedPrice"] == "90.3")

            let cancel = try await preview("/\(id)", #"{"action": "cancel"}"#)
            #expect(Self.list(cancel["consequences"]).map { $0["code"] } == ["TRIGGER_REMOVED"], "\(cancel)")
            #expect(Self.list(cancel["consequences"]).first?["orderId"]?.text == id)
            let edit = try await preview("/\(id)", #"{"action": "edit", "trigger": "94"}"#)
            let moves = try #require(Self.list(edit["consequences"]).first)
            #expect(moves["code"] == "TRIGGER_MOVES" && moves["from"] == "95" && moves["to"] == "94", "\(edit)")
            let same = try await preview("/\(id)", #"{"action": "edit", "trigger": "95"}"#)
            #expect(Self.list(same["consequences"]).map { $0["code"] } == ["NOTHING_TO_DO"])
            let wrong = try await preview("/\(id)", #"{"action": "edit", "trigger": "101"}"#)
            #expect(wrong["accepted"] == false && wrong["order"] == .null)
            #expect(Self.list(wrong["errors"]).first?["reference"] == "101", "\(wrong)")
            // Nothing of it was stored.
            #expect(try await api.send(.GET, "\(Self.path)/\(id)", key: tenant.key)["ETag"] == "\"v1\"")
        }
    }

    private static func list(_ value: JSONValue?) -> [JSONValue] {
        if case .array(let elements)? = value { elements } else { [] }
    }

    private static func items(_ answer: Answer) -> [JSONValue] {
        guard case .array(let items)? = answer.json["items"] else {
            Issue.record("\(answer.text)")
            return []
        }
        return items
    }
}
