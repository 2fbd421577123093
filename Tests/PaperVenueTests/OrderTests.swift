// Orders over real sockets: answers, fills, balances, positions.

import JSONText
import SmartOrders
import Testing

@Suite struct OrderTests {
    @Test func `a market order fills at the fed price and pays its fee in the coin received`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "5")
            let answer = try await client.spot("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&newClientOrderId=a1")
            #expect(answer.status == 200)
            #expect(answer["status"] == "FILLED")
            #expect(answer["executedQty"] == "1")
            #expect(answer["cummulativeQuoteQty"] == "100")
            let btc = try await client.balance("BTC")
            let usdt = try await client.balance("USDT")
            #expect(btc.free == dec("10.998"))
            #expect(usdt.free == dec("99900"))
            let trades = try await client.send(.GET, "/api/v3/myTrades", "symbol=BTCUSDT")
            guard case .array(let entries) = trades.json else { return }
            #expect(entries.count == 1)
            #expect(entries.first?["commission"]?.text == "0.002")
            #expect(entries.first?["commissionAsset"]?.text == "BTC")
        }
    }

    @Test func `several orders in one request are each judged for themselves`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            func order(_ name: String, _ quantity: String) -> String {
                #"{"symbol":"BTCUSDT","side":"BUY","type":"MARKET","quantity":"\#(quantity)","#
                    + #""newClientOrderId":"\#(name)","newOrderRespType":"RESULT"}"#
            }
            func send(_ orders: [String]) async throws -> Answer {
                let list = "[" + orders.joined(separator: ",") + "]"
                return try await client.send(.POST, "/fapi/v1/batchOrders", "batchOrders=\(list)")
            }
            try await client.control(#"{"rules":[{"do":"reject","on":"place","clientOrderId":"b3","times":1}]}"#)
            let answer = try await send([
                order("b1", "1"), order("b2", "0.0000000001"), order("b3", "1"), order("b4", "2"),
            ])
            #expect(answer.status == 200)
            guard case .array(let told) = answer.json, told.count == 4 else {
                Issue.record("\(answer.json)")
                return
            }
            #expect(told[0]["clientOrderId"]?.text == "b1" && told[0]["status"]?.text == "FILLED")
            #expect(told[1]["code"] != nil && told[1]["status"] == nil)
            #expect(told[2]["code"]?.int64 == -2010)
            #expect(told[3]["clientOrderId"]?.text == "b4" && told[3]["executedQty"]?.text == "2")
            #expect(try await client.position("BTCUSDT").quantity == ExactDecimal(3))
            // Nothing of it when it is no list, or too long.
            #expect(try await client.send(.POST, "/fapi/v1/batchOrders", "batchOrders=x").status == 400)
            #expect(try await send((0..<6).map { order("c\($0)", "1") }).status == 400)
            #expect(try await client.position("BTCUSDT").quantity == ExactDecimal(3))
            // What takes the answer of one takes that of all.
            try await client.control(#"{"rules":[{"do":"errorAfter","on":"place","clientOrderId":"d2","times":1}]}"#)
            #expect(try await send([order("d1", "1"), order("d2", "1")]).status == 503)
            #expect(try await client.position("BTCUSDT").quantity == ExactDecimal(5))
        }
    }

    @Test func `a limit order rests, fills in part at its own price, and is cancelled with what is left`() async throws
    {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "5")
            let placed = try await client.spot(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=2&price=90&newClientOrderId=r1"
            )
            #expect(placed["status"] == "NEW")
            #expect(try await client.balance("USDT").locked == ExactDecimal(180))
            await client.price("paper:spot:BTCUSDT", "89", "0.5")
            let seen = try await client.send(.GET, "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=r1")
            #expect(seen["status"] == "PARTIALLY_FILLED")
            #expect(seen["executedQty"] == "0.5")
            #expect(seen["cummulativeQuoteQty"] == "45")
            let open = try await client.send(.GET, "/api/v3/openOrders", "symbol=BTCUSDT")
            if case .array(let entries) = open.json { #expect(entries.count == 1) }
            let cancelled = try await client.send(
                .DELETE,
                "/api/v3/order",
                "symbol=BTCUSDT&origClientOrderId=r1&newClientOrderId=c1",
            )
            #expect(cancelled["status"] == "CANCELED")
            #expect(cancelled["origClientOrderId"] == "r1")
            #expect(cancelled["clientOrderId"] == "c1")
            #expect(cancelled["executedQty"] == "0.5")
            let usdt = try await client.balance("USDT")
            #expect(usdt.locked == .zero)
            #expect(usdt.free == ExactDecimal(99955))
            // Maker: 0.1 percent of the 0.5 received.
            #expect(try await client.balance("BTC").free == dec("10.4995"))
            let again = try await client.send(.DELETE, "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=r1")
            #expect(again.code == -2011)
        }
    }

    @Test func `an IOC takes what is there and its rest expires`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "0.4")
            let part = try await client.linear(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&quantity=1&price=101&newClientOrderId=i1"
            )
            #expect(part["status"] == "EXPIRED")
            #expect(part["executedQty"] == "0.4")
            #expect(part["avgPrice"] == "100")
            // The quantity of this price is used up.
            let none = try await client.linear(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&quantity=1&price=101&newClientOrderId=i2"
            )
            #expect(none["status"] == "EXPIRED")
            #expect(none["executedQty"] == "0")
            #expect(try await client.position("BTCUSDT").quantity == dec("0.4"))
        }
    }

    @Test func `a fill or kill order fills whole or not at all`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "0.4")
            let killed = try await client.spot(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=FOK&quantity=1&price=101"
            )
            #expect(killed["status"] == "EXPIRED")
            #expect(killed["executedQty"] == "0")
            let filled = try await client.spot(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=FOK&quantity=0.4&price=101"
            )
            #expect(filled["status"] == "FILLED")
        }
    }

    @Test func `the wallet of a linear account follows realized profit and fees`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=10")
            #expect(try await client.wallet() == dec("99999.5"))
            await client.price("paper:linear:BTCUSDT", "105", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=10")
            #expect(try await client.position("BTCUSDT").entry == dec("102.5"))
            await client.price("paper:linear:BTCUSDT", "104", "50")
            let closing = try await client.linear("symbol=BTCUSDT&side=SELL&type=MARKET&quantity=5&reduceOnly=true")
            #expect(closing["status"] == "FILLED")
            // Profit 5 x 1.5; fees 0.5 + 0.525 + 0.26.
            #expect(try await client.wallet() == dec("100000") + dec("7.5") - dec("1.285"))
            // Through zero: 15 are closed, 5 opened short.
            try await client.linear("symbol=BTCUSDT&side=SELL&type=MARKET&quantity=20")
            let position = try await client.position("BTCUSDT")
            #expect(position.quantity == ExactDecimal(-5))
            #expect(position.entry == ExactDecimal(104))
        }
    }

    @Test func `a reduce-only order larger than the position is cut to it`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=2")
            let exit = try await client.linear(
                "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=IOC&quantity=5&price=95&reduceOnly=true"
            )
            #expect(exit["executedQty"] == "2")
            #expect(exit["status"] == "EXPIRED")
            #expect(try await client.position("BTCUSDT").quantity == .zero)
            let more = try await client.linear("symbol=BTCUSDT&side=SELL&type=MARKET&quantity=1&reduceOnly=true")
            #expect(more.code == -2022)
        }
    }

    @Test func `resting reduce-only orders end when their position is gone`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=2")
            for id in ["t1", "t2"] {
                let target = try await client.linear(
                    "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=2&price=105&reduceOnly=true"
                        + "&newClientOrderId=\(id)"
                )
                #expect(target["status"] == "NEW")
            }
            await client.price("paper:linear:BTCUSDT", "106", "1")
            #expect(try await client.position("BTCUSDT").quantity == ExactDecimal(1))
            await client.price("paper:linear:BTCUSDT", "106", "10")
            #expect(try await client.position("BTCUSDT").quantity == .zero)
            let first = try await client.send(.GET, "/fapi/v1/order", "symbol=BTCUSDT&origClientOrderId=t1")
            let second = try await client.send(.GET, "/fapi/v1/order", "symbol=BTCUSDT&origClientOrderId=t2")
            #expect(first["status"] == "FILLED")
            #expect(second["status"] == "EXPIRED")
            #expect(second["executedQty"] == "0")
        }
    }
}
