/// Why a request has no answer, or which error the server answered.
///
/// The kind says what the caller may do now; `description` holds no user data.
public struct RedisError: Error, Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        /// No byte of the request left this process: it may be repeated.
        case notSent
        /// Sent, and no answer: it may have run. Repeat only what is idempotent.
        case outcomeUnknown
        /// The server refused it. `code` is the first word, such as `OOM` or `WRONGTYPE`.
        case server(code: String, message: String)
        /// The connection was closed by its owner before the request was sent.
        case closed
    }

    public let kind: Kind
    /// The driver's words for the log: never a key, an argument or a message of the server.
    public let detail: String

    package init(_ kind: Kind, _ detail: String = "") {
        self.kind = kind
        self.detail = detail
    }

    /// The server's error word; nil for the kinds of the driver.
    public var code: String? {
        switch kind {
        case .server(let code, _): code
        case .notSent, .outcomeUnknown, .closed: nil
        }
    }

    /// Whether doing the same thing again later could work. An unknown outcome is not transient: it is looked up, or
    /// repeated by a caller that knows that its call is idempotent.
    public var isTransient: Bool {
        switch kind {
        case .notSent: true
        case .outcomeUnknown, .closed: false
        case .server(let code, _): transientCodes.contains(code)
        }
    }
}

/// Conditions of the server, not of the request.
private let transientCodes: Set<String> = [
    "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN",
]

extension RedisError: CustomStringConvertible {
    public var description: String {
        let what =
            switch kind {
            case .notSent: "notSent"
            case .outcomeUnknown: "outcomeUnknown"
            case .server(let code, _): "server \(code)"
            case .closed: "closed"
            }
        return detail.isEmpty ? "redis: \(what)" : "redis: \(what) (\(detail))"
    }
}
