// Wakes a task that waits for something to do, without saying what: however often it rang meanwhile, it counts once.
internal import OwnerThread

/// For one listener; whoever is cancelled hears what rang before, and then no more.
final class Bell: Sendable {
    private struct State {
        var hasRung = false
        var isOver = false
        var listener: CheckedContinuation<Bool, Never>?
    }

    private let state = Locked(State())

    func ring() {
        let listener = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            guard !state.isOver else { return nil }
            state.hasRung = state.listener == nil
            defer { state.listener = nil }
            return state.listener
        }
        listener?.resume(returning: true)
    }

    /// Returns when it rings, at once if it has rung since the last time. False: the task was cancelled.
    func listen() async -> Bool {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = state.withLock { state -> Bool? in
                    if state.hasRung {
                        state.hasRung = false
                        return true
                    }
                    if state.isOver { return false }
                    state.listener = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let listener = state.withLock { state in
                state.isOver = true
                defer { state.listener = nil }
                return state.listener
            }
            listener?.resume(returning: false)
        }
    }
}
