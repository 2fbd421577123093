// What an account's orders are now, in parts: the begin of a stream, and what follows a gap (INTERFACES.md 2.3).

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

extension Backend {
    private static let snapshotPage = 50
    /// Ended orders that a snapshot looks at, newest first, for those that ended within a day.
    private static let endedOrders = 1_000
    private static let dayMicroseconds: Int64 = 86_400_000_000

    /// Writes the open orders, and those that ended within a day, in parts. The sequence is read first: an order in a
    /// part may be newer than it, and its event then comes again with a version that the client holds already.
    /// - Returns: the sequence from which events follow.
    func writeSnapshot(_ account: Account, _ send: ([UInt8], Int64) async throws -> Void) async throws -> Int64 {
        let sequence = try await orders.lastSequence(account: account.id)
        let since = clock.now().microseconds - Self.dayMicroseconds
        var part = 0
        var filter = OrderFilter(account: account.id, limit: Self.snapshotPage)
        filter.statuses = ["PENDING", "ACTIVE", "PARTIALLY_CLOSED", "TRIGGERED"]
        while true {
            let orders = try await orders.list(filter)
            if !orders.isEmpty {
                part += 1
                try await send(await snapshot(account, sequence, orders, part: part, isLast: false), sequence)
            }
            guard orders.count == Self.snapshotPage, let last = orders.last else { break }
            filter.before = last.id
        }
        filter = OrderFilter(account: account.id, limit: Self.snapshotPage)
        filter.statuses = ["CLOSED", "STOPPED", "CANCELLED", "FAILED", "FILLED"]
        var seen = 0
        while seen < Self.endedOrders {
            let orders = try await orders.list(filter)
            seen += orders.count
            let recent = orders.filter { $0.updatedAt.microseconds >= since }
            if !recent.isEmpty {
                part += 1
                try await send(await snapshot(account, sequence, recent, part: part, isLast: false), sequence)
            }
            guard orders.count == Self.snapshotPage, let last = orders.last else { break }
            filter.before = last.id
        }
        try await send(await snapshot(account, sequence, [], part: part + 1, isLast: true), sequence)
        return sequence
    }

    private func snapshot(
        _ account: Account,
        _ sequence: Int64,
        _ orders: [StoredOrder],
        part: Int,
        isLast: Bool,
    ) async
        -> [UInt8]
    {
        var writer = JSONWriter(reserving: 256 + 4_096 * orders.count)
        writer.beginObject()
        writer.member("type", "snapshot")
        writer.member("account", account.id.description)
        writer.member("epoch", configuration.epoch)
        writer.member("seq", sequence)
        writer.key("orders")
        writer.beginArray()
        for order in orders.compactMap(\.smart) {
            writer.order(order, context: await context(of: order, in: account))
        }
        writer.endArray()
        writer.key("conditionalOrders")
        writer.beginArray()
        for order in orders.compactMap(\.conditional) { writer.conditionalOrder(order, mode: account.orderMode) }
        writer.endArray()
        writer.member("part", part)
        writer.member("last", isLast)
        writer.endObject()
        return writer.take()
    }
}
