// Inbound links: their owner's routes, and the door itself (INTERFACES.md 1.15).
//
// The door answers when the call is stored; what comes of it is in the calls of the link. A token is stored as a hash.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct HookRoutes: Sendable {
    let backend: Backend
    let duty: HookDuty

    private static let json = ["application/json"]
    private static let path = "/v1/hooks"
    /// 160 random bits.
    private static let tokenBytes = 20
    private static let bodyBytes = 16 << 10
    private static let shownBytes = 1 << 10

    var routes: [Route] {
        [
            Route(method: .get, pattern: Self.path, handler: list),
            Route(
                method: .post,
                pattern: Self.path,
                policy: .trade,
                needsIdempotencyKey: true,
                bodyTypes: Self.json,
                handler: create,
            ),
            Route(
                method: .patch,
                pattern: Self.path + "/{id}",
                policy: .trade,
                bodyTypes: Self.json + ["application/merge-patch+json"],
                handler: change,
            ),
            Route(method: .delete, pattern: Self.path + "/{id}", policy: .protect, handler: delete),
            Route(method: .get, pattern: Self.path + "/{id}/calls", handler: calls),
            Route(
                method: .post,
                pattern: "/hooks/{token}",
                access: .open,
                policy: .hook,
                bodyTypes: Self.json + ["text/plain"],
                handler: enter,
            ),
        ]
    }

    // MARK: The door

    private func enter(_ call: Call) async throws -> Reply {
        let token = call.captures[0]
        guard (10...100).contains(token.utf8.count),
            let hook = try await backend.hooks.hook(tokenHash: APIKey.hash(token))
        else { throw Problem.notFound }
        guard !hook.isDeleted, hook.isEnabled, hook.expiresAt.map({ $0 > backend.clock.now() }) ?? true else {
            throw Problem(.linkGone, "The link has ended or is switched off.")
        }
        if !hook.ipAllow.isEmpty {
            guard let address = call.address,
                hook.ipAllow.contains(where: { AddressBlock($0)?.contains(address) == true })
            else { throw Problem(.addressNotAllowed, "The link may not be called from this address.") }
        }
        guard call.body.count <= Self.bodyBytes else {
            throw Problem(.bodyTooLarge, "A call has at most \(Self.bodyBytes) bytes.")
        }
        let alert = try Self.alert(call)
        if let wanted = hook.passphraseHash {
            // Hashes of the same length: how much of a guess is right cannot be measured.
            guard let given = alert["passphrase"]?.text, APIKey.hash(given) == wanted else {
                throw Problem(.unauthenticated, "The passphrase is missing or wrong.")
            }
        }
        // Told to whoever has the link and what it wants; it is asked again when the call is carried out.
        try await Tenancy.$accounts.withValue([hook.account]) { try await backend.checkMode(of: hook) }
        let id = Self.word(alert["id"])
        let received = HookCall(
            id: backend.newID(),
            hook: hook.id,
            account: hook.account,
            at: backend.clock.now(),
            address: call.address ?? "",
            body: Self.kept(call.body, alert),
        )
        let receipt = try await Tenancy.$accounts.withValue([hook.account]) {
            try await backend.hooks.receive(
                received,
                of: hook,
                name: id.map { "id \(APIKey.hash($0))" } ?? "body \(APIKey.hash(Self.text(call.body)))",
                isForEver: id != nil,
            )
        }
        switch receipt {
        case .duplicate: return .json { $0.member("duplicate", true) }
        case .tooMany:
            var problem = Problem(.rateLimited, "The link takes no more calls within this hour.")
            problem.headers[.retryAfter] = "60"
            throw problem
        case .taken:
            duty.poke()
            return .json(.accepted) { $0.member("callId", received.id.description) }
        }
    }

    /// What the body says; text that is no JSON says nothing.
    private static func alert(_ call: Call) throws -> JSONValue {
        guard !call.body.isEmpty else { return .object([:]) }
        let isText = call.headers[.contentType]?.lowercased().hasPrefix("text/plain") ?? false
        do throws(JSONError) {
            let value = try JSONValue(parsing: call.body, limits: JSONLimits(depth: 16, bytes: bodyBytes))
            try value.refuseLongArrays(100)
            if case .object = value { return value }
            if isText { return .object([:]) }
            throw JSONField(value).error(.wrongType, expected: "an object")
        } catch {
            guard isText else { throw error }
            return .object([:])
        }
    }

    /// A name: text, or a number as it is written.
    static func word(_ value: JSONValue?) -> String? {
        switch value {
        case .string(let text)?: text.isEmpty ? nil : String(text.prefix(200))
        case .number(let text)?: text
        case nil, .null?, .bool?, .array?, .object?: nil
        }
    }

    /// A call's body as it is stored and shown: without the passphrase, which is nobody's to read again.
    private static func kept(_ body: [UInt8], _ alert: JSONValue) -> String {
        guard case .object(var members) = alert, members["passphrase"] != nil else { return text(body) }
        members["passphrase"] = nil
        var writer = JSONWriter(reserving: body.count)
        writer.value(.object(members))
        return text(writer.take())
    }

    /// As text that a database takes.
    private static func text(_ bytes: [UInt8]) -> String {
        String(decoding: bytes.filter { $0 >= 0x20 || $0 == 0x0A || $0 == 0x09 }, as: UTF8.self)
    }

    // MARK: The owner's routes

    private func list(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        let hooks = try await backend.hooks.hooks(of: caller.accountIDs)
        return .list(hooks) { writer, hook in writer.hook(hook, url: nil) }
    }

    private static let variable: Set<String> = [
        "label", "enabled", "ipAllow", "maxPerHour", "expiresAt", "passphrase",
    ]

    private func create(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(
            except: Self.variable.union(["accountId", "action", "presetId", "orderId", "market"])
        )
        let account = try caller.account(
            try json.required("accountId").parsed(.badID, expected: "an account id") { AccountID($0) }
        )
        let action: Hook.Action = try json.required("action", expected: "what it does").choice()
        let preset = try json.optional("presetId")?.parsed(.badID, expected: "a preset's id") { UniqueID($0) }
        let order = try json.optional("orderId")?.parsed(.badID, expected: "an order's id") { OrderID($0) }
        let market = try json.optional("market")?.parsed(.badID, expected: "a market id") { MarketID($0) }
        switch action {
        case .create:
            guard let preset, order == nil, market == nil else {
                throw Problem(.notFound, "Nothing to create from: name a preset, and neither order nor market.")
            }
            guard try await backend.panel.presets(of: caller.user.id).contains(where: { $0.id == preset }) else {
                throw Problem.notFound
            }
        case .close, .cancel, .openNow, .moveStop:
            guard preset == nil, (order == nil) != (market == nil) else {
                throw Problem(.notFound, "There is no one target: name either an order (orderId) or a market.")
            }
        }
        if let order {
            guard try await backend.stored(order.description, of: caller).account == account.id else {
                throw Problem.notFound
            }
        }
        let token = backend.newSecret(bytes: Self.tokenBytes)
        var hook = Hook(
            id: backend.newID(),
            account: account.id,
            mode: account.mode,
            user: caller.user.id,
            tokenHash: APIKey.hash(token),
            label: "",
            action: action,
            preset: preset,
            order: order,
            market: market,
            createdAt: backend.clock.now(),
        )
        try read(json, into: &hook)
        let made = hook
        let url = "\(backend.configuration.publicURL ?? "")/hooks/\(token)"
        let audit = AuditLine(actor: AccountSettingRoutes.name(of: caller), action: "hook.create")
        let (shown, whole) = (Self.text(made, nil), Self.text(made, url))
        return try await backend.once(call, caller, body, status: .created, shown, secret: whole) { answer in
            guard let outcome = try await backend.hooks.add(made, audit: audit, answer: answer) else {
                throw Problem(.resourceLimit, "A user has at most 100 hooks.")
            }
            return outcome
        }
    }

    /// The fields that may change.
    private func read(_ json: JSONField, into hook: inout Hook) throws {
        if let field = try json.optional("label") { hook.label = try field.prose(limit: 100) }
        if let field = try json.optional("enabled") { hook.isEnabled = try field.bool() }
        if let blocks = try TraderRoutes.addresses(json) { hook.ipAllow = blocks }
        if try json.has("maxPerHour") {
            hook.maximumPerHour = try json.optional("maxPerHour")?.int()
            guard hook.maximumPerHour.map({ (1...3_600).contains($0) }) ?? true else {
                throw try json.required("maxPerHour").error(.wrongType, expected: "1 to 3600, or null")
            }
        }
        if try json.has("expiresAt") {
            hook.expiresAt = try json.optional("expiresAt")?.timestamp()
            if let time = hook.expiresAt, time <= backend.clock.now() {
                throw Refusal(.timeInPast, field: "expiresAt", "A link that has expired already is of no use.")
            }
        }
        if try json.has("passphrase") {
            hook.passphraseHash = try json.optional("passphrase").map { APIKey.hash(try $0.prose(limit: 200)) }
        }
    }

    private func change(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        var hook = try await found(call, caller)
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: Self.variable)
        try read(json, into: &hook)
        let audit = AuditLine(actor: AccountSettingRoutes.name(of: caller), action: "hook.change")
        guard try await backend.hooks.update(hook, audit: audit) else { throw Problem.notFound }
        return .json(.ok, Self.text(hook, nil))
    }

    private func delete(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let audit = AuditLine(actor: AccountSettingRoutes.name(of: caller), action: "hook.delete")
        guard let id = UniqueID(call.captures[0]),
            try await backend.hooks.deleteHook(id, of: caller.accountIDs, audit: audit)
        else { throw Problem.notFound }
        return Reply(status: .noContent)
    }

    private func found(_ call: Call, _ caller: Caller) async throws -> Hook {
        guard let id = UniqueID(call.captures[0]),
            let hook = try await backend.hooks.hooks(of: caller.accountIDs).first(where: { $0.id == id })
        else { throw Problem.notFound }
        return hook
    }

    private func calls(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let hook = try await found(call, caller)
        return try await backend.page(call, of: "calls \(hook.id)", id: \HookCall.id) { before, limit in
            try await backend.hooks.calls(of: hook.id, accounts: caller.accountIDs, before: before, limit: limit)
        } _: { writer, call in
            writer.call(call, bytes: Self.shownBytes)
        }
    }

    private static func text(_ hook: Hook, _ url: String?) -> [UInt8] {
        var writer = JSONWriter()
        writer.hook(hook, url: url)
        return writer.take()
    }
}

