// One request as handlers see it: authenticated, bounded, with its body read.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import SmartOrders

/// Who asks.
struct Caller: Sendable {
    /// How the caller showed who he is.
    enum Proof: Hashable, Sendable {
        case key
        /// A browser's cookie; the token that its changes must carry.
        case cookie(csrfToken: String)
    }

    /// SHA-256 of the key or of the cookie's value, in hexadecimal.
    let keyHash: String
    /// What of the key may be shown: in lists, logs and histories.
    let keyID: String
    var proof = Proof.key
    let user: User
    let scopes: Set<APIKeyRecord.Scope>
    /// Those that the key reaches, of its own mode.
    let accounts: [Account]
    /// Accounts of the owner that a key of the other mode would reach.
    let otherMode: [AccountID]
    /// Accounts that the owner will have are the caller's too, and there are none of another mode.
    var reachesAll = false
    /// Of the key: the one mode that it reaches; nil: both.
    var mode: Account.Mode?
    /// Of the key: where it may be used from; empty: anywhere.
    var ipAllow: [String] = []
    /// Of the key: when it ends.
    var expiresAt: Timestamp?

    var actor: Actor {
        switch proof {
        case .key: Actor(kind: .key, id: keyID)
        case .cookie: Actor(kind: .user, id: user.name)
        }
    }
    /// Whose requests are counted together: a person's browsers, or one key.
    var rateName: String {
        switch proof {
        case .key: keyHash
        case .cookie: "user \(user.id)"
        }
    }
    var accountIDs: [AccountID] { accounts.map(\.id) }
    /// Whose idempotency keys are told apart.
    var owner: String {
        switch proof {
        case .key: "key \(keyHash)"
        case .cookie: "user \(user.id)"
        }
    }

    /// An account of the caller. Somebody else's is as unknown as none.
    func account(_ id: AccountID) throws(Problem) -> Account {
        if let account = accounts.first(where: { $0.id == id }) { return account }
        guard !otherMode.contains(id) else {
            throw Problem(.keyMode, "The account is of the other trading mode than the key.")
        }
        throw Problem.notFound
    }

    /// Whether an account is the caller's as it was seen, in the same mode.
    func reaches(_ seen: Account) -> Bool { accounts.contains { $0.id == seen.id && $0.mode == seen.mode } }

    /// The same for an id as text.
    func account(_ text: String) throws(Problem) -> Account {
        guard let id = AccountID(text) else { throw Problem.notFound }
        return try account(id)
    }

    /// `admin` gives all, `operate` and `trade` give `read`.
    func has(_ scope: APIKeyRecord.Scope) -> Bool {
        switch scope {
        case .read: !scopes.isEmpty
        case .trade: scopes.contains(.trade)
        case .operate: scopes.contains(.operate) || scopes.contains(.admin)
        case .admin: scopes.contains(.admin)
        }
    }
}

/// What `If-Match` asks for.
enum IfMatch: Hashable, Sendable {
    case any
    case version(Int64)
    /// `If-None-Match: *`: nothing is there yet.
    case new
    /// A spelling that matches nothing.
    case never

    /// For `CommandService.execute`. No order has version -1.
    var version: Int64? {
        switch self {
        case .any: nil
        case .version(let version): version
        case .new, .never: -1
        }
    }

    /// Reads `*`, `"v7"` and `W/"v7"`: proxies that compress weaken the tag, and ours names a row version, not bytes.
    init(_ header: String) {
        var text = Substring(header)
        if text == "*" {
            self = .any
            return
        }
        if text.hasPrefix("W/") { text = text.dropFirst(2) }
        guard text.hasPrefix("\"v"), text.hasSuffix("\""), text.utf8.count > 3,
            let version = Int64(text.dropFirst(2).dropLast()), version > 0, text == "\"v\(version)\""
        else {
            self = .never
            return
        }
        self = .version(version)
    }
}

/// A request that passed the gate of its route.
struct Call: Sendable {
    let method: HTTPRequest.Method
    /// Without query.
    let path: String
    let query: Query
    let headers: HTTPFields
    let requestID: String
    /// Captured segments of the route, in order.
    let captures: [String]
    let body: [UInt8]
    let caller: Caller?
    /// Where the request comes from, as the connection shows it.
    let address: String?
    let idempotencyKey: String?
    let ifMatch: IfMatch?

