// The simulated venue says what the paper venue says over HTTP: the same random requests at the same prices, the same
// answers, executions and look-ups (RELIABILITY.md 8.8.3). Kinds of refusals are the adapter's; whether there is one is
// compared.
import Exchanges
import Logging
import OrderEngine
import PaperVenue
import SmartOrders
import TestKit
import Testing

@testable import Simulation

private enum Request: Sendable {
    case price(cents: Int)
    case place(String, Side, VenueOrderType, tenths: Int, limitCents: Int?, offsetMs: Int64)
    case cancel(String)
    case lookUp(String)

    static func script(_ seed: UInt64) -> [Request] {
        var random = SeededRandom(seed: seed)
        func below(_ most: Int) -> Int { Int(random.next() % UInt64(most)) }
        func id() -> String { "s\(seed)n\(below(5))" }
        var cents = 10_000
        var requests: [Request] = [.price(cents: cents)]
        for _ in 0..<20 {
            switch below(10) {
            case 0, 1, 2:
                cents += (below(21) - 10) * 10
                requests.append(.price(cents: cents))
            case 3, 4, 5, 6:
                let types: [VenueOrderType] = [.market, .immediateOrCancel, .goodTillCancelled, .goodTillCancelled]
                let type = types[below(4)]
                requests.append(
                    .place(
                        id(),
                        below(2) == 0 ? .buy : .sell,
                        type,
                        tenths: 1 + below(20),
                        limitCents: type == .market ? nil : cents + (below(13) - 6) * 10,
                        offsetMs: [0, 0, 0, 0, 0, -60_000, 60_000][below(7)],
                    )
                )
            case 7: requests.append(.cancel(id()))
            default: requests.append(.lookUp(id()))
            }
        }
        return requests + (0..<5).flatMap { [.cancel("s\(seed)n\($0)"), .lookUp("s\(seed)n\($0)")] }
    }
}

/// Either venue.
private struct Exchange {
    let market: MarketID
    let now: () -> Timestamp
    let price: (Int) async -> Void
    let place: (Placement) async -> PlacementAnswer
    let cancel: (String) async -> CancelAnswer
    let lookUp: (String) async -> LookUpAnswer

    func answer(_ request: Request) async -> String {
        switch request {
        case .price(let cents):
            await price(cents)
            return "-"
        case .place(let id, let side, let type, let tenths, let limitCents, let offsetMs):
            let placement = Placement(
                market: market,
                clientOrderID: id,
                side: side,
                type: type,
                quantity: Quantity(ExactDecimal(mantissa: Int128(tenths), scale: 1)),
                limit: limitCents.map { SimulatedMarket.price($0) },
                reduceOnly: false,
                isExit: false,
                t0: now().advanced(milliseconds: offsetMs),
                windowMs: 10_000,
            )
            return switch await place(placement) {
            case .accepted(let snapshot): "accepted \(Self.told(snapshot))"
            case .refused: "refused"
            case .duplicate: "duplicate"
            case .notSent(let why): "not sent: \(why)"
            case .unknown(let why): "unknown: \(why)"
            }
        case .cancel(let id):
            return switch await cancel(id) {
            case .cancelled(let snapshot): "cancelled \(Self.told(snapshot))"
            case .notOpen: "not open"
            case .failed(let why): "failed: \(why)"
            }
        case .lookUp(let id):
            return switch await lookUp(id) {
            case .found(let snapshot): "found \(Self.told(snapshot))"
            case .notFound: "not found"
            case .failed(let why): "failed: \(why)"
            }
        }
    }

    private static func told(_ snapshot: VenueSnapshot) -> String {
        "\(snapshot.clientOrderID) \(snapshot.state) \(snapshot.filled) "
            + "\(snapshot.fills.map { "\($0.quantity)@\($0.price)" })"
    }
}

@Suite(.serialized) struct `The simulated venue` {
    @Test(arguments: [BinanceProduct.spot, .linear])
    func `says what the paper venue says`(_ product: BinanceProduct) async throws {
        var configuration = PaperVenueConfiguration()
        configuration.markets = [
            PaperMarket(
                product: product == .spot ? .spot : .linear,
                symbol: "BTCUSDT",
                base: "BTC",
                quote: "USDT",
                tickSize: Price(ExactDecimal(mantissa: 1, scale: 2)),
                stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 1)),
                minNotional: .zero,
                liquidity: .tick,
            )
        ]
        configuration.spotBalances = ["USDT": ExactDecimal(10_000_000), "BTC": ExactDecimal(100_000)]
        configuration.linearBalances = ["USDT": ExactDecimal(10_000_000)]
        configuration.hedgeMode = true
        var logger = Logger(label: "paper")
        logger.logLevel = .error
        let server = PaperVenueServer(configuration: configuration, logger: logger)
        let port = try await server.start()
        let http = VenueHTTP()
        let adapter = BinanceVenue(
            endpoint: BinanceEndpoint(
                venue: "paper",
                product: product,
                rest: "http://127.0.0.1:\(port)",
                stream: "ws://127.0.0.1:\(port)" + (product == .spot ? "/ws" : "/private/ws"),
                isHedged: product != .spot,
            ),
            credentials: Credentials(key: "demo", secret: "demo-secret"),
            http: http,
            clock: RealClock(),
        )
        do {
            try await adapter.prepare()
            await agree(server, adapter, product)
        } catch {
            await server.stop()
            try await http.shutdown()
            throw error
        }
        await server.stop()
        try await http.shutdown()
    }

    private func agree(_ server: PaperVenueServer, _ adapter: BinanceVenue, _ product: BinanceProduct) async {
        let market = MarketID(venue: "paper", product: product.rawValue, symbol: "BTCUSDT")
        let paper = Exchange(
            market: market,
            now: { adapter.venueTime() },
            price: { cents in
                let now = RealClock().now().microseconds
                await server.feed([
                    PaperTick(
                        market: market,
                        source: .last,
                        price: SimulatedMarket.price(cents),
                        quantity: nil,
                        position: TickPosition(venueTime: now, sequence: now),
                    )
                ])
            },
            place: { await adapter.place($0) },
            cancel: { await adapter.cancel(market: market, clientOrderID: $0) },
            lookUp: { await adapter.lookUp(market: market, clientOrderID: $0) },
        )
        let simulator = Simulator(seed: 1)
        let faults = FaultSwitch(.none)
        let oracle = Oracle(simulator: simulator, markets: [], habits: VenueHabits(), faults: faults)
        let venue = SimulatedVenue(simulator: simulator, habits: VenueHabits(), faults: faults, oracle: oracle)
        let simulated = Exchange(
            market: market,
            now: { venue.now },
            price: { venue.setPrice(SimulatedMarket.price($0), of: market) },
            place: { await venue.place($0, of: .sample(1)) },
            cancel: { venue.cancel($0, of: market) },
            lookUp: { venue.lookUp($0) },
        )
        for seed in 1...(agreementScripts ?? 20) as ClosedRange<UInt64> {
            var story: [String] = []
            for request in Request.script(seed) {
                let (said, expected) = (await paper.answer(request), await simulated.answer(request))
                story.append("\(request): \(said)")
                guard said == expected else {
                    Issue.record("seed \(seed): simulated \(expected)\n\(story.joined(separator: "\n"))")
                    return
                }
            }
        }
    }
}
