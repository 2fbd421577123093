// Clocks for tests: the machine's, and one that stands still until it is told.
internal import OrderEngine
internal import OwnerThread
package import SmartOrders

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// The clock of this machine.
package struct RealClock: EngineClock {
    package init() {}

    package func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000)
    }

    package func monotonicNanoseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    package func sleep(milliseconds: Int64) async throws {
        try await Task.sleep(for: .milliseconds(milliseconds))
    }
}

/// A clock that moves only when a test moves it.
package final class ManualClock: EngineClock {
    private struct Sleeper {
        let id: UInt64
        let until: Int64
        let continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var milliseconds: Int64
        var sleepers: [Sleeper] = []
        var nextID: UInt64 = 0
    }

    private let state: Locked<State>

    package init(startingAt milliseconds: Int64 = 1_750_000_000_000) {
        state = Locked(State(milliseconds: milliseconds))
    }

    package func now() -> Timestamp { Timestamp(milliseconds: state.withLock { $0.milliseconds }) }
    package func monotonicNanoseconds() -> Int64 { state.withLock { $0.milliseconds } * 1_000_000 }

    /// Moves time and wakes whoever's time has come, in order.
    package func advance(milliseconds: Int64) {
        let due = state.withLock { state in
            state.milliseconds += milliseconds
            let now = state.milliseconds
            let due = state.sleepers.filter { $0.until <= now }.sorted { ($0.until, $0.id) < ($1.until, $1.id) }
            state.sleepers.removeAll { $0.until <= now }
            return due
        }
        for sleeper in due { sleeper.continuation.resume(returning: true) }
    }

    package func sleep(milliseconds: Int64) async throws {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let wasDue = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Bool? = state.withLock { state in
                    if milliseconds <= 0 { return true }
                    if Task.isCancelled { return false }
                    let until = state.milliseconds + milliseconds
                    state.sleepers.append(Sleeper(id: id, until: until, continuation: continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let sleeper = state.withLock { state in
                let index = state.sleepers.firstIndex { $0.id == id }
                return index.map { state.sleepers.remove(at: $0) }
            }
            sleeper?.continuation.resume(returning: false)
        }
        if !wasDue { throw CancellationError() }
    }
}
