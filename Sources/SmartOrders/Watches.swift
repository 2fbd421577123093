// What an order waits for, so that nobody has to look at it on every tick (Watch.swift states the invariant).

extension SmartOrder {
    /// Every threshold of this order in the price of its trigger source, and what a guard against false prints waits for.
    public var watches: [Watch] { guarded(plainWatches) }

    /// The thresholds alone.
    var plainWatches: [Watch] {
        switch status {
        case .closed, .stopped, .cancelled, .failed: []
        case .pending: entryWatches
        case .active, .partiallyClosed: isUndisturbed ? openWatches : []
        }
    }

    private var entryWatches: [Watch] {
        guard entryWaits, goal == .none else { return [] }
        let attempt = nextAttempt(.entry)
        let condition: Watch.Condition
        switch draft.entry.mode {
        case .attach, .market, .limit: return []
        case .conditional:
            guard let trigger = draft.entry.trigger else { return [] }
            condition = entryRises ? .atOrAbove(trigger) : .atOrBelow(trigger)
        case .trailing:
            if let entryExtreme, let rate = draft.entry.callbackRate {
                // A buy comes in when the price has risen from its low: the trail of a short.
                condition =
                    side == .buy
                    ? .trailsLow(.rate(rate), extreme: entryExtreme) : .trailsHigh(.rate(rate), extreme: entryExtreme)
            } else if let activation = draft.entry.activation {
                let condition: Watch.Condition = entryRises ? .atOrAbove(activation) : .atOrBelow(activation)
                return [Watch(leg: .timer, attempt: timerAttempt, condition: condition)]
            } else {
                return []
            }
        }
        return [Watch(leg: .entry, attempt: attempt, condition: condition)]
    }

    private var openWatches: [Watch] {
        var watches: [Watch] = []
        addStopWatches(&watches)
        for partial in partialStops where partial.state == .pending {
            let leg = Leg.partialStop(partial.number)
            switch partial.plan.distance {
            case .price(let price):
                watches.append(Watch(leg: leg, attempt: nextAttempt(leg), condition: falling(price)))
            case .callback(let callback):
                guard let extreme else { continue }
                watches.append(Watch(leg: leg, attempt: nextAttempt(leg), condition: trailing(callback, extreme)))
            }
        }
        if targetsMayFire {
            for level in levels where level.state == .pending {
                let leg = Leg.takeProfit(level.number)
                if isHeldNatively(leg) || isTooLittle(level) { continue }
                if let rate = level.plan.trailingRate, let extreme = level.trailingExtreme {
                    watches.append(
                        Watch(leg: leg, attempt: nextAttempt(leg), condition: trailing(.rate(rate), extreme))
                    )
                } else {
                    watches.append(Watch(leg: leg, attempt: nextAttempt(leg), condition: rising(level.price)))
                }
            }
        }
        addMarkWatches(&watches)
        return watches
    }

    /// Nobody takes what is left of it: its price would ask for nothing, again and again, until a re-plan gives it more.
    private func isTooLittle(_ level: Level) -> Bool {
        let rest = (level.planned - level.filled).floored(to: instrument.stepSize)
        guard level.planned > level.filled, level.plan.trailingRate == nil || level.trailingExtreme != nil else {
            return false
        }
        return !instrument.takes(rest, at: trigger(of: level))
    }

    private func addStopWatches(_ watches: inout [Watch]) {
        if isHeldNatively(.stop) { return }
        let attempt = nextAttempt(.stop)
        var candidates = stopCandidates.filter { $0.kind != .trailing }
        if let stop = delayedStop {
            candidates.removeAll { $0.kind == .fixed }
            if let emergency = stop.emergencyPrice {
                watches.append(Watch(leg: .stop, attempt: attempt, condition: falling(emergency)))
            }
            // The clock starts at the stop, and ends on its protective side.
            let condition = delayedSince == nil ? falling(stop.price) : rising(instrument.justBeyond(stop.price, side))
            watches.append(Watch(leg: .timer, attempt: timerAttempt, condition: condition))
        }
        if let fixed = tightest(candidates) {
            watches.append(Watch(leg: .stop, attempt: attempt, condition: falling(fixed.price)))
        }
        if let plan = draft.trailing, trailingActive, let extreme = trailingExtreme ?? extreme {
            watches.append(Watch(leg: .stop, attempt: attempt, condition: trailing(plan.callback, extreme)))
        }
    }

    /// Thresholds that change the order's state without placing anything.
    private func addMarkWatches(_ watches: inout [Watch]) {
        if let activation = draft.trailing?.activationPrice, !trailingActive {
            watches.append(Watch(leg: .timer, attempt: timerAttempt, condition: rising(activation)))
        }
        if let step = step(locksReached) {
            watches.append(Watch(leg: .timer, attempt: timerAttempt, condition: rising(step.at)))
        }
        if let arming = breakEvenArming {
            watches.append(Watch(leg: .timer, attempt: timerAttempt, condition: rising(arming)))
        }
        if let move = backstopMove {
            watches.append(Watch(leg: .timer, attempt: timerAttempt, condition: rising(move)))
        }
    }

