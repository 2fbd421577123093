// Tells the paper venue what the market does. The venue matches against these prices; a real exchange needs no such
// thing, so this is no part of the adapter.
public import OrderEngine
public import SmartOrders

/// The control side of a paper venue, over HTTP.
public struct PaperPrices: Sendable {
    private let base: String
    private let http: VenueHTTP

    /// - Parameter base: `http://host:port`.
    public init(base: String, http: VenueHTTP) {
        self.base = base
        self.http = http
    }

    /// Prices, in order. Returns when the venue has matched against them. Repeated until the venue answers: prices are
    /// facts, and the same price twice changes nothing.
    /// - Parameter decimals: of the market's price units.
    public func send(_ ticks: [SourcedTick], decimals: (MarketID) -> Int) async throws {
        var body = "["
        for (index, sourced) in ticks.enumerated() {
            if index > 0 { body += "," }
            let price = Price(units: sourced.tick.price, decimals: decimals(sourced.series.market))
            body += "{\"market\":\"\(sourced.series.market)\",\"source\":\"\(sourced.series.source.rawValue)\","
            body += "\"price\":\"\(price)\","
            if let quantity = sourced.quantity { body += "\"qty\":\"\(quantity)\"," }
            body += "\"venueTime\":\(sourced.tick.position.venueTime),\"sequence\":\(sourced.tick.position.sequence)}"
        }
        try await post("/paper/v1/ticks", body + "]")
    }

    /// Gives an account (by its key) a position, signed.
    public func setPosition(
        key: String,
        market: MarketID,
        positionSide: String?,
        quantity: ExactDecimal,
        price: Price,
    ) async throws {
        let side = positionSide.map { "\"positionSide\":\"\($0)\"," } ?? ""
        try await post(
            "/paper/v1/control",
            "{\"positions\":[{\"account\":\"\(key)\",\"market\":\"\(market)\",\(side)\"qty\":\"\(quantity)\","
                + "\"price\":\"\(price)\"}]}",
        )
    }

    private func post(_ path: String, _ body: String) async throws {
        var pause: UInt64 = 10_000_000
        for attempt in 1... {
            let outcome = await http.send(
                SignedRequest(method: .post, base: base, path: path, body: body),
                timeoutMs: 3_000,
            )
            switch outcome {
            case .answered(200, _, _): return
            case .answered(let status, let answer, _):
                throw VenueError("paper venue: HTTP \(status) \(String(decoding: answer.prefix(200), as: UTF8.self))")
            case .notSent(let reason), .unknown(let reason):
                if attempt >= 40 { throw VenueError("paper venue does not answer: \(reason)") }
            }
            try await Task.sleep(nanoseconds: pause)
            pause = min(pause * 2, 500_000_000)
        }
    }
}
