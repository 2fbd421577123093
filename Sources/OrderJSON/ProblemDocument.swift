// Refusals as RFC 9457 problem documents (INTERFACES.md 1.6).

public import JSONText
public import SmartOrders

/// One `application/problem+json` document.
public struct ProblemDocument: Sendable {
    public struct Violation: Sendable {
        /// RFC 6901 pointer into the request's body.
        public var pointer: String
        public var code: String
        public var detail: String
        /// Further members, as documented per code.
        public var members: JSONObject
        public init(pointer: String, code: String, detail: String, members: JSONObject = [:]) {
            self.pointer = pointer
            self.code = code
            self.detail = detail
            self.members = members
        }
    }

    public var status: Int
    public var code: String
    public var title: String
    public var detail: String
    public var instance: String?
    public var violations: [Violation]
    public var requestID: String?
    /// The same request can succeed later.
    public var isRetryable: Bool
    /// Further members, as documented per code.
    public var members: JSONObject

    public init(
        status: Int,
        code: String,
        title: String,
        detail: String,
        instance: String? = nil,
        violations: [Violation] = [],
        requestID: String? = nil,
        isRetryable: Bool = false,
        members: JSONObject = [:],
    ) {
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.instance = instance
        self.violations = violations
        self.requestID = requestID
        self.isRetryable = isRetryable
        self.members = members
    }

    /// All violations of a draft; the first one names the document. Nil without any.
    public init?(refusals: [Refusal], instance: String? = nil, requestID: String? = nil) {
        guard let first = refusals.first else { return nil }
        self.init(
            status: first.code.httpStatus,
            code: first.code.rawValue,
            title: first.code.title,
            detail: first.detail,
            instance: instance,
            // One that concerns no field and says no more is the document itself.
            violations: refusals.count == 1 && first.field == nil && first.members.all.isEmpty
                ? [] : refusals.map { Violation($0) },
            requestID: requestID,
            members: first.members.json.without(Self.ownMembers),
        )
    }

    /// What a code's members do not stand beside: `status` of an order is in `errors` alone.
    private static let ownMembers: Set<String> = [
        "type", "title", "status", "detail", "instance", "code", "errors", "requestId", "retryable",
    ]

    /// A body that does not have the documented shape.
    public init(_ error: JSONError, instance: String? = nil, requestID: String? = nil) {
        self.init(
            status: 400,
            code: error.code.rawValue,
            title: "The body does not have the documented shape",
            detail: "\(error).",
            instance: instance,
            violations: error.code == .malformed
                ? []
                : [Violation(pointer: error.pointer, code: error.code.rawValue, detail: "expected \(error.expected)")],
            requestID: requestID,
        )
    }

    /// `takeProfits[1].price` as `/takeProfits/1/price`.
    public static func pointer(_ field: String) -> String {
        var pointer = "/"
        for character in field {
            switch character {
            case ".", "[": pointer.append("/")
            case "]": break
            default: pointer.append(character)
            }
        }
        return pointer
    }

    public func encoded() -> [UInt8] {
        var writer = JSONWriter(reserving: 512)
        writer.beginObject()
        writer.member("type", "/problems/\(code)")
        writer.member("title", title)
        writer.member("status", status)
        writer.member("detail", detail)
        writer.member("instance", ifPresent: instance)
        writer.member("code", code)
        if !violations.isEmpty {
            writer.key("errors")
            writer.beginArray()
            for violation in violations { writer.violation(violation) }
            writer.endArray()
        }
        writer.member("requestId", ifPresent: requestID)
        writer.member("retryable", isRetryable)
        writer.members(members)
        writer.endObject()
        return writer.take()
    }
}

extension JSONWriter {
    fileprivate mutating func members(_ object: JSONObject) {
        for member in object.members {
            key(escaping: member.key)
            value(member.value)
        }
    }
}

extension ProblemDocument.Violation {
    /// `pointer` is empty where the whole request is at fault.
    public init(_ refusal: Refusal) {
        self.init(
            pointer: refusal.field.map { ProblemDocument.pointer($0) } ?? "",
            code: refusal.code.rawValue,
            detail: refusal.detail,
            members: refusal.members.json,
        )
    }
}

