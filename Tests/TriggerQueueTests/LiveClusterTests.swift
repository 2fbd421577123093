import LocalServers
import OrderEngine
import OrderStorage
import PostgresClient
import RedisClient
import Simulation
import SmartOrders
import TestKit
import Testing
import TriggerQueue

extension BullQueueTests {
    /// A cluster of real duties on real stores. Numbers are those of the acceptance scenarios, QUEUE.md 18.
    @Suite struct LiveClusterTests {
        struct Outage: Sendable, CustomTestStringConvertible {
            let number: Int
            let milliseconds: Int
            var testDescription: String { "(\(number)) for \(milliseconds) ms" }
        }

        /// Longer than every pause between attempts to connect, which ends at a second: a minute shows nothing more.
        @Test(arguments: [Outage(number: 10, milliseconds: 100), Outage(number: 11, milliseconds: 5_000)])
        func `Redis is killed while a handler finishes: the effect is once and the job completes (10, 11)`(
            _ outage: Outage
        ) async throws {
            try await LiveCluster.with(isDurable: true) { cluster in
                try await cluster.run(["w1"]) {
                    let ids = try await cluster.create(stops: [9_500])
                    try await cluster.settle(1)
                    cluster.venue.shut(true)
                    try await cluster.tick(9_400)
                    _ = try await eventually("the venue is asked") {
                        cluster.venue.exchange.accepted.isEmpty ? nil : true
                    }
                    try await cluster.server.kill()
                    cluster.venue.shut(false)
                    // The effect needs no Redis.
                    try await cluster.ended(ids)
                    try await Task.sleep(for: .milliseconds(outage.milliseconds))
                    try await cluster.server.start()
                    let counts = try await eventually("the job completes") { () -> QueueCounts? in
                        do {
                            let counts = try await cluster.counts()
                            return counts.completed > 0 && counts.active + counts.waiting == 0 ? counts : nil
                        } catch is QueueError { return nil }
                    }
                    #expect(counts.dead == 0)
                    try await cluster.expectOneExitEach(ids)
                }
            }
        }

        /// What Redis loses, and how.
        enum Loss: String, Sendable, CaseIterable { case flush, kill, failover }

        @Test(arguments: Loss.allCases)
        func `acknowledged triggers that Redis loses run all the same, each once (12, 13)`(_ loss: Loss) async throws {
            try await LiveCluster.with { cluster in
                try await cluster.run(["w1"]) {
                    let ids = try await cluster.create(stops: (0..<20).map { 9_500 + $0 })
                    try await cluster.settle(20)
                    // The worker evaluates and takes nothing.
                    try await quiet(true, cluster)
                    let redis = RedisConnection(try RedisServer.options(cluster.server))
                    defer { redis.close() }
                    // What a replica that lags behind has.
                    if loss == .failover { _ = try await redis.send(RedisCommand("SAVE")) }
                    try await cluster.tick(9_400)
                    _ = try await eventually("all triggers wait in Redis") {
                        try await cluster.counts().waiting >= 20 ? true : nil
                    }
                    switch loss {
                    case .flush: _ = try await redis.send(RedisCommand("FLUSHALL"))
                    case .kill, .failover:
                        try await cluster.server.kill()
                        try await cluster.server.start()
                    }
                    _ = try await eventually("all triggers have their jobs again") { () -> Bool? in
                        do { return try await cluster.counts().waiting >= 20 ? true : nil } catch { return nil }
                    }
                    #expect(cluster.venue.exchange.accepted.isEmpty)
                    try await quiet(false, cluster)
                    try await cluster.ended(ids)
                    try await cluster.expectOneExitEach(ids)
                }
            }
        }

        private func quiet(_ isQuiet: Bool, _ cluster: LiveCluster) async throws {
            _ = try await cluster.pool.query(Statement(sql: "UPDATE workers SET is_quiet = \(isQuiet)"))
            // Until its heartbeat has told the worker.
            if isQuiet { try await Task.sleep(for: .milliseconds(1_500)) }
        }

