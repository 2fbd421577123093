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
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        // One write per line: lines of several processes on one terminal stay whole.
        LogSink.standard.write(line(event.level, "\(event.message)", all)) { count in
            line(.warning, "Log lines were dropped: nobody took them", ["lines": "\(count)"])
        }
    }

    /// The line, short enough for the sink: of long values the beginning.
    func line(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata) -> String {
        for limit in [Int.max, 200, 20] {
            var fields = JSONObject()
            fields["ts"] = .string(Self.time())
            fields["level"] = .string(level.rawValue)
            fields["role"] = .string(role)
            fields["message"] = .string(String(message.prefix(limit)))
            for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
                fields[key] = .string(Self.isSecret(key) ? "(hidden)" : String("\(value)".prefix(limit)))
            }
            let line = "\(JSONValue.object(fields))\n"
            if line.utf8.count <= LogSink.lineLimit { return line }
        }
        return "{\"message\":\"a log line was too long\"}\n"
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
