// When a job that could not be done is tried again (QUEUE.md 9.2). Not the retry of an exit that was sent: that is the
// next attempt, with its own job.

/// Pauses and patience of one class of jobs.
public struct JobRetryPolicy: Hashable, Sendable {
    public let baseMs: Int64
    public let capMs: Int64
    /// Attempts before the job is dead; nil: never. What reduces risk is never given up by count.
    public let attempts: Int?

    public static func of(_ jobClass: JobClass) -> JobRetryPolicy {
        switch jobClass {
        case .stops: JobRetryPolicy(baseMs: 250, capMs: 5_000, attempts: nil)
        case .targets: JobRetryPolicy(baseMs: 250, capMs: 30_000, attempts: 25)
        case .housekeeping: JobRetryPolicy(baseMs: 1_000, capMs: 300_000, attempts: 12)
        }
    }

    /// Milliseconds before retry number `retry`, from 1: doubling, with 20 % of chance either way.
    public func delayMs(retry: Int, using random: inout some RandomNumberGenerator) -> Int64 {
        precondition(retry >= 1)
        let doubled = retry > 30 ? capMs : baseMs << Int64(retry - 1)
        return min(capMs, doubled) * Int64.random(in: 800...1_200, using: &random) / 1_000
    }

    /// What to do with a job that failed for a passing reason: again later, or dead with its last error.
    /// - Parameter attemptsMade: without the one that just failed.
    public func outcome(
        attemptsMade: Int,
        reason: String,
        using random: inout some RandomNumberGenerator,
    ) -> JobOutcome {
        if let attempts, attemptsMade + 1 >= attempts { return .dead(reason: reason) }
        return .retry(delayMs: delayMs(retry: attemptsMade + 1, using: &random), reason: reason)
    }
}
