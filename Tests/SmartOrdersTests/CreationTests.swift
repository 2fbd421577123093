import SmartOrders
import Testing

struct CreationTests {
    struct Row: Sendable {
        let code: RefusalCode?
        let draft: Draft
        var price = "100"
        var bounds = CreationBounds()
        var instrument = Instrument.test(minQuantity: "0.1", minNotional: "5")
        var held: ExactDecimal?
    }

    static func attach(_ cost: String?) -> EntryPlan { EntryPlan(mode: .attach, price: cost.map { price($0) }) }

    static let rows: [Row] = [
        Row(code: nil, draft: draft(takeProfits: product, stop: "95")),
        Row(code: nil, draft: draft(.sell, takeProfits: productShort, stop: "105")),
        Row(code: .qtyNotOnStep, draft: draft(.buy, "10.05", takeProfits: product, stop: "95")),
        Row(code: .qtyNotOnStep, draft: draft(.buy, "0", takeProfits: product, stop: "95")),
        Row(
            code: .tpslOnReduceOnly,
            draft: draft(entry: EntryPlan(mode: .limit, price: price("99"), reduceOnly: true), takeProfits: product),
        ),
        Row(
            code: .conditionalLimit,
            draft: draft(takeProfits: product, stop: "95"),
            bounds: CreationBounds(maxConditionals: 16, activeConditionals: 13),
        ),
        Row(
            code: nil,
            draft: draft(takeProfits: product, stop: "95"),
            bounds: CreationBounds(maxConditionals: 16, activeConditionals: 12),
        ),
        Row(code: .priceNotOnTick, draft: draft(takeProfits: [level("105.005", "100")])),
        Row(code: .priceNotOnTick, draft: draft(stop: "94.999")),
        Row(code: .tpSizeSum, draft: draft(takeProfits: [level("105", "40"), level("110", "59.99")])),
        Row(code: .tpSizeSum, draft: draft(takeProfits: [level("105", "40"), level("110", "60.01")])),
        Row(
            code: .tpSizeSum,
            draft: draft(takeProfits: [level("105", "33.33"), level("110", "33.33"), level("120", "33.33")]),
        ),
        Row(code: .tpSizeSum, draft: draft(takeProfits: [level("105", "100"), level("110", "0")])),
        Row(code: .tpSizeSum, draft: draft(takeProfits: [level("105", "99.99999"), level("110", "0.00001")])),
        Row(code: .tpWrongSide, draft: draft(takeProfits: [level("100", "100")])),
        Row(code: .tpNotMonotone, draft: draft(takeProfits: [level("105", "50"), level("105", "50")])),
        Row(code: .tpBelowMin, draft: draft(.buy, "0.2", takeProfits: product)),
        Row(code: .slWrongSide, draft: draft(stop: "100")),
        Row(code: .slWrongSide, draft: draft(.sell, stop: "100")),
        Row(code: .callbackOutOfRange, draft: draft(trailing: "0.0009")),
        Row(code: nil, draft: draft(trailing: "0.001")), Row(code: nil, draft: draft(trailing: "0.5")),
        Row(code: .callbackOutOfRange, draft: draft(trailing: "0.5001")),
        Row(code: .callbackOutOfRange, draft: draft(trailing: "0.0200001")),
        // 0.1% of 5 is half a tick size.
        Row(code: .callbackOutOfRange, draft: draft(trailing: "0.001"), price: "5"),
        Row(code: .noExit, draft: draft()),
        Row(code: .noExit, draft: draft { $0.breakEven = BreakEvenPlan(enabled: true, armPercent: "3") }),
        Row(code: nil, draft: draft { $0.exitAt = Timestamp(milliseconds: 2_000_000) }),
        Row(code: .timeInPast, draft: draft(stop: "95") { $0.exitAt = Timestamp(milliseconds: 1_000_000) }),
        Row(
            code: .triggerWrongSide,
            draft: draft(entry: EntryPlan(mode: .conditional, trigger: price("100")), stop: "95"),
        ),
        Row(
            code: .limitPriceRequired,
            draft: draft { $0.stopLoss = StopLossPlan(price: price("95"), execution: .limit) },
        ),
        Row(
            code: .emergencyWrongSide,
            draft: draft { $0.stopLoss = StopLossPlan(price: price("95"), emergencyPrice: price("90")) },
        ),
        Row(
            code: .emergencyWrongSide,
            draft: draft {
                $0.stopLoss = StopLossPlan(price: price("95"), timeoutMs: 5, emergencyPrice: price("95"))
            },
        ),
        Row(
            code: .trailingTPNotLast,
            draft: draft {
                $0.takeProfits = [level("105", "50"), level("110", "50")]
                $0.takeProfits[0].trailingRate = rate("0.02")
            },
        ),
        Row(
            code: .stepLockInvalid,
            draft: draft(stop: "95") { $0.stepLocks = [.percent(at: "5", lock: "3"), .percent(at: "5", lock: "4")] },
        ),
        Row(code: .stepLockInvalid, draft: draft(stop: "95") { $0.stepLocks = [.percent(at: "5", lock: "5")] }),
        Row(
            code: nil,
            draft: draft(stop: "95") {
                $0.stepLocks = [.percent(at: "5", lock: "-1"), .percent(at: "10", lock: "7")]
            },
        ),
        Row(
            code: .partialStopInvalid,
            draft: draft(takeProfits: product) {
                $0.partialStops = [PartialStopPlan(distance: .price(price("97")), sizePercent: "50")]
            },
        ),
        Row(
            code: .partialStopInvalid,
            draft: draft(stop: "95") {
                $0.partialStops = [PartialStopPlan(distance: .price(price("95")), sizePercent: "50")]
            },
        ),
        Row(
            code: .partialStopInvalid,
            draft: draft(stop: "95") {
                $0.partialStops = [PartialStopPlan(distance: .price(price("97")), sizePercent: "100")]
            },
        ),
        Row(
            code: .breakEvenArmInvalid,
            draft: draft(stop: "95") { $0.breakEven = BreakEvenPlan(enabled: true, armPrice: price("100")) },
        ),
        Row(
            code: nil,
            draft: draft(stop: "95") { $0.breakEven = BreakEvenPlan(enabled: true, armPrice: price("100.01")) },
        ),
        Row(code: .backstopNotSupported, draft: draft(stop: "95") { $0.backstop = BackstopPlan(enabled: true) }),
        Row(code: .nativeNotPossible, draft: draft(stop: "95") { $0.placement = .native }),
        Row(
            code: .entryNotAdoptable,
            draft: draft(entry: EntryPlan(mode: .attach, venueOrder: "v1"), stop: "95"),
        ),
        Row(
            code: .sourceUnavailable,
            draft: draft(stop: "95") { $0.triggerSource = .index },
            bounds: CreationBounds(sources: [.mark, .last]),
        ),
        Row(code: .noPosition, draft: draft(entry: attach("100"), stop: "95"), held: "9.9"),
        Row(code: nil, draft: draft(entry: attach("100"), stop: "95"), held: "10"),
        Row(
            code: .noPosition,
            draft: draft(entry: attach("100"), stop: "95"),
            bounds: CreationBounds(managedElsewhere: quantity("0.1")),
            held: "10",
        ),
        Row(code: .limitPriceRequired, draft: draft(entry: attach(nil), stop: "95")),
        Row(
            code: nil,
            draft: draft(entry: attach(nil), stop: "95"),
            bounds: CreationBounds(positionAverage: price("99")),
        ),
        // Coins at 100, price 104: the stop is compared with the price.
        Row(code: nil, draft: draft(entry: attach("100"), stop: "101"), price: "104"),
        // While an entry waits, its own price is the reference.
        Row(
            code: nil,
            draft: draft(entry: EntryPlan(mode: .limit, price: price("100")), stop: "99.99"),
            price: "90",
        ),
    ]

