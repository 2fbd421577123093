// One JSON object a line on standard error, for machines and for people at night.
internal import JSONText
public import Logging

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// A swift-log handler that writes JSON lines: `ts`, `level`, `role`, `message`, then the metadata.
public struct JSONLogHandler: LogHandler {
    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    private let label: String
    private let role: String

    public init(label: String, role: String, level: Logger.Level = .info) {
        self.label = label
        self.role = role
        logLevel = level
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var fields = JSONObject()
        fields["ts"] = .string(Self.time())
        fields["level"] = .string(event.level.rawValue)
        fields["role"] = .string(role)
        fields["message"] = .string("\(event.message)")
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            fields[key] = .string(Self.isSecret(key) ? "(hidden)" : "\(value)")
        }
        let line = "\(JSONValue.object(fields))\n"
        // One write per line: lines of several processes on one terminal stay whole.
        line.withCString { _ = write(STDERR_FILENO, $0, strlen($0)) }
    }

    /// Keys whose values never reach a log, whoever passes them.
    static func isSecret(_ key: String) -> Bool {
        let key = key.lowercased()
        return ["secret", "password", "passphrase", "authorization", "api_key", "signature"].contains {
            key.contains($0)
        }
    }

    private static func time() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let micros = String(now.tv_nsec / 1_000 + 1_000_000).dropFirst()
        return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(micros)Z"
    }
}
