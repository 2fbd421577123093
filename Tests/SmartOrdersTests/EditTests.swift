import SmartOrders
import Testing

struct EditTests {
    private func refused(_ code: RefusalCode, _ desk: Desk, _ change: (inout OrderEdit) -> Void) {
        var edit = OrderEdit()
        change(&edit)
        do {
            _ = try desk.order.decide(.command(.edit(edit)), at: desk.moment)
            Issue.record("accepted instead of \(code)")
        } catch {
            #expect(error.code == code)
        }
    }

    @Test func `an edit may loosen, but stays protective`() throws {
        var desk = try Desk(draft(trailing: "0.02"))
        desk.tick("110")
        try desk.edit { $0.trailing = TrailingPlan(callback: .rate(rate("0.05"))) }
        #expect(desk.order.effectiveStop?.price == price("104.5"))
        desk.tick("105")
        refused(.slWrongSide, desk) { $0.trailing = TrailingPlan(callback: .rate(rate("0.04"))) }
        refused(.slWrongSide, desk) { $0.stopLoss = StopLossPlan(price: price("105")) }
        try desk.edit { $0.trailing = TrailingPlan(callback: .amount(price("20"))) }
        #expect(desk.order.effectiveStop?.price == price("90"))
        #expect(desk.facts.contains(.modified(path: "trailing")))
    }

    @Test func `trailing added later is measured since the order became active`() throws {
        var desk = try Desk(draft(stop: "90"))
        desk.tick("110")
        desk.tick("109")
        try desk.edit { $0.trailing = TrailingPlan(callback: .rate(rate("0.02"))) }
        #expect(desk.order.effectiveStop?.price == price("107.8"))
    }

    @Test func `another trigger source starts the extreme again`() throws {
        var desk = try Desk(draft(trailing: "0.02"))
        desk.tick("110")
        desk.price = price("108")
        try desk.edit { $0.triggerSource = .last }
        #expect(desk.order.triggerSource == .last)
        #expect(desk.order.effectiveStop?.price == price("105.84"))
    }

