import OrderEngine
import SmartOrders

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The machine's clocks.
struct SystemClock: EngineClock {
    func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000)
    }

    func monotonicNanoseconds() -> Int64 {
        var time = timespec()
        // Counts through suspend: a machine that slept must not trust a lease from before.
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    func sleep(milliseconds: Int64) async throws {
        if milliseconds <= 0 {
            await Task.yield()
            try Task.checkCancellation()
        } else {
            try await Task.sleep(nanoseconds: UInt64(milliseconds) * 1_000_000)
        }
    }
}
