// The HTTP API of one process (INTERFACES.md 1, 2, 4.5, 4.6).
//
// Plain requests run on Hummingbird's server and channel, through our own table of routes: what a route asks of a
// request is data, and every refusal is a problem document. The stream is NIOWebSocket beside it.
// Stopping: cancel the task of `run`. `/readyz` answers 503, then new connections are refused, requests in work end,
// streams are closed with 1001, `run` returns.

internal import DecisionTimeline
internal import HTTPTypes
internal import HummingbirdCore
public import Logging
internal import NIOCore
internal import NIOPosix
public import OrderEngine
internal import OwnerThread
public import SmartOrders

public final class APIServer: Sendable {
    private struct State {
        var port: Int?
        var isOver = false
        var waiters: [CheckedContinuation<Int?, Never>] = []
    }

    private let configuration: APIConfiguration
    private let gateway: Gateway
    private let backend: Backend
    private let readiness: Readiness
    private let tickets: TicketBook
    private let logger: Logger
    private let state = Locked(State())
    private let hub: EventHub
    private let batches: BatchDuty
    private let boards: StreamBoards
    private let hookDuty: HookDuty
    private let bulk: BulkDuty
    /// Every route that this server has.
    package let routes: [RouteSummary]

    /// - Parameters:
    ///   - readiness: the checks of `/readyz`; asked at most once a second.
    ///   - metrics: the text of `/metrics`.
    ///   - readings: what workers tell of venues; nil: nobody is asked.
    ///   - changes: returns when an order may have changed somewhere; nil: streams rely on the poll and on the commits
    ///     of this process.
    public init(
        configuration: APIConfiguration,
        orders: any OrderStore,
        accounts: any AccountStore,
        traders: any TraderStore,
        panel: any PanelStore,
        intake: any CredentialIntake,
        webhooks: any WebhookStore,
        hooks: any HookStore,
        operators: any OperatorStore,
        control: any ClusterControl,
        queue: any QueueControl,
        commands: CommandService,
        ticks: any TickLog,
        timeline: any TimelineStore,
        cluster: any ClusterStore,
        readings: (any VenueReadings)? = nil,
        reader: (@Sendable (_ order: OrderID, _ accounts: [AccountID]) async throws -> ReadOrder?)? = nil,
        clock: any EngineClock,
        readiness: @escaping @Sendable () async -> [ReadinessCheck],
        metrics: @escaping @Sendable () -> String,
        changes: (@Sendable () async throws -> Void)? = nil,
        logger: Logger,
    ) {
        self.configuration = configuration
        self.logger = logger
        self.readiness = Readiness(readiness)
        backend = Backend(
            configuration: configuration,
            orders: orders,
            reader: reader ?? { id, accounts in
                try await orders.loadNoted([id]).first { accounts.contains($0.account) }.map { ReadOrder($0) }
            },
            accounts: accounts,
            traders: traders,
            panel: panel,
            intake: intake,
            webhooks: webhooks,
            hooks: hooks,
            commands: commands,
            clock: clock,
            prices: PriceCache(ticks: ticks, clock: clock),
            ticks: ticks,
            cluster: cluster,
            venues: readings.map { VenueReader(readings: $0, clock: clock) },
            catalogue: Catalogue(accounts: accounts, cluster: cluster, clock: clock),
            history: FillHistory(orders),
            keys: KeyRing(
                traders: traders,
                panel: panel,
                clock: clock,
                cacheMs: configuration.limits.keyCacheMs,
                secret: configuration.cursorKey,
            ),
            cursors: CursorCoder(key: configuration.cursorKey),
            timeline: timeline,
            explainer: Explainer(orders: orders, timeline: timeline, ticks: ticks, cluster: cluster),
            epoch: StreamEpoch(configuration.epoch),
            logger: logger,
        )
        tickets = TicketBook(panel: panel, keys: backend.keys)
        hub = EventHub(
            orders: orders,
            clock: clock,
            limits: configuration.stream,
            epoch: backend.epoch,
            presentEpoch: configuration.presentEpoch,
            changes: changes,
            logger: logger,
        )
        batches = BatchDuty(backend: backend, hub: hub)
        boards = StreamBoards(
            prices: PriceBoard(backend: backend),
            derived: DerivedBoard(backend: backend),
            notices: NoticeBoard(backend: backend, operators: operators),
            operators: OperatorBoard(backend: backend, operators: operators),
        )
        hookDuty = HookDuty(backend: backend, hub: hub)
        bulk = BulkDuty(queue: queue, clock: clock, logger: logger)
        let admin = AdminRoutes(
            backend: backend,
            hub: hub,
            control: control,
            operators: operators,
            queue: queue,
            batches: batches,
            bulk: bulk,
        )
        let routes =
            SystemRoutes(backend: backend, readiness: self.readiness, metrics: metrics).routes
            + OrderRoutes(backend: backend, hub: hub).routes
            + ConditionalRoutes(backend: backend, hub: hub).routes
            + ExplainRoute(backend: backend).routes
            + CatalogueRoutes(backend: backend).routes
            + PositionRoutes(backend: backend, hub: hub).routes
            + AccountRoutes(backend: backend, batches: batches).routes
            + VenueRoutes(backend: backend, batches: batches).routes
            + CandleRoute(backend: backend).routes
            + AccountSettingRoutes(backend: backend).routes
            + CredentialRoutes(backend: backend).routes
            + TraderRoutes(backend: backend).routes
            + SignInRoutes(backend: backend).routes
            + PresetRoutes(backend: backend).routes
            + WebhookRoutes(backend: backend).routes
            + HookRoutes(backend: backend, duty: hookDuty).routes
            + admin.routes
            + StreamRoutes(backend: backend, hub: hub, boards: boards, tickets: tickets).routes
        var random = SystemRandomNumberGenerator()
        let instance = "r" + hexadecimal((0..<4).map { _ in UInt8.random(in: 0...255, using: &random) })
        gateway = Gateway(backend: backend, routes: routes, instance: instance)
        self.routes = routes.map { RouteSummary($0) }
    }

