// Public prices of Binance, and of the paper venue, as a feed: trades by id, and the mark price where there is one.
//
// Invariant: of every market all trades come out in the order of their ids, each once. A jump in the ids, a connection
// that was opened, and a silent one are answered with the venue's own history before anything newer comes out
// (RELIABILITY.md 4.4). A position is (venue time, trade id), so two feeds of one venue tell the same ticks.
// A mark price has no id and no history here: what was missed of it is not invented.
// A stretch of a second or more whose trades were not heard when they happened is told as a gap, and so is every stretch
// that the history does not show.
// Limits: 20,000 frames wait while a gap is filled, what is dropped beyond is found as a gap again; a gap that the venue
// does not answer for 10 s, for all markets together, is let through, told, and asked for once more (FeedDuty+Backfill.swift);
// 1,000 gaps wait for somebody who takes them.
internal import JSONText
public import OrderEngine
internal import OwnerThread
public import SmartOrders

/// The prices of some markets of one product of one venue.
public struct BinanceTrades: TickSource {
    public struct Market: Hashable, Sendable {
        public let id: MarketID
        /// Of its price units.
        public let decimals: Int
        public init(id: MarketID, decimals: Int) {
            self.id = id
            self.decimals = decimals
        }
    }

    private enum Event: Sendable {
        case opened
        case frame([UInt8])
        /// Once a second.
        case pulse
    }

    /// Why a connection is given up: it is silent though there are trades, or the catalogue changed.
    private enum Ended: Error { case silent, changed }

    /// What came out of one market last.
    private struct Last {
        var position: TickPosition?
        /// Before the first trade that came out of the history since the stream was heard last.
        var silentSince: TickPosition?
        var markTime: Int64 = 0
        /// The connection that told it is over.
        var isMarkOld = false
    }

    private struct State {
        /// By symbol.
        var markets: [String: Market] = [:]
        var last: [String: Last] = [:]
        /// Until when trades wait for a history that fails: one hold for all markets, over when it answers again.
        var holdUntil: Int64?
    }

    private let product: BinanceProduct
    private let rest: String
    private let stream: String
    private let catalogue: @Sendable () async throws -> [Market]
    private let http: VenueHTTP
    private let clock: any EngineClock
    private let observer: any EngineObserver
    private let resume: @Sendable (PriceSeries) async throws -> TickPosition?
    private let tellGap: @Sendable (FeedGap) async throws -> Void
    /// Found and not told yet; of two that begin at the same time the later one counts.
    private let untold = Locked<[FeedGap]>([])
    /// The venue asked for patience until then: monotonic nanoseconds.
    private let silentUntil = Locked<Int64>(0)

    private static let bufferLimit = 20_000
    private static let pageLimit = 1_000
    private static let historyLimit = 30_000
    /// Between pages of an old stretch: a page weighs as much as 20 other requests, and orders share that budget.
    private static let historyPauseMs: Int64 = 1_000
    private static let holdNanoseconds: Int64 = 10_000_000_000
    private static let refreshNanoseconds: Int64 = 10_000_000_000
    private static let silenceNanoseconds: Int64 = 5_000_000_000
    /// The shortest stretch, in microseconds, that is told when the history fills it.
    private static let toldSpan: Int64 = 1_000_000
    private static let untoldLimit = 1_000
    /// A mark price is told every second; one of further apart, in microseconds, was missed.
    private static let markSpan: Int64 = 3_000_000
    /// So far ahead of this clock, in microseconds, no price is believed: nothing older would count behind it.
    private static let maximumAhead: Int64 = 60_000_000

    /// - Parameters:
    ///   - rest: `https://fapi.binance.com`
    ///   - stream: base of the market streams: `wss://fstream.binance.com/market`.
    ///   - catalogue: the markets to follow, of `product`, at most 200 (one connection); asked again every 10 s.
    ///   - resume: after which trade of a series to go on; nil: with the next one that happens.
    ///   - tellGap: takes a stretch without prices, once a second; one that it throws at is told again. One that begins
    ///     where an earlier one did takes its place.
    public init(
        product: BinanceProduct,
        rest: String,
        stream: String,
        catalogue: @escaping @Sendable () async throws -> [Market],
        http: VenueHTTP,
        clock: any EngineClock,
        observer: any EngineObserver,
        resume: @escaping @Sendable (PriceSeries) async throws -> TickPosition?,
        tellGap: @escaping @Sendable (FeedGap) async throws -> Void,
    ) {
        self.product = product
        self.rest = rest
        self.stream = stream
        self.catalogue = catalogue
        self.http = http
        self.clock = clock
        self.observer = observer
        self.resume = resume
        self.tellGap = tellGap
    }

