// A draft as a client sends it (INTERFACES.md 1.10): strict, every refusal names its place. Order rules (R12) are not
// checked here: `SmartOrder.check` does that with the market at hand.

public import JSONText
public import SmartOrders

extension Draft {
    /// The fields of a draft, less those that name the account and the market.
    public static let fields: Set<String> = [
        "side", "qty", "entry", "takeProfits", "stopLoss", "trailing", "breakEven", "stopFollow", "stepLocks",
        "partialStops", "backstop", "exitAt", "sizeMode", "placement", "positionSide", "triggerSource", "clientOrderId",
        "note", "printGuard",
    ]

    /// Reads a draft.
    ///
    /// - Parameter others: further keys that the document may have (`accountId`, `market`, `instrument`); the caller
    ///   reads them.
    public init(json: JSONField, allowing others: Set<String> = []) throws(JSONError) {
        try json.refuseUnknownKeys(except: Draft.fields.union(others))
        self.init(
            side: try json.required("side", expected: "BUY or SELL").choice(),
            quantity: try json.measure("qty"),
            entry: try EntryPlan(json: json.required("entry", expected: "an entry")),
            takeProfits: try Draft.list(json, "takeProfits", TakeProfitPlan.init(json:)),
            stopLoss: try Draft.part(json, "stopLoss", StopLossPlan.init(json:)),
            trailing: try Draft.part(json, "trailing", TrailingPlan.init(json:)),
            breakEven: try Draft.part(json, "breakEven", BreakEvenPlan.init(json:)),
            stopFollow: try json.optional("stopFollow")?.choice() ?? .none,
            stepLocks: try Draft.list(json, "stepLocks", limit: 10, StepLockPlan.init(json:)),
            partialStops: try Draft.list(json, "partialStops", limit: 5, PartialStopPlan.init(json:)),
            backstop: try Draft.part(json, "backstop", BackstopPlan.init(json:)),
            exitAt: try json.optional("exitAt")?.timestamp(),
            sizeMode: try json.optional("sizeMode")?.choice() ?? .fixed,
            placement: try json.optional("placement")?.choice() ?? .managed,
            printGuard: try Draft.part(json, "printGuard", PrintGuardPlan.init(json:)),
            positionSide: try json.optional("positionSide")?.choice() ?? .both,
            triggerSource: try json.optional("triggerSource")?.choice(),
            clientOrderID: try json.optional("clientOrderId")?.prose(limit: 64),
            note: try json.optional("note")?.prose(limit: 1000),
        )
    }

    static func part<Part>(
        _ json: JSONField,
        _ key: String,
        _ read: (JSONField) throws(JSONError) -> Part,
    ) throws(JSONError) -> Part? {
        guard let field = try json.optional(key) else { return nil }
        return try read(field)
    }

    static func list<Part>(
        _ json: JSONField,
        _ key: String,
        limit: Int = 100,
        _ read: (JSONField) throws(JSONError) -> Part,
    ) throws(JSONError) -> [Part] {
        guard let field = try json.optional(key) else { return [] }
        let elements = try field.elements()
        guard elements.count <= limit else { throw field.error(.wrongType, expected: "at most \(limit) elements") }
        var parts: [Part] = []
        for element in elements { parts.append(try read(element)) }
        return parts
    }
}

extension EntryPlan {
    private static let jsonKeys: Set<String> = [
        "mode", "price", "trigger", "limitPrice", "activation", "callbackRate", "expiresAt", "reduceOnly",
        "venueOrder",
    ]

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        self.init(
            mode: try json.required("mode", expected: "an entry mode").choice(),
            price: try json.optionalMeasure("price"),
            trigger: try json.optionalMeasure("trigger"),
            limitPrice: try json.optionalMeasure("limitPrice"),
            activation: try json.optionalMeasure("activation"),
            callbackRate: try json.optionalMeasure("callbackRate"),
            expiresAt: try json.optional("expiresAt")?.timestamp(),
            reduceOnly: try json.optional("reduceOnly")?.bool() ?? false,
            venueOrder: try json.optional("venueOrder")?.prose(limit: 128),
        )
        // What a mode cannot do without is part of its shape.
        switch mode {
        case .limit: if price == nil { _ = try json.measure("price", as: Price.self) }
        case .conditional: if trigger == nil { _ = try json.measure("trigger", as: Price.self) }
        case .trailing: if callbackRate == nil { _ = try json.measure("callbackRate", as: Rate.self) }
        case .attach, .market: break
        }
    }
}

extension TakeProfitPlan {
    private static let jsonKeys: Set<String> = ["price", "pricePct", "sizePct", "exec", "limitPrice", "trailingRate"]

