// One life of one process: an object graph that may be killed or held up at any await.
//
// A killed process keeps running its own memory for a moment, like a message that nobody reads: every port, every sleep
// and every venue call of it fails from then on and has no effect. What was on its way already arrives.
package import OrderEngine
internal import OwnerThread
internal import SmartOrders
internal import Synchronization

/// The process is dead: whatever it asks fails.
struct ProcessDied: Error {}

package final class SimulatedProcess: Sendable {
    package enum Role: String, Hashable, Sendable { case worker, scheduler, feed, api }

    private struct State {
        var isDead = false
        var isPaused = false
        var waiting: [CheckedContinuation<Void, Never>] = []
        var task: Task<Void, Never>?
        var ended: [CheckedContinuation<Void, Never>] = []
        var hasEnded = false
        var atDeath: [@Sendable () -> Void] = []
    }

    package let role: Role
    package let id: WorkerID
    private let state = Locked(State())
    /// Dead or paused: most awaits need to know no more.
    fileprivate let isHeldUp = Atomic(false)

    init(role: Role, id: WorkerID) {
        self.role = role
        self.id = id
    }

    /// Dead or held up.
    var isHeld: Bool { isHeldUp.load(ordering: .relaxed) }
    var isDead: Bool { state.withLock { $0.isDead } }
    var isPaused: Bool { state.withLock { $0.isPaused } }

    /// Every await of the process passes here: it waits while the process is held up.
    func pass() async throws(ProcessDied) {
        while isHeldUp.load(ordering: .relaxed) {
            let (isDead, isPaused) = state.withLock { ($0.isDead, $0.isPaused) }
            if isDead { throw ProcessDied() }
            guard isPaused else { return }
            await withCheckedContinuation { continuation in
                let goesOn = state.withLock { state in
                    if state.isDead || !state.isPaused { return true }
                    state.waiting.append(continuation)
                    return false
                }
                if goesOn { continuation.resume() }
            }
        }
    }

    /// `kill -9`.
    func kill() {
        let (waiting, task, atDeath) = state.withLock { state in
            let first = !state.isDead
            state.isDead = true
            isHeldUp.store(true, ordering: .relaxed)
            defer {
                state.waiting = []
                // They know the process, and with it everything.
                state.atDeath = []
            }
            return (state.waiting, state.task, first ? state.atDeath : [])
        }
        for one in waiting { one.resume() }
        for one in atDeath { one() }
        task?.cancel()
        end()
    }

    /// Asks it to stop in order.
    func stop() { state.withLock { $0.task }?.cancel() }

    func hold() {
        state.withLock { state in
            state.isPaused = true
            isHeldUp.store(true, ordering: .relaxed)
        }
    }

    func goOn() {
        let waiting = state.withLock { state in
            state.isPaused = false
            isHeldUp.store(state.isDead, ordering: .relaxed)
            defer { state.waiting = [] }
            return state.waiting
        }
        for one in waiting { one.resume() }
    }

    /// Called once, when the process dies.
    func atDeath(_ body: @escaping @Sendable () -> Void) {
        let isDead = state.withLock { state in
            state.atDeath.append(body)
            return state.isDead
        }
        if isDead { body() }
    }

    /// Starts the process; `body` is its main function.
    func start(_ body: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
        let task = Task {
            await body()
            self.end()
        }
        let isDead = state.withLock { state in
            state.task = task
            return state.isDead
        }
        if isDead { task.cancel() }
        return task
    }

    private func end() {
        let ended = state.withLock { state in
            state.hasEnded = true
            state.task = nil
            defer { state.ended = [] }
            return state.ended
        }
        for one in ended { one.resume() }
    }

    /// Returns when the process has died or its main function has returned.
    func waitForEnd() async {
        await withCheckedContinuation { continuation in
            let hasEnded = state.withLock { state in
                if state.hasEnded { return true }
                state.ended.append(continuation)
                return false
            }
            if hasEnded { continuation.resume() }
        }
    }
}

/// Time as one process sees it: wrong by a constant and a drift; monotonic time is right.
struct ProcessClock: EngineClock {
    let simulator: Simulator
    /// Nil: the database's own clock.
    let process: SimulatedProcess?
    let skewMicroseconds: Int64
    let driftPerMillion: Int64
    /// Wall time at the beginning of every run.
    static let epoch: Int64 = 1_790_000_000_000_000

    func monotonicNanoseconds() -> Int64 { simulator.nanoseconds }

    func now() -> Timestamp {
        let microseconds = simulator.nanoseconds / 1_000
        return Timestamp(
            microseconds: Self.epoch + microseconds + skewMicroseconds + microseconds / 1_000_000 * driftPerMillion
        )
    }

    func sleep(milliseconds: Int64) async throws {
        if let process, process.isHeldUp.load(ordering: .relaxed), process.isDead { throw CancellationError() }
        let number = simulator.newSleeper()
        guard await simulator.sleep(nanoseconds: milliseconds * 1_000_000, as: number) else {
            throw CancellationError()
        }
        guard let process, process.isHeld else { return }
        do { try await process.pass() } catch { throw CancellationError() }
    }
}
