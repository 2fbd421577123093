// One smart order: the managed bundle of an entry and its exits, as it stands in its row.
//
// Invariants: ORDERS.md 8 (I1..I15). A value is never changed in place by the shell: `decide` makes the next one, with
// a version one higher. Everything that must survive a restart is a stored property here; what can be derived
// (effective stop, watches, free quantity) is computed.

/// One take-profit level as it stands (ORDERS.md 4.6).
public struct Level: Hashable, Sendable {
    /// 1-based.
    public let number: Int
    public var plan: TakeProfitPlan
    /// The price that triggers it now (a percent target follows the average entry).
    public var price: Price
    public var planned: Quantity
    public var filled: Quantity
    public var state: LevelState
    /// F2: the running extreme once the trailing target's price was reached.
    public var trailingExtreme: Price?
    /// `closeLevel` asked for it: it fires as soon as its resting order is gone, and the break-even that it arms has to
    /// be protective (R6.4).
    public var closeRequested: Bool
    /// Its resting order is being cancelled to be placed again at another limit.
    public var replaceRequested: Bool

    public init(
        number: Int,
        plan: TakeProfitPlan,
        price: Price,
        planned: Quantity,
        filled: Quantity = .zero,
        state: LevelState = .pending,
        trailingExtreme: Price? = nil,
        closeRequested: Bool = false,
        replaceRequested: Bool = false,
    ) {
        self.number = number
        self.plan = plan
        self.price = price
        self.planned = planned
        self.filled = filled
        self.state = state
        self.trailingExtreme = trailingExtreme
        self.closeRequested = closeRequested
        self.replaceRequested = replaceRequested
    }
}

/// One scale-out stop as it stands (F9).
public struct PartialStop: Hashable, Sendable {
    public enum State: String, Hashable, Sendable {
        case pending = "PENDING"
        case latched = "LATCHED"
        case done = "DONE"
        case cancelled = "CANCELLED"
    }
    public let number: Int
    public var plan: PartialStopPlan
    public var state: State
    public var planned: Quantity
    public var filled: Quantity
    /// Price at which it fired.
    public var firedAt: Price?

    public init(
        number: Int,
        plan: PartialStopPlan,
        state: State = .pending,
        planned: Quantity = .zero,
        filled: Quantity = .zero,
        firedAt: Price? = nil,
    ) {
        self.number = number
        self.plan = plan
        self.state = state
        self.planned = planned
        self.filled = filled
        self.firedAt = firedAt
    }
}

/// The committed, one-way fact that the full stop fired (I10).
public struct Latch: Hashable, Sendable {
    public let kind: StopKind
    /// The trigger price that anchors the first attempt.
    public let price: Price
    public let position: TickPosition
    public let time: Timestamp
    public init(kind: StopKind, price: Price, position: TickPosition, time: Timestamp) {
        self.kind = kind
        self.price = price
        self.position = position
        self.time = time
    }
}

/// The stop that binds now.
public struct EffectiveStop: Hashable, Sendable {
    public let price: Price
    public let kind: StopKind
    public init(price: Price, kind: StopKind) {
        self.price = price
        self.kind = kind
    }
}

/// cost / quantity, never divided before it has to be (R5).
public struct AverageEntry: Hashable, Sendable {
    public let cost: Money
    /// Positive.
    public let quantity: Quantity
    public init(cost: Money, quantity: Quantity) {
        self.cost = cost
        self.quantity = quantity
    }
    /// At 12 decimals, half-even.
    public var rounded: Price {
        Price(.quotient(cost.value, over: quantity.value, step: ExactDecimal(mantissa: 1, scale: 12), .halfEven))
    }
}

/// When something that failed may be tried again (R15.2).
public struct Retry: Hashable, Sendable {
    /// Failures in a row; doubles the pause.
    public var count: Int
    /// Not before this moment; nil: nothing to wait for.
    public var at: Timestamp?
    /// The next tick is as good as the moment: an order that did not fill, not one that was refused.
    public var onNextTick: Bool

    public init(count: Int = 0, at: Timestamp? = nil, onNextTick: Bool = false) {
        self.count = count
        self.at = at
        self.onNextTick = onNextTick
    }
    public static let none = Retry()

    /// Milliseconds before the next try: 250, doubled per failure, at most 5,000, +-20% by `noise` (R15.2).
    static func pause(_ count: Int, noise: UInt64) -> Int64 {
        let base = min(Int64(250) << Int64(max(0, min(count - 1, 10))), 5000)
        let percent = Int64((noise &* 0x9e37_79b9_7f4a_7c15) >> 40) % 41 + 80
        return base * percent / 100
    }
}

/// What an order was told to do with itself, beside what its legs do (4.1 "intent").
public enum OrderGoal: Hashable, Sendable {
    case none
    /// Exit everything at market, then CLOSED with this reason.
    case closing(CloseReason)
    /// Cancel everything, then CANCELLED with this reason; what is held stays.
    case cancelling(CloseReason)
}

/// What happens when the resting entry is gone from the venue.
public enum EntryGoal: Hashable, Sendable {
    case none
    /// The rest enters at market (`openNow`).
    case openNow
    /// The rest is placed again as the plan says now (`edit`).
    case replace
    /// The entry ends; with nothing filled the order does, with this reason.
    case end(CloseReason)
}

/// An `addFunds` that could not be sent and will be.
public struct AddWish: Hashable, Sendable {
    public let quantity: Quantity
    public let limit: Price?
    public init(quantity: Quantity, limit: Price?) {
        self.quantity = quantity
        self.limit = limit
    }
}

/// One smart order at one version.
public struct SmartOrder: Hashable, Sendable {
    // Identity.
    public let id: OrderID
    public let account: AccountID
    public internal(set) var instrument: Instrument
    /// 1 for the first stored version.
    public var version: Int64
    public let createdAt: Timestamp
    public var updatedAt: Timestamp

