// Queues, jobs, the dead and bulk operations over HTTP (INTERFACES.md 4.12): what the operator's commands do, behind the
// port `QueueControl`.
//
// A bulk operation answers when its jobs are listed; this process then works it off. When it dies, the operation waits for
// `POST /batches/{id}/resume`; each job moves once per operation whoever goes on with it.

internal import HTTPTypes
internal import JSONText
internal import Logging
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

struct QueueAdminRoutes: Sendable {
    let admin: AdminRoutes
    let queue: any QueueControl
    let duty: BulkDuty

    /// More than this, or everything there is, needs `force`.
    private static let maximum = 1_000
    private static let longestPauseMs: Int64 = 30 * 86_400_000
    private static let selectors: Set<String> = [
        "ids", "queue", "state", "error", "errorClass", "venue", "symbol", "account", "order", "shard", "leg", "since",
        "until", "olderThan", "limit", "newestFirst",
    ]
    private static let works: Set<String> = ["resetAttempts", "delayMs", "toQueue", "rate", "max", "force"]

    var routes: [Route] { reading + acting + bulk }

    private var reading: [Route] {
        [
            get("/queues") { call in
                try call.query.check(known: ["queue"])
                return .list(try await queue.queues(call.query["queue"] ?? "all")) { $0.raw($1) }
            },
            get("/queues/{id}") { call in
                try call.query.check(known: [])
                return .list(try await queue.queues(call.captures[0])) { $0.raw($1) }
            },
            get("/jobs") { call in
                let selection = try Self.selection(call.query)
                return .list(try await queue.jobs(selection)) { $0.raw($1) }
            },
            get("/jobs/{id}") { call in
                try call.query.check(known: [])
                return .json(.ok, try await queue.job(call.captures[0]))
            },
            get("/dead-groups") { call in
                try call.query.check(known: [])
                return .list(try await queue.deadGroups()) { $0.raw($1) }
            },
        ]
    }

    private var acting: [Route] {
        [
            admin.post("/queues/{id}/pause", fields: ["forMs"]) { call, caller, order in
                let field = try order.json.optional("forMs")
                let length = try field?.count() ?? 0
                if let field, length > Self.longestPauseMs {
                    throw field.error(.wrongType, expected: "at most \(Self.longestPauseMs)")
                }
                return try await change("queues.pause", call, caller, order) {
                    try await queue.pause($0, milliseconds: length, $1)
                }
            },
            admin.post("/queues/{id}/resume") { call, caller, order in
                try await change("queues.resume", call, caller, order) { try await queue.resume($0, $1) }
            },
            admin.post("/queues/{id}/drain", fields: ["delayed"]) { call, caller, order in
                let includesDelayed = try order.json.optional("delayed")?.bool() ?? false
                return try await change("queues.drain", call, caller, order) {
                    _ = try await queue.drain($0, includesDelayed: includesDelayed, $1)
                }
            },
            Route(
                method: .put,
                pattern: AdminRoutes.path + "/dead-groups/{id}/note",
                policy: .admin,
                bodyTypes: AdminRoutes.json,
                handler: setNote,
            ),
            admin.post("/redis/rebuild", scope: .admin) { call, caller, order in
                try await admin.once("redis.rebuild", "redis", call, caller, order) {
                    _ = try await queue.rebuild(Self.note(caller, order))
                }
            },
            preview("/redis/rebuild/preview") { _, _ in try await queue.rebuildPreview() },
        ]
    }

    private var bulk: [Route] {
        [
            begin(.requeue), begin(.discard), begin(.promote),
            preview("/jobs/requeue/preview", fields: Self.selectors.union(Self.works)) { _, json in
                _ = try Self.bounds(json)
                return try await queue.preview(try Self.work(.requeue, json)).json
            },
            admin.post("/batches/{id}/resume", resume),
        ]
    }

    // MARK: Parts

    private func get(_ path: String, _ read: @escaping @Sendable (Call) async throws -> Reply) -> Route {
        Route(method: .get, pattern: AdminRoutes.path + path, policy: .admin, scope: .read) { call in
            _ = try admin.reader(call)
            return try await read(call)
        }
    }

