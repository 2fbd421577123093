// State behind a lock. `Synchronization.Mutex` makes ThreadSanitizer report false races on Linux; a pthread mutex
// does not, and is no slower.

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// A value that one thread at a time may touch.
///
/// Take the lock to decide, leave it to act: `body` must not block, await or call out.
public final class Locked<State>: @unchecked Sendable {
    // `@unchecked`: every access to what `state` points to happens under `mutex`, which is also what keeps two accesses
    // from meeting: a stored property would be checked for that once more, each time.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let state: UnsafeMutablePointer<State>

    public init(_ state: State) {
        // One block for both.
        let place =
            (MemoryLayout<pthread_mutex_t>.size + MemoryLayout<State>.alignment - 1)
            & ~(MemoryLayout<State>.alignment - 1)
        let block = UnsafeMutableRawPointer.allocate(
            byteCount: place + MemoryLayout<State>.size,
            alignment: max(MemoryLayout<pthread_mutex_t>.alignment, MemoryLayout<State>.alignment),
        )
        self.state = (block + place).bindMemory(to: State.self, capacity: 1)
        self.state.initialize(to: state)
        mutex = block.bindMemory(to: pthread_mutex_t.self, capacity: 1)
        let code = pthread_mutex_init(mutex, nil)
        precondition(code == 0, "pthread_mutex_init failed with \(code)")
    }

    deinit {
        pthread_mutex_destroy(mutex)
        state.deinitialize(count: 1)
        UnsafeMutableRawPointer(mutex).deallocate()
    }

    /// Runs `body` with exclusive access and returns what it returns.
    public func withLock<Result, Failure: Error>(
        _ body: (inout State) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&state.pointee)
    }
}
