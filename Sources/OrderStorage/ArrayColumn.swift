// Arrays in PostgreSQL's binary form: one column of a batch, built row by row. No quoting, no parsing at the server.

internal import PostgresClient
internal import SmartOrders

/// One array parameter under construction.
struct ArrayColumn {
    /// OID of the element type.
    enum Element: UInt32 {
        case bool = 16
        case bytea = 17
        case int8 = 20
        case int2 = 21
        case int4 = 23
        case text = 25
        case timestamptz = 1184
        case uuid = 2950
    }

    private let element: Element
    private var bytes: [UInt8] = []
    private(set) var count: Int32 = 0

    init(_ element: Element) { self.element = element }

    private mutating func put(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    private mutating func begin(_ length: Int) {
        if bytes.isEmpty {
            // One dimension, no null flag (the server looks for itself), element type, length (set later), lower bound.
            put(Int32(1))
            put(Int32(0))
            put(element.rawValue)
            put(Int32(0))
            put(Int32(1))
        }
        count += 1
        put(Int32(length))
    }

    mutating func appendNull() { begin(-1) }

    mutating func append(_ value: Int64) {
        switch element {
        case .int8, .timestamptz:
            begin(8)
            put(value)
        case .int4:
            begin(4)
            put(Int32(clamping: value))
        case .int2:
            begin(2)
            put(Int16(clamping: value))
        case .bool, .bytea, .text, .uuid: preconditionFailure("not a column of integers")
        }
    }

    mutating func append(_ value: Int64?) { if let value { append(value) } else { appendNull() } }
    mutating func append(_ value: Int) { append(Int64(value)) }

    mutating func append(_ value: Bool) {
        begin(1)
        bytes.append(value ? 1 : 0)
    }

    mutating func append(_ value: UniqueID) {
        begin(16)
        put(value.high)
        put(value.low)
    }

    mutating func append(_ value: UniqueID?) { if let value { append(value) } else { appendNull() } }

    mutating func append(_ text: String) {
        let utf8 = text.utf8
        begin(utf8.count)
        bytes.append(contentsOf: utf8)
    }

    mutating func append(_ text: String?) { if let text { append(text) } else { appendNull() } }
    mutating func append(_ number: ExactDecimal) { append(number.description) }
    mutating func append(_ number: ExactDecimal?) { append(number?.description) }

    /// UTF-8 text or raw bytes.
    mutating func append(_ raw: [UInt8]) {
        begin(raw.count)
        bytes.append(contentsOf: raw)
    }

    mutating func append(_ time: Timestamp) { append(time.microseconds - Self.microsecondsTo2000) }
    mutating func append(_ time: Timestamp?) { if let time { append(time) } else { appendNull() } }

    /// PostgreSQL counts from 2000-01-01.
    private static let microsecondsTo2000: Int64 = 946_684_800_000_000

    /// The only element as a parameter of its own. The statement must give its type (`$1::uuid`).
    consuming func onlyElement() -> Parameter {
        precondition(count == 1, "one element")
        // After the array's header of 20 bytes: the length, -1 for null, and the value.
        return bytes[20] == 255 ? .null : .bytes(Array(bytes[24...]))
    }

    /// The parameter. The statement must give its type (`$1::uuid[]`).
    consuming func parameter() -> Parameter {
        guard count > 0 else {
            put(Int32(0))
            put(Int32(0))
            put(element.rawValue)
            return .bytes(bytes)
        }
        withUnsafeBytes(of: count.bigEndian) { length in
            for (index, byte) in length.enumerated() { bytes[12 + index] = byte }
        }
        return .bytes(bytes)
    }
}

extension Parameter {
    static func uuids(_ values: some Sequence<UniqueID>) -> Parameter {
        var column = ArrayColumn(.uuid)
        for value in values { column.append(value) }
        return column.parameter()
    }

    static func texts(_ values: some Sequence<String>) -> Parameter {
        var column = ArrayColumn(.text)
        for value in values { column.append(value) }
        return column.parameter()
    }

    static func shorts(_ values: some Sequence<Int>) -> Parameter {
        var column = ArrayColumn(.int2)
        for value in values { column.append(value) }
        return column.parameter()
    }

    static func uuid(_ value: UniqueID) -> Parameter { .uuid(high: value.high, low: value.low) }

    /// Whether it fits `timestamptz` is the driver's to say.
    static func moment(_ value: Timestamp) -> Parameter { .timestamp(microseconds: value.microseconds) }

    static func optional(_ time: Timestamp?) -> Parameter { time.map { moment($0) } ?? .null }
    static func optional(_ text: String?) -> Parameter { text.map { .text($0) } ?? .null }
    static func optional(_ number: Int64?) -> Parameter { number.map { .int8($0) } ?? .null }
}
