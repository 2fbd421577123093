// A market as text: the `instrument` block of scenario and backtest files, and the whole form of catalogues and rows.

public import JSONText
public import SmartOrders

/// The `instrument` block of a scenario or backtest file (scenarios/README.md 1): an instrument and the account's bound.
public struct InstrumentBlock: Hashable, Sendable {
    public var instrument: Instrument
    public var maxConditionals: Int?
    public var activeConditionals: Int?

    public static let fields: Set<String> = [
        "symbol", "kind", "tickSize", "stepSize", "minQty", "minNotional", "maxConditionals", "activeConditionals",
    ]

    public init(instrument: Instrument, maxConditionals: Int? = nil, activeConditionals: Int? = nil) {
        self.instrument = instrument
        self.maxConditionals = maxConditionals
        self.activeConditionals = activeConditionals
    }

    /// - Parameter base: a block whose values count where this one has none; without it `symbol`, `kind`, `tickSize`
    ///   and `stepSize` are required.
    public init(
        json: JSONField,
        over base: InstrumentBlock? = nil,
        fees: (maker: Rate, taker: Rate) = (.zero, .zero),
    )
        throws(JSONError)
    {
        try json.refuseUnknownKeys(except: InstrumentBlock.fields)
        func measure<M: Measure>(_ key: String, _ inherited: M?) throws(JSONError) -> M {
            if let own: M = try json.optionalMeasure(key) { return own }
            if let inherited { return inherited }
            return try json.measure(key)
        }
        let below = base?.instrument
        let symbol = try json.optional("symbol")?.string() ?? below?.market.symbol
        guard let symbol, let market = MarketID("paper:scenario:\(symbol)") else {
            throw try json.required("symbol", expected: "a symbol").error(.badID, expected: "a symbol")
        }
        let tickSize: Price = try measure("tickSize", below?.tickSize)
        let stepSize: Quantity = try measure("stepSize", below?.stepSize)
        for (key, isPositive) in [("tickSize", tickSize.isPositive), ("stepSize", stepSize.isPositive)]
        where !isPositive {
            throw try json.required(key).error(.badDecimal, expected: "a positive decimal")
        }
        let kind: InstrumentKind
        if let inherited = below?.kind, try json.optional("kind") == nil {
            kind = inherited
        } else {
            kind = try json.required("kind", expected: "a kind of market").choice()
        }
        instrument = Instrument(
            market: market,
            kind: kind,
            tickSize: tickSize,
            stepSize: stepSize,
            minQuantity: try measure("minQty", below?.minQuantity ?? .zero),
            minNotional: try measure("minNotional", below?.minNotional ?? .zero),
            makerFee: below?.makerFee ?? fees.maker,
            takerFee: below?.takerFee ?? fees.taker,
        )
        maxConditionals = try json.optional("maxConditionals")?.int() ?? base?.maxConditionals
        activeConditionals = try json.optional("activeConditionals")?.int() ?? base?.activeConditionals
    }
}

extension Instrument {
    private static let jsonKeys: Set<String> = [
        "market", "kind", "base", "quote", "tickSize", "stepSize", "minQty", "minNotional", "contractSize", "bandLow",
        "bandHigh", "makerFee", "takerFee", "status", "native", "firstTick",
    ]

    /// Reads what `JSONWriter.instrument` wrote, and catalogue records of the same keys. Strict; `market`, `kind`,
    /// `tickSize` and `stepSize` are required.
    public init(json: JSONField) throws(JSONError) {
        try json.refuseUnknownKeys(except: Self.jsonKeys)
        var native: NativeOrders = []
        for field in try json.optional("native")?.elements() ?? [] {
            let word = try field.string()
            guard let known = NativeOrders.words.first(where: { $0.0 == word }) else {
                throw field.error(.badEnum, expected: "a kind of native order")
            }
            native.insert(known.1)
        }
        let rule = try json.bandRule()
        let tickSize: Price = try json.measure("tickSize")
        let stepSize: Quantity = try json.measure("stepSize")
        for (key, isPositive) in [("tickSize", tickSize.isPositive), ("stepSize", stepSize.isPositive)]
        where !isPositive {
            throw try json.required(key).error(.badDecimal, expected: "a positive decimal")
        }
        self.init(
            market: try json.required("market", expected: "a market id")
                .parsed(.badID, expected: "a market id") { MarketID($0) },
            kind: try json.required("kind", expected: "a kind of market").choice(),
            tickSize: tickSize,
            stepSize: stepSize,
            minQuantity: try json.optionalMeasure("minQty") ?? .zero,
            minNotional: try json.optionalMeasure("minNotional") ?? .zero,
            contractSize: try json.optional("contractSize")?.decimal() ?? .one,
            baseAsset: try json.optional("base")?.string() ?? "",
            quoteAsset: try json.optional("quote")?.string() ?? "",
            bandRule: rule,
            makerFee: try json.optionalMeasure("makerFee") ?? .zero,
            takerFee: try json.optionalMeasure("takerFee") ?? .zero,
            status: try json.optional("status")?.choice() ?? .trading,
            native: native,
            firstTick: try json.optionalMeasure("firstTick"),
        )
    }
}

extension JSONField {
    fileprivate func bandRule() throws(JSONError) -> PriceBandRule? {
        let low: Rate? = try optionalMeasure("bandLow")
        let high: Rate? = try optionalMeasure("bandHigh")
        guard let low, let high else { return nil }
        return PriceBandRule(low: low, high: high)
    }
}

extension MarketTerms {
    /// Reads what `JSONWriter.terms` wrote.
    init(json: JSONField) throws(JSONError) {
        self.init(
            tickSize: try json.measure("tickSize"),
            stepSize: try json.measure("stepSize"),
            minQuantity: try json.measure("minQty"),
            minNotional: try json.measure("minNotional"),
            bandRule: try json.bandRule(),
        )
    }
}

extension JSONWriter {
    /// An instrument as an object that `Instrument.init(json:)` reads back to the same value.
    public mutating func instrument(_ instrument: Instrument) {
        beginObject()
        member("market", instrument.market.description)
        member("kind", instrument.kind)
        member("base", instrument.baseAsset)
        member("quote", instrument.quoteAsset)
        termMembers(instrument.terms)
        member("contractSize", instrument.contractSize)
        member("makerFee", instrument.makerFee)
        member("takerFee", instrument.takerFee)
        member("status", instrument.status)
        if !instrument.native.isEmpty {
            key("native")
            beginArray()
            for (word, kind) in NativeOrders.words where instrument.native.contains(kind) { string(word) }
            endArray()
        }
        member("firstTick", ifPresent: instrument.firstTick)
        endObject()
    }

    /// What a venue may change of a market, as an object.
    mutating func terms(_ terms: MarketTerms) {
        beginObject()
        termMembers(terms)
        endObject()
    }

    private mutating func termMembers(_ terms: MarketTerms) {
        member("tickSize", terms.tickSize)
        member("stepSize", terms.stepSize)
        member("minQty", terms.minQuantity)
        member("minNotional", terms.minNotional)
        guard let rule = terms.bandRule else { return }
        member("bandLow", rule.low)
        member("bandHigh", rule.high)
    }
}
