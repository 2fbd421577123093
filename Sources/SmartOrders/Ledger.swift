// What was bought, sold, written off, and what it cost (ORDERS.md R5, R11, R24, 4.1).
//
// Invariant: heldCost is the cost of `remaining` and `dust`; the exit that takes the last of both takes all of it.

extension SmartOrder {
    /// What `heldCost` was paid for.
    var held: Quantity { remaining + dust }

    private static let costStep = ExactDecimal(mantissa: 1, scale: 12)

    /// Cost of `quantity` of what is held, half-even at 12 decimals; all of it for all (R5).
    func cost(of quantity: Quantity) -> Money {
        guard quantity < held else { return heldCost }
        return Money(
            .quotient(heldCost.value, times: quantity.value, over: held.value, step: Self.costStep, .halfEven)
        )
    }

    /// Cost of a quantity that was given up, at the average of what is held, or of all that was entered.
    func costGivenUp(_ quantity: Quantity) -> Money {
        let (cost, whole) = held.isPositive ? (heldCost, held) : (entryCost, entered)
        guard whole.isPositive else { return .zero }
        let share = ExactDecimal.quotient(
            cost.value,
            times: quantity.value,
            over: whole.value,
            step: Self.costStep,
            .halfEven,
        )
        return Money(share)
    }

    /// Adds to what is held. `net` is what arrived after base-coin fees; only whole steps of it can be exited (R11).
    mutating func receive(_ quantity: Quantity, net: Quantity, cost: Money) {
        let arrived = received + dust + net
        entered += quantity
        received = arrived.floored(to: instrument.stepSize)
        dust = arrived - received
        heldCost += cost
        if held.isPositive { averageEntry = AverageEntry(cost: heldCost, quantity: held) }
    }
}

extension Deciding {
    /// Books one execution on the side of its leg.
    mutating func book(_ fill: Fill, of key: VenueOrderKey) {
        facts.append(.fill(key, fill))
        if case .quote = fill.feeAsset { order.fees += Money(fill.fee.rounded(decimals: 18)) }
        if key.leg.isExit { bookExit(fill, of: key) } else { bookEntry(fill, leg: key.leg) }
    }

    private mutating func bookEntry(_ fill: Fill, leg: Leg) {
        var net = fill.quantity
        let cost = fill.price * fill.quantity
        switch fill.feeAsset {
        case .base: if side == .buy { net -= Quantity(fill.fee) }
        case .quote: order.entryFees += Money(fill.fee.rounded(decimals: 18))
        case .other: break
        }
        order.entryCost += cost
        let dustBefore = order.dust
        order.receive(fill.quantity, net: net, cost: cost)
        if leg == .entry { order.entryFilled += fill.quantity } else { facts.append(.fundsAdded(fill.quantity)) }
        if order.dust != dustBefore { facts.append(.dust(order.dust)) }
        guard !order.isTerminal else { return }
        if order.status == .pending {
            activate(at: fill.price)
            passTicks(before: fill)
        }
        entryChanged()
    }

    /// What is held grew, or its average moved: targets, levels and break-even follow.
    mutating func entryChanged() {
        moveTargets()
        replan()
        renewBreakEven()
    }

    /// T5: something is held from now on.
    mutating func activate(at price: Price) {
        facts.append(.activated)
        setStatus(.active)
        order.extreme = price
        order.extremePosition = max(order.extremePosition, moment.position)
        order.trailingActive = order.draft.trailing != nil && order.draft.trailing?.activationPrice == nil
        if case .cancelling(.timeExit) = order.goal {
            // The time has passed, and a fill won the race against the cancel: it leaves at market.
            order.goal = .closing(.timeExit)
            beginExit()
        }
    }

    /// What an entry arms is not touched by ticks from before it (RELIABILITY.md 4.6.3): the venue often tells a fill sooner
    /// than the ticks that led to it. Its time is of the clock that its ticks are of; where the two are further apart than
    /// any feed is behind, they are not (recorded prices at a venue of today), and nothing is passed.
    private mutating func passTicks(before fill: Fill) {
        let time = min(fill.time, moment.now)
        guard time.microseconds <= moment.position.venueTime + SmartOrder.ticksBehindFill else { return }
        order.extremePosition = max(order.extremePosition, .before(ticksAt: time.microseconds))
    }

    private mutating func bookExit(_ fill: Fill, of key: VenueOrderKey) {
        let leg = key.leg
        takeBack(fill.quantity, takenBy: leg)
        let cost = order.cost(of: fill.quantity)
        let proceeds = fill.price * fill.quantity
        order.realized += side == .buy ? proceeds - cost : cost - proceeds
        order.heldCost -= cost
        order.exited += fill.quantity
        exitedBy = leg
        guard !order.isTerminal else { return }
        switch leg {
        case .takeProfit(let number): levelTook(number, fill.quantity)
        case .partialStop(let number): partialStopFilled(number, fill.quantity)
        case .reduce:
            facts.append(.fundsReduced(fill.quantity))
            replan()
        case .stop: nativeStopFired(key, at: fill.price)
        case .backstop: backstopFired(key, at: fill.price)
        case .close, .entry, .add, .conditional, .timer, .reconcile: break
        }
        if !order.isUndisturbed { planWhatWasAsked() }
    }

    /// What was given up because it was not there any more (R16) may be what this fill took before it was told: a
    /// backstop claims nothing (F11.2), so its quantity is missed first and explained later.
    private mutating func takeBack(_ quantity: Quantity, takenBy leg: Leg) {
        guard order.writtenOff.isPositive else { return }
        let explained = leg == .backstop ? quantity : quantity - order.remaining
        let returned = min(explained, order.writtenOff)
        guard returned.isPositive else { return }
        order.heldCost += order.costGivenUp(returned)
        order.writtenOff -= returned
    }

    /// Gives up quantity that is not there, or that nobody takes; its cost leaves with it.
    mutating func writeOff(_ quantity: Quantity) {
        guard quantity.isPositive else { return }
        order.heldCost -= order.cost(of: quantity)
        order.writtenOff += quantity
        facts.append(.writtenOff(quantity))
    }
}

extension SmartOrder {
    /// How far the ticks may be behind a fill that is told before them, in microseconds of the venue's clock.
    public static let ticksBehindFill: Int64 = 60_000_000
}
