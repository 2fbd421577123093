// The queue in memory says what Redis says: the same random calls on both, the same answers (RELIABILITY.md 8.8.2).
//
// Jobs of one order share a partition, so that their order is told. Leases are long and every retry is at once or an hour
// away: no answer depends on how fast this machine is.
import LocalServers
import OrderEngine
import OwnerThread
import RedisClient
import Simulation
import SmartOrders
import TestKit
import Testing
import TriggerQueue

/// One call of one worker; jobs by number.
private enum Call: Sendable {
    case offer(worker: Int, [Int], verify: Bool)
    case take(worker: Int, TakeRequest)
    /// Ends the n-th to the n+count-th of what was ever taken.
    case finish(worker: Int, at: Int, count: Int, [JobOutcome])
    case release(worker: Int, at: Int, count: Int)
    case reclaim(worker: Int)
    /// A worker is named as dead, by the other one.
    case bury(worker: Int)
    case restore(worker: Int, [Int])
    /// Everything is lost.
    case lose
    case open(worker: Int)

    static let jobs: [Job] = (1...9).map { number in
        .sample(8, [.stops, .stops, .targets][number % 3], attempt: number)
    }
    /// Offered before anything else: known ever after.
    static let beacon = Job.sample(16, .housekeeping)

    static func script(_ seed: UInt64) -> [Call] {
        var random = SeededRandom(seed: seed)
        func below(_ most: Int) -> Int { Int(random.next() % UInt64(most)) }
        func worker() -> Int { below(2) }
        func some() -> [Int] { (0...below(4)).map { _ in below(jobs.count) } }
        return (0..<24).map { _ in
            switch below(20) {
            case 0..<5: .offer(worker: worker(), some(), verify: below(2) == 0)
            case 5..<10: .take(worker: worker(), TakeRequest(stops: below(4), targets: below(3), housekeeping: 0))
            case 10..<15:
                .finish(worker: worker(), at: below(8), count: 1 + below(3), (0..<3).map { _ in outcome(below(8)) })
            case 15: .release(worker: worker(), at: below(8), count: 1 + below(3))
            case 16: .reclaim(worker: worker())
            case 17: .bury(worker: worker())
            case 18: below(3) == 0 ? .lose : .restore(worker: worker(), some())
            default: .open(worker: worker())
            }
        }
    }

    private static func outcome(_ number: Int) -> JobOutcome {
        switch number {
        case 0, 1: .done(version: 18)
        case 2: .obsolete(version: 17)
        case 3, 4: .retry(delayMs: 0, reason: "STORE: conflict")
        case 5: .retry(delayMs: 3_600_000, reason: "VENUE: away")
        case 6: .dead(reason: "VENUE: refused")
        default: .dead(reason: "UNDECODABLE: no version")
        }
    }
}

/// A queue as two workers see it, and what was ever taken from it.
private struct Players {
    let queues: [any JobQueue]
    let lose: () async throws -> Void
    var taken: [TakenJob] = []

    /// Plays one call; what it said, without tokens. A take may miss what its worker was not woken for yet: it is asked
    /// again while more is expected.
    mutating func play(_ call: Call, expecting expected: Int = 0) async -> String {
        do {
            switch call {
            case .offer(let worker, let jobs, let verify):
                return "\(try await queues[worker].offer(jobs.map { Call.jobs[$0] }, verify: verify))"
            case .take(let worker, let request):
                guard !request.isEmpty else { return "-" }
                var jobs = try await queues[worker].take(request)
                for _ in 0..<60 where jobs.count < expected {
                    await queues[worker].waitForWork()
                    jobs += try await queues[worker].take(request.without(jobs))
                }
                taken += jobs
                return "\(jobs.map(told))"
            case .finish(let worker, let at, let count, let outcomes):
                let jobs = some(at, count)
                guard !jobs.isEmpty else { return "-" }
                return "\(try await queues[worker].finish(zip(jobs, outcomes).map { (job: $0, outcome: $1) }))"
            case .release(let worker, let at, let count):
                let jobs = some(at, count)
                guard !jobs.isEmpty else { return "-" }
                try await queues[worker].release(jobs)
            case .reclaim(let worker): try await queues[worker].reclaim(dead: [])
            case .bury(let worker):
                // Behind this word the queue knows what the worker has received.
                _ = try await queues[worker].offer([Call.beacon], verify: false)
                try await queues[1 - worker].reclaim(dead: [WorkerID("w\(worker)")])
            case .restore(let worker, let jobs):
                let deaths = Array(Set(jobs)).sorted().map {
                    JobDeath(job: Call.jobs[$0], reason: "VENUE: refused", attempts: 2, crashes: 0, ageMs: 5_000)
                }
                return "\(try await queues[worker].restore(deaths))"
            case .lose: try await lose()
            case .open(let worker): return "\(try await queues[worker].open())"
            }
            return "done"
        } catch let error as QueueError {
            return error.code.rawValue
        } catch {
            return "\(error)"
        }
    }

