import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// A browser that keeps its cookie.
struct Browser {
    let api: StoredRig
    let cookie: String
    let token: String

    static func signIn(_ api: StoredRig, _ body: String) async throws -> Browser {
        let answer = try await api.send(
            .POST,
            "/v1/sign-in",
            key: nil,
            headers: [("Origin", "https://orders.example")],
            body: body,
        )
        #expect(answer.status == 200, "\(answer.text)")
        let set = try #require(answer["Set-Cookie"])
        for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Secure"] { #expect(set.contains(attribute)) }
        let cookie = try #require(set.split(separator: ";").first.map(String.init))
        return Browser(api: api, cookie: cookie, token: try #require(answer.json["csrfToken"]?.text))
    }

    func send(
        _ method: HTTPMethod,
        _ path: String,
        _ headers: [(String, String)] = [],
        body: String? = nil,
        idempotency: String? = nil,
        ifMatch: String? = nil,
    ) async throws -> Answer {
        try await api.send(
            method,
            path,
            key: nil,
            headers: [("Cookie", "other=1; \(cookie)")] + headers,
            body: body,
            idempotency: idempotency,
            ifMatch: ifMatch,
        )
    }

    var ours: [(String, String)] { [("X-CSRF-Token", token), ("Origin", "https://orders.example")] }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `A browser` {
    @Test func `signs in with a key, changes things with its token, and signs out`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let browser = try await Browser.signIn(api, #"{"apiKey": "\#(tenant.key)"}"#)
            let me = try await browser.send(.GET, "/v1/me")
            #expect(me.status == 200)
            #expect(me.json["csrfToken"]?.text == browser.token)
            let body = api.draft(tenant.account)
            let made = try await browser.send(.POST, "/v1/orders", browser.ours, body: body, idempotency: "b1")
            #expect(made.status == 201, "\(made.text)")
            // A browser that cannot send Origin says where it comes from otherwise.
            let site = [("X-CSRF-Token", browser.token), ("Sec-Fetch-Site", "same-origin")]
            let second = try await browser.send(.POST, "/v1/orders", site, body: body, idempotency: "b2")
            #expect(second.status == 201, "\(second.text)")
            let id = try #require(made.json["id"]?.text)
            let events = try await browser.send(.GET, "/v1/orders/\(id)/events")
            #expect(events.text.contains(#""kind":"user""#), "\(events.text)")

            #expect(try await browser.send(.DELETE, "/v1/sign-in", browser.ours).status == 204)
            let after = try await browser.send(.GET, "/v1/me")
            #expect(after.status == 401)
            #expect(after.code == "SIGN_IN_EXPIRED")
        }
    }

    @Test func `another site cannot use its cookie`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let browser = try await Browser.signIn(api, #"{"apiKey": "\#(tenant.key)"}"#)
            let body = api.draft(tenant.account)
            let cases: [([(String, String)], String)] = [
                ([], "CSRF_FAILED"),
                ([("Origin", "https://orders.example")], "CSRF_FAILED"),
                (
                    [
                        ("X-CSRF-Token", (browser.token.hasPrefix("A") ? "B" : "A") + browser.token.dropFirst()),
                        ("Origin", "https://orders.example"),
                    ],
                    "CSRF_FAILED",
                ),
                ([("X-CSRF-Token", browser.token)], "ORIGIN_REFUSED"),
                ([("X-CSRF-Token", browser.token), ("Origin", "https://evil.example")], "ORIGIN_REFUSED"),
                ([("X-CSRF-Token", browser.token), ("Sec-Fetch-Site", "cross-site")], "ORIGIN_REFUSED"),
            ]
            for (index, (headers, code)) in cases.enumerated() {
                let answer = try await browser.send(.POST, "/v1/orders", headers, body: body, idempotency: "c\(index)")
                #expect(answer.status == 403, "\(headers)")
                #expect(answer.code == code, "\(headers): \(answer.text)")
            }
            // With a key the cookie does not count.
            let both = try await api.send(
                .POST,
                "/v1/orders",
                key: tenant.key,
                headers: [("Cookie", browser.cookie)],
                body: body,
                idempotency: "k",
            )
            #expect(both.status == 201, "\(both.text)")
            // Nobody signs a browser in from elsewhere.
            let elsewhere = try await api.send(
                .POST,
                "/v1/sign-in",
                key: nil,
                headers: [("Origin", "https://evil.example")],
                body: #"{"apiKey": "\#(tenant.key)"}"#,
            )
            #expect(elsewhere.code == "ORIGIN_REFUSED")
        }
    }

