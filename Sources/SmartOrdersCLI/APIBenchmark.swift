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
    /// Requests under way at once.
    private static let lanes = 32

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
        let (account, key) = try await Self.seed(other)
        let notices = RedisTickLog(RedisOptions(address: try Backend.address(servers.redis.url), name: "so-api"))
        var configuration = APIConfiguration(port: 0, cursorKey: Array(repeating: 1, count: 32))
        configuration.drainDelayMs = 0
        configuration.limits.rates = [1_000_000, 1_000_000, 1_000_000]
        configuration.limits.maximumConnections = 20_000
        configuration.stream.connectionsPerKey = 20_000
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
            commands: backend.commands,
            ticks: backend.ticks,
            timeline: backend.timeline,
            cluster: backend.cluster,
            clock: backend.clock,
            readiness: { [] },
            metrics: { "" },
            changes: { _ = try await notices.changedOrders(waitMs: 5_000) },
            logger: logger,
        )
        let result = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await server.run() }
            guard let port = await server.listening() else {
                throw Failure(.failed, "BENCH_API", "the API does not listen.")
            }
            let caller = APICaller(port: port, key: key, clock: backend.clock)
            var document: JSONObject = ["bench": "api", "lanes": .integer(Self.lanes)]
            document["create"] = try await caller.measure(requests, lanes: Self.lanes) { caller, number in
                try await caller.create(account, number)
            }
            let id = try await caller.create(account, requests)
            document["get"] = try await caller.measure(requests, lanes: Self.lanes) { caller, _ in
                _ = try await caller.send(.GET, "/v1/orders/\(id)")
            }
            document["list50"] = try await caller.measure(requests / 10, lanes: Self.lanes) { caller, _ in
                _ = try await caller.send(.GET, "/v1/orders?limit=50")
            }
            document["fanOut"] = try await Self.fanOut(port, key, other, account, id, backend.clock)
            document["idle"] = try await Self.idle(port, key, backend.clock)
            document["stream"] = try await Self.stream(caller, other, account, id, count: min(requests, 500))
            group.cancelAll()
            return JSONValue.object(document)
        }
        notices.close()
        await backend.close()
        await other.close()
        return result
    }

    private static func seed(_ backend: Backend) async throws -> (AccountID, String) {
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
        let now = backend.clock.now().microseconds
        let tick = RawTick(
            position: TickPosition(venueTime: now, sequence: 1),
            price: 101 * 100_000_000,
            receivedAt: now,
        )
        try await backend.ticks.append([tick], to: DevMarkets.demoSeries)
        return (account, key)
    }

    private static let subscribers = 1_000
    private static let fanOutEvents: Int64 = 200
    private static let idleSockets = 10_000

    /// One account's events to a thousand WebSockets: each is encoded once, whoever listens.
    private static func fanOut(
        _ port: Int,
        _ key: String,
        _ other: Backend,
        _ account: AccountID,
        _ id: String,
        _ clock: SystemClock,
    ) async throws -> JSONValue {
        guard let order = OrderID(id) else { throw Failure(.failed, "BENCH_API", "no order id: \(id)") }
        let head = try await other.orders.lastSequence(account: account)
        let swarm = try StreamSwarm(port: port, key: key, count: subscribers, following: (account, head))
        try await wait(clock) { swarm.subscribed == subscribers }
        let before = swarm.messages
        let cpu = processCPU() - swarm.cpuNanoseconds
        let begun = clock.monotonicNanoseconds()
        let commands = other.commands
        var edit = OrderEdit()
        var committed: [Int64: Int64] = [:]
        for number in 0..<fanOutEvents {
            edit.stopLoss = .some(
                StopLossPlan(price: Price(ExactDecimal(mantissa: 800 + Int128(number % 50), scale: 1)))
            )
            _ = try await commands.execute(
                .edit(edit),
                on: order,
                version: nil,
                actor: Actor(kind: .worker, id: "bench"),
            )
            committed[head + number + 1] = clock.monotonicNanoseconds()
        }
        let last = head + fanOutEvents
        try await wait(clock) { swarm.arrivals[last]?.count == subscribers }
        let arrivals = swarm.arrivals
        let ended = arrivals[last]?.last ?? begun
        let messages = swarm.messages - before
        let spent = processCPU() - swarm.cpuNanoseconds - cpu
        await swarm.close()
        let delays = committed.compactMap { sequence, done in
            arrivals[sequence].map { Double(max(0, $0.last - done)) / 1e6 }
        }
        return [
            "subscribers": .integer(subscribers), "messages": .integer(messages),
            "perSecond": .number("\((Double(messages) / (Double(ended - begun) / 1e9)).rounded())"),
            // All of this process but the clients: the commits are in it.
            "cpuMicrosecondsEach": .number("\((Double(spent) / 10 / Double(messages)).rounded() / 100)"),
            "commitToLastSocketMs": Percentiles.json(delays),
        ]
    }

    /// What ten thousand sockets cost that say nothing.
    private static func idle(_ port: Int, _ key: String, _ clock: SystemClock) async throws -> JSONValue {
        let before = residentKilobytes()
        let swarm: StreamSwarm
        do {
            swarm = try StreamSwarm(port: port, key: key, count: idleSockets, following: nil)
        } catch let failure as Failure {
            return ["sockets": .integer(0), "why": .string(failure.sentence)]
        }
        try await clock.sleep(milliseconds: 2_000)
        let after = residentKilobytes()
        await swarm.close()
        return ["sockets": .integer(idleSockets), "megabytes": .integer(Int((after - before) / 1_024))]
    }

    private static func wait(_ clock: SystemClock, until isTrue: () -> Bool) async throws {
        for _ in 0..<60_000 {
            if isTrue() { return }
            try await clock.sleep(milliseconds: 2)
        }
        throw Failure(.failed, "BENCH_API", "the streams did not get everything.")
    }

    /// User and system time of this process, in nanoseconds.
    private static func processCPU() -> Int64 {
        var spent = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent)
        return Int64(spent.tv_sec) * 1_000_000_000 + Int64(spent.tv_nsec)
    }

    private static func residentKilobytes() -> Int64 {
        let text = LocalFiles.text("/proc/self/status", last: 1 << 16) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
        return Int64(line.filter { $0.isNumber }) ?? 0
    }

    /// Commits by one process, heard on a socket of another.
    private static func stream(
        _ caller: APICaller,
        _ other: Backend,
        _ account: AccountID,
        _ id: String,
        count: Int,
    ) async throws -> JSONValue {
        guard let order = OrderID(id) else { throw Failure(.failed, "BENCH_API", "no order id: \(id)") }
        let arrivals = Locked<[Int64: Int64]>([:])
        return try await withThrowingTaskGroup(of: Void.self) { group in
            let clock = caller.clock
            group.addTask {
                try await caller.listen(account) { version in
                    let now = clock.monotonicNanoseconds()
                    arrivals.withLock { $0[version] = $0[version] ?? now }
                }
            }
            // The stream answers before it is measured.
            let commands = other.commands
            var edit = OrderEdit()
            var committed: [Int64: (begun: Int64, done: Int64)] = [:]
            for number in 0...count {
                edit.stopLoss = .some(
                    StopLossPlan(price: Price(ExactDecimal(mantissa: 900 + Int128(number % 50), scale: 1)))
                )
                let begun = clock.monotonicNanoseconds()
                let answer = try await commands.execute(
                    .edit(edit),
                    on: order,
                    version: nil,
                    actor: Actor(kind: .worker, id: "bench"),
                )
                committed[answer.order.version] = (begun, clock.monotonicNanoseconds())
                // One at a time: the way is measured, not a queue.
                var patience = 0
                while arrivals.withLock({ $0[answer.order.version] }) == nil {
                    patience += 1
                    guard patience < 20_000 else { throw Failure(.failed, "BENCH_API", "an event did not arrive.") }
                    try await clock.sleep(milliseconds: 1)
                    // Before the stream has begun, nothing that was committed is told.
                    if number == 0, patience > 200 { break }
                }
            }
            group.cancelAll()
            let seen = arrivals.withLock { $0 }
            var fromCommand: [Double] = []
            var fromCommit: [Double] = []
            for (version, times) in committed {
                guard let arrival = seen[version] else { continue }
                fromCommand.append(Double(arrival - times.begun) / 1e6)
                fromCommit.append(Double(max(0, arrival - times.done)) / 1e6)
            }
            return [
                "events": .integer(fromCommand.count), "commandToSocketMs": Percentiles.json(fromCommand),
                "commitToSocketMs": Percentiles.json(fromCommit),
            ]
        }
    }
}

