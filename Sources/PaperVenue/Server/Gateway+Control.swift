// The control side of the venue: prices in, faults, deposits, market changes, state for tests. Not signed: it listens on
// the same port as the exchange, so the venue belongs on a loopback or private address.
//
//   POST /paper/v1/ticks     [{"market", "source", "price", "qty"?, "venueTime"?, "sequence"?}, ...]; venueTime in
//                            microseconds (absent: now)
//   POST /paper/v1/control   a control document; every key is optional:
//     rules       fault rules, replacing those in force; addRules appends (see FaultRule)
//     down        up, close, silent, unavailable
//     lookupLagMs, clockOffsetMs, clockDriftPpm, latencyUs, engineChecksDeadline, seed
//     clientIds   openOrders, forever, notEnforced, returnsFirst
//     deadlines   enforced, ignored
//     stream      {"silent", "duplicate" and "shuffle" in a million, "cut": true ends the private streams,
//                 "cutAll": true the public ones too, "skipPublic": so many trades are told to nobody}
//     revokedKeys keys that are refused from now on
//     markets     [{"market", "trading"?, "tickSize"?, "stepSize"?, "minQty"?, "minNotional"?, "bandUp"?, "bandDown"?,
//                 "liquidity"?}]
//     deposits    [{"account", "product", "asset", "amount"}], negative withdraws
//     positions   [{"account", "market", "positionSide"?, "qty", "price"}], signed quantity, replaces
//     cancel      [orderId, ...]: the venue ends these orders as cancelled; expire: as expired
//     fills       [{"order": orderId, "qty", "price"}]: somebody trades with these resting orders
//   GET  /paper/v1/state     counts and settings
//
// The document is in the log; faults and settings are not restored by a restart (the control file is read again),
// deposits and positions are.

internal import JSONText
internal import PaperMatching
internal import SmartOrders

extension Gateway {
    private static let keys: Set<String> = [
        "rules", "addRules", "down", "lookupLagMs", "clockOffsetMs", "clockDriftPpm", "latencyUs",
        "engineChecksDeadline", "seed", "clientIds", "deadlines", "stream", "revokedKeys", "markets", "deposits",
        "positions",
        "cancel", "expire", "fills",
    ]

    func control(_ request: GatewayRequest) -> GatewayReply {
        do {
            switch (request.method, request.path) {
            case ("POST", "/paper/v1/ticks"):
                let ticks = try Self.ticks(request.body, now: engine.now)
                feed(ticks)
                var writer = JSONWriter()
                writer.beginObject()
                writer.member("taken", ticks.count)
                writer.endObject()
                return .answer(status: 200, body: writer.take(), retryAfter: nil)
            case ("POST", "/paper/v1/control"):
                try apply(control: try JSONValue(parsing: request.body))
                return .answer(status: 200, body: Array("{}".utf8), retryAfter: nil)
            case ("GET", "/paper/v1/state"):
                return .answer(status: 200, body: stateDocument(), retryAfter: nil)
            default: return Self.answer(.notFoundPath)
            }
        } catch {
            return Self.answer(VenueRefusal(-1100, "\(error)"))
        }
    }

    /// Prices in, in order. What they cause is in the log and in the streams when the next batch is flushed.
    func feed(_ ticks: [PaperTick]) {
        readClock()
        for tick in ticks { engine.tick(tick) }
        scheduleFlush()
    }

    static func ticks(_ body: [UInt8], now: Int64) throws(JSONError) -> [PaperTick] {
        let known: Set<String> = ["market", "source", "price", "qty", "venueTime", "sequence"]
        var ticks: [PaperTick] = []
        for (index, field) in try JSONField(JSONValue(parsing: body)).elements().enumerated() {
            try field.refuseUnknownKeys(except: known)
            let market = try field.required("market").parsed(.badEnum, expected: "a market id") { MarketID($0) }
            ticks.append(
                PaperTick(
                    market: market,
                    source: try field.required("source").choice(),
                    price: Price(try field.decimal("price")),
                    quantity: try field.decimal(ifPresent: "qty").map(Quantity.init),
                    position: TickPosition(
                        venueTime: try field.optional("venueTime")?.int64() ?? now,
                        sequence: try field.optional("sequence")?.int64() ?? Int64(index),
                    ),
                )
            )
        }
        return ticks
    }

