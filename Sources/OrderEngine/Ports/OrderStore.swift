// Where orders live: PostgreSQL in production, memory in the simulator; both pass `OrderStoreContract`.
//
// The store is the authority. A commit is one compare-and-set per order: it takes effect whole or not at all, and a
// lost race harms nobody else in the batch (RELIABILITY.md 2.2, 3.1).
public import SmartOrders

/// What a store could not do.
public struct StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable {
        /// Nothing was sent; may work later.
        case unavailable
        /// It is not known whether it took effect. Conclude from a write (RELIABILITY.md 3.1.5): the same commit again.
        case outcomeUnknown
        /// A row that cannot be read: never skipped silently.
        case corruptRow
        /// The database is not what this binary expects (schema, settings).
        case incompatible
    }
    public let code: Code
    public let detail: String

    public init(_ code: Code, _ detail: String) {
        self.code = code
        self.detail = detail
    }

    public var description: String { "\(code.rawValue): \(detail)" }

    /// Whether doing the same thing again later could work.
    public var isTransient: Bool {
        switch code {
        case .unavailable, .outcomeUnknown: true
        case .corruptRow, .incompatible: false
        }
    }
}

/// Why a version exists.
public enum EventCause: String, Hashable, Sendable {
    case command = "COMMAND"
    case tick = "TICK"
    case fill = "FILL"
    case venueAnswer = "VENUE_ANSWER"
    case timer = "TIMER"
    case position = "POSITION"
    case reconcile = "RECONCILE"
    case recovery = "RECOVERY"
}

/// Who caused it.
public struct Actor: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable { case worker, key, user, hook, `operator` }
    public let kind: Kind
    public let id: String
    public init(kind: Kind, id: String) {
        self.kind = kind
        self.id = id
    }
}

/// The right to send one venue order once, taken in the commit that claims its quantity (RELIABILITY.md 0, 2.2).
public struct SendRight: Hashable, Sendable {
    public let key: VenueOrderKey
    public let clientOrderID: String
    /// Random, made by the worker before the commit; also resolves a commit of unknown outcome.
    public let token: Int64
    /// Venue time that the signed request will carry, read before the commit.
    public let t0: Timestamp
    /// How long after the commit the venue can still accept the request and hide it from look-ups.
    public let fenceMs: Int64

    public init(key: VenueOrderKey, clientOrderID: String, token: Int64, t0: Timestamp, fenceMs: Int64) {
        self.key = key
        self.clientOrderID = clientOrderID
        self.token = token
        self.t0 = t0
        self.fenceMs = fenceMs
    }
}

/// One decision on its way into the store: row, event, intents, fills and jobs of one order.
public struct Commit: Sendable {
    /// Random, made once per decision. A commit of unknown outcome is repeated with the same id: whoever finds the id
    /// stored knows that it was his (RELIABILITY.md 3.1.5).
    public let id: Int64
    /// The row after the decision. `next.version` - 1 is the version that must be stored now (0: the order is new).
    public let next: StoredOrder
    public let cause: EventCause
    public let actor: Actor
    public let tick: Tick?
    public let facts: [Fact]
    /// Venue orders whose state, filled quantity or venue id changed with this decision, ended ones included. New ones
    /// without a send right are stored as INTENT and wait for `claimSend`.
    public let venueOrders: [VenueOrder]
    public let sendRights: [SendRight]
    /// New fills; a fill that is stored already changes nothing.
    public let fills: [(key: VenueOrderKey, fill: Fill)]
    /// Jobs that must not be lost: stored in the outbox with the commit, offered by the caller afterwards.
    public let jobs: [Job]
    /// Present when this is an API command: stored with its answer (INTERFACES.md 1.4).
    public let idempotency: IdempotencyRecord?
    /// What it was made of, for `explain`; an empty one is not stored.
    public let record: DecisionRecord
    /// The row before the decision, which says what a command changed from what; nil: not known, or the order is new.
    public var previous: StoredOrder?

