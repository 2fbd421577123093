// The best prices from any position to the end of a stretch, without walking it per order.
internal import SmartOrders
internal import TriggerIndex

/// Highest and lowest price from each point to the end of a stretch. Built in O(n), asked in O(log n).
struct SuffixExtremes {
    private let positions: [TickPosition]
    private var high: [Int64]
    private var low: [Int64]

    init(points: [ExtremeBucket.Point]) {
        positions = points.map(\.position)
        high = points.map(\.price)
        low = high
        for index in high.indices.dropLast().reversed() {
            high[index] = max(high[index], high[index + 1])
            low[index] = min(low[index], low[index + 1])
        }
    }

    /// A trailing rule with what its extreme has become by the end of the stretch; others unchanged.
    func raise(_ rule: WatchRule, after position: TickPosition) -> WatchRule {
        var from = 0
        var to = positions.count
        while from < to {
            let middle = (from + to) / 2
            if positions[middle] <= position { from = middle + 1 } else { to = middle }
        }
        guard from < positions.count else { return rule }
        switch rule {
        case .falling, .rising: return rule
        case .followsHigh(let callback, let extreme): return .followsHigh(callback, extreme: max(extreme, high[from]))
        case .followsLow(let callback, let extreme): return .followsLow(callback, extreme: min(extreme, low[from]))
        }
    }
}
