// A connection to one server: any task or thread posts requests, one thread owns the socket.
//
// Invariants
// - Every request ends exactly once: with its replies, or with an error that says whether it was sent. At the latest a
//   few milliseconds after its deadline, whatever the server or the network does.
// - Requests are sent in the order in which they were posted, all that wait in one pipeline, and answered in that order.
// - A deadline that passes in flight closes the connection: everything in flight is `outcomeUnknown`. What was not yet
//   written stays and goes out on the next connection if its deadline allows.
// - `capacity` requests and `capacityBytes` bytes are the most that wait or fly; beyond, a request is `notSent` at once.
// - Connecting never ends, except by `close()`: no state is terminal. A cancelled task still waits for its answer,
//   which the deadline bounds.
// Cost: a lock or two per request, one write(2) per burst, one read(2) per 16 kB of replies.

internal import OwnerThread

/// What a connection is doing, for readiness probes and metrics.
public struct RedisConnectionStatus: Hashable, Sendable {
    /// Connected and greeted.
    public var isReady = false
    /// Connections that were made so far.
    public var connects = 0
    /// Why the last connection or attempt ended; empty if none did.
    public var lastFailure = ""
    /// Requests waiting or in flight.
    public var outstanding = 0
}

/// A pipelined, self-healing connection to one Redis server. Closed with the object.
public final class RedisConnection: Sendable {
    public let options: RedisOptions
    private let mailbox: Mailbox<RedisRequest>
    private let shared: ConnectionShared

    /// Starts the owner thread and the first attempt to connect. Does not wait for it.
    public init(_ options: RedisOptions) {
        self.options = options
        let shared = ConnectionShared()
        let mailbox = Mailbox<RedisRequest>(capacity: options.capacity)
        self.shared = shared
        self.mailbox = mailbox
        OwnerThread.start(name: options.name) {
            ConnectionLoop(options: options, mailbox: mailbox, shared: shared).run()
        }
    }

    deinit { mailbox.close() }

    /// Takes no more requests. What was not sent ends with `closed`, what is in flight as usual.
    public func close() { mailbox.close() }

    public var status: RedisConnectionStatus { shared.status.withLock { $0.status } }

    /// Sends `batch` and returns one reply per command, in order; a reply may be an error.
    /// - Parameter timeout: counted from now; nil takes the connection's.
    public func send(_ batch: RedisBatch, timeout: Duration? = nil) async throws(RedisError) -> [RedisValue] {
        try await perform(batch, timeout: timeout, shape: .values).get().values
    }

    /// The same; what `followUp` makes of the replies is sent before the caller resumes, and nobody waits for its replies.
    /// It runs on the owner thread and must not block.
    package func send(
        _ batch: RedisBatch,
        followUp: @escaping @Sendable ([RedisValue]) -> RedisBatch,
    ) async throws(RedisError) -> [RedisValue] {
        let result: Result<RedisReplies, RedisError> = await withCheckedContinuation { continuation in
            submit(batch, timeout: nil, shape: .values, followUp: followUp) { continuation.resume(returning: $0) }
        }
        return try result.get().values
    }

    /// Sends one command and returns its reply. Throws the server's error as `server`.
    public func send(_ command: RedisCommand, timeout: Duration? = nil) async throws(RedisError) -> RedisValue {
        try await send(command.batch, timeout: timeout)[0].orThrow()
    }

    /// Sends `batch` from a thread that may block, such as a heartbeat's.
    public func sendBlocking(_ batch: RedisBatch, timeout: Duration? = nil) throws(RedisError) -> [RedisValue] {
        let signal = ThreadSignal<Result<RedisReplies, RedisError>>()
        submit(batch, timeout: timeout, shape: .values) { signal.set($0) }
        return try signal.wait().get().values
    }

