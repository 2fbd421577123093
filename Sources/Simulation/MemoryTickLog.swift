// The stream of prices in memory: what Redis streams do, with a bounded length, and lost on demand.
package import OrderEngine
internal import OwnerThread
package import SmartOrders

/// The place that the tick logs of all processes of a test share.
package final class MemoryTickServer: Sendable {
    enum Topic { case ticks, changes }

    struct State {
        var streams: [PriceSeries: [RawTick]] = [:]
        var changed: [OrderID] = []
        var progress: [WorkerID: [EvaluationProgress]] = [:]
        var isAway = false
        /// In the order in which they came.
        var waiting: [Waiting] = []
        var nextWaiter: UInt64 = 0

        mutating func append(_ ticks: [RawTick], to series: PriceSeries, keeping length: Int) {
            Self.append(ticks, to: &streams[series, default: []], keeping: length)
        }

        private static func append(_ ticks: [RawTick], to stream: inout [RawTick], keeping length: Int) {
            for tick in ticks where stream.last.map({ $0.position < tick.position }) ?? true { stream.append(tick) }
            if stream.count > length { stream.removeFirst(stream.count - length) }
        }

        mutating func forget(_ ticket: UInt64) -> Waiter? {
            guard let place = waiting.firstIndex(where: { $0.ticket == ticket }) else { return nil }
            return waiting.remove(at: place).waiter
        }
    }

    /// Somebody who is woken when what he waits for is there.
    struct Waiting {
        let topic: Topic
        let ticket: UInt64
        let waiter: Waiter
        let isReady: @Sendable (State) -> Bool
    }

    enum Waiter {
        case sleeper(Simulator, UInt64)
        case continuation(CheckedContinuation<Void, Never>)

        func wake() {
            switch self {
            case .sleeper(let simulator, let number): simulator.wake(number)
            case .continuation(let continuation): continuation.resume()
            }
        }
    }

    let state = Locked(State())
    let clock: any EngineClock
    /// Sleepers of a simulation are woken; others are raced.
    let simulator: Simulator?
    let length: Int
    let flaws: Flaws
    /// Told of every tick.
    let watcher: (any StreamWatcher)?

    /// - Parameter length: ticks that a stream keeps.
    package convenience init(clock: any EngineClock, length: Int = 100_000) {
        self.init(clock: clock, length: length, watcher: nil, flaws: Flaws(mutant: nil))
    }

    init(clock: any EngineClock, length: Int, watcher: (any StreamWatcher)?, flaws: Flaws) {
        self.flaws = flaws
        self.clock = clock
        simulator = (clock as? ProcessClock)?.simulator
        self.length = length
        self.watcher = watcher
    }

    package func setAway(_ isAway: Bool) { state.withLock { $0.isAway = isAway } }

    /// Forgets everything, as a flushed Redis does.
    package func loseAll() {
        state.withLock { $0.streams = [:] }
        watcher?.streamsLost()
    }
}

