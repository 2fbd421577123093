// `GET /v1/stream`: the WebSocket handshake, and the answer where there is none (INTERFACES.md 2.2, 2.8).

internal import HTTPTypes
internal import NIOCore
internal import NIOHTTP1
internal import NIOWebSocket
internal import OrderJSON

/// What the first request of a connection to `/v1/stream` came to.
enum StreamOpening: Sendable {
    case open(StreamChannel, authorization: String?)
    /// Answered and closed.
    case refused(any Channel)
}

struct StreamUpgrade: Sendable {
    private static let subprotocol = "smartorders.v1"

    let configuration: APIConfiguration

    /// Installs the handshake on a connection whose first bytes ask for `/v1/stream`.
    func install(on channel: any Channel) throws -> EventLoopFuture<StreamOpening> {
        let upgrade = self
        let stream = configuration.stream
        let upgrader = NIOTypedWebSocketServerUpgrader<StreamOpening>(
            // Above the client's limit, so that what is a little too big is refused with its own code.
            maxFrameSize: 4 * stream.clientFrameBytes,
            enableAutomaticErrorHandling: false,
            shouldUpgrade: { channel, head in
                guard upgrade.refusal(of: head) == nil else { return channel.eventLoop.makeSucceededFuture(nil) }
                var headers = HTTPHeaders()
                if head.headers["Sec-WebSocket-Protocol"].first != nil {
                    headers.add(name: "Sec-WebSocket-Protocol", value: Self.subprotocol)
                }
                return channel.eventLoop.makeSucceededFuture(headers)
            },
            upgradePipelineHandler: { channel, head in
                channel.eventLoop.makeCompletedFuture {
                    let stream = try StreamChannel(wrappingChannelSynchronously: channel)
                    return .open(stream, authorization: head.headers["Authorization"].first)
                }
            },
        )
        var configuration = NIOUpgradableHTTPServerPipelineConfiguration<StreamOpening>(
            upgradeConfiguration: NIOTypedHTTPServerUpgradeConfiguration(
                upgraders: [upgrader],
                notUpgradingCompletionHandler: { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(RefusalHandler(upgrade: upgrade))
                        return .refused(channel)
                    }
                },
            )
        )
        configuration.enablePipelining = false
        return try channel.pipeline.syncOperations.configureUpgradableHTTPServerPipeline(configuration: configuration)
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

/// Answers the request that did not become a stream, and closes.
private final class RefusalHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let upgrade: StreamUpgrade
    private var isAnswered = false

    init(upgrade: StreamUpgrade) {
        self.upgrade = upgrade
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = unwrapInboundIn(data), !isAnswered else { return }
        isAnswered = true
        let problem =
            upgrade.refusal(of: head) ?? Problem(.upgradeRequired, "The WebSocket handshake is not complete.")
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
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
