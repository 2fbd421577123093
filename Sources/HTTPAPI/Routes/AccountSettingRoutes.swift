// Accounts as their owner sets them: made on paper, named, switched live when all conditions hold (INTERFACES.md 1.3).
//
// Every change is a version with a line of the audit. A venue key is not handled here: this process never reads one.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// An account with what is shown beside it.
struct AccountOverview: Sendable {
    let account: Account
    let standing: AccountStanding
    /// Nil: not kept.
    let settings: AccountSettings?
    /// Nil: no venue key is stored.
    var credentials: CredentialStatus?

    /// 412 with the account as it is.
    func mismatch() throws -> Problem {
        var writer = JSONWriter()
        writer.account(self)
        let version = settings?.version ?? 0
        var problem = Problem(.versionMismatch, "The account is at version \(version).")
        problem.document.members = [
            "currentVersion": .number(String(version)), "current": try JSONValue(parsing: writer.take()),
            "changedBy": .array([]),
        ]
        problem.headers[.eTag] = "\"v\(version)\""
        return problem
    }
}

extension AccountOverview {
    private static let checkLifeMs: Int64 = 600_000

    /// Throws why the account may not trade live (INTERFACES.md 1.3).
    func checkLive(isLiveEnabled: Bool, now: Timestamp) throws {
        var refusals = standing.refusals(goingLive: account, isLiveEnabled: isLiveEnabled)
        if let status = credentials, let reason = Self.doubt(status, product: account.product, now: now) {
            refusals.append(
                Refusal(.credentialsRefused, reason, ["permissions": .text(status.permissions.joined(separator: ","))])
            )
        }
        if let document = ProblemDocument(refusals: refusals) { throw Problem(document) }
    }

    /// What speaks against a stored key; nil: nothing.
    private static func doubt(_ status: CredentialStatus, product: String, now: Timestamp) -> String? {
        guard let checked = status.checkedAt, now.milliseconds - checked.milliseconds <= checkLifeMs else {
            return "The venue was not asked about the key within 10 minutes: check the key, then switch."
        }
        if status.permissions.contains("withdraw") { return "The key may withdraw." }
        let right = product == "spot" ? "spot" : "futures"
        return status.permissions.contains(right) ? nil : "The key may not trade this product."
    }
}

extension Backend {
    func overviews(_ accounts: [Account]) async throws -> [AccountOverview] {
        let settings = try await panel.settings(of: accounts.map(\.id))
        let credentials = try await intake.status(of: accounts.map(\.id))
        var overviews: [AccountOverview] = []
        for account in accounts {
            let standing = try await self.accounts.standing(account.id, market: nil, clientOrderID: nil)
            overviews.append(
                AccountOverview(
                    account: account,
                    standing: standing ?? AccountStanding(),
                    settings: settings[account.id],
                    credentials: credentials[account.id],
                )
            )
        }
        return overviews
    }

    func overview(_ account: Account) async throws -> AccountOverview {
        guard let overview = try await overviews([account]).first else { throw Problem.notFound }
        return overview
    }
}

struct AccountSettingRoutes: Sendable {
    let backend: Backend

    private static let json = ["application/json"]

    var routes: [Route] {
        [
            Route(
                method: .post,
                pattern: "/v1/accounts",
                policy: .trade,
                needsIdempotencyKey: true,
                bodyTypes: Self.json,
                handler: create,
            ),
            Route(
                method: .patch,
                pattern: "/v1/accounts/{id}",
                policy: .trade,
                ifMatch: .required,
                bodyTypes: Self.json + ["application/merge-patch+json"],
                handler: change,
            ),
            Route(
                method: .delete,
                pattern: "/v1/accounts/{id}",
                policy: .protect,
                ifMatch: .required,
                handler: delete,
            ),
            Route(
                method: .put,
                pattern: "/v1/accounts/{id}/mode",
                policy: .trade,
                ifMatch: .required,
                bodyTypes: Self.json,
                handler: setMode,
            ),
        ]
    }

