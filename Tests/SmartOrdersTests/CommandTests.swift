import SmartOrders
import Testing

/// An order in each of the stands that ORDERS.md 5.1 tells apart.
enum Stand: String, CaseIterable, Sendable {
    case waitingEntry, entryWorking, monitoring, monitoringWithRest, stopping, closing, cancelling, terminal

    func desk() throws -> Desk {
        let plan = draft(takeProfits: [level("105", "40", .limit, limit: "106"), level("110", "60")], stop: "95")
        switch self {
        case .waitingEntry:
            var waiting = plan
            waiting.entry = EntryPlan(mode: .conditional, trigger: price("104"))
            return try Desk(waiting, answers: .silence)
        case .entryWorking: return try Desk(limited(plan), answers: .silence)
        case .monitoring: return try opened(plan)
        case .monitoringWithRest:
            var desk = try Desk(limited(plan), answers: .silence)
            desk.accept(key(.entry))
            desk.fill(key(.entry), "4")
            return desk
        case .stopping:
            var desk = try opened(plan)
            desk.tick("95")
            return desk
        case .closing:
            var desk = try opened(plan)
            try desk.command(.closeMarket)
            return desk
        case .cancelling:
            var desk = try opened(plan)
            desk.tick("105")
            try desk.command(.cancel)
            return desk
        case .terminal:
            var desk = try opened(plan)
            try desk.command(.cancel)
            return desk
        }
    }

    private func limited(_ plan: Draft) -> Draft {
        var limited = plan
        limited.entry = EntryPlan(mode: .limit, price: price("100"))
        return limited
    }

    private func opened(_ plan: Draft) throws -> Desk {
        var desk = try Desk(plan, answers: .silence)
        desk.fill(key(.entry), "10")
        return desk
    }
}

struct CommandTests {
    enum Answer: Equatable, Sendable {
        case yes, nothing
        case no(RefusalCode)
    }

    struct Row: Sendable {
        let name: String
        let command: Command
        /// In the order of `Stand`.
        let answers: [Answer]
    }

    static let rows: [Row] = {
        var edit = OrderEdit()
        edit.stopLoss = StopLossPlan(price: price("94"))
        let tooLate = Answer.no(.stopAlreadyTriggered)
        let terminal = Answer.no(.orderTerminal)
        let notReducible = Answer.no(.notReducible)
        let filled = Answer.no(.entryAlreadyFilled)
        return [
            Row(
                name: "edit",
                command: .edit(edit),
                answers: [.yes, .yes, .yes, .yes, tooLate, tooLate, tooLate, terminal],
            ),
            Row(
                name: "openNow",
                command: .openNow,
                answers: [.yes, .yes, filled, .yes, tooLate, tooLate, tooLate, terminal],
            ),
            Row(
                name: "addFunds",
                command: .addFunds(quantity("1"), limitPrice: nil),
                answers: [.yes, .yes, .yes, .yes, tooLate, tooLate, tooLate, terminal],
            ),
            Row(
                name: "reduceFunds",
                command: .reduceFunds(quantity("1")),
                answers: [
                    notReducible, notReducible, .yes, .yes, notReducible, notReducible, notReducible, terminal,
                ],
            ),
            Row(
                name: "closeMarket",
                command: .closeMarket,
                answers: [notReducible, notReducible, .yes, .yes, .yes, .nothing, tooLate, terminal],
            ),
            Row(
                name: "closeLevel",
                command: .closeLevel(1),
                answers: [notReducible, notReducible, .yes, .yes, tooLate, tooLate, tooLate, terminal],
            ),
            Row(
                name: "cancelEntry",
                command: .cancelEntry,
                answers: [.yes, .yes, filled, .yes, .nothing, .nothing, .nothing, terminal],
            ),
            Row(name: "cancel", command: .cancel, answers: [.yes, .yes, .yes, .yes, .yes, .yes, .nothing, terminal]),
        ]
    }()

