// The adapter against a paper venue in this process, over real sockets.

import JSONText
import Logging
import OrderEngine
import PaperVenue
import SmartOrders
import TestKit

@testable import Exchanges

func dec(_ text: String) -> ExactDecimal { ExactDecimal(text) ?? .zero }

/// One kind of account.
enum AccountKind: String, Sendable, CaseIterable {
    case spot, oneWay, hedged

    var product: BinanceProduct { self == .spot ? .spot : .linear }
    var market: MarketID { MarketID(venue: "paper", product: product.rawValue, symbol: "BTCUSDT") }
}

/// A venue under test and an account at it.
struct VenueRig: Sendable {
    let kind: AccountKind
    let server: PaperVenueServer
    let port: Int
    let http: VenueHTTP
    let venue: BinanceVenue

    func endpoint(port: Int? = nil) -> BinanceEndpoint { Self.endpoint(kind, port: port ?? self.port) }

    static func endpoint(_ kind: AccountKind, port: Int) -> BinanceEndpoint {
        BinanceEndpoint(
            venue: "paper",
            product: kind.product,
            rest: "http://127.0.0.1:\(port)",
            stream: "ws://127.0.0.1:\(port)" + (kind == .spot ? "/ws" : "/private/ws"),
            isHedged: kind == .hedged,
        )
    }

    /// The last price (or another) and how much trades there.
    func price(_ price: String, _ quantity: String? = nil, source: TriggerSource = .last) async {
        let now = RealClock().now().microseconds
        await server.feed([
            PaperTick(
                market: kind.market,
                source: source,
                price: Price(dec(price)),
                quantity: quantity.flatMap { Quantity($0) },
                position: TickPosition(venueTime: now, sequence: now),
            )
        ])
    }

    func control(_ text: String) async throws { try await server.control(try JSONValue(parsing: text)) }

    func placement(
        _ id: String,
        _ side: Side,
        _ type: VenueOrderType,
        _ quantity: String,
        limit: String? = nil,
        trigger: String? = nil,
        callback: Callback? = nil,
        source: TriggerSource = .last,
        closes: Bool = false,
        isExit: Bool = false,
        t0: Timestamp? = nil,
        windowMs: Int64? = nil,
    ) -> Placement {
        Placement(
            market: kind.market,
            clientOrderID: id,
            side: side,
            type: type,
            quantity: Quantity(dec(quantity)),
            limit: limit.map { Price(dec($0)) },
            trigger: trigger.map { Price(dec($0)) },
            callback: callback,
            triggerSource: source,
            closesPosition: closes,
            reduceOnly: isExit,
            isExit: isExit,
            t0: t0 ?? venue.venueTime(),
            windowMs: windowMs ?? venue.windowMs,
        )
    }

    func lookUp(_ id: String) async -> LookUpAnswer { await venue.lookUp(market: kind.market, clientOrderID: id) }
    func lookUp(_ id: String, _ type: VenueOrderType) async -> LookUpAnswer {
        await venue.lookUp(market: kind.market, clientOrderID: id, type: type)
    }
    func cancel(_ id: String, _ type: VenueOrderType) async -> CancelAnswer {
        await venue.cancel(market: kind.market, clientOrderID: id, type: type)
    }
    func cancel(_ id: String) async -> CancelAnswer { await venue.cancel(market: kind.market, clientOrderID: id) }
}

extension BinanceVenue {
    /// Prepares, and measures the venue's time until it is known well: on a busy machine the first answer takes seconds,
    /// and then nothing leaves.
    func prepareCalmly() async throws {
        while true {
            do throws(VenueError) {
                try await prepare()
                try await measureClock()
            } catch {
                try await Task.sleep(for: .milliseconds(50))
                continue
            }
            if let uncertainty = clockUncertaintyMs, uncertainty < 250 { return }
        }
    }
}

extension PlacementAnswer {
    var snapshot: VenueSnapshot? {
        switch self {
        case .accepted(let snapshot): snapshot
        case .refused, .duplicate, .notSent, .unknown: nil
        }
    }
    var refusal: VenueNews.RefusalKind? {
        switch self {
        case .refused(let kind, _, _): kind
        case .accepted, .duplicate, .notSent, .unknown: nil
        }
    }
    var isRefused: Bool {
        if case .refused = self { return true }
        return false
    }

    var isAccepted: Bool {
        if case .accepted = self { return true }
        return false
    }

    var isNotSent: Bool {
        switch self {
        case .notSent: true
        case .accepted, .refused, .duplicate, .unknown: false
        }
    }
    var isUnknown: Bool {
        switch self {
        case .unknown: true
        case .accepted, .refused, .duplicate, .notSent: false
        }
    }
}

extension LookUpAnswer {
    var snapshot: VenueSnapshot? {
        switch self {
        case .found(let snapshot): snapshot
        case .notFound, .failed: nil
        }
    }
}

extension CancelAnswer {
    var snapshot: VenueSnapshot? {
        switch self {
        case .cancelled(let snapshot): snapshot
        case .notOpen, .failed: nil
        }
    }
}

let rigMarkets: [PaperMarket] = [
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
        minNotional: Money(ExactDecimal(5)),
        bandDown: Rate(dec("0.9")),
        bandUp: Rate(dec("1.1")),
        makerFee: Rate(dec("0.0002")),
        takerFee: Rate(dec("0.0005")),
        liquidity: .tick,
    ),
    PaperMarket(
        product: .linear,
        symbol: "HALTED",
        base: "HALT",
        quote: "USDT",
        tickSize: Price(dec("0.1")),
        stepSize: Quantity(dec("1")),
        isTrading: false,
    ),
]

/// Starts a venue and prepares the adapter, runs `body`, stops both, also when `body` throws.
func withRig(_ kind: AccountKind, _ body: (VenueRig) async throws -> Void) async throws {
    var configuration = PaperVenueConfiguration()
    configuration.markets = rigMarkets
    configuration.spotBalances = ["USDT": ExactDecimal(100_000), "BTC": ExactDecimal(10)]
    configuration.linearBalances = ["USDT": ExactDecimal(100_000)]
    configuration.hedgeMode = kind == .hedged
    var logger = Logger(label: "paper")
    logger.logLevel = .error
    let server = PaperVenueServer(configuration: configuration, logger: logger)
    let port = try await server.start()
    let http = VenueHTTP()
    let venue = BinanceVenue(
        endpoint: VenueRig.endpoint(kind, port: port),
        credentials: Credentials(key: "demo", secret: "demo-secret"),
        http: http,
        clock: RealClock(),
    )
    do {
        try await venue.prepareCalmly()
        try await body(VenueRig(kind: kind, server: server, port: port, http: http, venue: venue))
    } catch {
        await server.stop()
        try await http.shutdown()
        throw error
    }
    await server.stop()
    try await http.shutdown()
}
