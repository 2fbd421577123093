// The cluster that scenarios run on: private PostgreSQL and Redis, a scheduler, workers and a feed, and a paper venue that
// is reached through the Binance adapter over real sockets. All scenarios share it; each has a market of its own.
//
// Time. Ticks carry the scenario's time, and the clock of the roles is moved by the runner. What PostgreSQL times by its
// own clock (the fence of a request without an answer, the pause between two look-ups) is not waited for: the runner
// moves the stored moments into the past instead (`passFences`).
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
import Replay
import SmartOrders
import Telemetry
import TriggerQueue

final class ScenarioCluster: Sendable {
    private struct Worker {
        let backend: Backend
        let task: Task<Void, any Error>
    }

    /// Keys of the two accounts, one per half of the venue.
    static let keys: [PaperProduct: String] = [.linear: "scenario-linear", .spot: "scenario-spot"]
    private static let workerCount = 2

    let backend: Backend
    let clock: ScenarioClock
    let board = EvaluationBoard()
    let accounts: [PaperProduct: AccountID]
    let usesRedis: Bool
    private let servers: DevServers
    private let deployment: Deployment
    private let configuration: PaperVenueConfiguration
    private let venue: Locked<PaperVenueServer>
    private let source = ScenarioSource()
    private let workers = Locked<[Worker]>([])
    private let others = Locked<[Worker]>([])
    private let rules = Locked<[String: [JSONValue]]>([:])
    private let logger: Logger

    private init(
        backend: Backend,
        accounts: [PaperProduct: AccountID],
        usesRedis: Bool,
        servers: DevServers,
        deployment: Deployment,
        configuration: PaperVenueConfiguration,
        venue: PaperVenueServer,
        logger: Logger,
    ) {
        self.backend = backend
        self.accounts = accounts
        self.usesRedis = usesRedis
        self.servers = servers
        self.deployment = deployment
        self.configuration = configuration
        self.venue = Locked(venue)
        self.logger = logger
        clock = ScenarioClock(ScenarioEvent.origin)
    }

    // MARK: Life

    /// Starts everything.
    /// - Parameter usesRedis: false: Redis is gone before the first role begins.
    static func start(markets: [PaperMarket], usesRedis: Bool) async throws -> ScenarioCluster {
        var logger = Logger(label: "smartorders") { JSONLogHandler(label: $0, role: "scenario", level: .error) }
        if let level = environment("SMARTORDERS_LOG_LEVEL").flatMap(Logger.Level.init(rawValue:)) {
            logger.logLevel = level
        }
        let servers = try await DevServers.start(data: nil, say: { _ in })
        do {
            let database = servers.postgres.conninfo(database: "postgres")
            let pool = try Backend.pool(database)
            _ = try await Migrator(pool: pool, binaryVersion: Backend.version).up()
            await pool.close()
            var configuration = PaperVenueConfiguration()
            configuration.markets = markets
            configuration.credentials = keys.values.sorted().map { .init(key: $0, secret: "\($0)-secret") }
            configuration.logPath = servers.directory + "/paper-venue.jsonl"
            configuration.logsReads = false
            let venue = PaperVenueServer(configuration: configuration, logger: logger)
            configuration.port = try await venue.start()
            var deployment = Deployment(database: database, redis: servers.redis.url)
            deployment.paperVenue = "http://127.0.0.1:\(configuration.port)"
            deployment.masterKey = SealedSecrets.makeKey()
            deployment.isStepped = true
            if !usesRedis { try await servers.redis.stop() }
            let backend = try await Backend.open(
                deployment,
                role: "scenario",
                requiresRedis: usesRedis,
                logger: logger,
            )
            let cluster = ScenarioCluster(
                backend: backend,
                accounts: try await seed(backend),
                usesRedis: usesRedis,
                servers: servers,
                deployment: deployment,
                configuration: configuration,
                venue: venue,
                logger: logger,
            )
            try await cluster.startRoles()
            return cluster
        } catch {
            await servers.stop()
            throw error
        }
    }