    @Test(arguments: rows.indices, Stand.allCases)
    func `what is allowed when`(_ index: Int, _ stand: Stand) throws {
        let row = Self.rows[index]
        let desk = try stand.desk()
        let position = try #require(Stand.allCases.firstIndex(of: stand))
        let answer: Answer
        do {
            let decision = try desk.order.decide(.command(row.command), at: desk.moment)
            // T21: with an attempt in flight there is nothing to send, but the limit stop's turn is over.
            answer = decision == nil ? .nothing : .yes
        } catch {
            answer = .no(error.code)
        }
        #expect(answer == row.answers[position], "\(row.name) while \(stand)")
    }

    @Test func `close at market in stopping turns a resting limit stop into a market exit`() throws {
        var desk = try Desk(
            draft { $0.stopLoss = StopLossPlan(price: price("95"), execution: .limit, limitPrice: price("95")) },
            answers: .silence,
        )
        desk.fill(key(.entry), "10")
        desk.tick("94")
        desk.accept(key(.stop))
        try desk.command(.closeMarket)
        #expect(desk.cancelled == [key(.stop)])
        desk.end(key(.stop), .cancelled)
        #expect(desk.last?.type == .immediateOrCancel)
        desk.fill(key(.stop, 2), "10")
        #expect(desk.order.closeReason == .stopLoss)
    }

    @Test func `close at market in stopping sends the next attempt at once`() throws {
        var desk = try Stand.stopping.desk()
        desk.refuse(key(.stop), .rateLimited)
        try desk.command(.closeMarket)
        #expect(desk.last?.leg == .stop)
        #expect(desk.last?.attempt == 2)
    }

    @Test func `a level closed by hand counts, at the current price`() throws {
        var desk = try Desk(
            draft(takeProfits: product, stop: "95") { $0.breakEven = BreakEvenPlan(enabled: true) },
            at: "100",
        )
        desk.tick("103")
        try desk.command(.closeLevel(1))
        #expect(desk.last?.limit == price("92.7"))
        #expect(desk.order.status == .partiallyClosed)
        #expect(desk.order.breakEvenPrice == price("100"))
        #expect(throws: Refusal.self) { try desk.command(.closeLevel(1)) }
        #expect(throws: Refusal.self) { try desk.command(.closeLevel(9)) }
    }

    @Test func `a level closed below break-even does not arm it`() throws {
        var desk = try Desk(
            draft(takeProfits: product, stop: "95") { $0.breakEven = BreakEvenPlan(enabled: true) }
        )
        desk.tick("99")
        try desk.command(.closeLevel(1))
        #expect(desk.order.levels[0].state == .filled)
        #expect(desk.order.breakEvenPrice == nil)
        #expect(desk.facts.contains(.breakEvenNotArmed(price("100"))))
    }

    @Test func `a resting level is cancelled before it is closed`() throws {
        var desk = try Stand.monitoring.desk()
        desk.tick("105")
        desk.accept(key(.takeProfit(1)))
        try desk.command(.closeLevel(1))
        #expect(desk.cancelled == [key(.takeProfit(1))])
        desk.fill(key(.takeProfit(1)), "1", at: "106")
        desk.end(key(.takeProfit(1)), .cancelled)
        #expect(desk.last?.type == .immediateOrCancel)
        #expect(desk.last?.quantity == quantity("3"))
        desk.fill(key(.takeProfit(1), 2), "1")
        desk.end(key(.takeProfit(1), 2), .expired)
        #expect(desk.order.levels[0].state == .pending)
        #expect(!desk.order.levels[0].closeRequested)
    }

    @Test func `add funds moves the average and the percent targets, not the fixed ones`() throws {
        var desk = try Desk(
            draft {
                $0.takeProfits = [
                    TakeProfitPlan(target: .percent("5"), sizePercent: "50"), level("120", "50"),
                ]
                $0.stopLoss = StopLossPlan(price: price("80"))
            }
        )
        #expect(desk.order.levels.map(\.price) == ["105", "120"].map { price($0) })
        desk.tick("90")
        try desk.command(.addFunds(quantity("10"), limitPrice: nil))
        #expect(desk.order.averageEntry?.rounded == price("95"))
        #expect(desk.order.levels.map(\.price) == ["99.75", "120"].map { price($0) })
        #expect(desk.order.levels.map(\.planned) == ["10", "10"].map { quantity($0) })
        #expect(desk.order.extreme == price("100"))
    }

