// What the queue costs on a real server (QUEUE.md 20): jobs per second, Redis CPU per job, and how long a job waits when
// nothing else happens. The server is the caller's own: it is emptied.
internal import JSONText
public import OrderEngine
internal import OwnerThread
public import RedisClient
internal import SmartOrders

public struct QueueBenchmark: Sendable {
    /// One way of working, whole lives of no-op jobs: offer, take, finish.
    public struct Round: Hashable, Sendable {
        public let batch: Int
        public let partitions: Int
        public let workers: Int
        public let events: QueueEvents
        public let jobs: Int
        public let nanoseconds: Int64
        /// Growth of the server's `used_cpu_user` and `used_cpu_sys`.
        public let redisCPUMicroseconds: Int64

        public var jobsPerSecond: Int { Int(Int64(jobs) * 1_000_000_000 / max(1, nanoseconds)) }
        public var redisNanosecondsPerJob: Int { Int(redisCPUMicroseconds * 1_000 / Int64(max(1, jobs))) }
    }

    /// From the start of an offer to the job in the hands of another worker that waited.
    public struct Latency: Hashable, Sendable {
        public let samples: Int
        public let p50Microseconds: Int
        public let p99Microseconds: Int
        public let maximumMicroseconds: Int
    }

    public let serverVersion: String
    public let rounds: [Round]
    public let idle: Latency

    /// - Parameter address: of a private server; everything on it is lost.
    /// - Parameter jobs: per round.
    public static func run(
        address: RedisAddress,
        clock: any EngineClock,
        jobs: Int = 20_000,
        idleSamples: Int = 1_000,
    ) async throws -> QueueBenchmark {
        let redis = RedisConnection(RedisOptions(address: address, name: "so:bench"))
        defer { redis.close() }
        let info = try await redis.send(RedisCommand("INFO", "server")).text ?? ""
        let version = infoField("redis_version", in: info) ?? "?"
        var rounds: [Round] = []
        for (batch, partitions, events) in [
            (1, 1, QueueEvents.full), (16, 1, .full), (64, 1, .full), (64, 1, .ends), (100, 1, .full), (100, 8, .full),
        ] {
            let plan = Plan(
                batch: batch,
                partitions: partitions,
                workers: 2,
                events: events,
                jobs: batch == 1 ? max(1, jobs / 4) : jobs,
            )
            rounds.append(try await plan.run(address, redis, clock))
        }
        let idle = try await measureIdle(address, redis, clock, samples: idleSamples)
        return QueueBenchmark(serverVersion: version, rounds: rounds, idle: idle)
    }

    /// One JSON object.
    public func json(pretty: Bool = false) -> String {
        var json = JSONWriter(pretty: pretty)
        json.beginObject()
        json.key("bench")
        json.string("queue")
        json.key("redis_version")
        json.string(serverVersion)
        json.key("rounds")
        json.beginArray()
        for round in rounds {
            json.beginObject()
            json.key("batch")
            json.integer(round.batch)
            json.key("partitions")
            json.integer(round.partitions)
            json.key("workers")
            json.integer(round.workers)
            json.key("events")
            json.string(round.events.rawValue)
            json.key("jobs")
            json.integer(round.jobs)
            json.key("jobs_per_second")
            json.integer(round.jobsPerSecond)
            json.key("redis_cpu_ns_per_job")
            json.integer(round.redisNanosecondsPerJob)
            json.endObject()
        }
        json.endArray()
        json.key("idle_offer_to_start")
        json.beginObject()
        json.key("samples")
        json.integer(idle.samples)
        json.key("p50_us")
        json.integer(idle.p50Microseconds)
        json.key("p99_us")
        json.integer(idle.p99Microseconds)
        json.key("max_us")
        json.integer(idle.maximumMicroseconds)
        json.endObject()
        json.endObject()
        return json.text
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

    private struct Plan: Sendable {
        let batch: Int
        let partitions: Int
        let workers: Int
        let events: QueueEvents
        let jobs: Int

        func run(
            _ address: RedisAddress,
            _ redis: RedisConnection,
            _ clock: any EngineClock,
        ) async throws -> Round {
            _ = try await redis.send(RedisCommand("FLUSHALL"))
            let queues = (0..<workers).map { number in
                var options = BullQueueOptions(
                    address: address,
                    worker: WorkerID("bench-\(number)"),
                    deployment: "bench",
                    generation: 1,
                )
                options.partitions = partitions
                options.events = events
                return BullQueue(options, clock: clock)
            }
            defer { for queue in queues { queue.close() } }
            for queue in queues { try await queue.open() }
            let progress = Locked((offered: 0, finished: 0))
            let cpu = try await cpuMicroseconds(redis)
            let start = clock.monotonicNanoseconds()
            try await withThrowingTaskGroup { group in
                for queue in queues {
                    group.addTask { try await work(queue, progress) }
                }
                try await group.waitForAll()
            }
            let end = clock.monotonicNanoseconds()
            return Round(
                batch: batch,
                partitions: partitions,
                workers: workers,
                events: events,
                jobs: jobs,
                nanoseconds: end - start,
                redisCPUMicroseconds: try await cpuMicroseconds(redis) - cpu,
            )
        }

        private func work(_ queue: BullQueue, _ progress: Locked<(offered: Int, finished: Int)>) async throws {
            let request = TakeRequest(stops: batch, targets: 0, housekeeping: 0)
            while true {
                let range = progress.withLock { progress in
                    let from = progress.offered
                    progress.offered = min(jobs, from + batch)
                    return from..<progress.offered
                }
                if !range.isEmpty { _ = try await queue.offer(range.map { benchJob($0) }, verify: false) }
                let taken = try await queue.take(request)
                if !taken.isEmpty { _ = try await queue.finish(taken.map { ($0, .done(version: 1)) }) }
                let isDone = progress.withLock { progress in
                    progress.finished += taken.count
                    return progress.finished >= jobs
                }
                if isDone { return }
            }
        }
    }
}

private let benchRequest = TakeRequest(stops: 58, targets: 32, housekeeping: 8)

/// A job with the usual payload; neighbours lie in different partitions.
private func benchJob(_ number: Int) -> Job {
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

private func cpuMicroseconds(_ redis: RedisConnection) async throws -> Int64 {
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
