// Accounts, and what is asked of all orders of one at once: cancel-all, halt (INTERFACES.md 1.9).

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct AccountRoutes: Sendable {
    let backend: Backend
    let batches: BatchDuty

    private static let json = ["application/json"]

    var routes: [Route] {
        [
            Route(method: .get, pattern: "/v1/accounts", handler: accounts),
            Route(method: .get, pattern: "/v1/accounts/{id}", handler: account),
            Route(
                method: .post,
                pattern: "/v1/accounts/{id}/cancel-all",
                policy: .protect,
                needsIdempotencyKey: true,
                bodyTypes: Self.json,
                handler: cancelAll,
            ),
            Route(
                method: .post,
                pattern: "/v1/accounts/{id}/halt",
                policy: .protect,
                needsIdempotencyKey: true,
                bodyTypes: Self.json,
                handler: halt,
            ),
            Route(
                method: .delete,
                pattern: "/v1/accounts/{id}/halt",
                policy: .trade,
                ifMatch: .required,
                handler: resume,
            ),
            Route(method: .post, pattern: "/v1/accounts/{id}/preview", bodyTypes: Self.json, handler: preview),
            Route(method: .get, pattern: "/v1/batches/{id}", handler: batch),
        ]
    }

    // MARK: Reading

    private func accounts(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("items")
        writer.beginArray()
        for account in try await backend.overviews(caller.accounts) { writer.account(account) }
        writer.endArray()
        writer.member("nextCursor", orNull: nil as String?)
        writer.endObject()
        return .json(.ok, writer.take())
    }

    private func account(_ call: Call) async throws -> Reply {
        let account = try call.requireCaller().account(call.captures[0])
        return .account(try await backend.overview(account))
    }

    private func batch(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        guard let id = UniqueID(call.captures[0]),
            let batch = try await backend.traders.batch(id, of: caller.accountIDs)
        else { throw Problem.notFound }
        return .json(.ok, Self.text(batch))
    }

    static func text(_ batch: Batch) -> [UInt8] {
        var writer = JSONWriter()
        writer.batch(batch)
        return writer.take()
    }

    // MARK: All orders at once

    /// Whom a command on many orders concerns.
    private struct Selection {
        var market: MarketID?
        var kinds: Set<Kind>
    }

    private enum Kind: String, CaseIterable {
        case smart = "SMART"
        case position = "POSITION"
        case conditional = "CONDITIONAL"
    }

    private func selection(_ json: JSONField) throws -> Selection {
        let market = try json.optional("market")?.parsed(.badID, expected: "a market id") { MarketID($0) }
        var kinds = Set(Kind.allCases)
        if let field = try json.optional("kinds") {
            kinds = []
            for element in try field.elements() { kinds.insert(try element.choice()) }
        }
        return Selection(market: market, kinds: kinds)
    }

    private func orders(_ selection: Selection, of account: Account) async throws -> [OrderID] {
        let ids = try await backend.traders.openOrders(of: account.id, market: selection.market)
        guard selection.kinds.count < Kind.allCases.count, !ids.isEmpty else { return ids }
        var chosen: [OrderID] = []
        for start in stride(from: 0, to: ids.count, by: 200) {
            let orders = try await backend.orders.load(Array(ids[start..<min(start + 200, ids.count)]))
            chosen += orders.filter { order in
                switch order.smart?.draft.sizeMode {
                case .fixed: selection.kinds.contains(.smart)
                case .position: selection.kinds.contains(.position)
                case nil: selection.kinds.contains(.conditional)
                }
            }.map(\.id)
        }
        return chosen
    }

    private func cancelAll(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: ["market", "kinds"])
        let batch = Batch(
            id: backend.newID(),
            account: account.id,
            kind: .cancelAll,
            orders: try await orders(try selection(json), of: account),
            actor: caller.actor,
            startedAt: backend.clock.now(),
        )
        let reply = try await backend.once(call, caller, body, status: .accepted, Self.text(batch)) { answer in
            try await backend.traders.add(batch, answer: answer)
        }
        batches.poke()
        return reply
    }

    /// No new exposure from now on; waiting entries are cancelled, exits stay. `flatten` closes what is open, too.
    private func halt(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: ["flatten", "reason"])
        let flattens = try json.optional("flatten")?.bool() ?? false
        let reason = try json.required("reason", expected: "why").prose(limit: 1_000)
        let batch = Batch(
            id: backend.newID(),
            account: account.id,
            kind: flattens ? .flatten : .halt,
            orders: try await backend.traders.openOrders(of: account.id, market: nil),
            actor: caller.actor,
            reason: reason,
            startedAt: backend.clock.now(),
        )
        let overview = try await backend.overview(account)
        var standing = overview.standing
        if standing.halt == nil {
            standing.halt = .init(level: .entries, scope: "account", reason: reason, since: batch.startedAt)
        }
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("account")
        writer.account(AccountOverview(account: account, standing: standing, settings: overview.settings))
        writer.key("batch")
        writer.batch(batch)
        writer.endObject()
        let reply = try await backend.once(call, caller, body, status: .accepted, writer.take()) { answer in
            try await backend.traders.halt(
                account.id,
                reason: reason,
                actor: caller.keyID,
                batch: batch,
                answer: answer,
            )
        }
        batches.poke()
        return reply
    }

    private func resume(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        let seen = try await backend.overview(account)
        guard let version = seen.settings?.version, call.ifMatch == .version(version) else { throw try seen.mismatch() }
        try await backend.traders.resume(account.id, actor: caller.keyID)
        return .account(try await backend.overview(account))
    }

    // MARK: Preview

    private enum Action: String { case halt, cancelAll, reconcile }

    private func preview(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: ["action", "market", "kinds", "flatten", "reason"])
        let action: Action = try json.required("action", expected: "halt, cancelAll or reconcile").choice()
        _ = try json.optional("reason")?.prose(limit: 1_000)
        let flattens = try json.optional("flatten")?.bool() ?? false
        let ids = try await orders(try selection(json), of: account)
        var consequences = ConsequenceList()
        for start in stride(from: 0, to: ids.count, by: 200) {
            let stored = try await backend.orders.load(Array(ids[start..<min(start + 200, ids.count)]))
            for order in stored.compactMap(\.smart) {
                let price = await backend.prices.price(of: order)
                switch action {
                case .cancelAll: consequences.add(.cancel, on: order, price: price)
                case .halt where flattens && order.status.isOpen:
                    consequences.add(.closeMarket, on: order, price: price)
                case .halt: consequences.add(.cancelEntry, on: order, price: price)
                // It changes only what the venue proves.
                case .reconcile: break
                }
            }
        }
        return .json { writer in
            writer.member("accepted", true)
            writer.key("errors")
            writer.beginArray()
            writer.endArray()
            writer.key("warnings")
            writer.beginArray()
            writer.endArray()
            writer.member("orders", ids.count)
            writer.consequences(consequences)
        }
    }
}

