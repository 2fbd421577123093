// Binance spot and USD-M futures: requests (exchanges/FACTS.md 6.1, 6.3). Pure.
internal import Crypto
internal import JSONText
public import OrderEngine
public import SmartOrders

/// Which of Binance's two APIs.
public enum BinanceProduct: String, Hashable, Sendable {
    case spot, linear

    /// Path of an operation on orders.
    var order: String { self == .spot ? "/api/v3/order" : "/fapi/v1/order" }
    /// Where USD-M keeps conditional orders since 2025-12; `order` refuses them with -4120.
    static let algoOrder = "/fapi/v1/algoOrder"
    /// Several orders of USD-M at once; spot has none.
    static let batchOrders = "/fapi/v1/batchOrders"
    static let orderList = "/api/v3/orderList/oco"
    var trades: String { self == .spot ? "/api/v3/myTrades" : "/fapi/v1/userTrades" }
    var time: String { self == .spot ? "/api/v3/time" : "/fapi/v1/time" }
    var exchangeInfo: String { self == .spot ? "/api/v3/exchangeInfo" : "/fapi/v1/exchangeInfo" }
    var listenKey: String { self == .spot ? "/api/v3/userDataStream" : "/fapi/v1/listenKey" }
    var holdings: String { self == .spot ? "/api/v3/account" : "/fapi/v3/positionRisk" }
}

/// Builds signed requests. The same inputs give the same bytes.
public struct BinanceRequests: Sendable {
    public let product: BinanceProduct
    /// `https://api.binance.com`, or where the paper venue listens.
    public let base: String
    public let credentials: Credentials
    /// Futures only: the account has a position for each side.
    public let isHedged: Bool

    public init(product: BinanceProduct, base: String, credentials: Credentials, isHedged: Bool = false) {
        self.product = product
        self.base = base
        self.credentials = credentials
        self.isHedged = isHedged
    }

    public func place(_ placement: Placement) -> SignedRequest {
        if placement.type.isConditional {
            return product == .linear ? placeAlgo(placement) : placeStop(placement)
        }
        var form = FormParameters()
        for (name, value) in parameters(placement) { form.add(name, value) }
        return signed(.post, product.order, form, at: placement.t0, windowMs: min(placement.windowMs, 60_000))
    }

    /// Several orders of USD-M without a trigger, at most `BinancePlacements.most`, by one request: it ends where the first
    /// of their windows does.
    func placeTogether(_ placements: [Placement]) -> SignedRequest {
        precondition(product == .linear && !placements.isEmpty, "USD-M takes several orders at once")
        var list = JSONWriter(reserving: 256 * placements.count)
        list.beginArray()
        for placement in placements {
            list.beginObject()
            for (name, value) in parameters(placement) {
                list.key(escaping: name)
                list.string(value)
            }
            list.endObject()
        }
        list.endArray()
        var form = FormParameters()
        form.add("batchOrders", String(decoding: list.take(), as: UTF8.self))
        let first = placements.reduce(placements[0].t0) { min($0, $1.t0) }
        let windowMs = placements.reduce(60_000) { min($0, $1.windowMs) }
        return signed(.post, BinanceProduct.batchOrders, form, at: first, windowMs: windowMs)
    }

    /// What an order without a trigger is, in the order in which it is sent.
    private func parameters(_ placement: Placement) -> [(String, String)] {
        var parameters = [("symbol", placement.market.symbol), ("side", placement.side.rawValue)]
        switch placement.type {
        case .market: parameters.append(("type", "MARKET"))
        case .immediateOrCancel: parameters += [("type", "LIMIT"), ("timeInForce", "IOC")]
        case .goodTillCancelled: parameters += [("type", "LIMIT"), ("timeInForce", "GTC")]
        case .stopMarket, .stopLimit, .takeProfitMarket, .trailingStop: preconditionFailure("conditional: see above")
        }
        parameters.append(("quantity", "\(placement.quantity)"))
        if let limit = placement.limit { parameters.append(("price", "\(limit)")) }
        if product == .linear, let position = position(placement) { parameters.append(position) }
        parameters.append(("newClientOrderId", placement.clientOrderID))
        parameters.append(("newOrderRespType", product == .spot ? "FULL" : "RESULT"))
        if placement.isExit { parameters.append(("selfTradePreventionMode", "EXPIRE_MAKER")) }
        return parameters
    }

    /// Which position of USD-M it is about, or that it only reduces the one there is.
    func position(_ placement: Placement) -> (String, String)? {
        if isHedged {
            let position = placement.isExit ? placement.side.opposite : placement.side
            return ("positionSide", position == .buy ? "LONG" : "SHORT")
        }
        return placement.reduceOnly && !placement.closesPosition ? ("reduceOnly", "true") : nil
    }

