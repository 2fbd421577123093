// Conditional orders (S4): the draft of a request, the state of the row, the object of every answer.

public import JSONText
public import SmartOrders

extension ConditionalDraft {
    public static let fields: Set<String> = [
        "type", "side", "positionSide", "qty", "trigger", "limit", "triggerSource", "reduceOnly", "expiresAt",
        "clientOrderId", "note",
    ]

    /// Reads a draft, strictly; the caller reads what it allows beside it.
    public init(json: JSONField, allowing others: Set<String> = []) throws(JSONError) {
        try json.refuseUnknownKeys(except: ConditionalDraft.fields.union(others))
        self.init(
            kind: try json.required("type", expected: "STOP_LOSS or TAKE_PROFIT").choice(),
            side: try json.required("side", expected: "BUY or SELL").choice(),
            quantity: try json.measure("qty"),
            trigger: try json.measure("trigger"),
            limit: try json.optionalMeasure("limit"),
            reduceOnly: try json.optional("reduceOnly")?.bool() ?? false,
            positionSide: try json.optional("positionSide")?.choice() ?? .both,
            triggerSource: try json.optional("triggerSource")?.choice(),
            expiresAt: try json.optional("expiresAt")?.timestamp(),
            clientOrderID: try json.optional("clientOrderId")?.prose(limit: 64),
            note: try json.optional("note")?.prose(limit: 1000),
        )
    }
}

extension ConditionalOrder {
    private static let jsonKeys: Set<String> = [
        "conditional", "id", "account", "instrument", "version", "createdAt", "updatedAt", "draft", "triggerSource",
        "status", "reason", "health", "triggeredAt", "triggeredPosition", "position", "exitingSince", "filled",
        "proceeds", "fees", "venueOrders", "attempts", "retry", "cancelRetry", "lastAttemptRefused",
        "venueUnreachable", "needsAttention", "endReason",
    ]

    /// The state as one JSON document, compact; `init(encodedState:)` reads the same value.
    public func encodedState() -> [UInt8] {
        var writer = JSONWriter(reserving: 1024)
        writer.state(self)
        return writer.take()
    }

    /// Reads a state document.
    public init(encodedState bytes: [UInt8]) throws(JSONError) {
        try self.init(state: JSONField(JSONValue(parsing: bytes)))
    }

    public init(state json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        self.init(
            id: try json.required("id").parsed(.badID, expected: "an order id") { OrderID($0) },
            account: try json.required("account").parsed(.badID, expected: "an account id") { AccountID($0) },
            instrument: try Instrument(json: json.required("instrument")),
            version: try json.int64("version"),
            createdAt: try json.moment("createdAt"),
            updatedAt: try json.moment("updatedAt"),
            draft: try ConditionalDraft(json: json.required("draft")),
            triggerSource: try json.required("triggerSource").choice(),
        )
        status = try json.required("status").choice()
        reason = try json.optional("reason")?.choice()
        health = try json.required("health").choice()
        triggeredAt = try json.optionalMoment("triggeredAt")
        triggeredPosition = try json.optional("triggeredPosition")?.tickPosition()
        if let decided = try json.optional("position") { position = try decided.tickPosition() }
        exitingSince = try json.optionalMoment("exitingSince")
        filled = try json.sum("filled")
        proceeds = try json.sum("proceeds")
        fees = try json.sum("fees")
        venueOrders = try Draft.list(json, "venueOrders", limit: .max, VenueOrder.init(state:))
        attempts = try json.optional("attempts")?.int() ?? 0
        retry = try json.retry("retry")
        cancelRetry = try json.retry("cancelRetry")
        lastAttemptRefused = try json.flag("lastAttemptRefused")
        venueUnreachable = try json.flag("venueUnreachable")
        needsAttention = try json.flag("needsAttention")
        endReason = try json.optional("endReason")?.choice()
    }
}

extension StoredOrder {
    public func encodedState() -> [UInt8] {
        switch self {
        case .smart(let order): order.encodedState()
        case .conditional(let order): order.encodedState()
        }
    }

