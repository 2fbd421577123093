// One stand-alone conditional order (S4) through its timeline.

package import JSONText
internal import OrderJSON
package import SmartOrders

struct ConditionalRun {
    private var order: ConditionalOrder
    private var market: ScenarioMarket
    private var effects: [Effect]
    private var price: Price
    private var position: TickPosition
    private var states: [ConditionalStatus]
    private var firedAt: Int?
    private let modes: ScenarioModes
    /// Contradictions that no expectation names.
    private var defects: [String] = []

    /// `request` of a conditional order: the draft and the price at creation.
    static func request(
        _ json: JSONField,
        allowing others: Set<String> = [],
    ) throws(JSONError) -> (draft: ConditionalDraft, mark: Price) {
        (try ConditionalDraft(json: json, allowing: others.union(["mark"])), try json.positive("mark"))
    }

    static func run(_ scenario: Scenario, modes: ScenarioModes) throws(JSONError) -> JSONObject {
        let block = try InstrumentBlock(json: scenario.body.required("instrument", expected: "an instrument"))
        let request = try request(scenario.body.required("request", expected: "a request"))
        let timeline = try ScenarioEvent.timeline(scenario.body)
        let fees = try ScenarioFees(json: nil)
        let start = TickPosition(venueTime: ScenarioEvent.origin.microseconds, sequence: 0)
        do {
            let decision = try ConditionalOrder.create(
                request.draft,
                id: OrderID(UniqueID(high: 0x7000, low: 1 << 63)),
                account: AccountID(UniqueID(high: 0x7000, low: 1 << 63 | 1)),
                instrument: block.instrument,
                at: Moment(now: ScenarioEvent.origin, price: request.mark, position: start),
            )
            var run = ConditionalRun(
                order: decision.next,
                market: ScenarioMarket(
                    mark: request.mark,
                    fees: fees,
                    faults: [],
                    net: nil,
                    now: ScenarioEvent.origin,
                ),
                effects: decision.effects,
                price: request.mark,
                position: start,
                states: [decision.next.status],
                modes: modes,
            )
            try run.play(timeline)
            return run.outcome
        } catch let refusal {
            return ["condition": .string("REFUSED \(refusal.code.httpStatus) \(refusal.code.rawValue)")]
        }
    }

    private mutating func play(_ timeline: [ScenarioEvent]) throws(Refusal) {
        for (index, event) in timeline.enumerated() {
            market.now = event.time
            switch event.what {
            case .price(let mark, let fill, let liquidity, let queryFails):
                price = mark
                position = TickPosition(venueTime: event.time.microseconds, sequence: Int64(index) + 1)
                if !queryFails { try tell(market.resolve()) }
                try tell(market.price(fill: fill, liquidity: liquidity))
                try decide(.tick)
            case .timer: try decide(.timer)
            case .venue(let isUp): market.isUp = isUp
            case .position(let net, let average): try decide(.position(net: net, average: average))
            case .command(.plain(let command)): try decide(.command(command))
            case .restart: restart()
            case .duplicateTrigger(let leg): try redeliver(leg)
            case .command(.modify), .entryFill, .entryEnd: break
            }
            try work()
            if modes.duplicateEveryStep { try redeliver(.conditional) }
            if firedAt == nil, order.triggeredAt != nil { firedAt = index }
        }
    }

    private mutating func tell(_ reports: [ScenarioMarket.Report]) throws(Refusal) {
        for report in reports { try decide(.venue(report.key, report.news)) }
    }

    private mutating func decide(_ event: OrderEvent) throws(Refusal) {
        guard !order.status.isTerminal else { return }
        let moment = Moment(now: market.now, price: price, position: position)
        guard let decision = try order.decide(event, at: moment) else { return }
        order = decision.next
        if states.last != order.status { states.append(order.status) }
        effects += decision.effects
        if modes.restartEveryStep { restart() }
    }

    /// A worker dies: the next one has what is stored.
    private mutating func restart() {
        do {
            let stored = try ConditionalOrder(encodedState: order.encodedState())
            if stored != order { defects.append("the stored order differs from the order") }
            order = stored
        } catch {
            defects.append("the stored order cannot be read: \(error)")
        }
    }

    /// The job of the last attempt comes once more.
    private mutating func redeliver(_ leg: Leg) throws(Refusal) {
        guard order.attempts > 0 else { return }
        try decide(.trigger(leg, attempt: order.attempts))
        try work()
    }

    private mutating func work() throws(Refusal) {
        var steps = 0
        while !effects.isEmpty, steps < 1000 {
            steps += 1
            switch effects.removeFirst() {
            case .place(let key):
                guard let venueOrder = order.venueOrders.first(where: { $0.key == key }) else { continue }
                try tell(market.place(venueOrder))
            case .cancel(let key):
                if let reports = market.cancel(key) { try tell(reports) } else { try decide(.cancelFailed(key)) }
            }
        }
    }

    private var outcome: JSONObject {
        var result: JSONObject = [
            "condition": .string(order.condition.rawValue),
            "firedAt": firedAt.map { .integer($0) } ?? .null,
            "stateSequence": .array(states.map { .string($0.rawValue) }),
            "orders": .array(
                market.attempts.map { attempt in
                    var object: JSONObject = [
                        "side": .string(attempt.order.side.rawValue),
                        "type": .string(attempt.order.type.rawValue),
                        "qty": .string(attempt.order.quantity.description),
                    ]
                    object["limitPrice"] = attempt.order.limit.map { .string($0.description) }
                    object["fill"] = attempt.fills.first.map { .string($0.price.description) }
                    object["outcome"] = .string(attempt.outcome.rawValue)
                    return .object(object)
                }
            ),
        ]
        if !defects.isEmpty { result["defects"] = .array(defects.map { .string($0) }) }
        return result
    }
}

extension ScenarioRequest {
    /// `request` of a conditional order: the draft and the price at creation.
    package static func conditional(
        _ json: JSONField
    ) throws(JSONError) -> (draft: ConditionalDraft, mark: Price) { try ConditionalRun.request(json) }
}
