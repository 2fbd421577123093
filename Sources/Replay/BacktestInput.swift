// What a backtest needs to know: the order, its market, and which series of the file is meant.

internal import JSONText
internal import OrderJSON
internal import PaperMatching
internal import SmartOrders
package import TickFiles

/// Why a backtest cannot be made. One line for people.
public struct BacktestError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}

/// A draft with its market and fees, for one series of a file.
package struct BacktestInput {
    let draft: Draft
    let block: InstrumentBlock
    let fees: ScenarioFees
    /// Prices are whole units of 10^-`decimals`: fine enough for the tick size and for every price of the series.
    package let decimals: Int
    package let entry: TickSurvey.Entry
    /// Counts from the first tick that is looked at; nil: the draft says.
    let exitAfterMs: Int64?

    /// - Parameters:
    ///   - series: as `venue:symbol`; nil: the one that the order means.
    package init(order bytes: [UInt8], survey: TickSurvey, series wanted: String?) throws {
        let json = JSONField(try JSONValue(parsing: bytes))
        draft = try Draft(json: json, allowing: ["accountId", "market", "instrument", "fees", "exitAtMs"])
        fees = try ScenarioFees(json: json.optional("fees"))
        let instrument = try json.optional("instrument")
        entry = try Self.entry(of: survey, wanted: wanted, json: json)
        exitAfterMs = try json.optional("exitAtMs")?.count()
        let standard = Self.standardBlock(entry, draft, fees)
        block =
            try instrument.map { field throws(JSONError) in
                try InstrumentBlock(json: field, over: standard)
            } ?? standard
        decimals = max(block.instrument.priceDecimals, entry.priceDecimals)
        guard decimals <= 18 else { throw BacktestError("prices with more than 18 decimals") }
    }

    /// A market on the precision of the file: what is used where the order names none.
    private static func standardBlock(
        _ entry: TickSurvey.Entry,
        _ draft: Draft,
        _ fees: ScenarioFees,
    ) -> InstrumentBlock {
        let step = max(entry.quantityDecimals, Int(draft.quantity.value.scale))
        return InstrumentBlock(
            instrument: Instrument(
                market: MarketID(venue: "paper", product: "backtest", symbol: entry.series.symbol),
                kind: .perpetual,
                tickSize: Price(ExactDecimal(mantissa: 1, scale: entry.priceDecimals)),
                stepSize: Quantity(ExactDecimal(mantissa: 1, scale: step)),
                makerFee: fees.schedule.maker,
                takerFee: fees.schedule.taker,
            )
        )
    }

    /// The series that is named; else the one whose symbol (and venue) is the order's market; of several venues the
    /// one that fits the kind of market; else the first in the file. A file with one series needs no name.
    private static func entry(of survey: TickSurvey, wanted: String?, json: JSONField) throws -> TickSurvey.Entry {
        guard let first = survey.entries.first else { throw BacktestError("the file has no ticks") }
        let all = survey.entries.map(\.series.description).joined(separator: ", ")
        if let wanted {
            guard let entry = survey.entries.first(where: { $0.series.description == wanted }) else {
                throw BacktestError("no series \(wanted) in the file, which has \(all)")
            }
            return entry
        }
        if survey.entries.count == 1 { return first }
        let instrument = try json.optional("instrument")
        let market = try json.optional("market")?.parsed(.badID, expected: "a market id") { MarketID($0) }
        guard let symbol = try market?.symbol ?? instrument?.optional("symbol")?.string() else {
            throw BacktestError("the file has several series (\(all)): name one, or a symbol in the order's instrument")
        }
        var candidates = survey.entries.filter { $0.series.symbol == symbol || $0.series.description == symbol }
        if let market {
            let exact = candidates.filter { market.names($0.series.venue) }
            if !exact.isEmpty { candidates = exact }
        } else if let kind = try instrument?.optional("kind")?.choice(InstrumentKind.self) {
            let fitting = candidates.filter { $0.series.venue.hasSuffix("spot") != kind.isDerivative }
            if !fitting.isEmpty { candidates = fitting }
        }
        guard let chosen = candidates.first else {
            throw BacktestError("no series of \(symbol) in the file, which has \(all)")
        }
        return chosen
    }
}

extension MarketID {
    /// Whether a tick file's venue (`binance-usdm`) is the venue and product of this market (`binance:linear`).
    fileprivate func names(_ venue: String) -> Bool {
        let products: [String]
        switch product {
        case "linear": products = ["linear", "usdm", "perp", "swap"]
        case "inverse": products = ["inverse", "coinm"]
        default: products = [product]
        }
        return venue == self.venue || products.contains { venue == "\(self.venue)-\($0)" }
    }
}
