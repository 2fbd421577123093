// An API server on a real socket with PostgreSQL behind it: what needs unique keys, tiers, halts, tenants.

import HTTPAPI
import JSONText
import Logging
import NIOHTTP1
import OrderEngine
import OrderStorage
import OwnerThread
import PostgresClient
import Simulation
import SmartOrders
import TestKit
import Testing

/// Stands for a venue key's seal: nothing here uses venue keys.
private struct OpenBox: SecretBox {
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8] { secret }
    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] { sealed }
}

/// A migrated database that the others are copied from.
private actor Template {
    static let shared = Template()
    private var making: Task<String, any Error>?

    func name() async throws -> String {
        if let making { return try await making.value }
        let task = Task {
            let pool = try PostgresPool(
                configuration: .stores(conninfo: try await PostgresServer.freshDatabase(), connections: 1)
            )
            try await Migrator(pool: pool).up()
            let name = try await pool.query(Statement(sql: "SELECT current_database()::text"))[0].string(0)
            await pool.close()
            return name
        }
        making = task
        return try await task.value
    }
}

/// A trader of his own: a user with one account and one key.
struct Tenant: Sendable {
    let user: UniqueID
    let account: AccountID
    let key: String
}

struct StoredRig: APITarget {
    let port: Int
    let pool: PostgresPool
    let orders: PostgresOrderStore
    let accounts: PostgresAccountStore
    let traders: PostgresTraderStore
    let panel: PostgresPanelStore
    /// As workers have it.
    let intake: PostgresCredentialIntake
    /// As the server sees them: row-level security is on.
    let seenOrders: PostgresOrderStore
    let seenTimeline: PostgresTimelineStore
    let seenPool: PostgresPool
    let ticks: MemoryTickLog
    let server: APIServer
    let conninfo: String
    let venues: SomeVenues
    let queue: ToldQueue
    /// The workers' half of what is asked about accounts.
    let readingWork: PostgresVenueReadings

    func sql(_ text: String) async throws { try await pool.simple(text) }

    static func uuid() -> UniqueID {
        var random = SystemRandomNumberGenerator()
        return UniqueID(unixMilliseconds: 1_790_000_000_000, random: &random)
    }

    func tenant(
        tier: String = "PRO",
        mode: Account.Mode = .paper,
        product: String = "linear",
        scopes: String = "read,trade",
        roles: String = "TRADER",
    ) async throws -> Tenant {
        let user = Self.uuid()
        let account = AccountID(Self.uuid())
        try await sql("INSERT INTO users VALUES ('\(user)', '\(user)', '\(tier)', '{\(roles)}')")
        let value = Account(id: account, name: "a", venue: "paper", product: product, mode: mode)
        try await accounts.create(value, credentials: Credentials(key: "k", secret: "s"))
        try await sql("UPDATE accounts SET user_id = '\(user)' WHERE id = '\(account)'")
        let key = APIKey.make(isLive: mode == .live) { UInt64.random(in: 0 ... .max) }
        try await accounts.addAPIKey(hash: APIKey.hash(key), account: account)
        try await sql("UPDATE api_keys SET scopes = '{\(scopes)}' WHERE hash = '\(APIKey.hash(key))'")
        return Tenant(user: user, account: account, key: key)
    }

    /// The newest price of a market from now on.
    func price(
        _ units: Int64,
        _ source: TriggerSource = .mark,
        symbol: String = "DEMO",
        product: String = "linear",
    )
        async throws
    {
        let series = PriceSeries(market: MarketID(venue: "paper", product: product, symbol: symbol), source: source)
        let now = RealClock().now().microseconds
        let before = try await ticks.latest(series)?.position.sequence ?? 0
        let position = TickPosition(venueTime: now, sequence: before + 1)
        try await ticks.append([RawTick(position: position, price: units, receivedAt: now)], to: series)
    }

