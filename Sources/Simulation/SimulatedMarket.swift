// Prices of a market: what the venue's price does, every tick of it, and the feed that may miss some.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

/// How a price moves. Prices are in hundredths.
enum PriceMood: Hashable, CaseIterable {
    case walk, jump, wick, staircase, oscillate, trend, quiet
}

/// A path of prices by the seed.
struct PricePath {
    private(set) var cents: Int
    private var mood = PriceMood.walk
    private var left = 0
    private var center: Int
    private var direction = 1
    /// A wick goes back to where it came from.
    private var back: Int?

    init(cents: Int) {
        self.cents = cents
        center = cents
    }

    mutating func next(_ random: inout SeededRandom) -> Int {
        if let origin = back {
            back = nil
            cents = origin
            return cents
        }
        if left == 0 {
            mood = PriceMood.allCases[Int(random.next() % UInt64(PriceMood.allCases.count))]
            left = 20 + Int(random.next() % 100)
            center = cents
            direction = random.next() % 2 == 0 ? 1 : -1
        }
        left -= 1
        func either(_ most: Int) -> Int { Int(random.next() % UInt64(2 * most + 1)) - most }
        switch mood {
        case .walk: cents += either(25)
        case .quiet: cents += either(3)
        case .jump: cents += random.next() % 10 == 0 ? either(400) : either(10)
        case .wick:
            if random.next() % 12 == 0 {
                back = cents
                cents += either(500)
            } else {
                cents += either(10)
            }
        case .staircase: if random.next() % 6 == 0 { cents += direction * 60 }
        case .oscillate: cents = center + (cents >= center ? -1 : 1) * Int(random.next() % 150)
        case .trend: cents += direction * 12 + either(8)
        }
        // Prices stay where plans make sense.
        cents = min(max(cents, 5_000), 20_000)
        return cents
    }

    /// Prices that a test sets.
    mutating func set(_ cents: Int) {
        self.cents = cents
        center = cents
        back = nil
        left = 0
    }
}

/// One tick as the venue made it. Its place in `SimulatedMarket.ticks` is its sequence.
struct MarketTick: Sendable {
    let position: TickPosition
    let cents: Int
}

final class SimulatedMarket: Sendable {
    private struct State {
        var path: PricePath
        var ticks: [MarketTick] = []
        /// In the order in which they came.
        var waiting: [(ticket: UInt64, continuation: UnsafeContinuation<Void, Never>)] = []
        var nextWaiter: UInt64 = 0
    }

    let instrument: Instrument
    let series: PriceSeries
    private let state: Locked<State>
    /// Units of the hot path in a hundredth.
    static let unitsPerCent: Int64 = 1_000_000

    init(_ instrument: Instrument) {
        self.instrument = instrument
        series = PriceSeries(market: instrument.market, source: instrument.defaultTriggerSource)
        state = Locked(State(path: PricePath(cents: 10_000)))
    }

    static func price(_ cents: Int) -> Price { Price(ExactDecimal(mantissa: Int128(cents), scale: 2)) }

    var cents: Int { state.withLock { $0.ticks.last?.cents ?? 10_000 } }
    var count: Int { state.withLock { $0.ticks.count } }

    func ticks(from index: Int) -> [MarketTick] { state.withLock { Array($0.ticks[min(index, $0.ticks.count)...]) } }

    /// The next price of the path, or `cents`.
    func move(_ world: World, to cents: Int? = nil) {
        let venueTime = world.venue.now.microseconds
        let (tick, waiting) = state.withLock { state in
            if let cents {
                state.path.set(cents)
            } else {
                world.simulator.draw { random in _ = state.path.next(&random) }
            }
            let last = state.ticks.last?.position.venueTime ?? 0
            let tick = MarketTick(
                position: TickPosition(venueTime: max(venueTime, last), sequence: Int64(state.ticks.count)),
                cents: state.path.cents,
            )
            state.ticks.append(tick)
            defer { state.waiting = [] }
            return (tick, state.waiting)
        }
        world.oracle.ticked(series, tick)
        world.venue.setPrice(Self.price(tick.cents), of: instrument.market)
        for one in waiting { one.continuation.resume() }
    }

