// `smartorders workers`: who works, and asking one to pause or to leave.
import ArgumentParser
import JSONText
import OrderEngine
import OrderJSON
import OrderStorage
import SmartOrders

struct WorkersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "workers",
        abstract: "Worker processes: list, quiet, resume, stop, concurrency.",
        discussion: """
            A quiet worker gives its shards to the others and takes no jobs; it stays ready. A stopped one ends its \
            requests under way, gives everything back and exits. Both are noticed within half a second.

            EXAMPLES
              smartorders workers list
              smartorders workers quiet worker-4711-1x2y3z --reason "new kernel on this host"
              smartorders workers stop worker-4711-1x2y3z --reason "scale down"
            """,
        subcommands: [List.self, Quiet.self, Resume.self, Stop.self, Concurrency.self],
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Workers with a lease, and lapsed ones whose shards nobody has yet."
        )
        @OptionGroup var connections: ConnectionOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                let columns = ["worker", "state", "shards", "accepted", "concurrency", "since"]
                var listing = Listing(columns.map { .init($0) }, output)
                for worker in try await desk.control.workers() {
                    let state =
                        !worker.isLive
                        ? "lapsed" : worker.wantsStop ? "stopping" : worker.isQuiet ? "quiet" : "working"
                    listing.add([
                        "worker": .string(worker.id.text), "state": .string(state), "shards": .integer(worker.shards),
                        "accepted": .integer(worker.accepted), "concurrency": .integer(worker.concurrency),
                        "since": .string(worker.registeredAt.rfc3339),
                    ])
                }
                listing.tellAll()
            }
        }
    }

    /// One worker, and why.
    struct Choice: ParsableArguments {
        @OptionGroup var connections: ConnectionOptions
        @Argument(help: "Name of the worker, as `workers list` shows it.")
        var worker: String
        @Option(help: "Why; goes into the audit row.")
        var reason = ""

        func change(
            _ done: String,
            _ body: (ClusterDesk, WorkerID, OperatorNote) async throws -> Bool,
        ) async throws {
            try await ClusterDesk.with(connections) { desk in
                guard try await body(desk, WorkerID(worker), desk.note(reason)) else {
                    throw Failure(
                        .notFound,
                        "NOT_FOUND",
                        "no worker \(worker) is alive.",
                        hint: "smartorders workers list",
                    )
                }
                show("\(done) \(worker)")
            }
        }
    }

    struct Quiet: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Takes no jobs and no shards until `resume`.")
        @OptionGroup var choice: Choice
        func run() async throws {
            try await choice.change("quiet") { desk, id, note in
                let others = try await desk.control.workers().contains { $0.isLive && !$0.isQuiet && $0.id != id }
                if !others { tell("no other worker is working: its shards stay with it until there is one") }
                return try await desk.control.setQuiet(true, of: id, note)
            }
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Works again.")
        @OptionGroup var choice: Choice
        func run() async throws {
            try await choice.change("resumed") { desk, id, note in
                try await desk.control.setQuiet(false, of: id, note)
            }
        }
    }

    struct Stop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Leaves in order and exits. What starts it again is up to whoever supervises it."
        )
        @OptionGroup var choice: Choice
        func run() async throws {
            try await choice.change("stopping") { desk, id, note in try await desk.control.stop(id, note) }
        }
    }

    struct Concurrency: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "How many jobs it may have in hand at once.")
        @OptionGroup var choice: Choice
        @Argument(help: "4 to 1024; 64 unless it was changed.")
        var jobs: Int

        func validate() throws {
            guard WorkerStanding.concurrencies.contains(jobs) else { throw ValidationError("jobs is 4 to 1024") }
        }

        func run() async throws {
            try await choice.change("\(jobs) jobs at once:") { desk, id, note in
                try await desk.control.setConcurrency(jobs, of: id, note)
            }
        }
    }
}
