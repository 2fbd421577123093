import HTTPAPI
import Logging
import MarketData
import OrderEngine
import OrderStorage
import RedisClient
import SmartOrders
import Telemetry
import TriggerQueue

/// The HTTP API of a process.
struct APIRole: Sendable {
    private let server: APIServer
    /// Hears what other processes commit. Its own, because every reader of notices has a place of its own in them.
    private let notices: RedisTickLog?

    /// - Parameters:
    ///   - isPublic: strangers may ask, and balancers have to see that the process goes.
    ///   - showsOperations: figures are on this port too; else it has `/livez` and `/readyz` without details.
    init(
        backend: Backend,
        host: String = "127.0.0.1",
        port: Int,
        isPublic: Bool,
        showsOperations: Bool = true,
    ) {
        var configuration = APIConfiguration(
            host: host,
            port: port,
            version: .init(version: Backend.version),
            epoch: backend.orders.presentIncarnation,
            // The same for every api process of a deployment: a cursor from one is good at another.
            cursorKey: sha256(Array("smartorders/cursor:".utf8) + backend.apiSecret),
            showsOperations: showsOperations,
        )
        configuration.presentEpoch = { try await backend.orders.refreshIncarnation() }
        // For judges and load tests, who ask more than people do.
        if let factor = environment("SMARTORDERS_RATE_FACTOR").flatMap({ Int($0) }), factor > 0 {
            configuration.limits.rates = configuration.limits.rates.map { $0 * factor }
        }
        // Only the public half: what this process seals, workers open.
        if let key = backend.deployment.intakeKey, let seal = IntakeSeal.sealer(publicKey: key) {
            configuration.sealIntake = { credentials, account in try seal(credentials.encoded, account) }
            configuration.sealSecret = { secret, webhook in try seal(secret, AccountID(webhook)) }
        }
        configuration.liveNeedsApproval = environment("SMARTORDERS_LIVE_APPROVAL") == "true"
        configuration.webhooksMayBePlain = !WebhookSettings.allowed.isEmpty
        configuration.publicURL = environment("SMARTORDERS_PUBLIC_URL")
        configuration.corsOrigins = Self.list("SMARTORDERS_CORS_ORIGINS")
        configuration.trustedProxies = Self.list("SMARTORDERS_TRUSTED_PROXIES")
        configuration.settings = EffectiveSettings.all(backend.deployment, host: host, port: port)
        configuration.showsDetails = !isPublic
        configuration.drainDelayMs = isPublic ? 2_000 : 0
        let metrics = backend.metrics
        let notices = Self.notices(backend)
        self.notices = notices
        var changes: (@Sendable () async throws -> Void)?
        if let notices { changes = { _ = try await notices.changedOrders(waitMs: 5_000) } }
        server = APIServer(
            configuration: configuration,
            orders: backend.orders,
            accounts: backend.accounts,
            traders: backend.traders,
            panel: backend.panel,
            intake: backend.intake,
            webhooks: backend.webhooks,
            hooks: backend.hooks,
            operators: PostgresOperatorStore(pool: backend.operatorPool ?? backend.pool),
            control: PostgresClusterControl(pool: backend.operatorPool ?? backend.pool),
            queue: QueueDesk(
                queue: backend.queue,
                pool: backend.operatorPool ?? backend.pool,
                orders: backend.operatorOrders,
                clock: backend.clock,
            ),
            commands: backend.commands,
            ticks: backend.ticks,
            timeline: backend.timeline,
            cluster: backend.cluster,
            readings: backend.readings,
            reader: { try await backend.orders.current($0, of: $1) },
            clock: backend.clock,
            readiness: { await RoleChecks.all(backend, role: "api") },
            metrics: { metrics.render() },
            changes: changes,
            logger: backend.logger,
        )
    }

    /// A setting with commas.
    private static func list(_ name: String) -> [String] {
        (environment(name) ?? "").split(separator: ",").map { $0.filter { $0 != " " } }.filter { !$0.isEmpty }
    }

    private static func notices(_ backend: Backend) -> RedisTickLog? {
        do {
            return RedisTickLog(RedisOptions(address: try Backend.address(backend.deployment.redis), name: "so-api"))
        } catch {
            // Streams are polled then; that Redis cannot be reached is told by `/readyz`.
            return nil
        }
    }

    /// Serves until cancelled.
    func run() async throws {
        defer { notices?.close() }
        do { try await server.run() } catch { if !(error is CancellationError) { throw error } }
    }

    /// The port, once connections are taken; nil: it could not listen.
    func listening() async -> Int? { await server.listening() }
}
