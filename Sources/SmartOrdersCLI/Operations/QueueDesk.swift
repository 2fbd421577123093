// The queue as the admin routes see it: what the operator's commands do, without a terminal.
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TriggerQueue

struct QueueDesk: QueueControl {
    let queue: BullQueue
    let pool: PostgresPool
    let orders: PostgresOrderStore
    let clock: SystemClock

    private func desk(_ note: OperatorNote? = nil) -> Operator {
        Operator(
            queue: queue,
            store: PostgresOperationStore(pool: pool),
            orders: orders,
            pool: pool,
            name: note?.actor ?? "operator",
        )
    }

    /// Carries out what a command does, in the words of the port.
    // Not inlined: the optimiser of Swift 6.3 crashes on asynchronous functions with this in them.
    @inline(never)
    private func asking<Result: Sendable>(
        _ body: () async throws -> Result
    ) async throws(QueueControlError) -> Result {
        do {
            return try await body()
        } catch let error as QueueControlError {
            throw error
        } catch let failure as Failure {
            switch failure.exit {
            case .notFound: throw .notFound
            case .usage, .refused: throw .refused(failure.sentence)
            case .conflict: throw .state(failure.sentence)
            case .failed, .unreachable: throw .unavailable(failure.sentence)
            }
        } catch let error as QueueError {
            switch error.code {
            case .badArgument: throw .refused(error.detail)
            case .unavailable, .outcomeUnknown, .full, .closed: throw .unavailable(error.detail)
            }
        } catch {
            throw .unavailable("\(error)")
        }
    }

    private static func text(_ object: JSONObject) -> [UInt8] { JSONValue.object(object).serialized() }

    // MARK: Queues

    func queues(_ selector: String) async throws(QueueControlError) -> [[UInt8]] {
        try await asking {
            let desk = desk()
            let wanted = try desk.queues(selector)
            let counts = try await queue.counts()
            let now = try await queue.serverTime()
            let pauses = try await orders.queuePauses()
            var rows: [[UInt8]] = []
            for one in wanted {
                let count = counts[one] ?? QueueCounts()
                let head = try await queue.ids(in: one, .waiting, limit: 1)
                let oldest = try await queue.records(head, in: one).first?.offeredAt
                var row: JSONObject = [
                    "queue": .string("\(one)"), "class": .string(one.jobClass.rawValue),
                    "partition": .integer(one.partition), "waiting": .integer(count.waiting),
                    "active": .integer(count.active), "delayed": .integer(count.delayed),
                    "retry": .integer(count.retry), "completed": .integer(count.completed),
                    "dead": .integer(count.dead),
                    "oldestMs": oldest.map { .number("\(max(0, now - $0))") } ?? .null,
                    "paused": .bool(try await queue.isPaused(one)), "pausedBy": .null, "pauseReason": .null,
                    "pauseLeftMs": .null,
                ]
                if let pause = pauses.first(where: { $0.queue == "\(one)" }) {
                    row["pausedBy"] = .string(pause.actor)
                    row["pauseReason"] = .string(pause.reason)
                    row["pauseLeftMs"] = pause.leftMs > 0 ? .number("\(pause.leftMs)") : .null
                }
                rows.append(Self.text(row))
            }
            return rows
        }
    }

    func pause(_ selector: String, milliseconds: Int64, _ note: OperatorNote) async throws(QueueControlError) {
        try await asking {
            try await desk(note).pause(selector, milliseconds: milliseconds, reason: note.reason) { _ in }
        }
    }

    func resume(_ selector: String, _ note: OperatorNote) async throws(QueueControlError) {
        try await asking { try await desk(note).resume(selector, reason: note.reason) { _ in } }
    }

    func drain(
        _ selector: String,
        includesDelayed: Bool,
        _ note: OperatorNote,
    ) async throws(QueueControlError) -> Int {
        try await asking {
            try await desk(note).drain(selector, includesDelayed: includesDelayed, reason: note.reason)
        }
    }

    // MARK: Jobs

