// From a request to its answer: the checks that every route has, in their order, then the route's handler.
//
// Order of the checks: sizes of target and headers, route, places in work, key, rate, media types, body, headers of
// commands. Limits: `APIConfiguration.Limits`. Every answer carries the headers of INTERFACES.md 1.1.

internal import HTTPTypes
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread

final class Gateway: Sendable {
    /// Where a request comes from, and its name.
    private struct Origin {
        let address: String?
        /// A proxy of ours brought it.
        let isForwarded: Bool
        let requestID: String
        /// Nil: the request brings none.
        let body: BodyWatch?
    }

    /// How far a request's body was read.
    private final class BodyWatch: Sendable {
        enum State { case untouched, begun, read }
        let state = Locked(State.untouched)
    }

    private struct Work {
        var inFlight = 0
        var nextID: UInt64 = 0
    }

    let backend: Backend
    private let table: RouteTable
    private let limiter: RateLimiter
    private let date = HTTPDate()
    private let work = Locked(Work())
    private let idPrefix: String
    private let proxies: TrustedProxies
    /// Requests in work of clients behind proxies of ours.
    private let addresses = AddressBook()
    let deadlines: DeadlineWatch

    /// - Parameter instance: tells request ids of processes apart.
    init(backend: Backend, routes: [Route], instance: String) {
        self.backend = backend
        table = RouteTable(routes)
        limiter = RateLimiter(quotas: backend.configuration.limits.rates)
        idPrefix = instance
        deadlines = DeadlineWatch(clock: backend.clock)
        proxies = TrustedProxies(backend.configuration.trustedProxies)
    }

    /// Requests in work.
    var inFlight: Int { work.withLock { $0.inFlight } }

    /// Answers a request. Never throws: what goes wrong is a problem document.
    /// - Parameter peer: whom the connection is with: the client, or a proxy of ours.
    func answer(_ request: Request, from peer: String?) async -> Reply {
        let address = proxies.client(of: peer, forwarded: request.headers[values: .forwardedFor])
        let requestID = requestID(of: request)
        let target = request.head.path ?? "/"
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts.first ?? "/"
        var reply: Reply
        let bringsBody =
            request.headers[.transferEncoding] != nil || request.headers[.contentLength].map { $0 != "0" } ?? false
        let body = bringsBody ? BodyWatch() : nil
        do {
            let origin = Origin(
                address: address,
                isForwarded: address != peer,
                requestID: requestID,
                body: body,
            )
            reply = try await dispatch(request, path, parts.count > 1 ? parts[1] : "", origin)
        } catch {
            let problem = Problem(error)
            if problem.document.code == RequestCode.internalError.rawValue {
                // The one place that sees it; the client learns nothing but the request id. A path may hold a secret
                // link, so its pattern is told.
                backend.logger.error(
                    "Request failed",
                    metadata: [
                        "request_id": "\(requestID)", "route": "\(pattern(of: path, request.method))",
                        "error": "\(error)",
                    ],
                )
            }
            reply = Reply(problem, instance: String(path), requestID: requestID)
            if let body, !reply.closesConnection { reply.closesConnection = await !isOver(body, request) }
        }
        finish(&reply, requestID)
        CrossOrigin(backend.configuration).allow(request.headers, &reply.headers)
        return reply
    }

    private static let noStore = HTTPField(name: .cacheControl, value: "no-store")
    private static let nothingAllowed = HTTPField(
        name: .contentSecurityPolicy,
        value: "default-src 'none'; frame-ancestors 'none'",
    )
    /// What handlers never set themselves.
    private static let always = [
        HTTPField(name: .xContentTypeOptions, value: "nosniff"),
        HTTPField(name: .referrerPolicy, value: "no-referrer"),
        HTTPField(name: .resourcePolicy, value: "same-origin"),
        HTTPField(name: .openerPolicy, value: "same-origin"),
    ]

    private func pattern(of path: Substring, _ method: HTTPRequest.Method) -> String {
        guard path.hasPrefix("/") else { return "none" }
        return switch table.match(method, path) {
        case .found(let route, _): route.pattern
        case .otherMethods, .none: "none"
        }
    }

    /// Reads over the body of a request that was refused before it was looked at. False: it does not end, and nor would
    /// the connection.
    private func isOver(_ body: BodyWatch, _ request: Request) async -> Bool {
        switch body.state.withLock({ $0 }) {
        case .read: return true
        case .begun: return false
        case .untouched: break
        }
        let limit = backend.configuration.limits.bodyBytes
        do {
            let isOver = try await deadlines.run(backend.configuration.limits.leftoverMs) {
                var bytes = 0
                for try await part in request.body {
                    bytes += part.readableBytes
                    guard bytes <= limit else { return false }
                }
                return true
            }
            return isOver ?? false
        } catch {
            return false
        }
    }

