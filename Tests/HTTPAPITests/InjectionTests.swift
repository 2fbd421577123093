import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

@testable import HTTPAPI

/// RELIABILITY.md 6.11, FA127: text is text, in every field and every place that shows it.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct `What somebody writes into a text field` {
    private static let corpus = [
        "'; DROP TABLE orders; --", "\") OR 1=1; --", "$1", "%s%n", "100 % _", #"\"#, #"\\' E'\x41'"#,
        "<script>alert(1)</script>", #""><img src=x onerror=alert(1)>"#, "javascript:alert(1)",
        "{{7*7}} ${7*7} <%= 7 %>",
        "${jndi:ldap://example.invalid/a}", "$(id) `id` ; id", "=cmd|' /C calc'!A0", "../../etc/passwd",
        "\u{202e}txt.exe", "zero\u{200b}width", "null", "true", "{}", "[1]", "e\u{301}", "😀",
    ]
    /// What no field takes: it would break out of a line or a string.
    private static let refused = ["a\r\nSet-Cookie: b=c", "a\u{0}b", "\u{1b}[31mred"]

    private func quoted(_ text: String) -> String { "\(JSONValue.string(text))" }

    private func encoded(_ text: String) -> String {
        text.utf8.map { byte in
            let digits = Array("0123456789ABCDEF".utf8)
            return String(decoding: [37, digits[Int(byte >> 4)], digits[Int(byte & 15)]], as: UTF8.self)
        }.joined()
    }

    /// Stored and shown as it was written, or refused; never half of it, never something else.
    @Test func `comes back as it was, is searched for as it is, and harms nothing`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            for text in Self.corpus + Self.refused {
                let written = try await api.act(tenant, id, .PUT, "/note", #"{"note": \#(quoted(text))}"#)
                #expect([200, 400, 422].contains(written.status), "\(text): \(written.text)")
                if Self.corpus.contains(text) { #expect(written.status == 200, "\(text): \(written.text)") }
                guard written.status == 200 else { continue }
                let shown = try await api.send(.GET, "/v1/orders/\(id)", key: tenant.key)
                #expect(shown.json["note"]?.text == text, "\(text): \(shown.text)")
                #expect(shown["Content-Type"]?.hasPrefix("application/json") == true)
                #expect(shown["X-Content-Type-Options"] == "nosniff")
                let found = try await api.send(.GET, "/v1/orders?q=\(encoded(text))", key: tenant.key)
                #expect(found.status == 200 && found.text.contains(id), "\(text): \(found.text)")
            }
            // A name of an order, and a key of a request, are words: they take a few characters only.
            for text in Self.corpus + Self.refused {
                let answer = try await api.send(
                    .GET,
                    "/v1/orders?clientOrderId=\(encoded(text))",
                    key: tenant.key,
                )
                #expect([200, 400, 422].contains(answer.status), "\(text): \(answer.text)")
                if answer.status == 200 { #expect(!answer.text.contains(id)) }
                let path = try await api.send(.GET, "/v1/orders/\(encoded(text))", key: tenant.key)
                #expect([400, 404, 422].contains(path.status), "\(text): \(path.text)")
            }
            // Names of accounts and presets.
            for (index, text) in Self.corpus.enumerated() {
                let made = try await api.send(
                    .POST,
                    "/v1/accounts",
                    key: tenant.key,
                    body: #"{"name": \#(quoted(text)), "venue": "paper", "product": "linear"}"#,
                    idempotency: "\(StoredRig.uuid())",
                )
                #expect([201, 400, 403, 409, 422].contains(made.status), "\(index) \(text): \(made.text)")
                if made.status == 201 { #expect(made.json["name"]?.text == text) }
            }
            // Nothing ran.
            let rows = try await api.pool.query(Statement(sql: "SELECT count(*) FROM orders"))
            #expect(try rows[0].int64(0) == 1)
        }
    }
}
