// Prices that become known late (RELIABILITY.md 4.4, 4.6): the venue's history is asked once more for what it did not answer
// in time, or for what an operator wants.
//
// Invariant: the stream is cut behind the late prices before they are stored, so nobody who reads them by the stream takes
// the hole for silence; from the cut on the stored prices are read. Nothing is called known before all that was told of its
// time is stored. Limits: nothing newer than what this feed has told; four stretches a second.
internal import OwnerThread
internal import SmartOrders

extension FeedDuty {
    /// Looks what is wanted of the series that this feed tells, once.
    func fillWanted() async {
        guard let backfills = context.backfills else { return }
        let told = ring.withLock { $0.keys.sorted() }
        do {
            for wanted in try await backfills.claimBackfills(of: told) { try await fill(wanted, backfills) }
        } catch {
            context.observer.count("store_errors_total", 1)
        }
    }

    private func fill(_ wanted: Backfill, _ backfills: any BackfillStore) async throws {
        // What comes later comes by itself.
        guard let told = ring.withLock({ $0[wanted.series]?.last?.position }) else { return }
        let found: [RawTick]?
        do {
            found = try await source.history(of: wanted.series, from: wanted.from, to: wanted.to)
        } catch {
            context.observer.count("feed_backfill_errors_total", 1)
            try await backfills.fail(wanted, error: "\(error)", isFinal: false)
            return
        }
        guard let found else {
            try await backfills.fail(wanted, error: "its venue has no history of \(wanted.series)", isFinal: true)
            return
        }
        guard let late = try await unknown(found.filter { $0.position <= told }, of: wanted.series) else {
            try await backfills.fail(wanted, error: "what was told of its end is not stored yet", isFinal: false)
            return
        }
        if let last = late.last {
            ring.withLock { ring in
                // From its first tick on it knows all of them, and that stays so.
                guard let known = ring[wanted.series], let first = known.first?.position else { return }
                let told = Set(known.map(\.position))
                ring[wanted.series] = (known + late.filter { $0.position > first && !told.contains($0.position) })
                    .sorted { $0.position < $1.position }
            }
            uncut.withLock { $0[wanted.series] = last.position }
            do throws(TickLogError) {
                try await cut(wanted.series)
            } catch {
                // The stream is away, and the stored prices are all there is. It is cut before anything goes in again.
                suspect.withLock { _ = $0.insert(wanted.series) }
                context.observer.count("ticklog_errors_total", 1)
            }
        }
        try await backfills.finish(wanted, late: late.map { .init(position: $0.position, price: $0.price) })
        context.observer.count("feed_backfilled_total", late.count)
        context.observer.note(
            .info,
            "Prices became known late",
            [
                ("series", "\(wanted.series)"), ("from", "\(wanted.from)"), ("to", "\(wanted.to)"),
                ("ticks", "\(late.count)"),
            ],
        )
    }

    /// Cuts the stream of a series where late prices ask for it.
    func cut(_ series: PriceSeries) async throws(TickLogError) {
        guard let position = uncut.withLock({ $0[series] }) else { return }
        try await context.ticks.drop(through: position, of: series)
        uncut.withLock { if $0[series] == position { $0[series] = nil } }
    }

    /// What of these ticks the stored prices do not show: what lies on the way from one of them to the next is no news. Nil:
    /// nothing is stored from behind them yet.
    private func unknown(_ ticks: [RawTick], of series: PriceSeries) async throws(StoreError) -> [RawTick]? {
        guard let first = ticks.first, let last = ticks.last else { return [] }
        // The last one before them, which may be long ago.
        var before: ExtremeBucket.Point?
        var after = TickPosition.before(ticksAt: first.position.venueTime - Self.lookBack)
        var late: [RawTick] = []
        var rest = ticks[...]
        while true {
            let page = try await context.cluster.extremes(
                market: series.market,
                source: series.source,
                after: after,
                limit: 10_000,
            )
            for point in page {
                let between = rest.prefix { $0.position < point.position }
                rest = rest.dropFirst(between.count).drop { $0.position == point.position }
                if !Self.isOnTheWay(between, from: before?.price, to: point.price) { late += between }
                before = point
                if rest.isEmpty { return late }
            }
            guard let end = page.last?.position, end <= last.position else { return nil }
            after = end
        }
    }

    private static let lookBack: Int64 = 60_000_000

    /// Whether prices go one way only, with these ends: no threshold that follows them or stands tells them from a step.
    private static func isOnTheWay(_ ticks: ArraySlice<RawTick>, from start: Int64?, to end: Int64) -> Bool {
        guard let start else { return ticks.isEmpty }
        var last = start
        for price in ticks.map(\.price) + [end] {
            if start <= end ? price < last : price > last { return false }
            last = price
        }
        return true
    }
}
