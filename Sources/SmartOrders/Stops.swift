// The stop: its candidates, the tightest of them, and the one-way latch (ORDERS.md R7, R10.2, R22, F1, F3, F8).

extension SmartOrder {
    /// Every stop candidate there is, in the order that names the stop on equal prices.
    public var stopCandidates: [EffectiveStop] {
        var candidates: [EffectiveStop] = []
        if let stop = draft.stopLoss { candidates.append(EffectiveStop(price: stop.price, kind: .fixed)) }
        if let breakEvenPrice { candidates.append(EffectiveStop(price: breakEvenPrice, kind: .breakEven)) }
        if let followPrice { candidates.append(EffectiveStop(price: followPrice, kind: .follow)) }
        if let lockPrice { candidates.append(EffectiveStop(price: lockPrice, kind: .lock)) }
        if let trailingStopPrice { candidates.append(EffectiveStop(price: trailingStopPrice, kind: .trailing)) }
        return candidates
    }

    /// The tightest stop candidate (R7); nil without one.
    public var effectiveStop: EffectiveStop? { tightest(stopCandidates) }

    func tightest(_ candidates: [EffectiveStop]) -> EffectiveStop? {
        var best: EffectiveStop?
        for candidate in candidates {
            guard let tightest = best else {
                best = candidate
                continue
            }
            if side.favours(candidate.price, over: tightest.price) { best = candidate }
        }
        return best
    }

    /// Where the trailing stop stands now; nil without one or before its activation.
    public var trailingStopPrice: Price? {
        guard let trailing = draft.trailing, trailingActive, let extreme = trailingExtreme ?? extreme else {
            return nil
        }
        return Pricing.trailingStop(
            side: side,
            extreme: extreme,
            callback: trailing.callback,
            tickSize: instrument.armedTick,
        )
    }

    /// The fixed stop's timeout is a matter while the fixed stop binds (F3.1).
    var delayedStop: StopLossPlan? {
        guard let stop = draft.stopLoss, stop.timeoutMs != nil, effectiveStop?.kind == .fixed else { return nil }
        return stop
    }
}

extension Deciding {
    /// Tests the full stop against the price. True when it latched.
    mutating func testStop(_ price: Price) -> Bool {
        // The venue tests it, and tells.
        if order.isHeldNatively(.stop) { return false }
        guard let stop = order.delayedStop, let timeout = stop.timeoutMs else {
            endDelay(isReset: true)
            guard let effective = order.effectiveStop, side.breaches(price, stop: effective.price) else { return false }
            latch(effective.kind, at: effective.price)
            return true
        }
        if let emergency = stop.emergencyPrice, side.breaches(price, stop: emergency) {
            latch(.fixed, at: emergency)
            return true
        }
        // The timeout holds back the fixed stop alone: a looser one of another kind fires at once.
        let prompt = order.tightest(order.stopCandidates.filter { $0.kind != .fixed })
        if let prompt, side.breaches(price, stop: prompt.price) {
            latch(prompt.kind, at: prompt.price)
            return true
        }
        guard side.breaches(price, stop: stop.price) else {
            endDelay(isReset: true)
            return false
        }
        let since = order.delayedSince ?? now
        if now >= since.advanced(milliseconds: timeout) {
            latch(.fixed, at: stop.price)
            return true
        }
        if order.delayedSince == nil {
            order.delayedSince = now
            facts.append(.stopDelayed(since: now))
        }
        return false
    }

    mutating func endDelay(isReset: Bool) {
        guard order.delayedSince != nil else { return }
        order.delayedSince = nil
        if isReset { facts.append(.stopDelayReset) }
    }

    /// The one-way fact that the stop fired; everything else gives way to the exit (R9).
    private mutating func latch(_ kind: StopKind, at price: Price) {
        order.latch = Latch(kind: kind, price: price, position: moment.position, time: now)
        facts.append(.stopLatched(kind: kind, price: price))
        endDelay(isReset: false)
        clearTheWay()
        beginExit()
        pushExit()
    }

    /// Cancels the entry rest, adds and every resting exit; levels and partial stops are over.
    mutating func clearTheWay() {
        dropEntryRest(.end(.entryCancelled))
        // A derivative's backstop stays up until the position is gone: it takes from nobody.
        let keeps = order.instrument.kind.isDerivative
        cancelResting { $0.leg.isExit && !(keeps && $0.leg == .backstop) }
        for index in order.levels.indices where order.levels[index].state == .pending { cancelLevel(index) }
        for index in order.partialStops.indices { endPartialStop(index) }
    }

    // MARK: Candidates that come with profit

    /// The break-even price as it would be fixed now; nil before there is an average.
    func breakEvenPrice() -> Price? {
        guard let plan = order.draft.breakEven, let average = order.averageEntry else { return nil }
        return breakEvenPrice(plan, average)
    }

    func breakEvenPrice(_ plan: BreakEvenPlan?, _ average: AverageEntry) -> Price {
        Pricing.breakEven(
            side: side,
            mode: plan?.mode ?? .entry,
            average: average,
            feeIn: order.feeIn,
            feeOut: order.instrument.takerFee,
            offsetPercent: plan?.offsetPercent ?? .zero,
            tickSize: order.instrument.armedTick,
        )
    }

