// USD-M's conditional orders: an order that sleeps apart from the book until a price wakes it, then becomes an ordinary
// order with an id of its own (exchanges/FACTS.md 6.3). It reserves nothing and claims nothing before that.
//
// NEW -> TRIGGERED (its order lives) | FINISHED (its order has ended) | CANCELED | EXPIRED (nothing to close) | REJECTED.
// A trailing one follows the best price since its activation; what it has reached is in the log. Cost: a tick looks at
// every sleeping order of its market.

internal import JSONText
internal import SmartOrders

enum AlgoType: String, Sendable {
    case stop = "STOP"
    case stopMarket = "STOP_MARKET"
    case takeProfit = "TAKE_PROFIT"
    case takeProfitMarket = "TAKE_PROFIT_MARKET"
    case trailingStop = "TRAILING_STOP_MARKET"

    var isStop: Bool { self == .stop || self == .stopMarket || self == .trailingStop }
    var isMarket: Bool { self == .stopMarket || self == .takeProfitMarket || self == .trailingStop }
}

enum AlgoStatus: String, Sendable {
    case new = "NEW"
    case triggered = "TRIGGERED"
    case finished = "FINISHED"
    case cancelled = "CANCELED"
    case expired = "EXPIRED"
    case rejected = "REJECTED"
}

struct AlgoTicket {
    var account: Int
    var market: Int
    var clientID: String
    var side: Side
    var type: AlgoType
    /// Zero where it closes the position.
    var quantity: Quantity
    /// Zero for what becomes a market order.
    var price: Price
    /// Of a trailing one where it activates; zero: at once.
    var trigger: Price
    /// Percent; a trailing one has it.
    var callback: ExactDecimal?
    var watchesMark: Bool
    var closesPosition: Bool
    var reduceOnly: Bool
    var positionSide: PositionSide
    var selfTrade: SelfTradePrevention

    /// Stops wake on the far side of the market, take-profits on the near one.
    func isReached(_ price: Price) -> Bool {
        (side == .sell) == type.isStop ? price <= trigger : price >= trigger
    }

    /// Whether a trailing stop follows from this price on.
    func activates(at price: Price) -> Bool {
        !trigger.isPositive || (side == .sell ? price >= trigger : price <= trigger)
    }

    /// Whether the price came back from the best one by the callback.
    func cameBack(to price: Price, from best: Price) -> Bool {
        let hundred = ExactDecimal(100)
        let callback = callback ?? .zero
        return side == .sell
            ? price.value * hundred <= best.value * (hundred - callback)
            : price.value * hundred >= best.value * (hundred + callback)
    }
}

struct AlgoRecord {
    let id: Int
    let ticket: AlgoTicket
    let createdAt: Int64
    var updatedAt: Int64
    var status: AlgoStatus
    /// Best price since a trailing one is active.
    var best: Price?
    /// The order that it became.
    var child: Int?
}

extension MarketState {
    /// What a conditional order compares with; a market that has one price only has it for both.
    func workingPrice(mark watchesMark: Bool) -> Price? { watchesMark ? mark ?? last : last ?? mark }
}

extension VenueEngine {
    func algo(_ id: Int) -> AlgoRecord? { algos.indices.contains(id - idBase) ? algos[id - idBase] : nil }

    func findAlgo(_ account: Account, id: Int?, clientID: String?) -> AlgoRecord? {
        if let id { return algo(id).flatMap { $0.ticket.account == account.index ? $0 : nil } }
        return clientID.flatMap { account.latestAlgo[$0] }.flatMap { algo($0) }
    }

    /// Checks and takes a conditional order; returns its id.
    func placeAlgo(_ ticket: AlgoTicket) throws(VenueRefusal) -> Int {
        let state = markets[ticket.market]
        let account = accounts[ticket.account]
        var child = ticket.child(quantity: ticket.quantity)
        if ticket.closesPosition { child.quantity = state.market.minQuantity }
        try checkFilters(child, state)
        let hasTrigger = ticket.trigger.isPositive || ticket.type == .trailingStop && ticket.trigger == .zero
        guard hasTrigger, ticket.trigger.value.isMultiple(of: state.market.tickSize.value) else {
            throw configuration.filterCodes == .native
                ? VenueRefusal(-4014, "Price not increased by tick size.") : .filter("PRICE_FILTER")
        }
        switch (account.hasTwoSides, ticket.positionSide) {
        case (false, .both), (true, .long), (true, .short): break
        case (false, .long), (false, .short), (true, .both): throw .wrongPositionSide
        }
        if account.hasTwoSides, ticket.reduceOnly { throw .notRequired("reduceonly") }
        if let known = account.latestAlgo[ticket.clientID].flatMap({ algo($0) }) {
            let isTaken =
                switch clientIDs {
                case .openOrders: known.status == .new
                case .forever: true
                case .notEnforced, .returnsFirst: false
                }
            if isTaken { throw .duplicateAlgo }
        }
        let price = state.workingPrice(mark: ticket.watchesMark)
        if let price {
            // An activation price lies ahead of the market.
            let isTooEarly =
                ticket.type == .trailingStop
                ? ticket.trigger.isPositive && ticket.activates(at: price) : ticket.isReached(price)
            if isTooEarly { throw .wouldTriggerLinear }
        }
        let id = admitAlgo(ticket)
        writeAlgo(algos[id - idBase])
        if let price { _ = trails(id, to: price) }
        onAlgo?(algos[id - idBase])
        return id
    }

