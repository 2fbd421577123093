// How many open orders an account had, and how many more it can have by now.
//
// Counting an account's open orders reads each of them, and every creation asks. But an event changes one order, so an
// account that had `orders` open ones when it had `sequence` events has at most one more with each event since; its legs
// grow by an order's legs at most. While that stays under the account's bounds, nobody has to count: the database, which
// knows bounds and number of events, counts only where it may not (`traders.openings`).
//
// Invariant: what is told never is less than what is there, and is exact where it comes near a bound. Limits: 10,000
// places.

internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

final class OpenCounts: Sendable {
    /// More conditional legs than an order can have: 100 levels, the stop, partial stops, a backstop.
    static let maximumLegs = 128

    struct Count: Sendable {
        /// Events of the account when it was counted.
        let sequence: Int64
        let orders: Int
        /// In one market.
        let legs: Int
    }

    private struct Place: Hashable {
        let account: AccountID
        let market: MarketID
    }

    private static let maximumPlaces = 10_000
    private let counts = Locked<[Place: Count]>([:])

    func known(of account: AccountID, _ market: MarketID) -> Count? {
        counts.withLock { $0[Place(account: account, market: market)] }
    }

    func remember(_ count: Count, of account: AccountID, _ market: MarketID) {
        counts.withLock { counts in
            if counts.count >= Self.maximumPlaces { counts = [:] }
            counts[Place(account: account, market: market)] = count
        }
    }
}

/// What is asked before an order is created.
struct OpeningQuestion: Hashable, Sendable {
    let account: AccountID
    let market: MarketID
    let clientOrderID: String?
}
