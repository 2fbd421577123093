// Versions in, entries out: one per version, one per note and gap (ORDERS.md 9.1, 9.3). Pure.
//
// Invariants: every version has exactly one entry; every field that differs between two rows is in `changes`. Where the
// steps of a version were recorded they are repeated, and the entry says what stood right before the decision; else it
// says what the two rows tell. Cost: linear in versions and their steps.
internal import JSONText
public import OrderEngine
internal import OrderJSON
internal import SmartOrders

public struct TimelineBuilder {
    /// Requests of earlier entries, by venue order: their answers come with later versions.
    private var asked: [VenueOrderKey: Int] = [:]
    private var entries: [TimelineEntry] = []
    private(set) var before: StoredOrder?
    private var beforeText: JSONValue?
    /// Per kind of threshold what made it, and since which version.
    private(set) var since: [LegThreshold.Role: (made: Making, version: Int64)] = [:]

    /// What makes a threshold another one: a water mark that moves is the same threshold.
    struct Making: Hashable {
        let price: Price?
        let callback: Callback?
        init(_ threshold: LegThreshold) {
            callback = threshold.callback
            price = threshold.callback == nil ? threshold.price : nil
        }
    }

    public init() {}

    /// The entries of everything stored of one order, in order of time; versions keep their order.
    public static func timeline(
        _ versions: [StoredVersion],
        notes: [OrderNote] = [],
        gaps: [FeedGap] = [],
    ) -> [TimelineEntry] {
        var builder = TimelineBuilder()
        for version in versions { builder.add(version) }
        var others = notes.map(Self.entry) + gaps.map(Self.entry)
        others.sort { $0.at < $1.at }
        var merged: [TimelineEntry] = []
        var next = 0
        for entry in builder.entries {
            let entry = replayed(entry, in: gaps)
            let at = entry.times.committedAt ?? entry.at
            while next < others.count, others[next].at < at {
                merged.append(others[next])
                next += 1
            }
            merged.append(entry)
        }
        return merged + others[next...]
    }

    public mutating func add(_ version: StoredVersion) {
        let after = version.order
        var entry = TimelineEntry(at: version.at, kind: .changed, text: "")
        entry.version = version.version
        entry.cause = version.cause
        entry.actor = version.actor
        entry.tick = version.tick
        entry.job = version.record?.job
        entry.requestID = version.record?.requestID
        entry.shard = after.id.shard
        entry.times.receivedAt = version.record?.crossing?.receivedAt
        entry.times.crossedAt = version.record?.crossing?.crossedAt
        entry.times.takenAt = version.record?.takenAt
        entry.times.committedAt = version.committedAt
        switch after {
        case .smart(let order):
            let scene = decisive(version, order)
            tell(version, order, scene, &entry)
            explain(scene, &entry)
            request(order, scene, &entry)
        case .conditional(let order): describe(version, order, &entry)
        }
        for fact in version.facts {
            if case .venueOrder(let key, .intent) = fact { asked[key] = entries.count }
        }
        answer(version, &entry)
        let text = Self.row(after)
        entry.changes = FieldChange.between(beforeText, text)
        remember(after)
        before = after
        beforeText = text
        entries.append(entry)
    }

    private static func row(_ order: StoredOrder) -> JSONValue {
        do throws(JSONError) {
            return try JSONValue(parsing: order.encodedState())
        } catch {
            preconditionFailure("a row that was written here cannot be read: \(error)")
        }
    }

    // MARK: The decision

    private struct Decisive {
        let scene: Scene
        let moment: Moment?
        /// Whether a price was decided on.
        let isTick: Bool
    }

    /// One decision of a version.
    struct DecidedStep {
        let step: RepeatedStep
        let moment: Moment
        /// Whether a price was decided on.
        let isTick: Bool
    }

