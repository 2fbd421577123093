// What the paper venue trades: one value per market, given by its operator.

internal import JSONText
public import SmartOrders

/// Which half of the venue a market and a balance belong to.
public enum PaperProduct: String, Hashable, Sendable, CaseIterable {
    /// `/api/v3`: coins are bought and sold.
    case spot
    /// `/fapi`: linear perpetuals, margined in the quote asset.
    case linear
}

/// How much trades at one price.
public enum PaperLiquidity: Hashable, Sendable {
    case unlimited
    /// The quantity of the tick that set the price; a tick without one is unlimited.
    case tick
    /// The same quantity at each price.
    case fixed(Quantity)
}

/// One market of the paper venue.
public struct PaperMarket: Hashable, Sendable {
    public var product: PaperProduct
    public var symbol: String
    public var base: String
    public var quote: String
    public var tickSize: Price
    public var stepSize: Quantity
    public var minQuantity: Quantity
    public var maxQuantity: Quantity
    public var minNotional: Money
    /// PERCENT_PRICE as factors of the reference price (mark on linear, last on spot); nil is no band.
    public var bandDown: Rate?
    public var bandUp: Rate?
    public var makerFee: Rate
    public var takerFee: Rate
    public var liquidity: PaperLiquidity
    /// False is Binance's status `HALT`: nothing can be placed, cancels work.
    public var isTrading: Bool
    /// MAX_NUM_ORDERS: open orders of one account.
    public var maxOpenOrders: Int

    public init(
        product: PaperProduct,
        symbol: String,
        base: String,
        quote: String,
        tickSize: Price,
        stepSize: Quantity,
        minQuantity: Quantity? = nil,
        maxQuantity: Quantity = Quantity(ExactDecimal(1_000_000_000)),
        minNotional: Money = .zero,
        bandDown: Rate? = nil,
        bandUp: Rate? = nil,
        makerFee: Rate = .zero,
        takerFee: Rate = .zero,
        liquidity: PaperLiquidity = .unlimited,
        isTrading: Bool = true,
        maxOpenOrders: Int = 100_000,
    ) {
        self.product = product
        self.symbol = symbol
        self.base = base
        self.quote = quote
        self.tickSize = tickSize
        self.stepSize = stepSize
        self.minQuantity = minQuantity ?? stepSize
        self.maxQuantity = maxQuantity
        self.minNotional = minNotional
        self.bandDown = bandDown
        self.bandUp = bandUp
        self.makerFee = makerFee
        self.takerFee = takerFee
        self.liquidity = liquidity
        self.isTrading = isTrading
        self.maxOpenOrders = maxOpenOrders
    }

    /// `paper:<product>:<symbol>`.
    public var id: MarketID { MarketID(venue: "paper", product: product.rawValue, symbol: symbol) }

    /// The markets that `smartorders dev` starts with.
    public static let demo: [PaperMarket] = [
        linear("DEMO", base: "DEMO", tick: "0.01", step: "0.1"),
        linear("BTCUSDT", base: "BTC", tick: "0.1", step: "0.001"),
        linear("ETHUSDT", base: "ETH", tick: "0.01", step: "0.001"),
        spot("BTCUSDT", base: "BTC", tick: "0.01", step: "0.00001"),
        spot("ETHUSDT", base: "ETH", tick: "0.01", step: "0.0001"),
    ]

    private static func linear(_ symbol: String, base: String, tick: String, step: String) -> PaperMarket {
        PaperMarket(
            product: .linear,
            symbol: symbol,
            base: base,
            quote: "USDT",
            tickSize: Price(tick) ?? .zero,
            stepSize: Quantity(step) ?? .zero,
            minNotional: Money(ExactDecimal(5)),
            bandDown: Rate("0.85"),
            bandUp: Rate("1.15"),
            makerFee: Rate("0.0002") ?? .zero,
            takerFee: Rate("0.0005") ?? .zero,
        )
    }

