// One accepted connection: the first bytes say whether it is the stream's or serves plain requests.
//
// Deciding by the request line before any HTTP handler is there means that a plain connection has exactly Hummingbird's
// pipeline, and that an upgrade asked for anywhere else is just a header that the router does not care for.
// Limits: a connection that does not show a whole header within `headerMs` is closed, and one whose peer takes nothing of
// what is written for `stuckMs`. An address that is no proxy of ours has `connectionsPerAddress`; the next ones are told so
// and closed, beyond twice as many without a word.

internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import OwnerThread

/// What a connection turned out to be.
enum Opening: Sendable {
    case requests(HTTP1Channel.Value)
    case stream(StreamOpening, WriteProgress)
    /// Its address has too many; it is answered and closed by itself.
    case refused
}

/// A connection that has not said what it wants.
struct PendingConnection: ServerChildChannelValue {
    let channel: any Channel
    let opening: EventLoopFuture<Opening>
}

/// The connections that are open, to be closed when a stop takes too long.
final class ConnectionBook: Sendable {
    private let channels = Locked<[ObjectIdentifier: any Channel]>([:])

    func add(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        channels.withLock { $0[id] = channel }
        channel.closeFuture.whenComplete { _ in self.channels.withLock { $0[id] = nil } }
    }

    func closeAll() {
        for channel in channels.withLock({ Array($0.values) }) { channel.close(promise: nil) }
    }
}

struct APIChannel: ServerChildChannel {
    typealias Value = PendingConnection

    let book: ConnectionBook
    /// Connections of clients that come without a proxy.
    let addresses: AddressBook
    let proxies: TrustedProxies

    let plain: HTTP1Channel
    let upgrade: StreamUpgrade
    let serve: @Sendable (StreamChannel, StreamHead, WriteProgress) async -> Void

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<PendingConnection> {
        channel.eventLoop.makeCompletedFuture {
            book.add(channel)
            if let refusal = count(channel) {
                try channel.pipeline.syncOperations.addHandler(refusal)
                return PendingConnection(
                    channel: channel,
                    opening: channel.eventLoop.makeSucceededFuture(Opening.refused),
                )
            }
            let promise = channel.eventLoop.makePromise(of: Opening.self)
            let limits = upgrade.configuration.limits
            try channel.syncOptions?.setOption(.socketOption(.tcp_nodelay), value: 1)
            if let size = upgrade.configuration.stream.socketBufferBytes {
                try channel.syncOptions?.setOption(.socketOption(.so_sndbuf), value: .init(size))
            }
            let writes = WriteWatch(limit: .milliseconds(upgrade.configuration.stream.stuckMs))
            try channel.pipeline.syncOperations.addHandler(writes)
            let limit = TimeAmount.milliseconds(limits.headerMs)
            let deadline = HeaderDeadline(limit: limit, openedAt: .now())
            let sniffer = RequestLineSniffer(deadline: limit, promise: promise) { isStream in
                guard isStream else { return try openPlain(channel, deadline, logger) }
                // Its session closes it, with a code.
                writes.closes = false
                return try openStream(channel, writes.progress)
            }
            try channel.pipeline.syncOperations.addHandler(sniffer)
            return PendingConnection(channel: channel, opening: promise.futureResult)
        }
    }

    /// Counts a connection of its client. Not nil: there is no place for it, and this ends it.
    private func count(_ channel: any Channel) -> ConnectionRefusal? {
        let limit = upgrade.configuration.limits.connectionsPerAddress
        // Whom a proxy serves is known with a request (`Gateway`).
        guard let address = channel.remoteAddress?.ipAddress, !proxies.isTrusted(address) else { return nil }
        let hasPlace = addresses.admit(address, limit: limit)
        // Whoever takes what is left by being refused is not told any more.
        guard hasPlace || addresses.admit(address, limit: 2 * limit) else { return ConnectionRefusal(limit: nil) }
        channel.closeFuture.whenComplete { _ in addresses.release(address) }
        return hasPlace ? nil : ConnectionRefusal(limit: limit)
    }

    private func openPlain(
        _ channel: any Channel,
        _ deadline: HeaderDeadline,
        _ logger: Logger,
    ) throws -> EventLoopFuture<Opening> {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(deadline)
        let opening = plain.setup(channel: channel, logger: logger).map { Opening.requests($0) }
        let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
        try pipeline.addHandler(HeaderWatch(deadline), position: .after(decoder))
        return opening
    }

    private func openStream(
        _ channel: any Channel,
        _ progress: WriteProgress,
    ) throws -> EventLoopFuture<Opening> {
        let stream = upgrade.configuration.stream
        let marks = ChannelOptions.Types.WriteBufferWaterMark(
            low: stream.writeBufferBytes / 2,
            high: stream.writeBufferBytes,
        )
        try channel.syncOptions?.setOption(.writeBufferWaterMark, value: marks)
        return try upgrade.install(on: channel).map { .stream($0, progress) }
    }

    func handle(value: PendingConnection, logger: Logger) async {
        do {
            switch try await value.opening.get() {
            case .requests(let channel): await plain.handle(value: channel, logger: logger)
            case .stream(.open(let channel, let head), let progress): await serve(channel, head, progress)
            case .stream(.refused(let channel), _): try await channel.closeFuture.get()
            case .refused: try await value.channel.closeFuture.get()
            }
        } catch {
            // It went away before it said what it wanted.
        }
    }
}

/// Holds the first bytes back until they tell `GET /v1/stream` from everything else.
private final class RequestLineSniffer: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private static let streamLine = Array("GET /v1/stream".utf8)

    private let deadline: TimeAmount
    private let promise: EventLoopPromise<Opening>
    private let open: (_ isStream: Bool) throws -> EventLoopFuture<Opening>
    private var held = ByteBuffer()
    private var timer: Scheduled<Void>?
    private var isDecided = false

    init(
        deadline: TimeAmount,
        promise: EventLoopPromise<Opening>,
        open: @escaping (_ isStream: Bool) throws -> EventLoopFuture<Opening>,
    ) {
        self.deadline = deadline
        self.promise = promise
        self.open = open
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: deadline) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        if !isDecided { promise.fail(ChannelError.eof) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isDecided else { return context.fireChannelRead(data) }
        var bytes = unwrapInboundIn(data)
        held.writeBuffer(&bytes)
        guard let isStream = Self.verdict(held.readableBytesView) else { return }
        isDecided = true
        do {
            promise.completeWith(try open(isStream))
        } catch {
            promise.fail(error)
            context.close(promise: nil)
            return
        }
        context.fireChannelRead(wrapInboundOut(held))
        context.fireChannelReadComplete()
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    /// Nil: not to be told yet.
    private static func verdict(_ bytes: ByteBufferView) -> Bool? {
        for (expected, byte) in zip(streamLine, bytes) where expected != byte { return false }
        guard bytes.count > streamLine.count else { return nil }
        let next = bytes[bytes.startIndex + streamLine.count]
        return next == UInt8(ascii: " ") || next == UInt8(ascii: "?")
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // The server goes away and nothing was asked yet.
        if !isDecided, event is ChannelShouldQuiesceEvent { context.close(promise: nil) }
        if !isDecided, case ChannelEvent.inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard isDecided else { return context.close(promise: nil) }
        context.fireErrorCaught(error)
    }
}