    /// With both `price` and `pricePct` the percentage counts: the price is then its value at creation, as an order's
    /// echo shows it.
    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        let target: TargetPrice
        if let percent = try json.optional("pricePct") {
            _ = try json.optionalMeasure("price", as: Price.self)
            target = .percent(try percent.decimal())
        } else {
            target = .price(try json.measure("price"))
        }
        self.init(
            target: target,
            sizePercent: try json.required("sizePct", expected: "a decimal as a string").decimal(),
            execution: try json.optional("exec")?.choice() ?? .market,
            limitPrice: try json.optionalMeasure("limitPrice"),
            trailingRate: try json.optionalMeasure("trailingRate"),
        )
    }
}

extension StopLossPlan {
    private static let jsonKeys: Set<String> = [
        "price", "exec", "limitPrice", "fallbackMs", "timeoutMs", "emergencyPrice",
    ]

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        self.init(
            price: try json.measure("price"),
            execution: try json.optional("exec")?.choice() ?? .market,
            limitPrice: try json.optionalMeasure("limitPrice"),
            fallbackMs: try json.optional("fallbackMs")?.count(),
            timeoutMs: try json.optional("timeoutMs")?.count(),
            emergencyPrice: try json.optionalMeasure("emergencyPrice"),
        )
    }
}

extension Callback {
    /// Exactly one of `callbackRate` and `callbackAmount` of an object.
    init(in json: JSONField) throws(JSONError) {
        let rate: Rate? = try json.optionalMeasure("callbackRate")
        let amount: Price? = try json.optionalMeasure("callbackAmount")
        switch (rate, amount) {
        case (let rate?, nil): self = .rate(rate)
        case (nil, let amount?): self = .amount(amount)
        case (_?, _?): throw json.error(.wrongType, expected: "only one of callbackRate and callbackAmount")
        case (nil, nil): throw json.error(.missingField, expected: "callbackRate or callbackAmount")
        }
    }
}

extension TrailingPlan {
    private static let jsonKeys: Set<String> = ["callbackRate", "callbackAmount", "activationPrice"]

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        self.init(
            callback: try Callback(in: json),
            activationPrice: try json.optionalMeasure("activationPrice"),
        )
    }
}

extension BreakEvenPlan {
    private static let jsonKeys: Set<String> = ["enabled", "mode", "offsetPct", "onFirstTp", "armPrice", "armPct"]

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        self.init(
            enabled: try json.bool("enabled"),
            mode: try json.optional("mode")?.choice() ?? .entry,
            offsetPercent: try json.optional("offsetPct")?.decimal(),
            onFirstTakeProfit: try json.optional("onFirstTp")?.bool() ?? true,
            armPrice: try json.optionalMeasure("armPrice"),
            armPercent: try json.optional("armPct")?.decimal(),
        )
    }
}

extension StepLockPlan {
    private static let jsonKeys: Set<String> = ["atPct", "lockPct", "atPrice", "lockPrice"]

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        let isPercent = try json.hasAny("atPct", "lockPct")
        let isPrice = try json.hasAny("atPrice", "lockPrice")
        guard isPercent != isPrice else {
            throw json.error(.wrongType, expected: "either atPct and lockPct or atPrice and lockPrice")
        }
        if isPrice {
            self = .price(at: try json.measure("atPrice"), lock: try json.measure("lockPrice"))
        } else {
            self = .percent(
                at: try json.required("atPct", expected: "a decimal as a string").decimal(),
                lock: try json.required("lockPct", expected: "a decimal as a string").decimal(),
            )
        }
    }
}

extension PartialStopPlan {
    private static let jsonKeys: Set<String> = ["price", "callbackRate", "callbackAmount", "sizePct"]

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        let distance: Distance
        if let price: Price = try json.optionalMeasure("price") {
            let hasCallback = try json.hasAny("callbackRate", "callbackAmount")
            guard !hasCallback else { throw json.error(.wrongType, expected: "either a price or a callback") }
            distance = .price(price)
        } else {
            distance = .callback(try Callback(in: json))
        }
        self.init(
            distance: distance,
            sizePercent: try json.required("sizePct", expected: "a decimal as a string").decimal(),
        )
    }
}

extension BackstopPlan {
    private static let jsonKeys: Set<String> = ["enabled", "distancePct"]

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        self.init(enabled: try json.bool("enabled"))
        if let distance = try json.optional("distancePct") { distancePercent = try distance.decimal() }
    }
}

extension PrintGuardPlan {
    private static let jsonKeys: Set<String> = ["bandPct"]

    init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        self.init()
        guard let band = try json.optional("bandPct") else { return }
        bandPercent = try band.decimal()
        guard PrintGuardPlan.isInRange(bandPercent) else {
            throw band.error(.badDecimal, expected: "1 to 50 percent with at most 4 decimals")
        }
    }
}
