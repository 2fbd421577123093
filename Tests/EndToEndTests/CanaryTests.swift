import JSONText
import PostgresClient
import TestKit
import Testing

extension EndToEnd {
    /// A venue key that would be known again wherever it appeared (RELIABILITY.md 10.3.7).
    @Suite struct CanaryTests {
        private static let secret = "canary-5Tq9vXw2Lk7RbN4s-secret"
        private static let greedy = "canary-8Hm3zPc6Jd1GyF5a-withdraws"
        private static let venueKeys = """
            {"key": "demo", "secret": "demo-secret"}, {"key": "canary-venue-key-77QX", "secret": "\(secret)"},
            {"key": "greedy-venue-key", "secret": "\(greedy)", "mayWithdraw": true}
            """

        /// The secrets as they are, in hexadecimal, and in base64.
        private static let forms: [String] = [secret, greedy].flatMap { text in
            let hexadecimal = text.utf8.map { byte in
                let digits = Array("0123456789abcdef")
                return String([digits[Int(byte >> 4)], digits[Int(byte & 15)]])
            }
            return [text, hexadecimal.joined(), base64(text)]
        }

        /// Without the last group, which depends on what follows.
        private static func base64(_ text: String) -> String {
            let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
            let bytes = Array(text.utf8)
            var encoded = ""
            for start in stride(from: 0, to: bytes.count / 3 * 3, by: 3) {
                let word = Int(bytes[start]) << 16 | Int(bytes[start + 1]) << 8 | Int(bytes[start + 2])
                for shift in [18, 12, 6, 0] { encoded.append(alphabet[word >> shift & 63]) }
            }
            return encoded
        }

        private func expectNone(_ text: String, _ place: String) {
            for form in Self.forms where text.contains(form) { Issue.record("a secret stands in \(place)") }
        }

        @Test func `a venue key that is sent in is kept sealed, and found nowhere in clear`() async throws {
            try await Deployment.run(workers: 1, schedulers: 1, venueKeys: Self.venueKeys) { deployment in
                _ = try await deployment.startFeed(["--market", "paper:linear:DEMO"])
                let path = "/v1/accounts/\(deployment.account)"
                var said: [String] = []

                func put(_ key: String, _ secret: String) async throws -> Deployment.Answer {
                    let account = try await deployment.request("GET", path)
                    let answer = try await deployment.request(
                        "PUT",
                        path + "/credentials",
                        #"{"key": "\#(key)", "secret": "\#(secret)"}"#,
                        headers: ["If-Match": account.tag ?? ""],
                    )
                    said.append("\(answer.json)")
                    return answer
                }

                // A key that may withdraw is refused, one that the venue does not know too; the old one stays.
                let withdraws = try await put("greedy-venue-key", Self.greedy)
                #expect(withdraws.status == 409, "\(withdraws.json)")
                #expect(withdraws.json["code"]?.text == "CREDENTIALS_REFUSED")
                #expect(withdraws.json["detail"]?.text?.contains("withdraw") == true)
                let unknown = try await put("canary-venue-key-none", Self.secret)
                #expect(unknown.status == 409, "\(unknown.json)")
                // What is no request is refused without a word of it.
                for body in [#"{"key": 5, "secret": "\#(Self.secret)"}"#, #"{"key": "k", "secret": "\#(Self.secret)"#] {
                    let wrong = try await deployment.request(
                        "PUT",
                        path + "/credentials",
                        body,
                        headers: ["If-Match": "\"v1\""],
                    )
                    #expect(wrong.status == 400)
                    said.append("\(wrong.json)")
                }

                let stored = try await put("canary-venue-key-77QX", Self.secret)
                #expect(stored.status == 200, "\(stored.json)")
                #expect(stored.json["credentials"]?["last4"]?.text == "77QX")
                #expect(stored.json["credentials"]?["state"]?.text == "USABLE")
                let checked = try await deployment.request(
                    "POST",
                    path + "/credentials/check",
                    "{}",
                    headers: ["Idempotency-Key": "check"],
                )
                #expect(checked.json["ok"] == .bool(true), "\(checked.json)")

                // It works: an entry with it fills at the venue.
                let made = try await deployment.create(
                    #"{"side": "BUY", "qty": "1", "entry": {"mode": "market"}, "stopLoss": {"price": "10"}}"#,
                    market: "paper:linear:DEMO",
                    key: "canary",
                )
                let id = try #require(made.json["id"]?.text, "\(made.json)")
                _ = try await eventually("the entry is filled") {
                    try await deployment.request("GET", "/v1/orders/\(id)").json["status"]?.text == "ACTIVE"
                        ? true : nil
                }
                for target in [path, "/v1/accounts", "/v1/me", "/v1/orders/\(id)/events", "/v1/orders/\(id)/explain"] {
                    said.append("\(try await deployment.request("GET", target).json)")
                }
                said.append(try await deployment.stream { $0.contains("\"ACTIVE\"") })
                said.append(try await deployment.page("/metrics"))
                for text in said { expectNone(text, "an answer") }
                for role in ["api", "worker", "scheduler", "feed"] {
                    expectNone(deployment.log(of: role), "the log of \(role)")
                }
                // Every row of every table, as text: bytes stand there in hexadecimal.
                let tables = try await deployment.database.query(
                    Statement(
                        sql: "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
                    )
                ).map { try $0.string(0) }
                #expect(tables.contains("credentials") && tables.contains("credential_intakes"))
                for table in tables {
                    let rows = try await deployment.text(
                        "SELECT coalesce(string_agg(t::text, ' '), '') FROM \"\(table)\" AS t"
                    )
                    expectNone(rows, "table \(table)")
                }
                // What was sealed for the workers is gone once it was dealt with.
                #expect(try await deployment.number("SELECT count(*) FROM credential_intakes WHERE sealed <> ''") == 0)
                #expect(
                    try await deployment.number("SELECT count(*) FROM audit WHERE action = 'account.credentials'") == 3
                )

                // Rows that were swapped or changed do not open: the order's exit would wait, not go elsewhere.
                #expect(try await deployment.number("SELECT get_byte(sealed, 0)::bigint FROM credentials") == 2)
            }
        }
    }
}
