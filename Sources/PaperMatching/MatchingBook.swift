// The matching rules of the paper venue for one market: scenarios/README.md 2, used by the scenario runner and by the
// venue's server alike.
//
// The market is one price and a quantity. Both stay valid until the next price event; everything that fills in between
// shares the quantity: first resting orders in order of submission, then takers in the order sent.
//   - A taker fills at the market's price. MARKET takes any price; IOC, FOK and GTC only their limit or better. What
//     a GTC has left rests; what the others have left expires. FOK fills whole or not at all.
//   - A resting order fills at a later price event that touches its limit, at its own limit, as maker.
//   - A resting order is never touched by a taker: the counterparty is always the market.
//
// Invariants: a resting order's `unfilled` is positive; a quantity is never filled twice; `liquidity` never falls below
// zero. A refused or unreachable order is simply not submitted, so faults are the caller's business: an order that the
// venue filled without telling is `takeWhole`, one that filled in the race with its cancel is `fill` before `cancel`.
// Cost: submit and cancel O(log n) amortised, a price event O((touched + 1) log n).

public import SmartOrders

/// An order as the book sees it. `key` names it to the caller.
public struct BookOrder: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case market
        case immediateOrCancel(limit: Price)
        case fillOrKill(limit: Price)
        case goodTillCancelled(limit: Price)
    }

    /// The caller's name for the order, unique among the resting ones.
    public let key: Int
    public let side: Side
    public let kind: Kind
    /// Positive.
    public let quantity: Quantity

    public init(key: Int, side: Side, kind: Kind, quantity: Quantity) {
        self.key = key
        self.side = side
        self.kind = kind
        self.quantity = quantity
    }

    /// Traps when a type that needs a limit has none.
    public init(key: Int, side: Side, type: VenueOrderType, limit: Price?, quantity: Quantity) {
        let kind: Kind
        switch (type, limit) {
        case (.market, _): kind = .market
        case (.immediateOrCancel, .some(let limit)): kind = .immediateOrCancel(limit: limit)
        case (.goodTillCancelled, .some(let limit)): kind = .goodTillCancelled(limit: limit)
        case (.immediateOrCancel, .none), (.goodTillCancelled, .none):
            preconditionFailure("\(type.rawValue) needs a limit")
        case (.stopMarket, _), (.stopLimit, _), (.takeProfitMarket, _), (.trailingStop, _):
            preconditionFailure("\(type.rawValue) is no order of a book before its trigger")
        }
        self.init(key: key, side: side, kind: kind, quantity: quantity)
    }

    public var limit: Price? {
        switch kind {
        case .market: nil
        case .immediateOrCancel(let limit), .fillOrKill(let limit), .goodTillCancelled(let limit): limit
        }
    }

    /// Whether the order trades at `price`.
    public func accepts(_ price: Price) -> Bool {
        guard let limit else { return true }
        switch side {
        case .buy: return price <= limit
        case .sell: return price >= limit
        }
    }
}

/// One execution.
public struct Match: Hashable, Sendable {
    public let key: Int
    public let side: Side
    public let quantity: Quantity
    public let price: Price
    public let isMaker: Bool

    public init(key: Int, side: Side, quantity: Quantity, price: Price, isMaker: Bool) {
        self.key = key
        self.side = side
        self.quantity = quantity
        self.price = price
        self.isMaker = isMaker
    }
}

/// Fees as fractions of price x quantity, in quote currency.
public struct FeeSchedule: Hashable, Sendable {
    public let maker: Rate
    public let taker: Rate

    public static let free = FeeSchedule(maker: .zero, taker: .zero)

    public init(maker: Rate, taker: Rate) {
        self.maker = maker
        self.taker = taker
    }

    public func rate(of match: Match) -> Rate { match.isMaker ? maker : taker }

    /// The fee of an execution in quote currency, exact.
    public func fee(of match: Match) -> Money {
        Money((match.price * match.quantity).value * rate(of: match).value)
    }
}

/// What became of a submitted order at once.
public struct Submission: Hashable, Sendable {
    public enum Outcome: Hashable, Sendable {
        case filled
        /// Filled in part, the rest expired.
        case partiallyExpired
        /// Nothing filled.
        case expired
        /// Rests with what is left; a part may have filled.
        case resting
    }

    public let outcome: Outcome
    /// None or one: the market has one price.
    public let match: Match?

    public init(outcome: Outcome, match: Match?) {
        self.outcome = outcome
        self.match = match
    }
}

/// The resting orders and the current price of one market.
public struct MatchingBook: Sendable {
    /// An order that rests.
    public struct Resting: Hashable, Sendable {
        public let order: BookOrder
        public let limit: Price
        public internal(set) var filled: Quantity
        /// Order of submission.
        public let sequence: Int

        public var unfilled: Quantity { order.quantity - filled }
    }

    /// The price at which takers fill; nil until the first price event: nothing fills.
    public private(set) var fillPrice: Price?
    /// What is left to trade at `fillPrice`; nil is unlimited.
    public private(set) var liquidity: Quantity?

    private var orders: [Int: Resting] = [:]
    private var buys = LimitHeap(highestFirst: true)
    private var sells = LimitHeap(highestFirst: false)
    private var nextSequence = 0

    public init(fillPrice: Price? = nil, liquidity: Quantity? = nil) {
        self.fillPrice = fillPrice
        self.liquidity = liquidity
    }

    /// The resting order of this key.
    public func resting(_ key: Int) -> Resting? { orders[key] }

    /// All resting orders, in order of submission. O(n log n).
    public var resting: [Resting] { orders.values.sorted { $0.sequence < $1.sequence } }

    public var restingCount: Int { orders.count }