        @Test func `a worker stops in time while Redis is silent (18)`() async throws {
            try await LiveCluster.with { cluster in
                let scheduler = try cluster.startScheduler()
                let worker = try cluster.startWorker("w1")
                _ = try await cluster.create(stops: [9_500])
                try await cluster.settle(1)
                cluster.server.suspend()
                let clock = ContinuousClock()
                let begun = clock.now
                await worker.stop()
                #expect(clock.now - begun < .seconds(10))
                await scheduler.stop()
                #expect(clock.now - begun < .seconds(20))
                cluster.server.resume()
            }
        }

        @Test func `a stopping worker takes nothing new, ends what runs, and charges no crash (19)`() async throws {
            try await LiveCluster.with { cluster in
                let scheduler = try cluster.startScheduler()
                let worker = try cluster.startWorker("w1")
                let ids = try await cluster.create(stops: (0..<10).map { 9_500 + $0 })
                try await cluster.settle(10)
                cluster.venue.shut(true)
                try await cluster.tick(9_400)
                _ = try await eventually("ten requests are under way") {
                    cluster.venue.exchange.accepted.count == 10 ? true : nil
                }
                async let stopped: Void = worker.stop()
                try await Task.sleep(for: .milliseconds(300))
                // Of orders that do not exist: whoever took them would call them dead.
                let new = (1...5).map { Job.sample($0) }
                _ = try await cluster.queue.offer(new, verify: false)
                try await Task.sleep(for: .milliseconds(500))
                #expect(try await isWaiting(new, cluster))
                cluster.venue.shut(false)
                await stopped
                try await cluster.ended(ids)
                #expect(try await isWaiting(new, cluster))
                let counts = try await cluster.counts()
                #expect(counts.active == 0 && counts.dead == 0)
                try await cluster.expectOneExitEach(ids)
                // None of the jobs was taken from anybody.
                let next = try cluster.context("next").queue
                #expect(try await next.take(.all).allSatisfy { $0.crashes == 0 })
                await scheduler.stop()
            }
        }

        private func isWaiting(_ jobs: [Job], _ cluster: LiveCluster) async throws -> Bool {
            for job in jobs {
                let partition = QueuePartitions.partition(of: job.id.order, count: 8)
                let queue = QueueAddress(partition: partition, jobClass: .stops)
                if try await cluster.queue.audit(["\(job.id)"], in: queue) != ["waiting"] { return false }
            }
            return true
        }

        @Test func `a rolling restart of all workers loses nothing and doubles nothing (20)`() async throws {
            try await LiveCluster.with { cluster in
                let scheduler = try cluster.startScheduler()
                var workers: [LiveCluster.Process] = []
                for number in 0..<3 { workers.append(try cluster.startWorker("w\(number)")) }
                let ids = try await cluster.create(stops: (0..<40).map { 9_100 + 10 * $0 })
                try await cluster.settle(40)
                for step in 0..<40 {
                    // Crosses one stop more.
                    try await cluster.tick(9_485 - 10 * step)
                    if step % 12 == 6 {
                        let number = step / 12 % 3
                        await workers[number].stop()
                        workers[number] = try cluster.startWorker("w\(number)-again")
                    }
                    try await Task.sleep(for: .milliseconds(30))
                }
                try await cluster.ended(ids)
                try await cluster.expectOneExitEach(ids)
                for worker in workers { await worker.stop() }
                await scheduler.stop()
            }
        }

        @Test func `triggers flow while Redis is full (29)`() async throws {
            try await LiveCluster.with { cluster in
                try await cluster.run(["w1"]) {
                    let ids = try await cluster.create(stops: (0..<5).map { 9_500 + $0 })
                    try await cluster.settle(5)
                    let redis = RedisConnection(try RedisServer.options(cluster.server))
                    defer { redis.close() }
                    _ = try await redis.send(RedisCommand("CONFIG", "SET", "maxmemory", "1000000"))
                    // The stream takes no price either: the stored extremes carry it.
                    try await cluster.tick(9_400, inStream: false)
                    try await cluster.ended(ids)
                    try await cluster.expectOneExitEach(ids)
                    _ = try await redis.send(RedisCommand("CONFIG", "SET", "maxmemory", "0"))
                }
            }
        }

