// How a process uses the queue. Defaults and ranges: QUEUE.md 17.
public import OrderEngine
public import RedisClient

public struct BullQueueOptions: Sendable {
    public var address: RedisAddress
    /// Names this life of the process in tokens.
    public var worker: WorkerID
    /// Shown by CLIENT LIST: `so:<role>:<worker>`.
    public var role = "worker"
    /// No `:`.
    public var deployment: String
    public var generation: Int64
    /// One of `QueuePartitions.allowedCounts`, the same in the whole deployment.
    public var partitions = 8
    /// 3,000 to 5,000 in production; tests may use less.
    public var leaseMs = 3_000
    public var heartbeatMs = 1_000
    /// How often a server's eviction policy is looked at (RELIABILITY.md 3.3).
    public var policyLookMs: Int64 = 10_000
    public var keepCompletedMs = 900_000
    public var keepCompletedMax = 100_000
    /// Of `targets` and of `housekeeping`, per queue; `stops` have no limit.
    public var maxWaiting = 200_000
    public var events = QueueEvents.full
    /// Called on the lease thread for jobs that others have taken over: their handlers stop at the next step. Must not
    /// block.
    public var onLost: @Sendable ([TakenJob]) -> Void = { _ in }

    public init(address: RedisAddress, worker: WorkerID, deployment: String, generation: Int64) {
        self.address = address
        self.worker = worker
        self.deployment = deployment
        self.generation = generation
    }
}

/// What the queue counted since it was made, for metrics (QUEUE.md 16).
public struct QueueCounters: Hashable, Sendable {
    /// Takes that were asked again because the reply was lost.
    public var takesReplayed = 0
    /// Acknowledgements accepted after the lease.
    public var finishesLate = 0
    public var lost = 0
    public var stalledRecovered = 0
    public var bodiesMissing = 0
    public var undecodable = 0
    public var markersRepaired = 0
    public var intrudersRemoved = 0
    /// Jobs delivered with a crash count of 2 or more.
    public var suspects = 0
    public var offersRefused = 0
}
