// Native placement: the legs rest at the venue (ORDERS.md 6.2).

import SmartOrders
import Testing

private let futures = Instrument.test(native: [.takeProfit, .stop, .trailing, .pair, .backstop])
private let lists = Instrument.test(kind: .spot, native: [.takeProfit, .stop, .list])
private let single = Instrument.test(kind: .spot, native: [.takeProfit, .stop])

private func plan(
    _ side: Side = .buy,
    takeProfits: [TakeProfitPlan] = [level("105", "100")],
    stop: String? = "95",
    trailing: String? = nil,
    edit: (inout Draft) -> Void = { _ in },
) -> Draft {
    draft(side, takeProfits: takeProfits, stop: stop, trailing: trailing) {
        $0.placement = .native
        edit(&$0)
    }
}

@Suite struct NativeTests {
    @Test func `both legs rest as reduce-only orders, one claim, and nothing is watched here`() throws {
        let desk = try Desk(plan(), instrument: futures)
        let target = try #require(desk.orders(.takeProfit(1)).first)
        let stop = try #require(desk.orders(.stop).first)
        #expect(target.type == .takeProfitMarket && target.trigger == price("105") && target.reduceOnly)
        #expect(stop.type == .stopMarket && stop.trigger == price("95") && stop.reduceOnly && stop.limit == nil)
        #expect(desk.order.claimed == quantity("10") && desk.order.watches.isEmpty)
        #expect(desk.order.levels[0].state == .pending && desk.order.stopState == .armed)
    }

    struct Resting: Sendable {
        let draft: Draft
        let instrument: Instrument
        let type: VenueOrderType
        let limit: String?
        let leg: Leg
    }

    @Test(arguments: [
        Resting(
            draft: plan(takeProfits: [level("105", "100", .limit, limit: "105.5")]),
            instrument: futures,
            type: .goodTillCancelled,
            limit: "105.5",
            leg: .takeProfit(1),
        ),
        Resting(
            draft: plan { $0.stopLoss = StopLossPlan(price: price("95"), execution: .limit, limitPrice: price("94")) },
            instrument: futures,
            type: .stopLimit,
            limit: "94",
            leg: .stop,
        ),
        Resting(draft: plan(), instrument: lists, type: .goodTillCancelled, limit: "105", leg: .takeProfit(1)),
        Resting(draft: plan(), instrument: lists, type: .stopLimit, limit: "85.5", leg: .stop),
        Resting(
            draft: plan(takeProfits: [], stop: nil, trailing: "0.02"),
            instrument: futures,
            type: .trailingStop,
            limit: nil,
            leg: .stop,
        ),
    ])
    func `each leg has the order type of its market`(_ row: Resting) throws {
        let desk = try Desk(row.draft, instrument: row.instrument)
        let order = try #require(desk.orders(row.leg).first)
        #expect(order.type == row.type && order.limit == row.limit.map(price) && order.isNative)
        #expect(desk.order.claimed == quantity("10"))
    }

    @Test func `the managed legs watch until the venue confirmed`() throws {
        var desk = try Desk(plan(), instrument: futures, answers: .silence)
        desk.fill(key(.entry), "10")
        #expect(Set(desk.order.watches.map(\.leg)) == [.stop, .takeProfit(1)])
        desk.accept(key(.stop))
        #expect(desk.order.watches.map(\.leg) == [.takeProfit(1)])
        // What is claimed at the venue cannot be sold a second time.
        desk.tick("105")
        #expect(desk.orders(.takeProfit(1)).count == 1)
        desk.accept(key(.takeProfit(1)))
        #expect(desk.order.watches.isEmpty)
    }

    @Test func `a filled target cancels the stop, a part of it re-sizes it`() throws {
        var desk = try Desk(plan(), instrument: futures)
        desk.fill(key(.takeProfit(1)), "4", at: "105")
        #expect(desk.cancelled == [key(.stop)])
        #expect(desk.orders(.stop).map(\.quantity) == [quantity("10"), quantity("6")])
        #expect(desk.order.claimed == quantity("6") && desk.order.watches.isEmpty)
        desk.fill(key(.takeProfit(1)), "6", at: "105")
        #expect(desk.order.status == .closed && desk.order.closeReason == .allTakeProfitsFilled)
        #expect(desk.cancelled == [key(.stop), key(.stop, 2)] && desk.order.levels[0].state == .filled)
    }

