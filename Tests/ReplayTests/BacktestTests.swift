import JSONText
import OrderJSON
import Replay
import SmartOrders
import Testing
import TickFiles

/// Backtests on real prices, against independently computed triggers (../shared/data/README.md 4) and against a naive
/// loop. One place reads the files; each file is read once.
@Suite(.serialized) struct BacktestTests {
    struct Series: Sendable {
        let file: String
        let name: String
        var path: String { "\(SharedFolder.path)/data/\(file)" }
    }

    private static let finest = "0.000000000001"
    private static let expected = "data/expected_triggers.json"

    struct Row: Sendable {
        let number: Int64
        let time: Int64
        let price: PlainDecimal
    }

    private func rows(_ series: Series) throws -> [Row] {
        var file = try TickFile.open(series.path)
        var rows: [Row] = []
        while let row = try file.next() {
            guard file.series[row.series].description == series.name else { continue }
            rows.append(Row(number: row.number, time: row.time, price: row.price))
        }
        return rows
    }

    private func replay(
        _ order: String,
        _ survey: TickSurvey,
        _ series: Series,
        _ rows: ArraySlice<Row>,
    ) throws -> BacktestRun {
        let input = try BacktestInput(order: Array(order.utf8), survey: survey, series: series.name)
        let first = try #require(rows.first)
        var run = try BacktestRun(
            input,
            number: first.number,
            time: first.time,
            units: #require(first.price.units(decimals: input.decimals)),
        )
        for row in rows.dropFirst() {
            // No macro here: it would cost more than the tick.
            run.tick(number: row.number, time: row.time, units: row.price.units(decimals: input.decimals) ?? 0)
        }
        return run
    }

    private func order(_ side: Side, _ entry: String, _ exit: String, tickSize: String) -> String {
        """
        {"side": "\(side.rawValue)", "qty": "1", "entry": {"mode": "attach", "price": "\(entry)"}, \(exit),
         "instrument": {"symbol": "X", "kind": "perp", "tickSize": "\(tickSize)", "stepSize": "1"}}
        """
    }

    private func trailing(_ rate: String) -> String { "\"trailing\": {\"callbackRate\": \"\(rate)\"}" }

    /// The tick that latched a stop or fired the first level, with the order right after it.
    private func trigger(_ run: BacktestRun) -> BacktestRun.Change? {
        run.changes.first { change in
            change.facts.contains { fact in
                switch fact {
                case .stopLatched, .levelTriggered: true
                default: false
                }
            }
        }
    }

