import Foundation
import SmartOrders
import Testing
import TriggerIndex

/// Recorded market data with triggers that an independent program computed, in the folder that the environment names.
private let recordedData = ProcessInfo.processInfo.environment["SMARTORDERS_TEST_DATA"]

/// One series of the file of expected results, as far as it is read here. Rates are keys, nil is "never".
private struct ExpectedSeries: Decodable {
    struct Trigger: Decodable {
        let index: Int
        let stop: String?
        let mark: String?
    }
    /// A trigger, or the code with which creation refuses the order.
    enum Outcome: Decodable {
        case trigger(Trigger)
        case refused

        init(from decoder: any Decoder) throws {
            if (try? decoder.singleValueContainer().decode(String.self)) != nil {
                self = .refused
            } else {
                self = .trigger(try Trigger(from: decoder))
            }
        }
    }
    struct Sides<Value: Decodable>: Decodable {
        let long: Value?
        let short: Value?
    }
    struct Level: Decodable {
        let level: String
        let index: Int?
    }
    struct Touches: Decodable {
        let up: Level?
        let down: Level?
    }
    struct OnTick: Decodable {
        let tickSize: String
        let trailing: [String: Sides<Outcome>]
    }
    struct Armed: Decodable {
        let armIndex: Int
        let trailing: [String: Trigger?]
    }

    let ticks: Int
    let trailing: [String: Sides<Trigger>]
    let touches: [String: Touches]
    let onTick: OnTick

    enum CodingKeys: String, CodingKey {
        case ticks, trailing
        case touches = "static"
        case onTick = "on_tick"
    }
}

private struct ExpectedFile: Decodable {
    let ticks: [String: [String: ExpectedSeries]]
    let quotes: [String: [String: ExpectedSeries]]
    let atCrash: [String: [String: ExpectedSeries.Sides<ExpectedSeries.Armed>]]

    enum CodingKeys: String, CodingKey {
        case ticks, quotes
        case atCrash = "armed_at_crash"
    }
}

/// Where a watch fired: the row and what the crossing said. Nil fields are not compared.
private struct Hit: Equatable, CustomStringConvertible {
    let row: Int
    let threshold: Int64
    let extreme: Int64?
    var description: String { "row \(row), threshold \(threshold), extreme \(extreme.map(String.init) ?? "none")" }
}

@Suite(
    .enabled(
        if: recordedData != nil,
        "SMARTORDERS_TEST_DATA names no folder with expected_triggers.json and its price files",
    )
)
struct RecordedPricesTests {
    // Fine enough for the stops of the file, which are not rounded.
    private static let decimals = 12

    private func expected() throws -> ExpectedFile {
        let folder = try #require(recordedData)
        let data = try Data(contentsOf: URL(fileURLWithPath: folder + "/expected_triggers.json"))
        return try JSONDecoder().decode(ExpectedFile.self, from: data)
    }

    private func units(_ text: some StringProtocol) throws -> Int64 {
        try #require(ExactDecimal(text)?.units(decimals: Self.decimals), "price \(text)")
    }

    /// The prices of one column of a compressed table.
    private func prices(_ file: String, column: String) throws -> [Int64] {
        let folder = try #require(recordedData)
        let unzip = Process()
        unzip.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        unzip.arguments = ["gzip", "-dc", folder + "/" + file]
        let output = Pipe()
        unzip.standardOutput = output
        try unzip.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        unzip.waitUntilExit()
        #expect(unzip.terminationStatus == 0)
        let lines = text.utf8.split(separator: UInt8(ascii: "\n"))
        let comma = UInt8(ascii: ",")
        let header = try #require(lines.first).split(separator: comma).map { String(decoding: $0, as: UTF8.self) }
        let position = try #require(header.firstIndex(of: column))
        return try lines.dropFirst().map { line in
            let fields = line.split(separator: comma, omittingEmptySubsequences: false)
            return try #require(ExactDecimal(utf8: fields[position])?.units(decimals: Self.decimals))
        }
    }

