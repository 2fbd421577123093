// Requests about conditional orders of linear markets: /fapi/v1/algoOrder and its lists.

internal import JSONText
internal import SmartOrders

extension Gateway {
    func placeAlgo(
        _ route: Route,
        _ parameters: Parameters,
        _ account: Account,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let state = try market(route, parameters)
        let id = try engine.placeAlgo(try parameters.algoTicket(state, account) { freshName(22) })
        if let algo = engine.algo(id) { engine.write(algo, to: &writer) }
    }

    func cancelAlgo(_ parameters: Parameters, _ account: Account, to writer: inout JSONWriter) throws(VenueRefusal) {
        guard let algo = try find(parameters, account) else { throw .unknownOrderCancel }
        try engine.cancelAlgo(algo.id)
        writer.beginObject()
        writer.member("algoId", algo.id)
        writer.member("clientAlgoId", algo.ticket.clientID)
        writer.member("code", "200")
        writer.member("msg", "success")
        writer.endObject()
    }

    func lookUpAlgo(_ parameters: Parameters, _ account: Account, to writer: inout JSONWriter) throws(VenueRefusal) {
        guard let algo = try find(parameters, account), !isHidden(algo) else { throw .unknownOrderQuery }
        engine.write(algo, to: &writer)
    }

    func openAlgos(
        _ route: Route,
        _ parameters: Parameters,
        _ account: Account,
    ) throws(VenueRefusal) -> [AlgoRecord] {
        let wanted = parameters["symbol"] == nil ? nil : try market(route, parameters).index
        return engine.algos.filter { algo in
            algo.status == .new && algo.ticket.account == account.index
                && (wanted == nil || algo.ticket.market == wanted)
        }
    }

    func listAlgos(
        _ route: Route,
        _ parameters: Parameters,
        _ account: Account,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let open = try openAlgos(route, parameters, account)
        writer.beginArray()
        for algo in open where !isHidden(algo) { engine.write(algo, to: &writer) }
        writer.endArray()
    }

    func cancelAllAlgos(
        _ route: Route,
        _ parameters: Parameters,
        _ account: Account,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        for algo in try openAlgos(route, parameters, account) { try engine.cancelAlgo(algo.id) }
        writer.beginObject()
        writer.member("code", 200)
        writer.member("msg", "The operation of cancel all open order is done.")
        writer.endObject()
    }

    private func find(_ parameters: Parameters, _ account: Account) throws(VenueRefusal) -> AlgoRecord? {
        let id = try parameters.integer("algoId")
        let clientID = parameters["clientAlgoId"]
        if id == nil, clientID == nil {
            throw VenueRefusal(-1102, "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!")
        }
        return engine.findAlgo(account, id: id, clientID: clientID)
    }

    private func isHidden(_ algo: AlgoRecord) -> Bool {
        faults.lookupLagMs > 0 && engine.now - algo.createdAt < faults.lookupLagMs * 1000
    }
}

extension Parameters {
    private static let ofAlgos: Set<String> = [
        "algoType", "symbol", "side", "positionSide", "type", "timeInForce", "quantity", "price", "triggerPrice",
        "workingType", "priceMatch", "closePosition", "priceProtect", "reduceOnly", "clientAlgoId", "newOrderRespType",
        "callbackRate", "activatePrice", "selfTradePreventionMode", "goodTillDate", "recvWindow", "timestamp",
    ]

    func algoTicket(
        _ market: MarketState,
        _ account: Account,
        freshID: () -> String,
    ) throws(VenueRefusal) -> AlgoTicket {
        let extra = entries.count { !Self.ofAlgos.contains($0.name) }
        guard extra == 0 else { throw .badParameter }
        guard try required("algoType") == "CONDITIONAL" else { throw .badParameter }
        guard let side = Side(rawValue: try required("side")) else { throw .badSide }
        guard let type = AlgoType(rawValue: try required("type")) else { throw .badType }
        if let text = self["timeInForce"], text != "GTC" { throw .badTimeInForce }
        let (trigger, callback) = try algoTrigger(type)
        let closes = try flag("closePosition")
        let reduceOnly = try flag("reduceOnly")
        let quantity = try decimal("quantity")
        if closes {
            guard type.isMarket else { throw .badCombination }
            if quantity != nil { throw .notRequired("quantity") }
            if reduceOnly { throw .notRequired("reduceonly") }
        } else if quantity == nil {
            throw .missing("quantity")
        }
        let price = try decimal("price")
        if type.isMarket, price != nil { throw .notRequired("price") }
        if !type.isMarket, price == nil { throw .missing("price") }
        var positionSide = PositionSide.both
        if let text = self["positionSide"] {
            guard let named = PositionSide(rawValue: text) else { throw .badParameter }
            positionSide = named
        }
        var selfTrade = SelfTradePrevention.expireMaker
        if let text = self["selfTradePreventionMode"] {
            guard let named = SelfTradePrevention(rawValue: text) else { throw .badParameter }
            selfTrade = named
        }
        let working = self["workingType"] ?? "CONTRACT_PRICE"
        guard working == "CONTRACT_PRICE" || working == "MARK_PRICE" else { throw .badParameter }
        return AlgoTicket(
            account: account.index,
            market: market.index,
            clientID: try clientID("clientAlgoId") ?? freshID(),
            side: side,
            type: type,
            quantity: Quantity(quantity ?? .zero),
            price: Price(price ?? .zero),
            trigger: trigger,
            callback: callback,
            watchesMark: working == "MARK_PRICE",
            closesPosition: closes,
            reduceOnly: reduceOnly,
            positionSide: positionSide,
            selfTrade: selfTrade,
        )
    }

    /// Where it wakes; of a trailing stop where it activates (zero: at once), and its callback in percent.
    private func algoTrigger(_ type: AlgoType) throws(VenueRefusal) -> (Price, ExactDecimal?) {
        guard type == .trailingStop else {
            if self["callbackRate"] != nil { throw .notRequired("callbackrate") }
            if self["activatePrice"] != nil { throw .notRequired("activateprice") }
            guard let trigger = try decimal("triggerPrice") else { throw .missing("triggerPrice") }
            return (Price(trigger), nil)
        }
        if self["triggerPrice"] != nil { throw .notRequired("triggerprice") }
        guard let callback = try decimal("callbackRate") else { throw .missing("callbackRate") }
        // Tenths of a percent, 0.1 to 10.
        let unit = ExactDecimal(mantissa: 1, scale: 1)
        guard callback >= unit, callback <= ExactDecimal(10), callback.isMultiple(of: unit) else {
            throw .badParameter
        }
        return (Price(try decimal("activatePrice") ?? .zero), callback)
    }
}
