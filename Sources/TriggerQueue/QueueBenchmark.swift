// What the queue costs on a real server (QUEUE.md 20), beside the official scripts on the same server in the same run:
// jobs per second and Redis CPU per job of whole lives of no-op jobs, memory of a waiting job, and how long a job waits when
// nothing else happens. The server is the caller's own: it is emptied.
internal import JSONText
public import OrderEngine
internal import OwnerThread
public import RedisClient
internal import SmartOrders

public struct QueueBenchmark: Sendable {
    /// Whole lives of no-op jobs, one way of working. Ours are offered, then one worker process takes and finishes them.
    public struct Round: Hashable, Sendable {
        public var jobs = 0
        /// Of the offers.
        public var offerNanoseconds: Int64 = 0
        /// Of take, run and finish.
        public var runNanoseconds: Int64 = 0
        /// Growth of the server's `used_cpu_user` and `used_cpu_sys` over both.
        public var redisCPUMicroseconds: Int64 = 0

        public var offersPerSecond: Int { Int(Int64(jobs) * 1_000_000_000 / max(1, offerNanoseconds)) }
        public var runsPerSecond: Int { Int(Int64(jobs) * 1_000_000_000 / max(1, runNanoseconds)) }
        public var redisNanosecondsPerJob: Int { Int(redisCPUMicroseconds * 1_000 / Int64(max(1, jobs))) }
    }

    /// A way of working. The official scripts take one job per call; as many calls as `batch` says lie in one pipeline.
    public struct Way: Hashable, Sendable {
        public let batch: Int
        public var partitions = 1
        public var events = QueueEvents.full
    }

    /// Rounds of ours and theirs in turn.
    public struct Comparison: Sendable {
        public let way: Way
        public var ours: [Round] = []
        /// Empty where the package cannot be had.
        public var official: [Round] = []
    }

    /// From the start of an offer to the job in the hands of another worker that waited.
    public struct Latency: Hashable, Sendable {
        public let samples: Int
        public let p50Microseconds: Int
        public let p99Microseconds: Int
        public let maximumMicroseconds: Int
    }

    public let serverVersion: String
    public let comparisons: [Comparison]
    /// Bytes of the server per job that waits; `official` is nil where the package cannot be had.
    public let memory: (ours: Int, official: Int?)
    public let idle: Latency

    private static let rounds = 3

    /// - Parameters:
    ///   - address: of a private server; everything on it is lost.
    ///   - official: nil leaves the comparison out.
    ///   - jobs: per round.
    public static func run(
        address: RedisAddress,
        clock: any EngineClock,
        official: OfficialScripts?,
        jobs: Int = 20_000,
        idleSamples: Int = 1_000,
    ) async throws -> QueueBenchmark {
        let redis = RedisConnection(RedisOptions(address: address, name: "so:bench"))
        defer { redis.close() }
        let info = try await redis.send(RedisCommand("INFO", "server")).text ?? ""
        let version = infoField("redis_version", in: info) ?? "?"
        var comparisons: [Comparison] = []
        let ways = [
            Way(batch: 1), Way(batch: 16), Way(batch: 100), Way(batch: 100, events: .ends),
            Way(batch: 100, partitions: 8),
        ]
        for way in ways {
            var comparison = Comparison(way: way)
            let count = way.batch == 1 ? max(1, jobs / 4) : jobs
            // In turn, so that both see the same moods of the machine.
            for _ in 0..<rounds {
                comparison.ours.append(try await Plan(way: way, jobs: count).run(address, redis, clock))
                if let official, way.partitions == 1, way.events == .full {
                    let rival = OfficialRound(scripts: official, redis: redis, clock: clock, pipeline: way.batch)
                    comparison.official.append(try await rival.run(jobs: count))
                }
            }
            comparisons.append(comparison)
        }
        let memory = try await measureMemory(address, redis, clock, official, jobs: jobs)
        let idle = try await measureIdle(address, redis, clock, samples: idleSamples)
        return QueueBenchmark(serverVersion: version, comparisons: comparisons, memory: memory, idle: idle)
    }

    private static func measureMemory(
        _ address: RedisAddress,
        _ redis: RedisConnection,
        _ clock: any EngineClock,
        _ official: OfficialScripts?,
        jobs: Int,
    ) async throws -> (ours: Int, official: Int?) {
        let plan = Plan(way: Way(batch: 100), jobs: jobs)
        _ = try await redis.send(RedisCommand("FLUSHALL"))
        let queue = plan.queue(address, clock)
        defer { queue.close() }
        try await queue.open()
        var before = try await usedMemory(redis)
        try await plan.offer(queue)
        let ours = try await (usedMemory(redis) - before) / jobs
        guard let official else { return (ours, nil) }
        _ = try await redis.send(RedisCommand("FLUSHALL"))
        let rival = OfficialRound(scripts: official, redis: redis, clock: clock, pipeline: 100)
        try await rival.load()
        before = try await usedMemory(redis)
        try await rival.add(jobs: jobs)
        return (ours, try await (usedMemory(redis) - before) / jobs)
    }

