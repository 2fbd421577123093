// Every price that could make an order do something, as it stands, and why some of them wait for nothing. For people:
// `explain` says with it what was considered and how near it was. What the trigger index watches is in Watches.swift.

/// One threshold of an order.
public struct LegThreshold: Hashable, Sendable {
    /// What reaching it does.
    public enum Role: Hashable, Sendable {
        case entry
        /// A trailing entry begins to follow.
        case entryActivation
        /// One candidate of the full stop.
        case stop(StopKind)
        /// F3: the stop's clock starts.
        case timeout
        case emergency
        case partialStop(Int)
        case takeProfit(Int)
        /// The trailing stop becomes active (F4).
        case activation
        /// A step lock, 1-based (F8).
        case step(Int)
        /// Break-even is armed by price (F10).
        case breakEvenArming
        /// The trigger of a conditional order (R19).
        case conditional
    }

    public enum Comparison: String, Hashable, Sendable {
        case atOrAbove = ">="
        case atOrBelow = "<="
        public func holds(_ price: Price, _ threshold: Price) -> Bool {
            switch self {
            case .atOrAbove: price >= threshold
            case .atOrBelow: price <= threshold
            }
        }
    }

    /// Why nobody waits for it.
    public enum Idle: String, Hashable, Sendable {
        /// Nothing is held yet.
        case nothingHeld
        case notActivated
        /// The level plans nothing (R1.6).
        case plansNothing
        /// A tighter stop binds.
        case looser
        /// A submit is unresolved (R20.4).
        case unresolved
        /// A partial stop is on its way.
        case partialStop
        /// After a refusal, until `Retry.at`.
        case paused
        /// The order is on its way out by another leg or a command.
        case leaving
    }

    public let role: Role
    public let comparison: Comparison
    /// Nil: it has no price yet.
    public let price: Price?
    /// What it follows; nil: a fixed price.
    public let callback: Callback?
    /// The running extreme that it follows.
    public let extreme: Price?
    public let idle: Idle?

    init(
        _ role: Role,
        _ comparison: Comparison,
        _ price: Price?,
        callback: Callback? = nil,
        extreme: Price? = nil,
        idle: Idle? = nil,
    ) {
        self.role = role
        self.comparison = comparison
        self.price = price
        self.callback = callback
        self.extreme = extreme
        self.idle = idle
    }

    /// Where a following threshold stands after `price` was seen, and its new extreme; a fixed one stays.
    public func following(_ seen: Price, tickSize: Price) -> LegThreshold {
        guard let callback, let extreme else { return self }
        // What fires at or below follows a high, as the stop of a long does.
        let side: Side = comparison == .atOrBelow ? .buy : .sell
        let best = side.better(extreme, seen)
        guard best != extreme else { return self }
        return LegThreshold(
            role,
            comparison,
            Pricing.trailingStop(side: side, extreme: best, callback: callback, tickSize: tickSize),
            callback: callback,
            extreme: best,
            idle: idle,
        )
    }
}

extension StoredOrder {
    /// Every threshold that the order has or will have as planned now; empty once it has ended.
    public var thresholds: [LegThreshold] {
        switch self {
        case .smart(let order): order.thresholds
        case .conditional(let order): order.threshold.map { [$0] } ?? []
        }
    }
}

extension ConditionalOrder {
    /// What it waits for; nil: no longer.
    public var threshold: LegThreshold? {
        guard status == .pending else { return nil }
        switch condition {
        case .atOrBelow: return LegThreshold(.conditional, .atOrBelow, draft.trigger)
        case .atOrAbove: return LegThreshold(.conditional, .atOrAbove, draft.trigger)
        }
    }
}

