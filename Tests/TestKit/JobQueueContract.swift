// What every `JobQueue` must do (QUEUE.md). Each queue has a suite that calls these; numbers are those of QUEUE.md 18.
package import OrderEngine
internal import SmartOrders
internal import Testing

/// A queue under test, seen by several workers.
package protocol JobQueueRig: Sendable {
    /// The queue as `worker` sees it; the same object for the same name.
    func queue(_ worker: String) async throws -> any JobQueue
    /// The worker renews nothing any more and says nothing.
    func cutOff(_ worker: String) async throws
    /// Lets time pass at the queue.
    func pass(milliseconds: Int64) async throws
    var leaseMs: Int64 { get }
}

extension TakeRequest {
    package static let all = TakeRequest(stops: 58, targets: 32, housekeeping: 8)
}

extension Job {
    /// A trigger of a made-up order; `number` also chooses the partition.
    package static func sample(_ number: Int, _ jobClass: JobClass = .stops, attempt: Int = 1) -> Job {
        let order = OrderID(UniqueID(high: 0x0197_f6c2_8d1e_7000, low: 0x8000_0000_0000_0000 | UInt64(number)))
        let leg: Leg =
            switch jobClass {
            case .stops: .stop
            case .targets: .takeProfit(1)
            case .housekeeping: .timer
            }
        return Job(
            id: JobID(order: order, leg: leg, attempt: attempt),
            name: jobClass == .housekeeping ? .timer : .trigger,
            jobClass: jobClass,
            version: 17,
            account: AccountID(UniqueID(high: 1, low: UInt64(number))),
            market: MarketID(venue: "binance", product: "linear", symbol: "BTCUSDT"),
            source: .mark,
            position: TickPosition(venueTime: 1_750_000_000_000_000, sequence: 88_121),
        )
    }
}

