import JSONText
import OwnerThread
import PostgresClient
import TestKit
import Testing

extension EndToEnd {
    @Suite struct WebhookDeliveryTests {
        /// Two workers, an endpoint that stumbles, and a `kill -9` of whoever is sending.
        @Test func `every event reaches the endpoint, whoever dies in between`() async throws {
            let count = Locked(0)
            let receiver = try HTTPReceiver { _ in
                let number = count.withLock { count in
                    count += 1
                    return count
                }
                return ReceiverAnswer(number == 3 ? 429 : 200, headers: number == 3 ? [("Retry-After", "0")] : [])
            }
            defer { receiver.close() }
            try await Deployment.run(workers: 2, schedulers: 1) { deployment in
                let market = "paper:linear:DEMO"
                _ = try await deployment.startFeed(["--market", market])
                let made = try await deployment.request(
                    "POST",
                    "/v1/webhooks",
                    "{\"url\": \"http://127.0.0.1:\(receiver.port)/told\"}",
                    headers: ["Idempotency-Key": "w"],
                )
                try #require(made.status == 201, "\(made.json)")
                #expect(made.json["secret"]?.text?.hasPrefix("whsec_") == true)
                func create(_ number: Int) async throws {
                    let draft = """
                        {"side": "BUY", "qty": "1", "entry": {"mode": "limit", "price": "\(10 + number)"},
                         "stopLoss": {"price": "5"}}
                        """
                    let order = try await deployment.create(draft, market: market, key: "o\(number)")
                    #expect(order.status == 201, "\(order.json)")
                }
                for number in 0..<8 { try await create(number) }
                _ = try await eventually("deliveries have begun") { receiver.requests.count >= 4 ? true : nil }
                // Whoever sends holds a lane; nobody asks which of the two it is.
                let victim = try await deployment.text("SELECT id FROM workers ORDER BY id LIMIT 1")
                try deployment.kill(victim)
                for number in 8..<16 { try await create(number) }
                // A dead worker's lease lapses within 30 s; what it had under way comes again under its id.
                let wanted = try await eventually(within: 90, "all events are told") { () -> Set<Int64>? in
                    let rows = try await deployment.rows("SELECT seq FROM events")
                    let events = Set(try rows.map { try $0.int64(0) })
                    let told = Set(
                        receiver.requests.compactMap { try? JSONValue(parsing: $0.body)["data"]?["seq"]?.int64 }
                    )
                    return told.isSuperset(of: events) && events.count >= 16 ? events : nil
                }
                var bodies: [String: Set<[UInt8]>] = [:]
                for request in receiver.requests {
                    let id = try #require(request.headers["webhook-id"])
                    bodies[id, default: []].insert(request.body)
                    #expect(request.headers["webhook-signature"]?.hasPrefix("v1,") == true)
                }
                #expect(bodies.count >= wanted.count)
                #expect(bodies.values.allSatisfy { $0.count == 1 })
                #expect(
                    try await deployment.number(
                        "SELECT count(*) - count(DISTINCT (webhook_id, account_id, seq)) FROM webhook_deliveries"
                    ) == 0
                )
            }
        }
    }
}
