public import SmartOrders

/// Which price series of a file: one instrument of one venue, in the file's own words.
public struct TickSeries: Hashable, Sendable, CustomStringConvertible {
    public let venue: String
    public let symbol: String

    public init(venue: String, symbol: String) {
        self.venue = venue
        self.symbol = symbol
    }

    public var description: String { "\(venue):\(symbol)" }
}

/// A non-negative decimal as it was written: `mantissa` x 10^-`decimals`, at most 18 digits.
public struct PlainDecimal: Hashable, Sendable {
    public let mantissa: Int64
    public let decimals: Int

    public init(mantissa: Int64, decimals: Int) {
        self.mantissa = mantissa
        self.decimals = decimals
    }

    public var value: ExactDecimal { ExactDecimal(mantissa: Int128(mantissa), scale: decimals) }

    /// Decimal places less trailing zeros.
    public var significantDecimals: Int {
        var rest = mantissa
        var places = decimals
        while places > 0, rest % 10 == 0 {
            rest /= 10
            places -= 1
        }
        return rest == 0 ? 0 : places
    }

    /// In whole units of 10^-`wanted`; nil when it is no whole number of them or does not fit. `wanted` in 0...18.
    @inlinable
    public func units(decimals wanted: Int) -> Int64? {
        if wanted >= decimals {
            let (units, overflow) = mantissa.multipliedReportingOverflow(
                by: PlainDecimal.powersOfTen[wanted - decimals]
            )
            return overflow ? nil : units
        }
        let (units, rest) = mantissa.quotientAndRemainder(dividingBy: PlainDecimal.powersOfTen[decimals - wanted])
        return rest == 0 ? units : nil
    }

    /// 10^0 ... 10^18.
    @usableFromInline
    static let powersOfTen: [Int64] = (0...18).map { exponent in (0..<exponent).reduce(1) { power, _ in power * 10 } }
}

/// One data row.
public struct TickRow: Hashable, Sendable {
    public enum Taker: Hashable, Sendable { case buy, sell, unknown }

    /// 0-based data row in the file, all series counted: the tick number.
    public let number: Int64
    /// Microseconds since 1970.
    public let time: Int64
    /// Index into `TickFile.series`.
    public let series: Int
    public let price: PlainDecimal
    public let quantity: PlainDecimal
    public let taker: Taker

    /// Where the row stands in its market's history.
    public var position: TickPosition { TickPosition(venueTime: time, sequence: number) }
}

/// What is wrong with a file, and where.
public struct TickFileError: Error, Hashable, Sendable, CustomStringConvertible {
    public let file: String
    /// 1-based, the header is line 1; nil when it is not about a line.
    public let line: Int64?
    public let reason: String

    public init(file: String, line: Int64?, reason: String) {
        self.file = file
        self.line = line
        self.reason = reason
    }

    public var description: String {
        if let line { return "\(file):\(line): \(reason)" }
        return "\(file): \(reason)"
    }
}
