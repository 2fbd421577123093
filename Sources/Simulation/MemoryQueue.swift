// The job queue in memory, for the simulator and for tests: the contract of QUEUE.md without Redis.
//
// Invariants: a job is in exactly one of waiting, active, delayed, completed, dead; time is the injected clock's; nothing
// iterates a dictionary, so the same calls give the same answers. A live worker renews its leases by itself; one that is
// cut off (`cutOff`) keeps them for `leaseMs` more. Cost: linear in the jobs of a class; meant for thousands.
package import OrderEngine
internal import OwnerThread
package import SmartOrders

/// The place that the queues of all workers of a test share.
package final class MemoryQueueServer: Sendable {
    fileprivate enum Place { case waiting, active, delayed, completed, dead }

    /// A class: looked up far more often than made, and large.
    fileprivate final class Entry {
        var job: Job
        /// Its id as text.
        let name: String
        var place = Place.waiting
        var due: Int64 = 0
        var holder: WorkerID?
        var token = ""
        /// Its holder knows that he has it, and renews.
        var isInHand = false
        /// When it lapses if it is not in hand.
        var lapsesAt: Int64 = 0
        var attemptsMade = 0
        var deliveries = 0
        var crashes = 0
        var finishedAt: Int64 = 0
        var reason = ""

        init(job: Job) {
            self.job = job
            name = job.id.description
        }
    }

    /// What waits, by class. The head is the end of the array, as in a list that is pushed from the left.
    fileprivate struct Waiting {
        private var stops: [Entry] = []
        private var targets: [Entry] = []
        private var housekeeping: [Entry] = []

        var isEmpty: Bool { stops.isEmpty && targets.isEmpty && housekeeping.isEmpty }
        var count: Int { stops.count + targets.count + housekeeping.count }

        subscript(_ jobClass: JobClass) -> [Entry] {
            get {
                switch jobClass {
                case .stops: stops
                case .targets: targets
                case .housekeeping: housekeeping
                }
            }
            _modify {
                switch jobClass {
                case .stops: yield &stops
                case .targets: yield &targets
                case .housekeeping: yield &housekeeping
                }
            }
        }
    }

    fileprivate struct State {
        var entries: [JobID: Entry] = [:]
        var waiting = Waiting()
        /// In the order of their take.
        var active: [Entry] = []
        /// By due time, then by order of arrival.
        var delayed: [(due: Int64, id: JobID)] = []
        var completed: [JobID] = []
        /// Workers that renew nothing any more, with the end of their last lease.
        var cutOff: [WorkerID: Int64] = [:]
        var takes: [WorkerID: Int] = [:]
        var isAway = false
        /// Hands out nothing (QUEUE.md: paused).
        var isPaused = false
        /// False after a loss, until somebody opens it again.
        var isOpen = true
        var waiters: [UInt64: MemoryTickServer.Waiter] = [:]
        var nextWaiter: UInt64 = 0
        var hasWork: Bool { !isPaused && !waiting.isEmpty }
    }

    fileprivate let state = Locked(State())
    fileprivate let clock: any EngineClock
    package let leaseMs: Int64
    fileprivate let partitions: Int
    fileprivate let keepCompletedMs: Int64

    fileprivate let flaws: Flaws
    private let faults: FaultSwitch?
    /// Sleepers of a simulation are woken; others are raced.
    fileprivate let simulator: Simulator?

    package convenience init(
        clock: any EngineClock,
        leaseMs: Int64 = 3_000,
        partitions: Int = 8,
        keepCompletedMs: Int64 = 900_000,
    ) {
        self.init(
            clock: clock,
            leaseMs: leaseMs,
            partitions: partitions,
            keepCompletedMs: keepCompletedMs,
            flaws: Flaws(mutant: nil),
            faults: nil,
        )
    }

    init(
        clock: any EngineClock,
        leaseMs: Int64 = 3_000,
        partitions: Int = 8,
        keepCompletedMs: Int64 = 900_000,
        flaws: Flaws,
        faults: FaultSwitch?,
    ) {
        self.flaws = flaws
        self.faults = faults
        self.clock = clock
        simulator = (clock as? ProcessClock)?.simulator
        self.leaseMs = leaseMs
        self.partitions = partitions
        self.keepCompletedMs = keepCompletedMs
    }

    fileprivate func mark(_ mark: Mark) { faults?.mark(mark) }
    fileprivate var nowMs: Int64 { clock.monotonicNanoseconds() / 1_000_000 }

    /// The worker renews no leases from now on (killed, stopped, cut off); `restore` undoes it.
    package func cutOff(_ worker: WorkerID) {
        let until = nowMs + leaseMs
        state.withLock { $0.cutOff[worker] = until }
    }

    package func restore(_ worker: WorkerID) { state.withLock { _ = $0.cutOff.removeValue(forKey: worker) } }

    /// Takes what is offered and hands out nothing.
    package func setPaused(_ isPaused: Bool) { state.withLock { $0.isPaused = isPaused } }

    /// Every verb fails while the queue is away.
    package func setAway(_ isAway: Bool) { state.withLock { $0.isAway = isAway } }

    /// Forgets everything, as a flushed Redis does.
    package func loseAll() {
        state.withLock { state in
            state.entries = [:]
            state.waiting = Waiting()
            state.active = []
            state.delayed = []
            state.completed = []
            state.isOpen = false
        }
    }

    /// Jobs that are dead, with their reasons, in no order.
    package var dead: [(id: JobID, reason: String)] {
        state.withLock { state in
            state.entries.values.filter { $0.place == .dead }.map { ($0.job.id, $0.reason) }
        }
    }

    /// Whether a take would get something.
    var hasWork: Bool { state.withLock { $0.hasWork } }

    /// Jobs neither completed nor dead.
    package var openCount: Int {
        state.withLock { state in
            state.active.count + state.delayed.count + state.waiting.count
        }
    }
}

