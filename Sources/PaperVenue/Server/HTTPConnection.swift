// One HTTP/1.1 connection, on the venue's event loop. Requests of a connection are answered one after the other.

internal import NIOCore
internal import NIOHTTP1

final class HTTPConnection: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// The largest body: a batch of ticks.
    private static let bodyLimit = 8 << 20
    /// A connection that asks nothing for this long at its start is closed.
    private static let silenceLimit = TimeAmount.seconds(10)

    private let gateway: Gateway
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    private var silence: Scheduled<Void>?
    private var isTooLarge = false

    init(gateway: Gateway) { self.gateway = gateway }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        silence = context.eventLoop.scheduleTask(in: Self.silenceLimit) { channel.close(promise: nil) }
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { silence?.cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        silence?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            silence?.cancel()
            self.head = head
            body.removeAll(keepingCapacity: true)
            isTooLarge = false
        case .body(let buffer):
            if body.count + buffer.readableBytes > Self.bodyLimit { isTooLarge = true }
            if !isTooLarge { body.append(contentsOf: buffer.readableBytesView) }
        case .end:
            guard let head else { return }
            self.head = nil
            answer(head, context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        if isTooLarge {
            write(.answer(status: 413, body: [], retryAfter: nil), keepAlive: false, context)
            return
        }
        let uri = head.uri.utf8
        let cut = uri.firstIndex(of: UInt8(ascii: "?"))
        let request = GatewayRequest(
            method: head.method.rawValue,
            path: String(Substring(uri[..<(cut ?? uri.endIndex)])),
            query: cut.map { Array(uri[uri.index(after: $0)...]) } ?? [],
            body: body,
            apiKey: head.headers.first(name: "X-MBX-APIKEY"),
        )
        gateway.receive(request) { [self] reply in
            guard context.channel.isActive else { return }
            write(reply, keepAlive: head.isKeepAlive, context)
        }
    }

    private func write(_ reply: GatewayReply, keepAlive: Bool, _ context: ChannelHandlerContext) {
        switch reply {
        case .silence: break
        case .close: context.close(promise: nil)
        case .answer(let status, let body, let retryAfter):
            var headers = HTTPHeaders()
            headers.add(name: "Content-Type", value: "application/json;charset=UTF-8")
            headers.add(name: "Content-Length", value: String(body.count))
            if let retryAfter { headers.add(name: "Retry-After", value: String(retryAfter)) }
            if !keepAlive { headers.add(name: "Connection", value: "close") }
            let head = HTTPResponseHead(
                version: .http1_1,
                status: HTTPResponseStatus(statusCode: status),
                headers: headers,
            )
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: body)))), promise: nil)
            let channel = context.channel
            let end = context.writeAndFlush(wrapOutboundOut(.end(nil)))
            if !keepAlive { end.whenComplete { _ in channel.close(promise: nil) } }
        }
    }
}