    /// Follows the venue until the task is cancelled.
    public func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
        try await withThrowingTaskGroup { group in
            // Beside the trades, which wait for no store.
            group.addTask { await tellGaps() }
            defer { group.cancelAll() }
            try await follow(emit)
        }
    }

    private func follow(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
        var state = State()
        while true {
            do {
                try await refresh(&state)
                if !state.markets.isEmpty { try await connection(&state, emit) }
            } catch let error as CancellationError {
                throw error
            } catch Ended.changed {
                continue
            } catch {
                observer.note(.info, "A market stream ended", [("error", "\(error)")])
            }
            try Task.checkCancellation()
            for symbol in state.last.keys { state.last[symbol]?.isMarkOld = true }
            // While the stream is away the history is asked once a second.
            await fillAll(&state, emit)
            try await clock.sleep(milliseconds: 1_000)
        }
    }

    private func refresh(_ state: inout State) async throws {
        let markets: [Market]
        do {
            markets = try await catalogue()
        } catch {
            // Without the database prices still come.
            if error is CancellationError || state.markets.isEmpty { throw error }
            observer.count("store_errors_total", 1)
            return
        }
        for market in markets {
            let symbol = market.id.symbol
            if state.last[symbol] == nil {
                state.last[symbol] = Last(position: try await resume(PriceSeries(market: market.id, source: .last)))
            }
            state.markets[symbol] = market
        }
    }

    /// One connection, until it ends.
    private func connection(
        _ state: inout State,
        _ emit: @Sendable ([SourcedTick]) async throws -> Void,
    ) async throws {
        let (events, continuation) = AsyncStream.makeStream(
            of: Event.self,
            bufferingPolicy: .bufferingNewest(Self.bufferLimit),
        )
        let ended = Locked<(any Error)?>(nil)
        let address = url(state)
        try await withThrowingTaskGroup { group in
            group.addTask {
                do {
                    try await WebSocketClient.receive(
                        address,
                        opened: { continuation.yield(.opened) },
                        { frame in continuation.yield(.frame(frame)) },
                    )
                } catch {
                    ended.withLock { $0 = error }
                }
                continuation.finish()
            }
            group.addTask {
                while !Task.isCancelled {
                    do { try await clock.sleep(milliseconds: 1_000) } catch { return }
                    continuation.yield(.pulse)
                }
            }
            defer { group.cancelAll() }
            var heardAt = clock.monotonicNanoseconds()
            var begunAt = heardAt
            for await event in events {
                try Task.checkCancellation()
                switch event {
                case .opened: await fillAll(&state, emit)
                case .frame(let bytes):
                    heardAt = clock.monotonicNanoseconds()
                    try await take(bytes, &state, emit)
                case .pulse where clock.monotonicNanoseconds() - begunAt > Self.refreshNanoseconds:
                    begunAt = clock.monotonicNanoseconds()
                    let known = state.markets
                    try await refresh(&state)
                    if state.markets != known { throw Ended.changed }
                case .pulse where clock.monotonicNanoseconds() - heardAt > Self.silenceNanoseconds:
                    // A quiet market and a dead connection look alike: the history tells them apart.
                    heardAt = clock.monotonicNanoseconds()
                    if await fillAll(&state, emit) > 0 { throw Ended.silent }
                case .pulse: break
                }
            }
        }
        if let error = ended.withLock({ $0 }) { throw error }
    }

    private func url(_ state: State) -> String {
        let names = state.markets.keys.sorted().flatMap { symbol in
            let name = symbol.lowercased()
            switch product {
            case .spot: return ["\(name)@aggTrade"]
            case .linear: return ["\(name)@aggTrade", "\(name)@markPrice@1s"]
            }
        }
        return "\(stream)/stream?streams=\(names.joined(separator: "/"))"
    }

    // MARK: Frames

    /// What one frame says.
    enum Told {
        case trade(id: Int64, SourcedTick, Market)
        /// Time and price of the mark.
        case mark(RawTick, Market)
        /// What a venue may add to its streams.
        case nothing
    }

    /// Reads one frame; of anything else it throws, and the connection is given up (RELIABILITY.md 4.7).
    func read(_ bytes: [UInt8], _ markets: [String: Market]) throws -> Told {
        let field = try JSONField(JSONValue(parsing: bytes)).required("data")
        guard let market = markets[try field.string("s")] else { return .nothing }
        switch try field.string("e") {
        case "aggTrade":
            guard let (id, tick) = try trade(field, market) else { throw VenueError("a price outside of its grid") }
            return .trade(id: id, tick, market)
        case "markPriceUpdate":
            let time = try microseconds(field, "E")
            guard let price = try units(field, market) else { throw VenueError("a price outside of its grid") }
            guard time <= clock.now().microseconds + Self.maximumAhead else { throw VenueError("a time far ahead") }
            let tick = RawTick(
                position: TickPosition(venueTime: time, sequence: 0),
                price: price,
                receivedAt: clock.now().microseconds,
            )
            return .mark(tick, market)
        default: return .nothing  // tidy-ok: other events of the venue
        }
    }

    private func take(
        _ bytes: [UInt8],
        _ state: inout State,
        _ emit: @Sendable ([SourcedTick]) async throws -> Void,
    ) async throws {
        switch try read(bytes, state.markets) {
        case .nothing: return
        case .trade(let id, let tick, let market):
            let symbol = market.id.symbol
            if let known = state.last[symbol]?.position {
                guard id > known.sequence else { return }
                if id > known.sequence + 1 { try await fillGap(before: id, tick.tick.position, market, &state, emit) }
            }
            try await send([tick], market, &state, emit)
            state.last[symbol]?.silentSince = nil
        case .mark(let tick, let market):
            let time = tick.position.venueTime
            guard time > state.last[market.id.symbol]?.markTime ?? 0 else { return }
            let before = state.last[market.id.symbol]?.markTime ?? 0
            let series = PriceSeries(market: market.id, source: .mark)
            if state.last[market.id.symbol]?.isMarkOld == true, before > 0, time - before > Self.markSpan {
                note(series, from: before, to: time, "the stream was away", isBackfilled: false)
            }
            state.last[market.id.symbol]?.markTime = time
            state.last[market.id.symbol]?.isMarkOld = false
            try await emit([SourcedTick(series: series, tick: tick, quantity: nil)])
        }
    }

    /// Price in units; nil: no positive number of the market's grid, which nothing may fire on (RELIABILITY.md 4.7).
    private func units(_ field: JSONField, _ market: Market) throws -> Int64? {
        guard let price = Price(try field.string("p"))?.value else { return nil }
        // A mark price has more decimals than the market's grid.
        return price.rounded(decimals: market.decimals).units(decimals: market.decimals).flatMap { $0 > 0 ? $0 : nil }
    }

    /// A time in milliseconds that a clock can show.
    private func microseconds(_ field: JSONField, _ key: String) throws -> Int64 {
        let (time, isTooLarge) = try field.int64(key).multipliedReportingOverflow(by: 1_000)
        guard !isTooLarge, time >= 0 else { throw VenueError("a time that no clock shows") }
        return time
    }

    private func trade(_ field: JSONField, _ market: Market) throws -> (id: Int64, tick: SourcedTick)? {
        guard let price = try units(field, market) else { return nil }
        let id = try field.int64("a")
        let tick = RawTick(
            position: TickPosition(venueTime: try microseconds(field, "T"), sequence: id),
            price: price,
            receivedAt: clock.now().microseconds,
        )
        let series = PriceSeries(market: market.id, source: .last)
        return (id, SourcedTick(series: series, tick: tick, quantity: Quantity(try field.string("q"))))
    }

    /// Hands out trades of one market that follow each other.
    private func send(
        _ ticks: [SourcedTick],
        _ market: Market,
        _ state: inout State,
        _ emit: @Sendable ([SourcedTick]) async throws -> Void,
    ) async throws {
        let ordered = Self.inOrder(ticks, after: state.last[market.id.symbol]?.position)
        guard let last = ordered.last else { return }
        try await emit(ordered)
        state.last[market.id.symbol, default: Last()].position = last.tick.position
    }

    /// Ids are the order. A clock that steps back must not hide a trade behind the one before.
    private static func inOrder(_ ticks: [SourcedTick], after last: TickPosition?) -> [SourcedTick] {
        var position = last
        return ticks.map { sourced in
            var tick = sourced.tick
            if let position, tick.position.venueTime < position.venueTime {
                tick = RawTick(
                    position: TickPosition(venueTime: position.venueTime, sequence: tick.position.sequence),
                    price: tick.price,
                    receivedAt: tick.receivedAt,
                )
            }
            position = tick.position
            return SourcedTick(series: sourced.series, tick: tick, quantity: sourced.quantity)
        }
    }

    // MARK: Gaps

    /// Asks the history of every market. Returns how many trades came out of it.
    @discardableResult
    private func fillAll(
        _ state: inout State,
        _ emit: @Sendable ([SourcedTick]) async throws -> Void,
    ) async -> Int {
        var count = 0
        for (_, market) in state.markets.sorted(by: { $0.key < $1.key }) {
            do {
                count += try await fill(before: nil, market, &state, emit)
            } catch {
                observer.count("feed_backfill_errors_total", 1)
            }
        }
        return count
    }

    /// Fills what lies before trade `id`; live trades wait meanwhile, at most 10 s.
    private func fillGap(
        before id: Int64,
        _ next: TickPosition,
        _ market: Market,
        _ state: inout State,
        _ emit: @Sendable ([SourcedTick]) async throws -> Void,
    ) async throws {
        while true {
            do {
                _ = try await fill(before: id, market, &state, emit)
                if let last = state.last[market.id.symbol]?.position, last.sequence + 1 < id {
                    noteHole(market, from: last, to: next)
                }
                return
            } catch let error as CancellationError {
                throw error
            } catch {
                observer.count("feed_backfill_errors_total", 1)
                let now = clock.monotonicNanoseconds()
                let holdUntil = state.holdUntil ?? now + Self.holdNanoseconds
                state.holdUntil = holdUntil
                guard now < holdUntil else {
                    observer.note(
                        .error,
                        "FEED_GAP_UNFILLED",
                        [("market", "\(market.id)"), ("before", "\(id)"), ("error", "\(error)")],
                    )
                    if let last = state.last[market.id.symbol]?.position {
                        let series = PriceSeries(market: market.id, source: .last)
                        let (from, to) = (last.venueTime, next.venueTime)
                        let reason = "the venue's history did not answer"
                        note(series, from: from, to: to, reason, isBackfilled: false, isWanted: true)
                    }
                    return
                }
                try await clock.sleep(milliseconds: 250)
            }
        }
    }

    /// Hands out the trades after the last one, up to `end`. Returns their number.
    private func fill(
        before end: Int64?,
        _ market: Market,
        _ state: inout State,
        _ emit: @Sendable ([SourcedTick]) async throws -> Void,
    ) async throws -> Int {
        let symbol = market.id.symbol
        var count = 0
        var since = state.last[symbol]?.silentSince ?? state.last[symbol]?.position
        while let last = state.last[symbol]?.position {
            let known = last.sequence
            let page = try await page(of: market, "fromId=\(known + 1)")
            state.holdUntil = nil
            let ticks = try page.compactMap { try trade($0, market) }
                .filter { $0.id > known && $0.id < end ?? .max }.sorted { $0.id < $1.id }
            if let first = ticks.first, first.id > known + 1 {
                since = first.tick.tick.position
                noteHole(market, from: last, to: first.tick.tick.position)
            }
            try await send(ticks.map(\.tick), market, &state, emit)
            count += ticks.count
            if page.count < Self.pageLimit || ticks.isEmpty { break }
        }
        if count > 0, let since, let last = state.last[symbol]?.position {
            observer.count("feed_backfilled_total", count)
            state.last[symbol]?.silentSince = since
            if last.venueTime - since.venueTime >= Self.toldSpan {
                let series = PriceSeries(market: market.id, source: .last)
                let (from, to) = (since.venueTime, last.venueTime)
                note(series, from: from, to: to, "the stream was silent", isBackfilled: true)
            }
        }
        return count
    }

    /// One page of the history, oldest first.
    private func page(of market: Market, _ start: String) async throws -> [JSONField] {
        let path = product == .spot ? "/api/v3/aggTrades" : "/fapi/v1/aggTrades"
        let query = "symbol=\(market.id.symbol)&\(start)&limit=\(Self.pageLimit)"
        let request = SignedRequest(method: .get, base: rest, path: path, query: query)
        guard clock.monotonicNanoseconds() >= silentUntil.withLock({ $0 }) else {
            throw VenueError("aggTrades: asked to wait")
        }
        switch await http.send(request, timeoutMs: 3_000) {
        case .answered(200, let body, _): return try JSONField(JSONValue(parsing: body)).elements()
        case .answered(let status, _, let retryAfter):
            if status == 429 || status == 418 {
                let until = clock.monotonicNanoseconds() + (retryAfter ?? 1) * 1_000_000_000
                silentUntil.withLock { $0 = max($0, until) }
            }
            throw VenueError("aggTrades: HTTP \(status)")
        case .notSent(let reason), .unknown(let reason): throw VenueError("aggTrades: \(reason)")
        }
    }

    /// Trades only: there is no history of marks here. At most 30,000 trades at once, a thousand a second: half
    /// of what the venue lets an address ask for is left to orders.
    public func history(of series: PriceSeries, from: Int64, to: Int64) async throws -> [RawTick]? {
        guard series.source == .last, let market = try await catalogue().first(where: { $0.id == series.market }) else {
            return nil
        }
        var trades: [Int64: SourcedTick] = [:]
        var start = "startTime=\(from / 1_000)"
        while true {
            let page = try await page(of: market, start)
            let told = try page.compactMap { try trade($0, market) }
            for (id, tick) in told where tick.tick.position.venueTime >= from && tick.tick.position.venueTime <= to {
                trades[id] = tick
            }
            guard page.count == Self.pageLimit, let last = told.max(by: { $0.id < $1.id }),
                last.tick.tick.position.venueTime <= to
            else { break }
            guard trades.count <= Self.historyLimit else {
                throw VenueError("aggTrades: more than \(Self.historyLimit) trades, ask for a shorter stretch")
            }
            start = "fromId=\(last.id + 1)"
            try await clock.sleep(milliseconds: Self.historyPauseMs)
        }
        return Self.inOrder(trades.sorted { $0.key < $1.key }.map(\.value), after: nil).map(\.tick)
    }

    private func noteHole(_ market: Market, from: TickPosition, to: TickPosition) {
        observer.note(
            .error,
            "FEED_GAP_UNFILLED",
            [("market", "\(market.id)"), ("from", "\(from.sequence + 1)"), ("before", "\(to.sequence)")],
        )
        let series = PriceSeries(market: market.id, source: .last)
        note(series, from: from.venueTime, to: to.venueTime, "not in the venue's history", isBackfilled: false)
    }

    private func note(
        _ series: PriceSeries,
        from: Int64,
        to: Int64,
        _ reason: String,
        isBackfilled: Bool,
        isWanted: Bool = false,
    ) {
        let gap = FeedGap(
            series: series,
            from: from,
            to: max(from, to),
            reason: reason,
            isBackfilled: isBackfilled,
            isWanted: isWanted,
        )
        untold.withLock { untold in
            untold.removeAll { $0.series == gap.series && $0.from == gap.from }
            if untold.count < Self.untoldLimit { untold.append(gap) }
        }
    }

    /// Until it is cancelled.
    private func tellGaps() async {
        while !Task.isCancelled {
            for gap in untold.withLock({ $0 }) {
                do {
                    try await tellGap(gap)
                    // It may have grown meanwhile.
                    untold.withLock { untold in untold.removeAll { $0 == gap } }
                    observer.count("price_feed_gaps_total", 1)
                } catch {
                    observer.count("store_errors_total", 1)
                    break
                }
            }
            do { try await clock.sleep(milliseconds: 1_000) } catch { return }
        }
    }
}
