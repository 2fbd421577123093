// What every duty of the engine works with: the ports, the clock, chance, and somebody to tell.
internal import SmartOrders

/// Hears what the engine does; logs and metrics are made of it. Must not block.
public protocol EngineObserver: Sendable {
    /// For a person at night: a fixed message, data beside it, no secrets.
    func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)])
    /// Adds to a counter of the metrics catalogue.
    func count(_ name: StaticString, _ amount: Int)
    /// Adds one duration to a histogram of the catalogue.
    func measure(_ name: StaticString, milliseconds: Double)
}

public enum EngineNoteLevel: String, Sendable { case debug, info, warning, error }

/// The ports and habits that the duties of one process share.
///
/// A class: every task of theirs is handed it, and a copy of its content would touch thirty references.
public final class EngineContext: Sendable {
    public let orders: any OrderStore
    public let accounts: any AccountStore
    public let cluster: any ClusterStore
    public let queue: any JobQueue
    public let ticks: any TickLog
    public let venues: any VenueDirectory
    public let clock: any EngineClock
    public let observer: any EngineObserver
    public let identity: VenueIdentity
    /// Uniform 64 bits; injected, so that a seed replays everything.
    public let random: @Sendable () -> UInt64
    public let worker: WorkerID
    /// Report how far evaluation is after every batch of ticks: for a stepped replay, which waits for it.
    public let reportsEveryBatch: Bool
    /// Keeps what happened without a version; nil: nobody does.
    public let timeline: (any TimelineStore)?
    /// What a lost history may have asked of the venues; nil: none was ever lost.
    public let recovery: (any RecoveryStore)?
    /// Stretches of prices that a history is asked for once more; nil: nobody keeps any.
    public let backfills: (any BackfillStore)?
    /// How often the evaluator looks at its timers and at what is open.
    public let beatMs: Int64
    /// Shared by the jobs of this process.
    let standings: Gatherer<StoredOrder, OrderStanding>
    /// Shared by the work of this process.
    let markets: MarketWatch
    private let teller: ChangeTeller

    public init(
        orders: any OrderStore,
        accounts: any AccountStore,
        cluster: any ClusterStore,
        queue: any JobQueue,
        ticks: any TickLog,
        venues: any VenueDirectory,
        clock: any EngineClock,
        observer: any EngineObserver,
        identity: VenueIdentity,
        random: @escaping @Sendable () -> UInt64,
        worker: WorkerID,
        reportsEveryBatch: Bool = false,
        timeline: (any TimelineStore)? = nil,
        recovery: (any RecoveryStore)? = nil,
        backfills: (any BackfillStore)? = nil,
        beatMs: Int64 = 50,
    ) {
        self.orders = orders
        self.accounts = accounts
        self.cluster = cluster
        self.queue = queue
        self.ticks = ticks
        self.venues = venues
        self.clock = clock
        self.observer = observer
        self.identity = identity
        self.random = random
        self.worker = worker
        self.reportsEveryBatch = reportsEveryBatch
        self.timeline = timeline
        self.recovery = recovery
        self.backfills = backfills
        self.beatMs = beatMs
        markets = MarketWatch(accounts: accounts, clock: clock)
        standings = Gatherer { asked throws(StoreError) in try await orders.standings(of: asked) }
        teller = ChangeTeller()
    }

    /// The same process with another tick log, clock or generator.
    public init(
        _ other: EngineContext,
        ticks: (any TickLog)? = nil,
        clock: (any EngineClock)? = nil,
        random: (@Sendable () -> UInt64)? = nil,
    ) {
        orders = other.orders
        accounts = other.accounts
        cluster = other.cluster
        queue = other.queue
        self.ticks = ticks ?? other.ticks
        venues = other.venues
        self.clock = clock ?? other.clock
        observer = other.observer
        identity = other.identity
        self.random = random ?? other.random
        worker = other.worker
        reportsEveryBatch = other.reportsEveryBatch
        timeline = other.timeline
        recovery = other.recovery
        backfills = other.backfills
        beatMs = other.beatMs
        markets = other.markets
        standings = other.standings
        teller = other.teller
    }

    var actor: Actor { Actor(kind: .worker, id: worker.text) }

    /// Tells the evaluators that rows changed. Losing it costs time only: they poll the change log too.
    func tell(_ changed: [OrderID]) async {
        guard !changed.isEmpty else { return }
        if await !teller.tell(changed, through: ticks) { observer.count("engine_notify_failed_total", 1) }
    }
}
