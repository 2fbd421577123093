// What operators do to queues, whether by command or over HTTP. Each leaves its line of the audit.
import JSONText
import OrderEngine
import OrderStorage
import SmartOrders
import TriggerQueue

extension Operator {
    /// - Parameters:
    ///   - milliseconds: 0: until resumed.
    ///   - told: each queue that is paused.
    func pause(_ selector: String, milliseconds: Int64, reason: String, _ told: (QueueAddress) -> Void) async throws {
        let wanted = try queues(selector)
        try Self.checkPause(wanted, milliseconds: milliseconds)
        for one in wanted {
            try await store.recordPause("\(one)", durationMs: milliseconds, actor: name, reason: reason)
            try await queue.pause(one, durationMs: milliseconds, by: name, reason: reason)
            told(one)
        }
        try await audit(
            "queues.pause",
            selector,
            reason: reason,
            ["queues": .integer(wanted.count), "forMs": .integer(Int(milliseconds))],
        )
    }

    static func checkPause(_ queues: [QueueAddress], milliseconds: Int64) throws {
        guard queues.contains(where: { $0.jobClass == .stops }), milliseconds <= 0 || milliseconds > 900_000 else {
            return
        }
        throw Failure(.refused, "STOPS_NEED_AN_END", "stops are paused for 15 minutes at most.", hint: "--for 15m")
    }

    func resume(_ selector: String, reason: String, _ told: (QueueAddress) -> Void) async throws {
        let wanted = try queues(selector)
        for one in wanted {
            try await store.forgetPause("\(one)")
            try await queue.resume(one)
            told(one)
        }
        try await audit("queues.resume", selector, reason: reason, ["queues": .integer(wanted.count)])
    }

    /// Returns how many were removed.
    func drain(_ selector: String, includesDelayed: Bool, reason: String) async throws -> Int {
        var removed = 0
        for one in try queues(selector) { removed += try await queue.drain(one, includesDelayed: includesDelayed) }
        try await audit("queues.drain", selector, reason: reason, ["removed": .integer(removed)])
        return removed
    }

    func setNote(_ text: String, of code: String, reason: String) async throws {
        try await store.setDeadNote(text, of: code, actor: name)
        try await audit("dead.note", code, reason: reason, ["note": .string(text)])
    }

    // MARK: Rebuild

    struct Rebuilt: Sendable {
        let generation: Int64
        let offered: Int
        let pauses: Int
        let dead: Int
    }

    /// A new generation in the same partitions.
    func rebuild(reason: String) async throws -> Rebuilt {
        let pauses = try await orders.queuePauses()
        let history = try await DatabaseHistory.check(pool)
        // Every call names the generation: whatever was read from the old content is refused from here on.
        let raised = try await DatabaseHistory.raiseGeneration(pool, seen: history.queueGeneration)
        guard let generation = raised else {
            throw Failure(.conflict, "REBUILD_RACE", "somebody else began a generation just now.")
        }
        queue.setGeneration(generation)
        return try await fill(queue, generation, pauses, reason: reason)
    }

    /// Fills an empty generation from PostgreSQL.
    func fill(
        _ queue: BullQueue,
        _ generation: Int64,
        _ pauses: [QueuePause],
        reason: String,
    ) async throws -> Rebuilt {
        try await queue.open(pausing: pauses)
        for pause in pauses {
            guard let one = QueueAddress(pause.queue), queue.queues.contains(one) else { continue }
            try await queue.pause(one, durationMs: pause.leftMs, by: pause.actor, reason: pause.reason)
        }
        var offered = 0
        // Marked rows are not due for a second; the bound ends it when more comes in than goes out.
        for _ in 0..<10_000 {
            let jobs = try await orders.unofferedJobs(limit: 256)
            if jobs.isEmpty { break }
            _ = try await queue.offer(jobs, verify: true)
            try await orders.markOffered(jobs.map(\.id))
            offered += jobs.count
        }
        let dead = try await queue.restoreDead(from: orders)
        try await audit(
            "redis.rebuild",
            "generation \(generation)",
            reason: reason,
            ["offered": .integer(offered), "pauses": .integer(pauses.count), "dead": .integer(dead)],
        )
        return Rebuilt(generation: generation, offered: offered, pauses: pauses.count, dead: dead)
    }
}
