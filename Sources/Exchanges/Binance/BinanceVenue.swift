// One account at Binance, or at the paper venue, which speaks the same protocol: paper and live are one code path.
//
// Binance checks ids among open orders only and refuses requests after their window, so an unknown outcome is conclusive
// after the fence of RELIABILITY.md 2.4 (class D): window 2 s + future tolerance 1 s + engine 10 s + query lag 2 s +
// clock uncertainty 0.5 s. The paper venue can be of any class.
internal import JSONText
public import OrderEngine
internal import OwnerThread
public import SmartOrders

/// Where and how a venue is reached.
public struct BinanceEndpoint: Hashable, Sendable {
    /// Name in market ids: `binance`, `paper`.
    public let venue: String
    public let product: BinanceProduct
    /// `https://fapi.binance.com`
    public let rest: String
    /// `wss://fstream.binance.com/private`; the listen key is appended.
    public let stream: String
    /// What an absence proves; window and fence follow from it.
    public let venueClass: VenueClass
    /// The account has a position for each side: orders name the side, reduce-only is not sent.
    public let isHedged: Bool

    public init(
        venue: String,
        product: BinanceProduct,
        rest: String,
        stream: String,
        venueClass: VenueClass = .deadline(),
        isHedged: Bool = false,
    ) {
        self.venue = venue
        self.product = product
        self.rest = rest
        self.stream = stream
        self.venueClass = venueClass
        self.isHedged = isHedged
    }
}

public final class BinanceVenue: Sendable {
    let endpoint: BinanceEndpoint
    let requests: BinanceRequests
    let http: VenueHTTP
    private let executions: BinanceExecutions
    private let placements: BinancePlacements
    private let clock: any EngineClock
    private let venueClock: Locked<VenueClockReading>
    private let assets = Locked<[String: (base: String, quote: String)]>([:])
    /// What the private stream told last, while one is open.
    private let told = Locked(BinanceTold())
    /// Clock and coins are known. Until then nothing is sent: a request's time would be a guess.
    private let isPrepared = Locked(false)
    static let timeoutMs: Int64 = 3_000
    /// Of requests that are no placements.
    static let shortWindowMs: Int64 = 2_000
    /// An exit does not wait longer for the position.
    private static let readingTimeoutMs: Int64 = 800
    /// How far answers to questions may lag behind executions (RELIABILITY.md 2.4).
    private static let queryLagMs: Int64 = 2_000

    public init(endpoint: BinanceEndpoint, credentials: Credentials, http: VenueHTTP, clock: any EngineClock) {
        self.endpoint = endpoint
        self.http = http
        self.clock = clock
        requests = BinanceRequests(
            product: endpoint.product,
            base: endpoint.rest,
            credentials: credentials,
            isHedged: endpoint.isHedged,
        )
        placements = BinancePlacements(requests, http, timeoutMs: Self.timeoutMs)
        let venueClock = Locked(VenueClockReading())
        self.venueClock = venueClock
        executions = BinanceExecutions(requests, http) { Self.time(clock, venueClock) }
    }

    private static func time(_ clock: any EngineClock, _ venueClock: Locked<VenueClockReading>) -> Timestamp {
        let now = clock.monotonicNanoseconds()
        return Timestamp(microseconds: clock.now().microseconds + venueClock.withLock { $0.offset(at: now) })
    }

    /// Measures the venue's clock and learns the coins of its symbols. Called before first use and again every 30 s.
    public func prepare() async throws(VenueError) {
        try await measureClock()
        for instrument in try await instruments() {
            assets.withLock { $0[instrument.market.symbol] = (instrument.baseAsset, instrument.quoteAsset) }
        }
        isPrepared.withLock { $0 = true }
    }

    /// Prepares what could not be prepared before; false: the venue is still away.
    func isReady() async -> Bool {
        if isPrepared.withLock({ $0 }) { return true }
        do throws(VenueError) { try await prepare() } catch { return false }
        return true
    }

    public func measureClock() async throws(VenueError) {
        let sent = clock.now().microseconds
        let begun = clock.monotonicNanoseconds()
        guard case .answered(200, let body, _) = await http.send(requests.time(), timeoutMs: 1_000) else {
            throw VenueError("\(endpoint.venue) does not tell its time at \(endpoint.rest)")
        }
        let received = clock.now().microseconds
        do {
            let venue = try BinanceAnswers.serverTime(body).microseconds
            let now = clock.monotonicNanoseconds()
            // The venue's milliseconds are cut off: half of one is added.
            venueClock.withLock { clock in
                clock.note(offset: venue + 500 - (sent + received) / 2, uncertainty: (now - begun) / 2_000, at: now)
            }
        } catch {
            throw VenueError("unreadable time from \(endpoint.venue)")
        }
    }

