// What operators see and change of the cluster: processes, shards, leadership, the kill switch, orders that need a look
// (RELIABILITY.md 11). Every change is stored together with who made it and why; processes learn of it with their next
// heartbeat (500 ms), senders before they send (11.1).
public import SmartOrders

/// Who changes something, and why.
public struct OperatorNote: Hashable, Sendable {
    public let actor: String
    public let reason: String
    public init(actor: String, reason: String) {
        self.actor = actor
        self.reason = reason
    }
}

/// A worker with what it holds.
public struct WorkerStanding: Hashable, Sendable {
    public let id: WorkerID
    /// False: its lease has lapsed and its shards wait for the leader.
    public let isLive: Bool
    /// Takes no jobs and holds no shards, on an operator's wish.
    public let isQuiet: Bool
    /// Was asked to leave.
    public let wantsStop: Bool
    public let registeredAt: Timestamp
    public let shards: Int
    /// Shards that it evaluates already.
    public let accepted: Int
    /// Jobs that it may have in hand at once.
    public let concurrency: Int

    /// Of a worker that no operator narrowed or widened.
    public static let usualConcurrency = 64
    /// What may be asked for: each class of jobs keeps a slot of its own.
    public static let concurrencies = 4...1_024

    public init(
        id: WorkerID,
        isLive: Bool,
        isQuiet: Bool,
        wantsStop: Bool,
        registeredAt: Timestamp,
        shards: Int,
        accepted: Int,
        concurrency: Int = usualConcurrency,
    ) {
        self.id = id
        self.isLive = isLive
        self.isQuiet = isQuiet
        self.wantsStop = wantsStop
        self.registeredAt = registeredAt
        self.shards = shards
        self.accepted = accepted
        self.concurrency = concurrency
    }
}

/// One of the 1,024 shards.
public struct ShardStanding: Hashable, Sendable {
    public let shard: Int
    /// Nil: free.
    public let worker: WorkerID?
    public let epoch: Int64
    /// Whether the holder evaluates it already.
    public let isAccepted: Bool
    public let previous: WorkerID?
    /// Who was chosen by an operator, if that worker is there.
    public let pinned: WorkerID?
    public init(
        shard: Int,
        worker: WorkerID?,
        epoch: Int64,
        isAccepted: Bool,
        previous: WorkerID?,
        pinned: WorkerID?,
    ) {
        self.shard = shard
        self.worker = worker
        self.epoch = epoch
        self.isAccepted = isAccepted
        self.previous = previous
        self.pinned = pinned
    }
}

/// A halt with its story.
public struct HaltRecord: Hashable, Sendable {
    public let halt: HaltInForce
    public let reason: String
    public let actor: String
    public let since: Timestamp
    /// Latched orders that it keeps from leaving; 0 for level `entries`.
    public let held: Int
    public init(halt: HaltInForce, reason: String, actor: String, since: Timestamp, held: Int) {
        self.halt = halt
        self.reason = reason
        self.actor = actor
        self.since = since
        self.held = held
    }
}

public protocol ClusterControl: Sendable {
    /// Live ones, and lapsed ones that still hold shards; oldest first.
    func workers() async throws(StoreError) -> [WorkerStanding]
    /// Lets a worker take nothing, or take again. False: there is no such live worker.
    func setQuiet(_ isQuiet: Bool, of worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool
    /// Asks a worker to leave in order: requests under way end, shards go back. False: there is no such live worker.
    func stop(_ worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool
    /// How many jobs a worker may have in hand at once, of `WorkerStanding.concurrencies`; it takes effect within a second,
    /// what it has in hand already ends as it would. False: there is no such live worker.
    func setConcurrency(_ concurrency: Int, of worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool

    /// Asks the feeds of a venue's product (`venue:product`) to make their connections anew; they do so within two seconds,
    /// and read what they missed from the venue's history. False: none of them runs.
    func restartFeed(_ feed: String, _ note: OperatorNote) async throws(StoreError) -> Bool

    /// Asks the feed of a series to ask its venue's history once more for a stretch of venue time, both ends inclusive
    /// (`BackfillStore`). It does so within seconds, and goes on for a day while the history does not answer.
    func askBackfill(
        of series: PriceSeries,
        from: Timestamp,
        to: Timestamp,
        _ note: OperatorNote,
    ) async throws(StoreError)

    /// Who leads the schedulers; nil: nobody now. The epoch counts changes.
    func leader() async throws(StoreError) -> (worker: WorkerID?, epoch: Int64)
    /// Takes leadership from whoever has it, who does not take it again for 3 s. Nil: nobody leads.
    func resignLeader(_ note: OperatorNote) async throws(StoreError) -> WorkerID?

    /// All shards in order.
    func shards() async throws(StoreError) -> [ShardStanding]
    /// Moves shards to a worker and keeps them there while it lives. False: it is not live, or it is quiet.
    func pin(_ shards: [Int], to worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool
    /// Gives every shard back to the hash; how many were pinned.
    func unpin(_ note: OperatorNote) async throws(StoreError) -> Int

    func halts() async throws(StoreError) -> [HaltRecord]
    /// Whether what is to be halted exists.
    func isKnown(_ scope: HaltInForce.Scope, _ subject: String) async throws(StoreError) -> Bool
    /// Sets a halt, in place of any other of the same scope and subject.
    func set(_ halt: HaltInForce, _ note: OperatorNote) async throws(StoreError)
    /// False: it is not in force any more, or was set anew since it was read.
    func lift(_ halt: HaltRecord, _ note: OperatorNote) async throws(StoreError) -> Bool

    /// Orders whose health is NEEDS_ATTENTION, by id.
    func attention(after: OrderID?, limit: Int) async throws(StoreError) -> [OrderID]
}
