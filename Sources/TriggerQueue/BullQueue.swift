// The queue on Redis, in a subset of the BullMQ v6 layout (QUEUE.md). Every transition is one script call.
//
// Invariants
// - A job is in exactly one state key; `take` gives it a lease in the same script, `finish` comes last and is idempotent.
// - Nothing here decides money: a job that is lost, repeated or late costs latency.
// - Heartbeats have a thread and a connection of their own: a busy process keeps its leases.
// - A call ends within about a second, whatever Redis does; a lost reply is asked again once.
// Limits: 256 jobs per offer, finish and release call, 128 per take; more is split. Cost: one pipeline per verb, one
// script call per queue (offer, finish, release) or partition (take, reclaim).
public import OrderEngine
internal import OwnerThread
internal import RedisClient
internal import SmartOrders

public final class BullQueue: JobQueue {
    public let options: BullQueueOptions
    let clock: any EngineClock
    let keys: [PartitionKeys]
    let scripts: QueueScripts
    /// Everything but heartbeats and waiting.
    let commands: RedisRouter
    private let map: RedisClusterMap?
    let wakeUps: WakeUps
    let leases: LeaseKeeper
    let state: Locked<State>

    struct State {
        var generation: Int64
        var partitions: [TakeState]
        var counters = QueueCounters()
        /// Every partition is asked at least this often, marker or not.
        var lastFullTake: Int64?
        /// Ends that Redis has not heard of, oldest first.
        var unsaid: [(job: TakenJob, outcome: JobOutcome)] = []
        /// Partitions whose server takes nothing in for want of memory.
        var full: Set<Int> = []
        /// A policy that evicts jobs, as a server said it at `policyLookAt`.
        var evicts: String?
        var policyLookAt: Int64?
        /// Where the next full round starts, so that no partition is always first.
        var turn = 0
    }

    /// Connects in the background; nothing is taken or renewed before the first verb.
    public init(_ options: BullQueueOptions, clock: any EngineClock) {
        precondition(QueuePartitions.allowedCounts.contains(options.partitions), "1, 2, 4, 8 or 16 partitions")
        self.options = options
        self.clock = clock
        let keys = (0..<options.partitions).map { PartitionKeys(partition: $0) }
        let scripts = QueueScripts(events: options.events)
        self.keys = keys
        self.scripts = scripts
        var connection = RedisOptions(address: options.address, name: "so:\(options.role):\(options.worker.text)")
        let map = RedisClusterMap(connection)
        self.map = map
        func router(_ scripts: [RedisScript], _ connection: RedisOptions) -> RedisRouter {
            var connection = connection
            connection.scripts = scripts
            return RedisRouter(connection, map: map)
        }
        var answering = connection
        // From then on jobs take the way of the outbox (RELIABILITY.md 3.3).
        answering.refusesAfter = .milliseconds(500)
        commands = router(scripts.all, answering)
        let partitions = Array(repeating: TakeState(), count: options.partitions)
        state = Locked(State(generation: options.generation, partitions: partitions))
        leases = LeaseKeeper(
            options,
            keys: keys,
            script: scripts.heartbeat,
            clock: clock,
            router([scripts.heartbeat], connection),
        )
        connection.depth = 1
        // The markers of several partitions lie on several nodes of a cluster.
        wakeUps = WakeUps(keys: keys, lanes: map == nil ? 1 : keys.count) { router([], connection) }
    }

    deinit { close() }

    /// Ends all connections and the lease thread. Leases lapse unless `release` came before.
    public func close() {
        leases.close()
        wakeUps.close()
        commands.close()
        map?.close()
    }

    /// What was counted since the queue was made.
    public var counters: QueueCounters { state.withLock { $0.counters } }

    /// Whether the connections stand, for `/readyz`.
    public var isConnected: Bool { commands.isReady && wakeUps.isConnected }

    public var refusal: String? {
        state.withLock { state in
            if let policy = state.evicts { return QueueFinding.evicts(policy: policy).description }
            return state.full.isEmpty ? nil : "Redis is full: raise maxmemory"
        }
    }

    /// After a rebuild: the number that the database holds.
    public func setGeneration(_ generation: Int64) {
        state.withLock { $0.generation = generation }
        leases.setGeneration(generation)
    }

