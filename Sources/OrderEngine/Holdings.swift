// What an exit is fitted to before it is asked for (ORDERS.md R16.2, R16.4, R16.6, R17).
//
// Invariants: a reading that may lack a fill which the order knows counts as none, because a stale zero would end the
// order and a stale surplus would be sold twice; and not knowing never keeps an exit back. Cost: for an exit, one query
// and what the adapter needs for the position, side by side.
internal import SmartOrders

/// Unknown: nothing is clamped.
struct Holdings: Hashable, Sendable {
    let held: ExactDecimal?
    let claimedElsewhere: Quantity

    static let unknown = Holdings(held: nil, claimedElsewhere: .zero)

    /// What is there for the order that `transition` is about.
    static func read(for transition: Transition, venue: any Venue, context: EngineContext) async -> Holdings {
        let order = transition.order
        async let reading = venue.holding(market: order.instrument.market, side: order.positionSide, fresh: false)
        let standing: OrderStanding
        do throws(StoreError) {
            standing = try await context.standings.ask(order)
        } catch {
            context.observer.count("store_errors_total", 1)
            if !error.isTransient {
                context.observer.note(
                    .error,
                    "An exit is not fitted to its position",
                    [("order_id", "\(order.id)"), ("error", "\(error.code.rawValue): \(error.detail)")],
                )
            }
            return .unknown
        }
        guard let holding = await reading, holding.knows(standing, transition) else { return .unknown }
        return Holdings(held: holding.quantity, claimedElsewhere: standing.claimedElsewhere)
    }
}

extension Holding {
    /// Whether every fill that the order knows is in the reading.
    func knows(_ standing: OrderStanding, _ transition: Transition) -> Bool {
        let learnt = transition.fills.map(\.fill.time).max()
        guard let newest = [standing.newestFill, learnt].compactMap({ $0 }).max() else { return true }
        return newest <= asOf
    }
}

extension Moment {
    func with(_ holdings: Holdings) -> Moment {
        with(held: holdings.held, claimedElsewhere: holdings.claimedElsewhere)
    }
}

extension Transition {
    /// Whether it asks for an exit that nobody asked for before.
    var wantsExit: Bool {
        let before = stored?.venueOrders ?? []
        return order.venueOrders.contains { wish in
            wish.state == .intent && order.isExit(wish) && !before.contains { $0.key == wish.key }
        }
    }
}
