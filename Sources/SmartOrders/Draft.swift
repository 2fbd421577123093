// What a trader asks for: the exit plan as it was typed. JSON shape: INTERFACES.md 1.10 (codec in OrderJSON).

/// How a fired leg is executed (ORDERS.md R4).
public enum ExecutionMode: String, Hashable, Sendable { case market, limit }

/// A distance that follows a price: a fraction of the extreme, or an absolute price distance (R3, F5).
public enum Callback: Hashable, Sendable {
    case rate(Rate)
    case amount(Price)
}

/// The way an order gets what it then protects (ORDERS.md R14).
public struct EntryPlan: Hashable, Sendable {
    public enum Mode: String, Hashable, Sendable { case attach, market, limit, conditional, trailing }
    public var mode: Mode
    /// `limit`: limit price. `attach`: average entry price of what is held.
    public var price: Price?
    public var trigger: Price?
    public var limitPrice: Price?
    public var activation: Price?
    public var callbackRate: Rate?
    public var expiresAt: Timestamp?
    public var reduceOnly: Bool
    /// Venue order id of a resting limit order to adopt.
    public var venueOrder: String?

    public init(
        mode: Mode,
        price: Price? = nil,
        trigger: Price? = nil,
        limitPrice: Price? = nil,
        activation: Price? = nil,
        callbackRate: Rate? = nil,
        expiresAt: Timestamp? = nil,
        reduceOnly: Bool = false,
        venueOrder: String? = nil,
    ) {
        self.mode = mode
        self.price = price
        self.trigger = trigger
        self.limitPrice = limitPrice
        self.activation = activation
        self.callbackRate = callbackRate
        self.expiresAt = expiresAt
        self.reduceOnly = reduceOnly
        self.venueOrder = venueOrder
    }
}

/// Where a level is: at a price, or at a percentage of the average entry that follows it (F6).
public enum TargetPrice: Hashable, Sendable {
    case price(Price)
    /// Percent, for example 5 for +5%; positive means profit.
    case percent(ExactDecimal)
}

/// One take-profit level as asked for.
public struct TakeProfitPlan: Hashable, Sendable {
    public var target: TargetPrice
    /// Percent of the quantity, at most 4 decimals, > 0.
    public var sizePercent: ExactDecimal
    public var execution: ExecutionMode
    public var limitPrice: Price?
    /// Last level only (F2).
    public var trailingRate: Rate?

    public init(
        target: TargetPrice,
        sizePercent: ExactDecimal,
        execution: ExecutionMode = .market,
        limitPrice: Price? = nil,
        trailingRate: Rate? = nil,
    ) {
        self.target = target
        self.sizePercent = sizePercent
        self.execution = execution
        self.limitPrice = limitPrice
        self.trailingRate = trailingRate
    }
}

/// The fixed stop (R4, R7, R22).
public struct StopLossPlan: Hashable, Sendable {
    public var price: Price
    public var execution: ExecutionMode
    public var limitPrice: Price?
    public var fallbackMs: Int64?
    public var timeoutMs: Int64?
    public var emergencyPrice: Price?

    public init(
        price: Price,
        execution: ExecutionMode = .market,
        limitPrice: Price? = nil,
        fallbackMs: Int64? = nil,
        timeoutMs: Int64? = nil,
        emergencyPrice: Price? = nil,
    ) {
        self.price = price
        self.execution = execution
        self.limitPrice = limitPrice
        self.fallbackMs = fallbackMs
        self.timeoutMs = timeoutMs
        self.emergencyPrice = emergencyPrice
    }
}

/// The trailing stop (R3, F4, F5).
public struct TrailingPlan: Hashable, Sendable {
    public var callback: Callback
    public var activationPrice: Price?
    public init(callback: Callback, activationPrice: Price? = nil) {
        self.callback = callback
        self.activationPrice = activationPrice
    }
}

/// Break-even (R6, F10).
public struct BreakEvenPlan: Hashable, Sendable {
    public enum Mode: String, Hashable, Sendable { case entry, fees, offset }
    public var enabled: Bool
    public var mode: Mode
    /// Percent, mode `offset`.
    public var offsetPercent: ExactDecimal?
    public var onFirstTakeProfit: Bool
    public var armPrice: Price?
    /// Percent gain over the average entry.
    public var armPercent: ExactDecimal?

