// What rests at the venue by itself, through workers, store and queue: the backstop and native legs.

import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

@Suite(.serialized) struct `What rests at the venue` {
    @Test func `a backstop is placed behind the stop and taken down with the order`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setHeld(ExactDecimal(10))
        try await cluster.run(["w1", "w2"]) {
            var draft = Draft.held([(105, 100)], stop: 95)
            draft.backstop = BackstopPlan(enabled: true)
            let id = try await cluster.create(draft).id
            let guarded = try await cluster.wait(for: id) { $0.backstops.first?.state == .open }
            // A busy machine may need a second attempt.
            let present = try #require(guarded.backstops.first?.key)
            let name = cluster.identity.clientOrderID(id, present)
            let placed = try #require(cluster.venue.placement(name))
            #expect(placed.type == .stopMarket && placed.closesPosition && placed.triggerSource == .mark)
            #expect(
                placed.trigger == Price(ExactDecimal(mantissa: 9215, scale: 2)) && guarded.free == guarded.remaining
            )
            try await cluster.settle()
            try await cluster.tick(96, 95)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.closeReason == .stopLoss && ended.venueOrders.isEmpty)
            #expect(cluster.venue.open.isEmpty)
        }
    }

    @Test func `a backstop that fired is heard of and ends the order`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setHeld(ExactDecimal(10))
        try await cluster.run(["w1"]) {
            var draft = Draft.held(stop: 95)
            draft.backstop = BackstopPlan(enabled: true)
            let id = try await cluster.create(draft).id
            _ = try await cluster.wait(for: id) { $0.backstops.first?.state == .open }
            // The feed is deaf, the venue is not.
            cluster.venue.setPrice(Price(ExactDecimal(92)))
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.closeReason == .backstop && ended.exited == ended.entered)
        }
    }

    @Test func `two orders on one position have no backstop until one is alone`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setHeld(ExactDecimal(20))
        try await cluster.run(["w1"]) {
            var draft = Draft.held(stop: 95)
            draft.backstop = BackstopPlan(enabled: true)
            _ = try await cluster.create(.held(stop: 90))
            let id = try await cluster.create(draft).id
            let skipped = try await cluster.wait(for: id) { $0.backstopNote != nil }
            #expect(skipped.backstopNote == .positionShared && skipped.backstops.isEmpty)
            #expect(cluster.venue.accepted.isEmpty && skipped.health == .ok)
        }
    }

    @Test func `native legs rest, the one that fills cancels the other`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1", "w2"]) {
            var draft = Draft.held([(105, 100)], stop: 95)
            draft.placement = .native
            let id = try await cluster.create(draft).id
            let resting = try await cluster.wait(for: id) {
                $0.isHeldNatively(.stop) && $0.isHeldNatively(.takeProfit(1))
            }
            #expect(resting.watches.isEmpty && resting.claimed == resting.remaining)
            try await cluster.settle()
            try await cluster.tick(96, 105)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .closed && ended.closeReason == .allTakeProfitsFilled)
            #expect(cluster.venue.open.isEmpty && cluster.venue.accepted.count == 2)
        }
    }

    @Test func `a native stop that the venue lost is managed at once`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            var draft = Draft.held([(105, 100)], stop: 95)
            draft.placement = .native
            let id = try await cluster.create(draft).id
            let resting = try await cluster.wait(for: id) {
                $0.isHeldNatively(.stop) && $0.isHeldNatively(.takeProfit(1))
            }
            let stop = try #require(resting.venueOrders.first { $0.leg == .stop })
            cluster.venue.expire(cluster.identity.clientOrderID(id, stop.key))
            let lost = try await cluster.wait(for: id) { !$0.lostLegs.isEmpty }
            #expect(lost.health == .needsAttention && lost.watches.map(\.leg) == [.stop])
            try await cluster.settle()
            try await cluster.tick(95)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.closeReason == .stopLoss)
            #expect(cluster.venue.open.isEmpty)
        }
    }
}
