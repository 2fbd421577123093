// Prices and notices on a real Redis.

import LocalServers
import MarketData
import OrderEngine
import RedisClient
import SmartOrders
import TestKit
import Testing

private let market = MarketID(venue: "paper", product: "linear", symbol: "BTCUSDT")
private let series = PriceSeries(market: market, source: .mark)
private let other = PriceSeries(market: market, source: .last)

private func at(_ time: Int64, _ sequence: Int64 = 0) -> TickPosition {
    TickPosition(venueTime: time, sequence: sequence)
}

private func tick(_ time: Int64, _ price: Int64, sequence: Int64 = 0, receivedAt: Int64 = 0) -> RawTick {
    RawTick(position: at(time, sequence), price: price, receivedAt: receivedAt)
}

private func order(_ number: UInt64) -> OrderID { OrderID(UniqueID(high: 7, low: number)) }

/// A log on a server of its own, and a second one as another process has it.
private func withLogs(_ body: (RedisTickLog, RedisTickLog, RedisConnection) async throws -> Void) async throws {
    try await RedisServer.withServer { server in
        let options = try RedisServer.options(server)
        let (first, second, raw) = (RedisTickLog(options), RedisTickLog(options), RedisConnection(options))
        defer {
            first.close()
            second.close()
            raw.close()
        }
        try await body(first, second, raw)
    }
}

extension RedisTickLog {
    fileprivate func all(_ after: TickPosition = .start, limit: Int = 1_000) async throws -> TickBatch {
        try await read([series: after], limit: limit, waitMs: 0)[series] ?? TickBatch(ticks: [], oldest: nil)
    }
}

