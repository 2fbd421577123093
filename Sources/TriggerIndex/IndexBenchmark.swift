// How fast is the index? A pure function: the caller brings the clock, so the module reads none.
//
// The market is that of the reference figures: a price of 65,000.00 in units of 10^-8, tick 0.01, a walk of 0.1 basis
// points per tick that leans back to its start. Fixed watches lie 0.1% to 10% away, half above and half below; trailing
// ones follow the high with 0.1% to 10%, armed along a walk that ends where the ticks begin. A watch that fires is armed
// again, so their number stays.

/// Measures `MarketIndex`.
public enum IndexBenchmark {
    public enum Kind: String, Sendable, CaseIterable { case fixed, trailing }

    public struct Result: Hashable, Sendable {
        public let kind: Kind
        public let orders: Int
        public let armedSingly: Bool
        /// Nanoseconds to arm all of them.
        public let buildNanoseconds: UInt64
        public let bytesPerOrder: Double
        /// Distinct extremes of the trailing watches at the start of the walk.
        public let groups: Int
        /// A tick that crosses nothing and is no new extreme.
        public let quietTickNanoseconds: Double
        /// A tick of the walk, arming again included.
        public let walkTickNanoseconds: Double
        public let walkFiringsPerTick: Double
        /// Arming one by one in the walk's index, at random levels.
        public let armNanoseconds: Double
        public let disarmNanoseconds: Double
        /// One tick 2% lower.
        public let gapFirings: Int
        public let gapNanosecondsPerFiring: Double
    }

    private static let start: Int64 = 6_500_000_000_000
    private static let unit: Int64 = 1_000_000

    /// Runs all measurements for one kind and number of orders.
    /// - Parameters:
    ///   - orders: at least 1.
    ///   - armedSingly: one by one, as orders arrive; else all at once, as a worker loads them.
    ///   - ticks: the length of the quiet and of the walking stretch.
    ///   - clock: nanoseconds of a monotonic clock.
    public static func run(
        orders: Int,
        kind: Kind,
        seed: UInt64,
        armedSingly: Bool = false,
        ticks: Int = 2_000_000,
        clock: () -> UInt64,
    ) -> Result {
        precondition(orders > 0 && ticks > 0)
        var random = Generator(seed: seed)
        let watches = watches(orders, kind, &random)
        var index = MarketIndex(tickUnits: unit)
        var crossings: [Crossing] = []
        crossings.reserveCapacity(orders)

        let beforeBuild = clock()
        let handles =
            armedSingly ? watches.map { index.arm($0.rule, tag: $0.tag) } : index.arm(contentsOf: watches)
        let buildNanoseconds = clock() - beforeBuild
        // The walk that armed the trailing watches has fired some of them already: they start again at the price.
        settle(&index, &crossings, kind, &random)
        let bytesPerOrder = Double(index.footprint) / Double(orders)
        let groups = index.groupCount

        let quiet = quietTicks(ticks, index)
        let beforeQuiet = clock()
        for price in quiet { index.advance(to: price, &crossings) }
        let quietNanoseconds = clock() - beforeQuiet
        crossings.removeAll(keepingCapacity: true)

        let gap = gap(below: index, &crossings, clock)

        let walk = walk(ticks, &random)
        let choices = (0..<4_096).map { _ in random.below(990) }
        var firings = 0
        let beforeWalk = clock()
        for price in walk {
            index.advance(to: price, &crossings)
            if crossings.isEmpty { continue }
            for crossing in crossings {
                let choice = choices[firings & 4_095]
                firings += 1
                _ = index.arm(rule(kind, tag: crossing.tag, choice, at: price), tag: crossing.tag)
            }
            crossings.removeAll(keepingCapacity: true)
        }
        let walkNanoseconds = clock() - beforeWalk

        let churn = handles.filter(index.isArmed).prefix(100_000)
        let beforeDisarm = clock()
        for handle in churn { index.disarm(handle) }
        let disarmNanoseconds = clock() - beforeDisarm
        let price = walk[walk.count - 1]
        let beforeArm = clock()
        for number in churn.indices {
            _ = index.arm(rule(kind, tag: UInt64(number), choices[number & 4_095], at: price), tag: UInt64(number))
        }
        let armNanoseconds = clock() - beforeArm

        return Result(
            kind: kind,
            orders: orders,
            armedSingly: armedSingly,
            buildNanoseconds: buildNanoseconds,
            bytesPerOrder: bytesPerOrder,
            groups: groups,
            quietTickNanoseconds: Double(quietNanoseconds) / Double(ticks),
            walkTickNanoseconds: Double(walkNanoseconds) / Double(ticks),
            walkFiringsPerTick: Double(firings) / Double(ticks),
            armNanoseconds: Double(armNanoseconds) / Double(max(churn.count, 1)),
            disarmNanoseconds: Double(disarmNanoseconds) / Double(max(churn.count, 1)),
            gapFirings: gap.firings,
            gapNanosecondsPerFiring: Double(gap.nanoseconds) / Double(max(gap.firings, 1)),
        )
    }

