// The judge on what an entry's fill arms: a tick from before it touches nothing of it (RELIABILITY.md 4.6.3). Venues tell
// fills sooner than the ticks that led to them.
//
// When the entry was filled is the venue's word, when a tick was and at what price the tick log's. The engine says only
// on which tick it decided.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

extension Oracle {
    /// Remembers the first fill of the entry: it arms the order.
    static func noteFill(of id: OrderID, at time: Timestamp, _ state: inout State) {
        // What is added to an order that was armed without a fill, or before, arms nothing of it.
        guard let order = state.orders[id], order.filledAt == nil, order.row.status == .pending else { return }
        state.orders[id]?.filledAt = time.microseconds
        let series = PriceSeries(market: order.row.instrument.market, source: order.row.triggerSource)
        state.newestFill[series] = max(state.newestFill[series] ?? .min, time.microseconds)
    }

    /// Where no price was known for so long before the fill, its time is taken to be of another clock: nothing is promised.
    static func noteDistance(_ before: SmartOrder?, _ next: SmartOrder, _ state: inout State) {
        guard before?.status == .pending, next.status.isOpen, let filledAt = state.orders[next.id]?.filledAt,
            next.extremePosition.venueTime < filledAt - SmartOrder.ticksBehindFill
        else { return }
        state.orders[next.id]?.filledAt = .min / 2
    }

    /// What is wrong with the tick on which an open order fired.
    func judgeTick(_ before: SmartOrder, _ next: SmartOrder, _ commit: Commit, _ state: State) -> (String, String)? {
        guard before.status.isOpen, commit.cause == .tick, let tick = commit.tick, Self.fires(before, next) else {
            return nil
        }
        let place = Int(tick.position.sequence)
        let series = PriceSeries(market: tick.market, source: tick.source)
        guard let ticks = state.series[series]?.ticks, ticks.indices.contains(place),
            SimulatedMarket.price(ticks[place].cents) == tick.price
        else { return ("TICK", "fires on tick \(place) at \(tick.price), which never was") }
        guard let filledAt = state.orders[next.id]?.filledAt else { return nil }
        let early = filledAt - ticks[place].position.venueTime
        guard early > fillToleranceUs else { return nil }
        return ("EARLY", "fires on tick \(place) at \(tick.price), \(early) us before its entry was filled")
    }

    private static func fires(_ before: SmartOrder, _ next: SmartOrder) -> Bool {
        if before.latch == nil, next.latch != nil { return true }
        for (old, new) in zip(before.partialStops, next.partialStops) where old.state == .pending {
            if new.state == .latched { return true }
        }
        for (old, new) in zip(before.levels, next.levels) where old.state == .pending {
            if new.state == .triggered { return true }
        }
        return false
    }

    /// Marks a tick that comes after the fill that it was before, and would have fired something.
    func markLate(_ ticks: [MarketTick], of name: PriceSeries, _ state: State) {
        guard let newest = state.newestFill[name], let first = ticks.first, first.position.venueTime < newest else {
            return
        }
        for id in state.living {
            guard let order = state.orders[id], let filledAt = order.filledAt else { continue }
            let row = order.row
            guard row.status.isOpen, row.latch == nil, row.instrument.market == name.market,
                row.triggerSource == name.source
            else { continue }
            var rules = row.watches.compactMap { WatchedPrice($0.condition, tickSize: row.instrument.tickSize) }
            for tick in ticks where tick.position.venueTime < filledAt {
                for place in rules.indices where rules[place].cross(tick.cents) {
                    return faults.mark(.tickFromBeforeFill)
                }
            }
        }
    }
}
