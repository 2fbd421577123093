// What a print is judged by (RELIABILITY.md 4.7): another price of the same market at that moment, else the median of what
// its own source said in the five seconds before. A second venue is not asked.
internal import SmartOrders

enum PrintWitness {
    private static let memoryMicroseconds: Int64 = 5_000_000
    /// Of more prices the newest count.
    private static let mostPrices = 1_001

    /// The reference for the tick at `position`; nil: the order asks for none, or none is known, and then every price
    /// counts. Prices are read from memory, the stream, or what is stored.
    static func reference(for row: StoredOrder, at position: TickPosition, _ history: PriceHistory) async -> Price? {
        guard let order = row.smart, order.draft.printGuard != nil, !row.isTerminal else { return nil }
        let decimals = row.instrument.priceDecimals
        if let other = await otherSource(for: row, at: position, history) { return other }
        let own = PriceSeries(market: row.instrument.market, source: order.triggerSource)
        let said = await prices(own, before: position, history).suffix(mostPrices).map(\.price).sorted()
        return said.isEmpty ? nil : Price(units: said[said.count / 2], decimals: decimals)
    }

    /// The newest price of another source, at most five seconds old.
    static func otherSource(
        for row: StoredOrder,
        at position: TickPosition,
        _ history: PriceHistory,
    ) async -> Price? {
        for source in witnesses(of: row.triggerSource) where row.instrument.publishedSources.contains(source) {
            let series = PriceSeries(market: row.instrument.market, source: source)
            // Positions of two sources are comparable by time only.
            let end = TickPosition(venueTime: position.venueTime, sequence: .max)
            if let newest = await prices(series, before: end, history).last {
                return Price(units: newest.price, decimals: row.instrument.priceDecimals)
            }
        }
        return nil
    }

    private static func witnesses(of source: TriggerSource) -> [TriggerSource] {
        switch source {
        case .last, .bid, .ask: [.mark, .index]
        case .mark: [.index, .last]
        case .index: [.mark, .last]
        }
    }

    /// The last five seconds of a series before `end`, oldest first.
    private static func prices(
        _ series: PriceSeries,
        before end: TickPosition,
        _ history: PriceHistory,
    ) async -> [ExtremeBucket.Point] {
        let start = TickPosition(venueTime: end.venueTime - memoryMicroseconds, sequence: -1)
        do {
            guard let newest = try await history.catchUp(series, after: start) else { return [] }
            let points = history.points(series, after: start, through: newest.position) ?? []
            return points.prefix { $0.position < end }.map(\.self)
        } catch {
            return []
        }
    }
}