    @Test func `the break-even switch acts at once after the first level, or is refused`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"))
        desk.tick("105")
        var below = desk
        try desk.edit { $0.breakEven = BreakEvenPlan(enabled: true) }
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("100"), kind: .breakEven))
        try desk.edit { $0.breakEven = BreakEvenPlan(enabled: false) }
        #expect(desk.order.effectiveStop == EffectiveStop(price: price("100"), kind: .breakEven))
        below.tick("100")
        refused(.breakEvenWouldTrigger, below) { $0.breakEven = BreakEvenPlan(enabled: true) }
    }

    @Test func `switching break-even off before the first level prevents the arming`() throws {
        var desk = try Desk(
            draft(takeProfits: product, stop: "95") { $0.breakEven = BreakEvenPlan(enabled: true) }
        )
        try desk.edit { $0.breakEven = BreakEvenPlan(enabled: false) }
        desk.tick("105")
        #expect(desk.order.effectiveStop?.price == price("95"))
    }

    @Test func `an edit that leaves no exit is refused, and nothing of it applies`() throws {
        let desk = try Desk(draft(stop: "95"))
        refused(.noExit, desk) {
            $0.stopLoss = .some(nil)
            $0.breakEven = BreakEvenPlan(enabled: true)
        }
        refused(.priceNotOnTick, desk) {
            $0.stopLoss = StopLossPlan(price: price("94"))
            $0.trailing = TrailingPlan(callback: .rate(rate("0.02")), activationPrice: price("105.001"))
        }
        #expect(desk.order.draft.stopLoss?.price == price("95"))
    }

    @Test func `listed levels replace the pending ones and sum to 100 with the others`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"))
        desk.tick("105")
        refused(.tpSizeSum, desk) { $0.takeProfits = [level("108", "100")] }
        refused(.tpWrongSide, desk) { $0.takeProfits = [level("104", "60")] }
        try desk.edit { $0.takeProfits = [level("108", "20"), level("112", "20"), level("125", "20")] }
        #expect(desk.order.levels.map(\.number) == [1, 2, 3, 4])
        #expect(desk.order.levels.map(\.planned) == ["4", "2", "2", "2"].map { quantity($0) })
        #expect(desk.order.draft.takeProfits.count == 4)
        desk.tick("108")
        #expect(desk.last?.leg == .takeProfit(2))
        #expect(desk.order.progress == (2, 4))
    }

    @Test func `a level cancelled alone leaves its share to the others`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"))
        try desk.edit { $0.cancelLevel = 1 }
        #expect(desk.order.levels[0].state == .cancelled)
        // 10 by 35/60 and 25/60.
        #expect(desk.order.levels[1].planned == quantity("5.8"))
        #expect(desk.order.levels[2].planned == quantity("4.2"))
        refused(.levelNotPending, desk) { $0.cancelLevel = 1 }
        refused(.notFound, desk) { $0.cancelLevel = 7 }
    }

    @Test func `a resting level gets a new limit as its next attempt`() throws {
        var desk = try Stand.monitoring.desk()
        refused(.levelNotPending, desk) { $0.restingLimit = OrderEdit.RestingLimit(level: 1, price: price("107")) }
        desk.tick("105")
        desk.accept(key(.takeProfit(1)))
        try desk.edit { $0.restingLimit = OrderEdit.RestingLimit(level: 1, price: price("107")) }
        #expect(desk.orders(.takeProfit(1)).count == 1)
        desk.end(key(.takeProfit(1)), .cancelled)
        #expect(desk.last?.attempt == 2)
        #expect(desk.last?.limit == price("107"))
        #expect(desk.order.levels[0].state == .triggered)
    }

    @Test func `a working entry is cancelled and placed again, a race fill counts`() throws {
        var desk = try Stand.entryWorking.desk()
        desk.accept(key(.entry))
        try desk.edit {
            $0.entryPrice = price("99")
            $0.quantity = quantity("12")
        }
        #expect(desk.cancelled == [key(.entry)])
        desk.fill(key(.entry), "3")
        desk.end(key(.entry), .cancelled)
        #expect(desk.last?.quantity == quantity("9"))
        #expect(desk.last?.limit == price("99"))
        desk.fill(key(.entry, 2), "9", at: "99")
        refused(.entryAlreadyFilled, desk) { $0.quantity = quantity("20") }
    }

    @Test func `a waiting entry may change its kind`() throws {
        var desk = try Stand.waitingEntry.desk()
        try desk.edit { $0.entry = EntryPlan(mode: .limit, price: price("101")) }
        #expect(desk.last?.type == .goodTillCancelled)
        #expect(desk.last?.limit == price("101"))
        #expect(desk.order.phase == .entryWorking)
    }

    @Test func `an edit of the stop ends a running timeout`() throws {
        var desk = try Desk(draft { $0.stopLoss = StopLossPlan(price: price("95"), timeoutMs: 5000) })
        desk.tick("94")
        #expect(desk.order.stopState == .delayed)
        try desk.edit { $0.stopLoss = StopLossPlan(price: price("93"), timeoutMs: 5000) }
        #expect(desk.order.stopState == .armed)
        #expect(desk.facts.contains(.stopDelayReset))
    }

    @Test func `removing the rate of a trailing level makes it plain again`() throws {
        var desk = try Desk(
            draft(takeProfits: [level("110", "100")], stop: "95") { $0.takeProfits[0].trailingRate = rate("0.02") }
        )
        desk.tick("110")
        desk.tick("109")
        try desk.edit { $0.takeProfits = [level("110", "100")] }
        #expect(desk.order.levels[0].trailingExtreme == nil)
        desk.tick("110")
        #expect(desk.order.status == .closed)
    }
}
