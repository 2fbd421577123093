// The scheduler role: one of several replicas leads; the leader gives shards to workers, relays the outbox and sweeps
// what is due (RELIABILITY.md 0, 3.3). Every step may be done twice, by two leaders too: ids and epochs make it harmless.
internal import SmartOrders

/// The scheduler role.
public struct Scheduler: Sendable {
    private let context: EngineContext

    public init(context: EngineContext) {
        self.context = context
    }

    /// Holders and workers for which nothing has to move.
    private struct Balance {
        var holders: [WorkerID?] = []
        var able: [WorkerID] = []
        var pins: [Int: WorkerID] = [:]
        var rendezvous = Rendezvous()
    }

    /// Runs until cancelled, then gives up leadership.
    public func run() async throws {
        var lastSweep: Int64 = 0
        var balance = Balance()
        var gaps = GapDuty(context)
        while !Task.isCancelled {
            do throws(StoreError) {
                if let epoch = try await context.cluster.lead(as: context.worker) {
                    // Each duty by itself: while the queue is away the others go on.
                    try await assignShards(epoch, &balance)
                    try await relay()
                    let now = context.clock.monotonicNanoseconds()
                    if now - lastSweep >= 1_000_000_000 {
                        lastSweep = now
                        try await sweep()
                    }
                    try await gaps?.step()
                }
            } catch {
                context.observer.note(.warning, "Scheduler could not work", [("error", error.detail)])
                context.observer.count("store_errors_total", 1)
            }
            do { try await context.clock.sleep(milliseconds: 250) } catch { break }
        }
    }

    /// Gives up leadership; call after `run` has ended.
    public func leave() async {
        do throws(StoreError) {
            try await context.cluster.resign(context.worker)
        } catch {
            context.observer.note(.warning, "Could not resign; the lease will lapse", [("error", error.detail)])
        }
    }

    private func assignShards(_ epoch: Int64, _ balance: inout Balance) async throws(StoreError) {
        let (live, lapsed) = try await context.cluster.workers()
        let able = live.filter { !$0.isQuiet }.map(\.id)
        guard !able.isEmpty else { return }
        let holders = try await context.cluster.holders()
        let pins = try await context.cluster.pins()
        let isBalanced = balance.able == able && balance.holders == holders && balance.pins == pins
        let moves = isBalanced ? [] : Self.moves(holders: holders, able: able, pins: pins, &balance.rendezvous)
        if moves.isEmpty {
            balance.holders = holders
            balance.able = able
            balance.pins = pins
        } else {
            guard try await context.cluster.assign(moves, leaderEpoch: epoch) else { return }
            context.observer.note(
                .info,
                "Shards assigned",
                [
                    ("moved", "\(moves.count)"), ("workers", "\(able.count)"),
                    ("lapsed", lapsed.map(\.text).joined(separator: " ")),
                ],
            )
        }
        // Also when nobody lapsed: this is how a queue that lost everything is noticed.
        do throws(QueueError) {
            try await context.queue.reclaim(dead: lapsed)
        } catch {
            await noteQueue(error)
        }
    }

    private func noteQueue(_ error: QueueError) async {
        switch error.code {
        // Redis lost its content: the outbox, the sweep and the evaluators fill it again.
        case .closed: await reopen()
        case .unavailable, .outcomeUnknown, .full, .badArgument:
            // Workers poll the outbox meanwhile.
            context.observer.count("queue_errors_total", 1)
            context.observer.note(.debug, "Queue is away", [("error", error.detail)])
        }
    }

    /// Which shards change hands so that each is held by the worker that an operator chose, where that one is able, else
    /// by its rendezvous winner: few moves when a worker joins or leaves, none otherwise. O(shards x workers).
    public static func moves(
        holders: [WorkerID?],
        able: [WorkerID],
        pins: [Int: WorkerID] = [:],
    ) -> [(shard: Int, to: WorkerID)] {
        var rendezvous = Rendezvous()
        return moves(holders: holders, able: able, pins: pins, &rendezvous)
    }

