import JSONText
import Testing

/// A generator that gives the same values for the same seed (splitmix64).
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1 }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

@Suite struct JSONTextTests {
    @Test(arguments: [
        "null", "true", "[]", "{}", "[1,-0.5e+10,\"a\"]", "{\"b\":1,\"a\":{\"c\":[null,false]}}", "\"\\\"\\\\\\n\"",
        "1.50", "\"\u{1F600}\"",
    ])
    func `what is read is written back byte for byte`(_ text: String) throws {
        #expect(try JSONValue(parsing: text).description == text)
    }

    @Test(arguments: [
        "", " ", "nul", "[1,]", "{\"a\":1,}", "{a:1}", "01", "+1", "1.", ".5", "1e", "-", "\"", "\"\\x\"", "\"\u{1}\"",
        "[1 2]", "{\"a\" 1}", "1 1", "\u{FEFF}1", "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "NaN", "'a'", "[",
        "{\"a\":", "\"\\u12g4\"", "tru", "[1}", "//", "\"abc",
    ])
    func `text outside the grammar is refused`(_ text: String) {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
        #expect(error?.code == .malformed)
    }

    @Test func `invalid UTF-8 is refused`() {
        for bytes in [[0x22, 0xff, 0x22], [0x22, 0xc0, 0x80, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22]] as [[UInt8]] {
            #expect(throws: JSONError.self) { try JSONValue(parsing: bytes) }
        }
    }

    @Test func `a defect has its byte and line`() {
        let error = #expect(throws: JSONError.self) { try JSONValue(parsing: "{\n \"a\": 1,\n \"a\": 2}") }
        #expect(error?.position?.offset == 12)
        #expect(error?.position?.line == 3)
        #expect(error?.expected == "duplicate key")
    }

    @Test func `a duplicate key is found among many and through escapes`() {
        let many = (0..<40).map { "\"k\($0)\":0" }.joined(separator: ",")
        #expect(throws: Never.self) { try JSONValue(parsing: "{\(many)}") }
        #expect(throws: JSONError.self) { try JSONValue(parsing: "{\(many),\"k3\":1}") }
        #expect(throws: JSONError.self) { try JSONValue(parsing: "{\(many),\"\\u006b39\":1}") }
    }

    @Test func `depth and size have limits`() {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(throws: Never.self) { try JSONValue(parsing: nested(64)) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: nested(65)) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: nested(100_000)) }
        #expect(throws: JSONError.self) { try JSONValue(parsing: "[1,2]", limits: JSONLimits(bytes: 4)) }
    }

    @Test func `escapes become what they stand for`() throws {
        let value = try JSONValue(parsing: #""\u0041\ud83d\ude00\/\b\f\r\t""#)
        #expect(value == .string("A\u{1F600}/\u{8}\u{c}\r\t"))
        #expect(JSONValue.string("\u{1}\u{1f}\"\\").description == #""\u0001\u001f\"\\""#)
    }

    @Test func `the streaming writer separates by itself`() throws {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("n", -12)
        writer.member("least", Int64.min)
        writer.key("list")
        writer.beginArray()
        writer.beginObject()
        writer.endObject()
        writer.null()
        writer.decimal(magnitude: 5, isNegative: true, scale: 2)
        writer.decimal(magnitude: 12345, isNegative: false, scale: 2)
        writer.decimal(magnitude: 0, isNegative: false, scale: 0)
        writer.decimal(magnitude: .max, isNegative: false, scale: 3)
        writer.endArray()
        writer.member("text", "a\"b")
        writer.key(escaping: "k\n")
        writer.bool(true)
        writer.endObject()
        writer.line()
        writer.integer(UInt8(7))
        let decimals = #""-0.05","123.45","0","340282366920938463463374607431768211.455""#
        #expect(
            writer.text
                == #"{"n":-12,"least":-9223372036854775808,"list":[{},null,"# + decimals
                + #"],"text":"a\"b","k\n":true}"# + "\n7"
        )
    }

    @Test func `pretty text means the same`() throws {
        let value: JSONValue = ["a": [1, 2], "b": [:], "c": ["d": []]]
        let pretty = String(decoding: value.serialized(pretty: true), as: UTF8.self)
        #expect(
            pretty == "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": {\n    \"d\": []\n  }\n}"
        )
        #expect(try JSONValue(parsing: pretty) == value)
    }

    @Test func `a refusal names the place`() throws {
        let field = JSONField(try JSONValue(parsing: #"{"a/b":[{"qty":1,"x":null}]}"#))
        let first = try field.elements("a/b")[0]
        #expect(throws: JSONError(.wrongType, pointer: "/a~1b/0/qty", expected: "a string")) { try first.string("qty") }
        #expect(throws: JSONError(.missingField, pointer: "/a~1b/0/x", expected: "a string")) { try first.string("x") }
        #expect(throws: JSONError(.unknownField, pointer: "/a~1b/0/x", expected: "a documented field")) {
            try first.refuseUnknownKeys(except: ["qty"])
        }
        #expect(try first.optional("x") == nil)
        #expect(try first.has("x"))
        #expect(try first.int64("qty") == 1)
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `any tree survives writing and reading`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let value = randomValue(depth: 5, &random)
        #expect(try JSONValue(parsing: value.serialized()) == value, "seed \(seed)")
        #expect(try JSONValue(parsing: value.serialized(pretty: true)) == value, "seed \(seed)")
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `damaged text is refused or read, never a trap`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var bytes = randomValue(depth: 4, &random).serialized()
        for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        }
        if let value = try? JSONValue(parsing: bytes) {
            #expect(try JSONValue(parsing: value.serialized()) == value, "seed \(seed)")
        }
    }

    private func randomText(_ random: inout SeededRandom) -> String {
        let alphabet: [Character] = ["a", "\"", "\\", "\n", "\u{0}", "é", "\u{1F600}", "/", "~", "\u{7f}"]
        return String(
            (0..<Int.random(in: 0...6, using: &random)).map { _ in alphabet.randomElement(using: &random) ?? "a" }
        )
    }

    private func randomValue(depth: Int, _ random: inout SeededRandom) -> JSONValue {
        switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &random) {
        case 0: return .null
        case 1: return .bool(.random(using: &random))
        case 2: return .integer(.random(in: .min ... .max, using: &random))
        case 3: return .number("-0.5E+7")
        case 4: return .string(randomText(&random))
        case 5:
            return .array(
                (0..<Int.random(in: 0...4, using: &random)).map { _ in randomValue(depth: depth - 1, &random) }
            )
        default:
            var object = JSONObject()
            for _ in 0..<Int.random(in: 0...20, using: &random) {
                object[randomText(&random)] = randomValue(depth: depth - 1, &random)
            }
            return .object(object)
        }
    }
}