    /// The decision that mattered most; nil: no steps were recorded.
    func heaviest(_ version: StoredVersion) -> DecidedStep? {
        var best: (rank: Int, step: DecidedStep)?
        for step in repeated(version) {
            let moment: Moment
            let isTick: Bool
            switch step.step {
            case .decide(let event, let at):
                moment = at
                isTick =
                    switch event {
                    case .tick, .trigger, .timer: true
                    case .venue, .cancelFailed, .recovered, .position, .market, .attention, .command: false
                    }
            case .change(_, let at): (moment, isTick) = (at, false)
            case .create, .absorb, .reach, .begin, .submit: continue
            }
            let rank = step.facts.map { Weight($0).rawValue }.max() ?? -1
            if best.map({ rank > $0.rank }) ?? true {
                best = (rank, DecidedStep(step: step, moment: moment, isTick: isTick))
            }
        }
        return best?.step
    }

    /// The step that mattered most, with the order right before it; without steps the version as a whole.
    private func decisive(_ version: StoredVersion, _ order: SmartOrder) -> Decisive {
        guard let decided = heaviest(version), let after = decided.step.after.smart else {
            let scene = Scene(
                before: before?.smart,
                after: order,
                price: version.tick?.price,
                source: version.tick?.source ?? order.triggerSource,
            )
            return Decisive(scene: scene, moment: nil, isTick: version.tick != nil)
        }
        let scene = Scene(
            before: decided.step.before?.smart,
            after: after,
            price: decided.moment.price,
            source: after.triggerSource,
        )
        return Decisive(scene: scene, moment: decided.moment, isTick: decided.isTick)
    }

    private func repeated(_ version: StoredVersion) -> [RepeatedStep] {
        do throws(Refusal) {
            return try DecisionReplay.steps(of: version, before: before) ?? []
        } catch {
            // The code of today refuses it: the rows still say what happened. `--replay` reports the difference.
            return []
        }
    }

    /// How much a fact matters to a reader; the heaviest one is the entry's sentence.
    enum Weight: Int {
        case detail, venue, level, stop, status, fill, partialStop, target, latch
        init(_ fact: Fact) {
            switch fact {
            case .stopLatched, .backstopFired: self = .latch
            case .levelTriggered: self = .target
            case .partialStopFired: self = .partialStop
            case .fill: self = .fill
            case .created, .activated, .statusChanged, .conditionalChanged: self = .status
            case .breakEvenArmed, .lockReached, .trailingActivated, .stopDelayed, .stopDelayReset, .stopMoved,
                .backstopPlaced, .backstopMoved, .backstopSkipped, .nativeLegLost:
                self = .stop
            case .levelFilled, .levelRearmed, .fundsAdded, .fundsReduced, .writtenOff, .stopRetried, .modified,
                .marketChanged, .printSuspected, .printConfirmed, .printIgnored:
                self = .level
            case .venueOrder: self = .venue
            case .levelCancelled, .levelMerged, .replanned, .breakEvenNotArmed, .partialStopDone,
                .partialStopCancelled, .dust, .phaseChanged, .healthChanged:
                self = .detail
            }
        }
    }

    /// One thing to say of a version.
    typealias Told = (weight: Int, text: String, kind: TimelineEntry.Kind, leg: String?)

    private func tell(
        _ version: StoredVersion,
        _ order: SmartOrder,
        _ decisive: Decisive,
        _ entry: inout TimelineEntry,
    ) {
        let scene = decisive.scene
        var told: [Told] = []
        if let entered = entered(decisive) {
            told.append((Weight.target.rawValue, Sentences.crossed(entered, scene), .fired, entered.role.leg))
        }
        let whole = Scene(before: before?.smart, after: order, price: nil, source: scene.source)
        if let goal = Sentences.goal(whole) { told.append((Weight.partialStop.rawValue, goal, .changed, nil)) }
        for fact in version.facts {
            // Venue orders as they were right after the decision, with the version's end for what came later.
            let isRequest = if case .venueOrder = fact { true } else { false }
            let told0 =
                isRequest
                ? Scene(before: scene.before, after: order, price: scene.price, source: scene.source) : scene
            guard let text = Sentences.sentence(fact, told0) else { continue }
            told.append((Weight(fact).rawValue, text, Self.kind(fact), Self.leg(fact)))
        }
        for text in Sentences.attention(before?.smart, order) {
            told.append((Weight.detail.rawValue, text, .changed, nil))
        }
        Self.tell(told, version.cause, &entry)
    }

