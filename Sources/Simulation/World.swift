// Everything a simulation has: the servers, the venue, the chance of faults, and the ways between processes and servers.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders
internal import Synchronization

/// The faults of a run while they are on, and what happened of it.
package final class FaultSwitch: Sendable {
    let plan: FaultPlan
    /// By `FaultClass.rawValue`.
    private let factors: [Double]
    /// Asked at every step: no lock.
    private let isActive = Atomic(true)
    private let counts = Locked<[String: Int]>([:])
    /// Counters of the engine, by the place of their names: they are counted at every tick.
    private let counters = Locked<[UInt: (name: StaticString, count: Int)]>([:])

    init(_ plan: FaultPlan) {
        self.plan = plan
        factors = FaultClass.allCases.map { plan[$0] }
    }

    var isOn: Bool { isActive.load(ordering: .relaxed) }
    func turnOff() { isActive.store(false, ordering: .relaxed) }
    /// Its factor, also when the faults have ended.
    func planned(_ fault: FaultClass) -> Double { factors[fault.rawValue] }
    subscript(_ fault: FaultClass) -> Double { factors[fault.rawValue] > 0 && isOn ? factors[fault.rawValue] : 0 }

    /// Counts a rare branch (RELIABILITY.md 8.5).
    func mark(_ mark: Mark) { self.mark(mark.rawValue) }
    func mark(_ name: String) { counts.withLock { $0[name, default: 0] += 1 } }
    func count(_ name: StaticString) {
        counters.withLock { $0[UInt(bitPattern: name.utf8Start), default: (name, 0)].count += 1 }
    }
    var marks: [String: Int] {
        var marks = counts.withLock { $0 }
        for (name, count) in counters.withLock({ Array($0.values) }) { marks["\(name)", default: 0] += count }
        marks[Mark.sweepReoffered.rawValue] = marks["sweep_jobs_total"]
        return marks
    }
}

final class World: Sendable {
    private struct State {
        var pgAway = false
        var tasks: [Task<Void, Never>] = []
        var isEnding = false
    }

    let simulator: Simulator
    let faults: FaultSwitch
    let flaws: Flaws
    let oracle: Oracle
    let venue: SimulatedVenue
    let database: MemoryDatabase
    let queue: MemoryQueueServer
    let ticks: MemoryTickServer
    let markets: [SimulatedMarket]
    let accounts: [Account]
    /// What goes wrong by number; nil: by chance.
    let script: CallScript?
    private let beatMs: Int64
    private let state = Locked(State())

    init(simulator: Simulator, plan: FaultPlan, mutant: Mutant?, setup: Setup, script: CallScript? = nil) {
        self.simulator = simulator
        self.script = script
        faults = FaultSwitch(plan)
        flaws = Flaws(mutant: mutant)
        markets = setup.markets.map { SimulatedMarket($0) }
        accounts = setup.accounts
        beatMs = setup.beatMs
        let clock = ProcessClock(simulator: simulator, process: nil, skewMicroseconds: 0, driftPerMillion: 0)
        let oracle = Oracle(simulator: simulator, markets: setup.markets, habits: setup.habits, faults: faults)
        self.oracle = oracle
        venue = SimulatedVenue(simulator: simulator, habits: setup.habits, faults: faults, oracle: oracle)
        database = MemoryDatabase(clock: clock, watcher: oracle, mutant: mutant, faults: faults)
        queue = MemoryQueueServer(clock: clock, flaws: flaws, faults: faults)
        ticks = MemoryTickServer(clock: clock, length: setup.streamLength, watcher: oracle, flaws: flaws)
    }

    // MARK: Ends

    var isEnding: Bool { state.withLock { $0.isEnding } }
    func end() { state.withLock { $0.isEnding = true } }

    /// A task that the run waits for at its end.
    func spawn(_ body: @escaping @Sendable () async -> Void) { keep(Task { await body() }) }
    func keep(_ task: Task<Void, Never>) { state.withLock { $0.tasks.append(task) } }

    func waitForTasks() async {
        while true {
            let tasks = state.withLock { state in
                defer { state.tasks = [] }
                return state.tasks
            }
            if tasks.isEmpty { return }
            for task in tasks { await task.value }
        }
    }

    // MARK: Steps

    private enum Fate { case goesOn, dies, rests(Int64) }

    /// What a moment does to a process.
    private enum Moment {
        case goesOn, dies
        /// It has to wait until it may go on; then the moment is over, or comes.
        case waits(isOver: Bool)
    }

