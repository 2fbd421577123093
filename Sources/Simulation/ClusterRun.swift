// One seed: a cluster comes up, traders trade, things go wrong; then everything heals, and what was promised must be true.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

/// The processes of a run and what is done to them.
final class ClusterRun: Sendable {
    private struct State {
        /// The api process that lives now.
        var api: (process: SimulatedProcess, service: CommandService)?
        var lives = 0
        var living: [WorkerID: SimulatedProcess] = [:]
        var isCalm = false
    }

    let world: World
    let setup: Setup
    let safetyMs: Int64
    private let state = Locked(State())

    init(world: World, setup: Setup, safetyMs: Int64) {
        self.world = world
        self.setup = setup
        self.safetyMs = safetyMs
    }

    private var simulator: Simulator { world.simulator }
    func sleep(_ milliseconds: Int64) async { _ = await simulator.sleep(nanoseconds: milliseconds * 1_000_000) }
    private func chance(_ most: Int64) -> Int64 { Int64(simulator.random() % UInt64(most)) }

    // MARK: The whole

    func run() async {
        await begin { for market in self.world.markets { self.world.spawn { await self.movePrices(market) } } }
        world.spawn { await self.breakServers() }
        await sleep(1_000)
        for number in 0..<setup.orders { world.spawn { await self.trade(number) } }
        await sleep(safetyMs)
        await heal()
        await settle()
        world.oracle.judgePrices()
        await finish()
    }

    /// The processes come up, after what `first` starts.
    func begin(_ first: () -> Void = {}) async {
        await setUp()
        first()
        for number in 0..<setup.workers { world.spawn { await self.keep(.worker, number) } }
        for number in 0..<setup.schedulers { world.spawn { await self.keep(.scheduler, number) } }
        world.spawn { await self.keep(.feed, 0) }
        world.spawn { await self.keep(.api, 0) }
    }

    /// Everybody ends.
    func finish() async {
        world.end()
        state.withLock { $0.isCalm = true }
        for process in state.withLock({ $0.living }).sorted(by: { $0.key < $1.key }).map(\.value) { process.kill() }
        for market in world.markets { market.move(world) }
        await world.waitForTasks()
        if simulator.escapes > 0 { world.oracle.report("ESCAPE", "\(simulator.escapes) tasks used a real clock") }
    }

    private func setUp() async {
        let accounts = MemoryAccountStore(world.database)
        do {
            for account in world.accounts {
                try await accounts.create(account, credentials: Credentials(key: "k", secret: "s"))
            }
            try await accounts.save(world.markets.map(\.instrument))
        } catch {
            world.oracle.report("SETUP", "\(error)")
        }
        for market in world.markets { market.move(world, to: 10_000) }
    }

    // MARK: Prices

    private func movePrices(_ market: SimulatedMarket) async {
        while !world.isEnding {
            let (pause, count) = simulator.draw { random in
                (1 + random.exponential(mean: setup.tickMs), random.next() % 20 == 0 ? 2 + random.next() % 10 : 1)
            }
            await sleep(pause)
            if state.withLock({ $0.isCalm }) { continue }
            if chance(20) == 0, let cents = aim(at: market) { market.move(world, to: cents) }
            for _ in 0..<count { market.move(world) }
        }
    }

    /// A price at, just before or just behind a threshold that somebody waits for.
    private func aim(at market: SimulatedMarket) -> Int? {
        let ids = living
        guard !ids.isEmpty, let row = world.oracle.row(ids[Int(chance(Int64(ids.count)))]),
            row.instrument.market == market.series.market, !row.watches.isEmpty
        else { return nil }
        let price: Price
        switch row.watches[Int(chance(Int64(row.watches.count)))].condition {
        case .atOrAbove(let threshold), .atOrBelow(let threshold): price = threshold
        case .trailsHigh, .trailsLow:
            guard let stop = row.effectiveStop?.price else { return nil }
            price = stop
        }
        let cents = price.value.rounded(toMultipleOf: row.instrument.tickSize.value, .floor).units(decimals: 2)
        guard let cents, (5_000...20_000).contains(cents) else { return nil }
        return Int(cents) + Int(chance(3)) - 1
    }

    // MARK: Processes

