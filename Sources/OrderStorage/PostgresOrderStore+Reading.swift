// Lists, history, fills: what the API shows.

internal import JSONText
public import OrderEngine
internal import OrderJSON
internal import PostgresClient
public import SmartOrders

extension PostgresOrderStore {
    public func list(_ filter: OrderFilter) async throws(StoreError) -> [StoredOrder] {
        try await page(filter).map(\.stored)
    }

    /// Two questions at most: which orders, and the states of those that nobody has read since they changed.
    public func page(_ filter: OrderFilter) async throws(StoreError) -> [ReadOrder] {
        let (statement, parameters) = question(filter)
        return try await reading {
            try await read.page(try await pool.query(statement, parameters), of: filter.account, pool)
        }
    }

    private func question(_ filter: OrderFilter) -> (Statement, [Parameter]) {
        if let search = filter.search { return (OrderSQL.search, finer(search, filter)) }
        let parameters: [Parameter] = [
            .uuid(filter.account.value), filter.before.map { .uuid($0.value) } ?? .null, .texts(filter.statuses),
            .optional(filter.market?.description), .int8(Int64(min(max(filter.limit, 1), 200))),
            .optional(filter.kind?.rawValue), filter.updatedSince.map { .moment($0) } ?? .null,
        ]
        return (OrderSQL.list, parameters)
    }

    private func finer(_ search: OrderSearch, _ filter: OrderFilter) -> [Parameter] {
        func moment(_ time: Timestamp?) -> Parameter {
            time.map { .timestamp(microseconds: $0.microseconds) } ?? .null
        }
        let place: [Parameter] = [
            search.after.map { .uuid($0.order.value) } ?? .null, .optional(search.after?.symbol),
            moment(search.after?.time),
        ]
        let questions: [Parameter] = [
            .text(search.sort.rawValue), .optional(search.venue), .optional(search.symbol),
            .optional(search.side?.rawValue), .optional(search.health?.rawValue), .optional(search.kind?.rawValue),
            .optional(search.clientOrderID),
        ]
        let times = [moment(search.updatedSince), moment(search.createdFrom), moment(search.createdTo)]
        return [.uuid(filter.account.value), .texts(filter.statuses), .optional(filter.market?.description)] + place
            + questions + times + [.optional(search.text), .int8(Int64(min(max(filter.limit, 1), 200)))]
    }

    public func events(order: OrderID, after: Int64, limit: Int) async throws(StoreError) -> [StoredEvent] {
        try await reading {
            let parameters: [Parameter] = [.uuid(order.value), .int8(after), .int8(Int64(limit))]
            return try await pool.query(OrderSQL.eventsOfOrder, parameters).map { try event($0) }
        }
    }

    public func events(account: AccountID, after: Int64, limit: Int) async throws(StoreError) -> [StoredEvent] {
        try await reading {
            let parameters: [Parameter] = [.uuid(account.value), .int8(after), .int8(Int64(limit))]
            return try await pool.query(OrderSQL.eventsOfAccount, parameters).map { try event($0) }
        }
    }

    public func lastSequence(account: AccountID) async throws(StoreError) -> Int64 {
        try await reading {
            try await pool.query(OrderSQL.lastSequence, [.uuid(account.value)]).first?.int64(0) ?? 0
        }
    }

    public func fills(order: OrderID) async throws(StoreError) -> [(key: VenueOrderKey, fill: Fill)] {
        try await reading {
            try await pool.query(OrderSQL.fills, [.uuid(order.value)]).map { row in
                let asset = try row.string(6)
                guard let feeAsset = Fill.FeeAsset(stored: asset) else { throw CorruptValue("fee asset \(asset)") }
                let fill = Fill(
                    venueFillID: try row.string(2),
                    quantity: Quantity(try row.exact(3)),
                    price: Price(try row.exact(4)),
                    fee: try row.exact(5),
                    feeAsset: feeAsset,
                    isMaker: try row.bool(7),
                    time: try row.moment(8),
                )
                return (VenueOrderKey(leg: try row.leg(0), attempt: Int(try row.int64(1))), fill)
            }
        }
    }

    public func fillSummaries(of orders: [OrderID]) async throws(StoreError) -> [OrderID: [FillSummary]] {
        guard !orders.isEmpty else { return [:] }
        return try await reading {
            var summaries: [OrderID: [FillSummary]] = [:]
            for row in try await pool.query(OrderSQL.fillSummaries, [.uuids(orders.lazy.map(\.value))]) {
                let summary = FillSummary(
                    leg: try row.leg(1),
                    quantity: Quantity(try row.exact(2)),
                    worth: Money(try row.exact(3)),
                    first: try row.moment(4),
                    last: try row.moment(5),
                )
                summaries[OrderID(try row.id(0)), default: []].append(summary)
            }
            return summaries
        }
    }

    public func live(account: AccountID, market: MarketID, limit: Int) async throws(StoreError) -> [StoredOrder] {
        try await reading {
            let parameters: [Parameter] = [.uuid(account.value), .text(market.description), .int8(Int64(limit))]
            return try await pool.query(OrderSQL.live, parameters).map { try StoredOrder(encodedState: $0.bytes(0)) }
        }
    }

