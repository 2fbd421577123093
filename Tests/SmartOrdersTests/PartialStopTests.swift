import SmartOrders
import Testing

struct PartialStopTests {
    static func partial(_ at: String, _ size: String) -> PartialStopPlan {
        PartialStopPlan(distance: .price(price(at)), sizePercent: ExactDecimal(stringLiteral: size))
    }

    @Test func `half at 97, the rest at the full stop`() throws {
        var desk = try Desk(draft(stop: "95") { $0.partialStops = [Self.partial("97", "50")] })
        desk.tick("97")
        #expect(desk.last?.leg == .partialStop(1))
        #expect(desk.last?.quantity == quantity("5"))
        #expect(desk.last?.limit == price("87.3"))
        #expect(desk.order.status == .active)
        #expect(desk.order.partialStops[0].state == .done)
        desk.tick("95")
        #expect(desk.last?.quantity == quantity("5"))
        #expect(desk.last?.limit == price("85.5"))
        #expect(desk.order.closeReason == .stopLoss)
    }

    @Test func `shares refer to what is left: 3, 3, 4, or 1.8, 1.8, 2.4 after TP1`() throws {
        let partials = [Self.partial("98", "30"), Self.partial("96", "30")]
        var desk = try Desk(draft(stop: "94") { $0.partialStops = partials })
        for at in ["98", "96", "94"] { desk.tick(at) }
        #expect(desk.placed.dropFirst().map(\.quantity) == ["3", "3", "4"].map { quantity($0) })

        var after = try Desk(draft(takeProfits: product, stop: "94") { $0.partialStops = partials })
        for at in ["105", "98", "96", "94"] { after.tick(at) }
        #expect(after.placed.dropFirst(2).map(\.quantity) == ["1.8", "1.8", "2.4"].map { quantity($0) })
    }

    @Test func `one tick through both fires the nearest first; through the full stop only that`() throws {
        let partials = [Self.partial("98", "30"), Self.partial("96", "30")]
        var both = try Desk(draft(stop: "94") { $0.partialStops = partials }, answers: .silence)
        both.fill(key(.entry), "10")
        both.tick("96")
        #expect(both.placed.dropFirst().map(\.leg) == [.partialStop(1), .partialStop(2)])
        #expect(both.placed.dropFirst().map(\.quantity) == ["3", "3"].map { quantity($0) })

        var full = try Desk(draft(stop: "94") { $0.partialStops = partials })
        full.tick("94")
        #expect(full.last?.leg == .stop)
        #expect(full.last?.quantity == quantity("10"))
        #expect(full.order.partialStops.map(\.state) == [.cancelled, .cancelled])
    }

    @Test func `resting levels make way and come back, planned for what is left`() throws {
        var desk = try Desk(
            draft(takeProfits: [level("105", "40", .limit, limit: "106"), level("110", "60")], stop: "95") {
                $0.partialStops = [Self.partial("97", "50")]
            },
            answers: .silence,
        )
        desk.fill(key(.entry), "10")
        desk.tick("105")
        desk.accept(key(.takeProfit(1)))
        desk.tick("97")
        #expect(desk.cancelled == [key(.takeProfit(1))])
        // 6 are free: the part of 5 leaves at once.
        #expect(desk.last?.leg == .partialStop(1))
        #expect(desk.last?.quantity == quantity("5"))
        desk.end(key(.takeProfit(1)), .cancelled)
        #expect(desk.order.levels[0].state == .pending)
        desk.quietTick("111")
        desk.fill(key(.partialStop(1)), "5")
        #expect(desk.order.levels.map(\.planned) == ["2", "3"].map { quantity($0) })
        desk.tick("105")
        #expect(desk.last?.leg == .takeProfit(1))
        #expect(desk.last?.quantity == quantity("2"))
    }

    @Test func `a partial stop that does not fill is retried like a stop`() throws {
        var desk = try Desk(draft(stop: "95") { $0.partialStops = [Self.partial("97", "50")] }, answers: .silence)
        desk.fill(key(.entry), "10")
        desk.tick("97")
        desk.fill(key(.partialStop(1)), "2")
        desk.end(key(.partialStop(1)), .expired)
        #expect(desk.order.wantsEveryTick)
        desk.tick("98")
        #expect(desk.last?.quantity == quantity("3"))
        #expect(desk.last?.limit == price("88.2"))
        desk.fill(key(.partialStop(1), 2), "3")
        #expect(desk.order.partialStops[0].state == .done)
        #expect(!desk.order.wantsEveryTick)
    }

    @Test func `a partial stop may trail the extreme of the order`() throws {
        var desk = try Desk(
            draft(stop: "90") {
                $0.partialStops = [PartialStopPlan(distance: .callback(.rate(rate("0.02"))), sizePercent: "40")]
            }
        )
        desk.quietTick("110")
        desk.quietTick("107.81")
        desk.tick("107.8")
        #expect(desk.last?.quantity == quantity("4"))
        #expect(desk.last?.limit == price("97.02"))
    }
}
