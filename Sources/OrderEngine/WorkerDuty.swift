// One worker process: holds its lease, evaluates its shards, takes jobs of any shard.
//
// The heartbeat runs beside everything else; a lost lease, or a gap in it longer than the lease, voids all memory of
// shards (RELIABILITY.md 3.4). Shutdown: stop taking, let handlers end, hand back what was not begun, leave.
internal import OwnerThread
internal import SmartOrders

/// The worker role.
public struct WorkerDuty: Sendable {
    private let context: EngineContext
    private let history: PriceHistory
    private let evaluator: Evaluator
    private let worker: OrderWorker
    /// The operator asked this worker to take nothing.
    private let isQuiet = Locked(false)
    /// As the last heartbeat said.
    private let held = Locked(ShardSet())
    private let slots = JobSlots()

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
            group.addTask { try await self.takeJobs() }
            group.addTask {
                let held = self.held
                try await VenueListener(context: self.context) { account in
                    held.withLock { $0.contains(OrderID(account.value).shard) }
                }.run()
            }
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
        var wasStuck = false
        var known: [ShardAssignment] = []
        var incarnation: Int64?
        var priceRevision: Int64?
        while !Task.isCancelled {
            let isStuck = evaluator.isStuck
            if isStuck {
                if !wasStuck {
                    context.observer.note(
                        .warning,
                        "Evaluation is stuck; the lease is not renewed",
                        [("worker", context.worker.text)],
                    )
                }
                wasStuck = true
                try await context.clock.sleep(milliseconds: 500)
                continue
            }
            wasStuck = false
            do throws(StoreError) {
                let reply = try await context.cluster.heartbeat(context.worker)
                isQuiet.withLock { $0 = reply.isQuiet }
                slots.set(concurrency: reply.concurrency ?? WorkerStanding.usualConcurrency)
                if let step = reply.clockStepMs {
                    context.observer.count("store_clock_steps_total", 1)
                    context.observer.note(
                        .error,
                        "The database's clock jumped; what it fences begins anew",
                        [("ms", "\(step)")],
                    )
                }
                if reply.wantsStop {
                    context.observer.note(.info, "Worker was asked to stop", [("worker", context.worker.text)])
                    return
                }
                // A history that was lost took versions with it: what is watched here may be newer than what is stored, and
                // would never be replaced (RELIABILITY.md 2.10).
                let isRewound = reply.incarnation != incarnation ?? reply.incarnation
                incarnation = reply.incarnation
                // Before the shards that come with the late prices are loaded.
                if reply.priceRevision != priceRevision ?? reply.priceRevision { history.forget() }
                priceRevision = reply.priceRevision
                let assignments = reply.leaseHeld && !isRewound ? reply.assignments : []
                if assignments != known {
                    known = assignments
                    let shards = ShardSet(assignments.lazy.map(\.shard))
                    held.withLock { $0 = shards }
                }
                if reply.leaseHeld, !isRewound {
                    await evaluator.hold(reply.assignments)
                } else {
                    context.observer.note(
                        .warning,
                        isRewound
                            ? "The database began a new history; shards are loaded anew"
                            : "Worker lease lapsed; shards are loaded anew",
                        [("worker", context.worker.text)],
                    )
                    await evaluator.drop()
                    try await context.cluster.register(context.worker)
                }
            } catch {
                // What is evaluated meanwhile is offered and decided by version, whoever holds the shard by now.
                context.observer.count("heartbeat_errors_total", 1)
            }
            try await context.clock.sleep(milliseconds: 500)
        }
    }

    private func reclaim() async throws {
        var known: String?
        while !Task.isCancelled {
            do throws(QueueError) {
                try await context.queue.reclaim(dead: [])
            } catch {
                context.observer.count("queue_errors_total", 1)
            }
            let refusal = context.queue.refusal
            if let refusal, refusal != known {
                context.observer.count("queue_refusals_total", 1)
                context.observer.note(
                    .error,
                    "The queue takes no jobs in; they go through the database",
                    [("why", refusal)],
                )
            }
            known = refusal
            try await context.clock.sleep(milliseconds: 1_000)
        }
    }

    private func takeJobs() async throws {
        let finisher = OutcomeBatcher(context.clock) { outcomes in await self.acknowledge(outcomes) }
        var lastPoll: Int64 = 0
        try await withThrowingTaskGroup { group in
            while !Task.isCancelled {
                if isQuiet.withLock({ $0 }) {
                    try await context.clock.sleep(milliseconds: 250)
                    continue
                }
                let request = slots.free
                guard !request.isEmpty else {
                    await slots.wait()
                    continue
                }
                var jobs: [TakenJob] = []
                var isAway = false
                do throws(QueueError) {
                    jobs = try await context.queue.take(request)
                } catch {
                    context.observer.count("queue_errors_total", 1)
                    isAway = true
                    jobs = await takeFromStore(request)
                }
                // A full queue hands out what it has; what it did not take in is in the outbox.
                let isFull = !isAway && context.queue.refusesOffers
                let now = context.clock.monotonicNanoseconds()
                if isFull, request.stops > jobs.count, now - lastPoll >= 250_000_000 {
                    lastPoll = now
                    jobs += await takeFromStore(request)
                }
                if jobs.isEmpty {
                    if isAway || isFull {
                        try await context.clock.sleep(milliseconds: 250)
                    } else if slots.isShort {
                        // What waits may be of the class that has no slot: nobody wakes us for that, a free slot does.
                        try await slots.waitForMore(context.clock)
                    } else {
                        let begun = context.clock.monotonicNanoseconds()
                        await context.queue.waitForWork()
                        // There is work, and none of it is for us now (no slot of its class, a suspect): no busy loop.
                        if context.clock.monotonicNanoseconds() - begun < 1_000_000 {
                            try await context.clock.sleep(milliseconds: 5)
                        }
                    }
                    continue
                }
                slots.use(jobs)
                let taken = jobs
                group.addTask {
                    // A task of its own: a shutdown lets requests under way end, else each would be an unknown outcome.
                    await Task {  // tidy-ok: awaited in place
                        await self.work(taken, slots, finisher)
                    }.value
                }
                // A storm: until slots come back there is little to take, and then much at once.
                if slots.free.stops == 0 { try await slots.waitForMore(context.clock) }
            }
        }
    }

    private func work(_ jobs: [TakenJob], _ slots: JobSlots, _ finisher: OutcomeBatcher) async {
        let begun = context.clock.monotonicNanoseconds()
        @Sendable func end(_ outcomes: [OutcomeBatcher.Outcome]) async {
            slots.giveBack(outcomes.map(\.job))
            await finisher.finish(outcomes)
            for (job, outcome) in outcomes where job.crashes >= OrderWorker.suspiciousCrashes {
                switch outcome {
                case .done, .obsolete:
                    if let id = JobID(job.rawID) { await worker.notePoison(id.order, isRaised: false) }
                case .retry, .dead: break
                }
            }
        }
        await noteCrashes(jobs)
        // What ends or reduces exposure is tried for ever (QUEUE.md 9.3).
        let hopeless = jobs.filter { $0.crashes > mostCrashes && $0.jobClass != .stops }
        if !hopeless.isEmpty {
            await end(
                hopeless.map { ($0, .dead(reason: "CRASHED_WORKERS: \($0.crashes) workers died with this job")) }
            )
        }
        await worker.handle(jobs.filter { $0.crashes <= mostCrashes || $0.jobClass == .stops }) { await end($0) }
        context.observer.measure(
            "job_batch_duration_seconds",
            milliseconds: Double(context.clock.monotonicNanoseconds() - begun) / 1e6,
        )
        context.observer.count("jobs_handled_total", jobs.count)
    }

    /// Before anything is done with them, so that the count survives Redis.
    private func noteCrashes(_ jobs: [TakenJob]) async {
        let crashed = jobs.compactMap { taken in taken.crashes > 0 ? taken.job?.with(crashes: taken.crashes) : nil }
        guard !crashed.isEmpty else { return }
        context.observer.note(
            .warning,
            "Jobs whose workers died are tried again",
            [
                ("job_id", crashed[0].id.description), ("crashes", "\(crashed[0].crashes)"),
                ("jobs", "\(crashed.count)"),
            ],
        )
        do throws(StoreError) {
            try await context.orders.noteCrashes(crashed)
        } catch {
            context.observer.count("store_errors_total", 1)
        }
        for job in crashed where job.crashes >= OrderWorker.suspiciousCrashes {
            await worker.notePoison(job.id.order, isRaised: true)
        }
    }

    private func acknowledge(_ outcomes: [OutcomeBatcher.Outcome]) async {
        let outcomes = await bury(outcomes)
        // Jobs from the outbox have no token; the queue never saw them.
        let queued = outcomes.filter { !$0.job.token.isEmpty }
        if !queued.isEmpty {
            do throws(QueueError) {
                _ = try await context.queue.finish(queued)
            } catch {
                // They come back when their lease lapses, and decide nothing then.
                context.observer.count("queue_errors_total", 1)
            }
        }
        await closeJobs(outcomes)
        await noteObsolete(outcomes)
    }

    /// Deaths are stored before the queue hears of them: its dead set is a copy (QUEUE.md 9.5). What cannot be stored is
    /// tried again. What died of its body in Redis is no death: the store has it whole and offers it again.
    private func bury(_ outcomes: [OutcomeBatcher.Outcome]) async -> [OutcomeBatcher.Outcome] {
        var deaths: [JobDeath] = []
        for (taken, outcome) in outcomes {
            guard case .dead(let reason) = outcome, let job = taken.job, job.id.description == taken.rawID else {
                continue
            }
            deaths.append(
                JobDeath(job: job, reason: reason, attempts: taken.attemptsMade + 1, crashes: taken.crashes)
            )
        }
        guard !deaths.isEmpty else { return outcomes }
        do throws(StoreError) {
            try await context.orders.buryJobs(deaths)
            return outcomes
        } catch {
            context.observer.count("store_errors_total", 1)
            return outcomes.map { taken, outcome in
                guard case .dead(let reason) = outcome, taken.job != nil else { return (taken, outcome) }
                return (taken, .retry(delayMs: 1_000, reason: reason))
            }
        }
    }

    /// Counts triggers that came when their work was done, for the order's history. Later work on an attempt is made to
    /// come too often, and says nothing.
    private func noteObsolete(_ outcomes: [(job: TakenJob, outcome: JobOutcome)]) async {
        guard let timeline = context.timeline else { return }
        let now = context.clock.now()
        var notes: [OrderNote] = []
        for (job, outcome) in outcomes {
            guard case .obsolete = outcome, job.job?.name == .trigger, let id = JobID(job.rawID), id.leg != .timer
            else { continue }
            notes.append(
                OrderNote(order: id.order, kind: .obsolete, subject: job.rawID, actor: context.actor, firstAt: now)
            )
        }
        guard !notes.isEmpty else { return }
        do throws(StoreError) {
            try await timeline.add(notes)
        } catch {
            // A line of a history, nothing else.
            context.observer.count("store_errors_total", 1)
        }
    }

    /// Outbox rows of jobs that are done are closed; what failed for good says so in the log.
    private func closeJobs(_ outcomes: [(job: TakenJob, outcome: JobOutcome)]) async {
        var done: [JobID] = []
        for (job, outcome) in outcomes {
            switch outcome {
            case .done, .obsolete:
                guard let id = job.job?.id ?? JobID(job.rawID) else { continue }
                done.append(id)
                // Later work on an attempt is decided on the same row: what the first job was for is done too.
                if id.check != nil { done.append(JobID(order: id.order, leg: id.leg, attempt: id.attempt)) }
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
    private func takeFromStore(_ request: TakeRequest) async -> [TakenJob] {
        do throws(StoreError) {
            return try await context.orders.takeUnoffered(limit: max(1, request.stops)).map { job in
                TakenJob(
                    rawID: "\(job.id)",
                    job: job,
                    jobClass: job.jobClass,
                    partition: 0,
                    token: "",
                    attemptsMade: 0,
                    deliveries: 1,
                    crashes: job.crashes,
                )
            }
        } catch {
            context.observer.note(.warning, "Neither queue nor outbox can be read", [("error", error.detail)])
            return []
        }
    }
}

/// More deaths of workers than that end a job that may end.
private let mostCrashes = 10

extension Job {
    fileprivate func with(crashes: Int) -> Job {
        Job(
            id: id,
            name: name,
            jobClass: jobClass,
            version: version,
            account: account,
            market: market,
            source: source,
            position: position,
            times: times,
            crashes: crashes,
        )
    }
}
