// One smart order through its timeline: the real `create` and `decide`, the scenario's market in place of a venue.
//
// Order of work at an event: unresolved submits are resolved, resting orders match, the order is evaluated, and then
// what was decided is done, in the order in which it was decided. So a leg makes one attempt per event. The venue answers
// at once: an exit waits for the cancels before it, and a level for the answers of those before it.

internal import JSONText
internal import OrderJSON
internal import PaperMatching
internal import SmartOrders

/// Harder conditions under which every scenario has to come out the same.
public struct ScenarioModes: Sendable {
    /// Every worker dies after every decision: the order is read back from its stored form, and what has to be done is
    /// found in it.
    public var restartEveryStep: Bool
    /// After every event the trigger job of every leg that ever fired is delivered again.
    public var duplicateEveryStep: Bool
    /// Prices reach the order only through its watches, as in production; quiet ticks are absorbed.
    public var throughWatches: Bool

    public init(restartEveryStep: Bool = false, duplicateEveryStep: Bool = false, throughWatches: Bool = false) {
        self.restartEveryStep = restartEveryStep
        self.duplicateEveryStep = duplicateEveryStep
        self.throughWatches = throughWatches
    }
}

struct SmartRun {
    private let modes: ScenarioModes
    private var order: SmartOrder
    private var market: ScenarioMarket
    private var effects: [Effect] = []
    private var price: Price
    private var position: TickPosition
    private var event = -1

    private var record = ScenarioRecord()
    /// Cancels that were asked for in this event: a restart does not ask again at once.
    private var asked: Set<VenueOrderKey> = []
    /// Levels that had their attempt in the evaluation under way.
    private var attempted: Set<Leg> = []

    /// Runs a scenario and gives everything that an expectation may name.
    static func run(_ scenario: Scenario, modes: ScenarioModes) throws(JSONError) -> JSONObject {
        let body = scenario.body
        let fees = try ScenarioFees(json: body.optional("fees"))
        let block = try InstrumentBlock(
            json: body.required("instrument", expected: "an instrument"),
            fees: (fees.schedule.maker, fees.schedule.taker),
        )
        let request = try ScenarioRequest(json: body.required("request", expected: "a request"))
        let timeline = try ScenarioEvent.timeline(body)
        let faults = try ScenarioFault.list(body)
        let net = try body.optional("position")?.decimal()
        let asObjects = try ScenarioRecord.listsObjects(scenario.expect)
        var bounds = CreationBounds()
        if let maximum = block.maxConditionals { bounds.maxConditionals = maximum }
        if let active = block.activeConditionals { bounds.activeConditionals = active }
        let start = TickPosition(venueTime: ScenarioEvent.origin.microseconds, sequence: 0)
        do {
            let decision = try SmartOrder.create(
                request.draft,
                id: OrderID(UniqueID(high: 0x7000, low: 1 << 63)),
                account: AccountID(UniqueID(high: 0x7000, low: 1 << 63 | 1)),
                instrument: block.instrument,
                bounds: bounds,
                at: Moment(now: ScenarioEvent.origin, price: request.initialMark, position: start, held: net),
            )
            let market = ScenarioMarket(
                mark: request.initialMark,
                fees: fees,
                faults: faults,
                net: net,
                now: ScenarioEvent.origin,
            )
            var run = SmartRun(
                modes: modes,
                decision: decision,
                market: market,
                price: request.initialMark,
                position: start,
            )
            run.play(timeline)
            return run.outcome(restingAsObjects: asObjects)
        } catch let refusal {
            return ["stateSequence": .array([.string("REFUSED \(refusal.code.httpStatus) \(refusal.code.rawValue)")])]
        }
    }

    private init(
        modes: ScenarioModes,
        decision: Decision,
        market: ScenarioMarket,
        price: Price,
        position: TickPosition,
    ) {
        self.modes = modes
        self.market = market
        self.price = price
        self.position = position
        order = decision.next
        record.defects = OrderInvariants.violations(from: nil, to: order, isEdit: false)
        note(decision.facts)
        effects = decision.effects
        restartIfAsked()
        work()
        record.noteStop(of: order, at: event)
    }

