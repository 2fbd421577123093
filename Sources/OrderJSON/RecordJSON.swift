// What a version was made of, as text: the event's column `record`, read again by `explain` alone.
//
// Invariant: `DecisionRecord(json:)` of what is written here is the same value. Times and positions are integers; what
// is nil or empty is left out. Cost: one pass; some 300 bytes for a tick.

internal import JSONText
public import SmartOrders

extension DecisionRecord {
    /// One JSON document, compact.
    public func encoded() -> [UInt8] {
        var writer = JSONWriter(reserving: 512)
        writer.record(self)
        return writer.take()
    }
}

extension JSONWriter {
    mutating func record(_ record: DecisionRecord) {
        beginObject()
        if !record.steps.isEmpty {
            key("steps")
            beginArray()
            for step in record.steps { self.step(step) }
            endArray()
        }
        member("job", ifPresent: record.job)
        member("requestId", ifPresent: record.requestID)
        member("receivedAt", ifPresent: record.crossing?.receivedAt?.microseconds)
        member("crossedAt", ifPresent: record.crossing?.crossedAt.microseconds)
        member("takenAt", ifPresent: record.takenAt?.microseconds)
        if !record.exchanges.isEmpty {
            key("exchanges")
            beginArray()
            for exchange in record.exchanges {
                beginObject()
                members(exchange.key)
                member("sentAt", exchange.sentAt.microseconds)
                member("answeredAt", exchange.answeredAt.microseconds)
                member("code", ifPresent: exchange.code)
                member("detail", ifPresent: exchange.detail)
                endObject()
            }
            endArray()
        }
        endObject()
    }

    private mutating func members(_ key: VenueOrderKey) {
        member("leg", key.leg.description)
        member("attempt", key.attempt)
    }

    private mutating func step(_ step: DecisionStep) {
        beginObject()
        switch step {
        case .create(let bounds, let moment):
            key("create")
            self.bounds(bounds)
            self.moment(moment)
        case .absorb(let price, let position):
            member("absorb", price)
            self.position("upTo", position)
        case .reach(let position): self.position("reach", position)
        case .decide(let event, let moment):
            member("event", name(event))
            members(event)
            self.moment(moment)
        case .change(let change, let moment):
            key("change")
            object { writer in
                writer.member("trigger", ifPresent: change.trigger)
                writer.change("limit", change.limit) { $0.decimal($1.value) }
                writer.member("qty", ifPresent: change.quantity)
            }
            self.moment(moment)
        case .begin(let now): member("begin", now.microseconds)
        case .submit(let keys):
            key("submit")
            beginArray()
            for key in keys {
                beginObject()
                members(key)
                endObject()
            }
            endArray()
        }
        endObject()
    }

    private mutating func moment(_ moment: Moment) {
        key("at")
        beginObject()
        member("now", moment.now.microseconds)
        member("price", ifPresent: moment.price)
        if moment.position != .start { position("position", moment.position) }
        member("low", ifPresent: moment.band?.low)
        member("high", ifPresent: moment.band?.high)
        member("held", ifPresent: moment.held)
        member("claimedElsewhere", unlessZero: moment.claimedElsewhere)
        member("reference", ifPresent: moment.reference)
        if let standing = moment.standing {
            member("standing", standing.net)
            member("otherOrders", standing.otherOrders)
        }
        endObject()
    }

    private mutating func bounds(_ bounds: CreationBounds) {
        beginObject()
        member("maxConditionals", bounds.maxConditionals)
        member("activeConditionals", bounds.activeConditionals)
        member("minimumCallback", bounds.minimumCallback)
        member("maximumCallback", bounds.maximumCallback)
        if let sources = bounds.sources {
            key("sources")
            beginArray()
            for source in sources { string(source.rawValue) }
            endArray()
        }
        member("positionAverage", ifPresent: bounds.positionAverage)
        member("managedElsewhere", unlessZero: bounds.managedElsewhere)
        member("hasOpposite", ifTrue: bounds.hasOpposite)
        member("hasPositionOrder", ifTrue: bounds.hasPositionOrder)
        member("freeBalance", ifPresent: bounds.freeBalance)
        if let adopted = bounds.adopted {
            key("adopted")
            beginObject()
            member("venueOrderId", adopted.venueOrderID)
            member("side", adopted.side)
            member("qty", adopted.quantity)
            member("limit", adopted.limit)
            member("reduceOnly", ifTrue: adopted.reduceOnly)
            key("fills")
            beginArray()
            for fill in adopted.fills { storedFill(fill) }
            endArray()
            endObject()
        }
        endObject()
    }

    // MARK: Events

    private func name(_ event: OrderEvent) -> String {
        switch event {
        case .tick: "tick"
        case .trigger: "trigger"
        case .timer: "timer"
        case .venue: "venue"
        case .cancelFailed: "cancelFailed"
        case .recovered: "recovered"
        case .position: "position"
        case .market: "market"
        case .attention: "attention"
        case .command: "command"
        }
    }

