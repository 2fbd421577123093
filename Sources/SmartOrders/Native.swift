// Native placement: the legs themselves rest at the venue (ORDERS.md 6.2).
//
// Invariants: a leg is watched here until the venue confirmed that it rests, and again as soon as it does not; a
// take-profit and a stop that rest together are one claim, because one cancels the other (the venue's list, or
// `settle` here); a lost leg is not placed again before an edit says so; a command that needs what they claim takes them
// down first and goes on when they are proven gone, watched here meanwhile.

extension SmartOrder {
    /// Sum of live exit claims (R17). Native legs cancel each other, so together they claim the larger, and never more
    /// than what remains: until they are cut to it the venue reduces only. A derivative's backstop claims nothing (F11.2).
    public var claimed: Quantity {
        var sum = Quantity.zero
        var target = Quantity.zero
        var stop = Quantity.zero
        for venueOrder in venueOrders where venueOrder.side != draft.side && !isUnclaimed(venueOrder) {
            if !venueOrder.isNative {
                sum += venueOrder.claim
            } else if venueOrder.leg == .stop {
                stop += venueOrder.claim
            } else {
                target += venueOrder.claim
            }
        }
        return sum + min(max(target, stop), max(.zero, remaining - sum))
    }

    /// The venue confirmed that this leg rests there.
    public func isHeldNatively(_ leg: Leg) -> Bool {
        venueOrders.contains { venueOrder in
            guard venueOrder.isNative, venueOrder.leg == leg, !venueOrder.cancelWanted else { return false }
            switch venueOrder.state {
            case .open, .partial: return true
            case .intent, .submitted, .unknown, .cancelRequested, .filled, .cancelled, .expired, .rejected, .notSent,
                .absent:
                return false
            }
        }
    }

    /// Something of it may rest at the venue.
    var hasNative: Bool { venueOrders.contains { $0.isNative } }

    /// A command waits until nothing rests.
    var makesWay: Bool { reduceWish != nil || levels.contains { $0.state == .pending && $0.closeRequested } }

    /// A native plan has one stop: fixed or trailing.
    var nativeStopKind: StopKind { draft.stopLoss == nil ? .trailing : .fixed }
}

/// One leg as it is to rest.
private struct NativeLeg {
    let leg: Leg
    let type: VenueOrderType
    let quantity: Quantity
    var limit: Price?
    var trigger: Price?
    var callback: Callback?

    func fitted(_ instrument: Instrument, _ side: Side) -> NativeLeg {
        var leg = self
        leg.limit = instrument.fitted(limit, side)
        leg.trigger = instrument.fitted(trigger, side)
        return leg
    }

    func isLike(_ resting: VenueOrder) -> Bool {
        resting.leg == leg && resting.type == type && resting.unfilled == quantity && resting.limit == limit
            && resting.trigger == trigger && resting.callback == callback
    }
}

extension Deciding {
    /// Places what is missing, takes down what differs from the plan.
    mutating func keepNative() {
        guard !order.isTerminal, order.isUndisturbed else { return }
        switch order.draft.placement {
        case .managed:
            cancelResting { $0.isNative }
            return
        case .native: break
        }
        guard order.status.isOpen, order.remaining.isPositive, !order.makesWay else { return }
        let wanted = nativeLegs()
        let differs = order.venueOrders.contains { resting in
            resting.isNative && !resting.cancelWanted && !wanted.contains { $0.isLike(resting) }
        }
        let isList = order.instrument.native.contains(.list)
        cancelResting { resting in
            resting.isNative && (isList && differs || !wanted.contains { $0.isLike(resting) })
        }
        if let at = order.nativeRetry.at {
            guard now >= at else { return }
            order.nativeRetry.at = nil
        }
        placeNative(wanted, isList: isList)
    }

