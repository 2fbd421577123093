// A role as a process of its own, ended with its parent.
import LocalServers

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// One child of `dev --processes`.
struct DevProcess: Sendable {
    let role: String
    private let child: OwnedProcess

    var pid: Int32 { child.pid }

    static func start(_ role: String, _ deployment: Deployment, log: String) async throws -> DevProcess {
        let program = try program()
        // Secrets go by environment, never by argument.
        setenv("SMARTORDERS_MASTER_KEY", deployment.masterKey ?? "", 1)
        var arguments = [program, "serve", role, "--database", deployment.database, "--redis", deployment.redis]
        if let venue = deployment.paperVenue { arguments += ["--paper-venue", venue] }
        if deployment.paperIsHedged { arguments.append("--paper-hedged") }
        if deployment.isStepped { arguments.append("--stepped") }
        let child = try await OwnedProcess.start(arguments, log: log)
        return DevProcess(role: role, child: child)
    }

    /// The file of this program.
    static func program() throws -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = readlink("/proc/self/exe", &buffer, buffer.count - 1)
        guard length > 0 else { throw Failure(.failed, "PROCESS", "this program cannot find its own file.") }
        return String(decoding: buffer[0..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func stop() async {
        child.signal(SIGTERM)
        if await !child.ended(withinMs: 15_000) { child.killBlocking() }
    }
}
