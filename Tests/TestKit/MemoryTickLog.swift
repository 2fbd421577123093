// The stream of prices in memory: what Redis streams do, with a bounded length, and lost on demand.
package import OrderEngine
internal import OwnerThread
package import SmartOrders

/// The place that the tick logs of all processes of a test share.
package final class MemoryTickServer: Sendable {
    struct State {
        var streams: [PriceSeries: [RawTick]] = [:]
        var changed: [OrderID] = []
        var firstChange = 0
        var progress: [PriceSeries: [WorkerID: EvaluationProgress]] = [:]
        var isAway = false
    }

    let state = Locked(State())
    let clock: any EngineClock
    let length: Int

    /// - Parameter length: ticks that a stream keeps.
    package init(clock: any EngineClock, length: Int = 100_000) {
        self.clock = clock
        self.length = length
    }

    package func setAway(_ isAway: Bool) { state.withLock { $0.isAway = isAway } }

    /// Forgets everything, as a flushed Redis does.
    package func loseAll() { state.withLock { $0.streams = [:] } }
}

/// One process's view.
package final class MemoryTickLog: TickLog {
    private let server: MemoryTickServer
    /// Notices that this process has seen.
    private let seen = Locked(0)

    package init(_ server: MemoryTickServer) {
        self.server = server
    }

    private func locked<Value>(_ body: (inout MemoryTickServer.State) -> Value) throws(TickLogError) -> Value {
        try server.state.withLock { state throws(TickLogError) in
            if state.isAway { throw TickLogError("the stream is away") }
            return body(&state)
        }
    }

    package func append(_ ticks: [RawTick], to series: PriceSeries) async throws(TickLogError) {
        try locked { state in
            var stream = state.streams[series] ?? []
            for tick in ticks where stream.last.map({ $0.position < tick.position }) ?? true { stream.append(tick) }
            if stream.count > server.length { stream.removeFirst(stream.count - server.length) }
            state.streams[series] = stream
        }
    }

    package func read(
        _ after: [PriceSeries: TickPosition],
        limit: Int,
        waitMs: Int64,
    ) async throws(TickLogError) -> [PriceSeries: TickBatch] {
        var waited: Int64 = 0
        while true {
            let batches = try locked { state in
                var batches: [PriceSeries: TickBatch] = [:]
                for (series, position) in after {
                    let stream = state.streams[series] ?? []
                    let start = stream.firstIndex { $0.position > position } ?? stream.count
                    let ticks = Array(stream[start...].prefix(limit))
                    if !ticks.isEmpty || waitMs == 0 {
                        batches[series] = TickBatch(ticks: ticks, oldest: stream.first?.position)
                    }
                }
                return batches
            }
            if !batches.isEmpty || waited >= waitMs || Task.isCancelled { return batches }
            waited += 5
            do { try await server.clock.sleep(milliseconds: 5) } catch { return [:] }
        }
    }

    package func latest(_ series: PriceSeries) async throws(TickLogError) -> RawTick? {
        try locked { $0.streams[series]?.last }
    }

    package func notifyChanged(_ orders: [OrderID]) async throws(TickLogError) {
        try locked { $0.changed += orders }
    }

    package func changedOrders(waitMs: Int64) async throws(TickLogError) -> [OrderID] {
        var waited: Int64 = 0
        while true {
            let changed = try locked { state in
                seen.withLock { seen in
                    defer { seen = state.changed.count }
                    return Array(state.changed[min(seen, state.changed.count)...])
                }
            }
            if !changed.isEmpty || waited >= waitMs || Task.isCancelled { return changed }
            waited += 5
            do { try await server.clock.sleep(milliseconds: 5) } catch { return [] }
        }
    }

    package func reportProgress(
        _ progress: [EvaluationProgress],
        shards: Int,
        worker: WorkerID,
    ) async throws(TickLogError) {
        try locked { state in
            for series in state.progress.keys { state.progress[series]?[worker] = nil }
            for one in progress { state.progress[one.series, default: [:]][worker] = one }
        }
    }

    package func progress(_ series: PriceSeries) async throws(TickLogError) -> [EvaluationProgress] {
        try locked { state in
            (state.progress[series] ?? [:]).sorted { $0.key < $1.key }.map(\.value)
        }
    }
}
