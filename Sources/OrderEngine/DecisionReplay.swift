// The decisions of a stored version, made again: from the row before and the recorded steps, with the code of today.
//
// Invariant: with the code that made the version, the row is the stored one (ORDERS.md 9.3.2). Pure.
public import SmartOrders

/// One step of a version as it is repeated.
public struct RepeatedStep: Sendable {
    public let step: DecisionStep
    /// The order right before it; nil: there was none yet.
    public let before: StoredOrder?
    public let after: StoredOrder
    /// What the step added.
    public let facts: [Fact]
}

public enum DecisionReplay {
    /// Repeats the steps of `version` on the row before it; nil when they were not recorded.
    ///
    /// - Throws: a command, or the plan itself, that is refused now.
    public static func steps(
        of version: StoredVersion,
        before row: StoredOrder?,
    ) throws(Refusal) -> [RepeatedStep]? {
        guard let recorded = version.record?.steps, let first = recorded.first else { return nil }
        var repeated: [RepeatedStep] = []
        var transition: Transition
        switch (first, row) {
        case (.create(let bounds, let moment), nil):
            let decision = try create(version.order, bounds, moment)
            transition = Transition(created: decision, bounds: bounds, at: moment)
            repeated.append(
                RepeatedStep(step: first, before: nil, after: transition.order, facts: decision.facts)
            )
        case (.absorb, let row?), (.reach, let row?), (.decide, let row?), (.change, let row?), (.begin, let row?),
            (.submit, let row?):
            transition = Transition(row)
            try add(first, to: &transition, &repeated)
        case (.create, .some), (.absorb, nil), (.reach, nil), (.decide, nil), (.change, nil), (.begin, nil),
            (.submit, nil):
            return nil
        }
        for step in recorded.dropFirst() { try add(step, to: &transition, &repeated) }
        return repeated
    }

    private static func create(
        _ stored: StoredOrder,
        _ bounds: CreationBounds,
        _ moment: Moment,
    ) throws(Refusal) -> StoredDecision {
        switch stored {
        case .smart(let stored):
            StoredDecision(
                try SmartOrder.create(
                    stored.draft,
                    id: stored.id,
                    account: stored.account,
                    instrument: stored.instrument,
                    bounds: bounds,
                    at: moment,
                )
            )
        case .conditional(let stored):
            StoredDecision(
                try ConditionalOrder.create(
                    stored.draft,
                    id: stored.id,
                    account: stored.account,
                    instrument: stored.instrument,
                    bounds: bounds,
                    at: moment,
                )
            )
        }
    }

    private static func add(
        _ step: DecisionStep,
        to transition: inout Transition,
        _ repeated: inout [RepeatedStep],
    ) throws(Refusal) {
        let before = transition.order
        let known = transition.facts.count
        try transition.repeat(step)
        repeated.append(
            RepeatedStep(
                step: step,
                before: before,
                after: transition.order,
                facts: Array(transition.facts[known...]),
            )
        )
    }
}
