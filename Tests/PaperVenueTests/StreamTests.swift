// Private and public streams over real WebSockets.

import JSONText
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import PaperVenue
import SmartOrders
import Testing

struct NotUpgraded: Error {}

/// One WebSocket of a test.
struct StreamReader {
    fileprivate var iterator: AsyncStream<WebSocketFrame>.Iterator
    fileprivate let outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>

    func send(_ text: String) async throws {
        try await outbound.write(
            WebSocketFrame(fin: true, opcode: .text, maskKey: .random(), data: ByteBuffer(string: text))
        )
    }

    func send(_ frame: WebSocketFrame) async throws { try await outbound.write(frame) }

    mutating func frame() async -> WebSocketFrame? { await iterator.next(isolation: #isolation) }

    mutating func next() async -> JSONValue {
        guard let frame = await iterator.next(isolation: #isolation) else { return .null }
        return (try? JSONValue(parsing: Array(frame.unmaskedData.readableBytesView))) ?? .null
    }
}

func withStream(
    _ client: Client,
    _ path: String,
    _ body: @Sendable @escaping (inout StreamReader) async throws -> Void,
) async throws {
    typealias Socket = NIOAsyncChannel<WebSocketFrame, WebSocketFrame>
    let negotiation: EventLoopFuture<Socket?> = try await ClientBootstrap(
        group: MultiThreadedEventLoopGroup.singleton
    ).connect(host: "127.0.0.1", port: client.port) { channel in
        channel.eventLoop.makeCompletedFuture {
            let upgrader = NIOTypedWebSocketClientUpgrader<Socket?>(upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture { try Socket(wrappingChannelSynchronously: channel) }
            })
            var headers = HTTPHeaders()
            headers.add(name: "Host", value: "127.0.0.1")
            headers.add(name: "Content-Length", value: "0")
            let configuration = NIOTypedHTTPClientUpgradeConfiguration(
                upgradeRequestHead: HTTPRequestHead(version: .http1_1, method: .GET, uri: path, headers: headers),
                upgraders: [upgrader],
                notUpgradingCompletionHandler: { $0.eventLoop.makeSucceededFuture(nil) },
            )
            return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
                configuration: .init(upgradeConfiguration: configuration)
            )
        }
    }
    guard let socket = try await negotiation.get() else { throw NotUpgraded() }
    try await socket.executeThenClose { inbound, outbound in
        let (frames, feed) = AsyncStream.makeStream(of: WebSocketFrame.self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                do { for try await frame in inbound { feed.yield(frame) } } catch {}
                feed.finish()
            }
            var reader = StreamReader(iterator: frames.makeAsyncIterator(), outbound: outbound)
            try await body(&reader)
            group.cancelAll()
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct StreamTests {
    private func listenKey(_ client: Client, _ path: String) async throws -> String {
        try await client.raw(.POST, path, key: "demo")["listenKey"] ?? ""
    }

    @Test func `spot reports come in the order of what happened, each followed by the balances`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "5")
            let key = try await listenKey(client, "/api/v3/userDataStream")
            try await withStream(client, "/ws/\(key)") { stream in
                try await client.spot(
                    "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=2&price=90&newClientOrderId=s1"
                )
                await client.price("paper:spot:BTCUSDT", "89", "0.5")
                _ = try await client.send(
                    .DELETE,
                    "/api/v3/order",
                    "symbol=BTCUSDT&origClientOrderId=s1&newClientOrderId=c1",
                )
                var seen: [String] = []
                for _ in 0..<6 {
                    let event = await stream.next()
                    if event["e"]?.text == "executionReport" {
                        seen.append("\(event["x"]?.text ?? "") \(event["X"]?.text ?? "") \(event["z"]?.text ?? "")")
                        if event["x"]?.text == "CANCELED" {
                            #expect(event["c"]?.text == "c1" && event["C"]?.text == "s1")
                        } else {
                            #expect(event["c"]?.text == "s1")
                        }
                    } else {
                        #expect(event["e"]?.text == "outboundAccountPosition")
                    }
                }
                #expect(seen == ["NEW NEW 0", "TRADE PARTIALLY_FILLED 0.5", "CANCELED CANCELED 0.5"])
            }
        }
    }