        /// FA41: the servers' policy may change under way.
        @Test func `triggers flow while Redis may evict jobs, and through it again afterwards`() async throws {
            try await LiveCluster.with { cluster in
                try await cluster.run(["w1"]) {
                    let first = try await cluster.create(stops: [9_500])
                    let second = try await cluster.create(stops: [9_300])
                    try await cluster.settle(2)
                    let redis = RedisConnection(try RedisServer.options(cluster.server))
                    defer { redis.close() }
                    _ = try await redis.send(RedisCommand("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"))
                    _ = try await eventually("the worker's queue takes nothing in") {
                        cluster.refusal("w1")?.contains("allkeys-lru") == true ? true : nil
                    }
                    let before = try await cluster.counts()
                    try await cluster.tick(9_400)
                    try await cluster.ended(first)
                    // Of a job that went through Redis its completion would be known there.
                    #expect(try await cluster.counts() == before)
                    _ = try await redis.send(RedisCommand("CONFIG", "SET", "maxmemory-policy", "noeviction"))
                    _ = try await eventually("it takes jobs in") { cluster.refusal("w1") == nil ? true : nil }
                    try await cluster.tick(9_200)
                    try await cluster.ended(first + second)
                    try await cluster.expectOneExitEach(first + second)
                }
            }
        }

        /// How a master stops being one.
        enum Succession: String, Sendable, CaseIterable {
            /// FA44
            case death
            /// FA45: nobody but the clients reaches it; they go on with it beside its successor until it is put right.
            case split
        }

        @Test(arguments: Succession.allCases)
        func `stops fire once while sentinels replace the master`(_ succession: Succession) async throws {
            try await RedisTopology.withSentinels(canSplit: true) { master, replica, sentinels in
                let address = RedisAddress(
                    .sentinel(sentinels, master: "orders"),
                    user: RedisTopology.client.name,
                    password: RedisTopology.client.password,
                )
                try await LiveCluster.with(master.server, at: address) { cluster in
                    try await cluster.run(["w1", "w2"]) {
                        let ids = try await cluster.create(stops: (0..<60).map { 9_000 + 10 * $0 })
                        try await cluster.settle(60)
                        switch succession {
                        case .death: try await master.server.kill()
                        case .split: try await RedisTopology.split(master)
                        }
                        // Six orders at a time, from before the succession until after it.
                        var price = 9_600
                        func fall() async throws {
                            price -= 60
                            try await cluster.tick(price)
                        }
                        for _ in 0..<3 { try await fall() }
                        _ = try await eventually("the replica took over") { () -> Bool? in
                            do { return try await RedisTopology.isMaster(replica) ? true : nil } catch { return nil }
                        }
                        for _ in 0..<3 { try await fall() }
                        if succession == .split {
                            #expect(try await RedisTopology.isMaster(master), "both are masters")
                            try await RedisTopology.mend(master)
                            _ = try await eventually("the old master follows") { () -> Bool? in
                                do { return try await RedisTopology.isMaster(master) ? nil : true } catch { return nil }
                            }
                        }
                        while price > 8_900 { try await fall() }
                        try await cluster.ended(ids)
                        try await cluster.expectOneExitEach(ids)
                    }
                }
            }
        }

        @Test func `a transaction that rolls back leaves no job (37)`() async throws {
            try await LiveCluster.with { cluster in
                let stores = StoresUnderTest(
                    orders: cluster.orders,
                    accounts: cluster.accounts,
                    cluster: cluster.store,
                )
                let order = try await stores.order(7, cluster.account)
                let next = order.next()
                let job = Job.check(.smart(next), VenueOrderKey(leg: .stop, attempt: 1), number: 1)
                #expect(try await cluster.orders.commit([.sample(order, jobs: [job])]) == [.lost])
                let scheduler = try cluster.startScheduler()
                // A job that is committed after it passes; what was rolled back would have been before it.
                let later = Job.check(.smart(next), VenueOrderKey(leg: .stop, attempt: 2), number: 1)
                guard case .committed = try await cluster.orders.commit([.sample(next, jobs: [later])])[0] else {
                    Issue.record("the commit did not pass")
                    return
                }
                _ = try await eventually("the committed job is offered") {
                    try await cluster.counts().waiting > 0 ? true : nil
                }
                await scheduler.stop()
                let taken = try await cluster.queue.take(.all).map(\.rawID)
                #expect(taken.contains("\(later.id)"))
                #expect(!taken.contains("\(job.id)"))
            }
        }

