import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// Counts and keeps what went wrong.
final class TestObserver: EngineObserver {
    private let notes = Locked<[String]>([])
    private let counts = Locked<[String: Int]>([:])
    var errors: [String] { notes.withLock { $0 } }
    func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {
        guard level == .error || level == .warning else { return }
        notes.withLock { $0.append("\(message) \(metadata)") }
    }
    func count(_ name: StaticString, _ amount: Int) { counts.withLock { $0["\(name)", default: 0] += amount } }
    func count(of name: String) -> Int { counts.withLock { $0[name] ?? 0 } }
    func measure(_ name: StaticString, milliseconds: Double) {}
}

/// The clock of the machine, some times faster: leases, fences and pauses shrink alike.
struct FastClock: EngineClock {
    private let real = RealClock()
    private let start: Int64
    private let speed: Int64

    init(speed: Int64) {
        self.speed = speed
        start = real.monotonicNanoseconds()
    }

    func monotonicNanoseconds() -> Int64 { (real.monotonicNanoseconds() - start) * speed }
    func now() -> Timestamp { Timestamp(microseconds: 1_790_000_000_000_000 + monotonicNanoseconds() / 1_000) }
    func sleep(milliseconds: Int64) async throws {
        try await Task.sleep(for: .microseconds(milliseconds * 1_000 / speed))
    }
}

