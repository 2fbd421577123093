// What a store tells of the orders that share a position (ORDERS.md R16, R17).

internal import OrderEngine
internal import SmartOrders
internal import Testing

package enum PositionContract {
    private static func commit(_ stores: StoresUnderTest, _ commit: Commit) async throws {
        let outcome = try await stores.orders.commit([commit])[0]
        #expect(outcome.isCommitted, "\(outcome)")
    }

    /// An order at version 2 with an exit at the venue.
    @discardableResult
    private static func exiting(
        _ stores: StoresUnderTest,
        _ number: Int,
        _ account: AccountID,
        _ exit: VenueOrder,
        symbol: String = "DEMO",
    ) async throws -> SmartOrder {
        let order = SmartOrder.sample(number, account, symbol: symbol)
        try await commit(stores, .sample(order))
        let next = order.next { $0.venueOrders.append(exit) }
        try await commit(stores, .sampleExit(next, token: Int64(number)))
        return next
    }

    private static func exit(
        _ quantity: Int,
        filled: Int = 0,
        type: VenueOrderType = .goodTillCancelled,
        state: VenueOrderState = .open,
    ) -> VenueOrder {
        var exit = VenueOrder(
            leg: .takeProfit(1),
            attempt: 1,
            side: .sell,
            type: type,
            quantity: Quantity(ExactDecimal(quantity)),
            limit: Price(ExactDecimal(105)),
            reduceOnly: true,
            state: state,
            createdAt: Timestamp(milliseconds: 1_790_000_000_000),
        )
        exit.filled = Quantity(ExactDecimal(filled))
        return exit
    }

    /// Exits of others that rest on the position count with what is not filled; nothing else does.
    package static func restingExitsClaimThePosition(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account(1)
        let order = try await stores.order(1, account)
        let alone = try await stores.orders.standing(of: .smart(order))
        #expect(alone == OrderStanding(claimedElsewhere: .zero, newestFill: nil))
        try await exiting(stores, 2, account, exit(4, filled: 1, state: .partial))
        try await exiting(stores, 3, account, exit(2, state: .cancelRequested))
        try await exiting(stores, 4, account, exit(7, type: .immediateOrCancel, state: .submitted))
        try await exiting(stores, 5, account, exit(7, state: .unknown))
        try await exiting(stores, 6, account, exit(7), symbol: "OTHER")
        try await exiting(stores, 7, stores.account(2), exit(7))
        let own = order.next { $0.venueOrders.append(exit(6)) }
        try await commit(stores, .sampleExit(own, token: 1))
        let shared = try await stores.orders.standing(of: .smart(own))
        #expect(shared == OrderStanding(claimedElsewhere: Quantity(ExactDecimal(5)), newestFill: nil))
    }

    package static func newestFillIsKnown(_ stores: StoresUnderTest) async throws {
        let order = try await stores.order(1, stores.account())
        let asked = order.exiting(10)
        try await commit(stores, .sampleExit(asked, token: 1))
        var present = asked
        for second: Int64 in [9, 3] {
            let fill = Fill(
                venueFillID: "f\(second)",
                quantity: Quantity(ExactDecimal(2)),
                price: Price(ExactDecimal(95)),
                fee: .zero,
                feeAsset: .quote,
                isMaker: false,
                time: Timestamp(milliseconds: 1_790_000_000_000 + second),
            )
            present = present.next { $0.exited += Quantity(ExactDecimal(2)) }
            let key = asked.venueOrders[0].key
            try await commit(stores, .sample(present, venueOrders: [], fills: [(key, fill)]))
        }
        let standing = try await stores.orders.standing(of: .smart(present))
        #expect(standing.newestFill == Timestamp(milliseconds: 1_790_000_000_009))
    }

    /// What the orders of a position own is summed up by side, without one of them and without anybody else's.
    package static func sharesAreSummedUp(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account(1)
        let first = try await stores.order(1, account)
        let second = try await exiting(stores, 2, account, exit(4, filled: 1, state: .partial))
        try await exiting(stores, 3, account, exit(2), symbol: "OTHER")
        _ = try await stores.order(4, stores.account(2))
        let ended = try await stores.order(5, account).next { order in
            order.status = .closed
            order.phase = nil
        }
        try await commit(stores, .sample(ended))
        let market = first.instrument.market
        let all = try await stores.orders.shares(account: account, market: market, except: nil)
        #expect(all == [PositionShare(first), PositionShare(second)].joined())
        #expect(all.count == 1 && all[0].isClaimed && all[0].oldest == first.id)
        let others = try await stores.orders.shares(account: account, market: market, except: second.id)
        #expect(others == [PositionShare(first)])
        #expect(!others[0].isClaimed)
    }

    /// Every order that a position leaves without what it owns is named, page by page; nobody else's.
    package static func ordersAreLeftByPosition(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account(1)
        let first = try await stores.order(1, account)
        let second = try await stores.order(2, account)
        _ = try await stores.order(3, stores.account(2))
        var query = PositionQuery(
            account: account,
            market: first.instrument.market,
            side: nil,
            quantity: ExactDecimal(first.draft.side == .buy ? 1 : -1),
            limit: 1,
        )
        #expect(try await stores.orders.left(by: query) == [.smart(first)])
        query.after = first.id
        #expect(try await stores.orders.left(by: query) == [.smart(second)])
        query.after = second.id
        #expect(try await stores.orders.left(by: query).isEmpty)
    }

    /// What is open on an account, and what of it may exist at the venue.
    package static func openWorkIsComplete(_ stores: StoresUnderTest) async throws {
        let account = try await stores.account(1)
        let watched = try await stores.order(1, account)
        let resting = try await exiting(stores, 2, account, exit(4), symbol: "OTHER")
        let ended = try await stores.order(3, account).next { order in
            order.status = .closed
            order.phase = nil
        }
        try await commit(stores, .sample(ended))
        _ = try await stores.order(4, stores.account(2))
        let market = watched.instrument.market
        let work = try await stores.orders.openWork(account: account)
        #expect(work.atVenue == [resting.id])
        #expect(Set(work.markets) == [market, resting.instrument.market] && work.markets.count == 2)
        #expect(try await stores.orders.live(account: account, market: market, limit: 10) == [.smart(watched)])
        let name = SendRight.sample(resting.id, resting.venueOrders[0].key, token: 2).clientOrderID
        #expect(try await stores.orders.intent(account: account, clientOrderID: name)?.order == resting.id)
        #expect(try await stores.orders.intent(account: .sample(2), clientOrderID: name) == nil)
        let known = try await stores.orders.intents(account: account, clientOrderIDs: ["unknown", name])
        #expect(known.map(\.order) == [resting.id])
        #expect(try await stores.orders.intents(account: .sample(2), clientOrderIDs: [name]).isEmpty)
    }
}
