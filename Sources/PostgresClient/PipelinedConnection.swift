// One connection of the pool and the thread that owns it.
//
// What was posted while the thread was busy becomes the next pipeline. Invariants:
// - Every request is answered exactly once, also when the thread ends.
// - A unit (one statement, or one transaction) ends with its own sync, so an error never harms a neighbour. An unknown
//   statement is prepared in a segment of its own in front of the unit, for the same reason.
// - A transaction is two segments, `BEGIN s1 ... sn` and `COMMIT`: if one of the statements failed, COMMIT is a
//   ROLLBACK, and the session is clean for the next unit without a round trip.
// - A unit is answered at its last sync, not before: a lone statement commits there, and may fail there.
// - Loss of the connection: what was handed to libpq is `outcomeUnknown`, what still waits goes over the next connection.
//
// Limits: `pipelineDepth` units sent and unanswered; a unit that waits for a row lock delays those behind it on the same
// connection, at most for `lockTimeoutMs`. Cost: one send(2) per sync (libpq before 17 flushes there).

internal import CPostgres
internal import OwnerThread
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// What a caller posts, and waits for.
struct Request: Sendable {
    struct Step: Sendable {
        let statement: Statement
        let parameters: EncodedParameters
    }

    let steps: [Step]
    let isTransaction: Bool
    let deadline: ContinuousClock.Instant
    let answer: CheckedContinuation<Result<[Rows], PostgresError>, Never>
}

/// The side of a connection that other threads see.
final class ConnectionPort: Sendable {
    let mailbox: Mailbox<Request>
    /// Requests posted and not yet answered.
    let load = Atomic<Int>(0)
    /// Whether the connection is open: a closed one has no load and would otherwise attract everything.
    let isUp = Atomic<Bool>(false)
    /// When the thread gives up what is unfinished; set before the mailbox is closed.
    let drainUntil = Locked<ContinuousClock.Instant?>(nil)
    let ended = Locked<(isOver: Bool, waiters: [CheckedContinuation<Void, Never>])>((false, []))

    init(capacity: Int) { mailbox = Mailbox(capacity: capacity) }

    func awaitEnd() async {
        await withCheckedContinuation { continuation in
            let isOver = ended.withLock { state in
                if !state.isOver { state.waiters.append(continuation) }
                return state.isOver
            }
            if isOver { continuation.resume() }
        }
    }
}

/// The side that the thread owns.
final class PipelinedConnection {
    /// A unit that was handed to libpq.
    private struct Flight {
        /// nil: the session's setup.
        let request: Request?
        let deadline: ContinuousClock.Instant
        var rows: [Rows] = []
        var error: PostgresError?
        var isUnconfirmed = false
    }

    /// What the next result from libpq belongs to.
    private enum Mark {
        case prepare(name: String)
        case begin
        /// Position in the unit.
        case statement(Int, name: String)
        case commit
        /// The end of a segment that is not the unit's last.
        case segmentEnd
        case unitEnd
    }

    private enum State {
        case down(retryAt: ContinuousClock.Instant)
        case connecting(Link, until: ContinuousClock.Instant)
        /// Open; `isReady` once the setup was answered.
        case up(Link, isReady: Bool)
    }

    private let port: ConnectionPort
    private let configuration: PostgresConfiguration
    private let parameters: [(keyword: String, value: String)]
    private let clock = ContinuousClock()

    private var state: State
    private var waiting: FIFO<Request> = FIFO()
    private var flights: FIFO<Flight> = FIFO()
    private var marks: FIFO<Mark> = FIFO()
    /// Statements known to this session, and those whose preparation failed.
    private var prepared: [String: String] = [:]
    private var failedPreparations: [String: PostgresError] = [:]
    private var needsFlush = false
    private var failures = 0
    /// Since the mailbox was last looked into.
    private var answered = 0
    /// Why there is no connection. `refused` answers requests at once, everything else lets them wait.
    private var lastFailure = PostgresError(.notSent, "not connected yet")
    /// No deadline is earlier than this.
    private var nextExpiry: ContinuousClock.Instant?

    init(
        port: ConnectionPort,
        configuration: PostgresConfiguration,
        parameters: [(keyword: String, value: String)],
    ) {
        self.port = port
        self.configuration = configuration
        self.parameters = parameters
        state = .down(retryAt: clock.now)
    }

