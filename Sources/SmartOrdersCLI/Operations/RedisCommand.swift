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
                With --partitions nothing else may run: stop every worker and scheduler first. The queue is emptied, jobs
                come back from PostgreSQL, and whoever starts next works with the new number.

                EXAMPLES
                  smartorders redis rebuild --dry-run
                  smartorders redis rebuild --reason "restored from an old snapshot"
                  smartorders redis rebuild --partitions 16 --reason "six cluster nodes"
                """,
        )
        @OptionGroup var options: OperatorOptions
        @Option(help: "How many partitions the queue has from now on: 1, 2, 4, 8 or 16.")
        var partitions: Int?

        func run() async throws {
            if let partitions, !QueuePartitions.allowedCounts.contains(partitions) {
                throw Failure(
                    .usage,
                    "PARTITIONS",
                    "\(partitions) is no number of partitions.",
                    hint: "1, 2, 4, 8, 16",
                )
            }
            try await Operator.with(options) { desk in
                let pending = try await desk.store.pendingJobs().values.reduce(0, +)
                let pauses = try await desk.orders.queuePauses()
                let history = try await DatabaseHistory.check(desk.pool)
                if options.dryRun {
                    if let partitions { show("would change \(history.queuePartitions) partitions to \(partitions)") }
                    return show("would offer \(pending) jobs and restore \(pauses.count) pauses")
                }
                if let partitions, partitions != history.queuePartitions {
                    let generation = try await dismantle(desk, partitions)
                    let queue = try Operator.queue(options, partitions: partitions, generation: generation)
                    defer { queue.close() }
                    try await Operator.reach(queue)
                    return Self.tell(try await desk.fill(queue, generation, pauses, reason: options.reason ?? ""))
                }
                Self.tell(try await desk.rebuild(reason: options.reason ?? ""))
            }
        }

        private static func tell(_ rebuilt: Operator.Rebuilt) {
            show(
                "generation \(rebuilt.generation): offered \(rebuilt.offered) jobs, restored \(rebuilt.pauses) pauses, "
                    + "\(rebuilt.dead) dead"
            )
        }

        /// Empties the queue as it is, after its dead are stored, and stores the new number. Returns the generation.
        private func dismantle(_ desk: Operator, _ partitions: Int) async throws -> Int64 {
            let reason = try options.reason(when: true)
            try await keepDead(desk)
            guard let generation = try await DatabaseHistory.setPartitions(desk.pool, partitions) else {
                throw Failure(
                    .refused,
                    "PROCESSES_RUN",
                    "a worker or a scheduler runs: it would go on with the old partitions.",
                    hint: "stop all of them; a lease ends 2 s after its process",
                )
            }
            try await desk.queue.dismantle()
            try await desk.audit("redis.partitions", "\(partitions)", reason: reason, [:])
            return generation
        }

        /// Deaths that only Redis knows: of jobs that crashed their workers.
        private func keepDead(_ desk: Operator) async throws {
            try await JobFilter.parse([]).find(desk, .dead) { jobs in
                let deaths = jobs.compactMap { record -> JobDeath? in
                    let job = JobText.job(
                        id: record.id,
                        name: record.name,
                        data: record.data,
                        jobClass: record.queue.jobClass,
                    )
                    return job.map {
                        JobDeath(
                            job: $0,
                            reason: record.reason ?? "",
                            attempts: record.attemptsMade,
                            crashes: record.crashes,
                        )
                    }
                }
                try await desk.orders.buryJobs(deaths)
            }
        }
    }
}
