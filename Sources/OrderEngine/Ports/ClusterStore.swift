// Who may work on what: leader, worker leases, shard assignment, cursors, price extremes. All by PostgreSQL's clock.
//
// Leases save work, correctness does not rest on them (DESIGN.md 5).
public import SmartOrders

/// Names one life of one process.
public struct WorkerID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let text: String
    /// `text`: 1 to 64 bytes of `[A-Za-z0-9_.-]`.
    public init(_ text: String) { self.text = text }
    public static func < (left: WorkerID, right: WorkerID) -> Bool { left.text < right.text }
    public var description: String { text }
}

/// One shard as assigned to its holder.
public struct ShardAssignment: Hashable, Sendable {
    public let shard: Int
    /// Number of the assignment; fences cursor and shard writes.
    public let epoch: Int64
    /// Who held it before. Nil: nobody ever.
    public let previous: WorkerID?
    /// Names the copy of the last holder's cursors that was made in the transaction that took the shard from it; from
    /// there evaluation goes on. A copy, because a holder that still lives forgets the shard's crossings when it learns
    /// of its loss, and its cursors then run past them. Nil: nobody ever held the shard.
    public let handover: Int64?
    /// Whether `accept` was called for this epoch.
    public let isAccepted: Bool
    public init(shard: Int, epoch: Int64, previous: WorkerID?, handover: Int64? = nil, isAccepted: Bool = false) {
        self.shard = shard
        self.epoch = epoch
        self.previous = previous
        self.handover = handover
        self.isAccepted = isAccepted
    }
}

/// What a heartbeat brings back.
public struct HeartbeatReply: Hashable, Sendable {
    /// False: the lease had lapsed or the worker is unknown. All memory of shards is void: `register` again, shards are
    /// assigned anew.
    public let leaseHeld: Bool
    public let assignments: [ShardAssignment]
    public let incarnation: Int64
    /// Another one than before: prices from before became known late, what a process remembers of prices is void
    /// (`BackfillStore`).
    public let priceRevision: Int64
    public let isHalted: Bool
    /// The operator asked this worker to stop taking work.
    public let isQuiet: Bool
    /// The operator asked this worker to leave in order and end.
    public let wantsStop: Bool
    /// Jobs that the operator lets this worker have in hand at once; nil: as many as usual.
    public let concurrency: Int?
    /// How far the store's clock jumped since the last heartbeat, ahead or back; nil: it did not (RELIABILITY.md 3.4.6).
    public var clockStepMs: Int64?
    public init(
        leaseHeld: Bool,
        assignments: [ShardAssignment],
        incarnation: Int64,
        priceRevision: Int64 = 0,
        isHalted: Bool,
        isQuiet: Bool,
        wantsStop: Bool = false,
        concurrency: Int? = nil,
        clockStepMs: Int64? = nil,
    ) {
        self.leaseHeld = leaseHeld
        self.assignments = assignments
        self.incarnation = incarnation
        self.priceRevision = priceRevision
        self.isHalted = isHalted
        self.isQuiet = isQuiet
        self.wantsStop = wantsStop
        self.concurrency = concurrency
        self.clockStepMs = clockStepMs
    }
}

/// Ordered local extremes of one market and source over at most 500 ms (ORDERS.md 4.1 PriceExtreme).
public struct ExtremeBucket: Hashable, Sendable {
    public struct Point: Hashable, Sendable {
        public let position: TickPosition
        /// Units of 10^-`Instrument.priceDecimals`.
        public let price: Int64
        public init(position: TickPosition, price: Int64) {
            self.position = position
            self.price = price
        }
    }
    public let market: MarketID
    public let source: TriggerSource
    /// First, all local extremes, last; in order of position; never empty.
    public let points: [Point]
    public init(market: MarketID, source: TriggerSource, points: [Point]) {
        self.market = market
        self.source = source
        self.points = points
    }
}