@Suite(.timeLimit(.minutes(1))) struct RedisTickLogTests {
    @Test func `a repeated or late append changes nothing`() async throws {
        try await withLogs { log, twin, _ in
            let ticks = [tick(5, 100), tick(5, 101, sequence: 1), tick(6, 99, receivedAt: 77)]
            try await log.append(ticks, to: series)
            try await twin.append(ticks, to: series)
            // Late in the middle of a batch: the rest goes in.
            try await log.append([tick(4, 1), tick(6, 2), tick(7, 98)], to: series)
            #expect(try await twin.all().ticks == ticks + [tick(7, 98)])
            #expect(try await twin.latest(series) == tick(7, 98))
            #expect(try await log.latest(other) == nil)
        }
    }

    @Test func `what is dropped does not come back, and the stream says where it begins`() async throws {
        try await withLogs { log, twin, _ in
            try await log.append((1...9).map { tick($0, 100 + $0, sequence: $0) }, to: series)
            try await log.append([tick(1, 5)], to: other)
            try await twin.drop(through: at(4, 4), of: series)
            let batch = try await log.all()
            #expect(batch.ticks.map(\.position.sequence) == Array(5...9))
            #expect(batch.oldest == at(5, 5))
            try await log.append([tick(4, 104, sequence: 4)], to: series)
            #expect(try await log.all().oldest == at(5, 5))
            try await twin.drop(through: at(9, 9), of: series)
            #expect(try await log.all() == TickBatch(ticks: [], oldest: nil))
            try await log.append([tick(9, 1, sequence: 9), tick(10, 110)], to: series)
            #expect(try await log.all().ticks.map(\.price) == [110])
            #expect(try await log.latest(other) == tick(1, 5))
        }
    }

    @Test func `a reader goes on from any position, in pages`() async throws {
        try await withLogs { log, _, _ in
            let ticks = (1...2_500).map { tick(Int64($0 / 3) + 1, Int64($0), sequence: Int64($0)) }
            try await log.append(ticks, to: series)
            try await log.append([tick(9, 5)], to: other)
            for start in [0, 1, 2, 1_700, 2_499] {
                let batch = try await log.all(ticks[start].position, limit: 3_000)
                #expect(batch.ticks == Array(ticks[(start + 1)...]), "after \(start)")
                #expect(batch.oldest == ticks[0].position)
            }
            #expect(try await log.all(limit: 10).ticks == Array(ticks[..<10]))
            #expect(try await log.all(at(.max, .max)).ticks.isEmpty)
            let both = try await log.read([series: ticks[2_498].position, other: .start], limit: 10, waitMs: 1_000)
            #expect(both[series]?.ticks == [ticks[2_499]] && both[other]?.ticks == [tick(9, 5)])
            // Before the first tick of a moment.
            #expect(try await log.read([other: at(9, -1)], limit: 1, waitMs: 0)[other]?.ticks.count == 1)
        }
    }

    @Test func `a waiting reader hears the next tick, and nothing when there is none`() async throws {
        try await withLogs { log, twin, _ in
            try await log.append([tick(1, 10)], to: series)
            async let heard = twin.read([series: at(1), other: .start], limit: 10, waitMs: 20_000)
            try await log.append([tick(2, 11)], to: series)
            let batches = try await heard
            #expect(batches[series]?.ticks == [tick(2, 11)] && batches[other] == nil)
            #expect(try await twin.read([series: at(2)], limit: 10, waitMs: 20).isEmpty)
            #expect(try await twin.read([:], limit: 10, waitMs: 20).isEmpty)
        }
    }

    @Test func `the oldest entry tells what was trimmed or lost`() async throws {
        try await withLogs { log, _, raw in
            try await log.append((1...10).map { tick($0, $0) }, to: series)
            _ = try await raw.send(RedisCommand("XTRIM", "so:{so-ticks}:ticks:\(series)", "MAXLEN", "3")).orThrow()
            let trimmed = try await log.all(at(2))
            #expect(trimmed.oldest == at(8) && trimmed.ticks.map(\.price) == [8, 9, 10])
            _ = try await raw.send(RedisCommand("FLUSHALL")).orThrow()
            let lost = try await log.all(at(2))
            #expect(lost == TickBatch(ticks: [], oldest: nil))
            #expect(try await log.latest(series) == nil)
            // Older positions are taken again: the feed refills from its memory.
            try await log.append([tick(9, 9), tick(11, 11)], to: series)
            let refilled = try await log.read([series: at(2)], limit: 10, waitMs: 1_000)
            #expect(refilled[series] == TickBatch(ticks: [tick(9, 9), tick(11, 11)], oldest: at(9)))
        }
    }

    @Test func `a series keeps about a hundred thousand ticks`() async throws {
        try await withLogs { log, _, raw in
            try await log.append((1...101_000).map { tick($0, $0) }, to: series)
            let count = try await raw.send(RedisCommand("XLEN", "so:{so-ticks}:ticks:\(series)")).integer ?? 0
            #expect((100_000...100_500).contains(count))
            #expect(try await log.latest(series) == tick(101_000, 101_000))
        }
    }

    @Test func `foreign entries are skipped`() async throws {
        try await withLogs { log, _, raw in
            _ = try await raw.send(RedisCommand("XADD", "so:{so-ticks}:ticks:\(series)", "1-0", "p", "-5")).orThrow()
            _ = try await raw.send(RedisCommand("XADD", "so:{so-ticks}:ticks:\(series)", "1-1", "p", "abc")).orThrow()
            try await log.append([tick(2, 7)], to: series)
            #expect(try await log.all().ticks == [tick(2, 7)])
        }
    }

    @Test func `notices reach two readers, each once`() async throws {
        try await withLogs { log, twin, raw in
            try await log.notifyChanged([order(1)])
            // Whoever starts hears what comes from now on.
            #expect(try await log.changedOrders(waitMs: 0) == [])
            #expect(try await twin.changedOrders(waitMs: 0) == [])
            async let heard = twin.changedOrders(waitMs: 20_000)
            try await log.notifyChanged([order(2), order(3), order(2)])
            // A batch may be heard in parts.
            var first = try await heard
            while first.count < 2 { first += try await twin.changedOrders(waitMs: 1_000) }
            #expect(Set(first) == [order(2), order(3)])
            #expect(try await log.changedOrders(waitMs: 1_000) == [order(2), order(3)])
            #expect(try await log.changedOrders(waitMs: 20) == [])
            _ = try await raw.send(RedisCommand("FLUSHALL")).orThrow()
            try await log.notifyChanged([order(4)])
            #expect(try await log.changedOrders(waitMs: 1_000) == [order(4)])
            try await log.notifyChanged([])
        }
    }

    @Test func `progress is what each live worker said last`() async throws {
        try await withLogs { log, twin, _ in
            #expect(try await log.progress(series) == [])
            let busy = EvaluationProgress(series: series, position: at(5, 2), open: 3, orders: 9, shards: 700)
            try await log.reportProgress([busy], shards: 700, worker: WorkerID("w1"))
            let end = TickPosition(venueTime: .max, sequence: .max)
            let idle = EvaluationProgress(series: series, position: end, open: 0, orders: 0, shards: 324)
            let elsewhere = EvaluationProgress(series: other, position: at(1), open: 1, orders: 1, shards: 324)
            try await twin.reportProgress([elsewhere], shards: 324, worker: WorkerID("w2"))
            let both = try await log.progress(series).sorted { $0.shards > $1.shards }
            #expect(both == [busy, idle])
            #expect(try await log.progress(other).first { $0.shards == 324 } == elsewhere)
            // A series that is not named any more is at its end at once.
            try await log.reportProgress([], shards: 700, worker: WorkerID("w1"))
            #expect(try await twin.progress(series).allSatisfy { $0.position == end })
            #expect(try await twin.progress(series).reduce(0) { $0 + $1.shards } == OrderID.shardCount)
        }
    }

    @Test func `a worker that is silent for three seconds is forgotten`() async throws {
        try await withLogs { log, _, raw in
            try await log.reportProgress([], shards: 4, worker: WorkerID("w1"))
            let left = try await raw.send(RedisCommand("PTTL", "so:{so-ticks}:progress:w1")).integer ?? 0
            #expect((1...3_000).contains(left))
            _ = try await raw.send(RedisCommand("DEL", "so:{so-ticks}:progress:w1")).orThrow()
            #expect(try await log.progress(series) == [])
        }
    }

    @Test func `a Redis that is away is an error, and its return is noticed`() async throws {
        try await RedisServer.withServer { server in
            var options = try RedisServer.options(server)
            options.requestTimeout = .milliseconds(500)
            let log = RedisTickLog(options)
            defer { log.close() }
            try await log.append([tick(1, 1)], to: series)
            try await server.kill()
            await #expect(throws: TickLogError.self) { try await log.append([tick(2, 2)], to: series) }
            try await server.start()
            while true {
                do throws(TickLogError) {
                    try await log.append([tick(3, 3)], to: series)
                    break
                } catch {
                    try await Task.sleep(for: .milliseconds(10))
                }
            }
            #expect(try await log.all().ticks == [tick(3, 3)])
        }
    }
}
