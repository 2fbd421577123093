import ArgumentParser

@main
struct SmartOrdersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "smartorders",
        subcommands: [
            BacktestCommand.self,
            ScenarioCommand.self,
        ],
    )
}
