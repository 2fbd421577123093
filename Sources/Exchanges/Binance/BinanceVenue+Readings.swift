// What people ask about an account at Binance: balances, positions, everything that is open (exchanges/FACTS.md 6.1, 6.3).
internal import JSONText
public import OrderEngine
internal import SmartOrders

extension BinanceRequests {
    /// Balances; on spot `holdings` has them.
    func balances(at time: Timestamp, windowMs: Int64) -> SignedRequest {
        switch product {
        case .spot: holdings(at: time, windowMs: windowMs)
        case .linear: signed(.get, "/fapi/v3/balance", FormParameters(), at: time, windowMs: windowMs)
        }
    }

    /// All open orders of the account.
    func openOrders(at time: Timestamp, windowMs: Int64) -> SignedRequest {
        let path = product == .spot ? "/api/v3/openOrders" : "/fapi/v1/openOrders"
        return signed(.get, path, FormParameters(), at: time, windowMs: windowMs)
    }

    /// USD-M: orders that sleep.
    func openAlgoOrders(at time: Timestamp, windowMs: Int64) -> SignedRequest {
        signed(.get, "/fapi/v1/openAlgoOrders", FormParameters(), at: time, windowMs: windowMs)
    }
}

/// Answers that list what an account has.
struct BinanceHoldings {
    let venue: String
    let product: BinanceProduct

    private func market(_ field: JSONField) throws -> MarketID {
        MarketID(venue: venue, product: product.rawValue, symbol: try field.string("symbol"))
    }

    private func decimal(_ field: JSONField, _ key: String) throws -> ExactDecimal {
        guard let value = ExactDecimal(try field.string(key)) else { throw VenueError(key) }
        return value
    }

    /// Nil: absent, empty, or the zero that stands for none.
    private func price(_ field: JSONField, _ key: String) throws -> Price? {
        guard let text = try field.optional(key)?.string(), !text.isEmpty else { return nil }
        guard let price = Price(text) else { throw VenueError(key) }
        return price.isPositive ? price : nil
    }

    func balances(_ body: [UInt8]) throws -> [VenueBalance] {
        let root = JSONField(try JSONValue(parsing: body))
        switch product {
        case .spot:
            return try root.elements("balances").map { field in
                VenueBalance(
                    asset: try field.string("asset"),
                    free: try decimal(field, "free"),
                    locked: try decimal(field, "locked"),
                )
            }
        case .linear:
            return try root.elements().map { field in
                let (whole, free) = (try decimal(field, "balance"), try decimal(field, "availableBalance"))
                // With a gain that is not realised more is available than there is.
                let locked = whole > free ? whole - free : .zero
                return VenueBalance(asset: try field.string("asset"), free: free, locked: locked)
            }
        }
    }

    func positions(_ body: [UInt8]) throws -> [VenuePosition] {
        try JSONField(JSONValue(parsing: body)).elements().compactMap { field in
            let (quantity, average) = try BinanceAnswers.position(
                field.string("positionAmt"),
                average: field.string("entryPrice"),
            )
            guard !quantity.isZero else { return nil }
            let unrealized = try field.optional("unRealizedProfit")?.string()
            return VenuePosition(
                market: try market(field),
                side: try BinanceAnswers.positionSide(field.string("positionSide")),
                quantity: quantity,
                average: average,
                marks: VenuePosition.Marks(
                    mark: try price(field, "markPrice"),
                    unrealized: unrealized.flatMap { ExactDecimal($0) },
                    liquidation: try price(field, "liquidationPrice"),
                ),
            )
        }
    }

    func openOrders(_ body: [UInt8]) throws -> [VenueOpenOrder] {
        try JSONField(JSONValue(parsing: body)).elements().map { field in
            let type = try field.string("type")
            let rest = try (type, field.string("timeInForce"))
            return try order(
                field,
                id: "\(field.int64("orderId"))",
                clientID: field.string("clientOrderId"),
                type: type,
                quantity: (field.string("origQty"), field.string("executedQty")),
                prices: .init(limit: price(field, "price"), trigger: price(field, "stopPrice")),
                isPlainLimit: rest == ("LIMIT", "GTC"),
            )
        }
    }

    func openAlgoOrders(_ body: [UInt8]) throws -> [VenueOpenOrder] {
        try JSONField(JSONValue(parsing: body)).elements().map { field in
            try order(
                field,
                id: "\(field.int64("algoId"))",
                clientID: field.string("clientAlgoId"),
                type: field.optional("orderType")?.string() ?? field.string("type"),
                quantity: (field.optional("quantity")?.string() ?? "0", "0"),
                prices: .init(limit: price(field, "price"), trigger: price(field, "triggerPrice")),
                isPlainLimit: false,
            )
        }
    }

    private func order(
        _ field: JSONField,
        id: String,
        clientID: String,
        type: String,
        quantity: (whole: String, filled: String),
        prices: VenueOpenOrder.Prices,
        isPlainLimit: Bool,
    ) throws -> VenueOpenOrder {
        guard let side = Side(rawValue: try field.string("side")), let whole = Quantity(quantity.whole),
            let filled = Quantity(quantity.filled)
        else { throw VenueError("an order without side or quantity") }
        return VenueOpenOrder(
            market: try market(field),
            venueOrderID: id,
            clientOrderID: clientID,
            side: side,
            type: type,
            quantity: whole,
            filled: filled,
            prices: prices,
            reduceOnly: try field.optional("reduceOnly")?.bool() ?? false,
            isPlainLimit: isPlainLimit,
        )
    }
}

extension BinanceVenue {
    public func read(_ question: VenueQuestion) async throws(VenueError) -> VenueReading {
        guard await isReady() else { throw VenueError("the venue cannot be reached") }
        let lists = BinanceHoldings(venue: endpoint.venue, product: endpoint.product)
        switch question {
        case .balances:
            return try await listed(requests.balances(at: venueTime(), windowMs: Self.shortWindowMs)) { body in
                .balances(try lists.balances(body))
            }
        case .positions:
            guard endpoint.product == .linear else { return .positions([], isHedged: false) }
            return try await listed(requests.holdings(at: venueTime(), windowMs: Self.shortWindowMs)) { body in
                .positions(try lists.positions(body), isHedged: self.endpoint.isHedged)
            }
        case .openOrders:
            let plain = try await listed(requests.openOrders(at: venueTime(), windowMs: Self.shortWindowMs)) { body in
                .openOrders(try lists.openOrders(body))
            }
            guard endpoint.product == .linear else { return plain }
            let asleep = try await listed(requests.openAlgoOrders(at: venueTime(), windowMs: Self.shortWindowMs)) {
                body in
                .openOrders(try lists.openAlgoOrders(body))
            }
            guard case .openOrders(let first) = plain, case .openOrders(let second) = asleep else { return plain }
            return .openOrders(first + second)
        case .resting(let market, let id): return .resting(try await resting(market: market, venueOrderID: id))
        }
    }

    /// What a venue says in words of its own is kept out of the error: people read it.
    private func listed(
        _ request: SignedRequest,
        _ read: ([UInt8]) throws -> VenueReading,
    ) async throws(VenueError) -> VenueReading {
        switch await http.send(request, timeoutMs: Self.timeoutMs) {
        case .answered(200, let body, _):
            do { return try read(body) } catch { throw VenueError("the venue's answer cannot be read") }
        case .answered(let status, let body, _):
            throw VenueError("the venue refused the question (\(status), \(classify(status, body).code))")
        case .notSent, .unknown: throw VenueError("the venue did not answer")
        }
    }
}