    private func preview(
        _ path: String,
        fields: Set<String> = [],
        _ read: @escaping @Sendable (Call, JSONField) async throws -> [UInt8],
    ) -> Route {
        Route(
            method: .post,
            pattern: AdminRoutes.path + path,
            policy: .admin,
            scope: .operate,
            bodyTypes: AdminRoutes.json,
        ) { call in
            _ = try admin.actor(call, .operate)
            let json = JSONField(try call.json(admin.backend.configuration.limits))
            try json.refuseUnknownKeys(except: fields)
            return .json(.ok, try await read(call, json))
        }
    }

    private static func note(_ caller: Caller, _ order: AdminRoutes.Order) -> OperatorNote {
        OperatorNote(actor: AdminRoutes.name(of: caller), reason: order.reason)
    }

    /// Something that audits itself and may be done twice, on the queues of a selector.
    private func change(
        _ name: String,
        _ call: Call,
        _ caller: Caller,
        _ order: AdminRoutes.Order,
        _ act: (String, OperatorNote) async throws -> Void,
    ) async throws -> Reply {
        let selector = call.captures[0]
        // Whether there is such a queue is known before the key is used up.
        _ = try await queue.queues(selector)
        return try await admin.once(name, "queue \(selector)", call, caller, order) {
            try await act(selector, Self.note(caller, order))
        }
    }

    private func setNote(_ call: Call) async throws -> Reply {
        let caller = try admin.actor(call, .operate)
        let order = try admin.order(call, ["note"])
        let text = try order.json.required("note", expected: "a text, empty to remove it").prose(limit: 1_000)
        let code = call.captures[0]
        guard AdminRoutes.isWord(code) else { throw Problem.notFound }
        try await queue.setNote(text, of: code, Self.note(caller, order))
        return .json { writer in
            writer.member("error", code)
            writer.member("note", text)
        }
    }

    // MARK: Selections

    private static func selection(_ query: Query) throws -> JobSelection {
        try query.check(known: selectors.subtracting(["ids"]))
        for item in query.items where !AdminRoutes.isWord(item.value) {
            throw Problem(.badQuery, "\(item.name) is an id or a word.")
        }
        var selection = JobSelection()
        selection.queue = query["queue"] ?? "all"
        selection.state = query["state"]
        selection.error = query["error"]
        selection.errorClass = query["errorClass"]
        selection.venue = query["venue"]
        selection.symbol = query["symbol"]
        selection.account = query["account"]
        selection.order = query["order"]
        if query["shard"] != nil { selection.shard = try query.number("shard", in: 0...1_023, default: 0) }
        selection.leg = query["leg"]
        selection.since = query["since"]
        selection.until = query["until"]
        selection.olderThan = query["olderThan"]
        selection.limit = try query.number("limit", in: 1...200, default: 50)
        switch query["newestFirst"] {
        case nil, "false": selection.newestFirst = false
        case "true": selection.newestFirst = true
        case _: throw Problem(.badQuery, "newestFirst is true or false.")
        }
        return selection
    }

    private static func selection(_ json: JSONField) throws -> JobSelection {
        func word(_ key: String) throws -> String? { try json.optional(key)?.prose(limit: 100) }
        var selection = JobSelection()
        if let field = try json.optional("ids") {
            let ids = try field.elements()
            guard ids.count <= 100 else { throw field.error(.wrongType, expected: "at most 100 ids") }
            selection.ids = try ids.map { try $0.prose(limit: 100) }
        }
        selection.queue = try word("queue") ?? "all"
        selection.state = try word("state")
        selection.error = try word("error")
        selection.errorClass = try word("errorClass")
        selection.venue = try word("venue")
        selection.symbol = try word("symbol")
        selection.account = try word("account")
        selection.order = try word("order")
        selection.leg = try word("leg")
        selection.since = try word("since")
        selection.until = try word("until")
        selection.olderThan = try word("olderThan")
        selection.newestFirst = try json.optional("newestFirst")?.bool() ?? false
        if let field = try json.optional("shard") { selection.shard = try Self.number(field, 0...1_023) }
        if let field = try json.optional("limit") { selection.limit = try Self.number(field, 1...1_000_000) }
        return selection
    }

