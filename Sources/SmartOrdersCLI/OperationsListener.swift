// The operations listener of a role: health and figures, apart from what strangers reach (INTERFACES.md 4.5).
import ArgumentParser
import HTTPAPI
import Logging
import OrderEngine
import OrderStorage
import SmartOrders
import Telemetry
import TriggerQueue

/// Where a process tells of itself.
enum OperationsAddress: Equatable {
    /// On the API's own port, with its details.
    case same
    case none
    /// - Parameter isWanted: somebody named it; else it is the default, and another role of this host may have it.
    case own(host: String, port: Int, isWanted: Bool)

    static let fallback = "127.0.0.1:9464"

    init(_ given: String?) throws {
        switch given {
        case "same": self = .same
        case "none": self = .none
        case let text:
            let (host, port) = try ServeCommand.address(text ?? Self.fallback)
            self = .own(host: host, port: port, isWanted: text != nil)
        }
    }
}

struct OperationsOptions: ParsableArguments {
    @Option(
        help: """
            Address of health and metrics, 127.0.0.1:9464 by default (SMARTORDERS_OPS_LISTEN); `same`: on the API's own \
            port; `none`.
            """
    )
    var opsListen: String?

    func address() throws -> OperationsAddress {
        try OperationsAddress(opsListen ?? environment("SMARTORDERS_OPS_LISTEN"))
    }
}

/// What a role says of itself while it runs.
struct OperationsListener: Sendable {
    private let server: OperationsServer
    private let isWanted: Bool
    private let logger: Logger

    /// Nil: the role has none of its own.
    init?(
        _ address: OperationsAddress,
        version: String,
        clock: any EngineClock,
        logger: Logger,
        readiness: @escaping @Sendable () async -> [ReadinessCheck],
        metrics: @escaping @Sendable () -> String,
    ) {
        guard case .own(let host, let port, let isWanted) = address else { return nil }
        self.isWanted = isWanted
        self.logger = logger
        server = OperationsServer(
            host: host,
            port: port,
            version: .init(version: version),
            readiness: readiness,
            metrics: metrics,
            clock: clock,
            logger: logger,
        )
    }

    /// The listener of a role that works with the stores.
    init?(_ address: OperationsAddress, _ backend: Backend, role: String) {
        let metrics = backend.metrics
        self.init(
            address,
            version: Backend.version,
            clock: backend.clock,
            logger: backend.logger,
            readiness: { await RoleChecks.all(backend, role: role) },
            metrics: { metrics.render() },
        )
    }

    /// The process is leaving: whoever sends it work may stop.
    func drain() { server.drain() }

    /// Serves until cancelled. The default address that another role of this host has is no reason not to work.
    func run() async throws {
        do {
            while !Task.isCancelled {
                try await server.run()
                if Task.isCancelled { return }
                // An accept that failed ends a server without an error; the role goes on, and is told of again.
                logger.warning("The operations listener ended and is begun again")
                try await Task.sleep(for: .seconds(1))
            }
        } catch {
            if error is CancellationError || Task.isCancelled { return }
            guard isWanted else {
                logger.warning(
                    "No operations listener: the default address is taken",
                    metadata: ["address": "\(OperationsAddress.fallback)", "error": "\(error)"],
                )
                while !Task.isCancelled { do { try await Task.sleep(for: .seconds(3_600)) } catch { return } }
                return
            }
            throw Failure(.failed, "OPS_LISTEN", "the operations address cannot be listened on: \(error)")
        }
    }
}

/// The checks of `/readyz` by role. Redis is fatal where nothing routes requests by it: 503 only tells, the role works on
/// through PostgreSQL alone (RELIABILITY.md 3.3).
enum RoleChecks {
    static func all(_ backend: Backend, role: String) async -> [ReadinessCheck] {
        var checks: [ReadinessCheck] = []
        let begun = backend.clock.monotonicNanoseconds()
        func elapsed() -> Int64 { (backend.clock.monotonicNanoseconds() - begun) / 1_000_000 }
        do {
            let workers = try await backend.cluster.workers().live
            checks.append(ReadinessCheck(name: "postgres", isOK: true, milliseconds: elapsed()))
            if role == "worker" {
                let isListed = workers.contains { $0.id == backend.worker }
                checks.append(
                    ReadinessCheck(
                        name: "lease",
                        isOK: isListed,
                        detail: isListed ? "" : "this worker has no lease: it is given no shards",
                        fix: "it takes one as soon as PostgreSQL answers",
                    )
                )
                // Orders that it was given and does not watch yet are nobody's (RELIABILITY.md HO25).
                let watched = try await backend.cluster.watchedShards()
                let mine = try await backend.cluster.holders().enumerated().filter { $1 == backend.worker }.map(
                    \.offset
                )
                let waiting = mine.count { !watched.contains($0) }
                checks.append(
                    ReadinessCheck(
                        name: "shards",
                        isOK: waiting == 0,
                        detail: waiting == 0
                            ? "\(mine.count) are watched" : "\(waiting) of \(mine.count) are being taken over",
                        fix: "wait: its log tells of each that it took over",
                    )
                )
            } else {
                checks.append(
                    ReadinessCheck(
                        name: "workers",
                        isOK: !workers.isEmpty,
                        detail: workers.isEmpty
                            ? "no worker is alive: orders are taken but not watched" : "\(workers.count) alive",
                        fix: "smartorders serve worker",
                        isFatal: false,
                    )
                )
            }
        } catch {
            checks.append(
                ReadinessCheck(
                    name: "postgres",
                    isOK: false,
                    milliseconds: elapsed(),
                    detail: error.detail,
                    fix: "is PostgreSQL running?",
                )
            )
        }
        checks.append(
            ReadinessCheck(
                name: "redis",
                isOK: backend.queue.isConnected,
                detail: backend.queue.isConnected ? "" : "away: the cluster works on through PostgreSQL alone",
                fix: "is Redis running?",
                isFatal: role != "api",
            )
        )
        return checks
    }
}
