// What the venue says of an account, told by workers over real PostgreSQL to an API that holds no venue key.
import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

extension StoredRig {
    /// Runs `body` while a worker answers what is asked about accounts.
    fileprivate func withWorker(_ body: () async throws -> Void) async throws {
        let duty = VenueReadingDuty(
            venues: venues,
            work: readingWork,
            clock: RealClock(),
            observer: QuietObserver(),
        )
        let worker = Task { try await duty.run() }
        do {
            try await body()
        } catch {
            worker.cancel()
            _ = await worker.result
            throw error
        }
        worker.cancel()
        _ = await worker.result
    }

    fileprivate func read(_ tenant: Tenant, _ what: String) async throws -> Answer {
        try await send(.GET, "/v1/accounts/\(tenant.account)/\(what)", key: tenant.key)
    }

    fileprivate func items(_ answer: Answer) -> [JSONValue] {
        guard case .array(let items)? = answer.json["items"] else { return [] }
        return items
    }
}

@Suite(.serialized, .timeLimit(.minutes(3)))
struct `What the venue says of an account` {
    @Test func `is told by a worker, and stays known when nobody answers`() async throws {
        try await withStoredAPI(relaysVenues: true) { api in
            let tenant = try await api.tenant()
            let venue = api.venues[tenant.account]
            venue.setPosition(ExactDecimal(10), average: Price(ExactDecimal(100)))
            venue.setBalance(ExactDecimal(500))
            let before = try await api.read(tenant, "balances")
            #expect(before.status == 503 && before.code == "VENUE_UNAVAILABLE", "\(before.text)")
            #expect(before["Retry-After"] != nil)
            try await api.withWorker {
                let balances = try await api.read(tenant, "balances")
                #expect(balances.status == 200, "\(balances.text)")
                let coin = try #require(api.items(balances).first)
                #expect(coin["asset"]?.text == "USDT" && coin["free"]?.text == "500" && coin["total"]?.text == "501")
                #expect(balances.json["stale"] == .bool(false))
                let created = try await api.create(tenant, ["qty": "\"4\""])
                let positions = try await api.read(tenant, "positions")
                let position = try #require(api.items(positions).first, "\(positions.text)")
                #expect(position["market"]?.text == "paper:linear:DEMO" && position["qty"]?.text == "10")
                #expect(position["avgPrice"]?.text == "100" && position["positionSide"]?.text == "BOTH")
                #expect(position["managedQty"]?.text == "4" && position["tpslOrderId"] == .null, "\(created)")
                #expect(position["asOf"]?.text == positions.json["asOf"]?.text)
            }
            // The worker is gone; what is older than two seconds is asked for in vain, and told all the same.
            try await api.sql("UPDATE venue_readings SET as_of = as_of - interval '1 minute'")
            let late = try await api.read(tenant, "balances")
            #expect(late.status == 200 && late.json["stale"] == .bool(true), "\(late.text)")
            #expect(api.items(late).first?["free"]?.text == "500")
        }
    }

