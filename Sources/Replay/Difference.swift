// How what came out is compared with what was expected (scenarios/README.md 4).

internal import JSONText
internal import SmartOrders

/// The first place where an outcome is not what was expected.
struct Difference {
    let path: String
    let want: JSONValue
    let got: JSONValue

    /// In the order of the table of expectations: what comes first is told first.
    private static let order = [
        "condition", "firedAt", "stateSequence", "closeReason", "orders", "grossPnl", "fees", "netPnl", "stops",
        "tpFinal", "tpQty", "tpTransitions", "progress", "avgEntry", "openQty", "dust", "restingAtEnd", "notes",
        "results",
    ]

    /// Compares exactly what `expect` names, and the contradictions that a run found by itself.
    static func first(expect: JSONObject, outcome: JSONObject) -> Difference? {
        for key in order {
            guard let want = expect[key] else { continue }
            if let difference = first(want: want, got: outcome[key], path: "/\(key)") { return difference }
        }
        if let defects = outcome["defects"] { return Difference(path: "/defects", want: [], got: defects) }
        return nil
    }

    private static func first(want: JSONValue, got: JSONValue?, path: String) -> Difference? {
        switch (want, got) {
        case (.array(let wanted), .array(let found)):
            for index in 0..<max(wanted.count, found.count) {
                let path = "\(path)/\(index)"
                guard index < wanted.count else { return Difference(path: path, want: .null, got: found[index]) }
                let got = index < found.count ? found[index] : nil
                if let difference = first(want: wanted[index], got: got, path: path) { return difference }
            }
            return nil
        case (.object(let wanted), .object(let found)):
            for member in wanted.members {
                let path = "\(path)/\(member.key)"
                if let difference = first(want: member.value, got: found[member.key], path: path) { return difference }
            }
            return nil
        case (.string(let wanted), .string(let found)):
            if wanted == found { return nil }
            if let left = ExactDecimal(wanted), let right = ExactDecimal(found),
                left.rounded(decimals: 12) == right.rounded(decimals: 12)
            {
                return nil
            }
        case (let wanted, let found): if wanted == found ?? .null { return nil }
        }
        return Difference(path: path, want: want, got: got ?? .null)
    }
}
