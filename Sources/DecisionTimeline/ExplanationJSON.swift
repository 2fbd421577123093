// An explanation as INTERFACES.md 1.13 shows it. Times that are not known are null, never made up.
internal import JSONText
internal import OrderEngine
internal import OrderJSON
public import SmartOrders

extension Explanation {
    /// What to leave out.
    public struct Filter: Sendable {
        /// `SL`, `TP1`, ...; nil: all.
        public var leg: String?
        public var from: Timestamp?
        public var to: Timestamp?
        public init(leg: String? = nil, from: Timestamp? = nil, to: Timestamp? = nil) {
            self.leg = leg
            self.from = from
            self.to = to
        }

        func shows(_ entry: TimelineEntry) -> Bool {
            if let leg, entry.leg != leg { return false }
            if let from, entry.at < from { return false }
            if let to, entry.at > to { return false }
            return true
        }
    }

    public func encoded(_ filter: Filter = Filter()) -> [UInt8] {
        var writer = JSONWriter(reserving: 4_096 * (timeline.count + 1))
        writer.beginObject()
        writer.member("orderId", order.description)
        writer.key("timeline")
        writer.beginArray()
        for entry in timeline where filter.shows(entry) { writer.entry(entry) }
        writer.endArray()
        writer.key("notFired")
        writer.beginArray()
        for answer in notFired where filter.leg.map({ $0 == answer.leg }) ?? true { writer.notFired(answer) }
        writer.endArray()
        writer.endObject()
        return writer.take()
    }
}

extension JSONWriter {
    mutating func entry(_ entry: TimelineEntry) {
        beginObject()
        member("version", orNull: entry.version)
        member("versionBefore", orNull: entry.version.map { $0 - 1 })
        member("at", entry.at)
        member("committedAt", orNull: entry.times.committedAt)
        member("leg", orNull: entry.leg)
        member("kind", entry.kind)
        member("cause", orNull: entry.cause)
        key("actor")
        if let actor = entry.actor {
            beginObject()
            member("kind", actor.kind)
            // The digest of a key is nobody's business (ORDERS.md 9.3.4).
            member("id", actor.id)
            endObject()
        } else {
            null()
        }
        member("requestId", orNull: entry.requestID)
        key("tick")
        tick(entry)
        member("rule", value: entry.rule.map { .object($0) } ?? .null)
        member("choice", value: entry.choice.map { .object($0) } ?? .null)
        member("quantity", value: entry.quantity.map { .object($0) } ?? .null)
        member("order", value: entry.orders.first ?? .null)
        member("orders", value: .array(entry.orders))
        member("venueOrders", value: .array(entry.orders.compactMap { $0["clientOrderId"] }))
        member("answer", value: entry.answers.first ?? .null)
        member("answers", value: .array(entry.answers))
        member("fills", value: .array(entry.fills))
        member("job", orNull: entry.job)
        let isWorker = entry.actor?.kind == .worker
        member("worker", orNull: isWorker ? entry.actor?.id : nil)
        member("shard", orNull: entry.shard)
        // Which assignment of the shard found the crossing is not stored.
        key("epoch")
        null()
        key("changes")
        beginArray()
        for change in entry.changes {
            beginObject()
            member("path", change.path)
            member("from", value: change.from ?? .null)
            member("to", value: change.to ?? .null)
            endObject()
        }
        endArray()
        latency(entry)
        member("text", entry.text)
        key("also")
        beginArray()
        for text in entry.also { string(text) }
        endArray()
        endObject()
    }

    private mutating func tick(_ entry: TimelineEntry) {
        guard let tick = entry.tick else { return null() }
        beginObject()
        member("source", tick.source)
        member("price", tick.price)
        member("venueTime", Timestamp(microseconds: tick.position.venueTime))
        member("receivedAt", orNull: entry.times.receivedAt)
        member("sequence", tick.position.sequence)
        endObject()
    }

    /// Milliseconds between the steps of one firing; null where a step is unknown, or two clocks contradict each other.
    private mutating func latency(_ entry: TimelineEntry) {
        let times = entry.times
        let venue = entry.tick.map { Timestamp(microseconds: $0.position.venueTime) }
        key("latencyMs")
        beginObject()
        elapsed("venueToReceive", venue, times.receivedAt)
        elapsed("receiveToTrigger", times.receivedAt, times.crossedAt)
        elapsed("triggerToTake", times.crossedAt, times.takenAt)
        elapsed("triggerToCommit", times.crossedAt, times.committedAt)
        elapsed("commitToSend", times.committedAt, times.sentAt)
        elapsed("commitToAck", times.committedAt, times.answeredAt)
        elapsed("ackToFill", times.answeredAt, times.filledAt)
        elapsed("total", venue, times.answeredAt ?? times.committedAt)
        endObject()
    }

    private mutating func elapsed(_ key: StaticString, _ from: Timestamp?, _ to: Timestamp?) {
        var milliseconds: Int64?
        if let from, let to {
            let micros = to.microseconds - from.microseconds
            // Recorded prices carry the time of another day.
            if micros >= 0, micros < 3_600_000_000 { milliseconds = (micros + 500) / 1_000 }
        }
        member(key, orNull: milliseconds)
    }

    // MARK: Not fired

    mutating func notFired(_ answer: NotFired) {
        beginObject()
        member("leg", answer.leg)
        member("kind", answer.kind)
        member("reason", answer.reason)
        nearness(answer.stretches.first, answer.tickSize)
        key("otherSource")
        if let other = answer.otherSource {
            beginObject()
            member("source", other.source)
            member("extreme", other.extreme)
            member("at", Timestamp(microseconds: other.at.venueTime))
            endObject()
        } else {
            null()
        }
        key("gaps")
        beginArray()
        for gap in answer.gaps {
            beginObject()
            member("from", Timestamp(microseconds: gap.from))
            member("to", Timestamp(microseconds: gap.to))
            member("reason", gap.reason)
            member("backfilled", gap.isBackfilled)
            endObject()
        }
        endArray()
        key("earlier")
        beginArray()
        for one in answer.stretches.dropFirst() {
            beginObject()
            nearness(one, answer.tickSize)
            endObject()
        }
        endArray()
        member("text", answer.text)
        endObject()
    }

    private mutating func nearness(_ near: NotFired.Nearness?, _ tickSize: Price) {
        guard let near else {
            member("needed", orNull: String?.none)
            member("coverage", Coverage.none)
            return
        }
        let comparison = near.stretch.threshold.comparison
        member("needed", orNull: near.needed.map { "\(comparison.rawValue) \($0)" })
        member("source", near.stretch.source)
        member("sinceVersion", near.stretch.sinceVersion)
        member("untilVersion", near.stretch.untilVersion)
        member("since", near.stretch.since)
        member("closest", orNull: near.miss?.price)
        member("closestAt", orNull: near.miss.map { Timestamp(microseconds: $0.position.venueTime) })
        member("closestSequence", orNull: near.miss?.position.sequence)
        member("missedBy", orNull: near.miss?.distance)
        member("missedByTicks", orNull: near.miss.map { $0.ticks(tickSize) })
        member("missedByPct", orNull: near.miss?.percent)
        if let miss = near.miss, miss.isRange {
            key("missedByRange")
            beginArray()
            for distance in [min(miss.distance, miss.otherDistance), max(miss.distance, miss.otherDistance)] {
                decimal(distance.value)
            }
            endArray()
        }
        member("coverage", near.coverage)
    }
}
