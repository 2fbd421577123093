// What an answer promises and what is recorded of it, over real sockets and real PostgreSQL (INTERFACES.md 1.8, 1.10).
import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(5)))
struct `Fields that answers promise` {
    @Test func `an order says where its stop began and when it moved, an event who asked for what`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let path = "/v1/orders/\(id)"
            let new = try await api.send(.GET, path, key: tenant.key)
            #expect(new.json["stop"]?["initialPrice"]?.text == "95", "\(new.text)")
            #expect(new.json["stop"]?["changedAt"] == .null)
            let edited = try await api.send(
                .PATCH,
                path,
                key: tenant.key,
                headers: [("X-Request-Id", "drag-17")],
                body: #"{"stopLoss": {"price": "96"}}"#,
                ifMatch: "\"v1\"",
            )
            #expect(edited.status == 200, "\(edited.text)")
            let moved = try await api.send(.GET, path, key: tenant.key)
            #expect(moved.json["stop"]?["initialPrice"]?.text == "95")
            #expect(moved.json["stop"]?["changedAt"]?.text == moved.json["updatedAt"]?.text, "\(moved.text)")
            let history = try await api.send(.GET, path + "/events", key: tenant.key)
            guard case .array(let events)? = history.json["items"], let event = events.last,
                case .array(let facts)? = event["facts"]
            else {
                Issue.record("\(history.text)")
                return
            }
            #expect(event["requestId"]?.text == "drag-17", "\(history.text)")
            let change = facts.first { $0["type"]?.text == "modified" }
            #expect(change?["path"]?.text == "stopLoss")
            #expect(change?["from"]?["price"]?.text == "95" && change?["to"]?["price"]?.text == "96", "\(facts)")
            let explained = try await api.send(.GET, path + "/explain", key: tenant.key)
            #expect(explained.status == 200, "\(explained.text)")
        }
    }

    @Test func `a venue order says when it was answered, and why it was refused`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let text = try await api.create(tenant, ["entry": #"{"mode": "limit", "price": "99"}"#])
            let id = try #require(OrderID(text))
            let order = try #require(try await api.orders.load([id]).first?.smart)
            let entry = try #require(order.venueOrders.first)
            let (sent, answered) = (order.updatedAt, order.updatedAt.advanced(milliseconds: 40))
            var next = order.next()
            next.updatedAt = order.updatedAt.advanced(milliseconds: 50)
            next.venueOrders = []
            var refused = entry
            refused.state = .rejected
            let exchange = VenueExchange(key: entry.key, sentAt: sent, answeredAt: answered, code: "-2010")
            let outcome = try await api.orders.commit([
                .sample(
                    next,
                    facts: [.venueOrder(entry.key, .rejected)],
                    venueOrders: [refused],
                    record: DecisionRecord(exchanges: [exchange]),
                )
            ]).first
            if case .committed = outcome {} else { Issue.record("\(String(describing: outcome))") }
            let listed = try await api.send(.GET, "/v1/orders/\(text)/venue-orders", key: tenant.key)
            guard case .array(let items)? = listed.json["items"], let shown = items.first else {
                Issue.record("\(listed.text)")
                return
            }
            #expect(shown["state"]?.text == "REJECTED" && shown["rejectCode"]?.text == "-2010", "\(listed.text)")
            #expect(shown["ackedAt"] == .null)
            #expect(shown["endedAt"]?.text != nil, "\(listed.text)")
        }
    }

    @Test func `changes of an account stand in the sequence of its orders`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let path = "/v1/accounts/\(tenant.account)"
            let reason = #"{"reason": "news at eight"}"#
            let halted = try await api.send(.POST, path + "/halt", key: tenant.key, body: reason, idempotency: "h")
            #expect(halted.status == 202, "\(halted.text)")
            let tag = try await api.send(.GET, path, key: tenant.key)["ETag"]
            #expect(try await api.send(.DELETE, path + "/halt", key: tenant.key, ifMatch: tag).status == 200)
            try await api.sql(
                """
                INSERT INTO feed_gaps (market, source, from_time, to_time, reason, is_backfilled)
                VALUES ('paper:linear:DEMO', 'last', 1000000, 2000000, 'cut', false),
                    ('paper:linear:OTHER', 'last', 1000000, 2000000, 'cut', false);
                UPDATE feed_gaps SET is_backfilled = true;
                UPDATE credentials SET checked_at = clock_timestamp() WHERE account_id = '\(tenant.account)';
                UPDATE credentials SET refusal = 'KEY_REFUSED' WHERE account_id = '\(tenant.account)'
                """
            )
            #expect(try await api.act(tenant, id, .DELETE, "").status < 300)
            try await api.sql("UPDATE accounts SET mode = 'LIVE' WHERE id = '\(tenant.account)'")
            try await api.sql("UPDATE accounts SET mode = 'PAPER' WHERE id = '\(tenant.account)'")
            try await api.sql(
                """
                INSERT INTO batches (id, account_id, kind, state, orders, total, done, actor_kind, actor_id, reason,
                    started_at, lease_until)
                VALUES ('\(tenant.user)', '\(tenant.account)', 'reconcile', 'RUNNING', '{}', 3, 3, 'key', 'k', '',
                    clock_timestamp(), clock_timestamp() + interval '1 h');
                UPDATE batches SET state = 'DONE' WHERE id = '\(tenant.user)'
                """
            )
            let page = try await api.send(
                .GET,
                "/v1/events?account=\(tenant.account)&since=1-0",
                key: tenant.key,
                headers: [("Accept", "application/json")],
            )
            guard case .array(let events)? = page.json["items"] else {
                Issue.record("\(page.text)")
                return
            }
            let facts = events.map { event -> String in
                guard case .array(let facts)? = event["facts"] else { return "" }
                return facts.first?["type"]?.text ?? ""
            }
            #expect(
                facts == [
                    "created", "halted", "resumed", "gapOpened", "gapClosed", "credentialsChanged", "levelCancelled",
                    "modeChanged", "modeChanged", "reconciled",
                ],
                "\(page.text)",
            )
            #expect(events.map { $0["seq"]?.int64 } == Array(1...10))
            let halt = events[1]
            #expect(halt["orderId"] == .null && halt["version"] == .null && halt["order"] == nil)
            #expect(halt["actor"]?["kind"]?.text == "key", "\(halt)")
            #expect(halt["account"]?["halted"]?["reason"]?.text == "news at eight", "\(halt)")
            #expect(events[2]["account"]?["halted"] == .null && events[2]["actor"]?["kind"]?.text == "user")
            #expect("\(events[3])".contains("1970-01-01T00:00:02"), "\(events[3])")
            #expect("\(events[5])".contains("KEY_REFUSED"), "\(events[5])")
            #expect(events[7]["account"]?["mode"]?.text == "LIVE")
            // The history of an order is its own, and an event source names what it tells.
            let history = try await api.send(.GET, "/v1/orders/\(id)/events", key: tenant.key)
            #expect(!history.text.contains("halted"))
            try await withSocket(api.port) { connection in
                try await connection.send(
                    "GET /v1/events?account=\(tenant.account)&since=1-1 HTTP/1.1\r\nHost: x\r\n"
                        + "Authorization: Bearer \(tenant.key)\r\nAccept: text/event-stream\r\n\r\n"
                )
                var text = ""
                while !text.contains("id: 1-7\n") { text += try await connection.some() }
                #expect(text.contains("id: 1-2\nevent: account\n"), "\(text)")
                #expect(text.contains("id: 1-7\nevent: order\n"))
            }
        }
    }

    @Test func `a refresh tells the order and what was different`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            // One that has ended needs no worker, and there is none here.
            #expect(try await api.act(tenant, id, .DELETE, "").json["status"]?.text == "CANCELLED")
            let told = try await api.act(tenant, id, .POST, "/refresh", "{}")
            #expect(told.status == 200, "\(told.text)")
            #expect(told.json["order"]?["id"]?.text == id, "\(told.text)")
            #expect(told.json["differences"] == .array([]), "\(told.text)")
        }
    }

    @Test func `an account bounds callbacks, of new orders and of edits`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let path = "/v1/accounts/\(tenant.account)"
            let before = try await api.send(.GET, path, key: tenant.key)
            #expect(before.json["callbackMin"]?.text == "0.001" && before.json["callbackMax"]?.text == "0.5")
            #expect(before.json["defaultConfirm"] == .bool(true) && before.json["recovering"] == .bool(false))
            func change(_ body: String) async throws -> Answer {
                let tag = try await api.send(.GET, path, key: tenant.key)["ETag"]
                return try await api.send(.PATCH, path, key: tenant.key, body: body, ifMatch: tag)
            }
            for bad in [
                #"{"callbackMax": "0.6"}"#, #"{"callbackMin": "0.0001"}"#, #"{"callbackMax": 0.1}"#,
                #"{"callbackMin": "0.2", "callbackMax": "0.1"}"#,
            ] {
                let refused = try await change(bad)
                #expect(refused.status == 400, "\(bad): \(refused.text)")
            }
            let narrow = try await change(#"{"callbackMax": "0.05", "defaultConfirm": false}"#)
            #expect(narrow.status == 200 && narrow.json["callbackMax"]?.text == "0.05", "\(narrow.text)")
            #expect(narrow.json["defaultConfirm"] == .bool(false))
            let wide = api.draft(tenant.account, ["trailing": #"{"callbackRate": "0.06"}"#])
            let refused = try await api.send(.POST, "/v1/orders", key: tenant.key, body: wide, idempotency: "w")
            #expect(refused.code == "CALLBACK_OUT_OF_RANGE", "\(refused.text)")
            let id = try await api.create(tenant, ["trailing": #"{"callbackRate": "0.05"}"#])
            let loose = try await api.act(tenant, id, .PATCH, "", #"{"trailing": {"callbackRate": "0.06"}}"#)
            #expect(loose.code == "CALLBACK_OUT_OF_RANGE" && loose.text.contains("0.05"), "\(loose.text)")
            let tight = try await api.act(tenant, id, .PATCH, "", #"{"trailing": {"callbackRate": "0.04"}}"#)
            #expect(tight.status == 200, "\(tight.text)")
            // Null: as wide as any again.
            #expect(try await change(#"{"callbackMax": null}"#).json["callbackMax"]?.text == "0.5")
        }
    }

    @Test func `an account of a lost history takes nothing new until its orders were compared`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let waiting = try await api.create(
                tenant,
                ["entry": #"{"mode": "conditional", "trigger": "90"}"#, "stopLoss": #"{"price": "80"}"#],
            )
            try await api.sql("UPDATE control SET recovered = incarnation - 1, quarantine_from = clock_timestamp()")
            let shown = try await api.send(.GET, "/v1/accounts/\(tenant.account)", key: tenant.key)
            #expect(shown.json["recovering"] == .bool(true), "\(shown.text)")
            for (path, body) in [
                ("/v1/orders", api.draft(tenant.account)),
                ("/v1/conditional-orders", api.conditional(tenant.account, ["reduceOnly": "false"])),
            ] {
                let late = try await api.send(.POST, path, key: tenant.key, body: body, idempotency: path)
                #expect(late.status == 503 && late.code == "RECOVERING", "\(late.text)")
                #expect(late["Retry-After"] != nil)
            }
            #expect(try await api.act(tenant, waiting, .POST, "/open-now", "{}").code == "RECOVERING")
            // Less risk is nobody's harm.
            #expect(try await api.act(tenant, waiting, .DELETE, "").status == 202)
            try await api.sql(
                "INSERT INTO recoveries SELECT id, account_id, (SELECT incarnation FROM control), 0 FROM orders"
            )
            let after = try await api.send(.GET, "/v1/accounts/\(tenant.account)", key: tenant.key)
            #expect(after.json["recovering"] == .bool(false), "\(after.text)")
            _ = try await api.create(tenant, ["clientOrderId": "\"again\""])
            #expect(try await api.act(tenant, id, .DELETE, "").status == 202)
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `What is counted apart` {
    @Test func `a change that only tightens is protection`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant, ["trailing": #"{"callbackRate": "0.05"}"#])
            let path = "/v1/orders/\(id)"
            for (body, policy) in [
                (#"{"stopLoss": {"price": "94"}}"#, "trade"), (#"{"stopLoss": {"price": "96"}}"#, "protect"),
                (#"{"trailing": {"callbackRate": "0.06"}}"#, "trade"),
                (#"{"trailing": {"callbackRate": "0.04"}, "stopLoss": {"price": "96"}}"#, "protect"),
                (#"{"trailing": {"callbackAmount": "4"}}"#, "trade"),
                (#"{"breakEven": {"enabled": true}}"#, "protect"), (#"{"breakEven": {"enabled": false}}"#, "trade"),
                (#"{"stopLoss": {"price": "96.5"}, "takeProfits": []}"#, "trade"), (#"{"trailing": null}"#, "trade"),
            ] {
                let changed = try await api.act(tenant, id, .PATCH, "", body)
                #expect(changed.status == 200, "\(body): \(changed.text)")
                #expect(changed["RateLimit-Policy"]?.hasPrefix("\"\(policy)\"") == true, "\(body): \(changed.headers)")
            }
            // What is none: refused as what it is, and counted as trading.
            let broken = try await api.send(.PATCH, path, key: tenant.key, body: #"{"stopLoss": {"#, ifMatch: "\"v1\"")
            #expect(broken.code == "MALFORMED_JSON", "\(broken.text)")
            let holder = try await api.tenant()
            api.venues[holder.account].setPosition(ExactDecimal(10), average: Price(ExactDecimal(100)))
            let exits = "/v1/accounts/\(holder.account)/positions/paper:linear:DEMO/tpsl"
            func set(_ body: String, _ headers: [(String, String)] = [], ifMatch: String? = nil) async throws -> String
            {
                let answer = try await api.send(
                    .PUT,
                    exits,
                    key: holder.key,
                    headers: headers,
                    body: body,
                    ifMatch: ifMatch,
                )
                #expect(answer.status < 300, "\(answer.text)")
                return answer["RateLimit-Policy"] ?? ""
            }
            let stop = #"{"stopLoss": {"price": "95"}}"#
            #expect(try await set(stop, [("If-None-Match", "*")]).hasPrefix("\"trade\""))
            let tighter = #"{"stopLoss": {"price": "96"}}"#
            #expect(try await set(tighter, ifMatch: "\"v1\"").hasPrefix("\"protect\""))
            #expect(try await set(stop, ifMatch: "\"v2\"").hasPrefix("\"trade\""))
        }
    }

    @Test func `a stream begins with what ended within a day, however old it is`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let (old, gone) = (try await api.create(tenant), try await api.create(tenant))
            for id in [old, gone] { #expect(try await api.act(tenant, id, .DELETE, "").status < 300) }
            try await api.sql("ALTER TABLE orders DISABLE TRIGGER orders_guard")
            try await api.sql("UPDATE orders SET created_at = created_at - interval '99 days' WHERE id = '\(old)'")
            try await api.sql("UPDATE orders SET updated_at = updated_at - interval '25 h' WHERE id = '\(gone)'")
            try await withSocket(api.port) { connection in
                try await connection.send(
                    "GET /v1/events?account=\(tenant.account) HTTP/1.1\r\nHost: x\r\n"
                        + "Authorization: Bearer \(tenant.key)\r\nAccept: text/event-stream\r\n\r\n"
                )
                var text = ""
                while !text.contains("\"last\":true") { text += try await connection.some() }
                #expect(text.contains(old), "\(text)")
                #expect(!text.contains(gone), "\(text)")
            }
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `What operators reach` {
    private func boss(_ api: StoredRig) async throws -> Tenant {
        try await api.tenant(scopes: "read,trade,operate,admin", roles: "OPERATOR,ADMIN")
    }

    private func post(
        _ api: StoredRig,
        _ path: String,
        _ boss: Tenant,
        _ body: String,
        _ key: String,
    ) async throws
        -> Answer
    {
        try await api.send(.POST, "/v1/admin\(path)", key: boss.key, body: body, idempotency: key)
    }

    @Test func `a worker's concurrency, with a line of the audit`() async throws {
        try await withStoredAPI { api in
            let boss = try await boss(api)
            try await api.sql("INSERT INTO workers (id, lease_until) VALUES ('w1', clock_timestamp() + interval '1 h')")
            let path = "/workers/w1/concurrency"
            for bad in ["3", "1025", "\"8\"", "null"] {
                let refused = try await post(
                    api,
                    path,
                    boss,
                    #"{"reason": "x", "concurrency": \#(bad)}"#,
                    "b\(bad.count)",
                )
                #expect(refused.status == 400, "\(bad): \(refused.text)")
            }
            let done = try await post(api, path, boss, #"{"reason": "slow venue", "concurrency": 8}"#, "c")
            #expect(done.status == 200, "\(done.text)")
            let listed = try await api.send(.GET, "/v1/admin/workers", key: boss.key)
            #expect(listed.text.contains("\"concurrency\":8"), "\(listed.text)")
            // As the worker hears of it.
            let reply = try await PostgresClusterStore(pool: api.pool).heartbeat(WorkerID("w1"))
            #expect(reply.concurrency == 8)
            let nobody = try await post(
                api,
                "/workers/w2/concurrency",
                boss,
                #"{"reason": "x", "concurrency": 8}"#,
                "n",
            )
            #expect(nobody.status == 404, "\(nobody.text)")
            let lines = try await api.pool.query(
                Statement(sql: "SELECT concat_ws(' ', action, subject, reason, detail) FROM audit ORDER BY id")
            ).map { try $0.string(0) }
            #expect(lines == [#"worker.concurrency w1 slow venue {"concurrency": 8}"#])
        }
    }

    @Test func `a feed that runs is asked to begin anew, and no other`() async throws {
        try await withStoredAPI { api in
            let boss = try await boss(api)
            let none = try await post(api, "/feeds/paper:linear/restart", boss, #"{"reason": "stale"}"#, "n")
            #expect(none.status == 404, "\(none.text)")
            let cluster = PostgresClusterStore(pool: api.pool)
            func tell(_ hasBegun: Bool) async throws -> Bool {
                try await cluster.tell(feed: "paper:linear", of: WorkerID("f1"), hasBegun: hasBegun)
            }
            for hasBegun in [true, false] { #expect(try await !tell(hasBegun)) }
            let asked = try await post(api, "/feeds/paper:linear/restart", boss, #"{"reason": "stale"}"#, "a")
            #expect(asked.status == 200, "\(asked.text)")
            #expect(try await tell(false))
            // It has.
            #expect(try await !tell(true))
            #expect(try await !tell(false))
            try await api.sql("UPDATE feeds SET seen_at = clock_timestamp() - interval '11 s'")
            let gone = try await post(api, "/feeds/paper:linear/restart", boss, #"{"reason": "stale"}"#, "g")
            #expect(gone.status == 404, "\(gone.text)")
        }
    }

    @Test func `a stretch of prices is asked for once more, and the list of feeds says what became of it`() async throws
    {
        try await withStoredAPI { api in
            let boss = try await boss(api)
            func ask(
                _ market: String,
                _ from: String,
                _ to: String,
                _ key: String,
                source: String = "",
            ) async throws
                -> Answer
            {
                let body = #"{"reason": "stale", "market": "\#(market)", "from": "\#(from)", "to": "\#(to)"\#(source)}"#
                return try await post(api, "/feeds/backfill", boss, body, key)
            }
            let (from, to) = ("2026-11-20T10:00:00Z", "2026-11-20T10:05:00Z")
            let market = "paper:linear:DEMO"
            for (answer, status, word) in [
                (try await ask("paper:linear:NONE", from, to, "1"), 404, "NOT_FOUND"),
                (try await ask("paper", from, to, "2"), 400, "/market"),
                (try await ask(market, to, from, "3"), 400, "/to"),
                (try await ask(market, from, "2026-11-20T16:00:00.000001Z", "4"), 400, "/to"),
                (try await ask(market, "2999-11-20T10:00:00Z", "2999-11-20T10:00:01Z", "5"), 400, "/to"),
                (try await ask(market, from, "soon", "6"), 400, "/to"),
                (try await ask(market, from, to, "7", source: #", "source": "best""#), 400, "/source"),
            ] {
                #expect(answer.status == status && answer.text.contains(word), "\(answer.text)")
            }
            for key in ["a", "a", "b"] {
                let asked = try await ask(market, from, to, key)
                #expect(asked.status == 200, "\(asked.text)")
            }
            let rows = try await api.pool.query(
                Statement(
                    sql: "SELECT concat_ws(' ', market, source, to_time - from_time, actor, reason) FROM backfills"
                )
            ).map { try $0.string(0) }
            #expect(rows.count == 1 && rows[0].hasPrefix("\(market) last 300000000 "), "\(rows)")
            let audited = Statement(sql: "SELECT count(*) FROM audit WHERE action = 'feed.backfill'")
            #expect(try await api.pool.query(audited)[0].int64(0) == 2)
            try await api.sql(
                "INSERT INTO cursors (worker, market, source, venue_time, seq) VALUES ('w', '\(market)', 'last', 1, 1)"
            )
            try await api.sql("UPDATE backfills SET error = 'HTTP 503', tried_at = clock_timestamp()")
            let list = try await api.send(.GET, "/v1/admin/feeds?subject=\(market)", key: boss.key)
            #expect(list.status == 200 && list.text.contains(#""error" : "HTTP 503""#), "\(list.text)")
            #expect(list.text.contains(#""from" : "2026-11-20T10:00:00"#), "\(list.text)")
        }
    }

    @Test func `batches of accounts beside those of the queue, and ending one`() async throws {
        try await withStoredAPI { api in
            let (boss, tenant) = (try await boss(api), try await api.tenant())
            _ = try await api.create(tenant)
            let asked = try await api.send(
                .POST,
                "/v1/accounts/\(tenant.account)/cancel-all",
                key: tenant.key,
                body: "{}",
                idempotency: "all",
            )
            let id = try #require(asked.json["id"]?.text)
            let listed = try await api.send(.GET, "/v1/admin/batches?subject=\(tenant.account)", key: boss.key)
            #expect(listed.text.contains(id) && listed.text.contains("cancelAll"), "\(listed.text)")
            var state = ""
            while state != "done" {
                let one = try await api.send(.GET, "/v1/admin/batches/\(id)", key: boss.key)
                #expect(one.json["accountId"]?.text == "\(tenant.account)", "\(one.text)")
                #expect(one.json["matched"]?.int64 == 1)
                state = one.json["state"]?.text ?? "done"
                try await Task.sleep(for: .milliseconds(10))
            }
            let late = try await post(api, "/batches/\(id)/cancel", boss, #"{"reason": "x"}"#, "late")
            #expect(late.code == "BATCH_DONE", "\(late.text)")
            // One that somebody works on, far away.
            let open = "0197a1b2-0000-7000-8000-000000000001"
            try await api.sql(
                """
                INSERT INTO batches (id, account_id, kind, state, orders, total, actor_kind, actor_id, reason,
                    started_at, lease_until)
                VALUES ('\(open)', '\(tenant.account)', 'reconcile', 'RUNNING', '{}', 3, 'key', 'k', '',
                    clock_timestamp(), clock_timestamp() + interval '1 h')
                """
            )
            let ended = try await post(api, "/batches/\(open)/cancel", boss, #"{"reason": "wrong account"}"#, "end")
            #expect(ended.status == 200, "\(ended.text)")
            let seen = try await api.send(.GET, "/v1/batches/\(open)", key: tenant.key)
            #expect(seen.json["state"]?.text == "CANCELLED" && seen.json["endedAt"]?.text != nil, "\(seen.text)")
            // Whoever worked on it learns that it is over.
            let name = try #require(UniqueID(open))
            let batch = try #require(
                try await Tenancy.$accounts.withValue([tenant.account]) {
                    try await api.traders.batch(name, of: [tenant.account])
                }
            )
            let isSaved = try await Tenancy.$accounts.withValue([tenant.account]) { try await api.traders.save(batch) }
            #expect(!isSaved)
        }
    }
}
