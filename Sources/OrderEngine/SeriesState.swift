// One market and source, as the evaluating task follows it.
internal import SmartOrders
internal import TriggerIndex

/// Index and place of one series. Confined to the evaluating task; a class, so that the index is never copied.
final class SeriesState {
    let name: PriceSeries
    let decimals: Int
    let tickUnits: Int64
    var index: MarketIndex
    /// Every armed order was evaluated up to here.
    var position: TickPosition
    /// The cursor as stored; nil: not stored yet.
    var saved: TickPosition?
    /// Orders of this series.
    var count = 0
    /// Orders whose rows stand behind `position`: armed when the index gets there, by position, last first.
    var ahead: [ArmedOrder] = []
    /// Ticks are missing that are not stored yet; nothing behind them is evaluated.
    var isBroken = false
    /// Since when nobody is armed here.
    var idleSince: Int64?
    /// Where evaluation stood, and when; oldest first.
    private var track: [(at: Int64, position: TickPosition)]

    init(_ name: PriceSeries, decimals: Int, tickUnits: Int64, position: TickPosition, now: Int64) {
        self.name = name
        self.decimals = decimals
        self.tickUnits = tickUnits
        self.position = position
        index = MarketIndex(tickUnits: tickUnits)
        track = [(now, position)]
    }

    /// Notes the present place and returns the one of `lag` nanoseconds ago.
    ///
    /// The stored cursor lags behind: it says "nothing crossed before", also of orders that were committed a moment ago,
    /// stand before `position` and are not known here yet. If this process died now, their ticks would be skipped.
    func settled(now: Int64, lag: Int64) -> TickPosition {
        track.append((now, position))
        let current = track.lastIndex { $0.at <= now - lag } ?? 0
        track.removeFirst(current)
        return track[0].position
    }

    func insertAhead(_ armed: ArmedOrder) {
        let index = ahead.firstIndex { $0.position <= armed.position } ?? ahead.count
        ahead.insert(armed, at: index)
    }
}
