// Prices that a venue's history shows only later (RELIABILITY.md 4.4, 4.6.2): what they cross is crossed, once.
import OrderEngine
import OrderStorage
import OwnerThread
import PostgresClient
import Simulation
import SmartOrders
import TestKit
import Testing

extension BullQueueTests {
    @Suite struct LateBackfillTests {
        /// A feed that is told its ticks, and whose history answers when it is told to.
        private final class Source: TickSource {
            private let ticks = AsyncStream.makeStream(of: SourcedTick.self)
            let known = Locked<[RawTick]?>(nil)
            let asked = Locked(0)

            func tell(_ tick: SourcedTick) { ticks.continuation.yield(tick) }

            func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
                for await tick in ticks.stream { try await emit([tick]) }
            }

            func history(of series: PriceSeries, from: Int64, to: Int64) async throws -> [RawTick]? {
                asked.withLock { $0 += 1 }
                guard let known = known.withLock({ $0 }) else { throw VenueError("not now") }
                return known.filter { $0.position.venueTime >= from && $0.position.venueTime <= to }
            }
        }

        /// A cluster with a feed of its own; the ids of its ticks are the hundreds below.
        private struct Rig {
            let cluster: LiveCluster
            let source = Source()
            let begun = RealClock().now().microseconds

            /// The tick `number` of the venue, a millisecond after the one before.
            func tick(_ number: Int64, _ cents: Int64) -> RawTick {
                let position = TickPosition(venueTime: begun + number * 1_000, sequence: number)
                return RawTick(position: position, price: cents * 1_000_000, receivedAt: 0)
            }

            func tell(_ number: Int64, _ cents: Int64) async throws {
                let tick = tick(number, cents)
                cluster.venue.exchange.setPrice(Price(ExactDecimal(mantissa: Int128(cents), scale: 2)))
                source.tell(SourcedTick(series: cluster.series, tick: tick, quantity: nil))
                _ = try await eventually("tick \(number) is stored") {
                    let newest = try await cluster.store.newestExtreme(
                        market: cluster.series.market,
                        source: cluster.series.source,
                    )
                    return newest == tick.position ? true : nil
                }
            }

            func ask(_ from: Int64, _ to: Int64) async throws {
                try await PostgresClusterControl(pool: cluster.pool).askBackfill(
                    of: cluster.series,
                    from: Timestamp(microseconds: begun + from * 1_000),
                    to: Timestamp(microseconds: begun + to * 1_000),
                    OperatorNote(actor: "ada", reason: "stale"),
                )
            }

            func number(_ sql: String) async throws -> Int64 {
                try await cluster.pool.query(Statement(sql: sql))[0].int64(0)
            }

            func isFilled(late count: Int64) async throws {
                _ = try await eventually("the stretch is known") {
                    let open = "SELECT count(*) FROM backfills WHERE done_at IS NULL"
                    return try await number(open) == 0 ? true : nil
                }
                #expect(try await number("SELECT coalesce(max(ticks), -1) FROM backfills") == count)
            }
        }

        private func with(_ body: (Rig) async throws -> Void) async throws {
            try await LiveCluster.with { cluster in
                let rig = Rig(cluster: cluster)
                let duty = FeedDuty(context: try cluster.context("feed"), source: rig.source)
                let feed = Task { try await duty.run() }
                defer { feed.cancel() }
                try await body(rig)
            }
        }

        /// Who watches when the history answers.
        enum Watch: String, Sendable, CaseIterable { case goesOn, isTakenOver, isAwayMeanwhile }