    /// ARGV[1] of every script.
    var gate: String { "\(options.deployment):\(state.withLock { $0.generation })" }

    // MARK: Offer

    public func offer(_ jobs: [Job], verify: Bool) async throws(QueueError) -> [OfferCode] {
        try await offer(jobs, delayMs: 0, verify: verify)
    }

    /// Offers jobs that become takeable after `delayMs` of the server's clock.
    public func offer(_ jobs: [Job], delayMs: Int64, verify: Bool) async throws(QueueError) -> [OfferCode] {
        if jobs.isEmpty { return [] }
        if let policy = state.withLock({ $0.evicts }) {
            state.withLock { $0.counters.offersRefused += jobs.count }
            throw QueueError(.full, QueueFinding.evicts(policy: policy).description)
        }
        let groups = grouped(jobs.count) { index in
            QueueAddress(
                partition: QueuePartitions.partition(of: jobs[index].id.order, count: keys.count),
                jobClass: jobs[index].jobClass,
            )
        }
        let gate = gate
        var batch = RedisBatch()
        batch.reserve(commands: groups.count, arguments: 12 * groups.count + 3 * jobs.count, bytes: 400 * jobs.count)
        for group in groups {
            begin(scripts.offer, on: group.queue, gate, &batch)
            batch.append(verify ? "verify" : "new")
            batch.append(group.queue.jobClass == .stops ? 0 : options.maxWaiting)
            batch.append(JobText.options(group.queue.jobClass))
            batch.append(max(0, delayMs))
            let crashed = group.members.enumerated().filter { jobs[$0.element].crashes > 0 }
            batch.append(crashed.map { "\($0.offset + 1):\(jobs[$0.element].crashes)" }.joined(separator: " "))
            for index in group.members {
                let job = jobs[index]
                batch.append(job.id.description)
                batch.append(job.name.rawValue)
                batch.append(bytes: JobText.payload(job))
            }
        }
        var codes = [OfferCode](repeating: .queued, count: jobs.count)
        do throws(QueueError) {
            let replies = try await run(batch) { groups[$0].queue.partition }
            for (group, reply) in zip(groups, replies) {
                let values = try codesOf(reply, count: group.members.count)
                for (index, value) in zip(group.members, values) {
                    guard let code = OfferCode(rawValue: value) else { throw misunderstood("offer") }
                    codes[index] = code
                }
            }
        } catch {
            state.withLock { state in
                state.counters.offersRefused += jobs.count
                // The next `reclaim` knows which it is.
                if error.code == .full { state.full.formUnion(groups.map(\.queue.partition)) }
            }
            throw error
        }
        // This process may well be the one that takes them.
        let now = delayMs > 0 ? clock.monotonicNanoseconds() : 0
        state.withLock { state in
            for (group, code) in zip(groups, groups.map { group in group.members.contains { codes[$0].isFresh } })
            where code {
                if delayMs > 0 {
                    state.partitions[group.queue.partition].note(due: now + delayMs * 1_000_000)
                } else {
                    state.partitions[group.queue.partition].isHot = true
                }
            }
        }
        return codes
    }

    // MARK: Finish and release

    /// What cannot be said now is said by a later `reclaim`; until then the leases are renewed. Of more than 10,000 such
    /// ends the oldest are given up: their jobs run again and decide nothing.
    public func finish(_ outcomes: [(job: TakenJob, outcome: JobOutcome)]) async throws(QueueError) -> [FinishCode] {
        defer { lookForSuspects(after: outcomes.lazy.map(\.job)) }
        do throws(QueueError) {
            return try await say(outcomes)
        } catch {
            if error.code != .badArgument {
                let givenUp = state.withLock { state in
                    state.unsaid += outcomes
                    let excess = state.unsaid.prefix(max(0, state.unsaid.count - Self.mostUnsaid)).map(\.job)
                    state.unsaid.removeFirst(excess.count)
                    return excess
                }
                leases.drop(givenUp)
            }
            throw error
        }
    }

    /// While one was in hand others were passed over, and nobody was woken for them.
    private func lookForSuspects(after ended: some Sequence<TakenJob>) {
        guard ended.contains(where: { $0.crashes >= 2 }), !leases.holdsSuspect else { return }
        state.withLock { state in
            for partition in state.partitions.indices { state.partitions[partition].isHot = true }
        }
        wakeUps.ring()
    }

