// The protective backstop (ORDERS.md F11).

import SmartOrders
import Testing

private let perpetual = Instrument.test(native: [.backstop])

/// A long of 10 with a backstop, looked at once with the position that the order alone owns.
private func guarded(_ draft: Draft, at start: String = "100", standing: PositionStanding? = alone) throws -> Desk {
    var desk = try Desk(draft, at: start, instrument: perpetual)
    desk.standing = standing
    desk.timer(after: 0)
    return desk
}

private let alone = PositionStanding(net: "10", otherOrders: 0)

private func plan(
    _ side: Side = .buy,
    stop: String? = nil,
    trailing: String? = nil,
    takeProfits: [TakeProfitPlan] = [],
    distance: ExactDecimal = "3",
) -> Draft {
    draft(side, takeProfits: takeProfits, stop: stop, trailing: trailing) {
        $0.backstop = BackstopPlan(enabled: true, distancePercent: distance)
    }
}

@Suite struct BackstopTests {
    struct Price_: Sendable {
        let draft: Draft
        let trigger: String
    }

    @Test(arguments: [
        Price_(draft: plan(stop: "95"), trigger: "92.15"),
        Price_(draft: plan(trailing: "0.02"), trigger: "95.06"),
        Price_(draft: plan(stop: "95", distance: "0.5"), trigger: "94.52"),
        Price_(draft: plan(.sell, stop: "105"), trigger: "108.15"),
        Price_(draft: plan(.sell, trailing: "0.015"), trigger: "104.55"),
    ])
    func `it stands behind the stop, rounded away from the market`(_ row: Price_) throws {
        let isLong = row.draft.side == .buy
        let desk = try guarded(row.draft, standing: PositionStanding(net: isLong ? "10" : "-10", otherOrders: 0))
        let backstop = try #require(desk.orders(.backstop).first)
        #expect(backstop.trigger == price(row.trigger))
        #expect(backstop.type == .stopMarket && backstop.reduceOnly && backstop.side == row.draft.side.opposite)
        #expect(desk.facts.contains(.backstopPlaced(price(row.trigger))))
        #expect(desk.order.backstops.map(\.state) == [.open])
    }

    @Test func `it is no claim: the stop behind it sells everything, then it goes`() throws {
        var desk = try guarded(plan(stop: "95"))
        #expect(desk.order.free == quantity("10"))
        desk.tick("95")
        #expect(desk.order.status == .stopped && desk.order.closeReason == .stopLoss)
        #expect(desk.orders(.stop).map(\.quantity) == [quantity("10")])
        #expect(desk.cancelled == [key(.backstop)] && desk.order.venueOrders.isEmpty)
    }

    @Test func `while the stop is not flat it stays`() throws {
        var desk = try guarded(plan(stop: "95"))
        desk.answers = .silence
        desk.tick("95")
        #expect(desk.order.phase == .stopping && desk.cancelled.isEmpty)
        desk.fill(key(.stop), "10")
        #expect(desk.cancelled == [key(.backstop)] && desk.order.phase == .stopping)
        desk.end(key(.backstop), .expired)
        #expect(desk.order.status == .stopped && desk.order.closeReason == .stopLoss)
    }

    @Test(arguments: ["cancel", "close", "targets"])
    func `nothing of it is left at the end`(_ way: String) throws {
        var desk = try guarded(plan(stop: "95", takeProfits: [level("105", "100")]))
        switch way {
        case "cancel": try desk.command(.cancel)
        case "close": try desk.command(.closeMarket)
        default: desk.tick("105")
        }
        #expect(desk.order.status.isTerminal && desk.order.venueOrders.isEmpty)
        #expect(desk.cancelled == [key(.backstop)])
    }

    @Test func `fired, it ends the order as its own reason`() throws {
        var desk = try guarded(plan(stop: "95", takeProfits: [level("105", "100")]))
        desk.price = price("90")
        desk.fill(key(.backstop), "10", at: "91.50")
        #expect(desk.order.status == .stopped && desk.order.closeReason == .backstop)
        #expect(desk.order.latch?.kind == .backstop && desk.order.latch?.price == price("92.15"))
        #expect(desk.facts.contains(.backstopFired) && desk.orders(.stop).isEmpty)
        #expect(desk.order.realized == money("-85"))
    }

    @Test func `what it left leaves like any stop, once it is over`() throws {
        var desk = try guarded(plan(stop: "95"))
        desk.price = price("90")
        desk.fill(key(.backstop), "4", at: "91")
        #expect(desk.order.phase == .stopping && desk.orders(.stop).isEmpty)
        desk.end(key(.backstop), .expired)
        #expect(desk.orders(.stop).map(\.quantity) == [quantity("6")])
        #expect(desk.orders(.stop).first?.limit == price("81"))
        #expect(desk.order.status == .stopped && desk.order.closeReason == .backstop)
    }

    @Test func `a stop that met it keeps its reason, and no quantity leaves twice`() throws {
        var desk = try guarded(plan(stop: "95"))
        desk.answers = .silence
        desk.tick("95")
        desk.fill(key(.backstop), "10", at: "92")
        desk.refuse(key(.stop), .rejected)
        desk.end(key(.backstop), .filled)
        #expect(desk.order.status == .stopped && desk.order.closeReason == .stopLoss)
        #expect(desk.order.exited == quantity("10"))
    }

