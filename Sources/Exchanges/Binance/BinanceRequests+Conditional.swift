// Orders that sleep at Binance until a trigger: USD-M's algo orders, spot's stops and order lists (exchanges/FACTS.md
// 6.1, 6.3). Pure.
public import OrderEngine
internal import SmartOrders

extension BinanceRequests {
    /// POST /fapi/v1/algoOrder. A stop that closes the position has neither quantity nor reduce-only.
    func placeAlgo(_ placement: Placement) -> SignedRequest {
        var form = FormParameters()
        form.add("algoType", "CONDITIONAL")
        form.add("symbol", placement.market.symbol)
        form.add("side", placement.side.rawValue)
        form.add("type", Self.algoType(placement.type))
        if placement.closesPosition {
            form.add("closePosition", "true")
        } else {
            form.add("quantity", "\(placement.quantity)")
        }
        if let limit = placement.limit { form.add("price", "\(limit)") }
        if let callback = placement.callback {
            if let trigger = placement.trigger { form.add("activatePrice", "\(trigger)") }
            if case .rate(let rate) = callback { form.add("callbackRate", "\(rate.value * ExactDecimal(100))") }
        } else if let trigger = placement.trigger {
            form.add("triggerPrice", "\(trigger)")
        }
        // The venue's default is the last price.
        if placement.triggerSource == .mark { form.add("workingType", "MARK_PRICE") }
        if let (name, value) = position(placement) { form.add(name, value) }
        form.add("clientAlgoId", placement.clientOrderID)
        form.add("newOrderRespType", "RESULT")
        if placement.isExit { form.add("selfTradePreventionMode", "EXPIRE_MAKER") }
        return signed(.post, to: BinanceProduct.algoOrder, form, placement)
    }

    private static func algoType(_ type: VenueOrderType) -> String {
        switch type {
        case .stopMarket: "STOP_MARKET"
        case .stopLimit: "STOP"
        case .takeProfitMarket: "TAKE_PROFIT_MARKET"
        case .trailingStop: "TRAILING_STOP_MARKET"
        case .market, .immediateOrCancel, .goodTillCancelled: preconditionFailure("\(type.rawValue) has no trigger")
        }
    }

    /// A stop alone on spot. It reserves the coins from now on.
    func placeStop(_ placement: Placement) -> SignedRequest {
        var form = FormParameters()
        form.add("symbol", placement.market.symbol)
        form.add("side", placement.side.rawValue)
        let isTarget = placement.type == .takeProfitMarket
        form.add("type", (isTarget ? "TAKE_PROFIT" : "STOP_LOSS") + (placement.limit == nil ? "" : "_LIMIT"))
        form.add("quantity", "\(placement.quantity)")
        if let limit = placement.limit {
            form.add("price", "\(limit)")
            form.add("timeInForce", "GTC")
        }
        if case .rate(let rate)? = placement.callback {
            form.add("trailingDelta", "\((rate.value * ExactDecimal(10_000)).rounded(decimals: 0))")
        }
        if let trigger = placement.trigger { form.add("stopPrice", "\(trigger)") }
        form.add("newClientOrderId", placement.clientOrderID)
        form.add("newOrderRespType", "FULL")
        if placement.isExit { form.add("selfTradePreventionMode", "EXPIRE_MAKER") }
        return signed(.post, to: product.order, form, placement)
    }

    /// The list's own id: distinct from those of its legs, and a function of the take-profit's.
    public static func listID(of target: String) -> String { "oc" + target.dropFirst(2) }

    /// POST /api/v3/orderList/oco: a maker and a stop-limit, the one above the other by the side.
    public func placeList(_ target: Placement, _ stop: Placement) -> SignedRequest {
        var form = FormParameters()
        form.add("symbol", target.market.symbol)
        form.add("side", target.side.rawValue)
        form.add("quantity", "\(target.quantity)")
        let isSell = target.side == .sell
        let (maker, sleeper) = isSell ? ("above", "below") : ("below", "above")
        func addMaker() {
            form.add(maker + "Type", "LIMIT_MAKER")
            form.add(maker + "Price", "\(target.limit ?? .zero)")
            form.add(maker + "ClientOrderId", target.clientOrderID)
        }
        if isSell { addMaker() }
        form.add(sleeper + "Type", "STOP_LOSS_LIMIT")
        form.add(sleeper + "StopPrice", "\(stop.trigger ?? .zero)")
        form.add(sleeper + "Price", "\(stop.limit ?? .zero)")
        form.add(sleeper + "TimeInForce", "GTC")
        form.add(sleeper + "ClientOrderId", stop.clientOrderID)
        if !isSell { addMaker() }
        form.add("listClientOrderId", Self.listID(of: target.clientOrderID))
        form.add("newOrderRespType", "RESULT")
        form.add("selfTradePreventionMode", "EXPIRE_MAKER")
        return signed(.post, to: BinanceProduct.orderList, form, target)
    }
}