    /// A good body of `POST /v1/orders`: 10 held at 100, two levels, a stop. `changes` replaces members by their names.
    func draft(_ account: AccountID, _ changes: [String: String] = [:]) -> String {
        var members = [
            "accountId": "\"\(account)\"", "market": "\"paper:linear:DEMO\"", "side": "\"BUY\"", "qty": "\"10\"",
            "entry": #"{"mode": "attach", "price": "100"}"#, "stopLoss": #"{"price": "95"}"#,
            "takeProfits": #"[{"price": "105", "sizePct": "50"}, {"price": "110", "sizePct": "50"}]"#,
        ]
        for (name, value) in changes { members[name] = value.isEmpty ? nil : value }
        return "{" + members.map { "\"\($0)\": \($1)" }.sorted().joined(separator: ", ") + "}"
    }

    /// A good body of `POST /v1/conditional-orders`: a stop-loss that sells 10 at 95.
    func conditional(_ account: AccountID, _ changes: [String: String] = [:]) -> String {
        var members = [
            "accountId": "\"\(account)\"", "market": "\"paper:linear:DEMO\"", "type": "\"STOP_LOSS\"",
            "side": "\"SELL\"", "qty": "\"10\"", "trigger": "\"95\"",
        ]
        for (name, value) in changes { members[name] = value.isEmpty ? nil : value }
        return "{" + members.map { "\"\($0)\": \($1)" }.sorted().joined(separator: ", ") + "}"
    }

    /// Creates an order; returns its id.
    func create(_ tenant: Tenant, _ changes: [String: String] = [:]) async throws -> String {
        let answer = try await send(
            .POST,
            "/v1/orders",
            key: tenant.key,
            body: draft(tenant.account, changes),
            idempotency: "\(Self.uuid())",
        )
        #expect(answer.status == 201, "\(answer.text)")
        return try #require(answer.json["id"]?.text)
    }

    /// A command on an order, whatever its version.
    func act(
        _ tenant: Tenant,
        _ id: String,
        _ method: HTTPMethod,
        _ path: String,
        _ body: String? = nil,
    ) async throws -> Answer {
        let tag = try await send(.GET, "/v1/orders/\(id)", key: tenant.key)["ETag"]
        return try await send(
            method,
            "/v1/orders/\(id)\(path)",
            key: tenant.key,
            body: body,
            idempotency: "\(Self.uuid())",
            ifMatch: tag,
        )
    }
}

/// Keeps what is logged.
struct LogCollector: LogHandler {
    private let lines = Locked<[String]>([])
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    var logger: Logger { Logger(label: "api") { _ in self } }
    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") }
    }
}

