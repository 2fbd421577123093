// Time in a replay: the time of the newest tick that this process has seen. Recorded prices then meet delays, time exits
// and retries as they would have on their day, and as they do in a backtest.
public import OrderEngine
internal import OwnerThread
public import SmartOrders

/// The newest venue time seen, shared by a tick log that observes it and a clock that tells it.
public final class MarketTime: Sendable {
    private let newest = Locked<Int64>(0)

    public init() {}

    fileprivate func observe(_ microseconds: Int64) {
        newest.withLock { $0 = max($0, microseconds) }
    }

    fileprivate var microseconds: Int64 { newest.withLock { $0 } }
}

/// Tells market time as the wall clock; durations stay real.
public struct MarketClock: EngineClock {
    private let base: any EngineClock
    private let time: MarketTime

    public init(base: any EngineClock, time: MarketTime) {
        self.base = base
        self.time = time
    }

    public func now() -> Timestamp {
        let microseconds = time.microseconds
        return microseconds > 0 ? Timestamp(microseconds: microseconds) : base.now()
    }

    public func monotonicNanoseconds() -> Int64 { base.monotonicNanoseconds() }
    public func sleep(milliseconds: Int64) async throws { try await base.sleep(milliseconds: milliseconds) }
}

/// A tick log that notes the newest tick which passes through it.
public struct ObservedTickLog: TickLog {
    private let base: any TickLog
    private let time: MarketTime

    public init(base: any TickLog, time: MarketTime) {
        self.base = base
        self.time = time
    }

    public func append(_ ticks: [RawTick], to series: PriceSeries) async throws(TickLogError) {
        try await base.append(ticks, to: series)
    }

    public func read(
        _ after: [PriceSeries: TickPosition],
        limit: Int,
        waitMs: Int64,
    ) async throws(TickLogError) -> [PriceSeries: TickBatch] {
        let batches = try await base.read(after, limit: limit, waitMs: waitMs)
        for batch in batches.values { if let last = batch.ticks.last { time.observe(last.position.venueTime) } }
        return batches
    }

    public func drop(through position: TickPosition, of series: PriceSeries) async throws(TickLogError) {
        try await base.drop(through: position, of: series)
    }

    public func latest(_ series: PriceSeries) async throws(TickLogError) -> RawTick? {
        let tick = try await base.latest(series)
        if let tick { time.observe(tick.position.venueTime) }
        return tick
    }

    public func notifyChanged(_ orders: [OrderID]) async throws(TickLogError) {
        try await base.notifyChanged(orders)
    }

    public func changedOrders(waitMs: Int64) async throws(TickLogError) -> [OrderID] {
        try await base.changedOrders(waitMs: waitMs)
    }

    public func reportProgress(
        _ progress: [EvaluationProgress],
        shards: Int,
        worker: WorkerID,
    ) async throws(TickLogError) {
        try await base.reportProgress(progress, shards: shards, worker: worker)
    }

    public func progress(_ series: PriceSeries) async throws(TickLogError) -> [EvaluationProgress] {
        try await base.progress(series)
    }
}
