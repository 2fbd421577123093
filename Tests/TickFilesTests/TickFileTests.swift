import SmartOrders
import Testing
import TickFiles

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Runs `body` with a file of these bytes, which is gone afterwards.
func withFile(_ bytes: [UInt8], _ body: (String) throws -> Void) throws {
    var name = Array("/tmp/smartorders-ticks-XXXXXX".utf8CString)
    let descriptor = mkstemp(&name)
    precondition(descriptor >= 0)
    let path = String(decoding: name.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    precondition(write(descriptor, bytes, bytes.count) == bytes.count)
    close(descriptor)
    defer { unlink(path) }
    try body(path)
}

func withRows(_ rows: String, _ body: (String) throws -> Void) throws {
    try withFile(Array((TickFile.header + "\n" + rows).utf8), body)
}

@Suite struct TickFileTests {
    private func rows(_ path: String) throws -> [TickRow] {
        var file = try TickFile.open(path)
        var rows: [TickRow] = []
        while let row = try file.next() { rows.append(row) }
        return rows
    }

    @Test func `rows keep their numbers, prices and series`() throws {
        try withRows("5,a,X,1.50,0.006,buy\n5,b,Y,0.001,2,sell\n6,a,X,100,0,unknown") { path in
            let rows = try rows(path)
            #expect(rows.map(\.number) == [0, 1, 2])
            #expect(rows.map(\.time) == [5, 5, 6])
            #expect(rows.map(\.series) == [0, 1, 0])
            #expect(rows.map(\.taker) == [.buy, .sell, .unknown])
            #expect(rows.map { $0.price.units(decimals: 8) } == [150_000_000, 100_000, 10_000_000_000])
            #expect(rows[0].price.units(decimals: 1) == 15)
            #expect(rows[0].price.units(decimals: 0) == nil)
            #expect(rows[0].price.significantDecimals == 1)
            let survey = try TickSurvey(path: path)
            #expect(survey.rows == 3)
            #expect(survey.entries.map(\.series.description) == ["a:X", "b:Y"])
            #expect(survey.entries.map(\.rows) == [2, 1])
            #expect(survey.entries.map(\.priceDecimals) == [1, 3])
        }
    }

    struct Bad: Sendable {
        let rows: String
        let line: Int64
    }

    @Test(arguments: [
        Bad(rows: "x,a,X,1,1,buy\n", line: 2),
        Bad(rows: "1,a,X,1,1,buy\n1,a,X,1e3,1,buy\n", line: 3),
        Bad(rows: "1,a,X,1,1,buy\n1,a,X,-1,1,buy\n", line: 3),
        Bad(rows: "1,a,X,1,1,buy\n1,a,X,.5,1,buy\n", line: 3),
        Bad(rows: "1,a,X,1,1,buy\n1,a,X,5.,1,buy\n", line: 3),
        Bad(rows: "1,a,X,0,1,buy\n", line: 2),
        Bad(rows: "1,a,X,1,1,buy\n0,a,X,1,1,buy\n", line: 3),
        Bad(rows: "1,a,X,1,1,BUY\n", line: 2),
        Bad(rows: "1,a,X,1,1\n", line: 2),
        Bad(rows: "1,a,X,1,1,buy,\n", line: 2),
        Bad(rows: "1,a,X,1,1,buy\n1,a,X,1,1,buy,x\n", line: 3),
        Bad(rows: "1,a,X,1,1,buy\n1,a,X,1,1\n", line: 3),
        Bad(rows: "1,a,X,1,1,buy\n\n", line: 3),
        Bad(rows: "1,,X,1,1,buy\n", line: 2),
        Bad(rows: "1,a,X,1234567890123456789,1,buy\n", line: 2),
        Bad(rows: "1,a,X,1,1,buy\r\n", line: 2),
        Bad(rows: ",,,,,\n", line: 2),
    ])
    func `a line of another form is named`(_ bad: Bad) throws {
        try withRows(bad.rows) { path in
            let error = #expect(throws: TickFileError.self) { try rows(path) }
            #expect(error?.line == bad.line)
            #expect(error?.description.hasPrefix("\(path):\(bad.line): ") == true)
        }
    }

    @Test func `a file without the header, an empty one and a missing one are refused`() throws {
        try withFile(Array("time,price\n1,2\n".utf8)) { path in
            _ = #expect(throws: TickFileError.self) { try rows(path) }
        }
        try withFile([]) { path in
            _ = #expect(throws: TickFileError.self) { try rows(path) }
        }
        #expect(throws: TickFileError.self) { try rows("/nonexistent") }
    }

    @Test func `rows that straddle the buffers are whole`() throws {
        var text = ""
        let count = 60_000
        for number in 0..<count { text += "\(number),venue,SYMBOL,\(number + 1).25,1.5,sell\n" }
        try withRows(text) { path in
            let rows = try rows(path)
            #expect(rows.count == count)
            #expect(rows.enumerated().allSatisfy { $1.number == $0 && $1.price.mantissa == ($0 + 1) * 100 + 25 })
        }
    }

    /// Two gzip members: the header with the row `1,a,X,1.5,2,buy`, then the row `2,a,X,1.5,2,buy`.
    private static let gzip: [UInt8] = [
        31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 43, 41, 142, 47, 45, 214, 41, 75, 205, 43, 77, 213, 41, 174, 204, 77, 202, 207,
        209, 41, 40, 202, 76, 78, 213, 41, 44, 169, 212, 41, 206, 76, 73, 229, 50, 212, 73, 212, 137, 208, 49, 212, 51,
        213, 49, 210, 73, 42, 173, 228, 2, 0, 153, 104, 56, 199, 50, 0, 0, 0, 31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 51, 210,
        73, 212, 137, 208, 49, 212, 51, 213, 49, 210, 73, 42, 173, 228, 2, 0, 235, 117, 88, 65, 16, 0, 0, 0,
    ]

    @Test func `gzip is known by its first bytes, also in several members`() throws {
        try withFile(Self.gzip) { path in
            let times = try rows(path).map(\.time)
            #expect(times == [1, 2])
        }
    }

    @Test(arguments: 1..<105)
    func `cut gzip is refused`(length: Int) throws {
        // A cut exactly between the members is a whole file.
        guard length != 70 else { return }
        try withFile(Array(Self.gzip.prefix(length))) { path in
            _ = #expect(throws: TickFileError.self) { try rows(path) }
        }
    }

    @Test func `damaged gzip is refused`() throws {
        var bytes = Self.gzip
        bytes[30] ^= 0xff
        try withFile(bytes) { path in
            _ = #expect(throws: TickFileError.self) { try rows(path) }
        }
    }
}
