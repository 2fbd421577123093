#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// A value that one thread sets once and one other waits for.
final class ThreadSignal<Value: Sendable>: @unchecked Sendable {
    // `@unchecked`: `value` is written before the post and read after the wait.
    private let semaphore: UnsafeMutablePointer<sem_t>
    private var value: Value?

    init() {
        semaphore = .allocate(capacity: 1)
        let code = sem_init(semaphore, 0, 0)
        precondition(code == 0, "sem_init failed")
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func set(_ value: Value) {
        self.value = value
        sem_post(semaphore)
    }

    func wait() -> Value {
        while sem_wait(semaphore) != 0 {}  // EINTR
        guard let value else { preconditionFailure("posted without a value") }
        return value
    }
}
