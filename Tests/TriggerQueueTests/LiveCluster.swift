// A cluster of engine duties on a real PostgreSQL and a real Redis queue; prices and the exchange are a test's own.
import LocalServers
import OrderEngine
import OrderStorage
import OwnerThread
import PostgresClient
import RedisClient
import Simulation
import SmartOrders
import TestKit
import Testing
import TriggerQueue

/// Asks until `answer` gives one; a test fails after a minute.
func eventually<Value>(_ what: String, _ answer: () async throws -> Value?) async throws -> Value {
    let clock = ContinuousClock()
    let limit = clock.now + .seconds(60)
    while clock.now < limit {
        if let value = try await answer() { return value }
        try await Task.sleep(for: .milliseconds(10))
    }
    return try #require(try await answer(), "\(what): not within a minute")
}

/// An exchange that keeps its answers back while it is told to.
final class GatedVenue: Venue {
    let exchange: FakeVenue
    private let isShut = Locked(false)

    init(_ exchange: FakeVenue) { self.exchange = exchange }

    func shut(_ isShut: Bool) { self.isShut.withLock { $0 = isShut } }

    var fenceMs: Int64 { exchange.fenceMs }
    var windowMs: Int64 { exchange.windowMs }
    func venueTime() -> Timestamp { exchange.venueTime() }
    func place(_ placement: Placement) async -> PlacementAnswer {
        let answer = await exchange.place(placement)
        while isShut.withLock({ $0 }) {
            do { try await Task.sleep(for: .milliseconds(5)) } catch { break }
        }
        return answer
    }
    func cancel(market: MarketID, clientOrderID: String) async -> CancelAnswer {
        await exchange.cancel(market: market, clientOrderID: clientOrderID)
    }
    func lookUp(market: MarketID, clientOrderID: String) async -> LookUpAnswer {
        await exchange.lookUp(market: market, clientOrderID: clientOrderID)
    }
    var isHedged: Bool { exchange.isHedged }
    func holding(market: MarketID, side: Side, fresh: Bool) async -> Holding? {
        await exchange.holding(market: market, side: side, fresh: fresh)
    }
    func freeBalance(asset: String) async -> ExactDecimal? { await exchange.freeBalance(asset: asset) }
    func resting(market: MarketID, venueOrderID: String) async throws(VenueError) -> RestingOrder? {
        try await exchange.resting(market: market, venueOrderID: venueOrderID)
    }
    func instruments() async throws(VenueError) -> [Instrument] { [] }
    func events() -> AsyncStream<VenueStreamEvent> { AsyncStream { _ in } }
}

private struct NoSecrets: SecretBox {
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8] { secret }
    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] { sealed }
}

private struct Silence: EngineObserver {
    func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {}
    func count(_ name: StaticString, _ amount: Int) {}
    func measure(_ name: StaticString, milliseconds: Double) {}
}

/// Wide enough to tell the ids of a test apart; of no strength.
private func digest(_ bytes: [UInt8]) -> [UInt8] {
    (0..<4).flatMap { word -> [UInt8] in
        var random = SeededRandom(seed: bytes.reduce(UInt64(word)) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 })
        var mixed = random.next()
        return (0..<8).map { _ in
            defer { mixed >>= 8 }
            return UInt8(truncatingIfNeeded: mixed)
        }
    }
}

