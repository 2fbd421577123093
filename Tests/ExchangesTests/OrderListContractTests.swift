// Spot's sleeping stops and order lists, against the real paper venue.

import Exchanges
import OrderEngine
import PaperVenue
import SmartOrders
import Testing

@Suite(.timeLimit(.minutes(5))) struct OrderListContractTests {
    /// A take-profit at 110 and a stop at 95 for 2 coins of the 10.
    private func place(_ rig: VenueRig, _ target: String = "t1", _ stop: String = "s1") async -> [PlacementAnswer] {
        await rig.venue.placeList(
            rig.placement(target, .sell, .goodTillCancelled, "2", limit: "110", isExit: true),
            rig.placement(stop, .sell, .stopLimit, "2", limit: "90", trigger: "95", isExit: true),
        )
    }

    private func states(_ rig: VenueRig) async -> [VenueSnapshot.State?] {
        [await rig.lookUp("t1").snapshot?.state, await rig.lookUp("s1", .stopLimit).snapshot?.state]
    }

    @Test func `both legs rest under their own ids, one reservation for both`() async throws {
        try await withRig(.spot) { rig async throws in
            await rig.price("100", "50")
            let answers = await place(rig)
            #expect(answers.map { $0.snapshot?.clientOrderID } == ["t1", "s1"], "\(answers)")
            #expect(answers.map { $0.snapshot?.state } == [.open, .open])
            #expect(await rig.lookUp("s1", .stopLimit).snapshot?.isTriggered == false)
            // Ten coins: eight are left for another order.
            let more = rig.placement("more", .sell, .goodTillCancelled, "8", limit: "120", isExit: true)
            #expect(await rig.venue.place(more).snapshot?.state == .open)
            let tooMuch = rig.placement("much", .sell, .goodTillCancelled, "1", limit: "120", isExit: true)
            #expect(await rig.venue.place(tooMuch).refusal == .insufficientBalance)
            #expect(await place(rig) == [.duplicate, .duplicate])
        }
    }

    @Test func `a stop that wakes expires the target and sells from the book`() async throws {
        try await withRig(.spot) { rig async throws in
            await rig.price("100", "50")
            _ = await place(rig)
            await rig.price("95", "50")
            #expect(await states(rig) == [.expired, .filled])
            let stop = await rig.lookUp("s1", .stopLimit).snapshot
            #expect(stop?.filled == Quantity("2") && stop?.fills.map(\.price) == [Price(dec("95"))])
            #expect(await rig.venue.holding(market: rig.kind.market, side: .buy, fresh: true)?.quantity == dec("8"))
        }
    }

    @Test func `a target that fills, even in part, expires the stop`() async throws {
        try await withRig(.spot) { rig async throws in
            await rig.price("100", "50")
            _ = await place(rig)
            await rig.price("110", "0.5")
            #expect(await states(rig) == [.open, .expired])
            await rig.price("110", "50")
            #expect(await states(rig) == [.filled, .expired])
        }
    }

    @Test func `cancelling a leg cancels the list`() async throws {
        try await withRig(.spot) { rig async throws in
            await rig.price("100", "50")
            _ = await place(rig)
            #expect(await rig.cancel("s1", .stopLimit).snapshot?.state == .cancelled)
            #expect(await rig.cancel("t1") == .notOpen)
            #expect(await states(rig) == [.cancelled, .cancelled])
            let all = rig.placement("all", .sell, .goodTillCancelled, "10", limit: "120", isExit: true)
            #expect(await rig.venue.place(all).snapshot?.state == .open)
        }
    }

    @Test func `prices in the wrong order are refused for both`() async throws {
        try await withRig(.spot) { rig async throws in
            await rig.price("115", "50")
            #expect(await place(rig).map(\.refusal) == [.rejected, .rejected])
            await rig.price("94", "50")
            #expect(await place(rig).map(\.refusal) == [.rejected, .rejected])
        }
    }

    @Test func `a stop alone sleeps with its coins, wakes, and is told awake while it rests`() async throws {
        try await withRig(.spot) { rig async throws in
            await rig.price("100", "50")
            let stop = rig.placement("s1", .sell, .stopLimit, "10", limit: "96", trigger: "95", isExit: true)
            #expect(await rig.venue.place(stop).snapshot?.state == .open)
            let other = rig.placement("x", .sell, .market, "1", isExit: true)
            #expect(await rig.venue.place(other).refusal == .insufficientBalance)
            await rig.price("95", "50")
            let awake = await rig.lookUp("s1", .stopLimit).snapshot
            #expect(awake?.state == .open && awake?.isTriggered == true)
            #expect(await rig.cancel("s1", .stopLimit).snapshot?.state == .cancelled)
        }
    }

    @Test func `buying back: the stop stands above`() async throws {
        try await withRig(.spot) { rig async throws in
            await rig.price("100", "50")
            let answers = await rig.venue.placeList(
                rig.placement("t1", .buy, .goodTillCancelled, "2", limit: "90", isExit: true),
                rig.placement("s1", .buy, .stopLimit, "2", limit: "115", trigger: "105", isExit: true),
            )
            #expect(answers.map { $0.snapshot?.state } == [.open, .open], "\(answers)")
            await rig.price("106", "50")
            #expect(await states(rig) == [.expired, .filled])
        }
    }
}
