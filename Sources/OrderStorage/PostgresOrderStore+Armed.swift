// What evaluators read: the armed form of orders, all of some shards or what changed. One that cannot be read is left out:
// it must not keep the others from being watched.

public import OrderEngine
internal import PostgresClient
public import SmartOrders

extension PostgresOrderStore {
    public func loadArmed(shards: [Int], page: @Sendable ([ArmedOrder]) async -> Void) async throws(StoreError) {
        guard !shards.isEmpty else { return }
        let list = "{" + shards.map(String.init).joined(separator: ",") + "}"
        try await reading {
            // Orders of a shard stand everywhere in the table: by an index alone every one of them would be a page to look
            // up. As a bitmap of them each page is read once, and only pages with live orders are; with this
            // much memory it names a million orders.
            let chunks = pool.copyOut(
                OrderSQL.loadArmed,
                variables: [("store.shards", list), ("enable_indexscan", "off"), ("work_mem", "64MB")],
                deadline: .now + .seconds(60),
            )
            var reader = ArmedReader()
            for try await rows in chunks {
                var orders: [ArmedOrder] = []
                orders.reserveCapacity(rows.count)
                for row in rows {
                    if let order = try readable(row, of: "orders", { try reader.read($0, isLive: true) }) {
                        orders.append(order)
                    }
                }
                await page(orders)
            }
        }
    }

    public func changes(
        shards: [Int],
        since: ChangeCursor?,
    ) async throws(StoreError) -> (orders: [ArmedOrder], next: ChangeCursor) {
        try await reading {
            guard let since, !shards.isEmpty else {
                let rows = try await pool.query(OrderSQL.horizon)
                return ([], ChangeCursor(value: try rows[0].int64(0)))
            }
            // The horizon first: what commits between the two is read now and once more.
            let found = try await pool.transaction([
                (OrderSQL.horizon, []), (OrderSQL.changes, [.text("\(since.value)"), .shorts(shards)]),
            ])
            return (try armed(found[1]), ChangeCursor(value: try found[0][0].int64(0)))
        }
    }

    public func armed(_ ids: [OrderID]) async throws(StoreError) -> [ArmedOrder] {
        guard !ids.isEmpty else { return [] }
        return try await reading {
            try armed(await pool.query(OrderSQL.armed, [.uuids(ids.lazy.map(\.value))]))
        }
    }

    private func armed(_ rows: Rows) throws -> [ArmedOrder] {
        var reader = ArmedReader()
        return try rows.compactMap { row in
            try readable(row, of: "orders") { try reader.read($0, isLive: $0.bool(10)) }
        }
    }
}

/// Reads armed rows; remembers markets, of which there are few, so that a million rows do not parse a million names.
private struct ArmedReader {
    private var markets: [String: MarketID] = [:]
    private var lastName: [UInt8] = []
    private var lastMarket = MarketID(venue: "", product: "", symbol: "")
    private var lastSource = (name: [UInt8](), source: TriggerSource.last)

    mutating func read(_ row: Row, isLive: Bool) throws -> ArmedOrder {
        guard let (watches, tickUnits) = WatchCoding.decode(try row.bytes(6)) else { throw CorruptValue("watches") }
        return ArmedOrder(
            id: OrderID(try row.id(0)),
            version: try row.int64(1),
            market: try market(row),
            source: try source(row),
            position: try row.position(4),
            watches: watches,
            tickUnits: tickUnits,
            wantsEveryTick: try row.bool(7),
            isBusy: try row.bool(8),
            dueAt: try row.momentOrNil(9),
            isLive: isLive,
        )
    }

    private mutating func market(_ row: Row) throws -> MarketID {
        if row.isEqual(2, to: lastName) { return lastMarket }
        let name = try row.string(2)
        guard let market = markets[name] ?? MarketID(name) else { throw CorruptValue("market \(name)") }
        markets[name] = market
        (lastName, lastMarket) = (Array(name.utf8), market)
        return market
    }

    private mutating func source(_ row: Row) throws -> TriggerSource {
        if row.isEqual(3, to: lastSource.name) { return lastSource.source }
        let source: TriggerSource = try row.word(3)
        lastSource = (Array(source.rawValue.utf8), source)
        return source
    }
}
