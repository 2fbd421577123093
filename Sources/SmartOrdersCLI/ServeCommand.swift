// `smartorders serve ROLE`: one role of a deployment in one process.
import ArgumentParser
import Exchanges
import Logging
import MarketData
import OrderEngine
import OrderStorage
import PaperVenue
import SmartOrders
import Telemetry

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run one role: api, scheduler, worker, feed or paper-venue.",
        subcommands: [API.self, SchedulerRole.self, Worker.self, Feed.self, Paper.self],
    )

    /// What the roles that work on orders have in common.
    struct RoleOptions: ParsableArguments {
        @OptionGroup var connections: ConnectionOptions

        @Option(help: "Address of the paper venue (SMARTORDERS_PAPER_VENUE).")
        var paperVenue: String?

        @Flag(help: "The paper venue keeps a position for each side.")
        var paperHedged = false

        @Flag(help: "Report progress after every batch of ticks, for a stepped replay.")
        var stepped = false

        func deployment() throws -> Deployment {
            var deployment = Deployment(database: try connections.databaseURL(), redis: try connections.redisURL())
            deployment.paperVenue = paperVenue ?? environment("SMARTORDERS_PAPER_VENUE")
            deployment.paperIsHedged = paperHedged || environment("SMARTORDERS_PAPER_HEDGED") == "true"
            deployment.paperClass = try ServeCommand.venueClass(environment("SMARTORDERS_PAPER_CLASS") ?? "D")
            deployment.allowsNoDeadline = environment("SMARTORDERS_VENUES_ALLOW_NO_DEADLINE") == "true"
            deployment.isStepped = stepped
            deployment.masterKey = environment("SMARTORDERS_MASTER_KEY")
            deployment.oldMasterKey = environment("SMARTORDERS_OLD_MASTER_KEY")
            deployment.intakeKey = environment("SMARTORDERS_INTAKE_KEY")
            deployment.isLiveEnabled = environment("SMARTORDERS_LIVE_ENABLED") == "true"
            return deployment
        }

        func backend(_ role: String) async throws -> Backend {
            // A role may begin while Redis is away: PostgreSQL has everything (RELIABILITY.md 3.3).
            try await Backend.open(
                try deployment(),
                role: role,
                requiresRedis: false,
                isTenantScoped: role == "api",
                logger: ServeCommand.logger(role),
            )
        }
    }

    /// `D`, `R` or `N`; `D+W` asks for a second witness.
    static func venueClass(_ text: String) throws -> VenueClass {
        switch text {
        case "D": .deadline()
        case "D+W": .deadline(needsWitness: true)
        // The dialect's longest window stands for an authentication that expires.
        case "R": .repeatable(expiryMs: 60_000)
        case "N": .neither
        default:
            throw Failure(.usage, "PAPER_CLASS", "\(text) is no class of venues.", hint: "D, D+W, R or N")
        }
    }

    static func logger(_ role: String) -> Logger {
        let level = environment("SMARTORDERS_LOG_LEVEL").flatMap(Logger.Level.init(rawValue:)) ?? .info
        return Logger(label: "smartorders") { JSONLogHandler(label: $0, role: role, level: level) }
    }

    /// Runs `body` until it ends or the process is asked to stop; its health is told until it has left.
    static func untilStopped(
        _ backend: Backend? = nil,
        _ operations: OperationsListener? = nil,
        _ body: @escaping @Sendable () async throws -> Void,
    ) async throws {
        guard let operations else { return try await untilStopped(backend, onStop: {}, body) }
        try await withThrowingTaskGroup { group in
            group.addTask { try await operations.run() }
            group.addTask { try await untilStopped(backend, onStop: { operations.drain() }, body) }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    private static func untilStopped(
        _ backend: Backend?,
        onStop: @escaping @Sendable () -> Void,
        _ body: @escaping @Sendable () async throws -> Void,
    ) async throws {
        try await withThrowingTaskGroup { group in
            group.addTask { try await body() }
            if let backend { group.addTask { try await backend.checkRedisLate() } }
            group.addTask {
                _ = try await stopSignal()
                onStop()
            }
            defer { group.cancelAll() }
            try await group.next()
            group.cancelAll()
            // The role leaves in order before the process ends.
            while !group.isEmpty {
                do { try await group.next() } catch is CancellationError { continue }
            }
        }
    }

    struct Worker: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Evaluates its shards and executes jobs of any shard."
        )
        @OptionGroup var options: RoleOptions
        @OptionGroup var operations: OperationsOptions

        func run() async throws {
            let deployment = try options.deployment()
            guard deployment.masterKey != nil else {
                throw Failure(
                    .usage,
                    "MASTER_KEY_REQUIRED",
                    "a worker opens venue keys and needs SMARTORDERS_MASTER_KEY.",
                    hint: "the same 64 hexadecimal digits for every worker and api: openssl rand -hex 32",
                )
            }
            let address = try operations.address()
            let backend = try await options.backend("worker")
            let listener = OperationsListener(address, backend, role: "worker")
            try await ServeCommand.untilStopped(backend, listener) { try await Roles.worker(backend) }
            await backend.close()
        }
    }

    struct SchedulerRole: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "scheduler",
            abstract: "Assigns shards, relays the outbox, sweeps what is due.",
        )
        @OptionGroup var options: RoleOptions
        @OptionGroup var operations: OperationsOptions

        func run() async throws {
            let address = try operations.address()
            let backend = try await options.backend("scheduler")
            let listener = OperationsListener(address, backend, role: "scheduler")
            try await ServeCommand.untilStopped(backend, listener) { try await Roles.scheduler(backend) }
            await backend.close()
        }
    }

    struct API: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "HTTP API and event stream.")
        @OptionGroup var options: RoleOptions
        @OptionGroup var operations: OperationsOptions
        @Option(help: "Address to listen on.")
        var listen = "127.0.0.1:8080"

        func run() async throws {
            let (host, port) = try ServeCommand.address(listen)
            let address = try operations.address()
            let backend = try await options.backend("api")
            // A connection is a file, and there may be ten thousand of them.
            let files = FileLimit.raise()
            if files < 11_000 {
                backend.logger.warning("Few files may be open", metadata: ["limit": "\(files)", "wanted": "11000"])
            }
            let api = APIRole(
                backend: backend,
                host: host,
                port: port,
                isPublic: true,
                showsOperations: address == .same,
            )
            let listener = OperationsListener(address, backend, role: "api")
            try await ServeCommand.untilStopped(backend, listener) { try await api.run() }
            await backend.close()
        }
    }

    struct Feed: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Publishes prices: a venue's own, recorded ones, or a seeded random walk."
        )
        @OptionGroup var options: RoleOptions
        @OptionGroup var operations: OperationsOptions
        @Option(
            help: "Follow the streams of this venue (paper): every market of its catalogue. Two such feeds may run."
        )
        var venue: String?
        @Option(help: "Replay this tick file; may be repeated. Without it a random walk.")
        var ticks: [String] = []
        @Option(help: "stepped, max, or xN.")
        var pace = "x1"
        @Option(help: "After the first tick of each series wait until so many orders are watched in it.")
        var waitOrders = 0
        @Option(help: "Market of the random walk.")
        var market = "paper:linear:DEMO"
        @Option(help: "First price of the random walk.")
        var start = "100"
        @Option(help: "Seed of the random walk.")
        var seed: UInt64 = 1

        func validate() throws {
            guard let venue else { return }
            if venue != "paper" { throw ValidationError("--venue \(venue) is not connected; paper is") }
            if !ticks.isEmpty { throw ValidationError("--venue takes no --ticks") }
        }

        func run() async throws {
            guard venue == nil else { return try await runLive() }
            let recorded = try ticks.flatMap(DevMarkets.recorded)
            let pace = try DevCommand.pace(pace)
            let address = try operations.address()
            let backend = try await options.backend("feed")
            let listener = OperationsListener(address, backend, role: "feed")
            let source = try await source(backend, recorded, pace)
            let market = try await marketPrices(backend)
            try await ServeCommand.untilStopped(backend, listener) {
                try await Roles.feed(backend, source: source, market: market)
            }
            await backend.close()
        }

        private func runLive() async throws {
            guard let base = try options.deployment().paperVenue else {
                throw Failure(
                    .usage,
                    "PAPER_VENUE_REQUIRED",
                    "the address of the paper venue is needed to follow it.",
                    hint: "--paper-venue http://host:port, or SMARTORDERS_PAPER_VENUE",
                )
            }
            let address = try operations.address()
            let backend = try await options.backend("feed")
            let listener = OperationsListener(address, backend, role: "feed")
            try await ServeCommand.untilStopped(backend, listener) {
                try await withThrowingTaskGroup { group in
                    for product in [BinanceProduct.spot, .linear] {
                        group.addTask {
                            try await Roles.feed(backend, id: "paper:\(product.rawValue)") {
                                backend.liveSource(product, at: base)
                            }
                        }
                    }
                    try await group.waitForAll()
                }
            }
            await backend.close()
        }

        private func source(
            _ backend: Backend,
            _ recorded: [RecordedMarket],
            _ pace: ReplayPace,
        ) async throws -> any TickSource {
            guard recorded.isEmpty else {
                let files = Set(recorded.map(\.path)).sorted().map { path in
                    let markets = recorded.filter { $0.path == path }
                    return ReplaySource.File(
                        path: path,
                        series: Dictionary(
                            markets.map { ($0.name, $0.series) },
                            uniquingKeysWith: { first, _ in first },
                        ),
                        decimals: Dictionary(
                            markets.map { ($0.series, $0.decimals) },
                            uniquingKeysWith: { first, _ in first },
                        ),
                    )
                }
                let wanted = waitOrders
                return ReplaySource(files: files, pace: pace, clock: backend.clock, ticks: backend.ticks) { series in
                    guard wanted > 0 else { return }
                    ServeCommand.logger("feed").info("Waiting for orders", metadata: ["series": "\(series)"])
                    while try await !backend.ticks.isWatched(series, orders: wanted) {
                        try await backend.clock.sleep(milliseconds: 20)
                    }
                }
            }
            guard let id = MarketID(market) else {
                throw Failure(.usage, "MARKET", "\(market) is no market.", hint: "for example paper:linear:DEMO")
            }
            let instrument = try await instrument(id, backend)
            guard let step = instrument.tickSize.value.units(decimals: instrument.priceDecimals),
                let first = Price(start)?.value.units(decimals: instrument.priceDecimals)
            else {
                throw Failure(
                    .usage,
                    "PRICE",
                    "\(start) is no price of \(market).",
                    hint: "its tick size is \(instrument.tickSize)",
                )
            }
            return RandomWalkSource(
                series: PriceSeries(market: id, source: instrument.defaultTriggerSource),
                start: first,
                step: step,
                periodMs: 200,
                seed: seed,
                clock: backend.clock,
            )
        }

        /// Waits until the market is in the catalogue: roles may start in any order.
        private func instrument(_ id: MarketID, _ backend: Backend) async throws -> Instrument {
            var isFirst = true
            while true {
                if let instrument = try await backend.accounts.instrument(id) { return instrument }
                if isFirst {
                    backend.logger.notice(
                        "Waiting for the market: `smartorders accounts create` reads those of the venue",
                        metadata: ["market": "\(id)"],
                    )
                }
                isFirst = false
                try await backend.clock.sleep(milliseconds: 1_000)
            }
        }

        private func marketPrices(_ backend: Backend) async throws -> (@Sendable ([SourcedTick]) async throws -> Void)?
        {
            guard let base = backend.deployment.paperVenue else { return nil }
            let prices = PaperPrices(base: base, http: backend.http)
            let catalogue = Dictionary(
                try await backend.accounts.instruments().map { ($0.market, $0.priceDecimals) },
                uniquingKeysWith: { first, _ in first },
            )
            return { ticks in
                let both = ticks.flatMap { tick in
                    [TriggerSource.mark, .last].map {
                        SourcedTick(
                            series: PriceSeries(market: tick.series.market, source: $0),
                            tick: tick.tick,
                            quantity: tick.quantity,
                        )
                    }
                }
                try await prices.send(both) { catalogue[$0] ?? 8 }
            }
        }
    }

    struct Paper: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "paper-venue",
            abstract: "A simulated exchange that speaks Binance's protocol.",
        )
        @Option(help: "Address to listen on.")
        var listen = "127.0.0.1:9090"
        @Option(help: "Configuration file (JSON).")
        var config: String?
        @Option(help: "Append-only log; the state is rebuilt from it.")
        var log: String?
        @Flag(help: "Keep a position for each side.")
        var hedged = false
        @OptionGroup var operations: OperationsOptions

        func run() async throws {
            let address = try operations.address()
            let (host, port) = try ServeCommand.address(listen)
            var configuration = PaperVenueConfiguration()
            if let config {
                guard let bytes = DevOrderFile.contents(config) else {
                    throw Failure(.usage, "CONFIG_FILE", "\(config) cannot be read.")
                }
                do {
                    configuration = try PaperVenueConfiguration(json: bytes)
                } catch {
                    throw Failure(.usage, "CONFIG_FILE", "\(config): \(error)")
                }
            }
            configuration.host = host
            configuration.port = port
            if let log { configuration.logPath = log }
            if hedged { configuration.hedgeMode = true }
            let logger = ServeCommand.logger("paper-venue")
            let server = PaperVenueServer(configuration: configuration, logger: logger)
            let metrics = Metrics(version: Backend.version, role: "paper-venue")
            let listener = OperationsListener(
                address,
                version: Backend.version,
                clock: SystemClock(),
                logger: logger,
                readiness: { [] },
                metrics: { metrics.render() },
            )
            try await ServeCommand.untilStopped(nil, listener) { try await server.run() }
        }
    }

    static func address(_ text: String) throws -> (host: String, port: Int) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (0...65_535).contains(port)
        else {
            throw Failure(.usage, "LISTEN", "\(text) is no address.", hint: "host:port, for example 127.0.0.1:8080")
        }
        return (String(text[..<colon]), port)
    }
}