    /// The common way of all requests, and the one for callers that have their own means of waiting. `completion` runs
    /// on the owner thread and must not block.
    package func submit(
        _ batch: RedisBatch,
        timeout: Duration?,
        shape: ReplyShape,
        followUp: (@Sendable ([RedisValue]) -> RedisBatch)? = nil,
        completion: @escaping @Sendable (Result<RedisReplies, RedisError>) -> Void,
    ) {
        if batch.isEmpty { return completion(.success(RedisReplies())) }
        let now = monotonicNow()
        let deadline = now + (timeout ?? options.requestTimeout).nanoseconds
        if let refusal = shared.admit(bytes: batch.byteCount, now: now, options) {
            return completion(.failure(refusal))
        }
        let request = RedisRequest(
            batch: batch,
            deadline: deadline,
            shape: shape,
            followUp: followUp,
            completion: completion,
        )
        do throws(MailboxError) {
            try mailbox.post(request)
        } catch {
            shared.release(requests: 1, bytes: batch.byteCount)
            switch error {
            case .full: completion(.failure(tooMany))
            case .closed: completion(.failure(RedisError(.closed)))
            }
        }
    }

    package func perform(
        _ batch: RedisBatch,
        timeout: Duration?,
        shape: ReplyShape,
    ) async -> Result<RedisReplies, RedisError> {
        await withCheckedContinuation { continuation in
            submit(batch, timeout: timeout, shape: shape) { continuation.resume(returning: $0) }
        }
    }
}

/// How the replies of a request are copied out of hiredis.
package enum ReplyShape: Sendable {
    case values
    /// The entries of an XREAD of these keys, in one flat buffer.
    case streams(keys: [[UInt8]])
    /// The entries of an XRANGE, in one flat buffer.
    case range
}

/// The replies of one request.
package struct RedisReplies: Sendable {
    package var values: [RedisValue] = []
    /// Filled for `streams` and `range` unless the server answered an error.
    package var entries = RedisStreamEntries()
}

/// A request on its way to the owner thread. A class: it moves through queues, and one reference is what is copied.
final class RedisRequest: Sendable {
    let batch: RedisBatch
    /// In nanoseconds of the monotonic clock.
    let deadline: UInt64
    let shape: ReplyShape
    let completion: @Sendable (Result<RedisReplies, RedisError>) -> Void
    /// Set when this is the repeat of calls whose script was missing.
    let repeated: RepeatedCalls?
    /// Makes commands of the replies that are sent before anybody hears of them.
    let followUp: (@Sendable ([RedisValue]) -> RedisBatch)?
    /// Made by the owner thread, such as a PING: it was not admitted and nobody waits for it.
    let isOwn: Bool

    init(
        batch: RedisBatch,
        deadline: UInt64,
        shape: ReplyShape,
        repeated: RepeatedCalls? = nil,
        followUp: (@Sendable ([RedisValue]) -> RedisBatch)? = nil,
        isOwn: Bool = false,
        completion: @escaping @Sendable (Result<RedisReplies, RedisError>) -> Void,
    ) {
        self.batch = batch
        self.deadline = deadline
        self.shape = shape
        self.repeated = repeated
        self.followUp = followUp
        self.isOwn = isOwn
        self.completion = completion
    }

    /// What `admit` counted for it.
    var admittedBytes: Int { repeated?.admittedBytes ?? batch.byteCount }
}

/// Calls that are sent again after their script was loaded.
struct RepeatedCalls: Sendable {
    /// The replies of the original batch.
    let replies: [RedisValue]
    /// Where in them the repeated replies belong.
    let positions: [Int]
    /// Commands in front that load scripts.
    let loads: Int
    /// The size at which the original was admitted.
    let admittedBytes: Int
}

private let tooMany = RedisError(.notSent, "too many requests outstanding")

/// What the callers and the owner thread share beside the mailbox.
final class ConnectionShared: Sendable {
    struct State {
        var status = RedisConnectionStatus()
        var bytes = 0
        /// When the last link ended, or the connection began.
        var withoutLinkSince = monotonicNow()
    }

    let status = Locked(State())

    /// Counts a request in, or says why not.
    func admit(bytes: Int, now: UInt64, _ options: RedisOptions) -> RedisError? {
        status.withLock { state in
            if !state.status.isReady, let limit = options.refusesAfter,
                now > state.withoutLinkSince + limit.nanoseconds
            {
                return RedisError(.notSent, "no link: \(state.status.lastFailure)")
            }
            if state.status.outstanding >= options.capacity { return tooMany }
            if state.bytes > 0, state.bytes + bytes > options.capacityBytes { return tooMany }
            state.status.outstanding += 1
            state.bytes += bytes
            return nil
        }
    }

    func release(requests: Int, bytes: Int) {
        status.withLock { state in
            state.status.outstanding -= requests
            state.bytes -= bytes
        }
    }
}
