import OrderEngine
import Testing

@Suite struct JobRetryPolicyTests {
    @Test(arguments: 0..<32 as Range<UInt64>)
    func `pauses double up to the cap, a fifth either way`(seed: UInt64) {
        var random = Dice(state: seed)
        for jobClass in JobClass.allCases {
            let policy = JobRetryPolicy.of(jobClass)
            for retry in 1...80 {
                let plain = min(policy.capMs, policy.baseMs << Int64(min(retry - 1, 20)))
                let delay = policy.delayMs(retry: retry, using: &random)
                #expect(delay >= plain * 8 / 10 && delay <= plain * 12 / 10, "seed \(seed), retry \(retry)")
            }
        }
    }

    @Test func `stops are never given up, the others are`() {
        var random = Dice(state: 1)
        func isDead(_ jobClass: JobClass, after attempts: Int) -> Bool {
            let outcome = JobRetryPolicy.of(jobClass).outcome(attemptsMade: attempts, reason: "X: y", using: &random)
            return outcome == .dead(reason: "X: y")
        }
        #expect(!isDead(.stops, after: 1_000_000))
        #expect(!isDead(.targets, after: 23))
        #expect(isDead(.targets, after: 24))
        #expect(!isDead(.housekeeping, after: 10))
        #expect(isDead(.housekeeping, after: 11))
    }

    /// SplitMix64.
    private struct Dice: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var value = state
            value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
            return value ^ value >> 31
        }
    }
}
