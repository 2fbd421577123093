// A stored event as history, stream and webhooks show it (INTERFACES.md 1.10).

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// An event of the store with its parts read. The store gives `{"facts": [...], "state": {...}}`.
struct EventText: Sendable {
    let event: StoredEvent
    let facts: JSONValue
    /// The row after the event.
    let stored: StoredOrder

    /// - Throws: `StoreError.corruptRow`; an event is never skipped.
    init(_ event: StoredEvent) throws(StoreError) {
        self.event = event
        do throws(JSONError) {
            let json = JSONField(try JSONValue(parsing: event.json))
            facts = try json.required("facts", expected: "facts").value
            stored = try StoredOrder(state: json.required("state", expected: "an order's state"))
        } catch {
            throw StoreError(.corruptRow, "event \(event.sequence) of \(event.account): \(error)")
        }
    }

    /// The Event object.
    func encoded(mode: OrderContext.Mode, epoch: Int64) -> [UInt8] {
        var writer = JSONWriter(reserving: 4_096)
        writer.beginObject()
        writer.eventMembers(header(epoch: epoch))
        writer.member("facts", value: facts)
        switch stored {
        case .smart(let order):
            writer.key("order")
            writer.order(order, context: OrderContext(mode: mode))
        case .conditional(let order):
            writer.key("conditionalOrder")
            writer.conditionalOrder(order, mode: mode)
        }
        writer.endObject()
        return writer.take()
    }

    private func header(epoch: Int64) -> EventHeader {
        EventHeader(
            sequence: event.sequence,
            epoch: epoch,
            account: event.account,
            order: event.order,
            version: event.version,
            at: event.at,
            cause: cause,
            actor: EventHeader.Actor(kind: actorKind, id: event.actor.id, label: event.actor.id),
            tick: event.tick,
        )
    }

    private var cause: EventHeader.Cause {
        switch event.cause {
        case .command: .command
        case .tick: .tick
        case .fill: .fill
        case .venueAnswer: .venueAnswer
        case .timer: .timer
        case .position: .position
        case .reconcile: .reconcile
        case .recovery: .recovery
        }
    }

    private var actorKind: EventHeader.Actor.Kind {
        switch event.actor.kind {
        case .worker: .worker
        case .key: .key
        case .user: .user
        case .hook: .hook
        case .operator: .operator
        }
    }
}
