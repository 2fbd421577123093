// Whether a conditional order may be created or changed (ORDERS.md R19).

extension ConditionalOrder {
    /// All failing checks, in the order of R12 and R19; empty: `create` accepts the draft.
    public static func check(
        _ draft: ConditionalDraft,
        instrument: Instrument,
        bounds: CreationBounds = .init(),
        at moment: Moment,
    ) -> [Refusal] {
        guard let mark = moment.price else { return [Refusal(.sourceUnavailable, "No current price is known.")] }
        var failures: [Refusal] = []
        func fail(_ code: RefusalCode, _ field: String?, _ detail: String) {
            failures.append(Refusal(code, field: field, detail))
        }
        if !instrument.isOnStep(draft.quantity) { failures.append(instrument.offStep(draft.quantity)) }
        if bounds.activeConditionals + 1 > bounds.maxConditionals {
            fail(.conditionalLimit, nil, "\(bounds.activeConditionals) legs are active of \(bounds.maxConditionals).")
        }
        if instrument.isOnTick(draft.trigger) {
            checkTrigger(draft, instrument, mark, fail)
        } else {
            failures.append(instrument.offTick(draft.trigger, field: "trigger"))
        }
        if let limit = draft.limit, draft.trigger.value.isShort {
            let band = Pricing.conditionalBand(kind: instrument.kind, side: draft.side, trigger: draft.trigger)
            if !instrument.isOnTick(limit) {
                failures.append(instrument.offTick(limit, field: "limit"))
            } else if limit < band.low || limit > band.high {
                fail(.limitOutOfBand, "limit", "\(limit) is outside \(band.low) to \(band.high).")
            }
        }
        if let expiry = draft.expiresAt, expiry <= moment.now {
            fail(.timeInPast, "expiresAt", "The expiry is in the past.")
        }
        if instrument.status != .trading {
            fail(.instrumentNotTrading, "market", "The market is \(instrument.status.rawValue).")
        }
        let source = draft.triggerSource ?? instrument.defaultTriggerSource
        if let sources = bounds.sources, !sources.contains(source) {
            fail(.sourceUnavailable, "triggerSource", "The market does not publish a \(source.rawValue) price.")
        }
        return failures
    }

    private static func checkTrigger(
        _ draft: ConditionalDraft,
        _ instrument: Instrument,
        _ mark: Price,
        _ fail: (RefusalCode, String?, String) -> Void,
    ) {
        let trigger = draft.trigger
        if trigger <= instrument.tickSize {
            fail(.triggerTooLow, "trigger", "The trigger is above one tick size, \(instrument.tickSize).")
        }
        if trigger.value > mark.value * ExactDecimal(2) {
            fail(.triggerTooHigh, "trigger", "The trigger is at most 200% of the price \(mark).")
        }
        let isRight =
            switch draft.condition {
            case .atOrBelow: trigger < mark
            case .atOrAbove: trigger > mark
            }
        if !isRight {
            let side = draft.condition == .atOrBelow ? "below" : "above"
            fail(.triggerWrongSide, "trigger", "The trigger of this order is \(side) the price \(mark).")
        }
    }

    public static func create(
        _ draft: ConditionalDraft,
        id: OrderID,
        account: AccountID,
        instrument: Instrument,
        bounds: CreationBounds = .init(),
        at moment: Moment,
    ) throws(Refusal) -> ConditionalDecision {
        if let refusal = check(draft, instrument: instrument, bounds: bounds, at: moment).first { throw refusal }
        let order = ConditionalOrder(
            id: id,
            account: account,
            instrument: instrument,
            createdAt: moment.now,
            updatedAt: moment.now,
            draft: draft,
            triggerSource: draft.triggerSource ?? instrument.defaultTriggerSource,
        )
        return ConditionalDecision(next: order, effects: [], facts: [.created])
    }

    /// Changes trigger, limit or quantity while PENDING, all or nothing; `.some(nil)` removes the limit.
    public func edit(
        trigger: Price? = nil,
        limit: Price?? = nil,
        quantity: Quantity? = nil,
        at moment: Moment,
    ) throws(Refusal) -> ConditionalDecision? {
        try refuseIfTerminal()
        guard status == .pending else {
            throw Refusal(.stopAlreadyTriggered, "Too late: the order has been triggered.")
        }
        var changed = draft
        var facts: [Fact] = []
        if let trigger, trigger != draft.trigger {
            changed.trigger = trigger
            facts.append(.modified(path: "trigger"))
        }
        if let limit, limit != draft.limit {
            changed.limit = limit
            facts.append(.modified(path: "limit"))
        }
        if let quantity, quantity != draft.quantity {
            changed.quantity = quantity
            facts.append(.modified(path: "qty"))
        }
        guard !facts.isEmpty else { return nil }
        if let refusal = Self.check(changed, instrument: instrument, at: moment).first { throw refusal }
        var next = self
        next.draft = changed
        next.version += 1
        next.updatedAt = moment.now
        return ConditionalDecision(next: next, effects: [], facts: facts)
    }

    func refuseIfTerminal() throws(Refusal) {
        if status.isTerminal { throw Refusal(.orderTerminal, "The order has ended (\(status.rawValue)).") }
    }
}