    private static let mostUnsaid = 10_000

    /// Says what could not be said before.
    private func sayUnsaid() async throws(QueueError) {
        while true {
            let page = state.withLock { state in
                let page = Array(state.unsaid.prefix(256))
                state.unsaid.removeFirst(page.count)
                return page
            }
            if page.isEmpty { return }
            _ = try await finish(page)
        }
    }

    private func say(_ outcomes: [(job: TakenJob, outcome: JobOutcome)]) async throws(QueueError) -> [FinishCode] {
        // A job without a body is dead before it is handed out: nothing is left to acknowledge.
        let live = outcomes.indices.filter { !outcomes[$0].job.token.isEmpty }
        var codes = [FinishCode](repeating: .repeated, count: outcomes.count)
        if live.isEmpty { return codes }
        let groups = grouped(live.count) { outcomes[live[$0]].job.queue }
        let gate = gate
        var batch = RedisBatch()
        batch.reserve(commands: groups.count, arguments: 16 * groups.count + 4 * live.count, bytes: 128 * live.count)
        for group in groups {
            begin(scripts.finish, on: group.queue, gate, &batch)
            batch.append(options.keepCompletedMs)
            batch.append(options.keepCompletedMax)
            appendEnds(group.members.map { outcomes[live[$0]] }, to: &batch)
        }
        let replies = try await run(batch) { groups[$0].queue.partition }
        var late = 0
        var lost = 0
        for (group, reply) in zip(groups, replies) {
            let values = try codesOf(reply, count: group.members.count)
            for (member, value) in zip(group.members, values) {
                guard let code = FinishCode(rawValue: value) else { throw misunderstood("finish") }
                codes[live[member]] = code
                switch code {
                case .done, .repeated: break
                case .late: late += 1
                case .unknown, .takenOver, .notActive, .foreignToken: lost += 1
                }
            }
        }
        leases.drop(live.map { outcomes[$0].job })
        state.withLock { state in
            state.counters.finishesLate += late
            state.counters.lost += lost
        }
        return codes
    }

    /// Neighbours that end alike share what they have in common.
    private func appendEnds(_ ends: [(job: TakenJob, outcome: JobOutcome)], to batch: inout RedisBatch) {
        var start = 0
        while start < ends.count {
            let first = ends[start]
            var end = start + 1
            while end < ends.count, ends[end].job.token == first.job.token,
                ends[end].job.attemptsMade == first.job.attemptsMade, ends[end].job.deliveries == first.job.deliveries,
                ends[end].outcome.letter == first.outcome.letter, ends[end].outcome.delay == first.outcome.delay
            { end += 1 }
            batch.append(first.job.token)
            batch.append(first.outcome.letter)
            batch.append(first.job.attemptsMade)
            batch.append(first.job.deliveries)
            batch.append(first.outcome.delay)
            batch.append(end - start)
            for (job, outcome) in ends[start..<end] {
                batch.append(job.rawID)
                batch.append(JobText.value(outcome))
            }
            start = end
        }
    }

    public func release(_ jobs: [TakenJob]) async throws(QueueError) {
        defer { lookForSuspects(after: jobs) }
        let live = jobs.filter { !$0.token.isEmpty }
        if live.isEmpty { return }
        let groups = grouped(live.count) { live[$0].queue }
        let gate = gate
        var batch = RedisBatch()
        for group in groups {
            begin(scripts.release, on: group.queue, gate, &batch)
            for member in group.members {
                batch.append(live[member].rawID)
                batch.append(live[member].token)
            }
        }
        // No heartbeat may renew what goes back.
        leases.drop(live)
        _ = try await run(batch) { groups[$0].queue.partition }
    }

    // MARK: Reclaim

