// Conditional orders of linear markets: codes, waking, lists, the log and what a restart knows.

import JSONText
import PaperVenue
import SmartOrders
import Testing

private let path = "/fapi/v1/algoOrder"
private let market = "paper:linear:BTCUSDT"

@Suite struct AlgoOrderTests {
    private func algo(_ client: Client, _ parameters: String) async throws -> Answer {
        try await client.send(.POST, path, "algoType=CONDITIONAL&symbol=BTCUSDT&" + parameters)
    }

    private func status(_ client: Client, _ id: String) async throws -> String? {
        try await client.send(.GET, path, "symbol=BTCUSDT&clientAlgoId=\(id)")["algoStatus"]
    }

    struct Refused: Sendable {
        let parameters: String
        let code: Int
    }

    static let refused = [
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=1", code: -1102),
        Refused(parameters: "side=SELL&type=STOP_MARKET&triggerPrice=95", code: -1102),
        Refused(parameters: "side=SELL&type=STOP&quantity=1&triggerPrice=95", code: -1102),
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&price=94", code: -1106),
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&closePosition=true", code: -1106),
        Refused(parameters: "side=SELL&type=STOP&price=94&triggerPrice=95&closePosition=true", code: -1128),
        Refused(parameters: "side=SELL&type=TRAILING_STOP&quantity=1&triggerPrice=95", code: -1116),
        Refused(parameters: "side=SELL&type=TRAILING_STOP_MARKET&quantity=1&triggerPrice=95", code: -1106),
        Refused(parameters: "side=SELL&type=TRAILING_STOP_MARKET&quantity=1", code: -1102),
        Refused(parameters: "side=SELL&type=TRAILING_STOP_MARKET&quantity=1&callbackRate=0.05", code: -1130),
        Refused(
            parameters: "side=SELL&type=TRAILING_STOP_MARKET&quantity=1&callbackRate=2&activatePrice=99",
            code: -2021,
        ),
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&callbackRate=2", code: -1106),
        Refused(parameters: "side=HOLD&type=STOP_MARKET&quantity=1&triggerPrice=95", code: -1117),
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95.05", code: -1013),
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=0&triggerPrice=95", code: -1013),
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=100", code: -2021),
        Refused(parameters: "side=SELL&type=TAKE_PROFIT_MARKET&quantity=1&triggerPrice=100", code: -2021),
        Refused(parameters: "side=BUY&type=STOP_MARKET&quantity=1&triggerPrice=99", code: -2021),
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&stopPrice=95", code: -1130),
        Refused(parameters: "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&positionSide=LONG", code: -4061),
    ]

    @Test(arguments: refused)
    func `what is wrong is refused in the venue's codes`(_ row: Refused) async throws {
        try await withVenue { client async throws in
            await client.price(market, "100", "50")
            let answer = try await algo(client, row.parameters)
            #expect(answer.status == 400 && answer.code == row.code, "\(answer.message)")
        }
    }

    @Test func `the mark wakes what watches it, the last price the rest`() async throws {
        try await withVenue { client async throws in
            await client.price(market, "100", "50")
            await client.price(market, "100", source: .mark)
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=3")
            _ = try await algo(client, "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&clientAlgoId=last")
            _ = try await algo(
                client,
                "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&clientAlgoId=mark&workingType=MARK_PRICE",
            )
            let twice = try await algo(
                client,
                "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&clientAlgoId=mark",
            )
            #expect(twice.code == -20132)
            await client.price(market, "95", "50")
            #expect(try await status(client, "last") == "FINISHED")
            #expect(try await status(client, "mark") == "NEW")
            await client.price(market, "94", source: .mark)
            #expect(try await status(client, "mark") == "FINISHED")
            #expect(try await client.position("BTCUSDT").quantity == dec("1"))
        }
    }

