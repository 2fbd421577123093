import PostgresClient
import TestKit
import Testing

/// A value on its way to the server and back.
struct NumericTrip: Sendable {
    let text: String
    var type = "numeric"
}

@Suite struct PostgresValueTests {
    @Test func `every kind of parameter comes back as it was`() async throws {
        let statement = Statement(
            name: "all",
            sql: """
                SELECT $1::bigint, $2::text, $3::boolean, $4::bytea, $5::uuid, $6::jsonb, $7::timestamptz, $8::bigint[],
                    $9::text[], $10::int, $11::smallint, $12::json
                """,
        )
        let text = "tab\t quote\" back\\slash {brace},comma NULL ünïcødé 💹"
        try await withPool { pool in
            let row = try await pool.query(
                statement,
                [
                    .int8(.min), .text(text), .bool(true), .bytes([0, 255, 1, 0]),
                    .uuid(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210), .json(#"{"a": [1, null]}"#),
                    .timestamp(microseconds: 1_774_000_000_123_456), .int8Array([.max, 0, -7]),
                    .textArray([text, nil, "", "NULL"]), .int8(-70_000), .int8(-3), .json("[1]"),
                ],
            )[0]
            #expect(try row.int64(0) == .min)
            #expect(try row.string(1) == text)
            #expect(try row.bool(2))
            #expect(try row.bytes(3) == [0, 255, 1, 0])
            let uuid = try row.uuid(4)
            #expect(uuid.high == 0x0123_4567_89ab_cdef && uuid.low == 0xfedc_ba98_7654_3210)
            #expect(try row.string(5) == #"{"a": [1, null]}"#)
            #expect(try row.timestamp(6) == 1_774_000_000_123_456)
            #expect(try row.int64Array(7) == [.max, 0, -7])
            #expect(try row.stringArray(8) == [text, nil, "", "NULL"])
            #expect(try row.int64(9) == -70_000)
            #expect(try row.int64(10) == -3)
            #expect(try row.string(11) == "[1]")
        }
    }

    @Test func `null first does not spoil a statement for values`() async throws {
        let statement = Statement(name: "maybe", sql: "SELECT $1::bigint, $2::text, $3::bytea, $4::uuid, $5::bigint[]")
        try await withPool(connections: 1) { pool in
            let none = try await pool.query(statement, [.null, .null, .null, .null, .null])[0]
            for column in 0..<5 { #expect(none.isNull(column)) }
            #expect(try none.int64OrNil(0) == nil)
            let some = try await pool.query(
                statement,
                [.int8(7), .text(""), .bytes([]), .uuid(high: 0, low: 1), .int8Array([])],
            )[0]
            #expect(try some.int64OrNil(0) == 7)
            #expect(try some.string(1).isEmpty)
            #expect(try some.bytes(2).isEmpty)
            #expect(try some.uuid(3).low == 1)
            #expect(try some.int64Array(4).isEmpty)
        }
    }

    @Test(arguments: [
        NumericTrip(text: "0"), NumericTrip(text: "0.00000000"), NumericTrip(text: "1"), NumericTrip(text: "-1"),
        NumericTrip(text: "10000"), NumericTrip(text: "9999.9999"), NumericTrip(text: "0.00010000"),
        NumericTrip(text: "-0.000000000000000001"), NumericTrip(text: "123456789012345678.123456789012345678"),
        NumericTrip(text: "100000000.00000001"), NumericTrip(text: "0.5", type: "numeric(38,18)"),
        NumericTrip(text: "12345678901234567890.1", type: "numeric(38,18)"), NumericTrip(text: "1200000000000"),
        NumericTrip(text: "99999999999999999999999999999999999999"),
    ])
    func `numeric is exact in both forms`(_ trip: NumericTrip) async throws {
        try await withPool(connections: 1) { pool in
            let statement = Statement(sql: "SELECT $1::\(trip.type), ($1::\(trip.type))::text")
            let row = try await pool.query(statement, [.numeric(trip.text)])[0]
            let expected = try row.string(1)
            #expect(try row.numeric(0) == expected)
            let (mantissa, scale) = try row.decimal(0)
            let digits = expected.split(separator: ".")
            #expect("\(mantissa.magnitude)" == "\(Int128(digits.joined())?.magnitude ?? 1)")
            #expect((mantissa < 0) == (expected.hasPrefix("-")))
            #expect(scale == (digits.count == 2 ? digits[1].count : 0))
        }
    }

    @Test func `random numerics survive the way through the server`() async throws {
        var random = SystemRandomNumberGenerator()
        let texts = (0..<500).map { _ in
            let whole = Int64.random(in: -99_999_999_999...99_999_999_999, using: &random)
            let places = Int.random(in: 0...18, using: &random)
            let fraction = (0..<places).map { _ in "\(Int.random(in: 0...9, using: &random))" }.joined()
            return places == 0 ? "\(whole)" : "\(whole).\(fraction)"
        }
        try await withPool { pool in
            let rows = try await pool.query(
                Statement(sql: "SELECT v, v::text FROM unnest($1::numeric[]) WITH ORDINALITY AS t (v, n) ORDER BY n"),
                [.textArray(texts)],
            )
            #expect(rows.count == texts.count)
            for row in rows { #expect(try row.numeric(0) == row.string(1)) }
        }
    }

    @Test func `a cell of another type, a null and NaN are refused`() async throws {
        try await withPool(connections: 1) { pool in
            let row = try await pool.query(
                Statement(sql: "SELECT 1::bigint, NULL::text, 'NaN'::numeric, 'infinity'::timestamptz")
            )[0]
            #expect(throws: RowError.self) { try row.string(0) }
            #expect(throws: RowError.self) { try row.uuid(0) }
            let error = #expect(throws: RowError.self) { try row.string(1) }
            #expect(error?.isNull == true && error?.column == 1)
            #expect(throws: RowError.self) { try row.numeric(2) }
            #expect(throws: RowError.self) { try row.timestamp(3) }
        }
    }

    @Test func `text with a NUL is refused before anything is sent`() async throws {
        try await withPool(connections: 1) { pool in
            let error = await #expect(throws: PostgresError.self) {
                try await pool.query(Statement(sql: "SELECT $1::text"), [.text("a\0b")])
            }
            #expect(error?.kind == .refused && error?.delivery == .notSent && error?.isTransient == false)
        }
    }
}