    func classify(_ status: Int, _ body: [UInt8]) -> (VenueErrorClass, code: String, text: String) {
        BinanceAnswers.error(status: status, body: body, product: endpoint.product)
    }

    /// Fees by their place in the market, and all executions of what was filled.
    /// - Parameter filledAt: when, if that was at once.
    func complete(_ snapshot: VenueSnapshot, symbol: String, filledAt: Timestamp? = nil) async throws -> VenueSnapshot {
        var fills = snapshot.fills
        let told = fills.reduce(Quantity.zero) { $0 + $1.quantity }
        if told != snapshot.filled {
            fills = try await executions.read(
                symbol: symbol,
                orderID: snapshot.venueOrderID,
                filled: snapshot.filled,
                filledAt: filledAt,
            )
        }
        let coins = assets.withLock { $0[symbol] }
        return VenueSnapshot(
            venueOrderID: snapshot.venueOrderID,
            clientOrderID: snapshot.clientOrderID,
            state: snapshot.state,
            filled: snapshot.filled,
            fills: fills.map { Self.placed($0, coins) },
            isTriggered: snapshot.isTriggered,
        )
    }

    private static func placed(_ fill: Fill, _ coins: (base: String, quote: String)?) -> Fill {
        guard case .other(let asset) = fill.feeAsset else { return fill }
        let feeAsset: Fill.FeeAsset =
            asset == coins?.quote ? .quote : asset == coins?.base ? .base : .other(asset)
        return Fill(
            venueFillID: fill.venueFillID,
            quantity: fill.quantity,
            price: fill.price,
            fee: fill.fee,
            feeAsset: feeAsset,
            isMaker: fill.isMaker,
            time: fill.time,
        )
    }
}

extension BinanceVenue: Venue {
    public var venueClass: VenueClass { endpoint.venueClass }
    /// What the clock is not known by goes on top (RELIABILITY.md 2.4).
    public var fenceMs: Int64 { venueClass.fenceMs + max(0, (clockUncertaintyMs ?? 0) - Self.knownWellMs) }
    public var windowMs: Int64 { venueClass.windowMs }

    /// Below that everything leaves; above it no entry does.
    private static let knownWellMs: Int64 = 500
    /// Above that nothing leaves: every request would be refused, or would live too long.
    private static let unknownMs: Int64 = 2_000

    /// Nil: never measured.
    var clockUncertaintyMs: Int64? {
        let now = clock.monotonicNanoseconds()
        return venueClock.withLock { $0.uncertainty(at: now) }.map { $0 / 1_000 }
    }

    public var trouble: Set<Attention> {
        var trouble: Set<Attention> = []
        if http.isUntrusted(endpoint.rest) { trouble.insert(.venueTLS) }
        if let uncertainty = clockUncertaintyMs, uncertainty > Self.unknownMs { trouble.insert(.venueClock) }
        return trouble
    }

    public func venueTime() -> Timestamp { Self.time(clock, venueClock) }

    public func place(_ placement: Placement) async -> PlacementAnswer {
        // Its time was read before the clock was known: it is for the next attempt to be sent.
        guard isPrepared.withLock({ $0 }) else {
            _ = await isReady()
            return .notSent("the venue's clock is not known yet")
        }
        if let uncertainty = clockUncertaintyMs,
            uncertainty > (placement.isExit ? Self.unknownMs : Self.knownWellMs)
        {
            await measureAgain()
            return .notSent("VENUE_CLOCK: the venue's time is known to \(uncertainty) ms only")
        }
        return
            switch await answer(to: placement)
        {
        case .snapshot(let snapshot): .accepted(snapshot)
        case .error(.duplicateClientID, _, _): .duplicate
        case .error(.clockSkew, let code, let text):
            .refused(await measuredAgain(.rateLimited), code: code, detail: text)
        case .error(let kind, let code, let text):
            kind.refusal.map { .refused($0, code: code, detail: text) } ?? .unknown("\(code): \(text)")
        case .notSent(let reason): .notSent(reason)
        case .unknown(let reason): .unknown(reason)
        }
    }

    private func answer(to placement: Placement) async -> OrderAnswer {
        let symbol = placement.market.symbol
        guard endpoint.product == .linear else {
            return await order(requests.place(placement), symbol: symbol, isNew: true)
        }
        if placement.type.isConditional { return await algo(requests.place(placement), placement.market) }
        switch await placements.join(placement) {
        case .alone: return await order(requests.place(placement), symbol: symbol, isNew: true)
        case .order(let field): return await whole(symbol: symbol, isNew: true) { field }
        case .error(let kind, let code, let text): return .error(kind, code: code, text: text)
        case .notSent(let reason): return .notSent(reason)
        case .unknown(let reason): return .unknown(reason)
        }
    }