    @Test func `a trailing stop follows the best price since its activation, and wakes when it comes back`()
        async throws
    {
        try await withVenue { client async throws in
            await client.price(market, "100", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=3")
            func trail(_ more: String) async throws {
                let answer = try await algo(client, "type=TRAILING_STOP_MARKET&quantity=1&callbackRate=2&" + more)
                #expect(answer.status == 200, "\(answer.message)")
            }
            try await trail("side=SELL&clientAlgoId=now")
            try await trail("side=SELL&clientAlgoId=later&activatePrice=110")
            try await trail("side=BUY&clientAlgoId=short&activatePrice=95")
            for price in ["105", "103", "102.95"] { await client.price(market, price, "50") }
            #expect(try await status(client, "now") == "NEW", "105 less 2% is 102.9")
            await client.price(market, "102.9", "50")
            #expect(try await status(client, "now") == "FINISHED")
            #expect(try await status(client, "later") == "NEW")
            for price in ["110", "107.9"] { await client.price(market, price, "50") }
            #expect(try await status(client, "later") == "NEW", "110 less 2% is 107.8")
            await client.price(market, "107.8", "50")
            #expect(try await status(client, "later") == "FINISHED")
            for price in ["94", "95.8"] { await client.price(market, price, "50") }
            #expect(try await status(client, "short") == "NEW", "94 and 2% are 95.88")
            await client.price(market, "95.9", "50")
            #expect(try await status(client, "short") == "FINISHED")
            #expect(try await client.position("BTCUSDT").quantity == dec("2"))
        }
    }

    @Test func `a list shows what sleeps, cancelling orders leaves it, cancelling all of it does not`() async throws {
        try await withVenue { client async throws in
            await client.price(market, "100", "50")
            for id in ["a", "b"] {
                _ = try await algo(client, "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=95&clientAlgoId=\(id)")
            }
            _ = try await client.send(.DELETE, "/fapi/v1/allOpenOrders", "symbol=BTCUSDT")
            guard case .array(let open) = try await client.send(.GET, "/fapi/v1/openAlgoOrders").json else {
                Issue.record("no list")
                return
            }
            #expect(open.map { $0["clientAlgoId"]?.text } == ["a", "b"])
            #expect(try await client.send(.DELETE, path, "symbol=BTCUSDT&clientAlgoId=a")["code"] == "200")
            #expect(try await client.send(.DELETE, path, "symbol=BTCUSDT&clientAlgoId=a").code == -2011)
            _ = try await client.send(.DELETE, "/fapi/v1/algoOpenOrders", "symbol=BTCUSDT")
            #expect(try await status(client, "b") == "CANCELED")
            #expect(try await client.send(.GET, path, "symbol=BTCUSDT&clientAlgoId=c").code == -2013)
        }
    }

    @Test func `what sleeps survives a restart, and what woke stays awake`() async throws {
        let log = temporaryPath("venue.jsonl")
        try await withVenue {
            $0.logPath = log
        } _: { client async throws in
            await client.price(market, "100", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=3")
            _ = try await algo(client, "side=SELL&type=STOP_MARKET&quantity=1&triggerPrice=97&clientAlgoId=woke")
            _ = try await algo(
                client,
                "side=SELL&type=STOP_MARKET&triggerPrice=90&closePosition=true&clientAlgoId=all",
            )
            await client.price(market, "97", "50")
        }
        try await withVenue {
            $0.logPath = log
        } _: { client async throws in
            #expect(try await status(client, "woke") == "FINISHED")
            #expect(try await status(client, "all") == "NEW")
            #expect(try await client.position("BTCUSDT").quantity == dec("2"))
            await client.price(market, "90", "50")
            let ended = try await client.send(.GET, path, "symbol=BTCUSDT&clientAlgoId=all")
            #expect(ended["algoStatus"] == "FINISHED")
            let child = try await client.send(
                .GET,
                "/fapi/v1/order",
                "symbol=BTCUSDT&orderId=\(ended["actualOrderId"] ?? "")",
            )
            #expect(child["status"] == "FILLED" && child["executedQty"] == "2")
            #expect(try await client.position("BTCUSDT").quantity.isZero)
        }
        removeText(log)
    }

    @Test func `a trailing stop remembers over a restart what it has reached`() async throws {
        let log = temporaryPath("venue.jsonl")
        try await withVenue {
            $0.logPath = log
        } _: { client async throws in
            await client.price(market, "100", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1")
            _ = try await algo(
                client,
                "side=SELL&type=TRAILING_STOP_MARKET&quantity=1&callbackRate=5&clientAlgoId=trails",
            )
            for price in ["104", "99"] { await client.price(market, price, "50") }
        }
        try await withVenue {
            $0.logPath = log
        } _: { client async throws in
            await client.price(market, "98.9", "50")
            #expect(try await status(client, "trails") == "NEW")
            await client.price(market, "98.8", "50")
            #expect(try await status(client, "trails") == "FINISHED")
            #expect(try await client.position("BTCUSDT").quantity.isZero)
        }
        removeText(log)
    }

    @Test func `nothing to close expires it, a position that the venue refuses to open rejects it`() async throws {
        try await withVenue { client async throws in
            await client.price(market, "100", "50")
            _ = try await algo(
                client,
                "side=SELL&type=STOP_MARKET&triggerPrice=95&closePosition=true&clientAlgoId=none",
            )
            _ = try await algo(
                client,
                "side=SELL&type=STOP_MARKET&quantity=1&reduceOnly=true&triggerPrice=95&clientAlgoId=reduce",
            )
            await client.price(market, "95", "50")
            #expect(try await status(client, "none") == "EXPIRED")
            #expect(try await status(client, "reduce") == "REJECTED")
        }
    }
}
