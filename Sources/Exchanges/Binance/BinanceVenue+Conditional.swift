// Conditional orders and order lists at Binance: asked, followed through their trigger, heard of.
//
// A triggered algo order is a separate normal order. Whoever looks one up gets the order that it became, under our id.
internal import JSONText
public import OrderEngine
public import SmartOrders

extension BinanceVenue {
    public func cancel(market: MarketID, clientOrderID: String, type: VenueOrderType) async -> CancelAnswer {
        guard endpoint.product == .linear, type.isConditional else {
            return await cancel(market: market, clientOrderID: clientOrderID)
        }
        let request = algoRequest(.delete, market, clientOrderID)
        switch await http.send(request, timeoutMs: Self.timeoutMs) {
        case .notSent(let reason), .unknown(let reason): return .failed(reason)
        case .answered(200, _, _):
            // The answer names the order and says nothing of it.
            switch await lookUp(market: market, clientOrderID: clientOrderID, type: type) {
            case .found(let snapshot): return .cancelled(snapshot)
            case .notFound: return .notOpen
            case .failed(let reason): return .failed(reason)
            }
        case .answered(let status, let body, _):
            let (kind, code, text) = classify(status, body)
            guard kind == .orderNotFound || kind == .orderDone else { return .failed("\(code): \(text)") }
            // It is awake, perhaps: what it became can be cancelled too.
            return await cancelChild(market: market, clientOrderID: clientOrderID)
        }
    }

    private func cancelChild(market: MarketID, clientOrderID: String) async -> CancelAnswer {
        let request = algoRequest(.get, market, clientOrderID)
        guard case .answered(200, let body, _) = await http.send(request, timeoutMs: Self.timeoutMs),
            case .became(let orderID)? = try? BinanceAnswers.algo(body)  // tidy-ok: unreadable is looked up again
        else { return .notOpen }
        let cancel = requests.cancel(
            symbol: market.symbol,
            orderID: orderID,
            at: venueTime(),
            windowMs: Self.shortWindowMs,
        )
        return switch await order(cancel, symbol: market.symbol) {
        case .snapshot(let snapshot): .cancelled(snapshot.known(as: clientOrderID))
        case .error(.orderNotFound, _, _), .error(.orderDone, _, _): .notOpen
        case .error(_, let code, let text): .failed("\(code): \(text)")
        case .notSent(let reason), .unknown(let reason): .failed(reason)
        }
    }

    public func lookUp(market: MarketID, clientOrderID: String, type: VenueOrderType) async -> LookUpAnswer {
        guard endpoint.product == .linear, type.isConditional else {
            return await lookUp(market: market, clientOrderID: clientOrderID)
        }
        return switch await algo(algoRequest(.get, market, clientOrderID), market) {
        case .snapshot(let snapshot): .found(snapshot.known(as: clientOrderID))
        case .error(.orderNotFound, _, _): .notFound
        case .error(_, let code, let text): .failed("\(code): \(text)")
        case .notSent(let reason), .unknown(let reason): .failed(reason)
        }
    }

    private func algoRequest(
        _ method: SignedRequest.Method,
        _ market: MarketID,
        _ clientOrderID: String,
    ) -> SignedRequest {
        requests.algo(
            method,
            symbol: market.symbol,
            clientOrderID: clientOrderID,
            at: venueTime(),
            windowMs: Self.shortWindowMs,
        )
    }

    /// Sends a request about an algo order and reads what it is, or what it became.
    func algo(_ request: SignedRequest, _ market: MarketID) async -> OrderAnswer {
        switch await http.send(request, timeoutMs: Self.timeoutMs) {
        case .notSent(let reason): return .notSent(reason)
        case .unknown(let reason): return .unknown(reason)
        case .answered(200, let body, _):
            let algo: BinanceAnswers.Algo
            do { algo = try BinanceAnswers.algo(body) } catch {
                return .unknown("the answer cannot be read whole: \(error)")
            }
            switch algo {
            case .sleeping(let snapshot): return .snapshot(snapshot)
            case .became(let orderID):
                let query = requests.query(
                    symbol: market.symbol,
                    orderID: orderID,
                    at: venueTime(),
                    windowMs: Self.shortWindowMs,
                )
                let answer = await order(query, symbol: market.symbol)
                guard case .snapshot(let snapshot) = answer else {
                    return .unknown("the order that a trigger made cannot be read")
                }
                return .snapshot(snapshot.triggered)
            }
        case .answered(let status, let body, _):
            let (kind, code, text) = classify(status, body)
            return .error(kind, code: code, text: text)
        }
    }

    public func placeList(_ target: Placement, _ stop: Placement) async -> [PlacementAnswer] {
        let request = requests.placeList(target, stop)
        func both(_ answer: PlacementAnswer) -> [PlacementAnswer] { [answer, answer] }
        switch await http.send(request, timeoutMs: Self.timeoutMs) {
        case .notSent(let reason): return both(.notSent(reason))
        case .unknown(let reason): return both(.unknown(reason))
        case .answered(200, let body, _):
            do {
                let legs = try BinanceAnswers.list(body)
                var answers: [PlacementAnswer] = []
                for leg in [target, stop] {
                    guard let found = legs[leg.clientOrderID] else { throw VenueError("a leg is missing") }
                    answers.append(.accepted(try await complete(found, symbol: leg.market.symbol)))
                }
                return answers
            } catch {
                return both(.unknown("the answer cannot be read whole: \(error)"))
            }
        case .answered(let status, let body, _):
            let (kind, code, text) = classify(status, body)
            if kind == .duplicateClientID { return both(.duplicate) }
            return both(
                kind.refusal.map { .refused($0, code: code, detail: text) } ?? .unknown("\(code): \(text)")
            )
        }
    }

    /// ALGO_UPDATE: a bell; whoever hears it looks the order up.
    func algoEvent(_ field: JSONField) throws -> VenueStreamEvent? {
        let id = try field.string("caid")
        let status = try field.string("X")
        guard let state = BinanceAnswers.algoState(status) else { return nil }
        return .order(
            clientOrderID: id,
            market: MarketID(
                venue: endpoint.venue,
                product: endpoint.product.rawValue,
                symbol: try field.string("s"),
            ),
            snapshot: VenueSnapshot(
                venueOrderID: "\(try field.int64("aid"))",
                clientOrderID: id,
                state: state,
                filled: .zero,
                fills: [],
                isTriggered: status == "TRIGGERED" || status == "FINISHED",
            ),
        )
    }
}

extension VenueSnapshot {
    fileprivate func known(as id: String) -> VenueSnapshot {
        VenueSnapshot(
            venueOrderID: venueOrderID,
            clientOrderID: id,
            state: state,
            filled: filled,
            fills: fills,
            isTriggered: isTriggered,
        )
    }

    fileprivate var triggered: VenueSnapshot {
        VenueSnapshot(
            venueOrderID: venueOrderID,
            clientOrderID: clientOrderID,
            state: state,
            filled: filled,
            fills: fills,
            isTriggered: true,
        )
    }
}