    /// The port that is listened on; nil before and after.
    public var port: Int? { state.withLock { $0.port } }

    /// Events that streams were given so far: each is encoded once, however many listen.
    package var encodedEvents: Int { hub.encodedCount }

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
            state.port = port
            state.isOver = isOver
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: port) }
    }

    /// Serves until the task is cancelled, then stops gracefully.
    /// - Throws: when the address cannot be listened on.
    public func run() async throws {
        defer { settle(port: nil, isOver: true) }
        let stop = Bell()
        // Not a child of this task: it goes on for as long as requests in work may take after the cancellation.
        let service = Task { try await self.serve(until: stop) }
        try await withTaskCancellationHandler {
            try await service.value
        } onCancel: {
            stop.ring()
        }
    }

    private func serve(until stop: Bell) async throws {
        let plain = HTTP1Channel(
            responder: { request, writer, channel in try await self.respond(to: request, writer, channel) },
            configuration: HTTP1Channel.Configuration(
                idleTimeout: .milliseconds(configuration.limits.idleMs),
                // Above our own limits, which are answered with problem documents.
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: 32 << 10,
                    maxHeaderListSize: 64 << 10,
                    maxHeaderFieldCount: 200,
                ),
            ),
        )
        let book = ConnectionBook()
        let channel = APIChannel(
            book: book,
            addresses: AddressBook(),
            proxies: TrustedProxies(configuration.trustedProxies),
            plain: plain,
            upgrade: StreamUpgrade(configuration: configuration),
        ) { stream, head, progress in
            await StreamSession(
                backend: self.backend,
                hub: self.hub,
                boards: self.boards,
                tickets: self.tickets,
                channel: stream,
                head: head,
                progress: progress,
            ).run()
        }
        let server = Server(
            childChannelSetup: channel,
            configuration: ServerConfiguration(
                address: .hostname(configuration.host, port: configuration.port),
                availableConnectionsDelegate: .maximum(configuration.limits.maximumConnections, logger: logger),
            ),
            onServerRunning: { channel in self.settle(port: channel.localAddress?.port, isOver: false) },
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: logger,
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            group.addTask { await self.hub.run() }
            group.addTask { await self.batches.run() }
            group.addTask { await self.gateway.deadlines.sweep() }
            group.addTask { await self.boards.prices.run() }
            group.addTask { await self.boards.derived.run() }
            group.addTask { await self.boards.notices.run() }
            group.addTask { await self.boards.operators.run() }
            group.addTask { await self.hookDuty.run() }
            group.addTask { await self.bulk.run() }
            group.addTask { await self.noteUse() }
            group.addTask { await self.backend.commands.followPriceRevision() }
            group.addTask {
                await stop.wait()
                try await self.drain(server, book)
            }
            // The server's end is the end of all, and so is the drain's.
            try await group.next()
            group.cancelAll()
            while try await group.next() != nil {}
        }
    }

    /// Keeps `lastUsedAt` of the keys, to the minute.
    private func noteUse() async {
        while !Task.isCancelled {
            do {
                try await backend.clock.sleep(milliseconds: 5_000)
                let used = backend.keys.takeUsed()
                if !used.isEmpty { try await backend.traders.noteUse(ofKeys: used) }
                let signIns = backend.keys.takeUsedSignIns()
                if !signIns.isEmpty { try await backend.panel.noteUse(ofSignIns: signIns) }
            } catch {
                // Shown only; the next use tells it again.
            }
        }
    }

    private func drain(_ server: Server<APIChannel>, _ book: ConnectionBook) async throws {
        guard !Task.isCancelled else { return }
        readiness.drain()
        try await backend.clock.sleep(milliseconds: configuration.drainDelayMs)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                // No connection is accepted any more. Requests first: what they do is news for the streams.
                let clock = self.backend.clock
                let until = clock.monotonicNanoseconds() + self.configuration.drainLimitMs * 1_000_000
                while self.gateway.inFlight > 0, clock.monotonicNanoseconds() < until {
                    try await clock.sleep(milliseconds: 10)
                }
                self.hub.drain()
                try await clock.sleep(milliseconds: 2 * self.configuration.stream.closeGraceMs)
                // Whoever is left is cut; the shutdown below ends with the last connection.
                book.closeAll()
            }
            try await server.shutdownGracefully()
            group.cancelAll()
            do {
                while try await group.next() != nil {}
            } catch is CancellationError {
                // It was not needed.
            }
        }
    }

    @concurrent
    private func respond(
        to request: Request,
        _ writer: consuming ResponseWriter,
        _ channel: any Channel,
    ) async throws {
        let reply = await gateway.answer(request, from: channel.remoteAddress?.ipAddress)
        var headers = reply.headers
        let body: ResponseBody
        switch reply.body {
        case .none: body = ResponseBody()
        case .bytes(let buffer): body = ResponseBody(byteBuffer: buffer)
        case .stream(let write): body = ResponseBody { writer in try await write(&writer) }
        }
        if let length = body.contentLength, reply.status != .notModified { headers[.contentLength] = "\(length)" }
        try await writer.write(response: HTTPResponse(status: reply.status, headerFields: headers), body: body)
        guard reply.closesConnection else { return }
        // The client gets its answer and the end of the stream; what it still sends is dropped for a moment, so that
        // its answer is not lost to a reset.
        channel.close(mode: .output, promise: nil)
        channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
    }
}
