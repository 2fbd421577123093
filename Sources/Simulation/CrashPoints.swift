// Every boundary of the placement protocol, by number instead of by chance (RELIABILITY.md 2.2, 8.8.4).
//
// A scene is one exit, or one wish of a trader, from the moment that starts it until nothing is left to do. Its calls to
// stores, queue and venue are numbered as they come; a crash point names one of them, what becomes of it and of the
// process that made it. Without a point a scene is clean and tells how many calls it has. The seed is the same for all:
// up to the named call every run of a scene is the same.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

/// What happens to the order of a scene.
package enum CrashScene: String, Hashable, Sendable, CaseIterable {
    /// A stop is crossed.
    case stop
    /// A stop is crossed while a target rests at the venue.
    case stopOverTarget
    /// The only target is crossed.
    case target
    /// A conditional order is crossed.
    case conditional
    /// An order enters at the market, then its stop is crossed.
    case entry
    /// A trader closes an order.
    case close
    /// A trader cancels an order whose entry rests at the venue.
    case cancelEntry
}

/// One place in one scene, and what goes wrong there.
package struct CrashPoint: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable, CaseIterable {
        /// The process dies; the call was never made.
        case diesBefore
        /// The call took effect; the process dies before it hears so.
        case diesAfter
        /// The call took no effect, and nobody knows; the process goes on.
        case notDone
        /// The call took effect, and its answer is lost; the process goes on.
        case answerLost
        /// The same, and the process dies at its next call.
        case notDoneThenDies
        case answerLostThenDies

        package var isDeadly: Bool {
            switch self {
            case .diesBefore, .diesAfter, .notDoneThenDies, .answerLostThenDies: true
            case .notDone, .answerLost: false
            }
        }
    }

    /// Counted from 0.
    package let call: Int
    package let kind: Kind
    /// The dead process is there again before its lease lapses, or long after.
    package let restartsLate: Bool

    package init(call: Int, kind: Kind, restartsLate: Bool = false) {
        self.call = call
        self.kind = kind
        self.restartsLate = restartsLate
    }
}

extension CrashPoint {
    /// Every point of a scene of so many calls.
    package static func all(calls: Int) -> [CrashPoint] {
        (0..<calls).flatMap { call in
            Kind.allCases.flatMap { kind in
                (kind.isDeadly ? [false, true] : [false]).map { CrashPoint(call: call, kind: kind, restartsLate: $0) }
            }
        }
    }
}

/// What came of a scene.
package struct CrashOutcome: Sendable {
    package let violations: [Violation]
    /// Who called what, up to the moment when nothing was left to do.
    package let calls: [String]
    package let milliseconds: Int64
    package let trace: [String]
}

extension Simulation {
    /// Plays one scene on a thread of its own.
    ///
    /// - Parameter workers: how many there are; another one may finish what the first one began.
    package static func play(
        _ scene: CrashScene,
        _ point: CrashPoint?,
        workers: Int,
        mutant: Mutant? = nil,
        traceLines: Int = 0,
    ) async -> CrashOutcome {
        await withCheckedContinuation { done in
            OwnerThread.start(name: "simulation") {
                done.resume(returning: playHere(scene, point, workers, mutant, traceLines))
            }
        }
    }

    private static func playHere(
        _ scene: CrashScene,
        _ point: CrashPoint?,
        _ workers: Int,
        _ mutant: Mutant?,
        _ traceLines: Int,
    ) -> CrashOutcome {
        let setup = Setup(workers: workers, isDerivative: scene != .conditional)
        let simulator = Simulator(seed: 1, traceLimit: traceLines)
        let script = CallScript(point)
        let world = World(simulator: simulator, plan: .none, mutant: mutant, setup: setup, script: script)
        let run = ClusterRun(world: world, setup: setup, safetyMs: 0)
        switch simulator.runHere({ await run.play(scene) }) {
        case .finished: break
        case .deadlock: world.oracle.report("DEADLOCK", "nobody goes on")
        case .busyLoop: world.oracle.report("BUSY", "two million steps in one moment")
        }
        return CrashOutcome(
            violations: world.oracle.violations,
            calls: script.calls,
            milliseconds: simulator.milliseconds,
            trace: simulator.trace,
        )
    }
}

