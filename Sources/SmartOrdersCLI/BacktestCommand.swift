import ArgumentParser
import Replay

/// `smartorders backtest`: one order on recorded prices.
struct BacktestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backtest",
        abstract: "What would this smart order have done on these prices?",
        discussion: """
            Every state change with tick number, time, price, stop level, fills and PnL. The order is a draft as for the \
            API, with an optional instrument block; without one the market has the precision of the file. A market entry \
            fills at the first tick. Exit status 2: input that cannot be used.
            """,
    )

    @Option(help: ArgumentHelp("Recorded trades: \"ts_us,venue,symbol,price,qty,side\".", valueName: "file.csv[.gz]"))
    var ticks: String

    @Option(help: ArgumentHelp("The order; - reads standard input.", valueName: "order.json"))
    var order: String

    @Option(help: ArgumentHelp("Which series of a file with several.", valueName: "venue:symbol"))
    var series: String?

    @Option(help: ArgumentHelp("First moment or tick to look at.", valueName: "time|tick"))
    var from: String?

    @Option(help: ArgumentHelp("First moment or tick not to look at.", valueName: "time|tick"))
    var to: String?

    @Flag(help: "One JSON document.")
    var json = false

    func run() throws {
        let backtest = Backtest(ticks: ticks, order: order, series: series, from: from, to: to, asJSON: json)
        let status = backtest.run(
            print: { print($0) },
            complain: { StandardError.line(Failure(.usage, "INPUT", $0).line) },
        )
        if status != 0 { throw ExitCode(status) }
    }
}