    /// One tick 2% lower, on a copy that ends here: the walk goes on with the index as it was.
    private static func gap(
        below index: MarketIndex,
        _ crossings: inout [Crossing],
        _ clock: () -> UInt64,
    ) -> (firings: Int, nanoseconds: UInt64) {
        var copy = index
        // The first change of a shared array copies it: not what is measured.
        copy.disarm(copy.arm(.falling(threshold: 1), tag: 0))
        copy.disarm(copy.arm(.followsHigh(.rate(millionths: 1_000_000), extreme: start * 2), tag: 0))
        let before = clock()
        copy.advance(to: start / 100 * 98, &crossings)
        let nanoseconds = clock() - before
        defer { crossings.removeAll(keepingCapacity: true) }
        return (crossings.count, nanoseconds)
    }

    /// A watch at `price`: `choice` 0..<990 is its distance of 0.1% to 10%.
    private static func rule(_ kind: Kind, tag: UInt64, _ choice: UInt64, at price: Int64) -> WatchRule {
        let millionths = Int64(1_000 + 100 * choice)
        switch kind {
        case .fixed:
            let distance = price / 1_000_000 * millionths
            return tag & 1 == 1 ? .rising(threshold: price + distance) : .falling(threshold: price - distance)
        case .trailing:
            return .followsHigh(.rate(millionths: UInt32(millionths)), extreme: price)
        }
    }

    private static func watches(
        _ orders: Int,
        _ kind: Kind,
        _ random: inout Generator,
    ) -> [(rule: WatchRule, tag: UInt64)] {
        switch kind {
        case .fixed:
            return (0..<UInt64(orders)).map { tag in
                // Spread finer than the 990 choices, as levels that people type are.
                let distance = start / 1_000_000 * Int64(1_000 + random.below(99_000)) / unit * unit
                return (
                    tag & 1 == 1 ? .rising(threshold: start + distance) : .falling(threshold: start - distance), tag,
                )
            }
        case .trailing:
            // As much history as 20,000 ticks make; the extreme is the highest price since.
            let history = walk(orders, &random, scale: Int64((20_000 * 1e6 / Double(orders)).squareRoot()))
            let offset = start - history[orders - 1]
            var highest = Int64.min
            var extremes = history
            for position in history.indices.reversed() {
                highest = max(highest, history[position] + offset)
                extremes[position] = highest
            }
            return (0..<orders).map { position in
                (
                    .followsHigh(
                        .rate(millionths: UInt32(1_000 + 100 * random.below(990))),
                        extreme: extremes[position],
                    ),
                    UInt64(position),
                )
            }
        }
    }

    private static func settle(
        _ index: inout MarketIndex,
        _ crossings: inout [Crossing],
        _ kind: Kind,
        _ random: inout Generator,
    ) {
        index.advance(to: start, &crossings)
        for crossing in crossings {
            _ = index.arm(rule(kind, tag: crossing.tag, random.below(990), at: start), tag: crossing.tag)
        }
        crossings.removeAll(keepingCapacity: true)
    }

    /// Ticks that change nothing: the start and one unit beside it, where the index says so.
    private static func quietTicks(_ count: Int, _ index: MarketIndex) -> [Int64] {
        let other = index.isQuiet(start - unit) ? start - unit : start
        return (0..<count).map { $0 & 1 == 0 ? start : other }
    }

    /// A walk of about 0.1 basis points per tick, on the grid, or of `scale` thousandths of that.
    private static func walk(_ count: Int, _ random: inout Generator, scale: Int64 = 1_000) -> [Int64] {
        var price = start
        return (0..<count).map { _ in
            // Sum of four uniform steps, standard deviation 0.1 basis points = 65 units.
            var noise: Int64 = -4 * 56_500
            for _ in 0..<4 { noise += Int64(random.below(113_000)) }
            price += noise * scale * (unit / 1_000_000) - (price - start) / 100_000
            return price / unit * unit
        }
    }

    /// SplitMix64: the seed is the run.
    private struct Generator {
        private var state: UInt64
        init(seed: UInt64) { state = seed }
        mutating func below(_ limit: UInt64) -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var word = state
            word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
            word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
            return (word ^ (word >> 31)).multipliedFullWidth(by: limit).high
        }
    }
}
