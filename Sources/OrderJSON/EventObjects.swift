// Events, facts, venue orders and fills as history, stream and webhooks show them (INTERFACES.md 1.10).

public import JSONText
public import SmartOrders

extension JSONWriter {
    /// A fact as an object: its word as `type`, then what belongs to it.
    public mutating func fact(_ fact: Fact) {
        beginObject()
        switch fact {
        case .created: member("type", "created")
        case .activated: member("type", "activated")
        case .modified(let path):
            member("type", "modified")
            member("path", path)
        case .levelTriggered(let level): self.level("levelTriggered", level)
        case .levelFilled(let level): self.level("levelFilled", level)
        case .levelRearmed(let level): self.level("levelRearmed", level)
        case .levelCancelled(let level): self.level("levelCancelled", level)
        case .levelMerged(let level): self.level("levelMerged", level)
        case .replanned: member("type", "replanned")
        case .breakEvenArmed(let price):
            member("type", "breakEvenArmed")
            member("price", price)
        case .breakEvenNotArmed(let price):
            member("type", "breakEvenNotArmed")
            member("price", price)
        case .lockReached(let step, let lock):
            member("type", "lockReached")
            member("step", step)
            member("lock", lock)
        case .trailingActivated(let extreme):
            member("type", "trailingActivated")
            member("extreme", extreme)
        case .stopMoved(let from, let to, let kind):
            member("type", "stopMoved")
            member("from", orNull: from)
            member("to", orNull: to)
            member("kind", orNull: kind)
        case .stopDelayed(let since):
            member("type", "stopDelayed")
            member("since", since)
        case .stopDelayReset: member("type", "stopDelayReset")
        case .stopLatched(let kind, let price):
            member("type", "stopLatched")
            member("kind", kind)
            member("price", price)
        case .stopRetried(let attempt):
            member("type", "stopRetried")
            member("attempt", attempt)
        case .partialStopFired(let number):
            member("type", "partialStopFired")
            member("partialStop", number)
        case .partialStopDone(let number):
            member("type", "partialStopDone")
            member("partialStop", number)
        case .partialStopCancelled(let number):
            member("type", "partialStopCancelled")
            member("partialStop", number)
        case .backstopPlaced(let price):
            member("type", "backstopPlaced")
            member("price", price)
        case .backstopMoved(let from, let to):
            member("type", "backstopMoved")
            member("from", from)
            member("to", to)
        case .backstopSkipped(let note):
            member("type", "backstopSkipped")
            member("reason", note)
        case .backstopFired: member("type", "backstopFired")
        case .nativeLegLost(let leg):
            member("type", "nativeLegLost")
            member("purpose", leg.description)
        case .writtenOff(let quantity): self.quantity("writtenOff", quantity)
        case .dust(let quantity): self.quantity("dust", quantity)
        case .fill(let key, let fill):
            member("type", "fill")
            self.key("fill")
            self.fill(fill, of: key)
        case .venueOrder(let key, let state):
            member("type", "venueOrder")
            member("purpose", key.leg.description)
            member("attempt", key.attempt)
            member("outcome", state)
        case .printSuspected(let price, let reference):
            member("type", "printSuspected")
            member("price", price)
            member("reference", reference)
        case .printConfirmed(let price):
            member("type", "printConfirmed")
            member("price", price)
        case .printIgnored(let price):
            member("type", "printIgnored")
            member("price", price)
        case .marketChanged(let from, let to):
            member("type", "marketChanged")
            key("from")
            terms(from)
            key("to")
            terms(to)
        case .fundsAdded(let quantity): self.quantity("fundsAdded", quantity)
        case .fundsReduced(let quantity): self.quantity("fundsReduced", quantity)
        case .statusChanged(let from, let to, let reason):
            member("type", "statusChanged")
            member("from", from)
            member("to", to)
            member("reason", orNull: reason)
        case .conditionalChanged(let from, let to, let reason):
            member("type", "statusChanged")
            member("from", from)
            member("to", to)
            member("reason", orNull: reason)
        case .phaseChanged(let from, let to):
            member("type", "phaseChanged")
            member("from", orNull: from)
            member("to", orNull: to)
        case .healthChanged(let from, let to):
            member("type", "healthChanged")
            member("from", from)
            member("to", to)
        }
        endObject()
    }

    private mutating func level(_ type: String, _ level: Int) {
        member("type", type)
        member("level", level)
    }

    private mutating func quantity(_ type: String, _ quantity: Quantity) {
        member("type", type)
        member("qty", quantity)
    }

    public mutating func facts(_ facts: [Fact]) {
        beginArray()
        for fact in facts { self.fact(fact) }
        endArray()
    }

    /// Facts of a version as they are stored: a changed field comes with its value before and after, null where it has
    /// none.
    /// - Parameter previous: nil: it is not known what was before.
    public mutating func facts(_ facts: [Fact], from previous: StoredOrder?, to next: StoredOrder) {
        guard let previous, facts.contains(where: \.isModified) else { return self.facts(facts) }
        let (before, after) = (Self.plan(of: previous), Self.plan(of: next))
        beginArray()
        for fact in facts {
            guard case .modified(let path) = fact else {
                self.fact(fact)
                continue
            }
            beginObject()
            member("type", "modified")
            member("path", path)
            member("from", value: before[path] ?? .null)
            member("to", value: after[path] ?? .null)
            endObject()
        }
        endArray()
    }

    private static func plan(of order: StoredOrder) -> JSONValue {
        var writer = JSONWriter(reserving: 1_024)
        switch order {
        case .smart(let order): writer.draft(order.draft)
        case .conditional(let order): writer.draft(order.draft)
        }
        do throws(JSONError) {
            return try JSONValue(parsing: writer.take())
        } catch {
            preconditionFailure("a plan that is no JSON")
        }
    }

