// What the evaluating task owns: one index per series, every armed order of the held shards, the open crossings.
internal import SmartOrders
internal import TriggerIndex

/// The evaluator's memory. Confined to one task.
struct EvaluatorState {
    /// One armed order.
    private struct Entry {
        var armed: ArmedOrder
        let slot: Int
        /// Empty while a crossing is open.
        var handles: [WatchHandle] = []
        var open: OpenCrossing?
    }

    /// A crossing whose order has not moved on in PostgreSQL yet.
    private struct OpenCrossing {
        var job: Job
        /// Position of the last tick before it: the cursor stays there.
        let before: TickPosition
        let since: Int64
        var nextOffer: Int64
        var offers: Int
    }

    /// One market and source.
    private struct Series {
        var index: MarketIndex
        let decimals: Int
        let tickUnits: Int64
        /// Every armed order was evaluated up to here.
        var position: TickPosition
        var saved: TickPosition
        var count = 0
        /// Orders whose rows stand behind `position`: armed when the index gets there, by position, last first.
        var ahead: [ArmedOrder] = []
    }

    private let context: EngineContext
    private let history: PriceHistory
    private let plan: ReadPlan
    private var shards: [Int: ShardAssignment] = [:]
    private var entries: [OrderID: Entry] = [:]
    /// Order by slot number: what a tag of the index points at.
    private var slots: [OrderID?] = []
    private var freeSlots: [Int] = []
    private var series: [PriceSeries: Series] = [:]
    private var instruments: [MarketID: Instrument] = [:]
    private var timers = TimerHeap()
    private var openOrders: Set<OrderID> = []
    /// Orders with unanswered venue requests.
    private var busyOrders: Set<OrderID> = []
    private var changeCursor: ChangeCursor?
    private var lastCursorSave: Int64 = 0
    private var lastOpenCheck: Int64 = 0
    private var isStreamDown = false
    /// Reused for every tick.
    private var crossings: [Crossing] = []

    init(context: EngineContext, history: PriceHistory, plan: ReadPlan) {
        self.context = context
        self.history = history
        self.plan = plan
    }

    mutating func handle(_ message: EvaluatorMessage) async {
        do {
            switch message {
            case .shards(let assignments): try await hold(assignments)
            case .drop: forgetEverything()
            case .ticks(let batches, let wanted):
                isStreamDown = false
                for (name, batch) in batches.sorted(by: { $0.key < $1.key }) {
                    guard let from = wanted[name] else { continue }
                    try await take(batch, of: name, from: from)
                }
                if context.reportsEveryBatch { await reportProgress() }
            case .streamDown:
                isStreamDown = true
                try await goOnFromExtremes()
            case .changed(let ids):
                let mine = ids.filter { shards[$0.shard] != nil }
                if !mine.isEmpty { try await update(context.orders.armed(mine)) }
            case .poll: try await poll()
            case .beat: try await beat()
            }
        } catch {
            context.observer.note(.warning, "Evaluator could not go on", [("error", "\(error)")])
            context.observer.count("evaluator_errors_total", 1)
        }
    }

    // MARK: Shards

    private mutating func forgetEverything() {
        for name in series.keys { plan.set(name, to: nil) }
        shards = [:]
        entries = [:]
        slots = []
        freeSlots = []
        series = [:]
        timers = TimerHeap()
        openOrders = []
        busyOrders = []
        changeCursor = nil
    }

