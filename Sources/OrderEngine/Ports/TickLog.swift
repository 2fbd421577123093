// The stream of prices: Redis streams in production. Disposable: what is lost is found in the persisted extremes.
public import SmartOrders

/// A price in units of 10^-`Instrument.priceDecimals`, as it travels on the hot path.
public struct RawTick: Hashable, Sendable {
    public let position: TickPosition
    public let price: Int64
    /// Microseconds since 1970 at which the feed received it; 0 when unknown.
    public let receivedAt: Int64
    public init(position: TickPosition, price: Int64, receivedAt: Int64) {
        self.position = position
        self.price = price
        self.receivedAt = receivedAt
    }
}

/// One market's prices from one source.
public struct PriceSeries: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let market: MarketID
    public let source: TriggerSource
    public init(market: MarketID, source: TriggerSource) {
        self.market = market
        self.source = source
    }
    public static func < (left: PriceSeries, right: PriceSeries) -> Bool {
        left.market == right.market ? left.source.rawValue < right.source.rawValue : left.market < right.market
    }
    /// The symbol alone: it is asked at every tick, and the same symbol of other venues is rare.
    public func hash(into hasher: inout Hasher) { hasher.combine(market.symbol) }
    public var description: String { "\(market):\(source.rawValue)" }
}

public struct TickLogError: Error, Hashable, Sendable, CustomStringConvertible {
    public let detail: String
    public init(_ detail: String) { self.detail = detail }
    public var description: String { detail }
}

public protocol TickLog: Sendable {
    /// Appends ticks in order of position; a position at or before the last one is dropped.
    func append(_ ticks: [RawTick], to series: PriceSeries) async throws(TickLogError)
    /// Ticks after each position, in order, at most `limit` per series; waits up to `waitMs` when there is none.
    /// `oldest` is the position of the oldest entry that the stream still holds: if it is after the asked position, what
    /// lies between must come from the persisted extremes.
    func read(
        _ after: [PriceSeries: TickPosition],
        limit: Int,
        waitMs: Int64,
    ) async throws(TickLogError) -> [PriceSeries: TickBatch]
    /// Drops the ticks of a series up to and including `position`: the persisted extremes know more of that time by now.
    func drop(through position: TickPosition, of series: PriceSeries) async throws(TickLogError)
    /// The newest tick of a series.
    func latest(_ series: PriceSeries) async throws(TickLogError) -> RawTick?

    /// Tells whoever watches these orders' shards that their rows changed.
    func notifyChanged(_ orders: [OrderID]) async throws(TickLogError)
    /// Orders named since the last call; waits up to `waitMs`. Lossy: `OrderStore.changes` is the truth.
    func changedOrders(waitMs: Int64) async throws(TickLogError) -> [OrderID]

    /// How far a worker is with each series in which it watches orders, for a stepped replay. Forgotten after 3 s.
    func reportProgress(_ progress: [EvaluationProgress], shards: Int, worker: WorkerID) async throws(TickLogError)
    /// What every live worker last said of a series; a worker that watches nothing in it is at its end.
    func progress(_ series: PriceSeries) async throws(TickLogError) -> [EvaluationProgress]
}

public struct TickBatch: Hashable, Sendable {
    public let ticks: [RawTick]
    public let oldest: TickPosition?
    public init(ticks: [RawTick], oldest: TickPosition?) {
        self.ticks = ticks
        self.oldest = oldest
    }
}

/// How far one worker has evaluated one series.
public struct EvaluationProgress: Hashable, Sendable {
    public let series: PriceSeries
    public let position: TickPosition
    /// Crossings and orders with unanswered venue requests.
    public let open: Int
    /// Orders that it watches in the series.
    public let orders: Int
    /// Shards that the worker holds, of all series.
    public let shards: Int
    /// Of `open`: those that wait for the venue alone. Not told across processes.
    public let unanswered: Int
    /// The versions at which its orders are known, summed up. Only where every batch is reported; not told across
    /// processes.
    public let versions: Int64
    public init(
        series: PriceSeries,
        position: TickPosition,
        open: Int,
        orders: Int,
        shards: Int,
        unanswered: Int = 0,
        versions: Int64 = 0,
    ) {
        self.series = series
        self.position = position
        self.open = open
        self.orders = orders
        self.shards = shards
        self.unanswered = unanswered
        self.versions = versions
    }
}