    /// An answer about one order, with its executions.
    private func whole(symbol: String, isNew: Bool, _ read: () throws -> JSONField) async -> OrderAnswer {
        do {
            let field = try read()
            let snapshot = try BinanceAnswers.order(field, product: endpoint.product)
            let filledAt = isNew ? try BinanceAnswers.changed(field) : nil
            return .snapshot(try await complete(snapshot, symbol: symbol, filledAt: filledAt))
        } catch {
            return .unknown("the answer cannot be read whole: \(error)")
        }
    }

    private func measureAgain() async {
        do throws(VenueError) { try await measureClock() } catch { return }
    }

    /// The answer, after the clock was measured: the next request carries a better time.
    private func measuredAgain(_ kind: VenueNews.RefusalKind) async -> VenueNews.RefusalKind {
        await measureAgain()
        return kind
    }

    public func executions(market: MarketID, since: Timestamp) async -> [VenueExecution]? {
        guard await isReady() else { return nil }
        let request = requests.executions(
            symbol: market.symbol,
            since: since,
            at: venueTime(),
            windowMs: Self.shortWindowMs,
        )
        guard case .answered(200, let body, _) = await http.send(request, timeoutMs: Self.timeoutMs) else { return nil }
        do {
            let found = try BinanceAnswers.executions(body)
            // A full page may not be everything.
            return found.count < BinanceRequests.mostExecutions ? found : nil
        } catch {
            return nil
        }
    }

    public func cancel(market: MarketID, clientOrderID: String) async -> CancelAnswer {
        guard await isReady() else { return .failed("the venue cannot be reached") }
        let request = requests.cancel(
            symbol: market.symbol,
            clientOrderID: clientOrderID,
            at: venueTime(),
            windowMs: Self.shortWindowMs,
        )
        return switch await order(request, symbol: market.symbol) {
        case .snapshot(let snapshot): .cancelled(snapshot)
        case .error(.orderNotFound, _, _), .error(.orderDone, _, _): .notOpen
        case .error(_, let code, let text): .failed("\(code): \(text)")
        case .notSent(let reason), .unknown(let reason): .failed(reason)
        }
    }

    public func lookUp(market: MarketID, clientOrderID: String) async -> LookUpAnswer {
        guard await isReady() else { return .failed("the venue cannot be reached") }
        let request = requests.query(
            symbol: market.symbol,
            clientOrderID: clientOrderID,
            at: venueTime(),
            windowMs: Self.shortWindowMs,
        )
        return switch await order(request, symbol: market.symbol) {
        case .snapshot(let snapshot): .found(snapshot)
        case .error(.orderNotFound, _, _): .notFound
        case .error(_, let code, let text): .failed("\(code): \(text)")
        case .notSent(let reason), .unknown(let reason): .failed(reason)
        }
    }

    /// What an answer about one order says.
    enum OrderAnswer {
        case snapshot(VenueSnapshot)
        case error(VenueErrorClass, code: String, text: String)
        case notSent(String)
        case unknown(String)
    }

    /// Sends a request about one order and reads the answer whole, executions included.
    /// - Parameter isNew: the request made it, so that it was filled by one match at most.
    func order(_ request: SignedRequest, symbol: String, isNew: Bool = false) async -> OrderAnswer {
        switch await http.send(request, timeoutMs: Self.timeoutMs) {
        case .notSent(let reason): return .notSent(reason)
        case .unknown(let reason): return .unknown(reason)
        case .answered(200, let body, _):
            return await whole(symbol: symbol, isNew: isNew) { JSONField(try JSONValue(parsing: body)) }
        case .answered(let status, let body, _):
            let (kind, code, text) = classify(status, body)
            return .error(kind, code: code, text: text)
        }
    }

    public var isHedged: Bool { endpoint.isHedged }

