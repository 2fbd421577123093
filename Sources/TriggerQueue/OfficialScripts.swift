// The official client's scripts, for comparison (QUEUE.md 20.2). They are read from the installed package when the bench
// runs; nothing of them is in this repository. Their arguments are what the client gives them: one job per call, packed
// options, a finish that fetches the next job.
internal import OrderEngine
internal import RedisClient
internal import SmartOrders

/// The sources of three scripts of the package.
public struct OfficialScripts: Sendable {
    let add: RedisScript
    let take: RedisScript
    let finish: RedisScript

    public init(addStandardJob: String, moveToActive: String, moveToFinished: String) {
        add = RedisScript(name: "addStandardJob", source: addStandardJob)
        take = RedisScript(name: "moveToActive", source: moveToActive)
        finish = RedisScript(name: "moveToFinished", source: moveToFinished)
    }
}

/// Lives of no-op jobs by the official scripts.
struct OfficialRound: Sendable {
    /// The queue of the same name: a longer one costs more memory.
    private static let base = PartitionKeys(partition: 0).base(.stops)
    private static let token = "bench:1"

    let scripts: OfficialScripts
    let redis: RedisConnection
    let clock: any EngineClock
    /// Calls in one pipeline: so many jobs are in hand at once.
    let pipeline: Int

    /// Both sides start without scripts on the server.
    func load() async throws {
        var batch = RedisBatch()
        for script in [scripts.add, scripts.take, scripts.finish] {
            batch.begin("SCRIPT")
            batch.append("LOAD")
            batch.append(script.source)
        }
        for reply in try await redis.send(batch) { _ = try reply.orThrow() }
    }

    func run(jobs: Int) async throws -> QueueBenchmark.Round {
        _ = try await redis.send(RedisCommand("FLUSHALL"))
        try await load()
        let cpu = try await cpuMicroseconds(redis)
        let begun = clock.monotonicNanoseconds()
        try await add(jobs: jobs)
        let added = clock.monotonicNanoseconds()
        var round = QueueBenchmark.Round(jobs: jobs, offerNanoseconds: added - begun)
        try await work(jobs: jobs)
        round.runNanoseconds = clock.monotonicNanoseconds() - added
        round.redisCPUMicroseconds = try await cpuMicroseconds(redis) - cpu
        return round
    }

    func add(jobs: Int) async throws {
        // As `JobText.options` has them.
        let options = packed([
            ("attempts", .integer(1_000_000)),
            (
                "backoff",
                .map([("type", .text("exponential")), ("delay", .integer(250)), ("jitter", .number(0.2))]),
            ),
            ("removeOnComplete", .map([("age", .integer(900))])),
        ])
        let names = ["wait", "paused", "meta", "id", "completed", "delayed", "active", "events", "marker"]
        for start in stride(from: 0, to: jobs, by: pipeline) {
            let now = clock.now().milliseconds
            var batch = RedisBatch()
            for number in start..<min(start + pipeline, jobs) {
                let job = benchJob(number)
                let arguments: [MessagePack] =
                    [
                        .text(Self.base), .text(job.id.description), .text(job.name.rawValue), .integer(now),
                    ] + Array(repeating: .null, count: 5)
                batch.begin(scripts.add, keyCount: names.count)
                for name in names { batch.append(Self.base + name) }
                batch.append(bytes: MessagePack.array(arguments).bytes)
                batch.append(bytes: JobText.payload(job))
                batch.append(bytes: options)
                batch.append(now)
            }
            for reply in try await redis.send(batch, timeout: .seconds(60)) { _ = try reply.orThrow() }
        }
    }

    private func work(jobs: Int) async throws {
        let names = [
            "wait", "active", "prioritized", "events", "stalled", "limiter", "delayed", "paused", "meta", "pc",
        ]
        let lease = packed([
            ("token", .text(Self.token)), ("lockDuration", .integer(30_000)), ("limiter", .null),
        ])
        let finishing = packed([
            ("token", .text(Self.token)), ("keepJobs", .map([("age", .integer(900))])), ("limiter", .null),
            ("lockDuration", .integer(30_000)), ("attempts", .integer(3)), ("attemptsMade", .integer(0)),
            ("maxMetricsSize", .text("")), ("fpof", .bool(false)), ("cpof", .bool(false)), ("idof", .bool(false)),
            ("rdof", .bool(false)),
        ])
        var batch = RedisBatch()
        for _ in 0..<min(pipeline, jobs) {
            batch.begin(scripts.take, keyCount: names.count + 1)
            for name in names + ["marker"] { batch.append(Self.base + name) }
            batch.append(Self.base)
            batch.append(clock.now().milliseconds)
            batch.append(bytes: lease)
        }
        var inHand = try jobIDs(await redis.send(batch, timeout: .seconds(60)))
        var finished = 0
        while !inHand.isEmpty {
            let now = clock.now().milliseconds
            var batch = RedisBatch()
            for id in inHand {
                batch.begin(scripts.finish, keyCount: 14)
                for name in names { batch.append(Self.base + name) }
                for name in ["completed", id, "metrics:completed", "marker"] { batch.append(Self.base + name) }
                batch.append(id)
                batch.append(now)
                batch.append("returnvalue")
                batch.append(JobText.value(.done(version: 1)))
                batch.append("completed")
                batch.append("1")
                batch.append(Self.base)
                batch.append(bytes: finishing)
            }
            finished += inHand.count
            inHand = try jobIDs(await redis.send(batch, timeout: .seconds(60)))
        }
        guard finished == jobs else { throw QueueError(.badArgument, "the official scripts ended \(finished) jobs") }
    }

    /// The second part of a reply with a job is its id.
    private func jobIDs(_ replies: [RedisValue]) throws -> [String] {
        try replies.compactMap { reply in
            let parts = try reply.orThrow().array ?? []
            return parts.count > 1 ? parts[1].text.flatMap { $0 == "0" ? nil : $0 } : nil
        }
    }

    private func packed(_ members: [(String, MessagePack)]) -> [UInt8] { MessagePack.map(members).bytes }
}

/// As much of MessagePack as the official scripts read.
indirect enum MessagePack {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case text(String)
    case array([MessagePack])
    case map([(String, MessagePack)])

    var bytes: [UInt8] {
        switch self {
        case .null: [0xc0]
        case .bool(let isTrue): [isTrue ? 0xc3 : 0xc2]
        case .integer(let number): [0xd3] + bigEndian(number)
        case .number(let number): [0xcb] + bigEndian(number.bitPattern)
        case .text(let text): [0xd9, UInt8(text.utf8.count)] + Array(text.utf8)
        case .array(let values): [0xdc] + bigEndian(UInt16(values.count)) + values.flatMap(\.bytes)
        case .map(let members):
            [0xde] + bigEndian(UInt16(members.count))
                + members.flatMap { MessagePack.text($0.0).bytes + $0.1.bytes }
        }
    }

    private func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }
}
