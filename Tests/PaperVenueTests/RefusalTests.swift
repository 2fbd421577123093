// Every code that the venue refuses with, over real sockets, on the request that earns it.

import JSONText
import PaperVenue
import SmartOrders
import Testing

struct RefusedOrder: Sendable, CustomTestStringConvertible {
    let path: String
    let parameters: String
    let code: Int
    var message = ""

    var testDescription: String { "\(code) \(parameters)" }
}

private let spot = "/api/v3/order"
private let linear = "/fapi/v1/order"
private let limit = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC"

@Suite struct RefusalTests {
    static let orders: [RefusedOrder] = [
        RefusedOrder(path: spot, parameters: "side=BUY&type=MARKET&quantity=1", code: -1102),
        RefusedOrder(path: spot, parameters: "symbol=NOPE&side=BUY&type=MARKET&quantity=1", code: -1121),
        RefusedOrder(path: spot, parameters: "symbol=BTCUSDT&side=LEFT&type=MARKET&quantity=1", code: -1117),
        RefusedOrder(path: spot, parameters: "symbol=BTCUSDT&side=BUY&type=WISH&quantity=1", code: -1116),
        RefusedOrder(path: spot, parameters: "symbol=BTCUSDT&side=BUY&type=MARKET", code: -1102),
        RefusedOrder(path: spot, parameters: "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&price=1", code: -1106),
        RefusedOrder(path: spot, parameters: "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1e2", code: -1100),
        RefusedOrder(
            path: spot,
            parameters: "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&newClientOrderId=a%20b",
            code: -1100,
        ),
        RefusedOrder(
            path: spot,
            parameters: "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&reduceOnly=true",
            code: -1104,
        ),
        RefusedOrder(
            path: spot,
            parameters: "\(limit)&quantity=1&price=100".replacing("GTC", with: "GTX"),
            code: -1115,
        ),
        RefusedOrder(path: spot, parameters: "\(limit)&quantity=1", code: -1102),
        RefusedOrder(path: spot, parameters: "\(limit)&quantity=1.123456789&price=100", code: -1111),
        RefusedOrder(
            path: spot,
            parameters: "\(limit)&quantity=1&price=100.001",
            code: -1013,
            message: "PRICE_FILTER",
        ),
        RefusedOrder(path: spot, parameters: "\(limit)&quantity=1&price=0", code: -1013, message: "PRICE_FILTER"),
        RefusedOrder(path: spot, parameters: "\(limit)&quantity=1.00001&price=100", code: -1013, message: "LOT_SIZE"),
        RefusedOrder(path: spot, parameters: "\(limit)&quantity=0&price=100", code: -1013, message: "LOT_SIZE"),
        RefusedOrder(
            path: spot,
            parameters: "\(limit)&quantity=1&price=201",
            code: -1013,
            message: "PERCENT_PRICE_BY_SIDE",
        ),
        RefusedOrder(
            path: spot,
            parameters: "\(limit)&quantity=1&price=49",
            code: -1013,
            message: "PERCENT_PRICE_BY_SIDE",
        ),
        RefusedOrder(path: spot, parameters: "\(limit)&quantity=0.01&price=100", code: -1013, message: "NOTIONAL"),
        RefusedOrder(
            path: spot,
            parameters: "\(limit)&quantity=2000&price=100",
            code: -2010,
            message: "Account has insufficient balance for requested action.",
        ),
        RefusedOrder(
            path: spot,
            parameters: "symbol=BTCUSDT&side=SELL&type=MARKET&quantity=11",
            code: -2010,
            message: "Account has insufficient balance for requested action.",
        ),
        RefusedOrder(
            path: spot,
            parameters: "symbol=BTCUSDT&side=BUY&type=LIMIT_MAKER&quantity=1&price=101",
            code: -2010,
            message: "Order would immediately match and take.",
        ),
        RefusedOrder(
            path: spot,
            parameters: "symbol=BTCUSDT&side=SELL&type=STOP_LOSS&quantity=1&stopPrice=90",
            code: -1013,
            message: "Stop loss orders are not supported for this symbol.",
        ),
        RefusedOrder(path: linear, parameters: "symbol=BTCUSDT&side=SELL&type=STOP_MARKET&stopPrice=9", code: -4120),
        RefusedOrder(path: linear, parameters: "\(limit)&quantity=1.0001&price=100", code: -1111),
        RefusedOrder(path: linear, parameters: "\(limit)&quantity=1&price=100.01", code: -1111),
        RefusedOrder(path: linear, parameters: "\(limit)&quantity=1001&price=100", code: -1013, message: "LOT_SIZE"),
        RefusedOrder(
            path: linear,
            parameters: "\(limit)&quantity=1&price=110.1",
            code: -1013,
            message: "PERCENT_PRICE",
        ),
        RefusedOrder(
            path: linear,
            parameters: "\(limit)&quantity=0.01&price=100",
            code: -1013,
            message: "MIN_NOTIONAL",
        ),
        RefusedOrder(
            path: linear,
            parameters: "\(limit)&quantity=1&price=100".replacing("GTC", with: "GTX"),
            code: -5022,
        ),
        RefusedOrder(path: linear, parameters: "\(limit)&quantity=1&price=100&reduceOnly=true", code: -2022),
        RefusedOrder(path: linear, parameters: "\(limit)&quantity=1&price=100&positionSide=LONG", code: -4061),
        RefusedOrder(path: linear, parameters: "\(limit)&quantity=1&price=100&newOrderRespType=FULL", code: -1130),
        RefusedOrder(
            path: linear,
            parameters: "\(limit)&quantity=1&price=100&selfTradePreventionMode=SOME",
            code: -1130,
        ),
    ]