/// One worker's view of a `MemoryQueueServer`.
package final class MemoryQueue: JobQueue {
    private typealias State = MemoryQueueServer.State
    private typealias Entry = MemoryQueueServer.Entry

    private let server: MemoryQueueServer
    private let worker: WorkerID
    private let link: MemoryLink<QueueError>

    package init(_ server: MemoryQueueServer, worker: WorkerID, link: MemoryLink<QueueError> = .perfect) {
        self.server = server
        self.worker = worker
        self.link = link
    }

    /// The simulator pauses no queue.
    package func open(pausing _: [QueuePause]) async throws(QueueError) -> Bool {
        try await link.carry("open") { () throws(QueueError) -> Bool in
            try server.state.withLock { state throws(QueueError) -> Bool in
                if state.isAway { throw QueueError(.unavailable, "the queue is away") }
                if !state.isOpen { server.mark(.queueReopened) }
                defer { state.isOpen = true }
                return !state.isOpen
            }
        }
    }

    private func locked<Result>(
        _ call: StaticString,
        _ body: (inout State, Int64) throws(QueueError) -> Result,
    ) async throws(QueueError) -> Result {
        try await link.carry(call) { () throws(QueueError) in
            let now = server.nowMs
            let (result, waiters) = try server.state.withLock { state throws(QueueError) in
                if state.isAway { throw QueueError(.unavailable, "the queue is away") }
                if !state.isOpen { throw QueueError(.closed, "the queue lost its content") }
                promote(&state, now)
                let result = try body(&state, now)
                return (result, state.hasWork ? takeWaiters(&state) : [])
            }
            for waiter in waiters { waiter.wake() }
            return result
        }
    }

    package func offer(_ jobs: [Job], verify: Bool) async throws(QueueError) -> [OfferCode] {
        try await locked("offer") { state, now throws(QueueError) in
            var codes: [OfferCode] = []
            for job in jobs {
                server.simulator?.note(
                    "\(worker) offers \(job.id) of \(job.version) at \(job.position?.sequence ?? -1)"
                )
                let job = server.flaws.contains(.followUpReusesID) ? job.withFirstID : job
                guard let entry = state.entries[job.id] else {
                    let entry = Entry(job: job)
                    state.entries[job.id] = entry
                    state.waiting[job.jobClass].insert(entry, at: 0)
                    codes.append(.queued)
                    continue
                }
                switch entry.place {
                case .waiting, .active, .delayed:
                    server.mark(.knownJobOffered)
                    codes.append(.live)
                case .completed: codes.append(.completed)
                case .dead:
                    if entry.reason.hasPrefix("UNDECODABLE") || entry.reason.hasPrefix("BODY_MISSING") {
                        entry.job = job
                        entry.place = .waiting
                        // Whoever had the old body has nothing.
                        entry.token = ""
                        state.waiting[job.jobClass].insert(entry, at: 0)
                        codes.append(.replaced)
                    } else {
                        codes.append(.dead)
                    }
                }
            }
            return codes
        }
    }

    package func restore(_ deaths: [JobDeath]) async throws(QueueError) -> Int {
        try await locked("restore") { state, now throws(QueueError) in
            var restored = 0
            for death in deaths where state.entries[death.job.id] == nil {
                let entry = Entry(job: death.job)
                entry.place = .dead
                entry.reason = death.reason
                entry.attemptsMade = death.attempts
                entry.crashes = death.crashes
                entry.finishedAt = now - death.ageMs
                state.entries[death.job.id] = entry
                restored += 1
            }
            return restored
        }
    }

    package func take(_ request: TakeRequest) async throws(QueueError) -> [TakenJob] {
        let taken = try await takeUnheld(request)
        // An answer that is lost leaves jobs in nobody's hands: they lapse.
        note(taken, areInHand: true)
        return taken
    }

    /// Says which jobs this worker renews from now on, or no more.
    private func note(_ jobs: [TakenJob], areInHand: Bool) {
        let lapse = server.nowMs + server.leaseMs
        server.state.withLock { state in
            for job in jobs {
                guard let entry = job.entry(state), entry.token == job.token, entry.place == .active else { continue }
                entry.isInHand = areInHand
                entry.lapsesAt = lapse
            }
        }
    }

    private func takeUnheld(_ request: TakeRequest) async throws(QueueError) -> [TakenJob] {
        try await locked("take") { state, now throws(QueueError) in
            var taken: [TakenJob] = []
            if !state.hasWork { return taken }
            let token = "\(worker.text):\((state.takes[worker] ?? 0) + 1)"
            let holdsSuspect = state.active.contains { $0.crashes >= 2 && $0.holder == worker }
            let wanted: [(JobClass, Int)] = [
                (.stops, request.stops), (.targets, request.targets), (.housekeeping, request.housekeeping),
            ]
            classes: for (jobClass, count) in wanted {
                let most = taken.count + count
                while taken.count < most, let entry = state.waiting[jobClass].last {
                    // A suspect is delivered alone, and one at a time.
                    if entry.crashes >= 2, holdsSuspect || !taken.isEmpty { continue classes }
                    state.waiting[jobClass].removeLast()
                    entry.place = .active
                    entry.holder = worker
                    entry.token = token
                    entry.isInHand = false
                    entry.lapsesAt = now + server.leaseMs
                    entry.deliveries += 1
                    state.active.append(entry)
                    taken.append(
                        TakenJob(
                            rawID: entry.name,
                            job: entry.job,
                            jobClass: jobClass,
                            partition: entry.job.id.order.shard % server.partitions,
                            token: token,
                            attemptsMade: entry.attemptsMade,
                            deliveries: entry.deliveries,
                            crashes: entry.crashes,
                        )
                    )
                    if entry.crashes >= 2 { break classes }
                }
            }
            if !taken.isEmpty { state.takes[worker, default: 0] += 1 }
            for one in taken {
                server.simulator?.note("\(worker) takes \(one.rawID) after \(one.crashes) crashes")
            }
            return taken
        }
    }

    package func waitForWork() async {
        let now = server.nowMs
        let (ticket, due): (UInt64?, Int64) = server.state.withLock { state in
            promote(&state, now)
            if state.hasWork { return (nil, 0) }
            state.nextWaiter += 1
            return (state.nextWaiter, min(1_000, max(1, (state.delayed.first?.due ?? .max) - now)))
        }
        guard let ticket else { return }
        if let simulator = server.simulator {
            let number = simulator.newSleeper()
            server.state.withLock { $0.waiters[ticket] = .sleeper(simulator, number) }
            _ = await simulator.sleep(nanoseconds: due * 1_000_000, as: number)
            _ = server.state.withLock { $0.waiters.removeValue(forKey: ticket) }
            return
        }
        let clock = server.clock
        await withTaskGroup { group in
            group.addTask { await self.waitForOffer(ticket) }
            group.addTask { do { try await clock.sleep(milliseconds: due) } catch {} }
            await group.next()
            group.cancelAll()
        }
    }

    private func waitForOffer(_ ticket: UInt64) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isReady = server.state.withLock { state in
                    if Task.isCancelled || state.hasWork { return true }
                    state.waiters[ticket] = .continuation(continuation)
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            server.state.withLock { $0.waiters.removeValue(forKey: ticket) }?.wake()
        }
    }

    package func finish(_ outcomes: [(job: TakenJob, outcome: JobOutcome)]) async throws(QueueError) -> [FinishCode] {
        note(outcomes.map(\.job), areInHand: false)
        return try await locked("finish") { state, now throws(QueueError) in
            var retriedNow: [Entry] = []
            let codes = outcomes.map { job, outcome in
                if job.token.isEmpty { return FinishCode.repeated }
                guard let entry = job.entry(state) else { return .unknown }
                let standing = standing(of: job, entry, now, state)
                guard standing == .done || standing == .late else { return standing }
                state.active.removeAll { $0 === entry }
                entry.attemptsMade += 1
                entry.holder = nil
                switch outcome {
                case .done, .obsolete:
                    if case .obsolete = outcome { server.mark(.obsoleteJob) }
                    entry.place = .completed
                    entry.finishedAt = now
                    state.completed.append(entry.job.id)
                case .retry(let delayMs, let reason):
                    entry.reason = reason
                    if delayMs > 0 {
                        delay(entry, until: now + delayMs, &state)
                    } else {
                        entry.place = .waiting
                        retriedNow.append(entry)
                    }
                case .dead(let reason):
                    entry.place = .dead
                    entry.reason = reason
                }
                return standing
            }
            for entry in retriedNow.reversed() { state.waiting[entry.job.jobClass].append(entry) }
            return codes
        }
    }

    package func release(_ jobs: [TakenJob]) async throws(QueueError) {
        try await locked("release") { state, now throws(QueueError) in
            for job in jobs.reversed() {
                guard let entry = job.entry(state) else { continue }
                let standing = standing(of: job, entry, now, state)
                guard standing == .done || standing == .late else { continue }
                toHead(entry, &state)
            }
        }
    }

    package func reclaim(dead: [WorkerID]) async throws(QueueError) {
        try await locked("reclaim") { state, now throws(QueueError) in
            var back: [Entry] = []
            for entry in state.active {
                guard let holder = entry.holder else { continue }
                if dead.contains(holder) || isLapsed(entry, now, state) { back.append(entry) }
            }
            if !back.isEmpty { server.mark(.jobReclaimed) }
            for entry in back.reversed() {
                entry.crashes += 1
                // With more than ten the worker that gets it gives it up.
                if entry.crashes >= 3, entry.crashes <= 10 || entry.job.jobClass == .stops {
                    state.active.removeAll { $0 === entry }
                    entry.token = ""
                    delay(entry, until: now + 60_000, &state)
                } else {
                    toHead(entry, &state)
                }
            }
            while let first = state.completed.first, let entry = state.entries[first],
                entry.finishedAt <= now - server.keepCompletedMs
            {
                state.completed.removeFirst()
                state.entries[first] = nil
            }
        }
    }

    // MARK: Steps

    private func standing(of job: TakenJob, _ entry: Entry, _ now: Int64, _ state: State) -> FinishCode {
        switch entry.place {
        case .active:
            if entry.token != job.token { return .foreignToken }
            return isLapsed(entry, now, state) ? .late : .done
        case .waiting, .delayed, .completed, .dead: return entry.token == job.token ? .repeated : .takenOver
        }
    }

    private func isLapsed(_ entry: Entry, _ now: Int64, _ state: State) -> Bool {
        guard let worker = entry.holder else { return true }
        if !entry.isInHand, entry.lapsesAt <= now { return true }
        return state.cutOff[worker].map { $0 <= now } ?? false
    }

    private func toHead(_ entry: Entry, _ state: inout State) {
        state.active.removeAll { $0 === entry }
        entry.place = .waiting
        entry.holder = nil
        // As the body forgets who had it: the holder's late word is refused.
        entry.token = ""
        state.waiting[entry.job.jobClass].append(entry)
    }

    private func delay(_ entry: Entry, until due: Int64, _ state: inout State) {
        entry.place = .delayed
        entry.due = due
        let index = state.delayed.firstIndex { $0.due > due } ?? state.delayed.count
        state.delayed.insert((due, entry.job.id), at: index)
    }

    private func promote(_ state: inout State, _ now: Int64) {
        while let first = state.delayed.first, first.due <= now {
            state.delayed.removeFirst()
            guard let entry = state.entries[first.id] else { continue }
            entry.place = .waiting
            state.waiting[entry.job.jobClass].insert(entry, at: 0)
        }
    }

    private func takeWaiters(_ state: inout State) -> [MemoryTickServer.Waiter] {
        defer { state.waiters = [:] }
        return state.waiters.keys.sorted().compactMap { state.waiters[$0] }
    }
}

extension TakenJob {
    /// Where it is; its body, where it has one, says its id without reading it.
    fileprivate func entry(_ state: MemoryQueueServer.State) -> MemoryQueueServer.Entry? {
        (job?.id ?? JobID(rawID)).flatMap { state.entries[$0] }
    }
}

extension Job {
    /// The same work under the id of its first job.
    fileprivate var withFirstID: Job {
        Job(
            id: JobID(order: id.order, leg: id.leg, attempt: id.attempt),
            name: name,
            jobClass: jobClass,
            version: version,
            account: account,
            market: market,
            source: source,
            position: position,
        )
    }
}
