// What a cluster of scenarios puts between its roles and the real ports: a clock that the runner moves, a tick log that
// remembers how far every evaluator is, also while Redis is away, and a feed that publishes what it is told.
import MarketData
import OrderEngine
import OwnerThread
import SmartOrders

/// Tells the scenarios' time; durations stay real.
final class ScenarioClock: EngineClock {
    private let base = SystemClock()
    private let present: Locked<Timestamp>

    init(_ start: Timestamp) { present = Locked(start) }

    func set(_ time: Timestamp) { present.withLock { $0 = time } }
    func now() -> Timestamp { present.withLock { $0 } }
    func monotonicNanoseconds() -> Int64 { base.monotonicNanoseconds() }
    func sleep(milliseconds: Int64) async throws { try await base.sleep(milliseconds: milliseconds) }
}

/// What every evaluator last said of every series.
final class EvaluationBoard: Sendable {
    private let reports = Locked<[WorkerID: [PriceSeries: EvaluationProgress]]>([:])

    func note(_ progress: [EvaluationProgress], of worker: WorkerID) {
        let bySeries = Dictionary(progress.map { ($0.series, $0) }, uniquingKeysWith: { first, _ in first })
        reports.withLock { $0[worker] = bySeries }
    }

    func forget(_ worker: WorkerID) { reports.withLock { $0[worker] = nil } }

    /// Of the workers that watch orders in a series.
    func watchers(of series: PriceSeries) -> [EvaluationProgress] {
        reports.withLock { reports in reports.values.compactMap { $0[series] }.filter { $0.orders > 0 } }
    }
}

/// A tick log whose evaluators report to a board as well.
struct BoardTickLog: TickLog {
    let base: any TickLog
    let board: EvaluationBoard

    func append(_ ticks: [RawTick], to series: PriceSeries) async throws(TickLogError) {
        try await base.append(ticks, to: series)
    }

    func read(
        _ after: [PriceSeries: TickPosition],
        limit: Int,
        waitMs: Int64,
    ) async throws(TickLogError) -> [PriceSeries: TickBatch] {
        try await base.read(after, limit: limit, waitMs: waitMs)
    }

    func drop(through position: TickPosition, of series: PriceSeries) async throws(TickLogError) {
        try await base.drop(through: position, of: series)
    }

    func latest(_ series: PriceSeries) async throws(TickLogError) -> RawTick? { try await base.latest(series) }
    func notifyChanged(_ orders: [OrderID]) async throws(TickLogError) { try await base.notifyChanged(orders) }
    func changedOrders(waitMs: Int64) async throws(TickLogError) -> [OrderID] {
        try await base.changedOrders(waitMs: waitMs)
    }

    func reportProgress(
        _ progress: [EvaluationProgress],
        shards: Int,
        worker: WorkerID,
    ) async throws(TickLogError) {
        board.note(progress, of: worker)
        try await base.reportProgress(progress, shards: shards, worker: worker)
    }

    func progress(_ series: PriceSeries) async throws(TickLogError) -> [EvaluationProgress] {
        try await base.progress(series)
    }
}

/// A feed that is told its ticks one by one.
final class ScenarioSource: TickSource {
    private typealias Publication = (tick: SourcedTick, done: CheckedContinuation<Void, any Error>)
    private let publications: AsyncStream<Publication>
    private let inlet: AsyncStream<Publication>.Continuation

    init() { (publications, inlet) = AsyncStream.makeStream(of: Publication.self) }

    /// Returns when the feed has published it.
    func publish(_ tick: SourcedTick) async throws {
        try await withCheckedThrowingContinuation { done in
            if case .terminated = inlet.yield((tick, done)) { done.resume(throwing: CancellationError()) }
        }
    }

    func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
        for await (tick, done) in publications {
            do {
                try await emit([tick])
                done.resume()
            } catch {
                done.resume(throwing: error)
                throw error
            }
        }
    }
}

/// Gives every scenario random numbers of its own, so that the id of its order is known before it is created.
struct ScenarioRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
