// The leases of the jobs in hand, renewed by a thread of its own on a connection of its own: a process whose cores are
// busy keeps what it holds (QUEUE.md 8).
//
// Invariants: a job is here from the reply that brought it until its end was answered; each beat renews all of them, one
// call per partition, in one pipeline. A job that others took over is dropped and reported once.
internal import OrderEngine
internal import OwnerThread
internal import RedisClient

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

final class LeaseKeeper: Sendable {
    private struct Key: Hashable {
        let queue: QueueAddress
        let id: String
    }

    private struct Held {
        let job: TakenJob
        var trustedUntil: Int64
    }

    private struct State {
        var held: [Key: Held] = [:]
        /// Highest take number whose reply arrived, per partition.
        var seen: [Int]
        var gate: String
        var isStarted = false
    }

    private let options: BullQueueOptions
    private let keys: [PartitionKeys]
    private let script: RedisScript
    private let clock: any EngineClock
    private let connection: RedisRouter
    private let state: Locked<State>
    /// Wakes the thread to end it.
    private let ending = Mailbox<Void>(capacity: 1)

    init(
        _ options: BullQueueOptions,
        keys: [PartitionKeys],
        script: RedisScript,
        clock: any EngineClock,
        _ connection: RedisRouter,
    ) {
        self.options = options
        self.keys = keys
        self.script = script
        self.clock = clock
        self.connection = connection
        let gate = "\(options.deployment):\(options.generation)"
        state = Locked(State(seen: Array(repeating: 0, count: keys.count), gate: gate))
    }

    func close() {
        ending.close()
        connection.close()
    }

    func setGeneration(_ generation: Int64) {
        state.withLock { $0.gate = "\(options.deployment):\(generation)" }
    }

    var count: Int { state.withLock { $0.held.count } }
    var holdsSuspect: Bool { state.withLock { state in state.held.values.contains { $0.job.crashes >= 2 } } }

    /// Of those just taken, which must go back: suspects beside one that is in hand, else all but the first suspect.
    func surplus(among taken: [TakenJob]) -> [TakenJob] {
        let suspects = taken.filter { $0.crashes >= 2 }
        guard let first = suspects.first else { return [] }
        let isNew = Set(suspects.map { Key(queue: $0.queue, id: $0.rawID) })
        let hasOther = state.withLock { state in
            state.held.contains { $0.value.job.crashes >= 2 && !isNew.contains($0.key) }
        }
        if hasOther { return suspects }
        // Those without a token are in nobody's hand.
        return taken.filter { !$0.token.isEmpty && ($0.rawID, $0.queue) != (first.rawID, first.queue) }
    }

    /// Starts renewing jobs that a take brought.
    func hold(_ jobs: [TakenJob], n: Int, partition: Int, sentAt: Int64) {
        if jobs.isEmpty { return }
        let mustStart = state.withLock { state in
            for job in jobs {
                let key = Key(queue: job.queue, id: job.rawID)
                state.held[key] = Held(job: job, trustedUntil: trust(from: sentAt))
            }
            state.seen[partition] = n
            defer { state.isStarted = true }
            return !state.isStarted
        }
        if mustStart {
            OwnerThread.start(name: "so-leases") { [self] in beatUntilClosed() }
        }
    }

    /// Stops renewing; for jobs that ended or go back.
    func drop(_ jobs: [TakenJob]) {
        state.withLock { state in
            for job in jobs {
                let key = Key(queue: job.queue, id: job.rawID)
                if state.held[key]?.job.token == job.token { state.held[key] = nil }
            }
        }
    }

    func trustedUntil(_ job: TakenJob) -> Int64? {
        state.withLock { state in
            guard let held = state.held[Key(queue: job.queue, id: job.rawID)], held.job.token == job.token else {
                return nil
            }
            return held.trustedUntil
        }
    }

    // MARK: The thread

    private func beatUntilClosed() {
        var next = clock.monotonicNanoseconds() + Int64(options.heartbeatMs) * 1_000_000
        while !ending.drain().isClosed {
            let wait = next - clock.monotonicNanoseconds()
            if wait > 0 {
                var descriptor = pollfd(fd: ending.wakeDescriptor, events: Int16(POLLIN), revents: 0)
                _ = poll(&descriptor, 1, Int32(min(wait / 1_000_000 + 1, 10_000)))
                continue
            }
            beat()
            // After a pause of the process one beat at once, then the usual pace.
            next = max(next, clock.monotonicNanoseconds() - 1) + Int64(options.heartbeatMs) * 1_000_000
        }
    }

    private func beat() {
        let (held, seen, gate) = state.withLock { ($0.held.values.map(\.job), $0.seen, $0.gate) }
        if held.isEmpty { return }
        var calls: [[TakenJob]] = []
        var batch = RedisBatch()
        for partition in keys.indices {
            let jobs = held.filter { $0.partition == partition }
            for start in stride(from: 0, to: jobs.count, by: 256) {
                let part = Array(jobs[start..<min(start + 256, jobs.count)])
                calls.append(part)
                append(partition, seen: seen[partition], gate: gate, part, &batch)
            }
        }
        let sentAt = clock.monotonicNanoseconds()
        let replies: [RedisValue]
        do {
            replies = try connection.sendBlocking(batch) { keys[calls[$0][0].partition].slot }
        } catch {
            // The next beat comes in time: a lease outlasts two failed ones.
            return
        }
        var lost: [TakenJob] = []
        for (jobs, reply) in zip(calls, replies) {
            guard let values = reply.array else { continue }
            let positions = Set(values.dropFirst().compactMap(\.integer))
            var renewed: [TakenJob] = []
            for (index, job) in jobs.enumerated() {
                if positions.contains(Int64(index + 1)) { lost.append(job) } else { renewed.append(job) }
            }
            renew(renewed, sentAt: sentAt)
        }
        // Those that ended while the beat was on its way are not lost.
        let reported = state.withLock { state in
            lost.filter { job in
                let key = Key(queue: job.queue, id: job.rawID)
                guard state.held[key]?.job.token == job.token else { return false }
                state.held[key] = nil
                return true
            }
        }
        if !reported.isEmpty { options.onLost(reported) }
    }

    private func renew(_ jobs: [TakenJob], sentAt: Int64) {
        state.withLock { state in
            for job in jobs {
                let key = Key(queue: job.queue, id: job.rawID)
                if state.held[key]?.job.token == job.token { state.held[key]?.trustedUntil = trust(from: sentAt) }
            }
        }
    }

    /// The lease, counted from before the call, less a margin for the way to a venue.
    private func trust(from sentAt: Int64) -> Int64 { sentAt + Int64(options.leaseMs - 500) * 1_000_000 }

    private func append(_ partition: Int, seen: Int, gate: String, _ jobs: [TakenJob], _ batch: inout RedisBatch) {
        batch.begin(script, keyCount: 5)
        batch.append(keys[partition].open)
        for base in keys[partition].bases { batch.append(base) }
        batch.append(keys[partition].private)
        batch.append(gate)
        batch.append(options.worker.text)
        batch.append(seen)
        batch.append(options.leaseMs)
        for job in jobs {
            batch.append(job.jobClass.position + 1)
            batch.append(job.rawID)
            batch.append(job.token)
        }
    }
}