    /// Returns when there are ticks from `index` on. False: the task was cancelled.
    func wait(for index: Int) async -> Bool {
        let ticket: UInt64? = state.withLock { state in
            if state.ticks.count > index { return nil }
            state.nextWaiter += 1
            return state.nextWaiter
        }
        guard let ticket else { return !Task.isCancelled }
        await withTaskCancellationHandler {
            await sleep(ticket, until: index)
        } onCancel: {
            let continuation = state.withLock { state in
                let place = state.waiting.firstIndex { $0.ticket == ticket }
                return place.map { state.waiting.remove(at: $0).continuation }
            }
            continuation?.resume()
        }
        return !Task.isCancelled
    }

    /// The cheap form of a continuation, as in `Simulator.wait`: every tick of every feed is one.
    @inline(never)
    private func sleep(_ ticket: UInt64, until index: Int) async {
        await withUnsafeContinuation { continuation in
            let isOver = state.withLock { state in
                if Task.isCancelled || state.ticks.count > index { return true }
                state.waiting.append((ticket, continuation))
                return false
            }
            if isOver { continuation.resume() }
        }
    }
}

/// What one feed process hears of the venue: everything from its start on, but for the gaps of its connection.
struct SimulatedSource: TickSource {
    let world: World
    let process: SimulatedProcess

    func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
        // This connection is slower than the private one: fills are told before the ticks that led to them.
        let lagMs: Int64 = world.simulator.draw { random in
            random.happens(0.3 * world.faults[.feed]) ? 100 + Int64(random.next() % 900) : 0
        }
        let heard = HeardTicks()
        try await withThrowingTaskGroup { group in
            for market in world.markets {
                group.addTask { try await follow(market, heard, lagMs: lagMs) }
            }
            while let batch = await heard.next() {
                try await world.step(process, isTrading: false)
                try await emit(batch)
            }
            group.cancelAll()
        }
    }

    private func follow(
        _ market: SimulatedMarket,
        _ heard: HeardTicks,
        lagMs: Int64,
    ) async throws {
        // The newest price comes with the subscription.
        var next = max(0, market.count - 1)
        while await market.wait(for: next) {
            try await world.step(process, isTrading: false)
            let ticks = market.ticks(from: next)
            if lagMs > 0, world.faults.isOn {
                _ = await world.simulator.sleep(nanoseconds: lagMs * 1_000_000)
                try await world.step(process, isTrading: false)
            }
            next += ticks.count
            if world.simulator.draw({ $0.happens(0.002 * world.faults[.feed]) }) {
                // The connection is gone for a while: what the venue says meanwhile is not heard.
                world.faults.mark(.feedGap)
                let clock = world.simulator
                _ = await clock.sleep(nanoseconds: Int64(clock.random() % 5_000) * 1_000_000)
                next = max(next, market.count - 1)
                continue
            }
            world.oracle.heard(market.series, ticks, by: process.id)
            heard.add(
                ticks.map { tick in
                    SourcedTick(
                        series: market.series,
                        tick: RawTick(
                            position: tick.position,
                            price: Int64(tick.cents) * SimulatedMarket.unitsPerCent,
                            receivedAt: 0,
                        ),
                        quantity: nil,
                    )
                }
            )
        }
    }
}

/// Batches on their way from the followers of the markets to the feed. For one reader; whoever is cancelled gets what is
/// there, and then no more.
private final class HeardTicks: Sendable {
    private struct State {
        var batches: [[SourcedTick]] = []
        var isOver = false
        var reader: UnsafeContinuation<[SourcedTick]?, Never>?
    }

    private let state = Locked(State())

    func add(_ batch: [SourcedTick]) {
        let reader = state.withLock { state -> UnsafeContinuation<[SourcedTick]?, Never>? in
            guard !state.isOver else { return nil }
            if state.reader == nil { state.batches.append(batch) }
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(returning: batch)
    }

    func next() async -> [SourcedTick]? {
        await withTaskCancellationHandler {
            await wait()
        } onCancel: {
            let reader = state.withLock { state in
                state.isOver = true
                defer { state.reader = nil }
                return state.reader
            }
            reader?.resume(returning: nil)
        }
    }

    @inline(never)
    private func wait() async -> [SourcedTick]? {
        await withUnsafeContinuation { continuation in
            let (batch, isOver) = state.withLock { state -> ([SourcedTick]?, Bool) in
                if !state.batches.isEmpty { return (state.batches.removeFirst(), true) }
                if !state.isOver { state.reader = continuation }
                return (nil, state.isOver)
            }
            if isOver { continuation.resume(returning: batch) }
        }
    }
}
