// What the venue says of an account: balances, positions, open orders; and the comparison of all orders with it
// (INTERFACES.md 1.9). This process holds no venue key: workers answer, the last answer stays known.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct VenueRoutes: Sendable {
    let backend: Backend
    let batches: BatchDuty

    /// A reading of this age is shown without asking again.
    private static let freshMs: Int64 = 2_000
    /// Within the deadline of a request.
    private static let patienceMs: Int64 = 3_000

    var routes: [Route] {
        [
            Route(method: .get, pattern: "/v1/accounts/{id}/balances", handler: balances),
            Route(method: .get, pattern: "/v1/accounts/{id}/positions", handler: positions),
            Route(method: .get, pattern: "/v1/accounts/{id}/venue-orders", handler: venueOrders),
            Route(
                method: .post,
                pattern: "/v1/accounts/{id}/reconcile",
                policy: .protect,
                needsIdempotencyKey: true,
                bodyTypes: OrderRoutes.json,
                handler: reconcile,
            ),
        ]
    }

    // MARK: Reading

    /// What was told last; asked for anew when that is old. Nothing ever told: 503, or what keeps the venue from answering.
    private func told(_ question: VenueQuestion, _ account: Account) async throws -> ToldReading {
        guard let venues = backend.venues else {
            throw Problem(.venueUnavailable, "This server has nobody who asks venues.")
        }
        let (told, _) = try await venues.read(
            question,
            of: account.id,
            maximumAgeMs: Self.freshMs,
            patienceMs: Self.patienceMs,
        )
        if let told { return told }
        let standing = try await backend.accounts.standing(account.id, market: nil, clientOrderID: nil)
        if standing?.venueKey == .missing {
            throw Refusal(.credentialsMissing, field: "id", "The account has no venue key.")
        }
        throw Problem(.venueUnavailable, "The venue does not answer, and nothing is known of before.")
    }

    private func page(_ told: ToldReading, _ items: (inout JSONWriter) -> Void) -> Reply {
        .json { writer in
            writer.key("items")
            writer.beginArray()
            items(&writer)
            writer.endArray()
            writer.member("nextCursor", orNull: nil as String?)
            writer.member("asOf", told.asOf)
            // The venue was asked and did not answer: this is what it said before.
            writer.member("stale", !told.isCurrent)
        }
    }

    private func live(_ account: Account) async throws -> [SmartOrder] {
        var filter = OrderFilter(account: account.id, kind: .smart, limit: 200)
        filter.statuses = OrderStatus.allCases.filter { !$0.isTerminal }.map(\.rawValue)
        var orders: [SmartOrder] = []
        while true {
            let page = try await backend.orders.list(filter)
            orders += page.compactMap(\.smart)
            guard page.count == filter.limit, let last = page.last else { return orders }
            filter.before = last.id
        }
    }

    private func balances(_ call: Call) async throws -> Reply {
        let account = try call.requireCaller().account(call.captures[0])
        try call.query.check(known: [])
        let told = try await told(.balances, account)
        guard case .balances(let balances) = told.reading else { throw Problem.notFound }
        // Only coins are managed; a balance of a derivatives account is margin.
        let orders = account.product == "spot" ? try await live(account) : nil
        return page(told) { writer in
            for balance in balances {
                let managed = orders.map { orders in
                    orders.filter { $0.draft.side == .buy && $0.instrument.baseAsset == balance.asset }
                        .reduce(Quantity.zero) { $0 + $1.remaining }
                }
                writer.beginObject()
                writer.member("asset", balance.asset)
                writer.member("free", balance.free)
                writer.member("locked", balance.locked)
                writer.member("total", balance.free + balance.locked)
                writer.member("managedQty", orNull: managed)
                writer.member("asOf", told.asOf)
                writer.endObject()
            }
        }
    }

    private func positions(_ call: Call) async throws -> Reply {
        let account = try call.requireCaller().account(call.captures[0])
        try call.query.check(known: [])
        let told = try await told(.positions, account)
        guard case .positions(let positions, _) = told.reading else { throw Problem.notFound }
        let orders = positions.isEmpty ? [] : try await live(account)
        return page(told) { writer in
            for position in positions {
                let side = position.side ?? (position.quantity.isPositive ? .buy : .sell)
                let here = orders.filter { $0.instrument.market == position.market && $0.draft.side == side }
                writer.beginObject()
                writer.member("market", position.market.description)
                writer.member("positionSide", position.side.map { $0 == .buy ? "LONG" : "SHORT" } ?? "BOTH")
                writer.member("qty", position.quantity)
                writer.member("avgPrice", orNull: position.average)
                writer.member("markPrice", orNull: position.marks.mark)
                writer.member("unrealized", orNull: position.marks.unrealized)
                writer.member("liquidationPrice", orNull: position.marks.liquidation)
                writer.member("managedQty", here.reduce(Quantity.zero) { $0 + $1.remaining })
                let exits = here.first { $0.draft.sizeMode == .position }
                writer.member("tpslOrderId", orNull: exits?.id.description)
                writer.member("asOf", told.asOf)
                writer.endObject()
            }
        }
    }

    private func venueOrders(_ call: Call) async throws -> Reply {
        let account = try call.requireCaller().account(call.captures[0])
        try call.query.check(known: ["open"])
        guard call.query["open"] ?? "true" == "true" else {
            throw Problem(.badQuery, "Only open orders are told: open=true.")
        }
        let told = try await told(.openOrders, account)
        guard case .openOrders(let open) = told.reading else { throw Problem.notFound }
        var ours: [String: StoredIntent] = [:]
        for order in open where ours[order.clientOrderID] == nil && !order.clientOrderID.isEmpty {
            let intent = try await backend.orders.intent(account: account.id, clientOrderID: order.clientOrderID)
            ours[order.clientOrderID] = intent
        }
        let intents = ours
        return page(told) { writer in
            for order in open {
                let intent = intents[order.clientOrderID]
                writer.beginObject()
                writer.member("market", order.market.description)
                writer.member("venueOrderId", order.venueOrderID)
                writer.member("clientId", order.clientOrderID)
                writer.member("side", order.side)
                writer.member("type", order.type)
                writer.member("qty", order.quantity)
                writer.member("filledQty", order.filled)
                writer.member("limitPrice", orNull: order.prices.limit)
                writer.member("triggerPrice", orNull: order.prices.trigger)
                writer.member("reduceOnly", order.reduceOnly)
                writer.member("orderId", orNull: intent?.order.description)
                writer.member("purpose", orNull: intent?.venueOrder.leg.description)
                writer.member("attempt", orNull: intent?.venueOrder.attempt)
                writer.member("adoptable", intent == nil && order.isPlainLimit)
                writer.member("asOf", told.asOf)
                writer.endObject()
            }
        }
    }

    // MARK: Reconcile

    /// Every open smart order is compared with the venue, each its own decision; balances and positions are read anew.
    private func reconcile(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let account = try caller.account(call.captures[0])
        let body = try call.json(backend.configuration.limits)
        try JSONField(body).refuseUnknownKeys(except: [])
        let batch = Batch(
            id: backend.newID(),
            account: account.id,
            kind: .reconcile,
            orders: try await live(account).map(\.id),
            actor: caller.actor,
            startedAt: backend.clock.now(),
        )
        let text = AccountRoutes.text(batch)
        let reply = try await backend.once(call, caller, body, status: .accepted, text) { answer in
            try await backend.traders.add(batch, answer: answer)
        }
        batches.poke()
        return reply
    }
}
