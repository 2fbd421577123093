// The paper venue as a service: one listener for HTTP and WebSocket, one thread that owns everything behind it.
//
// Invariants: no answer and no stream frame leaves before its log lines are written; the state is that of the log at
// any moment, so a venue that is killed goes on where it was. Limits: bodies up to 8 MiB, one event loop. Stop closes
// the listener, tells the streams (1001) and writes the log.

public import JSONText
public import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOWebSocket
internal import OwnerThread
internal import SmartOrders

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

public final class PaperVenueServer: Sendable {
    private struct Running {
        let channel: any Channel
        let gateway: NIOLoopBound<Gateway>
    }

    private enum State {
        case idle
        case starting
        case running(Running)
        case stopped
    }

    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    private let configuration: PaperVenueConfiguration
    private let logger: Logger
    private let group: MultiThreadedEventLoopGroup
    private let state = Locked(State.idle)

    public init(configuration: PaperVenueConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    }

    /// Runs until the task is cancelled or `stop()` is called. Starts first if nobody did.
    public func run() async throws {
        if port == nil { try await start() }
        guard case .running(let running) = state.withLock({ $0 }) else { return }
        let channel = running.channel
        await withTaskCancellationHandler {
            try? await channel.closeFuture.get()  // tidy-ok: closed with an error is closed
        } onCancel: {
            channel.close(promise: nil)
        }
        await stop()
    }

    /// Rebuilds the state from the log and listens. Returns the port.
    @discardableResult
    public func start() async throws -> Int {
        let isFirst = state.withLock { state in
            guard case .idle = state else { return false }
            state = .starting
            return true
        }
        guard isFirst else { throw Failure(description: "the paper venue was started already") }
        let loop = group.next()
        let configuration = configuration
        let logger = logger
        do {
            let gateway = try await loop.submit {
                NIOLoopBound(try Self.makeGateway(configuration, loop, logger), eventLoop: loop)
            }.get()
            let channel = try await Self.listen(configuration, loop, gateway)
            state.withLock { $0 = .running(Running(channel: channel, gateway: gateway)) }
        } catch {
            state.withLock { $0 = .stopped }
            try await group.shutdownGracefully()
            throw error
        }
        let port = port ?? 0
        logger.info("Paper venue listens", metadata: ["host": "\(configuration.host)", "port": "\(port)"])
        return port
    }

    /// The port in use; nil before `start` and after `stop`.
    public var port: Int? {
        guard case .running(let running) = state.withLock({ $0 }) else { return nil }
        return running.channel.localAddress?.port
    }

    /// Ends gracefully: no new connections, streams closed with 1001, the log written.
    public func stop() async {
        let ended = state.withLock { state -> Running? in
            guard case .running(let running) = state else { return nil }
            state = .stopped
            return running
        }
        guard let ended else { return }
        try? await ended.channel.close()  // tidy-ok: it may be closed already
        let gateway = ended.gateway
        // tidy-ok: the closure does not throw
        try? await group.next().submit {
            gateway.value.streams.cut(privateOnly: false, code: 1001)
            gateway.value.flush()
        }.get()
        try? await group.shutdownGracefully()  // tidy-ok: nothing is left to do
    }

    /// Feeds prices, in order; returns when they are matched and logged. Does nothing when the venue does not run.
    public func feed(_ ticks: [PaperTick]) async {
        guard case .running(let running) = state.withLock({ $0 }) else { return }
        let gateway = running.gateway
        // tidy-ok: the closure does not throw
        try? await group.next().submit {
            gateway.value.feed(ticks)
            gateway.value.flush()
        }.get()
    }

    /// Applies a control document (see `POST /paper/v1/control`).
    public func control(_ document: JSONValue) async throws {
        guard case .running(let running) = state.withLock({ $0 }) else { return }
        let gateway = running.gateway
        try await group.next().submit {
            try gateway.value.apply(control: document)
            gateway.value.flush()
        }.get()
    }

    /// Counts and settings (see `GET /paper/v1/state`); nil when the venue does not run.
    public func state() async throws -> JSONValue? {
        guard case .running(let running) = state.withLock({ $0 }) else { return nil }
        let gateway = running.gateway
        return try await group.next().submit { try JSONValue(parsing: gateway.value.stateDocument()) }.get()
    }

