// Operators' control of the cluster in PostgreSQL. Each change and its audit row are one statement.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum DeskSQL {
    static let file = StatementFile(PackageResources.desk_sql, prefix: "desk")
    static let workers = file["workers"]
    static let setQuiet = file["set_quiet"]
    static let stop = file["stop"]
    static let setConcurrency = file["set_concurrency"]
    static let restartFeed = file["restart_feed"]
    static let askBackfill = file["ask_backfill"]
    static let leader = file["leader"]
    static let resign = file["resign"]
    static let shards = file["shards"]
    static let pin = file["pin"]
    static let unpin = file["unpin"]
    static let halts = file["halts"]
    static let isKnown = file["is_known"]
    static let setHalt = file["set_halt"]
    static let liftHalt = file["lift_halt"]
    static let attention = file["attention"]
}

public struct PostgresClusterControl: ClusterControl {
    private let pool: PostgresPool

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    // MARK: Processes

    public func workers() async throws(StoreError) -> [WorkerStanding] {
        try await reading {
            try await pool.query(DeskSQL.workers).map { row in
                WorkerStanding(
                    id: WorkerID(try row.string(0)),
                    isLive: try row.bool(1),
                    isQuiet: try row.bool(2),
                    wantsStop: try row.bool(3),
                    registeredAt: try row.moment(4),
                    shards: Int(try row.int64(5)),
                    accepted: Int(try row.int64(6)),
                    concurrency: try row.int64OrNil(7).map { Int($0) } ?? WorkerStanding.usualConcurrency,
                )
            }
        }
    }

    public func setQuiet(_ isQuiet: Bool, of worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool {
        try await changes(
            DeskSQL.setQuiet,
            [.text(worker.text), .bool(isQuiet), .text(note.actor), .text(note.reason)],
        )
    }

    public func stop(_ worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool {
        try await changes(DeskSQL.stop, [.text(worker.text), .text(note.actor), .text(note.reason)])
    }

    public func setConcurrency(
        _ concurrency: Int,
        of worker: WorkerID,
        _ note: OperatorNote,
    ) async throws(StoreError) -> Bool {
        try await changes(
            DeskSQL.setConcurrency,
            [.text(worker.text), .int8(Int64(concurrency)), .text(note.actor), .text(note.reason)],
        )
    }

    public func restartFeed(_ feed: String, _ note: OperatorNote) async throws(StoreError) -> Bool {
        try await changes(DeskSQL.restartFeed, [.text(feed), .text(note.actor), .text(note.reason)])
    }

    public func askBackfill(
        of series: PriceSeries,
        from: Timestamp,
        to: Timestamp,
        _ note: OperatorNote,
    ) async throws(StoreError) {
        _ = try await changes(
            DeskSQL.askBackfill,
            [
                .text(series.market.description), .text(series.source.rawValue), .int8(from.microseconds),
                .int8(to.microseconds), .text(note.actor), .text(note.reason),
            ],
        )
    }

    public func leader() async throws(StoreError) -> (worker: WorkerID?, epoch: Int64) {
        try await reading {
            let row = try await pool.query(DeskSQL.leader)[0]
            let isLive = try row.bool(2)
            return (isLive ? try row.stringOrNil(0).map { WorkerID($0) } : nil, try row.int64(1))
        }
    }

    public func resignLeader(_ note: OperatorNote) async throws(StoreError) -> WorkerID? {
        try await writing {
            try await pool.query(DeskSQL.resign, [.text(note.actor), .text(note.reason)]).first
                .map { WorkerID(try $0.string(0)) }
        }
    }

    // MARK: Shards

    public func shards() async throws(StoreError) -> [ShardStanding] {
        try await reading {
            try await pool.query(DeskSQL.shards).map { row in
                ShardStanding(
                    shard: Int(try row.int64(0)),
                    worker: try row.stringOrNil(1).map { WorkerID($0) },
                    epoch: try row.int64(2),
                    isAccepted: try row.bool(3),
                    previous: try row.stringOrNil(4).map { WorkerID($0) },
                    pinned: try row.stringOrNil(5).map { WorkerID($0) },
                )
            }
        }
    }

    public func pin(_ shards: [Int], to worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool {
        try await changes(
            DeskSQL.pin,
            [.shorts(shards), .text(worker.text), .text(note.actor), .text(note.reason)],
        )
    }

    public func unpin(_ note: OperatorNote) async throws(StoreError) -> Int {
        try await writing {
            Int(try await pool.query(DeskSQL.unpin, [.text(note.actor), .text(note.reason)])[0].int64(0))
        }
    }

    // MARK: Halts

    public func halts() async throws(StoreError) -> [HaltRecord] {
        try await reading {
            try await pool.query(DeskSQL.halts).map { row in
                HaltRecord(
                    halt: HaltInForce(scope: try row.word(0), subject: try row.string(1), level: try row.word(2)),
                    reason: try row.string(3),
                    actor: try row.string(4),
                    since: try row.moment(5),
                    held: Int(try row.int64(6)),
                )
            }
        }
    }

    public func isKnown(_ scope: HaltInForce.Scope, _ subject: String) async throws(StoreError) -> Bool {
        try await reading {
            try await pool.query(DeskSQL.isKnown, [.text(scope.rawValue), .text(subject)])[0].bool(0)
        }
    }

    public func set(_ halt: HaltInForce, _ note: OperatorNote) async throws(StoreError) {
        let parameters: [Parameter] = [
            .text(halt.scope.rawValue), .text(halt.subject), .text(halt.level.rawValue), .text(note.reason),
            .text(note.actor),
        ]
        try await writing { _ = try await pool.query(DeskSQL.setHalt, parameters) }
    }

    public func lift(_ halt: HaltRecord, _ note: OperatorNote) async throws(StoreError) -> Bool {
        try await changes(
            DeskSQL.liftHalt,
            [
                .text(halt.halt.scope.rawValue), .text(halt.halt.subject), .moment(halt.since), .text(note.actor),
                .text(note.reason),
            ],
        )
    }

    // MARK: Orders

    public func attention(after: OrderID?, limit: Int) async throws(StoreError) -> [OrderID] {
        try await reading {
            try await pool.query(
                DeskSQL.attention,
                [after.map { .uuid($0.value) } ?? .null, .int8(Int64(limit))],
            ).map { OrderID(try $0.id(0)) }
        }
    }

    private func changes(_ statement: Statement, _ parameters: [Parameter]) async throws(StoreError) -> Bool {
        try await writing { try await !pool.query(statement, parameters).isEmpty }
    }
}
