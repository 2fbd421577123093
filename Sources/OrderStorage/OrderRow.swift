// The searchable and guarded columns of an order, derived from a decision.

internal import OrderEngine
internal import SmartOrders

/// What `orders` holds beside the state, as far as it needs thought.
struct OrderRow {
    let armed: ArmedOrder
    let entered: Quantity
    let exited: Quantity
    let reserved: Quantity
    let overExit: Quantity
    /// Conditional legs that are active (ORDERS.md R12.4).
    let legs: Int
    let isLatched: Bool
    /// The exit to try, where one is wanted, something is free and nothing is under way.
    let wanted: VenueOrderKey?
    /// The side of the position that the order follows; nil: it owns a quantity of its own.
    let whole: Side?
    /// 0 takes no send right, 1 only rights that lessen what is held, 2 others too.
    let sends: Int

    init(_ commit: Commit) {
        let order = commit.next
        armed = ArmedOrder(order)
        reserved = order.smart?.claimed ?? .zero
        // A fact is stored even if it breaks the sum, a wish is not (RELIABILITY.md 3.1.1): only a commit that asks for
        // nothing may put the excess aside, any other runs into the constraint.
        let isWish = !commit.sendRights.isEmpty || commit.venueOrders.contains { $0.state == .intent }
        // A conditional order owns no quantity: it enters nothing and its fills are no exits of it.
        entered = order.smart?.entered ?? .zero
        let gone = order.smart?.exited ?? .zero
        let bound = isWish ? entered : max(.zero, entered - reserved)
        exited = min(gone, bound)
        overExit = gone - exited
        legs = order.activeLegs
        wanted = order.wantedExit
        isLatched = order.isLatched
        whole = order.smart.flatMap { $0.draft.sizeMode == .position ? $0.draft.side : nil }
        let adds = commit.venueOrders.contains { intent in
            !order.isExit(intent) && commit.sendRights.contains { $0.key == intent.key }
        }
        sends = commit.sendRights.isEmpty ? 0 : adds ? 2 : 1
    }
}

extension StoredOrder {
    /// One for a conditional order (R12.4).
    var activeLegs: Int {
        switch self {
        case .smart(let order): order.activeLegs
        case .conditional(let order): order.status.isTerminal ? 0 : 1
        }
    }

    /// What the sweep brings up: an exit that is wanted while nothing is under way.
    var wantedExit: VenueOrderKey? {
        switch self {
        case .smart(let order): order.wantedExit
        case .conditional(let order): order.wantedPlacement
        }
    }

    /// Nil: it has ended. A conditional order waits like an entry.
    var storedPhase: String? {
        switch self {
        case .smart(let order): order.phase?.rawValue
        case .conditional(let order):
            switch order.status {
            case .pending: OrderPhase.waitingEntry.rawValue
            case .triggered: OrderPhase.entryWorking.rawValue
            case .filled, .cancelled: nil
            }
        }
    }
}

extension ConditionalOrder {
    /// It fired and nothing of it is at the venue (RELIABILITY.md 3.3).
    var wantedPlacement: VenueOrderKey? {
        isDue ? VenueOrderKey(leg: .conditional, attempt: attempts + 1) : nil
    }
}

extension SmartOrder {
    /// Levels, the full stop, partial stops that may still fire.
    var activeLegs: Int {
        guard !status.isTerminal else { return 0 }
        let levels = levels.filter { $0.state == .pending || $0.state == .triggered }.count
        let stops = draft.stopLoss != nil || draft.trailing != nil ? 1 : 0
        let partial = partialStops.filter { $0.state == .pending || $0.state == .latched }.count
        return levels + stops + partial
    }

    /// A latched stop or a closing order with free quantity and no live exit: the sweep brings it up (RELIABILITY.md 3.3).
    var wantedExit: VenueOrderKey? {
        guard !status.isTerminal, free.isPositive else { return nil }
        let leg: Leg
        if latch != nil {
            leg = .stop
        } else if phase == .closing {
            leg = .close
        } else {
            return nil
        }
        guard !venueOrders.contains(where: { $0.side != draft.side && $0.state.isLive && !isUnclaimed($0) })
        else { return nil }
        return VenueOrderKey(leg: leg, attempt: (attempts[leg] ?? 0) + 1)
    }
}

extension Fill.FeeAsset {
    var stored: String {
        switch self {
        case .quote: "quote"
        case .base: "base"
        case .other(let name): "other:\(name)"
        }
    }

    init?(stored: String) {
        switch stored {
        case "quote": self = .quote
        case "base": self = .base
        default:
            guard stored.hasPrefix("other:") else { return nil }
            self = .other(String(stored.dropFirst("other:".count)))
        }
    }
}

extension JobClass {
    var stored: Int {
        switch self {
        case .stops: 0
        case .targets: 1
        case .housekeeping: 2
        }
    }

    init?(stored: Int64) {
        switch stored {
        case 0: self = .stops
        case 1: self = .targets
        case 2: self = .housekeeping
        default: return nil
        }
    }
}