    @Test func `linear trades come with the position that they made`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "5")
            let key = try await listenKey(client, "/fapi/v1/listenKey")
            #expect(try await listenKey(client, "/fapi/v1/listenKey") == key)
            try await withStream(client, "/private/ws?listenKey=\(key)") { stream in
                try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=2&newClientOrderId=s1")
                let accepted = await stream.next()
                let trade = await stream.next()
                let account = await stream.next()
                #expect(accepted["o"]?["x"]?.text == "NEW")
                #expect(trade["o"]?["x"]?.text == "TRADE" && trade["o"]?["X"]?.text == "FILLED")
                #expect(trade["o"]?["l"]?.text == "2" && trade["o"]?["n"]?.text == "0.1")
                #expect(account["e"]?.text == "ACCOUNT_UPDATE")
                guard case .array(let positions)? = account["a"]?["P"] else { return }
                #expect(positions.first?["pa"]?.text == "2")
            }
        }
    }

    @Test func `a private stream can be silent, repeat itself, and be cut`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            let key = try await listenKey(client, "/fapi/v1/listenKey")
            try await withStream(client, "/private/ws/\(key)") { stream in
                try await client.control(#"{"stream":{"silent":true}}"#)
                try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&newClientOrderId=quiet")
                try await client.control(#"{"stream":{"silent":false,"duplicate":1000000}}"#)
                try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&newClientOrderId=loud")
                for _ in 0..<2 {
                    let event = await stream.next()
                    #expect(event["o"]?["c"]?.text == "loud" && event["o"]?["x"]?.text == "NEW")
                }
                for _ in 0..<4 { _ = await stream.next() }
                try await client.control(#"{"stream":{"cut":true}}"#)
                let frame = await stream.frame()
                #expect(frame?.opcode == .connectionClose)
            }
        }
    }

    @Test func `the spot command interface opens a private stream with a signature`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "5")
            try await withStream(client, "/ws-api/v3") { stream in
                let time = machineMilliseconds()
                let method = #""method":"userDataStream.subscribe.signature""#
                let good = client.signed("apiKey=demo&timestamp=\(time)")
                for (signature, status) in [(String(good.reversed()), 400), (good, 200)] as [(String, Int64)] {
                    try await stream.send(
                        #"{"id":7,\#(method),"params":{"apiKey":"demo","timestamp":\#(time),"signature":"\#(signature)"}}"#
                    )
                    let answer = await stream.next()
                    #expect(answer["id"]?.int64 == 7)
                    #expect(answer["status"]?.int64 == status)
                }
                try await client.spot("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&newClientOrderId=w1")
                let event = await stream.next()
                #expect(event["event"]?["e"]?.text == "executionReport" && event["subscriptionId"]?.int64 == 0)
            }
        }
    }

    @Test func `prices reach whoever subscribed, single and combined`() async throws {
        try await withVenue { client async throws in
            try await withStream(client, "/public/ws") { stream in
                try await stream.send(#"{"method":"SUBSCRIBE","params":["btcusdt@bookTicker","btcusdt@trade"],"id":1}"#)
                let confirmed = await stream.next()
                #expect(confirmed["id"]?.int64 == 1 && confirmed["result"] == .null)
                await client.price("paper:linear:BTCUSDT", "100.5", "2")
                await client.price("paper:linear:BTCUSDT", "100.4", "3", source: .bid)
                await client.price("paper:spot:BTCUSDT", "77", "3")
                let trade = await stream.next()
                #expect(trade["e"]?.text == "trade" && trade["p"]?.text == "100.5" && trade["q"]?.text == "2")
                let book = await stream.next()
                #expect(book["e"]?.text == "bookTicker" && book["b"]?.text == "100.4")
                try await stream.send(#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":2}"#)
                _ = await stream.next()
                await client.price("paper:linear:BTCUSDT", "100.6", "2")
                await client.price("paper:linear:BTCUSDT", "100.7", "3", source: .ask)
                #expect(await stream.next()["a"]?.text == "100.7")
            }
            try await withStream(client, "/market/stream?streams=btcusdt@markPrice@1s/btcusdt@aggTrade") { stream in
                await client.price("paper:linear:BTCUSDT", "99.25", source: .mark)
                let mark = await stream.next()
                #expect(mark["stream"]?.text == "btcusdt@markPrice@1s")
                #expect(mark["data"]?["e"]?.text == "markPriceUpdate" && mark["data"]?["p"]?.text == "99.25")
                await client.price("paper:linear:BTCUSDT", "99.5", "1")
                #expect(await stream.next()["data"]?["e"]?.text == "aggTrade")
            }
        }
    }

    @Test func `a ping is answered, a bad frame ends the connection, a wrong path is no stream`() async throws {
        try await withVenue { client async throws in
            try await withStream(client, "/ws") { stream in
                try await stream.send(
                    WebSocketFrame(fin: true, opcode: .ping, maskKey: .random(), data: ByteBuffer(string: "hello"))
                )
                let pong = await stream.frame()
                #expect(pong?.opcode == .pong)
                #expect(pong.map { String(buffer: $0.unmaskedData) } == "hello")
                try await stream.send(WebSocketFrame(fin: true, opcode: .text, data: ByteBuffer(string: "unmasked")))
                #expect(await stream.frame()?.opcode == .connectionClose)
            }
            await #expect(throws: (any Error).self) {
                try await withStream(client, "/other") { _ in }
            }
        }
    }

    @Test func `ticks over HTTP are matched like those in process`() async throws {
        try await withVenue { client async throws in
            let taken = try await client.raw(
                .POST,
                "/paper/v1/ticks",
                body: #"[{"market":"paper:spot:BTCUSDT","source":"last","price":"101.5","qty":"2"}]"#,
                key: nil,
            )
            #expect(taken["taken"] == "1")
            let filled = try await client.spot("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=3")
            #expect(filled["executedQty"] == "2" && filled["status"] == "EXPIRED")
            let trades = try await client.raw(.GET, "/api/v3/aggTrades?symbol=BTCUSDT", key: nil)
            guard case .array(let entries) = trades.json else { return }
            #expect(entries.count == 1 && entries.first?["p"]?.text == "101.5")
            let bad = try await client.raw(.POST, "/paper/v1/ticks", body: #"[{"market":"x"}]"#, key: nil)
            #expect(bad.status == 400)
            let state = try await client.raw(.GET, "/paper/v1/state", key: nil)
            #expect(state["trades"] == "1")
        }
    }

    @Test func `a listen key survives a restart, an unknown one is refused, every tick is written`() async throws {
        let path = temporaryPath("venue.jsonl")
        let ticks = temporaryPath("ticks.jsonl")
        let change: (inout PaperVenueConfiguration) -> Void = {
            $0.logPath = path
            $0.ticksPath = ticks
        }
        var key = ""
        try await withVenue(change) { client async throws in
            key = try await listenKey(client, "/fapi/v1/listenKey")
            await client.price("paper:linear:BTCUSDT", "100", "5")
            await client.price("paper:linear:BTCUSDT", "0", "5")
        }
        try await withVenue(change) { [key] client async throws in
            await client.price("paper:linear:BTCUSDT", "101", "5")
            try await withStream(client, "/private/ws?listenKey=\(key)") { stream in
                try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=2&newClientOrderId=s1")
                #expect(await stream.next()["o"]?["c"]?.text == "s1")
            }
            await #expect(throws: (any Error).self) {
                try await withStream(client, "/private/ws?listenKey=nobody") { _ in }
            }
        }
        let lines = readLog(ticks)
        #expect(lines.map { $0["price"]?.text } == ["100", "0", "101"])
        #expect(lines.map { $0["n"]?.int64 } == [1, 2, 3])
        removeText(path)
        removeText(ticks)
    }
}
