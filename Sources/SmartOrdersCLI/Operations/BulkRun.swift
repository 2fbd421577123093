// A bulk operation: list, then page by page check, ask, settle. Killed anywhere and started again with its id, each job
// moves once (QUEUE.md 11.1).
import JSONText
import OrderEngine
import OrderStorage
import SmartOrders
import TriggerQueue

struct BulkRun: Sendable {
    /// What becomes of each job.
    struct Work: Sendable {
        var kind: BulkOperation.Kind
        var state: JobState
        var resetsAttempts = false
        var delayMs: Int64 = 0
        var target: JobClass?
        /// Jobs per second; 0: as fast as it goes.
        var rate = 0
    }

    static let page = 500

    let desk: Operator
    let id: String
    let work: Work

    /// Counts and samples of what would be touched, without touching it.
    struct Preview: Sendable {
        var matched = 0
        var errors: [String: Int] = [:]
        var statuses: [String: Int] = [:]
        var samples: [JobRecord] = []

        func tellAll() {
            show("matched \(matched)")
            for (code, count) in errors.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
                show("  error \(code): \(count)")
            }
            for (status, count) in statuses.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
                show("  order \(status): \(count)")
            }
            for job in samples { show("  sample \(job.queue) \(job.id) \(job.reason ?? "")") }
        }
    }

    static func preview(_ desk: Operator, _ filter: JobFilter, _ state: JobState) async throws -> Preview {
        var preview = Preview()
        try await filter.find(desk, state) { jobs in
            preview.matched += jobs.count
            let orders = try await Self.orders(of: jobs.map(\.id), desk)
            for job in jobs {
                preview.errors[job.errorCode ?? "-", default: 0] += 1
                let status = JobID(job.id).flatMap { orders[$0.order] }.map(\.statusName) ?? "unknown"
                preview.statuses[status, default: 0] += 1
            }
            preview.samples += jobs.prefix(5 - preview.samples.count)
        }
        return preview
    }

    /// Stores what is to be done; may be repeated until it is complete.
    /// - Parameter work: what whoever goes on with it is to do, if it is not said again then.
    func list(_ filter: JobFilter, reason: String, work record: JSONObject? = nil) async throws {
        let cutoff = try await desk.queue.serverTime()
        var json = filter.json
        if let record { json["work"] = .object(record) }
        try await desk.store.begin(
            id,
            work.kind,
            filter: "\(JSONValue.object(json))",
            cutoffMs: cutoff,
            actor: desk.name,
            reason: reason,
        )
        try await filter.find(desk, work.state) { jobs in
            try await desk.store.add(jobs.map { BulkItem(queue: "\($0.queue)", job: $0.id) }, to: id)
        }
        try await desk.store.set(.running, of: id)
    }

    /// Does what is left, and returns the operation as it ended.
    func run(
        _ operation: BulkOperation,
        clock: SystemClock,
        _ told: (String) -> Void,
    ) async throws -> BulkOperation {
        let begun = clock.monotonicNanoseconds()
        var done = 0
        while true {
            let items = try await desk.store.openItems(of: id, limit: Self.page)
            if items.isEmpty { break }
            var outcomes: [(item: BulkItem, outcome: BulkItem.Outcome)] = []
            for (name, group) in Dictionary(grouping: items, by: \.queue).sorted(by: { $0.key < $1.key }) {
                guard let queue = QueueAddress(name) else {
                    outcomes += group.map { ($0, .failed) }
                    continue
                }
                outcomes += try await handle(group, in: queue, cutoff: operation.cutoffMs)
            }
            try await desk.store.settle(outcomes)
            done += items.count
            told("\(id): \(done) of \(operation.matched)")
            if work.rate > 0 {
                let due = Int64(done) * 1_000_000_000 / Int64(work.rate)
                let late = due - (clock.monotonicNanoseconds() - begun)
                if late > 0 { try await clock.sleep(milliseconds: late / 1_000_000) }
            }
        }
        try await desk.store.set(.done, of: id)
        return try await desk.store.operation(id) ?? operation
    }

    func audit(_ ended: BulkOperation) async throws {
        try await desk.audit(
            "jobs.\(work.kind.rawValue)",
            id,
            reason: ended.reason,
            [
                "matched": .integer(ended.matched), "moved": .integer(ended.moved),
                "obsolete": .integer(ended.obsolete), "duplicate": .integer(ended.duplicate),
                "failed": .integer(ended.failed), "batch": .string(id),
            ],
        )
    }

    private func handle(
        _ items: [BulkItem],
        in queue: QueueAddress,
        cutoff: Int64,
    ) async throws -> [(item: BulkItem, outcome: BulkItem.Outcome)] {
        var outcomes: [(item: BulkItem, outcome: BulkItem.Outcome)] = []
        var wanted = items
        if work.kind == .requeue {
            let orders = try await Self.orders(of: items.map(\.job), desk)
            let obsolete = items.filter { Self.isObsolete($0.job, orders) }
            if !obsolete.isEmpty {
                _ = try await desk.queue.discard(obsolete.map(\.job), .dead, in: queue)
                try await desk.store.discard(obsolete.map(\.job))
                outcomes += obsolete.map { ($0, .obsolete) }
                let gone = Set(obsolete)
                wanted = items.filter { !gone.contains($0) }
            }
        }
        if wanted.isEmpty { return outcomes }
        try await desk.store.markSent(wanted)
        let ids = wanted.map(\.job)
        switch work.kind {
        case .requeue:
            let codes = try await desk.queue.requeue(
                ids,
                in: queue,
                cutoffMs: cutoff,
                resetsAttempts: work.resetsAttempts,
                delayMs: work.delayMs,
                to: work.target,
            )
            for (item, code) in zip(wanted, codes) {
                switch code {
                case .moved: outcomes.append((item, .moved))
                // Who was asked before and is dead no more moved with this operation; so did who died again since.
                case .notDead, .diedLater: outcomes.append((item, item.isSent ? .moved : .duplicate))
                case .unknown: outcomes.append((item, item.isSent ? .moved : .failed))
                }
            }
            try await desk.store.reopen(ids, resetsCrashes: work.resetsAttempts)
        case .discard:
            let state: DiscardableState =
                switch work.state {
                case .completed: .completed
                case .delayed, .retry: .delayed
                case .waiting, .active: .waiting
                case .dead: .dead
                }
            for (item, code) in zip(wanted, try await desk.queue.discard(ids, state, in: queue)) {
                switch code {
                case .removed: outcomes.append((item, .moved))
                case .elsewhere: outcomes.append((item, .failed))
                case .unknown: outcomes.append((item, item.isSent ? .moved : .failed))
                }
            }
            try await desk.store.discard(outcomes.filter { $0.outcome == .moved }.map(\.item.job))
        case .promote:
            for (item, moved) in zip(wanted, try await desk.queue.promote(ids, in: queue)) {
                outcomes.append((item, moved || item.isSent ? .moved : .duplicate))
            }
        }
        return outcomes
    }

    private static func orders(of jobs: [String], _ desk: Operator) async throws -> [OrderID: StoredOrder] {
        let ids = Set(jobs.compactMap { JobID($0)?.order }).sorted()
        if ids.isEmpty { return [:] }
        return Dictionary(
            try await desk.orders.load(ids).map { ($0.id, $0) },
            uniquingKeysWith: { first, _ in first },
        )
    }

    /// Nobody would act on it: the order is over, or the attempt was made.
    static func isObsolete(_ job: String, _ orders: [OrderID: StoredOrder]) -> Bool {
        guard let id = JobID(job) else { return false }
        guard let order = orders[id.order] else { return true }
        if order.isTerminal { return true }
        switch id.leg {
        // Duties of the whole order; later work decides by the attempt's own state.
        case .timer, .reconcile: return false
        default: return id.check == nil && id.attempt <= order.lastAttempt(of: id.leg)
        }
    }
}
