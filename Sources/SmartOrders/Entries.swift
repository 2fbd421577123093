// Getting in: when an entry is sent, what its end means, and what is still wanted of it (ORDERS.md R13, R14, R24.1).

extension SmartOrder {
    /// What the entry has not brought yet.
    var entryRest: Quantity { draft.quantity - entryFilled }

    /// Whether something of the entry or of an add may still come (5.1).
    var hasEntryRest: Bool {
        status == .pending || hasLiveEntrySide || entryDue || !addWishes.isEmpty
    }

    /// Whether the entry itself (not an add) may still come.
    var entryHasRest: Bool { status == .pending || entryDue || hasLive(.entry) }

    /// The entry waits for a price: nothing is at the venue and nothing was decided.
    var entryWaits: Bool { status == .pending && !entryTriggered }

    /// Trigger of a trailing entry once it is active: it comes back by the callback (R14).
    var trailingEntryTrigger: Price? {
        guard let entryExtreme, let rate = draft.entry.callbackRate else { return nil }
        return Pricing.trailingStop(
            side: side.opposite,
            extreme: entryExtreme,
            callback: .rate(rate),
            tickSize: instrument.armedTick,
        )
    }
}

extension Deciding {
    /// A PENDING order at a tick or a timer: whatever it does, it evaluates nothing else (R14).
    mutating func evaluateEntry(_ price: Price?, isTick: Bool) {
        if order.isCancelling {
            continueCancels()
            return
        }
        if expireEntry() { return }
        if let exitAt = order.draft.exitAt, now >= exitAt {
            cancelEverything(.timeExit)
            return
        }
        if let price, order.entryWaits, entryTriggerReached(price) {
            order.entryTriggered = true
            sendEntry()
        }
        sendDueEntries(isTick: isTick)
        continueCancels()
    }

    private mutating func entryTriggerReached(_ price: Price) -> Bool {
        let entry = order.draft.entry
        func reached(_ threshold: Price) -> Bool { order.entryRises ? price >= threshold : price <= threshold }
        switch entry.mode {
        case .attach, .market, .limit: return false
        case .conditional: return entry.trigger.map(reached) ?? false
        case .trailing:
            if let trigger = order.trailingEntryTrigger {
                // The old trigger is tested before the extreme moves.
                if order.side.reaches(price, target: trigger) { return true }
                order.absorbEntry(price, upTo: moment.position)
            } else if entry.activation.map(reached) ?? true {
                order.entryExtreme = price
                order.extremePosition = max(order.extremePosition, moment.position)
            }
            return false
        }
    }

    /// Places what the plan says now for the rest of the entry.
    mutating func sendEntry(atMarket: Bool = false) {
        order.entryDue = false
        let rest = order.entryRest.floored(to: order.instrument.stepSize)
        guard rest.isPositive else {
            // Less than a step is left, because the venue made its steps larger: that is no order.
            if order.entryRest.isPositive { refuseEntry() }
            return
        }
        if let limit = order.entryLimit, !atMarket {
            place(.entry, .goodTillCancelled, rest, limit: limit)
        } else {
            place(.entry, .market, rest, limit: nil)
        }
    }

    mutating func sendAdd(_ wish: AddWish) {
        place(.add, wish.limit == nil ? .market : .goodTillCancelled, wish.quantity, limit: wish.limit)
    }

    /// Entries and adds that could not be sent are sent when they may.
    mutating func sendDueEntries(isTick: Bool) {
        guard order.entryDue || !order.addWishes.isEmpty, isDue(order.entryRetry, isTick: isTick) else { return }
        order.entryRetry.at = nil
        if order.entryDue { sendEntry(atMarket: order.entryGoal == .openNow) }
        let wishes = order.addWishes
        order.addWishes = []
        for wish in wishes { sendAdd(wish) }
    }

    /// An entry whose time is over. True when that ended the order.
    mutating func expireEntry() -> Bool {
        guard let due = order.entryExpiry, now >= due else { return false }
        endEntry(.entryExpired)
        return order.isTerminal
    }

    /// Ends the entry; what it brought keeps its exits (R13.3). Adds are left alone.
    mutating func endEntry(_ reason: CloseReason) {
        order.entryTriggered = true
        order.entryDue = false
        order.entryGoal = .end(reason)
        cancelResting { $0.leg == .entry }
        endIfNothingCame(.entryCancelled)
    }