    private static func number(_ field: JSONField, _ range: ClosedRange<Int>) throws(JSONError) -> Int {
        let number = try field.int()
        guard range.contains(number) else {
            throw field.error(.wrongType, expected: "\(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    private static func work(_ kind: BulkWork.Kind, _ json: JSONField) throws -> BulkWork {
        var work = BulkWork(kind: kind, selection: try selection(json))
        work.resetsAttempts = try json.optional("resetAttempts")?.bool() ?? false
        if let field = try json.optional("delayMs") { work.delayMs = Int64(try number(field, 0...86_400_000)) }
        work.target = try json.optional("toQueue")?.choice()
        if let field = try json.optional("rate") { work.rate = try number(field, 0...100_000) }
        return work
    }

    /// How many jobs it may be, and whether that does not matter.
    private static func bounds(_ json: JSONField) throws -> (maximum: Int, isForced: Bool) {
        let maximum = try json.optional("max").map { try number($0, 1...1_000_000) }
        return (maximum ?? Self.maximum, try json.optional("force")?.bool() ?? false)
    }

    // MARK: Bulk

    private func begin(_ kind: BulkWork.Kind) -> Route {
        admin.post("/jobs/\(kind.rawValue)", fields: Self.selectors.union(Self.works)) { call, caller, order in
            let work = try Self.work(kind, order.json)
            let (maximum, isForced) = try Self.bounds(order.json)
            if let known = try await admin.backend.known(call, caller, order.body) { return known }
            let matched = try await queue.preview(work).matched
            if !isForced, matched > maximum || work.selection == JobSelection() {
                throw Problem(.confirmMismatch, "\(matched) jobs match: narrow it down, or say so.", pointer: "/force")
            }
            // The same request has the same batch, so one that was cut off is gone on with.
            let id = "\(kind.rawValue)-\(admin.backend.name(of: call, caller))"
            let note = Self.note(caller, order)
            let listed = try await queue.begin(work, id: id, note)
            var writer = JSONWriter()
            writer.beginObject()
            writer.member("id", id)
            writer.member("kind", kind)
            writer.member("state", "running")
            writer.member("matched", listed)
            writer.endObject()
            let text = writer.take()
            let reply = try await admin.backend.once(call, caller, order.body, status: .accepted, text) { answer in
                try await admin.operators.keep(answer)
            }
            duty.add(id, note)
            return reply
        }
    }

    @Sendable
    private func resume(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        let id = call.captures[0]
        let before = try await admin.row(.batches, id)
        guard try JSONValue(parsing: before)["state"]?.text == "running" else {
            throw Problem(.batchDone, "The batch has ended, or was not begun.")
        }
        let reply = try await admin.act(.note, "jobs.batches.resume", "batch \(id)", call, caller, order)
        // One on orders of an account is gone on with by whoever has its lease.
        if case .string? = try JSONValue(parsing: before)["accountId"] {
            admin.batches.poke()
        } else {
            duty.add(id, Self.note(caller, order))
        }
        return reply
    }
}

/// Works bulk operations off that were begun, or are gone on with, at this process: one after the other.
final class BulkDuty: Sendable {
    private static let pauseMs: Int64 = 60_000

    private let queue: any QueueControl
    private let clock: any EngineClock
    private let logger: Logger
    private let bell = Bell()
    private let waiting = Locked<[(id: String, note: OperatorNote)]>([])

    init(queue: any QueueControl, clock: any EngineClock, logger: Logger) {
        self.queue = queue
        self.clock = clock
        self.logger = logger
    }

    func add(_ id: String, _ note: OperatorNote) {
        waiting.withLock { $0.append((id, note)) }
        bell.ring()
    }

    /// Runs until the task is cancelled.
    func run() async { await bell.serve(every: Self.pauseMs, clock) { await self.workOff() } }

    private func workOff() async {
        while !Task.isCancelled, let next = waiting.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
            do throws(QueueControlError) {
                try await queue.run(next.id, next.note)
            } catch {
                logger.warning(
                    "Bulk operation waits to be resumed",
                    metadata: ["batch": "\(next.id)", "error": "\(error)"],
                )
            }
        }
    }
}
