// A POSIX thread for work that blocks or that must not share the cooperative pool: C handles, lease heartbeats.

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// A named thread that runs one function to its end.
public enum OwnerThread {
    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Starts a detached thread. `name` is cut to 15 bytes, the kernel's limit.
    /// Traps when the process may not have another thread.
    public static func start(name: String, _ run: @escaping @Sendable () -> Void) {
        let body = Unmanaged.passRetained(Body(name: name, run: run))
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let code = pthread_create(
            &thread,
            &attributes,
            { raw in
                guard let raw else { return nil }
                let body = Unmanaged<Body>.fromOpaque(raw).takeRetainedValue()
                setName(body.name)
                body.run()
                return nil
            },
            body.toOpaque(),
        )
        pthread_attr_destroy(&attributes)
        precondition(code == 0, "pthread_create failed with \(code)")
    }
}

/// Names the calling thread for `ps` and debuggers. The call for it is a GNU extension that Swift does not import, so
/// the name goes through the kernel's file; failing costs the name only.
private func setName(_ name: String) {
    let descriptor = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    _ = name.withCString { write(descriptor, $0, min(strlen($0), 15)) }
    close(descriptor)
}
