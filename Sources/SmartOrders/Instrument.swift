// What a venue says of a market: the grid of prices and quantities, the minimums, the fees.

/// The side of an order; for a smart order the side of its entry: `buy` is a long.
public enum Side: String, Hashable, Sendable, CaseIterable {
    case buy = "BUY"
    case sell = "SELL"

    public var opposite: Side { self == .buy ? .sell : .buy }
}

/// The kind of a market (ORDERS.md 4.1).
public enum InstrumentKind: String, Hashable, Sendable, CaseIterable {
    case spot
    /// A spot pair that can be collateral: narrower limit band (R19).
    case spotCollateral = "spot_collateral"
    case perpetual = "perp"
    case future

    public var isDerivative: Bool {
        switch self {
        case .spot, .spotCollateral: false
        case .perpetual, .future: true
        }
    }
}

/// The limits of a limit price that a venue publishes (ORDERS.md R4.3).
public struct PriceBand: Hashable, Sendable {
    public let low: Price
    public let high: Price
    public init(low: Price, high: Price) {
        self.low = low
        self.high = high
    }
}

/// A venue's band as fractions of its reference price: `low` 0.95 and `high` 1.05 mean 5% either way.
public struct PriceBandRule: Hashable, Sendable {
    public let low: Rate
    public let high: Rate
    public init(low: Rate, high: Rate) {
        self.low = low
        self.high = high
    }
}

/// What a venue can hold of a plan in one market (ORDERS.md 6.2, F11). Empty: exits are managed here, all of them.
public struct NativeOrders: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// A take-profit alone.
    public static let takeProfit = NativeOrders(rawValue: 1)
    /// A fixed stop alone.
    public static let stop = NativeOrders(rawValue: 2)
    /// A trailing stop, alone or where `pair` says so beside a take-profit; rates only.
    public static let trailing = NativeOrders(rawValue: 4)
    /// A take-profit and a stop as two reduce-only orders; that one cancels the other is enforced here.
    public static let pair = NativeOrders(rawValue: 8)
    /// A take-profit and a fixed stop as one order list whose one cancels the other at the venue.
    public static let list = NativeOrders(rawValue: 16)
    /// A wider stop that is no claim on what the exits need.
    public static let backstop = NativeOrders(rawValue: 32)

    /// The words of stored rows, in order.
    public static let words: [(String, NativeOrders)] = [
        ("takeProfit", .takeProfit), ("stop", .stop), ("trailing", .trailing), ("pair", .pair), ("list", .list),
        ("backstop", .backstop),
    ]
}

/// What a venue may change of a market while orders stand in it (RELIABILITY.md FA109).
public struct MarketTerms: Hashable, Sendable {
    public let tickSize: Price
    public let stepSize: Quantity
    public let minQuantity: Quantity
    public let minNotional: Money
    public let bandRule: PriceBandRule?
    public init(
        tickSize: Price,
        stepSize: Quantity,
        minQuantity: Quantity,
        minNotional: Money,
        bandRule: PriceBandRule?,
    ) {
        self.tickSize = tickSize
        self.stepSize = stepSize
        self.minQuantity = minQuantity
        self.minNotional = minNotional
        self.bandRule = bandRule
    }
}

/// One market of one venue. `tickSize`, `stepSize` are positive.
public struct Instrument: Hashable, Sendable {
    public enum Status: String, Hashable, Sendable { case trading, halted, delisted }

    public let market: MarketID
    public let kind: InstrumentKind
    public let tickSize: Price
    public let stepSize: Quantity
    public let minQuantity: Quantity
    public let minNotional: Money
    public let contractSize: ExactDecimal
    public let baseAsset: String
    public let quoteAsset: String
    public let bandRule: PriceBandRule?
    public let makerFee: Rate
    public let takerFee: Rate
    public let status: Status
    public let native: NativeOrders
    /// Of an order's market only: the tick size when the order was made, where the venue has another one by now.
    public let firstTick: Price?

    public init(
        market: MarketID,
        kind: InstrumentKind,
        tickSize: Price,
        stepSize: Quantity,
        minQuantity: Quantity = .zero,
        minNotional: Money = .zero,
        contractSize: ExactDecimal = .one,
        baseAsset: String = "",
        quoteAsset: String = "",
        bandRule: PriceBandRule? = nil,
        makerFee: Rate = .zero,
        takerFee: Rate = .zero,
        status: Status = .trading,
        native: NativeOrders = [],
        firstTick: Price? = nil,
    ) {
        self.market = market
        self.kind = kind
        self.tickSize = tickSize
        self.stepSize = stepSize
        self.minQuantity = minQuantity
        self.minNotional = minNotional
        self.contractSize = contractSize
        self.baseAsset = baseAsset
        self.quoteAsset = quoteAsset
        self.bandRule = bandRule
        self.makerFee = makerFee
        self.takerFee = takerFee
        self.status = status
        self.native = native
        self.firstTick = firstTick
    }

    public var terms: MarketTerms {
        MarketTerms(
            tickSize: tickSize,
            stepSize: stepSize,
            minQuantity: minQuantity,
            minNotional: minNotional,
            bandRule: bandRule,
        )
    }

    /// The grid of the prices that an order compares the market with. It stays what it was when the order was made: no
    /// threshold moves because the venue changes its tick size, which is the grid of what is sent.
    public var armedTick: Price { firstTick ?? tickSize }

    /// This market, as an order that stands in it goes on with new terms.
    func with(_ terms: MarketTerms) -> Instrument {
        Instrument(
            market: market,
            kind: kind,
            tickSize: terms.tickSize,
            stepSize: terms.stepSize,
            minQuantity: terms.minQuantity,
            minNotional: terms.minNotional,
            contractSize: contractSize,
            baseAsset: baseAsset,
            quoteAsset: quoteAsset,
            bandRule: terms.bandRule,
            makerFee: makerFee,
            takerFee: takerFee,
            status: status,
            native: native,
            firstTick: armedTick == terms.tickSize ? nil : armedTick,
        )
    }

    /// `price` as the venue takes it from an order of `side`, never beyond it: a sale rounds up, a purchase down. A price
    /// on the grid, which is every one until the tick size changes, stays.
    func fitted(_ price: Price?, _ side: Side) -> Price? {
        price.map { Price($0.value.rounded(toMultipleOf: tickSize.value, side == .sell ? .ceiling : .floor)) }
    }

    /// The venue's band around its reference price, for which the present price stands; nil: it publishes none, or no
    /// price is known. Not rounded to the tick.
    public func band(around price: Price?) -> PriceBand? {
        guard let bandRule, let price else { return nil }
        return PriceBand(low: Price(price.value * bandRule.low.value), high: Price(price.value * bandRule.high.value))
    }

    /// The default trigger source: `mark` on derivatives, `last` on spot (ORDERS.md 4.3).
    public var defaultTriggerSource: TriggerSource { kind.isDerivative ? .mark : .last }

    /// Decimal places of prices on the hot path: prices are whole units of 10^-`priceDecimals`. At least 8, so that
    /// mark and index prices, which are finer than the tick size, stay exact.
    public var priceDecimals: Int { max(Int(armedTick.value.scale), 8) }
}