    @Test func `a level is worth at least the venue's minimum`() throws {
        func refusals(_ first: String) -> [Refusal] {
            SmartOrder.check(
                draft(takeProfits: [level(first, "5"), level("130", "95")]),
                instrument: .test(minNotional: "60"),
                at: Moment(now: Timestamp(milliseconds: 1), price: price("100")),
            )
        }
        // 0.5 at 120 is exactly 60.
        #expect(refusals("120").isEmpty)
        let refusal = try #require(refusals("119.99").first)
        #expect(refusal.code == .tpBelowMin)
        #expect(refusal.members["level"] == .count(1) && refusal.members["plannedQty"] == .number("0.5"))
        #expect(refusal.members["minNotional"] == .number("60"))
    }

    @Test func `a level whose price would be too long is refused, not computed with`() {
        func codes(_ percent: ExactDecimal, entry: String) -> [RefusalCode] {
            let level = TakeProfitPlan(target: .percent(percent), sizePercent: "100")
            let entry = EntryPlan(mode: .limit, price: price(entry))
            return SmartOrder.check(
                draft(.buy, "9999999999999", entry: entry, takeProfits: [level]),
                instrument: .test(),
                at: Moment(now: Timestamp(milliseconds: 1), price: price("100")),
            ).map(\.code)
        }
        #expect(codes("999999999999999", entry: "99").contains(.tpWrongSide))
        #expect(codes("999999", entry: "99999999999999").contains(.tpWrongSide))
        #expect(!codes("5", entry: "99").contains(.tpWrongSide))
    }