    func nextAttempt(_ leg: Leg) -> Int { (attempts[leg] ?? 0) + 1 }
    private var timerAttempt: Int { Int(clamping: version) }

    /// Crossed in the direction of profit.
    private func rising(_ price: Price) -> Watch.Condition { side == .buy ? .atOrAbove(price) : .atOrBelow(price) }
    /// Crossed in the direction of loss.
    private func falling(_ price: Price) -> Watch.Condition { side == .buy ? .atOrBelow(price) : .atOrAbove(price) }
    private func trailing(_ callback: Callback, _ extreme: Price) -> Watch.Condition {
        side == .buy ? .trailsHigh(callback, extreme: extreme) : .trailsLow(callback, extreme: extreme)
    }

    /// Whether every tick has to be decided on: something could not be done and may be tried at the next one (R15.2).
    public var wantsEveryTick: Bool {
        guard !isTerminal, !isCancelling else { return false }
        let mayRetryEntry = entryRetry.at == nil || entryRetry.onNextTick
        if !isExiting, entryDue || !addWishes.isEmpty, mayRetryEntry { return true }
        // A trailing entry without an activation price starts at the first price it sees.
        if entryWaits, draft.entry.mode == .trailing, draft.entry.activation == nil, entryExtreme == nil { return true }
        let mayRetryExit = exitRetry.at == nil || exitRetry.onNextTick
        return status.isOpen && (isExiting || hasLatchedPartialStop) && mayRetryExit && free.isPositive
    }

    /// The earliest moment at which a `timer` event could change something; nil: never. It may lie in the past.
    public var nextTimer: Timestamp? {
        guard !isTerminal else { return nil }
        var due: [Timestamp?] = [cancelRetry.at]
        if !isCancelling {
            if let expiry = entryExpiry { due.append(expiry) }
            if !isExiting {
                if entryDue || !addWishes.isEmpty { due.append(entryRetry.at) }
                due.append(draft.exitAt)
                due.append(targetRetry.at)
                due.append(backstopDue)
                due.append(nativeRetry.at)
                if let suspect, !suspect.isIgnored { due.append(suspect.until) }
                if let since = delayedSince, let timeout = draft.stopLoss?.timeoutMs {
                    due.append(since.advanced(milliseconds: timeout))
                }
            }
            if isExiting || hasLatchedPartialStop {
                if free.isPositive { due.append(exitRetry.at) }
                due.append(stopFallback)
                if !attention.contains(.stopNotFlat) { due.append(exitingSince?.advanced(milliseconds: 30_000)) }
            }
        }
        return due.compactMap { $0 }.min()
    }

    /// Counts every pause before a retry as elapsed (scenarios, an operator's "now").
    public mutating func retryNow() {
        exitRetry.at = nil
        targetRetry.at = nil
        entryRetry.at = nil
        nativeRetry.at = nil
        if backstopDue != nil { backstopDue = updatedAt }
        if cancelRetry.at != nil { cancelRetry.at = updatedAt }
    }

    /// Whether a job is about something that is still awaited; a job that is not decides nothing (R21.2).
    public func awaits(_ leg: Leg, attempt: Int) -> Bool {
        if watches.contains(where: { $0.leg == leg && $0.attempt == attempt }) { return true }
        guard attempt == nextAttempt(leg), !isTerminal else { return false }
        switch leg {
        case .stop: return latch != nil && !isCancelling
        case .close: return isExiting && latch == nil
        case .partialStop(let number): return partialStops.contains { $0.number == number && $0.state == .latched }
        case .entry: return entryDue
        case .add: return !addWishes.isEmpty
        case .takeProfit, .reduce, .backstop, .conditional, .timer, .reconcile: return false
        }
    }

    /// Takes the best price of quiet ticks, up to a position, into the running extremes: the highest for what trails a
    /// high, the lowest for what trails a low (`trailsHighs`). Ticks up to `extremePosition` are in already.
    public mutating func absorb(extreme price: Price, upTo position: TickPosition) {
        switch status {
        case .pending: if entryWaits, goal == .none, entryExtreme != nil { absorbEntry(price, upTo: position) }
        case .active, .partiallyClosed: if isUndisturbed { absorbOpen(price, upTo: position) }
        case .closed, .stopped, .cancelled, .failed: break
        }
    }

    /// Whether the extreme to absorb is the highest price (else the lowest).
    public var trailsHighs: Bool { status == .pending ? side == .sell : side == .buy }

    mutating func absorbOpen(_ price: Price, upTo position: TickPosition) {
        extreme = extreme.map { side.better($0, price) } ?? price
        if trailingActive { trailingExtreme = trailingExtreme.map { side.better($0, price) } }
        for index in levels.indices where levels[index].state == .pending {
            levels[index].trailingExtreme = levels[index].trailingExtreme.map { side.better($0, price) }
        }
        extremePosition = max(extremePosition, position)
    }

    mutating func absorbEntry(_ price: Price, upTo position: TickPosition) {
        entryExtreme = entryExtreme.map { side.opposite.better($0, price) }
        extremePosition = max(extremePosition, position)
    }
}
