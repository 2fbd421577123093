// What an operator decides by his word, in two steps: the fate of a request that nothing proves (RELIABILITY.md 11.2), and
// that a copied database is the only one (2.10).

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

extension AdminRoutes {
    private enum Verdict: String { case absent, filled, cancelled }

    private static func name(_ intent: StoredIntent) -> String {
        "\(intent.venueOrder.leg)-\(intent.venueOrder.attempt)"
    }

    /// Without `intent` what is open is listed; without `code` it is said what would happen.
    @Sendable
    func resolve(_ call: Call, _ caller: Caller, _ order: Order) async throws -> Reply {
        guard let id = OrderID(call.captures[0]) else { throw Problem.notFound }
        guard let account = try await operators.account(of: id) else { throw Problem.notFound }
        return try await Tenancy.$accounts.withValue([account]) {
            try await resolve(id, call, caller, order)
        }
    }

    // Not inlined: the optimiser of Swift 6.3 crashes on asynchronous functions with this in them.
    @inline(never)
    private func resolve(_ id: OrderID, _ call: Call, _ caller: Caller, _ order: Order) async throws -> Reply {
        let json = order.json
        let intent = try json.optional("intent")?.prose(limit: 100)
        let verdict = try verdict(json)
        let evidence = try json.optional("evidence")?.prose(limit: 1_000) ?? ""
        let code = try json.optional("code")?.prose(limit: 100)
        if let known = try await backend.known(call, caller, order.body) { return known }
        let open = try await backend.commands.openIntents(of: id)
        guard let intent else {
            return .json { writer in
                writer.key("open")
                writer.beginArray()
                for one in open { writer.intent(one, Self.name(one)) }
                writer.endArray()
            }
        }
        guard let found = open.first(where: { Self.name($0).lowercased() == intent.lowercased() }) else {
            throw Problem.notFound
        }
        guard let verdict else { throw try json.required("as").error(.missingField, expected: "what became of it") }
        guard !evidence.isEmpty else { throw json.error(.missingField, expected: "evidence") }
        let what = "resolve \(id) \(Self.name(found)) \(found.token ?? 0) \(verdict)"
        guard let code else {
            return .json(.accepted) { writer in
                writer.member("code", newCode(for: what, of: caller))
                writer.member("expiresInMs", Self.codeLifeMs)
                writer.key("ends")
                writer.intent(found, Self.name(found))
            }
        }
        try check(code, for: what, of: caller)
        let stored = try await backend.commands.resolve(
            id,
            found.venueOrder.key,
            as: verdict,
            actor: Actor(kind: .operator, id: caller.user.name),
        )
        hub.poke()
        let after = Array(
            #"{"intent":"\#(Self.name(found))","as":"\#(verdict)","version":\#(stored.version)}"#.utf8
        )
        return try await act(
            .note,
            "orders.resolve",
            "order \(id)",
            call,
            caller,
            Order(body: order.body, reason: "\(order.reason): \(evidence)"),
            after: after,
        )
    }

    private func verdict(_ json: JSONField) throws -> IntentVerdict? {
        guard let field = try json.optional("as") else { return nil }
        let verdict: Verdict = try field.choice()
        switch verdict {
        case .absent: return .absent
        case .cancelled: return .cancelled
        case .filled:
            let price: Price = try json.required("price", expected: "the price of the fill").parsed(
                .badDecimal,
                expected: "a price above zero",
            ) { text in Price(text).flatMap { $0.value.isPositive ? $0 : nil } }
            return .filled(at: price)
        }
    }

    /// The code is of what was seen: accounts that are held since are not let go with it.
    @Sendable
    func confirmRecovery(_ call: Call, _ caller: Caller, _ order: Order) async throws -> Reply {
        let code = try order.json.optional("code")?.prose(limit: 100)
        if let known = try await backend.known(call, caller, order.body) { return known }
        let status = try await row(.recovery, nil)
        let seen = try JSONValue(parsing: status)
        let what = "recovery.confirm \(seen["incarnation"] ?? .null) \(seen["held"] ?? .null)"
        guard let code else {
            return .json(.accepted) { writer in
                writer.member("code", newCode(for: what, of: caller))
                writer.member("expiresInMs", Self.codeLifeMs)
                writer.key("ends")
                writer.raw(status)
            }
        }
        try check(code, for: what, of: caller)
        let target = "database \(seen["database"]?.text ?? "")"
        return try await act(.confirmRecovery, "recover.confirm", target, call, caller, order, before: status)
    }
}

extension JSONWriter {
    /// An attempt that was sent and has not ended.
    fileprivate mutating func intent(_ intent: StoredIntent, _ name: String) {
        let order = intent.venueOrder
        beginObject()
        member("intent", name)
        member("state", order.state)
        member("side", order.side)
        member("qty", order.quantity)
        member("filledQty", order.filled)
        member("clientOrderId", intent.clientOrderID)
        member("checks", intent.checks)
        member("fencePassed", intent.fencePassed)
        endObject()
    }
}
