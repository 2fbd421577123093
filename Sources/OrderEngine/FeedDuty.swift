// The feed role: ticks from a source out to the stream, and their ordered local extremes to PostgreSQL every 500 ms, so
// that water marks survive everything (DESIGN.md 4, RELIABILITY.md 4).
internal import OwnerThread
public import SmartOrders

/// Where ticks come from: a replayed file, a random walk, a venue's socket.
public protocol TickSource: Sendable {
    /// Hands out ticks in order; returns when there are no more. `emit` waits while the feed is busy.
    func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws

    /// What its venue's own history says of a stretch of venue time, in microseconds, both ends inclusive: every tick there
    /// was, in order. Nil: there is no such history.
    /// - Throws: when it does not answer now, or to what is too much for it.
    func history(of series: PriceSeries, from: Int64, to: Int64) async throws -> [RawTick]?
}

extension TickSource {
    public func history(of series: PriceSeries, from: Int64, to: Int64) async throws -> [RawTick]? { nil }
}

/// A tick on its way from a source, with the size that traded.
public struct SourcedTick: Hashable, Sendable {
    public let series: PriceSeries
    public let tick: RawTick
    /// Traded size; nil: not known, the paper venue then fills without limit.
    public let quantity: Quantity?
    public init(series: PriceSeries, tick: RawTick, quantity: Quantity?) {
        self.series = series
        self.tick = tick
        self.quantity = quantity
    }
}

/// Keeps the extremes of a series until they are stored.
struct ExtremeCollector {
    private var points: [ExtremeBucket.Point] = []
    private var rising: Bool?
    /// The newest tick, which repeats the last price when it is no point itself.
    private var newest: ExtremeBucket.Point?

    /// Takes one tick: first, last and every turn of direction stay, in order.
    mutating func add(_ tick: RawTick) {
        let point = ExtremeBucket.Point(position: tick.position, price: tick.price)
        newest = point
        guard let last = points.last else {
            points = [point]
            return
        }
        if tick.price == last.price { return }
        let isRising = tick.price > last.price
        if points.count > 1, rising == isRising {
            points[points.count - 1] = point
        } else {
            points.append(point)
        }
        rising = isRising
    }

    mutating func take() -> [ExtremeBucket.Point] {
        defer {
            points = []
            rising = nil
            newest = nil
        }
        if let newest, let last = points.last, newest.position > last.position { points.append(newest) }
        return points
    }
}

/// Publishes the ticks of one source.
public final class FeedDuty: Sendable {
    let context: EngineContext
    let source: any TickSource
    /// Told of every tick before it is published: the paper venue's prices.
    private let market: (@Sendable ([SourcedTick]) async throws -> Void)?
    private let collectors = Locked<[PriceSeries: ExtremeCollector]>([:])
    /// The newest ticks of each series, appended again when the stream lost them.
    let ring = Locked<[PriceSeries: [RawTick]]>([:])
    private static let ringLimit = 20_000
    /// Series whose last append failed: the end of the stream is looked up first.
    let suspect = Locked<Set<PriceSeries>>([])
    /// Series whose stream goes on without a hole from the feed before this one to its own first tick.
    private let joined = Locked<Set<PriceSeries>>([])
    /// Series whose stored extremes go on without a hole from the feed before this one.
    private let settled = Locked<Set<PriceSeries>>([])
    private let isStoring = Locked(false)
    /// Up to where the stream of a series misses ticks that became known late, and could not be cut yet.
    let uncut = Locked<[PriceSeries: TickPosition]>([:])

    public init(
        context: EngineContext,
        source: any TickSource,
        market: (@Sendable ([SourcedTick]) async throws -> Void)? = nil,
    ) {
        self.context = context
        self.source = source
        self.market = market
    }

    /// Runs until the source ends or the task is cancelled; what was published is stored by then.
    public func run() async throws {
        do {
            try await withThrowingTaskGroup { group in
                group.addTask {
                    while !Task.isCancelled {
                        try await self.context.clock.sleep(milliseconds: 400)
                        await self.store()
                        await self.restoreStreams()
                    }
                }
                group.addTask {
                    while !Task.isCancelled {
                        try await self.context.clock.sleep(milliseconds: 1_000)
                        await self.fillWanted()
                    }
                }
                group.addTask { try await self.source.run { try await self.publish($0) } }
                // The other tasks never end by themselves; the source's end ends the duty.
                try await group.next()
                group.cancelAll()
            }
        } catch {
            // The last prices outlive a cancellation.
            await Task { await self.store() }.value  // tidy-ok: awaited in place
            throw error
        }
        await store()
    }

    private func publish(_ batch: [SourcedTick]) async throws {
        try await market?(batch)
        var bySeries: [PriceSeries: [RawTick]] = [:]
        for sourced in batch { bySeries[sourced.series, default: []].append(sourced.tick) }
        collectors.withLock { collectors in
            for sourced in batch { collectors[sourced.series, default: ExtremeCollector()].add(sourced.tick) }
        }
        let shortened = ring.withLock { ring -> [PriceSeries] in
            var shortened: [PriceSeries] = []
            for (series, ticks) in bySeries {
                ring[series, default: []] += ticks
                guard let count = ring[series]?.count, count > Self.ringLimit else { continue }
                ring[series]?.removeFirst(count / 2)
                shortened.append(series)
            }
            return shortened
        }
        // What was forgotten before the stream took it comes from the stored extremes, as after a restart.
        for series in shortened where suspect.withLock({ $0.contains(series) }) {
            _ = joined.withLock { $0.remove(series) }
        }
        for series in bySeries.keys.sorted() {
            do throws(TickLogError) {
                // Behind a failed append nothing newer goes in before what is missing: readers would not see the hole.
                if suspect.withLock({ $0.contains(series) }) || !joined.withLock({ $0.contains(series) }) {
                    try await restore(series)
                } else {
                    try await context.ticks.append(bySeries[series] ?? [], to: series)
                }
            } catch {
                // The stream is away: the stored extremes carry the prices meanwhile (RELIABILITY.md 3.3).
                suspect.withLock { _ = $0.insert(series) }
                context.observer.count("ticklog_errors_total", 1)
            }
        }
        context.observer.count("ticks_published_total", batch.count)
    }

