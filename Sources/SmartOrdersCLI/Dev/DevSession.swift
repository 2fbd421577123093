// One run of `smartorders dev`: what is started, in which order, and how it ends.
//
// The roles are the same functions and ports as in a deployment; they share nothing but the servers.
import Exchanges
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

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A running development deployment.
final class DevSession: Sendable {
    static let key = "demo"
    static let secret = "demo-secret"

    private let servers: DevServers
    private let deployment: Deployment
    private let backend: Backend
    private let venue: PaperVenueServer
    private let account: AccountID
    private let apiKey: String
    private let recorded: [RecordedMarket]
    private let pace: ReplayPace
    private let seconds: Double?
    private let workers: Int
    private let runsProcesses: Bool
    private let port: Int
    private let planned: [DevOrder]
    private let logger: Logger
    /// Orders as created, with their labels.
    private let created = Locked<[(id: OrderID, order: DevOrder)]>([])
    private let children = Locked<[DevProcess]>([])

    private init(
        servers: DevServers,
        deployment: Deployment,
        backend: Backend,
        venue: PaperVenueServer,
        account: AccountID,
        apiKey: String,
        recorded: [RecordedMarket],
        pace: ReplayPace,
        seconds: Double?,
        workers: Int,
        runsProcesses: Bool,
        port: Int,
        planned: [DevOrder],
        logger: Logger,
    ) {
        self.servers = servers
        self.deployment = deployment
        self.backend = backend
        self.venue = venue
        self.account = account
        self.apiKey = apiKey
        self.recorded = recorded
        self.pace = pace
        self.seconds = seconds
        self.workers = workers
        self.runsProcesses = runsProcesses
        self.port = port
        self.planned = planned
        self.logger = logger
    }

    static func start(
        data: String?,
        recorded: [RecordedMarket],
        pace: ReplayPace,
        orderFiles: [String],
        workers: Int,
        processes: Bool,
        port: Int,
        seconds: Double?,
    ) async throws -> DevSession {
        var logger = Logger(label: "smartorders") { JSONLogHandler(label: $0, role: "dev", level: .warning) }
        if let level = environment("SMARTORDERS_LOG_LEVEL").flatMap(Logger.Level.init(rawValue:)) {
            logger.logLevel = level
        }
        let custom = try orderFiles.map(DevOrderFile.read)
        var recorded = recorded
        if let instrument = custom.compactMap(\.market).first {
            recorded = recorded.map { $0.on(instrument) }
        }
        let servers = try await DevServers.start(data: data, say: tell)
        do {
            tell("migrating the database ...")
            let database = servers.postgres.conninfo(database: "postgres")
            let pool = try Backend.pool(database)
            let applied = try await Migrator(pool: pool, binaryVersion: Backend.version).up()
            await pool.close()
            tell(applied.isEmpty ? "database is current" : "database has \(applied.count) migrations")

            tell("starting the paper venue ...")
            var configuration = PaperVenueConfiguration()
            configuration.markets = [DevMarkets.demoMarket] + recorded.map(\.market)
            configuration.credentials = [
                .init(key: key, secret: secret),
                // To see what becomes of a key that may withdraw.
                .init(key: "withdraws", secret: "withdraws-secret", mayWithdraw: true),
            ]
            configuration.hedgeMode = true
            configuration.logPath = servers.directory + "/paper-venue.jsonl"
            let venue = PaperVenueServer(configuration: configuration, logger: logger)
            let venuePort = try await venue.start()

            var deployment = Deployment(database: database, redis: servers.redis.url)
            deployment.paperVenue = "http://127.0.0.1:\(venuePort)"
            deployment.paperIsHedged = true
            deployment.masterKey = SealedSecrets.makeKey()
            deployment.isStepped = !recorded.isEmpty && pace == .stepped
            let backend = try await Backend.open(deployment, role: "dev", logger: logger)
            let (account, apiKey) = try await seed(backend)
            let planned: [DevOrder] =
                recorded.isEmpty
                ? DevOrders.demo
                : recorded.flatMap { market in
                    custom.isEmpty ? DevOrders.recorded(market) : custom.map { $0.order(on: market) }
                }
            return DevSession(
                servers: servers,
                deployment: deployment,
                backend: backend,
                venue: venue,
                account: account,
                apiKey: apiKey,
                recorded: recorded,
                pace: pace,
                seconds: seconds,
                workers: workers,
                runsProcesses: processes,
                port: port,
                planned: planned,
                logger: logger,
            )
        } catch {
            await servers.stop()
            throw error
        }
    }

    /// The demo account, its key, and the venue's markets as the venue itself lists them.
    static func seed(
        _ backend: Backend,
        maximumConditionals: Int = 200,
    ) async throws -> (account: AccountID, apiKey: String) {
        var random = SystemRandomNumberGenerator()
        let id = AccountID(UniqueID(unixMilliseconds: backend.clock.now().milliseconds, random: &random))
        try await backend.accounts.create(
            Account(
                id: id,
                name: "demo",
                venue: "paper",
                product: "linear",
                mode: .paper,
                maximumConditionals: maximumConditionals,
            ),
            credentials: Credentials(key: key, secret: secret),
        )
        let apiKey = APIKeys.make()
        try await backend.accounts.addAPIKey(hash: APIKeys.hash(apiKey), account: id)
        try await backend.accounts.save(try await backend.venues.venue(for: id).instruments())
        return (id, apiKey)
    }

