// What became of the orders of a development run.
import JSONText
import OrderEngine
import OrderJSON
import OrderStorage
import SmartOrders

enum DevSummary {
    static func show(_ orders: [SmartOrder], labels: [DevOrder], store: PostgresOrderStore, json: Bool) async throws {
        var table = Table(header: ["order", "market", "status", "reason", "targets", "stop", "fills", "gross PnL"])
        var lines: [String] = []
        for (order, planned) in zip(orders, labels) {
            let fills = try await store.fills(order: order.id)
            let filled = order.levels.filter { $0.state == .filled }.count
            let stop =
                order.latch.map { "\($0.kind.rawValue) \($0.price)" } ?? order.effectiveStop.map {
                    "\($0.kind.rawValue) \($0.price)"
                } ?? "-"
            let told = fills.map { "\($0.key.leg) \($0.fill.quantity)@\($0.fill.price)" }.joined(separator: " ")
            table.rows.append([
                planned.label,
                order.instrument.market.symbol,
                order.status.rawValue + (planned.expected == nil || planned.expected == order.status ? "" : " (!)"),
                order.closeReason?.rawValue ?? "-",
                order.levels.isEmpty ? "-" : "\(filled)/\(order.levels.count)",
                stop,
                told.isEmpty ? "-" : told,
                "\(order.realized)",
            ])
            if json { lines.append(try await document(order, label: planned.label, fills: fills, store: store)) }
        }
        if json {
            for line in lines { SmartOrdersCLI.show(line) }
        } else {
            for line in table.lines { SmartOrdersCLI.show(line) }
        }
    }

    /// One order as JSON: its end, its fills, and every event.
    private static func document(
        _ order: SmartOrder,
        label: String,
        fills: [(key: VenueOrderKey, fill: Fill)],
        store: PostgresOrderStore,
    ) async throws -> String {
        var object = JSONObject()
        object["label"] = .string(label)
        object["order"] = .string("\(order.id)")
        object["market"] = .string("\(order.instrument.market)")
        object["status"] = .string(order.status.rawValue)
        object["closeReason"] = order.closeReason.map { .string($0.rawValue) } ?? .null
        object["grossPnl"] = .string("\(order.realized)")
        object["openQty"] = .string("\(order.remaining)")
        object["fills"] = .array(
            fills.map { entry in
                var fill = JSONObject()
                fill["purpose"] = .string("\(entry.key.leg)")
                fill["qty"] = .string("\(entry.fill.quantity)")
                fill["price"] = .string("\(entry.fill.price)")
                return .object(fill)
            }
        )
        var changes: [JSONValue] = []
        for event in try await store.events(order: order.id, after: 0, limit: 1_000) {
            var change = JSONObject()
            change["version"] = .integer(Int(event.version ?? 0))
            change["tick"] = event.tick.map { .integer(Int($0.position.sequence)) } ?? .null
            change["price"] = event.tick.map { .string("\($0.price)") } ?? .null
            if case .object(let body) = try JSONValue(parsing: event.json) { change["facts"] = body["facts"] ?? .null }
            changes.append(.object(change))
        }
        object["changes"] = .array(changes)
        return "\(JSONValue.object(object))"
    }
}
