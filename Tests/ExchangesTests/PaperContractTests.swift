// What the engine relies on when it asks a venue for something, against the real paper venue on all kinds of account.

import JSONText
import OrderEngine
import PaperVenue
import SmartOrders
import TestKit
import Testing

@testable import Exchanges

@Suite struct PaperContractTests {
    @Test(arguments: AccountKind.allCases)
    func `an IOC that fills tells its executions with price and fee by coin`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            let answer = await rig.venue.place(rig.placement("i1", .buy, .immediateOrCancel, "2", limit: "110"))
            let filled = try #require(answer.snapshot, "\(answer)")
            #expect(filled.clientOrderID == "i1" && filled.state == .filled && filled.filled == Quantity("2"))
            #expect(filled.fills.map(\.quantity) == [Quantity(dec("2"))])
            #expect(filled.fills.map(\.price) == [Price(dec("100"))])
            #expect(filled.fills.map(\.isMaker) == [false])
            // Spot takes 0.2 % of the coins received, futures 0.05 % of the value.
            #expect(filled.fills.map(\.feeAsset) == [kind == .spot ? .base : .quote])
            #expect(filled.fills.map(\.fee) == [dec(kind == .spot ? "0.004" : "0.1")])
            #expect(await rig.lookUp("i1").snapshot?.fills.map(\.venueFillID) == filled.fills.map(\.venueFillID))
            let exit = await rig.venue.place(rig.placement("i2", .sell, .market, "1", isExit: true))
            #expect(exit.snapshot?.state == .filled)
            #expect(exit.snapshot?.fills.map(\.feeAsset) == [.quote])
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `what an IOC cannot fill expires with what it got`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "0.5")
            let answer = await rig.venue.place(rig.placement("p1", .buy, .immediateOrCancel, "2", limit: "105"))
            #expect(answer.snapshot?.state == .expired && answer.snapshot?.filled == Quantity("0.5"))
            let none = await rig.venue.place(rig.placement("p2", .buy, .immediateOrCancel, "2", limit: "95"))
            #expect(none.snapshot?.state == .expired && none.snapshot?.filled == .zero)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `a GTC rests, fills as maker, and a cancel comes too late`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            #expect(await rig.lookUp("g1") == .notFound)
            let answer = await rig.venue.place(rig.placement("g1", .buy, .goodTillCancelled, "2", limit: "95"))
            #expect(answer.snapshot?.state == .open && answer.snapshot?.filled == .zero)
            await rig.price("94", "1.5")
            let part = await rig.lookUp("g1").snapshot
            #expect(part?.state == .open && part?.filled == Quantity("1.5"))
            #expect(part?.fills.map(\.isMaker) == [true])
            await rig.price("94", "50")
            let whole = await rig.lookUp("g1").snapshot
            #expect(whole?.state == .filled && whole?.fills.map(\.price) == [Price(dec("95")), Price(dec("95"))])
            #expect(whole?.fills.map(\.feeAsset) == Array(repeating: kind == .spot ? .base : .quote, count: 2))
            #expect(await rig.cancel("g1") == .notOpen)
            #expect(await rig.cancel("nobody") == .notOpen)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `a cancel ends a resting order and tells what it had filled`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            _ = await rig.venue.place(rig.placement("c1", .buy, .goodTillCancelled, "2", limit: "95"))
            await rig.price("95", "0.5")
            let ended = await rig.cancel("c1").snapshot
            #expect(ended?.clientOrderID == "c1" && ended?.state == .cancelled && ended?.filled == Quantity("0.5"))
            #expect(ended?.fills.map(\.quantity) == [Quantity(dec("0.5"))])
            #expect(await rig.lookUp("c1").snapshot?.state == .cancelled)
            #expect(await rig.cancel("c1") == .notOpen)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `an id is a duplicate while its order is open`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            let resting = rig.placement("d1", .buy, .goodTillCancelled, "1", limit: "95")
            #expect(await rig.venue.place(resting).snapshot != nil)
            #expect(await rig.venue.place(resting) == .duplicate)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `refusals are definite and say why`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "500000")
            func refusal(_ placement: Placement) async -> VenueNews.RefusalKind? {
                await rig.venue.place(placement).refusal
            }
            let rich = rig.placement("r1", .buy, .immediateOrCancel, "100000", limit: "105")
            #expect(await refusal(rich) == .insufficientBalance)
            let far = rig.placement("r2", .buy, .goodTillCancelled, "1", limit: "300")
            #expect(await refusal(far) == .priceOutOfBand)
            #expect(await refusal(rig.placement("r3", .buy, .goodTillCancelled, "0.01", limit: "99")) == .rejected)
            let now = rig.venue.venueTime()
            for late in [now.advanced(milliseconds: -5_000), now.advanced(milliseconds: 5_000)] {
                let stale = rig.placement("r4", .buy, .market, "1", t0: late)
                #expect(await refusal(stale) == .rateLimited)
            }
            try await rig.control(#"{"revokedKeys":["demo"]}"#)
            #expect(await refusal(rig.placement("r5", .buy, .market, "1")) == .credentials)
            try await rig.control(#"{"revokedKeys":[]}"#)
            // A limit that does not say how long it lasts; one that does keeps everything here.
            try await rig.control(#"{"rules":[{"do":"rateLimit","on":"place","times":1,"retryAfter":0}]}"#)
            #expect(await refusal(rig.placement("r6", .buy, .market, "1")) == .rateLimited)
            for id in ["r1", "r2", "r3", "r4", "r5", "r6"] { #expect(await rig.lookUp(id) == .notFound) }
        }
    }

    @Test func `without a position there is nothing to reduce`() async throws {
        try await withRig(.oneWay) { rig async throws in
            await rig.price("100", "50")
            let answer = await rig.venue.place(rig.placement("x1", .sell, .market, "1", isExit: true))
            #expect(answer.refusal == .rejected)
        }
    }

    @Test func `a refused connection sent nothing`() async throws {
        try await withRig(.spot) { rig async throws in
            let nobody = BinanceVenue(
                endpoint: rig.endpoint(port: Int(RedisServer.freePort())),
                credentials: Credentials(key: "demo", secret: "demo-secret"),
                http: rig.http,
                clock: RealClock(),
            )
            let answer = await nobody.place(rig.placement("n1", .buy, .market, "1"))
            #expect(answer.isNotSent, "\(answer)")
            await #expect(throws: VenueError.self) { try await nobody.prepare() }
            #expect(await nobody.holding(market: rig.kind.market, side: .buy, fresh: true) == nil)
        }
    }

    struct Fault: Sendable {
        let rule: String
        let isExecuted: Bool
    }

    @Test(arguments: [
        Fault(rule: #""do":"dropAfter""#, isExecuted: true),
        Fault(rule: #""do":"dropBefore""#, isExecuted: false),
        Fault(rule: #""do":"closeAfter""#, isExecuted: true),
        Fault(rule: #""do":"closeBefore""#, isExecuted: false),
        Fault(rule: #""do":"errorAfter","status":502"#, isExecuted: true),
        Fault(rule: #""do":"errorBefore","status":503"#, isExecuted: false),
        Fault(rule: #""do":"errorAfter","code":-1007,"status":408"#, isExecuted: true),
        Fault(rule: #""do":"garbage""#, isExecuted: true),
    ])
    func `an answer that does not come is unknown, and a lookup tells the truth`(_ fault: Fault) async throws {
        try await withRig(.oneWay) { rig async throws in
            await rig.price("100", "50")
            try await rig.control("{\"rules\":[{\"on\":\"place\",\"times\":1,\(fault.rule)}]}")
            let answer = await rig.venue.place(rig.placement("u1", .buy, .immediateOrCancel, "2", limit: "105"))
            #expect(answer.isUnknown, "\(answer)")
            let found = await rig.lookUp("u1")
            if fault.isExecuted {
                #expect(found.snapshot?.state == .filled && found.snapshot?.fills.isEmpty == false)
            } else {
                #expect(found == .notFound)
            }
            try await rig.control(#"{"rules":[{"on":"lookup","times":1,"do":"errorBefore"}]}"#)
            guard case .failed = await rig.lookUp("u1") else {
                Issue.record("a lookup without an answer says nothing about the order")
                return
            }
        }
    }

    @Test func `an order whose executions cannot be read is not half told`() async throws {
        try await withRig(.oneWay) { rig async throws in
            await rig.price("100", "50")
            try await rig.control(#"{"rules":[{"on":"trades","times":1,"do":"errorBefore"}]}"#)
            #expect(await rig.venue.place(rig.placement("e1", .buy, .market, "2")).isUnknown)
            #expect(await rig.lookUp("e1").snapshot?.fills.count == 1)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `orders that fill at once are each told their own executions`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "500")
            // Those that come meanwhile are asked for together.
            try await rig.control(#"{"rules":[{"on":"trades","times":1,"do":"hold","minMs":200,"maxMs":200}]}"#)
            let filled = await withTaskGroup { group in
                for number in 1...20 {
                    group.addTask {
                        let order = rig.placement(
                            "m\(number)",
                            .buy,
                            .immediateOrCancel,
                            "0.\(100 + number)",
                            limit: "110",
                            windowMs: 30_000,
                        )
                        return (number, await rig.venue.place(order).snapshot)
                    }
                }
                var filled: [Int: VenueSnapshot] = [:]
                for await (number, snapshot) in group { filled[number] = snapshot }
                return filled
            }
            #expect(filled.count == 20)
            for (number, snapshot) in filled {
                #expect(snapshot.clientOrderID == "m\(number)")
                #expect(snapshot.fills.map(\.quantity) == [Quantity(dec("0.\(100 + number)"))])
            }
            #expect(Set(filled.values.flatMap(\.fills).map(\.venueFillID)).count == 20)
        }
    }

    @Test func `who places at the same moment shares a request and is told his own fate`() async throws {
        try await withRig(.oneWay) { rig async throws in
            await rig.price("100", "5000")
            var shared = 0
            for round in 0..<50 where shared == 0 {
                let placements = BinancePlacements(rig.venue.requests, rig.http, timeoutMs: 3_000)
                let told = await withTaskGroup { group in
                    for number in 0..<20 {
                        group.addTask {
                            // Every fourth is finer than the market takes.
                            let quantity = number % 4 == 3 ? "0.0000001" : "1.\(number)"
                            return (
                                number,
                                await placements.join(
                                    rig.placement(
                                        "r\(round)-\(number)",
                                        .buy,
                                        .immediateOrCancel,
                                        quantity,
                                        limit: "110",
                                        windowMs: 30_000,
                                    )
                                ),
                            )
                        }
                    }
                    var told: [(Int, BinancePlacements.Told)] = []
                    for await one in group { told.append(one) }
                    return told
                }
                for (number, one) in told {
                    switch one {
                    case .alone: #expect(await rig.lookUp("r\(round)-\(number)") == .notFound)
                    case .order(let field):
                        shared += 1
                        #expect(number % 4 != 3)
                        #expect(try field.string("clientOrderId") == "r\(round)-\(number)")
                        #expect(Quantity(try field.string("executedQty")) == Quantity("1.\(number)"))
                    case .error(let kind, _, _): #expect(number % 4 == 3 && kind == .invalidSize)
                    case .notSent, .unknown: Issue.record("\(one)")
                    }
                }
            }
            #expect(shared > 0)
        }
    }

    @Test func `of those who shared a request without an answer nobody is told more than that`() async throws {
        try await withRig(.oneWay) { rig async throws in
            await rig.price("100", "5000")
            try await rig.control(#"{"rules":[{"on":"place","do":"errorAfter","status":502}]}"#)
            let answers = await withTaskGroup { group in
                for number in 0..<20 {
                    group.addTask {
                        await rig.venue.place(rig.placement("n\(number)", .buy, .market, "1", windowMs: 30_000))
                    }
                }
                var answers: [PlacementAnswer] = []
                for await answer in group { answers.append(answer) }
                return answers
            }
            #expect(answers.count { $0.isUnknown } == 20)
            try await rig.control(#"{"rules":[]}"#)
            for number in 0..<20 { #expect(await rig.lookUp("n\(number)").snapshot?.filled == Quantity("1")) }
            #expect(await rig.venue.holding(market: rig.kind.market, side: .buy, fresh: true)?.quantity == dec("20"))
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `held is the position of a side, or the coins`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            func held(_ side: Side) async -> Holding? {
                await rig.venue.holding(market: kind.market, side: side, fresh: true)
            }
            await rig.price("100", "50")
            #expect(await held(.buy)?.quantity == (kind == .spot ? ExactDecimal(10) : .zero))
            _ = await rig.venue.place(rig.placement("h1", .sell, .market, "2"))
            #expect(await held(.sell)?.quantity == ExactDecimal(kind == .spot ? 8 : -2))
            #expect(await held(.sell)?.average == (kind == .spot ? nil : Price(dec("100"))))
            // A two-sided account now holds both sides.
            _ = await rig.venue.place(rig.placement("h2", .buy, .market, "3"))
            let coins = dec("10.994")
            switch kind {
            case .spot: #expect(await held(.buy)?.quantity == coins)
            case .oneWay: #expect(await held(.buy)?.quantity == ExactDecimal(1))
            case .hedged:
                #expect(await held(.buy)?.quantity == ExactDecimal(3))
                #expect(await held(.sell)?.quantity == ExactDecimal(-2))
            }
            #expect(await rig.venue.freeBalance(asset: "BTC") == (kind == .spot ? coins : nil))
            try await rig.control(#"{"down":"unavailable"}"#)
            #expect(await held(.buy) == nil)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `an order that somebody placed is found by the venue's own id`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            await rig.price("100", "50")
            let placed = await rig.venue.place(rig.placement("by-hand", .buy, .goodTillCancelled, "2", limit: "95"))
            let id = try #require(placed.snapshot?.venueOrderID)
            await rig.price("95", "0.5")
            let found = try await rig.venue.resting(market: kind.market, venueOrderID: id)
            #expect(found?.clientOrderID == "by-hand" && found?.order.venueOrderID == id)
            #expect(found?.order.side == .buy && found?.order.quantity == Quantity("2"))
            #expect(found?.order.limit == Price("95") && found?.order.reduceOnly == false)
            #expect(found?.order.fills.map(\.quantity) == [Quantity(dec("0.5"))])
            _ = await rig.cancel("by-hand")
            #expect(try await rig.venue.resting(market: kind.market, venueOrderID: id) == nil)
            #expect(try await rig.venue.resting(market: kind.market, venueOrderID: "4711") == nil)
            #expect(try await rig.venue.resting(market: kind.market, venueOrderID: "no number") == nil)
        }
    }

    @Test(arguments: AccountKind.allCases)
    func `instruments are the venue's catalogue`(_ kind: AccountKind) async throws {
        try await withRig(kind) { rig async throws in
            let instruments = try await rig.venue.instruments()
            let catalogue = rigMarkets.filter { $0.product.rawValue == kind.product.rawValue }
            #expect(
                instruments
                    == catalogue.map { market in
                        var band: PriceBandRule?
                        if let low = market.bandDown, let high = market.bandUp {
                            band = PriceBandRule(low: low, high: high)
                        }
                        return Instrument(
                            market: market.id,
                            kind: kind == .spot ? .spot : .perpetual,
                            tickSize: market.tickSize,
                            stepSize: market.stepSize,
                            minQuantity: market.minQuantity,
                            minNotional: market.minNotional,
                            baseAsset: market.base,
                            quoteAsset: market.quote,
                            bandRule: band,
                            makerFee: market.makerFee,
                            takerFee: market.takerFee,
                            status: market.isTrading ? .trading : .halted,
                            native: kind == .spot
                                ? [.takeProfit, .stop, .list] : [.takeProfit, .stop, .pair, .backstop, .trailing],
                        )
                    }
            )
        }
    }

    @Test func `the venue's clock is followed`() async throws {
        try await withRig(.spot) { rig async throws in
            await rig.price("100", "50")
            try await rig.control(#"{"clockOffsetMs":60000}"#)
            #expect(await rig.venue.place(rig.placement("t1", .buy, .market, "1")).refusal == .rateLimited)
            try await rig.venue.measureClock()
            #expect(rig.venue.venueTime() > RealClock().now().advanced(milliseconds: 55_000))
            #expect(await rig.venue.place(rig.placement("t1", .buy, .market, "1")).snapshot?.state == .filled)
        }
    }

    @Test func `prices sent over HTTP are matched`() async throws {
        try await withRig(.oneWay) { rig async throws in
            let prices = PaperPrices(base: "http://127.0.0.1:\(rig.port)", http: rig.http)
            let now = RealClock().now().microseconds
            try await prices.send(
                [
                    SourcedTick(
                        series: PriceSeries(market: rig.kind.market, source: .last),
                        tick: RawTick(
                            position: TickPosition(venueTime: now, sequence: 0),
                            price: 10_050_000_000,
                            receivedAt: now,
                        ),
                        quantity: Quantity("3"),
                    )
                ],
                decimals: { _ in 8 },
            )
            let filled = await rig.venue.place(rig.placement("w1", .buy, .market, "5")).snapshot
            #expect(filled?.filled == Quantity("3") && filled?.fills.first?.price == Price("100.5"))
            try await prices.setPosition(
                key: "demo",
                market: rig.kind.market,
                positionSide: nil,
                quantity: ExactDecimal(-4),
                price: Price(dec("100")),
            )
            #expect(
                await rig.venue.holding(market: rig.kind.market, side: .sell, fresh: true)?.quantity == ExactDecimal(-4)
            )
        }
    }
}
