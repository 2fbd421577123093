// What is asked of a venue, and what it answered. One value per (order, leg, attempt).

/// What kind of order is placed.
public enum VenueOrderType: String, Hashable, Sendable {
    /// The venue's market order, in base quantity.
    case market = "MARKET"
    /// Immediate or cancel at a limit.
    case immediateOrCancel = "IOC"
    /// Rests at its limit until filled or cancelled.
    case goodTillCancelled = "GTC"
    /// Sleeps at the venue until its trigger is reached from the side of profit, then leaves at market.
    case stopMarket = "STOP_MARKET"
    /// The same, then rests at its limit.
    case stopLimit = "STOP_LIMIT"
    /// Sleeps until its trigger is reached in the direction of profit, then leaves at market.
    case takeProfitMarket = "TAKE_PROFIT_MARKET"
    /// A stop that the venue trails by itself, then at market (or, on spot, at the limit).
    case trailingStop = "TRAILING_STOP"

    /// Whether it stays at the venue until it is filled or cancelled.
    public var rests: Bool {
        switch self {
        case .market, .immediateOrCancel: false
        case .goodTillCancelled, .stopMarket, .stopLimit, .takeProfitMarket, .trailingStop: true
        }
    }

    /// Whether the venue holds it apart from the book until its trigger.
    public var isConditional: Bool {
        switch self {
        case .market, .immediateOrCancel, .goodTillCancelled: false
        case .stopMarket, .stopLimit, .takeProfitMarket, .trailingStop: true
        }
    }
}

/// One attempt of one leg to place an order at the venue: an intent, and what became of it.
public struct VenueOrder: Hashable, Sendable {
    public let leg: Leg
    /// 1-based, per leg.
    public let attempt: Int
    public let side: Side
    public let type: VenueOrderType
    public let quantity: Quantity
    /// Nil for `market` and for what becomes a market order.
    public let limit: Price?
    /// Of a conditional order: where the venue wakes it; of a trailing one its activation, nil at once.
    public let trigger: Price?
    /// Of a trailing one.
    public let callback: Callback?
    /// The leg itself rests at the venue (ORDERS.md 6.2), it has not fired.
    public let isNative: Bool
    public let reduceOnly: Bool
    public var state: VenueOrderState
    public var filled: Quantity
    public var venueOrderID: String?
    /// When the intent was made.
    public let createdAt: Timestamp
    /// A cancel was decided; the venue has not confirmed it yet.
    public var cancelWanted: Bool

    public init(
        leg: Leg,
        attempt: Int,
        side: Side,
        type: VenueOrderType,
        quantity: Quantity,
        limit: Price?,
        trigger: Price? = nil,
        callback: Callback? = nil,
        isNative: Bool = false,
        reduceOnly: Bool,
        state: VenueOrderState = .intent,
        filled: Quantity = .zero,
        venueOrderID: String? = nil,
        createdAt: Timestamp,
        cancelWanted: Bool = false,
    ) {
        self.leg = leg
        self.attempt = attempt
        self.side = side
        self.type = type
        self.quantity = quantity
        self.limit = limit
        self.trigger = trigger
        self.callback = callback
        self.isNative = isNative
        self.reduceOnly = reduceOnly
        self.state = state
        self.filled = filled
        self.venueOrderID = venueOrderID
        self.createdAt = createdAt
        self.cancelWanted = cancelWanted
    }

    public var key: VenueOrderKey { VenueOrderKey(leg: leg, attempt: attempt) }
    public var unfilled: Quantity { quantity - filled }
    /// The exit quantity that is in doubt or resting: it may not be asked for twice (R17).
    public var claim: Quantity { state.isLive ? unfilled : .zero }
}

/// Names a venue order inside its smart order.
public struct VenueOrderKey: Hashable, Sendable {
    public let leg: Leg
    public let attempt: Int
    public init(leg: Leg, attempt: Int) {
        self.leg = leg
        self.attempt = attempt
    }
}

/// One execution, as the venue reported it.
public struct Fill: Hashable, Sendable {
    /// Unique per account and market.
    public let venueFillID: String
    public let quantity: Quantity
    public let price: Price
    public let fee: ExactDecimal
    public let feeAsset: FeeAsset
    public let isMaker: Bool
    public let time: Timestamp

    /// In which coin a fee was taken. A base-coin fee shrinks what was received (R11).
    public enum FeeAsset: Hashable, Sendable {
        case quote
        case base
        case other(String)
    }

    public init(
        venueFillID: String,
        quantity: Quantity,
        price: Price,
        fee: ExactDecimal = .zero,
        feeAsset: FeeAsset = .quote,
        isMaker: Bool = false,
        time: Timestamp,
    ) {
        self.venueFillID = venueFillID
        self.quantity = quantity
        self.price = price
        self.fee = fee
        self.feeAsset = feeAsset
        self.isMaker = isMaker
        self.time = time
    }
}

/// What was learnt of one venue order. Facts are never refused; a fact learnt twice changes nothing.
public enum VenueNews: Hashable, Sendable {
    /// The venue has it and it rests (or will fill); with the venue's id.
    case accepted(venueOrderID: String)
    /// A conditional order was woken by its trigger.
    case triggered
    /// An execution. The caller applies each `venueFillID` once.
    case fill(Fill)
    /// The venue ended it: no more fills after those already told. `filled` is the final quantity.
    case ended(VenueEnd)
    /// A definite refusal: nothing was executed.
    case refused(RefusalKind, venueCode: String)
    /// Proven not to have left this process (no connection, local rate limit, halt).
    case notSent
    /// No usable answer: it may or may not exist.
    case unknown
    /// Proven not to exist (RELIABILITY.md 2.6).
    case absent

    public enum VenueEnd: Hashable, Sendable { case filled, expired, cancelled }

    /// Why a venue refused, as far as the order's reaction differs (ORDERS.md 4.9).
    public enum RefusalKind: String, Hashable, Sendable {
        case rejected, insufficientBalance, rateLimited, priceOutOfBand, credentials, marketHalted
    }
}
