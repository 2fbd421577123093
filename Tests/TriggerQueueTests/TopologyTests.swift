import LocalServers
import OrderEngine
import OwnerThread
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

extension BullQueueTests {
    /// The queue on a Redis Cluster and behind sentinels (QUEUE.md 13.4, 13.5).
    @Suite struct TopologyTests {
        private func queue(_ worker: String, _ address: RedisAddress) -> BullQueue {
            var options = BullQueueOptions(
                address: address,
                worker: WorkerID(worker),
                deployment: "test",
                generation: 1,
            )
            options.leaseMs = 3_000
            options.heartbeatMs = 500
            return BullQueue(options, clock: RealClock())
        }

        private func patiently<Value>(_ what: String, _ body: () async throws -> Value) async throws -> Value {
            try await eventually(what) { () -> Value? in
                do { return try await body() } catch is QueueError { return nil }
            }
        }

        /// Offers in rounds while `fault` happens, takes and ends everything; each job ends at least once, none is left.
        private func runLoad(
            _ address: RedisAddress,
            jobs: Range<Int>,
            _ fault: @escaping @Sendable () async throws -> Void,
        ) async throws {
            let producer = queue("producer", address)
            let consumer = queue("consumer", address)
            defer {
                producer.close()
                consumer.close()
            }
            try await patiently("opened") { try await producer.open() }
            let seen = Locked<Set<String>>([])
            try await withThrowingTaskGroup { group in
                group.addTask { try await fault() }
                group.addTask {
                    for start in stride(from: jobs.lowerBound, to: jobs.upperBound, by: 20) {
                        let page = (start..<min(start + 20, jobs.upperBound)).map { Job.sample($0) }
                        // An acknowledged offer counts; after a failover it may be lost, so it is verified at the end.
                        try await patiently("offered") { _ = try await producer.offer(page, verify: true) }
                        try await Task.sleep(for: .milliseconds(10))
                    }
                }
                group.addTask {
                    let all = jobs.map { Job.sample($0) }
                    let clock = ContinuousClock()
                    let limit = clock.now + .seconds(60)
                    var nextVerify = clock.now + .seconds(3)
                    while seen.withLock({ $0.count }) < jobs.count, clock.now < limit {
                        do throws(QueueError) {
                            await consumer.waitForWork()
                            let taken = try await consumer.take(.all)
                            if !taken.isEmpty {
                                // Ends that cannot be said now are said later.
                                seen.withLock { $0.formUnion(taken.map(\.rawID)) }
                                _ = try await consumer.finish(taken.map { ($0, .done(version: 1)) })
                            }
                            try await consumer.reclaim(dead: [])
                            if clock.now > nextVerify {
                                // What a failover lost is offered again by whoever still wants it (6.3).
                                nextVerify = clock.now + .seconds(1)
                                let missing = all.filter { job in !seen.withLock { $0.contains("\(job.id)") } }
                                _ = try await producer.offer(Array(missing.prefix(256)), verify: true)
                            }
                        } catch {
                            // What the leading scheduler does (14.3).
                            if error.code == .closed { try? await consumer.open() }
                            try? await Task.sleep(for: .milliseconds(20))
                        }
                    }
                }
                try await group.waitForAll()
            }
            let missing = jobs.map { Job.sample($0) }.filter { job in !seen.withLock { $0.contains("\(job.id)") } }
            var states: [String] = []
            for job in missing {
                let partition = QueuePartitions.partition(of: job.id.order, count: 8)
                let queue = QueueAddress(partition: partition, jobClass: .stops)
                states += try await consumer.audit(["\(job.id)"], in: queue).map { "\($0) in \(queue)" }
            }
            #expect(missing.isEmpty, "\(states)")
            let left = try await patiently("counts") { try await consumer.counts().values }
            #expect(left.allSatisfy { $0.dead == 0 })
        }

        @Test func `partitions lie on all masters, and no call crosses slots (42)`() async throws {
            try await RedisTopology.withCluster { masters, _ in
                // One seed is enough.
                try await runLoad(RedisAddress(.cluster([masters[1].node])), jobs: 0..<200) {}
                for master in masters {
                    let keys = try await master.send("KEYS", "so:*:open").array ?? []
                    #expect(!keys.isEmpty)
                }
            }
        }

        @Test func `behind sentinels a failover under load loses no job for good (13)`() async throws {
            try await RedisTopology.withSentinels { master, replica, sentinels in
                try await runLoad(RedisAddress(.sentinel(sentinels, master: "orders")), jobs: 0..<300) {
                    try await Task.sleep(for: .milliseconds(200))
                    try await master.server.kill()
                    _ = try await eventually("the replica took over") { () -> Bool? in
                        // It closes its connections when it becomes a master.
                        do { return try await replica.send("ROLE").array?.first?.text == "master" ? true : nil } catch {
                            return nil
                        }
                    }
                }
            }
        }

        /// The users of QUEUE.md 13.7.
        @Test func `a worker's rights suffice, a producer's cannot take, an observer's cannot write`() async throws {
            try await BullRig.with { rig in
                let all =
                    "+@all -@dangerous -@admin +info +role +config|get +client|setname +script|load +cluster|slots"
                for user in [
                    "ACL SETUSER so-worker on >w ~bull:{so-*}* ~so:{so-*}* \(all)",
                    "ACL SETUSER so-producer on >p ~bull:{so-*}* \(all) -rpoplpush -lmove -bzpopmin -zpopmin -smembers",
                    "ACL SETUSER so-observer on >o ~bull:{so-*}* +@read +@connection +eval +evalsha +script|load +info "
                        + "+client|list",
                ] {
                    var batch = RedisBatch()
                    for (index, word) in user.split(separator: " ").map(String.init).enumerated() {
                        if index == 0 { batch.begin(word) } else { batch.append(word) }
                    }
                    _ = try await rig.redis.send(batch)[0].orThrow()
                }
                let worker = queue(
                    "w",
                    RedisAddress(.unix(path: rig.server.socketPath), user: "so-worker", password: "w"),
                )
                defer { worker.close() }
                try await patiently("opened") { try await worker.open() }
                #expect(try await worker.findings().allSatisfy { !$0.isRefusal })
                _ = try await worker.offer([.sample(1)], verify: true)
                await worker.waitForWork()
                let taken = try await worker.take(.all)
                #expect(taken.count == 1)
                #expect(try await worker.finish(taken.map { ($0, .done(version: 1)) }) == [.done])
                try await worker.reclaim(dead: [WorkerID("nobody")])

                for (user, password) in [("so-producer", "p"), ("so-observer", "o")] {
                    // A foreign client says neither ROLE nor its name.
                    let redis = RedisConnection(try RedisServer.options(rig.server))
                    defer { redis.close() }
                    let base = "bull:{so-01ba}-stops:"
                    var batch = RedisBatch()
                    for words in [
                        ["AUTH", user, password], ["LLEN", "\(base)wait"], ["LPUSH", "\(base)wait", "x"],
                        ["ZPOPMIN", "\(base)marker"],
                    ] {
                        for (index, word) in words.enumerated() {
                            if index == 0 { batch.begin(word) } else { batch.append(word) }
                        }
                    }
                    let replies = try await redis.send(batch, timeout: .seconds(10))
                    #expect(replies[1].integer != nil, "\(user)")
                    #expect((replies[2].error == nil) == (user == "so-producer"), "\(user)")
                    #expect(replies[3].error?.hasCode("NOPERM") == true, "\(user)")
                }
            }
        }
    }
}