    private mutating func placeNative(_ wanted: [NativeLeg], isList: Bool) {
        // Other exits are under way, or the entry still fills: the managed legs watch meanwhile.
        let isBusy = order.venueOrders.contains { other in
            if other.leg.isExit { return !other.isNative && !order.isUnclaimed(other) }
            return !(other.type == .goodTillCancelled && (other.state == .open || other.state == .partial))
        }
        guard !isBusy else { return }
        let missing = wanted.filter { leg in
            !order.lostLegs.contains(leg.leg)
                && !order.venueOrders.contains { $0.isNative && $0.leg == leg.leg }
                && order.instrument.takes(leg.quantity, at: leg.limit ?? leg.trigger ?? order.extreme ?? tickSize)
        }
        // One list or none: half of it would reserve what the other half needs.
        if isList, missing.count < wanted.count { return }
        for leg in missing {
            place(
                leg.leg,
                leg.type,
                leg.quantity,
                limit: leg.limit,
                trigger: leg.trigger,
                callback: leg.callback,
                isNative: true,
            )
        }
    }

    private func nativeLegs() -> [NativeLeg] {
        var legs: [NativeLeg] = []
        let isSpot = !order.instrument.kind.isDerivative
        if let level = order.levels.first, level.state == .pending {
            let quantity = (level.planned - level.filled).floored(to: order.instrument.stepSize)
            if quantity.isPositive {
                if isSpot || level.plan.execution == .limit {
                    legs.append(
                        NativeLeg(
                            leg: .takeProfit(level.number),
                            type: .goodTillCancelled,
                            quantity: quantity,
                            limit: level.plan.limitPrice ?? level.price,
                        )
                    )
                } else {
                    legs.append(
                        NativeLeg(
                            leg: .takeProfit(level.number),
                            type: .takeProfitMarket,
                            quantity: quantity,
                            trigger: level.price,
                        )
                    )
                }
            }
        }
        let rest = order.remaining.floored(to: order.instrument.stepSize)
        if let stop = order.draft.stopLoss {
            // Spot stops rest with a limit: the buffer of R4 stands in for a market order.
            let limit =
                stop.execution == .limit
                ? stop.limitPrice
                : isSpot ? Pricing.immediateLimit(side: order.exitSide, anchor: stop.price, tickSize: tickSize) : nil
            legs.append(
                NativeLeg(
                    leg: .stop,
                    type: limit == nil ? .stopMarket : .stopLimit,
                    quantity: rest,
                    limit: limit,
                    trigger: stop.price,
                )
            )
        } else if let trailing = order.draft.trailing {
            legs.append(
                NativeLeg(
                    leg: .stop,
                    type: .trailingStop,
                    quantity: rest,
                    trigger: trailing.activationPrice,
                    callback: trailing.callback,
                )
            )
        }
        return legs.map { $0.fitted(order.instrument, order.exitSide) }
    }

    /// The venue's trigger report, or a fill before it.
    mutating func nativeStopFired(_ key: VenueOrderKey, at price: Price?) {
        guard let stop = order.venueOrders.first(where: { $0.key == key }), stop.isNative, order.isUndisturbed,
            order.status.isOpen, let anchor = stop.trigger ?? order.effectiveStop?.price ?? price
        else { return }
        latchAtVenue(order.nativeStopKind, at: anchor, fired: key)
    }

    /// A native leg is over: executed, taken down by us, tried again later, or lost.
    mutating func nativeEnded(_ ended: VenueOrder, _ outcome: Outcome) {
        switch outcome {
        case .filled: succeeded()
        case .expired, .cancelled: succeeded()
        case .absent, .notSent, .refused: break
        }
        if order.isExiting {
            if ended.leg == .stop, !ended.cancelWanted { exitEnded(ended, outcome) }
            return
        }
        guard order.isUndisturbed, !ended.cancelWanted else { return }
        switch outcome {
        case .filled: return
        case .absent: return
        case .notSent, .refused(.rateLimited):
            order.nativeRetry = failed(order.nativeRetry)
            return
        case .expired, .cancelled, .refused: break
        }
        // A list whose stop fired expires its other leg by itself.
        let isListsDoing =
            outcome == .expired && ended.leg != .stop && order.instrument.native.contains(.list)
            && order.venueOrders.contains { $0.isNative && $0.leg == .stop }
        guard !isListsDoing, !order.lostLegs.contains(ended.leg) else { return }
        order.lostLegs.append(ended.leg)
        facts.append(.nativeLegLost(ended.leg))
    }
}

extension NativeOrders {
    /// What can rest at the venue, for a refusal.
    fileprivate var members: RefusalMembers {
        ["possible": .texts(NativeOrders.words.filter { contains($0.1) }.map(\.0))]
    }
}

