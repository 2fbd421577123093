// A strict parser of RFC 8259 over bytes.
//
// Refused: anything after the value, a byte order mark, invalid UTF-8, lone surrogates, control characters in strings,
// duplicate keys, numbers outside the grammar, documents beyond `JSONLimits`. Never recursive deeper than the limit.

/// The bounds of a document, checked before memory is spent on it.
public struct JSONLimits: Sendable {
    /// Nesting of arrays and objects.
    public var depth: Int
    public var bytes: Int

    public init(depth: Int = 64, bytes: Int = 64 << 20) {
        self.depth = depth
        self.bytes = bytes
    }
}

extension JSONValue {
    /// Reads one document. Throws `JSONError` with code `malformed` and the position of the first defect.
    public init(parsing bytes: [UInt8], limits: JSONLimits = JSONLimits()) throws(JSONError) {
        guard bytes.count <= limits.bytes else {
            throw JSONError(
                .malformed,
                expected: "at most \(limits.bytes) bytes",
                position: .init(offset: limits.bytes, line: 1),
            )
        }
        var parser = JSONParser(bytes: bytes, depthLimit: limits.depth)
        self = try parser.document()
    }

    public init(parsing text: String, limits: JSONLimits = JSONLimits()) throws(JSONError) {
        try self.init(parsing: Array(text.utf8), limits: limits)
    }
}

private struct JSONParser {
    let bytes: [UInt8]
    let depthLimit: Int
    var position = 0
    var depth = 0

    init(bytes: [UInt8], depthLimit: Int) {
        self.bytes = bytes
        self.depthLimit = depthLimit
    }

    mutating func document() throws(JSONError) -> JSONValue {
        skipSpace()
        let value = try self.value()
        skipSpace()
        guard position == bytes.count else { throw defect("expected the end of the document") }
        return value
    }

    func defect(_ what: String, at offset: Int? = nil) -> JSONError {
        let offset = offset ?? position
        var line = 1
        for byte in bytes.prefix(offset) where byte == UInt8(ascii: "\n") { line += 1 }
        return JSONError(.malformed, expected: what, position: .init(offset: offset, line: line))
    }

    var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func skipSpace() {
        while position < bytes.count, bytes[position] <= 0x20 {
            switch bytes[position] {
            case 0x20, 0x09, 0x0a, 0x0d: position += 1
            default: return
            }
        }
    }

    mutating func value() throws(JSONError) -> JSONValue {
        guard let byte = current else { throw defect("expected a value, found the end") }
        switch byte {
        case UInt8(ascii: "{"): return .object(try object())
        case UInt8(ascii: "["): return .array(try array())
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        default: throw defect("expected a value")
        }
    }

    mutating func word(_ text: String, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let start = position
        for byte in text.utf8 {
            guard current == byte else { throw defect("expected a value", at: start) }
            position += 1
        }
        return value
    }

    mutating func enter() throws(JSONError) {
        depth += 1
        guard depth <= depthLimit else { throw defect("nested deeper than \(depthLimit)") }
        position += 1
        skipSpace()
    }

    mutating func array() throws(JSONError) -> [JSONValue] {
        try enter()
        defer { depth -= 1 }
        var elements: [JSONValue] = []
        if current == UInt8(ascii: "]") {
            position += 1
            return elements
        }
        while true {
            elements.append(try value())
            skipSpace()
            switch current {
            case UInt8(ascii: ","):
                position += 1
                skipSpace()
            case UInt8(ascii: "]"):
                position += 1
                return elements
            default: throw defect("expected , or ]")
            }
        }
    }

