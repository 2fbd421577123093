// Longs and shorts are mirror images: the comparisons that rules are written in, once.

extension Side {
    /// Whether `a` is farther in the direction of profit than `b`: higher for a long, lower for a short. For stops the
    /// same comparison says "tighter".
    @inline(__always)
    func favours(_ a: Price, over b: Price) -> Bool {
        switch self {
        case .buy: a > b
        case .sell: a < b
        }
    }

    /// Whether a price reached a target, inclusive (R2).
    @inline(__always)
    func reaches(_ price: Price, target: Price) -> Bool { !favours(target, over: price) }

    /// Whether a price breached a stop, inclusive (R2).
    @inline(__always)
    func breaches(_ price: Price, stop: Price) -> Bool { !favours(price, over: stop) }

    /// The one of two prices that is farther in the direction of profit.
    @inline(__always)
    func better(_ a: Price, _ b: Price) -> Price { favours(b, over: a) ? b : a }

    /// A signed position in the direction of this side.
    public func quantity(ofPosition net: ExactDecimal) -> ExactDecimal { self == .buy ? net : -net }
}

extension Quantity {
    /// Down to the step: quantities are never rounded up (R5).
    func floored(to step: Quantity) -> Quantity { Quantity(value.rounded(toMultipleOf: step.value, .floor)) }
}

extension Instrument {
    /// Whether the venue takes an order of this quantity at this price: a whole step, its minimums.
    func takes(_ quantity: Quantity, at price: Price) -> Bool {
        quantity.isPositive && quantity >= minQuantity
            && (minNotional.isZero || Money((price * quantity).value * contractSize) >= minNotional)
    }
}