    // MARK: Run

    /// Runs until the prices end, the time is over, or somebody stops it. True when every demo order ended as expected.
    func run() async throws -> Bool {
        let begun = backend.clock.monotonicNanoseconds()
        try await withThrowingTaskGroup { group in
            try await startRoles(&group)
            group.addTask { try await self.follow() }
            group.addTask {
                try await Roles.feed(self.backend, source: self.source, market: self.tellVenue)
                try await self.settle()
            }
            if let seconds {
                group.addTask { try await self.backend.clock.sleep(milliseconds: Int64(seconds * 1_000)) }
            }
            group.addTask {
                _ = try await stopSignal()
                tell("stopping ...")
            }
            // Whatever ends first ends all: the prices, the time, a signal, or an error.
            do {
                try await group.next()
            } catch {
                group.cancelAll()
                throw error
            }
            group.cancelAll()
        }
        let elapsed = Double(backend.clock.monotonicNanoseconds() - begun) / 1e9
        tell("ran for \(Int(elapsed)).\(Int(elapsed * 10) % 10) s")
        return try await isAsExpected()
    }

    private func startRoles(_ group: inout ThrowingTaskGroup<Void, any Error>) async throws {
        if runsProcesses {
            tell("starting processes: 2 schedulers, \(workers) workers ...")
            for (role, count) in [("scheduler", 2), ("worker", workers)] {
                for _ in 0..<count {
                    let child = try await DevProcess.start(role, deployment, log: "\(servers.directory)/\(role).log")
                    children.withLock { $0.append(child) }
                    tell("  \(role) is process \(child.pid); kill -9 \(child.pid) to see it replaced")
                }
            }
        } else {
            tell("starting scheduler and \(workers) workers ...")
            for (role, count) in [("scheduler", 1), ("worker", workers)] {
                for _ in 0..<count {
                    let own = try await Backend.open(deployment, role: role, logger: logger)
                    group.addTask {
                        do {
                            try await role == "worker" ? Roles.worker(own) : Roles.scheduler(own)
                        } catch {
                            await own.close()
                            throw error
                        }
                        await own.close()
                    }
                }
            }
        }
        var known = deployment
        known.masterKey = nil
        known.intakeKey = try deployment.masterKey.map { try IntakeSeal.publicKey(masterKey: $0) }
        let scoped = try await Backend.open(known, role: "api", isTenantScoped: true, logger: logger)
        let api = APIRole(backend: scoped, port: port, isPublic: false)
        group.addTask {
            do { try await api.run() } catch {
                await scoped.close()
                throw error
            }
            await scoped.close()
        }
        guard let listening = await api.listening() else {
            throw Failure(.failed, "PORT", "the API cannot listen on port \(port).", hint: "--port 0 takes a free one")
        }
        try await waitForOwners()
        tell("ready: API on http://127.0.0.1:\(listening)  key \(apiKey)")
        tell("  curl -H 'Authorization: Bearer \(apiKey)' http://127.0.0.1:\(listening)/v1/orders")
    }

    /// Ready when every shard is held.
    private func waitForOwners() async throws {
        var patience = 200
        while try await backend.cluster.holders().contains(where: { $0 == nil }) {
            patience -= 1
            guard patience > 0 else { throw Failure(.failed, "NOT_READY", "no worker took the shards within 20 s.") }
            try await backend.clock.sleep(milliseconds: 100)
        }
    }

    // MARK: Prices

    private var source: any TickSource {
        guard !recorded.isEmpty else {
            // The script ends a little before the time, so that its last consequences are seen.
            let length = seconds.map { max(min($0, 63) - 4, 1) } ?? 60
            return ScriptedSource(
                series: DevMarkets.demoSeries,
                steps: DevMarkets.script(seconds: length),
                clock: backend.clock,
                begun: { try await self.createOrders() },
            )
        }
        var files: [ReplaySource.File] = []
        for path in Set(recorded.map(\.path)).sorted() {
            let markets = recorded.filter { $0.path == path }
            files.append(
                ReplaySource.File(
                    path: path,
                    series: Dictionary(markets.map { ($0.name, $0.series) }, uniquingKeysWith: { first, _ in first }),
                    decimals: Dictionary(
                        markets.map { ($0.series, $0.decimals) },
                        uniquingKeysWith: { first, _ in first },
                    ),
                )
            )
        }
        return ReplaySource(
            files: files,
            pace: pace,
            clock: backend.clock,
            ticks: backend.ticks,
            begun: { series in try await self.createOrders(on: series.market) },
        )
    }