extension JSONWriter {
    /// An Account (INTERFACES.md 1.10). Null: not kept.
    mutating func account(_ overview: AccountOverview) {
        let (account, standing, settings) = (overview.account, overview.standing, overview.settings)
        beginObject()
        member("id", account.id.description)
        member("version", orNull: settings?.version)
        member("name", settings?.name ?? account.name)
        member("venue", account.venue)
        member("product", account.product)
        member("mode", account.mode)
        member("positionMode", orNull: nil as String?)
        member("defaultTriggerSource", orNull: settings?.triggerSource)
        member("callbackMin", settings?.minimumCallback ?? Account.widestCallbacks.lowerBound)
        member("callbackMax", settings?.maximumCallback ?? Account.widestCallbacks.upperBound)
        member("defaultConfirm", settings?.isConfirmedByDefault ?? true)
        member("maxLegsPerMarket", settings?.maximumConditionals ?? account.maximumConditionals)
        key("halted")
        if let halt = standing.halt {
            beginObject()
            member("level", halt.level)
            member("scope", halt.scope)
            member("since", halt.since)
            member("reason", halt.reason)
            endObject()
        } else {
            null()
        }
        member("recovering", settings?.isRecovering ?? false)
        member("openOrders", standing.openOrders)
        key("credentials")
        beginObject()
        member("state", standing.venueKey.rawValue.uppercased())
        member("last4", orNull: overview.credentials?.last4)
        key("permissions")
        beginArray()
        for word in overview.credentials?.permissions ?? [] { string(word) }
        endArray()
        member("checkedAt", orNull: overview.credentials?.checkedAt)
        endObject()
        member("createdAt", orNull: settings?.createdAt)
        endObject()
    }
}