    /// The heaviest, of equals the first, is the entry's sentence.
    static func tell(_ told: [Told], _ cause: EventCause, _ entry: inout TimelineEntry) {
        guard
            let first = told.indices.max(by: {
                told[$0].weight < told[$1].weight || told[$0].weight == told[$1].weight && $0 > $1
            })
        else {
            entry.text = quiet(cause)
            entry.kind = cause == .recovery ? .recovered : .changed
            return
        }
        entry.text = told[first].text
        entry.kind = cause == .recovery ? .recovered : told[first].kind
        entry.leg = told[first].leg
        entry.also = told.indices.filter { $0 != first }.map { told[$0].text }
    }

    /// What to say of a version without a fact.
    private static func quiet(_ cause: EventCause) -> String {
        switch cause {
        case .command: "The plan was brought up to date."
        case .tick: "The price moved a mark of the order."
        case .fill, .venueAnswer: "The venue's answer was noted."
        case .timer: "A pause is over."
        case .position: "The position was compared."
        case .reconcile: "The order was compared with the venue."
        case .recovery: "The order was restored."
        }
    }

    /// The entry trigger that this decision took up.
    private func entered(_ decisive: Decisive) -> LegThreshold? {
        guard let old = decisive.scene.before, let price = decisive.scene.price, decisive.isTick else { return nil }
        return old.thresholds.first { threshold in
            switch threshold.role {
            case .entry, .entryActivation:
                guard let stood = threshold.price, threshold.comparison.holds(price, stood) else { return false }
                return Rules.acted(threshold.role, old, decisive.scene.after)
            case .stop, .timeout, .emergency, .partialStop, .takeProfit, .activation, .step, .breakEvenArming,
                .conditional:
                return false
            }
        }
    }

    static func kind(_ fact: Fact) -> TimelineEntry.Kind {
        switch fact {
        case .conditionalChanged(_, .triggered, _): .fired
        case .stopLatched, .levelTriggered, .partialStopFired, .backstopFired: .fired
        case .created, .activated, .breakEvenArmed, .breakEvenNotArmed, .trailingActivated, .levelRearmed: .armed
        case .stopMoved, .lockReached, .backstopMoved: .moved
        case .backstopPlaced, .nativeLegLost: .armed
        case .fill, .levelFilled, .partialStopDone: .filled
        case .stopRetried: .retried
        case .venueOrder(_, let state):
            switch state {
            case .intent, .submitted, .cancelRequested: .changed
            case .open, .partial, .unknown, .filled, .cancelled, .expired, .rejected, .notSent, .absent: .answered
            }
        case .modified, .levelCancelled, .levelMerged, .replanned, .stopDelayed, .stopDelayReset,
            .partialStopCancelled, .writtenOff, .dust, .fundsAdded, .fundsReduced, .statusChanged,
            .conditionalChanged, .phaseChanged, .healthChanged, .backstopSkipped, .marketChanged, .printSuspected,
            .printConfirmed, .printIgnored:
            .changed
        }
    }

    static func leg(_ fact: Fact) -> String? {
        switch fact {
        case .conditionalChanged(_, .triggered, _): Leg.conditional.shown
        case .levelTriggered(let level), .levelFilled(let level), .levelRearmed(let level), .levelCancelled(let level),
            .levelMerged(let level):
            "TP\(level)"
        case .partialStopFired(let number), .partialStopDone(let number), .partialStopCancelled(let number):
            "PS\(number)"
        case .breakEvenArmed, .breakEvenNotArmed, .lockReached, .trailingActivated, .stopMoved, .stopDelayed,
            .stopDelayReset, .stopLatched:
            "SL"
        case .nativeLegLost(let leg): leg.shown
        case .backstopPlaced, .backstopMoved, .backstopSkipped, .backstopFired: Leg.backstop.shown
        case .fill(let key, _), .venueOrder(let key, _): key.leg.shown
        case .stopRetried, .created, .activated, .modified, .replanned, .writtenOff, .dust, .fundsAdded, .fundsReduced,
            .statusChanged, .conditionalChanged, .phaseChanged, .healthChanged, .marketChanged, .printSuspected,
            .printConfirmed,
            .printIgnored:
            nil
        }
    }

