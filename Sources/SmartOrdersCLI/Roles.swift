// The roles of a deployment, each as one function that runs until its task is cancelled and then leaves in order.
import Exchanges
import HTTPAPI
import Logging
import MarketData
import OrderEngine
import OrderStorage
import SmartOrders

enum Roles {
    /// - Parameter context: instead of the backend's own.
    static func worker(_ backend: Backend, context: EngineContext? = nil) async throws {
        let duty = WorkerDuty(context: context ?? backend.context)
        defer { backend.logger.info("Worker stopped", metadata: ["worker": "\(backend.worker)"]) }
        backend.logger.info("Worker started", metadata: ["worker": "\(backend.worker)"])
        do {
            try await withThrowingTaskGroup { group in
                group.addTask { try await duty.run() }
                if let masterKey = backend.deployment.masterKey {
                    let masterKeys = [masterKey, backend.deployment.oldMasterKey].compactMap(\.self)
                    group.addTask { try await CredentialDuty(backend: backend, masterKeys: masterKeys).run() }
                    group.addTask { try await webhooks(backend, masterKeys) }
                    group.addTask { try await rotation(backend, masterKeys) }
                }
                let readings = VenueReadingDuty(
                    venues: backend.venues,
                    work: backend.readings,
                    clock: backend.clock,
                    observer: (context ?? backend.context).observer,
                )
                group.addTask { try await readings.run() }
                let catalogue = CatalogueDuty(context: context ?? backend.context)
                group.addTask { try await catalogue.run() }
                group.addTask {
                    while true {
                        try await backend.clock.sleep(milliseconds: 30_000)
                        await backend.venues.measureClocks()
                    }
                }
                try await group.next()
                group.cancelAll()
            }
        } catch {
            await leave { await duty.leave() }
            if !(error is CancellationError) { throw error }
            return
        }
        await leave { await duty.leave() }
    }

    /// Seals anew what the old key sealed: only who holds both can.
    private static func rotation(_ backend: Backend, _ masterKeys: [String]) async throws {
        guard masterKeys.count == 2, let box = SealedSecrets(hexadecimal: masterKeys[0], old: masterKeys[1]) else {
            while true { try await backend.clock.sleep(milliseconds: 3_600_000) }
        }
        let duty = RotationDuty(
            secrets: PostgresSecretStore(pool: backend.pool),
            box: box,
            masterKeys: masterKeys,
            clock: backend.clock,
            logger: backend.logger,
        )
        try await duty.run()
    }

    /// Sends webhooks: only who has the master key can sign them.
    private static func webhooks(_ backend: Backend, _ masterKeys: [String]) async throws {
        let transport = WebhookHTTP(allowed: WebhookSettings.allowed)
        var configuration = WebhookDuty.Configuration()
        configuration.epoch = { backend.orders.presentIncarnation }
        let duty = WebhookDuty(
            outbox: backend.webhooks,
            orders: backend.orders,
            transport: transport,
            open: { sealed, webhook in
                try IntakeSeal.open(sealed, for: AccountID(webhook), masterKeys: masterKeys)
            },
            clock: backend.clock,
            random: { UInt64.random(in: .min ... .max) },
            configuration: configuration,
            logger: backend.logger,
        )
        defer { leaveSoon { await transport.shutdown() } }
        try await duty.run()
    }

    static func scheduler(_ backend: Backend, context: EngineContext? = nil) async throws {
        let scheduler = Scheduler(context: context ?? backend.context)
        backend.logger.info("Scheduler started", metadata: ["scheduler": "\(backend.worker)"])
        do {
            try await withThrowingTaskGroup { group in
                group.addTask { try await scheduler.run() }
                group.addTask { try await tidy(backend) }
                try await group.next()
                group.cancelAll()
            }
        } catch {
            if !(error is CancellationError) { throw error }
        }
        await leave { await scheduler.leave() }
    }

    /// Deletes what has outlived its retention, a page at a time. Two who do it do no harm.
    private static func tidy(_ backend: Backend) async throws {
        for minute in 1... {
            try await backend.clock.sleep(milliseconds: 60_000)
            do throws(StoreError) {
                while try await backend.orders.prune() > 0, !Task.isCancelled {}
                if minute % 60 == 0 { while try await backend.orders.pruneExtremes() > 0, !Task.isCancelled {} }
            } catch {
                backend.logger.debug("Tidying waits", metadata: ["error": "\(error.detail)"])
            }
        }
    }

    static func feed(
        _ backend: Backend,
        source: any TickSource,
        market: (@Sendable ([SourcedTick]) async throws -> Void)?,
        context: EngineContext? = nil,
    ) async throws {
        let duty = FeedDuty(context: context ?? backend.context, source: source, market: market)
        do { try await duty.run() } catch { if !(error is CancellationError) { throw error } }
    }

    /// A feed that begins anew whenever an operator asks for it. What it misses meanwhile is in the venue's history.
    /// - Parameters:
    ///   - id: `venue:product`.
    ///   - source: a new connection.
    static func feed(
        _ backend: Backend,
        id: String,
        source: @escaping @Sendable () -> any TickSource,
    ) async throws {
        while try await isRestarted(backend, id, source) {
            backend.logger.info("Feed begins anew", metadata: ["feed": "\(id)"])
        }
    }

    /// Runs it. True: an operator asked for another; false: it has ended, or the task was cancelled.
    private static func isRestarted(
        _ backend: Backend,
        _ id: String,
        _ source: @escaping @Sendable () -> any TickSource,
    ) async throws -> Bool {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await feed(backend, source: source(), market: nil)
                return false
            }
            group.addTask { await restartIsWanted(of: id, backend) }
            let isWanted = try await group.next() ?? false
            group.cancelAll()
            // The connection is closed, and what it brought is stored, before there is another.
            while try await group.next() != nil {}
            return isWanted && !Task.isCancelled
        }
    }

    /// Returns true when an operator asked the feed to begin anew, false when the task is cancelled.
    private static func restartIsWanted(of id: String, _ backend: Backend) async -> Bool {
        var hasBegun = true
        while true {
            do throws(StoreError) {
                if try await backend.cluster.tell(feed: id, of: backend.worker, hasBegun: hasBegun) { return true }
                hasBegun = false
            } catch {
                // Nobody can have asked.
                backend.logger.debug("Feed is not heard", metadata: ["error": "\(error.detail)"])
            }
            do { try await backend.clock.sleep(milliseconds: 1_000) } catch { return false }
        }
    }

    private static func leaveSoon(_ body: @escaping @Sendable () async -> Void) {
        Task { await body() }  // tidy-ok: the composition root
    }

    /// A cancelled task cannot await a store: what is left to do runs in a fresh one.
    private static func leave(_ body: @escaping @Sendable () async -> Void) async {
        await Task { await body() }.value  // tidy-ok: the composition root
    }
}

extension RedisTickLog {
    /// Whether so many orders are watched in a series, none of them waiting for its venue.
    func isWatched(_ series: PriceSeries, orders: Int) async throws -> Bool {
        let reports = try await progress(series)
        return reports.reduce(0) { $0 + $1.orders } >= orders && reports.allSatisfy { $0.open == 0 }
    }
}
