import JSONText
import NIOHTTP1
import OrderEngine
import SmartOrders
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(1)))
struct OrderRouteTests {
    @Test func `an order is created, read, listed and told of`() async throws {
        try await withAPI { api in
            let created = try await api.send(.POST, "/v1/orders", body: api.draft(), idempotency: "k1")
            #expect(created.status == 201, "\(created.text)")
            let id = try #require(created.json["id"]?.text)
            #expect(created["Location"] == "/v1/orders/\(id)")
            #expect(created["ETag"] == "\"v1\"")
            #expect(created["Cache-Control"] == "no-store")
            #expect(created["X-Content-Type-Options"] == "nosniff")
            #expect(created["RateLimit-Policy"] == "\"trade\";q=200;w=10")
            #expect(created.json["mode"]?.text == "PAPER")
            #expect(created.json["progress"]?["text"]?.text == "0/2")

            let read = try await api.send(.GET, "/v1/orders/\(id)")
            #expect(read.status == 200)
            #expect(read["ETag"] == "\"v1\"")
            #expect(read.json["id"]?.text == id)
            #expect(read.json["pnl"]?["atPrice"]?.text == "101")

            let list = try await api.send(.GET, "/v1/orders?group=active")
            guard case .array(let items)? = list.json["items"] else {
                Issue.record("\(list.text)")
                return
            }
            #expect(items.compactMap { $0["id"]?.text } == [id])

            let events = try await api.send(.GET, "/v1/orders/\(id)/events")
            guard case .array(let history)? = events.json["items"] else {
                Issue.record("\(events.text)")
                return
            }
            #expect(history.count == 1)
            #expect(history[0]["seq"]?.int64 == 1)
            #expect(history[0]["cause"]?.text == "COMMAND")
            #expect(history[0]["actor"]?["id"]?.text == "abcdefghijkl")
            #expect(history[0]["order"]?["id"]?.text == id)
            guard case .array(let facts)? = history[0]["facts"] else {
                Issue.record("no facts")
                return
            }
            #expect(facts.first?["type"]?.text == "created")
        }
    }

    @Test func `a guard against false prints is set, shown, changed and taken off`() async throws {
        try await withAPI { api in
            func draft(_ printGuard: String) -> String {
                api.draft().replacing("\"qty\": \"10\"", with: "\"qty\": \"10\", \"printGuard\": \(printGuard)")
            }
            let created = try await api.send(.POST, "/v1/orders", body: draft("{}"), idempotency: "k1")
            #expect(created.status == 201, "\(created.text)")
            #expect(created.json["printGuard"]?["bandPct"]?.text == "10")
            let id = try #require(created.json["id"]?.text)
            let edited = try await api.send(
                .PATCH,
                "/v1/orders/\(id)",
                body: #"{"printGuard": {"bandPct": "2.5"}}"#,
                ifMatch: "\"v1\"",
            )
            #expect(edited.status == 200, "\(edited.text)")
            #expect(edited.json["printGuard"]?["bandPct"]?.text == "2.5")
            let null = #"{"printGuard": null}"#
            let off = try await api.send(.PATCH, "/v1/orders/\(id)", body: null, ifMatch: "\"v2\"")
            #expect(off.json["printGuard"] == .null, "\(off.text)")
            for band in ["0.99", "50.01", "-3"] {
                let body = draft("{\"bandPct\": \"\(band)\"}")
                let refused = try await api.send(.POST, "/v1/orders", body: body, idempotency: "k\(band)")
                #expect(refused.status == 400 && refused.code == "BAD_DECIMAL", "\(refused.text)")
            }
        }
    }