    /// Drops what is still wanted of the entry and of adds: an exit fired, or the trader wants no more (R13.2).
    mutating func dropEntryRest(_ goal: EntryGoal) {
        order.entryTriggered = true
        order.entryDue = false
        order.addWishes = []
        order.entryGoal = goal
        cancelResting { !$0.leg.isExit }
    }

    /// An entry-side order is over.
    mutating func entrySideEnded(_ ended: VenueOrder, _ outcome: Outcome) {
        switch outcome {
        case .filled, .expired, .cancelled: succeeded()
        case .absent, .notSent, .refused: break
        }
        guard order.goal == .none, order.latch == nil else { return }
        if ended.leg == .add { addEnded(ended, outcome) } else { entryEnded(ended, outcome) }
    }

    private mutating func addEnded(_ ended: VenueOrder, _ outcome: Outcome) {
        switch outcome {
        case .notSent, .absent, .refused(.rateLimited):
            guard !ended.cancelWanted else { break }
            order.addWishes.append(AddWish(quantity: ended.unfilled, limit: ended.limit))
            order.entryRetry = outcome == .absent ? .none : failed(order.entryRetry, onNextTick: outcome == .notSent)
        case .filled, .expired, .cancelled, .refused: break
        }
        endIfNothingCame(.entryCancelled)
    }

    private mutating func entryEnded(_ ended: VenueOrder, _ outcome: Outcome) {
        switch order.entryGoal {
        case .openNow:
            order.entryGoal = .none
            if isWorthRepeating(ended, outcome) { sendEntry(atMarket: true) } else { refuseEntry() }
            return
        case .replace:
            order.entryGoal = .none
            if isWorthRepeating(ended, outcome) { restartEntry() } else { refuseEntry() }
            return
        case .end(let reason):
            endIfNothingCame(reason)
            return
        case .none: break
        }
        switch outcome {
        case .filled: break
        case .expired: endIfNothingCame(.entryExpired)
        case .cancelled: endIfNothingCame(.entryCancelled)
        case .absent:
            order.entryRetry = .none
            order.entryDue = true
            repeatEntry(ended)
        case .notSent:
            order.entryRetry = failed(order.entryRetry, onNextTick: true)
            dueAgain(ended)
        case .refused(.rateLimited):
            order.entryRetry = failed(order.entryRetry)
            dueAgain(ended)
        case .refused(.priceOutOfBand) where ended.type == .market:
            order.entryRetry = failed(order.entryRetry)
            dueAgain(ended)
        case .refused: refuseEntry()
        }
    }

    private func isWorthRepeating(_ ended: VenueOrder, _ outcome: Outcome) -> Bool {
        switch outcome {
        case .filled, .expired, .cancelled, .absent, .notSent: true
        case .refused: ended.cancelWanted
        }
    }

    /// A market entry that was not sent goes again as one, also when the plan is a limit (`openNow`).
    private mutating func dueAgain(_ ended: VenueOrder) {
        order.entryDue = true
        if ended.type == .market, order.entryLimit != nil { order.entryGoal = .openNow }
    }

    private mutating func repeatEntry(_ ended: VenueOrder) {
        sendEntry(atMarket: ended.type == .market)
    }

    /// T6: a definite refusal ends an order that never had anything.
    private mutating func refuseEntry() {
        order.entryGoal = .end(.entryRejected)
        endIfNothingCame(.entryRejected)
    }

    /// T6, T7, T8: the entry is over; with nothing held and nothing coming the order is too.
    mutating func endIfNothingCame(_ reason: CloseReason) {
        guard order.status == .pending, order.entryTriggered, !order.hasLiveEntrySide, !order.entryDue,
            order.addWishes.isEmpty
        else { return }
        var why = reason
        if case .end(let wanted) = order.entryGoal { why = wanted }
        end(why == .entryRejected ? .failed : .cancelled, why)
    }
}

extension SmartOrder {
    /// Limit of the order that the entry places; nil: at market.
    var entryLimit: Price? {
        switch draft.entry.mode {
        case .attach, .limit: draft.entry.price
        case .conditional: draft.entry.limitPrice
        case .market, .trailing: nil
        }
    }

    /// When the entry expires; nil when nothing of it can.
    var entryExpiry: Timestamp? {
        guard let expiry = draft.entry.expiresAt, goal == .none, latch == nil,
            status == .pending || hasLive(.entry) || entryDue
        else { return nil }
        if case .end = entryGoal { return nil }
        return expiry
    }
}
