import JSONText
import Replay
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

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

    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
    mutating func pick<Value>(_ values: [Value]) -> Value { values[Int.random(in: 0..<values.count, using: &self)] }
    mutating func whole(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
}

/// Random plans on random markets with faults: no expectation but the invariants, and that restarts, duplicate jobs
/// and evaluation through watches change nothing.
@Suite struct RandomScenarioTests {
    private static let chunks: UInt64 = 12
    /// `SMARTORDERS_PROPERTY_RUNS`, at least 600.
    private static let runs: UInt64 = {
        guard let text = getenv("SMARTORDERS_PROPERTY_RUNS") else { return 600 }
        return max(600, UInt64(String(cString: text)) ?? 600)
    }()

    @Test(arguments: 0..<chunks)
    func `restarts, duplicates and watches change nothing, and the invariants hold`(chunk: UInt64) throws {
        for seed in stride(from: chunk, to: Self.runs, by: Int(Self.chunks)) { try play(seed) }
    }

    private func play(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let text = Array(scenario(&random).description.utf8)
        let plain = try ScenarioRunner.outcome(of: text, modes: ScenarioModes())
        #expect(plain["defects"] == nil, "seed \(seed): \(String(decoding: text, as: UTF8.self))")
        let others = [
            ("restart", ScenarioModes(restartEveryStep: true)), ("duplicate", ScenarioModes(duplicateEveryStep: true)),
            ("watches", ScenarioModes(throughWatches: true)),
        ]
        for (name, modes) in others {
            let outcome = try ScenarioRunner.outcome(of: text, modes: modes)
            for member in plain.members where outcome[member.key] != member.value {
                Issue.record("\(name), seed \(seed), \(member.key): \(member.value) or \(outcome[member.key] ?? .null)")
            }
            #expect(outcome["defects"] == nil, "\(name), seed \(seed)")
        }
    }

