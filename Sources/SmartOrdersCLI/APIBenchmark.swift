// The HTTP API on real sockets, with PostgreSQL and Redis behind it: reads, creates, and the way of a commit made by
// another process to a socket.
import AsyncHTTPClient
import HTTPAPI
import JSONText
import LocalServers
import Logging
import MarketData
import NIOCore
import NIOHTTP1
import OrderEngine
import OrderStorage
import OwnerThread
import PostgresClient
import RedisClient
import SmartOrders
import Telemetry

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

struct APIBenchmark {
    let servers: DevServers
    let requests: Int
    /// Some parts alone, with commas between them; nil: all.
    var only: String?
    /// Requests under way at once.
    private static let lanes = 32
    /// Traders, each with an account and a key.
    private static let traders = 16
    /// Orders that are there before anything is measured.
    private static let warmUp = 1_000

    func run() async throws -> JSONValue {
        let logger = Logger(label: "bench") { JSONLogHandler(label: $0, role: "bench", level: .warning) }
        let database = servers.postgres.conninfo(database: "postgres")
        let pool = try Backend.pool(database)
        _ = try await Migrator(pool: pool, binaryVersion: Backend.version).up()
        await pool.close()
        var deployment = Deployment(database: database, redis: servers.redis.url)
        deployment.masterKey = SealedSecrets.makeKey()
        // Two sets of connections, as two processes have them.
        let backend = try await Backend.open(deployment, role: "bench", isTenantScoped: true, logger: logger)
        let other = try await Backend.open(deployment, role: "other", logger: logger)
        var traders: [Trader] = []
        for _ in 0..<Self.traders { traders.append(try await Self.seed(other)) }
        let (account, key) = (traders[0].account, traders[0].key)
        let notices = RedisTickLog(RedisOptions(address: try Backend.address(servers.redis.url), name: "so-api"))
        var configuration = APIConfiguration(port: 0, cursorKey: Array(repeating: 1, count: 32))
        configuration.drainDelayMs = 0
        configuration.limits.rates = [10_000_000, 10_000_000, 10_000_000]
        configuration.limits.maximumConnections = 20_000
        configuration.stream.connectionsPerKey = 20_000
        configuration.limits.connectionsPerAddress = 20_000
        configuration.stream.connectionsPerAddress = 20_000
        let server = APIServer(
            configuration: configuration,
            orders: backend.orders,
            accounts: backend.accounts,
            traders: backend.traders,
            panel: backend.panel,
            intake: backend.intake,
            webhooks: backend.webhooks,
            hooks: backend.hooks,
            operators: PostgresOperatorStore(pool: backend.operatorPool ?? backend.pool),
            control: PostgresClusterControl(pool: backend.operatorPool ?? backend.pool),
            queue: QueueDesk(
                queue: backend.queue,
                pool: backend.pool,
                orders: backend.operatorOrders,
                clock: backend.clock,
            ),
            commands: backend.commands,
            ticks: backend.ticks,
            timeline: backend.timeline,
            cluster: backend.cluster,
            readings: backend.readings,
            reader: { try await backend.orders.current($0, of: $1) },
            clock: backend.clock,
            readiness: { [] },
            metrics: { "" },
            changes: { _ = try await notices.changedOrders(waitMs: 5_000) },
            logger: logger,
        )
        let result = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            // The worker's half of a question to the venue: nothing is held anywhere.
            group.addTask { try await Self.answerForVenues(other) }
            group.addTask { try await Self.feed(other) }
            guard let port = await server.listening() else {
                throw Failure(.failed, "BENCH_API", "the API does not listen.")
            }
            let caller = APICaller(port: port, key: key, clock: backend.clock)
            var document: JSONObject = ["bench": "api", "lanes": .integer(Self.lanes)]
            let load = Load(port: port, lanes: Self.lanes, traders: traders)
            // Statements that were planned for empty tables read indexes whole. A minute after the first orders autovacuum
            // has told the planner; here nobody waits for it.
            _ = try await load.create(Self.warmUp, from: 10 * requests, rate: nil)
            try await other.pool.simple("ANALYZE")
            if wants("create") {
                let full = try await load.create(requests, from: 0, rate: nil)
                document["create"] = full.json
                // At half of what it can, or of what is asked of it.
                let rate = min(full.perSecond, Load.wantedCreates) / 2
                document["createAtHalfLoad"] = try await load.create(requests / 2, from: requests, rate: rate).json
            }
            let id = try await caller.create(account, 3 * requests)
            let known = try await Self.orders(of: traders, other)
            if wants("get") { document["get"] = try await load.get(requests * 2, known).json }
            if wants("list") { document["list50"] = try await load.list(requests / 4).json }
            let streams = APIStreamBenchmark(
                port: port,
                key: key,
                account: account,
                other: other,
                clock: backend.clock,
                reach: min(requests, 500),
            )
            for (name, measure) in streams.measures(id) where wants(name) {
                tell("  \(name) ...")
                document[name] = try await measure()
            }
            group.cancelAll()
            return JSONValue.object(document)
        }
        notices.close()
        await backend.close()
        await other.close()
        return result
    }

    private static func answerForVenues(_ backend: Backend) async throws {
        let work = PostgresVenueReadings(pool: backend.pool)
        while !Task.isCancelled {
            for asked in try await work.take(limit: 64) {
                try await work.settle(asked, .positions([], isHedged: true), asOf: backend.clock.now())
            }
            try await backend.clock.sleep(milliseconds: 50)
        }
    }

    /// A market that is open: of one without ticks, every creation would look for older prices in the database.
    private static func feed(_ backend: Backend) async throws {
        while !Task.isCancelled {
            try await backend.ticks.append([tick(at: backend.clock.now().microseconds)], to: DevMarkets.demoSeries)
            try await backend.clock.sleep(milliseconds: 250)
        }
    }

    private static func tick(at now: Int64) -> RawTick {
        RawTick(position: TickPosition(venueTime: now, sequence: 1), price: 101 * 100_000_000, receivedAt: now)
    }

    private static func seed(_ backend: Backend) async throws -> Trader {
        var random = SystemRandomNumberGenerator()
        let account = AccountID(UniqueID(unixMilliseconds: backend.clock.now().milliseconds, random: &random))
        try await backend.accounts.create(
            Account(
                id: account,
                name: "bench",
                venue: "paper",
                product: "linear",
                mode: .paper,
                maximumConditionals: 1_000_000,
            ),
            credentials: Credentials(key: "k", secret: "s"),
        )
        let key = APIKey.make(isLive: false) { random.next() }
        try await backend.accounts.addAPIKey(hash: APIKey.hash(key), account: account)
        let instrument = Instrument(
            market: DevMarkets.demo,
            kind: .perpetual,
            tickSize: Price(ExactDecimal(mantissa: 1, scale: 1)),
            stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 1)),
            baseAsset: "DEMO",
            quoteAsset: "USDT",
        )
        try await backend.accounts.save([instrument])
        try await backend.ticks.append([tick(at: backend.clock.now().microseconds)], to: DevMarkets.demoSeries)
        return Trader(account: account, key: key)
    }

    private func wants(_ part: String) -> Bool {
        only.map { $0.split(separator: ",").contains(Substring(part)) } ?? true
    }

    /// Orders that can be asked for, with whose they are.
    private static func orders(of traders: [Trader], _ backend: Backend) async throws -> [(id: OrderID, trader: Int)] {
        var found: [(id: OrderID, trader: Int)] = []
        for (index, trader) in traders.enumerated() {
            let orders = try await backend.orders.list(OrderFilter(account: trader.account, limit: 200))
            for order in orders { found.append((id: order.id, trader: index)) }
        }
        var random = SystemRandomNumberGenerator()
        return found.shuffled(using: &random)
    }
}

