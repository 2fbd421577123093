// Who the caller is, and the API keys of its user (INTERFACES.md 1.2, 1.9).

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct TraderRoutes: Sendable {
    let backend: Backend

    private static let json = ["application/json"]

    var routes: [Route] {
        [
            Route(method: .get, pattern: "/v1/me", handler: me),
            Route(method: .get, pattern: "/v1/keys", handler: keys),
            Route(
                method: .post,
                pattern: "/v1/keys",
                policy: .trade,
                scope: .read,
                needsIdempotencyKey: true,
                bodyTypes: Self.json,
                handler: createKey,
            ),
            Route(
                method: .patch,
                pattern: "/v1/keys/{id}",
                policy: .trade,
                bodyTypes: Self.json + ["application/merge-patch+json"],
                handler: changeKey,
            ),
            Route(method: .delete, pattern: "/v1/keys/{id}", policy: .protect, handler: revokeKey),
        ]
    }

    private func me(_ call: Call) async throws -> Reply {
        try await backend.me(try call.requireCaller())
    }

    // MARK: Keys

    private func keys(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        let keys = try await backend.traders.keys(of: caller.user.id)
        return .list(keys) { writer, key in writer.apiKey(key, secret: nil) }
    }

    /// A key allows at most what its maker's key allows.
    private func createKey(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: ["label", "scopes", "accountIds", "ipAllow", "expiresAt", "mode"])
        var scopes: [APIKeyRecord.Scope] = []
        for element in try json.elements("scopes") {
            let scope: APIKeyRecord.Scope = try element.choice()
            guard caller.has(scope) else { throw Problem.lacking(scope) }
            try Self.checkRole(scope, of: caller.user)
            if !scopes.contains(scope) { scopes.append(scope) }
        }
        guard !scopes.isEmpty else {
            throw try json.required("scopes").error(.wrongType, expected: "at least one scope")
        }
        let mode = try mode(json, caller)
        var random = SystemRandomNumberGenerator()
        let secret = APIKey.make(isLive: mode == .live) { random.next() }
        let hash = APIKey.hash(secret)
        let key = APIKeyRecord(
            id: APIKey.shownID(secret, hash: hash),
            hash: hash,
            user: caller.user.id,
            label: try json.optional("label")?.prose(limit: 100) ?? "",
            scopes: scopes,
            accounts: try accounts(json, caller, mode),
            mode: mode,
            ipAllow: try addresses(json, caller) ?? caller.ipAllow,
            expiresAt: try expiry(json, caller) ?? caller.expiresAt,
            createdAt: backend.clock.now(),
        )
        let (shown, whole) = (Self.text(key, nil), Self.text(key, secret))
        return try await backend.once(call, caller, body, status: .created, shown, secret: whole) { answer in
            guard let outcome = try await backend.traders.add(key, answer: answer) else {
                throw Problem(.keyLimit, "A user has at most 50 keys.")
            }
            return outcome
        }
    }

    private static func checkRole(_ scope: APIKeyRecord.Scope, of user: User) throws(Problem) {
        let role: User.Role
        switch scope {
        case .read, .trade: return
        case .operate: role = .operator
        case .admin: role = .admin
        }
        guard user.roles.contains(role) else {
            var problem = Problem(.roleRequired, "The scope \(scope.rawValue) needs the role \(role.rawValue).")
            problem.document.members["required"] = .string(role.rawValue)
            throw problem
        }
    }

    private func mode(_ json: JSONField, _ caller: Caller) throws -> Account.Mode {
        let own = caller.mode ?? caller.accounts.first?.mode ?? .paper
        guard let field = try json.optional("mode") else { return own }
        let mode: Account.Mode = try field.choice()
        // A person who signed in with a code reaches accounts of both.
        guard mode == own || (caller.mode == nil && caller.accounts.contains { $0.mode == mode }) else {
            throw Problem(.keyMode, "A key makes keys of its own mode: \(own.rawValue).")
        }
        return mode
    }

    /// The named accounts; without any those of the maker's key, of the mode.
    private func accounts(_ json: JSONField, _ caller: Caller, _ mode: Account.Mode) throws -> [AccountID]? {
        guard let field = try json.optional("accountIds") else {
            return caller.accounts.filter { $0.mode == mode }.map(\.id)
        }
        var accounts: [AccountID] = []
        for element in try field.elements() {
            let id = try element.parsed(.badID, expected: "an account id") { AccountID($0) }
            let account = try caller.account(id)
            guard account.mode == mode else {
                throw Problem(.keyMode, "The account is of the other trading mode than the key would be.")
            }
            accounts.append(account.id)
        }
        guard !accounts.isEmpty else { throw field.error(.wrongType, expected: "at least one account") }
        return accounts
    }

    static func addresses(_ json: JSONField) throws -> [String]? {
        guard try json.has("ipAllow") else { return nil }
        guard let field = try json.optional("ipAllow") else { return [] }
        let elements = try field.elements()
        guard elements.count <= 100 else { throw field.error(.wrongType, expected: "at most 100 blocks") }
        var blocks: [String] = []
        for element in elements {
            blocks.append(
                try element.parsed(.badEnum, expected: "an address block such as 192.0.2.0/24") {
                    AddressBlock($0) == nil ? nil : $0
                }
            )
        }
        return blocks
    }

    /// The same of a key, which may be used at most from where its maker's may. Nil: not named.
    private func addresses(_ json: JSONField, _ caller: Caller) throws -> [String]? {
        guard let blocks = try Self.addresses(json) else { return nil }
        let own = caller.ipAllow
        guard
            own.isEmpty
                || (!blocks.isEmpty
                    && blocks.allSatisfy { block in
                        own.contains { Self.isWithin(block, $0) }
                    })
        else {
            throw Problem(
                .addressNotAllowed,
                "Your own key may be used from these alone: \(own.joined(separator: ", ")).",
            )
        }
        return blocks
    }

    /// Whether every address of a block is in another.
    private static func isWithin(_ block: String, _ outer: String) -> Bool {
        func parts(_ text: String) -> (address: String, isLong: Bool, bits: Int) {
            let parts = text.split(separator: "/", maxSplits: 1)
            let isLong = text.contains(":")
            return (String(parts.first ?? ""), isLong, parts.count > 1 ? Int(parts[1]) ?? 0 : isLong ? 128 : 32)
        }
        let (inner, whole) = (parts(block), parts(outer))
        return inner.isLong == whole.isLong && inner.bits >= whole.bits
            && AddressBlock(outer)?.contains(inner.address) == true
    }

    /// Nil: not named; `.some(nil)`: none. A key ends with its maker's at the latest.
    private func expiry(_ json: JSONField, _ caller: Caller) throws -> Timestamp?? {
        guard try json.has("expiresAt") else { return nil }
        let field = try json.optional("expiresAt")
        let time = try field?.timestamp()
        if let time, time <= backend.clock.now() {
            throw Refusal(.timeInPast, field: "expiresAt", "A key that has expired already is of no use.")
        }
        guard let end = caller.expiresAt else { return .some(time) }
        return .some(min(time ?? end, end))
    }

    /// Whether a key allows nothing that the caller's does not.
    private func isWithin(_ key: APIKeyRecord, _ caller: Caller) -> Bool {
        if key.hash == caller.keyHash { return true }
        guard key.scopes.allSatisfy({ caller.has($0) }) else { return false }
        return key.accounts.map { Set(caller.accountIDs).isSuperset(of: $0) } ?? caller.reachesAll
    }

    private func changeKey(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: ["label", "ipAllow", "expiresAt"])
        guard var key = try await backend.traders.keys(of: caller.user.id).first(where: { $0.id == call.captures[0] }),
            isWithin(key, caller)
        else { throw Problem.notFound }
        if let field = try json.optional("label") { key.label = try field.prose(limit: 100) }
        if let blocks = try addresses(json, caller) { key.ipAllow = blocks }
        if let expiry = try expiry(json, caller) { key.expiresAt = expiry }
        guard try await backend.traders.update(key) else { throw Problem.notFound }
        backend.keys.forget(id: key.id)
        return .json(.ok, Self.text(key, nil))
    }

    private static func text(_ key: APIKeyRecord, _ secret: String?) -> [UInt8] {
        var writer = JSONWriter()
        writer.apiKey(key, secret: secret)
        return writer.take()
    }

    private func revokeKey(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let id = call.captures[0]
        guard let key = try await backend.traders.keys(of: caller.user.id).first(where: { $0.id == id }),
            isWithin(key, caller), try await backend.traders.revokeKey(id, of: caller.user.id)
        else { throw Problem.notFound }
        backend.keys.forget(id: id)
        return Reply(status: .noContent)
    }
}