    public func holding(market: MarketID, side: Side, fresh: Bool) async -> Holding? {
        let place = BinanceTold.Place(symbol: market.symbol, side: endpoint.isHedged ? side : nil)
        if !fresh, let known = told.withLock({ $0.position(place) }) { return known }
        guard await isReady() else { return nil }
        let begun = venueTime()
        guard let body = await holdings(at: begun) else { return nil }
        let asOf = begun.advanced(milliseconds: -Self.queryLagMs)
        do {
            switch endpoint.product {
            case .linear:
                let (quantity, average) = try BinanceAnswers.position(body, symbol: place.symbol, side: place.side)
                let holding = Holding(quantity: quantity, average: average, asOf: asOf)
                told.withLock { $0.note(place, holding) }
                return holding
            case .spot:
                let coins = try BinanceAnswers.coins(body, asset: assets.withLock { $0[market.symbol]?.base ?? "" })
                return Holding(quantity: coins.free + coins.locked, asOf: asOf)
            }
        } catch {
            return nil
        }
    }

    public func freeBalance(asset: String) async -> ExactDecimal? {
        guard endpoint.product == .spot else { return nil }
        if let known = told.withLock({ $0.balance(asset) }) { return known }
        guard await isReady(), let body = await holdings(at: venueTime()) else { return nil }
        do {
            return try BinanceAnswers.coins(body, asset: asset).free
        } catch {
            return nil
        }
    }

    private func holdings(at time: Timestamp) async -> [UInt8]? {
        let request = requests.holdings(at: time, windowMs: Self.shortWindowMs)
        guard case .answered(200, let body, _) = await http.send(request, timeoutMs: Self.readingTimeoutMs) else {
            return nil
        }
        return body
    }

    public func resting(market: MarketID, venueOrderID: String) async throws(VenueError) -> RestingOrder? {
        guard !venueOrderID.isEmpty, venueOrderID.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        guard await isReady() else { throw VenueError("the venue cannot be reached") }
        let request = requests.query(
            symbol: market.symbol,
            orderID: venueOrderID,
            at: venueTime(),
            windowMs: Self.shortWindowMs,
        )
        switch await http.send(request, timeoutMs: Self.timeoutMs) {
        case .answered(200, let body, _):
            do {
                let snapshot = try BinanceAnswers.order(body, product: endpoint.product)
                let whole = try await complete(snapshot, symbol: market.symbol)
                return try BinanceAnswers.resting(body, fills: whole.fills)
            } catch {
                throw VenueError("the order \(venueOrderID) cannot be read whole: \(error)")
            }
        case .answered(let status, let body, _):
            let (kind, code, text) = classify(status, body)
            if kind == .orderNotFound || kind == .invalidRequest { return nil }
            throw VenueError("\(code): \(text)")
        case .notSent(let reason), .unknown(let reason): throw VenueError(reason)
        }
    }

    public func instruments() async throws(VenueError) -> [Instrument] {
        guard case .answered(200, let body, _) = await http.send(requests.exchangeInfo(), timeoutMs: 5_000) else {
            throw VenueError("\(endpoint.venue) does not list its markets at \(endpoint.rest)")
        }
        do {
            return try BinanceInstruments.read(body, venue: endpoint.venue, product: endpoint.product)
        } catch {
            throw VenueError("unreadable market list from \(endpoint.venue): \(error)")
        }
    }

    public func events() -> AsyncStream<VenueStreamEvent> { events { true } }

