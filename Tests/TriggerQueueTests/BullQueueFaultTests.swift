import LocalServers
import OrderEngine
import OwnerThread
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

extension BullQueueTests {
    /// Numbers are those of the acceptance scenarios, QUEUE.md 18.
    @Suite struct BullQueueFaultTests {
        /// The queue of stops in partition 1, where `Job.sample(1)` belongs.
        private let base = "bull:{so-01ba}-stops:"

        @Test func `a handler that burns the CPU longer than the lease keeps it (8)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let other = try await rig.bull("b")
                _ = try await queue.offer([.sample(1)], verify: false)
                let taken = try await queue.take(.all)
                // Every thread of the cooperative pool.
                await withTaskGroup { group in
                    for _ in 0..<16 { group.addTask { usleep(useconds_t(2 * rig.leaseMs * 1_000 / 16)) } }
                    group.addTask { usleep(useconds_t(2 * rig.leaseMs * 1_000)) }
                }
                try await other.reclaim(dead: [])
                #expect(try await other.take(.all).isEmpty)
                #expect(try await queue.finish([(taken[0], .done(version: 1))]) == [.done])
                #expect(queue.heldCount == 0)
            }
        }

        @Test func `a lost lease is noticed and reported once (9)`() async throws {
            let lost = Locked<[String]>([])
            try await BullRig.with { options in
                options.onLost = { jobs in lost.withLock { $0 += jobs.map(\.rawID) } }
            } _: { rig in
                let queue = try await rig.bull("a")
                let other = try await rig.bull("b")
                _ = try await queue.offer([.sample(1)], verify: false)
                let taken = try await queue.take(.all)
                #expect(queue.trustedUntil(taken[0]) != nil)
                try await other.reclaim(dead: [WorkerID("a")])
                #expect(try await other.take(.all).count == 1)
                for _ in 0..<100 where lost.withLock({ $0.isEmpty }) { try await rig.pass(milliseconds: 20) }
                #expect(lost.withLock { $0 } == [Job.sample(1).id.description])
                #expect(queue.trustedUntil(taken[0]) == nil)
                #expect(queue.heldCount == 0)
            }
        }

        @Test func `a lock that expired while nobody took over is renewed`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1)], verify: false)
                let taken = try await queue.take(.all)
                let lock = "\(base)\(Job.sample(1).id):lock"
                try await rig.send("DEL", lock)
                for _ in 0..<100 {
                    if try await rig.send("GET", lock).text != nil { break }
                    try await rig.pass(milliseconds: 20)
                }
                #expect(try await rig.send("GET", lock).text == taken[0].token)
            }
        }

        @Test func `an acknowledgement after the lease is accepted while nobody took over`() async throws {
            try await BullRig.with {
                $0.heartbeatMs = 60_000
            } _: { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1)], verify: false)
                let taken = try await queue.take(.all)
                try await rig.pass(milliseconds: rig.leaseMs + 50)
                #expect(try await queue.finish([(taken[0], .done(version: 1))]) == [.late])
                #expect(queue.counters.finishesLate == 1)
            }
        }

        @Test func `a finish whose reply is lost is repeated with success (14)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1)], verify: false)
                let taken = try await queue.take(.all)
                rig.server.suspend()
                async let codes = queue.finish([(taken[0], .done(version: 1))])
                try await rig.pass(milliseconds: 700)
                rig.server.resume()
                #expect(try await [[FinishCode.done], [.repeated]].contains(codes))
                #expect(try await rig.send("ZCARD", "\(base)completed").integer == 1)
                #expect(try await rig.send("LLEN", "\(base)active").integer == 0)
            }
        }

        @Test func `an end that Redis could not hear is said when it is back (11)`() async throws {
            try await RedisServer.withServer(isDurable: true) { server in
                let rig = try BullRig(server)
                let queue = try await rig.bull("a")
                try await queue.open()
                _ = try await queue.offer([.sample(1), .sample(9)], verify: false)
                let taken = try await queue.take(.all)
                try await server.kill()
                await #expect(throws: QueueError.self) {
                    _ = try await queue.finish(taken.map { ($0, .done(version: 1)) })
                }
                #expect(queue.heldCount == 2)
                try await server.start()
                _ = try await eventually("both jobs are completed") { () -> Bool? in
                    do {
                        try await queue.reclaim(dead: [])
                        return try await rig.send("ZCARD", "\(base)completed").integer == 2 ? true : nil
                    } catch { return nil }
                }
                #expect(queue.heldCount == 0)
                #expect(try await rig.send("LLEN", "\(base)active").integer == 0)
                rig.close()
            }
        }

        @Test func `a take whose reply is lost is replayed, and charges nobody (15)`() async throws {
            try await BullRig.with(leaseMs: 3_000) { rig in
                let queue = try await rig.bull("a")
                #expect(try await queue.take(.all).isEmpty)
                _ = try await queue.offer([.sample(1), .sample(9)], verify: false)
                rig.server.suspend()
                async let reply = queue.take(.all)
                try await rig.pass(milliseconds: 700)
                rig.server.resume()
                let taken = try await reply
                #expect(taken.count == 2)
                #expect(taken.allSatisfy { $0.crashes == 0 })
                #expect(try await rig.send("LLEN", "\(base)active").integer == 2)
                #expect(try await queue.finish(taken.map { ($0, .done(version: 1)) }) == [.done, .done])
            }
        }

        @Test func `a take that nobody received comes back without a crash (15)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1)], verify: false)
                #expect(try await queue.take(.all).count == 1)
                // As if the reply had not arrived: the worker never said that it saw its first take.
                try await rig.cutOff("a")
                try await rig.send("HSET", "so:{so-01ba}:took:a", "ids", "of the take", "seen", "0")
                let other = try await rig.bull("b")
                try await other.reclaim(dead: [WorkerID("a")])
                #expect(try await other.take(.all).map(\.crashes) == [0])
                #expect(other.counters.stalledRecovered == 1)
            }
        }

        @Test func `a worker that has its jobs says so at once (8)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1)], verify: false)
                #expect(try await queue.take(.all).count == 1)
                _ = try await eventually("Redis knows") { () -> Bool? in
                    let record = try await rig.send("HMGET", "so:{so-01ba}:took:a", "n", "ids").array ?? []
                    return record.count == 2 && record[0].text == "1" && record[1].isNull ? true : nil
                }
                // It dies before its first heartbeat, and the job is charged all the same.
                try await rig.cutOff("a")
                let other = try await rig.bull("b")
                try await other.reclaim(dead: [WorkerID("a")])
                #expect(try await other.take(.all).map(\.crashes) == [1])
            }
        }

        @Test func `a job that crashed too many workers is handed to one that gives it up (6)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = [Job.sample(1, .targets), Job.sample(1)]
                _ = try await queue.offer(jobs, verify: false)
                #expect(try await queue.take(.all).count == 2)
                for (job, name) in zip(jobs, ["targets", "stops"]) {
                    try await rig.send("HSET", "bull:{so-01ba}-\(name):\(job.id)", "stc", "10")
                }
                _ = try await eventually("Redis knows") { () -> Bool? in
                    try await rig.send("HEXISTS", "so:{so-01ba}:took:a", "ids").integer == 0 ? true : nil
                }
                try await rig.cutOff("a")
                let other = try await rig.bull("b")
                try await other.reclaim(dead: [WorkerID("a")])
                let counts = try await other.counts()
                // The target at once, for its end in PostgreSQL; the stop after a minute, for ever.
                #expect(counts[QueueAddress(partition: 1, jobClass: .targets)]?.waiting == 1)
                #expect(counts[QueueAddress(partition: 1, jobClass: .stops)]?.delayed == 1)
                #expect(try await other.take(.all).map(\.crashes) == [11])
            }
        }

        @Test func `a job whose marker is gone is taken within the poll (16)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let other = try await rig.bull("b")
                #expect(try await queue.take(.all).isEmpty)
                _ = try await other.offer([.sample(1)], verify: false)
                try await rig.send("DEL", "\(base)marker")
                // One wait, which the server ends after a second, and the next take finds it.
                await queue.waitForWork()
                #expect(try await queue.take(.all).count == 1)
            }
        }

        @Test func `a flood is taken from few partitions at a time, and from every one in its turn`() async throws {
            try await BullRig.with(leaseMs: 5_000) { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer((1...256).map { .sample($0) }, verify: false)
                func take() async throws -> Set<Int> {
                    let taken = try await queue.take(TakeRequest(stops: 16, targets: 0, housekeeping: 0))
                    #expect(taken.count == 16)
                    _ = try await queue.finish(taken.map { ($0, .done(version: 1)) })
                    return Set(taken.map(\.partition))
                }
                // Nothing is known of them yet.
                #expect(try await take().count == 8)
                var seen: Set<Int> = []
                for _ in 0..<8 {
                    let asked = try await take()
                    #expect(asked.count <= 2)
                    seen.formUnion(asked)
                }
                #expect(seen.count == 8)
            }
        }

        @Test func `a delay of 200 ms takes 200 to 300 (23), and a shorter one wakes in time (25)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let other = try await rig.bull("b")
                #expect(try await queue.take(.all).isEmpty)
                _ = try await other.offer([.sample(1)], delayMs: 60_000, verify: false)
                await queue.waitForWork()
                #expect(try await queue.take(.all).isEmpty)
                // By the server's clock. A busy machine may be late now and then; a queue that is late is so every time.
                var latenesses: [Int64] = []
                for attempt in 1...10 {
                    let job = Job.sample(1, .stops, attempt: 1 + attempt)
                    _ = try await other.offer([job], delayMs: 200, verify: false)
                    let taken = try await eventually("the delayed job is due") { () -> [TakenJob]? in
                        await queue.waitForWork()
                        let taken = try await queue.take(.all)
                        return taken.isEmpty ? nil : taken
                    }
                    #expect(taken.map(\.job) == [job])
                    let offered = try await rig.send("HGET", "\(base)\(job.id)", "timestamp").integer ?? 0
                    let started = try await rig.send("HGET", "\(base)\(job.id)", "processedOn").integer ?? 0
                    #expect(started - offered >= 200)
                    latenesses.append(started - offered - 200)
                    _ = try await queue.finish(taken.map { ($0, .done(version: 1)) })
                    if latenesses.contains(where: { $0 <= 100 }) { break }
                }
                #expect(latenesses.contains { $0 <= 100 }, "\(latenesses)")
            }
        }

        @Test func `a job without a body is not run, is dead, and can be brought again (26)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1), .sample(9)], verify: false)
                try await rig.send("DEL", "\(base)\(Job.sample(1).id)")
                let taken = try await queue.take(.all)
                #expect(taken.map(\.job) == [.sample(9), nil])
                #expect(taken[1].rawID == Job.sample(1).id.description)
                #expect(try await queue.finish([(taken[1], .dead(reason: "BODY_MISSING: ?"))]) == [.repeated])
                let reason = try await rig.send("HGET", "\(base)\(Job.sample(1).id)", "failedReason").text
                #expect(reason?.hasPrefix("BODY_MISSING") == true)
                #expect(try await queue.offer([.sample(1)], verify: false) == [.replaced])
                #expect(try await queue.take(.all).map(\.job) == [.sample(1)])
                #expect(queue.counters.bodiesMissing == 1)
            }
        }

        @Test func `an unreadable payload harms no other job (27)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...3).map { Job.sample(1, .stops, attempt: $0) }
                _ = try await queue.offer(jobs, verify: false)
                try await rig.send("HSET", "\(base)\(jobs[1].id)", "data", "{\"v\":1,\"order\":")
                let taken = try await queue.take(.all)
                #expect(taken.map(\.job) == [jobs[0], nil, jobs[2]])
                let ends = taken.map {
                    ($0, $0.job == nil ? JobOutcome.dead(reason: "UNDECODABLE: x") : .done(version: 1))
                }
                #expect(try await queue.finish(ends) == [.done, .done, .done])
                #expect(try await queue.offer([jobs[1]], verify: false) == [.replaced])
            }
        }

        @Test(arguments: ["wait", "active", "marker", "completed", "delayed", "events"])
        func `a job that an official client named like a key is removed (28)`(name: String) async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                try await rig.send("HSET", "\(base)\(name)", "name", "x", "data", "{}")
                #expect(try await queue.offer([.sample(1)], verify: false) == [.queued])
                let taken = try await queue.take(.all)
                #expect(taken.map(\.job) == [.sample(1)])
                #expect(try await queue.finish(taken.map { ($0, .done(version: 1)) }) == [.done])
                #expect(queue.counters.intrudersRemoved == 1)
            }
        }

        @Test func `foreign ids are handed out as they are (28)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let ids = ["123", "a:b", String(repeating: "x", count: 4_096), "größe", Job.sample(1).id.description]
                for id in ids {
                    try await rig.send("HSET", "\(base)\(id)", "name", "trigger", "data", "{}", "timestamp", "1")
                    try await rig.send("LPUSH", "\(base)wait", id)
                }
                let taken = try await queue.take(.all)
                #expect(taken.map(\.rawID) == ids)
                #expect(taken.allSatisfy { $0.job == nil })
                #expect(
                    try await queue.finish(taken.map { ($0, .dead(reason: "BADID: no")) }).allSatisfy { $0 == .done }
                )
            }
        }

        @Test func `a full Redis refuses offers and drains (29)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let other = try await rig.bull("b")
                let jobs = (1...40).map { Job.sample(1, .stops, attempt: $0) }
                _ = try await queue.offer(jobs, verify: false)
                #expect(try await queue.take(TakeRequest(stops: 10, targets: 0, housekeeping: 0)).count == 10)
                try await rig.send("CONFIG", "SET", "maxmemory", "1000000")
                let refused = await #expect(throws: QueueError.self) {
                    _ = try await queue.offer([.sample(2)], verify: false)
                }
                #expect(refused?.code == .full)
                let taken = try await other.take(.all)
                #expect(taken.count == 30)
                let codes = try await other.finish(taken.map { ($0, .retry(delayMs: 60_000, reason: "X: y")) })
                #expect(codes.allSatisfy { $0 == .done })
                try await other.reclaim(dead: [WorkerID("a")])
                let back = try await other.take(.all)
                #expect(back.count == 10)
                try await other.release(back)
                let held = try await other.take(.all)
                #expect(held.count == 10)
                // Leases are renewed too.
                try await rig.pass(milliseconds: rig.leaseMs * 3 / 2)
                #expect(try await other.finish(held.map { ($0, .done(version: 1)) }).allSatisfy { $0 == .done })
                try await rig.send("CONFIG", "SET", "maxmemory", "0")
                #expect(try await queue.offer([.sample(2)], verify: false) == [.queued])
            }
        }

        @Test func `an empty Redis says that it is closed, another deployment and generation are refused`() async throws
        {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                func code(_ body: () async throws -> Void) async -> QueueError.Code? {
                    do { try await body() } catch let error as QueueError { return error.code } catch {}
                    return nil
                }
                queue.setGeneration(2)
                #expect(await code { _ = try await queue.offer([.sample(1)], verify: false) } == .closed)
                try await queue.open()
                #expect(try await queue.offer([.sample(1)], verify: false) == [.queued])
                try await rig.send("SET", "so:{so-01ba}:open", "other:2")
                #expect(await code { _ = try await queue.take(.all) } == .closed)
                #expect(await code { try await queue.open() } == .closed)
                #expect(try await queue.findings().contains(.foreignDeployment(partition: 1)))
                try await rig.send("FLUSHALL")
                #expect(await code { _ = try await queue.take(.all) } == .closed)
            }
        }

        @Test func `what Redis lost half of is healed by a closer look`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1), .sample(9)], verify: false)
                try await rig.send("LREM", "\(base)wait", "0", Job.sample(1).id.description)
                #expect(try await queue.offer([.sample(1)], verify: false) == [.live])
                #expect(try await queue.offer([.sample(1), .sample(9)], verify: true) == [.healed, .live])
                #expect(try await queue.take(.all).count == 2)
            }
        }

        @Test func `nobody goes through a long list for each job that is asked about`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...1_002).map { Job.sample(1, .stops, attempt: $0) }
                _ = try await queue.offer(jobs, verify: false)
                try await rig.send("LREM", "\(base)wait", "0", jobs[500].id.description)
                #expect(try await queue.offer([jobs[500]], verify: true) == [.live])
                _ = try await queue.take(TakeRequest(stops: 1, targets: 0, housekeeping: 0))
                #expect(try await queue.offer([jobs[500]], verify: true) == [.healed])
            }
        }

        @Test func `a worker survives a restart of Redis`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1)], verify: false)
                try await rig.server.kill()
                let error = await #expect(throws: QueueError.self) { _ = try await queue.take(.all) }
                #expect(error?.code == .unavailable || error?.code == .outcomeUnknown)
                try await rig.server.start()
                var isOpen = false
                for _ in 0..<50 where !isOpen {
                    do {
                        try await queue.open()
                        isOpen = true
                    } catch { try await rig.pass(milliseconds: 50) }
                }
                #expect(try await queue.offer([.sample(1)], verify: true) == [.queued])
                #expect(try await queue.take(.all).count == 1)
            }
        }
    }
}
