// Events in plain words, one line each, as they happen.
import JSONText
import OrderEngine
import SmartOrders

enum EventTeller {
    /// What a trader would want to read of one event; nil when it says nothing new.
    static func sentence(_ event: StoredEvent, label: String) -> String? {
        guard let root = try? JSONValue(parsing: event.json),  // tidy-ok: a line of the console, nothing else
            case .object(let object) = root, case .array(let facts)? = object["facts"]
        else { return nil }
        let parts = facts.compactMap { fact -> String? in
            guard case .object(let fact) = fact else { return nil }
            return words(fact)
        }
        guard !parts.isEmpty else { return nil }
        let price = event.tick.map { " at \($0.price)" } ?? ""
        return "\(label)\(price): " + parts.joined(separator: ", ")
    }

    private static func words(_ fact: JSONObject) -> String? {
        func text(_ key: String) -> String {
            switch fact[key] {
            case .string(let text): text
            case .number(let text): text
            case .null, nil: "none"
            case .bool(let flag): "\(flag)"
            case .array, .object: ""
            }
        }
        switch text("type") {
        case "created": return "created"
        case "activated": return "position open, legs are watched"
        case "levelTriggered": return "TP\(text("level")) reached, exit placed"
        case "levelFilled": return "TP\(text("level")) FILLED"
        case "levelRearmed": return "TP\(text("level")) armed again"
        case "levelCancelled": return "TP\(text("level")) cancelled"
        case "breakEvenArmed": return "stop moves to break-even \(text("price"))"
        case "stopMoved": return "stop \(text("from")) -> \(text("to")) (\(text("kind")))"
        case "stopLatched": return "STOP fired (\(text("kind")) \(text("price")))"
        case "stopRetried": return "stop tried again"
        case "trailingActivated": return "trailing starts"
        case "fill":
            guard case .object(let fill)? = fact["fill"] else { return nil }
            let quantity = fill["qty"]?.text ?? "?"
            return "\(fill["purpose"]?.text ?? "?") filled \(quantity) @ \(fill["price"]?.text ?? "?")"
        case "statusChanged":
            let reason = text("reason")
            return "\(text("from")) -> \(text("to"))" + (reason == "none" ? "" : " (\(reason))")
        case "healthChanged": return "health \(text("from")) -> \(text("to"))"
        case "halted": return "halted (\(text("level"))): \(text("reason"))"
        case "resumed": return "trades again"
        case "writtenOff": return "written off \(text("qty"))"
        default: return nil  // tidy-ok: facts that say nothing to a newcomer
        }
    }
}