    private func finish(_ reply: inout Reply, _ requestID: String) {
        reply.headers.append(HTTPField(name: .requestID, value: requestID))
        reply.headers.append(HTTPField(name: .date, value: date.text(backend.clock.now())))
        if !reply.headers.contains(.cacheControl) { reply.headers.append(Self.noStore) }
        reply.headers.append(contentsOf: Self.always)
        // Pages bring their own; what is no page may do nothing wherever it is shown.
        if !reply.headers.contains(.contentSecurityPolicy) { reply.headers.append(Self.nothingAllowed) }
        if reply.closesConnection { reply.headers[.connection] = "close" }
    }

    /// Taken over when it is of the grammar, else made.
    private func requestID(of request: Request) -> String {
        if let given = request.headers[.requestID], (1...64).contains(given.utf8.count),
            given.utf8.allSatisfy(Self.isRequestIDByte)
        {
            return given
        }
        // Who is part of a trace finds his orders' history by it.
        if let trace = TraceContext(request.headers[.traceParent] ?? "") { return trace.id }
        let number = work.withLock { work in
            work.nextID += 1
            return work.nextID
        }
        return "\(idPrefix)-\(number)"
    }

    private static func isRequestIDByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    // MARK: Checks

    private func dispatch(
        _ request: Request,
        _ path: Substring,
        _ query: Substring,
        _ origin: Origin,
    ) async throws
        -> Reply
    {
        let limits = backend.configuration.limits
        try checkSizes(request, limits)
        guard path.hasPrefix("/"), let parsed = Query(query) else {
            throw Problem(.badQuery, "The request target is not properly encoded.")
        }
        let route: Route
        let captures: [String]
        switch table.match(request.method, path) {
        case .found(let found, let segments): (route, captures) = (found, segments)
        case .otherMethods(let methods):
            if request.method == .options,
                let answer = CrossOrigin(backend.configuration).preflight(request.headers, methods)
            {
                return answer
            }
            let allowed = methods.map(\.rawValue).sorted().joined(separator: ", ")
            var problem = Problem(.methodNotAllowed, "Allowed here: \(allowed).")
            problem.headers[.allow] = allowed
            throw problem
        case .none: throw Problem.notFound
        }
        // A process that is busy is alive: whoever restarted it for that would make it worse.
        if !route.isProbe { try begin(route, limits) }
        defer { if !route.isProbe { work.withLock { $0.inFlight -= 1 } } }
        let place = try place(of: origin, route.policy, limits)
        defer { if let place { addresses.release(place) } }
        guard route.isLong else {
            let waitMs = route.mayWait ? (Call.waitSeconds(request.headers) ?? 0) * 1_000 : 0
            return try await withDeadline(limits.deadlineMs + waitMs) {
                try await self.carryOut(route, request, String(path), parsed, captures, origin)
            }
        }
        return try await carryOut(route, request, String(path), parsed, captures, origin)
    }

    private func checkSizes(_ request: Request, _ limits: APIConfiguration.Limits) throws(Problem) {
        guard (request.head.path ?? "").utf8.count <= limits.targetBytes else {
            throw Problem(.targetTooLong, "A request target has at most \(limits.targetBytes) bytes.")
        }
        var bytes = 0
        for field in request.headers { bytes += field.name.rawName.utf8.count + field.value.utf8.count + 4 }
        guard bytes <= limits.headerBytes, request.headers.count <= limits.headerFields else {
            throw Problem(
                .headersTooLarge,
                "Headers have at most \(limits.headerBytes) bytes and \(limits.headerFields) fields.",
            )
        }
    }

    /// A client behind a proxy has as many requests in work as others have connections; for protection twice as many.
    /// - Returns: the address to be released; nil: nothing was counted.
    private func place(
        of origin: Origin,
        _ policy: RatePolicy,
        _ limits: APIConfiguration.Limits,
    ) throws(Problem) -> String? {
        guard origin.isForwarded, let address = origin.address else { return nil }
        let limit = policy == .protect ? 2 * limits.connectionsPerAddress : limits.connectionsPerAddress
        guard addresses.admit(address, limit: limit) else {
            var problem = Problem(.rateLimited, "An address has at most \(limit) requests in work.")
            problem.headers[.retryAfter] = "1"
            throw problem
        }
        return address
    }

