// A deployment of processes on private servers: one API, schedulers, workers, a paper venue, and a feed on demand.
import AsyncHTTPClient
import JSONText
import LocalServers
import NIOCore
import NIOHTTP1
import OwnerThread
import PostgresClient
import RedisClient
import TestKit
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

final class Deployment: Sendable {
    static let key = String(repeating: "5a", count: 32)

    /// An answer of the API.
    struct Answer: Sendable {
        let status: Int
        let tag: String?
        let isReplayed: Bool
        let json: JSONValue
    }

    let folder: String
    let database: PostgresPool
    let redis: RedisConnection
    let server: LocalRedis
    let account: String
    let apiKey: String
    let api: String
    private let roleArguments: [String]
    private let apiEnvironment: [String: String]
    private let listen: String
    private let children: Locked<[(role: String, process: OwnedProcess)]>

    private init(
        folder: String,
        database: PostgresPool,
        redis: RedisConnection,
        server: LocalRedis,
        account: String,
        apiKey: String,
        api: String,
        roleArguments: [String],
        apiEnvironment: [String: String],
        listen: String,
        children: Locked<[(role: String, process: OwnedProcess)]>,
    ) {
        self.folder = folder
        self.database = database
        self.redis = redis
        self.server = server
        self.account = account
        self.apiKey = apiKey
        self.api = api
        self.roleArguments = roleArguments
        self.apiEnvironment = apiEnvironment
        self.listen = listen
        self.children = children
    }

