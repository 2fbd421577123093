import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// INTERFACES.md 4.12 on PostgreSQL, with the sessions that an API process has for operators.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct `Operators` {
    private func post(
        _ api: StoredRig,
        _ path: String,
        _ tenant: Tenant,
        _ body: String = #"{"reason": "drill"}"#,
        key: String = "k",
    ) async throws -> Answer {
        try await api.send(.POST, "/v1/admin\(path)", key: tenant.key, body: body, idempotency: key)
    }

    private func boss(_ api: StoredRig) async throws -> Tenant {
        try await api.tenant(scopes: "read,trade,operate,admin", roles: "OPERATOR,ADMIN")
    }

    private func lines(_ api: StoredRig) async throws -> [String] {
        try await api.pool.query(
            Statement(sql: "SELECT concat_ws(' ', via, action, subject, reason) FROM audit ORDER BY id")
        ).map { try $0.string(0) }
    }

    @Test func `every route asks for its scope and its role`() async throws {
        try await withStoredAPI { api in
            let trader = try await api.tenant()
            let former = try await api.tenant(scopes: "read,operate,admin", roles: "TRADER")
            let viewer = try await api.tenant(scopes: "read", roles: "VIEWER")
            let routes = api.server.routes.filter { $0.pattern.hasPrefix("/v1/admin") }
            #expect(routes.count >= 35)
            for route in routes {
                let path = route.pattern.replacing("{id}", with: "cluster")
                func ask(_ tenant: Tenant) async throws -> Answer {
                    try await api.send(
                        HTTPMethod(rawValue: route.method),
                        path,
                        key: tenant.key,
                        body: route.hasBody ? #"{"reason": "drill"}"# : nil,
                        idempotency: "k",
                    )
                }
                let plain = try await ask(trader)
                #expect(plain.status == 403, "\(route.method) \(path): \(plain.text)")
                #expect(["SCOPE_REQUIRED", "ROLE_REQUIRED"].contains(plain.code))
                // A key keeps the scopes that it was made with; the role that bounds them counts now.
                let past = try await ask(former)
                #expect(past.code == "ROLE_REQUIRED", "\(route.method) \(path): \(past.text)")
                let watched = try await ask(viewer)
                if route.scope == "read" {
                    #expect(watched.status == 200 || watched.status == 404, "\(path): \(watched.text)")
                } else {
                    #expect(watched.status == 403, "\(route.method) \(path): \(watched.text)")
                }
            }
            #expect(try await lines(api).isEmpty)
        }
    }

    @Test func `what operators read is everybody's, and no secret`() async throws {
        try await withStoredAPI { api in
            let boss = try await boss(api)
            let tenant = try await api.tenant()
            let order = try await api.create(tenant)
            for (path, word) in [
                ("/accounts", "\(tenant.account)"), ("/orders", order), ("/users", "\(tenant.user)"),
                ("/keys", "label"),
                ("/overview", "openOrders"), ("/stores", "schemaVersion"), ("/recovery", "incarnation"),
                ("/leader", "epoch"), ("/shards", "\"shard\":1023"), ("/workers", "items"), ("/feeds", "items"),
                ("/feeds/gaps", "items"), ("/outbox", "items"), ("/webhooks/dead", "items"), ("/halts", "items"),
                ("/attention", "items"), ("/audit", "items"), ("/batches", "items"),
            ] {
                let answer = try await api.send(.GET, "/v1/admin\(path)", key: boss.key)
                #expect(answer.status == 200, "\(path): \(answer.text)")
                #expect(answer.text.contains(word), "\(path): \(answer.text)")
                #expect(!answer.text.contains(APIKey.hash(tenant.key)))
            }
            let one = try await api.send(.GET, "/v1/admin/accounts?subject=\(tenant.account)", key: boss.key)
            guard case .array(let items)? = one.json["items"] else {
                Issue.record("\(one.text)")
                return
            }
            #expect(items.count == 1)
            #expect(items.first?["openOrders"]?.int64 == 1)
        }
    }

    @Test func `a halt holds at once, is told, and ends in two steps`() async throws {
        try await withStoredAPI { api in
            let boss = try await boss(api)
            let tenant = try await api.tenant()
            let webhook = try await api.send(
                .POST,
                "/v1/webhooks",
                key: tenant.key,
                body: #"{"url": "https://example.com/a", "types": ["account.halted", "account.resumed"]}"#,
                idempotency: "w",
            )
            #expect(webhook.status == 201, "\(webhook.text)")
            let nowhere = try await post(
                api,
                "/halts",
                boss,
                #"{"reason": "r", "level": "entries", "scope": "venue:moon"}"#,
            )
            #expect(nowhere.status == 404, "\(nowhere.text)")
            let body = #"{"reason": "key leaked", "level": "entries", "scope": "account:\#(tenant.account)"}"#
            let set = try await post(api, "/halts", boss, body, key: "h")
            #expect(set.status == 200, "\(set.text)")
            let again = try await post(api, "/halts", boss, body, key: "h")
            #expect(again["Idempotency-Replayed"] == "true")
            let refused = try await api.send(
                .POST,
                "/v1/orders",
                key: tenant.key,
                body: api.draft(tenant.account),
                idempotency: "o",
            )
            #expect(refused.code == "ACCOUNT_HALTED", "\(refused.text)")
            // Its trader does not lift it.
            let resume = "/v1/accounts/\(tenant.account)/halt"
            let own = try await api.send(.DELETE, resume, key: tenant.key, ifMatch: "\"v1\"")
            #expect(own.json["halted"] != .null, "\(own.text)")
            let path = "/v1/admin/halts/account:\(tenant.account)"
            func end(_ body: String) async throws -> Answer {
                try await api.send(.DELETE, path, key: boss.key, body: body)
            }
            let first = try await end(#"{"reason": "over"}"#)
            #expect(first.status == 202, "\(first.text)")
            let code = try #require(first.json["code"]?.text)
            #expect(try await end(#"{"reason": "over", "code": "1-x"}"#).code == "CONFIRM_MISMATCH")
            // Set anew in between: the code was for the other one.
            _ = try await post(api, "/halts", boss, body, key: "h2")
            #expect(try await end(#"{"reason": "over", "code": "\#(code)"}"#).code == "CONFIRM_MISMATCH")
            let second = try #require(try await end(#"{"reason": "over"}"#).json["code"]?.text)
            let ended = try await end(#"{"reason": "over", "code": "\#(second)"}"#)
            #expect(ended.status == 200, "\(ended.text)")
            #expect(try await end(#"{"reason": "over"}"#).status == 404)
            _ = try await api.create(tenant)
            let told = try await api.pool.query(
                Statement(sql: "SELECT type FROM webhook_deliveries ORDER BY created_at, id")
            ).map { try $0.string(0) }
            #expect(told == ["account.halted", "account.halted", "account.resumed"])
            let halts = try await lines(api).filter { $0.contains("halt.") }
            #expect(halts.count == 3 && halts.allSatisfy { $0.hasPrefix("api halt.") }, "\(halts)")
        }
    }

    @Test func `orders are cancelled with a reason that stands in the audit and in their history`() async throws {
        try await withStoredAPI { api in
            let boss = try await boss(api)
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let silent = try await post(api, "/orders/\(id)/cancel", boss, "{}")
            #expect(silent.status == 400)
            let done = try await post(api, "/orders/\(id)/cancel", boss, #"{"reason": "asked by phone"}"#)
            #expect(done.status == 200, "\(done.text)")
            let again = try await post(api, "/orders/\(id)/cancel", boss, #"{"reason": "asked by phone"}"#)
            #expect(again.text == done.text)
            #expect(again["Idempotency-Replayed"] == "true")
            let history = try await api.send(.GET, "/v1/orders/\(id)/events", key: tenant.key)
            guard case .array(let events)? = history.json["items"] else {
                Issue.record("\(history.text)")
                return
            }
            #expect(events.count == 2)
            #expect(events.last?["actor"]?["kind"]?.text == "operator")
            #expect(try await lines(api).filter { $0 == "api orders.cancel order \(id) asked by phone" }.count == 1)
            let other = try await api.create(tenant, ["clientOrderId": "\"x\""])
            #expect(try await post(api, "/orders/\(other)/close", boss, key: "c").status == 200)
            #expect(
                try await post(api, "/orders/01980000-0000-7000-8000-00000000ffff/close", boss, key: "d").status == 404
            )
        }
    }

    @Test func `an account goes live when an administrator lets it`() async throws {
        try await withStoredAPI({ $0.liveNeedsApproval = true }, isLiveEnabled: true) { api in
            let boss = try await boss(api)
            let tenant = try await api.tenant()
            func fresh() async throws {
                try await api.sql(
                    """
                    UPDATE credentials SET permissions = '{read,futures}', checked_at = now()
                    WHERE account_id = '\(tenant.account)'
                    """
                )
            }
            try await fresh()
            let early = try await post(api, "/accounts/\(tenant.account)/approve-live", boss, key: "a0")
            #expect(early.status == 404, "\(early.text)")
            let asked = try await api.send(
                .PUT,
                "/v1/accounts/\(tenant.account)/mode",
                key: tenant.key,
                body: #"{"mode": "LIVE", "confirm": "a"}"#,
                ifMatch: "\"v1\"",
            )
            #expect(asked.status == 202, "\(asked.text)")
            #expect(asked.json["mode"]?.text == "PAPER")
            // The key is looked at once more.
            try await api.sql("UPDATE credentials SET permissions = '{read,futures,withdraw}'")
            let doubted = try await post(api, "/accounts/\(tenant.account)/approve-live", boss, key: "a1")
            #expect(doubted.code == "CREDENTIALS_REFUSED", "\(doubted.text)")
            try await fresh()
            let operatorOnly = try await api.tenant(scopes: "read,operate", roles: "OPERATOR")
            let low = try await post(api, "/accounts/\(tenant.account)/approve-live", operatorOnly, key: "a2")
            #expect(low.status == 403)
            let live = try await post(api, "/accounts/\(tenant.account)/approve-live", boss, key: "a3")
            #expect(live.status == 200, "\(live.text)")
            let mode = try await api.pool.query(
                Statement(sql: "SELECT mode FROM accounts WHERE id = '\(tenant.account)'")
            )[0].string(0)
            #expect(mode == "LIVE")
            #expect(try await lines(api).contains { $0.contains("accounts.approveLive") })
        }
    }

    @Test func `users get tiers and roles, workers are quiet, dead deliveries come back`() async throws {
        try await withStoredAPI { api in
            let boss = try await boss(api)
            let made = try await post(
                api,
                "/users",
                boss,
                #"{"reason": "hired", "name": "ada", "roles": ["TRADER", "OPERATOR"]}"#,
                key: "u",
            )
            #expect(made.status == 201, "\(made.text)")
            let id = made.json["id"]?.text ?? ""
            let twice = try await post(api, "/users", boss, #"{"reason": "hired", "name": "ada"}"#, key: "u2")
            #expect(twice.status == 409)
            let changed = try await api.send(
                .PATCH,
                "/v1/admin/users/\(id)",
                key: boss.key,
                body: #"{"reason": "left", "tier": "PRO", "roles": []}"#,
            )
            #expect(changed.json["tier"]?.text == "PRO", "\(changed.text)")
            #expect(changed.json["roles"] == .array([]))

            #expect(try await post(api, "/workers/nobody/quiet", boss, key: "q0").status == 404)
            try await api.sql(
                "INSERT INTO workers (id, lease_until) VALUES ('w-1', clock_timestamp() + interval '1 hour')"
            )
            #expect(try await post(api, "/workers/w-1/quiet", boss, key: "q1").status == 200)
            let workers = try await api.send(.GET, "/v1/admin/workers", key: boss.key)
            #expect(workers.text.contains("\"quiet\":true"), "\(workers.text)")
            #expect(try await post(api, "/workers/w-1/resume", boss, key: "q2").status == 200)
            let moved = try await post(
                api,
                "/shards/move",
                boss,
                #"{"reason": "r", "shards": [1, 2], "worker": "w-1"}"#,
                key: "m",
            )
            #expect(moved.status == 200, "\(moved.text)")
            #expect(try await post(api, "/shards/rebalance", boss, key: "m2").status == 200)
            let nobody = try await post(
                api,
                "/shards/move",
                boss,
                #"{"reason": "r", "shards": [1], "worker": "w-9"}"#,
                key: "m3",
            )
            #expect(nobody.code == "WORKER_GONE")
            #expect(try await post(api, "/leader/resign", boss, key: "l").code == "NOT_LEADER")
            #expect(try await post(api, "/outbox/flush", boss, key: "f").status == 200)
            #expect(try await post(api, "/webhooks/resend", boss, key: "r").status == 200)
            #expect(try await post(api, "/batches/none/cancel", boss, key: "b").status == 404)
        }
    }

    @Test func `the audit shows when it was tampered with`() async throws {
        try await withStoredAPI { api in
            let boss = try await boss(api)
            for number in 0..<5 { _ = try await post(api, "/outbox/flush", boss, key: "f\(number)") }
            func verify(_ key: String) async throws -> JSONValue {
                try await post(api, "/audit/verify", boss, key: key).json
            }
            let whole = try await verify("v1")
            #expect(whole["intact"] == .bool(true), "\(whole)")
            #expect(whole["lines"]?.int64 == 5)
            // The roles of running processes cannot.
            let own = try PostgresPool(configuration: .operators(conninfo: api.conninfo))
            for pool in [api.seenPool, own] {
                do throws(PostgresError) {
                    _ = try await pool.query(Statement(sql: "UPDATE audit SET reason = 'nothing happened'"))
                    Issue.record("a running process rewrote the audit")
                } catch {
                    #expect(error.sqlState == "42501")
                }
            }
            await own.close()
            try await api.sql("UPDATE audit SET reason = 'nothing happened' WHERE place = 3")
            let forged = try await verify("v2")
            #expect(forged["intact"] == .bool(false))
            #expect(forged["brokenAt"]?.int64 == 3)
            try await api.sql("UPDATE audit SET reason = 'drill' WHERE place = 3")
            #expect(try await verify("v3")["intact"] == .bool(true))
            try await api.sql("DELETE FROM audit WHERE place = 2")
            #expect(try await verify("v4")["brokenAt"]?.int64 == 3)
        }
    }
}
