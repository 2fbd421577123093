// What can happen to an order, and what the order decides: plain data on both sides.

/// What the world looks like at the moment of a decision. The core asks nobody; the shell fills this in.
public struct Moment: Hashable, Sendable {
    public private(set) var now: Timestamp
    /// Current price of the order's trigger source; nil when none is known yet.
    public private(set) var price: Price?
    /// Position in the price history up to which `price` is known. Water marks count ticks after it.
    public private(set) var position: TickPosition
    /// The venue's present price band for limit prices, where it publishes one (R4.3).
    public private(set) var band: PriceBand?
    /// What the account holds in this market, signed (spot: the free and locked coins); nil: not known, nothing is
    /// clamped to it. Read after the newest fill that the order was told of, else nil: a stale zero would end it.
    public private(set) var held: ExactDecimal?
    /// Live exit claims of the account's other orders on the same position (R16.4).
    public private(set) var claimedElsewhere: Quantity
    /// The whole position and who shares it, where somebody looked; a backstop is placed on nothing less (F11.2).
    public private(set) var standing: PositionStanding?
    /// The venue answers a cancel before anything else happens, as in a scenario: then an exit waits for the cancels
    /// that go before it and leaves in one piece (R9). Elsewhere what is free leaves at once, the rest as claims resolve.
    public private(set) var cancelsAnswerAtOnce: Bool
    /// Levels that had their attempt at this tick, where each answer is known before the next level is looked at, as in
    /// a scenario: with some, the evaluation goes on after them. Nil: one decision fires every level that was reached.
    public private(set) var attempted: Set<Leg>?
    /// What prices are judged by that a guard is set against (PrintGuard.swift); nil: nothing is known, the price counts.
    public private(set) var reference: Price?

    public init(
        now: Timestamp,
        price: Price?,
        position: TickPosition = .start,
        band: PriceBand? = nil,
        held: ExactDecimal? = nil,
        claimedElsewhere: Quantity = .zero,
        standing: PositionStanding? = nil,
        cancelsAnswerAtOnce: Bool = false,
        attempted: Set<Leg>? = nil,
        reference: Price? = nil,
    ) {
        self.now = now
        self.price = price
        self.position = position
        self.band = band
        self.held = held
        self.claimedElsewhere = claimedElsewhere
        self.standing = standing
        self.cancelsAnswerAtOnce = cancelsAnswerAtOnce
        self.attempted = attempted
        self.reference = reference
    }

    public func with(_ standing: PositionStanding?) -> Moment {
        var moment = self
        moment.standing = standing
        return moment
    }

    /// The same moment with what exits are fitted to.
    public func with(held: ExactDecimal?, claimedElsewhere: Quantity) -> Moment {
        var moment = self
        moment.held = held
        moment.claimedElsewhere = claimedElsewhere
        return moment
    }

    public func with(reference: Price?) -> Moment {
        var moment = self
        moment.reference = reference
        return moment
    }

    func with(price: Price?) -> Moment {
        var moment = self
        moment.price = price
        return moment
    }
}

/// A position as the venue has it, and the account's other open orders on it.
public struct PositionStanding: Hashable, Sendable {
    /// Signed.
    public let net: ExactDecimal
    public let otherOrders: Int
    public init(net: ExactDecimal, otherOrders: Int) {
        self.net = net
        self.otherOrders = otherOrders
    }
}

/// Something that happened to an order.
public enum OrderEvent: Hashable, Sendable {
    /// The price moved to `Moment.price`: resting news is known, legs are evaluated in the order of R10.
    case tick
    /// A job of this leg and attempt: as `tick`, unless the attempt is over; then nothing (R21.2).
    case trigger(Leg, attempt: Int)
    /// Time passed: the same evaluation at the last known price.
    case timer
    /// News of one of the order's venue orders.
    case venue(VenueOrderKey, VenueNews)
    /// The venue's answer to a cancel request other than news of the order itself: the request did not arrive or was not
    /// understood; it is asked again.
    case cancelFailed(VenueOrderKey)
    /// This attempt was made by a history of the database that is lost; the order never uses its number again. What it
    /// filled comes as news (ORDERS.md 4.8, RELIABILITY.md 2.10).
    case recovered(VenueOrderKey)
    /// The account's position in this market changed elsewhere (R16). Signed.
    case position(net: ExactDecimal, average: Price?)
    /// The venue changed the market's grid, minimums or band. Thresholds stay, what is sent from now on fits them.
    case market(MarketTerms)
    /// Somebody should look, or need not any more, for a cause that the shell found out.
    case attention(Attention, isRaised: Bool)
    /// What the trader asks.
    case command(Command)
}

