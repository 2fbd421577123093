// Orders, accounts and commits for store tests, without the core's decisions: the stores do not care how a row came
// to be.

package import OrderEngine
package import SmartOrders

/// The stores of one implementation, on one empty database.
package struct StoresUnderTest: Sendable {
    package let orders: any OrderStore
    package let accounts: any AccountStore
    package let cluster: any ClusterStore

    package init(orders: any OrderStore, accounts: any AccountStore, cluster: any ClusterStore) {
        self.orders = orders
        self.accounts = accounts
        self.cluster = cluster
    }

    /// A new account.
    package func account(_ number: Int = 1) async throws -> AccountID {
        let account = Account(
            id: .sample(number),
            name: "account \(number)",
            venue: "paper",
            product: "linear",
            mode: .paper,
        )
        try await accounts.create(account, credentials: Credentials(key: "k", secret: "s"))
        return account.id
    }

    /// A stored order at version 1.
    package func order(_ number: Int, _ account: AccountID) async throws -> SmartOrder {
        let order = SmartOrder.sample(number, account)
        let outcome = try await orders.commit([.sample(order)])
        guard case .committed = outcome[0] else { throw UnexpectedOutcome(outcome[0]) }
        return order
    }
}

extension OrderStore {
    /// The smart orders among these.
    package func smart(_ ids: [OrderID]) async throws(StoreError) -> [SmartOrder] {
        try await load(ids).compactMap(\.smart)
    }
}

extension ArmedOrder {
    package init(_ order: SmartOrder) { self.init(.smart(order)) }
}

/// A commit that should have succeeded and did not.
package struct UnexpectedOutcome: Error {
    package let outcome: CommitOutcome
    package init(_ outcome: CommitOutcome) { self.outcome = outcome }
}

extension AccountID {
    package static func sample(_ number: Int) -> AccountID {
        AccountID(UniqueID(high: 0x0197_0000_0000_7000, low: 0x8000_0000_0000_0000 | UInt64(number)))
    }
}

extension OrderID {
    /// Spread over time and shards by the number.
    package static func sample(_ number: Int) -> OrderID {
        var mixed = UInt64(number) &* 0x9e37_79b9_7f4a_7c15
        mixed ^= mixed >> 29
        let low = 0x8000_0000_0000_0000 | (mixed & 0x3fff_ffff_ffff_ffff)
        return OrderID(UniqueID(high: 0x0198_0000_0000_7000 + UInt64(number) << 16, low: low))
    }
}

extension Instrument {
    package static func sample(_ symbol: String = "DEMO") -> Instrument {
        Instrument(
            market: MarketID(venue: "paper", product: "linear", symbol: symbol),
            kind: .perpetual,
            tickSize: Price(ExactDecimal(mantissa: 1, scale: 1)),
            stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 3)),
            baseAsset: "DEMO",
            quoteAsset: "USDT",
        )
    }
}

extension SmartOrder {
    /// A long of 10 at 100 with two levels and a stop, entered and watched, at version 1.
    package static func sample(_ number: Int, _ account: AccountID, symbol: String = "DEMO") -> SmartOrder {
        let now = Timestamp(milliseconds: 1_790_000_000_000 + Int64(number))
        let plans = [105, 110].map {
            TakeProfitPlan(target: .price(Price(ExactDecimal($0))), sizePercent: ExactDecimal(50))
        }
        let draft = Draft(
            side: .buy,
            quantity: Quantity(ExactDecimal(10)),
            entry: EntryPlan(mode: .attach, price: Price(ExactDecimal(100))),
            takeProfits: plans,
            stopLoss: StopLossPlan(price: Price(ExactDecimal(95))),
            trailing: TrailingPlan(callback: .rate(Rate(ExactDecimal(mantissa: 2, scale: 2)))),
        )
        var order = SmartOrder(
            id: .sample(number),
            account: account,
            instrument: .sample(symbol),
            createdAt: now,
            updatedAt: now,
            draft: draft,
            triggerSource: .mark,
        )
        order.status = .active
        order.phase = .monitoring
        order.stopState = .armed
        order.entered = Quantity(ExactDecimal(10))
        order.received = order.entered
        order.extreme = Price(ExactDecimal(100))
        order.extremePosition = TickPosition(venueTime: now.microseconds, sequence: Int64(number))
        order.levels = plans.enumerated().map { index, plan in
            Level(
                number: index + 1,
                plan: plan,
                price: Price(ExactDecimal(105 + 5 * index)),
                planned: Quantity(ExactDecimal(5)),
            )
        }
        return order
    }

