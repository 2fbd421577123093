// From rows to values. What cannot be read is a corrupt row, never skipped.

internal import OrderEngine
internal import PostgresClient
internal import SmartOrders

/// A stored value that the program does not understand.
struct CorruptValue: Error, CustomStringConvertible {
    let description: String
    init(_ what: String) { description = "unreadable \(what)" }
}

extension Row {
    func id(_ column: Int) throws(RowError) -> UniqueID {
        let (high, low) = try uuid(column)
        return UniqueID(high: high, low: low)
    }

    func idOrNil(_ column: Int) throws(RowError) -> UniqueID? {
        try uuidOrNil(column).map { UniqueID(high: $0.high, low: $0.low) }
    }

    func moment(_ column: Int) throws(RowError) -> Timestamp { Timestamp(microseconds: try timestamp(column)) }
    func momentOrNil(_ column: Int) throws(RowError) -> Timestamp? {
        try timestampOrNil(column).map { Timestamp(microseconds: $0) }
    }

    func exact(_ column: Int) throws -> ExactDecimal {
        let (mantissa, scale) = try decimal(column)
        guard scale <= 36 else { throw CorruptValue("decimal") }
        return ExactDecimal(mantissa: mantissa, scale: scale)
    }

    func exactOrNil(_ column: Int) throws -> ExactDecimal? { isNull(column) ? nil : try exact(column) }

    /// A word of a closed list.
    func word<Word: RawRepresentable<String>>(_ column: Int, _ type: Word.Type = Word.self) throws -> Word {
        let text = try string(column)
        guard let word = Word(rawValue: text) else { throw CorruptValue("\(Word.self) \(text)") }
        return word
    }

    func market(_ column: Int) throws -> MarketID {
        let text = try string(column)
        guard let market = MarketID(text) else { throw CorruptValue("market \(text)") }
        return market
    }

    func leg(_ column: Int) throws -> Leg {
        let text = try string(column)
        guard let leg = Leg(text) else { throw CorruptValue("leg \(text)") }
        return leg
    }

    func position(_ column: Int) throws(RowError) -> TickPosition {
        TickPosition(venueTime: try int64(column), sequence: try int64(column + 1))
    }
}