    @Test func `exits leave the average as it is`() throws {
        // 10 @ 100, 4 sold at 105, 4 more @ 90: 960 / 10.
        var desk = try Desk(draft(takeProfits: [level("105", "40"), level("120", "60")], stop: "80"))
        desk.tick("105")
        desk.tick("90")
        try desk.command(.addFunds(quantity("4"), limitPrice: nil))
        #expect(desk.order.averageEntry?.rounded == price("96"))
    }

    @Test func `an add before the first fill opens the order`() throws {
        var desk = try Stand.waitingEntry.desk()
        try desk.command(.addFunds(quantity("2"), limitPrice: nil))
        desk.fill(key(.add), "2")
        #expect(desk.order.status == .active)
        #expect(desk.order.remaining == quantity("2"))
    }

    @Test func `a refused add changes nothing`() throws {
        var desk = try Stand.monitoring.desk()
        try desk.command(.addFunds(quantity("2"), limitPrice: price("90")))
        desk.refuse(key(.add), .insufficientBalance)
        #expect(desk.order.status == .active)
        #expect(desk.order.remaining == quantity("10"))
        #expect(desk.order.health == .retrying)
    }

    @Test func `a resting add is cancelled by the next exit trigger`() throws {
        var desk = try Stand.monitoring.desk()
        try desk.command(.addFunds(quantity("2"), limitPrice: price("90")))
        desk.accept(key(.add))
        desk.tick("110")
        #expect(desk.cancelled == [key(.add)])
    }

    @Test func `reduce sells at the current price and plans the rest again`() throws {
        var desk = try Desk(draft(takeProfits: product, stop: "95"))
        desk.tick("105")
        desk.tick("104")
        try desk.command(.reduceFunds(quantity("2")))
        #expect(desk.last?.limit == price("93.6"))
        #expect(desk.order.status == .partiallyClosed)
        #expect(desk.order.levels.map(\.planned) == ["4", "2.3", "1.7"].map { quantity($0) })
        let refusal = Refusal(
            .reduceTooLarge,
            field: "qty",
            "4 is left; close the order to leave entirely.",
            ["remainingQty": .number("4")],
        )
        #expect(throws: refusal) {
            try desk.command(.reduceFunds(quantity("4")))
        }
    }

    @Test func `the rest of a reduction that did not fill is not retried`() throws {
        var desk = try Stand.monitoring.desk()
        try desk.command(.reduceFunds(quantity("2")))
        desk.fill(key(.reduce), "1")
        desk.end(key(.reduce), .expired)
        #expect(!desk.order.wantsEveryTick)
        #expect(desk.order.remaining == quantity("9"))
        #expect(desk.order.levels.map(\.planned) == ["3.6", "5.4"].map { quantity($0) })
    }

    @Test func `cancel waits for every proof`() throws {
        var desk = try Stand.monitoring.desk()
        desk.tick("105")
        desk.news(key(.takeProfit(1)), .unknown)
        try desk.command(.cancel)
        #expect(desk.order.phase == .cancelling)
        #expect(desk.order.claimed == quantity("4"))
        desk.happen(.cancelFailed(key(.takeProfit(1))))
        let due = try #require(desk.order.nextTimer)
        desk.timer(after: due.milliseconds - desk.now.milliseconds)
        #expect(desk.cancelled == [key(.takeProfit(1)), key(.takeProfit(1))])
        desk.fill(key(.takeProfit(1)), "4", at: "106")
        #expect(desk.statuses == [.active, .partiallyClosed, .cancelled])
        #expect(desk.order.remaining == quantity("6"))
    }
}
