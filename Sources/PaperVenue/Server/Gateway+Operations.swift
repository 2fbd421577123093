// What each operation does once it has reached the engine.

internal import JSONText
internal import SmartOrders

extension Gateway {
    /// Performs one operation and returns the body of its answer.
    func perform(_ route: Route, _ parameters: Parameters, _ request: GatewayRequest) throws(VenueRefusal) -> [UInt8] {
        var writer = JSONWriter(reserving: 512)
        switch route.operation {
        case .place, .placeTest: try place(route, parameters, request, to: &writer)
        case .placeTogether: preconditionFailure("each of its orders is placed")
        case .cancel: try cancel(route, parameters, request, to: &writer)
        case .cancelAll: try cancelAll(route, parameters, request, to: &writer)
        case .lookup: try lookUp(route, parameters, request, to: &writer)
        case .openOrders, .allOrders, .trades: try list(route, parameters, request, to: &writer)
        case .placeList: try placeList(route, parameters, account(request), to: &writer)
        case .cancelList, .lookupList: try orderList(route, parameters, account(request), to: &writer)
        case .placeAlgo: try placeAlgo(route, parameters, account(request), to: &writer)
        case .cancelAlgo: try cancelAlgo(parameters, account(request), to: &writer)
        case .lookupAlgo: try lookUpAlgo(parameters, account(request), to: &writer)
        case .openAlgos: try listAlgos(route, parameters, account(request), to: &writer)
        case .cancelAllAlgos: try cancelAllAlgos(route, parameters, account(request), to: &writer)
        case .account where request.path.hasSuffix("/apiRestrictions"):
            writer.beginObject()
            writer.member("ipRestrict", false)
            writer.member("enableReading", true)
            writer.member("enableSpotAndMarginTrading", true)
            writer.member("enableFutures", true)
            writer.member("enableWithdrawals", keyring.withdrawers.contains(request.apiKey ?? ""))
            writer.endObject()
        case .account:
            switch route.product {
            case .spot: engine.writeSpotAccount(account(request), to: &writer)
            case .linear: engine.writeLinearAccount(account(request), to: &writer)
            }
        case .balance: engine.writeLinearBalances(account(request), to: &writer)
        case .positions:
            engine.writePositions(
                account(request),
                symbol: parameters["symbol"],
                listsFlat: request.path.contains("/v2/"),
                to: &writer,
            )
        case .sides:
            writer.beginObject()
            writer.member("dualSidePosition", account(request).hasTwoSides)
            writer.endObject()
        case .setSides: try setSides(parameters, request, to: &writer)
        case .leverage: try setLeverage(parameters, request, to: &writer)
        case .exchangeInfo: engine.writeExchangeInfo(route.product, to: &writer)
        case .time:
            writer.beginObject()
            writer.member("serverTime", engine.now / 1000)
            writer.endObject()
        case .ping:
            writer.beginObject()
            writer.endObject()
        case .averagePrice:
            let state = try market(route, parameters)
            writer.beginObject()
            writer.member("mins", 0)
            writer.member("price", state.last ?? state.mark ?? .zero)
            writer.endObject()
        case .tickerPrice: try ticker(.price, route, parameters, to: &writer)
        case .ticker24h: try ticker(.day, route, parameters, to: &writer)
        case .bookTicker: try ticker(.book, route, parameters, to: &writer)
        case .markPrice: try ticker(.mark, route, parameters, to: &writer)
        case .publicTrades:
            try streams.writeHistory(try market(route, parameters), parameters, to: &writer)
        case .openStream, .renewStream, .closeStream: try listenKey(route, parameters, request, to: &writer)
        }
        return writer.take()
    }

    /// One market, or all of the product.
    private func ticker(
        _ kind: TickerKind,
        _ route: Route,
        _ parameters: Parameters,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        if parameters["symbol"] != nil {
            engine.writeTicker(kind, try market(route, parameters), to: &writer)
            return
        }
        writer.beginArray()
        for state in engine.markets where state.market.product == route.product {
            engine.writeTicker(kind, state, to: &writer)
        }
        writer.endArray()
    }

