// Two-sided positions, self-trade prevention, leverage, sizes in quote, catalogue.

import JSONText
import PaperVenue
import SmartOrders
import Testing

@Suite struct AccountModeTests {
    @Test func `a two-sided account holds a long and a short at once and closes each by its other side`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            let mode = try await client.send(.POST, "/fapi/v1/positionSide/dual", "dualSidePosition=true")
            #expect(mode.status == 200)
            let market = "symbol=BTCUSDT&type=MARKET"
            #expect(try await client.linear("\(market)&side=BUY&quantity=1").code == -4061)
            #expect(try await client.linear("\(market)&side=BUY&quantity=3&positionSide=LONG")["status"] == "FILLED")
            #expect(try await client.linear("\(market)&side=SELL&quantity=2&positionSide=SHORT")["status"] == "FILLED")
            let flagged = try await client.linear("\(market)&side=SELL&quantity=1&positionSide=LONG&reduceOnly=true")
            #expect(flagged.code == -1106)
            #expect(try await client.linear("\(market)&side=SELL&quantity=9&positionSide=LONG")["executedQty"] == "3")
            #expect(try await client.linear("\(market)&side=SELL&quantity=1&positionSide=LONG").code == -2022)
            let positions = try await client.send(.GET, "/fapi/v3/positionRisk", "symbol=BTCUSDT")
            guard case .array(let entries) = positions.json else { return }
            #expect(entries.map { $0["positionSide"]?.text } == ["SHORT"])
            #expect(entries.first?["positionAmt"]?.text == "-2")
            let back = try await client.send(.POST, "/fapi/v1/positionSide/dual", "dualSidePosition=false")
            #expect(back.code == -4068)
        }
    }

    struct Row: Sendable {
        let mode: String
        let maker: String
        let taker: String
    }

    @Test(arguments: [
        Row(mode: "EXPIRE_MAKER", maker: "EXPIRED_IN_MATCH", taker: "NEW"),
        Row(mode: "EXPIRE_TAKER", maker: "NEW", taker: "EXPIRED_IN_MATCH"),
        Row(mode: "EXPIRE_BOTH", maker: "EXPIRED_IN_MATCH", taker: "EXPIRED_IN_MATCH"),
        Row(mode: "NONE", maker: "NEW", taker: "NEW"),
    ])
    func `own orders that would meet end by the taker's mode`(_ row: Row) async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "0")
            let gtc = "symbol=BTCUSDT&type=LIMIT&timeInForce=GTC&quantity=1"
            try await client.linear("\(gtc)&side=SELL&price=99&newClientOrderId=maker")
            let taker = try await client.linear(
                "\(gtc)&side=BUY&price=99.5&newClientOrderId=taker&selfTradePreventionMode=\(row.mode)"
            )
            #expect(taker["status"] == row.taker)
            let maker = try await client.send(.GET, "/fapi/v1/order", "symbol=BTCUSDT&origClientOrderId=maker")
            #expect(maker["status"] == row.maker)
        }
    }

    @Test func `a spot market order can be sized in quote`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "30", "50")
            let answer = try await client.spot("symbol=BTCUSDT&side=BUY&type=MARKET&quoteOrderQty=100")
            #expect(answer["executedQty"] == "3.3333")
        }
    }

    @Test func `cancel all ends the open orders of one market only`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            await client.price("paper:linear:BTCUSDT", "100", "50")
            let rest = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=95"
            for _ in 0..<3 {
                try await client.spot(rest)
                try await client.linear(rest)
            }
            let all = try await client.send(.DELETE, "/api/v3/openOrders", "symbol=BTCUSDT")
            guard case .array(let ended) = all.json else { return }
            #expect(ended.count == 3)
            #expect(try await client.send(.DELETE, "/api/v3/openOrders", "symbol=BTCUSDT").code == -2011)
            guard case .array(let left) = try await client.send(.GET, "/fapi/v1/openOrders").json else { return }
            #expect(left.count == 3)
            #expect(try await client.send(.DELETE, "/fapi/v1/allOpenOrders", "symbol=BTCUSDT")["code"] == "200")
            #expect(try await client.balance("USDT").locked == .zero)
        }
    }

    @Test func `the catalogue carries the filters that orders are checked against`() async throws {
        try await withVenue { client async throws in
            for (path, band) in [("/api/v3", "PERCENT_PRICE_BY_SIDE"), ("/fapi/v1", "PERCENT_PRICE")] {
                let info = try await client.raw(.GET, "\(path)/exchangeInfo", key: nil)
                guard case .array(let symbols)? = info.json["symbols"],
                    case .array(let filters)? = symbols[0]["filters"]
                else { return }
                #expect(symbols.count == 1 && symbols[0]["status"]?.text == "TRADING")
                let names = filters.map { $0["filterType"]?.text ?? "" }
                #expect(names.contains(band) && names.contains("LOT_SIZE") && names.contains("PRICE_FILTER"))
            }
        }
    }

    @Test func `a configuration file with a mistake is refused`() {
        let good =
            #"{"port":0,"markets":[{"product":"spot","symbol":"A","base":"A","quote":"B","tickSize":"1","stepSize":"1","liquidity":"tick"}],"clientIds":"forever"}"#
        #expect(throws: Never.self) {
            let configuration = try PaperVenueConfiguration(json: Array(good.utf8))
            #expect(configuration.markets[0].liquidity == .tick && configuration.clientIDs == .forever)
        }
        for bad in [
            "{", #"{"ports":1}"#, good.replacing("forever", with: "often"), good.replacing(#""1""#, with: "0"),
        ] {
            #expect(throws: JSONError.self) { try PaperVenueConfiguration(json: Array(bad.utf8)) }
        }
    }
}