    private var moment: Moment {
        Moment(
            now: market.now,
            price: price,
            position: position,
            held: market.net,
            cancelsAnswerAtOnce: market.isUp,
            attempted: attempted,
        )
    }

    // MARK: Events

    private mutating func play(_ timeline: [ScenarioEvent]) {
        for (index, event) in timeline.enumerated() {
            self.event = index
            market.now = event.time
            asked = []
            if order.status.isTerminal {
                if case .command(let command) = event.what { self.command(command) }
                continue
            }
            apply(event.what)
            work()
            if modes.duplicateEveryStep { redeliverEverything() }
            record.noteStop(of: order, at: index)
        }
    }

    private mutating func apply(_ what: ScenarioEvent.What) {
        switch what {
        case .price(let mark, let fill, let liquidity, let queryFails):
            price = mark
            position = TickPosition(venueTime: market.now.microseconds, sequence: Int64(event) + 1)
            if !queryFails { tell(market.resolve()) }
            tell(market.price(fill: fill, liquidity: liquidity))
            // "A runner's back-off counts as elapsed."
            order.retryNow()
            evaluateTick()
        case .timer:
            tell(market.resolve())
            // "A runner's back-off counts as elapsed."
            order.retryNow()
            evaluate(.timer)
        case .entryFill(let quantity, let price): tell(market.fillEntry(quantity, price))
        case .entryEnd(let end): tell(market.endEntry(end))
        case .position(let net, let average):
            market.net = net
            decide(.position(net: net, average: average))
        case .venue(let isUp): market.isUp = isUp
        case .restart: restart()
        case .duplicateTrigger(let leg): redeliver(leg)
        case .command(let command): self.command(command)
        }
    }

    /// A tick that decides nothing still moves the running extremes.
    private mutating func evaluateTick() {
        let isQuiet =
            modes.throughWatches && !order.status.isTerminal && !order.wantsEveryTick
            && !order.watches.contains { $0.isCrossed(by: price, on: order.instrument.armedTick) }
        guard isQuiet else {
            if !evaluate(.tick) { order.absorb(extreme: price, upTo: position) }
            return
        }
        let isDue = order.nextTimer.map { $0 <= market.now } ?? false
        order.absorb(extreme: price, upTo: position)
        if isDue { evaluate(.timer) }
    }

    /// One evaluation, level by level. False: nothing was decided.
    @discardableResult
    private mutating func evaluate(_ event: OrderEvent) -> Bool {
        defer { attempted = [] }
        var hasDecided = decide(event)
        while hasDecided, let leg = effects.lazy.compactMap(\.placedLevel).first, attempted.insert(leg).inserted {
            work()
            // "A runner's back-off counts as elapsed."
            order.retryNow()
            hasDecided = decide(event)
        }
        return hasDecided
    }

    private mutating func command(_ command: TimelineCommand) {
        do {
            try commit(.command(command.command(for: order.draft)))
        } catch {
            record.note(error, at: event)
        }
    }

    /// The job of the leg's last attempt comes once more.
    private mutating func redeliver(_ leg: Leg) {
        guard let attempt = order.attempts[leg], order.awaits(leg, attempt: attempt) else { return }
        decide(.tick)
        work()
    }

    private mutating func redeliverEverything() {
        for leg in order.attempts.keys.sorted(by: { $0.description < $1.description }) { redeliver(leg) }
    }

    // MARK: Decide, commit, act, record

    private mutating func tell(_ reports: [ScenarioMarket.Report]) {
        for report in reports { decide(.venue(report.key, report.news)) }
    }

    /// For events that are never refused. False: nothing was decided.
    @discardableResult
    private mutating func decide(_ event: OrderEvent) -> Bool {
        do {
            return try commit(event)
        } catch {
            record.defects.append("\(event) refused with \(error.code.rawValue)")
            return false
        }
    }

