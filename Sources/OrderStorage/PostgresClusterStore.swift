// Leader, worker leases, shard assignment, cursors and extremes on PostgreSQL.
//
// Invariants: every lease is this server's clock; a write in the name of a lease takes the lease's row FOR SHARE;
// transactions lock workers, then leader, then shards, then cursors.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum ClusterSQL {
    static let file = StatementFile(PackageResources.cluster_sql, prefix: "cluster")
    static let register = file["register"]
    static let tellFeed = file["tell_feed"]
    static let renew = file["renew"]
    static let assignments = file["assignments"]
    static let state = file["state"]
    static let noteClockStep = file["note_clock_step"]
    static let hurryChecks = file["hurry_checks"]
    static let hurryJobs = file["hurry_jobs"]
    static let shortenWorkerLeases = file["shorten_worker_leases"]
    static let shortenLeadership = file["shorten_leadership"]
    static let shortenBatchLeases = file["shorten_batch_leases"]
    static let auditClockStep = file["audit_clock_step"]
    static let endLease = file["end_lease"]
    static let forgetWorker = file["forget_worker"]
    static let release = file["release"]
    static let pruneHandovers = file["prune_handovers"]
    static let lead = file["lead"]
    static let resign = file["resign"]
    static let workers = file["workers"]
    static let holders = file["holders"]
    static let watchedShards = file["watched_shards"]
    static let pins = file["pins"]
    static let haltEntries = file["halt_entries"]
    static let releaseForAssignment = file["release_for_assignment"]
    static let assign = file["assign"]
    static let lockHolders = file["lock_holders"]
    static let cursors = file["cursors"]
    static let accept = file["accept"]
    static let saveCursors = file["save_cursors"]
    static let appendExtremes = file["append_extremes"]
    static let extremes = file["extremes"]
    static let newestExtreme = file["newest_extreme"]
}

/// The cluster's state in PostgreSQL.
public final class PostgresClusterStore: ClusterStore {
    private let pool: PostgresPool
    /// Told of the incarnation with every heartbeat.
    private let orders: PostgresOrderStore?

    public init(pool: PostgresPool, orders: PostgresOrderStore? = nil) {
        self.pool = pool
        self.orders = orders
    }

    public func halts() async throws(StoreError) -> [HaltInForce] {
        try await Halt.all(pool).map { halt in
            let scope: HaltInForce.Scope =
                switch halt.scope {
                case .cluster: .cluster
                case .venue: .venue
                case .market: .market
                case .account: .account
                case .order: .order
                }
            return HaltInForce(scope: scope, subject: halt.subject, level: halt.level == .sends ? .sends : .entries)
        }
    }

    public func haltEntries(of account: AccountID, reason: String) async throws(StoreError) {
        try await writing {
            _ = try await pool.query(ClusterSQL.haltEntries, [.text("\(account)"), .text(reason)])
        }
    }

    // MARK: Feeds

    /// Tells that a feed runs; at least once in 10 s.
    /// - Parameters:
    ///   - feed: `venue:product`.
    ///   - hasBegun: it runs for the first time, or again after it was asked to.
    /// - Returns: whether an operator asked it to begin anew since.
    public func tell(feed: String, of process: WorkerID, hasBegun: Bool) async throws(StoreError) -> Bool {
        try await writing {
            try await pool.query(ClusterSQL.tellFeed, [.text(feed), .text(process.text), .bool(hasBegun)])[0].bool(0)
        }
    }

    // MARK: Workers

    public func register(_ worker: WorkerID) async throws(StoreError) {
        try await writing {
            _ = try await pool.transaction([
                (ClusterSQL.register, [.text(worker.text)]),
                (ClusterSQL.release, [.text(worker.text), .shorts([])]),
            ])
        }
    }

