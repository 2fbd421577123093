import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// One contract for every class of venue (RELIABILITY.md 2.7): whatever becomes of a request, it is accepted once, and
/// what cannot be known waits and says so.
@Suite(.serialized) struct `Venues of every class` {
    struct Kind: Sendable, CustomTestStringConvertible {
        let rules: FakeVenue.Rules
        var testDescription: String { "\(rules.venueClass.kind.rawValue), ids \(rules.ids.rawValue)" }

        init(_ venueClass: VenueClass, _ ids: FakeVenue.Rules.IDs, fenceMs: Int64, windowMs: Int64 = 2_000) {
            var rules = FakeVenue.Rules(venueClass)
            rules.ids = ids
            rules.fenceMs = fenceMs
            rules.windowMs = windowMs
            rules.clampsReduceOnly = true
            self.rules = rules
        }
    }

    static let kinds = [
        Kind(.deadline(), .openOrders, fenceMs: 3_000), Kind(.deadline(), .forever, fenceMs: 3_000),
        Kind(.deadline(), .notEnforced, fenceMs: 3_000),
        Kind(.deadline(needsWitness: true), .openOrders, fenceMs: 3_000),
        Kind(.repeatable(), .returnsFirst, fenceMs: 6_000, windowMs: 4_000),
        Kind(.neither, .openOrders, fenceMs: 4_000, windowMs: 3_000),
        Kind(.neither, .notEnforced, fenceMs: 4_000, windowMs: 3_000),
    ]
    /// What becomes of the requests, one after another.
    static let scripts: [[FakeVenue.Answer]] = [
        [.loseRequest], [.loseAnswer], [.late(1_500)], [.loseRequest, .loseAnswer], [.late(1_000), .late(1_000)],
    ]

    private static let key = VenueOrderKey(leg: .stop, attempt: 1)

    private func quantity(_ number: Int) -> Quantity { Quantity(ExactDecimal(number)) }

    @Test(arguments: kinds, scripts)
    func `an exit is accepted once, whatever becomes of its request`(
        kind: Kind,
        script: [FakeVenue.Answer],
    ) async throws {
        let cluster = Cluster(venue: kind.rules)
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        cluster.venue.script(script)
        try await cluster.run(["w1", "w2"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.exited == quantity(10) && ended.health == .ok)
        }
        // Whatever is still under way finds nothing to take, or no way in.
        while cluster.venue.underWay > 0 {
            try await cluster.clock.sleep(milliseconds: 100)
            _ = cluster.venue.accepted
        }
        let accepted = cluster.venue.accepted
        #expect(Set(accepted).count == accepted.count, "an id was accepted twice")
        #expect(cluster.venue.executed(.sell, ids: Set(accepted)) == quantity(10))
    }

