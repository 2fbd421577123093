// What the venue does wrong when it is told to.

import JSONText
import PaperVenue
import SmartOrders
import Testing

@Suite struct FaultTests {
    private let buy = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&newClientOrderId=f1"
    private let query = "symbol=BTCUSDT&origClientOrderId=f1"

    struct Row: Sendable {
        let rule: String
        /// HTTP status of the answer; nil: none comes.
        let status: Int?
        let code: Int?
        let isExecuted: Bool
    }

    @Test(arguments: [
        Row(rule: #""do":"dropBefore""#, status: nil, code: nil, isExecuted: false),
        Row(rule: #""do":"dropAfter""#, status: nil, code: nil, isExecuted: true),
        Row(rule: #""do":"closeBefore""#, status: nil, code: nil, isExecuted: false),
        Row(rule: #""do":"closeAfter""#, status: nil, code: nil, isExecuted: true),
        Row(rule: #""do":"errorBefore","status":502"#, status: 502, code: nil, isExecuted: false),
        Row(rule: #""do":"errorAfter","code":-1007"#, status: 503, code: -1007, isExecuted: true),
        Row(rule: #""do":"reject""#, status: 400, code: -2010, isExecuted: false),
        Row(
            rule: #""do":"reject","code":-1015,"message":"Too many new orders.""#,
            status: 400,
            code: -1015,
            isExecuted: false,
        ),
        Row(rule: #""do":"rateLimit","status":418,"retryAfter":30"#, status: 418, code: -1003, isExecuted: false),
        Row(rule: #""do":"garbage""#, status: 200, code: nil, isExecuted: true),
        Row(rule: #""do":"answerDelay","minMs":50"#, status: 200, code: nil, isExecuted: true),
    ])
    func `a rule does what it says, once, and tells the truth afterwards`(_ row: Row) async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            try await client.control(#"{"rules":[{"on":"place","times":1,\#(row.rule)}]}"#)
            let answer = try? await client.send(
                .POST,
                "/api/v3/order",
                buy,
                timeoutMs: row.status == nil ? 3000 : 5000,
            )
            #expect(answer?.status == row.status)
            #expect(answer?.code == row.code)
            let seen = try await client.send(.GET, "/api/v3/order", query)
            #expect(seen.code == (row.isExecuted ? nil : -2013))
            #expect(try await client.balance("BTC").free == (row.isExecuted ? dec("10.998") : ExactDecimal(10)))
            #expect(try await client.spot(buy)["status"] == "FILLED")
        }
    }

    @Test func `the same seed drops the same requests`() async throws {
        func pattern(_ seed: Int) async throws -> [Bool] {
            var refused: [Bool] = []
            try await withVenue { client async throws in
                await client.price("paper:spot:BTCUSDT", "100", "50")
                try await client.control(#"{"seed":\#(seed),"rules":[{"do":"reject","on":"place","chance":400000}]}"#)
                for _ in 0..<24 {
                    refused.append(
                        try await client.spot("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.1").status != 200
                    )
                }
            }
            return refused
        }
        let first = try await pattern(7)
        #expect(try await pattern(7) == first)
        #expect(try await pattern(8) != first)
        #expect(first.contains(true) && first.contains(false))
    }

    @Test func `lookups lag behind placements`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            try await client.control(#"{"lookupLagMs":600000}"#)
            try await client.spot(buy)
            #expect(try await client.send(.GET, "/api/v3/order", query).code == -2013)
            #expect(try await client.send(.GET, "/api/v3/allOrders", "symbol=BTCUSDT").json == [])
            #expect(try await client.send(.GET, "/api/v3/myTrades", "symbol=BTCUSDT").json == [])
            try await client.control(#"{"lookupLagMs":0}"#)
            #expect(try await client.send(.GET, "/api/v3/order", query)["status"] == "FILLED")
        }
    }

    @Test func `a venue that is down answers nothing, or 503`() async throws {
        try await withVenue { client async throws in
            try await client.control(#"{"down":"close"}"#)
            let none = try? await client.send(.GET, "/api/v3/account", timeoutMs: 500)
            #expect(none == nil)
            try await client.control(#"{"down":"unavailable"}"#)
            #expect(try await client.send(.GET, "/api/v3/account").status == 503)
            try await client.control(#"{"down":"up"}"#)
            #expect(try await client.send(.GET, "/api/v3/account").status == 200)
        }
    }

    @Test func `positions and balances can change behind the client's back`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=2")
            let exit = "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=2&price=105&reduceOnly=true"
            try await client.linear("\(exit)&newClientOrderId=x1")
            try await client.control(
                #"{"positions":[{"account":"demo","market":"paper:linear:BTCUSDT","qty":"-1","price":"100"}],"#
                    + #""deposits":[{"account":"demo","product":"spot","asset":"USDT","amount":"-99990"}]}"#
            )
            #expect(try await client.position("BTCUSDT").quantity == ExactDecimal(-1))
            let ended = try await client.send(.GET, "/fapi/v1/order", "symbol=BTCUSDT&origClientOrderId=x1")
            #expect(ended["status"] == "EXPIRED")
            #expect(try await client.balance("USDT").free == ExactDecimal(10))
        }
    }

    @Test func `an accepted order can be ended by the venue at once`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            try await client.control(#"{"rules":[{"do":"expire","on":"place","times":1}]}"#)
            let placed = try await client.spot(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=90&newClientOrderId=f1"
            )
            #expect(placed["status"] == "NEW")
            #expect(try await client.send(.GET, "/api/v3/order", query)["status"] == "EXPIRED")
        }
    }

    @Test(arguments: [
        #"{"what":1}"#, #"{"rules":[{"do":"sing"}]}"#, #"{"down":"maybe"}"#, #"{"rules":[{"do":"reject","ever":1}]}"#,
        #"{"markets":[{"market":"paper:spot:NOPE","trading":true}]}"#, "[", "",
    ])
    func `a control document with a mistake is refused`(_ text: String) async throws {
        try await withVenue { client async throws in
            let answer = try await client.raw(.POST, "/paper/v1/control", body: text, key: nil)
            #expect(answer.status == 400)
        }
    }

    @Test func `a control file is read when it changes`() async throws {
        let path = temporaryPath("control.json")
        try await withVenue {
            $0.controlPath = path
        } _: { client async throws in
            #expect(try await client.send(.GET, "/api/v3/account").status == 200)
            writeText(path, #"{"down":"unavailable"}"#)
            var status = 200
            for _ in 0..<100 where status == 200 {
                status = try await client.send(.GET, "/api/v3/account").status
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(status == 503)
        }
        removeText(path)
    }
}
