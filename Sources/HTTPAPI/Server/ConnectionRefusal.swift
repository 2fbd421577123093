// A connection too many of one address: it gets a problem and its end (INTERFACES.md 1.6.1, 1.8).

internal import NIOCore
internal import OrderJSON

/// Says why as soon as the connection is there, whatever it wanted to ask, and closes it. What it sends is dropped for a
/// moment, so that the answer is not lost to a reset.
final class ConnectionRefusal: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let limit: Int?

    /// - Parameter limit: connections of an address, to be told; nil: nothing is told.
    init(limit: Int?) { self.limit = limit }

    func channelActive(context: ChannelHandlerContext) {
        guard let limit else { return context.close(promise: nil) }
        var problem = Problem(.rateLimited, "An address has at most \(limit) connections.")
        problem.document.instance = "/"
        let body = problem.document.encoded()
        var answer = context.channel.allocator.buffer(capacity: 512)
        answer.writeString(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nContent-Length: \(body.count)\r\n"
                + "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
        )
        answer.writeBytes(body)
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(answer)).whenComplete { _ in channel.close(mode: .output, promise: nil) }
        channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {}

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent { context.close(promise: nil) }
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
