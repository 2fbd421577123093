// The one template set: what a fact says to a trader. The panel, the CLI and the API show these sentences.
//
// Thresholds and prices that were compared are shown with the decimals of the grid ("107.80"), what they came from as
// it is ("the high 110").
public import SmartOrders

/// What surrounded a fact.
public struct Scene: Sendable {
    /// Before the decision; nil: the order began with it.
    public let before: SmartOrder?
    public let after: SmartOrder
    /// The price that was decided on.
    public let price: Price?
    public let source: TriggerSource

    public init(before: SmartOrder?, after: SmartOrder, price: Price?, source: TriggerSource) {
        self.before = before
        self.after = after
        self.price = price
        self.source = source
    }
}

public enum Sentences {
    // MARK: Numbers and words

    /// With the decimals of the grid, more where the price is finer.
    static func shown(_ price: Price, _ order: SmartOrder) -> String { shown(price, order.instrument) }

    static func shown(_ price: Price, _ instrument: Instrument) -> String {
        let places = Int(instrument.tickSize.value.scale)
        let text = price.description
        guard places > 0 else { return text }
        guard let point = text.firstIndex(of: ".") else { return text + "." + String(repeating: "0", count: places) }
        let there = text.distance(from: point, to: text.endIndex) - 1
        return there >= places ? text : text + String(repeating: "0", count: places - there)
    }

    static func name(_ source: TriggerSource) -> String {
        switch source {
        case .last: "Last"
        case .mark: "Mark"
        case .index: "Index"
        case .bid: "Bid"
        case .ask: "Ask"
        }
    }

    static func name(_ kind: StopKind) -> String {
        switch kind {
        case .fixed: "stop"
        case .breakEven: "break-even stop"
        case .follow: "follow stop"
        case .lock: "step lock"
        case .trailing: "trailing stop"
        case .backstop: "backstop"
        }
    }

    static func name(_ leg: Leg) -> String {
        switch leg {
        case .entry: "entry"
        case .takeProfit(let level): "target \(level)"
        case .stop: "stop"
        case .partialStop(let number): "partial stop \(number)"
        case .close: "close"
        case .reduce: "reduction"
        case .add: "addition"
        case .backstop: "backstop"
        case .conditional: "conditional order"
        case .timer: "timer"
        case .reconcile: "reconciliation"
        }
    }

    static func name(_ role: LegThreshold.Role) -> String {
        switch role {
        case .entry: "entry trigger"
        case .entryActivation: "activation price of the entry"
        case .stop(let kind): name(kind)
        case .timeout: "stop with a timeout"
        case .emergency: "emergency price"
        case .partialStop(let number): "partial stop \(number)"
        case .takeProfit(let level): "target \(level)"
        case .activation: "activation price of the trailing stop"
        case .step(let number): "step \(number)"
        case .breakEvenArming: "price that arms break-even"
        case .conditional: "trigger"
        }
    }

    static func name(_ reason: CloseReason) -> String {
        switch reason {
        case .allTakeProfitsFilled: "all targets are filled"
        case .stopLoss: "the stop"
        case .breakEven: "the break-even stop"
        case .followStop: "the follow stop"
        case .stepLock: "a step lock"
        case .trailingStop: "the trailing stop"
        case .backstop: "the backstop"
        case .manualClose: "closed by command"
        case .timeExit: "the exit time came"
        case .userCancel: "cancelled by command"
        case .entryRejected: "the venue refused the entry"
        case .entryCancelled: "the entry was cancelled"
        case .entryExpired: "the entry expired"
        case .positionFlipped: "the position was turned elsewhere"
        case .positionClosedExternally: "the position was closed elsewhere"
        }
    }

    /// "the stop", but "target 1": numbered legs are names.
    static func object(_ role: LegThreshold.Role) -> String {
        switch role {
        case .takeProfit, .partialStop, .step: name(role)
        case .entry, .entryActivation, .stop, .timeout, .emergency, .activation, .breakEvenArming, .conditional:
            "the \(name(role))"
        }
    }

    /// The same at the beginning of a sentence.
    static func subject(_ role: LegThreshold.Role) -> String {
        let object = object(role)
        return object.prefix(1).uppercased() + object.dropFirst()
    }

    static func subject(_ leg: Leg) -> String {
        switch leg {
        case .takeProfit(let number): "Target \(number)"
        case .partialStop(let number): "Partial stop \(number)"
        case .entry, .stop, .close, .reduce, .add, .backstop, .conditional, .timer, .reconcile: "The \(name(leg))"
        }
    }

    static func percent(_ rate: Rate) -> String { "\(rate.value * ExactDecimal(100))%" }

    static func side(_ comparison: LegThreshold.Comparison) -> String {
        switch comparison {
        case .atOrAbove: "at or above"
        case .atOrBelow: "at or below"
        }
    }

