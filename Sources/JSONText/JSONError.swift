// Why a text is no JSON, or why a value is not what its reader expects.

/// A defect of a document, with the place where it is.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The stable codes of a request body (INTERFACES.md 1.6.1).
    public enum Code: String, Hashable, Sendable, CaseIterable {
        case malformed = "MALFORMED_JSON"
        case unknownField = "UNKNOWN_FIELD"
        case missingField = "MISSING_FIELD"
        case wrongType = "WRONG_TYPE"
        case decimalNotString = "DECIMAL_NOT_STRING"
        case badDecimal = "BAD_DECIMAL"
        case badTimestamp = "BAD_TIMESTAMP"
        case badEnum = "BAD_ENUM"
        case badID = "BAD_ID"
    }

    /// A place in the source text.
    public struct Position: Hashable, Sendable {
        /// 0-based.
        public let offset: Int
        /// 1-based.
        public let line: Int
    }

    public let code: Code
    /// RFC 6901 pointer to the value; empty for the whole document and for text that is no JSON.
    public let pointer: String
    /// What was expected, or what is wrong. Holds no text of the document apart from key names.
    public let expected: String
    /// Only for `malformed`.
    public let position: Position?

    public init(_ code: Code, pointer: String = "", expected: String, position: Position? = nil) {
        self.code = code
        self.pointer = pointer
        self.expected = expected
        self.position = position
    }

    public var description: String {
        if let position { return "line \(position.line), byte \(position.offset): \(expected)" }
        let place = pointer.isEmpty ? "document" : pointer
        switch code {
        case .malformed, .wrongType, .decimalNotString, .badDecimal, .badTimestamp, .badEnum, .badID:
            return "\(place): expected \(expected)"
        case .unknownField: return "\(place): unknown field"
        case .missingField: return "\(place): missing, expected \(expected)"
        }
    }
}

/// Where a value stands in its document. Costs an allocation per nesting, and text only when an error needs it.
public indirect enum JSONPath: Hashable, Sendable {
    case root
    case key(JSONPath, String)
    case index(JSONPath, Int)

    /// The RFC 6901 pointer.
    public var pointer: String {
        switch self {
        case .root: return ""
        case .index(let parent, let index): return parent.pointer + "/\(index)"
        case .key(let parent, let key):
            var escaped = ""
            for character in key.unicodeScalars {
                switch character {
                case "~": escaped += "~0"
                case "/": escaped += "~1"
                default: escaped.unicodeScalars.append(character)
                }
            }
            return parent.pointer + "/" + escaped
        }
    }
}