    /// New exposure is refused first, protection last. What is told apart by its body takes a quarter of what is kept for
    /// protection at most: bodies that do not come must not keep everybody from closing.
    private func begin(_ route: Route, _ limits: APIConfiguration.Limits) throws(Problem) {
        let reserve = limits.reservedForProtection
        let places =
            switch route.policy {
            case _ where route.policyOf != nil: limits.maximumInFlight + max(1, reserve / 4)
            case .read, .trade, .signin, .hook, .admin: limits.maximumInFlight
            case .protect: limits.maximumInFlight + reserve
            }
        let isTaken = work.withLock { work in
            guard work.inFlight < places else { return false }
            work.inFlight += 1
            return true
        }
        guard isTaken else { throw Problem(.overloaded, "Too many requests are in work.") }
    }

    /// Of a request that took one of the places for protection before it was known what it is.
    private func checkPlace(_ policy: RatePolicy) throws(Problem) {
        guard policy != .protect, inFlight > backend.configuration.limits.maximumInFlight else { return }
        throw Problem(.overloaded, "Too many requests are in work.")
    }

    private func carryOut(
        _ route: Route,
        _ request: Request,
        _ path: String,
        _ query: Query,
        _ captures: [String],
        _ origin: Origin,
    ) async throws -> Reply {
        var caller: Caller?
        var verdict: RateVerdict?
        switch route.access {
        case .open: verdict = try rate(open: route, captures, origin)
        case .key:
            let known = try await who(asks: request, origin)
            caller = known
            if route.policyOf == nil { verdict = try rate(known.rateName, route.policy) }
            guard known.has(route.neededScope) else { throw Problem.lacking(route.neededScope) }
        }
        let body: [UInt8]
        do {
            try checkAccept(request, route)
            body = try await self.body(of: request, route, origin)
        } catch {
            // What it is was never said: it counts as what its route usually is.
            if let caller, route.policyOf != nil { _ = try rate(caller.rateName, route.policy) }
            throw error
        }
        let call = Call(
            method: request.method,
            path: path,
            query: query,
            headers: request.headers,
            requestID: origin.requestID,
            captures: captures,
            body: body,
            caller: caller,
            address: origin.address,
            idempotencyKey: try idempotencyKey(of: request, route),
            ifMatch: try ifMatch(of: request, route),
        )
        var policy = route.policy
        if let caller, let policyOf = route.policyOf {
            policy = await Tenancy.$accounts.withValue(caller.accountIDs) { await policyOf(call) }
            verdict = try rate(caller.rateName, policy)
            try checkPlace(policy)
        }
        var reply = try await Tenancy.$accounts.withValue(caller?.accountIDs) {
            guard route.isRepeatable, let caller else { return try await route.handler(call) }
            return try await backend.repeatable(call, caller) { try await route.handler(call) }
        }
        if let verdict { addRate(verdict, policy, to: &reply.headers) }
        return reply
    }

    private func addRate(_ verdict: RateVerdict, _ policy: RatePolicy, to headers: inout HTTPFields) {
        headers[.rateLimitPolicy] = "\"\(policy.rawValue)\";q=\(limiter.quota(policy));w=\(policy.windowSeconds)"
        headers[.rateLimit] = "\"\(policy.rawValue)\";r=\(verdict.remaining);t=\(verdict.seconds)"
    }

    /// Of an open route that has a policy of its own: so many per address, or per link.
    private func rate(open route: Route, _ captures: [String], _ origin: Origin) throws(Problem) -> RateVerdict? {
        switch route.policy {
        case .signin: try rate("address \(origin.address ?? "")", route.policy)
        case .hook: try rate("hook \(APIKey.hash(captures.first ?? ""))", route.policy)
        case .read, .trade, .protect, .admin: nil
        }
    }

    /// A key wins over a cookie. What a cookie changes must come from our own pages, and prove it.
    private func who(asks request: Request, _ origin: Origin) async throws -> Caller {
        if request.headers[.authorization] == nil, let cookie = SignInRoutes.cookie(of: request.headers) {
            let caller = try await backend.keys.caller(cookie: cookie, address: origin.address)
            switch request.method {
            case .get, .head, .options: break
            default: try SignInRoutes.checkForgery(request.headers, caller, backend.configuration)  // tidy-ok: methods
            }
            return caller
        }
        return try await backend.keys.caller(
            authorization: request.headers[.authorization],
            address: origin.address,
        )
    }

