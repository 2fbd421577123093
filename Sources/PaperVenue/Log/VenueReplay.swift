// Rebuilding a venue from its log: the recorded changes are applied again, nothing is decided anew.
//
// A line that is no JSON is a torn one and skipped. An order whose kind cannot rest and that has no end (the machine
// died between two lines) is expired when the replay is through. Unknown markets (taken out of the catalogue) are an
// error: their orders would be lost silently.

internal import JSONText
internal import PaperMatching
internal import SmartOrders

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

struct VenueReplay {
    let engine: VenueEngine
    /// Number of the last line; the next one is `lines + 1`.
    private(set) var lines = 0
    /// Greatest request number.
    private(set) var requests = 0
    private(set) var lastTime: Int64 = 0
    /// The last line has no line feed.
    private(set) var isTorn = false
    private(set) var listenKeys: [StreamOwner: String] = [:]

    /// Applies the log at `path` to an empty engine; a file that is not there is an empty log.
    static func run(path: String, into engine: VenueEngine) throws -> VenueReplay {
        var replay = VenueReplay(engine: engine)
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return replay }
            throw VenueLogError(description: "cannot read the venue log \(path): errno \(errno)")
        }
        defer { close(descriptor) }
        var rest: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw VenueLogError(description: "cannot read the venue log: errno \(errno)") }
            if count == 0 { break }
            rest.append(contentsOf: chunk[..<count])
            var start = 0
            while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
                try replay.line(Array(rest[start..<end]))
                start = end + 1
            }
            rest.removeFirst(start)
        }
        replay.isTorn = !rest.isEmpty
        replay.finish()
        return replay
    }

    private mutating func line(_ bytes: [UInt8]) throws {
        let value: JSONValue
        do { value = try JSONValue(parsing: bytes) } catch { return }
        let field = JSONField(value)
        lines = try field.int("n")
        lastTime = try field.int64("time")
        engine.now = lastTime
        switch try field.string("kind") {
        case "account":
            _ = engine.openAccount(try field.string("account"), hasTwoSides: try field.bool("twoSides"))
        case "deposit":
            engine.deposit(
                try account(field),
                try field.required("product").choice(),
                engine.asset(try field.string("asset")),
                try amount(field, "amount"),
            )
        case "request": requests = max(requests, try field.int("request"))
        case "accept": try accept(field)
        case "wake": engine.wake(try field.int("orderId"), reserving: try amount(field, "reserved"))
        case "algo": try algo(field)
        case "algoTrail":
            let index = try field.int("algoId") - engine.idBase
            guard engine.algos.indices.contains(index) else {
                throw VenueLogError(description: "line \(lines): an unknown conditional order")
            }
            engine.algos[index].best = Price(try amount(field, "best"))
        case "algoEnd":
            guard let status = AlgoStatus(rawValue: try field.string("result")) else {
                throw VenueLogError(description: "line \(lines): unknown result")
            }
            engine.settleAlgo(try field.int("algoId"), status, child: try field.optional("orderId")?.int())
        case "fill": try fill(field)
        case "end":
            guard let status = OrderStatus(rawValue: try field.string("result")) else {
                throw VenueLogError(description: "line \(lines): unknown result")
            }
            engine.finish(try field.int("orderId"), status)
        case "tick":
            let state = try market(field)
            let price = Price(try amount(field, "price"))
            switch try field.required("source").choice(TriggerSource.self) {
            case .last: state.last = price
            case .mark: state.mark = price
            case .index, .bid, .ask: break
            }
        case "leverage": try account(field).leverage[market(field).index] = try field.int("leverage")
        case "sides": try account(field).hasTwoSides = try field.bool("twoSides")
        case "position":
            guard let side = PositionSide(rawValue: try field.string("positionSide")) else { return }
            engine.setPosition(
                try account(field),
                try market(field),
                side,
                try amount(field, "qty"),
                try amount(field, "price"),
            )
        case "stream":
            let owner = StreamOwner(
                account: try account(field).index,
                product: try field.required("product").choice(),
            )
            listenKeys[owner] = try field.optional("listenKey")?.string()
        default: break
        }
    }

    /// Puts the open orders back on the books. Limited quantity of the last price is gone: the next tick brings more.
    private func finish() {
        for state in engine.markets {
            let liquidity: Quantity?
            switch state.market.liquidity {
            case .unlimited: liquidity = nil
            case .tick, .fixed: liquidity = .zero
            }
            state.book = MatchingBook(fillPrice: state.last ?? state.mark, liquidity: liquidity)
        }
        for order in engine.orders where order.status.isOpen && order.canRest && !order.isAsleep {
            engine.markets[order.market].book.restore(
                BookOrder(key: order.id, side: order.side, kind: order.bookKind, quantity: order.quantity),
                filled: order.filled,
            )
        }
    }

    private func accept(_ field: JSONField) throws {
        let id = try field.int("orderId")
        guard let type = OrderType(rawValue: try field.string("type")),
            let time = TimeInForce(rawValue: try field.string("timeInForce")),
            let positionSide = PositionSide(rawValue: try field.string("positionSide")),
            let selfTrade = SelfTradePrevention(rawValue: try field.string("selfTrade")),
            id == engine.orders.count + engine.idBase
        else { throw VenueLogError(description: "line \(lines): not an acceptance that follows the one before") }
        let list = try field.optional("listId")?.int()
        if let list, list == engine.lists.count + engine.idBase {
            engine.openList(
                list,
                clientID: try field.string("listClientOrderId"),
                account: try account(field).index,
                market: try market(field).index,
            )
        }
        let order = engine.admit(
            OrderTicket(
                account: try account(field).index,
                market: try market(field).index,
                clientID: try field.string("clientOrderId"),
                side: try field.required("side").choice(),
                type: type,
                timeInForce: time,
                quantity: Quantity(try amount(field, "qty")),
                quoteQuantity: nil,
                price: Price(try amount(field, "price")),
                reduceOnly: try field.bool("reduceOnly"),
                positionSide: positionSide,
                selfTrade: selfTrade,
                stop: try field.has("stopPrice") ? Price(amount(field, "stopPrice")) : nil,
                list: list,
            ),
            reserved: try amount(field, "reserved"),
        )
        if let list { engine.lists[list - engine.idBase].orders.append(order) }
    }

    private func algo(_ field: JSONField) throws {
        guard let type = AlgoType(rawValue: try field.string("type")),
            let positionSide = PositionSide(rawValue: try field.string("positionSide")),
            let selfTrade = SelfTradePrevention(rawValue: try field.string("selfTrade")),
            try field.int("algoId") == engine.algos.count + engine.idBase
        else { throw VenueLogError(description: "line \(lines): not a conditional order that follows the one before") }
        _ = engine.admitAlgo(
            AlgoTicket(
                account: try account(field).index,
                market: try market(field).index,
                clientID: try field.string("clientOrderId"),
                side: try field.required("side").choice(),
                type: type,
                quantity: Quantity(try amount(field, "qty")),
                price: Price(try amount(field, "price")),
                trigger: Price(try amount(field, "triggerPrice")),
                callback: try field.has("callbackRate") ? amount(field, "callbackRate") : nil,
                watchesMark: try field.bool("mark"),
                closesPosition: try field.bool("closePosition"),
                reduceOnly: try field.bool("reduceOnly"),
                positionSide: positionSide,
                selfTrade: selfTrade,
            )
        )
    }

    private func fill(_ field: JSONField) throws {
        let id = try field.int("orderId")
        guard let order = engine.order(id), try field.int("tradeId") == engine.trades.count + engine.idBase else {
            throw VenueLogError(description: "line \(lines): not a fill that follows the one before")
        }
        _ = engine.execute(
            Match(
                key: id,
                side: order.side,
                quantity: Quantity(try amount(field, "fillQty")),
                price: Price(try amount(field, "fillPrice")),
                isMaker: try field.bool("maker"),
            ),
            (try amount(field, "fee"), engine.asset(try field.string("feeAsset"))),
        )
    }

    private func account(_ field: JSONField) throws -> Account {
        let key = try field.string("account")
        guard let index = engine.accountIndex[key] else {
            throw VenueLogError(description: "line \(lines): unknown account")
        }
        return engine.accounts[index]
    }

    private func market(_ field: JSONField) throws -> MarketState {
        let text = try field.string("market")
        guard let id = MarketID(text), let product = PaperProduct(rawValue: id.product),
            let state = engine.market(product, id.symbol)
        else { throw VenueLogError(description: "line \(lines): market \(text) is not in the catalogue") }
        return state
    }

    /// Sums of products have more digits than what clients send.
    private func amount(_ field: JSONField, _ key: String) throws(JSONError) -> ExactDecimal {
        try field.required(key).parsed(.badDecimal, expected: "a decimal") { ExactDecimal($0) }
    }
}
