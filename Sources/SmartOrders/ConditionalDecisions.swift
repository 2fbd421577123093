// What an event means for a conditional order: PENDING -> TRIGGERED -> FILLED | CANCELLED (ORDERS.md R19).
//
// An order of its own either fills or ends; a reduce-only stop-loss is protection and is retried like a stop (R15).

extension ConditionalOrder {
    /// Decides what `event` means; nil: nothing changes.
    ///
    /// - Throws: only for commands that do not apply now.
    public func decide(_ event: OrderEvent, at moment: Moment) throws(Refusal) -> ConditionalDecision? {
        var deciding = ConditionalDeciding(self, at: moment)
        switch event {
        case .tick: deciding.evaluate(isTick: true)
        case .timer: deciding.evaluate(isTick: false)
        case .trigger(let leg, let attempt):
            guard awaits(leg, attempt: attempt) else { return nil }
            deciding.evaluate(isTick: true)
        case .venue(let key, let news): deciding.learn(key, news)
        case .cancelFailed(let key): deciding.cancelFailed(key)
        case .recovered(let key): deciding.order.attempts = max(attempts, key.attempt)
        case .market(let terms): deciding.marketChanged(terms)
        // It has one word for all causes, and keeps it until it ends.
        case .attention(let cause, let isRaised):
            guard isRaised, !status.isTerminal, cause == .venueNoDeadline || cause == .exitUnresolved else {
                return nil
            }
            deciding.order.needsAttention = true
        case .position(let net, _): deciding.positionChanged(net)
        case .command(.cancel), .command(.cancelLeavingEntry):
            try refuseIfTerminal()
            deciding.cancel(.userCancel)
        case .command(.cancelEntry), .command(.closeMarket), .command(.closeLevel), .command(.openNow),
            .command(.addFunds), .command(.reduceFunds), .command(.edit):
            try refuseIfTerminal()
            throw Refusal(.notFound, "A conditional order has no such action.")
        }
        return deciding.finish()
    }
}

struct ConditionalDeciding {
    var order: ConditionalOrder
    let before: ConditionalOrder
    let moment: Moment
    var effects: [Effect] = []
    var facts: [Fact] = []

    init(_ order: ConditionalOrder, at moment: Moment) {
        self.order = order
        before = order
        self.moment = moment
    }

    private var now: Timestamp { moment.now }
    private var instrument: Instrument { order.instrument }

    mutating func finish() -> ConditionalDecision? {
        if !order.status.isTerminal, order.venueOrders.isEmpty {
            if !order.remaining.isPositive {
                end(.filled, nil)
            } else if let reason = order.endReason {
                end(.cancelled, reason)
            }
        }
        if order.isProtection, let since = order.exitingSince, order.status == .triggered {
            if order.attempts >= 5 || now >= since.advanced(milliseconds: 30_000) { order.needsAttention = true }
        }
        let health = derivedHealth
        if health != before.health { facts.append(.healthChanged(from: before.health, to: health)) }
        order.health = health
        if effects.isEmpty, facts.isEmpty, order == before { return nil }
        order.version += 1
        order.updatedAt = now
        return ConditionalDecision(next: order, effects: effects, facts: facts)
    }

    private var derivedHealth: OrderHealth {
        if order.status.isTerminal { return .ok }
        if order.needsAttention { return .needsAttention }
        if order.venueOrders.contains(where: { $0.state == .unknown }) { return .unknown }
        if order.venueUnreachable { return .venueDown }
        return order.lastAttemptRefused ? .retrying : .ok
    }

    private mutating func setStatus(_ status: ConditionalStatus, _ reason: ConditionalReason? = nil) {
        facts.append(.conditionalChanged(from: order.status, to: status, reason: reason))
        order.status = status
        order.reason = reason
    }

    private mutating func end(_ status: ConditionalStatus, _ reason: ConditionalReason?) {
        setStatus(status, reason)
        order.endReason = nil
        order.retry = .none
        order.cancelRetry = .none
    }

    // MARK: Evaluation