extension Setup {
    /// One market, one account for each side, a venue that takes an id twice.
    fileprivate init(workers: Int, isDerivative: Bool) {
        var random = SeededRandom(seed: 1)
        self.init(&random, safetyMs: 0)
        markets = markets.filter { $0.kind.isDerivative == isDerivative }.prefix(1).map { $0 }
        habits = VenueHabits()
        habits.ids = .notChecked
        habits.windowMs = 1_000
        habits.engineBoundMs = 200
        habits.queryLagMs = 200
        self.workers = workers
        schedulers = 1
        streamLength = 1_000
        beatMs = 250
    }
}

/// Numbers the calls of a scene and says what becomes of each.
final class CallScript: Sendable {
    enum Turn { case passes, diesBefore, fails, losesAnswer, diesAfter }

    private struct State {
        var isCounting = false
        var calls: [String] = []
        /// Dies at its next call.
        var doomed: WorkerID?
        /// What waits for the end of a call.
        var pending: (process: WorkerID, turn: Turn)?
    }

    let point: CrashPoint?
    private let state = Locked(State())

    init(_ point: CrashPoint?) {
        self.point = point
    }

    var calls: [String] { state.withLock { $0.calls } }
    func begin() { state.withLock { $0.isCounting = true } }
    func end() { state.withLock { $0.isCounting = false } }

    /// How long a dead process stays away.
    var restartMs: Int64 { point?.restartsLate == true ? 4_000 : 100 }

    /// The next call of a process that counts.
    func next(_ call: StaticString, of process: SimulatedProcess) -> Turn {
        state.withLock { state in
            if state.doomed == process.id {
                state.doomed = nil
                return .diesBefore
            }
            guard state.isCounting else { return .passes }
            state.calls.append("\(process.id) \(call)")
            guard let point, state.calls.count == point.call + 1 else { return .passes }
            switch point.kind {
            case .diesBefore: return .diesBefore
            case .diesAfter: return .diesAfter
            case .notDone: return .fails
            case .answerLost: return .losesAnswer
            case .notDoneThenDies:
                state.doomed = process.id
                return .fails
            case .answerLostThenDies:
                state.doomed = process.id
                return .losesAnswer
            }
        }
    }

    /// Nothing happens between the end of a call's way there and the beginning of its way back.
    func keep(_ turn: Turn, for process: SimulatedProcess) {
        state.withLock { $0.pending = (process.id, turn) }
    }

    func takeKept(for process: SimulatedProcess) -> Turn {
        state.withLock { state in
            guard let pending = state.pending, pending.process == process.id else { return .passes }
            state.pending = nil
            return pending.turn
        }
    }
}

extension ClusterRun {
    private static let user = Actor(kind: .user, id: "trader")
    /// Longer than the fence, the lease, a quarantine of a job and a minute of the sweep together.
    private static let patienceMs: Int64 = 200_000

    /// One scene from its beginning to its end.
    func play(_ scene: CrashScene) async {
        await begin()
        await sleep(300)
        await untilReady()
        let market = world.markets[0]
        let id = await make(scene)
        // Armed where it is to be armed.
        await sleep(700)
        world.script?.begin()
        switch scene {
        case .stop, .conditional: market.move(world, to: 9_650)
        case .target: market.move(world, to: 10_350)
        case .stopOverTarget:
            market.move(world, to: 10_300)
            market.move(world, to: 10_250)
            await sleep(2_000)
            market.move(world, to: 9_650)
        case .entry:
            await sleep(1_500)
            market.move(world, to: 9_650)
        case .close: await command(.closeMarket, on: id)
        case .cancelEntry: await command(.cancel, on: id)
        }
        let isOver = await untilNothingIsLeft(id)
        world.script?.end()
        // Whoever would do something twice does it now.
        await sleep(1_500)
        if !isOver { world.oracle.report("PR14", "the scene never ended: \(standing(of: id))") }
        for id in world.venue.resting { world.oracle.report("PR4", "\(id) rests at the venue after the end") }
        if scene == .cancelEntry, world.venue.acceptedCount != 1 { world.oracle.report("PR1", "an entry came twice") }
        world.oracle.judgeSums()
        await judgeRows()
        world.oracle.judgePrices()
        await finish()
    }

