// One hiredis context: a socket with a write buffer and a reply parser.
//
// Invariants: used by one thread; non-blocking; after the first failure it is only freed. Of hiredis only the calls
// that 0.14 and 1.x share are used. Replies are copied before they are freed.

internal import CHiredis

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// Why a link is of no use any more, for logs and for `RedisError.detail`.
struct LinkFailure: Error, Sendable {
    let text: String
}

/// A socket to a server. Freed with the object.
final class RedisLink {
    private let context: UnsafeMutablePointer<redisContext>
    let descriptor: Int32
    /// Bytes of protocol ever put into the write buffer.
    private(set) var appended: UInt64 = 0
    private var pointers: [UnsafePointer<CChar>?] = []
    private var lengths: [Int] = []

    /// Starts connecting; `descriptor` becomes writable when that is decided.
    /// - Parameter host: for TCP a numeric address, so that nothing blocks.
    init(_ host: RedisAddress.Host) throws(LinkFailure) {
        let made =
            switch host {
            case .tcp(let name, let port): redisConnectNonBlock(name, Int32(port))
            case .unix(let path): redisConnectUnixNonBlock(path)
            case .sentinel, .cluster: throw LinkFailure(text: "connect: not the address of one server")
            }
        guard let made else { throw LinkFailure(text: "out of memory") }
        guard made.pointee.err == 0 else {
            let failure = Self.failure(of: made, doing: "connect")
            redisFree(made)
            throw failure
        }
        context = made
        descriptor = made.pointee.fd
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        if case .tcp = host { setTCPOptions() }
    }

    deinit { redisFree(context) }

    /// Whether connecting worked; asked once, when the descriptor is writable.
    func checkConnected() throws(LinkFailure) {
        var code: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) == 0 else {
            throw LinkFailure(text: "connect: \(errorText(errno))")
        }
        guard code == 0 else { throw LinkFailure(text: "connect: \(errorText(code))") }
    }

    // MARK: Writing

    /// Bytes in the write buffer.
    var unsent: Int { sdslen(context.pointee.obuf) }
    /// Bytes ever handed to the kernel.
    var written: UInt64 { appended - UInt64(unsent) }

    /// Puts commands of `batch` into the write buffer, from `command` on, until all are in or the buffer holds `limit`
    /// bytes. Returns the first command that is not in.
    func append(_ batch: RedisBatch, from command: Int, limit: Int) throws(LinkFailure) -> Int {
        let before = unsent
        var next = command
        var failed = false
        batch.bytes.withUnsafeBytes { raw in
            guard let base = raw.bindMemory(to: CChar.self).baseAddress else { return }
            while next < batch.count, unsent < limit, !failed {
                pointers.removeAll(keepingCapacity: true)
                lengths.removeAll(keepingCapacity: true)
                let arguments = batch.arguments(of: next)
                var start = batch.start(ofArgument: arguments.lowerBound)
                for argument in arguments {
                    let end = batch.argumentEnds[argument]
                    pointers.append(base + start)
                    lengths.append(end - start)
                    start = end
                }
                let code = pointers.withUnsafeMutableBufferPointer { pointers in
                    lengths.withUnsafeBufferPointer { lengths in
                        redisAppendCommandArgv(
                            context,
                            Int32(pointers.count),
                            pointers.baseAddress,
                            lengths.baseAddress,
                        )
                    }
                }
                failed = code != REDIS_OK
                next += 1
            }
        }
        if failed { throw LinkFailure(text: "out of memory") }
        appended += UInt64(unsent - before)
        return next
    }

    /// Writes what the kernel takes now.
    func flush() throws(LinkFailure) {
        while unsent > 0 {
            let before = unsent
            var done: Int32 = 0
            guard redisBufferWrite(context, &done) == REDIS_OK else {
                throw Self.failure(of: context, doing: "write")
            }
            if unsent == before { return }
        }
    }

    // MARK: Reading

    /// Reads what has arrived, at most about 256 kB. Returns whether more may be there.
    func read() throws(LinkFailure) -> Bool {
        for _ in 0..<16 {
            let before = context.pointee.reader.pointee.len
            guard redisBufferRead(context) == REDIS_OK else { throw Self.failure(of: context, doing: "read") }
            // hiredis reads 16 kB at a time: less means that the socket is empty.
            if context.pointee.reader.pointee.len - before < 16 * 1024 { return false }
        }
        return true
    }

    /// The next complete reply, handed to `body` and freed after it; nil when there is none yet.
    func nextReply<Result>(_ body: (UnsafePointer<redisReply>) -> Result) throws(LinkFailure) -> Result? {
        var raw: UnsafeMutableRawPointer?
        guard redisGetReplyFromReader(context, &raw) == REDIS_OK else {
            throw Self.failure(of: context, doing: "parse")
        }
        guard let raw else { return nil }
        defer { freeReplyObject(raw) }
        return body(UnsafePointer(raw.assumingMemoryBound(to: redisReply.self)))
    }

    // MARK: Details

    /// An idle peer that is gone is noticed in about 8 s, unacknowledged data in 2 s. Failing costs only that.
    private func setTCPOptions() {
        func set(_ level: Int32, _ option: Int32, _ value: Int32) {
            var value = value
            _ = setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
        }
        set(SOL_SOCKET, SO_KEEPALIVE, 1)
        set(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        #if os(Linux)
        set(Int32(IPPROTO_TCP), TCP_KEEPIDLE, 5)
        set(Int32(IPPROTO_TCP), TCP_KEEPINTVL, 1)
        set(Int32(IPPROTO_TCP), TCP_KEEPCNT, 3)
        set(Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, 2_000)
        #endif
    }

    private static func failure(of context: UnsafeMutablePointer<redisContext>, doing: String) -> LinkFailure {
        let text = withUnsafeBytes(of: &context.pointee.errstr) { raw in
            String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
        }
        return LinkFailure(text: "\(doing): \(text)")
    }
}

extension RedisValue {
    /// A copy of a reply of hiredis.
    init(_ reply: UnsafePointer<redisReply>) {
        let reply = reply.pointee
        switch reply.type {
        case REDIS_REPLY_INTEGER:
            self = .integer(Int64(reply.integer))
        case REDIS_REPLY_STRING:
            self = .bytes(Array(UnsafeRawBufferPointer(start: reply.str, count: Int(reply.len))))
        case REDIS_REPLY_STATUS:
            self = .status(Self.text(reply))
        case REDIS_REPLY_ERROR:
            self = .error(RedisServerError(text: Self.text(reply)))
        case REDIS_REPLY_ARRAY:
            var values: [RedisValue] = []
            let count = Int(reply.elements)
            values.reserveCapacity(count)
            for index in 0..<count {
                guard let element = reply.element?[index] else { continue }
                values.append(RedisValue(UnsafePointer(element)))
            }
            self = .array(values)
        default:
            // NIL; the other types belong to RESP3, which we never ask for.
            self = .null
        }
    }

    private static func text(_ reply: redisReply) -> String {
        String(decoding: UnsafeRawBufferPointer(start: reply.str, count: Int(reply.len)), as: UTF8.self)
    }
}

/// The system's words for an error number.
func errorText(_ code: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
        guard let start = buffer.baseAddress, strerror_r(code, start, buffer.count) == 0 else { return "error \(code)" }
        return String(cString: start)
    }
}

/// Nanoseconds of the monotonic clock.
func monotonicNow() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
