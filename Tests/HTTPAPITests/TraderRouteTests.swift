import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import PostgresClient
import Simulation
import SmartOrders
import TestKit
import Testing

private func items(_ json: JSONValue?) -> [JSONValue] {
    guard case .array(let items)? = json else { return [] }
    return items
}

/// Waits for 90.
private let later = ["entry": #"{"mode": "conditional", "trigger": "90"}"#, "stopLoss": #"{"price": "80"}"#]

@Suite(.serialized, .timeLimit(.minutes(3)))
struct `What traders ask beside orders` {
    // MARK: Previews

    @Test func `a preview tells the plan and stores nothing`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let changes = ["entry": #"{"mode": "limit", "price": "100"}"#, "qty": "\"10\""]
            let preview = try await api.send(
                .POST,
                "/v1/orders/preview",
                key: tenant.key,
                body: api.draft(tenant.account, changes),
            )
            #expect(preview.status == 200, "\(preview.text)")
            #expect(preview.json["accepted"] == .bool(true))
            #expect(preview.json["order"]?["status"]?.text == "PENDING")
            let legs = items(preview.json["legs"])
            #expect(legs.map { $0["leg"]?.text } == ["entry", "tp1", "tp2", "sl"])
            // 5 at 105 and 5 at 110 against 100; 10 lost at 95; the stop's limit is 10 % through it (R4.1).
            #expect(legs.map { $0["qty"]?.text } == ["10", "5", "5", "10"])
            #expect(legs.map { $0["pct"]?.text } == ["0", "5", "10", "-5"])
            #expect(legs.map { $0["amount"]?.text } == ["0", "25", "50", "-50"])
            #expect(legs[3]["venuePrice"]?.text == "85.5")
            #expect(legs[0]["venuePrice"]?.text == "100")
            #expect(preview.json["maxLoss"]?.text == "50")
            #expect(preview.json["maxLossPct"]?.text == "5")
            #expect(preview.json["worstAcceptedPrice"]?.text == "85.5")
            #expect(preview.json["gainAtTargets"]?.text == "75")
            #expect(preview.json["rewardToRisk"]?.text == "1.5")
            let list = try await api.send(.GET, "/v1/orders", key: tenant.key)
            #expect(items(list.json["items"]).isEmpty)
        }
    }

    @Test func `the preview of a command says what follows and changes nothing`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            struct Row { let body, codes: String }
            let rows = [
                Row(body: #"{"action": "cancel"}"#, codes: "LEVELS_CANCELLED STOP_REMOVED POSITION_KEPT"),
                Row(body: #"{"action": "close"}"#, codes: "SELLS_AT_MARKET LEVELS_CANCELLED STOP_REMOVED"),
                Row(body: #"{"action": "closeLevel", "level": 1}"#, codes: "SELLS_AT_MARKET"),
                Row(body: #"{"action": "reduceFunds", "pct": "20"}"#, codes: "SELLS_AT_MARKET"),
                Row(body: #"{"action": "addFunds", "qty": "10"}"#, codes: "BUYS_AT_MARKET AVERAGE_MOVES"),
                Row(body: #"{"action": "edit", "stopLoss": {"price": "96"}}"#, codes: "STOP_MOVES"),
            ]
            for row in rows {
                let preview = try await api.send(.POST, "/v1/orders/\(id)/preview", key: tenant.key, body: row.body)
                #expect(preview.json["accepted"] == .bool(true), "\(row.body): \(preview.text)")
                let codes = items(preview.json["consequences"]).compactMap { $0["code"]?.text }.joined(separator: " ")
                #expect(codes == row.codes, "\(row.body)")
            }
            let refused = try await api.send(
                .POST,
                "/v1/orders/\(id)/preview",
                key: tenant.key,
                body: #"{"action": "openNow"}"#,
            )
            #expect(refused.json["accepted"] == .bool(false))
            #expect(items(refused.json["errors"]).first?["code"]?.text == "ENTRY_ALREADY_FILLED")
            let kept = try await api.send(
                .POST,
                "/v1/orders/\(id)/preview",
                key: tenant.key,
                body: #"{"action": "cancel"}"#,
            )
            let position = items(kept.json["consequences"]).first { $0["code"]?.text == "POSITION_KEPT" }
            #expect(position?["qty"]?.text == "10")
            #expect(position?["unprotected"] == .bool(true))
            #expect(try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key)["ETag"] == "\"v1\"")
            for body in [#"{"action": "dance"}"#, #"{"action": "close", "qty": "1"}"#, "{}"] {
                let bad = try await api.send(.POST, "/v1/orders/\(id)/preview", key: tenant.key, body: body)
                #expect(bad.status == 400, "\(body)")
            }
        }
    }

    // MARK: Source

    @Test func `a new trigger source starts at its own present`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant, ["trailing": #"{"callbackRate": "0.02"}"#])
            // Many ticks of the new source before: none of them touches the order.
            for price in [150, 90, 99] { try await api.price(Int64(price) * 100_000_000, .last) }
            let edited = try await api.act(tenant, id, .PATCH, "", #"{"triggerSource": "last"}"#)
            #expect(edited.status == 200, "\(edited.text)")
            #expect(edited.json["trailing"]?["waterMark"]?.text == "99")
            let stored = try await api.orders.load([try #require(OrderID(id))])
            let order = try #require(stored.first)
            let latest = try await api.ticks.latest(PriceSeries(market: order.instrument.market, source: .last))
            #expect(order.position == latest?.position)
        }
    }

    // MARK: Shares and notes

    @Test func `a share link shows settings and nothing else`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let changes = ["clientOrderId": "\"mine\"", "note": "\"secret thoughts\""]
            let id = try await api.create(tenant, changes)
            func share(_ body: String, _ key: String) async throws -> Answer {
                try await api.send(.POST, "/v1/orders/\(id)/share", key: tenant.key, body: body, idempotency: key)
            }
            let made = try await share("{}", "s1")
            #expect(made.status == 201, "\(made.text)")
            let url = try #require(made.json["url"]?.text)
            let token = try #require(url.split(separator: "/").last)
            #expect(url.hasPrefix("https://orders.example/s/"))
            #expect(try await share("{}", "s1").json["url"]?.text == url, "a repeated request gets the same link")
            #expect(try await share(#"{"includeQty": true}"#, "s1").code == "IDEMPOTENCY_KEY_REUSED")

            let opened = try await api.send(.GET, "/v1/shares/\(token)", key: nil)
            #expect(opened.status == 200, "\(opened.text)")
            #expect(opened.json["market"]?.text == "paper:linear:DEMO")
            #expect(opened.json["referencePrice"]?.text == "101")
            #expect(opened.json["draft"]?["stopLoss"]?["price"]?.text == "95")
            for secret in ["qty", "clientOrderId", "note", "accountId"] {
                #expect(opened.json["draft"]?[secret] == nil, "\(secret)")
            }
            #expect(!opened.text.contains("\(tenant.account)"))
            let withQuantity = try await share(#"{"includeQty": true}"#, "s2")
            #expect(withQuantity.json["draft"]?["qty"]?.text == "10")

            #expect(items(try await api.send(.GET, "/v1/shares", key: tenant.key).json["items"]).count == 2)
            let share = try #require(made.json["id"]?.text)
            #expect(try await api.send(.DELETE, "/v1/shares/\(share)", key: tenant.key).status == 204)
            let gone = try await api.send(.GET, "/v1/shares/\(token)", key: nil)
            #expect(gone.status == 410)
            #expect(gone.code == "LINK_GONE")
            #expect(try await api.send(.GET, "/v1/shares/AAAAAAAAAAAAAAAAAAAAAA", key: nil).status == 404)
        }
    }

    @Test func `a note changes without a version, on ended orders too`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant, later.merging(["note": "\"first\""]) { $1 })
            #expect(try await api.act(tenant, id, .DELETE, "").status == 202)
            let noted = try await api.send(
                .PUT,
                "/v1/orders/\(id)/note",
                key: tenant.key,
                body: #"{"note": "second"}"#,
            )
            #expect(noted.status == 200, "\(noted.text)")
            #expect(noted.json["version"]?.int64 == 2)
            let read = try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key)
            #expect(read.json["note"]?.text == "second")
            let list = try await api.send(.GET, "/v1/orders", key: tenant.key)
            #expect(items(list.json["items"]).first?["note"]?.text == "second")
            _ = try await api.send(.PUT, "/v1/orders/\(id)/note", key: tenant.key, body: #"{"note": null}"#)
            #expect(try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key).json["note"] == .null)
            let long = #"{"note": "\#(String(repeating: "a", count: 1_001))"}"#
            for body in [long, "{}", #"{"note": 5}"#] {
                #expect(try await api.send(.PUT, "/v1/orders/\(id)/note", key: tenant.key, body: body).status == 400)
            }
        }
    }

    // MARK: All orders

    /// Waits until a batch has ended.
    private func ended(_ api: StoredRig, _ tenant: Tenant, _ id: String) async throws -> JSONValue {
        while true {
            let batch = try await api.send(.GET, "/v1/batches/\(id)", key: tenant.key)
            #expect(batch.status == 200, "\(batch.text)")
            if batch.json["state"]?.text == "DONE" { return batch.json }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    @Test func `cancel-all ends every open order of the account, and nobody else's`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let other = try await api.tenant()
            try await api.accounts.save([.sample("OTHER")])
            try await api.price(101 * 100_000_000, symbol: "OTHER")
            for _ in 0..<5 { _ = try await api.create(tenant, later) }
            let elsewhere = try await api.create(
                tenant,
                later.merging(["market": "\"paper:linear:OTHER\""]) { $1 },
            )
            let theirs = try await api.create(other, later)
            let path = "/v1/accounts/\(tenant.account)/cancel-all"
            let one = try await api.send(
                .POST,
                path,
                key: tenant.key,
                body: #"{"market": "paper:linear:OTHER"}"#,
                idempotency: "one",
            )
            #expect(one.status == 202, "\(one.text)")
            #expect(one.json["total"]?.int64 == 1)
            _ = try await ended(api, tenant, try #require(one.json["id"]?.text))
            let order = try await api.send(.GET, "/v1/orders/\(elsewhere)", key: tenant.key)
            #expect(order.json["status"]?.text == "CANCELLED")

            let all = try await api.send(.POST, path, key: tenant.key, idempotency: "all")
            #expect(all.json["total"]?.int64 == 5, "\(all.text)")
            let batch = try await ended(api, tenant, try #require(all.json["id"]?.text))
            #expect(batch["done"]?.int64 == 5)
            #expect(items(batch["failed"]).isEmpty)
            let repeated = try await api.send(.POST, path, key: tenant.key, idempotency: "all")
            #expect(repeated["Idempotency-Replayed"] == "true")
            #expect(repeated.json["id"] == all.json["id"])
            let counts = try await api.send(.GET, "/v1/orders/counts", key: tenant.key)
            #expect(counts.json["CANCELLED"]?.int64 == 6, "\(counts.text)")
            #expect(counts.json["waiting"]?.int64 == 0)
            #expect(counts.json["completed"]?.int64 == 6)
            let kept = try await api.send(.GET, "/v1/orders/\(theirs)", key: other.key)
            #expect(kept.json["status"]?.text == "PENDING")
            let id = try #require(all.json["id"]?.text)
            #expect(try await api.send(.GET, "/v1/batches/\(id)", key: other.key).status == 404)
        }
    }

    @Test func `cancel-all ends conditional orders too, or the kinds that are named`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let other = try await api.tenant()
            @Sendable func conditional(_ owner: Tenant, _ key: String) async throws -> String {
                let path = "/v1/conditional-orders"
                let body = api.conditional(owner.account)
                let made = try await api.send(.POST, path, key: owner.key, body: body, idempotency: key)
                return try #require(made.json["id"]?.text, "\(made.text)")
            }
            @Sendable func cancelAll(_ body: String, _ key: String) async throws -> JSONValue {
                let path = "/v1/accounts/\(tenant.account)/cancel-all"
                let answer = try await api.send(.POST, path, key: tenant.key, body: body, idempotency: key)
                return try await ended(api, tenant, try #require(answer.json["id"]?.text, "\(answer.text)"))
            }
            @Sendable func status(_ kind: String, _ id: String, _ owner: Tenant) async throws -> String? {
                try await api.send(.GET, "/v1/\(kind)/\(id)", key: owner.key).json["status"]?.text
            }
            let smart = try await api.create(tenant, later)
            api.venues[tenant.account].setPosition(ExactDecimal(10))
            let whole = try await api.create(tenant, ["sizeMode": "\"position\""])
            let waiting = [try await conditional(tenant, "one"), try await conditional(tenant, "two")]
            let theirs = try await conditional(other, "theirs")

            let some = try await cancelAll(#"{"kinds": ["CONDITIONAL"]}"#, "some")
            #expect(some["total"]?.int64 == 2 && some["done"]?.int64 == 2 && items(some["failed"]).isEmpty)
            for id in waiting {
                let order = try await api.send(.GET, "/v1/conditional-orders/\(id)", key: tenant.key).json
                #expect(order["status"]?.text == "CANCELLED" && order["reason"]?.text == "USER_CANCEL")
            }
            #expect(try await status("orders", smart, tenant) == "PENDING")
            let positions = try await cancelAll(#"{"kinds": ["POSITION"]}"#, "positions")
            #expect(positions["total"]?.int64 == 1)
            #expect(try await status("orders", whole, tenant) == "CANCELLED")

            let last = try await conditional(tenant, "three")
            let all = try await cancelAll("{}", "all")
            #expect(all["total"]?.int64 == 2 && all["done"]?.int64 == 2, "\(all)")
            #expect(try await status("conditional-orders", last, tenant) == "CANCELLED")
            #expect(try await status("orders", smart, tenant) == "CANCELLED")
            #expect(try await status("conditional-orders", theirs, other) == "PENDING")
        }
    }

    @Test func `a halt stops new exposure, cancels what waits, and keeps exits`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let waiting = try await api.create(tenant, later)
            let held = try await api.create(tenant)
            let path = "/v1/accounts/\(tenant.account)/halt"
            let halted = try await api.send(
                .POST,
                path,
                key: tenant.key,
                body: #"{"reason": "enough"}"#,
                idempotency: "h",
            )
            #expect(halted.status == 202, "\(halted.text)")
            #expect(halted.json["account"]?["halted"]?["level"]?.text == "entries")
            _ = try await ended(api, tenant, try #require(halted.json["batch"]?["id"]?.text))
            func status(_ id: String) async throws -> String? {
                try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key).json["status"]?.text
            }
            #expect(try await status(waiting) == "CANCELLED")
            #expect(try await status(held) == "ACTIVE")
            let me = try await api.send(.GET, "/v1/me", key: tenant.key)
            #expect(items(me.json["accounts"]).first?["halted"]?["reason"]?.text == "enough")
            #expect(items(me.json["accounts"]).first?["openOrders"]?.int64 == 1)
            #expect(try await api.send(.DELETE, path, key: tenant.key).code == "IF_MATCH_REQUIRED")
            #expect(try await api.send(.DELETE, path, key: tenant.key, ifMatch: "\"v7\"").code == "VERSION_MISMATCH")
            let resumed = try await api.send(.DELETE, path, key: tenant.key, ifMatch: "\"v1\"")
            #expect(resumed.status == 200)
            #expect(resumed.json["halted"] == .null, "\(resumed.text)")
            _ = try await api.create(tenant, later)

            let flattened = try await api.send(
                .POST,
                path,
                key: tenant.key,
                body: #"{"reason": "all of it", "flatten": true}"#,
                idempotency: "f",
            )
            _ = try await ended(api, tenant, try #require(flattened.json["batch"]?["id"]?.text))
            let closing = try await api.send(.GET, "/v1/orders/\(held)", key: tenant.key)
            #expect(closing.json["phase"]?.text == "closing")
            // An operator's halt is not the trader's to lift.
            try await api.sql("UPDATE halts SET actor = 'operator'")
            let kept = try await api.send(.DELETE, path, key: tenant.key, ifMatch: "\"v1\"")
            #expect(kept.json["halted"]?["level"]?.text == "entries")
        }
    }

    @Test func `an order says since when it is active, whether it is watched, and when it ended`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            let path = "/v1/orders/\(id)"
            let open = try await api.send(.GET, path, key: tenant.key).json
            #expect(open["activatedAt"] == open["createdAt"] && open["closedAt"] == .null, "\(open)")
            // No worker holds its shard here.
            #expect(open["protection"]?["state"]?.text == "GAP", "\(open)")
            let listed = try await api.send(.GET, "/v1/orders", key: tenant.key).json
            #expect(items(listed["items"]).first?["protection"]?["state"]?.text == "GAP")
            _ = try await api.act(tenant, id, .DELETE, "")
            let ended = try await api.send(.GET, path, key: tenant.key).json
            #expect(ended["status"]?.text == "CANCELLED" && ended["closedAt"] == ended["updatedAt"], "\(ended)")
            #expect(ended["protection"]?["state"]?.text == "NONE")
        }
    }

    @Test func `a halt that was lifted leaves alone what is opened then`() async throws {
        try await withStoredAPI({ $0.limits.haltLookMs = 3_000 }) { api in
            let tenant = try await api.tenant()
            let path = "/v1/accounts/\(tenant.account)/halt"
            let body = #"{"reason": "enough", "flatten": true}"#
            let halted = try await api.send(.POST, path, key: tenant.key, body: body, idempotency: "h")
            #expect(try await api.send(.DELETE, path, key: tenant.key, ifMatch: "\"v1\"").status == 200)
            let opened = try await api.create(tenant, later)
            let batch = try await ended(api, tenant, try #require(halted.json["batch"]?["id"]?.text))
            #expect(batch["total"]?.int64 == 0, "\(batch)")
            let order = try await api.send(.GET, "/v1/orders/\(opened)", key: tenant.key)
            #expect(order.json["status"]?.text == "PENDING")
        }
    }

    @Test func `a halt reaches an order that was on its way, and leaves its trace`() async throws {
        // Long enough for the order below, on a slow machine too.
        try await withStoredAPI({ $0.limits.haltLookMs = 5_000 }) { api in
            let tenant = try await api.tenant()
            let path = "/v1/accounts/\(tenant.account)/halt"
            let body = #"{"reason": "enough"}"#
            let halted = try await api.send(.POST, path, key: tenant.key, body: body, idempotency: "h")
            #expect(halted.status == 202, "\(halted.text)")
            // As if it had passed its checks before the halt was set and was stored after its orders were listed.
            try await api.sql("CREATE TABLE kept AS TABLE halts; DELETE FROM halts")
            let late = try await api.create(tenant, later)
            try await api.sql("INSERT INTO halts TABLE kept")
            let batch = try await ended(api, tenant, try #require(halted.json["batch"]?["id"]?.text))
            #expect(batch["total"]?.int64 == 1 && batch["done"]?.int64 == 1, "\(batch)")
            let order = try await api.send(.GET, "/v1/orders/\(late)", key: tenant.key)
            #expect(order.json["status"]?.text == "CANCELLED")

            let again = try await api.send(.POST, path, key: tenant.key, body: body, idempotency: "again")
            #expect(again.status == 202)
            #expect(try await api.send(.DELETE, path, key: tenant.key, ifMatch: "\"v1\"").status == 200)
            let lines = try await api.pool.query(
                Statement(
                    sql:
                        "SELECT action FROM audit WHERE subject = 'account:\(tenant.account)' AND via = 'api' ORDER BY id"
                )
            ).map { try $0.string(0) }
            #expect(lines == ["halt.entries", "halt.entries", "halt.off"])
        }
    }

    @Test func `the preview of cancel-all names what stays unprotected`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            _ = try await api.create(tenant)
            _ = try await api.create(tenant, later)
            let path = "/v1/accounts/\(tenant.account)/preview"
            let preview = try await api.send(.POST, path, key: tenant.key, body: #"{"action": "cancelAll"}"#)
            #expect(preview.json["orders"]?.int64 == 2, "\(preview.text)")
            let codes = Set(items(preview.json["consequences"]).compactMap { $0["code"]?.text })
            #expect(codes == ["ENTRY_CANCELLED", "LEVELS_CANCELLED", "STOP_REMOVED", "POSITION_KEPT"])
            #expect(try await api.send(.GET, "/v1/orders/counts", key: tenant.key).json["CANCELLED"]?.int64 == 0)
        }
    }

    // MARK: Keys

    @Test func `a key may do what its scopes say`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant, later)
            func make(_ body: String, _ idempotency: String, with key: String? = nil) async throws -> Answer {
                try await api.send(.POST, "/v1/keys", key: key ?? tenant.key, body: body, idempotency: idempotency)
            }
            let made = try await make(#"{"label": "reader", "scopes": ["read"]}"#, "k")
            #expect(made.status == 201, "\(made.text)")
            let reader = try #require(made.json["secret"]?.text)
            #expect(reader.hasPrefix("so_paper_"))
            #expect(try await make(#"{"label": "reader", "scopes": ["read"]}"#, "k").json["secret"]?.text == reader)

            #expect(try await api.send(.GET, "/v1/orders/\(id)", key: reader).status == 200)
            let cancel = try await api.send(.DELETE, "/v1/orders/\(id)", key: reader, ifMatch: "*")
            #expect(cancel.status == 403)
            #expect(cancel.code == "SCOPE_REQUIRED")
            #expect(cancel.json["required"]?.text == "trade")
            let more = try await make(#"{"scopes": ["trade"]}"#, "m", with: reader)
            #expect(more.code == "SCOPE_REQUIRED")
            // Who may operate is a matter of roles, too.
            let operate = try await make(#"{"scopes": ["operate"]}"#, "o")
            #expect(operate.code == "SCOPE_REQUIRED")

            let list = try await api.send(.GET, "/v1/keys", key: tenant.key)
            #expect(items(list.json["items"]).count == 2)
            #expect(!list.text.contains(reader))
            let keyID = try #require(made.json["id"]?.text)
            #expect(reader.split(separator: "_")[2] == keyID)
            let narrowed = try await api.send(
                .PATCH,
                "/v1/keys/\(keyID)",
                key: tenant.key,
                body: #"{"ipAllow": ["203.0.113.0/24"]}"#,
            )
            #expect(narrowed.status == 200, "\(narrowed.text)")
            let elsewhere = try await api.send(.GET, "/v1/orders", key: reader)
            #expect(elsewhere.status == 403)
            #expect(elsewhere.code == "IP_NOT_ALLOWED")
            _ = try await api.send(
                .PATCH,
                "/v1/keys/\(keyID)",
                key: tenant.key,
                body: #"{"ipAllow": ["127.0.0.0/8"], "expiresAt": "2100-01-01T00:00:00Z"}"#,
            )
            #expect(try await api.send(.GET, "/v1/orders", key: reader).status == 200)
            try await api.sql("UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE id = '\(keyID)'")
            #expect(try await api.send(.GET, "/v1/orders", key: reader).code == "KEY_EXPIRED")
            #expect(try await api.send(.DELETE, "/v1/keys/\(keyID)", key: tenant.key).status == 204)
            let revoked = try await api.send(.GET, "/v1/orders", key: reader)
            #expect(revoked.status == 401)
            #expect(revoked.code == "KEY_REVOKED")
            for body in [#"{"scopes": []}"#, #"{"scopes": ["all"]}"#, #"{"scopes": ["read"], "ipAllow": ["x"]}"#] {
                #expect(try await make(body, "bad").status == 400, "\(body)")
            }
        }
    }

    @Test func `a key for several accounts sees them all and no other`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let second = try await api.tenant()
            let stranger = try await api.tenant()
            try await api.sql("UPDATE accounts SET user_id = '\(tenant.user)' WHERE id = '\(second.account)'")
            try await api.sql("UPDATE api_keys SET account_ids = NULL WHERE user_id = '\(tenant.user)'")
            let both = Tenant(user: tenant.user, account: second.account, key: tenant.key)
            let one = try await api.create(tenant, later)
            let two = try await api.create(both, later)
            let theirs = try await api.create(stranger, later)
            let list = try await api.send(.GET, "/v1/orders", key: tenant.key)
            #expect(Set(items(list.json["items"]).compactMap { $0["id"]?.text }) == [one, two])
            let mine = try await api.send(.GET, "/v1/orders?account=\(second.account)", key: tenant.key)
            #expect(items(mine.json["items"]).compactMap { $0["id"]?.text } == [two])
            #expect(try await api.send(.GET, "/v1/orders/\(theirs)", key: tenant.key).status == 404)
            let me = try await api.send(.GET, "/v1/me", key: tenant.key)
            #expect(items(me.json["accounts"]).count == 2)
            #expect(me.json["user"]?["tier"]?.text == "PRO")
            #expect(me.json["serverVersion"]?.text == "1.2.3")
            // Pages go over all accounts in one order.
            var seen: [String] = []
            var target = "/v1/orders?limit=1"
            while true {
                let page = try await api.send(.GET, target, key: tenant.key)
                seen += items(page.json["items"]).compactMap { $0["id"]?.text }
                guard let cursor = page.json["nextCursor"]?.text else { break }
                target = "/v1/orders?limit=1&cursor=\(cursor)"
            }
            #expect(seen == [two, one])
        }
    }
}
