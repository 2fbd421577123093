// Previews: the same checks and the same plan as the real thing, and nothing stored (INTERFACES.md 1.12).

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

extension OrderRoutes {
    var previews: [Route] {
        [
            Route(method: .post, pattern: "/v1/orders/preview", bodyTypes: Self.json, handler: previewCreation),
            Route(method: .post, pattern: "/v1/orders/{id}/preview", bodyTypes: Self.json, handler: previewCommand),
        ]
    }

    private func previewCreation(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let json = JSONField(try call.json(backend.configuration.limits))
        var request = try DraftRequest(json)
        let account = try caller.account(request.account)
        try await request.takeDefaults(backend)
        let preview = try await backend.commands(of: caller, on: request.account).preview(
            creating: request.draft,
            market: request.market,
            account: request.account,
        )
        let ageMs = await feedAge(preview.instrument, request.draft.triggerSource)
        return try await show(preview, consequences: ConsequenceList(), of: account, feedAgeMs: ageMs)
    }

    private func previewCommand(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await backend.order(call.captures[0], of: caller)
        let json = JSONField(try call.json(backend.configuration.limits))
        let command = try Self.command(json, order)
        let preview = try await backend.commands(of: caller, on: order.account).preview(command, on: order.id)
        var consequences = ConsequenceList()
        if let before = preview.before, let after = preview.after {
            if after.version == before.version {
                consequences.addNothing(before.id)
            } else {
                consequences.add(command, on: before, price: preview.price)
                if case .edit = command { consequences.addMoves(from: before, to: after) }
            }
        }
        let ageMs = await feedAge(preview.instrument, order.triggerSource)
        let account = try caller.account(order.account)
        return try await show(preview, consequences: consequences, of: account, feedAgeMs: ageMs)
    }

    private enum Action: String {
        case openNow, addFunds, reduceFunds, close, closeLevel, cancelLevel, cancelEntry, cancel, edit
    }

    /// `{action, ...body of that action}`.
    private static func command(_ json: JSONField, _ order: SmartOrder) throws -> Command {
        let action: Action = try json.required("action", expected: "an action").choice()
        func check(_ fields: Set<String> = []) throws(JSONError) {
            try json.refuseUnknownKeys(except: fields.union(["action"]))
        }
        switch action {
        case .openNow:
            try check()
            return .openNow
        case .addFunds:
            try check(["qty", "limitPrice"])
            return .addFunds(try json.measure("qty"), limitPrice: try json.optionalMeasure("limitPrice"))
        case .reduceFunds:
            try check(["qty", "pct"])
            return try reduction(json, of: order)
        case .close:
            try check()
            return .closeMarket
        case .closeLevel:
            try check(["level"])
            return .closeLevel(try json.int("level"))
        case .cancelLevel:
            try check(["level"])
            var edit = OrderEdit()
            edit.cancelLevel = try json.int("level")
            return .edit(edit)
        case .cancelEntry:
            try check()
            return .cancelEntry
        case .cancel:
            try check(["leaveEntry"])
            return try json.optional("leaveEntry")?.bool() == true ? .cancelLeavingEntry : .cancel
        case .edit:
            guard case .object(var members) = json.value else { throw json.error(.wrongType, expected: "an object") }
            members["action"] = nil
            return .edit(try OrderEdit(json: JSONField(.object(members)), of: order.draft))
        }
    }

    /// Nil: no price is known, or nobody noted when it came.
    private func feedAge(_ instrument: Instrument, _ source: TriggerSource?) async -> Int64? {
        await backend.feedAge(
            PriceSeries(market: instrument.market, source: source ?? instrument.defaultTriggerSource)
        )
    }

    private func show(
        _ preview: CommandPreview,
        consequences: ConsequenceList,
        of account: Account,
        feedAgeMs: Int64?,
    ) async throws -> Reply {
        let numbers = preview.after.map { PreviewNumbers($0, price: preview.price) }
        var warnings = numbers?.warnings ?? []
        let isSkipped = preview.facts.contains { if case .backstopSkipped = $0 { true } else { false } }
        if isSkipped { warnings.append(.backstopSkipped) }
        warnings += try await backend.warnings(account, isNew: preview.before == nil, feedAgeMs: feedAgeMs)
        let derivedAt = backend.clock.now()
        return .json { writer in
            writer.member("accepted", preview.refusals.isEmpty)
            writer.key("errors")
            writer.beginArray()
            for refusal in preview.refusals { writer.refusal(refusal) }
            writer.endArray()
            writer.key("warnings")
            writer.beginArray()
            for warning in warnings { writer.string(warning.rawValue) }
            writer.endArray()
            writer.key("order")
            if let order = preview.after {
                let context = OrderContext(mode: account.orderMode, price: preview.price, derivedAt: derivedAt)
                writer.order(order, context: context)
            } else {
                writer.null()
            }
            writer.numbers(numbers)
            writer.member("liquidationDistance", orNull: nil as ExactDecimal?)
            writer.member("estimatedSlippage", orNull: nil as ExactDecimal?)
            writer.member("feedAgeMs", orNull: feedAgeMs)
            writer.consequences(consequences)
        }
    }
}

/// Body of create and of its preview.
struct DraftRequest {
    let account: AccountID
    let market: MarketID
    private(set) var draft: Draft

    /// What the draft leaves to the account.
    mutating func takeDefaults(_ backend: Backend) async throws {
        guard draft.triggerSource == nil else { return }
        let settings = try await backend.panel.settings(of: [account])[account]
        guard let source = settings?.triggerSource else { return }
        // Not every market publishes every source: the default is a wish.
        let instrument = try await backend.accounts.instrument(market)
        guard let instrument, instrument.publishedSources.contains(source) else { return }
        draft.triggerSource = source
    }

    init(_ json: JSONField) throws {
        account = try json.required("accountId", expected: "an account id")
            .parsed(.badID, expected: "an account id") { AccountID($0) }
        market = try json.required("market", expected: "a market id")
            .parsed(.badID, expected: "a market id") { MarketID($0) }
        draft = try Draft(json: json, allowing: ["accountId", "market"])
        try OrderRoutes.checkClientOrderID(json, draft.clientOrderID)
    }
}

extension JSONWriter {
    mutating func refusal(_ refusal: Refusal) { violation(ProblemDocument.Violation(refusal)) }

    fileprivate mutating func numbers(_ numbers: PreviewNumbers?) {
        key("legs")
        beginArray()
        for leg in numbers?.legs ?? [] {
            beginObject()
            member("leg", leg.name)
            member("price", leg.price)
            member("pct", leg.percent)
            member("amount", leg.amount)
            member("qty", leg.quantity)
            member("venuePrice", leg.venuePrice)
            member("notional", leg.notional)
            member("feeEstimate", leg.fee)
            endObject()
        }
        endArray()
        member("maxLoss", orNull: numbers?.maximumLoss)
        member("maxLossPct", orNull: numbers?.maximumLossPercent)
        member("worstAcceptedPrice", orNull: numbers?.worstAcceptedPrice)
        member("gainAtTargets", orNull: numbers?.gainAtTargets)
        member("rewardToRisk", orNull: numbers?.rewardToRisk)
    }
}
