// Take-profit levels: their quantities, their firing, and what becomes of their orders (ORDERS.md R1, R10.3, F2, F6).

extension SmartOrder {
    /// Price at which a level fires now: its price, or the trailing trigger once it trails (F2).
    func trigger(of level: Level) -> Price {
        guard let rate = level.plan.trailingRate, let extreme = level.trailingExtreme else { return level.price }
        return Pricing.trailingStop(
            side: side,
            extreme: extreme,
            callback: .rate(rate),
            tickSize: instrument.armedTick,
        )
    }

    /// Whether take-profits may fire: no submit in doubt, no partial stop under way, no pause (R20.4, F9.3).
    var targetsMayFire: Bool {
        status.isOpen && isUndisturbed && !hasUnresolved && !hasLatchedPartialStop && targetRetry.at == nil
    }
}

extension Deciding {
    /// Shares what is not with TRIGGERED levels over the PENDING ones (R1.5).
    mutating func replan() {
        guard order.isUndisturbed else { return planWhatWasAsked() }
        var quantity = order.remaining
        var pending: [Int] = []
        for (index, level) in order.levels.enumerated() {
            switch level.state {
            case .triggered: quantity -= level.planned - level.filled
            case .pending: pending.append(index)
            case .filled, .cancelled: break
            }
        }
        if quantity.value.isNegative { quantity = trimTriggered(by: .zero - quantity) }
        guard !pending.isEmpty else { return }
        let shares = pending.map { index in
            let level = order.levels[index]
            var share = PlanShare(percent: level.plan.sizePercent, price: level.price)
            if level.filled.isPositive, level.planned > level.filled {
                share.unfilled = level.planned - level.filled
                share.planned = level.planned
            }
            return share
        }
        let plan = Planner.plan(quantity, over: shares, of: order.instrument)
        var changed = false
        for (index, amount) in zip(pending, plan) {
            let planned = order.levels[index].filled + amount
            guard order.levels[index].planned != planned else { continue }
            changed = true
            order.levels[index].planned = planned
            if amount.isZero, quantity.isPositive { facts.append(.levelMerged(order.levels[index].number)) }
        }
        if changed { facts.append(.replanned) }
        for index in pending where order.levels[index].filled.isPositive {
            if order.levels[index].planned == order.levels[index].filled { levelFilled(index) }
        }
    }

    /// A full exit takes whatever is free: TRIGGERED levels keep what their orders ask for, and no more (I6).
    mutating func planWhatWasAsked() {
        var planned = Quantity.zero
        for level in order.levels where level.state == .triggered { planned += level.planned - level.filled }
        if planned > order.remaining { _ = trimTriggered(by: planned - order.remaining) }
    }

    /// Other exits took what TRIGGERED levels had planned beyond their orders: they plan what they asked for (I6).
    /// Zero, or what could not be trimmed.
    private mutating func trimTriggered(by excess: Quantity) -> Quantity {
        var excess = excess
        for (index, level) in order.levels.enumerated() where level.state == .triggered && excess.isPositive {
            let leg = Leg.takeProfit(level.number)
            let asked = order.venueOrders.reduce(into: Quantity.zero) { if $1.leg == leg { $0 += $1.claim } }
            let spare = min(level.planned - level.filled - asked, excess)
            guard spare.isPositive else { continue }
            order.levels[index].planned -= spare
            excess -= spare
        }
        return .zero - excess
    }

    /// Targets given as a percentage move with the average, while pending and not trailing (F6).
    mutating func moveTargets() {
        guard let average = order.averageEntry else { return }
        for (index, level) in order.levels.enumerated() where level.state == .pending && level.trailingExtreme == nil {
            guard case .percent(let percent) = level.plan.target else { continue }
            order.levels[index].price = Pricing.gain(
                side: side,
                average: average,
                percent: percent,
                tickSize: tickSize,
            )
        }
    }

    /// Fires every level that the price reached, nearest first; one of them, where its answer comes before the next
    /// (`Moment.attempted`). True: one fired.
    mutating func fireLevels(_ price: Price) -> Bool {
        guard order.targetsMayFire else { return false }
        let side = side
        let indices = order.levels.indices.sorted {
            side.favours(order.levels[$1].price, over: order.levels[$0].price)
        }
        var hasFired = false
        for index in indices where order.levels[index].state == .pending {
            let level = order.levels[index]
            let leg = Leg.takeProfit(level.number)
            if order.isHeldNatively(leg) || moment.attempted?.contains(leg) == true { continue }
            if level.trailingExtreme != nil {
                guard side.breaches(price, stop: order.trigger(of: level)) else { continue }
                if fire(index, anchor: price) { hasFired = true }
            } else if side.reaches(price, target: level.price) {
                if level.planned <= level.filled {
                    // Reached while it plans nothing (R1.6).
                    cancelLevel(index)
                } else if level.plan.trailingRate != nil {
                    order.levels[index].trailingExtreme = price
                } else if fire(index, anchor: level.price) {
                    hasFired = true
                }
            }
            guard order.isUndisturbed, !hasFired || moment.attempted == nil else { return hasFired }
        }
        return hasFired
    }

