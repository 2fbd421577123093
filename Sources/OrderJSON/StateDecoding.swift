// Reads what StateEncoding.swift writes. Strict: an unknown key is a row of a newer program, and refused as such.

public import JSONText
public import SmartOrders

extension SmartOrder {
    private static let stateKeys: Set<String> = [
        "id", "account", "instrument", "version", "createdAt", "updatedAt", "draft", "triggerSource", "status", "phase",
        "health", "closeReason", "closing", "cancelling", "entered", "entryFilled", "received", "dust", "exited",
        "writtenOff", "heldCost", "averageCost", "averageQty", "entryFees", "entryCost", "entryDue", "realized", "fees",
        "entryRises", "entryTriggered",
        "entryExtreme", "entryGoal", "entryEnd", "isAdopted", "addWishes", "reduceWish", "extreme", "trailingExtreme",
        "extremeAt",
        "trailingActive", "breakEvenPrice", "followPrice", "lockPrice", "locksReached", "latch", "stopState",
        "initialStop", "stopChangedAt", "breakEvenAt",
        "delayedSince", "stopAtMarket", "printCentre", "suspect", "levels", "partialStops", "venueOrders", "attempts",
        "exitRetry", "targetRetry",
        "entryRetry", "cancelRetry", "exitAttempts", "exitingSince", "lastAttemptRefused", "venueUnreachable",
        "attention", "backstopDue", "backstopFailures", "backstopNote", "lostLegs", "nativeRetry",
    ]

    /// Reads a state document.
    public init(encodedState bytes: [UInt8]) throws(JSONError) {
        try self.init(state: JSONField(JSONValue(parsing: bytes)))
    }

    public init(state json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: SmartOrder.stateKeys)
        self.init(
            id: try json.required("id").parsed(.badID, expected: "an order id") { OrderID($0) },
            account: try json.required("account").parsed(.badID, expected: "an account id") { AccountID($0) },
            instrument: try Instrument(json: json.required("instrument")),
            version: try json.int64("version"),
            createdAt: try json.moment("createdAt"),
            updatedAt: try json.moment("updatedAt"),
            draft: try Draft(json: json.required("draft")),
            triggerSource: try json.required("triggerSource").choice(),
        )
        status = try json.required("status").choice()
        phase = try json.optional("phase")?.choice()
        health = try json.required("health").choice()
        closeReason = try json.optional("closeReason")?.choice()
        if let reason = try json.optional("closing") { goal = .closing(try reason.choice()) }
        if let reason = try json.optional("cancelling") { goal = .cancelling(try reason.choice()) }
        try readLedger(json)
        try readEntry(json)
        try readStops(json)
        try readLegs(json)
        try readTrouble(json)
    }

    private mutating func readLedger(_ json: JSONField) throws(JSONError) {
        entered = try json.sum("entered")
        entryFilled = try json.sum("entryFilled")
        received = try json.sum("received")
        dust = try json.sum("dust")
        exited = try json.sum("exited")
        writtenOff = try json.sum("writtenOff")
        heldCost = try json.sum("heldCost")
        if try json.has("averageCost") {
            averageEntry = AverageEntry(cost: try json.sum("averageCost"), quantity: try json.sum("averageQty"))
        }
        entryFees = try json.sum("entryFees")
        entryCost = try json.sum("entryCost")
        realized = try json.sum("realized")
        fees = try json.sum("fees")
    }

    private mutating func readEntry(_ json: JSONField) throws(JSONError) {
        entryRises = try json.optional("entryRises")?.bool() ?? true
        entryTriggered = try json.flag("entryTriggered")
        entryDue = try json.flag("entryDue")
        entryExtreme = try json.storedMeasure("entryExtreme")
        if let goal = try json.optional("entryGoal") {
            switch try goal.string() {
            case "openNow": entryGoal = .openNow
            case "replace": entryGoal = .replace
            case "end": entryGoal = .end(try json.required("entryEnd").choice())
            default: throw goal.error(.badEnum, expected: "openNow, replace or end")
            }
        }
        isAdopted = try json.flag("isAdopted")
        reduceWish = try json.storedMeasure("reduceWish")
        addWishes = try Draft.list(json, "addWishes", limit: .max) { wish throws(JSONError) in
            AddWish(quantity: try wish.sum("qty"), limit: try wish.storedMeasure("limit"))
        }
    }

    private mutating func readStops(_ json: JSONField) throws(JSONError) {
        extreme = try json.storedMeasure("extreme")
        trailingExtreme = try json.storedMeasure("trailingExtreme")
        if let position = try json.optional("extremeAt") { extremePosition = try position.tickPosition() }
        trailingActive = try json.flag("trailingActive")
        breakEvenPrice = try json.storedMeasure("breakEvenPrice")
        followPrice = try json.storedMeasure("followPrice")
        lockPrice = try json.storedMeasure("lockPrice")
        locksReached = try json.optional("locksReached")?.int() ?? 0
        if let field = try json.optional("latch") {
            latch = Latch(
                kind: try field.required("kind").choice(),
                price: try field.sum("price"),
                position: try field.required("at").tickPosition(),
                time: try field.moment("time"),
            )
        }
        stopState = try json.required("stopState").choice()
        initialStop = try json.storedMeasure("initialStop")
        stopChangedAt = try json.optionalMoment("stopChangedAt")
        breakEvenAt = try json.optionalMoment("breakEvenAt")
        delayedSince = try json.optionalMoment("delayedSince")
        stopAtMarket = try json.flag("stopAtMarket")
        printCentre = try json.storedMeasure("printCentre")
        guard let field = try json.optional("suspect") else { return }
        suspect = SuspectPrint(
            price: try field.sum("price"),
            position: try field.required("at").tickPosition(),
            until: try field.moment("until"),
            isIgnored: try field.flag("isIgnored"),
        )
    }

    private mutating func readLegs(_ json: JSONField) throws(JSONError) {
        levels = try Draft.list(json, "levels", limit: .max) { field throws(JSONError) in
            Level(
                number: try field.int("number"),
                plan: try TakeProfitPlan(json: field.required("plan")),
                price: try field.sum("price"),
                planned: try field.sum("planned"),
                filled: try field.sum("filled"),
                state: try field.required("state").choice(),
                trailingExtreme: try field.storedMeasure("trailingExtreme"),
                closeRequested: try field.flag("closeRequested"),
                replaceRequested: try field.flag("replaceRequested"),
            )
        }
        partialStops = try Draft.list(json, "partialStops", limit: .max) { field throws(JSONError) in
            PartialStop(
                number: try field.int("number"),
                plan: try PartialStopPlan(json: field.required("plan")),
                state: try field.required("state").choice(),
                planned: try field.sum("planned"),
                filled: try field.sum("filled"),
                firedAt: try field.storedMeasure("firedAt"),
            )
        }
        venueOrders = try Draft.list(json, "venueOrders", limit: .max, VenueOrder.init(state:))
        if let field = try json.optional("attempts") {
            for member in try field.object().members {
                guard let leg = Leg(member.key), let attempt = member.value.int64 else {
                    throw field.error(.badID, expected: "legs with their attempts")
                }
                attempts[leg] = Int(attempt)
            }
        }
    }

    private mutating func readTrouble(_ json: JSONField) throws(JSONError) {
        exitRetry = try json.retry("exitRetry")
        targetRetry = try json.retry("targetRetry")
        entryRetry = try json.retry("entryRetry")
        cancelRetry = try json.retry("cancelRetry")
        exitAttempts = try json.optional("exitAttempts")?.int() ?? 0
        exitingSince = try json.optionalMoment("exitingSince")
        lastAttemptRefused = try json.flag("lastAttemptRefused")
        venueUnreachable = try json.flag("venueUnreachable")
        for cause in try json.optional("attention")?.elements() ?? [] { attention.insert(try cause.choice()) }
        backstopDue = try json.optionalMoment("backstopDue")
        backstopFailures = try json.optional("backstopFailures")?.int() ?? 0
        backstopNote = try json.optional("backstopNote")?.choice()
        for field in try json.optional("lostLegs")?.elements() ?? [] {
            lostLegs.append(try field.parsed(.badID, expected: "a leg") { Leg($0) })
        }
        nativeRetry = try json.retry("nativeRetry")
    }
}

