// `smartorders queues`: what waits where; pause, resume, drain (QUEUE.md 11).
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import TriggerQueue

struct QueuesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "queues",
        abstract: "The trigger queue: list, inspect, pause, resume, drain.",
        subcommands: [List.self, Inspect.self, Pause.self, Resume.self, Drain.self, QueueDriveCommand.self],
    )

    struct Selection: ParsableArguments {
        @Argument(help: "stops-03, stops (all partitions), 03 (all classes), or all.")
        var queue: String
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Jobs by queue and state.",
            discussion: """
                EXAMPLES
                  smartorders queues list
                  smartorders queues list stops -o json
                """,
        )
        @OptionGroup var options: OperatorOptions
        @Argument(help: "stops-03, stops, 03 or all.")
        var queue = "all"
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await Operator.with(options) { desk in
                let wanted = try desk.queues(queue)
                let counts = try await desk.queue.counts()
                let names = ["queue", "waiting", "active", "delayed", "retry", "completed", "dead", "paused"]
                var listing = Listing(names.map { .init($0) }, output)
                for one in wanted {
                    let count = counts[one] ?? QueueCounts()
                    var row = JSONObject()
                    row["queue"] = .string("\(one)")
                    row["waiting"] = .integer(count.waiting)
                    row["active"] = .integer(count.active)
                    row["delayed"] = .integer(count.delayed)
                    row["retry"] = .integer(count.retry)
                    row["completed"] = .integer(count.completed)
                    row["dead"] = .integer(count.dead)
                    row["paused"] = .bool(try await desk.queue.isPaused(one))
                    listing.add(row)
                }
                listing.tellAll()
            }
        }
    }

    struct Inspect: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "One queue: counts, its oldest waiting job, pauses, the dead by error.",
            discussion: """
                EXAMPLES
                  smartorders queues inspect stops-03
                  smartorders queues inspect all
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var selection: Selection

        func run() async throws {
            try await Operator.with(options) { desk in
                let wanted = try desk.queues(selection.queue)
                let counts = try await desk.queue.counts()
                let now = try await desk.queue.serverTime()
                let pauses = try await desk.orders.queuePauses()
                for one in wanted {
                    let count = counts[one] ?? QueueCounts()
                    let head = try await desk.queue.ids(in: one, .waiting, limit: 1)
                    let oldest = try await desk.queue.records(head, in: one).first?.offeredAt
                    var line = "\(one): waiting \(count.waiting), active \(count.active), delayed \(count.delayed), "
                    line += "retry \(count.retry), completed \(count.completed), dead \(count.dead)"
                    if let oldest { line += ", oldest \(max(0, now - oldest)) ms" }
                    if try await desk.queue.isPaused(one) {
                        line += ", PAUSED"
                        if let pause = pauses.first(where: { $0.queue == "\(one)" }) {
                            line += " by \(pause.actor) (\(pause.reason))"
                            if pause.leftMs > 0 { line += " for \(pause.leftMs / 1_000) s more" }
                        }
                    }
                    show(line)
                    var codes: [String: Int] = [:]
                    let dead = try await desk.queue.ids(in: one, .dead, limit: 10_000)
                    for start in stride(from: 0, to: dead.count, by: 500) {
                        let page = Array(dead[start..<min(start + 500, dead.count)])
                        for record in try await desk.queue.records(page, in: one) {
                            codes[record.errorCode ?? "?", default: 0] += 1
                        }
                    }
                    for (code, count) in codes.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
                        show("  dead \(code): \(count)")
                    }
                }
            }
        }
    }

    struct Pause: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Hands out nothing more; running jobs finish, offers wait in order.",
            discussion: """
                Stops are paused for 15 minutes at most and resume by themselves.

                EXAMPLES
                  smartorders queues pause targets-03 --reason "venue maintenance"
                  smartorders queues pause stops --for 5m --reason "venue maintenance" --yes
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var selection: Selection
        @Option(name: .customLong("for"), help: "How long, such as 10m; without it until resumed.")
        var duration: String?

        func run() async throws {
            let length = try duration.map(milliseconds) ?? 0
            try await Operator.with(options) { desk in
                let wanted = try desk.queues(selection.queue)
                let reason = try options.reason(when: true)
                try Operator.checkPause(wanted, milliseconds: length)
                if options.dryRun {
                    for one in wanted { show("would pause \(one)") }
                    return
                }
                try options.confirm(wanted.count, "\(wanted.count) queues will be paused")
                try await desk.pause(selection.queue, milliseconds: length, reason: reason) { show("paused \($0)") }
            }
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Hands out jobs again, whoever paused.",
            discussion: """
                EXAMPLES
                  smartorders queues resume stops-03
                  smartorders queues resume all --reason "maintenance over" --yes
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var selection: Selection

        func run() async throws {
            try await Operator.with(options) { desk in
                let wanted = try desk.queues(selection.queue)
                if options.dryRun {
                    for one in wanted where try await desk.queue.isPaused(one) { show("would resume \(one)") }
                    return
                }
                try await desk.resume(selection.queue, reason: options.reason ?? "") { show("resumed \($0)") }
            }
        }
    }

    struct Drain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Empties lists. What PostgreSQL still wants comes back within 2 s.",
            discussion: """
                It does not cancel work: to stop exits, cancel or halt the orders.

                EXAMPLES
                  smartorders queues drain targets-03 --dry-run
                  smartorders queues drain all --delayed --reason "restored snapshot" --yes
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var selection: Selection
        @Flag(help: "Delayed jobs too.")
        var delayed = false

        func run() async throws {
            try await Operator.with(options) { desk in
                let wanted = try desk.queues(selection.queue)
                let counts = try await desk.queue.counts()
                let total = wanted.reduce(0) { sum, one in
                    let count = counts[one] ?? QueueCounts()
                    return sum + count.waiting + (delayed ? count.delayed + count.retry : 0)
                }
                let pending = try await desk.store.pendingJobs()
                let back = Set(wanted.map(\.jobClass)).reduce(0) { $0 + (pending[$1] ?? 0) }
                show("\(total) jobs in \(wanted.count) queues; PostgreSQL wants \(back) jobs of these classes back")
                let reason = try options.reason(when: total > 1)
                if options.dryRun { return }
                try options.confirm(total, "\(total) jobs will be removed")
                show("removed \(try await desk.drain(selection.queue, includesDelayed: delayed, reason: reason))")
            }
        }
    }
}
