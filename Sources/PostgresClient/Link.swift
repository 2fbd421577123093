// One libpq connection: opening it, settings, notices, errors. Used by one thread at a time.

internal import CPostgres

/// A connection under way or open.
final class Link {
    let handle: OpaquePointer
    /// Whether a WARNING arrived since `takeWarning()`.
    private var sawWarning = false
    private(set) var direction = PGRES_POLLING_WRITING

    /// Begins to connect. Resolving host names blocks here.
    init(_ parameters: [(keyword: String, value: String)]) throws(PostgresError) {
        let started = withCStrings(parameters.map(\.keyword)) { keywords in
            withCStrings(parameters.map(\.value)) { values in PQconnectStartParams(keywords, values, 1) }
        }
        guard let started else { throw PostgresError(.notSent, "out of memory") }
        handle = started
        guard PQstatus(handle) != CONNECTION_BAD else {
            throw PostgresError(.notSent, oneLine(PQerrorMessage(handle)))
        }
        PQsetNoticeReceiver(
            handle,
            { context, notice in
                guard let context, let severity = PQresultErrorField(notice, diagnosticSeverity) else { return }
                guard String(cString: severity) == "WARNING" else { return }
                Unmanaged<Link>.fromOpaque(context).takeUnretainedValue().sawWarning = true
            },
            Unmanaged.passUnretained(self).toOpaque(),
        )
    }

    deinit { PQfinish(handle) }

    var socket: Int32 { PQsocket(handle) }
    var error: String { oneLine(PQerrorMessage(handle)) }

    /// Goes on connecting; true when open. `direction` says what to wait for.
    func advance() throws(PostgresError) -> Bool {
        direction = PQconnectPoll(handle)
        if direction == PGRES_POLLING_OK { return true }
        if direction == PGRES_POLLING_FAILED { throw PostgresError(.notSent, error) }
        return false
    }

    /// Refuses a server that the rest of the code does not know.
    func checkServer(_ configuration: PostgresConfiguration) throws(PostgresError) {
        let version = Int(PQserverVersion(handle))
        guard version >= configuration.minimumServerVersion else {
            throw PostgresError(
                .refused,
                "PostgreSQL \(configuration.minimumServerVersion / 10_000) or newer is needed, the server runs "
                    + "\(version / 10_000).\(version % 10_000)",
            )
        }
        let encoding = PQparameterStatus(handle, "server_encoding").map { String(cString: $0) } ?? "unknown"
        guard encoding == "UTF8" else {
            throw PostgresError(.refused, "the database's encoding is \(encoding), UTF8 is needed")
        }
    }

    /// Whether a WARNING arrived since the last call.
    func takeWarning() -> Bool {
        defer { sawWarning = false }
        return sawWarning
    }
}

/// `PG_DIAG_*` are character macros, which Swift does not import.
private let diagnosticSeverity = Int32(UInt8(ascii: "V"))
private let diagnosticSqlState = Int32(UInt8(ascii: "C"))
private let diagnosticMessage = Int32(UInt8(ascii: "M"))
private let diagnosticConstraint = Int32(UInt8(ascii: "n"))

/// What the server said in `result`. FATAL and PANIC end the session, and say nothing about a commit before them.
func serverError(_ result: OpaquePointer?, statement: Int?) -> PostgresError {
    func field(_ code: Int32) -> String { PQresultErrorField(result, code).map { String(cString: $0) } ?? "" }
    let (severity, sqlState) = (field(diagnosticSeverity), field(diagnosticSqlState))
    // libpq's own errors carry no severity: the connection is gone.
    guard severity == "ERROR" else {
        return PostgresError(.outcomeUnknown, sqlState.isEmpty ? "connection lost" : "session ended (\(sqlState))")
    }
    let error = PostgresError.ServerError(
        sqlState: sqlState,
        message: field(diagnosticMessage),
        constraint: field(diagnosticConstraint),
        statement: statement,
    )
    return PostgresError(.server(error), sqlState)
}

/// Statement that fixes what every session relies on. READ COMMITTED, UTC and limits on every wait.
func sessionSetup(_ configuration: PostgresConfiguration, statementTimeoutMs: Int) -> String {
    var settings = [
        ("TimeZone", "UTC"), ("default_transaction_isolation", "read committed"),
        ("lock_timeout", "\(configuration.lockTimeoutMs)"), ("statement_timeout", "\(statementTimeoutMs)"),
        ("idle_in_transaction_session_timeout", "5000"), ("DateStyle", "ISO"), ("bytea_output", "hex"),
    ]
    for (name, value) in configuration.sessionSettings { settings.append((name, value)) }
    precondition(settings.allSatisfy { !$0.0.contains("'") && !$0.1.contains("'") }, "a quote in a session setting")
    return "SELECT " + settings.map { "set_config('\($0.0)', '\($0.1)', false)" }.joined(separator: ", ")
}

/// A NULL-terminated array of C strings, valid inside `body`.
private func withCStrings<Result>(
    _ strings: [String],
    _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result?,
) -> Result? {
    var buffer: [CChar] = []
    var offsets: [Int] = []
    for string in strings {
        offsets.append(buffer.count)
        buffer.append(contentsOf: string.utf8CString)
    }
    return buffer.withUnsafeBufferPointer { bytes in
        var pointers: [UnsafePointer<CChar>?] = offsets.map { bytes.baseAddress?.advanced(by: $0) }
        pointers.append(nil)
        return pointers.withUnsafeBufferPointer { $0.baseAddress.flatMap(body) }
    }
}
