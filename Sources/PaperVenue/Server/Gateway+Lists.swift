// Requests about order lists of spot markets.

internal import JSONText
internal import SmartOrders

extension Gateway {
    func placeList(
        _ route: Route,
        _ parameters: Parameters,
        _ account: Account,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let state = try market(route, parameters)
        let legs = try parameters.listTickets(market: state, account: account) { freshName(22) }
        let id = try engine.placeList(
            legs.target,
            legs.stop,
            clientID: try parameters.clientID("listClientOrderId") ?? freshName(22),
        )
        engine.write(engine.lists[id - engine.idBase], to: &writer)
    }

    /// Shows a list, or cancels it whole.
    func orderList(
        _ route: Route,
        _ parameters: Parameters,
        _ account: Account,
        to writer: inout JSONWriter,
    ) throws(VenueRefusal) {
        let isCancel = route.operation == .cancelList
        let id = try parameters.integer("orderListId")
        // A query names it otherwise than a cancel.
        let name = parameters[isCancel ? "listClientOrderId" : "origClientOrderId"]
        guard id != nil || name != nil else { throw .missing("orderListId") }
        let found = engine.lists.last { list in
            list.account == account.index && (id.map { $0 == list.id } ?? (list.clientID == name))
        }
        guard let list = found else { throw isCancel ? .unknownList : .unknownOrderQuery }
        if isCancel {
            guard let open = list.orders.first(where: { engine.order($0)?.status.isOpen == true }) else {
                throw .unknownList
            }
            try engine.cancel(open)
        }
        engine.write(engine.lists[list.id - engine.idBase], to: &writer)
    }
}
