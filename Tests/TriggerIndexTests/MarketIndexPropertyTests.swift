import Testing
import TriggerIndex

/// One random life of an index: small price ranges make equal thresholds and extremes common, large ones make groups.
struct RandomLife: Sendable, CustomTestStringConvertible {
    let seed: UInt64
    let tickUnits: Int64
    let prices: ClosedRange<Int64>
    let step: Int64
    let population: Int
    let operations: Int

    var testDescription: String { "seed \(seed), tick \(tickUnits), \(prices), step \(step), \(population) watches" }

    static let all: [RandomLife] = (0..<12).flatMap { seed in
        [
            RandomLife(seed: seed, tickUnits: 1, prices: 50...150, step: 3, population: 40, operations: 1_500),
            RandomLife(seed: seed, tickUnits: 5, prices: 1...400, step: 12, population: 300, operations: 1_500),
            RandomLife(
                seed: seed,
                tickUnits: 100,
                prices: 900_000...1_100_000,
                step: 1_500,
                population: 400,
                operations: 1_500,
            ),
        ]
    }

    func randomRule(near price: Int64, _ random: inout SeededRandom) -> WatchRule {
        let spread = max(step * 8, 4)
        let level = clamped(price + .random(in: -spread...spread, using: &random))
        let callback: CallbackUnits =
            Bool.random(using: &random)
            ? .rate(
                millionths: [0, 1, 1_000, 20_000, 50_000, .random(in: 0...200_000, using: &random)].randomElement(
                    using: &random
                ) ?? 0
            )
            : .amount(.random(in: 0...spread, using: &random))
        // Mostly the price of the moment, as when an order becomes active; else a restored water mark.
        let extreme = Int.random(in: 0..<4, using: &random) > 0 ? price : level
        return switch Int.random(in: 0..<4, using: &random) {
        case 0: .falling(threshold: level)
        case 1: .rising(threshold: level)
        case 2: .followsHigh(callback, extreme: extreme)
        default: .followsLow(callback, extreme: extreme)
        }
    }

    func clamped(_ price: Int64) -> Int64 { min(max(price, prices.lowerBound), prices.upperBound) }
}

@Test(arguments: RandomLife.all)
func `agrees with a scan of every watch, whatever is armed, disarmed and crossed`(_ life: RandomLife) throws {
    var random = SeededRandom(seed: life.seed)
    var index = MarketIndex(tickUnits: life.tickUnits)
    var naive = NaiveIndex(tickUnits: life.tickUnits)
    var handles: [UInt64: WatchHandle] = [:]
    var stale: [WatchHandle] = []
    var nextTag: UInt64 = 0
    var price = (life.prices.lowerBound + life.prices.upperBound) / 2

    func arm(_ rule: WatchRule) {
        handles[nextTag] = index.arm(rule, tag: nextTag)
        naive.arm(rule, tag: nextTag)
        nextTag += 1
    }

    for operation in 0..<life.operations {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<3 where handles.count < life.population:
            for _ in 0..<Int.random(in: 1...4, using: &random) { arm(life.randomRule(near: price, &random)) }
        case 3 where operation % 50 == 0:
            let rules = (0..<life.population / 2).map { _ in life.randomRule(near: price, &random) }
            let tags = nextTag..<nextTag + UInt64(rules.count)
            for (tag, handle) in zip(tags, index.arm(contentsOf: Array(zip(rules, tags)).map { ($0.0, $0.1) })) {
                handles[tag] = handle
            }
            for (rule, tag) in zip(rules, tags) { naive.arm(rule, tag: tag) }
            nextTag = tags.upperBound
        case 4:
            guard let tag = handles.keys.sorted().randomElement(using: &random), let handle = handles[tag] else {
                continue
            }
            let wasArmed = index.disarm(handle)
            #expect(wasArmed, "\(life.testDescription), operation \(operation)")
            handles[tag] = nil
            naive.watches[tag] = nil
            stale.append(handle)
        default:
            let jump = Int.random(in: 0..<40, using: &random) == 0 ? life.step * 20 : life.step
            price = life.clamped(price + .random(in: -jump...jump, using: &random))
            var crossings: [Crossing] = []
            index.advance(to: price, &crossings)
            let expected = naive.advance(to: price)
            #expect(Set(crossings.map(\.fired)) == expected, "\(life.testDescription), operation \(operation)")
            #expect(crossings.count == expected.count, "\(life.testDescription), operation \(operation)")
            for crossing in crossings {
                #expect(handles[crossing.tag] == crossing.handle)
                handles[crossing.tag] = nil
                stale.append(crossing.handle)
                if Bool.random(using: &random) { arm(life.randomRule(near: price, &random)) }
            }
        }
        #expect(index.count == naive.watches.count, "\(life.testDescription), operation \(operation)")
        guard operation % 25 == 0 else { continue }
        #expect(index.brokenInvariant() == nil, "\(life.testDescription), operation \(operation)")
        for (tag, handle) in handles {
            let watch = try #require(naive.watches[tag])
            #expect(index.extreme(of: handle) == watch.extreme, "\(life.testDescription), operation \(operation)")
            #expect(
                index.threshold(of: handle) == naive.threshold(watch),
                "\(life.testDescription), operation \(operation)",
            )
        }
        for handle in stale.suffix(20) {
            #expect(!index.isArmed(handle))
            #expect(index.threshold(of: handle) == nil)
            let wasArmed = index.disarm(handle)
            #expect(!wasArmed)
        }
    }
    for handle in handles.values { index.disarm(handle) }
    #expect(index.brokenInvariant() == nil)
    #expect(index.isEmpty)
}

@Test(arguments: 0..<4 as Range<UInt64>)
func `stays whole with many watches, one by one and at once`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var index = MarketIndex(tickUnits: 10)
    var handles: [WatchHandle] = []
    var crossings: [Crossing] = []
    var price: Int64 = 1_000_000
    func rule() -> WatchRule {
        let level = price + .random(in: -50_000...50_000, using: &random)
        let rate = UInt32.random(in: 1...400, using: &random) * 250
        return switch Int.random(in: 0..<6, using: &random) {
        case 0: .falling(threshold: level / 1_000 * 1_000)
        case 1: .rising(threshold: level)
        case 2: .followsHigh(.rate(millionths: rate), extreme: price)
        case 3: .followsLow(.rate(millionths: rate), extreme: price)
        case 4: .followsHigh(.amount(Int64(rate)), extreme: level)
        default: .followsLow(.amount(Int64(rate)), extreme: price)
        }
    }
    for round in 0..<12 {
        if round % 3 == 0 { handles += index.arm(contentsOf: (0..<4_000).map { (rule(), $0) }) }
        for tag in 0..<2_000 as Range<UInt64> {
            handles.append(index.arm(rule(), tag: tag))
            price += .random(in: -400...400, using: &random)
            index.advance(to: price, &crossings)
        }
        handles.shuffle(using: &random)
        for handle in handles.suffix(handles.count / 3) { index.disarm(handle) }
        handles.removeLast(handles.count / 3)
        #expect(index.brokenInvariant() == nil, "seed \(seed), round \(round)")
        // A gap, down and up.
        price += round % 2 == 0 ? -60_000 : 60_000
        index.advance(to: price, &crossings)
        #expect(index.brokenInvariant() == nil, "seed \(seed), round \(round)")
        #expect(index.count == handles.count { index.isArmed($0) }, "seed \(seed), round \(round)")
    }
}
