// Many stream clients in one thread, for `bench api`: what they cost is known, so what the server costs is known too.
import OwnerThread
import SmartOrders

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// WebSockets that follow one account and count its events. Blocking sockets, `poll`, no library. Pings are answered: a
/// server gives up who does not.
final class StreamSwarm: Sendable {
    private struct State {
        var messages = 0
        /// Clients whose subscription was answered.
        var subscribed = 0
        /// Of each sequence number: how many clients have it, and when the last one came (monotonic nanoseconds).
        var arrivals: [Int64: (count: Int, last: Int64)] = [:]
        /// CPU time of the swarm's own thread.
        var cpuNanoseconds: Int64 = 0
        var isOver = false
        var isFinished = false
    }

    private static let ping: UInt8 = 9
    private static let pong: UInt8 = 0x8a
    private static let headEnd = Array("\r\n\r\n".utf8)
    private static let eventBeginning = Array(#"{"type":"event""#.utf8)
    private static let sequenceKey = Array(#""seq":"#.utf8)
    private static let subscribedBeginning = Array(#"{"type":"subscribed""#.utf8)

    private let sockets: [Int32]
    private let silent: Int
    private let state = Locked(State())

    var subscribed: Int { state.withLock { $0.subscribed } }
    var messages: Int { state.withLock { $0.messages } }
    var arrivals: [Int64: (count: Int, last: Int64)] { state.withLock { $0.arrivals } }
    /// How many clients have an event.
    func count(of sequence: Int64) -> Int { state.withLock { $0.arrivals[sequence]?.count ?? 0 } }
    var cpuNanoseconds: Int64 { state.withLock { $0.cpuNanoseconds } }

    /// Connects `count` clients that follow an account from a position on; nil: they stay idle.
    /// - Parameter silent: how many of them never read.
    init(
        port: Int,
        key: String,
        count: Int,
        silent: Int = 0,
        following: (account: AccountID, after: Int64)?,
    ) throws {
        FileLimit.raise()
        var opened: [Int32] = []
        for number in 0..<count {
            // The silent ones are soon full.
            let socket = try Sockets.connect(port, receiving: number < silent ? 4_096 : nil)
            opened.append(socket)
            Sockets.write(
                socket,
                Array(
                    ("GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        + "Authorization: Bearer \(key)\r\n\r\n").utf8
                ),
            )
            guard let (account, after) = following else { continue }
            let text =
                #"{"op":"subscribe","channel":"orders","account":"\#(account)","from":{"epoch":1,"seq":\#(after)}}"#
            Sockets.write(socket, Self.frame(Array(text.utf8)))
        }
        sockets = opened
        self.silent = silent
        OwnerThread.start(name: "swarm") { self.run() }
    }

    func close() async {
        state.withLock { $0.isOver = true }
        while !state.withLock({ $0.isFinished }) { await Task.yield() }
    }

    private func run() {
        var polled = sockets.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        // The first ones keep their sockets and never look at them.
        for index in 0..<silent { polled[index].fd = -1 }
        var held = [[UInt8]](repeating: [], count: sockets.count)
        var isUpgraded = [Bool](repeating: false, count: sockets.count)
        var buffer = [UInt8](repeating: 0, count: 256 << 10)
        while !state.withLock({ $0.isOver }) {
            guard poll(&polled, nfds_t(polled.count), 50) > 0 else { continue }
            for index in polled.indices where polled[index].revents != 0 {
                let count = read(polled[index].fd, &buffer, buffer.count)
                guard count > 0 else {
                    polled[index].fd = -1
                    continue
                }
                held[index] += buffer[..<count]
                if !isUpgraded[index] {
                    guard let end = held[index].end(of: Self.headEnd) else { continue }
                    held[index].removeSubrange(..<end)
                    isUpgraded[index] = true
                }
                take(&held[index], of: polled[index].fd)
            }
            var spent = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent)
            let nanoseconds = Int64(spent.tv_sec) * 1_000_000_000 + Int64(spent.tv_nsec)
            state.withLock { $0.cpuNanoseconds = nanoseconds }
        }
        for socket in sockets { Glibc.close(socket) }
        state.withLock { $0.isFinished = true }
    }

    /// Takes the whole frames off the front.
    private func take(_ bytes: inout [UInt8], of socket: Int32) {
        var start = 0
        var sequences: [Int64] = []
        var subscribed = 0
        while bytes.count - start >= 2 {
            var length = Int(bytes[start + 1] & 127)
            var size = 2
            if length == 126 {
                guard bytes.count - start >= 4 else { break }
                length = Int(bytes[start + 2]) << 8 | Int(bytes[start + 3])
                size = 4
            } else if length == 127 {
                guard bytes.count - start >= 10 else { break }
                length = bytes[(start + 2)..<(start + 10)].reduce(0) { $0 << 8 | Int($1) }
                size = 10
            }
            guard bytes.count - start >= size + length else { break }
            if bytes[start] & 15 == Self.ping {
                Sockets.write(
                    socket,
                    [Self.pong, 0x80 | UInt8(length), 0, 0, 0, 0] + bytes[(start + size)..<(start + size + length)],
                )
            } else if let sequence = Self.sequence(bytes[(start + size)..<(start + size + length)]) {
                sequences.append(sequence)
            } else if bytes[(start + size)..<(start + size + length)].starts(with: Self.subscribedBeginning) {
                subscribed += 1
            }
            start += size + length
        }
        bytes.removeSubrange(..<start)
        if subscribed > 0 { state.withLock { [subscribed] state in state.subscribed += subscribed } }
        guard !sequences.isEmpty else { return }
        let now = SystemClock().monotonicNanoseconds()
        state.withLock { state in
            state.messages += sequences.count
            for sequence in sequences {
                state.arrivals[sequence] = ((state.arrivals[sequence]?.count ?? 0) + 1, now)
            }
        }
    }

    /// The number of an event's frame, which stands near its beginning; nil: another frame.
    private static func sequence(_ frame: ArraySlice<UInt8>) -> Int64? {
        guard frame.starts(with: eventBeginning), let start = frame.prefix(160).end(of: sequenceKey) else { return nil }
        var number: Int64 = 0
        for byte in frame[start...] {
            guard byte >= 48, byte <= 57 else { break }
            number = number * 10 + Int64(byte - 48)
        }
        return number
    }

    private static func frame(_ payload: [UInt8]) -> [UInt8] {
        // Masked with zeros: as good as any other mask for a load.
        let length: [UInt8] =
            payload.count < 126
            ? [0x80 | UInt8(payload.count)] : [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        return [0x81] + length + [0, 0, 0, 0] + payload
    }
}
