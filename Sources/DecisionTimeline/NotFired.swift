// Why a leg has not fired, and how near it was (ORDERS.md 9.2). Pure.
public import OrderEngine
internal import OrderJSON
public import SmartOrders

public struct NotFired: Sendable {
    public enum Reason: String, Sendable, CaseIterable {
        case notReached = "NOT_REACHED"
        case otherSourceCrossed = "OTHER_SOURCE_CROSSED"
        case notArmed = "NOT_ARMED"
        case timeoutRunning = "TIMEOUT_RUNNING"
        case blockedUnresolved = "BLOCKED_UNRESOLVED"
        case latchedWaitingVenue = "LATCHED_WAITING_VENUE"
        case superseded = "SUPERSEDED"
        case printIgnored = "PRINT_IGNORED"
        case feedGap = "FEED_GAP"
        case positionGone = "POSITION_GONE"
        case halted = "HALTED"
    }

    /// What is said of one stretch.
    public struct Nearness: Sendable {
        public let stretch: Stretch
        /// The threshold at its nearest, else as it stood at first.
        public let needed: Price?
        public let miss: NearestMiss?
        public let coverage: Coverage
    }

    public let leg: String
    public let kind: String
    public let reason: Reason
    /// The newest stretch first.
    public let stretches: [Nearness]
    public let otherSource: (source: TriggerSource, extreme: Price, at: TickPosition)?
    public let gaps: [FeedGap]
    public let text: String
    /// Of the grid; distances in ticks are counted in it.
    public let tickSize: Price

    /// What the answer is made of.
    public struct Evidence: Sendable {
        public let versions: [StoredVersion]
        public let prices: [TriggerSource: PriceEvidence]
        public let gaps: [FeedGap]
        public let halts: [StandingHalt]

        public init(
            versions: [StoredVersion],
            prices: [TriggerSource: PriceEvidence] = [:],
            gaps: [FeedGap] = [],
            halts: [StandingHalt] = [],
        ) {
            self.versions = versions
            self.prices = prices
            self.gaps = gaps
            self.halts = halts
        }
    }

    /// One answer per leg and kind of threshold that has not done its part, in the order of R10.
    public static func all(_ evidence: Evidence) -> [NotFired] {
        guard let stored = evidence.versions.last?.order else { return [] }
        let end = evidence.prices[stored.triggerSource]?.end ?? stored.position
        let stretches = Stretch.all(of: evidence.versions, end: end)
        switch stored {
        case .smart(let order): return all(evidence, order, stretches)
        case .conditional(let order): return ConditionalJudge(order: order, evidence: evidence).answers(stretches)
        }
    }

    private static func all(_ evidence: Evidence, _ last: SmartOrder, _ stretches: [Stretch]) -> [NotFired] {
        var roles: [LegThreshold.Role] = []
        for stretch in stretches where !roles.contains(stretch.threshold.role) { roles.append(stretch.threshold.role) }
        let judge = Judge(order: last, evidence: evidence)
        var answers = judge.waiting()
        for role in roles where !judge.isDone(role) {
            answers.append(judge.answer(role, stretches.filter { $0.threshold.role == role }.reversed()))
        }
        return answers
    }
}

/// One order and what is known of it.
private struct Judge {
    let order: SmartOrder
    let evidence: NotFired.Evidence

    // MARK: Fired, and waiting for the venue

    /// Legs that fired and are not through yet.
    func waiting() -> [NotFired] {
        guard !order.status.isTerminal else { return [] }
        var legs: [Leg] = []
        if order.latch != nil { legs.append(.stop) }
        for partial in order.partialStops where partial.state == .latched { legs.append(.partialStop(partial.number)) }
        for level in order.levels where level.state == .triggered { legs.append(.takeProfit(level.number)) }
        if order.status == .pending, order.entryTriggered { legs.append(.entry) }
        return legs.map(waiting)
    }

