// The judge: reads the venue's log, the ticks and the commits as they come, and knows what may never be.
//
// Invariants of orders are I1..I15 (ORDERS.md 8), predicates of the system PR1..PR22 (RELIABILITY.md 7). It shares no
// code with the engine; of the core it uses the row's fields, and `decide` only to ask whether a rule answers a tick
// with nothing. Called on the simulating thread, under the servers' locks: it calls nobody back.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

/// What must not be, and was.
package struct Violation: Hashable, Sendable {
    /// `I1`..`I15`, `PR1`..`PR22`, or a word for what a simulation itself forbids.
    package let predicate: String
    package let evidence: String
    /// Virtual time.
    package let milliseconds: Int64
}

/// Hears what a database does, before anybody else knows.
protocol DatabaseWatcher: Sendable {
    func committed(
        _ stored: StoredOrder?,
        _ next: SmartOrder,
        _ commit: Commit,
        intents: [VenueOrder],
        at milliseconds: Int64,
    )
    func committed(_ next: ConditionalOrder, _ commit: Commit, at milliseconds: Int64)
    func stored(_ bucket: ExtremeBucket)
    func halted(_ isHalted: Bool)
}

/// Hears what comes into the tick streams.
protocol StreamWatcher: Sendable {
    func streamed(_ series: PriceSeries, _ ticks: [RawTick])
    func streamsLost()
}

final class Oracle: Sendable, DatabaseWatcher, StreamWatcher {
    /// One venue order in the venue's log.
    struct Accepted {
        let order: OrderID
        let isExit: Bool
        var open: ExactDecimal
        var filled: ExactDecimal
    }

    /// A row as it was committed: what the prices after it are judged by.
    /// A class: rows are large.
    final class Stand: Sendable {
        let row: SmartOrder
        let cause: EventCause
        let tick: TickPosition?

        init(row: SmartOrder, cause: EventCause, tick: TickPosition?) {
            self.row = row
            self.cause = cause
            self.tick = tick
        }
    }

    struct Watched {
        /// The newest.
        var stand: Stand
        var stands: [Stand]
        var entered: ExactDecimal
        /// Sum over accepted exits: filled, and what is still open.
        var exited = ExactDecimal.zero
        var openExits = ExactDecimal.zero
        var terminalAt: Int64?
        var attempts: Int
        /// When its last version was stored.
        var changedAt: Int64 = 0
        /// When the venue first filled something of its entering side, by the venue's clock, in microseconds.
        var filledAt: Int64?

        var row: SmartOrder { stand.row }
    }

    struct Series {
        var ticks: [MarketTick] = []
        /// Which feed heard it; nil: nobody.
        var heardBy: [WorkerID?] = []
        var isStreamed: [Bool] = []
        /// Within what the feed that heard it stored.
        var isStored: [Bool] = []
        /// Stored itself: the rest lies on the way from one of these to the next.
        var isPoint: [Bool] = []

        mutating func append(_ tick: MarketTick) {
            ticks.append(tick)
            heardBy.append(nil)
            isStreamed.append(false)
            isStored.append(false)
            isPoint.append(false)
        }
    }

    struct Name: Hashable {
        let order: OrderID
        let leg: Leg
        let attempt: Int
    }

    struct State {
        var conditionals: [OrderID: WatchedConditional] = [:]
        var conditionalsInOrder: [OrderID] = []
        var orders: [OrderID: Watched] = [:]
        var inOrder: [OrderID] = []
        var living: [OrderID] = []
        var names: [String: Name] = [:]
        var accepted: [String: Accepted] = [:]
        var series: [PriceSeries: Series] = [:]
        /// Send rights as committed: the time that the request has to carry, and how its venue order stands.
        var rights: [String: (name: Name, t0: Timestamp, isLive: Bool)] = [:]
        var keys: [String: OrderID] = [:]
        /// The newest first fill of an entry.
        var newestFill: [PriceSeries: Int64] = [:]
        var isHalted = false
        var violations: [Violation] = []
        var commits = 0
        var fills: [String: ExactDecimal] = [:]
    }

    let simulator: Simulator
    let state: Locked<State>
    let faults: FaultSwitch
    /// How far a worker's clock may be behind the venue's: a fill is taken to be no later than now.
    let fillToleranceUs: Int64
    /// A tick that was never stored has to be known from the stream, unless Redis fails: two things may go wrong at once.
    let isStreamReliable: Bool

