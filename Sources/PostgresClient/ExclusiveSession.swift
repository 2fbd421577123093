// A connection of its own for one long operation (a script, a COPY), outside pipeline mode and outside the pool, so a
// bulk load never stands in front of a trade. One thread per operation, at most `limit` of them; non-blocking with
// poll(2), so the deadline and the pool's end interrupt every wait.

internal import CPostgres
internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// How many operations are under way, and until when they may be.
final class ExclusiveSessions: Sendable {
    private struct State {
        var count = 0
        var limit: ContinuousClock.Instant?
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let capacity: Int
    private let state = Locked(State())

    init(limit: Int) { capacity = limit }

    func enter() throws(PostgresError) {
        try state.withLock { state throws(PostgresError) in
            if state.limit != nil { throw PostgresError(.notSent, "the pool is closed") }
            guard state.count < capacity else {
                throw PostgresError(.notSent, "\(capacity) bulk operations run already")
            }
            state.count += 1
        }
    }

    func leave() {
        let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.count -= 1
            guard state.count == 0 else { return [] }
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    func close(until limit: ContinuousClock.Instant) { state.withLock { $0.limit = $0.limit ?? limit } }
    var closeLimit: ContinuousClock.Instant? { state.withLock { $0.limit } }

    func awaitEnd() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.count > 0 { state.waiters.append(continuation) }
                return state.count == 0
            }
            if isOver { continuation.resume() }
        }
    }
}

/// An open connection and the thread's right to use it.
final class ExclusiveSession {
    let link: Link
    private let deadline: ContinuousClock.Instant
    private let sessions: ExclusiveSessions
    /// Whether a statement whose effect matters was sent.
    private var delivery = PostgresError.Delivery.notSent

    /// Connects and sets the session up; the server ends a statement at the deadline, too.
    init(_ pool: PostgresPool, deadline: ContinuousClock.Instant) throws(PostgresError) {
        self.deadline = deadline
        sessions = pool.exclusive
        link = try Link(pool.parameters)
        // Five times as long as a trade would wait for its connection: nothing waits behind this one, and a server under
        // load that forks slowly is not helped by another attempt.
        let connectLimit = ContinuousClock.now + pool.configuration.connectTimeout * 5
        while try !link.advance() {
            let events = link.direction == PGRES_POLLING_READING ? POLLIN : POLLOUT
            guard ContinuousClock.now < connectLimit else { throw PostgresError(.notSent, "no connection in time") }
            try wait(events, atMost: connectLimit)
        }
        try link.checkServer(pool.configuration)
        guard PQsetnonblocking(link.handle, 1) == 0 else { throw PostgresError(.notSent, link.error) }
        let left = ContinuousClock.now.duration(to: deadline).components
        let milliseconds = max(1, Int(clamping: left.seconds) * 1_000 + Int(left.attoseconds / 1_000_000_000_000_000))
        do throws(PostgresError) {
            let limit = min(milliseconds, Int(Int32.max))
            try execute(sessionSetup(pool.configuration, statementTimeoutMs: limit))
        } catch {
            throw PostgresError(.notSent, "session setup failed: \(error)")
        }
        delivery = .notSent
    }

    /// Runs `body` on a thread of its own with a session and answers what it answers.
    static func run<Value: Sendable>(
        _ pool: PostgresPool,
        deadline: ContinuousClock.Instant?,
        _ body: @escaping @Sendable (ExclusiveSession) throws(PostgresError) -> Value,
    ) async throws(PostgresError) -> Value {
        let deadline = deadline ?? .now + .seconds(60)
        try pool.exclusive.enter()
        let result = await withCheckedContinuation { continuation in
            OwnerThread.start(name: "postgres-bulk") {
                let result = Result { () throws(PostgresError) -> Value in
                    try body(ExclusiveSession(pool, deadline: deadline))
                }
                pool.exclusive.leave()
                continuation.resume(returning: result)
            }
        }
        return try result.get()
    }

