// Lists with their filters and orders, answers that are waited for, bars, and where requests come from
// (INTERFACES.md 1.1, 1.7, 1.9).
import JSONText
import NIOHTTP1
import OrderEngine
import OrderJSON
import OrderStorage
import Simulation
import SmartOrders
import TestKit
import Testing

@testable import HTTPAPI

extension Answer {
    fileprivate func ids() -> [String] {
        guard case .array(let items)? = json["items"] else { return [] }
        return items.compactMap { $0["id"]?.text }
    }
}

@Suite(.serialized, .timeLimit(.minutes(3)))
struct `A list of orders` {
    /// Three orders: `a` with a note, `b` short with a client order id, `c` cancelled.
    private struct Three {
        let api: StoredRig
        let tenant: Tenant
        let a, b, c: String

        init(_ api: StoredRig) async throws {
            self.api = api
            tenant = try await api.tenant()
            try await api.accounts.save([.sample(), .sample("ALPHA")])
            try await api.price(101 * 100_000_000, symbol: "ALPHA")
            a = try await api.create(tenant, ["note": "\"100 % for the Summer\""])
            b = try await api.create(
                tenant,
                [
                    "market": "\"paper:linear:ALPHA\"", "side": "\"SELL\"", "clientOrderId": "\"mine-1\"",
                    "stopLoss": #"{"price": "120"}"#, "takeProfits": #"[{"price": "90", "sizePct": "100"}]"#,
                ],
            )
            c = try await api.create(tenant)
            let cancelled = try await api.act(tenant, c, .DELETE, "")
            #expect(cancelled.status == 202, "\(cancelled.text)")
        }

        func list(_ query: String) async throws -> [String] {
            let answer = try await api.send(.GET, "/v1/orders?\(query)", key: tenant.key)
            #expect(answer.status == 200, "\(query): \(answer.text)")
            return answer.ids()
        }
    }