    private mutating func hold(_ assignments: [ShardAssignment]) async throws {
        let wanted = Dictionary(assignments.map { ($0.shard, $0) }, uniquingKeysWith: { first, _ in first })
        let gone = shards.filter { wanted[$0.key] == nil }.map(\.key)
        if !gone.isEmpty {
            let left = Set(gone)
            for id in entries.keys.filter({ left.contains($0.shard) }) { disarm(id) }
            for shard in gone { shards[shard] = nil }
        }
        let new = assignments.filter { shards[$0.shard]?.epoch != $0.epoch }
        guard !new.isEmpty else { return }
        // Where the last holders stood.
        var starts: [PriceSeries: TickPosition] = [:]
        for handover in Set(new.compactMap(\.handover)).sorted() {
            for cursor in try await context.cluster.cursors(handover: handover) {
                let name = PriceSeries(market: cursor.market, source: cursor.source)
                starts[name] = min(starts[name] ?? cursor.position, cursor.position)
            }
        }
        // Changes from before the load are in the load.
        if changeCursor == nil { changeCursor = try await context.orders.changes(shards: [], since: nil).next }
        let pages = PageCollector()
        let begun = context.clock.monotonicNanoseconds()
        try await context.orders.loadArmed(shards: new.map(\.shard)) { page in pages.add(page) }
        for assignment in new { shards[assignment.shard] = assignment }
        let loaded = pages.take()
        try await takeOver(loaded, starts: starts)
        // Only now may this worker's own cursors stand for these shards.
        guard try await context.cluster.accept(new, cursors: safeCursors(), of: context.worker) else {
            // Given to somebody else meanwhile: the next heartbeat says so.
            context.observer.count("shards_lost_while_loading_total", new.count)
            return
        }
        if !loaded.isEmpty {
            let ms = (context.clock.monotonicNanoseconds() - begun) / 1_000_000
            context.observer.note(
                .info,
                "Shards taken over",
                [("shards", "\(new.count)"), ("orders", "\(loaded.count)"), ("milliseconds", "\(ms)")],
            )
        }
        await reportProgress()
    }

    /// Arms the orders of shards that were taken over. Up to the last holder's cursor they crossed nothing (4.3), so
    /// only their extremes are brought up to it, by suffix extremes instead of walks; from there on every tick counts.
    private mutating func takeOver(_ loaded: [ArmedOrder], starts: [PriceSeries: TickPosition]) async throws {
        var bySeries: [PriceSeries: [ArmedOrder]] = [:]
        for armed in loaded {
            bySeries[PriceSeries(market: armed.market, source: armed.source), default: []].append(armed)
        }
        for name in bySeries.keys.sorted() {
            let orders = bySeries[name] ?? []
            guard let start = starts[name] else {
                for armed in orders { try await arm(armed) }
                continue
            }
            try await open(name, at: start)
            guard let one = series[name] else { continue }
            let oldest = orders.reduce(start) { min($0, $1.position) }
            var suffix = SuffixExtremes(points: [])
            if oldest < start {
                _ = try await history.load(name, after: oldest, through: start)
                suffix = SuffixExtremes(points: history.points(name, after: oldest, through: start) ?? [])
            }
            var bulk: [(rule: WatchRule, tag: UInt64)] = []
            var owners: [OrderID] = []
            for armed in orders where armed.isLive {
                if armed.position > start {
                    try await arm(armed)
                    continue
                }
                disarm(armed.id)
                let rules = try rules(of: armed, one).map { suffix.raise($0, after: armed.position) }
                enter(armed)
                if one.position > start {
                    try await walk(armed.id, rules: rules, from: start)
                    continue
                }
                guard let slot = entries[armed.id]?.slot else { continue }
                for (number, rule) in rules.enumerated() {
                    bulk.append((rule, UInt64(slot) << 8 | UInt64(number)))
                    owners.append(armed.id)
                }
            }
            let handles = series[name]?.index.arm(contentsOf: bulk) ?? []
            for (id, handle) in zip(owners, handles) { entries[id]?.handles.append(handle) }
        }
    }

    // MARK: Orders

    private mutating func update(_ changed: [ArmedOrder]) async throws {
        for armed in changed where shards[armed.id.shard] != nil {
            if let known = entries[armed.id], known.armed.version >= armed.version { continue }
            try await arm(armed)
        }
        await reportProgress()
    }

    private mutating func poll() async throws {
        guard let cursor = changeCursor, !shards.isEmpty else { return }
        let (orders, next) = try await context.orders.changes(shards: shards.keys.sorted(), since: cursor)
        changeCursor = next
        try await update(orders)
    }

