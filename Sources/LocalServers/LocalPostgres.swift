// A private PostgreSQL server.
//
// Layout: `<directory>/data` (cluster), `<directory>/s` (socket), `<directory>/postgres.log`. An existing `data` is
// started again as it is, so `smartorders dev --data DIR` keeps its orders. Ready means: `postmaster.pid` names *our*
// child and says so; a foreign server in the same place is never taken for ours.

internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

extension LocalServers {
    /// Starts a private PostgreSQL in `directory`, creating the cluster first when there is none (about 1 s).
    ///
    /// - Parameters:
    ///   - directory: absolute, reachable by the account `postgres` when this process is root.
    ///   - isDurable: false turns fsync and full-page writes off: faster, and a power cut may lose the cluster.
    ///   - settings: further server settings, `name=value`.
    public static func postgres(
        directory: String,
        isDurable: Bool = true,
        settings: [String] = [],
    ) async throws(LocalServerError) -> LocalPostgres {
        let server = try LocalPostgres(directory: directory, isDurable: isDurable, settings: settings)
        try await server.start()
        return server
    }
}

/// One private PostgreSQL server, owned by this process.
public final class LocalPostgres: Sendable {
    public let directory: String
    /// Where `.s.PGSQL.5432` is.
    public let socketDirectory: String
    private let programs: String
    private let account: String?
    private let settings: [String]
    private let process = Locked<OwnedProcess?>(nil)

    /// Checks what can be checked before anything is started.
    init(directory: String, isDurable: Bool, settings: [String]) throws(LocalServerError) {
        self.directory = directory
        socketDirectory = "\(directory)/s"
        guard "\(socketDirectory)/.s.PGSQL.5432".utf8.count <= LocalFiles.longestSocketPath else {
            throw LocalServerError(.directory, "\(directory): too long for a unix socket path")
        }
        programs = try LocalPostgres.findPrograms()
        account = geteuid() == 0 ? "postgres" : nil
        let durability = isDurable ? [] : ["fsync=off", "full_page_writes=off"]
        self.settings =
            [
                "listen_addresses=", "port=5432", "unix_socket_directories=\(directory)/s", "max_connections=400",
                "timezone=UTC", "log_timezone=UTC", "log_parameter_max_length=0", "log_min_messages=error",
                "recovery_init_sync_method=syncfs", "max_wal_size=1GB",
            ] + durability + settings
    }

    /// The connection string of a database on this server.
    public func conninfo(database: String) -> String {
        "host=\(socketDirectory) port=5432 user=postgres dbname=\(database)"
    }

    public var isRunning: Bool { process.withLock { $0 }?.isRunning ?? false }
    public var pid: Int32? { process.withLock { $0 }?.pid }

    /// Starts the server after `stop()` or `kill()` and returns when it accepts connections.
    public func start() async throws(LocalServerError) {
        guard !isRunning else { throw LocalServerError(.state, "\(directory): runs already") }
        let owner = try LocalPostgres.owner(of: account)
        try LocalFiles.makeFolder(directory, owner: owner)
        try LocalFiles.makeFolder(socketDirectory, owner: owner)
        let log = "\(directory)/postgres.log"
        if !LocalFiles.exists("\(directory)/data/PG_VERSION") { try await createCluster(log: log) }

        var command = ["\(programs)/postgres", "-D", "\(directory)/data"]
        for setting in settings { command += ["-c", setting] }
        for _ in 0..<100 {
            // QUIT is an immediate shutdown: like a kill, but the server takes its children and shared memory with it.
            let child = try await OwnedProcess.start(command, log: log, user: account, deathSignal: "QUIT")
            process.withLock { $0 = child }
            if try await becomesReady(child, log: log) { return }
            // A predecessor that its owner left behind is still on its way out.
            do { try await Task.sleep(for: .milliseconds(100)) } catch { break }
        }
        throw LocalServerError(.exited, LocalFiles.lastLines(log))
    }

    /// Whether the server accepts connections; false when it ended because another still has its directory.
    private func becomesReady(_ child: OwnedProcess, log: String) async throws(LocalServerError) -> Bool {
        for _ in 0..<6_000 {
            if isReady(child) { return true }
            guard child.isRunning else {
                let end = LocalFiles.lastLines(log)
                if end.contains("is still in use") || end.contains("is another postmaster") { return false }
                throw LocalServerError(.exited, end)
            }
            do { try await Task.sleep(for: .milliseconds(5)) } catch { break }
        }
        child.signal(SIGQUIT)
        throw LocalServerError(.timeout, "PostgreSQL in \(directory) is not ready")
    }

    /// Ends the server in an orderly way: connections are closed, everything is on disk.
    public func stop() async throws(LocalServerError) {
        try await end(with: SIGINT)
    }

