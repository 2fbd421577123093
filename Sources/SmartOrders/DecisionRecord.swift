// What one version was made of: everything that went into its decisions, so that they can be made again a year later
// (ORDERS.md 9.3), and the times of the work around them.

/// One step on the way from a stored version to the next, in order. Steps that changed nothing are left out.
public enum DecisionStep: Hashable, Sendable {
    /// The first: a plan was accepted.
    case create(CreationBounds, Moment)
    /// Quiet ticks up to `upTo` went into the running extremes.
    case absorb(Price, upTo: TickPosition)
    /// Ticks up to here are decided on.
    case reach(TickPosition)
    case decide(OrderEvent, Moment)
    /// A waiting conditional order was changed.
    case change(ConditionalChange, Moment)
    /// An exit that begins with this version begins now.
    case begin(Timestamp)
    /// Waiting venue orders are sent with this version.
    case submit([VenueOrderKey])
}

/// One request to the venue and its answer, as the asking process saw it.
public struct VenueExchange: Hashable, Sendable {
    public let key: VenueOrderKey
    public let sentAt: Timestamp
    public let answeredAt: Timestamp
    /// The venue's own code and words, where it refused.
    public let code: String?
    public let detail: String?
    public init(
        key: VenueOrderKey,
        sentAt: Timestamp,
        answeredAt: Timestamp,
        code: String? = nil,
        detail: String? = nil,
    ) {
        self.key = key
        self.sentAt = sentAt
        self.answeredAt = answeredAt
        self.code = code
        self.detail = detail
    }
}

/// When a crossing was seen on its way, by the clock of the process that saw it.
public struct CrossingTimes: Hashable, Sendable {
    /// The feed received the tick; nil: not known.
    public let receivedAt: Timestamp?
    public let crossedAt: Timestamp
    public init(receivedAt: Timestamp?, crossedAt: Timestamp) {
        self.receivedAt = receivedAt
        self.crossedAt = crossedAt
    }
}

/// What is stored beside a version's facts. What is nil is not known.
public struct DecisionRecord: Hashable, Sendable {
    public var steps: [DecisionStep]
    /// The job whose handler made the version.
    public var job: String?
    public var requestID: String?
    public var crossing: CrossingTimes?
    /// A worker began with the job.
    public var takenAt: Timestamp?
    /// Requests whose answers this version records.
    public var exchanges: [VenueExchange]

    public init(
        steps: [DecisionStep] = [],
        job: String? = nil,
        requestID: String? = nil,
        crossing: CrossingTimes? = nil,
        takenAt: Timestamp? = nil,
        exchanges: [VenueExchange] = [],
    ) {
        self.steps = steps
        self.job = job
        self.requestID = requestID
        self.crossing = crossing
        self.takenAt = takenAt
        self.exchanges = exchanges
    }

    public var isEmpty: Bool { self == DecisionRecord() }
}
