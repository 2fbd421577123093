import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

@Suite struct `A crossing that somebody found` {
    /// Up to 111 and down to 89: a take-profit at 110 was reached before the stop at 90.
    private func decide(versionsBehind: Int64) async throws -> (order: SmartOrder, tick: Tick) {
        let cluster = Cluster()
        try await cluster.setUp()
        let id = try await cluster.create(.held([(110, 100)], stop: 90)).id
        try await cluster.tick(105, 111, 100, 89, 80)
        let row = try #require(try await cluster.orders.load([id]).first)
        let stop = try #require(row.watches.first { $0.leg == .stop })
        let stream = try await MemoryTickLog(cluster.ticks).read([cluster.series: row.position], limit: 100, waitMs: 0)
        let ticks = try #require(stream[cluster.series]?.ticks)
        let job = Job(
            id: JobID(order: id, leg: .stop, attempt: stop.attempt),
            name: .trigger,
            jobClass: .stops,
            version: row.version - versionsBehind,
            market: cluster.instrument.market,
            source: .mark,
            position: try #require(ticks.first { $0.price == 8_900_000_000 }).position,
        )
        let history = PriceHistory(
            ticks: MemoryTickLog(cluster.ticks),
            cluster: MemoryClusterStore(cluster.database),
        )
        guard case .decided(let transition, let tick) = try await TriggerDecision.make(job, on: row, history: history)
        else { throw StoreError(.corruptRow, "not decided") }
        return (try #require(transition.order.smart), tick)
    }

    @Test func `on the same version is decided on at once`() async throws {
        let (order, tick) = try await decide(versionsBehind: 0)
        #expect(order.latch != nil && tick.price == Price(ExactDecimal(89)))
    }

    /// A process that slept through a version knows nothing of what this one waits for.
    @Test func `on an older version waits for what was reached before it`() async throws {
        let (order, tick) = try await decide(versionsBehind: 1)
        #expect(order.latch == nil && tick.price == Price(ExactDecimal(111)))
        #expect(order.levels.first?.state == .triggered)
    }
}