    private static func seed(_ backend: Backend) async throws -> [PaperProduct: AccountID] {
        var random = ScenarioRandom(seed: 0)
        var accounts: [PaperProduct: AccountID] = [:]
        for (product, key) in keys.sorted(by: { $0.value < $1.value }) {
            let id = AccountID(UniqueID(unixMilliseconds: ScenarioEvent.origin.milliseconds, random: &random))
            try await backend.accounts.create(
                Account(
                    id: id,
                    name: key,
                    venue: "paper",
                    product: product.rawValue,
                    mode: .paper,
                    maximumConditionals: 200,
                ),
                credentials: Credentials(key: key, secret: "\(key)-secret"),
            )
            try await backend.accounts.save(try await backend.venues.venue(for: id).instruments())
            accounts[product] = id
        }
        return accounts
    }

    private func startRoles() async throws {
        let feed = try await open("feed")
        let scheduler = try await open("scheduler")
        let (feeding, scheduling) = (context(feed), context(scheduler))
        others.withLock {
            $0.append(
                Worker(
                    backend: feed,
                    task: Task {
                        try await Roles.feed(feed, source: self.source, market: nil, context: feeding)
                    },
                )
            )
            $0.append(
                Worker(backend: scheduler, task: Task { try await Roles.scheduler(scheduler, context: scheduling) })
            )
        }
        try await startWorkers()
    }

    private func open(_ role: String) async throws -> Backend {
        try await Backend.open(deployment, role: role, requiresRedis: usesRedis, logger: logger)
    }

    private func startWorkers() async throws {
        for _ in 0..<Self.workerCount {
            let own = try await open("worker")
            let context = context(own)
            let task = Task { try await Roles.worker(own, context: context) }
            workers.withLock { $0.append(Worker(backend: own, task: task)) }
        }
        let present = Set(workers.withLock { $0.map(\.backend.worker) })
        try await wait("the workers hold all shards") {
            try await backend.cluster.holders().allSatisfy { $0.map(present.contains) ?? false }
        }
        try await streamsAreOpen()
    }

    /// Until then a fill of a resting order would be found by the sweep alone, a minute later.
    private func streamsAreOpen() async throws {
        guard venue.withLock({ $0 }).port != nil else { return }
        try await wait("the private streams are open") {
            try await streams() >= Self.workerCount * Self.keys.count
        }
    }

    private func streams() async throws -> Int {
        guard let state = try await venue.withLock({ $0 }).state() else { return 0 }
        return try JSONField(state).int("streams")
    }

    /// Every worker ends; new ones, which remember nothing, take over.
    func restartWorkers() async throws {
        await stopWorkers()
        // What counts as open later must not be what is only about to close.
        if venue.withLock({ $0 }).port != nil {
            try await wait("the private streams are closed") { try await streams() == 0 }
        }
        try await startWorkers()
    }

    private func stopWorkers() async {
        let ended = workers.withLock { workers in
            defer { workers = [] }
            return workers
        }
        for worker in ended { worker.task.cancel() }
        for worker in ended { await end(worker) }
    }

    private func end(_ worker: Worker) async {
        do { try await worker.task.value } catch {
            if !(error is CancellationError) { tell("a role ended with \(error)") }
        }
        board.forget(worker.backend.worker)
        await worker.backend.close()
    }

    func stop() async {
        await stopWorkers()
        for role in others.withLock({ $0 }) {
            role.task.cancel()
            await end(role)
        }
        await venue.withLock { $0 }.stop()
        await backend.close()
        await servers.stop()
    }

    /// What a role works with: the backend's ports, the scenarios' clock, the board.
    func context(_ backend: Backend) -> EngineContext {
        EngineContext(backend.context, ticks: BoardTickLog(base: backend.ticks, board: board), clock: clock)
    }