    private func waiting(_ leg: Leg) -> NotFired {
        let mine = order.venueOrders.filter { $0.leg == leg }
        let isEntry = leg == .entry
        let halt = evidence.halts.first { isEntry || $0.stopsExits }
        let isUnsent = mine.isEmpty || mine.contains { $0.state == .intent }
        let attempts = order.attempts[leg] ?? 0
        let subject = Sentences.subject(leg)
        var reason = NotFired.Reason.latchedWaitingVenue
        let count = "\(attempts) \(attempts == 1 ? "attempt" : "attempts")"
        let text: String
        if let halt, isUnsent {
            reason = .halted
            text =
                "\(subject) fired, but nothing is sent: \(halt.scope) is halted (\(halt.level)) since "
                + "\(halt.since.rfc3339): \(halt.reason)."
        } else if mine.contains(where: { $0.state == .open || $0.state == .partial }) {
            text = "\(subject)'s order rests at the venue and is not filled yet (\(count))."
        } else {
            let now = mine.isEmpty ? "" : ", now \(mine.map(\.state.rawValue).joined(separator: ", "))"
            text = "\(subject) fired; the venue has not filled it yet (\(count)\(now))."
        }
        return NotFired(
            leg: leg.shown,
            kind: leg == .stop ? order.latch?.kind.rawValue ?? leg.shown : leg.shown,
            reason: reason,
            stretches: [],
            otherSource: nil,
            gaps: [],
            text: text,
            tickSize: order.instrument.armedTick,
        )
    }

    /// Whether a threshold did its part: it fired, or what it arms is armed.
    func isDone(_ role: LegThreshold.Role) -> Bool {
        switch role {
        case .entry: return order.entryTriggered
        case .entryActivation: return order.entryExtreme != nil
        case .stop(let kind): return order.latch?.kind == kind
        case .timeout: return order.latch?.kind == .fixed
        case .emergency: return order.latch != nil && order.latch?.price == order.draft.stopLoss?.emergencyPrice
        case .partialStop(let number):
            let state = order.partialStops.first { $0.number == number }?.state
            return state == .latched || state == .done
        case .takeProfit(let number):
            let state = order.levels.first { $0.number == number }?.state
            return state == .triggered || state == .filled
        case .activation: return order.trailingActive
        case .step(let number): return order.locksReached >= number
        case .breakEvenArming: return order.breakEvenPrice != nil
        case .conditional: return true
        }
    }

    // MARK: Not fired

    func answer(_ role: LegThreshold.Role, _ stretches: [Stretch]) -> NotFired {
        let tickSize = order.instrument.armedTick
        let near = stretches.map { evidence.nearness($0, tickSize) }
        let newest = stretches.first
        let prices = newest.map(evidence.points) ?? []
        let gaps = newest.map(evidence.gaps) ?? []
        let other = newest.flatMap { evidence.otherSource($0, tickSize) }
        let reason = reason(role, newest, gaps: gaps, hasPrices: !prices.isEmpty, crossedElsewhere: other != nil)
        return NotFired(
            leg: role.leg,
            kind: role.kind,
            reason: reason,
            stretches: near,
            otherSource: reason == .otherSourceCrossed ? other : nil,
            gaps: gaps,
            text: text(role, reason, near.first, other, gaps),
            tickSize: order.instrument.armedTick,
        )
    }

    private func reason(
        _ role: LegThreshold.Role,
        _ newest: Stretch?,
        gaps: [FeedGap],
        hasPrices: Bool,
        crossedElsewhere: Bool,
    ) -> NotFired.Reason {
        if order.closeReason == .positionClosedExternally || order.closeReason == .positionFlipped {
            return .positionGone
        }
        if case .cancelling(let why) = order.goal, why == .positionClosedExternally || why == .positionFlipped {
            return .positionGone
        }
        // Another leg, or a command, took the order out.
        if order.latch != nil || order.status == .closed || order.status == .stopped || order.goal != .none {
            return .superseded
        }
        switch newest?.threshold.idle {
        case .leaving, .looser, .partialStop: return .superseded
        case .unresolved: return .blockedUnresolved
        case .nothingHeld, .notActivated, .plansNothing, .paused: return .notArmed
        case nil: break
        }
        if role == .timeout, order.delayedSince != nil { return .timeoutRunning }
        let isOpen = !order.status.isTerminal && order.thresholds.contains { $0.role == role }
        // It was replaced or removed, by a level that filled or an edit.
        if !isOpen, !order.status.isTerminal { return .superseded }
        if newest?.threshold.price == nil { return .notArmed }
        if let newest, ignored(newest) != nil { return .printIgnored }
        if crossedElsewhere { return .otherSourceCrossed }
        if gaps.contains(where: { !$0.isBackfilled }) || !gaps.isEmpty && !hasPrices { return .feedGap }
        return .notReached
    }

