// What an order's fills say of it beside its row: when it became active, what its targets got (INTERFACES.md 1.10).
//
// Invariant: fills of a version do not change, so what was read is kept by version; a page of orders shares one question.
// An order without a fill asks for nothing. A store that is away leaves the times unsaid: they are no reason to refuse the
// order. Limits: 4,096 orders are kept.
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

final class FillHistory: Sendable {
    private struct Kept {
        let version: Int64
        let fills: [FillSummary]
    }

    private static let maximumKept = 4_096
    private let orders: any OrderStore
    private let kept = Locked<[OrderID: Kept]>([:])

    init(_ orders: any OrderStore) {
        self.orders = orders
    }

    /// Reads what the next calls of `tell` need.
    func read(_ page: [SmartOrder]) async {
        let unknown = kept.withLock { kept in
            page.filter { Self.hasFills($0) && kept[$0.id]?.version != $0.version }
        }
        guard !unknown.isEmpty else { return }
        do throws(StoreError) {
            let found = try await orders.fillSummaries(of: unknown.map(\.id))
            kept.withLock { kept in
                if kept.count + unknown.count > Self.maximumKept { kept = [:] }
                for order in unknown {
                    kept[order.id] = Kept(version: order.version, fills: found[order.id] ?? [])
                }
            }
        } catch {
            return
        }
    }

    private static func hasFills(_ order: SmartOrder) -> Bool {
        order.entryFilled.isPositive || order.exited.isPositive
    }

    /// Puts what is known of an order's fills into what is shown of it.
    /// - Returns: false when they could not be read.
    func tell(_ order: SmartOrder, _ context: inout OrderContext) -> Bool {
        if order.draft.entry.mode == .attach { context.activatedAt = order.createdAt }
        let known = kept.withLock { $0[order.id] }
        let fills = known.flatMap { $0.version == order.version ? $0.fills : nil }
        for fill in fills ?? [] {
            switch fill.leg {
            case .entry: context.activatedAt = min(context.activatedAt ?? fill.first, fill.first)
            case .takeProfit(let number):
                var level = context.levels[number] ?? OrderContext.LevelHistory()
                level.averageFill = AverageEntry(cost: fill.worth, quantity: fill.quantity).rounded
                if order.levels.contains(where: { $0.number == number && $0.state == .filled }) {
                    level.filledAt = fill.last
                }
                context.levels[number] = level
            default: continue  // tidy-ok: other legs have no place of their own in the object
            }
        }
        for level in order.levels where level.state != .pending {
            let asked = order.venueOrders.filter { $0.leg == .takeProfit(level.number) }.map(\.createdAt).min()
            if let asked { context.levels[level.number, default: OrderContext.LevelHistory()].triggeredAt = asked }
        }
        return fills != nil || !Self.hasFills(order)
    }
}