    /// Applies a control document. A document with a mistake may have been applied up to the mistake.
    func apply(control document: JSONValue) throws {
        readClock()
        let field = JSONField(document)
        try field.refuseUnknownKeys(except: Self.keys)
        log.line("control", at: engine.now) { $0.member("change", value: document) }
        scheduleFlush()
        try applySettings(field)
        if let stream = try field.optional("stream") {
            try stream.refuseUnknownKeys(except: ["silent", "duplicate", "shuffle", "cut", "cutAll", "skipPublic"])
            if let value = try stream.optional("silent") { faults.streamSilent = try value.bool() }
            if let value = try stream.optional("duplicate") { faults.streamDuplicate = try value.int() }
            if let value = try stream.optional("shuffle") { faults.streamShuffle = try value.int() }
            if let value = try stream.optional("skipPublic") { streams.skipped = try value.int() }
            if try stream.optional("cutAll")?.bool() == true { streams.cut(privateOnly: false, code: 1001) }
            if try stream.optional("cut")?.bool() == true { streams.cut(privateOnly: true, code: 1001) }
        }
        for change in try field.optional("markets")?.elements() ?? [] { try applyMarket(change) }
        for deposit in try field.optional("deposits")?.elements() ?? [] {
            engine.adjust(
                engine.account(try deposit.string("account")),
                try deposit.required("product").choice(),
                engine.asset(try deposit.string("asset")),
                by: try deposit.decimal("amount"),
            )
        }
        for position in try field.optional("positions")?.elements() ?? [] { try applyPosition(position) }
        for order in try field.optional("cancel")?.elements() ?? [] { try engine.cancel(try order.int()) }
        for order in try field.optional("expire")?.elements() ?? [] { try engine.expire(try order.int()) }
        for fill in try field.optional("fills")?.elements() ?? [] {
            try fill.refuseUnknownKeys(except: ["order", "qty", "price"])
            let quantity = Quantity(try fill.decimal("qty"))
            try engine.fill(try fill.int("order"), quantity, at: Price(try fill.decimal("price")))
        }
    }

    private func applySettings(_ field: JSONField) throws {
        if let rules = try field.optional("rules") { faults.rules = try rules.elements().map { try FaultRule($0) } }
        for rule in try field.optional("addRules")?.elements() ?? [] { faults.rules.append(try FaultRule(rule)) }
        if let value = try field.optional("down") { faults.down = try value.choice() }
        if let value = try field.optional("lookupLagMs") { faults.lookupLagMs = try value.int64() }
        if let value = try field.optional("clockOffsetMs") { faults.clockOffsetMs = try value.int64() }
        if let value = try field.optional("clockDriftPpm") { faults.clockDriftPpm = try value.int64() }
        if let value = try field.optional("latencyUs") { faults.latencyMicroseconds = try value.int64() }
        if let value = try field.optional("engineChecksDeadline") { faults.engineChecksDeadline = try value.bool() }
        if let value = try field.optional("seed") {
            faults.random = VenueRandom(seed: UInt64(bitPattern: try value.int64()))
        }
        if let value = try field.optional("clientIds") { engine.clientIDs = try value.choice() }
        if let value = try field.optional("deadlines") {
            let rule: PaperVenueConfiguration.DeadlineRule = try value.choice()
            faults.hasDeadlines = rule == .enforced
        }
        if let keys = try field.optional("revokedKeys") {
            keyring.revoked = Set(try keys.elements().map { try $0.string() })
        }
    }

    private func state(_ field: JSONField) throws -> MarketState {
        let text = try field.string("market")
        guard let id = MarketID(text), let product = PaperProduct(rawValue: id.product),
            let state = engine.market(product, id.symbol)
        else { throw field.error(.badEnum, expected: "a market of the catalogue") }
        return state
    }

    private func applyMarket(_ field: JSONField) throws {
        let state = try state(field)
        try field.refuseUnknownKeys(except: [
            "market", "trading", "tickSize", "stepSize", "minQty", "minNotional", "bandUp", "bandDown", "liquidity",
        ])
        if let flag = try field.optional("trading") { state.market.isTrading = try flag.bool() }
        if let value = try field.decimal(ifPresent: "tickSize") { state.market.tickSize = Price(value) }
        if let value = try field.decimal(ifPresent: "stepSize") { state.market.stepSize = Quantity(value) }
        if let value = try field.decimal(ifPresent: "minQty") { state.market.minQuantity = Quantity(value) }
        if let value = try field.decimal(ifPresent: "minNotional") { state.market.minNotional = Money(value) }
        if let value = try field.decimal(ifPresent: "bandUp") { state.market.bandUp = Rate(value) }
        if let value = try field.decimal(ifPresent: "bandDown") { state.market.bandDown = Rate(value) }
        if let value = try field.optional("liquidity") { state.market.liquidity = try PaperLiquidity(value) }
    }

    private func applyPosition(_ field: JSONField) throws {
        let account = engine.account(try field.string("account"))
        let state = try state(field)
        var side = PositionSide.both
        if let named = try field.optional("positionSide") { side = try named.choice() }
        let quantity = try field.decimal("qty")
        let price = try field.decimal("price")
        engine.setPosition(account, state, side, quantity, price)
        engine.writePosition(account, state, side, quantity, price)
        engine.positionChanged(account, state, side)
        streams.publish(account, state, side, &faults)
    }

    func stateDocument() -> [UInt8] {
        var writer = JSONWriter()
        writer.beginObject()
        writer.member("time", engine.now)
        writer.member("accounts", engine.accounts.count)
        writer.member("orders", engine.orders.count)
        writer.member("openOrders", engine.accounts.reduce(0) { $0 + $1.open.count })
        writer.member("trades", engine.trades.count)
        writer.member("logLines", log.lines)
        writer.member("streams", streams.connectionCount)
        writer.member("rules", faults.rules.count)
        writer.member("down", faults.down.rawValue)
        writer.key("markets")
        writer.beginArray()
        for state in engine.markets {
            writer.beginObject()
            writer.member("market", state.id)
            if let last = state.last { writer.member("last", last) }
            if let mark = state.mark { writer.member("mark", mark) }
            writer.member("resting", state.book.restingCount)
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
        return writer.take()
    }
}