        @Test func `a job whose process died between commit and offer appears (38)`() async throws {
            try await LiveCluster.with { cluster in
                let stores = StoresUnderTest(
                    orders: cluster.orders,
                    accounts: cluster.accounts,
                    cluster: cluster.store,
                )
                let scheduler = try cluster.startScheduler()
                let order = try await stores.order(7, cluster.account)
                let next = order.next()
                let job = Job.check(.smart(next), VenueOrderKey(leg: .stop, attempt: 1), number: 1)
                guard case .committed = try await cluster.orders.commit([.sample(next, jobs: [job])])[0] else {
                    Issue.record("the commit did not pass")
                    return
                }
                let taken = try await eventually("the job is offered") { () -> [TakenJob]? in
                    let taken = try await cluster.queue.take(.all)
                    return taken.contains { $0.rawID == "\(job.id)" } ? taken : nil
                }
                #expect(taken.allSatisfy { $0.crashes == 0 && $0.attemptsMade == 0 })
                await scheduler.stop()
            }
        }

        @Test func `a leader that slept gives away nothing, and its worker moves no cursor (39)`() async throws {
            try await LiveCluster.with { cluster in
                let (old, new) = (WorkerID("s1"), WorkerID("s2"))
                let (first, second) = (WorkerID("w1"), WorkerID("w2"))
                for worker in [first, second] { try await cluster.store.register(worker) }
                let oldEpoch = try #require(try await cluster.store.lead(as: old))
                #expect(try await cluster.store.assign([(shard: 5, to: first)], leaderEpoch: oldEpoch))
                let held = try await cluster.store.heartbeat(first).assignments
                #expect(held.map(\.shard) == [5])
                // As if it had been stopped for longer than its lease.
                _ = try await cluster.pool.query(
                    Statement(sql: "UPDATE leader SET lease_until = clock_timestamp() - interval '1 s'")
                )
                let newEpoch = try #require(try await cluster.store.lead(as: new))
                #expect(newEpoch > oldEpoch)
                #expect(try await cluster.store.lead(as: old) == nil)
                #expect(try await cluster.store.assign([(shard: 5, to: second)], leaderEpoch: newEpoch))
                #expect(try await cluster.store.assign([(shard: 5, to: first)], leaderEpoch: oldEpoch) == false)
                let now = try await cluster.store.heartbeat(second).assignments
                #expect(now.map(\.shard) == [5] && now[0].epoch > held[0].epoch)
                // The first worker's word about the shard counts no more.
                #expect(try await cluster.store.accept(held, cursors: [], of: first) == false)
                #expect(try await cluster.store.heartbeat(first).assignments.isEmpty)
            }
        }

        @Test func `of a stop and a target on one tick one wins, the other completes without effect (40)`()
            async throws
        {
            try await LiveCluster.with { cluster in
                try await cluster.run(["w1"]) {
                    let ids = try await cluster.create(stops: [9_500], target: 10_500)
                    try await cluster.settle(1)
                    try await quiet(true, cluster)
                    try await cluster.tick(9_400)
                    let tick = try #require(try await MemoryTickLog(cluster.ticks).latest(cluster.series))
                    let row = try #require(try await cluster.orders.smart(ids).first)
                    let jobs = [Leg.takeProfit(1), .stop].map { leg in
                        Job(
                            id: JobID(order: row.id, leg: leg, attempt: 1),
                            name: .trigger,
                            jobClass: JobClass(leg: leg),
                            version: row.version,
                            account: row.account,
                            market: row.instrument.market,
                            source: .mark,
                            position: tick.position,
                        )
                    }
                    _ = try await cluster.queue.offer(jobs, verify: false)
                    try await quiet(false, cluster)
                    try await cluster.ended(ids)
                    _ = try await eventually("both jobs complete") {
                        try await cluster.counts().completed >= 2 ? true : nil
                    }
                    try await cluster.expectOneExitEach(ids)
                    #expect(try await cluster.queue.offer(jobs, verify: false) == [.completed, .completed])
                    #expect(try await cluster.counts().dead == 0)
                }
            }
        }

