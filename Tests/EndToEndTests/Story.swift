// What happened to one order, in the words that a backtest and a deployment have in common.
import JSONText

/// Facts and results without what only one of the two has: venue ids, the venue's clock, which facts share a version.
struct Story: Hashable, Sendable {
    struct Trigger: Hashable, Sendable {
        let tick: Int64?
        let price: String?
        let what: String
    }
    var facts: [String] = []
    /// Stops that latched and levels that fired, with their ticks.
    var triggers: [Trigger] = []
    /// Purpose, quantity, price.
    var fills: [String] = []
    let status: String?
    let reason: String?
    let profit: String?
    let open: String?

    /// - Parameters:
    ///   - changes: each with `tick`, `price`, `facts`.
    ///   - result: with `status`, `closeReason`, `grossPnl`, `openQty`.
    init(changes: JSONValue?, result: JSONValue?) {
        status = result?["status"]?.text
        reason = result?["closeReason"]?.text
        profit = result?["grossPnl"]?.text
        open = result?["openQty"]?.text
        for change in Self.elements(changes) {
            for fact in Self.elements(change["facts"]) { add(fact, of: change) }
        }
    }

    static func elements(_ value: JSONValue?) -> [JSONValue] {
        guard case .array(let elements)? = value else { return [] }
        return elements
    }

    private mutating func add(_ fact: JSONValue, of change: JSONValue) {
        let type = fact["type"]?.text ?? "?"
        switch type {
        case "fill":
            let words = ["purpose", "qty", "price", "fee", "maker"].map { fact["fill"]?[$0]?.text ?? "-" }
            facts.append("fill \(words.joined(separator: " "))")
            fills.append(words[..<3].joined(separator: " "))
        // A backtest's venue answers at once: nothing is ever only submitted.
        case "venueOrder" where fact["outcome"]?.text == "SUBMITTED": break
        case "stopLatched", "levelTriggered":
            let what = "\(type) \(fact["kind"]?.text ?? fact["level"]?.text ?? "")"
            triggers.append(Trigger(tick: change["tick"]?.int64, price: change["price"]?.text, what: what))
            facts.append("\(fact)")
        default: facts.append("\(fact)")
        }
    }
}