/// One process's view.
package final class MemoryTickLog: TickLog {
    private typealias State = MemoryTickServer.State
    private let server: MemoryTickServer
    private let link: MemoryLink<TickLogError>
    /// Notices that this process has seen.
    private let seen = Locked(0)

    package init(_ server: MemoryTickServer, link: MemoryLink<TickLogError> = .perfect) {
        self.server = server
        self.link = link
    }

    private func locked<Value>(
        _ call: StaticString,
        _ body: (inout State) -> Value,
    ) async throws(TickLogError) -> Value {
        try await link.carry(call) { () throws(TickLogError) in try here(body) }
    }

    private func here<Value>(_ body: (inout State) -> Value) throws(TickLogError) -> Value {
        try server.state.withLock { state throws(TickLogError) in
            if state.isAway { throw TickLogError("the stream is away") }
            return body(&state)
        }
    }

    package func append(_ ticks: [RawTick], to series: PriceSeries) async throws(TickLogError) {
        try await link.carry("append") { () throws(TickLogError) in
            let waiting = try here { state in
                state.append(ticks, to: series, keeping: server.length)
                return Self.take(.ticks, &state)
            }
            server.watcher?.streamed(series, ticks)
            for one in waiting { one.wake() }
        }
    }

    package func drop(through position: TickPosition, of series: PriceSeries) async throws(TickLogError) {
        try await locked("drop") { $0.streams[series]?.removeAll { $0.position <= position } }
    }

    package func read(
        _ after: [PriceSeries: TickPosition],
        limit: Int,
        waitMs: Int64,
    ) async throws(TickLogError) -> [PriceSeries: TickBatch] {
        let until = server.clock.monotonicNanoseconds() + waitMs * 1_000_000
        try await link.go("read")
        while true {
            let batches = try here { state in
                var batches: [PriceSeries: TickBatch] = [:]
                for (series, position) in after {
                    let stream = state.streams[series] ?? []
                    let start = Self.firstIndex(in: stream, after: position)
                    var ticks = Array(stream[start...].prefix(limit))
                    if server.flaws.contains(.latestPriceOnly) { ticks = ticks.suffix(1) }
                    if !ticks.isEmpty || waitMs == 0 {
                        batches[series] = TickBatch(ticks: ticks, oldest: stream.first?.position)
                    }
                }
                return batches
            }
            let left = until - server.clock.monotonicNanoseconds()
            if !batches.isEmpty || left <= 0 || Task.isCancelled {
                try await link.comeBack("read")
                return batches
            }
            await wait(for: .ticks, nanoseconds: left) { state in
                after.contains { series, position in (state.streams[series]?.last?.position ?? .start) > position }
            }
        }
    }

    private static func firstIndex(in stream: [RawTick], after position: TickPosition) -> Int {
        var low = 0
        var high = stream.count
        while low < high {
            let middle = (low + high) / 2
            if stream[middle].position <= position { low = middle + 1 } else { high = middle }
        }
        return low
    }

    package func latest(_ series: PriceSeries) async throws(TickLogError) -> RawTick? {
        try await locked("latest") { $0.streams[series]?.last }
    }

    package func notifyChanged(_ orders: [OrderID]) async throws(TickLogError) {
        try await link.carry("notifyChanged") { () throws(TickLogError) in
            let waiting = try here { state in
                if !server.flaws.contains(.changesMissed) { state.changed += orders }
                return Self.take(.changes, &state)
            }
            for one in waiting { one.wake() }
        }
    }

    package func changedOrders(waitMs: Int64) async throws(TickLogError) -> [OrderID] {
        let until = server.clock.monotonicNanoseconds() + waitMs * 1_000_000
        try await link.go("changedOrders")
        while true {
            let changed = try here { state in
                seen.withLock { seen in
                    defer { seen = state.changed.count }
                    return Array(state.changed[min(seen, state.changed.count)...])
                }
            }
            let left = until - server.clock.monotonicNanoseconds()
            if !changed.isEmpty || left <= 0 || Task.isCancelled {
                try await link.comeBack("changedOrders")
                return changed
            }
            await wait(for: .changes, nanoseconds: left) { state in self.seen.withLock { $0 < state.changed.count } }
        }
    }

    package func reportProgress(
        _ progress: [EvaluationProgress],
        shards: Int,
        worker: WorkerID,
    ) async throws(TickLogError) {
        // Only whoever steps a replay reads it: nothing goes wrong on its way.
        try here { $0.progress[worker] = progress }
    }

    package func progress(_ series: PriceSeries) async throws(TickLogError) -> [EvaluationProgress] {
        try await locked("progress") { state in
            state.progress.sorted { $0.key < $1.key }.flatMap(\.value).filter { $0.series == series }
        }
    }

    // MARK: Waiting

    /// Who has what he waits for, as a blocking read of a stream returns for its own keys alone.
    private static func take(
        _ topic: MemoryTickServer.Topic,
        _ state: inout State,
    ) -> [MemoryTickServer.Waiter] {
        var woken: [MemoryTickServer.Waiter] = []
        var left: [MemoryTickServer.Waiting] = []
        for waiting in state.waiting {
            if waiting.topic == topic, waiting.isReady(state) {
                woken.append(waiting.waiter)
            } else {
                left.append(waiting)
            }
        }
        if !woken.isEmpty { state.waiting = left }
        return woken
    }

    /// Returns when somebody was told, the time is over, or `isReady` at once.
    private func wait(
        for topic: MemoryTickServer.Topic,
        nanoseconds: Int64,
        isReady: @escaping @Sendable (State) -> Bool,
    ) async {
        let ticket: UInt64? = server.state.withLock { state in
            if isReady(state) { return nil }
            state.nextWaiter += 1
            return state.nextWaiter
        }
        guard let ticket else { return }
        let server = server
        if let simulator = server.simulator {
            let number = simulator.newSleeper()
            let waiting = MemoryTickServer.Waiting(
                topic: topic,
                ticket: ticket,
                waiter: .sleeper(simulator, number),
                isReady: isReady,
            )
            server.state.withLock { $0.waiting.append(waiting) }
            _ = await simulator.sleep(nanoseconds: nanoseconds, as: number)
            _ = server.state.withLock { $0.forget(ticket) }
            return
        }
        await withTaskGroup { group in
            group.addTask {
                await withTaskCancellationHandler {
                    await withCheckedContinuation { continuation in
                        let isOver = server.state.withLock { state in
                            if Task.isCancelled { return true }
                            let waiting = MemoryTickServer.Waiting(
                                topic: topic,
                                ticket: ticket,
                                waiter: .continuation(continuation),
                                isReady: isReady,
                            )
                            state.waiting.append(waiting)
                            return false
                        }
                        if isOver { continuation.resume() }
                    }
                } onCancel: {
                    server.state.withLock { $0.forget(ticket) }?.wake()
                }
            }
            group.addTask {
                do { try await server.clock.sleep(milliseconds: (nanoseconds + 999_999) / 1_000_000) } catch {}
            }
            await group.next()
            group.cancelAll()
        }
    }
}