    private func create(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: ["name", "venue", "product"])
        let name = try Self.name(json.required("name", expected: "a name"))
        let venue = try json.string("venue")
        let product = try json.string("product")
        let markets = try await backend.accounts.instruments()
        guard markets.contains(where: { $0.market.venue == venue && $0.market.product == product }) else {
            throw Refusal(.instrumentUnknown, field: "venue", "No such venue and product is connected.")
        }
        let account = Account(
            id: AccountID(backend.newID()),
            name: name,
            venue: venue,
            product: product,
            mode: .paper,
        )
        var writer = JSONWriter()
        let made = AccountSettings(
            account: account.id,
            version: 1,
            name: name,
            triggerSource: nil,
            maximumConditionals: account.maximumConditionals,
            createdAt: backend.clock.now(),
        )
        let standing = AccountStanding(venueKey: .missing)
        writer.account(AccountOverview(account: account, standing: standing, settings: made))
        // The new account is the caller's from here on.
        var reply = try await Tenancy.$accounts.withValue(caller.accountIDs + [account.id]) {
            try await backend.once(call, caller, body, status: .created, writer.take()) { answer in
                try await backend.panel.create(
                    account,
                    of: caller.user.id,
                    audit: AuditLine(actor: Self.name(of: caller), action: "account.create"),
                    answer: answer,
                )
            }
        }
        backend.keys.forget(user: caller.user.id)
        reply.headers[.eTag] = "\"v1\""
        reply.headers[.location] = "/v1/accounts/\(account.id)"
        return reply
    }

    private func change(_ call: Call) async throws -> Reply {
        let (caller, account, overview) = try await found(call)
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: Self.variable)
        guard var settings = overview.settings else { throw Problem.notFound }
        if let field = try json.optional("name") { settings.name = try Self.name(field) }
        if try json.has("defaultTriggerSource") {
            settings.triggerSource = try json.optional("defaultTriggerSource")?.choice()
        }
        if let field = try json.optional("maxLegsPerMarket") {
            settings.maximumConditionals = try field.int()
            guard (1...1_000).contains(settings.maximumConditionals) else {
                throw field.error(.wrongType, expected: "1 to 1000")
            }
        }
        if let field = try json.optional("defaultConfirm") { settings.isConfirmedByDefault = try field.bool() }
        try Self.readCallbacks(json, into: &settings)
        let audit = AuditLine(actor: Self.name(of: caller), action: "account.change", reason: json.value.text ?? "")
        guard try await backend.panel.update(settings, audit: audit) else { throw try await mismatch(account) }
        return try await changed(account, caller, call)
    }

    private static let variable: Set<String> = [
        "name", "defaultTriggerSource", "maxLegsPerMarket", "callbackMin", "callbackMax", "defaultConfirm",
    ]

    /// Null: as wide as any. Orders that are there keep theirs.
    private static func readCallbacks(_ json: JSONField, into settings: inout AccountSettings) throws {
        let widest = Account.widestCallbacks
        func read(_ key: String) throws -> Rate? {
            guard let field = try json.optional(key) else { return nil }
            let rate = Rate(try field.decimal())
            guard widest.contains(rate), rate.value.scale <= 6 else {
                throw field.error(.wrongType, expected: "\(widest.lowerBound) to \(widest.upperBound), 6 decimals")
            }
            return rate
        }
        if try json.has("callbackMin") { settings.minimumCallback = try read("callbackMin") }
        if try json.has("callbackMax") { settings.maximumCallback = try read("callbackMax") }
        guard settings.minimumCallback ?? widest.lowerBound <= settings.maximumCallback ?? widest.upperBound else {
            throw json.error(.wrongType, expected: "callbackMin no larger than callbackMax")
        }
    }

    private func delete(_ call: Call) async throws -> Reply {
        let (caller, account, overview) = try await found(call)
        let audit = AuditLine(actor: Self.name(of: caller), action: "account.delete")
        try Self.checkIdle(overview)
        let version = overview.settings?.version ?? 0
        guard try await backend.panel.delete(account.id, version: version, audit: audit) else {
            throw try await mismatch(account)
        }
        backend.keys.forget(user: caller.user.id)
        return Reply(status: .noContent)
    }

    /// Paper is the way back; live needs everything that INTERFACES.md 1.3 lists.
    private func setMode(_ call: Call) async throws -> Reply {
        let (caller, account, overview) = try await found(call)
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: ["mode", "confirm"])
        let mode: Account.Mode = try json.required("mode", expected: "PAPER or LIVE").choice()
        let confirmed = try json.required("confirm", expected: "the account's name")
        guard try confirmed.string() == overview.settings?.name ?? account.name else {
            throw Problem(.confirmMismatch, "`confirm` is not the name of the account.", pointer: "/confirm")
        }
        guard mode != account.mode else { return try await changed(account, caller, call) }
        if mode == .live {
            try overview.checkLive(isLiveEnabled: backend.commands.isLiveEnabled, now: backend.clock.now())
        }
        try Self.checkIdle(overview)
        if mode == .live, backend.configuration.liveNeedsApproval {
            return try await askForLive(account, overview, caller)
        }
        let audit = AuditLine(
            actor: Self.name(of: caller),
            action: "account.mode",
            reason: "\(account.mode.rawValue) to \(mode.rawValue)",
        )
        let version = overview.settings?.version ?? 0
        guard try await backend.panel.set(mode, of: account.id, version: version, audit: audit) else {
            throw try await mismatch(account)
        }
        let now = Account(
            id: account.id,
            name: account.name,
            venue: account.venue,
            product: account.product,
            mode: mode,
            maximumConditionals: account.maximumConditionals,
        )
        return try await changed(now, caller, call)
    }

    /// 202: an administrator decides (`POST /v1/admin/accounts/{id}/approve-live`).
    private func askForLive(_ account: Account, _ overview: AccountOverview, _ caller: Caller) async throws -> Reply {
        let audit = AuditLine(actor: Self.name(of: caller), action: "account.mode.request", reason: "PAPER to LIVE")
        let version = overview.settings?.version ?? 0
        guard try await backend.panel.requestLive(account.id, version: version, audit: audit) else {
            throw try await mismatch(account)
        }
        var reply = Reply.account(overview)
        reply.status = .accepted
        return reply
    }

    // MARK: Parts

    private func found(_ call: Call) async throws -> (Caller, Account, AccountOverview) {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        let overview = try await backend.overview(account)
        guard let version = overview.settings?.version else { throw Problem.notFound }
        guard call.ifMatch == .version(version) else { throw try await mismatch(account) }
        return (caller, account, overview)
    }

    private func changed(_ account: Account, _ caller: Caller, _ call: Call) async throws -> Reply {
        backend.keys.forget(user: caller.user.id)
        return .account(try await backend.overview(account))
    }

    private func mismatch(_ account: Account) async throws -> Problem {
        try await backend.overview(account).mismatch()
    }

    static func checkIdle(_ overview: AccountOverview) throws(Problem) {
        guard overview.standing.openOrders > 0 else { return }
        var problem = Problem(.accountNotIdle, "The account has \(overview.standing.openOrders) open orders.")
        problem.document.members["openOrders"] = .number(String(overview.standing.openOrders))
        throw problem
    }

    private static func name(_ field: JSONField) throws(JSONError) -> String {
        let name = try field.prose(limit: 100)
        guard !name.isEmpty else { throw field.error(.wrongType, expected: "a name") }
        return name
    }

    static func name(of caller: Caller) -> String {
        let actor = caller.actor
        return "\(actor.kind.rawValue) \(actor.id)"
    }
}

extension Reply {
    static func account(_ overview: AccountOverview) -> Reply {
        var writer = JSONWriter()
        writer.account(overview)
        var reply = Reply.json(.ok, writer.take())
        if let version = overview.settings?.version { reply.headers[.eTag] = "\"v\(version)\"" }
        return reply
    }
}
