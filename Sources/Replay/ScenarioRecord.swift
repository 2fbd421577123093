// What is noted while a scenario runs, and everything that an expectation may name (scenarios/README.md 3).

package import JSONText
package import SmartOrders

/// One attempt to place an order, also those that never reached the venue.
package struct ScenarioAttempt: Sendable {
    package enum Outcome: String, Sendable {
        case filled = "FILLED"
        case partialExpired = "PARTIAL_EXPIRED"
        case expired = "EXPIRED"
        case open = "OPEN"
        case cancelled = "CANCELLED"
        case rejected = "REJECTED"
        case rejectedInsufficient = "REJECTED_INSUFFICIENT"
        case rateLimited = "RATE_LIMITED"
        case notSent = "NOT_SENT"
        case unknown = "UNKNOWN"
        case notFound = "NOT_FOUND"
    }

    package let order: VenueOrder
    package var outcome: Outcome
    package var fills: [(quantity: Quantity, price: Price)] = []

    package init(order: VenueOrder, outcome: Outcome, fills: [(quantity: Quantity, price: Price)] = []) {
        self.order = order
        self.outcome = outcome
        self.fills = fills
    }

    fileprivate var json: JSONValue {
        var object: JSONObject = [
            "purpose": .string(order.leg.description),
            "side": .string(order.side.rawValue),
            "type": .string(order.type.rawValue),
            "qty": .string(order.quantity.description),
        ]
        object["limitPrice"] = order.limit.map { .string($0.description) }
        object["outcome"] = .string(outcome.rawValue)
        object["fills"] = .array(fills.map { [.string($0.quantity.description), .string($0.price.description)] })
        return .object(object)
    }
}

/// The course of one smart order: what the order itself does not remember.
package struct ScenarioRecord: Sendable {
    private var states: [OrderStatus] = [.pending]
    private var transitions: [JSONValue] = []
    private var stops: [JSONValue] = []
    private var lastStop: EffectiveStop?
    private var notes: [JSONValue] = []
    /// Contradictions that no expectation names: a restart that is no identity, a fact that was refused.
    package var defects: [String] = []

    package init() {}

    package mutating func note(_ status: OrderStatus) {
        if states.last != status { states.append(status) }
    }

    package mutating func note(_ level: Int, _ state: LevelState, at event: Int) {
        transitions.append([.integer(event), .string("TP\(level)"), .string(state.rawValue)])
    }

    package mutating func note(_ refusal: Refusal, at event: Int) {
        notes.append([.integer(event), .string("\(refusal.code.httpStatus) \(refusal.code.rawValue)")])
    }

    /// Call after each event: several changes inside one give one entry.
    package mutating func noteStop(of order: SmartOrder, at event: Int) {
        guard !order.status.isTerminal, order.remaining.isPositive, let stop = order.effectiveStop, stop != lastStop
        else { return }
        lastStop = stop
        stops.append([.integer(event), .string(stop.price.description), .string(stop.kind.rawValue)])
    }

    /// Whether an expectation lists resting orders as objects; else by their purpose.
    package static func listsObjects(_ expect: JSONField) throws(JSONError) -> Bool {
        guard let first = try expect.optional("restingAtEnd")?.elements().first else { return false }
        return first.value.text == nil
    }

    /// - Parameters:
    ///   - attempts: in order of submission.
    ///   - resting: those that are open at the venue at the end.
    package func outcome(
        of order: SmartOrder,
        attempts: [ScenarioAttempt],
        resting: [ScenarioAttempt],
        asObjects: Bool,
    ) -> JSONObject {
        var result: JSONObject = [
            "stateSequence": .array(states.map { .string($0.rawValue) }),
            "closeReason": order.closeReason.map { .string($0.rawValue) } ?? .null,
            "orders": .array(attempts.map(\.json)),
            "grossPnl": .string(order.realized.description),
            "fees": .string(order.fees.description),
            "netPnl": .string((order.realized - order.fees).description),
            "stops": .array(stops),
            "tpFinal": .array(order.levels.map { .string($0.state.rawValue) }),
            "tpQty": .array(order.levels.map { .string($0.planned.description) }),
            "tpTransitions": .array(transitions),
            "progress": .string("\(order.progress.filled)/\(order.progress.total)"),
            "avgEntry": order.averageEntry.map { .string($0.rounded.description) } ?? .null,
            "openQty": .string(order.remaining.description),
            "dust": .string(order.dust.description),
            "restingAtEnd": .array(resting.map { asObjects ? $0.json : .string($0.order.leg.description) }),
            "notes": .array(notes),
        ]
        if !defects.isEmpty { result["defects"] = .array(defects.map { .string($0) }) }
        return result
    }
}
