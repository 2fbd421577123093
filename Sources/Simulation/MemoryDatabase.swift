// The stores in memory, for the simulator and for tests: the contracts of OrderStore, AccountStore and ClusterStore
// without PostgreSQL, on the injected clock.
//
// Invariants: one lock, so every call is a transaction; nothing iterates a dictionary into an answer, so the same calls
// give the same answers. Cost: linear in the orders of a test; meant for thousands.
package import OrderEngine
internal import OwnerThread
package import SmartOrders

/// The place that the stores of all processes of a test share.
package final class MemoryDatabase: Sendable {
    /// A class: rows are looked at far more often than written, and never change.
    final class Row: Sendable {
        let order: StoredOrder
        /// Number of the change that made it.
        let change: Int64
        /// What a sweep asks of every row.
        let isTerminal: Bool
        let nextTimer: Timestamp?
        let wantedExit: VenueOrderKey?

        init(order: StoredOrder, change: Int64) {
            self.order = order
            self.change = change
            isTerminal = order.isTerminal
            nextTimer = isTerminal ? nil : order.nextTimer
            wantedExit = isTerminal ? nil : order.wantedExit
        }
    }

    struct Intent {
        var stored: VenueOrder
        let order: OrderID
        let account: AccountID
        var clientOrderID = ""
        var token: Int64?
        var sends = 0
        var checks = 0
        var absences = 0
        var absentAt: Int64?
        var fenceUntil: Int64?
        var t0: Timestamp?
        var nextCheck: Int64?
    }

    /// A class: polled four times a second, and large. A backup has copies of its own.
    final class OutboxRow {
        let job: Job
        var isPending = true
        var offeredAt: Int64?
        var leaseUntil: Int64?
        var death: (death: JobDeath, at: Int64)?

        init(job: Job) { self.job = job }

        func copy() -> OutboxRow {
            let copy = OutboxRow(job: job)
            copy.isPending = isPending
            copy.offeredAt = offeredAt
            copy.leaseUntil = leaseUntil
            copy.death = death
            return copy
        }
    }

    struct State {
        var accounts: [Account] = []
        var credentials: [AccountID: Credentials] = [:]
        var apiKeys: [String: AccountID] = [:]
        var instruments: [MarketID: Instrument] = [:]

        var rows: [OrderID: Row] = [:]
        /// Orders that have not ended, or that have live venue orders; in order.
        var open: [OrderID] = []
        /// With a venue order that was proven absent.
        var absent: Set<OrderID> = []
        /// Every change, in order.
        var changes: [(number: Int64, order: OrderID)] = []
        var lastChange: Int64 = 0
        var events: [StoredEvent] = []
        /// For `explain`; a simulation keeps none.
        var versions: [StoredVersion] = []
        var notes: [OrderNote] = []
        var halts: [StandingHalt] = []
        var gaps: [FeedGap] = []
        var toldGaps: Set<FeedGap> = []
        var commits: [Int64: (order: OrderID, sequence: Int64)] = [:]
        var sequences: [AccountID: Int64] = [:]
        var intents: [OrderID: [Intent]] = [:]
        var fills: [(order: OrderID, key: VenueOrderKey, fill: Fill)] = []
        /// Places in `fills`.
        var fillsOf: [OrderID: [Int]] = [:]
        var fillIDs: Set<String> = []
        var outbox: [JobID: OutboxRow] = [:]
        /// Those that are pending, in the order in which they came.
        var outboxOrder: [OutboxRow] = []
        var idempotency: [String: (order: OrderID, hash: String)] = [:]

        var workers: [WorkerID: Int64] = [:]
        var quiet: Set<WorkerID> = []
        var leader: (worker: WorkerID, until: Int64)?
        var leaderEpoch: Int64 = 0
        var shards = ShardTable()
        var handovers: [Int64: [PriceSeries: EvaluationCursor]] = [:]
        var cursors: [WorkerID: [PriceSeries: EvaluationCursor]] = [:]
        var extremes: [PriceSeries: [ExtremeBucket.Point]] = [:]
        /// No send right is given.
        var isHalted = false
        /// Raised by `rewind`.
        var incarnation: Int64 = 1

        mutating func note(_ id: OrderID, isOpen: Bool) {
            var low = 0
            var high = open.count
            while low < high {
                let middle = (low + high) / 2
                if open[middle] < id { low = middle + 1 } else { high = middle }
            }
            let isKnown = low < open.count && open[low] == id
            if isOpen, !isKnown { open.insert(id, at: low) }
            if !isOpen, isKnown { open.remove(at: low) }
        }
    }

    let state = Locked(State())
    let clock: any EngineClock

    /// Told of every commit.
    let watcher: (any DatabaseWatcher)?
    private let mutant: Mutant?
    private let faults: FaultSwitch?

    package convenience init(clock: any EngineClock) {
        self.init(clock: clock, watcher: nil, mutant: nil, faults: nil)
    }

    init(clock: any EngineClock, watcher: (any DatabaseWatcher)?, mutant: Mutant?, faults: FaultSwitch?) {
        self.clock = clock
        self.watcher = watcher
        self.mutant = mutant
        self.faults = faults
    }

    func mark(_ mark: Mark) { faults?.mark(mark) }

    /// For the trace of a simulation.
    func note(_ what: @autoclosure () -> String) { (clock as? ProcessClock)?.simulator.note(what()) }

    /// Whether an error was planted here.
    func has(_ one: Mutant) -> Bool { mutant == one }

    var now: Int64 { clock.monotonicNanoseconds() / 1_000_000 }

    package func setHalted(_ isHalted: Bool) {
        state.withLock { $0.isHalted = isHalted }
        watcher?.halted(isHalted)
    }

    /// Whether the lease of a worker holds.
    func holdsLease(_ worker: WorkerID) -> Bool {
        let now = now
        return state.withLock { ($0.workers[worker] ?? .min) > now }
    }

    /// Whether something is left to do for an order: a venue order in doubt or at the venue, a job.
    func hasWork(for id: OrderID) -> Bool {
        state.withLock { state in
            (state.intents[id] ?? []).contains { $0.stored.state.isLive }
                || !state.outboxOrder.isEmpty
        }
    }

    /// Every fill of every order, in the order in which it was stored.
    package var allFills: [(order: OrderID, key: VenueOrderKey, fill: Fill)] { state.withLock { $0.fills } }
}

