// Operators' work on the queue in PostgreSQL: resumable bulk operations, pauses, audit rows.
//
// Invariant: an item is marked before Redis is asked and settled after its answer, so whoever goes on with an operation
// that was killed knows which items may have moved with it; each moves at most once per operation.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum OperationSQL {
    static let file = StatementFile(PackageResources.operations_sql, prefix: "operations")
    static let audit = file["audit"]
    static let audits = file["audits"]
    static let begin = file["begin"]
    static let operations = file["operations"]
    static let addItems = file["add_items"]
    static let setState = file["set_state"]
    static let openItems = file["open_items"]
    static let markSent = file["mark_sent"]
    static let settle = file["settle"]
    static let reopen = file["reopen"]
    static let discard = file["discard"]
    static let pending = file["pending"]
    static let pause = file["pause"]
    static let resume = file["resume"]
    static let deadNotes = file["dead_notes"]
    static let setDeadNote = file["set_dead_note"]
    static let removeDeadNote = file["remove_dead_note"]
}

/// A bulk operation and how far it is.
public struct BulkOperation: Sendable {
    public enum Kind: String, Sendable { case requeue, discard, promote }
    public enum State: String, Sendable { case listing, running, done, cancelled }
    public let id: String
    public let kind: Kind
    /// JSON, as the operator gave it.
    public let filter: String
    /// Server ms of Redis.
    public let cutoffMs: Int64
    public let actor: String
    public let reason: String
    public let state: State
    public let startedAt: Timestamp
    public let matched: Int
    public let moved: Int
    public let obsolete: Int
    public let duplicate: Int
    public let failed: Int
}

/// One job of a bulk operation.
public struct BulkItem: Hashable, Sendable {
    public enum Outcome: String, Sendable { case moved, obsolete, duplicate, failed }
    /// Name of the queue, such as `stops-03`.
    public let queue: String
    public let job: String
    /// Redis was asked before, and the answer was not stored.
    public let isSent: Bool
    /// 0 before it is stored.
    let number: Int64

    public init(queue: String, job: String) { self.init(queue: queue, job: job, isSent: false, number: 0) }

    init(queue: String, job: String, isSent: Bool, number: Int64) {
        self.queue = queue
        self.job = job
        self.isSent = isSent
        self.number = number
    }
}

/// What an operator, or the system itself, did.
public struct AuditRow: Hashable, Sendable {
    public let id: Int64
    public let at: Timestamp
    public let actor: String
    public let action: String
    public let subject: String
    public let reason: String
    /// JSON.
    public let detail: String
}

public struct PostgresOperationStore: Sendable {
    private let pool: PostgresPool

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    /// - Parameter detail: JSON.
    public func audit(
        actor: String,
        action: String,
        subject: String,
        reason: String,
        detail: String,
    ) async throws(StoreError) {
        let parameters: [Parameter] = [.text(actor), .text(action), .text(subject), .text(reason), .json(detail)]
        try await writing { _ = try await pool.query(OperationSQL.audit, parameters) }
    }

    /// Newest first.
    /// - Parameters:
    ///   - action: or the beginning of one.
    ///   - seconds: how old at most.
    public func audits(
        actor: String?,
        action: String?,
        seconds: Int64?,
        limit: Int,
    ) async throws(StoreError) -> [AuditRow] {
        let parameters: [Parameter] = [
            .optional(actor), .optional(action), .optional(seconds), .int8(Int64(limit)),
        ]
        return try await reading {
            try await pool.query(OperationSQL.audits, parameters).map { row in
                AuditRow(
                    id: try row.int64(0),
                    at: try row.moment(1),
                    actor: try row.string(2),
                    action: try row.string(3),
                    subject: try row.string(4),
                    reason: try row.string(5),
                    detail: try row.string(6),
                )
            }
        }
    }

    /// Stores a new operation; one with this id stays as it is.
    public func begin(
        _ id: String,
        _ kind: BulkOperation.Kind,
        filter: String,
        cutoffMs: Int64,
        actor: String,
        reason: String,
    ) async throws(StoreError) {
        let parameters: [Parameter] = [
            .text(id), .text(kind.rawValue), .json(filter), .int8(cutoffMs), .text(actor), .text(reason),
        ]
        try await writing { _ = try await pool.query(OperationSQL.begin, parameters) }
    }

    public func operation(_ id: String) async throws(StoreError) -> BulkOperation? {
        try await operations(.text(id), limit: 1).first
    }

    /// Newest first.
    public func operations(limit: Int = 50) async throws(StoreError) -> [BulkOperation] {
        try await operations(.null, limit: limit)
    }

