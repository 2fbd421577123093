// What must hold before an order is accepted: filters, ids, funds, positions.

internal import PaperMatching
internal import SmartOrders

extension VenueEngine {
    /// The quantity that a market order sized in quote buys at the current price, on the step; zero without a price.
    func quantity(spending quote: Money, in market: MarketState) -> Quantity {
        guard let price = market.book.fillPrice, quote.isPositive else { return .zero }
        return Quantity(
            .quotient(quote.value, over: price.value, step: market.market.stepSize.value, .floor)
        )
    }

    func checkFilters(_ ticket: OrderTicket, _ state: MarketState) throws(VenueRefusal) {
        let market = state.market
        let isNative = !state.isSpot && configuration.filterCodes == .native
        guard market.isTrading else { throw .marketClosed }
        let isPriced = ticket.type != .market
        let priceDecimals = state.isSpot ? 8 : Int(market.tickSize.value.scale)
        let quantityDecimals = state.isSpot ? 8 : Int(market.stepSize.value.scale)
        if Int(ticket.quantity.value.scale) > quantityDecimals || Int(ticket.price.value.scale) > priceDecimals {
            throw .precision
        }
        if isPriced {
            guard ticket.price.isPositive else {
                throw isNative ? VenueRefusal(-4001, "Price less than 0.") : .filter("PRICE_FILTER")
            }
            guard ticket.price.value.isMultiple(of: market.tickSize.value) else {
                throw isNative ? VenueRefusal(-4014, "Price not increased by tick size.") : .filter("PRICE_FILTER")
            }
        }
        guard ticket.quantity.isPositive, ticket.quantity >= market.minQuantity else {
            if isNative {
                throw ticket.quantity.isPositive
                    ? VenueRefusal(-4004, "Quantity less than min quantity.")
                    : VenueRefusal(-4003, "Quantity less than or equal to zero.")
            }
            throw .filter("LOT_SIZE")
        }
        guard ticket.quantity <= market.maxQuantity else {
            throw isNative ? VenueRefusal(-4005, "Quantity greater than max quantity.") : .filter("LOT_SIZE")
        }
        guard ticket.quantity.value.isMultiple(of: market.stepSize.value) else {
            throw isNative ? VenueRefusal(-4023, "Qty not increased by step size.") : .filter("LOT_SIZE")
        }
        if isPriced { try checkBand(ticket, state, isNative: isNative) }
        try checkNotional(ticket, state, isNative: isNative)
        guard accounts[ticket.account].open.count < market.maxOpenOrders else { throw .filter("MAX_NUM_ORDERS") }
    }

    private func checkBand(_ ticket: OrderTicket, _ state: MarketState, isNative: Bool) throws(VenueRefusal) {
        guard let reference = state.referencePrice?.value else { return }
        let price = ticket.price.value
        // Linear markets bound buys from above and sells from below; spot bounds each side both ways.
        let name = state.isSpot ? "PERCENT_PRICE_BY_SIDE" : "PERCENT_PRICE"
        if let up = state.market.bandUp, state.isSpot || ticket.side == .buy {
            let highest = reference * up.value
            guard price <= highest else {
                throw isNative ? VenueRefusal(-4016, "Limit price can't be higher than \(highest).") : .filter(name)
            }
        }
        if let down = state.market.bandDown, state.isSpot || ticket.side == .sell {
            let lowest = reference * down.value
            guard price >= lowest else {
                throw isNative ? VenueRefusal(-4024, "Limit price can't be lower than \(lowest).") : .filter(name)
            }
        }
    }

    private func checkNotional(_ ticket: OrderTicket, _ state: MarketState, isNative: Bool) throws(VenueRefusal) {
        let onlyReduces = !state.isSpot && (ticket.reduceOnly || ticket.closesSide)
        guard state.market.minNotional.isPositive, !onlyReduces else { return }
        let price: Price
        switch ticket.type {
        case .limit, .limitMaker, .stopLossLimit: price = ticket.price
        case .market:
            guard let current = state.referencePrice else { return }
            price = current
        }
        guard price * ticket.quantity >= state.market.minNotional else {
            if isNative {
                throw VenueRefusal(
                    -4164,
                    "Order's notional must be no smaller than \(state.market.minNotional)"
                        + " (unless you choose reduce only).",
                )
            }
            throw .filter(state.isSpot ? "NOTIONAL" : "MIN_NOTIONAL")
        }
    }

    /// The order that a repeated request asks for again, where the venue answers with it; nil: it is a new one.
    func repeated(_ ticket: OrderTicket) -> Int? {
        guard clientIDs == .returnsFirst else { return nil }
        return accounts[ticket.account].latest[ClientOrderKey(market: ticket.market, clientID: ticket.clientID)]
    }