    public func heartbeat(_ worker: WorkerID) async throws(StoreError) -> HeartbeatReply {
        // Promotion under way: noticed with the next heartbeat at the latest.
        let askedAt = PostgresOrderStore.monotonic()
        let history = try await DatabaseHistory.check(pool)
        orders?.adopt(incarnation: history.incarnation, began: history.began)
        let answeredAt = PostgresOrderStore.monotonic()
        var reply = try await writing {
            let found = try await pool.transaction([
                (ClusterSQL.renew, [.text(worker.text)]), (ClusterSQL.assignments, [.text(worker.text)]),
                (ClusterSQL.state, []),
            ])
            let isQuiet = try found[0].first?.bool(0)
            let wantsStop = try found[0].first?.bool(1)
            let concurrency = try found[0].first?.int64OrNil(2)
            let assignments = try found[1].map { row in
                ShardAssignment(
                    shard: Int(try row.int64(0)),
                    epoch: try row.int64(1),
                    previous: try row.stringOrNil(2).map { WorkerID($0) },
                    handover: try row.int64OrNil(3),
                    isAccepted: try row.bool(4),
                )
            }
            return HeartbeatReply(
                leaseHeld: isQuiet != nil,
                assignments: isQuiet == nil ? [] : assignments,
                incarnation: try found[2][0].int64(0),
                priceRevision: try found[2][0].int64(2),
                isHalted: try found[2][0].bool(1),
                isQuiet: isQuiet ?? false,
                wantsStop: wantsStop ?? false,
                concurrency: concurrency.map { Int($0) },
            )
        }
        // Behind the renewal: until it has gone through, this process goes on to believe in the time before the jump.
        reply.clockStepMs = await orders?.noteServerClock(
            history.readAt,
            askedAt: askedAt,
            answeredAt: answeredAt,
        ) { step throws(StoreError) in try await noteClockStep(step) }
        return reply
    }

    /// A page at a time, so that nobody waits long for a row.
    private func noteClockStep(_ step: Int64) async throws(StoreError) {
        try await writing {
            for statement in [ClusterSQL.noteClockStep, ClusterSQL.hurryChecks] {
                var pages = 0
                while pages < 1_000, try await !pool.query(statement, [.int8(2_000)]).isEmpty { pages += 1 }
            }
            _ = try await pool.query(ClusterSQL.hurryJobs)
            // Workers before the leader, as everywhere.
            _ = try await pool.query(ClusterSQL.shortenWorkerLeases)
            _ = try await pool.query(ClusterSQL.shortenLeadership)
            _ = try await pool.query(ClusterSQL.shortenBatchLeases)
            _ = try await pool.query(ClusterSQL.auditClockStep, [.int8(step)])
        }
    }

    public func leave(_ worker: WorkerID) async throws(StoreError) {
        try await writing {
            _ = try await pool.transaction([
                (ClusterSQL.endLease, [.text(worker.text)]),
                (ClusterSQL.release, [.text(worker.text), .shorts([])]),
                (ClusterSQL.forgetWorker, [.text(worker.text)]),
            ])
        }
    }

    // MARK: Leader

    public func lead(as candidate: WorkerID) async throws(StoreError) -> Int64? {
        try await writing { try await pool.query(ClusterSQL.lead, [.text(candidate.text)]).first?.int64(0) }
    }

    public func resign(_ candidate: WorkerID) async throws(StoreError) {
        try await writing { _ = try await pool.query(ClusterSQL.resign, [.text(candidate.text)]) }
    }

    public func workers() async throws(StoreError) -> (live: [LiveWorker], lapsed: [WorkerID]) {
        try await reading {
            var (live, lapsed): ([LiveWorker], [WorkerID]) = ([], [])
            for row in try await pool.query(ClusterSQL.workers) {
                let id = WorkerID(try row.string(0))
                if try row.bool(2) {
                    live.append(LiveWorker(id: id, isQuiet: try row.bool(1)))
                } else if try row.bool(3) {
                    lapsed.append(id)
                }
            }
            return (live, lapsed)
        }
    }

    public func holders() async throws(StoreError) -> [WorkerID?] {
        try await reading {
            var holders = [WorkerID?](repeating: nil, count: OrderID.shardCount)
            for row in try await pool.query(ClusterSQL.holders) {
                holders[Int(try row.int64(0))] = try row.stringOrNil(1).map { WorkerID($0) }
            }
            return holders
        }
    }

