import SmartOrders
import Testing

/// FA109: the venue changes the grid, the steps or the minimums of a market in which orders stand.
@Suite struct `A market that changes` {
    struct Row: Sendable {
        let side: Side
        let from: String
        let to: String
        /// A trailing stop of 2.34% from 100.
        let stop: String
        /// Next to it on the protective side, and at it.
        let quiet: String
        let limit: String
    }

    @Test(arguments: [
        Row(side: .buy, from: "0.01", to: "0.5", stop: "97.66", quiet: "97.67", limit: "88"),
        Row(side: .buy, from: "0.5", to: "0.01", stop: "98", quiet: "98.01", limit: "88.2"),
        Row(side: .sell, from: "0.01", to: "0.5", stop: "102.34", quiet: "102.33", limit: "112.5"),
        Row(side: .sell, from: "0.5", to: "0.01", stop: "102", quiet: "101.99", limit: "112.2"),
    ])
    func `a threshold stays, what is sent fits the new grid`(_ row: Row) throws {
        var desk = try Desk(draft(row.side, trailing: "0.0234"), instrument: .test(tickSize: row.from))
        let watches = desk.order.watches
        let terms = Instrument.test(tickSize: row.to).terms
        let isNew = desk.happen(.market(terms))
        #expect(isNew)
        #expect(desk.facts.last == .marketChanged(from: Instrument.test(tickSize: row.from).terms, to: terms))
        #expect(desk.order.watches == watches)
        #expect(desk.order.effectiveStop?.price == price(row.stop))
        let isNewAgain = desk.happen(.market(terms))
        #expect(!isNewAgain)
        desk.quietTick(row.quiet)
        desk.tick(row.stop)
        #expect(desk.order.latch?.price == price(row.stop))
        #expect(desk.last?.limit == price(row.limit))
        #expect(desk.order.status == .stopped)
        let isNewAtTheEnd = desk.happen(.market(Instrument.test(tickSize: "1").terms))
        #expect(!isNewAtTheEnd)
    }

    @Test func `back on the first grid nothing is left of the change`() throws {
        var desk = try Desk(draft(stop: "95"))
        let instrument = desk.order.instrument
        desk.happen(.market(Instrument.test(tickSize: "0.5").terms))
        #expect(desk.order.instrument.armedTick == price("0.01") && desk.order.instrument.tickSize == price("0.5"))
        desk.happen(.market(instrument.terms))
        #expect(desk.order.instrument == instrument)
    }

    @Test func `a resting target is sold no lower, a resting entry is bought no higher`() throws {
        var desk = try Desk(draft(takeProfits: [level("105.13", "100", .limit)], stop: "95"))
        desk.happen(.market(Instrument.test(tickSize: "0.5").terms))
        desk.tick("105.13")
        #expect(desk.last?.limit == price("105.5"))

        let entry = EntryPlan(mode: .conditional, trigger: price("101.3"), limitPrice: price("101.3"))
        var waiting = try Desk(draft(entry: entry, stop: "95"))
        waiting.happen(.market(Instrument.test(tickSize: "0.5").terms))
        waiting.quietTick("101.29")
        waiting.tick("101.3")
        #expect(waiting.last?.limit == price("101"))
    }

    @Test func `what waits to be sent is fitted, what was sent is not touched`() throws {
        let entry = EntryPlan(mode: .limit, price: price("99.13"))
        var desk = try Desk(draft(entry: entry, stop: "95"), answers: .silence)
        desk.happen(.market(Instrument.test(tickSize: "0.5").terms))
        #expect(desk.order.venueOrders.map(\.limit) == [price("99")])
        desk.accept(key(.entry))
        desk.happen(.market(Instrument.test(tickSize: "2").terms))
        #expect(desk.order.venueOrders.map(\.limit) == [price("99")])
    }

    @Test func `larger steps are planned with, and what is left of an entry below one is no order`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"))
        #expect(desk.order.levels.map(\.planned) == ["4", "3.5", "2.5"].map(quantity))
        desk.happen(.market(Instrument.test(stepSize: "1").terms))
        #expect(desk.order.levels.map(\.planned) == ["4", "3", "3"].map(quantity))
        desk.tick("105")
        desk.tick("110")
        desk.tick("120")
        #expect(desk.order.status == .closed && desk.order.remaining.isZero)

        let entry = EntryPlan(mode: .conditional, trigger: price("101"))
        var small = try Desk(draft(.buy, "0.5", entry: entry, stop: "95"))
        small.happen(.market(Instrument.test(stepSize: "1").terms))
        small.tick("101")
        #expect(small.order.status == .failed && small.order.closeReason == .entryRejected)
        #expect(small.placed.isEmpty)
    }

    @Test func `legs that rest at the venue are placed again only where their prices are off the grid`() throws {
        func rests(_ stop: String) throws -> Desk {
            let plan = draft(stop: stop) { $0.placement = .native }
            return try Desk(plan, instrument: .test(native: [.stop]))
        }
        var off = try rests("95.13")
        off.happen(.market(Instrument.test(tickSize: "0.5", native: [.stop]).terms))
        #expect(off.orders(.stop).map(\.trigger) == [price("95.13"), price("95.5")])
        #expect(off.cancelled == [key(.stop)])
        var on = try rests("95.5")
        on.happen(.market(Instrument.test(tickSize: "0.5", native: [.stop]).terms))
        #expect(on.orders(.stop).count == 1 && on.cancelled.isEmpty)
    }

    @Test func `an edit takes prices of the new grid, and leaves those of the old one alone`() throws {
        var desk = try Desk(draft(takeProfits: [level("105.13", "100")], stop: "95"))
        desk.happen(.market(Instrument.test(tickSize: "0.005").terms))
        try desk.edit { $0.stopLoss = StopLossPlan(price: price("96.005")) }
        #expect(desk.order.effectiveStop?.price == price("96.005"))
        desk.happen(.market(Instrument.test(tickSize: "0.5").terms))
        try desk.edit { $0.breakEven = BreakEvenPlan(enabled: true) }
        #expect(desk.order.draft.breakEven?.enabled == true)
        let refusal = #expect(throws: Refusal.self) {
            try desk.edit { $0.stopLoss = StopLossPlan(price: price("96.1")) }
        }
        #expect(refusal?.code == .priceNotOnTick)
    }

    @Test func `a conditional order keeps its trigger, its limit fits`() throws {
        let plan = ConditionalDraft(
            kind: .takeProfit,
            side: .sell,
            quantity: quantity("2"),
            trigger: price("105.13"),
            limit: price("105.13"),
        )
        let made = try ConditionalOrder.create(
            plan,
            id: testOrder,
            account: testAccount,
            instrument: .test(),
            bounds: .init(),
            at: Moment(now: Timestamp(milliseconds: 1), price: price("100")),
        )
        func moment(_ at: String?) -> Moment { Moment(now: Timestamp(milliseconds: 2), price: at.map(price)) }
        let market = OrderEvent.market(Instrument.test(tickSize: "0.5").terms)
        let changed = try #require(try made.next.decide(market, at: moment(nil)))
        #expect(changed.facts.count == 1 && changed.next.watches == made.next.watches)
        #expect(try changed.next.decide(market, at: moment(nil)) == nil)
        #expect(try changed.next.decide(.tick, at: moment("105.12")) == nil)
        let fired = try #require(try changed.next.decide(.tick, at: moment("105.13")))
        #expect(fired.next.venueOrders.map(\.limit) == [price("105.5")])
    }
}