    /// Takes it into the books; a restart does the same.
    func admitAlgo(_ ticket: AlgoTicket) -> Int {
        let id = algos.count + idBase
        algos.append(
            AlgoRecord(id: id, ticket: ticket, createdAt: now, updatedAt: now, status: .new, child: nil)
        )
        accounts[ticket.account].latestAlgo[ticket.clientID] = id
        markets[ticket.market].sleepingAlgos.append(id)
        return id
    }

    func cancelAlgo(_ id: Int) throws(VenueRefusal) {
        guard let algo = algo(id), algo.status == .new else { throw .unknownOrderCancel }
        endAlgo(id, .cancelled)
    }

    func endAlgo(_ id: Int, _ status: AlgoStatus, child: Int? = nil) {
        settleAlgo(id, status, child: child)
        writeAlgoEnd(algos[id - idBase])
        onAlgo?(algos[id - idBase])
    }

    func settleAlgo(_ id: Int, _ status: AlgoStatus, child: Int?) {
        algos[id - idBase].status = status
        algos[id - idBase].child = child
        algos[id - idBase].updatedAt = now
        markets[algos[id - idBase].ticket.market].sleepingAlgos.removeAll { $0 == id }
    }

    /// Wakes what the market's prices reached, in order of acceptance.
    func wakeAlgos(_ state: MarketState) {
        for id in state.sleepingAlgos {
            let ticket = algos[id - idBase].ticket
            guard let price = state.workingPrice(mark: ticket.watchesMark) else { continue }
            guard ticket.type == .trailingStop ? trails(id, to: price) : ticket.isReached(price) else { continue }
            wakeAlgo(id, ticket, state)
        }
    }

    /// Moves a trailing stop, after the old one was tested. True: the price came back to it.
    private func trails(_ id: Int, to price: Price) -> Bool {
        let algo = algos[id - idBase]
        guard algo.ticket.type == .trailingStop else { return false }
        guard let best = algo.best else {
            if algo.ticket.activates(at: price) { follow(id, price) }
            return false
        }
        if algo.ticket.cameBack(to: price, from: best) { return true }
        if algo.ticket.side == .sell ? price > best : price < best { follow(id, price) }
        return false
    }

    private func follow(_ id: Int, _ price: Price) {
        algos[id - idBase].best = price
        log.line("algoTrail", at: now) { writer in
            writer.member("algoId", id)
            writer.member("best", price)
        }
    }

    private func wakeAlgo(_ id: Int, _ ticket: AlgoTicket, _ state: MarketState) {
        var quantity = ticket.quantity
        if ticket.closesPosition {
            quantity = accounts[ticket.account].reducible(state.index, ticket.positionSide, by: ticket.side)
            guard quantity.isPositive else { return endAlgo(id, .expired) }
        }
        // What wakes it is what it trades at: the tick belongs before its fills in the log.
        do throws(VenueRefusal) {
            let child = try place(ticket.child(quantity: quantity))
            endAlgo(id, order(child)?.status.isOpen == true ? .triggered : .finished, child: child)
        } catch {
            endAlgo(id, .rejected)
        }
    }
}

extension AlgoTicket {
    /// The order that it becomes.
    func child(quantity: Quantity) -> OrderTicket {
        OrderTicket(
            account: account,
            market: market,
            clientID: clientID,
            side: side,
            type: type.isMarket ? .market : .limit,
            timeInForce: .goodTillCancelled,
            quantity: quantity,
            quoteQuantity: nil,
            price: price,
            reduceOnly: positionSide == .both && (reduceOnly || closesPosition),
            positionSide: positionSide,
            selfTrade: selfTrade,
        )
    }
}

