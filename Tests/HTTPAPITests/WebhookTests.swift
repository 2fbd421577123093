import HTTPAPI
import JSONText
import Logging
import NIOHTTP1
import OrderEngine
import OrderStorage
import OwnerThread
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// An endpoint that notes what it is asked and answers as it is told.
final class Recorder: WebhookTransport {
    struct Asked: Sendable {
        let url: String
        let headers: [String: String]
        let body: [UInt8]
        var json: JSONValue { (try? JSONValue(parsing: body)) ?? .null }
        var id: String { headers["webhook-id"] ?? "" }
    }

    private struct State {
        var asked: [Asked] = []
        var busy: [String: Int] = [:]
        var widest = 0
    }

    private let state = Locked(State())
    private let answer: @Sendable (Asked) async throws -> WebhookAnswer

    init(_ answer: @escaping @Sendable (Asked) async throws -> WebhookAnswer = { _ in .ok }) { self.answer = answer }

    var asked: [Asked] { state.withLock { $0.asked } }
    /// The most requests that were under way to one address at once.
    var widest: Int { state.withLock { $0.widest } }

    func post(_ request: WebhookRequest) async throws(WebhookFailure) -> WebhookAnswer {
        let asked = Asked(
            url: request.url,
            headers: Dictionary(request.headers.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first }),
            body: request.body,
        )
        state.withLock { state in
            state.asked.append(asked)
            state.busy[asked.url, default: 0] += 1
            state.widest = max(state.widest, state.busy[asked.url] ?? 0)
        }
        defer { state.withLock { $0.busy[asked.url, default: 1] -= 1 } }
        do {
            return try await answer(asked)
        } catch {
            throw WebhookFailure("no connection")
        }
    }
}

extension WebhookAnswer {
    static let ok = WebhookAnswer(status: 200, retryAfter: nil, body: Array("ok".utf8))
    static func status(_ status: Int, retryAfter: String? = nil) -> WebhookAnswer {
        WebhookAnswer(status: status, retryAfter: retryAfter, body: [])
    }
}

