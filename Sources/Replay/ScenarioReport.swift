// `smartorders scenario run`: files in, one line per scenario out.

internal import JSONText

/// What a command line asks of golden scenarios.
public struct ScenarioReport: Sendable {
    /// Paths; `-` is standard input.
    public var files: [String]
    public var only: String?
    public var asJSON: Bool
    public var modes: ScenarioModes

    public init(files: [String], only: String? = nil, asJSON: Bool = false, modes: ScenarioModes = ScenarioModes()) {
        self.files = files
        self.only = only
        self.asJSON = asJSON
        self.modes = modes
    }

    /// Runs and reports.
    ///
    /// - Parameters:
    ///   - print: gets a line of results.
    ///   - complain: gets the one line about a file that cannot be used.
    /// - Returns: the exit status: 0 everything passed, 1 a difference, 2 a file that cannot be read or understood.
    public func run(print: (String) -> Void, complain: (String) -> Void) -> Int32 {
        // Every file is understood before the first result is printed.
        var results: [ScenarioResult] = []
        for file in files {
            guard let bytes = FileBytes.read(file) else {
                complain("\(file): cannot be read")
                return 2
            }
            do {
                results += try ScenarioRunner.run(file: bytes, only: only, modes: modes)
            } catch {
                complain("\(file): \(error)")
                return 2
            }
        }
        if results.isEmpty {
            complain(only.map { "no scenario has the id \($0)" } ?? "no scenarios")
            return 2
        }
        for result in results { print(asJSON ? result.json.description : result.line) }
        return results.allSatisfy(\.passed) ? 0 : 1
    }
}
