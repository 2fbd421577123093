// An order as a command would find it now: the row, and the prices since.
public import SmartOrders

extension CommandService {
    /// The order with the extremes since its row, before any crossing in them is decided on; and the newest price.
    /// Nothing is stored.
    public func atPresent(_ order: SmartOrder) async throws(CommandError) -> (order: SmartOrder, price: Price?) {
        do {
            var transition = Transition(.smart(order))
            let present = try await CatchUp.bring(&transition, history: history, now: context.clock.now())
            let moment = try await standing(present.moment, of: .smart(order))
            // What a crossing comes to is a worker's to decide; until it is committed the row is what stands.
            guard present.tick == nil, let now = transition.order.smart else { return (order, moment.price) }
            return (now, moment.price)
        } catch {
            throw Self.commandError(error)
        }
    }
}
