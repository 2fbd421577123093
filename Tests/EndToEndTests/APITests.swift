import AsyncHTTPClient
import JSONText
import OwnerThread
import PostgresClient
import Testing

extension EndToEnd {
    @Suite struct APITests {
        @Test func `an order is made once, told of, cancelled, and gone from the venue`() async throws {
            try await Deployment.run(workers: 1, schedulers: 1) { deployment in
                _ = try await deployment.startFeed(["--market", "paper:linear:DEMO"])
                let draft = """
                    {"side": "BUY", "qty": "1", "entry": {"mode": "limit", "price": "90"},
                     "takeProfits": [{"price": "99", "sizePct": "100"}], "stopLoss": {"price": "88"}}
                    """
                let first = try await deployment.create(draft, market: "paper:linear:DEMO", key: "one")
                try #require(first.status == 202 || first.status == 201, "\(first.json)")
                let again = try await deployment.create(draft, market: "paper:linear:DEMO", key: "one")
                let id = try #require(first.json["id"]?.text)
                #expect(again.json["id"]?.text == id)
                #expect(again.isReplayed)
                #expect(try await deployment.number("SELECT count(*) FROM orders") == 1)

                let resting = try await eventually("the entry rests at the venue") {
                    try deployment.venueLog().first { $0["kind"]?.text == "accept" }
                }
                let name = resting["clientOrderId"]?.text
                // The answer of the venue is a version of its own, so the tag is read again when it was overtaken.
                _ = try await eventually("the cancel is taken") { () -> Bool? in
                    let now = try await deployment.request("GET", "/v1/orders/\(id)")
                    let answer = try await deployment.request(
                        "DELETE",
                        "/v1/orders/\(id)",
                        headers: ["If-Match": now.tag ?? ""],
                    )
                    if answer.status == 412 { return nil }
                    #expect(answer.status == 202 || answer.status == 200, "\(answer.json)")
                    return true
                }
                _ = try await eventually("the order is cancelled") {
                    try await deployment.request("GET", "/v1/orders/\(id)").json["status"]?.text == "CANCELLED"
                        ? true : nil
                }
                let end = try deployment.venueLog().filter {
                    $0["kind"]?.text == "end" && $0["clientOrderId"]?.text == name
                }
                #expect(end.map { $0["result"]?.text } == ["CANCELED"])

                let told = try await deployment.stream { $0.contains("\"CANCELLED\"") }
                #expect(told.contains(id))
                #expect(told.contains("\"created\""))
                let history = try await deployment.request("GET", "/v1/orders/\(id)/events")
                #expect(history.status == 200)
                #expect("\(history.json)".contains("\"CANCELLED\""))
            }
        }

        @Test func `an API without venue keys tells what the venue holds, and sets a position's exits`() async throws {
            try await Deployment.run(workers: 1, schedulers: 1) { deployment in
                _ = try await deployment.startFeed(["--market", "paper:linear:DEMO"])
                let draft = """
                    {"side": "BUY", "qty": "3", "entry": {"mode": "market"}, "stopLoss": {"price": "1"}}
                    """
                let bought = try await deployment.create(draft, market: "paper:linear:DEMO", key: "buy")
                try #require(bought.status == 201, "\(bought.json)")
                let id = try #require(bought.json["id"]?.text)
                let account = "/v1/accounts/\(deployment.account)"
                let held = try await eventually("the position is told") { () -> JSONValue? in
                    let answer = try await deployment.request("GET", "\(account)/positions")
                    guard case .array(let items)? = answer.json["items"] else { return nil }
                    return items.first
                }
                #expect(held["market"]?.text == "paper:linear:DEMO" && held["qty"]?.text == "3", "\(held)")
                #expect(held["positionSide"]?.text == "LONG" && held["managedQty"]?.text == "3")
                let balances = try await deployment.request("GET", "\(account)/balances")
                #expect(balances.status == 200 && "\(balances.json)".contains("USDT"), "\(balances.json)")
                let exits = try await deployment.request(
                    "PUT",
                    "\(account)/positions/paper:linear:DEMO/tpsl?side=LONG",
                    #"{"stopLoss": {"price": "2"}}"#,
                    headers: ["If-None-Match": "*"],
                )
                #expect(exits.status == 201 && exits.json["kind"]?.text == "POSITION", "\(exits.json)")
                // Compared through the queue, by the worker, with the venue.
                let asked = try await deployment.request(
                    "POST",
                    "\(account)/reconcile",
                    headers: ["Idempotency-Key": "r"],
                )
                #expect(asked.status == 202, "\(asked.json)")
                let batch = try #require(asked.json["id"]?.text)
                let done = try await eventually("the comparison ends") { () -> JSONValue? in
                    let answer = try await deployment.request("GET", "/v1/batches/\(batch)")
                    guard answer.json["state"]?.text == "DONE" else { return nil }
                    return answer.json
                }
                #expect(done["done"]?.int64 == 2 && done["failed"] == .array([]), "\(done)")
                // The close is waited for: the answer has what came of it.
                let closed = try await deployment.request(
                    "POST",
                    "/v1/orders/\(id)/close",
                    headers: ["If-Match": "*", "Idempotency-Key": "c", "Prefer": "wait=15"],
                )
                #expect(closed.status == 200 && closed.json["status"]?.text == "CLOSED", "\(closed.json)")
            }
        }

