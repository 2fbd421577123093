internal import SmartOrders

extension Watch {
    /// Whether a price crosses the threshold (R2, R3).
    func isCrossed(by price: Price, on tickSize: Price) -> Bool {
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