    private static func measureIdle(
        _ address: RedisAddress,
        _ redis: RedisConnection,
        _ clock: any EngineClock,
        samples: Int,
    ) async throws -> Latency {
        _ = try await redis.send(RedisCommand("FLUSHALL"))
        func queue(_ worker: String) -> BullQueue {
            let options = BullQueueOptions(
                address: address,
                worker: WorkerID(worker),
                deployment: "bench",
                generation: 1,
            )
            return BullQueue(options, clock: clock)
        }
        let producer = queue("producer")
        let consumer = queue("consumer")
        defer {
            producer.close()
            consumer.close()
        }
        try await producer.open()
        _ = try await consumer.take(benchRequest)
        let start = Locked<Int64>(0)
        let times = try await withThrowingTaskGroup { group in
            group.addTask {
                for number in 0..<samples {
                    try await clock.sleep(milliseconds: 2)
                    start.withLock { $0 = clock.monotonicNanoseconds() }
                    _ = try await producer.offer([benchJob(number)], verify: false)
                    // Until the consumer has it.
                    while start.withLock({ $0 }) != 0 { try await clock.sleep(milliseconds: 1) }
                }
                return [Int64]()
            }
            group.addTask {
                var times: [Int64] = []
                while times.count < samples {
                    await consumer.waitForWork()
                    let taken = try await consumer.take(benchRequest)
                    if taken.isEmpty { continue }
                    let now = clock.monotonicNanoseconds()
                    times.append(now - start.withLock { $0 })
                    _ = try await consumer.finish(taken.map { ($0, .done(version: 1)) })
                    start.withLock { $0 = 0 }
                }
                return times
            }
            return try await group.reduce(into: []) { $0 += $1 }.sorted()
        }
        func at(_ share: Int) -> Int {
            times.isEmpty ? 0 : Int(times[min(times.count - 1, times.count * share / 100)] / 1_000)
        }
        return Latency(
            samples: times.count,
            p50Microseconds: at(50),
            p99Microseconds: at(99),
            maximumMicroseconds: at(100),
        )
    }

    fileprivate struct Plan: Sendable {
        let way: Way
        let jobs: Int

        func queue(_ address: RedisAddress, _ clock: any EngineClock) -> BullQueue {
            var options = BullQueueOptions(
                address: address,
                worker: WorkerID("bench"),
                deployment: "bench",
                generation: 1,
            )
            options.partitions = way.partitions
            options.events = way.events
            return BullQueue(options, clock: clock)
        }

        func run(
            _ address: RedisAddress,
            _ redis: RedisConnection,
            _ clock: any EngineClock,
        ) async throws -> Round {
            _ = try await redis.send(RedisCommand("FLUSHALL"))
            let queue = queue(address, clock)
            defer { queue.close() }
            try await queue.open()
            let cpu = try await cpuMicroseconds(redis)
            let begun = clock.monotonicNanoseconds()
            try await offer(queue)
            let offered = clock.monotonicNanoseconds()
            try await work(queue)
            let ended = clock.monotonicNanoseconds()
            return Round(
                jobs: jobs,
                offerNanoseconds: offered - begun,
                runNanoseconds: ended - offered,
                redisCPUMicroseconds: try await cpuMicroseconds(redis) - cpu,
            )
        }

        func offer(_ queue: BullQueue) async throws {
            for start in stride(from: 0, to: jobs, by: way.batch) {
                let page = (start..<min(start + way.batch, jobs)).map { benchJob($0) }
                _ = try await queue.offer(page, verify: false)
            }
        }

        /// Takes on while the batch before is acknowledged, as a worker does.
        private func work(_ queue: BullQueue) async throws {
            let request = TakeRequest(stops: way.batch, targets: 0, housekeeping: 0)
            try await withThrowingTaskGroup(of: Void.self) { group in
                var taken = 0
                while taken < jobs {
                    let batch = try await queue.take(request)
                    if batch.isEmpty { continue }
                    if taken > 0 { try await group.next() }
                    taken += batch.count
                    group.addTask { _ = try await queue.finish(batch.map { ($0, .done(version: 1)) }) }
                }
                try await group.waitForAll()
            }
        }
    }
}

private let benchRequest = TakeRequest(stops: 58, targets: 32, housekeeping: 8)

/// A job with the usual payload; neighbours lie in different partitions.
func benchJob(_ number: Int) -> Job {
    let order = OrderID(UniqueID(high: 0x0197_f6c2_8d1e_7000, low: 0x8000_0000_0000_0000 | UInt64(number)))
    return Job(
        id: JobID(order: order, leg: .stop, attempt: 1),
        name: .trigger,
        jobClass: .stops,
        version: 17,
        account: AccountID(UniqueID(high: 1, low: 2)),
        market: MarketID("binance:linear:BTCUSDT"),
        source: .mark,
        position: TickPosition(venueTime: 1_750_000_000_000_000, sequence: 88_121),
    )
}

private func usedMemory(_ redis: RedisConnection) async throws -> Int {
    let info = try await redis.send(RedisCommand("INFO", "memory")).text ?? ""
    return infoField("used_memory", in: info).flatMap { Int($0) } ?? 0
}

func cpuMicroseconds(_ redis: RedisConnection) async throws -> Int64 {
    let info = try await redis.send(RedisCommand("INFO", "cpu")).text ?? ""
    return ["used_cpu_user", "used_cpu_sys"].reduce(0) { sum, name in
        // Seconds with six digits.
        sum + (infoField(name, in: info).flatMap { Int64($0.filter { $0 != "." }) } ?? 0)
    }
}

/// The value of `name` in the text that INFO answers.
func infoField(_ name: String, in info: String) -> String? {
    let line = info.split(whereSeparator: \.isNewline).first { $0.hasPrefix("\(name):") }
    return line.map { String($0.dropFirst(name.count + 1)) }
}
