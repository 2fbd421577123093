// Prices that become known late, on PostgreSQL.
//
// Invariant: late prices and the hand-over that has them evaluated are one transaction; what may take long in it comes
// before the workers' rows are locked, so no lease lapses for it. Cost: all shards are loaded anew, a second's work for a
// cluster of many orders; it is done when something became known, which is rare.

public import OrderEngine
public import PostgresClient
internal import SmartOrders

private enum BackfillSQL {
    static let file = StatementFile(PackageResources.backfills_sql, prefix: "backfills")
    static let claim = file["claim"]
    static let fail = file["fail"]
    static let lockWorkers = file["lock_workers"]
    static let closeGaps = file["close_gaps"]
    static let giveBack = file["give_back"]
    static let lowerHandovers = file["lower_handovers"]
    static let raiseRevision = file["raise_revision"]
    static let finish = file["finish"]
    static let revision = file["revision"]
}

/// Wanted stretches of prices in PostgreSQL.
public struct PostgresBackfillStore: BackfillStore {
    private let pool: PostgresPool

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    public func claimBackfills(of series: [PriceSeries]) async throws(StoreError) -> [Backfill] {
        guard !series.isEmpty else { return [] }
        return try await writing {
            let parameters: [Parameter] = [
                .texts(series.map(\.market.description)), .texts(series.map(\.source.rawValue)),
            ]
            return try await pool.query(BackfillSQL.claim, parameters).map { row in
                Backfill(
                    id: try row.int64(0),
                    series: PriceSeries(market: try row.market(1), source: try row.word(2)),
                    from: try row.int64(3),
                    to: try row.int64(4),
                )
            }
        }
    }

    public func finish(_ backfill: Backfill, late: [ExtremeBucket.Point]) async throws(StoreError) {
        let id = Parameter.int8(backfill.id)
        let series = backfill.series
        try await writing {
            let closing: (Statement, [Parameter]) = (BackfillSQL.closeGaps, [id])
            let end: (Statement, [Parameter]) = (BackfillSQL.finish, [id, .int8(Int64(late.count))])
            guard let first = late.first?.position else {
                _ = try await pool.transaction([closing, end])
                return
            }
            let place: [Parameter] = [
                .text(series.market.description), .text(series.source.rawValue), .int8(first.venueTime),
                .int8(first.sequence - 1),
            ]
            _ = try await pool.transaction([
                PostgresClusterStore.appending(late, to: series), closing, (BackfillSQL.lockWorkers, []),
                PostgresClusterStore.releasingAll, (BackfillSQL.giveBack, []), (BackfillSQL.lowerHandovers, place),
                (BackfillSQL.raiseRevision, []), end,
            ])
        }
    }

    public func fail(_ backfill: Backfill, error: String, isFinal: Bool) async throws(StoreError) {
        try await writing {
            _ = try await pool.query(
                BackfillSQL.fail,
                [.int8(backfill.id), .text(String(error.prefix(500))), .bool(isFinal)],
            )
        }
    }

    public func priceRevision() async throws(StoreError) -> Int64 {
        try await reading { try await pool.query(BackfillSQL.revision)[0].int64(0) }
    }
}