    init(simulator: Simulator, markets: [Instrument], habits: VenueHabits, faults: FaultSwitch) {
        fillToleranceUs = max(0, habits.clockSkewMs + (faults.planned(.clock) > 0 ? 1_100 : 0)) * 1_000
        self.simulator = simulator
        self.faults = faults
        isStreamReliable = [.redisReset, .redisLoss, .redisOutage].allSatisfy { faults.planned($0) == 0 }
        var first = State()
        for market in markets {
            first.series[PriceSeries(market: market.market, source: market.defaultTriggerSource)] = Series()
        }
        state = Locked(first)
    }

    var violations: [Violation] { state.withLock { $0.violations } }
    var commits: Int { state.withLock { $0.commits } }
    var orderIDs: [OrderID] { state.withLock { $0.inOrder } }
    /// Orders that have not ended, in the order of their creation.
    var livingIDs: [OrderID] { state.withLock { $0.living } }
    func changedAt(_ id: OrderID) -> Int64 { state.withLock { $0.orders[id]?.changedAt ?? 0 } }
    func row(_ id: OrderID) -> SmartOrder? { state.withLock { $0.orders[id]?.row } }

    func report(_ predicate: String, _ evidence: String) {
        let now = simulator.milliseconds
        state.withLock { Self.report(predicate, evidence, at: now, &$0) }
    }

    static func report(_ predicate: String, _ evidence: String, at now: Int64, _ state: inout State) {
        guard state.violations.count < 20 else { return }
        state.violations.append(Violation(predicate: predicate, evidence: evidence, milliseconds: now))
    }

    /// The engine says that something happened that never may.
    func engineError(_ message: String, _ metadata: [(String, String)], at now: Int64) {
        let known = ["Job is dead"]
        guard !known.contains(message) else { return }
        state.withLock { Self.report("ENGINE", "\(message) \(metadata)", at: now, &$0) }
    }

    // MARK: Client order ids, made once more

