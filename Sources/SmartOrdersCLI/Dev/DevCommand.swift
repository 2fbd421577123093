// `smartorders dev`: the whole system in one command, on private servers, with prices that move.
import ArgumentParser
import Exchanges
import Logging
import MarketData
import OrderEngine
import OrderJSON
import OrderStorage
import OwnerThread
import PaperVenue
import SmartOrders
import Telemetry

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

struct DevCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev",
        abstract: "Everything in one command: private PostgreSQL and Redis, paper venue, prices, demo orders.",
        discussion: """
            EXAMPLES
              smartorders dev --for 60s
              smartorders dev --ticks prices.csv.gz --order plan.json
            """,
    )

    @Option(name: .customLong("for"), help: "Stop by itself after this time, for example 60s or 2m.")
    var duration: String?

    @Option(help: "Replay recorded prices (csv or csv.gz); may be repeated. Stops when they end.")
    var ticks: [String] = []

    @Option(help: "With --ticks: create this order at the first tick instead of the demo orders; may be repeated.")
    var order: [String] = []

    @Option(help: "With --ticks: stepped (each tick waits for the work it causes), max, or xN (N times real time).")
    var pace = "stepped"

    @Option(help: "Keep the data of the private servers in this folder.")
    var data: String?

    @Flag(help: "Run the roles as processes of their own.")
    var processes = false

    @Option(help: "Workers to run.")
    var workers = 2

    @Option(help: "Port of the API; without it 8080 or the next free one, 0 takes any.")
    var port: Int?

    @Flag(help: "Print the summary as JSON on standard output.")
    var json = false

    func run() async throws {
        let seconds = try duration.map(Self.seconds)
        let pace = try Self.pace(pace)
        let recorded = try ticks.flatMap(DevMarkets.recorded)
        guard order.isEmpty || !ticks.isEmpty else {
            throw Failure(
                .usage,
                "ORDER_WITHOUT_TICKS",
                "--order needs --ticks.",
                hint: "name the prices it should meet",
            )
        }
        let session = try await DevSession.start(
            data: data,
            recorded: recorded,
            pace: pace,
            orderFiles: order,
            workers: max(workers, 1),
            processes: processes,
            port: port ?? FreePort.first(from: 8_080),
            seconds: seconds,
        )
        let isGood: Bool
        do {
            isGood = try await session.run()
            await session.printSummary(json: json)
        } catch {
            await session.stop()
            throw error
        }
        await session.stop()
        if !isGood { throw ExitCode(1) }
    }

    static func seconds(_ text: String) throws -> Double {
        let units: [(String, Double)] = [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600)]
        for (unit, factor) in units where text.hasSuffix(unit) {
            if let value = Double(text.dropLast(unit.count)), value > 0 { return value * factor }
        }
        if let value = Double(text), value > 0 { return value }
        throw Failure(.usage, "DURATION", "\(text) is no duration.", hint: "for example 60s, 2m")
    }

    static func pace(_ text: String) throws -> ReplayPace {
        switch text {
        case "stepped": return .stepped
        case "max": return .unlimited
        default:  // tidy-ok: a user's text
            if text.hasPrefix("x"), let factor = Int(text.dropFirst()), factor > 0 { return .times(factor) }
            throw Failure(.usage, "PACE", "\(text) is no pace.", hint: "stepped, max, x1, x10 ...")
        }
    }
}
