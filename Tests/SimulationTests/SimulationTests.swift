import Simulation
import Testing

private func options(_ faults: FaultChoice, minutes: Double) -> SimulationOptions {
    var options = SimulationOptions()
    options.faults = faults
    options.safetyMinutes = minutes
    return options
}

extension SimulationOutcome {
    /// What a person needs to see of a failure, made again with its last lines.
    fileprivate func story(_ options: SimulationOptions) async -> String {
        var options = options
        options.traceLines = 60
        let again = await Simulation.run(seed: seed, options: options)
        let found = violations.map { "\($0.milliseconds) ms \($0.predicate): \($0.evidence)" }.joined(separator: "\n")
        return "seed \(seed), faults \(plan.text)\n\(found)\n\(again.trace.suffix(60).joined(separator: "\n"))"
    }
}

/// A seed that found something once.
struct FoundSeed: Sendable {
    let seed: UInt64
    let faults: String
    let minutes: Double
    let found: String
}

@Suite(.serialized) struct `A cluster in a seed` {
    @Test(arguments: [FaultChoice.fixed(.none), .fixed(.uniform), .swarm])
    func `keeps every promise`(faults: FaultChoice) async {
        let options = options(faults, minutes: 1)
        for seed in 0..<(faults == .swarm ? 6 : 1) as Range<UInt64> {
            let outcome = await Simulation.run(seed: seed, options: options)
            #expect(outcome.orders > 0)
            if !outcome.violations.isEmpty { Issue.record("\(await outcome.story(options))") }
        }
    }

    /// Replayed for ever.
    @Test(arguments: [
        FoundSeed(
            seed: 1,
            faults: "uniform",
            minutes: 0.5,
            found: "a take-profit that waited under a halt left after the latch",
        ),
        FoundSeed(
            seed: 3,
            faults: "kill=12,drain=1,pause=4,pgReset=12,redisLoss=4,redisOutage=12,venueLoss=4,venueAnswer=4,"
                + "venueQueue=1,venueLag=0.3,venueOutage=0.3,venuePartial=1,venueStream=1,net=12,clock=1,halt=0.3",
            minutes: 1,
            found: "a level planned more than a latched stop had left",
        ),
        FoundSeed(
            seed: 143,
            faults: "swarm",
            minutes: 15,
            found: "a look-up that died with its workers was never offered again",
        ),
        FoundSeed(
            seed: 242,
            faults: "swarm",
            minutes: 15,
            found: "an acceptance of shards without an answer let the cursor pass a crossing",
        ),
        FoundSeed(
            seed: 274,
            faults: "swarm",
            minutes: 15,
            found: "a process that had slept fired a later crossing before an earlier one",
        ),
        FoundSeed(
            seed: 819,
            faults: "swarm",
            minutes: 15,
            found: "a command took a price from before the order for its newest",
        ),
        FoundSeed(
            seed: 990,
            faults: "swarm",
            minutes: 15,
            found: "a tick that a rule answered with nothing moved no water mark",
        ),
    ])
    func `stays clean where something was found`(_ one: FoundSeed) async throws {
        let options = options(try #require(FaultChoice(one.faults)), minutes: one.minutes)
        let outcome = await Simulation.run(seed: one.seed, options: options)
        if !outcome.violations.isEmpty { Issue.record("\(one.found): \(await outcome.story(options))") }
    }

    /// The canary: a suite that stays green with it cannot report anything.
    @Test func `a store without compare-and-set is found out`() async {
        var broken = options(.fixed(.uniform), minutes: 0.5)
        broken.mutant = .noVersionCheck
        for seed in 1..<50 as Range<UInt64> where await !Simulation.run(seed: seed, options: broken).violations.isEmpty
        {
            return
        }
        Issue.record("nothing was found in 50 seeds")
    }

    /// Every third of the planted errors and the newest; `scripts/simulate` looks for all of them.
    @Test(
        arguments: Mutant.allCases.enumerated().filter { $0.offset % 3 == 0 || $0.element == .fillPassesNoTicks }
            .map(\.element)
    )
    func `a planted error is found out`(mutant: Mutant) async {
        var broken = options(.fixed(mutant.faults), minutes: 1.5)
        broken.mutant = mutant
        for seed in 1..<60 as Range<UInt64> where await !Simulation.run(seed: seed, options: broken).violations.isEmpty
        {
            return
        }
        Issue.record("nothing was found in 60 seeds")
    }

    /// What finds a planted error finds nothing where none is.
    @Test(arguments: Set(Mutant.allCases.map(\.faults)).sorted { $0.text < $1.text })
    func `without a planted error nothing is found`(faults: FaultPlan) async {
        let options = options(.fixed(faults), minutes: 1)
        let outcome = await Simulation.run(seed: 1, options: options)
        if !outcome.violations.isEmpty { Issue.record("\(await outcome.story(options))") }
    }

    @Test func `replays a seed exactly`() async {
        var traced = options(.swarm, minutes: 0.2)
        traced.traceLines = 10
        let first = await Simulation.run(seed: 7, options: traced)
        let second = await Simulation.run(seed: 7, options: traced)
        #expect(first.hash == second.hash && first.steps == second.steps)
    }
}
