// What one API key holds: coins on spot, a wallet and positions on linear markets.
//
// Invariants: `free` and `locked` of every coin are exact; per coin, deposits + sum of fills - fees = free + locked.
// A position's `cost` is exact: wallet = deposits + sum of realized - fees, and sum of realized + position value
// = sum of the cash flows of its fills. What a division cannot say exactly stays in `cost`.

internal import SmartOrders

struct Balance: Hashable {
    var free: ExactDecimal = .zero
    var locked: ExactDecimal = .zero
}

struct PositionKey: Hashable {
    let market: Int
    let side: PositionSide
}

struct Position: Hashable {
    /// Signed: long is positive.
    var quantity: ExactDecimal = .zero
    /// Signed: what the quantity cost, quantity x average entry price.
    var cost: ExactDecimal = .zero
    /// Venue time, microseconds.
    var updatedAt: Int64 = 0

    private static let fineStep = ExactDecimal(mantissa: 1, scale: 12)

    /// The average entry price, to 12 decimals; zero when flat.
    var entryPrice: ExactDecimal {
        quantity.isZero
            ? .zero : .quotient(cost.magnitude, over: quantity.magnitude, step: Self.fineStep, .halfEven)
    }

    /// Adds a fill and returns what it realized.
    mutating func add(_ signed: ExactDecimal, at price: ExactDecimal) -> ExactDecimal {
        guard !quantity.isZero, quantity.isPositive != signed.isPositive else {
            quantity += signed
            cost += signed * price
            return .zero
        }
        let closing = min(signed.magnitude, quantity.magnitude)
        let released: ExactDecimal
        if closing == quantity.magnitude {
            released = cost
        } else {
            let share = ExactDecimal.quotient(
                cost.magnitude * closing,
                over: quantity.magnitude,
                step: Self.fineStep,
                .halfEven,
            )
            released = cost.isNegative ? -share : share
        }
        let wasLong = quantity.isPositive
        let proceeds = closing * price
        let realized = (wasLong ? proceeds : -proceeds) - released
        cost -= released
        quantity += wasLong ? -closing : closing
        let opening = signed.magnitude - closing
        if opening.isPositive {
            let rest = signed.isPositive ? opening : -opening
            quantity = rest
            cost = rest * price
        }
        return realized
    }
}

struct ClientOrderKey: Hashable {
    let market: Int
    let clientID: String
}

/// One API key's account. Owned by the engine, on its thread.
final class Account {
    let index: Int
    let key: String
    /// By asset.
    var spot: [Int: Balance] = [:]
    /// By asset: deposits, realized profit, fees.
    var wallet: [Int: ExactDecimal] = [:]
    /// By asset: margin that resting orders hold.
    var orderMargin: [Int: ExactDecimal] = [:]
    var positions: [PositionKey: Position] = [:]
    /// By market; absent is the venue's default.
    var leverage: [Int: Int] = [:]
    var hasTwoSides: Bool
    var open: Set<Int> = []
    /// By market, in order of acceptance.
    var orders: [Int: [Int]] = [:]
    var trades: [Int: [Int]] = [:]
    /// The last order with a client id.
    var latest: [ClientOrderKey: Int] = [:]
    /// The last conditional order with a client id.
    var latestAlgo: [String: Int] = [:]

    init(index: Int, key: String, hasTwoSides: Bool) {
        self.index = index
        self.key = key
        self.hasTwoSides = hasTwoSides
    }

    func position(_ market: Int, _ side: PositionSide) -> Position {
        positions[PositionKey(market: market, side: side)] ?? Position()
    }

    /// How much an order of this side may reduce.
    func reducible(_ market: Int, _ positionSide: PositionSide, by side: Side) -> Quantity {
        let quantity = position(market, positionSide).quantity
        switch side {
        case .sell: return Quantity(quantity.isPositive ? quantity : .zero)
        case .buy: return Quantity(quantity.isNegative ? -quantity : .zero)
        }
    }
}