    private static func spot(_ symbol: String, base: String, tick: String, step: String) -> PaperMarket {
        PaperMarket(
            product: .spot,
            symbol: symbol,
            base: base,
            quote: "USDT",
            tickSize: Price(tick) ?? .zero,
            stepSize: Quantity(step) ?? .zero,
            minNotional: Money(ExactDecimal(5)),
            bandDown: Rate("0.2"),
            bandUp: Rate("5"),
            makerFee: Rate("0.001") ?? .zero,
            takerFee: Rate("0.001") ?? .zero,
        )
    }
}

/// One price from outside.
public struct PaperTick: Hashable, Sendable {
    public var market: MarketID
    public var source: TriggerSource
    public var price: Price
    /// What traded, or stands there; nil when the source does not say.
    public var quantity: Quantity?
    public var position: TickPosition

    public init(
        market: MarketID,
        source: TriggerSource,
        price: Price,
        quantity: Quantity? = nil,
        position: TickPosition,
    ) {
        self.market = market
        self.source = source
        self.price = price
        self.quantity = quantity
        self.position = position
    }
}

extension JSONField {
    /// A JSON string that is an exact decimal; a JSON number is read from its text.
    func decimal() throws(JSONError) -> ExactDecimal {
        switch value {
        case .string(let text), .number(let text):
            guard let number = ExactDecimal(text), number.fitsMoney else {
                throw error(.badDecimal, expected: "a decimal of at most 18 digits")
            }
            return number
        case .null, .bool, .array, .object: throw error(.wrongType, expected: "a decimal string")
        }
    }

    func decimal(_ key: String) throws(JSONError) -> ExactDecimal {
        try required(key, expected: "a decimal string").decimal()
    }

    func decimal(ifPresent key: String) throws(JSONError) -> ExactDecimal? {
        guard let field = try optional(key) else { return nil }
        return try field.decimal()
    }
}

extension PaperLiquidity {
    /// `unlimited`, `tick` or a quantity.
    init(_ field: JSONField) throws(JSONError) {
        switch field.value {
        case .string("unlimited"): self = .unlimited
        case .string("tick"): self = .tick
        case .null, .bool, .number, .string, .array, .object: self = .fixed(Quantity(try field.decimal()))
        }
    }
}

extension PaperMarket {
    private static let keys: Set<String> = [
        "product", "symbol", "base", "quote", "tickSize", "stepSize", "minQty", "maxQty", "minNotional", "bandDown",
        "bandUp", "makerFee", "takerFee", "liquidity", "trading", "maxOpenOrders",
    ]

    /// Reads one market of the catalogue; the keys are those of `keys`, see `PaperLiquidity` for `liquidity`.
    init(_ field: JSONField) throws(JSONError) {
        try field.refuseUnknownKeys(except: Self.keys)
        let step = Quantity(try field.decimal("stepSize"))
        let tick = Price(try field.decimal("tickSize"))
        guard step.isPositive, tick.isPositive else {
            throw field.error(.badDecimal, expected: "positive tickSize and stepSize")
        }
        var liquidity = PaperLiquidity.unlimited
        if let text = try field.optional("liquidity") { liquidity = try PaperLiquidity(text) }
        self.init(
            product: try field.required("product").choice(),
            symbol: try field.string("symbol"),
            base: try field.string("base"),
            quote: try field.string("quote"),
            tickSize: tick,
            stepSize: step,
            minQuantity: try field.decimal(ifPresent: "minQty").map(Quantity.init),
            minNotional: Money(try field.decimal(ifPresent: "minNotional") ?? .zero),
            bandDown: try field.decimal(ifPresent: "bandDown").map(Rate.init),
            bandUp: try field.decimal(ifPresent: "bandUp").map(Rate.init),
            makerFee: Rate(try field.decimal(ifPresent: "makerFee") ?? .zero),
            takerFee: Rate(try field.decimal(ifPresent: "takerFee") ?? .zero),
            liquidity: liquidity,
        )
        if let most = try field.decimal(ifPresent: "maxQty") { maxQuantity = Quantity(most) }
        if let flag = try field.optional("trading") { isTrading = try flag.bool() }
        if let most = try field.optional("maxOpenOrders") { maxOpenOrders = try most.int() }
    }
}
