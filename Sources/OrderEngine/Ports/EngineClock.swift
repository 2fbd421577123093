public import SmartOrders

/// Time as the engine sees it. Injected, so that a simulation can drive it.
public protocol EngineClock: Sendable {
    /// Wall time, for facts and records only: never for leases or fences (RELIABILITY.md 3.4).
    func now() -> Timestamp
    /// Nanoseconds that never go back and count through suspend.
    func monotonicNanoseconds() -> Int64
    func sleep(milliseconds: Int64) async throws
}
