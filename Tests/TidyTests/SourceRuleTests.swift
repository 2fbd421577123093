// Rules of the house over the source tree. Escape: `tidy-ok: reason` on the line, or alone on the line before.

import Testing

private let pure = [
    "SmartOrders", "TriggerIndex", "OrderEngine", "PaperMatching", "JSONText", "OrderJSON", "DecisionTimeline",
].map { "Sources/\($0)" }
private let money = [
    "SmartOrders", "TriggerIndex", "PaperMatching", "OrderStorage", "OrderJSON", "JSONText", "Exchanges", "PaperVenue",
    "MarketData", "TickFiles", "Replay", "DecisionTimeline",
].map { "Sources/\($0)" }
private let onPorts = [
    "OrderEngine", "OrderStorage", "TriggerQueue", "Exchanges", "MarketData", "HTTPAPI", "SmartOrdersCLI",
    "DecisionTimeline",
]
.map { "Sources/\($0)" }
/// Where a C library or a thread makes the compiler's proof impossible.
private let drivers = ["PostgresClient", "RedisClient", "OwnerThread", "LocalServers"].map { "Sources/\($0)/" }

private let rules = [
    Rule("the core reads no clock", in: pure, forbids: #"\bDate\(\)|\bDate\.now|\b(Continuous|Suspending)Clock\(\)"#),
    Rule(
        "the core takes chance from a generator",
        in: pure,
        forbids: #"\bUUID\(\)|\.random\([^)]|Bool\.random\(|\.shuffled?\(|\.randomElement\("#,
        unless: "using:",
    ),
    Rule(
        "the core's tasks are structured",
        in: pure,
        forbids: #"(^|[^A-Za-z.])Task \{|(^|[^A-Za-z])Task\(|Task\.detached"#,
    ),
    Rule("the core does not import Foundation", in: pure, forbids: #"\bimport Foundation"#),
    Rule(
        "money is never binary floating point",
        in: money,
        except: ["Benchmark.swift"],
        forbids: #"\b(Double|Float|Float32|Float64|CGFloat)\b"#,
    ),
    Rule(
        "unchecked sharing belongs to drivers",
        in: ["Sources", "Tests"],
        except: drivers + ["Tests/TidyTests/"],
        forbids: #"@unchecked Sendable|nonisolated\(unsafe\)"#,
    ),
    Rule("no effect's error is dropped", in: ["Sources"], forbids: #"\btry\? await\b"#),
    Rule("no port's error is dropped", in: onPorts, forbids: #"\btry\?"#),
    Rule("nothing crashes on purpose", in: ["Sources"], forbids: #"\btry!|\bas! "#),
    Rule(
        "nothing is left unfinished",
        in: ["Sources", "Tests"],
        except: ["Tests/TidyTests/"],
        forbids: #"fatalError\("(TODO|[Nn]ot impl|[Uu]nimpl)"#,
    ),
]

@Test(arguments: rules)
private func `the rules of the house hold`(_ rule: Rule) throws {
    for violation in try rule.violations() { Issue.record("\(violation)\n    \(rule.reason)") }
}

@Test func `comments hold no unfinished work`() throws {
    let marks = try Pattern("\\b(TO" + "DO|FIX" + "ME|XX" + "X)\\b")
    for line in try Checkout.lines(below: ["Sources", "Tests"], matching: marks) where !line.isExcused {
        if !line.path.hasPrefix("Tests/TidyTests/") { Issue.record("\(line)") }
    }
}

@Test func `an escape gives its reason`() throws {
    for line in try Checkout.lines(below: ["Sources"], matching: Pattern(#"tidy-ok(?!: \S)"#)) {
        Issue.record("\(line)")
    }
}

@Test func `a rule that looks at nothing is refused`() {
    #expect(throws: EmptyPlace.self) { try Rule("x", in: ["Sources/Nowhere"], forbids: "x").violations() }
}

@Test func `every Lua file opens with its contract`() throws {
    for path in try Checkout.files(below: "Sources", ["lua"]) {
        let header = try Checkout.lines(of: path).prefix { $0.text.hasPrefix("--") }
        var words = header.dropFirst().compactMap { $0.text.dropFirst(2).split(separator: " ").first }[...]
        for wanted in ["KEYS", "ARGV", "Returns"] {
            words = words.drop { $0 != wanted }
            if words.isEmpty { Issue.record("\(path):1: the header does not say \(wanted), in this order") }
        }
    }
}

@Test func `every metric stands in the catalogue`() throws {
    let catalogue = "Sources/Telemetry/MetricsCatalogue.swift"
    let known = Set(
        try Pattern(#"\b(?:counter|gauge|histogram)\(\s*"([a-z0-9_]+)""#).groups(try Checkout.text(catalogue))
    )
    #expect(known.count > 10)
    let used = try Pattern(#""([a-z][a-z0-9]*(?:_[a-z0-9]+)*_(?:total|seconds))""#)
    for line in try Checkout.lines(below: ["Sources"], matching: used) where line.path != catalogue && !line.isExcused {
        for name in used.groups(line.text) where !known.contains(name) {
            Issue.record("\(line): \(name) is not in the catalogue")
        }
    }
}

@Test func `a file has one subject`() throws {
    for place in ["Sources", "Tests"] {
        for path in try Checkout.files(below: place) where try Checkout.lines(of: path).count > 901 {
            Issue.record("\(path):900: longer than 900 lines")
        }
    }
}
