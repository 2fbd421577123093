// The kill switch as a worker sees it (RELIABILITY.md 11.1, GA16).
//
// The commit that takes a send right reads the halts; what may follow it is a pause of the process. So each worker reads
// them again before it sends, from a copy that is at most 250 ms old; without a good read within a second nothing leaves.
// The same copy knows whether the database went back in time.
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
        /// When the database last went back in time.
        var historyBegan: Timestamp?
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
        guard let present = await present() else { return false }
        return !present.halts.contains {
            $0.forbids(
                isExit: order.isExit(placement),
                order: order.id,
                account: order.account,
                market: order.instrument.market,
            )
        }
    }

    /// Whether the database may have forgotten what was sent for this order. Nil: not known well enough.
    func isRewound(_ order: StoredOrder) async -> Bool? {
        guard let present = await present() else { return nil }
        // Made by another clock; asking once too often does no harm.
        return present.historyBegan.map { order.createdAt <= $0.advanced(milliseconds: 60_000) } ?? false
    }

    /// Nil: not known well enough.
    private func present() async -> Copy? {
        let begun = context.clock.monotonicNanoseconds()
        let known = copy.value.withLock { $0 }
        if let known, begun - known.readAt < Self.lifeNanoseconds { return known }
        do throws(StoreError) {
            let fresh = Copy(
                halts: try await context.cluster.halts(),
                historyBegan: try await context.cluster.historyBegan(),
                readAt: begun,
            )
            copy.value.withLock { copy in
                if copy.map({ $0.readAt < begun }) ?? true { copy = fresh }
            }
            return fresh
        } catch {
            context.observer.count("store_errors_total", 1)
            guard let known, begun - known.readAt < Self.limitNanoseconds else { return nil }
            return known
        }
    }
}