    /// `kill -9` of the server with all its backends, as a power cut would: the next start recovers from the log.
    ///
    /// Returns when every one of them is gone: the next server refuses to start while one still holds the shared memory.
    public func kill() async throws(LocalServerError) {
        guard let child = process.withLock({ $0 }), child.isRunning else { return }
        // A stopped postmaster neither starts new backends nor reaps dead ones, so the pids stay theirs. It stops a
        // moment after the signal: one that forks meanwhile would leave a backend that nobody lists.
        child.signal(SIGSTOP)
        try await patiently { [nil, "T", "Z", "X"].contains(LocalPostgres.state(of: child.pid)) }
        let backends = self.backends
        for backend in backends { sendKill(backend) }
        try await patiently { backends.allSatisfy { [nil, "Z", "X"].contains(LocalPostgres.state(of: $0)) } }
        try await end(with: SIGKILL)
    }

    /// The server's own child processes.
    private var backends: [Int32] {
        guard let pid else { return [] }
        let list = LocalFiles.text("/proc/\(pid)/task/\(pid)/children") ?? ""
        return list.split(separator: " ").compactMap { Int32($0.filter(\.isNumber)) }
    }

    /// The kernel's letter for what a process does, as `T` stopped and `Z` ended; nil when there is none.
    private static func state(of pid: Int32) -> Character? {
        // The program's name, in parentheses, may hold anything.
        LocalFiles.text("/proc/\(pid)/stat")?.split(separator: ")").last?.first { $0 != " " }
    }

    /// Until `isDone`, at most 30 s.
    private func patiently(_ isDone: () -> Bool) async throws(LocalServerError) {
        for _ in 0..<15_000 {
            if isDone() { return }
            do { try await Task.sleep(for: .milliseconds(2)) } catch { break }
        }
        throw LocalServerError(.timeout, "PostgreSQL in \(directory) does not end")
    }

    /// Stops and starts.
    public func restart() async throws(LocalServerError) {
        try await stop()
        try await start()
    }

    /// Ends the server at once and blocks until it has ended: for exit handlers.
    public func endBlocking() {
        guard let child = process.withLock({ $0 }) else { return }
        child.signal(SIGQUIT)
        var patience = 200
        while child.isRunning, patience > 0 {
            usleep(5_000)
            patience -= 1
        }
        child.killBlocking()
    }

    private func end(with signal: Int32) async throws(LocalServerError) {
        guard let child = process.withLock({ $0 }), child.isRunning else { return }
        child.signal(signal)
        guard await child.ended(withinMs: 30_000) else {
            throw LocalServerError(.timeout, "PostgreSQL in \(directory) does not end")
        }
    }

    private func createCluster(log: String) async throws(LocalServerError) {
        let command = [
            "\(programs)/initdb", "--pgdata=\(directory)/data", "--username=postgres", "--auth=trust",
            "--encoding=UTF8", "--locale=C", "--data-checksums", "--no-sync", "--no-instructions",
        ]
        let child = try await OwnedProcess.start(command, log: log, user: account)
        let isOver = await child.ended(withinMs: 60_000)
        guard isOver, LocalFiles.exists("\(directory)/data/global/pg_control") else {
            child.signal(SIGKILL)
            throw LocalServerError(isOver ? .exited : .timeout, "initdb: \(LocalFiles.lastLines(log))")
        }
    }

    /// `postmaster.pid`: line 1 the pid, line 8 the status.
    private func isReady(_ child: OwnedProcess) -> Bool {
        let lines = (LocalFiles.text("\(directory)/data/postmaster.pid") ?? "").split(
            separator: "\n",
            omittingEmptySubsequences: false,
        )
        return lines.count >= 8 && lines[0] == "\(child.pid)" && lines[7].hasPrefix("ready")
    }

    /// The newest installed version's programs. Debian keeps them out of `PATH`.
    private static func findPrograms() throws(LocalServerError) -> String {
        let root = "/usr/lib/postgresql"
        let versions = LocalFiles.names(in: root).compactMap { Int($0) }.sorted(by: >)
        let folders = versions.map { "\(root)/\($0)/bin" }
        guard let server = LocalFiles.program("postgres", in: folders) else {
            throw LocalServerError(.notInstalled, "PostgreSQL 15 or newer (postgres, initdb) was not found")
        }
        return String(server.dropLast("/postgres".count))
    }

    private static func owner(of account: String?) throws(LocalServerError) -> (user: UInt32, group: UInt32)? {
        guard let account else { return nil }
        guard let entry = getpwnam(account) else {
            throw LocalServerError(.notInstalled, "PostgreSQL refuses to run as root and there is no user \(account)")
        }
        return (entry.pointee.pw_uid, entry.pointee.pw_gid)
    }
}

private func sendKill(_ pid: Int32) {
    _ = kill(pid, SIGKILL)
}