    /// A moment at which a process may die or be held up. `isTrading`: on the way of an exit, not of a poll.
    func step(_ process: SimulatedProcess, isTrading: Bool) async throws(ProcessDied) {
        switch enter(process, isTrading: isTrading) {
        case .goesOn: return
        case .dies: throw ProcessDied()
        case .waits(let isOver): try await wait(process, isTrading: isTrading, isOver: isOver)
        }
    }

    private func wait(_ process: SimulatedProcess, isTrading: Bool, isOver: Bool) async throws(ProcessDied) {
        try await process.pass()
        if !isOver { try await step(process, isTrading: isTrading) }
    }

    private func enter(_ process: SimulatedProcess, isTrading: Bool) -> Moment {
        if process.isHeld {
            if process.isDead { return .dies }
            if process.isPaused { return .waits(isOver: false) }
        }
        let weight = isTrading ? 1 : 0.01
        let (kill, pause) = (faults.planned(.kill), faults.planned(.pause))
        guard kill + pause > 0, faults.isOn else { return .goesOn }
        let fate = simulator.draw { random -> Fate in
            if random.happens(0.01 * kill * weight) { return .dies }
            if random.happens(0.005 * pause * weight) {
                // From 50 ms to a minute, mostly short.
                let bits = random.next() % 11
                return .rests((50 + Int64(random.next() % 10)) << Int64(bits))
            }
            return .goesOn
        }
        switch fate {
        case .goesOn: return .goesOn
        case .dies:
            simulator.note("\(process.id) is killed")
            faults.mark(.killed)
            process.kill()
            return .dies
        case .rests(let milliseconds):
            hold(process, milliseconds: milliseconds)
            return .waits(isOver: true)
        }
    }

    func hold(_ process: SimulatedProcess, milliseconds: Int64) {
        guard !process.isPaused else { return }
        simulator.note("\(process.id) rests for \(milliseconds) ms")
        faults.mark(.paused)
        process.hold()
        queue.cutOff(process.id)
        spawn {
            _ = await self.simulator.sleep(nanoseconds: milliseconds * 1_000_000)
            process.goOn()
            if !process.isDead { self.queue.restore(process.id) }
        }
    }

    // MARK: Ways

    /// Whether a fault of a class happens now.
    func happens(_ rate: Double, _ fault: FaultClass) -> Bool {
        let chance = rate * faults[fault]
        return chance > 0 && simulator.draw { $0.happens(chance) }
    }

    var isPostgresAway: Bool { state.withLock { $0.pgAway } }
    func setPostgresAway(_ isAway: Bool) { state.withLock { $0.pgAway = isAway } }

    private static let tradingCalls: [UInt64] =
        ([
            "load", "commit", "claimSend", "noteCheck", "intents", "intent", "fills", "offer", "finish", "storeJobs",
            "closeJobs", "buryJobs", "accept", "loadArmed", "cursors", "assign", "notifyChanged", "release",
        ] as [StaticString]).map(word)

    /// A name in a word: its length and first seven letters. It is asked of every call.
    private static func word(_ call: StaticString) -> UInt64 {
        var word = UInt64(call.utf8CodeUnitCount)
        for place in 0..<min(7, call.utf8CodeUnitCount) { word = word << 8 | UInt64(call.utf8Start[place]) }
        return word
    }

    private static let take = word("take")

    /// A take that gets something: of a script's business.
    private func isTaking(_ call: StaticString) -> Bool {
        script != nil && Self.word(call) == Self.take && queue.hasWork
    }

    private static func isTrading(_ call: StaticString) -> Bool { tradingCalls.contains(word(call)) }

    private func latency(_ mean: Double) -> Int64 {
        simulator.draw { random in
            var nanoseconds = 100_000 + random.exponential(mean: mean)
            if random.happens(0.05 * faults[.net]) { nanoseconds += random.exponential(mean: 100_000_000) }
            return nanoseconds
        }
    }

    /// What the script says of a call that is about to take effect. False: it does not.
    private func begins(_ call: StaticString, of process: SimulatedProcess) -> Bool {
        guard let script else { return true }
        switch script.next(call, of: process) {
        case .passes: return true
        case .diesBefore:
            simulator.note("\(process.id) dies before \(call)")
            process.kill()
            return false
        case .fails:
            simulator.note("\(process.id): \(call) is not done")
            return false
        case .losesAnswer:
            script.keep(.losesAnswer, for: process)
            return true
        case .diesAfter:
            script.keep(.diesAfter, for: process)
            return true
        }
    }