    @Test func `it moves by 1% at most once a minute, the new one first`() throws {
        var desk = try guarded(plan(trailing: "0.02"))
        let rising = try #require(desk.order.backstopMoveWatch)
        desk.tick("100.9")
        desk.standing = alone
        desk.timer(after: 60_000)
        #expect(desk.orders(.backstop).count == 1, "0.9% is not enough")
        // Another order of the same minute: just moved.
        desk.now = desk.now.advanced(milliseconds: -61_000)
        desk.tick(rising.description, after: 30_000)
        #expect(desk.orders(.backstop).count == 1)
        #expect(desk.order.nextTimer == desk.orders(.backstop)[0].createdAt.advanced(milliseconds: 60_000))
        desk.answers = .silence
        desk.timer(after: 30_000)
        #expect(
            desk.orders(.backstop).count == 2 && desk.cancelled.isEmpty,
            "the old one stays until the new one rests",
        )
        desk.accept(key(.backstop, 2))
        #expect(desk.cancelled == [key(.backstop, 1)])
        desk.end(key(.backstop, 1), .cancelled)
        #expect(desk.order.backstops.map(\.attempt) == [2])
        #expect(desk.order.backstops.first?.trigger == desk.order.backstopPrice)
    }

    struct Skip: Sendable {
        let standing: PositionStanding
        let note: BackstopNote
    }

    @Test(arguments: [
        Skip(standing: PositionStanding(net: "10", otherOrders: 1), note: .positionShared),
        Skip(standing: PositionStanding(net: "10.1", otherOrders: 0), note: .positionShared),
        Skip(standing: PositionStanding(net: "0", otherOrders: 0), note: .noPosition),
        Skip(standing: PositionStanding(net: "-10", otherOrders: 0), note: .noPosition),
    ])
    func `it is not placed where it would close what the order does not own`(_ row: Skip) throws {
        var desk = try guarded(plan(stop: "95"), standing: row.standing)
        #expect(desk.orders(.backstop).isEmpty && desk.order.backstopNote == row.note)
        #expect(desk.facts.contains(.backstopSkipped(row.note)))
        desk.standing = alone
        desk.timer(after: 300_000)
        #expect(desk.orders(.backstop).count == 1 && desk.order.backstopNote == nil)
    }

    @Test func `somebody who joins the position takes it down`() throws {
        var desk = try guarded(plan(stop: "95"))
        desk.standing = PositionStanding(net: "15", otherOrders: 1)
        desk.timer(after: 300_000)
        #expect(desk.cancelled == [key(.backstop)] && desk.order.backstopNote == .positionShared)
        #expect(desk.order.health == .ok && desk.order.status == .active)
    }

    @Test func `a refusal changes nothing else and is tried again, slower each time`() throws {
        var desk = try Desk(plan(stop: "95"), instrument: perpetual)
        desk.standing = alone
        desk.answers = .silence
        desk.timer(after: 0)
        for (attempt, pause) in zip(1..., [1_000, 2_000, 4_000] as [Int64]) {
            desk.refuse(key(.backstop, attempt), .rejected)
            #expect(desk.order.health == .ok && desk.order.backstopNote == .refused)
            #expect(desk.order.nextTimer == desk.now.advanced(milliseconds: pause))
            desk.timer(after: pause)
            #expect(desk.orders(.backstop).count == attempt + 1)
        }
        desk.news(key(.backstop, 4), .unknown)
        #expect(desk.order.health == .ok && desk.order.free == quantity("10"))
    }

    @Test func `an unknown position is asked for later`() throws {
        let desk = try guarded(plan(stop: "95"), standing: nil)
        #expect(desk.orders(.backstop).isEmpty)
        #expect(desk.order.nextTimer == desk.now.advanced(milliseconds: 1_000))
    }

    @Test func `an edit takes it down or moves it`() throws {
        var desk = try guarded(plan(stop: "95"))
        try desk.edit { $0.backstop = .some(BackstopPlan(enabled: true, distancePercent: "5")) }
        desk.timer(after: 60_000)
        #expect(desk.order.backstops.map(\.trigger) == [price("90.25")])
        try desk.edit { $0.backstop = .some(nil) }
        #expect(desk.order.backstops.isEmpty && desk.order.venueOrders.isEmpty)
    }

    @Test(arguments: [
        (plan(), perpetual), (plan(stop: "95", distance: "0.4"), perpetual),
        (plan(stop: "95", distance: "51"), perpetual),
        (plan(stop: "95"), Instrument.test()), (plan(stop: "95"), Instrument.test(kind: .spot)),
    ])
    func `what is not possible is refused`(_ draft: Draft, _ instrument: Instrument) {
        let moment = Moment(now: Timestamp(milliseconds: 1), price: price("100"))
        let codes = SmartOrder.check(draft, instrument: instrument, at: moment).map(\.code)
        #expect(codes.contains(.backstopNotSupported))
    }
}

extension SmartOrder {
    /// The threshold whose crossing moves the backstop.
    fileprivate var backstopMoveWatch: Price? {
        for watch in watches where watch.leg == .timer {
            switch watch.condition {
            case .atOrAbove(let price), .atOrBelow(let price): return price
            case .trailsHigh, .trailsLow: continue
            }
        }
        return nil
    }
}
