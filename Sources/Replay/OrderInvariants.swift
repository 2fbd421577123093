// The invariants of ORDERS.md 8 that one order shows by itself, checked after every decision of a scenario.

package import SmartOrders

package enum OrderInvariants {
    /// What a step from one version to the next violates; `before` is nil for the first version.
    ///
    /// - Parameter isEdit: the step is an `edit`, which alone may loosen the stop.
    package static func violations(from before: SmartOrder?, to after: SmartOrder, isEdit: Bool) -> [String] {
        var found: [String] = []
        func check(_ holds: Bool, _ invariant: String) {
            if !holds { found.append("\(invariant) at version \(after.version)") }
        }
        check(after.exited <= after.received && !after.remaining.value.isNegative, "I1: more exited than received")
        func claims(_ counts: (VenueOrder) -> Bool) -> Quantity {
            after.venueOrders.reduce(into: .zero) { sum, order in
                let isBackstop = order.leg == .backstop && after.instrument.kind.isDerivative
                if order.side == after.exitSide, !isBackstop, counts(order) { sum += order.claim }
            }
        }
        // Native legs cancel each other and are reduce-only or one list at the venue: `claimed` counts them, cut to what
        // is left beside the others. A backstop that fired may have taken what an exit under way had claimed.
        let isCovered = claims { !$0.isNative } <= after.remaining && after.claimed <= after.remaining
        check(isCovered || after.backstopNote == .fired, "I2: claims beyond what remains")
        let planned = after.levels.reduce(into: Quantity.zero) { sum, level in
            switch level.state {
            case .pending, .triggered: sum += level.planned - level.filled
            case .filled, .cancelled: break
            }
        }
        check(planned <= after.remaining, "I6: levels plan more than what remains")
        for order in after.venueOrders where order.side == after.exitSide && after.instrument.kind.isDerivative {
            check(order.reduceOnly, "I14: an exit that is not reduce-only")
        }
        if after.status.isTerminal { checkEnd(after, check) }
        guard let before else {
            check(after.version == 1, "I13: the first version is not 1")
            return found
        }
        check(after.version == before.version + 1, "I13: a version is missing")
        check(!before.status.isTerminal || after.status == before.status, "T26: a terminal order moved")
        if let latch = before.latch {
            check(after.latch == latch, "I10: the latch changed")
            check(after.phase != .monitoring, "I10: a latched order monitors again")
        }
        if !isEdit, after.status.isOpen, before.status.isOpen, let was = before.effectiveStop,
            let stop = after.effectiveStop
        {
            check(after.side == .buy ? stop.price >= was.price : stop.price <= was.price, "I4: the stop loosened")
        }
        return found
    }

    private static func checkEnd(_ order: SmartOrder, _ check: (Bool, String) -> Void) {
        check(!order.venueOrders.contains { $0.state.isLive }, "I3: a terminal order with a live venue order")
        check(order.phase == nil && order.closeReason != nil, "I3: a terminal order with a phase or without a reason")
        for level in order.levels {
            check(level.state == .filled || level.state == .cancelled, "I3: a terminal order with an open level")
        }
        for stop in order.partialStops {
            check(stop.state == .done || stop.state == .cancelled, "I3: a terminal order with an open partial stop")
        }
        switch order.stopState {
        case .none, .done, .cancelled: break
        case .armed, .delayed, .latched, .exiting: check(false, "I3: a terminal order with an open stop")
        }
        switch order.status {
        case .closed, .stopped: check(order.remaining.isZero, "I5: closed with something left")
        case .cancelled, .failed, .pending, .active, .partiallyClosed: break
        }
    }
}
