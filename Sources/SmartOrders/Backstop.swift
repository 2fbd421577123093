// The backstop: a wider stop that rests at the venue for the hour in which all of this is gone (ORDERS.md F11).
//
// Built for derivatives whose venue closes the position with it (`NativeOrders.backstop`): reduce-only by nature, so it
// claims nothing. Invariants: at most one is wanted, two live for the moment of a move (the new one first); it is placed
// on a position that this order owns alone, and looked at again every five minutes; it never outlives the order (I3).
// Failing to place it changes nothing else.

/// Why there is no backstop, or that it fired.
public enum BackstopNote: String, Hashable, Sendable, CaseIterable {
    /// It would close what the order does not own.
    case positionShared = "POSITION_SHARED"
    /// The position is not there (yet).
    case noPosition = "NO_POSITION"
    /// Nobody could say what the position is.
    case positionUnknown = "POSITION_UNKNOWN"
    /// The venue refused it, or ended it.
    case refused = "REFUSED"
    case fired = "FIRED"
}

extension SmartOrder {
    /// Wanted price now, rounded away from the market; nil without a stop.
    public var backstopPrice: Price? {
        guard let plan = draft.backstop, let stop = effectiveStop else { return nil }
        let factor = Pricing.factor(side: side, percent: -plan.distancePercent)
        return Price(
            (stop.price.value * factor).rounded(
                toMultipleOf: instrument.tickSize.value,
                side == .buy ? .floor : .ceiling,
            )
        )
    }

    /// Live backstops that are not being cancelled, oldest first.
    public var backstops: [VenueOrder] {
        venueOrders.filter { $0.leg == .backstop && !$0.cancelWanted }.sorted { $0.attempt < $1.attempt }
    }

    /// A derivative's backstop is no claim: the venue reduces only.
    public func isUnclaimed(_ venueOrder: VenueOrder) -> Bool {
        venueOrder.leg == .backstop && instrument.kind.isDerivative
    }

    /// Fired and not at its end: what it has left may be executed at this moment.
    var backstopWorks: Bool { venueOrders.contains { $0.leg == .backstop && $0.filled.isPositive } }

    var wantsBackstop: Bool {
        draft.backstop?.enabled == true && instrument.native.contains(.backstop) && status.isOpen && isUndisturbed
            && remaining.isPositive
    }

    /// F11.4: 1% or more from where it rests. A trailing stop counts from the price of `backstopThreshold` on, so that
    /// no quiet tick changes anything (Watch.swift).
    func isOff(_ wanted: Price, _ resting: Price) -> Bool {
        guard (wanted.value - resting.value).magnitude * ExactDecimal(100) >= resting.value else { return false }
        guard effectiveStop?.kind == .trailing, side.favours(wanted, over: resting),
            let threshold = backstopThreshold(resting), let extreme = trailingExtreme ?? extreme
        else { return true }
        return side.reaches(extreme, target: threshold)
    }

    /// The price at which the backstop has to be looked at because a trailing stop moved; nil when nothing waits.
    var backstopMove: Price? {
        guard wantsBackstop, let resting = backstops.last?.trigger, let threshold = backstopThreshold(resting),
            let extreme = trailingExtreme ?? extreme, side.favours(threshold, over: extreme)
        else { return nil }
        return threshold
    }

    /// The extreme at which a trailing stop has surely moved far enough from its backstop.
    private func backstopThreshold(_ resting: Price) -> Price? {
        guard let plan = draft.backstop, let trailing = draft.trailing, trailingActive else { return nil }
        let tick = max(instrument.tickSize.value, instrument.armedTick.value)
        let isLong = side == .buy
        // One tick more covers the rounding of the backstop, one that of the stop.
        let sign = isLong ? ExactDecimal.one : -ExactDecimal.one
        let target = resting.value + sign * (resting.value * ExactDecimal(mantissa: 1, scale: 2) + tick)
        guard target.isPositive else { return nil }
        let distance = Pricing.factor(side: side, percent: -plan.distancePercent)
        let rounding: Rounding = isLong ? .ceiling : .floor
        var stop = ExactDecimal.quotient(target, over: distance, step: tick, rounding) + sign * tick
        switch trailing.callback {
        case .rate(let rate):
            let left = isLong ? .one - rate.value : .one + rate.value
            guard left.isPositive, stop.isPositive else { return nil }
            stop = .quotient(stop, over: left, step: tick, rounding)
        case .amount(let amount): stop = stop + sign * amount.value
        }
        return stop.isPositive ? Price(stop) : nil
    }
}

extension Deciding {
    /// F11.4: at most one move a minute.
    private static let pace: Int64 = 60_000
    /// Somebody may have joined the position.
    private static let look: Int64 = 300_000

