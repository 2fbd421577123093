// Whether a loop still moves: a heartbeat that goes on beside a stuck loop would keep its shards from everybody
// (RELIABILITY.md 3.4.3, FA34).
internal import OwnerThread

/// The time since a loop began its present piece of work, or last said that it gets on with it.
final class Pulse: Sendable {
    /// Longer than taking over a page of orders or offering all that one tick crosses.
    static let limitMs: Int64 = 5_000
    private let clock: any EngineClock
    /// Nil: it waits for work.
    private let since = Locked<Int64?>(nil)

    init(clock: any EngineClock) {
        self.clock = clock
    }

    func begin() {
        let now = clock.monotonicNanoseconds()
        since.withLock { $0 = now }
    }

    func end() { since.withLock { $0 = nil } }

    var isStuck: Bool {
        guard let since = since.withLock({ $0 }) else { return false }
        return clock.monotonicNanoseconds() - since > Self.limitMs * 1_000_000
    }
}
