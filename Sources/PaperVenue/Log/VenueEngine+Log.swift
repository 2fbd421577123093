// The lines that the engine writes. VenueReplay.swift reads them back; the two change together.

internal import JSONText
internal import SmartOrders

extension VenueEngine {
    private func order(_ writer: inout JSONWriter, _ order: OrderRecord) {
        writer.member("account", accounts[order.account].key)
        writer.member("market", markets[order.market].id)
        writer.member("clientOrderId", order.clientID)
        writer.member("orderId", order.id)
        writer.member("side", order.side.rawValue)
        writer.member("type", order.type.rawValue)
        writer.member("timeInForce", order.timeInForce.rawValue)
        writer.member("qty", order.quantity)
        writer.member("price", order.price)
        if log.request > 0 { writer.member("request", log.request) }
    }

    func writeAccept(_ record: OrderRecord) {
        log.line("accept", at: now) { writer in
            order(&writer, record)
            writer.member("result", OrderStatus.new.rawValue)
            if let time = log.clientTime { writer.member("T0", time) }
            writer.member("reduceOnly", record.reduceOnly)
            writer.member("positionSide", record.positionSide.rawValue)
            writer.member("selfTrade", record.selfTrade.rawValue)
            writer.member("reserved", record.reserved)
            if let stop = record.stop { writer.member("stopPrice", stop) }
            if let list = list(of: record) {
                writer.member("listId", list.id)
                writer.member("listClientOrderId", list.clientID)
            }
        }
    }

    func writeWake(_ record: OrderRecord, reserving missing: ExactDecimal) {
        log.line("wake", at: now) { writer in
            order(&writer, record)
            writer.member("result", record.status.rawValue)
            writer.member("reserved", missing)
        }
    }

    func writeFill(_ trade: TradeRecord) {
        let record = orders[trade.order - idBase]
        log.line("fill", at: now) { writer in
            order(&writer, record)
            writer.member(
                "result",
                record.filled == record.quantity ? OrderStatus.filled.rawValue : record.status.rawValue,
            )
            writer.member("tradeId", trade.id)
            writer.member("fillQty", trade.quantity)
            writer.member("fillPrice", trade.price)
            writer.member("maker", trade.isMaker)
            writer.member("fee", trade.fee)
            writer.member("feeAsset", assets[trade.feeAsset])
            writer.member("realized", trade.realized)
            writer.member("filled", record.filled)
        }
    }

    func writeEnd(_ record: OrderRecord) {
        log.line("end", at: now) { writer in
            order(&writer, record)
            writer.member("result", record.status.rawValue)
            writer.member("filled", record.filled)
        }
    }

    func writeTick(_ tick: PaperTick) { Self.write(tick, to: log, at: now) }

    static func write(_ tick: PaperTick, to log: VenueLog, at now: Int64) {
        log.line("tick", at: now) { writer in
            writer.member("market", tick.market.description)
            writer.member("source", tick.source.rawValue)
            writer.member("price", tick.price)
            if let quantity = tick.quantity { writer.member("qty", quantity) }
            writer.member("venueTime", tick.position.venueTime)
            writer.member("sequence", tick.position.sequence)
        }
    }

    func writeAccount(_ account: Account) {
        log.line("account", at: now) { writer in
            writer.member("account", account.key)
            writer.member("twoSides", account.hasTwoSides)
        }
    }

    func writeDeposit(_ account: Account, _ product: PaperProduct, _ asset: Int, _ amount: ExactDecimal) {
        log.line("deposit", at: now) { writer in
            writer.member("account", account.key)
            writer.member("product", product.rawValue)
            writer.member("asset", assets[asset])
            writer.member("amount", amount)
        }
    }

    func writeLeverage(_ account: Account, _ market: MarketState, _ leverage: Int) {
        log.line("leverage", at: now) { writer in
            writer.member("account", account.key)
            writer.member("market", market.id)
            writer.member("leverage", leverage)
        }
    }

    func writeStream(_ account: Account, _ product: PaperProduct, _ key: String?) {
        log.line("stream", at: now) { writer in
            writer.member("account", account.key)
            writer.member("product", product.rawValue)
            writer.member("listenKey", ifPresent: key)
        }
    }

    func writeSides(_ account: Account) {
        log.line("sides", at: now) { writer in
            writer.member("account", account.key)
            writer.member("twoSides", account.hasTwoSides)
        }
    }

    func writePosition(
        _ account: Account,
        _ market: MarketState,
        _ side: PositionSide,
        _ quantity: ExactDecimal,
        _ price: ExactDecimal,
    ) {
        log.line("position", at: now) { writer in
            writer.member("account", account.key)
            writer.member("market", market.id)
            writer.member("positionSide", side.rawValue)
            writer.member("qty", quantity)
            writer.member("price", price)
        }
    }
}
