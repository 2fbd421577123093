internal import CPostgres

/// How a pool connects and what it tolerates.
public struct PostgresConfiguration: Sendable {
    /// A libpq connection string or URI. All hosts of a cluster, comma separated; the one that takes writes is used.
    public var conninfo: String
    /// 4 to 8 is right for a process.
    public var connections: Int
    /// Requests that one connection may hold, waiting or under way; one more is refused as `notSent`.
    public var requestsPerConnection: Int
    /// Requests sent and not yet answered on one connection: what a lost connection leaves `outcomeUnknown`.
    public var pipelineDepth: Int
    /// For requests that name no deadline.
    public var requestTimeout: Duration
    public var connectTimeout: Duration
    /// The server ends a statement after this time.
    public var statementTimeoutMs: Int
    public var lockTimeoutMs: Int
    /// Server settings of every session, for example `("jit", "off")`.
    public var sessionSettings: [(name: String, value: String)]
    /// Connections that may exist beside the pool for COPY and scripts.
    public var exclusiveConnections: Int
    /// A statement that begins every transaction of the pool, made when the transaction is asked for; nil: none.
    public var preamble: (@Sendable () -> (Statement, [Parameter])?)?
    /// Refuses an older server; 150000 is PostgreSQL 15.0.
    public var minimumServerVersion: Int

    public init(conninfo: String, connections: Int = 4, statementTimeoutMs: Int = 2_000) {
        self.conninfo = conninfo
        self.connections = connections
        self.statementTimeoutMs = statementTimeoutMs
        requestsPerConnection = 1_024
        pipelineDepth = 128
        requestTimeout = .seconds(5)
        connectTimeout = .seconds(2)
        lockTimeoutMs = 1_000
        sessionSettings = []
        preamble = nil
        exclusiveConnections = 4
        minimumServerVersion = 150_000
    }

    /// The keywords and values for `PQconnectStartParams`: the user's own string first, then what it left open.
    ///
    /// Throws `refused` when the string is malformed.
    func connectParameters() throws(PostgresError) -> [(keyword: String, value: String)] {
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(conninfo, &message) else {
            let detail = message.map { oneLine($0) } ?? "out of memory"
            PQfreemem(message)
            throw PostgresError(.refused, "connection string: \(detail)")
        }
        defer { PQconninfoFree(options) }
        var given: Set<String> = []
        var next = options
        while let keyword = next.pointee.keyword {
            if next.pointee.val != nil { given.insert(String(cString: keyword)) }
            next += 1
        }
        let defaults = [
            ("target_session_attrs", "read-write"), ("keepalives", "1"), ("keepalives_idle", "5"),
            ("keepalives_interval", "1"), ("keepalives_count", "3"), ("tcp_user_timeout", "5000"),
            ("application_name", "smartorders"),
        ]
        return [("dbname", conninfo)] + defaults.filter { !given.contains($0.0) } + [("client_encoding", "UTF8")]
    }
}

/// A message of libpq on one line.
func oneLine(_ message: UnsafePointer<CChar>) -> String {
    String(cString: message).split(whereSeparator: \.isNewline).map { line in
        String(line.drop { $0 == "\t" || $0 == " " })
    }.joined(separator: "; ")
}
