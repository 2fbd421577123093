// `smartorders doctor`: what keeps a deployment from working, one line and one fix each (INTERFACES.md 4.5).
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import PostgresClient
import RedisClient
import SmartOrders
import TriggerQueue

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Checks a deployment: exit 1 if something fails.",
        discussion: """
            EXAMPLES
              smartorders doctor --database postgresql://... --redis redis://...
              smartorders doctor --json
            """,
    )

    @OptionGroup var connections: ConnectionOptions
    @Flag(help: "One JSON object.")
    var json = false

    enum Verdict: String { case ok, warn, fail = "FAIL" }

    struct Finding {
        let check: String
        let verdict: Verdict
        let sentence: String
        let fix: String
    }

    func run() async throws {
        let database = try connections.databaseURL()
        let redis = try connections.redisURL()
        var findings = await Self.postgres(database)
        findings += await Self.redis(redis)
        if json {
            var array: [JSONValue] = []
            for finding in findings {
                var object = JSONObject()
                object["check"] = .string(finding.check)
                object["verdict"] = .string(finding.verdict.rawValue)
                object["sentence"] = .string(finding.sentence)
                object["fix"] = .string(finding.fix)
                array.append(.object(object))
            }
            show("\(JSONValue.object(["checks": .array(array)]))")
        } else {
            for finding in findings {
                let mark = finding.verdict.rawValue + String(repeating: " ", count: 4 - finding.verdict.rawValue.count)
                let fix = finding.fix.isEmpty ? "" : "  fix: \(finding.fix)"
                show("\(mark)  \(finding.check): \(finding.sentence)\(fix)")
            }
        }
        if findings.contains(where: { $0.verdict == .fail }) { throw ExitCode(1) }
    }

    private static func setting(_ pool: PostgresPool, _ name: String) async throws(PostgresError) -> String {
        let rows = try await pool.query(Statement(sql: "SELECT current_setting($1)"), [.text(name)])
        do { return try rows.first?.string(0) ?? "" } catch { return "" }
    }

    private static func postgres(_ conninfo: String) async -> [Finding] {
        var findings: [Finding] = []
        let pool: PostgresPool
        do {
            pool = try Backend.pool(conninfo)
            let version = try await setting(pool, "server_version_num")
            let isCurrent = (Int(version) ?? 0) >= 150_000
            findings.append(Finding(check: "postgres.reach", verdict: .ok, sentence: "answers", fix: ""))
            findings.append(
                Finding(
                    check: "postgres.version",
                    verdict: isCurrent ? .ok : .fail,
                    sentence: "server \(version)",
                    fix: isCurrent ? "" : "PostgreSQL 15 or newer",
                )
            )
        } catch let error as Failure {
            return [Finding(check: "postgres.reach", verdict: .fail, sentence: error.sentence, fix: error.hint ?? "")]
        } catch {
            return [
                Finding(
                    check: "postgres.reach",
                    verdict: .fail,
                    sentence: "\(error)",
                    fix: "is PostgreSQL running, and does the database exist?",
                )
            ]
        }
        do {
            try await Migrator(pool: pool, binaryVersion: Backend.version).validate()
            findings.append(
                Finding(check: "postgres.migrations", verdict: .ok, sentence: "schema is current", fix: "")
            )
        } catch {
            findings.append(
                Finding(
                    check: "postgres.migrations",
                    verdict: .fail,
                    sentence: error.detail,
                    fix: "smartorders migrate up",
                )
            )
        }
        do {
            for name in ["fsync", "full_page_writes", "synchronous_commit"] {
                let value = try await setting(pool, name)
                if value == "off" {
                    findings.append(
                        Finding(
                            check: "postgres.durability",
                            verdict: .fail,
                            sentence: "\(name) is off: acknowledged work can be lost",
                            fix: "set \(name) = on",
                        )
                    )
                }
            }
            if !findings.contains(where: { $0.check == "postgres.durability" }) {
                findings.append(
                    Finding(check: "postgres.durability", verdict: .ok, sentence: "commits are durable", fix: "")
                )
            }
            let zone = try await setting(pool, "TimeZone")
            let encoding = try await setting(pool, "server_encoding")
            let isUsual = zone == "UTC" && encoding == "UTF8"
            findings.append(
                Finding(
                    check: "time zone, locale",
                    verdict: isUsual ? .ok : .warn,
                    sentence: "\(zone), \(encoding)",
                    fix: isUsual ? "" : "ALTER DATABASE ... SET timezone = 'UTC'; encoding UTF8",
                )
            )
            findings += try await cluster(PostgresClusterStore(pool: pool))
        } catch {
            findings.append(Finding(check: "postgres", verdict: .fail, sentence: "\(error)", fix: ""))
        }
        await pool.close()
        return findings
    }

    private static func cluster(_ cluster: PostgresClusterStore) async throws -> [Finding] {
        let live = try await cluster.workers().live
        let free = try await cluster.holders().filter { $0 == nil }.count
        return [
            Finding(
                check: "workers",
                verdict: live.isEmpty ? .fail : live.count == 1 ? .warn : .ok,
                sentence: "\(live.count) alive",
                fix: live.count < 2 ? "smartorders serve worker, at least two" : "",
            ),
            Finding(
                check: "shards",
                verdict: free == 0 ? .ok : .fail,
                sentence: free == 0 ? "all held" : "\(free) of \(OrderID.shardCount) are watched by nobody",
                fix: free == 0 ? "" : "is a scheduler running? smartorders serve scheduler",
            ),
        ]
    }

    private static func redis(_ url: String) async -> [Finding] {
        let address: RedisAddress
        do {
            address = try Backend.address(url)
        } catch {
            return [
                Finding(
                    check: "redis.reach",
                    verdict: .fail,
                    sentence: "the address cannot be read",
                    fix: "redis://host:port/db",
                )
            ]
        }
        let queue = BullQueue(
            BullQueueOptions(address: address, worker: WorkerID("doctor"), deployment: "smartorders", generation: 0),
            clock: SystemClock(),
        )
        defer { queue.close() }
        var lastError = ""
        for _ in 0..<20 {
            do throws(QueueError) {
                let found = try await queue.findings()
                var findings = [Finding(check: "redis.reach", verdict: .ok, sentence: "answers", fix: "")]
                for finding in found {
                    findings.append(
                        Finding(
                            check: "redis",
                            verdict: finding.isRefusal ? .fail : .warn,
                            sentence: "\(finding)",
                            fix: finding.isRefusal ? "CONFIG SET maxmemory-policy noeviction, or another Redis" : "",
                        )
                    )
                }
                return findings
            } catch {
                lastError = error.detail
            }
            do { try await Task.sleep(nanoseconds: 100_000_000) } catch { break }
        }
        return [
            Finding(
                check: "redis.reach",
                verdict: .fail,
                sentence: lastError,
                fix: "is Redis running at the given address?",
            )
        ]
    }
}
