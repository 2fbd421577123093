import JSONText
import PostgresClient
import TestKit
import Testing

extension EndToEnd {
    /// A new master key (RELIABILITY.md 10.3.4), with the built program.
    @Suite struct RotationTests {
        @Test func `every secret is sealed with the new master key, and the old one is refused then`() async throws {
            let new = String(repeating: "c3", count: 32)
            try await Deployment.run(workers: 1, schedulers: 1) { deployment in
                func post(_ path: String, _ body: String, _ key: String) async throws -> Deployment.Answer {
                    try await deployment.request("POST", path, body, headers: ["Idempotency-Key": key])
                }
                func check(_ key: String) async throws -> Deployment.Answer {
                    try await post("/v1/accounts/\(deployment.account)/credentials/check", "{}", key)
                }
                func run(_ words: String...) async throws -> Outcome {
                    try await Program.run(
                        words + deployment.databaseArguments,
                        environment: ["SMARTORDERS_MASTER_KEY": new],
                    )
                }
                let webhook = try await post("/v1/webhooks", #"{"url": "https://example.com/a"}"#, "w")
                #expect(webhook.status == 201, "\(webhook.json)")
                #expect(try await check("c1").json["ok"] == .bool(true))
                // Who has one key only does not rotate.
                let alone = try await run("secrets", "rotate", "--reason", "early", "--timeout", "2")
                #expect(alone.status == 6, "\(alone.output) \(alone.complaint)")
                let sealed = "SELECT string_agg(encode(sealed, 'hex'), ' ') FROM credentials"
                let before = try await deployment.text(sealed)
                let hook = "SELECT encode(secret, 'hex') FROM webhooks"
                let hookBefore = try await deployment.text(hook)

                try await deployment.replace(
                    "worker",
                    ["SMARTORDERS_MASTER_KEY": new, "SMARTORDERS_OLD_MASTER_KEY": Deployment.key],
                )
                let rotated = try await run("secrets", "rotate", "--reason", "yearly", "--timeout", "60")
                #expect(rotated.status == 0, "\(rotated.output) \(rotated.complaint)")
                #expect(rotated.output.contains("failed 0"), "\(rotated.output)")
                // The first request was carried out as well, or by the second: each secret moved once.
                #expect(try await deployment.number("SELECT sum(moved)::bigint FROM secret_rotations") == 2)
                #expect(try await deployment.text(sealed) != before)
                #expect(try await deployment.text(hook) != hookBefore)
                let seals = try await run("secrets", "check", "-o", "json")
                #expect(seals.output.contains(#""venueKeys":1,"present":true"#), "\(seals.output)")

                try await deployment.replace("worker", ["SMARTORDERS_MASTER_KEY": new])
                #expect(try await check("c2").json["ok"] == .bool(true))
                let lines = try await deployment.number("SELECT count(*) FROM audit WHERE action = 'secrets.rotate'")
                #expect(lines == 2)
            }
        }
    }
}
