import LocalServers
import PostgresClient
import TestKit
import Testing

extension EndToEnd {
    @Suite struct BadInputTests {
        /// One complaint: a code, a sentence, a hint; nothing on standard output.
        private func expect(
            _ arguments: [String],
            _ status: Int,
            _ code: String,
            contains text: String = "",
            sourceLocation: SourceLocation = #_sourceLocation,
        ) async throws {
            let outcome = try await Program.run(arguments, environment: ["SMARTORDERS_MASTER_KEY": Deployment.key])
            let what: Comment = "\(arguments): \(outcome.complaint)"
            #expect(outcome.status == status, what, sourceLocation: sourceLocation)
            #expect(outcome.output.isEmpty, what, sourceLocation: sourceLocation)
            let lines = outcome.complaint.split(separator: "\n").filter { !$0.hasPrefix("{") }
            #expect(lines.count == 1, what, sourceLocation: sourceLocation)
            #expect(lines.last?.hasPrefix("error: \(code): ") == true, what, sourceLocation: sourceLocation)
            #expect(lines.last?.contains(text) == true, what, sourceLocation: sourceLocation)
        }

        @Test func `a malformed tick file is refused with the number of its line`() async throws {
            let folder = try LocalFiles.temporaryFolder("so-bad")
            defer { LocalFiles.removeTree(folder) }
            let ticks = "\(folder)/ticks.csv"
            let order = "\(folder)/order.json"
            try Program.write("ts_us,venue,symbol,price,qty,side\n1,a,B,1.5,1,buy\n2,a,B,x,1,buy\n", to: ticks)
            let json = "{\"side\": \"BUY\", \"qty\": \"1\", \"entry\": {\"mode\": \"attach\"}}"
            try Program.write(json, to: order)
            try await expect(["dev", "--ticks", ticks], 2, "TICK_FILE", contains: "ticks.csv:3: ")
            try await expect(["backtest", "--ticks", ticks, "--order", order], 2, "INPUT", contains: "ticks.csv:3: ")
            try await expect(["dev", "--ticks", "\(folder)/none"], 2, "TICK_FILE", contains: "cannot be opened")
            try await expect(["backtest", "--ticks", "\(folder)/none", "--order", order], 2, "INPUT")
        }

        @Test func `flags that make no sense are refused in one line`() async throws {
            try await expect(["dev", "--bogus"], 2, "USAGE", contains: "--bogus")
            try await expect(["frobnicate"], 2, "USAGE", contains: "frobnicate")
            try await expect(["dev", "--workers", "x"], 2, "USAGE", contains: "--workers")
            try await expect(["dev", "--for", "never"], 2, "DURATION")
            try await expect(["dev", "--pace", "fast"], 2, "PACE")
            try await expect(["dev", "--order", "x"], 2, "ORDER_WITHOUT_TICKS")
            try await expect(["serve", "api", "--listen", "nonsense"], 2, "LISTEN")
            try await expect(["serve", "api"], 2, "DATABASE_REQUIRED")
        }

        @Test func `a server that is not there is named at the start`() async throws {
            let database = try await PostgresServer.freshDatabase()
            try await migrate(database)
            let nowhere = "unix:///tmp/so-no-redis.sock"
            try await expect(
                ["serve", "worker", "--database", "host=/tmp/so-nowhere", "--redis", nowhere],
                6,
                "DATABASE_UNREACHABLE",
            )
            // A role would start and work from PostgreSQL.
            try await expect(["redis", "info", "--database", database, "--redis", nowhere], 6, "REDIS_UNREACHABLE")
            try await expect(["serve", "worker", "--database", database, "--redis", "x"], 2, "REDIS_URL_INVALID")
        }

        @Test func `a Redis that evicts keys is refused`() async throws {
            let database = try await PostgresServer.freshDatabase()
            try await migrate(database)
            let settings = [("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")].map {
                (name: $0.0, value: $0.1)
            }
            try await RedisServer.withServer(settings: settings) { redis in
                try await expect(
                    ["serve", "worker", "--database", database, "--redis", redis.url],
                    7,
                    "REDIS_REFUSED",
                    contains: "maxmemory-policy",
                )
            }
        }

        @Test func `a schema that is missing, newer, or edited is refused`() async throws {
            let database = try await PostgresServer.freshDatabase()
            try await RedisServer.withServer { redis in
                let worker = ["serve", "worker", "--database", database, "--redis", redis.url]
                try await expect(worker, 7, "DATABASE_INCOMPATIBLE")
                try await migrate(database)
                let pool = try PostgresPool(configuration: PostgresConfiguration(conninfo: database, connections: 1))
                try await pool.simple(
                    "INSERT INTO schema_migrations (version, name, sha256, binary_version) "
                        + "VALUES (999, 'future', 'x', '9.9')"
                )
                try await expect(worker, 7, "DATABASE_INCOMPATIBLE", contains: "999")
                try await pool.simple("DELETE FROM schema_migrations WHERE version = 999")
                try await pool.simple("UPDATE schema_migrations SET sha256 = 'edited' WHERE version = 2")
                try await expect(worker, 7, "DATABASE_INCOMPATIBLE", contains: "2")
                await pool.close()
            }
        }

        private func migrate(_ database: String) async throws {
            let outcome = try await Program.run(["migrate", "up", "--database", database])
            try #require(outcome.status == 0, "\(outcome.complaint)")
        }
    }
}
