// Orders and executions in Binance's words.

internal import JSONText
internal import SmartOrders

/// How much of an order a placement answers with.
enum ResponseType: String {
    case acknowledge = "ACK"
    case result = "RESULT"
    case full = "FULL"
}

/// Why an order is being written.
enum OrderView {
    case placed(ResponseType)
    case queried
    /// With the client id of the cancel.
    case cancelled(String)
}

extension VenueEngine {
    func write(_ order: OrderRecord, _ view: OrderView, to writer: inout JSONWriter) {
        if markets[order.market].isSpot {
            writeSpot(order, view, to: &writer)
        } else {
            writeLinear(order, view, to: &writer)
        }
    }

    private func writeSpot(_ order: OrderRecord, _ view: OrderView, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("symbol", markets[order.market].market.symbol)
        writer.member("orderId", order.id)
        writer.member("orderListId", order.list ?? -1)
        var isFull = false
        switch view {
        case .placed(let response):
            writer.member("clientOrderId", order.clientID)
            writer.member("transactTime", order.createdAt / 1000)
            if response == .acknowledge {
                writer.endObject()
                return
            }
            isFull = response == .full
        case .queried: writer.member("clientOrderId", order.clientID)
        case .cancelled(let cancelID):
            writer.member("origClientOrderId", order.clientID)
            writer.member("clientOrderId", cancelID)
            writer.member("transactTime", order.updatedAt / 1000)
        }
        writer.member("price", order.price)
        writer.member("origQty", order.quantity)
        writer.member("executedQty", order.filled)
        writer.member("origQuoteOrderQty", "0.00000000")
        writer.member("cummulativeQuoteQty", order.cost)
        writer.member("status", order.status.rawValue)
        writer.member("timeInForce", order.timeInForce.rawValue)
        writer.member("type", order.type.rawValue)
        writer.member("side", order.side.rawValue)
        switch view {
        case .queried:
            writer.member("stopPrice", order.stop ?? .zero)
            writer.member("icebergQty", "0.00000000")
            writer.member("time", order.createdAt / 1000)
            writer.member("updateTime", order.updatedAt / 1000)
            writer.member("isWorking", !order.isAsleep)
        case .placed, .cancelled: break
        }
        writer.member("workingTime", order.createdAt / 1000)
        writer.member("selfTradePreventionMode", order.selfTrade.rawValue)
        if isFull {
            writer.key("fills")
            writer.beginArray()
            for id in order.trades {
                let trade = trade(id)
                writer.beginObject()
                writer.member("price", trade.price)
                writer.member("qty", trade.quantity)
                writer.member("commission", trade.fee)
                writer.member("commissionAsset", assets[trade.feeAsset])
                writer.member("tradeId", trade.id)
                writer.endObject()
            }
            writer.endArray()
        }
        writer.endObject()
    }

    private func writeLinear(_ order: OrderRecord, _ view: OrderView, to writer: inout JSONWriter) {
        var order = order
        if case .placed(.acknowledge) = view {
            // An acknowledgement tells nothing of the fills.
            order.status = .new
            order.filled = .zero
            order.cost = .zero
        }
        writer.beginObject()
        writer.member("orderId", order.id)
        writer.member("symbol", markets[order.market].market.symbol)
        writer.member("status", order.status.rawValue)
        writer.member("clientOrderId", order.clientID)
        writer.member("price", order.price)
        writer.member("avgPrice", order.averagePrice)
        writer.member("origQty", order.quantity)
        writer.member("executedQty", order.filled)
        writer.member("cumQty", order.filled)
        writer.member("cumQuote", order.cost)
        writer.member("timeInForce", order.timeInForce.rawValue)
        writer.member("type", order.type.rawValue)
        writer.member("reduceOnly", order.reduceOnly)
        writer.member("closePosition", false)
        writer.member("side", order.side.rawValue)
        writer.member("positionSide", order.positionSide.rawValue)
        writer.member("stopPrice", "0")
        writer.member("workingType", "CONTRACT_PRICE")
        writer.member("priceProtect", false)
        writer.member("origType", order.type.rawValue)
        writer.member("priceMatch", "NONE")
        writer.member("selfTradePreventionMode", order.selfTrade.rawValue)
        writer.member("goodTillDate", 0)
        switch view {
        case .queried: writer.member("time", order.createdAt / 1000)
        case .placed, .cancelled: break
        }
        writer.member("updateTime", order.updatedAt / 1000)
        writer.endObject()
    }

    func write(_ trade: TradeRecord, to writer: inout JSONWriter) {
        let order = orders[trade.order - idBase]
        let market = markets[order.market]
        writer.beginObject()
        writer.member("symbol", market.market.symbol)
        writer.member("id", trade.id)
        writer.member("orderId", trade.order)
        if market.isSpot { writer.member("orderListId", -1) }
        writer.member("price", trade.price)
        writer.member("qty", trade.quantity)
        writer.member("quoteQty", trade.price * trade.quantity)
        writer.member("commission", trade.fee)
        writer.member("commissionAsset", assets[trade.feeAsset])
        writer.member("time", trade.time / 1000)
        if market.isSpot {
            writer.member("isBuyer", order.side == .buy)
            writer.member("isMaker", trade.isMaker)
            writer.member("isBestMatch", true)
        } else {
            writer.member("realizedPnl", trade.realized)
            writer.member("side", order.side.rawValue)
            writer.member("positionSide", order.positionSide.rawValue)
            writer.member("buyer", order.side == .buy)
            writer.member("maker", trade.isMaker)
        }
        writer.endObject()
    }
}

extension OrderRecord {
    /// To 8 decimals; zero when nothing is filled.
    var averagePrice: ExactDecimal {
        filled.isZero
            ? .zero : .quotient(cost.value, over: filled.value, step: ExactDecimal(mantissa: 1, scale: 8), .halfEven)
    }
}
