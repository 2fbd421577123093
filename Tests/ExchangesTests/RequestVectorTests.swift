// Requests against published vectors. Each row is a `signed_example`: its parameters and the signature over them.
//
// What we send differs on purpose: the order of parameters is ours (free by the vectors), the window is the caller's, a
// lookup of executions asks for 1,000, an exit adds selfTradePreventionMode.

import Crypto
import JSONText
import OrderEngine
import SmartOrders
import Testing

@testable import Exchanges

private let clientID = "so7f3a9c2e41b04d5f8a6c1e9d02"
private let clock = Timestamp(milliseconds: 1_700_000_000_000)

private func requests(_ product: BinanceProduct, isHedged: Bool = false) -> BinanceRequests {
    BinanceRequests(
        product: product,
        base: product == .spot ? "https://api.binance.com" : "https://fapi.binance.com",
        credentials: Credentials(key: "key", secret: "secretsecret"),
        isHedged: isHedged,
    )
}

private func placement(
    _ product: BinanceProduct,
    _ side: Side,
    _ type: VenueOrderType,
    limit: String? = nil,
    reduceOnly: Bool = false,
    isExit: Bool = false,
    t0: Timestamp = clock,
) -> Placement {
    Placement(
        market: MarketID(venue: "binance", product: product.rawValue, symbol: "BTCUSDT"),
        clientOrderID: clientID,
        side: side,
        type: type,
        quantity: Quantity("0.01") ?? .zero,
        limit: limit.flatMap { Price($0) },
        reduceOnly: reduceOnly,
        isExit: isExit,
        t0: t0,
        windowMs: 10_000,
    )
}

private func parameters(_ text: String) -> [String: String] {
    var found: [String: String] = [:]
    for pair in text.split(separator: "&") {
        let parts = pair.split(separator: "=", maxSplits: 1).map(String.init)
        found[parts[0]] = parts.count > 1 ? parts[1] : ""
    }
    return found
}

private func decoded(_ text: String) -> String {
    let parts = text.split(separator: "%", omittingEmptySubsequences: false)
    let rest = parts.dropFirst().map { part in
        String(UnicodeScalar(UInt8(part.prefix(2), radix: 16) ?? 0)) + part.dropFirst(2)
    }
    return parts[0] + rest.joined()
}

private func signature(of text: String, secret: String = "secretsecret") -> String {
    let key = SymmetricKey(data: Array(secret.utf8))
    return BinanceRequests.hexadecimal(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: key))
}

@Suite struct RequestVectorTests {
    enum Asked: Sendable {
        case place(Side, VenueOrderType, limit: String?, reduceOnly: Bool)
        case cancel, query
    }

    struct Row: Sendable {
        let id: String
        let product: BinanceProduct
        let asked: Asked
        let method: SignedRequest.Method
        /// Everything that is signed, and the signature, as published.
        let example: String
        let signature: String

        init(
            _ id: String,
            _ product: BinanceProduct,
            _ asked: Asked,
            _ method: SignedRequest.Method,
            _ example: String,
            _ signature: String,
        ) {
            self.id = id
            self.product = product
            self.asked = asked
            self.method = method
            self.example = "timestamp=1700000000000&symbol=BTCUSDT&" + example + "&recvWindow=10000"
            self.signature = signature
        }
    }

    private static let id = "newClientOrderId=so7f3a9c2e41b04d5f8a6c1e9d02"
    private static let original = "origClientOrderId=so7f3a9c2e41b04d5f8a6c1e9d02"
    private static let limit = "type=LIMIT&quantity=0.01&price=60000"

