// What follows from prices, for streams: unrealised gain, water mark, stop and protection of an account's open orders
// (INTERFACES.md 2.3 `derived`).
//
// Invariants: of an order only the newest is kept and told when it changed, at most twice a second; the values are those
// that a command would find now (the extremes since the row are in them). Limits: the newest 1,000 open orders of an
// account. Cost: per followed account and half second one look at its sequence, its orders when that moved, and per order
// one range extreme.

internal import JSONText
internal import Logging
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// What streams tell beside events.
struct StreamBoards: Sendable {
    let prices: PriceBoard
    let derived: DerivedBoard
    let notices: NoticeBoard
    let operators: OperatorBoard
}

final class DerivedBoard: Sendable {
    private struct Item {
        let stamp: UInt64
        let text: [UInt8]
    }

    private struct Feed {
        let account: Account
        var listeners: Set<UInt64> = []
        /// Position in the account's sequence at which the orders were read.
        var readAt: Int64?
        var orders: [SmartOrder] = []
        var items: [OrderID: Item] = [:]
    }

    private struct State {
        var feeds: [AccountID: Feed] = [:]
        var listeners: [UInt64: any StreamListener] = [:]
        var stamp: UInt64 = 0
    }

    private static let pauseMs: Int64 = 500
    private static let maximumOrders = 1_000

    private let backend: Backend
    private let state = Locked(State())

    init(backend: Backend) {
        self.backend = backend
    }

    func follow(_ account: Account, for id: UInt64, _ listener: any StreamListener) {
        state.withLock { state in
            state.listeners[id] = listener
            state.feeds[account.id, default: Feed(account: account)].listeners.insert(id)
        }
    }

    func unfollow(_ account: AccountID, for id: UInt64) {
        state.withLock { Self.leave(&$0, account, id) }
    }

    func remove(_ id: UInt64) {
        state.withLock { state in
            for account in Array(state.feeds.keys) { Self.leave(&state, account, id) }
            state.listeners[id] = nil
        }
    }

    private static func leave(_ state: inout State, _ account: AccountID, _ id: UInt64) {
        state.feeds[account]?.listeners.remove(id)
        if state.feeds[account]?.listeners.isEmpty == true { state.feeds[account] = nil }
    }

    /// Items of an account that are newer than `stamp`, oldest first, and the newest stamp.
    func items(_ account: AccountID, after stamp: UInt64) -> (items: [[UInt8]], stamp: UInt64) {
        state.withLock { state in
            guard state.stamp > stamp, let feed = state.feeds[account] else { return ([], stamp) }
            let newer = feed.items.values.filter { $0.stamp > stamp }.sorted { $0.stamp < $1.stamp }
            return (newer.map(\.text), newer.last?.stamp ?? stamp)
        }
    }

    /// The `derived` object of some items.
    static func frame(_ account: AccountID, at: Timestamp, _ items: [[UInt8]]) -> [UInt8] {
        var writer = JSONWriter(reserving: 256 + items.reduce(0) { $0 + $1.count })
        writer.beginObject()
        writer.member("type", "derived")
        writer.member("account", account.description)
        writer.member("at", at)
        writer.key("items")
        writer.beginArray()
        for item in items { writer.raw(item) }
        writer.endArray()
        writer.endObject()
        return writer.take()
    }

    /// Runs until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            do { try await backend.clock.sleep(milliseconds: Self.pauseMs) } catch { return }
            let accounts = state.withLock { $0.feeds.values.map(\.account) }
            for account in accounts {
                await Tenancy.$accounts.withValue([account.id]) { await refresh(account) }
            }
        }
    }

    private func refresh(_ account: Account) async {
        do {
            guard let orders = try await orders(of: account) else { return }
            var fresh: [OrderID: [UInt8]] = [:]
            for order in orders { fresh[order.id] = try await item(order) }
            let texts = fresh
            let listeners = state.withLock { state -> [any StreamListener] in
                guard var feed = state.feeds.removeValue(forKey: account.id) else { return [] }
                defer { state.feeds[account.id] = feed }
                feed.items = feed.items.filter { texts[$0.key] != nil }
                var isChanged = false
                for order in orders {
                    guard let text = texts[order.id], feed.items[order.id]?.text != text else { continue }
                    state.stamp += 1
                    feed.items[order.id] = Item(stamp: state.stamp, text: text)
                    isChanged = true
                }
                return isChanged ? feed.listeners.compactMap { state.listeners[$0] } : []
            }
            for listener in listeners { listener.wake() }
        } catch {
            // The store or the prices are away: the next round tells.
            backend.logger.debug("Derived values wait", metadata: ["error": "\(error)"])
        }
    }

    /// The open orders, read anew when something of the account changed; nil: nobody follows any more.
    private func orders(of account: Account) async throws -> [SmartOrder]? {
        let head = try await backend.orders.lastSequence(account: account.id)
        guard let known = state.withLock({ $0.feeds[account.id].map { ($0.readAt, $0.orders) } }) else { return nil }
        if known.0 == head { return known.1 }
        var filter = OrderFilter(account: account.id, kind: .smart, limit: 200)
        filter.statuses = OrderStatus.allCases.filter { !$0.isTerminal }.map(\.rawValue)
        var orders: [SmartOrder] = []
        while orders.count < Self.maximumOrders {
            let page = try await backend.orders.list(filter)
            orders += page.compactMap(\.smart)
            guard page.count == filter.limit, let last = page.last else { break }
            filter.before = last.id
        }
        let found = orders
        state.withLock { state in
            state.feeds[account.id]?.readAt = head
            state.feeds[account.id]?.orders = found
        }
        return found
    }

    private func item(_ stored: SmartOrder) async throws -> [UInt8] {
        let (order, price) = try await backend.commands.atPresent(stored)
        var writer = JSONWriter(reserving: 384)
        writer.beginObject()
        writer.member("orderId", order.id.description)
        writer.member("version", stored.version)
        let mark = order.draft.trailing.map { $0.activationPrice == nil ? order.extreme : order.trailingExtreme }
        writer.member("waterMark", orNull: mark ?? nil)
        writer.member("stopPrice", orNull: order.latch?.price ?? order.effectiveStop?.price)
        writer.member("mark", orNull: price)
        writer.member("unrealized", orNull: price.map { order.unrealized(at: $0) })
        writer.key("protection")
        writer.protection(await backend.protection(of: order))
        writer.endObject()
        return writer.take()
    }
}

extension JSONWriter {
    fileprivate mutating func protection(_ protection: OrderContext.Protection) {
        beginObject()
        member("state", protection.state)
        key("reasons")
        beginArray()
        for reason in protection.reasons { string(reason) }
        endArray()
        member("shardOwned", protection.isShardOwned)
        endObject()
    }
}