    /// The newest price that would have reached it and was ignored as a false print.
    private func ignored(_ stretch: Stretch) -> Price? {
        guard let threshold = stretch.threshold.price else { return nil }
        for version in evidence.versions.reversed() {
            for case .printIgnored(let price) in version.facts
            where stretch.threshold.comparison.holds(price, threshold) { return price }
        }
        return nil
    }

    // MARK: Texts

    private func text(
        _ role: LegThreshold.Role,
        _ reason: NotFired.Reason,
        _ near: NotFired.Nearness?,
        _ other: (source: TriggerSource, extreme: Price, at: TickPosition)?,
        _ gaps: [FeedGap],
    ) -> String {
        let source = Sentences.name(near?.stretch.source ?? order.triggerSource).lowercased()
        switch reason {
        case .notReached: return closest(role, near)
        case .otherSourceCrossed:
            guard let other else { return closest(role, near) }
            let extreme = near?.stretch.threshold.comparison == .atOrBelow ? "low" : "high"
            let own = near?.miss.map { ", whose \(extreme) was \(shown($0.price))" } ?? ""
            let verb = other.source == .last ? "Last traded at" : "\(Sentences.name(other.source)) was at"
            return "\(verb) \(shown(other.extreme)), but this \(short(role)) watches \(source)\(own)."
        case .printIgnored:
            let price = near.flatMap { ignored($0.stretch) }.map { " \(shown($0))" } ?? ""
            return
                "\(Sentences.name(near?.stretch.source ?? order.triggerSource))\(price) would have reached "
                + "\(Sentences.object(role)) and was ignored as a false print: nothing confirmed it within a second."
        case .notArmed: return notArmed(role, near?.stretch.threshold.idle)
        case .timeoutRunning: return timeout()
        case .blockedUnresolved:
            let unknown = order.venueOrders.filter { $0.state == .unknown }
            let which = unknown.map {
                "the \(Sentences.name($0.leg)) order, attempt \($0.attempt), since \($0.createdAt.rfc3339)"
            }
            return
                "\(Sentences.subject(role)) waits until the venue's answer is known: \(which.joined(separator: "; "))."
        case .latchedWaitingVenue: return "\(Sentences.subject(role)) fired and waits for the venue."
        case .superseded: return superseded(role, near?.stretch.threshold.idle)
        case .feedGap:
            return Sentences.missing(gaps, source) + closest(role, near)
        case .positionGone:
            return "\(Sentences.subject(role)) had nothing left to act on: the position was closed or turned elsewhere."
        case .halted: return "\(Sentences.subject(role)) is held back by a halt."
        }
    }

    private func shown(_ price: Price) -> String { Sentences.shown(price, order) }

    private func short(_ role: LegThreshold.Role) -> String {
        switch role {
        case .stop, .timeout, .emergency: "stop"
        case .takeProfit: "target"
        case .partialStop: "partial stop"
        case .entry, .entryActivation: "entry"
        case .activation, .step, .breakEvenArming: "mark"
        case .conditional: "order"
        }
    }

    /// "Mark came no closer than 97.03 to the stop 97.00 (3 ticks)."
    private func closest(_ role: LegThreshold.Role, _ near: NotFired.Nearness?) -> String {
        guard let near else { return "\(Sentences.subject(role)) was never armed." }
        guard let miss = near.miss else {
            return near.coverage == .none
                ? "No prices are known for the time in which \(Sentences.object(role)) stood."
                : "\(Sentences.subject(role)) was not reached."
        }
        return Sentences.closest(miss, role, near.stretch.source, order.instrument) + "."
    }

    private func notArmed(_ role: LegThreshold.Role, _ idle: LegThreshold.Idle?) -> String {
        switch idle {
        case .nothingHeld: return "\(Sentences.subject(role)) waits for the first fill of the entry."
        case .notActivated:
            return "\(Sentences.subject(role)) follows nothing yet: its activation price was not reached."
        case .plansNothing: return "\(Sentences.subject(role)) plans nothing: its share went to other targets."
        case .paused: return "\(Sentences.subject(role)) pauses after the venue's refusal."
        case .looser, .unresolved, .partialStop, .leaving, nil: return "\(Sentences.subject(role)) has no price yet."
        }
    }