    /// Every shard has a living holder, and somebody answers traders.
    private func untilReady() async {
        for _ in 0..<100 {
            do {
                let holders = try await MemoryClusterStore(world.database).holders()
                if holders.allSatisfy({ $0.map { world.database.holdsLease($0) } ?? false }) { return }
            } catch {
                world.oracle.report("SETUP", "\(error)")
            }
            await sleep(100)
        }
        world.oracle.report("SETUP", "the shards are not held")
    }

    private func make(_ scene: CrashScene) async -> OrderID? {
        let market = world.markets[0]
        func price(_ units: Int) -> Price { Price(ExactDecimal(units)) }
        let quantity = Quantity(ExactDecimal(10))
        let key = IdempotencyRecord(owner: "trader", key: "create", requestHash: "h")
        if scene == .conditional {
            let draft = ConditionalDraft(kind: .stopLoss, side: .sell, quantity: quantity, trigger: price(97))
            let account = world.accounts[3].id
            return await ask { service in
                try await service.create(
                    draft,
                    market: market.series.market,
                    account: account,
                    actor: Self.user,
                    idempotency: key,
                ).stored.id
            }
        }
        var draft = Draft(
            side: .buy,
            quantity: quantity,
            entry: EntryPlan(mode: .attach, price: price(100)),
        )
        switch scene {
        case .stop, .close, .conditional: break
        case .stopOverTarget:
            draft.takeProfits = [
                TakeProfitPlan(target: .price(price(103)), sizePercent: ExactDecimal(100), execution: .limit)
            ]
        case .target: draft.takeProfits = [TakeProfitPlan(target: .price(price(103)), sizePercent: ExactDecimal(100))]
        case .entry:
            draft.entry = EntryPlan(mode: .market)
            // The entry is a part of the scene.
            world.script?.begin()
        case .cancelEntry: draft.entry = EntryPlan(mode: .limit, price: price(98))
        }
        draft.stopLoss = StopLossPlan(price: price(97))
        let account = world.accounts[0].id
        let plan = draft
        return await ask { service in
            try await service.create(
                plan,
                market: market.series.market,
                account: account,
                actor: Self.user,
                idempotency: key,
            ).order.id
        }
    }

    private func command(_ command: Command, on id: OrderID?) async {
        guard let id else { return }
        let key = IdempotencyRecord(owner: "trader", key: "command", requestHash: "h")
        _ = await ask { service in
            try await service.execute(command, on: id, version: nil, actor: Self.user, idempotency: key).isCommitted
        }
    }

    private func untilNothingIsLeft(_ id: OrderID?) async -> Bool {
        let market = world.markets[0]
        for beat in 0..<Self.patienceMs / 100 {
            if isNothingLeft(id) { return true }
            // The market trades on where it is.
            if beat % 20 == 19 { market.move(world, to: market.cents) }
            await sleep(100)
        }
        return false
    }

    private func isNothingLeft(_ id: OrderID?) -> Bool {
        guard let id, world.oracle.livingIDs.isEmpty, world.oracle.openConditionals.isEmpty else { return false }
        return !world.database.hasWork(for: id) && world.queue.openCount == 0
    }

    private func standing(of id: OrderID?) -> String {
        guard let id else { return "nobody took the order" }
        let row = world.oracle.row(id)
        return "\(id) \(row?.status.rawValue ?? "-") \(row?.phase?.rawValue ?? "-"), "
            + "\(row?.venueOrders.map { "\($0.leg)-\($0.attempt) \($0.state.rawValue)" } ?? []), "
            + "\(world.queue.openCount) jobs in the queue"
    }
}
