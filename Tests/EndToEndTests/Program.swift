// Runs the built program as its users do. One parent suite keeps the tests of this module from running side by side:
// each has processes and servers of its own.
import JSONText
import LocalServers
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

@Suite(.serialized) enum EndToEnd {}

/// What a finished program left behind.
struct Outcome: Sendable {
    let status: Int
    let output: String
    let complaint: String

    var documents: [JSONValue] {
        get throws { try output.split(separator: "\n").map { try JSONValue(parsing: Array($0.utf8)) } }
    }
}

enum Program {
    static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    static let path = setting("SMARTORDERS_PROGRAM") ?? "\(root)/.build/debug/smartorders"
    /// Every tick file and the whole minute of the demo, not only what fits into a short run.
    static let isThorough = setting("SMARTORDERS_E2E") == "all"

    static func setting(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    /// Runs to the end, at most `seconds`; then the status is 124.
    static func run(
        _ arguments: [String],
        environment: [String: String] = [:],
        seconds: Int = 60,
    ) async throws -> Outcome {
        let folder = try LocalFiles.temporaryFolder("so-run")
        defer { LocalFiles.removeTree(folder) }
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        let script = "\"$@\" >\"$0/out\" 2>\"$0/err\" </dev/null; echo $? >\"$0/status\""
        let child = try await OwnedProcess.start(
            ["/bin/sh", "-c", script, folder, "timeout", "-k", "1", "\(seconds)", "env"] + variables + [path]
                + arguments,
            log: "\(folder)/log",
        )
        let isOver = await child.ended(withinMs: (seconds + 10) * 1_000)
        #expect(isOver, "\(arguments) does not end")
        child.killBlocking()
        return Outcome(
            status: Int((LocalFiles.text("\(folder)/status") ?? "").filter(\.isNumber)) ?? -1,
            output: LocalFiles.text("\(folder)/out", last: 1 << 26) ?? "",
            complaint: LocalFiles.text("\(folder)/err", last: 1 << 20) ?? "",
        )
    }

    static func write(_ text: String, to path: String) throws {
        let file = try #require(fopen(path, "w"))
        defer { fclose(file) }
        try #require(fputs(text, file) >= 0)
    }
}

/// Asks again until `answer` gives one; the test fails after `seconds`.
func eventually<Value>(
    within seconds: Int = 30,
    _ what: String,
    _ answer: () async throws -> Value?,
) async throws -> Value {
    let clock = ContinuousClock()
    let limit = clock.now + .seconds(seconds)
    while clock.now < limit {
        if let value = try await answer() { return value }
        try await Task.sleep(for: .milliseconds(10))
    }
    return try #require(try await answer(), "\(what): not within \(seconds) s")
}