    /// " (2% under the high 110)"; empty for a fixed price.
    static func distance(_ threshold: LegThreshold) -> String {
        guard let callback = threshold.callback, let extreme = threshold.extreme else { return "" }
        let isUnder = threshold.comparison == .atOrBelow
        let place = isUnder ? "under the high" : "over the low"
        switch callback {
        case .rate(let rate): return " (\(percent(rate)) \(place) \(extreme))"
        case .amount(let amount): return " (\(amount) \(place) \(extreme))"
        }
    }

    // MARK: Crossings

    /// "Mark 107.79 was at or below the trailing stop 107.80 (2% under the high 110)."
    public static func crossed(_ threshold: LegThreshold, _ scene: Scene) -> String {
        crossed(threshold, at: scene.price, of: scene.source, scene.after.instrument)
    }

    static func crossed(
        _ threshold: LegThreshold,
        at price: Price?,
        of source: TriggerSource,
        _ instrument: Instrument,
    ) -> String {
        guard let stood = threshold.price, let price else { return "\(subject(threshold.role)) fired." }
        return "\(Self.name(source)) \(shown(price, instrument)) was \(side(threshold.comparison)) "
            + "\(stands(threshold.role, at: shown(stood, instrument)))\(distance(threshold))."
    }

    /// "the stop 95.00", but "target 1 at 105.00".
    static func stands(_ role: LegThreshold.Role, at price: String) -> String {
        switch role {
        case .takeProfit, .partialStop, .step: "\(object(role)) at \(price)"
        case .entry, .entryActivation, .stop, .timeout, .emergency, .activation, .breakEvenArming, .conditional:
            "\(object(role)) \(price)"
        }
    }

    // MARK: Facts

    /// The sentence of a fact; nil: another fact of the version says it.
    public static func sentence(_ fact: Fact, _ scene: Scene) -> String? {
        let order = scene.after
        switch fact {
        case .created: return created(order)
        case .activated: return activated(order)
        case .modified(let path): return "\(path) was changed."
        case .levelTriggered(let level): return levelTriggered(level, scene)
        case .levelFilled(let level): return "Target \(level) is filled\(amount(level, order))."
        case .levelRearmed(let level): return "Target \(level) waits again: its order ended before it was filled."
        case .levelCancelled(let level): return "Target \(level) is over\(whyCancelled(order))."
        case .levelMerged(let level):
            return "Target \(level)'s share is too small to trade and went to the targets after it."
        case .replanned: return replanned(order)
        case .breakEvenArmed(let price):
            return "Break-even was armed at \(shown(price, order))\(average(order))."
        case .breakEvenNotArmed(let price):
            return "Break-even was not armed: the price is already beyond \(shown(price, order))."
        case .lockReached(let step, let lock): return "Step \(step) was reached: the stop locks \(shown(lock, order))."
        case .trailingActivated(let extreme):
            let reached = scene.price.map { "\(name(scene.source)) \(shown($0, order)) reached the activation price" }
            return "\(reached.map { "\($0): the" } ?? "The") trailing stop follows from \(extreme)."
        case .stopMoved(let from, let to, let kind): return stopMoved(from, to, kind, order)
        case .stopDelayed(let since): return delayed(since, scene)
        case .stopDelayReset: return "The price came back before the stop's timeout had passed."
        case .stopLatched(let kind, let price): return latched(kind, price, scene)
        case .stopRetried(let attempt): return "The exit is tried again, attempt \(attempt)."
        case .partialStopFired(let number): return partialStop(number, scene)
        case .partialStopDone(let number): return "Partial stop \(number) is done."
        case .partialStopCancelled(let number): return "Partial stop \(number) is over."
        case .backstopPlaced(let price): return "A backstop was asked for at \(shown(price, order)), behind the stop."
        case .backstopMoved(let from, let to):
            return "The backstop follows the stop from \(shown(from, order)) to \(shown(to, order))."
        case .backstopSkipped(let note): return "There is no backstop now: \(why(note))."
        case .backstopFired: return "The backstop fired at the venue."
        case .nativeLegLost(let leg):
            return "The \(name(leg)) no longer rests at the venue; it is watched here from now on."
        case .writtenOff(let quantity): return "\(quantity) left the position elsewhere and is written off."
        case .dust(let quantity): return "\(quantity) is less than one step and stays as dust."
        case .fill(let key, let fill): return filled(key, fill, order)
        case .venueOrder(let key, let state): return venueOrder(key, state, scene)
        case .printSuspected(let price, let reference):
            return "\(name(scene.source)) \(shown(price, order)) is too far from \(reference): it counts when the next "
                + "price, or another source, says the same within a second."
        case .printConfirmed(let price): return "\(name(scene.source)) \(shown(price, order)) was confirmed and counts."
        case .printIgnored(let price):
            return "\(name(scene.source)) \(shown(price, order)) was ignored as a false print."
        case .marketChanged(let from, let to): return market(from, to)
        case .fundsAdded(let quantity): return "\(quantity) was added to the position."
        case .fundsReduced(let quantity): return "The position was reduced by \(quantity)."
        case .statusChanged(_, let to, let reason):
            let why = reason.map { ": \(name($0))" } ?? ""
            return "The order is now \(to.rawValue)\(why)."
        case .conditionalChanged(_, let to, let reason):
            return "The order is now \(to.rawValue)\(reason.map { " (\($0.rawValue))" } ?? "")."
        case .phaseChanged: return nil
        case .healthChanged(_, let to):
            return to == .ok ? "All is well again." : "The order's health is \(to.rawValue)."
        }
    }

