// Lists as they are answered: whole, or page by page (INTERFACES.md 1.7). A cursor is good with the filters of its list
// only; a full page may be the last one, the next is then empty.

internal import HTTPTypes
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

extension Reply {
    /// - Parameters:
    ///   - next: cursor of the page after this one; nil: this is the last.
    ///   - call: whose address the next page has.
    static func list<Item>(
        _ items: [Item],
        next: String? = nil,
        of call: Call? = nil,
        _ write: (inout JSONWriter, Item) -> Void,
    ) -> Reply {
        var reply = Reply.json { writer in
            writer.key("items")
            writer.beginArray()
            for item in items { write(&writer, item) }
            writer.endArray()
            writer.member("nextCursor", orNull: next)
        }
        if let next, let call { reply.headers[.link] = OrderRoutes.link(call, next) }
        return reply
    }
}

/// Where in a list a request begins, and how many it wants.
struct ListPlace: Sendable {
    /// Of what the page before ended with; nil: from the beginning.
    let after: (position: UniqueID, key: String)?
    let limit: Int
    let filters: String
    let now: Timestamp
    let cursors: CursorCoder

    /// Reads `cursor` and `limit`.
    init(_ call: Call, _ backend: Backend, filters: String, now: Timestamp) throws {
        limit = try call.query.number("limit", in: 1...200, default: 50)
        (self.filters, self.now, cursors) = (filters, now, backend.cursors)
        after = try call.query["cursor"].map {
            try backend.cursors.decodeKeyed($0, filters: filters, now: now)
        }
    }

    /// Nil: the page was not full.
    func next(count: Int, _ last: UniqueID?) -> String? {
        count == limit ? last.map { cursors.encode($0, filters: filters, now: now) } : nil
    }

    /// The same of a list that is ordered by text.
    func next(count: Int, key: String?) -> String? {
        let place = UniqueID(high: 0, low: 0)
        return count == limit ? key.map { cursors.encode(place, key: $0, filters: filters, now: now) } : nil
    }
}

extension Backend {
    /// A page of what is listed by its ids, newest first.
    // Not inlined: the optimiser of Swift 6.3 crashes on asynchronous functions with this in them.
    @inline(never)
    func page<Item>(
        _ call: Call,
        of filters: String,
        id: (Item) -> UniqueID,
        _ read: (_ before: UniqueID?, _ limit: Int) async throws -> [Item],
        _ write: (inout JSONWriter, Item) -> Void,
    ) async throws -> Reply {
        try call.query.check(known: ["limit", "cursor"])
        let place = try ListPlace(call, self, filters: filters, now: clock.now())
        let items = try await read(place.after?.position, place.limit)
        return .list(items, next: place.next(count: items.count, items.last.map(id)), of: call, write)
    }
}
