// One decision in the making: the order as it becomes, with the work and the facts that come of it.
//
// Every rule is a mutating method of `Deciding` in the file of its subject; `finish` brings what is derived (phase, stop
// state, health) in line and says whether anything changed. Effects keep one order: cancels before places (R9, R25).

struct Deciding {
    var order: SmartOrder
    let before: SmartOrder
    /// Its price is the one that counts.
    var moment: Moment
    var cancels: [Effect] = []
    var places: [Effect] = []
    var facts: [Fact] = []
    /// The leg of an exit fill that this event brought.
    var exitedBy: Leg?

    init(_ order: SmartOrder, at moment: Moment) {
        self.order = order
        before = order
        self.moment = moment
    }

    var side: Side { order.side }
    var now: Timestamp { moment.now }
    var tickSize: Price { order.instrument.tickSize }

    /// The decision, or nil when nothing but running extremes changed.
    mutating func finish(isCommand: Bool = false) -> Decision? {
        goOnAfterNative()
        settle()
        keepNative()
        keepBackstop()
        derive(isCommand: isCommand)
        if cancels.isEmpty, places.isEmpty, facts.isEmpty {
            var unchanged = order
            unchanged.takeExtremes(of: before)
            if unchanged == before { return nil }
        }
        order.version = before.version + 1
        order.updatedAt = now
        return Decision(next: order, effects: cancels + places, facts: facts)
    }

    // MARK: Venue orders

    /// Stores the wish to place an order and asks for it to be sent.
    mutating func place(
        _ leg: Leg,
        _ type: VenueOrderType,
        _ quantity: Quantity,
        limit: Price?,
        trigger: Price? = nil,
        callback: Callback? = nil,
        isNative: Bool = false,
    ) {
        let attempt = (order.attempts[leg] ?? 0) + 1
        order.attempts[leg] = attempt
        let isExit = leg.isExit
        let placedSide = isExit ? order.exitSide : side
        let placed = VenueOrder(
            leg: leg,
            attempt: attempt,
            side: placedSide,
            type: type,
            quantity: quantity,
            limit: order.instrument.fitted(limit, placedSide),
            trigger: leg == .backstop ? trigger : order.instrument.fitted(trigger, placedSide),
            callback: callback,
            isNative: isNative,
            reduceOnly: isExit && order.instrument.kind.isDerivative,
            createdAt: now,
        )
        order.venueOrders.append(placed)
        places.append(.place(placed.key))
        facts.append(.venueOrder(placed.key, .intent))
    }

    /// What the venue takes now: as it said itself, else by the rule that it publishes (R4.3).
    var band: PriceBand? { moment.band ?? order.instrument.band(around: moment.price) }

    /// Exit at the market: an IOC 10% through `anchor`, inside the venue's band (R4).
    mutating func placeImmediate(_ leg: Leg, _ quantity: Quantity, anchor: Price) {
        let limit = Pricing.immediateLimit(
            side: order.exitSide,
            anchor: anchor,
            tickSize: tickSize,
            band: band,
        )
        place(leg, .immediateOrCancel, quantity, limit: limit)
    }

    /// Asks the venue to cancel every live resting order that fits. Its claim stays until the proof (2.8). What waits to
    /// be sent (a halt, a pause) rests too, whatever its type: else a take-profit would leave after the latch.
    mutating func cancelResting(where fits: (VenueOrder) -> Bool) {
        for index in order.venueOrders.indices {
            let resting = order.venueOrders[index]
            guard resting.type.rests || resting.state == .intent, !resting.cancelWanted, fits(resting) else { continue }
            order.venueOrders[index].cancelWanted = true
            switch resting.state {
            case .open, .partial:
                order.venueOrders[index].state = .cancelRequested
                facts.append(.venueOrder(resting.key, .cancelRequested))
            case .intent, .submitted, .unknown, .cancelRequested, .filled, .cancelled, .expired, .rejected, .notSent,
                .absent:
                break
            }
            cancels.append(.cancel(resting.key))
        }
    }

    /// Asks again for every cancel that is still wanted.
    mutating func repeatCancels() {
        order.cancelRetry.at = nil
        for wanted in order.venueOrders where wanted.cancelWanted { cancels.append(.cancel(wanted.key)) }
    }

    // MARK: State

    mutating func setStatus(_ status: OrderStatus, reason: CloseReason? = nil) {
        guard order.status != status else { return }
        facts.append(.statusChanged(from: order.status, to: status, reason: reason))
        order.status = status
        order.closeReason = reason
    }

    func failed(_ retry: Retry, onNextTick: Bool = false) -> Retry {
        let count = retry.count + 1
        let noise = order.id.value.low ^ UInt64(order.attempts.values.reduce(0, +))
        return Retry(
            count: count,
            at: now.advanced(milliseconds: Retry.pause(count, noise: noise)),
            onNextTick: onNextTick,
        )
    }

    /// Whether a paused duty may go on: it is time, or any tick will do and this is one.
    func isDue(_ retry: Retry, isTick: Bool) -> Bool {
        guard let at = retry.at else { return true }
        return now >= at || isTick && retry.onNextTick
    }
}

extension Leg {
    /// Whether orders of this leg take from what is held.
    var isExit: Bool {
        switch self {
        case .entry, .add, .conditional, .timer, .reconcile: false
        case .takeProfit, .stop, .partialStop, .close, .reduce, .backstop: true
        }
    }
}

extension SmartOrder {
    /// Takes over what quiet ticks may change without a version.
    mutating func takeExtremes(of other: SmartOrder) {
        extreme = other.extreme
        trailingExtreme = other.trailingExtreme
        extremePosition = other.extremePosition
        if other.entryExtreme != nil { entryExtreme = other.entryExtreme }
        guard levels.count == other.levels.count else { return }
        for index in levels.indices where other.levels[index].trailingExtreme != nil {
            levels[index].trailingExtreme = other.levels[index].trailingExtreme
        }
    }

    var isTerminal: Bool { status.isTerminal }

    /// Whether a full exit is under way: a latched stop, a close, a time exit.
    var isExiting: Bool {
        switch goal {
        case .closing: true
        case .none: latch != nil
        case .cancelling: false
        }
    }

    var isCancelling: Bool {
        switch goal {
        case .cancelling: true
        case .none, .closing: false
        }
    }

    /// Nothing but its legs decides about it.
    var isUndisturbed: Bool { goal == .none && latch == nil }

    /// Not for want of a derivative's backstop, which takes nothing from anybody (F11.4).
    var hasUnresolved: Bool { venueOrders.contains { $0.state == .unknown && !isUnclaimed($0) } }

    func hasLive(_ leg: Leg) -> Bool { venueOrders.contains { $0.leg == leg } }
    var hasLiveEntrySide: Bool { venueOrders.contains { !$0.leg.isExit } }
}
