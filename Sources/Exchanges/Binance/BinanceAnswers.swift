// Binance's answers, read (exchanges/FACTS.md 6.1, 6.3, 8, 9). Pure. What is not listed as refused is unknown.
internal import JSONText
internal import OrderEngine
internal import SmartOrders

/// An error body, by the class that decides what happens.
public enum VenueErrorClass: String, Hashable, Sendable, CaseIterable {
    case insufficientFunds = "INSUFFICIENT_FUNDS"
    case duplicateClientID = "DUPLICATE_CLIENT_ID"
    case orderNotFound = "ORDER_NOT_FOUND"
    case orderDone = "ORDER_DONE"
    case rateLimited = "RATE_LIMITED"
    case clockSkew = "CLOCK_SKEW"
    case auth = "AUTH"
    case invalidRequest = "INVALID_REQUEST"
    case invalidSize = "INVALID_SIZE"
    case priceBand = "PRICE_BAND"
    case postOnlyWouldCross = "POST_ONLY_WOULD_CROSS"
    case wouldNotFill = "WOULD_NOT_FILL"
    case reduceOnlyRejected = "REDUCE_ONLY_REJECTED"
    case wouldTrigger = "WOULD_TRIGGER"
    case tooManyOrders = "TOO_MANY_ORDERS"
    case marketHalted = "MARKET_HALTED"
    case unavailable = "UNAVAILABLE"
    case unknownOutcome = "UNKNOWN_OUTCOME"
    case other = "OTHER"

    /// The order's reaction; nil: the outcome is unknown.
    var refusal: VenueNews.RefusalKind? {
        switch self {
        case .insufficientFunds: .insufficientBalance
        case .rateLimited, .unavailable, .clockSkew: .rateLimited
        case .auth: .credentials
        case .priceBand: .priceOutOfBand
        case .marketHalted: .marketHalted
        case .invalidRequest, .invalidSize, .postOnlyWouldCross, .wouldNotFill, .reduceOnlyRejected, .wouldTrigger,
            .tooManyOrders:
            .rejected
        case .duplicateClientID, .orderNotFound, .orderDone, .unknownOutcome, .other: nil
        }
    }
}

public enum BinanceAnswers {
    /// Reads `{"code": -2010, "msg": "..."}`. A 5xx may have been executed whatever its code says; the one overload that
    /// is definite is USD-M's -1008 (RELIABILITY.md 2.5).
    static func error(
        status: Int,
        body: [UInt8],
        product: BinanceProduct,
    ) -> (VenueErrorClass, code: String, text: String) {
        let isLimited = status == 418 || status == 429
        guard
            let value = try? JSONValue(parsing: body),  // tidy-ok: unreadable is unknown
            case .object(let object) = value,
            case .number(let code)? = object["code"], case .string(let text)? = object["msg"]
        else { return (isLimited ? .rateLimited : .unknownOutcome, "HTTP \(status)", "no readable error") }
        if isLimited { return (.rateLimited, code, text) }
        return (errorClass(code: Int(code) ?? 0, text: text, status: status, product: product), code, text)
    }

    /// What is said of each of several orders that were placed by one request: the order, or why it was refused.
    static func together(_ body: [UInt8], product: BinanceProduct) throws -> [BinancePlacements.Told] {
        try JSONField(JSONValue(parsing: body)).elements().map { field in
            guard let code = try field.optional("code")?.int() else { return .order(field) }
            let text = try field.string("msg")
            // It has no status of its own; a refusal would have come with 400.
            let kind = errorClass(code: code, text: text, status: 400, product: product)
            return .error(kind, code: "\(code)", text: text)
        }
    }

    static func errorClass(code: Int, text: String, status: Int, product: BinanceProduct) -> VenueErrorClass {
        guard status < 500 || (code == -1008 && product == .linear) else { return .unknownOutcome }
        switch code {
        case -2010:
            if text.contains("insufficient balance") { return .insufficientFunds }
            if text.contains("Duplicate order") { return .duplicateClientID }
            if text.contains("immediately match") { return .postOnlyWouldCross }
            if text.contains("trigger immediately") { return .wouldTrigger }
            return .invalidRequest
        case -2011, -2013, -2026: return .orderNotFound
        case -1021: return .clockSkew
        case -1022, -2014, -2015: return .auth
        case -1003, -1015: return .rateLimited
        case -1013:
            if text.contains("PERCENT_PRICE") { return .priceBand }
            if text.contains("MAX_NUM") { return .tooManyOrders }
            if text.contains("Market is closed") { return .marketHalted }
            return .invalidSize
        case -1111, -4001, -4003, -4004, -4005, -4014, -4023, -4164: return .invalidSize
        case -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1115, -1116, -1117, -1121, -4120: return .invalidRequest
        case -1006, -1007: return .unknownOutcome
        case -1008 where product == .linear: return .unavailable
        case -2019 where product == .linear: return .insufficientFunds
        case -4116, -20132: return product == .linear ? .duplicateClientID : .other
        case -2022 where product == .linear: return .reduceOnlyRejected
        case -4118 where product == .linear: return .reduceOnlyRejected
        case -2021 where product == .linear: return .wouldTrigger
        case -5022 where product == .linear: return .postOnlyWouldCross
        case -4016, -4024, -4131: return product == .linear ? .priceBand : .other
        default: return .other  // tidy-ok: codes of the venue
        }
    }

