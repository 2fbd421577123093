// `smartorders redis`: what it is, and filling it again from PostgreSQL (QUEUE.md 14.3).
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import TriggerQueue

struct RedisCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redis",
        abstract: "The queue's server: info, rebuild.",
        subcommands: [Info.self, Rebuild.self],
    )

    struct Info: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What is wrong with the server, if anything, and what the queue holds.",
            discussion: """
                EXAMPLES
                  smartorders redis info
                  smartorders redis info --redis redis://127.0.0.1:6379/0
                """,
        )
        @OptionGroup var options: OperatorOptions

        func run() async throws {
            try await Operator.with(options) { desk in
                for finding in try await desk.queue.findings() {
                    show("\(finding.isRefusal ? "FAIL" : "warn")  \(finding)")
                }
                let counts = try await desk.queue.counts().values
                show(
                    "waiting \(counts.reduce(0) { $0 + $1.waiting }), active \(counts.reduce(0) { $0 + $1.active }), "
                        + "dead \(counts.reduce(0) { $0 + $1.dead })"
                )
            }
        }
    }

    struct Rebuild: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Begins a new generation of the queue and fills it from PostgreSQL. Safe while workers run.",
            discussion: """
                Repeatable. Workers see the new generation with their next call and offer their open crossings again.

                EXAMPLES
                  smartorders redis rebuild --dry-run
                  smartorders redis rebuild --reason "restored from an old snapshot"
                """,
        )
        @OptionGroup var options: OperatorOptions

        func run() async throws {
            try await Operator.with(options) { desk in
                let pending = try await desk.store.pendingJobs().values.reduce(0, +)
                let pauses = try await desk.store.pauses()
                if options.dryRun {
                    return show("would offer \(pending) jobs and restore \(pauses.count) pauses")
                }
                // Every call names the generation: whatever was read from the old content is refused from here on.
                let present = try await DatabaseHistory.check(desk.pool).queueGeneration
                guard let generation = try await DatabaseHistory.raiseGeneration(desk.pool, seen: present) else {
                    throw Failure(.conflict, "REBUILD_RACE", "somebody else began a generation just now.")
                }
                desk.queue.setGeneration(generation)
                try await desk.queue.open()
                for pause in pauses {
                    guard let queue = QueueAddress(pause.queue) else { continue }
                    try await desk.queue.pause(queue, durationMs: pause.leftMs, by: pause.actor, reason: pause.reason)
                }
                var offered = 0
                // Marked rows are not due for a second; the bound ends it when more comes in than goes out.
                for _ in 0..<10_000 {
                    let jobs = try await desk.orders.unofferedJobs(limit: 256)
                    if jobs.isEmpty { break }
                    _ = try await desk.queue.offer(jobs, verify: true)
                    try await desk.orders.markOffered(jobs.map(\.id))
                    offered += jobs.count
                }
                try await desk.audit(
                    "redis.rebuild",
                    "generation \(generation)",
                    reason: options.reason ?? "",
                    ["offered": .integer(offered), "pauses": .integer(pauses.count)],
                )
                show("generation \(generation): offered \(offered) jobs, restored \(pauses.count) pauses")
            }
        }
    }
}
