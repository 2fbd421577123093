// How a decision ends: what is over, and the words that follow from the rest (ORDERS.md 4.4, 4.5, 4.7).

extension Deciding {
    /// Ends the order when nothing is left to exit, or nothing is left to cancel. It waits for every venue order (I3).
    mutating func settle() {
        guard !order.isTerminal else { return }
        if order.status.isOpen { dropCrumbs() }
        if order.status.isOpen, !order.remaining.isPositive {
            dropEntryRest(.end(.entryCancelled))
            cancelResting { _ in true }
            if order.venueOrders.isEmpty { endFlat() }
            return
        }
        guard case .cancelling(let reason) = order.goal, order.venueOrders.isEmpty else { return }
        switch reason {
        case .positionFlipped, .positionClosedExternally: writeOff(order.remaining)
        case .allTakeProfitsFilled, .stopLoss, .breakEven, .followStop, .stepLock, .trailingStop, .backstop,
            .manualClose, .timeExit, .userCancel, .entryRejected, .entryCancelled, .entryExpired:
            break
        }
        end(.cancelled, reason)
    }

    /// A remainder below one step can never leave; it is dust as soon as nothing else is under way.
    private mutating func dropCrumbs() {
        guard order.remaining.isPositive, order.remaining < order.instrument.stepSize,
            order.venueOrders.allSatisfy({ order.isUnclaimed($0) })
        else {
            return
        }
        writeOff(order.remaining)
    }

    /// Nothing is left: who took it says how the order ended (T14, T16, T18, T20).
    private mutating func endFlat() {
        if let latch = order.latch, order.exitAttempts > 0 {
            end(.stopped, latch.kind.closeReason)
        } else if case .closing(let reason) = order.goal, order.attempts[.close] != nil {
            end(.closed, reason)
        } else if exitedBy == .backstop {
            end(.stopped, .backstop)
        } else if exitedBy == .stop {
            end(.stopped, order.nativeStopKind.closeReason)
        } else if case .partialStop = exitedBy {
            end(.stopped, .stopLoss)
        } else if exitedBy == .reduce {
            end(.closed, .manualClose)
        } else {
            end(.closed, .allTakeProfitsFilled)
        }
    }

    mutating func end(_ status: OrderStatus, _ reason: CloseReason) {
        for index in order.levels.indices { cancelLevel(index) }
        for index in order.partialStops.indices { endPartialStop(index) }
        setStatus(status, reason: reason)
        order.goal = .none
        order.entryGoal = .none
        order.entryDue = false
        order.addWishes = []
        order.reduceWish = nil
        order.delayedSince = nil
        order.exitRetry = .none
        order.targetRetry = .none
        order.entryRetry = .none
        order.cancelRetry = .none
        order.exitingSince = nil
        order.lastAttemptRefused = false
        order.venueUnreachable = false
        order.attention = []
        order.backstopDue = nil
        order.nativeRetry = .none
    }

    /// T8, T22, T23: everything of the order goes, what is held stays. It ends when the venue's proofs are in.
    mutating func cancelEverything(_ reason: CloseReason) {
        guard !order.isCancelling else { return }
        order.goal = .cancelling(reason)
        endDelay(isReset: false)
        dropEntryRest(.end(reason))
        cancelResting { _ in true }
        for index in order.levels.indices where order.levels[index].state == .pending { cancelLevel(index) }
        for index in order.partialStops.indices { endPartialStop(index) }
    }

    /// T20: everything is cancelled, what is free leaves at market.
    mutating func close(_ reason: CloseReason) {
        order.goal = .closing(reason)
        endDelay(isReset: false)
        clearTheWay()
        beginExit()
        pushExit()
    }

    mutating func continueCancels() {
        if let at = order.cancelRetry.at, now >= at { repeatCancels() }
    }

    // MARK: Words that follow

    mutating func derive(isCommand: Bool) {
        if order.delayedSince != nil, order.delayedStop == nil { endDelay(isReset: true) }
        deriveAttention()
        let phase = order.derivedPhase
        if phase != before.phase, before.version > 0 { facts.append(.phaseChanged(from: before.phase, to: phase)) }
        order.phase = phase
        order.stopState = order.derivedStopState
        let health = order.derivedHealth
        if health != before.health { facts.append(.healthChanged(from: before.health, to: health)) }
        order.health = health
        noteStop(isCommand: isCommand)
    }

    /// Moves of the stop that are not the water mark's (INTERFACES.md 1.10).
    private mutating func noteStop(isCommand: Bool) {
        if order.status.isOpen, order.initialStop == nil { order.initialStop = order.effectiveStop?.price }
        guard order.status.isOpen, before.status.isOpen, order.latch == nil else { return }
        let from = before.effectiveStop
        let to = order.effectiveStop
        guard from != to else { return }
        if !isCommand, to?.kind == .trailing { return }
        facts.append(.stopMoved(from: from?.price, to: to?.price, kind: to?.kind))
        order.stopChangedAt = now
    }

    /// The venue took or executed something.
    mutating func succeeded() {
        order.lastAttemptRefused = false
        order.venueUnreachable = false
        order.attention.subtract([.keyInvalid, .venueTLS, .venueClock, .marketHalted])
        if order.exitAttempts < 5 { order.attention.remove(.stopNotFlat) }
    }
}

extension SmartOrder {
    var derivedPhase: OrderPhase? {
        if isTerminal { return nil }
        switch goal {
        case .cancelling: return .cancelling
        case .closing: return .closing
        case .none: break
        }
        if latch != nil { return .stopping }
        if status == .pending { return entryTriggered || hasLiveEntrySide ? .entryWorking : .waitingEntry }
        return .monitoring
    }

    var derivedStopState: StopState {
        switch status {
        case .pending: return .none
        case .active, .partiallyClosed: break
        case .closed, .stopped:
            if latch != nil { return .done }
            return stopState == .none ? .none : .cancelled
        case .cancelled, .failed: return stopState == .none ? .none : .cancelled
        }
        if latch != nil { return exitAttempts == 0 ? .latched : .exiting }
        if delayedSince != nil { return .delayed }
        return effectiveStop == nil ? .none : .armed
    }

    /// The worst that is true shows (4.4).
    var derivedHealth: OrderHealth {
        if isTerminal { return needsAttention ? .needsAttention : .ok }
        if needsAttention || !lostLegs.isEmpty { return .needsAttention }
        if hasUnresolved { return .unknown }
        if venueUnreachable { return .venueDown }
        return lastAttemptRefused ? .retrying : .ok
    }
}
