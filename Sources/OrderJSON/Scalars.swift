// Numbers, identifiers and words of the domain in JSON.
//
// Decimals are strings of the grammar `-?(0|[1-9][0-9]*)(\.[0-9]+)?`, at most 18 decimals. What enters has at most 18
// significant digits (`ExactDecimal.fitsMoney`), so that no later product overflows. Counts and `...Ms` are JSON
// integers below 2^53.

public import JSONText
public import SmartOrders

extension JSONField {
    /// A decimal as typed by a client: bounded, see the module header.
    public func decimal() throws(JSONError) -> ExactDecimal {
        let value = try anyDecimal()
        guard value.fitsMoney else {
            throw error(.badDecimal, expected: "at most 18 significant digits and 18 decimals")
        }
        return value
    }

    /// A decimal of our own making (stored sums and products), up to 38 digits.
    public func anyDecimal() throws(JSONError) -> ExactDecimal {
        switch value {
        case .number: throw error(.decimalNotString, expected: "a decimal as a string")
        case .string(let text):
            guard Self.isDecimal(text.utf8), let decimal = ExactDecimal(text) else {
                throw error(.badDecimal, expected: "a decimal such as \"107.8\"")
            }
            return decimal
        case .null, .bool, .array, .object: throw error(.wrongType, expected: "a decimal as a string")
        }
    }

    /// What `ExactDecimal` reads, less a plus sign and leading zeros.
    private static func isDecimal(_ text: String.UTF8View) -> Bool {
        let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text[...]
        guard let first = digits.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-") else { return false }
        guard first == UInt8(ascii: "0"), digits.count > 1 else { return true }
        return digits[digits.index(after: digits.startIndex)] == UInt8(ascii: ".")
    }

    public func measure<M: Measure>(_ type: M.Type = M.self) throws(JSONError) -> M { M(try decimal()) }

    /// A count or a number of milliseconds: 0 ..< 2^53.
    public func count() throws(JSONError) -> Int64 {
        let number = try int64()
        guard number >= 0, number < 1 << 53 else { throw error(.wrongType, expected: "a whole number from 0") }
        return number
    }

    /// RFC 3339 text, see `Timestamp.init(rfc3339:)`.
    public func timestamp() throws(JSONError) -> Timestamp {
        try parsed(.badTimestamp, expected: "a time such as \"2026-11-20T21:18:03.123456Z\"") { Timestamp(rfc3339: $0) }
    }

    /// Text that people wrote: bounded, without control characters other than line feed.
    public func prose(limit: Int) throws(JSONError) -> String {
        let text = try string()
        guard text.unicodeScalars.count <= limit else {
            throw error(.wrongType, expected: "at most \(limit) characters")
        }
        for scalar in text.unicodeScalars where scalar.properties.generalCategory == .control && scalar != "\n" {
            throw error(.wrongType, expected: "text without control characters")
        }
        return text
    }

    public func measure<M: Measure>(_ key: String, as type: M.Type = M.self) throws(JSONError) -> M {
        try required(key, expected: "a decimal as a string").measure()
    }

    public func optionalMeasure<M: Measure>(_ key: String, as type: M.Type = M.self) throws(JSONError) -> M? {
        try optional(key)?.measure()
    }
}

extension JSONWriter {
    public mutating func decimal(_ value: ExactDecimal) {
        decimal(magnitude: value.mantissa.magnitude, isNegative: value.mantissa < 0, scale: Int(value.scale))
    }

    public mutating func member(_ key: StaticString, _ value: ExactDecimal) {
        self.key(key)
        decimal(value)
    }

    public mutating func member(_ key: StaticString, _ value: some Measure) {
        self.key(key)
        decimal(value.value)
    }

    public mutating func member(_ key: StaticString, _ value: Timestamp) {
        self.key(key)
        string(value.rfc3339)
    }

    public mutating func member(_ key: StaticString, _ value: some RawRepresentable<String>) {
        self.key(key)
        string(value.rawValue)
    }

    // The `orNull` forms write null for nil, the `ifPresent` forms nothing.

    public mutating func member(_ key: StaticString, orNull value: (some Measure)?) {
        self.key(key)
        if let value { decimal(value.value) } else { null() }
    }

    public mutating func member(_ key: StaticString, orNull value: ExactDecimal?) {
        self.key(key)
        if let value { decimal(value) } else { null() }
    }

    public mutating func member(_ key: StaticString, orNull value: String?) {
        self.key(key)
        if let value { string(value) } else { null() }
    }

    public mutating func member(_ key: StaticString, orNull value: Timestamp?) {
        self.key(key)
        if let value { string(value.rfc3339) } else { null() }
    }

    public mutating func member(_ key: StaticString, orNull value: (some RawRepresentable<String>)?) {
        self.key(key)
        if let value { string(value.rawValue) } else { null() }
    }

    public mutating func member(_ key: StaticString, orNull value: (some FixedWidthInteger)?) {
        self.key(key)
        if let value { integer(value) } else { null() }
    }

    public mutating func member(_ key: StaticString, ifPresent value: (some Measure)?) {
        if let value { member(key, value) }
    }

    public mutating func member(_ key: StaticString, ifPresent value: ExactDecimal?) {
        if let value { member(key, value) }
    }

    public mutating func member(_ key: StaticString, ifPresent value: Timestamp?) {
        if let value { member(key, value) }
    }

    public mutating func member(_ key: StaticString, ifPresent value: (some RawRepresentable<String>)?) {
        if let value { member(key, value) }
    }

    public mutating func member(_ key: StaticString, ifPresent value: (some FixedWidthInteger)?) {
        if let value { member(key, value) }
    }
}
