import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// A command that is sent, outrun by changes, and sent again.
private struct Repeated: Sendable {
    let what: String
    let method: HTTPMethod
    let path: String
    let body: String?
    let status: Int
    /// Which version of it is named.
    let version: Int
    /// `{id}` stands for the order's.
    init(_ what: String, _ method: HTTPMethod, _ path: String, _ body: String?, _ status: Int, version: Int = 1) {
        self.version = version
        self.what = what
        self.method = method
        self.path = path
        self.body = body
        self.status = status
    }
}

/// INTERFACES.md 1.4 on PostgreSQL: a repeated request is answered word for word.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct `Repeated requests` {
    private static func same(_ first: Answer, _ again: Answer, _ what: String) {
        #expect(again.status == first.status, "\(what)")
        #expect(again.text == first.text, "\(what)")
        #expect(again["ETag"] == first["ETag"], "\(what)")
        #expect(again["Location"] == first["Location"], "\(what)")
        #expect(again["Content-Type"] == first["Content-Type"], "\(what)")
        #expect(first["Idempotency-Replayed"] == nil, "\(what)")
        #expect(again["Idempotency-Replayed"] == "true", "\(what)")
    }

    /// Everything that an answer shows beside the row moves, too: price, note, mode of display.
    private func outrun(_ api: StoredRig, _ tenant: Tenant, _ id: String) async throws {
        let note = try await api.send(.PUT, "/v1/orders/\(id)/note", key: tenant.key, body: #"{"note": "later"}"#)
        #expect(note.status == 200, "\(note.text)")
        try await api.price(103 * 100_000_000)
        // Whether that is still possible is not the point.
        _ = try await api.send(.DELETE, "/v1/orders/\(id)", key: tenant.key, ifMatch: "*")
    }

    @Test func `a create is answered with the bytes of its first answer, whatever became of the order`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            func create() async throws -> Answer {
                try await api.send(
                    .POST,
                    "/v1/orders",
                    key: tenant.key,
                    body: api.draft(tenant.account, ["clientOrderId": #""mine""#]),
                    idempotency: "k",
                )
            }
            let first = try await create()
            #expect(first.status == 201, "\(first.text)")
            let id = try #require(first.json["id"]?.text)
            #expect(first["Location"] == "/v1/orders/\(id)")
            let edit = try await api.act(tenant, id, .PATCH, "", #"{"stopLoss": {"price": "96"}}"#)
            #expect(edit.status == 200, "\(edit.text)")
            try await outrun(api, tenant, id)
            Self.same(first, try await create(), "create")
            // Refusals keep nothing: the corrected request may use the same key.
            let wrong = try await api.send(
                .POST,
                "/v1/orders",
                key: tenant.key,
                body: api.draft(tenant.account, ["qty": #""0""#]),
                idempotency: "again",
            )
            #expect(wrong.status == 422, "\(wrong.text)")
            let right = try await api.send(
                .POST,
                "/v1/orders",
                key: tenant.key,
                body: api.draft(tenant.account),
                idempotency: "again",
            )
            #expect(right.status == 201, "\(right.text)")
        }
    }

    @Test func `so is every command on an order`() async throws {
        let commands = [
            Repeated("edit", .PATCH, "", #"{"stopLoss": {"price": "96"}}"#, 200),
            Repeated("cancel a level", .DELETE, "/take-profits/2", nil, 200),
            Repeated("close a level", .POST, "/take-profits/1/close", nil, 202),
            Repeated("reduce", .POST, "/reduce-funds", #"{"qty": "1"}"#, 202),
            Repeated("add funds", .POST, "/add-funds", #"{"qty": "1"}"#, 202),
            Repeated("close", .POST, "/close", nil, 202), Repeated("cancel", .DELETE, "", nil, 202),
        ]
        try await withStoredAPI { api in
            for command in commands {
                let tenant = try await api.tenant()
                let id = try await api.create(tenant)
                func send() async throws -> Answer {
                    try await api.send(
                        command.method,
                        "/v1/orders/\(id)\(command.path)",
                        key: tenant.key,
                        body: command.body,
                        idempotency: "k",
                        ifMatch: "\"v\(1)\"",
                    )
                }
                let first = try await send()
                #expect(first.status == command.status, "\(command.what): \(first.text)")
                try await outrun(api, tenant, id)
                Self.same(first, try await send(), command.what)
            }
        }
    }

    @Test func `and every command on a conditional order`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let path = "/v1/conditional-orders"
            let body = api.conditional(tenant.account)
            let first = try await api.send(.POST, path, key: tenant.key, body: body, idempotency: "c")
            #expect(first.status == 201, "\(first.text)")
            let id = try #require(first.json["id"]?.text)
            func send(_ method: HTTPMethod, _ body: String?, _ version: Int) async throws -> Answer {
                try await api.send(
                    method,
                    "\(path)/\(id)",
                    key: tenant.key,
                    body: body,
                    idempotency: "\(method)",
                    ifMatch: "\"v\(version)\"",
                )
            }
            let changed = try await send(.PATCH, #"{"trigger": "94"}"#, 1)
            #expect(changed.status == 200, "\(changed.text)")
            let cancelled = try await send(.DELETE, nil, 2)
            #expect(cancelled.status == 202, "\(cancelled.text)")
            let again = try await api.send(.POST, path, key: tenant.key, body: body, idempotency: "c")
            Self.same(first, again, "create")
            Self.same(changed, try await send(.PATCH, #"{"trigger": "94"}"#, 1), "change")
            Self.same(cancelled, try await send(.DELETE, nil, 2), "cancel")
        }
    }

    @Test func `what is shown once is shown again to whoever asked, and stands nowhere`() async throws {
        try await withStoredAPI({ $0.publicURL = "http://orders.example" }) { api in
            let tenant = try await api.tenant()
            let order = try await api.create(tenant)
            let bodies = [
                ("/v1/keys", #"{"scopes": ["read"]}"#, "secret"),
                ("/v1/webhooks", #"{"url": "https://example.com/hook"}"#, "secret"),
                (
                    "/v1/hooks", #"{"accountId": "\#(tenant.account)", "action": "close", "orderId": "\#(order)"}"#,
                    "url",
                ),
                ("/v1/orders/\(order)/share", "{}", "url"),
            ]
            for (path, body, name) in bodies {
                func send() async throws -> Answer {
                    try await api.send(
                        .POST,
                        path,
                        key: tenant.key,
                        body: body,
                        idempotency: "k \(path)".replacing(" ", with: "-"),
                    )
                }
                let first = try await send()
                let secret = try #require(first.json[name]?.text, "\(path): \(first.text)")
                Self.same(first, try await send(), path)
                let kept = try await api.pool.query(Statement(sql: "SELECT body FROM answers")).map { try $0.string(0) }
                #expect(!kept.contains { $0.contains(secret.suffix(20)) }, "\(path)")
            }
            // A person's other browser is the same owner with another credential.
            func browser() async throws -> [(String, String)] {
                let body = #"{"apiKey": "\#(tenant.key)"}"#
                let answer = try await api.send(.POST, "/v1/sign-in", key: nil, body: body)
                let cookie = try #require(answer["Set-Cookie"]?.prefix { $0 != ";" })
                return [
                    ("Cookie", String(cookie)), ("X-CSRF-Token", answer.json["csrfToken"]?.text ?? ""),
                    ("Origin", "http://orders.example"),
                ]
            }
            func make(_ browser: [(String, String)]) async throws -> Answer {
                let body = #"{"scopes": ["read"]}"#
                return try await api.send(.POST, "/v1/keys", key: nil, headers: browser, body: body, idempotency: "b")
            }
            let mine = try await browser()
            let first = try await make(mine)
            #expect(first.json["secret"]?.text != nil, "\(first.text)")
            Self.same(first, try await make(mine), "the same browser")
            let other = try await make(try await browser())
            #expect(other.status == 201)
            #expect(other.json["id"] == first.json["id"])
            #expect(other.json["secret"] == nil)
        }
    }

    @Test func `what sets or ends something is answered again, and not done again`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant(scopes: "read,trade,operate,admin", roles: "TRADER,OPERATOR,ADMIN")
            let account = "/v1/accounts/\(tenant.account)"
            func made(_ path: String, _ body: String) async throws -> String {
                let answer = try await api.send(.POST, path, key: tenant.key, body: body, idempotency: "made")
                return "\(path)/\(try #require(answer.json["id"]?.text, "\(path): \(answer.text)"))"
            }
            let preset = try await made(
                "/v1/presets",
                #"{"name": "p", "draft": {"side": "BUY", "entry": {"mode": "market"}}}"#,
            )
            let order = try await api.create(tenant)
            let repeated = [
                Repeated("account", .PATCH, account, #"{"name": "first"}"#, 200),
                Repeated(
                    "preset",
                    .PUT,
                    preset,
                    #"{"name": "first", "draft": {"side": "BUY", "entry": {"mode": "market"}}}"#,
                    200,
                ),
                Repeated("preset's end", .DELETE, preset, nil, 204),
                Repeated("preferences", .PUT, "/v1/preferences", #"{"theme": "dark"}"#, 200),
                Repeated("note", .PUT, "/v1/orders/\(order)/note", #"{"note": "first"}"#, 200),
                Repeated("resume", .DELETE, account + "/halt", nil, 200, version: 2),
                Repeated("user", .PATCH, "/v1/admin/users/\(tenant.user)", #"{"reason": "r", "tier": "PRO"}"#, 200),
            ]
            for (number, one) in repeated.enumerated() {
                func send(_ body: String?) async throws -> Answer {
                    try await api.send(
                        one.method,
                        one.path,
                        key: tenant.key,
                        body: body,
                        idempotency: "k\(number)",
                        ifMatch: "\"v\(one.version)\"",
                    )
                }
                let first = try await send(one.body)
                #expect(first.status == one.status, "\(one.what): \(first.text)")
                Self.same(first, try await send(one.body), one.what)
                guard one.body != nil else { continue }
                let other = try await send(#"{"name": "other", "draft": {}, "theme": "light", "note": "other"}"#)
                #expect(other.code == "IDEMPOTENCY_KEY_REUSED", "\(one.what): \(other.text)")
            }
            // The account is at version 2, and a stale tag without the key is refused.
            let stale = try await api.send(
                .PATCH,
                account,
                key: tenant.key,
                body: #"{"name": "b"}"#,
                ifMatch: "\"v1\"",
            )
            #expect(stale.status == 412, "\(stale.text)")
            // What was refused is not kept.
            let body = #"{"name": "second"}"#
            func change(_ version: Int) async throws -> Answer {
                try await api.send(
                    .PATCH,
                    account,
                    key: tenant.key,
                    body: body,
                    idempotency: "s",
                    ifMatch: "\"v\(version)\"",
                )
            }
            #expect(try await change(1).status == 412)
            #expect(try await change(2).json["name"]?.text == "second")
        }
    }

    @Test func `while the first request is under way the second one is told to come back`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let owner = "key \(APIKey.hash(tenant.key))"
            let id = try await api.create(tenant)
            // Stands for a request whose transaction does not end: it holds the key and nothing else.
            func hold(_ table: String, _ columns: String, _ values: String) -> Task<Void, any Error> {
                Task {
                    try await api.pool.simple(
                        """
                        BEGIN;
                        SET LOCAL statement_timeout = 0;
                        INSERT INTO \(table) (owner, key, request_hash, \(columns)) VALUES ('\(owner)', 'k', 'h', \(values));
                        SELECT pg_sleep(600);
                        ROLLBACK
                        """
                    )
                }
            }
            func sleepers() async throws -> Int64 {
                try await api.pool.query(
                    Statement(
                        sql: """
                            SELECT count(*) FROM pg_stat_activity
                            WHERE wait_event = 'PgSleep' AND datname = current_database()
                            """
                    )
                )[0].int64(0)
            }
            func check(_ holder: Task<Void, any Error>, _ send: () async throws -> Answer) async throws {
                while try await sleepers() == 0 { await Task.yield() }
                let busy = try await send()
                #expect(busy.status == 409, "\(busy.text)")
                #expect(busy.code == "IDEMPOTENCY_IN_PROGRESS")
                #expect(busy["Retry-After"] == "1")
                #expect(busy.json["retryable"] == .bool(true))
                try await api.sql(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE wait_event = 'PgSleep' AND datname = current_database()
                    """
                )
                _ = await holder.result
                let done = try await send()
                #expect(done.status < 300, "\(done.text)")
                #expect(done["Idempotency-Replayed"] == nil)
            }
            try await check(hold("idempotency", "order_id, version", "'\(id)', 1")) {
                try await api.send(
                    .POST,
                    "/v1/orders",
                    key: tenant.key,
                    body: api.draft(tenant.account),
                    idempotency: "k",
                )
            }
            try await check(hold("answers", "status, body", "201, ''")) {
                try await api.send(
                    .POST,
                    "/v1/accounts/\(tenant.account)/cancel-all",
                    key: tenant.key,
                    body: "{}",
                    idempotency: "k",
                )
            }
        }
    }

    @Test func `what an older program stored is still answered`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            func create() async throws -> Answer {
                let body = api.draft(tenant.account)
                return try await api.send(.POST, "/v1/orders", key: tenant.key, body: body, idempotency: "k")
            }
            let first = try await create()
            try await api.sql("UPDATE idempotency SET status = NULL, entity_tag = NULL, location = NULL, body = NULL")
            let again = try await create()
            #expect(again.status == 201)
            #expect(again["Idempotency-Replayed"] == "true")
            #expect(again.json["id"] == first.json["id"])
        }
    }
}
