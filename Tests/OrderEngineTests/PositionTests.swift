// What happens outside an order reaches it (ORDERS.md R16, R17, R20, 5.3, 6.1).
import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

@Suite(.serialized) struct `Positions and orders` {
    private func quantity(_ value: Int) -> Quantity { Quantity(ExactDecimal(value)) }
    private func price(_ value: Int) -> Price { Price(ExactDecimal(value)) }

    private func told(_ cluster: Cluster, _ position: Int, average: Int? = nil) {
        let average = average.map { price($0) }
        cluster.venue.setPosition(ExactDecimal(position), average: average)
        cluster.venue.tell(
            .position(
                market: cluster.instrument.market,
                side: nil,
                Holding(quantity: ExactDecimal(position), average: average, asOf: cluster.clock.now()),
            )
        )
    }

    @Test(arguments: [(0, CloseReason.positionClosedExternally), (-5, .positionFlipped)])
    func `flat or flipped elsewhere: cancelled, nothing sent`(_ row: (Int, CloseReason)) async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(20))
        try await cluster.run(["w1", "w2"]) {
            let one = try await cluster.create(.held([(105, 100)], stop: 95)).id
            let two = try await cluster.create(.held(stop: 90)).id
            try await cluster.settle()
            told(cluster, row.0)
            for id in [one, two] {
                let ended = try await cluster.wait(for: id, seconds: 60) { $0.status.isTerminal }
                #expect(ended.status == .cancelled && ended.closeReason == row.1)
                #expect(ended.remaining.isZero || ended.writtenOff == quantity(10))
            }
            #expect(cluster.venue.requests == 0)
            let causes = try await cluster.orders.events(order: one, after: 1, limit: 9).map(\.cause)
            #expect(causes.contains(.position))
        }
    }

    @Test func `a position that is closed while nobody listens is noticed when the stream opens`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        let id = try await cluster.create(.held(stop: 95)).id
        cluster.venue.setPosition(.zero)
        try await cluster.run(["w1"]) {
            let ended = try await cluster.wait(for: id, seconds: 60) { $0.status.isTerminal }
            #expect(ended.closeReason == .positionClosedExternally && cluster.venue.requests == 0)
        }
    }

    /// An order whose target rests at the venue.
    private func restingTarget(_ cluster: Cluster) async throws -> OrderID {
        var draft = Draft.held([(105, 100)], stop: 90)
        draft.takeProfits[0].execution = .limit
        draft.takeProfits[0].limitPrice = price(106)
        let id = try await cluster.create(draft).id
        try await cluster.settle()
        try await cluster.tick(105)
        _ = try await cluster.wait(for: id, seconds: 60) { $0.venueOrders.first?.state == .open }
        return id
    }

    @Test func `a resting exit that filled in a gap of the stream is found when it opens again`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            let id = try await restingTarget(cluster)
            cluster.venue.fillPart(quantity(4))
            cluster.venue.tell(.interrupted)
            let found = try await cluster.wait(for: id, seconds: 60) { $0.exited == quantity(4) }
            #expect(found.status == .active)
        }
    }

    @Test func `what fills between two gaps of the stream is found after the second one`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            let id = try await restingTarget(cluster)
            // A gap in which nothing happened; the looks that follow it end with one that is a minute before the next.
            cluster.venue.tell(.interrupted)
            try await cluster.clock.sleep(milliseconds: 10_000)
            // Two more within five seconds.
            try await cluster.clock.sleep(milliseconds: 5_050 - cluster.clock.now().milliseconds % 5_000)
            cluster.venue.tell(.interrupted)
            try await cluster.clock.sleep(milliseconds: 2_300)
            cluster.venue.fillPart(quantity(4))
            let begun = cluster.clock.now().milliseconds
            cluster.venue.tell(.interrupted)
            _ = try await cluster.wait(for: id, seconds: 60) { $0.exited == quantity(4) }
            #expect(cluster.clock.now().milliseconds - begun < 30_000, "not by the look that comes once a minute")
        }
    }

    @Test func `a reading from before our own fill says nothing`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        // The venue's answers stand still at a moment before the entry.
        cluster.venue.setPosition(.zero, asOf: cluster.clock.now())
        try await cluster.run(["w1"]) {
            var draft = Draft.held([(105, 100)], stop: 95)
            draft.entry = EntryPlan(mode: .market)
            let id = try await cluster.create(draft).id
            _ = try await cluster.wait(for: id, seconds: 60) { $0.status == .active }
            let readings = cluster.venue.readings
            cluster.venue.tell(.interrupted)
            while cluster.venue.readings < readings + 3 { try await cluster.clock.sleep(milliseconds: 100) }
            #expect(try await cluster.order(id).status == .active)
            // Nor does it keep the stop from taking everything.
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id, seconds: 60) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.exited == quantity(10) && ended.writtenOff.isZero)
        }
    }

    @Test func `an exit is fitted to the position, what is gone is written off`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held([(120, 100)], stop: 95)).id
            try await cluster.settle()
            cluster.venue.setPosition(ExactDecimal(3))
            try await cluster.tick(95)
            let ended = try await cluster.wait(for: id, seconds: 60) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.closeReason == .stopLoss)
            #expect(ended.exited == quantity(3) && ended.writtenOff == quantity(7))
            #expect(cluster.venue.position == .zero && cluster.venue.requests == 1)
        }
    }

    @Test func `close at market sells what is there`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            cluster.venue.setPosition(ExactDecimal(4))
            let actor = Actor(kind: .user, id: "u")
            _ = try await cluster.service().execute(.closeMarket, on: id, version: nil, actor: actor)
            let ended = try await cluster.wait(for: id, seconds: 60) { $0.status.isTerminal }
            #expect(ended.status == .closed && ended.closeReason == .manualClose)
            #expect(ended.exited == quantity(4) && ended.writtenOff == quantity(6))
        }
    }

    @Test func `an order of the position's size follows it`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10), average: price(100))
        try await cluster.run(["w1"]) {
            var draft = Draft.held([(105, 100)], stop: 90)
            draft.sizeMode = .position
            draft.entry.price = nil
            let id = try await cluster.create(draft).id
            try await cluster.settle()
            told(cluster, 15, average: 101)
            let grown = try await cluster.wait(for: id, seconds: 60) { $0.remaining == quantity(15) }
            #expect(grown.averageEntry?.rounded == price(101) && grown.levels[0].planned == quantity(15))
            told(cluster, 12, average: 101)
            _ = try await cluster.wait(for: id, seconds: 60) { $0.levels[0].planned == quantity(12) }
            try await cluster.tick(105)
            let ended = try await cluster.wait(for: id, seconds: 60) { $0.status.isTerminal }
            #expect(ended.closeReason == .allTakeProfitsFilled && cluster.venue.position == .zero)
        }
    }

    @Test func `exits that rest for others come first, and the rest goes as soon as they are gone`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(20))
        try await cluster.run(["w1"]) {
            var resting = Draft.held([(105, 100)], stop: 80)
            resting.takeProfits[0].execution = .limit
            resting.takeProfits[0].limitPrice = price(110)
            let one = try await cluster.create(resting).id
            let two = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            try await cluster.tick(105)
            _ = try await cluster.wait(for: one, seconds: 60) { $0.venueOrders.first?.state == .open }
            // Seven are taken elsewhere: ten rest for the first order, three are there for the second.
            cluster.venue.setPosition(ExactDecimal(13))
            try await cluster.settle()
            try await cluster.tick(95)
            let ended = try await cluster.wait(for: two, seconds: 60) {
                $0.exited == quantity(3) || $0.status.isTerminal
            }
            #expect(ended.exited == quantity(3) && ended.status == .active)
            let actor = Actor(kind: .user, id: "u")
            _ = try await cluster.service().execute(.cancel, on: one, version: nil, actor: actor)
            let flat = try await cluster.wait(for: two, seconds: 60) { $0.status.isTerminal }
            #expect(flat.status == .stopped && flat.exited == quantity(10))
        }
    }

    // MARK: Creation

    private func refusal(_ body: () async throws -> SmartOrder) async throws -> RefusalCode? {
        do {
            _ = try await body()
            return nil
        } catch let error as CommandError {
            guard case .refused(let all) = error else { throw error }
            return all.first?.code
        }
    }

    @Test func `what is not there or is managed cannot be attached`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(15), average: price(99))
        _ = try await cluster.create(.held(stop: 95))
        #expect(try await refusal { try await cluster.create(.held(stop: 95, quantity: 6)) } == .noPosition)
        var plain = Draft.held(stop: 95, quantity: 5)
        plain.entry.price = nil
        // The venue's average stands in for one that is not given.
        #expect(try await cluster.create(plain).averageEntry?.rounded == price(99))
        var short = Draft.held(stop: 105, quantity: 1)
        short.side = .sell
        #expect(try await refusal { try await cluster.create(short) } == .noPosition)
        var entered = Draft.held(stop: 105, quantity: 1)
        entered.side = .sell
        entered.entry = EntryPlan(mode: .market)
        #expect(try await refusal { try await cluster.create(entered) } == .positionSideConflict)
    }

    @Test func `a position has one order that follows it`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(20), average: price(100))
        var draft = Draft.held([(105, 100)], stop: 95)
        draft.sizeMode = .position
        #expect(try await cluster.create(draft).remaining == quantity(20))
        #expect(try await refusal { try await cluster.create(draft) } == .positionTPSLExists)
    }

    @Test func `a resting order is adopted, followed, cancelled, or left`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPrice(price(100))
        @Sendable func rest(_ name: String) async -> String {
            let answer = await cluster.venue.place(
                Placement(
                    market: cluster.instrument.market,
                    clientOrderID: name,
                    side: .buy,
                    type: .goodTillCancelled,
                    quantity: quantity(10),
                    limit: price(98),
                    reduceOnly: false,
                    isExit: false,
                    t0: cluster.clock.now(),
                    windowMs: 2_000,
                )
            )
            guard case .accepted(let snapshot) = answer else { return "" }
            return snapshot.venueOrderID
        }
        @Sendable func adopting(_ id: String) -> Draft {
            var draft = Draft.held([(105, 100)], stop: 95)
            draft.entry = EntryPlan(mode: .attach, venueOrder: id)
            return draft
        }
        let (one, two) = (await rest("hand-1"), await rest("hand-2"))
        let actor = Actor(kind: .user, id: "u")
        try await cluster.run(["w1"]) {
            #expect(try await refusal { try await cluster.create(adopting("v99")) } == .entryNotAdoptable)
            let first = try await cluster.create(adopting(one))
            #expect(first.status == .pending && first.phase == .entryWorking)
            #expect(try await refusal { try await cluster.create(adopting(one)) } == .entryNotAdoptable)
            let second = try await cluster.create(adopting(two))
            _ = try await cluster.service().execute(.cancel, on: second.id, version: nil, actor: actor)
            _ = try await cluster.wait(for: second.id, seconds: 60) { $0.status == .cancelled }
            #expect(await cluster.venue.state(of: "hand-2") == .cancelled)
            try await cluster.tick(98)
            cluster.venue.tell(.interrupted)
            let filled = try await cluster.wait(for: first.id, seconds: 60) { $0.status == .active }
            #expect(filled.remaining == quantity(10) && filled.averageEntry?.rounded == price(98))
            cluster.venue.setPrice(price(100))
            let third = try await cluster.create(adopting(await rest("hand-3")))
            _ = try await cluster.service().execute(.cancelLeavingEntry, on: third.id, version: nil, actor: actor)
            _ = try await cluster.wait(for: third.id, seconds: 60) { $0.status == .cancelled }
            #expect(await cluster.venue.state(of: "hand-3") == .open)
        }
    }

    // MARK: Refresh, attention, halts

    @Test func `refresh tells what the venue has otherwise`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        try await cluster.run(["w1"]) {
            var draft = Draft.held([(105, 50), (120, 50)], stop: 90)
            draft.takeProfits[0].execution = .limit
            draft.takeProfits[0].limitPrice = price(106)
            let id = try await cluster.create(draft).id
            try await cluster.settle()
            #expect(try await cluster.service().refresh(id, version: nil).differences.isEmpty)
            try await cluster.tick(105)
            _ = try await cluster.wait(for: id, seconds: 60) { $0.venueOrders.first?.state == .open }
            cluster.venue.fillPart(quantity(2))
            let (order, differences) = try await cluster.service().refresh(id, version: nil)
            #expect(order.exited == quantity(2))
            #expect(differences.contains { $0.kind == .fill && $0.found == "2" })
            cluster.queue.setAway(true)
            cluster.venue.setPosition(.zero)
            let ended = try await cluster.service().refresh(id, version: nil)
            #expect(ended.differences.contains { $0.kind == .status || $0.kind == .venueOrder })
            _ = try await cluster.wait(for: id, seconds: 60) { $0.closeReason == .positionClosedExternally }
            #expect(try await cluster.service().refresh(id, version: nil).differences.isEmpty)
        }
    }

    @Test func `less than the orders own is a mismatch until it fits again`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        cluster.venue.setPosition(ExactDecimal(10))
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 80)).id
            try await cluster.settle()
            told(cluster, 6)
            let wrong = try await cluster.wait(for: id, seconds: 60) { $0.health == .needsAttention }
            #expect(
                wrong.attention == [.positionMismatch] && wrong.status == .active && wrong.remaining == quantity(10)
            )
            told(cluster, 12)
            _ = try await cluster.wait(for: id, seconds: 60) { $0.health == .ok }
        }
    }

    @Test func `a stop that is held says so until it leaves`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            let id = try await cluster.create(.held(stop: 95)).id
            try await cluster.settle()
            cluster.database.setHalted(true)
            try await cluster.tick(94)
            _ = try await cluster.wait(for: id, seconds: 60) { $0.attention == [.stopHeld] }
            cluster.database.setHalted(false)
            let ended = try await cluster.wait(for: id, seconds: 60) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.health == .ok)
        }
    }

    @Test func `a halt after the commit still keeps the request back`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let watch = HaltWatch(context: cluster.context("w1"))
        let order = try await cluster.create(.held(stop: 95))
        let exit = VenueOrder(
            leg: .stop,
            attempt: 1,
            side: .sell,
            type: .immediateOrCancel,
            quantity: quantity(10),
            limit: nil,
            reduceOnly: true,
            createdAt: order.createdAt,
        )
        #expect(await watch.allows(exit, of: .smart(order)))
        cluster.database.setHalted(true)
        try await cluster.clock.sleep(milliseconds: 300)
        #expect(await !watch.allows(exit, of: .smart(order)))
        cluster.database.setHalted(false)
        try await cluster.clock.sleep(milliseconds: 300)
        #expect(await watch.allows(exit, of: .smart(order)))
        // Who cannot read the halts sends nothing once the last word is a second old.
        cluster.kill("w1")
        try await cluster.clock.sleep(milliseconds: 1_100)
        #expect(await !watch.allows(exit, of: .smart(order)))
    }

    @Test(arguments: [
        (HaltInForce(scope: .cluster, level: .entries), false, true),
        (HaltInForce(scope: .cluster, level: .sends), true, true),
        (HaltInForce(scope: .venue, subject: "paper", level: .sends), true, true),
        (HaltInForce(scope: .venue, subject: "other", level: .sends), false, false),
        (HaltInForce(scope: .market, subject: "paper:linear:DEMO", level: .sends), true, true),
        (HaltInForce(scope: .account, subject: "\(AccountID.sample(1))", level: .entries), false, true),
        (HaltInForce(scope: .order, subject: "\(OrderID.sample(2))", level: .sends), false, false),
    ])
    func `a halt forbids what is in its scope`(_ row: (HaltInForce, exit: Bool, entry: Bool)) {
        let market = MarketID(venue: "paper", product: "linear", symbol: "DEMO")
        func forbids(_ isExit: Bool) -> Bool {
            row.0.forbids(isExit: isExit, order: .sample(1), account: .sample(1), market: market)
        }
        #expect(forbids(true) == row.exit && forbids(false) == row.entry)
    }

    @Test func `hints keep the newest word on a position`() {
        let hints = PositionHints()
        let market = MarketID(venue: "paper", product: "linear", symbol: "DEMO")
        func holding(_ quantity: Int, _ time: Int64) -> Holding {
            Holding(quantity: ExactDecimal(quantity), asOf: Timestamp(milliseconds: time))
        }
        hints.note(market, nil, holding(5, 2))
        hints.note(market, nil, holding(9, 1))
        hints.note(market, .buy, holding(7, 1))
        hints.ask(.everything)
        hints.ask(.positions)
        let (extent, told) = hints.take()
        #expect(extent == .everything && told.map(\.1.quantity) == [ExactDecimal(5), ExactDecimal(7)])
        hints.note(market, nil, holding(3, 3))
        hints.keep(told[0].0, told[0].1)
        #expect(hints.take().told.map(\.1.quantity) == [ExactDecimal(3)])
        #expect(hints.take().told.isEmpty)
    }
}