    private mutating func members(_ event: OrderEvent) {
        switch event {
        case .tick, .timer: break
        case .trigger(let leg, let attempt): members(VenueOrderKey(leg: leg, attempt: attempt))
        case .venue(let key, let news):
            members(key)
            self.news(news)
        case .cancelFailed(let key), .recovered(let key): members(key)
        case .position(let net, let average):
            member("net", net)
            member("average", ifPresent: average)
        case .market(let terms):
            key("terms")
            self.terms(terms)
        case .attention(let cause, let isRaised):
            member("cause", cause)
            member("raised", ifTrue: isRaised)
        case .command(let command): self.command(command)
        }
    }

    private mutating func news(_ news: VenueNews) {
        switch news {
        case .accepted(let venueOrderID): member("accepted", venueOrderID)
        case .fill(let fill):
            key("fill")
            storedFill(fill)
        case .ended(let end):
            switch end {
            case .filled: member("ended", "filled")
            case .expired: member("ended", "expired")
            case .cancelled: member("ended", "cancelled")
            }
        case .refused(let kind, let venueCode):
            member("refused", kind)
            member("venueCode", venueCode)
        case .triggered: member("outcome", "triggered")
        case .notSent: member("outcome", "notSent")
        case .unknown: member("outcome", "unknown")
        case .absent: member("outcome", "absent")
        }
    }

    /// A fill, complete: `fill` of EventObjects.swift is for readers and cannot be read back.
    private mutating func storedFill(_ fill: Fill) {
        beginObject()
        member("id", fill.venueFillID)
        member("qty", fill.quantity)
        member("price", fill.price)
        member("fee", fill.fee)
        switch fill.feeAsset {
        case .quote: break
        case .base: member("feeIn", "base")
        case .other(let coin): member("feeCoin", coin)
        }
        member("maker", ifTrue: fill.isMaker)
        member("at", fill.time.microseconds)
        endObject()
    }

    // MARK: Commands

    private mutating func command(_ command: Command) {
        switch command {
        case .cancel: member("command", "cancel")
        case .cancelLeavingEntry: member("command", "cancelLeavingEntry")
        case .cancelEntry: member("command", "cancelEntry")
        case .closeMarket: member("command", "closeMarket")
        case .closeLevel(let level):
            member("command", "closeLevel")
            member("level", level)
        case .openNow: member("command", "openNow")
        case .addFunds(let quantity, let limit):
            member("command", "addFunds")
            member("qty", quantity)
            member("limitPrice", ifPresent: limit)
        case .reduceFunds(let quantity):
            member("command", "reduceFunds")
            member("qty", quantity)
        case .edit(let edit):
            member("command", "edit")
            key("edit")
            self.edit(edit)
        }
    }

    private mutating func edit(_ edit: OrderEdit) {
        beginObject()
        change("stopLoss", edit.stopLoss) { writer, stop in writer.stopLoss(stop) }
        change("trailing", edit.trailing) { writer, plan in
            writer.object { $0.trailingMembers(plan) }
        }
        change("breakEven", edit.breakEven) { writer, plan in
            writer.object { $0.breakEvenMembers(plan) }
        }
        change("backstop", edit.backstop) { writer, plan in
            writer.object { $0.backstopMembers(plan) }
        }
        change("printGuard", edit.printGuard) { writer, plan in
            writer.object { $0.printGuardMembers(plan) }
        }
        change("exitAt", edit.exitAt) { writer, time in writer.string(time.rfc3339) }
        member("stopFollow", ifPresent: edit.stopFollow)
        list("stepLocks", edit.stepLocks) { $0.stepLockMembers($1) }
        list("partialStops", edit.partialStops) { $0.partialStopMembers($1) }
        list("takeProfits", edit.takeProfits) { $0.takeProfitMembers($1) }
        member("cancelLevel", ifPresent: edit.cancelLevel)
        member("entryPrice", ifPresent: edit.entryPrice)
        member("qty", ifPresent: edit.quantity)
        member("triggerSource", ifPresent: edit.triggerSource)
        if let entry = edit.entry {
            key("entryPlan")
            self.entry(entry)
        }
        member("sizeMode", ifPresent: edit.sizeMode)
        member("placement", ifPresent: edit.placement)
        if let resting = edit.restingLimit {
            member("restingLevel", resting.level)
            member("restingLimit", resting.price)
        }
        endObject()
    }

    private mutating func object(_ members: (inout JSONWriter) -> Void) {
        beginObject()
        members(&self)
        endObject()
    }

    private mutating func change<Part>(
        _ key: StaticString,
        _ change: Part??,
        _ write: (inout JSONWriter, Part) -> Void,
    ) {
        guard let change else { return }
        self.key(key)
        if let change { write(&self, change) } else { null() }
    }

    private mutating func list<Part>(
        _ key: StaticString,
        _ parts: [Part]?,
        _ members: (inout JSONWriter, Part) -> Void,
    ) {
        guard let parts else { return }
        self.key(key)
        beginArray()
        for part in parts {
            beginObject()
            members(&self, part)
            endObject()
        }
        endArray()
    }
}