    public init(
        id: Int64,
        next: StoredOrder,
        cause: EventCause,
        actor: Actor,
        tick: Tick? = nil,
        facts: [Fact] = [],
        venueOrders: [VenueOrder] = [],
        sendRights: [SendRight] = [],
        fills: [(key: VenueOrderKey, fill: Fill)] = [],
        jobs: [Job] = [],
        idempotency: IdempotencyRecord? = nil,
        record: DecisionRecord = DecisionRecord(),
    ) {
        self.id = id
        self.next = next
        self.cause = cause
        self.actor = actor
        self.tick = tick
        self.facts = facts
        self.venueOrders = venueOrders
        self.sendRights = sendRights
        self.fills = fills
        self.jobs = jobs
        self.idempotency = idempotency
        self.record = record
    }
}

/// The stored outcome of an API command.
public struct IdempotencyRecord: Hashable, Sendable {
    public let owner: String
    public let key: String
    public let requestHash: String
    /// What is answered, kept with the commit: a repeated request gets the same. Nil: nothing is kept.
    public var answer: KeptAnswer?
    public init(owner: String, key: String, requestHash: String) {
        self.owner = owner
        self.key = key
        self.requestHash = requestHash
    }
}

/// The answer to a command on an order, word for word.
public struct KeptAnswer: Hashable, Sendable {
    /// HTTP status.
    public let status: Int
    /// Values of the headers that belong to the answer.
    public let entityTag: String?
    public let location: String?
    public let body: [UInt8]

    public init(status: Int, entityTag: String?, location: String?, body: [UInt8]) {
        self.status = status
        self.entityTag = entityTag
        self.location = location
        self.body = body
    }
}

/// What became of one commit.
public enum CommitOutcome: Hashable, Sendable {
    /// Stored; `sequence` is the number of the event in its account's stream.
    case committed(sequence: Int64)
    /// Another version is stored: load, decide again.
    case lost
    /// Quarantine or a halt: no send right is given now; without send rights the same commit would pass.
    case blocked
    /// The idempotency key was used for another order or with another body.
    case keyUsed(order: OrderID, requestHash: String)
    /// A constraint of the database forbids what was decided (RELIABILITY.md 3.1.1), or the account is unknown: a bug,
    /// never a race. Nothing is stored; the rest of the batch is unharmed. `constraint` names the guard.
    case refused(constraint: String)
}

/// What the evaluator needs of an order that is not terminal.
public struct ArmedOrder: Hashable, Sendable {
    public let id: OrderID
    public let version: Int64
    public let market: MarketID
    public let source: TriggerSource
    /// Ticks after this position have not been decided on.
    public let position: TickPosition
    public let watches: [Watch]
    /// The grid that trailing thresholds are rounded to, in units of prices; 0: none trails. It may be older than the
    /// market's own (`Instrument.armedTick`).
    public let tickUnits: Int64
    /// Every tick matters now (a latched stop that is not flat).
    public let wantsEveryTick: Bool
    /// Something was asked of the venue and is not answered.
    public let isBusy: Bool
    /// When a timer event is due.
    public let dueAt: Timestamp?
    /// False once the order is terminal: it leaves the index.
    public let isLive: Bool

    public init(
        id: OrderID,
        version: Int64,
        market: MarketID,
        source: TriggerSource,
        position: TickPosition,
        watches: [Watch],
        tickUnits: Int64,
        wantsEveryTick: Bool,
        isBusy: Bool,
        dueAt: Timestamp?,
        isLive: Bool,
    ) {
        self.id = id
        self.version = version
        self.market = market
        self.source = source
        self.position = position
        self.watches = watches
        self.tickUnits = tickUnits
        self.wantsEveryTick = wantsEveryTick
        self.isBusy = isBusy
        self.dueAt = dueAt
        self.isLive = isLive
    }
}

