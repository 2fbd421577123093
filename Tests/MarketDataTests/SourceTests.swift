// Where prices come from: recorded files, a seed, a script; and the clock that follows them.

import LocalServers
import MarketData
import OrderEngine
import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing
import TickFiles

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

private let market = MarketID(venue: "paper", product: "linear", symbol: "BTCUSDT")
private let series = PriceSeries(market: market, source: .last)
private let second = PriceSeries(market: market, source: .mark)

private let rows = """
    1000000,rec,A,100.5,0.5,buy
    1000000,rec,B,7,1,sell
    1200000,rec,C,1,1,sell
    1400000,rec,A,101,2,sell
    2000000,rec,A,99.25,1,buy

    """

/// Runs `body` with a file of `rows`, which is gone afterwards.
private func withFile(_ rows: String, _ body: (ReplaySource.File) async throws -> Void) async throws {
    let folder = try LocalFiles.temporaryFolder("so-ticks")
    defer { LocalFiles.removeTree(folder) }
    let path = "\(folder)/ticks.csv"
    let text = Array((TickFile.header + "\n" + rows).utf8)
    let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
    try #require(descriptor >= 0 && write(descriptor, text, text.count) == text.count)
    close(descriptor)
    try await body(
        ReplaySource.File(path: path, series: ["rec:A": series, "rec:B": second], decimals: [series: 2, second: 2])
    )
}

