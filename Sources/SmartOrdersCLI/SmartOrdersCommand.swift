import ArgumentParser

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

struct SmartOrdersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "smartorders",
        abstract: "Exit plans that are watched on the server and executed once.",
        version: Backend.version,
        subcommands: [
            DevCommand.self,
            ServeCommand.self,
            MigrateCommand.self,
            AccountsCommand.self, UsersCommand.self, SecretsCommand.self,
            OrdersCommand.self,
            HaltCommand.self, WorkersCommand.self, ShardsCommand.self, LeaderCommand.self,
            RecoverCommand.self, AuditCommand.self,
            QueuesCommand.self,
            JobsCommand.self,
            DeadCommand.self,
            RedisCommand.self,
            DoctorCommand.self,
            BenchCommand.self,
            BacktestCommand.self,
            ScenarioCommand.self,
            SimulateCommand.self,
            HoldSocketsCommand.self,
        ],
    )
}

@main
enum Main {
    static func main() async {
        // hiredis writes to closed peers; without this the first one ends the process.
        signal(SIGPIPE, SIG_IGN)
        do {
            var command = try SmartOrdersCommand.parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let failure as Failure {
            tell(failure.line)
            exit(failure.exit.rawValue)
        } catch {
            let code = SmartOrdersCommand.exitCode(for: error)
            let text = SmartOrdersCommand.fullMessage(for: error)
            if code == .success {
                show(text)
            } else if code == .validationFailure {
                // Usage errors are 2 here (INTERFACES.md 4.1); argument-parser's own number is 64.
                let sentence = SmartOrdersCommand.message(for: error)
                tell(Failure(.usage, "USAGE", sentence, hint: "smartorders help, or --help after a command").line)
            } else if !text.isEmpty {
                tell(text)
            }
            exit(code == .validationFailure ? 2 : code.rawValue)
        }
    }
}
