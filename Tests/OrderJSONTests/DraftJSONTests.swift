import JSONText
import OrderJSON
import SmartOrders
import Testing

@Suite struct DraftJSONTests {
    @Test(arguments: 0..<200 as Range<UInt64>)
    func `a draft survives writing and reading`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let draft = random.draft()
        var writer = JSONWriter()
        writer.draft(draft)
        #expect(try Draft(json: JSONField(JSONValue(parsing: writer.take()))) == draft, "seed \(seed)")
    }

    @Test(arguments: 0..<100 as Range<UInt64>)
    func `an instrument survives writing and reading`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let instrument = random.instrument()
        var writer = JSONWriter()
        writer.instrument(instrument)
        #expect(try Instrument(json: JSONField(JSONValue(parsing: writer.take()))) == instrument, "seed \(seed)")
    }

    @Test func `the documented example is read`() throws {
        let text = """
            { "accountId": "0197", "market": "paper:linear:DEMO", "side": "BUY", "qty": "10",
              "entry": { "mode": "limit", "price": "100" },
              "takeProfits": [ { "price": "105", "sizePct": "40" }, { "price": "110", "sizePct": "60" } ],
              "stopLoss": { "price": "95" }, "breakEven": { "enabled": true } }
            """
        let draft = try Draft(json: JSONField(JSONValue(parsing: text)), allowing: ["accountId", "market"])
        func price(_ whole: Int) -> Price { Price(ExactDecimal(whole)) }
        #expect(
            draft
                == Draft(
                    side: .buy,
                    quantity: Quantity(ExactDecimal(10)),
                    entry: EntryPlan(mode: .limit, price: price(100)),
                    takeProfits: [
                        TakeProfitPlan(target: .price(price(105)), sizePercent: ExactDecimal(40)),
                        TakeProfitPlan(target: .price(price(110)), sizePercent: ExactDecimal(60)),
                    ],
                    stopLoss: StopLossPlan(price: price(95)),
                    breakEven: BreakEvenPlan(enabled: true),
                )
        )
    }

    struct Bad: Sendable {
        let fields: String
        let code: JSONError.Code
        let pointer: String
    }

    @Test(arguments: [
        Bad(fields: #""stopLos":{"price":"95"}"#, code: .unknownField, pointer: "/stopLos"),
        Bad(fields: #""stopLoss":{"price":"95","limit":"1"}"#, code: .unknownField, pointer: "/stopLoss/limit"),
        Bad(fields: #""stopLoss":{"price":95}"#, code: .decimalNotString, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":"+95"}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":"9e1"}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":"095"}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":".5"}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":"5."}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":""}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":"-"}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":"1234567890123456789"}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{"price":"0.0000000000000000001"}"#, code: .badDecimal, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":{}"#, code: .missingField, pointer: "/stopLoss/price"),
        Bad(fields: #""stopLoss":[]"#, code: .wrongType, pointer: "/stopLoss"),
        Bad(fields: #""stopLoss":{"price":"95","fallbackMs":"5"}"#, code: .wrongType, pointer: "/stopLoss/fallbackMs"),
        Bad(fields: #""stopLoss":{"price":"95","fallbackMs":1.0}"#, code: .wrongType, pointer: "/stopLoss/fallbackMs"),
        Bad(fields: #""stopLoss":{"price":"95","exec":"Market"}"#, code: .badEnum, pointer: "/stopLoss/exec"),
        Bad(fields: #""takeProfits":[{"sizePct":"1"}]"#, code: .missingField, pointer: "/takeProfits/0/price"),
        Bad(fields: #""trailing":{"callbackRate":"1","callbackAmount":"1"}"#, code: .wrongType, pointer: "/trailing"),
        Bad(fields: #""trailing":{}"#, code: .missingField, pointer: "/trailing"),
        Bad(fields: #""stepLocks":[{"atPct":"1","lockPrice":"1"}]"#, code: .wrongType, pointer: "/stepLocks/0"),
        Bad(fields: #""printGuard":{"bandPct":"0.5"}"#, code: .badDecimal, pointer: "/printGuard/bandPct"),
        Bad(fields: #""printGuard":{"bandPct":"51"}"#, code: .badDecimal, pointer: "/printGuard/bandPct"),
        Bad(fields: #""printGuard":{"band":"10"}"#, code: .unknownField, pointer: "/printGuard/band"),
        Bad(fields: #""printGuard":true"#, code: .wrongType, pointer: "/printGuard"),
        Bad(fields: #""exitAt":"2026-13-01T00:00:00Z""#, code: .badTimestamp, pointer: "/exitAt"),
        Bad(fields: #""exitAt":1767225600"#, code: .wrongType, pointer: "/exitAt"),
        Bad(fields: #""note":"a\u0000b""#, code: .wrongType, pointer: "/note"),
    ])
    func `a draft of another shape is refused with its place`(_ bad: Bad) throws {
        let text = #"{"side":"BUY","qty":"1","entry":{"mode":"market"},\#(bad.fields)}"#
        let error = #expect(throws: JSONError.self) { try Draft(json: JSONField(JSONValue(parsing: text))) }
        #expect(error?.code == bad.code)
        #expect(error?.pointer == bad.pointer)
    }

    struct Moment: Sendable {
        let text: String
        let microseconds: Int64?
    }

    @Test(arguments: [
        Moment(text: "1970-01-01T00:00:00Z", microseconds: 0),
        Moment(text: "2026-11-20T21:18:03.123456Z", microseconds: 1_795_209_483_123_456),
        Moment(text: "2026-11-20T22:18:03.5+01:00", microseconds: 1_795_209_483_500_000),
        Moment(text: "2024-02-29T00:00:00.000001Z", microseconds: 1_709_164_800_000_001),
        Moment(text: "1969-12-31T23:59:59.999999Z", microseconds: -1),
        Moment(text: "2023-02-29T00:00:00Z", microseconds: nil),
        Moment(text: "2100-02-29T00:00:00Z", microseconds: nil),
        Moment(text: "2026-11-20T21:18:60Z", microseconds: nil),
        Moment(text: "2026-11-20T24:00:00Z", microseconds: nil),
        Moment(text: "2026-11-20 21:18:03Z", microseconds: nil),
        Moment(text: "2026-11-20T21:18:03", microseconds: nil),
        Moment(text: "2026-11-20T21:18:03.Z", microseconds: nil),
        Moment(text: "2026-11-20T21:18:03.1234567Z", microseconds: nil),
        Moment(text: "2026-00-20T21:18:03Z", microseconds: nil),
        Moment(text: "2026-11-00T21:18:03Z", microseconds: nil),
        Moment(text: "2026-11-20T21:18:03Zz", microseconds: nil),
    ])
    func `times are read exactly or refused`(_ moment: Moment) {
        #expect(Timestamp(rfc3339: moment.text)?.microseconds == moment.microseconds)
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `a time survives writing and reading`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let time = Timestamp(
            microseconds: .random(in: -62_167_219_200_000_000...253_402_300_799_999_999, using: &random)
        )
        #expect(Timestamp(rfc3339: time.rfc3339) == time, "seed \(seed)")
    }
}
