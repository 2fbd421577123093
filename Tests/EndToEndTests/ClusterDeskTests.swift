import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

private struct NoSecrets: SecretBox {
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8] { secret }
    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] { sealed }
}

extension EndToEnd {
    /// What an operator does with processes, shards and halts, by the built program, with no Redis at all.
    @Suite struct ClusterDeskTests {
        private struct Desk: Sendable {
            let pool: PostgresPool
            let conninfo: String
            let account: AccountID
            let cluster: PostgresClusterStore

            func run(_ words: String...) async throws -> Outcome {
                try await Program.run(
                    words + ["--database", conninfo],
                    environment: ["SMARTORDERS_OPERATOR": "ada"],
                )
            }

            /// Whether a column of a worker's row is true.
            func isTrue(_ column: String, _ worker: String) async throws -> Bool {
                let sql = "SELECT \(column) FROM workers WHERE id = $1"
                return try await pool.query(Statement(sql: sql), [.text(worker)])[0].bool(0)
            }

            func audit(_ action: String) async throws -> [String] {
                let sql = "SELECT concat_ws(' ', actor, subject, reason) FROM audit WHERE action = $1 ORDER BY id"
                return try await pool.query(Statement(sql: sql), [.text(action)]).map { try $0.string(0) }
            }
        }

        private func withDesk(_ body: (Desk) async throws -> Void) async throws {
            let conninfo = try await PostgresServer.freshDatabase()
            let pool = try PostgresPool(configuration: .stores(conninfo: conninfo, connections: 2))
            do {
                try await Migrator(pool: pool).up()
                let account = AccountID.sample(1)
                try await PostgresAccountStore(pool: pool, secrets: NoSecrets()).create(
                    Account(id: account, name: "a", venue: "paper", product: "linear", mode: .paper),
                    credentials: Credentials(key: "k", secret: "s"),
                )
                let cluster = PostgresClusterStore(pool: pool)
                for name in ["w1", "w2"] { try await cluster.register(WorkerID(name)) }
                _ = try await cluster.lead(as: WorkerID("s1"))
                // Nobody renews them while the program starts.
                for table in ["workers", "leader"] {
                    _ = try await pool.query(Statement(sql: "UPDATE \(table) SET lease_until = 'infinity'"))
                }
                try await body(Desk(pool: pool, conninfo: conninfo, account: account, cluster: cluster))
                await pool.close()
            } catch {
                await pool.close()
                throw error
            }
        }

        @Test func `workers are quieted, resumed and stopped, shards follow an operator's choice`() async throws {
            try await withDesk { desk in
                let quiet = try await desk.run("workers", "quiet", "w1", "--reason", "kernel")
                #expect(quiet.output == "quiet w1\n", "\(quiet.complaint)")
                #expect(try await desk.isTrue("is_quiet", "w1"))
                #expect(try await !desk.isTrue("is_quiet", "w2"))
                let resumed = try await desk.run("workers", "resume", "w1")
                #expect(resumed.output == "resumed w1\n", "\(resumed.complaint)")
                #expect(try await !desk.isTrue("is_quiet", "w1"))
                #expect(try await desk.audit("worker.quiet") == ["ada w1 kernel"])

                let moved = try await desk.run("shards", "move", "0-1023", "w2", "--reason", "hot")
                #expect(moved.output == "moving 1024 shards to w2\n", "\(moved.complaint)")
                #expect(
                    try await desk.cluster.pins()
                        == Dictionary(uniqueKeysWithValues: (0..<1_024).map { ($0, WorkerID("w2")) })
                )
                let unknown = try await desk.run("shards", "move", "3", "w9", "--reason", "hot")
                #expect(unknown.status == 3 && unknown.complaint.contains("NOT_FOUND"), "\(unknown.complaint)")
                let wrong = try await desk.run("shards", "move", "1000-1024", "w2", "--reason", "hot")
                #expect(wrong.status == 2 && wrong.complaint.contains("SHARD"), "\(wrong.complaint)")
                let back = try await desk.run("shards", "rebalance", "--apply", "--reason", "x")
                #expect(back.output.hasSuffix("1024 chosen shards given back, 1024 move\n"), "\(back.output)")
                #expect(try await desk.cluster.pins().isEmpty)

                let stopped = try await desk.run("workers", "stop", "w1")
                #expect(stopped.output == "stopping w1\n", "\(stopped.complaint)")
                #expect(try await desk.cluster.heartbeat(WorkerID("w1")).wantsStop)
                #expect(try await !desk.isTrue("wants_stop", "w2"))
                let nobody = try await desk.run("workers", "stop", "w7")
                #expect(nobody.status == 3, "\(nobody.complaint)")
            }
        }

