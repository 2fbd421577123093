// State of one thread. A lock that nobody ever waits for is still paid for at each step; here the thread is compared.

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// A value that one thread alone touches, from `own` to `disown`; before and after, whoever was given it in order.
///
/// `body` must not ask for the same value again: it traps, as does another thread.
public final class Confined<State>: @unchecked Sendable {
    private struct Block {
        var state: State
        var owner: pthread_t?
        var isInUse = false
    }

    // `@unchecked`: every access is on the owning thread, which is compared each time. A pointer, as in `Locked`.
    private let block: UnsafeMutablePointer<Block>

    public init(_ state: State) {
        block = .allocate(capacity: 1)
        block.initialize(to: Block(state: state))
    }

    deinit {
        block.deinitialize(count: 1)
        block.deallocate()
    }

    /// From now on only the calling thread has access.
    public func own() { block.pointee.owner = pthread_self() }

    /// The next thread that has access is one that learns of this in order.
    public func disown() { block.pointee.owner = nil }

    /// Runs `body` with exclusive access and returns what it returns.
    public func with<Result, Failure: Error>(
        _ body: (inout State) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        if let owner = block.pointee.owner {
            precondition(pthread_equal(owner, pthread_self()) != 0, "state of another thread")
        }
        precondition(!block.pointee.isInUse, "state that is in use")
        block.pointee.isInUse = true
        defer { block.pointee.isInUse = false }
        return try body(&block.pointee.state)
    }
}
