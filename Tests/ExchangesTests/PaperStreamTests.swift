// The private stream, against the real paper venue.

import Exchanges
import OrderEngine
import OwnerThread
import SmartOrders
import Testing

@Suite(.timeLimit(.minutes(5))) struct PaperStreamTests {
    /// Reads until the stream is open, or open again.
    private func opened(_ events: inout AsyncStream<VenueStreamEvent>.Iterator) async -> Bool {
        while let event = await events.next(isolation: nil) { if case .interrupted = event { return true } }
        return false
    }

    /// The next snapshot of `id` in `state`.
    private func snapshot(
        _ id: String,
        _ state: VenueSnapshot.State,
        _ events: inout AsyncStream<VenueStreamEvent>.Iterator,
    ) async -> VenueSnapshot? {
        while let event = await events.next(isolation: nil) {
            guard case .order(id, let market, let snapshot) = event, snapshot.state == state else { continue }
            return market.symbol == "BTCUSDT" ? snapshot : nil
        }
        return nil
    }

    @Test(arguments: AccountKind.allCases)
    func `a resting order's fill and another one's cancel are told by their own ids`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            var events = rig.venue.events().makeAsyncIterator()
            #expect(await opened(&events))
            _ = await rig.venue.place(rig.placement("s1", .buy, .goodTillCancelled, "2", limit: "95"))
            #expect(await snapshot("s1", .open, &events)?.filled == .zero)
            await rig.price("94", "50")
            let filled = await snapshot("s1", .filled, &events)
            #expect(filled?.filled == Quantity("2"))
            #expect(filled?.venueOrderID == (await rig.lookUp("s1").snapshot)?.venueOrderID)
            _ = await rig.venue.place(rig.placement("s2", .buy, .goodTillCancelled, "1", limit: "90"))
            _ = await rig.cancel("s2")
            #expect(await snapshot("s2", .cancelled, &events)?.clientOrderID == "s2")
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `a stream that is cut is told and opened again`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            var events = rig.venue.events().makeAsyncIterator()
            #expect(await opened(&events))
            _ = await rig.venue.place(rig.placement("k1", .buy, .goodTillCancelled, "1", limit: "95"))
            #expect(await snapshot("k1", .open, &events) != nil)
            try await rig.control(#"{"stream":{"cut":true}}"#)
            // Once for the end, once for the new connection: from there on nothing is missed.
            #expect(await opened(&events))
            #expect(await opened(&events))
            await rig.price("94", "50")
            #expect(await snapshot("k1", .filled, &events) != nil)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `who does not follow an account is told nothing of its orders`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            let frames = Locked(0)
            var aside = rig.venue.events {
                frames.withLock { $0 += 1 }
                return false
            }
            .makeAsyncIterator()
            var events = rig.venue.events().makeAsyncIterator()
            #expect(await opened(&aside))
            #expect(await opened(&events))
            _ = await rig.venue.place(rig.placement("u1", .buy, .market, "1"))
            #expect(await snapshot("u1", .filled, &events) != nil)
            // That it was accepted, and that it was filled.
            while frames.withLock({ $0 }) < 2 { try await Task.sleep(for: .milliseconds(5)) }
            try await rig.control(#"{"stream":{"cut":true}}"#)
            let next = await aside.next(isolation: nil)
            guard case .interrupted = next else {
                Issue.record("told \(String(describing: next))")
                return
            }
        }
    }

    @Test func `a venue that is away is tried until it is back`() async throws {
        try await withRig(.oneWay) { rig async throws in
            try await rig.control(#"{"down":"unavailable"}"#)
            var events = rig.venue.events().makeAsyncIterator()
            #expect(await opened(&events))
            try await rig.control(#"{"down":"up"}"#)
            await rig.price("100", "50")
            // The next notice is the open stream or one more failure: an order after each.
            var number = 0
            var filled: String?
            while filled == nil, let event = await events.next(isolation: nil) {
                switch event {
                case .interrupted:
                    number += 1
                    _ = await rig.venue.place(rig.placement("a\(number)", .buy, .market, "1"))
                case .order(let id, _, let snapshot): if snapshot.state == .filled { filled = id }
                case .position, .balance: break
                }
            }
            #expect(filled == "a\(number)")
        }
    }
}