    /// Places a level's order for its rest. `atMarket` leaves its limit aside (`closeLevel`). False: nothing can be asked.
    @discardableResult
    mutating func fire(_ index: Int, anchor: Price, atMarket: Bool = false) -> Bool {
        let level = order.levels[index]
        let leftBefore = order.writtenOff
        let wanted = clamp(level.planned - level.filled)
        guard order.isUndisturbed else { return false }
        let quantity = wanted.floored(to: order.instrument.stepSize)
        let takes = order.instrument.takes(quantity, at: anchor)
        if takes {
            dropEntryRest(.end(.entryCancelled))
            let leg = Leg.takeProfit(level.number)
            if level.plan.execution == .limit, !atMarket, level.trailingExtreme == nil {
                place(leg, .goodTillCancelled, quantity, limit: level.plan.limitPrice ?? level.price)
            } else {
                placeImmediate(leg, quantity, anchor: anchor)
            }
            order.levels[index].state = .triggered
            facts.append(.levelTriggered(level.number))
        }
        if order.writtenOff != leftBefore {
            // The position ends here: the level takes the last of it, the others have nothing left (R16.2).
            if takes { order.levels[index].planned = level.filled + quantity }
            replan()
        }
        return takes
    }

    /// A fill of a level's order.
    mutating func levelTook(_ number: Int, _ quantity: Quantity) {
        guard let index = order.levels.firstIndex(where: { $0.number == number }) else { return }
        order.levels[index].filled += quantity
        order.targetRetry = .none
        switch order.levels[index].state {
        case .pending, .triggered:
            if order.levels[index].filled >= order.levels[index].planned { levelFilled(index) }
        case .filled, .cancelled: break
        }
    }

    /// A whole level is done: break-even and follow, and the public status (T13).
    mutating func levelFilled(_ index: Int) {
        let wasClosed = order.levels[index].closeRequested
        order.levels[index].state = .filled
        order.levels[index].closeRequested = false
        order.levels[index].replaceRequested = false
        facts.append(.levelFilled(order.levels[index].number))
        if let plan = order.draft.breakEven, plan.enabled, plan.onFirstTakeProfit {
            armBreakEven(onlyIfProtective: wasClosed)
        }
        follow(filled: index, onlyIfProtective: wasClosed)
        if order.remaining.isPositive, order.status == .active { setStatus(.partiallyClosed) }
    }

    /// The order of a level ended without filling all of the level.
    mutating func levelEnded(_ number: Int, _ ended: VenueOrder, _ outcome: Outcome) {
        guard let index = order.levels.firstIndex(where: { $0.number == number }),
            order.levels[index].state == .triggered
        else { return }
        guard order.isUndisturbed else {
            cancelLevel(index)
            return
        }
        switch outcome {
        case .filled, .expired, .cancelled: succeeded()
        case .absent: break
        case .notSent, .refused: order.targetRetry = failed(order.targetRetry)
        }
        order.levels[index].state = .pending
        facts.append(.levelRearmed(number))
        let level = order.levels[index]
        order.levels[index].replaceRequested = false
        if level.closeRequested {
            // Its resting order made way for the close; a close of its own that did not fill has had its turn.
            let madeWay = ended.type == .goodTillCancelled
            if !madeWay || moment.price == nil { order.levels[index].closeRequested = false }
            if madeWay, let price = moment.price, !fire(index, anchor: price, atMarket: true) {
                order.levels[index].closeRequested = false
            }
        } else if level.replaceRequested {
            fire(index, anchor: level.price)
        }
    }

    mutating func cancelLevel(_ index: Int) {
        switch order.levels[index].state {
        case .filled, .cancelled: return
        case .pending, .triggered:
            order.levels[index].state = .cancelled
            order.levels[index].closeRequested = false
            order.levels[index].replaceRequested = false
            facts.append(.levelCancelled(order.levels[index].number))
        }
    }
}
