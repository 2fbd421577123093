// What a caller may do after a failure. The one bit that matters is `delivery`: only `notSent` and `answered` say that
// nothing took effect; after `outcomeUnknown` the caller concludes from a write, never from a read.

/// A request that did not succeed.
public struct PostgresError: Error, Hashable, Sendable {
    /// Whether the server may have done the work.
    public enum Delivery: String, Sendable {
        /// No byte of the request left this process.
        case notSent
        /// The server answered with an error: the work was rolled back.
        case answered
        /// Something was sent and no answer came: the work may be done, or still under way.
        case outcomeUnknown
    }

    public enum Kind: Hashable, Sendable {
        /// No connection, a full queue, or a pool that closes.
        case notSent
        /// The request or the server is unusable as it is (version, encoding, malformed parameter): repeating is useless.
        case refused
        /// The connection was lost after sending.
        case outcomeUnknown
        /// The deadline passed: before sending (`notSent`), or after it (`outcomeUnknown`, the connection was dropped).
        case deadlineExceeded(Delivery)
        /// The server said no; nothing of the statement or transaction took effect.
        case server(ServerError)
        /// COMMIT succeeded with a WARNING: the rows are visible, but a standby may not have them.
        case unconfirmedCommit
    }

    /// The server's own words. `message` may contain data of users: not for logs.
    public struct ServerError: Hashable, Sendable {
        /// Five characters, e.g. `23505`.
        public let sqlState: String
        public let message: String
        /// The violated constraint, empty when there is none.
        public let constraint: String
        /// Position in the transaction of the statement that failed; nil when the commit itself failed.
        public let statement: Int?
    }

    public let kind: Kind
    /// One line for operators, without data of users.
    public let detail: String

    public init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }

    public var delivery: Delivery {
        switch kind {
        case .notSent, .refused: .notSent
        case .outcomeUnknown, .unconfirmedCommit: .outcomeUnknown
        case .deadlineExceeded(let delivery): delivery
        case .server: .answered
        }
    }

    public var sqlState: String? {
        switch kind {
        case .server(let error): error.sqlState
        case .notSent, .refused, .outcomeUnknown, .deadlineExceeded, .unconfirmedCommit: nil
        }
    }

    /// The violated constraint, if that is why the server refused.
    public var constraint: String? {
        switch kind {
        case .server(let error): error.constraint.isEmpty ? nil : error.constraint
        case .notSent, .refused, .outcomeUnknown, .deadlineExceeded, .unconfirmedCommit: nil
        }
    }

    /// Whether doing the same thing again later could work and is safe.
    public var isTransient: Bool {
        switch kind {
        case .notSent: true
        case .refused, .outcomeUnknown, .unconfirmedCommit: false
        case .deadlineExceeded(let delivery): delivery == .notSent
        case .server(let error): PostgresError.isTransient(sqlState: error.sqlState)
        }
    }

    /// Serialization and deadlock, lock and statement timeouts, a server short of something or starting.
    private static func isTransient(sqlState: String) -> Bool {
        switch sqlState {
        case "40001", "40P01", "55P03", "57014", "25P03": true
        default: sqlState.hasPrefix("53") || sqlState.hasPrefix("57P") || sqlState.hasPrefix("08")
        }
    }
}

extension PostgresError: CustomStringConvertible {
    public var description: String {
        switch kind {
        case .notSent: "not sent: \(detail)"
        case .refused: "refused: \(detail)"
        case .outcomeUnknown: "outcome unknown: \(detail)"
        case .deadlineExceeded(let delivery): "deadline exceeded (\(delivery.rawValue)): \(detail)"
        case .server(let error):
            "server error \(error.sqlState)" + (error.constraint.isEmpty ? "" : " on \(error.constraint)")
        case .unconfirmedCommit: "commit unconfirmed: \(detail)"
        }
    }
}

/// A cell that is not what the caller took it for: a corrupt row or a wrong statement.
public struct RowError: Error, Hashable, Sendable, CustomStringConvertible {
    public let column: Int
    public let expected: Expected
    /// OID of the column's type; 0 in COPY data, which carries no types.
    public let type: UInt32
    public let isNull: Bool

    /// What an accessor wanted.
    public enum Expected: String, Sendable {
        case integer, text, boolean, bytes, uuid, numeric, timestamp, integerArray, textArray, column
    }

    public var description: String {
        "column \(column): expected \(expected.rawValue), found " + (isNull ? "null" : "type \(type)")
    }
}
