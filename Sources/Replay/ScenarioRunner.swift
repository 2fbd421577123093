// Golden scenarios (scenarios/README.md): the rules of ORDERS.md in numbers, run through the real core and the paper
// venue's matching rules, without a server, a queue or a clock.

public import JSONText

/// What became of one scenario.
public struct ScenarioResult: Sendable {
    public let id: String
    /// The first difference; nil: passed.
    public let difference: (path: String, want: JSONValue, got: JSONValue)?

    public var passed: Bool { difference == nil }

    /// `<id> pass` or `<id> FAIL <path>: want <value>, got <value>`.
    public var line: String {
        guard let difference else { return "\(id) pass" }
        return "\(id) FAIL \(difference.path): want \(Self.plain(difference.want)), got \(Self.plain(difference.got))"
    }

    private static func plain(_ value: JSONValue) -> String { value.text ?? value.description }

    /// One object: `id`, `pass`, `path`, `want`, `got`.
    public var json: JSONValue {
        [
            "id": .string(id),
            "pass": .bool(passed),
            "path": difference.map { .string($0.path) } ?? .null,
            "want": difference?.want ?? .null,
            "got": difference?.got ?? .null,
        ]
    }
}

public enum ScenarioRunner {
    /// Runs every scenario of a golden file (or the one scenario that the file is), in its order.
    ///
    /// - Parameter only: runs the scenario with this id alone.
    /// - Throws: the file is no JSON, of another shape, or has an unknown key.
    public static func run(
        file bytes: [UInt8],
        only: String? = nil,
        modes: ScenarioModes = ScenarioModes(),
    ) throws(JSONError) -> [ScenarioResult] {
        var results: [ScenarioResult] = []
        for scenario in try scenarios(in: bytes, only: only) { results.append(try run(scenario, modes: modes)) }
        return results
    }

    /// The scenarios of a golden file, understood.
    package static func scenarios(in bytes: [UInt8], only: String? = nil) throws(JSONError) -> [Scenario] {
        try Scenario.all(in: JSONField(JSONValue(parsing: bytes))).filter { only == nil || $0.id == only }
    }

    /// Compares what came out of a scenario somewhere else.
    package static func compare(_ outcome: JSONObject, with scenario: Scenario) throws(JSONError) -> ScenarioResult {
        let difference = Difference.first(expect: try scenario.expect.object(), outcome: outcome)
        return ScenarioResult(id: scenario.id, difference: difference.map { ($0.path, $0.want, $0.got) })
    }

    /// Everything that came out of one scenario, whatever it expects.
    package static func outcome(of bytes: [UInt8], modes: ScenarioModes) throws(JSONError) -> JSONObject {
        try outcome(of: Scenario(json: JSONField(JSONValue(parsing: bytes))), modes: modes)
    }

    private static func outcome(of scenario: Scenario, modes: ScenarioModes) throws(JSONError) -> JSONObject {
        switch scenario.kind {
        case .smart: try SmartRun.run(scenario, modes: modes)
        case .conditional: try ConditionalRun.run(scenario, modes: modes)
        case .validation: try CaseRuns.validation(scenario)
        case .calc: try CaseRuns.calc(scenario)
        }
    }

    package static func run(
        _ scenario: Scenario,
        modes: ScenarioModes = ScenarioModes(),
    ) throws(JSONError) -> ScenarioResult {
        try compare(try outcome(of: scenario, modes: modes), with: scenario)
    }
}
