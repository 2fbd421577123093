// Stream frames in Binance's words: reports of orders, holdings, prices.

internal import JSONText
internal import SmartOrders

extension VenueEngine {
    func writeReport(
        _ order: OrderRecord,
        _ execution: Execution,
        _ trade: TradeRecord?,
        to writer: inout JSONWriter,
    ) {
        if markets[order.market].isSpot {
            writeSpotReport(order, execution, trade, to: &writer)
        } else {
            writeLinearReport(order, execution, trade, to: &writer)
        }
    }

    private func name(_ execution: Execution) -> String {
        switch execution {
        case .new: "NEW"
        case .trade: "TRADE"
        case .cancelled: "CANCELED"
        case .expired: "EXPIRED"
        }
    }

    private func writeSpotReport(
        _ order: OrderRecord,
        _ execution: Execution,
        _ trade: TradeRecord?,
        to writer: inout JSONWriter,
    ) {
        var clientID = order.clientID
        var originalID = ""
        if case .cancelled(let by) = execution {
            // The cancel has a client id of its own; the order's stands in C.
            originalID = order.clientID
            clientID = by ?? order.clientID
        }
        writer.beginObject()
        writer.member("e", "executionReport")
        writer.member("E", now / 1000)
        writer.member("s", markets[order.market].market.symbol)
        writer.member("c", clientID)
        writer.member("S", order.side.rawValue)
        writer.member("o", order.type.rawValue)
        writer.member("f", order.timeInForce.rawValue)
        writer.member("q", order.quantity)
        writer.member("p", order.price)
        writer.member("P", order.stop ?? .zero)
        writer.member("F", "0.00000000")
        writer.member("g", order.list ?? -1)
        writer.member("C", originalID)
        writer.member("x", name(execution))
        writer.member("X", order.status.rawValue)
        writer.member("r", "NONE")
        writer.member("i", order.id)
        writer.member("l", trade?.quantity ?? .zero)
        writer.member("z", order.filled)
        writer.member("L", trade?.price ?? .zero)
        writer.member("n", trade?.fee ?? .zero)
        writer.key("N")
        if let trade { writer.string(assets[trade.feeAsset]) } else { writer.null() }
        writer.member("T", now / 1000)
        writer.member("t", trade?.id ?? -1)
        writer.member("I", order.id)
        writer.member("w", order.status.isOpen && !order.isAsleep)
        writer.member("m", trade?.isMaker ?? false)
        writer.member("O", order.createdAt / 1000)
        writer.member("Z", order.cost)
        writer.member("Y", trade.map { $0.price * $0.quantity } ?? .zero)
        writer.member("Q", "0.00000000")
        writer.member("W", order.createdAt / 1000)
        writer.member("V", order.selfTrade.rawValue)
        writer.endObject()
    }

    private func writeLinearReport(
        _ order: OrderRecord,
        _ execution: Execution,
        _ trade: TradeRecord?,
        to writer: inout JSONWriter,
    ) {
        writer.beginObject()
        writer.member("e", "ORDER_TRADE_UPDATE")
        writer.member("E", now / 1000)
        writer.member("T", now / 1000)
        writer.key("o")
        writer.beginObject()
        writer.member("s", markets[order.market].market.symbol)
        writer.member("c", order.clientID)
        writer.member("S", order.side.rawValue)
        writer.member("o", order.type.rawValue)
        writer.member("f", order.timeInForce.rawValue)
        writer.member("q", order.quantity)
        writer.member("p", order.price)
        writer.member("ap", order.averagePrice)
        writer.member("sp", "0")
        writer.member("x", name(execution))
        writer.member("X", order.status.rawValue)
        writer.member("i", order.id)
        writer.member("l", trade?.quantity ?? .zero)
        writer.member("z", order.filled)
        writer.member("L", trade?.price ?? .zero)
        if let trade {
            writer.member("n", trade.fee)
            writer.member("N", assets[trade.feeAsset])
        }
        writer.member("T", now / 1000)
        writer.member("t", trade?.id ?? 0)
        writer.member("b", "0")
        writer.member("a", "0")
        writer.member("m", trade?.isMaker ?? false)
        writer.member("R", order.reduceOnly)
        writer.member("wt", "CONTRACT_PRICE")
        writer.member("ot", order.type.rawValue)
        writer.member("ps", order.positionSide.rawValue)
        writer.member("cp", false)
        writer.member("rp", trade?.realized ?? .zero)
        writer.member("pP", false)
        writer.member("V", order.selfTrade.rawValue)
        writer.member("pm", "NONE")
        writer.member("gtd", 0)
        writer.endObject()
        writer.endObject()
    }