    private func rate(_ name: String, _ policy: RatePolicy) throws(Problem) -> RateVerdict {
        let verdict = limiter.take(name, policy, now: backend.clock.monotonicNanoseconds())
        guard verdict.isAllowed else {
            let quota = limiter.quota(policy)
            var problem = Problem(
                .rateLimited,
                "The policy \(policy.rawValue) allows \(quota) requests in \(policy.windowSeconds) s.",
            )
            addRate(verdict, policy, to: &problem.headers)
            problem.headers[.retryAfter] = "\(verdict.seconds)"
            throw problem
        }
        return verdict
    }

    private func checkAccept(_ request: Request, _ route: Route) throws(Problem) {
        guard let accept = request.headers[.accept] else { return }
        for range in accept.split(separator: ",") {
            let type = (range.split(separator: ";").first ?? "").filter { $0 != " " }.lowercased()
            for answer in route.answers {
                let family = answer.prefix { $0 != "/" }
                if type == "*/*" || type == answer || type == "\(family)/*" { return }
            }
        }
        throw Problem(.notAcceptable, "The answer is \(route.answers.joined(separator: " or ")).")
    }

    /// What is long is the answer: the body comes in time.
    private func body(of request: Request, _ route: Route, _ origin: Origin) async throws -> [UInt8] {
        guard let watch = origin.body else { return [] }
        guard route.isLong || route.mayWait else { return try await body(of: request, route, watch) }
        let limits = backend.configuration.limits
        let read = try await deadlines.run(limits.deadlineMs) { try await self.body(of: request, route, watch) }
        guard let read else { throw Problem(.timeout, "The request took longer than \(limits.deadlineMs) ms.") }
        return read
    }

    private func body(of request: Request, _ route: Route, _ watch: BodyWatch) async throws -> [UInt8] {
        let limit = backend.configuration.limits.bodyBytes
        let tooLarge = Problem(.bodyTooLarge, "A body has at most \(limit) bytes.")
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit { throw tooLarge }
        var body: [UInt8] = []
        watch.state.withLock { $0 = .begun }
        for try await part in request.body {
            guard body.count + part.readableBytes <= limit else { throw tooLarge }
            body += part.readableBytesView
        }
        watch.state.withLock { $0 = .read }
        guard !body.isEmpty else { return [] }
        let type = (request.headers[.contentType] ?? "").split(separator: ";").first.map { $0.lowercased() } ?? ""
        guard route.bodyTypes.contains(type.filter { $0 != " " }) else {
            let wanted = route.bodyTypes.isEmpty ? "No body is taken here." : "A body here is \(route.bodyTypes[0])."
            throw Problem(.unsupportedMediaType, wanted)
        }
        return body
    }

    /// Bare, or as a quoted structured-field string.
    private func idempotencyKey(of request: Request, _ route: Route) throws(Problem) -> String? {
        guard var key = request.headers[.idempotencyKey] else {
            guard route.needsIdempotencyKey else { return nil }
            throw Problem(.idempotencyKeyRequired, "Send an Idempotency-Key, new for each intention.")
        }
        if key.hasPrefix("\""), key.hasSuffix("\""), key.utf8.count >= 2 { key = String(key.dropFirst().dropLast()) }
        guard (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
            throw Problem(.idempotencyKeyInvalid, "An Idempotency-Key has 1 to 255 visible ASCII characters.")
        }
        return key
    }

    private func ifMatch(of request: Request, _ route: Route) throws(Problem) -> IfMatch? {
        let given = request.headers[.ifMatch].map { IfMatch($0) }
        switch route.ifMatch {
        case .none: return given
        case .requiredOrNew:
            if let absent = request.headers[.ifNoneMatch] {
                guard absent == "*", given == nil else {
                    throw Problem(.badHeader, "Send either If-Match with a version or If-None-Match: *.")
                }
                return .new
            }
        case .required, .requiredOrAny: break
        }
        let example = "Send the version that you saw, for example If-Match: \"v7\"."
        guard let given else { throw Problem(.ifMatchRequired, example) }
        if given == .any, route.ifMatch != .requiredOrAny {
            throw Problem(.ifMatchRequired, "* is not taken here. \(example)")
        }
        return given
    }

    /// Runs `body`; after `milliseconds` it is cancelled and the answer is `TIMEOUT`.
    private func withDeadline(
        _ milliseconds: Int64,
        _ body: @escaping @Sendable () async throws -> Reply,
    ) async throws
        -> Reply
    {
        guard let reply = try await deadlines.run(milliseconds, body) else {
            throw Problem(.timeout, "The request took longer than \(milliseconds) ms.")
        }
        return reply
    }
}
