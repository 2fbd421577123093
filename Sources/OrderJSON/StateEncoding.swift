// The complete state of an order as text: the row's `jsonb` column, and what a restart reads.
//
// Invariant: `SmartOrder(state:)` of what is written here is the same value, for every value. Members that have their
// default (zero, false, nil, empty) are left out; times and positions are integers, because nobody but this codec and
// SQL reads them. Cost: one pass, no tree; about 1 KiB for an order with three levels.

public import JSONText
public import SmartOrders

extension SmartOrder {
    /// The state as one JSON document, compact.
    public func encodedState() -> [UInt8] {
        var writer = JSONWriter(reserving: 2048)
        writer.state(self)
        return writer.take()
    }
}

extension JSONWriter {
    /// An order's state as an object.
    public mutating func state(_ order: SmartOrder) {
        beginObject()
        member("id", order.id.description)
        member("account", order.account.description)
        key("instrument")
        instrument(order.instrument)
        member("version", order.version)
        member("createdAt", order.createdAt.microseconds)
        member("updatedAt", order.updatedAt.microseconds)
        key("draft")
        draft(order.draft)
        member("triggerSource", order.triggerSource)
        member("status", order.status)
        member("phase", ifPresent: order.phase)
        member("health", order.health)
        member("closeReason", ifPresent: order.closeReason)
        goal(order.goal)
        ledger(order)
        entryState(order)
        stopState(order)
        legState(order)
        trouble(order)
        endObject()
    }

    private mutating func goal(_ goal: OrderGoal) {
        switch goal {
        case .none: break
        case .closing(let reason): member("closing", reason)
        case .cancelling(let reason): member("cancelling", reason)
        }
    }

    private mutating func ledger(_ order: SmartOrder) {
        member("entered", unlessZero: order.entered)
        member("entryFilled", unlessZero: order.entryFilled)
        member("received", unlessZero: order.received)
        member("dust", unlessZero: order.dust)
        member("exited", unlessZero: order.exited)
        member("writtenOff", unlessZero: order.writtenOff)
        member("heldCost", unlessZero: order.heldCost)
        if let average = order.averageEntry {
            member("averageCost", average.cost)
            member("averageQty", average.quantity)
        }
        member("entryFees", unlessZero: order.entryFees)
        member("entryCost", unlessZero: order.entryCost)
        member("realized", unlessZero: order.realized)
        member("fees", unlessZero: order.fees)
    }

    private mutating func entryState(_ order: SmartOrder) {
        if !order.entryRises { member("entryRises", false) }
        member("entryTriggered", ifTrue: order.entryTriggered)
        member("entryDue", ifTrue: order.entryDue)
        member("entryExtreme", ifPresent: order.entryExtreme)
        switch order.entryGoal {
        case .none: break
        case .openNow: member("entryGoal", "openNow")
        case .replace: member("entryGoal", "replace")
        case .end(let reason):
            member("entryGoal", "end")
            member("entryEnd", reason)
        }
        member("isAdopted", ifTrue: order.isAdopted)
        member("reduceWish", ifPresent: order.reduceWish)
        guard !order.addWishes.isEmpty else { return }
        key("addWishes")
        beginArray()
        for wish in order.addWishes {
            beginObject()
            member("qty", wish.quantity)
            member("limit", ifPresent: wish.limit)
            endObject()
        }
        endArray()
    }

    private mutating func stopState(_ order: SmartOrder) {
        member("extreme", ifPresent: order.extreme)
        member("trailingExtreme", ifPresent: order.trailingExtreme)
        if order.extremePosition != .start { position("extremeAt", order.extremePosition) }
        member("trailingActive", ifTrue: order.trailingActive)
        member("breakEvenPrice", ifPresent: order.breakEvenPrice)
        member("followPrice", ifPresent: order.followPrice)
        member("lockPrice", ifPresent: order.lockPrice)
        if order.locksReached != 0 { member("locksReached", order.locksReached) }
        if let latch = order.latch {
            key("latch")
            beginObject()
            member("kind", latch.kind)
            member("price", latch.price)
            position("at", latch.position)
            member("time", latch.time.microseconds)
            endObject()
        }
        member("stopState", order.stopState)
        member("initialStop", ifPresent: order.initialStop)
        member("stopChangedAt", ifPresent: order.stopChangedAt?.microseconds)
        member("breakEvenAt", ifPresent: order.breakEvenAt?.microseconds)
        member("delayedSince", ifPresent: order.delayedSince?.microseconds)
        member("stopAtMarket", ifTrue: order.stopAtMarket)
        member("printCentre", ifPresent: order.printCentre)
        guard let suspect = order.suspect else { return }
        key("suspect")
        beginObject()
        member("price", suspect.price)
        position("at", suspect.position)
        member("until", suspect.until.microseconds)
        member("isIgnored", ifTrue: suspect.isIgnored)
        endObject()
    }

