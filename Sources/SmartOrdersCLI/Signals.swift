@preconcurrency import Dispatch

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Returns when the process is asked to stop (SIGTERM, SIGINT), or throws when its task is cancelled. A second signal
/// ends the process at once.
func stopSignal() async throws -> Int32 {
    let stream = AsyncStream<Int32> { continuation in
        let sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
        let held = SignalSources(sources)
        continuation.onTermination = { _ in held.cancel() }
    }
    for await number in stream { return number }
    throw CancellationError()
}

/// Keeps signal sources alive for as long as somebody listens.
private final class SignalSources: Sendable {
    private let sources: [any DispatchSourceSignal]
    init(_ sources: [any DispatchSourceSignal]) { self.sources = sources }
    func cancel() { for source in sources { source.cancel() } }
}
