// A window of ticks, reduced to what decides which watches it crosses.
//
// Kept are the first tick, the last one, and every local extreme in order, of a plateau its first tick (RELIABILITY.md
// 4.1.2). Fed to an index, the kept ticks give the same crossings with the same thresholds and extremes as the whole
// window: between two kept ticks prices only rise or only fall, a fall moves no high and a rise no low, so a threshold
// that the stretch reaches is the one that its end meets. What differs is the tick that the index is at when it reports,
// the end of the stretch; `exactTick` finds the tick that the whole window would have reported.
// Condition: a trailing threshold lies strictly beyond its own extreme, in other words the callback is at least one tick
// size (ORDERS.md R3.5 asks that at creation). Where rounding to a coarse tick puts it on or past the extreme, a rise
// alone can fire it at a tick that is not kept.
// Cost: O(window), no allocation after the first windows; `exactTick` O(log window).

/// Lossless reduction of a window of prices. Keep one per consumer: it reuses its memory.
public struct Conflation: Sendable {
    /// Positions in the window of the ticks to evaluate, ascending.
    public private(set) var kept: [Int] = []

    public init() {}

    /// Reduces `prices`, in tick order, and fills `kept`.
    public mutating func reduce(_ prices: [Int64]) {
        kept.removeAll(keepingCapacity: true)
        guard let first = prices.first else { return }
        kept.append(0)
        var turn = 0
        var turnPrice = first
        var rises: Bool?
        for (position, price) in prices.enumerated() where price != turnPrice {
            let isRise = price > turnPrice
            if let rises, rises != isRise { kept.append(turn) }
            rises = isRise
            turn = position
            turnPrice = price
        }
        if turn > 0 { kept.append(turn) }
        if turn < prices.count - 1 { kept.append(prices.count - 1) }
    }

    /// The tick of the window that crossed first, for a crossing that the index reported at `kept[ordinal]`.
    ///
    /// - Parameter prices: the window that was reduced.
    public func exactTick(of crossing: Crossing, at ordinal: Int, in prices: [Int64]) -> Int {
        guard ordinal > 0 else { return kept[0] }
        // From the kept tick before to this one prices go one way: the first that reaches the threshold is found by
        // halving.
        var low = kept[ordinal - 1] + 1
        var high = kept[ordinal]
        while low < high {
            let middle = low + (high - low) / 2
            let reaches =
                crossing.handle.firesFalling
                ? prices[middle] <= crossing.threshold : prices[middle] >= crossing.threshold
            if reaches { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
