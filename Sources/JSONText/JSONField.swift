// Reading a tree with the path at hand, so that every refusal names its place.

/// A value and where it stands in its document.
///
/// Optional readers take an absent key and `null` for the same thing; `has` tells them apart.
public struct JSONField: Sendable {
    public let value: JSONValue
    public let path: JSONPath

    public init(_ value: JSONValue, path: JSONPath = .root) {
        self.value = value
        self.path = path
    }

    public var pointer: String { path.pointer }

    /// An error about this value.
    public func error(_ code: JSONError.Code, expected: String) -> JSONError {
        JSONError(code, pointer: path.pointer, expected: expected)
    }

    // MARK: The value itself

    public func object() throws(JSONError) -> JSONObject {
        guard case .object(let object) = value else { throw error(.wrongType, expected: "an object") }
        return object
    }

    public func string() throws(JSONError) -> String {
        guard case .string(let text) = value else { throw error(.wrongType, expected: "a string") }
        return text
    }

    public func bool() throws(JSONError) -> Bool {
        guard case .bool(let flag) = value else { throw error(.wrongType, expected: "true or false") }
        return flag
    }

    /// A JSON number without fraction and exponent.
    public func int64() throws(JSONError) -> Int64 {
        guard case .number(let text) = value, let number = Int64(text) else {
            throw error(.wrongType, expected: "a whole number")
        }
        return number
    }

    public func int() throws(JSONError) -> Int {
        let number = try int64()
        guard let narrow = Int(exactly: number) else { throw error(.wrongType, expected: "a whole number") }
        return narrow
    }

    public func elements() throws(JSONError) -> [JSONField] {
        guard case .array(let elements) = value else { throw error(.wrongType, expected: "an array") }
        return elements.enumerated().map { JSONField($0.element, path: .index(path, $0.offset)) }
    }

    /// A string of a closed list.
    public func choice<Choice: RawRepresentable>(
        _ type: Choice.Type = Choice.self
    ) throws(JSONError) -> Choice where Choice.RawValue == String {
        guard case .string(let text) = value else { throw error(.wrongType, expected: "a string") }
        guard let choice = Choice(rawValue: text) else {
            throw error(.badEnum, expected: "one of the documented words")
        }
        return choice
    }

    /// A string that `parse` reads; nil from `parse` is an error with `code`.
    public func parsed<Result>(
        _ code: JSONError.Code,
        expected: String,
        _ parse: (String) -> Result?,
    ) throws(JSONError) -> Result {
        guard case .string(let text) = value else { throw error(.wrongType, expected: expected) }
        guard let result = parse(text) else { throw error(code, expected: expected) }
        return result
    }

    // MARK: Members of an object

    /// The member; nil when it is absent or null.
    public func optional(_ key: String) throws(JSONError) -> JSONField? {
        guard let member = try object()[key], member != .null else { return nil }
        return JSONField(member, path: .key(path, key))
    }

    /// The member; absent and null are errors that say what was expected.
    public func required(_ key: String, expected: String = "a value") throws(JSONError) -> JSONField {
        guard let member = try optional(key) else {
            throw JSONError(.missingField, pointer: JSONPath.key(path, key).pointer, expected: expected)
        }
        return member
    }

    /// Whether the key is there, null or not.
    public func has(_ key: String) throws(JSONError) -> Bool { try object()[key] != nil }

    /// Whether one of the keys is there.
    public func hasAny(_ keys: String...) throws(JSONError) -> Bool {
        let object = try object()
        return keys.contains { object[$0] != nil }
    }

    public func string(_ key: String) throws(JSONError) -> String { try required(key, expected: "a string").string() }
    public func int64(_ key: String) throws(JSONError) -> Int64 {
        try required(key, expected: "a whole number").int64()
    }
    public func int(_ key: String) throws(JSONError) -> Int { try required(key, expected: "a whole number").int() }
    public func bool(_ key: String) throws(JSONError) -> Bool { try required(key, expected: "true or false").bool() }
    public func elements(_ key: String) throws(JSONError) -> [JSONField] {
        try required(key, expected: "an array").elements()
    }

    /// Refuses the first key that is not in `known`.
    public func refuseUnknownKeys(except known: Set<String>) throws(JSONError) {
        for member in try object().members where !known.contains(member.key) {
            throw JSONError(
                .unknownField,
                pointer: JSONPath.key(path, member.key).pointer,
                expected: "a documented field",
            )
        }
    }
}