    public func events(isFollowed: @escaping @Sendable () -> Bool) -> AsyncStream<VenueStreamEvent> {
        AsyncStream(bufferingPolicy: .bufferingNewest(4_096)) { continuation in
            // The stream's life is the subscription's: ended by whoever stops listening.
            let task = Task {  // tidy-ok: cancelled by onTermination
                await self.follow(continuation, isFollowed)
                continuation.finish()
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    /// Listens, renews the key, connects again. `interrupted` is told when a connection ends and, because only then
    /// nothing more is missed, when one is open, the first one too.
    private func follow(
        _ continuation: AsyncStream<VenueStreamEvent>.Continuation,
        _ isFollowed: @escaping @Sendable () -> Bool,
    ) async {
        while !Task.isCancelled {
            do {
                guard case .answered(200, let body, _) = await http.send(requests.listenKey(.post), timeoutMs: 3_000)
                else {
                    throw VenueError("no listen key")
                }
                let key = try BinanceAnswers.listenKey(body)
                try await withThrowingTaskGroup { group in
                    group.addTask {
                        let separator = self.endpoint.stream.hasSuffix("/") ? "" : "/"
                        try await WebSocketClient.receive(
                            self.endpoint.stream + separator + key,
                            opened: {
                                self.told.withLock { $0.open() }
                                continuation.yield(.interrupted)
                            },
                        ) { frame in
                            let isFollowed = isFollowed()
                            // Most of what a busy account has to say is about orders, and nobody here would look at it.
                            if !isFollowed, Self.isOfOrder(frame) { return }
                            for event in try self.events(frame) where isFollowed {
                                // A full buffer forgets its oldest event.
                                if case .dropped = continuation.yield(event) { continuation.yield(.interrupted) }
                            }
                        }
                    }
                    group.addTask {
                        while !Task.isCancelled {
                            try await self.clock.sleep(milliseconds: 30 * 60 * 1_000)
                            // A key that is not renewed lapses without a word; a new connection gets a new one.
                            try await self.renew(key)
                        }
                    }
                    try await group.next()
                    group.cancelAll()
                }
            } catch {
                // Told below; the reason is the connection's end, whatever it was.
            }
            told.withLock { $0.close() }
            continuation.yield(.interrupted)
            do { try await clock.sleep(milliseconds: 500) } catch { return }
        }
    }

    /// Half a minute apart, ten times: a key lives for an hour.
    private func renew(_ key: String) async throws {
        for _ in 0..<10 {
            let request = requests.listenKey(.put, key: key)
            if case .answered(200, _, _) = await http.send(request, timeoutMs: 3_000) { return }
            try await clock.sleep(milliseconds: 30_000)
        }
        throw VenueError("the listen key was not renewed")
    }

    /// Whether a frame says so before anything else, as the venue writes it.
    static func isOfOrder(_ frame: [UInt8]) -> Bool {
        frame.starts(with: Self.orderFrame) || frame.starts(with: Self.reportFrame)
    }

    private static let orderFrame = Array(#"{"e":"ORDER_TRADE_UPDATE""#.utf8)
    private static let reportFrame = Array(#"{"e":"executionReport""#.utf8)

    /// One frame of the private stream.
    private func events(_ frame: [UInt8]) throws -> [VenueStreamEvent] {
        let field = JSONField(try JSONValue(parsing: frame))
        switch try field.string("e") {
        case "executionReport": return try orderEvent(field).map { [$0] } ?? []
        case "ORDER_TRADE_UPDATE": return try orderEvent(field.required("o")).map { [$0] } ?? []
        case "ALGO_UPDATE": return try algoEvent(field.required("o")).map { [$0] } ?? []
        case "ACCOUNT_UPDATE": return try positionEvents(field)
        case "outboundAccountPosition": return try balanceEvents(field)
        case "listenKeyExpired", "eventStreamTerminated": throw VenueError("the stream's key has expired")
        default: return []  // tidy-ok: other events of the venue
        }
    }

    /// Positions that changed, each with the venue's time of the change.
    private func positionEvents(_ field: JSONField) throws -> [VenueStreamEvent] {
        let time = Timestamp(milliseconds: try field.int64("T"))
        return try field.required("a").optional("P")?.elements().map { one in
            let place = BinanceTold.Place(
                symbol: try one.string("s"),
                side: try BinanceAnswers.positionSide(try one.string("ps")),
            )
            let (quantity, average) = try BinanceAnswers.position(one.string("pa"), average: one.string("ep"))
            let holding = Holding(quantity: quantity, average: average, asOf: time)
            told.withLock { $0.note(place, holding) }
            let market = MarketID(venue: endpoint.venue, product: endpoint.product.rawValue, symbol: place.symbol)
            return .position(market: market, side: place.side, holding)
        } ?? []
    }

    private func balanceEvents(_ field: JSONField) throws -> [VenueStreamEvent] {
        try field.required("B").elements().compactMap { one in
            guard let free = ExactDecimal(try one.string("f")) else { return nil }
            let asset = try one.string("a")
            told.withLock { $0.note(asset, free: free) }
            return .balance(asset: asset, free: free)
        }
    }

    private func orderEvent(_ field: JSONField) throws -> VenueStreamEvent? {
        let symbol = try field.string("s")
        // On a spot cancel `c` names the cancel and `C` the order.
        let original = try field.optional("C")?.string() ?? ""
        let id = try original.isEmpty ? field.string("c") : original
        guard let state = BinanceAnswers.state(try field.string("X")), let filled = Quantity(try field.string("z"))
        else {
            return nil
        }
        return .order(
            clientOrderID: id,
            market: MarketID(venue: endpoint.venue, product: endpoint.product.rawValue, symbol: symbol),
            snapshot: VenueSnapshot(
                venueOrderID: "\(try field.int64("i"))",
                clientOrderID: id,
                state: state,
                filled: filled,
                fills: [],
                isTriggered: try Self.isAwake(field),
            ),
        )
    }

    /// A spot stop that is on the book.
    private static func isAwake(_ field: JSONField) throws -> Bool {
        let type = try field.optional("o")?.string() ?? ""
        return try type.hasPrefix("STOP_LOSS") && (field.optional("w")?.bool() ?? false)
    }
}
