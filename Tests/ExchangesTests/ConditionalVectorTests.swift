// Requests for conditional orders against published vectors (the form of RequestVectorTests.swift).
//
// Ours differ on purpose: an exit adds selfTradePreventionMode, a list asks for RESULT, a stop on the mark price adds
// workingType (the venue's default is the last price), spot's take-profit ids are not those of the list.

import Crypto
import OrderEngine
import SmartOrders
import Testing

@testable import Exchanges

private let clientID = "so7f3a9c2e41b04d5f8a6c1e9d02"
private let clock = Timestamp(milliseconds: 1_700_000_000_000)

private func requests(_ product: BinanceProduct, isHedged: Bool = false) -> BinanceRequests {
    BinanceRequests(
        product: product,
        base: "https://venue",
        credentials: Credentials(key: "key", secret: "secretsecret"),
        isHedged: isHedged,
    )
}

private struct Wish {
    var side = Side.sell
    var type: VenueOrderType
    var limit: String?
    var trigger: String?
    var callback: Callback?
    var source = TriggerSource.last
    var closes = false
    var isExit = false
    var id = clientID

    func placement(_ product: BinanceProduct) -> Placement {
        Placement(
            market: MarketID(venue: "binance", product: product.rawValue, symbol: "BTCUSDT"),
            clientOrderID: id,
            side: side,
            type: type,
            quantity: Quantity(dec("0.01")),
            limit: limit.map { Price(dec($0)) },
            trigger: trigger.map { Price(dec($0)) },
            callback: callback,
            triggerSource: source,
            closesPosition: closes,
            reduceOnly: true,
            isExit: isExit,
            t0: clock,
            windowMs: 10_000,
        )
    }
}

private func parameters(_ text: String) -> [String: String] {
    var found: [String: String] = [:]
    for pair in text.split(separator: "&") {
        let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
        found[parts[0]] = parts.count > 1 ? parts[1] : ""
    }
    return found
}

/// What is signed, less the signature; the signature itself is checked against the published one.
private func signature(of text: String) -> String {
    let key = SymmetricKey(data: Array("secretsecret".utf8))
    return BinanceRequests.hexadecimal(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: key))
}

@Suite struct ConditionalVectorTests {
    struct Row: Sendable {
        let id: String
        let type: VenueOrderType
        var limit: String?
        var trigger: String?
        var closes = false
        /// As published, between symbol and window, and its signature.
        let example: String
        let signature: String
    }

    private static let named = "side=SELL&clientAlgoId=so7f3a9c2e41b04d5f8a6c1e9d02&newOrderRespType=RESULT"

    static let rows = [
        Row(
            id: "stop market",
            type: .stopMarket,
            trigger: "55000",
            example: named + "&type=STOP_MARKET&quantity=0.01&triggerPrice=55000&reduceOnly=true&algoType=CONDITIONAL",
            signature: "a170705a318519b0d3075d9e64a60bab515397b3bf7f307cef24cd3390f2002a",
        ),
        Row(
            id: "stop limit",
            type: .stopLimit,
            limit: "54900",
            trigger: "55000",
            example: named
                + "&type=STOP&quantity=0.01&price=54900&triggerPrice=55000&reduceOnly=true&algoType=CONDITIONAL",
            signature: "e4c9830437bba43e14e5eede005612fce499ce9ebfe2330356aab617eb3088f2",
        ),
        Row(
            id: "take-profit market",
            type: .takeProfitMarket,
            trigger: "70000",
            example: named
                + "&type=TAKE_PROFIT_MARKET&quantity=0.01&triggerPrice=70000&reduceOnly=true&algoType=CONDITIONAL",
            signature: "f5c71d19ffd007bf49f9052eede6386aa3abf627e1865a85964114c72c27ec36",
        ),
        Row(
            id: "close position",
            type: .stopMarket,
            trigger: "55000",
            closes: true,
            example: named + "&type=STOP_MARKET&triggerPrice=55000&closePosition=true&algoType=CONDITIONAL",
            signature: "2d9fd39a051178e9126e755d4784cf3a10a82f39a8616fa42e2390dc67fd07de",
        ),
    ]

    @Test(arguments: rows)
    func `an algo order has the parameters of its vector`(_ row: Row) {
        let wish = Wish(type: row.type, limit: row.limit, trigger: row.trigger, closes: row.closes)
        let request = requests(.linear).place(wish.placement(.linear))
        #expect(request.method == .post && request.path == "/fapi/v1/algoOrder" && request.query.isEmpty)
        let text = "timestamp=1700000000000&symbol=BTCUSDT&\(row.example)&recvWindow=10000"
        var found = parameters(request.body)
        let signed = found.removeValue(forKey: "signature")
        #expect(found == parameters(text), "\(row.id)")
        #expect(signature(of: text) == row.signature, "\(row.id)")
        #expect(request.body.hasSuffix("&signature=\(signed ?? "")"))
    }

    @Test func `an algo order is cancelled and asked for by our id`() {
        for method in [SignedRequest.Method.delete, .get] {
            let request = requests(.linear).algo(
                method,
                symbol: "BTCUSDT",
                clientOrderID: clientID,
                at: clock,
                windowMs: 10_000,
            )
            #expect(request.method == method && request.path == "/fapi/v1/algoOrder" && request.body.isEmpty)
            var found = parameters(request.query)
            found["signature"] = nil
            let text =
                "timestamp=1700000000000&symbol=BTCUSDT&clientAlgoId=so7f3a9c2e41b04d5f8a6c1e9d02&recvWindow=10000"
            #expect(found == parameters(text))
            #expect(signature(of: text) == "cc7a2c60a0316125877977aafd68bca113fbaea17661b7695b82386d88e1ac2c")
        }
    }