    public func reclaim(dead: [WorkerID]) async throws(QueueError) {
        try await sayUnsaid()
        try await lookAtPolicy()
        let now = clock.monotonicNanoseconds()
        for start in stride(from: 0, to: max(1, dead.count), by: 64) {
            let named = dead[start..<min(start + 64, dead.count)]
            var open = Array(keys.indices)
            // A call puts back 250 jobs at most; the rounds end when a partition has fewer.
            for _ in 0..<reclaimRounds where !open.isEmpty {
                var batch = RedisBatch()
                for partition in open { appendReclaim(partition, dead: named.map(\.text), &batch) }
                let replies = try await run(batch, repairs: false, isPartial: true) { open[$0] }
                for (partition, reply) in zip(open, replies) { note(reclaimed: reply, partition: partition, now: now) }
                open = zip(open, replies).filter { $1.stalledCount >= 250 }.map(\.0)
            }
        }
    }

    private func appendReclaim(_ partition: Int, dead: [String], _ batch: inout RedisBatch) {
        begin(scripts.reclaim, onAllOf: partition, gate, &batch)
        batch.append(options.keepCompletedMs)
        batch.append(options.keepCompletedMax)
        for worker in dead { batch.append(worker) }
    }

    private func note(reclaimed reply: RedisValue, partition: Int, now: Int64) {
        guard let parts = reply.array, parts.count >= 2 else { return }
        // Shorter: somebody else did it a moment ago.
        let isWhole = parts.count == 8
        let due = isWhole ? dueTime(server: parts[0].integer, due: parts[2].integer, now: now) : nil
        state.withLock { state in
            if parts[1].integer == 1 { state.full.insert(partition) } else { state.full.remove(partition) }
            guard isWhole else { return }
            state.counters.stalledRecovered += reply.stalledCount
            state.counters.markersRepaired += Int(parts[6].integer ?? 0)
            state.counters.intrudersRemoved += Int(parts[7].integer ?? 0)
            if let due { state.partitions[partition].note(due: due) }
        }
    }

    // MARK: Calls

    /// Starts a call on one queue: script, keys, gate.
    func begin(_ script: RedisScript, on queue: QueueAddress, _ gate: String, _ batch: inout RedisBatch) {
        batch.begin(script, keyCount: 2)
        batch.append(keys[queue.partition].open)
        batch.append(keys[queue.partition].base(queue.jobClass))
        batch.append(gate)
    }

    /// Starts a call on the three queues of a partition.
    func begin(_ script: RedisScript, onAllOf partition: Int, _ gate: String, _ batch: inout RedisBatch) {
        batch.begin(script, keyCount: 5)
        batch.append(keys[partition].open)
        for base in keys[partition].bases { batch.append(base) }
        batch.append(keys[partition].private)
        batch.append(gate)
    }

    /// Sends `batch` and returns one reply per call, none of them an error. Repeats once what got no answer (every verb
    /// may be repeated), and after a repair what met a key of the wrong type.
    /// - Parameters:
    ///   - isPartial: partitions out of reach keep their error replies, as long as others answered.
    ///   - followUp: commands that go out right behind the replies; the first argument of each is a key of the batch's
    ///     partitions. Nobody waits for them.
    func run(
        _ batch: RedisBatch,
        repairs: Bool = true,
        isPartial: Bool = false,
        followUp: (@Sendable ([RedisValue]) -> RedisBatch)? = nil,
        partitionOf: (Int) -> Int,
    ) async throws(QueueError) -> [RedisValue] {
        var replies = try await sendRepeating(batch, isPartial: isPartial, followUp, partitionOf)
        if repairs, replies.contains(where: { $0.error?.hasCode("WRONGTYPE") ?? false }) {
            var repair = RedisBatch()
            let damaged = Set(replies.indices.filter { replies[$0].error != nil }.map(partitionOf)).sorted()
            // A name makes it run at once, also when another reclaim just did; no worker is called so.
            for partition in damaged { appendReclaim(partition, dead: ["-"], &repair) }
            let now = clock.monotonicNanoseconds()
            for (partition, reply) in zip(
                damaged,
                try await sendRepeating(repair, isPartial: false, nil) { damaged[$0] },
            ) {
                note(reclaimed: reply, partition: partition, now: now)
            }
            replies = try await sendRepeating(batch, isPartial: isPartial, followUp, partitionOf)
        }
        let mayMiss = isPartial && map != nil && replies.contains { $0.error == nil }
        for reply in replies {
            guard let error = reply.error else { continue }
            if mayMiss, error.isOutOfReach { continue }
            // The next call passes.
            if error.hasCode("GENERATION") { try await adoptGeneration() }
            throw QueueError(error.asRedisError)
        }
        return replies
    }

