// Answers of Binance as it writes them: classes of errors, orders, executions, holdings.

import OrderEngine
import SmartOrders
import Testing

@testable import Exchanges

@Suite struct AnswerTests {
    struct Row: Sendable {
        let product: BinanceProduct
        let status: Int
        let body: String
        let expected: VenueErrorClass

        init(_ product: BinanceProduct, _ status: Int, _ body: String, _ expected: VenueErrorClass) {
            self.product = product
            self.status = status
            self.body = body
            self.expected = expected
        }

        init(_ product: BinanceProduct, _ code: Int, _ text: String = "text", status: Int = 400, is: VenueErrorClass) {
            self.init(product, status, "{\"code\":\(code),\"msg\":\"\(text)\"}", `is`)
        }
    }

    /// What both products answer alike.
    private static func shared(_ product: BinanceProduct) -> [Row] {
        [
            Row(product, -2010, "Account has insufficient balance for requested action.", is: .insufficientFunds),
            Row(product, -2010, "Duplicate order sent.", is: .duplicateClientID),
            Row(product, -2010, "Order would immediately match and take.", is: .postOnlyWouldCross),
            Row(product, -2010, "Order would trigger immediately.", is: .wouldTrigger),
            Row(product, -2011, "Unknown order sent.", is: .orderNotFound),
            Row(product, -2013, is: .orderNotFound),
            Row(product, -2026, is: .orderNotFound),
            Row(product, -1021, is: .clockSkew),
            Row(product, -1022, "Signature for this request is not valid.", is: .auth),
            Row(product, -2014, status: 401, is: .auth),
            Row(product, -2015, status: 401, is: .auth),
            Row(product, -1003, is: .rateLimited),
            Row(product, -1015, "Too many new orders.", status: 429, is: .rateLimited),
            Row(product, 418, "<html>", .rateLimited),
            Row(product, 429, "", .rateLimited),
            Row(product, -1013, "Filter failure: NOTIONAL", is: .invalidSize),
            Row(product, -1013, "Filter failure: LOT_SIZE", is: .invalidSize),
            Row(product, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE", is: .priceBand),
            Row(product, -1013, "Filter failure: PERCENT_PRICE", is: .priceBand),
            Row(product, -1013, "Filter failure: MAX_NUM_ORDERS", is: .tooManyOrders),
            Row(product, -1013, "Market is closed.", is: .marketHalted),
            Row(product, -1006, is: .unknownOutcome),
            Row(product, -1007, "Timeout waiting for response from backend server.", status: 408, is: .unknownOutcome),
            Row(product, -9_999, "never heard of it", is: .other),
            Row(product, 502, "<html>Bad Gateway</html>", .unknownOutcome),
            Row(product, 503, "", .unknownOutcome),
            Row(product, 400, "{}", .unknownOutcome),
            Row(product, 403, "[]", .unknownOutcome),
            Row(product, -2010, "Account has insufficient balance", status: 500, is: .unknownOutcome),
        ]
    }

    static let rows: [Row] =
        shared(.spot) + shared(.linear) + [
            Row(.linear, -2019, is: .insufficientFunds),
            Row(.linear, -4116, "clientOrderId is duplicated.", is: .duplicateClientID),
            Row(.linear, -20_132, "clientAlgoId is duplicated.", is: .duplicateClientID),
            Row(.linear, -2022, is: .reduceOnlyRejected),
            Row(.linear, -4118, is: .reduceOnlyRejected),
            Row(.linear, -2021, "Order would immediately trigger.", is: .wouldTrigger),
            Row(.linear, -5022, is: .postOnlyWouldCross),
            Row(.linear, -4120, is: .invalidRequest),
            Row(.linear, -4016, is: .priceBand),
            Row(.linear, -4024, is: .priceBand),
            Row(.linear, -4023, is: .invalidSize),
            Row(.linear, -1008, status: 503, is: .unavailable),
            Row(.linear, -1000, "Unknown error, please check your request.", status: 503, is: .unknownOutcome),
            // On spot -2021 and -2022 are halves of a cancelReplace, the others do not exist.
            Row(.spot, -2021, is: .other),
            Row(.spot, -2022, is: .other),
            Row(.spot, -1008, status: 503, is: .unknownOutcome),
        ]

    @Test(arguments: rows)
    func `an error has the class that decides what happens`(_ row: Row) {
        let (kind, _, _) = BinanceAnswers.error(status: row.status, body: Array(row.body.utf8), product: row.product)
        #expect(kind == row.expected, "\(row.product) \(row.status) \(row.body)")
    }

    @Test func `only classes without an effect are refusals`() {
        let effects: Set<VenueErrorClass> = [.duplicateClientID, .orderNotFound, .orderDone, .unknownOutcome, .other]
        for kind in VenueErrorClass.allCases { #expect((kind.refusal == nil) == effects.contains(kind), "\(kind)") }
    }

    @Test func `a rate limit keeps the venue's code`() {
        let body = Array(#"{"code":-1015,"msg":"Too many new orders."}"#.utf8)
        #expect(BinanceAnswers.error(status: 429, body: body, product: .spot).code == "-1015")
    }

    @Test func `a resting spot order is open`() throws {
        let order = try BinanceAnswers.order(
            Array(
                #"""
                {"symbol":"LTCBTC","orderId":1,"orderListId":-1,"clientOrderId":"myOrder1","price":"0.1","origQty":"1.0",
                "executedQty":"0.0","cummulativeQuoteQty":"0.0","status":"NEW","timeInForce":"GTC","type":"LIMIT",
                "side":"BUY","stopPrice":"0.0","icebergQty":"0.0","time":1499827319559,"updateTime":1499827319559,
                "isWorking":true,"workingTime":1499827319559,"origQuoteOrderQty":"0.000000",
                "selfTradePreventionMode":"NONE"}
                """#.utf8
            ),
            product: .spot,
        )
        #expect(order.venueOrderID == "1" && order.clientOrderID == "myOrder1")
        #expect(order.state == .open && order.filled.isZero && order.fills.isEmpty)
    }

    @Test func `a full answer tells each execution with its fee`() throws {
        let order = try BinanceAnswers.order(
            Array(
                #"""
                {"symbol":"BTCUSDT","orderId":28,"orderListId":-1,"clientOrderId":"6gCrw2kRUAF9CvJDGP16IP",
                "transactTime":1507725176595,"price":"0.00000000","origQty":"10.00000000","executedQty":"10.00000000",
                "cummulativeQuoteQty":"39983.00000000","status":"FILLED","timeInForce":"GTC","type":"MARKET",
                "side":"SELL","fills":[
                {"price":"4000.00000000","qty":"1.00000000","commission":"4.00000000","commissionAsset":"USDT","tradeId":56},
                {"price":"3999.00000000","qty":"9.00000000","commission":"19.99500000","commissionAsset":"BNB","tradeId":57}
                ]}
                """#.utf8
            ),
            product: .spot,
        )
        #expect(order.state == .filled && order.filled == Quantity("10"))
        #expect(order.fills.map(\.venueFillID) == ["56", "57"])
        #expect(order.fills.map(\.price) == [Price("4000"), Price("3999")])
        #expect(order.fills.map(\.fee) == [ExactDecimal("4"), ExactDecimal("19.995")])
        #expect(order.fills.map(\.feeAsset) == [.other("USDT"), .other("BNB")])
        #expect(order.fills.map(\.time) == Array(repeating: Timestamp(milliseconds: 1_507_725_176_595), count: 2))
    }

    @Test func `a cancel report names the order by its original id`() throws {
        let order = try BinanceAnswers.order(
            Array(
                #"""
                {"symbol":"LTCBTC","origClientOrderId":"myOrder1","orderId":4,"clientOrderId":"cancelMyOrder1",
                "transactTime":1684804350068,"executedQty":"0.00000000","status":"CANCELED"}
                """#.utf8
            ),
            product: .spot,
        )
        #expect(order.clientOrderID == "myOrder1" && order.state == .cancelled)
    }

    @Test func `futures orders, executions and positions are read`() throws {
        let order = try BinanceAnswers.order(
            Array(
                #"""
                {"orderId":12345678,"symbol":"BTCUSDT","status":"PARTIALLY_FILLED","clientOrderId":"testOrder123",
                "price":"50000.00","avgPrice":"0.00","origQty":"0.002","executedQty":"0.001","time":1625474304765,
                "updateTime":1625474304765}
                """#.utf8
            ),
            product: .linear,
        )
        #expect(order.state == .open && order.filled == Quantity("0.001") && order.fills.isEmpty)
        let found = try BinanceAnswers.trades(
            Array(
                #"""
                [{"buyer":false,"commission":"-0.07819010","commissionAsset":"USDT","id":698759,"maker":true,
                "orderId":25851813,"price":"7819.01","qty":"0.002","time":1569514978020},
                {"buyer":false,"commission":"0","commissionAsset":"USDT","id":698760,"maker":true,
                "orderId":25851814,"price":"7819.01","qty":"0.003","time":1569514978020}]
                """#.utf8
            ),
            of: ["25851813", "7"],
        )
        #expect(found.keys.sorted() == ["25851813"])
        let trades = found["25851813"] ?? []
        #expect(trades.map(\.venueFillID) == ["698759"] && trades.map(\.isMaker) == [true])
        // A rebate is a negative fee.
        #expect(trades.first?.fee == ExactDecimal("-0.0781901"))
        let positions = Array(
            #"""
            [{"symbol":"ETHUSDT","positionSide":"BOTH","positionAmt":"-2.500","entryPrice":"1850.5"},
            {"symbol":"BTCUSDT","positionSide":"LONG","positionAmt":"0.050","entryPrice":"9000.0"},
            {"symbol":"BTCUSDT","positionSide":"SHORT","positionAmt":"-0.020","entryPrice":"9100.0"}]
            """#.utf8
        )
        func held(_ symbol: String, _ side: Side? = nil) throws -> ExactDecimal {
            try BinanceAnswers.position(positions, symbol: symbol, side: side).quantity
        }
        #expect(try held("ETHUSDT") == ExactDecimal("-2.5"))
        #expect(try BinanceAnswers.position(positions, symbol: "ETHUSDT", side: nil).average == Price("1850.5"))
        #expect(try held("BTCUSDT", .buy) == ExactDecimal("0.05"))
        #expect(try held("BTCUSDT", .sell) == ExactDecimal("-0.02"))
        #expect(try held("XRPUSDT") == .zero)
    }

    @Test func `spot coins held are free and locked ones`() throws {
        let body = Array(
            #"{"balances":[{"asset":"BTC","free":"1.5","locked":"0.25"},{"asset":"LTC","free":"3","locked":"0"}]}"#.utf8
        )
        let held = try BinanceAnswers.coins(body, asset: "BTC")
        #expect(held.free + held.locked == ExactDecimal("1.75"))
    }

    struct State: Sendable {
        let text: String
        let expected: VenueSnapshot.State?
    }

    @Test(arguments: [
        State(text: "NEW", expected: .open), State(text: "PENDING_NEW", expected: .open),
        State(text: "PARTIALLY_FILLED", expected: .open), State(text: "PENDING_CANCEL", expected: .open),
        State(text: "FILLED", expected: .filled), State(text: "CANCELED", expected: .cancelled),
        State(text: "EXPIRED", expected: .expired), State(text: "EXPIRED_IN_MATCH", expected: .expired),
        State(text: "REJECTED", expected: .rejected), State(text: "SOMETHING_NEW", expected: nil),
    ])
    func `a status means one state`(_ row: State) {
        #expect(BinanceAnswers.state(row.text) == row.expected)
    }
}
