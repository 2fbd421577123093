// Gathers pages that a store hands out.
internal import OwnerThread

/// Pages in the order in which they came.
final class PageCollector: Sendable {
    private let orders = Locked<[ArmedOrder]>([])
    func add(_ page: [ArmedOrder]) { orders.withLock { $0 += page } }
    func take() -> [ArmedOrder] {
        orders.withLock { orders in
            defer { orders = [] }
            return orders
        }
    }
}
