// A stored event as history, stream and webhooks show it (INTERFACES.md 1.10).

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// An event of the store with its parts read. The store gives `{"facts": [...], "state": {...}}`.
struct EventText: Sendable {
    let event: StoredEvent
    /// What an event is about.
    enum Subject: Sendable {
        /// The row after it.
        case order(StoredOrder)
        /// The account after it.
        case account(JSONValue)
    }

    let facts: JSONValue
    let subject: Subject

    /// - Throws: `StoreError.corruptRow`; an event is never skipped.
    init(_ event: StoredEvent) throws(StoreError) {
        self.event = event
        do throws(JSONError) {
            let json = JSONField(try JSONValue(parsing: event.json))
            facts = try json.required("facts", expected: "facts").value
            let state = try json.required("state", expected: "what it is about")
            subject = event.order == nil ? .account(state.value) : .order(try StoredOrder(state: state))
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
        switch subject {
        case .order(.smart(let order)):
            writer.key("order")
            writer.order(order, context: OrderContext(mode: mode))
        case .order(.conditional(let order)):
            writer.key("conditionalOrder")
            writer.conditionalOrder(order, mode: mode)
        case .account(let account): writer.member("account", value: account)
        }
        writer.endObject()
        return writer.take()
    }

    /// Its name in an event source (INTERFACES.md 2.6).
    var name: String {
        switch subject {
        case .order(.smart): "order"
        case .order(.conditional): "conditional"
        case .account: "account"
        }
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
            requestID: event.requestID,
            tick: event.tick,
            tickReceivedAt: event.tick == nil ? nil : event.tickReceivedAt,
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
