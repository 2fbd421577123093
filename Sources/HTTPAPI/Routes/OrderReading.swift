// Orders as they are read: one, lists, histories.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

extension OrderRoutes {
    var reading: [Route] {
        [
            Route(method: .get, pattern: "/v1/orders", handler: list),
            Route(method: .get, pattern: "/v1/orders/{id}", handler: get),
            Route(method: .get, pattern: "/v1/orders/{id}/events", handler: events),
            Route(method: .get, pattern: "/v1/orders/{id}/fills", handler: fills),
            Route(method: .get, pattern: "/v1/orders/{id}/venue-orders", handler: venueOrders),
        ]
    }

    private func get(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        guard let id = OrderID(call.captures[0]) else { throw Problem.notFound }
        guard let order = try await backend.reader(id, caller.accountIDs), order.smart != nil else {
            throw Problem.notFound
        }
        let page = try await backend.shown([order]) { try caller.account($0) }
        var writer = JSONWriter(reserving: page.bytes)
        await backend.write(page, to: &writer)
        var reply = Reply.json(.ok, writer.take())
        reply.headers[.eTag] = "\"v\(order.version)\""
        return reply
    }

    // MARK: List

    private static let groups: [String: [OrderStatus]] = [
        "active": [.active, .partiallyClosed], "waiting": [.pending],
        "completed": [.closed, .stopped, .cancelled, .failed],
    ]

    private func list(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let query = call.query
        try query.check(
            known: OrderQuestion.names.union(["account", "group", "market", "limit", "cursor", "sort", "mode"]),
            repeatable: ["status"],
        )
        var accounts = try query["account"].map { [try caller.account($0)] } ?? caller.accounts
        if let text = query["mode"] {
            guard let mode = Account.Mode(rawValue: text) else {
                throw Problem(.badQuery, "mode is PAPER or LIVE.")
            }
            accounts = accounts.filter { $0.mode == mode }
        } else if accounts.isEmpty {
            throw Problem.notFound
        }
        var filter = OrderFilter(account: accounts.first?.id ?? AccountID(UniqueID(high: 0, low: 0)), kind: .smart)
        filter.statuses = try statuses(query).map(\.rawValue)
        if let text = query["market"] {
            guard let market = MarketID(text) else { throw Problem(.badQuery, "market is no market id.") }
            filter.market = market
        }
        filter.limit = try query.number("limit", in: 1...200, default: 50)
        var search = try OrderQuestion.search(query)
        let filters =
            "orders \(accounts.map(\.id)) \(filter.statuses) \(filter.market?.description ?? "") "
            + OrderQuestion.names.union(["sort"]).sorted().map { "\($0)=\(query[$0] ?? "")" }.joined(separator: "&")
        let now = backend.clock.now()
        if let cursor = query["cursor"] {
            let (position, key) = try backend.cursors.decodeKeyed(cursor, filters: filters, now: now)
            filter.before = OrderID(position)
            search?.after = OrderQuestion.place(OrderID(position), key)
        }
        filter.search = search
        let orders = try await list(filter, of: accounts)
        // A full page may be the last one: the next is then empty, which is right too.
        let last = orders.count == filter.limit ? orders.last : nil
        let next = last.map { last in
            let key = search.flatMap { search in last.smart.map { OrderQuestion.key(search.place(of: $0)) } } ?? ""
            return backend.cursors.encode(last.id.value, key: key, filters: filters, now: now)
        }
        let page = try await backend.shown(orders) { try caller.account($0) }
        var writer = JSONWriter(reserving: page.bytes)
        writer.beginObject()
        writer.key("items")
        writer.beginArray()
        await backend.write(page, to: &writer)
        writer.endArray()
        writer.member("nextCursor", orNull: next)
        writer.endObject()
        var reply = Reply.json(.ok, writer.take())
        if let next { reply.headers[.link] = Self.link(call, next) }
        return reply
    }

    /// Over all accounts in one order; newest first: ids are in order of time.
    private func list(_ filter: OrderFilter, of accounts: [Account]) async throws -> [ReadOrder] {
        var orders: [ReadOrder] = []
        for account in accounts {
            var filter = filter
            filter.account = account.id
            orders += try await backend.orders.page(filter)
        }
        guard accounts.count > 1 else { return orders }
        let search = filter.search ?? OrderSearch()
        let sorted = orders.sorted { one, other in
            guard let one = one.smart, let other = other.smart else { return false }
            return search.isBefore(one, other)
        }
        return Array(sorted.prefix(filter.limit))
    }

    private func statuses(_ query: Query) throws(Problem) -> [OrderStatus] {
        var statuses: [OrderStatus] = []
        for text in query.all("status") {
            guard let status = OrderStatus(rawValue: text) else {
                throw Problem(.badQuery, "status is one of \(OrderStatus.allCases.map(\.rawValue)).")
            }
            statuses.append(status)
        }
        guard let group = query["group"] else { return statuses }
        guard statuses.isEmpty, let named = Self.groups[group] else {
            throw Problem(.badQuery, "group is active, waiting or completed, and goes without status.")
        }
        return named
    }

