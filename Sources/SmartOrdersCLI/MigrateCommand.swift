// `smartorders migrate`: the schema, up, down, shown and checked.
import ArgumentParser
import OrderEngine
import OrderStorage
import PostgresClient

struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "The database schema: up, down, status, validate.",
        subcommands: [Up.self, Down.self, Status.self, Validate.self],
    )

    struct DatabaseOption: ParsableArguments {
        @Option(help: "PostgreSQL (SMARTORDERS_DATABASE_URL, DATABASE_URL).")
        var database: String?

        func with<Result: Sendable>(_ body: (Migrator) async throws -> Result) async throws -> Result {
            guard let url = database ?? environment("SMARTORDERS_DATABASE_URL") ?? environment("DATABASE_URL") else {
                throw Failure(.usage, "DATABASE_REQUIRED", "no database is named.", hint: "pass --database")
            }
            let pool = try Backend.pool(url)
            do {
                let result = try await body(Migrator(pool: pool, binaryVersion: Backend.version))
                await pool.close()
                return result
            } catch {
                await pool.close()
                throw Backend.databaseFailure(error)
            }
        }
    }

    struct Up: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Applies what is pending.")
        @OptionGroup var options: DatabaseOption
        func run() async throws {
            let applied = try await options.with { try await $0.up() }
            show(applied.isEmpty ? "nothing to do" : "applied \(applied.map(String.init).joined(separator: ", "))")
        }
    }

    struct Down: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Takes the newest migration back.")
        @OptionGroup var options: DatabaseOption
        func run() async throws {
            let undone = try await options.with { try await $0.down() }
            show(undone.map { "took back \($0)" } ?? "nothing to do")
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Every migration and its state.")
        @OptionGroup var options: DatabaseOption
        func run() async throws {
            let all = try await options.with { try await $0.status() }
            var table = Table(header: ["version", "name", "state"])
            table.rows = all.map { ["\($0.version)", $0.name, $0.state.rawValue] }
            for line in table.lines { show(line) }
        }
    }

    struct Validate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Exit 0 if this binary can work on the schema.")
        @OptionGroup var options: DatabaseOption
        func run() async throws {
            try await options.with { try await $0.validate() }
            show("schema fits")
        }
    }
}