extension VenueOrder {
    /// Reads what `JSONWriter.venueOrderState` writes.
    public init(state json: JSONField) throws(JSONError) {
        self.init(
            leg: try json.required("leg").parsed(.badID, expected: "a leg") { Leg($0) },
            attempt: try json.int("attempt"),
            side: try json.required("side").choice(),
            type: try json.required("type").choice(),
            quantity: try json.sum("qty"),
            limit: try json.storedMeasure("limit"),
            trigger: try json.storedMeasure("trigger"),
            callback: try json.hasAny("callbackRate", "callbackAmount") ? Callback(in: json) : nil,
            isNative: try json.flag("native"),
            reduceOnly: try json.flag("reduceOnly"),
            state: try json.required("state").choice(),
            filled: try json.sum("filled"),
            venueOrderID: try json.optional("venueOrderId")?.string(),
            createdAt: try json.moment("createdAt"),
            cancelWanted: try json.flag("cancelWanted"),
        )
    }
}

extension JSONField {
    /// A stored number of any size; zero when absent.
    func sum<M: Measure>(_ key: String, as type: M.Type = M.self) throws(JSONError) -> M {
        guard let field = try optional(key) else { return .zero }
        return M(try field.anyDecimal())
    }

    func storedMeasure<M: Measure>(_ key: String, as type: M.Type = M.self) throws(JSONError) -> M? {
        guard let field = try optional(key) else { return nil }
        return M(try field.anyDecimal())
    }

    func flag(_ key: String) throws(JSONError) -> Bool { try optional(key)?.bool() ?? false }

    func moment(_ key: String) throws(JSONError) -> Timestamp { Timestamp(microseconds: try int64(key)) }

    func optionalMoment(_ key: String) throws(JSONError) -> Timestamp? {
        guard let field = try optional(key) else { return nil }
        return Timestamp(microseconds: try field.int64())
    }

    func tickPosition() throws(JSONError) -> TickPosition {
        let parts = try elements()
        guard parts.count == 2 else { throw error(.wrongType, expected: "venue time and sequence") }
        return TickPosition(venueTime: try parts[0].int64(), sequence: try parts[1].int64())
    }

    func retry(_ key: String) throws(JSONError) -> Retry {
        guard let field = try optional(key) else { return .none }
        return Retry(
            count: try field.optional("count")?.int() ?? 0,
            at: try field.optionalMoment("at"),
            onNextTick: try field.flag("onNextTick"),
        )
    }
}
