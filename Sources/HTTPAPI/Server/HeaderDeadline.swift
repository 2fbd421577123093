// A request's header comes in time, or the connection ends (INTERFACES.md 1.8): the first one within `headerMs` of the
// connection, each later one within that of its first bytes. Between requests the keep-alive counts, in a request the
// deadline of its body.
//
// Cost: a flag per read; a timer only for a header that comes in pieces.

internal import NIOCore
internal import NIOHTTP1

/// Sees the bytes, before they are a request.
final class HeaderDeadline: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let limit: TimeAmount
    /// Of the first header; nil: it is there.
    private var first: NIODeadline?
    private var isInRequest = false
    /// What is being read had the beginning or the end of a request in it.
    private var hasMoved = false
    private var timer: Scheduled<Void>?

    /// - Parameter openedAt: when the connection was made.
    init(limit: TimeAmount, openedAt: NIODeadline) {
        self.limit = limit
        first = openedAt + limit
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        hasMoved = false
        // `note` is called before this returns.
        context.fireChannelRead(data)
        guard !hasMoved, !isInRequest, timer == nil else { return }
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(deadline: first ?? .now() + limit) { channel.close(promise: nil) }
    }

    fileprivate func note(_ part: HTTPServerRequestPart) {
        switch part {
        case .head:
            timer?.cancel()
            timer = nil
            first = nil
            isInRequest = true
            hasMoved = true
        case .body: break
        case .end:
            isInRequest = false
            hasMoved = true
        }
    }
}

/// Sees the requests, and tells the deadline of them.
final class HeaderWatch: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    private let deadline: HeaderDeadline

    init(_ deadline: HeaderDeadline) { self.deadline = deadline }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        deadline.note(unwrapInboundIn(data))
        context.fireChannelRead(data)
    }
}
