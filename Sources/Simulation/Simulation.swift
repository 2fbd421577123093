// The whole cluster in a deterministic simulation: `smartorders simulate` (RELIABILITY.md 8).
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

/// What a run is asked to be.
package struct SimulationOptions: Hashable, Sendable {
    package var faults = FaultChoice.swarm
    /// Virtual minutes with faults.
    package var safetyMinutes: Double = 15
    package var traceLines = 0
    package var mutant: Mutant?

    package init() {}
}

/// What one seed came to.
package struct SimulationOutcome: Sendable {
    package let seed: UInt64
    package let plan: FaultPlan
    package let safetyMinutes: Double
    package let violations: [Violation]
    /// A fingerprint of everything that happened, in its order.
    package let hash: UInt64
    package let milliseconds: Int64
    package let steps: Int
    package let orders: Int
    package let commits: Int
    package let accepted: Int
    package let marks: [String: Int]
    package let trace: [String]
}

package enum Simulation {
    /// Runs one seed on a thread of its own.
    package static func run(seed: UInt64, options: SimulationOptions) async -> SimulationOutcome {
        await withCheckedContinuation { done in
            OwnerThread.start(name: "simulation") { done.resume(returning: runHere(seed: seed, options: options)) }
        }
    }

    /// The same on the calling thread, which must not belong to Swift's pool.
    package static func runHere(seed: UInt64, options: SimulationOptions) -> SimulationOutcome {
        // Apart, so that a run with fewer faults is otherwise the same.
        var random = SeededRandom(seed: seed ^ 0x5eed_0000)
        var planRandom = SeededRandom(seed: seed ^ 0xfa17_0000)
        let safetyMs = Int64(options.safetyMinutes * 60_000)
        let plan =
            switch options.faults {
            case .swarm: FaultPlan.swarm(&planRandom)
            case .fixed(let plan): plan
            }
        let setup = Setup(&random, safetyMs: safetyMs)
        let simulator = Simulator(seed: seed, traceLimit: options.traceLines)
        let world = World(simulator: simulator, plan: plan, mutant: options.mutant, setup: setup)
        let run = ClusterRun(world: world, setup: setup, safetyMs: safetyMs)
        switch simulator.runHere({ await run.run() }) {
        case .finished: break
        case .deadlock: world.oracle.report("DEADLOCK", "nobody goes on")
        case .busyLoop: world.oracle.report("BUSY", "two million steps in one moment")
        }
        return SimulationOutcome(
            seed: seed,
            plan: plan,
            safetyMinutes: options.safetyMinutes,
            violations: world.oracle.violations,
            hash: simulator.traceHash,
            milliseconds: simulator.milliseconds,
            steps: simulator.steps,
            orders: world.oracle.orderIDs.count,
            commits: world.oracle.commits,
            accepted: world.venue.acceptedCount,
            marks: world.faults.marks,
            trace: simulator.trace,
        )
    }

    /// The smallest run found that breaks the same predicate: fault classes are left out one by one, then time.
    package static func shrink(_ failed: SimulationOutcome, options: SimulationOptions) async -> SimulationOutcome {
        guard let predicate = failed.violations.first?.predicate else { return failed }
        var best = failed
        var options = options
        func stillFails() async -> SimulationOutcome? {
            let outcome = await run(seed: failed.seed, options: options)
            return outcome.violations.contains { $0.predicate == predicate } ? outcome : nil
        }
        for fault in FaultClass.allCases where best.plan[fault] > 0 {
            var plan = best.plan
            plan.factors[fault] = nil
            options.faults = .fixed(plan)
            if let smaller = await stillFails() { best = smaller }
        }
        options.faults = .fixed(best.plan)
        while best.safetyMinutes > 0.2 {
            options.safetyMinutes = best.safetyMinutes / 2
            guard let smaller = await stillFails() else { break }
            best = smaller
        }
        return best
    }
}
