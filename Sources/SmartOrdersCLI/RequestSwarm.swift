// Many HTTP clients in one thread, for `bench api`: what they cost is known, and it is little, so that what is measured is
// the server. Keep-alive connections, `poll`, no library.
import OwnerThread

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Requests over a number of connections, each as soon as the answer to the last one is there, or at a fixed rate.
final class RequestSwarm: Sendable {
    struct Outcome: Sendable {
        /// Milliseconds; at a fixed rate from the moment at which the request was due.
        var latencies: [Double] = []
        var seconds = 0.0
        /// Answers that were not of the 200s, and the first of them.
        var failures = 0
        var firstFailure = ""
        /// Of the swarm's own thread.
        var cpuSeconds = 0.0
    }

    private struct Connection {
        var socket: Int32
        var held: [UInt8] = []
        /// When its request was due; nil: it has none.
        var begun: Int64?
    }

    private let port: Int
    private let lanes: Int
    private let count: Int
    /// Requests per second; nil: as fast as answers come.
    private let rate: Double?
    private let request: @Sendable (Int) -> [UInt8]

    init(
        port: Int,
        lanes: Int,
        count: Int,
        rate: Double? = nil,
        request: @escaping @Sendable (Int) -> [UInt8],
    ) {
        self.port = port
        self.lanes = lanes
        self.count = count
        self.rate = rate
        self.request = request
    }

    func run() async throws -> Outcome {
        let outcome = await withCheckedContinuation { continuation in
            OwnerThread.start(name: "requests") { continuation.resume(returning: self.work()) }
        }
        guard outcome.failures == 0 else {
            throw Failure(
                .failed,
                "BENCH_API",
                "\(outcome.failures) requests failed, the first: \(outcome.firstFailure)",
            )
        }
        return outcome
    }

    private func work() -> Outcome {
        var outcome = Outcome()
        var connections: [Connection] = []
        for _ in 0..<lanes {
            do {
                connections.append(Connection(socket: try Sockets.connect(port)))
            } catch {
                outcome.failures = 1
                outcome.firstFailure = "\(error)"
                return outcome
            }
        }
        defer { for connection in connections { close(connection.socket) } }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        let begun = Self.now()
        var sent = 0
        var done = 0
        func due(_ number: Int) -> Int64 { begun + Int64(Double(number) * 1e9 / (rate ?? 1)) }
        while done < count {
            // Whoever is free takes the next request that is due, in turn: a connection that never speaks is closed.
            let turn = sent
            for offset in 0..<lanes where connections[(turn + offset) % lanes].begun == nil && sent < count {
                let index = (turn + offset) % lanes
                let now = Self.now()
                if rate != nil, due(sent) > now { break }
                connections[index].begun = rate == nil ? now : due(sent)
                Sockets.write(connections[index].socket, request(sent))
                sent += 1
            }
            var polled = connections.map { pollfd(fd: $0.socket, events: Int16(POLLIN), revents: 0) }
            let isWaiting = rate != nil && sent < count && connections.contains { $0.begun == nil }
            let patience = isWaiting ? max(0, due(sent) - Self.now()) : 1_000_000_000
            guard poll(&polled, nfds_t(polled.count), Int32(patience / 1_000_000)) > 0 else {
                // The rest of a millisecond in naps: a loop would take a core that the server needs.
                if patience < 1_000_000 { usleep(UInt32(min(patience / 1_000, 100))) }
                continue
            }
            for index in polled.indices where polled[index].revents != 0 {
                let size = read(polled[index].fd, &buffer, buffer.count)
                guard size > 0 else {
                    outcome.failures += 1
                    outcome.firstFailure = "the connection was closed"
                    return outcome
                }
                connections[index].held += buffer[..<size]
                guard let status = Self.answer(&connections[index].held), let since = connections[index].begun else {
                    continue
                }
                outcome.latencies.append(Double(Self.now() - since) / 1e6)
                if !(200..<300).contains(status) {
                    outcome.failures += 1
                    if outcome.firstFailure.isEmpty { outcome.firstFailure = "status \(status)" }
                }
                connections[index].begun = nil
                done += 1
            }
        }
        outcome.seconds = Double(Self.now() - begun) / 1e9
        var spent = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent)
        outcome.cpuSeconds = Double(spent.tv_sec) + Double(spent.tv_nsec) / 1e9
        return outcome
    }

    private static func now() -> Int64 { SystemClock().monotonicNanoseconds() }

    private static let end = Array("\r\n\r\n".utf8)
    private static let length = Array("content-length: ".utf8)

    /// Takes one whole answer off; its status. Nil: more bytes are needed.
    private static func answer(_ held: inout [UInt8]) -> Int? {
        guard let headEnd = held.end(of: end) else { return nil }
        var size = 0
        var line = 0
        while line < headEnd - end.count {
            let next = held[line...].firstIndex(of: UInt8(ascii: "\n")) ?? headEnd
            if next - line > length.count, zip(length, held[line...]).allSatisfy({ $0 == $1 | 0x20 || $0 == $1 }) {
                for byte in held[(line + length.count)..<next] where byte >= 48 && byte <= 57 {
                    size = size * 10 + Int(byte - 48)
                }
            }
            line = next + 1
        }
        guard held.count >= headEnd + size else { return nil }
        let status = held[9..<12].reduce(0) { $0 * 10 + Int($1) - 48 }
        held.removeSubrange(..<(headEnd + size))
        return status
    }
}

extension Collection<UInt8> where Index == Int, SubSequence: Collection<UInt8> {
    /// The index behind the first occurrence of `pattern`; nil: there is none. Not `firstRange(of:)`, which is generic
    /// code of another module and took a quarter of a load's CPU.
    func end(of pattern: [UInt8]) -> Int? {
        guard count >= pattern.count else { return nil }
        for start in startIndex...(endIndex - pattern.count) where self[start] == pattern[0] {
            var matched = 1
            while matched < pattern.count, self[start + matched] == pattern[matched] { matched += 1 }
            if matched == pattern.count { return start + matched }
        }
        return nil
    }
}

/// Blocking sockets on the loopback.
enum Sockets {
    /// - Parameter size: bytes of the buffer that the system receives into; nil: as it likes.
    static func connect(_ port: Int, receiving size: Int32? = nil) throws -> Int32 {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var size { setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size)) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard socket >= 0, result == 0 else {
            throw Failure(.failed, "BENCH_SOCKETS", "a socket could not be opened (errno \(errno)).")
        }
        return socket
    }

    static func write(_ socket: Int32, _ bytes: [UInt8]) {
        var start = 0
        while start < bytes.count {
            let count = bytes[start...].withUnsafeBytes { Glibc.write(socket, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            start += count
        }
    }
}

/// How many files this process may have open.
enum FileLimit {
    /// Raises the soft limit as far as the system lets this process; the limit then.
    @discardableResult
    static func raise() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1_024 }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int(clamping: limit.rlim_cur)
    }
}
