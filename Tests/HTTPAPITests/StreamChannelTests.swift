// Prices and derived values on the stream and its twin (INTERFACES.md 2.3, 2.6).
import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import Simulation
import SmartOrders
import TestKit
import Testing

extension Rig {
    /// The newest price of the demo market from now on.
    fileprivate func price(_ price: Int64) async throws {
        let series = PriceSeries(market: Instrument.sample().market, source: .mark)
        let now = RealClock().now().microseconds
        let before = try await ticks.latest(series)?.position.sequence ?? 0
        let position = TickPosition(venueTime: now, sequence: before + 1)
        try await ticks.append(
            [RawTick(position: position, price: price * 100_000_000, receivedAt: now)],
            to: series,
        )
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `What streams tell beside events` {
    @Test func `the newest price of each market that was asked for, and no other`() async throws {
        try await withAPI { api in
            try await withStream(api) { stream in
                try await stream.authenticate()
                let ask = #"{"op":"subscribe","channel":"prices","markets":["paper:linear:DEMO"],"id":"p"}"#
                try await stream.send(json: ask)
                let subscribed = try await stream.next("subscribed")
                #expect(subscribed["markets"] == ["paper:linear:DEMO"] && subscribed["id"]?.text == "p")
                let first = try await stream.next("price")
                #expect(first["price"]?.text == "101" && first["source"]?.text == "mark", "\(first)")
                for price in 102...140 as ClosedRange<Int64> { try await api.price(price) }
                // Conflated: the last one comes, whatever was left out between.
                var told: [String] = []
                while told.last != "140" { told.append(try await stream.next("price")["price"]?.text ?? "140") }
                #expect(told.count < 39 && told == told.sorted(), "\(told)")
                try await stream.send(json: #"{"op":"unsubscribe","channel":"prices"}"#)
                _ = try await stream.next("unsubscribed")
                let many = (0..<51).map { "\"paper:linear:M\($0)\"" }.joined(separator: ",")
                try await stream.send(json: #"{"op":"subscribe","channel":"prices","markets":[\#(many)]}"#)
                #expect(try await stream.next("error")["problem"]?["code"]?.text == "TOO_MANY_STREAMS")
                try await stream.send(json: #"{"op":"subscribe","channel":"weather"}"#)
                #expect(try await stream.next("error")["problem"]?["code"]?.text == "BAD_ENUM")
            }
        }
    }

    @Test func `gain, water mark and stop of open orders move with the price, without a version`() async throws {
        try await withAPI { api in
            let id = try await api.create("k", #", "trailing": {"callbackRate": "0.1"}"#)
            try await withStream(api) { stream in
                try await stream.authenticate()
                try await stream.send(json: #"{"op":"subscribe","channel":"derived","account":"\#(api.account)"}"#)
                #expect(try await stream.next("subscribed")["channel"]?.text == "derived")
                func next() async throws -> JSONValue {
                    guard case .array(let items)? = try await stream.next("derived")["items"] else { return .null }
                    #expect(items.count == 1)
                    return items.first ?? .null
                }
                let first = try await next()
                #expect(first["orderId"]?.text == id && first["version"]?.int64 == 1, "\(first)")
                #expect(first["mark"]?.text == "101" && first["unrealized"]?.text == "10")
                // Up, and down again: the mark of the way up stays.
                try await api.price(104)
                try await api.price(103)
                var now = try await next()
                while now["mark"]?.text != "103" { now = try await next() }
                #expect(now["waterMark"]?.text == "104" && now["unrealized"]?.text == "30", "\(now)")
                #expect(now["stopPrice"]?.text == "95" && now["version"]?.int64 == 1)
                // Nobody holds its shard here.
                #expect(now["protection"]?["state"]?.text == "GAP")
            }
            try await withStream(api) { stream in
                try await stream.authenticate(Rig.strangerKey)
                try await stream.send(json: #"{"op":"subscribe","channel":"derived","account":"\#(api.account)"}"#)
                #expect(try await stream.closeCode() == 4403)
            }
        }
    }

    @Test func `the event source begins with a snapshot, and tells derived values when asked`() async throws {
        try await withAPI { api in
            let id = try await api.create("k")
            let head = "HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(Rig.key)\r\nAccept: text/event-stream\r\n"
            try await withSocket(api.port) { connection in
                try await connection.send("GET /v1/events?account=\(api.account)&derived=true \(head)\r\n")
                var text = ""
                while !text.contains("\"last\":true") { text += try await connection.some() }
                #expect(text.contains("event: snapshot\ndata: {\"type\":\"snapshot\"") && text.contains(id))
                #expect(text.contains("id: 1-1\nevent: snapshot"))
                while !text.contains("event: derived\n") { text += try await connection.some() }
                _ = try await api.send(.DELETE, "/v1/orders/\(id)", ifMatch: "*")
                while !text.contains("id: 1-2\nevent: order\n") { text += try await connection.some() }
            }
            // Another history: the gap is told, then what is now.
            try await withSocket(api.port) { connection in
                try await connection.send("GET /v1/events?account=\(api.account) \(head)Last-Event-ID: 7-1\r\n\r\n")
                var text = ""
                while !text.contains("\"last\":true") { text += try await connection.some() }
                let gap = try #require(text.firstRange(of: "event: gap\n"))
                let snapshot = try #require(text.firstRange(of: "event: snapshot\n"))
                #expect(gap.lowerBound < snapshot.lowerBound && text.contains("\"reason\":\"EPOCH\""))
            }
        }
    }

    @Test func `operators see the board's first page, for as long as they are operators`() async throws {
        try await withStoredAPI({ $0.stream.recheckMs = 50 }) { api in
            let boss = try await api.tenant(scopes: "read,operate", roles: "OPERATOR")
            let tenant = try await api.tenant()
            let follow = #"{"op":"subscribe","channel":"operator","id":"o"}"#
            try await withStream(api) { stream in
                try await stream.authenticate(boss.key)
                try await stream.send(json: follow)
                let subscribed = try await stream.next("subscribed")
                #expect(subscribed["channel"]?.text == "operator" && subscribed["id"]?.text == "o")
                #expect(try await stream.next("operator")["overview"]?["openOrders"]?.int64 == 0)
                _ = try await api.create(tenant)
                var open: Int64?
                while open != 1 { open = try await stream.next("operator")["overview"]?["openOrders"]?.int64 ?? 1 }
                try await stream.send(json: #"{"op":"unsubscribe","channel":"operator"}"#)
                #expect(try await stream.next("unsubscribed")["channel"]?.text == "operator")
                try await stream.send(json: follow)
                _ = try await stream.next("operator")
                // The role counts, whatever the key says.
                try await api.sql("UPDATE users SET roles = '{TRADER}' WHERE id = '\(boss.user)'")
                #expect(try await stream.closeCode() == 4403)
            }
            for key in [tenant.key, boss.key] {
                try await withStream(api) { stream in
                    try await stream.authenticate(key)
                    try await stream.send(json: follow)
                    #expect(try await stream.closeCode() == 4403)
                }
            }
        }
    }

    @Test func `everybody is told what is wrong with a venue, and when it is over`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let moon = Instrument(
                market: MarketID(venue: "moon", product: "linear", symbol: "ROCK"),
                kind: .perpetual,
                tickSize: Price(ExactDecimal(mantissa: 1, scale: 1)),
                stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 3)),
                baseAsset: "ROCK",
                quoteAsset: "USDT",
            )
            try await api.accounts.save([moon])
            try await withStream(api) { stream in
                try await stream.authenticate(tenant.key)
                func about(_ code: String) async throws -> JSONValue {
                    while true {
                        let notice = try await stream.next("notice")
                        if notice["code"]?.text == code || notice == .null { return notice }
                    }
                }
                let begun = try await about("VENUE_DOWN")
                #expect(begun["subject"]?.text == "moon" && begun["active"] == .bool(true), "\(begun)")
                // Who comes later is told what holds.
                try await withStream(api) { late in
                    try await late.authenticate(tenant.key)
                    #expect(try await late.next("notice")["active"] == .bool(true))
                }
                let now = RealClock().now().microseconds
                let tick = RawTick(
                    position: TickPosition(venueTime: now, sequence: 1),
                    price: 1,
                    receivedAt: now - 60_000_000,
                )
                try await api.ticks.append([tick], to: PriceSeries(market: moon.market, source: .mark))
                // It tells prices now, old ones.
                var told: [String] = []
                while told.count < 2 {
                    let notice = try await stream.next("notice")
                    guard notice["subject"]?.text == "moon" || notice == .null else { continue }
                    told.append("\(notice["code"]?.text ?? "") \(notice["active"] ?? .null)")
                }
                #expect(Set(told) == ["FEED_STALE true", "VENUE_DOWN false"])
                try await api.sql(
                    """
                    UPDATE control SET incarnation = incarnation + 1, quarantine_from = clock_timestamp()
                    """
                )
                // Another history: streams begin again, and are told.
                #expect(try await stream.closeCode() == 1_001)
                try await withStream(api) { later in
                    try await later.authenticate(tenant.key)
                    func recovering() async throws -> JSONValue? {
                        while true {
                            let notice = try await later.next("notice")
                            if notice["code"]?.text == "RECOVERING" || notice == .null { return notice["active"] }
                        }
                    }
                    #expect(try await recovering() == .bool(true))
                    try await api.sql("UPDATE control SET recovered = incarnation")
                    #expect(try await recovering() == .bool(false))
                }
            }
        }
    }
}