    func checkClientID(_ ticket: OrderTicket, _ account: Account) throws(VenueRefusal) {
        let key = ClientOrderKey(market: ticket.market, clientID: ticket.clientID)
        guard let known = account.latest[key].flatMap({ order($0) }) else { return }
        let isTaken: Bool
        switch clientIDs {
        case .openOrders: isTaken = known.status.isOpen
        case .forever: isTaken = true
        // The first one was answered with before anything was checked.
        case .notEnforced, .returnsFirst: isTaken = false
        }
        if isTaken { throw markets[ticket.market].isSpot ? .duplicateSpot : .duplicateLinear }
    }

    /// The quantity for the book: of a reducing order at most the position.
    func checkReducing(
        _ ticket: OrderTicket,
        _ state: MarketState,
        _ account: Account,
    ) throws(VenueRefusal) -> Quantity {
        guard !state.isSpot else { return ticket.quantity }
        switch (account.hasTwoSides, ticket.positionSide) {
        case (false, .both), (true, .long), (true, .short): break
        case (false, .long), (false, .short), (true, .both): throw .wrongPositionSide
        }
        if account.hasTwoSides, ticket.reduceOnly { throw .notRequired("reduceonly") }
        guard ticket.reduceOnly || ticket.closesSide else { return ticket.quantity }
        let reducible = account.reducible(state.index, ticket.positionSide, by: ticket.side)
        guard reducible.isPositive else { throw .reduceOnlyRejected }
        switch configuration.reduceOnly {
        case .clamp: return min(ticket.quantity, reducible)
        case .refuse:
            var resting = Quantity.zero
            for id in account.open {
                let order = orders[id - idBase]
                guard order.market == state.index, order.onlyReduces, order.side == ticket.side,
                    order.positionSide == ticket.positionSide
                else { continue }
                resting += order.unfilled
            }
            guard resting + ticket.quantity <= reducible else { throw .reduceOnlyFailed }
            return ticket.quantity
        }
    }

    /// What the order sets aside; refuses what the account cannot pay.
    func reservation(
        _ ticket: OrderTicket,
        _ state: MarketState,
        _ account: Account,
    ) throws(VenueRefusal) -> ExactDecimal {
        if state.isSpot {
            let wanted: ExactDecimal
            switch (ticket.side, ticket.type) {
            case (.sell, _): wanted = ticket.quantity.value
            case (.buy, .limit), (.buy, .limitMaker), (.buy, .stopLossLimit):
                wanted = (ticket.price * ticket.quantity).value
            case (.buy, .market): wanted = state.book.fillPrice.map { ($0 * ticket.quantity).value } ?? .zero
            }
            let asset = ticket.side == .buy ? state.quote : state.base
            guard wanted <= account.spot[asset, default: Balance()].free else { throw .insufficientBalance }
            return wanted
        }
        guard !ticket.reduceOnly, !ticket.closesSide else { return .zero }
        let position = account.position(state.index, ticket.positionSide).quantity
        let closes = ticket.side == .sell ? position.isPositive : position.isNegative
        let opening = closes ? ticket.quantity.value - position.magnitude : ticket.quantity.value
        let price = ticket.type == .market ? state.book.fillPrice ?? state.referencePrice ?? .zero : ticket.price
        guard opening.isPositive, price.isPositive else { return .zero }
        let margin = initialMargin(opening * price.value, state, account)
        guard margin <= availableMargin(account, asset: state.quote) else { throw .marginInsufficient }
        return margin
    }

    func initialMargin(_ notional: ExactDecimal, _ state: MarketState, _ account: Account) -> ExactDecimal {
        let leverage = account.leverage[state.index] ?? configuration.leverage
        return .quotient(
            notional.magnitude,
            over: ExactDecimal(leverage),
            step: ExactDecimal(mantissa: 1, scale: 8),
            .ceiling,
        )
    }

    /// Wallet less losses not realized, less the margin of positions and resting orders.
    func availableMargin(_ account: Account, asset: Int) -> ExactDecimal {
        var unrealized = ExactDecimal.zero
        var margin = ExactDecimal.zero
        for (key, position) in account.positions where !position.quantity.isZero {
            let state = markets[key.market]
            guard state.quote == asset, let price = state.referencePrice?.value else { continue }
            let value = position.quantity * price
            unrealized += value - position.cost
            margin += initialMargin(value, state, account)
        }
        let wallet = account.wallet[asset] ?? .zero
        let available = wallet + min(unrealized, .zero) - margin - (account.orderMargin[asset] ?? .zero)
        return max(available, .zero)
    }
}

extension OrderTicket {
    /// The closing side of a two-sided position.
    var closesSide: Bool {
        switch (positionSide, side) {
        case (.long, .sell), (.short, .buy): true
        case (.long, .buy), (.short, .sell), (.both, .buy), (.both, .sell): false
        }
    }
}