    /// The flags that mean the same. An error is looked for as it is written.
    private static func filter(_ selection: JobSelection) throws -> JobFilter {
        var filter = try JobFilter.parse([])
        filter.id = selection.ids
        filter.queue = selection.queue
        filter.state = selection.state
        filter.error = selection.error.map { text in
            // What means something in an expression, and nothing else: other escapes are none.
            text.map { #"\^$.|?*+()[]{}"#.contains($0) ? "\\\($0)" : "\($0)" }.joined()
        }
        filter.errorClass = selection.errorClass
        filter.venue = selection.venue
        filter.symbol = selection.symbol
        filter.account = selection.account
        filter.order = selection.order
        filter.shard = selection.shard
        filter.leg = selection.leg
        filter.since = selection.since
        filter.until = selection.until
        filter.olderThan = selection.olderThan
        filter.limit = selection.limit
        filter.sorting = selection.newestFirst ? .newest : .oldest
        return filter
    }

    func jobs(_ selection: JobSelection) async throws(QueueControlError) -> [[UInt8]] {
        try await asking {
            let filter = try Self.filter(selection)
            let state = try filter.state(or: .dead)
            var rows: [[UInt8]] = []
            try await filter.find(desk(), state) { jobs in
                rows += jobs.map { JobsCommand.json($0, state).serialized() }
            }
            return rows
        }
    }

    func job(_ id: String) async throws(QueueControlError) -> [UInt8] {
        try await asking {
            guard let job = try await JobsCommand.found(id, queue).first else { throw QueueControlError.notFound }
            return job.serialized()
        }
    }

    func deadGroups() async throws(QueueControlError) -> [[UInt8]] {
        try await asking { try await DeadCommand.groups(desk(), try JobFilter.parse([])).map(Self.text) }
    }

    func setNote(_ text: String, of code: String, _ note: OperatorNote) async throws(QueueControlError) {
        try await asking { try await desk(note).setNote(text, of: code, reason: note.reason) }
    }

    // MARK: Bulk

    private static func work(_ work: BulkWork, _ filter: JobFilter) throws -> BulkRun.Work {
        let standard: JobState = work.kind == .promote ? .delayed : .dead
        let state = try filter.state(or: standard)
        var made: BulkRun.Work
        switch work.kind {
        case .requeue:
            guard state == .dead || state == .retry || state == .delayed else {
                throw QueueControlError.refused("Only dead and retrying jobs are requeued.")
            }
            made = BulkRun.Work(kind: state == .dead ? .requeue : .promote, state: state)
        case .discard:
            guard state != .active else { throw QueueControlError.refused("An active job is never removed.") }
            made = BulkRun.Work(kind: .discard, state: state)
        case .promote:
            guard state == .delayed || state == .retry else {
                throw QueueControlError.refused("Only delayed and retrying jobs are promoted.")
            }
            made = BulkRun.Work(kind: .promote, state: state)
        }
        made.resetsAttempts = work.resetsAttempts
        made.delayMs = work.delayMs
        made.target = work.target
        made.rate = work.rate
        return made
    }

    func preview(_ work: BulkWork) async throws(QueueControlError) -> (matched: Int, json: [UInt8]) {
        try await asking {
            let filter = try Self.filter(work.selection)
            let preview = try await BulkRun.preview(desk(), filter, try Self.work(work, filter).state)
            func counts(_ counts: [String: Int]) -> JSONValue {
                var object = JSONObject()
                for (name, count) in counts.sorted(by: { $0.key < $1.key }) { object[name] = .integer(count) }
                return .object(object)
            }
            let json = Self.text([
                "matched": .integer(preview.matched), "errors": counts(preview.errors),
                "orders": counts(preview.statuses),
                "samples": .array(preview.samples.map { JobsCommand.json($0, nil) }),
            ])
            return (preview.matched, json)
        }
    }

    /// What a work stores of itself beside its selection, so that whoever goes on with it does the same.
    private static func record(_ work: BulkRun.Work) -> JSONObject {
        [
            "state": .string(work.state.rawValue), "resetAttempts": .bool(work.resetsAttempts),
            "delayMs": .number("\(work.delayMs)"), "target": work.target.map { .string($0.rawValue) } ?? .null,
            "rate": .integer(work.rate),
        ]
    }

    private static func work(_ operation: BulkOperation) throws -> BulkRun.Work {
        let record = try JSONValue(parsing: Array(operation.filter.utf8))["work"]
        var work = BulkRun.Work(kind: operation.kind, state: .dead)
        guard let record, let state = record["state"]?.text.flatMap({ JobState(rawValue: $0) }) else {
            throw QueueControlError.state("The batch was begun on the command line: go on with it there.")
        }
        work.state = state
        work.resetsAttempts = record["resetAttempts"] == .bool(true)
        work.delayMs = record["delayMs"]?.int64 ?? 0
        work.target = record["target"]?.text.flatMap { JobClass(rawValue: $0) }
        work.rate = Int(record["rate"]?.int64 ?? 0)
        return work
    }

    func begin(_ work: BulkWork, id: String, _ note: OperatorNote) async throws(QueueControlError) -> Int {
        try await asking {
            let filter = try Self.filter(work.selection)
            let made = try Self.work(work, filter)
            let desk = desk(note)
            if let known = try await desk.store.operation(id), known.state != .listing { return known.matched }
            try await BulkRun(desk: desk, id: id, work: made).list(
                filter,
                reason: note.reason,
                work: Self.record(made),
            )
            return try await desk.store.operation(id)?.matched ?? 0
        }
    }

    func run(_ id: String, _ note: OperatorNote) async throws(QueueControlError) {
        try await asking {
            let desk = desk(note)
            guard let operation = try await desk.store.operation(id) else { throw QueueControlError.notFound }
            switch operation.state {
            case .done, .cancelled: return
            case .listing: throw QueueControlError.state("The batch was not listed to its end: ask for it anew.")
            case .running: break
            }
            let run = BulkRun(desk: desk, id: id, work: try Self.work(operation))
            try await run.audit(try await run.run(operation, clock: clock) { _ in })
        }
    }

    // MARK: Rebuild

    func rebuildPreview() async throws(QueueControlError) -> [UInt8] {
        try await asking {
            let pending = try await desk().store.pendingJobs().values.reduce(0, +)
            return Self.text([
                "offered": .integer(pending), "pauses": .integer(try await orders.queuePauses().count),
            ])
        }
    }

    func rebuild(_ note: OperatorNote) async throws(QueueControlError) -> [UInt8] {
        try await asking {
            let rebuilt = try await desk(note).rebuild(reason: note.reason)
            return Self.text([
                "generation": .number("\(rebuilt.generation)"), "offered": .integer(rebuilt.offered),
                "pauses": .integer(rebuilt.pauses), "dead": .integer(rebuilt.dead),
            ])
        }
    }
}
