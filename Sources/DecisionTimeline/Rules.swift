// How a threshold came about, what else could have bound, and what a quantity was made of (ORDERS.md 9.1).
internal import JSONText
internal import OrderJSON
internal import SmartOrders

extension JSONValue {
    init(_ value: ExactDecimal) { self = .string(value.description) }
    init(_ value: some Measure) { self = .string(value.description) }
    init(_ time: Timestamp) { self = .string(time.rfc3339) }
    init(_ number: Int64) { self = .number(String(number)) }
}

enum Rules {
    /// The rule of a threshold and how the threshold came about.
    /// - Parameter since: the version from which it has stood as it is made; nil: not known.
    static func rule(_ threshold: LegThreshold, of order: SmartOrder, since: Int64?) -> JSONObject {
        var rule: JSONObject = [
            "id": .string(identifier(threshold, order)), "kind": .string(threshold.role.kind),
            "comparison": .string(threshold.comparison.rawValue),
        ]
        rule["threshold"] = threshold.price.map { JSONValue($0) } ?? .null
        var basis = basis(threshold, order)
        if let since { basis["sinceVersion"] = JSONValue(since) }
        rule["basis"] = .object(basis)
        return rule
    }

    private static func identifier(_ threshold: LegThreshold, _ order: SmartOrder) -> String {
        switch threshold.role {
        case .entry, .entryActivation: return "R14"
        case .stop(.fixed), .stop(.backstop): return "R7"
        case .stop(.breakEven): return "R6"
        case .stop(.follow): return "F1"
        case .stop(.lock), .step: return "F8"
        case .stop(.trailing):
            if case .amount? = threshold.callback { return "F5" }
            return "R3"
        case .timeout, .emergency: return "F3"
        case .partialStop: return "F9"
        case .takeProfit(let number):
            if threshold.callback != nil { return "F2" }
            let level = order.levels.first { $0.number == number }
            if case .percent? = level?.plan.target { return "F6" }
            return "R2"
        case .activation: return "F4"
        case .breakEvenArming: return "F10"
        case .conditional: return "R19"
        }
    }

    private static func basis(_ threshold: LegThreshold, _ order: SmartOrder) -> JSONObject {
        if let callback = threshold.callback { return trailing(threshold, callback, order) }
        switch threshold.role {
        case .stop(.breakEven): return breakEven(order)
        case .stop(.follow): return follow(order)
        case .stop(.lock):
            guard order.locksReached > 0, let step = order.step(order.locksReached - 1) else { return [:] }
            return ["step": .integer(order.locksReached), "at": JSONValue(step.at), "lock": JSONValue(step.lock)]
        case .takeProfit(let number):
            guard case .percent(let percent)? = order.levels.first(where: { $0.number == number })?.plan.target else {
                return [:]
            }
            return gain(percent, order)
        case .breakEvenArming:
            if let percent = order.draft.breakEven?.armPercent { return gain(percent, order) }
            return [:]
        case .step(let number):
            guard number <= order.draft.stepLocks.count, case .percent(let at, _) = order.draft.stepLocks[number - 1]
            else { return [:] }
            return gain(at, order)
        case .timeout:
            var basis = JSONObject()
            if let milliseconds = order.draft.stopLoss?.timeoutMs { basis["timeoutMs"] = JSONValue(milliseconds) }
            if let since = order.delayedSince { basis["delayedSince"] = JSONValue(since) }
            return basis
        case .entry, .entryActivation, .stop(.fixed), .stop(.trailing), .stop(.backstop), .emergency, .partialStop,
            .activation, .conditional:
            return [:]
        }
    }

    /// The extreme, the callback, the raw value, and which way it was rounded (R3, R5).
    private static func trailing(_ threshold: LegThreshold, _ callback: Callback, _ order: SmartOrder) -> JSONObject {
        var basis = JSONObject()
        basis["waterMark"] = threshold.extreme.map { JSONValue($0) } ?? .null
        let isUnder = threshold.comparison == .atOrBelow
        var raw: ExactDecimal?
        switch callback {
        case .rate(let rate):
            basis["callbackRate"] = JSONValue(rate)
            let factor = isUnder ? ExactDecimal.one - rate.value : ExactDecimal.one + rate.value
            raw = threshold.extreme.map { $0.value * factor }
        case .amount(let amount):
            basis["callbackAmount"] = JSONValue(amount)
            raw = threshold.extreme.map { isUnder ? $0.value - amount.value : $0.value + amount.value }
        }
        if let raw { basis["raw"] = JSONValue(raw) }
        basis["rounding"] = .string(isUnder ? "up" : "down")
        basis["tickSize"] = JSONValue(order.instrument.armedTick)
        return basis
    }