    private func sendRepeating(
        _ batch: RedisBatch,
        isPartial: Bool,
        _ followUp: (@Sendable ([RedisValue]) -> RedisBatch)?,
        _ partitionOf: (Int) -> Int,
    ) async throws(QueueError) -> [RedisValue] {
        do throws(RedisError) {
            let replies = try await commands.send(batch, isPartial: isPartial, followUp: followUp) {
                keys[partitionOf($0)].slot
            }
            // On a cluster a part may be unanswered. Every verb may be repeated.
            guard replies.contains(where: { $0.error?.hasCode("UNKNOWN") ?? false }) else { return replies }
        } catch {
            guard error.kind == .outcomeUnknown else { throw QueueError(error) }
        }
        do throws(RedisError) {
            return try await commands.send(batch, isPartial: isPartial, followUp: followUp) {
                keys[partitionOf($0)].slot
            }
        } catch {
            throw QueueError(error)
        }
    }

    /// When, on our monotonic clock, something is due by the server's.
    func dueTime(server: Int64?, due: Int64?, now: Int64) -> Int64? {
        guard let server, let due, due > 0 else { return nil }
        return now + max(0, due - server) * 1_000_000
    }

    private func codesOf(_ reply: RedisValue, count: Int) throws(QueueError) -> [Int] {
        guard let values = reply.array, values.count == count + 1 else { throw misunderstood("reply") }
        return values.dropFirst().map { Int($0.integer ?? .min) }
    }
}

/// Members of one script call.
struct QueueGroup {
    let queue: QueueAddress
    var members: [Int]
}

/// Indices 0..<count by queue, in order, at most 256 per group.
func grouped(_ count: Int, by queueOf: (Int) -> QueueAddress) -> [QueueGroup] {
    var groups: [QueueGroup] = []
    var open: [QueueAddress: Int] = [:]
    for index in 0..<count {
        let queue = queueOf(index)
        if let group = open[queue], groups[group].members.count < 256 {
            groups[group].members.append(index)
        } else {
            open[queue] = groups.count
            groups.append(QueueGroup(queue: queue, members: [index]))
        }
    }
    return groups
}

private let reclaimRounds = 100

extension RedisServerError {
    /// Of a node of a cluster, not of the call.
    fileprivate var isOutOfReach: Bool {
        ["NOTSENT", "UNKNOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "LOADING", "MASTERDOWN", "READONLY"]
            .contains(code)
    }
}

extension RedisValue {
    /// How many jobs a `reclaim` put back.
    fileprivate var stalledCount: Int { (array?.dropFirst(4).first?.array?.count ?? 0) / 4 }
}

func misunderstood(_ what: String) -> QueueError {
    QueueError(.unavailable, "Redis answered \(what) in an unknown form")
}

extension OfferCode {
    /// Whether the offer put a job into the queue.
    var isFresh: Bool {
        switch self {
        case .queued, .healed, .replaced: true
        case .live, .completed, .dead, .full: false
        }
    }
}

extension JobOutcome {
    /// As the script `finish` names it.
    fileprivate var letter: String {
        switch self {
        case .done, .obsolete: "c"
        case .retry: "r"
        case .dead: "d"
        }
    }

    fileprivate var delay: Int64 {
        switch self {
        case .retry(let delayMs, _): max(0, delayMs)
        case .done, .obsolete, .dead: 0
        }
    }
}

extension TakenJob {
    var queue: QueueAddress { QueueAddress(partition: partition, jobClass: jobClass) }
}

extension QueueError {
    init(_ error: RedisError) {
        switch error.kind {
        case .notSent, .closed: self.init(.unavailable, error.description)
        case .outcomeUnknown: self.init(.outcomeUnknown, error.description)
        case .server(let code, _):
            switch code {
            case "OOM": self.init(.full, error.description)
            case "CLOSED", "FOREIGN", "GENERATION": self.init(.closed, error.description)
            case "BADARG": self.init(.badArgument, error.description)
            case "UNKNOWN": self.init(.outcomeUnknown, error.description)
            default: self.init(.unavailable, error.description)
            }
        }
    }
}