    @discardableResult
    private mutating func commit(_ event: OrderEvent) throws(Refusal) -> Bool {
        guard let decision = try order.decide(event, at: moment) else { return false }
        let isEdit = if case .command(.edit) = event { true } else { false }
        record.defects += OrderInvariants.violations(from: order, to: decision.next, isEdit: isEdit)
        order = decision.next
        note(decision.facts)
        effects += decision.effects
        restartIfAsked()
        return true
    }

    /// Does what was decided, and what follows from the answers, until nothing is left.
    private mutating func work() {
        var steps = 0
        while !effects.isEmpty {
            steps += 1
            guard steps < 1000 else {
                record.defects.append("the order never comes to rest")
                effects = []
                return
            }
            switch effects.removeFirst() {
            case .place(let key):
                guard let venueOrder = order.venueOrders.first(where: { $0.key == key }) else { continue }
                tell(market.place(venueOrder))
            case .cancel(let key):
                asked.insert(key)
                if let reports = market.cancel(key) { tell(reports) } else { decide(.cancelFailed(key)) }
            }
        }
    }

    /// A worker dies after every commit: the next one finds in the row what has still to be done.
    private mutating func restartIfAsked() {
        guard modes.restartEveryStep else { return }
        restart()
        var found: [Effect] = []
        for venueOrder in order.venueOrders where venueOrder.cancelWanted && !asked.contains(venueOrder.key) {
            switch venueOrder.state {
            case .open, .partial, .cancelRequested: found.append(.cancel(venueOrder.key))
            case .intent, .submitted, .unknown, .filled, .cancelled, .expired, .rejected, .notSent, .absent: break
            }
        }
        for venueOrder in order.venueOrders where venueOrder.state == .intent {
            found.append(.place(venueOrder.key))
        }
        for effect in effects where !found.contains(effect) {
            if case .place(let key) = effect, order.venueOrders.contains(where: { $0.key == key }) {
                record.defects.append("\(key.leg) \(key.attempt) would be lost by a restart")
            }
        }
        // In the order in which they were decided; what only the row knows comes last.
        effects = effects.filter(found.contains) + found.filter { !effects.contains($0) }
    }

    private mutating func restart() {
        do {
            let stored = try SmartOrder(encodedState: order.encodedState())
            if stored != order { record.defects.append("the stored order differs from the order") }
            order = stored
        } catch {
            record.defects.append("the stored order cannot be read: \(error)")
        }
    }

    // MARK: What an expectation may name

    private mutating func note(_ facts: [Fact]) {
        for fact in facts {
            switch fact {
            case .statusChanged(_, let status, _): record.note(status)
            case .levelTriggered(let level): record.note(level, .triggered, at: event)
            case .levelFilled(let level): record.note(level, .filled, at: event)
            case .levelRearmed(let level): record.note(level, .pending, at: event)
            case .levelCancelled(let level): record.note(level, .cancelled, at: event)
            case .created, .activated, .modified, .levelMerged, .replanned, .breakEvenArmed, .breakEvenNotArmed,
                .lockReached, .trailingActivated, .stopMoved, .stopDelayed, .stopDelayReset, .stopLatched, .stopRetried,
                .partialStopFired, .partialStopDone, .partialStopCancelled, .backstopPlaced,
                .backstopMoved, .backstopSkipped, .backstopFired, .nativeLegLost, .writtenOff, .dust, .fill,
                .venueOrder,
                .fundsAdded, .fundsReduced, .phaseChanged, .marketChanged, .printSuspected, .printConfirmed,
                .printIgnored,
                .healthChanged, .conditionalChanged:
                break
            }
        }
        record.note(order.status)
    }

    private func outcome(restingAsObjects: Bool) -> JSONObject {
        record.outcome(of: order, attempts: market.attempts, resting: market.resting, asObjects: restingAsObjects)
    }
}

extension Effect {
    /// The level whose order it places.
    fileprivate var placedLevel: Leg? {
        guard case .place(let key) = self, case .takeProfit = key.leg else { return nil }
        return key.leg
    }
}
