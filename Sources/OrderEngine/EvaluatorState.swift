// What the evaluating task owns: one index per series, every armed order of the held shards, the open crossings.
//
// An order that cannot be armed now (its prices are not to be had) is tried again and holds the cursor back meanwhile;
// shards whose take-over failed are taken over again with the next heartbeat.
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
        let job: Job
        /// Position of the last tick before it: the cursor stays there.
        let before: TickPosition
        var nextOffer: Int64
        var offers: Int
    }

    private let context: EngineContext
    private let history: PriceHistory
    private let plan: ReadPlan
    private var shards: [Int: ShardAssignment] = [:] { didSet { shardNumbers = nil } }
    /// The shards in order, once they were asked for.
    private var shardNumbers: [Int]?
    /// The assignments as they were taken in whole.
    private var held: [ShardAssignment]?
    /// Shards whose acceptance got no answer: in PostgreSQL this worker's cursors may stand for them, and nobody evaluates
    /// them here. No cursor moves while there are any.
    private var inDoubt: Set<Int> = []
    private var entries: [OrderID: Entry] = [:]
    /// Order by slot number: what a tag of the index points at.
    private var slots: [OrderID?] = []
    private var freeSlots: [Int] = []
    private var series: [PriceSeries: SeriesState] = [:]
    private var instruments: [MarketID: Instrument] = [:]
    private var timers = TimerHeap()
    private var openOrders: Set<OrderID> = []
    /// Orders whose prices could not be had; they hold the cursor back.
    private var unarmed: [OrderID: ArmedOrder] = [:]
    /// Orders with unanswered venue requests.
    private var busyOrders: Set<OrderID> = []
    private var changeCursor: ChangeCursor?
    private var lastCursorSave: Int64 = 0
    private var lastOpenCheck: Int64 = 0
    private var lastMend: Int64 = 0
    private var isStreamDown = false
    /// Reused for every tick.
    private var crossings: [Crossing] = []
    /// Found and not offered yet.
    private var found: [Job] = []

    /// How far the stored cursor lags behind, in nanoseconds: longer than a commit takes from reading the newest tick to
    /// being known here.
    private static let cursorLag: Int64 = 10_000_000_000
    private static let idleLimit: Int64 = 30_000_000_000

    init(context: EngineContext, history: PriceHistory, plan: ReadPlan) {
        self.context = context
        self.history = history
        self.plan = plan
    }

    mutating func handle(_ message: EvaluatorMessage) async {
        do {
            switch message {
            case .orders(let orders):
                if orders.mustDrop { forgetEverything() }
                if let assignments = orders.assignments { try await hold(assignments) }
            case .ticks(let batches, let wanted):
                for (name, batch) in batches.sorted(by: { $0.key < $1.key }) {
                    guard let from = wanted[name] else { continue }
                    try await take(batch, of: name, from: from)
                }
                if context.reportsEveryBatch { await reportProgress() }
            case .streamDown: isStreamDown = true
            case .streamUp: isStreamDown = false
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
        await offerFound()
    }

    // MARK: Shards

    private mutating func forgetEverything() {
        for name in series.keys { close(name) }
        shards = [:]
        held = nil
        inDoubt = []
        entries = [:]
        slots = []
        freeSlots = []
        timers = TimerHeap()
        openOrders = []
        unarmed = [:]
        busyOrders = []
        found = []
        changeCursor = nil
    }

    private mutating func hold(_ assignments: [ShardAssignment]) async throws {
        // Nothing new, as with most heartbeats.
        guard assignments != held else { return }
        held = nil
        if try await change(to: assignments) { held = assignments }
    }

    /// False: one of the new shards is somebody else's by now.
    private mutating func change(to assignments: [ShardAssignment]) async throws -> Bool {
        let wanted = Dictionary(assignments.map { ($0.shard, $0) }, uniquingKeysWith: { first, _ in first })
        release(shards.keys.filter { wanted[$0] == nil })
        // Who holds them now was given the cursors as they are stored.
        inDoubt.formIntersection(wanted.keys)
        let new = assignments.filter { shards[$0.shard]?.epoch != $0.epoch }
        guard !new.isEmpty else { return true }
        // What an earlier assignment left of them is void.
        release(new.map(\.shard).filter { shards[$0] != nil })
        do {
            if try await takeOver(new) { return true }
            // Given to somebody else meanwhile: the next heartbeat says so.
            context.observer.count("shards_lost_while_loading_total", new.count)
        } catch {
            release(new.map(\.shard))
            throw error
        }
        release(new.map(\.shard))
        return false
    }

    private mutating func release(_ gone: [Int]) {
        guard !gone.isEmpty else { return }
        let left = Set(gone)
        for id in entries.keys.filter({ left.contains($0.shard) }) { disarm(id) }
        for shard in gone { shards[shard] = nil }
    }

    /// False: one of the shards is somebody else's by now.
    private mutating func takeOver(_ new: [ShardAssignment]) async throws -> Bool {
        // Where the last holders stood.
        var starts: [Int64: [PriceSeries: TickPosition]] = [:]
        for handover in Set(new.compactMap(\.handover)).sorted() {
            for cursor in try await context.cluster.cursors(handover: handover) {
                starts[handover, default: [:]][PriceSeries(market: cursor.market, source: cursor.source)] =
                    cursor.position
            }
        }
        // Changes from before the load are in the load.
        if changeCursor == nil { changeCursor = try await context.orders.changes(shards: [], since: nil).next }
        let pages = PageCollector()
        let begun = context.clock.monotonicNanoseconds()
        try await context.orders.loadArmed(shards: new.map(\.shard)) { page in pages.add(page) }
        for assignment in new { shards[assignment.shard] = assignment }
        let loaded = pages.take()
        try await arm(loaded, starts: starts)
        // Only now may this worker's own cursors stand for these shards.
        inDoubt.formUnion(new.map(\.shard))
        guard try await context.cluster.accept(new, cursors: safeCursors(), of: context.worker) else { return false }
        inDoubt.subtract(new.map(\.shard))
        if !loaded.isEmpty {
            let ms = (context.clock.monotonicNanoseconds() - begun) / 1_000_000
            context.observer.note(
                .info,
                "Shards taken over",
                [("shards", "\(new.count)"), ("orders", "\(loaded.count)"), ("milliseconds", "\(ms)")],
            )
        }
        await reportProgress()
        return true
    }

    /// Arms the orders of shards that were taken over. Up to its last holder's cursor an order crossed nothing (4.3), so
    /// only its extremes are brought up to it, by suffix extremes instead of walks; from there on every tick counts. An
    /// order whose last holder left no cursor for its series is walked from its row.
    private mutating func arm(_ loaded: [ArmedOrder], starts: [Int64: [PriceSeries: TickPosition]]) async throws {
        var bySeries: [PriceSeries: [ArmedOrder]] = [:]
        for armed in loaded where armed.isLive { bySeries[armed.series, default: []].append(armed) }
        for name in bySeries.keys.sorted() {
            var behind: [ArmedOrder] = []
            var others: [ArmedOrder] = []
            var start: TickPosition?
            for armed in bySeries[name] ?? [] {
                let cursor = shards[armed.id.shard]?.handover.flatMap { starts[$0]?[name] }
                if let cursor, armed.position <= cursor {
                    behind.append(armed)
                    start = min(start ?? cursor, cursor)
                } else {
                    others.append(armed)
                }
            }
            if let start { try await arm(behind, of: name, crossedNothingUpTo: start) }
            for armed in others { await arm(armed) }
        }
    }

    private mutating func arm(
        _ orders: [ArmedOrder],
        of name: PriceSeries,
        crossedNothingUpTo start: TickPosition,
    ) async throws {
        let one = try await open(name, at: start)
        // An index that is not there yet meets those ticks itself: nothing from behind it may be in the extremes.
        let start = min(start, one.position)
        let oldest = orders.reduce(start) { min($0, $1.position) }
        var suffix = SuffixExtremes(points: [])
        if oldest < start {
            // What the last holder saw and nobody stored is gone for good; what there is counts.
            _ = try await history.load(name, after: oldest, through: start)
            let newest = min(start, history.latest(name)?.position ?? start)
            suffix = SuffixExtremes(points: history.points(name, after: oldest, through: newest) ?? [])
        }
        var bulk: [(rule: WatchRule, tag: UInt64)] = []
        var owners: [OrderID] = []
        for armed in orders {
            if armed.position > start {
                await arm(armed)
                continue
            }
            disarm(armed.id)
            let slot = enter(armed, one)
            do {
                let rules = try rules(of: armed, one).map { suffix.raise($0, after: armed.position) }
                if one.position > start {
                    try await walk(armed.id, one, rules: rules, from: start)
                    continue
                }
                for (number, rule) in rules.enumerated() {
                    bulk.append((rule, UInt64(slot) << 8 | UInt64(number)))
                    owners.append(armed.id)
                }
            } catch {
                noteUnarmed(armed, error)
            }
        }
        let handles = one.index.arm(contentsOf: bulk)
        for (id, handle) in zip(owners, handles) { entries[id]?.handles.append(handle) }
    }

    // MARK: Orders

    private mutating func update(_ changed: [ArmedOrder]) async throws {
        for armed in changed where shards[armed.id.shard] != nil {
            if let known = entries[armed.id], known.armed.version >= armed.version { continue }
            await arm(armed)
        }
        await reportProgress()
    }

    private mutating func poll() async throws {
        guard let cursor = changeCursor, !shards.isEmpty else { return }
        let numbers = shardNumbers ?? shards.keys.sorted()
        shardNumbers = numbers
        let (orders, next) = try await context.orders.changes(shards: numbers, since: cursor)
        changeCursor = next
        try await update(orders)
    }

    private mutating func disarm(_ id: OrderID) {
        unarmed[id] = nil
        guard let entry = entries.removeValue(forKey: id) else { return }
        if let one = series[entry.armed.series] {
            for handle in entry.handles { one.index.disarm(handle) }
            one.count -= 1
        }
        slots[entry.slot] = nil
        freeSlots.append(entry.slot)
        openOrders.remove(id)
        busyOrders.remove(id)
        timers.remove(id)
    }

    /// Returns the order's slot.
    private mutating func enter(_ armed: ArmedOrder, _ one: SeriesState) -> Int {
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            slots[free] = armed.id
        } else {
            slot = slots.count
            slots.append(armed.id)
        }
        entries[armed.id] = Entry(armed: armed, slot: slot)
        one.count += 1
        one.idleSince = nil
        if let due = armed.dueAt { timers.set(armed.id, due) }
        if armed.isBusy { busyOrders.insert(armed.id) }
        return slot
    }

    /// Puts an order at its present version into the index, after walking the ticks between its row and the index.
    private mutating func arm(_ armed: ArmedOrder) async {
        disarm(armed.id)
        guard armed.isLive else { return }
        do {
            let one = try await open(armed.series, at: armed.position)
            _ = enter(armed, one)
            if armed.position > one.position {
                _ = try rules(of: armed, one)
                one.insertAhead(armed)
            } else {
                try await walk(armed.id, one, rules: rules(of: armed, one), from: armed.position)
            }
        } catch {
            noteUnarmed(armed, error)
        }
    }

    private mutating func noteUnarmed(_ armed: ArmedOrder, _ error: any Error) {
        if let error = error as? StoreError, !error.isTransient {
            context.observer.note(
                .error,
                "Order cannot be armed",
                [("order_id", "\(armed.id)"), ("error", error.detail)],
            )
            context.observer.count("orders_unarmable_total", 1)
            return
        }
        unarmed[armed.id] = armed
        context.observer.count("orders_armed_later_total", 1)
    }

    private func rules(of armed: ArmedOrder, _ one: SeriesState) throws -> [WatchRule] {
        let rules = armed.watches.compactMap { WatchRule($0.condition, priceDecimals: one.decimals) }
        guard rules.count == armed.watches.count, rules.count <= 256 else {
            throw StoreError(.corruptRow, "order \(armed.id) has a watch off the price grid of \(armed.market)")
        }
        return rules
    }

    /// Evaluates one order over the ticks after `position` up to where its series stands, then arms it there.
    private mutating func walk(
        _ id: OrderID,
        _ one: SeriesState,
        rules: [WatchRule],
        from position: TickPosition,
    ) async throws {
        guard let armed = entries[id]?.armed else { return }
        var set = WatchSet(rules: rules, tickUnits: one.tickUnits)
        if position < one.position, !rules.isEmpty {
            let through = one.position
            if history.extremes(one.name, after: position, through: through) == nil {
                _ = try await history.load(one.name, after: position, through: through)
            }
            if let range = history.extremes(one.name, after: position, through: through),
                range.isEmpty || !set.mayCross(high: range.high, low: range.low)
            {
                if !range.isEmpty { set.absorb(high: range.high, low: range.low) }
            } else {
                var before = position
                var crossed: (watch: Int, at: TickPosition)?
                let isComplete = try await history.walk(one.name, after: position, through: through) { point in
                    if let watch = set.cross(point.price) {
                        crossed = (watch, point.position)
                        return false
                    }
                    before = point.position
                    return true
                }
                if let crossed {
                    let watch = armed.watches[crossed.watch]
                    found.append(note(id, one, watch, at: crossed.at, before: before, receivedAt: 0))
                    return
                }
                guard isComplete else {
                    throw StoreError(.unavailable, "prices of \(one.name) since the row of \(id) are not stored yet")
                }
            }
        }
        guard let slot = entries[id]?.slot else { return }
        for (number, rule) in set.rules.enumerated() {
            entries[id]?.handles.append(one.index.arm(rule, tag: UInt64(slot) << 8 | UInt64(number)))
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

    private mutating func open(_ name: PriceSeries, at position: TickPosition) async throws -> SeriesState {
        if let one = series[name] { return one }
        let instrument = try await instrument(name.market)
        guard let tickUnits = instrument.tickSize.value.units(decimals: instrument.priceDecimals) else {
            throw StoreError(.corruptRow, "market \(name.market) of an armed order has a tick finer than its prices")
        }
        let one = SeriesState(
            name,
            decimals: instrument.priceDecimals,
            tickUnits: tickUnits,
            position: position,
            now: context.clock.monotonicNanoseconds(),
        )
        series[name] = one
        plan.set(name, to: position)
        return one
    }

    private mutating func close(_ name: PriceSeries) {
        plan.set(name, to: nil)
        history.follow(name, false)
        series[name] = nil
    }

    // MARK: Ticks

    private mutating func take(_ batch: TickBatch, of name: PriceSeries, from: TickPosition) async throws {
        guard let one = series[name] else { return }
        if from > one.position {
            // A batch was lost between reader and index: read again from where we stand.
            plan.set(name, to: one.position)
            return
        }
        if let oldest = batch.oldest, oldest > one.position {
            // The stream no longer reaches back to where we stand: the persisted extremes do.
            try await readExtremes(one, through: oldest)
            if one.position < oldest {
                // Not stored yet; nothing behind a hole is evaluated before the hole.
                one.isBroken = true
                plan.set(name, to: nil)
                return
            }
        }
        history.append(batch.ticks, to: name, after: one.position)
        history.follow(name, true)
        for tick in batch.ticks {
            if !one.ahead.isEmpty { await armAhead(one) }
            advance(one, to: tick.position, price: tick.price, receivedAt: tick.receivedAt)
        }
    }

    private mutating func readExtremes(_ one: SeriesState, through last: TickPosition) async throws {
        while one.position < last {
            let page = try await context.cluster.extremes(
                market: one.name.market,
                source: one.name.source,
                after: one.position,
                limit: 10_000,
            )
            guard !page.isEmpty else { return }
            let ticks = page.map { RawTick(position: $0.position, price: $0.price, receivedAt: 0) }
            history.append(ticks, to: one.name, after: one.position)
            for point in page {
                if !one.ahead.isEmpty { await armAhead(one) }
                advance(one, to: point.position, price: point.price, receivedAt: 0)
            }
        }
    }

    /// A full Redis is read as usual and takes no new ticks.
    private var isStreamBehind: Bool { isStreamDown || context.queue.refusesOffers }

    /// Goes on from what the feed stored: series with a hole in the stream, or all of them while it is away.
    private mutating func mend() async throws {
        let isStreamBehind = isStreamBehind
        for name in series.keys.sorted() {
            guard let one = series[name], isStreamBehind || one.isBroken else { continue }
            history.follow(name, false)
            try await readExtremes(one, through: TickPosition(venueTime: .max, sequence: .max))
            one.isBroken = false
            plan.set(name, to: one.position)
        }
    }

    /// - Parameter receivedAt: 0 when unknown.
    private mutating func advance(_ one: SeriesState, to position: TickPosition, price: Int64, receivedAt: Int64) {
        let before = one.position
        guard position > before else { return }
        one.position = position
        one.index.advance(to: price, &crossings)
        guard !crossings.isEmpty else { return }
        var first: [OrderID: Watch] = [:]
        for crossing in crossings {
            guard let id = slots[Int(crossing.tag >> 8)], let entry = entries[id] else { continue }
            let watch = entry.armed.watches[Int(crossing.tag & 255)]
            if let known = first[id], known.leg.urgency <= watch.leg.urgency { continue }
            first[id] = watch
        }
        crossings.removeAll(keepingCapacity: true)
        for (id, watch) in first.sorted(by: { $0.key < $1.key }) {
            found.append(note(id, one, watch, at: position, before: before, receivedAt: receivedAt))
        }
    }

    /// Arms the orders whose rows the index has now reached.
    private mutating func armAhead(_ one: SeriesState) async {
        while let next = one.ahead.last, next.position <= one.position {
            one.ahead.removeLast()
            // Changed or gone meanwhile: armed by its newer version.
            guard let entry = entries[next.id], entry.armed.version == next.version, entry.handles.isEmpty,
                entry.open == nil
            else { continue }
            do {
                try await walk(next.id, one, rules: rules(of: next, one), from: next.position)
            } catch {
                noteUnarmed(next, error)
            }
        }
    }

    // MARK: Crossings

    /// Remembers a crossing: the order's other watches rest until its row moves on.
    private mutating func note(
        _ id: OrderID,
        _ one: SeriesState,
        _ watch: Watch,
        at position: TickPosition,
        before: TickPosition,
        receivedAt: Int64,
    ) -> Job {
        guard var entry = entries[id] else { preconditionFailure("a crossing of an unknown order") }
        for handle in entry.handles { one.index.disarm(handle) }
        entry.handles = []
        let times = CrossingTimes(
            receivedAt: receivedAt == 0 ? nil : Timestamp(microseconds: receivedAt),
            crossedAt: context.clock.now(),
        )
        let job = Job.trigger(entry.armed, watch, at: position, times: times)
        let now = context.clock.monotonicNanoseconds()
        entry.open = OpenCrossing(job: job, before: before, nextOffer: now + 1_000_000_000, offers: 1)
        entries[id] = entry
        openOrders.insert(id)
        return job
    }

    private mutating func offerFound() async {
        guard !found.isEmpty else { return }
        let jobs = found
        found = []
        context.observer.count("crossings_offered_total", jobs.count)
        let done = await offer(jobs, verify: false)
        // The queue remembers an older job of this id as done. What crossed now is another tick: it gets another id.
        if !done.isEmpty { _ = await offer(done.map { $0.again(0) }, verify: false) }
    }

    /// Returns jobs whose ids the queue remembers as completed.
    private func offer(_ jobs: [Job], verify: Bool) async -> [Job] {
        var done: [Job] = []
        var start = 0
        while start < jobs.count {
            let page = Array(jobs[start..<min(start + 256, jobs.count)])
            start += page.count
            do throws(QueueError) {
                let codes = try await context.queue.offer(page, verify: verify)
                for (job, code) in zip(page, codes) {
                    switch code {
                    case .queued, .live, .healed, .replaced, .full: break
                    case .completed: done.append(job)
                    case .dead:
                        context.observer.note(
                            .warning,
                            "Trigger job is dead",
                            [("job_id", "\(job.id)"), ("order_id", "\(job.id.order)")],
                        )
                    }
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
        return done
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
            for row in try await context.orders.armed(page) {
                guard let entry = entries[row.id], let open = entry.open else { continue }
                if row.version > entry.armed.version {
                    await arm(row)
                } else if now >= open.nextOffer {
                    still.append(row.id)
                }
            }
            guard !still.isEmpty else { continue }
            for row in try await context.orders.load(still) {
                guard var open = entries[row.id]?.open, entries[row.id]?.armed.version == row.version else { continue }
                if try await TriggerDecision.isMoot(open.job, on: row, history: history) {
                    await goOn(row.id, after: open)
                    continue
                }
                // The queue may remember an older job of this id as done: later work has an id of its own.
                again.append(open.job.again(open.offers))
                open.offers += 1
                open.nextOffer = now + 1_000_000_000 << Int64(min(open.offers - 1, 3))
                entries[row.id]?.open = open
            }
        }
        _ = await offer(again, verify: true)
        await reportProgress()
    }

    /// A rule answers the crossing with nothing: the order is armed again behind that tick, whose price counts.
    private mutating func goOn(_ id: OrderID, after open: OpenCrossing) async {
        guard let armed = entries[id]?.armed, let one = series[armed.series], let position = open.job.position else {
            return
        }
        do {
            _ = try await history.load(one.name, after: armed.position, through: position)
            guard let range = history.extremes(one.name, after: armed.position, through: position) else { return }
            var set = WatchSet(rules: try rules(of: armed, one), tickUnits: one.tickUnits)
            if !range.isEmpty { set.absorb(high: range.high, low: range.low) }
            entries[id]?.open = nil
            openOrders.remove(id)
            try await walk(id, one, rules: set.rules, from: position)
        } catch {
            // Still open, or tried again from its row.
            if entries[id]?.open == nil { noteUnarmed(armed, error) }
        }
    }

    // MARK: Time

    private mutating func beat() async throws {
        let now = context.clock.monotonicNanoseconds()
        for id in timers.due(at: context.clock.now()) {
            if let entry = entries[id] { found.append(.timer(entry.armed)) }
        }
        await offerFound()
        if now - lastMend >= (isStreamBehind ? 250_000_000 : 50_000_000) {
            lastMend = now
            try await mend()
        }
        if now - lastOpenCheck >= 250_000_000 {
            lastOpenCheck = now
            for id in unarmed.keys.sorted() {
                if let armed = unarmed[id] { await arm(armed) }
            }
            try await checkOpen()
        }
        if now - lastCursorSave >= 500_000_000 {
            lastCursorSave = now
            closeIdle(now)
            try await saveCursors()
            await reportProgress()
        }
    }

    private mutating func closeIdle(_ now: Int64) {
        for (name, one) in series.sorted(by: { $0.key < $1.key }) where one.count == 0 {
            if let since = one.idleSince {
                if now - since > Self.idleLimit { close(name) }
            } else {
                one.idleSince = now
            }
        }
    }

    private mutating func saveCursors() async throws {
        guard inDoubt.isEmpty else { return }
        let moved = safeCursors().filter { cursor in
            series[PriceSeries(market: cursor.market, source: cursor.source)]?.saved != cursor.position
        }
        guard !moved.isEmpty, try await context.cluster.saveCursors(moved, of: context.worker) else { return }
        for cursor in moved {
            series[PriceSeries(market: cursor.market, source: cursor.source)]?.saved = cursor.position
        }
    }

    /// The positions that a new holder may start from: a while ago, and before the oldest open crossing.
    private func safeCursors() -> [EvaluationCursor] {
        var held: [PriceSeries: TickPosition] = [:]
        for id in openOrders {
            guard let entry = entries[id], let open = entry.open else { continue }
            held[entry.armed.series] = min(held[entry.armed.series] ?? open.before, open.before)
        }
        for armed in unarmed.values { held[armed.series] = min(held[armed.series] ?? armed.position, armed.position) }
        let now = context.clock.monotonicNanoseconds()
        return series.sorted { $0.key < $1.key }.map { name, one in
            let settled = one.settled(now: now, lag: Self.cursorLag)
            return EvaluationCursor(
                market: name.market,
                source: name.source,
                position: min(settled, held[name] ?? settled),
            )
        }
    }

    private func reportProgress() async {
        var open: [PriceSeries: Int] = [:]
        var unanswered: [PriceSeries: Int] = [:]
        for id in openOrders.union(busyOrders).union(unarmed.keys) {
            guard let armed = entries[id]?.armed ?? unarmed[id] else { continue }
            open[armed.series, default: 0] += 1
            if !openOrders.contains(id), unarmed[id] == nil { unanswered[armed.series, default: 0] += 1 }
        }
        var versions: [PriceSeries: Int64] = [:]
        if context.reportsEveryBatch {
            for entry in entries.values { versions[entry.armed.series, default: 0] += entry.armed.version }
        }
        let reports = series.sorted { $0.key < $1.key }.map { name, one in
            EvaluationProgress(
                series: name,
                position: one.position,
                open: open[name] ?? 0,
                orders: one.count,
                shards: shards.count,
                unanswered: unanswered[name] ?? 0,
                versions: versions[name] ?? 0,
            )
        }
        do throws(TickLogError) {
            try await context.ticks.reportProgress(reports, shards: shards.count, worker: context.worker)
        } catch {
            context.observer.count("ticklog_errors_total", 1)
        }
    }
}

extension ArmedOrder {
    fileprivate var series: PriceSeries { PriceSeries(market: market, source: source) }
}