    private static func breakEven(_ order: SmartOrder) -> JSONObject {
        var basis = average(order)
        let plan = order.draft.breakEven
        basis["mode"] = .string((plan?.mode ?? .entry).rawValue)
        switch plan?.mode ?? .entry {
        case .entry: break
        case .fees:
            basis["feeIn"] = JSONValue(order.feeIn)
            basis["feeOut"] = JSONValue(order.instrument.takerFee)
        case .offset: basis["offsetPct"] = plan?.offsetPercent.map { JSONValue($0) }
        }
        basis["rounding"] = .string(order.side == .buy ? "up" : "down")
        return basis
    }

    private static func follow(_ order: SmartOrder) -> JSONObject {
        if let level = order.levels.last(where: { $0.state == .filled && $0.price == order.followPrice }) {
            return ["level": .integer(level.number), "price": JSONValue(level.price)]
        }
        return breakEven(order)
    }

    private static func gain(_ percent: ExactDecimal, _ order: SmartOrder) -> JSONObject {
        var basis = average(order)
        basis["percent"] = JSONValue(percent)
        basis["rounding"] = .string(order.side == .buy ? "up" : "down")
        return basis
    }

    private static func average(_ order: SmartOrder) -> JSONObject {
        guard let average = order.averageEntry else { return [:] }
        return [
            "cost": JSONValue(average.cost), "qty": JSONValue(average.quantity), "average": JSONValue(average.rounded),
        ]
    }

    // MARK: Choice

    /// Why a threshold did not act at this price; nil: it did.
    enum Verdict: String {
        case fired = "FIRED"
        case notReached = "NOT_REACHED"
        /// Reached, but another leg won the tick (R10).
        case superseded = "SUPERSEDED"
        case looser = "LOOSER"
        case notArmed = "NOT_ARMED"
        case blocked = "BLOCKED_UNRESOLVED"
    }

    /// Stop candidates and every leg considered at a price, in the order of R10.
    static func choice(_ before: SmartOrder, _ after: SmartOrder, price: Price) -> JSONObject {
        let binding = before.effectiveStop
        let stops = before.stopCandidates.map { candidate -> JSONValue in
            [
                "kind": .string(candidate.kind.rawValue), "price": JSONValue(candidate.price),
                "binding": .bool(candidate.kind == binding?.kind),
            ]
        }
        let legs = before.thresholds.map { threshold -> JSONValue in
            [
                "leg": .string(threshold.role.leg), "kind": .string(threshold.role.kind),
                "comparison": .string(threshold.comparison.rawValue),
                "threshold": threshold.price.map { JSONValue($0) } ?? .null,
                "verdict": .string(verdict(threshold, before, after, price).rawValue),
            ]
        }
        return ["stops": .array(stops), "legs": .array(legs)]
    }

    static func verdict(
        _ threshold: LegThreshold,
        _ before: SmartOrder,
        _ after: SmartOrder,
        _ price: Price,
    ) -> Verdict {
        let isReached = threshold.price.map { threshold.comparison.holds(price, $0) } ?? false
        // First: a pause may end with the very tick that fires.
        if isReached, acted(threshold.role, before, after) { return .fired }
        switch threshold.idle {
        case .nothingHeld, .notActivated, .plansNothing, .paused: return .notArmed
        case .looser: return .looser
        case .unresolved: return .blocked
        case .partialStop, .leaving: return .superseded
        case nil: return isReached ? .superseded : .notReached
        }
    }

    /// Whether a decision took this threshold up.
    static func acted(_ role: LegThreshold.Role, _ before: SmartOrder, _ after: SmartOrder) -> Bool {
        switch role {
        case .entry: return !before.entryTriggered && after.entryTriggered
        case .entryActivation: return before.entryExtreme == nil && after.entryExtreme != nil
        case .stop(let kind): return before.latch == nil && after.latch?.kind == kind
        case .emergency: return before.latch == nil && after.latch?.price == before.draft.stopLoss?.emergencyPrice
        case .timeout: return before.delayedSince == nil && after.delayedSince != nil || after.latch?.kind == .fixed
        case .partialStop(let number):
            let state = after.partialStops.first { $0.number == number }?.state
            return state == .latched || state == .done
        case .takeProfit(let number):
            let old = before.levels.first { $0.number == number }
            let new = after.levels.first { $0.number == number }
            return old?.state != new?.state && new?.state != .cancelled
                || old?.trailingExtreme == nil && new?.trailingExtreme != nil
        case .activation: return !before.trailingActive && after.trailingActive
        case .step(let number): return after.locksReached >= number
        case .breakEvenArming: return before.breakEvenPrice == nil && after.breakEvenPrice != nil
        case .conditional: return false
        }
    }

