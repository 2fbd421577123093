import SmartOrders
import Testing

struct StopTests {
    @Test func `a trailing stop is tested before it moves`() throws {
        var desk = try Desk(draft(trailing: "0.02"))
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("98"), kind: .trailing))
        desk.quietTick("110")
        #expect(desk.order.effectiveStop?.price == price("107.8"))
        desk.quietTick("107.81")
        desk.tick("107")
        #expect(desk.order.status == .stopped)
        #expect(desk.order.closeReason == .trailingStop)
        #expect(desk.last?.limit == price("97.02"))
        #expect(desk.order.realized == money("70"))
    }

    @Test func `a short's stop mirrors it`() throws {
        var desk = try Desk(draft(.sell, trailing: "0.02"))
        desk.tick("90")
        #expect(desk.order.effectiveStop?.price == price("91.8"))
        desk.tick("91.8")
        #expect(desk.order.status == .stopped)
        #expect(desk.last?.limit == price("100.98"))
    }

    @Test(arguments: [
        ("99", "0.02", StopKind.fixed, "99"), ("98", "0.02", .fixed, "98"), ("95", "0.02", .trailing, "98"),
    ])
    func `the tightest candidate binds, the first on equal prices`(_ row: (String, String, StopKind, String)) throws {
        let desk = try Desk(draft(stop: row.0, trailing: row.1))
        #expect(desk.order.effectiveStop == EffectiveStop(price: price(row.3), kind: row.2))
    }

    @Test func `three candidates: trailing over break-even over the fixed stop`() throws {
        var desk = try Desk(
            draft(takeProfits: product, stop: "95", trailing: "0.02") { $0.breakEven = BreakEvenPlan(enabled: true) }
        )
        desk.tick("105")
        #expect(desk.order.breakEvenPrice == price("100"))
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("102.9"), kind: .trailing))
        desk.tick("102.9")
        #expect(desk.order.closeReason == .trailingStop)
    }

    @Test func `an activation price holds the trailing stop back, and its tick starts it`() throws {
        var desk = try Desk(
            draft(.buy, "1", entry: EntryPlan(mode: .attach, price: price("7000"))) {
                $0.trailing = TrailingPlan(callback: .amount(price("100")), activationPrice: price("8000"))
            },
            at: "7000",
        )
        #expect(desk.order.effectiveStop == nil)
        #expect(desk.order.stopState == .none)
        desk.tick("7500")
        #expect(desk.order.effectiveStop == nil)
        desk.tick("8000")
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("7900"), kind: .trailing))
        #expect(desk.order.stopState == .armed)
        desk.tick("7900")
        #expect(desk.order.status == .stopped)
        #expect(desk.last?.limit == price("7110"))
    }

    @Test func `a timeout waits for the whole time, and a recovery resets it`() throws {
        var desk = try Desk(draft { $0.stopLoss = StopLossPlan(price: price("95"), timeoutMs: 5000) })
        desk.tick("95")
        #expect(desk.order.stopState == .delayed)
        desk.tick("95.5", after: 3000)
        #expect(desk.order.stopState == .armed)
        desk.tick("94", after: 1000)
        desk.tick("94.5", after: 4000)
        #expect(desk.order.status == .active)
        desk.tick("94", after: 1000)
        #expect(desk.order.status == .stopped)
        #expect(desk.last?.limit == price("85.5"))
    }

    @Test func `a timeout elapses by a timer at the last known price`() throws {
        var desk = try Desk(draft { $0.stopLoss = StopLossPlan(price: price("95"), timeoutMs: 5000) })
        desk.tick("94")
        #expect(desk.order.nextTimer == desk.now.advanced(milliseconds: 5000))
        desk.quietTimer(after: 4999)
        desk.timer(after: 1)
        #expect(desk.order.status == .stopped)
    }

    @Test func `the emergency price cuts the timeout short, anchored at itself`() throws {
        var desk = try Desk(
            draft {
                $0.stopLoss = StopLossPlan(price: price("95"), timeoutMs: 60000, emergencyPrice: price("90"))
            }
        )
        desk.tick("94")
        desk.tick("89.9")
        #expect(desk.order.closeReason == .stopLoss)
        #expect(desk.last?.limit == price("81"))
    }

    @Test func `a timeout does not hold back a stop of another kind`() throws {
        var desk = try Desk(
            draft(trailing: "0.07") { $0.stopLoss = StopLossPlan(price: price("95"), timeoutMs: 60000) }
        )
        desk.tick("94")
        #expect(desk.order.stopState == .delayed)
        desk.tick("92.9")
        #expect(desk.order.closeReason == .trailingStop)
    }

    @Test func `follow-TP goes to break-even, then to the level before`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95") { $0.stopFollow = .followTP })
        desk.tick("105")
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("100"), kind: .follow))
        desk.tick("110")
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("105"), kind: .follow))
        desk.tick("105")
        #expect(desk.order.closeReason == .followStop)
        #expect(desk.last?.limit == price("94.5"))
    }

    @Test func `a level that fills late does not loosen the stop that follows`() throws {
        let levels = [
            level("105", "25", .limit, limit: "130"), level("110", "25"), level("120", "25"), level("140", "25"),
        ]
        var desk = try Desk(draft(takeProfits: levels, stop: "95") { $0.stopFollow = .followTP })
        for at in ["105", "110", "120", "125"] { desk.tick(at) }
        #expect(desk.order.followPrice == price("110"))
        desk.fill(key(.takeProfit(1)), "2.5", at: "130")
        #expect(desk.order.levels[0].state == .filled)
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("110"), kind: .follow))
    }

    @Test func `where stop and target are both reached the stop wins`() throws {
        var desk = try Desk(draft(takeProfits: product, trailing: "0.02"), answers: .silence)
        desk.fill(key(.entry), "10", at: "100")
        desk.tick("105")
        // While targets pause after a refusal the stop goes on past them.
        desk.refuse(key(.takeProfit(1)), .rateLimited)
        desk.tick("112", after: 100)
        #expect(desk.order.effectiveStop?.price == price("109.76"))
        desk.tick("109.7")
        #expect(desk.order.latch?.kind == .trailing)
        #expect(desk.order.levels.map(\.state) == [.cancelled, .cancelled, .cancelled])
        #expect(desk.placed.map(\.leg) == [.entry, .takeProfit(1), .stop])
        #expect(desk.last?.quantity == quantity("10"))
    }

    @Test func `the tick that fires the stop moves no mark`() throws {
        var desk = try Desk(draft(trailing: "0.02"))
        desk.tick("112")
        try desk.edit { $0.stepLocks = [.percent(at: "8", lock: "1")] }
        desk.tick("109")
        #expect(desk.order.closeReason == .trailingStop)
        #expect(desk.order.locksReached == 0)
        #expect(desk.order.lockPrice == nil)
    }

    @Test func `on equal prices break-even names the stop that follows`() throws {
        var desk = try Desk(
            draft(takeProfits: product, stop: "95") {
                $0.stopFollow = .followTP
                $0.breakEven = BreakEvenPlan(enabled: true)
            }
        )
        desk.tick("105")
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("100"), kind: .breakEven))
    }

    @Test func `step locks: at +5 lock 3, at +10 lock 7, from the next tick`() throws {
        let steps: [StepLockPlan] = [.percent(at: "5", lock: "3"), .percent(at: "10", lock: "7")]
        var desk = try Desk(draft(stop: "95") { $0.stepLocks = steps })
        desk.tick("104.99")
        #expect(desk.order.lockPrice == nil)
        desk.tick("105")
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("103"), kind: .lock))
        desk.tick("110")
        desk.tick("107")
        #expect(desk.order.closeReason == .stepLock)
        #expect(desk.last?.limit == price("96.3"))

        var jump = try Desk(draft(stop: "95") { $0.stepLocks = steps })
        jump.tick("112")
        #expect(jump.order.lockPrice == price("107"))
        #expect(jump.order.locksReached == 2)
    }

    @Test func `percent steps refer to the average at that moment`() throws {
        var desk = try Desk(
            draft(entry: EntryPlan(mode: .attach, price: price("99.7")), stop: "95") {
                $0.stepLocks = [.percent(at: "5", lock: "3")]
            }
        )
        desk.tick("104.68")
        #expect(desk.order.lockPrice == nil)
        desk.tick("104.69")
        #expect(desk.order.lockPrice == price("102.7"))
    }

    @Test(arguments: [(BreakEvenPlan.Mode.entry, "100"), (.offset, "100.15")])
    func `break-even arms by percentage without any level`(_ row: (BreakEvenPlan.Mode, String)) throws {
        var desk = try Desk(
            draft(stop: "95") {
                $0.breakEven = BreakEvenPlan(
                    enabled: true,
                    mode: row.0,
                    offsetPercent: "0.15",
                    armPercent: "3",
                )
            }
        )
        desk.tick("102.99")
        #expect(desk.order.breakEvenPrice == nil)
        desk.tick("103")
        #expect(desk.order.effectiveStop == EffectiveStop(price: price(row.1), kind: .breakEven))
    }

    @Test func `break-even waits for the fill of the first level, not for its trigger`() throws {
        var desk = try Desk(
            draft(takeProfits: [level("105", "40", .limit, limit: "105.5"), level("110", "60")], stop: "95") {
                $0.breakEven = BreakEvenPlan(enabled: true)
            }
        )
        desk.tick("105")
        #expect(desk.order.levels[0].state == .triggered)
        #expect(desk.order.effectiveStop?.price == price("95"))
        desk.price = price("105.5")
        desk.fill(key(.takeProfit(1)), "4")
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("100"), kind: .breakEven))
        #expect(desk.facts.contains(.breakEvenArmed(price("100"))))
    }

    @Test func `break-even follows a better average only`() throws {
        var desk = try Desk(
            draft(takeProfits: product, stop: "80") { $0.breakEven = BreakEvenPlan(enabled: true) }
        )
        desk.tick("105")
        try desk.command(.addFunds(quantity("6"), limitPrice: nil))
        // (6 x 100 + 6 x 105) / 12 = 102.5, tighter and below 105.
        #expect(desk.order.breakEvenPrice == price("102.5"))
        desk.tick("103")
        try desk.command(.addFunds(quantity("12"), limitPrice: price("90")))
        desk.fill(key(.add, 2), "12", at: "90")
        #expect(desk.order.averageEntry?.rounded == price("96.25"))
        #expect(desk.order.breakEvenPrice == price("102.5"))
    }

    @Test func `break-even with fees: the last 6 end at +0.05874`() throws {
        var desk = try Desk(
            draft(entry: EntryPlan(mode: .market), takeProfits: product, stop: "95") {
                $0.breakEven = BreakEvenPlan(enabled: true, mode: .fees)
            },
            instrument: .test(takerFee: "0.001"),
            answers: .silence,
        )
        desk.fill(key(.entry), "10", at: "100", fee: "1")
        desk.tick("105")
        desk.fill(key(.takeProfit(1)), "4", at: "105", fee: "0.42")
        #expect(desk.order.breakEvenPrice == price("100.21"))
        desk.tick("100.21")
        desk.fill(key(.stop), "6", at: "100.21", fee: "0.60126")
        #expect(desk.order.status == .stopped)
        // Net of the last 6: 6 x 0.21 - 0.6 - 0.60126.
        #expect(desk.order.realized - desk.order.fees == money("20") + money("1.26") - money("2.02126"))
    }
}
