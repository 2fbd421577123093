// `smartorders shards` and `smartorders leader`: who evaluates what, and who decides that.
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import SmartOrders

struct ShardsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shards",
        abstract: "The 1,024 shards: map, move, rebalance.",
        discussion: """
            The leader gives each shard to the worker that a hash names, so few move when a worker comes or goes. `move` \
            chooses another worker for as long as that one lives; `rebalance` gives chosen shards back to the hash.

            EXAMPLES
              smartorders shards map
              smartorders shards map --each -o csv
              smartorders shards move 17 worker-4711-1x2y3z --reason "hot account"
              smartorders shards rebalance --plan
            """,
        subcommands: [Map.self, Move.self, Rebalance.self],
    )

    struct Map: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Which worker has which shards.")
        @OptionGroup var connections: ConnectionOptions
        @Flag(help: "A line for each shard.")
        var each = false
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                let shards = try await desk.control.shards()
                (each ? Self.single(shards, output) : Self.grouped(shards, output)).tellAll()
            }
        }

        private static func single(_ shards: [ShardStanding], _ output: OutputOptions) -> Listing {
            let columns = ["shard", "worker", "accepted", "epoch", "pinned", "previous"]
            var listing = Listing(columns.map { .init($0) }, output)
            for shard in shards {
                listing.add([
                    "shard": .integer(shard.shard), "worker": .string(shard.worker?.text ?? "-"),
                    "accepted": .bool(shard.isAccepted), "epoch": .integer(Int(shard.epoch)),
                    "pinned": .bool(shard.pinned != nil), "previous": .string(shard.previous?.text ?? "-"),
                ])
            }
            return listing
        }

        private static func grouped(_ shards: [ShardStanding], _ output: OutputOptions) -> Listing {
            let columns: [Listing.Column] = [
                .init("worker"), .init("shards"), .init("accepted"), .init("pinned"), .init("ranges", isWide: true),
            ]
            var listing = Listing(columns, output)
            let groups = Dictionary(grouping: shards) { $0.worker?.text ?? "-" }
            for (worker, group) in groups.sorted(by: { $0.key < $1.key }) {
                listing.add([
                    "worker": .string(worker), "shards": .integer(group.count),
                    "accepted": .integer(group.count { $0.isAccepted }),
                    "pinned": .integer(group.count { $0.pinned != nil }),
                    "ranges": .string(ranges(group.map(\.shard))),
                ])
            }
            return listing
        }

        /// `1-3 7 9-10`
        static func ranges(_ numbers: [Int]) -> String {
            var ranges: [ClosedRange<Int>] = []
            for number in numbers.sorted() {
                if let last = ranges.last, last.upperBound == number - 1 {
                    ranges[ranges.count - 1] = last.lowerBound...number
                } else {
                    ranges.append(number...number)
                }
            }
            return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
                .joined(separator: " ")
        }
    }

    struct Move: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Gives a shard to a worker, for as long as that worker lives."
        )
        @OptionGroup var connections: ConnectionOptions
        @Argument(help: "0 to 1023, or a range such as 0-99.")
        var shard: String
        @Argument(help: "Name of the worker.")
        var worker: String
        @Option(help: "Why; goes into the audit row.")
        var reason: String

        func run() async throws {
            let bounds = shard.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard bounds.count <= 2, let first = bounds.first ?? nil, let last = bounds.last ?? nil, first <= last,
                (0..<OrderID.shardCount).contains(first), last < OrderID.shardCount
            else {
                throw Failure(.usage, "SHARD", "\(shard) is no shard.", hint: "0 to 1023, or a range such as 0-99")
            }
            try await ClusterDesk.with(connections) { desk in
                let isPinned = try await desk.control.pin(
                    Array(first...last),
                    to: WorkerID(worker),
                    desk.note(reason),
                )
                guard isPinned else {
                    throw Failure(
                        .notFound,
                        "NOT_FOUND",
                        "no worker \(worker) is alive and takes shards.",
                        hint: "smartorders workers list",
                    )
                }
                show("moving \(last - first + 1) shards to \(worker)")
            }
        }
    }

    struct Rebalance: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Gives chosen shards back to the hash; --plan shows the moves, --apply makes them."
        )
        @OptionGroup var connections: ConnectionOptions
        @Flag(help: "Shows which shards would move.")
        var plan = false
        @Flag(help: "Moves them.")
        var apply = false
        @Option(help: "Why; goes into the audit row.")
        var reason = ""

        func validate() throws {
            if plan == apply { throw ValidationError("say --plan or --apply") }
            if apply, reason.isEmpty { throw ValidationError("--apply needs --reason TEXT") }
        }

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                let workers = try await desk.control.workers()
                let moves = Scheduler.moves(
                    holders: try await desk.control.shards().map(\.worker),
                    able: workers.filter { $0.isLive && !$0.isQuiet }.map(\.id),
                )
                for (worker, group) in Dictionary(grouping: moves, by: \.to).sorted(by: { $0.key < $1.key }) {
                    show("\(worker) gets \(group.count): \(Map.ranges(group.map(\.shard)))")
                }
                guard apply else { return show("\(moves.count) shards would move") }
                let pinned = try await desk.control.unpin(desk.note(reason))
                show("\(pinned) chosen shards given back, \(moves.count) move")
            }
        }
    }
}

struct LeaderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "leader",
        abstract: "The scheduler that leads: show, resign.",
        discussion: """
            EXAMPLES
              smartorders leader show
              smartorders leader resign --reason "its host is rebooted"
            """,
        subcommands: [Show.self, Resign.self],
    )

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Who leads, and how often that has changed.")
        @OptionGroup var connections: ConnectionOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                let (worker, epoch) = try await desk.control.leader()
                var listing = Listing(["leader", "epoch"].map { .init($0) }, output)
                listing.add(["leader": .string(worker?.text ?? "-"), "epoch": .integer(Int(epoch))])
                listing.tellAll()
            }
        }
    }

    struct Resign: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes leadership from who has it; another scheduler leads within half a second."
        )
        @OptionGroup var connections: ConnectionOptions
        @Option(help: "Why; goes into the audit row.")
        var reason: String

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                guard let old = try await desk.control.resignLeader(desk.note(reason)) else {
                    throw Failure(.notFound, "NOT_FOUND", "nobody leads: is a scheduler running?")
                }
                show("resigned \(old)")
            }
        }
    }
}
