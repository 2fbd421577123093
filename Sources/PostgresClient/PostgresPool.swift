// The pool: what the rest of the program sees of PostgreSQL.
//
// Each request goes to the open connection with the fewest requests. Requests on different connections are unordered.
// Nothing is retried here; the error says what the caller may do. Cancelling a task does not withdraw what it asked for:
// the deadline bounds the wait.

internal import OwnerThread
internal import Synchronization

/// Connections to one database.
public final class PostgresPool: Sendable {
    public let configuration: PostgresConfiguration
    let parameters: [(keyword: String, value: String)]
    private let ports: [ConnectionPort]
    /// Where the search for the least loaded begins, so that idle connections take turns.
    private let turn = Atomic<Int>(0)
    let exclusive: ExclusiveSessions

    /// Starts connecting. Throws `refused` when the connection string is malformed; everything else shows at the first
    /// request.
    public init(configuration: PostgresConfiguration) throws(PostgresError) {
        precondition(configuration.connections > 0 && configuration.pipelineDepth > 0)
        self.configuration = configuration
        let parameters = try configuration.connectParameters()
        self.parameters = parameters
        exclusive = ExclusiveSessions(limit: configuration.exclusiveConnections)
        ports = (0..<configuration.connections).map { _ in
            ConnectionPort(capacity: configuration.requestsPerConnection)
        }
        for (index, port) in ports.enumerated() {
            OwnerThread.start(name: "postgres-\(index)") {
                PipelinedConnection(port: port, configuration: configuration, parameters: parameters).run()
            }
        }
    }

    deinit {
        // Without `close()`: nobody waits any more, a waiting request would hold the pool.
        for port in ports { port.mailbox.close() }
    }

    /// Runs one statement as its own transaction.
    public func query(
        _ statement: Statement,
        _ parameters: [Parameter] = [],
        deadline: ContinuousClock.Instant? = nil,
    ) async throws(PostgresError) -> Rows {
        let step = Request.Step(statement: statement, parameters: try EncodedParameters(parameters))
        if let before = try preamble() {
            // One segment is one transaction: it needs no BEGIN.
            let rows = try await submit([before, step], isTransaction: false, deadline: deadline)
            guard rows.count == 2 else { throw PostgresError(.outcomeUnknown, "no result") }
            return rows[1]
        }
        let rows = try await submit([step], isTransaction: false, deadline: deadline)
        guard let first = rows.first else { throw PostgresError(.outcomeUnknown, "no result") }
        return first
    }

    /// Runs the statements in one transaction, all or none, in one round trip.
    public func transaction(
        _ statements: [(Statement, [Parameter])],
        deadline: ContinuousClock.Instant? = nil,
    ) async throws(PostgresError) -> [Rows] {
        var steps: [Request.Step] = []
        steps.reserveCapacity(statements.count + 1)
        let before = try preamble()
        if let before { steps.append(before) }
        for (statement, parameters) in statements {
            steps.append(Request.Step(statement: statement, parameters: try EncodedParameters(parameters)))
        }
        let rows = try await submit(steps, isTransaction: true, deadline: deadline)
        return before == nil ? rows : Array(rows.dropFirst())
    }

    private func preamble() throws(PostgresError) -> Request.Step? {
        guard let (statement, parameters) = configuration.preamble?() else { return nil }
        return Request.Step(statement: statement, parameters: try EncodedParameters(parameters))
    }

    /// Ends the pool: takes nothing new, finishes what it has within `timeout`, answers the rest as `notSent` or
    /// `outcomeUnknown`, and returns when every connection is closed. May be called again.
    public func close(within timeout: Duration = .seconds(5)) async {
        let limit = ContinuousClock.now + timeout
        for port in ports {
            port.drainUntil.withLock { $0 = $0 ?? limit }
            port.mailbox.close()
        }
        exclusive.close(until: limit)
        for port in ports { await port.awaitEnd() }
        await exclusive.awaitEnd()
    }

    private func submit(
        _ steps: [Request.Step],
        isTransaction: Bool,
        deadline: ContinuousClock.Instant?,
    ) async throws(PostgresError) -> [Rows] {
        let deadline = deadline ?? .now + configuration.requestTimeout
        let port = try leastLoaded()
        let result = await withCheckedContinuation { continuation in
            let request = Request(
                steps: steps,
                isTransaction: isTransaction,
                deadline: deadline,
                answer: continuation,
            )
            do throws(MailboxError) {
                try port.mailbox.post(request)
            } catch {
                port.load.subtract(1, ordering: .relaxed)
                let detail =
                    switch error {
                    case .full: "every connection has its fill of requests"
                    case .closed: "the pool is closed"
                    }
                continuation.resume(returning: .failure(PostgresError(.notSent, detail)))
            }
        }
        return try result.get()
    }

    /// The open connection with the fewest requests, else any with the fewest; its load is counted up.
    private func leastLoaded() throws(PostgresError) -> ConnectionPort {
        let start = turn.wrappingAdd(1, ordering: .relaxed).newValue & Int.max
        var best = ports[start % ports.count]
        var bestRank = rank(best)
        for offset in 1..<max(ports.count, 1) {
            let port = ports[(start + offset) % ports.count]
            let rank = rank(port)
            if rank < bestRank { (best, bestRank) = (port, rank) }
        }
        let load = best.load.add(1, ordering: .relaxed).newValue
        guard load <= configuration.requestsPerConnection else {
            best.load.subtract(1, ordering: .relaxed)
            throw PostgresError(.notSent, "every connection has its fill of requests")
        }
        return best
    }

    private func rank(_ port: ConnectionPort) -> Int {
        port.load.load(ordering: .relaxed) + (port.isUp.load(ordering: .relaxed) ? 0 : 1 << 32)
    }
}
