// A WebSocket client for venue streams: text frames in, pongs out. One connection, no reconnect of its own. A connection
// that says nothing is asked with a ping, and is over when that is not answered: a peer that went away without a word looks
// like a quiet market.
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import NIOWebSocket

/// One connection to a stream.
enum WebSocketClient {
    private static let frameLimit = 1 << 20

    enum Failure: Error { case badURL(String), refused }

    /// Text messages until the connection ends; throws what ended it, except for an orderly close.
    /// - Parameters:
    ///   - url: `ws://` or `wss://`.
    ///   - opened: called once, when the stream is open.
    static func receive(
        _ url: String,
        opened: @Sendable () -> Void,
        _ handle: @Sendable ([UInt8]) async throws -> Void,
    ) async throws {
        let target = try Target(url)
        let upgraded: EventLoopFuture<NIOAsyncChannel<WebSocketFrame, WebSocketFrame>?> = try await ClientBootstrap(
            group: NIOSingletons.posixEventLoopGroup
        )
        .connectTimeout(.seconds(2))
        .connect(host: target.host, port: target.port) { channel in
            channel.eventLoop.makeCompletedFuture {
                if target.isSecure {
                    let context = try NIOSSLContext(configuration: .makeClientConfiguration())
                    try channel.pipeline.syncOperations.addHandler(
                        NIOSSLClientHandler(context: context, serverHostname: target.host)
                    )
                }
                let upgrader = NIOTypedWebSocketClientUpgrader<NIOAsyncChannel<WebSocketFrame, WebSocketFrame>?>(
                    maxFrameSize: frameLimit,
                    upgradePipelineHandler: { channel, _ in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHandler(
                                NIOWebSocketFrameAggregator(
                                    minNonFinalFragmentSize: 1,
                                    maxAccumulatedFrameCount: 64,
                                    maxAccumulatedFrameSize: frameLimit,
                                )
                            )
                            try channel.pipeline.syncOperations.addHandlers([
                                IdleStateHandler(readTimeout: Probe.patience), Probe(),
                            ])
                            return try NIOAsyncChannel<WebSocketFrame, WebSocketFrame>(
                                wrappingChannelSynchronously: channel
                            )
                        }
                    },
                )
                var headers = HTTPHeaders()
                headers.add(name: "Host", value: "\(target.host):\(target.port)")
                let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: target.path, headers: headers)
                let upgrade = NIOTypedHTTPClientUpgradeConfiguration(
                    upgradeRequestHead: head,
                    upgraders: [upgrader],
                    notUpgradingCompletionHandler: { channel in channel.close().map { nil } },
                )
                return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
                    configuration: .init(upgradeConfiguration: upgrade)
                )
            }
        }
        guard let channel = try await upgraded.get() else { throw Failure.refused }
        opened()
        try await channel.executeThenClose { inbound, outbound in
            for try await frame in inbound {
                switch frame.opcode {
                case .text:
                    var data = frame.unmaskedData
                    try await handle(data.readBytes(length: data.readableBytes) ?? [])
                case .ping:
                    let pong = WebSocketFrame(
                        fin: true,
                        opcode: .pong,
                        maskKey: .random(),
                        data: frame.unmaskedData,
                    )
                    try await outbound.write(pong)
                case .connectionClose: return
                default: continue  // tidy-ok: pongs and binary frames say nothing here
                }
            }
        }
    }

    /// Asks a silent peer, and closes when it stays silent: twice the patience after its last frame.
    private final class Probe: ChannelInboundHandler {
        typealias InboundIn = WebSocketFrame
        typealias InboundOut = WebSocketFrame
        typealias OutboundOut = WebSocketFrame
        static let patience = TimeAmount.seconds(5)
        private var isAsked = false

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            isAsked = false
            context.fireChannelRead(data)
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            guard event is IdleStateHandler.IdleStateEvent else {
                context.fireUserInboundEventTriggered(event)
                return
            }
            if isAsked {
                context.close(promise: nil)
                return
            }
            isAsked = true
            let ping = WebSocketFrame(fin: true, opcode: .ping, maskKey: .random(), data: ByteBuffer())
            context.writeAndFlush(wrapOutboundOut(ping), promise: nil)
        }
    }

    private struct Target {
        let host: String
        let port: Int
        let path: String
        let isSecure: Bool

        init(_ url: String) throws {
            let rest: Substring
            if url.hasPrefix("wss://") {
                isSecure = true
                rest = url.dropFirst(6)
            } else if url.hasPrefix("ws://") {
                isSecure = false
                rest = url.dropFirst(5)
            } else {
                throw Failure.badURL(url)
            }
            let authority = rest.prefix { $0 != "/" && $0 != "?" }
            let parts = authority.split(separator: ":")
            guard let first = parts.first else { throw Failure.badURL(url) }
            host = String(first)
            port = parts.count > 1 ? Int(parts[1]) ?? 0 : isSecure ? 443 : 80
            let tail = String(rest.dropFirst(authority.count))
            path = tail.isEmpty ? "/" : tail
        }
    }
}
