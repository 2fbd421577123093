import SmartOrders
import Testing

struct EntryTests {
    static let limit = EntryPlan(mode: .limit, price: price("100"))

    @Test func `protection starts with the first fill and grows with the entry`() throws {
        var desk = try Desk(draft(entry: Self.limit, takeProfits: product, stop: "95"), at: "101")
        #expect(desk.order.phase == .entryWorking)
        #expect(desk.order.levels.allSatisfy { $0.planned.isZero })
        desk.fill(key(.entry), "4", at: "100")
        #expect(desk.order.status == .active)
        #expect(desk.order.levels.map(\.planned) == ["1.6", "1.4", "1"].map { quantity($0) })
        desk.fill(key(.entry), "6", at: "99.5")
        #expect(desk.order.levels.map(\.planned) == ["4", "3.5", "2.5"].map { quantity($0) })
        #expect(desk.order.averageEntry?.rounded == price("99.7"))
        #expect(desk.order.extreme == price("100"))
    }

    /// RELIABILITY.md 4.6.3: the venue tells a fill sooner than the ticks that led to it.
    @Test func `ticks from before the fill do not touch what it arms`() throws {
        let entry = EntryPlan(mode: .market)
        let start = Timestamp(milliseconds: 1_790_000_000_000)
        func at(_ milliseconds: Int64) -> Timestamp { start.advanced(milliseconds: milliseconds) }
        func position(_ milliseconds: Int64) -> TickPosition {
            TickPosition(venueTime: at(milliseconds).microseconds, sequence: 9)
        }
        func moment(_ milliseconds: Int64, newest: Int64) -> Moment {
            Moment(now: at(milliseconds), price: price("100"), position: position(newest))
        }
        func filled(_ milliseconds: Int64, known: Int64, newest: Int64) throws -> TickPosition {
            let created = try SmartOrder.create(
                draft(entry: entry, stop: "95"),
                id: testOrder,
                account: testAccount,
                instrument: .test(),
                at: moment(0, newest: newest),
            ).next
            let fill = Fill(
                venueFillID: "f1",
                quantity: quantity("10"),
                price: price("99"),
                fee: .zero,
                feeAsset: .quote,
                time: at(milliseconds),
            )
            let decision = try created.decide(.venue(key(.entry), .fill(fill)), at: moment(known, newest: newest))
            return try #require(decision).next.extremePosition
        }
        #expect(try filled(500, known: 600, newest: 0) == .before(ticksAt: at(500).microseconds))
        #expect(try filled(500, known: 900, newest: 700) == position(700), "what is known is newer")
        // A venue whose clock is ahead, and one whose prices are of another day.
        #expect(try filled(900, known: 600, newest: 0) == .before(ticksAt: at(600).microseconds))
        #expect(try filled(500, known: 600, newest: -86_400_000) == position(-86_400_000))
    }

    @Test func `a stop cancels the entry rest before its exit is through`() throws {
        let entry = EntryPlan(mode: .limit, price: price("100"))
        var desk = try Desk(draft(entry: entry, stop: "95"), at: "101", answers: .silence)
        desk.accept(key(.entry))
        desk.fill(key(.entry), "4", at: "100")
        desk.tick("95")
        #expect(desk.last?.leg == .stop && desk.last?.quantity == quantity("4"))
        #expect(desk.cancelled == [key(.entry)])
        #expect(desk.order.entryGoal == .end(.entryCancelled))
    }

    @Test func `the first exit trigger cancels the entry rest`() throws {
        var desk = try Desk(draft(entry: Self.limit, takeProfits: product, stop: "95"), at: "101")
        desk.fill(key(.entry), "4", at: "100")
        desk.tick("105")
        #expect(desk.cancelled == [key(.entry)])
        #expect(desk.orders(.takeProfit(1)).map(\.quantity) == [quantity("1.6")])
        desk.tick("110")
        desk.tick("120")
        #expect(desk.order.status == .closed)
        #expect(desk.order.realized == money("42"))
    }

    @Test func `an entry that fills in the race grows the rest`() throws {
        var desk = try Desk(draft(entry: Self.limit, takeProfits: product, stop: "95"), at: "101", answers: .silence)
        desk.accept(key(.entry))
        desk.fill(key(.entry), "4", at: "100")
        desk.tick("105")
        desk.fill(key(.takeProfit(1)), "1.6")
        desk.fill(key(.entry), "1", at: "100")
        desk.end(key(.entry), .cancelled)
        // 3.4 left by 35/60 and 25/60.
        #expect(desk.order.levels.map(\.planned) == ["1.6", "1.9", "1.5"].map { quantity($0) })
    }