    /// A fill as an object.
    public mutating func fill(_ fill: Fill, of key: VenueOrderKey) {
        beginObject()
        member("venueFillId", fill.venueFillID)
        member("qty", fill.quantity)
        member("price", fill.price)
        member("fee", fill.fee)
        switch fill.feeAsset {
        case .quote: member("feeAsset", "quote")
        case .base: member("feeAsset", "base")
        case .other(let asset): member("feeAsset", asset)
        }
        member("maker", fill.isMaker)
        member("at", fill.time)
        member("purpose", key.leg.description)
        member("attempt", key.attempt)
        endObject()
    }
}

extension Fact {
    fileprivate var isModified: Bool { if case .modified = self { true } else { false } }
}

/// What the row of a venue order holds beside the order's own view of it.
public struct VenueOrderContext: Sendable {
    public var clientID: String
    public var averagePrice: Price?
    public var rejectCode: String?
    public var sentAt: Timestamp?
    public var acknowledgedAt: Timestamp?
    public var endedAt: Timestamp?

    public init(
        clientID: String,
        averagePrice: Price? = nil,
        rejectCode: String? = nil,
        sentAt: Timestamp? = nil,
        acknowledgedAt: Timestamp? = nil,
        endedAt: Timestamp? = nil,
    ) {
        self.clientID = clientID
        self.averagePrice = averagePrice
        self.rejectCode = rejectCode
        self.sentAt = sentAt
        self.acknowledgedAt = acknowledgedAt
        self.endedAt = endedAt
    }
}

extension JSONWriter {
    /// A venue order as an object.
    public mutating func venueOrder(_ order: VenueOrder, context: VenueOrderContext) {
        beginObject()
        member("clientId", context.clientID)
        member("purpose", order.leg.description)
        member("attempt", order.attempt)
        member("side", order.side)
        member("type", order.type)
        member("qty", order.quantity)
        member("limitPrice", orNull: order.limit)
        member("triggerPrice", orNull: order.trigger)
        member("reduceOnly", order.reduceOnly)
        member("state", order.state)
        member("venueOrderId", orNull: order.venueOrderID)
        member("filledQty", order.filled)
        member("avgPrice", orNull: context.averagePrice)
        member("rejectCode", orNull: context.rejectCode)
        member("sentAt", orNull: context.sentAt)
        member("ackedAt", orNull: context.acknowledgedAt)
        member("endedAt", orNull: context.endedAt)
        endObject()
    }
}

/// One event of an account's sequence, less its facts and the order after it.
public struct EventHeader: Sendable {
    /// Why a version came to be.
    public enum Cause: String, Sendable, CaseIterable {
        case command = "COMMAND"
        case tick = "TICK"
        case fill = "FILL"
        case venueAnswer = "VENUE_ANSWER"
        case timer = "TIMER"
        case position = "POSITION"
        case reconcile = "RECONCILE"
        case recovery = "RECOVERY"
    }

    /// Who did it.
    public struct Actor: Sendable {
        public enum Kind: String, Sendable { case worker, key, user, hook, `operator` }
        public var kind: Kind
        public var id: String
        public var label: String
        public init(kind: Kind, id: String, label: String) {
            self.kind = kind
            self.id = id
            self.label = label
        }
    }

    public var sequence: Int64
    public var epoch: Int64
    public var account: AccountID
    public var order: OrderID?
    public var version: Int64?
    public var at: Timestamp
    public var cause: Cause
    public var actor: Actor
    public var requestID: String?
    public var tick: Tick?
    public var tickReceivedAt: Timestamp?

    public init(
        sequence: Int64,
        epoch: Int64,
        account: AccountID,
        order: OrderID?,
        version: Int64?,
        at: Timestamp,
        cause: Cause,
        actor: Actor,
        requestID: String? = nil,
        tick: Tick? = nil,
        tickReceivedAt: Timestamp? = nil,
    ) {
        self.sequence = sequence
        self.epoch = epoch
        self.account = account
        self.order = order
        self.version = version
        self.at = at
        self.cause = cause
        self.actor = actor
        self.requestID = requestID
        self.tick = tick
        self.tickReceivedAt = tickReceivedAt
    }
}

extension JSONWriter {
    /// The members of an event that come before `facts` and `order`, inside an object that the caller opened.
    public mutating func eventMembers(_ event: EventHeader) {
        member("seq", event.sequence)
        member("epoch", event.epoch)
        member("accountId", event.account.description)
        member("orderId", orNull: event.order?.description)
        member("version", orNull: event.version)
        member("at", event.at)
        member("cause", event.cause)
        key("actor")
        beginObject()
        member("kind", event.actor.kind)
        member("id", event.actor.id)
        member("label", event.actor.label)
        endObject()
        member("requestId", orNull: event.requestID)
        key("tick")
        guard let tick = event.tick else { return null() }
        beginObject()
        member("market", tick.market.description)
        member("source", tick.source)
        member("price", tick.price)
        member("venueTime", Timestamp(microseconds: tick.position.venueTime))
        member("receivedAt", orNull: event.tickReceivedAt)
        member("sequence", tick.position.sequence)
        endObject()
    }

    /// A whole event of an order.
    public mutating func event(
        _ event: EventHeader,
        facts: [Fact],
        order: SmartOrder,
        context: OrderContext,
    ) {
        beginObject()
        eventMembers(event)
        key("facts")
        self.facts(facts)
        key("order")
        self.order(order, context: context)
        endObject()
    }
}
