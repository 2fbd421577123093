// Shards that were taken over: their orders are loaded page by page and armed while the next page is on its way.
//
// Invariant: a cursor speaks of the orders that its holder had heard of. An order that changed later may stand before the
// cursor, unheard of by whoever died: it is walked from its row.
internal import SmartOrders
internal import TriggerIndex

/// The orders of one series on their way into the index. A class: pages add to it. Confined to the evaluating task.
private final class Arrival {
    let one: SeriesState
    /// Where the last holder of each shard stood; nil: it left no word of the series.
    let cursors: [TickPosition?]
    /// The lowest of those cursors: up to here nothing crossed.
    let start: TickPosition
    private(set) var suffix = SuffixExtremes(points: [])
    private var oldest: TickPosition
    /// Of the page under way.
    var page: [ArmedOrder] = []
    /// For the index, armed together: sorting once is several times faster than one by one.
    var bulk: [(rule: WatchRule, tag: UInt64)] = []

    init(_ one: SeriesState, cursors: [TickPosition?], start: TickPosition) {
        self.one = one
        self.cursors = cursors
        self.start = start
        oldest = start
    }

    /// Knows the extremes of everything between the page's orders and `start`.
    func reach(_ history: PriceHistory) async throws {
        // A threshold that stands still needs no prices from before `start`.
        let needed = page.reduce(oldest) { $1.watches.contains(where: \.trails) ? min($0, $1.position) : $0 }
        guard needed < oldest else { return }
        oldest = needed
        // What the last holder saw and nobody stored is gone for good; what there is counts.
        _ = try await history.load(one.name, after: oldest, through: start)
        let newest = min(start, history.latest(one.name)?.position ?? start)
        guard let points = history.points(one.name, after: oldest, through: newest) else {
            if history.latest(one.name) == nil { return }
            throw StoreError(.unavailable, "prices of \(one.name) were forgotten while its orders were loaded")
        }
        suffix = SuffixExtremes(points: points)
    }
}

extension Watch {
    /// Its threshold follows the prices.
    fileprivate var trails: Bool {
        switch condition {
        case .atOrAbove, .atOrBelow: false
        case .trailsHigh, .trailsLow: true
        }
    }
}

extension EvaluatorState {
    /// False: one of the shards is somebody else's by now.
    mutating func takeOver(_ new: [ShardAssignment]) async throws -> Bool {
        // Where the last holders stood, and what of the orders they knew then.
        var starts: [Int64: [PriceSeries: TickPosition]] = [:]
        var heard: ChangeCursor?
        var handovers: [Int64] = []
        for case let handover? in new.lazy.map(\.handover) where !handovers.contains(handover) {
            handovers.append(handover)
        }
        for handover in handovers.sorted() {
            for cursor in try await context.cluster.cursors(handover: handover) {
                starts[handover, default: [:]][PriceSeries(market: cursor.market, source: cursor.source)] =
                    cursor.position
                if let place = cursor.heard, place.value < heard?.value ?? .max { heard = place }
            }
        }
        // Changes from before the load are in the load.
        if changeCursor == nil { changeCursor = try await context.orders.changes(shards: [], since: nil).next }
        var unheard: Set<OrderID> = []
        if let heard {
            let (changed, _) = try await context.orders.changes(shards: new.map(\.shard), since: heard)
            unheard = Set(changed.map(\.id))
        }
        let begun = context.clock.monotonicNanoseconds()
        for assignment in new { shards[assignment.shard] = assignment.epoch }
        let loaded = try await load(new, starts: starts, unheard: unheard)
        // Only now may this worker's own cursors stand for these shards.
        for assignment in new { inDoubt.insert(assignment.shard) }
        guard try await context.cluster.accept(new, cursors: safeCursors(), of: context.worker) else { return false }
        for assignment in new { inDoubt.remove(assignment.shard) }
        if loaded > 0 {
            let ms = (context.clock.monotonicNanoseconds() - begun) / 1_000_000
            context.observer.note(
                .info,
                "Shards taken over",
                [("shards", "\(new.count)"), ("orders", "\(loaded)"), ("milliseconds", "\(ms)")],
            )
        }
        await reportProgress()
        return true
    }