    /// Seconds that the answer may be held back (`Prefer: wait=N`, RFC 7240), 1 to 30; nil: none are asked for.
    var waitSeconds: Int64? { Self.waitSeconds(headers) }

    static func waitSeconds(_ headers: HTTPFields) -> Int64? {
        guard let prefer = headers[.prefer] else { return nil }
        for preference in prefer.split(separator: ",") {
            let parts = (preference.split(separator: ";").first ?? "").filter { $0 != " " }.lowercased()
                .split(separator: "=")
            guard parts.count == 2, parts[0] == "wait", let seconds = Int64(parts[1]), seconds >= 1 else { continue }
            return min(seconds, 30)
        }
        return nil
    }

    func requireCaller() throws(Problem) -> Caller {
        guard let caller else { throw Problem(.unauthenticated, "This route needs an API key.") }
        return caller
    }

    /// The body as JSON, within the bounds of INTERFACES.md 1.8; an absent one counts as `{}`.
    /// - Throws: `MALFORMED_JSON`; `WRONG_TYPE` with the place of an array that is too long.
    func json(_ limits: APIConfiguration.Limits) throws(JSONError) -> JSONValue {
        guard !body.isEmpty else { return .object([:]) }
        let value = try JSONValue(
            parsing: body,
            limits: JSONLimits(depth: limits.bodyDepth, bytes: limits.bodyBytes),
        )
        try value.refuseLongArrays(limits.bodyElements)
        return value
    }
}

extension JSONValue {
    /// Refuses a document with an array of more than `limit` elements, wherever it is.
    func refuseLongArrays(_ limit: Int) throws(JSONError) {
        guard hasLongArray(limit) else { return }
        try Self.refuse(JSONField(self), limit)
    }

    private func hasLongArray(_ limit: Int) -> Bool {
        switch self {
        case .null, .bool, .number, .string: false
        case .array(let elements): elements.count > limit || elements.contains { $0.hasLongArray(limit) }
        case .object(let object): object.members.contains { $0.value.hasLongArray(limit) }
        }
    }

    /// With the place of the first one.
    private static func refuse(_ field: JSONField, _ limit: Int) throws(JSONError) {
        switch field.value {
        case .null, .bool, .number, .string: return
        case .array(let elements):
            guard elements.count <= limit else { throw field.error(.wrongType, expected: "at most \(limit) elements") }
            for element in try field.elements() { try refuse(element, limit) }
        case .object(let object):
            for key in object.keys { if let member = try field.optional(key) { try refuse(member, limit) } }
        }
    }
}

/// Decoded query parameters.
struct Query: Sendable {
    let items: [(name: String, value: String)]

    /// Nil: a broken escape or text that is no UTF-8.
    init?(_ text: Substring) {
        guard let items = queryItems(text.utf8) else { return nil }
        self.items = items
    }

    /// The value of a parameter that may be given once.
    subscript(name: String) -> String? { items.first { $0.name == name }?.value }
    func all(_ name: String) -> [String] { items.lazy.filter { $0.name == name }.map(\.value) }

    /// Refuses parameters that are not known, and those given twice that may be given once.
    func check(known: Set<String>, repeatable: Set<String> = []) throws(Problem) {
        var seen: Set<String> = []
        for item in items {
            guard known.contains(item.name) || repeatable.contains(item.name) else {
                throw Problem(.badQuery, "The parameter is not known here: \(item.name.prefix(40)).")
            }
            guard seen.insert(item.name).inserted || repeatable.contains(item.name) else {
                throw Problem(.badQuery, "The parameter may be given once: \(item.name).")
            }
        }
    }

    /// A whole number of a range; `fallback` when absent.
    func number(_ name: String, in range: ClosedRange<Int>, default fallback: Int) throws(Problem) -> Int {
        guard let text = self[name] else { return fallback }
        guard let number = Int(text), range.contains(number) else {
            throw Problem(.badQuery, "\(name) is a whole number from \(range.lowerBound) to \(range.upperBound).")
        }
        return number
    }
}