    /// Keeps one slot of a role filled: whoever dies is started again after a while.
    private func keep(_ role: SimulatedProcess.Role, _ slot: Int) async {
        while !world.isEnding {
            let life = state.withLock { state in
                state.lives += 1
                return state.lives
            }
            let process = SimulatedProcess(role: role, id: WorkerID("\(role.rawValue)-\(slot).\(life)"))
            state.withLock { $0.living[process.id] = process }
            process.atDeath { [world] in world.queue.cutOff(process.id) }
            simulator.note("\(process.id) starts")
            let context = world.context(process)
            world.keep(process.start { await self.main(process, context) })
            if simulator.draw({ $0.happens(0.3 * world.faults[.drain]) }) {
                let after = chance(120_000)
                world.spawn {
                    await self.sleep(after)
                    guard self.world.faults.isOn else { return }
                    self.world.faults.mark(.stoppedInOrder)
                    process.stop()
                }
            }
            await process.waitForEnd()
            process.kill()
            _ = state.withLock { $0.living.removeValue(forKey: process.id) }
            if world.isEnding { return }
            if let script = world.script {
                await sleep(script.restartMs)
            } else {
                await sleep(100 + chance(world.faults.isOn ? 3_000 : 300))
            }
        }
    }

    private func main(_ process: SimulatedProcess, _ context: EngineContext) async {
        do {
            switch process.role {
            case .worker:
                let duty = WorkerDuty(context: context)
                do { try await duty.run() } catch is CancellationError {}
                if !process.isDead { await duty.leave() }
            case .scheduler:
                let scheduler = Scheduler(context: context)
                do { try await scheduler.run() } catch is CancellationError {}
                if !process.isDead { await scheduler.leave() }
            case .feed:
                try await FeedDuty(context: context, source: SimulatedSource(world: world, process: process)).run()
            case .api:
                let history = PriceHistory(ticks: context.ticks, cluster: context.cluster)
                let service = CommandService(context: context, history: history)
                state.withLock { $0.api = (process, service) }
                while true { try await context.clock.sleep(milliseconds: 60_000) }
            }
        } catch {
            simulator.note("\(process.id) ends: \(error)")
        }
    }

    // MARK: Faults of servers

    private func breakServers() async {
        let faults = world.faults
        // One in `long` lasts up to a minute.
        func outage(_ fault: FaultClass, long: Int64 = .max, _ set: @escaping @Sendable (Bool) -> Void) {
            guard faults.planned(fault) > 0 else { return }
            world.spawn {
                while faults.isOn {
                    await self.sleep(Int64(Double(5_000 + self.chance(240_000)) / faults.planned(fault)))
                    guard faults.isOn else { return }
                    faults.mark(fault.name)
                    self.simulator.note(fault.name)
                    set(true)
                    await self.sleep(100 + self.chance(self.chance(long) == 0 ? 60_000 : 10_000))
                    set(false)
                }
            }
        }
        let world = world
        outage(.pgOutage) { world.setPostgresAway($0) }
        outage(.redisOutage) { isAway in
            world.queue.setAway(isAway)
            world.ticks.setAway(isAway)
        }
        outage(.halt) { world.database.setHalted($0) }
        outage(.venueOutage, long: 8) { isAway in
            world.venue.setAway(isAway, dumb: isAway && self.simulator.random() % 3 == 0)
        }
        if faults.planned(.blackout) > 0 { world.spawn { await self.blackOut() } }
        outage(.redisLoss) { isLost in
            guard isLost else { return }
            world.queue.loseAll()
            world.ticks.loseAll()
        }
    }

    /// What was offered and not taken is lost with everybody who knew of it.
    private func blackOut() async {
        let faults = world.faults
        while faults.isOn {
            await sleep(Int64(Double(10_000 + chance(240_000)) / faults.planned(.blackout)))
            guard faults.isOn else { return }
            simulator.note("blackout")
            faults.mark(.blackout)
            world.queue.setPaused(true)
            await sleep(500 + chance(3_000))
            let isWhole = chance(2) == 0
            for process in state.withLock({ $0.living }).sorted(by: { $0.key < $1.key }).map(\.value)
            where isWhole || chance(2) == 0 {
                process.kill()
            }
            if chance(2) == 0 {
                world.queue.loseAll()
                world.ticks.loseAll()
            }
            world.queue.setPaused(false)
        }
    }

    // MARK: Traders

    private static let user = Actor(kind: .user, id: "trader")

