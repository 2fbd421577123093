// The formulas of ORDERS.md as pure functions: trailing distance, slippage buffer, break-even, bands, inputs in sync.
// Everything is exact until the one named rounding (R5).

/// Prices that follow from prices.
public enum Pricing {
    /// Trailing stop (R3), rounded towards the market. `side` is the side of the position.
    public static func trailingStop(side: Side, extreme: Price, callback: Callback, tickSize: Price) -> Price {
        let raw: ExactDecimal
        switch (side, callback) {
        case (.buy, .rate(let rate)): raw = extreme.value * (.one - rate.value)
        case (.sell, .rate(let rate)): raw = extreme.value * (.one + rate.value)
        case (.buy, .amount(let amount)): raw = extreme.value - amount.value
        case (.sell, .amount(let amount)): raw = extreme.value + amount.value
        }
        return Price(raw.rounded(toMultipleOf: tickSize.value, side == .buy ? .ceiling : .floor))
    }

    /// Limit of an IOC: 10% through `anchor`, never beyond the buffer, then clamped into the venue's band (R4).
    ///
    /// `side` is the side of the venue order.
    public static func immediateLimit(side: Side, anchor: Price, tickSize: Price, band: PriceBand? = nil) -> Price {
        let factor = ExactDecimal(mantissa: side == .sell ? 9 : 11, scale: 1)
        let limit = (anchor.value * factor).rounded(
            toMultipleOf: tickSize.value,
            side == .sell ? .ceiling : .floor,
        )
        guard let band else { return Price(limit) }
        let low = band.low.value.rounded(toMultipleOf: tickSize.value, .ceiling)
        let high = band.high.value.rounded(toMultipleOf: tickSize.value, .floor)
        return Price(min(max(limit, low), high))
    }

    /// Break-even price (R6.2), rounded towards the market. Rates and percentage matter in their modes only.
    public static func breakEven(
        side: Side,
        mode: BreakEvenPlan.Mode,
        average: AverageEntry,
        feeIn: Rate = .zero,
        feeOut: Rate = .zero,
        offsetPercent: ExactDecimal = .zero,
        tickSize: Price,
    ) -> Price {
        var factor = ExactDecimal.one
        var denominator = average.quantity.value
        switch mode {
        case .entry: break
        case .fees:
            let one = ExactDecimal.one
            factor = side == .buy ? one + feeIn.value : one - feeIn.value
            denominator = denominator * (side == .buy ? one - feeOut.value : one + feeOut.value)
        case .offset: factor = Self.factor(side: side, percent: offsetPercent)
        }
        return Price(
            .quotient(
                average.cost.value,
                times: factor,
                over: denominator,
                step: tickSize.value,
                side == .buy ? .ceiling : .floor,
            )
        )
    }

    /// Price at a gain of `percent` over the average, in the trader's favour (F6, F10). Losses are negative.
    public static func gain(side: Side, average: AverageEntry, percent: ExactDecimal, tickSize: Price) -> Price {
        Price(
            .quotient(
                average.cost.value,
                times: factor(side: side, percent: percent),
                over: average.quantity.value,
                step: tickSize.value,
                side == .buy ? .ceiling : .floor,
            )
        )
    }

    /// 1 + s x percent / 100.
    static func factor(side: Side, percent: ExactDecimal) -> ExactDecimal {
        let change = percent * ExactDecimal(mantissa: 1, scale: 2)
        return side == .buy ? .one + change : .one - change
    }

    /// Limit prices allowed around the trigger of a conditional order, bounds inclusive (R19).
    public static func conditionalBand(kind: InstrumentKind, side: Side, trigger: Price) -> PriceBand {
        func times(_ mantissa: Int128, _ scale: Int) -> Price {
            Price(trigger.value * ExactDecimal(mantissa: mantissa, scale: scale))
        }
        switch (kind, side) {
        case (.perpetual, .buy), (.future, .buy): return PriceBand(low: times(5, 1), high: times(105, 2))
        case (.perpetual, .sell), (.future, .sell): return PriceBand(low: times(95, 2), high: times(15, 1))
        case (.spot, .buy): return PriceBand(low: times(1, 1), high: times(115, 2))
        case (.spot, .sell): return PriceBand(low: times(85, 2), high: times(10, 0))
        case (.spotCollateral, .buy): return PriceBand(low: times(1, 1), high: times(105, 2))
        case (.spotCollateral, .sell): return PriceBand(low: times(95, 2), high: times(10, 0))
        }
    }

    /// Average of fills; nil without any.
    public static func average(_ fills: [(price: Price, quantity: Quantity)]) -> AverageEntry? {
        var cost = Money.zero
        var quantity = Quantity.zero
        for fill in fills {
            cost += fill.price * fill.quantity
            quantity += fill.quantity
        }
        return quantity.isPositive ? AverageEntry(cost: cost, quantity: quantity) : nil
    }

    /// One exit's price, its percentage and its amount, all from the rounded price (R18).
    public struct Synced: Hashable, Sendable {
        public let price: Price
        /// Gain positive, loss negative; half-even at 12 decimals.
        public let percent: ExactDecimal
        /// Quote currency, gain positive.
        public let amount: Money
    }

    /// How a trader typed an exit. Percentages and amounts are positive in the direction of the leg.
    public enum ExitInput: Hashable, Sendable {
        case price(Price)
        case percent(ExactDecimal)
        case amount(Money)
    }

    /// Price, percentage and amount from whichever was typed; the price is the truth (R18).
    public static func sync(
        side: Side,
        isStop: Bool,
        entry: Price,
        quantity: Quantity,
        input: ExitInput,
        tickSize: Price,
    ) -> Synced {
        let average = AverageEntry(cost: entry * quantity, quantity: quantity)
        let price: Price
        switch input {
        case .price(let typed):
            price = Price(typed.value.rounded(toMultipleOf: tickSize.value, side == .buy ? .ceiling : .floor))
        case .percent(let percent):
            price = gain(side: side, average: average, percent: isStop ? -percent : percent, tickSize: tickSize)
        case .amount(let amount):
            let gain = (side == .buy) == isStop ? -amount.value : amount.value
            price = Price(
                .quotient(
                    average.cost.value + gain,
                    over: quantity.value,
                    step: tickSize.value,
                    side == .buy ? .ceiling : .floor,
                )
            )
        }
        let move = side == .buy ? price.value - entry.value : entry.value - price.value
        return Synced(
            price: price,
            percent: .quotient(
                move * ExactDecimal(100),
                over: entry.value,
                step: ExactDecimal(mantissa: 1, scale: 12),
                .halfEven,
            ),
            amount: Money(move * quantity.value),
        )
    }

    /// Quantities of levels (R1): shares by percentage, floored, the last takes the rest, too small ones merged.
    public static func plan(
        quantity: Quantity,
        percents: [ExactDecimal],
        prices: [Price],
        step: Quantity,
        minQuantity: Quantity = .zero,
        minNotional: Money = .zero,
    ) -> [Quantity] {
        Planner.plan(
            quantity,
            over: zip(percents, prices).map { PlanShare(percent: $0, price: $1) },
            step: step,
            minQuantity: minQuantity,
            minNotional: minNotional,
        )
    }
}
