import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// FA109, through the whole engine: the catalogue is read again while legs are armed.
@Suite(.serialized) struct `A tick size that changes` {
    /// Prices wander; what fires, and where, is what the order said before the market changed.
    @Test(arguments: [("0.01", "0.5"), ("0.5", "0.01"), ("0.05", "0.02")], 0..<6 as Range<UInt64>)
    func `armed legs fire where they stood, exits fit the new grid`(
        _ ticks: (String, String),
        seed: UInt64,
    ) async throws {
        let cluster = Cluster(seed: seed, speed: 20)
        try await cluster.setUp()
        let old = try cluster.instrument(tickSize: ticks.0)
        let new = try cluster.instrument(tickSize: ticks.1)
        let catalogue = MemoryAccountStore(cluster.database)
        try await catalogue.save([old])
        var random = SeededRandom(seed: seed)
        let order = try await cluster.create(.held(stop: 60, trailing: Int128.random(in: 11...39, using: &random)))
        // A second one that changes on its way: it is armed again after it has heard of the new market.
        let plan = Draft.held(stop: 60, trailing: Int128.random(in: 11...39, using: &random))
        let other = try await cluster.create(plan.with(sizes: [40, 60], at: [101, 190]))
        try await catalogue.save([new])
        #expect(order.instrument == old && order.instrument.tickSize != new.tickSize)

        var path: [Int] = [10_100]
        var price = 10_100
        for _ in 0..<150 {
            price = max(5_000, price + Int.random(in: -90...90, using: &random))
            path.append(price)
        }
        path.append(6_100)
        // The core, tick by tick, on the old grid.
        var direct = order
        var expected: Latch?
        for (index, cent) in path.enumerated() where expected == nil {
            let moment = Moment(
                now: order.createdAt,
                price: Price(ExactDecimal(mantissa: Int128(cent), scale: 2)),
                position: TickPosition(venueTime: order.extremePosition.venueTime, sequence: Int64(index + 2)),
            )
            if let decision = try direct.decide(.tick, at: moment) {
                direct = decision.next
            } else {
                direct.absorb(extreme: moment.price ?? .zero, upTo: moment.position)
            }
            expected = direct.latch
        }
        let latched = try #require(expected)
        let chunk = 1 + Int(seed % 90)
        let prices = path
        try await cluster.run(["w1"]) {
            try await cluster.tick([prices[0]])
            // The venue still trades there.
            _ = try await cluster.wait(for: other.id) { $0.levels[0].state == .filled }
            for start in stride(from: 1, to: prices.count, by: chunk) {
                try await cluster.tick(Array(prices[start..<min(start + chunk, prices.count)]))
            }
            let ended = try await cluster.wait(for: order.id) { $0.status.isTerminal }
            let latch = try #require(ended.latch)
            #expect(latch.price == latched.price && latch.kind == latched.kind, "seed \(seed)")
            #expect(latch.position.sequence == latched.position.sequence, "seed \(seed)")
            #expect(ended.instrument.tickSize == new.tickSize && ended.instrument.armedTick == old.tickSize)
            let second = try await cluster.wait(for: other.id) { $0.status.isTerminal }
            #expect(second.status == .stopped && second.levels[0].state == .filled)
        }
        for placed in cluster.venue.placements {
            let limit = try #require(placed.limit)
            #expect(limit.value.isMultiple(of: new.tickSize.value), "\(limit) is off the new grid, seed \(seed)")
        }
        for id in [order.id, other.id] {
            let versions = try await MemoryTimelineStore(cluster.database).versions(of: id, after: 0, limit: 1_000)
            let told = versions.flatMap(\.facts).filter { if case .marketChanged = $0 { true } else { false } }
            #expect(told == [.marketChanged(from: old.terms, to: new.terms)], "seed \(seed)")
        }
    }

    @Test func `a command meets the market as it is`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let order = try await cluster.create(.held(stop: 60))
        try await MemoryAccountStore(cluster.database).save([try cluster.instrument(tickSize: "0.005")])
        var edit = OrderEdit()
        edit.stopLoss = StopLossPlan(price: Price(ExactDecimal(mantissa: 95_005, scale: 3)))
        let answer = try await cluster.service().execute(
            .edit(edit),
            on: order.id,
            version: order.version,
            actor: Actor(kind: .user, id: "u"),
        )
        #expect(answer.order.effectiveStop?.price == Price(ExactDecimal(mantissa: 95_005, scale: 3)))
        try await cluster.expectReplayable()
    }

    /// A tick finer than the unit of stored prices needs more than a catalogue.
    @Test func `terms that would change the unit of prices are not taken`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let order = try await cluster.create(.held(stop: 60))
        try await MemoryAccountStore(cluster.database).save([try cluster.instrument(tickSize: "0.000000001")])
        #expect(await cluster.context("w1").markets.news(for: .smart(order)) == nil)
    }

    @Test func `a venue's markets are read again, and what differs is stored`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let duty = CatalogueDuty(context: cluster.context("w1"))
        let accounts = MemoryAccountStore(cluster.database)
        #expect(try await duty.readAgain() == 0)
        let new = try cluster.instrument(tickSize: "0.5")
        cluster.venue.list([new])
        #expect(try await duty.readAgain() == 1)
        #expect(try await accounts.instruments() == [new])
        #expect(try await duty.readAgain() == 0)
        cluster.venue.list([try cluster.instrument(tickSize: "0.0000000001")])
        #expect(try await duty.readAgain() == 0)
        #expect(try await accounts.instruments() == [new])
        #expect(cluster.observer.errors.count == 1)
    }

    @Test func `what is known of a market lives ten seconds, or until a venue refuses`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let order = StoredOrder.smart(try await cluster.create(.held(stop: 60)))
        let accounts = MemoryAccountStore(cluster.database)
        let clock = ManualClock()
        let markets = MarketWatch(accounts: accounts, clock: clock)
        #expect(await markets.news(for: order) == nil)
        let new = try cluster.instrument(tickSize: "0.5")
        try await accounts.save([new])
        #expect(await markets.news(for: order) == nil)
        clock.advance(milliseconds: 10_000)
        #expect(await markets.news(for: order) == new.terms)
        let newer = try cluster.instrument(tickSize: "0.1")
        try await accounts.save([newer])
        #expect(await markets.news(for: order) == new.terms)
        #expect(!markets.wasDoubted())
        markets.doubt()
        #expect(await markets.news(for: order) == newer.terms)
        #expect(markets.wasDoubted() && !markets.wasDoubted())
    }
}

extension Cluster {
    fileprivate func instrument(tickSize: String) throws -> Instrument {
        Instrument(
            market: instrument.market,
            kind: instrument.kind,
            tickSize: Price(try #require(ExactDecimal(tickSize))),
            stepSize: instrument.stepSize,
            baseAsset: instrument.baseAsset,
            quoteAsset: instrument.quoteAsset,
            native: instrument.native,
        )
    }
}

extension Draft {
    fileprivate func with(sizes: [Int], at prices: [Int]) -> Draft {
        var draft = self
        draft.takeProfits = zip(prices, sizes).map {
            TakeProfitPlan(target: .price(Price(ExactDecimal($0))), sizePercent: ExactDecimal($1))
        }
        return draft
    }
}
