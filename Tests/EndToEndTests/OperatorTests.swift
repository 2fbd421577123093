import JSONText
import LocalServers
import OrderEngine
import OrderStorage
import OwnerThread
import PostgresClient
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

private struct NoSecrets: SecretBox {
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8] { secret }
    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] { sealed }
}

extension EndToEnd {
    /// What an operator does with dead jobs, by the built program (QUEUE.md 11.1).
    @Suite struct OperatorTests {
        private struct Desk: Sendable {
            let pool: PostgresPool
            let redis: RedisConnection
            let orders: PostgresOrderStore
            let arguments: [String]

            func run(_ words: String...) async throws -> Outcome {
                try await Program.run(words + arguments, environment: ["SMARTORDERS_OPERATOR": "ada"])
            }

            func integer(_ words: String...) async throws -> Int64 {
                var batch = RedisBatch()
                for (index, word) in words.enumerated() {
                    if index == 0 { batch.begin(word) } else { batch.append(word) }
                }
                return try await redis.send(batch)[0].orThrow().integer ?? -1
            }
        }

        private func withDesk(_ body: (Desk, PostgresOrderStore, AccountID) async throws -> Void) async throws {
            try await RedisServer.withServer { server in
                let conninfo = try await PostgresServer.freshDatabase()
                let pool = try PostgresPool(configuration: .stores(conninfo: conninfo, connections: 2))
                let redis = RedisConnection(try RedisServer.options(server))
                defer { redis.close() }
                do {
                    try await Migrator(pool: pool).up()
                    let account = AccountID.sample(1)
                    let owner = Account(id: account, name: "a", venue: "paper", product: "linear", mode: .paper)
                    try await PostgresAccountStore(pool: pool, secrets: NoSecrets())
                        .create(owner, credentials: Credentials(key: "k", secret: "s"))
                    let incarnation = try await DatabaseHistory.check(pool).incarnation
                    let orders = PostgresOrderStore(pool: pool, incarnation: incarnation)
                    let desk = Desk(
                        pool: pool,
                        redis: redis,
                        orders: orders,
                        arguments: ["--database", conninfo, "--redis", server.url],
                    )
                    let opened = try await desk.run("redis", "rebuild", "--reason", "first start")
                    try #require(opened.status == 0, "\(opened.complaint)")
                    try await body(desk, orders, account)
                    await pool.close()
                } catch {
                    await pool.close()
                    throw error
                }
            }
        }

        /// Dead jobs as `finish` leaves them; every tenth died of something else.
        private func bury(_ order: OrderID, _ count: Int, _ desk: Desk) async throws -> String {
            let partition = QueuePartitions.partition(of: order, count: 8)
            let base = "bull:{\(QueuePartitions.tags[partition])}-stops:"
            let script = """
                for i = ARGV[2], ARGV[3] do
                    local id = ARGV[1] .. '-sl-' .. string.format('%d', i)
                    local reason = i % 10 == 0 and 'BADID: no' or 'VENUE_DOWN: timed out'
                    redis.call('HSET', KEYS[1] .. id, 'name', 'trigger', 'data', '{}', 'opts', '{}', 'timestamp', '1',
                        'delay', '0', 'priority', '0', 'atm', '3', 'ats', '3', 'finishedOn', '2', 'failedReason', reason)
                    redis.call('ZADD', KEYS[1] .. 'failed', 2, id)
                end
                return 1
                """
            for start in stride(from: 1, through: count, by: 5_000) {
                _ = try await desk.redis.send(
                    RedisCommand(
                        "EVAL",
                        script,
                        "1",
                        base,
                        "\(order)",
                        "\(start)",
                        "\(min(start + 4_999, count))",
                    )
                )
            }
            return base
        }