    /// The rule that fired, and everything that was considered with it.
    private func explain(_ decisive: Decisive, _ entry: inout TimelineEntry) {
        let scene = decisive.scene
        guard let old = scene.before, let price = scene.price, decisive.isTick else { return }
        entry.choice = Rules.choice(old, scene.after, price: price)
        var fired: LegThreshold?
        if old.latch == nil, let latch = scene.after.latch {
            fired = Sentences.firing(latch.kind, latch.price, scene)
        } else {
            fired = old.thresholds.first { Rules.verdict($0, old, scene.after, price) == .fired }
        }
        guard let fired else { return }
        let known = since[fired.role].flatMap { $0.made == Making(fired) ? $0.version : nil }
        entry.rule = Rules.rule(fired, of: old, since: known)
        if entry.leg == nil { entry.leg = fired.role.leg }
    }

    /// Since when each threshold has been made as it is.
    private mutating func remember(_ order: StoredOrder) {
        var now: [LegThreshold.Role: (made: Making, version: Int64)] = [:]
        for threshold in order.thresholds {
            let made = Making(threshold)
            if let known = since[threshold.role], known.made == made {
                now[threshold.role] = known
            } else {
                now[threshold.role] = (made, order.version)
            }
        }
        since = now
    }

    // MARK: The venue

    /// What is asked of the venue with this version.
    private func request(_ order: SmartOrder, _ decisive: Decisive, _ entry: inout TimelineEntry) {
        for asked in asked(with: .smart(order)) {
            let old = decisive.scene.before ?? order
            entry.orders.append(.object(Rules.request(asked, old, decisive.scene.after, decisive.moment)))
            if asked.side != order.draft.side, decisive.scene.before != nil, entry.quantity == nil {
                entry.quantity = Rules.quantity(asked, old, decisive.moment)
            }
        }
    }

    /// Venue orders that the row before did not have.
    func asked(with order: StoredOrder) -> [VenueOrder] {
        let known = Set((before?.venueOrders ?? []).map(\.key))
        return order.venueOrders.filter { !known.contains($0.key) }
    }

    /// What the venue said; times go to the entry that asked, too.
    private mutating func answer(_ version: StoredVersion, _ entry: inout TimelineEntry) {
        let exchanges = version.record?.exchanges ?? []
        for exchange in exchanges {
            guard let place = asked[exchange.key], place < entries.count else { continue }
            if entries[place].times.sentAt == nil { entries[place].times.sentAt = exchange.sentAt }
            if entries[place].times.answeredAt == nil { entries[place].times.answeredAt = exchange.answeredAt }
        }
        for fact in version.facts {
            switch fact {
            case .fill(let key, let fill): self.fill(key, fill, version.order, &entry)
            case .venueOrder(let key, let state):
                switch state {
                case .intent, .submitted: break
                case .open, .partial, .unknown, .cancelRequested, .filled, .cancelled, .expired, .rejected, .notSent,
                    .absent:
                    let exchange = exchanges.first { $0.key == key }
                    var answer: JSONObject = [
                        "purpose": .string(key.leg.description), "attempt": .integer(key.attempt),
                        "outcome": .string(state.rawValue),
                    ]
                    answer["code"] = exchange?.code.map { .string($0) }
                    answer["detail"] = exchange?.detail.map { .string($0) }
                    answer["meaning"] = refusal(of: key, version).map { .string($0.rawValue) }
                    answer["sentAt"] = exchange.map { JSONValue($0.sentAt) }
                    answer["answeredAt"] = exchange.map { JSONValue($0.answeredAt) }
                    entry.answers.append(.object(answer))
                }
            case .created, .activated, .modified, .levelTriggered, .levelFilled, .levelRearmed, .levelCancelled,
                .levelMerged, .replanned, .breakEvenArmed, .breakEvenNotArmed, .lockReached, .trailingActivated,
                .stopMoved, .stopDelayed, .stopDelayReset, .stopLatched, .stopRetried, .partialStopFired,
                .partialStopDone, .partialStopCancelled, .writtenOff, .dust, .fundsAdded, .fundsReduced,
                .statusChanged, .conditionalChanged, .phaseChanged, .healthChanged, .backstopPlaced, .backstopMoved,
                .backstopSkipped, .backstopFired, .nativeLegLost, .marketChanged, .printSuspected, .printConfirmed,
                .printIgnored:
                break
            }
        }
    }