    @Test func `open orders are told as ours or as what can be adopted`() async throws {
        try await withStoredAPI(relaysVenues: true) { api in
            let tenant = try await api.tenant()
            let venue = api.venues[tenant.account]
            venue.setPrice(Price(ExactDecimal(101)))
            venue.setPosition(.zero)
            let now = RealClock().now()
            let foreign = Placement(
                market: Instrument.sample().market,
                clientOrderID: "somebody",
                side: .buy,
                type: .goodTillCancelled,
                quantity: Quantity(ExactDecimal(3)),
                limit: Price(ExactDecimal(90)),
                reduceOnly: false,
                isExit: false,
                t0: now,
                windowMs: 60_000,
            )
            _ = await venue.place(foreign)
            try await api.withWorker {
                let open = try await api.read(tenant, "venue-orders?open=true")
                let order = try #require(api.items(open).first, "\(open.text)")
                #expect(order["clientId"]?.text == "somebody" && order["adoptable"] == .bool(true))
                #expect(order["limitPrice"]?.text == "90" && order["orderId"] == .null)
                #expect(try await api.read(tenant, "venue-orders?open=false").code == "BAD_QUERY")
                // It becomes the entry of an order: then it is ours.
                let id = try #require(order["venueOrderId"]?.text)
                let entry = #"{"mode": "attach", "price": "90", "venueOrder": "\#(id)"}"#
                let adopted = try await api.send(
                    .POST,
                    "/v1/orders",
                    key: tenant.key,
                    body: api.draft(
                        tenant.account,
                        ["qty": "\"3\"", "entry": entry, "stopLoss": #"{"price": "85"}"#],
                    ),
                    idempotency: "adopt",
                )
                #expect(adopted.status == 201, "\(adopted.text)")
                try await api.sql("UPDATE venue_readings SET as_of = as_of - interval '1 minute'")
                let ours = try await api.read(tenant, "venue-orders")
                let mine = try #require(api.items(ours).first, "\(ours.text)")
                #expect(mine["orderId"]?.text == adopted.json["id"]?.text && mine["purpose"]?.text == "entry")
                #expect(mine["adoptable"] == .bool(false))
            }
        }
    }

    @Test func `a position's exits are set by an API without venue keys`() async throws {
        try await withStoredAPI(relaysVenues: true) { api in
            let tenant = try await api.tenant()
            api.venues[tenant.account].setPosition(ExactDecimal(7), average: Price(ExactDecimal(100)))
            let path = "/v1/accounts/\(tenant.account)/positions/paper:linear:DEMO/tpsl"
            let body = #"{"takeProfit": {"price": "105"}, "stopLoss": {"price": "95"}}"#
            func put() async throws -> Answer {
                try await api.send(.PUT, path, key: tenant.key, headers: [("If-None-Match", "*")], body: body)
            }
            let alone = try await put()
            #expect(alone.status == 503 && alone.code == "VENUE_UNAVAILABLE", "\(alone.text)")
            try await api.withWorker {
                // Nobody answered a moment ago; that is found out again within seconds.
                let created = try await eventually("a worker is believed again") { () -> Answer? in
                    let answer = try await put()
                    return answer.status == 503 ? nil : answer
                }
                #expect(created.status == 201 && created.json["qty"]?.text == "7", "\(created.text)")
                // Attached to more than is left: the venue was asked.
                let much = try await api.send(
                    .POST,
                    "/v1/orders",
                    key: tenant.key,
                    body: api.draft(tenant.account, ["qty": "\"9\""]),
                    idempotency: "much",
                )
                #expect(much.status == 422 && much.code == "NO_POSITION", "\(much.text)")
            }
        }
    }

    @Test func `nobody sees a reading that is older than his question`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let work = api.readingWork
            let venue = api.venues[tenant.account]
            for balance in 1...3 {
                let number = try await work.ask(.balances, of: tenant.account)
                #expect(number == Int64(balance))
                venue.setBalance(ExactDecimal(balance))
                let asked = try #require(try await work.take(limit: 10).first)
                #expect(asked == AskedVenue(account: tenant.account, question: .balances, number: number))
                // Leased: nobody else takes it. Asked again meanwhile, it is answered for the first asking only.
                #expect(try await work.take(limit: 10).isEmpty)
                if balance == 3 { _ = try await work.ask(.balances, of: tenant.account) }
                try await work.settle(asked, try await venue.read(.balances), asOf: RealClock().now())
                let answer = try #require(try await work.answer(to: .balances, of: tenant.account))
                #expect(answer.number == number && answer.failure == nil)
                #expect(
                    answer.reading
                        == .balances([VenueBalance(asset: "USDT", free: ExactDecimal(balance), locked: .one)])
                )
            }
            let again = try #require(try await work.take(limit: 10).first)
            #expect(again.number == 4)
            try await work.settle(again, failure: "away")
            let answer = try #require(try await work.answer(to: .balances, of: tenant.account))
            #expect(answer.number == 4 && answer.failure == "away" && answer.reading != nil)
        }
    }

    @Test func `every reading is stored as it was told`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let market = Instrument.sample().market
            let fill = Fill(
                venueFillID: "f",
                quantity: Quantity(.one),
                price: Price(ExactDecimal(90)),
                fee: ExactDecimal(mantissa: 1, scale: 3),
                feeAsset: .other("BNB"),
                isMaker: true,
                time: Timestamp(microseconds: 1_790_000_000_000_001),
            )
            let adopted = AdoptedOrder(
                venueOrderID: "7",
                side: .sell,
                quantity: Quantity(ExactDecimal(2)),
                limit: Price(ExactDecimal(90)),
                reduceOnly: true,
                fills: [fill],
            )
            let open = VenueOpenOrder(
                market: market,
                venueOrderID: "7",
                clientOrderID: "c\"1",
                side: .sell,
                type: "STOP_MARKET",
                quantity: Quantity(ExactDecimal(2)),
                filled: Quantity(.one),
                prices: VenueOpenOrder.Prices(limit: nil, trigger: Price(ExactDecimal(80))),
                reduceOnly: true,
                isPlainLimit: false,
            )
            let marks = VenuePosition.Marks(
                mark: Price(ExactDecimal(99)),
                unrealized: ExactDecimal(-3),
                liquidation: Price(ExactDecimal(50)),
            )
            let position = VenuePosition(
                market: market,
                side: .sell,
                quantity: ExactDecimal(-3),
                average: Price(ExactDecimal(100)),
                marks: marks,
            )
            let resting = VenueQuestion.resting(market, venueOrderID: "7")
            let told: [(VenueQuestion, VenueReading)] = [
                (.positions, .positions([position], isHedged: true)), (.openOrders, .openOrders([open])),
                (resting, .resting(RestingOrder(clientOrderID: "x", order: adopted))), (resting, .resting(nil)),
                (.balances, .balances([])),
            ]
            for (question, reading) in told {
                let number = try await api.readingWork.ask(question, of: tenant.account)
                let asked = AskedVenue(account: tenant.account, question: question, number: number)
                #expect(try await api.readingWork.take(limit: 10) == [asked])
                try await api.readingWork.settle(asked, reading, asOf: Timestamp(microseconds: 1_790_000_000_000_000))
                let answer = try await api.readingWork.answer(to: question, of: tenant.account)
                #expect(answer?.reading == reading)
            }
        }
    }

    @Test func `reconcile compares every open order once, and is repeated as one`() async throws {
        try await withStoredAPI(relaysVenues: true) { api in
            let tenant = try await api.tenant()
            api.venues[tenant.account].setPosition(ExactDecimal(20), average: Price(ExactDecimal(100)))
            try await api.withWorker {
                for _ in 0..<2 { _ = try await api.create(tenant) }
                let path = "/v1/accounts/\(tenant.account)/reconcile"
                let first = try await api.send(.POST, path, key: tenant.key, body: "{}", idempotency: "r")
                #expect(first.status == 202 && first.json["kind"]?.text == "reconcile", "\(first.text)")
                #expect(first.json["total"]?.int64 == 2)
                let again = try await api.send(.POST, path, key: tenant.key, body: "{}", idempotency: "r")
                #expect(again.json["id"] == first.json["id"] && again["Idempotency-Replayed"] == "true")
                let id = try #require(first.json["id"]?.text)
                // Jobs for two comparisons: here nobody carries them out, so the batch waits for them.
                _ = try await eventually("both comparisons are asked for") { () -> Bool? in
                    let jobs = try await api.pool.query(
                        Statement(sql: "SELECT count(*) FROM outbox WHERE name = 'reconcile'")
                    )
                    return try jobs[0].int64(0) == 2 ? true : nil
                }
                try await api.sql("UPDATE outbox SET state = 'done' WHERE name = 'reconcile'")
                let done = try await eventually("the batch ends") { () -> Answer? in
                    try await api.sql("UPDATE outbox SET state = 'done' WHERE name = 'reconcile'")
                    let batch = try await api.send(.GET, "/v1/batches/\(id)", key: tenant.key)
                    return batch.json["state"]?.text == "DONE" ? batch : nil
                }
                #expect(done.json["done"]?.int64 == 2 && done.json["failed"] == .array([]), "\(done.text)")
            }
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `A stream ticket` {
    @Test func `is redeemed once, by whichever process it is shown to`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let answer = try await api.send(.POST, "/v1/stream-tickets", key: tenant.key)
            #expect(answer.status == 201, "\(answer.text)")
            let ticket = try #require(answer.json["ticket"]?.text)
            // The database has its hash alone.
            let rows = try await api.pool.query(Statement(sql: "SELECT hash FROM stream_tickets"))
            #expect(try rows.map { try $0.string(0) } == [APIKey.hash(ticket)])
            // Another process: another store on the same database. Of many at once one gets it.
            let other = PostgresPanelStore(pool: api.pool)
            let redeemed = try await withThrowingTaskGroup(of: StreamTicket?.self) { group in
                for _ in 0..<10 { group.addTask { try await other.redeem(ticketHash: APIKey.hash(ticket)) } }
                return try await group.reduce(into: [StreamTicket]()) { if let ticket = $1 { $0.append(ticket) } }
            }
            #expect(redeemed.map(\.proofHash) == [APIKey.hash(tenant.key)])
            let late = try await api.send(.POST, "/v1/stream-tickets", key: tenant.key)
            try await api.sql("UPDATE stream_tickets SET expires_at = clock_timestamp() - interval '1 s'")
            let text = try #require(late.json["ticket"]?.text)
            #expect(try await other.redeem(ticketHash: APIKey.hash(text)) == nil)
        }
    }
}

/// Asks again until there is an answer.
func eventually<Value>(_ what: String, _ answer: () async throws -> Value?) async throws -> Value {
    let limit = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < limit {
        if let value = try await answer() { return value }
        try await Task.sleep(for: .milliseconds(20))
    }
    return try #require(nil as Value?, "\(what) within 60 s")
}