    /// The same of its answer.
    private func ends(_ call: StaticString, of process: SimulatedProcess) -> Bool {
        guard let script else { return true }
        switch script.takeKept(for: process) {
        case .passes, .diesBefore, .fails: return true
        case .losesAnswer:
            simulator.note("\(process.id): the answer of \(call) is lost")
            return false
        case .diesAfter:
            simulator.note("\(process.id) dies after \(call)")
            process.kill()
            return false
        }
    }

    /// Half of a call's way for a process that is held up: first it has to go on, then `go` decides about the call.
    private func held<Failure: Error>(
        _ process: SimulatedProcess,
        isTrading: Bool,
        isOver: Bool,
        died: Failure,
        then go: @escaping @Sendable () throws(Failure) -> MemoryPassage<Failure>,
    ) -> MemoryPassage<Failure> {
        .takes { () async throws(Failure) in
            do { try await self.wait(process, isTrading: isTrading, isOver: isOver) } catch { throw died }
            switch try go() {
            case .clear: break
            case .takes(let rest): try await rest()
            }
        }
    }

    /// Half of a call's way that ends with the moment of the process. Most calls are polls: nothing is made for those.
    private func pass<Failure: Error>(
        _ process: SimulatedProcess,
        _ call: StaticString,
        died: @autoclosure () -> Failure,
    ) throws(Failure) -> MemoryPassage<Failure> {
        let isTrading = Self.isTrading(call)
        switch enter(process, isTrading: isTrading) {
        case .goesOn: return .clear
        case .dies: throw died()
        case .waits(let isOver):
            return held(process, isTrading: isTrading, isOver: isOver, died: died()) { () throws(Failure) in .clear }
        }
    }

    func storeLink(_ process: SimulatedProcess) -> MemoryLink<StoreError> {
        MemoryLink(
            deciding: { call throws(StoreError) in
                let isTrading = Self.isTrading(call)
                switch self.enter(process, isTrading: isTrading) {
                case .goesOn: return try self.reachStore(call, of: process, isTrading: isTrading)
                case .dies: throw StoreError(.unavailable, "the process is dead")
                case .waits(let isOver):
                    let died = StoreError(.unavailable, "the process is dead")
                    return self.held(process, isTrading: isTrading, isOver: isOver, died: died) {
                        () throws(StoreError) in try self.reachStore(call, of: process, isTrading: isTrading)
                    }
                }
            },
            { call throws(StoreError) in
                let isTrading = Self.isTrading(call)
                if isTrading, !self.ends(call, of: process) { throw StoreError(.outcomeUnknown, "no answer") }
                if self.happens(0.01, .pgReset) {
                    self.faults.mark(.answerOfDatabaseLost)
                    throw StoreError(.outcomeUnknown, "reset after the statement")
                }
                return try self.pass(process, call, died: StoreError(.outcomeUnknown, "the process is dead"))
            },
        )
    }

    private func reachStore(
        _ call: StaticString,
        of process: SimulatedProcess,
        isTrading: Bool,
    ) throws(StoreError) -> MemoryPassage<StoreError> {
        if isPostgresAway {
            return .takes { () async throws(StoreError) in
                await self.simulator.pass(nanoseconds: 50_000_000)
                throw StoreError(.unavailable, "the database is away")
            }
        }
        if happens(0.01, .pgReset) {
            if simulator.random() % 2 == 0 { throw StoreError(.unavailable, "reset before the statement") }
            faults.mark(.commitUnknownResolvedAsNot)
            throw StoreError(.outcomeUnknown, "reset before the statement was read")
        }
        guard isTrading else { return .clear }
        simulator.note("\(process.id) \(call)")
        let delay = latency(700_000)
        return .takes { () async throws(StoreError) in
            await self.simulator.pass(nanoseconds: delay)
            if !self.begins(call, of: process) { throw StoreError(.outcomeUnknown, "not done") }
        }
    }

    func queueLink(_ process: SimulatedProcess) -> MemoryLink<QueueError> {
        MemoryLink(
            deciding: { call throws(QueueError) in
                let isTrading = Self.isTrading(call)
                switch self.enter(process, isTrading: isTrading) {
                case .goesOn: return try self.reachQueue(call, of: process, isTrading: isTrading)
                case .dies: throw QueueError(.unavailable, "the process is dead")
                case .waits(let isOver):
                    let died = QueueError(.unavailable, "the process is dead")
                    return self.held(process, isTrading: isTrading, isOver: isOver, died: died) {
                        () throws(QueueError) in try self.reachQueue(call, of: process, isTrading: isTrading)
                    }
                }
            },
            { call throws(QueueError) in
                if !self.ends(call, of: process) { throw QueueError(.outcomeUnknown, "no answer") }
                if self.happens(0.005, .redisReset) {
                    throw QueueError(.outcomeUnknown, "reset after the command")
                }
                return try self.pass(process, call, died: QueueError(.outcomeUnknown, "the process is dead"))
            },
        )
    }