        @Test func `fifty thousand dead jobs, the run killed half way, each moves once (34)`() async throws {
            try await withDesk { desk, orders, account in
                let live = SmartOrder.sample(1, account)
                let over = SmartOrder.sample(2, account).next { order in
                    order.status = .cancelled
                    order.phase = nil
                }
                for order in [live, SmartOrder.sample(2, account)] { _ = try await orders.commit([.sample(order)]) }
                let ended = try await orders.commit([.sample(over)])
                guard case .committed = ended[0] else { throw UnexpectedOutcome(ended[0]) }
                let base = try await bury(live.id, 50_000, desk)
                _ = try await bury(over.id, 100, desk)

                let preview = try await desk.run("jobs", "requeue", "--error-class", "VENUE_DOWN", "--dry-run")
                #expect(preview.output.hasPrefix("matched 45090\n"), "\(preview.output)\(preview.complaint)")
                #expect(preview.output.contains("error VENUE_DOWN: 45090"))
                #expect(try await desk.integer("ZCARD", "\(base)failed") == 50_000)
                let tooMany = try await desk.run("jobs", "requeue", "--yes", "--reason", "test")
                #expect(tooMany.status == 7 && tooMany.complaint.contains("TOO_MANY"), "\(tooMany.complaint)")
                let silent = try await desk.run("jobs", "requeue", "--force")
                #expect(silent.status == 2 && silent.complaint.contains("REASON_REQUIRED"), "\(silent.complaint)")

                let words = [
                    "jobs", "requeue", "--error-class", "VENUE_DOWN", "--batch-id", "outage", "--reason",
                    "venue is back",
                    "--force", "--yes",
                ]
                let folder = try LocalFiles.temporaryFolder("so-op")
                defer { LocalFiles.removeTree(folder) }
                let first = try await OwnedProcess.start(
                    [Program.path] + words + desk.arguments,
                    log: "\(folder)/log",
                )
                _ = try await eventually(within: 60, "ten thousand have moved") {
                    try await desk.integer("LLEN", "\(base)wait") >= 10_000 ? true : nil
                }
                first.killBlocking()
                #expect(try await desk.integer("LLEN", "\(base)wait") < 45_000, "it was killed too late")

                let second = try await Program.run(
                    words + desk.arguments,
                    environment: ["SMARTORDERS_OPERATOR": "ada"],
                    seconds: 120,
                )
                #expect(
                    second.output == "matched 45090 requeued 45000 obsolete 90 duplicate 0 failed 0\n",
                    "\(second.output) \(second.complaint)",
                )
                #expect(try await desk.integer("LLEN", "\(base)wait") == 45_000)
                let waiting = try await desk.redis.send(RedisCommand("LRANGE", "\(base)wait", "0", "-1")).array ?? []
                #expect(Set(waiting.compactMap(\.text)).count == 45_000)
                #expect(try await desk.integer("ZCARD", "\(base)failed") == 5_000)

                let third = try await Program.run(words + desk.arguments)
                #expect(third.status == 4 && third.complaint.contains("BATCH_DONE"), "\(third.complaint)")
                let rows = try await desk.pool.query(
                    Statement(sql: "SELECT actor, subject, reason FROM audit WHERE action = 'jobs.requeue'")
                )
                #expect(rows.count == 1)
                #expect(try rows[0].string(0) == "ada" && rows[0].string(1) == "outage")
                #expect(try rows[0].string(2) == "venue is back")
                let shown = try await desk.run("jobs", "batches", "show", "outage")
                #expect(shown.output.contains("\"state\":\"done\"") && shown.output.contains("\"moved\":45000"))
            }
        }

        private func queueCount(_ desk: Desk) async throws -> Int {
            let listing = try await desk.run("queues", "list", "-o", "json")
            guard case .array(let rows)? = try listing.documents.first else { return -1 }
            return rows.count
        }

        @Test func `the number of partitions changes while nothing runs, and the dead are kept`() async throws {
            try await withDesk { desk, _, _ in
                let partitions = ["redis", "rebuild", "--partitions", "4", "--reason", "fewer nodes"]
                func rebuild() async throws -> Outcome {
                    try await Program.run(partitions + desk.arguments, environment: ["SMARTORDERS_OPERATOR": "ada"])
                }
                let job = Job.sample(6)
                try await desk.orders.buryJobs([JobDeath(job: job, reason: "X: y", attempts: 3, crashes: 1)])
                _ = try await desk.pool.query(
                    Statement(sql: "INSERT INTO workers VALUES ('w', clock_timestamp() + interval '1 h')")
                )
                let refused = try await rebuild()
                #expect(refused.status == 7 && refused.complaint.contains("PROCESSES_RUN"), "\(refused.complaint)")
                #expect(try await queueCount(desk) == 24)
                _ = try await desk.pool.query(Statement(sql: "DELETE FROM workers"))
                let done = try await rebuild()
                #expect(done.status == 0 && done.output.contains("1 dead"), "\(done.output)\(done.complaint)")
                #expect(try await queueCount(desk) == 12)
                let queue = QueueAddress(
                    partition: QueuePartitions.partition(of: job.id.order, count: 4),
                    jobClass: .stops,
                )
                let dead = try await desk.run("dead", "list", "--queue", "\(queue)", "-o", "name")
                #expect(dead.output == "\(job.id)\n", "\(dead.output)\(dead.complaint)")
                #expect(try await desk.integer("EXISTS", "so:{so-04}:open") == 0)
            }
        }

