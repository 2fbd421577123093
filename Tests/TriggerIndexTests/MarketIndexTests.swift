import SmartOrders
import Testing
import TriggerIndex

/// A short ride in whole units, one watch, and where it fires.
struct Ride: Sendable, CustomTestStringConvertible {
    let name: String
    let rule: WatchRule
    var tickUnits: Int64 = 1
    let prices: [Int64]
    /// Position in `prices`; nil: never.
    let firesAt: Int?
    var threshold: Int64?
    var extreme: Int64?

    var testDescription: String { name }

    static let all: [Ride] = [
        Ride(
            name: "R2: 107.80 fires a stop of 107.80",
            rule: .falling(threshold: 10_780),
            prices: [10_781, 10_780],
            firesAt: 1,
            threshold: 10_780,
        ),
        Ride(
            name: "R2: 107.81 does not",
            rule: .falling(threshold: 10_780),
            prices: [10_781, 10_781],
            firesAt: nil,
        ),
        Ride(
            name: "a target is inclusive",
            rule: .rising(threshold: 10_500),
            prices: [10_499, 10_500],
            firesAt: 1,
            threshold: 10_500,
        ),
        Ride(
            name: "G02: 2% from 100, 110 lifts the stop to 107.80, 107 fires",
            rule: .followsHigh(.rate(millionths: 20_000), extreme: 10_000),
            prices: [11_000, 10_781, 10_700],
            firesAt: 2,
            threshold: 10_780,
            extreme: 11_000,
        ),
        Ride(
            name: "G02 short: low 90, 2% -> 91.80",
            rule: .followsLow(.rate(millionths: 20_000), extreme: 10_000),
            prices: [9_000, 9_179, 9_180],
            firesAt: 2,
            threshold: 9_180,
            extreme: 9_000,
        ),
        Ride(
            name: "without a rise 98 is the stop of 100",
            rule: .followsHigh(.rate(millionths: 20_000), extreme: 10_000),
            prices: [9_801, 9_800],
            firesAt: 1,
            threshold: 9_800,
            extreme: 10_000,
        ),
        // Where a Double would miss the exact touch.
        Ride(
            name: "extreme 18, 5%: 17.1 fires",
            rule: .followsHigh(.rate(millionths: 50_000), extreme: 180),
            prices: [171],
            firesAt: 0,
            threshold: 171,
            extreme: 180,
        ),
        Ride(
            name: "extreme 700, short, 10%: 770 fires",
            rule: .followsLow(.rate(millionths: 100_000), extreme: 700),
            prices: [769, 770],
            firesAt: 1,
            threshold: 770,
            extreme: 700,
        ),
        // R5: towards the market, on a tick of 5 and of 0.01.
        Ride(
            name: "63,333 x 0.98 on tick 5 is 62,070",
            rule: .followsHigh(.rate(millionths: 20_000), extreme: 63_333),
            tickUnits: 5,
            prices: [62_071, 62_070],
            firesAt: 1,
            threshold: 62_070,
            extreme: 63_333,
        ),
        Ride(
            name: "short 63,333 x 1.02 on tick 5 is 64,595",
            rule: .followsLow(.rate(millionths: 20_000), extreme: 63_333),
            tickUnits: 5,
            prices: [64_594, 64_595],
            firesAt: 1,
            threshold: 64_595,
            extreme: 63_333,
        ),
        Ride(
            name: "91.37 x 1.015 is 92.74",
            rule: .followsLow(.rate(millionths: 15_000), extreme: 9_137),
            prices: [9_273, 9_274],
            firesAt: 1,
            threshold: 9_274,
            extreme: 9_137,
        ),
        Ride(
            name: "9,000 - 500 = 8,500",
            rule: .followsHigh(.amount(500), extreme: 8_800),
            prices: [9_000, 8_501, 8_500],
            firesAt: 2,
            threshold: 8_500,
            extreme: 9_000,
        ),
        Ride(
            name: "an amount is rounded to the tick too",
            rule: .followsHigh(.amount(500), extreme: 9_001),
            tickUnits: 10,
            prices: [8_511, 8_510],
            firesAt: 1,
            threshold: 8_510,
            extreme: 9_001,
        ),
        Ride(
            name: "amount, short",
            rule: .followsLow(.amount(500), extreme: 9_001),
            tickUnits: 10,
            prices: [9_499, 9_500],
            firesAt: 1,
            threshold: 9_500,
            extreme: 9_001,
        ),
        Ride(
            name: "42,000 x 1.05 = 44,100",
            rule: .followsLow(.rate(millionths: 50_000), extreme: 43_000),
            prices: [42_000, 44_099, 44_100],
            firesAt: 2,
            threshold: 44_100,
            extreme: 42_000,
        ),
        // R3.3: the tick that moves the stop does not fire it, even where rounding puts the stop on the new extreme.
        Ride(
            name: "a new extreme does not fire its own stop",
            rule: .followsHigh(.amount(0), extreme: 100),
            prices: [101, 102, 102],
            firesAt: 2,
            threshold: 102,
            extreme: 102,
        ),
        Ride(
            name: "a level that is crossed already fires at the next tick",
            rule: .falling(threshold: 200),
            prices: [150],
            firesAt: 0,
            threshold: 200,
        ),
        Ride(
            name: "an extreme below the market is tested first, then moves",
            rule: .followsHigh(.rate(millionths: 20_000), extreme: 11_000),
            prices: [11_200, 10_977, 10_976],
            firesAt: 2,
            threshold: 10_976,
            extreme: 11_200,
        ),
        Ride(
            name: "products wider than 64 bits are exact",
            rule: .followsHigh(.rate(millionths: 999_999), extreme: 9_000_000_000_000_000_001),
            prices: [9_000_000_000_002, 9_000_000_000_001],
            firesAt: 1,
            threshold: 9_000_000_000_001,
            extreme: 9_000_000_000_000_000_001,
        ),
        Ride(
            name: "a threshold beyond all prices never fires",
            rule: .followsLow(.rate(millionths: 1_000_000), extreme: 9_000_000_000_000_000_000),
            prices: [.max - 1],
            firesAt: nil,
        ),
        Ride(
            name: "an amount larger than the price never fires",
            rule: .followsHigh(.amount(500), extreme: 100),
            prices: [50, 1],
            firesAt: nil,
        ),
    ]
}

