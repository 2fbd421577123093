import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// FA106, through the whole engine. Ticks lie in the venue's future, so that no machine is too slow for their second.
@Suite(.serialized) struct `A guard against false prints` {
    private static let second: Int64 = 1_000_000

    private func guarded(_ source: TriggerSource? = nil) -> Draft {
        var draft = Draft.held(stop: 95)
        draft.printGuard = PrintGuardPlan()
        draft.triggerSource = source
        return draft
    }

    private func prints(_ cluster: Cluster, _ id: OrderID) async throws -> [Fact] {
        let versions = try await MemoryTimelineStore(cluster.database).versions(of: id, after: 0, limit: 1_000)
        return versions.flatMap(\.facts).filter { fact in
            switch fact {
            case .printSuspected, .printConfirmed, .printIgnored: true
            default: false
            }
        }
    }

    private func price(_ cents: Int) -> Price { Price(ExactDecimal(mantissa: Int128(cents), scale: 2)) }

    @Test func `a lone print is ignored, and one that is confirmed fires`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let start = cluster.clock.now().microseconds + 600 * Self.second
        let id = try await cluster.create(guarded()).id
        try await cluster.run(["w1"]) {
            try await cluster.publish([10_000, 10_010, 10_000, 10_000], from: start)
            // One is false either way; what comes next is not.
            try await cluster.publish([100, 10_000, 20_000, 10_020], from: start + Self.second)
            try await cluster.settle()
            let spared = try await cluster.order(id)
            #expect(spared.latch == nil && spared.status == .active)
            // To the edge of the band, not to 200.
            #expect(spared.extreme == price(11_000))
            let told = try await prints(cluster, id)
            #expect(told.first == .printSuspected(price(100), reference: price(10_000)))
            #expect(told.contains(.printIgnored(price(100))) && !told.contains(.printConfirmed(price(100))))
        }
    }

    @Test func `whoever takes over decides on the same next print`() async throws {
        let cluster = Cluster(speed: 20)
        try await cluster.setUp()
        let start = cluster.clock.now().microseconds + 600 * Self.second
        let id = try await cluster.create(guarded()).id
        try await cluster.run(["w1", "w2"]) {
            try await cluster.publish([10_000, 10_010, 10_000, 10_000, 100], from: start)
            let waiting = try await cluster.wait(for: id) { $0.suspect != nil }
            #expect(waiting.latch == nil && waiting.suspect?.price == price(100))
            let holder = try #require(try await cluster.orders.events(order: id, after: 0, limit: 100).last?.actor.id)
            cluster.kill(holder)
            try await cluster.publish([90], from: start + Self.second / 2)
            let fired = try await cluster.wait(for: id) { $0.latch != nil }
            #expect(fired.latch?.price == price(9_500))
            #expect(fired.latch?.position.venueTime == start + Self.second / 2)
            #expect(
                try await prints(cluster, id) == [
                    .printSuspected(price(100), reference: price(10_000)), .printConfirmed(price(100)),
                ]
            )
            try await cluster.publish([9_900], from: start + Self.second)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped)
        }
    }

    @Test func `without a witness in time the print is ignored by the clock`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let id = try await cluster.create(guarded()).id
        try await cluster.run(["w1"]) {
            let now = cluster.clock.now().microseconds
            try await cluster.publish([10_000, 10_010, 10_000, 100], from: now)
            let ignored = try await cluster.wait(for: id) { $0.suspect?.isIgnored == true }
            #expect(ignored.latch == nil && ignored.nextTimer == nil)
            try await cluster.publish([9_400], from: now + 60 * Self.second)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.latch?.price == price(9_500))
        }
    }

    @Test func `is judged by another source, else by what its own said before, else not`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let order = StoredOrder.smart(try await cluster.create(guarded()))
        var plain = Draft.held(stop: 95)
        plain.triggerSource = .mark
        let unguarded = StoredOrder.smart(try await cluster.create(plain))
        let context = cluster.context("w1")
        let history = PriceHistory(ticks: context.ticks, cluster: context.cluster)
        let start = cluster.clock.now().microseconds + 600 * Self.second
        func at(_ microseconds: Int64) -> TickPosition {
            TickPosition(venueTime: start + microseconds, sequence: .max)
        }
        #expect(await PrintWitness.reference(for: order, at: at(0), history) == nil)
        try await cluster.publish([10_000, 9_000, 10_100, 10_050, 9_990], from: start)
        #expect(await PrintWitness.reference(for: order, at: at(Self.second), history) == price(10_000))
        #expect(await PrintWitness.reference(for: unguarded, at: at(Self.second), history) == nil)
        // Its own price at that moment is no witness.
        let first = TickPosition(venueTime: start, sequence: 0)
        #expect(await PrintWitness.reference(for: order, at: first, history) == nil)
        try await cluster.publish([10_500, 10_400], from: start + 100, of: .last)
        #expect(await PrintWitness.reference(for: order, at: at(Self.second), history) == price(10_400))
        try await cluster.publish([10_300], from: start + 200, of: .index)
        #expect(await PrintWitness.reference(for: order, at: at(Self.second), history) == price(10_300))
        // After five seconds nobody is a witness any more.
        #expect(await PrintWitness.reference(for: order, at: at(6 * Self.second), history) == nil)
    }
}

extension Cluster {
    /// Publishes prices of a source at moments of the venue, 10 ms apart.
    fileprivate func publish(_ cents: [Int], from start: Int64, of source: TriggerSource = .mark) async throws {
        for (index, cent) in cents.enumerated() {
            venue.setPrice(Price(ExactDecimal(mantissa: Int128(cent), scale: 2)))
            let position = TickPosition(venueTime: start + Int64(index) * 10_000, sequence: 0)
            let units = Int64(cent) * 1_000_000
            let series = PriceSeries(market: instrument.market, source: source)
            try await MemoryTickLog(ticks).append(
                [RawTick(position: position, price: units, receivedAt: 0)],
                to: series,
            )
            try await MemoryClusterStore(database).appendExtremes([
                ExtremeBucket(
                    market: instrument.market,
                    source: source,
                    points: [.init(position: position, price: units)],
                )
            ])
        }
    }
}
