// What a trader asks of an existing order, and when it is allowed (ORDERS.md 5.1, 5.3).

extension Deciding {
    /// False: nothing to do, the present state is the answer.
    mutating func obey(_ command: Command) throws(Refusal) -> Bool {
        if order.isTerminal {
            throw Refusal(
                .orderTerminal,
                "The order has ended (\(order.status.rawValue)). Create a new one to trade on.",
                [
                    "status": .text(order.status.rawValue),
                    "closeReason": order.closeReason.map { .text($0.rawValue) } ?? .none,
                ],
            )
        }
        switch command {
        case .cancel: return cancel()
        case .cancelLeavingEntry: return cancelLeavingEntry()
        case .cancelEntry: return try cancelEntry()
        case .closeMarket: return try closeMarket()
        case .closeLevel(let number): return try closeLevel(number)
        case .openNow: return try openNow()
        case .addFunds(let quantity, let limit): return try addFunds(quantity, limit: limit)
        case .reduceFunds(let quantity): return try reduceFunds(quantity)
        case .edit(let change): return try edit(change)
        }
    }

    /// Refuses what is too late once a stop is latched or the order is closing or cancelling.
    func refuseIfLeaving() throws(Refusal) {
        guard !order.isUndisturbed else { return }
        let phase = order.derivedPhase?.rawValue ?? order.status.rawValue
        throw Refusal(
            .stopAlreadyTriggered,
            "Too late: the order is \(phase).",
            ["phase": .text(phase), "latched": .flag(order.latch != nil)],
        )
    }

    private mutating func cancel() -> Bool {
        guard !order.isCancelling else { return false }
        cancelEverything(.userCancel)
        return true
    }

    private mutating func cancelLeavingEntry() -> Bool {
        guard !order.isCancelling else { return false }
        if order.isAdopted, let index = order.venueOrders.firstIndex(where: { $0.leg == .entry && $0.attempt == 1 }) {
            // It goes on at the venue; for this order it is over.
            let left = order.venueOrders.remove(at: index)
            facts.append(.venueOrder(left.key, .cancelled))
        }
        return cancel()
    }

    private mutating func cancelEntry() throws(Refusal) -> Bool {
        guard order.isUndisturbed else { return false }
        guard order.hasEntryRest else { throw entryAlreadyFilled() }
        if case .end = order.entryGoal, order.status == .pending { return false }
        dropEntryRest(.end(.userCancel))
        endIfNothingCame(.userCancel)
        return true
    }

    private func entryAlreadyFilled() -> Refusal {
        Refusal(.entryAlreadyFilled, "Nothing of the entry is left to wait for.")
    }

    private mutating func closeMarket() throws(Refusal) -> Bool {
        switch order.goal {
        case .closing: return false
        case .cancelling: try refuseIfLeaving()
        case .none: break
        }
        guard order.status.isOpen else {
            throw notReducible("Nothing is held yet. Cancel the order instead.")
        }
        guard order.latch != nil else {
            close(.manualClose)
            return true
        }
        order.stopAtMarket = true
        cancelResting { $0.leg == .stop }
        order.exitRetry.at = nil
        pushExit()
        return true
    }

    private mutating func closeLevel(_ number: Int) throws(Refusal) -> Bool {
        try refuseIfLeaving()
        guard let index = order.levels.firstIndex(where: { $0.number == number }) else {
            throw Refusal(.notFound, field: "level", "The order has no level \(number).")
        }
        guard order.status.isOpen else {
            throw notReducible("Nothing is held yet.")
        }
        let leg = Leg.takeProfit(number)
        switch order.levels[index].state {
        case .filled, .cancelled: throw levelNotPending(order.levels[index])
        case .triggered:
            let rests = order.venueOrders.contains {
                $0.leg == leg && $0.type == .goodTillCancelled && !$0.cancelWanted
            }
            guard rests else { throw levelNotPending(order.levels[index]) }
            order.levels[index].closeRequested = true
            cancelResting { $0.leg == leg }
        case .pending:
            guard let price = moment.price else { throw notReducible("No current price is known.") }
            order.levels[index].closeRequested = true
            if order.hasNative {
                // What rests claims everything: it makes way first.
                cancelResting { $0.isNative }
                return true
            }
            guard fire(index, anchor: price, atMarket: true) else {
                throw notReducible("Nothing of this level is free to be closed now.")
            }
        }
        return true
    }

