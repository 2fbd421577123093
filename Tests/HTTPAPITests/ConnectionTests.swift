import HTTPAPI
import JSONText
import NIOHTTP1
import OwnerThread
import SmartOrders
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(1)))
struct ConnectionTests {
    struct BadHandshake: Sendable {
        let status: String
        let code: String
        let request: String
    }

    static let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    static let version = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

    @Test(arguments: [
        BadHandshake(status: "426", code: "UPGRADE_REQUIRED", request: "GET /v1/stream HTTP/1.1\r\n"),
        BadHandshake(status: "426", code: "UPGRADE_REQUIRED", request: "GET /v1/stream?x=1 HTTP/1.1\r\n" + upgrade),
        BadHandshake(status: "404", code: "NOT_FOUND", request: "GET /other HTTP/1.1\r\n" + upgrade + version),
        BadHandshake(status: "404", code: "NOT_FOUND", request: "GET /v1/streams HTTP/1.1\r\n" + upgrade + version),
        BadHandshake(
            status: "403",
            code: "ORIGIN_REFUSED",
            request: "GET /v1/stream HTTP/1.1\r\nOrigin: https://evil.example\r\n" + upgrade + version,
        ),
        BadHandshake(
            status: "400",
            code: "BAD_HEADER",
            request: "GET /v1/stream HTTP/1.1\r\nSec-WebSocket-Protocol: chat\r\n" + upgrade + version,
        ),
    ])
    func `a handshake that is none gets its answer`(_ bad: BadHandshake) async throws {
        try await withAPI { api in
            try await withSocket(api.port) { connection in
                try await connection.send(bad.request + "Host: x\r\n\r\n")
                let answer = try await connection.answer()
                #expect(answer.hasPrefix("HTTP/1.1 \(bad.status)"), "\(answer)")
                #expect(answer.contains("\"code\":\"\(bad.code)\""))
            }
        }
    }

    @Test func `our subprotocol and origin are accepted, extensions are not`() async throws {
        try await withAPI { api in
            let headers =
                "Origin: https://orders.example\r\nSec-WebSocket-Protocol: chat, smartorders.v1\r\n"
                + "Sec-WebSocket-Extensions: permessage-deflate\r\n"
            try await withStream(api, headers) { stream in
                #expect(stream.head.contains("smartorders.v1"))
                #expect(!stream.head.lowercased().contains("sec-websocket-extensions"))
                let hello = try await stream.next("hello")
                #expect(hello["protocol"]?.int64 == 1)
            }
        }
    }

    @Test func `an upgrade on a connection that served others is refused and the connection closed`() async throws {
        try await withAPI { api in
            try await withSocket(api.port) { connection in
                try await connection.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                #expect(try await connection.answer().contains("live"))
                try await connection.send("GET /v1/stream HTTP/1.1\r\nHost: x\r\n\(Self.upgrade)\(Self.version)\r\n")
                let answer = try await connection.rest()
                #expect(answer.hasPrefix("HTTP/1.1 426"))
                #expect(answer.lowercased().contains("connection: close"))
            }
        }
    }

    @Test func `the first bytes may come one by one`() async throws {
        try await withAPI { api in
            try await withSocket(api.port) { connection in
                for byte in "GET /v1/stre".utf8 { try await connection.send(bytes: [byte]) }
                try await Task.sleep(for: .milliseconds(50))
                try await connection.send("ngth HTTP/1.1\r\nHost: x\r\n\r\n")
                #expect(try await connection.answer().hasPrefix("HTTP/1.1 404"))
            }
        }
    }

    @Test(arguments: [
        "\0\0\0\0\0", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /v1/stream HTTP/1.1\r\nA B: c\r\n\r\n",
    ])
    func `what is no HTTP ends`(_ text: String) async throws {
        try await withAPI { api in
            try await withSocket(api.port) { connection in
                try await connection.send(text)
                let answer = try await connection.rest()
                #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 400"), "\(answer)")
            }
        }
    }

    @Test func `a frame right behind the handshake is read`() async throws {
        try await withAPI { api in
            try await withSocket(api.port) { connection in
                // One write: {"op":"ping"} comes with the request.
                let ping = Array(#"{"op":"ping"}"#.utf8)
                let request =
                    "GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                try await connection.send(
                    bytes: Array(request.utf8) + [0x81, 0x80 | UInt8(ping.count), 0, 0, 0, 0] + ping
                )
                try await connection.handshakeAnswer()
                _ = try await connection.next("pong")
            }
        }
    }

    @Test func `a handshake that stops half way is closed`() async throws {
        try await withAPI({ $0.limits.headerMs = 100 }) { api in
            try await withSocket(api.port) { connection in
                try await connection.send("GET /v1/stream HTTP/1.1\r\nHost: x\r\n")
                #expect(try await connection.rest().isEmpty)
            }
        }
    }

