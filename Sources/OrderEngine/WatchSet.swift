// The watches of one order on the integer grid of its market: what the index is armed with, and the same rule walked
// tick by tick for one order (after a change, after a take-over, before a command).
internal import SmartOrders
public import TriggerIndex

/// One order's watches, walked over prices by themselves.
public struct WatchSet: Sendable {
    public private(set) var rules: [WatchRule]
    private let grid: TrailingRule

    public init(rules: [WatchRule], tickUnits: Int64) {
        self.rules = rules
        grid = TrailingRule(tickUnits: tickUnits)
    }

    /// The first watch that `price` crosses. The thresholds are tested before the extremes move (ORDERS.md R3.3).
    public mutating func cross(_ price: Int64) -> Int? {
        for (index, rule) in rules.enumerated() where isCrossed(rule, by: price) { return index }
        for index in rules.indices { rules[index] = moved(rules[index], by: price) }
        return nil
    }

    /// Whether prices between `low` and `high`, in whatever order, could cross a watch. False is certain, true is not.
    public func mayCross(high: Int64, low: Int64) -> Bool {
        rules.contains { rule in
            switch rule {
            case .rising(let threshold): high >= threshold
            case .falling(let threshold): low <= threshold
            case .followsHigh(let callback, let extreme): low <= grid.threshold(below: max(extreme, high), callback)
            case .followsLow(let callback, let extreme): high >= grid.threshold(above: min(extreme, low), callback)
            }
        }
    }

    /// Takes the extremes of prices that crossed nothing, or whose crossing a rule answered with nothing.
    public mutating func absorb(high: Int64, low: Int64) {
        for index in rules.indices {
            rules[index] = moved(moved(rules[index], by: high), by: low)
        }
    }

    private func isCrossed(_ rule: WatchRule, by price: Int64) -> Bool {
        switch rule {
        case .rising(let threshold): price >= threshold
        case .falling(let threshold): price <= threshold
        case .followsHigh(let callback, let extreme): price <= grid.threshold(below: extreme, callback)
        case .followsLow(let callback, let extreme): price >= grid.threshold(above: extreme, callback)
        }
    }

    private func moved(_ rule: WatchRule, by price: Int64) -> WatchRule {
        switch rule {
        case .rising, .falling: rule
        case .followsHigh(let callback, let extreme): .followsHigh(callback, extreme: max(extreme, price))
        case .followsLow(let callback, let extreme): .followsLow(callback, extreme: min(extreme, price))
        }
    }
}

extension Leg {
    /// Sells at a loss to end one: watched on while a crossing of another leg is decided on.
    var isStop: Bool {
        switch self {
        case .stop, .partialStop: true
        case .takeProfit, .backstop, .close, .reduce, .entry, .add, .conditional, .timer, .reconcile: false
        }
    }

    /// How much a crossing matters when several watches of one order are crossed by one tick: the first names the job.
    var urgency: Int {
        switch self {
        case .stop: 0
        case .partialStop(let number): number
        case .backstop, .close, .reduce: 100
        case .takeProfit(let level): 1_000 + level
        case .entry, .add, .conditional: 10_000
        case .timer, .reconcile: 20_000
        }
    }
}
