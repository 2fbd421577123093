// A stand-alone order that waits for a trigger and then places one order (S4, ORDERS.md R19).

/// What a trader asks for.
public struct ConditionalDraft: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
        case stopLoss = "STOP_LOSS"
        case takeProfit = "TAKE_PROFIT"
    }
    public var kind: Kind
    public var side: Side
    public var quantity: Quantity
    public var trigger: Price
    /// Nil: market.
    public var limit: Price?
    public var reduceOnly: Bool
    public var positionSide: Draft.PositionSide
    public var triggerSource: TriggerSource?
    public var expiresAt: Timestamp?
    public var clientOrderID: String?
    public var note: String?

    public init(
        kind: Kind,
        side: Side,
        quantity: Quantity,
        trigger: Price,
        limit: Price? = nil,
        reduceOnly: Bool = false,
        positionSide: Draft.PositionSide = .both,
        triggerSource: TriggerSource? = nil,
        expiresAt: Timestamp? = nil,
        clientOrderID: String? = nil,
        note: String? = nil,
    ) {
        self.kind = kind
        self.side = side
        self.quantity = quantity
        self.trigger = trigger
        self.limit = limit
        self.reduceOnly = reduceOnly
        self.positionSide = positionSide
        self.triggerSource = triggerSource
        self.expiresAt = expiresAt
        self.clientOrderID = clientOrderID
        self.note = note
    }
}

/// What a trader changes of a conditional order that waits; nil: stays.
public struct ConditionalChange: Hashable, Sendable {
    public var trigger: Price?
    /// `.some(nil)`: a market order from now on.
    public var limit: Price??
    public var quantity: Quantity?
    public init(trigger: Price? = nil, limit: Price?? = nil, quantity: Quantity? = nil) {
        self.trigger = trigger
        self.limit = limit
        self.quantity = quantity
    }
}

public enum ConditionalStatus: String, Hashable, Sendable, CaseIterable {
    case pending = "PENDING"
    case triggered = "TRIGGERED"
    case filled = "FILLED"
    case cancelled = "CANCELLED"
    public var isTerminal: Bool { self == .filled || self == .cancelled }
}

public enum ConditionalReason: String, Hashable, Sendable, CaseIterable {
    case userCancel = "USER_CANCEL"
    case expired = "EXPIRED"
    case iocExpired = "IOC_EXPIRED"
    case orderRejected = "ORDER_REJECTED"
    case positionClosedExternally = "POSITION_CLOSED_EXTERNALLY"
    case positionFlipped = "POSITION_FLIPPED"
}

public struct ConditionalOrder: Hashable, Sendable {
    /// How the price has to stand to the trigger.
    public enum Condition: String, Hashable, Sendable {
        case atOrBelow = "<="
        case atOrAbove = ">="
    }

    public let id: OrderID
    public let account: AccountID
    public internal(set) var instrument: Instrument
    /// 1 for the first stored version.
    public var version: Int64
    public let createdAt: Timestamp
    public var updatedAt: Timestamp

    public var draft: ConditionalDraft
    public var triggerSource: TriggerSource

    public var status: ConditionalStatus = .pending
    public var reason: ConditionalReason?
    public var health: OrderHealth = .ok
    /// When and where in the price history it fired; one-way.
    public var triggeredAt: Timestamp?
    public var triggeredPosition: TickPosition?
    /// Ticks up to here are decided on.
    public var position: TickPosition = .start
    /// Since when the venue is asked (R15.2).
    public var exitingSince: Timestamp?
    public var filled: Quantity = .zero
    /// Quote value of the fills.
    public var proceeds: Money = .zero
    /// In quote currency.
    public var fees: Money = .zero

    /// Live ones; ended ones live in their own rows.
    public var venueOrders: [VenueOrder] = []
    /// Last attempt number.
    public var attempts: Int = 0
    public var retry: Retry = .none
    public var cancelRetry: Retry = .none
    public var lastAttemptRefused: Bool = false
    public var venueUnreachable: Bool = false
    public var needsAttention: Bool = false
    /// It ends with this reason as soon as nothing of it is live.
    public var endReason: ConditionalReason?

    public init(
        id: OrderID,
        account: AccountID,
        instrument: Instrument,
        version: Int64 = 1,
        createdAt: Timestamp,
        updatedAt: Timestamp,
        draft: ConditionalDraft,
        triggerSource: TriggerSource,
    ) {
        self.id = id
        self.account = account
        self.instrument = instrument
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.draft = draft
        self.triggerSource = triggerSource
    }
}

/// What a conditional order decided; see `Decision`.
public struct ConditionalDecision: Sendable {
    public let next: ConditionalOrder
    public let effects: [Effect]
    public let facts: [Fact]

    public init(next: ConditionalOrder, effects: [Effect], facts: [Fact]) {
        self.next = next
        self.effects = effects
        self.facts = facts
    }
}

extension ConditionalOrder {
    public var remaining: Quantity { draft.quantity - filled }

    /// `<=` for a stop-loss that sells and a take-profit that buys, else `>=` (R19.2).
    public var condition: Condition { draft.condition }

    /// Whether a price satisfies the condition, inclusive.
    public func isSatisfied(by price: Price) -> Bool {
        switch condition {
        case .atOrBelow: price <= draft.trigger
        case .atOrAbove: price >= draft.trigger
        }
    }

    /// A reduce-only stop-loss protects a position: latched, retried until filled or the position is gone (R19.3).
    public var isProtection: Bool { draft.kind == .stopLoss && draft.reduceOnly }

    public var watches: [Watch] {
        guard status == .pending else { return [] }
        let threshold: Watch.Condition
        switch condition {
        case .atOrBelow: threshold = .atOrBelow(draft.trigger)
        case .atOrAbove: threshold = .atOrAbove(draft.trigger)
        }
        return [Watch(leg: .conditional, attempt: attempts + 1, condition: threshold)]
    }

    /// It fired, and what has to be placed is not at the venue.
    public var isDue: Bool { status == .triggered && venueOrders.isEmpty && endReason == nil }

    public var wantsEveryTick: Bool { isDue && (retry.at == nil || retry.onNextTick) }

    /// The earliest moment at which a `timer` event could change something; nil: never.
    public var nextTimer: Timestamp? {
        var due: [Timestamp?] = [cancelRetry.at]
        switch status {
        case .pending: due.append(draft.expiresAt)
        case .triggered:
            if isDue { due.append(retry.at) }
            if isProtection, !needsAttention { due.append(exitingSince?.advanced(milliseconds: 30_000)) }
        case .filled, .cancelled: return nil
        }
        return due.compactMap { $0 }.min()
    }

    public mutating func retryNow() {
        retry.at = nil
        if cancelRetry.at != nil { cancelRetry.at = updatedAt }
    }

    /// Whether a job is about something that is still awaited.
    public func awaits(_ leg: Leg, attempt: Int) -> Bool {
        leg == .conditional && attempt == attempts + 1 && (status == .pending || isDue)
    }
}

extension ConditionalDraft {
    var condition: ConditionalOrder.Condition {
        switch (kind, side) {
        case (.stopLoss, .sell), (.takeProfit, .buy): .atOrBelow
        case (.stopLoss, .buy), (.takeProfit, .sell): .atOrAbove
        }
    }
}
