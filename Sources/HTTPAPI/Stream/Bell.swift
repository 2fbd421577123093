// Wakes one waiting task; rings that come while it is awake are one.

internal import OrderEngine
internal import OwnerThread

final class Bell: Sendable {
    private struct State {
        var isRung = false
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Locked(State())

    func ring() {
        let waiter = state.withLock { state in
            let waiter = state.waiter
            state.waiter = nil
            state.isRung = waiter == nil
            return waiter
        }
        waiter?.resume()
    }

    /// Returns after the next ring, at once if it rang since the last wait, and when the task is cancelled. One waiter.
    func wait() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDue = state.withLock { state in
                    precondition(state.waiter == nil, "a bell has one waiter")
                    if state.isRung || Task.isCancelled {
                        state.isRung = false
                        return true
                    }
                    state.waiter = continuation
                    return false
                }
                if isDue { continuation.resume() }
            }
        } onCancel: {
            ring()
        }
    }

    /// Carries `work` out after each ring, and every `milliseconds` without one: for what other processes left behind.
    /// Until the task is cancelled.
    func serve(every milliseconds: Int64, _ clock: any EngineClock, _ work: @escaping @Sendable () async -> Void) async
    {
        await withDiscardingTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    do { try await clock.sleep(milliseconds: milliseconds) } catch { return }
                    self.ring()
                }
            }
            group.addTask {
                while !Task.isCancelled {
                    await self.wait()
                    await work()
                }
            }
        }
    }
}
