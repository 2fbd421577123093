// An order of either kind, as the engine and its stores carry it: one pipeline evaluates, commits, sends and records
// smart orders and conditional orders alike.
//
// Whoever handles orders as such uses this surface and never asks for the kind. Cost: a switch per access; evaluators,
// who see every tick, work on watches and not on this.

/// Which kind of order a row is.
public enum OrderKind: String, Hashable, Sendable, CaseIterable { case smart, conditional }

/// Indirect: rows are handed on far more often than they change, and a copy of one touches forty references.
public indirect enum StoredOrder: Hashable, Sendable {
    case smart(SmartOrder)
    case conditional(ConditionalOrder)
}

/// What an order of either kind decided; see `Decision`.
public struct StoredDecision: Sendable {
    public let next: StoredOrder
    public let effects: [Effect]
    public let facts: [Fact]

    public init(_ decision: Decision) {
        next = .smart(decision.next)
        effects = decision.effects
        facts = decision.facts
    }

    public init(_ decision: ConditionalDecision) {
        next = .conditional(decision.next)
        effects = decision.effects
        facts = decision.facts
    }
}

extension StoredOrder {
    public var kind: OrderKind {
        switch self {
        case .smart: .smart
        case .conditional: .conditional
        }
    }

    /// Nil: it is a conditional order.
    public var smart: SmartOrder? {
        switch self {
        case .smart(let order): order
        case .conditional: nil
        }
    }

    /// Nil: it is a smart order.
    public var conditional: ConditionalOrder? {
        switch self {
        case .smart: nil
        case .conditional(let order): order
        }
    }

    // MARK: What both kinds have

    public var id: OrderID {
        switch self {
        case .smart(let order): order.id
        case .conditional(let order): order.id
        }
    }

    public var account: AccountID {
        switch self {
        case .smart(let order): order.account
        case .conditional(let order): order.account
        }
    }

    public var instrument: Instrument {
        switch self {
        case .smart(let order): order.instrument
        case .conditional(let order): order.instrument
        }
    }

    public var version: Int64 {
        get {
            switch self {
            case .smart(let order): order.version
            case .conditional(let order): order.version
            }
        }
        set { change({ $0.version = newValue }, { $0.version = newValue }) }
    }

    public var createdAt: Timestamp {
        switch self {
        case .smart(let order): order.createdAt
        case .conditional(let order): order.createdAt
        }
    }

    public var updatedAt: Timestamp {
        switch self {
        case .smart(let order): order.updatedAt
        case .conditional(let order): order.updatedAt
        }
    }

    public var triggerSource: TriggerSource {
        switch self {
        case .smart(let order): order.triggerSource
        case .conditional(let order): order.triggerSource
        }
    }

    public var clientOrderID: String? {
        switch self {
        case .smart(let order): order.draft.clientOrderID
        case .conditional(let order): order.draft.clientOrderID
        }
    }

    public var health: OrderHealth {
        switch self {
        case .smart(let order): order.health
        case .conditional(let order): order.health
        }
    }

    public var isTerminal: Bool {
        switch self {
        case .smart(let order): order.status.isTerminal
        case .conditional(let order): order.status.isTerminal
        }
    }

    /// Live ones; ended ones live in their own rows.
    public var venueOrders: [VenueOrder] {
        get {
            switch self {
            case .smart(let order): order.venueOrders
            case .conditional(let order): order.venueOrders
            }
        }
        set { change({ $0.venueOrders = newValue }, { $0.venueOrders = newValue }) }
    }

    /// Ticks up to here are decided on.
    public var position: TickPosition {
        get {
            switch self {
            case .smart(let order): order.extremePosition
            case .conditional(let order): order.position
            }
        }
        set { change({ $0.extremePosition = newValue }, { $0.position = newValue }) }
    }