    /// The next version, changed by `change`.
    package func next(_ change: (inout SmartOrder) -> Void = { _ in }) -> SmartOrder {
        var next = self
        next.version += 1
        next.updatedAt = updatedAt.advanced(milliseconds: 1)
        change(&next)
        return next
    }

    /// The next version with an exit of `quantity` sent.
    package func exiting(_ quantity: Int, leg: Leg = .stop, attempt: Int = 1) -> SmartOrder {
        next { order in
            order.venueOrders.append(.sampleExit(leg, attempt, quantity, at: order.updatedAt))
            order.attempts[leg] = attempt
        }
    }
}

extension VenueOrder {
    package static func sampleExit(
        _ leg: Leg,
        _ attempt: Int,
        _ quantity: Int,
        state: VenueOrderState = .submitted,
        at time: Timestamp,
    ) -> VenueOrder {
        VenueOrder(
            leg: leg,
            attempt: attempt,
            side: .sell,
            type: .immediateOrCancel,
            quantity: Quantity(ExactDecimal(quantity)),
            limit: Price(ExactDecimal(mantissa: 945, scale: 1)),
            reduceOnly: true,
            state: state,
            createdAt: time,
        )
    }
}

extension SendRight {
    package static func sample(_ order: OrderID, _ key: VenueOrderKey, token: Int64, fenceMs: Int64 = 0) -> SendRight {
        SendRight(
            key: key,
            clientOrderID: "so-\(order)-\(key.leg)-\(key.attempt)",
            token: token,
            t0: Timestamp(milliseconds: 1_790_000_000_000),
            fenceMs: fenceMs,
        )
    }
}

extension ConditionalOrder {
    /// A stop-loss that sells 10 at 95, at version 1.
    package static func sample(_ number: Int, _ account: AccountID, reduceOnly: Bool = false) -> ConditionalOrder {
        let now = Timestamp(milliseconds: 1_790_000_000_000 + Int64(number))
        var order = ConditionalOrder(
            id: .sample(number),
            account: account,
            instrument: .sample(),
            createdAt: now,
            updatedAt: now,
            draft: ConditionalDraft(
                kind: .stopLoss,
                side: .sell,
                quantity: Quantity(ExactDecimal(10)),
                trigger: Price(ExactDecimal(95)),
                reduceOnly: reduceOnly,
            ),
            triggerSource: .mark,
        )
        order.position = TickPosition(venueTime: now.microseconds, sequence: Int64(number))
        return order
    }
}

extension Commit {
    /// The same for an order of either kind.
    package static func sample(_ next: StoredOrder, venueOrders: [VenueOrder] = []) -> Commit {
        Commit(
            id: .random(in: .min ... .max),
            next: next,
            cause: .tick,
            actor: Actor(kind: .worker, id: "w1"),
            venueOrders: venueOrders,
        )
    }

    /// Every commit has an id of its own unless it is given.
    package static func sample(
        _ next: SmartOrder,
        id: Int64 = .random(in: .min ... .max),
        facts: [Fact] = [],
        tick: Tick? = nil,
        venueOrders: [VenueOrder]? = nil,
        sendRights: [SendRight] = [],
        fills: [(key: VenueOrderKey, fill: Fill)] = [],
        jobs: [Job] = [],
        idempotency: IdempotencyRecord? = nil,
        record: DecisionRecord = DecisionRecord(),
    ) -> Commit {
        Commit(
            id: id,
            next: .smart(next),
            cause: .tick,
            actor: Actor(kind: .worker, id: "w1"),
            tick: tick,
            facts: facts,
            venueOrders: venueOrders ?? next.venueOrders,
            sendRights: sendRights,
            fills: fills,
            jobs: jobs,
            idempotency: idempotency,
            record: record,
        )
    }

    /// An exit with its send right.
    package static func sampleExit(_ next: SmartOrder, id: Int64 = .random(in: .min ... .max), token: Int64) -> Commit {
        let rights = next.venueOrders.map { SendRight.sample(next.id, $0.key, token: token) }
        return .sample(next, id: id, sendRights: rights)
    }
}