    @Test func `most random plans are accepted and many of them end`() throws {
        var ends: [String: Int] = [:]
        for seed in 0..<300 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let text = Array(scenario(&random).description.utf8)
            guard
                case .array(let states)? = try ScenarioRunner.outcome(of: text, modes: ScenarioModes())["stateSequence"]
            else { continue }
            ends[states.last?.text?.split(separator: " ").first.map(String.init) ?? "", default: 0] += 1
        }
        #expect(ends["REFUSED", default: 0] < 150, "\(ends)")
        for end in ["ACTIVE", "CLOSED", "STOPPED", "CANCELLED", "FAILED"] {
            #expect(ends[end, default: 0] >= 3, "\(ends)")
        }
    }

    /// Hundredths as a decimal string.
    private func price(_ hundredths: Int) -> JSONValue {
        let fraction = hundredths % 100
        return .string("\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)")
    }

    private func scenario(_ random: inout SeededRandom) -> JSONValue {
        let isLong = random.chance(50)
        // Distances from 100 in the trader's favour, in hundredths.
        func at(_ gain: Int) -> JSONValue { price(10_000 + (isLong ? gain : -gain)) }
        var request: JSONObject = [
            "side": isLong ? "BUY" : "SELL", "qty": .string("\(random.whole(1...30))"), "initialMark": "100",
        ]
        let entry: JSONObject =
            switch random.whole(0...9) {
            case 0...3: ["mode": "market"]
            case 4, 5: ["mode": "limit", "price": at(-random.whole(0...150))]
            case 6, 7: ["mode": "attach", "price": "100"]
            case 8: ["mode": "conditional", "trigger": at(random.pick([-300, -100, 100, 300]))]
            default: ["mode": "trailing", "callbackRate": "0.01", "activation": at(-random.whole(50...300))]
            }
        request["entry"] = .object(entry)
        let levels = random.whole(0...3)
        let sizes = [[], ["100"], ["50", "50"], ["40", "35", "25"]][levels]
        var gain = 200
        request["takeProfits"] = .array(
            sizes.enumerated().map { index, size in
                gain += random.whole(50...400)
                var level: JSONObject = ["price": at(gain), "sizePct": .string(size)]
                if random.chance(25) {
                    level["exec"] = "limit"
                    level["limitPrice"] = at(gain + random.whole(0...80))
                } else if index == sizes.count - 1, random.chance(20) {
                    level["trailingRate"] = "0.01"
                }
                return .object(level)
            }
        )
        plan(&request, &random, at)
        var body: JSONObject = [
            "id": "R", "kind": "smart",
            "instrument": [
                "symbol": "R", "kind": random.chance(70) ? "perp" : "spot", "tickSize": "0.01", "stepSize": "0.1",
                "minQty": "0.1",
            ],
            "request": .object(request), "timeline": .array(timeline(&random)), "expect": [:],
        ]
        if random.chance(30) { body["fees"] = ["maker": "0.0002", "taker": "0.001"] }
        if random.chance(50) { body["faults"] = .array(faults(&random)) }
        return .object(body)
    }

    private func plan(_ request: inout JSONObject, _ random: inout SeededRandom, _ at: (Int) -> JSONValue) {
        if random.chance(75) {
            var stop: JSONObject = ["price": at(-random.whole(400...900))]
            if random.chance(15) {
                stop["timeoutMs"] = .integer(random.pick([500, 2000]))
                if random.chance(50) { stop["emergencyPrice"] = at(-1200) }
            } else if random.chance(15) {
                stop["exec"] = "limit"
                stop["limitPrice"] = at(-random.whole(400...950))
                if random.chance(50) { stop["fallbackMs"] = 1000 }
            }
            request["stopLoss"] = .object(stop)
            if random.chance(20) {
                request["partialStops"] = [["price": at(-350), "sizePct": "30"]]
            }
        }
        if random.chance(45) {
            var trailing: JSONObject =
                random.chance(70)
                ? ["callbackRate": random.pick(["0.005", "0.02", "0.05"])] : ["callbackAmount": "1.5"]
            if random.chance(30) { trailing["activationPrice"] = at(random.whole(50...300)) }
            request["trailing"] = .object(trailing)
        }
        if random.chance(40) { request["breakEven"] = ["enabled": true, "mode": random.pick(["entry", "fees"])] }
        if random.chance(20) { request["stopFollow"] = "followTP" }
        if random.chance(20) {
            request["stepLocks"] = [["atPct": "2", "lockPct": "0.5"], ["atPct": "4", "lockPct": "2"]]
        }
        if random.chance(10) { request["exitAtMs"] = .integer(random.pick([1000, 5000])) }
    }

    private func faults(_ random: inout SeededRandom) -> [JSONValue] {
        (0..<random.whole(1...3)).map { _ in
            let purpose = random.pick(["entry", "tp1", "tp2", "sl", "sl", "close", "ps1"])
            if random.chance(20) {
                let race: JSONObject = [
                    "purpose": .string("cancel:\(purpose)"), "attempt": 1, "result": "filled_before_cancel",
                    "qty": .string(random.pick(["0.5", "1", "100"])), "price": "100",
                ]
                return .object(race)
            }
            let result = random.pick(["reject", "rate_limited", "unknown_filled", "unknown_not_placed", "insufficient"])
            return [
                "purpose": .string(purpose), "attempt": .integer(random.whole(1...2)), "result": .string(result),
            ]
        }
    }

    private func timeline(_ random: inout SeededRandom) -> [JSONValue] {
        var events: [JSONValue] = []
        var time = 0
        var mark = 10_000
        for _ in 0..<random.whole(3...25) {
            time += random.pick([0, 100, 500, 1000])
            var event: JSONObject = ["type": "price", "t": .integer(time)]
            switch random.whole(0...99) {
            case 0..<70:
                mark = max(8000, min(12_500, mark + random.pick([-700, -300, -100, -20, 0, 20, 100, 300, 700])))
                event["mark"] = price(mark)
                if random.chance(15) { event["liquidity"] = .string(random.pick(["0.1", "2.5", "7"])) }
                if random.chance(10) { event["fill"] = price(mark + random.whole(-60...60)) }
                if random.chance(5) { event["queryFails"] = true }
            case 70..<80: event["type"] = "timer"
            case 80..<84:
                event["type"] = "entryFill"
                event["qty"] = "0.7"
                event["price"] = "100"
            case 84: event = ["type": "entryEnd", "t": .integer(time), "state": random.pick(["expired", "cancelled"])]
            case 85..<89: event = ["type": "venue", "t": .integer(time), "up": .bool(random.chance(60))]
            case 89, 90: event["type"] = "restart"
            default:
                event["type"] = "command"
                command(&event, &random, mark)
            }
            events.append(.object(event))
        }
        return events
    }

    private func command(_ event: inout JSONObject, _ random: inout SeededRandom, _ mark: Int) {
        switch random.whole(0...7) {
        case 0: event["op"] = "cancel"
        case 1: event["op"] = "closeMarket"
        case 2: event["op"] = "openNow"
        case 3: event["op"] = "cancelEntry"
        case 4:
            event["op"] = "addFunds"
            event["qty"] = "3"
        case 5:
            event["op"] = "reduceFunds"
            event["qty"] = "0.4"
        default:
            event["op"] = "modify"
            if random.chance(50) { event["stopLoss"] = price(mark + random.pick([-500, -50, 50, 500])) }
            if random.chance(30) { event["callbackRate"] = "0.03" }
            if random.chance(30) { event["breakEven"] = .bool(random.chance(70)) }
        }
    }
}
