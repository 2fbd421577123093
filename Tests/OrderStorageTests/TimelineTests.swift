import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

@Suite(.serialized) struct `What explain reads` {
    private func check(_ fact: (StoresUnderTest, any TimelineStore) async throws -> Void) async throws {
        try await withStores { stores, pool in try await fact(stores, PostgresTimelineStore(pool: pool)) }
    }

    @Test func `a version is what was committed`() async throws {
        try await check(TimelineStoreContract.versionsAreWhatWasCommitted)
    }
    @Test func `so is one of a conditional order`() async throws {
        try await check(TimelineStoreContract.versionsOfConditionalOrders)
    }
    @Test func `a note is counted`() async throws { try await check(TimelineStoreContract.notesAreCounted) }
    @Test func `gaps touch the stretch`() async throws { try await check(TimelineStoreContract.gapsTouchTheStretch) }
    @Test func `orders stand across a gap`() async throws {
        try await check(TimelineStoreContract.ordersStandAcrossAGap)
    }

    @Test func `a halt concerns its orders`() async throws {
        try await withStores { stores, pool in
            let order = try await stores.order(1, try await stores.account())
            let market = order.instrument.market
            try await pool.simple(
                """
                INSERT INTO halts (scope, subject, level, reason, actor) VALUES
                    ('cluster', '', 'entries', 'a', 'x'), ('venue', '\(market.venue)', 'sends', 'b', 'x'),
                    ('market', 'other:linear:X', 'sends', 'c', 'x'), ('order', '\(order.id)', 'sends', 'd', 'x')
                """
            )
            let halts = try await PostgresTimelineStore(pool: pool)
                .halts(order.id, account: order.account, market: market)
            #expect(Set(halts.map(\.reason)) == ["a", "b", "d"])
            #expect(halts.filter(\.stopsExits).count == 2)
        }
    }
}

@Suite(.serialized) struct `Prices that nobody needs any more` {
    @Test func `stay as long as an order of their market might ask for them`() async throws {
        try await withStores { stores, pool in
            let order = try await stores.order(1, try await stores.account())
            let market = order.instrument.market
            func insert(_ market: String, _ source: String, age: String) async throws {
                try await pool.simple(
                    """
                    INSERT INTO price_extremes (market, source, from_time, from_seq, to_time, to_seq, points)
                    SELECT '\(market)', '\(source)', t, n, t, n, ARRAY[t, n, 100] FROM (
                        SELECT n, (extract(epoch FROM clock_timestamp() - interval '\(age)') * 1000000)::bigint AS t
                        FROM generate_series(1, 5) AS n
                    ) AS p
                    """
                )
            }
            func left() async throws -> [String] {
                try await pool.query(
                    Statement(sql: "SELECT market || ' ' || source FROM price_extremes GROUP BY 1 ORDER BY 1")
                ).map { try $0.string(0) }
            }
            try await pool.simple(
                "UPDATE orders SET created_at = clock_timestamp() - interval '39 days', version = version + 1"
            )
            try await insert("\(market)", "last", age: "39 days 30 minutes")
            try await insert("\(market)", "mark", age: "40 days")
            try await insert("other:linear:X", "last", age: "39 days")
            try await insert("other:linear:Y", "last", age: "29 days")
            // A page at a time.
            let store = try #require(stores.orders as? PostgresOrderStore)
            #expect(try await store.pruneExtremes(limit: 6) == 6)
            #expect(try await store.pruneExtremes(limit: 6) == 4)
            #expect(try await store.pruneExtremes(limit: 6) == 0)
            #expect(try await left() == ["other:linear:Y last", "\(market) last"])
            // The order ends.
            try await pool.simple(
                "UPDATE orders SET is_live = false, phase = NULL, status = 'CANCELLED', version = version + 1"
            )
            #expect(try await store.pruneExtremes() == 5)
            #expect(try await left() == ["other:linear:Y last"])
        }
    }
}
