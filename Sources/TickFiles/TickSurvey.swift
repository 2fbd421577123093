// What a file holds, from one pass over it.

public import SmartOrders

/// The series of a file with their extent and precision.
public struct TickSurvey: Hashable, Sendable {
    public struct Entry: Hashable, Sendable {
        public let series: TickSeries
        public fileprivate(set) var rows: Int64
        public let firstTime: Int64
        public fileprivate(set) var lastTime: Int64
        public let firstPrice: Price
        public fileprivate(set) var lowest: Price
        public fileprivate(set) var highest: Price
        /// The most decimal places that a price has, less trailing zeros.
        public fileprivate(set) var priceDecimals: Int
        public fileprivate(set) var quantityDecimals: Int
    }

    /// In order of appearance.
    public private(set) var entries: [Entry] = []
    public private(set) var rows: Int64 = 0

    public init(path: String) throws(TickFileError) {
        var file = try TickFile.open(path)
        while let row = try file.next() {
            rows += 1
            let price = Price(row.price.value)
            if row.series == entries.count {
                entries.append(
                    Entry(
                        series: file.series[row.series],
                        rows: 0,
                        firstTime: row.time,
                        lastTime: row.time,
                        firstPrice: price,
                        lowest: price,
                        highest: price,
                        priceDecimals: 0,
                        quantityDecimals: 0,
                    )
                )
            }
            let index = row.series
            entries[index].rows += 1
            entries[index].lastTime = row.time
            entries[index].priceDecimals = max(entries[index].priceDecimals, row.price.significantDecimals)
            entries[index].quantityDecimals = max(entries[index].quantityDecimals, row.quantity.significantDecimals)
            if price < entries[index].lowest { entries[index].lowest = price }
            if price > entries[index].highest { entries[index].highest = price }
        }
    }
}
