// A client of the paper venue that shares no code with the adapters: raw requests, own signature.

import AsyncHTTPClient
import Crypto
import JSONText
import Logging
import NIOCore
import NIOHTTP1
import PaperVenue
import SmartOrders
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

struct Answer {
    let status: Int
    let bytes: [UInt8]
    let retryAfter: String?

    var json: JSONValue { (try? JSONValue(parsing: bytes)) ?? .null }
    var code: Int? { json["code"]?.int64.map { Int($0) } }
    var message: String { json["msg"]?.text ?? "" }
    subscript(key: String) -> String? {
        switch json[key] {
        case .string(let text), .number(let text): text
        case .bool(let flag): String(flag)
        default: nil
        }
    }
}

enum Verb: String, Sendable { case GET, POST, PUT, DELETE }

func machineMilliseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}

func dec(_ text: String) -> ExactDecimal { ExactDecimal(text) ?? .zero }

/// A venue under test and one API key of it.
struct Client: Sendable {
    let server: PaperVenueServer
    let port: Int
    var key = "demo"
    var secret = "demo-secret"

    func signed(_ text: String) -> String {
        HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: SymmetricKey(data: Array(secret.utf8)))
            .map { byte in String(byte >> 4, radix: 16) + String(byte & 15, radix: 16) }.joined()
    }

    /// Sends a request as it is.
    func raw(
        _ method: Verb,
        _ target: String,
        body: String? = nil,
        key: String?,
        timeoutMs: Int64 = 5000,
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(target)")
        request.method = .RAW(value: method.rawValue)
        if let key { request.headers.add(name: "X-MBX-APIKEY", value: key) }
        if let body { request.body = .bytes(ByteBuffer(string: body)) }
        let response = try await HTTPClient.shared.execute(request, timeout: .milliseconds(timeoutMs))
        let buffer = try await response.body.collect(upTo: 32 << 20)
        return Answer(
            status: Int(response.status.code),
            bytes: Array(buffer.readableBytesView),
            retryAfter: response.headers.first(name: "Retry-After"),
        )
    }

    /// Sends a signed request: GET and DELETE in the query, POST in the body.
    func send(
        _ method: Verb,
        _ path: String,
        _ parameters: String = "",
        at time: Int64? = nil,
        window: Int64? = nil,
        timeoutMs: Int64 = 5000,
    ) async throws -> Answer {
        var text = parameters.isEmpty ? "" : parameters + "&"
        text += "timestamp=\(time ?? machineMilliseconds())"
        if let window { text += "&recvWindow=\(window)" }
        text += "&signature=\(signed(text))"
        return method == .POST || method == .PUT
            ? try await raw(method, path, body: text, key: key, timeoutMs: timeoutMs)
            : try await raw(method, "\(path)?\(text)", key: key, timeoutMs: timeoutMs)
    }

    @discardableResult
    func spot(_ parameters: String) async throws -> Answer { try await send(.POST, "/api/v3/order", parameters) }
    @discardableResult
    func linear(_ parameters: String) async throws -> Answer {
        try await send(.POST, "/fapi/v1/order", parameters + "&newOrderRespType=RESULT")
    }

    func price(_ market: String, _ price: String, _ quantity: String? = nil, source: TriggerSource = .last) async {
        guard let id = MarketID(market), let value = Price(price) else { return }
        let amount = quantity.flatMap { Quantity($0) }
        let now = machineMilliseconds() * 1000
        await server.feed([
            PaperTick(
                market: id,
                source: source,
                price: value,
                quantity: amount,
                position: TickPosition(venueTime: now, sequence: now),
            )
        ])
    }

    func control(_ text: String) async throws { try await server.control(try JSONValue(parsing: text)) }

    /// Free and locked of a coin.
    func balance(_ asset: String) async throws -> (free: ExactDecimal, locked: ExactDecimal) {
        let answer = try await send(.GET, "/api/v3/account")
        guard case .array(let balances)? = answer.json["balances"] else { return (.zero, .zero) }
        for entry in balances where entry["asset"]?.text == asset {
            return (dec(entry["free"]?.text ?? "0"), dec(entry["locked"]?.text ?? "0"))
        }
        return (.zero, .zero)
    }

    func wallet(_ asset: String = "USDT") async throws -> ExactDecimal {
        let answer = try await send(.GET, "/fapi/v2/balance")
        guard case .array(let entries) = answer.json else { return .zero }
        for entry in entries where entry["asset"]?.text == asset { return dec(entry["balance"]?.text ?? "0") }
        return .zero
    }

    func position(_ symbol: String) async throws -> (quantity: ExactDecimal, entry: ExactDecimal) {
        let answer = try await send(.GET, "/fapi/v2/positionRisk", "symbol=\(symbol)")
        guard case .array(let entries) = answer.json, let first = entries.first else { return (.zero, .zero) }
        return (dec(first["positionAmt"]?.text ?? "0"), dec(first["entryPrice"]?.text ?? "0"))
    }
}