@Suite struct MarketIndexTests {
    @Test(arguments: Ride.all)
    func `fires at the exact tick, with the threshold and the extreme of that moment`(_ ride: Ride) {
        var index = MarketIndex(tickUnits: ride.tickUnits)
        let handle = index.arm(ride.rule, tag: 7)
        var fired: [(position: Int, crossing: Crossing)] = []
        for (position, price) in ride.prices.enumerated() {
            var crossings: [Crossing] = []
            index.advance(to: price, &crossings)
            fired += crossings.map { (position, $0) }
        }
        #expect(fired.map(\.position) == [ride.firesAt].compactMap(\.self))
        guard let crossing = fired.first?.crossing else { return }
        #expect(crossing.tag == 7)
        #expect(crossing.handle == handle)
        #expect(crossing.threshold == ride.threshold)
        #expect(crossing.extreme == ride.extreme)
    }

    @Test func `an empty index crosses nothing`() {
        var index = MarketIndex(tickUnits: 1)
        var crossings: [Crossing] = []
        for price in [1, 100, Int64.max - 1] { index.advance(to: price, &crossings) }
        #expect(crossings.isEmpty)
        #expect(index.isEmpty)
    }

    @Test func `a watch fires once; armed again it fires again`() {
        var index = MarketIndex(tickUnits: 1)
        var crossings: [Crossing] = []
        let first = index.arm(.falling(threshold: 100), tag: 1)
        for _ in 0..<3 { index.advance(to: 99, &crossings) }
        #expect(crossings.count == 1)
        let second = index.arm(.falling(threshold: 100), tag: 1)
        #expect(first != second)
        #expect(!index.isArmed(first))
        // The same price again is a tick like any other.
        index.advance(to: 99, &crossings)
        #expect(crossings.map(\.handle) == [first, second])
    }

    @Test func `fixed levels cross nearest first, equal ones in the order they were armed`() {
        var index = MarketIndex(tickUnits: 1)
        var crossings: [Crossing] = []
        for (tag, level) in [Int64(95), 97, 95, 99, 95].enumerated() {
            _ = index.arm(.falling(threshold: level), tag: UInt64(tag))
        }
        index.advance(to: 90, &crossings)
        #expect(crossings.map(\.tag) == [3, 1, 0, 2, 4])
        crossings = []
        _ = index.arm(contentsOf: (0..<1_000).map { (.rising(threshold: 100), $0) })
        index.advance(to: 100, &crossings)
        #expect(crossings.map(\.tag) == Array(0..<1_000))
    }

    @Test func `one tick through every level crosses all of them`() {
        var index = MarketIndex(tickUnits: 1)
        for level in 1...5_000 as ClosedRange<Int64> { _ = index.arm(.rising(threshold: 10_000 + level), tag: 0) }
        var crossings: [Crossing] = []
        index.advance(to: 12_500, &crossings)
        #expect(crossings.count == 2_500)
        index.advance(to: 20_000, &crossings)
        #expect(crossings.map(\.threshold) == Array(10_001...15_000))
    }

    @Test func `the same calls give the same crossings in the same order`() {
        func run() -> [Crossing] {
            var random = SeededRandom(seed: 11)
            var index = MarketIndex(tickUnits: 1)
            var all: [Crossing] = []
            for tag in 0..<2_000 as Range<UInt64> {
                let rate = UInt32.random(in: 1_000...50_000, using: &random)
                _ = index.arm(.followsHigh(.rate(millionths: rate), extreme: 1_000_000), tag: tag)
                index.advance(to: .random(in: 960_000...1_010_000, using: &random), &all)
            }
            return all
        }
        #expect(run() == run())
    }