extension JSONObject {
    fileprivate func without(_ names: Set<String>) -> JSONObject {
        var object = self
        for name in names { object[name] = nil }
        return object
    }
}

extension RefusalMembers {
    /// As INTERFACES.md 1.6.2 names them: decimals are strings, counts are numbers.
    public var json: JSONObject {
        var object = JSONObject()
        for member in all {
            switch member.value {
            case .number(let value): object[member.name] = .string(value.description)
            case .numbers(let values): object[member.name] = .array(values.map { .string($0.description) })
            case .count(let count): object[member.name] = .integer(count)
            case .flag(let flag): object[member.name] = .bool(flag)
            case .text(let text): object[member.name] = .string(text)
            case .texts(let texts): object[member.name] = .array(texts.map { .string($0) })
            case .time(let time): object[member.name] = .string(time.rfc3339)
            case .none: object[member.name] = .null
            }
        }
        return object
    }
}

extension JSONWriter {
    /// One refusal among others: `pointer`, `code`, `detail`, and what else it says.
    public mutating func violation(_ violation: ProblemDocument.Violation) {
        beginObject()
        member("pointer", violation.pointer)
        member("code", violation.code)
        member("detail", violation.detail)
        members(violation.members)
        endObject()
    }
}

extension RefusalCode {
    /// One line for people; programs switch on the code.
    public var title: String {
        switch self {
        case .qtyNotOnStep: "The quantity is not a positive multiple of the step"
        case .tpslOnReduceOnly: "A reduce-only entry cannot carry take-profits or a stop"
        case .conditionalLimit: "Too many legs on this market"
        case .priceNotOnTick: "A price is off the tick grid"
        case .tpSizeSum: "Take-profit sizes must sum to 100"
        case .tpWrongSide: "A take-profit is not on the side of profit"
        case .tpNotMonotone: "Take-profits are not ordered away from the entry"
        case .tpBelowMin: "A take-profit is below the market's minimum"
        case .slWrongSide: "The stop is not on the protective side"
        case .callbackOutOfRange: "The trailing distance is out of range"
        case .noExit: "The order has no exit"
        case .triggerTooLow: "The trigger is too low"
        case .triggerTooHigh: "The trigger is too high"
        case .triggerWrongSide: "The trigger is on the wrong side of the price"
        case .limitOutOfBand: "The limit is outside the band around the trigger"
        case .breakEvenWouldTrigger: "The price is already at or beyond the break-even price"
        case .limitPriceRequired: "A limit price is required"
        case .emergencyWrongSide: "The emergency price is not looser than the stop"
        case .timeInPast: "The time is not in the future"
        case .trailingTPNotLast: "Only the last take-profit can trail"
        case .stepLockInvalid: "The step locks are not valid"
        case .partialStopInvalid: "The partial stops are not valid"
        case .breakEvenArmInvalid: "The arming price is not beyond the break-even price"
        case .backstopNotSupported: "No backstop is possible here"
        case .nativeNotPossible: "The venue cannot hold this plan"
        case .entryNotAdoptable: "The venue order cannot be adopted"
        case .instrumentUnknown: "The market is unknown"
        case .instrumentNotTrading: "The market is not trading"
        case .sourceUnavailable: "The market does not publish this price"
        case .noPosition: "There is no such position"
        case .insufficientBalance: "The balance does not cover the entry"
        case .reduceTooLarge: "The reduction is the whole order"
        case .tierRequired: "Your tier does not include this"
        case .liveDisabled: "Live trading is switched off"
        case .notFound: "Unknown, or not yours"
        case .orderTerminal: "The order has ended"
        case .stopAlreadyTriggered: "The order is already on its way out"
        case .entryAlreadyFilled: "The entry has no rest"
        case .levelNotPending: "The level is not pending"
        case .notReducible: "Nothing is held that could be reduced"
        case .positionSideConflict: "An order of the other direction lives on this position"
        case .positionTPSLExists: "The position has a take-profit and stop already"
        case .clientOrderIDInUse: "The client order id is in use"
        case .orderLimit: "Too many open orders"
        case .accountHalted: "The account is halted"
        case .credentialsMissing: "The account has no usable key"
        case .credentialsRefused: "The venue refuses the account's key"
        }
    }
}
