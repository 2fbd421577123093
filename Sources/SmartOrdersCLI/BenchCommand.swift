// `smartorders bench`: each layer measured on real servers, one JSON object each.
import ArgumentParser
import JSONText
import LocalServers
import OrderEngine
import OrderStorage
import PostgresClient
import RedisClient
import TriggerIndex
import TriggerQueue

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract:
            "Measures a layer on private servers: index, store, queue, trigger, api, or all. Build with -c release.",
        discussion: """
            EXAMPLES
              smartorders bench index --json
              smartorders bench all --json
            """,
    )

    enum Layer: String, CaseIterable, ExpressibleByArgument { case index, store, queue, trigger, api, all }

    @Argument(help: "index, store, queue, trigger, api or all.")
    var layer: Layer

    @Flag(help: "JSON on one line; else indented.")
    var json = false

    @Option(help: "Orders of the index and loading benches at most; 1000000 is the full size.")
    var orders = 1_000_000

    @Option(help: "Triggers per second of the trigger bench.")
    var rate = 500

    @Option(help: "Seconds of the trigger bench.")
    var seconds = 10

    @Option(help: "Requests of each kind of the api bench.")
    var requests = 5_000

    @Option(
        help:
            "Parts of the api bench alone, as in create,list: create, get, list, fanOut, slowReader, idle, stream or paced."
    )
    var part: String?

    @Option(help: "A folder with the official client of the queue's dialect; without it the bench installs it.")
    var official: String?

    func run() async throws {
        var document = JSONObject()
        let layers: [Layer] = layer == .all ? [.index, .store, .queue, .trigger, .api] : [layer]
        for one in layers {
            tell("measuring \(one.rawValue) ...")
            document[one.rawValue] = try await measure(one)
        }
        let value: JSONValue = layer == .all ? .object(document) : document[layer.rawValue] ?? .null
        show(String(decoding: value.serialized(pretty: !json), as: UTF8.self))
    }

    private func measure(_ layer: Layer) async throws -> JSONValue {
        switch layer {
        case .index: return index()
        case .store:
            return try await withServers { servers in
                let pool = try Backend.pool(servers.postgres.conninfo(database: "postgres"))
                _ = try await Migrator(pool: pool, binaryVersion: Backend.version).up()
                var settings = StoreBenchmark.Settings()
                settings.loadedOrders = orders
                let result = try await StoreBenchmark.run(pool, settings)
                await pool.close()
                return try JSONValue(parsing: result.json)
            }
        case .queue:
            return try await withServers { servers in
                let official = await OfficialPackage.scripts(
                    installed: official,
                    folder: servers.directory + "/official",
                )
                let result = try await QueueBenchmark.run(
                    address: try Backend.address(servers.redis.url),
                    clock: SystemClock(),
                    official: official,
                )
                return try JSONValue(parsing: result.json())
            }
        case .trigger:
            return try await withServers { servers in
                try await TriggerBenchmark(servers: servers, rate: rate, seconds: seconds).run()
            }
        case .api:
            return try await withServers { servers in
                try await APIBenchmark(servers: servers, requests: requests, only: part).run()
            }
        case .all: return .null
        }
    }

    private func withServers<Result>(_ body: (DevServers) async throws -> Result) async throws -> Result {
        let servers = try await DevServers.start(data: nil) { _ in }
        do {
            let result = try await body(servers)
            await servers.stop()
            return result
        } catch {
            await servers.stop()
            throw error
        }
    }

    /// ns per tick and bytes per order at 1e3, 1e5 and 1e6 armed fixed and trailing stops.
    private func index() -> JSONValue {
        let clock = SystemClock()
        func number(_ value: Double) -> JSONValue { .number("\((value * 100).rounded() / 100)") }
        var rows: [JSONValue] = []
        for kind in IndexBenchmark.Kind.allCases {
            for count in [1_000, 100_000, 1_000_000] where count <= orders {
                let result = IndexBenchmark.run(orders: count, kind: kind, seed: 1) {
                    UInt64(clock.monotonicNanoseconds())
                }
                var row = JSONObject()
                row["kind"] = .string(kind.rawValue)
                row["orders"] = .integer(count)
                row["buildMs"] = number(Double(result.buildNanoseconds) / 1e6)
                row["bytesPerOrder"] = number(result.bytesPerOrder)
                row["quietTickNs"] = number(result.quietTickNanoseconds)
                row["walkTickNs"] = number(result.walkTickNanoseconds)
                row["gapFirings"] = .integer(result.gapFirings)
                row["gapNsPerFiring"] = number(result.gapNanosecondsPerFiring)
                rows.append(.object(row))
            }
        }
        return .object(["bench": "index", "rows": .array(rows)])
    }
}