    /// A stream whose end is missing was lost (flush, failover): what this process still knows goes in again. Ids are
    /// positions, so what is there already is refused.
    private func restoreStreams() async {
        for series in ring.withLock({ $0.keys.sorted() }) {
            do throws(TickLogError) {
                try await restore(series)
            } catch {
                context.observer.count("ticklog_errors_total", 1)
            }
        }
    }

    private func restore(_ series: PriceSeries) async throws(TickLogError) {
        try await cut(series)
        let end = try await join(series, context.ticks.latest(series)?.position ?? .start)
        let missing = ring.withLock { ring in
            let ticks = ring[series] ?? []
            return Array(ticks[(ticks.lastIndex { $0.position <= end }.map { $0 + 1 } ?? 0)...])
        }
        if !missing.isEmpty {
            try await context.ticks.append(missing, to: series)
            context.observer.count("ticks_restored_total", missing.count)
        }
        suspect.withLock { _ = $0.remove(series) }
    }

    /// What the feed before this one stored and could not append goes into the stream before this one's first tick: behind
    /// it nobody would see the hole. An empty stream shows by itself where it begins. Returns the end of the stream.
    private func join(_ series: PriceSeries, _ end: TickPosition) async throws(TickLogError) -> TickPosition {
        guard !joined.withLock({ $0.contains(series) }), let first = ring.withLock({ $0[series]?.first?.position })
        else { return end }
        var end = end
        while end > .start, end < first {
            let page: [ExtremeBucket.Point]
            do throws(StoreError) {
                page = try await context.cluster.extremes(
                    market: series.market,
                    source: series.source,
                    after: end,
                    limit: 10_000,
                )
            } catch {
                throw TickLogError("what was stored cannot be read: \(error.detail)")
            }
            let older = page.filter { $0.position < first }
            guard let last = older.last else { break }
            try await context.ticks.append(
                older.map { RawTick(position: $0.position, price: $0.price, receivedAt: 0) },
                to: series,
            )
            context.observer.count("ticks_restored_total", older.count)
            end = last.position
        }
        joined.withLock { _ = $0.insert(series) }
        return end
    }

    /// Stores what was collected, oldest first: one caller at a time, so that no bucket overtakes an older one.
    private func store() async {
        guard
            isStoring.withLock({ isStoring in
                defer { isStoring = true }
                return !isStoring
            })
        else { return }
        defer { isStoring.withLock { $0 = false } }
        let buckets = collectors.withLock { collectors -> [ExtremeBucket] in
            var buckets: [ExtremeBucket] = []
            for series in collectors.keys.sorted() {
                let points = collectors[series]?.take() ?? []
                if !points.isEmpty {
                    buckets.append(ExtremeBucket(market: series.market, source: series.source, points: points))
                }
            }
            return buckets
        }
        guard !buckets.isEmpty else { return }
        var older: [ExtremeBucket] = []
        for bucket in buckets { older += await streamed(before: bucket) }
        let all = older + buckets
        var delay: Int64 = 50
        while true {
            do throws(StoreError) {
                try await context.cluster.appendExtremes(all)
                return
            } catch {
                context.observer.note(.warning, "Price extremes could not be stored", [("error", error.detail)])
            }
            do { try await context.clock.sleep(milliseconds: delay) } catch { return }
            delay = min(delay * 2, 2_000)
        }
    }

    /// What the feed before this one put into the stream and died before it could store it: without it the stored extremes
    /// have a hole that nobody sees. A stream that is away is not waited for: the stored prices are all there is then.
    private func streamed(before bucket: ExtremeBucket) async -> [ExtremeBucket] {
        let series = PriceSeries(market: bucket.market, source: bucket.source)
        guard settled.withLock({ $0.insert(series).inserted }), let first = bucket.points.first?.position else {
            return []
        }
        var buckets: [ExtremeBucket] = []
        do {
            var reached =
                try await context.cluster.newestExtreme(market: series.market, source: series.source) ?? .start
            while reached < first {
                let batch = try await context.ticks.read([series: reached], limit: 10_000, waitMs: 0)[series]
                let ticks = (batch?.ticks ?? []).filter { $0.position < first }
                guard let last = ticks.last else { break }
                buckets += Self.buckets(of: ticks, in: series)
                reached = last.position
            }
        } catch {
            context.observer.count(error is StoreError ? "store_errors_total" : "ticklog_errors_total", 1)
        }
        return buckets
    }

    /// Ticks in order, as buckets of at most half a second.
    private static func buckets(of ticks: [RawTick], in series: PriceSeries) -> [ExtremeBucket] {
        var buckets: [ExtremeBucket] = []
        var collector = ExtremeCollector()
        var begun: Int64?
        func close() {
            let points = collector.take()
            if points.isEmpty { return }
            buckets.append(ExtremeBucket(market: series.market, source: series.source, points: points))
        }
        for tick in ticks {
            if let start = begun, tick.position.venueTime - start > 400_000 {
                close()
                begun = nil
            }
            begun = begun ?? tick.position.venueTime
            collector.add(tick)
        }
        close()
        return buckets
    }
}
