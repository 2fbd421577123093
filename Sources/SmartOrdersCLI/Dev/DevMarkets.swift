// What a development deployment trades: the scripted demo market and one market per recorded series.
import Exchanges
import MarketData
import OrderEngine
import PaperVenue
import SmartOrders
import TickFiles

/// A tick file and the market that its chosen series becomes.
struct RecordedMarket: Sendable {
    let path: String
    /// `venue:symbol` in the file.
    let name: String
    let market: PaperMarket
    let firstPrice: Price
    let firstPosition: TickPosition
    let rows: Int64

    var id: MarketID { market.id }
    var series: PriceSeries { PriceSeries(market: id, source: .mark) }
    var decimals: Int { max(Int(market.tickSize.value.scale), 8) }
}

enum DevMarkets {
    static let demo = MarketID(venue: "paper", product: "linear", symbol: "DEMO")
    static let demoSeries = PriceSeries(market: demo, source: .mark)

    static let demoMarket = PaperMarket(
        product: .linear,
        symbol: "DEMO",
        base: "DEMO",
        quote: "USDT",
        tickSize: Price(ExactDecimal(mantissa: 1, scale: 2)),
        stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 1)),
    )

    /// The series of a tick file as markets, on the grid that its numbers show. Reads the whole file once, so a
    /// malformed line is found before anything starts.
    static func recorded(_ path: String) throws -> [RecordedMarket] {
        let survey: TickSurvey
        do {
            survey = try TickSurvey(path: path)
        } catch {
            throw Failure(
                .usage,
                "TICK_FILE",
                "\(error)",
                hint: "header ts_us,venue,symbol,price,qty,side; plain or gzip",
            )
        }
        return survey.entries.map { entry in
            let symbol = entry.series.symbol.filter { $0.isLetter || $0.isNumber || $0 == "_" }
            return RecordedMarket(
                path: path,
                name: entry.series.description,
                market: PaperMarket(
                    product: .linear,
                    symbol: survey.entries.count > 1
                        ? "\(symbol)_\(entry.series.venue.filter { $0.isLetter })".uppercased() : symbol,
                    base: symbol,
                    quote: "USDT",
                    tickSize: Price(ExactDecimal(mantissa: 1, scale: entry.priceDecimals)),
                    stepSize: Quantity(ExactDecimal(mantissa: 1, scale: entry.quantityDecimals)),
                ),
                firstPrice: entry.firstPrice,
                firstPosition: TickPosition(venueTime: entry.firstTime, sequence: 0),
                rows: entry.rows,
            )
        }
    }

    /// The demo's script (INTERFACES.md 6.3), stretched or shrunk to `seconds`.
    static func script(seconds: Double) -> [ScriptedSource.Step] {
        let moments: [(Double, Int64)] = [
            (0, 100), (6, 103), (7, 104), (10, 105), (20, 108), (22, 110), (30, 107), (42, 100), (50, 97), (58, 96),
        ]
        return moments.map { moment in
            ScriptedSource.Step(atMs: Int64(moment.0 / 60 * seconds * 1_000), price: moment.1 * 100_000_000)
        }
    }
}
