// Markets and their prices.

internal import Crypto
internal import HTTPTypes
internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct CatalogueRoutes: Sendable {
    let backend: Backend

    var routes: [Route] {
        [
            Route(method: .get, pattern: "/v1/instruments", handler: instruments),
            Route(method: .get, pattern: "/v1/instruments/{market}", handler: instrument),
            Route(method: .get, pattern: "/v1/instruments/{market}/price", handler: price),
        ]
    }

    private func instruments(_ call: Call) async throws -> Reply {
        try call.query.check(known: ["venue", "product"])
        let all = try await backend.accounts.instruments().filter { instrument in
            (call.query["venue"].map { $0 == instrument.market.venue } ?? true)
                && (call.query["product"].map { $0 == instrument.market.product } ?? true)
        }
        let reply = Reply.json { writer in
            writer.key("items")
            writer.beginArray()
            for instrument in all.sorted(by: { $0.market < $1.market }) { writer.market(instrument) }
            writer.endArray()
            writer.member("nextCursor", orNull: nil as String?)
        }
        return Self.cached(reply, call)
    }

    private func found(_ call: Call) async throws -> Instrument {
        // Two steps: the optimiser of Swift 6.3 crashes on an await inside a guard with two bindings here.
        guard let market = MarketID(call.captures[0]) else { throw Problem.notFound }
        let known = try await backend.accounts.instrument(market)
        guard let known else { throw Problem.notFound }
        return known
    }

    private func instrument(_ call: Call) async throws -> Reply {
        let instrument = try await found(call)
        var writer = JSONWriter()
        writer.market(instrument)
        return Self.cached(.json(.ok, writer.take()), call)
    }

    /// 304 for a client that has it already.
    static func cached(_ reply: Reply, _ call: Call) -> Reply {
        guard case .bytes(let body) = reply.body else { return reply }
        var reply = reply
        let tag = "\"\(hexadecimal(SHA256.hash(data: Array(body.readableBytesView)).prefix(16)))\""
        reply.headers[.eTag] = tag
        reply.headers[.cacheControl] = "private, max-age=60"
        guard call.headers[.ifNoneMatch] == tag else { return reply }
        return Reply(status: .notModified, headers: [.eTag: tag, .cacheControl: "private, max-age=60"])
    }

    private func price(_ call: Call) async throws -> Reply {
        let instrument = try await found(call)
        let market = instrument.market
        let now = backend.clock.now()
        var ticks: [(source: TriggerSource, tick: RawTick)] = []
        for source in TriggerSource.allCases {
            guard let tick = await backend.prices.latest(PriceSeries(market: market, source: source)) else { continue }
            ticks.append((source, tick))
        }
        let newest = ticks.map(\.tick.position.venueTime).max()
        let heard = ticks.map(\.tick.receivedAt).max().flatMap { $0 > 0 ? $0 : nil }
        return .json { writer in
            writer.member("market", market.description)
            writer.key("sources")
            writer.beginObject()
            for (source, tick) in ticks {
                writer.key(escaping: source.rawValue)
                writer.beginObject()
                writer.member("price", Price(units: tick.price, decimals: instrument.priceDecimals))
                writer.member("venueTime", Timestamp(microseconds: tick.position.venueTime))
                let received = tick.receivedAt > 0 ? Timestamp(microseconds: tick.receivedAt) : nil
                writer.member("receivedAt", orNull: received)
                writer.member("sequence", tick.position.sequence)
                writer.endObject()
            }
            writer.endObject()
            writer.member("priceAgeMs", orNull: newest.map { max(0, (now.microseconds - $0) / 1_000) })
            writer.member("feedAgeMs", orNull: heard.map { max(0, (now.microseconds - $0) / 1_000) })
            writer.member("origin", orNull: nil as String?)
        }
    }
}

extension JSONWriter {
    /// An Instrument (INTERFACES.md 1.10).
    fileprivate mutating func market(_ instrument: Instrument) {
        beginObject()
        member("market", instrument.market.description)
        member("venue", instrument.market.venue)
        member("product", instrument.market.product)
        member("symbol", instrument.market.symbol)
        member("kind", instrument.kind)
        member("base", instrument.baseAsset)
        member("quote", instrument.quoteAsset)
        member("tickSize", instrument.tickSize)
        member("stepSize", instrument.stepSize)
        member("minQty", instrument.minQuantity)
        member("maxQty", orNull: nil as Quantity?)
        member("minNotional", instrument.minNotional)
        member("contractSize", instrument.contractSize)
        key("priceBand")
        if let rule = instrument.bandRule {
            beginObject()
            member("low", rule.low)
            member("high", rule.high)
            endObject()
        } else {
            null()
        }
        member("makerFee", instrument.makerFee)
        member("takerFee", instrument.takerFee)
        member("status", instrument.status)
        member("defaultTriggerSource", instrument.defaultTriggerSource)
        key("sources")
        beginArray()
        for source in instrument.publishedSources { string(source.rawValue) }
        endArray()
        // What the venue can hold of a plan (ORDERS.md 6.2); the backstop stands by itself.
        key("nativePlans")
        beginArray()
        for (word, plan) in NativeOrders.words where plan != .backstop && instrument.native.contains(plan) {
            string(word)
        }
        endArray()
        member("backstop", instrument.native.contains(.backstop))
        endObject()
    }
}