    static let rows: [Row] = [
        Row(
            "binance-spot-place_market-001",
            .spot,
            .place(.buy, .market, limit: nil, reduceOnly: false),
            .post,
            "side=BUY&\(id)&newOrderRespType=FULL&type=MARKET&quantity=0.01",
            "1b8cef36b64fddfbaa9d87a228900fa875ae24ece3632800f182ae1da9923977",
        ),
        Row(
            "binance-spot-place_market-002",
            .spot,
            .place(.sell, .market, limit: nil, reduceOnly: false),
            .post,
            "side=SELL&\(id)&newOrderRespType=FULL&type=MARKET&quantity=0.01",
            "e07408cae478b98e6d1da0ed356f2276bf2a5d281b1aff118afdb158965b50f3",
        ),
        Row(
            "binance-spot-place_limit-004",
            .spot,
            .place(.buy, .goodTillCancelled, limit: "60000", reduceOnly: false),
            .post,
            "side=BUY&\(id)&newOrderRespType=FULL&\(limit)&timeInForce=GTC",
            "c19d09917c9cc3d8838e0322b791f9fb1323bb52ff4d2277ff2ac433478ef080",
        ),
        Row(
            "binance-spot-cancel_by_client_id-015",
            .spot,
            .cancel,
            .delete,
            original,
            "7c53735af0c5250789c7c5fa8c39bfd55f98130a0052e96b6b7d83f5827b8808",
        ),
        Row(
            "binance-spot-query_by_client_id-018",
            .spot,
            .query,
            .get,
            original,
            "7c53735af0c5250789c7c5fa8c39bfd55f98130a0052e96b6b7d83f5827b8808",
        ),
        Row(
            "binance-linear-place_market-025",
            .linear,
            .place(.buy, .market, limit: nil, reduceOnly: false),
            .post,
            "side=BUY&\(id)&newOrderRespType=RESULT&type=MARKET&quantity=0.01",
            "cf97e03f233a0cf8a4c9989e63d9a55127c4c8c07fb59d9a7a95f67868efb520",
        ),
        Row(
            "binance-linear-place_market-026",
            .linear,
            .place(.sell, .market, limit: nil, reduceOnly: false),
            .post,
            "side=SELL&\(id)&newOrderRespType=RESULT&type=MARKET&quantity=0.01",
            "e95419ab1d95f4910762a2ede90e51d9e025e76ba418053124c627e9346a02fa",
        ),
        Row(
            "binance-linear-place_limit-027",
            .linear,
            .place(.buy, .goodTillCancelled, limit: "60000", reduceOnly: false),
            .post,
            "side=BUY&\(id)&newOrderRespType=RESULT&\(limit)&timeInForce=GTC",
            "742110ab22f5afd6fd3d251da381b874a4a10c049b5482b8b9b1efc1b5155c28",
        ),
        Row(
            "binance-linear-place_limit_ioc-029",
            .linear,
            .place(.sell, .immediateOrCancel, limit: "60000", reduceOnly: false),
            .post,
            "side=SELL&\(id)&newOrderRespType=RESULT&\(limit)&timeInForce=IOC",
            "141c55b21a80f482161979fe2699c93c0722e5039000b0bb32f53d1baaecafa0",
        ),
        Row(
            "binance-linear-place_reduce_only_limit-033",
            .linear,
            .place(.sell, .goodTillCancelled, limit: "60000", reduceOnly: true),
            .post,
            "side=SELL&\(id)&newOrderRespType=RESULT&\(limit)&timeInForce=GTC&reduceOnly=true",
            "57508b9d1d5c1aaecd8982b607fa837f308f6b68867b61b07def416b949df3a7",
        ),
    ]

    @Test(arguments: rows)
    func `a request has the parameters of its vector and a signature made the same way`(_ row: Row) {
        let maker = requests(row.product)
        let request =
            switch row.asked {
            case .place(let side, let type, let limit, let reduceOnly):
                maker.place(placement(row.product, side, type, limit: limit, reduceOnly: reduceOnly))
            case .cancel: maker.cancel(symbol: "BTCUSDT", clientOrderID: clientID, at: clock, windowMs: 10_000)
            case .query: maker.query(symbol: "BTCUSDT", clientOrderID: clientID, at: clock, windowMs: 10_000)
            }
        #expect(request.method == row.method, "\(row.id)")
        #expect(request.base + request.path == maker.base + (row.product == .spot ? "/api/v3/order" : "/fapi/v1/order"))
        let sent = row.method == .post ? request.body : request.query
        #expect(row.method == .post ? request.query.isEmpty : request.body.isEmpty)
        #expect(request.headers.map { "\($0.0): \($0.1)" } == ["X-MBX-APIKEY: key"])
        var found = parameters(sent)
        let signed = found.removeValue(forKey: "signature")
        #expect(found == parameters(row.example), "\(row.id)")
        // Both texts through one signer: the published signature proves the signer, the signer ours.
        #expect(signature(of: row.example) == row.signature, "\(row.id)")
        #expect(sent.hasSuffix("&signature=\(signed ?? "")"))
        #expect(signed == signature(of: String(sent.prefix(sent.utf8.count - 64 - "&signature=".utf8.count))))
    }