/// One process's view of a `MemoryDatabase`; a test may make its calls fail.
package struct MemoryOrderStore: OrderStore {
    private typealias State = MemoryDatabase.State
    private let database: MemoryDatabase
    private let link: MemoryLink<StoreError>

    package init(_ database: MemoryDatabase, link: MemoryLink<StoreError> = .perfect) {
        self.database = database
        self.link = link
    }

    private func locked<Value>(
        _ call: StaticString,
        _ body: (inout State, Int64) -> Value,
    ) async throws(StoreError) -> Value {
        try await link.carry(call) { () throws(StoreError) in
            let now = database.now
            return database.state.withLock { body(&$0, now) }
        }
    }

    package func load(_ ids: [OrderID]) async throws(StoreError) -> [StoredOrder] {
        try await locked("load") { state, _ in ids.compactMap { state.rows[$0]?.order } }
    }

    // MARK: Commits

    package func commit(_ commits: [Commit]) async throws(StoreError) -> [CommitOutcome] {
        precondition(commits.count <= 256 && Set(commits.map(\.next.id)).count == commits.count)
        do throws(StoreError) {
            // In the order of PostgreSQL: new orders first, then by account and id.
            let order = commits.indices.sorted {
                (commits[$0].next.account, commits[$0].next.id) < (commits[$1].next.account, commits[$1].next.id)
            }
            let rounds = [
                order.filter { commits[$0].next.version == 1 }, order.filter { commits[$0].next.version != 1 },
            ]
            return try await locked("commit") { state, now in
                var outcomes = [CommitOutcome](repeating: .lost, count: commits.count)
                for round in rounds {
                    for index in round { outcomes[index] = commit(commits[index], &state, now) }
                    // Why a commit wrote nothing is asked when the others have written.
                    for index in round where outcomes[index] == .lost || outcomes[index] == .blocked {
                        guard let record = commits[index].idempotency else { continue }
                        guard let known = state.idempotency["\(record.owner) \(record.key)"] else { continue }
                        outcomes[index] = .keyUsed(order: known.order, requestHash: known.hash)
                    }
                }
                return outcomes
            }
        } catch {
            guard database.has(.unknownCommitTakenAsDone), error.code == .outcomeUnknown else { throw error }
            return commits.map { _ in .committed(sequence: 0) }
        }
    }

    private func commit(_ commit: Commit, _ state: inout State, _ now: Int64) -> CommitOutcome {
        let next =
            database.has(.fillPassesNoTicks)
            ? Flaws.unpass(commit, before: state.rows[commit.next.id]?.order) : commit.next
        if let known = state.commits[commit.id], known.order == next.id {
            database.mark(.commitUnknownResolvedAsCommitted)
            return .committed(sequence: known.sequence)
        }
        guard state.accounts.contains(where: { $0.id == next.account }) else { return .refused(constraint: "account") }
        let row = state.rows[next.id]?.order
        let isCurrent = (row?.version ?? 0) == next.version - 1 || database.has(.noVersionCheck)
        let isBlocked = state.isHalted && !database.has(.haltNotRead) && !commit.sendRights.isEmpty
        // As in PostgreSQL: what writes the row meets its constraints first, also a new row of which there is one already;
        // then comes the key, then the guard that looks at the row before. What writes nothing is told why.
        if isCurrent || next.version == 1, !isBlocked, let broken = broken(commit, state) {
            return .refused(constraint: broken)
        }
        if let record = commit.idempotency, let known = state.idempotency["\(record.owner) \(record.key)"] {
            database.mark(.commandReplayed)
            return .keyUsed(order: known.order, requestHash: known.hash)
        }
        guard isCurrent else {
            database.mark(.orderVersionLost)
            return .lost
        }
        if isBlocked { return .blocked }
        if let row {
            let isEndChanged = row.isTerminal && (!next.isTerminal || next.statusName != row.statusName)
            if isEndChanged || row.isLatched && !next.isLatched || next.exited < row.exited {
                return .refused(constraint: "orders_guard")
            }
        }

        state.lastChange += 1
        state.rows[next.id] = MemoryDatabase.Row(order: next, change: state.lastChange)
        state.changes.append((state.lastChange, next.id))
        let sequence = (state.sequences[next.account] ?? 0) + 1
        state.sequences[next.account] = sequence
        state.commits[commit.id] = (next.id, sequence)
        state.events.append(
            StoredEvent(
                account: next.account,
                sequence: sequence,
                order: next.id,
                version: next.version,
                at: next.updatedAt,
                cause: commit.cause,
                actor: commit.actor,
                tick: commit.tick,
                tickReceivedAt: commit.record.crossing?.receivedAt,
                requestID: commit.record.requestID,
                json: database.watcher == nil ? Array("\(commit.facts) \(next.health.rawValue)".utf8) : [],
            )
        )
        if database.watcher == nil {
            state.versions.append(
                StoredVersion(
                    order: next,
                    sequence: sequence,
                    at: next.updatedAt,
                    committedAt: database.clock.now(),
                    cause: commit.cause,
                    actor: commit.actor,
                    tick: commit.tick,
                    facts: commit.facts,
                    record: commit.record.isEmpty ? nil : commit.record,
                )
            )
        }
        for venueOrder in commit.venueOrders { store(venueOrder, of: commit, &state, now) }
        let isOpen = !next.isTerminal || (state.intents[next.id] ?? []).contains { $0.stored.state.isLive }
        state.note(next.id, isOpen: isOpen)
        for (key, fill) in commit.fills
        where !database.has(.fillsDropped)
            && state.fillIDs.insert("\(next.account) \(next.instrument.market) \(fill.venueFillID)").inserted
        {
            state.fillsOf[next.id, default: []].append(state.fills.count)
            state.fills.append((next.id, key, fill))
        }
        for job in commit.jobs where state.outbox[job.id] == nil {
            let row = MemoryDatabase.OutboxRow(job: job)
            state.outbox[job.id] = row
            state.outboxOrder.append(row)
        }
        if let record = commit.idempotency, !database.has(.keyNotStored) {
            state.idempotency["\(record.owner) \(record.key)"] = (next.id, record.requestHash)
        }
        if let watcher = database.watcher, let order = next.smart {
            let intents = state.intents[next.id] ?? []
            watcher.committed(row, order, commit, intents: intents.map(\.stored), at: now)
        }
        if let watcher = database.watcher, let order = next.conditional { watcher.committed(order, commit, at: now) }
        return .committed(sequence: sequence)
    }

    /// The constraint that forbids a row.
    private func broken(_ commit: Commit, _ state: State) -> String? {
        guard let next = commit.next.smart else { return nil }
        if next.status.isTerminal != (next.phase == nil) { return "orders_liveness" }
        if next.status.isTerminal, next.claimed.isPositive { return "orders_ended_free" }
        if next.followsWholePosition,
            state.rows.values.contains(where: { row in
                guard let other = row.order.smart, other.id != next.id, other.followsWholePosition else { return false }
                return other.account == next.account && other.instrument.market == next.instrument.market
                    && other.draft.side == next.draft.side
            })
        {
            return "orders_whole_position"
        }
        let isWish = !commit.sendRights.isEmpty || commit.venueOrders.contains { $0.state == .intent }
        return isWish && next.exited + next.claimed > next.entered ? "orders_claims" : nil
    }

    private func store(_ venueOrder: VenueOrder, of commit: Commit, _ state: inout State, _ now: Int64) {
        let id = commit.next.id
        var all = state.intents[id] ?? []
        let index =
            all.firstIndex { $0.stored.key == venueOrder.key }
            ?? {
                all.append(MemoryDatabase.Intent(stored: venueOrder, order: id, account: commit.next.account))
                return all.count - 1
            }()
        let isNewState = all[index].stored.state != venueOrder.state || all[index].nextCheck == nil
        var merged = venueOrder
        merged.filled = max(all[index].stored.filled, venueOrder.filled)
        merged.venueOrderID = venueOrder.venueOrderID ?? all[index].stored.venueOrderID
        all[index].stored = merged
        if let right = commit.sendRights.first(where: { $0.key == venueOrder.key }) {
            all[index].token = right.token
            all[index].sends = max(1, all[index].sends)
            all[index].clientOrderID = right.clientOrderID
            all[index].fenceUntil = now + right.fenceMs
            all[index].t0 = right.t0
        }
        if isNewState {
            if venueOrder.state == .absent { state.absent.insert(id) }
            let delay = venueOrder.state == .absent ? 60_000 : venueOrder.checkDelayMs
            all[index].nextCheck = delay.map { now + $0 }
        }
        state.intents[id] = all
    }

    // MARK: Armed orders

    package func loadArmed(shards: [Int], page: @Sendable ([ArmedOrder]) async -> Void) async throws(StoreError) {
        let wanted = Self.map(of: shards)
        let orders = try await locked("loadArmed") { state, _ in
            state.open.filter { wanted[$0.shard] }.compactMap { state.rows[$0]?.order }
                .filter { !$0.isTerminal }.map { order in
                    let armed = seen(order)
                    guard database.has(.waterMarkRestarted) else { return armed }
                    let series = PriceSeries(market: armed.market, source: armed.source)
                    let newest = state.extremes[series]?.last?.position ?? armed.position
                    return armed.with(position: max(armed.position, newest), watches: armed.watches)
                }
        }
        await page(orders)
    }

    package func changes(
        shards: [Int],
        since: ChangeCursor?,
    ) async throws(StoreError) -> (orders: [ArmedOrder], next: ChangeCursor) {
        try await locked("changes") { state, _ in
            guard let since, since.value < state.lastChange else { return ([], ChangeCursor(value: state.lastChange)) }
            let wanted = Self.map(of: shards)
            // Numbers are without holes: this is the place behind `since`.
            let changed = state.changes[Int(since.value)...].filter { wanted[$0.order.shard] }
                .compactMap { change in state.rows[change.order].flatMap { $0.change == change.number ? $0 : nil } }
            let told = database.has(.changesMissed) ? [] : changed
            return (told.map { seen($0.order) }, ChangeCursor(value: state.lastChange))
        }
    }

    package func armed(_ ids: [OrderID]) async throws(StoreError) -> [ArmedOrder] {
        try await locked("armed") { state, _ in
            database.has(.changesMissed) ? [] : ids.compactMap { state.rows[$0].map { seen($0.order) } }
        }
    }

    private static func map(of shards: [Int]) -> [Bool] {
        var map = [Bool](repeating: false, count: OrderID.shardCount)
        for shard in shards { map[shard] = true }
        return map
    }

    /// The armed form, as the evaluator is told.
    private func seen(_ order: StoredOrder) -> ArmedOrder {
        let armed = ArmedOrder(order)
        return database.has(.stopOneTickLooser) ? Flaws.loosen(armed, tick: order.instrument.tickSize) : armed
    }

    // MARK: Intents

    package func intents(of orders: [OrderID], ended: Bool) async throws(StoreError) -> [StoredIntent] {
        try await locked("intents") { state, now in
            var found: [StoredIntent] = []
            for order in orders {
                guard let intents = state.intents[order] else { continue }
                for place in intents.indices where ended || intents[place].stored.state.isLive {
                    found.append(intents[place].seen(at: now, fenceCounts: !database.has(.fenceNotAwaited)))
                }
            }
            return found
        }
    }

    package func intent(account: AccountID, clientOrderID: String) async throws(StoreError) -> StoredIntent? {
        try await locked("intent") { state, now in
            state.intents.values.joined().first { $0.account == account && $0.clientOrderID == clientOrderID }?
                .seen(at: now)
        }
    }

    package func claimSend(_ intent: StoredIntent, _ right: SendRight) async throws(StoreError) -> Bool {
        try await locked("claimSend") { state, now in
            let isHalted = state.isHalted
            return change(intent, &state) { known in
                if known.token == right.token { return true }
                guard !isHalted, known.token == intent.token else { return false }
                switch known.stored.state {
                case .intent: guard known.token == nil else { return false }
                case .submitted, .unknown:
                    guard known.absences >= 2, (known.fenceUntil ?? .max) < now else { return false }
                case .open, .partial, .cancelRequested, .filled, .cancelled, .expired, .rejected, .notSent, .absent:
                    return false
                }
                known.stored.state = .submitted
                known.token = right.token
                known.sends += 1
                if known.clientOrderID.isEmpty { known.clientOrderID = right.clientOrderID }
                known.fenceUntil = now + right.fenceMs
                known.t0 = right.t0
                known.nextCheck = now + 1_000
                known.absences = 0
                known.absentAt = nil
                return true
            }
        }
    }

    package func noteCheck(_ intent: StoredIntent, absent: Bool, delayMs: Int64) async throws(StoreError) -> Bool {
        try await locked("noteCheck") { state, now in
            change(intent, &state) { known in
                guard known.checks == intent.checks else {
                    database.mark(.intentTokenLost)
                    return false
                }
                known.checks += 1
                known.nextCheck = now + delayMs
                let isFenced = (known.fenceUntil ?? .max) <= now || database.has(.fenceNotAwaited)
                if absent, isFenced, known.absentAt.map({ $0 <= now - 500 }) ?? true {
                    known.absences += database.has(.oneAbsenceSuffices) ? 2 : 1
                    known.absentAt = now
                    database.mark(.reconcileAbsent)
                }
                return true
            }
        }
    }

    private func change(
        _ intent: StoredIntent,
        _ state: inout State,
        _ body: (inout MemoryDatabase.Intent) -> Bool,
    ) -> Bool {
        guard var all = state.intents[intent.order],
            let index = all.firstIndex(where: { $0.stored.key == intent.venueOrder.key })
        else { return false }
        defer { state.intents[intent.order] = all }
        return body(&all[index])
    }

    // MARK: Jobs

    package func dueWork(limit: Int) async throws(StoreError) -> [Job] {
        let wall = database.clock.now()
        return try await locked("dueWork") { state, now in
            if database.has(.noSweep) { return [] }
            // Stops and timers, others, what only rests or was proven absent: as jobs.sql ranks them.
            var jobs: [[Job]] = [[], [], []]
            func keep(_ job: Job, isQuiet: Bool = false) {
                jobs[isQuiet ? 2 : job.jobClass == .stops ? 0 : 1].append(job)
            }
            let second = Int(wall.milliseconds / 1_000)
            for id in state.open + state.absent.subtracting(state.open).sorted() {
                guard let row = state.rows[id] else { continue }
                let order = row.order
                let intents = state.intents[id] ?? []
                for place in intents.indices {
                    // Copied only if it is due: intents are large.
                    guard let due = intents[place].nextCheck, due <= now else { continue }
                    let intent = intents[place]
                    let isAbsent = intent.stored.state == .absent
                    guard intent.stored.state.isLive || isAbsent else { continue }
                    if isAbsent, due < now - 300_000 || intent.stored.createdAt <= wall.advanced(milliseconds: -600_000)
                    {
                        continue
                    }
                    let number = intent.stored.state == .intent ? second : intent.checks + 1
                    let isResting = intent.stored.state == .open || intent.stored.state == .partial
                    keep(.check(order, intent.stored.key, number: number), isQuiet: isResting || isAbsent)
                }
                guard !row.isTerminal else { continue }
                let due = row.nextTimer
                if let wanted = row.wantedExit, order.updatedAt <= wall.advanced(milliseconds: -1_000),
                    due.map({ $0 <= wall }) ?? true
                {
                    keep(.timer(order, wanted.leg, wanted.attempt, second))
                }
                if let due, due <= wall {
                    let isLate = due <= wall.advanced(milliseconds: -2_000)
                    keep(.timer(order, .timer, Int(order.version), isLate ? second : nil))
                }
            }
            return Array(jobs.joined().prefix(limit))
        }
    }

    package func unofferedJobs(limit: Int) async throws(StoreError) -> [Job] {
        try await locked("unofferedJobs") { state, now in unoffered(state, now, limit) { _ in true }.map(\.job) }
    }

    private func unoffered(
        _ state: State,
        _ now: Int64,
        _ limit: Int,
        where isWanted: (MemoryDatabase.OutboxRow) -> Bool,
    ) -> [MemoryDatabase.OutboxRow] {
        let rows = state.outboxOrder.filter { row in
            row.offeredAt.map { $0 <= now - 1_000 } ?? true && isWanted(row)
        }
        guard !rows.isEmpty else { return [] }
        let ordered = JobClass.allCases.flatMap { jobClass in rows.filter { $0.job.jobClass == jobClass } }
        return Array(ordered.prefix(limit))
    }

    package func takeUnoffered(limit: Int) async throws(StoreError) -> [Job] {
        try await locked("takeUnoffered") { state, now in
            let rows = unoffered(state, now, limit) { ($0.leaseUntil ?? .min) <= now }
            for row in rows { row.leaseUntil = now + 5_000 }
            if !rows.isEmpty { database.mark(.redisOffEntered) }
            return rows.map(\.job)
        }
    }

    package func markOffered(_ ids: [JobID]) async throws(StoreError) {
        try await locked("markOffered") { state, now in for id in ids { state.outbox[id]?.offeredAt = now } }
    }

    package func closeJobs(_ ids: [JobID]) async throws(StoreError) {
        try await locked("closeJobs") { state, _ in
            var hasClosed = false
            for id in ids {
                guard let row = state.outbox[id] else { continue }
                row.death = nil
                guard row.isPending else { continue }
                row.isPending = false
                hasClosed = true
            }
            if hasClosed { state.outboxOrder.removeAll { !$0.isPending } }
        }
    }

    package func buryJobs(_ deaths: [JobDeath]) async throws(StoreError) {
        try await locked("buryJobs") { state, now in
            for death in deaths {
                let id = death.job.id
                let row = state.outbox[id] ?? MemoryDatabase.OutboxRow(job: death.job)
                row.isPending = false
                row.death = (death, now)
                state.outbox[id] = row
            }
            state.outboxOrder.removeAll { !$0.isPending }
        }
    }

    /// The count lives in the memory queue, which forgets it when it loses everything.
    package func noteCrashes(_ jobs: [Job]) async throws(StoreError) {}

    package func queuePauses() async throws(StoreError) -> [QueuePause] { [] }

    package func deaths(after: String, limit: Int) async throws(StoreError) -> [JobDeath] {
        try await locked("deaths") { state, now in
            let dead = state.outbox.values.compactMap(\.death).sorted {
                $0.death.job.id.description < $1.death.job.id.description
            }
            return dead.filter { $0.death.job.id.description > after }.prefix(limit).map { death, at in
                JobDeath(
                    job: death.job,
                    reason: death.reason,
                    attempts: death.attempts,
                    crashes: death.crashes,
                    ageMs: now - at,
                )
            }
        }
    }

    package func hasEnded(_ id: JobID) async throws(StoreError) -> Bool {
        try await locked("hasEnded") { state, _ in state.outbox[id]?.isPending != true }
    }

    package func storeJobs(_ jobs: [Job]) async throws(StoreError) {
        try await locked("storeJobs") { state, _ in
            for job in jobs where state.outbox[job.id]?.isPending != true {
                let row = MemoryDatabase.OutboxRow(job: job)
                state.outboxOrder.append(row)
                state.outbox[job.id] = row
            }
        }
    }

    // MARK: Reading

    package func list(_ filter: OrderFilter) async throws(StoreError) -> [StoredOrder] {
        try await locked("list") { state, _ in
            let found = state.rows.values.map(\.order).filter { order in
                order.account == filter.account
                    && (filter.kind.map { $0 == order.kind } ?? true)
                    && (filter.statuses.isEmpty || filter.statuses.contains(order.statusName))
                    && filter.market.map { $0 == order.instrument.market } ?? true
                    && filter.before.map { order.id < $0 } ?? true
                    && filter.updatedSince.map { order.updatedAt >= $0 } ?? true
            }
            return Array(found.sorted { $0.id > $1.id }.prefix(filter.limit))
        }
    }

    package func events(order: OrderID, after: Int64, limit: Int) async throws(StoreError) -> [StoredEvent] {
        try await locked("events") { state, _ in
            Array(state.events.filter { $0.order == order && $0.version ?? 0 > after }.prefix(limit))
        }
    }

    package func events(account: AccountID, after: Int64, limit: Int) async throws(StoreError) -> [StoredEvent] {
        try await locked("events") { state, _ in
            Array(state.events.filter { $0.account == account && $0.sequence > after }.prefix(limit))
        }
    }

    package func lastSequence(account: AccountID) async throws(StoreError) -> Int64 {
        try await locked("lastSequence") { state, _ in state.sequences[account] ?? 0 }
    }

    package func fills(order: OrderID) async throws(StoreError) -> [(key: VenueOrderKey, fill: Fill)] {
        try await locked("fills") { state, _ in
            guard !database.has(.fillCountsTwice) else { return [] }
            return (state.fillsOf[order] ?? []).map { (state.fills[$0].key, state.fills[$0].fill) }
        }
    }

    package func live(account: AccountID, market: MarketID, limit: Int) async throws(StoreError) -> [StoredOrder] {
        try await locked("live") { state, _ in
            let found = state.open.reversed().compactMap { state.rows[$0]?.order }.filter {
                $0.account == account && $0.instrument.market == market && !$0.isTerminal
            }
            return Array(found.prefix(limit))
        }
    }

    package func standing(of order: StoredOrder) async throws(StoreError) -> OrderStanding {
        try await locked("standing") { state, _ in
            var claimed = Quantity.zero
            for id in state.open where id != order.id {
                guard let intents = state.intents[id], let other = state.rows[id]?.order,
                    other.account == order.account, other.instrument.market == order.instrument.market,
                    other.positionSide == order.positionSide
                else { continue }
                for intent in intents where intent.stored.restsAsExit(of: other) { claimed += intent.stored.claim }
            }
            let newest = (state.fillsOf[order.id] ?? []).map { state.fills[$0].fill.time }.max()
            return OrderStanding(claimedElsewhere: claimed, newestFill: newest)
        }
    }

    package func openWork(account: AccountID) async throws(StoreError) -> OpenWork {
        try await locked("openWork") { state, _ in
            let open = state.open.compactMap { state.rows[$0]?.order }
                .filter { $0.account == account && !$0.isTerminal }
            let atVenue = open.map(\.id).filter { id in
                (state.intents[id] ?? []).contains { $0.stored.state.isLive && $0.token != nil }
            }
            let markets = Set(open.map(\.instrument.market))
            return OpenWork(atVenue: atVenue, markets: markets.sorted { "\($0)" < "\($1)" })
        }
    }

    package func activeLegs(account: AccountID, market: MarketID) async throws(StoreError) -> Int {
        try await locked("activeLegs") { state, _ in
            state.open.compactMap { state.rows[$0]?.order }
                .filter { $0.account == account && $0.instrument.market == market }
                .reduce(0) { $0 + $1.activeLegs }
        }
    }

    package func outcome(owner: String, key: String) async throws(StoreError) -> (order: OrderID, requestHash: String)?
    {
        try await locked("outcome") { state, _ in
            guard let known = state.idempotency["\(owner) \(key)"] else { return nil }
            database.mark(.commandReplayed)
            return (known.order, known.hash)
        }
    }
}