        @Test func `an answer that nobody heard before the API was killed is told to the repeated request`()
            async throws
        {
            try await Deployment.run(workers: 1, schedulers: 1) { deployment in
                let market = "paper:linear:DEMO"
                _ = try await deployment.startFeed(["--market", market])
                func body(_ price: Int) -> String {
                    """
                    {"side": "BUY", "qty": "1", "entry": {"mode": "limit", "price": "\(price)"},
                     "stopLoss": {"price": "5"}}
                    """
                }
                _ = try await deployment.create(body(10), market: market, key: "first")
                for round in 0..<3 {
                    let key = "unheard-\(round)"
                    let text = body(11 + round)
                    // Whoever asks goes away: the answer is not read, and the process dies right after the commit.
                    let asking = Task { try await deployment.create(text, market: market, key: key) }
                    let kept = try await eventually("the commit of \(key)") {
                        try await deployment.rows(
                            "SELECT status::bigint, entity_tag, location, body FROM idempotency WHERE key = '\(key)'"
                        ).first
                    }
                    try await deployment.replaceAPI()
                    asking.cancel()
                    _ = await asking.result
                    // The order changes before its creator asks again.
                    let id = try #require(kept.string(2).split(separator: "/").last.map(String.init))
                    _ = try await eventually("the order is cancelled") { () -> Bool? in
                        do {
                            let answer = try await deployment.request(
                                "DELETE",
                                "/v1/orders/\(id)",
                                headers: ["If-Match": "*"],
                            )
                            return answer.status < 300 ? true : nil
                        } catch {
                            return nil
                        }
                    }
                    let again = try await deployment.create(text, market: market, key: key)
                    #expect(again.isReplayed)
                    #expect(try Int64(again.status) == kept.int64(0))
                    #expect(try again.tag == kept.string(1))
                    #expect(try again.json == JSONValue(parsing: kept.bytes(3)))
                    #expect(again.json["version"]?.int64 == 1)
                }
                #expect(try await deployment.number("SELECT count(*) FROM orders") == 4)
            }
        }

        @Test func `a thousand creates with a hundred keys make a hundred orders, whenever the API is killed`()
            async throws
        {
            try await Deployment.run(workers: 1, schedulers: 1) { deployment in
                _ = try await deployment.startFeed(["--market", "paper:linear:DEMO"])
                _ = try await deployment.database.query(
                    Statement(sql: "UPDATE accounts SET maximum_conditionals = 100000")
                )
                func body(_ key: Int) -> String {
                    """
                    {"side": "BUY", "qty": "\(key + 1)", "entry": {"mode": "limit", "price": "10"},
                     "stopLoss": {"price": "5"}}
                    """
                }
                let first = try await deployment.create(body(0), market: "paper:linear:DEMO", key: "key-0")
                try #require(first.status == 201, "\(first.json)")
                let left = Locked(Array(0..<1_000))
                let done = Locked(0)
                let answers = Locked<[Int: Set<String>]>([:])
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<32 {
                        group.addTask {
                            while let number = left.withLock({ $0.popLast() }) {
                                let key = number % 100
                                // Repeats the request with its key until there is an answer: a client's whole duty.
                                let answer = try await eventually(within: 90, "an answer to request \(number)") {
                                    do {
                                        let answer = try await deployment.create(
                                            body(key),
                                            market: "paper:linear:DEMO",
                                            key: "key-\(key)",
                                        )
                                        return answer.status >= 500 ? nil : answer
                                    } catch {
                                        // The connection broke, or nobody listens: the outcome is unknown.
                                        return nil
                                    }
                                }
                                #expect(answer.status == 201, "\(answer.json)")
                                let id = answer.json["id"]?.text ?? ""
                                answers.withLock { _ = $0[key, default: []].insert(id) }
                                done.withLock { $0 += 1 }
                            }
                        }
                    }
                    // Three times, somewhere in the crowd.
                    for share in [100, 350, 700] {
                        _ = try await eventually(within: 90, "\(share) answers") {
                            done.withLock { $0 } >= share ? true : nil
                        }
                        try await deployment.replaceAPI()
                    }
                    try await group.waitForAll()
                }
                let ids = answers.withLock { $0 }
                #expect(ids.count == 100)
                #expect(ids.values.allSatisfy { $0.count == 1 })
                #expect(Set(ids.values.joined()).count == 100)
                #expect(try await deployment.number("SELECT count(*) FROM orders") == 100)
            }
        }
    }
}