    @Test func `the documented order of parameters gives the documented signature`() {
        let secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
        let text =
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
            + "&timestamp=1499827319559"
        #expect(
            signature(of: text, secret: secret)
                == "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
        )
        // Ours ends the same way: window, time, signature.
        let request = requests(.spot).holdings(at: clock, windowMs: 5_000)
        #expect(request.query.hasPrefix("recvWindow=5000&timestamp=1700000000000&signature="))
    }

    @Test func `executions are asked per order, a thousand at a time`() {
        for (product, path) in [(BinanceProduct.spot, "/api/v3/myTrades"), (.linear, "/fapi/v1/userTrades")] {
            let request = requests(product).trades(symbol: "BTCUSDT", orderID: "7", at: clock, windowMs: 2_000)
            #expect(request.method == .get && request.path == path)
            let found = parameters(request.query)
            #expect(found["symbol"] == "BTCUSDT" && found["orderId"] == "7" && found["limit"] == "1000")
        }
    }

    @Test func `unsigned requests carry no key, time or signature`() {
        for request in [requests(.spot).time(), requests(.linear).time(), requests(.linear).exchangeInfo()] {
            #expect(request.method == .get && request.query.isEmpty && request.headers.isEmpty)
        }
        #expect(requests(.spot).time().url == "https://api.binance.com/api/v3/time")
        #expect(requests(.linear).time().url == "https://fapi.binance.com/fapi/v1/time")
        #expect(requests(.spot).holdings(at: clock, windowMs: 1).path == "/api/v3/account")
        #expect(requests(.linear).holdings(at: clock, windowMs: 1).path == "/fapi/v3/positionRisk")
    }

    @Test func `exits expire the maker; spot knows no reduce-only; a two-sided account names the side instead`() {
        func body(_ product: BinanceProduct, _ side: Side, isExit: Bool, isHedged: Bool) -> [String: String] {
            parameters(
                requests(product, isHedged: isHedged)
                    .place(placement(product, side, .market, reduceOnly: isExit, isExit: isExit)).body
            )
        }
        let exit = body(.linear, .sell, isExit: true, isHedged: false)
        #expect(exit["selfTradePreventionMode"] == "EXPIRE_MAKER" && exit["reduceOnly"] == "true")
        #expect(exit["positionSide"] == nil)
        #expect(body(.linear, .sell, isExit: false, isHedged: false)["selfTradePreventionMode"] == nil)
        #expect(body(.spot, .sell, isExit: true, isHedged: true)["reduceOnly"] == nil)
        #expect(body(.spot, .sell, isExit: true, isHedged: true)["positionSide"] == nil)
        for (side, isExit, position) in [
            (Side.buy, false, "LONG"), (.sell, true, "LONG"), (.sell, false, "SHORT"), (.buy, true, "SHORT"),
        ] {
            let hedged = body(.linear, side, isExit: isExit, isHedged: true)
            #expect(hedged["positionSide"] == position && hedged["reduceOnly"] == nil)
        }
    }

    @Test(arguments: [false, true])
    func `several placements are one request that ends with the first of their windows`(isHedged: Bool) throws {
        let maker = requests(.linear, isHedged: isHedged)
        let ticks: [(Int64, VenueOrderType, String?)] = [
            (3, .market, nil), (0, .immediateOrCancel, "50000.5"), (7, .goodTillCancelled, "49000"),
        ]
        let together = ticks.map { late, type, limit in
            placement(
                .linear,
                .sell,
                type,
                limit: limit,
                reduceOnly: true,
                isExit: true,
                t0: clock.advanced(milliseconds: late),
            )
        }
        let request = maker.placeTogether(together)
        #expect(request.method == .post && request.path == "/fapi/v1/batchOrders" && request.query.isEmpty)
        var found = parameters(request.body)
        let signed = found.removeValue(forKey: "signature")
        #expect(
            signed
                == signature(of: String(request.body.prefix(request.body.utf8.count - 64 - "&signature=".utf8.count)))
        )
        #expect(found["timestamp"] == "\(clock.milliseconds)" && found["recvWindow"] == "10000")
        let text = try #require(found["batchOrders"].map(decoded))
        let orders = try JSONField(JSONValue(parsing: Array(text.utf8))).elements()
        #expect(orders.count == together.count)
        for (order, one) in zip(orders, together) {
            var alone = parameters(maker.place(one).body)
            for name in ["recvWindow", "timestamp", "signature"] { alone[name] = nil }
            var told: [String: String] = [:]
            for member in try order.object().members { told[member.key] = member.value.text }
            #expect(told == alone)
        }
    }

    @Test func `parameters are percent-encoded before they are signed`() {
        var form = FormParameters()
        form.add("newClientOrderId", "a b/ü~._-")
        #expect(form.text == "newClientOrderId=a%20b%2F%C3%BC~._-")
    }
}