    @Test func `a handshake that is made in time stays`() async throws {
        try await withAPI({ $0.limits.headerMs = 2_000 }) { api in
            try await withStream(api) { stream in
                _ = try await stream.next("hello")
                try await Task.sleep(for: .milliseconds(2_500))
                try await stream.send(json: #"{"op":"ping"}"#)
                _ = try await stream.next("pong")
            }
        }
    }

    @Test func `a refused request whose body does not end loses its connection`() async throws {
        try await withAPI({ $0.limits.leftoverMs = 50 }) { api in
            let head = "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            try await withSocket(api.port) { connection in
                try await connection.send(head + "Content-Length: 100\r\n\r\n{")
                let answer = try await connection.rest()
                #expect(answer.hasPrefix("HTTP/1.1 401"), "\(answer)")
                #expect(answer.lowercased().contains("connection: close"))
            }
        }
        // A whole one is read over, and the connection goes on.
        try await withAPI { api in
            let head = "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            try await withSocket(api.port) { connection in
                for _ in 0..<2 {
                    try await connection.send(head + "Content-Length: 2\r\n\r\n{}")
                    let answer = try await connection.answer()
                    #expect(answer.hasPrefix("HTTP/1.1 401") && !answer.lowercased().contains("connection: close"))
                }
            }
        }
    }

    @Test(arguments: ["/v1/orders", "/v1/orders/preview"])
    func `a body comes in time, however long an answer may be waited for`(_ path: String) async throws {
        try await withAPI({ $0.limits.deadlineMs = 200 }) { api in
            try await withSocket(api.port) { connection in
                let begin = ContinuousClock().now
                try await connection.send(
                    "POST \(path) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(Rig.key)\r\nPrefer: wait=30\r\n"
                        + "Idempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
                )
                let answer = try await connection.rest()
                #expect(answer.hasPrefix("HTTP/1.1 504"), "\(answer)")
                #expect(begin.duration(to: ContinuousClock().now) < .seconds(15))
            }
        }
    }

    @Test func `a connection that says nothing is closed`() async throws {
        try await withAPI({ $0.limits.headerMs = 100 }) { api in
            try await withSocket(api.port) { connection in
                let rest = try await connection.rest()
                #expect(rest.isEmpty)
            }
        }
    }

    @Test func `an address has so many connections, the next are told so`() async throws {
        try await withAPI({ $0.limits.connectionsPerAddress = 3 }) { api in
            let ask = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
            try await withSocket(api.port) { first in
                try await first.send(ask)
                #expect(try await first.answer().hasPrefix("HTTP/1.1 200"))
                try await withSocket(api.port) { second in
                    try await second.send(ask)
                    #expect(try await second.answer().hasPrefix("HTTP/1.1 200"))
                    try await withStream(api) { third in
                        _ = try await third.next("hello")
                        for request in [ask, "GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n", ""] {
                            try await withSocket(api.port) { fourth in
                                if !request.isEmpty { try await fourth.send(request) }
                                let answer = try await fourth.rest()
                                #expect(answer.hasPrefix("HTTP/1.1 429"), "\(answer)")
                                #expect(answer.contains("\"code\":\"RATE_LIMITED\""))
                                #expect(answer.lowercased().contains("retry-after: 1"))
                            }
                        }
                        // Those who are there are served.
                        try await second.send(ask)
                        #expect(try await second.answer().hasPrefix("HTTP/1.1 200"))
                    }
                }
                // A place is free again.
                var answer = ""
                while !answer.hasPrefix("HTTP/1.1 200") {
                    try await withSocket(api.port) { next in
                        try await next.send(ask)
                        answer = try await next.answer()
                    }
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
        }
    }

    @Test func `of a client behind a proxy its requests count, not the connections of the proxy`() async throws {
        try await withAPI({ change in
            change.limits.connectionsPerAddress = 1
            change.limits.deadlineMs = 60_000
            change.trustedProxies = ["127.0.0.0/8"]
        }) { api in
            let id = try await api.create("k")
            // Long enough for all to be there at the same time.
            api.orders.loadDelayMs = 4_000
            func get(_ client: String) async throws -> Answer {
                try await api.send(.GET, "/v1/orders/\(id)", headers: [("X-Forwarded-For", client)])
            }
            let answers = try await withThrowingTaskGroup(of: (String, Answer).self) { group in
                for client in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
                    group.addTask { (client, try await get(client)) }
                }
                return try await group.reduce(into: [String: [Answer]]()) { $0[$1.0, default: []].append($1.1) }
            }
            #expect(answers["192.0.2.1"]?.map(\.status).sorted() == [200, 429])
            #expect(answers["192.0.2.2"]?.map(\.status) == [200])
            let refused = try #require(answers["192.0.2.1"]?.first { $0.status == 429 })
            #expect(refused.code == "RATE_LIMITED" && refused["Retry-After"] == "1", "\(refused.text)")
            api.orders.loadDelayMs = 0
            #expect(try await get("192.0.2.1").status == 200)
        }
    }

    @Test(arguments: ["", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"])
    func `a header that does not end loses its connection`(_ before: String) async throws {
        try await withAPI({ $0.limits.headerMs = 1_500 }) { api in
            try await withSocket(api.port) { connection in
                if !before.isEmpty {
                    try await connection.send(before)
                    #expect(try await connection.answer().hasPrefix("HTTP/1.1 200"))
                    // Between requests there is more time.
                    try await Task.sleep(for: .milliseconds(2_000))
                }
                let begun = ContinuousClock.now
                try await connection.send("GET /livez HTTP/1.1\r\n")
                var answer = ""
                while ContinuousClock.now - begun < .seconds(20) {
                    // A byte now and then is not a header.
                    do { try await connection.send("X") } catch { break }
                    try await Task.sleep(for: .milliseconds(50))
                }
                answer = try await connection.rest()
                #expect(answer.isEmpty && ContinuousClock.now - begun < .seconds(20), "\(answer)")
            }
        }
    }

    @Test func `who does not read his answer loses it, who reads slowly does not`() async throws {
        try await withAPI({ change in
            change.stream.socketBufferBytes = 8_192
            change.stream.stuckMs = 2_000
        }) { api in
            let ask = "GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n"
            try await withSocket(api.port, receiveBuffer: 4_096) { stuck in
                stuck.isPaused.withLock { $0 = true }
                try await stuck.send(ask)
                try await Task.sleep(for: .milliseconds(5_000))
                stuck.isPaused.withLock { $0 = false }
                let text = try await stuck.rest()
                #expect(text.utf8.count < 100_000, "\(text.utf8.count)")
            }
            try await withSocket(api.port, receiveBuffer: 4_096) { slow in
                try await slow.send(ask)
                // Longer altogether than nothing may be taken, never so long at a time.
                for _ in 0..<6 {
                    slow.isPaused.withLock { $0 = true }
                    try await Task.sleep(for: .milliseconds(500))
                    slow.isPaused.withLock { $0 = false }
                    try await Task.sleep(for: .milliseconds(10))
                }
                let answer = try await slow.answer()
                #expect(answer.hasPrefix("HTTP/1.1 200") && answer.utf8.count > 100_000, "\(answer.utf8.count)")
            }
        }
    }

    @Test func `a stop closes every stream with 1001 and ends`() async throws {
        try await withAPI { api in
            let ready = Locked(0)
            let codes = try await withThrowingTaskGroup(of: UInt16?.self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        var code: UInt16?
                        try await withStream(api) { stream in
                            try await stream.authenticate()
                            try await stream.subscribe("\(api.account)", from: 0)
                            ready.withLock { $0 += 1 }
                            // Why, before it closes.
                            var notice: String? = ""
                            while let told = notice, told != "DEPLOY" {
                                notice = try await stream.next("notice")["code"]?.text
                            }
                            #expect(notice == "DEPLOY")
                            code = try await stream.closeCode()
                            try await stream.send(opcode: 8, [0x03, 0xe9])
                        }
                        return code
                    }
                }
                while ready.withLock({ $0 }) < 10 { try await Task.sleep(for: .milliseconds(5)) }
                api.service.cancel()
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(codes == Array(repeating: 1001, count: 10))
            try await api.service.value
            #expect(api.server.port == nil)
        }
    }

    @Test func `a request in work is finished before the server goes`() async throws {
        try await withAPI { api in
            let id = try await api.create("k")
            api.orders.loadDelayMs = 700
            async let slow = api.send(.GET, "/v1/orders/\(id)")
            try await api.orders.loadIsDelayed()
            api.service.cancel()
            #expect(try await slow.status == 200)
            try await api.service.value
        }
    }

    @Test func `the event source gives the same events, and goes on after the last one`() async throws {
        try await withAPI { api in
            let order = try await api.commit(30, versionsOf: .sample(1, api.account))
            let request =
                "GET /v1/events?account=\(api.account) HTTP/1.1\r\nHost: x\r\n"
                + "Authorization: Bearer \(Rig.key)\r\nAccept: text/event-stream\r\n"
            try await withSocket(api.port) { connection in
                try await connection.send(request + "Last-Event-ID: 1-10\r\n\r\n")
                var text = ""
                while !text.contains("id: 1-30\n") { text += try await connection.some() }
                try await api.commit(order)
                while !text.contains("id: 1-31\n") { text += try await connection.some() }
                #expect(text.contains("text/event-stream"))
                #expect(text.contains("retry: 2000"))
                let ids = text.split(whereSeparator: \.isNewline).compactMap { line in
                    line.hasPrefix("id: 1-") ? Int(line.dropFirst(6)) : nil
                }
                #expect(ids == Array(11...31))
            }
            let page = try await api.send(
                .GET,
                "/v1/events?account=\(api.account)&since=1-28",
                headers: [("Accept", "application/json")],
            )
            #expect(page.json["nextSince"]?.text == "1-31")
            guard case .array(let items)? = page.json["items"] else {
                Issue.record("\(page.text)")
                return
            }
            #expect(items.map { $0["seq"]?.int64 } == [29, 30, 31])
        }
    }
}
