// Orders that sleep at the venue, against the real paper venue: USD-M's algo orders.

import Exchanges
import OrderEngine
import PaperVenue
import SmartOrders
import Testing

private let futures: [AccountKind] = [.oneWay, .hedged]

@Suite(.timeLimit(.minutes(5))) struct ConditionalContractTests {
    /// A long of 2 at 100.
    private func open(_ rig: VenueRig) async {
        await rig.price("100", "50")
        _ = await rig.venue.place(rig.placement("entry", .buy, .market, "2"))
    }

    @Test(arguments: futures)
    func `a stop sleeps, wakes at its price, and is found as what it became`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await open(rig)
            #expect(await rig.lookUp("s1", .stopMarket) == .notFound)
            let placed = await rig.venue.place(
                rig.placement("s1", .sell, .stopMarket, "2", trigger: "95", isExit: true)
            )
            let sleeping = try #require(placed.snapshot, "\(placed)")
            #expect(sleeping.state == .open && sleeping.filled == .zero && !sleeping.isTriggered)
            #expect(sleeping.clientOrderID == "s1")
            await rig.price("95.1", "50")
            #expect(await rig.lookUp("s1", .stopMarket).snapshot == sleeping)
            await rig.price("94", "50")
            let done = try #require(await rig.lookUp("s1", .stopMarket).snapshot)
            #expect(done.state == .filled && done.filled == Quantity("2") && done.isTriggered)
            #expect(done.fills.map(\.price) == [Price(dec("94"))] && done.clientOrderID == "s1")
            #expect(await rig.venue.holding(market: kind.market, side: .buy, fresh: true)?.quantity.isZero == true)
        }
    }

    @Test(arguments: futures)
    func `a trailing stop sleeps until the price comes back by its rate`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await open(rig)
            let placed = await rig.venue.place(
                rig.placement(
                    "r1",
                    .sell,
                    .trailingStop,
                    "2",
                    callback: .rate(Rate(dec("0.015"))),
                    isExit: true,
                )
            )
            #expect(placed.snapshot?.state == .open, "\(placed)")
            await rig.price("120", "50")
            await rig.price("118.3", "50")
            #expect(await rig.lookUp("r1", .trailingStop).snapshot?.state == .open)
            await rig.price("118.2", "50")
            let done = await rig.lookUp("r1", .trailingStop).snapshot
            #expect(done?.state == .filled && done?.filled == Quantity("2") && done?.isTriggered == true)
            #expect(await rig.venue.holding(market: kind.market, side: .buy, fresh: true)?.quantity.isZero == true)
            #expect(try await rig.venue.instruments().first?.native.contains(.trailing) == true)
        }
    }

    @Test(arguments: futures)
    func `a stop that closes the position takes all that is there`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await open(rig)
            let placed = await rig.venue.place(
                rig.placement("b1", .sell, .stopMarket, "1", trigger: "90", source: .mark, closes: true, isExit: true)
            )
            #expect(placed.snapshot?.state == .open, "\(placed)")
            _ = await rig.venue.place(rig.placement("more", .buy, .market, "3"))
            // The last price does not wake what watches the mark.
            await rig.price("100", source: .mark)
            await rig.price("91", "50")
            #expect(await rig.lookUp("b1", .stopMarket).snapshot?.state == .open)
            await rig.price("90", source: .mark)
            let done = await rig.lookUp("b1", .stopMarket).snapshot
            #expect(done?.state == .filled && done?.filled == Quantity("5"))
            #expect(await rig.venue.holding(market: kind.market, side: .buy, fresh: true)?.quantity.isZero == true)
        }
    }

    @Test(arguments: futures)
    func `a backstop without a position expires, and one beside full-size exits is no claim`(
        _ kind: AccountKind
    ) async throws {
        try await withRig(kind) { rig async throws in
            await open(rig)
            _ = await rig.venue.place(
                rig.placement("b1", .sell, .stopMarket, "2", trigger: "90", closes: true, isExit: true)
            )
            let exit = await rig.venue.place(
                rig.placement("x1", .sell, .immediateOrCancel, "2", limit: "95", isExit: true)
            )
            #expect(exit.snapshot?.state == .filled)
            await rig.price("89", "50")
            let gone = await rig.lookUp("b1", .stopMarket).snapshot
            #expect(gone?.state == .expired && gone?.filled == .zero)
            #expect(await rig.cancel("b1", .stopMarket) == .notOpen)
        }
    }

    @Test(arguments: futures)
    func `a take-profit wakes on the other side; what would wake at once is refused`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await open(rig)
            let early = await rig.venue.place(
                rig.placement("t0", .sell, .takeProfitMarket, "2", trigger: "99", isExit: true)
            )
            #expect(early.refusal == .rejected)
            let late = await rig.venue.place(
                rig.placement("s0", .sell, .stopMarket, "2", trigger: "101", isExit: true)
            )
            #expect(late.refusal == .rejected)
            _ = await rig.venue.place(rig.placement("t1", .sell, .takeProfitMarket, "2", trigger: "105", isExit: true))
            await rig.price("105", "50")
            #expect(await rig.lookUp("t1", .takeProfitMarket).snapshot?.state == .filled)
        }
    }

    @Test(arguments: futures)
    func `a stop-limit rests awake, and its cancel finds it there`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await open(rig)
            _ = await rig.venue.place(
                rig.placement("l1", .sell, .stopLimit, "2", limit: "95", trigger: "95", isExit: true)
            )
            await rig.price("94", "50")
            let awake = try #require(await rig.lookUp("l1", .stopLimit).snapshot)
            #expect(awake.state == .open && awake.isTriggered && awake.clientOrderID == "l1")
            let ended = await rig.cancel("l1", .stopLimit).snapshot
            #expect(ended?.state == .cancelled && ended?.clientOrderID == "l1")
            #expect(await rig.cancel("l1", .stopLimit) == .notOpen)
        }
    }

    @Test(arguments: futures)
    func `a cancel ends a sleeping one, whose id is a duplicate until then`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await open(rig)
            let stop = rig.placement("c1", .sell, .stopMarket, "2", trigger: "95", isExit: true)
            #expect(await rig.venue.place(stop).snapshot != nil)
            #expect(await rig.venue.place(stop) == .duplicate)
            let ended = await rig.cancel("c1", .stopMarket).snapshot
            #expect(ended?.state == .cancelled && ended?.filled == .zero)
            #expect(await rig.cancel("nobody", .stopMarket) == .notOpen)
            await rig.price("90", "50")
            #expect(await rig.venue.holding(market: kind.market, side: .buy, fresh: true)?.quantity.isZero == false)
        }
    }

    @Test(arguments: futures)
    func `the stream rings for it under our id`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await open(rig)
            var events = rig.venue.events().makeAsyncIterator()
            while let event = await events.next(isolation: nil) { if case .interrupted = event { break } }
            _ = await rig.venue.place(rig.placement("r1", .sell, .stopMarket, "2", trigger: "95", isExit: true))
            await rig.price("94", "50")
            var rang = false
            while !rang, let event = await events.next(isolation: nil) {
                guard case .order("r1", _, let snapshot) = event else { continue }
                rang = snapshot.isTriggered || snapshot.state == .filled
            }
            #expect(rang)
        }
    }

    @Test func `what a market can hold is read from its order types`() async throws {
        try await withRig(.oneWay) { rig async throws in
            let instrument = try #require(try await rig.venue.instruments().first { $0.market == rig.kind.market })
            #expect(instrument.native == [.takeProfit, .stop, .pair, .backstop, .trailing])
        }
    }
}
