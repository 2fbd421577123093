// What an order waits for in the price, as data for the trigger index.
//
// Invariant: as long as no tick crosses one of an order's watches, `decide` on that tick changes nothing but the
// extreme. So the evaluator looks only at watches, and a worker that has a crossing first lets the order absorb the
// extreme that the quiet ticks made (`SmartOrder.absorb`), then decides on the crossing tick.

/// One threshold of an order, or one distance that trails an extreme.
public struct Watch: Hashable, Sendable {
    public enum Condition: Hashable, Sendable {
        /// Crossed by a price >= the threshold.
        case atOrAbove(Price)
        /// Crossed by a price <= the threshold.
        case atOrBelow(Price)
        /// Follows the highest price since `extreme` was seen; crossed by a price <= extreme less the callback, rounded
        /// up to the tick size (R5).
        case trailsHigh(Callback, extreme: Price)
        /// Mirror: follows the lowest price; crossed by a price >= extreme plus the callback, rounded down.
        case trailsLow(Callback, extreme: Price)
    }

    /// With `attempt` the id of the job that a crossing makes.
    public let leg: Leg
    /// For a leg that places an order its next attempt; for `timer` the order's version.
    public let attempt: Int
    public let condition: Condition

    public init(leg: Leg, attempt: Int, condition: Condition) {
        self.leg = leg
        self.attempt = attempt
        self.condition = condition
    }
}

extension Watch {
    /// Whether a price crosses the threshold (R2, R3).
    /// - Parameter tickSize: trailing thresholds are rounded to it.
    public func isCrossed(by price: Price, on tickSize: Price) -> Bool {
        switch condition {
        case .atOrAbove(let threshold): price >= threshold
        case .atOrBelow(let threshold): price <= threshold
        case .trailsHigh(let callback, let extreme):
            price <= Pricing.trailingStop(side: .buy, extreme: extreme, callback: callback, tickSize: tickSize)
        case .trailsLow(let callback, let extreme):
            price >= Pricing.trailingStop(side: .sell, extreme: extreme, callback: callback, tickSize: tickSize)
        }
    }
}