    /// Waits for the socket (or `extra`), at most 100 ms; throws when the time is over.
    func wait(
        _ events: Int32,
        extra: Int32? = nil,
        atMost limit: ContinuousClock.Instant? = nil,
    ) throws(PostgresError) {
        let now = ContinuousClock.now
        if now >= deadline { throw PostgresError(.deadlineExceeded(delivery), "bulk operation") }
        if let limit = sessions.closeLimit, now >= limit { throw lost("the pool was closed") }
        // Short, because closing the pool has no descriptor here.
        var descriptors = [pollfd(fd: events == 0 ? -1 : link.socket, events: Int16(events), revents: 0)]
        if let extra { descriptors.append(pollfd(fd: extra, events: Int16(POLLIN), revents: 0)) }
        let left = now.duration(to: min(deadline, limit ?? deadline))
        let milliseconds = left < .milliseconds(100) ? Int32(left / .milliseconds(1)) + 1 : 100
        poll(&descriptors, nfds_t(descriptors.count), milliseconds)
    }

    func lost(_ detail: String) -> PostgresError {
        PostgresError(delivery == .notSent ? .notSent : .outcomeUnknown, detail)
    }

    /// Sends SQL text; several statements are one implicit transaction.
    func send(_ sql: String) throws(PostgresError) {
        guard PQsendQuery(link.handle, sql) == 1 else { throw lost(link.error) }
        delivery = .outcomeUnknown
        try flush()
    }

    func flush() throws(PostgresError) {
        while true {
            switch PQflush(link.handle) {
            case 0: return
            case 1:
                // Reading as well: the server may not read on before we have read what it says.
                try wait(POLLIN | POLLOUT)
                guard PQconsumeInput(link.handle) == 1 else { throw lost(link.error) }
            default: throw lost(link.error)
            }
        }
    }

    /// The next result; nil when the command is over. The caller frees it.
    func next() throws(PostgresError) -> OpaquePointer? {
        while PQisBusy(link.handle) == 1 {
            try wait(POLLIN)
            guard PQconsumeInput(link.handle) == 1 else { throw lost(link.error) }
        }
        return PQgetResult(link.handle)
    }

    /// Reads to the end of the command. Throws its first error; answers the rows affected by the last statement.
    @discardableResult
    func finish() throws(PostgresError) -> Int {
        var failure: PostgresError?
        var affected = 0
        while let result = try next() {
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
                affected = PQcmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                throw PostgresError(.outcomeUnknown, "COPY belongs to copyIn and copyOut")
            default:
                if failure == nil { failure = serverError(result, statement: nil) }
            }
        }
        if let failure { throw failure }
        return affected
    }

    func execute(_ sql: String) throws(PostgresError) {
        try send(sql)
        try finish()
    }

    /// Sets session variables for a statement that cannot have parameters: `current_setting('copy.shards')`.
    func set(_ variables: [(name: String, value: String)]) throws(PostgresError) {
        for variable in variables {
            let encoded = try EncodedParameters([.text(variable.name), .text(variable.value)])
            let sent = encoded.bytes.withUnsafeBytes { bytes in
                let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
                let values = encoded.offsets.map { base?.advanced(by: Int($0)) }.map { UnsafePointer($0) }
                return PQsendQueryParams(
                    link.handle,
                    "SELECT set_config($1, $2, false)",
                    2,
                    nil,
                    values,
                    nil,
                    nil,
                    0,
                )
            }
            guard sent == 1 else { throw lost(link.error) }
            try flush()
            try finish()
        }
    }
}

extension PostgresPool {
    /// Runs a script of several statements, one implicit transaction, on a connection of its own: migrations, tools.
    ///
    /// Without `deadline` it may take 60 s. Warnings are not looked at.
    public func simple(_ sql: String, deadline: ContinuousClock.Instant? = nil) async throws(PostgresError) {
        guard !sql.utf8.contains(0) else { throw PostgresError(.refused, "a script with a NUL character") }
        try await ExclusiveSession.run(self, deadline: deadline) { session throws(PostgresError) in
            try session.execute(sql)
        }
    }
}