/// A venue order as stored, with what the placement protocol needs (RELIABILITY.md 2).
public struct StoredIntent: Hashable, Sendable {
    public let order: OrderID
    public let account: AccountID
    public let venueOrder: VenueOrder
    /// Empty until the first send right.
    public let clientOrderID: String
    /// Nil: never had a send right.
    public let token: Int64?
    public let sends: Int
    public let checks: Int
    /// Whether the fence of the last send has passed, by PostgreSQL's clock at the time of the read.
    public let fencePassed: Bool
    /// Look-ups begun after the fence that answered "unknown", at least 500 ms apart.
    public let absences: Int
    /// Venue time that the request carried; nil: never sent.
    public let t0: Timestamp?

    public init(
        order: OrderID,
        account: AccountID,
        venueOrder: VenueOrder,
        clientOrderID: String,
        token: Int64?,
        sends: Int,
        checks: Int,
        fencePassed: Bool,
        absences: Int,
        t0: Timestamp? = nil,
    ) {
        self.order = order
        self.account = account
        self.venueOrder = venueOrder
        self.clientOrderID = clientOrderID
        self.token = token
        self.sends = sends
        self.checks = checks
        self.fencePassed = fencePassed
        self.absences = absences
        self.t0 = t0
    }
}

/// One event of an order, as history and stream show it.
public struct StoredEvent: Sendable {
    public let account: AccountID
    public let sequence: Int64
    /// Nil: the account itself changed.
    public let order: OrderID?
    /// Of the order; nil as that is.
    public let version: Int64?
    public let at: Timestamp
    public let cause: EventCause
    public let actor: Actor
    public let tick: Tick?
    /// When the feed received the tick; nil: not known.
    public let tickReceivedAt: Timestamp?
    /// Of the request that caused it; nil: none did.
    public let requestID: String?
    /// Facts and the row after the event, or the account after it, as JSON text (INTERFACES.md 1.10).
    public let json: [UInt8]

    public init(
        account: AccountID,
        sequence: Int64,
        order: OrderID?,
        version: Int64?,
        at: Timestamp,
        cause: EventCause,
        actor: Actor,
        tick: Tick?,
        tickReceivedAt: Timestamp? = nil,
        requestID: String? = nil,
        json: [UInt8],
    ) {
        self.account = account
        self.sequence = sequence
        self.order = order
        self.version = version
        self.at = at
        self.cause = cause
        self.actor = actor
        self.tick = tick
        self.tickReceivedAt = tickReceivedAt
        self.requestID = requestID
        self.json = json
    }
}

/// A filter for lists of orders, newest first.
public struct OrderFilter: Hashable, Sendable {
    public var account: AccountID
    /// Nil: both kinds.
    public var kind: OrderKind?
    /// Raw values of `OrderStatus` or `ConditionalStatus`; empty: all.
    public var statuses: [String]
    public var market: MarketID?
    /// Orders older than this one (creation order); nil: from the newest.
    public var before: OrderID?
    /// Orders whose present version is of this time or later; nil: of any.
    public var updatedSince: Timestamp?
    /// 1...200.
    public var limit: Int
    /// What else is asked for, in which order; nil: nothing, newest first. Only of smart orders.
    public var search: OrderSearch?
    public init(
        account: AccountID,
        kind: OrderKind? = nil,
        statuses: [String] = [],
        market: MarketID? = nil,
        before: OrderID? = nil,
        limit: Int = 50,
    ) {
        self.account = account
        self.kind = kind
        self.statuses = statuses
        self.market = market
        self.before = before
        self.limit = limit
    }
}

/// Finer questions to a list of smart orders.
public struct OrderSearch: Hashable, Sendable {
    public enum Sort: String, Hashable, Sendable, CaseIterable {
        /// The only ones that a walk of pages neither repeats nor skips.
        case newest = "-createdAt"
        case oldest = "createdAt"
        case updated = "-updatedAt"
        case symbol = "symbol"
        /// Ended ones first, the last that ended before all; orders that live come at the end.
        case closed = "-closedAt"
    }

    public enum Kind: String, Hashable, Sendable { case smart = "SMART", position = "POSITION" }

