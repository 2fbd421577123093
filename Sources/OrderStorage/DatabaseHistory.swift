// The control row: incarnation, system identifier, timeline, the queue's generation, halts.
//
// A database that was restored, copied or promoted no longer knows what it sent. Whoever notices first begins a new
// history: decisions made on rows of the old one do not commit, and no venue is asked anything until its fence has
// passed (RELIABILITY.md 2.10). What follows (finding what was lost) is the recovery duty's.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum HistorySQL {
    static let file = StatementFile(PackageResources.history_sql, prefix: "history")
    static let present = file["present"]
    static let apiSecret = file["api_secret"]
    static let begin = file["begin"]
    static let haltCopies = file["halt_copies"]
    static let audit = file["audit"]
    static let raiseGeneration = file["raise_generation"]
    static let setPartitions = file["set_partitions"]
    static let setHalt = file["set_halt"]
    static let liftHalt = file["lift_halt"]
    static let halts = file["halts"]
}

/// What the control row says.
public struct DatabaseHistory: Hashable, Sendable {
    public let incarnation: Int64
    public let queueGeneration: Int64
    /// 1, 2, 4, 8 or 16.
    public let queuePartitions: Int
    /// When it began; nil: it is the first one.
    public let began: Timestamp?
    /// This call began it.
    public let isNew: Bool
    /// The server's clock when it was read.
    public let readAt: Timestamp

    /// Compares the server with the control row, and begins a new history where they differ.
    public static func check(_ pool: PostgresPool) async throws(StoreError) -> DatabaseHistory {
        for _ in 0..<3 {
            let history = try await writing { () -> DatabaseHistory? in
                guard let row = try await pool.query(HistorySQL.present).first else {
                    throw StoreError(.incompatible, "the control row is missing")
                }
                let (system, timeline) = (try row.int64(0), try row.string(1))
                let (knownSystem, knownTimeline) = (try row.int64(2), try row.string(3))
                if system == knownSystem, timeline == knownTimeline {
                    return DatabaseHistory(
                        incarnation: try row.int64(4),
                        queueGeneration: try row.int64(5),
                        queuePartitions: Int(try row.int64(6)),
                        began: try row.momentOrNil(7),
                        isNew: false,
                        readAt: try row.moment(8),
                    )
                }
                let reason = system == knownSystem ? "TIMELINE" : "SYSTEM_IDENTIFIER"
                let results = try await pool.transaction([
                    (HistorySQL.haltCopies, [.int8(system)]),
                    (HistorySQL.audit, [.text("\(timeline) of \(system)"), .text(reason)]),
                    (
                        HistorySQL.begin,
                        [.int8(system), .text(timeline), .int8(knownSystem), .text(knownTimeline)],
                    ),
                ])
                guard let begun = try results[2].first?.int64(0) else { return nil }
                return DatabaseHistory(
                    incarnation: begun,
                    queueGeneration: try row.int64(5) + 1,
                    queuePartitions: Int(try row.int64(6)),
                    began: try results[2][0].moment(1),
                    isNew: true,
                    readAt: try row.moment(8),
                )
            }
            // Nil: somebody else was faster; the next reading shows his.
            if let history { return history }
        }
        throw StoreError(.unavailable, "the control row changes under our hands")
    }

    /// What api processes sign with: 32 bytes, the same for all of a deployment.
    public static func apiSecret(_ pool: PostgresPool) async throws(StoreError) -> [UInt8] {
        try await reading {
            guard let row = try await pool.query(HistorySQL.apiSecret).first else {
                throw StoreError(.incompatible, "the control row is missing")
            }
            return Array(try row.bytes(0))
        }
    }

    /// Changes the number of the queue's partitions and begins a new generation of it. Nil: a process works.
    public static func setPartitions(_ pool: PostgresPool, _ count: Int) async throws(StoreError) -> Int64? {
        try await writing {
            try await pool.query(HistorySQL.setPartitions, [.int8(Int64(count))]).first?.int64(0)
        }
    }

    /// Begins a new generation of the queue, if `seen` is still the present one (QUEUE.md 14.3). Nil: it is not.
    public static func raiseGeneration(_ pool: PostgresPool, seen: Int64) async throws(StoreError) -> Int64? {
        try await writing { try await pool.query(HistorySQL.raiseGeneration, [.int8(seen)]).first?.int64(0) }
    }
}

/// The kill switch (RELIABILITY.md 11.1).
public struct Halt: Hashable, Sendable {
    public enum Scope: String, Hashable, Sendable { case cluster, venue, market, account, order }
    public enum Level: String, Hashable, Sendable { case entries, sends }
    public let scope: Scope
    /// What is halted; empty for the cluster.
    public let subject: String
    public let level: Level
    public let reason: String
    public let actor: String
    public init(scope: Scope, subject: String, level: Level, reason: String, actor: String) {
        self.scope = scope
        self.subject = subject
        self.level = level
        self.reason = reason
        self.actor = actor
    }

    /// Sets it, in place of any other of the same scope and subject.
    public func set(_ pool: PostgresPool) async throws(StoreError) {
        try await writing {
            _ = try await pool.query(
                HistorySQL.setHalt,
                [.text(scope.rawValue), .text(subject), .text(level.rawValue), .text(reason), .text(actor)],
            )
        }
    }

    public static func lift(_ pool: PostgresPool, scope: Scope, subject: String) async throws(StoreError) {
        try await writing { _ = try await pool.query(HistorySQL.liftHalt, [.text(scope.rawValue), .text(subject)]) }
    }

    public static func all(_ pool: PostgresPool) async throws(StoreError) -> [Halt] {
        try await reading {
            try await pool.query(HistorySQL.halts).map { row in
                Halt(
                    scope: try row.word(0),
                    subject: try row.string(1),
                    level: try row.word(2),
                    reason: try row.string(3),
                    actor: try row.string(4),
                )
            }
        }
    }
}