    /// What the venue changed; prices that stand do not move with it.
    static func market(_ from: MarketTerms, _ to: MarketTerms) -> String {
        var changes: [String] = []
        func compare(_ name: String, _ old: String, _ new: String) {
            if old != new { changes.append("the \(name) is \(new), it was \(old)") }
        }
        compare("tick size", from.tickSize.description, to.tickSize.description)
        compare("step", from.stepSize.description, to.stepSize.description)
        compare("smallest quantity", from.minQuantity.description, to.minQuantity.description)
        compare("smallest value", from.minNotional.description, to.minNotional.description)
        if from.bandRule != to.bandRule { changes.append("limits are taken in another band") }
        return "The venue changed the market: \(changes.joined(separator: "; ")). What waits stays where it is."
    }

    private static func why(_ note: BackstopNote) -> String {
        switch note {
        case .positionShared: "it would close more than the order owns"
        case .noPosition: "the position is not there"
        case .positionUnknown: "the position is not known"
        case .refused: "the venue refused it"
        case .fired: "it has fired"
        }
    }

    private static func created(_ order: SmartOrder) -> String {
        var parts = ["entry \(order.draft.entry.mode.rawValue)"]
        let targets = order.levels.count
        if targets > 0 { parts.append(targets == 1 ? "1 target" : "\(targets) targets") }
        if let stop = order.draft.stopLoss { parts.append("stop \(shown(stop.price, order))") }
        if let trailing = order.draft.trailing {
            switch trailing.callback {
            case .rate(let rate): parts.append("trailing \(percent(rate))")
            case .amount(let amount): parts.append("trailing \(amount)")
            }
        }
        let direction = order.side == .buy ? "long" : "short"
        return "The order was created: \(direction) \(order.draft.quantity), \(parts.joined(separator: ", "))."
    }

    private static func activated(_ order: SmartOrder) -> String {
        "The order is active: \(order.remaining) held\(average(order))."
    }

    private static func average(_ order: SmartOrder) -> String {
        order.averageEntry.map { " (average \($0.rounded))" } ?? ""
    }

    private static func amount(_ number: Int, _ order: SmartOrder) -> String {
        guard let level = order.levels.first(where: { $0.number == number }) else { return "" }
        return ": \(level.filled) of \(level.planned)"
    }

    private static func whyCancelled(_ order: SmartOrder) -> String {
        if let latch = order.latch { return ": the \(name(latch.kind)) fired" }
        if let reason = order.closeReason { return ": \(name(reason))" }
        switch order.goal {
        case .closing(let reason), .cancelling(let reason): return ": \(name(reason))"
        case .none: return ""
        }
    }

    private static func replanned(_ order: SmartOrder) -> String {
        let shares = order.levels.filter { $0.state == .pending }.map { "\($0.number): \($0.planned)" }
        return shares.isEmpty
            ? "The targets plan nothing more." : "The targets now plan \(shares.joined(separator: ", "))."
    }

    private static func levelTriggered(_ number: Int, _ scene: Scene) -> String {
        guard let threshold = scene.before?.thresholds.first(where: { $0.role == .takeProfit(number) }),
            let stood = threshold.price, let price = scene.price, threshold.comparison.holds(price, stood)
        else { return "Target \(number) leaves at market by command." }
        return crossed(threshold, scene)
    }

    private static func partialStop(_ number: Int, _ scene: Scene) -> String {
        guard let threshold = scene.before?.thresholds.first(where: { $0.role == .partialStop(number) }) else {
            return "Partial stop \(number) fired."
        }
        return crossed(threshold, scene)
    }

