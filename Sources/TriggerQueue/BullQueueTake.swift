// Taking: which partitions to ask, for how much, and what comes back.
//
// A partition is *hot* when it probably has work: its marker came, it gave all that was asked, or this process put
// something in. Hot partitions are asked first; all of them at least every 250 ms and when the hot ones give nothing, so
// a lost marker delays a job and never loses it.
public import OrderEngine
internal import OwnerThread
internal import RedisClient

/// What a process knows of one partition.
struct TakeState: Sendable {
    /// Number of the next take; grows only when a reply with jobs arrived, so a lost reply is replayed.
    var n = 1
    /// A take is on its way: two with one number would share their jobs.
    var isTaking = false
    var isHot = false
    /// The last reply had all that was asked for, of one class at least.
    var gaveAll = false
    /// When something becomes due, in nanoseconds of the monotonic clock.
    var due: Int64?

    mutating func note(due time: Int64) { due = min(due ?? time, time) }
}

private let fullTakeNanoseconds: Int64 = 250_000_000

extension BullQueue {
    public func take(_ request: TakeRequest) async throws(QueueError) -> [TakenJob] {
        if request.isEmpty { return [] }
        let now = clock.monotonicNanoseconds()
        let woken = wakeUps.collect()
        let (first, rest) = choose(woken: woken, now: now)
        var taken: [TakenJob] = []
        if !first.isEmpty {
            do throws(QueueError) {
                taken = try await take(request, from: first)
            } catch {
                finishTaking(rest)
                throw error
            }
        }
        if !taken.isEmpty || rest.isEmpty {
            finishTaking(rest)
            return taken
        }
        return try await take(request, from: rest)
    }

    /// Marks partitions as being taken from: those to ask first, and the others in case these give nothing.
    private func choose(woken: Set<Int>, now: Int64) -> (first: [Int], rest: [Int]) {
        state.withLock { state in
            for partition in woken { state.partitions[partition].isHot = true }
            let isFull = state.lastFullTake.map { now - $0 >= fullTakeNanoseconds } ?? true
            if isFull { state.lastFullTake = now }
            state.turn = (state.turn + 1) % keys.count
            var first: [Int] = []
            var rest: [Int] = []
            for offset in keys.indices {
                let partition = (state.turn + offset) % keys.count
                guard !state.partitions[partition].isTaking else { continue }
                state.partitions[partition].isTaking = true
                if let due = state.partitions[partition].due, due <= now {
                    state.partitions[partition].isHot = true
                    state.partitions[partition].due = nil
                }
                if isFull || state.partitions[partition].isHot {
                    first.append(partition)
                } else {
                    rest.append(partition)
                }
                // The reply sets it again. A failure does not: the caller would spin.
                state.partitions[partition].isHot = false
            }
            return (first, rest)
        }
    }

    private func finishTaking(_ partitions: [Int]) {
        state.withLock { state in
            for partition in partitions { state.partitions[partition].isTaking = false }
        }
    }

    /// Asks `partitions` in as few pipelines as the request allows: each partition of a pipeline is asked for at least one
    /// job, so that an answer without jobs means that there are none.
    private func take(_ request: TakeRequest, from partitions: [Int]) async throws(QueueError) -> [TakenJob] {
        defer { finishTaking(partitions) }
        let most = max(1, request.stops, request.targets, request.housekeeping)
        // In a flood few are asked for much: a call has its price for one job as for many. The next take begins with others.
        let isFlood = state.withLock { state in partitions.allSatisfy { state.partitions[$0].gaveAll } }
        let width = isFlood ? (most + Self.leastOfFlood - 1) / Self.leastOfFlood : most
        for start in stride(from: 0, to: partitions.count, by: width) {
            let part = Array(partitions[start..<min(start + width, partitions.count)])
            var taken = try await takeOnce(request, from: part)
            if taken.isEmpty { continue }
            state.withLock { state in
                // Those not asked may have something still.
                for partition in partitions[(start + part.count)...] { state.partitions[partition].isHot = true }
            }
            // Shares that found nothing go to the partitions that gave all of theirs.
            var rest = request
            var round = taken
            while !round.isEmpty {
                for job in round { rest[job.jobClass] -= 1 }
                let generous = state.withLock { state in part.filter { state.partitions[$0].isHot } }
                if rest.isEmpty || generous.isEmpty || round.contains(where: { $0.crashes >= 2 }) { break }
                do throws(QueueError) {
                    round = try await takeOnce(rest, from: generous, besideOthers: true)
                } catch {
                    // What is in hand counts; the replay of the lost reply comes with the next take.
                    break
                }
                taken += round
            }
            return JobClass.allCases.flatMap { jobClass in taken.filter { $0.jobClass == jobClass } }
        }
        return []
    }

