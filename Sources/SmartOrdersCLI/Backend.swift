// The ports of one process, connected and checked: what every role is made of.
import Exchanges
import Logging
import MarketData
import OrderEngine
import OrderStorage
import PostgresClient
import RedisClient
import SmartOrders
import Telemetry
import TriggerQueue

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What a process is told about where it works.
struct Deployment: Sendable {
    var database: String
    var redis: String
    /// `http://host:port` of the paper venue; nil: no paper accounts.
    var paperVenue: String?
    /// The paper venue keeps a position for each side.
    var paperIsHedged = false
    /// As which class of venue the paper venue is set up (RELIABILITY.md 2.7).
    var paperClass = VenueClass.deadline()
    /// Live accounts may trade where requests have no deadline.
    var allowsNoDeadline = false
    /// 64 hexadecimal digits; nil: this process cannot use venue keys.
    var masterKey: String?
    /// The one before it, while secrets are sealed anew; nil: what it sealed is refused.
    var oldMasterKey: String?
    /// Public key of the workers' intake: 64 hexadecimal digits; nil: venue keys are not taken over HTTP.
    var intakeKey: String?
    /// Accounts may trade live.
    var isLiveEnabled = false
    /// Feeds wait for evaluators after each tick.
    var isStepped = false
    var name = "smartorders"
}

/// The connected ports of one process.
struct Backend: Sendable {
    let deployment: Deployment
    let pool: PostgresPool
    let orders: PostgresOrderStore
    let accounts: PostgresAccountStore
    let traders: PostgresTraderStore
    let panel: PostgresPanelStore
    let intake: PostgresCredentialIntake
    let webhooks: PostgresWebhookStore
    let hooks: PostgresHookStore
    /// Sessions of operators, who see every account; nil: this process serves none.
    let operatorPool: PostgresPool?
    /// Orders as those sessions see them.
    let operatorOrders: PostgresOrderStore
    let cluster: PostgresClusterStore
    let timeline: PostgresTimelineStore
    let readings: PostgresVenueReadings
    let queue: BullQueue
    let ticks: RedisTickLog
    let venues: AccountDirectory
    /// Readings that workers make, where this process may not see venue keys; nil: it asks venues itself.
    let relayed: RelayedVenues?
    let http: VenueHTTP
    let clock: SystemClock
    let logger: Logger
    let metrics: Metrics
    let worker: WorkerID
    /// Joins the commits of this process's commands.
    let committer: CommitBatcher
    /// What api processes sign with.
    let apiSecret: [UInt8]
    /// Redis was there when the process began.
    let redisIsChecked: Bool

    static let version = "0.1.0"

