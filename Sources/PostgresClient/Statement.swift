// What is sent: a statement and its parameters.
//
// Parameters travel as text, except `bytes` and `timestamp`. The server then infers the type from the statement, so a
// `null` in the first execution of a prepared statement fixes nothing, and an array of text stands for any array.

/// A statement, prepared on each connection at its first use there when it has a name.
public struct Statement: Hashable, Sendable {
    /// Unique in the program, at most 63 bytes; empty: parsed each time.
    public let name: String
    /// One SQL statement with parameters `$1`, `$2` ...
    public let sql: String

    public init(name: String = "", sql: String) {
        precondition(name.utf8.count <= 63, "statement name too long: \(name)")
        self.name = name
        self.sql = sql
    }
}

/// A value for `$n`.
public enum Parameter: Hashable, Sendable {
    case null
    case text(String)
    case int8(Int64)
    case bool(Bool)
    case bytes([UInt8])
    case uuid(high: UInt64, low: UInt64)
    /// An exact decimal in its text form.
    case numeric(String)
    /// For `json` and `jsonb`.
    case json(String)
    /// Microseconds since 1970-01-01 UTC, for `timestamptz`.
    case timestamp(microseconds: Int64)
    case int8Array([Int64])
    /// An array of any type whose elements are given as text (`text[]`, `numeric[]`, `uuid[]`, `jsonb[]`, ...).
    case textArray([String?])
}

/// PostgreSQL counts microseconds from 2000-01-01.
let microsecondsTo2000: Int64 = 946_684_800_000_000

/// Parameters in the form libpq takes: one buffer, and per value where it starts.
struct EncodedParameters: Sendable {
    private(set) var bytes: [UInt8] = []
    /// Offset in `bytes`, -1 for null. Text values end with a NUL.
    private(set) var offsets: [Int32] = []
    private(set) var lengths: [Int32] = []
    /// 0 text, 1 binary.
    private(set) var formats: [Int32] = []

    var count: Int { offsets.count }

    init(_ parameters: [Parameter]) throws(PostgresError) {
        guard parameters.count <= 65_535 else { throw PostgresError(.refused, "more than 65535 parameters") }
        guard !parameters.isEmpty else { return }
        bytes.reserveCapacity(parameters.count * 24)
        offsets.reserveCapacity(parameters.count)
        lengths.reserveCapacity(parameters.count)
        formats.reserveCapacity(parameters.count)
        for (position, parameter) in parameters.enumerated() {
            let start = bytes.count
            var isBinary = false
            switch parameter {
            case .null:
                offsets.append(-1)
                lengths.append(0)
                formats.append(0)
                continue
            case .text(let value), .numeric(let value), .json(let value):
                bytes.append(contentsOf: value.utf8)
            case .int8(let value):
                append(decimal: value)
            case .bool(let value):
                bytes.append(UInt8(ascii: value ? "t" : "f"))
            case .bytes(let value):
                bytes.append(contentsOf: value)
                isBinary = true
            case .uuid(let high, let low):
                append(hexadecimal: high)
                append(hexadecimal: low)
            case .timestamp(let microseconds):
                let (value, overflows) = microseconds.subtractingReportingOverflow(microsecondsTo2000)
                guard !overflows else { throw PostgresError(.refused, "parameter \(position + 1): time out of range") }
                withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
                isBinary = true
            case .int8Array(let values):
                append(array: values)
            case .textArray(let values):
                append(array: values)
            }
            // libpq measures text with strlen: a NUL would silently cut the value, and PostgreSQL has no such text.
            if !isBinary, bytes[start...].contains(0) {
                throw PostgresError(.refused, "parameter \(position + 1): text with a NUL character")
            }
            guard bytes.count < Int(Int32.max) else { throw PostgresError(.refused, "parameters above 2 GiB") }
            offsets.append(Int32(start))
            lengths.append(Int32(bytes.count - start))
            formats.append(isBinary ? 1 : 0)
            if !isBinary { bytes.append(0) }
        }
    }

    private mutating func append(decimal value: Int64) {
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        var rest = value.magnitude
        let start = bytes.count
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }

    private mutating func append(hexadecimal value: UInt64) {
        for shift in stride(from: 60, through: 0, by: -4) {
            let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 15
            bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }

    private mutating func append(array values: [Int64]) {
        bytes.append(UInt8(ascii: "{"))
        for (index, value) in values.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            append(decimal: value)
        }
        bytes.append(UInt8(ascii: "}"))
    }

    private mutating func append(array values: [String?]) {
        bytes.append(UInt8(ascii: "{"))
        for (index, value) in values.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            guard let value else {
                bytes.append(contentsOf: "NULL".utf8)
                continue
            }
            bytes.append(UInt8(ascii: "\""))
            for byte in value.utf8 {
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { bytes.append(UInt8(ascii: "\\")) }
                bytes.append(byte)
            }
            bytes.append(UInt8(ascii: "\""))
        }
        bytes.append(UInt8(ascii: "}"))
    }
}