    /// One trader: makes an order at some moment, then gives commands.
    private func trade(_ number: Int) async {
        await sleep(chance(max(1, safetyMs * 9 / 10)))
        guard world.faults.isOn || world.faults.plan == .none else { return }
        let market = world.markets[Int(chance(Int64(world.markets.count)))]
        let side: Side = chance(2) == 0 ? .buy : .sell
        let account = world.accounts[(side == .buy ? 0 : 1) + (market.instrument.kind.isDerivative ? 0 : 2)]
        if chance(6) == 0 { return await tradeConditional(number, market, side, account) }
        var order: OrderID?
        for attempt in 0..<3 where order == nil {
            let now = Timestamp(microseconds: ProcessClock.epoch + simulator.nanoseconds / 1_000)
            let draft = simulator.draw { Traders.draft(around: market.cents, side: side, now: now, &$0) }
            let key = IdempotencyRecord(owner: "trader", key: "create-\(number)-\(attempt)", requestHash: "h")
            order = await ask { service in
                try await service.create(
                    draft,
                    market: market.series.market,
                    account: account.id,
                    actor: Self.user,
                    idempotency: key,
                ).order.id
            }
        }
        guard let order else { return }
        if world.faults[.feed] > 0, chance(3) == 0 { wick(market, order) }
        var count = 0
        while world.faults.isOn || world.faults.plan == .none, !state.withLock({ $0.isCalm }), chance(3) > 0 {
            await sleep(1_000 + chance(120_000))
            guard !world.isEnding, let row = world.oracle.row(order), !row.status.isTerminal else { return }
            let command = simulator.draw { Traders.command(around: market.cents, &$0) }
            count += 1
            let key = IdempotencyRecord(owner: "trader", key: "command-\(number)-\(count)", requestHash: "h")
            simulator.note("trader \(number): \(command)")
            let version: Int64? = chance(4) == 0 ? row.version : nil
            _ = await ask { service in
                try await service.execute(command, on: order, version: version, actor: Self.user, idempotency: key)
                    .isCommitted
            }
        }
    }

    /// The price is behind the stop for a moment while the entry is on its way: whoever hears of the fill before he hears of
    /// that price must not fire on it.
    private func wick(_ market: SimulatedMarket, _ order: OrderID) {
        guard let row = world.oracle.row(order), row.status == .pending,
            let stop = row.draft.stopLoss?.price.value.units(decimals: 2)
        else { return }
        let back = market.cents
        market.move(world, to: Int(stop) + (row.draft.side == .buy ? -5 : 5))
        market.move(world, to: back)
    }

    /// One trader who makes a conditional order, and perhaps cancels it.
    private func tradeConditional(_ number: Int, _ market: SimulatedMarket, _ side: Side, _ account: Account) async {
        var order: OrderID?
        for attempt in 0..<3 where order == nil {
            let now = Timestamp(microseconds: ProcessClock.epoch + simulator.nanoseconds / 1_000)
            let draft = simulator.draw { random in
                Traders.conditional(
                    around: market.cents,
                    side: side,
                    isDerivative: market.instrument.kind.isDerivative,
                    now: now,
                    &random,
                )
            }
            let key = IdempotencyRecord(owner: "trader", key: "create-\(number)-\(attempt)", requestHash: "h")
            order = await ask { service in
                try await service.create(
                    draft,
                    market: market.series.market,
                    account: account.id,
                    actor: Self.user,
                    idempotency: key,
                ).stored.id
            }
        }
        guard let order, chance(3) == 0 else { return }
        await sleep(1_000 + chance(200_000))
        guard world.faults.isOn || world.faults.plan == .none, !state.withLock({ $0.isCalm }) else { return }
        let key = IdempotencyRecord(owner: "trader", key: "command-\(number)-1", requestHash: "h")
        _ = await ask { service in
            try await service.execute(.cancel, on: order, version: nil, actor: Self.user, idempotency: key).isCommitted
        }
    }

    /// Repeats a request, at whichever api process lives, until there is an answer. Nil: refused, or nobody answered.
    func ask<Answer: Sendable>(_ body: (CommandService) async throws -> Answer) async -> Answer? {
        for _ in 0..<20 {
            if let (process, service) = state.withLock({ $0.api }), !process.isDead {
                do {
                    let answer = try await body(service)
                    if !world.happens(0.1, .trader) { return answer }
                } catch let error as CommandError {
                    switch error {
                    case .refused, .versionMismatch: return nil
                    case .keyReused:
                        world.oracle.report("GA10", "a request that was repeated is said to be another one")
                        return nil
                    case .keyBusy, .priceUnavailable, .unavailable, .venueUnavailable, .recovering: break
                    }
                } catch {
                    return nil
                }
            }
            await sleep(200 + chance(2_000))
        }
        return nil
    }

    // MARK: The end

