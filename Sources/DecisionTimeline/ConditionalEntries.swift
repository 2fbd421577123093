// What the versions of a conditional order say (ORDERS.md 9.1, R19): entries of TimelineBuilder.swift.
internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import SmartOrders

/// The decision of a version, with the order around it.
private struct ConditionalScene {
    /// Nil: the order began with it.
    let before: ConditionalOrder?
    let after: ConditionalOrder
    /// The price that was decided on.
    let price: Price?
    let moment: Moment?
    let isTick: Bool

    /// The trigger that this decision found reached.
    var fired: LegThreshold? {
        guard isTick, let threshold = before?.threshold, let stood = threshold.price, let price,
            threshold.comparison.holds(price, stood), after.triggeredAt != nil
        else { return nil }
        return threshold
    }
}

extension TimelineBuilder {
    func describe(_ version: StoredVersion, _ order: ConditionalOrder, _ entry: inout TimelineEntry) {
        let scene = scene(version, order)
        var told: [Told] = []
        for fact in version.facts {
            guard let text = Self.sentence(fact, scene, order) else { continue }
            told.append((Weight(fact).rawValue, text, Self.kind(fact), Self.leg(fact)))
        }
        Self.tell(told, version.cause, &entry)
        if let before = scene.before, let price = scene.price, scene.isTick {
            entry.choice = Self.choice(before, scene.fired, price)
        }
        if let fired = scene.fired {
            entry.rule = rule(fired, order)
            if entry.leg == nil { entry.leg = fired.role.leg }
        }
        for asked in asked(with: .conditional(order)) {
            let anchors = [asked.attempt == 1 ? order.draft.trigger : nil, scene.moment?.price]
            entry.orders.append(.object(Rules.request(asked, order.instrument, anchors: anchors, scene.moment)))
            if entry.quantity == nil { entry.quantity = Self.quantity(asked, scene) }
        }
    }

    private func scene(_ version: StoredVersion, _ order: ConditionalOrder) -> ConditionalScene {
        guard let decided = heaviest(version), let after = decided.step.after.conditional else {
            return ConditionalScene(
                before: before?.conditional,
                after: order,
                price: version.tick?.price,
                moment: nil,
                isTick: version.tick != nil,
            )
        }
        return ConditionalScene(
            before: decided.step.before?.conditional,
            after: after,
            price: decided.moment.price,
            moment: decided.moment,
            isTick: decided.isTick,
        )
    }

    /// How the trigger came about.
    private func rule(_ fired: LegThreshold, _ order: ConditionalOrder) -> JSONObject {
        let known = since[fired.role].flatMap { $0.made == Making(fired) ? $0.version : nil }
        var basis: JSONObject = [
            "type": .string(order.draft.kind.rawValue), "side": .string(order.draft.side.rawValue),
        ]
        if let known { basis["sinceVersion"] = JSONValue(known) }
        return [
            "id": "R19", "kind": .string(fired.role.kind), "comparison": .string(fired.comparison.rawValue),
            "threshold": fired.price.map { JSONValue($0) } ?? .null, "basis": .object(basis),
        ]
    }

    private static func choice(_ before: ConditionalOrder, _ fired: LegThreshold?, _ price: Price) -> JSONObject {
        let legs = before.threshold.map { threshold -> JSONValue in
            [
                "leg": .string(threshold.role.leg), "kind": .string(threshold.role.kind),
                "comparison": .string(threshold.comparison.rawValue),
                "threshold": threshold.price.map { JSONValue($0) } ?? .null,
                "verdict": .string((fired == nil ? Rules.Verdict.notReached : .fired).rawValue),
            ]
        }
        return ["stops": [], "legs": .array(legs.map { [$0] } ?? [])]
    }

    /// What was wanted, and what of the position bound it (R16.2, R17).
    private static func quantity(_ asked: VenueOrder, _ scene: ConditionalScene) -> JSONObject {
        let wanted = (scene.before ?? scene.after).remaining
        var sum: JSONObject = [
            "purpose": .string(asked.leg.description), "asked": JSONValue(asked.quantity),
            "wanted": JSONValue(wanted), "remaining": JSONValue(wanted),
        ]
        sum["position"] = scene.moment?.held.map { JSONValue($0) } ?? .null
        if let elsewhere = scene.moment?.claimedElsewhere, elsewhere.isPositive {
            sum["claimedElsewhere"] = JSONValue(elsewhere)
        }
        sum["bound"] = asked.quantity == wanted ? "wanted" : "position"
        return sum
    }

    // MARK: Sentences