extension Backend {
    /// A link serves the mode that it was made in: switching an account never arms an old alert (INTERFACES.md 1.2).
    /// - Throws: `KEY_MODE`.
    func checkMode(of hook: Hook) async throws {
        guard let account = try await accounts.account(hook.account) else { throw Problem.notFound }
        guard account.mode == hook.mode else {
            throw Problem(
                .keyMode,
                "The link was made for \(hook.mode.rawValue) and the account is \(account.mode.rawValue) now.",
            )
        }
    }
}

extension JSONWriter {
    /// A Hook (INTERFACES.md 1.10). `url` is known once, when it is made.
    fileprivate mutating func hook(_ hook: Hook, url: String?) {
        beginObject()
        member("id", hook.id.description)
        member("label", hook.label)
        member("accountId", hook.account.description)
        member("mode", hook.mode)
        member("action", hook.action)
        member("presetId", orNull: hook.preset?.description)
        member("orderId", orNull: hook.order?.description)
        member("market", orNull: hook.market?.description)
        member("enabled", hook.isEnabled)
        key("ipAllow")
        beginArray()
        for block in hook.ipAllow { string(block) }
        endArray()
        member("maxPerHour", orNull: hook.maximumPerHour.map { Int64($0) })
        member("expiresAt", orNull: hook.expiresAt)
        member("hasPassphrase", hook.passphraseHash != nil)
        member("url", orNull: url)
        member("createdAt", hook.createdAt)
        member("lastCallAt", orNull: hook.lastCallAt)
        endObject()
    }

    /// A HookCall.
    fileprivate mutating func call(_ call: HookCall, bytes: Int) {
        beginObject()
        member("id", call.id.description)
        member("at", call.at)
        member("address", call.address)
        member("body", String(decoding: call.body.utf8.prefix(bytes), as: UTF8.self))
        member("outcome", call.outcome)
        member("code", orNull: call.code)
        member("detail", call.detail)
        member("orderId", orNull: call.order?.description)
        endObject()
    }
}
