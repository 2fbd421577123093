// How many jobs a worker has in hand, by class: slow venue calls of targets can never fill a worker (QUEUE.md 7.1).
internal import OwnerThread

/// Slots of one worker. `take` asks for the free ones; each job gives its slot back when it ends.
final class JobSlots: Sendable {
    private struct State {
        var used = TakeRequest(stops: 0, targets: 0, housekeeping: 0)
        var concurrency: Int
        /// How many were given back so far.
        var returned = 0
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state: Locked<State>

    init(concurrency: Int = WorkerStanding.usualConcurrency) {
        state = Locked(State(concurrency: concurrency))
    }

    /// How many there are from now on. Where more are used, none is free until enough were given back.
    func set(concurrency: Int) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.concurrency != concurrency else { return nil }
            state.concurrency = concurrency
            guard !Self.free(state).isEmpty else { return nil }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    /// At least so many are never lent to other classes, at most so many are used.
    private static func bounds(_ jobClass: JobClass, _ concurrency: Int) -> (least: Int, most: Int) {
        func scaled(_ slots: Int) -> Int { max(1, (slots * concurrency + 63) / 64) }
        return switch jobClass {
        case .stops: (scaled(24), scaled(58))
        case .targets: (scaled(4), scaled(32))
        case .housekeeping: (scaled(2), scaled(8))
        }
    }

    /// Free slots by class.
    var free: TakeRequest { state.withLock { Self.free($0) } }

    private static func free(_ state: State) -> TakeRequest {
        let (used, concurrency) = (state.used, state.concurrency)
        let total = concurrency - used.stops - used.targets - used.housekeeping
        func free(_ jobClass: JobClass) -> Int {
            var kept = 0
            for other in JobClass.allCases where other != jobClass {
                kept += max(0, bounds(other, concurrency).least - used[other])
            }
            return max(0, min(bounds(jobClass, concurrency).most - used[jobClass], total - kept))
        }
        return TakeRequest(stops: free(.stops), targets: free(.targets), housekeeping: free(.housekeeping))
    }

    func use(_ jobs: [TakenJob]) {
        state.withLock { state in
            for job in jobs { state.used[job.jobClass] += 1 }
        }
    }

    func giveBack(_ jobs: [TakenJob]) {
        let waiter = state.withLock { state in
            for job in jobs { state.used[job.jobClass] -= 1 }
            state.returned += jobs.count
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Whether a class has no slot left: its jobs wait for one, whatever the queue says.
    var isShort: Bool {
        let free = free
        return free.stops == 0 || free.targets == 0 || free.housekeeping == 0
    }

    /// Returns when half of what stops may use was given back, so that what follows is done for many at once; 30 ms after
    /// the first was given back in any case, and after 50 ms because jobs of other classes may come.
    func waitForMore(_ clock: any EngineClock) async throws {
        let (before, wanted) = state.withLock { ($0.returned, Self.bounds(.stops, $0.concurrency).most / 2) }
        var since = 0
        for _ in 0..<10 {
            try await clock.sleep(milliseconds: 5)
            let returned = state.withLock { $0.returned } - before
            if returned > 0 { since += 1 }
            if returned > 0, returned >= wanted || since > 6 { return }
        }
    }

    /// Returns when a slot is free. One caller at a time.
    func wait() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if !Self.free(state).isEmpty { return true }
                state.waiter = continuation
                return false
            }
            if isFree { continuation.resume() }
        }
    }
}

/// Acknowledges jobs: whatever ends while one call is under way becomes the next, and where many end at once they share it.
actor OutcomeBatcher {
    typealias Outcome = (job: TakenJob, outcome: JobOutcome)
    private var waiting: [Outcome] = []
    private var isRunning = false
    private let clock: any EngineClock
    private let send: @Sendable ([Outcome]) async -> Void
    private static let pauseMs: Int64 = 10

    init(_ clock: any EngineClock, send: @escaping @Sendable ([Outcome]) async -> Void) {
        self.clock = clock
        self.send = send
    }

    func finish(_ outcomes: [Outcome]) async {
        waiting += outcomes
        guard !isRunning else { return }
        isRunning = true
        while !waiting.isEmpty {
            let batch = waiting
            waiting = []
            await send(batch)
            // Their slots are free; nobody waits for this but the next acknowledgement.
            guard batch.count > 1 else { continue }
            do { try await clock.sleep(milliseconds: Self.pauseMs) } catch { continue }
        }
        isRunning = false
    }
}
