import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// Operators' lists, page by page (INTERFACES.md 1.7, 4.12).
@Suite(.serialized, .timeLimit(.minutes(3)))
struct `Operators' lists` {
    private func items(_ answer: Answer) -> [JSONValue] {
        guard case .array(let items)? = answer.json["items"] else { return [] }
        return items
    }

    /// All rows of a list, read two at a time; the second page is asked for by the address of the first one's `Link`.
    private func walk(_ api: StoredRig, _ path: String, _ key: String) async throws -> [JSONValue] {
        var found: [JSONValue] = []
        var target = "/v1/admin\(path)"
        target += target.contains("?") ? "&limit=2" : "?limit=2"
        for _ in 0..<100 {
            let page = try await api.send(.GET, target, key: key)
            #expect(page.status == 200, "\(target): \(page.text)")
            found += items(page)
            #expect(items(page).count <= 2)
            guard let next = page.json["nextCursor"]?.text else {
                #expect(page["Link"] == nil)
                return found
            }
            let link = try #require(page["Link"])
            #expect(link.contains("cursor=\(next)"))
            target = String(link.dropFirst().prefix { $0 != ">" })
        }
        Issue.record("\(path) has no end")
        return found
    }

    @Test func `every row is on one page, newest first, whatever the size of the pages`() async throws {
        try await withStoredAPI { api in
            let boss = try await api.tenant(scopes: "read,operate,admin", roles: "OPERATOR,ADMIN")
            for number in 0..<5 {
                let tenant = try await api.tenant()
                _ = try await api.create(tenant)
                try await api.sql(
                    """
                    INSERT INTO feed_gaps VALUES ('paper:linear:DEMO', 'mark', \(number), \(number + 1), 'r', false);
                    INSERT INTO audit (actor, action, subject, reason) VALUES ('a\(number)', 'x', 's', 'r');
                    INSERT INTO cursors VALUES ('w', 'paper:linear:M\(number)', 'mark', 1, 1);
                    INSERT INTO bulk_operations (id, kind, filter, cutoff_ms, actor) VALUES
                        ('b\(number)', 'requeue', '{}', 0, 'a');
                    """
                )
            }
            // Without a decision of the core, which the table would refuse otherwise.
            try await api.sql(
                """
                BEGIN;
                SET LOCAL session_replication_role = replica;
                UPDATE orders SET health = 'NEEDS_ATTENTION';
                COMMIT
                """
            )
            for (path, name, count) in [
                ("/orders", "id", 5), ("/feeds/gaps", "from", 5), ("/audit", "id", 5), ("/feeds", "market", 5),
                ("/batches", "id", 5), ("/attention", "id", 5), ("/users", "id", 7), ("/accounts", "id", 6),
                ("/keys", "id", 6), ("/audit?subject=a3", "id", 1), ("/outbox", "class", 0),
                ("/webhooks/dead", "id", 0),
            ] {
                let rows = try await walk(api, path, boss.key)
                #expect(rows.count == count, "\(path): \(rows)")
                #expect(Set(rows.map { "\($0[name] ?? .null)" }).count == count, "\(path)")
                let whole = try await api.send(.GET, "/v1/admin\(path)", key: boss.key)
                #expect(items(whole) == rows, "\(path)")
            }
            let audit = try await walk(api, "/audit", boss.key)
            #expect(audit.map { $0["actor"]?.text } == ["a4", "a3", "a2", "a1", "a0"])
            // A cursor belongs to its list and its filters.
            let first = try await api.send(.GET, "/v1/admin/orders?limit=2", key: boss.key)
            let cursor = try #require(first.json["nextCursor"]?.text)
            for target in ["/v1/admin/audit?cursor=\(cursor)", "/v1/admin/orders?subject=x&cursor=\(cursor)"] {
                #expect(try await api.send(.GET, target, key: boss.key).code == "BAD_CURSOR", "\(target)")
            }
            #expect(try await api.send(.GET, "/v1/admin/orders?cursor=x", key: boss.key).code == "BAD_CURSOR")
        }
    }

    @Test func `the audit is exported whole, one object a line`() async throws {
        try await withStoredAPI { api in
            let boss = try await api.tenant(scopes: "read,operate", roles: "OPERATOR")
            try await api.sql(
                """
                INSERT INTO audit (actor, action, subject, reason)
                SELECT 'a' || n % 2, 'x', 's', 'line' || chr(10) || n FROM generate_series(1, 1203) AS n
                """
            )
            func export(_ target: String) async throws -> [JSONValue] {
                let accept = [("Accept", "application/x-ndjson")]
                let answer = try await api.send(.GET, target, key: boss.key, headers: accept)
                #expect(answer.status == 200)
                #expect(answer["Content-Type"] == "application/x-ndjson")
                return try answer.text.split(separator: "\n").map { try JSONValue(parsing: Array($0.utf8)) }
            }
            let all = try await export("/v1/admin/audit")
            #expect(all.count == 1_203)
            #expect(Set(all.compactMap { $0["reason"]?.text }).count == 1_203)
            #expect(try await export("/v1/admin/audit?subject=a1").count == 602)
            let other = try await api.send(
                .GET,
                "/v1/admin/orders",
                key: boss.key,
                headers: [("Accept", "application/x-ndjson")],
            )
            #expect(other.status == 406)
        }
    }
}