    /// Loads and arms the orders of the shards; how many there are.
    private mutating func load(
        _ new: [ShardAssignment],
        starts: [Int64: [PriceSeries: TickPosition]],
        unheard: Set<OrderID>,
    ) async throws -> Int {
        let pages = Inbox<[ArmedOrder]>(capacity: 4)
        // Whoever sends must not wait for somebody who has given up.
        defer { pages.finish() }
        let orders = context.orders
        async let loading: Void = {
            defer { pages.finish() }
            try await orders.loadArmed(shards: new.map(\.shard)) { page in await pages.send(page) }
        }()
        var arrivals: [PriceSeries: Arrival?] = [:]
        var count = 0
        while let page = await pages.receive() {
            pulse.begin()
            count += page.count
            try await arm(page, new, starts, unheard, &arrivals)
        }
        try await loading
        for (_, arrival) in arrivals.sorted(by: { $0.key < $1.key }) {
            guard let arrival else { continue }
            let handles = arrival.one.index.arm(contentsOf: arrival.bulk)
            for (watch, handle) in zip(arrival.bulk, handles) {
                entries.append(handle, tag: watch.tag)
            }
        }
        return count
    }

    /// Arms a page. Up to its last holder's cursor an order crossed nothing (4.3), so only its extremes are brought up to
    /// it, by suffix extremes instead of walks; from there on every tick counts. An order whose last holder left no cursor
    /// for its series, or may not have heard of it, is walked from its row.
    private mutating func arm(
        _ page: [ArmedOrder],
        _ new: [ShardAssignment],
        _ starts: [Int64: [PriceSeries: TickPosition]],
        _ unheard: Set<OrderID>,
        _ arrivals: inout [PriceSeries: Arrival?],
    ) async throws {
        var others: [ArmedOrder] = []
        var touched: [Arrival] = []
        var last: (name: PriceSeries, arrival: Arrival?)?
        for armed in page where armed.isLive {
            let arrival: Arrival?
            if let last, last.name.source == armed.source, last.name.market == armed.market {
                arrival = last.arrival
            } else {
                let name = armed.series
                if let known = arrivals[name] {
                    arrival = known
                } else {
                    arrival = try await arrive(name, new, starts)
                    arrivals.updateValue(arrival, forKey: name)
                }
                last = (name, arrival)
            }
            if let arrival, let cursor = arrival.cursors[armed.id.shard], armed.position <= cursor,
                !unheard.contains(armed.id)
            {
                if arrival.page.isEmpty { touched.append(arrival) }
                arrival.page.append(armed)
            } else {
                others.append(armed)
            }
        }
        for arrival in touched {
            try await arrival.reach(history)
            for armed in arrival.page { await arm(armed, arrival) }
            arrival.page.removeAll(keepingCapacity: true)
        }
        for armed in others { await arm(armed) }
    }

    /// Nil: no last holder left a cursor for the series.
    private mutating func arrive(
        _ name: PriceSeries,
        _ new: [ShardAssignment],
        _ starts: [Int64: [PriceSeries: TickPosition]],
    ) async throws -> Arrival? {
        var cursors = [TickPosition?](repeating: nil, count: OrderID.shardCount)
        let places = starts.compactMap { handover, starts in starts[name].map { (handover, $0) } }
        for assignment in new {
            cursors[assignment.shard] = assignment.handover.flatMap { handover in
                places.first { $0.0 == handover }?.1
            }
        }
        guard let lowest = cursors.compactMap(\.self).min() else { return nil }
        let one = try await open(name, at: lowest)
        // An index that is not there yet meets those ticks itself: nothing from behind it may be in the extremes.
        return Arrival(one, cursors: cursors, start: min(lowest, one.position))
    }

    private mutating func arm(_ armed: ArmedOrder, _ arrival: Arrival) async {
        guard armed.position <= arrival.start else {
            await arm(armed)
            return
        }
        disarm(armed.id)
        let one = arrival.one
        let slot = enter(armed, one)
        let known = arrival.bulk.count
        do {
            guard one.position == arrival.start, one.grid(armed.tickUnits) == one.tickUnits else {
                let rules = try rules(of: armed, one).map { arrival.suffix.raise($0, after: armed.position) }
                try await walk(armed.id, one, rules: rules, from: arrival.start)
                return
            }
            for (number, watch) in armed.watches.enumerated() {
                let rule = arrival.suffix.raise(try rule(watch, of: armed, one), after: armed.position)
                arrival.bulk.append((rule, UInt64(slot) << 8 | UInt64(number)))
            }
        } catch {
            arrival.bulk.removeSubrange(known...)
            noteUnarmed(armed, error)
        }
    }
}