    mutating func evaluate(isTick: Bool) {
        switch order.status {
        case .filled, .cancelled: return
        case .pending:
            if let expiry = order.draft.expiresAt, now >= expiry {
                cancel(.expired)
            } else if let price = moment.price, order.isSatisfied(by: price) {
                setStatus(.triggered)
                order.triggeredAt = now
                order.exitingSince = now
                order.triggeredPosition = moment.position
                place()
            }
        case .triggered:
            if let at = order.cancelRetry.at, now >= at { repeatCancels() }
            let isDue = order.retry.at.map { now >= $0 || isTick && order.retry.onNextTick } ?? true
            guard order.isDue, isDue else { return }
            order.retry.at = nil
            place()
        }
    }

    /// Places what is left: the limit once, at market otherwise; the first at the trigger, later ones at the price.
    private mutating func place() {
        guard order.isDue else { return }
        var quantity = order.remaining
        if order.draft.reduceOnly, let held = moment.held {
            // The side that it closes is the other one.
            let there = Quantity(order.draft.side.opposite.quantity(ofPosition: held)) - moment.claimedElsewhere
            if !order.draft.side.opposite.quantity(ofPosition: held).isPositive {
                order.endReason = .positionClosedExternally
                return
            }
            quantity = min(quantity, there).floored(to: instrument.stepSize)
            guard quantity.isPositive else { return }
        }
        let isFirst = order.attempts == 0
        guard let anchor = isFirst ? order.draft.trigger : moment.price else { return }
        order.attempts += 1
        let rests = isFirst && order.draft.limit != nil || order.draft.limit != nil && !order.isProtection
        let limit =
            rests
            ? instrument.fitted(order.draft.limit, order.draft.side)
            : Pricing.immediateLimit(
                side: order.draft.side,
                anchor: anchor,
                tickSize: instrument.tickSize,
                band: moment.band ?? instrument.band(around: moment.price),
            )
        let placed = VenueOrder(
            leg: .conditional,
            attempt: order.attempts,
            side: order.draft.side,
            type: rests ? .goodTillCancelled : .immediateOrCancel,
            quantity: quantity,
            limit: limit,
            reduceOnly: order.draft.reduceOnly && instrument.kind.isDerivative,
            createdAt: now,
        )
        order.venueOrders.append(placed)
        effects.append(.place(placed.key))
        facts.append(.venueOrder(placed.key, .intent))
    }

    // MARK: Ends

    mutating func cancel(_ reason: ConditionalReason) {
        guard !order.status.isTerminal, order.endReason == nil else { return }
        order.endReason = reason
        for index in order.venueOrders.indices where order.venueOrders[index].type == .goodTillCancelled {
            guard !order.venueOrders[index].cancelWanted else { continue }
            order.venueOrders[index].cancelWanted = true
            if order.venueOrders[index].state == .open || order.venueOrders[index].state == .partial {
                order.venueOrders[index].state = .cancelRequested
                facts.append(.venueOrder(order.venueOrders[index].key, .cancelRequested))
            }
            effects.append(.cancel(order.venueOrders[index].key))
        }
    }

    private mutating func repeatCancels() {
        order.cancelRetry.at = nil
        for wanted in order.venueOrders where wanted.cancelWanted { effects.append(.cancel(wanted.key)) }
    }

    mutating func cancelFailed(_ key: VenueOrderKey) {
        guard order.venueOrders.contains(where: { $0.key == key && $0.cancelWanted }) else { return }
        order.cancelRetry = paused(order.cancelRetry)
    }

    /// A reduce-only order dies with the position that it would reduce (R16.1).
    mutating func positionChanged(_ net: ExactDecimal) {
        guard order.draft.reduceOnly, instrument.kind.isDerivative, !order.status.isTerminal else { return }
        let there = order.draft.side.opposite.quantity(ofPosition: net)
        if there.isPositive { return }
        // Its own execution may be what took the position: its news says.
        let inFlight = order.venueOrders.contains { $0.type != .goodTillCancelled || $0.state == .unknown }
        if there.isZero, inFlight { return }
        cancel(there.isZero ? .positionClosedExternally : .positionFlipped)
    }

    // MARK: News

