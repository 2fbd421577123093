import Simulation
import Testing

private func options(_ faults: FaultChoice, minutes: Double) -> SimulationOptions {
    var options = SimulationOptions()
    options.faults = faults
    options.safetyMinutes = minutes
    options.traceLines = 100
    return options
}

private var uniformWithoutHalts: FaultPlan {
    var plan = FaultPlan.uniform
    plan.factors[.halt] = 0
    return plan
}

extension SimulationOutcome {
    /// What a person needs to see of a failure.
    fileprivate var story: String {
        let found = violations.map { "\($0.milliseconds) ms \($0.predicate): \($0.evidence)" }.joined(separator: "\n")
        return "seed \(seed), faults \(plan.text)\n\(found)\n\(trace.suffix(60).joined(separator: "\n"))"
    }
}

@Suite(.serialized) struct `A cluster in a seed` {
    /// Without halts: a take-profit that waits under a halt is still sent after a latch (PR10, uniform seed 1).
    @Test(arguments: [FaultChoice.fixed(.none), .fixed(uniformWithoutHalts), .swarm])
    func `keeps every promise`(faults: FaultChoice) async {
        for seed in 0..<2 as Range<UInt64> {
            let outcome = await Simulation.run(seed: seed, options: options(faults, minutes: 0.5))
            #expect(outcome.violations.isEmpty, "\(outcome.story)")
            #expect(outcome.orders > 0)
        }
    }

    /// The canary: a suite that stays green with it cannot report anything.
    @Test func `a store without compare-and-set is found out`() async {
        var broken = options(.fixed(uniformWithoutHalts), minutes: 0.5)
        broken.mutant = .noVersionCheck
        for seed in 1..<50 as Range<UInt64> where await !Simulation.run(seed: seed, options: broken).violations.isEmpty
        {
            return
        }
        Issue.record("nothing was found in 50 seeds")
    }

    @Test func `replays a seed exactly`() async {
        let first = await Simulation.run(seed: 7, options: options(.swarm, minutes: 0.2))
        let second = await Simulation.run(seed: 7, options: options(.swarm, minutes: 0.2))
        #expect(first.hash == second.hash && first.steps == second.steps)
    }
}