    private static func sentence(_ fact: Fact, _ scene: ConditionalScene, _ order: ConditionalOrder) -> String? {
        switch fact {
        case .created: return created(order)
        case .modified(let path): return modified(path, scene, order)
        case .conditionalChanged(_, let to, let reason): return changed(to, reason, scene, order)
        case .fill(_, let fill): return Sentences.filled(fill, order.draft.side, "The order")
        case .venueOrder(let key, let state):
            let asked = order.venueOrders.first { $0.key == key }
            return Sentences.venueOrder(
                "The order to the venue, attempt \(key.attempt),",
                state,
                asked.map { Sentences.request($0, order.instrument) } ?? "",
            )
        case .marketChanged(let from, let to): return Sentences.market(from, to)
        case .healthChanged(_, let to):
            return to == .ok ? "All is well again." : "The order's health is \(to.rawValue)."
        case .activated, .levelTriggered, .levelFilled, .levelRearmed, .levelCancelled, .levelMerged, .replanned,
            .breakEvenArmed, .breakEvenNotArmed, .lockReached, .trailingActivated, .stopMoved, .stopDelayed,
            .stopDelayReset, .stopLatched, .stopRetried, .partialStopFired, .partialStopDone, .partialStopCancelled,
            .writtenOff, .dust, .fundsAdded, .fundsReduced, .statusChanged, .phaseChanged, .backstopPlaced,
            .backstopMoved, .backstopSkipped, .backstopFired, .nativeLegLost, .printSuspected, .printConfirmed,
            .printIgnored:
            // Facts of smart orders.
            return nil
        }
    }

    private static func created(_ order: ConditionalOrder) -> String {
        let kind =
            switch order.draft.kind {
            case .stopLoss: "stop-loss"
            case .takeProfit: "take-profit"
            }
        let side = order.draft.side == .buy ? "buys" : "sells"
        let limit = order.draft.limit.map { "with limit \(shown($0, order))" } ?? "at market"
        let condition = order.condition == .atOrBelow ? "at or below" : "at or above"
        let source = Sentences.name(order.triggerSource).lowercased()
        let only = order.draft.reduceOnly ? ", only to reduce" : ""
        let expiry = order.draft.expiresAt.map { ", until \($0.rfc3339)" } ?? ""
        return
            "The \(kind) was created: \(side) \(order.draft.quantity) \(limit)\(only) once \(source) is \(condition) "
            + "\(shown(order.draft.trigger, order))\(expiry)."
    }

    private static func modified(_ path: String, _ scene: ConditionalScene, _ order: ConditionalOrder) -> String {
        guard let old = scene.before?.draft else { return "\(path) was changed." }
        let new = order.draft
        if old.trigger != new.trigger, path == "trigger" {
            return "The trigger moved from \(shown(old.trigger, order)) to \(shown(new.trigger, order))."
        }
        if old.quantity != new.quantity, path == "qty" {
            return "The quantity changed from \(old.quantity) to \(new.quantity)."
        }
        guard path == "limit" else { return "\(path) was changed." }
        switch (old.limit, new.limit) {
        case (_, nil): return "It will be a market order."
        case (nil, let limit?): return "It will be a limit order at \(shown(limit, order))."
        case (let from?, let to?): return "The limit moved from \(shown(from, order)) to \(shown(to, order))."
        }
    }

    private static func changed(
        _ status: ConditionalStatus,
        _ reason: ConditionalReason?,
        _ scene: ConditionalScene,
        _ order: ConditionalOrder,
    ) -> String {
        switch status {
        case .pending: return "The order waits for its trigger."
        case .triggered:
            guard let fired = scene.fired else { return "The trigger was reached." }
            return Sentences.crossed(fired, at: scene.price, of: order.triggerSource, order.instrument)
        case .filled: return "The order is filled: \(order.filled) of \(order.draft.quantity)."
        case .cancelled:
            let why = reason.map { Sentences.name($0) } ?? "no reason is stored"
            let filled = order.filled.isPositive ? "; \(order.filled) of \(order.draft.quantity) was filled" : ""
            return "The order ended: \(why)\(filled)."
        }
    }

    private static func shown(_ price: Price, _ order: ConditionalOrder) -> String {
        Sentences.shown(price, order.instrument)
    }
}

extension Sentences {
    static func name(_ reason: ConditionalReason) -> String {
        switch reason {
        case .userCancel: "cancelled by command"
        case .expired: "it expired"
        case .iocExpired: "the venue could not fill it at once"
        case .orderRejected: "the venue refused it"
        case .positionClosedExternally: "the position was closed elsewhere"
        case .positionFlipped: "the position was turned elsewhere"
        }
    }
}
