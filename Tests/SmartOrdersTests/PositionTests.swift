import SmartOrders
import Testing

struct PositionTests {
    static func attached(_ edit: (inout Draft) -> Void = { _ in }) throws -> Desk {
        try Desk(
            draft(entry: EntryPlan(mode: .attach, price: price("100")), takeProfits: product, stop: "95", edit: edit),
            held: "10",
        )
    }

    @Test(arguments: [("-5", CloseReason.positionFlipped), ("0", .positionClosedExternally)])
    func `flat or flipped elsewhere: everything is cancelled, nothing sent`(_ row: (String, CloseReason)) throws {
        var desk = try Self.attached()
        desk.happen(.position(net: ExactDecimal(stringLiteral: row.0), average: nil))
        #expect(desk.order.status == .cancelled)
        #expect(desk.order.closeReason == row.1)
        #expect(desk.placed.isEmpty)
        #expect(desk.order.levels.allSatisfy { $0.state == .cancelled })
    }

    @Test func `part-reduced: the stop sells what is there, the rest is written off`() throws {
        var desk = try Self.attached()
        desk.held = "3"
        let changed = desk.happen(.position(net: "3", average: nil))
        #expect(!changed)
        desk.tick("95")
        #expect(desk.last?.quantity == quantity("3"))
        #expect(desk.order.writtenOff == quantity("7"))
        #expect(desk.order.status == .stopped)
    }

    @Test func `a level that takes the last of the position closes the order`() throws {
        var desk = try Self.attached()
        desk.held = "3"
        desk.tick("105")
        #expect(desk.last?.quantity == quantity("3"))
        #expect(desk.order.status == .closed)
        #expect(desk.order.closeReason == .allTakeProfitsFilled)
        #expect(desk.order.levels.map(\.state) == [.filled, .cancelled, .cancelled])
    }

    @Test func `two levels in one tick share what is there`() throws {
        var desk = try Self.attached()
        desk.answers = .silence
        desk.held = "6"
        desk.tick("110")
        #expect(desk.placed.map(\.quantity) == ["4", "2"].map { quantity($0) })
    }

    @Test func `an exit in flight is not missed twice`() throws {
        // 4 of 10 are in flight and may be gone: the 6 that are held are free all the same.
        var desk = try Self.attached()
        desk.answers = .silence
        desk.tick("105")
        desk.news(key(.takeProfit(1)), .unknown)
        desk.held = "6"
        desk.tick("95")
        #expect(desk.last?.quantity == quantity("6"))
        #expect(desk.order.writtenOff == .zero)
    }

    @Test func `nothing there at exit time ends the order`() throws {
        var desk = try Desk(
            draft(entry: EntryPlan(mode: .attach, price: price("100")), stop: "95"),
            instrument: .test(kind: .spot),
            held: "10",
        )
        desk.held = .zero
        desk.tick("95")
        #expect(desk.placed.isEmpty)
        #expect(desk.order.closeReason == .positionClosedExternally)
    }

    @Test func `claims of other orders on the position come first`() throws {
        var desk = try Self.attached()
        desk.answers = .silence
        desk.elsewhere = quantity("7")
        desk.tick("95")
        #expect(desk.last?.quantity == quantity("3"))
        #expect(desk.order.writtenOff == .zero)
        desk.elsewhere = .zero
        desk.held = "7"
        desk.fill(key(.stop), "3")
        #expect(desk.last?.quantity == quantity("7"))
    }

    @Test func `position mode follows quantity and average`() throws {
        var desk = try Self.attached {
            $0.sizeMode = .position
            $0.takeProfits = [level("105", "100")]
        }
        desk.happen(.position(net: "15", average: price("101")))
        #expect(desk.order.remaining == quantity("15"))
        #expect(desk.order.averageEntry?.rounded == price("101"))
        desk.held = "15"
        desk.happen(.position(net: "12", average: price("101")))
        #expect(desk.order.levels[0].planned == quantity("12"))
        desk.happen(.position(net: "15", average: price("101")))
        desk.tick("105")
        #expect(desk.last?.quantity == quantity("15"))
        #expect(desk.order.realized == money("60"))
        #expect(desk.order.closeReason == .allTakeProfitsFilled)
    }

    @Test func `our own fill under way explains a smaller position`() throws {
        var desk = try Self.attached { $0.sizeMode = .position }
        desk.answers = .silence
        desk.tick("105")
        let changed = desk.happen(.position(net: "6", average: nil))
        #expect(!changed)
        desk.fill(key(.takeProfit(1)), "4")
        #expect(desk.order.remaining == quantity("6"))
    }

    @Test func `a resting level is cancelled before a flat position ends the order`() throws {
        var desk = try Desk(
            draft(
                entry: EntryPlan(mode: .attach, price: price("100")),
                takeProfits: [level("105", "100", .limit, limit: "106")],
                stop: "95",
            ),
            answers: .silence,
        )
        desk.tick("105")
        desk.accept(key(.takeProfit(1)))
        desk.happen(.position(net: .zero, average: nil))
        #expect(desk.cancelled == [key(.takeProfit(1))])
        #expect(desk.order.phase == .cancelling)
        desk.end(key(.takeProfit(1)), .cancelled)
        #expect(desk.order.closeReason == .positionClosedExternally)
        #expect(desk.order.remaining == .zero)
    }
}
