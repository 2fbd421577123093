import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import SmartOrders
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(1)))
struct ProblemTests {
    struct BadBody: Sendable {
        let code: String
        let pointer: String?
        /// Replaces a part of the good body, or the whole.
        var from = ""
        let to: String
    }

    static let bodies = [
        BadBody(code: "MALFORMED_JSON", pointer: nil, to: "{"),
        BadBody(code: "MALFORMED_JSON", pointer: nil, from: "\"side\"", to: "\"qty\": \"1\", \"side\""),
        BadBody(code: "MALFORMED_JSON", pointer: nil, to: String(repeating: "[", count: 17)),
        BadBody(code: "UNKNOWN_FIELD", pointer: "/stopLos", from: "stopLoss", to: "stopLos"),
        BadBody(code: "MISSING_FIELD", pointer: "/accountId", to: "{}"),
        BadBody(
            code: "WRONG_TYPE",
            pointer: "/takeProfits/0",
            from: "[{\"price\": \"105\", \"sizePct\": \"50\"}",
            to: "[1",
        ),
        BadBody(code: "DECIMAL_NOT_STRING", pointer: "/qty", from: "\"10\"", to: "10"),
        BadBody(code: "BAD_DECIMAL", pointer: "/qty", from: "\"10\"", to: "\"1e1\""),
        BadBody(
            code: "BAD_TIMESTAMP",
            pointer: "/exitAt",
            from: "\"side\"",
            to: "\"exitAt\": \"tomorrow\", \"side\"",
        ),
        BadBody(code: "BAD_ENUM", pointer: "/side", from: "BUY", to: "buy"),
        BadBody(code: "BAD_ID", pointer: "/market", from: "paper:linear:DEMO", to: "DEMO"),
        BadBody(
            code: "BAD_ID",
            pointer: "/clientOrderId",
            from: "\"side\"",
            to: "\"clientOrderId\": \"a b\", \"side\"",
        ),
    ]

