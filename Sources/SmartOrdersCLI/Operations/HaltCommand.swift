// `smartorders halt`: the kill switch (RELIABILITY.md 11.1).
import ArgumentParser
import JSONText
import OrderEngine
import OrderJSON
import OrderStorage
import SmartOrders

struct HaltCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "halt",
        abstract: "The kill switch: entries, sends, off, status.",
        discussion: """
            `entries` stops what adds exposure; exits go on. `sends` stops every placement: stops latch and wait, so \
            positions are unprotected. Both hold within a second, survive restarts, and leave alone what rests at a venue.

            EXAMPLES
              smartorders halt entries --scope account:ID --reason "key leaked?"
              smartorders halt sends --scope cluster --reason "runaway exits"
              smartorders halt status
              smartorders halt off --scope cluster --reason "found: bad feed"
            """,
        subcommands: [Entries.self, Sends.self, Off.self, Status.self],
    )

    struct Target: ParsableArguments {
        @OptionGroup var connections: ConnectionOptions
        @Option(help: ArgumentHelp("What it holds for.", valueName: "cluster|venue:V|market:M|account:A|order:O"))
        var scope: String
        @Option(help: "Why; goes into the audit row and is shown to traders.")
        var reason: String

        func parsed() throws -> (HaltInForce.Scope, String) {
            let parts = scope.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let kind = HaltInForce.Scope(rawValue: String(parts[0])),
                (kind == .cluster) == (parts.count == 1), parts.last?.isEmpty == false
            else {
                throw Failure(
                    .usage,
                    "SCOPE",
                    "\(scope) is no scope.",
                    hint: "cluster, venue:paper, market:paper:linear:DEMO, account:ID or order:ID",
                )
            }
            guard !reason.isEmpty else {
                throw Failure(
                    .usage,
                    "REASON_REQUIRED",
                    "a halt without a reason helps nobody.",
                    hint: "--reason TEXT",
                )
            }
            return (kind, parts.count == 1 ? "" : String(parts[1]))
        }

        func set(_ level: HaltInForce.Level) async throws {
            let (kind, subject) = try parsed()
            try await ClusterDesk.with(connections) { desk in
                guard try await desk.control.isKnown(kind, subject) else {
                    throw Failure(.notFound, "NOT_FOUND", "there is no \(scope): nothing was halted.")
                }
                try await desk.control.set(
                    HaltInForce(scope: kind, subject: subject, level: level),
                    desk.note(reason),
                )
                show("halted \(level.rawValue) of \(scope)")
                if level == .sends { tell("stops there latch and wait: positions are unprotected until `halt off`") }
            }
        }
    }

    struct Entries: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Nothing adds exposure any more; exits go on.")
        @OptionGroup var target: Target
        func run() async throws { try await target.set(.entries) }
    }

    struct Sends: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Nothing is placed any more, exits neither; cancels and look-ups go on."
        )
        @OptionGroup var target: Target
        func run() async throws { try await target.set(.sends) }
    }

    struct Off: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ends a halt, in two steps: the first shows a code, the second names it."
        )
        @OptionGroup var target: Target
        @Option(help: "The code that the first step showed.")
        var code: String?

        func run() async throws {
            let (kind, subject) = try target.parsed()
            try await ClusterDesk.with(target.connections) { desk in
                let present = try await desk.control.halts()
                guard let halt = present.first(where: { $0.halt.scope == kind && $0.halt.subject == subject }) else {
                    throw Failure(
                        .notFound,
                        "NOT_FOUND",
                        "no halt of \(target.scope) is in force.",
                        hint: "smartorders halt status",
                    )
                }
                let isMeant = try TwoSteps.confirm(
                    code,
                    of: [target.scope, halt.halt.level.rawValue, "\(halt.since.microseconds)"],
                    "\(halt.halt.level.rawValue) of \(target.scope), halted by \(halt.actor) at \(halt.since.rfc3339) "
                        + "(\(halt.reason)); \(halt.held) latched stops would leave at once",
                )
                guard isMeant else { return }
                guard try await desk.control.lift(halt, desk.note(target.reason)) else {
                    throw Failure(.conflict, "CODE_MISMATCH", "the halt was set anew since it was shown.")
                }
                show("off \(halt.halt.level.rawValue) of \(target.scope)")
            }
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Halts in force, and what waits under each.")
        @OptionGroup var connections: ConnectionOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                let columns = ["scope", "level", "held", "since", "actor", "reason"]
                var listing = Listing(columns.map { .init($0) }, output)
                for record in try await desk.control.halts() {
                    let (scope, subject) = (record.halt.scope.rawValue, record.halt.subject)
                    listing.add([
                        "scope": .string(subject.isEmpty ? scope : "\(scope):\(subject)"),
                        "level": .string(record.halt.level.rawValue), "held": .integer(record.held),
                        "since": .string(record.since.rfc3339), "actor": .string(record.actor),
                        "reason": .string(record.reason),
                    ])
                }
                listing.tellAll()
            }
        }
    }
}
