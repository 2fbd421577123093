// Opening the partitions, and the checks before a process uses them (QUEUE.md 13.3, 14.3).
public import OrderEngine
internal import OwnerThread
internal import RedisClient

/// What keeps a process from using this Redis, or should be known.
public enum QueueFinding: Hashable, Sendable, CustomStringConvertible {
    /// Older than 6.2.
    case serverTooOld(String)
    /// Job bodies and leases would be evicted.
    case evicts(policy: String)
    case hasNoMemoryLimit
    case hasNoAppendOnlyFile
    /// Two deployments share one Redis.
    case foreignDeployment(partition: Int)
    /// Bull, or BullMQ before version 6, works on this queue: its resume over our `wait` loses jobs.
    case foreignDialect(QueueAddress, version: String)
    /// A list `paused`, which only version 5 makes.
    case legacyPause(QueueAddress)

    public var isRefusal: Bool {
        switch self {
        case .serverTooOld, .evicts, .foreignDeployment, .foreignDialect, .legacyPause: true
        case .hasNoMemoryLimit, .hasNoAppendOnlyFile: false
        }
    }

    public var description: String {
        switch self {
        case .serverTooOld(let version): "Redis \(version) is older than 6.2"
        case .evicts(let policy): "maxmemory-policy is \(policy), not noeviction: it evicts jobs"
        case .hasNoMemoryLimit: "maxmemory is not set"
        case .hasNoAppendOnlyFile: "appendonly is off: a restart of Redis empties the queue, and it is rebuilt"
        case .foreignDeployment(let partition): "partition \(partition) belongs to another deployment"
        case .foreignDialect(let queue, let version): "\(queue) was made by \(version)"
        case .legacyPause(let queue): "\(queue) has a list `paused` of an older client"
        }
    }
}

extension BullQueue {
    /// Lets scripts run in all partitions for this deployment and generation; a newer generation that somebody opened is
    /// taken over. In partitions that lost their content `pauses` hold first. Idempotent; throws `closed` when another
    /// deployment owns one of them.
    @discardableResult
    public func open(pausing pauses: [QueuePause]) async throws(QueueError) -> Bool {
        let lost = try await adoptGeneration()
        try await restore(pauses, in: lost)
        let gate = gate
        var opening = RedisBatch()
        for keys in keys {
            opening.begin("SET")
            opening.append(keys.open)
            opening.append(gate)
        }
        _ = try await run(opening, repairs: false) { $0 }
        // Whatever survived in them is found at once.
        state.withLock { state in
            for partition in state.partitions.indices { state.partitions[partition].isHot = true }
        }
        return !lost.isEmpty
    }

    /// As the script `pause` writes it. A partition that is not open runs no script, and once it is open it is too late.
    private func restore(_ pauses: [QueuePause], in partitions: Set<Int>) async throws(QueueError) {
        let held = pauses.compactMap { pause -> (queue: QueueAddress, pause: QueuePause)? in
            guard let queue = QueueAddress(pause.queue), partitions.contains(queue.partition) else { return nil }
            return (queue, pause)
        }
        if held.isEmpty { return }
        var asking = RedisBatch()
        for _ in held { asking.begin("TIME") }
        let times = try await run(asking, repairs: false) { held[$0].queue.partition }
        var batch = RedisBatch()
        for (index, time) in times.enumerated() {
            let (queue, pause) = held[index]
            let parts = time.array?.compactMap(\.integer) ?? []
            guard parts.count == 2 else { throw misunderstood("the time") }
            let till = pause.leftMs > 0 ? parts[0] * 1_000 + parts[1] / 1_000 + pause.leftMs : 0
            batch.begin("HSET")
            batch.append("\(keys[queue.partition].private)paused")
            batch.append(queue.jobClass.rawValue)
            batch.append("\(till) \(pause.actor) \(pause.reason)")
            batch.begin("HSET")
            batch.append(keys[queue.partition].meta(queue.jobClass))
            batch.append("paused")
            batch.append("1")
        }
        _ = try await run(batch, repairs: false) { held[$0 / 2].queue.partition }
    }

    /// Takes over a newer generation than ours: a rebuild raised it (QUEUE.md 14.3). Returns the partitions that are not
    /// open for anybody: what was in them is gone.
    @discardableResult
    func adoptGeneration() async throws(QueueError) -> Set<Int> {
        var batch = RedisBatch()
        for keys in keys {
            batch.begin("GET")
            batch.append(keys.open)
        }
        var newest = state.withLock { $0.generation }
        var lost: Set<Int> = []
        for (partition, reply) in try await run(batch, repairs: false, partitionOf: { $0 }).enumerated() {
            guard let found = reply.text, let colon = found.lastIndex(of: ":") else {
                lost.insert(partition)
                continue
            }
            guard found[..<colon] == options.deployment else {
                throw QueueError(.closed, QueueFinding.foreignDeployment(partition: partition).description)
            }
            newest = max(newest, Int64(found[found.index(after: colon)...]) ?? 0)
        }
        setGeneration(newest)
        return lost
    }

