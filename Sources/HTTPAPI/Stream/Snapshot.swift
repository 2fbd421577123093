// What an account's orders are now, in parts: the begin of a stream, and what follows a gap (INTERFACES.md 2.3).
//
// Invariants: the sequence is read first, so an order in a part may be newer than it; its event then comes again, with
// a version that the client holds already. One part is in memory at a time, whoever reads them.

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// Reads the open orders of an account, then those that ended within a day. Reads as the account, whoever calls.
struct SnapshotReader: Sendable {
    struct Part: Sendable {
        let text: [UInt8]
        /// After it the snapshot is whole.
        let isLast: Bool
    }

    private enum Stage {
        case begin
        case open(before: OrderID?)
        case ended(before: OrderID?)
        case last
        case over
    }

    private static let pageSize = 50
    private static let dayMicroseconds: Int64 = 86_400_000_000

    private let backend: Backend
    private let account: Account
    private var stage = Stage.begin
    private var parts = 0
    /// Events follow from it; known with the first part.
    private(set) var sequence: Int64 = 0

    init(of account: Account, _ backend: Backend) {
        self.account = account
        self.backend = backend
    }

    /// The next part; nil after the last.
    mutating func next() async throws -> Part? {
        var reader = self
        defer { self = reader }
        return try await Tenancy.$accounts.withValue([account.id]) { try await reader.read() }
    }

    private mutating func read() async throws -> Part? {
        while true {
            switch stage {
            case .begin:
                sequence = try await backend.orders.lastSequence(account: account.id)
                stage = .open(before: nil)
            case .open(let before):
                let orders = try await page(["PENDING", "ACTIVE", "PARTIALLY_CLOSED", "TRIGGERED"], before)
                stage = orders.count == Self.pageSize ? .open(before: orders.last?.id) : .ended(before: nil)
                if !orders.isEmpty { return try await part(orders, isLast: false) }
            case .ended(let before):
                // The last version of an ended order is its end: however old the order is, and however many came after it.
                let since = Timestamp(microseconds: backend.clock.now().microseconds - Self.dayMicroseconds)
                let ended = ["CLOSED", "STOPPED", "CANCELLED", "FAILED", "FILLED"]
                let orders = try await page(ended, before, updatedSince: since)
                stage = orders.count < Self.pageSize ? .last : .ended(before: orders.last?.id)
                if !orders.isEmpty { return try await part(orders, isLast: false) }
            case .last:
                stage = .over
                return try await part([], isLast: true)
            case .over: return nil
            }
        }
    }

    private func page(
        _ statuses: [String],
        _ before: OrderID?,
        updatedSince: Timestamp? = nil,
    ) async throws(StoreError) -> [ReadOrder] {
        var filter = OrderFilter(account: account.id, limit: Self.pageSize)
        filter.statuses = statuses
        filter.before = before
        filter.updatedSince = updatedSince
        return try await backend.orders.page(filter)
    }

    private mutating func part(_ orders: [ReadOrder], isLast: Bool) async throws -> Part {
        parts += 1
        let page = try await backend.shown(orders) { _ in account }
        var writer = JSONWriter(reserving: page.bytes)
        writer.beginObject()
        writer.member("type", "snapshot")
        writer.member("account", account.id.description)
        writer.member("epoch", backend.epoch.now)
        writer.member("seq", sequence)
        writer.key("orders")
        writer.beginArray()
        await backend.write(page, to: &writer)
        writer.endArray()
        writer.key("conditionalOrders")
        writer.beginArray()
        for order in orders.compactMap(\.conditional) { writer.conditionalOrder(order, mode: account.orderMode) }
        writer.endArray()
        writer.member("part", parts)
        writer.member("last", isLast)
        writer.endObject()
        return Part(text: writer.take(), isLast: isLast)
    }
}
