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
        /// - Parameter isOver: jobs are offered until then, the last of them again.
        private func runLoad(
            _ address: RedisAddress,
            jobs: Range<Int>,
            until isOver: @escaping @Sendable () -> Bool = { true },
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
                    let last = (max(jobs.lowerBound, jobs.upperBound - 20)..<jobs.upperBound).map { Job.sample($0) }
                    while !isOver() {
                        try await patiently("offered") { _ = try await producer.offer(last, verify: true) }
                        try await Task.sleep(for: .milliseconds(10))
                    }
                }
                group.addTask {
                    let all = jobs.map { Job.sample($0) }
                    let clock = ContinuousClock()
                    let limit = clock.now + .seconds(120)
                    var nextVerify = clock.now + .seconds(3)
                    while seen.withLock({ $0.count }) < jobs.count || !isOver(), clock.now < limit {
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

        private func slot(_ partition: Int) -> Int {
            RedisClusterMap.slot(of: "so:{\(QueuePartitions.tags[partition])}:open")
        }

        /// The master that owns a slot when the cluster is new.
        private func owner(_ slot: Int, _ masters: [TopologyNode]) -> Int { slot * masters.count / 16_384 }

        @Test func `slots that move under load lose nothing, and everything goes on (42)`() async throws {
            try await RedisTopology.withCluster { masters, replica in
                let address = RedisAddress(.cluster(masters.map(\.node)))
                let (slots, all) = ((0..<3).map { slot($0) }, masters + [replica])
                let owners = slots.map { owner($0, masters) }
                let isOver = Locked(false)
                try await runLoad(address, jobs: 0..<600, until: { isOver.withLock { $0 } }) {
                    for (slot, owner) in zip(slots, owners) {
                        let (source, target) = (masters[owner], masters[(owner + 1) % masters.count])
                        try await RedisTopology.migrate(slot, from: source, to: target, all: all.dropLast()) {
                            // Longer than a call is repeated.
                            try await Task.sleep(for: .milliseconds(2_500))
                        }
                    }
                    isOver.withLock { $0 = true }
                }
            }
        }

        @Test func `a master that dies under load is replaced, and no job is lost for good (13, 42)`() async throws {
            try await RedisTopology.withCluster { masters, replica in
                let address = RedisAddress(.cluster(masters.map(\.node)))
                let isOver = Locked(false)
                try await runLoad(address, jobs: 0..<300, until: { isOver.withLock { $0 } }) {
                    try await Task.sleep(for: .milliseconds(200))
                    try await masters[0].server.kill()
                    _ = try await eventually("the replica took over") { () -> Bool? in
                        do { return try await replica.send("ROLE").array?.first?.text == "master" ? true : nil } catch {
                            return nil
                        }
                    }
                    isOver.withLock { $0 = true }
                }
            }
        }

        /// The tick streams lie in one slot and are read by connections that know its owner.
        @Test func `a connection for one slot follows its owner (42)`() async throws {
            try await RedisTopology.withCluster { masters, replica in
                let keys = ["so:{so-ticks}:a", "so:{so-ticks}:b"]
                let slot = RedisClusterMap.slot(of: keys[0])
                var options = RedisOptions(address: RedisAddress(.cluster([masters[0].node, masters[1].node])))
                options.slotKey = keys[0]
                let connection = RedisConnection(options)
                defer { connection.close() }
                func write(_ key: String) async throws {
                    _ = try await eventually("\(key) is written") { () -> Bool? in
                        do throws(RedisError) {
                            _ = try await connection.send(RedisCommand("XADD", key, "*", "p", "1"))
                            return true
                        } catch { return nil }
                    }
                }
                for key in keys { try await write(key) }
                let owner = owner(slot, masters)
                let (source, target) = (masters[owner], masters[(owner + 1) % masters.count])
                try await RedisTopology.migrate(slot, from: source, to: target, all: masters) {}
                for key in keys { try await write(key) }
                // The last one went to the new owner.
                let entries = try await connection.readStreams(keys.map { (key: $0, after: .zero) }, count: 10)
                #expect(entries.count == 4)
                #expect(try await target.send("XLEN", keys[1]).integer == 2)
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
