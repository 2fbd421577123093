// `smartorders simulate`: the whole cluster in a seed (RELIABILITY.md 8, INTERFACES.md 4.2).
import ArgumentParser
import JSONText
import OwnerThread
import Simulation

struct SimulateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs the whole cluster in a deterministic simulation with faults, and judges it.",
        discussion: """
            One seed and one build replay a run exactly. Each run: minutes with faults, then everything heals and what was \
            promised must come true. Exit status 1: something was violated; with --canary: nothing was.

            EXAMPLES
              smartorders simulate --seeds 600
              smartorders simulate --seed 4711 --seeds 1 --trace
              smartorders simulate --seeds 50 --faults kill=4,venueLoss=12 --horizon 5m
            """,
    )

    @Option(help: "The first seed.")
    var seed: UInt64 = 1

    @Option(help: "How many seeds, one after the other.")
    var seeds: UInt64 = 100

    @Option(
        help: ArgumentHelp(
            "Which faults: none, uniform, swarm, or factors of base rates.",
            discussion: "Classes: \(FaultClass.allCases.map(\.name).joined(separator: ", ")).",
            valueName: "none|uniform|swarm|name=x,...",
        )
    )
    var faults = "swarm"

    @Option(
        help: ArgumentHelp("Simulated time of a seed; the last three minutes are without faults.", valueName: "18m")
    )
    var horizon = "18m"

    @Option(help: "Threads, one seed each.")
    var cores = 1

    @Option(
        help: ArgumentHelp(
            "A planted error that must be found under its own faults, or `all` of them.",
            valueName: "name|all",
        )
    )
    var mutant: String?

    @Flag(help: "Prints the last lines of a failed run.")
    var trace = false

    @Option(help: "How many lines of a failed run to keep, 1 to 10000000.")
    var traceLines = 200

    @Flag(help: "Makes a failed run smaller before it is printed.")
    var shrink = false

    @Flag(help: "Plants an error in the store: the run must fail.")
    var canary = false

    @Flag(help: "Instead of seeds: every call on the way of an exit with everything that may become of it.")
    var crashPoints = false

    @Flag(help: "One JSON document.")
    var json = false

    func run() async throws {
        var options = SimulationOptions()
        guard let choice = FaultChoice(faults) else {
            throw Failure(.usage, "USAGE", "--faults \(faults) is not understood", hint: "smartorders simulate --help")
        }
        guard let minutes = Self.minutes(horizon), minutes > 3, minutes <= 1_440 else {
            throw Failure(.usage, "USAGE", "--horizon is between 3m and 24h", hint: "--horizon 18m")
        }
        guard seeds > 0, seeds <= 10_000_000, (1...64).contains(cores), seed <= .max - seeds else {
            throw Failure(.usage, "USAGE", "--seeds is from 1 to 10000000, --cores from 1 to 64")
        }
        guard (1...10_000_000).contains(traceLines) else {
            throw Failure(.usage, "USAGE", "--trace-lines is from 1 to 10000000")
        }
        options.faults = choice
        options.safetyMinutes = minutes - 3
        if canary { options.mutant = .noVersionCheck }
        if crashPoints { return try await playCrashPoints() }
        if mutant == "all" { return try await findAll(options) }
        if let mutant {
            guard let known = Mutant(rawValue: mutant) else {
                throw Failure(.usage, "USAGE", "there is no mutant \(mutant)")
            }
            options.mutant = known
            options.faults = .fixed(known.faults)
        }
        let tally = Tally(first: seed, count: seeds, options: options)
        let begun = SystemClock().monotonicNanoseconds()
        await withTaskGroup { group in
            for _ in 0..<cores { group.addTask { await tally.work { tell($0) } } }
        }
        let seconds = max(Double(SystemClock().monotonicNanoseconds() - begun) / 1e9, 1e-9)
        var failure = tally.failure
        if shrink, let found = failure { failure = await Simulation.shrink(found, options: options) }
        if let found = failure {
            // Again, with its last lines.
            options.faults = .fixed(found.plan)
            options.safetyMinutes = found.safetyMinutes
            options.traceLines = traceLines
            failure = await Simulation.run(seed: found.seed, options: options)
        }
        if json { showJSON(tally, failure, seconds) } else { showText(tally, failure, seconds) }
        if choice == .swarm, options.mutant == nil, tally.totals.seeds >= 600 {
            let unmarked = Mark.allCases.filter { tally.totals.marks[$0.rawValue] == nil }
            if !unmarked.isEmpty {
                if !json { show("never met: \(unmarked.map(\.rawValue).joined(separator: ", "))") }
                throw ExitCode(1)
            }
        }
        if (failure != nil) != (options.mutant != nil) { throw ExitCode(1) }
    }

    /// Plants one error after the other; a survivor means that the oracle or the faults are too weak.
    private func findAll(_ options: SimulationOptions) async throws {
        var survivors = 0
        for mutant in Mutant.allCases {
            var options = options
            options.mutant = mutant
            options.faults = .fixed(mutant.faults)
            let tally = Tally(first: seed, count: seeds, options: options)
            await tally.work { _ in }
            if let found = tally.failure, let violation = found.violations.first {
                show("\(mutant.rawValue): \(violation.predicate) in seed \(found.seed)")
            } else {
                survivors += 1
                show("\(mutant.rawValue): SURVIVED \(seeds) seeds")
            }
        }
        show("\(Mutant.allCases.count - survivors) of \(Mutant.allCases.count) planted errors found")
        if survivors > 0 { throw ExitCode(1) }
    }

    /// Plays every scene with one worker and with two, with every crash point.
    private func playCrashPoints() async throws {
        var paths = 0
        for scene in CrashScene.allCases {
            for workers in 1...2 {
                let clean = await Simulation.play(scene, nil, workers: workers)
                for point in [nil] + CrashPoint.all(calls: clean.calls.count) {
                    let outcome = await Simulation.play(
                        scene,
                        point,
                        workers: workers,
                        traceLines: trace ? traceLines : 0,
                    )
                    paths += 1
                    guard let violation = outcome.violations.first else { continue }
                    let place = point.map {
                        "call \($0.call) (\(clean.calls[$0.call])) \($0.kind.rawValue)\($0.restartsLate ? " late" : "")"
                    }
                    show(
                        "VIOLATION \(violation.predicate) in \(scene.rawValue), \(workers) workers, \(place ?? "clean")"
                    )
                    for one in outcome.violations { show("  \(one.milliseconds) ms \(one.predicate): \(one.evidence)") }
                    for line in outcome.trace { show("  \(line)") }
                    throw ExitCode(1)
                }
                show("\(scene.rawValue) with \(workers) workers: \(clean.calls.count) calls")
            }
        }
        show("\(paths) paths, no violation")
    }

    /// `90s`, `18m`, `2h`; nil: something else.
    private static func minutes(_ text: String) -> Double? {
        guard let unit = text.last, let number = Double(text.dropLast()) else { return nil }
        switch unit {
        case "s": return number / 60
        case "m": return number
        case "h": return number * 60
        default: return nil
        }
    }

    private func replay(_ outcome: SimulationOutcome) -> String {
        "smartorders simulate --seed \(outcome.seed) --seeds 1 --faults \(outcome.plan.text) --horizon "
            + "\(Int((outcome.safetyMinutes + 3) * 60))s --trace"
    }

    private func showText(_ tally: Tally, _ failure: SimulationOutcome?, _ seconds: Double) {
        let totals = tally.totals
        let hours = Double(totals.milliseconds) / 3_600_000
        func round(_ value: Double) -> String { "\((value * 100).rounded() / 100)" }
        show(
            "\(totals.seeds) seeds, \(round(Double(totals.seeds) / seconds)) seeds/s, \(round(hours)) simulated hours, "
                + "\(round(hours / (seconds / 60))) simulated hours per minute, \(totals.orders) orders, "
                + "\(totals.accepted) venue orders"
        )
        guard let failure, let violation = failure.violations.first else {
            return show("no violation")
        }
        show("VIOLATION \(violation.predicate) in seed \(failure.seed) at \(violation.milliseconds) ms")
        for one in failure.violations { show("  \(one.milliseconds) ms \(one.predicate): \(one.evidence)") }
        if trace { for line in failure.trace { show("  \(line)") } }
        show("replay: \(replay(failure))")
    }

    private func showJSON(_ tally: Tally, _ failure: SimulationOutcome?, _ seconds: Double) {
        let totals = tally.totals
        func number(_ value: Double) -> JSONValue { .number("\((value * 100).rounded() / 100)") }
        var document = JSONObject()
        document["version"] = .string(Backend.version)
        document["seeds"] = .integer(totals.seeds)
        document["seedsPerSecond"] = number(Double(totals.seeds) / seconds)
        document["simulatedHours"] = number(Double(totals.milliseconds) / 3_600_000)
        document["simulatedHoursPerMinute"] = number(Double(totals.milliseconds) / 60_000 / seconds)
        document["steps"] = .integer(totals.steps)
        document["orders"] = .integer(totals.orders)
        document["venueOrders"] = .integer(totals.accepted)
        document["hash"] = .string(String(totals.hash, radix: 16))
        document["violation"] = .null
        if let failure, let violation = failure.violations.first {
            var one = JSONObject()
            one["seed"] = .string("\(failure.seed)")
            one["configuration"] = .string(failure.plan.text)
            one["predicate"] = .string(violation.predicate)
            one["evidence"] = .string(violation.evidence)
            one["milliseconds"] = .integer(Int(violation.milliseconds))
            one["trace"] = .array(failure.trace.map { .string($0) })
            one["replay"] = .string(replay(failure))
            document["violation"] = .object(one)
        }
        var marks = JSONObject()
        for (name, count) in totals.marks.sorted(by: { $0.key < $1.key }) { marks[name] = .integer(count) }
        document["marks"] = .object(marks)
        document["unmarked"] = .array(
            Mark.allCases.filter { totals.marks[$0.rawValue] == nil }.map { .string($0.rawValue) }
        )
        show(String(decoding: JSONValue.object(document).serialized(pretty: false), as: UTF8.self))
    }
}