    private mutating func disarm(_ id: OrderID) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        let name = PriceSeries(market: entry.armed.market, source: entry.armed.source)
        for handle in entry.handles { series[name]?.index.disarm(handle) }
        series[name]?.count -= 1
        slots[entry.slot] = nil
        freeSlots.append(entry.slot)
        openOrders.remove(id)
        busyOrders.remove(id)
        timers.remove(id)
    }

    private mutating func enter(_ armed: ArmedOrder) {
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            slots[free] = armed.id
        } else {
            slot = slots.count
            slots.append(armed.id)
        }
        entries[armed.id] = Entry(armed: armed, slot: slot)
        series[PriceSeries(market: armed.market, source: armed.source)]?.count += 1
        if let due = armed.dueAt { timers.set(armed.id, due) }
        if armed.isBusy { busyOrders.insert(armed.id) }
    }

    /// Puts an order at its present version into the index, after walking the ticks between its row and the index.
    private mutating func arm(_ armed: ArmedOrder) async throws {
        disarm(armed.id)
        guard armed.isLive else { return }
        let name = PriceSeries(market: armed.market, source: armed.source)
        try await open(name, at: armed.position)
        guard let one = series[name] else { return }
        enter(armed)
        let rules = try rules(of: armed, one)
        if armed.position > one.position {
            let at = one.ahead.firstIndex { $0.position <= armed.position } ?? one.ahead.count
            series[name]?.ahead.insert(armed, at: at)
            return
        }
        try await walk(armed.id, rules: rules, from: armed.position)
    }

    private func rules(of armed: ArmedOrder, _ one: Series) throws -> [WatchRule] {
        let rules = armed.watches.compactMap { WatchRule($0.condition, priceDecimals: one.decimals) }
        guard rules.count == armed.watches.count, rules.count <= 256 else {
            throw StoreError(.corruptRow, "order \(armed.id) has a watch off the price grid of \(armed.market)")
        }
        return rules
    }

    /// Evaluates one order over the ticks after `position` up to where its series stands, then arms it there.
    private mutating func walk(_ id: OrderID, rules: [WatchRule], from position: TickPosition) async throws {
        guard let armed = entries[id]?.armed else { return }
        let name = PriceSeries(market: armed.market, source: armed.source)
        guard let one = series[name] else { return }
        var set = WatchSet(rules: rules, tickUnits: one.tickUnits)
        if position < one.position, !rules.isEmpty {
            if history.points(name, after: position, through: one.position) == nil {
                _ = try await history.load(name, after: position, through: one.position)
            }
            var before = position
            for point in history.points(name, after: position, through: one.position) ?? [] {
                if let crossed = set.cross(point.price) {
                    await offer([note(id, armed.watches[crossed], at: point.position, before: before)], verify: false)
                    return
                }
                before = point.position
            }
        }
        guard let slot = entries[id]?.slot else { return }
        for (number, rule) in set.rules.enumerated() {
            if let handle = series[name]?.index.arm(rule, tag: UInt64(slot) << 8 | UInt64(number)) {
                entries[id]?.handles.append(handle)
            }
        }
    }

    /// A method of its own: swiftc 6.3 crashes at -O when the store is asked in the middle of `open`.
    private mutating func instrument(_ market: MarketID) async throws(StoreError) -> Instrument {
        if let known = instruments[market] { return known }
        guard let found = try await context.accounts.instrument(market) else {
            throw StoreError(.corruptRow, "market \(market) of an armed order is not in the catalogue")
        }
        instruments[market] = found
        return found
    }

    private mutating func open(_ name: PriceSeries, at position: TickPosition) async throws {
        guard series[name] == nil else { return }
        let instrument = try await instrument(name.market)
        guard let tickUnits = instrument.tickSize.value.units(decimals: instrument.priceDecimals) else {
            throw StoreError(.corruptRow, "market \(name.market) of an armed order has a tick finer than its prices")
        }
        series[name] = Series(
            index: MarketIndex(tickUnits: tickUnits),
            decimals: instrument.priceDecimals,
            tickUnits: tickUnits,
            position: position,
            saved: position,
        )
        plan.set(name, to: position)
    }

    // MARK: Ticks

    private mutating func take(_ batch: TickBatch, of name: PriceSeries, from: TickPosition) async throws {
        guard let one = series[name] else { return }
        if let oldest = batch.oldest, oldest > one.position, from <= one.position {
            // The stream no longer reaches back to where we stand: the persisted extremes do.
            try await readExtremes(name, through: oldest)
            if let reached = series[name]?.position, reached < oldest {
                // Not stored yet; nothing behind a hole is evaluated before the hole.
                plan.set(name, to: reached)
                try await context.clock.sleep(milliseconds: 50)
                return
            }
        } else if from > one.position {
            // A batch was lost between reader and index: read again from where we stand.
            plan.set(name, to: one.position)
            return
        }
        history.append(batch.ticks, to: name, after: max(from, series[name]?.position ?? from))
        for tick in batch.ticks { await advance(name, to: tick.position, price: tick.price) }
    }

    private mutating func readExtremes(_ name: PriceSeries, through last: TickPosition) async throws {
        while let one = series[name], one.position < last {
            let page = try await context.cluster.extremes(
                market: name.market,
                source: name.source,
                after: one.position,
                limit: 10_000,
            )
            guard !page.isEmpty else { return }
            let ticks = page.map { RawTick(position: $0.position, price: $0.price, receivedAt: 0) }
            history.append(ticks, to: name, after: one.position)
            for point in page { await advance(name, to: point.position, price: point.price) }
        }
    }

    private mutating func goOnFromExtremes() async throws {
        for name in series.keys.sorted() {
            try await readExtremes(name, through: TickPosition(venueTime: .max, sequence: .max))
            if let position = series[name]?.position { plan.set(name, to: position) }
        }
    }

    private mutating func advance(_ name: PriceSeries, to position: TickPosition, price: Int64) async {
        guard let before = series[name]?.position, position > before else { return }
        if let next = series[name]?.ahead.last, next.position <= before { await armAhead(name) }
        series[name]?.position = position
        series[name]?.index.advance(to: price, &crossings)
        guard !crossings.isEmpty else { return }
        var first: [OrderID: Watch] = [:]
        for crossing in crossings {
            guard let id = slots[Int(crossing.tag >> 8)], let entry = entries[id] else { continue }
            let watch = entry.armed.watches[Int(crossing.tag & 255)]
            if let known = first[id], known.leg.urgency <= watch.leg.urgency { continue }
            first[id] = watch
        }
        crossings.removeAll(keepingCapacity: true)
        var jobs: [Job] = []
        for (id, watch) in first.sorted(by: { $0.key < $1.key }) {
            jobs.append(note(id, watch, at: position, before: before))
        }
        await offer(jobs, verify: false)
    }

    /// Arms the orders whose rows the index has now reached.
    private mutating func armAhead(_ name: PriceSeries) async {
        while let one = series[name], let next = one.ahead.last, next.position <= one.position {
            series[name]?.ahead.removeLast()
            // Changed or gone meanwhile: armed by its newer version.
            guard let entry = entries[next.id], entry.armed.version == next.version, entry.handles.isEmpty else {
                continue
            }
            do {
                try await walk(next.id, rules: rules(of: next, one), from: next.position)
            } catch {
                context.observer.note(
                    .error,
                    "Order could not be armed",
                    [("order_id", "\(next.id)"), ("error", "\(error)")],
                )
            }
        }
    }

    // MARK: Crossings

    /// Remembers a crossing: the order's other watches rest until its row moves on.
    private mutating func note(
        _ id: OrderID,
        _ watch: Watch,
        at position: TickPosition,
        before: TickPosition,
    ) -> Job {
        guard var entry = entries[id] else { preconditionFailure("a crossing of an unknown order") }
        let name = PriceSeries(market: entry.armed.market, source: entry.armed.source)
        for handle in entry.handles { series[name]?.index.disarm(handle) }
        entry.handles = []
        let job = Job.trigger(entry.armed, watch, at: position)
        let now = context.clock.monotonicNanoseconds()
        entry.open = OpenCrossing(job: job, before: before, since: now, nextOffer: now + 1_000_000_000, offers: 1)
        entries[id] = entry
        openOrders.insert(id)
        return job
    }

    private func offer(_ jobs: [Job], verify: Bool) async {
        guard !jobs.isEmpty else { return }
        context.observer.count("crossings_offered_total", jobs.count)
        var start = 0
        while start < jobs.count {
            let page = Array(jobs[start..<min(start + 256, jobs.count)])
            start += page.count
            do throws(QueueError) {
                let codes = try await context.queue.offer(page, verify: verify)
                for (job, code) in zip(page, codes) where code == .dead {
                    context.observer.note(
                        .warning,
                        "Trigger job is dead",
                        [("job_id", "\(job.id)"), ("order_id", "\(job.id.order)")],
                    )
                }
            } catch {
                // The queue is away or full: the outbox carries the jobs (RELIABILITY.md 3.3).
                do throws(StoreError) {
                    try await context.orders.storeJobs(page)
                } catch {
                    // Offered again by the next check of open crossings.
                    context.observer.count("offers_failed_total", page.count)
                }
            }
        }
    }

    /// Asks which open crossings are answered by their rows; the others are decided on as a handler would (4.3):
    /// what a rule answers with nothing is forgotten, the rest is offered again.
    private mutating func checkOpen() async throws {
        guard !openOrders.isEmpty else { return }
        let ids = openOrders.sorted()
        let now = context.clock.monotonicNanoseconds()
        var again: [Job] = []
        var start = 0
        while start < ids.count {
            let page = Array(ids[start..<min(start + 512, ids.count)])
            start += 512
            var still: [OrderID] = []
            let rows = try await context.orders.armed(page)
            for row in rows {
                guard let entry = entries[row.id], let open = entry.open else { continue }
                if row.version > entry.armed.version {
                    try await arm(row)
                } else if now >= open.nextOffer {
                    still.append(row.id)
                }
            }
            for row in try await context.orders.load(still) {
                guard var open = entries[row.id]?.open, let armed = entries[row.id]?.armed else { continue }
                if try await TriggerDecision.isMoot(open.job, on: row, history: history) {
                    entries[row.id]?.open = nil
                    openOrders.remove(row.id)
                    let name = PriceSeries(market: armed.market, source: armed.source)
                    if let one = series[name] {
                        try await walk(
                            row.id,
                            rules: rules(of: armed, one),
                            from: open.job.position ?? armed.position,
                        )
                    }
                    continue
                }
                // The queue may remember an older job of this id as done: later work has an id of its own.
                open.job = open.job.again(open.offers)
                open.offers += 1
                open.nextOffer = now + 1_000_000_000 << Int64(min(open.offers - 1, 3))
                entries[row.id]?.open = open
                again.append(open.job)
            }
        }
        await offer(again, verify: true)
        await reportProgress()
    }

    // MARK: Time

    private mutating func beat() async throws {
        let now = context.clock.monotonicNanoseconds()
        var due: [Job] = []
        for id in timers.due(at: context.clock.now()) {
            if let entry = entries[id] { due.append(.timer(entry.armed)) }
        }
        await offer(due, verify: false)
        if now - lastOpenCheck >= 250_000_000 {
            lastOpenCheck = now
            try await checkOpen()
        }
        if isStreamDown { try await goOnFromExtremes() }
        if now - lastCursorSave >= 500_000_000 {
            lastCursorSave = now
            try await saveCursors()
            await reportProgress()
        }
    }

    private mutating func saveCursors() async throws {
        let moved = safeCursors().filter { cursor in
            series[PriceSeries(market: cursor.market, source: cursor.source)]?.saved != cursor.position
        }
        guard !moved.isEmpty, try await context.cluster.saveCursors(moved, of: context.worker) else { return }
        for cursor in moved {
            series[PriceSeries(market: cursor.market, source: cursor.source)]?.saved = cursor.position
        }
    }

    private func safeCursors() -> [EvaluationCursor] {
        series.keys.sorted().map { name in
            EvaluationCursor(market: name.market, source: name.source, position: safePosition(name))
        }
    }

    /// The position that a new holder may start from: before the oldest open crossing.
    private func safePosition(_ name: PriceSeries) -> TickPosition {
        var safe = series[name]?.position ?? .start
        for id in openOrders {
            guard let entry = entries[id], let open = entry.open, entry.armed.market == name.market,
                entry.armed.source == name.source
            else { continue }
            safe = min(safe, open.before)
        }
        return safe
    }

    private func reportProgress() async {
        var open: [PriceSeries: Int] = [:]
        for id in openOrders.union(busyOrders) {
            guard let armed = entries[id]?.armed else { continue }
            open[PriceSeries(market: armed.market, source: armed.source), default: 0] += 1
        }
        let reports = series.keys.sorted().map { name in
            EvaluationProgress(
                series: name,
                position: series[name]?.position ?? .start,
                open: open[name] ?? 0,
                orders: series[name]?.count ?? 0,
                shards: shards.count,
            )
        }
        do throws(TickLogError) {
            try await context.ticks.reportProgress(reports, shards: shards.count, worker: context.worker)
        } catch {
            context.observer.count("ticklog_errors_total", 1)
        }
    }
}
