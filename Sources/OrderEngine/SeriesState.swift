// One market and source, as the evaluating task follows it.
internal import SmartOrders
internal import TriggerIndex

/// Index and place of one series. Confined to the evaluating task; a class, so that the index is never copied.
final class SeriesState {
    let name: PriceSeries
    let decimals: Int
    let tickUnits: Int64
    var index: MarketIndex
    /// Orders that trail on another grid, because the venue has changed its tick size: an index for each such grid.
    private var others: [Int64: MarketIndex] = [:]
    /// Every armed order was evaluated up to here.
    var position: TickPosition
    /// The cursor as stored, and when; nil: not stored yet.
    var saved: (position: TickPosition, at: Int64)?
    /// Orders of this series.
    var count = 0
    /// Its open crossings, by the last position before them: as many entries as ticks that crossed something.
    private var openBefore: [TickPosition: Int] = [:]
    private(set) var openCount = 0
    /// Orders whose rows stand behind `position`: armed when the index gets there, by position, last first.
    var ahead: [ArmedOrder] = []
    /// Ticks are missing that are not stored yet; nothing behind them is evaluated.
    var isBroken = false
    /// When a tick came last, or the stored prices were looked at: monotonic nanoseconds.
    var heardAt: Int64 = 0
    /// Since when nobody is armed here.
    var idleSince: Int64?

    init(_ name: PriceSeries, decimals: Int, tickUnits: Int64, position: TickPosition) {
        self.name = name
        self.decimals = decimals
        self.tickUnits = tickUnits
        self.position = position
        index = MarketIndex(tickUnits: tickUnits)
    }

    func opened(before position: TickPosition) {
        openBefore[position, default: 0] += 1
        openCount += 1
    }

    func closed(before position: TickPosition) {
        guard let open = openBefore[position] else {
            return assertionFailure("a crossing that nobody opened was closed")
        }
        openBefore[position] = open == 1 ? nil : open - 1
        openCount -= 1
    }

    /// The last position before every open crossing; nil: there is none. O(ticks that crossed something).
    var beforeOpen: TickPosition? { openBefore.keys.min() }

    /// The grid that an order trails on.
    /// - Parameter tickUnits: of the order; 0: nothing of it trails.
    func grid(_ tickUnits: Int64) -> Int64 { tickUnits == 0 ? self.tickUnits : tickUnits }

    /// The index of a grid.
    @discardableResult
    func withIndex<Result>(_ tickUnits: Int64, _ body: (inout MarketIndex) -> Result) -> Result {
        let grid = grid(tickUnits)
        if grid == self.tickUnits { return body(&index) }
        return body(&others[grid, default: MarketIndex(tickUnits: grid)])
    }

    func disarm(_ entry: ArmedEntry) {
        withIndex(entry.armed.tickUnits) { index in entry.handles.forEach { handle, _ in index.disarm(handle) } }
    }

    func advance(to price: Int64, _ crossings: inout [Crossing]) {
        index.advance(to: price, &crossings)
        for grid in others.keys.sorted() { others[grid]?.advance(to: price, &crossings) }
    }

    func insertAhead(_ armed: ArmedOrder) {
        let index = ahead.firstIndex { $0.position <= armed.position } ?? ahead.count
        ahead.insert(armed, at: index)
    }
}