    /// Connects and checks: PostgreSQL reachable with the schema of this binary, Redis reachable and not evicting.
    /// - Parameters:
    ///   - requiresRedis: false: a role that begins while Redis is away works without it (RELIABILITY.md 3.3).
    ///   - isTenantScoped: its sessions see rows of the accounts that ask, and no venue key (RELIABILITY.md 10.4).
    static func open(
        _ deployment: Deployment,
        role: String,
        worker: WorkerID? = nil,
        requiresRedis: Bool = true,
        isTenantScoped: Bool = false,
        logger: Logger,
    ) async throws -> Backend {
        let clock = SystemClock()
        let worker = worker ?? WorkerID("\(role)-\(getpid())-\(String(UInt32.random(in: .min ... .max), radix: 36))")
        // The schema is looked at by its owner, whatever this process may see of it afterwards.
        let first = try Self.pool(deployment.database)
        let history: DatabaseHistory
        let apiSecret: [UInt8]
        do {
            try await Migrator(pool: first, binaryVersion: version).validate()
            history = try await DatabaseHistory.check(first)
            apiSecret = try await DatabaseHistory.apiSecret(first)
        } catch {
            await first.close()
            throw Self.databaseFailure(error)
        }
        var pool = first
        if isTenantScoped {
            await first.close()
            pool = try PostgresPool(configuration: .tenants(conninfo: deployment.database))
        }
        let address = try Self.address(deployment.redis)
        var settings = BullQueueOptions(
            address: address,
            worker: worker,
            deployment: deployment.name,
            generation: history.queueGeneration,
        )
        settings.role = role
        settings.partitions = history.queuePartitions
        let queue = BullQueue(settings, clock: clock)
        let metrics = Metrics(version: version, role: role)
        let orders = PostgresOrderStore(
            pool: pool,
            incarnation: history.incarnation,
            began: history.began,
            observer: EngineTelemetry(logger: logger, metrics: metrics),
        )
        let isChecked: Bool
        do {
            isChecked = try await Self.check(
                queue,
                orders,
                isRequired: requiresRedis,
                patience: requiresRedis ? 20 : 5,
                logger,
            )
            if !isChecked { logger.warning("Redis is away; working without it", metadata: ["redis": "\(address)"]) }
        } catch {
            queue.close()
            await pool.close()
            throw error
        }
        let secrets = SealedSecrets(
            hexadecimal: deployment.masterKey ?? SealedSecrets.makeKey(),
            old: deployment.oldMasterKey,
        )
        guard let secrets else {
            throw Failure(
                .usage,
                "MASTER_KEY_INVALID",
                "the master key is not 64 hexadecimal digits.",
                hint: "make one with: openssl rand -hex 32",
            )
        }
        let accounts = PostgresAccountStore(pool: pool, secrets: secrets)
        let http = VenueHTTP()
        let readings = PostgresVenueReadings(pool: pool)
        let reader = VenueReader(readings: readings, clock: clock)
        let operatorPool =
            isTenantScoped ? try PostgresPool(configuration: .operators(conninfo: deployment.database)) : nil
        return Backend(
            deployment: deployment,
            pool: pool,
            orders: orders,
            accounts: accounts,
            traders: PostgresTraderStore(pool: pool),
            panel: PostgresPanelStore(pool: pool),
            intake: PostgresCredentialIntake(pool: pool),
            webhooks: PostgresWebhookStore(pool: pool),
            hooks: PostgresHookStore(pool: pool),
            operatorPool: operatorPool,
            operatorOrders: PostgresOrderStore(
                pool: operatorPool ?? pool,
                incarnation: history.incarnation,
                began: history.began,
            ),
            cluster: PostgresClusterStore(pool: pool, orders: orders),
            timeline: PostgresTimelineStore(pool: pool),
            readings: readings,
            queue: queue,
            ticks: RedisTickLog(RedisOptions(address: address, name: "so-ticks")),
            venues: AccountDirectory(
                accounts: accounts,
                endpoints: Self.endpoints(deployment),
                http: http,
                clock: clock,
                allowsNoDeadline: deployment.allowsNoDeadline,
            ),
            relayed: isTenantScoped ? RelayedVenues(reader: reader, accounts: accounts, clock: clock) : nil,
            http: http,
            clock: clock,
            logger: logger,
            metrics: metrics,
            worker: worker,
            committer: CommitBatcher(store: orders, clock: clock),
            apiSecret: apiSecret,
            redisIsChecked: isChecked,
        )
    }

    /// Checks a Redis that was away when this process began, as soon as it is there; throws what would have kept the
    /// process from starting. Ends only so, or when it is cancelled.
    func checkRedisLate() async throws {
        var isChecked = redisIsChecked
        while true {
            try await clock.sleep(milliseconds: isChecked ? 3_600_000 : 500)
            if !isChecked {
                isChecked = try await Self.check(queue, orders, isRequired: false, patience: 1, logger)
                if isChecked { logger.notice("Redis is there") }
            }
        }
    }

    static func pool(_ conninfo: String) throws -> PostgresPool {
        do {
            return try PostgresPool(configuration: .stores(conninfo: conninfo))
        } catch {
            throw databaseFailure(error)
        }
    }

    static func address(_ url: String) throws -> RedisAddress {
        do throws(RedisURLError) {
            return try RedisAddress(url: url)
        } catch {
            throw Failure(
                .usage,
                "REDIS_URL_INVALID",
                "the Redis address cannot be read (\(error.rawValue)).",
                hint: "redis://[user:password@]host:port/db or unix:///path",
            )
        }
    }

