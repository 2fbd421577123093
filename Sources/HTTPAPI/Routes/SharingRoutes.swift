// Share links and notes (INTERFACES.md 1.14).
//
// A link shows settings only: no account, no client order id, no note, no fills, no profit, the quantity only if asked.
// Its token is stored as a hash; opening it places nothing.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

extension OrderRoutes {
    /// 30 days, at most a year.
    private static let shareLifeMs: Int64 = 2_592_000_000
    private static let longestShareMs: Int64 = 31_536_000_000

    var sharing: [Route] {
        [
            Route(
                method: .post,
                pattern: "/v1/orders/{id}/share",
                policy: .trade,
                needsIdempotencyKey: true,
                bodyTypes: Self.json,
                handler: share,
            ),
            Route(method: .get, pattern: "/v1/shares", handler: shares),
            Route(method: .get, pattern: "/v1/shares/{token}", access: .open, handler: openShare),
            Route(method: .delete, pattern: "/v1/shares/{token}", policy: .protect, handler: revokeShare),
            Route(
                method: .put,
                pattern: "/v1/orders/{id}/note",
                policy: .trade,
                bodyTypes: Self.json,
                handler: setNote,
            ),
            Route(method: .get, pattern: "/v1/orders/counts", handler: counts),
        ]
    }

    // MARK: Shares

    private func share(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await backend.order(call.captures[0], of: caller)
        let body = try call.json(backend.configuration.limits)
        let json = JSONField(body)
        try json.refuseUnknownKeys(except: ["includeQty", "expiresInMs"])
        let showsQuantity = try json.optional("includeQty")?.bool() ?? false
        var lifeMs = Self.shareLifeMs
        if let field = try json.optional("expiresInMs") {
            lifeMs = try field.count()
            guard (1_000...Self.longestShareMs).contains(lifeMs) else {
                throw field.error(.wrongType, expected: "1000 to \(Self.longestShareMs) milliseconds")
            }
        }
        let token = backend.newSecret(bytes: 16)
        let now = backend.clock.now()
        let share = Share(
            id: backend.newID(),
            account: order.account,
            tokenHash: APIKey.hash(token),
            draft: try Self.settings(of: order, showsQuantity: showsQuantity),
            market: order.instrument.market,
            referencePrice: await backend.prices.price(of: order),
            createdAt: now,
            expiresAt: now.advanced(milliseconds: lifeMs),
        )
        func text(_ url: String?) -> [UInt8] {
            var writer = JSONWriter()
            writer.share(share, url: url)
            return writer.take()
        }
        let whole = text("\(backend.configuration.publicURL ?? "")/s/\(token)")
        return try await backend.once(call, caller, body, status: .created, text(nil), secret: whole) { answer in
            try await backend.traders.add(share, answer: answer)
        }
    }

    private static func settings(of order: SmartOrder, showsQuantity: Bool) throws -> [UInt8] {
        var draft = order.draft
        draft.clientOrderID = nil
        draft.note = nil
        draft.entry.venueOrder = nil
        var writer = JSONWriter()
        writer.draft(draft)
        guard case .object(var settings) = try JSONValue(parsing: writer.take()) else {
            throw Problem(.internalError, "The settings could not be written.")
        }
        if !showsQuantity { settings["qty"] = nil }
        return JSONValue.object(settings).serialized()
    }

    private func shares(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        let shares = try await backend.traders.shares(of: caller.accountIDs)
        return .list(shares) { writer, share in writer.share(share, url: nil) }
    }

    /// Opens a link. Whoever has it may read it.
    private func openShare(_ call: Call) async throws -> Reply {
        guard let share = try await backend.traders.share(tokenHash: APIKey.hash(call.captures[0])) else {
            throw Problem.notFound
        }
        guard !share.isRevoked, share.expiresAt > backend.clock.now() else {
            throw Problem(.linkGone, "The link has ended.")
        }
        return .json { writer in
            writer.member("market", share.market.description)
            writer.key("draft")
            writer.raw(share.draft)
            writer.member("referencePrice", orNull: share.referencePrice)
            writer.member("createdAt", share.createdAt)
            writer.member("expiresAt", share.expiresAt)
        }
    }

    private func revokeShare(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        guard let id = UniqueID(call.captures[0]),
            try await backend.traders.revokeShare(id, of: caller.accountIDs)
        else { throw Problem.notFound }
        return Reply(status: .noContent)
    }

    // MARK: Notes, counts

    private func setNote(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await backend.order(call.captures[0], of: caller)
        let json = JSONField(try call.json(backend.configuration.limits))
        try json.refuseUnknownKeys(except: ["note"])
        guard try json.has("note") else { throw json.error(.missingField, expected: "note, a text or null") }
        let note = try json.optional("note")?.prose(limit: 1_000) ?? ""
        try await backend.traders.setNote(note, order: order.id, account: order.account)
        var reply = Reply.json(.ok, try await backend.object(order, of: caller))
        reply.headers[.eTag] = "\"v\(order.version)\""
        return reply
    }

    private func counts(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: ["account"])
        let accounts = try call.query["account"].map { [try caller.account($0).id] } ?? caller.accountIDs
        let counts = try await backend.traders.counts(of: accounts)
        func sum(_ wanted: (OrderStatus) -> Bool) -> Int {
            counts.reduce(0) { wanted($1.key) ? $0 + $1.value : $0 }
        }
        return .json { writer in
            for status in OrderStatus.allCases {
                writer.key(escaping: status.rawValue)
                writer.integer(counts[status] ?? 0)
            }
            writer.member("active", sum { $0.isOpen })
            writer.member("waiting", counts[.pending] ?? 0)
            writer.member("completed", sum { $0.isTerminal })
        }
    }
}

extension JSONWriter {
    /// A Share (INTERFACES.md 1.10). `url` is known once, when it is made.
    fileprivate mutating func share(_ share: Share, url: String?) {
        beginObject()
        member("id", share.id.description)
        member("url", orNull: url)
        member("market", share.market.description)
        key("draft")
        raw(share.draft)
        member("referencePrice", orNull: share.referencePrice)
        member("createdAt", share.createdAt)
        member("expiresAt", share.expiresAt)
        endObject()
    }
}