private enum Percentiles {
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
private struct APICaller: Sendable {
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
        let body = """
            {"accountId": "\(account)", "market": "\(DevMarkets.demo)", "side": "BUY", "qty": "10",
             "entry": {"mode": "attach", "price": "100"}, "stopLoss": {"price": "90"},
             "takeProfits": [{"price": "105", "sizePct": "50"}, {"price": "110", "sizePct": "50"}]}
            """
        return try await send(.POST, "/v1/orders", body: body, idempotency: "bench-\(number)")["id"]?.text ?? ""
    }

    /// Hears the versions of the account's orders until cancelled.
    func listen(_ account: AccountID, _ hear: @Sendable (Int64) -> Void) async throws {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)/v1/events?account=\(account)")
        request.headers.add(name: "Authorization", value: "Bearer \(key)")
        request.headers.add(name: "Accept", value: "text/event-stream")
        let response = try await HTTPClient.shared.execute(request, timeout: .hours(1))
        var text: [UInt8] = []
        for try await part in response.body {
            text += part.readableBytesView
            while let end = text.firstIndex(of: UInt8(ascii: "\n")) {
                let line = text[..<end]
                if line.starts(with: Array("data: ".utf8)),
                    let version = try JSONValue(parsing: Array(line.dropFirst(6)))["version"]?.int64
                {
                    hear(version)
                }
                text.removeSubrange(...end)
            }
        }
    }

    /// Throughput and latencies of `count` requests over `lanes` connections.
    func measure(
        _ count: Int,
        lanes: Int,
        _ request: @escaping @Sendable (APICaller, Int) async throws -> Void,
    ) async throws -> JSONValue {
        let latencies = Locked<[Double]>([])
        let begun = clock.monotonicNanoseconds()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for lane in 0..<lanes {
                group.addTask {
                    var own: [Double] = []
                    for number in stride(from: lane, to: count, by: lanes) {
                        let start = clock.monotonicNanoseconds()
                        try await request(self, number)
                        own.append(Double(clock.monotonicNanoseconds() - start) / 1e6)
                    }
                    let measured = own
                    latencies.withLock { $0 += measured }
                }
            }
            try await group.waitForAll()
        }
        let seconds = Double(clock.monotonicNanoseconds() - begun) / 1e9
        let values = latencies.withLock { $0 }
        return [
            "requests": .integer(values.count),
            "perSecond": .number("\((Double(values.count) / seconds).rounded())"),
            "ms": Percentiles.json(values),
        ]
    }
}
