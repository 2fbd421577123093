import OrderEngine
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

extension BullQueueTests {
    @Suite struct BullQueueLimitTests {
        private let base = "bull:{so-01ba}-stops:"

        @Test func `completed jobs are remembered while others finish, and forgotten after their time (2)`()
            async throws
        {
            try await BullRig.with(leaseMs: 3_000) {
                $0.keepCompletedMs = 2_000_000
            } _: { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1)], verify: false)
                _ = try await queue.finish(try await queue.take(.all).map { ($0, .done(version: 1)) })
                for page in 0..<40 {
                    let jobs = (0..<256).map { Job.sample(1, .stops, attempt: 2 + page * 256 + $0) }
                    _ = try await queue.offer(jobs, verify: false)
                    var left = 256
                    while left > 0 {
                        let taken = try await queue.take(TakeRequest(stops: 128, targets: 0, housekeeping: 0))
                        left -= taken.count
                        if taken.isEmpty { break }
                        _ = try await queue.finish(taken.map { ($0, .done(version: 1)) })
                    }
                    #expect(left == 0)
                }
                #expect(try await rig.send("ZCARD", "\(base)completed").integer == 10_241)
                #expect(try await queue.offer([.sample(1)], verify: false) == [.completed])
            }
        }

        @Test func `age and count bound what is remembered`() async throws {
            try await BullRig.with { options in
                options.keepCompletedMs = 200
                options.keepCompletedMax = 10
            } _: { rig in
                let queue = try await rig.bull("a")
                for page in 0..<3 {
                    _ = try await queue.offer(
                        (1...20).map { .sample(1, .stops, attempt: page * 20 + $0) },
                        verify: false,
                    )
                    _ = try await queue.finish(try await queue.take(.all).map { ($0, .done(version: 1)) })
                }
                #expect(try await rig.send("ZCARD", "\(base)completed").integer == 10)
                try await rig.pass(milliseconds: 250)
                try await queue.reclaim(dead: [])
                #expect(try await rig.send("ZCARD", "\(base)completed").integer == 0)
                #expect(try await rig.send("EXISTS", "\(base)\(Job.sample(1, attempt: 60).id)").integer == 0)
                #expect(try await queue.offer([.sample(1)], verify: false) == [.queued])
            }
        }

        @Test func `a full queue of targets refuses, stops have no cap`() async throws {
            try await BullRig.with {
                $0.maxWaiting = 3
            } _: { rig in
                let queue = try await rig.bull("a")
                let targets = (1...5).map { Job.sample(1, .targets, attempt: $0) }
                #expect(try await queue.offer(targets, verify: false) == [.queued, .queued, .queued, .full, .full])
                #expect(try await queue.offer(targets, verify: false) == [.live, .live, .live, .full, .full])
                let stops = (1...5).map { Job.sample(1, .stops, attempt: $0) }
                #expect(try await queue.offer(stops, verify: false).allSatisfy { $0 == .queued })
            }
        }

        @Test func `a full millisecond of delayed jobs runs over into the next (24)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                // The last place of every millisecond in which the offer may land is taken.
                let time = try await rig.send("TIME").array?.compactMap(\.integer) ?? []
                let now = time[0] * 1_000 + time[1] / 1_000
                for ms in (now + 1_000)..<(now + 2_000) {
                    try await rig.send("ZADD", "\(base)delayed", "\(ms * 4_096 + 4_095)", "full-\(ms)")
                }
                let jobs = (1...300).map { Job.sample(1, .stops, attempt: $0) }
                _ = try await queue.offer(jobs, delayMs: 1_000, verify: false)
                let ids = try await rig.send("ZRANGE", "\(base)delayed", "\((now + 2_000) * 4_096)", "+inf", "BYSCORE")
                #expect(ids.array?.compactMap(\.text) == jobs.map { $0.id.description })
            }
        }

        @Test func `ten thousand delayed jobs keep their order, and no script is long (24)`() async throws {
            try await BullRig.with(leaseMs: 3_000, settings: [("slowlog-log-slower-than", "10000")]) { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...10_000).map { Job.sample(1, .stops, attempt: $0) }
                for start in stride(from: 0, to: jobs.count, by: 256) {
                    let page = Array(jobs[start..<min(start + 256, jobs.count)])
                    // All are due about 1.5 s from the first.
                    _ = try await queue.offer(page, delayMs: 1_500, verify: false)
                }
                try await rig.pass(milliseconds: 1_600)
                var found: [Int] = []
                while found.count < jobs.count {
                    let taken = try await queue.take(TakeRequest(stops: 128, targets: 0, housekeeping: 0))
                    if taken.isEmpty { await queue.waitForWork() }
                    found += taken.compactMap { $0.job?.id.attempt }
                    _ = try await queue.finish(taken.map { ($0, .done(version: 1)) })
                }
                #expect(found == Array(1...10_000))
                let slow = try await rig.send("SLOWLOG", "GET", "10").array ?? []
                let scripts = slow.filter { $0.array?[3].array?.first?.text == "EVALSHA" }.compactMap {
                    $0.array?[2].integer
                }
                // Some 240 scripts ran. The server's clock also counts the time in which another process had its core, so on
                // a busy machine a few are over; a script that is too long is so every time.
                #expect(scripts.count <= 24, "microseconds: \(scripts)")
            }
        }

        @Test func `a thousand jobs of a dead worker come back in their order`() async throws {
            try await BullRig.with(leaseMs: 5_000) { rig in
                let queue = try await rig.bull("a")
                let other = try await rig.bull("b")
                let jobs = (1...1_000).map { Job.sample(1, .stops, attempt: $0) }
                for start in stride(from: 0, to: 1_000, by: 250) {
                    _ = try await queue.offer(Array(jobs[start..<(start + 250)]), verify: false)
                }
                var taken = 0
                while taken < 1_000 {
                    taken += try await queue.take(TakeRequest(stops: 128, targets: 0, housekeeping: 0)).count
                }
                try await rig.pass(milliseconds: 100)
                try await rig.cutOff("a")
                try await other.reclaim(dead: [WorkerID("a")])
                #expect(other.counters.stalledRecovered == 1_000)
                var again: [TakenJob] = []
                while again.count < 1_000 {
                    again += try await other.take(TakeRequest(stops: 128, targets: 0, housekeeping: 0))
                }
                // Each call puts its 250 oldest in front of those before.
                #expect(Set(again.compactMap(\.job?.id)) == Set(jobs.map(\.id)))
                #expect(again.allSatisfy { $0.crashes == 1 })
            }
        }

        @Test func `at most ten starts in every second, also when a worker dies (36)`() async throws {
            try await BullRig.with(leaseMs: 3_000) { rig in
                let queue = try await rig.bull("a")
                try await rig.send("HSET", "\(base)meta", "max", "10", "duration", "1000")
                _ = try await queue.offer((1...60).map { .sample(1, .stops, attempt: $0) }, verify: false)
                let clock = ContinuousClock()
                let begin = clock.now
                var ids: [String] = []
                var round = 0
                while clock.now - begin < .milliseconds(3_300) {
                    round += 1
                    if round == 20 { try await rig.cutOff("c") }
                    let worker = try await rig.bull(["a", "b", round < 20 ? "c" : "a"][round % 3])
                    ids += try await worker.take(.all).map(\.rawID)
                    try await rig.pass(milliseconds: 15)
                }
                // By the server's clock, which the limit is about.
                var starts: [Int64] = []
                for id in ids { starts.append(try await rig.send("HGET", "\(base)\(id)", "processedOn").integer ?? 0) }
                #expect(starts.count >= 30)
                #expect(starts.count <= 40)
                for (index, first) in starts.enumerated() where index + 10 < starts.count {
                    #expect(starts[index + 10] - first > 1_000, "start \(index)")
                }
            }
        }

        @Test func `a paused queue keeps its jobs in order (31), a limit on running jobs holds`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...6).map { Job.sample(1, .stops, attempt: $0) }
                _ = try await queue.offer(Array(jobs[..<3]), verify: false)
                try await rig.send("HSET", "\(base)meta", "paused", "1")
                try await rig.send("DEL", "\(base)marker")
                _ = try await queue.offer(Array(jobs[3...]), verify: false)
                #expect(try await rig.send("EXISTS", "\(base)marker").integer == 0)
                #expect(try await queue.take(.all).isEmpty)
                try await rig.send("HDEL", "\(base)meta", "paused")
                try await rig.send("HSET", "\(base)meta", "concurrency", "4")
                let taken = try await queue.take(.all)
                #expect(taken.map(\.job) == Array(jobs[..<4]))
                #expect(try await queue.take(.all).isEmpty)
                _ = try await queue.finish([(taken[0], .done(version: 1))])
                #expect(try await rig.send("ZSCORE", "\(base)marker", "0").text == "0")
                #expect(try await queue.take(.all).map(\.job) == [jobs[4]])
            }
        }

        @Test func `what is wrong with a server is said before it is used (30)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                #expect(try await queue.findings() == [.hasNoMemoryLimit, .hasNoAppendOnlyFile])
                try await rig.send("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
                try await rig.send("HSET", "\(base)meta", "version", "bullmq:5.61.0")
                try await rig.send("LPUSH", "\(base)paused", "x")
                let findings = try await queue.findings()
                let stops = QueueAddress(partition: 1, jobClass: .stops)
                #expect(findings.contains(.evicts(policy: "allkeys-lru")))
                #expect(findings.contains(.foreignDialect(stops, version: "bullmq:5.61.0")))
                #expect(findings.contains(.legacyPause(stops)))
                #expect(findings.filter(\.isRefusal).count == 3)
                #expect("\(stops)" == "stops-01")
            }
        }

        @Test func `jobs of official producers with priorities come after the others`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                for (id, priority) in [("p2", 2), ("p1", 1)] {
                    try await rig.send("HSET", "\(base)\(id)", "name", "x", "data", "{}", "priority", "\(priority)")
                    try await rig.send("ZADD", "\(base)prioritized", "\(priority * 4_294_967_296)", id)
                }
                try await rig.send("SET", "\(base)pc", "2")
                _ = try await queue.offer([.sample(1)], verify: false)
                #expect(try await queue.take(.all).map(\.rawID) == [Job.sample(1).id.description, "p1", "p2"])
                #expect(try await rig.send("EXISTS", "\(base)pc").integer == 0)
            }
        }
    }
}
