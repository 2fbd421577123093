import SmartOrders
import Testing

struct ExitTests {
    @Test func `the product's example closes level by level`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"))
        for at in ["105", "110", "120"] { desk.tick(at) }
        #expect(desk.placed.map(\.quantity) == ["10", "4", "3.5", "2.5"].map { quantity($0) })
        #expect(desk.placed.dropFirst().map(\.limit) == ["94.5", "99", "108"].map { price($0) })
        #expect(desk.statuses == [.active, .partiallyClosed, .closed])
        #expect(desk.order.closeReason == .allTakeProfitsFilled)
        #expect(desk.order.realized == money("105"))
        #expect(desk.order.progress == (3, 3))
    }

    @Test func `one tick through all levels fires all, nearest first`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("125")
        #expect(desk.placed.map(\.leg) == [.entry, .takeProfit(1), .takeProfit(2), .takeProfit(3)])
        #expect(desk.order.claimed == quantity("10"))
        #expect(desk.order.free == .zero)
    }

    @Test func `cancels come before the exit, and the exit waits for the claim`() throws {
        // R9: a limit level for 10 rests, the stop fires, 1 fills in the race: the stop sells 9.
        var desk = try Desk(
            draft(takeProfits: [level("105", "100", .limit, limit: "106")], stop: "95"),
            answers: .silence,
        )
        desk.fill(key(.entry), "10")
        desk.tick("105")
        desk.accept(key(.takeProfit(1)))
        desk.tick("95")
        #expect(desk.order.phase == .stopping)
        #expect(desk.cancelled == [key(.takeProfit(1))])
        #expect(desk.orders(.stop).isEmpty)
        desk.fill(key(.takeProfit(1)), "1", at: "106")
        #expect(desk.orders(.stop).isEmpty)
        desk.end(key(.takeProfit(1)), .cancelled)
        #expect(desk.orders(.stop).map(\.quantity) == [quantity("9")])
        #expect(desk.order.levels[0].state == .cancelled)
        desk.fill(key(.stop), "9")
        #expect(desk.order.status == .stopped)
        #expect(desk.order.realized == money("-39"))
    }

    @Test func `what waits to be sent gives way to the stop, whatever its type`() throws {
        // A halt kept the level's market order back; after the latch it may not leave any more (PR10).
        var desk = try Desk(
            draft(takeProfits: [level("105", "40"), level("120", "60")], stop: "95"),
            answers: .silence,
        )
        desk.fill(key(.entry), "10")
        desk.tick("105")
        #expect(desk.order.venueOrders.map(\.state) == [.intent])
        desk.tick("95")
        #expect(desk.cancelled == [key(.takeProfit(1))])
        #expect(desk.orders(.stop).map(\.quantity) == [quantity("6")])
        desk.end(key(.takeProfit(1)), .cancelled)
        #expect(desk.orders(.stop).map(\.quantity) == [quantity("6"), quantity("4")])
    }

    @Test func `a stop that gaps is retried at the current price until flat`() throws {
        var desk = try Desk(draft(stop: "95"))
        desk.tick("80")
        #expect(desk.last?.limit == price("85.5"))
        #expect(desk.order.phase == .stopping)
        #expect(desk.order.wantsEveryTick)
        desk.tick("80")
        #expect(desk.orders(.stop).map(\.limit) == [price("85.5"), price("72")])
        #expect(desk.order.status == .stopped)
    }

    @Test func `a short's gap: 115.50 expires, then 143`() throws {
        var desk = try Desk(draft(.sell, stop: "105"))
        desk.tick("130")
        desk.timer(after: 250)
        #expect(desk.orders(.stop).map(\.limit) == [price("115.5"), price("143")])
        #expect(desk.order.status == .stopped)
    }

    @Test func `a part-filled stop retries the rest: 6 with limit 84.60`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        desk.fill(key(.stop), "4")
        desk.end(key(.stop), .expired)
        #expect(desk.orders(.stop).count == 1)
        #expect(desk.order.nextTimer == desk.now.advanced(milliseconds: 250))
        desk.tick("94", after: 10)
        #expect(desk.last?.quantity == quantity("6"))
        #expect(desk.last?.limit == price("84.6"))
    }

    @Test func `a limit stop rests where the market was, and falls back after its time`() throws {
        var desk = try Desk(
            draft(entry: EntryPlan(mode: .attach, price: price("11"))) {
                $0.stopLoss = StopLossPlan(
                    price: price("10"),
                    execution: .limit,
                    limitPrice: price("10"),
                    fallbackMs: 5000,
                )
            },
            at: "11",
        )
        desk.tick("9")
        #expect(desk.last?.type == .goodTillCancelled)
        #expect(desk.last?.limit == price("10"))
        desk.tick("8.7", after: 4500)
        #expect(desk.cancelled.isEmpty)
        desk.tick("8.5", after: 500)
        #expect(desk.cancelled == [key(.stop)])
        #expect(desk.last?.type == .immediateOrCancel)
        #expect(desk.last?.limit == price("7.65"))
        #expect(desk.order.status == .stopped)
    }

    @Test func `a limit stop through the market fills at once`() throws {
        var desk = try Desk(
            draft(entry: EntryPlan(mode: .attach, price: price("11"))) {
                $0.stopLoss = StopLossPlan(price: price("10"), execution: .limit, limitPrice: price("8"))
            },
            at: "11",
        )
        desk.tick("9")
        #expect(desk.order.status == .stopped)
        #expect(desk.order.realized == money("-20"))
    }

    @Test func `a refused limit stop is retried at market`() throws {
        var desk = try Desk(
            draft { $0.stopLoss = StopLossPlan(price: price("95"), execution: .limit, limitPrice: price("95")) },
            answers: .silence,
        )
        desk.fill(key(.entry), "10")
        desk.tick("95")
        desk.refuse(key(.stop), .rejected)
        desk.tick("94")
        #expect(desk.last?.type == .immediateOrCancel)
    }

    @Test func `refusals pause longer and longer, and after five somebody should look`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        var pauses: [Int64] = []
        for attempt in 1...8 {
            desk.refuse(key(.stop, attempt), .rateLimited)
            let due = try #require(desk.order.nextTimer)
            pauses.append(due.milliseconds - desk.now.milliseconds)
            #expect(!desk.order.wantsEveryTick)
            #expect(desk.order.health == (attempt < 5 ? .retrying : .needsAttention))
            desk.timer(after: due.milliseconds - desk.now.milliseconds)
            #expect(desk.last?.attempt == attempt + 1)
        }
        for (index, pause) in pauses.enumerated() {
            let nominal = min(Int64(250) << Int64(index), 5000)
            #expect(pause >= nominal * 8 / 10 && pause <= nominal * 12 / 10)
        }
        desk.fill(key(.stop, 9), "10")
        #expect(desk.order.health == .ok)
        #expect(desk.order.closeReason == .stopLoss)
    }

    @Test func `30 s without being flat need attention too`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        desk.news(key(.stop), .unknown)
        #expect(desk.order.health == .unknown)
        desk.timer(after: 30_000)
        #expect(desk.order.health == .needsAttention)
        desk.quietTimer(after: 1000)
    }

    struct PublishedBand: Sendable {
        let low: String
        let high: String
        let limit: String
    }

    @Test(arguments: [
        PublishedBand(low: "0.95", high: "1.05", limit: "90.25"),
        PublishedBand(low: "0.99", high: "1.01", limit: "94.05"),
        PublishedBand(low: "0.85", high: "1.15", limit: "85.5"),
    ])
    func `an exit stays inside the band that the venue publishes`(_ row: PublishedBand) throws {
        let instrument = Instrument.test(band: (row.low, row.high))
        var desk = try Desk(draft(stop: "95"), instrument: instrument, answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        #expect(desk.last?.limit == price(row.limit))
        // What the venue said last counts more.
        desk.band = PriceBand(low: price("94.5"), high: price("95.5"))
        desk.refuse(key(.stop), .priceOutOfBand)
        #expect(desk.last?.limit == price("94.5"))

        let conditional = try ConditionalOrder.create(
            ConditionalDraft(kind: .stopLoss, side: .sell, quantity: quantity("1"), trigger: price("95")),
            id: testOrder,
            account: testAccount,
            instrument: instrument,
            at: Moment(now: desk.now, price: price("100")),
        ).next
        let fired = try #require(try conditional.decide(.tick, at: Moment(now: desk.now, price: price("95"))))
        #expect(fired.next.venueOrders.first?.limit == price(row.limit))
    }

    @Test func `refused for its price, a stop goes at once with the new band`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        desk.band = PriceBand(low: price("94.05"), high: price("95.95"))
        desk.refuse(key(.stop), .priceOutOfBand)
        #expect(desk.last?.attempt == 2)
        #expect(desk.last?.limit == price("94.05"))
        // The same again would be refused again: it waits.
        desk.refuse(key(.stop, 2), .priceOutOfBand)
        #expect(desk.last?.attempt == 2)
        #expect(desk.order.nextTimer != nil)
    }

    @Test func `refused credentials need attention at once and are tried every 5 s`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        desk.refuse(key(.stop), .credentials)
        #expect(desk.order.health == .needsAttention)
        #expect(desk.order.nextTimer == desk.now.advanced(milliseconds: 5000))
    }

    @Test func `a halted market needs attention and is tried every 10 s, until it trades`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        desk.refuse(key(.stop), .marketHalted)
        #expect(desk.order.attention == [.marketHalted] && desk.order.health == .needsAttention)
        #expect(desk.order.nextTimer == desk.now.advanced(milliseconds: 10_000))
        desk.quietTick("94")
        #expect(desk.last?.attempt == 1, "no tick brings it forward")
        desk.timer(after: 9_000)
        #expect(desk.last?.attempt == 2)
        desk.fill(key(.stop, 2), "10")
        #expect(desk.order.closeReason == .stopLoss && desk.order.attention.isEmpty)
    }

    @Test func `a latched stop executes although the price recovered`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        desk.news(key(.stop), .notSent)
        #expect(desk.order.health == .venueDown)
        desk.tick("97")
        #expect(desk.last?.limit == price("87.3"))
        desk.fill(key(.stop, 2), "10")
        #expect(desk.order.closeReason == .stopLoss)
    }

    @Test func `a level that does not fill completely re-arms with its rest`() throws {
        var desk = try Desk(draft(takeProfits: [level("105", "100")], stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("105")
        desk.fill(key(.takeProfit(1)), "6")
        desk.end(key(.takeProfit(1)), .expired)
        #expect(desk.order.levels[0].state == .pending)
        #expect(desk.facts.contains(.levelRearmed(1)))
        desk.quietTick("104")
        desk.tick("105.5")
        #expect(desk.last?.quantity == quantity("4"))
        #expect(desk.last?.limit == price("94.5"))
        #expect(desk.order.status == .active)
    }

    @Test func `a refused level waits out its pause, then fires at the next touch`() throws {
        var desk = try Desk(draft(takeProfits: [level("105", "100")], stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("105")
        desk.refuse(key(.takeProfit(1)), .rateLimited)
        #expect(desk.order.watches.allSatisfy { $0.leg != .takeProfit(1) })
        desk.quietTick("106", after: 10)
        desk.timer(after: 1000)
        #expect(desk.last?.attempt == 2)
    }

    @Test func `while a submit is in doubt no level fires, but the stop sends what is free`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("105")
        desk.news(key(.takeProfit(1)), .unknown)
        desk.quietTick("111")
        desk.tick("95")
        #expect(desk.last?.leg == .stop)
        #expect(desk.last?.quantity == quantity("6"))
        desk.fill(key(.stop), "6")
        #expect(desk.order.phase == .stopping)
        desk.news(key(.takeProfit(1)), .absent)
        #expect(desk.last?.leg == .stop)
        #expect(desk.last?.quantity == quantity("4"))
        desk.fill(key(.stop, 2), "4")
        #expect(desk.order.status == .stopped)
        #expect(desk.order.levels.map(\.state) == [.cancelled, .cancelled, .cancelled])
    }

    @Test func `levels that were faster than the stop close the order`() throws {
        // T18: everything is claimed by a level in doubt, so no stop order was ever sent.
        var desk = try Desk(draft(takeProfits: [level("105", "100")], stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("105")
        desk.news(key(.takeProfit(1)), .unknown)
        desk.tick("95")
        desk.fill(key(.takeProfit(1)), "10", at: "105")
        #expect(desk.order.status == .closed)
        #expect(desk.order.closeReason == .allTakeProfitsFilled)
        #expect(desk.order.stopState == .done)
    }

    @Test func `close at market takes what is free, the rest follows its proof`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("105")
        desk.news(key(.takeProfit(1)), .unknown)
        try desk.command(.closeMarket)
        #expect(desk.order.phase == .closing)
        #expect(desk.last?.leg == .close)
        #expect(desk.last?.quantity == quantity("6"))
        #expect(desk.last?.limit == price("94.5"))
        desk.fill(key(.close), "6")
        desk.price = price("104")
        desk.news(key(.takeProfit(1)), .absent)
        #expect(desk.last?.quantity == quantity("4"))
        #expect(desk.last?.limit == price("93.6"))
        desk.fill(key(.close, 2), "4")
        #expect(desk.order.closeReason == .manualClose)
    }

    @Test func `a time exit leaves at the current price`() throws {
        var desk = try Desk(draft(stop: "95") { $0.exitAt = Timestamp(milliseconds: 3_600_000) })
        #expect(desk.order.nextTimer == Timestamp(milliseconds: 3_600_000))
        desk.quietTick("101")
        desk.tick("102", after: 3_000_000)
        #expect(desk.last?.leg == .close)
        #expect(desk.last?.limit == price("91.8"))
        #expect(desk.order.closeReason == .timeExit)
    }

    @Test func `a stop in the same tick wins over the time exit`() throws {
        var desk = try Desk(draft(stop: "95") { $0.exitAt = Timestamp(milliseconds: 1_001_000) })
        desk.tick("95")
        #expect(desk.order.closeReason == .stopLoss)
    }

    @Test func `a trailing level trails from its touch and fires at the way back`() throws {
        var desk = try Desk(
            draft(takeProfits: [level("105", "50"), level("110", "50")], stop: "95") {
                $0.takeProfits[1].trailingRate = rate("0.02")
            }
        )
        desk.tick("105")
        desk.tick("110")
        #expect(desk.order.levels[1].trailingExtreme == price("110"))
        #expect(desk.order.levels[1].state == .pending)
        desk.quietTick("115")
        #expect(desk.order.levels[1].trailingExtreme == price("115"))
        desk.quietTick("112.71")
        desk.tick("112.7")
        #expect(desk.last?.limit == price("101.43"))
        #expect(desk.order.status == .closed)
    }

    @Test func `fees in the base coin shrink what can be sold`() throws {
        // R11: 15 bought, 0.6% taken: 14.91 received, 14 orderable, dust 0.91.
        var desk = try Desk(
            draft(.buy, "15", takeProfits: [level("0.11627", "100")]),
            at: "0.10559",
            instrument: .test(kind: .spot, tickSize: "0.00001", stepSize: "1", minQuantity: "1"),
            answers: .silence,
        )
        desk.fill(key(.entry), "15", fee: "0.09", asset: .base)
        #expect(desk.order.received == quantity("14"))
        #expect(desk.order.dust == quantity("0.91"))
        #expect(desk.order.averageEntry?.rounded == price("0.106227364185"))
        desk.tick("0.11627")
        desk.fill(key(.takeProfit(1)), "14")
        #expect(desk.order.status == .closed)
        #expect(desk.order.realized.value.rounded(decimals: 12) == "0.140596901408")
    }

    @Test func `the rest of a target that nobody takes is not watched, the stop is`() throws {
        let targets = [level("105", "100")]
        var desk = try Desk(
            draft(takeProfits: targets, stop: "95"),
            instrument: .test(minQuantity: "0.5"),
            answers: .silence,
        )
        desk.fill(key(.entry), "10")
        desk.tick("105")
        desk.fill(key(.takeProfit(1)), "9.5")
        desk.end(key(.takeProfit(1)), .expired)
        #expect(desk.order.watches.map(\.leg) == [.stop, .takeProfit(1)], "half a coin is taken")
        desk.tick("106")
        desk.fill(key(.takeProfit(1), 2), "0.2")
        desk.end(key(.takeProfit(1), 2), .expired)
        #expect(desk.order.watches.map(\.leg) == [.stop])
        desk.quietTick("107")
        desk.tick("95")
        #expect(desk.order.status == .closed && desk.order.writtenOff == quantity("0.3"))
    }

    @Test func `a remainder that nobody takes is written off, so that the stop ends`() throws {
        var desk = try Desk(draft(stop: "95"), instrument: .test(minQuantity: "0.5"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        desk.fill(key(.stop), "9.7")
        desk.end(key(.stop), .expired)
        desk.tick("94")
        #expect(desk.order.status == .stopped)
        #expect(desk.order.writtenOff == quantity("0.3"))
        #expect(desk.facts.contains(.writtenOff(quantity("0.3"))))
    }

    @Test func `a late fill of an ended order is booked`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        try desk.command(.cancel)
        #expect(desk.order.status == .cancelled)
        let version = desk.order.version
        desk.fill(key(.takeProfit(1)), "4", at: "105")
        #expect(desk.order.version == version + 1)
        #expect(desk.order.exited == quantity("4"))
        #expect(desk.order.status == .cancelled)
    }

    @Test func `a job whose attempt is over decides nothing`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"))
        desk.tick("105")
        let again = desk.happen(.trigger(.takeProfit(1), attempt: 1))
        let later = desk.happen(.trigger(.takeProfit(1), attempt: 2))
        #expect(!again && !later)
        #expect(desk.order.awaits(.takeProfit(2), attempt: 1))
        desk.price = price("110")
        let fired = desk.happen(.trigger(.takeProfit(2), attempt: 1))
        #expect(fired)
        #expect(desk.order.levels[1].state == .filled)
    }

    @Test func `an exit that always expires ends up at one attempt per second`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("95")
        for attempt in 1..<120 {
            desk.end(key(.stop, attempt), .expired)
            desk.tick("95", after: 1)
        }
        desk.end(key(.stop, 120), .expired)
        #expect(!desk.order.wantsEveryTick)
        #expect(desk.order.nextTimer == desk.now.advanced(milliseconds: 1000))
        #expect(desk.order.health == .needsAttention)
    }
}
