// `smartorders queues drive`: our side of the conformance oracle (QUEUE.md 15.2): one request a line on standard input,
// one answer a line on standard output. For tests on a private Redis.
import ArgumentParser
import JSONText
import OrderEngine
import RedisClient
import SmartOrders
import TriggerQueue

struct QueueDriveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drive",
        abstract: "Works a queue by requests from standard input, for the oracle.",
        discussion: """
            EXAMPLES
              echo '{"op":"open"}' | smartorders queues drive --redis redis://127.0.0.1:7000/0
              echo '{"op":"take","count":5}' | smartorders queues drive --worker w2 --redis unix:///tmp/redis.sock
            """,
        shouldDisplay: false,
    )
    @Option(help: "The private Redis.")
    var redis: String
    @Option(help: "Name of this worker.")
    var worker = "driver"
    @Option(help: "Lease of a job in milliseconds.")
    var leaseMs = 3_000

    func run() async throws {
        var options = BullQueueOptions(
            address: try Backend.address(redis),
            worker: WorkerID(worker),
            deployment: "oracle",
            generation: 1,
        )
        // One: whoever watches has one queue of each class to look at.
        options.partitions = 1
        options.leaseMs = leaseMs
        options.heartbeatMs = max(50, leaseMs / 3)
        let queue = BullQueue(options, clock: SystemClock())
        defer { queue.close() }
        var held: [String: TakenJob] = [:]
        while let line = readLine() {
            var answer = JSONObject()
            do {
                let request = JSONField(try JSONValue(parsing: Array(line.utf8)))
                answer = try await Self.answer(request, queue, &held)
            } catch {
                answer["error"] = .string("\(error)")
            }
            show("\(JSONValue.object(answer))")
        }
    }

    private static func answer(
        _ request: JSONField,
        _ queue: BullQueue,
        _ held: inout [String: TakenJob],
    ) async throws -> JSONObject {
        switch try request.string("op") {
        case "open":
            try await queue.open()
            return [:]
        case "offer":
            let jobs = try request.elements("ids").map { field in
                try field.parsed(.wrongType, expected: "a job id") { text in
                    JobID(text).map { id in
                        Job(id: id, name: .trigger, jobClass: JobClass(leg: id.leg), version: 1)
                    }
                }
            }
            let delay = try request.optional("delayMs")?.int64() ?? 0
            var codes: [JSONValue] = []
            for start in stride(from: 0, to: jobs.count, by: 256) {
                let page = Array(jobs[start..<min(start + 256, jobs.count)])
                codes += try await queue.offer(page, delayMs: delay, verify: false).map { .integer($0.rawValue) }
            }
            return ["codes": .array(codes)]
        case "take":
            let count = try request.int("count")
            let jobs = try await queue.take(TakeRequest(stops: count, targets: count, housekeeping: count))
            return ["jobs": .array(jobs.map { note($0, &held) })]
        case "finish":
            let ends = try request.elements("ends").map { end in
                let id = try end.string("id")
                guard let job = held[id] else { throw Failure(.notFound, "NOT_HELD", id) }
                let reason = try end.optional("reason")?.string() ?? "ORACLE: as told"
                let outcome: JobOutcome =
                    switch try end.string("outcome") {
                    case "retry": .retry(delayMs: try end.optional("delayMs")?.int64() ?? 0, reason: reason)
                    case "dead": .dead(reason: reason)
                    default: .done(version: 1)
                    }
                return (job: job, outcome: outcome)
            }
            let codes = try await queue.finish(ends)
            for end in ends { held[end.job.rawID] = nil }
            return ["codes": .array(codes.map { .integer($0.rawValue) })]
        case "release":
            let jobs = try request.elements("ids").compactMap { held[try $0.string()] }
            try await queue.release(jobs)
            for job in jobs { held[job.rawID] = nil }
            return [:]
        case "reclaim":
            let dead = try request.optional("dead")?.elements().map { WorkerID(try $0.string()) } ?? []
            try await queue.reclaim(dead: dead)
            return [:]
        case "work":
            // Until it has been idle for a while: take, end, sweep.
            let idleMs = try request.optional("idleMs")?.int64() ?? 1_000
            let clock = SystemClock()
            var ended = 0
            var last = clock.monotonicNanoseconds()
            while clock.monotonicNanoseconds() - last < idleMs * 1_000_000 {
                let jobs = try await queue.take(TakeRequest(stops: 16, targets: 16, housekeeping: 4))
                try await queue.reclaim(dead: [])
                if jobs.isEmpty {
                    try await clock.sleep(milliseconds: 20)
                    continue
                }
                try await clock.sleep(milliseconds: 2)
                _ = try await queue.finish(jobs.map { ($0, .done(version: 1)) })
                ended += jobs.count
                last = clock.monotonicNanoseconds()
            }
            return ["ended": .integer(ended)]
        default: throw Failure(.usage, "OP", "unknown request")
        }
    }

    private static func note(_ job: TakenJob, _ held: inout [String: TakenJob]) -> JSONValue {
        if !job.token.isEmpty { held[job.rawID] = job }
        return .object([
            "id": .string(job.rawID),
            "queue": .string("\(QueueAddress(partition: job.partition, jobClass: job.jobClass))"),
            "attempts": .integer(job.attemptsMade), "deliveries": .integer(job.deliveries),
            "crashes": .integer(job.crashes), "readable": .bool(job.job != nil),
        ])
    }
}
