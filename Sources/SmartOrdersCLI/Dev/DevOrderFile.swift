// An order file of `dev --order`: a Draft, with the `instrument` block of a backtest if it has one.
import JSONText
import OrderJSON
import PaperVenue
import SmartOrders

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What an order file asks for.
struct DevOrderFile: Sendable {
    let path: String
    let draft: Draft
    /// The grid that the file asks for.
    let market: (tickSize: Price, stepSize: Quantity)?

    static func read(_ path: String) throws -> DevOrderFile {
        guard let bytes = contents(path) else {
            throw Failure(.usage, "ORDER_FILE", "\(path) cannot be read.", hint: "is the path right?")
        }
        do {
            let field = JSONField(try JSONValue(parsing: bytes))
            let draft = try Draft(json: field, allowing: ["instrument", "fees", "market"])
            var market: (Price, Quantity)?
            if let instrument = try field.optional("instrument") {
                let read = try InstrumentBlock(json: instrument).instrument
                market = (read.tickSize, read.stepSize)
            }
            return DevOrderFile(path: path, draft: draft, market: market)
        } catch {
            throw Failure(.usage, "ORDER_FILE", "\(path): \(error)", hint: "the Draft of INTERFACES.md 1.10")
        }
    }

    func order(on market: RecordedMarket) -> DevOrder {
        var draft = draft
        var holds: (ExactDecimal, Price)?
        if draft.entry.mode == .attach {
            let price = draft.entry.price ?? market.firstPrice
            draft.entry.price = price
            holds = (draft.side == .buy ? draft.quantity.value : -draft.quantity.value, price)
        }
        return DevOrder(
            label: path.split(separator: "/").last.map(String.init) ?? path,
            market: market.id,
            draft: draft,
            expected: nil,
            holds: holds,
        )
    }

    static func contents(_ path: String) -> [UInt8]? {
        guard let file = fopen(path, "rb") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            if count == 0 { return bytes }
            bytes += buffer[0..<count]
            if bytes.count > 1 << 22 { return nil }
        }
    }
}

extension RecordedMarket {
    /// The same recording on another grid.
    func on(_ grid: (tickSize: Price, stepSize: Quantity)) -> RecordedMarket {
        var market = market
        market.tickSize = grid.tickSize
        market.stepSize = grid.stepSize
        market.minQuantity = grid.stepSize
        return RecordedMarket(
            path: path,
            name: name,
            market: market,
            firstPrice: firstPrice,
            firstPosition: firstPosition,
            rows: rows,
        )
    }
}
