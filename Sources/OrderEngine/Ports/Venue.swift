// An exchange, as the engine sees it. One adapter per venue (module Exchanges); the paper venue is reached through the
// Binance adapter, so paper and live are one code path.
//
// Verbs never throw: an answer is accepted, refused, not sent or unknown, and everything that is not clearly one of the
// first three is unknown (RELIABILITY.md 2.5). Nothing here repeats a request.
public import SmartOrders

/// An order to place.
public struct Placement: Hashable, Sendable {
    public let market: MarketID
    public let clientOrderID: String
    public let side: Side
    public let type: VenueOrderType
    public let quantity: Quantity
    public let limit: Price?
    /// Of a conditional order.
    public let trigger: Price?
    public let callback: Callback?
    public let triggerSource: TriggerSource
    /// A stop that takes the whole position, however large it is when it fires.
    public let closesPosition: Bool
    public let reduceOnly: Bool
    /// Exits expire the maker on a self-trade (ORDERS.md R25).
    public let isExit: Bool
    /// Venue time, read before the commit; the request dies `windowMs` later.
    public let t0: Timestamp
    public let windowMs: Int64

    public init(
        market: MarketID,
        clientOrderID: String,
        side: Side,
        type: VenueOrderType,
        quantity: Quantity,
        limit: Price?,
        trigger: Price? = nil,
        callback: Callback? = nil,
        triggerSource: TriggerSource = .last,
        closesPosition: Bool = false,
        reduceOnly: Bool,
        isExit: Bool,
        t0: Timestamp,
        windowMs: Int64,
    ) {
        self.market = market
        self.clientOrderID = clientOrderID
        self.side = side
        self.type = type
        self.quantity = quantity
        self.limit = limit
        self.trigger = trigger
        self.callback = callback
        self.triggerSource = triggerSource
        self.closesPosition = closesPosition
        self.reduceOnly = reduceOnly
        self.isExit = isExit
        self.t0 = t0
        self.windowMs = windowMs
    }
}

/// What a venue says of one order at one moment.
public struct VenueSnapshot: Hashable, Sendable {
    public enum State: Hashable, Sendable { case open, filled, expired, cancelled, rejected }
    public let venueOrderID: String
    public let clientOrderID: String
    public let state: State
    /// Cumulative.
    public let filled: Quantity
    /// Executions that are known one by one; empty does not mean that nothing was filled.
    public let fills: [Fill]
    /// A conditional order that its trigger has woken.
    public let isTriggered: Bool

    public init(
        venueOrderID: String,
        clientOrderID: String,
        state: State,
        filled: Quantity,
        fills: [Fill],
        isTriggered: Bool = false,
    ) {
        self.venueOrderID = venueOrderID
        self.clientOrderID = clientOrderID
        self.state = state
        self.filled = filled
        self.fills = fills
        self.isTriggered = isTriggered
    }
}

public enum PlacementAnswer: Hashable, Sendable {
    case accepted(VenueSnapshot)
    case refused(VenueNews.RefusalKind, code: String, detail: String)
    /// The venue knows the id: an earlier send was accepted. Look it up.
    case duplicate
    case notSent(String)
    case unknown(String)
}

public enum CancelAnswer: Hashable, Sendable {
    case cancelled(VenueSnapshot)
    /// The venue does not have it open: look it up.
    case notOpen
    /// Not sent, refused or without an answer: ask again.
    case failed(String)
}

public enum LookUpAnswer: Hashable, Sendable {
    case found(VenueSnapshot)
    case notFound
    case failed(String)
}

/// What an account holds in one market at one moment.
public struct Holding: Hashable, Sendable {
    /// Signed position (hedge mode: of the position side that was asked for); spot: coins, free and locked.
    public let quantity: ExactDecimal
    /// Average entry of the position; nil: none, or not told.
    public let average: Price?
    /// Everything that the venue executed up to this moment of its clock is in it; later executions may be.
    public let asOf: Timestamp

    public init(quantity: ExactDecimal, average: Price? = nil, asOf: Timestamp) {
        self.quantity = quantity
        self.average = average
        self.asOf = asOf
    }
}

/// An open order at the venue that was placed elsewhere (ORDERS.md 6.1).
public struct RestingOrder: Hashable, Sendable {
    public let clientOrderID: String
    public let order: AdoptedOrder
    public init(clientOrderID: String, order: AdoptedOrder) {
        self.clientOrderID = clientOrderID
        self.order = order
    }
}

