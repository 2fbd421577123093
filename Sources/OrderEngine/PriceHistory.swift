// The recent prices of each series in this process's memory: what the evaluator has read, and what handlers look up.
//
// Invariants: points are in order of position without gaps behind `coveredFrom` (everything the stream or the persisted
// extremes show). Limits: 200,000 points a series; of older ones the records are kept, the prices that nothing later
// surpassed, so the best price since any position is still known. Cost: O(1) amortised per point; a range extreme
// O(range / 256 + 256).
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
    private let series = Locked<[PriceSeries: PriceSpan]>([:])
    /// Series that the evaluator of this process keeps up to date.
    private let followed = Locked<Set<PriceSeries>>([])
    /// Counts what was forgotten: what was read before then is not taken in.
    private let revision = Locked<Int64>(0)
    private let ticks: any TickLog
    private let cluster: any ClusterStore

    public init(ticks: any TickLog, cluster: any ClusterStore) {
        self.ticks = ticks
        self.cluster = cluster
    }

    /// Takes over what was read from the stream, which starts right after `after`. Points already known are skipped.
    public func append(_ batch: [RawTick], to name: PriceSeries, after: TickPosition) {
        series.withLock { all in
            if let known = all[name]?.newest, after > known { all[name] = nil }
            let one = all[name] ?? PriceSpan(coveredFrom: after)
            all[name] = one
            for tick in batch { one.append(.init(position: tick.position, price: tick.price)) }
            one.trim()
        }
    }

    /// Prices from before became known late: everything is read again when it is asked for.
    func forget() {
        series.withLock { all in
            revision.withLock { $0 += 1 }
            all = [:]
        }
    }

    /// Says that `append` is called for every tick of the series, as soon as it is read.
    func follow(_ name: PriceSeries, _ isFollowed: Bool) {
        followed.withLock { followed in
            if isFollowed { followed.insert(name) } else { followed.remove(name) }
        }
    }

    /// The newest price in memory.
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
            guard let one = all[name], one.coveredFrom <= position, last <= one.newest else { return nil }
            return Array(one.points[one.range(after: position, through: last)])
        }
    }

    /// Highest and lowest price after `position` up to and including `last`; nil when that is not in memory. `isEmpty`:
    /// there was no tick.
    func extremes(
        _ name: PriceSeries,
        after position: TickPosition,
        through last: TickPosition,
    ) -> (high: Int64, low: Int64, isEmpty: Bool)? {
        series.withLock { all in
            guard let one = all[name], one.recordsFrom <= position, last <= one.newest, one.coveredFrom <= last else {
                return nil
            }
            let end = one.range(after: position, through: last).upperBound
            guard let found = one.extremes(after: position, before: end) else { return (0, 0, true) }
            return (found.high, found.low, false)
        }
    }

    /// Makes everything after `position` up to `last` available, from the stream or the persisted extremes.
    ///
    /// - Returns: false when `last` is not to be found anywhere yet.
    /// - Throws: `StoreError` when neither can be read now.
    public func load(
        _ name: PriceSeries,
        after position: TickPosition,
        through last: TickPosition,
    ) async throws -> Bool {
        try await fill(name, after: position, through: last) >= last
    }

    /// Reads whatever there is after `position`; returns the newest point that follows it without a gap, nil when there
    /// is none.
    func catchUp(_ name: PriceSeries, after position: TickPosition) async throws -> ExtremeBucket.Point? {
        let isFresh = followed.withLock { $0.contains(name) }
        let covers = series.withLock { all in all[name].map { $0.recordsFrom <= position } ?? false }
        if !isFresh || !covers { _ = try await fill(name, after: position, through: nil) }
        return series.withLock { all in
            // What nobody follows grows with every question. Who needs more than is left reads it again.
            if !isFresh { all[name]?.trim() }
            // A row may be ahead of this memory: what is older than the row is no news to it.
            guard let one = all[name], one.recordsFrom <= position, let last = one.points.last,
                last.position >= position
            else { return nil }
            return last
        }
    }

    /// The price of the tick at `position`, where the row stands. Nil when it cannot be had, or when there is a newer one
    /// already. An older one is none: what it would reach was reached before the row.
    func standing(_ name: PriceSeries, at position: TickPosition) async throws(StoreError) -> ExtremeBucket.Point? {
        do throws(TickLogError) {
            if let latest = try await ticks.latest(name), latest.position >= position {
                return latest.position == position ? ExtremeBucket.Point(position: position, price: latest.price) : nil
            }
        } catch {
            // The stored prices may know it.
        }
        let stored = try await cluster.extremes(
            market: name.market,
            source: name.source,
            after: TickPosition(venueTime: position.venueTime - 60_000_000, sequence: 0),
            limit: 10_000,
        )
        return stored.first { $0.position == position }
    }

    /// Visits the points after `position` up to and including `last`, in order, until `visit` returns false. What is too
    /// old for the memory is read page by page.
    ///
    /// - Returns: false when not all of them can be had now; some were visited then.
    func walk(
        _ name: PriceSeries,
        after position: TickPosition,
        through last: TickPosition,
        _ visit: (ExtremeBucket.Point) -> Bool,
    ) async throws -> Bool {
        var reached = position
        while reached < last {
            if let points = points(name, after: reached, through: last) {
                for point in points where !visit(point) { return true }
                return true
            }
            let held = series.withLock { $0[name]?.coveredFrom }
            if held == nil || reached == position, try await load(name, after: reached, through: last),
                points(name, after: reached, through: last) != nil
            {
                continue
            }
            let page = try await cluster.extremes(
                market: name.market,
                source: name.source,
                after: reached,
                limit: 10_000,
            )
            guard let end = page.last else { return false }
            for point in page {
                guard point.position <= last else { return true }
                guard visit(point) else { return true }
            }
            reached = end.position
        }
        return true
    }

    /// - Parameter last: nil: as far as there is anything.
    /// - Returns: the position up to which everything is in memory now.
    private func fill(
        _ name: PriceSeries,
        after position: TickPosition,
        through last: TickPosition?,
    ) async throws -> TickPosition {
        let revision = revision.withLock { $0 }
        // What nobody followed meanwhile is not read up to a position that is newer than all of it.
        let isFollowed = followed.withLock { $0.contains(name) }
        let newest = series.withLock { all -> TickPosition? in
            guard let one = all[name], one.recordsFrom <= position, isFollowed || one.newest >= position else {
                return nil
            }
            return one.newest
        }
        if let newest, let last, newest >= last { return newest }
        let start = newest ?? position
        var reached = start
        var points: [ExtremeBucket.Point] = []
        while last.map({ reached < $0 }) ?? true, !Task.isCancelled {
            var batch: TickBatch?
            var isAway = false
            do throws(TickLogError) {
                batch = try await ticks.read([name: reached], limit: 10_000, waitMs: 0)[name]
            } catch {
                isAway = true
            }
            if let batch, let oldest = batch.oldest, oldest <= reached {
                guard let end = batch.ticks.last else { break }
                points += batch.ticks.map { .init(position: $0.position, price: $0.price) }
                reached = end.position
                continue
            }
            // The stream is at its end, as far as anybody asks.
            if batch == nil, !isAway, last == nil, newest != nil { break }
            let page = try await cluster.extremes(
                market: name.market,
                source: name.source,
                after: reached,
                limit: 10_000,
            )
            // Nothing yet: what lies between is stored within half a second.
            guard let end = page.last else { break }
            if let batch, let oldest = batch.oldest, let newest = batch.ticks.last, oldest <= end.position {
                // Stored up to where the stream begins: from there on it knows every tick, also those never stored.
                points += page.prefix { $0.position < oldest }
                points += batch.ticks.map { .init(position: $0.position, price: $0.price) }
                reached = newest.position
                continue
            }
            points += page
            reached = end.position
        }
        insert(points, into: name, from: start, through: reached, replaces: !isFollowed, of: revision)
        return reached
    }

    /// What the crossing at `position` looked like for an order whose row stands at `after`. Nil: not known here.
    public func context(_ name: PriceSeries, after: TickPosition, at position: TickPosition) -> TickContext? {
        series.withLock { all in
            guard let one = all[name], one.recordsFrom <= after, one.coveredFrom < position else { return nil }
            // The first point at or after the asked position.
            let end = one.firstIndex(notBefore: position)
            guard end < one.points.count else { return nil }
            let between = one.extremes(after: after, before: end)
            return TickContext(
                price: one.points[end].price,
                position: one.points[end].position,
                high: between?.high,
                low: between?.low,
                before: max(after, end > 0 ? one.points[end - 1].position : one.coveredFrom),
            )
        }
    }

    /// Takes over `points`: everything after `start` up to `end`.
    /// - Parameter replaces: what lies before a gap gives way to them; else they give way.
    private func insert(
        _ points: [ExtremeBucket.Point],
        into name: PriceSeries,
        from start: TickPosition,
        through end: TickPosition,
        replaces: Bool,
        of known: Int64,
    ) {
        series.withLock { all in
            guard known == revision.withLock({ $0 }) else { return }
            guard let one = all[name] else {
                let one = PriceSpan(coveredFrom: start)
                for point in points { one.append(point) }
                all[name] = one
                return
            }
            if one.coveredFrom <= start {
                // Continues what is held, unless somebody else was faster or there is a gap between.
                if start <= one.newest {
                    for point in points { one.append(point) }
                } else if replaces {
                    let fresh = PriceSpan(coveredFrom: start)
                    for point in points { fresh.append(point) }
                    all[name] = fresh
                }
            } else if end >= one.coveredFrom {
                // Reaches from `start` into what is held.
                let joined = PriceSpan(coveredFrom: start)
                for point in points { joined.append(point) }
                for point in one.points { joined.append(point) }
                all[name] = joined
            }
        }
    }
}

