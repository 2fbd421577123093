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

    /// A process that slept through a version knows nothing of what this one waits for; one that watched it found the stop
    /// while the target waited in the queue.
    @Test(arguments: [0, 1] as [Int64])
    func `waits for what was reached before it`(versionsBehind: Int64) async throws {
        let (order, tick) = try await decide(versionsBehind: versionsBehind)
        #expect(order.latch == nil && tick.price == Price(ExactDecimal(111)))
        #expect(order.levels.first?.state == .triggered)
    }

    @Test func `is decided on though the memory has forgotten its tick`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let id = try await cluster.create(.held(stop: 90)).id
        try await cluster.tick(105, 89, 88)
        let row = try #require(try await cluster.orders.load([id]).first)
        let stop = try #require(row.watches.first)
        let stream = try await MemoryTickLog(cluster.ticks).read([cluster.series: row.position], limit: 100, waitMs: 0)
        let ticks = try #require(stream[cluster.series]?.ticks)
        let crossed = try #require(ticks.first { $0.price == 8_900_000_000 }).position
        let history = PriceHistory(
            ticks: MemoryTickLog(cluster.ticks),
            cluster: MemoryClusterStore(cluster.database),
        )
        history.append(ticks, to: cluster.series, after: row.position)
        let last = try #require(ticks.last).position
        history.append(
            (1...210_000 as ClosedRange<Int64>).map { number in
                let position = TickPosition(venueTime: last.venueTime, sequence: last.sequence + number)
                return RawTick(position: position, price: 10_000_000_000, receivedAt: 0)
            },
            to: cluster.series,
            after: last,
        )
        #expect(history.context(cluster.series, after: row.position, at: crossed) == nil, "forgotten")
        let job = Job.trigger(ArmedOrder(row), stop, at: crossed)
        guard case .decided(let transition, let tick) = try await TriggerDecision.make(job, on: row, history: history)
        else { throw StoreError(.corruptRow, "not decided") }
        #expect(transition.order.smart?.latch != nil && tick.position == crossed)
    }
}