extension MemoryDatabase.Intent {
    fileprivate func seen(at now: Int64, fenceCounts: Bool = true) -> StoredIntent {
        StoredIntent(
            order: order,
            account: account,
            venueOrder: stored,
            clientOrderID: clientOrderID,
            token: token,
            sends: sends,
            checks: checks,
            fencePassed: !fenceCounts || (fenceUntil ?? .max) <= now,
            absences: absences,
            t0: t0,
        )
    }
}

extension VenueOrder {
    /// An exit that rests at the venue for certain.
    fileprivate func restsAsExit(of order: StoredOrder) -> Bool {
        guard order.isExit(self), type == .goodTillCancelled else { return false }
        return state == .open || state == .partial || state == .cancelRequested
    }

    /// When an order in this state is looked at next; nil: never, it has ended.
    fileprivate var checkDelayMs: Int64? {
        switch state {
        case .intent: 1_000
        // Who sent it records the answer; only after a sender that died it has to be looked for.
        case .submitted: 1_000
        case .unknown, .cancelRequested: 250
        case .open, .partial: cancelWanted ? 250 : 60_000
        case .filled, .cancelled, .expired, .rejected, .notSent, .absent: nil
        }
    }
}

extension StoredOrder {
    fileprivate var activeLegs: Int {
        switch self {
        case .smart(let order): order.activeLegs
        case .conditional(let order): order.status.isTerminal ? 0 : 1
        }
    }

