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
