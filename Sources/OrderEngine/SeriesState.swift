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
    /// The cursor as stored, and when; nil: not stored yet.
    var saved: (position: TickPosition, at: Int64)?
    /// Orders of this series.
    var count = 0
    /// Orders whose rows stand behind `position`: armed when the index gets there, by position, last first.
    var ahead: [ArmedOrder] = []
    /// Ticks are missing that are not stored yet; nothing behind them is evaluated.
    var isBroken = false
    /// Since when nobody is armed here.
    var idleSince: Int64?

    init(_ name: PriceSeries, decimals: Int, tickUnits: Int64, position: TickPosition) {
        self.name = name
        self.decimals = decimals
        self.tickUnits = tickUnits
        self.position = position
        index = MarketIndex(tickUnits: tickUnits)
    }

    func insertAhead(_ armed: ArmedOrder) {
        let index = ahead.firstIndex { $0.position <= armed.position } ?? ahead.count
        ahead.insert(armed, at: index)
    }
}
