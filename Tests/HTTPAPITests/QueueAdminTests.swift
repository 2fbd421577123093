import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OwnerThread
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// A queue that remembers what it was told, and holds three dead jobs. What the real one does is tested end to end.
final class ToldQueue: QueueControl {
    private struct State {
        var told: [String] = []
        var failure: QueueControlError?
        var begun: [String: BulkWork] = [:]
    }
    private let state = Locked(State())

    var told: [String] { state.withLock { $0.told } }
    func fail(_ error: QueueControlError?) { state.withLock { $0.failure = error } }
    func begun(_ id: String) -> BulkWork? { state.withLock { $0.begun[id] } }

    private func note(_ text: String) throws(QueueControlError) {
        let failure = state.withLock { state in
            state.told.append(text)
            return state.failure
        }
        if let failure { throw failure }
    }

    func queues(_ selector: String) async throws(QueueControlError) -> [[UInt8]] {
        if let failure = state.withLock({ $0.failure }) { throw failure }
        guard ["all", "stops-03"].contains(selector) else { throw .notFound }
        return [Array(#"{"queue":"stops-03","waiting":1}"#.utf8)]
    }
    func pause(_ selector: String, milliseconds: Int64, _ note: OperatorNote) async throws(QueueControlError) {
        if milliseconds == 0 { throw .refused("stops are paused for 15 minutes at most.") }
        try self.note("pause \(selector) \(milliseconds) \(note.reason)")
    }
    func resume(_ selector: String, _ note: OperatorNote) async throws(QueueControlError) {
        try self.note("resume \(selector) \(note.reason)")
    }
    func drain(
        _ selector: String,
        includesDelayed: Bool,
        _ note: OperatorNote,
    ) async throws(QueueControlError) -> Int {
        try self.note("drain \(selector) \(includesDelayed)")
        return 3
    }
    func jobs(_ selection: JobSelection) async throws(QueueControlError) -> [[UInt8]] {
        try note("jobs \(selection.errorClass ?? "-") \(selection.limit ?? 0) \(selection.newestFirst)")
        return [Array(#"{"id":"j"}"#.utf8)]
    }
    func job(_ id: String) async throws(QueueControlError) -> [UInt8] {
        guard id == "j" else { throw .notFound }
        return Array(#"{"id":"j"}"#.utf8)
    }
    func deadGroups() async throws(QueueControlError) -> [[UInt8]] { [Array(#"{"error":"X","count":3}"#.utf8)] }
    func setNote(_ text: String, of code: String, _ note: OperatorNote) async throws(QueueControlError) {
        try self.note("note \(code) \(text)")
    }
    func preview(_ work: BulkWork) async throws(QueueControlError) -> (matched: Int, json: [UInt8]) {
        (3, Array(#"{"matched":3}"#.utf8))
    }
    func begin(_ work: BulkWork, id: String, _ note: OperatorNote) async throws(QueueControlError) -> Int {
        state.withLock { $0.begun[id] = work }
        try self.note("begin \(id)")
        return 3
    }
    func run(_ id: String, _ note: OperatorNote) async throws(QueueControlError) { try self.note("run \(id)") }
    func rebuildPreview() async throws(QueueControlError) -> [UInt8] { Array(#"{"offered":5,"pauses":0}"#.utf8) }
    func rebuild(_ note: OperatorNote) async throws(QueueControlError) -> [UInt8] {
        try self.note("rebuild \(note.reason)")
        return Array(#"{"generation":2}"#.utf8)
    }
}

/// Queues, jobs and what takes two steps, over HTTP (INTERFACES.md 4.12).
@Suite(.serialized, .timeLimit(.minutes(3)))
struct `Operators' queue` {
    private func post(
        _ api: StoredRig,
        _ path: String,
        _ key: String,
        _ body: String = #"{"reason": "drill"}"#,
        idempotency: String,
    ) async throws -> Answer {
        try await api.send(.POST, "/v1/admin\(path)", key: key, body: body, idempotency: idempotency)
    }

    @Test func `is looked at, paused, resumed and drained, each once per key`() async throws {
        try await withStoredAPI { api in
            let boss = try await api.tenant(scopes: "read,operate", roles: "OPERATOR").key
            for path in ["/queues", "/queues?queue=stops-03", "/queues/stops-03"] {
                let answer = try await api.send(.GET, "/v1/admin\(path)", key: boss)
                #expect(answer.json["items"]?[0]?["queue"]?.text == "stops-03", "\(path): \(answer.text)")
            }
            for path in ["/queues?queue=moon", "/queues/moon", "/jobs/none"] {
                #expect(try await api.send(.GET, "/v1/admin\(path)", key: boss).status == 404, "\(path)")
            }
            for _ in 0..<2 {
                let body = #"{"reason": "venue", "forMs": 60000}"#
                let paused = try await post(api, "/queues/stops-03/pause", boss, body, idempotency: "p")
                #expect(paused.status == 200, "\(paused.text)")
                let drained = try await post(
                    api,
                    "/queues/stops-03/drain",
                    boss,
                    #"{"reason": "r", "delayed": true}"#,
                    idempotency: "d",
                )
                #expect(drained.status == 200, "\(drained.text)")
                #expect(try await post(api, "/queues/stops-03/resume", boss, idempotency: "r").status == 200)
            }
            #expect(
                api.queue.told == ["pause stops-03 60000 venue", "drain stops-03 true", "resume stops-03 drill"]
            )
            let forEver = try await post(api, "/queues/stops-03/pause", boss, idempotency: "q")
            #expect(forEver.status == 400, "\(forEver.text)")
            #expect(try await post(api, "/queues/moon/resume", boss, idempotency: "m").status == 404)
            api.queue.fail(.unavailable("away"))
            let away = try await post(api, "/queues/stops-03/resume", boss, idempotency: "s")
            #expect(away.code == "STORE_UNAVAILABLE", "\(away.text)")
            // What failed is not answered again.
            api.queue.fail(nil)
            #expect(try await post(api, "/queues/stops-03/resume", boss, idempotency: "s").status == 200)
        }
    }

    @Test func `jobs are listed and moved by what was said of them`() async throws {
        try await withStoredAPI { api in
            let boss = try await api.tenant(scopes: "read,operate", roles: "OPERATOR").key
            let jobs = try await api.send(
                .GET,
                "/v1/admin/jobs?errorClass=VENUE_DOWN&limit=7&newestFirst=true",
                key: boss,
            )
            #expect(jobs.json["items"]?[0]?["id"]?.text == "j", "\(jobs.text)")
            #expect(api.queue.told == ["jobs VENUE_DOWN 7 true"])
            for query in ["limit=0", "limit=201", "shard=1024", "newestFirst=maybe", "colour=red", "since=%00"] {
                let answer = try await api.send(.GET, "/v1/admin/jobs?\(query)", key: boss)
                #expect(answer.code == "BAD_QUERY", "\(query): \(answer.text)")
            }
            let preview = try await api.send(
                .POST,
                "/v1/admin/jobs/requeue/preview",
                key: boss,
                body: #"{"errorClass": "VENUE_DOWN"}"#,
            )
            #expect(preview.json["matched"]?.int64 == 3, "\(preview.text)")
            // Everything, or more than was meant, has to be said.
            for body in [#"{"reason": "r"}"#, #"{"reason": "r", "errorClass": "X", "max": 2}"#] {
                let wide = try await post(api, "/jobs/requeue", boss, body, idempotency: "w")
                #expect(wide.code == "CONFIRM_MISMATCH", "\(wide.text)")
            }
            let body = #"{"reason": "back", "errorClass": "X", "resetAttempts": true, "toQueue": "stops", "rate": 50}"#
            let begun = try await post(api, "/jobs/requeue", boss, body, idempotency: "b")
            #expect(begun.status == 202, "\(begun.text)")
            #expect(begun.json["matched"]?.int64 == 3)
            let id = try #require(begun.json["id"]?.text)
            let work = try #require(api.queue.begun(id))
            #expect(work.kind == .requeue && work.resetsAttempts && work.target == .stops && work.rate == 50)
            #expect(work.selection.errorClass == "X")
            let again = try await post(api, "/jobs/requeue", boss, body, idempotency: "b")
            #expect(again.text == begun.text)
            #expect(again["Idempotency-Replayed"] == "true")
            while !api.queue.told.contains("run \(id)") { try await Task.sleep(nanoseconds: 5_000_000) }
            #expect(api.queue.told.count { $0 == "begin \(id)" } == 1)
            for kind in ["discard", "promote"] {
                let moved = try await post(
                    api,
                    "/jobs/\(kind)",
                    boss,
                    #"{"reason": "r", "ids": ["a", "b"]}"#,
                    idempotency: kind,
                )
                #expect(moved.status == 202, "\(moved.text)")
                #expect(moved.json["kind"]?.text == kind)
            }
            for body in [
                #"{"reason": "r", "shard": 1024}"#, #"{"reason": "r", "toQueue": "moon"}"#,
                #"{"reason": "r", "rate": -1}"#, #"{"reason": "r", "ids": "a"}"#, #"{"ids": ["a"]}"#,
            ] {
                #expect(try await post(api, "/jobs/requeue", boss, body, idempotency: "x").status == 400, "\(body)")
            }
            // What was begun and cut off is gone on with; what ended is not.
            try await api.sql(
                """
                INSERT INTO bulk_operations (id, kind, filter, cutoff_ms, actor, state) VALUES
                    ('cut', 'requeue', '{}', 0, 'a', 'running'), ('over', 'requeue', '{}', 0, 'a', 'done')
                """
            )
            #expect(try await post(api, "/batches/cut/resume", boss, idempotency: "c").status == 200)
            while !api.queue.told.contains("run cut") { try await Task.sleep(nanoseconds: 5_000_000) }
            #expect(try await post(api, "/batches/over/resume", boss, idempotency: "o").code == "BATCH_DONE")
            let groups = try await api.send(.GET, "/v1/admin/dead-groups", key: boss)
            #expect(groups.json["items"]?[0]?["count"]?.int64 == 3)
            let note = try await api.send(
                .PUT,
                "/v1/admin/dead-groups/X/note",
                key: boss,
                body: #"{"reason": "r", "note": "wait"}"#,
            )
            #expect(note.status == 200, "\(note.text)")
            #expect(api.queue.told.last == "note X wait")
        }
    }

    @Test func `is rebuilt by an administrator alone`() async throws {
        try await withStoredAPI { api in
            let low = try await api.tenant(scopes: "read,operate", roles: "OPERATOR").key
            let boss = try await api.tenant(scopes: "read,operate,admin", roles: "ADMIN").key
            let preview = try await api.send(.POST, "/v1/admin/redis/rebuild/preview", key: low)
            #expect(preview.json["offered"]?.int64 == 5, "\(preview.text)")
            #expect(try await post(api, "/redis/rebuild", low, idempotency: "a").status == 403)
            #expect(try await post(api, "/redis/rebuild", boss, idempotency: "a").status == 200)
            #expect(api.queue.told == ["rebuild drill"])
            #expect(try await api.send(.GET, "/v1/admin/config", key: low).status == 403)
            #expect(try await api.send(.GET, "/v1/admin/config", key: boss).status == 200)
        }
    }

    @Test func `accounts are compared with their venue, and a copied database is confirmed in two steps`() async throws
    {
        try await withStoredAPI { api in
            let boss = try await api.tenant(scopes: "read,operate,admin", roles: "OPERATOR,ADMIN").key
            let tenant = try await api.tenant()
            _ = try await api.create(tenant)
            let path = "/accounts/\(tenant.account)/reconcile"
            let begun = try await post(api, path, boss, idempotency: "r")
            #expect(begun.status == 202, "\(begun.text)")
            #expect(begun.json["total"]?.int64 == 1)
            #expect(try await post(api, path, boss, idempotency: "r").text == begun.text)
            let id = try #require(begun.json["id"]?.text)
            // Its trader sees it, too.
            let seen = try await api.send(.GET, "/v1/batches/\(id)", key: tenant.key)
            #expect(seen.json["kind"]?.text == "reconcile", "\(seen.text)")
            #expect(seen.json["actor"]?["kind"]?.text == "operator")
            let lines = try await api.pool.query(
                Statement(
                    sql: "SELECT concat_ws(' ', action, subject, reason) FROM audit WHERE action LIKE 'accounts%'"
                )
            ).map { try $0.string(0) }
            #expect(lines == ["accounts.reconcile account \(tenant.account) drill"])
            let nobody = "/accounts/01980000-0000-7000-8000-00000000ffff/reconcile"
            #expect(try await post(api, nobody, boss, idempotency: "n").status == 404)

            let venues = try await api.send(.GET, "/v1/admin/venues", key: boss)
            #expect(venues.json["items"]?[0]?["openOrders"]?.int64 == 1, "\(venues.text)")
            try await api.sql(
                """
                INSERT INTO halts (scope, subject, level, reason, actor) VALUES
                    ('account', '\(tenant.account)', 'sends', 'DATABASE_COPIED', 'system')
                """
            )
            let recovery = try await api.send(.GET, "/v1/admin/recovery", key: boss)
            #expect(recovery.json["held"]?.int64 == 1, "\(recovery.text)")
            let first = try await post(api, "/recovery/confirm", boss, idempotency: "c1")
            #expect(first.status == 202, "\(first.text)")
            let code = try #require(first.json["code"]?.text)
            // More is held since: the code was of less.
            let other = try await api.tenant()
            try await api.sql(
                """
                INSERT INTO halts (scope, subject, level, reason, actor) VALUES
                    ('account', '\(other.account)', 'sends', 'DATABASE_COPIED', 'system')
                """
            )
            let body = #"{"reason": "the old one is gone", "code": "\#(code)"}"#
            #expect(try await post(api, "/recovery/confirm", boss, body, idempotency: "c2").code == "CONFIRM_MISMATCH")
            let second = try await post(api, "/recovery/confirm", boss, idempotency: "c3")
            let now = try #require(second.json["code"]?.text)
            let done = try await post(
                api,
                "/recovery/confirm",
                boss,
                #"{"reason": "the old one is gone", "code": "\#(now)"}"#,
                idempotency: "c4",
            )
            #expect(done.status == 200, "\(done.text)")
            let after = try await api.send(.GET, "/v1/admin/recovery", key: boss)
            #expect(after.json["held"]?.int64 == 0)
            let plan = try await api.send(.POST, "/v1/admin/shards/rebalance/preview", key: boss)
            #expect(plan.json["pinned"]?.int64 == 0, "\(plan.text)")
        }
    }

    @Test func `an attempt that nothing proves ends by an operator's word, in two steps`() async throws {
        try await withStoredAPI { api in
            let boss = try await api.tenant(scopes: "read,operate", roles: "OPERATOR").key
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let path = "/orders/\(id)/resolve"
            let none = try await post(api, path, boss, idempotency: "l0")
            #expect(none.json["open"] == .array([]), "\(none.text)")
            let closed = try await api.act(tenant, id, .POST, "/close", nil)
            #expect(closed.status == 202, "\(closed.text)")
            // As if a worker had sent it, and its fence had passed.
            try await api.sql(
                """
                UPDATE intents SET sends = 1, send_token = 7, client_order_id = 'so-1', t0 = now() - interval '1 minute',
                    fence_until = now() - interval '30 seconds' WHERE order_id = '\(id)'
                """
            )
            let listed = try await post(api, path, boss, idempotency: "l1")
            let intent = try #require(listed.json["open"]?[0]?["intent"]?.text, "\(listed.text)")
            #expect(listed.json["open"]?[0]?["fencePassed"] == .bool(true))
            for (body, status) in [
                (#"{"reason": "r", "intent": "SL-99", "as": "absent", "evidence": "e"}"#, 404),
                (#"{"reason": "r", "intent": "\#(intent)", "evidence": "e"}"#, 400),
                (#"{"reason": "r", "intent": "\#(intent)", "as": "absent"}"#, 400),
                (#"{"reason": "r", "intent": "\#(intent)", "as": "filled", "evidence": "e"}"#, 400),
                (#"{"reason": "r", "intent": "\#(intent)", "as": "lost", "evidence": "e"}"#, 400),
            ] {
                let refused = try await post(api, path, boss, body, idempotency: "x")
                #expect(refused.status == status, "\(body): \(refused.text)")
            }
            func word(_ verdict: String, _ code: String?, _ key: String) async throws -> Answer {
                let code = code.map { #", "code": "\#($0)""# } ?? ""
                let body = #"{"reason": "r", "intent": "\#(intent)", "as": "\#(verdict)", "evidence": "list"\#(code)}"#
                return try await post(api, path, boss, body, idempotency: key)
            }
            let first = try await word("absent", nil, "w1")
            #expect(first.status == 202, "\(first.text)")
            let code = try #require(first.json["code"]?.text)
            // The code is of one word on one attempt.
            #expect(try await word("cancelled", code, "w2").code == "CONFIRM_MISMATCH")
            let done = try await word("absent", code, "w3")
            #expect(done.status == 200, "\(done.text)")
            #expect(try await word("absent", code, "w3").text == done.text)
            let left = try await post(api, path, boss, idempotency: "l2")
            #expect(!left.text.contains(intent), "\(left.text)")
            let lines = try await api.pool.query(
                Statement(sql: "SELECT concat_ws(' ', via, action, subject, reason) FROM audit")
            ).map { try $0.string(0) }
            #expect(lines == ["api orders.resolve order \(id) r: list"])
            #expect(
                try await post(api, "/orders/01980000-0000-7000-8000-00000000ffff/resolve", boss, idempotency: "n")
                    .status == 404
            )
        }
    }
}