    private func superseded(_ role: LegThreshold.Role, _ idle: LegThreshold.Idle?) -> String {
        if let latch = order.latch {
            return "The \(Sentences.name(latch.kind)) fired before \(Sentences.object(role))."
        }
        if idle == .looser, let binding = order.effectiveStop {
            return
                "\(Sentences.subject(role)) is looser than the \(Sentences.name(binding.kind)) at \(shown(binding.price)), which binds."
        }
        if idle == .partialStop { return "\(Sentences.subject(role)) waits for a partial stop that is on its way." }
        if let reason = order.closeReason {
            return "The order ended before \(Sentences.object(role)) came to act: \(Sentences.name(reason))."
        }
        switch order.goal {
        case .closing(let reason), .cancelling(let reason):
            return "The order is on its way out before \(Sentences.object(role)): \(Sentences.name(reason))."
        case .none: return "Another threshold took the place of \(Sentences.object(role))."
        }
    }

    private func timeout() -> String {
        guard let since = order.delayedSince, let wait = order.draft.stopLoss?.timeoutMs else {
            return "The stop's timeout runs."
        }
        let resets = evidence.versions.reduce(0) { $0 + $1.facts.count { $0 == .stopDelayReset } }
        return "The price has been beyond the stop since \(since.rfc3339); it fires at "
            + "\(since.advanced(milliseconds: wait).rfc3339) unless the price comes back (\(resets) "
            + "\(resets == 1 ? "reset" : "resets") so far)."
    }
}

extension NotFired.Evidence {
    func points(_ stretch: Stretch) -> ArraySlice<PricePoint> {
        let known = prices[stretch.source] ?? .nothing
        return known.points(after: stretch.after, through: stretch.through)
    }

    func nearness(_ stretch: Stretch, _ tickSize: Price) -> NotFired.Nearness {
        let points = points(stretch)
        let miss =
            stretch.threshold.idle == nil ? stretch.nearestMiss(in: points, tickSize: tickSize) : nil
        let coverage = (prices[stretch.source] ?? .nothing).coverage(after: stretch.after, points)
        return NotFired.Nearness(
            stretch: stretch,
            needed: miss?.threshold ?? stretch.threshold.price,
            miss: miss,
            coverage: coverage,
        )
    }

    /// Another price of the market that would have reached it; `last` before the others.
    func otherSource(
        _ stretch: Stretch,
        _ tickSize: Price,
    ) -> (source: TriggerSource, extreme: Price, at: TickPosition)? {
        guard stretch.threshold.idle == nil else { return nil }
        for source in TriggerSource.allCases where source != stretch.source {
            guard let known = prices[source] else { continue }
            // Positions of two sources are comparable by time only.
            let points = known.points(
                after: TickPosition(venueTime: stretch.after.venueTime, sequence: .max),
                through: TickPosition(venueTime: stretch.through.venueTime, sequence: .max),
            )
            if let found = stretch.crossing(in: points, tickSize: tickSize) {
                return (source, found.price, found.position)
            }
        }
        return nil
    }

    /// Gaps in which a stretch stood.
    func gaps(_ stretch: Stretch) -> [FeedGap] {
        gaps.filter {
            $0.to >= stretch.after.venueTime && $0.from <= stretch.through.venueTime
                && $0.series.source == stretch.source
        }
    }
}

extension Sentences {
    /// "Mark came no closer than 97.03 to the stop 97.00 (3 ticks)", without the full stop.
    static func closest(
        _ miss: NearestMiss,
        _ role: LegThreshold.Role,
        _ source: TriggerSource,
        _ instrument: Instrument,
    ) -> String {
        let ticks = miss.ticks(instrument.tickSize)
        let range = miss.isRange ? ", or \(miss.otherDistance) if the high came first" : ""
        return "\(name(source)) came no closer than \(shown(miss.price, instrument)) to "
            + "\(stands(role, at: shown(miss.threshold, instrument))) "
            + "(\(ticks) \(ticks == 1 ? "tick" : "ticks")\(range))"
    }

    /// The beginning of a statement that rests on prices with gaps.
    static func missing(_ gaps: [FeedGap], _ source: String) -> String {
        let spans = gaps.map { gap in
            let filled = gap.isBackfilled ? "filled later" : "not filled"
            let from = Timestamp(microseconds: gap.from).rfc3339
            return "\(from) to \(Timestamp(microseconds: gap.to).rfc3339) (\(filled))"
        }
        return "There were no \(source) prices from \(spans.joined(separator: ", ")); what is known: "
    }
}