    mutating func learn(_ key: VenueOrderKey, _ news: VenueNews) {
        guard let index = order.venueOrders.firstIndex(where: { $0.key == key }) else {
            if case .fill(let fill) = news { book(fill, key) }
            return
        }
        switch news {
        case .triggered: break
        case .accepted(let venueOrderID):
            var placed = order.venueOrders[index]
            placed.venueOrderID = venueOrderID
            switch placed.state {
            case .intent, .submitted, .unknown:
                placed.state = placed.cancelWanted ? .cancelRequested : placed.filled.isPositive ? .partial : .open
                facts.append(.venueOrder(key, placed.state))
                if placed.cancelWanted { effects.append(.cancel(key)) }
            case .open, .partial, .cancelRequested, .filled, .cancelled, .expired, .rejected, .notSent, .absent: break
            }
            order.venueOrders[index] = placed
            succeeded()
        case .fill(let fill):
            order.venueOrders[index].filled += fill.quantity
            if order.venueOrders[index].state != .cancelRequested, order.venueOrders[index].state != .unknown {
                order.venueOrders[index].state = .partial
            }
            succeeded()
            book(fill, key)
            if !order.venueOrders[index].unfilled.isPositive { over(index, .filled, .filled) }
        case .ended(.filled): over(index, .filled, .filled)
        case .ended(.expired): over(index, .expired, .expired)
        case .ended(.cancelled): over(index, .cancelled, .cancelled)
        case .refused(let kind, _):
            order.lastAttemptRefused = true
            if kind == .credentials || kind == .marketHalted { order.needsAttention = true }
            over(index, .rejected, .refused(kind))
        case .notSent:
            order.venueUnreachable = true
            over(index, .notSent, .notSent)
        case .absent: over(index, .absent, .absent)
        case .unknown:
            guard order.venueOrders[index].state == .intent || order.venueOrders[index].state == .submitted else {
                return
            }
            order.venueOrders[index].state = .unknown
            facts.append(.venueOrder(key, .unknown))
        }
    }

    private mutating func book(_ fill: Fill, _ key: VenueOrderKey) {
        order.filled += fill.quantity
        order.proceeds += fill.price * fill.quantity
        if case .quote = fill.feeAsset { order.fees += Money(fill.fee) }
        facts.append(.fill(key, fill))
    }

    private mutating func over(_ index: Int, _ state: VenueOrderState, _ outcome: Outcome) {
        let ended = order.venueOrders.remove(at: index)
        facts.append(.venueOrder(ended.key, state))
        guard order.remaining.isPositive, order.endReason == nil else { return }
        switch outcome {
        case .absent:
            order.retry = .none
            place()
        case .notSent: order.retry = paused(order.retry, onNextTick: order.retry.count == 0)
        case .filled, .expired, .cancelled:
            succeeded()
            if order.isProtection || outcome == .filled {
                let isFlood = order.attempts >= 120
                order.retry = Retry(at: now.advanced(milliseconds: isFlood ? 1000 : 250), onNextTick: !isFlood)
            } else if ended.type == .immediateOrCancel {
                order.endReason = .iocExpired
            } else {
                order.endReason = outcome == .expired ? .expired : .userCancel
            }
        case .refused(.rateLimited): order.retry = paused(order.retry)
        case .refused(.priceOutOfBand) where ended.type == .immediateOrCancel: order.retry = paused(order.retry)
        case .refused(.credentials) where order.isProtection:
            order.retry = Retry(count: order.retry.count + 1, at: now.advanced(milliseconds: 5000))
        case .refused(.marketHalted) where order.isProtection:
            order.retry = Retry(count: order.retry.count + 1, at: now.advanced(milliseconds: 10_000))
        case .refused:
            if order.isProtection {
                order.retry = paused(order.retry, onNextTick: order.retry.count == 0)
            } else {
                order.endReason = .orderRejected
            }
        }
    }

    private mutating func succeeded() {
        order.lastAttemptRefused = false
        order.venueUnreachable = false
        if order.attempts < 5 { order.needsAttention = false }
    }

    private func paused(_ retry: Retry, onNextTick: Bool = false) -> Retry {
        let count = retry.count + 1
        let pause = Retry.pause(count, noise: order.id.value.low ^ UInt64(order.attempts))
        return Retry(count: count, at: now.advanced(milliseconds: pause), onNextTick: onNextTick)
    }
}
