// Questions to venues and their answers as stored: a word, and JSON that nobody else reads.

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

extension VenueQuestion {
    var stored: String {
        switch self {
        case .balances: "balances"
        case .positions: "positions"
        case .openOrders: "openOrders"
        case .resting(let market, let id): "resting \(market) \(id)"
        }
    }

    init?(stored text: String) {
        switch text {
        case "balances": self = .balances
        case "positions": self = .positions
        case "openOrders": self = .openOrders
        case _:
            let parts = text.split(separator: " ")
            guard parts.count == 3, parts[0] == "resting", let market = MarketID(parts[1]) else { return nil }
            self = .resting(market, venueOrderID: String(parts[2]))
        }
    }
}

extension VenueReading {
    var stored: [UInt8] {
        var writer = JSONWriter(reserving: 1_024)
        writer.beginObject()
        switch self {
        case .balances(let balances):
            writer.key("balances")
            writer.beginArray()
            for one in balances {
                writer.beginObject()
                writer.member("asset", one.asset)
                writer.member("free", one.free)
                writer.member("locked", one.locked)
                writer.endObject()
            }
            writer.endArray()
        case .positions(let positions, let isHedged):
            writer.member("isHedged", isHedged)
            writer.key("positions")
            writer.beginArray()
            for one in positions {
                writer.beginObject()
                writer.member("market", one.market.description)
                writer.member("side", ifPresent: one.side)
                writer.member("qty", one.quantity)
                writer.member("average", ifPresent: one.average)
                writer.member("mark", ifPresent: one.marks.mark)
                writer.member("unrealized", ifPresent: one.marks.unrealized)
                writer.member("liquidation", ifPresent: one.marks.liquidation)
                writer.endObject()
            }
            writer.endArray()
        case .openOrders(let orders):
            writer.key("openOrders")
            writer.beginArray()
            for one in orders { writer.openOrder(one) }
            writer.endArray()
        case .resting(let order):
            writer.key("resting")
            if let order { writer.resting(order) } else { writer.null() }
        }
        writer.endObject()
        return writer.take()
    }

    init(stored bytes: [UInt8]) throws {
        let root = JSONField(try JSONValue(parsing: bytes))
        if let list = try root.optional("balances") {
            self = .balances(
                try list.elements().map { field in
                    VenueBalance(
                        asset: try field.string("asset"),
                        free: try field.required("free").decimal(),
                        locked: try field.required("locked").decimal(),
                    )
                }
            )
        } else if let list = try root.optional("positions") {
            self = .positions(try list.elements().map { try $0.position() }, isHedged: try root.bool("isHedged"))
        } else if let list = try root.optional("openOrders") {
            self = .openOrders(try list.elements().map { try $0.openOrder() })
        } else if try root.has("resting") {
            self = .resting(try root.optional("resting").map { try $0.resting() })
        } else {
            throw CorruptValue("reading of a venue")
        }
    }
}

extension JSONWriter {
    fileprivate mutating func openOrder(_ order: VenueOpenOrder) {
        beginObject()
        member("market", order.market.description)
        member("id", order.venueOrderID)
        member("clientId", order.clientOrderID)
        member("side", order.side)
        member("type", order.type)
        member("qty", order.quantity)
        member("filled", order.filled)
        member("limit", ifPresent: order.prices.limit)
        member("trigger", ifPresent: order.prices.trigger)
        member("reduceOnly", order.reduceOnly)
        member("isPlainLimit", order.isPlainLimit)
        endObject()
    }

    fileprivate mutating func resting(_ resting: RestingOrder) {
        beginObject()
        member("clientId", resting.clientOrderID)
        member("id", resting.order.venueOrderID)
        member("side", resting.order.side)
        member("qty", resting.order.quantity)
        member("limit", resting.order.limit)
        member("reduceOnly", resting.order.reduceOnly)
        key("fills")
        beginArray()
        for fill in resting.order.fills {
            beginObject()
            member("id", fill.venueFillID)
            member("qty", fill.quantity)
            member("price", fill.price)
            member("fee", fill.fee)
            member("feeAsset", fill.feeAsset.stored)
            member("isMaker", fill.isMaker)
            member("at", fill.time.microseconds)
            endObject()
        }
        endArray()
        endObject()
    }
}

extension JSONField {
    fileprivate func position() throws -> VenuePosition {
        let side = try optional("side")?.string()
        return VenuePosition(
            market: try market(),
            side: try side.map { try Self.side($0) },
            quantity: try required("qty").decimal(),
            average: try optionalMeasure("average"),
            marks: VenuePosition.Marks(
                mark: try optionalMeasure("mark"),
                unrealized: try optional("unrealized")?.decimal(),
                liquidation: try optionalMeasure("liquidation"),
            ),
        )
    }

    fileprivate func openOrder() throws -> VenueOpenOrder {
        VenueOpenOrder(
            market: try market(),
            venueOrderID: try string("id"),
            clientOrderID: try string("clientId"),
            side: try Self.side(string("side")),
            type: try string("type"),
            quantity: try measure("qty"),
            filled: try measure("filled"),
            prices: VenueOpenOrder.Prices(
                limit: try optionalMeasure("limit"),
                trigger: try optionalMeasure("trigger"),
            ),
            reduceOnly: try bool("reduceOnly"),
            isPlainLimit: try bool("isPlainLimit"),
        )
    }

    fileprivate func resting() throws -> RestingOrder {
        RestingOrder(
            clientOrderID: try string("clientId"),
            order: AdoptedOrder(
                venueOrderID: try string("id"),
                side: try Self.side(string("side")),
                quantity: try measure("qty"),
                limit: try measure("limit"),
                reduceOnly: try bool("reduceOnly"),
                fills: try elements("fills").map { try $0.fill() },
            ),
        )
    }

    private func fill() throws -> Fill {
        let asset = try string("feeAsset")
        guard let feeAsset = Fill.FeeAsset(stored: asset) else { throw CorruptValue("fee asset \(asset)") }
        return Fill(
            venueFillID: try string("id"),
            quantity: try measure("qty"),
            price: try measure("price"),
            fee: try required("fee").decimal(),
            feeAsset: feeAsset,
            isMaker: try bool("isMaker"),
            time: Timestamp(microseconds: try int64("at")),
        )
    }

    private func market() throws -> MarketID {
        let text = try string("market")
        guard let market = MarketID(text) else { throw CorruptValue("market \(text)") }
        return market
    }

    private static func side(_ text: String) throws -> Side {
        guard let side = Side(rawValue: text) else { throw CorruptValue("side \(text)") }
        return side
    }
}