    private func reachQueue(
        _ call: StaticString,
        of process: SimulatedProcess,
        isTrading: Bool,
    ) throws(QueueError) -> MemoryPassage<QueueError> {
        if happens(0.005, .redisReset) { throw QueueError(.unavailable, "reset before the command") }
        guard isTrading else {
            if isTaking(call), !begins(call, of: process) { throw QueueError(.outcomeUnknown, "not done") }
            return .clear
        }
        let delay = latency(200_000)
        return .takes { () async throws(QueueError) in
            await self.simulator.pass(nanoseconds: delay)
            if !self.begins(call, of: process) { throw QueueError(.outcomeUnknown, "not done") }
        }
    }

    func tickLink(_ process: SimulatedProcess) -> MemoryLink<TickLogError> {
        MemoryLink(
            deciding: { call throws(TickLogError) in
                let isTrading = Self.isTrading(call)
                switch self.enter(process, isTrading: isTrading) {
                case .goesOn: return try self.reachTicks(call, of: process, isTrading: isTrading)
                case .dies: throw TickLogError("the process is dead")
                case .waits(let isOver):
                    let died = TickLogError("the process is dead")
                    return self.held(process, isTrading: isTrading, isOver: isOver, died: died) {
                        () throws(TickLogError) in try self.reachTicks(call, of: process, isTrading: isTrading)
                    }
                }
            },
            { call throws(TickLogError) in
                if !self.ends(call, of: process) { throw TickLogError("no answer") }
                if self.happens(0.002, .redisReset) { throw TickLogError("reset after the command") }
                return try self.pass(process, call, died: TickLogError("the process is dead"))
            },
        )
    }

    private func reachTicks(
        _ call: StaticString,
        of process: SimulatedProcess,
        isTrading: Bool,
    ) throws(TickLogError) -> MemoryPassage<TickLogError> {
        if happens(0.002, .redisReset) { throw TickLogError("reset before the command") }
        if isTrading, !begins(call, of: process) { throw TickLogError("not done") }
        return .clear
    }

    // MARK: Processes

    /// What a process works with.
    func context(_ process: SimulatedProcess) -> EngineContext {
        let (skew, drift, offset) = simulator.draw { random -> (Int64, Int64, Int64) in
            guard faults.planned(.clock) > 0 else { return (0, 0, 0) }
            return (
                Int64(random.next() % 1_600_000) - 800_000, Int64(random.next() % 400) - 200,
                Int64(random.next() % 800) - 400,
            )
        }
        let clock = ProcessClock(
            simulator: simulator,
            process: process,
            skewMicroseconds: skew,
            driftPerMillion: drift,
        )
        let simulator = simulator
        let link = storeLink(process)
        return EngineContext(
            orders: MemoryOrderStore(database, link: link),
            accounts: MemoryAccountStore(database),
            cluster: MemoryClusterStore(database, link: link),
            queue: MemoryQueue(queue, worker: process.id, link: queueLink(process)),
            ticks: MemoryTickLog(ticks, link: tickLink(process)),
            venues: SimulatedVenues(world: self, process: process, offsetErrorMs: offset),
            clock: clock,
            observer: SimulatedObserver(world: self, process: process),
            identity: flaws.identity(self),
            random: { simulator.random() },
            worker: process.id,
            beatMs: beatMs,
        )
    }
}

/// Notes what the engine says: warnings and worse in the trace, counters as marks.
struct SimulatedObserver: EngineObserver {
    let world: World
    let process: SimulatedProcess

    func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {
        guard !process.isDead else { return }
        switch level {
        case .debug, .info: return
        case .warning: world.faults.mark("note: \(message)")
        case .error:
            world.faults.mark("error: \(message)")
            world.oracle.engineError("\(message)", metadata, at: world.simulator.milliseconds)
        }
        world.simulator.note("\(process.id): \(message) \(metadata)")
    }

    func count(_ name: StaticString, _ amount: Int) {
        world.faults.count(name)
    }
    func measure(_ name: StaticString, milliseconds: Double) {}
}
