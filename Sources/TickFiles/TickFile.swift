// Recorded trades, one row after the other: `ts_us,venue,symbol,price,qty,side` as plain or gzip text.
//
// Invariants: rows come in the order of the file and never go back in time; prices are positive and exact. The first
// line that is not of the form ends the reading with its number; nothing is skipped.
// Cost: no allocation per row; a gigabyte of text needs two buffers of 256 KiB.

/// A file of ticks, read from its start. Rows of several instruments may be mixed; `TickRow.series` tells them apart.
public struct TickFile: ~Copyable {
    public static let header = "ts_us,venue,symbol,price,qty,side"

    public let path: String
    /// The series seen so far, in order of appearance.
    public private(set) var series: [TickSeries] = []

    private let source: InflatingSource
    private var buffer: [UInt8] = []
    private var position = 0
    private var line: Int64 = 0
    private var lastTime: Int64 = .min
    /// `venue,symbol` of each series.
    private var keys: [[UInt8]] = []
    private var lastSeries = 0

    /// Opens a file and reads its header.
    public static func open(_ path: String) throws(TickFileError) -> TickFile {
        var file = TickFile(path: path, source: try InflatingSource(path: path))
        try file.readHeader()
        return file
    }

    private init(path: String, source: InflatingSource) {
        self.path = path
        self.source = source
    }

    private mutating func readHeader() throws(TickFileError) {
        guard let end = try nextLine() else { throw error("empty, expected the header \(TickFile.header)") }
        guard buffer[position..<end].elementsEqual(TickFile.header.utf8) else {
            throw error("expected the header \(TickFile.header)")
        }
        position = end + 1
    }

    /// The next row; nil at the end of the file.
    public mutating func next() throws(TickFileError) -> TickRow? {
        guard let end = try nextLine() else { return nil }
        defer { position = end + 1 }
        var cursor = position
        let time = try integer(&cursor, end)
        guard time >= lastTime else { throw error("the time goes back") }
        lastTime = time
        let series = try seriesIndex(&cursor, end)
        let price = try decimal(&cursor, end, "price")
        guard price.mantissa > 0 else { throw error("the price is not positive") }
        let quantity = try decimal(&cursor, end, "quantity")
        return TickRow(
            number: line - 2,
            time: time,
            series: series,
            price: price,
            quantity: quantity,
            taker: try taker(cursor, end),
        )
    }

    private func error(_ reason: String) -> TickFileError {
        TickFileError(file: path, line: max(line, 1), reason: reason)
    }

    /// Brings one whole line into the buffer from `position` on and returns its end; nil at the end of the file.
    private mutating func nextLine() throws(TickFileError) -> Int? {
        // Beyond the end after a last line without a line feed.
        position = min(position, buffer.count)
        var searched = position
        while true {
            while searched < buffer.count {
                if buffer[searched] == UInt8(ascii: "\n") {
                    line += 1
                    return searched
                }
                searched += 1
            }
            guard searched - position <= 1 << 16 else { throw error("a line of more than 64 KiB") }
            buffer.removeFirst(position)
            searched -= position
            position = 0
            guard try source.append(to: &buffer, line: line) else {
                // The last line may lack its line feed.
                guard !buffer.isEmpty else { return nil }
                line += 1
                return buffer.count
            }
        }
    }

    private func integer(_ cursor: inout Int, _ end: Int) throws(TickFileError) -> Int64 {
        var value: Int64 = 0
        let start = cursor
        while cursor < end {
            let byte = buffer[cursor]
            if byte == UInt8(ascii: ",") { break }
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9"), cursor - start < 18 else {
                throw error("expected ts_us in microseconds")
            }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
            cursor += 1
        }
        guard cursor > start, cursor < end else { throw error("expected ts_us in microseconds") }
        cursor += 1
        return value
    }

    private func decimal(_ cursor: inout Int, _ end: Int, _ what: StaticString) throws(TickFileError) -> PlainDecimal {
        var mantissa: Int64 = 0
        var digits = 0
        var decimals = 0
        var sawDigit = false
        var sawPoint = false
        while cursor < end {
            let byte = buffer[cursor]
            if byte == UInt8(ascii: ",") { break }
            if byte == UInt8(ascii: "."), sawDigit, !sawPoint {
                sawPoint = true
            } else {
                guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else {
                    throw error("\(what) is no plain decimal")
                }
                if digits > 0 || byte != UInt8(ascii: "0") { digits += 1 }
                if sawPoint { decimals += 1 }
                guard digits <= 18, decimals <= 18 else { throw error("\(what) has more than 18 digits") }
                mantissa = mantissa * 10 + Int64(byte - UInt8(ascii: "0"))
                sawDigit = true
            }
            cursor += 1
        }
        guard sawDigit, cursor < end, !sawPoint || decimals > 0 else { throw error("\(what) is no plain decimal") }
        cursor += 1
        return PlainDecimal(mantissa: mantissa, decimals: decimals)
    }

    private func taker(_ cursor: Int, _ end: Int) throws(TickFileError) -> TickRow.Taker {
        let text = buffer[cursor..<end]
        if text.elementsEqual("buy".utf8) { return .buy }
        if text.elementsEqual("sell".utf8) { return .sell }
        if text.elementsEqual("unknown".utf8) { return .unknown }
        throw error("side is not buy, sell or unknown")
    }

    /// Nearly always the series of the row before, so its key is compared first.
    private mutating func seriesIndex(_ cursor: inout Int, _ end: Int) throws(TickFileError) -> Int {
        if lastSeries < keys.count, matches(keys[lastSeries], at: cursor, end) {
            cursor += keys[lastSeries].count + 1
            return lastSeries
        }
        for index in keys.indices where matches(keys[index], at: cursor, end) {
            cursor += keys[index].count + 1
            lastSeries = index
            return index
        }
        let parts = buffer[cursor..<end].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
        guard parts.count >= 2, !parts[0].isEmpty, !parts[1].isEmpty,
            let venue = String(validating: parts[0], as: UTF8.self),
            let symbol = String(validating: parts[1], as: UTF8.self)
        else { throw error("expected a venue and a symbol") }
        guard parts.count == 5 else { throw error("expected 6 columns") }
        guard series.count < 4096 else { throw error("more than 4096 series") }
        series.append(TickSeries(venue: venue, symbol: symbol))
        keys.append(Array(parts[0]) + [UInt8(ascii: ",")] + Array(parts[1]))
        lastSeries = series.count - 1
        cursor += keys[lastSeries].count + 1
        return lastSeries
    }

    private func matches(_ key: [UInt8], at cursor: Int, _ end: Int) -> Bool {
        guard cursor + key.count < end, buffer[cursor + key.count] == UInt8(ascii: ",") else { return false }
        for index in key.indices where key[index] != buffer[cursor + index] { return false }
        return true
    }
}