extension SmartOrder {
    /// Every threshold that the order has or will have as planned now, in the order of R10; empty once it has ended.
    public var thresholds: [LegThreshold] {
        guard !isTerminal else { return [] }
        let falling: LegThreshold.Comparison = side == .buy ? .atOrBelow : .atOrAbove
        let rising: LegThreshold.Comparison = side == .buy ? .atOrAbove : .atOrBelow
        var idle: LegThreshold.Idle?
        if status == .pending { idle = .nothingHeld } else if !isUndisturbed { idle = .leaving }
        var all = entryThresholds
        addStops(&all, falling, idle)
        for partial in partialStops where partial.state == .pending {
            var callback: Callback?
            if case .callback(let distance) = partial.plan.distance { callback = distance }
            all.append(
                LegThreshold(
                    .partialStop(partial.number),
                    falling,
                    threshold(of: partial),
                    callback: callback,
                    extreme: callback == nil ? nil : extreme,
                    idle: idle,
                )
            )
        }
        for level in levels where level.state == .pending {
            let trails = level.trailingExtreme != nil && level.plan.trailingRate != nil
            all.append(
                LegThreshold(
                    .takeProfit(level.number),
                    trails ? falling : rising,
                    trigger(of: level),
                    callback: trails ? level.plan.trailingRate.map { .rate($0) } : nil,
                    extreme: trails ? level.trailingExtreme : nil,
                    idle: idle ?? idleness(of: level),
                )
            )
        }
        addMarks(&all, rising, idle)
        return all
    }

    private func idleness(of level: Level) -> LegThreshold.Idle? {
        if hasUnresolved { return .unresolved }
        if hasLatchedPartialStop { return .partialStop }
        if targetRetry.at != nil { return .paused }
        return level.planned <= level.filled ? .plansNothing : nil
    }

    private var entryThresholds: [LegThreshold] {
        guard entryWaits else { return [] }
        let idle: LegThreshold.Idle? = goal == .none ? nil : .leaving
        let direction: LegThreshold.Comparison = entryRises ? .atOrAbove : .atOrBelow
        switch draft.entry.mode {
        case .attach, .market, .limit: return []
        case .conditional: return [LegThreshold(.entry, direction, draft.entry.trigger, idle: idle)]
        case .trailing:
            guard let rate = draft.entry.callbackRate else { return [] }
            let comes: LegThreshold.Comparison = side == .buy ? .atOrAbove : .atOrBelow
            guard let entryExtreme else {
                return [
                    LegThreshold(.entryActivation, direction, draft.entry.activation, idle: idle),
                    LegThreshold(.entry, comes, nil, callback: .rate(rate), idle: idle ?? .notActivated),
                ]
            }
            return [
                LegThreshold(
                    .entry,
                    comes,
                    trailingEntryTrigger,
                    callback: .rate(rate),
                    extreme: entryExtreme,
                    idle: idle,
                )
            ]
        }
    }

    private func addStops(
        _ all: inout [LegThreshold],
        _ falling: LegThreshold.Comparison,
        _ idle: LegThreshold.Idle?,
    ) {
        let binding = effectiveStop
        let delayed = delayedStop
        if let emergency = delayed?.emergencyPrice {
            all.append(LegThreshold(.emergency, falling, emergency, idle: idle))
        }
        if let delayed { all.append(LegThreshold(.timeout, falling, delayed.price, idle: idle)) }
        for candidate in stopCandidates {
            // With a timeout the fixed stop does not hold the others back (F3.1).
            let isLooser = candidate.kind != binding?.kind && delayed == nil
            if candidate.kind == .fixed, delayed != nil { continue }
            let trails = candidate.kind == .trailing
            all.append(
                LegThreshold(
                    .stop(candidate.kind),
                    falling,
                    candidate.price,
                    callback: trails ? draft.trailing?.callback : nil,
                    extreme: trails ? trailingExtreme ?? extreme : nil,
                    idle: idle ?? (isLooser ? .looser : nil),
                )
            )
        }
        if let trailing = draft.trailing, trailingStopPrice == nil {
            all.append(
                LegThreshold(
                    .stop(.trailing),
                    falling,
                    nil,
                    callback: trailing.callback,
                    idle: idle ?? .notActivated,
                )
            )
        }
    }

    private func addMarks(
        _ all: inout [LegThreshold],
        _ rising: LegThreshold.Comparison,
        _ idle: LegThreshold.Idle?,
    ) {
        if let activation = draft.trailing?.activationPrice, !trailingActive {
            all.append(LegThreshold(.activation, rising, activation, idle: idle))
        }
        for number in draft.stepLocks.indices where number >= locksReached {
            all.append(LegThreshold(.step(number + 1), rising, step(number)?.at, idle: idle))
        }
        if let arming = breakEvenArming {
            all.append(LegThreshold(.breakEvenArming, rising, arming, idle: idle))
        }
    }
}
