import ArgumentParser
import JSONText
import Replay

/// `smartorders scenario`: golden scenarios.
struct ScenarioCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scenario",
        abstract: "Golden scenarios: the rules of smart orders in numbers.",
        subcommands: [Run.self],
    )

    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Runs scenarios through the real core and the paper venue's matching rules.",
            discussion:
                "One line per scenario. Exit status 0: all pass; 1: a difference; 2: a file that is not usable.",
        )

        @Argument(help: "Golden files, or files of one scenario; - reads standard input.")
        var files: [String]

        @Option(help: "Runs the scenario with this id alone.")
        var only: String?

        @Flag(help: "One JSON object per line.")
        var json = false

        @Flag(help: "Reads the order back from its stored form after every decision.")
        var restartEveryStep = false

        @Flag(help: "Delivers every trigger job again after every event.")
        var duplicateEveryStep = false

        @Flag(help: "Prices reach the order only through its watches, as in production.")
        var throughWatches = false

        @Flag(help: "Runs them on a real cluster: PostgreSQL, Redis, scheduler, workers, paper venue over sockets.")
        var cluster = false

        @Flag(help: "With --cluster: Redis is away all the time.")
        var withoutRedis = false

        func validate() throws {
            if cluster, duplicateEveryStep || throughWatches {
                throw ValidationError("--duplicate-every-step and --through-watches are for the core alone")
            }
            if !cluster, withoutRedis { throw ValidationError("--without-redis needs --cluster") }
        }

        func run() async throws {
            if cluster { return try await runOnCluster() }
            let report = ScenarioReport(
                files: files,
                only: only,
                asJSON: json,
                modes: ScenarioModes(
                    restartEveryStep: restartEveryStep,
                    duplicateEveryStep: duplicateEveryStep,
                    throughWatches: throughWatches,
                ),
            )
            let status = report.run(print: { print($0) }, complain: { StandardError.line($0) })
            if status != 0 { throw ExitCode(status) }
        }

        private func runOnCluster() async throws {
            var scenarios: [Scenario] = []
            for file in files {
                do {
                    guard let bytes = FileBytes.read(file) else {
                        throw Failure(.usage, "FILE", "\(file) cannot be read")
                    }
                    scenarios += try ScenarioRunner.scenarios(in: bytes, only: only)
                } catch let error as JSONError {
                    throw Failure(.usage, "SCENARIO_FILE", "\(file): \(error)")
                }
            }
            guard !scenarios.isEmpty else { throw Failure(.usage, "NO_SCENARIOS", "there is no such scenario") }
            let verdicts = try await ClusterScenarios.run(
                scenarios,
                modes: .init(restartEveryStep: restartEveryStep, withoutRedis: withoutRedis),
            )
            var passes = true
            for verdict in verdicts {
                switch verdict {
                case .ran(let result):
                    show(json ? result.json.description : result.line)
                    passes = passes && result.passed
                case .notRun(let id, let reason):
                    show(
                        json
                            ? "\(JSONValue.object(["id": .string(id), "notRun": .string(reason)]))"
                            : "\(id) not run: \(reason)"
                    )
                }
            }
            if !passes { throw ExitCode(1) }
        }
    }
}