    /// Where a page ended: the order, and what it was sorted by.
    public struct Place: Hashable, Sendable {
        public let order: OrderID
        public let symbol: String
        public let time: Timestamp
        public init(order: OrderID, symbol: String, time: Timestamp) {
            self.order = order
            self.symbol = symbol
            self.time = time
        }
    }

    public var sort = Sort.newest
    public var after: Place?
    public var venue: String?
    public var symbol: String?
    public var side: Side?
    public var health: OrderHealth?
    public var kind: Kind?
    public var clientOrderID: String?
    /// At or after.
    public var updatedSince: Timestamp?
    public var createdFrom: Timestamp?
    /// Before.
    public var createdTo: Timestamp?
    /// In symbol, note or client order id, whatever its case.
    public var text: String?

    public init() {}

    /// What `order` is sorted by.
    public func place(of order: SmartOrder) -> Place {
        let time: Timestamp =
            switch sort {
            case .newest, .oldest, .symbol, .updated: order.updatedAt
            case .closed: order.status.isTerminal ? order.updatedAt : Timestamp(microseconds: 0)
            }
        return Place(order: order.id, symbol: order.instrument.market.symbol, time: time)
    }

    /// Whether one of two orders comes first.
    public func isBefore(_ left: SmartOrder, _ right: SmartOrder) -> Bool {
        let (one, other) = (place(of: left), place(of: right))
        switch sort {
        case .newest: break
        case .oldest: return one.order < other.order
        case .symbol: if one.symbol != other.symbol { return one.symbol < other.symbol }
        case .updated, .closed: if one.time != other.time { return one.time > other.time }
        }
        return one.order > other.order
    }
}

/// What the fills of one leg add up to.
public struct FillSummary: Hashable, Sendable {
    public let leg: Leg
    /// Positive.
    public let quantity: Quantity
    /// Quantity times price, in quote currency, before fees.
    public let worth: Money
    /// Of the first and the last one.
    public let first: Timestamp
    public let last: Timestamp
    public init(leg: Leg, quantity: Quantity, worth: Money, first: Timestamp, last: Timestamp) {
        self.leg = leg
        self.quantity = quantity
        self.worth = worth
        self.first = first
        self.last = last
    }
}

extension OrderStore {
    /// Order by order.
    public func fillSummaries(of orders: [OrderID]) async throws(StoreError) -> [OrderID: [FillSummary]] {
        var summaries: [OrderID: [FillSummary]] = [:]
        for id in orders {
            let fills = try await fills(order: id)
            let byLeg = Dictionary(grouping: fills, by: \.key.leg)
            guard !byLeg.isEmpty else { continue }
            summaries[id] = byLeg.map { leg, fills in
                let times = fills.map(\.fill.time)
                return FillSummary(
                    leg: leg,
                    quantity: fills.reduce(.zero) { $0 + $1.fill.quantity },
                    worth: fills.reduce(.zero) { $0 + $1.fill.price * $1.fill.quantity },
                    first: times.min() ?? Timestamp(microseconds: 0),
                    last: times.max() ?? Timestamp(microseconds: 0),
                )
            }
        }
        return summaries
    }
}

public protocol OrderStore: Sendable {
    /// The rows of these orders, in any order; unknown ids are left out.
    func load(_ ids: [OrderID]) async throws(StoreError) -> [StoredOrder]
    /// The same with the notes that traders wrote since: a note changes without a version. `list` has them, too.
    func loadNoted(_ ids: [OrderID]) async throws(StoreError) -> [StoredOrder]
    /// Commits each decision on its own merits, sharing transactions; outcomes in the order of `commits`. At most 256
    /// commits; of two on one order the second is lost.
    func commit(_ commits: [Commit]) async throws(StoreError) -> [CommitOutcome]

