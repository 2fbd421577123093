import Testing
import TriggerIndex

struct Window: Sendable {
    let prices: [Int64]
    let kept: [Int]
}

@Suite struct ConflationTests {
    @Test(arguments: [
        Window(prices: [], kept: []),
        Window(prices: [5], kept: [0]),
        Window(prices: [5, 5, 5], kept: [0, 2]),
        Window(prices: [1, 2, 3], kept: [0, 2]),
        Window(prices: [3, 2, 1, 2], kept: [0, 2, 3]),
        Window(prices: [3, 2, 2, 1, 1, 2], kept: [0, 3, 5]),
        Window(prices: [100, 110, 105, 107, 107, 104, 104], kept: [0, 1, 2, 3, 5, 6]),
    ])
    func `keeps the first tick, the last, and every turn`(_ window: Window) {
        var conflation = Conflation()
        conflation.reduce(window.prices)
        #expect(conflation.kept == window.kept)
    }

    /// A crossing with the tick at which it happened.
    struct Dated: Hashable {
        let tick: Int
        let fired: NaiveIndex.Fired
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `a conflated window crosses the same watches, at the same thresholds and, looked up, at the same ticks`(
        seed: UInt64
    ) {
        var random = SeededRandom(seed: seed)
        let tickUnits = Int64([1, 5].randomElement(using: &random) ?? 1)
        var whole = MarketIndex(tickUnits: tickUnits)
        var conflated = MarketIndex(tickUnits: tickUnits)
        var conflation = Conflation()
        var price: Int64 = 10_000
        for window in 0..<12 {
            for number in 0..<40 as Range<UInt64> {
                let tag = UInt64(window) * 100 + number
                let callback: CallbackUnits =
                    Bool.random(using: &random)
                    // At least a tick, as R3.5 asks: 0.2% of 5,000 is 10.
                    ? .rate(millionths: .random(in: 2_000...60_000, using: &random))
                    : .amount(.random(in: 10...600, using: &random))
                let level = price + .random(in: -500...500, using: &random)
                let rule: WatchRule =
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: .falling(threshold: level)
                    case 1: .rising(threshold: level)
                    case 2: .followsHigh(callback, extreme: price)
                    default: .followsLow(callback, extreme: price)
                    }
                _ = whole.arm(rule, tag: tag)
                _ = conflated.arm(rule, tag: tag)
            }
            let prices = (0..<Int.random(in: 1...60, using: &random)).map { _ in
                price = max(5_000, price + .random(in: -40...40, using: &random) / 10 * 10)
                return price
            }
            var expected: Set<Dated> = []
            for (tick, price) in prices.enumerated() {
                var crossings: [Crossing] = []
                whole.advance(to: price, &crossings)
                for crossing in crossings { expected.insert(Dated(tick: tick, fired: crossing.fired)) }
            }
            conflation.reduce(prices)
            var found: Set<Dated> = []
            for (ordinal, tick) in conflation.kept.enumerated() {
                var crossings: [Crossing] = []
                conflated.advance(to: prices[tick], &crossings)
                for crossing in crossings {
                    let exact = conflation.exactTick(of: crossing, at: ordinal, in: prices)
                    found.insert(Dated(tick: exact, fired: crossing.fired))
                }
            }
            #expect(found == expected, "seed \(seed), window \(window)")
        }
    }
}
