// What the live orders of one account and market own of its positions, without their rows: an account may have thousands
// there, and reading them all for each one that changes would cost the square.
public import SmartOrders

/// The smart orders of one side that own quantities, or the one that follows the position.
public struct PositionShare: Hashable, Sendable {
    public let side: Side
    /// It has the size of the position.
    public let isWhole: Bool
    /// Owned by them together.
    public let remaining: Quantity
    /// An exit of one of them rests or is unresolved.
    public let isClaimed: Bool
    public let oldest: OrderID

    public init(side: Side, isWhole: Bool, remaining: Quantity, isClaimed: Bool, oldest: OrderID) {
        self.side = side
        self.isWhole = isWhole
        self.remaining = remaining
        self.isClaimed = isClaimed
        self.oldest = oldest
    }

    public init(_ order: SmartOrder) {
        self.init(
            side: order.draft.side,
            isWhole: order.draft.sizeMode == .position,
            remaining: order.remaining,
            isClaimed: !order.claimed.isZero,
            oldest: order.id,
        )
    }
}

/// Which open smart orders stand on the sides of one account's position in a market: what of their shares an order that
/// brings its own entry has to know.
public struct PositionSides: Hashable, Sendable {
    public var oldestBuy: OrderID?
    public var oldestSell: OrderID?
    /// Those that follow the position.
    public var wholeBuy: OrderID?
    public var wholeSell: OrderID?

    public init(
        oldestBuy: OrderID? = nil,
        oldestSell: OrderID? = nil,
        wholeBuy: OrderID? = nil,
        wholeSell: OrderID? = nil,
    ) {
        self.oldestBuy = oldestBuy
        self.oldestSell = oldestSell
        self.wholeBuy = wholeBuy
        self.wholeSell = wholeSell
    }

    init(_ shares: [PositionShare]) {
        self.init(
            oldestBuy: shares.filter { $0.side == .buy }.map(\.oldest).min(),
            oldestSell: shares.filter { $0.side == .sell }.map(\.oldest).min(),
            wholeBuy: shares.first { $0.side == .buy && $0.isWhole }?.oldest,
            wholeSell: shares.first { $0.side == .sell && $0.isWhole }?.oldest,
        )
    }
}

extension [PositionShare] {
    /// One entry per side and kind, the oldest kept.
    public func joined() -> [PositionShare] {
        var joined: [PositionShare] = []
        for share in self {
            guard let index = joined.firstIndex(where: { $0.side == share.side && $0.isWhole == share.isWhole }) else {
                joined.append(share)
                continue
            }
            joined[index] = PositionShare(
                side: share.side,
                isWhole: share.isWhole,
                remaining: joined[index].remaining + share.remaining,
                isClaimed: joined[index].isClaimed || share.isClaimed,
                oldest: Swift.min(joined[index].oldest, share.oldest),
            )
        }
        return joined
    }
}

/// Where live orders are looked for that a position leaves without what they own.
public struct PositionQuery: Hashable, Sendable {
    public let account: AccountID
    public let market: MarketID
    /// The side that the position belongs to; nil: both are netted.
    public let side: Side?
    /// Signed: above zero is long.
    public let quantity: ExactDecimal
    /// The page begins after this order; nil: with the oldest.
    public var after: OrderID?
    public let limit: Int

    public init(
        account: AccountID,
        market: MarketID,
        side: Side?,
        quantity: ExactDecimal,
        after: OrderID? = nil,
        limit: Int,
    ) {
        self.account = account
        self.market = market
        self.side = side
        self.quantity = quantity
        self.after = after
        self.limit = limit
    }
}

extension OrderStore {
    /// From the rows themselves: for stores in memory.
    public func shares(
        account: AccountID,
        market: MarketID,
        except: OrderID?,
    ) async throws(StoreError) -> [PositionShare] {
        try await live(account: account, market: market, limit: .max)
            .compactMap(\.smart).filter { $0.id != except }.map(PositionShare.init).joined()
    }

    /// From the rows themselves: for stores in memory.
    public func left(by position: PositionQuery) async throws(StoreError) -> [StoredOrder] {
        let live = try await live(account: position.account, market: position.market, limit: .max)
        let page = live.filter { order in position.after.map { order.id > $0 } ?? true }.sorted { $0.id < $1.id }
        return Array(page.prefix(position.limit))
    }
}
