// Health and figures of one process, on a port of their own (INTERFACES.md 4.5): what supervisors and Prometheus ask is not
// on the port that strangers reach. Every role has one.
//
// Limits: 64 connections, a header within 10 s, no bodies, no keys: it binds to loopback or a private network. Requests are
// not logged.

internal import HTTPTypes
internal import HummingbirdCore
internal import JSONText
public import Logging
internal import NIOCore
internal import NIOPosix
public import OrderEngine
internal import OwnerThread

public final class OperationsServer: Sendable {
    private struct State {
        var port: Int?
        var isOver = false
        var waiters: [CheckedContinuation<Int?, Never>] = []
    }

    private static let maximumConnections = 64

    private let host: String
    private let wantedPort: Int
    private let version: APIConfiguration.Version
    private let readiness: Readiness
    private let metrics: @Sendable () -> String
    private let clock: any EngineClock
    private let logger: Logger
    private let state = Locked(State())

    /// - Parameters:
    ///   - port: 0: any free one.
    ///   - readiness: the checks of `/readyz`; asked at most once a second.
    ///   - metrics: the text of `/metrics`.
    public init(
        host: String,
        port: Int,
        version: APIConfiguration.Version,
        readiness: @escaping @Sendable () async -> [ReadinessCheck],
        metrics: @escaping @Sendable () -> String,
        clock: any EngineClock,
        logger: Logger,
    ) {
        self.host = host
        wantedPort = port
        self.version = version
        self.readiness = Readiness(readiness)
        self.metrics = metrics
        self.clock = clock
        self.logger = logger
    }

    /// From now on `/readyz` answers 503: the process is leaving.
    public func drain() { readiness.drain() }

    /// Waits until connections are taken; nil: `run` ended without.
    public func listening() async -> Int? {
        await withCheckedContinuation { continuation in
            let known: Int?? = state.withLock { state in
                if let port = state.port { return .some(port) }
                if state.isOver { return .some(nil) }
                state.waiters.append(continuation)
                return nil
            }
            if let known { continuation.resume(returning: known) }
        }
    }

    private func settle(port: Int?, isOver: Bool) {
        let waiters = state.withLock { state in
            (state.port, state.isOver) = (port, isOver)
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: port) }
    }

    /// Serves until the task is cancelled.
    /// - Throws: when the address cannot be listened on.
    public func run() async throws {
        defer { settle(port: nil, isOver: true) }
        let channel = HTTP1Channel(
            responder: { request, writer, _ in try await self.respond(to: request, writer) },
            configuration: HTTP1Channel.Configuration(idleTimeout: .seconds(10)),
        )
        let server = Server(
            childChannelSetup: channel,
            configuration: ServerConfiguration(
                address: .hostname(host, port: wantedPort),
                availableConnectionsDelegate: .maximum(Self.maximumConnections, logger: logger),
            ),
            onServerRunning: { channel in self.settle(port: channel.localAddress?.port, isOver: false) },
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: logger,
        )
        try await server.run()
    }

    @concurrent
    private func respond(to request: Request, _ writer: consuming ResponseWriter) async throws {
        var reply = await answer(request)
        reply.headers[.cacheControl] = "no-store"
        reply.headers[.xContentTypeOptions] = "nosniff"
        // Who asks for health asks seldom; a body that nobody reads goes with its connection.
        reply.headers[.connection] = "close"
        var body = ResponseBody()
        if case .bytes(let buffer) = reply.body { body = ResponseBody(byteBuffer: buffer) }
        if let length = body.contentLength { reply.headers[.contentLength] = "\(length)" }
        try await writer.write(response: HTTPResponse(status: reply.status, headerFields: reply.headers), body: body)
    }

    private func answer(_ request: Request) async -> Reply {
        guard request.method == .get || request.method == .head else {
            return Reply(status: .methodNotAllowed, headers: [.allow: "GET, HEAD"])
        }
        switch request.head.path?.prefix(while: { $0 != "?" }) {
        case "/livez": return .json { $0.member("status", "live") }
        case "/readyz", "/startupz": return await readiness.reply(details: true, now: clock.monotonicNanoseconds())
        case "/metrics": return .metrics(metrics())
        case "/version": return version.reply
        case _: return Reply(status: .notFound)
        }
    }
}