    private func some(_ at: Int, _ count: Int) -> [TakenJob] {
        let end = max(0, taken.count - at)
        return Array(taken[max(0, end - count)..<end])
    }

    private func told(_ job: TakenJob) -> String {
        "\(job.rawID) \(job.jobClass) \(job.partition) \(job.attemptsMade) \(job.deliveries) \(job.crashes) "
            + (job.job == nil ? "no body" : "")
    }

    /// What is left, taken to its end.
    static let drain: [Call] =
        [.open(worker: 0)]
        + (0..<12).map { .take(worker: $0 % 2, TakeRequest(stops: 3, targets: 3, housekeeping: 0)) }
        + Call.jobs.indices.map { .offer(worker: 0, [$0], verify: true) }
}

extension TakeRequest {
    fileprivate func without(_ jobs: [TakenJob]) -> TakeRequest {
        func taken(_ jobClass: JobClass) -> Int { jobs.count { $0.jobClass == jobClass } }
        return TakeRequest(
            stops: stops - taken(.stops),
            targets: targets - taken(.targets),
            housekeeping: housekeeping - taken(.housekeeping),
        )
    }
}

@Suite(.serialized) struct `The queue in memory` {
    @Test func `says what Redis says`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let address = try RedisAddress(url: server.url)
            func workers() -> [BullQueue] {
                (0..<2).map { number in
                    var options = BullQueueOptions(
                        address: address,
                        worker: WorkerID("w\(number)"),
                        deployment: "test",
                        generation: 1,
                    )
                    options.leaseMs = 600_000
                    options.heartbeatMs = 200_000
                    return BullQueue(options, clock: RealClock())
                }
            }
            func flush() async throws {
                var batch = RedisBatch()
                batch.begin("FLUSHALL")
                _ = try await redis.send(batch)[0].orThrow()
            }
            for seed in 0..<(agreementScripts ?? 30) as Range<UInt64> {
                try await flush()
                // New ones: what one holds outlives a script.
                let bulls = workers()
                defer { for bull in bulls { bull.close() } }
                try await bulls[0].open()
                let clock = ManualClock()
                let memory = MemoryQueueServer(clock: clock, leaseMs: 600_000)
                var real = Players(queues: bulls, lose: flush)
                var model = Players(
                    queues: (0..<2).map { MemoryQueue(memory, worker: WorkerID("w\($0)")) },
                    lose: { memory.loseAll() },
                )
                _ = try await bulls[0].offer([Call.beacon], verify: false)
                _ = try await model.queues[0].offer([Call.beacon], verify: false)
                var story: [String] = []
                for call in Call.script(seed) + Players.drain {
                    let known = model.taken.count
                    let expected = await model.play(call)
                    let said = await real.play(call, expecting: model.taken.count - known)
                    story.append("\(call): \(said)")
                    guard said == expected else {
                        Issue.record("seed \(seed): memory says \(expected)\n\(story.joined(separator: "\n"))")
                        return
                    }
                }
            }
        }
    }
}