    fileprivate var wantedExit: VenueOrderKey? {
        switch self {
        case .smart(let order): order.wantedExit
        case .conditional(let order):
            order.isDue ? VenueOrderKey(leg: .conditional, attempt: order.attempts + 1) : nil
        }
    }

    fileprivate var exited: Quantity { smart?.exited ?? .zero }

}

extension SmartOrder {
    fileprivate var activeLegs: Int {
        guard !status.isTerminal else { return 0 }
        let stops = draft.stopLoss != nil || draft.trailing != nil ? 1 : 0
        return levels.count { $0.state == .pending || $0.state == .triggered } + stops
            + partialStops.count { $0.state == .pending || $0.state == .latched }
    }

    /// An exit that is wanted while something is free and nothing is under way.
    fileprivate var wantedExit: VenueOrderKey? {
        guard !status.isTerminal, free.isPositive, latch != nil || phase == .closing,
            !venueOrders.contains(where: { $0.side != draft.side && $0.state.isLive })
        else { return nil }
        let leg: Leg = latch != nil ? .stop : .close
        return VenueOrderKey(leg: leg, attempt: (attempts[leg] ?? 0) + 1)
    }
}

extension Job {
    fileprivate static func timer(_ order: StoredOrder, _ leg: Leg, _ attempt: Int, _ number: Int?) -> Job {
        Job(
            id: JobID(order: order.id, leg: leg, attempt: attempt, check: number),
            name: .timer,
            jobClass: .stops,
            version: order.version,
            account: order.account,
            market: order.instrument.market,
        )
    }
}

extension SmartOrder {
    fileprivate var followsWholePosition: Bool { !status.isTerminal && draft.sizeMode == .position }
}
