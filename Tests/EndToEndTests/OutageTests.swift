import JSONText
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

extension EndToEnd {
    /// Processes that die and servers that are away. Numbers are those of QUEUE.md 18.
    @Suite struct OutageTests {
        /// A worker process of the queue, told what to do through a pipe.
        private struct Victim {
            let process: OwnedProcess
            private let pipe: Int32

            static func start(_ name: String, _ server: LocalRedis, _ folder: String) async throws -> Victim {
                let path = "\(folder)/\(name)"
                try #require(mkfifo(path, 0o600) == 0)
                // Read and write: nobody waits for the other end.
                let pipe = open(path, O_RDWR)
                try #require(pipe >= 0)
                let process = try await OwnedProcess.start(
                    [
                        "/bin/sh", "-c", "exec \"$@\" <\"$0\"", path, Program.path, "queues", "drive", "--redis",
                        server.url, "--worker", name,
                    ],
                    log: "\(folder)/\(name).log",
                )
                return Victim(process: process, pipe: pipe)
            }

            func ask(_ request: String) {
                let bytes = Array((request + "\n").utf8)
                _ = write(pipe, bytes, bytes.count)
            }

            func end() {
                process.killBlocking()
                close(pipe)
            }
        }

        @Test func `kill -9 of a worker that holds a hundred jobs: all run elsewhere within seconds (5)`() async throws
        {
            try await RedisServer.withServer { server in
                let folder = try LocalFiles.temporaryFolder("so-kill")
                defer { LocalFiles.removeTree(folder) }
                // As `queues drive` has it.
                var options = BullQueueOptions(
                    address: try RedisAddress(url: server.url),
                    worker: WorkerID("standby"),
                    deployment: "oracle",
                    generation: 1,
                )
                options.partitions = 1
                let standby = BullQueue(options, clock: RealClock())
                defer { standby.close() }
                let redis = RedisConnection(try RedisServer.options(server))
                defer { redis.close() }
                _ = try await eventually("the queue is open") { () -> Bool? in
                    do {
                        try await standby.open()
                        return true
                    } catch is QueueError { return nil }
                }
                let jobs = (0..<100).map { Job.sample($0) }
                _ = try await standby.offer(jobs, verify: false)
                let victim = try await Victim.start("victim", server, folder)
                defer { victim.end() }
                victim.ask("{\"op\":\"take\",\"count\":100}")
                _ = try await eventually(within: 60, "it has them all, and said so") { () -> Bool? in
                    let seen = try await redis.send(RedisCommand("HGET", "so:{so-00aa}:took:victim", "seen"))
                    let active = try await redis.send(RedisCommand("LLEN", "bull:{so-00aa}-stops:active"))
                    return seen.integer ?? 0 >= 1 && active.integer == 100 ? true : nil
                }
                victim.process.killBlocking()

                let clock = ContinuousClock()
                let killed = clock.now
                var last = killed
                // What the machine took from this test is not the queue's.
                var lostToMachine = Duration.zero
                var waits: [JobID: Duration] = [:]
                while waits.count < 100, clock.now - killed < .seconds(60) {
                    try await standby.reclaim(dead: [])
                    let taken = try await standby.take(.all)
                    let now = clock.now
                    lostToMachine += max(.zero, now - last - .milliseconds(40))
                    last = now
                    for job in taken {
                        #expect(job.crashes == 1 && job.deliveries == 2)
                        if let id = job.job?.id { waits[id] = now - killed }
                    }
                    #expect(try await standby.finish(taken.map { ($0, .done(version: 1)) }).allSatisfy { $0 == .done })
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(Set(waits.keys) == Set(jobs.map(\.id)))
                let counts = try await standby.counts().values
                #expect(counts.reduce(0) { $0 + $1.dead } == 0)
                let p99 = try #require(waits.values.sorted().dropLast().last)
                print("killed worker: p99 \(p99), lost to the machine \(lostToMachine)")
                #expect(p99 < .seconds(5) + lostToMachine)
            }
        }

        @Test func `every role starts and works while Redis is away, and uses it when it comes`() async throws {
            try await Deployment.run(workers: 1, schedulers: 1) { deployment in
                _ = try await deployment.startFeed(["--market", "paper:linear:DEMO"])
                // The walk falls by a thousandth soon.
                let draft = """
                    {"side": "BUY", "qty": "1", "entry": {"mode": "market"},
                     "trailing": {"callbackRate": "0.001"}}
                    """
                func trade(_ key: String) async throws {
                    let made = try await deployment.create(draft, market: "paper:linear:DEMO", key: key)
                    try #require(made.status == 202 || made.status == 201, "\(made.json)")
                    let id = try #require(made.json["id"]?.text)
                    _ = try await eventually(within: 90, "order \(key) has ended") { () -> Bool? in
                        let order = try await deployment.request("GET", "/v1/orders/\(id)").json
                        return order["status"]?.text == "STOPPED" ? true : nil
                    }
                }
                try await trade("with")
                try await deployment.server.kill()
                for role in ["worker", "scheduler", "api"] { try await deployment.replace(role) }
                try await trade("without")
                try await deployment.server.start()
                _ = try await eventually(within: 60, "the queue is open") { () -> Bool? in
                    do {
                        return try await deployment.redis.send(RedisCommand("EXISTS", "so:{so-00aa}:open")).integer == 1
                            ? true : nil
                    } catch { return nil }
                }
                try await trade("again")
                _ = try await eventually(within: 60, "its trigger went through the queue") { () -> Bool? in
                    var completed: Int64 = 0
                    for tag in QueuePartitions.tags.prefix(8) {
                        let key = "bull:{\(tag)}-stops:completed"
                        completed += try await deployment.redis.send(RedisCommand("ZCARD", key)).integer ?? 0
                    }
                    return completed > 0 ? true : nil
                }
                #expect(try await deployment.number("SELECT count(*) FROM orders WHERE status <> 'STOPPED'") == 0)
            }
        }
    }
}
