// What operators do to queues and jobs (QUEUE.md 11), one page at a time. The audit row, the preview and the checks
// against PostgreSQL are the caller's.
public import OrderEngine
internal import RedisClient
internal import SmartOrders

/// What became of a job in a `requeue`.
public enum RequeueCode: Int, Hashable, Sendable {
    case moved = 1, notDead, diedLater, unknown
}

/// What became of a job in a `discard`.
public enum DiscardCode: Int, Hashable, Sendable {
    case removed = 1, elsewhere = 2, unknown = 4
}

/// The states that `discard` empties.
public enum DiscardableState: String, Hashable, Sendable { case dead, completed, delayed, waiting }

/// A job of the dead set, for the board and for previews.
public struct DeadJob: Hashable, Sendable {
    public let id: String
    /// Server ms of its death.
    public let diedAt: Int64
    /// `CODE: text`.
    public let reason: String
    public let attemptsMade: Int
    public let crashes: Int
}

extension BullQueue {
    /// Gives dead jobs another life under their ids, at most 500 per call. O(log n) per id.
    /// - Parameters:
    ///   - cutoffMs: server time; jobs that died later stay, so a repeated run moves nothing twice. 0: no cutoff.
    ///   - target: the class to move them to; nil keeps theirs.
    public func requeue(
        _ ids: [String],
        in queue: QueueAddress,
        cutoffMs: Int64 = 0,
        resetsAttempts: Bool = false,
        delayMs: Int64 = 0,
        to target: JobClass? = nil,
    ) async throws(QueueError) -> [RequeueCode] {
        if ids.isEmpty { return [] }
        let moves = target.map { $0 != queue.jobClass } ?? false
        var batch = RedisBatch()
        batch.begin(scripts.requeue, keyCount: moves ? 3 : 2)
        batch.append(keys[queue.partition].open)
        batch.append(keys[queue.partition].base(queue.jobClass))
        if moves, let target { batch.append(keys[queue.partition].base(target)) }
        batch.append(gate)
        batch.append(cutoffMs)
        batch.append(resetsAttempts ? 1 : 0)
        batch.append(max(0, delayMs))
        for id in ids { batch.append(id) }
        return try await codes(batch, queue, count: ids.count) { RequeueCode(rawValue: $0) }
    }

    public func restore(_ deaths: [JobDeath]) async throws(QueueError) -> Int {
        if deaths.isEmpty { return 0 }
        let groups = grouped(deaths.count) { index in
            let job = deaths[index].job
            let partition = QueuePartitions.partition(of: job.id.order, count: keys.count)
            return QueueAddress(partition: partition, jobClass: job.jobClass)
        }
        let gate = gate
        var batch = RedisBatch()
        for group in groups {
            begin(scripts.restore, on: group.queue, gate, &batch)
            batch.append(JobText.options(group.queue.jobClass))
            for index in group.members {
                let death = deaths[index]
                batch.append(death.job.id.description)
                batch.append(death.job.name.rawValue)
                batch.append(bytes: JobText.payload(death.job))
                batch.append(death.attempts)
                batch.append(death.crashes)
                batch.append(JobText.cut(death.reason))
                batch.append(max(0, death.ageMs))
            }
        }
        let replies = try await run(batch) { groups[$0].queue.partition }
        return replies.reduce(0) { sum, reply in sum + (reply.array?.dropFirst().count { $0.integer == 1 } ?? 0) }
    }

    /// Runs delayed and retrying jobs now; says for each whether it was delayed. At most 500.
    public func promote(_ ids: [String], in queue: QueueAddress) async throws(QueueError) -> [Bool] {
        if ids.isEmpty { return [] }
        var batch = begin(scripts.promote, in: queue)
        for id in ids { batch.append(id) }
        return try await codes(batch, queue, count: ids.count) { $0 == 1 }
    }

    /// Removes jobs for good, never an active one. At most 500.
    public func discard(
        _ ids: [String],
        _ discarded: DiscardableState,
        in queue: QueueAddress,
    ) async throws(QueueError) -> [DiscardCode] {
        if ids.isEmpty { return [] }
        var batch = RedisBatch()
        begin(scripts.discard, on: queue, gate, &batch)
        batch.append(discarded.rawValue)
        for id in ids { batch.append(id) }
        return try await codes(batch, queue, count: ids.count) { DiscardCode(rawValue: $0) }
    }

    /// Hands out nothing more; running jobs finish, offers wait in order.
    /// - Parameter durationMs: by the server's clock; 0: until resumed. `stops` must say when (QUEUE.md 11).
    public func pause(
        _ queue: QueueAddress,
        durationMs: Int64,
        by: String,
        reason: String,
    ) async throws(QueueError) {
        if queue.jobClass == .stops, durationMs <= 0 || durationMs > 900_000 {
            throw QueueError(.badArgument, "stops are paused for 15 minutes at most, and never without an end")
        }
        var batch = begin(scripts.pause, in: queue)
        batch.append(max(0, durationMs))
        // The record is one line of words: the name is one of them.
        batch.append(by.split(separator: " ").joined(separator: "-"))
        batch.append(reason)
        _ = try await run(batch) { _ in queue.partition }
    }