    @Test func `a fill that wins the race of a stop is exited with it`() throws {
        var desk = try Desk(draft(entry: Self.limit, stop: "95"), at: "101", answers: .silence)
        desk.accept(key(.entry))
        desk.fill(key(.entry), "4", at: "100")
        desk.tick("95")
        desk.fill(key(.stop), "4")
        #expect(desk.order.status == .active)
        desk.fill(key(.entry), "2", at: "100")
        #expect(desk.last?.leg == .stop)
        #expect(desk.last?.quantity == quantity("2"))
        desk.end(key(.entry), .cancelled)
        desk.fill(key(.stop, 2), "2")
        #expect(desk.order.status == .stopped)
    }

    @Test(arguments: [
        (VenueNews.VenueEnd.expired, CloseReason.entryExpired), (.cancelled, .entryCancelled),
    ])
    func `an entry that ends unfilled ends the order`(_ row: (VenueNews.VenueEnd, CloseReason)) throws {
        var desk = try Desk(draft(entry: Self.limit, takeProfits: product, stop: "95"), at: "101")
        desk.end(key(.entry), row.0)
        #expect(desk.order.status == .cancelled)
        #expect(desk.order.closeReason == row.1)
        #expect(desk.order.levels.allSatisfy { $0.state == .cancelled })
    }

    @Test func `an entry that ends part-filled leaves its exits`() throws {
        var desk = try Desk(draft(entry: Self.limit, takeProfits: product, stop: "95"), at: "101")
        desk.fill(key(.entry), "4", at: "100")
        desk.end(key(.entry), .expired)
        desk.tick("95")
        #expect(desk.last?.quantity == quantity("4"))
        #expect(desk.order.closeReason == .stopLoss)
    }

    @Test(arguments: [VenueNews.RefusalKind.rejected, .insufficientBalance, .credentials, .priceOutOfBand])
    func `a refused entry fails the order`(_ kind: VenueNews.RefusalKind) throws {
        var desk = try Desk(draft(entry: Self.limit, takeProfits: product, stop: "95"), at: "101", answers: .silence)
        desk.refuse(key(.entry), kind)
        #expect(desk.order.status == .failed)
        #expect(desk.order.closeReason == .entryRejected)
    }

    @Test func `an entry that was not sent goes when it can`() throws {
        var desk = try Desk(draft(stop: "95"), answers: .silence)
        desk.news(key(.entry), .notSent)
        #expect(desk.order.status == .pending)
        #expect(desk.order.wantsEveryTick)
        desk.tick("101")
        #expect(desk.last?.leg == .entry)
        #expect(desk.last?.attempt == 2)
        desk.refuse(key(.entry, 2), .rateLimited)
        desk.quietTick("101", after: 1)
        desk.timer(after: 1000)
        desk.news(key(.entry, 3), .unknown)
        desk.news(key(.entry, 3), .absent)
        #expect(desk.last?.attempt == 4)
        desk.fill(key(.entry, 4), "10")
        #expect(desk.order.status == .active)
    }

    @Test func `a conditional entry waits for its side of the price, and its tick does nothing else`() throws {
        var desk = try Desk(
            draft(
                entry: EntryPlan(mode: .conditional, trigger: price("105")),
                takeProfits: [level("110", "100")],
                stop: "101",
            ),
            answers: .silence,
        )
        #expect(desk.order.phase == .waitingEntry)
        desk.quietTick("100.5")
        desk.tick("105")
        #expect(desk.order.phase == .entryWorking)
        #expect(desk.last?.type == .market)
        desk.fill(key(.entry), "10")
        desk.tick("101")
        #expect(desk.order.phase == .stopping)
    }

    @Test func `a conditional entry below the price, with a limit`() throws {
        var desk = try Desk(
            draft(entry: EntryPlan(mode: .conditional, trigger: price("95"), limitPrice: price("94")), stop: "90")
        )
        desk.quietTick("95.01")
        desk.tick("95")
        #expect(desk.last?.type == .goodTillCancelled)
        #expect(desk.last?.limit == price("94"))
    }

    @Test func `a trailing entry enters when the price comes back`() throws {
        var desk = try Desk(
            draft(
                .buy,
                "1",
                entry: EntryPlan(mode: .trailing, activation: price("44000"), callbackRate: rate("0.05")),
                stop: "43000",
            ),
            at: "40000",
            instrument: .test(tickSize: "0.5", stepSize: "0.001"),
        )
        desk.quietTick("37000")
        desk.tick("44000")
        for at in ["45000", "46000", "42000", "44099.5"] { desk.quietTick(at) }
        desk.tick("44100")
        #expect(desk.order.status == .active)
        #expect(desk.last?.type == .market)
    }

