// What the evaluator keeps of an order, derived from its row.
public import SmartOrders

extension ArmedOrder {
    /// The armed form of a row. Stores keep it beside the row, so that a million orders load without their plans.
    public init(_ order: StoredOrder) {
        var watches = order.isTerminal ? [] : order.watches
        if order.wantsEveryTick {
            // Whatever the price, the next tick decides: the lowest price there is.
            let least = Price(units: 1, decimals: order.instrument.priceDecimals)
            watches = [Watch(leg: .timer, attempt: Int(order.version), condition: .atOrAbove(least))]
        }
        let trails = watches.contains { watch in
            switch watch.condition {
            case .trailsHigh, .trailsLow: true
            case .atOrAbove, .atOrBelow: false
            }
        }
        let instrument = order.instrument
        let tickUnits = trails ? instrument.armedTick.value.units(decimals: instrument.priceDecimals) ?? 0 : 0
        self.init(
            id: order.id,
            version: order.version,
            market: order.instrument.market,
            source: order.triggerSource,
            position: order.position,
            watches: watches,
            tickUnits: tickUnits,
            wantsEveryTick: order.wantsEveryTick,
            isBusy: order.venueOrders.contains { $0.isUnanswered },
            dueAt: order.nextTimer,
            isLive: !order.isTerminal,
        )
    }
}

extension VenueOrder {
    /// Asked, or about to be asked, and not answered: nobody knows whether it exists.
    public var isUnanswered: Bool {
        switch state {
        case .intent, .submitted, .unknown, .cancelRequested: true
        case .open, .partial: cancelWanted
        case .filled, .cancelled, .expired, .rejected, .notSent, .absent: false
        }
    }
}