        @Test func `a worker that slept past its lease writes nothing when it wakes (7)`() async throws {
            try await LiveCluster.with { cluster in
                let scheduler = try cluster.startScheduler()
                let first = try cluster.startWorker("w1")
                let ids = try await cluster.create(stops: [9_500])
                try await cluster.settle(1)
                cluster.venue.shut(true)
                try await cluster.tick(9_400)
                _ = try await eventually("the venue is asked") {
                    cluster.venue.exchange.accepted.isEmpty ? nil : true
                }
                // The exit is done at the exchange, its worker hears nothing of it and loses its lease.
                cluster.silence("w1")
                let second = try cluster.startWorker("w2")
                try await cluster.ended(ids)
                let row = try #require(try await cluster.orders.smart(ids).first)
                cluster.venue.shut(false)
                await first.stop()
                #expect(try await cluster.orders.smart(ids).first == row)
                try await cluster.expectOneExitEach(ids)
                await second.stop()
                await scheduler.stop()
            }
        }

        /// What happens to the body of a job in Redis.
        enum Damage: String, Sendable, CaseIterable { case evicted, garbled }

        @Test(arguments: Damage.allCases)
        func `a stop whose job lost its body is sent all the same (26, 27)`(_ damage: Damage) async throws {
            try await LiveCluster.with { cluster in
                try await cluster.run(["w1"]) {
                    let ids = try await cluster.create(stops: [9_500, 9_501])
                    try await cluster.settle(2)
                    try await quiet(true, cluster)
                    try await cluster.tick(9_400)
                    _ = try await eventually("both triggers wait") {
                        try await cluster.counts().waiting >= 2 ? true : nil
                    }
                    let redis = RedisConnection(try RedisServer.options(cluster.server))
                    defer { redis.close() }
                    let partition = QueuePartitions.partition(of: ids[0], count: 8)
                    let key = "bull:{\(QueuePartitions.tags[partition])}-stops:\(ids[0])-sl-1"
                    #expect(try await redis.send(RedisCommand("EXISTS", key)).integer == 1)
                    switch damage {
                    case .evicted: _ = try await redis.send(RedisCommand("DEL", key))
                    case .garbled: _ = try await redis.send(RedisCommand("HSET", key, "data", "{\"v\":1,"))
                    }
                    try await quiet(false, cluster)
                    try await cluster.ended(ids)
                    try await cluster.expectOneExitEach(ids)
                    #expect(cluster.bodiesLost >= 1)
                }
            }
        }

        @Test func `what is dead is dead after a loss of Redis too (3, 12)`() async throws {
            try await LiveCluster.with { cluster in
                try await cluster.run(["w1"]) {
                    // Of orders that nobody knows.
                    let jobs = (1...3).map { Job.sample($0) }
                    _ = try await cluster.queue.offer(jobs, verify: false)
                    _ = try await eventually("all are dead") { try await cluster.counts().dead == 3 ? true : nil }
                    let redis = RedisConnection(try RedisServer.options(cluster.server))
                    defer { redis.close() }
                    _ = try await redis.send(RedisCommand("FLUSHALL"))
                    _ = try await eventually("the dead are back") { () -> Bool? in
                        do { return try await cluster.counts().dead == 3 ? true : nil } catch { return nil }
                    }
                    #expect(try await cluster.queue.offer(jobs, verify: true) == [.dead, .dead, .dead])
                    let partition = QueuePartitions.partition(of: jobs[0].id.order, count: 8)
                    let queue = QueueAddress(partition: partition, jobClass: .stops)
                    let dead = try await cluster.queue.deadJobs(in: queue)
                    #expect(dead.map(\.id) == ["\(jobs[0].id)"])
                    #expect(dead[0].reason.hasPrefix("UNKNOWN_ORDER") && dead[0].attemptsMade == 1)
                }
            }
        }