/// Starts a server on a new database, runs `body`, stops it.
func withStoredAPI(
    _ change: (inout APIConfiguration) -> Void = { _ in },
    isLiveEnabled: Bool = false,
    relaysVenues: Bool = false,
    changes: (@Sendable (PostgresPool) -> (@Sendable () async throws -> Void))? = nil,
    logger given: Logger? = nil,
    _ body: (StoredRig) async throws -> Void,
) async throws {
    var configuration = APIConfiguration(
        port: 0,
        publicURL: "https://orders.example",
        version: .init(version: "1.2.3", commit: "abc"),
        cursorKey: Array(repeating: 7, count: 32),
    )
    configuration.drainDelayMs = 0
    configuration.limits.keyCacheMs = 0
    configuration.stream.pollMs = 20
    // These tests ask more than a person does.
    configuration.limits.rates = [100_000, 100_000, 100_000, 5, 100_000, 100_000]
    // No test here waits for it, and a busy machine may take its time.
    configuration.limits.deadlineMs = 60_000
    configuration.limits.haltLookMs = 50
    // Stands for the workers' public key.
    configuration.sealIntake = { credentials, account in
        Array("\(account) ".utf8) + credentials.secret.utf8.map { $0 ^ 0x55 }
    }
    configuration.sealSecret = { secret, webhook in Array("\(webhook) ".utf8) + secret.map { $0 ^ 0x55 } }
    configuration.webhooksMayBePlain = true
    change(&configuration)
    let conninfo = try await PostgresServer.freshDatabase(template: try await Template.shared.name())
    let pool = try PostgresPool(configuration: .stores(conninfo: conninfo))
    // The server's own: row-level security is on, as in `smartorders serve api`.
    let restricted = try PostgresPool(configuration: .tenants(conninfo: conninfo))
    let operators = try PostgresPool(configuration: .operators(conninfo: conninfo))
    let history = try await DatabaseHistory.check(pool)
    let orders = PostgresOrderStore(pool: pool, incarnation: history.incarnation)
    let accounts = PostgresAccountStore(pool: pool, secrets: OpenBox())
    let traders = PostgresTraderStore(pool: restricted)
    let seenOrders = PostgresOrderStore(pool: restricted, incarnation: history.incarnation)
    let seenAccounts = PostgresAccountStore(pool: restricted, secrets: OpenBox())
    let intake = PostgresCredentialIntake(pool: restricted)
    let panel = PostgresPanelStore(pool: restricted)
    let timeline = PostgresTimelineStore(pool: restricted)
    let ticks = MemoryTickLog(MemoryTickServer(clock: RealClock()))
    let cluster = EmptyCluster()
    let queue = ToldQueue()
    let venues = SomeVenues()
    let readings = PostgresVenueReadings(pool: restricted)
    // What a process without venue keys has.
    let relayed: any VenueDirectory = RelayedVenues(
        reader: VenueReader(readings: readings, clock: RealClock()),
        accounts: seenAccounts,
        clock: RealClock(),
    )
    let context = EngineContext(
        orders: seenOrders,
        accounts: seenAccounts,
        cluster: cluster,
        queue: EmptyQueue(),
        ticks: ticks,
        venues: relaysVenues ? relayed : venues,
        clock: RealClock(),
        observer: QuietObserver(),
        identity: VenueIdentity(sha256: { _ in Array(repeating: 0, count: 32) }),
        random: { UInt64.random(in: 0 ... .max) },
        worker: WorkerID("api"),
    )
    configuration.presentEpoch = { try await seenOrders.refreshIncarnation() }
    var logger = Logger(label: "api")
    logger.logLevel = .critical
    logger = given ?? logger
    let server = APIServer(
        configuration: configuration,
        orders: seenOrders,
        accounts: seenAccounts,
        traders: traders,
        panel: panel,
        intake: intake,
        webhooks: PostgresWebhookStore(pool: restricted),
        hooks: PostgresHookStore(pool: restricted),
        operators: PostgresOperatorStore(pool: operators),
        control: PostgresClusterControl(pool: operators),
        queue: queue,
        commands: CommandService(
            context: context,
            history: PriceHistory(ticks: ticks, cluster: cluster),
            isLiveEnabled: isLiveEnabled,
            committer: CommitBatcher(store: seenOrders, clock: RealClock()),
        ),
        ticks: ticks,
        timeline: timeline,
        cluster: cluster,
        readings: readings,
        reader: { try await seenOrders.current($0, of: $1) },
        clock: RealClock(),
        readiness: { [] },
        metrics: { "" },
        changes: changes?(pool),
        logger: logger,
    )
    let service = Task { try await server.run() }
    guard let port = await server.listening() else {
        try await service.value
        return
    }
    let rig = StoredRig(
        port: port,
        pool: pool,
        orders: orders,
        accounts: accounts,
        traders: traders,
        panel: panel,
        intake: PostgresCredentialIntake(pool: pool),
        seenOrders: seenOrders,
        seenTimeline: timeline,
        seenPool: restricted,
        ticks: ticks,
        server: server,
        conninfo: conninfo,
        venues: venues,
        queue: queue,
        readingWork: PostgresVenueReadings(pool: pool),
    )
    do {
        try await accounts.save([.sample()])
        try await rig.price(101 * 100_000_000)
        try await body(rig)
    } catch {
        service.cancel()
        try await service.value
        await operators.close()
        await restricted.close()
        await pool.close()
        throw error
    }
    service.cancel()
    try await service.value
    await operators.close()
    await restricted.close()
    await pool.close()
}
