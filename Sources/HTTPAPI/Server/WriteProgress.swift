// Whether a peer takes what is written to it: by what of it leaves, not by how long an answer is.
//
// Limits: a socket that took nothing for `stuckMs` while something waits is stuck, noticed within a quarter of that more. A
// plain connection is closed then; a stream is told, which closes with a code. Cost: one look at the buffer per flush, a
// timer only while something waits.

internal import NIOCore
internal import OwnerThread

/// What a connection's owner sees of its writes.
final class WriteProgress: Sendable {
    private let state = Locked(false)
    /// The peer took nothing for too long.
    var isStuck: Bool { state.withLock { $0 } }
    fileprivate func set(_ isStuck: Bool) { state.withLock { $0 = isStuck } }
}

/// Stands next to the socket and counts.
final class WriteWatch: ChannelOutboundHandler {
    typealias OutboundIn = IOData
    typealias OutboundOut = IOData

    let progress = WriteProgress()
    /// Whether it closes a connection that is stuck itself.
    var closes = true
    private let limit: TimeAmount
    private var written = 0
    private var left = 0
    private var leftAt = NIODeadline.now()
    private var timer: Scheduled<Void>?

    init(limit: TimeAmount) { self.limit = limit }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        timer = nil
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        written += unwrapOutboundIn(data).readableBytes
        context.write(data, promise: promise)
    }

    func flush(context: ChannelHandlerContext) {
        context.flush()
        if timer == nil { look(context) }
    }

    private func look(_ context: ChannelHandlerContext) {
        let waiting: Int
        do { waiting = try context.channel.syncOptions?.getOption(.bufferedWritableBytes) ?? 0 } catch { return }
        let now = NIODeadline.now()
        // With nothing waiting before it, a write begins to wait now.
        if written - waiting > left || timer == nil {
            left = written - waiting
            leftAt = now
        }
        guard waiting > 0, context.channel.isActive else {
            timer = nil
            return progress.set(false)
        }
        let isStuck = now - leftAt >= limit
        progress.set(isStuck)
        guard !isStuck || !closes else { return context.close(promise: nil) }
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(limit.nanoseconds / 4)) {
            self.look(context)
        }
    }
}
