// Why a conditional order has not fired, or is not through yet (ORDERS.md 9.2, R19). Pure.
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// One conditional order and what is known of it.
struct ConditionalJudge {
    let order: ConditionalOrder
    let evidence: NotFired.Evidence

    private var instrument: Instrument { order.instrument }

    /// - Parameter stretches: of its trigger, in order.
    func answers(_ stretches: [Stretch]) -> [NotFired] {
        guard order.triggeredAt == nil else { return order.status.isTerminal ? [] : [waiting()] }
        return stretches.isEmpty ? [] : [notFired(stretches.reversed())]
    }

    /// It fired, and is not through yet.
    private func waiting() -> NotFired {
        // A halt of entries lets it pass where it only reduces (RELIABILITY.md 11.1).
        let halt = evidence.halts.first { $0.stopsExits || !order.draft.reduceOnly }
        let mine = order.venueOrders
        let count = "\(order.attempts) \(order.attempts == 1 ? "attempt" : "attempts")"
        var reason = NotFired.Reason.latchedWaitingVenue
        let text: String
        if let halt, mine.isEmpty || mine.contains(where: { $0.state == .intent }) {
            reason = .halted
            text =
                "The order fired, but nothing is sent: \(halt.scope) is halted (\(halt.level)) since "
                + "\(halt.since.rfc3339): \(halt.reason)."
        } else if let unknown = mine.first(where: { $0.state == .unknown }) {
            reason = .blockedUnresolved
            text =
                "The order fired and waits until the venue's answer is known: attempt \(unknown.attempt), since "
                + "\(unknown.createdAt.rfc3339)."
        } else if mine.contains(where: { $0.state == .open || $0.state == .partial }) {
            text =
                "The order fired and rests at the venue: \(order.filled) of \(order.draft.quantity) is filled (\(count))."
        } else {
            let now = mine.isEmpty ? "" : ", now \(mine.map(\.state.rawValue).joined(separator: ", "))"
            text = "The order fired; the venue has not filled it yet (\(count)\(now))."
        }
        return answer(reason, [], nil, [], text)
    }

    /// - Parameter stretches: the newest first.
    private func notFired(_ stretches: [Stretch]) -> NotFired {
        let near = stretches.map { evidence.nearness($0, instrument.tickSize) }
        let newest = stretches.first
        let prices = newest.map(evidence.points) ?? []
        let gaps = newest.map(evidence.gaps) ?? []
        let other = newest.flatMap { evidence.otherSource($0, instrument.tickSize) }
        let source = Sentences.name(order.triggerSource).lowercased()
        let closest = closest(near.first) + ended
        if order.reason == .positionClosedExternally || order.reason == .positionFlipped {
            let text = "The order had nothing left to act on: \(order.reason.map { Sentences.name($0) } ?? "")."
            return answer(.positionGone, near, nil, gaps, text)
        }
        if let other {
            let extreme = order.condition == .atOrBelow ? "low" : "high"
            let own = near.first?.miss.map { ", whose \(extreme) was \(shown($0.price))" } ?? ""
            let verb = other.source == .last ? "Last traded at" : "\(Sentences.name(other.source)) was at"
            let text = "\(verb) \(shown(other.extreme)), but this order watches \(source)\(own)\(ended)."
            return answer(.otherSourceCrossed, near, other, gaps, text)
        }
        if gaps.contains(where: { !$0.isBackfilled }) || !gaps.isEmpty && prices.isEmpty {
            return answer(.feedGap, near, nil, gaps, Sentences.missing(gaps, source) + closest + ".")
        }
        return answer(.notReached, near, nil, gaps, closest + ".")
    }

    private func closest(_ near: NotFired.Nearness?) -> String {
        guard let near, let miss = near.miss else {
            return near?.coverage == Coverage.none
                ? "No prices are known for the time in which the trigger stood" : "The trigger was not reached"
        }
        return Sentences.closest(miss, .conditional, near.stretch.source, instrument)
    }

    /// What became of it meanwhile.
    private var ended: String {
        guard order.status.isTerminal else { return "" }
        return "; then it ended: " + (order.reason.map { Sentences.name($0) } ?? order.status.rawValue)
    }

    private func shown(_ price: Price) -> String { Sentences.shown(price, instrument) }

    private func answer(
        _ reason: NotFired.Reason,
        _ near: [NotFired.Nearness],
        _ other: (source: TriggerSource, extreme: Price, at: TickPosition)?,
        _ gaps: [FeedGap],
        _ text: String,
    ) -> NotFired {
        NotFired(
            leg: LegThreshold.Role.conditional.leg,
            kind: LegThreshold.Role.conditional.kind,
            reason: reason,
            stretches: near,
            otherSource: other,
            gaps: gaps,
            text: text,
            tickSize: instrument.tickSize,
        )
    }
}
