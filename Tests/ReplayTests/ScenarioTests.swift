import JSONText
import Replay
import Testing

@Suite struct ScenarioTests {

    struct Mode: Sendable, CustomTestStringConvertible {
        let name: String
        let modes: ScenarioModes
        var testDescription: String { name }
    }

    private static let everyMode = [
        Mode(name: "plain", modes: ScenarioModes()),
        Mode(name: "restart at every step", modes: ScenarioModes(restartEveryStep: true)),
        Mode(name: "duplicates at every step", modes: ScenarioModes(duplicateEveryStep: true)),
        Mode(name: "through watches", modes: ScenarioModes(throughWatches: true)),
        Mode(
            name: "everything at once",
            modes: ScenarioModes(restartEveryStep: true, duplicateEveryStep: true, throughWatches: true),
        ),
    ]

    @Test(arguments: everyMode)
    func `every golden scenario comes out as written`(_ mode: Mode) throws {
        let results = try ScenarioRunner.run(file: SharedFolder.golden, modes: mode.modes)
        #expect(results.count == 87)
        for result in results where !result.passed { Issue.record("\(result.line)") }
    }

    /// Expectations worked out from the text of the rules, not from what the system does.
    @Test(arguments: everyMode)
    func `every further scenario of the rules comes out as written`(_ mode: Mode) throws {
        let results = try ScenarioRunner.run(file: SharedFolder.rules, modes: mode.modes)
        #expect(results.count == 191)
        for result in results where !result.passed { Issue.record("\(result.line)") }
    }

    private static let stopped = """
        {"id": "T1", "title": "stop", "kind": "smart",
         "instrument": {"symbol": "T", "kind": "perp", "tickSize": "0.01", "stepSize": "0.1"},
         "request": {"side": "BUY", "qty": "10", "initialMark": "100", "entry": {"mode": "market"},
                     "stopLoss": {"price": "95"}},
         "timeline": [{"type": "price", "t": 0, "mark": "95"}],
         "expect": {"stateSequence": ["PENDING", "ACTIVE", "STOPPED"], "closeReason": "STOP_LOSS", "grossPnl": "-50",
                    "orders": [{"purpose": "entry", "qty": "10", "outcome": "FILLED"},
                               {"purpose": "sl", "limitPrice": "85.50", "fills": [["10.0", "95"]]}]}}
        """

    private func run(_ text: String) throws -> [ScenarioResult] { try ScenarioRunner.run(file: Array(text.utf8)) }

    @Test func `one scenario is a file too`() throws {
        #expect(try run(Self.stopped).map(\.line) == ["T1 pass"])
    }

    struct Change: Sendable {
        let from: String
        let to: String
        let line: String
    }

    @Test(arguments: [
        Change(from: #""-50""#, to: #""-51""#, line: "T1 FAIL /grossPnl: want -51, got -50"),
        Change(from: #""85.50""#, to: #""85""#, line: "T1 FAIL /orders/1/limitPrice: want 85, got 85.5"),
        Change(from: #", "STOPPED""#, to: "", line: "T1 FAIL /stateSequence/2: want null, got STOPPED"),
        Change(
            from: #""-50""#,
            to: #""-50", "stops": []"#,
            line: "T1 FAIL /stops/0: want null, got [-1,\"95\",\"SL\"]",
        ),
        Change(
            from: #"[["10.0", "95"]]"#,
            to: "[]",
            line: "T1 FAIL /orders/1/fills/0: want null, got [\"10\",\"95\"]",
        ),
    ])
    func `the first difference is told`(_ change: Change) throws {
        var parts = Self.stopped.split(separator: change.from, maxSplits: 1, omittingEmptySubsequences: false)
        #expect(parts.count == 2)
        parts.insert(change.to[...], at: 1)
        #expect(try run(parts.joined()).map(\.line) == [change.line])
    }

    @Test(arguments: [
        (#""id": "T1""#, #""id": "T1", "unknown": 1"#, "/unknown"),
        (#""mark": "95""#, #""mark": "95", "filll": "95""#, "/timeline/0/filll"),
        (#""closeReason""#, #""closeReasons""#, "/expect/closeReasons"),
        (#""symbol": "T""#, #""symbol": "T", "tick": "1""#, "/instrument/tick"),
        (#""stopLoss""#, #""stopLos""#, "/request/stopLos"),
        (#""purpose": "sl""#, #""purpos": "sl""#, "/expect/orders/1/purpos"),
    ])
    func `an unknown key is an error`(from: String, to: String, pointer: String) throws {
        let text = Self.stopped.split(separator: from, maxSplits: 1, omittingEmptySubsequences: false).joined(
            separator: to
        )
        let error = #expect(throws: JSONError.self) { try run(text) }
        #expect(error?.code == .unknownField)
        #expect(error?.pointer == pointer)
    }

    @Test(arguments: [
        (#""mark": "95""#, #""mark": "-95""#, "/timeline/0/mark"),
        (#""mark": "95""#, #""mark": "0""#, "/timeline/0/mark"),
        (#""mark": "95""#, #""mark": 95"#, "/timeline/0/mark"),
        (#""mark": "95""#, #""mark": "95", "liquidity": "-1""#, "/timeline/0/liquidity"),
        (#""initialMark": "100""#, #""initialMark": "0""#, "/request/initialMark"),
        (
            #""timeline""#, #""faults": [{"purpose": "sl", "attempt": 0, "result": "reject"}], "timeline""#,
            "/faults/0/attempt",
        ),
        (
            #""timeline""#,
            #""faults": [{"purpose": "cancel:sl", "attempt": 1, "result": "filled_before_cancel"}], "timeline""#,
            "/faults/0/qty",
        ),
    ])
    func `a number that no market has is an error`(from: String, to: String, pointer: String) throws {
        var parts = Self.stopped.split(separator: from, maxSplits: 1, omittingEmptySubsequences: false)
        #expect(parts.count == 2)
        parts.insert(to[...], at: 1)
        let text = parts.joined()
        let error = #expect(throws: JSONError.self) { try run(text) }
        #expect(error?.pointer == pointer)
    }

    @Test func `a report has the exit status of its worst file`() {
        var lines: [String] = []
        var complaints: [String] = []
        let status = ScenarioReport(files: ["/nonexistent"]).run(
            print: { lines.append($0) },
            complain: { complaints.append($0) },
        )
        #expect(status == 2)
        #expect(lines.isEmpty)
        #expect(complaints == ["/nonexistent: cannot be read"])
    }
}