    /// Jobs that a partition is asked for at least while all have plenty.
    private static let leastOfFlood = 8

    private struct Ask {
        let partition: Int
        let n: Int
        let share: [Int]
        /// A class is wanted that this partition was not asked for.
        let isPartial: Bool
    }

    private func takeOnce(
        _ request: TakeRequest,
        from partitions: [Int],
        besideOthers: Bool = false,
    ) async throws(QueueError) -> [TakenJob] {
        // What `take.lua` does with them: alone, none beside others, none beside another one.
        let suspects = leases.holdsSuspect ? 2 : besideOthers ? 1 : 0
        let plan = state.withLock { state in
            var plan: [Ask] = []
            for (index, partition) in partitions.enumerated() {
                var room = 128
                var share = [0, 0, 0]
                var isPartial = false
                for (position, jobClass) in JobClass.allCases.enumerated() {
                    let count = max(0, request[jobClass])
                    // Even shares; the first partitions of the round get the odd ones.
                    let even = count / partitions.count + (index < count % partitions.count ? 1 : 0)
                    share[position] = min(room, even)
                    room -= share[position]
                    if count > 0, share[position] == 0 { isPartial = true }
                }
                if share.contains(where: { $0 > 0 }) {
                    let n = state.partitions[partition].n
                    plan.append(Ask(partition: partition, n: n, share: share, isPartial: isPartial))
                }
            }
            return plan
        }
        if plan.isEmpty { return [] }
        let gate = gate
        var batch = RedisBatch()
        for ask in plan {
            begin(scripts.take, onAllOf: ask.partition, gate, &batch)
            batch.append(options.worker.text)
            batch.append(ask.n)
            batch.append(options.leaseMs)
            for count in ask.share { batch.append(count) }
            batch.append(suspects)
        }
        let sentAt = clock.monotonicNanoseconds()
        let replies: [RedisValue]
        do throws(QueueError) {
            let keys = keys
            let worker = options.worker.text
            // Right behind the reply, and nobody waits for it: without it a crash in the next second charges nobody.
            replies = try await run(batch, isPartial: true) { replies in
                var seen = RedisBatch()
                for (ask, reply) in zip(plan, replies) where (reply.array?.count ?? 0) > 5 {
                    seen.begin("HDEL")
                    seen.append("\(keys[ask.partition].private)took:\(worker)")
                    seen.append("ids")
                }
                return seen
            } partitionOf: {
                plan[$0].partition
            }
        } catch {
            if error.code == .outcomeUnknown { state.withLock { $0.counters.takesReplayed += 1 } }
            throw error
        }
        var taken: [TakenJob] = []
        for (ask, reply) in zip(plan, replies) where reply.error == nil {
            taken += try read(reply, to: ask, sentAt: sentAt)
        }
        return await settle(taken)
    }

