// Waiting for markers on a connection of its own (QUEUE.md 7.3).
//
// On one server one BZPOPMIN waits for all markers; on a cluster each partition has a lane of its own.
//
// Invariants: at most one BZPOPMIN is out per lane; it ends after a second at the server, 1.5 s at the client. Markers are popped
// only while somebody waits, or after a cancelled wait: a worker without a free slot leaves them to others. What was
// popped stays in `woken` until the next take.
internal import OwnerThread
internal import RedisClient

final class WakeUps: Sendable {
    private struct State {
        var woken: Set<Int> = []
        /// Lanes whose call is out.
        var out: Set<Int> = []
        var isClosed = false
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter: UInt64 = 0
    }

    private struct Lane: Sendable {
        let connection: RedisRouter
        let batch: RedisBatch
        let slot: Int
    }

    private let lanes: [Lane]
    private let partitionOfMarker: [String: Int]
    private let state = Locked(State())

    /// - Parameters:
    ///   - lanes: 1, or one per partition.
    ///   - connect: makes a connection for blocking calls, used by nobody else.
    init(keys: [PartitionKeys], lanes: Int, _ connect: () -> RedisRouter) {
        var partitions: [String: Int] = [:]
        for (partition, keys) in keys.enumerated() {
            for marker in keys.markers { partitions[marker] = partition }
        }
        partitionOfMarker = partitions
        let groups = lanes == 1 ? [keys] : keys.map { [$0] }
        self.lanes = groups.map { group in
            var batch = RedisBatch()
            batch.begin("BZPOPMIN")
            // All stops first.
            for position in 0..<3 {
                for keys in group { batch.append(keys.markers[position]) }
            }
            batch.append("1")
            return Lane(connection: connect(), batch: batch, slot: group[0].slot)
        }
    }

    var isConnected: Bool { lanes.allSatisfy(\.connection.isReady) }

    func close() {
        for lane in lanes { lane.connection.close() }
        let waiters = state.withLock { state in
            state.isClosed = true
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Ends the waits: there is something that no marker tells of.
    func ring() {
        let waiters = state.withLock { state in
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
                let mustAsk: [Int]? = state.withLock { state in
                    if !state.woken.isEmpty || state.isClosed || Task.isCancelled { return nil }
                    state.waiters[ticket] = continuation
                    defer { state.out = Set(lanes.indices) }
                    return lanes.indices.filter { !state.out.contains($0) }
                }
                guard let mustAsk else { return continuation.resume() }
                for lane in mustAsk { ask(lane) }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: ticket) }?.resume()
        }
    }

    private func ask(_ number: Int) {
        let lane = lanes[number]
        lane.connection.submit(lane.batch, slot: lane.slot, timeout: .milliseconds(1_500)) { [weak self] result in
            self?.answered(result, number)
        }
    }

    private func answered(_ result: Result<RedisReplies, RedisError>, _ number: Int) {
        var partition: Int?
        if case .success(let replies) = result, let key = replies.values.first?.array?.first?.text {
            partition = partitionOfMarker[key]
        }
        // A failure wakes too: the take that follows finds out and decides; waiting here would hide it. Of several lanes
        // the last one does, when a second is over.
        let waiters = state.withLock { state in
            state.out.remove(number)
            if let partition { state.woken.insert(partition) }
            guard partition != nil || state.out.isEmpty else { return [UInt64: CheckedContinuation<Void, Never>]() }
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume() }
    }
}