    public func watchedShards() async throws(StoreError) -> Set<Int> {
        try await reading {
            var watched: Set<Int> = []
            for row in try await pool.query(ClusterSQL.watchedShards) { watched.insert(Int(try row.int64(0))) }
            return watched
        }
    }

    public func pins() async throws(StoreError) -> [Int: WorkerID] {
        try await reading {
            var pins: [Int: WorkerID] = [:]
            for row in try await pool.query(ClusterSQL.pins) {
                pins[Int(try row.int64(0))] = WorkerID(try row.string(1))
            }
            return pins
        }
    }

    public func assign(
        _ moves: [(shard: Int, to: WorkerID)],
        leaderEpoch: Int64,
    ) async throws(StoreError) -> Bool {
        guard !moves.isEmpty else { return true }
        let shards = Parameter.shorts(moves.map(\.shard))
        return try await writing {
            let found = try await pool.transaction([
                (ClusterSQL.lockHolders, [shards]),
                (ClusterSQL.releaseForAssignment, [.int8(leaderEpoch), shards]),
                (ClusterSQL.assign, [.int8(leaderEpoch), shards, .texts(moves.map(\.to.text))]),
                (ClusterSQL.pruneHandovers, []),
            ])
            return found[2].affected == moves.count
        }
    }

    // MARK: Cursors

    public func cursors(handover: Int64) async throws(StoreError) -> [EvaluationCursor] {
        try await reading {
            try await pool.query(ClusterSQL.cursors, [.int8(handover)]).map { row in
                EvaluationCursor(
                    market: try row.market(0),
                    source: try row.word(1),
                    position: try row.position(2),
                    heard: try row.int64OrNil(4).map { ChangeCursor(value: $0) },
                )
            }
        }
    }

    public func accept(
        _ assignments: [ShardAssignment],
        cursors: [EvaluationCursor],
        of worker: WorkerID,
    ) async throws(StoreError) -> Bool {
        guard !assignments.isEmpty else { return true }
        var epochs = ArrayColumn(.int8)
        for assignment in assignments { epochs.append(assignment.epoch) }
        let parameters =
            [.text(worker.text), .shorts(assignments.map(\.shard)), epochs.parameter()] + Self.columns(cursors)
        return try await writing {
            try await pool.query(ClusterSQL.accept, parameters).count == assignments.count
        }
    }

    public func saveCursors(_ cursors: [EvaluationCursor], of worker: WorkerID) async throws(StoreError) -> Bool {
        let parameters = [.text(worker.text)] + Self.columns(cursors)
        return try await writing { try await pool.query(ClusterSQL.saveCursors, parameters)[0].int64(0) == 1 }
    }

    private static func columns(_ cursors: [EvaluationCursor]) -> [Parameter] {
        var (times, sequences, heard) = (ArrayColumn(.int8), ArrayColumn(.int8), ArrayColumn(.int8))
        for cursor in cursors {
            times.append(cursor.position.venueTime)
            sequences.append(cursor.position.sequence)
            if let place = cursor.heard { heard.append(place.value) } else { heard.appendNull() }
        }
        return [
            .texts(cursors.map(\.market.description)), .texts(cursors.map(\.source.rawValue)), times.parameter(),
            sequences.parameter(), heard.parameter(),
        ]
    }

    // MARK: Extremes

    /// The most venue time that one stored bucket spans; a longer one (a backfill) is stored in pieces, so that a reader
    /// knows how far back a bucket may begin.
    private static let bucketSpan: Int64 = 500_000

    public func appendExtremes(_ buckets: [ExtremeBucket]) async throws(StoreError) {
        guard !buckets.isEmpty else { return }
        try await writing { _ = try await pool.query(ClusterSQL.appendExtremes, Self.columns(buckets)) }
    }

    /// The statement that takes every shard from its holder, with a copy of his cursors.
    static var releasingAll: (Statement, [Parameter]) {
        (ClusterSQL.release, [.text(""), .shorts(Array(0..<OrderID.shardCount))])
    }