    /// Every order of these shards that is not terminal, in pages handed to `page` as they arrive.
    func loadArmed(shards: [Int], page: @Sendable ([ArmedOrder]) async -> Void) async throws(StoreError)
    /// Orders of these shards whose row changed after `since` (a value this call returned earlier; nil: only learn the
    /// present value). Terminal ones are included with `isLive` false. May return a change twice, never misses one.
    func changes(
        shards: [Int],
        since: ChangeCursor?,
    ) async throws(StoreError) -> (orders: [ArmedOrder], next: ChangeCursor)
    /// The same for named orders.
    func armed(_ ids: [OrderID]) async throws(StoreError) -> [ArmedOrder]

    /// The live and, with `ended`, the ended venue orders of these orders.
    func intents(of orders: [OrderID], ended: Bool) async throws(StoreError) -> [StoredIntent]
    func intent(account: AccountID, clientOrderID: String) async throws(StoreError) -> StoredIntent?
    /// Those that are known, in any order.
    func intents(account: AccountID, clientOrderIDs: [String]) async throws(StoreError) -> [StoredIntent]
    /// Takes the right to send a stored INTENT, or to repeat one that is proven absent, by compare-and-set on the token
    /// seen. False: somebody else has it, or a halt or quarantine forbids it.
    func claimSend(_ intent: StoredIntent, _ right: SendRight) async throws(StoreError) -> Bool
    /// Notes a look-up: `checks` + 1, next check after `delayMs`, absences + 1 where the answer was "unknown" after the
    /// fence. By compare-and-set on `checks`; false when somebody else was faster.
    func noteCheck(_ intent: StoredIntent, absent: Bool, delayMs: Int64) async throws(StoreError) -> Bool

    /// Jobs for everything that is due and not under way (RELIABILITY.md 3.3 sweep), at most `limit`, stops first.
    func dueWork(limit: Int) async throws(StoreError) -> [Job]
    /// Outbox rows that were not offered yet, or were offered more than a second ago and are not done.
    func unofferedJobs(limit: Int) async throws(StoreError) -> [Job]
    /// Outbox rows for a worker that has no queue: like `unofferedJobs`, stops first, each leased to one caller for 5 s.
    func takeUnoffered(limit: Int) async throws(StoreError) -> [Job]
    func markOffered(_ ids: [JobID]) async throws(StoreError)
    func closeJobs(_ ids: [JobID]) async throws(StoreError)
    /// Whether a stored job has ended; true also when it was never stored, or long ago.
    func hasEnded(_ id: JobID) async throws(StoreError) -> Bool
    /// Stores jobs that could not be offered to the queue (Redis-off mode).
    func storeJobs(_ jobs: [Job]) async throws(StoreError)
    /// Stores that jobs are given up, before the queue hears of it: its dead set is a copy of these. Idempotent.
    func buryJobs(_ deaths: [JobDeath]) async throws(StoreError)
    /// Jobs that are dead, by id, after `after`.
    func deaths(after: String, limit: Int) async throws(StoreError) -> [JobDeath]
    /// Remembers how many workers died with each of these jobs, so that the count survives the queue (QUEUE.md 9.3).
    func noteCrashes(_ jobs: [Job]) async throws(StoreError)
    /// Pauses in force.
    func queuePauses() async throws(StoreError) -> [QueuePause]