    /// Reads a state document of either kind.
    public init(encodedState bytes: [UInt8]) throws(JSONError) {
        try self.init(state: JSONField(try JSONValue(parsing: bytes)))
    }

    /// The same, parsed.
    public init(state json: JSONField) throws(JSONError) {
        if try json.has("conditional") {
            self = .conditional(try ConditionalOrder(state: json))
        } else {
            self = .smart(try SmartOrder(state: json))
        }
    }
}

extension JSONWriter {
    /// A draft as an object that `ConditionalDraft.init(json:)` reads back to the same value.
    public mutating func draft(_ draft: ConditionalDraft) {
        beginObject()
        member("type", draft.kind)
        member("side", draft.side)
        member("positionSide", draft.positionSide)
        member("qty", draft.quantity)
        member("trigger", draft.trigger)
        member("limit", ifPresent: draft.limit)
        member("triggerSource", ifPresent: draft.triggerSource)
        member("reduceOnly", draft.reduceOnly)
        member("expiresAt", ifPresent: draft.expiresAt)
        member("clientOrderId", ifPresent: draft.clientOrderID)
        member("note", ifPresent: draft.note)
        endObject()
    }

    /// A conditional order's state as an object.
    public mutating func state(_ order: ConditionalOrder) {
        beginObject()
        member("conditional", true)
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
        member("reason", ifPresent: order.reason)
        member("health", order.health)
        member("triggeredAt", ifPresent: order.triggeredAt?.microseconds)
        if let place = order.triggeredPosition { position("triggeredPosition", place) }
        if order.position != .start { position("position", order.position) }
        member("exitingSince", ifPresent: order.exitingSince?.microseconds)
        member("filled", unlessZero: order.filled)
        member("proceeds", unlessZero: order.proceeds)
        member("fees", unlessZero: order.fees)
        venueOrders(order.venueOrders)
        if order.attempts != 0 { member("attempts", order.attempts) }
        retry("retry", order.retry)
        retry("cancelRetry", order.cancelRetry)
        member("lastAttemptRefused", ifTrue: order.lastAttemptRefused)
        member("venueUnreachable", ifTrue: order.venueUnreachable)
        member("needsAttention", ifTrue: order.needsAttention)
        member("endReason", ifPresent: order.endReason)
        endObject()
    }

    /// The ConditionalOrder object of every answer; every documented key is there.
    public mutating func conditionalOrder(_ order: ConditionalOrder, mode: OrderContext.Mode) {
        beginObject()
        member("id", order.id.description)
        member("kind", "CONDITIONAL")
        member("version", order.version)
        member("accountId", order.account.description)
        member("mode", mode)
        member("clientOrderId", orNull: order.draft.clientOrderID)
        member("market", order.instrument.market.description)
        member("type", order.draft.kind)
        member("side", order.draft.side)
        member("positionSide", order.draft.positionSide)
        member("qty", order.draft.quantity)
        member("trigger", order.draft.trigger)
        member("limit", orNull: order.draft.limit)
        member("condition", order.condition)
        member("triggerSource", order.triggerSource)
        member("reduceOnly", order.draft.reduceOnly)
        member("status", order.status)
        member("reason", orNull: order.reason)
        member("health", order.health)
        member("expiresAt", orNull: order.draft.expiresAt)
        member("filledQty", order.filled)
        member(
            "avgFillPrice",
            orNull: order.filled.isPositive
                ? .quotient(
                    order.proceeds.value,
                    over: order.filled.value,
                    step: ExactDecimal(mantissa: 1, scale: 8),
                    .halfEven,
                ) : nil as ExactDecimal?,
        )
        member("fees", order.fees)
        let band = Pricing.conditionalBand(
            kind: order.instrument.kind,
            side: order.draft.side,
            trigger: order.draft.trigger,
        )
        key("band")
        beginObject()
        member("min", band.low)
        member("max", band.high)
        endObject()
        member("note", orNull: order.draft.note)
        member("createdAt", order.createdAt)
        member("updatedAt", order.updatedAt)
        member("triggeredAt", orNull: order.triggeredAt)
        member("closedAt", orNull: order.status.isTerminal ? order.updatedAt : nil)
        endObject()
    }
}