    private mutating func legState(_ order: SmartOrder) {
        key("levels")
        beginArray()
        for level in order.levels {
            beginObject()
            member("number", level.number)
            key("plan")
            beginObject()
            takeProfitMembers(level.plan)
            endObject()
            member("price", level.price)
            member("planned", unlessZero: level.planned)
            member("filled", unlessZero: level.filled)
            member("state", level.state)
            member("trailingExtreme", ifPresent: level.trailingExtreme)
            member("closeRequested", ifTrue: level.closeRequested)
            member("replaceRequested", ifTrue: level.replaceRequested)
            endObject()
        }
        endArray()
        if !order.partialStops.isEmpty {
            key("partialStops")
            beginArray()
            for stop in order.partialStops { partialStop(stop) }
            endArray()
        }
        venueOrders(order.venueOrders)
        attempts(order.attempts)
    }

    private mutating func partialStop(_ stop: PartialStop) {
        beginObject()
        member("number", stop.number)
        key("plan")
        beginObject()
        partialStopMembers(stop.plan)
        endObject()
        member("state", stop.state)
        member("planned", unlessZero: stop.planned)
        member("filled", unlessZero: stop.filled)
        member("firedAt", ifPresent: stop.firedAt)
        endObject()
    }

    mutating func venueOrders(_ orders: [VenueOrder]) {
        guard !orders.isEmpty else { return }
        key("venueOrders")
        beginArray()
        for order in orders { venueOrderState(order) }
        endArray()
    }

    /// A venue order as an object, complete.
    public mutating func venueOrderState(_ order: VenueOrder) {
        beginObject()
        member("leg", order.leg.description)
        member("attempt", order.attempt)
        member("side", order.side)
        member("type", order.type)
        member("qty", order.quantity)
        member("limit", ifPresent: order.limit)
        member("trigger", ifPresent: order.trigger)
        if let callback = order.callback { callbackMember(callback) }
        member("native", ifTrue: order.isNative)
        member("reduceOnly", ifTrue: order.reduceOnly)
        member("state", order.state)
        member("filled", unlessZero: order.filled)
        member("venueOrderId", ifPresent: order.venueOrderID)
        member("createdAt", order.createdAt.microseconds)
        member("cancelWanted", ifTrue: order.cancelWanted)
        endObject()
    }

    /// Sorted, so that equal states are equal bytes.
    private mutating func attempts(_ attempts: [Leg: Int]) {
        guard !attempts.isEmpty else { return }
        key("attempts")
        beginObject()
        for (leg, attempt) in attempts.map({ ($0.key.description, $0.value) }).sorted(by: { $0.0 < $1.0 }) {
            key(escaping: leg)
            integer(attempt)
        }
        endObject()
    }

    private mutating func trouble(_ order: SmartOrder) {
        retry("exitRetry", order.exitRetry)
        retry("targetRetry", order.targetRetry)
        retry("entryRetry", order.entryRetry)
        retry("cancelRetry", order.cancelRetry)
        if order.exitAttempts != 0 { member("exitAttempts", order.exitAttempts) }
        member("exitingSince", ifPresent: order.exitingSince?.microseconds)
        member("lastAttemptRefused", ifTrue: order.lastAttemptRefused)
        member("venueUnreachable", ifTrue: order.venueUnreachable)
        if !order.attention.isEmpty { strings("attention", order.attention.map(\.rawValue).sorted()) }
        member("backstopDue", ifPresent: order.backstopDue?.microseconds)
        if order.backstopFailures != 0 { member("backstopFailures", order.backstopFailures) }
        member("backstopNote", ifPresent: order.backstopNote)
        if !order.lostLegs.isEmpty {
            key("lostLegs")
            beginArray()
            for leg in order.lostLegs { string(leg.description) }
            endArray()
        }
        retry("nativeRetry", order.nativeRetry)
    }

    mutating func retry(_ key: StaticString, _ retry: Retry) {
        guard retry != .none else { return }
        self.key(key)
        beginObject()
        if retry.count != 0 { member("count", retry.count) }
        member("at", ifPresent: retry.at?.microseconds)
        member("onNextTick", ifTrue: retry.onNextTick)
        endObject()
    }

    mutating func position(_ key: StaticString, _ position: TickPosition) {
        self.key(key)
        beginArray()
        integer(position.venueTime)
        integer(position.sequence)
        endArray()
    }

    mutating func member(_ key: StaticString, unlessZero value: some Measure) {
        if !value.isZero { member(key, value) }
    }

    mutating func member(_ key: StaticString, ifTrue value: Bool) {
        if value { member(key, true) }
    }
}
