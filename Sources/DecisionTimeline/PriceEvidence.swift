// What is known of the prices of a stretch, and how finely (ORDERS.md 9.2).
public import SmartOrders

/// How fine the evidence is; a statement is never made finer. In falling order.
public enum Coverage: String, Hashable, Sendable, CaseIterable {
    /// Every tick.
    case ticks
    /// Every local extreme, in order.
    case extremes
    /// Highest and lowest price of a minute, in unknown order.
    case candles
    case none
}

/// A price, or the range of prices of a stretch whose order is not known.
public struct PricePoint: Hashable, Sendable {
    public let position: TickPosition
    public let high: Price
    public let low: Price

    public init(position: TickPosition, high: Price, low: Price) {
        self.position = position
        self.high = high
        self.low = low
    }
    public init(_ position: TickPosition, _ price: Price) {
        self.init(position: position, high: price, low: price)
    }
    public var isExact: Bool { high == low }
}

/// Prices of one source in order of position, with where which fineness begins.
public struct PriceEvidence: Sendable {
    public let points: [PricePoint]
    /// Ticks after this position are all there; nil: no ticks.
    public let ticksFrom: TickPosition?
    /// Extremes after this position are all there; nil: none.
    public let extremesFrom: TickPosition?
    /// Nothing is known after this position.
    public let end: TickPosition

    public init(
        points: [PricePoint],
        ticksFrom: TickPosition? = nil,
        extremesFrom: TickPosition? = nil,
        end: TickPosition,
    ) {
        self.points = points
        self.ticksFrom = ticksFrom
        self.extremesFrom = extremesFrom
        self.end = end
    }

    public static let nothing = PriceEvidence(points: [], end: .start)

    /// Points after `position` up to and including `last`.
    func points(after position: TickPosition, through last: TickPosition) -> ArraySlice<PricePoint> {
        points[index(after: position)..<max(index(after: position), index(after: last))]
    }

    private func index(after position: TickPosition) -> Int {
        var low = 0
        var high = points.count
        while low < high {
            let middle = (low + high) / 2
            if points[middle].position <= position { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The fineness of a stretch that begins after `position` and has these points.
    func coverage(after position: TickPosition, _ points: ArraySlice<PricePoint>) -> Coverage {
        guard !points.isEmpty else { return .none }
        if points.contains(where: { !$0.isExact }) { return .candles }
        if let ticksFrom, ticksFrom <= position { return .ticks }
        return .extremes
    }
}
