import ArgumentParser
import Replay

/// `smartorders scenario`: golden scenarios.
struct ScenarioCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scenario",
        abstract: "Golden scenarios: the rules of smart orders in numbers.",
        subcommands: [Run.self],
    )

    struct Run: ParsableCommand {
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

        func run() throws {
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
    }
}