    @Test func `a stop on the mark price says so; an exit expires the maker; two sides are named`() {
        let wish = Wish(type: .stopMarket, trigger: "1", source: .mark, closes: true, isExit: true)
        let oneWay = parameters(requests(.linear).place(wish.placement(.linear)).body)
        #expect(oneWay["workingType"] == "MARK_PRICE" && oneWay["selfTradePreventionMode"] == "EXPIRE_MAKER")
        #expect(oneWay["reduceOnly"] == nil && oneWay["positionSide"] == nil && oneWay["quantity"] == nil)
        let hedged = parameters(requests(.linear, isHedged: true).place(wish.placement(.linear)).body)
        #expect(hedged["positionSide"] == "LONG")
    }

    @Test func `a trailing stop's rate is a percentage on futures and basis points on spot`() {
        var wish = Wish(type: .trailingStop, callback: .rate(Rate(dec("0.02"))))
        let algo = parameters(requests(.linear).place(wish.placement(.linear)).body)
        #expect(algo["type"] == "TRAILING_STOP_MARKET" && algo["callbackRate"].map(dec) == dec("2"))
        #expect(algo["triggerPrice"] == nil && algo["activatePrice"] == nil)
        wish.trigger = "60000"
        #expect(parameters(requests(.linear).place(wish.placement(.linear)).body)["activatePrice"] == "60000")
        wish = Wish(type: .trailingStop, limit: "54000", callback: .rate(Rate(dec("0.02"))))
        var spot = parameters(requests(.spot).place(wish.placement(.spot)).body)
        spot["signature"] = nil
        let text =
            "timestamp=1700000000000&symbol=BTCUSDT&side=SELL&trailingDelta=200"
            + "&newClientOrderId=so7f3a9c2e41b04d5f8a6c1e9d02&newOrderRespType=FULL&type=STOP_LOSS_LIMIT&quantity=0.01"
            + "&price=54000&timeInForce=GTC&recvWindow=10000"
        #expect(spot == parameters(text))
        #expect(signature(of: text) == "457bccaff4916ba9e82ffbc4415acc528606b46ebdc4b25a682ab4f751932fe2")
    }

    @Test func `an order list has the parameters of its vector, and three ids`() {
        let target = Wish(type: .goodTillCancelled, limit: "70000", id: "so-target").placement(.spot)
        let stop = Wish(type: .stopLimit, limit: "54900", trigger: "55000", id: "so-stop").placement(.spot)
        let request = requests(.spot).placeList(target, stop)
        #expect(request.method == .post && request.path == "/api/v3/orderList/oco")
        var found = parameters(request.body)
        for (name, value) in [
            ("newOrderRespType", "RESULT"), ("selfTradePreventionMode", "EXPIRE_MAKER"),
            ("listClientOrderId", "oc-target"), ("aboveClientOrderId", "so-target"), ("belowClientOrderId", "so-stop"),
        ] {
            #expect(found.removeValue(forKey: name) == value)
        }
        found["signature"] = nil
        #expect(
            found
                == parameters(
                    "timestamp=1700000000000&symbol=BTCUSDT&side=SELL&quantity=0.01&aboveType=LIMIT_MAKER"
                        + "&abovePrice=70000&belowType=STOP_LOSS_LIMIT&belowStopPrice=55000&belowPrice=54900"
                        + "&belowTimeInForce=GTC&recvWindow=10000"
                )
        )
        let short = parameters(
            requests(.spot).placeList(
                Wish(side: .buy, type: .goodTillCancelled, limit: "50000", id: "so-target").placement(.spot),
                Wish(side: .buy, type: .stopLimit, limit: "66000", trigger: "60000", id: "so-stop").placement(.spot),
            ).body
        )
        #expect(short["belowType"] == "LIMIT_MAKER" && short["aboveType"] == "STOP_LOSS_LIMIT")
        #expect(short["aboveStopPrice"] == "60000" && short["belowClientOrderId"] == "so-target")
    }

    @Test func `a sleeping algo order is read, and one that became an order points to it`() throws {
        let sample = """
            {"algoId":123456789,"clientAlgoId":"test-algo-order-1","algoType":"CONDITIONAL","type":"STOP_MARKET",
             "symbol":"BTCUSDT","side":"BUY","positionSide":"BOTH","timeInForce":"GTC","quantity":"0.001",
             "algoStatus":"NEW","triggerPrice":"45000.00","workingType":"MARK_PRICE","reduceOnly":false,
             "createTime":1625474304765,"updateTime":1625474304765}
            """
        guard case .sleeping(let snapshot) = try BinanceAnswers.algo(Array(sample.utf8)) else {
            Issue.record("not sleeping")
            return
        }
        #expect(snapshot.venueOrderID == "123456789" && snapshot.clientOrderID == "test-algo-order-1")
        #expect(snapshot.state == .open && snapshot.filled == .zero && !snapshot.isTriggered)
        let awake = sample.replacing(
            "\"algoStatus\":\"NEW\"",
            with: "\"algoStatus\":\"FINISHED\",\"actualOrderId\":\"77\"",
        )
        guard case .became("77") = try BinanceAnswers.algo(Array(awake.utf8)) else {
            Issue.record("not awake")
            return
        }
    }
}