/// What a trader asks of an existing order (ORDERS.md 5).
public enum Command: Hashable, Sendable {
    case cancel
    /// As `cancel`, but an adopted entry stays at the venue (`leaveEntry`).
    case cancelLeavingEntry
    case cancelEntry
    case closeMarket
    case closeLevel(Int)
    case openNow
    case addFunds(Quantity, limitPrice: Price?)
    case reduceFunds(Quantity)
    case edit(OrderEdit)
}

/// A partial change of a plan: nil leaves a field as it is, `.some(nil)` removes it. All or nothing (R8).
public struct OrderEdit: Hashable, Sendable {
    public var stopLoss: StopLossPlan??
    public var trailing: TrailingPlan??
    public var breakEven: BreakEvenPlan??
    public var stopFollow: Draft.StopFollow?
    public var stepLocks: [StepLockPlan]?
    public var partialStops: [PartialStopPlan]?
    /// Replaces the PENDING levels.
    public var takeProfits: [TakeProfitPlan]?
    /// Cancels one PENDING level alone; its share goes to the others.
    public var cancelLevel: Int?
    public var entryPrice: Price?
    public var quantity: Quantity?
    public var triggerSource: TriggerSource?
    public var exitAt: Timestamp??
    public var backstop: BackstopPlan??
    /// Other fields of the entry while it works; the mode stays.
    public var entry: EntryPlan?
    public var sizeMode: Draft.SizeMode?
    /// Also without a change: lost legs are accepted as managed, or placed again (6.2.5).
    public var placement: Draft.Placement?
    public var printGuard: PrintGuardPlan??
    /// New limit of a level that is TRIGGERED and rests: cancelled, then placed again.
    public var restingLimit: RestingLimit?

    public struct RestingLimit: Hashable, Sendable {
        public let level: Int
        public let price: Price
        public init(level: Int, price: Price) {
            self.level = level
            self.price = price
        }
    }

    public init() {}
}

/// Work that follows from a decision, to be done after it is committed.
public enum Effect: Hashable, Sendable {
    /// Send this venue order of `Decision.next` to the venue, once.
    case place(VenueOrderKey)
    /// Ask the venue to cancel it. May be repeated.
    case cancel(VenueOrderKey)
}

/// What an order decided. Nothing has happened yet: commit `next` with version + 1, then do `effects` in order.
public struct Decision: Sendable {
    /// The order after the event; its `version` is one higher.
    public let next: SmartOrder
    /// In the order in which they have to be done: cancels before the exits that need the coins.
    public let effects: [Effect]
    /// What a trader is told, in order.
    public let facts: [Fact]

    public init(next: SmartOrder, effects: [Effect], facts: [Fact]) {
        self.next = next
        self.effects = effects
        self.facts = facts
    }
}

/// A refusal: the request breaks a rule. Nothing changed.
public struct Refusal: Error, Hashable, Sendable {
    public let code: RefusalCode
    /// The field of the request, in the spelling of INTERFACES.md 1.10 (`takeProfits[1].price`); nil: the whole request.
    public let field: String?
    /// One sentence for a person, with the way out.
    public let detail: String
    /// The same for programs: the extra members of INTERFACES.md 1.6.2.
    public let members: RefusalMembers

    public init(_ code: RefusalCode, field: String? = nil, _ detail: String, _ members: RefusalMembers = [:]) {
        self.code = code
        self.field = field
        self.detail = detail
        self.members = members
    }
}

/// What a refusal tells programs beside its code, in order.
public struct RefusalMembers: Hashable, Sendable, ExpressibleByDictionaryLiteral {
    public enum Value: Hashable, Sendable {
        case number(ExactDecimal)
        case numbers([ExactDecimal])
        case count(Int)
        case flag(Bool)
        case text(String)
        case texts([String])
        case time(Timestamp)
        /// It applies, and has no value.
        case none

        static func price(_ price: Price) -> Value { .number(price.value) }
        static func quantity(_ quantity: Quantity) -> Value { .number(quantity.value) }
    }
    public struct Member: Hashable, Sendable {
        public let name: String
        public let value: Value
    }
    public let all: [Member]

    public init(dictionaryLiteral elements: (String, Value)...) {
        all = elements.map { Member(name: $0, value: $1) }
    }

    public subscript(name: String) -> Value? { all.first { $0.name == name }?.value }
}

extension Refusal {
    /// The same refusal, saying more.
    public func with(_ members: RefusalMembers) -> Refusal { Refusal(code, field: field, detail, members) }
}