    @Test func `without a deadline a late twin takes nothing from a reduce-only exit`() async throws {
        let cluster = Cluster(venue: Kind(.neither, .notEnforced, fenceMs: 2_000, windowMs: 1_000).rules)
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        cluster.venue.script([.parked])
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.exited == quantity(10) && ended.attempts[.stop] == 2)
        }
        cluster.venue.release()
        #expect(cluster.venue.accepted.count == 1 && cluster.venue.underWay == 0)
    }

    @Test func `without a deadline the absence of an entry proves nothing, and somebody should look`() async throws {
        let cluster = Cluster(venue: Kind(.neither, .openOrders, fenceMs: 1_500, windowMs: 1_000).rules)
        try await cluster.setUp()
        cluster.venue.setPosition(.zero)
        cluster.venue.script([.parked])
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.bought(stop: 95)).id
            let asked = try await cluster.wait(for: id) { $0.attention.contains(.venueNoDeadline) }
            #expect(asked.status == .pending && asked.health == .needsAttention)
            #expect(cluster.venue.requests == 1)
            // It comes after all.
            cluster.venue.release()
            let open = try await cluster.wait(for: id) { $0.status == .active }
            #expect(open.attention.isEmpty && open.entered == quantity(10) && cluster.venue.accepted.count == 1)
        }
        #expect(cluster.venue.requests == 1)
    }

    @Test func `without a deadline a person's word ends what nothing proves`() async throws {
        let cluster = Cluster(venue: Kind(.neither, .openOrders, fenceMs: 1_500, windowMs: 1_000).rules)
        try await cluster.setUp()
        cluster.venue.setPosition(.zero)
        cluster.venue.script([.loseRequest])
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.bought(stop: 95)).id
            _ = try await cluster.wait(for: id) { $0.attention.contains(.venueNoDeadline) }
            #expect(cluster.venue.requests == 1)
            let actor = Actor(kind: .operator, id: "ada")
            let key = VenueOrderKey(leg: .entry, attempt: 1)
            let resolved = try await cluster.service().resolve(id, key, as: .absent, actor: actor)
            #expect(resolved.smart?.attention.isEmpty == true)
        }
    }

    @Test func `where an id returns its first order, the same request is the look-up`() async throws {
        var rules = Kind(.repeatable(), .returnsFirst, fenceMs: 60_000, windowMs: 50_000).rules
        // No order is found by our id.
        rules.forgetsEnded = true
        let cluster = Cluster(venue: rules)
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        cluster.venue.script([.loseAnswer, .loseAnswer])
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.exited == quantity(10) && ended.attempts[.stop] == 1)
            #expect(cluster.venue.requests == 3 && cluster.venue.accepted.count == 1)
        }
    }

    @Test func `a wish that no longer holds is not repeated`() async throws {
        let cluster = Cluster(venue: Kind(.repeatable(), .returnsFirst, fenceMs: 6_000, windowMs: 5_000).rules)
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        cluster.venue.script([.loseRequest])
        cluster.venue.setBlind(true)
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held([(105, 50), (120, 50)], stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(105)
            _ = try await cluster.wait(for: id) { $0.venueOrders.first?.state == .unknown }
            try await cluster.tick(94)
            _ = try await cluster.wait(for: id) { $0.latch != nil }
            cluster.venue.setBlind(false)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.exited == quantity(10))
            let target = cluster.identity.clientOrderID(id, VenueOrderKey(leg: .takeProfit(1), attempt: 1))
            #expect(!cluster.venue.accepted.contains(target))
        }
        #expect(cluster.venue.executed(.sell, ids: Set(cluster.venue.accepted)) == quantity(10))
    }

    /// Gate and Kraken do not find a filled order by our id (HO1).
    @Test func `an absence that executions contradict is none`() async throws {
        var rules = Kind(.deadline(needsWitness: true), .openOrders, fenceMs: 500).rules
        rules.forgetsEnded = true
        let cluster = Cluster(venue: rules)
        try await cluster.setUp()
        cluster.venue.setPosition(nil)
        cluster.venue.script([.loseAnswer])
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(94)
            let asked = try await cluster.wait(for: id) { $0.attention.contains(.exitUnresolved) }
            #expect(asked.exited.isZero && asked.remaining == quantity(10))
            #expect(cluster.venue.requests == 1 && cluster.venue.accepted.count == 1)
        }
    }

    /// RELIABILITY.md 6.7, FA99.
    @Test func `a venue that breaks its own deadline is seen, and the order says so`() async throws {
        var rules = Kind(.deadline(), .openOrders, fenceMs: 300).rules
        rules.keepsDeadlines = false
        rules.clampsReduceOnly = false
        let cluster = Cluster(venue: rules)
        try await cluster.setUp()
        cluster.venue.script([.parked])
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.exited == quantity(10) && ended.health == .ok)
            cluster.venue.release()
            let known = try await cluster.wait(for: id) { $0.exited == quantity(20) }
            #expect(known.status == .stopped && known.attention == [.overExit] && known.health == .needsAttention)
        }
    }

    @Test(arguments: [Attention.venueTLS, .venueClock])
    func `what keeps requests from leaving is said as long as it does`(cause: Attention) async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setTrouble([cause])
        cluster.venue.script(Array(repeating: .keepBack, count: 3))
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(94)
            let waiting = try await cluster.wait(for: id) { $0.attention.contains(cause) }
            #expect(waiting.latch != nil && waiting.health == .needsAttention)
            cluster.venue.setTrouble([])
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.exited == quantity(10) && cluster.venue.accepted.count == 1)
        }
    }

    @Test func `an order of our form that nobody knows is an alarm`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let stranger = cluster.identity.clientOrderID(OrderID(UniqueID(high: 7, low: 7)), Self.key)
        try await cluster.run(["w1"]) {
            _ = try await cluster.create(.held(stop: 95))
            try await cluster.settle()
            while !cluster.observer.errors.contains(where: { $0.contains("UNKNOWN_VENUE_ORDER") }) {
                for id in ["mine", stranger] {
                    let snapshot = VenueSnapshot(
                        venueOrderID: "1",
                        clientOrderID: id,
                        state: .open,
                        filled: .zero,
                        fills: [],
                    )
                    cluster.venue.tell(
                        .order(clientOrderID: id, market: cluster.instrument.market, snapshot: snapshot)
                    )
                }
                try await cluster.clock.sleep(milliseconds: 500)
            }
            #expect(!cluster.observer.errors.contains { $0.contains("mine") })
        }
    }

    @Test func `a job that ends its workers is said, until one comes through`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let id = try await cluster.create(.held(stop: 95)).id
        let context = cluster.context("w1")
        let worker = OrderWorker(
            context: context,
            history: PriceHistory(ticks: context.ticks, cluster: context.cluster),
            committer: CommitBatcher(store: context.orders, clock: context.clock),
        )
        await worker.notePoison(id, isRaised: true)
        await worker.notePoison(id, isRaised: true)
        let poisoned = try await cluster.order(id)
        #expect(poisoned.attention == [.poison] && poisoned.health == .needsAttention && poisoned.version == 2)
        await worker.notePoison(id, isRaised: false)
        #expect(try await cluster.order(id).health == .ok)
        try await cluster.expectReplayable()
    }
}

extension Draft {
    /// Ten coins that are bought at market first.
    fileprivate static func bought(stop: Int) -> Draft {
        Draft(
            side: .buy,
            quantity: Quantity(ExactDecimal(10)),
            entry: EntryPlan(mode: .market),
            stopLoss: StopLossPlan(price: Price(ExactDecimal(stop))),
        )
    }
}
