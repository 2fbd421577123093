// The take-profit and stop of a whole position (INTERFACES.md 1.9, ORDERS.md 5.2): one order of kind POSITION, found by
// its place instead of its id.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct PositionRoutes: Sendable {
    let backend: Backend
    let hub: EventHub

    private static let path = "/v1/accounts/{id}/positions/{market}/tpsl"

    var routes: [Route] {
        [
            Route(method: .get, pattern: Self.path, handler: get),
            Route(
                method: .put,
                pattern: Self.path,
                policy: .trade,
                policyOf: { call in await policy(of: call) },
                ifMatch: .requiredOrNew,
                bodyTypes: OrderRoutes.json,
                keepsAnswer: true,
                mayWait: true,
                handler: put,
            ),
            Route(
                method: .delete,
                pattern: Self.path,
                policy: .protect,
                ifMatch: .requiredOrAny,
                bodyTypes: OrderRoutes.json,
                keepsAnswer: true,
                mayWait: true,
                handler: remove,
            ),
        ]
    }

    // MARK: Place

    /// A position of the caller.
    private struct Place {
        let caller: Caller
        let account: Account
        let market: MarketID
        /// Nil: whichever there is.
        let side: Side?
    }

    /// `side` is the position's: LONG or SHORT.
    private func place(_ call: Call) throws -> Place {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        guard let market = MarketID(call.captures[1]) else { throw Problem.notFound }
        try call.query.check(known: ["side"])
        let side: Side?
        switch call.query["side"] {
        case nil: side = nil
        case "LONG": side = .buy
        case "SHORT": side = .sell
        case _: throw Problem(.badQuery, "side is LONG or SHORT.")
        }
        return Place(caller: caller, account: account, market: market, side: side)
    }

    private func order(_ place: Place) async throws -> SmartOrder? {
        let orders = try await backend.commands.positionOrders(account: place.account.id, market: place.market)
            .filter { place.side == nil || $0.draft.side == place.side }
        guard orders.count < 2 else { throw Self.bothSides }
        return orders.first
    }

    private static var bothSides: Problem {
        Problem(.badQuery, "The account has a position on each side: say side=LONG or side=SHORT.")
    }

    private func existing(_ place: Place) async throws -> SmartOrder {
        guard let order = try await order(place) else { throw Problem.notFound }
        return order
    }

    // MARK: Handlers

    private func get(_ call: Call) async throws -> Reply {
        let place = try place(call)
        return try await backend.show(.smart(try await existing(place)), place.caller, .ok)
    }

    /// What only tightens the exits that are there is protection (INTERFACES.md 1.8).
    private func policy(of call: Call) async -> RatePolicy {
        do {
            let body = try call.json(backend.configuration.limits)
            guard call.ifMatch != .new, OrderEdit.mayTighten(body) else { return .trade }
            let order = try await existing(try place(call))
            return try PositionExits(json: JSONField(body)).edit.onlyTightens(order) ? .protect : .trade
        } catch {
            return .trade
        }
    }

    private func put(_ call: Call) async throws -> Reply {
        let place = try place(call)
        let body = try call.json(backend.configuration.limits)
        let exits = try PositionExits(json: JSONField(body))
        guard call.ifMatch == .new else {
            let order = try await existing(place)
            return try await execute(.edit(try Self.edit(exits, of: order)), on: order, place, call, body, .ok)
        }
        return try await create(exits, place, call, body)
    }

    /// A level that rests at the venue takes another limit; nothing else of it can change.
    private static func edit(_ exits: PositionExits, of order: SmartOrder) throws(Refusal) -> OrderEdit {
        var edit = exits.edit
        guard let asked = exits.takeProfit, let level = order.levels.first(where: { $0.state == .triggered }) else {
            return edit
        }
        var same = level.plan
        same.limitPrice = asked?.limitPrice
        guard asked == same, let limit = asked?.limitPrice else {
            throw Refusal(.levelNotPending, field: "takeProfit", "The take-profit is being executed.")
        }
        edit.takeProfits = nil
        if limit != level.plan.limitPrice { edit.restingLimit = .init(level: level.number, price: limit) }
        return edit
    }

    private func create(_ exits: PositionExits, _ place: Place, _ call: Call, _ body: JSONValue) async throws -> Reply {
        let record = OrderRoutes.record(call, body, place.caller)
        let show: Showing = { order, status in
            var reply = try await backend.show(order, place.caller, status)
            reply.headers[.location] = "/v1/orders/\(order.id)"
            return reply
        }
        var answer = try await backend.commands.known(record)
        if answer == nil {
            let draft = try await draft(exits, place)
            do throws(CommandError) {
                answer = try await backend.commands(of: place.caller, on: place.account.id).create(
                    draft,
                    market: place.market,
                    account: place.account.id,
                    actor: place.caller.actor,
                    idempotency: record,
                    requestID: call.requestID,
                    answering: { try await show($0, .created).kept },
                )
            } catch {
                guard case .refused(let refusals) = error, refusals.first?.code == .positionTPSLExists else {
                    throw error
                }
                throw await taken(error, place)
            }
            hub.poke()
        }
        guard let answer else { throw Problem.notFound }
        if let reply = try await backend.waited(answer, call, as: .created, show) { return reply }
        return try await answer.told(.created, idle: .created, show)
    }

    /// The plan for what the account holds there now.
    private func draft(_ exits: PositionExits, _ place: Place) async throws -> Draft {
        // The market is judged first: who names none that exists is not told about positions.
        guard let instrument = try await backend.accounts.instrument(place.market) else {
            throw Refusal(.instrumentUnknown, field: "market", "\(place.market) is not in the catalogue.")
        }
        guard instrument.kind.isDerivative else {
            throw Refusal(.noPosition, field: "market", "Spot has no positions: attach an order to the coins instead.")
        }
        let (reading, isHedged) = try await backend.commands.position(
            account: place.account.id,
            market: place.market,
            side: place.side,
        )
        switch reading {
        case .nothing: throw Refusal(.noPosition, field: "side", "The account holds nothing there.")
        case .bothSides: throw Self.bothSides
        case .held(let side, let quantity):
            return exits.draft(
                side: side,
                quantity: Quantity(quantity),
                positionSide: isHedged ? (side == .buy ? .long : .short) : .both,
            )
        }
    }

    /// 409 with the order that is there.
    private func taken(_ error: CommandError, _ place: Place) async -> Problem {
        var problem = Problem(error)
        do {
            let there = try await order(place)
            problem.document.members["orderId"] = there.map { .string($0.id.description) } ?? .null
        } catch {
            problem.document.members["orderId"] = .null
        }
        return problem
    }

    private func remove(_ call: Call) async throws -> Reply {
        let place = try place(call)
        let body = try call.json(backend.configuration.limits)
        try JSONField(body).refuseUnknownKeys(except: [])
        let order = try await existing(place)
        return try await execute(.cancel, on: order, place, call, body, .accepted)
    }

    private func execute(
        _ command: Command,
        on order: SmartOrder,
        _ place: Place,
        _ call: Call,
        _ body: JSONValue,
        _ status: HTTPResponse.Status,
    ) async throws -> Reply {
        let show: Showing = { order, status in try await backend.show(order, place.caller, status) }
        let answer: CommandAnswer
        do throws(CommandError) {
            answer = try await backend.commands(of: place.caller, on: place.account.id).execute(
                command,
                on: order.id,
                version: call.ifMatch?.version,
                actor: place.caller.actor,
                idempotency: OrderRoutes.record(call, body, place.caller),
                requestID: call.requestID,
                answering: { try await show($0, status).kept },
            )
        } catch {
            if case .refused(let refusals) = error { await backend.note(refusals, of: order.id, call, place.caller) }
            guard case .versionMismatch(let present) = error else { throw error }
            throw try await OrderRoutes.mismatch(present, call, place.caller, backend)
        }
        hub.poke()
        if let reply = try await backend.waited(answer, call, show) { return reply }
        return try await answer.told(status, idle: .ok, show)
    }
}
