import OrderEngine
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

extension BullQueueTests {
    @Suite struct QueueOperationTests {
        private let base = "bull:{so-01ba}-stops:"
        private let stops = QueueAddress(partition: 1, jobClass: .stops)
        private let targets = QueueAddress(partition: 1, jobClass: .targets)

        private func kill(_ jobs: [Job], _ queue: BullQueue) async throws {
            for start in stride(from: 0, to: jobs.count, by: 250) {
                _ = try await queue.offer(Array(jobs[start..<min(start + 250, jobs.count)]), verify: false)
            }
            var left = jobs.count
            while left > 0 {
                let taken = try await queue.take(TakeRequest(stops: 128, targets: 32, housekeeping: 0))
                _ = try await queue.finish(taken.map { ($0, .dead(reason: "VENUE: refused")) })
                left -= taken.count
            }
        }

        @Test func `the dead run again under their ids, once (34)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...3).map { Job.sample(1, .stops, attempt: $0) }
                let ids = jobs.map { "\($0.id)" }
                try await kill(jobs, queue)
                let dead = try await queue.deadJobs(in: stops)
                #expect(dead.map(\.id) == ids)
                #expect(dead.allSatisfy { $0.reason == "VENUE: refused" && $0.attemptsMade == 1 })
                #expect(try await queue.requeue(ids + ["none"], in: stops, cutoffMs: 1).last == .unknown)
                #expect(try await queue.requeue(ids, in: stops, cutoffMs: 1).allSatisfy { $0 == .diedLater })
                #expect(try await queue.requeue(ids, in: stops).allSatisfy { $0 == .moved })
                #expect(try await queue.requeue(ids, in: stops).allSatisfy { $0 == .notDead })
                let again = try await queue.take(.all)
                #expect(again.map(\.job) == jobs)
                #expect(again.allSatisfy { $0.attemptsMade == 1 && $0.deliveries == 2 })
                #expect(try await queue.finish(again.map { ($0, .dead(reason: "X: y")) }).allSatisfy { $0 == .done })
                #expect(try await queue.requeue([ids[0]], in: stops, resetsAttempts: true) == [.moved])
                #expect(try await queue.take(.all).map(\.attemptsMade) == [0])
                #expect(try await queue.requeue([ids[1]], in: stops, delayMs: 60_000) == [.moved])
                #expect(try await queue.promote([ids[1], ids[2]], in: stops) == [true, false])
                #expect(try await queue.take(.all).map(\.rawID) == [ids[1]])
                #expect(try await queue.requeue([ids[2]], in: stops, to: .targets) == [.moved])
                #expect(try await queue.take(.all).map(\.jobClass) == [.targets])
            }
        }

        @Test func `ten thousand dead move in pages, each once, also when the run is repeated (34)`() async throws {
            try await BullRig.with(leaseMs: 5_000) { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...10_000).map { Job.sample(1, .stops, attempt: $0) }
                try await kill(jobs, queue)
                let time = try await rig.send("TIME").array?.compactMap(\.integer) ?? []
                let cutoff = time[0] * 1_000 + time[1] / 1_000
                var moved = 0
                for run in 0..<2 {
                    for start in stride(from: 0, to: jobs.count, by: 500) {
                        // The first run is killed half way.
                        if run == 0, start >= 5_000 { break }
                        let ids = jobs[start..<(start + 500)].map { "\($0.id)" }
                        moved += try await queue.requeue(ids, in: stops, cutoffMs: cutoff).count { $0 == .moved }
                    }
                }
                #expect(moved == 10_000)
                #expect(try await queue.counts()[stops] == QueueCounts(waiting: 10_000))
            }
        }

        @Test func `a discarded job is gone, an active one stays`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...4).map { Job.sample(1, .stops, attempt: $0) }
                let ids = jobs.map { "\($0.id)" }
                try await kill([jobs[0]], queue)
                _ = try await queue.offer([jobs[1]], verify: false)
                #expect(try await queue.take(.all).count == 1)
                _ = try await queue.offer([jobs[2]], verify: false)
                _ = try await queue.offer([jobs[3]], delayMs: 60_000, verify: false)
                #expect(
                    try await queue.discard(ids, .dead, in: stops) == [.removed, .elsewhere, .elsewhere, .elsewhere]
                )
                #expect(
                    try await queue.discard(ids, .waiting, in: stops) == [.unknown, .elsewhere, .removed, .elsewhere]
                )
                #expect(
                    try await queue.discard(ids, .delayed, in: stops) == [.unknown, .elsewhere, .unknown, .removed]
                )
                #expect(try await queue.counts()[stops] == QueueCounts(active: 1))
                #expect(try await queue.offer([jobs[0]], verify: false) == [.queued])
            }
        }

        @Test func `a pause holds what comes, ends by itself, and loses nothing (31)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...4).map { Job.sample(1, .stops, attempt: $0) }
                _ = try await queue.offer(Array(jobs[..<2]), verify: false)
                let refused = await #expect(throws: QueueError.self) {
                    try await queue.pause(stops, durationMs: 0, by: "me", reason: "no end")
                }
                #expect(refused?.code == .badArgument)
                try await queue.pause(stops, durationMs: 2_000, by: "me", reason: "a look at it")
                _ = try await queue.offer(Array(jobs[2...]), verify: false)
                #expect(try await rig.send("EXISTS", "\(base)marker").integer == 0)
                #expect(try await queue.take(.all).isEmpty)
                try await rig.pass(milliseconds: 2_050)
                try await queue.reclaim(dead: [WorkerID("-")])
                #expect(try await rig.send("ZSCORE", "\(base)marker", "0").text == "0")
                #expect(try await queue.take(.all).map(\.job) == jobs)

                try await queue.pause(targets, durationMs: 0, by: "me", reason: "no end")
                _ = try await queue.offer([.sample(1, .targets)], verify: false)
                #expect(try await queue.take(.all).isEmpty)
                // An old client renamed its list.
                try await rig.send("RPUSH", "bull:{so-01ba}-targets:paused", "new", "old")
                for id in ["old", "new"] { try await rig.send("HSET", "bull:{so-01ba}-targets:\(id)", "name", "x") }
                try await queue.resume(targets)
                let after = try await queue.take(.all)
                #expect(after.map(\.rawID) == ["old", "new", "\(Job.sample(1, .targets).id)"])
            }
        }

        @Test func `draining and cleaning remove what they say and nothing else`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...800).map { Job.sample(1, .stops, attempt: $0) }
                try await kill(Array(jobs[..<5]), queue)
                for start in stride(from: 5, to: 785, by: 260) {
                    _ = try await queue.offer(Array(jobs[start..<min(start + 260, 785)]), verify: false)
                }
                _ = try await queue.offer(Array(jobs[785...]), delayMs: 60_000, verify: false)
                #expect(try await queue.take(TakeRequest(stops: 10, targets: 0, housekeeping: 0)).count == 10)
                #expect(try await queue.drain(stops) == 770)
                #expect(try await queue.counts()[stops] == QueueCounts(active: 10, delayed: 15, dead: 5))
                #expect(try await queue.drain(stops, includesDelayed: true) == 15)
                #expect(try await queue.clean(stops, dead: true, ageMs: 60_000) == 0)
                #expect(try await queue.clean(stops, dead: true, ageMs: 0, limit: 3) == 3)
                #expect(try await queue.counts()[stops] == QueueCounts(active: 10, dead: 2))
                // Each hash is in one state key: 12 jobs, 10 leases, and the keys of the queue.
                let left = try await rig.send("KEYS", "\(base)0197*").array?.count
                #expect(left == 22)
            }
        }

        @Test func `an audit finds each job in one state and heals the lost (41)`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let jobs = (1...7).map { Job.sample(1, .stops, attempt: $0) }
                let ids = jobs.map { "\($0.id)" }
                _ = try await queue.offer(Array(jobs[..<5]), verify: false)
                let taken = try await queue.take(TakeRequest(stops: 4, targets: 0, housekeeping: 0))
                _ = try await queue.finish([
                    (taken[0], .done(version: 1)), (taken[1], .dead(reason: "X: y")),
                    (taken[2], .retry(delayMs: 60_000, reason: "X: y")),
                ])
                _ = try await queue.offer([jobs[5]], delayMs: 60_000, verify: false)
                _ = try await queue.offer([jobs[6]], verify: false)
                let words = ["completed", "dead", "retry", "active", "waiting", "delayed", "waiting"]
                #expect(try await queue.audit(ids, in: stops) == words)
                try await rig.send("LREM", "\(base)wait", "0", ids[6])
                try await rig.send("ZREM", "\(base)completed", ids[0])
                try await rig.send("LPUSH", "\(base)wait", ids[3])
                let damaged = ["none", "dead", "retry", "several", "waiting", "delayed", "none"]
                #expect(try await queue.audit(ids, in: stops, heals: true) == damaged)
                #expect(try await rig.send("EXISTS", "\(base)\(ids[0])").integer == 0)
                #expect(try await queue.audit([ids[6]], in: stops) == ["waiting"])
            }
        }
    }
}
