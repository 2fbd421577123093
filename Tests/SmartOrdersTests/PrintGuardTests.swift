import SmartOrders
import Testing

/// FA106: prints far from everything else, without and with the guard of RELIABILITY.md 4.7.
@Suite struct `A print far away` {
    @Test func `one print 99 percent away fires without a guard, and its limit bounds the price`() throws {
        var desk = try Desk(draft(stop: "95"))
        desk.tick("1")
        #expect(desk.order.latch?.price == price("95"))
        // R4.1: 10% through the trigger. Nobody pays that at 1, so the exit waits for a price that is real.
        #expect(desk.orders(.stop).map(\.limit) == [price("85.5")])
        #expect(desk.order.exited.isZero)
        desk.tick("99.9")
        #expect(desk.last?.limit == price("89.91"))
        #expect(desk.order.status == .stopped)
    }

    struct Row: Sendable {
        let name: String
        var side = Side.buy
        /// Price, milliseconds since the one before, reference. A price of nil is a timer.
        let prints: [(price: String?, after: Int64, reference: String?)]
        var latched: String?
        var extreme: String?
        /// What was said of prints, in short.
        var told: [String] = []
    }

    @Test(arguments: [
        Row(name: "a lone print", prints: [("1", 100, "100")], told: ["suspected 1"]),
        Row(
            name: "the next one is back",
            prints: [("1", 100, "100"), ("99.9", 100, "100")],
            told: ["suspected 1", "ignored 1"],
        ),
        Row(
            name: "the next one is beyond the stop too",
            prints: [("1", 100, "100"), ("94", 100, "100")],
            latched: "95",
            told: ["suspected 1", "confirmed 1"],
        ),
        Row(
            name: "the next one is as far away",
            prints: [("1", 100, "100"), ("0.9", 1_000, "100")],
            latched: "95",
            told: ["suspected 1", "confirmed 1"],
        ),
        Row(
            name: "the next one comes too late, and waits for its own witness",
            prints: [("1", 100, "100"), ("0.9", 1_001, "100")],
            told: ["suspected 1", "ignored 1", "suspected 0.9"],
        ),
        Row(
            name: "too late, but near enough to count alone",
            prints: [("1", 100, "100"), ("94", 1_001, "100")],
            latched: "95",
            told: ["suspected 1", "ignored 1"],
        ),
        Row(name: "nobody can judge", prints: [("1", 100, nil)], latched: "95"),
        Row(name: "the reference is beyond the stop itself", prints: [("1", 100, "94")], latched: "95"),
        Row(name: "at the edge of the band", prints: [("90", 100, "100")], latched: "95"),
        Row(name: "a step outside", prints: [("89.99", 100, "100")], told: ["suspected 89.99"]),
        Row(
            name: "the second source follows",
            prints: [("1", 100, "100"), (nil, 500, "100"), (nil, 100, "94")],
            latched: "95",
            told: ["suspected 1", "confirmed 1"],
        ),
        Row(
            name: "the second source comes too late",
            prints: [("1", 100, "100"), (nil, 1_001, "94"), (nil, 60_000, nil)],
            told: ["suspected 1", "ignored 1"],
        ),
        Row(
            name: "the time is over",
            prints: [("1", 100, "100"), (nil, 1_001, nil), (nil, 60_000, nil), ("99", 10, "100"), (nil, 10, nil)],
            told: ["suspected 1", "ignored 1"],
        ),
        Row(
            name: "a high moves the mark to the edge of the band",
            prints: [("150", 100, "100")],
            extreme: "110",
            told: ["ignored 150"],
        ),
        Row(
            name: "a high within the band moves it all the way",
            prints: [("110", 100, "100"), ("108", 100, "105")],
            extreme: "110",
        ),
        Row(
            name: "a short",
            side: .sell,
            prints: [("200", 100, "100"), ("100", 100, "100"), ("200", 100, "100"), ("105", 100, "100")],
            latched: "105",
            told: ["suspected 200", "ignored 200", "suspected 200", "confirmed 200"],
        ),
        Row(name: "a short's low", side: .sell, prints: [("50", 100, "100")], extreme: "90", told: ["ignored 50"]),
    ])
    func `is judged before it counts`(_ row: Row) throws {
        var desk = try Desk(
            draft(row.side, stop: row.side == .buy ? "95" : "105") { $0.printGuard = PrintGuardPlan() }
        )
        for print in row.prints {
            desk.reference = print.reference.map(price)
            if let at = print.price {
                desk.position = TickPosition(venueTime: desk.position.venueTime + 1, sequence: 0)
                desk.tick(at, after: print.after)
            } else {
                desk.timer(after: print.after)
            }
        }
        #expect(desk.order.latch?.price == row.latched.map(price), "\(row.name)")
        if let extreme = row.extreme { #expect(desk.order.extreme == price(extreme), "\(row.name)") }
        let told = desk.facts.compactMap { fact -> String? in
            switch fact {
            case .printSuspected(let price, _): "suspected \(price)"
            case .printConfirmed(let price): "confirmed \(price)"
            case .printIgnored(let price): "ignored \(price)"
            default: nil  // tidy-ok: the facts of this test
            }
        }
        #expect(told == row.told, "\(row.name)")
    }

    private func desk(_ edit: (inout Draft) -> Void) throws -> Desk {
        try Desk(
            draft { draft in
                draft.stopLoss = StopLossPlan(price: price("95"))
                draft.printGuard = PrintGuardPlan()
                edit(&draft)
            }
        )
    }

    @Test func `waits for every tick while a print waits, and for a third of the band else`() throws {
        var desk = try desk { _ in }
        #expect(
            desk.order.watches.map(\.condition) == [
                .atOrBelow(price("95")), .atOrBelow(price("96.666666666667")), .atOrAbove(price("103.333333333333")),
            ]
        )
        desk.quietTick("103.33")
        // A drift moves the edges with it, and says nothing.
        desk.position = TickPosition(venueTime: 1, sequence: 0)
        desk.reference = price("103")
        let facts = desk.facts.count
        let isMoved = desk.tick("104")
        #expect(isMoved && desk.facts.count == facts && desk.order.printCentre == price("104"))
        desk.position = TickPosition(venueTime: 2, sequence: 0)
        desk.tick("1")
        let watch = try #require(desk.order.watches.first)
        #expect(desk.order.watches.count == 1 && watch.isCrossed(by: price("0.00000001"), on: price("0.01")))
        #expect(desk.order.awaits(watch.leg, attempt: watch.attempt))
        #expect(!desk.order.awaits(.stop, attempt: 1))
        #expect(desk.order.nextTimer == desk.now.advanced(milliseconds: 1_000))
        desk.position = TickPosition(venueTime: 3, sequence: 0)
        desk.tick("104")
        #expect(desk.order.watches.count == 3 && desk.order.nextTimer == nil)
    }