/// Points of one series. A class, so that appending copies nothing; guarded by its owner's lock.
private final class PriceSpan {
    private(set) var points: [ExtremeBucket.Point] = []
    /// Everything after this position is in `points`.
    private(set) var coveredFrom: TickPosition
    /// Everything after this position and up to `coveredFrom` is in the records.
    private(set) var recordsFrom: TickPosition
    /// Highest and lowest of each full stretch of `stride` points.
    private var stretches: [(high: Int64, low: Int64)] = []
    private var highs: [ExtremeBucket.Point] = []
    private var lows: [ExtremeBucket.Point] = []

    private static let stride = 256
    private static let maximumPoints = 200_000
    private static let maximumRecords = 50_000

    init(coveredFrom: TickPosition) {
        self.coveredFrom = coveredFrom
        recordsFrom = coveredFrom
    }

    var newest: TickPosition { points.last?.position ?? coveredFrom }

    /// Takes a point unless it is known.
    func append(_ point: ExtremeBucket.Point) {
        guard point.position > newest else { return }
        points.append(point)
        guard points.count % Self.stride == 0 else { return }
        let stretch = points[(points.count - Self.stride)...]
        var high = Int64.min
        var low = Int64.max
        for point in stretch {
            high = max(high, point.price)
            low = min(low, point.price)
        }
        stretches.append((high, low))
    }

