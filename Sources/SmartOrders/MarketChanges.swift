// The venue changed its market while an order stands in it (RELIABILITY.md FA109).
//
// Invariant: no price that is compared here moves: thresholds stay on the grid on which they were armed
// (`Instrument.armedTick`). What is sent from now on fits the new grid; what rests at the venue is the venue's matter, but
// for native legs, which are placed again where their price is off the new grid.

extension Deciding {
    mutating func marketChanged(_ terms: MarketTerms) {
        guard !order.isTerminal, terms != order.instrument.terms else { return }
        facts.append(.marketChanged(from: order.instrument.terms, to: terms))
        order.instrument = order.instrument.with(terms)
        order.venueOrders = order.venueOrders.map { $0.fitted(order.instrument) }
        if order.status.isOpen { replan() }
    }
}

extension ConditionalDeciding {
    mutating func marketChanged(_ terms: MarketTerms) {
        guard !order.status.isTerminal, terms != order.instrument.terms else { return }
        facts.append(.marketChanged(from: order.instrument.terms, to: terms))
        order.instrument = order.instrument.with(terms)
        order.venueOrders = order.venueOrders.map { $0.fitted(order.instrument) }
    }
}

extension VenueOrder {
    /// What nobody has sent yet, with prices of the new grid; anything else is as it was asked.
    fileprivate func fitted(_ instrument: Instrument) -> VenueOrder {
        guard state == .intent else { return self }
        return VenueOrder(
            leg: leg,
            attempt: attempt,
            side: side,
            type: type,
            quantity: quantity,
            limit: instrument.fitted(limit, side),
            trigger: instrument.fitted(trigger, side),
            callback: callback,
            isNative: isNative,
            reduceOnly: reduceOnly,
            state: state,
            filled: filled,
            venueOrderID: venueOrderID,
            createdAt: createdAt,
            cancelWanted: cancelWanted,
        )
    }
}
