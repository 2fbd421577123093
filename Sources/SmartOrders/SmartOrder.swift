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

    public init(
        number: Int,
        plan: TakeProfitPlan,
        price: Price,
        planned: Quantity,
        filled: Quantity = .zero,
        state: LevelState = .pending,
        trailingExtreme: Price? = nil,
    ) {
        self.number = number
        self.plan = plan
        self.price = price
        self.planned = planned
        self.filled = filled
        self.state = state
        self.trailingExtreme = trailingExtreme
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

/// One smart order at one version.
public struct SmartOrder: Hashable, Sendable {
    // Identity.
    public let id: OrderID
    public let account: AccountID
    public let instrument: Instrument
    /// 1 for the first stored version.
    public var version: Int64
    public let createdAt: Timestamp
    public var updatedAt: Timestamp

    // The plan as it stands now; edits change it.
    public var draft: Draft
    public var triggerSource: TriggerSource

    // State.
    public var status: OrderStatus
    /// Nil exactly when `status` is terminal.
    public var phase: OrderPhase?
    public var health: OrderHealth
    public var closeReason: CloseReason?

    // The ledger. `remaining` = received - exited - writtenOff.
    /// Entry-side quantity that was bought (sold, for a short), before base-coin fees.
    public var entered: Quantity
    /// What of it can be exited: less base-coin fees, floored to the step.
    public var received: Quantity
    /// Received quantity below one step.
    public var dust: Quantity
    public var exited: Quantity
    public var writtenOff: Quantity
    /// What is held cost this much: average entry = heldCost / (remaining + dust share); see R5, R11, R24.
    public var heldCost: Money
    /// Gross profit so far: exit proceeds less the cost of what left, sign turned for a short.
    public var realized: Money
    /// Fees so far, in quote currency.
    public var fees: Money

    // Stops.
    /// Best price of the trigger source since the order became active (or since activation), as of `extremePosition`.
    public var extreme: Price?
    /// Ticks after this position are not yet in `extreme`.
    public var extremePosition: TickPosition
    /// F4: false until the activation price was reached.
    public var trailingActive: Bool
    public var breakEvenPrice: Price?
    public var followPrice: Price?
    public var lockPrice: Price?
    /// Steps of `draft.stepLocks` that were reached.
    public var locksReached: Int
    public var latch: Latch?
    public var stopState: StopState
    /// F3: the running clock of the stop's timeout.
    public var delayedSince: Timestamp?

    // Legs.
    public var levels: [Level]
    public var partialStops: [PartialStop]
    /// Entry trigger has fired (conditional and trailing entries).
    public var entryTriggered: Bool
    /// Running extreme of a trailing entry once it is active.
    public var entryExtreme: Price?

    // Venue orders that are live, with the attempts made so far per leg. Ended ones live in their own rows.
    public var venueOrders: [VenueOrder]
    /// Last attempt number that each leg used.
    public var attempts: [Leg: Int]
    /// Pause before the next attempt after refusals: due time, and the count that doubles it (R15.2).
    public var retryAt: Timestamp?
    public var retryCount: Int
    /// When trouble began, for NEEDS_ATTENTION (R15.2).
    public var troubleSince: Timestamp?
}

extension SmartOrder {
    public var remaining: Quantity { received - exited - writtenOff }
    /// Sum of live exit claims (R17).
    public var claimed: Quantity {
        venueOrders.reduce(into: .zero) { sum, order in if order.side != draft.side { sum += order.claim } }
    }
    public var free: Quantity { remaining - claimed }
}