    /// The paper venue trades at the fed price: as mark and as last.
    private var tellVenue: @Sendable ([SourcedTick]) async throws -> Void {
        let venue = venue
        let decimals = Dictionary(
            recorded.map { ($0.id, $0.decimals) } + [(DevMarkets.demo, 8)],
            uniquingKeysWith: { first, _ in first },
        )
        return { ticks in
            var batch: [PaperTick] = []
            for sourced in ticks {
                let price = Price(units: sourced.tick.price, decimals: decimals[sourced.series.market] ?? 8)
                for source in [TriggerSource.mark, .last] {
                    batch.append(
                        PaperTick(
                            market: sourced.series.market,
                            source: source,
                            price: price,
                            quantity: sourced.quantity,
                            position: sourced.tick.position,
                        )
                    )
                }
            }
            await venue.feed(batch)
        }
    }

    private func createOrders(on market: MarketID? = nil) async throws {
        let commands = backend.commands
        let prices = PaperPrices(base: deployment.paperVenue ?? "", http: backend.http)
        let wanted = planned.filter { market == nil || $0.market == market }
        // A position is one number per side: what several orders are attached to is their sum.
        for side in ["LONG", "SHORT"] {
            let held = wanted.compactMap(\.holds).filter { ($0.quantity.isPositive ? "LONG" : "SHORT") == side }
            guard let first = held.first, let any = wanted.first else { continue }
            let sum = held.reduce(ExactDecimal.zero) { $0 + $1.quantity }
            try await prices.setPosition(
                key: Self.key,
                market: any.market,
                positionSide: side,
                quantity: sum,
                price: first.price,
            )
        }
        for order in wanted {
            do {
                let made = try await commands.create(
                    order.draft,
                    market: order.market,
                    account: account,
                    actor: Actor(kind: .user, id: "demo"),
                    idempotency: nil,
                )
                created.withLock { $0.append((made.order.id, order)) }
            } catch {
                throw Failure(.failed, "ORDER_REFUSED", "\(order.label): \(Self.reason(error))")
            }
        }
        tell("created \(wanted.count) orders" + (market.map { " on \($0)" } ?? ""))
        guard let series = wanted.first.map({ PriceSeries(market: $0.market, source: .mark) }) else { return }
        // The first tick is over for them; the next one waits until every order is watched or has entered.
        var patience = 500
        while patience > 0 {
            if try await backend.ticks.isWatched(series, orders: wanted.count) { return }
            patience -= 1
            try await backend.clock.sleep(milliseconds: 20)
        }
        tell("not every order is watched yet; going on")
    }

    static func reason(_ error: any Error) -> String {
        switch error {
        case CommandError.refused(let refusals):
            refusals.map { "\($0.code.rawValue) \($0.detail)" }.joined(separator: "; ")
        case CommandError.unavailable(let detail): detail
        case CommandError.priceUnavailable: "no price is known yet"
        default: "\(error)"  // tidy-ok: errors of other modules
        }
    }

    /// After the last tick: waits until nothing that it caused is under way.
    private func settle() async throws {
        var quiet = 0
        var patience = 400
        while quiet < 10, patience > 0 {
            let open = try await orders().contains { order in order.venueOrders.contains { $0.isUnanswered } }
            quiet = open ? 0 : quiet + 1
            patience -= 1
            try await backend.clock.sleep(milliseconds: 25)
        }
        // Without a time to fill the end of the prices is the end.
        if seconds != nil, recorded.isEmpty { try await backend.clock.sleep(milliseconds: 3_600_000) }
    }

    // MARK: Telling

    /// Prints every event of the account in plain words.
    private func follow() async throws {
        var after: Int64 = 0
        while true {
            for event in try await backend.orders.events(account: account, after: after, limit: 200) {
                after = event.sequence
                let known = created.withLock { $0.first { $0.id == event.order }?.order.label }
                let label = known ?? event.order?.description ?? "the account"
                if let sentence = EventTeller.sentence(event, label: label) { tell("  " + sentence) }
            }
            try await backend.clock.sleep(milliseconds: 50)
        }
    }

    private func orders() async throws -> [SmartOrder] {
        let ids = created.withLock { $0.map(\.id) }
        guard !ids.isEmpty else { return [] }
        let rows = try await backend.orders.load(ids)
        return ids.compactMap { id in rows.first { $0.id == id }?.smart }
    }

    private func isAsExpected() async throws -> Bool {
        let expected = created.withLock { $0 }
        guard expected.count == planned.count else { return false }
        let rows = try await orders()
        return zip(expected, rows).allSatisfy { $0.order.expected == nil || $0.order.expected == $1.status }
    }

    func printSummary(json: Bool) async {
        do {
            try await DevSummary.show(
                orders(),
                labels: created.withLock { $0.map(\.order) },
                store: backend.orders,
                json: json,
            )
        } catch {
            tell("the summary cannot be read: \(error)")
        }
    }

    func stop() async {
        for child in children.withLock({ $0 }) { await child.stop() }
        await venue.stop()
        await backend.close()
        await servers.stop()
    }
}