    @Test func `a copy is independent`() {
        var index = MarketIndex(tickUnits: 1)
        let handle = index.arm(.followsHigh(.amount(10), extreme: 100), tag: 1)
        var copy = index
        var crossings: [Crossing] = []
        copy.advance(to: 500, &crossings)
        #expect(index.threshold(of: handle) == 90)
        #expect(copy.threshold(of: handle) == 490)
    }

    @Test func `memory is that of the armed watches`() {
        var fixed = MarketIndex(tickUnits: 1)
        _ = fixed.arm(contentsOf: (0..<100_000).map { (.falling(threshold: 1 + Int64($0) % 5_000), $0) })
        #expect(fixed.footprint <= 40 * 100_000)
        var trailing = MarketIndex(tickUnits: 1)
        let callback = CallbackUnits.rate(millionths: 20_000)
        _ = trailing.arm(
            contentsOf: (0..<100_000).map { (.followsHigh(callback, extreme: 1 + Int64($0) % 100), $0) }
        )
        #expect(trailing.footprint <= 40 * 100_000)
        // What is armed and disarmed again leaves nothing behind.
        for _ in 0..<5 {
            let handles = (0..<1_000).map { fixed.arm(.rising(threshold: 10_000 + Int64($0)), tag: 0) }
            let before = fixed.footprint
            for handle in handles { fixed.disarm(handle) }
            #expect(fixed.footprint <= before + 1_024)
        }
    }

    @Test(arguments: [Int64(0), -1, .max])
    func `a price outside its range traps`(_ price: Int64) async {
        await #expect(processExitsWith: .failure) { [price] in
            var index = MarketIndex(tickUnits: 1)
            var crossings: [Crossing] = []
            index.advance(to: price, &crossings)
        }
    }
}

@Suite struct WatchConversionTests {
    private func price(_ text: String) throws -> Price { try #require(Price(text)) }

    @Test func `conditions of orders become rules in units`() throws {
        let d = 2
        #expect(WatchRule(.atOrBelow(try price("107.80")), priceDecimals: d) == .falling(threshold: 10_780))
        #expect(WatchRule(.atOrAbove(try price("105")), priceDecimals: d) == .rising(threshold: 10_500))
        // A finer threshold moves to the unit that the same prices reach.
        #expect(WatchRule(.atOrBelow(try price("107.805")), priceDecimals: d) == .falling(threshold: 10_780))
        #expect(WatchRule(.atOrAbove(try price("107.801")), priceDecimals: d) == .rising(threshold: 10_781))
        let rate = Callback.rate(try #require(Rate("0.02")))
        #expect(
            WatchRule(.trailsHigh(rate, extreme: try price("110")), priceDecimals: d)
                == .followsHigh(.rate(millionths: 20_000), extreme: 11_000)
        )
        #expect(
            WatchRule(.trailsLow(.amount(try price("5.5")), extreme: try price("90")), priceDecimals: d)
                == .followsLow(.amount(550), extreme: 9_000)
        )
    }

    @Test func `what does not fit the units is refused`() throws {
        let finerRate = Callback.rate(try #require(Rate("0.0000001")))
        #expect(WatchRule(.trailsHigh(finerRate, extreme: try price("1")), priceDecimals: 2) == nil)
        let callback = Callback.amount(try price("1"))
        #expect(WatchRule(.trailsHigh(callback, extreme: try price("1.001")), priceDecimals: 2) == nil)
        #expect(WatchRule(.atOrAbove(try price("100000000000")), priceDecimals: 8) == nil)
        #expect(WatchRule(.atOrAbove(try price("0")), priceDecimals: 8) == nil)
    }

    @Test(arguments: 0..<32 as Range<UInt64>)
    func `thresholds are those of the order model`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<200 {
            let tick = [1, 5, 10, 50, 250].randomElement(using: &random) ?? 1
            let extreme = Int64.random(in: 1_000...9_000_000_000, using: &random)
            let rate = UInt32.random(in: 1_000...500_000, using: &random)
            let exactRate = Rate(ExactDecimal(mantissa: Int128(rate), scale: 6))
            let rule = TrailingRule(tickUnits: Int64(tick))
            func priced(_ units: Int64) -> Price { Price(ExactDecimal(mantissa: Int128(units), scale: 8)) }
            for side in Side.allCases {
                let expected = Pricing.trailingStop(
                    side: side,
                    extreme: priced(extreme),
                    callback: .rate(exactRate),
                    tickSize: priced(Int64(tick)),
                )
                let units =
                    side == .buy
                    ? rule.threshold(below: extreme, .rate(millionths: rate))
                    : rule.threshold(above: extreme, .rate(millionths: rate))
                #expect(priced(units) == expected, "seed \(seed)")
            }
        }
    }
}