    /// What the account holds of what this order touched.
    func writeHoldings(_ order: OrderRecord, to writer: inout JSONWriter) {
        writeHoldings(accounts[order.account], markets[order.market], order.positionSide, to: &writer)
    }

    /// What the account holds in a market: coins, or the position of a side.
    func writeHoldings(
        _ account: Account,
        _ state: MarketState,
        _ side: PositionSide,
        to writer: inout JSONWriter,
    ) {
        writer.beginObject()
        if state.isSpot {
            writer.member("e", "outboundAccountPosition")
            writer.member("E", now / 1000)
            writer.member("u", now / 1000)
            writer.key("B")
            writer.beginArray()
            for asset in [state.base, state.quote] {
                let balance = account.spot[asset, default: Balance()]
                writer.beginObject()
                writer.member("a", assets[asset])
                writer.member("f", balance.free)
                writer.member("l", balance.locked)
                writer.endObject()
            }
            writer.endArray()
        } else {
            writeAccountUpdate(side, state, account, to: &writer)
        }
        writer.endObject()
    }

    private func writeAccountUpdate(
        _ side: PositionSide,
        _ state: MarketState,
        _ account: Account,
        to writer: inout JSONWriter,
    ) {
        let position = account.position(state.index, side)
        let wallet = account.wallet[state.quote] ?? .zero
        writer.member("e", "ACCOUNT_UPDATE")
        writer.member("E", now / 1000)
        writer.member("T", now / 1000)
        writer.key("a")
        writer.beginObject()
        writer.member("m", "ORDER")
        writer.key("B")
        writer.beginArray()
        writer.beginObject()
        writer.member("a", assets[state.quote])
        writer.member("wb", wallet)
        writer.member("cw", wallet)
        writer.member("bc", "0")
        writer.endObject()
        writer.endArray()
        writer.key("P")
        writer.beginArray()
        writer.beginObject()
        writer.member("s", state.market.symbol)
        writer.member("pa", position.quantity)
        writer.member("ep", position.entryPrice)
        writer.member("bep", position.entryPrice)
        writer.member("cr", "0")
        let price = state.referencePrice?.value ?? .zero
        writer.member("up", position.quantity * price - position.cost)
        writer.member("mt", "cross")
        writer.member("iw", "0")
        writer.member("ps", side.rawValue)
        writer.endObject()
        writer.endArray()
        writer.endObject()
    }

    /// One public frame; `name` decides its kind.
    func writeFrame(
        _ name: String,
        _ state: MarketState,
        _ tick: PaperTick,
        updateID: Int,
        to writer: inout JSONWriter,
    ) {
        let time = tick.position.venueTime / 1000
        writer.beginObject()
        switch tick.source {
        case .last:
            let isAggregate = name.hasSuffix("aggTrade")
            writer.member("e", isAggregate ? "aggTrade" : "trade")
            writer.member("E", now / 1000)
            writer.member("s", state.market.symbol)
            writer.member(isAggregate ? "a" : "t", tick.position.sequence)
            writer.member("p", tick.price)
            writer.member("q", tick.quantity ?? .zero)
            if isAggregate {
                writer.member("f", tick.position.sequence)
                writer.member("l", tick.position.sequence)
            }
            writer.member("T", time)
            if !isAggregate, !state.isSpot { writer.member("X", "MARKET") }
            writer.member("m", false)
            if state.isSpot { writer.member("M", true) }
        case .mark, .index:
            writer.member("e", "markPriceUpdate")
            writer.member("E", time)
            writer.member("s", state.market.symbol)
            writer.member("p", state.mark ?? tick.price)
            writer.member("i", state.indexPrice ?? state.mark ?? tick.price)
            writer.member("P", state.mark ?? tick.price)
            writer.member("r", "0")
            writer.member("T", 0)
        case .bid, .ask:
            if !state.isSpot {
                writer.member("e", "bookTicker")
                writer.member("E", time)
                writer.member("T", time)
            }
            writer.member("u", updateID)
            writer.member("s", state.market.symbol)
            writer.member("b", state.bid?.price ?? tick.price)
            writer.member("B", state.bid?.quantity ?? .zero)
            writer.member("a", state.ask?.price ?? tick.price)
            writer.member("A", state.ask?.quantity ?? .zero)
        }
        writer.endObject()
    }

    func writePublicTrade(_ tick: PaperTick, to writer: inout JSONWriter) {
        writer.beginObject()
        writer.member("a", tick.position.sequence)
        writer.member("p", tick.price)
        writer.member("q", tick.quantity ?? .zero)
        writer.member("f", tick.position.sequence)
        writer.member("l", tick.position.sequence)
        writer.member("T", tick.position.venueTime / 1000)
        writer.member("m", false)
        writer.endObject()
    }
}
