import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// What a feed makes of a stretch that it is to ask for once more (RELIABILITY.md 4.4). The whole way: LateBackfillTests.
@Suite struct `A stretch of prices that is asked for once more` {
    private final class Wanted: BackfillStore {
        let open: Backfill
        let ends = Locked<[[Int64]]>([])
        let failures = Locked<[String]>([])

        init(_ open: Backfill) { self.open = open }

        func claimBackfills(of series: [PriceSeries]) async throws(StoreError) -> [Backfill] {
            series.contains(open.series) ? [open] : []
        }
        func finish(_ backfill: Backfill, late: [ExtremeBucket.Point]) async throws(StoreError) {
            ends.withLock { $0.append(late.map(\.position.sequence)) }
        }
        func fail(_ backfill: Backfill, error: String, isFinal: Bool) async throws(StoreError) {
            failures.withLock { $0.append(error) }
        }
        func priceRevision() async throws(StoreError) -> Int64 { 0 }
    }

    /// Tells some ticks, and then what else its venue knows of their time.
    private struct Source: TickSource {
        let told: [RawTick]
        let known: [RawTick]
        let series: PriceSeries
        let end = AsyncStream.makeStream(of: Void.self)

        func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
            try await emit(told.map { SourcedTick(series: series, tick: $0, quantity: nil) })
            for await _ in end.stream { return }
        }
        func history(of series: PriceSeries, from: Int64, to: Int64) async throws -> [RawTick]? { known }
    }

    @Test func `nothing is called known while what lies behind it is not stored`() async throws {
        let cluster = Cluster(speed: 1)
        try await cluster.setUp()
        let begun = cluster.clock.now().microseconds
        func tick(_ number: Int64, _ price: Int64) -> RawTick {
            let position = TickPosition(venueTime: begun + number * 1_000, sequence: number)
            return RawTick(position: position, price: price, receivedAt: 0)
        }
        let wanted = Wanted(Backfill(id: 1, series: cluster.series, from: begun, to: begun + 9_000))
        let known = [tick(1, 100), tick(2, 50), tick(3, 90), tick(4, 40)]
        let source = Source(told: [tick(1, 100), tick(3, 90)], known: known, series: cluster.series)
        let duty = FeedDuty(context: cluster.context("feed", backfills: wanted), source: source)
        let feed = Task { try await duty.run() }
        while duty.ring.withLock({ $0.isEmpty }) { await Task.yield() }
        // It stores every 400 ms.
        await duty.fillWanted()
        #expect(wanted.ends.withLock { $0 } == [])
        #expect(wanted.failures.withLock { $0 } == ["what was told of its end is not stored yet"])
        let series = cluster.series
        let store = MemoryClusterStore(cluster.database)
        while try await store.newestExtreme(market: series.market, source: series.source) != tick(3, 90).position {
            try await Task.sleep(for: .milliseconds(5))
        }
        await duty.fillWanted()
        // Not the fourth, which comes by itself.
        #expect(wanted.ends.withLock { $0 }.first == [2])
        source.end.continuation.finish()
        try await feed.value
    }
}
