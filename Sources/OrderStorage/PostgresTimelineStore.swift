// What `explain` reads, on PostgreSQL.

internal import JSONText
public import OrderEngine
internal import OrderJSON
public import PostgresClient
public import SmartOrders

private enum TimelineSQL {
    static let file = StatementFile(PackageResources.timeline_sql, prefix: "timeline")
    static let versions = file["versions"]
    static let notes = file["notes"]
    static let addNotes = file["add_notes"]
    static let halts = file["halts"]
    static let gaps = file["gaps"]
    static let addGap = file["add_gap"]
    static let untoldGap = file["untold_gap"]
    static let ordersAcross = file["orders_across"]
    static let setTold = file["set_told"]
}

/// The facts of `explain` in PostgreSQL.
public struct PostgresTimelineStore: TimelineStore {
    private let pool: PostgresPool

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    public func versions(of order: OrderID, after: Int64, limit: Int) async throws(StoreError) -> [StoredVersion] {
        try await reading {
            let parameters: [Parameter] = [.uuid(order.value), .int8(after), .int8(Int64(limit))]
            return try await pool.query(TimelineSQL.versions, parameters).map { try version($0) }
        }
    }

    private func version(_ row: Row) throws -> StoredVersion {
        let order = try StoredOrder(encodedState: row.bytes(12))
        let source: TriggerSource? = row.isNull(7) ? nil : try row.word(7)
        let tick = try source.map { source in
            Tick(
                market: order.instrument.market,
                source: source,
                price: Price(try row.exact(8)),
                position: try row.position(9),
            )
        }
        return StoredVersion(
            order: order,
            sequence: try row.int64(0),
            at: try row.moment(2),
            committedAt: try row.momentOrNil(3),
            cause: try row.word(4),
            actor: Actor(kind: try row.word(5), id: try row.string(6)),
            tick: tick,
            facts: try Fact.list(JSONField(try JSONValue(parsing: row.bytes(11)))),
            record: row.isNull(13) ? nil : try DecisionRecord(encoded: row.bytes(13)),
        )
    }

    public func notes(of order: OrderID) async throws(StoreError) -> [OrderNote] {
        try await reading {
            try await pool.query(TimelineSQL.notes, [.uuid(order.value)]).map { row in
                OrderNote(
                    order: order,
                    kind: try row.word(0),
                    subject: try row.string(1),
                    actor: Actor(kind: try row.word(2), id: try row.string(3)),
                    code: row.isNull(4) ? nil : try row.string(4),
                    detail: row.isNull(5) ? nil : try row.string(5),
                    count: Int(try row.int64(6)),
                    firstAt: try row.moment(7),
                    lastAt: try row.moment(8),
                )
            }
        }
    }

    public func add(_ notes: [OrderNote]) async throws(StoreError) {
        guard !notes.isEmpty else { return }
        try await writing {
            _ = try await pool.query(
                TimelineSQL.addNotes,
                [
                    .uuids(notes.map(\.order.value)), .texts(notes.map(\.kind.rawValue)), .texts(notes.map(\.subject)),
                    .texts(notes.map(\.actor.kind.rawValue)), .texts(notes.map(\.actor.id)),
                    .texts(notes.map { $0.code ?? "" }), .texts(notes.map { $0.detail ?? "" }),
                    .int8Array(notes.map { Int64($0.count) }), .int8Array(notes.map(\.firstAt.microseconds)),
                    .int8Array(notes.map(\.lastAt.microseconds)),
                ],
            )
        }
    }

    public func halts(
        _ order: OrderID,
        account: AccountID,
        market: MarketID,
    ) async throws(StoreError) -> [StandingHalt] {
        try await reading {
            let parameters: [Parameter] = [
                .text(order.description), .text(account.description), .text(market.description),
            ]
            return try await pool.query(TimelineSQL.halts, parameters).map { row in
                StandingHalt(
                    scope: try row.string(0),
                    level: try row.string(1),
                    reason: try row.string(2),
                    since: try row.moment(3),
                )
            }
        }
    }

    public func gaps(_ series: PriceSeries, from: Int64, to: Int64) async throws(StoreError) -> [FeedGap] {
        try await reading {
            let parameters: [Parameter] = [
                .text(series.market.description), .text(series.source.rawValue), .int8(from), .int8(to),
            ]
            return try await pool.query(TimelineSQL.gaps, parameters).map { row in
                FeedGap(
                    series: series,
                    from: try row.int64(0),
                    to: try row.int64(1),
                    reason: try row.string(2),
                    isBackfilled: try row.bool(3),
                )
            }
        }
    }

    public func add(_ gap: FeedGap) async throws(StoreError) {
        try await writing {
            _ = try await pool.query(
                TimelineSQL.addGap,
                [
                    .text(gap.series.market.description), .text(gap.series.source.rawValue), .int8(gap.from),
                    .int8(gap.to), .text(gap.reason), .bool(gap.isBackfilled), .bool(gap.isWanted),
                ],
            )
        }
    }

    public func untoldGap() async throws(StoreError) -> FeedGap? {
        try await reading {
            try await pool.query(TimelineSQL.untoldGap, []).first.map { row in
                FeedGap(
                    series: PriceSeries(market: try row.market(0), source: try row.word(1)),
                    from: try row.int64(2),
                    to: try row.int64(3),
                    reason: try row.string(4),
                    isBackfilled: try row.bool(5),
                )
            }
        }
    }

    public func orders(across gap: FeedGap, after: OrderID?, limit: Int) async throws(StoreError) -> [OrderID] {
        try await reading {
            let parameters: [Parameter] = [
                .text(gap.series.market.description), .text(gap.series.source.rawValue), .int8(gap.to),
                after.map { .uuid($0.value) } ?? .null, .int8(Int64(limit)),
            ]
            return try await pool.query(TimelineSQL.ordersAcross, parameters).map { OrderID(try $0.id(0)) }
        }
    }

    public func setTold(_ gap: FeedGap) async throws(StoreError) {
        try await writing {
            let series = gap.series
            _ = try await pool.query(
                TimelineSQL.setTold,
                [
                    .text(series.market.description), .text(series.source.rawValue), .int8(gap.from),
                    .bool(gap.isBackfilled),
                ],
            )
        }
    }
}
