// What operators' commands on the queue have in common: connections, safety questions, audit rows.
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TriggerQueue

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Where, and how carefully.
struct OperatorOptions: ParsableArguments {
    @OptionGroup var connections: ConnectionOptions
    @Option(help: "Why; goes into the audit row.")
    var reason: String?
    @Flag(help: "Says what would happen, changes nothing.")
    var dryRun = false
    @Flag(help: "Does not ask.")
    var yes = false
    @Flag(help: "Any question is a failure.")
    var noInput = false

    func reason(when isRequired: Bool) throws -> String {
        guard isRequired, !dryRun, reason?.isEmpty ?? true else { return reason ?? "" }
        throw Failure(.usage, "REASON_REQUIRED", "more than one thing changes: say why.", hint: "--reason TEXT")
    }

    /// Asks on a terminal; elsewhere `--yes` is needed. One thing is changed without a question.
    func confirm(_ count: Int, _ sentence: String) throws {
        if count <= 1 || yes { return }
        guard !noInput, isatty(STDIN_FILENO) == 1 else {
            throw Failure(.usage, "CONFIRMATION_REQUIRED", "\(sentence): not without a yes.", hint: "--yes")
        }
        tell("\(sentence). Go on? [y/N]")
        guard readLine()?.lowercased().hasPrefix("y") ?? false else {
            throw Failure(.refused, "NOT_CONFIRMED", "nothing was changed.")
        }
    }
}

/// An operator's connections to both stores.
struct Operator: Sendable {
    let queue: BullQueue
    let store: PostgresOperationStore
    let orders: PostgresOrderStore
    let pool: PostgresPool
    let name: String

    /// Who is asking, for the audit row.
    static var presentName: String { environment("SMARTORDERS_OPERATOR") ?? environment("USER") ?? "operator" }

    /// Runs `body` with connections that end with it.
    static func with<Result: Sendable>(
        _ options: OperatorOptions,
        _ body: (Operator) async throws -> Result,
    ) async throws -> Result {
        let pool = try Backend.pool(try options.connections.databaseURL())
        let history: DatabaseHistory
        do {
            try await Migrator(pool: pool, binaryVersion: Backend.version).validate()
            history = try await DatabaseHistory.check(pool)
        } catch {
            await pool.close()
            throw Backend.databaseFailure(error)
        }
        let queue = try queue(options, partitions: history.queuePartitions, generation: history.queueGeneration)
        defer { queue.close() }
        do {
            try await reach(queue)
            let result = try await body(
                Operator(
                    queue: queue,
                    store: PostgresOperationStore(pool: pool),
                    orders: PostgresOrderStore(pool: pool, incarnation: history.incarnation, began: history.began),
                    pool: pool,
                    name: presentName,
                )
            )
            await pool.close()
            return result
        } catch {
            await pool.close()
            switch error {
            case let error as QueueError: throw failure(error)
            case is StoreError: throw Backend.databaseFailure(error)
            default: throw error
            }
        }
    }

    static func queue(_ options: OperatorOptions, partitions: Int, generation: Int64) throws -> BullQueue {
        var settings = BullQueueOptions(
            address: try Backend.address(try options.connections.redisURL()),
            worker: WorkerID("operator-\(getpid())"),
            deployment: Deployment(database: "", redis: "").name,
            generation: generation,
        )
        settings.role = "operator"
        settings.partitions = partitions
        return BullQueue(settings, clock: SystemClock())
    }

    static func reach(_ queue: BullQueue) async throws {
        var patience = 20
        while true {
            do throws(QueueError) {
                _ = try await queue.serverTime()
                return
            } catch {
                patience -= 1
                if patience == 0 { throw error }
            }
            try await Task.sleep(nanoseconds: 100_000_000)
        }
    }

    private static func failure(_ error: QueueError) -> Failure {
        switch error.code {
        case .unavailable, .outcomeUnknown:
            Failure(.unreachable, "REDIS_UNREACHABLE", error.detail, hint: "is Redis running at the given address?")
        case .closed:
            Failure(
                .conflict,
                "QUEUE_CLOSED",
                error.detail,
                hint: "a scheduler opens it; or: smartorders redis rebuild",
            )
        case .full: Failure(.conflict, "REDIS_FULL", error.detail)
        case .badArgument: Failure(.usage, "REFUSED", error.detail)
        }
    }

    func audit(_ action: String, _ subject: String, reason: String, _ detail: JSONObject) async throws {
        try await store.audit(
            actor: name,
            action: action,
            subject: subject,
            reason: reason,
            detail: "\(JSONValue.object(detail))",
        )
    }

    /// Reads `stops-03`, `stops`, `03` or `all`.
    func queues(_ selector: String) throws -> [QueueAddress] {
        let all = queue.queues
        if selector == "all" { return all }
        if let one = QueueAddress(selector), all.contains(one) { return [one] }
        if let jobClass = JobClass(rawValue: selector) { return all.filter { $0.jobClass == jobClass } }
        if selector.utf8.count == 2, let partition = Int(selector) {
            let found = all.filter { $0.partition == partition }
            if !found.isEmpty { return found }
        }
        throw Failure(.notFound, "NO_QUEUE", "\(selector) is no queue.", hint: "stops-03, stops, 03 or all")
    }
}

/// Reads `30s`, `10m`, `2h`, `500ms`.
func milliseconds(_ text: String) throws -> Int64 {
    let units: [(String, Int64)] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
    for (unit, factor) in units where text.hasSuffix(unit) {
        if let number = Int64(text.dropLast(unit.count)), number >= 0, number <= 1 << 50 / factor {
            return number * factor
        }
    }
    throw Failure(.usage, "DURATION", "\(text) is no duration.", hint: "for example 30s, 10m, 2h")
}
