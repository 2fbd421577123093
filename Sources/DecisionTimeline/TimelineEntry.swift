// One line of an order's history as a person reads it (ORDERS.md 9.1, INTERFACES.md 1.13).
//
// Everything in it comes from stored facts; what is not known is nil.
public import JSONText
public import OrderEngine
public import SmartOrders

public struct TimelineEntry: Sendable {
    public enum Kind: String, Sendable {
        case fired = "FIRED"
        case moved = "MOVED"
        case armed = "ARMED"
        case refused = "REFUSED"
        case retried = "RETRIED"
        case answered = "ANSWERED"
        case filled = "FILLED"
        case recovered = "RECOVERED"
        case gap = "GAP"
        case changed = "CHANGED"
        /// A job whose work was done already.
        case obsolete = "OBSOLETE"
    }

    /// Nil: it changed nothing.
    public var version: Int64?
    public var at: Timestamp
    public var kind: Kind
    /// `SL`, `TP1`, `PS1`, `ENTRY`, `CLOSE`, `COND`, ...; nil: of the whole order.
    public var leg: String?
    public var cause: EventCause?
    public var actor: Actor?
    public var requestID: String?
    public var tick: Tick?
    public var job: String?
    public var shard: Int?
    /// The objects of INTERFACES.md 1.13; nil: the version has none.
    public var rule: JSONObject?
    public var choice: JSONObject?
    public var quantity: JSONObject?
    public var orders: [JSONValue] = []
    public var answers: [JSONValue] = []
    public var fills: [JSONValue] = []
    public var changes: [FieldChange] = []
    public var times = Times()
    /// What happened, in one sentence.
    public var text: String
    /// What else happened with it, a sentence each.
    public var also: [String] = []

    /// When each step was done, by the clock of who did it.
    public struct Times: Sendable {
        public var receivedAt: Timestamp?
        public var crossedAt: Timestamp?
        public var takenAt: Timestamp?
        public var committedAt: Timestamp?
        public var sentAt: Timestamp?
        public var answeredAt: Timestamp?
        public var filledAt: Timestamp?
        public init() {}
    }
}

/// One field of the row that a version changed; paths as `levels[0].state`.
public struct FieldChange: Hashable, Sendable {
    public let path: String
    /// Nil: it was not there.
    public let from: JSONValue?
    public let to: JSONValue?

    public init(path: String, from: JSONValue?, to: JSONValue?) {
        self.path = path
        self.from = from
        self.to = to
    }

    /// Every difference between two rows, in the order of the fields. Version and time of change are the entry's own.
    public static func between(_ before: JSONValue?, _ after: JSONValue) -> [FieldChange] {
        var changes: [FieldChange] = []
        collect(before, after, "", &changes)
        return changes.filter { $0.path != "version" && $0.path != "updatedAt" }
    }

    private static func collect(_ a: JSONValue?, _ b: JSONValue?, _ path: String, _ changes: inout [FieldChange]) {
        if a == b { return }
        switch (a, b) {
        case (.object(let old)?, .object(let new)?):
            for member in new.members {
                collect(old[member.key], member.value, path.isEmpty ? member.key : "\(path).\(member.key)", &changes)
            }
            for member in old.members where new[member.key] == nil {
                collect(member.value, .none, path.isEmpty ? member.key : "\(path).\(member.key)", &changes)
            }
        case (.array(let old)?, .array(let new)?) where isListOfObjects(old) && isListOfObjects(new):
            for index in 0..<max(old.count, new.count) {
                // `nil` alone would be the JSON null.
                let a = index < old.count ? old[index] : Optional<JSONValue>.none
                let b = index < new.count ? new[index] : Optional<JSONValue>.none
                collect(a, b, "\(path)[\(index)]", &changes)
            }
        case (nil, .object(let new)?) where path.isEmpty:
            for member in new.members { changes.append(FieldChange(path: member.key, from: nil, to: member.value)) }
        case _: changes.append(FieldChange(path: path, from: a, to: b))
        }
    }

    private static func isListOfObjects(_ list: [JSONValue]) -> Bool {
        list.allSatisfy { if case .object = $0 { true } else { false } }
    }
}

extension Leg {
    /// As people write it: `SL`, `TP1`, `CLOSE`.
    var shown: String { description.uppercased() }
}

extension LegThreshold.Role {
    /// The leg that it belongs to, as people write it.
    var leg: String {
        switch self {
        case .entry: "ENTRY"
        case .entryActivation: "ENTRY_ACTIVATION"
        case .stop, .timeout, .emergency: "SL"
        case .partialStop(let number): "PS\(number)"
        case .takeProfit(let number): "TP\(number)"
        case .activation: "ACTIVATION"
        case .step(let number): "STEP\(number)"
        case .breakEvenArming: "BE_ARM"
        case .conditional: Leg.conditional.shown
        }
    }

    /// The kind of its threshold.
    var kind: String {
        switch self {
        case .entry: "ENTRY"
        case .entryActivation, .activation: "ACTIVATION"
        case .stop(let kind): kind.rawValue
        case .timeout: "TIMEOUT"
        case .emergency: "EMERGENCY"
        case .partialStop: "PS"
        case .takeProfit: "TP"
        case .step: "STEP"
        case .breakEvenArming: "BE_ARM"
        case .conditional: "TRIGGER"
        }
    }
}