    /// Arms all rules at once before row `first + 1` and returns where each fired: every tick, and in windows of 100.
    private func hits(_ rules: [WatchRule], _ prices: [Int64], after first: Int, tickUnits: Int64 = 1) -> [Hit?] {
        var index = MarketIndex(tickUnits: tickUnits)
        var conflated = index
        for (tag, rule) in rules.enumerated() {
            _ = index.arm(rule, tag: UInt64(tag))
            _ = conflated.arm(rule, tag: UInt64(tag))
        }
        var everyTick = [Hit?](repeating: nil, count: rules.count)
        var crossings: [Crossing] = []
        for row in (first + 1)..<prices.count {
            index.advance(to: prices[row], &crossings)
            for crossing in crossings {
                everyTick[Int(crossing.tag)] = Hit(
                    row: row,
                    threshold: crossing.threshold,
                    extreme: crossing.extreme,
                )
            }
            crossings.removeAll(keepingCapacity: true)
        }
        var inWindows = [Hit?](repeating: nil, count: rules.count)
        var conflation = Conflation()
        for from in stride(from: first + 1, to: prices.count, by: 100) {
            let window = Array(prices[from..<min(from + 100, prices.count)])
            conflation.reduce(window)
            for (ordinal, tick) in conflation.kept.enumerated() {
                conflated.advance(to: window[tick], &crossings)
                for crossing in crossings {
                    inWindows[Int(crossing.tag)] = Hit(
                        row: from + conflation.exactTick(of: crossing, at: ordinal, in: window),
                        threshold: crossing.threshold,
                        extreme: crossing.extreme,
                    )
                }
                crossings.removeAll(keepingCapacity: true)
            }
        }
        #expect(inWindows == everyTick)
        return everyTick
    }

    private func hit(_ trigger: ExpectedSeries.Trigger?) throws -> Hit? {
        guard let trigger else { return nil }
        return Hit(
            row: trigger.index,
            threshold: try units(try #require(trigger.stop)),
            extreme: try units(try #require(trigger.mark)),
        )
    }

    private func rate(_ text: String) throws -> CallbackUnits {
        .rate(millionths: UInt32(try #require(ExactDecimal(text)?.units(decimals: 6))))
    }

    private func check(_ file: String, _ series: String, _ expected: ExpectedSeries) throws {
        let column = series.hasSuffix(":bid") ? "bid" : series.hasSuffix(":ask") ? "ask" : "price"
        let prices = try prices(file, column: column)
        try #require(prices.count == expected.ticks)
        let entry = prices[0]

        var rules: [WatchRule] = []
        var wanted: [Hit?] = []
        for (text, sides) in expected.trailing.sorted(by: { $0.key < $1.key }) {
            rules += [.followsHigh(try rate(text), extreme: entry), .followsLow(try rate(text), extreme: entry)]
            wanted += [try hit(sides.long), try hit(sides.short)]
        }
        for (text, touches) in expected.touches.sorted(by: { $0.key < $1.key }) {
            let distance = Int64(Int128(entry) * Int128(try units(text)) / 1_000_000_000_000)
            rules += [.rising(threshold: entry + distance), .falling(threshold: entry - distance)]
            for level in [touches.up, touches.down] {
                guard let level, let row = level.index else {
                    wanted.append(nil)
                    continue
                }
                wanted.append(Hit(row: row, threshold: try units(level.level), extreme: nil))
            }
        }
        let found = hits(rules, prices, after: 0)
        #expect(found == wanted, "\(file) \(series)")

        var onTick: [WatchRule] = []
        var rows: [Int?] = []
        for (text, sides) in expected.onTick.trailing.sorted(by: { $0.key < $1.key }) {
            for (rule, outcome) in [
                (WatchRule.followsHigh(try rate(text), extreme: entry), sides.long),
                (WatchRule.followsLow(try rate(text), extreme: entry), sides.short),
            ] {
                switch outcome {
                case .refused: continue
                case .trigger(let trigger): rows.append(trigger.index)
                case nil: rows.append(nil)
                }
                onTick.append(rule)
            }
        }
        let tick = try units(expected.onTick.tickSize)
        #expect(hits(onTick, prices, after: 0, tickUnits: tick).map { $0?.row } == rows, "\(file) \(series) on tick")
    }

    @Test func `recorded trades trigger on the expected rows, with the expected stop and extreme`() throws {
        let expected = try expected()
        #expect(!expected.ticks.isEmpty)
        for (file, series) in expected.ticks {
            for (name, results) in series { try check(file, name, results) }
        }
    }

    @Test func `recorded quotes trigger on the expected rows, with the expected stop and extreme`() throws {
        let expected = try expected()
        #expect(!expected.quotes.isEmpty)
        for (file, series) in expected.quotes {
            for (name, results) in series { try check(file, name, results) }
        }
    }

    @Test func `stops armed at the start of the largest move trigger on the expected rows`() throws {
        for (file, series) in try expected().atCrash {
            for (name, sides) in series {
                let prices = try prices(file, column: "price")
                for (armed, isLong) in [(sides.long, true), (sides.short, false)] {
                    guard let armed else { continue }
                    let entry = prices[armed.armIndex]
                    let cases = armed.trailing.sorted { $0.key < $1.key }
                    let rules: [WatchRule] = try cases.map {
                        isLong
                            ? .followsHigh(try rate($0.key), extreme: entry)
                            : .followsLow(try rate($0.key), extreme: entry)
                    }
                    let wanted = try cases.map { try hit($0.value) }
                    #expect(hits(rules, prices, after: armed.armIndex) == wanted, "\(file) \(name)")
                }
            }
        }
    }
}
