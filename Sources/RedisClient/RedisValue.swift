/// One reply of the server, copied out of hiredis.
public enum RedisValue: Hashable, Sendable {
    case integer(Int64)
    case bytes([UInt8])
    case array([RedisValue])
    case null
    /// A simple status such as `OK`.
    case status(String)
    case error(RedisServerError)
}

/// An error reply: a code word and a text, such as `WRONGTYPE Operation against a key ...`.
public struct RedisServerError: Error, Hashable, Sendable {
    public let text: String

    public init(text: String) { self.text = text }

    /// The first word of the text.
    public var code: String {
        // A script's error reply may start with a dash of its own in servers before 7.
        let word = text.prefix { $0 != " " }
        return String(word.hasPrefix("-") ? word.dropFirst() : word)
    }

    public func hasCode(_ word: StaticString) -> Bool {
        let utf8 = text.utf8
        guard utf8.count >= word.utf8CodeUnitCount else { return false }
        var index = utf8.startIndex
        for offset in 0..<word.utf8CodeUnitCount {
            if utf8[index] != word.utf8Start[offset] { return false }
            index = utf8.index(after: index)
        }
        return index == utf8.endIndex || utf8[index] == UInt8(ascii: " ")
    }

    public var asRedisError: RedisError { RedisError(.server(code: code, message: text)) }
}

extension RedisValue {
    public var integer: Int64? {
        switch self {
        case .integer(let value): value
        case .bytes(let bytes): Int64(String(decoding: bytes, as: UTF8.self))
        case .array, .null, .status, .error: nil
        }
    }

    public var bytes: [UInt8]? {
        switch self {
        case .bytes(let bytes): bytes
        case .status(let text): Array(text.utf8)
        case .integer, .array, .null, .error: nil
        }
    }

    /// A bulk string or status as text; invalid UTF-8 is repaired with U+FFFD.
    public var text: String? {
        switch self {
        case .bytes(let bytes): String(decoding: bytes, as: UTF8.self)
        case .status(let text): text
        case .integer, .array, .null, .error: nil
        }
    }

    public var array: [RedisValue]? {
        switch self {
        case .array(let values): values
        case .integer, .bytes, .null, .status, .error: nil
        }
    }

    public var error: RedisServerError? {
        switch self {
        case .error(let error): error
        case .integer, .bytes, .array, .null, .status: nil
        }
    }

    public var isNull: Bool {
        switch self {
        case .null: true
        case .integer, .bytes, .array, .status, .error: false
        }
    }

    /// The value itself, or the server's error thrown.
    public func orThrow() throws(RedisError) -> RedisValue {
        if case .error(let error) = self { throw error.asRedisError }
        return self
    }
}