/// A cluster in memory: any number of workers, a scheduler, a feed that a test drives.
final class Cluster: Sendable {
    let clock: any EngineClock
    let database: MemoryDatabase
    let queue: MemoryQueueServer
    let ticks: MemoryTickServer
    let venue: FakeVenue
    let observer = TestObserver()
    let account = AccountID.sample(1)
    let instrument = Instrument(
        market: MarketID(venue: "paper", product: "linear", symbol: "DEMO"),
        kind: .perpetual,
        tickSize: Price(ExactDecimal(mantissa: 1, scale: 2)),
        stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 1)),
        baseAsset: "DEMO",
        quoteAsset: "USDT",
        native: [.takeProfit, .stop, .pair, .backstop],
    )
    let identity = VenueIdentity { bytes in
        // Not a digest of any strength; wide enough to tell the ids of a test apart.
        (0..<4).flatMap { word -> [UInt8] in
            var generator = SeededRandom(
                seed: bytes.reduce(UInt64(word)) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
            )
            var mixed = generator.next()
            return (0..<8).map { _ in
                defer { mixed >>= 8 }
                return UInt8(truncatingIfNeeded: mixed)
            }
        }
    }
    private let random: Locked<SeededRandom>
    private let recovery: MemoryRecovery?
    /// Names of killed workers: their calls fail from then on.
    private let dead = Locked<Set<WorkerID>>([])
    private let sequence = Locked<Int64>(0)

    init(
        seed: UInt64 = 1,
        speed: Int64 = 10,
        streamLength: Int = 100_000,
        venue rules: FakeVenue.Rules = FakeVenue.Rules(),
    ) {
        let clock = FastClock(speed: speed)
        self.clock = clock
        database = MemoryDatabase(clock: clock)
        queue = MemoryQueueServer(clock: clock)
        ticks = MemoryTickServer(clock: clock, length: streamLength)
        venue = FakeVenue(clock: clock, rules: rules)
        random = Locked(SeededRandom(seed: seed))
        recovery = nil
    }

    /// The cluster that begins on an older copy of another's database: the same venue, an empty queue and stream.
    init(restoring other: Cluster, from copy: MemoryDatabase) {
        clock = other.clock
        database = copy
        queue = MemoryQueueServer(clock: other.clock)
        ticks = MemoryTickServer(clock: other.clock, length: 100_000)
        venue = other.venue
        random = Locked(SeededRandom(seed: 77))
        recovery = MemoryRecovery(began: other.clock.now(), fenceMs: other.venue.fenceMs, clock: other.clock, copy)
        sequence.withLock { $0 = 1_000_000 }
    }

    var series: PriceSeries { PriceSeries(market: instrument.market, source: .mark) }
    var orders: MemoryOrderStore { MemoryOrderStore(database) }

    func setUp() async throws {
        let accounts = MemoryAccountStore(database)
        try await accounts.create(
            Account(
                id: account,
                name: "a",
                venue: "paper",
                product: "linear",
                mode: .paper,
                maximumConditionals: 10_000,
            ),
            credentials: Credentials(key: "k", secret: "s"),
        )
        try await accounts.save([instrument])
        try await tick(100)
    }

    func context(_ name: String, backfills: (any BackfillStore)? = nil) -> EngineContext {
        let id = WorkerID(name)
        let dead = dead
        let random = random
        let fault: MemoryLink<StoreError>.Step = { _ throws(StoreError) in
            if dead.withLock({ $0.contains(id) }) { throw StoreError(.unavailable, "the process is dead") }
        }
        let link = MemoryLink(send: fault, answer: fault)
        return EngineContext(
            orders: MemoryOrderStore(database, link: link),
            accounts: MemoryAccountStore(database),
            cluster: MemoryClusterStore(database, link: link),
            queue: MemoryQueue(queue, worker: id),
            ticks: MemoryTickLog(ticks),
            venues: FakeVenues(venue),
            clock: clock,
            observer: observer,
            identity: identity,
            random: { random.withLock { $0.next() } },
            worker: id,
            timeline: MemoryTimelineStore(database),
            recovery: recovery,
            backfills: backfills,
        )
    }

    /// The process is gone: nothing that it does reaches a store any more, its queue leases run out.
    func kill(_ name: String) {
        _ = dead.withLock { $0.insert(WorkerID(name)) }
        queue.cutOff(WorkerID(name))
    }

    /// Runs workers and a scheduler while `body` runs.
    func run(_ workers: [String], _ body: @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup { group in
            for name in workers { group.addTask { try await WorkerDuty(context: self.context(name)).run() } }
            group.addTask { try await Scheduler(context: self.context("scheduler")).run() }
            try await body()
            group.cancelAll()
            do { while try await group.next() != nil {} } catch is CancellationError {}
        }
        try await expectReplayable()
    }

    /// Every version that was stored comes of its record again, on the row before it.
    func expectReplayable() async throws {
        let timeline = MemoryTimelineStore(database)
        for order in try await orders.list(OrderFilter(account: account, limit: .max)) {
            var before: StoredOrder?
            for version in try await timeline.versions(of: order.id, after: 0, limit: .max) {
                let steps = try DecisionReplay.steps(of: version, before: before)
                #expect(steps?.last?.after == version.order, "version \(version.version) of \(order.id)")
                #expect(steps?.flatMap(\.facts) == version.facts, "version \(version.version) of \(order.id)")
                before = version.order
            }
        }
    }

    // MARK: Prices

    /// Publishes ticks as a feed does: to the venue, the stream, and the stored extremes.
    func tick(_ prices: Int..., stored: Bool = true) async throws { try await tick(prices.map { $0 * 100 }, stored) }

    /// The same in hundredths.
    func tick(_ cents: [Int], _ stored: Bool = true) async throws {
        for cent in cents {
            let number = sequence.withLock { sequence in
                sequence += 1
                return sequence
            }
            let price = Price(ExactDecimal(mantissa: Int128(cent), scale: 2))
            venue.setPrice(price)
            let position = TickPosition(venueTime: clock.now().microseconds, sequence: number)
            let units = Int64(cent) * 1_000_000
            let tick = RawTick(position: position, price: units, receivedAt: 0)
            do { try await MemoryTickLog(ticks).append([tick], to: series) } catch {}
            guard stored else { continue }
            try await MemoryClusterStore(database).appendExtremes([
                ExtremeBucket(
                    market: instrument.market,
                    source: .mark,
                    points: [.init(position: position, price: units)],
                )
            ])
        }
    }

    /// Whether an order waits to be compared with the venue.
    func isUnrecovered(_ id: OrderID) async throws -> Bool {
        guard let recovery else { return false }
        return try await recovery.recoveryState(of: id, fenceMs: 0) != .recovered
    }

    // MARK: Orders

    func service(_ name: String = "api") -> CommandService {
        let context = context(name)
        return CommandService(context: context, history: PriceHistory(ticks: context.ticks, cluster: context.cluster))
    }

    func create(_ draft: Draft) async throws -> SmartOrder {
        try await service().create(
            draft,
            market: instrument.market,
            account: account,
            actor: Actor(kind: .user, id: "u"),
            idempotency: nil,
        ).order
    }

    func order(_ id: OrderID) async throws -> SmartOrder {
        guard let order = try await orders.smart([id]).first else { throw StoreError(.corruptRow, "gone") }
        return order
    }

    func create(conditional draft: ConditionalDraft) async throws -> ConditionalOrder {
        try await service().create(
            draft,
            market: instrument.market,
            account: account,
            actor: Actor(kind: .user, id: "u"),
            idempotency: nil,
        ).conditional
    }

    func conditional(_ id: OrderID) async throws -> ConditionalOrder {
        guard let order = try await orders.load([id]).first?.conditional else {
            throw StoreError(.corruptRow, "gone")
        }
        return order
    }

    /// Waits until a conditional order has ended.
    func end(ofConditional id: OrderID) async throws -> ConditionalOrder {
        let start = RealClock().monotonicNanoseconds()
        while true {
            let order = try await conditional(id)
            if order.status.isTerminal { return order }
            guard RealClock().monotonicNanoseconds() - start < 60_000_000_000 else {
                throw StoreError(.unavailable, "still \(order.status) \(order.venueOrders) \(observer.errors)")
            }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Waits until the order fulfils the condition; gives up after `seconds` of real time.
    func wait(
        for id: OrderID,
        seconds: Int = 60,
        until: @Sendable (SmartOrder) -> Bool,
    ) async throws -> SmartOrder {
        let start = RealClock().monotonicNanoseconds()
        while true {
            let order = try await order(id)
            if until(order) { return order }
            guard RealClock().monotonicNanoseconds() - start < Int64(seconds) * 1_000_000_000 else {
                throw NeverCame(order: order, notes: observer.errors)
            }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Waits until some worker has evaluated everything that was published, with nothing open.
    func settle(seconds: Int = 60) async throws {
        let start = RealClock().monotonicNanoseconds()
        while true {
            let end = try await MemoryTickLog(ticks).latest(series)?.position ?? .start
            let progress = try await MemoryTickLog(ticks).progress(series)
            if progress.contains(where: { $0.position >= end && $0.open == 0 && $0.orders > 0 }) { return }
            guard RealClock().monotonicNanoseconds() - start < Int64(seconds) * 1_000_000_000 else {
                throw StoreError(.unavailable, "never settled: \(progress) \(observer.errors)")
            }
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}

struct NeverCame: Error, CustomStringConvertible {
    let order: SmartOrder
    let notes: [String]
    var description: String {
        "still \(order.status) \(order.phase.map { "\($0)" } ?? "-") v\(order.version) exited \(order.exited) "
            + "venue orders \(order.venueOrders.map { "\($0.key) \($0.state)" }) latch \(String(describing: order.latch)); "
            + notes.suffix(5).joined(separator: "; ")
    }
}

extension Draft {
    /// A long of 10 held coins.
    static func held(
        _ levels: [(Int, Int)] = [],
        stop: Int? = nil,
        trailing: Int128? = nil,
        breakEven: Bool = false,
        quantity: Int = 10,
    ) -> Draft {
        Draft(
            side: .buy,
            quantity: Quantity(ExactDecimal(quantity)),
            entry: EntryPlan(mode: .attach, price: Price(ExactDecimal(100))),
            takeProfits: levels.map {
                TakeProfitPlan(target: .price(Price(ExactDecimal($0.0))), sizePercent: ExactDecimal($0.1))
            },
            stopLoss: stop.map { StopLossPlan(price: Price(ExactDecimal($0))) },
            trailing: trailing.map { TrailingPlan(callback: .rate(Rate(ExactDecimal(mantissa: $0, scale: 3)))) },
            breakEven: breakEven ? BreakEvenPlan(enabled: true) : nil,
        )
    }
}