    /// Why the venue refused, as the order took it.
    private func refusal(of key: VenueOrderKey, _ version: StoredVersion) -> VenueNews.RefusalKind? {
        for step in version.record?.steps ?? [] {
            if case .decide(.venue(key, .refused(let kind, _)), _) = step { return kind }
        }
        return nil
    }

    private mutating func fill(_ key: VenueOrderKey, _ fill: Fill, _ order: StoredOrder, _ entry: inout TimelineEntry) {
        var shown: JSONObject = [
            "purpose": .string(key.leg.description), "attempt": .integer(key.attempt),
            "venueFillId": .string(fill.venueFillID), "qty": JSONValue(fill.quantity), "price": JSONValue(fill.price),
            "fee": JSONValue(fill.fee), "maker": .bool(fill.isMaker), "at": JSONValue(fill.time),
        ]
        switch fill.feeAsset {
        case .quote: shown["feeAsset"] = "quote"
        case .base: shown["feeAsset"] = "base"
        case .other(let coin): shown["feeAsset"] = .string(coin)
        }
        let threshold: Price?
        let sells: Bool
        switch order {
        case .smart(let order):
            threshold = Self.threshold(of: key.leg, order)
            sells = (order.side == .sell) == (key.leg == .entry)
        case .conditional(let order):
            threshold = order.draft.trigger
            sells = order.draft.side == .sell
        }
        if let threshold {
            // Positive: better for the trader than the threshold.
            let gain = sells ? fill.price.value - threshold.value : threshold.value - fill.price.value
            shown["slippage"] = JSONValue(gain)
        }
        entry.fills.append(.object(shown))
        if let place = asked[key], place < entries.count, entries[place].times.filledAt == nil {
            entries[place].times.filledAt = fill.time
        }
    }

    private static func threshold(of leg: Leg, _ order: SmartOrder) -> Price? {
        switch leg {
        case .stop: order.latch?.price
        case .takeProfit(let number): order.levels.first { $0.number == number }?.price
        case .partialStop(let number): order.partialStops.first { $0.number == number }?.firedAt
        case .entry: order.draft.entry.trigger
        case .close, .reduce, .add, .backstop, .conditional, .timer, .reconcile: nil
        }
    }

    // MARK: Without a version

    private static func entry(_ note: OrderNote) -> TimelineEntry {
        var entry = TimelineEntry(at: note.firstAt, kind: .refused, text: "")
        entry.actor = note.actor
        switch note.kind {
        case .refused:
            entry.cause = .command
            entry.requestID = note.subject
            entry.text = "A command was refused (\(note.code ?? "?")): \(note.detail ?? "no reason was stored.")"
        case .obsolete:
            entry.kind = .obsolete
            entry.job = note.subject
            let times = note.count == 1 ? "once" : "\(note.count) times, last at \(note.lastAt.rfc3339)"
            entry.text = "The job came \(times) when nothing was left to do for it."
        }
        return entry
    }

    /// Says of what was decided on a price that was not heard when it happened (RELIABILITY.md 4.4) how it was learnt.
    private static func replayed(_ entry: TimelineEntry, in gaps: [FeedGap]) -> TimelineEntry {
        guard let time = entry.tick?.position.venueTime,
            let gap = gaps.first(where: { $0.isBackfilled && $0.from < time && time <= $0.to })
        else { return entry }
        var entry = entry
        let (from, to) = (Timestamp(microseconds: gap.from).rfc3339, Timestamp(microseconds: gap.to).rfc3339)
        entry.also.append(
            "GAP_REPLAY: the prices of \(from) to \(to) came later, trade by trade, from the venue's history."
        )
        return entry
    }

    private static func entry(_ gap: FeedGap) -> TimelineEntry {
        let seconds = ExactDecimal(mantissa: Int128((gap.to - gap.from) / 1_000), scale: 3)
        var entry = TimelineEntry(
            at: Timestamp(microseconds: gap.from),
            kind: .gap,
            text: "No \(gap.series.source.rawValue) prices for \(seconds) s (\(gap.reason)): "
                + (gap.isBackfilled ? "filled from the venue's history." : "not filled."),
        )
        entry.cause = .recovery
        return entry
    }
}