    private static func moves(
        holders: [WorkerID?],
        able: [WorkerID],
        pins: [Int: WorkerID],
        _ rendezvous: inout Rendezvous,
    ) -> [(shard: Int, to: WorkerID)] {
        guard !able.isEmpty else { return [] }
        rendezvous.decide(among: able, shards: holders.count)
        var moves: [(shard: Int, to: WorkerID)] = []
        for shard in holders.indices {
            var winner = able[rendezvous.winners[shard].place]
            if !pins.isEmpty, let chosen = pins[shard], able.contains(chosen) { winner = chosen }
            if holders[shard] != winner { moves.append((shard, winner)) }
        }
        return moves
    }

    /// The outbox, the sweep and the evaluators offer what is open; pauses and the dead are put back here (QUEUE.md 14.3).
    private func reopen() async {
        do {
            let pauses = try await context.orders.queuePauses()
            try await context.queue.open(pausing: pauses)
            let dead = try await context.queue.restoreDead(from: context.orders)
            context.observer.note(
                .warning,
                "Queue was empty and is open again",
                [("dead", "\(dead)"), ("pauses", "\(pauses.count)")],
            )
        } catch {
            context.observer.note(.warning, "Queue cannot be opened", [("error", "\(error)")])
        }
    }

    private func relay() async throws(StoreError) {
        let jobs = try await context.orders.unofferedJobs(limit: 256)
        guard !jobs.isEmpty else { return }
        do throws(QueueError) {
            let codes = try await context.queue.offer(jobs, verify: true)
            var offered: [JobID] = []
            var done: [Job] = []
            var ended: [JobID] = []
            for (job, code) in zip(jobs, codes) {
                switch code {
                case .queued, .live, .healed, .replaced, .dead: offered.append(job.id)
                // Later work has a number of its own for each occasion: its worker died before it closed the row. What is
                // still wanted the sweep finds.
                case .completed where job.id.check != nil: ended.append(job.id)
                // Done, as far as the queue knows; the row says that it is wanted. The work under another id closes it.
                case .completed:
                    offered.append(job.id)
                    done.append(job.again(Int(context.clock.now().milliseconds / 1_000)))
                case .full: break
                }
            }
            if !done.isEmpty { _ = try await context.queue.offer(done, verify: false) }
            await close(ended)
            try await markOffered(offered)
        } catch {
            await noteQueue(error)
        }
    }

    private func close(_ ids: [JobID]) async {
        guard !ids.isEmpty else { return }
        do throws(StoreError) {
            try await context.orders.closeJobs(ids)
        } catch {
            // Found again by the next relay.
            context.observer.count("store_errors_total", 1)
        }
    }

    private func markOffered(_ ids: [JobID]) async throws(QueueError) {
        do throws(StoreError) {
            try await context.orders.markOffered(ids)
        } catch {
            // Offered again, to no effect.
            context.observer.count("store_errors_total", 1)
        }
        context.observer.count("outbox_relayed_total", ids.count)
    }

    private func sweep() async throws(StoreError) {
        let jobs = try await context.orders.dueWork(limit: 512) + (context.recovery?.unrecovered(limit: 512) ?? [])
        var start = 0
        while start < jobs.count {
            let page = Array(jobs[start..<min(start + 256, jobs.count)])
            start += page.count
            do throws(QueueError) {
                let codes = try await context.queue.offer(page, verify: true)
                // Due work is wanted whatever the queue remembers of its id: a look-up whose workers died is repeated until
                // its row is final (RELIABILITY.md GA9), once a minute, as what is in quarantine.
                let minute = Int(context.clock.now().milliseconds / 60_000)
                let ended = zip(page, codes)
                    .filter { job, code in code == .dead || code == .completed && job.name == .check }
                    .map { $0.0.again(minute) }
                if !ended.isEmpty { _ = try await context.queue.offer(ended, verify: true) }
            } catch {
                await noteQueue(error)
                // Workers without a queue take from the outbox.
                try await context.orders.storeJobs(page)
            }
        }
        if !jobs.isEmpty { context.observer.count("sweep_jobs_total", jobs.count) }
    }
}
