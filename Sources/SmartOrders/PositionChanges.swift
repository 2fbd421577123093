// The position changed without the order: flat, flipped, larger or smaller (ORDERS.md R16).

extension Deciding {
    /// `net` is the account's signed position in this market (hedge mode: of this position side); spot: the coins held.
    mutating func positionChanged(net: ExactDecimal, average: Price?) {
        guard order.status.isOpen else { return }
        guard order.instrument.kind.isDerivative else {
            coinsRead(net)
            return
        }
        let average = average?.shortened
        let there = Quantity(side.quantity(ofPosition: net))
        if there.value.isNegative {
            cancelEverything(.positionFlipped)
            return
        }
        if there.isZero {
            // Exits of our own that are under way may be what took it: their news says.
            if !order.inFlightExits.isZero, order.inFlightExits >= order.remaining { return }
            cancelEverything(.positionClosedExternally)
            return
        }
        switch order.draft.sizeMode {
        case .fixed: return
        case .position: followPosition(there, average: average)
        }
    }

    /// Spot has no position; a balance without one whole step of what an order means to sell has been sold elsewhere
    /// (R16.6). What is left of more than that is decided at exit time.
    private mutating func coinsRead(_ coins: ExactDecimal) {
        guard side == .buy, Quantity(coins).floored(to: order.instrument.stepSize).isZero else { return }
        // An exit of our own may be what took them: its news says.
        guard !order.venueOrders.contains(where: { $0.leg.isExit }) else { return }
        cancelEverything(.positionClosedExternally)
    }

    /// The order owns the whole position: quantity and average follow it (R16.3).
    private mutating func followPosition(_ there: Quantity, average: Price?) {
        guard order.isUndisturbed else { return }
        let coming = order.venueOrders.reduce(into: Quantity.zero) { if !$1.leg.isExit { $0 += $1.claim } }
        if there > order.remaining + coming {
            let grown = there - order.remaining
            let cost = average.map { $0 * there - order.heldCost }
            order.receive(grown, net: grown, cost: cost ?? (moment.price ?? .zero) * grown)
            order.entryCost = order.heldCost
            entryChanged()
        } else if there < order.remaining - order.claimed {
            writeOff(order.remaining - order.claimed - there)
            if let average {
                order.heldCost = average * order.held
                order.averageEntry = AverageEntry(cost: order.heldCost, quantity: order.held)
            }
            entryChanged()
        }
    }
}

extension Price {
    /// A venue's average may be a long quotient; 12 decimals are more than any of its digits mean.
    var shortened: Price { Price(value.rounded(decimals: 12)) }
}

extension SmartOrder {
    /// Exit quantity that was sent and may have been executed without our knowing.
    var inFlightExits: Quantity {
        venueOrders.reduce(into: .zero) { sum, order in
            guard order.leg.isExit else { return }
            // What sleeps at the venue may have woken.
            let mayBeGone = order.type != .goodTillCancelled || order.state == .unknown
            if mayBeGone { sum += order.leg == .backstop ? max(order.claim, remaining) : order.claim }
        }
    }
}