    @Test func `the venue's trigger report latches, its fills stop the order`() throws {
        var desk = try Desk(
            plan {
                $0.stopLoss?.execution = .limit; $0.stopLoss?.limitPrice = price("95")
            },
            instrument: futures,
        )
        desk.price = price("94")
        desk.news(key(.stop), .triggered)
        #expect(desk.order.stopState == .exiting && desk.order.phase == .stopping)
        #expect(desk.order.latch?.kind == .fixed && desk.order.latch?.price == price("95"))
        #expect(desk.cancelled == [key(.takeProfit(1))] && desk.orders(.stop).count == 1)
        desk.fill(key(.stop), "10", at: "95")
        #expect(desk.order.status == .stopped && desk.order.closeReason == .stopLoss)
    }

    @Test func `what a fired stop left leaves here, at the current price`() throws {
        var desk = try Desk(plan(), instrument: futures)
        desk.price = price("90")
        desk.fill(key(.stop), "3", at: "94")
        desk.end(key(.stop), .expired)
        #expect(desk.order.status == .active && desk.order.phase == .stopping)
        desk.tick("89")
        #expect(desk.orders(.stop).last?.limit == price("80.1") && desk.orders(.stop).last?.quantity == quantity("7"))
        #expect(desk.order.status == .stopped && desk.order.exited == quantity("10"))
    }

    struct Loss: Sendable {
        let news: VenueNews
        let leg: Leg
    }

    @Test(arguments: [
        Loss(news: .ended(.expired), leg: .stop), Loss(news: .ended(.cancelled), leg: .stop),
        Loss(news: .refused(.rejected, venueCode: "-2021"), leg: .stop),
        Loss(news: .ended(.cancelled), leg: .takeProfit(1)),
    ])
    func `a lost leg is managed at once and wants attention until an edit`(_ row: Loss) throws {
        var desk = try Desk(plan(), instrument: futures)
        desk.news(key(row.leg), row.news)
        #expect(desk.facts.contains(.nativeLegLost(row.leg)) && desk.order.health == .needsAttention)
        #expect(desk.order.watches.map(\.leg) == [row.leg])
        desk.timer(after: 60_000)
        #expect(desk.orders(row.leg).count == 1, "not placed again by itself")
        try desk.edit { $0.placement = .native }
        #expect(desk.orders(row.leg).count == 2 && desk.order.health == .ok && desk.order.watches.isEmpty)
    }

    @Test func `a lost stop still stops`() throws {
        var desk = try Desk(plan(), instrument: futures)
        desk.end(key(.stop), .expired)
        desk.tick("95")
        #expect(desk.cancelled == [key(.takeProfit(1))])
        #expect(desk.orders(.stop).last?.limit == price("85.5"), "anchored at its trigger: the first attempt")
        #expect(desk.order.status == .stopped && desk.order.closeReason == .stopLoss)
    }

    @Test(arguments: [VenueNews.notSent, .absent, .refused(.rateLimited, venueCode: "-1003")])
    func `a placement that did not happen is tried again`(_ news: VenueNews) throws {
        var desk = try Desk(plan(takeProfits: []), instrument: futures, answers: .silence)
        desk.fill(key(.entry), "10")
        desk.news(key(.stop), news)
        #expect(desk.order.lostLegs.isEmpty && desk.order.watches.map(\.leg) == [.stop])
        desk.timer(after: 1_000)
        #expect(desk.orders(.stop).count == 2)
    }

