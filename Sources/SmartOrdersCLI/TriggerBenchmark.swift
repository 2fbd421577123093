// Tick to venue acknowledgement, everything real: PostgreSQL with durable commits, Redis, paper venue over HTTP.
import Exchanges
import JSONText
import LocalServers
import Logging
import MarketData
import OrderEngine
import OrderStorage
import OwnerThread
import PaperVenue
import PostgresClient
import SmartOrders
import Telemetry

/// Fires `rate` stops per second for `seconds`, one per tick, and measures each from its tick to the venue's answer. The
/// stops belong to many traders, as they do in a deployment: 20 each, the limit of an account, up to 250 traders.
struct TriggerBenchmark {
    let servers: DevServers
    let rate: Int
    let seconds: Int

    /// Hears the latencies; counts nothing else.
    private final class Listener: EngineObserver {
        let latencies = Locked<[Double]>([])
        func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {
            if level == .error || level == .warning { tell("\(message) \(metadata)") }
        }
        func count(_ name: StaticString, _ amount: Int) {}
        func measure(_ name: StaticString, milliseconds: Double) {
            guard "\(name)" == "trigger_to_venue_ack_seconds" else { return }
            latencies.withLock { $0.append(milliseconds) }
        }
    }

    func run() async throws -> JSONValue {
        let logger = Logger(label: "bench") { JSONLogHandler(label: $0, role: "bench", level: .warning) }
        let database = servers.postgres.conninfo(database: "postgres")
        let pool = try Backend.pool(database)
        _ = try await Migrator(pool: pool, binaryVersion: Backend.version).up()
        await pool.close()
        var configuration = PaperVenueConfiguration()
        configuration.markets = [DevMarkets.demoMarket]
        configuration.logPath = servers.directory + "/paper-venue.jsonl"
        configuration.hedgeMode = true
        let count = rate * seconds
        let traders = min(max((count + 19) / 20, 1), 250)
        configuration.credentials = (0..<traders).map { .init(key: Self.key($0), secret: "bench-secret") }
        let venue = PaperVenueServer(configuration: configuration, logger: logger)
        let port = try await venue.start()
        var deployment = Deployment(database: database, redis: servers.redis.url)
        deployment.paperVenue = "http://127.0.0.1:\(port)"
        deployment.paperIsHedged = true
        deployment.masterKey = SealedSecrets.makeKey()
        let backend = try await Backend.open(deployment, role: "bench", logger: logger)
        let listener = Listener()
        let result = try await withThrowingTaskGroup { group in
            let scheduler = Scheduler(context: backend.context(observer: listener))
            group.addTask { try await scheduler.run() }
            let duty = WorkerDuty(context: backend.context(observer: listener))
            group.addTask { try await duty.run() }
            let value = try await measure(backend, venue, count, traders, listener)
            group.cancelAll()
            return value
        }
        await venue.stop()
        await backend.close()
        return result
    }

    /// A holding of 1 with a stop `index` + 1 cents under the top.
    private static func draft(top: Int64, index: Int) -> Draft {
        Draft(
            side: .buy,
            quantity: Quantity(ExactDecimal(1)),
            entry: EntryPlan(mode: .attach, price: Price(units: top, decimals: 8)),
            stopLoss: StopLossPlan(price: Price(units: top - Int64(index + 1) * cent, decimals: 8)),
        )
    }

    private static let cent: Int64 = 1_000_000
    private static func key(_ trader: Int) -> String { "bench-\(trader)" }

    /// Accounts of paper traders, each with room for its share of `count` orders.
    private func seed(_ backend: Backend, _ traders: Int, _ count: Int) async throws -> [AccountID] {
        var random = SystemRandomNumberGenerator()
        var accounts: [AccountID] = []
        for trader in 0..<traders {
            let id = AccountID(UniqueID(unixMilliseconds: backend.clock.now().milliseconds, random: &random))
            accounts.append(id)
            try await backend.accounts.create(
                Account(
                    id: id,
                    name: Self.key(trader),
                    venue: "paper",
                    product: "linear",
                    mode: .paper,
                    maximumConditionals: max(20, (count + traders - 1) / traders),
                ),
                credentials: Credentials(key: Self.key(trader), secret: "bench-secret"),
            )
        }
        try await backend.accounts.save(try await backend.venues.venue(for: accounts[0]).instruments())
        return accounts
    }

