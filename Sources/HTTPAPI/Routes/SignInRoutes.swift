// Browsers: a cookie for a key or a one-time code, and what keeps other sites from using it (INTERFACES.md 1.2).
//
// The cookie's value is 256 random bits and stored as a hash. Nothing that a cookie authenticates changes anything
// without the CSRF token and the origin of our own pages. There are no passwords.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct SignInRoutes: Sendable {
    let backend: Backend

    private static let cookieName = "so_signin"
    private static let lifeSeconds = 604_800

    var routes: [Route] {
        [
            Route(
                method: .post,
                pattern: "/v1/sign-in",
                access: .open,
                policy: .signin,
                bodyTypes: ["application/json"],
                handler: signIn,
            ),
            Route(method: .delete, pattern: "/v1/sign-in", policy: .protect, scope: .read, handler: signOut),
        ]
    }

    private func signIn(_ call: Call) async throws -> Reply {
        // Nobody signs somebody else's browser in.
        if let origin = call.headers[.origin] { try Self.checkOrigin(origin, backend.configuration) }
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: ["apiKey", "code"])
        let key = try json.optional("apiKey")?.prose(limit: 256)
        let code = try json.optional("code")?.prose(limit: 256)
        let user: UniqueID
        var keyHash: String?
        switch (key, code) {
        case (let key?, nil):
            user = try await backend.keys.caller(key: key, address: call.address).user.id
            keyHash = APIKey.hash(key)
        case (nil, let code?):
            guard let known = try await backend.panel.redeem(codeHash: APIKey.hash(code)) else {
                throw Problem(.unauthenticated, "The code is unknown, used, or older than 10 minutes.")
            }
            user = known
        case (_?, _?): throw json.error(.wrongType, expected: "only one of apiKey and code")
        case (nil, nil): throw json.error(.missingField, expected: "apiKey or code")
        }
        let cookie = backend.newSecret(bytes: 32)
        let now = backend.clock.now()
        try await backend.panel.begin(
            SignIn(tokenHash: APIKey.hash(cookie), user: user, keyHash: keyHash, createdAt: now, usedAt: now)
        )
        let caller = try await backend.keys.caller(cookie: cookie, address: call.address)
        var reply = try await Tenancy.$accounts.withValue(caller.accountIDs) { try await backend.me(caller) }
        reply.headers[.setCookie] = setting(cookie, seconds: Self.lifeSeconds)
        return reply
    }

    private func signOut(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        // A key is no sign-in: it is revoked under /v1/keys.
        guard case .cookie = caller.proof else { throw Problem.notFound }
        try await backend.panel.end(signIn: caller.keyHash)
        backend.keys.forget(user: caller.user.id)
        var reply = Reply(status: .noContent)
        reply.headers[.setCookie] = setting("", seconds: 0)
        return reply
    }

    private func setting(_ value: String, seconds: Int) -> String {
        let isPlain = backend.configuration.publicURL.map { $0.hasPrefix("http://") } ?? true
        let attributes = "HttpOnly; SameSite=Strict; Path=/; Max-Age=\(seconds)\(isPlain ? "" : "; Secure")"
        return "\(Self.cookieName)=\(value); \(attributes)"
    }

    // MARK: What the gateway asks

    /// The value of the sign-in's cookie.
    static func cookie(of headers: HTTPFields) -> String? {
        for field in headers[values: .cookie] {
            for part in field.split(separator: ";") {
                let pair = part.drop { $0 == " " }
                if pair.hasPrefix(cookieName + "=") { return String(pair.dropFirst(cookieName.count + 1)) }
            }
        }
        return nil
    }

    /// The token of the cookie, and a request from our own pages.
    static func checkForgery(
        _ headers: HTTPFields,
        _ caller: Caller,
        _ configuration: APIConfiguration,
    ) throws(Problem) {
        guard case .cookie(let token) = caller.proof else { return }
        guard let given = headers[.csrfToken], isSame(given, token) else {
            throw Problem(.csrfFailed, "The X-CSRF-Token is missing, or not that of this sign-in.")
        }
        if let origin = headers[.origin] { return try checkOrigin(origin, configuration) }
        guard headers[.fetchSite] == "same-origin" else {
            throw Problem(.originRefused, "The request does not say that it comes from our own pages.")
        }
    }

    private static func checkOrigin(_ origin: String, _ configuration: APIConfiguration) throws(Problem) {
        guard let own = configuration.publicURL, origin == own else {
            throw Problem(.originRefused, "Sign-ins are used from `http.publicURL` only.")
        }
    }

    /// In a time that does not tell where they differ.
    private static func isSame(_ left: String, _ right: String) -> Bool {
        let (left, right) = (Array(left.utf8), Array(right.utf8))
        guard left.count == right.count else { return false }
        return zip(left, right).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }
}
