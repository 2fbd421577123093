// Changes of a plan that only take risk away: they count as protection, in a bucket of their own (INTERFACES.md 1.8).
//
// Judged by the plan alone: what cannot be compared (another kind of callback, another way to leave) is no tightening.

internal import JSONText
internal import OrderJSON
internal import SmartOrders

extension OrderEdit {
    /// What such a change may name.
    private static let protectiveFields: Set<String> = ["stopLoss", "trailing", "breakEven"]

    /// Whether a body names nothing else, so that it is worth a look at its order.
    static func mayTighten(_ body: JSONValue) -> Bool {
        guard case .object(let named) = body, !named.isEmpty else { return false }
        return named.keys.allSatisfy { protectiveFields.contains($0) }
    }

    /// Whether it leaves a stop, a trailing stop and a break-even of `order` at least as tight as they are.
    func onlyTightens(_ order: SmartOrder) -> Bool {
        var others = self
        others.stopLoss = nil
        others.trailing = nil
        others.breakEven = nil
        guard others == OrderEdit(), self != OrderEdit() else { return false }
        let plan = order.draft
        return Self.keeps(stopLoss, plan.stopLoss) { Self.isTighter($0, than: $1, order.side) }
            && Self.keeps(trailing, plan.trailing, Self.isTighter)
            && Self.keeps(breakEven, plan.breakEven) { $0 == $1 || ($0.enabled && !$1.enabled) }
    }

    /// - Parameter change: nil: it stays as it is; nil inside: it is removed.
    private static func keeps<Part>(_ change: Part??, _ present: Part?, _ isTighter: (Part, Part) -> Bool) -> Bool {
        guard let change else { return true }
        guard let wanted = change else { return false }
        return present.map { isTighter(wanted, $0) } ?? true
    }

    private static func isTighter(_ wanted: StopLossPlan, than present: StopLossPlan, _ side: Side) -> Bool {
        var same = wanted
        same.price = present.price
        guard same == present else { return false }
        return switch side {
        case .buy: wanted.price >= present.price
        case .sell: wanted.price <= present.price
        }
    }

    private static func isTighter(_ wanted: TrailingPlan, than present: TrailingPlan) -> Bool {
        guard wanted.activationPrice == present.activationPrice else { return false }
        return switch (wanted.callback, present.callback) {
        case (.rate(let wanted), .rate(let present)): wanted <= present
        case (.amount(let wanted), .amount(let present)): wanted <= present
        case (.rate, .amount), (.amount, .rate): false
        }
    }
}