    // MARK: Quantity and request

    /// What was wanted, what stood in the way, and which of it bound (R16, R17).
    static func quantity(_ asked: VenueOrder, _ before: SmartOrder, _ moment: Moment?) -> JSONObject {
        let wanted = wanted(asked, before)
        var sum: JSONObject = [
            "purpose": .string(asked.leg.description), "asked": JSONValue(asked.quantity),
            "wanted": JSONValue(wanted), "remaining": JSONValue(before.remaining),
            "claimed": JSONValue(before.claimed), "free": JSONValue(before.free),
        ]
        sum["claims"] = .array(
            before.venueOrders.filter { $0.side != before.draft.side && $0.claim.isPositive }.map { claim in
                [
                    "purpose": .string(claim.leg.description), "attempt": .integer(claim.attempt),
                    "qty": JSONValue(claim.claim),
                ]
            }
        )
        sum["position"] = moment?.held.map { JSONValue($0) } ?? .null
        if let elsewhere = moment?.claimedElsewhere, elsewhere.isPositive {
            sum["claimedElsewhere"] = JSONValue(elsewhere)
        }
        let step = before.instrument.stepSize.value
        let bound: String
        if asked.quantity == wanted {
            bound = "wanted"
        } else if asked.quantity.value == wanted.value.rounded(toMultipleOf: step, .floor) {
            bound = "step"
        } else if asked.quantity.value == before.free.value.rounded(toMultipleOf: step, .floor) {
            bound = "free"
        } else {
            bound = "position"
        }
        sum["bound"] = .string(bound)
        return sum
    }

    private static func wanted(_ asked: VenueOrder, _ order: SmartOrder) -> Quantity {
        switch asked.leg {
        case .takeProfit(let number):
            order.levels.first { $0.number == number }.map { $0.planned - $0.filled } ?? asked.quantity
        case .stop, .close: order.remaining
        case .partialStop, .entry, .add, .reduce, .backstop, .conditional, .timer, .reconcile: asked.quantity
        }
    }

    /// A request to the venue: its limit raw, rounded and clamped.
    static func request(
        _ asked: VenueOrder,
        _ before: SmartOrder,
        _ after: SmartOrder,
        _ moment: Moment?,
    ) -> JSONObject {
        let anchors: [Price?] = [
            asked.attempt == 1 ? after.latch?.price : nil,
            after.partialStops.first { asked.leg == .partialStop($0.number) && asked.attempt == 1 }?.firedAt,
            after.levels.first { asked.leg == .takeProfit($0.number) }?.price, moment?.price,
        ]
        return request(asked, before.instrument, anchors: anchors, moment)
    }

    /// - Parameter anchors: prices that its limit may have been counted from, the likeliest first.
    static func request(
        _ asked: VenueOrder,
        _ instrument: Instrument,
        anchors: [Price?],
        _ moment: Moment?,
    ) -> JSONObject {
        var request: JSONObject = [
            "purpose": .string(asked.leg.description), "attempt": .integer(asked.attempt),
            "side": .string(asked.side.rawValue), "type": .string(asked.type.rawValue),
            "qty": JSONValue(asked.quantity), "limitPrice": asked.limit.map { JSONValue($0) } ?? .null,
            "reduceOnly": .bool(asked.reduceOnly),
        ]
        guard asked.type == .immediateOrCancel, let limit = asked.limit else { return request }
        let tickSize = instrument.tickSize
        let band = moment.flatMap { $0.band ?? instrument.band(around: $0.price) }
        let anchor = anchors.compactMap { $0 }.first {
            Pricing.immediateLimit(side: asked.side, anchor: $0, tickSize: tickSize, band: band) == limit
        }
        guard let anchor else { return request }
        let rounded = Pricing.immediateLimit(side: asked.side, anchor: anchor, tickSize: tickSize)
        request["anchor"] = JSONValue(anchor)
        request["raw"] = JSONValue(anchor.value * ExactDecimal(mantissa: asked.side == .sell ? 9 : 11, scale: 1))
        request["rounded"] = JSONValue(rounded)
        request["clamped"] = .bool(rounded != limit)
        if let band { request["band"] = ["min": JSONValue(band.low), "max": JSONValue(band.high)] }
        return request
    }
}
