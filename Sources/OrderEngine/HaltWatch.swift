// The kill switch as a worker sees it (RELIABILITY.md 11.1, GA16).
//
// The commit that takes a send right reads the halts; what may follow it is a pause of the process. So each worker reads
// them again before it sends, from a copy that is at most 250 ms old; without a good read within a second nothing leaves.
internal import OwnerThread
public import SmartOrders

/// A halt that is in force.
public struct HaltInForce: Hashable, Sendable {
    public enum Scope: String, Hashable, Sendable { case cluster, venue, market, account, order }
    public enum Level: String, Hashable, Sendable { case entries, sends }
    public let scope: Scope
    /// Empty for the cluster.
    public let subject: String
    public let level: Level

    public init(scope: Scope, subject: String = "", level: Level) {
        self.scope = scope
        self.subject = subject
        self.level = level
    }

    /// Whether it forbids a placement of this order.
    public func forbids(isExit: Bool, order: OrderID, account: AccountID, market: MarketID) -> Bool {
        guard level == .sends || !isExit else { return false }
        return switch scope {
        case .cluster: true
        case .venue: subject == market.venue
        case .market: subject == "\(market)"
        case .account: subject == "\(account)"
        case .order: subject == "\(order)"
        }
    }
}

/// The halts, read when they are asked for and kept for 250 ms.
struct HaltWatch: Sendable {
    private struct Copy {
        var halts: [HaltInForce]
        var readAt: Int64
    }

    private let context: EngineContext
    private let copy = Shared()
    private static let lifeNanoseconds: Int64 = 250_000_000
    private static let limitNanoseconds: Int64 = 1_000_000_000

    private final class Shared: Sendable {
        let value = Locked<Copy?>(nil)
    }

    init(context: EngineContext) {
        self.context = context
    }

    func allows(_ placement: VenueOrder, of order: StoredOrder) async -> Bool {
        guard let halts = await present() else { return false }
        return !halts.contains {
            $0.forbids(
                isExit: order.isExit(placement),
                order: order.id,
                account: order.account,
                market: order.instrument.market,
            )
        }
    }

    /// Nil: not known well enough.
    private func present() async -> [HaltInForce]? {
        let begun = context.clock.monotonicNanoseconds()
        let known = copy.value.withLock { $0 }
        if let known, begun - known.readAt < Self.lifeNanoseconds { return known.halts }
        do throws(StoreError) {
            let halts = try await context.cluster.halts()
            copy.value.withLock { copy in
                if copy.map({ $0.readAt < begun }) ?? true { copy = Copy(halts: halts, readAt: begun) }
            }
            return halts
        } catch {
            context.observer.count("store_errors_total", 1)
            guard let known, begun - known.readAt < Self.limitNanoseconds else { return nil }
            return known.halts
        }
    }
}
