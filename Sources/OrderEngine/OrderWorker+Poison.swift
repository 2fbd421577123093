// Jobs that end their workers (RELIABILITY.md 5 HO23): the order says so before anything is done with them again.
internal import SmartOrders

extension OrderWorker {
    /// Deaths after which somebody should look.
    static let suspiciousCrashes = 3

    /// Raises or clears POISON. Best effort: the retries go on whether or not it can be said.
    func notePoison(_ id: OrderID, isRaised: Bool) async {
        do {
            for _ in 0..<Self.maximumConflicts {
                guard let row = try await context.orders.load([id]).first, let order = row.smart,
                    !row.isTerminal, order.attention.contains(.poison) != isRaised
                else { return }
                var transition = Transition(row)
                let moment = Moment(now: context.clock.now(), price: nil)
                guard try transition.apply(.attention(.poison, isRaised: isRaised), at: moment) else { return }
                let commit = transition.commit(
                    id: Int64(bitPattern: context.random()),
                    cause: .recovery,
                    actor: context.actor,
                )
                guard case .lost = try await committer.commit(commit) else {
                    await context.tell([id])
                    return
                }
            }
        } catch {
            context.observer.count("store_errors_total", 1)
        }
    }
}