    @Test func `has what its filters ask for`() async throws {
        try await withStoredAPI { api in
            let three = try await Three(api)
            let (a, b, c) = (three.a, three.b, three.c)
            let wanted: [(String, [String])] = [
                ("", [c, b, a]), ("symbol=ALPHA", [b]), ("venue=paper", [c, b, a]), ("venue=other", []),
                ("side=SELL", [b]), ("side=BUY", [c, a]), ("mode=PAPER", [c, b, a]), ("mode=LIVE", []),
                ("health=OK", [c, b, a]), ("health=RETRYING", []), ("kind=SMART", [c, b, a]), ("kind=POSITION", []),
                ("clientOrderId=mine-1", [b]), ("clientOrderId=mine", []), ("q=summer", [a]), ("q=100%20%25", [a]),
                ("q=alp", [b]), ("q=MINE", [b]), ("q=nothing", []), ("group=active&side=BUY", [a]),
                ("status=CANCELLED&symbol=DEMO", [c]), ("market=paper:linear:DEMO&q=demo", [c, a]),
                ("updatedSince=2020-01-01T00:00:00Z", [c, b, a]), ("updatedSince=2099-01-01T00:00:00Z", []),
                ("createdFrom=2020-01-01T00:00:00Z&createdTo=2099-01-01T00:00:00Z", [c, b, a]),
                ("createdTo=2020-01-01T00:00:00Z", []),
            ]
            for (query, ids) in wanted { #expect(try await three.list(query) == ids, "\(query)") }
            // A note that was changed is found, and the one that it replaced is not.
            _ = try await api.act(three.tenant, a, .PUT, "/note", #"{"note": "winter"}"#)
            #expect(try await three.list("q=winter") == [a])
            #expect(try await three.list("q=summer") == [])
            for query in [
                "side=LONG", "mode=DEMO", "health=GOOD", "kind=CONDITIONAL", "sort=price", "updatedSince=yesterday",
                "q=", "group=all", "nonsense=1",
            ] {
                let answer = try await api.send(.GET, "/v1/orders?\(query)", key: three.tenant.key)
                #expect(answer.status == 400 && answer.code == "BAD_QUERY", "\(query): \(answer.text)")
            }
        }
    }

    @Test func `is sorted as asked, and walked page by page`() async throws {
        try await withStoredAPI { api in
            let three = try await Three(api)
            let (a, b, c) = (three.a, three.b, three.c)
            _ = try await api.act(three.tenant, a, .PATCH, "", #"{"stopLoss": {"price": "96"}}"#)
            let wanted: [(String, [String])] = [
                ("-createdAt", [c, b, a]), ("createdAt", [a, b, c]), ("symbol", [b, c, a]), ("-updatedAt", [a, c, b]),
                ("-closedAt", [c, b, a]),
            ]
            for (sort, ids) in wanted {
                #expect(try await three.list("sort=\(sort)") == ids, "\(sort)")
                var walked: [String] = []
                var target: String? = "/v1/orders?sort=\(sort)&limit=1"
                while let page = target, walked.count < 5 {
                    let answer = try await api.send(.GET, page, key: three.tenant.key)
                    walked += answer.ids()
                    target = answer.json["nextCursor"]?.text.map { "/v1/orders?sort=\(sort)&limit=1&cursor=\($0)" }
                }
                #expect(walked == ids, "\(sort)")
            }
            let page = try await api.send(.GET, "/v1/orders?sort=symbol&limit=1", key: three.tenant.key)
            let cursor = try #require(page.json["nextCursor"]?.text)
            let other = try await api.send(.GET, "/v1/orders?sort=createdAt&cursor=\(cursor)", key: three.tenant.key)
            #expect(other.code == "BAD_CURSOR", "\(other.text)")
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `An answer that is waited for` {
    @Test func `comes when the order has settled, or as soon as the time is over`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let tag = try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key)["ETag"]
            func close(_ prefer: String, _ key: String, _ tag: String?) async throws -> Answer {
                try await api.send(
                    .POST,
                    "/v1/orders/\(id)/close",
                    key: tenant.key,
                    headers: [("Prefer", prefer)],
                    idempotency: key,
                    ifMatch: tag,
                )
            }
            // Nobody executes it: it stays closing.
            let late = try await close("respond-async, wait=1", "one", tag)
            #expect(late.status == 202 && late["Preference-Applied"] == nil, "\(late.text)")
            #expect(late.json["phase"]?.text == "closing")
            let name = try #require(OrderID(id))
            let order = try #require(try await api.orders.load([name]).first?.smart)
            async let waited = close("wait=30", "two", "*")
            // The venue's answer, as a worker would commit it, when the request is most probably waiting.
            try await Task.sleep(for: .milliseconds(1_500))
            var ended = order.next()
            ended.status = .closed
            ended.phase = nil
            ended.closeReason = .manualClose
            ended.venueOrders = []
            let outcome = try await api.orders.commit([.sample(.smart(ended))]).first
            if case .committed = outcome {} else { Issue.record("\(String(describing: outcome))") }
            let answer = try await waited
            // On a machine that is slower than that it came too late, and says so.
            if answer.status == 409 { return #expect(answer.text.contains("ORDER_TERMINAL"), "\(answer.text)") }
            #expect(answer.status == 200 && answer["Preference-Applied"] == "wait=30", "\(answer.text)")
            #expect(answer.json["status"]?.text == "CLOSED")
        }
    }

    @Test func `may be of any command on an order`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let wait = [("Prefer", "wait=1")]
            // Held already: there is nothing to wait for.
            let held = try await api.send(
                .POST,
                "/v1/orders",
                key: tenant.key,
                headers: wait,
                body: api.draft(tenant.account),
                idempotency: "held",
            )
            #expect(held.status == 201 && held["Preference-Applied"] == "wait=1", "\(held.text)")
            let id = try #require(held.json["id"]?.text)
            #expect(held["Location"] == "/v1/orders/\(id)")
            // Its entry is to be placed, and nobody is there to do it.
            let entering = try await api.send(
                .POST,
                "/v1/orders",
                key: tenant.key,
                headers: wait,
                body: api.draft(tenant.account, ["entry": #"{"mode": "limit", "price": "99"}"#]),
                idempotency: "entering",
            )
            #expect(entering.status == 201 && entering["Preference-Applied"] == nil, "\(entering.text)")
            let changed = try await api.send(
                .PATCH,
                "/v1/orders/\(id)",
                key: tenant.key,
                headers: wait,
                body: #"{"stopLoss": {"price": "96"}}"#,
                ifMatch: "\"v1\"",
            )
            #expect(changed.status == 200 && changed["Preference-Applied"] == "wait=1", "\(changed.text)")
            #expect(changed.json["changes"] != nil)
            let conditional = try await api.send(
                .POST,
                "/v1/conditional-orders",
                key: tenant.key,
                headers: wait,
                body: api.conditional(tenant.account),
                idempotency: "conditional",
            )
            #expect(conditional.status == 201 && conditional["Preference-Applied"] == "wait=1", "\(conditional.text)")

            let holder = try await api.tenant()
            api.venues[holder.account].setPosition(ExactDecimal(10), average: Price(ExactDecimal(100)))
            let path = "/v1/accounts/\(holder.account)/positions/paper:linear:DEMO/tpsl"
            let exits = #"{"stopLoss": {"price": "95"}}"#
            let new = wait + [("If-None-Match", "*")]
            let set = try await api.send(.PUT, path, key: holder.key, headers: new, body: exits)
            #expect(set.status == 201 && set["Preference-Applied"] == "wait=1", "\(set.text)")
            let gone = try await api.send(.DELETE, path, key: holder.key, headers: wait, ifMatch: "*")
            #expect(gone.status == 200 && gone["Preference-Applied"] == "wait=1", "\(gone.text)")
            #expect(gone.json["status"]?.text == "CANCELLED")
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `Where requests come from` {
    @Test func `pages of listed origins may read answers, and never with cookies`() async throws {
        try await withAPI({ $0.corsOrigins = ["https://charts.example"] }) { api in
            let ours = [("Origin", "https://charts.example"), ("Access-Control-Request-Method", "DELETE")]
            let asked = try await api.send(HTTPMethod.OPTIONS, "/v1/orders/x", key: nil, headers: ours)
            #expect(asked.status == 204, "\(asked.text)")
            #expect(asked["Access-Control-Allow-Origin"] == "https://charts.example")
            #expect(asked["Access-Control-Allow-Methods"] == "DELETE, GET, PATCH")
            #expect(asked["Access-Control-Allow-Headers"]?.contains("Idempotency-Key") == true)
            let read = try await api.send(.GET, "/v1/orders", headers: [ours[0]])
            #expect(read["Access-Control-Allow-Origin"] == "https://charts.example" && read["Vary"] == "Origin")
            #expect(read["Access-Control-Expose-Headers"]?.contains("ETag") == true)
            let refused = try await api.send(.GET, "/v1/orders", key: nil, headers: [ours[0]])
            #expect(refused.status == 401 && refused["Access-Control-Allow-Origin"] != nil)
            let theirs = [("Origin", "https://evil.example"), ours[1]]
            let strange = try await api.send(HTTPMethod.OPTIONS, "/v1/orders/x", key: nil, headers: theirs)
            #expect(strange.status == 405 && strange["Access-Control-Allow-Origin"] == nil)
            for answer in [asked, read, refused, strange] {
                #expect(answer["Access-Control-Allow-Credentials"] == nil)
            }
        }
        try await withAPI { api in
            let origin = ("Origin", "https://charts.example")
            let read = try await api.send(.GET, "/v1/orders", headers: [origin])
            #expect(read["Access-Control-Allow-Origin"] == nil && read["Vary"] == nil)
        }
    }

    @Test func `a proxy is believed only when it is one of ours`() {
        let proxies = TrustedProxies(["10.0.0.0/8", "127.0.0.1"])
        let rows: [(peer: String?, forwarded: [String], client: String?)] = [
            ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"), ("10.1.1.1", ["198.51.100.7"], "198.51.100.7"),
            ("10.1.1.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", ["198.51.100.7, 10.2.2.2", "10.3.3.3"], "198.51.100.7"),
            ("10.1.1.1", ["198.51.100.7, nonsense"], "10.1.1.1"), ("10.1.1.1", [], "10.1.1.1"),
            ("10.1.1.1", ["10.2.2.2, 10.3.3.3"], "10.2.2.2"), (nil, ["198.51.100.7"], nil),
            ("10.1.1.1", ["2001:db8::1"], "2001:db8::1"),
        ]
        for row in rows {
            #expect(proxies.client(of: row.peer, forwarded: row.forwarded) == row.client, "\(row)")
        }
        #expect(TrustedProxies([]).client(of: "10.1.1.1", forwarded: ["198.51.100.7"]) == "10.1.1.1")
    }

    @Test func `an address list of a key is judged by the proxy's word`() async throws {
        try await withStoredAPI({ $0.trustedProxies = ["127.0.0.1"] }) { api in
            let tenant = try await api.tenant()
            try await api.sql("UPDATE api_keys SET ip_allow = '{198.51.100.0/24}'")
            func ask(_ forwarded: String) async throws -> Int {
                try await api.send(.GET, "/v1/orders", key: tenant.key, headers: [("X-Forwarded-For", forwarded)])
                    .status
            }
            #expect(try await ask("198.51.100.7") == 200)
            #expect(try await ask("198.51.100.7, 203.0.113.1") == 403)
        }
    }

    @Test func `a trace goes on in the request id`() async throws {
        try await withAPI { api in
            let trace = "0af7651916cd43dd8448eb211c80319c"
            let whole = ("traceparent", "00-\(trace)-b7ad6b7169203331-01")
            #expect(try await api.send(.GET, "/v1/orders", headers: [whole])["X-Request-Id"] == trace)
            let named = try await api.send(.GET, "/v1/orders", headers: [whole, ("X-Request-Id", "mine")])
            #expect(named["X-Request-Id"] == "mine")
        }
        for bad in [
            "", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", "00-0af7-b7ad6b7169203331-01",
        ] { #expect(TraceContext(bad) == nil, "\(bad)") }
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `Bars of prices` {
    @Test func `hold first, highest, lowest and last price, and say where none is known`() async throws {
        try await withAPI { api in
            let series = PriceSeries(market: Instrument.sample("OTHER").market, source: .mark)
            let base: Int64 = 1_790_000_040_000_000
            let prices: [(second: Int64, price: Int64)] = [(0, 100), (1, 105), (2, 99), (59, 101), (185, 110)]
            let ticks = prices.enumerated().map { number, one in
                RawTick(
                    position: TickPosition(venueTime: base + one.second * 1_000_000, sequence: Int64(number)),
                    price: one.price * 100_000_000,
                    receivedAt: base,
                )
            }
            try await api.ticks.append(ticks, to: series)
            let path = "/v1/instruments/paper:linear:OTHER/candles"
            let from = Timestamp(microseconds: base).rfc3339
            let to = Timestamp(microseconds: base + 240_000_000).rfc3339
            let answer = try await api.send(.GET, "\(path)?interval=1m&from=\(from)&to=\(to)&source=mark")
            #expect(answer.status == 200, "\(answer.text)")
            guard case .array(let bars)? = answer.json["items"] else { return }
            func bar(_ index: Int) -> [String] {
                ["o", "h", "l", "c"].map { bars[index][$0]?.text ?? "" } + [
                    bars[index]["gap"] == .bool(true) ? "gap" : ""
                ]
            }
            try #require(bars.count == 4, "\(answer.text)")
            #expect(bars[0]["t"]?.text == from)
            #expect(bar(0) == ["100", "105", "99", "101", ""])
            #expect(bar(1) == ["101", "101", "101", "101", "gap"] && bar(2) == bar(1))
            #expect(bar(3) == ["110", "110", "110", "110", ""])
            let tag = try #require(answer["ETag"])
            let same = try await api.send(
                .GET,
                "\(path)?interval=1m&from=\(from)&to=\(to)&source=mark",
                headers: [("If-None-Match", tag)],
            )
            #expect(same.status == 304)
            let half = try await api.send(
                .GET,
                "\(path)?interval=5s&from=\(Timestamp(microseconds: base + 2_000_000).rfc3339)&to=\(from)",
            )
            #expect(half.json["items"] == .array([]))
            for query in ["interval=2m", "from=now", "source=best", "bars=3"] {
                #expect(try await api.send(.GET, "\(path)?\(query)").code == "BAD_QUERY", "\(query)")
            }
            #expect(try await api.send(.GET, "/v1/instruments/paper:linear:NONE/candles").status == 404)
        }
    }

    @Test func `are at most fifteen hundred, and say where to go on`() {
        var builder = CandleBuilder(width: 1_000_000)
        for second in 0..<2_000 as Range<Int64> { builder.add(time: second * 1_000_000, price: second) }
        #expect(builder.candles.count == 1_500 && builder.overflow == 1_500_000_000)
        var sparse = CandleBuilder(width: 1_000_000)
        sparse.add(time: 0, price: 1)
        sparse.add(time: 86_400_000_000, price: 2)
        #expect(sparse.candles.count == 1_500 && sparse.candles.last?.isGap == true)
        #expect(sparse.overflow == 1_500_000_000)
    }
}