        @Test func `who was made to resign lets another lead`() async throws {
            try await withDesk { desk in
                #expect(try await desk.run("leader", "show", "-o", "name").output == "s1\n")
                let resigned = try await desk.run("leader", "resign", "--reason", "reboot")
                #expect(resigned.output == "resigned s1\n", "\(resigned.complaint)")
                // Longer than the test takes.
                _ = try await desk.pool.query(Statement(sql: "UPDATE leader SET resigned_at = 'infinity'"))
                #expect(try await desk.cluster.lead(as: WorkerID("s1")) == nil)
                #expect(try await desk.cluster.lead(as: WorkerID("s2")) != nil)
                #expect(try await desk.audit("leader.resign") == ["ada s1 reboot"])
            }
        }

        @Test func `a copied database trades again when its name is given`() async throws {
            try await withDesk { desk in
                let live = Account(id: .sample(2), name: "live", venue: "paper", product: "linear", mode: .live)
                try await PostgresAccountStore(pool: desk.pool, secrets: NoSecrets())
                    .create(live, credentials: Credentials(key: "k", secret: "s"))
                _ = try await desk.pool.query(Statement(sql: "UPDATE control SET system_identifier = 1"))
                let status = try await desk.run("recover", "-o", "json")
                let text = status.output
                #expect(
                    text.contains("\"incarnation\":2") && text.contains("\"held\":1"),
                    "\(text)\(status.complaint)",
                )
                let wrong = try await desk.run("recover", "--confirm", "another", "--reason", "x")
                #expect(wrong.status == 7 && wrong.complaint.contains("NAME_MISMATCH"), "\(wrong.complaint)")
                #expect(try await desk.cluster.halts().count == 1)
                let rows = try await desk.pool.query(Statement(sql: "SELECT current_database()::text"))
                let name = try rows[0].string(0)
                let done = try await desk.run("recover", "--confirm", name, "--reason", "the old one is gone")
                #expect(done.output == "confirmed \(name): 1 accounts trade again\n", "\(done.complaint)")
                #expect(try await desk.cluster.halts().isEmpty)
                let audit = try await desk.run("audit", "list", "--action", "recover", "--actor", "ada", "-o", "json")
                #expect(audit.output.contains("the old one is gone"), "\(audit.complaint)")
            }
        }

        @Test func `a halt holds what exists, says why, and ends in two steps`() async throws {
            try await withDesk { desk in
                let scope = "account:\(desk.account)"
                let wrong = try await desk.run("halt", "sends", "--scope", "account:nobody", "--reason", "x")
                #expect(wrong.status == 3 && wrong.complaint.contains("nothing was halted"), "\(wrong.complaint)")
                #expect(try await desk.cluster.halts().isEmpty)
                let set = try await desk.run("halt", "sends", "--scope", scope, "--reason", "leak")
                #expect(set.output == "halted sends of \(scope)\n", "\(set.complaint)")
                #expect(
                    try await desk.cluster.halts()
                        == [HaltInForce(scope: .account, subject: "\(desk.account)", level: .sends)]
                )
                let first = try await desk.run("halt", "off", "--scope", scope, "--reason", "safe")
                let code = try #require(first.output.split(separator: " ").last).filter(\.isHexDigit)
                #expect(try await desk.cluster.halts().count == 1, "one step is not enough")
                let bad = try await desk.run("halt", "off", "--scope", scope, "--reason", "safe", "--code", "12345678")
                #expect(bad.status == 4 && bad.complaint.contains("CODE_MISMATCH"), "\(bad.complaint)")
                // Set anew: what the code was shown for is not what is there.
                _ = try await desk.run("halt", "sends", "--scope", scope, "--reason", "again")
                let late = try await desk.run("halt", "off", "--scope", scope, "--reason", "safe", "--code", code)
                #expect(late.status == 4 && late.complaint.contains("CODE_MISMATCH"), "\(late.complaint)")
                let second = try await desk.run("halt", "off", "--scope", scope, "--reason", "safe")
                let fresh = try #require(second.output.split(separator: " ").last).filter(\.isHexDigit)
                let off = try await desk.run("halt", "off", "--scope", scope, "--reason", "safe", "--code", fresh)
                #expect(off.output == "off sends of \(scope)\n", "\(off.complaint)")
                #expect(try await desk.cluster.halts().isEmpty)
                #expect(try await desk.audit("halt.off") == ["ada \(scope) safe"])
            }
        }
    }
}
