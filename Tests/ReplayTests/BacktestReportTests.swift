import JSONText
import Replay
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The command as its users see it, on synthetic prices.
@Suite struct BacktestReportTests {
    private static let header = "ts_us,venue,symbol,price,qty,side\n"

    /// 100, 105, 110, 107.80, 107 a second apart, with another market in between.
    private static let rides = """
        1000000,v-usdm,X,100,1,buy
        1500000,v-spot,X,55,1,buy
        2000000,v-usdm,X,105,1,buy
        3000000,v-usdm,X,110,1,buy
        3500000,v-spot,X,54,1,buy
        4000000,v-usdm,X,107.81,1,sell
        5000000,v-usdm,X,107.8,1,sell
        6000000,v-usdm,X,107,1,sell

        """

    private func file(_ text: String) -> String {
        var name = Array("/tmp/smartorders-backtest-XXXXXX".utf8CString)
        let descriptor = mkstemp(&name)
        let bytes = Array(text.utf8)
        precondition(descriptor >= 0 && write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
        return String(decoding: name.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private func run(
        _ order: String,
        ticks: String = rides,
        _ change: (inout Backtest) -> Void = { _ in },
    ) -> (status: Int32, out: [String], complaints: [String]) {
        let tickFile = file(Self.header + ticks)
        let orderFile = file(order)
        defer {
            unlink(tickFile)
            unlink(orderFile)
        }
        var backtest = Backtest(ticks: tickFile, order: orderFile)
        change(&backtest)
        var out: [String] = []
        var complaints: [String] = []
        let status = backtest.run(print: { out.append($0) }, complain: { complaints.append($0) })
        return (status, out, complaints)
    }

    private static let trailing = """
        {"side": "BUY", "qty": "2", "entry": {"mode": "market"}, "trailing": {"callbackRate": "0.02"},
         "takeProfits": [{"price": "105", "sizePct": "50"}, {"price": "120", "sizePct": "50"}],
         "fees": {"maker": "0", "taker": "0.001"}, "instrument": {"symbol": "X", "kind": "perp", "tickSize": "0.01"}}
        """

    @Test func `every change is told with its tick, price, stop and fills`() throws {
        let result = run(Self.trailing) { $0.asJSON = true }
        #expect(result.status == 0)
        let json = try JSONValue(parsing: try #require(result.out.first))
        #expect(json["ticks"]?.int64 == 6)
        #expect(
            json["result"]
                == [
                    "status": "STOPPED", "closeReason": "TRAILING_STOP", "grossPnl": "12.8", "fees": "0.4128",
                    "netPnl": "12.3872", "openQty": "0", "progress": "1/2", "avgEntry": "100",
                ]
        )
        guard case .array(let changes)? = json["changes"] else {
            Issue.record("no changes")
            return
        }
        let fills = changes.compactMap { change -> JSONValue? in
            guard case .array(let fills)? = change["fills"], let fill = fills.first else { return nil }
            return [change["tick"] ?? .null, change["status"] ?? .null, fill]
        }
        #expect(
            fills
                == [
                    [0, "ACTIVE", ["purpose": "entry", "qty": "2", "price": "100"]],
                    [2, "PARTIALLY_CLOSED", ["purpose": "tp1", "qty": "1", "price": "105"]],
                    [6, "STOPPED", ["purpose": "sl", "qty": "1", "price": "107.8"]],
                ]
        )
        let last = try #require(changes.last)
        #expect(last["stop"] == ["price": "107.8", "kind": "TRAIL"])
        #expect(last["waterMark"]?.text == "110")
        #expect(last["time"]?.text == "1970-01-01T00:00:05.000000Z")
        let versions = changes.map { $0["version"]?.int64 }
        #expect(versions == (1...changes.count).map { Int64($0) })
    }

    @Test func `text has a line per change and the result`() {
        let result = run(Self.trailing)
        #expect(result.status == 0)
        #expect(
            result.out.last
                == "6 ticks: STOPPED TRAILING_STOP, gross 12.8, fees 0.4128, open 0, targets 1/2"
        )
    }

    @Test func `an order without an instrument trades on the precision of the file`() {
        let order = #"{"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "trailing": {"callbackRate": "0.02"}}"#
        let result = run(order) { $0.series = "v-usdm:X" }
        #expect(result.out.last == "6 ticks: STOPPED TRAILING_STOP, gross 7.8, fees 0, open 0")
    }

    @Test func `the kind of market chooses among series of one symbol`() {
        let spot = Self.trailing.split(separator: "perp").joined(separator: "spot")
            .split(separator: "105").joined(separator: "60")
        #expect(run(spot).out.last?.hasPrefix("2 ticks: ") == true)
    }

    @Test func `a time exit comes at its moment, between two ticks`() {
        let order = """
            {"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "exitAtMs": 2500,
             "instrument": {"symbol": "X", "kind": "perp"}}
            """
        let result = run(order)
        #expect(result.out.last == "6 ticks: CLOSED TIME_EXIT, gross 10, fees 0, open 0")
        #expect(result.out.contains { $0.hasPrefix("tick 3  1970-01-01T00:00:03.500000Z  110  ") })
    }

    @Test func `a time exit counts from the first tick that is looked at`() {
        let order = """
            {"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "exitAtMs": 500,
             "instrument": {"symbol": "X", "kind": "perp"}}
            """
        let result = run(order) { $0.from = "2" }
        #expect(result.out.last == "5 ticks: CLOSED TIME_EXIT, gross 0, fees 0, open 0")
        #expect(result.out.contains { $0.hasPrefix("tick 2  1970-01-01T00:00:02.500000Z  105  ") })
    }

    @Test(arguments: ["perp", "spot"])
    func `what is held already was entered at the first tick`(kind: String) {
        let order = """
            {"side": "BUY", "qty": "1", "entry": {"mode": "attach"}, "trailing": {"callbackRate": "0.02"},
             "instrument": {"symbol": "X", "kind": "\(kind)", "tickSize": "0.01"}}
            """
        let result = run(order) { $0.series = "v-usdm:X" }
        #expect(result.out.last == "6 ticks: STOPPED TRAILING_STOP, gross 7.8, fees 0, open 0")
    }

    @Test func `a resting target fills at its limit when a later tick touches it`() {
        let order = """
            {"side": "BUY", "qty": "1", "entry": {"mode": "limit", "price": "99"},
             "takeProfits": [{"price": "105", "sizePct": "100", "exec": "limit", "limitPrice": "106"}],
             "stopLoss": {"price": "90"}}
            """
        let ticks = """
            1,v,X,100,1,buy
            2,v,X,98.5,1,buy
            3,v,X,105,1,buy
            4,v,X,105.9,1,buy
            5,v,X,106.5,1,buy

            """
        #expect(
            run(order, ticks: ticks).out.last == "5 ticks: CLOSED ALL_TP_FILLED, gross 7, fees 0, open 0, targets 1/1"
        )
    }

