// `smartorders jobs batches`: bulk operations, past and under way.
import ArgumentParser
import JSONText
import OrderStorage

struct BatchesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "batches",
        abstract: "Bulk operations: list, show, cancel.",
        subcommands: [List.self, Show.self, Cancel.self],
    )

    private static func row(_ one: BulkOperation) -> JSONObject {
        var object = JSONObject()
        object["id"] = .string(one.id)
        object["kind"] = .string(one.kind.rawValue)
        object["state"] = .string(one.state.rawValue)
        object["actor"] = .string(one.actor)
        object["matched"] = .integer(one.matched)
        object["moved"] = .integer(one.moved)
        object["obsolete"] = .integer(one.obsolete)
        object["duplicate"] = .integer(one.duplicate)
        object["failed"] = .integer(one.failed)
        object["startedAt"] = .string("\(one.startedAt)")
        object["reason"] = .string(one.reason)
        return object
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The newest batches.",
            discussion: """
                EXAMPLES
                  smartorders jobs batches list
                  smartorders jobs batches list --limit 200
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var output: OutputOptions
        @Option(help: "At most so many.")
        var limit = 50

        func run() async throws {
            try await Operator.with(options) { desk in
                var listing = Listing(
                    [
                        .init("id"), .init("kind", isWide: true), .init("state"), .init("actor"), .init("matched"),
                        .init("moved"), .init("obsolete"), .init("duplicate"), .init("failed"),
                        .init("startedAt", isWide: true), .init("reason"),
                    ],
                    output,
                )
                for one in try await desk.store.operations(limit: limit) { listing.add(BatchesCommand.row(one)) }
                listing.tellAll()
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "One batch.",
            discussion: """
                EXAMPLES
                  smartorders jobs batches show requeue-1790000000000-1
                  smartorders jobs batches show venue-outage
                """,
        )
        @OptionGroup var options: OperatorOptions
        @Argument(help: "Name of the batch.")
        var batch: String

        func run() async throws {
            try await Operator.with(options) { desk in
                guard let one = try await desk.store.operation(batch) else {
                    throw Failure(.notFound, "NO_BATCH", "there is no batch \(batch).")
                }
                var object = BatchesCommand.row(one)
                object["filter"] = try JSONValue(parsing: one.filter)
                show("\(JSONValue.object(object))")
            }
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ends a batch: what was not moved stays where it is.",
            discussion: """
                EXAMPLES
                  smartorders jobs batches cancel venue-outage
                  smartorders jobs batches cancel venue-outage --reason "wrong filter"
                """,
        )
        @OptionGroup var options: OperatorOptions
        @Argument(help: "Name of the batch.")
        var batch: String

        func run() async throws {
            try await Operator.with(options) { desk in
                if options.dryRun { return show("would cancel \(batch)") }
                guard try await desk.store.set(.cancelled, of: batch) else {
                    throw Failure(.conflict, "BATCH_ENDED", "there is no batch \(batch) under way.")
                }
                try await desk.audit("jobs.batches.cancel", batch, reason: options.reason ?? "", [:])
                show("cancelled \(batch)")
            }
        }
    }
}
