// Processes, shards, leadership and halts over HTTP (INTERFACES.md 4.12, RELIABILITY.md 11): the port behind them is that
// of the operator's commands. Each change is audited in its own statement and may be made twice.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct ClusterAdminRoutes: Sendable {
    let admin: AdminRoutes
    let batches: BatchDuty

    private var control: any ClusterControl { admin.control }

    var routes: [Route] {
        [
            get("/workers", workers), get("/shards", shards), get("/leader", leader), get("/halts", halts),
            Route(
                method: .get,
                pattern: AdminRoutes.path + "/attention",
                policy: .admin,
                scope: .read,
                handler: attention,
            ),
            admin.post("/workers/{id}/quiet") { call, caller, order in
                try await worker(call, caller, order, "workers.quiet") { try await control.setQuiet(true, of: $0, $1) }
            },
            admin.post("/workers/{id}/resume") { call, caller, order in
                try await worker(call, caller, order, "workers.resume") {
                    try await control.setQuiet(false, of: $0, $1)
                }
            },
            admin.post("/workers/{id}/stop") { call, caller, order in
                try await worker(call, caller, order, "workers.stop") { try await control.stop($0, $1) }
            },
            admin.post("/workers/{id}/concurrency", fields: ["concurrency"]) { call, caller, order in
                let field = try order.json.required("concurrency", expected: "a number of jobs")
                let (concurrency, range) = (try field.int(), WorkerStanding.concurrencies)
                guard range.contains(concurrency) else {
                    throw field.error(.wrongType, expected: "\(range.lowerBound) to \(range.upperBound)")
                }
                return try await worker(call, caller, order, "workers.concurrency") {
                    try await control.setConcurrency(concurrency, of: $0, $1)
                }
            },
            admin.post("/leader/resign", resign), admin.post("/shards/rebalance", rebalance),
            Route(
                method: .post,
                pattern: AdminRoutes.path + "/shards/rebalance/preview",
                policy: .admin,
                scope: .operate,
                bodyTypes: AdminRoutes.json,
                handler: previewRebalance,
            ),
            admin.post("/accounts/{id}/reconcile", reconcile),
            admin.post("/shards/move", fields: ["shards", "worker"], move),
            admin.post("/halts", fields: ["level", "scope"], halt),
            admin.post("/accounts/{id}/halt", fields: ["level"], haltAccount),
            admin.post("/accounts/{id}/resume", fields: ["code"]) { call, caller, order in
                try await end(.account, call.captures[0], call, caller, order)
            },
            Route(
                method: .delete,
                pattern: AdminRoutes.path + "/halts/{id}",
                policy: .admin,
                bodyTypes: AdminRoutes.json,
            ) { call in
                let caller = try admin.actor(call, .operate)
                let order = try admin.order(call, ["code"])
                guard let (scope, subject) = Self.place(call.captures[0]) else { throw Problem.notFound }
                return try await end(scope, subject, call, caller, order)
            },
        ]
    }

    // MARK: Reading

    private func get(_ path: String, _ write: @escaping @Sendable (inout JSONWriter) async throws -> Void) -> Route {
        Route(method: .get, pattern: AdminRoutes.path + path, policy: .admin, scope: .read) { call in
            _ = try admin.reader(call)
            try call.query.check(known: [])
            var writer = JSONWriter(reserving: 4_096)
            try await write(&writer)
            return .json(.ok, writer.take())
        }
    }

    private static func list<Item>(
        _ items: [Item],
        _ writer: inout JSONWriter,
        _ write: (Item, inout JSONWriter) -> Void,
    ) {
        writer.beginObject()
        writer.key("items")
        writer.beginArray()
        for item in items {
            writer.beginObject()
            write(item, &writer)
            writer.endObject()
        }
        writer.endArray()
        writer.member("nextCursor", orNull: nil as String?)
        writer.endObject()
    }

    @Sendable
    private func workers(_ writer: inout JSONWriter) async throws {
        Self.list(try await control.workers(), &writer) { worker, writer in
            writer.member("id", worker.id.text)
            writer.member("live", worker.isLive)
            writer.member("quiet", worker.isQuiet)
            writer.member("stopping", worker.wantsStop)
            writer.member("registeredAt", worker.registeredAt)
            writer.member("shards", worker.shards)
            writer.member("accepted", worker.accepted)
            writer.member("concurrency", worker.concurrency)
        }
    }

    @Sendable
    private func shards(_ writer: inout JSONWriter) async throws {
        Self.list(try await control.shards(), &writer) { shard, writer in
            writer.member("shard", shard.shard)
            writer.member("worker", orNull: shard.worker?.text)
            writer.member("epoch", shard.epoch)
            writer.member("accepted", shard.isAccepted)
            writer.member("previous", orNull: shard.previous?.text)
            writer.member("pinned", orNull: shard.pinned?.text)
        }
    }

    @Sendable
    private func leader(_ writer: inout JSONWriter) async throws {
        let leader = try await control.leader()
        writer.beginObject()
        writer.member("worker", orNull: leader.worker?.text)
        writer.member("epoch", leader.epoch)
        writer.endObject()
    }

    @Sendable
    private func halts(_ writer: inout JSONWriter) async throws {
        Self.list(try await control.halts(), &writer) { $1.halt($0) }
    }

    /// Orders that need somebody to look, with what is known of them.
    @Sendable
    private func attention(_ call: Call) async throws -> Reply {
        _ = try admin.reader(call)
        return try await admin.backend.page(call, of: "attention", id: { $0.0.value }) { after, limit in
            var rows: [(OrderID, [UInt8])] = []
            for id in try await control.attention(after: after.map { OrderID($0) }, limit: limit) {
                let found = try await admin.operators.rows(.orders, subject: "\(id)", after: nil, limit: 1)
                rows += found.map { (id, $0.json) }
            }
            return rows
        } _: { writer, row in
            writer.raw(row.1)
        }
    }

    // MARK: Acting

    private func worker(
        _ call: Call,
        _ caller: Caller,
        _ order: AdminRoutes.Order,
        _ name: String,
        _ act: (WorkerID, OperatorNote) async throws -> Bool,
    ) async throws -> Reply {
        let id = WorkerID(call.captures[0])
        guard try await control.workers().contains(where: { $0.id == id }) else { throw Problem.notFound }
        return try await admin.once(name, "worker \(id.text)", call, caller, order) {
            guard try await act(id, admin.note(caller, order)) else {
                throw Problem(.workerGone, "The worker's lease has lapsed: its shards go to others.")
            }
        }
    }

    @Sendable
    private func resign(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        try await admin.once("leader.resign", "leader", call, caller, order) {
            guard try await control.resignLeader(admin.note(caller, order)) != nil else {
                throw Problem(.notLeader, "Nobody leads now: somebody will within seconds.")
            }
        }
    }

    @Sendable
    private func rebalance(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        try await admin.once("shards.rebalance", "shards", call, caller, order) {
            _ = try await control.unpin(admin.note(caller, order))
        }
    }

    /// Where shards would go if none were pinned.
    @Sendable
    private func previewRebalance(_ call: Call) async throws -> Reply {
        _ = try admin.actor(call, .operate)
        try JSONField(try call.json(admin.backend.configuration.limits)).refuseUnknownKeys(except: [])
        let workers = try await control.workers()
        let shards = try await control.shards()
        let moves = Scheduler.moves(
            holders: shards.map(\.worker),
            able: workers.filter { $0.isLive && !$0.isQuiet }.map(\.id),
        )
        return .json { writer in
            writer.member("pinned", shards.count { $0.pinned != nil })
            writer.key("moves")
            writer.beginArray()
            for move in moves {
                writer.beginObject()
                writer.member("shard", move.shard)
                writer.member("from", orNull: shards[move.shard].worker?.text)
                writer.member("to", move.to.text)
                writer.endObject()
            }
            writer.endArray()
        }
    }

    /// Every open order of an account is compared with its venue.
    @Sendable
    private func reconcile(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        let backend = admin.backend
        guard let id = AccountID(call.captures[0]), try await admin.operators.account(id) != nil else {
            throw Problem.notFound
        }
        if let known = try await backend.known(call, caller, order.body) { return known }
        let reply = try await Tenancy.$accounts.withValue([id]) {
            let batch = Batch(
                id: backend.newID(),
                account: id,
                kind: .reconcile,
                orders: try await backend.traders.openOrders(of: id, market: nil),
                actor: Actor(kind: .operator, id: caller.user.name),
                reason: order.reason,
                startedAt: backend.clock.now(),
            )
            let text = AccountRoutes.text(batch)
            return try await backend.once(call, caller, order.body, status: .accepted, text) { answer in
                try await backend.traders.add(batch, answer: answer)
            }
        }
        if reply.headers[.idempotencyReplayed] == nil {
            let line = admin.audit("accounts.reconcile", "account \(id)", call, caller, order)
            try await admin.operators.act(.note, audit: line)
        }
        batches.poke()
        return reply
    }

    @Sendable
    private func move(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        let move = try Move(order.json)
        return try await admin.once("shards.move", "worker \(move.worker.text)", call, caller, order) {
            try await carryOut(move, admin.note(caller, order))
        }
    }

    private struct Move: Sendable {
        let shards: [Int]
        let worker: WorkerID

        init(_ json: JSONField) throws {
            shards = try json.elements("shards").map { element in
                let shard = try element.int()
                guard (0...1_023).contains(shard) else { throw element.error(.wrongType, expected: "0 to 1023") }
                return shard
            }
            worker = WorkerID(try json.required("worker", expected: "a worker's id").prose(limit: 100))
        }
    }

    private func carryOut(_ move: Move, _ note: OperatorNote) async throws {
        let isPinned = try await control.pin(move.shards, to: move.worker, note)
        if !isPinned { throw Problem(.workerGone, "The worker is not live, or takes nothing.") }
    }

    // MARK: Halts

    /// Reads `cluster`, `venue:V`, `market:M`, `account:A`, `order:O`.
    private static func place(_ text: String) -> (HaltInForce.Scope, String)? {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let scope = HaltInForce.Scope(rawValue: String(parts[0])), (scope == .cluster) == (parts.count == 1),
            parts.last?.isEmpty == false
        else { return nil }
        return (scope, parts.count == 1 ? "" : String(parts[1]))
    }

    @Sendable
    private func halt(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        let field = try order.json.required("scope", expected: "where it holds")
        guard let (scope, subject) = Self.place(try field.prose(limit: 100)) else {
            throw field.error(.badID, expected: "cluster, venue:V, market:M, account:A or order:O")
        }
        return try await set(scope, subject, call, caller, order)
    }

    @Sendable
    private func haltAccount(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        guard let id = AccountID(call.captures[0]) else { throw Problem.notFound }
        return try await set(.account, "\(id)", call, caller, order)
    }

    private func set(
        _ scope: HaltInForce.Scope,
        _ subject: String,
        _ call: Call,
        _ caller: Caller,
        _ order: AdminRoutes.Order,
    ) async throws -> Reply {
        let level: HaltInForce.Level = try order.json.required("level", expected: "entries or sends").choice()
        // A halt of something that is misspelt would halt nothing.
        guard try await control.isKnown(scope, subject) else { throw Problem.notFound }
        let halt = HaltInForce(scope: scope, subject: subject, level: level)
        return try await admin.once("halt.\(level.rawValue)", "\(scope.rawValue):\(subject)", call, caller, order) {
            try await control.set(halt, admin.note(caller, order))
        }
    }

    /// In two steps: what was held leaves at once. The code names the halt that was seen.
    private func end(
        _ scope: HaltInForce.Scope,
        _ subject: String,
        _ call: Call,
        _ caller: Caller,
        _ order: AdminRoutes.Order,
    ) async throws -> Reply {
        let code = try order.json.optional("code")?.prose(limit: 100)
        let present = try await control.halts().first { $0.halt.scope == scope && $0.halt.subject == subject }
        guard let halt = present else { throw Problem.notFound }
        let what = "halt.off \(scope.rawValue) \(subject) \(halt.since.microseconds)"
        guard let code else {
            return .json(.accepted) { writer in
                writer.member("code", admin.newCode(for: what, of: caller))
                writer.member("expiresInMs", AdminRoutes.codeLifeMs)
                writer.key("ends")
                writer.beginObject()
                writer.halt(halt)
                writer.endObject()
            }
        }
        try admin.check(code, for: what, of: caller)
        guard try await control.lift(halt, admin.note(caller, order)) else {
            throw Problem(.confirmMismatch, "The halt was set anew since it was shown.", pointer: "/code")
        }
        return .json(.ok) { writer in
            writer.key("ended")
            writer.beginObject()
            writer.halt(halt)
            writer.endObject()
        }
    }
}

extension JSONWriter {
    fileprivate mutating func halt(_ record: HaltRecord) {
        let (scope, subject) = (record.halt.scope.rawValue, record.halt.subject)
        member("id", subject.isEmpty ? scope : "\(scope):\(subject)")
        member("scope", scope)
        member("subject", subject)
        member("level", record.halt.level)
        member("reason", record.reason)
        member("by", record.actor)
        member("since", record.since)
        member("held", record.held)
    }
}
