// One worker process: holds its lease, evaluates its shards, takes jobs of any shard.
//
// The heartbeat runs beside everything else; a lost lease, or a gap in it longer than the lease, voids all memory of
// shards (RELIABILITY.md 3.4). Shutdown: stop taking, let handlers end, hand back what was not begun, leave.
internal import SmartOrders

/// The worker role.
public struct WorkerDuty: Sendable {
    private let context: EngineContext
    private let history: PriceHistory
    private let evaluator: Evaluator
    private let worker: OrderWorker
    /// Jobs in hand at most, by class (QUEUE.md 7.1).
    private static let slots = TakeRequest(stops: 58, targets: 32, housekeeping: 8)
    private static let concurrency = 128

    public init(context: EngineContext) {
        self.context = context
        history = PriceHistory(ticks: context.ticks, cluster: context.cluster)
        evaluator = Evaluator(context: context, history: history)
        worker = OrderWorker(
            context: context,
            history: history,
            committer: CommitBatcher(store: context.orders, clock: context.clock),
        )
    }

    /// Runs until cancelled, then leaves in order.
    public func run() async throws {
        try await context.cluster.register(context.worker)
        try await withThrowingTaskGroup { group in
            group.addTask { try await self.heartbeat() }
            group.addTask { try await self.evaluator.run() }
            group.addTask { try await self.reclaim() }
            // Several takers: one waits for the venue while another takes what is urgent.
            for _ in 0..<4 { group.addTask { try await self.takeJobs() } }
            group.addTask { try await VenueListener(context: self.context, history: self.history).run() }
            do {
                try await group.next()
            } catch {
                group.cancelAll()
                while let _ = try? await group.next() {}  // tidy-ok: the first error counts
                throw error
            }
            group.cancelAll()
        }
    }

    /// Gives shards back at once; call after `run` has ended.
    public func leave() async {
        do throws(StoreError) {
            try await context.cluster.leave(context.worker)
        } catch {
            context.observer.note(.warning, "Could not leave; the lease will lapse", [("error", error.detail)])
        }
    }

    private func heartbeat() async throws {
        var last = context.clock.monotonicNanoseconds()
        while !Task.isCancelled {
            do throws(StoreError) {
                let reply = try await context.cluster.heartbeat(context.worker)
                let now = context.clock.monotonicNanoseconds()
                if now - last > 2_000_000_000 || !reply.leaseHeld {
                    context.observer.note(
                        .warning,
                        "Worker lease lapsed; shards are loaded anew",
                        [("worker", context.worker.text)],
                    )
                    await evaluator.drop()
                }
                if !reply.leaseHeld { try await context.cluster.register(context.worker) }
                last = now
                await evaluator.hold(reply.leaseHeld ? reply.assignments : [])
            } catch {
                context.observer.count("heartbeat_errors_total", 1)
            }
            try await context.clock.sleep(milliseconds: 500)
        }
    }

    private func reclaim() async throws {
        while !Task.isCancelled {
            do throws(QueueError) {
                try await context.queue.reclaim(dead: [])
            } catch {
                context.observer.count("queue_errors_total", 1)
            }
            try await context.clock.sleep(milliseconds: 1_000)
        }
    }

    private func takeJobs() async throws {
        while !Task.isCancelled {
            var jobs: [TakenJob] = []
            do throws(QueueError) {
                jobs = try await context.queue.take(Self.slots)
            } catch {
                context.observer.count("queue_errors_total", 1)
                await takeFromStore()
                try await context.clock.sleep(milliseconds: 250)
                continue
            }
            guard !jobs.isEmpty else {
                await context.queue.waitForWork()
                continue
            }
            let begun = context.clock.monotonicNanoseconds()
            let outcomes = await worker.handle(jobs)
            context.observer.measure(
                "job_batch_duration_seconds",
                milliseconds: Double(context.clock.monotonicNanoseconds() - begun) / 1e6,
            )
            context.observer.count("jobs_handled_total", jobs.count)
            do throws(QueueError) {
                _ = try await context.queue.finish(outcomes)
            } catch {
                // They come back when their lease lapses, and decide nothing then.
                context.observer.count("queue_errors_total", 1)
            }
            await closeJobs(outcomes)
        }
    }

    /// Outbox rows of jobs that are done are closed; what failed for good says so in the log.
    private func closeJobs(_ outcomes: [(job: TakenJob, outcome: JobOutcome)]) async {
        var done: [JobID] = []
        for (job, outcome) in outcomes {
            switch outcome {
            case .done, .obsolete: if let id = JobID(job.rawID) { done.append(id) }
            case .retry: break
            case .dead(let reason):
                context.observer.note(.error, "Job is dead", [("job_id", job.rawID), ("reason", reason)])
            }
        }
        guard !done.isEmpty else { return }
        do throws(StoreError) {
            try await context.orders.closeJobs(done)
        } catch {
            context.observer.count("store_errors_total", 1)
        }
    }

    /// While the queue is away the outbox is polled (RELIABILITY.md 3.3).
    private func takeFromStore() async {
        do throws(StoreError) {
            let jobs = try await context.orders.takeUnoffered(limit: 64)
            let taken = jobs.map { job in
                TakenJob(
                    rawID: "\(job.id)",
                    job: job,
                    jobClass: job.jobClass,
                    partition: 0,
                    token: "",
                    attemptsMade: 0,
                    deliveries: 1,
                    crashes: 0,
                )
            }
            guard !taken.isEmpty else { return }
            await closeJobs(worker.handle(taken))
        } catch {
            context.observer.note(.warning, "Neither queue nor outbox can be read", [("error", error.detail)])
        }
    }
}