/// Markets with round numbers.
let testMarkets: [PaperMarket] = [
    PaperMarket(
        product: .spot,
        symbol: "BTCUSDT",
        base: "BTC",
        quote: "USDT",
        tickSize: Price(dec("0.01")),
        stepSize: Quantity(dec("0.0001")),
        minNotional: Money(ExactDecimal(5)),
        bandDown: Rate(dec("0.5")),
        bandUp: Rate(dec("2")),
        makerFee: Rate(dec("0.001")),
        takerFee: Rate(dec("0.002")),
        liquidity: .tick,
    ),
    PaperMarket(
        product: .linear,
        symbol: "BTCUSDT",
        base: "BTC",
        quote: "USDT",
        tickSize: Price(dec("0.1")),
        stepSize: Quantity(dec("0.001")),
        maxQuantity: Quantity(ExactDecimal(1000)),
        minNotional: Money(ExactDecimal(5)),
        bandDown: Rate(dec("0.9")),
        bandUp: Rate(dec("1.1")),
        makerFee: Rate(dec("0.0002")),
        takerFee: Rate(dec("0.0005")),
        liquidity: .tick,
    ),
]

func temporaryPath(_ name: String) -> String {
    var random = SystemRandomNumberGenerator()
    return "/tmp/paper-venue-\(getpid())-\(random.next())-\(name)"
}

/// Starts a venue, runs `body`, stops it, also when `body` throws.
func withVenue(
    _ change: (inout PaperVenueConfiguration) -> Void = { _ in },
    _ body: (Client) async throws -> Void,
) async throws {
    var configuration = PaperVenueConfiguration()
    configuration.markets = testMarkets
    configuration.spotBalances = ["USDT": ExactDecimal(100_000), "BTC": ExactDecimal(10)]
    configuration.linearBalances = ["USDT": ExactDecimal(100_000)]
    change(&configuration)
    var logger = Logger(label: "paper")
    logger.logLevel = .error
    let server = PaperVenueServer(configuration: configuration, logger: logger)
    let port = try await server.start()
    do {
        try await body(Client(server: server, port: port))
    } catch {
        await server.stop()
        throw error
    }
    await server.stop()
}

/// The lines of a venue's log.
func readLog(_ path: String) -> [JSONValue] {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 20)
    while true {
        let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { break }
        bytes += chunk[..<count]
    }
    return bytes.split(separator: UInt8(ascii: "\n")).compactMap { try? JSONValue(parsing: Array($0)) }
}

func writeText(_ path: String, _ text: String) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    guard descriptor >= 0 else { return }
    _ = Array(text.utf8).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
}

func appendText(_ path: String, _ text: String) {
    let descriptor = open(path, O_WRONLY | O_APPEND)
    guard descriptor >= 0 else { return }
    _ = Array(text.utf8).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
}

func removeText(_ path: String) { unlink(path) }

func copyText(_ from: String, _ to: String) {
    let descriptor = open(from, O_RDONLY)
    guard descriptor >= 0 else { return }
    var bytes = [UInt8](repeating: 0, count: 16 << 20)
    let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    close(descriptor)
    writeText(to, String(decoding: bytes[..<max(0, count)], as: UTF8.self))
}
