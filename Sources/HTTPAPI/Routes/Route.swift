// The table of routes: what each asks of a request before its handler sees it.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine

/// One method of one path.
struct Route: Sendable {
    enum Access: Sendable { case open, key }
    enum IfMatchRule: Sendable {
        case none
        case required
        /// `If-Match: *` is allowed: scripts that must get out must not lose a race.
        case requiredOrAny
        /// The version that was seen, or `If-None-Match: *` for what is not there yet.
        case requiredOrNew
    }

    let method: HTTPRequest.Method
    /// `{name}` captures a segment.
    let pattern: String
    var access = Access.key
    var policy = RatePolicy.read
    /// What the key must allow; nil: `read` for the policy `read`, `trade` for the others.
    var scope: APIKeyRecord.Scope?
    var needsIdempotencyKey = false
    var ifMatch = IfMatchRule.none
    /// Media types that a body may have.
    var bodyTypes: [String] = []
    /// Its handler keeps its answer together with its change; of POST it is always so.
    var keepsAnswer = false
    /// Not bounded by the request's deadline.
    var isLong = false
    /// Media types of a good answer.
    var answers = ["application/json"]
    let handler: @Sendable (Call) async throws -> Reply

    /// What sets or ends something and has an idempotency key is answered again by what was kept (INTERFACES.md 1.4).
    var isRepeatable: Bool { mayHaveIdempotencyKey && !keepsAnswer }

    /// Of commands that need none: whatever sets or ends something.
    var mayHaveIdempotencyKey: Bool {
        switch method {
        case .put, .patch, .delete: true
        case _: false
        }
    }

    var neededScope: APIKeyRecord.Scope {
        if let scope { return scope }
        switch policy {
        case .read: return .read
        case .trade, .protect, .signin, .hook: return .trade
        case .admin: return .operate
        }
    }
}

/// A route as the contract shows it.
package struct RouteSummary: Hashable, Sendable {
    package let method: String
    package let pattern: String
    /// Nil: anybody may ask.
    package let scope: String?
    /// `none`, `optional`, `required`.
    package let idempotencyKey: String
    /// `none`, `required`, `requiredOrAny`, `requiredOrNew`.
    package let ifMatch: String
    package let hasBody: Bool

    init(_ route: Route) {
        method = route.method.rawValue
        pattern = route.pattern
        switch route.access {
        case .open: scope = nil
        case .key: scope = route.neededScope.rawValue
        }
        idempotencyKey = route.needsIdempotencyKey ? "required" : route.mayHaveIdempotencyKey ? "optional" : "none"
        switch route.ifMatch {
        case .none: ifMatch = "none"
        case .required: ifMatch = "required"
        case .requiredOrAny: ifMatch = "requiredOrAny"
        case .requiredOrNew: ifMatch = "requiredOrNew"
        }
        hasBody = !route.bodyTypes.isEmpty
    }
}

/// Finds routes by method and path; literal segments win over captures.
struct RouteTable: Sendable {
    private struct Path: Sendable {
        let segments: [String]
        var routes: [Route]

        func captures(_ given: [String]) -> [String]? {
            var captures: [String] = []
            for (pattern, segment) in zip(segments, given) {
                if pattern.hasPrefix("{") {
                    guard !segment.isEmpty else { return nil }
                    captures.append(segment)
                } else if pattern != segment {
                    return nil
                }
            }
            return captures
        }
    }

    /// By number of segments; more literal paths first.
    private let paths: [Int: [Path]]

    init(_ routes: [Route]) {
        var byPattern: [String: Path] = [:]
        for route in routes {
            let segments = route.pattern.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
            byPattern[route.pattern, default: Path(segments: segments.map(String.init), routes: [])].routes
                .append(route)
        }
        // Text order puts `{` after letters: literals come first.
        let sorted = byPattern.sorted { $0.key < $1.key }.map(\.value)
        paths = Dictionary(grouping: sorted) { $0.segments.count }
    }

    enum Match: Sendable {
        case found(Route, captures: [String])
        case otherMethods([HTTPRequest.Method])
        case none
    }

    /// - Parameter path: begins with a slash.
    func match(_ method: HTTPRequest.Method, _ path: Substring) -> Match {
        var segments: [String] = []
        for part in path.utf8.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            guard let segment = percentDecoded(part) else { return .none }
            segments.append(segment)
        }
        for path in paths[segments.count] ?? [] {
            guard let captures = path.captures(segments) else { continue }
            if let route = path.routes.first(where: { $0.method == method }) {
                return .found(route, captures: captures)
            }
            return .otherMethods(path.routes.map(\.method))
        }
        return .none
    }
}
