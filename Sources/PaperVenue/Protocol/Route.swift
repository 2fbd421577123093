// Which request is which.

/// What a request wants. The raw value is the `op` of the log and of fault rules.
enum Operation: String, Hashable {
    case place, placeTest, placeTogether, cancel, cancelAll, lookup, openOrders, allOrders, trades
    case placeList, cancelList, lookupList
    case placeAlgo, cancelAlgo, lookupAlgo, openAlgos, cancelAllAlgos
    case account, balance, positions, sides, setSides, leverage
    case exchangeInfo, time, ping, tickerPrice, ticker24h, bookTicker, markPrice, averagePrice, publicTrades
    case openStream, renewStream, closeStream

    /// Whether it can change an order.
    var isWrite: Bool {
        switch self {
        case .place, .placeTogether, .cancel, .cancelAll, .placeList, .cancelList, .placeAlgo, .cancelAlgo,
            .cancelAllAlgos:
            true
        case .placeTest, .lookup, .openOrders, .allOrders, .trades, .account, .balance, .positions, .sides, .setSides,
            .leverage, .exchangeInfo, .time, .ping, .tickerPrice, .ticker24h, .bookTicker, .markPrice, .averagePrice,
            .publicTrades, .openStream, .renewStream, .closeStream, .lookupAlgo, .openAlgos,
            .lookupList:
            false
        }
    }

    enum Security { case none, key, signed }

    var security: Security {
        switch self {
        case .place, .placeTest, .placeTogether, .cancel, .cancelAll, .lookup, .openOrders, .allOrders, .trades,
            .account, .balance,
            .positions, .sides, .setSides, .leverage, .placeAlgo, .cancelAlgo, .lookupAlgo, .openAlgos,
            .cancelAllAlgos, .placeList, .cancelList, .lookupList:
            .signed
        case .openStream, .renewStream, .closeStream: .key
        case .exchangeInfo, .time, .ping, .tickerPrice, .ticker24h, .bookTicker, .markPrice, .averagePrice,
            .publicTrades:
            .none
        }
    }
}

struct Route {
    let product: PaperProduct
    let operation: Operation

    private static let routes: [String: Route] = {
        var routes: [String: Route] = [:]
        func add(_ product: PaperProduct, _ operation: Operation, _ method: String, _ paths: String...) {
            for path in paths { routes["\(method) \(path)"] = Route(product: product, operation: operation) }
        }
        add(.spot, .place, "POST", "/api/v3/order")
        add(.spot, .placeTest, "POST", "/api/v3/order/test")
        add(.spot, .placeList, "POST", "/api/v3/orderList/oco")
        add(.spot, .cancelList, "DELETE", "/api/v3/orderList")
        add(.spot, .lookupList, "GET", "/api/v3/orderList")
        add(.spot, .cancel, "DELETE", "/api/v3/order")
        add(.spot, .lookup, "GET", "/api/v3/order")
        add(.spot, .openOrders, "GET", "/api/v3/openOrders")
        add(.spot, .cancelAll, "DELETE", "/api/v3/openOrders")
        add(.spot, .allOrders, "GET", "/api/v3/allOrders")
        add(.spot, .trades, "GET", "/api/v3/myTrades")
        add(.spot, .account, "GET", "/api/v3/account", "/sapi/v1/account/apiRestrictions")
        add(.spot, .exchangeInfo, "GET", "/api/v3/exchangeInfo")
        add(.spot, .time, "GET", "/api/v3/time")
        add(.spot, .ping, "GET", "/api/v3/ping")
        add(.spot, .tickerPrice, "GET", "/api/v3/ticker/price")
        add(.spot, .ticker24h, "GET", "/api/v3/ticker/24hr")
        add(.spot, .bookTicker, "GET", "/api/v3/ticker/bookTicker")
        add(.spot, .averagePrice, "GET", "/api/v3/avgPrice")
        add(.spot, .publicTrades, "GET", "/api/v3/aggTrades")
        add(.spot, .openStream, "POST", "/api/v3/userDataStream")
        add(.spot, .renewStream, "PUT", "/api/v3/userDataStream")
        add(.spot, .closeStream, "DELETE", "/api/v3/userDataStream")

        add(.linear, .place, "POST", "/fapi/v1/order")
        add(.linear, .placeTogether, "POST", "/fapi/v1/batchOrders")
        add(.linear, .placeTest, "POST", "/fapi/v1/order/test")
        add(.linear, .cancel, "DELETE", "/fapi/v1/order")
        add(.linear, .lookup, "GET", "/fapi/v1/order")
        add(.linear, .placeAlgo, "POST", "/fapi/v1/algoOrder")
        add(.linear, .cancelAlgo, "DELETE", "/fapi/v1/algoOrder")
        add(.linear, .lookupAlgo, "GET", "/fapi/v1/algoOrder")
        add(.linear, .openAlgos, "GET", "/fapi/v1/openAlgoOrders")
        add(.linear, .cancelAllAlgos, "DELETE", "/fapi/v1/algoOpenOrders")
        add(.linear, .openOrders, "GET", "/fapi/v1/openOrders")
        add(.linear, .cancelAll, "DELETE", "/fapi/v1/allOpenOrders")
        add(.linear, .allOrders, "GET", "/fapi/v1/allOrders")
        add(.linear, .trades, "GET", "/fapi/v1/userTrades")
        add(.linear, .account, "GET", "/fapi/v2/account", "/fapi/v3/account")
        add(.linear, .balance, "GET", "/fapi/v2/balance", "/fapi/v3/balance")
        add(.linear, .positions, "GET", "/fapi/v2/positionRisk", "/fapi/v3/positionRisk")
        add(.linear, .sides, "GET", "/fapi/v1/positionSide/dual")
        add(.linear, .setSides, "POST", "/fapi/v1/positionSide/dual")
        add(.linear, .leverage, "POST", "/fapi/v1/leverage")
        add(.linear, .exchangeInfo, "GET", "/fapi/v1/exchangeInfo")
        add(.linear, .time, "GET", "/fapi/v1/time")
        add(.linear, .ping, "GET", "/fapi/v1/ping")
        add(.linear, .tickerPrice, "GET", "/fapi/v1/ticker/price", "/fapi/v2/ticker/price")
        add(.linear, .ticker24h, "GET", "/fapi/v1/ticker/24hr")
        add(.linear, .bookTicker, "GET", "/fapi/v1/ticker/bookTicker")
        add(.linear, .markPrice, "GET", "/fapi/v1/premiumIndex")
        add(.linear, .publicTrades, "GET", "/fapi/v1/aggTrades")
        add(.linear, .openStream, "POST", "/fapi/v1/listenKey")
        add(.linear, .renewStream, "PUT", "/fapi/v1/listenKey")
        add(.linear, .closeStream, "DELETE", "/fapi/v1/listenKey")
        return routes
    }()

    static func find(method: String, path: String) -> Route? { routes["\(method) \(path)"] }
}
