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
    /// Where it depends on what is asked: said of a request whose body was read; a request that is wrong is of `policy`.
    var policyOf: (@Sendable (Call) async -> RatePolicy)?
    /// What the key must allow; nil: `read` for the policy `read`, `trade` for the others.
    var scope: APIKeyRecord.Scope?
    var needsIdempotencyKey = false
    var ifMatch = IfMatchRule.none
    /// Media types that a body may have.
    var bodyTypes: [String] = []
    /// Its handler keeps its answer together with its change; of POST it is always so.
    var keepsAnswer = false
    /// Holds its answer back for `Prefer: wait=N` (INTERFACES.md 1.1); the deadline is that much later.
    var mayWait = false
    /// Not bounded by the request's deadline.
    var isLong = false
    /// Asked by whatever watches the process; answered also where there is no place for another request.
    var isProbe = false
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
    /// Whether `Prefer: wait=N` holds its answer back.
    package let mayWait: Bool

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
        mayWait = route.mayWait
    }
}

/// Finds routes by method and path; literal segments win over captures.
struct RouteTable: Sendable {
    private struct Path: Sendable {
        /// Nil: captures.
        let segments: [[UInt8]?]
        var routes: [Route]

        init(pattern: String) {
            segments = pattern.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map { segment in
                segment.hasPrefix("{") ? nil : Array(segment.utf8)
            }
            routes = []
        }

        /// The captured parts of a path of as many segments; nil: it is another path.
        func captures(_ path: PathText) -> [String]? {
            for (segment, range) in zip(segments, path.segments) {
                if let segment {
                    guard segment.count == range.count, path.bytes[range].elementsEqual(segment) else { return nil }
                } else if range.isEmpty {
                    return nil
                }
            }
            var captures: [String] = []
            for (segment, range) in zip(segments, path.segments) where segment == nil {
                captures.append(String(decoding: path.bytes[range], as: UTF8.self))
            }
            return captures
        }
    }

    /// A path taken apart, and decoded.
    private struct PathText {
        var bytes: [UInt8]
        var segments: [Range<Int>] = []

        /// - Parameter path: begins with a slash. Nil: a broken escape, or text that is no UTF-8.
        init?(_ path: Substring) {
            bytes = Array(path.utf8)
            var start = 1
            for end in 1...bytes.count where end == bytes.count || bytes[end] == UInt8(ascii: "/") {
                segments.append(start..<end)
                start = end + 1
            }
            guard bytes.contains(UInt8(ascii: "%")) else { return }
            let (raw, ranges) = (bytes, segments)
            (bytes, segments) = ([], [])
            for range in ranges {
                guard let decoded = percentDecoded(raw[range]) else { return nil }
                segments.append(bytes.count..<(bytes.count + decoded.utf8.count))
                bytes += decoded.utf8
            }
        }
    }

    /// By number of segments; more literal paths first.
    private let paths: [Int: [Path]]

    init(_ routes: [Route]) {
        var byPattern: [String: Path] = [:]
        for route in routes { byPattern[route.pattern, default: Path(pattern: route.pattern)].routes.append(route) }
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
        guard let text = PathText(path) else { return .none }
        for path in paths[text.segments.count] ?? [] {
            guard let captures = path.captures(text) else { continue }
            if let route = path.routes.first(where: { $0.method == method }) {
                return .found(route, captures: captures)
            }
            return .otherMethods(path.routes.map(\.method))
        }
        return .none
    }
}
