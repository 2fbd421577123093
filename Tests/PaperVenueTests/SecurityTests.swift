// Keys, signatures and time windows.

import JSONText
import NIOCore
import PaperVenue
import SmartOrders
import Testing

@Suite struct SecurityTests {
    private let order = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"

    /// The key pair, the texts and the results that Binance prints in its documentation of signed requests.
    @Test func `the documented signatures are accepted and nothing near them`() async throws {
        let documented = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
        let mixed = "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"
        let time = "recvWindow=5000&timestamp=1499827319559"
        let key = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
        try await withVenue { configuration in
            configuration.credentials = [
                .init(key: key, secret: "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")
            ]
        } _: { client async throws in
            // A right signature gets as far as the time window: these requests are of 2017.
            let path = "/api/v3/order"
            let head = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
            let tail = "quantity=1&price=0.1&\(time)"
            let rows: [(target: String, body: String?, code: Int)] = [
                (path, "\(order)&\(time)&signature=\(documented)", -1021),
                ("\(path)?\(order)&\(time)&signature=\(documented)", nil, -1021),
                ("\(path)?\(head)", "\(tail)&signature=\(mixed)", -1021),
                (path, "\(order)&\(time)&signature=\(mixed)", -1022),
                (path, "\(order)&\(time)&signature=abc", -1022),
                (path, "\(order)&\(time)", -1102),
                (path, "\(order)1&\(time)&signature=\(documented)", -1022),
            ]
            for row in rows {
                let answer = try await client.raw(.POST, row.target, body: row.body, key: key)
                #expect(answer.code == row.code, "\(row.target) \(row.body ?? "")")
            }
        }
    }

    @Test func `keys must be known, well formed and not revoked`() async throws {
        try await withVenue { client async throws in
            var stranger = client
            stranger.key = "stranger"
            #expect(try await stranger.send(.GET, "/api/v3/account").code == -2015)
            #expect(try await client.raw(.GET, "/api/v3/account?timestamp=1&signature=a", key: nil).code == -2014)
            try await client.control(#"{"revokedKeys":["demo"]}"#)
            let revoked = try await client.send(.GET, "/api/v3/account")
            #expect(revoked.code == -2015 && revoked.status == 401)
            try await client.control(#"{"revokedKeys":[]}"#)
            #expect(try await client.send(.GET, "/api/v3/account").status == 200)
        }
    }

    struct Window: Sendable {
        let offsetMs: Int64
        let window: Int64?
        let code: Int?
    }

    @Test(arguments: [
        Window(offsetMs: 0, window: nil, code: nil), Window(offsetMs: -4000, window: nil, code: nil),
        Window(offsetMs: -5500, window: nil, code: -1021), Window(offsetMs: -5500, window: 10000, code: nil),
        Window(offsetMs: -700, window: 500, code: -1021), Window(offsetMs: 800, window: nil, code: nil),
        Window(offsetMs: 20000, window: nil, code: -1021), Window(offsetMs: 0, window: 60001, code: -1131),
    ])
    func `a request lives from its timestamp to the end of its window`(_ row: Window) async throws {
        try await withVenue { client async throws in
            let answer = try await client.send(
                .GET,
                "/api/v3/account",
                at: machineMilliseconds() + row.offsetMs,
                window: row.window,
            )
            #expect(answer.code == row.code)
        }
    }

    @Test func `a request that waits too long before the engine is refused there`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            let buy = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1"
            for stage in ["hold", "engineDelay"] {
                try await client.control(#"{"rules":[{"do":"\#(stage)","on":"place","minMs":1300}]}"#)
                let late = try await client.send(.POST, "/api/v3/order", buy, window: 1000)
                #expect(late.code == -1021, "\(stage)")
            }
            try await client.control(#"{"engineChecksDeadline":false}"#)
            let broken = try await client.send(.POST, "/api/v3/order", buy, window: 1000)
            #expect(broken["status"] == "FILLED")
        }
    }

    @Test func `a venue clock that is off refuses what its own time says is old`() async throws {
        try await withVenue { client async throws in
            try await client.control(#"{"clockOffsetMs":7000}"#)
            #expect(try await client.send(.GET, "/api/v3/account").code == -1021)
            let before = machineMilliseconds()
            let told = try await client.raw(.GET, "/api/v3/time", key: nil)
            let time = Int64(told["serverTime"] ?? "") ?? 0
            #expect((before - 1...machineMilliseconds() + 1).contains(time - 7000))
            #expect(try await client.send(.GET, "/api/v3/account", at: time).status == 200)
        }
    }

    @Test func `a key that asks too often is told to wait`() async throws {
        try await withVenue {
            $0.requestsPerMinute = 3
        } _: { client async throws in
            var codes: [Int?] = []
            var last: Answer?
            for _ in 0..<8 {
                last = try await client.send(.GET, "/api/v3/account")
                codes.append(last?.code)
            }
            #expect(codes.contains(-1003))
            #expect(last?.status == 429 && last?.retryAfter != nil)
        }
    }
}