    private func measure(
        _ backend: Backend,
        _ venue: PaperVenueServer,
        _ count: Int,
        _ traders: Int,
        _ listener: Listener,
    ) async throws -> JSONValue {
        let accounts = try await seed(backend, traders, count)
        let market = DevMarkets.demo
        let series = DevMarkets.demoSeries
        func emit(_ price: Int64, _ sequence: Int64) async throws {
            let now = backend.clock.now()
            let tick = RawTick(
                position: TickPosition(venueTime: now.microseconds, sequence: sequence),
                price: price,
                receivedAt: now.microseconds,
            )
            let shown = Price(units: price, decimals: 8)
            await venue.feed(
                [TriggerSource.mark, .last].map {
                    PaperTick(market: market, source: $0, price: shown, quantity: nil, position: tick.position)
                }
            )
            try await backend.ticks.append([tick], to: series)
        }
        // One stop per cent of price, from the top down: each tick of one cent fires exactly one.
        let cent = Self.cent
        let top = Int64(count + 2) * cent * 2
        try await emit(top, 0)
        for trader in 0..<traders {
            try await venue.control(
                try JSONValue(
                    parsing:
                        "{\"positions\":[{\"account\":\"\(Self.key(trader))\",\"market\":\"\(market)\","
                        + "\"positionSide\":\"LONG\",\"qty\":\"\((count + traders - 1) / traders)\","
                        + "\"price\":\"\(Price(units: top, decimals: 8))\"}]}"
                )
            )
        }
        tell("creating \(count) orders of \(traders) traders ...")
        let commands = backend.commands
        try await withThrowingTaskGroup { group in
            for lane in 0..<32 {
                group.addTask {
                    for index in stride(from: lane, to: count, by: 32) {
                        let draft = Self.draft(top: top, index: index)
                        _ = try await commands.create(
                            draft,
                            market: market,
                            account: accounts[index % traders],
                            actor: Actor(kind: .user, id: "bench"),
                            idempotency: nil,
                        )
                    }
                }
            }
            try await group.waitForAll()
        }
        var patience = 600
        while try await backend.ticks.progress(series).reduce(0, { $0 + $1.orders }) < count, patience > 0 {
            patience -= 1
            try await backend.clock.sleep(milliseconds: 50)
        }
        tell("firing \(rate) stops a second for \(seconds) s ...")
        let begun = backend.clock.monotonicNanoseconds()
        for index in 0..<count {
            let due = begun + Int64(index) * 1_000_000_000 / Int64(rate)
            let wait = (due - backend.clock.monotonicNanoseconds()) / 1_000_000
            if wait > 0 { try await backend.clock.sleep(milliseconds: wait) }
            try await emit(top - Int64(index + 1) * cent, Int64(index + 1))
        }
        patience = 600
        while listener.latencies.withLock({ $0.count }) < count, patience > 0 {
            patience -= 1
            try await backend.clock.sleep(milliseconds: 50)
        }
        let elapsed = Double(backend.clock.monotonicNanoseconds() - begun) / 1e9
        let sorted = listener.latencies.withLock { $0.sorted() }
        func percentile(_ share: Double) -> JSONValue {
            guard !sorted.isEmpty else { return .null }
            return .number(
                "\((sorted[min(Int(Double(sorted.count) * share), sorted.count - 1)] * 1_000).rounded() / 1_000)"
            )
        }
        return .object([
            "bench": "trigger",
            "unit": "tick to venue acknowledgement, ms",
            "triggersPerSecond": .integer(rate),
            "accounts": .integer(traders),
            "fired": .integer(sorted.count),
            "wanted": .integer(count),
            "seconds": .number("\((elapsed * 100).rounded() / 100)"),
            "latencyMs": .object([
                "p50": percentile(0.5), "p90": percentile(0.9), "p99": percentile(0.99), "max": percentile(1),
            ]),
        ])
    }
}
