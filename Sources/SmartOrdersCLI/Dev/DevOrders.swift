// The orders that a development deployment starts with, and what must come of them.
import Exchanges
import OrderEngine
import PaperVenue
import SmartOrders

/// One demo order and the state in which it has to be at the end.
struct DevOrder: Sendable {
    let label: String
    let market: MarketID
    let draft: Draft
    /// Nil: whatever the prices make of it.
    let expected: OrderStatus?
    /// A position that the account holds before the order is attached to it.
    let holds: (quantity: ExactDecimal, price: Price)?
}

enum DevOrders {
    private static func price(_ text: String) -> Price { Price(text) ?? .zero }
    private static func number(_ text: String) -> ExactDecimal { ExactDecimal(text) ?? .zero }

    private static func level(_ text: String, _ percent: String) -> TakeProfitPlan {
        TakeProfitPlan(target: .price(price(text)), sizePercent: number(percent))
    }

    /// The seeded orders of INTERFACES.md 6.3 on the scripted market.
    static var demo: [DevOrder] {
        let ten = Quantity(ExactDecimal(10))
        return [
            DevOrder(
                label: "A  three targets, break-even",
                market: DevMarkets.demo,
                draft: Draft(
                    side: .buy,
                    quantity: ten,
                    entry: EntryPlan(mode: .market),
                    takeProfits: [level("105", "40"), level("110", "35"), level("120", "25")],
                    stopLoss: StopLossPlan(price: price("95")),
                    breakEven: BreakEvenPlan(enabled: true),
                    note: "S2 example: 105/110/120 with break-even",
                ),
                expected: .stopped,
                holds: nil,
            ),
            DevOrder(
                label: "B  trailing stop 2%",
                market: DevMarkets.demo,
                draft: Draft(
                    side: .buy,
                    quantity: ten,
                    entry: EntryPlan(mode: .market),
                    trailing: TrailingPlan(callback: .rate(Rate(number("0.02")))),
                    note: "S2 example: callback 2%",
                ),
                expected: .stopped,
                holds: nil,
            ),
            DevOrder(
                label: "C  attached position",
                market: DevMarkets.demo,
                draft: Draft(
                    side: .buy,
                    quantity: ten,
                    entry: EntryPlan(mode: .attach, price: price("100")),
                    takeProfits: [level("103", "50"), level("104", "50")],
                    note: "exits for what was held already",
                ),
                expected: .closed,
                holds: (ExactDecimal(10), price("100")),
            ),
            DevOrder(
                label: "D  limit entry at 90",
                market: DevMarkets.demo,
                draft: Draft(
                    side: .buy,
                    quantity: ten,
                    entry: EntryPlan(mode: .limit, price: price("90")),
                    takeProfits: [level("99", "100")],
                    stopLoss: StopLossPlan(price: price("85")),
                ),
                expected: .pending,
                holds: nil,
            ),
            DevOrder(
                label: "E  short, limit stop",
                market: DevMarkets.demo,
                draft: Draft(
                    side: .sell,
                    quantity: ten,
                    entry: EntryPlan(mode: .market),
                    takeProfits: [level("97", "100")],
                    stopLoss: StopLossPlan(price: price("115"), execution: .limit, limitPrice: price("115")),
                ),
                expected: .closed,
                holds: nil,
            ),
        ]
    }

    /// Orders on a recorded market: a long and a short with a 2% trailing stop, and the S2 plan in percent of the first
    /// price (targets +1, +2, +5 percent, stop -1 percent, break-even).
    static func recorded(_ market: RecordedMarket) -> [DevOrder] {
        let quantity = Quantity(ExactDecimal(1))
        let first = market.firstPrice
        let tick = market.market.tickSize.value
        func away(_ percent: String, _ rounding: Rounding) -> Price {
            let factor = ExactDecimal.one + number(percent) * ExactDecimal(mantissa: 1, scale: 2)
            return Price((first.value * factor).rounded(toMultipleOf: tick, rounding))
        }
        let entry = EntryPlan(mode: .attach, price: first)
        let trailing = TrailingPlan(callback: .rate(Rate(number("0.02"))))
        var orders: [DevOrder] = []
        for side in Side.allCases {
            orders.append(
                DevOrder(
                    label: side == .buy ? "long, trailing 2%" : "short, trailing 2%",
                    market: market.id,
                    draft: Draft(side: side, quantity: quantity, entry: entry, trailing: trailing),
                    expected: nil,
                    holds: (side == .buy ? quantity.value : -quantity.value, first),
                )
            )
        }
        let levels = [("1", "40"), ("2", "35"), ("5", "25")].map { percent, size in
            TakeProfitPlan(target: .price(away(percent, .ceiling)), sizePercent: number(size))
        }
        orders.append(
            DevOrder(
                label: "long, +1/+2/+5%, break-even, stop -1%",
                market: market.id,
                draft: Draft(
                    side: .buy,
                    quantity: Quantity(ExactDecimal(100)),
                    entry: entry,
                    takeProfits: levels,
                    stopLoss: StopLossPlan(price: away("-1", .floor)),
                    breakEven: BreakEvenPlan(enabled: true),
                ),
                expected: nil,
                holds: (ExactDecimal(100), first),
            )
        )
        return orders
    }
}
