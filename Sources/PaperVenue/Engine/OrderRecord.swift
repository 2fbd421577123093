// Orders and executions as the venue keeps them.

internal import PaperMatching
internal import SmartOrders

enum OrderType: String, Sendable {
    case limit = "LIMIT"
    case market = "MARKET"
    /// Spot's post-only order. On linear markets post-only is a time in force (GTX).
    case limitMaker = "LIMIT_MAKER"
    /// Spot: sleeps, its coins reserved, until the last price reaches its stop price; then a limit order.
    case stopLossLimit = "STOP_LOSS_LIMIT"
}

enum TimeInForce: String, Sendable {
    case goodTillCancelled = "GTC"
    case immediateOrCancel = "IOC"
    case fillOrKill = "FOK"
    case postOnly = "GTX"
}

enum PositionSide: String, Sendable, CaseIterable {
    case both = "BOTH"
    case long = "LONG"
    case short = "SHORT"
}

/// Which of an account's own orders ends when they would meet. Counterparties here are the fed prices, so two own
/// orders meet only when a taker has exhausted the market's quantity; NONE lets both stand, nothing trades.
enum SelfTradePrevention: String, Sendable {
    case none = "NONE"
    case expireTaker = "EXPIRE_TAKER"
    case expireMaker = "EXPIRE_MAKER"
    case expireBoth = "EXPIRE_BOTH"
}

/// NEW -> PARTIALLY_FILLED -> one of the final ones; no way back.
enum OrderStatus: String, Sendable {
    case new = "NEW"
    case partiallyFilled = "PARTIALLY_FILLED"
    case filled = "FILLED"
    case cancelled = "CANCELED"
    case expired = "EXPIRED"
    case expiredInMatch = "EXPIRED_IN_MATCH"

    var isOpen: Bool {
        switch self {
        case .new, .partiallyFilled: true
        case .filled, .cancelled, .expired, .expiredInMatch: false
        }
    }
}

/// What a client asked for, checked for form.
struct OrderTicket {
    var account: Int
    var market: Int
    var clientID: String
    var side: Side
    var type: OrderType
    var timeInForce: TimeInForce
    /// Zero when `quoteQuantity` says the size.
    var quantity: Quantity
    var quoteQuantity: Money?
    /// Zero for market orders.
    var price: Price
    var reduceOnly: Bool
    var positionSide: PositionSide
    var selfTrade: SelfTradePrevention
    /// Of a stop: the price that wakes it.
    var stop: Price? = nil
    /// The order list that it is a leg of.
    var list: Int? = nil

    /// Stops wake on the far side of the market.
    func isReached(_ price: Price) -> Bool {
        guard let stop else { return true }
        return side == .sell ? price <= stop : price >= stop
    }
}

/// An order that was accepted. `id` is the venue's order id and never used twice.
struct OrderRecord {
    let id: Int
    let account: Int
    let market: Int
    let clientID: String
    let side: Side
    let type: OrderType
    let timeInForce: TimeInForce
    let quantity: Quantity
    let price: Price
    let reduceOnly: Bool
    let positionSide: PositionSide
    let selfTrade: SelfTradePrevention
    let stop: Price?
    let list: Int?
    /// A stop that waits for its price.
    var isAsleep: Bool
    /// Venue time, microseconds.
    let createdAt: Int64
    var updatedAt: Int64
    var status: OrderStatus
    var filled: Quantity
    /// Sum of price x quantity of the fills.
    var cost: Money
    /// Spot: what is locked of the asset that it would pay with. Linear: margin held for the unfilled opening part.
    var reserved: ExactDecimal
    /// Ids of its executions.
    var trades: [Int]

    var unfilled: Quantity { quantity - filled }

    var bookKind: BookOrder.Kind {
        switch (type, timeInForce) {
        case (.market, _): .market
        case (.limitMaker, _), (.stopLossLimit, _), (.limit, .goodTillCancelled), (.limit, .postOnly):
            .goodTillCancelled(limit: price)
        case (.limit, .immediateOrCancel): .immediateOrCancel(limit: price)
        case (.limit, .fillOrKill): .fillOrKill(limit: price)
        }
    }

    var canRest: Bool {
        switch bookKind {
        case .goodTillCancelled: true
        case .market, .immediateOrCancel, .fillOrKill: false
        }
    }
}

/// One execution.
struct TradeRecord {
    let id: Int
    let order: Int
    let price: Price
    let quantity: Quantity
    let isMaker: Bool
    let fee: ExactDecimal
    let feeAsset: Int
    /// Linear markets: what the position made; zero otherwise.
    let realized: ExactDecimal
    /// Venue time, microseconds.
    let time: Int64
}