/// Somebody who asks.
struct Trader: Sendable {
    let account: AccountID
    let key: String
}

/// Plain requests, made by one thread.
private struct Load: Sendable {
    /// Goal of INTERFACES, in creates per second.
    static let wantedCreates = 3_000.0

    struct Measured {
        let json: JSONValue
        let perSecond: Double
    }

    let port: Int
    let lanes: Int
    let traders: [Trader]

    private func measured(
        _ count: Int,
        rate: Double? = nil,
        _ request: @escaping @Sendable (Int) -> [UInt8],
    ) async throws -> Measured {
        let swarm = RequestSwarm(port: port, lanes: lanes, count: count, rate: rate, request: request)
        let before = ProcessTimes.cpuSeconds()
        let outcome = try await swarm.run()
        let spent = ProcessTimes.cpuSeconds() - before - outcome.cpuSeconds
        let perSecond = Double(count) / outcome.seconds
        var json: JSONObject = [
            "requests": .integer(count), "perSecond": .number("\(perSecond.rounded())"),
            "ms": Percentiles.json(outcome.latencies),
            // Of the API's own process; PostgreSQL and the clients have theirs.
            "cpuMicrosecondsEach": .number("\((spent * 1e6 / Double(count)).rounded())"),
        ]
        if let rate { json["askedPerSecond"] = .number("\(rate.rounded())") }
        return Measured(json: .object(json), perSecond: perSecond)
    }