    /// Not a digest of any strength: wide enough that no two names of a run are alike.
    static func digest(_ bytes: [UInt8]) -> [UInt8] {
        var left: UInt64 = 0xcbf2_9ce4_8422_2325
        var right: UInt64 = 0x9ae1_6a3b_2f90_404f
        for byte in bytes {
            left = (left ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
            right = (right &+ UInt64(byte)) &* 0x9e37_79b9_7f4a_7c15
            right ^= right >> 29
        }
        var all: [UInt8] = []
        for word in [left, right, left ^ right, left &+ right] {
            var one = SeededRandom(seed: word)
            var mixed = one.next()
            for _ in 0..<8 {
                all.append(UInt8(truncatingIfNeeded: mixed))
                mixed >>= 8
            }
        }
        return all
    }

    private static let legs: [Leg] =
        [.entry, .add, .reduce, .close, .stop, .conditional] + (1...6).map(Leg.takeProfit)
        + (1...3).map(Leg.partialStop)

    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    static func clientID(_ name: Name) -> String {
        var text = Array("so".utf8)
        // The first 128 bits of the digest, five at a time; the last letter has two bits of zero.
        var rest: UInt64 = 0
        var count = 0
        for byte in digest(Array("smartorders/1:\(name.order):\(name.leg):\(name.attempt)".utf8))[..<16] {
            rest = rest << 8 | UInt64(byte)
            count += 8
            while count >= 5 {
                count -= 5
                text.append(alphabet[Int(rest >> UInt64(count) & 31)])
            }
        }
        if count > 0 { text.append(alphabet[Int(rest << UInt64(5 - count) & 31)]) }
        return String(decoding: text, as: UTF8.self)
    }

    private static func learnNames(of id: OrderID, through attempt: Int, _ state: inout State) {
        let known = state.orders[id]?.attempts ?? 0
        guard attempt > known else { return }
        for leg in legs {
            for number in (known + 1)...attempt {
                let name = Name(order: id, leg: leg, attempt: number)
                state.names[clientID(name)] = name
            }
        }
        state.orders[id]?.attempts = attempt
    }

    private static func name(_ clientOrderID: String, _ state: inout State) -> Name? {
        if let known = state.names[clientOrderID] { return known }
        // Most are what somebody said before that he would send.
        if let told = state.rights[clientOrderID]?.name, clientID(told) == clientOrderID {
            state.names[clientOrderID] = told
            return told
        }
        for id in state.inOrder {
            let attempts = state.orders[id]?.row.attempts.values.max() ?? 0
            learnNames(of: id, through: attempts + 4, &state)
        }
        return state.names[clientOrderID]
    }

    // MARK: The venue's log

    func accepted(_ placement: Placement, venueTime: Timestamp, habits: VenueHabits, at now: Int64) {
        let id = placement.clientOrderID
        simulator.note("venue accepts \(id) \(placement.side.rawValue) \(placement.quantity)")
        state.withLock { state in
            func fail(_ predicate: String, _ evidence: String) { Self.report(predicate, evidence, at: now, &state) }
            guard let name = Self.name(id, &state) else {
                return fail("PR1", "\(id) is of no known order, leg and attempt")
            }
            let label = "\(name.order)-\(name.leg)-\(name.attempt)"
            if state.accepted[id] != nil { return fail("PR1", "\(label) was accepted twice") }
            if let right = state.rights[id] {
                let latest = right.t0.advanced(milliseconds: habits.windowMs + habits.engineBoundMs)
                if venueTime > latest { fail("PR8", "\(label) was accepted after its deadline") }
                if !right.isLive { fail("PR8", "\(label) was accepted after its attempt was over") }
            } else {
                fail("PR8", "\(label) was accepted without a committed intent")
            }
            guard let order = state.orders[name.order] else {
                return Self.accepted(placement, of: name.order, label, at: now, &state)
            }
            if let ended = order.terminalAt { fail("PR7", "\(label) was accepted at \(now), ended at \(ended)") }
            let isExit = placement.side != order.row.draft.side
            if isExit, order.row.instrument.kind.isDerivative, !placement.reduceOnly {
                fail("I14", "\(label) is not reduce-only")
            }
            let quantity = placement.quantity.value
            state.accepted[id] = Accepted(order: name.order, isExit: isExit, open: quantity, filled: .zero)
            if isExit {
                state.orders[name.order]?.openExits += quantity
                Self.checkExit(name.order, label, at: now, &state)
            }
        }
    }

    private static func checkExit(_ id: OrderID, _ label: String, at now: Int64, _ state: inout State) {
        guard let order = state.orders[id] else { return }
        if order.exited + order.openExits > order.entered {
            report(
                "PR2",
                "\(label): exits \(order.exited) filled and \(order.openExits) open of \(order.entered) entered",
                at: now,
                &state,
            )
        }
    }

    func filled(_ clientOrderID: String, _ quantity: Quantity, venueTime: Timestamp, at now: Int64) {
        simulator.note("venue fills \(clientOrderID) \(quantity)")
        state.withLock { state in
            guard var known = state.accepted[clientOrderID] else { return }
            known.open -= quantity.value
            known.filled += quantity.value
            state.accepted[clientOrderID] = known
            if known.isExit {
                state.orders[known.order]?.openExits -= quantity.value
                state.orders[known.order]?.exited += quantity.value
                Self.checkExit(known.order, clientOrderID, at: now, &state)
            } else if state.conditionals[known.order] != nil {
                state.conditionals[known.order]?.filled += quantity.value
                state.conditionals[known.order]?.open -= quantity.value
            } else {
                state.orders[known.order]?.entered += quantity.value
                Self.noteFill(of: known.order, at: venueTime, &state)
            }
        }
    }

    func ended(_ clientOrderID: String, at now: Int64) {
        simulator.note("venue ends \(clientOrderID)")
        state.withLock { state in
            guard var known = state.accepted[clientOrderID] else { return }
            if known.isExit { state.orders[known.order]?.openExits -= known.open }
            state.conditionals[known.order]?.open -= known.open
            known.open = .zero
            state.accepted[clientOrderID] = known
        }
    }

    // MARK: The database

    func committed(_ stored: StoredOrder?, _ next: SmartOrder, _ commit: Commit, intents: [VenueOrder], at now: Int64) {
        let before = stored?.smart
        simulator.note(
            "commit \(next.id) \(next.version) \(commit.cause.rawValue) \(next.status.rawValue) at "
                + "\(next.extremePosition.sequence) job \(commit.record.job ?? "-") \(commit.facts)"
        )
        var findings = Self.judge(before, next, commit, intents: intents)
        if let difference = ReplayCheck.difference(stored, commit) {
            findings.append(("EX2", difference))
        }
        state.withLock { state in
            state.commits += 1
            if let before, let wrong = judgeTick(before, next, commit, state) { findings.append(wrong) }
            for (predicate, evidence) in findings {
                Self.report(predicate, "\(next.id) version \(next.version): \(evidence)", at: now, &state)
            }
            for right in commit.sendRights {
                let name = Name(order: next.id, leg: right.key.leg, attempt: right.key.attempt)
                state.rights[right.clientOrderID] = (name, right.t0, true)
            }
            if state.isHalted, let right = commit.sendRights.first {
                Self.report("PR19", "\(next.id)-\(right.key.leg) is sent under a halt", at: now, &state)
            }
            for order in commit.venueOrders where !order.state.isLive {
                let id = Self.clientID(Name(order: next.id, leg: order.leg, attempt: order.attempt))
                state.rights[id]?.isLive = false
                if order.state == .absent { faults.mark(.claimFreedByProof) }
            }
            if before?.latch != nil, commit.fills.contains(where: { $0.key.leg != .stop }) {
                faults.mark(.raceFillWhileStopping)
            }
            if let record = commit.idempotency {
                let key = "\(record.owner) \(record.key)"
                if state.keys[key] != nil {
                    Self.report("GA10", "\(record.key) took effect twice", at: now, &state)
                }
                state.keys[key] = next.id
            }
            for (_, fill) in commit.fills {
                let id = "\(next.account) \(next.instrument.market) \(fill.venueFillID)"
                if state.fills[id] != nil {
                    Self.report("I12", "\(next.id): fill \(fill.venueFillID) was applied twice", at: now, &state)
                }
                state.fills[id] = fill.quantity.value
            }
            let stand = Stand(row: next, cause: commit.cause, tick: commit.tick?.position)
            if state.orders[next.id] == nil {
                let isHeld = next.draft.entry.mode == .attach
                state.orders[next.id] = Watched(
                    stand: stand,
                    stands: [],
                    entered: isHeld ? next.draft.quantity.value : .zero,
                    attempts: 0,
                )
                state.inOrder.append(next.id)
                state.living.append(next.id)
            }
            state.orders[next.id]?.stand = stand
            Self.noteDistance(before, next, &state)
            state.orders[next.id]?.changedAt = now
            state.orders[next.id]?.stands.append(stand)
            if next.status.isTerminal, state.orders[next.id]?.terminalAt == nil {
                state.orders[next.id]?.terminalAt = now
                state.living.removeAll { $0 == next.id }
            }
        }
    }

    /// What is wrong with one commit by itself.
    private static func judge(
        _ before: SmartOrder?,
        _ next: SmartOrder,
        _ commit: Commit,
        intents: [VenueOrder],
    ) -> [(String, String)] {
        var findings: [(String, String)] = []
        func fail(_ predicate: String, _ evidence: String) { findings.append((predicate, evidence)) }

        if next.version != (before?.version ?? 0) + 1 { fail("I13", "follows version \(before?.version ?? 0)") }
        let remaining = next.received - next.exited - next.writtenOff
        if next.exited > next.entered || remaining < .zero { fail("I1", "exited \(next.exited) of \(next.entered)") }
        var claims = Quantity.zero
        for order in next.venueOrders where order.side != next.draft.side && order.state.isLive {
            claims += order.quantity - order.filled
        }
        if claims > remaining { fail("I2", "claims \(claims) of \(remaining)") }
        // The intents are the row's, one by one.
        var stored = Quantity.zero
        for order in intents where order.side != next.draft.side && order.state.isLive {
            stored += order.quantity - order.filled
        }
        if stored != claims { fail("PR20", "intents claim \(stored), the row \(claims)") }
        if next.status.isTerminal {
            if let live = intents.first(where: { $0.state.isLive }) { fail("I3", "\(live.leg) is live") }
            if next.levels.contains(where: { $0.state == .pending || $0.state == .triggered }) {
                fail("I3", "a level is live")
            }
            if next.partialStops.contains(where: { $0.state == .pending || $0.state == .latched }) {
                fail("I3", "a partial stop is live")
            }
            if next.status == .closed || next.status == .stopped, !remaining.isZero { fail("I5", "\(remaining) left") }
            if !commit.sendRights.isEmpty { fail("I7", "sends after the end") }
        }
        var planned = Quantity.zero
        for level in next.levels where level.state == .pending || level.state == .triggered {
            planned += level.planned - level.filled
        }
        if planned > remaining { fail("I6", "planned \(planned) of \(remaining)") }
        guard let before else { return findings }
        if before.status.isTerminal { fail("I13", "follows a terminal version") }
        if let latch = before.latch {
            if next.latch != latch { fail("I10", "the latch changed") }
            if next.phase == .monitoring { fail("I10", "monitors again after a latch") }
            if let target = commit.sendRights.first(where: { if case .takeProfit = $0.key.leg { true } else { false } })
            {
                fail("PR10", "\(target.key.leg) is sent after the latch")
            }
        }
        if commit.cause != .command, before.status.isOpen, next.status.isOpen, let from = before.effectiveStop {
            if let to = next.effectiveStop {
                let isLooser = next.draft.side == .buy ? to.price < from.price : to.price > from.price
                if isLooser { fail("I4", "the stop loosened from \(from.price) to \(to.price)") }
            } else {
                fail("I4", "the stop \(from.price) is gone")
            }
        }
        for (leg, attempt) in before.attempts where (next.attempts[leg] ?? 0) < attempt {
            fail("I9", "attempts of \(leg) fell from \(attempt)")
        }
        return findings
    }

    func halted(_ isHalted: Bool) { state.withLock { $0.isHalted = isHalted } }

    func stored(_ bucket: ExtremeBucket) {
        guard let first = bucket.points.first, let last = bucket.points.last else { return }
        let name = PriceSeries(market: bucket.market, source: bucket.source)
        simulator.note("stored \(name) \(bucket.points.map(\.position.sequence))")
        state.withLock { state in
            guard var series = state.series.removeValue(forKey: name) else { return }
            let end = Int(last.position.sequence)
            let feed = series.heardBy[end]
            for point in bucket.points { series.isPoint[Int(point.position.sequence)] = true }
            var index = end
            // Everything that this feed heard up to here is in this bucket or an earlier one.
            while index >= 0, !series.isStored[index] || index >= Int(first.position.sequence) {
                if series.heardBy[index] == feed { series.isStored[index] = true }
                index -= 1
            }
            state.series[name] = series
        }
    }

    /// What the venue executed for each order is what its row says, to the last step (PR12, I15).
    func judgeSums() {
        let now = simulator.milliseconds
        state.withLock { state in
            for id in state.inOrder {
                guard let order = state.orders[id] else { continue }
                let row = order.row
                if row.exited.value != order.exited {
                    Self.report("PR12", "\(id) exited \(row.exited), the venue \(order.exited)", at: now, &state)
                }
                if row.entered.value != order.entered {
                    Self.report("PR12", "\(id) entered \(row.entered), the venue \(order.entered)", at: now, &state)
                }
            }
            Self.judgeConditionalSums(at: now, &state)
        }
    }

    // MARK: Prices

    func ticked(_ name: PriceSeries, _ tick: MarketTick) {
        state.withLock { $0.series[name]?.append(tick) }
    }

    func heard(_ name: PriceSeries, _ ticks: [MarketTick], by feed: WorkerID) {
        simulator.note("\(feed) hears \(name) \(ticks.map(\.position.sequence))")
        state.withLock { state in
            for tick in ticks { state.series[name]?.heardBy[Int(tick.position.sequence)] = feed }
            markLate(ticks, of: name, state)
        }
    }

    func streamed(_ name: PriceSeries, _ ticks: [RawTick]) {
        simulator.note("streamed \(name) \(ticks.map(\.position.sequence))")
        state.withLock { state in
            for tick in ticks { state.series[name]?.isStreamed[Int(tick.position.sequence)] = true }
        }
    }

    func streamsLost() {
        state.withLock { state in
            for name in state.series.keys {
                guard let count = state.series[name]?.isStreamed.count else { continue }
                state.series[name]?.isStreamed = [Bool](repeating: false, count: count)
            }
        }
    }

    // MARK: At the end

    /// No version jumps over a tick that it waited for, and what was armed last crossed nothing: no lost trigger (PR3).
    /// The extremes are those of the ticks (I11).
    func judgePrices() {
        let now = simulator.milliseconds
        state.withLock { state in
            judgeConditionalPrices(at: now, &state)
            for id in state.inOrder {
                guard let order = state.orders[id] else { continue }
                let name = PriceSeries(market: order.row.instrument.market, source: order.row.triggerSource)
                guard let series = state.series[name] else { continue }
                var findings: [String] = []
                for (index, stand) in order.stands.enumerated() {
                    let next = index + 1 < order.stands.count ? order.stands[index + 1] : nil
                    if let missed = missed(stand, next, series) { findings.append(missed) }
                    if let next, let wrong = wrongExtreme(stand.row, next.row, series) {
                        Self.report("I11", "\(id) \(wrong)", at: now, &state)
                    }
                }
                for finding in findings { Self.report("PR3", "\(id) \(finding)", at: now, &state) }
            }
        }
    }

    /// An extreme that is not the best price since the version before: it leaves out a tick that was stored, or has one
    /// that never was (I11).
    private func wrongExtreme(_ row: SmartOrder, _ next: SmartOrder, _ series: Series) -> String? {
        guard row.status.isOpen, row.phase == .monitoring, next.phase == .monitoring,
            let from = row.extreme.flatMap(Self.cents), let to = next.extreme.flatMap(Self.cents)
        else { return nil }
        let isHigh = row.draft.side == .buy
        var least = from
        var most = from
        let start = Self.firstIndex(in: series.ticks, after: row.extremePosition)
        // The tick of the version itself may count from the next one on (ORDERS.md R10.4).
        var index = max(0, start - 1)
        while index < series.ticks.count, series.ticks[index].position <= next.extremePosition {
            let tick = series.ticks[index].cents
            most = isHigh ? max(most, tick) : min(most, tick)
            if index >= start, isStreamReliable, series.isPoint[index] {
                least = isHigh ? max(least, tick) : min(least, tick)
            }
            index += 1
        }
        if isHigh ? to < least : to > least {
            return "version \(next.version) has extreme \(to), \(least) was stored since version \(row.version), "
                + "\(row.extremePosition.sequence) to \(next.extremePosition.sequence), "
                + Self.told(series, around: Int(next.extremePosition.sequence))
        }
        if isHigh ? to > most : to < most {
            return "version \(next.version) has extreme \(to), \(most) was the best since version \(row.version), "
                + "\(row.extremePosition.sequence) to \(next.extremePosition.sequence), "
                + Self.told(series, around: Int(next.extremePosition.sequence))
        }
        return nil
    }

    private static func cents(_ price: Price) -> Int? { price.value.units(decimals: 2).map { Int($0) } }

    /// The tick between two versions that the first one waited for and nobody decided on.
    private func missed(_ stand: Stand, _ next: Stand?, _ series: Series) -> String? {
        let row = stand.row
        guard !row.status.isTerminal else { return nil }
        let rules = row.watches.compactMap { WatchedPrice($0.condition, tickSize: row.instrument.tickSize) }
        guard !rules.isEmpty else { return nil }
        var index = Self.firstIndex(in: series.ticks, after: row.extremePosition)
        var moving = rules
        while index < series.ticks.count {
            let tick = series.ticks[index]
            if let next, tick.position >= next.row.extremePosition { return nil }
            defer { index += 1 }
            guard series.isPoint[index] || series.isStreamed[index] && isStreamReliable else {
                // Nobody has to know it, and somebody may. What lies between two stored points changes nothing that these
                // do not change.
                if !series.isStored[index], moving.contains(where: { $0.isMoving }) { return nil }
                continue
            }
            var isCrossed = false
            for place in moving.indices where moving[place].cross(tick.cents) { isCrossed = true }
            guard isCrossed else { continue }
            if Self.isMoot(row, series, through: index) { continue }
            if let next, Self.isDecidedLater(next, series, from: index, moving) { return nil }
            return "version \(row.version) at \(row.extremePosition.sequence) waited for tick "
                + "\(tick.position.sequence) at \(tick.cents) by \(row.watches); "
                + (next.map { next in
                    "version \(next.row.version) is at \(next.row.extremePosition.sequence) by \(next.cause.rawValue), tick "
                        + (next.tick.map { "\($0.sequence)" } ?? "none")
                } ?? "nothing came")
                + "; \(Self.told(series, around: index))"
        }
        return nil
    }

    /// The ticks around one: what they were at, and who could know them.
    static func told(_ series: Series, around index: Int) -> String {
        (max(0, index - 8)..<min(series.ticks.count, index + 15)).map { place in
            let ways =
                (series.isPoint[place] ? "x" : series.isStored[place] ? "." : "")
                + (series.isStreamed[place] ? "s" : "")
            return "\(place):\(series.ticks[place].cents)\(ways)"
        }.joined(separator: " ")
    }

    /// A rule answers the tick with nothing.
    private static func isMoot(_ row: SmartOrder, _ series: Series, through index: Int) -> Bool {
        var order = row
        let start = firstIndex(in: series.ticks, after: row.extremePosition)
        for quiet in start..<max(start, index) where series.isStored[quiet] || series.isStreamed[quiet] {
            order.absorb(
                extreme: SimulatedMarket.price(series.ticks[quiet].cents),
                upTo: series.ticks[quiet].position,
            )
        }
        let tick = series.ticks[index]
        let moment = Moment(
            now: Timestamp(microseconds: tick.position.venueTime),
            price: SimulatedMarket.price(tick.cents),
            position: tick.position,
        )
        do {
            return try order.decide(.tick, at: moment) == nil
        } catch {
            return false
        }
    }

    /// Where only extremes are left, a run of prices in one direction is its end.
    private static func isDecidedLater(
        _ next: Stand,
        _ series: Series,
        from index: Int,
        _ rules: [WatchedPrice],
    ) -> Bool {
        guard let decided = next.tick, decided >= series.ticks[index].position else { return false }
        return isOneRun(series, from: index, to: Int(decided.sequence))
    }

    static func firstIndex(in ticks: [MarketTick], after position: TickPosition) -> Int {
        var low = 0
        var high = ticks.count
        while low < high {
            let middle = (low + high) / 2
            if ticks[middle].position <= position { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// A threshold, in hundredths, reckoned without the core.
struct WatchedPrice {
    private enum Kind {
        case fixed(above: Bool, Int)
        /// Parts of a million, or hundredths.
        case trailing(high: Bool, perMillion: Int?, amount: Int?)
    }
    private let kind: Kind
    private var extreme = 0

    /// Nil: not of this world's grid.
    init?(_ condition: Watch.Condition, tickSize: Price) {
        func cents(_ price: Price) -> Int? { price.value.units(decimals: 2).map { Int($0) } }
        switch condition {
        // A threshold off the grid is between two ticks.
        case .atOrAbove(let price):
            guard let threshold = cents(Price(price.value.rounded(toMultipleOf: tickSize.value, .ceiling))) else {
                return nil
            }
            kind = .fixed(above: true, threshold)
        case .atOrBelow(let price):
            guard let threshold = cents(Price(price.value.rounded(toMultipleOf: tickSize.value, .floor))) else {
                return nil
            }
            kind = .fixed(above: false, threshold)
        case .trailsHigh(let callback, let seen):
            guard let start = cents(seen), let trail = Self.trail(callback, high: true) else { return nil }
            kind = trail
            extreme = start
        case .trailsLow(let callback, let seen):
            guard let start = cents(seen), let trail = Self.trail(callback, high: false) else { return nil }
            kind = trail
            extreme = start
        }
    }

    private static func trail(_ callback: Callback, high: Bool) -> Kind? {
        switch callback {
        case .rate(let rate):
            guard let perMillion = rate.value.units(decimals: 6) else { return nil }
            return .trailing(high: high, perMillion: Int(perMillion), amount: nil)
        case .amount(let amount):
            guard let cents = amount.value.units(decimals: 2) else { return nil }
            return .trailing(high: high, perMillion: nil, amount: Int(cents))
        }
    }

    var isMoving: Bool {
        switch kind {
        case .fixed: false
        case .trailing: true
        }
    }

    /// Whether a price reaches it; what does not moves it.
    mutating func cross(_ cents: Int) -> Bool {
        switch kind {
        case .fixed(let above, let threshold): return above ? cents >= threshold : cents <= threshold
        case .trailing(let high, let perMillion, let amount):
            let distance: Int
            if let perMillion {
                // High: extreme x (1 - rate), rounded up: the distance is rounded down. Low: the same below.
                distance = extreme * perMillion / 1_000_000
            } else {
                distance = amount ?? 0
            }
            if high ? cents <= extreme - distance : cents >= extreme + distance { return true }
            extreme = high ? max(extreme, cents) : min(extreme, cents)
            return false
        }
    }
}
