// What `explain` reads of an order beside the order itself: every version with what it was made of, what happened to it
// without a version, halts, and where prices were missing (ORDERS.md 9).
//
// Everything here is a stored fact; nothing the cluster does depends on it.
public import SmartOrders

/// One version of an order, as stored.
public struct StoredVersion: Sendable {
    /// The row after it.
    public let order: StoredOrder
    public let sequence: Int64
    /// The moment of the decision: for a tick its venue time.
    public let at: Timestamp
    /// When it was stored, by the database's clock; nil: not known.
    public let committedAt: Timestamp?
    public let cause: EventCause
    public let actor: Actor
    public let tick: Tick?
    public let facts: [Fact]
    /// Nil: an older program stored none.
    public let record: DecisionRecord?

    public init(
        order: StoredOrder,
        sequence: Int64,
        at: Timestamp,
        committedAt: Timestamp?,
        cause: EventCause,
        actor: Actor,
        tick: Tick?,
        facts: [Fact],
        record: DecisionRecord?,
    ) {
        self.order = order
        self.sequence = sequence
        self.at = at
        self.committedAt = committedAt
        self.cause = cause
        self.actor = actor
        self.tick = tick
        self.facts = facts
        self.record = record
    }

    public var version: Int64 { order.version }
}

/// Something that happened to an order and changed nothing.
public struct OrderNote: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
        /// A command that a rule refused.
        case refused = "REFUSED"
        /// A job whose work was done, or no longer wanted.
        case obsolete = "OBSOLETE"
    }
    public let order: OrderID
    public let kind: Kind
    /// What it is counted by: the request id, or the job id.
    public let subject: String
    public let actor: Actor
    public let code: String?
    public let detail: String?
    public let count: Int
    public let firstAt: Timestamp
    public let lastAt: Timestamp

    public init(
        order: OrderID,
        kind: Kind,
        subject: String,
        actor: Actor,
        code: String? = nil,
        detail: String? = nil,
        count: Int = 1,
        firstAt: Timestamp,
        lastAt: Timestamp? = nil,
    ) {
        self.order = order
        self.kind = kind
        self.subject = subject
        self.actor = actor
        self.code = code
        self.detail = detail
        self.count = count
        self.firstAt = firstAt
        self.lastAt = lastAt ?? firstAt
    }
}

/// A halt that stands in an order's way (RELIABILITY.md 11.1).
public struct StandingHalt: Hashable, Sendable {
    /// `cluster`, `venue`, `market`, `account` or `order`.
    public let scope: String
    /// `entries` or `sends`.
    public let level: String
    public let reason: String
    public let since: Timestamp
    public init(scope: String, level: String, reason: String, since: Timestamp) {
        self.scope = scope
        self.level = level
        self.reason = reason
        self.since = since
    }
    /// Whether exits are held back too.
    public var stopsExits: Bool { level == "sends" }
}

/// A stretch of venue time for which a feed had no prices (RELIABILITY.md 4.4).
public struct FeedGap: Hashable, Sendable {
    public let series: PriceSeries
    /// Microseconds of venue time: last tick before, first tick after.
    public let from: Int64
    public let to: Int64
    public let reason: String
    /// Whether the venue's own history filled it.
    public let isBackfilled: Bool
    /// The history did not answer and is to be asked once more (`BackfillStore`).
    public let isWanted: Bool
    public init(
        series: PriceSeries,
        from: Int64,
        to: Int64,
        reason: String,
        isBackfilled: Bool,
        isWanted: Bool = false,
    ) {
        self.series = series
        self.from = from
        self.to = to
        self.reason = reason
        self.isBackfilled = isBackfilled
        self.isWanted = isWanted
    }
}

public protocol TimelineStore: Sendable {
    /// Versions of an order, oldest first, with `version` > `after`.
    func versions(of order: OrderID, after: Int64, limit: Int) async throws(StoreError) -> [StoredVersion]
    /// Oldest first, at most the 1,000 newest.
    func notes(of order: OrderID) async throws(StoreError) -> [OrderNote]
    /// Adds notes; one of a kind and subject that is there already is counted. Notes of unknown orders are dropped.
    func add(_ notes: [OrderNote]) async throws(StoreError)
    /// Halts that concern an order now.
    func halts(_ order: OrderID, account: AccountID, market: MarketID) async throws(StoreError) -> [StandingHalt]
    /// Gaps of a series that touch the stretch of venue time, oldest first.
    func gaps(_ series: PriceSeries, from: Int64, to: Int64) async throws(StoreError) -> [FeedGap]
    /// Stores a gap; one that begins at the same time is replaced.
    func add(_ gap: FeedGap) async throws(StoreError)
    /// The oldest gap whose orders are to be told: that no history fills it, or, after they were told so, that it is filled
    /// and no other one of its series stands. Nil: there is none.
    func untoldGap() async throws(StoreError) -> FeedGap?
    /// Live orders of the gap's series that were made before its end, in order of id.
    func orders(across gap: FeedGap, after: OrderID?, limit: Int) async throws(StoreError) -> [OrderID]
    /// Everybody was told of the gap as it is in the argument, filled or not.
    func setTold(_ gap: FeedGap) async throws(StoreError)
}
