// Requests that take too long are cancelled: one sweep for all of them, because a timer for each would cost as much as
// half of a small request.
//
// Limits: a deadline is noticed within 50 ms. Cost: one lock and one entry of a dictionary per request.

internal import OrderEngine
internal import OwnerThread

final class DeadlineWatch: Sendable {
    private struct Entry {
        let until: Int64
        let cancel: @Sendable () -> Void
    }

    private struct State {
        var entries: [UInt64: Entry] = [:]
        var next: UInt64 = 0
    }

    private static let pauseMs: Int64 = 50

    private let clock: any EngineClock
    private let state = Locked(State())

    init(clock: any EngineClock) {
        self.clock = clock
    }

    /// Runs `body` in a task of its own, cancelled after `milliseconds`.
    /// - Returns: nil: the time was over before the end, whatever came of it.
    func run<Value: Sendable>(
        _ milliseconds: Int64,
        _ body: @escaping @Sendable () async throws -> Value,
    ) async throws -> Value? {
        let work = Task { try await body() }
        let until = clock.monotonicNanoseconds() + milliseconds * 1_000_000
        let id = state.withLock { state in
            state.next += 1
            state.entries[state.next] = Entry(until: until) { work.cancel() }
            return state.next
        }
        let result = await withTaskCancellationHandler {
            await work.result
        } onCancel: {
            work.cancel()
        }
        let isInTime = state.withLock { $0.entries.removeValue(forKey: id) != nil }
        return isInTime ? try result.get() : nil
    }

    /// Sweeps until the task is cancelled.
    func sweep() async {
        while !Task.isCancelled {
            do { try await clock.sleep(milliseconds: Self.pauseMs) } catch { return }
            let now = clock.monotonicNanoseconds()
            let over = state.withLock { state in
                let over = state.entries.filter { $0.value.until <= now }
                for id in over.keys { state.entries[id] = nil }
                return over.values.map(\.cancel)
            }
            for cancel in over { cancel() }
        }
    }
}