    func create(_ count: Int, from first: Int, rate: Double?) async throws -> Measured {
        let traders = traders
        return try await measured(count, rate: rate) { number in
            let trader = traders[number % traders.count]
            let body = APICaller.draft(trader.account)
            return Array(
                """
                POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(trader.key)\r\n\
                Idempotency-Key: load-\(first + number)\r\nContent-Type: application/json\r\n\
                Content-Length: \(body.utf8.count)\r\n\r\n\(body)
                """.utf8
            )
        }
    }

    func get(_ count: Int, _ orders: [(id: OrderID, trader: Int)]) async throws -> Measured {
        let traders = traders
        return try await measured(count) { number in
            let order = orders[number % orders.count]
            return Self.reading("/v1/orders/\(order.id)", traders[order.trader].key)
        }
    }

    func list(_ count: Int) async throws -> Measured {
        let traders = traders
        return try await measured(count) { number in
            Self.reading("/v1/orders?limit=50", traders[number % traders.count].key)
        }
    }

    private static func reading(_ target: String, _ key: String) -> [UInt8] {
        Array("GET \(target) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(key)\r\n\r\n".utf8)
    }
}

/// What this process has used.
enum ProcessTimes {
    static func cpuSeconds() -> Double {
        var spent = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent)
        return Double(spent.tv_sec) + Double(spent.tv_nsec) / 1e9
    }

    static func residentKilobytes() -> Int64 {
        let text = LocalFiles.text("/proc/self/status", last: 1 << 16) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
        return Int64(line.filter { $0.isNumber }) ?? 0
    }
}

enum Percentiles {
    static func json(_ values: [Double]) -> JSONValue {
        let sorted = values.sorted()
        func at(_ share: Double) -> JSONValue {
            guard !sorted.isEmpty else { return .null }
            let value = sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
            return .number("\((value * 100).rounded() / 100)")
        }
        return ["p50": at(0.5), "p99": at(0.99), "max": at(1)]
    }
}

/// A client of the API.
struct APICaller: Sendable {
    let port: Int
    let key: String
    let clock: SystemClock

    func send(
        _ method: HTTPMethod,
        _ target: String,
        body: String? = nil,
        idempotency: String? = nil,
    ) async throws -> JSONValue {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(target)")
        request.method = method
        request.headers.add(name: "Authorization", value: "Bearer \(key)")
        if let idempotency { request.headers.add(name: "Idempotency-Key", value: idempotency) }
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: body))
        }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
        let bytes = Array(try await response.body.collect(upTo: 16 << 20).readableBytesView)
        guard (200..<300).contains(response.status.code) else {
            throw Failure(.failed, "BENCH_API", "\(target): \(String(decoding: bytes, as: UTF8.self))")
        }
        return try JSONValue(parsing: bytes)
    }

    @discardableResult
    func create(_ account: AccountID, _ number: Int) async throws -> String {
        let answer = try await send(.POST, "/v1/orders", body: Self.draft(account), idempotency: "bench-\(number)")
        return answer["id"]?.text ?? ""
    }

    /// An entry that waits for its price, with two levels and a stop.
    static func draft(_ account: AccountID) -> String {
        """
        {"accountId": "\(account)", "market": "\(DevMarkets.demo)", "side": "BUY", "qty": "10",
         "entry": {"mode": "conditional", "trigger": "99"}, "stopLoss": {"price": "90"},
         "takeProfits": [{"price": "105", "sizePct": "50"}, {"price": "110", "sizePct": "50"}]}
        """
    }

    /// Hears the versions of the account's orders until cancelled.
    func listen(_ account: AccountID, _ hear: @Sendable (OrderID, Int64) -> Void) async throws {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)/v1/events?account=\(account)&since=1-0")
        request.headers.add(name: "Authorization", value: "Bearer \(key)")
        request.headers.add(name: "Accept", value: "text/event-stream")
        let response = try await HTTPClient.shared.execute(request, timeout: .hours(1))
        var text: [UInt8] = []
        for try await part in response.body {
            text += part.readableBytesView
            while let end = text.firstIndex(of: UInt8(ascii: "\n")) {
                let line = text[..<end]
                if line.starts(with: Array("data: ".utf8)) {
                    let event = try JSONValue(parsing: Array(line.dropFirst(6)))
                    if let version = event["version"]?.int64, let id = event["orderId"]?.text.flatMap({ OrderID($0) }) {
                        hear(id, version)
                    }
                }
                text.removeSubrange(...end)
            }
        }
    }
}
