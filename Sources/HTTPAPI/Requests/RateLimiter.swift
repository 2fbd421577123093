// Request rates per key and policy, counted in this process only, so that they hold while Redis is away.
//
// GCRA: one number per key and policy, the theoretical arrival time. Limits: above 10,000 keys those whose time has
// passed are forgotten, at most once a second. Cost: O(1) per request.

internal import OwnerThread

/// What a request does, as far as rates care. `protect` is never shared with the others: nothing stands between a
/// trader and less risk.
public enum RatePolicy: String, Sendable, CaseIterable {
    case read, trade, protect, signin, hook, admin

    /// Requests per window (INTERFACES.md 1.8).
    var quota: Int {
        switch self {
        case .read, .protect: 500
        case .trade, .admin: 200
        case .signin: 5
        case .hook: 10
        }
    }

    var windowSeconds: Int64 {
        switch self {
        case .read, .trade, .protect, .admin: 10
        case .signin, .hook: 60
        }
    }

    var index: Int {
        switch self {
        case .read: 0
        case .trade: 1
        case .protect: 2
        case .signin: 3
        case .hook: 4
        case .admin: 5
        }
    }
}

struct RateVerdict: Hashable, Sendable {
    let isAllowed: Bool
    /// Requests left in the window.
    let remaining: Int
    /// Seconds until one more is allowed, or until the window is whole again.
    let seconds: Int64
}

final class RateLimiter: Sendable {
    private static let maximumKeys = 10_000

    private struct Key: Hashable {
        let caller: String
        let policy: RatePolicy
    }

    private struct State {
        var arrivals: [Key: Int64] = [:]
        /// When the passed ones may be forgotten again.
        var sweepsAt = Int64.min
    }

    private let quotas: [Int]
    private let state = Locked(State())

    /// - Parameter quotas: requests per window, in the order of `RatePolicy`; what is missing has its default.
    init(quotas: [Int]) {
        self.quotas = quotas
    }

    func quota(_ policy: RatePolicy) -> Int {
        policy.index < quotas.count ? quotas[policy.index] : policy.quota
    }

    /// - Parameter now: monotonic nanoseconds.
    func take(_ caller: String, _ policy: RatePolicy, now: Int64) -> RateVerdict {
        let quota = Int64(quota(policy))
        let window = policy.windowSeconds * 1_000_000_000
        let step = window / quota
        return state.withLock { state in
            if state.arrivals.count >= Self.maximumKeys, state.sweepsAt <= now {
                state.sweepsAt = now + 1_000_000_000
                state.arrivals = state.arrivals.filter { $0.value > now }
            }
            let key = Key(caller: caller, policy: policy)
            let earliest = max(state.arrivals[key] ?? now, now)
            let next = earliest + step
            let ahead = next - now
            guard ahead <= window else {
                return RateVerdict(
                    isAllowed: false,
                    remaining: 0,
                    seconds: Self.seconds(ahead - window),
                )
            }
            state.arrivals[key] = next
            return RateVerdict(
                isAllowed: true,
                remaining: Int((window - ahead) / step),
                seconds: Self.seconds(ahead),
            )
        }
    }

    private static func seconds(_ nanoseconds: Int64) -> Int64 { max(1, (nanoseconds + 999_999_999) / 1_000_000_000) }
}
