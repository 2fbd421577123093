// What the evaluating task owns: one index per series, every armed order of the held shards, the open crossings.
//
// An order that cannot be armed now (its prices are not to be had) is tried again and holds the cursor back meanwhile;
// shards whose take-over failed are taken over again with the next heartbeat.
internal import SmartOrders
internal import TriggerIndex

/// The evaluator's memory. Confined to one task.
struct EvaluatorState {
    let context: EngineContext
    let history: PriceHistory
    private let plan: ReadPlan
    var shards = HeldShards()
    /// The assignments as they were taken in whole.
    private var held: [ShardAssignment]?
    /// Shards whose acceptance got no answer: in PostgreSQL this worker's cursors may stand for them, and nobody evaluates
    /// them here. No cursor moves while there are any.
    var inDoubt = ShardSet()
    var entries = ArmedTable()
    private var series: [PriceSeries: SeriesState] = [:]
    /// The same by name: every look at all of them goes by it.
    private var inOrder: [SeriesState] = []
    private var instruments: [MarketID: Instrument] = [:]
    private var timers = TimerHeap()
    private var openOrders: Set<OrderID> = []
    /// When to ask again whether the row of an open crossing has moved on.
    private var questions = TimerHeap()
    /// The last questions found crossings that the queue did not have.
    private var isQueueDoubtful = false
    /// Orders whose prices could not be had; they hold the cursor back.
    private var unarmed: [OrderID: ArmedOrder] = [:]
    /// Orders with unanswered venue requests.
    private var busyOrders: Set<OrderID> = []
    var changeCursor: ChangeCursor?
    private var lastCursorSave: Int64 = 0
    private var lastOpenCheck: Int64 = 0
    private var lastMend: Int64 = 0
    private var lastReport: Int64 = .min / 2
    private var isStreamDown = false
    /// Reused for every tick.
    private var crossings: [Crossing] = []
    /// Found and not offered yet.
    private var found: [Job] = []

    /// A cursor that does not move is stored again after so many nanoseconds, for what was heard since.
    private static let cursorLife: Int64 = 10_000_000_000
    private static let idleLimit: Int64 = 30_000_000_000
    private static let reportPause: Int64 = 240_000_000
    /// Without a tick, until the stored prices are looked at.
    private static let quietPause: Int64 = 2_000_000_000
    private static let firstQuestionMs: Int64 = 250
    private static let nextQuestionMs: Int64 = 1_000
    private static let questionPage = 512
    private static let mootAtOnce = 1_000
    /// A quarter of a second's share while the queue was found to have lost something.
    private static let questionsAtOnce = 2_048
    /// The same while it has everything: what waits behind a storm is asked about in passing, or the asking becomes the
    /// storm.
    private static let questionsWhileWell = 256

    /// Told when a long piece of work gets on.
    let pulse: Pulse

    init(context: EngineContext, history: PriceHistory, plan: ReadPlan, pulse: Pulse) {
        self.context = context
        self.history = history
        self.plan = plan
        self.pulse = pulse
    }

