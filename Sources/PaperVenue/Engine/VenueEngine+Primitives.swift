// The three changes of state that the log records, and the few besides (accounts, deposits, settings). Live work and
// replay call the same functions.

internal import PaperMatching
internal import SmartOrders

extension VenueEngine {
    func openAccount(_ key: String, hasTwoSides: Bool) -> Account {
        let account = Account(index: accounts.count, key: key, hasTwoSides: hasTwoSides)
        accounts.append(account)
        accountIndex[key] = account.index
        return account
    }

    /// Deposits or withdraws (negative), with its log line.
    func adjust(_ account: Account, _ product: PaperProduct, _ asset: Int, by amount: ExactDecimal) {
        deposit(account, product, asset, amount)
        writeDeposit(account, product, asset, amount)
    }

    func deposit(_ account: Account, _ product: PaperProduct, _ asset: Int, _ amount: ExactDecimal) {
        switch product {
        case .spot: account.spot[asset, default: Balance()].free += amount
        case .linear: account.wallet[asset, default: .zero] += amount
        }
    }

    /// Replaces a position: what a person did elsewhere.
    func setPosition(
        _ account: Account,
        _ market: MarketState,
        _ side: PositionSide,
        _ quantity: ExactDecimal,
        _ price: ExactDecimal,
    ) {
        account.positions[PositionKey(market: market.index, side: side)] = Position(
            quantity: quantity,
            cost: quantity * price,
            updatedAt: now,
        )
    }

    /// Takes an order into the books and sets its reservation aside. Returns its id.
    func admit(_ ticket: OrderTicket, reserved: ExactDecimal) -> Int {
        let id = orders.count + idBase
        let account = accounts[ticket.account]
        let market = markets[ticket.market]
        orders.append(
            OrderRecord(
                id: id,
                account: ticket.account,
                market: ticket.market,
                clientID: ticket.clientID,
                side: ticket.side,
                type: ticket.type,
                timeInForce: ticket.timeInForce,
                quantity: ticket.quantity,
                price: ticket.price,
                reduceOnly: ticket.reduceOnly,
                positionSide: ticket.positionSide,
                selfTrade: ticket.selfTrade,
                stop: ticket.stop,
                list: ticket.list,
                isAsleep: ticket.stop != nil,
                createdAt: now,
                updatedAt: now,
                status: .new,
                filled: .zero,
                cost: .zero,
                reserved: reserved,
                trades: [],
            )
        )
        account.open.insert(id)
        if ticket.stop != nil { market.sleepingStops.append(id) }
        account.orders[market.index, default: []].append(id)
        account.latest[ClientOrderKey(market: market.index, clientID: ticket.clientID)] = id
        if market.isSpot {
            let asset = ticket.side == .buy ? market.quote : market.base
            account.spot[asset, default: Balance()].free -= reserved
            account.spot[asset, default: Balance()].locked += reserved
        } else {
            account.orderMargin[market.quote, default: .zero] += reserved
        }
        return id
    }

    /// Applies one execution to its order and its account.
    func execute(_ match: Match, _ fee: (amount: ExactDecimal, asset: Int)) -> TradeRecord {
        let index = match.key - idBase
        let order = orders[index]
        let market = markets[order.market]
        let account = accounts[order.account]
        let value = (match.price * match.quantity).value
        let released = share(of: order, filling: match.quantity, market)
        var realized = ExactDecimal.zero
        if market.isSpot {
            switch order.side {
            case .buy:
                account.spot[market.quote, default: Balance()].locked -= released
                account.spot[market.quote, default: Balance()].free += released - value
                account.spot[market.base, default: Balance()].free += match.quantity.value
            case .sell:
                account.spot[market.base, default: Balance()].locked -= released
                account.spot[market.base, default: Balance()].free += released - match.quantity.value
                account.spot[market.quote, default: Balance()].free += value
            }
            if !fee.amount.isZero { account.spot[fee.asset, default: Balance()].free -= fee.amount }
        } else {
            let key = PositionKey(market: market.index, side: order.positionSide)
            let signed = order.side == .buy ? match.quantity.value : -match.quantity.value
            var position = account.positions[key] ?? Position()
            realized = position.add(signed, at: match.price.value)
            position.updatedAt = now
            account.positions[key] = position
            account.orderMargin[market.quote, default: .zero] -= released
            account.wallet[market.quote, default: .zero] += realized - fee.amount
        }
        let trade = TradeRecord(
            id: trades.count + idBase,
            order: order.id,
            price: match.price,
            quantity: match.quantity,
            isMaker: match.isMaker,
            fee: fee.amount,
            feeAsset: fee.asset,
            realized: realized,
            time: now,
        )
        trades.append(trade)
        account.trades[market.index, default: []].append(trade.id)
        orders[index].filled += match.quantity
        orders[index].cost += Money(value)
        orders[index].reserved -= released
        orders[index].updatedAt = now
        orders[index].status = .partiallyFilled
        orders[index].trades.append(trade.id)
        return trade
    }

    /// How much of the reservation a fill uses up.
    private func share(of order: OrderRecord, filling quantity: Quantity, _ market: MarketState) -> ExactDecimal {
        if order.reserved.isZero || quantity == order.unfilled { return order.reserved }
        if market.isSpot {
            switch (order.side, order.type) {
            case (.sell, _): return quantity.value
            case (.buy, .limit), (.buy, .limitMaker), (.buy, .stopLossLimit): return (order.price * quantity).value
            case (.buy, .market): break
            }
        }
        return .quotient(
            order.reserved * quantity.value,
            over: order.unfilled.value,
            step: ExactDecimal(mantissa: 1, scale: 12),
            .floor,
        )
    }

    /// Ends an order and gives back what it still holds.
    func finish(_ id: Int, _ status: OrderStatus) {
        let index = id - idBase
        let order = orders[index]
        let account = accounts[order.account]
        let market = markets[order.market]
        if market.isSpot {
            let asset = order.side == .buy ? market.quote : market.base
            account.spot[asset, default: Balance()].locked -= order.reserved
            account.spot[asset, default: Balance()].free += order.reserved
        } else {
            account.orderMargin[market.quote, default: .zero] -= order.reserved
        }
        account.open.remove(id)
        orders[index].reserved = .zero
        orders[index].status = status
        orders[index].updatedAt = now
    }
}
