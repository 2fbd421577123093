// Conditional orders: create, preview, read, change, cancel (INTERFACES.md 1.9; ORDERS.md R19).

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct ConditionalRoutes: Sendable {
    let backend: Backend
    let hub: EventHub

    private static let path = "/v1/conditional-orders"

    var routes: [Route] {
        [
            Route(
                method: .post,
                pattern: Self.path,
                policy: .trade,
                needsIdempotencyKey: true,
                bodyTypes: OrderRoutes.json,
                mayWait: true,
                handler: create,
            ),
            Route(method: .post, pattern: Self.path + "/preview", bodyTypes: OrderRoutes.json, handler: preview),
            Route(
                method: .post,
                pattern: Self.path + "/{id}/preview",
                bodyTypes: OrderRoutes.json,
                handler: previewCommand,
            ),
            Route(method: .get, pattern: Self.path, handler: list),
            Route(method: .get, pattern: Self.path + "/{id}", handler: get),
            Route(method: .get, pattern: Self.path + "/{id}/events", handler: events),
            Route(
                method: .patch,
                pattern: Self.path + "/{id}",
                policy: .trade,
                ifMatch: .required,
                bodyTypes: OrderRoutes.json + ["application/merge-patch+json"],
                keepsAnswer: true,
                mayWait: true,
                handler: change,
            ),
            Route(
                method: .delete,
                pattern: Self.path + "/{id}",
                policy: .protect,
                ifMatch: .requiredOrAny,
                bodyTypes: OrderRoutes.json,
                keepsAnswer: true,
                mayWait: true,
                handler: cancel,
            ),
        ]
    }

    // MARK: Create

    /// A request to create: the draft, and where.
    private struct Request {
        let account: AccountID
        let market: MarketID
        let draft: ConditionalDraft

        init(_ json: JSONField) throws(JSONError) {
            account = try json.required("accountId").parsed(.badID, expected: "an account id") { AccountID($0) }
            market = try json.required("market").parsed(.badID, expected: "a market id") { MarketID($0) }
            draft = try ConditionalDraft(json: json, allowing: ["accountId", "market"])
            try OrderRoutes.checkClientOrderID(json, draft.clientOrderID)
        }
    }

    private func create(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let body = try call.json(backend.configuration.limits)
        let request = try Request(JSONField(body))
        _ = try caller.account(request.account)
        let show: Showing = { order, status in
            var reply = try await backend.show(order, caller, status)
            reply.headers[.location] = "\(Self.path)/\(order.id)"
            return reply
        }
        let answer = try await backend.commands(of: caller, on: request.account).create(
            request.draft,
            market: request.market,
            account: request.account,
            actor: caller.actor,
            idempotency: OrderRoutes.record(call, body, caller),
            requestID: call.requestID,
            answering: { try await show($0, .created).kept },
        )
        hub.poke()
        if let reply = try await backend.waited(answer, call, as: .created, show) { return reply }
        return try await answer.told(.created, idle: .created, show)
    }

    private func preview(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let request = try Request(JSONField(try call.json(backend.configuration.limits)))
        let account = try caller.account(request.account)
        let (order, refusals) = try await backend.commands(of: caller, on: request.account).preview(
            creating: request.draft,
            market: request.market,
            account: request.account,
        )
        let series = order.map { PriceSeries(market: request.market, source: $0.triggerSource) }
        return try await show(ConditionalPreview(order: order, refusals: refusals), account, series)
    }

    private func show(
        _ preview: ConditionalPreview,
        _ account: Account,
        _ series: PriceSeries?,
    ) async throws -> Reply {
        var preview = preview
        var ageMs: Int64?
        if let series { ageMs = await backend.feedAge(series) }
        if let order = preview.order, !order.status.isTerminal {
            preview.warnings = ConditionalPreview.warnings(order)
        }
        preview.warnings += try await backend.warnings(account, isNew: preview.before == nil, feedAgeMs: ageMs)
        return preview.reply(of: account, feedAgeMs: ageMs)
    }

    private enum Action: String { case cancel, edit }

    /// `{action, ...body of that action}`.
    private func previewCommand(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await conditional(call, caller)
        let json = JSONField(try call.json(backend.configuration.limits))
        let action: Action = try json.required("action", expected: "cancel or edit").choice()
        if action == .cancel { try json.refuseUnknownKeys(except: ["action"]) }
        let series = PriceSeries(market: order.instrument.market, source: order.triggerSource)
        let moment = Moment(
            now: backend.clock.now(),
            price: await backend.prices.latest(series).map {
                Price(units: $0.price, decimals: order.instrument.priceDecimals)
            },
            position: order.position,
        )
        let account = try caller.account(order.account)
        let change = action == .edit ? try Self.change(json, allowing: ["action"]) : ConditionalChange()
        var preview = ConditionalPreview(before: order)
        do throws(Refusal) {
            switch action {
            case .cancel: preview.order = try order.decide(.command(.cancel), at: moment)?.next ?? order
            case .edit: preview.order = try order.edit(change, at: moment)?.next ?? order
            }
        } catch {
            preview.refusals = [error]
        }
        return try await show(preview, account, series)
    }

    // MARK: Read

    private func conditional(_ call: Call, _ caller: Caller) async throws -> ConditionalOrder {
        guard let order = try await backend.stored(call.captures[0], of: caller).conditional else {
            throw Problem.notFound
        }
        return order
    }

    private func get(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        guard let id = OrderID(call.captures[0]) else { throw Problem.notFound }
        let known = try await backend.reader(id, caller.accountIDs)
        guard let order = known?.conditional else { throw Problem.notFound }
        return try await backend.show(.conditional(order), caller, .ok)
    }

    private func list(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let query = call.query
        try query.check(known: ["account", "market", "limit", "cursor"], repeatable: ["status"])
        let accounts = try query["account"].map { [try caller.account($0)] } ?? caller.accounts
        guard let first = accounts.first else { throw Problem.notFound }
        var filter = OrderFilter(account: first.id, kind: .conditional)
        for text in query.all("status") {
            guard let status = ConditionalStatus(rawValue: text) else {
                throw Problem(.badQuery, "status is one of \(ConditionalStatus.allCases.map(\.rawValue)).")
            }
            filter.statuses.append(status.rawValue)
        }
        if let text = query["market"] {
            guard let market = MarketID(text) else { throw Problem(.badQuery, "market is no market id.") }
            filter.market = market
        }
        filter.limit = try query.number("limit", in: 1...200, default: 50)
        let filters =
            "conditional \(accounts.map(\.id)) \(filter.statuses) \(filter.market?.description ?? "")"
        let now = backend.clock.now()
        if let cursor = query["cursor"] {
            filter.before = OrderID(try backend.cursors.decode(cursor, filters: filters, now: now))
        }
        var orders: [ConditionalOrder] = []
        for account in accounts {
            filter.account = account.id
            orders += try await backend.orders.page(filter).compactMap(\.conditional)
        }
        orders = Array(orders.sorted { $0.id > $1.id }.prefix(filter.limit))
        let next =
            orders.count == filter.limit
            ? orders.last.map { backend.cursors.encode($0.id.value, filters: filters, now: now) } : nil
        var writer = JSONWriter(reserving: 1_024 * max(1, orders.count))
        writer.beginObject()
        writer.key("items")
        writer.beginArray()
        for order in orders { writer.conditionalOrder(order, mode: try caller.account(order.account).orderMode) }
        writer.endArray()
        writer.member("nextCursor", orNull: next)
        writer.endObject()
        var reply = Reply.json(.ok, writer.take())
        if let next { reply.headers[.link] = OrderRoutes.link(call, next) }
        return reply
    }

    private func events(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await conditional(call, caller)
        return try await OrderRoutes.events(of: order.id, in: caller.account(order.account), call, backend)
    }

    // MARK: Change

    private static func change(
        _ json: JSONField,
        allowing others: Set<String> = [],
    ) throws(JSONError) -> ConditionalChange {
        try json.refuseUnknownKeys(except: Set(["trigger", "limit", "qty"]).union(others))
        var change = ConditionalChange()
        change.trigger = try json.optionalMeasure("trigger")
        change.quantity = try json.optionalMeasure("qty")
        if case .null? = json.value["limit"] {
            change.limit = .some(nil)
        } else if let limit: Price = try json.optionalMeasure("limit") {
            change.limit = limit
        }
        return change
    }

    private func change(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await conditional(call, caller)
        let body = try call.json(backend.configuration.limits)
        let change = try Self.change(JSONField(body))
        let show: Showing = { order, status in try await backend.show(order, caller, status) }
        let answer: CommandAnswer
        do throws(CommandError) {
            answer = try await backend.commands(of: caller, on: order.account).change(
                change,
                on: order.id,
                version: call.ifMatch?.version,
                actor: caller.actor,
                idempotency: OrderRoutes.record(call, body, caller),
                requestID: call.requestID,
                answering: { try await show($0, .ok).kept },
            )
        } catch {
            throw try await problem(error, on: order.id, call, caller)
        }
        hub.poke()
        if let reply = try await backend.waited(answer, call, show) { return reply }
        return try await answer.told(.ok, idle: .ok, show)
    }

    private func cancel(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await conditional(call, caller)
        let body = try call.json(backend.configuration.limits)
        try JSONField(body).refuseUnknownKeys(except: [])
        let show: Showing = { order, status in try await backend.show(order, caller, status) }
        let answer: CommandAnswer
        do throws(CommandError) {
            answer = try await backend.commands(of: caller, on: order.account).execute(
                .cancel,
                on: order.id,
                version: call.ifMatch?.version,
                actor: caller.actor,
                idempotency: OrderRoutes.record(call, body, caller),
                requestID: call.requestID,
                answering: { try await show($0, .accepted).kept },
            )
        } catch {
            throw try await problem(error, on: order.id, call, caller)
        }
        hub.poke()
        if let reply = try await backend.waited(answer, call, show) { return reply }
        return try await answer.told(.accepted, idle: .ok, show)
    }

    /// What the trader is told; a refusal is kept for the order's history.
    private func problem(
        _ error: CommandError,
        on order: OrderID,
        _ call: Call,
        _ caller: Caller,
    ) async throws -> any Error {
        switch error {
        case .versionMismatch(let present): return try await OrderRoutes.mismatch(present, call, caller, backend)
        case .refused(let refusals):
            await backend.note(refusals, of: order, call, caller)
            return error
        case .keyReused, .keyBusy, .priceUnavailable, .unavailable, .venueUnavailable, .recovering: return error
        }
    }
}