    @Test(arguments: rows.indices)
    func `a plan is accepted or refused with its code`(_ index: Int) {
        let row = Self.rows[index]
        let failures = SmartOrder.check(
            row.draft,
            instrument: row.instrument,
            bounds: row.bounds,
            at: Moment(now: Timestamp(milliseconds: 1_000_000), price: price(row.price), held: row.held),
        )
        #expect(failures.first?.code == row.code, "row \(index): \(failures)")
    }

    @Test func `all failures are listed, in the documented order`() {
        var wrong = draft(.buy, "10.05", takeProfits: [level("99.005", "50")], stop: "101", trailing: "0")
        wrong.exitAt = Timestamp(milliseconds: 1)
        let failures = SmartOrder.check(
            wrong,
            instrument: .test(),
            at: Moment(now: Timestamp(milliseconds: 2), price: price("100")),
        )
        #expect(
            failures.map(\.code) == [.qtyNotOnStep, .priceNotOnTick, .slWrongSide, .callbackOutOfRange, .timeInPast]
        )
    }

    @Test func `numbers of any length are refused, not computed with`() {
        let long = ExactDecimal(mantissa: Int128("99999999999999999999999999999999999999") ?? 0, scale: 0)
        let fine = ExactDecimal(mantissa: 1, scale: 36)
        for number in [long, fine, -long] {
            let plans = [
                draft(stop: "95") { $0.quantity = Quantity(number) },
                draft(stop: "95") { $0.stopLoss = StopLossPlan(price: Price(number)) },
                draft(stop: "95") { $0.entry = EntryPlan(mode: .limit, price: Price(number)) },
                draft(takeProfits: product) { $0.takeProfits[1].target = .percent(number) },
                draft(takeProfits: product) { $0.takeProfits[1].sizePercent = number },
                draft { $0.trailing = TrailingPlan(callback: .amount(Price(number))) },
                draft(stop: "95") { $0.stepLocks = [.percent(at: number, lock: number)] },
                draft(stop: "95") { $0.breakEven = BreakEvenPlan(enabled: true, armPercent: number) },
            ]
            for plan in plans {
                let failures = SmartOrder.check(
                    plan,
                    instrument: .test(),
                    at: Moment(now: Timestamp(milliseconds: 1), price: price("100")),
                )
                #expect(!failures.isEmpty)
            }
            let conditional = ConditionalDraft(
                kind: .stopLoss,
                side: .sell,
                quantity: Quantity(number),
                trigger: Price(number),
                limit: Price(number),
            )
            let failures = ConditionalOrder.check(
                conditional,
                instrument: .test(),
                at: Moment(now: Timestamp(milliseconds: 1), price: price("100")),
            )
            #expect(!failures.isEmpty)
        }
    }
}