    /// The statement that stores points of one series, in order and at least one.
    static func appending(
        _ points: [ExtremeBucket.Point],
        to series: PriceSeries,
    ) -> (Statement, [Parameter]) {
        let bucket = ExtremeBucket(market: series.market, source: series.source, points: points)
        return (ClusterSQL.appendExtremes, columns([bucket]))
    }

    private static func columns(_ buckets: [ExtremeBucket]) -> [Parameter] {
        var (markets, sources, points) = (ArrayColumn(.text), ArrayColumn(.text), ArrayColumn(.text))
        var (fromTimes, fromSequences) = (ArrayColumn(.int8), ArrayColumn(.int8))
        var (toTimes, toSequences) = (ArrayColumn(.int8), ArrayColumn(.int8))
        for bucket in buckets {
            var rest = bucket.points[...]
            while let first = rest.first {
                let piece = rest.prefix { $0.position.venueTime - first.position.venueTime <= Self.bucketSpan }
                rest = rest.dropFirst(piece.count)
                let last = piece.last ?? first
                markets.append(bucket.market.description)
                sources.append(bucket.source.rawValue)
                fromTimes.append(first.position.venueTime)
                fromSequences.append(first.position.sequence)
                toTimes.append(last.position.venueTime)
                toSequences.append(last.position.sequence)
                let numbers = piece.map { "\($0.position.venueTime),\($0.position.sequence),\($0.price)" }
                points.append("{\(numbers.joined(separator: ","))}")
            }
        }
        return [
            markets.parameter(), sources.parameter(), fromTimes.parameter(), fromSequences.parameter(),
            toTimes.parameter(), toSequences.parameter(), points.parameter(),
        ]
    }

    public func extremes(
        market: MarketID,
        source: TriggerSource,
        after position: TickPosition,
        limit: Int,
    ) async throws(StoreError) -> [ExtremeBucket.Point] {
        guard limit > 0 else { return [] }
        var pageSize = limit
        while true {
            let (points, isWhole) = try await extremes(market, source, after: position, rows: pageSize)
            if isWhole || !points.isEmpty { return Array(points.prefix(limit)) }
            // So many overlapping buckets that none of them is complete: look further.
            pageSize *= 2
        }
    }

    /// Up to where prices of a series are stored: a feed that begins goes on from there. Nil: there are none.
    public func newestExtreme(market: MarketID, source: TriggerSource) async throws(StoreError) -> TickPosition? {
        try await reading {
            let rows = try await pool.query(
                ClusterSQL.newestExtreme,
                [.text(market.description), .text(source.rawValue)],
            )
            return try rows.first.map { try $0.position(0) }
        }
    }

    /// Points of the first `rows` buckets that reach past `position`, as far as no later bucket can lie between them.
    private func extremes(
        _ market: MarketID,
        _ source: TriggerSource,
        after position: TickPosition,
        rows limit: Int,
    ) async throws(StoreError) -> (points: [ExtremeBucket.Point], isWhole: Bool) {
        try await reading {
            let rows = try await pool.query(
                ClusterSQL.extremes,
                [
                    .text(market.description), .text(source.rawValue), .int8(position.venueTime),
                    .int8(position.sequence), .int8(Int64(limit)),
                ],
            )
            let isWhole = rows.count < limit
            var points: [ExtremeBucket.Point] = []
            var last = TickPosition.start
            for row in rows {
                last = try row.position(0)
                let numbers = try row.int64Array(2)
                for start in stride(from: 0, to: numbers.count - 2, by: 3) {
                    let place = TickPosition(venueTime: numbers[start], sequence: numbers[start + 1])
                    if place > position { points.append(.init(position: place, price: numbers[start + 2])) }
                }
            }
            points.sort { ($0.position, $0.price) < ($1.position, $1.price) }
            // Two feeds tell the same points.
            var distinct: [ExtremeBucket.Point] = []
            for point in points where isWhole || point.position <= last {
                if distinct.last != point { distinct.append(point) }
            }
            return (distinct, isWhole)
        }
    }
}
