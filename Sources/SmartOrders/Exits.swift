// Getting out: what may be sold now, under which limit, and when to try again (ORDERS.md R4, R9, R15, R16, R17).
//
// Invariant: an exit asks for at most what is free of claims and, where the position is known, at most what is there.

extension Deciding {
    /// An exit that expires for ever may not flood the venue: after so many attempts it is one per second
    /// (RELIABILITY.md HO36). It is never stopped.
    static let floodLimit = 120

    /// Starts the clock of an exit that has to end flat (R15.2).
    mutating func beginExit() {
        order.exitRetry = .none
        order.exitAttempts = 0
        order.exitingSince = now
    }

    /// What the account holds in this direction; nil: not known, nothing is clamped to it.
    private var heldHere: Quantity? {
        guard let held = moment.held else { return nil }
        // Coins sold are bought back from the quote balance: there is no position to clamp to (6.1).
        if !order.instrument.kind.isDerivative, side == .sell { return nil }
        return max(.zero, Quantity(side.quantity(ofPosition: held)))
    }

    /// Clamps a wish to what is free and there (R16.2, R17). When it takes the last of the position, what the order
    /// believed to own beyond that is written off. Zero: nothing may be asked for now.
    ///
    /// An exit in flight may have been executed already, and then `held` is less for it: while one is, nothing is
    /// subtracted for it twice, and nothing is written off.
    mutating func clamp(_ wanted: Quantity) -> Quantity {
        let allowed = min(wanted, order.free)
        guard let held = heldHere else { return allowed }
        var asked = Quantity.zero
        var isCertain = true
        for other in order.venueOrders where other.leg.isExit && !order.isUnclaimed(other) {
            let isFresh = places.contains(.place(other.key))
            let rests = other.type.rests && (other.state == .open || other.state == .partial)
            if isFresh || rests { asked += other.claim }
            if !isFresh { isCertain = false }
        }
        let there = max(.zero, held - asked)
        if isCertain, allowed >= there, order.free > there {
            if held.isZero, asked.isZero {
                cancelEverything(.positionClosedExternally)
                return .zero
            }
            writeOff(order.free - there)
        }
        return max(.zero, min(allowed, order.free, there - moment.claimedElsewhere))
    }

    /// Sends the next exit of a latched stop or a close for everything that is free.
    mutating func pushExit() {
        guard order.isExiting, order.status.isOpen, order.exitRetry.at == nil, !order.backstopWorks else { return }
        // The answers come before the exit: each of them asks again (`resume`).
        if moment.cancelsAnswerAtOnce, order.venueOrders.contains(where: { $0.state == .cancelRequested }) { return }
        let leg: Leg = order.latch == nil ? .close : .stop
        guard let anchor = exitAnchor(leg) else { return }
        let wanted = clamp(order.free)
        guard wanted.isPositive else {
            // What is there rests in exits of other orders: asked again at the pace of R15.2.
            if moment.claimedElsewhere.isPositive, order.isExiting, order.free.isPositive {
                order.exitRetry = Retry(
                    count: order.exitRetry.count,
                    at: now.advanced(milliseconds: 250),
                    onNextTick: true,
                )
            }
            return
        }
        let quantity = wanted.floored(to: order.instrument.stepSize)
        guard order.instrument.takes(quantity, at: anchor) else {
            // Nobody takes so little. If nothing else is under way it is all that is left: dust (R11).
            if order.claimed.isZero, wanted == order.remaining { writeOff(wanted) }
            return
        }
        if leg == .stop, let stop = restingStop() {
            place(leg, .goodTillCancelled, quantity, limit: stop)
        } else {
            placeImmediate(leg, quantity, anchor: anchor)
        }
        noteExitAttempt(leg)
    }

    /// The first attempt of a stop is anchored at its trigger price, everything later at the current price (R4.1).
    private func exitAnchor(_ leg: Leg) -> Price? {
        guard let latch = order.latch else { return moment.price }
        return order.exitAttempts == 0 ? latch.price : moment.price ?? latch.price
    }