    func isProtective(_ stop: Price) -> Bool {
        guard let price = moment.price else { return false }
        return side.favours(price, over: stop)
    }

    /// Arms break-even for good. With `onlyIfProtective` a price that the market is beyond is left alone (R6.4).
    mutating func armBreakEven(onlyIfProtective: Bool) {
        // A latched stop is not moved any more, and nothing needs one that is being closed or cancelled.
        guard order.isUndisturbed, order.breakEvenPrice == nil, let price = breakEvenPrice() else { return }
        if onlyIfProtective, !isProtective(price) {
            facts.append(.breakEvenNotArmed(price))
            return
        }
        order.breakEvenPrice = price
        facts.append(.breakEvenArmed(price))
        order.breakEvenAt = now
    }

    /// Break-even after the average moved: taken only if tighter and still protective (R6.3).
    mutating func renewBreakEven() {
        guard let current = order.breakEvenPrice, let price = breakEvenPrice() else { return }
        guard side.favours(price, over: current), isProtective(price) else { return }
        order.breakEvenPrice = price
        facts.append(.breakEvenArmed(price))
        order.breakEvenAt = now
    }

    /// F1: the stop follows to the price of the level filled before, or to break-even.
    mutating func follow(filled index: Int, onlyIfProtective: Bool) {
        guard order.isUndisturbed, order.draft.stopFollow == .followTP, let candidate = followCandidate(filled: index)
        else { return }
        if let current = order.followPrice, !side.favours(candidate, over: current) { return }
        if onlyIfProtective, !isProtective(candidate) {
            facts.append(.breakEvenNotArmed(candidate))
            return
        }
        order.followPrice = candidate
    }

    func followCandidate(filled index: Int) -> Price? {
        if let before = order.levels[..<index].last(where: { $0.state == .filled }) { return before.price }
        guard let average = order.averageEntry else { return nil }
        return breakEvenPrice(order.draft.breakEven, average)
    }

    /// F8: arming price and lock of a step, at the present average.
    func step(_ index: Int) -> (at: Price, lock: Price)? { order.step(index) }

    /// Marks that act from the next tick: extremes, activation, step locks, break-even by price (R10.4).
    mutating func advanceMarks(_ price: Price) {
        order.absorbOpen(price, upTo: moment.position)
        if let trailing = order.draft.trailing, !order.trailingActive, let activation = trailing.activationPrice,
            side.reaches(price, target: activation)
        {
            order.trailingActive = true
            order.trailingExtreme = price
            facts.append(.trailingActivated(extreme: price))
        }
        while let step = step(order.locksReached), side.reaches(price, target: step.at) {
            order.locksReached += 1
            facts.append(.lockReached(step: order.locksReached, lock: step.lock))
            order.lockPrice = order.lockPrice.map { side.better($0, step.lock) } ?? step.lock
        }
        if let threshold = order.breakEvenArming, side.reaches(price, target: threshold) {
            armBreakEven(onlyIfProtective: true)
        }
    }
}

extension SmartOrder {
    /// The rate of the entry's fees that break-even in mode `fees` reckons with (R6.2).
    public var feeIn: Rate {
        guard entryCost.isPositive else { return .zero }
        let step = ExactDecimal(mantissa: 1, scale: 10)
        return Rate(.quotient(entryFees.value, over: entryCost.value, step: step, .halfEven))
    }

    /// Arming price and lock of step `index` (0-based) at the present average; nil past the last.
    public func step(_ index: Int) -> (at: Price, lock: Price)? {
        guard index < draft.stepLocks.count else { return nil }
        switch draft.stepLocks[index] {
        case .price(let at, let lock): return (at, lock)
        case .percent(let at, let lock):
            guard let averageEntry else { return nil }
            let tickSize = instrument.armedTick
            return (
                Pricing.gain(side: side, average: averageEntry, percent: at, tickSize: tickSize),
                Pricing.gain(side: side, average: averageEntry, percent: lock, tickSize: tickSize),
            )
        }
    }

    /// The price that arms break-even without a level (F10): the arming price, or just beyond the break-even price when
    /// the average moved past it. Nil when nothing waits to be armed.
    var breakEvenArming: Price? {
        guard let plan = draft.breakEven, plan.enabled, breakEvenPrice == nil, let averageEntry else { return nil }
        let arming: Price
        if let price = plan.armPrice {
            arming = price
        } else if let percent = plan.armPercent {
            arming = Pricing.gain(side: side, average: averageEntry, percent: percent, tickSize: instrument.armedTick)
        } else {
            return nil
        }
        let target = Deciding(self, at: Moment(now: updatedAt, price: nil)).breakEvenPrice(plan, averageEntry)
        return side.better(arming, instrument.justBeyond(target, side))
    }
}

extension Instrument {
    /// The nearest price that favours `side` over `price`, in the units of the hot path.
    func justBeyond(_ price: Price, _ side: Side) -> Price {
        let unit = ExactDecimal(mantissa: 1, scale: priceDecimals)
        return Price(side == .buy ? price.value + unit : price.value - unit)
    }
}