    @Test func `open now cancels the waiting limit and buys the rest at market`() throws {
        var desk = try Desk(draft(entry: Self.limit, stop: "95"), at: "103", answers: .silence)
        desk.accept(key(.entry))
        try desk.command(.openNow)
        #expect(desk.cancelled == [key(.entry)])
        desk.fill(key(.entry), "3", at: "100")
        desk.end(key(.entry), .cancelled)
        #expect(desk.last?.type == .market)
        #expect(desk.last?.quantity == quantity("7"))
        desk.fill(key(.entry, 2), "7")
        #expect(throws: Refusal.self) { try desk.command(.openNow) }
    }

    @Test func `open now on a waiting entry needs no cancel`() throws {
        var desk = try Desk(
            draft(entry: EntryPlan(mode: .conditional, trigger: price("105"), limitPrice: price("104")), stop: "95")
        )
        try desk.command(.openNow)
        #expect(desk.last?.type == .market)
        #expect(desk.order.status == .active)
    }

    @Test func `a race fill against cancel is kept and shown`() throws {
        var desk = try Desk(draft(entry: Self.limit, takeProfits: product, stop: "95"), at: "101", answers: .silence)
        desk.accept(key(.entry))
        try desk.command(.cancel)
        #expect(desk.order.phase == .cancelling)
        desk.fill(key(.entry), "3", at: "100")
        desk.end(key(.entry), .cancelled)
        #expect(desk.statuses == [.active, .cancelled])
        #expect(desk.order.closeReason == .userCancel)
        #expect(desk.order.remaining == quantity("3"))
    }

    @Test func `a race fill against cancelEntry keeps its exits`() throws {
        var desk = try Desk(draft(entry: Self.limit, takeProfits: product, stop: "95"), at: "101", answers: .silence)
        desk.accept(key(.entry))
        try desk.command(.cancelEntry)
        desk.fill(key(.entry), "4", at: "100")
        desk.end(key(.entry), .cancelled)
        #expect(desk.order.status == .active)
        #expect(desk.order.levels.map(\.planned) == ["1.6", "1.4", "1"].map { quantity($0) })
        #expect(throws: Refusal.self) { try desk.command(.cancelEntry) }
    }

    @Test func `an expiry ends a waiting entry, and the exit time a resting one`() throws {
        let expiry = Timestamp(milliseconds: 1_005_000)
        var waiting = try Desk(
            draft(entry: EntryPlan(mode: .conditional, trigger: price("105"), expiresAt: expiry), stop: "95")
        )
        #expect(waiting.order.nextTimer == expiry)
        waiting.timer(after: 5000)
        #expect(waiting.order.closeReason == .entryExpired)

        var resting = try Desk(draft(entry: Self.limit, stop: "95") { $0.exitAt = expiry }, at: "101")
        resting.timer(after: 5000)
        #expect(resting.order.closeReason == .timeExit)
    }

    @Test func `a fill that races the exit time leaves at market`() throws {
        var desk = try Desk(
            draft(entry: Self.limit, stop: "95") { $0.exitAt = Timestamp(milliseconds: 1_005_000) },
            at: "101",
            answers: .silence,
        )
        desk.accept(key(.entry))
        desk.timer(after: 5000)
        desk.fill(key(.entry), "2", at: "100")
        #expect(desk.last?.leg == .close)
        desk.fill(key(.close), "2")
        desk.end(key(.entry), .cancelled)
        #expect(desk.order.status == .closed)
        #expect(desk.order.closeReason == .timeExit)
    }

    @Test func `an adopted order is the entry, with the fills it has`() throws {
        let fill = Fill(
            venueFillID: "a",
            quantity: quantity("4"),
            price: price("100"),
            time: Timestamp(milliseconds: 1),
        )
        let adopted = AdoptedOrder(
            venueOrderID: "v9",
            side: .buy,
            quantity: quantity("10"),
            limit: price("100"),
            fills: [fill],
        )
        let plan = draft(entry: EntryPlan(mode: .attach, venueOrder: "v9"), takeProfits: product, stop: "95")
        var desk = try Desk(plan, at: "101", bounds: CreationBounds(adopted: adopted))
        #expect(desk.placed.isEmpty)
        #expect(desk.order.status == .active)
        #expect(desk.order.levels.map(\.planned) == ["1.6", "1.4", "1"].map { quantity($0) })
        desk.fill(key(.entry), "6", at: "100")
        #expect(desk.order.remaining == quantity("10"))

        var leaving = try Desk(plan, at: "101", bounds: CreationBounds(adopted: adopted))
        try leaving.command(.cancelLeavingEntry)
        #expect(leaving.cancelled.isEmpty)
        #expect(leaving.order.status == .cancelled)
    }

    @Test func `attached coins count from the current price`() throws {
        let desk = try Desk(draft(entry: EntryPlan(mode: .attach, price: price("100")), trailing: "0.02"), at: "104")
        #expect(desk.order.status == .active)
        #expect(desk.order.effectiveStop?.price == price("101.92"))
        #expect(desk.order.averageEntry?.rounded == price("100"))
    }
}