    @Test func `the same key and body give one order and one answer`() async throws {
        try await withAPI { api in
            let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
                for _ in 0..<32 {
                    group.addTask {
                        try await api.send(.POST, "/v1/orders", body: api.draft(), idempotency: "\"same\"")
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(api.orders.orderCount == 1)
            #expect(Set(answers.map(\.status)) == [201], "\(answers.map(\.text))")
            #expect(Set(answers.compactMap { $0.json["id"]?.text }).count == 1)
            #expect(answers.count { $0["Idempotency-Replayed"] == nil } == 1)

            // Whitespace and the order of members are no other request; another quantity is.
            let spaced = api.draft().replacing(": ", with: " :  ")
            #expect(try await api.send(.POST, "/v1/orders", body: spaced, idempotency: "same").status == 201)
            let other = api.draft().replacing("\"qty\": \"10\"", with: "\"qty\": \"11\"")
            let refused = try await api.send(.POST, "/v1/orders", body: other, idempotency: "same")
            #expect(refused.status == 422)
            #expect(refused.code == "IDEMPOTENCY_KEY_REUSED")
            #expect(api.orders.orderCount == 1)
        }
    }

    @Test func `a replay answers what was answered first, whatever became of the order`() async throws {
        try await withAPI { api in
            let id = try await api.create("k")
            let cancelled = try await api.send(.DELETE, "/v1/orders/\(id)", ifMatch: "*")
            #expect(cancelled.status == 202)
            let again = try await api.send(.POST, "/v1/orders", body: api.draft(), idempotency: "k")
            #expect(again.status == 201)
            #expect(again["Idempotency-Replayed"] == "true")
            #expect(again["ETag"] == "\"v1\"")
            #expect(again.json["version"]?.int64 == 1)
        }
    }

    @Test func `a command takes the version that its caller saw`() async throws {
        try await withAPI { api in
            let id = try await api.create("k")
            let missing = try await api.send(.PATCH, "/v1/orders/\(id)", body: #"{"stopLoss": {"price": "96"}}"#)
            #expect(missing.status == 428)
            #expect(missing.code == "IF_MATCH_REQUIRED")

            let edited = try await api.send(
                .PATCH,
                "/v1/orders/\(id)",
                body: #"{"stopLoss": {"price": "96"}}"#,
                ifMatch: "W/\"v1\"",
            )
            #expect(edited.status == 200, "\(edited.text)")
            #expect(edited["ETag"] == "\"v2\"")
            #expect(edited.json["stopLoss"]?["price"]?.text == "96")
            guard case .array(let changes)? = edited.json["changes"] else {
                Issue.record("\(edited.text)")
                return
            }
            #expect(changes.map { $0["path"]?.text } == ["stopLoss"])
            #expect(changes.first?["from"]?["price"]?.text == "95")

            let stale = try await api.send(
                .PATCH,
                "/v1/orders/\(id)",
                body: #"{"stopLoss": {"price": "97"}}"#,
                ifMatch: "\"v1\"",
            )
            #expect(stale.status == 412)
            #expect(stale.code == "VERSION_MISMATCH")
            #expect(stale.json["currentVersion"]?.int64 == 2)
            #expect(stale.json["current"]?["stopLoss"]?["price"]?.text == "96")
            guard case .array(let by)? = stale.json["changedBy"] else {
                Issue.record("\(stale.text)")
                return
            }
            #expect(by.map { $0["version"]?.int64 } == [2])
            #expect(by.first?["actor"]?["kind"]?.text == "key")

            for tag in ["v2", "\"2\"", "\"v02\"", "\"v2\", \"v3\""] {
                let never = try await api.send(
                    .PATCH,
                    "/v1/orders/\(id)",
                    body: #"{"stopLoss": {"price": "97"}}"#,
                    ifMatch: tag,
                )
                #expect(never.status == 412, "\(tag)")
            }
            let any = try await api.send(.PATCH, "/v1/orders/\(id)", body: "{}", ifMatch: "*")
            #expect(any.status == 428)
        }
    }

    @Test func `every command reaches the core`() async throws {
        try await withAPI { api in
            let id = try await api.create("k")
            func version() async throws -> String {
                try #require(try await api.send(.GET, "/v1/orders/\(id)")["ETag"])
            }

            let reduced = try await api.send(
                .POST,
                "/v1/orders/\(id)/reduce-funds",
                body: #"{"pct": "20"}"#,
                idempotency: "r",
                ifMatch: version(),
            )
            #expect(reduced.status == 202, "\(reduced.text)")
            #expect(reduced.json["position"]?["claimedQty"]?.text == "2")
            let again = try await api.send(
                .POST,
                "/v1/orders/\(id)/reduce-funds",
                body: #"{"pct": "20"}"#,
                idempotency: "r",
                ifMatch: "\"v1\"",
            )
            #expect(again["Idempotency-Replayed"] == "true", "\(again.text)")
            #expect(again.json["position"]?["claimedQty"]?.text == "2")

            let added = try await api.send(
                .POST,
                "/v1/orders/\(id)/add-funds",
                body: #"{"qty": "1"}"#,
                idempotency: "a",
                ifMatch: version(),
            )
            #expect(added.status == 202, "\(added.text)")
            let opened = try await api.send(.POST, "/v1/orders/\(id)/open-now", idempotency: "o", ifMatch: version())
            #expect(opened.code == "ENTRY_ALREADY_FILLED")
            let level = try await api.send(
                .POST,
                "/v1/orders/\(id)/take-profits/1/close",
                body: "{}",
                idempotency: "l",
                ifMatch: version(),
            )
            #expect(level.status == 202, "\(level.text)")
            let unknown = try await api.send(
                .POST,
                "/v1/orders/\(id)/take-profits/9/close",
                idempotency: "l9",
                ifMatch: version(),
            )
            #expect(unknown.status == 404)
            let dropped = try await api.send(.DELETE, "/v1/orders/\(id)/take-profits/2", ifMatch: version())
            #expect(dropped.status == 200, "\(dropped.text)")
            let entry = try await api.send(
                .POST,
                "/v1/orders/\(id)/cancel-entry",
                idempotency: "c",
                ifMatch: version(),
            )
            #expect(entry.status == 202 || entry.code == "ENTRY_ALREADY_FILLED", "\(entry.text)")
            let closed = try await api.send(.POST, "/v1/orders/\(id)/close", idempotency: "x", ifMatch: "*")
            #expect(closed.status == 202, "\(closed.text)")
            #expect(closed.json["phase"]?.text == "closing")
            let repeated = try await api.send(.POST, "/v1/orders/\(id)/close", idempotency: "y", ifMatch: "*")
            #expect(repeated.status == 200, "nothing was left to do")
            #expect(repeated["ETag"] == closed["ETag"])
            let cancelled = try await api.send(.DELETE, "/v1/orders/\(id)?leaveEntry=true", ifMatch: "*")
            #expect(cancelled.status == 202, "\(cancelled.text)")
        }
    }

    @Test func `a list is walked page by page, and its cursor fits no other list`() async throws {
        try await withAPI { api in
            for number in 1...7 { try await api.commit(.sample(number, api.account)) }
            try await api.commit(.sample(8, api.stranger))
            var seen: [String] = []
            var target = "/v1/orders?limit=3&market=paper:linear:DEMO"
            var cursors: [String] = []
            while true {
                let page = try await api.send(.GET, target)
                guard case .array(let items)? = page.json["items"] else {
                    Issue.record("\(page.text)")
                    return
                }
                seen += items.compactMap { $0["id"]?.text }
                guard let cursor = page.json["nextCursor"]?.text else { break }
                cursors.append(cursor)
                let link = try #require(page["Link"])
                target = String(link.dropFirst().prefix { $0 != ">" })
            }
            #expect(seen == (1...7).reversed().map { OrderID.sample($0).description })
            let cursor = try #require(cursors.first)
            for forged in ["/v1/orders?limit=3&cursor=\(cursor)", "/v1/orders?cursor=AAAA", "/v1/orders?cursor=!!"] {
                let refused = try await api.send(.GET, forged)
                #expect(refused.status == 400)
                #expect(refused.code == "BAD_CURSOR", "\(forged)")
            }
        }
    }

    @Test func `the history of an order is walked page by page`() async throws {
        try await withAPI { api in
            _ = try await api.commit(5, versionsOf: .sample(1, api.account))
            var versions: [Int64] = []
            var cursor = ""
            while true {
                let page = try await api.send(.GET, "/v1/orders/\(OrderID.sample(1))/events?limit=2\(cursor)")
                guard case .array(let items)? = page.json["items"] else {
                    Issue.record("\(page.text)")
                    return
                }
                versions += items.compactMap { $0["version"]?.int64 }
                guard let next = page.json["nextCursor"]?.text else { break }
                cursor = "&cursor=\(next)"
            }
            #expect(versions == [1, 2, 3, 4, 5])
        }
    }

    @Test func `somebody else's order is as unknown as none`() async throws {
        try await withAPI { api in
            let theirs = SmartOrder.sample(1, api.account)
            try await api.commit(theirs)
            let unknown = OrderID.sample(99)
            let routes: [(HTTPMethod, String, String?)] = [
                (.GET, "", nil), (.GET, "/events", nil), (.GET, "/fills", nil), (.GET, "/venue-orders", nil),
                (.PATCH, "", "{}"), (.DELETE, "", nil), (.POST, "/open-now", nil),
                (.POST, "/add-funds", #"{"qty": "1"}"#), (.POST, "/reduce-funds", #"{"qty": "1"}"#),
                (.POST, "/close", nil), (.POST, "/cancel-entry", nil), (.POST, "/take-profits/1/close", nil),
                (.DELETE, "/take-profits/1", nil),
            ]
            for (method, path, body) in routes {
                var answers: [Answer] = []
                for id in [theirs.id.description, unknown.description, "nonsense"] {
                    answers.append(
                        try await api.send(
                            method,
                            "/v1/orders/\(id)\(path)",
                            key: Rig.strangerKey,
                            headers: [("X-Request-Id", "r")],
                            body: body,
                            idempotency: "k",
                            ifMatch: "\"v1\"",
                        )
                    )
                }
                #expect(answers.map(\.status) == [404, 404, 404], "\(method) \(path)")
                #expect(Set(answers.compactMap { $0.json["detail"]?.text }).count == 1)
            }
            let create = try await api.send(
                .POST,
                "/v1/orders",
                key: Rig.strangerKey,
                body: api.draft(),
                idempotency: "k",
            )
            #expect(create.status == 404)
            let lists = [
                "/v1/orders?account=\(api.account)", "/v1/accounts/\(api.account)", "/v1/events?account=\(api.account)",
            ]
            for target in lists {
                #expect(try await api.send(.GET, target, key: Rig.strangerKey).status == 404, "\(target)")
            }
            #expect(try await api.orders.load([theirs.id]).first?.version == 1)
        }
    }

    @Test func `fills and venue orders have their own lists`() async throws {
        try await withAPI { api in
            try await api.commit(.sample(1, api.account))
            let fills = try await api.send(.GET, "/v1/orders/\(OrderID.sample(1))/fills")
            #expect(fills.text.contains("\"venueFillId\":\"f1\""))
            let venue = try await api.send(.GET, "/v1/orders/\(OrderID.sample(1))/venue-orders")
            #expect(venue.status == 200)
        }
    }
}
