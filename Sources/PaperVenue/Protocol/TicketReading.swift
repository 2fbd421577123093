// From the parameters of a placement to an order ticket: form only, the engine checks the rest.

internal import SmartOrders

extension Parameters {
    private static let known: [PaperProduct: Set<String>] = [
        .spot: [
            "symbol", "side", "type", "timeInForce", "quantity", "quoteOrderQty", "price", "newClientOrderId",
            "newOrderRespType", "selfTradePreventionMode", "recvWindow", "timestamp", "strategyId", "strategyType",
            "stopPrice",
        ],
        .linear: [
            "symbol", "side", "type", "timeInForce", "quantity", "price", "newClientOrderId", "newOrderRespType",
            "selfTradePreventionMode", "recvWindow", "timestamp", "reduceOnly", "positionSide", "priceMatch",
        ],
    ]

    /// Letters, digits and `.:/_-`, 1 to 36.
    static func isClientID(_ text: String) -> Bool {
        (1...36).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "/"),
                    UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }

    func clientID(_ name: String) throws(VenueRefusal) -> String? {
        guard let text = self[name] else { return nil }
        guard Self.isClientID(text) else {
            throw VenueRefusal(
                -1100,
                "Illegal characters found in parameter '\(name)'; legal range is '^[\\.A-Z\\:/a-z0-9_-]{1,36}$'.",
            )
        }
        return text
    }

    /// - Parameter freshID: names an order whose client did not.
    func ticket(
        _ product: PaperProduct,
        market: MarketState,
        account: Account,
        freshID: () -> String,
    ) throws(VenueRefusal) -> OrderTicket {
        guard let side = Side(rawValue: try required("side")) else { throw .badSide }
        let type = try orderType(product)
        let known = Self.known[product] ?? []
        let extra = entries.count { !known.contains($0.name) }
        guard extra == 0 else {
            throw VenueRefusal(
                -1104,
                "Not all sent parameters were read; read '\(entries.count - extra)' parameter(s) but was sent"
                    + " '\(entries.count)'.",
            )
        }
        let timeInForce: TimeInForce
        switch type {
        case .market, .limitMaker:
            if self["timeInForce"] != nil { throw .notRequired("timeInForce") }
            timeInForce = .goodTillCancelled
        case .stopLossLimit:
            guard try required("timeInForce") == "GTC" else { throw .badTimeInForce }
            timeInForce = .goodTillCancelled
        case .limit:
            guard let named = TimeInForce(rawValue: try required("timeInForce")) else { throw .badTimeInForce }
            if product == .spot, named == .postOnly { throw .badTimeInForce }
            timeInForce = named
        }
        var price = ExactDecimal.zero
        switch type {
        case .market: if self["price"] != nil { throw .notRequired("price") }
        case .limit, .limitMaker, .stopLossLimit:
            guard let value = try decimal("price") else { throw .missing("price") }
            price = value
        }
        var stop: Price?
        if type == .stopLossLimit {
            guard let value = try decimal("stopPrice") else { throw .missing("stopPrice") }
            stop = Price(value)
        } else if self["stopPrice"] != nil {
            throw .notRequired("stopPrice")
        }
        let quantity = try decimal("quantity")
        var quoteQuantity: Money?
        if let quote = try decimal("quoteOrderQty") {
            guard type == .market else { throw .notRequired("quoteOrderQty") }
            guard quantity == nil else { throw .badCombination }
            quoteQuantity = Money(quote)
        } else if quantity == nil {
            throw .missing("quantity")
        }
        var positionSide = PositionSide.both
        if let text = self["positionSide"] {
            guard let named = PositionSide(rawValue: text) else { throw .badParameter }
            positionSide = named
        }
        var selfTrade: SelfTradePrevention = product == .spot ? .none : .expireMaker
        if let text = self["selfTradePreventionMode"] {
            guard let named = SelfTradePrevention(rawValue: text) else { throw .badParameter }
            selfTrade = named
        }
        return OrderTicket(
            account: account.index,
            market: market.index,
            clientID: try clientID("newClientOrderId") ?? freshID(),
            side: side,
            type: type,
            timeInForce: timeInForce,
            quantity: Quantity(quantity ?? .zero),
            quoteQuantity: quoteQuantity,
            price: Price(price),
            reduceOnly: try flag("reduceOnly"),
            positionSide: positionSide,
            selfTrade: selfTrade,
            stop: stop,
        )
    }

    /// The two legs of a list: the maker, then the stop.
    func listTickets(
        market: MarketState,
        account: Account,
        freshID: () -> String,
    ) throws(VenueRefusal) -> (target: OrderTicket, stop: OrderTicket) {
        guard let side = Side(rawValue: try required("side")) else { throw .badSide }
        guard let quantity = try decimal("quantity") else { throw .missing("quantity") }
        var selfTrade = SelfTradePrevention.none
        if let text = self["selfTradePreventionMode"] {
            guard let named = SelfTradePrevention(rawValue: text) else { throw .badParameter }
            selfTrade = named
        }
        func leg(_ place: String, _ type: OrderType) throws(VenueRefusal) -> OrderTicket {
            guard let price = try decimal(place + "Price") else { throw .missing(place + "Price") }
            var stop: Price?
            if type == .stopLossLimit {
                guard let value = try decimal(place + "StopPrice") else { throw .missing(place + "StopPrice") }
                guard try required(place + "TimeInForce") == "GTC" else { throw .badTimeInForce }
                stop = Price(value)
            }
            return OrderTicket(
                account: account.index,
                market: market.index,
                clientID: try clientID(place + "ClientOrderId") ?? freshID(),
                side: side,
                type: type,
                timeInForce: .goodTillCancelled,
                quantity: Quantity(quantity),
                quoteQuantity: nil,
                price: Price(price),
                reduceOnly: false,
                positionSide: .both,
                selfTrade: selfTrade,
                stop: stop,
            )
        }
        let isSell = side == .sell
        let (maker, sleeper) = isSell ? ("above", "below") : ("below", "above")
        guard try required(maker + "Type") == "LIMIT_MAKER", try required(sleeper + "Type") == "STOP_LOSS_LIMIT" else {
            throw .badType
        }
        return (try leg(maker, .limitMaker), try leg(sleeper, .stopLossLimit))
    }

    private func orderType(_ product: PaperProduct) throws(VenueRefusal) -> OrderType {
        let text = try required("type")
        switch (product, text) {
        case (_, "LIMIT"): return .limit
        case (_, "MARKET"): return .market
        case (.spot, "LIMIT_MAKER"): return .limitMaker
        case (.spot, "STOP_LOSS_LIMIT"): return .stopLossLimit
        case (.spot, "STOP_LOSS"):
            throw VenueRefusal(-1013, "Stop loss orders are not supported for this symbol.")
        case (.spot, "TAKE_PROFIT"), (.spot, "TAKE_PROFIT_LIMIT"):
            throw VenueRefusal(-1013, "Take profit orders are not supported for this symbol.")
        case (.linear, "STOP"), (.linear, "STOP_MARKET"), (.linear, "TAKE_PROFIT"), (.linear, "TAKE_PROFIT_MARKET"),
            (.linear, "TRAILING_STOP_MARKET"):
            throw .conditionalNotHere
        default: throw .badType
        }
    }
}