    /// Reads an order object. `fills` are those in it; futures have none and are completed from the trades.
    static func order(_ body: [UInt8], product: BinanceProduct) throws -> VenueSnapshot {
        try order(JSONField(JSONValue(parsing: body)), product: product)
    }

    static func order(_ field: JSONField, product: BinanceProduct) throws -> VenueSnapshot {
        let status = try field.string("status")
        guard let state = state(status) else { throw VenueError("unknown order status \(status)") }
        guard let filled = Quantity(try field.string("executedQty")) else { throw VenueError("executedQty") }
        var fills: [Fill] = []
        let time = try changed(field) ?? Timestamp(milliseconds: 0)
        if let list = try field.optional("fills") {
            for one in try list.elements() { fills.append(try fill(one, time: time)) }
        }
        // A cancel report names the cancel itself in `clientOrderId`.
        let original = try field.optional("origClientOrderId")?.string() ?? ""
        let clientOrderID = try original.isEmpty ? field.string("clientOrderId") : original
        // A spot stop works once its trigger has put it on the book.
        let type = try field.optional("type")?.string() ?? ""
        let isStop = type.hasPrefix("STOP_LOSS") || type.hasPrefix("TAKE_PROFIT")
        return VenueSnapshot(
            venueOrderID: "\(try field.int64("orderId"))",
            clientOrderID: clientOrderID,
            state: state,
            filled: filled,
            fills: fills,
            isTriggered: try isStop && (field.optional("isWorking")?.bool() ?? false),
        )
    }

    /// The venue's time of the last change of an order, in whole milliseconds; nil: it is not told.
    static func changed(_ field: JSONField) throws -> Timestamp? {
        try (field.optional("transactTime") ?? field.optional("updateTime") ?? field.optional("time"))
            .map { Timestamp(milliseconds: try $0.int64()) }
    }

    /// What an algo order says: itself while it sleeps, or the id of the order that it became.
    enum Algo {
        case sleeping(VenueSnapshot)
        case became(orderID: String)
    }

    static func algo(_ body: [UInt8]) throws -> Algo {
        let field = JSONField(try JSONValue(parsing: body))
        // Empty, 0 or absent until it is triggered.
        let actual = try field.optional("actualOrderId")
        let child: String =
            switch actual?.value {
            case .string(let text)?: text
            case .number(let text)?: text
            case .null?, .bool?, .array?, .object?, nil: ""
            }
        if !child.isEmpty, child != "0" { return .became(orderID: child) }
        let status = try field.string("algoStatus")
        guard let state = algoState(status) else { throw VenueError("unknown algo status \(status)") }
        return .sleeping(
            VenueSnapshot(
                venueOrderID: "\(try field.int64("algoId"))",
                clientOrderID: try field.string("clientAlgoId"),
                state: state,
                filled: .zero,
                fills: [],
                isTriggered: status == "TRIGGERED",
            )
        )
    }

    static func algoState(_ status: String) -> VenueSnapshot.State? {
        switch status {
        case "NEW", "TRIGGERING", "TRIGGERED": .open
        case "CANCELED": .cancelled
        // Triggered, and nothing came of it.
        case "EXPIRED", "FINISHED": .expired
        case "REJECTED": .rejected
        default: nil  // tidy-ok: states of the venue
        }
    }

    /// The legs of an order list, by their client ids.
    static func list(_ body: [UInt8]) throws -> [String: VenueSnapshot] {
        let field = JSONField(try JSONValue(parsing: body))
        var legs: [String: VenueSnapshot] = [:]
        for report in try field.elements("orderReports") {
            let leg = try order(report, product: .spot)
            legs[leg.clientOrderID] = leg
        }
        return legs
    }

    static func state(_ status: String) -> VenueSnapshot.State? {
        switch status {
        case "NEW", "PENDING_NEW", "PARTIALLY_FILLED", "PENDING_CANCEL": .open
        case "FILLED": .filled
        case "CANCELED": .cancelled
        case "EXPIRED", "EXPIRED_IN_MATCH": .expired
        case "REJECTED": .rejected
        default: nil  // tidy-ok: states of the venue
        }
    }

