// Spot's sleeping stops, and order lists of which one leg cancels the other (exchanges/FACTS.md 6.1).
//
// A stop reserves its coins from the start (that is why only one exit can rest on spot). The legs of a list share one
// reservation: the maker leg holds it, the stop takes it over when it wakes. Any fill of one leg, however small, expires
// the other. Cost: a tick looks at every sleeping stop of its market.

internal import JSONText
internal import PaperMatching
internal import SmartOrders

struct OrderListRecord {
    let id: Int
    let clientID: String
    let account: Int
    let market: Int
    var orders: [Int]
    let createdAt: Int64
}

extension VenueEngine {
    func checkStop(_ ticket: OrderTicket, _ stop: Price, _ market: MarketState) throws(VenueRefusal) {
        guard stop.isPositive, stop.value.isMultiple(of: market.market.tickSize.value) else {
            throw .filter("PRICE_FILTER")
        }
        if let price = market.book.fillPrice, ticket.isReached(price) { throw .wouldTriggerSpot }
    }

    /// Places a maker and a stop; returns the list's id.
    func placeList(_ target: OrderTicket, _ stop: OrderTicket, clientID: String) throws(VenueRefusal) -> Int {
        guard Set([target.clientID, stop.clientID, clientID]).count == 3 else { throw .duplicateSpot }
        if let known = lists.last(where: { $0.account == target.account && $0.clientID == clientID }),
            known.orders.contains(where: { orders[$0 - idBase].status.isOpen })
        {
            throw .duplicateSpot
        }
        let (checkedTarget, _, wanted) = try check(target)
        let last = markets[target.market].book.fillPrice
        if let last, let trigger = stop.stop {
            let isRight =
                target.side == .sell ? target.price > last && last > trigger : target.price < last && last < trigger
            guard isRight else { throw .badListPrices }
        }
        let (checkedStop, _, whole) = try check(stop)
        let id = lists.count + idBase
        openList(id, clientID: clientID, account: target.account, market: target.market)
        for (ticket, reserved) in [(checkedTarget, wanted), (checkedStop, max(.zero, whole - wanted))] {
            var leg = ticket
            leg.list = id
            let order = admit(leg, reserved: reserved)
            lists[id - idBase].orders.append(order)
            writeAccept(orders[order - idBase])
            announce(order, .new)
        }
        let maker = lists[id - idBase].orders[0]
        submit(maker, checkedTarget.quantity, markets[target.market])
        return id
    }

    func openList(_ id: Int, clientID: String, account: Int, market: Int) {
        lists.append(
            OrderListRecord(
                id: id,
                clientID: clientID,
                account: account,
                market: market,
                orders: [],
                createdAt: now,
            )
        )
    }

    func list(of order: OrderRecord) -> OrderListRecord? { order.list.map { lists[$0 - idBase] } }

    func siblings(of id: Int) -> [Int] { list(of: orders[id - idBase])?.orders.filter { $0 != id } ?? [] }

    /// A leg that has executed something is the one that wins.
    func endSiblings(of id: Int) {
        guard orders[id - idBase].filled.isPositive else { return }
        for sibling in siblings(of: id) where orders[sibling - idBase].status.isOpen { end(sibling, .expired) }
    }

    /// Wakes the stops that the last price reached, in order of acceptance.
    func wakeStops(_ state: MarketState) {
        guard !state.sleepingStops.isEmpty, let price = state.last else { return }
        for id in state.sleepingStops {
            let order = orders[id - idBase]
            guard order.status.isOpen, order.isAsleep else { continue }
            guard let stop = order.stop, order.side == .sell ? price <= stop : price >= stop else { continue }
            wakeStop(id, state)
        }
        state.sleepingStops.removeAll { !orders[$0 - idBase].status.isOpen || !orders[$0 - idBase].isAsleep }
    }

    private func wakeStop(_ id: Int, _ state: MarketState) {
        for sibling in siblings(of: id) where orders[sibling - idBase].status.isOpen { end(sibling, .expired) }
        let order = orders[id - idBase]
        let whole = order.side == .sell ? order.quantity.value : (order.price * order.quantity).value
        let missing = whole - order.reserved
        let asset = order.side == .buy ? state.quote : state.base
        guard missing <= accounts[order.account].spot[asset, default: Balance()].free else {
            end(id, .expired)
            return
        }
        wake(id, reserving: missing)
        writeWake(orders[id - idBase], reserving: missing)
        announce(id, .new)
        submit(id, order.quantity, state)
    }

    /// Takes a stop out of its sleep, with what its list had reserved for it; a restart does the same.
    func wake(_ id: Int, reserving missing: ExactDecimal) {
        let order = orders[id - idBase]
        let market = markets[order.market]
        let asset = order.side == .buy ? market.quote : market.base
        accounts[order.account].spot[asset, default: Balance()].free -= missing
        accounts[order.account].spot[asset, default: Balance()].locked += missing
        orders[id - idBase].reserved += missing
        orders[id - idBase].isAsleep = false
        orders[id - idBase].updatedAt = now
    }

    func write(_ list: OrderListRecord, to writer: inout JSONWriter) {
        let isOpen = list.orders.contains { orders[$0 - idBase].status.isOpen }
        writer.beginObject()
        writer.member("orderListId", list.id)
        writer.member("contingencyType", "OCO")
        writer.member("listStatusType", isOpen ? "EXEC_STARTED" : "ALL_DONE")
        writer.member("listOrderStatus", isOpen ? "EXECUTING" : "ALL_DONE")
        writer.member("listClientOrderId", list.clientID)
        writer.member("transactionTime", list.createdAt / 1000)
        writer.member("symbol", markets[list.market].market.symbol)
        writer.key("orders")
        writer.beginArray()
        for id in list.orders {
            writer.beginObject()
            writer.member("symbol", markets[list.market].market.symbol)
            writer.member("orderId", id)
            writer.member("clientOrderId", orders[id - idBase].clientID)
            writer.endObject()
        }
        writer.endArray()
        writer.key("orderReports")
        writer.beginArray()
        for id in list.orders { write(orders[id - idBase], .placed(.result), to: &writer) }
        writer.endArray()
        writer.endObject()
    }
}