        @Test func `queues and jobs are shown, paused, moved and removed as the operator says`() async throws {
            try await withDesk { desk, orders, account in
                let live = SmartOrder.sample(1, account)
                _ = try await orders.commit([.sample(live)])
                let base = try await bury(live.id, 20, desk)
                let partition = QueuePartitions.partition(of: live.id, count: 8)
                let name = "\(QueueAddress(partition: partition, jobClass: .stops))"

                let list = try await desk.run("queues", "list", name, "--json")
                #expect(list.output.contains("\"dead\":20"), "\(list.output)\(list.complaint)")
                #expect(try await desk.run("queues", "inspect", name).output.contains("dead VENUE_DOWN: 18"))
                let got = try await desk.run("jobs", "get", "\(live.id)-sl-3")
                #expect(
                    got.output.contains("\"state\":\"dead\"") && got.output.contains("VENUE_DOWN"),
                    "\(got.output)",
                )
                #expect(try await desk.run("jobs", "get", "\(live.id)-sl-99").status == 3)
                let bad = try await desk.run("jobs", "list", "--error-class", "BADID", "-o", "jsonl")
                #expect(try bad.documents.count == 2)
                let some = try await desk.run("jobs", "list", "--error", "timed +out", "--limit", "7", "-o", "jsonl")
                #expect(try some.documents.count == 7)

                let ids = try await desk.run("jobs", "list", "--error-class", "BADID", "-o", "name")
                #expect(ids.output == "\(live.id)-sl-10\n\(live.id)-sl-20\n", "\(ids.output)")
                let csv = try await desk.run("jobs", "list", "--error-class", "BADID", "-o", "csv", "--no-headers")
                #expect(csv.output.hasPrefix("\(live.id)-sl-10,\(name),dead,"), "\(csv.output)")
                #expect(try await queueCount(desk) == 24)
                _ = try await desk.run("dead", "note", "VENUE_DOWN", "until, noon")
                let groups = try await desk.run("dead", "groups", "-o", "csv")
                #expect(
                    groups.output.hasPrefix("error,count,firstSeen,lastSeen,sample,text,note\n"),
                    "\(groups.output)",
                )
                #expect(
                    groups.output.contains("VENUE_DOWN,18,2,2,\(live.id)-sl-1,VENUE_DOWN: timed out,\"until, noon\"")
                )
                #expect(try await desk.run("dead", "show", "\(live.id)-sl-10").output.contains("BADID"))
                #expect(try await desk.run("dead", "show", "\(live.id)-sl-99").status == 3)
                #expect(try await desk.run("dead", "export", "--error-class", "BADID").documents.count == 2)

                let endless = try await desk.run("queues", "pause", name, "--reason", "test")
                #expect(endless.status == 7 && endless.complaint.contains("STOPS_NEED_AN_END"))
                let paused = try await desk.run("queues", "pause", name, "--for", "5m", "--reason", "test")
                #expect(paused.status == 0, "\(paused.complaint)")
                #expect(try await desk.run("queues", "inspect", name).output.contains("PAUSED by ada (test)"))
                // A rebuild keeps the pause.
                _ = try await desk.redis.send(RedisCommand("HDEL", "\(base)meta", "paused"))
                let rebuilt = try await desk.run("redis", "rebuild", "--reason", "test")
                #expect(rebuilt.output.contains("restored 1 pauses"), "\(rebuilt.output)\(rebuilt.complaint)")
                #expect(try await desk.integer("HEXISTS", "\(base)meta", "paused") == 1)
                #expect(try await desk.run("queues", "resume", name).status == 0)
                #expect(try await desk.integer("HEXISTS", "\(base)meta", "paused") == 0)

                let one = "\(live.id)-sl-1"
                let moved = try await desk.run("jobs", "requeue", "--id", one, "--delay", "1h", "--reset-attempts")
                #expect(
                    moved.output == "matched 1 requeued 1 obsolete 0 duplicate 0 failed 0\n",
                    "\(moved.complaint)",
                )
                #expect(try await desk.integer("ZCARD", "\(base)delayed") == 1)
                let promoted = try await desk.run("jobs", "promote", "--queue", name)
                #expect(promoted.output.hasPrefix("matched 1 promoted 1 "), "\(promoted.output)\(promoted.complaint)")
                #expect(try await desk.integer("LLEN", "\(base)wait") == 1)
                let gone = try await desk.run("jobs", "discard", "--error-class", "BADID", "--reason", "x", "--yes")
                #expect(gone.output.hasPrefix("matched 2 discarded 2 "), "\(gone.output)\(gone.complaint)")
                #expect(try await desk.integer("ZCARD", "\(base)failed") == 17)
                let drained = try await desk.run("queues", "drain", name, "--reason", "test")
                #expect(drained.output.hasSuffix("removed 1\n"), "\(drained.output)\(drained.complaint)")
                #expect(try await desk.integer("LLEN", "\(base)wait") == 0)
            }
        }
    }
}