    mutating func handle(_ message: EvaluatorMessage) async {
        do {
            switch message {
            case .orders(let orders):
                if orders.mustDrop { forgetEverything() }
                if let assignments = orders.assignments { try await hold(assignments) }
            case .ticks(let batches, let wanted):
                for one in inOrder {
                    guard let batch = batches[one.name], let from = wanted[one.name] else { continue }
                    try await take(batch, of: one.name, from: from)
                }
                if context.reportsEveryBatch { await reportProgress() }
            case .streamDown: isStreamDown = true
            case .streamUp: isStreamDown = false
            case .changed(let ids):
                let mine = Set(ids.filter { shards.contains($0.shard) }).sorted()
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
        for one in inOrder { close(one.name) }
        shards = HeldShards()
        held = nil
        inDoubt = ShardSet()
        entries = ArmedTable()
        timers = TimerHeap()
        openOrders = []
        questions = TimerHeap()
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
        let wanted = ShardSet(assignments.lazy.map(\.shard))
        release(shards.numbers().filter { !wanted.contains($0) })
        // Who holds them now was given the cursors as they are stored.
        inDoubt.keep(wanted)
        let new = assignments.filter { shards[$0.shard] != $0.epoch }
        guard !new.isEmpty else { return true }
        // What an earlier assignment left of them is void.
        release(new.map(\.shard).filter { shards.contains($0) })
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
        let left = ShardSet(gone)
        for id in entries.ids(where: { left.contains($0.shard) }) { disarm(id) }
        for shard in gone { shards[shard] = nil }
    }

    // MARK: Orders

    private mutating func update(_ changed: [ArmedOrder]) async throws {
        for armed in changed where shards.contains(armed.id.shard) {
            if let known = entries[armed.id], known.armed.version >= armed.version { continue }
            await arm(armed)
        }
        if context.reportsEveryBatch { await reportProgress() }
    }

    private mutating func poll() async throws {
        guard let cursor = changeCursor, !shards.isEmpty else { return }
        let (orders, next) = try await context.orders.changes(shards: shards.numbers(), since: cursor)
        changeCursor = next
        try await update(orders)
    }

    mutating func disarm(_ id: OrderID) {
        unarmed[id] = nil
        guard let entry = entries.remove(id) else { return }
        if let one = series[entry.armed.series] {
            one.disarm(entry)
            one.count -= 1
            if let open = entry.open { one.closed(before: open.before) }
        }
        openOrders.remove(id)
        questions.remove(id)
        busyOrders.remove(id)
        timers.remove(id)
    }

    /// Returns the order's slot.
    mutating func enter(_ armed: ArmedOrder, _ one: SeriesState) -> Int {
        let slot = entries.insert(armed)
        one.count += 1
        one.idleSince = nil
        if let due = armed.dueAt { timers.set(armed.id, due) }
        if armed.isBusy { busyOrders.insert(armed.id) }
        return slot
    }

    /// Puts an order at its present version into the index, after walking the ticks between its row and the index.
    mutating func arm(_ armed: ArmedOrder) async {
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

    mutating func noteUnarmed(_ armed: ArmedOrder, _ error: any Error) {
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

    func rules(of armed: ArmedOrder, _ one: SeriesState) throws -> [WatchRule] {
        var rules: [WatchRule] = []
        for watch in armed.watches { rules.append(try rule(watch, of: armed, one)) }
        return rules
    }

    func rule(_ watch: Watch, of armed: ArmedOrder, _ one: SeriesState) throws -> WatchRule {
        guard let rule = WatchRule(watch.condition, priceDecimals: one.decimals), armed.watches.count <= 256 else {
            throw StoreError(.corruptRow, "order \(armed.id) has a watch off the price grid of \(armed.market)")
        }
        return rule
    }

    /// Evaluates one order over the ticks after `position` up to where its series stands, then arms it there. Behind a
    /// crossing its stops go on.
    mutating func walk(
        _ id: OrderID,
        _ one: SeriesState,
        rules: [WatchRule],
        from position: TickPosition,
    ) async throws {
        guard let armed = entries[id]?.armed else { return }
        var set = WatchSet(rules: rules, tickUnits: one.grid(armed.tickUnits))
        var numbers = Array(rules.indices)
        var position = position
        while let crossed = try await firstCrossing(of: &set, one, after: position, id) {
            let watch = armed.watches[numbers[crossed.watch]]
            found.append(note(id, one, watch, at: crossed.at, before: crossed.before, receivedAt: 0))
            let stops = watch.leg.isStop ? [] : numbers.indices.filter { armed.watches[numbers[$0]].leg.isStop }
            if stops.isEmpty { return }
            set.absorb(high: crossed.price, low: crossed.price)
            set = WatchSet(rules: stops.map { set.rules[$0] }, tickUnits: one.grid(armed.tickUnits))
            numbers = stops.map { numbers[$0] }
            position = crossed.at
        }
        guard let slot = entries.slot(of: id) else { return }
        for (number, rule) in zip(numbers, set.rules) {
            let tag = UInt64(slot) << 8 | UInt64(number)
            entries.append(one.withIndex(armed.tickUnits) { $0.arm(rule, tag: tag) }, tag: tag)
        }
    }

    private struct WalkedCrossing {
        /// Place in the set.
        let watch: Int
        let price: Int64
        let at: TickPosition
        let before: TickPosition
    }

    /// The first tick after `position`, up to where the series stands, that crosses a watch; nil: none, and the set knows
    /// their extremes.
    private func firstCrossing(
        of set: inout WatchSet,
        _ one: SeriesState,
        after position: TickPosition,
        _ id: OrderID,
    ) async throws -> WalkedCrossing? {
        guard position < one.position, !set.rules.isEmpty else { return nil }
        let through = one.position
        if history.extremes(one.name, after: position, through: through) == nil {
            _ = try await history.load(one.name, after: position, through: through)
        }
        if let range = history.extremes(one.name, after: position, through: through),
            range.isEmpty || !set.mayCross(high: range.high, low: range.low)
        {
            if !range.isEmpty { set.absorb(high: range.high, low: range.low) }
            return nil
        }
        var walked = set
        var before = position
        var crossed: WalkedCrossing?
        let isComplete = try await history.walk(one.name, after: position, through: through) { point in
            if let watch = walked.cross(point.price) {
                crossed = WalkedCrossing(watch: watch, price: point.price, at: point.position, before: before)
                return false
            }
            before = point.position
            return true
        }
        guard isComplete || crossed != nil else {
            throw StoreError(.unavailable, "prices of \(one.name) since the row of \(id) are not stored yet")
        }
        set = walked
        return crossed
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

    /// A row may stand at the moment of its fill, where no tick is and some before it are not known yet: an index that began
    /// there could not say when it has them all, and orders that stand a little before it would wait for the next tick.
    mutating func open(_ name: PriceSeries, at wanted: TickPosition) async throws -> SeriesState {
        if let one = series[name] { return one }
        let position =
            wanted.isBetweenTicks ? .before(ticksAt: wanted.venueTime - SmartOrder.ticksBehindFill) : wanted
        let instrument = try await instrument(name.market)
        guard let tickUnits = instrument.tickSize.value.units(decimals: instrument.priceDecimals) else {
            throw StoreError(.corruptRow, "market \(name.market) of an armed order has a tick finer than its prices")
        }
        let one = SeriesState(
            name,
            decimals: instrument.priceDecimals,
            tickUnits: tickUnits,
            position: position,
        )
        series[name] = one
        inOrder.insert(one, at: inOrder.firstIndex { name < $0.name } ?? inOrder.count)
        plan.set(name, to: position)
        return one
    }

    private mutating func close(_ name: PriceSeries) {
        plan.set(name, to: nil)
        history.follow(name, false)
        series[name] = nil
        inOrder.removeAll { $0.name == name }
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
            guard try await readExtremes(one, before: oldest) else {
                // Not stored yet; nothing behind a hole is evaluated before the hole.
                one.isBroken = true
                plan.set(name, to: nil)
                return
            }
        }
        history.append(batch.ticks, to: name, after: one.position)
        history.follow(name, true)
        if !batch.ticks.isEmpty { one.heardAt = context.clock.monotonicNanoseconds() }
        for tick in batch.ticks {
            if !one.ahead.isEmpty { await armAhead(one, before: tick.position) }
            advance(one, to: tick.position, price: tick.price, receivedAt: tick.receivedAt)
        }
    }

    /// Evaluates what is stored, up to `end`, where the stream begins and knows every tick. False: it is not stored that
    /// far yet.
    @discardableResult
    private mutating func readExtremes(_ one: SeriesState, before end: TickPosition) async throws -> Bool {
        while one.position < end {
            let stored = try await context.cluster.extremes(
                market: one.name.market,
                source: one.name.source,
                after: one.position,
                limit: 10_000,
            )
            guard let newest = stored.last?.position else { return false }
            let page = stored.prefix { $0.position < end }
            let ticks = page.map { RawTick(position: $0.position, price: $0.price, receivedAt: 0) }
            history.append(ticks, to: one.name, after: one.position)
            for point in page {
                if !one.ahead.isEmpty { await armAhead(one, before: point.position) }
                advance(one, to: point.position, price: point.price, receivedAt: 0)
            }
            if newest >= end { return true }
        }
        return true
    }

    /// A full Redis is read as usual and takes no new ticks.
    private var isStreamBehind: Bool { isStreamDown || context.queue.refusesOffers }

    /// Goes on from what the feed stored: series with a hole in the stream, or all of them while it is away. A quiet one is
    /// looked at now and then: its feed may store prices and not reach the stream.
    private mutating func mend() async throws {
        let isStreamBehind = isStreamBehind
        let now = context.clock.monotonicNanoseconds()
        for one in inOrder {
            let name = one.name
            guard isStreamBehind || one.isBroken else {
                guard now - one.heardAt >= Self.quietPause else { continue }
                one.heardAt = now
                let before = one.position
                try await readExtremes(one, before: TickPosition(venueTime: .max, sequence: .max))
                if one.position > before { plan.set(name, to: one.position) }
                continue
            }
            history.follow(name, false)
            try await readExtremes(one, before: TickPosition(venueTime: .max, sequence: .max))
            one.isBroken = false
            plan.set(name, to: one.position)
        }
    }

    /// - Parameter receivedAt: 0 when unknown.
    private mutating func advance(_ one: SeriesState, to position: TickPosition, price: Int64, receivedAt: Int64) {
        let before = one.position
        guard position > before else { return }
        one.position = position
        one.advance(to: price, &crossings)
        guard !crossings.isEmpty else { return }
        var first: [OrderID: Watch] = [:]
        for crossing in crossings {
            guard let armed = entries[slot: Int(crossing.tag >> 8)]?.armed else { continue }
            let (id, watch) = (armed.id, armed.watches[Int(crossing.tag & 255)])
            if let known = first[id], known.leg.urgency <= watch.leg.urgency { continue }
            first[id] = watch
        }
        crossings.removeAll(keepingCapacity: true)
        for (id, watch) in first.sorted(by: { $0.key < $1.key }) {
            found.append(note(id, one, watch, at: position, before: before, receivedAt: receivedAt))
        }
    }

    /// Arms the orders whose rows stand before the next tick: it counts for them. A row may stand between two ticks, at the
    /// moment of a fill.
    private mutating func armAhead(_ one: SeriesState, before tick: TickPosition) async {
        while let next = one.ahead.last, next.position < tick {
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

    /// Remembers a crossing: the order's other watches rest until its row moves on, but for its stops: a target or a mark
    /// that is decided on, perhaps with nothing, leaves nobody unprotected meanwhile. Where a stop is crossed then, its job
    /// takes the place of the other's; whoever handles it decides on what came first before.
    private mutating func note(
        _ id: OrderID,
        _ one: SeriesState,
        _ watch: Watch,
        at position: TickPosition,
        before: TickPosition,
        receivedAt: Int64,
    ) -> Job {
        guard let entry = entries[id] else { preconditionFailure("a crossing of an unknown order") }
        var stops = WatchHandles()
        entry.handles.forEach { handle, number in
            if !watch.leg.isStop, entry.armed.watches[Int(number)].leg.isStop {
                stops.append(handle, number: number)
            } else {
                _ = one.withIndex(entry.armed.tickUnits) { $0.disarm(handle) }
            }
        }
        entries[id]?.handles = stops
        let before = min(before, entry.open?.before ?? before)
        let times = CrossingTimes(
            receivedAt: receivedAt == 0 ? nil : Timestamp(microseconds: receivedAt),
            crossedAt: context.clock.now(),
        )
        let job = Job.trigger(entry.armed, watch, at: position, times: times)
        let now = context.clock.monotonicNanoseconds()
        if let open = entry.open { one.closed(before: open.before) }
        entries[id]?.open = OpenCrossing(job: job, before: before, nextOffer: now + 1_000_000_000)
        one.opened(before: before)
        openOrders.insert(id)
        ask(id, after: Self.firstQuestionMs)
        return job
    }

    private mutating func ask(_ id: OrderID, after milliseconds: Int64) {
        questions.set(id, context.clock.now().advanced(milliseconds: milliseconds))
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
            pulse.begin()
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

    /// Asks which open crossings are answered by their rows. What is not is offered again: a job that waits in the queue
    /// stays as it is, one that the queue lost comes back. Where the queue says that the job is done and the row has not
    /// moved, the crossing is decided on as a handler would (4.3): what a rule answers with nothing is forgotten, the rest
    /// becomes later work.
    ///
    /// Most rows are heard of before (`changed`, `poll`), so few are asked for at a time, however many are open.
    private mutating func checkOpen() async throws {
        guard !openOrders.isEmpty else { return }
        let now = context.clock.monotonicNanoseconds()
        var due: [Job] = []
        let most = isQueueDoubtful ? Self.questionsAtOnce : Self.questionsWhileWell
        for start in stride(from: 0, to: most, by: Self.questionPage) {
            let asked = questions.due(at: context.clock.now(), limit: min(Self.questionPage, most - start))
                .filter { openOrders.contains($0) }
            guard !asked.isEmpty else { break }
            // Whatever becomes of this page, they are asked about again: as often as they are offered again.
            for id in asked {
                let offers = entries[id]?.open?.offers ?? 1
                ask(id, after: Self.nextQuestionMs << Int64(min(offers, 4) - 1))
            }
            for row in try await context.orders.armed(asked.sorted()) {
                guard let entry = entries[row.id], let open = entry.open else { continue }
                if row.version > entry.armed.version {
                    await arm(row)
                } else if now >= open.nextOffer {
                    due.append(open.job)
                }
            }
        }
        try await offerAgain(due, at: now)
        await reportProgress()
    }

    private mutating func offerAgain(_ jobs: [Job], at now: Int64) async throws {
        guard !jobs.isEmpty else { return }
        for job in jobs {
            guard let open = entries[job.id.order]?.open else { continue }
            open.nextOffer = now + 1_000_000_000 << Int64(min(open.offers, 3))
            open.offers += 1
        }
        let (ended, lost) = await verified(jobs)
        isQueueDoubtful = lost > 0
        var again: [Job] = []
        for start in stride(from: 0, to: ended.count, by: Self.questionPage) {
            let page = ended[start..<min(start + Self.questionPage, ended.count)]
            for row in try await context.orders.load(page.map(\.id.order).sorted()) {
                guard let open = entries[row.id]?.open, entries[row.id]?.armed.version == row.version else { continue }
                if try await TriggerDecision.isMoot(open.job, on: row, history: history) {
                    try await goOn(row, after: open)
                    continue
                }
                // The queue remembers this id as done: later work has an id of its own.
                open.job = open.job.again(open.offers)
                again.append(open.job)
            }
        }
        _ = await offer(again, verify: true)
    }

    /// Returns the jobs of which the queue does not say that they are still to be done, and how many of all it had lost.
    private func verified(_ jobs: [Job]) async -> (doubtful: [Job], lost: Int) {
        var doubtful: [Job] = []
        var lost = 0
        for start in stride(from: 0, to: jobs.count, by: 256) {
            let page = Array(jobs[start..<min(start + 256, jobs.count)])
            do throws(QueueError) {
                for (job, code) in zip(page, try await context.queue.offer(page, verify: true)) {
                    switch code {
                    case .live: break
                    case .queued, .healed, .replaced, .full: lost += 1
                    case .completed, .dead: doubtful.append(job)
                    }
                }
            } catch {
                doubtful += page
                lost += page.count
            }
        }
        return (doubtful, lost)
    }

    /// A rule answers the crossing with nothing: the order goes on behind that tick. So do crossings after it that are
    /// answered alike, a bounded number at a time: an order must not fall behind its prices.
    private mutating func goOn(_ row: StoredOrder, after open: OpenCrossing) async throws {
        var open = open
        for _ in 0..<Self.mootAtOnce {
            await goOn(row.id, after: open)
            guard let next = entries[row.id]?.open, next !== open, entries[row.id]?.armed.version == row.version,
                try await TriggerDecision.isMoot(next.job, on: row, history: history)
            else { return }
            found.removeAll { $0.id == next.job.id }
            open = next
        }
    }

    /// Arms the order again behind a crossing's tick, whose price counts.
    private mutating func goOn(_ id: OrderID, after open: OpenCrossing) async {
        guard let armed = entries[id]?.armed, let one = series[armed.series], let position = open.job.position else {
            return
        }
        do {
            _ = try await history.load(one.name, after: armed.position, through: position)
            guard let range = history.extremes(one.name, after: armed.position, through: position) else { return }
            var set = WatchSet(rules: try rules(of: armed, one), tickUnits: one.grid(armed.tickUnits))
            if !range.isEmpty { set.absorb(high: range.high, low: range.low) }
            if let known = entries[id]?.open { one.closed(before: known.before) }
            if let entry = entries[id] { one.disarm(entry) }
            entries[id]?.handles = WatchHandles()
            entries[id]?.open = nil
            openOrders.remove(id)
            questions.remove(id)
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
        for one in inOrder where one.count == 0 {
            if let since = one.idleSince {
                if now - since > Self.idleLimit { close(one.name) }
            } else {
                one.idleSince = now
            }
        }
    }

    private mutating func saveCursors() async throws {
        guard inDoubt.isEmpty else { return }
        let now = context.clock.monotonicNanoseconds()
        let moved = safeCursors().filter { cursor in
            let saved = series[PriceSeries(market: cursor.market, source: cursor.source)]?.saved
            return saved?.position != cursor.position || now - (saved?.at ?? now) > Self.cursorLife
        }
        guard !moved.isEmpty, try await context.cluster.saveCursors(moved, of: context.worker) else { return }
        for cursor in moved {
            series[PriceSeries(market: cursor.market, source: cursor.source)]?.saved = (cursor.position, now)
        }
    }

    /// The positions that a new holder may start from: before the oldest open crossing of the orders that were heard of.
    func safeCursors() -> [EvaluationCursor] {
        var held: [PriceSeries: TickPosition] = [:]
        for armed in unarmed.values { held[armed.series] = min(held[armed.series] ?? armed.position, armed.position) }
        return inOrder.map { one in
            var position = one.position
            if let before = one.beforeOpen { position = min(position, before) }
            if !held.isEmpty, let before = held[one.name] { position = min(position, before) }
            return EvaluationCursor(
                market: one.name.market,
                source: one.name.source,
                position: position,
                heard: changeCursor,
            )
        }
    }

    mutating func reportProgress() async {
        let now = context.clock.monotonicNanoseconds()
        guard context.reportsEveryBatch || now - lastReport >= Self.reportPause else { return }
        lastReport = now
        /// Beside the open crossings.
        var open: [PriceSeries: Int] = [:]
        var unanswered: [PriceSeries: Int] = [:]
        for armed in unarmed.values where !openOrders.contains(armed.id) { open[armed.series, default: 0] += 1 }
        for id in busyOrders where !openOrders.contains(id) && unarmed[id] == nil {
            guard let armed = entries[id]?.armed else { continue }
            open[armed.series, default: 0] += 1
            unanswered[armed.series, default: 0] += 1
        }
        var versions: [PriceSeries: Int64] = [:]
        if context.reportsEveryBatch {
            entries.forEach { versions[$0.armed.series, default: 0] += $0.armed.version }
        }
        let reports = inOrder.map { one in
            EvaluationProgress(
                series: one.name,
                position: one.position,
                open: one.openCount + (open.isEmpty ? 0 : open[one.name] ?? 0),
                orders: one.count,
                shards: shards.count,
                unanswered: unanswered.isEmpty ? 0 : unanswered[one.name] ?? 0,
                versions: versions.isEmpty ? 0 : versions[one.name] ?? 0,
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
    var series: PriceSeries { PriceSeries(market: market, source: source) }
}