    /// Turns one reply into jobs and notes what it says about the partition.
    private func read(
        _ reply: RedisValue,
        to ask: Ask,
        sentAt: Int64,
    ) throws(QueueError) -> [TakenJob] {
        guard let parts = reply.array, parts.count >= 5 else { throw misunderstood("take") }
        let perClass = parts[2..<5].map { Int($0.integer ?? -1) }
        let end = 5 + 3 * perClass.reduce(0, +)
        guard perClass.allSatisfy({ $0 >= 0 }), parts.count >= end, (parts.count - end) % 2 == 0 else {
            throw misunderstood("take")
        }
        let partition = ask.partition
        let token = "\(options.worker.text):\(ask.n)"
        var taken: [TakenJob] = []
        taken.reserveCapacity((parts.count - 4) / 3)
        var undecodable = 0
        var suspects = 0
        var memory = JobTextReader.Memory()
        var next = 5
        for (position, jobClass) in JobClass.allCases.enumerated() {
            for at in stride(from: next, to: next + 3 * perClass[position], by: 3) {
                guard let id = parts[at].text, let head = TakenHead(parts[at + 1]) else { throw misunderstood("take") }
                let job = JobText.job(
                    id: id,
                    name: head.name,
                    data: parts[at + 2].bytes ?? [],
                    jobClass: jobClass,
                    memory: &memory,
                )
                if job == nil { undecodable += 1 }
                if head.crashes >= 2 { suspects += 1 }
                taken.append(
                    TakenJob(
                        rawID: id,
                        job: job,
                        jobClass: jobClass,
                        partition: partition,
                        token: token,
                        attemptsMade: head.attemptsMade,
                        deliveries: head.deliveries,
                        crashes: head.crashes,
                    )
                )
            }
            next += 3 * perClass[position]
        }
        let isEmpty = taken.isEmpty
        leases.hold(taken, n: ask.n, partition: partition, sentAt: sentAt)
        for at in stride(from: end, to: parts.count, by: 2) {
            guard let position = parts[at].integer, position >= 1, position <= 3, let id = parts[at + 1].text else {
                throw misunderstood("take")
            }
            // Already in the dead set, so without a token: the engine derives it again from the order's row.
            taken.append(
                TakenJob(
                    rawID: id,
                    job: nil,
                    jobClass: JobClass.allCases[Int(position) - 1],
                    partition: partition,
                    token: "",
                    attemptsMade: 0,
                    deliveries: 0,
                    crashes: 0,
                )
            )
        }
        let due = dueTime(server: parts[0].integer, due: parts[1].integer, now: sentAt)
        let gaveAll = zip(perClass, ask.share).contains { $0 > 0 && $0 == $1 }
        state.withLock { state in
            // A suspect comes alone, with more behind it.
            state.partitions[partition].gaveAll = gaveAll
            state.partitions[partition].isHot = gaveAll || suspects > 0 || (ask.isPartial && !isEmpty)
            if !isEmpty { state.partitions[partition].n = ask.n + 1 }
            state.partitions[partition].due = due
            state.counters.undecodable += undecodable
            state.counters.bodiesMissing += (parts.count - end) / 2
            state.counters.suspects += suspects
        }
        return taken
    }

    /// At most one suspect in hand: a second one goes back until the first is done. And a suspect comes alone: what other
    /// partitions gave beside it goes back, too.
    private func settle(_ taken: [TakenJob]) async -> [TakenJob] {
        let extra = leases.surplus(among: taken)
        if extra.isEmpty { return taken }
        state.withLock { state in
            for job in extra { state.partitions[job.partition].isHot = true }
        }
        // Should it fail, the lease lapses: the job comes back a little later.
        do { try await release(extra) } catch { leases.drop(extra) }
        return taken.filter { job in !extra.contains { $0.rawID == job.rawID && $0.queue == job.queue } }
    }

    /// Returns when a take may find something: a marker came, something is due, this process offered something, or a
    /// second has passed. Cancelling the task ends the wait.
    public func waitForWork() async {
        let now = clock.monotonicNanoseconds()
        let (isHot, due) = state.withLock { state in
            (state.partitions.contains { $0.isHot }, state.partitions.compactMap(\.due).min())
        }
        if isHot { return }
        guard let due, due - now < 1_000_000_000 else { return await wakeUps.wait() }
        if due <= now { return }
        let clock = clock
        let wakeUps = wakeUps
        await withTaskGroup { group in
            group.addTask { await wakeUps.wait() }
            group.addTask {
                // Ends early only when cancelled.
                do { try await clock.sleep(milliseconds: (due - now + 999_999) / 1_000_000) } catch {}
            }
            await group.next()
            group.cancelAll()
        }
    }

    /// Until when, in nanoseconds of the monotonic clock, this process may trust its lease of `job`; nil when it has none
    /// any more (QUEUE.md 8.1).
    public func trustedUntil(_ job: TakenJob) -> Int64? { leases.trustedUntil(job) }

    /// Jobs taken and not yet ended.
    public var heldCount: Int { leases.count }
}

/// What the script `take` says of a job beside its id and its body.
private struct TakenHead {
    var name = Job.Name.trigger.rawValue
    var attemptsMade = 0
    var deliveries = 1
    var crashes = 0

    /// Empty for the first delivery of a trigger; else three numbers and a name, parted by blanks.
    init?(_ value: RedisValue) {
        guard case .bytes(let bytes) = value else { return nil }
        if bytes.isEmpty { return }
        let parts = bytes.split(separator: UInt8(ascii: " "), maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        let words = parts.map { String(decoding: $0, as: UTF8.self) }
        attemptsMade = Int(words[0]) ?? 0
        deliveries = Int(words[1]) ?? 0
        crashes = Int(words[2]) ?? 0
        name = words[3]
    }
}
