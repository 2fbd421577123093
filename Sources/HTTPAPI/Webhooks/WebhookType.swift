// What webhooks are told of: the types of INTERFACES.md 1.16, from the facts of an event.

internal import JSONText
internal import OrderEngine
internal import SmartOrders

/// The kind of thing that a webhook is told of, the most important first.
enum WebhookType: String, CaseIterable {
    case orderFailed = "order.failed"
    case orderStopped = "order.stopped"
    case orderClosed = "order.closed"
    case orderCancelled = "order.cancelled"
    case orderAttention = "order.attention"
    case orderStopLatched = "order.stopLatched"
    case orderPartiallyClosed = "order.partiallyClosed"
    case orderLevelFilled = "order.levelFilled"
    case orderLevelTriggered = "order.levelTriggered"
    case orderBreakEven = "order.breakEven"
    case orderCreated = "order.created"
    case orderActivated = "order.activated"
    /// Anything else that made a version.
    case orderModified = "order.modified"
    case gapOpened = "protection.gapOpened"
    case gapClosed = "protection.gapClosed"
    case accountHalted = "account.halted"
    case accountResumed = "account.resumed"
    case accountReconciled = "account.reconciled"
    case webhookDisabled = "webhook.disabled"
    /// Asked for by its owner.
    case webhookTest = "webhook.test"

    /// What an event is, by its facts; never empty.
    static func all(of facts: JSONValue) -> Set<WebhookType> {
        guard case .array(let facts) = facts else { return [.orderModified] }
        let types = Set(facts.compactMap { kind(of: $0) })
        return types.isEmpty ? [.orderModified] : types
    }

    /// The type that a delivery has.
    static func mostImportant(_ types: Set<WebhookType>) -> WebhookType {
        allCases.first { types.contains($0) } ?? .orderModified
    }

    private static func kind(of fact: JSONValue) -> WebhookType? {
        switch fact["type"]?.text {
        case "created": return .orderCreated
        case "activated": return .orderActivated
        case "modified", "fundsAdded", "fundsReduced": return .orderModified
        case "levelTriggered": return .orderLevelTriggered
        case "levelFilled": return .orderLevelFilled
        case "breakEvenArmed": return .orderBreakEven
        case "stopLatched": return .orderStopLatched
        case "healthChanged": return fact["to"]?.text == OrderHealth.needsAttention.rawValue ? .orderAttention : nil
        case "statusChanged":
            guard let text = fact["to"]?.text else { return nil }
            if let status = OrderStatus(rawValue: text) { return kind(of: status) }
            return ConditionalStatus(rawValue: text).flatMap { kind(of: $0) }
        case _: return nil
        }
    }

    private static func kind(of status: OrderStatus) -> WebhookType? {
        switch status {
        case .pending: nil
        case .active: .orderActivated
        case .partiallyClosed: .orderPartiallyClosed
        case .closed: .orderClosed
        case .stopped: .orderStopped
        case .cancelled: .orderCancelled
        case .failed: .orderFailed
        }
    }

    private static func kind(of status: ConditionalStatus) -> WebhookType? {
        switch status {
        case .pending: nil
        case .triggered: .orderLevelTriggered
        case .filled: .orderClosed
        case .cancelled: .orderCancelled
        }
    }
}
