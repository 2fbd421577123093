// Golden scenarios on a real cluster: `smartorders scenario run --cluster`.
//
// Scenarios that do not depend on the clock are played side by side, event by event: all first events, then all second
// ones. The others are played one after the other, each with the clock to itself. A restart before every event is one
// restart per round.
import JSONText
import OwnerThread
import Replay

struct ClusterScenarios: Sendable {
    /// How the cluster is disturbed.
    struct Modes: Sendable {
        /// All workers end, and new ones begin, before every event.
        var restartEveryStep = false
        /// Redis is away all the time.
        var withoutRedis = false
    }

    enum Verdict: Sendable {
        case ran(ScenarioResult)
        case notRun(id: String, reason: String)
    }

    /// Plays what can be played on a cluster, in the order of the file.
    static func run(_ scenarios: [Scenario], modes: Modes) async throws -> [Verdict] {
        var plans: [ClusterPlan] = []
        var conditional: [ConditionalClusterRun] = []
        for scenario in scenarios where try ClusterPlan.obstacle(scenario) == nil {
            let number = plans.count + conditional.count + 1
            if scenario.kind == .conditional {
                conditional.append(try ConditionalClusterRun(scenario, number: number))
            } else {
                plans.append(try ClusterPlan(scenario, number: number))
            }
        }
        var outcomes: [String: ScenarioResult] = [:]
        if !plans.isEmpty || !conditional.isEmpty {
            let markets = plans.map(\.market) + conditional.map(\.market)
            let cluster = try await ScenarioCluster.start(markets: markets, usesRedis: !modes.withoutRedis)
            do {
                for group in [plans.filter { !$0.isTimed }] + plans.filter(\.isTimed).map({ [$0] }) {
                    for result in try await play(group, on: cluster, modes: modes) { outcomes[result.id] = result }
                }
                for run in conditional {
                    let outcome = try await run.play(on: cluster, restarts: modes.restartEveryStep)
                    let result = try ScenarioRunner.compare(outcome, with: run.scenario)
                    outcomes[result.id] = result
                }
            } catch {
                await cluster.stop()
                throw error
            }
            await cluster.stop()
        }
        return try scenarios.map { scenario in
            if let result = outcomes[scenario.id] { return .ran(result) }
            return .notRun(id: scenario.id, reason: try ClusterPlan.obstacle(scenario) ?? "it was not played")
        }
    }

    private static func play(
        _ plans: [ClusterPlan],
        on cluster: ScenarioCluster,
        modes: Modes,
    ) async throws -> [ScenarioResult] {
        cluster.clock.set(ScenarioEvent.origin)
        var runs = await all(plans.map { ClusterRun($0, on: cluster) }) { await $0.create() }
        for index in 0..<(plans.map(\.events.count).max() ?? 0) {
            let restarts = runs.contains { run in
                guard index < run.plan.events.count, case .restart = run.plan.events[index].what else { return false }
                return true
            }
            if modes.restartEveryStep || restarts { try await cluster.restartWorkers() }
            runs = await all(runs) { if index < $0.plan.events.count { await $0.begin(index) } }
            if runs.count == 1, runs[0].movesClock(index) { cluster.clock.set(plans[0].events[index].time) }
            runs = await all(runs) { if index < $0.plan.events.count { await $0.finish(index) } }
        }
        var results: [ScenarioResult] = []
        for run in runs {
            let result = try ScenarioRunner.compare(try await run.outcome(), with: run.plan.scenario)
            if !result.passed {
                for line in try await run.story() { StandardError.line("\(result.id) \(line)") }
            }
            results.append(result)
        }
        return results
    }

    /// Does something with every run at the same time.
    private static func all(
        _ runs: [ClusterRun],
        _ body: @Sendable @escaping (inout ClusterRun) async -> Void,
    ) async -> [ClusterRun] {
        await withTaskGroup { group in
            for (index, run) in runs.enumerated() {
                group.addTask { () -> (Int, ClusterRun) in
                    var run = run
                    await body(&run)
                    return (index, run)
                }
            }
            var done = runs
            for await (index, run) in group { done[index] = run }
            return done
        }
    }
}
