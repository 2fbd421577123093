// `GET /v1/stream`: the WebSocket handshake, and the answer where there is none (INTERFACES.md 2.2, 2.8).

internal import Crypto
internal import HTTPTypes
internal import NIOCore
internal import NIOHTTP1
internal import NIOWebSocket
internal import OrderJSON

/// What the first request of a connection to `/v1/stream` came to.
enum StreamOpening: Sendable {
    case open(StreamChannel, StreamHead)
    /// Answered and closed.
    case refused(any Channel)
}

/// What a session needs of the request that opened it.
struct StreamHead: Sendable {
    let authorization: String?
    /// `X-Forwarded-For`, one value per header.
    let forwarded: [String]
}

/// The handshake by hand (RFC 6455 4.2). NIO's upgraders leave a request that they decline without any answer.
struct StreamUpgrade: Sendable {
    static let subprotocol = "smartorders.v1"

    let configuration: APIConfiguration

    /// Installs the handshake on a connection whose first bytes ask for `/v1/stream`.
    func install(on channel: any Channel) throws -> EventLoopFuture<StreamOpening> {
        let promise = channel.eventLoop.makePromise(of: StreamOpening.self)
        let encoder = HTTPResponseEncoder()
        let decoder = ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes))
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandlers([encoder, decoder])
        try pipeline.addHandler(
            HandshakeHandler(
                upgrade: self,
                deadline: .milliseconds(configuration.limits.headerMs),
                promise: promise,
            ) { context, handshake in
                let pipeline = context.pipeline.syncOperations
                pipeline.removeHandler(context: try pipeline.context(handler: encoder), promise: nil)
                // Above the client's limit, so that what is a little too big is refused with its own code.
                let frames = WebSocketFrameDecoder(maxFrameSize: 4 * configuration.stream.clientFrameBytes)
                try pipeline.addHandler(ByteToMessageHandler(frames))
                let stream = try StreamChannel(wrappingChannelSynchronously: context.channel)
                pipeline.removeHandler(handshake, promise: nil)
                // What came behind the request goes on to the frames' decoder, and is read as if it came now: without
                // the end of a read it would wait for the client's next bytes.
                let channel = context.channel
                let removed = context.eventLoop.makePromise(of: Void.self)
                pipeline.removeHandler(decoder, promise: removed)
                removed.futureResult.whenComplete { _ in channel.pipeline.fireChannelReadComplete() }
                return stream
            }
        )
        return promise.futureResult
    }

    /// `Sec-WebSocket-Accept` of a key.
    static func accept(_ key: String) -> String {
        let digest = Insecure.SHA1.hash(data: Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
        return base64URL(Array(digest)).replacing("-", with: "+").replacing("_", with: "/") + "="
    }

    /// Why a request does not become a stream; nil: it does, as far as its headers go.
    func refusal(of head: HTTPRequestHead) -> Problem? {
        let path = head.uri.prefix { $0 != "?" }
        guard path == "/v1/stream" else { return .notFound }
        guard head.method == .GET else {
            var problem = Problem(.methodNotAllowed, "Allowed here: GET.")
            problem.headers[.allow] = "GET"
            return problem
        }
        let wantsUpgrade = head.headers[canonicalForm: "Upgrade"].contains { $0.lowercased() == "websocket" }
        guard wantsUpgrade, head.headers.contains(name: "Sec-WebSocket-Key"),
            head.headers["Sec-WebSocket-Version"].first == "13"
        else { return Problem(.upgradeRequired, "Open this address as a WebSocket of version 13.") }
        if let origin = head.headers["Origin"].first, origin != configuration.publicURL,
            !configuration.corsOrigins.contains(origin)
        {
            return Problem(.originRefused, "Streams may not be opened from this origin.")
        }
        let offered = head.headers[canonicalForm: "Sec-WebSocket-Protocol"]
        guard offered.isEmpty || offered.contains(Substring(Self.subprotocol)) else {
            return Problem(.badHeader, "The subprotocol is \(Self.subprotocol).")
        }
        return nil
    }
}

/// Answers the first request: with 101, or with a problem and the end of the connection.
private final class HandshakeHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    typealias Open = (ChannelHandlerContext, HandshakeHandler) throws -> StreamChannel

    private let upgrade: StreamUpgrade
    /// Of the whole request.
    private let deadline: TimeAmount
    private let promise: EventLoopPromise<StreamOpening>
    private let open: Open
    private var head: HTTPRequestHead?
    private var isAnswered = false
    private var timer: Scheduled<Void>?

    init(
        upgrade: StreamUpgrade,
        deadline: TimeAmount,
        promise: EventLoopPromise<StreamOpening>,
        open: @escaping Open,
    ) {
        self.upgrade = upgrade
        self.deadline = deadline
        self.promise = promise
        self.open = open
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: deadline) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isAnswered else { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            guard let problem = upgrade.refusal(of: head) else {
                self.head = head
                return
            }
            refuse(problem, context)
        case .body: refuse(Problem(.badHeader, "A handshake has no body."), context)
        case .end:
            guard let head else { return }
            isAnswered = true
            accept(head, context)
        }
    }

    private func accept(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        timer?.cancel()
        var headers: HTTPHeaders = [
            "Upgrade": "websocket", "Connection": "Upgrade",
            "Sec-WebSocket-Accept": StreamUpgrade.accept(head.headers["Sec-WebSocket-Key"].first ?? ""),
        ]
        if head.headers.contains(name: "Sec-WebSocket-Protocol") {
            headers.add(name: "Sec-WebSocket-Protocol", value: StreamUpgrade.subprotocol)
        }
        let answer = HTTPResponseHead(version: .http1_1, status: .switchingProtocols, headers: headers)
        context.write(wrapOutboundOut(.head(answer)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        do {
            let known = StreamHead(
                authorization: head.headers["Authorization"].first,
                forwarded: head.headers["X-Forwarded-For"],
            )
            promise.succeed(.open(try open(context, self), known))
        } catch {
            promise.fail(error)
            context.close(promise: nil)
        }
    }

    private func refuse(_ problem: Problem, _ context: ChannelHandlerContext) {
        isAnswered = true
        var document = problem.document
        document.instance = "/v1/stream"
        let body = ByteBuffer(bytes: document.encoded())
        var headers: HTTPHeaders = [
            "Content-Type": "application/problem+json", "Content-Length": "\(body.readableBytes)",
            "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Connection": "close",
        ]
        for field in problem.headers { headers.add(name: field.name.rawName, value: field.value) }
        let answer = HTTPResponseHead(
            version: .http1_1,
            status: HTTPResponseStatus(statusCode: document.status),
            headers: headers,
        )
        context.write(wrapOutboundOut(.head(answer)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
        promise.succeed(.refused(channel))
    }

    /// What is no HTTP.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !isAnswered else { return context.close(promise: nil) }
        refuse(Problem(.badHeader, "The request is not HTTP/1.1."), context)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if !isAnswered, event is ChannelShouldQuiesceEvent { context.close(promise: nil) }
        if !isAnswered, case ChannelEvent.inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if !isAnswered { promise.fail(ChannelError.eof) }
        context.fireChannelInactive()
    }
}
