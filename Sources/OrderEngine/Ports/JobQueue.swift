// The queue that hands trigger events to workers (QUEUE.md). Redis in production (`BullQueue`), memory in the simulator
// (`MemoryQueue`); both pass `JobQueueContract`. Losing, repeating or delaying a job costs latency and never money.
public import SmartOrders

/// The classes of jobs (QUEUE.md 3.4), most urgent first.
public enum JobClass: String, Hashable, Sendable, CaseIterable { case stops, targets, housekeeping }

/// A trigger event on its way to a worker: ids and a position, no price, no quantity, no secret.
public struct Job: Hashable, Sendable {
    public enum Name: String, Hashable, Sendable { case trigger, check, timer, reconcile }
    public let id: JobID
    public let name: Name
    public let jobClass: JobClass
    public let version: Int64
    public let account: AccountID?
    public let market: MarketID?
    /// The tick that crossed.
    public let source: TriggerSource?
    public let position: TickPosition?
    /// When the crossing was seen; lost on the way through the outbox.
    public let times: CrossingTimes?
    /// Workers that died with it, as far as the store knows; the queue counts on from there.
    public let crashes: Int

    public init(
        id: JobID,
        name: Name,
        jobClass: JobClass,
        version: Int64,
        account: AccountID? = nil,
        market: MarketID? = nil,
        source: TriggerSource? = nil,
        position: TickPosition? = nil,
        times: CrossingTimes? = nil,
        crashes: Int = 0,
    ) {
        self.id = id
        self.name = name
        self.jobClass = jobClass
        self.version = version
        self.account = account
        self.market = market
        self.source = source
        self.position = position
        self.times = times
        self.crashes = crashes
    }
}

/// What an offer of one job came to (QUEUE.md 5.2).
public enum OfferCode: Int, Hashable, Sendable {
    case queued = 1, live, completed, dead, healed, replaced, full
}

/// A job in a worker's hands.
public struct TakenJob: Hashable, Sendable {
    /// As found in the queue; may be foreign.
    public let rawID: String
    /// Nil: the body cannot be read; the id may still parse.
    public let job: Job?
    public let jobClass: JobClass
    public let partition: Int
    public let token: String
    public let attemptsMade: Int
    public let deliveries: Int
    public let crashes: Int

    public init(
        rawID: String,
        job: Job?,
        jobClass: JobClass,
        partition: Int,
        token: String,
        attemptsMade: Int,
        deliveries: Int,
        crashes: Int,
    ) {
        self.rawID = rawID
        self.job = job
        self.jobClass = jobClass
        self.partition = partition
        self.token = token
        self.attemptsMade = attemptsMade
        self.deliveries = deliveries
        self.crashes = crashes
    }
}

/// What a handler says of a job (QUEUE.md 9.1).
public enum JobOutcome: Hashable, Sendable {
    case done(version: Int64)
    case obsolete(version: Int64)
    /// Put back; `delayMs` 0 means at the head at once.
    case retry(delayMs: Int64, reason: String)
    case dead(reason: String)
}

/// What became of an acknowledgement (QUEUE.md 5.4).
public enum FinishCode: Int, Hashable, Sendable {
    case done = 0, repeated = 1, late = 2, unknown = -1, takenOver = -2, notActive = -3, foreignToken = -6
}

/// A job that is given up until an operator says otherwise (QUEUE.md 9.5).
public struct JobDeath: Hashable, Sendable {
    public let job: Job
    /// `CODE: text`.
    public let reason: String
    public let attempts: Int
    public let crashes: Int
    /// How long ago, by the clock of the store.
    public let ageMs: Int64

    public init(job: Job, reason: String, attempts: Int, crashes: Int, ageMs: Int64 = 0) {
        self.job = job
        self.reason = reason
        self.attempts = attempts
        self.crashes = crashes
        self.ageMs = ageMs
    }
}

/// A queue that hands nothing out because an operator said so (QUEUE.md 11), as the store remembers it.
public struct QueuePause: Hashable, Sendable {
    /// Such as `stops-03`.
    public let queue: String
    /// Milliseconds left; 0: until resumed.
    public let leftMs: Int64
    public let actor: String
    public let reason: String

