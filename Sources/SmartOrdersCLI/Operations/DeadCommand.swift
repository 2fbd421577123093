// `smartorders dead`: what was given up, grouped so that a person can decide (INTERFACES.md 4.2). Giving them another
// life is `jobs requeue --state dead`.
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import SmartOrders
import TriggerQueue

struct DeadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dead",
        abstract: "Dead jobs: groups, list, show, export, note.",
        subcommands: [Groups.self, List.self, Show.self, Export.self, Note.self],
    )

    /// The dead of one error.
    private struct Group {
        var count = 0
        var first = Int64.max
        var last = Int64.min
        var sample: JobRecord
    }

    /// The most frequent first.
    static func groups(_ desk: Operator, _ filter: JobFilter) async throws -> [JSONObject] {
        var groups: [String: Group] = [:]
        try await filter.find(desk, .dead) { jobs in
            for job in jobs {
                var group = groups[job.errorCode ?? "?"] ?? Group(sample: job)
                group.count += 1
                group.first = min(group.first, job.endedAt ?? .max)
                group.last = max(group.last, job.endedAt ?? .min)
                groups[job.errorCode ?? "?"] = group
            }
        }
        let notes = try await desk.store.deadNotes()
        return groups.sorted(by: { ($1.value.count, $0.key) < ($0.value.count, $1.key) }).map { code, group in
            [
                "error": .string(code), "count": .integer(group.count), "firstSeen": .number("\(group.first)"),
                "lastSeen": .number("\(group.last)"), "sample": .string(group.sample.id),
                "text": .string(group.sample.reason ?? ""), "note": .string(notes[code] ?? ""),
            ]
        }
    }

    struct Groups: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The dead by error: how many, first and last seen (ms since 1970), a sample, a note.",
            discussion: """
                EXAMPLES
                  smartorders dead groups
                  smartorders dead groups --queue stops -o json
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var filter: JobFilter
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await Operator.with(options) { desk in
                var listing = Listing(
                    [
                        .init("error"), .init("count"), .init("firstSeen"), .init("lastSeen"), .init("sample"),
                        .init("text", isWide: true), .init("note"),
                    ],
                    output,
                )
                for row in try await DeadCommand.groups(desk, filter) { listing.add(row) }
                listing.tellAll()
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Dead jobs, oldest first.",
            discussion: """
                EXAMPLES
                  smartorders dead list --error-class VENUE_DOWN
                  smartorders dead list --queue stops-03 -o wide
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var filter: JobFilter
        @OptionGroup var output: OutputOptions

        func run() async throws { try await JobsCommand.list(options, filter, output, .dead) }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "One dead job.",
            discussion: """
                EXAMPLES
                  smartorders dead show 0197f6c2-8d1e-7c3a-9b54-2f6f0c1d2e3f-sl-1
                  smartorders dead show 0197f6c2-8d1e-7c3a-9b54-2f6f0c1d2e3f-tp1-2
                """,
        )
        @OptionGroup var options: OperatorOptions
        @Argument(help: "Id of the job.")
        var id: String

        func run() async throws {
            let filter = try JobFilter.parse(["--id", id])
            try await Operator.with(options) { desk in
                var found = false
                try await filter.find(desk, .dead) { jobs in
                    for job in jobs {
                        found = true
                        show("\(JobsCommand.json(job, .dead))")
                    }
                }
                guard found else { throw Failure(.notFound, "NO_JOB", "\(id) is not among the dead.") }
            }
        }
    }

    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Every dead job with its payload, one JSON object a line.",
            discussion: """
                EXAMPLES
                  smartorders dead export > dead.jsonl
                  smartorders dead export --error-class BADID --older-than 1h
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var filter: JobFilter

        func run() async throws {
            try await Operator.with(options) { desk in
                try await filter.find(desk, .dead) { jobs in
                    for job in jobs { show("\(JobsCommand.json(job, .dead))") }
                }
            }
        }
    }

    struct Note: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What is known about an error, for the next person; shown by groups.",
            discussion: """
                EXAMPLES
                  smartorders dead note VENUE_DOWN "maintenance until noon, requeue after it"
                  smartorders dead note VENUE_DOWN ""
                """,
        )
        @OptionGroup var options: OperatorOptions
        @Argument(help: "Code of the error.")
        var error: String
        @Argument(help: "The note; empty removes it.")
        var text: String

        func run() async throws {
            try await Operator.with(options) { desk in
                if options.dryRun { return show("would note \(error): \(text)") }
                try await desk.setNote(text, of: error, reason: options.reason ?? "")
                show("noted \(error)")
            }
        }
    }
}
