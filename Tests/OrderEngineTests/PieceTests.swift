import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing
import TriggerIndex

@testable import OrderEngine

@Suite struct `Pieces of the engine` {
    private func point(_ time: Int64, _ price: Int64) -> ExtremeBucket.Point {
        .init(position: TickPosition(venueTime: time, sequence: 0), price: price)
    }

    @Test(arguments: 0..<50 as Range<UInt64>)
    func `timers come due in order, the last word counts`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var heap = TimerHeap()
        var naive: [OrderID: Int64] = [:]
        for _ in 0..<400 {
            let id = OrderID.sample(Int.random(in: 0..<20, using: &random))
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                heap.remove(id)
                naive[id] = nil
            case 1:
                let now = Int64.random(in: 0..<100, using: &random)
                let due = heap.due(at: Timestamp(microseconds: now))
                #expect(Set(due) == Set(naive.filter { $0.value <= now }.keys), "seed \(seed)")
                #expect(due.map { naive[$0] ?? -1 } == due.map { naive[$0] ?? -1 }.sorted(), "seed \(seed)")
                for id in due { naive[id] = nil }
            default:
                let time = Int64.random(in: 0..<100, using: &random)
                heap.set(id, Timestamp(microseconds: time))
                naive[id] = time
            }
        }
    }

    @Test(arguments: 0..<50 as Range<UInt64>)
    func `a watch set agrees with the index, and its quick answer never misses`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let callback = CallbackUnits.rate(millionths: UInt32.random(in: 5_000...30_000, using: &random))
        let rules: [WatchRule] = [
            .falling(threshold: 9_500), .rising(threshold: 10_600), .followsHigh(callback, extreme: 10_000),
            .followsLow(callback, extreme: 9_000),
        ]
        for rule in rules {
            var index = MarketIndex(tickUnits: 1)
            _ = index.arm(rule, tag: 1)
            var set = WatchSet(rules: [rule], tickUnits: 1)
            let first = set
            var price: Int64 = 10_000
            var range: (high: Int64, low: Int64) = (.min, .max)
            var crossings: [Crossing] = []
            for _ in 0..<300 {
                price += Int64.random(in: -40...40, using: &random)
                range = (max(range.high, price), min(range.low, price))
                index.advance(to: price, &crossings)
                let crossed = set.cross(price) != nil
                #expect(crossed == !crossings.isEmpty, "seed \(seed)")
                guard !crossed else {
                    #expect(first.mayCross(high: range.high, low: range.low), "seed \(seed)")
                    break
                }
            }
        }
    }

    @Test(arguments: 0..<30 as Range<UInt64>)
    func `range extremes equal a scan, also of what is kept as records only`(seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let database = MemoryDatabase(clock: RealClock())
        let history = PriceHistory(
            ticks: MemoryTickLog(MemoryTickServer(clock: RealClock())),
            cluster: MemoryClusterStore(database),
        )
        let name = PriceSeries(market: Instrument.sample().market, source: .mark)
        // Enough that the oldest are trimmed in every fifth run.
        let count = seed % 5 == 0 ? 230_000 : 3_000
        var price: Int64 = 100_000
        var ticks: [RawTick] = []
        for time in 1...count {
            price += Int64.random(in: -5...5, using: &random)
            ticks.append(
                RawTick(position: TickPosition(venueTime: Int64(time), sequence: 0), price: price, receivedAt: 0)
            )
        }
        history.append(ticks, to: name, after: .start)
        for _ in 0..<20 {
            let start = Int.random(in: 0..<(count - 1), using: &random)
            // What is older than the points is known up to any later moment that is among them.
            let end = Int.random(in: max(start + 1, count - 2_000)...count, using: &random)
            let expected = ticks[start..<end].map(\.price)
            let found = history.extremes(
                name,
                after: TickPosition(venueTime: Int64(start), sequence: 0),
                through: TickPosition(venueTime: Int64(end), sequence: 0),
            )
            #expect(found?.high == expected.max() && found?.low == expected.min(), "seed \(seed) \(start) \(end)")
        }
    }

    @Test func `a hole in the prices voids what is before it`() {
        let database = MemoryDatabase(clock: RealClock())
        let history = PriceHistory(
            ticks: MemoryTickLog(MemoryTickServer(clock: RealClock())),
            cluster: MemoryClusterStore(database),
        )
        let name = PriceSeries(market: Instrument.sample().market, source: .mark)
        func at(_ time: Int64) -> TickPosition { TickPosition(venueTime: time, sequence: 0) }
        func tick(_ time: Int64) -> RawTick { RawTick(position: at(time), price: time, receivedAt: 0) }
        history.append([tick(1), tick(2)], to: name, after: .start)
        history.append([tick(2), tick(3)], to: name, after: at(1))
        #expect(history.points(name, after: .start, through: at(3))?.map(\.price) == [1, 2, 3])
        history.append([tick(9)], to: name, after: at(7))
        #expect(history.points(name, after: at(2), through: at(9)) == nil)
        #expect(history.context(name, after: at(2), at: at(9)) == nil)
        #expect(history.points(name, after: at(7), through: at(9))?.count == 1)
    }

    @Test func `suffix extremes raise only what trails`() {
        let suffix = SuffixExtremes(points: [point(1, 50), point(2, 90), point(3, 70), point(4, 60)])
        let rule = WatchRule.followsHigh(.amount(5), extreme: 65)
        #expect(suffix.raise(rule, after: .start) == .followsHigh(.amount(5), extreme: 90))
        #expect(suffix.raise(rule, after: point(2, 0).position) == .followsHigh(.amount(5), extreme: 70))
        #expect(suffix.raise(rule, after: point(3, 0).position) == rule)
        #expect(suffix.raise(.falling(threshold: 3), after: .start) == .falling(threshold: 3))
    }

    @Test func `shards are spread evenly, and few move`() {
        func winners(_ workers: [WorkerID]) -> [WorkerID?] {
            var holders = [WorkerID?](repeating: nil, count: 1_024)
            for (shard, worker) in Scheduler.moves(holders: holders, able: workers) { holders[shard] = worker }
            return holders
        }
        let four = (1...4).map { WorkerID("w\($0)") }
        let before = winners(four)
        for worker in four { #expect((180...340).contains(before.count { $0 == worker })) }
        #expect(Scheduler.moves(holders: before, able: four).isEmpty)
        let joined = Scheduler.moves(holders: before, able: four + [WorkerID("w5")])
        #expect(joined.allSatisfy { $0.to == WorkerID("w5") } && joined.count < 300)
        let pinned = Scheduler.moves(holders: before, able: four, pins: [5: four[0], 6: four[1], 7: WorkerID("gone")])
        for (shard, worker) in pinned { #expect(shard == 5 && worker == four[0] || shard == 6 && worker == four[1]) }
        #expect(pinned.count == [5, 6].count { before[$0] != four[$0 - 5] }, "one that is gone is nobody's choice")
        let left = Scheduler.moves(holders: before, able: Array(four.dropLast()))
        #expect(left.count == before.count { $0 == WorkerID("w4") })
    }

    @Test func `a fill that is known is no news, an end without its fills is none yet`() {
        let fill = Fill(
            venueFillID: "f",
            quantity: Quantity(ExactDecimal(4)),
            price: Price(ExactDecimal(9)),
            time: Timestamp(milliseconds: 1),
        )
        let known = VenueOrder.sampleExit(.stop, 1, 10, at: Timestamp(milliseconds: 1))
        func snapshot(_ filled: Int, _ fills: [Fill]) -> VenueSnapshot {
            VenueSnapshot(
                venueOrderID: "v",
                clientOrderID: "c",
                state: .expired,
                filled: Quantity(ExactDecimal(filled)),
                fills: fills,
            )
        }
        #expect(
            snapshot(4, [fill]).news(known: known) == [.accepted(venueOrderID: "v"), .fill(fill), .ended(.expired)]
        )
        #expect(snapshot(4, []).news(known: known) == [.accepted(venueOrderID: "v")])
        var half = known
        half.filled = fill.quantity
        let again = snapshot(4, [fill]).news(known: half, seen: ["f"])
        #expect(again == [.accepted(venueOrderID: "v"), .ended(.expired)])
    }

    @Test func `slots of stops are not lent to targets`() {
        let slots = JobSlots()
        func job(_ jobClass: JobClass) -> TakenJob {
            TakenJob(
                rawID: "x",
                job: nil,
                jobClass: jobClass,
                partition: 0,
                token: "",
                attemptsMade: 0,
                deliveries: 1,
                crashes: 0,
            )
        }
        #expect(slots.free == TakeRequest(stops: 58, targets: 32, housekeeping: 8))
        slots.use((0..<32).map { _ in job(.targets) })
        slots.use((0..<8).map { _ in job(.housekeeping) })
        #expect(slots.free == TakeRequest(stops: 24, targets: 0, housekeeping: 0))
        slots.giveBack([job(.targets)])
        #expect(slots.free.targets == 1)
        let flooded = JobSlots()
        flooded.use((0..<58).map { _ in job(.stops) })
        #expect(flooded.free == TakeRequest(stops: 0, targets: 4, housekeeping: 2))
    }

    @Test func `slots are made fewer and more while jobs are in hand`() {
        let slots = JobSlots()
        let stop = TakenJob(
            rawID: "x",
            job: nil,
            jobClass: .stops,
            partition: 0,
            token: "",
            attemptsMade: 0,
            deliveries: 1,
            crashes: 0,
        )
        slots.use([stop, stop, stop])
        slots.set(concurrency: 4)
        #expect(slots.free.stops == 0)
        slots.giveBack([stop, stop, stop])
        #expect(slots.free == TakeRequest(stops: 2, targets: 1, housekeeping: 1))
        slots.set(concurrency: 128)
        #expect(slots.free == TakeRequest(stops: 116, targets: 64, housekeeping: 16))
    }

    /// Counts its sleeps, which take no time.
    private final class Naps: EngineClock {
        let count = Locked(0)
        let during: @Sendable (Int) -> Void

        init(_ during: @escaping @Sendable (Int) -> Void) { self.during = during }

        func now() -> Timestamp { Timestamp(microseconds: 0) }
        func monotonicNanoseconds() -> Int64 { 0 }
        func sleep(milliseconds: Int64) async throws {
            let number = count.withLock { count in
                count += 1
                return count
            }
            during(number)
        }
    }

    @Test func `who has no slot for a class waits for a slot, not for the queue`() async throws {
        let slots = JobSlots()
        let stop = TakenJob(
            rawID: "x",
            job: nil,
            jobClass: .stops,
            partition: 0,
            token: "",
            attemptsMade: 0,
            deliveries: 1,
            crashes: 0,
        )
        #expect(!slots.isShort)
        slots.use(Array(repeating: stop, count: 58))
        #expect(slots.isShort)
        let early = Naps { if $0 == 2 { slots.giveBack(Array(repeating: stop, count: 29)) } }
        try await slots.waitForMore(early)
        #expect(early.count.withLock { $0 } == 2)
        #expect(!slots.isShort)
        // One that ends alone waits for others, but not for long.
        let alone = Naps { if $0 == 2 { slots.giveBack([stop]) } }
        try await slots.waitForMore(alone)
        #expect(alone.count.withLock { $0 } == 8)
        // Jobs of other classes are looked for all the same.
        let late = Naps { _ in }
        try await slots.waitForMore(late)
        #expect(late.count.withLock { $0 } == 10)
    }
}
