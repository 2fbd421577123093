// The recent prices of each series in this process's memory: what the evaluator has read, and what handlers look up.
//
// Invariants: points are in order of position without gaps between `oldest` and `newest` (everything the stream or the
// persisted extremes show). Limits: 200,000 points a series; older ones are in the store. Cost: O(1) amortised per
// point; a range extreme costs O(points in range).
internal import OwnerThread
public import SmartOrders

/// What a handler needs to know of a crossing tick.
public struct TickContext: Hashable, Sendable {
    public let price: Int64
    /// Where that price stands: the asked position, or the first point at or after it where only extremes are left.
    public let position: TickPosition
    /// Best prices strictly between the order's position and the tick; nil when there was no tick between.
    public let high: Int64?
    public let low: Int64?
    /// Position of the last tick before this one.
    public let before: TickPosition
}

/// Recent prices by series.
public final class PriceHistory: Sendable {
    /// A class, so that appending to one series copies nothing.
    private final class Series {
        var points: [ExtremeBucket.Point] = []
        /// Everything after this position is in `points`.
        var coveredFrom: TickPosition
        init(coveredFrom: TickPosition) { self.coveredFrom = coveredFrom }
    }
    private static let maximumPoints = 200_000

    private let series = Locked<[PriceSeries: Series]>([:])
    private let ticks: any TickLog
    private let cluster: any ClusterStore

    public init(ticks: any TickLog, cluster: any ClusterStore) {
        self.ticks = ticks
        self.cluster = cluster
    }

    /// Takes over what was read from the stream, which starts right after `after`. Points already known are skipped.
    public func append(_ batch: [RawTick], to name: PriceSeries, after: TickPosition) {
        series.withLock { all in
            if let known = all[name]?.points.last?.position, after > known { all[name] = nil }
            let one = all[name] ?? Series(coveredFrom: after)
            all[name] = one
            for tick in batch where tick.position > (one.points.last?.position ?? one.coveredFrom) {
                one.points.append(.init(position: tick.position, price: tick.price))
            }
            if one.points.count > Self.maximumPoints {
                let surplus = one.points.count - Self.maximumPoints / 2
                one.coveredFrom = one.points[surplus - 1].position
                one.points.removeFirst(surplus)
            }
        }
    }

    /// The newest known price.
    public func latest(_ name: PriceSeries) -> ExtremeBucket.Point? {
        series.withLock { $0[name]?.points.last }
    }

    /// Points after `position` up to and including `last`, if everything after `position` is in memory.
    public func points(
        _ name: PriceSeries,
        after position: TickPosition,
        through last: TickPosition,
    ) -> [ExtremeBucket.Point]? {
        series.withLock { all in
            guard let one = all[name], one.coveredFrom <= position else { return nil }
            let start = Self.firstIndex(in: one.points, after: position)
            let end = Self.firstIndex(in: one.points, after: last)
            return start < end ? Array(one.points[start..<end]) : []
        }
    }

    /// Makes everything after `position` up to `last` available, from the stream or the persisted extremes.
    ///
    /// - Returns: false when `last` is not to be found anywhere yet.
    /// - Throws: `TickLogError`, `StoreError` when the sources cannot be read now.
    public func load(
        _ name: PriceSeries,
        after position: TickPosition,
        through last: TickPosition,
    ) async throws -> Bool {
        let newest = series.withLock { all -> TickPosition? in
            guard let one = all[name], one.coveredFrom <= position else { return nil }
            return one.points.last?.position ?? one.coveredFrom
        }
        if let newest, newest >= last { return true }
        var reached = newest ?? position
        var points: [ExtremeBucket.Point] = []
        while reached < last {
            let batch = try await ticks.read([name: reached], limit: 10_000, waitMs: 0)[name]
            let reachesBack = batch?.oldest.map { $0 <= reached } ?? false
            if !reachesBack {
                let page = try await cluster.extremes(
                    market: name.market,
                    source: name.source,
                    after: reached,
                    limit: 10_000,
                )
                // Nothing yet: what lies between is stored within half a second.
                guard let end = page.last else { break }
                points += page
                reached = end.position
                continue
            }
            guard let batch, let end = batch.ticks.last else { break }
            points += batch.ticks.map { .init(position: $0.position, price: $0.price) }
            reached = end.position
        }
        insert(points, into: name, after: position, extending: newest != nil)
        return reached >= last
    }

    /// What the crossing at `position` looked like for an order whose row stands at `after`. Nil: not known here.
    public func context(_ name: PriceSeries, after: TickPosition, at position: TickPosition) -> TickContext? {
        series.withLock { all in
            guard let one = all[name], one.coveredFrom <= after else { return nil }
            let start = Self.firstIndex(in: one.points, after: after)
            // The first point at or after the asked position.
            var end = Self.firstIndex(in: one.points, after: position)
            if end > 0, one.points[end - 1].position == position { end -= 1 }
            guard end < one.points.count, end >= start else { return nil }
            var high: Int64?
            var low: Int64?
            for index in start..<end {
                let price = one.points[index].price
                if high.map({ price > $0 }) ?? true { high = price }
                if low.map({ price < $0 }) ?? true { low = price }
            }
            return TickContext(
                price: one.points[end].price,
                position: one.points[end].position,
                high: high,
                low: low,
                before: end > 0 ? one.points[end - 1].position : one.coveredFrom,
            )
        }
    }

    private func insert(
        _ points: [ExtremeBucket.Point],
        into name: PriceSeries,
        after: TickPosition,
        extending: Bool,
    ) {
        series.withLock { all in
            let one = all[name] ?? Series(coveredFrom: after)
            all[name] = one
            if !extending, one.coveredFrom > after {
                // What was loaded reaches from `after` into what is held, or replaces it.
                let tail = one.points
                one.coveredFrom = after
                one.points = points
                let end = points.last?.position ?? after
                one.points += tail.drop { $0.position <= end }
            } else {
                for point in points where point.position > (one.points.last?.position ?? one.coveredFrom) {
                    one.points.append(point)
                }
            }
        }
    }

    /// Index of the first point behind `position`.
    private static func firstIndex(in points: [ExtremeBucket.Point], after position: TickPosition) -> Int {
        var low = 0
        var high = points.count
        while low < high {
            let middle = (low + high) / 2
            if points[middle].position <= position { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