/// The seeds of a run, handed out one by one, and what came of them.
final class Tally: Sendable {
    struct Totals {
        var seeds = 0
        var milliseconds: Int64 = 0
        var steps = 0
        var orders = 0
        var accepted = 0
        /// Of everything that happened in all of them, whichever ended first.
        var hash: UInt64 = 0
        var marks: [String: Int] = [:]
    }

    private struct State {
        var next: UInt64
        var totals = Totals()
        var failure: SimulationOutcome?
    }

    private let state: Locked<State>
    private let end: UInt64
    private let options: SimulationOptions

    init(first: UInt64, count: UInt64, options: SimulationOptions) {
        state = Locked(State(next: first))
        end = first + count
        self.options = options
    }

    var totals: Totals { state.withLock { $0.totals } }
    /// The failed seed with the lowest number of those that ran.
    var failure: SimulationOutcome? { state.withLock { $0.failure } }

    func work(_ say: @Sendable (String) -> Void) async {
        while let seed = take() {
            let outcome = await Simulation.run(seed: seed, options: options)
            let count = state.withLock { state in
                state.totals.seeds += 1
                state.totals.milliseconds += outcome.milliseconds
                state.totals.steps += outcome.steps
                state.totals.orders += outcome.orders
                state.totals.accepted += outcome.accepted
                state.totals.hash &+= outcome.hash &* (2 * seed + 1)
                for (name, number) in outcome.marks { state.totals.marks[name, default: 0] += number }
                if !outcome.violations.isEmpty, state.failure.map({ seed < $0.seed }) ?? true {
                    state.failure = outcome
                }
                return state.totals.seeds
            }
            if count % 50 == 0 { say("\(count) seeds") }
        }
    }

    private func take() -> UInt64? {
        state.withLock { state in
            guard state.next < end, state.failure == nil else { return nil }
            defer { state.next += 1 }
            return state.next
        }
    }
}
