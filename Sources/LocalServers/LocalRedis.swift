// A private Redis server.
//
// Layout: `<directory>/redis.sock`, `<directory>/redis.log`, and with persistence `<directory>/appendonlydir`. Ready
// means: whoever answers on the socket has loaded its data and has the process id of *our* child; a foreign server in
// the same place is never taken for ours.

internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

extension LocalServers {
    /// Starts a private Redis in `directory` (about 50 ms).
    ///
    /// - Parameters:
    ///   - directory: absolute.
    ///   - isDurable: true writes an append-only file each second, and a later start reads it.
    ///   - tcpPort: also listens on this port of the loopback interface.
    ///   - settings: further server settings in the order `name`, `value`, `name`, `value`.
    public static func redis(
        directory: String,
        isDurable: Bool = false,
        tcpPort: UInt16? = nil,
        settings: [(name: String, value: String)] = [],
    ) async throws(LocalServerError) -> LocalRedis {
        let server = try LocalRedis(directory: directory, isDurable: isDurable, tcpPort: tcpPort, settings: settings)
        try await server.start()
        return server
    }
}

/// One private Redis server, owned by this process.
public final class LocalRedis: Sendable {
    public let directory: String
    public let socketPath: String
    private let program: String
    private let arguments: [String]
    /// Of the setting `requirepass`: without it the readiness check would be refused.
    private let password: String?
    private let process = Locked<OwnedProcess?>(nil)

    /// Checks what can be checked before anything is started.
    init(
        directory: String,
        isDurable: Bool,
        tcpPort: UInt16?,
        settings: [(name: String, value: String)],
    ) throws(LocalServerError) {
        self.directory = directory
        socketPath = "\(directory)/redis.sock"
        guard socketPath.utf8.count <= LocalFiles.longestSocketPath else {
            throw LocalServerError(.directory, "\(directory): too long for a unix socket path")
        }
        guard let program = LocalFiles.program("redis-server") else {
            throw LocalServerError(.notInstalled, "redis-server (6.2 or newer) was not found")
        }
        self.program = program
        let all =
            [
                ("port", "\(tcpPort ?? 0)"), ("bind", "127.0.0.1"), ("unixsocket", socketPath),
                ("unixsocketperm", "700"), ("dir", directory), ("daemonize", "no"), ("save", ""),
                ("appendonly", isDurable ? "yes" : "no"), ("maxmemory-policy", "noeviction"),
                // The queue's recommendation; the name that 6.2 and later versions know.
                ("hash-max-ziplist-value", "1024"),
            ] + settings.map { ($0.name, $0.value) }
        password = settings.last { $0.name == "requirepass" }?.value
        arguments = all.flatMap { ["--\($0.0)", $0.1] }
    }

    /// What a client is configured with.
    public var url: String { "unix://\(socketPath)" }

    public var isRunning: Bool { process.withLock { $0 }?.isRunning ?? false }
    public var pid: Int32? { process.withLock { $0 }?.pid }

    /// Starts the server after `stop()` or `kill()` and returns when it answers.
    public func start() async throws(LocalServerError) {
        guard !isRunning else { throw LocalServerError(.state, "\(directory): runs already") }
        try LocalFiles.makeFolder(directory)
        let log = "\(directory)/redis.log"
        let child = try await OwnedProcess.start([program] + arguments, log: log)
        process.withLock { $0 = child }
        let clock = ContinuousClock()
        let limit = clock.now + .seconds(30)
        while clock.now < limit {
            if isReady(child) { return }
            guard child.isRunning else { throw LocalServerError(.exited, LocalFiles.lastLines(log)) }
            do { try await Task.sleep(for: .milliseconds(5)) } catch { break }
        }
        child.signal(SIGKILL)
        throw LocalServerError(.timeout, "Redis in \(directory) is not ready")
    }

    /// Ends the server in an orderly way; what is durable is on disk.
    public func stop() async throws(LocalServerError) {
        try await end(with: SIGTERM)
    }

    /// `kill -9`.
    public func kill() async throws(LocalServerError) {
        try await end(with: SIGKILL)
    }

    /// Stops and starts.
    public func restart() async throws(LocalServerError) {
        try await stop()
        try await start()
    }

    /// Stops the process without ending it: connections stay open and nobody answers.
    public func suspend() { process.withLock { $0 }?.signal(SIGSTOP) }

    /// Undoes `suspend()`.
    public func resume() { process.withLock { $0 }?.signal(SIGCONT) }

    /// Ends the server at once and blocks until it has ended: for exit handlers.
    public func endBlocking() { process.withLock { $0 }?.killBlocking() }

    private func end(with signal: Int32) async throws(LocalServerError) {
        guard let child = process.withLock({ $0 }), child.isRunning else { return }
        child.signal(signal)
        guard await child.ended(withinMs: 30_000) else {
            throw LocalServerError(.timeout, "Redis in \(directory) does not end")
        }
    }

    private func isReady(_ child: OwnedProcess) -> Bool {
        let login = password.map { "AUTH \"\($0)\"\r\n" } ?? ""
        let answer = ask("\(login)PING\r\nINFO server\r\n", until: "process_id:\(child.pid)\r\n")
        return answer.contains("+PONG\r\n") && answer.contains("process_id:\(child.pid)\r\n")
    }

    /// Sends `question` and returns what comes back until it holds `end`, or within 100 ms.
    private func ask(_ question: String, until end: String) -> String {
        #if canImport(Glibc)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let descriptor = socket(AF_UNIX, SOCK_STREAM, 0)
        #endif
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        var patience = timeval(tv_sec: 0, tv_usec: 100_000)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: socketPath.utf8) }
        let connected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #if canImport(Glibc)
        let quietly = Int32(MSG_NOSIGNAL)
        #else
        let quietly: Int32 = 0
        #endif
        guard connected == 0, send(descriptor, question, question.utf8.count, quietly) > 0 else { return "" }
        var answer = ""
        var buffer = [UInt8](repeating: 0, count: 8_192)
        while !answer.contains(end) {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            answer += String(decoding: buffer[..<count], as: UTF8.self)
        }
        return answer
    }
}