    func levelNotPending(_ level: Level) -> Refusal {
        Refusal(
            .levelNotPending,
            field: "level",
            "Level \(level.number) is \(level.state.rawValue).",
            ["level": .count(level.number), "status": .text(level.state.rawValue)],
        )
    }

    private func notReducible(_ detail: String) -> Refusal {
        Refusal(.notReducible, detail, ["freeQty": .quantity(order.status.isOpen ? order.free : .zero)])
    }

    private mutating func openNow() throws(Refusal) -> Bool {
        try refuseIfLeaving()
        guard order.entryHasRest else { throw entryAlreadyFilled() }
        order.entryTriggered = true
        if order.hasLive(.entry) {
            guard order.venueOrders.contains(where: { $0.leg == .entry && $0.type == .goodTillCancelled }) else {
                return false
            }
            order.entryGoal = .openNow
            cancelResting { $0.leg == .entry }
        } else {
            order.entryGoal = .none
            order.entryRetry = .none
            sendEntry(atMarket: true)
        }
        return true
    }

    private mutating func addFunds(_ quantity: Quantity, limit: Price?) throws(Refusal) -> Bool {
        try refuseIfLeaving()
        try checkQuantity(quantity)
        if let limit, !order.instrument.isOnTick(limit) {
            throw order.instrument.offTick(limit, field: "limitPrice")
        }
        sendAdd(AddWish(quantity: quantity, limit: limit))
        return true
    }

    private mutating func reduceFunds(_ quantity: Quantity) throws(Refusal) -> Bool {
        guard order.status.isOpen, order.isUndisturbed, order.free.isPositive || order.hasNative else {
            throw notReducible("Nothing is held, or nothing of it is free.")
        }
        try checkQuantity(quantity)
        let wished = quantity + (order.reduceWish ?? .zero)
        guard wished < order.remaining else {
            throw Refusal(
                .reduceTooLarge,
                field: "qty",
                "\(order.remaining) is left; close the order to leave entirely.",
                ["remainingQty": .quantity(order.remaining)],
            )
        }
        guard let price = moment.price else { throw notReducible("No current price is known.") }
        if order.hasNative {
            order.reduceWish = wished
            cancelResting { $0.isNative }
            return true
        }
        guard reduce(quantity, at: price) else {
            throw notReducible("What is free is too little for the venue.")
        }
        return true
    }

    /// False: nothing can be asked.
    private mutating func reduce(_ quantity: Quantity, at price: Price) -> Bool {
        let lostBefore = order.writtenOff
        let allowed = clamp(quantity).floored(to: order.instrument.stepSize)
        guard order.isUndisturbed else { return true }
        if order.writtenOff != lostBefore { replan() }
        guard order.instrument.takes(allowed, at: price) else { return false }
        placeImmediate(.reduce, allowed, anchor: price)
        return true
    }

    /// `closeLevel` and `reduceFunds` go on when what rested at the venue has made way; what can no longer be done is
    /// given up, and the legs rest again (Native.swift).
    mutating func goOnAfterNative() {
        guard order.makesWay, order.isUndisturbed, order.status.isOpen, !order.hasNative else { return }
        for index in order.levels.indices where order.levels[index].state == .pending {
            guard order.levels[index].closeRequested else { continue }
            let hasFired = moment.price.map { fire(index, anchor: $0, atMarket: true) } ?? false
            guard order.isUndisturbed else { return }
            if !hasFired { order.levels[index].closeRequested = false }
        }
        guard let wish = order.reduceWish else { return }
        order.reduceWish = nil
        if let price = moment.price { _ = reduce(min(wish, order.remaining), at: price) }
    }

    private func checkQuantity(_ quantity: Quantity) throws(Refusal) {
        guard order.instrument.isOnStep(quantity) else {
            throw order.instrument.offStep(quantity)
        }
    }
}