    /// Since when the venue is asked for what has to leave (R15.2).
    public var exitingSince: Timestamp? {
        get {
            switch self {
            case .smart(let order): order.exitingSince
            case .conditional(let order): order.exitingSince
            }
        }
        set { change({ $0.exitingSince = newValue }, { $0.exitingSince = newValue }) }
    }

    private mutating func change(_ smart: (inout SmartOrder) -> Void, _ other: (inout ConditionalOrder) -> Void) {
        switch self {
        case .smart(var order):
            smart(&order)
            self = .smart(order)
        case .conditional(var order):
            other(&order)
            self = .conditional(order)
        }
    }

    // MARK: What it waits for

    public var watches: [Watch] {
        switch self {
        case .smart(let order): order.watches
        case .conditional(let order): order.watches
        }
    }

    public var wantsEveryTick: Bool {
        switch self {
        case .smart(let order): order.wantsEveryTick
        case .conditional(let order): order.wantsEveryTick
        }
    }

    /// The earliest moment at which a `timer` event could change something; nil: never.
    public var nextTimer: Timestamp? {
        switch self {
        case .smart(let order): order.nextTimer
        case .conditional(let order): order.nextTimer
        }
    }

    /// Whether a job is about something that is still awaited.
    public func awaits(_ leg: Leg, attempt: Int) -> Bool {
        switch self {
        case .smart(let order): order.awaits(leg, attempt: attempt)
        case .conditional(let order): order.awaits(leg, attempt: attempt)
        }
    }

    /// As rows, events and answers name it.
    public var statusName: String {
        switch self {
        case .smart(let order): order.status.rawValue
        case .conditional(let order): order.status.rawValue
        }
    }

    /// One-way: a stop that fired, a conditional order that was triggered.
    public var isLatched: Bool {
        switch self {
        case .smart(let order): order.latch != nil
        case .conditional(let order): order.triggeredAt != nil
        }
    }

    /// 0: none was made.
    public func lastAttempt(of leg: Leg) -> Int {
        switch self {
        case .smart(let order): order.attempts[leg] ?? 0
        case .conditional(let order): order.attempts
        }
    }

    /// Takes the best price of quiet ticks into what trails it; a conditional order trails nothing.
    public mutating func absorb(extreme price: Price, upTo position: TickPosition) {
        switch self {
        case .smart(var order):
            order.absorb(extreme: price, upTo: position)
            self = .smart(order)
        case .conditional: break
        }
    }

    // MARK: What it decides

    /// Decides what `event` means; nil: nothing changes.
    ///
    /// - Throws: only for commands that do not apply now.
    public func decide(_ event: OrderEvent, at moment: Moment) throws(Refusal) -> StoredDecision? {
        switch self {
        case .smart(let order): try order.decide(event, at: moment).map { StoredDecision($0) }
        case .conditional(let order): try order.decide(event, at: moment).map { StoredDecision($0) }
        }
    }

    /// Whether this venue order lessens what is held: a halt of entries lets it pass (RELIABILITY.md 11.1), and on a
    /// self-trade the other side is expired (R25).
    public func isExit(_ venueOrder: VenueOrder) -> Bool {
        switch self {
        case .smart(let order): venueOrder.side != order.draft.side
        case .conditional(let order): order.draft.reduceOnly
        }
    }

    /// The side of the position that it exits, or would enter.
    public var positionSide: Side {
        switch self {
        case .smart(let order): order.draft.side
        case .conditional(let order): order.draft.reduceOnly ? order.draft.side.opposite : order.draft.side
        }
    }

    /// Whether a change of the position by somebody else is its business (R16).
    public var followsPosition: Bool {
        switch self {
        case .smart(let order): order.status.isOpen
        case .conditional(let order): order.draft.reduceOnly && !order.status.isTerminal
        }
    }

    /// A conditional stop-loss: its work goes before entries and targets (QUEUE.md 3.4).
    public var isStopLoss: Bool {
        switch self {
        case .smart: false
        case .conditional(let order): order.draft.kind == .stopLoss
        }
    }
}