extension PlanCheck {
    /// Whether the venue can hold what is asked for (6.2, F11).
    mutating func checkPlacement() {
        if let backstop = draft.backstop, backstop.enabled { checkBackstop(backstop) }
        switch draft.placement {
        case .managed: break
        case .native: checkNative()
        }
    }

    private mutating func checkBackstop(_ backstop: BackstopPlan) {
        if !instrument.native.contains(.backstop) {
            fail(.backstopNotSupported, "backstop", "No backstop is possible on this market.")
        } else if draft.stopLoss == nil, draft.trailing == nil {
            fail(.backstopNotSupported, "backstop", "A backstop stands behind a stop, and the order has none.")
        } else if backstop.distancePercent < ExactDecimal(mantissa: 5, scale: 1)
            || backstop.distancePercent > ExactDecimal(50)
        {
            fail(.backstopNotSupported, "backstop.distancePct", "The distance is 0.5 to 50 percent.")
        }
    }

    private mutating func checkNative() {
        func refuse(_ field: String, _ detail: String) {
            fail(.nativeNotPossible, field, detail, instrument.native.members)
        }
        let native = instrument.native
        let hasStop = draft.stopLoss != nil || draft.trailing != nil
        if draft.takeProfits.count > 1 { refuse("takeProfits", "At most one level can rest at a venue.") }
        if draft.stopLoss != nil, draft.trailing != nil {
            refuse("trailing", "One stop can rest: fixed or trailing.")
        }
        if draft.breakEven?.enabled == true || draft.stopFollow != .none || !draft.stepLocks.isEmpty
            || !draft.partialStops.isEmpty || draft.stopLoss?.timeoutMs != nil
            || draft.takeProfits.contains(where: { $0.trailingRate != nil })
        {
            refuse("placement", "Break-even, follow, locks, partial stops, timeout and trailing levels need managed.")
        }
        if draft.takeProfits.isEmpty, !hasStop { refuse("placement", "Nothing of this plan could rest.") }
        if !draft.takeProfits.isEmpty, hasStop {
            let both = native.contains(.pair) || native.contains(.list)
            if !both { refuse("placement", "Only one exit order can rest on this venue; use managed.") }
            if native.contains(.list), !native.contains(.pair), draft.trailing != nil {
                refuse("trailing", "A list takes a fixed stop.")
            }
        } else if !draft.takeProfits.isEmpty, !native.contains(.takeProfit) {
            refuse("placement", "No take-profit can rest on this venue; use managed.")
        }
        if draft.stopLoss != nil, !native.contains(.stop) {
            refuse("placement", "No stop can rest on this venue; use managed.")
        }
        if let trailing = draft.trailing { checkNativeTrailing(trailing) }
        switch draft.triggerSource ?? instrument.defaultTriggerSource {
        case .last: break
        case .mark:
            if !instrument.kind.isDerivative { refuse("triggerSource", "Spot stops at a venue watch the last price.") }
        case .index, .bid, .ask: refuse("triggerSource", "A venue watches its last or mark price.")
        }
    }

    private mutating func checkNativeTrailing(_ trailing: TrailingPlan) {
        guard instrument.native.contains(.trailing) else {
            fail(
                .nativeNotPossible,
                "trailing",
                "No trailing stop can rest on this venue; use managed.",
                instrument.native.members,
            )
            return
        }
        // Tenths of a percent, 0.1 to 10; basis points on spot, 10 to 2,000: exact or not at all (6.2.4).
        let isSpot = !instrument.kind.isDerivative
        let unit = ExactDecimal(mantissa: 1, scale: isSpot ? 4 : 3)
        let lowest = ExactDecimal(mantissa: 1, scale: 3)
        let highest = ExactDecimal(mantissa: isSpot ? 2 : 1, scale: 1)
        let range: RefusalMembers = ["min": .number(lowest), "max": .number(highest)]
        switch trailing.callback {
        case .amount: fail(.callbackOutOfRange, "trailing.callbackAmount", "The venue trails by a rate.", range)
        case .rate(let rate):
            if rate.value < lowest || rate.value > highest || !rate.value.isMultiple(of: unit) {
                fail(.callbackOutOfRange, "trailing.callbackRate", "The venue has no such callback rate.", range)
            }
        }
    }
}