/// The stable codes about orders (ORDERS.md 5.4), in table order.
public enum RefusalCode: String, Hashable, Sendable, CaseIterable {
    case qtyNotOnStep = "QTY_NOT_ON_STEP"
    case tpslOnReduceOnly = "TPSL_ON_REDUCE_ONLY"
    case conditionalLimit = "CONDITIONAL_LIMIT"
    case priceNotOnTick = "PRICE_NOT_ON_TICK"
    case tpSizeSum = "TP_SIZE_SUM"
    case tpWrongSide = "TP_WRONG_SIDE"
    case tpNotMonotone = "TP_NOT_MONOTONE"
    case tpBelowMin = "TP_BELOW_MIN"
    case slWrongSide = "SL_WRONG_SIDE"
    case callbackOutOfRange = "CALLBACK_OUT_OF_RANGE"
    case noExit = "NO_EXIT"
    case triggerTooLow = "TRIGGER_TOO_LOW"
    case triggerTooHigh = "TRIGGER_TOO_HIGH"
    case triggerWrongSide = "TRIGGER_WRONG_SIDE"
    case limitOutOfBand = "LIMIT_OUT_OF_BAND"
    case breakEvenWouldTrigger = "BREAK_EVEN_WOULD_TRIGGER"
    case limitPriceRequired = "LIMIT_PRICE_REQUIRED"
    case emergencyWrongSide = "EMERGENCY_WRONG_SIDE"
    case timeInPast = "TIME_IN_PAST"
    case trailingTPNotLast = "TRAILING_TP_NOT_LAST"
    case stepLockInvalid = "STEP_LOCK_INVALID"
    case partialStopInvalid = "PARTIAL_STOP_INVALID"
    case breakEvenArmInvalid = "BREAK_EVEN_ARM_INVALID"
    case backstopNotSupported = "BACKSTOP_NOT_SUPPORTED"
    case nativeNotPossible = "NATIVE_NOT_POSSIBLE"
    case entryNotAdoptable = "ENTRY_NOT_ADOPTABLE"
    case instrumentUnknown = "INSTRUMENT_UNKNOWN"
    case instrumentNotTrading = "INSTRUMENT_NOT_TRADING"
    case sourceUnavailable = "SOURCE_UNAVAILABLE"
    case noPosition = "NO_POSITION"
    case insufficientBalance = "INSUFFICIENT_BALANCE"
    case reduceTooLarge = "REDUCE_TOO_LARGE"
    case tierRequired = "TIER_REQUIRED"
    case liveDisabled = "LIVE_DISABLED"
    case notFound = "NOT_FOUND"
    case orderTerminal = "ORDER_TERMINAL"
    case stopAlreadyTriggered = "STOP_ALREADY_TRIGGERED"
    case entryAlreadyFilled = "ENTRY_ALREADY_FILLED"
    case levelNotPending = "LEVEL_NOT_PENDING"
    case notReducible = "NOT_REDUCIBLE"
    case positionSideConflict = "POSITION_SIDE_CONFLICT"
    case positionTPSLExists = "POSITION_TPSL_EXISTS"
    case clientOrderIDInUse = "CLIENT_ORDER_ID_IN_USE"
    case orderLimit = "ORDER_LIMIT"
    case accountHalted = "ACCOUNT_HALTED"
    case credentialsMissing = "CREDENTIALS_MISSING"
    case credentialsRefused = "CREDENTIALS_REFUSED"

    /// The HTTP status that goes with the code.
    public var httpStatus: Int {
        switch self {
        case .qtyNotOnStep, .tpslOnReduceOnly, .conditionalLimit, .priceNotOnTick, .tpSizeSum, .tpWrongSide,
            .tpNotMonotone, .tpBelowMin, .slWrongSide, .callbackOutOfRange, .noExit, .triggerTooLow, .triggerTooHigh,
            .triggerWrongSide, .limitOutOfBand, .breakEvenWouldTrigger, .limitPriceRequired, .emergencyWrongSide,
            .timeInPast, .trailingTPNotLast, .stepLockInvalid, .partialStopInvalid, .breakEvenArmInvalid,
            .backstopNotSupported, .nativeNotPossible, .entryNotAdoptable, .instrumentUnknown, .instrumentNotTrading,
            .sourceUnavailable, .noPosition, .insufficientBalance, .reduceTooLarge:
            422
        case .tierRequired, .liveDisabled: 403
        case .notFound: 404
        case .orderTerminal, .stopAlreadyTriggered, .entryAlreadyFilled, .levelNotPending, .notReducible,
            .positionSideConflict, .positionTPSLExists, .clientOrderIDInUse, .orderLimit, .accountHalted,
            .credentialsMissing, .credentialsRefused:
            409
        }
    }
}