    /// The stop that fired, as it stood; nil: the row before is not known.
    static func firing(_ kind: StopKind, _ price: Price, _ scene: Scene) -> LegThreshold? {
        guard let before = scene.before else { return nil }
        let all = before.thresholds
        let emergency = all.first { $0.role == .emergency && $0.price == price }
        let timeout = all.first { $0.role == .timeout && $0.price == price }
        switch kind {
        case .fixed: return emergency ?? timeout ?? all.first { $0.role == .stop(.fixed) }
        case .breakEven, .follow, .lock, .trailing, .backstop: return all.first { $0.role == .stop(kind) }
        }
    }

    private static func latched(_ kind: StopKind, _ price: Price, _ scene: Scene) -> String {
        guard let threshold = firing(kind, price, scene) else {
            return "The \(name(kind)) \(shown(price, scene.after)) fired."
        }
        if threshold.role == .timeout {
            return "The price stayed beyond the stop \(shown(price, scene.after)) for its whole timeout."
        }
        return crossed(threshold, scene)
    }

    private static func delayed(_ since: Timestamp, _ scene: Scene) -> String {
        let order = scene.after
        let milliseconds = order.draft.stopLoss?.timeoutMs ?? 0
        let stop = order.draft.stopLoss.map { shown($0.price, order) } ?? ""
        let seen = scene.price.map { "\(name(scene.source)) \(shown($0, order))" } ?? "The price"
        return "\(seen) is beyond the stop \(stop): it fires if the price stays there for \(milliseconds) ms."
    }

    private static func stopMoved(_ from: Price?, _ to: Price?, _ kind: StopKind?, _ order: SmartOrder) -> String {
        switch (from, to, kind) {
        case (let from?, let to?, let kind?):
            return "The stop moved from \(shown(from, order)) to \(shown(to, order)) (\(name(kind)))."
        case (nil, let to?, let kind?): return "The stop now stands at \(shown(to, order)) (\(name(kind)))."
        case (let from?, nil, _): return "The stop at \(shown(from, order)) was removed."
        case (_, _, _): return "The stop was changed."
        }
    }

    // MARK: The venue

    private static func filled(_ key: VenueOrderKey, _ fill: Fill, _ order: SmartOrder) -> String {
        let isEntry =
            switch key.leg {
            case .entry, .add: true
            case .takeProfit, .stop, .partialStop, .close, .reduce, .backstop, .conditional, .timer, .reconcile: false
            }
        let side = isEntry ? order.side : order.exitSide
        return filled(fill, side, "The \(name(key.leg)) order")
    }

    static func filled(_ fill: Fill, _ side: Side, _ order: String) -> String {
        let verb = side == .buy ? "bought" : "sold"
        return "\(order) \(verb) \(fill.quantity) at \(fill.price) (\(fill.isMaker ? "maker" : "taker"))."
    }

    private static func venueOrder(_ key: VenueOrderKey, _ state: VenueOrderState, _ scene: Scene) -> String {
        let order = "The \(name(key.leg)) order, attempt \(key.attempt),"
        let asked = scene.after.venueOrders.first { $0.key == key }
        return venueOrder(order, state, asked.map { request($0, scene.after.instrument) } ?? "")
    }

    /// - Parameters:
    ///   - order: the beginning of the sentence.
    ///   - request: what is asked for; empty where that is no longer known.
    static func venueOrder(_ order: String, _ state: VenueOrderState, _ request: String) -> String {
        switch state {
        case .intent: return "\(order) was prepared\(request)."
        case .submitted: return "\(order) was sent\(request)."
        case .open: return "\(order) was taken by the venue."
        case .partial: return "\(order) is filled in part."
        case .unknown: return "\(order) has no answer yet: it is looked up, never repeated blindly."
        case .cancelRequested: return "\(order) is being cancelled."
        case .filled: return "\(order) is filled."
        case .cancelled: return "\(order) was cancelled at the venue."
        case .expired: return "\(order) expired without filling all."
        case .rejected: return "\(order) was refused by the venue."
        case .notSent: return "\(order) was not sent."
        case .absent: return "\(order) is proven never to have reached the venue."
        }
    }

    /// ": sell 10, limit 97.02, IOC"
    static func request(_ asked: VenueOrder, _ instrument: Instrument) -> String {
        let limit = asked.limit.map { ", limit \(shown($0, instrument))" } ?? ""
        return ": \(asked.side == .buy ? "buy" : "sell") \(asked.quantity)\(limit), \(asked.type.rawValue)"
    }

    // MARK: What no fact says

    /// A decision of the whole order: closing or cancelling began.
    static func goal(_ scene: Scene) -> String? {
        guard let before = scene.before, before.goal != scene.after.goal else { return nil }
        switch scene.after.goal {
        case .none: return nil
        case .closing(let reason): return "Everything is closed at market: \(name(reason))."
        case .cancelling(let reason): return "Everything is cancelled: \(name(reason))."
        }
    }
}
