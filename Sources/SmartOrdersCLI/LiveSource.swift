// The feed of the paper venue's own streams: every market of the catalogue.
import Exchanges
import OrderEngine
import OrderStorage
import SmartOrders

extension Backend {
    /// - Parameter base: address of the paper venue, `http://host:port`.
    func liveSource(_ product: BinanceProduct, at base: String) -> BinanceTrades {
        BinanceTrades(
            product: product,
            rest: base,
            stream: "ws" + base.dropFirst(4) + (product == .spot ? "" : "/market"),
            catalogue: {
                try await accounts.instruments()
                    .filter { $0.market.venue == "paper" && $0.market.product == product.rawValue }
                    .map { BinanceTrades.Market(id: $0.market, decimals: $0.priceDecimals) }
            },
            http: http,
            clock: clock,
            observer: EngineTelemetry(logger: logger, metrics: metrics),
            // What is stored is the truth: the stream may be ahead of it by ticks that only a dead feed knew, and those
            // are asked for again.
            resume: { try await cluster.newestExtreme(market: $0.market, source: $0.source) },
            tellGap: { try await timeline.add($0) },
        )
    }
}
