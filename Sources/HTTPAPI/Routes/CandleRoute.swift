// Bars of a market's prices (INTERFACES.md 1.9), made of what the cluster keeps: the ordered local extremes, which hold
// every open, high, low and close exactly, and the part of the tick stream behind them.
//
// Limits: 1,500 bars and 200,000 points a request; what is cut off is at the end, and `nextFrom` says where to go on.
// Volumes are not kept: `v` is null. A bar without any price in it repeats the close before it and is marked as a gap.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// One bar in units of the instrument's price.
struct Candle: Hashable, Sendable {
    /// Begin, microseconds.
    let start: Int64
    var open: Int64
    var high: Int64
    var low: Int64
    var close: Int64
    var isGap = false

    init(start: Int64, price: Int64, isGap: Bool = false) {
        self.start = start
        (open, high, low, close) = (price, price, price, price)
        self.isGap = isGap
    }
}

/// Puts prices in order of time into bars.
struct CandleBuilder {
    static let maximumBars = 1_500

    let width: Int64
    private(set) var candles: [Candle] = []
    /// Prices that did not fit begin here.
    private(set) var overflow: Int64?

    init(width: Int64) { self.width = width }

    mutating func add(time: Int64, price: Int64) {
        guard overflow == nil else { return }
        let start = time - time % width
        if let last = candles.last, last.start >= start {
            candles[candles.count - 1].high = max(last.high, price)
            candles[candles.count - 1].low = min(last.low, price)
            candles[candles.count - 1].close = price
            return
        }
        while let last = candles.last, last.start + width < start, candles.count < Self.maximumBars {
            candles.append(Candle(start: last.start + width, price: last.close, isGap: true))
        }
        guard candles.count < Self.maximumBars else {
            overflow = (candles.last?.start ?? start) + width
            return
        }
        candles.append(Candle(start: start, price: price))
    }
}

struct CandleRoute: Sendable {
    let backend: Backend

    private static let intervals: [String: Int64] = [
        "1s": 1, "5s": 5, "1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "4h": 14_400, "1d": 86_400,
    ]
    private static let maximumPoints = 200_000
    private static let pageSize = 10_000
    private static let defaultBars: Int64 = 300

    var routes: [Route] {
        [Route(method: .get, pattern: "/v1/instruments/{market}/candles", handler: candles)]
    }

    private func candles(_ call: Call) async throws -> Reply {
        guard let market = MarketID(call.captures[0]) else { throw Problem.notFound }
        let known = try await backend.accounts.instrument(market)
        guard let instrument = known else { throw Problem.notFound }
        try call.query.check(known: ["interval", "from", "to", "source"])
        guard let width = Self.intervals[call.query["interval"] ?? "1m"].map({ $0 * 1_000_000 }) else {
            throw Problem(.badQuery, "interval is 1s, 5s, 1m, 5m, 15m, 1h, 4h or 1d.")
        }
        var source = instrument.defaultTriggerSource
        if let text = call.query["source"] {
            guard let asked = TriggerSource(rawValue: text) else {
                throw Problem(.badQuery, "source is one of \(TriggerSource.allCases.map(\.rawValue)).")
            }
            source = asked
        }
        let now = backend.clock.now().microseconds
        let end = try time("to", call) ?? now
        let begin = try time("from", call) ?? end - Self.defaultBars * width
        let first = begin - begin % width
        var builder = CandleBuilder(width: width)
        let series = PriceSeries(market: market, source: source)
        let cut = begin < end ? try await fill(&builder, series, from: first, to: end) : nil
        return CatalogueRoutes.cached(show(builder.candles, instrument, source, next: builder.overflow ?? cut), call)
    }

    private func time(_ name: String, _ call: Call) throws(Problem) -> Int64? {
        guard let text = call.query[name] else { return nil }
        guard let time = Timestamp(rfc3339: text) else { throw Problem(.badQuery, "\(name) is a time (RFC 3339).") }
        return time.microseconds
    }

    /// Persisted extremes first, then what the stream of ticks still holds behind them.
    /// - Returns: where it was cut off; nil: everything was read.
    private func fill(
        _ builder: inout CandleBuilder,
        _ series: PriceSeries,
        from begin: Int64,
        to end: Int64,
    ) async throws -> Int64? {
        var position = TickPosition(venueTime: begin - 1, sequence: .max)
        var left = Self.maximumPoints
        while left > 0 {
            let points = try await backend.cluster.extremes(
                market: series.market,
                source: series.source,
                after: position,
                limit: Self.pageSize,
            )
            for point in points where point.position.venueTime < end {
                builder.add(time: point.position.venueTime, price: point.price)
            }
            guard let last = points.last else { break }
            position = last.position
            left -= points.count
            if builder.overflow != nil || last.position.venueTime >= end { return nil }
            if points.count < Self.pageSize { break }
        }
        while left > 0, builder.overflow == nil {
            let batch: TickBatch?
            do throws(TickLogError) {
                batch = try await backend.ticks.read([series: position], limit: Self.pageSize, waitMs: 0)[series]
            } catch {
                // Without the stream the bars end with what is persisted.
                return nil
            }
            guard let ticks = batch?.ticks, let last = ticks.last else { return nil }
            for tick in ticks where tick.position.venueTime < end {
                builder.add(time: tick.position.venueTime, price: tick.price)
            }
            guard last.position.venueTime < end else { return nil }
            position = last.position
            left -= ticks.count
        }
        return left > 0 ? nil : position.venueTime
    }

    private func show(
        _ candles: [Candle],
        _ instrument: Instrument,
        _ source: TriggerSource,
        next: Int64?,
    ) -> Reply {
        func price(_ units: Int64) -> Price { Price(units: units, decimals: instrument.priceDecimals) }
        return .json { writer in
            writer.member("source", source)
            writer.key("items")
            writer.beginArray()
            for candle in candles {
                writer.beginObject()
                writer.member("t", Timestamp(microseconds: candle.start))
                writer.member("o", price(candle.open))
                writer.member("h", price(candle.high))
                writer.member("l", price(candle.low))
                writer.member("c", price(candle.close))
                writer.member("v", orNull: nil as Quantity?)
                writer.member("gap", candle.isGap)
                writer.endObject()
            }
            writer.endArray()
            writer.member("nextFrom", orNull: next.map { Timestamp(microseconds: $0) })
        }
    }
}