/// News from the account's private stream.
public enum VenueStreamEvent: Sendable {
    case order(clientOrderID: String, market: MarketID, snapshot: VenueSnapshot)
    /// A position changed, for whatever reason. `side` is nil where both directions are netted.
    case position(market: MarketID, side: Side?, Holding)
    /// Spot: what is free of a coin now.
    case balance(asset: String, free: ExactDecimal)
    /// The stream was interrupted or opened: look everything up.
    case interrupted
}

/// One account at one venue.
public protocol Venue: Sendable {
    /// How long after a commit an order may still appear (RELIABILITY.md 2.4).
    var fenceMs: Int64 { get }
    var windowMs: Int64 { get }
    /// What an absence proves there.
    var venueClass: VenueClass { get }
    /// Executions in this market since a moment of the venue's clock, all of them: the second witness of an absence
    /// (RELIABILITY.md 2.6). Nil: nobody can say now.
    func executions(market: MarketID, since: Timestamp) async -> [VenueExecution]?
    /// Why requests cannot leave now, as far as somebody should look: VENUE_TLS, VENUE_CLOCK.
    var trouble: Set<Attention> { get }
    /// The venue's time now: local clock plus measured offset.
    func venueTime() -> Timestamp

    func place(_ placement: Placement) async -> PlacementAnswer
    func cancel(market: MarketID, clientOrderID: String) async -> CancelAnswer
    func lookUp(market: MarketID, clientOrderID: String) async -> LookUpAnswer
    /// The same for an order of a kind; venues may keep conditional orders elsewhere.
    func cancel(market: MarketID, clientOrderID: String, type: VenueOrderType) async -> CancelAnswer
    func lookUp(market: MarketID, clientOrderID: String, type: VenueOrderType) async -> LookUpAnswer
    /// Places a take-profit and a stop of which one cancels the other; answers in their order.
    func placeList(_ target: Placement, _ stop: Placement) async -> [PlacementAnswer]
    /// Whether the account has a position for each direction.
    var isHedged: Bool { get }
    /// The position that orders of `side` make or take; spot: the coins. Nil: not known now.
    /// - Parameter fresh: asks the venue; else what its private stream told last is good enough.
    func holding(market: MarketID, side: Side, fresh: Bool) async -> Holding?
    /// Free balance of a coin on spot, as last told or asked for; nil: not known now.
    func freeBalance(asset: String) async -> ExactDecimal?
    /// An open limit order that the venue knows under this id of its own; nil: there is none.
    func resting(market: MarketID, venueOrderID: String) async throws(VenueError) -> RestingOrder?
    func instruments() async throws(VenueError) -> [Instrument]
    /// What people and processes without keys ask about the account.
    func read(_ question: VenueQuestion) async throws(VenueError) -> VenueReading
    /// Private stream; ends when the task is cancelled. Reconnects by itself.
    func events() -> AsyncStream<VenueStreamEvent>
    /// The same for one of several listeners. What comes while `isFollowed` says no need not be told, only known where
    /// `holding` and `freeBalance` answer from it.
    func events(isFollowed: @escaping @Sendable () -> Bool) -> AsyncStream<VenueStreamEvent>
}

extension Venue {
    public func events(isFollowed: @escaping @Sendable () -> Bool) -> AsyncStream<VenueStreamEvent> { events() }

    public func cancel(market: MarketID, clientOrderID: String, type: VenueOrderType) async -> CancelAnswer {
        await cancel(market: market, clientOrderID: clientOrderID)
    }

    public func lookUp(market: MarketID, clientOrderID: String, type: VenueOrderType) async -> LookUpAnswer {
        await lookUp(market: market, clientOrderID: clientOrderID)
    }

    public func read(_ question: VenueQuestion) async throws(VenueError) -> VenueReading {
        guard case .resting(let market, let id) = question else { throw VenueError("the venue does not tell this") }
        return .resting(try await resting(market: market, venueOrderID: id))
    }

    public func placeList(_ target: Placement, _ stop: Placement) async -> [PlacementAnswer] {
        [.notSent("no order lists here"), .notSent("no order lists here")]
    }
}

public struct VenueError: Error, Hashable, Sendable {
    public let detail: String
    public init(_ detail: String) { self.detail = detail }
}

/// Finds the venue connection of an account; makes it on first use.
public protocol VenueDirectory: Sendable {
    func venue(for account: AccountID) async throws(VenueError) -> any Venue
}
