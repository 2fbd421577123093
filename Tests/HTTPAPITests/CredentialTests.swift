import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)))
struct `A venue key` {
    private static let body = #"{"key": "venue-key-1234", "secret": "venue-secret"}"#

    private func put(_ api: StoredRig, _ tenant: Tenant, _ body: String = body) async throws -> Answer {
        let account = try await api.send(.GET, "/v1/accounts/\(tenant.account)", key: tenant.key)
        return try await api.send(
            .PUT,
            "/v1/accounts/\(tenant.account)/credentials",
            key: tenant.key,
            body: body,
            ifMatch: account["ETag"],
        )
    }

    /// A worker that deals with one key.
    private func work(
        _ api: StoredRig,
        _ settle: @escaping @Sendable (UniqueID, AccountID, [UInt8]) async throws -> Void,
    ) -> Task<Void, any Error> {
        Task {
            while true {
                if let taken = try await api.intake.take() {
                    return try await settle(taken.id, taken.account, taken.sealed)
                }
                try await Task.sleep(for: .milliseconds(10))
            }
        }
    }

    @Test func `is handed over sealed, and the answer is the worker's`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let worker = work(api) { id, account, sealed in
                #expect(account == tenant.account)
                #expect(!String(decoding: sealed, as: UTF8.self).contains("venue-secret"))
                try await api.intake.describe(account, last4: "1234", permissions: ["read", "futures"])
                try await api.intake.settle(id, account: account, .stored)
            }
            let stored = try await put(api, tenant)
            try await worker.value
            #expect(stored.status == 200, "\(stored.text)")
            #expect(stored.json["credentials"]?["last4"]?.text == "1234")
            #expect(stored.json["credentials"]?["permissions"] == .array([.string("read"), .string("futures")]))
            // The account changed with it.
            #expect(stored["ETag"] == "\"v2\"")
            let rows = try await api.pool.query(
                Statement(
                    sql: "SELECT actor || ' ' || action || ' ' || reason || coalesce(detail::text, '') FROM audit"
                )
            )
            let lines = try rows.map { try $0.string(0) }
            #expect(lines.count == 1 && lines[0].contains("account.credentials"), "\(lines)")
        }
    }

    @Test func `that may withdraw is refused, one that cannot be checked is for later`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            var worker = work(api) { id, account, _ in
                try await api.intake.settle(id, account: account, .refused, detail: "the key may withdraw")
            }
            let refused = try await put(api, tenant)
            try await worker.value
            #expect(refused.status == 409)
            #expect(refused.code == "CREDENTIALS_REFUSED")
            #expect(refused.text.contains("withdraw"))
            worker = work(api) { id, account, _ in
                try await api.intake.settle(id, account: account, .unreachable, detail: "no answer")
            }
            let later = try await put(api, tenant)
            try await worker.value
            #expect(later.code == "VENUE_UNAVAILABLE", "\(later.text)")
            #expect(later["Retry-After"] != nil)
            let empty = try await api.send(
                .PUT,
                "/v1/accounts/\(tenant.account)/credentials",
                key: tenant.key,
                body: Self.body,
                ifMatch: "\"v9\"",
            )
            #expect(empty.status == 412, "\(empty.text)")
        }
    }

    @Test func `waits for a worker as 202, and is never shown again`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let waits = try await put(api, tenant)
            #expect(waits.status == 202, "\(waits.text)")
            #expect(!waits.text.contains("venue-secret"))
            let own: [AccountID]? = [tenant.account]
            await Tenancy.$accounts.withValue(own) {
                do throws(PostgresError) {
                    _ = try await api.seenPool.query(Statement(sql: "SELECT sealed FROM credential_intakes"))
                    Issue.record("what was sealed can be read")
                } catch {
                    #expect(error.sqlState == "42501")
                }
            }
        }
    }

    @Test func `is taken away from an idle account only`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            func remove() async throws -> Answer {
                let account = try await api.send(.GET, "/v1/accounts/\(tenant.account)", key: tenant.key)
                return try await api.send(
                    .DELETE,
                    "/v1/accounts/\(tenant.account)/credentials",
                    key: tenant.key,
                    ifMatch: account["ETag"],
                )
            }
            let order = try await api.create(tenant)
            #expect(try await remove().code == "ACCOUNT_NOT_IDLE")
            _ = try await api.act(tenant, order, .DELETE, "")
            #expect(try await remove().status == 204)
            let account = try await api.send(.GET, "/v1/accounts/\(tenant.account)", key: tenant.key)
            #expect(account.json["credentials"]?["state"]?.text == "MISSING")
            let check = try await api.send(
                .POST,
                "/v1/accounts/\(tenant.account)/credentials/check",
                key: tenant.key,
                body: "{}",
                idempotency: "c",
            )
            #expect(check.code == "CREDENTIALS_MISSING", "\(check.text)")
        }
    }
}
