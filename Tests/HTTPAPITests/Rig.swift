// An API server on a real socket, with everything behind it in memory.

import AsyncHTTPClient
import HTTPAPI
import JSONText
import Logging
import NIOCore
import NIOHTTP1
import OrderEngine
import Simulation
import SmartOrders
import TestKit
import Testing

struct Answer: Sendable {
    let status: Int
    let headers: HTTPHeaders
    let bytes: [UInt8]

    var json: JSONValue { (try? JSONValue(parsing: bytes)) ?? .null }
    var text: String { String(decoding: bytes, as: UTF8.self) }
    var code: String? { json["code"]?.text }
    subscript(header: String) -> String? { headers.first(name: header) }
}

/// Something that requests can be sent to.
protocol APITarget: Sendable {
    var port: Int { get }
}

extension APITarget {
    func send(
        _ method: HTTPMethod,
        _ target: String,
        key: String? = Rig.key,
        headers: [(String, String)] = [],
        body: String? = nil,
        idempotency: String? = nil,
        ifMatch: String? = nil,
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(target)")
        request.method = method
        if let key { request.headers.add(name: "Authorization", value: "Bearer \(key)") }
        if let idempotency { request.headers.add(name: "Idempotency-Key", value: idempotency) }
        if let ifMatch { request.headers.add(name: "If-Match", value: ifMatch) }
        if let body {
            if !headers.contains(where: { $0.0 == "Content-Type" }) {
                request.headers.add(name: "Content-Type", value: "application/json")
            }
            request.body = .bytes(ByteBuffer(string: body))
        }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
        let buffer = try await response.body.collect(upTo: 16 << 20)
        return Answer(
            status: Int(response.status.code),
            headers: response.headers,
            bytes: Array(buffer.readableBytesView),
        )
    }
}

struct Rig: APITarget {
    let server: APIServer
    let service: Task<Void, any Error>
    let port: Int
    let orders: MemoryOrders
    let accounts: MemoryAccounts
    let ticks: MemoryTickLog
    let account: AccountID
    let stranger: AccountID

    static let key = "so_paper_abcdefghijkl_" + String(repeating: "A", count: 43)
    static let strangerKey = "so_paper_zzzzzzzzzzzz_" + String(repeating: "B", count: 43)

    /// A good body of `POST /v1/orders`: 10 held at 100, two levels, a stop.
    func draft(_ extra: String = "", account: AccountID? = nil) -> String {
        """
        {"accountId": "\(account ?? self.account)", "market": "paper:linear:DEMO", "side": "BUY", "qty": "10",
         "entry": {"mode": "attach", "price": "100"}, "stopLoss": {"price": "95"},
         "takeProfits": [{"price": "105", "sizePct": "50"}, {"price": "110", "sizePct": "50"}]\(extra)}
        """
    }

    /// Creates an order; returns its id.
    @discardableResult
    func create(_ idempotency: String, _ extra: String = "") async throws -> String {
        let answer = try await send(.POST, "/v1/orders", body: draft(extra), idempotency: idempotency)
        #expect(answer.status == 201, "\(answer.text)")
        return try #require(answer.json["id"]?.text)
    }

    /// Stores an order, or its next version, as a worker would: without the API.
    func commit(_ order: SmartOrder, facts: [Fact] = [.replanned]) async throws {
        let outcomes = try await orders.commit([.sample(order, facts: facts)])
        for outcome in outcomes { if case .committed = outcome {} else { Issue.record("\(outcome)") } }
    }

    /// Stores `count` versions of one order as a worker would, from `order.version` on.
    func commit(_ count: Int, versionsOf order: SmartOrder) async throws -> SmartOrder {
        var order = order
        for _ in 0..<count {
            try await commit(order)
            order = order.next()
        }
        return order
    }
}

/// Starts a server, runs `body`, stops it gracefully, also when `body` throws.
func withAPI(
    _ change: (inout APIConfiguration) -> Void = { _ in },
    readiness: @escaping @Sendable () async -> [ReadinessCheck] = { [] },
    _ body: (Rig) async throws -> Void,
) async throws {
    var configuration = APIConfiguration(
        port: 0,
        publicURL: "https://orders.example",
        version: .init(version: "1.2.3", commit: "abc"),
        cursorKey: Array(repeating: 7, count: 32),
        showsOperations: true,
    )
    configuration.drainDelayMs = 0
    configuration.stream.pollMs = 20
    change(&configuration)
    let orders = MemoryOrders()
    let accounts = MemoryAccounts()
    let ticks = MemoryTickLog(MemoryTickServer(clock: RealClock()))
    let now = RealClock().now().microseconds
    let tick = RawTick(position: TickPosition(venueTime: now, sequence: 1), price: 101 * 100_000_000, receivedAt: now)
    try await ticks.append([tick], to: PriceSeries(market: Instrument.sample().market, source: .mark))
    let account = AccountID.sample(1)
    let stranger = AccountID.sample(2)
    for (id, key) in [(account, Rig.key), (stranger, Rig.strangerKey)] {
        let value = Account(id: id, name: "a", venue: "paper", product: "linear", mode: .paper)
        try await accounts.create(value, credentials: Credentials(key: "k", secret: "s"))
        try await accounts.addAPIKey(hash: APIKey.hash(key), account: id)
    }
    try await accounts.save([.sample(), .sample("OTHER")])
    let cluster = EmptyCluster()
    let context = EngineContext(
        orders: orders,
        accounts: accounts,
        cluster: cluster,
        queue: EmptyQueue(),
        ticks: ticks,
        venues: NoVenues(),
        clock: RealClock(),
        observer: QuietObserver(),
        identity: VenueIdentity(sha256: { _ in Array(repeating: 0, count: 32) }),
        random: { UInt64.random(in: 0 ... .max) },
        worker: WorkerID("api"),
    )
    var logger = Logger(label: "api")
    logger.logLevel = .critical
    let server = APIServer(
        configuration: configuration,
        orders: orders,
        accounts: accounts,
        traders: MemoryTraders(accounts),
        panel: NoPanel(),
        intake: NoIntake(),
        webhooks: NoWebhooks(),
        hooks: NoHooks(),
        operators: NoOperators(),
        control: NoControl(),
        queue: NoQueueControl(),
        commands: CommandService(context: context, history: PriceHistory(ticks: ticks, cluster: cluster)),
        ticks: ticks,
        timeline: orders,
        cluster: cluster,
        clock: RealClock(),
        readiness: readiness,
        metrics: { "# HELP x\nx 1\n" },
        logger: logger,
    )
    let service = Task { try await server.run() }
    guard let port = await server.listening() else {
        try await service.value
        return
    }
    let rig = Rig(
        server: server,
        service: service,
        port: port,
        orders: orders,
        accounts: accounts,
        ticks: ticks,
        account: account,
        stranger: stranger,
    )
    do {
        try await body(rig)
    } catch {
        service.cancel()
        try await service.value
        throw error
    }
    service.cancel()
    try await service.value
}

extension JSONValue {
    /// An element of an array; nil: there is none, or this is no array.
    subscript(index: Int) -> JSONValue? {
        guard case .array(let elements) = self, elements.indices.contains(index) else { return nil }
        return elements[index]
    }
}
