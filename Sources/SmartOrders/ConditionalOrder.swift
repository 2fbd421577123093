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
    public let instrument: Instrument
    public var version: Int64
    public let createdAt: Timestamp
    public var updatedAt: Timestamp
    public var draft: ConditionalDraft
    public var triggerSource: TriggerSource
    public var status: ConditionalStatus
    public var reason: ConditionalReason?
    public var health: OrderHealth
    public var triggeredAt: Timestamp?
    public var filled: Quantity
    /// Quote value of the fills.
    public var proceeds: Money
    public var fees: Money
    public var venueOrders: [VenueOrder]
    public var attempts: Int
    public var retryAt: Timestamp?
    public var retryCount: Int
    public var troubleSince: Timestamp?
    public var cancelWanted: Bool
    public var endReason: ConditionalReason?
}

public struct ConditionalDecision: Sendable {
    public let next: ConditionalOrder
    public let effects: [Effect]
    public let facts: [Fact]
}

extension ConditionalOrder {
    public static func check(
        _ draft: ConditionalDraft,
        instrument: Instrument,
        bounds: CreationBounds = .init(),
        at moment: Moment,
    ) -> [Refusal] { [] }

    public static func create(
        _ draft: ConditionalDraft,
        id: OrderID,
        account: AccountID,
        instrument: Instrument,
        bounds: CreationBounds = .init(),
        at moment: Moment,
    ) throws(Refusal) -> ConditionalDecision {
        throw Refusal(.noExit, "not built yet")
    }

    public func decide(_ event: OrderEvent, at moment: Moment) throws(Refusal) -> ConditionalDecision? { nil }

    public var condition: Condition { .atOrBelow }
    public var watches: [Watch] { [] }
    public var wantsEveryTick: Bool { false }
    public var nextTimer: Timestamp? { nil }
    public func awaits(_ leg: Leg, attempt: Int) -> Bool { false }
}