    @Test func `an array has at most a hundred elements, wherever it is`() async throws {
        try await withAPI { api in
            let most = Array(repeating: #"{"price": "105", "sizePct": "1"}"#, count: 99).joined(separator: ",")
            func create(_ levels: String) async throws -> Answer {
                let good = #"[{"price": "105", "sizePct": "50"}"#
                let draft = api.draft().replacing(good, with: "[\(levels)")
                return try await api.send(.POST, "/v1/orders/preview", body: draft)
            }
            let taken = try await create(most)
            #expect(taken.code != "WRONG_TYPE", "\(taken.text)")
            let more = try await create(most + "," + most)
            #expect(more.status == 400 && more.code == "WRONG_TYPE", "\(more.text)")
            #expect(more.text.contains(#""pointer":"/takeProfits""#), "\(more.text)")
        }
    }

    @Test(arguments: bodies)
    func `a body of another shape is refused with its place`(_ bad: BadBody) async throws {
        try await withAPI { api in
            let body = bad.from.isEmpty ? bad.to : api.draft().replacing(bad.from, with: bad.to)
            let answer = try await api.send(.POST, "/v1/orders", body: body, idempotency: "k")
            #expect(answer.status == 400)
            #expect(answer.code == bad.code, "\(answer.text)")
            #expect(answer["Content-Type"] == "application/problem+json")
            #expect(answer.json["type"]?.text == "/problems/\(bad.code)")
            #expect(answer.json["instance"]?.text == "/v1/orders")
            guard let pointer = bad.pointer else { return }
            guard case .array(let errors)? = answer.json["errors"] else {
                Issue.record("\(answer.text)")
                return
            }
            #expect(errors.first?["pointer"]?.text == pointer)
        }
    }

    @Test func `what an order's rules refuse is told whole`() async throws {
        try await withAPI { api in
            let body = api.draft()
                .replacing("\"sizePct\": \"50\"}]", with: "\"sizePct\": \"49\"}]").replacing("\"95\"", with: "\"195\"")
            let answer = try await api.send(.POST, "/v1/orders", body: body, idempotency: "k")
            #expect(answer.status == 422)
            #expect(answer.code == "TP_SIZE_SUM", "\(answer.text)")
            #expect(answer.text.contains("SL_WRONG_SIDE"))
            #expect(answer.json["retryable"] == .bool(false))
            let market = try await api.send(
                .POST,
                "/v1/orders",
                body: api.draft().replacing("DEMO", with: "NONE"),
                idempotency: "k",
            )
            #expect(market.code == "INSTRUMENT_UNKNOWN")
            // A refusal stores nothing: the corrected request may use the key.
            #expect(try await api.send(.POST, "/v1/orders", body: api.draft(), idempotency: "k").status == 201)
        }
    }

    @Test func `who asks is known`() async throws {
        try await withAPI { api in
            let unknown = "so_paper_abcdefghijkl_" + String(repeating: "C", count: 43)
            for key in [nil, unknown, "x"] {
                let answer = try await api.send(.GET, "/v1/orders", key: key)
                #expect(answer.status == 401)
                #expect(answer.code == "UNAUTHENTICATED")
                #expect(answer["WWW-Authenticate"] == "Bearer")
            }
            let basic = try await api.send(.GET, "/v1/orders", key: nil, headers: [("Authorization", "Basic x")])
            #expect(basic.status == 401)
            let live = "so_live_abcdefghijkl_" + String(repeating: "D", count: 43)
            try await api.accounts.addAPIKey(hash: APIKey.hash(live), account: api.account)
            let wrongMode = try await api.send(.GET, "/v1/orders", key: live)
            #expect(wrongMode.status == 403)
            #expect(wrongMode.code == "KEY_MODE")
        }
    }

    @Test func `a revoked key is refused when the cache forgets it`() async throws {
        try await withAPI({ $0.limits.keyCacheMs = 0 }) { api in
            let before = try await api.send(.GET, "/v1/orders")
            #expect(before.status == 200)
            api.accounts.revoke(hash: APIKey.hash(Rig.key))
            let after = try await api.send(.GET, "/v1/orders")
            #expect(after.status == 401)
        }
    }

    struct BadRequest: Sendable {
        let status: Int
        let code: String
        var method = HTTPMethod.GET
        var target = "/v1/orders"
        var headers: [String: String] = [:]
        var body: String?
        var idempotency: String?
    }

    static let requests = [
        BadRequest(status: 404, code: "NOT_FOUND", target: "/v1/nothing"),
        BadRequest(status: 404, code: "NOT_FOUND", target: "/v1/orders/"),
        BadRequest(status: 405, code: "METHOD_NOT_ALLOWED", method: .PUT),
        BadRequest(status: 406, code: "NOT_ACCEPTABLE", headers: ["Accept": "image/png"]),
        BadRequest(status: 400, code: "BAD_QUERY", target: "/v1/orders?colour=red"),
        BadRequest(status: 400, code: "BAD_QUERY", target: "/v1/orders?limit=201"),
        BadRequest(status: 400, code: "BAD_QUERY", target: "/v1/orders?limit=5&limit=6"),
        BadRequest(status: 400, code: "BAD_QUERY", target: "/v1/orders?status=OPEN"),
        BadRequest(status: 400, code: "BAD_QUERY", target: "/v1/orders?group=none"),
        BadRequest(status: 400, code: "BAD_QUERY", target: "/v1/orders?market=%ff"),
        BadRequest(
            status: 414,
            code: "URI_TOO_LONG",
            target: "/v1/orders?market=" + String(repeating: "a", count: 8_200),
        ),
        BadRequest(
            status: 431,
            code: "HEADERS_TOO_LARGE",
            headers: ["X-Large": String(repeating: "a", count: 17_000)],
        ),
        BadRequest(status: 400, code: "IDEMPOTENCY_KEY_REQUIRED", method: .POST, body: "{}"),
        BadRequest(status: 400, code: "IDEMPOTENCY_KEY_INVALID", method: .POST, body: "{}", idempotency: "a b"),
        BadRequest(
            status: 400,
            code: "IDEMPOTENCY_KEY_INVALID",
            method: .POST,
            body: "{}",
            idempotency: String(repeating: "k", count: 256),
        ),
        BadRequest(
            status: 415,
            code: "UNSUPPORTED_MEDIA_TYPE",
            method: .POST,
            headers: ["Content-Type": "text/plain"],
            body: "{}",
            idempotency: "k",
        ),
        BadRequest(
            status: 413,
            code: "BODY_TOO_LARGE",
            method: .POST,
            body: String(repeating: " ", count: 65_537),
            idempotency: "k",
        ),
        BadRequest(status: 426, code: "UPGRADE_REQUIRED", target: "/v1/stream"),
    ]

    @Test(arguments: requests)
    func `a request that is not understood says why`(_ bad: BadRequest) async throws {
        try await withAPI { api in
            let answer = try await api.send(
                bad.method,
                bad.target,
                headers: bad.headers.map { ($0.key, $0.value) },
                body: bad.body,
                idempotency: bad.idempotency,
            )
            #expect(answer.status == bad.status, "\(answer.text)")
            #expect(answer.code == bad.code)
            if bad.status == 405 { #expect(answer["Allow"] == "GET, POST") }
        }
    }

    @Test func `what a PATCH may not name is refused`() async throws {
        try await withAPI { api in
            let id = try await api.create("k")
            for field in ["market", "side", "accountId", "clientOrderId", "status", "version"] {
                let answer = try await api.send(
                    .PATCH,
                    "/v1/orders/\(id)",
                    body: "{\"\(field)\": \"x\"}",
                    ifMatch: "\"v1\"",
                )
                #expect(answer.code == "IMMUTABLE_FIELD", "\(answer.text)")
            }
            let merge = try await api.send(
                .PATCH,
                "/v1/orders/\(id)",
                headers: [("Content-Type", "application/merge-patch+json")],
                body: #"{"note2": "x"}"#,
                ifMatch: "\"v1\"",
            )
            #expect(merge.code == "UNKNOWN_FIELD")
        }
    }

    @Test func `rates are counted per policy, and protection has its own`() async throws {
        try await withAPI({ $0.limits.rates = [1, 2, 2] }) { api in
            let id = try await api.create("k")
            #expect(try await api.send(.GET, "/v1/orders").status == 200)
            let refused = try await api.send(.GET, "/v1/orders")
            #expect(refused.status == 429)
            #expect(refused.code == "RATE_LIMITED")
            #expect(refused["Retry-After"].flatMap { Int($0) } ?? 0 > 0)
            #expect(refused["RateLimit"]?.contains("r=0") == true)
            #expect(try await api.send(.GET, "/v1/orders", key: Rig.strangerKey).status == 200)
            #expect(try await api.send(.DELETE, "/v1/orders/\(id)", ifMatch: "*").status == 202)
        }
    }

    @Test func `an absent store and an unknown price are worth a retry`() async throws {
        try await withAPI { api in
            let body = api.draft().replacing("DEMO", with: "OTHER")
            let unpriced = try await api.send(.POST, "/v1/orders", body: body, idempotency: "k")
            #expect(unpriced.status == 503)
            #expect(unpriced.code == "PRICE_UNAVAILABLE")
            #expect(unpriced.json["retryable"] == .bool(true))
            #expect(unpriced["Retry-After"] == "1")
            api.orders.isAway = true
            let away = try await api.send(.GET, "/v1/orders")
            #expect(away.status == 503)
            #expect(away.code == "STORE_UNAVAILABLE")
        }
    }

    @Test func `a request that takes too long is answered`() async throws {
        try await withAPI({ $0.limits.deadlineMs = 100 }) { api in
            api.orders.loadDelayMs = 10_000
            let answer = try await api.send(.GET, "/v1/orders/\(OrderID.sample(1))")
            #expect(answer.status == 504)
            #expect(answer.code == "TIMEOUT")
        }
    }

    @Test func `overload refuses new exposure before protection`() async throws {
        try await withAPI({ change in
            change.limits.maximumInFlight = 1
            change.limits.reservedForProtection = 1
        }) { api in
            let id = try await api.create("k")
            api.orders.loadDelayMs = 3_000
            async let slow = api.send(.GET, "/v1/orders/\(id)")
            try await api.orders.loadIsDelayed()
            let refused = try await api.send(.GET, "/v1/orders")
            #expect(refused.code == "OVERLOADED")
            api.orders.loadDelayMs = 0
            #expect(try await api.send(.DELETE, "/v1/orders/\(id)", ifMatch: "*").status == 202)
            #expect(try await slow.status == 200)
        }
    }
}
