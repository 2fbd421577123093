/// SplitMix64: the same seed gives the same run everywhere.
package struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    /// True once in `1 / chance` times.
    mutating func happens(_ chance: Double) -> Bool {
        chance > 0 && Double(next() >> 11) * 0x1p-53 < chance
    }

    /// Exponentially distributed, in whole units; `mean` 0 gives 0.
    mutating func exponential(mean: Double) -> Int64 {
        guard mean > 0 else { return 0 }
        // The sum of twelve uniform numbers under a power: no logarithm, so the same bits on every machine.
        let uniform = Double(next() >> 11) * 0x1p-53
        return Int64(mean * uniform * uniform * 3)
    }
}