    mutating func object() throws(JSONError) -> JSONObject {
        try enter()
        defer { depth -= 1 }
        var members: [JSONObject.Member] = []
        // A scan is cheapest for the usual object; a hostile one must not cost the square of its size.
        var seen: Set<String> = []
        if current == UInt8(ascii: "}") {
            position += 1
            return JSONObject()
        }
        members.reserveCapacity(8)
        while true {
            guard current == UInt8(ascii: "\"") else { throw defect("expected a key") }
            let start = position
            let key = try string()
            let isKnown: Bool
            if members.count < 16 {
                isKnown = members.contains { $0.key == key }
            } else {
                if seen.isEmpty { seen = Set(members.map(\.key)) }
                isKnown = !seen.insert(key).inserted
            }
            guard !isKnown else { throw defect("duplicate key", at: start) }
            skipSpace()
            guard current == UInt8(ascii: ":") else { throw defect("expected :") }
            position += 1
            skipSpace()
            members.append(.init(key: key, value: try value()))
            skipSpace()
            switch current {
            case UInt8(ascii: ","):
                position += 1
                skipSpace()
            case UInt8(ascii: "}"):
                position += 1
                return JSONObject(distinct: members)
            default: throw defect("expected , or }")
            }
        }
    }

    mutating func digits() throws(JSONError) {
        let start = position
        while let byte = current, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { position += 1 }
        guard position > start else { throw defect("expected a digit") }
    }

    mutating func number() throws(JSONError) -> String {
        let start = position
        if current == UInt8(ascii: "-") { position += 1 }
        if current == UInt8(ascii: "0") {
            position += 1
            if let byte = current, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
                throw defect("leading zero", at: start)
            }
        } else {
            try digits()
        }
        if current == UInt8(ascii: ".") {
            position += 1
            try digits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        // Every bit that a byte has had.
        var bits: UInt8 = 0
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                let content = bytes[start..<position]
                // Nearly every string is ASCII, and to make one of that is many times cheaper.
                let text =
                    bits < 0x80
                    ? String(decoding: content, as: UTF8.self) : String(validating: content, as: UTF8.self)
                guard let text else { throw defect("invalid UTF-8", at: start) }
                position += 1
                return text
            case UInt8(ascii: "\\"): return try escapedString(from: start)
            case 0..<0x20: throw defect("control character in a string")
            default:
                bits |= byte
                position += 1
            }
        }
        throw defect("string without an end", at: start - 1)
    }

    /// The rest of a string that has an escape: `position` is at the first backslash.
    private mutating func escapedString(from start: Int) throws(JSONError) -> String {
        var unescaped = Array(bytes[start..<position])
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: unescaped, as: UTF8.self) else {
                    throw defect("invalid UTF-8", at: start)
                }
                position += 1
                return text
            case UInt8(ascii: "\\"):
                position += 1
                try escape(into: &unescaped)
            case 0..<0x20: throw defect("control character in a string")
            default:
                unescaped.append(byte)
                position += 1
            }
        }
        throw defect("string without an end", at: start - 1)
    }

    private mutating func escape(into unescaped: inout [UInt8]) throws(JSONError) {
        let start = position - 1
        guard let byte = current else { throw defect("string without an end", at: start) }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): unescaped.append(byte)
        case UInt8(ascii: "b"): unescaped.append(0x08)
        case UInt8(ascii: "f"): unescaped.append(0x0c)
        case UInt8(ascii: "n"): unescaped.append(0x0a)
        case UInt8(ascii: "r"): unescaped.append(0x0d)
        case UInt8(ascii: "t"): unescaped.append(0x09)
        case UInt8(ascii: "u"):
            var code = try fourHexDigits()
            if code >= 0xd800, code < 0xdc00 {
                guard current == UInt8(ascii: "\\") else { throw defect("lone surrogate", at: start) }
                position += 1
                guard current == UInt8(ascii: "u") else { throw defect("lone surrogate", at: start) }
                position += 1
                let low = try fourHexDigits()
                guard low >= 0xdc00, low < 0xe000 else { throw defect("lone surrogate", at: start) }
                code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw defect("lone surrogate", at: start) }
            unescaped.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
        default: throw defect("unknown escape", at: start)
        }
    }

    private mutating func fourHexDigits() throws(JSONError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = current else { throw defect("expected four hexadecimal digits") }
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): code = code << 4 | UInt32(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): code = code << 4 | UInt32(byte - UInt8(ascii: "a") + 10)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): code = code << 4 | UInt32(byte - UInt8(ascii: "A") + 10)
            default: throw defect("expected four hexadecimal digits")
            }
            position += 1
        }
        return code
    }
}
