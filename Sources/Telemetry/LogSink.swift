// Where log lines go. Trading never waits for whoever reads them (RELIABILITY.md 6.12, FA131).
//
// Invariant: a line is written whole or dropped and counted; nobody blocks. A descriptor that takes nothing now (a full
// pipe, a stopped terminal) drops; the next line that gets through is preceded by one that says how many were lost.
// Limit: 4,096 bytes a line, which a pipe that is ready always takes.
internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

package final class LogSink: Sendable {
    /// Standard error.
    package static let standard = LogSink(descriptor: STDERR_FILENO)
    /// PIPE_BUF: a pipe that `poll` calls writable has room for it.
    package static let lineLimit = 4_096

    private let descriptor: Int32
    private let dropped = Locked(0)

    package init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Lines that were lost and not told of yet.
    package var waitingDrops: Int { dropped.withLock { $0 } }

    /// - Parameters:
    ///   - line: with its line feed.
    ///   - notice: makes the line that tells of so many lost ones.
    package func write(_ line: String, notice: (Int) -> String) {
        // One at a time: two writers would both see room for one.
        dropped.withLock { dropped in
            guard line.utf8.count <= Self.lineLimit else {
                dropped += 1
                return
            }
            if dropped > 0 {
                guard put(notice(dropped)) else {
                    dropped += 1
                    return
                }
                dropped = 0
            }
            if !put(line) { dropped += 1 }
        }
    }

    private func put(_ line: String) -> Bool {
        var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard poll(&state, 1, 0) == 1, state.revents & Int16(POLLOUT) != 0 else { return false }
        return line.withCString { bytes in
            let count = strlen(bytes)
            #if canImport(Glibc)
            return Glibc.write(descriptor, bytes, count) == count
            #else
            return Darwin.write(descriptor, bytes, count) == count
            #endif
        }
    }
}