package enum JobQueueContract {
    /// 1: one run, and the second caller is told.
    package static func runsOnceWhatIsOfferedTwice(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        let job = Job.sample(1)
        #expect(try await queue.offer([job], verify: false) == [.queued])
        #expect(try await queue.offer([job, job], verify: false) == [.live, .live])
        let taken = try await queue.take(.all)
        #expect(taken.map(\.job) == [job])
        #expect(taken.map(\.deliveries) == [1])
        #expect(try await queue.offer([job], verify: true) == [.live])
        #expect(try await queue.take(.all).isEmpty)
        #expect(try await queue.finish([(taken[0], .done(version: 18))]) == [.done])
        #expect(try await queue.take(.all).isEmpty)
    }

    /// A job twice in one call is queued once.
    package static func seesTwinsInOneOffer(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        #expect(
            try await queue.offer([.sample(1), .sample(2), .sample(1)], verify: false) == [.queued, .queued, .live]
        )
        #expect(try await queue.take(.all).count == 2)
    }

    /// 2: what is completed does not run again.
    package static func remembersWhatIsCompleted(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        _ = try await queue.offer([.sample(1)], verify: false)
        _ = try await queue.finish(try await queue.take(.all).map { ($0, .obsolete(version: 17)) })
        #expect(try await queue.offer([.sample(1)], verify: false) == [.completed])
        #expect(try await queue.offer([.sample(1)], verify: true) == [.completed])
        #expect(try await queue.take(.all).isEmpty)
    }

    /// 3: the same trigger after its death is never dropped without a word.
    package static func saysThatAJobIsDead(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        _ = try await queue.offer([.sample(1)], verify: false)
        _ = try await queue.finish(try await queue.take(.all).map { ($0, .dead(reason: "VENUE: refused")) })
        #expect(try await queue.offer([.sample(1)], verify: true) == [.dead])
        #expect(try await queue.take(.all).isEmpty)
    }

    /// 26, 27: what died of its body is replaced by a fresh one.
    package static func replacesWhatDiedOfItsBody(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        _ = try await queue.offer([.sample(1)], verify: false)
        _ = try await queue.finish(try await queue.take(.all).map { ($0, .dead(reason: "UNDECODABLE: no version")) })
        #expect(try await queue.offer([.sample(1)], verify: false) == [.replaced])
        #expect(try await queue.take(.all).map(\.job) == [.sample(1)])
    }

    /// 4: exactly one job.
    package static func makesOneJobOfManyOffers(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        let codes = try await withThrowingTaskGroup { group in
            for _ in 0..<200 { group.addTask { try await queue.offer([.sample(1)], verify: false) } }
            return try await group.reduce(into: [OfferCode]()) { $0 += $1 }
        }
        #expect(codes.count { $0 == .queued } == 1)
        #expect(codes.count { $0 == .live } == 199)
        #expect(try await queue.take(.all).count == 1)
    }

    /// Oldest first within a class and an order's partition; urgent classes first.
    package static func keepsOrder(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        // One partition: numbers that differ in the attempt alone.
        let stops = (1...5).map { Job.sample(8, .stops, attempt: $0) }
        let targets = (1...5).map { Job.sample(8, .targets, attempt: $0) }
        _ = try await queue.offer(targets + stops, verify: false)
        let first = try await queue.take(TakeRequest(stops: 3, targets: 2, housekeeping: 1))
        #expect(first.map(\.job) == Array(stops[..<3] + targets[..<2]))
        let second = try await queue.take(.all)
        #expect(second.map(\.job) == Array(stops[3...] + targets[2...]))
        #expect(Set(first.map(\.token)).isDisjoint(with: second.map(\.token)))
    }

    /// 35: a class gets what is asked for it, however many there are of another one.
    package static func starvesNoClass(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        _ = try await queue.offer((0..<200).map { .sample($0, .targets) }, verify: false)
        _ = try await queue.offer([.sample(3, .stops), .sample(4, .housekeeping)], verify: false)
        var found: [JobClass: Int] = [:]
        for _ in 0..<4 {
            for job in try await queue.take(TakeRequest(stops: 24, targets: 8, housekeeping: 8)) {
                found[job.jobClass, default: 0] += 1
            }
        }
        #expect(found[.stops] == 1)
        #expect(found[.housekeeping] == 1)
        #expect(found[.targets, default: 0] >= 16)
        #expect(found[.targets, default: 0] <= 32)
    }

    /// Asks for few and gets no more, wherever they are.
    package static func givesNoMoreThanAsked(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        _ = try await queue.offer((0..<40).map { .sample($0) }, verify: false)
        var total = 0
        while true {
            let taken = try await queue.take(TakeRequest(stops: 3, targets: 0, housekeeping: 0))
            #expect(taken.count <= 3)
            if taken.isEmpty { break }
            total += taken.count
        }
        #expect(total == 40)
    }

    /// 5: the job of a killed worker runs elsewhere, with its crash counted.
    package static func bringsBackTheJobsOfTheKilled(_ rig: some JobQueueRig) async throws {
        let first = try await rig.queue("a")
        let second = try await rig.queue("b")
        _ = try await first.offer([.sample(1)], verify: false)
        #expect(try await first.take(.all).count == 1)
        try await rig.pass(milliseconds: 100)
        try await rig.cutOff("a")
        try await rig.pass(milliseconds: rig.leaseMs + 100)
        try await second.reclaim(dead: [])
        let again = try await second.take(.all)
        #expect(again.map(\.job) == [.sample(1)])
        #expect(again.map(\.crashes) == [1])
        #expect(again.map(\.attemptsMade) == [0])
        #expect(again.map(\.deliveries) == [2])
    }

    /// 5: at once when the scheduler names the dead.
    package static func bringsBackAtOnceWhenNamed(_ rig: some JobQueueRig) async throws {
        let first = try await rig.queue("a")
        let second = try await rig.queue("b")
        _ = try await first.offer([.sample(1), .sample(2), .sample(3)], verify: false)
        _ = try await second.offer([.sample(4)], verify: false)
        let others = try await second.take(TakeRequest(stops: 1, targets: 0, housekeeping: 0))
        #expect(try await first.take(.all).count == 3)
        try await rig.pass(milliseconds: 100)
        try await rig.cutOff("a")
        try await second.reclaim(dead: [WorkerID("a")])
        #expect(try await second.take(.all).count == 3)
        #expect(try await second.finish(others.map { ($0, .done(version: 1)) }) == [.done])
    }

    /// 6: crashes are no attempts, and a suspect comes alone.
    package static func deliversASuspectAlone(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("b")
        _ = try await queue.offer([.sample(8)], verify: false)
        for name in ["c", "d"] {
            #expect(try await (try await rig.queue(name)).take(.all).count == 1)
            try await rig.pass(milliseconds: 100)
            try await rig.cutOff(name)
            try await queue.reclaim(dead: [WorkerID(name)])
        }
        _ = try await queue.offer((2...5).map { .sample(8, .stops, attempt: $0) }, verify: false)
        let suspect = try await queue.take(.all)
        #expect(suspect.map(\.job) == [.sample(8)])
        #expect(suspect.map(\.crashes) == [2])
        #expect(suspect.map(\.attemptsMade) == [0])
        #expect(try await queue.take(.all).count == 4)
        #expect(try await queue.finish([(suspect[0], .done(version: 18))]) == [.done])
    }

    /// 9.3: after a third crash a job waits a minute.
    package static func putsAKillerIntoQuarantine(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("b")
        _ = try await queue.offer([.sample(8)], verify: false)
        for name in ["c", "d", "e"] {
            #expect(try await (try await rig.queue(name)).take(.all).count == 1)
            try await rig.pass(milliseconds: 100)
            try await rig.cutOff(name)
            try await queue.reclaim(dead: [WorkerID(name)])
        }
        #expect(try await queue.take(.all).isEmpty)
        #expect(try await queue.offer([.sample(8)], verify: true) == [.live])
    }

    /// 7: the late word of a worker that lost its lease changes nothing once somebody else has the job.
    package static func refusesTheLateWord(_ rig: some JobQueueRig) async throws {
        let first = try await rig.queue("a")
        let second = try await rig.queue("b")
        _ = try await first.offer([.sample(1)], verify: false)
        let old = try await first.take(.all)
        try await rig.pass(milliseconds: 100)
        try await second.reclaim(dead: [WorkerID("a")])
        #expect(try await first.finish([(old[0], .done(version: 18))]) == [.takenOver])
        let new = try await second.take(.all)
        #expect(try await first.finish([(old[0], .done(version: 18))]) == [.foreignToken])
        try await first.release(old)
        #expect(try await second.finish([(new[0], .done(version: 18))]) == [.done])
        #expect(try await first.finish([(old[0], .done(version: 18))]) == [.takenOver])
    }

    /// 14: an acknowledgement may be repeated.
    package static func acknowledgesTwice(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        _ = try await queue.offer([.sample(8), .sample(16), .sample(24), .sample(32)], verify: false)
        let taken = try await queue.take(.all)
        let outcomes: [JobOutcome] = [
            .done(version: 18), .dead(reason: "X: y"), .retry(delayMs: 60_000, reason: "X: y"),
            .retry(delayMs: 0, reason: "X: y"),
        ]
        let ends = Array(zip(taken, outcomes).map { (job: $0, outcome: $1) })
        #expect(try await queue.finish(ends) == [.done, .done, .done, .done])
        #expect(try await queue.finish(ends) == [.repeated, .repeated, .repeated, .repeated])
        #expect(try await queue.finish([(sampleTaken("nobody"), .done(version: 1))]) == [.unknown])
    }

    /// 19: what is given back is next, in its order, without a crash.
    package static func givesBackToTheHead(_ rig: some JobQueueRig) async throws {
        let first = try await rig.queue("a")
        let second = try await rig.queue("b")
        let jobs = (1...6).map { Job.sample(8, .stops, attempt: $0) }
        _ = try await first.offer(jobs, verify: false)
        let taken = try await first.take(TakeRequest(stops: 4, targets: 0, housekeeping: 0))
        try await first.release(taken)
        let again = try await second.take(.all)
        #expect(again.map(\.job) == jobs)
        #expect(again.allSatisfy { $0.crashes == 0 && $0.attemptsMade == 0 })
        #expect(try await first.finish([(taken[0], .done(version: 1))]) == [.foreignToken])
    }

    /// 23: a retry comes when it is due, not before, and counts an attempt.
    package static func retriesWhenDue(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        _ = try await queue.offer([.sample(1)], verify: false)
        _ = try await queue.finish(
            try await queue.take(.all).map { ($0, .retry(delayMs: 1_500, reason: "STORE: away")) }
        )
        #expect(try await queue.take(.all).isEmpty)
        #expect(try await queue.offer([.sample(1)], verify: true) == [.live])
        try await rig.pass(milliseconds: 1_520)
        let again = try await queue.take(.all)
        #expect(again.map(\.job) == [.sample(1)])
        #expect(again.map(\.attemptsMade) == [1])
        #expect(again.map(\.crashes) == [0])
    }

    /// A retry at once is next.
    package static func retriesAtOnceAtTheHead(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        let jobs = (1...3).map { Job.sample(8, .stops, attempt: $0) }
        _ = try await queue.offer(jobs, verify: false)
        let taken = try await queue.take(TakeRequest(stops: 2, targets: 0, housekeeping: 0))
        _ = try await queue.finish(taken.map { ($0, .retry(delayMs: 0, reason: "STORE: conflict")) })
        #expect(try await queue.take(.all).map(\.job) == jobs)
    }

    /// 16, 25: whoever waits is woken by an offer.
    package static func wakesWhoWaits(_ rig: some JobQueueRig) async throws {
        let queue = try await rig.queue("a")
        let other = try await rig.queue("b")
        #expect(try await queue.take(.all).isEmpty)
        try await withThrowingTaskGroup { group in
            group.addTask {
                while true {
                    await queue.waitForWork()
                    let taken = try await queue.take(.all)
                    if !taken.isEmpty { return taken.map(\.job) == [.sample(5)] }
                }
            }
            _ = try await other.offer([.sample(5)], verify: false)
            #expect(try await group.next() == true)
        }
    }

    private static func sampleTaken(_ token: String) -> TakenJob {
        TakenJob(
            rawID: Job.sample(99).id.description,
            job: nil,
            jobClass: .stops,
            partition: 99 % 8,
            token: token,
            attemptsMade: 0,
            deliveries: 0,
            crashes: 0,
        )
    }
}