    /// All faults end; whoever is held up goes on.
    private func heal() async {
        simulator.note("everything heals")
        world.faults.turnOff()
        state.withLock { $0.isCalm = true }
        world.queue.setPaused(false)
        world.setPostgresAway(false)
        world.queue.setAway(false)
        world.ticks.setAway(false)
        world.venue.setAway(false)
        world.database.setHalted(false)
        for process in state.withLock({ $0.living }).sorted(by: { $0.key < $1.key }).map(\.value) {
            process.goOn()
            world.queue.restore(process.id)
        }
        // No price moves: whatever was in doubt has been asked for by then, and every cancel has arrived. A job that
        // crashed three workers rests for a minute.
        await sleep(100_000)
        for id in living {
            guard let row = world.oracle.row(id), world.oracle.changedAt(id) < simulator.milliseconds - 90_000 else {
                continue
            }
            for order in row.venueOrders {
                switch order.state {
                case .submitted, .unknown, .cancelRequested:
                    world.oracle.report(
                        "PR14",
                        "\(id)-\(order.leg)-\(order.attempt) is still \(order.state.rawValue) long after the faults",
                    )
                case .intent, .open, .partial, .filled, .cancelled, .expired, .rejected, .notSent, .absent: break
                }
            }
        }
    }

    private var living: [OrderID] {
        world.oracle.livingIDs
    }

    /// Whatever is armed is reached, whatever is left is closed by hand: then everything has ended within two minutes.
    private func settle() async {
        for factor in [97, 103, 90, 115, 60, 190] {
            for market in world.markets { market.move(world, to: 10_000 * factor / 100) }
            await sleep(5_000)
        }
        var wait = 0
        while !living.isEmpty || !world.oracle.openConditionals.isEmpty, wait < 30 {
            for id in world.oracle.openConditionals where wait % 6 == 0 {
                let key = IdempotencyRecord(owner: "trader", key: "end-\(id)-\(wait)", requestHash: "h")
                _ = await ask { service in
                    try await service.execute(.cancel, on: id, version: nil, actor: Self.user, idempotency: key)
                        .isCommitted
                }
            }
            for id in living where wait % 6 == 0 {
                guard let row = world.oracle.row(id) else { continue }
                let command: Command = row.status.isOpen ? .closeMarket : .cancel
                let key = IdempotencyRecord(owner: "trader", key: "end-\(id)-\(wait)", requestHash: "h")
                _ = await ask { service in
                    try await service.execute(command, on: id, version: nil, actor: Self.user, idempotency: key)
                        .isCommitted
                }
            }
            await sleep(5_000)
            wait += 1
            for market in world.markets { market.move(world) }
        }
        await sleep(5_000)
        for id in living {
            guard let row = world.oracle.row(id) else { continue }
            let orders = row.venueOrders.map { "\($0.leg)-\($0.attempt) \($0.state.rawValue)" }
            world.oracle.report(
                "PR14",
                "\(id) never ended: \(row.status.rawValue) \(row.phase?.rawValue ?? "-") \(row.health.rawValue) "
                    + "version \(row.version), remaining \(row.remaining), \(orders)",
            )
        }
        for id in world.oracle.openConditionals { world.oracle.report("PR14", "\(id) never ended") }
        for id in world.venue.resting { world.oracle.report("PR4", "\(id) rests at the venue after the end") }
        world.oracle.judgeSums()
        await judgeShards()
        await judgeRows()
    }

    private func judgeShards() async {
        do {
            let holders = try await MemoryClusterStore(world.database).holders()
            let free = holders.count { holder in holder.map { !world.database.holdsLease($0) } ?? true }
            if free > 0 { world.oracle.report("PR14", "\(free) shards without a living owner") }
        } catch {
            world.oracle.report("PR14", "\(error)")
        }
    }

    /// No venue order is in doubt, and every order has its events.
    func judgeRows() async {
        do {
            let store = MemoryOrderStore(world.database)
            for intent in try await store.intents(of: world.oracle.orderIDs, ended: false) {
                world.oracle.report(
                    "PR14",
                    "\(intent.order)-\(intent.venueOrder.leg)-\(intent.venueOrder.attempt) is "
                        + intent.venueOrder.state.rawValue,
                )
            }
            for id in world.oracle.orderIDs {
                let events = try await store.events(order: id, after: 0, limit: .max)
                guard let row = world.oracle.row(id) else { continue }
                if events.map(\.version) != Array(1...row.version) { world.oracle.report("PR6", "\(id): events") }
            }
        } catch {
            world.oracle.report("PR14", "\(error)")
        }
    }
}