    @Test func `an edit moves the legs out of the venue and back`() throws {
        var desk = try Desk(plan(), instrument: futures)
        try desk.edit { $0.placement = .managed }
        #expect(Set(desk.cancelled) == [key(.stop), key(.takeProfit(1))] && desk.order.venueOrders.isEmpty)
        #expect(Set(desk.order.watches.map(\.leg)) == [.stop, .takeProfit(1)] && desk.order.health == .ok)
        try desk.edit { $0.placement = .native }
        #expect(desk.order.watches.isEmpty && desk.order.claimed == quantity("10"))
        try desk.edit { $0.stopLoss = .some(StopLossPlan(price: price("96"))) }
        #expect(desk.orders(.stop).last?.trigger == price("96") && desk.order.venueOrders.count == 2)
    }

    @Test(arguments: ["cancel", "close"])
    func `everything at the venue ends with the order`(_ way: String) throws {
        var desk = try Desk(plan(), instrument: futures)
        try desk.command(way == "cancel" ? .cancel : .closeMarket)
        #expect(Set(desk.cancelled) == [key(.stop), key(.takeProfit(1))])
        #expect(desk.order.status == (way == "cancel" ? .cancelled : .closed))
        #expect(desk.orders(.close).map(\.quantity) == (way == "cancel" ? [] : [quantity("10")]))
    }

    @Test func `a level is closed, or a part reduced, when what rests has made way`() throws {
        var desk = try Desk(plan(), instrument: futures)
        try desk.command(.reduceFunds(quantity("4")))
        #expect(Set(desk.cancelled) == [key(.stop), key(.takeProfit(1))])
        #expect(desk.orders(.reduce).map(\.quantity) == [quantity("4")] && desk.order.remaining == quantity("6"))
        #expect(desk.order.venueOrders.map(\.quantity) == [quantity("6"), quantity("6")])
        #expect(desk.order.watches.isEmpty && desk.order.claimed == quantity("6"))
        try desk.command(.closeLevel(1))
        let close = try #require(desk.orders(.takeProfit(1)).last)
        #expect(close.type == .immediateOrCancel && close.quantity == quantity("6") && close.limit == price("90"))
        #expect(desk.order.status == .closed && desk.order.closeReason == .allTakeProfitsFilled)
    }

    @Test func `until the venue has proven it nothing more is asked, and the stop is watched here`() throws {
        var desk = try Desk(plan(), instrument: futures)
        desk.answers = .silence
        try desk.command(.closeLevel(1))
        #expect(desk.cancelled.count == 2 && desk.order.watches.contains { $0.leg == .stop })
        desk.end(key(.takeProfit(1)), .cancelled)
        #expect(desk.orders(.takeProfit(1)).count == 1)
        desk.end(key(.stop), .cancelled)
        #expect(desk.orders(.takeProfit(1)).map(\.quantity) == [quantity("10"), quantity("10")])
        // It fills in part: the rest is at the venue again.
        desk.accept(key(.takeProfit(1), 2))
        desk.fill(key(.takeProfit(1), 2), "7")
        desk.end(key(.takeProfit(1), 2), .expired)
        #expect(desk.orders(.takeProfit(1)).last?.type == .takeProfitMarket)
        #expect(desk.orders(.stop).last?.quantity == quantity("3") && desk.order.claimed == quantity("3"))
    }

    @Test func `a stop that fires meanwhile has all of it`() throws {
        var desk = try Desk(plan(), instrument: futures)
        desk.answers = .silence
        try desk.command(.reduceFunds(quantity("4")))
        #expect(throws: Refusal.self) { try desk.command(.reduceFunds(quantity("6"))) }
        desk.tick("95")
        #expect(desk.order.phase == .stopping && desk.orders(.stop).count == 1)
        desk.end(key(.takeProfit(1)), .cancelled)
        desk.end(key(.stop), .cancelled)
        #expect(desk.orders(.reduce).isEmpty && desk.orders(.stop).last?.quantity == quantity("10"))
    }

    @Test func `a close waits for what the venue still claims`() throws {
        var desk = try Desk(plan(), instrument: futures)
        desk.answers = .silence
        try desk.command(.closeMarket)
        #expect(desk.orders(.close).isEmpty)
        desk.end(key(.takeProfit(1)), .cancelled)
        #expect(desk.orders(.close).isEmpty)
        desk.end(key(.stop), .cancelled)
        #expect(desk.orders(.close).map(\.quantity) == [quantity("10")])
    }