/// What a source did, in order.
private final class Journal: Sendable {
    private let lines = Locked<[String]>([])
    func note(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
}

/// Sleeps are over at once and move the time.
private final class JumpingClock: EngineClock {
    private let milliseconds = Locked<Int64>(1_750_000_000_000)
    func now() -> Timestamp { Timestamp(milliseconds: milliseconds.withLock { $0 }) }
    func monotonicNanoseconds() -> Int64 { milliseconds.withLock { $0 } * 1_000_000 }
    func sleep(milliseconds: Int64) async throws {
        try Task.checkCancellation()
        self.milliseconds.withLock { $0 += milliseconds }
    }
}

private func text(_ batch: [SourcedTick]) -> String {
    batch.map { "\($0.series.source.rawValue) \($0.tick.price)" }.joined(separator: ", ")
}

@Suite(.timeLimit(.minutes(1))) struct ReplaySourceTests {
    private let clock = JumpingClock()
    private var log: MemoryTickLog { MemoryTickLog(MemoryTickServer(clock: clock)) }

    @Test func `unlimited replays whole files in batches, exact and in order`() async throws {
        try await withFile(rows) { file in
            let journal = Journal()
            let source = ReplaySource(files: [file], pace: .unlimited, clock: clock, ticks: log)
            let first = Locked<SourcedTick?>(nil)
            try await source.run { batch in
                journal.note(text(batch))
                first.withLock { $0 = batch.first }
            }
            // Series that nobody named are left out.
            #expect(journal.all == ["last 10050, mark 700, last 10100, last 9925"])
            let tick = first.withLock { $0 }
            #expect(tick?.tick.position == TickPosition(venueTime: 1_000_000, sequence: 0))
            #expect(tick?.quantity == Quantity("0.5"))
        }
    }

    @Test(arguments: [ReplayPace.unlimited, .times(1_000)])
    func `each series is told after its first tick and before its second, once`(_ pace: ReplayPace) async throws {
        try await withFile(rows) { file in
            let journal = Journal()
            let source = ReplaySource(files: [file, file], pace: pace, clock: clock, ticks: log) { begun in
                journal.note("begun \(begun.source.rawValue)")
            }
            try await source.run { batch in journal.note(text(batch)) }
            #expect(journal.all.prefix(4) == ["last 10050", "begun last", "mark 700", "begun mark"])
            #expect(journal.all.dropFirst(4).joined(separator: ", ").contains("begun") == false)
            #expect(journal.all.joined(separator: ", ").split(separator: ",").count == 10)
        }
    }

    @Test(arguments: [1, 2, 10])
    func `recorded time passes at its pace`(factor: Int) async throws {
        try await withFile(rows) { file in
            let journal = Journal()
            let start = clock.now().milliseconds
            let clock = clock
            let source = ReplaySource(files: [file], pace: .times(factor), clock: clock, ticks: log)
            try await source.run { batch in
                #expect(batch[0].tick.receivedAt == clock.now().microseconds)
                journal.note("\(clock.now().milliseconds - start)")
            }
            #expect(journal.all == [0, 0, 400, 1_000].map { "\($0 / factor)" })
        }
    }

    @Test func `stepped waits for every shard and for open work`() async throws {
        try await withFile(rows) { file in
            let journal = Journal()
            let real = RealClock()
            let server = MemoryTickServer(clock: real)
            let reader = MemoryTickLog(server)
            let log = MemoryTickLog(server)
            let source = ReplaySource(files: [file], pace: .stepped, clock: real, ticks: log)
            let half = OrderID.shardCount / 2
            @Sendable func report(_ worker: String, _ tick: SourcedTick, open: Int) async throws {
                journal.note("\(worker) \(tick.tick.price) open \(open)")
                let progress = EvaluationProgress(
                    series: tick.series,
                    position: tick.tick.position,
                    open: open,
                    orders: 1,
                    shards: half,
                )
                try await reader.reportProgress([progress], shards: half, worker: WorkerID(worker))
            }
            try await withThrowingTaskGroup { group in
                let (ticks, continuation) = AsyncStream<SourcedTick>.makeStream()
                group.addTask {
                    for await tick in ticks {
                        try await report("w1", tick, open: 0)
                        try await report("w2", tick, open: 1)
                        try await real.sleep(milliseconds: 20)
                        try await report("w2", tick, open: 0)
                    }
                }
                group.addTask {
                    try await source.run { batch in
                        #expect(batch.count == 1 && batch[0].tick.receivedAt == 0)
                        journal.note("tick \(batch[0].tick.price)")
                        continuation.yield(batch[0])
                    }
                    continuation.finish()
                }
                try await group.waitForAll()
            }
            let expected = [10_050, 700, 10_100, 9_925].flatMap { price in
                ["tick \(price)", "w1 \(price) open 0", "w2 \(price) open 1", "w2 \(price) open 0"]
            }
            #expect(journal.all == expected)
        }
    }

    @Test func `a price finer than its market ends the replay with its line`() async throws {
        try await withFile(rows + "2000001,rec,A,99.125,1,buy\n") { file in
            let source = ReplaySource(files: [file], pace: .times(1_000), clock: clock, ticks: log)
            let error = await #expect(throws: TickFileError.self) { try await source.run { _ in } }
            #expect(error?.line == 7)
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct SyntheticSourceTests {
    private struct Enough: Error {}

    private func walk(seed: UInt64, start: Int64 = 10_000, step: Int64 = 5, count: Int) async throws -> [SourcedTick] {
        let source = RandomWalkSource(
            series: series,
            start: start,
            step: step,
            periodMs: 250,
            seed: seed,
            clock: JumpingClock(),
        )
        let ticks = Locked<[SourcedTick]>([])
        await #expect(throws: Enough.self) {
            try await source.run { batch in
                let isEnough = ticks.withLock { ticks in
                    ticks += batch
                    return ticks.count >= count
                }
                if isEnough { throw Enough() }
            }
        }
        return ticks.withLock { $0 }
    }

    @Test func `the same seed walks the same way, another one another`() async throws {
        let prices = try await walk(seed: 7, count: 500).map(\.tick.price)
        #expect(try await walk(seed: 7, count: 500).map(\.tick.price) == prices)
        #expect(try await walk(seed: 8, count: 500).map(\.tick.price) != prices)
        #expect(Set(prices).count > 10)
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `a walk stays on its grid, between its bounds, and in order`(seed: UInt64) async throws {
        let ticks = try await walk(seed: seed, start: 100, step: 5, count: 3_000)
        for (before, after) in zip(ticks, ticks.dropFirst()) {
            #expect(before.tick.position < after.tick.position)
            #expect(abs(after.tick.price - before.tick.price) <= 15, "seed \(seed)")
        }
        #expect(ticks.allSatisfy { $0.tick.price % 5 == 0 && (25...400).contains($0.tick.price) }, "seed \(seed)")
        // A step above a quarter of the start: the price is never zero.
        let coarse = try await walk(seed: seed, start: 5, step: 5, count: 300)
        #expect(coarse.allSatisfy { (5...20).contains($0.tick.price) }, "seed \(seed)")
    }

    @Test func `a script's steps come at their times, with the last price repeated between them`() async throws {
        let clock = JumpingClock()
        let journal = Journal()
        let start = clock.now().milliseconds
        let source = ScriptedSource(
            series: series,
            steps: [.init(atMs: 0, price: 10), .init(atMs: 250, price: 11), .init(atMs: 260, price: 12)],
            clock: clock,
            begun: { journal.note("begun") },
        )
        let last = Locked<TickPosition?>(nil)
        try await source.run { batch in
            for one in batch {
                last.withLock { known in
                    #expect(known.map { $0 < one.tick.position } ?? true)
                    known = one.tick.position
                }
            }
            journal.note("\(clock.now().milliseconds - start): \(batch[0].tick.price)")
        }
        #expect(journal.all == ["0: 10", "begun", "100: 10", "200: 10", "250: 11", "260: 12"])
        try await ScriptedSource(series: series, steps: [], clock: clock).run { _ in journal.note("nothing") }
        #expect(journal.all.last == "260: 12")
    }
}

@Suite struct MarketClockTests {
    @Test func `the wall clock is the newest tick read, durations stay real`() async throws {
        let base = ManualClock()
        let time = MarketTime()
        let clock = MarketClock(base: base, time: time)
        let log = ObservedTickLog(base: MemoryTickLog(MemoryTickServer(clock: base)), time: time)
        #expect(clock.now() == base.now())
        func tick(_ microseconds: Int64) -> RawTick {
            RawTick(position: TickPosition(venueTime: microseconds, sequence: 0), price: 1, receivedAt: 0)
        }
        try await log.append([tick(1_000), tick(2_000)], to: series)
        #expect(clock.now() == base.now())
        _ = try await log.read([series: .start], limit: 1, waitMs: 0)
        #expect(clock.now() == Timestamp(microseconds: 1_000))
        #expect(try await log.latest(series) == tick(2_000))
        #expect(clock.now() == Timestamp(microseconds: 2_000))
        // It never goes back.
        _ = try await log.read([series: .start], limit: 1, waitMs: 0)
        #expect(clock.now() == Timestamp(microseconds: 2_000))
        let before = clock.monotonicNanoseconds()
        base.advance(milliseconds: 5)
        #expect(clock.monotonicNanoseconds() - before == 5_000_000)
        #expect(clock.now() == Timestamp(microseconds: 2_000))
    }

    @Test func `everything else passes through an observed log`() async throws {
        let base = ManualClock()
        let log = ObservedTickLog(base: MemoryTickLog(MemoryTickServer(clock: base)), time: MarketTime())
        let order = OrderID(UniqueID(high: 1, low: 2))
        try await log.notifyChanged([order])
        #expect(try await log.changedOrders(waitMs: 0) == [order])
        let progress = EvaluationProgress(series: series, position: .start, open: 0, orders: 1, shards: 2)
        try await log.reportProgress([progress], shards: 2, worker: WorkerID("w"))
        #expect(try await log.progress(series) == [progress])
    }
}
