// The heart: what an event means for an order. Pure and total: every (status, event) pair has an answer, nil for
// "nothing". Order of work at a tick: ORDERS.md R10. Cost: O(levels + venue orders).

extension SmartOrder {
    /// Decides what `event` means for this order. Nil: nothing changes but running extremes, which the caller lets the
    /// order absorb (`absorb`); no version is made for them.
    ///
    /// - Throws: only for commands, when the command is not allowed now; nothing changed then.
    public func decide(_ event: OrderEvent, at moment: Moment) throws(Refusal) -> Decision? {
        var deciding = Deciding(self, at: moment)
        switch event {
        case .tick: deciding.evaluate(isTick: true)
        case .timer:
            deciding.evaluate(isTick: false)
            deciding.postponeBackstop()
        case .trigger(let leg, let attempt):
            guard awaits(leg, attempt: attempt) else { return nil }
            deciding.evaluate(isTick: true)
        case .venue(let key, let news): deciding.learn(key, news)
        case .cancelFailed(let key): deciding.cancelFailed(key)
        case .recovered(let key):
            deciding.order.attempts[key.leg] = max(attempts[key.leg] ?? 0, key.attempt)
        case .position(let net, let average): deciding.positionChanged(net: net, average: average)
        case .market(let terms): deciding.marketChanged(terms)
        case .attention(let cause, let isRaised): deciding.attention(cause, isRaised: isRaised)
        case .command(let command):
            guard try deciding.obey(command) else { return nil }
            return deciding.finish(isCommand: true)
        }
        return deciding.finish()
    }
}

extension Deciding {
    /// One evaluation, in the fixed order of R10.
    mutating func evaluate(isTick: Bool) {
        judgePrint(isTick: isTick)
        switch order.status {
        case .closed, .stopped, .cancelled, .failed: return
        case .pending: evaluateEntry(moment.price, isTick: isTick)
        case .active, .partiallyClosed: evaluateOpen(isTick: isTick)
        }
    }

    private mutating func evaluateOpen(isTick: Bool) {
        defer { continueCancels() }
        if order.isCancelling { return }
        if order.isExiting {
            continueExit(isTick: isTick)
            return
        }
        let isContinued = moment.attempted.map { !$0.isEmpty } ?? false
        if !isContinued {
            _ = expireEntry()
            sendDueEntries(isTick: isTick)
        }
        if let at = order.targetRetry.at, now >= at { order.targetRetry.at = nil }
        if let price = moment.price {
            if !isContinued {
                if testStop(price) { return }
                testPartialStops(price)
                guard order.isUndisturbed else { return }
                continuePartialStops(isTick: isTick)
                guard order.isUndisturbed else { return }
            }
            if fireLevels(price), moment.attempted != nil { return }
            guard order.isUndisturbed else { return }
            advanceMarks(price)
        }
        if let exitAt = order.draft.exitAt, now >= exitAt { close(.timeExit) }
    }
}