    /// Runs until the mailbox is closed and everything is answered.
    func run() {
        while true {
            // Those who were just answered often ask again at once: let them, so one pass takes all of them.
            if answered > 1 { sched_yield() }
            answered = 0
            let posted = port.mailbox.drain()
            for request in posted.requests { admit(request) }
            let now = clock.now
            expire(now)
            if posted.isClosed, posted.requests.isEmpty, isDrained(now) { break }
            work(now)
            if posted.requests.isEmpty { sleep(now) }
        }
        let last = port.mailbox.drain()
        for request in last.requests { waiting.append(request) }
        lose(PostgresError(.outcomeUnknown, "the pool was closed"))
        failWaiting(PostgresError(.notSent, "the pool was closed"))
        let waiters = port.ended.withLock { state in
            state.isOver = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Whether nothing is left to do, or the time for it is over.
    private func isDrained(_ now: ContinuousClock.Instant) -> Bool {
        guard let limit = port.drainUntil.withLock({ $0 }) else { return true }
        return now >= limit || (waiting.isEmpty && flights.isEmpty)
    }

    private var isReady: Bool {
        if case .up(_, isReady: true) = state { true } else { false }
    }

    // MARK: Requests

    private func admit(_ request: Request) {
        if case .refused = lastFailure.kind {
            answer(request, .failure(lastFailure))
        } else {
            waiting.append(request)
            nextExpiry = min(nextExpiry ?? request.deadline, request.deadline)
        }
    }

    private func answer(_ request: Request, _ result: Result<[Rows], PostgresError>) {
        port.load.subtract(1, ordering: .relaxed)
        answered += 1
        request.answer.resume(returning: result)
    }

    private func failWaiting(_ error: PostgresError) {
        while let request = waiting.popFirst() { answer(request, .failure(error)) }
    }

    /// Answers what is past its deadline. A sent unit takes its connection along: its answer could come any time.
    private func expire(_ now: ContinuousClock.Instant) {
        guard let expiry = nextExpiry, now >= expiry else { return }
        let late = waiting.removeAll { $0.deadline <= now }
        for request in late {
            answer(
                request,
                .failure(PostgresError(.deadlineExceeded(.notSent), isReady ? "behind others" : lastFailure.detail)),
            )
        }
        if flights.contains(where: { $0.deadline <= now }) {
            lose(
                PostgresError(.outcomeUnknown, "connection dropped: a request on it exceeded its deadline"),
                now: now,
            )
        }
        nextExpiry = nil
        for request in waiting { nextExpiry = min(nextExpiry ?? request.deadline, request.deadline) }
        for flight in flights { nextExpiry = min(nextExpiry ?? flight.deadline, flight.deadline) }
    }

    /// Gives the connection up. Everything on it is answered as `error`, or as late if it is.
    private func lose(_ error: PostgresError, now: ContinuousClock.Instant? = nil) {
        while let flight = flights.popFirst() {
            guard let request = flight.request else { continue }
            if let now, request.deadline <= now {
                answer(request, .failure(PostgresError(.deadlineExceeded(.outcomeUnknown), "no answer in time")))
            } else {
                answer(request, .failure(error))
            }
        }
        marks = FIFO()
        prepared = [:]
        failedPreparations = [:]
        needsFlush = false
        if case .refused = error.kind { backOff(error) } else { backOff(PostgresError(.notSent, error.detail)) }
    }

    private func backOff(_ failure: PostgresError) {
        port.isUp.store(false, ordering: .relaxed)
        lastFailure = failure
        // 0, then 25 ms doubling to 800 ms, each ±50 %: a herd of processes does not return in step.
        let milliseconds = failures == 0 ? 0 : Int.random(in: 50...150) * (25 << min(failures - 1, 5)) / 100
        failures += 1
        state = .down(retryAt: clock.now + .milliseconds(milliseconds))
        if case .refused = failure.kind { failWaiting(failure) }
    }

    // MARK: Connection

    /// Does what can be done without waiting.
    private func work(_ now: ContinuousClock.Instant) {
        do throws(PostgresError) {
            switch state {
            case .down(let retryAt):
                guard now >= retryAt else { return }
                state = .connecting(try Link(parameters), until: now + configuration.connectTimeout)
            case .connecting(let link, let until):
                if now >= until { throw PostgresError(.notSent, "no connection in time; \(link.error)") }
            case .up(let link, let isReady):
                if isReady { try sendWaiting(link) }
                if needsFlush { try flush(link) }
            }
        } catch {
            lose(error)
        }
    }

    /// Waits for the socket, a post or the next moment at which something is due, and handles the socket.
    private func sleep(_ now: ContinuousClock.Instant) {
        var descriptors = [pollfd(fd: port.mailbox.wakeDescriptor, events: Int16(POLLIN), revents: 0)]
        var wakeAt = nextExpiry
        if let limit = port.drainUntil.withLock({ $0 }) { wakeAt = min(wakeAt ?? limit, limit) }
        switch state {
        case .down(let retryAt):
            wakeAt = min(wakeAt ?? retryAt, retryAt)
        case .connecting(let link, let until):
            wakeAt = min(wakeAt ?? until, until)
            let events = link.direction == PGRES_POLLING_READING ? POLLIN : POLLOUT
            descriptors.append(pollfd(fd: link.socket, events: Int16(events), revents: 0))
        case .up(let link, _):
            let events = needsFlush ? POLLIN | POLLOUT : POLLIN
            descriptors.append(pollfd(fd: link.socket, events: Int16(events), revents: 0))
        }
        var timeout: Int32 = -1
        if let wakeAt {
            let left = now.duration(to: wakeAt).components
            let milliseconds = left.seconds * 1_000 + (left.attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
            timeout = Int32(clamping: max(0, milliseconds))
        }
        guard poll(&descriptors, nfds_t(descriptors.count), timeout) > 0 else { return }
        guard descriptors.count == 2, descriptors[1].revents != 0 else { return }
        do throws(PostgresError) {
            switch state {
            case .down: break
            case .connecting(let link, _): if try link.advance() { try open(link) }
            case .up(let link, _):
                if needsFlush { try flush(link) }
                try receive(link)
            }
        } catch {
            lose(error)
        }
    }

    /// Begins the session: its settings go first, and nothing follows before they are answered.
    private func open(_ link: Link) throws(PostgresError) {
        try link.checkServer(configuration)
        guard PQsetnonblocking(link.handle, 1) == 0, PQenterPipelineMode(link.handle) == 1 else { throw broken(link) }
        state = .up(link, isReady: false)
        // A session that cannot be set up in time is none.
        let limit = clock.now + configuration.connectTimeout
        nextExpiry = min(nextExpiry ?? limit, limit)
        flights.append(Flight(request: nil, deadline: limit))
        for sql in ["BEGIN", "COMMIT"] {
            guard PQsendPrepare(link.handle, sql, sql, 0, nil) == 1 else { throw broken(link) }
            marks.append(.prepare(name: sql))
        }
        let setup = sessionSetup(configuration, statementTimeoutMs: configuration.statementTimeoutMs)
        guard PQsendQueryParams(link.handle, setup, 0, nil, nil, nil, nil, 1) == 1 else { throw broken(link) }
        marks.append(.statement(0, name: ""))
        try sync(link, .unitEnd)
        try flush(link)
    }

    private func broken(_ link: Link) -> PostgresError {
        let detail = link.error
        return PostgresError(.outcomeUnknown, detail.isEmpty ? "connection lost" : detail)
    }

    // MARK: Sending

    private func sendWaiting(_ link: Link) throws(PostgresError) {
        while flights.count < configuration.pipelineDepth, let request = waiting.popFirst() {
            // First in flight, then sent: if sending fails half-way the unit counts as sent.
            flights.append(Flight(request: request, deadline: request.deadline))
            try send(request, link)
        }
    }

    private func send(_ request: Request, _ link: Link) throws(PostgresError) {
        for step in request.steps where !step.statement.name.isEmpty {
            let statement = step.statement
            if let known = prepared[statement.name] {
                precondition(known == statement.sql, "two statements named \(statement.name)")
                continue
            }
            guard PQsendPrepare(link.handle, statement.name, statement.sql, 0, nil) == 1 else { throw broken(link) }
            prepared[statement.name] = statement.sql
            marks.append(.prepare(name: statement.name))
            // Each on its own: a neighbour may rely on one already while another one fails.
            try sync(link, .segmentEnd)
        }
        if request.isTransaction { try send(command: "BEGIN", .begin, link) }
        for (index, step) in request.steps.enumerated() {
            guard send(step, link) else { throw broken(link) }
            marks.append(.statement(index, name: step.statement.name))
        }
        if request.isTransaction {
            try sync(link, .segmentEnd)
            try send(command: "COMMIT", .commit, link)
        }
        try sync(link, .unitEnd)
        needsFlush = true
    }

    private func send(command: String, _ mark: Mark, _ link: Link) throws(PostgresError) {
        guard PQsendQueryPrepared(link.handle, command, 0, nil, nil, nil, 1) == 1 else { throw broken(link) }
        marks.append(mark)
    }

    private func sync(_ link: Link, _ mark: Mark) throws(PostgresError) {
        guard PQpipelineSync(link.handle) == 1 else { throw broken(link) }
        marks.append(mark)
    }

    private func send(_ step: Request.Step, _ link: Link) -> Bool {
        let (statement, parameters) = (step.statement, step.parameters)
        let count = parameters.count
        return parameters.bytes.withUnsafeBytes { bytes in
            withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: max(count, 1)) { values in
                // An empty value is not a null one: it needs some address.
                let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
                for index in 0..<count {
                    let offset = Int(parameters.offsets[index])
                    values.initializeElement(at: index, to: offset < 0 ? nil : base?.advanced(by: offset))
                }
                let code =
                    statement.name.isEmpty
                    ? PQsendQueryParams(
                        link.handle,
                        statement.sql,
                        Int32(count),
                        nil,
                        values.baseAddress,
                        parameters.lengths,
                        parameters.formats,
                        1,
                    )
                    : PQsendQueryPrepared(
                        link.handle,
                        statement.name,
                        Int32(count),
                        values.baseAddress,
                        parameters.lengths,
                        parameters.formats,
                        1,
                    )
                return code == 1
            }
        }
    }

    private func flush(_ link: Link) throws(PostgresError) {
        switch PQflush(link.handle) {
        case 0: needsFlush = false
        case 1: needsFlush = true
        default: throw broken(link)
        }
    }

    // MARK: Receiving

    private func receive(_ link: Link) throws(PostgresError) {
        let isAlive = PQconsumeInput(link.handle) == 1
        var emptyAnswers = 0
        while let mark = marks.first, PQisBusy(link.handle) == 0 {
            guard let result = PQgetResult(link.handle) else {
                emptyAnswers += 1
                // libpq has nothing although something is owed: the two have lost each other.
                if emptyAnswers > 2 { throw PostgresError(.outcomeUnknown, "answers out of step") }
                finishCommand(mark, link)
                continue
            }
            emptyAnswers = 0
            try handle(result, mark, link)
        }
        if !isAlive || PQstatus(link.handle) == CONNECTION_BAD { throw broken(link) }
        try sendWaiting(link)
        if needsFlush { try flush(link) }
    }

    /// A command's results are over.
    private func finishCommand(_ mark: Mark, _ link: Link) {
        switch mark {
        case .prepare, .begin, .statement, .commit: _ = marks.popFirst()
        // An error at a sync is followed by nothing, then by the sync itself.
        case .segmentEnd, .unitEnd: break
        }
    }

    /// Takes over `result`.
    private func handle(_ result: OpaquePointer, _ mark: Mark, _ link: Link) throws(PostgresError) {
        noteWarning(mark, link)
        switch PQresultStatus(result) {
        case PGRES_PIPELINE_SYNC:
            PQclear(result)
            switch mark {
            case .segmentEnd: _ = marks.popFirst()
            case .unitEnd:
                _ = marks.popFirst()
                try finishUnit(link)
            case .prepare, .begin, .statement, .commit:
                throw PostgresError(.outcomeUnknown, "answers out of step")
            }
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
            switch mark {
            case .statement:
                flights.updateFirst { $0.rows.append(Rows(result)) }
            case .prepare(let name):
                failedPreparations[name] = nil
                PQclear(result)
            case .begin, .commit, .segmentEnd, .unitEnd:
                PQclear(result)
            }
        case PGRES_PIPELINE_ABORTED:
            PQclear(result)
            if case .prepare(let name) = mark { prepared[name] = nil }
        default:
            defer { PQclear(result) }
            try handleError(result, mark)
        }
    }

    private func handleError(_ result: OpaquePointer, _ mark: Mark) throws(PostgresError) {
        var statement: Int?
        if case .statement(let index, _) = mark { statement = index }
        var error = serverError(result, statement: statement)
        if error.delivery != .answered { throw error }
        switch mark {
        case .prepare(let name):
            prepared[name] = nil
            failedPreparations[name] = error
        case .statement(_, let name):
            // Sent before it was known that the preparation fails: tell the reason, not the consequence.
            if error.sqlState == "26000", let reason = failedPreparations[name] { error = reason }
        case .begin, .commit, .segmentEnd, .unitEnd: break
        }
        flights.updateFirst { if $0.error == nil { $0.error = error } }
    }

    /// A WARNING makes a commit unconfirmed: in a transaction one that comes with COMMIT, for a lone statement any,
    /// because it commits at its sync and its own warnings cannot be told from the commit's.
    private func noteWarning(_ mark: Mark, _ link: Link) {
        guard link.takeWarning() else { return }
        let isTransaction = flights.first?.request?.isTransaction ?? false
        switch mark {
        case .commit, .unitEnd: flights.updateFirst { $0.isUnconfirmed = true }
        case .statement: if !isTransaction { flights.updateFirst { $0.isUnconfirmed = true } }
        case .prepare, .begin, .segmentEnd: break
        }
    }

    private func finishUnit(_ link: Link) throws(PostgresError) {
        guard let flight = flights.popFirst() else { return }
        guard let request = flight.request else {
            if let error = flight.error { throw PostgresError(.notSent, "session setup failed: \(error)") }
            failures = 0
            lastFailure = PostgresError(.notSent, "connection lost")
            state = .up(link, isReady: true)
            port.isUp.store(true, ordering: .relaxed)
            return
        }
        if let error = flight.error {
            answer(request, .failure(error))
        } else if flight.isUnconfirmed {
            answer(request, .failure(PostgresError(.unconfirmedCommit, "a warning came with the commit")))
        } else {
            answer(request, .success(flight.rows))
        }
    }
}
