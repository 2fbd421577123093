import SmartOrders
import Testing

struct PricingTests {
    struct Trail: Sendable {
        let side: Side
        let extreme: String
        var rate: String?
        var amount: String?
        var tick = "0.01"
        let stop: String
    }

    @Test(arguments: [
        Trail(side: .buy, extreme: "100", rate: "0.02", stop: "98"),
        Trail(side: .buy, extreme: "104", rate: "0.02", stop: "101.92"),
        Trail(side: .buy, extreme: "110", rate: "0.02", stop: "107.8"),
        Trail(side: .buy, extreme: "110", rate: "0.05", stop: "104.5"),
        Trail(side: .sell, extreme: "90", rate: "0.02", stop: "91.8"),
        Trail(side: .buy, extreme: "108.63", rate: "0.015", stop: "107.01"),
        Trail(side: .sell, extreme: "91.37", rate: "0.015", stop: "92.74"),
        Trail(side: .buy, extreme: "63333", rate: "0.02", tick: "5", stop: "62070"),
        Trail(side: .sell, extreme: "63333", rate: "0.02", tick: "5", stop: "64595"),
        Trail(side: .buy, extreme: "46500", rate: "0.075", stop: "43012.5"),
        Trail(side: .buy, extreme: "45500", rate: "0.07", stop: "42315"),
        Trail(side: .sell, extreme: "42000", rate: "0.05", stop: "44100"),
        Trail(side: .buy, extreme: "9000", amount: "500", tick: "0.5", stop: "8500"),
        Trail(side: .buy, extreme: "8000", amount: "100", tick: "0.5", stop: "7900"),
        Trail(side: .buy, extreme: "115", rate: "0.02", stop: "112.7"),
    ])
    func `a trailing stop keeps its distance, rounded towards the market`(_ trail: Trail) throws {
        let callback =
            if let rate = trail.rate { Callback.rate(SmartOrdersTests.rate(rate)) } else {
                Callback.amount(price(try #require(trail.amount)))
            }
        let stop = Pricing.trailingStop(
            side: trail.side,
            extreme: price(trail.extreme),
            callback: callback,
            tickSize: price(trail.tick),
        )
        #expect(stop == price(trail.stop))
    }

    struct Limit: Sendable {
        let side: Side
        let anchor: String
        var band: (low: String, high: String)?
        let limit: String
    }

    @Test(arguments: [
        Limit(side: .sell, anchor: "107.8", limit: "97.02"), Limit(side: .buy, anchor: "91.8", limit: "100.98"),
        Limit(side: .sell, anchor: "105", limit: "94.5"), Limit(side: .sell, anchor: "109.76", limit: "98.79"),
        Limit(side: .buy, anchor: "91.83", limit: "101.01"), Limit(side: .sell, anchor: "8.5", limit: "7.65"),
        Limit(side: .sell, anchor: "25000", limit: "22500"), Limit(side: .buy, anchor: "50000", limit: "55000"),
        Limit(side: .sell, anchor: "99.75", limit: "89.78"), Limit(side: .sell, anchor: "95", limit: "85.5"),
        Limit(side: .sell, anchor: "95", band: ("90.25", "99.75"), limit: "90.25"),
        Limit(side: .sell, anchor: "95", band: ("94.05", "95.95"), limit: "94.05"),
        Limit(side: .buy, anchor: "95", band: ("90.25", "99.754"), limit: "99.75"),
        Limit(side: .sell, anchor: "95", band: ("90.251", "99"), limit: "90.26"),
    ])
    func `an exit accepts 10% at most, inside the venue's band`(_ limit: Limit) {
        let band = limit.band.map { PriceBand(low: price($0.low), high: price($0.high)) }
        let result = Pricing.immediateLimit(
            side: limit.side,
            anchor: price(limit.anchor),
            tickSize: price("0.01"),
            band: band,
        )
        #expect(result == price(limit.limit))
    }

    struct BreakEven: Sendable {
        let side: Side
        var mode = BreakEvenPlan.Mode.entry
        var fills: [(price: String, quantity: String)] = [("100", "10")]
        var fee = "0.001"
        var offset = "0.15"
        let price: String
    }

    @Test(arguments: [
        BreakEven(side: .buy, fills: [("100", "4"), ("99.5", "6")], price: "99.7"),
        BreakEven(side: .buy, mode: .fees, price: "100.21"), BreakEven(side: .sell, mode: .fees, price: "99.8"),
        BreakEven(side: .buy, mode: .fees, fee: "0", price: "100"),
        BreakEven(side: .buy, mode: .offset, price: "100.15"), BreakEven(side: .sell, mode: .offset, price: "99.85"),
        // 1583.85 / 14910 = 0.106227.. for a long rounds up, for a short down.
        BreakEven(side: .buy, fills: [("100", "1"), ("101", "2")], price: "100.67"),
        BreakEven(side: .sell, fills: [("100", "1"), ("101", "2")], price: "100.66"),
    ])
    func `break-even stands at the exact average, rounded towards the market`(_ row: BreakEven) throws {
        let fills = row.fills.map { (price: SmartOrdersTests.price($0.price), quantity: quantity($0.quantity)) }
        let average = try #require(Pricing.average(fills))
        let result = Pricing.breakEven(
            side: row.side,
            mode: row.mode,
            average: average,
            feeIn: rate(row.fee),
            feeOut: rate(row.fee),
            offsetPercent: ExactDecimal(stringLiteral: row.offset),
            tickSize: SmartOrdersTests.price("0.01"),
        )
        #expect(result == SmartOrdersTests.price(row.price))
    }

    struct Band: Sendable {
        let kind: InstrumentKind
        let side: Side
        let trigger: String
        let low: String
        let high: String
    }

    @Test(arguments: [
        Band(kind: .perpetual, side: .sell, trigger: "20000", low: "19000", high: "30000"),
        Band(kind: .future, side: .buy, trigger: "19000", low: "9500", high: "19950"),
        Band(kind: .spot, side: .sell, trigger: "20000", low: "17000", high: "200000"),
        Band(kind: .spot, side: .buy, trigger: "19000", low: "1900", high: "21850"),
        Band(kind: .spotCollateral, side: .sell, trigger: "20000", low: "19000", high: "200000"),
        Band(kind: .spotCollateral, side: .buy, trigger: "19000", low: "1900", high: "19950"),
        Band(kind: .perpetual, side: .sell, trigger: "30000", low: "28500", high: "45000"),
    ])
    func `a conditional order's limit has a band around its trigger`(_ band: Band) {
        let result = Pricing.conditionalBand(kind: band.kind, side: band.side, trigger: price(band.trigger))
        #expect(result == PriceBand(low: price(band.low), high: price(band.high)))
    }

    @Test func `percent and amount are derived again from the rounded price`() {
        let synced = Pricing.sync(
            side: .buy,
            isStop: false,
            entry: price("27.35"),
            quantity: quantity("8"),
            input: .percent("3.33"),
            tickSize: price("0.05"),
        )
        #expect(synced.price == price("28.3"))
        #expect(synced.percent == "3.473491773309")
        #expect(synced.amount == money("7.6"))
        let loss = Pricing.sync(
            side: .sell,
            isStop: true,
            entry: price("100"),
            quantity: quantity("10"),
            input: .amount(money("30")),
            tickSize: price("0.01"),
        )
        #expect(loss.price == price("103"))
        #expect(loss.amount == money("-30"))
    }
}

struct ExactDecimalTests {
    @Test(arguments: 0..<300 as Range<UInt64>)
    func `quotients are the nearest multiples, computed another way`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        // Small enough for 64-bit whole numbers, which is the other way.
        let numerator = Int64.random(in: -1_000_000_000...1_000_000_000, using: &random)
        let denominator = Int64.random(in: 1...1_000_000, using: &random)
        let step = Int64.random(in: 1...500, using: &random)
        let divisor = denominator * step
        let down = numerator >= 0 ? numerator / divisor : -((-numerator + divisor - 1) / divisor)
        let rest = numerator - down * divisor
        let expected: [(Rounding, Int64)] = [
            (.floor, down),
            (.ceiling, rest == 0 ? down : down + 1),
            (.halfEven, rest * 2 > divisor || rest * 2 == divisor && down % 2 != 0 ? down + 1 : down),
        ]
        for (rounding, count) in expected {
            let result = ExactDecimal.quotient(
                ExactDecimal(Int(numerator)),
                over: ExactDecimal(Int(denominator)),
                step: ExactDecimal(Int(step)),
                rounding,
            )
            #expect(result == ExactDecimal(Int(count * step)), "seed \(seed) \(rounding)")
        }
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `text, sums and products agree with whole numbers`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let a = Int64.random(in: -99_999_999...99_999_999, using: &random)
        let b = Int64.random(in: -99_999_999...99_999_999, using: &random)
        let scale = Int.random(in: 0...6, using: &random)
        let left = ExactDecimal(mantissa: Int128(a), scale: scale)
        let right = ExactDecimal(mantissa: Int128(b), scale: scale)
        #expect(left + right == ExactDecimal(mantissa: Int128(a + b), scale: scale))
        #expect(left - right == ExactDecimal(mantissa: Int128(a - b), scale: scale))
        #expect(left * right == ExactDecimal(mantissa: Int128(a * b), scale: scale * 2))
        #expect((left < right) == (a < b))
        #expect(try #require(ExactDecimal(left.description)) == left)
    }

    @Test(arguments: ["", ".", "1.", ".5", "1e3", "0x1", "1,5", "--1", "+", "1.2.3", " 1"])
    func `what is no plain number is not read`(_ text: String) {
        #expect(ExactDecimal(text) == nil)
    }

    @Test func `equal numbers are identical`() {
        #expect(ExactDecimal("1.50") == ExactDecimal("1.5"))
        #expect(ExactDecimal("-0.00") == .zero)
        #expect(ExactDecimal("100").description == "100")
        #expect(ExactDecimal("0.0010").description == "0.001")
    }
}
