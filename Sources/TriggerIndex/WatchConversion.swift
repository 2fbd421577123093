// From the order's exact decimals to the whole units of the index. Nothing is rounded that could change a comparison.

public import SmartOrders

extension WatchRule {
    /// The rule for a condition of an order.
    ///
    /// - Parameter priceDecimals: the units are 10^-`priceDecimals` (`Instrument.priceDecimals`).
    /// Nil when a number does not fit the units: an extreme, callback or rate that is finer than they are (an order's
    /// creation refuses those), or a price beyond their range. A fixed threshold that is finer is moved to the next
    /// unit in its direction, which no price in units can tell apart.
    public init?(_ condition: Watch.Condition, priceDecimals: Int) {
        switch condition {
        case .atOrAbove(let price):
            guard let threshold = price.units(priceDecimals, .ceiling) else { return nil }
            self = .rising(threshold: threshold)
        case .atOrBelow(let price):
            guard let threshold = price.units(priceDecimals, .floor) else { return nil }
            self = .falling(threshold: threshold)
        case .trailsHigh(let callback, let extreme):
            guard let extreme = extreme.units(priceDecimals), let callback = CallbackUnits(callback, priceDecimals)
            else { return nil }
            self = .followsHigh(callback, extreme: extreme)
        case .trailsLow(let callback, let extreme):
            guard let extreme = extreme.units(priceDecimals), let callback = CallbackUnits(callback, priceDecimals)
            else { return nil }
            self = .followsLow(callback, extreme: extreme)
        }
    }
}

extension CallbackUnits {
    fileprivate init?(_ callback: Callback, _ priceDecimals: Int) {
        switch callback {
        case .rate(let rate):
            guard let millionths = rate.value.units(decimals: 6), (0...1_000_000).contains(millionths) else {
                return nil
            }
            self = .rate(millionths: UInt32(millionths))
        case .amount(let amount):
            guard let units = amount.value.units(decimals: priceDecimals), units >= 0 else { return nil }
            self = .amount(units)
        }
    }
}

extension MarketIndex {
    /// An empty index on the grid of `instrument`. Nil when its tick size does not fit the units.
    public init?(_ instrument: Instrument) {
        guard let units = instrument.tickSize.value.units(decimals: instrument.priceDecimals), units > 0 else {
            return nil
        }
        self.init(tickUnits: units)
    }
}

extension Price {
    /// This price in units of 10^-`decimals`, 1..<Int64.max. Nil when it is finer or out of range.
    fileprivate func units(_ decimals: Int) -> Int64? {
        guard let units = value.units(decimals: decimals), units > 0, units < .max else { return nil }
        return units
    }

    fileprivate func units(_ decimals: Int, _ rounding: Rounding) -> Int64? {
        Price(value.rounded(toMultipleOf: ExactDecimal(mantissa: 1, scale: decimals), rounding)).units(decimals)
    }
}
