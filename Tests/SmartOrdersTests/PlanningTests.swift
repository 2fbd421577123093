import SmartOrders
import Testing

struct PlanningTests {
    struct Plan: Sendable {
        let quantity: String
        let percents: [String]
        let prices: [String]
        var step = "0.1"
        var minQuantity = "0"
        var minNotional = "0"
        let levels: [String]
    }

    @Test(arguments: [
        Plan(
            quantity: "10",
            percents: ["40", "35", "25"],
            prices: ["105", "110", "120"],
            levels: ["4", "3.5", "2.5"],
        ),
        Plan(
            quantity: "4",
            percents: ["40", "35", "25"],
            prices: ["105", "110", "120"],
            levels: ["1.6", "1.4", "1"],
        ),
        Plan(quantity: "4", percents: ["35", "25"], prices: ["110", "120"], levels: ["2.3", "1.7"]),
        Plan(quantity: "20", percents: ["35", "35", "30"], prices: ["105", "110", "120"], levels: ["7", "7", "6"]),
        Plan(
            quantity: "14",
            percents: ["50", "25", "25"],
            prices: ["1", "2", "3"],
            step: "1",
            levels: ["7", "3", "4"],
        ),
        Plan(
            quantity: "0.5",
            percents: ["10", "20", "70"],
            prices: ["105", "110", "120"],
            minQuantity: "0.1",
            levels: ["0", "0.1", "0.4"],
        ),
        Plan(
            quantity: "0.5",
            percents: ["80", "20"],
            prices: ["105", "110"],
            minQuantity: "0.2",
            levels: ["0.5", "0"],
        ),
        // Level by level: what is left by the percentages that are left.
        Plan(
            quantity: "10",
            percents: ["25", "25", "25", "25"],
            prices: ["1", "2", "3", "4"],
            step: "1",
            levels: ["2", "2", "3", "3"],
        ),
        // Nobody takes any of it.
        Plan(
            quantity: "0.1",
            percents: ["50", "50"],
            prices: ["105", "110"],
            minQuantity: "0.2",
            levels: ["0", "0"],
        ),
        Plan(quantity: "0", percents: ["100"], prices: ["105"], levels: ["0"]),
        // Too small by value: 0.1 at 40 is 4, below 5; the next takes it along.
        Plan(quantity: "0.2", percents: ["50", "50"], prices: ["40", "60"], minNotional: "5", levels: ["0", "0.2"]),
    ])
    func `levels share a quantity by what is left of both`(_ plan: Plan) {
        let levels = Pricing.plan(
            quantity: quantity(plan.quantity),
            percents: plan.percents.map { ExactDecimal(stringLiteral: $0) },
            prices: plan.prices.map { price($0) },
            step: quantity(plan.step),
            minQuantity: quantity(plan.minQuantity),
            minNotional: money(plan.minNotional),
        )
        #expect(levels == plan.levels.map { quantity($0) })
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `a plan gives away every step, none twice`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let step = ["1", "0.1", "0.001", "5"][Int.random(in: 0..<4, using: &random)]
        let steps = Int.random(in: 1...1_000_000, using: &random)
        let whole = Quantity(ExactDecimal(stringLiteral: step) * ExactDecimal(steps))
        let count = Int.random(in: 1...8, using: &random)
        let percents = (0..<count).map { _ in
            ExactDecimal(mantissa: Int128.random(in: 1...999_999, using: &random), scale: 4)
        }
        let plan = Pricing.plan(
            quantity: whole,
            percents: percents,
            prices: (1...count).map { Price(ExactDecimal($0)) },
            step: quantity(step),
        )
        #expect(plan.reduce(Quantity.zero, +) == whole, "seed \(seed)")
        // An independent computation: whole steps, share by share.
        var left = steps
        var weight = percents.reduce(ExactDecimal.zero, +)
        for (index, amount) in plan.enumerated() {
            let product = ExactDecimal(left) * percents[index]
            let share =
                index == count - 1
                ? ExactDecimal(left) : ExactDecimal.quotient(product, over: weight, step: .one, .floor)
            #expect(amount.value == share * ExactDecimal(stringLiteral: step), "seed \(seed) level \(index + 1)")
            left -= Int(share.units(decimals: 0) ?? 0)
            weight -= percents[index]
        }
    }

    @Test func `a part-filled level keeps what it filled and its share of the rest`() throws {
        // R1.5: 60/40 of 10, 3 of the first 6 filled, reduce by 2: 2.1 and 2.9 more.
        var desk = try Desk(draft(takeProfits: [level("105", "60"), level("110", "40")], stop: "90"))
        desk.answers = .silence
        desk.tick("105")
        desk.fill(key(.takeProfit(1)), "3")
        desk.end(key(.takeProfit(1)), .expired)
        #expect(desk.order.levels[0].state == .pending)
        desk.answers = .fill
        desk.price = price("104")
        try desk.command(.reduceFunds(quantity("2")))
        #expect(desk.order.levels.map(\.planned) == [quantity("5.1"), quantity("2.9")])
        #expect(desk.order.remaining == quantity("5"))
    }

    @Test func `a level that plans nothing is cancelled when its price is reached`() throws {
        var desk = try Desk(
            draft(
                .buy,
                "10",
                takeProfits: [level("105", "10"), level("110", "20"), level("120", "70")],
                stop: "90",
            ),
            instrument: .test(minQuantity: "0.1"),
        )
        try desk.command(.reduceFunds(quantity("9.5")))
        #expect(desk.order.levels.map(\.planned) == [quantity("0"), quantity("0.1"), quantity("0.4")])
        #expect(desk.facts.contains(.levelMerged(1)))
        desk.tick("105")
        #expect(desk.order.levels.map(\.state) == [.cancelled, .pending, .pending])
        desk.tick("110")
        #expect(desk.order.status == .partiallyClosed)
    }
}
