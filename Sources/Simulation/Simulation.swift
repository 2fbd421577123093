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
        var random = SeededRandom(seed: seed ^ 0x5eed_0000)
        let safetyMs = Int64(options.safetyMinutes * 60_000)
        let plan =
            switch options.faults {
            case .swarm: FaultPlan.swarm(&random)
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
}
