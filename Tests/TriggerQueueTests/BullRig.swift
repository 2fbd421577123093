import LocalServers
import OrderEngine
import OwnerThread
import RedisClient
import TestKit
import TriggerQueue

/// Queues of several workers on one Redis of a test's own.
final class BullRig: JobQueueRig {
    let server: LocalRedis
    let leaseMs: Int64
    let adapt: @Sendable (inout BullQueueOptions) -> Void
    /// For looking at the server behind the queue's back.
    let redis: RedisConnection
    private let queues = Locked<[String: BullQueue]>([:])

    init(
        _ server: LocalRedis,
        leaseMs: Int64 = 600,
        _ adapt: @escaping @Sendable (inout BullQueueOptions) -> Void = { _ in },
    ) throws {
        self.server = server
        self.leaseMs = leaseMs
        self.adapt = adapt
        redis = RedisConnection(try RedisServer.options(server))
    }

    /// Runs `body` with a rig on a new server; all its queues are open.
    static func with(
        leaseMs: Int64 = 600,
        settings: [(name: String, value: String)] = [],
        _ adapt: @escaping @Sendable (inout BullQueueOptions) -> Void = { _ in },
        _ body: (BullRig) async throws -> Void,
    ) async throws {
        try await RedisServer.withServer(settings: settings) { server in
            let rig = try BullRig(server, leaseMs: leaseMs, adapt)
            try await rig.bull("opener").open()
            try await body(rig)
            rig.close()
        }
    }

    func bull(_ worker: String, clock: any EngineClock = RealClock()) async throws -> BullQueue {
        if let known = queues.withLock({ $0[worker] }) { return known }
        var options = BullQueueOptions(
            address: try RedisAddress(url: server.url),
            worker: WorkerID(worker),
            deployment: "test",
            generation: 1,
        )
        options.leaseMs = Int(leaseMs)
        options.heartbeatMs = Int(leaseMs / 3)
        adapt(&options)
        let queue = BullQueue(options, clock: clock)
        queues.withLock { $0[worker] = queue }
        return queue
    }

    func queue(_ worker: String) async throws -> any JobQueue { try await bull(worker) }
    func cutOff(_ worker: String) async throws { queues.withLock { $0.removeValue(forKey: worker) }?.close() }
    func pass(milliseconds: Int64) async throws { try await Task.sleep(for: .milliseconds(milliseconds)) }

    func close() {
        for queue in queues.withLock({ $0.values }) { queue.close() }
    }

    /// Sends one command to the server.
    @discardableResult
    func send(_ words: String...) async throws -> RedisValue {
        var batch = RedisBatch()
        for (index, word) in words.enumerated() { if index == 0 { batch.begin(word) } else { batch.append(word) } }
        return try await redis.send(batch)[0].orThrow()
    }
}
