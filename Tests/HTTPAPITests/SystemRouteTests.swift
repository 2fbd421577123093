import HTTPAPI
import JSONText
import NIOHTTP1
import OwnerThread
import SmartOrders
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(1)))
struct SystemRouteTests {
    @Test func `health, metrics and version need no key`() async throws {
        try await withAPI { api in
            let live = try await api.send(.GET, "/livez", key: nil)
            #expect(live.status == 200)
            #expect(live.text == #"{"status":"live"}"#)
            #expect(try await api.send(.GET, "/startupz", key: nil).status == 200)
            #expect(try await api.send(.GET, "/metrics", key: nil).text == "# HELP x\nx 1\n")
            #expect(try await api.send(.GET, "/version", key: nil).json["version"]?.text == "1.2.3")
            let page = try await api.send(.GET, "/", key: nil, headers: [("Accept", "text/html,*/*;q=0.8")])
            #expect(page["Content-Type"] == "text/html; charset=utf-8")
            #expect(page["Content-Security-Policy"]?.contains("frame-ancestors 'none'") == true)
            #expect(page.text.contains("/v1/orders"))
        }
    }

    @Test func `readiness names what fails`() async throws {
        let redisDown = ReadinessCheck(
            name: "redis",
            isOK: false,
            detail: "no answer",
            fix: "start it",
            isFatal: false,
        )
        try await withAPI(readiness: { [redisDown] }) { api in
            let answer = try await api.send(.GET, "/readyz", key: nil)
            #expect(answer.status == 200)
            #expect(answer.json["status"]?.text == "degraded")
        }
        let postgresDown = ReadinessCheck(name: "postgres", isOK: false, detail: "no answer", fix: "start it")
        try await withAPI(readiness: { [postgresDown] }) { api in
            let answer = try await api.send(.GET, "/readyz", key: nil)
            #expect(answer.status == 503)
            #expect(answer.text.contains(#""fix":"start it""#))
        }
        // Where strangers ask, the database's words are not told.
        try await withAPI({ $0.showsDetails = false }, readiness: { [postgresDown] }) { api in
            for path in ["/readyz", "/startupz"] {
                let answer = try await api.send(.GET, path, key: nil)
                #expect(answer.status == 503 && answer.text == #"{"status":"unavailable"}"#, "\(answer.text)")
            }
        }
        try await withAPI({ $0.showsOperations = false }, readiness: { [postgresDown] }) { api in
            let answer = try await api.send(.GET, "/readyz", key: nil)
            #expect(answer.text == #"{"status":"unavailable"}"#)
            #expect(try await api.send(.GET, "/metrics", key: nil).status == 404)
        }
    }

    @Test func `a process tells of itself on a port of its own`() async throws {
        let redisDown = ReadinessCheck(name: "redis", isOK: false, detail: "no answer", fix: "start it")
        let checks = Locked<[ReadinessCheck]>([])
        let server = OperationsServer(
            host: "127.0.0.1",
            port: 0,
            version: .init(version: "1.2.3"),
            readiness: { checks.withLock { $0 } },
            metrics: { "# HELP x\nx 1\n" },
            clock: RealClock(),
            logger: LogCollector().logger,
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            let target = OperationsTarget(port: try #require(await server.listening()))
            func get(_ path: String) async throws -> Answer { try await target.send(.GET, path, key: nil) }
            #expect(try await get("/livez").text == #"{"status":"live"}"#)
            #expect(try await get("/metrics").text == "# HELP x\nx 1\n")
            #expect(try await get("/version").json["version"]?.text == "1.2.3")
            #expect(try await get("/v1/orders").status == 404)
            #expect(try await target.send(.POST, "/livez", key: nil).status == 405)
            #expect(try await get("/readyz").json["status"]?.text == "ready")
            server.drain()
            let draining = try await get("/readyz")
            #expect(draining.status == 503 && draining.json["status"]?.text == "draining", "\(draining.text)")
            // Asked again once a second has passed.
            checks.withLock { $0 = [redisDown] }
            while try await !get("/startupz").text.contains(#""fix":"start it""#) {
                try await Task.sleep(for: .milliseconds(50))
            }
            group.cancelAll()
        }
        #expect(await server.listening() == nil)
    }

    private struct OperationsTarget: APITarget { let port: Int }

    @Test func `accounts and markets`() async throws {
        try await withAPI { api in
            let accounts = try await api.send(.GET, "/v1/accounts")
            #expect(accounts.text.contains("\"id\":\"\(api.account)\""))
            #expect(!accounts.text.contains("\(api.stranger)"))
            #expect(try await api.send(.GET, "/v1/accounts/\(api.account)").json["mode"]?.text == "PAPER")

            let markets = try await api.send(.GET, "/v1/instruments?venue=paper")
            guard case .array(let items)? = markets.json["items"] else {
                Issue.record("\(markets.text)")
                return
            }
            #expect(items.map { $0["symbol"]?.text } == ["DEMO", "OTHER"])
            let tag = try #require(markets["ETag"])
            let same = try await api.send(.GET, "/v1/instruments?venue=paper", headers: [("If-None-Match", tag)])
            #expect(same.status == 304)
            #expect(same.bytes.isEmpty)
            let one = try await api.send(.GET, "/v1/instruments/paper%3Alinear%3ADEMO")
            #expect(one.json["tickSize"]?.text == "0.1")
            #expect(try await api.send(.GET, "/v1/instruments/paper:linear:NONE").status == 404)
            let price = try await api.send(.GET, "/v1/instruments/paper:linear:DEMO/price")
            #expect(price.json["sources"]?["mark"]?["price"]?.text == "101")
        }
    }

    @Test func `the request id is taken over or made`() async throws {
        try await withAPI { api in
            let given = try await api.send(.GET, "/livez", key: nil, headers: [("X-Request-Id", "a.b-c_1")])
            #expect(given["X-Request-Id"] == "a.b-c_1")
            let bad = try await api.send(.GET, "/nowhere", key: nil, headers: [("X-Request-Id", "a b")])
            #expect(bad["X-Request-Id"] != "a b")
            #expect(bad.json["requestId"]?.text == bad["X-Request-Id"])
            #expect(bad["Date"]?.hasSuffix(" GMT") == true)
        }
    }

    @Test func `every code has a page`() async throws {
        try await withAPI { api in
            for code in RequestCode.allCases.map(\.rawValue) + RefusalCode.allCases.map(\.rawValue) {
                let page = try await api.send(.GET, "/problems/\(code)", key: nil)
                #expect(page.status == 200, "\(code)")
                #expect(page.code == code)
            }
            #expect(try await api.send(.GET, "/problems/NO_SUCH", key: nil).status == 404)
            let html = try await api.send(.GET, "/problems/TP_SIZE_SUM", key: nil, headers: [("Accept", "text/html")])
            #expect(html.text.contains("<h1>TP_SIZE_SUM</h1>"))
        }
    }
}