    /// A service for commands; `seed` decides the ids that it makes.
    func commands(seed: UInt64) -> CommandService {
        let random = Locked(ScenarioRandom(seed: seed))
        let context = EngineContext(context(backend), random: { random.withLock { $0.next() } })
        return CommandService(
            context: context,
            history: PriceHistory(ticks: context.ticks, cluster: context.cluster),
        )
    }

    /// Waits for a condition, a minute at most.
    func wait(_ what: String, _ holds: () async throws -> Bool) async throws {
        let limit = clock.monotonicNanoseconds() + 60_000_000_000
        var pause: Int64 = 1
        while true {
            if try await holds() { return }
            guard clock.monotonicNanoseconds() < limit else {
                throw Failure(.failed, "NOT_SETTLED", "not within 60 s: \(what)")
            }
            try await clock.sleep(milliseconds: pause)
            pause = min(pause * 2, 20)
        }
    }

    // MARK: Prices

    /// What the venue trades at from now on.
    func trade(_ ticks: [PaperTick]) async { await venue.withLock { $0 }.feed(ticks) }

    /// A tick for the evaluators.
    func publish(_ series: PriceSeries, _ price: Price, decimals: Int, at position: TickPosition) async throws {
        guard let units = price.value.units(decimals: decimals) else {
            throw Failure(.usage, "PRICE", "\(price) is finer than the market's prices")
        }
        try await source.publish(
            SourcedTick(
                series: series,
                tick: RawTick(position: position, price: units, receivedAt: 0),
                quantity: nil,
            )
        )
        // Without Redis the stored extremes are the stream.
        guard !usesRedis else { return }
        try await wait("\(series) is stored") {
            let after = TickPosition(venueTime: position.venueTime, sequence: position.sequence - 1)
            return try await !backend.cluster.extremes(
                market: series.market,
                source: series.source,
                after: after,
                limit: 1,
            ).isEmpty
        }
    }

    // MARK: The venue's part

    func control(_ change: JSONObject) async throws { try await venue.withLock { $0 }.control(document: change) }

    /// Replaces the fault rules of one scenario.
    func setRules(_ own: [JSONValue], of scenario: String) async throws {
        let all = rules.withLock { rules in
            rules[scenario] = own
            return rules.sorted { $0.key < $1.key }.flatMap(\.value)
        }
        try await control(["rules": .array(all)])
    }

    /// The venue's process ends: nothing listens any more.
    func stopVenue() async { await venue.withLock { $0 }.stop() }

    /// It goes on from its log, on the same port.
    func startVenue() async throws {
        let next = PaperVenueServer(configuration: configuration, logger: logger)
        try await next.start()
        venue.withLock { $0 = next }
        try await control(["rules": .array(rules.withLock { $0.sorted { $0.key < $1.key }.flatMap(\.value) })])
        try await streamsAreOpen()
    }

    // MARK: What PostgreSQL times

    private static let passFences = Statement(
        name: "scenario_pass_fences",
        sql: """
            UPDATE intents SET fence_until = clock_timestamp() - interval '1 s',
                absent_at = absent_at - interval '1 s', next_check_at = clock_timestamp()
            WHERE order_id = $1::uuid AND is_live
            """,
    )

    /// Lets the time pass that PostgreSQL waits before it believes that a request without an answer never arrived.
    func passFences(of order: OrderID) async throws {
        _ = try await backend.pool.query(Self.passFences, [.uuid(high: order.value.high, low: order.value.low)])
    }

    /// Puts jobs where workers look for them.
    func offer(_ jobs: [Job]) async throws {
        if usesRedis {
            _ = try await backend.queue.offer(jobs, verify: false)
        } else {
            try await backend.orders.storeJobs(jobs)
        }
    }
}

extension PaperVenueServer {
    fileprivate func control(document: JSONObject) async throws { try await control(.object(document)) }
}