// MARK: Log lines

extension VenueEngine {
    private func algoMembers(_ algo: AlgoRecord, to writer: inout JSONWriter) {
        let ticket = algo.ticket
        writer.member("account", accounts[ticket.account].key)
        writer.member("market", markets[ticket.market].id)
        writer.member("clientOrderId", ticket.clientID)
        writer.member("algoId", algo.id)
        writer.member("side", ticket.side.rawValue)
        writer.member("type", ticket.type.rawValue)
        writer.member("timeInForce", TimeInForce.goodTillCancelled.rawValue)
        writer.member("qty", ticket.quantity)
        writer.member("price", ticket.price)
        writer.member("result", algo.status.rawValue)
        if log.request > 0 { writer.member("request", log.request) }
    }

    func writeAlgo(_ algo: AlgoRecord) {
        log.line("algo", at: now) { writer in
            algoMembers(algo, to: &writer)
            writer.member("triggerPrice", algo.ticket.trigger)
            if let callback = algo.ticket.callback { writer.member("callbackRate", callback) }
            writer.member("mark", algo.ticket.watchesMark)
            writer.member("closePosition", algo.ticket.closesPosition)
            writer.member("reduceOnly", algo.ticket.reduceOnly)
            writer.member("positionSide", algo.ticket.positionSide.rawValue)
            writer.member("selfTrade", algo.ticket.selfTrade.rawValue)
        }
    }

    func writeAlgoEnd(_ algo: AlgoRecord) {
        log.line("algoEnd", at: now) { writer in
            algoMembers(algo, to: &writer)
            if let child = algo.child { writer.member("orderId", child) }
        }
    }
}

// MARK: Answers

extension VenueEngine {
    func write(_ algo: AlgoRecord, to writer: inout JSONWriter) {
        let ticket = algo.ticket
        writer.beginObject()
        writer.member("algoId", algo.id)
        writer.member("clientAlgoId", ticket.clientID)
        writer.member("algoType", "CONDITIONAL")
        writer.member("orderType", ticket.type.rawValue)
        writer.member("type", ticket.type.rawValue)
        writer.member("symbol", markets[ticket.market].market.symbol)
        writer.member("side", ticket.side.rawValue)
        writer.member("positionSide", ticket.positionSide.rawValue)
        writer.member("timeInForce", "GTC")
        writer.member("quantity", ticket.quantity)
        writer.member("algoStatus", algo.status.rawValue)
        writer.member("actualOrderId", algo.child.map(String.init) ?? "")
        writer.member("triggerPrice", ticket.trigger)
        writer.member("price", ticket.price)
        if let callback = ticket.callback {
            writer.member("callbackRate", callback)
            writer.member("activatePrice", ticket.trigger)
        }
        writer.member("workingType", ticket.watchesMark ? "MARK_PRICE" : "CONTRACT_PRICE")
        writer.member("closePosition", ticket.closesPosition)
        writer.member("priceProtect", false)
        writer.member("reduceOnly", ticket.reduceOnly)
        writer.member("selfTradePreventionMode", ticket.selfTrade.rawValue)
        writer.member("createTime", algo.createdAt / 1000)
        writer.member("updateTime", algo.updatedAt / 1000)
        writer.endObject()
    }

    /// ALGO_UPDATE of the user stream.
    func writeAlgoReport(_ algo: AlgoRecord, to writer: inout JSONWriter) {
        let ticket = algo.ticket
        writer.beginObject()
        writer.member("e", "ALGO_UPDATE")
        writer.member("E", now / 1000)
        writer.member("T", now / 1000)
        writer.key("o")
        writer.beginObject()
        writer.member("caid", ticket.clientID)
        writer.member("aid", algo.id)
        writer.member("at", "CONDITIONAL")
        writer.member("o", ticket.type.rawValue)
        writer.member("s", markets[ticket.market].market.symbol)
        writer.member("S", ticket.side.rawValue)
        writer.member("ps", ticket.positionSide.rawValue)
        writer.member("f", "GTC")
        writer.member("q", ticket.quantity)
        writer.member("X", algo.status.rawValue)
        writer.member("ai", algo.child.map(String.init) ?? "")
        writer.member("tp", ticket.trigger)
        writer.member("p", ticket.price)
        writer.member("wt", ticket.watchesMark ? "MARK_PRICE" : "CONTRACT_PRICE")
        writer.member("cp", ticket.closesPosition)
        writer.member("R", ticket.reduceOnly)
        writer.endObject()
        writer.endObject()
    }
}
