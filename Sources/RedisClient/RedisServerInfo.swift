// What a server says about itself: for the checks at start and every ten seconds.

/// Facts from INFO.
public struct RedisServerInfo: Sendable {
    private var fields: [String: String] = [:]

    /// Reads the text of INFO: lines `name:value`.
    init(_ text: String) {
        for line in text.split(whereSeparator: \.isNewline) where !line.hasPrefix("#") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            fields[String(line[..<colon])] = String(line[line.index(after: colon)...])
        }
    }

    public subscript(name: String) -> String? { fields[name] }

    /// Major and minor, such as 7 and 0; zero when the server does not say.
    public var version: (major: Int, minor: Int) {
        let parts = (self["redis_version"] ?? "").split(separator: ".").map { Int($0) ?? 0 }
        return parts.count >= 2 ? (parts[0], parts[1]) : (0, 0)
    }

    /// Whether no key is ever evicted: any other policy may evict job bodies and locks.
    public var hasNoEviction: Bool { self["maxmemory_policy"] == "noeviction" }
    public var isAppendOnly: Bool { self["aof_enabled"] == "1" }
    public var isMaster: Bool { self["role"] == "master" }
    /// Changes with each start of the server.
    public var runID: String? { self["run_id"] }
    /// Changes with each failover.
    public var replicationID: String? { self["master_replid"] }
    public var processID: Int32? { self["process_id"].flatMap { Int32($0) } }
    public var usedMemory: Int64? { self["used_memory"].flatMap { Int64($0) } }
    /// Bytes; 0 is no limit.
    public var maxMemory: Int64? { self["maxmemory"].flatMap { Int64($0) } }
}

extension RedisConnection {
    /// Asks for the sections server, memory, persistence, replication and cpu.
    public func info(timeout: Duration? = nil) async throws(RedisError) -> RedisServerInfo {
        var batch = RedisBatch()
        // One command per section: servers before 7 take a single one.
        for section in ["server", "memory", "persistence", "replication", "cpu"] {
            batch.add(RedisCommand("INFO", section))
        }
        var text = ""
        for reply in try await send(batch, timeout: timeout) { text += try reply.orThrow().text ?? "" }
        return RedisServerInfo(text)
    }
}