/// How far a holder has evaluated one market and source.
public struct EvaluationCursor: Hashable, Sendable {
    public let market: MarketID
    public let source: TriggerSource
    public let position: TickPosition
    /// It speaks of orders as they were before this place in the change log; of later changes its holder may not have
    /// heard. Nil: of all.
    public let heard: ChangeCursor?
    public init(market: MarketID, source: TriggerSource, position: TickPosition, heard: ChangeCursor?) {
        self.market = market
        self.source = source
        self.position = position
        self.heard = heard
    }
}

/// A worker as the leader sees it.
public struct LiveWorker: Hashable, Sendable {
    public let id: WorkerID
    public let isQuiet: Bool
    public init(id: WorkerID, isQuiet: Bool) {
        self.id = id
        self.isQuiet = isQuiet
    }
}

public protocol ClusterStore: Sendable {
    /// Halts in force, of every scope; few or none.
    func halts() async throws(StoreError) -> [HaltInForce]
    /// Halts new exposure of an account, unless something of it is halted already.
    func haltEntries(of account: AccountID, reason: String) async throws(StoreError)

    // Workers.
    /// Begins a lease. Shards that an earlier life of this worker held are free then.
    func register(_ worker: WorkerID) async throws(StoreError)
    /// Renews the lease (2,000 ms) and reads the worker's shards.
    func heartbeat(_ worker: WorkerID) async throws(StoreError) -> HeartbeatReply
    /// Gives everything back: shards become free at once (drain, shutdown).
    func leave(_ worker: WorkerID) async throws(StoreError)

    // Leader.
    /// Takes or renews leadership (2,000 ms). Nil: somebody else leads. The epoch fences `assign`.
    func lead(as candidate: WorkerID) async throws(StoreError) -> Int64?
    func resign(_ candidate: WorkerID) async throws(StoreError)
    /// Workers whose lease holds, and those whose lease lapsed and who still hold shards.
    func workers() async throws(StoreError) -> (live: [LiveWorker], lapsed: [WorkerID])
    /// Holder of every shard, 0..<1024; nil: free.
    func holders() async throws(StoreError) -> [WorkerID?]
    /// Shards whose orders are watched now: their holder's lease holds, and it has taken them over (`accept`).
    func watchedShards() async throws(StoreError) -> Set<Int>
    /// Workers that an operator chose for single shards; of one that is not there nothing follows.
    func pins() async throws(StoreError) -> [Int: WorkerID]
    /// Gives shards to workers, each with a new epoch, if `leaderEpoch` still leads. False: it does not.
    func assign(_ moves: [(shard: Int, to: WorkerID)], leaderEpoch: Int64) async throws(StoreError) -> Bool

    // Cursors and extremes.
    /// The cursors that came with a shard (`ShardAssignment.handover`).
    func cursors(handover: Int64) async throws(StoreError) -> [EvaluationCursor]
    /// Takes shards over: in one transaction the worker's cursors are lowered to `cursors` where they are ahead, and the
    /// shards are marked as accepted. Until then a reassignment hands on the old cursors, not the worker's. False: one of
    /// the shards has another epoch by now, nothing changed.
    func accept(
        _ assignments: [ShardAssignment],
        cursors: [EvaluationCursor],
        of worker: WorkerID,
    ) async throws(StoreError) -> Bool
    /// Written every 500 ms where it moved; never goes back (that is for `accept`). What was heard counts with the position
    /// only: where that stays as it is stored, so does `heard`, unless both are told again. False: the lease is gone,
    /// nothing was written.
    func saveCursors(_ cursors: [EvaluationCursor], of worker: WorkerID) async throws(StoreError) -> Bool
    func appendExtremes(_ buckets: [ExtremeBucket]) async throws(StoreError)
    /// Points after `position`, oldest first, at most `limit` of them.
    func extremes(
        market: MarketID,
        source: TriggerSource,
        after position: TickPosition,
        limit: Int,
    ) async throws(StoreError) -> [ExtremeBucket.Point]
    /// Where the newest stored point of a series stands; nil: there is none.
    func newestExtreme(market: MarketID, source: TriggerSource) async throws(StoreError) -> TickPosition?
}

extension ClusterStore {
    /// A store without operators.
    public func pins() async throws(StoreError) -> [Int: WorkerID] { [:] }
    public func haltEntries(of account: AccountID, reason: String) async throws(StoreError) {}
}
