// A venue, or whoever stands between, that answers with what no venue answers (RELIABILITY.md 10.9; 6.7, 6.11).

import JSONText
import LocalServers
import OrderEngine
import OwnerThread
import SmartOrders
import TestKit
import Testing

@testable import Exchanges

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(5))) struct `A hostile venue` {
    private static let market = MarketID(venue: "paper", product: "linear", symbol: "BTCUSDT")

    /// An adapter whose venue answers questions about time and catalogue, and everything else with `answer`.
    private func venue(
        _ answer: ReceiverAnswer,
        clock: any EngineClock = RealClock(),
    ) throws -> (
        BinanceVenue, HTTPReceiver, VenueHTTP
    ) {
        let receiver = try HTTPReceiver { request in
            switch request.path.split(separator: "?").first {
            case "/fapi/v1/time": ReceiverAnswer(body: #"{"serverTime":\#(clock.now().milliseconds)}"#)
            case "/fapi/v1/exchangeInfo": ReceiverAnswer(body: #"{"symbols":[]}"#)
            default: answer
            }
        }
        let http = VenueHTTP()
        return (Self.venue("http://127.0.0.1:\(receiver.port)", http, clock), receiver, http)
    }

    private static func venue(
        _ rest: String,
        _ http: VenueHTTP,
        _ clock: any EngineClock,
        key: String = "k",
    ) -> BinanceVenue {
        BinanceVenue(
            endpoint: BinanceEndpoint(venue: "paper", product: .linear, rest: rest, stream: "ws://127.0.0.1:1/ws"),
            credentials: Credentials(key: key, secret: "s"),
            http: http,
            clock: clock,
        )
    }

    private func placement(_ venue: BinanceVenue, isExit: Bool = true) -> Placement {
        Placement(
            market: Self.market,
            clientOrderID: "so-test",
            side: .sell,
            type: .market,
            quantity: Quantity(ExactDecimal(1)),
            limit: nil,
            reduceOnly: isExit,
            isExit: isExit,
            t0: venue.venueTime(),
            windowMs: venue.windowMs,
        )
    }

    static let answers: [(name: String, answer: ReceiverAnswer)] = [
        ("5 MB", ReceiverAnswer(body: #"{"orderId":1,"x":""# + String(repeating: "x", count: 5 << 20) + #""}"#)),
        (
            "headers without end",
            ReceiverAnswer(headers: (0..<20_000).map { ("X-\($0)", String(repeating: "y", count: 50)) }, body: "{}"),
        ),
        ("deep", ReceiverAnswer(body: String(repeating: "[", count: 1_000_000))),
        ("not JSON", ReceiverAnswer(body: "<html>Just a moment...</html>")),
        ("another shape", ReceiverAnswer(body: #"{"orderId":{"a":[1]},"status":7}"#)),
        ("a key twice", ReceiverAnswer(body: #"{"orderId":1,"orderId":2}"#)),
        (
            "a number with a million digits",
            ReceiverAnswer(body: #"{"orderId":"# + String(repeating: "9", count: 1_000_000) + "}"),
        ),
        ("bytes that are no text", ReceiverAnswer(body: "{\"orderId\":\"\u{0}\u{1}\"}")),
        ("nothing", ReceiverAnswer(body: "")),
        ("an error nobody knows", ReceiverAnswer(400, body: #"{"code":-31337,"msg":"?"}"#)),
        ("503", ReceiverAnswer(503, body: "")),
    ]

    @Test(arguments: answers.indices)
    func `makes an outcome unknown, nothing else`(index: Int) async throws {
        let (name, answer) = Self.answers[index]
        let (venue, receiver, http) = try venue(answer)
        try await venue.prepareCalmly()
        let told = await venue.place(placement(venue))
        #expect(told.isUnknown, "\(name): \(told)")
        let looked = await venue.lookUp(market: Self.market, clientOrderID: "so-test")
        guard case .failed = looked else {
            Issue.record("\(name): \(looked)")
            return
        }
        #expect(await venue.executions(market: Self.market, since: Timestamp(microseconds: 0)) == nil, "\(name)")
        receiver.close()
        try await http.shutdown()
    }

    /// FA79: a cut connection is neither a refusal nor an acceptance, wherever it was cut.
    @Test func `that is cut at any byte of request or answer leaves the outcome unknown`() async throws {
        let body =
            #"{"orderId":7,"clientOrderId":"so-test","status":"NEW","executedQty":"0","cumQuote":"0","avgPrice":"0"}"#
        let answer = Array("HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
        // Negative: so many bytes of the answer are kept back. Otherwise so many of the request are read.
        let cut = Locked<Int?>(nil)
        let cuts = Locked(0)
        let server = try RawServer { peer in
            var held: [UInt8] = []
            let blank = Array("\r\n\r\n".utf8)
            while true {
                let wanted = cut.withLock { $0 } ?? -1
                guard let part = peer.receive(most: wanted > 0 ? wanted - held.count : 4_096) else { return }
                held += part
                let target = cut.withLock { $0 }
                if let target, target > 0, held.count >= target {
                    cuts.withLock { $0 += 1 }
                    return peer.willReset()
                }
                guard let end = held.firstRange(of: blank)?.upperBound else { continue }
                let head = String(decoding: held[..<end], as: UTF8.self).lowercased()
                let length = head.firstRange(of: "content-length: ").flatMap {
                    Int(head[$0.upperBound...].prefix { $0.isNumber })
                }
                guard held.count >= end + (length ?? 0) else { continue }
                held = []
                var told = answer
                if !head.contains("/fapi/v1/order") {
                    let small =
                        head.contains("/fapi/v1/time")
                        ? #"{"serverTime":\#(RealClock().now().milliseconds)}"# : #"{"symbols":[]}"#
                    told = Array("HTTP/1.1 200 OK\r\ncontent-length: \(small.utf8.count)\r\n\r\n\(small)".utf8)
                } else if let target, target < 0 {
                    cuts.withLock { $0 += 1 }
                    peer.send(told.dropLast(-target))
                    return
                }
                peer.send(told)
            }
        }
        defer { server.close() }
        let http = VenueHTTP()
        let venue = Self.venue("http://127.0.0.1:\(server.port)", http, RealClock())
        try await venue.prepareCalmly()
        let whole = await venue.place(placement(venue))
        #expect(whole.isAccepted, "\(whole)")
        for point in Array(-answer.count ... -1) + Array(stride(from: 1, through: 200, by: 7)) {
            cut.withLock { $0 = point }
            let told = await venue.place(placement(venue))
            #expect(told.isUnknown, "\(point): \(told)")
        }
        #expect(cuts.withLock { $0 } == answer.count + 29)
        try await http.shutdown()
    }

    @Test(arguments: [301, 302, 303, 307, 308])
    func `sends nobody elsewhere`(status: Int) async throws {
        let other = try HTTPReceiver()
        let (venue, receiver, http) = try venue(
            ReceiverAnswer(status, headers: [("Location", "http://127.0.0.1:\(other.port)/fapi/v1/order")])
        )
        try await venue.prepareCalmly()
        #expect(await venue.place(placement(venue)).isUnknown)
        #expect(other.connectionCount == 0 && other.requests.isEmpty)
        other.close()
        receiver.close()
        try await http.shutdown()
    }

    // MARK: Limits

    /// FA81, HO20: a ban is of the address, a limit of one account.
    @Test(arguments: [418, 429]) func `that asks for patience is left alone`(status: Int) async throws {
        let limited = ReceiverAnswer(status, headers: [("Retry-After", "4")], body: #"{"code":-1003,"msg":"wait"}"#)
        let (venue, receiver, http) = try venue(limited)
        let other = Self.venue("http://127.0.0.1:\(receiver.port)", http, RealClock(), key: "other")
        try await venue.prepareCalmly()
        try await other.prepareCalmly()
        #expect(await venue.place(placement(venue)).isRefused)
        let asked = receiver.requests.count
        #expect(await venue.place(placement(venue)).isNotSent)
        guard case .failed = await venue.lookUp(market: Self.market, clientOrderID: "so-test") else {
            Issue.record("it was asked")
            return
        }
        #expect(receiver.requests.count == asked)
        #expect(await other.place(placement(other)).isNotSent == (status == 418))
        let known = receiver.requests.count
        let clock = ContinuousClock()
        let begun = clock.now
        while await venue.place(placement(venue)).isNotSent {
            try #require(clock.now - begun < .seconds(30))
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(receiver.requests.count == known + 1)
        receiver.close()
        try await http.shutdown()
    }

    // MARK: Names

    /// FA77: names under `.invalid` are resolved nowhere; here one was, once.
    @Test func `whose name is resolved no more is reached at its last good address`() async throws {
        let receiver = try HTTPReceiver()
        defer { receiver.close() }
        let isGood = Locked(true)
        let asked = Locked(0)
        let http = VenueHTTP { _ in
            asked.withLock { $0 += 1 }
            guard isGood.withLock({ $0 }) else { throw LocalServerError(.state, "no such name") }
            return ["127.0.0.1"]
        }
        func get(_ host: String) -> SignedRequest {
            SignedRequest(method: .get, base: "http://\(host):\(receiver.port)", path: "/")
        }
        guard case .notSent = await http.send(get("venue.invalid"), timeoutMs: 5_000) else {
            Issue.record("a name that was never resolved was reached")
            return
        }
        // While it answered: what is learned is learned in the background.
        http.memory.note("venue.invalid")
        while http.memory.address("venue.invalid") == nil { try await Task.sleep(for: .milliseconds(5)) }
        isGood.withLock { $0 = false }
        for _ in 0..<3 {
            guard case .answered(status: 200, _, _) = await http.send(get("venue.invalid"), timeoutMs: 5_000) else {
                Issue.record("it was not reached")
                return
            }
        }
        #expect(receiver.requests.count == 3)
        #expect(receiver.requests.allSatisfy { $0.headers["host"] == "venue.invalid:\(receiver.port)" })
        #expect(asked.withLock { $0 } == 1, "once a minute")
        guard case .notSent = await http.send(get("other.invalid"), timeoutMs: 5_000) else {
            Issue.record("another name got its address")
            return
        }
        try await http.shutdown()
    }

    // MARK: Time

    /// A clock whose monotonic side stands still until it is moved on: a slow machine makes no difference.
    private final class AgingClock: EngineClock {
        private let base = RealClock()
        private let added = Locked<Int64>(0)
        func age(minutes: Int64) { added.withLock { $0 += minutes * 60_000_000_000 } }
        func now() -> Timestamp { base.now() }
        func monotonicNanoseconds() -> Int64 { added.withLock { $0 } }
        func sleep(milliseconds: Int64) async throws { try await base.sleep(milliseconds: milliseconds) }
    }

    /// RELIABILITY.md 2.4, 3.4.5; FA112.
    @Test func `whose time is not known well gets no entries, later nothing, and the fence grows`() async throws {
        let clock = AgingClock()
        let (venue, receiver, http) = try venue(ReceiverAnswer(503, body: ""), clock: clock)
        try await venue.prepareCalmly()
        let fence = venue.fenceMs
        #expect(await venue.place(placement(venue, isExit: false)).isUnknown)
        // 50 ms each minute: 600 ms now.
        clock.age(minutes: 12)
        #expect(venue.fenceMs >= fence + 100 && venue.trouble.isEmpty)
        #expect(await venue.place(placement(venue)).isUnknown)
        #expect(await venue.place(placement(venue, isExit: false)).isNotSent)
        // That measured it again.
        #expect(await venue.place(placement(venue, isExit: false)).isUnknown)
        clock.age(minutes: 45)
        #expect(venue.trouble == [.venueClock])
        #expect(await venue.place(placement(venue)).isNotSent)
        #expect(venue.trouble.isEmpty && venue.fenceMs < fence + 100)
        receiver.close()
        try await http.shutdown()
    }

    // MARK: Certificates

    /// A server with a certificate of its own for `name`.
    private struct TLSServer {
        let port: Int
        let certificate: String
        let process: OwnedProcess

        static func start(for name: String) async throws -> TLSServer? {
            guard let openssl = LocalFiles.program("openssl") else { return nil }
            let directory = try LocalFiles.temporaryFolder("tls")
            let (key, certificate) = ("\(directory)/key.pem", "\(directory)/certificate.pem")
            let make = try await OwnedProcess.start(
                [
                    openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                    "-days",
                    "1", "-subj", "/CN=\(name)", "-addext", "subjectAltName=DNS:\(name)",
                ],
                log: "\(directory)/make.log",
            )
            guard await make.ended(withinMs: 30_000) else { return nil }
            // A port that was free just now.
            let free = try HTTPReceiver()
            free.close()
            let process = try await OwnedProcess.start(
                [
                    openssl, "s_server", "-accept", "127.0.0.1:\(free.port)", "-key", key, "-cert", certificate, "-www",
                    "-quiet",
                ],
                log: "\(directory)/server.log",
            )
            return TLSServer(port: free.port, certificate: certificate, process: process)
        }
    }

    /// FA78: self-signed, for another host; and the same certificate where it is trusted.
    @Test func `with a certificate that is not to be trusted gets no request`() async throws {
        guard let right = try await TLSServer.start(for: "localhost"),
            let wrong = try await TLSServer.start(for: "elsewhere.example")
        else { return }
        defer {
            right.process.killBlocking()
            wrong.process.killBlocking()
        }
        struct Case {
            let port: Int
            let roots: String?
            let isTrusted: Bool
        }
        for one in [
            Case(port: right.port, roots: nil, isTrusted: false),
            Case(port: wrong.port, roots: wrong.certificate, isTrusted: false),
            Case(port: right.port, roots: right.certificate, isTrusted: true),
        ] {
            let http = VenueHTTP(roots: one.roots)
            let venue = Self.venue("https://localhost:\(one.port)", http, RealClock())
            var tries = 0
            while true {
                let outcome = await http.send(venue.requests.time(), timeoutMs: 3_000)
                if case .notSent(let reason) = outcome, !reason.hasPrefix("TLS"), tries < 500 {
                    // It is not up yet.
                    tries += 1
                    try await Task.sleep(for: .milliseconds(20))
                    continue
                }
                switch outcome {
                case .answered: #expect(one.isTrusted)
                case .notSent(let reason): #expect(!one.isTrusted && reason.hasPrefix("TLS"), "\(reason)")
                case .unknown(let reason): Issue.record("unknown: \(reason)")
                }
                break
            }
            #expect(venue.trouble == (one.isTrusted ? [] : [.venueTLS]))
            if !one.isTrusted { #expect(await venue.place(placement(venue)).isNotSent) }
            try await http.shutdown()
        }
    }

    // MARK: Frames of prices

    /// FA101.
    @Test func `tells no price by a frame that is none`() throws {
        struct Quiet: EngineObserver {
            func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {}
            func count(_ name: StaticString, _ amount: Int) {}
            func measure(_ name: StaticString, milliseconds: Double) {}
        }
        let market = BinanceTrades.Market(id: Self.market, decimals: 2)
        let http = VenueHTTP()
        let feed = BinanceTrades(
            product: .linear,
            rest: "http://127.0.0.1:1",
            stream: "ws://127.0.0.1:1",
            catalogue: { [market] },
            http: http,
            clock: RealClock(),
            observer: Quiet(),
            resume: { _ in nil },
            tellGap: { _ in },
        )
        func trade(_ price: String, id: String = "7", time: String = "1700000000000") -> String {
            #"{"stream":"s","data":{"e":"aggTrade","s":"BTCUSDT","a":\#(id),"p":\#(price),"q":"1","T":\#(time)}}"#
        }
        func mark(_ price: String, time: String = "1700000000000") -> String {
            #"{"stream":"s","data":{"e":"markPriceUpdate","s":"BTCUSDT","p":\#(price),"E":\#(time)}}"#
        }
        func isTold(_ frame: [UInt8]) -> Bool {
            do {
                switch try feed.read(frame, ["BTCUSDT": market]) {
                case .nothing: return false
                case .trade(_, let tick, _): return tick.tick.price > 0
                case .mark(let tick, _): return tick.price > 0
                }
            } catch {
                return false
            }
        }
        #expect(isTold(Array(trade(#""100.25""#).utf8)) && isTold(Array(mark(#""100.25""#).utf8)))
        let digits = String(repeating: "9", count: 1_000_000)
        let prices = [
            #""0""#, #""-1""#, #""NaN""#, #""Infinity""#, #""""#, #""1e999""#, "null", "NaN", "true", "[]", "{}", "0",
            #""0.001""#, "\"\(digits)\"", digits, #"" 1""#, #""1 ""#, #""0x10""#, #""١٢""#, #""1,5""#,
        ]
        for price in prices {
            #expect(!isTold(Array(trade(price).utf8)), "trade at \(price.prefix(40))")
            #expect(!isTold(Array(mark(price).utf8)), "mark at \(price.prefix(40))")
        }
        for number in ["null", #""7""#, "1.5", "9223372036854775808", digits, "{}"] {
            #expect(!isTold(Array(trade(#""1""#, id: number).utf8)), "id \(number.prefix(40))")
        }
        for time in ["null", "-1", "9223372036854775807", "1e400", digits] {
            #expect(!isTold(Array(trade(#""1""#, time: time).utf8)), "time \(time.prefix(40))")
            #expect(!isTold(Array(mark(#""1""#, time: time).utf8)), "time \(time.prefix(40))")
        }
        let good = trade(#""100.25""#)
        var frames: [[UInt8]] = [
            [], [0], [0xff, 0xfe], Array("null".utf8), Array("[]".utf8), Array(#"{"data":[]}"#.utf8),
            Array(String(repeating: "[", count: 1_000_000).utf8),
            Array((String(repeating: #"{"data":"#, count: 100_000) + "1").utf8),
            Array(#"{"data":{"e":"aggTrade","s":"BTCUSDT","a":7,"a":8,"p":"1","q":"1","T":1}}"#.utf8),
            Array((#"{"data":{"e":""# + String(repeating: "x", count: 5 << 20) + #""}}"#).utf8),
            Array(good.utf8) + Array("x".utf8), Array(good.replacing("BTCUSDT", with: "OTHER").utf8),
        ]
        for end in 0..<good.utf8.count { frames.append(Array(good.utf8.prefix(end))) }
        for frame in frames {
            #expect(!isTold(frame), "\(String(decoding: frame.prefix(60), as: UTF8.self))")
        }
    }
}
