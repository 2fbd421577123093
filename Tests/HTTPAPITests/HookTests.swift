import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// INTERFACES.md 1.15 on PostgreSQL: alerts come in by secret links.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct `Links for alerts` {
    private struct Link {
        let id: String
        let token: String
        var path: String { "/hooks/\(token)" }
    }

    private func link(_ api: StoredRig, _ tenant: Tenant, _ body: String, key: String = "h") async throws -> Link {
        let answer = try await api.send(
            .POST,
            "/v1/hooks",
            key: tenant.key,
            body: "{\"accountId\": \"\(tenant.account)\", " + body.dropFirst(),
            idempotency: key,
        )
        #expect(answer.status == 201, "\(answer.text)")
        let url = try #require(answer.json["url"]?.text)
        let prefix = "https://orders.example/hooks/"
        #expect(url.hasPrefix(prefix))
        return Link(id: try #require(answer.json["id"]?.text), token: String(url.dropFirst(prefix.count)))
    }

    private func preset(_ api: StoredRig, _ tenant: Tenant, _ draft: String) async throws -> String {
        let body = #"{"name": "p", "draft": \#(draft)}"#
        let answer = try await api.send(.POST, "/v1/presets", key: tenant.key, body: body, idempotency: "p")
        #expect(answer.status == 201, "\(answer.text)")
        return try #require(answer.json["id"]?.text)
    }

    /// Calls the link as somebody without a key.
    private func call(
        _ api: StoredRig,
        _ link: Link,
        _ body: String,
        type: String = "application/json",
    ) async throws -> Answer {
        try await api.send(.POST, link.path, key: nil, headers: [("Content-Type", type)], body: body)
    }

    private func calls(_ api: StoredRig, _ tenant: Tenant, _ link: Link) async throws -> [JSONValue] {
        let answer = try await api.send(.GET, "/v1/hooks/\(link.id)/calls", key: tenant.key)
        guard case .array(let items)? = answer.json["items"] else {
            Issue.record("\(answer.text)")
            return []
        }
        return items
    }

    /// Calls the link, and what came of it.
    private func outcome(_ api: StoredRig, _ tenant: Tenant, _ link: Link, _ body: String) async throws -> JSONValue {
        let answer = try await call(api, link, body)
        #expect(answer.status == 202, "\(answer.text)")
        let id = try #require(answer.json["callId"]?.text)
        while true {
            let call = try await calls(api, tenant, link).first { $0["id"]?.text == id }
            if let call, call["outcome"]?.text != "RECEIVED" { return call }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    private static let draft =
        #"{"market": "paper:linear:DEMO", "side": "BUY", "qty": "10", "entry": {"mode": "limit", "price": "90"}, "stopLoss": {"price": "80"}}"#

    @Test func `an alert makes an order from a preset, with what it says instead`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let preset = try await preset(api, tenant, Self.draft)
            let link = try await link(api, tenant, #"{"action": "create", "presetId": "\#(preset)", "label": "tv"}"#)
            let done = try await outcome(
                api,
                tenant,
                link,
                #"{"id": "a1", "side": "buy", "qty": 3, "price": 91.5, "stopLoss": "81", "ticker": "ignored"}"#,
            )
            #expect(done["outcome"]?.text == "DONE", "\(done)")
            let id = try #require(done["orderId"]?.text)
            let order = try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key)
            #expect(order.json["qty"]?.text == "3")
            #expect(order.json["entry"]?["price"]?.text == "91.5")
            #expect(order.json["stopLoss"]?["price"]?.text == "81")
            let history = try await api.send(.GET, "/v1/orders/\(id)/events", key: tenant.key)
            guard case .array(let events)? = history.json["items"] else {
                Issue.record("\(history.text)")
                return
            }
            #expect(events.first?["actor"]?["kind"]?.text == "hook")
            #expect(events.first?["actor"]?["id"]?.text == link.id)
            // Text that is no JSON says nothing: the preset as it is.
            let text = try await call(api, link, "BTC crossed 100", type: "text/plain; charset=utf-8")
            #expect(text.status == 202, "\(text.text)")
            // Numbers with exponents are no decimals; the call says so, nobody waits for it.
            let odd = try await outcome(api, tenant, link, #"{"id": "a2", "qty": 1e1}"#)
            #expect(odd["outcome"]?.text == "REFUSED")
            #expect(odd["code"]?.text == "BAD_DECIMAL")
            // The token is not kept, only its hash; the link's address is told once.
            let kept = try await api.pool.query(
                Statement(sql: "SELECT count(*) FROM hooks, answers WHERE hooks::text || answers::text LIKE $1::text"),
                [.text("%\(link.token)%")],
            )[0].int64(0)
            #expect(kept == 0)
            let listed = try await api.send(.GET, "/v1/hooks", key: tenant.key)
            #expect(!listed.text.contains(link.token))
        }
    }

    @Test func `the same alert is one alert`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let preset = try await preset(api, tenant, Self.draft)
            let link = try await link(api, tenant, #"{"action": "create", "presetId": "\#(preset)"}"#)
            // Ten at once: a sender that repeats, through any number of api processes.
            let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
                for _ in 0..<8 { group.addTask { try await call(api, link, #"{"id": "x", "qty": "1"}"#) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.count { $0.status == 202 } == 1)
            #expect(answers.count { $0.status == 200 && $0.json["duplicate"] == .bool(true) } == 7)
            #expect(try await call(api, link, #"{"qty": "2"}"#).status == 202)
            #expect(try await call(api, link, #"{"qty": "2"}"#).json["duplicate"] == .bool(true))
            // A minute later the same words are another alert, the same id is not.
            try await api.sql("UPDATE hook_calls SET at = at - interval '61 s'")
            #expect(try await call(api, link, #"{"qty": "2"}"#).status == 202)
            #expect(try await call(api, link, #"{"id": "x", "qty": "1"}"#).json["duplicate"] == .bool(true))
            // Carried out again, by a process that did not know that it was: still the same orders.
            while try await calls(api, tenant, link).contains(where: { $0["outcome"]?.text == "RECEIVED" }) {
                try await Task.sleep(for: .milliseconds(10))
            }
            try await api.sql("UPDATE hook_calls SET outcome = 'RECEIVED', lease_until = '-infinity'")
            while try await calls(api, tenant, link).contains(where: { $0["outcome"]?.text == "RECEIVED" }) {
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(try await calls(api, tenant, link).map { $0["outcome"]?.text } == ["DONE", "DONE", "DONE"])
            let counts = try await api.send(.GET, "/v1/orders/counts", key: tenant.key)
            #expect(counts.json["waiting"]?.int64 == 3, "\(counts.text)")
        }
    }

    @Test func `orders are closed, cancelled, opened now, and stops tightened, never loosened`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            func order(_ id: String) async throws -> JSONValue {
                try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key).json
            }
            let stop = try await link(api, tenant, #"{"action": "moveStop", "orderId": "\#(id)"}"#, key: "1")
            let tighter = try await outcome(api, tenant, stop, #"{"stopLoss": 97}"#)
            #expect(tighter["outcome"]?.text == "DONE", "\(tighter)")
            #expect(try await order(id)["stopLoss"]?["price"]?.text == "97")
            let looser = try await outcome(api, tenant, stop, #"{"stopLoss": "96"}"#)
            #expect(looser["outcome"]?.text == "REFUSED", "\(looser)")
            #expect(try await order(id)["stopLoss"]?["price"]?.text == "97")
            let silent = try await outcome(api, tenant, stop, #"{}"#)
            #expect(silent["code"]?.text == "MISSING_FIELD")

            let close = try await link(api, tenant, #"{"action": "close", "orderId": "\#(id)"}"#, key: "2")
            #expect(try await outcome(api, tenant, close, #"{"id": 1}"#)["outcome"]?.text == "DONE")
            #expect(try await order(id)["phase"]?.text == "closing")

            let waiting = ["entry": #"{"mode": "limit", "price": "90"}"#, "stopLoss": #"{"price": "80"}"#]
            let second = try await api.create(tenant, waiting.merging(["takeProfits": ""]) { $1 })
            let open = try await link(api, tenant, #"{"action": "openNow", "orderId": "\#(second)"}"#, key: "3")
            let opened = try await outcome(api, tenant, open, "{}")
            #expect(opened["outcome"]?.text == "DONE", "\(opened)")

            let third = try await api.create(tenant, waiting.merging(["takeProfits": ""]) { $1 })
            let all = try await link(
                api,
                tenant,
                #"{"action": "cancel", "market": "paper:linear:DEMO"}"#,
                key: "4",
            )
            let cancelled = try await outcome(api, tenant, all, "{}")
            #expect(cancelled["detail"]?.text?.hasSuffix("of 3 orders") == true, "\(cancelled)")
            #expect(["CANCELLED", "PENDING"].contains(try await order(third)["status"]?.text ?? ""))
            #expect(try await order(third)["phase"]?.text != "waitingEntry")
        }
    }

    @Test func `a call that ends whoever works on it is given up`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let close = try await link(api, tenant, #"{"action": "close", "orderId": "\#(id)"}"#)
            // Taken five times, and nobody ever told of it; a neighbour one time less.
            let (crashed, survivor) = (StoredRig.uuid(), StoredRig.uuid())
            for (call, unsettled) in [(crashed, 5), (survivor, 4)] {
                try await api.sql(
                    """
                    INSERT INTO hook_calls (id, account_id, hook_id, address, body, dedupe, tries, unsettled)
                    VALUES ('\(call)', '\(tenant.account)', '\(close.id)', '', '{}', '\(call)', 5, \(unsettled))
                    """
                )
            }
            var outcomes: [String: JSONValue] = [:]
            while outcomes.count < 2 {
                let calls = try await calls(api, tenant, close)
                for call in calls where call["outcome"]?.text != "RECEIVED" { outcomes[call["id"]?.text ?? ""] = call }
                try await Task.sleep(for: .milliseconds(50))
            }
            #expect(outcomes["\(crashed)"]?["outcome"]?.text == "FAILED", "\(outcomes)")
            #expect(outcomes["\(crashed)"]?["code"]?.text == "INTERNAL")
            #expect(outcomes["\(survivor)"]?["outcome"]?.text == "DONE", "\(outcomes)")
        }
    }

    @Test func `tier, halt and rules stand before an alert as before a trader`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let preset = try await preset(api, tenant, Self.draft)
            let link = try await link(api, tenant, #"{"action": "create", "presetId": "\#(preset)"}"#)
            func code(_ body: String) async throws -> String? {
                try await outcome(api, tenant, link, body)["code"]?.text
            }
            #expect(try await code(#"{"id": 1, "qty": "0"}"#) == "QTY_NOT_ON_STEP")
            try await api.sql("UPDATE users SET tier = 'FREE' WHERE id = '\(tenant.user)'")
            #expect(try await code(#"{"id": 2}"#) == "TIER_REQUIRED")
            try await api.sql("UPDATE users SET tier = 'PRO' WHERE id = '\(tenant.user)'")
            let halt = try await api.send(
                .POST,
                "/v1/accounts/\(tenant.account)/halt",
                key: tenant.key,
                body: #"{"reason": "r"}"#,
                idempotency: "halt",
            )
            #expect(halt.status == 202, "\(halt.text)")
            #expect(try await code(#"{"id": 3}"#) == "ACCOUNT_HALTED")
            #expect(try await api.orders.list(OrderFilter(account: tenant.account)).isEmpty)
        }
    }

    @Test func `what a link may not do is refused at the door`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            func make(_ more: String, _ key: String) async throws -> Link {
                try await link(api, tenant, #"{"action": "cancel", "orderId": "\#(id)"\#(more)}"#, key: key)
            }
            let nobody = Link(id: "", token: "AAAAAAAAAAAAAAAAAAAAAAAAAAA")
            #expect(try await call(api, nobody, "{}").status == 404)

            let elsewhere = try await make(#", "ipAllow": ["52.89.214.238"]"#, "ip")
            let refused = try await call(api, elsewhere, "{}")
            #expect(refused.status == 403)
            #expect(refused.code == "IP_NOT_ALLOWED")

            let secret = try await make(#", "passphrase": "open sesame""#, "pass")
            #expect(try await call(api, secret, "{}").status == 401)
            #expect(try await call(api, secret, #"{"passphrase": "open"}"#).status == 401)
            #expect(try await call(api, secret, "open sesame", type: "text/plain").status == 401)

            let old = try await make(#", "expiresAt": "2099-01-01T00:00:00Z""#, "old")
            try await api.sql("UPDATE hooks SET expires_at = clock_timestamp() WHERE id = '\(old.id)'")
            let off = try await make(#", "enabled": false"#, "off")
            let ended = try await make("", "ended")
            #expect(try await api.send(.DELETE, "/v1/hooks/\(ended.id)", key: tenant.key).status == 204)
            for link in [old, off, ended] {
                let answer = try await call(api, link, "{}")
                #expect(answer.status == 410, "\(answer.text)")
                #expect(answer.code == "LINK_GONE")
            }

            let bounded = try await make(#", "maxPerHour": 2"#, "hour")
            for number in 1...2 { #expect(try await call(api, bounded, #"{"id": \#(number)}"#).status == 202) }
            let more = try await call(api, bounded, #"{"id": 3}"#)
            #expect(more.status == 429)
            #expect(more["Retry-After"] != nil)
            // A repeated call is still known.
            #expect(try await call(api, bounded, #"{"id": 2}"#).status == 200)

            let broken = try await call(api, bounded, #"{"id": "#)
            #expect(broken.status == 400)
            #expect(broken.code == "MALFORMED_JSON")
            let large = try await call(api, bounded, String(repeating: " ", count: 20_000), type: "text/plain")
            #expect(large.status == 413)
            let form = try await call(api, bounded, "a=b", type: "application/x-www-form-urlencoded")
            #expect(form.status == 415)
            let changed = try await api.send(
                .PATCH,
                "/v1/hooks/\(bounded.id)",
                key: tenant.key,
                body: #"{"enabled": false, "label": "no more"}"#,
            )
            #expect(changed.status == 200, "\(changed.text)")
            #expect(try await call(api, bounded, #"{"id": 9}"#).status == 410)
            let audit = try await api.pool.query(
                Statement(
                    sql: "SELECT count(*) FROM audit WHERE action IN ('hook.create', 'hook.change', 'hook.delete')"
                )
            )[0].int64(0)
            #expect(audit == 8)
        }
    }

    @Test func `a link serves the mode that it was made in`() async throws {
        try await withStoredAPI(isLiveEnabled: true) { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let preset = try await preset(api, tenant, Self.draft)
            let opener = try await link(api, tenant, #"{"action": "create", "presetId": "\#(preset)"}"#, key: "o")
            let closer = try await link(api, tenant, #"{"action": "close", "orderId": "\#(id)"}"#, key: "c")
            let listed = try await api.send(.GET, "/v1/hooks", key: tenant.key)
            #expect(listed.text.ranges(of: #""mode":"PAPER""#).count == 2, "\(listed.text)")
            #expect(try await outcome(api, tenant, opener, #"{"id": "1"}"#)["outcome"]?.text == "DONE")

            try await api.sql("UPDATE accounts SET mode = 'LIVE' WHERE id = '\(tenant.account)'")
            for link in [opener, closer] {
                let late = try await call(api, link, #"{"id": "2"}"#)
                #expect(late.status == 403 && late.code == "KEY_MODE", "\(late.text)")
            }
            // One that came in before the switch, and is carried out after it.
            try await api.sql("UPDATE hook_calls SET outcome = 'RECEIVED', lease_until = '-infinity'")
            let question = Statement(sql: "SELECT outcome, coalesce(code, '') FROM hook_calls")
            var told = ["RECEIVED", ""]
            while told[0] == "RECEIVED" {
                try await Task.sleep(for: .milliseconds(20))
                told = try await api.pool.query(question).flatMap { [try $0.string(0), try $0.string(1)] }
            }
            #expect(told == ["REFUSED", "KEY_MODE"])

            // The other way round, too.
            let trader = try await api.tenant(mode: .live)
            let real = try await api.create(trader)
            let ender = try await link(api, trader, #"{"action": "close", "orderId": "\#(real)"}"#)
            #expect(try await outcome(api, trader, ender, #"{"id": "1"}"#)["outcome"]?.text == "DONE")
            try await api.sql("UPDATE accounts SET mode = 'PAPER' WHERE id = '\(trader.account)'")
            #expect(try await call(api, ender, #"{"id": "2"}"#).code == "KEY_MODE")
        }
    }

    @Test func `its secrets are kept nowhere: not the passphrase, not the token in the log`() async throws {
        let log = LogCollector()
        try await withStoredAPI(logger: log.logger) { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let body = #"{"action": "cancel", "orderId": "\#(id)", "passphrase": "canary-passphrase"}"#
            let door = try await link(api, tenant, body)
            let alert = #"{"id": "1", "passphrase": "canary-passphrase", "note": "kept"}"#
            #expect(try await outcome(api, tenant, door, alert)["outcome"]?.text == "DONE")
            let shown = try await api.send(.GET, "/v1/hooks/\(door.id)/calls", key: tenant.key).text
            #expect(shown.contains("kept") && !shown.contains("canary"), "\(shown)")
            let stored = try await api.pool.query(
                Statement(sql: "SELECT string_agg(c::text, ' ') FROM hook_calls AS c")
            )
            #expect(try stored[0].string(0).contains("canary") == false)
            // What is repeated is still known, also by its whole body.
            #expect(try await call(api, door, alert).status == 200)
            let nameless = #"{"passphrase": "canary-passphrase"}"#
            #expect(try await call(api, door, nameless).status == 202)
            #expect(try await call(api, door, nameless).status == 200)
            // A defect is told with the route, not with the link.
            try await api.sql("ALTER TABLE hook_calls RENAME TO mislaid")
            #expect(try await call(api, door, #"{"id": "2", "passphrase": "canary-passphrase"}"#).status == 500)
            try await api.sql("ALTER TABLE mislaid RENAME TO hook_calls")
            let told = log.text
            #expect(
                told.contains("/hooks/{token}") && !told.contains(door.token) && !told.contains("canary"),
                "\(told)",
            )
        }
    }

    @Test func `a link is called ten times a minute`() async throws {
        try await withStoredAPI({ $0.limits.rates = RatePolicy.allCases.map { $0 == .hook ? 10 : 100_000 } }) { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let link = try await link(api, tenant, #"{"action": "cancel", "orderId": "\#(id)"}"#)
            var answers: [Int] = []
            for number in 0..<12 { answers.append(try await call(api, link, #"{"id": \#(number)}"#).status) }
            #expect(answers.prefix(10).allSatisfy { $0 == 202 })
            #expect(answers.contains(429))
        }
    }

    @Test func `links to what is not there are not made`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let stranger = try await api.tenant()
            let theirs = try await api.create(stranger)
            let account = "\"accountId\": \"\(tenant.account)\""
            let nobody = "01980000-0000-7000-8000-00000000ffff"
            for (body, status) in [
                (#"{\#(account), "action": "create", "presetId": "\#(nobody)"}"#, 404),
                (#"{\#(account), "action": "close", "orderId": "\#(theirs)"}"#, 404),
                (#"{"accountId": "\#(stranger.account)", "action": "close", "market": "paper:linear:DEMO"}"#, 404),
                (#"{\#(account), "action": "close"}"#, 404),
                (#"{\#(account), "action": "create", "market": "paper:linear:DEMO"}"#, 404),
                (#"{\#(account), "action": "fly", "market": "paper:linear:DEMO"}"#, 400),
                (#"{\#(account), "action": "close", "market": "paper:linear:DEMO", "maxPerHour": 0}"#, 400),
                (#"{\#(account), "action": "close", "market": "paper:linear:DEMO", "ipAllow": ["x"]}"#, 400),
            ] {
                let answer = try await api.send(
                    .POST,
                    "/v1/hooks",
                    key: tenant.key,
                    body: body,
                    idempotency: "k\(body.utf8.count)\(status)",
                )
                #expect(answer.status == status, "\(body): \(answer.text)")
            }
        }
    }
}