    /// Places, moves and takes down the backstop. Where the position is not known it only says when to look.
    mutating func keepBackstop() {
        guard !order.isTerminal else {
            order.backstopDue = nil
            return
        }
        guard order.wantsBackstop, let wanted = order.backstopPrice, wanted.isPositive else {
            order.backstopDue = nil
            if order.isUndisturbed { cancelResting { $0.leg == .backstop } }
            return
        }
        let live = order.backstops
        guard let newest = live.last else {
            actOnBackstop(due: order.backstopDue ?? now, resting: nil, wanted)
            return
        }
        switch newest.state {
        case .open, .partial: break
        case .intent, .submitted, .unknown, .cancelRequested, .filled, .cancelled, .expired, .rejected, .notSent,
            .absent:
            order.backstopDue = nil
            return
        }
        // The new one rests: the old one has done its time.
        cancelResting { $0.leg == .backstop && $0.attempt < newest.attempt }
        let trigger = newest.trigger ?? wanted
        let ideal =
            order.isOff(wanted, trigger)
            ? max(now, newest.createdAt.advanced(milliseconds: Self.pace)) : now.advanced(milliseconds: Self.look)
        // What was left alone is left alone until its pause is over, wherever the price goes.
        let due = order.backstopNote == nil ? min(order.backstopDue ?? ideal, ideal) : order.backstopDue ?? ideal
        actOnBackstop(due: due, resting: newest, wanted)
    }

    private mutating func actOnBackstop(due: Timestamp, resting: VenueOrder?, _ wanted: Price) {
        order.backstopDue = due
        guard now >= due, let standing = moment.standing else { return }
        let there = Quantity(side.quantity(ofPosition: standing.net))
        let note: BackstopNote?
        if standing.otherOrders > 0 || there > order.remaining + order.dust {
            note = .positionShared
        } else {
            note = there.isPositive ? nil : .noPosition
        }
        if let note {
            skipBackstop(note, for: Self.look)
            return
        }
        order.backstopDue = now.advanced(milliseconds: Self.look)
        order.backstopNote = nil
        if let trigger = resting?.trigger {
            guard order.isOff(wanted, trigger) else { return }
            facts.append(.backstopMoved(from: trigger, to: wanted))
        } else {
            facts.append(.backstopPlaced(wanted))
        }
        order.backstopDue = nil
        place(.backstop, .stopMarket, order.remaining, limit: nil, trigger: wanted)
    }

    private mutating func skipBackstop(_ note: BackstopNote, for pause: Int64) {
        if order.backstopNote != note { facts.append(.backstopSkipped(note)) }
        order.backstopNote = note
        order.backstopDue = now.advanced(milliseconds: pause)
        if note == .positionShared { cancelResting { $0.leg == .backstop } }
    }

    /// The plan of the backstop was edited: it is looked at now.
    mutating func renewBackstop() {
        order.backstopDue = nil
        order.backstopFailures = 0
        order.backstopNote = nil
    }

    /// A timer came, and nobody knew the position: later, and slower each time.
    mutating func postponeBackstop() {
        guard let due = order.backstopDue, now >= due, moment.standing == nil else { return }
        order.backstopFailures += 1
        order.backstopDue = now.advanced(milliseconds: Self.pause(order.backstopFailures))
    }

    /// 1 s, doubled per failure, at most 60 s.
    private static func pause(_ failures: Int) -> Int64 { min(1_000 << Int64(min(max(failures - 1, 0), 6)), 60_000) }

    /// An execution of the backstop: it is the order's stop from now on (F11.6).
    mutating func backstopFired(_ key: VenueOrderKey, at price: Price) {
        order.backstopNote = .fired
        guard order.isUndisturbed, order.status.isOpen else { return }
        let trigger = order.venueOrders.first { $0.key == key }?.trigger
        facts.append(.backstopFired)
        latchAtVenue(.backstop, at: trigger ?? price, fired: key)
    }

    mutating func backstopEnded(_ ended: VenueOrder, _ outcome: Outcome) {
        order.backstopDue = nil
        if order.isExiting {
            if order.latch?.kind == .backstop { order.exitRetry = .none }
            return
        }
        guard !ended.cancelWanted, order.backstops.isEmpty else { return }
        order.backstopFailures += 1
        order.backstopNote = .refused
        order.backstopDue = now.advanced(milliseconds: Self.pause(order.backstopFailures))
    }

    /// The venue fired a stop of ours: latched as if it had been fired here, with that stop as the first attempt.
    mutating func latchAtVenue(_ kind: StopKind, at price: Price, fired: VenueOrderKey) {
        order.latch = Latch(kind: kind, price: price, position: moment.position, time: now)
        facts.append(.stopLatched(kind: kind, price: price))
        endDelay(isReset: false)
        let keeps = order.instrument.kind.isDerivative
        dropEntryRest(.end(.entryCancelled))
        cancelResting { $0.leg.isExit && $0.key != fired && !(keeps && $0.leg == .backstop) }
        for index in order.levels.indices where order.levels[index].state == .pending { cancelLevel(index) }
        for index in order.partialStops.indices { endPartialStop(index) }
        beginExit()
        order.exitAttempts = 1
    }
}