    /// Turns old points into records when there are too many.
    func trim() {
        guard points.count > Self.maximumPoints else { return }
        let surplus = (points.count - Self.maximumPoints / 2) / Self.stride * Self.stride
        for point in points[..<surplus] {
            while let last = highs.last, last.price <= point.price { highs.removeLast() }
            highs.append(point)
            while let last = lows.last, last.price >= point.price { lows.removeLast() }
            lows.append(point)
        }
        coveredFrom = points[surplus - 1].position
        points.removeFirst(surplus)
        stretches.removeFirst(surplus / Self.stride)
        forget(&highs)
        forget(&lows)
    }

    private func forget(_ records: inout [ExtremeBucket.Point]) {
        guard records.count > Self.maximumRecords else { return }
        let surplus = records.count - Self.maximumRecords / 2
        recordsFrom = max(recordsFrom, records[surplus - 1].position)
        records.removeFirst(surplus)
    }

    func range(after position: TickPosition, through last: TickPosition) -> Range<Int> {
        let start = Self.firstIndex(in: points, after: position)
        return start..<max(start, Self.firstIndex(in: points, after: last))
    }

    func firstIndex(notBefore position: TickPosition) -> Int {
        let index = Self.firstIndex(in: points, after: position)
        return index > 0 && points[index - 1].position == position ? index - 1 : index
    }

    /// Best prices after `position` and before the point `end`; nil when there is none.
    func extremes(after position: TickPosition, before end: Int) -> (high: Int64, low: Int64)? {
        var high = Int64.min
        var low = Int64.max
        if position < coveredFrom {
            let first = Self.firstIndex(in: highs, after: position)
            if first < highs.count { high = highs[first].price }
            let second = Self.firstIndex(in: lows, after: position)
            if second < lows.count { low = lows[second].price }
        }
        var index = Self.firstIndex(in: points, after: position)
        while index < end {
            if index % Self.stride == 0, index + Self.stride <= end {
                let stretch = stretches[index / Self.stride]
                high = max(high, stretch.high)
                low = min(low, stretch.low)
                index += Self.stride
            } else {
                high = max(high, points[index].price)
                low = min(low, points[index].price)
                index += 1
            }
        }
        return high == .min ? nil : (high, low)
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