    @Test func `targets, entries and marks wait for a witness like stops`() throws {
        func print(_ at: String, _ desk: inout Desk) {
            desk.position = TickPosition(venueTime: desk.position.venueTime + 1, sequence: 0)
            desk.reference = price("100")
            desk.tick(at, after: 10)
        }
        var target = try desk { $0.takeProfits = [level("120", "100")] }
        print("200", &target)
        #expect(target.orders(.takeProfit(1)).isEmpty)
        print("121", &target)
        #expect(target.orders(.takeProfit(1)).count == 1)

        var entry = try desk {
            $0.entry = EntryPlan(mode: .conditional, trigger: price("120"), limitPrice: price("130"))
        }
        print("200", &entry)
        #expect(!entry.order.entryTriggered)
        print("121", &entry)
        #expect(entry.order.entryTriggered)

        var locks = try desk { $0.stepLocks = [.price(at: price("115"), lock: price("110"))] }
        print("200", &locks)
        print("100", &locks)
        #expect(locks.order.locksReached == 0)
        print("200", &locks)
        print("116", &locks)
        #expect(locks.order.lockPrice == price("110"))

        // The clock of a delayed stop does not start with a print that nobody confirms.
        var delayed = try desk { $0.stopLoss?.timeoutMs = 5_000 }
        print("1", &delayed)
        #expect(delayed.order.delayedSince == nil)
        print("94", &delayed)
        #expect(delayed.order.delayedSince != nil)
    }

    @Test func `an exit under way is not held up`() throws {
        var desk = try desk { _ in }
        desk.answers = .silence
        desk.reference = price("94")
        desk.tick("94")
        desk.end(key(.stop), .expired)
        desk.position = TickPosition(venueTime: 5, sequence: 0)
        desk.reference = price("100")
        desk.tick("1")
        #expect(desk.orders(.stop).count == 2 && desk.order.suspect == nil)
    }

    @Test func `is switched on and off by an edit`() throws {
        var desk = try Desk(draft(stop: "95"))
        try desk.edit { $0.printGuard = .some(PrintGuardPlan(bandPercent: "20")) }
        #expect(desk.order.draft.printGuard?.bandPercent == "20" && desk.order.printCentre == price("100"))
        desk.position = TickPosition(venueTime: 1, sequence: 0)
        desk.reference = price("100")
        desk.tick("79.99")
        #expect(desk.order.suspect != nil)
        try desk.edit { $0.printGuard = .some(nil) }
        #expect(desk.order.suspect == nil && desk.order.printCentre == nil && desk.order.watches.count == 1)
        desk.position = TickPosition(venueTime: 2, sequence: 0)
        desk.tick("79.98")
        #expect(desk.order.latch != nil)
    }

    @Test(arguments: [
        ("1", true), ("50", true), ("0.9999", false), ("50.0001", false), ("-1", false), ("1.00001", false),
    ])
    func `the band is 1 to 50 percent`(_ row: (band: ExactDecimal, isTaken: Bool)) {
        #expect(PrintGuardPlan.isInRange(row.band) == row.isTaken)
    }
}
