// The way from any task or thread to the one thread that owns a C handle.
//
// Invariants: at most `capacity` requests wait; after `close()` nothing is accepted, and what still waited is handed to
// the owner by the last `drain()`. The owner sleeps in `poll(2)` on its socket and on `wakeDescriptor`; a post writes
// one byte only when the owner sleeps, so a burst costs one `write(2)`.

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// Why a request was not taken.
public enum MailboxError: Error, Hashable, Sendable {
    /// `capacity` requests wait already: the caller slows down or refuses its own caller.
    case full
    /// The owner has ended or is ending.
    case closed
}

/// A bounded queue into an owner thread, with a descriptor that becomes readable when something was posted.
public final class Mailbox<Request: Sendable>: Sendable {
    private struct State {
        var waiting: [Request] = []
        var ownerSleeps = true
        var isClosed = false
    }

    public let capacity: Int
    /// Readable (`POLLIN`) when the owner should call `drain()`. Owned by the mailbox.
    public let wakeDescriptor: Int32
    private let wakeWriter: Int32
    private let state = Locked(State())

    /// - Parameter capacity: the most requests that may wait, at least 1.
    /// Traps when the process has no file descriptors left.
    public init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
        var ends: (Int32, Int32) = (-1, -1)
        let code = withUnsafeMutablePointer(to: &ends) { pair in
            pair.withMemoryRebound(to: Int32.self, capacity: 2) { pipe($0) }
        }
        precondition(code == 0, "no file descriptors left for a wake pipe")
        for end in [ends.0, ends.1] {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        wakeDescriptor = ends.0
        wakeWriter = ends.1
    }

    deinit {
        close_(wakeDescriptor)
        close_(wakeWriter)
    }

    /// Hands `request` to the owner. O(1).
    public func post(_ request: Request) throws(MailboxError) {
        let ownerSlept = try state.withLock { state throws(MailboxError) in
            if state.isClosed { throw .closed }
            if state.waiting.count == capacity { throw .full }
            state.waiting.append(request)
            defer { state.ownerSleeps = false }
            return state.ownerSleeps
        }
        // Outside the lock, and only on the first post after a sleep: one write(2) per burst.
        if ownerSlept { wake() }
    }

    /// Everything that was posted since the last call, in order, and whether the mailbox is closed. Owner only.
    ///
    /// An empty answer marks the owner as going to sleep, so the next `post` wakes it.
    public func drain() -> (requests: [Request], isClosed: Bool) {
        var scratch: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        _ = withUnsafeMutableBytes(of: &scratch) { read(wakeDescriptor, $0.baseAddress, $0.count) }
        return state.withLock { state in
            let requests = state.waiting
            state.waiting.removeAll(keepingCapacity: false)
            state.ownerSleeps = requests.isEmpty
            return (requests, state.isClosed)
        }
    }

    /// Accepts nothing from now on and wakes the owner, which drains what is left and ends.
    public func close() {
        state.withLock { $0.isClosed = true }
        wake()
    }

    /// Makes `wakeDescriptor` readable.
    public func wake() {
        var byte: UInt8 = 1
        // A full pipe already wakes the owner: the failure is of no interest.
        _ = write(wakeWriter, &byte, 1)
    }
}

private func close_(_ descriptor: Int32) {
    _ = close(descriptor)
}