    @Test func `each bad order gets the code that it earns and changes nothing`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            await client.price("paper:linear:BTCUSDT", "100", "50")
            for order in Self.orders {
                let answer = try await client.send(.POST, order.path, order.parameters)
                #expect(answer.code == order.code, "\(order.parameters): \(answer.message)")
                #expect(answer.status == 400, "\(order.parameters)")
                #expect(answer.message.contains(order.message), "\(order.parameters): \(answer.message)")
            }
            let usdt = try await client.balance("USDT")
            #expect(usdt.free == ExactDecimal(100_000) && usdt.locked == .zero)
            #expect(try await client.wallet() == ExactDecimal(100_000))
            let open = try await client.send(.GET, "/fapi/v1/openOrders")
            #expect(open.json == [])
        }
    }

    @Test func `margin, halted markets and full books are refused in their own words`() async throws {
        try await withVenue { configuration in
            configuration.markets[1].maxOpenOrders = 1
            configuration.leverage = 1
        } _: { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "5000")
            let big = try await client.linear(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1000&price=101"
            )
            #expect(big.code == -2019)
            let first = try await client.linear(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=95"
            )
            #expect(first["status"] == "NEW")
            let second = try await client.linear(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=95"
            )
            #expect(second.code == -1013 && second.message.contains("MAX_NUM_ORDERS"))
            try await client.control(#"{"markets":[{"market":"paper:linear:BTCUSDT","trading":false}]}"#)
            let halted = try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1")
            #expect(halted.code == -1013 && halted.message == "Market is closed.")
        }
    }

    @Test func `linear filters can answer with the venue's own codes`() async throws {
        let rows: [(parameters: String, code: Int)] = [
            ("quantity=1&price=110.1", -4016), ("quantity=0&price=100", -4003), ("quantity=1001&price=100", -4005),
            ("quantity=0.01&price=100", -4164),
        ]
        try await withVenue {
            $0.filterCodes = .native
        } _: { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            for row in rows {
                #expect(try await client.linear("\(limit)&\(row.parameters)").code == row.code, "\(row.parameters)")
            }
            let low = try await client.linear(
                "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=IOC&quantity=1&price=89"
            )
            #expect(low.code == -4024)
        }
    }

    @Test func `reduce-only orders beyond the position can be refused`() async throws {
        try await withVenue {
            $0.reduceOnly = .refuse
        } _: { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "50")
            try await client.linear("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=2")
            let sell = "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&reduceOnly=true&price=105"
            #expect(try await client.linear("\(sell)&quantity=1.5")["status"] == "NEW")
            #expect(try await client.linear("\(sell)&quantity=1").code == -4118)
            #expect(try await client.linear("\(sell)&quantity=0.5")["status"] == "NEW")
        }
    }

    @Test func `unknown orders are -2013 to a query and -2011 to a cancel`() async throws {
        try await withVenue { client async throws in
            for path in [spot, linear] {
                #expect(try await client.send(.GET, path, "symbol=BTCUSDT&origClientOrderId=x").code == -2013)
                #expect(try await client.send(.GET, path, "symbol=BTCUSDT&orderId=77").code == -2013)
                #expect(try await client.send(.DELETE, path, "symbol=BTCUSDT&origClientOrderId=x").code == -2011)
                #expect(try await client.send(.GET, path, "symbol=BTCUSDT").code == -1102)
            }
        }
    }

    @Test func `an order of another account is not found`() async throws {
        try await withVenue {
            $0.defaultSecret = "demo-secret"
        } _: { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            let mine = try await client.spot("\(limit)&quantity=1&price=90&newClientOrderId=mine")
            var other = client
            other.key = "somebody"
            let id = mine["orderId"] ?? ""
            #expect(try await other.send(.GET, spot, "symbol=BTCUSDT&orderId=\(id)").code == -2013)
            #expect(try await other.send(.DELETE, spot, "symbol=BTCUSDT&origClientOrderId=mine").code == -2011)
            #expect(try await other.balance("USDT").free == ExactDecimal(100_000))
        }
    }

    @Test func `paths that the venue does not have are 404`() async throws {
        try await withVenue { client async throws in
            #expect(try await client.raw(.GET, "/api/v3/nothing", key: nil).status == 404)
            #expect(try await client.raw(.GET, "/", key: nil).status == 404)
        }
    }
}

@Suite struct ClientIDTests {
    private let resting = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=95&newClientOrderId=id1"
    private let taking = "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&newClientOrderId=id1"

    @Test func `an id is refused while its order is open and taken again after the fill`() async throws {
        try await withVenue { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            await client.price("paper:linear:BTCUSDT", "100", "50")
            #expect(try await client.spot(resting)["status"] == "NEW")
            let again = try await client.spot(resting)
            #expect(again.code == -2010 && again.message == "Duplicate order sent.")
            #expect(try await client.linear(resting)["status"] == "NEW")
            #expect(try await client.linear(resting).code == -4116)
            await client.price("paper:spot:BTCUSDT", "94", "50")
            let second = try await client.spot(taking)
            #expect(second["status"] == "FILLED")
            // The query tells of the latest.
            let seen = try await client.send(.GET, "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=id1")
            #expect(seen["orderId"] == second["orderId"])
        }
    }

    @Test func `ids can be unique for ever, or not at all`() async throws {
        try await withVenue {
            $0.clientIDs = .forever
        } _: { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            #expect(try await client.spot(taking)["status"] == "FILLED")
            #expect(try await client.spot(taking).code == -2010)
            try await client.control(#"{"clientIds":"notEnforced"}"#)
            #expect(try await client.spot(resting)["status"] == "NEW")
            #expect(try await client.spot(resting)["status"] == "NEW")
        }
    }
}