    /// Asks every ten seconds whether a server may evict jobs now: then nothing is put there any more (RELIABILITY.md 3.3,
    /// FA41). What is there is handed out.
    func lookAtPolicy() async throws(QueueError) {
        let now = clock.monotonicNanoseconds()
        let period = options.policyLookMs * 1_000_000
        let isDue = state.withLock { state in
            guard now - (state.policyLookAt ?? now - period) >= period else { return false }
            state.policyLookAt = now
            return true
        }
        guard isDue else { return }
        var batch = RedisBatch()
        for _ in keys {
            batch.begin("INFO")
            batch.append("memory")
        }
        let policies = try await run(batch, repairs: false, partitionOf: { $0 }).compactMap { reply in
            infoField("maxmemory_policy", in: reply.text ?? "")
        }
        state.withLock { $0.evicts = policies.first { $0 != "noeviction" } }
    }

    /// Looks at the server and at the queues before they are used.
    public func findings() async throws(QueueError) -> [QueueFinding] {
        var batch = RedisBatch()
        for section in ["server", "memory", "persistence"] {
            batch.begin("INFO")
            batch.append(section)
        }
        let info = try await run(batch, repairs: false) { _ in 0 }.compactMap(\.text).joined()
        var findings: [QueueFinding] = []
        let version = infoField("redis_version", in: info) ?? "?"
        let numbers = version.split(separator: ".").prefix(2).map { Int($0) ?? 0 }
        if numbers.lexicographicallyPrecedes([6, 2]) { findings.append(.serverTooOld(version)) }
        if let policy = infoField("maxmemory_policy", in: info), policy != "noeviction" {
            findings.append(.evicts(policy: policy))
        }
        if infoField("maxmemory", in: info) == "0" { findings.append(.hasNoMemoryLimit) }
        if infoField("aof_enabled", in: info) == "0" { findings.append(.hasNoAppendOnlyFile) }

        var looking = RedisBatch()
        let queues = keys.indices.flatMap { partition in
            JobClass.allCases.map { QueueAddress(partition: partition, jobClass: $0) }
        }
        for queue in queues {
            looking.begin("HGET")
            looking.append(keys[queue.partition].meta(queue.jobClass))
            looking.append("version")
            looking.begin("LLEN")
            looking.append(keys[queue.partition].legacyPaused(queue.jobClass))
        }
        for keys in keys {
            looking.begin("GET")
            looking.append(keys.open)
        }
        let replies = try await run(looking, repairs: false) {
            $0 < queues.count * 2 ? queues[$0 / 2].partition : $0 - queues.count * 2
        }
        for (index, queue) in queues.enumerated() {
            if let version = replies[2 * index].text, !isOurDialect(version) {
                findings.append(.foreignDialect(queue, version: version))
            }
            if replies[2 * index + 1].integer ?? 0 > 0 { findings.append(.legacyPause(queue)) }
        }
        for (partition, reply) in replies.dropFirst(2 * queues.count).enumerated() {
            guard let found = reply.text, let colon = found.lastIndex(of: ":") else { continue }
            if found[..<colon] != options.deployment { findings.append(.foreignDeployment(partition: partition)) }
        }
        return findings
    }

    /// How many jobs are in which state, by queue. O(1) per queue.
    public func counts() async throws(QueueError) -> [QueueAddress: QueueCounts] {
        var batch = RedisBatch()
        var queues: [QueueAddress] = []
        for (partition, keys) in keys.enumerated() {
            for jobClass in JobClass.allCases {
                queues.append(QueueAddress(partition: partition, jobClass: jobClass))
                for (command, key) in keys.counted(jobClass) {
                    batch.begin(command)
                    batch.append(key)
                }
            }
        }
        let replies = try await run(batch) { queues[$0 / 8].partition }.map { Int($0.integer ?? 0) }
        var counts: [QueueAddress: QueueCounts] = [:]
        for (index, queue) in queues.enumerated() {
            let row = replies[(8 * index)..<(8 * index + 8)].map { $0 }
            counts[queue] = QueueCounts(
                waiting: row[0] + row[1] + row[2],
                active: row[3],
                delayed: row[4] - row[5],
                retry: row[5],
                completed: row[6],
                dead: row[7],
            )
        }
        return counts
    }
}

/// Jobs of one queue by state (QUEUE.md 4).
public struct QueueCounts: Hashable, Sendable {
    public var waiting = 0
    public var active = 0
    public var delayed = 0
    public var retry = 0
    public var completed = 0
    public var dead = 0

    public init(waiting: Int = 0, active: Int = 0, delayed: Int = 0, retry: Int = 0, completed: Int = 0, dead: Int = 0)
    {
        self.waiting = waiting
        self.active = active
        self.delayed = delayed
        self.retry = retry
        self.completed = completed
        self.dead = dead
    }
}

/// Version 6 of the dialect or later, by any client.
private func isOurDialect(_ version: String) -> Bool {
    guard version.hasPrefix("bullmq"), let colon = version.lastIndex(of: ":") else { return false }
    let major = version[version.index(after: colon)...].prefix { $0 != "." }
    return (Int(major) ?? 0) >= 6
}
