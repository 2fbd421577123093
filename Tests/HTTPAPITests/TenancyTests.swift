import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// Two traders, and every route of the table: nobody reaches what belongs to the other (RELIABILITY.md 10.4).
@Suite(.serialized, .timeLimit(.minutes(3)))
struct `Tenants are apart` {
    /// What a route needs to get as far as its handler.
    private static let bodies: [String: String] = [
        "/v1/orders/{id}/add-funds": #"{"qty": "1"}"#, "/v1/orders/{id}/reduce-funds": #"{"qty": "1"}"#,
        "/v1/orders/{id}/note": #"{"note": "mine now"}"#, "/v1/orders/{id}/preview": #"{"action": "close"}"#,
        "/v1/presets/{id}": #"{"name": "p", "draft": {"side": "BUY", "entry": {"mode": "market"}}}"#,
        "/v1/accounts/{id}/credentials": #"{"key": "k", "secret": "s"}"#,
        "/v1/accounts/{id}/mode": #"{"mode": "PAPER", "confirm": "a"}"#, "/v1/accounts/{id}/halt": #"{"reason": "r"}"#,
        "/v1/accounts/{id}/preview": #"{"action": "cancelAll"}"#,
        "/v1/conditional-orders/{id}/preview": #"{"action": "cancel"}"#,
    ]

