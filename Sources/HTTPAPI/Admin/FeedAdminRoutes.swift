// Feeds of prices over HTTP (INTERFACES.md 4.12): a connection made anew, a stretch asked for once more.

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

struct FeedAdminRoutes: Sendable {
    let admin: AdminRoutes

    /// The longest stretch that is asked for at once.
    private static let maximumStretch: Int64 = 6 * 3_600_000_000

    var routes: [Route] {
        [
            admin.post("/feeds/{id}/restart", restart),
            admin.post("/feeds/backfill", fields: ["market", "source", "from", "to"], backfill),
        ]
    }

    @Sendable
    private func restart(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        let feed = call.captures[0]
        guard AdminRoutes.isWord(feed) else { throw Problem.notFound }
        return try await admin.once("feeds.restart", "feed \(feed)", call, caller, order) {
            guard try await admin.control.restartFeed(feed, admin.note(caller, order)) else { throw Problem.notFound }
        }
    }

    /// The feed asks its venue within seconds; what became of it is in the list of feeds.
    @Sendable
    private func backfill(_ call: Call, _ caller: Caller, _ order: AdminRoutes.Order) async throws -> Reply {
        let market = try order.json.required("market", expected: "a market id")
            .parsed(.badID, expected: "a market id") { MarketID($0) }
        let source: TriggerSource = try order.json.optional("source")?.choice() ?? .last
        let from = try order.json.required("from", expected: "a time (RFC 3339)").timestamp()
        let end = try order.json.required("to", expected: "a time (RFC 3339)")
        let to = try end.timestamp()
        guard to >= from, to.microseconds - from.microseconds <= Self.maximumStretch else {
            throw end.error(.wrongType, expected: "a time after `from`, at most 6 hours")
        }
        guard from.microseconds >= 0, to <= admin.backend.clock.now() else {
            throw end.error(.wrongType, expected: "a time in the past")
        }
        guard try await admin.control.isKnown(.market, "\(market)") else { throw Problem.notFound }
        let series = PriceSeries(market: market, source: source)
        return try await admin.once("feeds.backfill", "series \(series)", call, caller, order) {
            try await admin.control.askBackfill(of: series, from: from, to: to, admin.note(caller, order))
        }
    }
}