    /// Hands out jobs again, whoever paused the queue.
    public func resume(_ queue: QueueAddress) async throws(QueueError) {
        while true {
            let left = try await run(begin(scripts.resume, in: queue)) { _ in queue.partition }[0].integer
            if (left ?? 0) == 0 { return }
        }
    }

    /// Removes what waits, and what is delayed if asked. What PostgreSQL still wants comes back within seconds.
    /// Returns how many were removed.
    public func drain(_ queue: QueueAddress, includesDelayed: Bool = false) async throws(QueueError) -> Int {
        var removed = 0
        while true {
            var batch = begin(scripts.drain, in: queue)
            batch.append(includesDelayed ? 1 : 0)
            let page = try await run(batch) { _ in queue.partition }[0].array?.count ?? 0
            removed += page
            if page == 0 { return removed }
        }
    }

    /// Removes finished jobs older than `ageMs`, at most 500. Returns how many.
    public func clean(
        _ queue: QueueAddress,
        dead: Bool,
        ageMs: Int64,
        limit: Int = 500,
    ) async throws(QueueError) -> Int {
        var batch = RedisBatch()
        begin(scripts.clean, on: queue, gate, &batch)
        batch.append(dead ? "dead" : "completed")
        batch.append(max(0, ageMs))
        batch.append(min(500, max(1, limit)))
        return try await run(batch) { _ in queue.partition }[0].array?.count ?? 0
    }

    /// The state of each job that has a hash: `waiting`, `active`, `delayed`, `retry`, `completed`, `dead`; `none`,
    /// `several`, `unknown`. At most 100. `heals` puts the lost ones back and removes residues.
    public func audit(
        _ ids: [String],
        in queue: QueueAddress,
        heals: Bool = false,
    ) async throws(QueueError) -> [String] {
        if ids.isEmpty { return [] }
        var batch = RedisBatch()
        begin(scripts.audit, on: queue, gate, &batch)
        batch.append(heals ? 1 : 0)
        for id in ids { batch.append(id) }
        let words = try await run(batch) { _ in queue.partition }[0].array?.compactMap(\.text) ?? []
        guard words.count == ids.count else { throw misunderstood("audit") }
        return words
    }

    /// Empties and shuts every partition, for a change of their number. Nobody may hold a job; what somebody does is left
    /// to its lease.
    public func dismantle() async throws(QueueError) {
        for queue in queues {
            _ = try await drain(queue, includesDelayed: true)
            for isDead in [false, true] {
                while try await clean(queue, dead: isDead, ageMs: 0) > 0 {}
            }
        }
        var batch = RedisBatch()
        for keys in keys {
            batch.begin("DEL")
            batch.append(keys.open)
        }
        _ = try await run(batch) { $0 }
    }

    /// A page of the dead set, oldest first.
    public func deadJobs(
        in queue: QueueAddress,
        from offset: Int = 0,
        limit: Int = 100,
    ) async throws(QueueError) -> [DeadJob] {
        let keys = keys[queue.partition]
        var listing = RedisBatch()
        listing.begin("ZRANGE")
        listing.append(keys.failed(queue.jobClass))
        listing.append(offset)
        listing.append(offset + max(1, limit) - 1)
        listing.append("WITHSCORES")
        let flat = try await run(listing) { _ in queue.partition }[0].array ?? []
        let found = stride(from: 0, to: flat.count - 1, by: 2).compactMap { at in
            flat[at].text.map { (id: $0, diedAt: flat[at + 1].integer ?? 0) }
        }
        if found.isEmpty { return [] }
        var reading = RedisBatch()
        for (id, _) in found {
            reading.begin("HMGET")
            reading.append(keys.job(id, queue.jobClass))
            for field in ["failedReason", "atm", "stc"] { reading.append(field) }
        }
        let bodies = try await run(reading) { _ in queue.partition }
        return zip(found, bodies).map { entry, body in
            let fields = body.array ?? []
            return DeadJob(
                id: entry.id,
                diedAt: entry.diedAt,
                reason: fields.first?.text ?? "",
                attemptsMade: Int(fields.dropFirst().first?.integer ?? 0),
                crashes: Int(fields.last?.integer ?? 0),
            )
        }
    }

    /// A call with open, base and private base.
    private func begin(_ script: RedisScript, in queue: QueueAddress) -> RedisBatch {
        var batch = RedisBatch()
        batch.begin(script, keyCount: 3)
        batch.append(keys[queue.partition].open)
        batch.append(keys[queue.partition].base(queue.jobClass))
        batch.append(keys[queue.partition].private)
        batch.append(gate)
        return batch
    }

    private func codes<Code>(
        _ batch: RedisBatch,
        _ queue: QueueAddress,
        count: Int,
        _ make: (Int) -> Code?,
    ) async throws(QueueError) -> [Code] {
        let reply = try await run(batch) { _ in queue.partition }[0]
        let codes = reply.array?.dropFirst().compactMap { $0.integer.flatMap { make(Int($0)) } } ?? []
        guard codes.count == count else { throw misunderstood("an operator's call") }
        return codes
    }
}