    @Test func `a stranger finds nothing, and the same nothing for what exists and what does not`() async throws {
        try await withStoredAPI { api in
            let owner = try await api.tenant()
            let stranger = try await api.tenant()
            let order = try await api.create(owner)
            let conditional = try await api.send(
                .POST,
                "/v1/conditional-orders",
                key: owner.key,
                body: api.conditional(owner.account),
                idempotency: "c",
            )
            let shared = try await api.act(owner, order, .POST, "/share", "{}")
            let share = try #require(shared.json["id"]?.text)
            let batch = try await api.send(
                .POST,
                "/v1/accounts/\(owner.account)/cancel-all",
                key: owner.key,
                body: #"{"kinds": ["POSITION"]}"#,
                idempotency: "b",
            )
            let keys = try await api.send(.GET, "/v1/keys", key: owner.key)
            guard case .array(let list)? = keys.json["items"], let key = list.first?["id"]?.text else {
                Issue.record("\(keys.text)")
                return
            }
            let preset = try await api.send(
                .POST,
                "/v1/presets",
                key: owner.key,
                body: Self.bodies["/v1/presets/{id}"],
                idempotency: "p",
            )
            let webhook = try await api.send(
                .POST,
                "/v1/webhooks",
                key: owner.key,
                body: #"{"url": "https://example.com/hook"}"#,
                idempotency: "w",
            )
            let hook = try await api.send(
                .POST,
                "/v1/hooks",
                key: owner.key,
                body: #"{"accountId": "\#(owner.account)", "action": "close", "orderId": "\#(order)"}"#,
                idempotency: "h",
            )
            // An id of each kind that is the owner's, and one that is nobody's.
            let owned = [
                "orders": order, "accounts": "\(owner.account)", "shares": share,
                "conditional-orders": try #require(conditional.json["id"]?.text),
                "batches": try #require(batch.json["id"]?.text), "keys": key,
                "presets": try #require(preset.json["id"]?.text),
                "webhooks": try #require(webhook.json["id"]?.text), "hooks": try #require(hook.json["id"]?.text),
            ]
            let nobody = "01980000-0000-7000-8000-00000000ffff"
            var walked = 0
            for route in api.server.routes where route.pattern.contains("{") && route.scope != nil {
                let kind = String(route.pattern.split(separator: "/")[1])
                guard let id = owned[kind] else { continue }
                walked += 1
                var answers: [Answer] = []
                for target in [id, nobody, "nonsense"] {
                    let path = route.pattern.replacing("{id}", with: target).replacing("{token}", with: target)
                        .replacing("{level}", with: "1").replacing("{market}", with: "paper:linear:DEMO")
                        .replacing("{delivery}", with: target)
                    answers.append(
                        try await api.send(
                            HTTPMethod(rawValue: route.method),
                            path,
                            key: stranger.key,
                            headers: [("X-Request-Id", "r")],
                            body: route.hasBody ? Self.bodies[route.pattern] ?? "{}" : nil,
                            idempotency: "k\(walked)",
                            ifMatch: "\"v1\"",
                        )
                    )
                }
                #expect(
                    answers.map(\.status) == [404, 404, 404],
                    "\(route.method) \(route.pattern): \(answers[0].text)",
                )
                // The same body but for the address asked.
                let texts = zip(answers, [id, nobody, "nonsense"]).map { $0.text.replacing($1, with: "?") }
                #expect(Set(texts).count == 1, "\(route.method) \(route.pattern): \(texts)")
            }
            #expect(walked >= 36, "\(walked) routes")

            // What names an account otherwise.
            for target in [
                "/v1/orders?account=\(owner.account)", "/v1/orders/counts?account=\(owner.account)",
                "/v1/events?account=\(owner.account)",
            ] {
                let answer = try await api.send(
                    .GET,
                    target,
                    key: stranger.key,
                    headers: [("Accept", "application/json")],
                )
                #expect(answer.status == 404, "\(target): \(answer.text)")
            }
            for path in [
                "/v1/orders", "/v1/orders/preview", "/v1/conditional-orders", "/v1/conditional-orders/preview",
            ] {
                let isSmart = path.hasPrefix("/v1/orders")
                let answer = try await api.send(
                    .POST,
                    path,
                    key: stranger.key,
                    body: isSmart ? api.draft(owner.account) : api.conditional(owner.account),
                    idempotency: "x\(path)",
                )
                #expect(answer.status == 404, "\(path): \(answer.text)")
            }
            let widened = try await api.send(
                .POST,
                "/v1/keys",
                key: stranger.key,
                body: #"{"scopes": ["read"], "accountIds": ["\#(owner.account)"]}"#,
                idempotency: "w",
            )
            #expect(widened.status == 404, "\(widened.text)")
            // Lists show nothing of the other.
            for target in [
                "/v1/orders", "/v1/conditional-orders", "/v1/shares", "/v1/keys", "/v1/accounts", "/v1/me",
                "/v1/webhooks", "/v1/hooks",
            ] {
                let answer = try await api.send(.GET, target, key: stranger.key)
                #expect(answer.status == 200)
                for id in owned.values + ["\(owner.user)"] {
                    #expect(!answer.text.contains(id), "\(target) shows \(id)")
                }
            }
            // Nothing of it changed anything.
            let rows = try await api.orders.load([try #require(OrderID(order))])
            #expect(rows.first?.version == 1)
            #expect(try await api.send(.GET, "/v1/orders/\(order)", key: owner.key).json["note"] == .null)
        }
    }

    @Test func `the database alone keeps tenants apart`() async throws {
        try await withStoredAPI { api in
            let owner = try await api.tenant()
            let stranger = try await api.tenant()
            let text = try await api.create(owner)
            let id = try #require(OrderID(text))
            let shared = try await api.act(owner, text, .POST, "/share", "{}")
            let share = try #require(shared.json["id"]?.text.flatMap { UniqueID($0) })
            _ = try await api.act(owner, text, .PUT, "/note", #"{"note": "mine"}"#)
            let order = try #require(try await api.orders.load([id]).first?.smart)
            let store = api.seenOrders
            // No handler, and statements that name the owner's ids and account: only the database is left to refuse.
            for accounts in [nil, [], [stranger.account]] as [[AccountID]?] {
                try await Tenancy.$accounts.withValue(accounts) {
                    #expect(try await store.load([id]).isEmpty)
                    #expect(try await store.current(id, of: [owner.account]) == nil)
                    #expect(try await store.current(id, of: accounts ?? []) == nil)
                    #expect(try await store.list(OrderFilter(account: owner.account)).isEmpty)
                    #expect(
                        try await store.live(account: owner.account, market: order.instrument.market, limit: 10).isEmpty
                    )
                    #expect(try await store.events(order: id, after: 0, limit: 10).isEmpty)
                    #expect(try await store.events(account: owner.account, after: 0, limit: 10).isEmpty)
                    #expect(try await store.fills(order: id).isEmpty)
                    #expect(try await store.intents(of: [id], ended: true).isEmpty)
                    #expect(try await api.seenTimeline.versions(of: id, after: 0, limit: 10).isEmpty)
                    #expect(try await api.traders.notes(of: [id]).isEmpty)
                    #expect(try await api.traders.shares(of: [owner.account]).isEmpty)
                    #expect(try await !api.traders.revokeShare(share, of: [owner.account]))
                    #expect(try await api.traders.openOrders(of: owner.account, market: nil).isEmpty)
                    #expect(try await api.traders.counts(of: [owner.account]).isEmpty)
                    do throws(StoreError) {
                        try await api.traders.setNote("theirs", order: id, account: owner.account)
                        Issue.record("a stranger wrote a note")
                    } catch {}
                    let outcome = try await store.commit([.sample(.smart(order.next()))]).first
                    if case .committed = outcome { Issue.record("a stranger's commit took effect") }
                }
            }
            try await Tenancy.$accounts.withValue([owner.account]) {
                let (seen, notes) = (try await store.load([id]), try await api.traders.notes(of: [id]))
                #expect(seen.first?.version == 1)
                #expect(notes == [id: "mine"])
                #expect(try await api.traders.shares(of: [owner.account]).count == 1)
            }
            // Venue keys are not for an API process, whoever asks.
            let own: [AccountID]? = [owner.account]
            await Tenancy.$accounts.withValue(own) {
                do throws(PostgresError) {
                    _ = try await api.seenPool.query(Statement(sql: "SELECT sealed FROM credentials"))
                    Issue.record("a venue key can be read")
                } catch {
                    #expect(error.sqlState == "42501")
                }
            }
            #expect(try await api.orders.load([id]).first?.version == 1)
        }
    }

    @Test func `every table with an account in it is guarded`() async throws {
        try await withStoredAPI { api in
            let rows = try await api.pool.query(
                Statement(
                    sql: """
                        SELECT c.relname::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
                        WHERE c.relkind = 'r' AND a.attname = 'account_id' AND c.relnamespace = 'public'::regnamespace
                            AND NOT (c.relrowsecurity AND c.relforcerowsecurity) ORDER BY 1
                        """
                )
            )
            #expect(try rows.map { try $0.string(0) } == [])
        }
    }

    @Test func `without a key nothing but the open routes answers`() async throws {
        try await withStoredAPI { api in
            for route in api.server.routes where route.scope != nil {
                let path = route.pattern.replacing("{level}", with: "1").replacing("{", with: "").replacing(
                    "}",
                    with: "",
                )
                let answer = try await api.send(HTTPMethod(rawValue: route.method), path, key: nil)
                #expect(answer.status == 401, "\(route.method) \(route.pattern)")
            }
        }
    }

    @Test func `a key that only reads changes nothing`() async throws {
        try await withStoredAPI { api in
            let reader = try await api.tenant(scopes: "read")
            for route in api.server.routes where route.scope == "trade" {
                let path = route.pattern.replacing("{id}", with: "\(reader.account)").replacing("{level}", with: "1")
                    .replacing("{market}", with: "paper:linear:DEMO").replacing("{delivery}", with: "1")
                let answer = try await api.send(HTTPMethod(rawValue: route.method), path, key: reader.key)
                #expect(answer.status == 403, "\(route.method) \(route.pattern): \(answer.text)")
                #expect(answer.code == "SCOPE_REQUIRED")
                #expect(answer.json["required"]?.text == "trade")
            }
        }
    }

    @Test func `a thousand creates with a hundred keys make a hundred orders`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            try await api.sql("UPDATE accounts SET maximum_conditionals = 10000 WHERE id = '\(tenant.account)'")
            let answers = try await withThrowingTaskGroup(of: (Int, Answer).self) { group in
                for number in 0..<1_000 {
                    group.addTask {
                        let key = number % 100
                        let body = api.draft(tenant.account, ["qty": "\"\(key + 1)\""])
                        return (
                            key,
                            try await api.send(
                                .POST,
                                "/v1/orders",
                                key: tenant.key,
                                body: body,
                                idempotency: "k\(key)",
                            ),
                        )
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(Set(answers.map(\.1.status)) == [201], "\(Set(answers.map(\.1.text)).prefix(3))")
            var ids: [Int: Set<String>] = [:]
            for (key, answer) in answers { ids[key, default: []].insert(answer.json["id"]?.text ?? "") }
            #expect(ids.values.allSatisfy { $0.count == 1 })
            #expect(Set(ids.values.joined()).count == 100)
            #expect(answers.count { $0.1["Idempotency-Replayed"] == nil } == 100)
            let counts = try await api.send(.GET, "/v1/orders/counts", key: tenant.key)
            #expect(counts.json["active"]?.int64 == 100)
        }
    }
}