        @Test func `what is paused stays paused after a loss of Redis (12, 31)`() async throws {
            try await LiveCluster.with { cluster in
                try await cluster.run(["w1"]) {
                    let job = Job.sample(3, .targets)
                    let queue = QueueAddress(
                        partition: QueuePartitions.partition(of: job.id.order, count: 8),
                        jobClass: .targets,
                    )
                    try await cluster.queue.pause(queue, durationMs: 0, by: "ada", reason: "incident 7")
                    let operations = PostgresOperationStore(pool: cluster.pool)
                    try await operations.recordPause("\(queue)", durationMs: 0, actor: "ada", reason: "incident 7")
                    let redis = RedisConnection(try RedisServer.options(cluster.server))
                    defer { redis.close() }
                    _ = try await redis.send(RedisCommand("FLUSHALL"))
                    // The first offer that is taken in finds the queue open again: from then on a worker could take it.
                    _ = try await eventually("the queue takes offers") { () -> Bool? in
                        do { return try await cluster.queue.offer([job], verify: false) == [.queued] } catch {
                            return nil
                        }
                    }
                    #expect(try await cluster.queue.isPaused(queue))
                    let tag = QueuePartitions.tags[queue.partition]
                    let pause = try await redis.send(RedisCommand("HGET", "so:{\(tag)}:paused", "targets"))
                    #expect(pause.text == "0 ada incident 7")
                    // Another queue is worked on meanwhile, this one is not.
                    let other = Job.sample(3)
                    _ = try await cluster.queue.offer([other], verify: false)
                    _ = try await eventually("the other job ends") { try await cluster.counts().dead == 1 ? true : nil }
                    #expect(try await cluster.counts().waiting == 1)
                    // Somebody resumes: a scheduler that opens once more does not pause again.
                    try await cluster.queue.resume(queue)
                    #expect(try await cluster.queue.open(pausing: try await cluster.orders.queuePauses()) == false)
                    _ = try await eventually("it ends too") { try await cluster.counts().dead == 2 ? true : nil }
                }
            }
        }

        @Test func `how often a job crashed survives a loss of Redis (6, 12)`() async throws {
            try await LiveCluster.with { cluster in
                let redis = RedisConnection(try RedisServer.options(cluster.server))
                defer { redis.close() }
                func key(_ job: Job) -> String {
                    let tag = QueuePartitions.tags[QueuePartitions.partition(of: job.id.order, count: 8)]
                    return "bull:{\(tag)}-\(job.jobClass.rawValue):\(job.id)"
                }
                func stored(_ job: Job) async throws -> [String] {
                    try await cluster.pool.query(
                        Statement(sql: "SELECT state::text || ' ' || crashes FROM outbox WHERE job_id = '\(job.id)'")
                    ).map { try $0.string(0) }
                }
                // Workers died with them, as the queue counted. One too many for a target, never for a stop.
                let (target, stop) = (Job.sample(4, .targets), Job.sample(5))
                _ = try await cluster.queue.offer([target, stop], verify: false)
                for job in [target, stop] {
                    _ = try await redis.send(RedisCommand("HSET", key(job), "stc", "11", "ats", "1"))
                }
                try await cluster.run(["w1"]) {
                    _ = try await eventually("both are dead") { try await cluster.counts().dead == 2 ? true : nil }
                }
                let deaths = try await cluster.orders.deaths(after: "", limit: 10)
                #expect(deaths.map { "\($0.crashes)" } == ["11", "11"])
                #expect(deaths.first { $0.job.id == target.id }?.reason.hasPrefix("CRASHED_WORKERS: 11") == true)
                #expect(deaths.first { $0.job.id == stop.id }?.reason.hasPrefix("UNKNOWN_ORDER") == true)

                // What was counted before the loss comes back with the offer.
                let job = Job.sample(6, .targets)
                let counted = Job(
                    id: job.id,
                    name: job.name,
                    jobClass: job.jobClass,
                    version: job.version,
                    account: job.account,
                    market: job.market,
                    source: job.source,
                    position: job.position,
                    crashes: 2,
                )
                try await cluster.orders.noteCrashes([counted])
                try await cluster.orders.noteCrashes([job])
                #expect(try await stored(job) == ["pending 2"])
                _ = try await redis.send(RedisCommand("FLUSHALL"))
                let scheduler = try cluster.startScheduler()
                _ = try await eventually("the job is offered with its count") { () -> Bool? in
                    try await redis.send(RedisCommand("HGET", key(job), "stc")).text == "2" ? true : nil
                }
                await scheduler.stop()
                let taken = try await eventually("it is taken") { () -> [TakenJob]? in
                    let taken = try await cluster.queue.take(TakeRequest(stops: 0, targets: 8, housekeeping: 0))
                    return taken.isEmpty ? nil : taken
                }
                #expect(taken.map(\.crashes) == [2] && taken[0].rawID == "\(job.id)")
            }
        }
    }
}
