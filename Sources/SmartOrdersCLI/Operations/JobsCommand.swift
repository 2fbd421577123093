// `smartorders jobs`: look at jobs, and move many of them safely (INTERFACES.md 4.2).
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import SmartOrders
import TriggerQueue

struct JobsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "jobs",
        abstract: "Jobs of the trigger queue: list, get, requeue, discard, promote, batches.",
        subcommands: [
            List.self, Get.self, Requeue.self, Discard.self, Promote.self, BatchesCommand.self,
        ],
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Jobs of one state.",
            discussion: """
                EXAMPLES
                  smartorders jobs list --state dead --error-class VENUE_DOWN
                  smartorders jobs list --queue stops-03 --state waiting --limit 20 -o jsonl
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var filter: JobFilter
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await JobsCommand.list(options, filter, output, try filter.state(or: .dead))
        }
    }

    static func list(
        _ options: OperatorOptions,
        _ filter: JobFilter,
        _ output: OutputOptions,
        _ state: JobState,
    ) async throws {
        var filter = filter
        filter.limit = filter.limit ?? 100
        try await Operator.with(options) { [filter] desk in
            var listing = Listing(
                [
                    .init("id"), .init("queue"), .init("state", isWide: true), .init("name", isWide: true),
                    .init("attempts"), .init("deliveries", isWide: true), .init("crashes"),
                    .init("offeredAt", isWide: true), .init("takenAt", isWide: true), .init("endedAt", isWide: true),
                    .init("since"), .init("holder", isWide: true), .init("error"),
                ],
                output,
            )
            try await filter.find(desk, state) { jobs in
                for job in jobs {
                    guard case .object(var row) = JobsCommand.json(job, state) else { continue }
                    row["since"] = .number("\(job.endedAt ?? job.takenAt ?? job.offeredAt ?? 0)")
                    listing.add(row)
                }
            }
            listing.tellAll()
        }
    }

    struct Get: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "One job, wherever it is.",
            discussion: """
                EXAMPLES
                  smartorders jobs get 0197f6c2-8d1e-7c3a-9b54-2f6f0c1d2e3f-sl-1
                  smartorders jobs get 0197f6c2-8d1e-7c3a-9b54-2f6f0c1d2e3f-tp1-2-c3
                """,
        )
        @OptionGroup var options: OperatorOptions
        @Argument(help: "Id of the job.")
        var id: String

        func run() async throws {
            try await Operator.with(options) { desk in
                let found = try await JobsCommand.found(id, desk.queue)
                for job in found { show("\(job)") }
                if found.isEmpty {
                    throw Failure(.notFound, "NO_JOB", "\(id) is in no queue.", hint: "done jobs are forgotten")
                }
            }
        }
    }

    /// A job in every queue that has it.
    static func found(_ id: String, _ queue: BullQueue) async throws -> [JSONValue] {
        var found: [JSONValue] = []
        for one in queue.queues {
            guard let job = try await queue.records([id], in: one).first else { continue }
            let word = try await queue.audit([id], in: one).first ?? "unknown"
            found.append(json(job, JobState(rawValue: word), word))
        }
        return found
    }

    static func json(_ job: JobRecord, _ state: JobState?, _ word: String = "") -> JSONValue {
        var object = JSONObject()
        object["id"] = .string(job.id)
        object["queue"] = .string("\(job.queue)")
        object["state"] = .string(state?.rawValue ?? word)
        object["name"] = .string(job.name)
        do { object["data"] = try JSONValue(parsing: job.data) } catch {
            object["data"] = .string(String(decoding: job.data, as: UTF8.self))
        }
        for (name, time) in [("offeredAt", job.offeredAt), ("takenAt", job.takenAt), ("endedAt", job.endedAt)] {
            if let time { object[name] = .number("\(time)") }
        }
        if let reason = job.reason { object["error"] = .string(reason) }
        if let value = job.returnValue { object["result"] = .string(value) }
        object["attempts"] = .integer(job.attemptsMade)
        object["deliveries"] = .integer(job.deliveries)
        object["crashes"] = .integer(job.crashes)
        if let token = job.token { object["holder"] = .string(token) }
        return .object(object)
    }

    /// Flags of everything that moves many jobs.
    struct BulkOptions: ParsableArguments {
        @Option(help: "Names the batch: with the name of an interrupted one it goes on.")
        var batchId: String?
        @Option(help: "At most so many jobs a second, such as 50/s.")
        var rate: String?
        @Option(help: "More than this needs --force.")
        var max = 1_000
        @Flag(help: "More than --max.")
        var force = false

        func jobsPerSecond() throws -> Int {
            guard let rate else { return 0 }
            let text = rate.hasSuffix("/s") ? String(rate.dropLast(2)) : rate
            guard let number = Int(text), number > 0 else {
                throw Failure(.usage, "RATE", "\(rate) is no rate.", hint: "for example 50/s")
            }
            return number
        }
    }

    /// Previews, asks, runs, and sums up.
    static func bulk(
        _ options: OperatorOptions,
        _ filter: JobFilter,
        _ bulk: BulkOptions,
        _ work: BulkRun.Work,
        verb: String,
    ) async throws {
        var work = work
        work.rate = try bulk.jobsPerSecond()
        let isPartial = try await Operator.with(options) { [work] desk -> Bool in
            let clock = SystemClock()
            let id =
                bulk.batchId ?? "\(work.kind.rawValue)-\(clock.now().milliseconds)-\(UInt16.random(in: 0 ... .max))"
            let run = BulkRun(desk: desk, id: id, work: work)
            var known = try await desk.store.operation(id)
            switch known?.state {
            case .done: throw Failure(.conflict, "BATCH_DONE", "batch \(id) is done.")
            case .cancelled: throw Failure(.conflict, "BATCH_CANCELLED", "batch \(id) was cancelled.")
            case .running where known?.kind != work.kind:
                throw Failure(.conflict, "BATCH_KIND", "batch \(id) does something else.")
            case .running:
                if options.dryRun { return false }
            case .listing, nil:
                if filter.state == "stalled" {
                    // Active entries without a lease are put back by the queue's own sweep.
                    if !options.dryRun { try await desk.queue.reclaim(dead: [WorkerID("-")]) }
                    show("reclaimed what was stalled")
                    return false
                }
                let preview = try await BulkRun.preview(desk, filter, work.state)
                if options.dryRun {
                    preview.tellAll()
                    return false
                }
                if preview.matched > bulk.max, !bulk.force {
                    throw Failure(
                        .refused,
                        "TOO_MANY",
                        "\(preview.matched) jobs match, more than \(bulk.max).",
                        hint: "narrow it down, raise --max, or --force",
                    )
                }
                let reason = try options.reason(when: preview.matched > 1)
                try options.confirm(preview.matched, "\(preview.matched) jobs will be \(verb)")
                try await run.list(filter, reason: reason)
                known = try await desk.store.operation(id)
            }
            guard let operation = known else {
                throw Failure(.failed, "BATCH_LOST", "batch \(id) is not in the database.")
            }
            tell("batch \(id)")
            let ended = try await run.run(operation, clock: clock, tell)
            try await run.audit(ended)
            show(
                "matched \(ended.matched) \(verb) \(ended.moved) obsolete \(ended.obsolete) "
                    + "duplicate \(ended.duplicate) failed \(ended.failed)"
            )
            return ended.failed > 0
        }
        if isPartial { throw ExitCode(5) }
    }

    struct Requeue: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Offers dead jobs again, under their ids: dedupe and the version check still decide.",
            discussion: """
                A job whose order is over or whose attempt was made is obsolete: acknowledged, not run. `--state retry`
                runs retrying jobs now; `--state stalled` puts back what lost its lease.

                EXAMPLES
                  smartorders jobs requeue --error-class VENUE_DOWN --dry-run
                  smartorders jobs requeue --queue stops --older-than 10m --rate 50/s --reason "venue is back" --yes
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var filter: JobFilter
        @OptionGroup var bulk: BulkOptions
        @Flag(help: "Attempts and crashes count from zero.")
        var resetAttempts = false
        @Option(help: "Run them after this time, such as 30s.")
        var delay: String?
        @Option(help: "The class to move them to.")
        var toQueue: String?

        func run() async throws {
            let state = try filter.state(or: .dead)
            var work = BulkRun.Work(kind: state == .dead ? .requeue : .promote, state: state)
            if state != .dead, state != .retry, state != .delayed, filter.state != "stalled" {
                throw Failure(.usage, "STATE", "only dead, retrying and stalled jobs are requeued.")
            }
            work.resetsAttempts = resetAttempts
            work.delayMs = try delay.map(milliseconds) ?? 0
            if let toQueue {
                guard let target = JobClass(rawValue: toQueue) else {
                    throw Failure(
                        .notFound,
                        "NO_CLASS",
                        "\(toQueue) is no class.",
                        hint: "stops, targets, housekeeping",
                    )
                }
                work.target = target
            }
            try await JobsCommand.bulk(options, filter, bulk, work, verb: "requeued")
        }
    }

    struct Discard: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Removes dead, completed, delayed or waiting jobs. The leg stays armed.",
            discussion: """
                EXAMPLES
                  smartorders jobs discard --error-class BADID --dry-run
                  smartorders jobs discard --id 0197f6c2-8d1e-7c3a-9b54-2f6f0c1d2e3f-tp1-1 --reason "closed by hand"
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var filter: JobFilter
        @OptionGroup var bulk: BulkOptions

        func run() async throws {
            let state = try filter.state(or: .dead)
            if state == .active { throw Failure(.usage, "STATE", "an active job is never removed.") }
            try await JobsCommand.bulk(
                options,
                filter,
                bulk,
                BulkRun.Work(kind: .discard, state: state),
                verb: "discarded",
            )
            if !options.dryRun { tell("the legs stay armed: what still crosses is offered again") }
        }
    }

    struct Promote: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Runs delayed or retrying jobs now.",
            discussion: """
                EXAMPLES
                  smartorders jobs promote --state retry --reason "venue is back" --yes
                  smartorders jobs promote --queue targets-01 --dry-run
                """,
        )
        @OptionGroup var options: OperatorOptions
        @OptionGroup var filter: JobFilter
        @OptionGroup var bulk: BulkOptions

        func run() async throws {
            let state = try filter.state(or: .delayed)
            guard state == .delayed || state == .retry else {
                throw Failure(.usage, "STATE", "only delayed and retrying jobs are promoted.")
            }
            try await JobsCommand.bulk(
                options,
                filter,
                bulk,
                BulkRun.Work(kind: .promote, state: state),
                verb: "promoted",
            )
        }
    }
}