    func account(_ request: GatewayRequest) -> Account { engine.account(request.apiKey ?? "") }

    func market(_ route: Route, _ parameters: Parameters) throws(VenueRefusal) -> MarketState {
        guard let state = engine.market(route.product, try parameters.required("symbol")) else { throw .badSymbol }
        return state
    }

    func place(
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let state = try market(route, parameters)
        let ticket = try parameters.ticket(route.product, market: state, account: account(request)) { freshName(22) }
        // Orders with a price of their own are acknowledged in full on spot, in short on linear markets.
        var response: ResponseType
        switch (route.product, ticket.type) {
        case (.spot, .market), (.spot, .limit): response = .full
        case (.spot, .limitMaker), (.spot, .stopLossLimit), (.linear, _): response = .acknowledge
        }
        if let text = parameters["newOrderRespType"] {
            guard let named = ResponseType(rawValue: text), route.product == .spot || named != .full else {
                throw .badParameter
            }
            response = named
        }
        if route.operation == .placeTest {
            try engine.check(ticket)
            writer.beginObject()
            writer.endObject()
            return
        }
        let id = try engine.place(ticket)
        if let order = engine.order(id) { engine.write(order, .placed(response), to: &writer) }
    }

    /// The order that `orderId` or `origClientOrderId` names, unless a lookup may not see it yet.
    func find(
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        isLookup: Bool,
    ) throws(VenueRefusal) -> OrderRecord? {
        let state = try market(route, parameters)
        let id = try parameters.integer("orderId")
        let clientID = parameters["origClientOrderId"]
        if id == nil, clientID == nil {
            throw VenueRefusal(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        }
        guard let order = engine.find(account(request), state, id: id, clientID: clientID) else { return nil }
        return isLookup && isHidden(order) ? nil : order
    }

    private func isHidden(_ order: OrderRecord) -> Bool {
        faults.lookupLagMs > 0 && engine.now - order.createdAt < faults.lookupLagMs * 1000
    }

    private func cancel(
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        guard let order = try find(route, parameters, request, isLookup: false) else { throw .unknownOrderCancel }
        let cancelID = try parameters.clientID("newClientOrderId") ?? freshName(22)
        try engine.cancel(order.id, by: cancelID)
        if let ended = engine.order(order.id) { engine.write(ended, .cancelled(cancelID), to: &writer) }
    }

    private func cancelAll(
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let state = try market(route, parameters)
        let ids = account(request).open.sorted().filter { engine.order($0)?.market == state.index }
        if state.isSpot, ids.isEmpty { throw .unknownOrderCancel }
        for id in ids { try engine.cancel(id) }
        guard state.isSpot else {
            writer.beginObject()
            writer.member("code", 200)
            writer.member("msg", "The operation of cancel all open order is done.")
            writer.endObject()
            return
        }
        writer.beginArray()
        for id in ids {
            if let order = engine.order(id) { engine.write(order, .cancelled(freshName(22)), to: &writer) }
        }
        writer.endArray()
    }

    private func lookUp(
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        guard let order = try find(route, parameters, request, isLookup: true) else { throw .unknownOrderQuery }
        engine.write(order, .queried, to: &writer)
    }

    private func list(
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let account = account(request)
        if route.operation == .openOrders {
            let wanted = parameters["symbol"] == nil ? nil : try market(route, parameters).index
            writer.beginArray()
            for id in account.open.sorted() {
                guard let order = engine.order(id), wanted == nil || order.market == wanted, !isHidden(order),
                    engine.markets[order.market].market.product == route.product
                else { continue }
                engine.write(order, .queried, to: &writer)
            }
            writer.endArray()
            return
        }
        let state = try market(route, parameters)
        let range = try parameters.page()
        writer.beginArray()
        if route.operation == .allOrders {
            let orders = (account.orders[state.index] ?? []).compactMap { engine.order($0) }
                .filter { !isHidden($0) }
            let from = try parameters.integer("orderId")
            for order in range.cut(orders, from: from, id: \.id, time: \.createdAt) {
                engine.write(order, .queried, to: &writer)
            }
        } else {
            let only = try parameters.integer("orderId")
            let ids: [Int]
            if let only {
                ids = engine.find(account, state, id: only, clientID: nil)?.trades ?? []
            } else {
                let all = account.trades[state.index] ?? []
                ids = Array(all[(range.start.map { first(of: all, notBefore: $0) } ?? 0)...])
            }
            let trades = ids.map { engine.trade($0) }
                .filter { trade in engine.order(trade.order).map { !isHidden($0) } == true }
            let from = try parameters.integer("fromId")
            for trade in range.cut(trades, from: from, id: \.id, time: \.time) { engine.write(trade, to: &writer) }
        }
        writer.endArray()
    }

    /// Where the trades of a millisecond and later ones begin: they come in the order of their times.
    private func first(of trades: [Int], notBefore start: Int64) -> Int {
        var (low, high) = (0, trades.count)
        while low < high {
            let middle = (low + high) / 2
            if engine.trade(trades[middle]).time / 1000 < start { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func setLeverage(
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let state = try market(Route(product: .linear, operation: .leverage), parameters)
        guard let leverage = try parameters.integer("leverage") else { throw .missing("leverage") }
        guard (1...125).contains(leverage) else { throw VenueRefusal(-4028, "Leverage \(leverage) is not valid") }
        let account = account(request)
        account.leverage[state.index] = leverage
        engine.writeLeverage(account, state, leverage)
        writer.beginObject()
        writer.member("leverage", leverage)
        writer.member("maxNotionalValue", "1000000000")
        writer.member("symbol", state.market.symbol)
        writer.endObject()
    }

    private func setSides(
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        guard parameters["dualSidePosition"] != nil else { throw .missing("dualSidePosition") }
        let wanted = try parameters.flag("dualSidePosition")
        let account = account(request)
        guard wanted != account.hasTwoSides else { throw .sideUnchanged }
        guard account.positions.values.allSatisfy({ $0.quantity.isZero }),
            account.open.allSatisfy({ id in engine.order(id).map { engine.markets[$0.market].isSpot } == true })
        else { throw .sideHeld }
        account.hasTwoSides = wanted
        engine.writeSides(account)
        writer.beginObject()
        writer.member("code", 200)
        writer.member("msg", "success")
        writer.endObject()
    }

    private func listenKey(
        _ route: Route,
        _ parameters: Parameters,
        _ request: GatewayRequest,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let owner = StreamOwner(account: account(request).index, product: route.product)
        writer.beginObject()
        if route.operation == .openStream {
            writer.member("listenKey", streams.listenKey(owner) { freshName(60) })
        } else if route.operation == .closeStream {
            streams.closeListenKey(owner)
        } else if !streams.hasListenKey(owner) {
            throw .badListenKey
        }
        writer.endObject()
    }
}

/// Which part of a list is wanted.
struct Page {
    let start: Int64?
    let end: Int64?
    let limit: Int

    /// The newest `limit` entries; from `from` or from the start time on: the oldest.
    func cut<Entry>(
        _ entries: [Entry],
        from: Int?,
        id: (Entry) -> Int,
        time: (Entry) -> Int64,
    ) -> ArraySlice<Entry> {
        let kept = entries.filter { entry in
            (from.map { id(entry) >= $0 } ?? true) && (start.map { time(entry) / 1000 >= $0 } ?? true)
                && (end.map { time(entry) / 1000 <= $0 } ?? true)
        }
        return from != nil || start != nil ? kept.prefix(limit) : kept.suffix(limit)
    }
}

extension Parameters {
    func page() throws(VenueRefusal) -> Page {
        let limit = try integer("limit") ?? 500
        guard limit > 0 else { throw .badParameter }
        return Page(
            start: try integer("startTime").map(Int64.init),
            end: try integer("endTime").map(Int64.init),
            limit: min(limit, 1000),
        )
    }
}
