// Scale-out stops: each takes its part of what is left, then the levels are planned again (ORDERS.md F9).

extension SmartOrder {
    /// Price at which a partial stop is breached; nil while its distance has no extreme yet.
    func threshold(of partial: PartialStop) -> Price? {
        switch partial.plan.distance {
        case .price(let price): price
        case .callback(let callback):
            extreme.map {
                Pricing.trailingStop(side: side, extreme: $0, callback: callback, tickSize: instrument.armedTick)
            }
        }
    }

    var hasLatchedPartialStop: Bool { partialStops.contains { $0.state == .latched } }
}

extension Deciding {
    /// Fires every pending partial stop that the price breached, nearest first.
    mutating func testPartialStops(_ price: Price) {
        while let index = nearestBreached(price) {
            firePartialStop(index)
            guard order.isUndisturbed else { return }
        }
    }

    private func nearestBreached(_ price: Price) -> Int? {
        var nearest: (index: Int, threshold: Price)?
        for (index, partial) in order.partialStops.enumerated() where partial.state == .pending {
            guard let threshold = order.threshold(of: partial), side.breaches(price, stop: threshold) else { continue }
            if let found = nearest, !side.favours(threshold, over: found.threshold) { continue }
            nearest = (index, threshold)
        }
        return nearest?.index
    }

    private mutating func firePartialStop(_ index: Int) {
        let partial = order.partialStops[index]
        guard let threshold = order.threshold(of: partial) else { return }
        let quantity = partialStopShare(index).floored(to: order.instrument.stepSize)
        guard order.instrument.takes(quantity, at: threshold) else {
            // Too small: its share goes to the next.
            order.partialStops[index].state = .cancelled
            facts.append(.partialStopCancelled(partial.number))
            return
        }
        if !order.hasLatchedPartialStop { beginExit() }
        order.partialStops[index].state = .latched
        order.partialStops[index].planned = quantity
        order.partialStops[index].firedAt = threshold
        facts.append(.partialStopFired(partial.number))
        dropEntryRest(.end(.entryCancelled))
        cancelResting { order in
            if case .takeProfit = order.leg { true } else { false }
        }
        pushPartialStop(index)
    }

    /// remaining x pct / (percentages of the partial stops still pending + the full stop's share).
    private func partialStopShare(_ index: Int) -> Quantity {
        var left = order.remaining
        var all = ExactDecimal.zero
        var pending = ExactDecimal.zero
        for partial in order.partialStops {
            all += partial.plan.sizePercent
            switch partial.state {
            case .pending: pending += partial.plan.sizePercent
            case .latched: left -= partial.planned - partial.filled
            case .done, .cancelled: break
            }
        }
        let total = pending + ExactDecimal(100) - all
        guard left.isPositive, total.isPositive else { return .zero }
        return Quantity(
            .quotient(
                left.value,
                times: order.partialStops[index].plan.sizePercent,
                over: total,
                step: order.instrument.stepSize.value,
                .floor,
            )
        )
    }

    /// Sends what is still wanted of latched partial stops.
    mutating func pushPartialStops() {
        guard order.isUndisturbed, order.status.isOpen, order.exitRetry.at == nil else { return }
        for index in order.partialStops.indices where order.partialStops[index].state == .latched {
            pushPartialStop(index)
        }
    }

    private mutating func pushPartialStop(_ index: Int) {
        let partial = order.partialStops[index]
        let leg = Leg.partialStop(partial.number)
        guard order.exitRetry.at == nil else { return }
        let inFlight = order.venueOrders.reduce(into: Quantity.zero) { if $1.leg == leg { $0 += $1.claim } }
        let rest = partial.planned - partial.filled - inFlight
        guard rest.isPositive, let anchor = order.attempts[leg] == nil ? partial.firedAt : moment.price else { return }
        let lostBefore = order.writtenOff
        let wanted = clamp(rest)
        guard order.isUndisturbed else { return }
        if order.writtenOff != lostBefore { replan() }
        let quantity = wanted.floored(to: order.instrument.stepSize)
        if order.instrument.takes(quantity, at: anchor) {
            placeImmediate(leg, quantity, anchor: anchor)
            order.exitAttempts += 1
        } else if inFlight.isZero, wanted == rest || order.claimed.isZero {
            // What is left of it cannot be ordered: it stays with the levels and the full stop.
            order.partialStops[index].planned = partial.filled
            finishPartialStop(index)
        }
    }

    mutating func continuePartialStops(isTick: Bool) {
        // With nothing free the pause is kept, as that of a full exit is: a tick then changes nothing.
        guard order.hasLatchedPartialStop, order.free.isPositive, isDue(order.exitRetry, isTick: isTick) else { return }
        order.exitRetry.at = nil
        pushPartialStops()
    }

    /// A fill of a partial stop.
    mutating func partialStopFilled(_ number: Int, _ quantity: Quantity) {
        guard let index = order.partialStops.firstIndex(where: { $0.number == number }) else { return }
        order.partialStops[index].filled += quantity
        if order.partialStops[index].state == .latched,
            order.partialStops[index].filled >= order.partialStops[index].planned
        {
            finishPartialStop(index)
        } else if order.isUndisturbed {
            replan()
        }
    }

    private mutating func finishPartialStop(_ index: Int) {
        order.partialStops[index].state = .done
        facts.append(.partialStopDone(order.partialStops[index].number))
        if !order.hasLatchedPartialStop {
            order.exitRetry = .none
            order.exitAttempts = 0
            order.exitingSince = nil
            order.attention.subtract([.stopNotFlat, .attemptLimit])
        }
        if order.isUndisturbed { replan() }
    }

    /// The order is on its way out: a partial stop that has not done its part will not.
    mutating func endPartialStop(_ index: Int) {
        let partial = order.partialStops[index]
        switch partial.state {
        case .done, .cancelled: return
        case .pending, .latched:
            let isDone = partial.state == .latched && partial.filled >= partial.planned
            order.partialStops[index].state = isDone ? .done : .cancelled
            facts.append(isDone ? .partialStopDone(partial.number) : .partialStopCancelled(partial.number))
        }
    }
}
