import JSONText
import LocalServers
import SmartOrders
import Testing
import TickFiles

/// Recorded prices of real markets, which are not part of the project.
struct Recording: Sendable, CustomTestStringConvertible {
    let file: String
    let rates: [String]
    var testDescription: String { file }
    var path: String { "\(Self.folder)/\(file)" }

    static let folder = Program.setting("SMARTORDERS_TEST_DATA") ?? "\(Program.root)/../shared/data"
    static let isPresent = LocalFiles.exists("\(folder)/expected_triggers.json")
    /// The short ones, unless everything is wanted.
    static let chosen: [Recording] = {
        let wide = ["0.002", "0.01", "0.02", "0.05", "0.1"]
        let short = [
            Recording(file: "ticks_binance-spot_ATOMUSDT_20251010_flash.csv.gz", rates: wide),
            Recording(file: "ticks_bitstamp_BTCUSD_2011-09_2012-05.csv.gz", rates: wide),
        ]
        let long = [
            Recording(file: "ticks_binance-usdm_BTCUSDT_20240808.csv.gz", rates: ["0.001", "0.002", "0.005"]),
            Recording(file: "ticks_gemini_ETHUSD_20210701-02.csv.gz", rates: wide),
            Recording(file: "ticks_binance_multi_20240808-09.csv.gz", rates: ["0.001", "0.002"]),
        ]
        return Program.isThorough ? short + long : short
    }()
}

/// One order of a comparison.
private struct Plan {
    let name: String
    let json: String
    /// Where the reference has the trigger: table, rate, direction.
    var reference: (table: String, rate: String, direction: String)?
}

extension EndToEnd {
    @Suite struct RecordedPricesTests {
        /// Trailing stops both ways; with one series also fixed targets with stops, and the S2 plan with break-even, in
        /// percent of the first price.
        private func plans(_ recording: Recording, _ survey: TickSurvey) throws -> [Plan] {
            var plans: [Plan] = []
            func add(_ name: String, _ side: Side, _ quantity: Int, _ exits: String) {
                let json =
                    "{\"side\": \"\(side.rawValue)\", \"qty\": \"\(quantity)\", "
                    + "\"entry\": {\"mode\": \"attach\"}, \(exits)}"
                plans.append(Plan(name: name, json: json))
            }
            for rate in recording.rates {
                for (side, way) in [(Side.buy, "long"), (.sell, "short")] {
                    add("trailing-\(rate)-\(way)", side, 1, "\"trailing\": {\"callbackRate\": \"\(rate)\"}")
                    plans[plans.count - 1].reference = ("on_tick", rate, way)
                }
            }
            guard survey.entries.count == 1, let entry = survey.entries.first else { return plans }
            let tick = ExactDecimal(mantissa: 1, scale: entry.priceDecimals)
            func away(_ rate: String, up: Bool) throws -> Price {
                let rate = try #require(ExactDecimal(rate))
                let factor = up ? ExactDecimal.one + rate : ExactDecimal.one - rate
                return Price((entry.firstPrice.value * factor).rounded(toMultipleOf: tick, up ? .ceiling : .floor))
            }
            for rate in ["0.01", "0.02", "0.05"] {
                for side in Side.allCases {
                    let target = try away(rate, up: side == .buy)
                    let stop = try away(rate, up: side == .sell)
                    add(
                        "fixed-\(rate)-\(side.rawValue)",
                        side,
                        1,
                        "\"takeProfits\": [{\"price\": \"\(target)\", \"sizePct\": \"100\"}],"
                            + "\"stopLoss\": {\"price\": \"\(stop)\"}",
                    )
                    plans[plans.count - 1].reference = ("static", rate, "first")
                }
            }
            let targets = try [("0.01", "40"), ("0.02", "35"), ("0.05", "25")].map { rate, size in
                "{\"price\": \"\(try away(rate, up: true))\", \"sizePct\": \"\(size)\"}"
            }
            add(
                "three-targets-break-even",
                .buy,
                100,
                "\"takeProfits\": [\(targets.joined(separator: ","))],"
                    + "\"stopLoss\": {\"price\": \"\(try away("0.01", up: false))\"},"
                    + "\"breakEven\": {\"enabled\": true}",
            )
            return plans
        }

        /// The market that `dev` makes of a series.
        private func market(_ series: TickSeries, isAlone: Bool) -> String {
            let symbol = series.symbol.filter { $0.isLetter || $0.isNumber || $0 == "_" }
            let name = isAlone ? symbol : "\(symbol)_\(series.venue.filter { $0.isLetter })".uppercased()
            return "paper:linear:\(name)"
        }

        private func reference(_ plan: Plan, _ recording: Recording, _ series: TickSeries) throws -> Int64?? {
            let path = "\(Recording.folder)/expected_triggers.json"
            let text = try #require(LocalFiles.text(path, last: 1 << 24))
            let all = try JSONValue(parsing: Array(text.utf8))["ticks"]
            guard let place = plan.reference, let table = all?[recording.file]?[series.description] else { return nil }
            if place.table == "on_tick" {
                guard let row = table["on_tick"]?["trailing"]?[place.rate]?[place.direction] else { return nil }
                return .some(row["index"]?.int64)
            }
            guard let row = table["static"]?[place.rate] else { return nil }
            return .some([row["up"]?["index"]?.int64, row["down"]?["index"]?.int64].compactMap(\.self).min())
        }

        @Test(
            .enabled(if: Recording.isPresent, "needs ../shared/data or SMARTORDERS_TEST_DATA"),
            arguments: Recording.chosen,
        )
        func `the system does on recorded prices what a backtest says`(_ recording: Recording) async throws {
            let survey = try TickSurvey(path: recording.path)
            let plans = try plans(recording, survey)
            let folder = try LocalFiles.temporaryFolder("so-plans")
            defer { LocalFiles.removeTree(folder) }
            var arguments = ["dev", "--ticks", recording.path, "--json"]
            for plan in plans {
                try Program.write(plan.json, to: "\(folder)/\(plan.name)")
                arguments += ["--order", "\(folder)/\(plan.name)"]
            }
            let begun = ContinuousClock.now
            let live = try await Program.run(arguments, seconds: 600)
            print("\(recording.file): \(survey.rows) ticks stepped in \(ContinuousClock.now - begun)")
            try #require(live.status == 0, "\(live.complaint)")
            let documents = try live.documents
            #expect(documents.count == plans.count * survey.entries.count)

            for entry in survey.entries {
                let market = market(entry.series, isAlone: survey.entries.count == 1)
                for plan in plans {
                    let what: Comment = "\(market) \(plan.name)"
                    let document = documents.first {
                        $0["label"]?.text == plan.name && $0["market"]?.text == market
                    }
                    let found = Story(changes: try #require(document, what)["changes"], result: document)
                    let backtest = try await Program.run([
                        "backtest", "--ticks", recording.path, "--series", entry.series.description,
                        "--order", "\(folder)/\(plan.name)", "--json",
                    ])
                    try #require(backtest.status == 0, "\(backtest.complaint)")
                    let report = try JSONValue(parsing: Array(backtest.output.utf8))
                    let expected = Story(changes: report["changes"], result: report["result"])
                    #expect(found == expected, what)
                    if let row = try reference(plan, recording, entry.series) {
                        #expect(found.triggers.first?.tick == row, what)
                    }
                }
            }
        }
    }
}