    public init(queue: String, leftMs: Int64, actor: String, reason: String) {
        self.queue = queue
        self.leftMs = leftMs
        self.actor = actor
        self.reason = reason
    }
}

/// How many jobs of each class a take asks for.
public struct TakeRequest: Hashable, Sendable {
    public var stops: Int
    public var targets: Int
    public var housekeeping: Int
    public init(stops: Int, targets: Int, housekeeping: Int) {
        self.stops = stops
        self.targets = targets
        self.housekeeping = housekeeping
    }
    public var isEmpty: Bool { stops <= 0 && targets <= 0 && housekeeping <= 0 }

    public subscript(_ jobClass: JobClass) -> Int {
        get {
            switch jobClass {
            case .stops: stops
            case .targets: targets
            case .housekeeping: housekeeping
            }
        }
        set {
            switch jobClass {
            case .stops: stops = newValue
            case .targets: targets = newValue
            case .housekeeping: housekeeping = newValue
            }
        }
    }
}

/// What the queue could not do.
public struct QueueError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable {
        /// Unreachable, or nothing was sent.
        case unavailable
        /// Sent, no answer. Every verb may be repeated.
        case outcomeUnknown
        /// Out of memory: only offers are refused.
        case full
        /// The partition is not open for this deployment and generation.
        case closed
        /// Refused before anything was sent.
        case badArgument
    }
    public let code: Code
    public let detail: String
    public init(_ code: Code, _ detail: String) {
        self.code = code
        self.detail = detail
    }
    public var description: String { "\(code.rawValue): \(detail)" }
}

public protocol JobQueue: Sendable {
    /// Makes the queue usable for this deployment, also after all of its content was lost; where it was, `pauses` hold
    /// before anything can be taken. Returns whether some of it was lost. Idempotent.
    @discardableResult
    func open(pausing pauses: [QueuePause]) async throws(QueueError) -> Bool
    /// Puts jobs in unless they are known; one code per job, in order. `verify` looks harder for jobs that the queue may
    /// have lost (QUEUE.md 5.2).
    func offer(_ jobs: [Job], verify: Bool) async throws(QueueError) -> [OfferCode]
    /// Takes up to as many jobs as asked for, over all partitions, stops first. Empty when there is nothing.
    func take(_ request: TakeRequest) async throws(QueueError) -> [TakenJob]
    /// Waits until something may be takeable, at most a second.
    func waitForWork() async
    /// Ends jobs, in one call per queue. One code per job, in order.
    func finish(_ outcomes: [(job: TakenJob, outcome: JobOutcome)]) async throws(QueueError) -> [FinishCode]
    /// Hands jobs back unfinished, to the head, without a crash count.
    func release(_ jobs: [TakenJob]) async throws(QueueError)
    /// Puts stalled jobs back, promotes due ones. `dead` names workers whose lease in PostgreSQL lapsed.
    func reclaim(dead: [WorkerID]) async throws(QueueError)
    /// Puts jobs that died before a loss back among the dead, at most 256. Known ones stay as they are; how many were not.
    func restore(_ deaths: [JobDeath]) async throws(QueueError) -> Int
    /// Why offers are refused while everything else goes on, such as want of memory: prices and jobs take the way of the
    /// database (RELIABILITY.md 3.3). Nil: they are not.
    var refusal: String? { get }
}

extension JobQueue {
    public var refusal: String? { nil }

    public var refusesOffers: Bool { refusal != nil }

    public func open() async throws(QueueError) { try await open(pausing: []) }

    /// Puts all that the store knows to be dead back among the dead; how many were missing.
    public func restoreDead(from store: any OrderStore) async throws -> Int {
        var restored = 0
        var last = ""
        while true {
            let page = try await store.deaths(after: last, limit: 256)
            guard let end = page.last else { return restored }
            last = end.job.id.description
            restored += try await restore(page)
        }
    }
}