    private func operations(_ id: Parameter, limit: Int) async throws(StoreError) -> [BulkOperation] {
        try await reading {
            try await pool.query(OperationSQL.operations, [id, .int8(Int64(limit))]).map { row in
                BulkOperation(
                    id: try row.string(0),
                    kind: try row.word(1),
                    filter: try row.string(2),
                    cutoffMs: try row.int64(3),
                    actor: try row.string(4),
                    reason: try row.string(5),
                    state: try row.word(6),
                    startedAt: try row.moment(7),
                    matched: Int(try row.int64(8)),
                    moved: Int(try row.int64(9)),
                    obsolete: Int(try row.int64(10)),
                    duplicate: Int(try row.int64(11)),
                    failed: Int(try row.int64(12)),
                )
            }
        }
    }

    /// Adds items in their order; known ones stay as they are.
    public func add(_ items: [BulkItem], to id: String) async throws(StoreError) {
        let parameters: [Parameter] = [.text(id), .texts(items.map(\.queue)), .texts(items.map(\.job))]
        try await writing { _ = try await pool.query(OperationSQL.addItems, parameters) }
    }

    /// False: it has ended already.
    @discardableResult
    public func set(_ state: BulkOperation.State, of id: String) async throws(StoreError) -> Bool {
        try await writing {
            try await !pool.query(OperationSQL.setState, [.text(id), .text(state.rawValue)]).isEmpty
        }
    }

    /// Items that are not settled, oldest first; none when the operation does not run.
    public func openItems(of id: String, limit: Int) async throws(StoreError) -> [BulkItem] {
        try await reading {
            try await pool.query(OperationSQL.openItems, [.text(id), .int8(Int64(limit))]).map { row in
                BulkItem(
                    queue: try row.string(0),
                    job: try row.string(1),
                    isSent: try row.bool(2),
                    number: try row.int64(3),
                )
            }
        }
    }

    public func markSent(_ items: [BulkItem]) async throws(StoreError) {
        try await writing { _ = try await pool.query(OperationSQL.markSent, [.int8Array(items.map(\.number))]) }
    }

    public func settle(_ outcomes: [(item: BulkItem, outcome: BulkItem.Outcome)]) async throws(StoreError) {
        for outcome in [BulkItem.Outcome.moved, .obsolete, .duplicate, .failed] {
            let numbers = outcomes.filter { $0.outcome == outcome }.map(\.item.number)
            if numbers.isEmpty { continue }
            try await writing {
                _ = try await pool.query(OperationSQL.settle, [.int8Array(numbers), .text(outcome.rawValue)])
            }
        }
    }

    /// Outbox rows of jobs that were dead and are wanted again.
    public func reopen(_ jobs: [String], resetsCrashes: Bool = false) async throws(StoreError) {
        try await writing { _ = try await pool.query(OperationSQL.reopen, [.texts(jobs), .bool(resetsCrashes)]) }
    }

    /// Outbox rows of jobs that an operator gave up.
    public func discard(_ jobs: [String]) async throws(StoreError) {
        try await writing { _ = try await pool.query(OperationSQL.discard, [.texts(jobs)]) }
    }

    /// Outbox rows that are pending: what comes back after a drain.
    public func pendingJobs() async throws(StoreError) -> [JobClass: Int] {
        try await reading {
            var counts: [JobClass: Int] = [:]
            for row in try await pool.query(OperationSQL.pending) {
                guard let jobClass = JobClass(stored: try row.int64(0)) else { throw CorruptValue("job class") }
                counts[jobClass] = Int(try row.int64(1))
            }
            return counts
        }
    }

    /// - Parameter durationMs: 0: until resumed.
    public func recordPause(
        _ queue: String,
        durationMs: Int64,
        actor: String,
        reason: String,
    ) async throws(StoreError) {
        let parameters: [Parameter] = [.text(queue), .int8(durationMs), .text(actor), .text(reason)]
        try await writing { _ = try await pool.query(OperationSQL.pause, parameters) }
    }

    public func forgetPause(_ queue: String) async throws(StoreError) {
        try await writing { _ = try await pool.query(OperationSQL.resume, [.text(queue)]) }
    }

    /// What people noted about errors of dead jobs, by code.
    public func deadNotes() async throws(StoreError) -> [String: String] {
        try await reading {
            var notes: [String: String] = [:]
            for row in try await pool.query(OperationSQL.deadNotes) { notes[try row.string(0)] = try row.string(1) }
            return notes
        }
    }

    /// - Parameter note: empty removes it.
    public func setDeadNote(_ note: String, of code: String, actor: String) async throws(StoreError) {
        try await writing {
            if note.isEmpty {
                _ = try await pool.query(OperationSQL.removeDeadNote, [.text(code)])
            } else {
                _ = try await pool.query(OperationSQL.setDeadNote, [.text(code), .text(note), .text(actor)])
            }
        }
    }
}
