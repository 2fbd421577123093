// Waiting for markers on a connection of its own (QUEUE.md 7.3).
//
// Invariants: at most one BZPOPMIN is out; it ends after a second at the server, 1.5 s at the client. Markers are popped
// only while somebody waits, or after a cancelled wait: a worker without a free slot leaves them to others. What was
// popped stays in `woken` until the next take.
internal import OwnerThread
internal import RedisClient

final class WakeUps: Sendable {
    private struct State {
        var woken: Set<Int> = []
        var isOut = false
        var isClosed = false
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter: UInt64 = 0
    }

    private let connection: RedisConnection
    private let batch: RedisBatch
    private let partitionOfMarker: [String: Int]
    private let state = Locked(State())

    /// - Parameter connection: for blocking calls; used by nobody else.
    init(_ connection: RedisConnection, keys: [PartitionKeys]) {
        self.connection = connection
        var partitions: [String: Int] = [:]
        var batch = RedisBatch()
        batch.begin("BZPOPMIN")
        // All stops first.
        for position in 0..<3 {
            for (partition, keys) in keys.enumerated() {
                partitions[keys.markers[position]] = partition
                batch.append(keys.markers[position])
            }
        }
        batch.append("1")
        self.batch = batch
        partitionOfMarker = partitions
    }

    var isConnected: Bool { connection.status.isReady }

    func close() {
        connection.close()
        let waiters = state.withLock { state in
            state.isClosed = true
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.resume() }
    }

    /// The partitions whose markers came since the last call.
    func collect() -> Set<Int> {
        state.withLock { state in
            defer { state.woken = [] }
            return state.woken
        }
    }

    /// Returns when a marker came, after a second, or when the task is cancelled.
    func wait() async {
        let ticket = state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mustAsk: Bool? = state.withLock { state in
                    if !state.woken.isEmpty || state.isClosed || Task.isCancelled { return nil }
                    state.waiters[ticket] = continuation
                    defer { state.isOut = true }
                    return !state.isOut
                }
                guard let mustAsk else { return continuation.resume() }
                if mustAsk { ask() }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: ticket) }?.resume()
        }
    }

    private func ask() {
        connection.submit(batch, timeout: .milliseconds(1_500), shape: .values) { [weak self] result in
            self?.answered(result)
        }
    }

    private func answered(_ result: Result<RedisReplies, RedisError>) {
        var partition: Int?
        if case .success(let replies) = result, let key = replies.values.first?.array?.first?.text {
            partition = partitionOfMarker[key]
        }
        // A failure wakes too: the take that follows finds out and decides; waiting here would hide it.
        let waiters = state.withLock { state in
            state.isOut = false
            if let partition { state.woken.insert(partition) }
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.resume() }
    }
}