extension JSONWriter {
    fileprivate mutating func words(_ key: StaticString, _ words: [some RawRepresentable<String>]) {
        self.key(key)
        beginArray()
        for word in words { string(word.rawValue) }
        endArray()
    }

    /// An ApiKey (INTERFACES.md 1.10). `secret` is the whole key, shown once.
    fileprivate mutating func apiKey(_ record: APIKeyRecord, secret: String?) {
        beginObject()
        member("id", record.id)
        member("label", record.label)
        words("scopes", record.scopes)
        key("accountIds")
        if let accounts = record.accounts {
            beginArray()
            for account in accounts { string(account.description) }
            endArray()
        } else {
            null()
        }
        key("ipAllow")
        beginArray()
        for block in record.ipAllow { string(block) }
        endArray()
        member("expiresAt", orNull: record.expiresAt)
        member("mode", record.mode)
        member("createdAt", record.createdAt)
        member("lastUsedAt", orNull: record.lastUsedAt)
        if let secret { member("secret", secret) }
        endObject()
    }
}

extension Backend {
    /// Me (INTERFACES.md 1.10).
    func me(_ caller: Caller) async throws -> Reply {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("user")
        writer.beginObject()
        writer.member("id", caller.user.id.description)
        writer.member("name", caller.user.name)
        writer.member("tier", caller.user.tier)
        writer.words("roles", caller.user.roles)
        writer.endObject()
        writer.words("scopes", APIKeyRecord.Scope.allCases.filter { caller.scopes.contains($0) })
        writer.key("accounts")
        writer.beginArray()
        for account in try await overviews(caller.accounts) { writer.account(account) }
        writer.endArray()
        switch caller.proof {
        case .key: writer.member("csrfToken", orNull: nil as String?)
        case .cookie(let token): writer.member("csrfToken", token)
        }
        writer.member("serverVersion", configuration.version.version)
        writer.member("publicURL", orNull: configuration.publicURL)
        writer.key("features")
        writer.beginObject()
        writer.member("live", commands.isLiveEnabled)
        writer.member("telegram", false)
        writer.member("docs", true)
        writer.member("chart", true)
        writer.endObject()
        writer.endObject()
        return .json(.ok, writer.take())
    }
}
