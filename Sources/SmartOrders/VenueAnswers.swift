// News of venue orders: facts are never refused, and a fact learnt twice changes nothing (ORDERS.md 4.8, 4.9, R20).

/// How an attempt is over.
enum Outcome: Hashable {
    case filled, expired, cancelled, notSent, absent
    case refused(VenueNews.RefusalKind)
}

extension Deciding {
    mutating func learn(_ key: VenueOrderKey, _ news: VenueNews) {
        guard let index = order.venueOrders.firstIndex(where: { $0.key == key }) else {
            // The attempt is over. Only a fill can be new: it is recorded, and the ledger corrected (T27).
            if case .fill(let fill) = news { book(fill, of: key) }
            resume()
            return
        }
        switch news {
        case .accepted(let venueOrderID): accepted(index, venueOrderID)
        case .triggered:
            if key.leg == .stop { nativeStopFired(key, at: order.venueOrders[index].trigger ?? moment.price) }
        case .fill(let fill): filled(index, fill)
        case .ended(.filled): over(index, .filled, .filled)
        case .ended(.expired): over(index, .expired, .expired)
        case .ended(.cancelled): over(index, .cancelled, .cancelled)
        case .refused(let kind, _):
            if !order.isUnclaimed(order.venueOrders[index]) {
                order.lastAttemptRefused = true
                if kind == .credentials { order.attention.insert(.keyInvalid) }
                if kind == .marketHalted, key.leg.isExit { order.attention.insert(.marketHalted) }
            }
            over(index, .rejected, .refused(kind))
        case .notSent:
            if !order.isUnclaimed(order.venueOrders[index]) { order.venueUnreachable = true }
            over(index, .notSent, .notSent)
        case .absent:
            over(index, .absent, .absent)
        case .unknown: unknown(index)
        }
        resume()
    }

    private mutating func accepted(_ index: Int, _ venueOrderID: String) {
        var placed = order.venueOrders[index]
        placed.venueOrderID = venueOrderID
        switch placed.state {
        case .intent, .submitted, .unknown:
            placed.state = placed.cancelWanted ? .cancelRequested : placed.filled.isPositive ? .partial : .open
            facts.append(.venueOrder(placed.key, placed.state))
            // A cancel that was asked before the order was known to be there is asked again.
            if placed.cancelWanted { cancels.append(.cancel(placed.key)) }
        case .open, .partial, .cancelRequested, .filled, .cancelled, .expired, .rejected, .notSent, .absent: break
        }
        order.venueOrders[index] = placed
        succeeded()
        if case .takeProfit = placed.leg { order.targetRetry = .none }
        if placed.leg == .backstop { order.backstopFailures = 0 }
        if placed.isNative { order.nativeRetry = .none }
    }

    private mutating func filled(_ index: Int, _ fill: Fill) {
        let key = order.venueOrders[index].key
        order.venueOrders[index].filled += fill.quantity
        switch order.venueOrders[index].state {
        case .cancelRequested, .unknown: break
        case .intent, .submitted, .open, .partial, .filled, .cancelled, .expired, .rejected, .notSent, .absent:
            order.venueOrders[index].state = .partial
        }
        succeeded()
        book(fill, of: key)
        // Booking may have changed the list.
        guard let index = order.venueOrders.firstIndex(where: { $0.key == key }) else { return }
        if !order.venueOrders[index].unfilled.isPositive { over(index, .filled, .filled) }
    }

    private mutating func unknown(_ index: Int) {
        switch order.venueOrders[index].state {
        case .intent, .submitted:
            order.venueOrders[index].state = .unknown
            facts.append(.venueOrder(order.venueOrders[index].key, .unknown))
        case .open, .partial, .unknown, .cancelRequested, .filled, .cancelled, .expired, .rejected, .notSent, .absent:
            break
        }
    }

    /// An attempt has ended: its claim is free, and its leg says what comes next.
    private mutating func over(_ index: Int, _ state: VenueOrderState, _ outcome: Outcome) {
        var ended = order.venueOrders.remove(at: index)
        ended.state = state
        facts.append(.venueOrder(ended.key, state))
        if ended.isNative {
            nativeEnded(ended, outcome)
            return
        }
        switch ended.leg {
        case .entry, .add: entrySideEnded(ended, outcome)
        case .takeProfit(let number): levelEnded(number, ended, outcome)
        case .stop, .close, .partialStop: exitEnded(ended, outcome)
        case .backstop: backstopEnded(ended, outcome)
        case .reduce:
            if outcome == .filled || outcome == .expired || outcome == .cancelled { succeeded() }
        case .conditional, .timer, .reconcile: break
        }
    }

    /// Claims may have become free: an exit that waited for them goes on at once, unless it paused for a reason (R15.2).
    private mutating func resume() {
        guard !order.isTerminal else { return }
        if order.isExiting { pushExit() } else { pushPartialStops() }
    }

    /// A cancel request that did not arrive is asked again after a pause; the claim stays (2.8).
    mutating func cancelFailed(_ key: VenueOrderKey) {
        guard order.venueOrders.contains(where: { $0.key == key && $0.cancelWanted }) else { return }
        order.cancelRetry = failed(order.cancelRetry)
    }
}
