// The roles of a deployment, each as one function that runs until its task is cancelled and then leaves in order.
import Exchanges
import Logging
import MarketData
import OrderEngine
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
                    group.addTask { try await CredentialDuty(backend: backend, masterKey: masterKey).run() }
                }
                let readings = VenueReadingDuty(
                    venues: backend.venues,
                    work: backend.readings,
                    clock: backend.clock,
                    observer: (context ?? backend.context).observer,
                )
                group.addTask { try await readings.run() }
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

    static func scheduler(_ backend: Backend, context: EngineContext? = nil) async throws {
        let scheduler = Scheduler(context: context ?? backend.context)
        backend.logger.info("Scheduler started", metadata: ["scheduler": "\(backend.worker)"])
        do { try await scheduler.run() } catch { if !(error is CancellationError) { throw error } }
        await leave { await scheduler.leave() }
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