/// INTERFACES.md 1.16 on PostgreSQL. What the address checks do is tested with the client that makes them.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct `Webhooks` {
    /// Runs a sender as a worker does, until `isEnough`.
    private func sending(
        _ api: StoredRig,
        _ recorder: Recorder,
        until isEnough: @escaping @Sendable () async throws -> Bool,
    ) async throws {
        let duty = Self.duty(api, recorder)
        let task = Task { try await duty.run() }
        defer { task.cancel() }
        try await Self.eventually(isEnough)
        task.cancel()
        _ = await task.result
    }

    private static func duty(_ api: StoredRig, _ recorder: Recorder) -> WebhookDuty {
        var configuration = WebhookDuty.Configuration()
        configuration.pollMs = 10
        configuration.telegram = "https://telegram.example"
        var logger = Logger(label: "webhooks")
        logger.logLevel = .critical
        return WebhookDuty(
            outbox: PostgresWebhookStore(pool: api.pool),
            orders: api.orders,
            transport: recorder,
            // The counterpart of the rig's seal: bound to the webhook.
            open: { sealed, webhook in
                let name = Array("\(webhook) ".utf8)
                guard sealed.starts(with: name) else { throw WebhookFailure("sealed for another") }
                return sealed.dropFirst(name.count).map { $0 ^ 0x55 }
            },
            clock: RealClock(),
            random: { UInt64.random(in: 0 ... .max) },
            configuration: configuration,
            logger: logger,
        )
    }

    private static func eventually(_ isEnough: () async throws -> Bool) async throws {
        while try await !isEnough() { try await Task.sleep(for: .milliseconds(10)) }
    }

    private func make(
        _ api: StoredRig,
        _ tenant: Tenant,
        _ body: String,
        _ key: String = "w",
    ) async throws -> JSONValue {
        let answer = try await api.send(.POST, "/v1/webhooks", key: tenant.key, body: body, idempotency: key)
        #expect(answer.status == 201, "\(answer.text)")
        return answer.json
    }

    private func items(_ api: StoredRig, _ tenant: Tenant, _ path: String) async throws -> [JSONValue] {
        let answer = try await api.send(.GET, path, key: tenant.key, headers: [("Accept", "application/json")])
        guard case .array(let items)? = answer.json["items"] else {
            Issue.record("\(path): \(answer.text)")
            return []
        }
        return items
    }

    @Test func `an endpoint is told what the history says, in its order, signed`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            // What was before the endpoint is not told.
            _ = try await api.create(tenant)
            let made = try await make(api, tenant, #"{"url": "https://example.com/hook"}"#)
            let secret = try #require(made["secret"]?.text)
            #expect(secret.hasPrefix("whsec_"))
            let before = try await items(api, tenant, "/v1/events?account=\(tenant.account)").count
            for number in 0..<3 {
                let id = try await api.create(tenant, ["note": "\"\(number)\""])
                _ = try await api.act(tenant, id, .PATCH, "", #"{"stopLoss": {"price": "96"}}"#)
                _ = try await api.act(tenant, id, .DELETE, "")
            }
            let events = try await items(api, tenant, "/v1/events?account=\(tenant.account)").dropFirst(before)
            #expect(events.count == 9)
            let recorder = Recorder()
            try await sending(api, recorder) { recorder.asked.count >= events.count }
            let asked = recorder.asked
            #expect(asked.map { $0.json["data"]?["seq"] } == events.map { $0["seq"] })
            #expect(asked.map { $0.json["data"] } == events.map { Optional($0) })
            #expect(
                asked.map { $0.json["type"]?.text }
                    == [
                        "order.created", "order.modified", "order.cancelled", "order.created", "order.modified",
                        "order.cancelled", "order.created", "order.modified", "order.cancelled",
                    ]
            )
            #expect(Set(asked.map(\.id)).count == asked.count)
            #expect(recorder.widest == 1)
            for one in asked {
                let seconds = try #require(one.headers["webhook-timestamp"].flatMap { Int64($0) })
                #expect(abs(seconds - RealClock().now().milliseconds / 1_000) < 300)
                let wanted = WebhookVerifier.signature(secret, one.id, seconds, one.body)
                #expect(one.headers["webhook-signature"] == wanted)
            }
            let listed = try await items(api, tenant, "/v1/webhooks/\(made["id"]?.text ?? "")/deliveries?limit=5")
            #expect(listed.count == 5)
            #expect(listed.allSatisfy { $0["state"]?.text == "DELIVERED" })
        }
    }

    @Test func `the published vector has its published signature`() {
        let signature = WebhookVerifier.signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            Array(#"{"test": 2432232314}"#.utf8),
        )
        #expect(signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    }

    @Test func `a filter asks for any of the facts, and other accounts are not told`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let stranger = try await api.tenant()
            let made = try await make(
                api,
                tenant,
                #"{"url": "https://example.com/a", "types": ["order.cancelled"], "accountIds": ["\#(tenant.account)"]}"#,
            )
            _ = try await make(api, stranger, #"{"url": "https://example.com/b"}"#)
            let id = try await api.create(tenant)
            _ = try await api.act(tenant, id, .DELETE, "")
            _ = try await api.create(stranger)
            let recorder = Recorder()
            try await sending(api, recorder) { Set(recorder.asked.map(\.url)).count == 2 }
            let own = recorder.asked.filter { $0.url == "https://example.com/a" }
            #expect(own.map { $0.json["type"]?.text } == ["order.cancelled"])
            let other = recorder.asked.filter { $0.url == "https://example.com/b" }
            #expect(Set(other.map { $0.json["data"]?["accountId"]?.text }) == ["\(stranger.account)"])
            // The types of an endpoint change; what is not told is not told later.
            let changed = try await api.send(
                .PATCH,
                "/v1/webhooks/\(made["id"]?.text ?? "")",
                key: tenant.key,
                body: #"{"types": []}"#,
            )
            #expect(changed.status == 200, "\(changed.text)")
            _ = try await api.create(tenant, ["clientOrderId": "\"x\""])
            let later = Recorder()
            try await sending(api, later) { !later.asked.isEmpty }
            #expect(later.asked.map { $0.json["type"]?.text } == ["order.created"])
        }
    }

    @Test func `what fails is tried again under its id until it is dead, and can be sent again`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let made = try await make(api, tenant, #"{"url": "https://example.com/a"}"#)
            let path = "/v1/webhooks/\(made["id"]?.text ?? "")"
            _ = try await api.create(tenant)
            let good = Locked(false)
            let recorder = Recorder { _ in
                if good.withLock({ $0 }) { return .ok }
                throw WebhookFailure("no connection")
            }
            let delays: [Int64] = [5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000]
            for round in 0...delays.count {
                try await sending(api, recorder) {
                    let rows = try await api.pool.query(Statement(sql: "SELECT tries::bigint FROM webhook_deliveries"))
                    return try rows.first?.int64(0) ?? 0 > round
                }
                let row = try await api.pool.query(
                    Statement(
                        sql: """
                            SELECT state, (extract(epoch FROM next_at - a.at) * 1000)::bigint FROM webhook_deliveries AS d,
                                (SELECT max(at) AS at FROM webhook_attempts) AS a
                            """
                    )
                )[0]
                if round < delays.count {
                    #expect(try row.string(0) == "PENDING")
                    let wait = try row.int64(1)
                    // Give or take 20 %, and the time that the try and its row took.
                    #expect(wait >= delays[round] * 4 / 5 - 1_000)
                    #expect(wait <= delays[round] * 6 / 5 + 60_000)
                    try await api.sql("UPDATE webhook_deliveries SET next_at = clock_timestamp()")
                } else {
                    #expect(try row.string(0) == "DEAD")
                }
            }
            #expect(Set(recorder.asked.map(\.id)).count == 1)
            #expect(Set(recorder.asked.map(\.body)).count == 1)
            let dead = try await items(api, tenant, path + "/deliveries")
            #expect(dead.first?["state"]?.text == "DEAD")
            #expect(dead.first?["nextAttemptAt"] == .null)
            guard case .array(let attempts)? = dead.first?["attempts"] else {
                Issue.record("\(dead)")
                return
            }
            #expect(attempts.count == 8)
            #expect(attempts.allSatisfy { $0["error"]?.text == "no connection" && $0["status"] == .null })
            good.withLock { $0 = true }
            let id = dead.first?["id"]?.text ?? ""
            let again = try await api.send(.POST, "\(path)/deliveries/\(id)/resend", key: tenant.key, idempotency: "r")
            #expect(again.status == 202, "\(again.text)")
            #expect(again.json["state"]?.text == "PENDING")
            try await sending(api, recorder) {
                try await api.pool.query(Statement(sql: "SELECT state FROM webhook_deliveries"))[0].string(0)
                    == "DELIVERED"
            }
            #expect(Set(recorder.asked.map(\.id)).count == 1)
        }
    }

    @Test func `an endpoint that says wait is asked later`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            _ = try await make(api, tenant, #"{"url": "https://example.com/a"}"#)
            _ = try await api.create(tenant)
            let recorder = Recorder { _ in .status(503, retryAfter: "1234") }
            try await sending(api, recorder) {
                try await api.pool.query(Statement(sql: "SELECT count(*) FROM webhook_attempts"))[0].int64(0) == 1
            }
            let wait = try await api.pool.query(
                Statement(
                    sql: "SELECT (extract(epoch FROM next_at - clock_timestamp()))::bigint FROM webhook_deliveries"
                )
            )[0].int64(0)
            #expect((1_100...1_234).contains(wait))
        }
    }

    @Test func `410 and five days without success switch an endpoint off, which the others hear`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let gone = try await make(api, tenant, #"{"url": "https://example.com/gone"}"#, "a")
            let down = try await make(api, tenant, #"{"url": "https://example.com/down"}"#, "b")
            _ = try await make(
                api,
                tenant,
                #"{"url": "https://example.com/watch", "types": ["webhook.disabled"]}"#,
                "c",
            )
            try await api.sql(
                "UPDATE webhooks SET failing_since = clock_timestamp() - interval '6 days' WHERE url LIKE '%down'"
            )
            _ = try await api.create(tenant)
            let recorder = Recorder { asked in
                asked.url.hasSuffix("gone") ? .status(410) : asked.url.hasSuffix("down") ? .status(500) : .ok
            }
            try await sending(api, recorder) { recorder.asked.filter { $0.url.hasSuffix("watch") }.count == 2 }
            let told = recorder.asked.filter { $0.url.hasSuffix("watch") }
            #expect(told.allSatisfy { $0.json["type"]?.text == "webhook.disabled" })
            #expect(
                Set(told.map { $0.json["data"]?["webhookId"]?.text }) == [gone["id"]?.text, down["id"]?.text]
            )
            let webhooks = try await items(api, tenant, "/v1/webhooks")
            for webhook in webhooks {
                let isWatch = webhook["url"]?.text?.hasSuffix("watch") ?? false
                #expect(webhook["enabled"] == .bool(isWatch), "\(webhook)")
            }
            let reason = webhooks.first { $0["id"] == gone["id"] }?["disabledReason"]?.text
            #expect(reason == "it answered 410 Gone")
            // Off: nothing goes there. On again: what happens from now on does.
            _ = try await api.create(tenant, ["clientOrderId": "\"off\""])
            let path = "/v1/webhooks/\(gone["id"]?.text ?? "")/enable"
            let on = try await api.send(.POST, path, key: tenant.key, idempotency: "on")
            #expect(on.json["enabled"] == .bool(true), "\(on.text)")
            #expect(on.json["disabledReason"] == .null)
            _ = try await api.create(tenant, ["clientOrderId": "\"on\""])
            let later = Recorder()
            @Sendable func names() -> [String] {
                later.asked.filter { $0.url.hasSuffix("gone") }
                    .compactMap { $0.json["data"]?["order"]?["clientOrderId"]?.text }
            }
            try await sending(api, later) { !names().isEmpty }
            #expect(names() == ["on"])
        }
    }

    @Test func `gaps of a feed and comparisons with the venue are told to whom they concern`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let idle = try await api.tenant()
            let types = #"["protection.gapOpened", "protection.gapClosed", "account.reconciled"]"#
            for one in [tenant, idle] {
                _ = try await make(api, one, #"{"url": "https://example.com/a", "types": \#(types)}"#)
            }
            _ = try await api.create(tenant)
            try await api.sql(
                """
                INSERT INTO feed_gaps VALUES ('paper:linear:DEMO', 'mark', 1, 2, 'silence', false);
                INSERT INTO feed_gaps VALUES ('paper:linear:OTHER', 'mark', 1, 2, 'silence', false);
                UPDATE feed_gaps SET to_time = 3;
                UPDATE feed_gaps SET is_backfilled = true
                """
            )
            let path = "/v1/accounts/\(tenant.account)/reconcile"
            let begun = try await api.send(.POST, path, key: tenant.key, idempotency: "r")
            #expect(begun.status == 202, "\(begun.text)")
            // No worker answers for the venue here, and the comparison would be tried for minutes.
            try await api.sql("UPDATE batches SET state = 'DONE' WHERE kind = 'reconcile'")
            func told() async throws -> [(String, String, String)] {
                try await api.pool.query(
                    Statement(
                        sql: "SELECT account_id::text, type, data FROM webhook_deliveries ORDER BY created_at, id"
                    )
                ).map { (try $0.string(0), try $0.string(1), try $0.string(2)) }
            }
            try await Self.eventually { try await told().count >= 3 }
            let all = try await told()
            #expect(all.map(\.1) == ["protection.gapOpened", "protection.gapClosed", "account.reconciled"])
            #expect(Set(all.map(\.0)) == ["\(tenant.account)"])
            #expect(all[0].2.contains(#""market" : "paper:linear:DEMO""#), "\(all[0].2)")
            #expect(all[2].2.contains(begun.json["id"]?.text ?? "?"), "\(all[2].2)")
        }
    }

    @Test func `a new secret and the old one both sign for a day`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let made = try await make(api, tenant, #"{"url": "https://example.com/a"}"#)
            let path = "/v1/webhooks/\(made["id"]?.text ?? "")"
            let old = try #require(made["secret"]?.text)
            let rotated = try await api.send(.POST, path + "/rotate-secret", key: tenant.key, idempotency: "r")
            let new = try #require(rotated.json["secret"]?.text)
            #expect(new != old)
            // Whose first answer was lost is told again; the database alone tells nobody.
            let again = try await api.send(.POST, path + "/rotate-secret", key: tenant.key, idempotency: "r")
            #expect(again.status == 200)
            #expect(again["Idempotency-Replayed"] == "true")
            #expect(again.text == rotated.text)
            let answers = try await api.pool.query(Statement(sql: "SELECT string_agg(body, ' ') FROM answers"))
            #expect(try !answers[0].string(0).contains(new))
            let recorder = Recorder()
            for (round, secrets) in [[new, old], [new]].enumerated() {
                let test = try await api.send(.POST, path + "/test", key: tenant.key, idempotency: "t\(round)")
                #expect(test.status == 202, "\(test.text)")
                try await sending(api, recorder) { recorder.asked.count > round }
                let asked = recorder.asked[round]
                #expect(asked.json["type"]?.text == "webhook.test")
                let seconds = try #require(asked.headers["webhook-timestamp"].flatMap { Int64($0) })
                let wanted = secrets.map { WebhookVerifier.signature($0, asked.id, seconds, asked.body) }
                #expect(asked.headers["webhook-signature"] == wanted.joined(separator: " "))
                try await api.sql("UPDATE webhooks SET old_until = clock_timestamp()")
            }
            // The database knows neither.
            let known = try await api.pool.query(
                Statement(
                    sql: """
                        SELECT count(*) FROM (SELECT webhooks::text AS t FROM webhooks
                            UNION ALL SELECT answers::text FROM answers) AS x
                        WHERE t LIKE '%whsec_%' OR t LIKE '%' || $1::text || '%'
                        """
                ),
                [.text(String(old.dropFirst(6)))],
            )[0].int64(0)
            #expect(known == 0)
        }
    }

    @Test func `a sender that dies leaves the rest to another, and two of them send one at a time`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            try await api.sql("UPDATE accounts SET maximum_conditionals = 10000 WHERE id = '\(tenant.account)'")
            _ = try await make(api, tenant, #"{"url": "https://example.com/a"}"#)
            for number in 0..<20 { _ = try await api.create(tenant, ["clientOrderId": "\"o\(number)\""]) }
            // The first one gets stuck in the middle and dies there: what it sent last was not written down.
            let stuck = Locked(0)
            let first = Recorder { _ in
                let count = stuck.withLock { count in
                    count += 1
                    return count
                }
                if count == 7 { try await Task.sleep(for: .seconds(600)) }
                return .ok
            }
            try await sending(api, first) { stuck.withLock { $0 } == 7 }
            try await api.sql("UPDATE webhook_lanes SET lease_until = '-infinity'")
            let rest = Recorder()
            let duties = [Self.duty(api, rest), Self.duty(api, rest)]
            let tasks = duties.map { duty in Task { try await duty.run() } }
            try await Self.eventually {
                try await api.pool.query(
                    Statement(sql: "SELECT count(*) FROM webhook_deliveries WHERE state = 'DELIVERED'")
                )[0].int64(0) == 20
            }
            for task in tasks { task.cancel() }
            for task in tasks { _ = await task.result }
            #expect(rest.widest == 1)
            #expect(Set((first.asked + rest.asked).map(\.id)).count == 20)
            // The one that was under way when the first died came again, under its id.
            #expect(rest.asked.map(\.id).contains(first.asked[6].id))
            let numbers = rest.asked.compactMap { $0.json["data"]?["seq"]?.int64 }
            #expect(numbers == numbers.sorted())
        }
    }

    @Test func `a chat is told in words`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let made = try await make(
                api,
                tenant,
                #"{"format": "telegram", "botToken": "12:ab", "chatId": "-100", "types": ["order.created"]}"#,
            )
            #expect(made["secret"] == .null)
            #expect(made["url"]?.text == "https://api.telegram.org")
            _ = try await api.create(tenant)
            let recorder = Recorder()
            try await sending(api, recorder) { !recorder.asked.isEmpty }
            #expect(recorder.asked.first?.url == "https://telegram.example/bot12:ab/sendMessage")
            #expect(recorder.asked.first?.json["chat_id"]?.text == "-100")
            #expect(
                recorder.asked.first?.json["text"]?.text == "[PAPER] order.created: BUY paper:linear:DEMO is ACTIVE"
            )
        }
    }

    @Test func `addresses, types and numbers of endpoints are bounded`() async throws {
        try await withStoredAPI({ $0.webhooksMayBePlain = false }) { api in
            let tenant = try await api.tenant()
            let wrong = [
                #"{}"#, #"{"url": "http://example.com"}"#, #"{"url": "https://a@example.com"}"#,
                #"{"url": "https://127.0.0.1/x"}"#, #"{"url": "https://169.254.169.254/"}"#,
                #"{"url": "ftp://x.example"}"#,
                #"{"url": "https://example.com", "types": ["order.gone"]}"#,
                #"{"url": "https://example.com", "format": "pigeon"}"#,
                #"{"format": "telegram", "url": "https://x.example"}"#,
            ]
            for (number, body) in wrong.enumerated() {
                let answer = try await api.send(
                    .POST,
                    "/v1/webhooks",
                    key: tenant.key,
                    body: body,
                    idempotency: "wrong\(number)",
                )
                #expect(answer.status == 400, "\(body): \(answer.text)")
            }
            for number in 0..<20 {
                _ = try await make(api, tenant, #"{"url": "https://example.com/\#(number)"}"#, "k\(number)")
            }
            let many = try await api.send(
                .POST,
                "/v1/webhooks",
                key: tenant.key,
                body: #"{"url": "https://example.com/x"}"#,
                idempotency: "many",
            )
            #expect(many.status == 409)
            #expect(many.code == "RESOURCE_LIMIT")
            let first = try #require(try await items(api, tenant, "/v1/webhooks").first?["id"]?.text)
            #expect(try await api.send(.DELETE, "/v1/webhooks/\(first)", key: tenant.key).status == 204)
            #expect(try await items(api, tenant, "/v1/webhooks").count == 19)
        }
    }
}