    // MARK: Parts

    /// On the loop: rebuilds the engine and opens the log.
    private static func makeGateway(
        _ configuration: PaperVenueConfiguration,
        _ loop: any EventLoop,
        _ logger: Logger,
    ) throws -> Gateway {
        let quiet = try VenueLog(path: nil, durability: configuration.durability)
        let rebuilt = VenueEngine(configuration: configuration, log: quiet)
        var lines = 0
        var requests = 0
        var listenKeys: [StreamOwner: String] = [:]
        var isTorn = false
        if let path = configuration.logPath {
            let replay = try VenueReplay.run(path: path, into: rebuilt)
            (lines, requests, isTorn) = (replay.lines, replay.requests, replay.isTorn)
            listenKeys = replay.listenKeys
        }
        let log = try VenueLog(path: configuration.logPath, durability: configuration.durability, lines: lines)
        rebuilt.log = log
        if isTorn { log.endTornLine() }
        let gateway = Gateway(
            configuration: configuration,
            engine: rebuilt,
            log: log,
            loop: loop,
            requests: requests,
            clock: machineClock,
        )
        gateway.streams.restore(listenKeys: listenKeys)
        if let path = configuration.ticksPath {
            let ticks = try VenueLog(
                path: path,
                durability: .write,
                lines: VenueLog.countLines(path),
            )
            gateway.ticks = ticks
            rebuilt.ticksTaken = { [unowned rebuilt] tick in VenueEngine.write(tick, to: ticks, at: rebuilt.now) }
        }
        gateway.readClock()
        log.line("start", at: rebuilt.now) { writer in
            writer.member("schema", 1)
            writer.member("seed", configuration.seed)
            writer.member("torn", isTorn)
        }
        rebuilt.endUnfinished()
        log.flush()
        if let path = configuration.controlPath { watch(path, gateway, loop, logger) }
        return gateway
    }

    /// Microseconds since 1970.
    private static let machineClock: @Sendable () -> Int64 = {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }

    /// Applies the control file now and whenever it changes; a bad file is logged and left alone.
    private static func watch(_ path: String, _ gateway: Gateway, _ loop: any EventLoop, _ logger: Logger) {
        let bound = NIOLoopBound(gateway, eventLoop: loop)
        let known = NIOLoopBoundBox<[UInt8]>([], eventLoop: loop)
        loop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(100)) { _ in
            guard let bytes = readFile(path), bytes != known.value else { return }
            known.value = bytes
            do {
                try bound.value.apply(control: try JSONValue(parsing: bytes))
            } catch {
                logger.error("Control file refused", metadata: ["path": "\(path)", "error": "\(error)"])
            }
        }
    }

    /// A small file; nil when it cannot be read.
    private static func readFile(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        return count >= 0 ? Array(bytes[..<count]) : nil
    }

    private static func listen(
        _ configuration: PaperVenueConfiguration,
        _ loop: any EventLoop,
        _ gateway: NIOLoopBound<Gateway>,
    ) async throws -> any Channel {
        try await ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: 1024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let connection = HTTPConnection(gateway: gateway.value)
                    let handler = NIOLoopBound(connection, eventLoop: loop)
                    let upgrader = NIOWebSocketServerUpgrader(
                        shouldUpgrade: { channel, head in
                            let target = StreamTarget(uri: head.uri)
                            let isKnown = target?.isKnown(to: gateway.value.streams) == true
                            return channel.eventLoop.makeSucceededFuture(isKnown ? HTTPHeaders() : nil)
                        },
                        upgradePipelineHandler: { channel, head in
                            channel.eventLoop.makeCompletedFuture {
                                guard let target = StreamTarget(uri: head.uri) else { return }
                                try channel.pipeline.syncOperations.addHandler(
                                    StreamConnection(gateway: gateway.value, target: target)
                                )
                            }
                        },
                    )
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(
                        withServerUpgrade: (
                            upgraders: [upgrader],
                            completionHandler: { context in
                                context.pipeline.syncOperations.removeHandler(handler.value, promise: nil)
                            },
                        )
                    )
                    try channel.pipeline.syncOperations.addHandler(connection)
                }
            }
            .bind(host: configuration.host, port: configuration.port).get()
    }
}