    public func shares(
        account: AccountID,
        market: MarketID,
        except: OrderID?,
    ) async throws(StoreError) -> [PositionShare] {
        var shares: [PositionShare] = []
        var unknown: [OrderID] = []
        try await reading {
            let parameters: [Parameter] = [
                .uuid(account.value), .text(market.description), except.map { .uuid($0.value) } ?? .null,
            ]
            for row in try await pool.query(OrderSQL.shares, parameters) {
                let id = OrderID(try row.id(4))
                guard !row.isNull(0) else {
                    unknown.append(id)
                    continue
                }
                shares.append(
                    PositionShare(
                        side: try row.word(0),
                        isWhole: try row.bool(1),
                        remaining: Quantity(try row.exact(2)),
                        isClaimed: try row.bool(3),
                        oldest: id,
                    )
                )
            }
        }
        if !unknown.isEmpty {
            shares += try await load(unknown).compactMap(\.smart).filter { !$0.status.isTerminal }.map(
                PositionShare.init
            )
        }
        return shares.joined()
    }

    public func left(by position: PositionQuery) async throws(StoreError) -> [StoredOrder] {
        try await reading {
            let parameters: [Parameter] = [
                .uuid(position.account.value), .text(position.market.description), .optional(position.side?.rawValue),
                .numeric(position.quantity.description), .uuid(position.after?.value ?? UniqueID(high: 0, low: 0)),
                .int8(Int64(position.limit)),
            ]
            return try await pool.query(OrderSQL.left, parameters).map { try StoredOrder(encodedState: $0.bytes(0)) }
        }
    }

    public func standing(of order: StoredOrder) async throws(StoreError) -> OrderStanding {
        try await standings(of: [order])[0]
    }

    public func standings(of orders: [StoredOrder]) async throws(StoreError) -> [OrderStanding] {
        try await reading {
            let parameters: [Parameter] = [
                .uuids(orders.lazy.map(\.account.value)), .texts(orders.lazy.map(\.instrument.market.description)),
                .uuids(orders.lazy.map(\.id.value)), .texts(orders.lazy.map(\.positionSide.opposite.rawValue)),
            ]
            return try await pool.query(OrderSQL.standings, parameters).map { row in
                OrderStanding(
                    claimedElsewhere: Quantity(try row.exact(0)),
                    newestFill: row.isNull(1) ? nil : try row.moment(1),
                )
            }
        }
    }

    public func openWork(account: AccountID) async throws(StoreError) -> OpenWork {
        try await reading {
            var (orders, markets): ([OrderID], [MarketID]) = ([], [])
            for row in try await pool.query(OrderSQL.openWork, [.uuid(account.value)]) {
                if try row.bool(0) { orders.append(OrderID(try row.id(1))) } else { markets.append(try row.market(2)) }
            }
            return OpenWork(atVenue: orders, markets: markets)
        }
    }

    public func activeLegs(account: AccountID, market: MarketID) async throws(StoreError) -> Int {
        try await reading {
            let parameters: [Parameter] = [.uuid(account.value), .text(market.description)]
            return Int(try await pool.query(OrderSQL.activeLegs, parameters)[0].int64(0))
        }
    }

    public func outcome(
        owner: String,
        key: String,
    ) async throws(StoreError) -> (order: OrderID, requestHash: String)? {
        try await reading {
            try await pool.query(OrderSQL.outcome, [.text(owner), .text(key)]).first.map { row in
                (OrderID(try row.id(0)), try row.string(1))
            }
        }
    }

    public func keptAnswer(owner: String, key: String) async throws(StoreError) -> KeptAnswer? {
        try await reading {
            try await pool.query(OrderSQL.keptAnswer, [.text(owner), .text(key)]).first.map { row in
                KeptAnswer(
                    status: Int(try row.int64(0)),
                    entityTag: try row.stringOrNil(1),
                    location: try row.stringOrNil(2),
                    body: try row.bytes(3),
                )
            }
        }
    }

    /// `json`: `{"facts": [...], "state": {...}}`, the state in the form of OrderJSON's StateEncoding.
    private func event(_ row: Row) throws -> StoredEvent {
        let source: TriggerSource? = row.isNull(8) ? nil : try row.word(8)
        let tick = try source.map { source in
            Tick(
                market: try row.market(14),
                source: source,
                price: Price(try row.exact(9)),
                position: try row.position(10),
            )
        }
        var writer = JSONWriter(reserving: 2_048)
        writer.beginObject()
        writer.key("facts")
        writer.raw(try row.bytes(12))
        writer.key("state")
        writer.raw(try row.bytes(13))
        writer.endObject()
        return StoredEvent(
            account: AccountID(try row.id(0)),
            sequence: try row.int64(1),
            order: try row.idOrNil(2).map { OrderID($0) },
            version: try row.int64OrNil(3),
            at: try row.moment(4),
            cause: try row.word(5),
            actor: Actor(kind: try row.word(6), id: try row.string(7)),
            tick: tick,
            tickReceivedAt: try row.int64OrNil(16).map { Timestamp(microseconds: $0) },
            requestID: try row.stringOrNil(15),
            json: writer.take(),
        )
    }
}