    /// Compares a run with a result of the reference file: null, or index, price, stop, mark.
    private func compare(_ run: BacktestRun, _ want: JSONValue, _ what: Comment) {
        let trigger = trigger(run)
        #expect(trigger?.tick == want["index"]?.int64, what)
        #expect(trigger?.price.description == want["price"]?.text, what)
        #expect(trigger?.time.rfc3339 == want["time"]?.text, what)
        if let stop = want["stop"]?.text { #expect(trigger?.order.latch?.price.description == stop, what) }
        if let mark = want["mark"]?.text { #expect(trigger?.order.extreme?.description == mark, what) }
    }

    private static func series() throws -> [(Series, JSONValue)] {
        guard case .object(let files)? = try JSONValue(parsing: SharedFolder.bytes(expected))["ticks"] else {
            return []
        }
        return files.members.flatMap { file -> [(Series, JSONValue)] in
            guard case .object(let all) = file.value else { return [] }
            return all.members.map { (Series(file: file.key, name: $0.key), $0.value) }
        }
    }

    private static let sides: [(Side, String)] = [(.buy, "long"), (.sell, "short")]

    @Test(.enabled(if: SharedFolder.has(expected), "needs ../shared/data"))
    func `trailing stops trigger where an independent computation says`() throws {
        var compared = 0
        for (series, want) in try Self.series() {
            let survey = try TickSurvey(path: series.path)
            let rows = try rows(series)
            let entry = try #require(want["entry"]?.text)
            #expect(want["ticks"]?.int64 == Int64(rows.count))
            for (table, tickSize) in [
                (want, Self.finest), (want["on_tick"] ?? .null, want["on_tick"]?["tickSize"]?.text ?? ""),
            ] {
                guard case .object(let rates)? = table["trailing"] else { continue }
                for rate in rates.members {
                    for (side, name) in Self.sides {
                        let what: Comment = "\(series.name) \(rate.key) \(name) tick \(tickSize)"
                        let wanted = try #require(rate.value[name])
                        let text = order(side, entry, trailing(rate.key), tickSize: tickSize)
                        compared += 1
                        if wanted.text == "CALLBACK_OUT_OF_RANGE" {
                            let error = #expect(throws: BacktestError.self) {
                                try replay(text, survey, series, rows[...])
                            }
                            #expect(error?.description.contains("CALLBACK_OUT_OF_RANGE") == true, what)
                            continue
                        }
                        let run = try replay(text, survey, series, rows[...])
                        compare(run, wanted, what)
                        #expect(run.order.status == (wanted == .null ? .active : .stopped), what)
                        #expect(run.ticks == Int64(rows.count))
                    }
                }
            }
        }
        #expect(compared == 3 * 2 * 8 * 2)
    }

    @Test(.enabled(if: SharedFolder.has(expected), "needs ../shared/data"))
    func `fixed stops and targets trigger at the first touch`() throws {
        for (series, want) in try Self.series() {
            let survey = try TickSurvey(path: series.path)
            let rows = try rows(series)
            let entry = try #require(want["entry"]?.text)
            guard case .object(let rates)? = want["static"] else { continue }
            for rate in rates.members {
                for (direction, result) in [("up", rate.value["up"]), ("down", rate.value["down"])] {
                    let wanted = try #require(result)
                    let level = try #require(wanted["level"]?.text)
                    for (side, name) in Self.sides {
                        let isTarget = (side == .buy) == (direction == "up")
                        let exit =
                            isTarget
                            ? "\"takeProfits\": [{\"price\": \"\(level)\", \"sizePct\": \"100\"}]"
                            : "\"stopLoss\": {\"price\": \"\(level)\"}"
                        let text = order(side, entry, exit, tickSize: Self.finest)
                        let run = try replay(text, survey, series, rows[...])
                        let touched = wanted["index"]?.int64 == nil ? JSONValue.null : wanted
                        compare(run, touched, "\(series.name) \(rate.key) \(direction) \(name)")
                    }
                }
            }
        }
    }

    @Test(.enabled(if: SharedFolder.has(expected), "needs ../shared/data"))
    func `a stop armed at the top of a crash triggers where an independent computation says`() throws {
        let crashes = try JSONValue(parsing: SharedFolder.bytes(Self.expected))["armed_at_crash"]
        for (series, _) in try Self.series() {
            let survey = try TickSurvey(path: series.path)
            let rows = try rows(series)
            for (side, name) in Self.sides {
                let crash = try #require(crashes?[series.file]?[series.name]?[name])
                let armed = try #require(crash["armIndex"]?.int64)
                let start = try #require(rows.firstIndex { $0.number == armed })
                guard case .object(let rates)? = crash["trailing"] else { continue }
                for rate in rates.members {
                    let price = try #require(crash["armPrice"]?.text)
                    let text = order(side, price, trailing(rate.key), tickSize: Self.finest)
                    compare(
                        try replay(text, survey, series, rows[start...]),
                        rate.value,
                        "\(series.name) \(rate.key) \(name)",
                    )
                }
            }
        }
    }

    private static let files = [
        "ticks_binance-spot_ATOMUSDT_20251010_flash.csv.gz", "ticks_binance_multi_20240808-09.csv.gz",
        "ticks_bitstamp_BTCUSD_2011-09_2012-05.csv.gz",
    ]

    /// On every series, also those that the reference file does not name, with ticks of odd sizes.
    @Test(.enabled(if: files.allSatisfy { SharedFolder.has("data/\($0)") }, "needs ../shared/data"), arguments: files)
    func `a naive loop over all ticks says the same`(file: String) throws {
        let survey = try TickSurvey(path: "\(SharedFolder.path)/data/\(file)")
        for entry in survey.entries {
            let series = Series(file: file, name: entry.series.description)
            let rows = try rows(series)
            for tickSize in [Self.finest, "0.05"] {
                let tick = try #require(ExactDecimal(tickSize))
                for rate in ["0.002", "0.017"] {
                    let share = try #require(ExactDecimal(rate))
                    guard entry.firstPrice.value * share >= tick else { continue }
                    for (side, _) in Self.sides {
                        let first = entry.firstPrice.description
                        let text = order(side, first, trailing(rate), tickSize: tickSize)
                        guard entry.firstPrice.value.isMultiple(of: tick) else { continue }
                        let naive = naiveTrigger(rows, side, share, tick)
                        let run = try replay(text, survey, series, rows[...])
                        #expect(trigger(run)?.tick == naive, "\(series.name) \(rate) \(side) \(tickSize)")
                    }
                }
            }
        }
    }

    /// Whole units of 10^-12 are compared; a threshold is computed in exact decimals at each new extreme.
    private func naiveTrigger(_ rows: [Row], _ side: Side, _ rate: ExactDecimal, _ tick: ExactDecimal) -> Int64? {
        let factor = side == .buy ? .one - rate : .one + rate
        func threshold(_ extreme: Row) -> Int64 {
            let stop = (extreme.price.value * factor).rounded(toMultipleOf: tick, side == .buy ? .ceiling : .floor)
            return stop.units(decimals: 12) ?? 0
        }
        var extreme = rows[0].price.units(decimals: 12) ?? 0
        var stop = threshold(rows[0])
        for row in rows.dropFirst() {
            let price = row.price.units(decimals: 12) ?? 0
            if side == .buy ? price <= stop : price >= stop { return row.number }
            guard side == .buy ? price > extreme : price < extreme else { continue }
            extreme = price
            stop = threshold(row)
        }
        return nil
    }
}
