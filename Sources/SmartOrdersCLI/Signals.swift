import Dispatch

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
        continuation.onTermination = { _ in for source in sources { source.cancel() } }
    }
    for await number in stream { return number }
    throw CancellationError()
}