    @Test func `bounds are times or tick numbers`() {
        let order = """
            {"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "trailing": {"callbackRate": "0.02"},
             "instrument": {"symbol": "X", "kind": "perp"}}
            """
        let times = run(order) {
            $0.from = "1970-01-01T00:00:02Z"
            $0.to = "1970-01-01T00:00:05Z"
        }
        #expect(times.out.last == "3 ticks: ACTIVE, gross 0, fees 0, open 1")
        let numbers = run(order) {
            $0.from = "2"
            $0.to = "6"
        }
        #expect(numbers.out == times.out)
    }

    struct Bad: Sendable {
        let order: String
        let ticks: String
        let complaint: String
    }

    @Test(arguments: [
        Bad(order: "{", ticks: rides, complaint: "line 1, byte 1: expected a key"),
        Bad(
            order: #"{"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "stopLos": {"price": "9"}}"#,
            ticks: "1,v,X,100,1,buy\n",
            complaint: "/stopLos: unknown field",
        ),
        Bad(
            order: #"{"side": "BUY", "qty": "1", "entry": {"mode": "market"}}"#,
            ticks: "1,v,X,100,1,buy\n",
            complaint: "the order is refused: NO_EXIT",
        ),
        Bad(
            order: #"{"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "stopLoss": {"price": "90"}}"#,
            ticks: rides,
            complaint: "the file has several series (v-usdm:X, v-spot:X)",
        ),
        Bad(
            order: #"{"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "stopLoss": {"price": "90"}}"#,
            ticks: "1,v,X,100,1,buy\n2,v,X,abc,1,buy\n",
            complaint: ":3: price is no plain decimal",
        ),
        Bad(
            order: #"{"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "stopLoss": {"price": "90"}}"#,
            ticks: "",
            complaint: "the file has no ticks",
        ),
    ])
    func `bad input is one clear line and exit status 2`(_ bad: Bad) {
        let result = run(bad.order, ticks: bad.ticks)
        #expect(result.status == 2)
        #expect(result.out.isEmpty)
        #expect(result.complaints.count == 1)
        #expect(result.complaints.first?.contains(bad.complaint) == true, "\(result.complaints)")
    }
}