    /// The address of the next page.
    static func link(_ call: Call, _ cursor: String) -> String {
        var parts = call.query.items.filter { $0.name != "cursor" }.map { "\($0.name)=\(escaped($0.value))" }
        parts.append("cursor=\(cursor)")
        return "<\(call.path)?\(parts.joined(separator: "&"))>; rel=\"next\""
    }

    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                escaped.unicodeScalars.append(Unicode.Scalar(byte))
            default: escaped += "%" + hexadecimal([byte]).uppercased()
            }
        }
        return escaped
    }

    // MARK: Histories

    private func events(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let order = try await backend.order(call.captures[0], of: caller)
        return try await Self.events(of: order.id, in: caller.account(order.account), call, backend)
    }

    /// The history of an order of either kind.
    static func events(
        of order: OrderID,
        in account: Account,
        _ call: Call,
        _ backend: Backend,
    ) async throws -> Reply {
        try call.query.check(known: ["limit", "cursor"])
        let limit = try call.query.number("limit", in: 1...200, default: 50)
        let filters = "events \(order)"
        let now = backend.clock.now()
        var after: Int64 = 0
        if let cursor = call.query["cursor"] {
            after = Int64(bitPattern: try backend.cursors.decode(cursor, filters: filters, now: now).low)
        }
        let events = try await backend.orders.events(order: order, after: after, limit: limit)
        let next =
            events.count == limit
            ? events.last.map { event in
                let position = UniqueID(high: 0, low: UInt64(bitPattern: event.version ?? 0))
                return backend.cursors.encode(position, filters: filters, now: now)
            } : nil
        var writer = JSONWriter(reserving: 4_096 * max(1, events.count))
        writer.beginObject()
        writer.key("items")
        writer.beginArray()
        for event in events {
            let text = try EventText(event)
            writer.raw(text.encoded(mode: account.orderMode, epoch: backend.epoch.now))
        }
        writer.endArray()
        writer.member("nextCursor", orNull: next)
        writer.endObject()
        var reply = Reply.json(.ok, writer.take())
        if let next { reply.headers[.link] = Self.link(call, next) }
        return reply
    }

    private func fills(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        let order = try await backend.order(call.captures[0], of: caller)
        let fills = try await backend.orders.fills(order: order.id)
        return .json { writer in
            writer.key("items")
            writer.beginArray()
            for entry in fills { writer.fill(entry.fill, of: entry.key) }
            writer.endArray()
        }
    }

    /// What an order's versions tell of one of its attempts.
    private struct VenueAnswer {
        /// The first answer of the venue that was no refusal.
        var acknowledgedAt: Timestamp?
        var endedAt: Timestamp?
        /// The venue's own, of the last refusal.
        var code: String?
    }

    /// Cost: every version of the order is read.
    private func answers(of order: OrderID) async throws -> [VenueOrderKey: VenueAnswer] {
        let pageSize = 200
        var answers: [VenueOrderKey: VenueAnswer] = [:]
        var (after, isOver): (Int64, Bool) = (0, false)
        while !isOver {
            let versions = try await backend.timeline.versions(of: order, after: after, limit: pageSize)
            for version in versions {
                for exchange in version.record?.exchanges ?? [] {
                    var answer = answers[exchange.key] ?? VenueAnswer()
                    if let code = exchange.code {
                        answer.code = code
                    } else {
                        answer.acknowledgedAt = answer.acknowledgedAt ?? exchange.answeredAt
                    }
                    answers[exchange.key] = answer
                }
                for case .venueOrder(let key, let state) in version.facts where !state.isLive {
                    answers[key, default: VenueAnswer()].endedAt = version.at
                }
            }
            after = versions.last?.version ?? after
            isOver = versions.count < pageSize
        }
        return answers
    }

    private func venueOrders(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: [])
        let order = try await backend.order(call.captures[0], of: caller)
        let intents = try await backend.orders.intents(of: [order.id], ended: true)
        let fills = Dictionary(grouping: try await backend.orders.fills(order: order.id), by: \.key)
        let answers = try await answers(of: order.id)
        return .json { writer in
            writer.key("items")
            writer.beginArray()
            for intent in intents {
                let fills = fills[intent.venueOrder.key]?.map(\.fill) ?? []
                let quantity = fills.reduce(Quantity.zero) { $0 + $1.quantity }
                let worth = fills.reduce(Money.zero) { $0 + $1.price * $1.quantity }
                let average = quantity.isPositive ? AverageEntry(cost: worth, quantity: quantity).rounded : nil
                let answer = answers[intent.venueOrder.key]
                let context = VenueOrderContext(
                    clientID: intent.clientOrderID,
                    averagePrice: average,
                    rejectCode: intent.venueOrder.state == .rejected ? answer?.code : nil,
                    sentAt: intent.t0,
                    acknowledgedAt: answer?.acknowledgedAt,
                    endedAt: answer?.endedAt,
                )
                writer.venueOrder(intent.venueOrder, context: context)
            }
            writer.endArray()
        }
    }
}
