// A child process that this process owns by pid.
//
// Invariants: one thread starts the child and waits for it, so the child's parent-death signal, which the kernel binds
// to the starting *thread*, comes exactly when this process dies. A signal is sent only while the child is not reaped,
// so it never reaches a stranger that was given the same pid.

internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// A started program; its end is awaited by its own thread.
package final class OwnedProcess: Sendable {
    private struct State {
        /// nil once the child has been reaped: its pid may belong to somebody else then.
        var live: pid_t?
        var waiters: [UInt64: CheckedContinuation<Bool, Never>] = [:]
        var nextWaiter: UInt64 = 0
    }

    package let pid: Int32
    private let state: Locked<State>

    private init(pid: pid_t) {
        self.pid = pid
        state = Locked(State(live: pid))
    }

    /// Starts `command` (program path first) with stdout and stderr appended to `log`.
    ///
    /// - Parameters:
    ///   - user: run as this account; only root may, through `setpriv`.
    ///   - deathSignal: what the child receives when this process dies, without the `SIG`.
    package static func start(
        _ command: [String],
        log: String,
        user: String? = nil,
        deathSignal: String = "KILL",
    ) async throws(LocalServerError) -> OwnedProcess {
        var full = command
        if let setpriv = LocalFiles.program("setpriv") {
            var prefix = [setpriv, "--pdeathsig", deathSignal]
            if let user { prefix += ["--reuid=\(user)", "--regid=\(user)", "--clear-groups"] }
            full = prefix + ["--"] + command
        } else if user != nil {
            throw LocalServerError(.notInstalled, "setpriv (util-linux) is needed to start a server as root")
        }
        let arguments = full
        let started = await withCheckedContinuation { continuation in
            OwnerThread.start(name: "child") {
                switch spawn(arguments, log: log) {
                case .failure(let error):
                    continuation.resume(returning: Result<OwnedProcess, LocalServerError>.failure(error))
                case .success(let pid):
                    let process = OwnedProcess(pid: pid)
                    continuation.resume(returning: .success(process))
                    process.waitUntilReaped()
                }
            }
        }
        return try started.get()
    }

    package var isRunning: Bool { state.withLock { $0.live != nil } }

    /// Sends `signal`; does nothing when the child has ended.
    package func signal(_ signal: Int32) {
        state.withLock { state in
            if let pid = state.live { _ = kill(pid, signal) }
        }
    }

    /// Whether the child has ended within `timeoutMs`. Returns as soon as it has.
    package func ended(withinMs timeoutMs: Int) async -> Bool {
        await withCheckedContinuation { continuation in
            let ticket: UInt64? = state.withLock { state in
                guard state.live != nil else { return nil }
                let ticket = state.nextWaiter
                state.nextWaiter += 1
                state.waiters[ticket] = continuation
                return ticket
            }
            guard let ticket else { return continuation.resume(returning: true) }
            OwnerThread.start(name: "child-timeout") { [self] in
                var left = timeoutMs
                while left > 0, isRunning {
                    usleep(useconds_t(min(left, 50) * 1000))
                    left -= 50
                }
                state.withLock { $0.waiters.removeValue(forKey: ticket) }?.resume(returning: !isRunning)
            }
        }
    }

    /// Kills the child and blocks until it is gone: for exit handlers, where nothing can be awaited.
    package func killBlocking() {
        signal(SIGKILL)
        var patience = 400
        while isRunning, patience > 0 {
            usleep(5_000)
            patience -= 1
        }
    }

    private func waitUntilReaped() {
        // First without reaping: the pid stays ours until `live` is cleared, and both happen under the lock.
        var info = siginfo_t()
        while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) == -1, errno == EINTR {}
        let waiters = state.withLock { state in
            var status: Int32 = 0
            waitpid(pid, &status, 0)
            state.live = nil
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.resume(returning: true) }
    }

    #if canImport(Glibc)
    private typealias CloseFrom = @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32

    /// Since glibc 2.34, and not in the headers that Swift shows.
    private static let closeFrom: CloseFrom? =
        dlsym(nil, "posix_spawn_file_actions_addclosefrom_np").map { unsafeBitCast($0, to: CloseFrom.self) }
    #endif

    private static func spawn(_ command: [String], log: String) -> Result<pid_t, LocalServerError> {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // What this process has open and did not mark: a socket that the child held too would not end when we close it.
        #if canImport(Glibc)
        _ = closeFrom?(&actions, 3)
        #endif

        // Its own process group, so Ctrl-C in a terminal reaches only us; and no signal that we ignore.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigaddset(&signals, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setpgroup(&attributes, 0)
        var flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK
        #if canImport(Darwin)
        flags |= POSIX_SPAWN_CLOEXEC_DEFAULT
        #endif
        posix_spawnattr_setflags(&attributes, Int16(flags))

        var words: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
        words.append(nil)
        defer { for word in words { free(word) } }
        var pid = pid_t()
        let code = posix_spawn(&pid, command[0], &actions, &attributes, words, environ)
        guard code == 0 else {
            return .failure(LocalServerError(.notInstalled, "\(command[0]): \(String(cString: strerror(code)))"))
        }
        return .success(pid)
    }
}