    /// Limit of the first attempt of a fixed stop with limit execution; nil: at market.
    private func restingStop() -> Price? {
        guard let stop = order.draft.stopLoss, stop.execution == .limit, let limit = stop.limitPrice,
            let latch = order.latch, latch.kind == .fixed, latch.price == stop.price, order.exitAttempts == 0,
            !order.stopAtMarket
        else { return nil }
        return limit
    }

    private mutating func noteExitAttempt(_ leg: Leg) {
        order.exitAttempts += 1
        let attempt = order.attempts[leg] ?? 1
        if attempt > 1, order.exitAttempts > 1 { facts.append(.stopRetried(attempt: attempt)) }
    }

    /// One step of a full exit at a tick or a timer: the fallback of a limit stop, then the retry.
    mutating func continueExit(isTick: Bool) {
        fallBackToMarket()
        // With nothing free the pause is kept: whatever frees something asks again.
        guard order.free.isPositive, isDue(order.exitRetry, isTick: isTick) else { return }
        order.exitRetry.at = nil
        pushExit()
    }

    /// A limit stop that rested for its time is cancelled; the rest leaves at market (R4.2).
    private mutating func fallBackToMarket() {
        guard let due = order.stopFallback, now >= due else { return }
        cancelResting { $0.leg == .stop }
    }

    /// What a failed attempt of a full exit or a partial stop means for the next one (R15.2, 4.9).
    mutating func exitEnded(_ ended: VenueOrder, _ outcome: Outcome) {
        switch outcome {
        case .filled:
            succeeded()
            order.exitRetry = .none
        case .expired, .cancelled:
            succeeded()
            if ended.cancelWanted {
                order.exitRetry = .none
            } else if order.exitAttempts < Self.floodLimit {
                order.exitRetry = Retry(at: now.advanced(milliseconds: 250), onNextTick: true)
            } else {
                order.exitRetry = Retry(at: now.advanced(milliseconds: 1000))
            }
        case .absent:
            order.exitRetry = .none
        case .notSent:
            order.exitRetry = failed(order.exitRetry, onNextTick: order.exitRetry.count == 0)
        case .refused(let kind):
            switch kind {
            case .priceOutOfBand:
                // Clamped and tried at once (R4.3), unless the clamp has nothing new to offer.
                let limit = Pricing.immediateLimit(
                    side: order.exitSide,
                    anchor: moment.price ?? ended.limit ?? tickSize,
                    tickSize: tickSize,
                    band: band,
                )
                order.exitRetry =
                    limit == ended.limit ? failed(order.exitRetry) : Retry(count: order.exitRetry.count + 1)
            case .credentials:
                order.exitRetry = Retry(
                    count: order.exitRetry.count + 1,
                    at: now.advanced(milliseconds: 5000),
                    onNextTick: false,
                )
            case .marketHalted:
                order.exitRetry = Retry(
                    count: order.exitRetry.count + 1,
                    at: now.advanced(milliseconds: 10_000),
                    onNextTick: false,
                )
            case .rateLimited:
                order.exitRetry = failed(order.exitRetry)
            case .rejected, .insufficientBalance:
                order.exitRetry = failed(order.exitRetry, onNextTick: order.exitRetry.count == 0)
            }
        }
    }
}

extension SmartOrder {
    /// When a resting limit stop falls back to market; nil when none waits for that.
    var stopFallback: Timestamp? {
        guard latch != nil, let wait = draft.stopLoss?.fallbackMs else { return nil }
        for resting in venueOrders
        where resting.leg == .stop && (resting.type == .goodTillCancelled || resting.type == .stopLimit) {
            if !resting.cancelWanted { return resting.createdAt.advanced(milliseconds: wait) }
        }
        return nil
    }
}