final class LiveCluster: Sendable {
    let server: LocalRedis
    /// Where the queues are: the server, or who knows it.
    private let redis: RedisAddress
    let pool: PostgresPool
    let orders: PostgresOrderStore
    let accounts: PostgresAccountStore
    let store: PostgresClusterStore
    let venue = GatedVenue(FakeVenue(clock: RealClock()))
    let ticks = MemoryTickServer(clock: RealClock())
    let instrument = Instrument(
        market: MarketID(venue: "paper", product: "linear", symbol: "DEMO"),
        kind: .perpetual,
        tickSize: Price(ExactDecimal(mantissa: 1, scale: 2)),
        stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 1)),
        baseAsset: "DEMO",
        quoteAsset: "USDT",
    )
    let account = AccountID.sample(1)
    /// An operator's view of the queue.
    let queue: BullQueue
    private let queues = Locked<[BullQueue]>([])
    private let sequence = Locked<Int64>(0)

    private init(server: LocalRedis, redis: RedisAddress, pool: PostgresPool, incarnation: Int64) throws {
        self.server = server
        self.redis = redis
        self.pool = pool
        orders = PostgresOrderStore(pool: pool, incarnation: incarnation)
        accounts = PostgresAccountStore(pool: pool, secrets: NoSecrets())
        store = PostgresClusterStore(pool: pool, orders: orders)
        queue = Self.queue("operator", redis)
    }

    /// - Parameter isDurable: Redis keeps what it acknowledged over a `kill -9`.
    static func with(isDurable: Bool = false, _ body: (LiveCluster) async throws -> Void) async throws {
        try await RedisServer.withServer(isDurable: isDurable) { server in
            try await with(server, at: try RedisAddress(url: server.url), body)
        }
    }

    /// The same on servers of the test's own.
    static func with(
        _ server: LocalRedis,
        at redis: RedisAddress,
        _ body: (LiveCluster) async throws -> Void,
    ) async throws {
        let pool = try PostgresPool(
            configuration: .stores(conninfo: try await PostgresServer.freshDatabase(), connections: 6)
        )
        do {
            try await Migrator(pool: pool).up()
            let history = try await DatabaseHistory.check(pool)
            let cluster = try LiveCluster(
                server: server,
                redis: redis,
                pool: pool,
                incarnation: history.incarnation,
            )
            try await cluster.setUp()
            try await body(cluster)
            cluster.queue.close()
            for queue in cluster.queues.withLock({ $0 }) { queue.close() }
            await pool.close()
        } catch {
            await pool.close()
            throw error
        }
    }

    private func setUp() async throws {
        try await queue.open()
        let owner = Account(
            id: account,
            name: "a",
            venue: "paper",
            product: "linear",
            mode: .paper,
            maximumConditionals: 10_000,
        )
        try await accounts.create(owner, credentials: Credentials(key: "k", secret: "s"))
        try await accounts.save([instrument])
        try await tick(10_000)
    }

    private static func queue(_ worker: String, _ redis: RedisAddress) -> BullQueue {
        var options = BullQueueOptions(
            address: redis,
            worker: WorkerID(worker),
            deployment: "test",
            generation: 1,
        )
        options.leaseMs = 1_500
        options.heartbeatMs = 400
        options.policyLookMs = 500
        return BullQueue(options, clock: RealClock())
    }

    func context(_ name: String) throws -> EngineContext {
        let queue = Self.queue(name, redis)
        queues.withLock { $0.append(queue) }
        return EngineContext(
            orders: orders,
            accounts: accounts,
            cluster: store,
            queue: queue,
            ticks: MemoryTickLog(ticks),
            venues: FakeVenues(venue),
            clock: RealClock(),
            observer: Silence(),
            identity: VenueIdentity(sha256: digest),
            random: { .random(in: .min ... .max) },
            worker: WorkerID(name),
            timeline: PostgresTimelineStore(pool: pool),
            backfills: PostgresBackfillStore(pool: pool),
        )
    }

    /// The worker renews and says nothing any more, as if it had been stopped; what it does goes on.
    func silence(_ worker: String) {
        for queue in queues.withLock({ $0 }) where queue.options.worker == WorkerID(worker) { queue.close() }
    }

    /// Why the queue of a worker takes no jobs in.
    func refusal(_ worker: String) -> String? {
        queues.withLock { $0 }.first { $0.options.worker == WorkerID(worker) }?.refusal
    }

    /// What the queues of all processes counted.
    var bodiesLost: Int {
        queues.withLock { queues in
            queues.reduce(0) { $0 + $1.counters.bodiesMissing + $1.counters.undecodable }
        }
    }

    // MARK: Processes

    /// One worker's life; `stop` is its SIGTERM and returns when it has left.
    struct Process: Sendable {
        let task: Task<Void, Never>
        func stop() async {
            task.cancel()
            await task.value
        }
    }

    func startWorker(_ name: String) throws -> Process {
        let duty = WorkerDuty(context: try context(name))
        return Process(
            task: Task {
                do { try await duty.run() } catch {}
                await Task { await duty.leave() }.value
            }
        )
    }

    func startScheduler(_ name: String = "scheduler") throws -> Process {
        let scheduler = Scheduler(context: try context(name))
        return Process(
            task: Task {
                do { try await scheduler.run() } catch {}
                await Task { await scheduler.leave() }.value
            }
        )
    }

    /// Runs workers and a scheduler while `body` runs.
    func run(_ workers: [String], _ body: () async throws -> Void) async throws {
        var processes = try workers.map { try startWorker($0) }
        processes.append(try startScheduler())
        do {
            try await body()
        } catch {
            venue.shut(false)
            for process in processes { await process.stop() }
            throw error
        }
        for process in processes { await process.stop() }
    }

    // MARK: Prices and orders

    var series: PriceSeries { PriceSeries(market: instrument.market, source: .mark) }

    /// Publishes a price in hundredths: to the exchange, the stream, and the stored extremes.
    func tick(_ cents: Int, inStream: Bool = true) async throws {
        let number = sequence.withLock { sequence in
            sequence += 1
            return sequence
        }
        venue.exchange.setPrice(Price(ExactDecimal(mantissa: Int128(cents), scale: 2)))
        let position = TickPosition(venueTime: RealClock().now().microseconds, sequence: number)
        let units = Int64(cents) * 1_000_000
        if inStream {
            let tick = RawTick(position: position, price: units, receivedAt: 0)
            try await MemoryTickLog(ticks).append([tick], to: series)
        }
        let point = ExtremeBucket.Point(position: position, price: units)
        try await store.appendExtremes([
            ExtremeBucket(market: instrument.market, source: .mark, points: [point])
        ])
    }

    /// Longs of ten coins, each with a stop at its price in hundredths.
    func create(stops: [Int], target: Int? = nil) async throws -> [OrderID] {
        let context = try context("api")
        let service = CommandService(
            context: context,
            history: PriceHistory(ticks: context.ticks, cluster: context.cluster),
        )
        var ids: [OrderID] = []
        for stop in stops {
            let draft = Draft(
                side: .buy,
                quantity: Quantity(ExactDecimal(10)),
                entry: EntryPlan(mode: .attach, price: Price(ExactDecimal(100))),
                takeProfits: (target.map { [$0] } ?? []).map {
                    TakeProfitPlan(
                        target: .price(Price(ExactDecimal(mantissa: Int128($0), scale: 2))),
                        sizePercent: ExactDecimal(100),
                    )
                },
                stopLoss: StopLossPlan(price: Price(ExactDecimal(mantissa: Int128(stop), scale: 2))),
            )
            let answer = try await service.create(
                draft,
                market: instrument.market,
                account: account,
                actor: Actor(kind: .user, id: "u"),
                idempotency: nil,
            )
            ids.append(answer.order.id)
        }
        return ids
    }

    /// Waits until `count` orders are watched, with nothing open.
    func settle(_ count: Int) async throws {
        _ = try await eventually("\(count) orders are watched") {
            let end = try await MemoryTickLog(ticks).latest(series)?.position ?? .start
            let progress = try await MemoryTickLog(ticks).progress(series)
            let isThere = progress.allSatisfy { ($0.position >= end || $0.orders == 0) && $0.open == 0 }
            return isThere && progress.reduce(0) { $0 + $1.orders } >= count ? true : nil
        }
    }

    /// Waits until all of these have ended.
    func ended(_ ids: [OrderID]) async throws {
        _ = try await eventually("\(ids.count) orders end") {
            try await orders.smart(ids).allSatisfy(\.status.isTerminal) ? true : nil
        }
    }

    /// Each of these was closed by one accepted exit, whatever happened.
    func expectOneExitEach(_ ids: [OrderID], sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let accepted = venue.exchange.accepted
        #expect(accepted.count == ids.count, sourceLocation: sourceLocation)
        #expect(Set(accepted).count == ids.count, sourceLocation: sourceLocation)
        for order in try await orders.smart(ids) {
            #expect(order.status == .stopped, sourceLocation: sourceLocation)
            #expect(order.exited == Quantity(ExactDecimal(10)), sourceLocation: sourceLocation)
        }
    }

    /// Jobs of all queues by state.
    func counts() async throws -> QueueCounts {
        try await queue.counts().values.reduce(into: QueueCounts()) { sum, counts in
            sum.waiting += counts.waiting
            sum.active += counts.active
            sum.delayed += counts.delayed
            sum.retry += counts.retry
            sum.completed += counts.completed
            sum.dead += counts.dead
        }
    }
}
