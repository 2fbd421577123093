// The executions of orders whose answers tell a sum alone.
//
// USD-M answers a placement with what was filled and not with the trades. Whoever asks while a request is under way shares
// the next one: the executions of the symbol since the first of these orders was filled, which costs the venue's limit as
// much as those of one order. Who does not find all of his there asks for his own.
// Limits: 128 orders and 1,000 executions a shared request. Cost: nothing is added for who asks alone.
internal import OrderEngine
internal import SmartOrders

struct BinanceExecutions: Sendable {
    private struct Asked: Sendable {
        let symbol: String
        let orderID: String
        let filled: Quantity
        let at: Timestamp
    }

    private let requests: BinanceRequests
    private let http: VenueHTTP
    private let venueTime: @Sendable () -> Timestamp
    /// Nil: not all of them.
    private let gatherer: Gatherer<Asked, [Fill]?>
    private static let timeoutMs: Int64 = 3_000
    private static let windowMs: Int64 = 2_000
    /// The venue's times are whole milliseconds.
    private static let earlierMs: Int64 = 2

    init(_ requests: BinanceRequests, _ http: VenueHTTP, venueTime: @escaping @Sendable () -> Timestamp) {
        self.requests = requests
        self.http = http
        self.venueTime = venueTime
        gatherer = Gatherer { asked throws(StoreError) in
            try await Self.read(asked, requests, http, at: venueTime())
        }
    }

    /// All executions of an order.
    /// - Parameter filledAt: the venue's time of the only match that filled it; nil: there may have been several.
    /// - Throws: they cannot be read, or some of `filled` are missing.
    func read(symbol: String, orderID: String, filled: Quantity, filledAt: Timestamp?) async throws -> [Fill] {
        if let filledAt {
            let asked = Asked(symbol: symbol, orderID: orderID, filled: filled, at: filledAt)
            if let found = try await gatherer.ask(asked) { return found }
        }
        return try await Self.read(symbol, orderID, filled, requests, http, at: venueTime())
    }

    /// Those of one order.
    private static func read(
        _ symbol: String,
        _ orderID: String,
        _ filled: Quantity,
        _ requests: BinanceRequests,
        _ http: VenueHTTP,
        at time: Timestamp,
    ) async throws(StoreError) -> [Fill] {
        let request = requests.trades(symbol: symbol, orderID: orderID, at: time, windowMs: windowMs)
        guard let fills = await found(request, http, of: [orderID])?[orderID], fills.sum >= filled else {
            throw StoreError(.unavailable, "the executions of order \(orderID) cannot be read whole")
        }
        return fills
    }

    /// By the orders in `wanted`; nil: they cannot be read.
    private static func found(
        _ request: SignedRequest,
        _ http: VenueHTTP,
        of wanted: Set<String>,
    ) async -> [String: [Fill]]? {
        guard case .answered(200, let body, _) = await http.send(request, timeoutMs: timeoutMs) else { return nil }
        do {
            return try BinanceAnswers.trades(body, of: wanted)
        } catch {
            return nil
        }
    }

    /// Answers for orders that were asked for together; nil for those that have to be asked for alone.
    private static func read(
        _ asked: [Asked],
        _ requests: BinanceRequests,
        _ http: VenueHTTP,
        at time: Timestamp,
    ) async throws(StoreError) -> [[Fill]?] {
        if asked.count == 1 {
            return [try await read(asked[0].symbol, asked[0].orderID, asked[0].filled, requests, http, at: time)]
        }
        var answers = [[Fill]?](repeating: nil, count: asked.count)
        for symbol in Set(asked.lazy.map(\.symbol)).sorted() {
            let places = asked.indices.filter { asked[$0].symbol == symbol }
            let first = places.dropFirst().reduce(asked[places[0]].at) { min($0, asked[$1].at) }
            let request = requests.executions(
                symbol: symbol,
                since: first.advanced(milliseconds: -earlierMs),
                at: time,
                windowMs: windowMs,
            )
            guard let found = await found(request, http, of: Set(places.lazy.map { asked[$0].orderID })) else {
                continue
            }
            for place in places {
                guard let fills = found[asked[place].orderID], fills.sum == asked[place].filled else { continue }
                answers[place] = fills
            }
        }
        return answers
    }
}

extension [Fill] {
    fileprivate var sum: Quantity { reduce(.zero) { $0 + $1.quantity } }
}