    /// One element of `fills` (spot) or of the trades list (both).
    private static func fill(_ field: JSONField, time: Timestamp) throws -> Fill {
        let id = try field.optional("tradeId")?.int64() ?? field.int64("id")
        guard let quantity = Quantity(try field.string("qty")), let price = Price(try field.string("price")),
            let fee = ExactDecimal(try field.string("commission"))
        else { throw VenueError("a trade without quantity, price or commission") }
        let asset = try field.string("commissionAsset")
        return Fill(
            venueFillID: "\(id)",
            quantity: quantity,
            price: price,
            fee: fee,
            feeAsset: .other(asset),
            isMaker: try (field.optional("maker") ?? field.optional("isMaker"))?.bool() ?? false,
            time: try field.optional("time").map { Timestamp(milliseconds: try $0.int64()) } ?? time,
        )
    }

    /// Executions of a market, with whose they are.
    static func executions(_ body: [UInt8]) throws -> [VenueExecution] {
        try JSONField(JSONValue(parsing: body)).elements().map { field in
            guard let quantity = Quantity(try field.string("qty")) else { throw VenueError("a trade without quantity") }
            let isBuy = try (field.optional("isBuyer") ?? field.required("buyer")).bool()
            return VenueExecution(
                venueOrderID: "\(try field.int64("orderId"))",
                side: isBuy ? .buy : .sell,
                quantity: quantity,
            )
        }
    }

    /// The executions of some orders, by the venue's id.
    static func trades(_ body: [UInt8], of orders: Set<String>) throws -> [String: [Fill]] {
        var found: [String: [Fill]] = [:]
        for field in try JSONField(JSONValue(parsing: body)).elements() {
            let order = "\(try field.int64("orderId"))"
            guard orders.contains(order) else { continue }
            found[order, default: []].append(try fill(field, time: Timestamp(milliseconds: 0)))
        }
        return found
    }

    static func serverTime(_ body: [UInt8]) throws -> Timestamp {
        Timestamp(milliseconds: try JSONField(JSONValue(parsing: body)).int64("serverTime"))
    }

    static func listenKey(_ body: [UInt8]) throws -> String {
        try JSONField(JSONValue(parsing: body)).string("listenKey")
    }

    /// Signed position of a symbol and its average. `side`: of an account that has one for each; nil: the netted one.
    static func position(
        _ body: [UInt8],
        symbol: String,
        side: Side?,
    ) throws -> (quantity: ExactDecimal, average: Price?) {
        for field in try JSONField(JSONValue(parsing: body)).elements() where try field.string("symbol") == symbol {
            guard try positionSide(field.string("positionSide")) == side else { continue }
            return try position(field.string("positionAmt"), average: field.string("entryPrice"))
        }
        // Flat ones are not listed.
        return (.zero, nil)
    }

    static func position(_ amount: String, average: String) throws -> (quantity: ExactDecimal, average: Price?) {
        guard let quantity = ExactDecimal(amount), let price = Price(average) else { throw VenueError("a position") }
        return (quantity, quantity.isZero || !price.isPositive ? nil : price)
    }

    static func positionSide(_ text: String) throws -> Side? {
        switch text {
        case "LONG": .buy
        case "SHORT": .sell
        case "BOTH": nil
        case _: throw VenueError("position side \(text)")
        }
    }

    /// Free and locked coins of an asset on spot.
    static func coins(_ body: [UInt8], asset: String) throws -> (free: ExactDecimal, locked: ExactDecimal) {
        let field = JSONField(try JSONValue(parsing: body))
        for balance in try field.required("balances").elements() where try balance.string("asset") == asset {
            guard let free = ExactDecimal(try balance.string("free")),
                let locked = ExactDecimal(try balance.string("locked"))
            else { throw VenueError("a balance of \(asset)") }
            return (free, locked)
        }
        return (.zero, .zero)
    }

    /// An order as somebody placed it, with its executions left out. Nil: it is no open limit order.
    static func resting(_ body: [UInt8], fills: [Fill]) throws -> RestingOrder? {
        let field = JSONField(try JSONValue(parsing: body))
        guard try state(field.string("status")) == .open, try field.string("type") == "LIMIT",
            try field.string("timeInForce") == "GTC"
        else { return nil }
        guard let side = Side(rawValue: try field.string("side")), let limit = Price(try field.string("price")),
            let quantity = Quantity(try field.string("origQty"))
        else { throw VenueError("an order without side, price or quantity") }
        return RestingOrder(
            clientOrderID: try field.string("clientOrderId"),
            order: AdoptedOrder(
                venueOrderID: "\(try field.int64("orderId"))",
                side: side,
                quantity: quantity,
                limit: limit,
                reduceOnly: try field.optional("reduceOnly")?.bool() ?? false,
                fills: fills,
            ),
        )
    }
}