    /// Runs `body` on a deployment whose shards are all held; everything is gone afterwards.
    static func run(
        workers: Int,
        schedulers: Int,
        markets: String? = nil,
        venueKeys: String? = nil,
        isStepped: Bool = false,
        _ body: (Deployment) async throws -> Void,
    ) async throws {
        try await RedisServer.withServer { server in
            let folder = try LocalFiles.temporaryFolder("so-e2e")
            defer { LocalFiles.removeTree(folder) }
            let conninfo = try await PostgresServer.freshDatabase()
            let pool = try PostgresPool(configuration: PostgresConfiguration(conninfo: conninfo, connections: 1))
            let redis = RedisConnection(try RedisServer.options(server))
            defer { redis.close() }
            let children = Locked<[(role: String, process: OwnedProcess)]>([])
            defer { for child in children.withLock({ $0 }) { child.process.killBlocking() } }

            let migrated = try await Program.run(["migrate", "up", "--database", conninfo])
            try #require(migrated.status == 0, "\(migrated.complaint)")
            let venue = "127.0.0.1:\(RedisServer.freePort())"
            var venueArguments = ["--listen", venue, "--log", "\(folder)/venue.jsonl", "--hedged"]
            let members = [
                markets.map { "\"markets\": [\($0)]" }, venueKeys.map { "\"credentials\": [\($0)]" },
            ].compactMap(\.self)
            if !members.isEmpty {
                try Program.write("{\(members.joined(separator: ", "))}", to: "\(folder)/venue.json")
                venueArguments += ["--config", "\(folder)/venue.json"]
            }
            try await start("paper-venue", venueArguments, folder, children)
            try await wait(for: "http://\(venue)/fapi/v1/ping")

            var role = ["--database", conninfo, "--redis", server.url, "--paper-venue", "http://\(venue)"]
            role += ["--paper-hedged"] + (isStepped ? ["--stepped"] : [])
            let made = try await Program.run(["accounts", "create", "--name", "e2e"] + role, environment: environment)
            try #require(made.status == 0, "\(made.complaint)")
            let words = made.output.split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init)
            try #require(words.count == 4, "\(made.output)")

            let listen = "127.0.0.1:\(RedisServer.freePort())"
            for _ in 0..<schedulers { try await start("scheduler", role, folder, children) }
            for _ in 0..<workers { try await start("worker", role, folder, children) }
            let intake = try await Program.run(["secrets", "intake-key"], environment: environment)
            try #require(intake.status == 0, "\(intake.complaint)")
            // The API seals venue keys and never holds what opens them.
            let apiEnvironment = [
                "SMARTORDERS_INTAKE_KEY": intake.output.filter { !$0.isWhitespace },
                "SMARTORDERS_LOG_LEVEL": "trace", "SMARTORDERS_RATE_FACTOR": "100",
                "SMARTORDERS_WEBHOOK_ALLOW": "127.0.0.0/8", "SMARTORDERS_OPS_LISTEN": "same",
            ]
            try await start("api", role + ["--listen", listen], folder, children, environment: apiEnvironment)
            let deployment = Deployment(
                folder: folder,
                database: pool,
                redis: redis,
                server: server,
                account: words[1],
                apiKey: words[3],
                api: "http://\(listen)",
                roleArguments: role,
                apiEnvironment: apiEnvironment,
                listen: listen,
                children: children,
            )
            try await wait(for: "http://\(listen)/livez")
            _ = try await eventually("every shard has an owner") {
                try await deployment.number("SELECT count(*) FROM shards WHERE worker IS NULL") == 0 ? true : nil
            }
            do {
                try await body(deployment)
            } catch {
                for role in ["worker", "scheduler", "api", "feed", "paper-venue"] {
                    print("--- \(role)\n\(LocalFiles.lastLines("\(folder)/\(role).log", 12))")
                }
                await pool.close()
                throw error
            }
            await pool.close()
        }
    }

    private static var environment: [String: String] {
        [
            "SMARTORDERS_MASTER_KEY": key, "SMARTORDERS_LOG_LEVEL": "warning",
            "SMARTORDERS_WEBHOOK_ALLOW": "127.0.0.0/8", "SMARTORDERS_OPS_LISTEN": "none",
        ]
    }

    @discardableResult
    private static func start(
        _ role: String,
        _ arguments: [String],
        _ folder: String,
        _ children: Locked<[(role: String, process: OwnedProcess)]>,
        environment: [String: String] = Deployment.environment,
    ) async throws -> OwnedProcess {
        let env = try #require(LocalFiles.program("env"))
        let variables = environment.map { "\($0.key)=\($0.value)" }
        let process = try await OwnedProcess.start(
            [env] + variables + [Program.path, "serve", role] + arguments,
            log: "\(folder)/\(role).log",
        )
        children.withLock { $0.append((role, process)) }
        return process
    }

    private static func wait(for url: String) async throws {
        _ = try await eventually("\(url) answers") { () -> Bool? in
            do {
                _ = try await HTTPClient.shared.execute(HTTPClientRequest(url: url), timeout: .seconds(2))
                return true
            } catch {
                return nil
            }
        }
    }

    /// What a command that needs the database alone is told.
    var databaseArguments: [String] { Array(roleArguments.prefix(2)) }

    /// Runs an operator's command on this deployment.
    func command(_ arguments: [String]) async throws -> Outcome {
        try await Program.run(arguments + roleArguments, environment: Self.environment)
    }

    func startFeed(_ arguments: [String]) async throws -> OwnedProcess {
        try await Self.start("feed", roleArguments + arguments, folder, children)
    }

    /// `kill -9` of every process of a role, and a new one in its place.
    /// - Parameter changes: of the environment that the others have.
    func replace(_ role: String, _ changes: [String: String] = [:]) async throws {
        let old = children.withLock { children in
            defer { children.removeAll { $0.role == role } }
            return children.filter { $0.role == role }.map(\.process)
        }
        for process in old { process.killBlocking() }
        try await Self.start(
            role,
            roleArguments + (role == "api" ? ["--listen", listen] : []),
            folder,
            children,
            environment: Self.environment.merging(changes) { $1 },
        )
        if role == "api" { try await Self.wait(for: "\(api)/livez") }
    }

    /// `kill -9` of the process whose id is in the name that it gave itself (`worker-4711-...`).
    func kill(_ name: String) throws {
        let pid = try #require(name.split(separator: "-").dropFirst().first.flatMap { Int32($0) }, "\(name)")
        let victim = children.withLock { $0.first { $0.process.pid == pid } }
        try #require(victim, "\(name) is none of ours").process.signal(SIGKILL)
    }

    /// `kill -9` of the API, and another one at its address.
    func replaceAPI() async throws {
        let victim = children.withLock { children in children.last { $0.role == "api" } }
        let listen = String(api.dropFirst("http://".count))
        try #require(victim).process.killBlocking()
        try await Self.start(
            "api",
            roleArguments + ["--listen", listen],
            folder,
            children,
            environment: apiEnvironment,
        )
    }

    // MARK: What the stores know

    func number(_ sql: String) async throws -> Int64 {
        let rows = try await database.query(Statement(sql: sql))
        return try #require(rows.first).int64(0)
    }

    func rows(_ sql: String) async throws -> Rows { try await database.query(Statement(sql: sql)) }

    func text(_ sql: String) async throws -> String {
        let rows = try await database.query(Statement(sql: sql))
        return try #require(rows.first).string(0)
    }

    /// The row of the last tick that was published; -1: none yet.
    func publishedRow(_ series: String) async throws -> Int64 {
        let reply = try await redis.send(
            RedisCommand("XREVRANGE", "so:{so-ticks}:ticks:\(series)", "+", "-", "COUNT", "1")
        )
        let id = reply.array?.first?.array?.first?.text
        return id.flatMap { $0.split(separator: "-").last }.flatMap { Int64($0) } ?? -1
    }

    /// The venue's own log.
    func venueLog() throws -> [JSONValue] {
        let text = LocalFiles.text("\(folder)/venue.jsonl", last: 1 << 26) ?? ""
        return try text.split(separator: "\n").map { try JSONValue(parsing: Array($0.utf8)) }
    }

    // MARK: HTTP

    func request(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        headers: [String: String] = [:],
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: api + path)
        request.method = HTTPMethod(rawValue: method)
        request.headers.add(name: "Authorization", value: "Bearer \(apiKey)")
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body {
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: body))
        }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(20))
        let bytes = try await response.body.collect(upTo: 1 << 24)
        return Answer(
            status: Int(response.status.code),
            tag: response.headers.first(name: "ETag"),
            isReplayed: response.headers.first(name: "Idempotency-Replayed") == "true",
            json: bytes.readableBytes == 0 ? .null : try JSONValue(parsing: Array(bytes.readableBytesView)),
        )
    }

    /// The text of an open page.
    func page(_ path: String) async throws -> String {
        let response = try await HTTPClient.shared.execute(HTTPClientRequest(url: api + path), timeout: .seconds(20))
        return String(buffer: try await response.body.collect(upTo: 1 << 24))
    }

    /// What a role has logged.
    func log(of role: String) -> String { LocalFiles.text("\(folder)/\(role).log", last: 1 << 26) ?? "" }

    /// Server-sent events from the beginning, until `isEnough` of what was read so far.
    func stream(until isEnough: (String) -> Bool) async throws -> String {
        var request = HTTPClientRequest(url: api + "/v1/events?account=\(account)&since=1-0")
        request.headers.add(name: "Authorization", value: "Bearer \(apiKey)")
        request.headers.add(name: "Accept", value: "text/event-stream")
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
        var text = ""
        for try await part in response.body {
            text += String(buffer: part)
            if isEnough(text) { break }
        }
        return text
    }

    /// Creates an order as soon as its market has a price.
    func create(_ draft: String, market: String, key: String) async throws -> Answer {
        let body = "{\"accountId\": \"\(account)\", \"market\": \"\(market)\", \(draft.dropFirst())"
        return try await eventually("\(market) has a price") {
            let answer = try await request("POST", "/v1/orders", body, headers: ["Idempotency-Key": key])
            return answer.status == 503 || answer.status == 409 ? nil : answer
        }
    }
}
