// One WebSocket, on the venue's event loop: Binance's stream commands in, frames out.
//
// Paths: spot `/ws`, `/ws/<name>`, `/stream?streams=a/b`; linear the same behind `/public`, `/market` and `/private`
// (there also `?listenKey=`). A name is a public stream or a listen key. `/ws-api/v3` takes
// `userDataStream.subscribe.signature`. Where spot does not trade a symbol, `/ws` and `/stream` mean the linear market.
// Incoming frames are masked, at most 16 KiB; control frames may stand between fragments.

internal import JSONText
internal import NIOCore
internal import NIOHTTP1
internal import NIOWebSocket

/// What the path of an upgrade asks for.
struct StreamTarget {
    let product: PaperProduct
    let isCombined: Bool
    /// The request-answer interface.
    let isCommand: Bool
    let names: [String]

    /// Nil: no such stream.
    init?(uri: String) {
        let parts = uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var steps = parts[0].split(separator: "/").map(String.init)
        let query = parts.count > 1 ? Parameters(query: parts[1].utf8, body: []) : Parameters()
        var product = PaperProduct.spot
        if let first = steps.first, ["public", "market", "private"].contains(first) {
            product = .linear
            steps.removeFirst()
        }
        guard let kind = steps.first else { return nil }
        var names = (query["streams"] ?? "").split(separator: "/").map(String.init)
        if let key = query["listenKey"] { names.append(key) }
        switch kind {
        case "ws":
            names += steps.dropFirst()
            isCombined = false
            isCommand = false
        case "stream":
            isCombined = true
            isCommand = false
        case "ws-api":
            isCombined = false
            isCommand = true
        default: return nil
        }
        self.product = product
        self.names = names
    }
}

extension StreamTarget {
    /// Whether every name is a public stream or a listen key that is in force.
    func isKnown(to streams: StreamHub) -> Bool {
        names.allSatisfy { $0.contains("@") || streams.owner(ofListenKey: $0) != nil }
    }
}

final class StreamConnection: ChannelInboundHandler, StreamSink {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let gateway: Gateway
    private let target: StreamTarget
    private var context: ChannelHandlerContext?
    private var fragments: [UInt8] = []
    private var isClosing = false

    init(gateway: Gateway, target: StreamTarget) {
        self.gateway = gateway
        self.target = target
    }

    var isCombined: Bool { target.isCombined }
    var isCommand: Bool { target.isCommand }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        gateway.streams.attach(self)
        for name in target.names { add(name) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        gateway.streams.detach(self)
    }

    func channelInactive(context: ChannelHandlerContext) {
        gateway.streams.detach(self)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func send(_ frame: [UInt8]) {
        guard let context, !isClosing, context.channel.isActive else { return }
        // A reader that does not read is cut off rather than buffered for ever.
        guard context.channel.isWritable else {
            context.close(promise: nil)
            return
        }
        write(.text, frame, context)
    }

    func end(code: UInt16) {
        guard let context, !isClosing else { return }
        isClosing = true
        var buffer = ByteBuffer()
        buffer.writeInteger(code)
        let frame = WebSocketFrame(fin: true, opcode: .connectionClose, data: buffer)
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(frame)).whenComplete { _ in channel.close(promise: nil) }
    }

    private func write(_ opcode: WebSocketOpcode, _ bytes: [UInt8], _ context: ChannelHandlerContext) {
        let frame = WebSocketFrame(fin: true, opcode: opcode, data: ByteBuffer(bytes: bytes))
        context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        guard frame.maskKey != nil else { return end(code: 1002) }
        let payload = Array(frame.unmaskedData.readableBytesView)
        switch frame.opcode {
        case .ping: write(.pong, payload, context)
        case .pong: break
        case .connectionClose: end(code: 1000)
        case .text, .binary, .continuation:
            fragments += payload
            guard fragments.count <= 1 << 16 else { return end(code: 1009) }
            guard frame.fin else { return }
            let message = fragments
            fragments = []
            command(message)
        default: end(code: 1002)
        }
    }

    // MARK: Commands

    private func command(_ message: [UInt8]) {
        guard let value = try? JSONValue(parsing: message), let method = value["method"]?.text else {
            reply(id: .null) { $0.member("error", value: ["code": 2, "msg": "Invalid request"]) }
            return
        }
        let id = value["id"] ?? .null
        if target.isCommand {
            call(method, value["params"] ?? .null, id)
            return
        }
        var names: [String] = []
        if case .array(let elements)? = value["params"] { names = elements.compactMap(\.text) }
        switch method {
        case "SUBSCRIBE": for name in names { add(name) }
        case "UNSUBSCRIBE":
            for name in names { gateway.streams.unsubscribe(self, from: topic(name)) }
        default:
            reply(id: id) { $0.member("error", value: ["code": 2, "msg": "Invalid request: unknown method"]) }
            return
        }
        reply(id: id) { $0.member("result", value: .null) }
    }

    private func topic(_ name: String) -> StreamTopic {
        let symbol = (name.split(separator: "@").first ?? "").uppercased()
        let isKnown = gateway.engine.market(target.product, symbol) != nil
        return StreamTopic(product: isKnown ? target.product : .linear, name: name)
    }

    private func add(_ name: String) {
        if let owner = gateway.streams.owner(ofListenKey: name) {
            gateway.streams.listen(self, to: owner)
        } else if !name.contains("@") {
            // A listen key that ended: an open but silent stream would be taken for a quiet account.
            end(code: 1008)
        } else {
            gateway.streams.subscribe(self, to: topic(name))
        }
    }

    /// The request-answer interface: only what opens a private stream.
    private func call(_ method: String, _ params: JSONValue, _ id: JSONValue) {
        do throws(VenueRefusal) {
            guard method == "userDataStream.subscribe.signature" else {
                throw VenueRefusal(-1000, "Unknown method.")
            }
            let key = params["apiKey"]?.text
            let secret = try gateway.keyring.secret(of: key)
            guard case .object(let object) = params else { throw VenueRefusal.missing("signature") }
            // Sorted by name, not percent-encoded.
            let text = object.members.filter { $0.key != "signature" }.sorted { $0.key < $1.key }
                .map { "\($0.key)=\($0.value.text ?? $0.value.description)" }.joined(separator: "&")
            let signature = params["signature"]?.text ?? ""
            let parameters = Parameters(query: text.utf8, body: "signature=\(signature)".utf8)
            try parameters.checkSignature(secret)
            try parameters.checkWindow(venueTime: gateway.readClock() / 1000)
            let account = gateway.engine.account(key ?? "")
            gateway.scheduleFlush()
            gateway.streams.listen(self, to: StreamOwner(account: account.index, product: .spot))
            reply(id: id) { writer in
                writer.member("status", 200)
                writer.member("result", value: ["subscriptionId": 0])
            }
        } catch {
            reply(id: id) { writer in
                writer.member("status", error.status)
                writer.member("error", value: ["code": .integer(error.code), "msg": .string(error.message)])
            }
        }
    }

    private func reply(id: JSONValue, _ members: (inout JSONWriter) -> Void) {
        guard let context else { return }
        var writer = JSONWriter()
        writer.beginObject()
        members(&writer)
        writer.member("id", value: id)
        writer.endObject()
        write(.text, writer.take(), context)
    }
}