    public init(
        enabled: Bool,
        mode: Mode = .entry,
        offsetPercent: ExactDecimal? = nil,
        onFirstTakeProfit: Bool = true,
        armPrice: Price? = nil,
        armPercent: ExactDecimal? = nil,
    ) {
        self.enabled = enabled
        self.mode = mode
        self.offsetPercent = offsetPercent
        self.onFirstTakeProfit = onFirstTakeProfit
        self.armPrice = armPrice
        self.armPercent = armPercent
    }
}

/// One step lock: at +x lock +y (F8).
public enum StepLockPlan: Hashable, Sendable {
    case percent(at: ExactDecimal, lock: ExactDecimal)
    case price(at: Price, lock: Price)
}

/// One scale-out stop (F9).
public struct PartialStopPlan: Hashable, Sendable {
    public enum Distance: Hashable, Sendable {
        case price(Price)
        case callback(Callback)
    }
    public var distance: Distance
    public var sizePercent: ExactDecimal
    public init(distance: Distance, sizePercent: ExactDecimal) {
        self.distance = distance
        self.sizePercent = sizePercent
    }
}

/// A wider native stop at the venue (F11).
public struct BackstopPlan: Hashable, Sendable {
    public var enabled: Bool
    /// Percent, 0.5 ... 50.
    public var distancePercent: ExactDecimal
    public init(enabled: Bool, distancePercent: ExactDecimal = ExactDecimal(3)) {
        self.enabled = enabled
        self.distancePercent = distancePercent
    }
}

/// A whole smart order as asked for.
public struct Draft: Hashable, Sendable {
    public enum StopFollow: String, Hashable, Sendable { case none, followTP }
    public enum SizeMode: String, Hashable, Sendable { case fixed, position }
    public enum Placement: String, Hashable, Sendable { case managed, native }
    public enum PositionSide: String, Hashable, Sendable { case both = "BOTH", long = "LONG", short = "SHORT" }

    public var side: Side
    public var quantity: Quantity
    public var entry: EntryPlan
    public var takeProfits: [TakeProfitPlan]
    public var stopLoss: StopLossPlan?
    public var trailing: TrailingPlan?
    public var breakEven: BreakEvenPlan?
    public var stopFollow: StopFollow
    public var stepLocks: [StepLockPlan]
    public var partialStops: [PartialStopPlan]
    public var backstop: BackstopPlan?
    public var exitAt: Timestamp?
    public var sizeMode: SizeMode
    public var placement: Placement
    /// Nil: every print counts.
    public var printGuard: PrintGuardPlan?
    public var positionSide: PositionSide
    /// Nil: the market's default (`Instrument.defaultTriggerSource`).
    public var triggerSource: TriggerSource?
    public var clientOrderID: String?
    public var note: String?

    public init(
        side: Side,
        quantity: Quantity,
        entry: EntryPlan,
        takeProfits: [TakeProfitPlan] = [],
        stopLoss: StopLossPlan? = nil,
        trailing: TrailingPlan? = nil,
        breakEven: BreakEvenPlan? = nil,
        stopFollow: StopFollow = .none,
        stepLocks: [StepLockPlan] = [],
        partialStops: [PartialStopPlan] = [],
        backstop: BackstopPlan? = nil,
        exitAt: Timestamp? = nil,
        sizeMode: SizeMode = .fixed,
        placement: Placement = .managed,
        printGuard: PrintGuardPlan? = nil,
        positionSide: PositionSide = .both,
        triggerSource: TriggerSource? = nil,
        clientOrderID: String? = nil,
        note: String? = nil,
    ) {
        self.side = side
        self.quantity = quantity
        self.entry = entry
        self.takeProfits = takeProfits
        self.stopLoss = stopLoss
        self.trailing = trailing
        self.breakEven = breakEven
        self.stopFollow = stopFollow
        self.stepLocks = stepLocks
        self.partialStops = partialStops
        self.backstop = backstop
        self.exitAt = exitAt
        self.sizeMode = sizeMode
        self.placement = placement
        self.printGuard = printGuard
        self.positionSide = positionSide
        self.triggerSource = triggerSource
        self.clientOrderID = clientOrderID
        self.note = note
    }
}

extension Draft {
    /// Legs that count against the bound of the account: levels, one for a full stop, partial stops (R12.4).
    public var legCount: Int {
        takeProfits.count + (stopLoss != nil || trailing != nil ? 1 : 0) + partialStops.count
    }
}