    // The plan as it stands now; edits change it.
    public var draft: Draft
    public var triggerSource: TriggerSource

    // State.
    public var status: OrderStatus = .pending
    /// Nil exactly when `status` is terminal.
    public var phase: OrderPhase? = .waitingEntry
    public var health: OrderHealth = .ok
    public var closeReason: CloseReason?
    public var goal: OrderGoal = .none

    // The ledger. `remaining` = received - exited - writtenOff.
    /// Entry-side quantity that was bought (sold, for a short), before base-coin fees.
    public var entered: Quantity = .zero
    /// The part of it that the `entry` leg brought; the rest came with `add` or from outside (R16.3).
    public var entryFilled: Quantity = .zero
    /// What of it can be exited: less base-coin fees, floored to the step.
    public var received: Quantity = .zero
    /// Received quantity below one step.
    public var dust: Quantity = .zero
    public var exited: Quantity = .zero
    public var writtenOff: Quantity = .zero
    /// What `remaining` and `dust` cost.
    public var heldCost: Money = .zero
    /// Average entry as of the last entry-side fill; exits leave it unchanged (R24). Nil before the first.
    public var averageEntry: AverageEntry?
    /// Fees of entry-side fills that were taken in quote currency, and the cost they were taken on: the rate that
    /// break-even in mode `fees` reckons with (R6.2).
    public var entryFees: Money = .zero
    public var entryCost: Money = .zero
    /// Gross profit so far: exit proceeds less the cost of what left, sign turned for a short.
    public var realized: Money = .zero
    /// Fees so far, in quote currency.
    public var fees: Money = .zero

    // Entry.
    /// Conditional entry and activation of a trailing one: whether the price has to rise to it.
    public var entryRises: Bool = true
    /// The entry was decided on: sent, or to be sent.
    public var entryTriggered: Bool = false
    /// The entry (or its rest) has still to be sent, when `entryRetry` allows.
    public var entryDue: Bool = false
    /// Running extreme of a trailing entry once it is active.
    public var entryExtreme: Price?
    public var entryGoal: EntryGoal = .none
    /// The entry was taken over from elsewhere (6.1); its id is not of our making.
    public var isAdopted: Bool = false
    public var addWishes: [AddWish] = []
    /// A `reduceFunds` that waits until native legs have made way.
    public var reduceWish: Quantity?

    // Stops.
    /// Best price of the trigger source since the order became active, as of `extremePosition`.
    public var extreme: Price?
    /// The same since the activation of a trailing stop that has an activation price (F4).
    public var trailingExtreme: Price?
    /// Ticks after this position are not yet in the extremes.
    public var extremePosition: TickPosition = .start
    /// F4: false until the activation price was reached.
    public var trailingActive: Bool = false
    public var breakEvenPrice: Price?
    public var followPrice: Price?
    public var lockPrice: Price?
    /// Steps of `draft.stepLocks` that were reached.
    public var locksReached: Int = 0
    public var latch: Latch?
    public var stopState: StopState = .none
    /// Where the stop was when it first bound; nil: none has yet.
    public var initialStop: Price?
    /// When the stop last moved otherwise than with the water mark: by commands, break-even, follow and locks.
    public var stopChangedAt: Timestamp?
    /// When break-even was armed, or last renewed.
    public var breakEvenAt: Timestamp?
    /// F3: the running clock of the stop's timeout.
    public var delayedSince: Timestamp?
    /// A latched limit stop leaves at market instead (T21).
    public var stopAtMarket: Bool = false
    /// With a guard against false prints: the last price that moved the edges which are watched for it.
    public var printCentre: Price?
    public var suspect: SuspectPrint?

    // Legs.
    public var levels: [Level] = []
    public var partialStops: [PartialStop] = []

    // Venue orders that are live, with the attempts made so far per leg. Ended ones live in their own rows.
    public var venueOrders: [VenueOrder] = []
    /// Last attempt number that each leg used.
    public var attempts: [Leg: Int] = [:]

    // Trouble.
    public var exitRetry: Retry = .none
    public var targetRetry: Retry = .none
    public var entryRetry: Retry = .none
    public var cancelRetry: Retry = .none
    /// Exit attempts of the latched stop, close or partial stop that is under way, and when they began (R15.2).
    public var exitAttempts: Int = 0
    public var exitingSince: Timestamp?
    public var lastAttemptRefused: Bool = false
    public var venueUnreachable: Bool = false
    /// Why somebody should look; empty: nobody need.
    public var attention: Set<Attention> = []

    // What rests at the venue by itself (6.2, F11).
    /// When the backstop is looked at next; nil: nothing to do for it.
    public var backstopDue: Timestamp?
    /// Failures to place it in a row.
    public var backstopFailures: Int = 0
    public var backstopNote: BackstopNote?
    /// Legs that the venue lost: managed, until an edit accepts that or places them again.
    public var lostLegs: [Leg] = []
    public var nativeRetry: Retry = .none

    public init(
        id: OrderID,
        account: AccountID,
        instrument: Instrument,
        version: Int64 = 1,
        createdAt: Timestamp,
        updatedAt: Timestamp,
        draft: Draft,
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

extension SmartOrder {
    public var side: Side { draft.side }
    public var exitSide: Side { draft.side.opposite }
    public var remaining: Quantity { received - exited - writtenOff }
    public var free: Quantity { remaining - claimed }
    /// Legs that count against the bound of the account (R12.4).
    public var legCount: Int { draft.legCount }
    /// "2/3": FILLED levels over all levels.
    public var progress: (filled: Int, total: Int) { (levels.count { $0.state == .filled }, levels.count) }
}
