// Faults on purpose: what the venue does wrong, chosen by rules and by a seed.
//
// The same seed and the same sequence of requests give the same faults. Rules are tried in order; all that match apply,
// of two that end a request the first one wins.

internal import JSONText
internal import SmartOrders

/// SplitMix64. Decides faults and latencies, never money.
struct VenueRandom {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// True `millionths` times in a million.
    mutating func chance(millionths: Int) -> Bool {
        millionths >= 1_000_000 || (millionths > 0 && next() % 1_000_000 < UInt64(millionths))
    }

    mutating func within(_ range: ClosedRange<Int64>) -> Int64 {
        range.lowerBound + Int64(next() % UInt64(range.upperBound - range.lowerBound + 1))
    }

    /// Around `median`, skewed as latencies are: sixteen quantiles of a log-normal with sigma 0.6.
    mutating func latency(median: Int64) -> Int64 {
        let quantiles: [Int64] = [
            327, 453, 546, 630, 712, 796, 884, 981, 1019, 1131, 1257, 1405, 1588, 1833, 2208, 3060,
        ]
        return median * quantiles[Int(next() % 16)] / 1000
    }
}

/// What happens to the requests that it matches.
struct FaultRule {
    enum Action: String {
        /// No answer, nothing executed.
        case dropBefore
        /// Executed, no answer.
        case dropAfter
        /// The connection is closed instead of an answer; nothing executed.
        case closeBefore
        /// Executed, then the connection is closed.
        case closeAfter
        /// An HTTP error (default 503 without a code), nothing executed.
        case errorBefore
        /// The same after executing.
        case errorAfter
        /// A refusal with `code` and `message` (default -2010).
        case reject
        /// HTTP 429 with -1003 and Retry-After.
        case rateLimit
        /// HTTP 200 with a body that is no answer, after executing.
        case garbage
        /// Held at the gateway before the checks, `minMs...maxMs`.
        case hold
        /// Held between the checks and the matching engine.
        case engineDelay
        /// Executed at once, answered later.
        case answerDelay
        /// What rests is ended by the venue right after its acceptance.
        case expire
        /// A cancel comes too late: `qty` of the order is filled at `price` before it.
        case fillFirst
    }

    let action: Action
    /// Nil: every operation.
    let operations: Set<Operation>?
    /// In a million.
    let chance: Int
    /// How often it still applies; nil is for ever.
    var times: Int?
    let clientIDPrefix: String?
    let status: Int?
    let code: Int?
    let message: String?
    let delayMs: ClosedRange<Int64>
    let retryAfter: Int
    let fill: (quantity: Quantity, price: Price)?

    init(_ field: JSONField) throws(JSONError) {
        try field.refuseUnknownKeys(except: [
            "do", "on", "chance", "times", "clientOrderId", "status", "code", "message", "minMs", "maxMs", "retryAfter",
            "qty", "price",
        ])
        action = try field.required("do").choice()
        if action == .fillFirst {
            fill = (Quantity(try field.decimal("qty")), Price(try field.decimal("price")))
        } else {
            fill = nil
        }
        if let on = try field.optional("on") {
            var operations: Set<Operation> = []
            switch on.value {
            case .array: for element in try on.elements() { operations.insert(try element.choice()) }
            case .null, .bool, .number, .string, .object: operations.insert(try on.choice())
            }
            self.operations = operations
        } else {
            operations = nil
        }
        chance = try field.optional("chance")?.int() ?? 1_000_000
        times = try field.optional("times")?.int()
        clientIDPrefix = try field.optional("clientOrderId")?.string()
        status = try field.optional("status")?.int()
        code = try field.optional("code")?.int()
        message = try field.optional("message")?.string()
        let least = try field.optional("minMs")?.int64() ?? 0
        delayMs = least...max(least, try field.optional("maxMs")?.int64() ?? least)
        retryAfter = try field.optional("retryAfter")?.int() ?? 1
    }
}

/// What the faults make of one request.
struct FaultPlan {
    enum Ending {
        case drop, close
        /// A complete answer that is not the true one.
        case answer(VenueRefusal, retryAfter: Int?)
        /// Not even an error.
        case garbage
    }

    var holdMs: Int64 = 0
    var engineDelayMs: Int64 = 0
    var answerDelayMs: Int64 = 0
    /// Ends the request before anything is checked.
    var before: Ending?
    /// Refuses it after the checks of the gateway.
    var reject: VenueRefusal?
    /// Replaces the answer of an executed request.
    var after: Ending?
    var expires = false
    /// What a resting order gets before it is cancelled.
    var fillFirst: (quantity: Quantity, price: Price)?
    var words: [String] = []