    @Test func `ends with its key, after 12 hours without use, and after 7 days`() async throws {
        try await withStoredAPI { api in
            for end in [
                "UPDATE api_keys SET revoked_at = clock_timestamp()",
                "UPDATE sign_ins SET used_at = clock_timestamp() - interval '12 h 1 s'",
                "UPDATE sign_ins SET created_at = clock_timestamp() - interval '7 days 1 s'",
            ] {
                let tenant = try await api.tenant()
                let browser = try await Browser.signIn(api, #"{"apiKey": "\#(tenant.key)"}"#)
                #expect(try await browser.send(.GET, "/v1/me").status == 200)
                try await api.sql(end)
                #expect(try await browser.send(.GET, "/v1/me").status == 401, "\(end)")
            }
        }
    }

    @Test func `signs in with a code once, with the rights of the user's roles`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant(roles: "VIEWER")
            let hash = APIKey.hash("one-time")
            try await api.sql(
                "INSERT INTO sign_in_codes VALUES ('\(hash)', '\(tenant.user)', clock_timestamp() + interval '10 min')"
            )
            let browser = try await Browser.signIn(api, #"{"code": "one-time"}"#)
            let again = try await api.send(.POST, "/v1/sign-in", key: nil, body: #"{"code": "one-time"}"#)
            #expect(again.status == 401)
            let body = api.draft(tenant.account)
            let made = try await browser.send(.POST, "/v1/orders", browser.ours, body: body, idempotency: "b1")
            #expect(made.code == "SCOPE_REQUIRED", "\(made.text)")
        }
    }

    @Test func `signing in is tried five times a minute from one address`() async throws {
        try await withStoredAPI({ $0.limits.rates = [500, 200, 500, 5] }) { api in
            var codes: [String?] = []
            for _ in 0..<6 {
                codes.append(try await api.send(.POST, "/v1/sign-in", key: nil, body: #"{"code": "no"}"#).code)
            }
            #expect(codes == Array(repeating: "UNAUTHENTICATED", count: 5) + ["RATE_LIMITED"])
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `An account's settings` {
    private func audit(_ api: StoredRig) async throws -> [String] {
        try await api.pool.query(.init(sql: "SELECT actor || ' ' || action FROM audit ORDER BY id")).map {
            try $0.string(0)
        }
    }

    @Test func `change by version, each with a line of the audit`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let path = "/v1/accounts/\(tenant.account)"
            let before = try await api.send(.GET, path, key: tenant.key)
            #expect(before["ETag"] == "\"v1\"")
            func patch(_ body: String, _ tag: String?) async throws -> Answer {
                try await api.send(.PATCH, path, key: tenant.key, body: body, ifMatch: tag)
            }
            let changed = try await patch(#"{"name": "mine", "defaultTriggerSource": "last"}"#, "\"v1\"")
            #expect(changed.status == 200, "\(changed.text)")
            #expect(changed["ETag"] == "\"v2\"")
            #expect(changed.json["name"]?.text == "mine")
            let late = try await patch(#"{"name": "late"}"#, "\"v1\"")
            #expect(late.status == 412)
            #expect(late.json["current"]?["name"]?.text == "mine")
            #expect(try await patch(#"{"name": "x"}"#, nil).status == 428)
            #expect(try await patch(#"{"venue": "x"}"#, "\"v2\"").code == "UNKNOWN_FIELD")
            let actors = try await audit(api)
            #expect(actors.count == 1 && actors[0].hasSuffix("account.change"), "\(actors)")
            // An order that names no source has the account's.
            try await api.price(101 * 100_000_000, .last)
            let order = try await api.create(tenant)
            let shown = try await api.send(.GET, "/v1/orders/\(order)", key: tenant.key)
            #expect(shown.json["triggerSource"]?.text == "last", "\(shown.text)")
        }
    }

    @Test func `an account is made on paper, and deleted when it is idle`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            try await api.sql("UPDATE api_keys SET account_ids = NULL")
            let body = #"{"name": "second", "venue": "paper", "product": "linear"}"#
            func make() async throws -> Answer {
                try await api.send(.POST, "/v1/accounts", key: tenant.key, body: body, idempotency: "a1")
            }
            let made = try await make()
            #expect(made.status == 201, "\(made.text)")
            #expect(made.json["mode"]?.text == "PAPER")
            #expect(made.json["credentials"]?["state"]?.text == "MISSING")
            let id = try #require(made.json["id"]?.text)
            #expect(try await make().json["id"]?.text == id, "a repeated request makes nothing")
            let list = try await api.send(.GET, "/v1/accounts", key: tenant.key)
            #expect(list.text.contains(id))
            let deleted = try await api.send(.DELETE, "/v1/accounts/\(id)", key: tenant.key, ifMatch: "\"v1\"")
            #expect(deleted.status == 204, "\(deleted.text)")
            #expect(try await api.send(.GET, "/v1/accounts/\(id)", key: tenant.key).status == 404)
            _ = try await api.create(tenant)
            let busy = try await api.send(
                .DELETE,
                "/v1/accounts/\(tenant.account)",
                key: tenant.key,
                ifMatch: "\"v1\"",
            )
            #expect(busy.code == "ACCOUNT_NOT_IDLE", "\(busy.text)")
            let lines = try await audit(api)
            #expect(lines.map { $0.split(separator: " ").last } == ["account.create", "account.delete"])
        }
    }

    @Test func `goes live only when everything allows it`() async throws {
        func request(_ api: StoredRig, _ tenant: Tenant, _ body: String) async throws -> Answer {
            try await api.send(
                .PUT,
                "/v1/accounts/\(tenant.account)/mode",
                key: tenant.key,
                body: body,
                ifMatch: "\"v1\"",
            )
        }
        let wish = #"{"mode": "LIVE", "confirm": "a"}"#
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            #expect(try await request(api, tenant, wish).code == "LIVE_DISABLED")
        }
        try await withStoredAPI(isLiveEnabled: true) { api in
            let free = try await api.tenant(tier: "FREE")
            #expect(try await request(api, free, wish).code == "TIER_REQUIRED")
            let keyless = try await api.tenant()
            try await api.sql("DELETE FROM credentials WHERE account_id = '\(keyless.account)'")
            #expect(try await request(api, keyless, wish).code == "CREDENTIALS_MISSING")
            let refused = try await api.tenant()
            try await api.sql("UPDATE credentials SET refusal = 'it may withdraw'")
            #expect(try await request(api, refused, wish).code == "CREDENTIALS_REFUSED")
            // What the venue said of the key is not old, lets it trade and not withdraw.
            for (rights, age) in [("read,futures", "11 min"), ("read", "1 s"), ("read,futures,withdraw", "1 s")] {
                let doubted = try await api.tenant()
                try await api.sql(
                    """
                    UPDATE credentials SET permissions = '{\(rights)}', checked_at = now() - interval '\(age)'
                    WHERE account_id = '\(doubted.account)'
                    """
                )
                let answer = try await request(api, doubted, wish)
                #expect(answer.code == "CREDENTIALS_REFUSED", "\(rights) \(age): \(answer.text)")
            }
            func trusted() async throws -> Tenant {
                let tenant = try await api.tenant()
                try await api.sql(
                    """
                    UPDATE credentials SET permissions = '{read,futures}', checked_at = now()
                    WHERE account_id = '\(tenant.account)'
                    """
                )
                return tenant
            }
            let busy = try await trusted()
            _ = try await api.create(busy)
            #expect(try await request(api, busy, wish).code == "ACCOUNT_NOT_IDLE")
            let tenant = try await trusted()
            let other = #"{"mode": "LIVE", "confirm": "another name"}"#
            #expect(try await request(api, tenant, other).code == "CONFIRM_MISMATCH")
            let live = try await request(api, tenant, wish)
            #expect(live.status == 200, "\(live.text)")
            #expect(live.json["mode"]?.text == "LIVE")
            // The paper key is of no use there.
            #expect(try await api.send(.GET, "/v1/accounts", key: tenant.key).code == "KEY_MODE")
        }
    }

    @Test func `preferences have defaults, presets keep drafts`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let stranger = try await api.tenant()
            let defaults = try await api.send(.GET, "/v1/preferences", key: tenant.key)
            #expect(defaults.json["theme"]?.text == "system")
            let set = try await api.send(
                .PUT,
                "/v1/preferences",
                key: tenant.key,
                body: #"{"theme": "dark", "columns": ["symbol", "pnl"]}"#,
            )
            #expect(set.status == 200, "\(set.text)")
            #expect(try await api.send(.GET, "/v1/preferences", key: tenant.key).text == set.text)
            #expect(try await api.send(.GET, "/v1/preferences", key: stranger.key).text == defaults.text)

            let draft = #"{"side": "BUY", "entry": {"mode": "market"}, "stopLoss": {"price": "95"}}"#
            let made = try await api.send(
                .POST,
                "/v1/presets",
                key: tenant.key,
                body: #"{"name": "scalp", "draft": \#(draft)}"#,
                idempotency: "p1",
            )
            #expect(made.status == 201, "\(made.text)")
            let id = try #require(made.json["id"]?.text)
            let wrong = try await api.send(
                .POST,
                "/v1/presets",
                key: tenant.key,
                body: #"{"name": "x", "draft": {"side": "BUY", "entry": {"mode": "market"}, "stopLos": {}}}"#,
                idempotency: "p2",
            )
            #expect(wrong.code == "UNKNOWN_FIELD")
            let path = "/v1/presets/\(id)"
            let body = #"{"name": "swing", "draft": \#(draft)}"#
            #expect(try await api.send(.PUT, path, key: stranger.key, body: body).status == 404)
            #expect(try await api.send(.PUT, path, key: tenant.key, body: body).json["name"]?.text == "swing")
            #expect(try await api.send(.DELETE, path, key: stranger.key).status == 404)
            #expect(try await api.send(.DELETE, path, key: tenant.key).status == 204)
            let left = try await api.send(.GET, "/v1/presets", key: tenant.key)
            #expect(left.json["items"] == .array([]))
            let venues = try await api.send(.GET, "/v1/venues", key: tenant.key)
            #expect(venues.text.contains(#""id":"paper","products":["linear"]"#), "\(venues.text)")
        }
    }
}
