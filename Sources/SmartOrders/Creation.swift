// How a smart order comes to be: checks, plan, first state (ORDERS.md T1..T3, R12).

/// What an account allows, and what of it is used already (R12.4, R3.5, 6.1).
public struct CreationBounds: Hashable, Sendable {
    /// Legs allowed on this market and account.
    public var maxConditionals: Int
    /// Legs active already.
    public var activeConditionals: Int
    /// Range of a callback rate, inclusive.
    public var minimumCallback: Rate
    public var maximumCallback: Rate
    /// Trigger sources that the market publishes; nil: all of them.
    public var sources: [TriggerSource]?
    /// Average of the account's open position, for an `attach` without a price.
    public var positionAverage: Price?
    /// Quantity that other orders of the account manage in this market and direction.
    public var managedElsewhere: Quantity
    /// What an adopted resting order (`entry.venueOrder`) is at the venue.
    public var adopted: AdoptedOrder?

    public init(
        maxConditionals: Int = 20,
        activeConditionals: Int = 0,
        minimumCallback: Rate = Rate(ExactDecimal(mantissa: 1, scale: 3)),
        maximumCallback: Rate = Rate(ExactDecimal(mantissa: 5, scale: 1)),
        sources: [TriggerSource]? = nil,
        positionAverage: Price? = nil,
        managedElsewhere: Quantity = .zero,
        adopted: AdoptedOrder? = nil,
    ) {
        self.maxConditionals = maxConditionals
        self.activeConditionals = activeConditionals
        self.minimumCallback = minimumCallback
        self.maximumCallback = maximumCallback
        self.sources = sources
        self.positionAverage = positionAverage
        self.managedElsewhere = managedElsewhere
        self.adopted = adopted
    }
}

/// A resting limit order, placed elsewhere, as the venue shows it (6.1).
public struct AdoptedOrder: Hashable, Sendable {
    public let venueOrderID: String
    public let side: Side
    public let quantity: Quantity
    public let limit: Price
    public let reduceOnly: Bool
    /// Fills so far, oldest first.
    public let fills: [Fill]

    public init(
        venueOrderID: String,
        side: Side,
        quantity: Quantity,
        limit: Price,
        reduceOnly: Bool = false,
        fills: [Fill] = [],
    ) {
        self.venueOrderID = venueOrderID
        self.side = side
        self.quantity = quantity
        self.limit = limit
        self.reduceOnly = reduceOnly
        self.fills = fills
    }
}

extension SmartOrder {
    /// Makes the first version of an order and what has to be done for it.
    ///
    /// `moment.price` is the current price of the order's trigger source and has to be known.
    /// - Throws: the first failing check in the order of R12.
    public static func create(
        _ draft: Draft,
        id: OrderID,
        account: AccountID,
        instrument: Instrument,
        bounds: CreationBounds = .init(),
        at moment: Moment,
    ) throws(Refusal) -> Decision {
        throw Refusal(.noExit, "not built yet")
    }

    /// All failing checks, in the order of R12 and then of 5.4; empty: `create` accepts the draft.
    public static func check(
        _ draft: Draft,
        instrument: Instrument,
        bounds: CreationBounds = .init(),
        at moment: Moment,
    ) -> [Refusal] {
        []
    }
}