    /// One clear line for what a database can be wrong about.
    static func databaseFailure(_ error: any Error) -> Failure {
        switch error {
        case let failure as Failure: failure
        case let error as StoreError where error.code == .incompatible:
            Failure(
                .refused,
                "DATABASE_INCOMPATIBLE",
                error.detail,
                hint: "smartorders migrate status, then migrate up",
            )
        case let error as StoreError:
            Failure(
                .unreachable,
                "DATABASE_UNREACHABLE",
                error.detail,
                hint: "is PostgreSQL running, and does the database exist?",
            )
        default:
            Failure(
                .unreachable,
                "DATABASE_UNREACHABLE",
                "\(error)",
                hint: "is PostgreSQL running, and does the database exist?",
            )
        }
    }

    /// False: Redis is away, and that is allowed. Throws when it is there and must not be used.
    private static func check(
        _ queue: BullQueue,
        _ orders: PostgresOrderStore,
        isRequired: Bool,
        patience: Int = 20,
        _ logger: Logger,
    ) async throws -> Bool {
        var patience = patience
        while true {
            do throws(QueueError) {
                for finding in try await queue.findings() {
                    if finding.isRefusal {
                        throw QueueError(.badArgument, finding.description)
                    }
                    logger.debug("Redis is usable, but", metadata: ["finding": "\(finding)"])
                }
                try await open(queue, orders)
                return true
            } catch {
                if error.code == .badArgument || error.code == .closed {
                    throw Failure(.refused, "REDIS_REFUSED", error.detail, hint: "smartorders doctor says more")
                }
                // The first connection may still be under way.
                patience -= 1
                if patience <= 0 {
                    guard isRequired else {
                        return false
                    }
                    throw Failure(
                        .unreachable,
                        "REDIS_UNREACHABLE",
                        error.detail,
                        hint: "is Redis running at the given address?",
                    )
                }
            }
            try await Task.sleep(nanoseconds: 100_000_000)
        }
    }

    /// Opens the queue; one that lost everything gets back first what is paused, then the dead (QUEUE.md 14.3).
    private static func open(_ queue: BullQueue, _ orders: PostgresOrderStore) async throws(QueueError) {
        do {
            if try await queue.open(pausing: try await orders.queuePauses()) {
                _ = try await queue.restoreDead(from: orders)
            }
        } catch let error as QueueError {
            throw error
        } catch {
            throw QueueError(.unavailable, "\(error)")
        }
    }

    private static func endpoints(_ deployment: Deployment) -> [BinanceEndpoint] {
        guard let base = deployment.paperVenue else { return [] }
        let socket = "ws" + base.dropFirst(4)
        return [
            BinanceEndpoint(
                venue: "paper",
                product: .spot,
                rest: base,
                stream: socket + "/ws",
                venueClass: deployment.paperClass,
            ),
            BinanceEndpoint(
                venue: "paper",
                product: .linear,
                rest: base,
                stream: socket + "/private/ws",
                venueClass: deployment.paperClass,
                isHedged: deployment.paperIsHedged,
            ),
        ]
    }

    var context: EngineContext { context(observer: EngineTelemetry(logger: logger, metrics: metrics)) }

    func context(observer: any EngineObserver) -> EngineContext {
        // In a stepped replay it is the day of the prices.
        let time = MarketTime()
        let log: any TickLog = deployment.isStepped ? ObservedTickLog(base: ticks, time: time) : ticks
        let told: any EngineClock = deployment.isStepped ? MarketClock(base: clock, time: time) : clock
        return EngineContext(
            orders: orders,
            accounts: accounts,
            cluster: cluster,
            queue: queue,
            ticks: log,
            venues: relayed ?? venues,
            clock: told,
            observer: observer,
            identity: VenueIdentity(sha256: sha256),
            random: { UInt64.random(in: .min ... .max) },
            worker: worker,
            reportsEveryBatch: deployment.isStepped,
            timeline: timeline,
            recovery: orders,
            backfills: PostgresBackfillStore(pool: pool),
        )
    }

    /// A service for commands, with a price history of its own.
    var commands: CommandService {
        let context = context
        return CommandService(
            context: context,
            history: PriceHistory(ticks: context.ticks, cluster: cluster),
            isLiveEnabled: deployment.isLiveEnabled,
            committer: committer,
        )
    }

    func close() async {
        queue.close()
        ticks.close()
        await operatorPool?.close()
        await pool.close()
        do { try await http.shutdown() } catch {
            logger.debug("HTTP client did not shut down", metadata: ["error": "\(error)"])
        }
    }
}