    init() {}

    /// What becomes of a request with several orders: whatever holds up or ends the request of one of them does so for all.
    /// What the venue makes of each order is its own plan's.
    init(together plans: [FaultPlan]) {
        holdMs = plans.lazy.map(\.holdMs).max() ?? 0
        engineDelayMs = plans.lazy.map(\.engineDelayMs).max() ?? 0
        answerDelayMs = plans.lazy.map(\.answerDelayMs).max() ?? 0
        before = plans.lazy.compactMap(\.before).first
        after = plans.lazy.compactMap(\.after).first
        words = plans.flatMap(\.words)
    }
}

struct Faults {
    enum Down: String {
        case up
        /// Connections are closed without an answer.
        case close
        /// Nothing is answered.
        case silent
        /// HTTP 503 without a code.
        case unavailable
    }

    var rules: [FaultRule] = []
    var random: VenueRandom
    var down = Down.up
    /// Orders younger than this are not found.
    var lookupLagMs: Int64 = 0
    /// Of the venue's clock against the machine's.
    var clockOffsetMs: Int64 = 0
    var clockDriftPpm: Int64 = 0
    /// False: requests that are too old when they reach the engine are executed all the same.
    var engineChecksDeadline = true
    /// False: orders have no deadline at all.
    var hasDeadlines: Bool
    var latencyMicroseconds: Int64
    // The private streams.
    var streamSilent = false
    var streamDuplicate = 0
    var streamShuffle = 0

    init(_ configuration: PaperVenueConfiguration) {
        random = VenueRandom(seed: configuration.seed)
        latencyMicroseconds = configuration.latencyMicroseconds
        hasDeadlines = configuration.deadlines == .enforced
    }

    mutating func plan(_ operation: Operation, clientID: String?) -> FaultPlan {
        var plan = FaultPlan()
        switch down {
        case .up: break
        case .close: plan.before = .close
        case .silent: plan.before = .drop
        case .unavailable: plan.before = .answer(Self.unavailable(503), retryAfter: nil)
        }
        if down != .up {
            plan.words.append("down")
            return plan
        }
        for index in rules.indices {
            let rule = rules[index]
            if let operations = rule.operations, !operations.contains(operation) { continue }
            if let prefix = rule.clientIDPrefix, clientID?.hasPrefix(prefix) != true { continue }
            if rule.times == 0 || !random.chance(millionths: rule.chance) { continue }
            if let times = rule.times { rules[index].times = times - 1 }
            plan.words.append(rule.action.rawValue)
            apply(rule, to: &plan)
        }
        return plan
    }

    private mutating func apply(_ rule: FaultRule, to plan: inout FaultPlan) {
        func before(_ ending: FaultPlan.Ending) { if plan.before == nil { plan.before = ending } }
        func after(_ ending: FaultPlan.Ending) { if plan.after == nil { plan.after = ending } }
        let failure = FaultPlan.Ending.answer(Self.failure(rule), retryAfter: nil)
        switch rule.action {
        case .dropBefore: before(.drop)
        case .dropAfter: after(.drop)
        case .closeBefore: before(.close)
        case .closeAfter: after(.close)
        case .errorBefore: before(failure)
        case .errorAfter: after(failure)
        case .garbage: after(.garbage)
        case .rateLimit:
            before(
                .answer(
                    VenueRefusal(status: rule.status ?? 429, -1003, VenueRefusal.rateLimited.message),
                    retryAfter: rule.retryAfter,
                )
            )
        case .reject:
            plan.reject = VenueRefusal(
                status: rule.status ?? 400,
                rule.code ?? -2010,
                rule.message ?? VenueRefusal.insufficientBalance.message,
            )
        case .hold: plan.holdMs += random.within(rule.delayMs)
        case .engineDelay: plan.engineDelayMs += random.within(rule.delayMs)
        case .answerDelay: plan.answerDelayMs += random.within(rule.delayMs)
        case .expire: plan.expires = true
        case .fillFirst: plan.fillFirst = rule.fill
        }
    }

    /// Code 0 stands for a body without a code.
    private static func failure(_ rule: FaultRule) -> VenueRefusal {
        guard let code = rule.code else { return unavailable(rule.status ?? 503) }
        return VenueRefusal(status: rule.status ?? 503, code, rule.message ?? VenueRefusal.timeout.message)
    }

    private static func unavailable(_ status: Int) -> VenueRefusal {
        VenueRefusal(status: status, 0, "Service Unavailable")
    }
}
