// exchangeInfo, read (exchanges/FACTS.md 6.1 and 6.3, filters).
internal import JSONText
internal import OrderEngine
internal import SmartOrders

enum BinanceInstruments {
    /// Every symbol of the answer as an instrument of `venue`; symbols without a usable grid are left out.
    static func read(_ body: [UInt8], venue: String, product: BinanceProduct) throws -> [Instrument] {
        let info = JSONField(try JSONValue(parsing: body))
        var instruments: [Instrument] = []
        for symbol in try info.elements("symbols") {
            if let instrument = try read(symbol, venue: venue, product: product) { instruments.append(instrument) }
        }
        return instruments
    }

    private static func read(_ field: JSONField, venue: String, product: BinanceProduct) throws -> Instrument? {
        var tick: Price?
        var step: Quantity?
        var minimum = Quantity.zero
        var notional = Money.zero
        var band: PriceBandRule?
        for filter in try field.elements("filters") {
            switch try filter.string("filterType") {
            case "PRICE_FILTER": tick = Price(try filter.string("tickSize"))
            case "LOT_SIZE":
                step = Quantity(try filter.string("stepSize"))
                minimum = Quantity(try filter.string("minQty")) ?? .zero
            case "NOTIONAL": notional = Money(try filter.string("minNotional")) ?? notional
            case "MIN_NOTIONAL":
                let text = try (filter.optional("notional") ?? filter.optional("minNotional"))?.string() ?? "0"
                notional = Money(text) ?? notional
            case "PERCENT_PRICE": band = try self.band(filter, low: "multiplierDown", high: "multiplierUp")
            // Sells are bounded from below, buys from above.
            case "PERCENT_PRICE_BY_SIDE":
                band = try self.band(filter, low: "askMultiplierDown", high: "bidMultiplierUp")
            default: continue  // tidy-ok: filters of the venue that the core has no rule for
            }
        }
        guard let tick, tick.isPositive, let step, step.isPositive else { return nil }
        let symbol = try field.string("symbol")
        let isTrading = try field.string("status") == "TRADING"
        let contract = try field.optional("contractType")?.string() ?? ""
        let kind: InstrumentKind =
            switch product {
            case .spot: .spot
            case .linear: contract.isEmpty || contract == "PERPETUAL" ? .perpetual : .future
            }
        return Instrument(
            market: MarketID(venue: venue, product: product.rawValue, symbol: symbol),
            kind: kind,
            tickSize: tick,
            stepSize: step,
            minQuantity: minimum,
            minNotional: notional,
            baseAsset: try field.string("baseAsset"),
            quoteAsset: try field.string("quoteAsset"),
            bandRule: band,
            // The paper venue alone tells its fees here.
            makerFee: Rate(try field.optional("makerCommission")?.string() ?? "0") ?? .zero,
            takerFee: Rate(try field.optional("takerCommission")?.string() ?? "0") ?? .zero,
            status: isTrading ? .trading : .halted,
            native: try native(field, product: product),
        )
    }

    /// What the symbol's order types can hold of a plan.
    private static func native(_ field: JSONField, product: BinanceProduct) throws -> NativeOrders {
        var types: Set<String> = []
        for type in try field.optional("orderTypes")?.elements() ?? [] { types.insert(try type.string()) }
        var native: NativeOrders = []
        switch product {
        case .linear:
            guard types.contains("STOP_MARKET"), types.contains("TAKE_PROFIT_MARKET") else { return [] }
            native = [.takeProfit, .stop, .pair, .backstop]
            if types.contains("TRAILING_STOP_MARKET") { native.insert(.trailing) }
        case .spot:
            guard types.contains("STOP_LOSS_LIMIT") else { return [] }
            native = [.takeProfit, .stop]
            if try field.optional("ocoAllowed")?.bool() == true, types.contains("LIMIT_MAKER") { native.insert(.list) }
        }
        return native
    }

    private static func band(_ filter: JSONField, low: String, high: String) throws -> PriceBandRule? {
        guard let low = Rate(try filter.string(low)), let high = Rate(try filter.string(high)) else { return nil }
        return PriceBandRule(low: low, high: high)
    }
}
