// `smartorders audit`: what operators, and the system itself, did.
import ArgumentParser
import JSONText
import OrderEngine
import OrderJSON
import OrderStorage

struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit",
        abstract: "Who did what, when and why.",
        subcommands: [List.self, Verify.self],
    )

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Recomputes the chain of the audit's lines: exit status 1 when one was changed or taken away.",
            discussion: """
                EXAMPLES
                  smartorders audit verify
                  smartorders audit verify --database postgres:///smartorders
                """,
        )
        @OptionGroup var connections: ConnectionOptions

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                let verdict = try await PostgresOperatorStore(pool: desk.pool).verifyAudit()
                if let broken = verdict.broken {
                    throw Failure(
                        .failed,
                        "AUDIT_BROKEN",
                        "line \(broken) of the chain does not fit the line before it.",
                        hint: "treat it as an intrusion: compare with a backup",
                    )
                }
                show("\(verdict.lines) lines, the chain is whole")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Newest first.",
            discussion: """
                EXAMPLES
                  smartorders audit list --action halt
                  smartorders audit list --actor ada --since 24h -o jsonl
                """,
        )
        @OptionGroup var connections: ConnectionOptions
        @Option(help: "Only what this one did.")
        var actor: String?
        @Option(help: "An action, or the beginning of one: halt, worker.quiet, jobs.")
        var action: String?
        @Option(help: "How far back, such as 30m, 24h or 7d.")
        var since: String?
        @Option(help: "At most so many.")
        var limit = 200
        @OptionGroup var output: OutputOptions

        func validate() throws {
            if !(1...100_000).contains(limit) { throw ValidationError("--limit is 1 to 100000") }
        }

        func run() async throws {
            let seconds = try since.map(Self.seconds)
            try await ClusterDesk.with(connections) { desk in
                let columns: [Listing.Column] = [
                    .init("id", isWide: true), .init("at"), .init("actor"), .init("action"), .init("subject"),
                    .init("reason"),
                    .init("detail", isWide: true),
                ]
                var listing = Listing(columns, output)
                let rows = try await PostgresOperationStore(pool: desk.pool)
                    .audits(actor: actor, action: action, seconds: seconds, limit: limit)
                for row in rows {
                    listing.add([
                        "id": .integer(Int(row.id)), "at": .string(row.at.rfc3339), "actor": .string(row.actor),
                        "action": .string(row.action), "subject": .string(row.subject), "reason": .string(row.reason),
                        "detail": try JSONValue(parsing: Array(row.detail.utf8)),
                    ])
                }
                listing.tellAll()
            }
        }

        private static func seconds(_ text: String) throws -> Int64 {
            let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]
            guard let last = text.last, let unit = units[last], let number = Int64(text.dropLast()),
                (1...1_000_000).contains(number)
            else {
                throw Failure(.usage, "DURATION", "\(text) is no duration.", hint: "30m, 24h or 7d")
            }
            return number * unit
        }
    }
}