    @Test func `the legs of a list go and come together`() throws {
        var desk = try Desk(plan(), instrument: lists)
        try desk.edit { $0.stopLoss = .some(StopLossPlan(price: price("96"))) }
        #expect(Set(desk.cancelled) == [key(.stop), key(.takeProfit(1))])
        #expect(desk.order.venueOrders.map(\.attempt) == [2, 2])
        // The stop fired: the venue expires the target by itself.
        desk.end(key(.takeProfit(1), 2), .expired)
        #expect(desk.order.lostLegs.isEmpty && desk.order.health == .ok)
        desk.fill(key(.stop, 2), "10", at: "96")
        #expect(desk.order.status == .stopped)
    }

    @Test func `a part of a list's target leaves the stop to us`() throws {
        var desk = try Desk(plan(), instrument: lists)
        desk.end(key(.stop), .expired)
        desk.fill(key(.takeProfit(1)), "4", at: "105")
        #expect(desk.order.lostLegs == [.stop] && desk.order.watches.map(\.leg) == [.stop])
        desk.tick("95")
        #expect(desk.orders(.stop).last?.quantity == quantity("6") && desk.order.status == .stopped)
    }

    @Test func `the legs grow with the entry`() throws {
        var desk = try Desk(
            plan(stop: "95") { $0.entry = EntryPlan(mode: .limit, price: price("100")) },
            at: "101",
            instrument: futures,
        )
        desk.fill(key(.entry), "4", at: "100")
        #expect(desk.orders(.stop).last?.quantity == quantity("4"))
        desk.fill(key(.entry), "6", at: "100")
        #expect(desk.orders(.stop).last?.quantity == quantity("10"))
        #expect(desk.order.venueOrders.map(\.quantity) == [quantity("10"), quantity("10")])
    }

    struct Refused: Sendable {
        let draft: Draft
        let instrument: Instrument
        var code = RefusalCode.nativeNotPossible
    }

    @Test(arguments: [
        Refused(draft: plan(takeProfits: [level("105", "50"), level("110", "50")]), instrument: futures),
        Refused(draft: plan(trailing: "0.02"), instrument: futures),
        Refused(draft: plan { $0.breakEven = BreakEvenPlan(enabled: true) }, instrument: futures),
        Refused(draft: plan { $0.stopFollow = .followTP }, instrument: futures),
        Refused(draft: plan { $0.stopLoss?.timeoutMs = 1_000 }, instrument: futures),
        Refused(draft: plan { $0.triggerSource = .index }, instrument: futures),
        Refused(draft: plan { $0.triggerSource = .mark }, instrument: lists),
        Refused(draft: plan(), instrument: single),
        Refused(draft: plan(), instrument: .test()),
        Refused(draft: plan(takeProfits: [], stop: nil, trailing: "0.02"), instrument: lists),
        Refused(
            draft: plan(takeProfits: [], stop: nil, trailing: "0.0215"),
            instrument: futures,
            code: .callbackOutOfRange,
        ),
        Refused(
            draft: plan(takeProfits: [], stop: nil, trailing: "0.2"),
            instrument: futures,
            code: .callbackOutOfRange,
        ),
    ])
    func `what a venue cannot hold is refused`(_ row: Refused) {
        let moment = Moment(now: Timestamp(milliseconds: 1), price: price("100"))
        let codes = SmartOrder.check(row.draft, instrument: row.instrument, at: moment).map(\.code)
        #expect(codes.contains(row.code))
    }

    @Test func `one leg alone is possible where only one order can rest`() throws {
        let stop = try Desk(plan(takeProfits: []), instrument: single)
        #expect(stop.order.venueOrders.map(\.type) == [.stopLimit])
        let target = try Desk(plan(stop: nil), instrument: single)
        #expect(target.order.venueOrders.map(\.type) == [.goodTillCancelled])
    }
}