    func list(_ filter: OrderFilter) async throws(StoreError) -> [StoredOrder]
    /// The same for who shows them: what did not change since it was read is handed out again.
    func page(_ filter: OrderFilter) async throws(StoreError) -> [ReadOrder]
    /// Events of one order, oldest first, with `version` > `after`.
    func events(order: OrderID, after: Int64, limit: Int) async throws(StoreError) -> [StoredEvent]
    /// Events of one account, oldest first, with `sequence` > `after`.
    func events(account: AccountID, after: Int64, limit: Int) async throws(StoreError) -> [StoredEvent]
    func lastSequence(account: AccountID) async throws(StoreError) -> Int64
    func fills(order: OrderID) async throws(StoreError) -> [(key: VenueOrderKey, fill: Fill)]
    /// What the fills of these orders add up to, by leg; an order without one is missing.
    func fillSummaries(of orders: [OrderID]) async throws(StoreError) -> [OrderID: [FillSummary]]
    /// Orders of this account and market that are not terminal, newest first, at most `limit`.
    func live(account: AccountID, market: MarketID, limit: Int) async throws(StoreError) -> [StoredOrder]
    /// What its smart orders own there together, an entry per side and kind.
    func shares(
        account: AccountID,
        market: MarketID,
        except: OrderID?,
    ) async throws(StoreError) -> [PositionShare]
    /// Live orders that the position may leave without what they own, or that need their row to say so, by id; a store may
    /// name more, never fewer.
    func left(by position: PositionQuery) async throws(StoreError) -> [StoredOrder]
    /// What an exit of `order` has to be fitted to: claims elsewhere on its position, and its own newest fill.
    func standing(of order: StoredOrder) async throws(StoreError) -> OrderStanding
    /// The same for many orders, in their order.
    func standings(of orders: [StoredOrder]) async throws(StoreError) -> [OrderStanding]
    /// What has to be compared with the venue after its stream was interrupted.
    func openWork(account: AccountID) async throws(StoreError) -> OpenWork
    /// Legs active on this market and account, for `CONDITIONAL_LIMIT`.
    func activeLegs(account: AccountID, market: MarketID) async throws(StoreError) -> Int
    func outcome(owner: String, key: String) async throws(StoreError) -> (order: OrderID, requestHash: String)?
    /// What was answered to the request with this key; nil: nothing was kept.
    func keptAnswer(owner: String, key: String) async throws(StoreError) -> KeptAnswer?
}

extension OrderStore {
    /// A store that is asked by no API keeps none.
    public func keptAnswer(owner: String, key: String) async throws(StoreError) -> KeptAnswer? { nil }
}

extension OrderStore {
    /// One by one: for stores in memory.
    public func standings(of orders: [StoredOrder]) async throws(StoreError) -> [OrderStanding] {
        var standings: [OrderStanding] = []
        for order in orders { standings.append(try await standing(of: order)) }
        return standings
    }

    /// One by one: for stores in memory.
    public func intents(account: AccountID, clientOrderIDs: [String]) async throws(StoreError) -> [StoredIntent] {
        var intents: [StoredIntent] = []
        for id in clientOrderIDs {
            if let intent = try await intent(account: account, clientOrderID: id) { intents.append(intent) }
        }
        return intents
    }
}

/// What the store knows around an order on its position.
public struct OrderStanding: Hashable, Sendable {
    /// Unfilled quantity of exits of the account's other orders that rest at the venue on the same side of this market
    /// (ORDERS.md R16.4). Exits in flight are left out: what they took may be missing from the position already, and
    /// would be counted twice; where both were sent, reduce-only decides at the venue.
    public let claimedElsewhere: Quantity
    /// Venue time of the order's newest stored fill.
    public let newestFill: Timestamp?
    public init(claimedElsewhere: Quantity, newestFill: Timestamp?) {
        self.claimedElsewhere = claimedElsewhere
        self.newestFill = newestFill
    }
}

/// What an account has open.
public struct OpenWork: Hashable, Sendable {
    /// Orders with a venue order that may exist.
    public let atVenue: [OrderID]
    /// Markets in which an order is not terminal.
    public let markets: [MarketID]
    public init(atVenue: [OrderID], markets: [MarketID]) {
        self.atVenue = atVenue
        self.markets = markets
    }
}

/// A place in the change log of orders; opaque.
public struct ChangeCursor: Hashable, Sendable {
    public let value: Int64
    public init(value: Int64) { self.value = value }
}

extension OrderStore {
    /// A store in memory has nothing to save.
    public func page(_ filter: OrderFilter) async throws(StoreError) -> [ReadOrder] {
        try await list(filter).map { ReadOrder($0) }
    }

    /// A store that keeps no notes has none to add.
    public func loadNoted(_ ids: [OrderID]) async throws(StoreError) -> [StoredOrder] { try await load(ids) }
}
