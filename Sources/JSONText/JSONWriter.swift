// Writing JSON: straight into bytes, or from a tree.

/// Appends JSON text to `bytes` without building a tree.
///
/// The caller keeps to the grammar (a key before each value of an object, ends match begins); commas are put in here.
/// Several documents may follow each other with `line()` between them.
public struct JSONWriter: Sendable {
    public private(set) var bytes: [UInt8] = []
    /// Line breaks and two spaces per level.
    private let isPretty: Bool
    private var needsComma = false
    private var followsKey = false
    private var depth = 0

    public init(pretty: Bool = false, reserving capacity: Int = 0) {
        isPretty = pretty
        if capacity > 0 { bytes.reserveCapacity(capacity) }
    }

    /// What was written, as text.
    public var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Gives the bytes away and starts over.
    public mutating func take() -> [UInt8] {
        defer {
            bytes = []
            needsComma = false
        }
        return bytes
    }

    /// Ends a document with a line feed: the next value starts a new document.
    public mutating func line() {
        bytes.append(UInt8(ascii: "\n"))
        needsComma = false
    }

    private mutating func separate() {
        if followsKey {
            followsKey = false
            return
        }
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        if isPretty, depth > 0 { indent() }
        needsComma = true
    }

    private mutating func indent() {
        bytes.append(UInt8(ascii: "\n"))
        bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: 2 * depth))
    }

    private mutating func begin(_ byte: UInt8) {
        separate()
        bytes.append(byte)
        depth += 1
        needsComma = false
    }

    private mutating func end(_ byte: UInt8) {
        precondition(depth > 0, "an end without its begin")
        depth -= 1
        if isPretty, needsComma { indent() }
        bytes.append(byte)
        needsComma = true
    }

    public mutating func beginObject() { begin(UInt8(ascii: "{")) }
    public mutating func endObject() { end(UInt8(ascii: "}")) }
    public mutating func beginArray() { begin(UInt8(ascii: "[")) }
    public mutating func endArray() { end(UInt8(ascii: "]")) }

    private mutating func endKey() {
        bytes.append(UInt8(ascii: ":"))
        if isPretty { bytes.append(UInt8(ascii: " ")) }
        followsKey = true
    }

    /// A key of the program: without quotes, backslashes or control characters.
    public mutating func key(_ key: StaticString) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        key.withUTF8Buffer { unsafe bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: "\""))
        endKey()
    }

    /// A key that is data.
    public mutating func key(escaping key: String) {
        separate()
        quote(key)
        endKey()
    }

    public mutating func string(_ value: String) {
        separate()
        quote(value)
    }

    public mutating func integer(_ value: some FixedWidthInteger) {
        separate()
        digits(value.magnitude, isNegative: value < 0, scale: 0)
    }

    /// An exact decimal, `magnitude` x 10^-`scale`, as a JSON string: plain digits, no exponent.
    public mutating func decimal(magnitude: UInt128, isNegative: Bool, scale: Int) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        if let small = UInt64(exactly: magnitude) {
            digits(small, isNegative: isNegative, scale: scale)
        } else {
            digits(magnitude, isNegative: isNegative, scale: scale)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func digits<Magnitude: FixedWidthInteger & UnsignedInteger>(
        _ magnitude: Magnitude,
        isNegative: Bool,
        scale: Int,
    ) {
        if isNegative { bytes.append(UInt8(ascii: "-")) }
        let start = bytes.count
        var rest = magnitude
        var count = 0
        repeat {
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: digit))
            count += 1
            if count == scale { bytes.append(UInt8(ascii: ".")) }
            rest = quotient
        } while rest != 0 || count <= scale
        // In place: reversing a slice copies it.
        var (low, high) = (start, bytes.count - 1)
        while low < high {
            bytes.swapAt(low, high)
            low += 1
            high -= 1
        }
    }

    public mutating func bool(_ value: Bool) {
        separate()
        word(value ? "true" : "false")
    }

    public mutating func null() {
        separate()
        word("null")
    }

    private mutating func word(_ word: StaticString) {
        word.withUTF8Buffer { unsafe bytes.append(contentsOf: $0) }
    }

    /// One JSON value that is text already (a stored document, a number's source text).
    public mutating func raw(_ json: some Sequence<UInt8>) {
        separate()
        bytes.append(contentsOf: json)
    }

    /// The same as one piece: across modules a generic function goes byte by byte.
    public mutating func raw(_ json: [UInt8]) {
        separate()
        bytes.append(contentsOf: json)
    }

    public mutating func value(_ value: JSONValue) {
        switch value {
        case .null: null()
        case .bool(let flag): bool(flag)
        case .number(let text): raw(text.utf8)
        case .string(let text): string(text)
        case .array(let elements):
            beginArray()
            for element in elements { self.value(element) }
            endArray()
        case .object(let object):
            beginObject()
            for member in object.members {
                key(escaping: member.key)
                self.value(member.value)
            }
            endObject()
        }
    }

    private mutating func quote(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        if text.utf8.contains(where: Self.needsEscape) {
            for byte in text.utf8 { escaped(byte) }
        } else {
            bytes.append(contentsOf: text.utf8)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private mutating func escaped(_ byte: UInt8) {
        guard Self.needsEscape(byte) else {
            bytes.append(byte)
            return
        }
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case 0x08: bytes.append(UInt8(ascii: "b"))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        case 0x0a: bytes.append(UInt8(ascii: "n"))
        case 0x0c: bytes.append(UInt8(ascii: "f"))
        case 0x0d: bytes.append(UInt8(ascii: "r"))
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(byte)
        default:
            word("u00")
            for half in [byte >> 4, byte & 15] {
                bytes.append(half < 10 ? UInt8(ascii: "0") + half : UInt8(ascii: "a") + half - 10)
            }
        }
    }
}

extension JSONWriter {
    public mutating func member(_ key: StaticString, _ value: String) {
        self.key(key)
        string(value)
    }

    /// Writes nothing for nil.
    public mutating func member(_ key: StaticString, ifPresent value: String?) {
        if let value { member(key, value) }
    }

    public mutating func member(_ key: StaticString, _ value: some FixedWidthInteger) {
        self.key(key)
        integer(value)
    }

    public mutating func member(_ key: StaticString, _ value: Bool) {
        self.key(key)
        bool(value)
    }

    public mutating func member(_ key: StaticString, value: JSONValue) {
        self.key(key)
        self.value(value)
    }
}

extension JSONValue: CustomStringConvertible {
    /// Compact text, without spaces.
    public var description: String { String(decoding: serialized(), as: UTF8.self) }

    public func serialized(pretty: Bool = false) -> [UInt8] {
        var writer = JSONWriter(pretty: pretty)
        writer.value(self)
        return writer.take()
    }
}
