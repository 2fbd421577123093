// What stands in a queue, job by job: for operators and boards. Reads only; nothing here is on a hot path.
public import OrderEngine
internal import RedisClient

/// The states of a job (QUEUE.md 4).
public enum JobState: String, Hashable, Sendable, CaseIterable {
    case waiting, active, delayed, retry, completed, dead
}

/// A job as its hash holds it.
public struct JobRecord: Hashable, Sendable {
    public let id: String
    public let queue: QueueAddress
    public let name: String
    /// The payload, JSON unless somebody else wrote it.
    public let data: [UInt8]
    /// Server ms; nil where it did not happen.
    public let offeredAt: Int64?
    public let takenAt: Int64?
    public let endedAt: Int64?
    /// `CODE: text` of the last failure.
    public let reason: String?
    public let returnValue: String?
    public let attemptsMade: Int
    public let deliveries: Int
    public let crashes: Int
    /// The token of its last take.
    public let token: String?

    /// The code of the last failure.
    public var errorCode: String? { reason.map { String($0.prefix { $0 != ":" }) } }
}

extension QueueAddress {
    /// Reads `stops-03`.
    public init?(_ name: String) {
        let parts = name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let jobClass = JobClass(rawValue: String(parts[0])), parts[1].count == 2,
            let partition = Int(parts[1]), (0..<16).contains(partition)
        else { return nil }
        self.init(partition: partition, jobClass: jobClass)
    }
}

extension BullQueue {
    /// All queues of this deployment.
    public var queues: [QueueAddress] {
        JobClass.allCases.flatMap { jobClass in keys.indices.map { QueueAddress(partition: $0, jobClass: jobClass) } }
    }

    /// Milliseconds of the server's clock.
    public func serverTime() async throws(QueueError) -> Int64 {
        var batch = RedisBatch()
        batch.begin("TIME")
        let parts = try await run(batch) { _ in 0 }[0].array?.compactMap(\.integer) ?? []
        guard parts.count == 2 else { throw misunderstood("the time") }
        return parts[0] * 1_000 + parts[1] / 1_000
    }

    /// Whether the queue is paused, by whomever.
    public func isPaused(_ queue: QueueAddress) async throws(QueueError) -> Bool {
        var batch = RedisBatch()
        batch.begin("HEXISTS")
        batch.append(keys[queue.partition].meta(queue.jobClass))
        batch.append("paused")
        return try await run(batch) { _ in queue.partition }[0].integer == 1
    }

    /// The ids in one state, next or oldest first. O(limit), for deep pages of lists O(offset + limit).
    public func ids(
        in queue: QueueAddress,
        _ state: JobState,
        from offset: Int = 0,
        limit: Int = 100,
    ) async throws(QueueError) -> [String] {
        let keys = keys[queue.partition]
        let last = offset + max(1, limit) - 1
        func texts(_ batch: RedisBatch) async throws(QueueError) -> [String] {
            try await run(batch) { _ in queue.partition }[0].array?.compactMap(\.text) ?? []
        }
        func range(_ command: String, _ suffix: String, _ first: Int, _ last: Int) -> RedisBatch {
            var batch = RedisBatch()
            batch.begin(command)
            batch.append(keys.base(queue.jobClass) + suffix)
            batch.append(first)
            batch.append(last)
            return batch
        }
        switch state {
        case .waiting:
            // Taken from the right.
            var found = Array(try await texts(range("LRANGE", "wait", -1 - last, -1 - offset)).reversed())
            if found.count < limit {
                var length = RedisBatch()
                length.begin("LLEN")
                length.append(keys.base(queue.jobClass) + "wait")
                let waiting = Int(try await run(length) { _ in queue.partition }[0].integer ?? 0)
                let first = max(0, offset - waiting)
                found += try await texts(range("ZRANGE", "prioritized", first, first + limit - found.count - 1))
            }
            return found
        case .active: return Array(try await texts(range("LRANGE", "active", -1 - last, -1 - offset)).reversed())
        case .completed: return try await texts(range("ZRANGE", "completed", offset, last))
        case .dead: return try await texts(range("ZRANGE", "failed", offset, last))
        case .delayed, .retry:
            let all = try await texts(range("ZRANGE", "delayed", 0, 99_999))
            if all.isEmpty { return [] }
            var batch = RedisBatch()
            for id in all {
                batch.begin("SISMEMBER")
                batch.append(keys.retry(queue.jobClass))
                batch.append(id)
            }
            let marks = try await run(batch) { _ in queue.partition }
            let wanted = zip(all, marks).filter { ($1.integer == 1) == (state == .retry) }.map(\.0)
            return Array(wanted.dropFirst(offset).prefix(limit))
        }
    }

    /// The hashes of these jobs, in order; those that are gone are left out.
    public func records(_ ids: [String], in queue: QueueAddress) async throws(QueueError) -> [JobRecord] {
        if ids.isEmpty { return [] }
        var batch = RedisBatch()
        for id in ids {
            batch.begin("HMGET")
            batch.append(keys[queue.partition].job(id, queue.jobClass))
            for field in [
                "name", "data", "timestamp", "processedOn", "finishedOn", "failedReason", "returnvalue", "atm", "ats",
                "stc", "pb",
            ] { batch.append(field) }
        }
        let replies = try await run(batch) { _ in queue.partition }
        var records: [JobRecord] = []
        for (id, reply) in zip(ids, replies) {
            guard let fields = reply.array, fields.count == 11, fields.contains(where: { !$0.isNull }) else { continue }
            records.append(
                JobRecord(
                    id: id,
                    queue: queue,
                    name: fields[0].text ?? "",
                    data: fields[1].bytes ?? [],
                    offeredAt: fields[2].integer,
                    takenAt: fields[3].integer,
                    endedAt: fields[4].integer,
                    reason: fields[5].text,
                    returnValue: fields[6].text,
                    attemptsMade: Int(fields[7].integer ?? 0),
                    deliveries: Int(fields[8].integer ?? 0),
                    crashes: Int(fields[9].integer ?? 0),
                    token: fields[10].text,
                )
            )
        }
        return records
    }
}