        @Test(arguments: Watch.allCases)
        func `a stop that only late prices cross fires once, at the first of them`(_ watch: Watch) async throws {
            try await with { rig in
                let cluster = rig.cluster
                let scheduler = try cluster.startScheduler()
                var worker = try cluster.startWorker("w1")
                try await rig.tell(100, 10_000)
                // A stop that never moves, one that follows the highest price, and one that the late prices spare.
                let fixed = try await cluster.create(stops: [9_500])
                let spared = try await cluster.create(stops: [9_100])
                try await cluster.settle(2)
                try await rig.tell(200, 9_900)
                try await rig.tell(300, 10_100)
                try await cluster.settle(2)
                let born = try await cluster.create(stops: [9_600])
                try await cluster.settle(3)
                try await rig.tell(400, 10_050)
                // The cursors are saved behind the hole.
                _ = try await eventually("the cursor is behind the hole") {
                    let behind = "SELECT count(*) FROM cursors WHERE seq >= 400"
                    return try await rig.number(behind) > 0 ? true : nil
                }
                let gap = FeedGap(
                    series: cluster.series,
                    from: rig.tick(200, 1).position.venueTime,
                    to: rig.tick(300, 1).position.venueTime,
                    reason: "the venue's history did not answer",
                    isBackfilled: false,
                    isWanted: true,
                )
                try await PostgresTimelineStore(pool: cluster.pool).add(gap)
                _ = try await eventually("the history is asked, and does not answer") {
                    try await rig.number("SELECT count(*) FROM backfills WHERE error IS NOT NULL") > 0 ? true : nil
                }
                if watch == .isAwayMeanwhile { await worker.stop() }
                let others: LiveCluster.Process? = watch == .isTakenOver ? try cluster.startWorker("w2") : nil
                rig.source.known.withLock {
                    $0 = [
                        rig.tick(200, 9_900), rig.tick(210, 9_700), rig.tick(220, 9_300), rig.tick(230, 9_200),
                        rig.tick(300, 10_100),
                    ]
                }
                // The hole itself goes down and comes back: the stored ends do not show that.
                try await rig.ask(200, 300)
                try await rig.isFilled(late: 3)
                #expect(try await rig.number("SELECT count(*) FROM feed_gaps WHERE NOT is_backfilled") == 0)
                if watch == .isTakenOver { await worker.stop() }
                if watch == .isAwayMeanwhile { worker = try cluster.startWorker("w3") }
                try await cluster.ended(fixed)
                try await cluster.expectOneExitEach(fixed)
                // At the first tick that crossed it, long after it happened.
                let at = """
                    SELECT count(*) FROM events WHERE order_id = '\(fixed[0])' AND tick_seq = 220
                    """
                #expect(try await rig.number(at) > 0)
                try await rig.tell(500, 9_300)
                try await cluster.ended(fixed + born)
                try await cluster.expectOneExitEach(fixed + born)
                #expect(try await cluster.orders.smart(spared).allSatisfy { !$0.status.isTerminal })
                await worker.stop()
                await others?.stop()
                await scheduler.stop()
            }
        }

        @Test func `what only repeats the way of the stored prices moves nobody`() async throws {
            try await with { rig in
                try await rig.cluster.run(["w1"]) {
                    try await rig.tell(100, 10_000)
                    let ids = try await rig.cluster.create(stops: [9_500])
                    try await rig.cluster.settle(1)
                    try await rig.tell(200, 9_900)
                    try await rig.tell(300, 10_100)
                    let epochs = "SELECT sum(epoch)::bigint FROM shards"
                    let before = try await rig.number(epochs)
                    rig.source.known.withLock {
                        $0 = [
                            rig.tick(100, 10_000), rig.tick(150, 9_950), rig.tick(200, 9_900), rig.tick(250, 10_000),
                            rig.tick(300, 10_100), rig.tick(301, 9_000),
                        ]
                    }
                    // What is newer than all that is stored comes by itself.
                    try await rig.ask(100, 301)
                    try await rig.isFilled(late: 0)
                    #expect(try await rig.number(epochs) == before)
                    #expect(try await rig.number("SELECT price_revision FROM control") == 0)
                    #expect(try await rig.cluster.orders.smart(ids).allSatisfy { !$0.status.isTerminal })
                }
            }
        }

        @Test func `a history that does not exist is not asked for again`() async throws {
            try await LiveCluster.with { cluster in
                let walk = ScriptedTicks(series: cluster.series)
                let duty = FeedDuty(context: try cluster.context("feed"), source: walk)
                let feed = Task { try await duty.run() }
                defer { feed.cancel() }
                let now = RealClock().now()
                try await PostgresClusterControl(pool: cluster.pool).askBackfill(
                    of: cluster.series,
                    from: now,
                    to: now,
                    OperatorNote(actor: "ada", reason: "stale"),
                )
                let sql = "SELECT count(*) FROM backfills WHERE done_at IS NOT NULL AND ticks IS NULL AND error <> ''"
                _ = try await eventually("it is given up") {
                    try await cluster.pool.query(Statement(sql: sql))[0].int64(0) == 1 ? true : nil
                }
            }
        }

        /// One tick, and no history.
        private struct ScriptedTicks: TickSource {
            let series: PriceSeries
            func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
                let position = TickPosition(venueTime: RealClock().now().microseconds, sequence: 1)
                let tick = RawTick(position: position, price: 10_000_000_000, receivedAt: 0)
                try await emit([SourcedTick(series: series, tick: tick, quantity: nil)])
                try await Task.sleep(for: .seconds(60))
            }
        }
    }
}
