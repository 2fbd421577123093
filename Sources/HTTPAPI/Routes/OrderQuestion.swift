// The finer questions of `GET /v1/orders`, read from its query (INTERFACES.md 1.7).

internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

enum OrderQuestion {
    /// Parameters that only a search answers.
    static let names: Set<String> = [
        "venue", "symbol", "side", "health", "kind", "clientOrderId", "updatedSince", "createdFrom", "createdTo", "q",
    ]

    /// Nil: a plain list, newest first, answers.
    static func search(_ query: Query) throws(Problem) -> OrderSearch? {
        var search = OrderSearch()
        search.sort = try word("sort", query) ?? .newest
        search.venue = query["venue"]
        search.symbol = query["symbol"]
        search.side = try word("side", query)
        search.health = try word("health", query)
        search.kind = try word("kind", query)
        search.clientOrderID = query["clientOrderId"]
        search.updatedSince = try time("updatedSince", query)
        search.createdFrom = try time("createdFrom", query)
        search.createdTo = try time("createdTo", query)
        search.text = query["q"]
        for name in ["venue", "symbol", "clientOrderId", "q"] {
            guard let text = query[name] else { continue }
            guard (1...100).contains(text.utf8.count), !text.utf8.contains(0) else {
                throw Problem(.badQuery, "\(name) has 1 to 100 characters.")
            }
        }
        if let id = search.clientOrderID, !Self.isClientOrderID(id) {
            throw Problem(.badQuery, "clientOrderId has 1 to 48 of the characters A-Z a-z 0-9 _ -.")
        }
        return search == OrderSearch() ? nil : search
    }

    private static func isClientOrderID(_ text: String) -> Bool {
        (1...48).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                case _: false
                }
            }
    }

    private static func word<Word: RawRepresentable<String>>(
        _ name: String,
        _ query: Query,
    ) throws(Problem) -> Word? where Word: Sendable {
        guard let text = query[name] else { return nil }
        guard let word = Word(rawValue: text) else {
            throw Problem(.badQuery, "\(name) is not one of the known words.")
        }
        return word
    }

    private static func time(_ name: String, _ query: Query) throws(Problem) -> Timestamp? {
        guard let text = query[name] else { return nil }
        guard let time = Timestamp(rfc3339: text) else { throw Problem(.badQuery, "\(name) is a time (RFC 3339).") }
        return time
    }

    // MARK: Places

    /// What a cursor carries beside the order.
    static func key(_ place: OrderSearch.Place) -> String { "\(place.time.microseconds) \(place.symbol)" }

    /// Cursors are signed: what they carry was written by `key`.
    static func place(_ order: OrderID, _ key: String) -> OrderSearch.Place? {
        let parts = key.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, let time = Int64(parts[0]) else { return nil }
        return OrderSearch.Place(order: order, symbol: String(parts[1]), time: Timestamp(microseconds: time))
    }
}