    public func cancel(symbol: String, clientOrderID: String, at time: Timestamp, windowMs: Int64) -> SignedRequest {
        signed(.delete, product.order, named(symbol, clientOrderID), at: time, windowMs: windowMs)
    }

    public func query(symbol: String, clientOrderID: String, at time: Timestamp, windowMs: Int64) -> SignedRequest {
        signed(.get, product.order, named(symbol, clientOrderID), at: time, windowMs: windowMs)
    }

    /// The same by the venue's own id.
    public func query(symbol: String, orderID: String, at time: Timestamp, windowMs: Int64) -> SignedRequest {
        var form = FormParameters()
        form.add("symbol", symbol)
        form.add("orderId", orderID)
        return signed(.get, product.order, form, at: time, windowMs: windowMs)
    }

    /// The executions of one order; the venue answers with 500 of them unless told, and with 1,000 at most.
    public func trades(symbol: String, orderID: String, at time: Timestamp, windowMs: Int64) -> SignedRequest {
        var form = FormParameters()
        form.add("symbol", symbol)
        form.add("orderId", orderID)
        form.add("limit", "1000")
        return signed(.get, product.trades, form, at: time, windowMs: windowMs)
    }

    /// The venue tells no more of them at once.
    static let mostExecutions = 1_000

    /// All executions of a market since a moment.
    public func executions(symbol: String, since: Timestamp, at time: Timestamp, windowMs: Int64) -> SignedRequest {
        var form = FormParameters()
        form.add("symbol", symbol)
        form.add("startTime", "\(since.milliseconds)")
        form.add("limit", "\(Self.mostExecutions)")
        return signed(.get, product.trades, form, at: time, windowMs: windowMs)
    }

    /// What the key may do.
    public func restrictions(at time: Timestamp) -> SignedRequest {
        signed(.get, "/sapi/v1/account/apiRestrictions", FormParameters(), at: time, windowMs: 5_000)
    }

    /// Positions on futures, balances on spot.
    public func holdings(at time: Timestamp, windowMs: Int64) -> SignedRequest {
        signed(.get, product.holdings, FormParameters(), at: time, windowMs: windowMs)
    }

    public func time() -> SignedRequest {
        SignedRequest(method: .get, base: base, path: product.time)
    }

    public func exchangeInfo() -> SignedRequest {
        SignedRequest(method: .get, base: base, path: product.exchangeInfo)
    }

    /// Opens (POST) or keeps (PUT) the private stream.
    public func listenKey(_ method: SignedRequest.Method, key: String? = nil) -> SignedRequest {
        var form = FormParameters()
        if let key, product == .spot { form.add("listenKey", key) }
        return SignedRequest(
            method: method,
            base: base,
            path: product.listenKey,
            query: form.text,
            headers: [("X-MBX-APIKEY", credentials.key)],
        )
    }

    func signed(
        _ method: SignedRequest.Method,
        to path: String,
        _ form: FormParameters,
        _ placement: Placement,
    ) -> SignedRequest {
        signed(method, path, form, at: placement.t0, windowMs: placement.windowMs)
    }

    public func cancel(symbol: String, orderID: String, at time: Timestamp, windowMs: Int64) -> SignedRequest {
        var form = FormParameters()
        form.add("symbol", symbol)
        form.add("orderId", orderID)
        return signed(.delete, product.order, form, at: time, windowMs: windowMs)
    }

    /// A conditional order of USD-M by our id.
    public func algo(
        _ method: SignedRequest.Method,
        symbol: String,
        clientOrderID: String,
        at time: Timestamp,
        windowMs: Int64,
    ) -> SignedRequest {
        var form = FormParameters()
        form.add("symbol", symbol)
        form.add("clientAlgoId", clientOrderID)
        return signed(method, BinanceProduct.algoOrder, form, at: time, windowMs: windowMs)
    }

    private func named(_ symbol: String, _ clientOrderID: String) -> FormParameters {
        var form = FormParameters()
        form.add("symbol", symbol)
        form.add("origClientOrderId", clientOrderID)
        return form
    }

    /// Adds window, timestamp and signature. POST and PUT carry parameters in the body, the others in the query.
    func signed(
        _ method: SignedRequest.Method,
        _ path: String,
        _ parameters: FormParameters,
        at time: Timestamp,
        windowMs: Int64,
    ) -> SignedRequest {
        var form = parameters
        form.add("recvWindow", "\(windowMs)")
        form.add("timestamp", "\(time.milliseconds)")
        let code = HMAC<SHA256>.authenticationCode(
            for: Array(form.text.utf8),
            using: SymmetricKey(data: Array(credentials.secret.utf8)),
        )
        form.add("signature", Self.hexadecimal(code))
        let isBody = method == .post || method == .put
        return SignedRequest(
            method: method,
            base: base,
            path: path,
            query: isBody ? "" : form.text,
            headers: [("X-MBX-APIKEY", credentials.key)],
            body: isBody ? form.text : "",
        )
    }

    static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