    /// How much an order of this size and limit would fill right now.
    public func available(to order: BookOrder) -> Quantity {
        guard let fillPrice, order.accepts(fillPrice) else { return .zero }
        guard let liquidity else { return order.quantity }
        return min(liquidity, order.quantity)
    }

    /// Takes what the market gives and rests or expires the remainder. Traps on a key that rests already.
    public mutating func submit(_ order: BookOrder) -> Submission {
        var quantity = available(to: order)
        if case .fillOrKill = order.kind, quantity < order.quantity { quantity = .zero }
        var match: Match?
        if quantity.isPositive, let fillPrice {
            take(quantity)
            match = Match(key: order.key, side: order.side, quantity: quantity, price: fillPrice, isMaker: false)
        }
        if quantity == order.quantity { return Submission(outcome: .filled, match: match) }
        switch order.kind {
        case .market, .immediateOrCancel, .fillOrKill:
            return Submission(outcome: match == nil ? .expired : .partiallyExpired, match: match)
        case .goodTillCancelled(let limit):
            rest(order, limit: limit, filled: quantity)
            return Submission(outcome: .resting, match: match)
        }
    }

    /// Puts an order on the book with what it has filled already, without matching it: a stored order after a restart.
    /// Traps on a key that rests already and on a kind that does not rest.
    public mutating func restore(_ order: BookOrder, filled: Quantity) {
        guard case .goodTillCancelled(let limit) = order.kind else { preconditionFailure("only GTC orders rest") }
        rest(order, limit: limit, filled: filled)
    }

    /// Fills all of an order as taker at the market's price, whatever its limit and the liquidity: an order that was
    /// filled without an answer. Nil before the first price.
    public mutating func takeWhole(_ order: BookOrder) -> Match? {
        guard let fillPrice else { return nil }
        take(liquidity.map { min($0, order.quantity) } ?? order.quantity)
        return Match(key: order.key, side: order.side, quantity: order.quantity, price: fillPrice, isMaker: false)
    }

    /// A price event: resting orders that `fill` touches are filled in order of submission, up to `liquidity` (nil is
    /// unlimited). What is left of it stays for takers until the next event.
    public mutating func price(fill: Price, liquidity: Quantity?) -> [Match] {
        var matches: [Match] = []
        price(fill: fill, liquidity: liquidity) { resting, available in
            matches.append(
                Match(
                    key: resting.order.key,
                    side: resting.order.side,
                    quantity: available,
                    price: resting.limit,
                    isMaker: true,
                )
            )
            return available
        }
        return matches
    }

    /// A price event whose fills the caller decides one by one, in order of submission.
    ///
    /// - Parameter decide: gets the order and the quantity that it may fill; returns how much of that fills at the
    ///   order's limit (zero leaves the order as it is), or nil to take the order off the book unfilled.
    public mutating func price(
        fill: Price,
        liquidity: Quantity?,
        _ decide: (_ resting: Resting, _ available: Quantity) -> Quantity?,
    ) {
        fillPrice = fill
        self.liquidity = liquidity
        var touched = buys.removeTouched(by: fill, orders)
        touched += sells.removeTouched(by: fill, orders)
        guard !touched.isEmpty else { return }
        touched.sort { $0.sequence < $1.sequence }
        for entry in touched {
            guard var resting = orders[entry.key] else { continue }
            let available = self.liquidity.map { min($0, resting.unfilled) } ?? resting.unfilled
            guard available.isPositive else {
                reinsert(entry, side: resting.order.side)
                continue
            }
            guard let quantity = decide(resting, available) else {
                orders[entry.key] = nil
                continue
            }
            precondition(!quantity.value.isNegative && quantity <= available, "a fill within what is available")
            take(quantity)
            resting.filled += quantity
            if resting.unfilled.isPositive {
                orders[entry.key] = resting
                reinsert(entry, side: resting.order.side)
            } else {
                orders[entry.key] = nil
            }
        }
    }

    /// Fills up to `quantity` of a resting order outside a price event, as maker, at `price` (its limit when nil): a
    /// fill in the race with a cancel. Liquidity is not touched. Nil when no such order rests.
    public mutating func fill(_ key: Int, quantity: Quantity, price: Price? = nil) -> Match? {
        guard var resting = orders[key] else { return nil }
        let filled = min(quantity, resting.unfilled)
        resting.filled += filled
        orders[key] = resting.unfilled.isPositive ? resting : nil
        return Match(
            key: key,
            side: resting.order.side,
            quantity: filled,
            price: price ?? resting.limit,
            isMaker: true,
        )
    }

    /// Takes an order off the book and returns it as it stood; nil when it does not rest.
    public mutating func cancel(_ key: Int) -> Resting? {
        // Its heap entry stays until a price reaches it: `sequence` tells it from a later order of the same key.
        orders.removeValue(forKey: key)
    }

    private mutating func take(_ quantity: Quantity) {
        if let left = liquidity { liquidity = left - quantity }
    }

    private mutating func rest(_ order: BookOrder, limit: Price, filled: Quantity) {
        precondition(orders[order.key] == nil, "key rests already")
        let resting = Resting(order: order, limit: limit, filled: filled, sequence: nextSequence)
        nextSequence += 1
        orders[order.key] = resting
        reinsert(LimitHeap.Entry(limit: limit, sequence: resting.sequence, key: order.key), side: order.side)
        // Cancelled orders far from the market would pile up otherwise.
        if buys.count > 64 + 2 * orders.count { buys.compact(orders) }
        if sells.count > 64 + 2 * orders.count { sells.compact(orders) }
    }

    private mutating func reinsert(_ entry: LimitHeap.Entry, side: Side) {
        switch side {
        case .buy: buys.insert(entry)
        case .sell: sells.insert(entry)
        }
    }
}
