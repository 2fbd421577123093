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
        func fail(_ code: RefusalCode, _ field: String?, _ detail: String, _ members: RefusalMembers = [:]) {
            failures.append(Refusal(code, field: field, detail, members))
        }
        if !instrument.isOnStep(draft.quantity) { failures.append(instrument.offStep(draft.quantity)) }
        if bounds.activeConditionals + 1 > bounds.maxConditionals {
            fail(
                .conditionalLimit,
                nil,
                "\(bounds.activeConditionals) legs are active of \(bounds.maxConditionals).",
                bounds.limitMembers,
            )
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
                fail(
                    .limitOutOfBand,
                    "limit",
                    "\(limit) is outside \(band.low) to \(band.high).",
                    ["min": .price(band.low), "max": .price(band.high)],
                )
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
            failures.append(source.unavailable(sources))
        }
        return failures
    }

    private static func checkTrigger(
        _ draft: ConditionalDraft,
        _ instrument: Instrument,
        _ mark: Price,
        _ fail: (RefusalCode, String?, String, RefusalMembers) -> Void,
    ) {
        let trigger = draft.trigger
        if trigger <= instrument.tickSize {
            fail(
                .triggerTooLow,
                "trigger",
                "The trigger is above one tick size, \(instrument.tickSize).",
                ["tick": .price(instrument.tickSize)],
            )
        }
        let highest = mark.value * ExactDecimal(2)
        if trigger.value > highest {
            fail(
                .triggerTooHigh,
                "trigger",
                "The trigger is at most 200% of the price \(mark).",
                ["max": .number(highest)],
            )
        }
        let isRight =
            switch draft.condition {
            case .atOrBelow: trigger < mark
            case .atOrAbove: trigger > mark
            }
        if !isRight {
            let side = draft.condition == .atOrBelow ? "below" : "above"
            fail(
                .triggerWrongSide,
                "trigger",
                "The trigger of this order is \(side) the price \(mark).",
                ["reference": .price(mark)],
            )
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

    /// Changes the order while PENDING, all or nothing; nil: nothing is different.
    public func edit(_ change: ConditionalChange, at moment: Moment) throws(Refusal) -> ConditionalDecision? {
        try refuseIfTerminal()
        guard status == .pending else {
            throw Refusal(
                .stopAlreadyTriggered,
                "Too late: the order has been triggered.",
                ["phase": .text(endReason == nil ? "triggered" : "cancelling"), "latched": .flag(true)],
            )
        }
        var changed = draft
        var facts: [Fact] = []
        if let trigger = change.trigger, trigger != draft.trigger {
            changed.trigger = trigger
            facts.append(.modified(path: "trigger"))
        }
        if let limit = change.limit, limit != draft.limit {
            changed.limit = limit
            facts.append(.modified(path: "limit"))
        }
        if let quantity = change.quantity, quantity != draft.quantity {
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
        guard status.isTerminal else { return }
        throw Refusal(
            .orderTerminal,
            "The order has ended (\(status.rawValue)).",
            ["status": .text(status.rawValue), "closeReason": reason.map { .text($0.rawValue) } ?? .none],
        )
    }
}
