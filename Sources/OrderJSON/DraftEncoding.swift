// A draft as text. What is written is read back to the same value (`Draft.init(json:)`); defaults are written out, nil
// is left out.

public import JSONText
public import SmartOrders

extension JSONWriter {
    /// The members of a draft, inside an object that the caller opened.
    public mutating func draftMembers(_ draft: Draft) {
        member("side", draft.side)
        member("positionSide", draft.positionSide)
        member("qty", draft.quantity)
        member("triggerSource", ifPresent: draft.triggerSource)
        key("entry")
        entry(draft.entry)
        key("takeProfits")
        beginArray()
        for plan in draft.takeProfits {
            beginObject()
            takeProfitMembers(plan)
            endObject()
        }
        endArray()
        planMembers(draft)
        member("stopFollow", draft.stopFollow)
        key("stepLocks")
        beginArray()
        for lock in draft.stepLocks {
            beginObject()
            stepLockMembers(lock)
            endObject()
        }
        endArray()
        key("partialStops")
        beginArray()
        for plan in draft.partialStops {
            beginObject()
            partialStopMembers(plan)
            endObject()
        }
        endArray()
        member("placement", draft.placement)
        member("sizeMode", draft.sizeMode)
        member("exitAt", ifPresent: draft.exitAt)
        member("clientOrderId", ifPresent: draft.clientOrderID)
        member("note", ifPresent: draft.note)
    }

    /// A draft as an object.
    public mutating func draft(_ draft: Draft) {
        beginObject()
        draftMembers(draft)
        endObject()
    }

    /// The stops of a draft that are objects.
    private mutating func planMembers(_ draft: Draft) {
        if let stop = draft.stopLoss {
            key("stopLoss")
            stopLoss(stop)
        }
        if let trailing = draft.trailing {
            key("trailing")
            beginObject()
            trailingMembers(trailing)
            endObject()
        }
        if let plan = draft.breakEven {
            key("breakEven")
            beginObject()
            breakEvenMembers(plan)
            endObject()
        }
        if let plan = draft.backstop {
            key("backstop")
            beginObject()
            backstopMembers(plan)
            endObject()
        }
        if let plan = draft.printGuard {
            key("printGuard")
            beginObject()
            printGuardMembers(plan)
            endObject()
        }
    }

    mutating func entry(_ entry: EntryPlan) {
        beginObject()
        member("mode", entry.mode)
        member("price", ifPresent: entry.price)
        member("trigger", ifPresent: entry.trigger)
        member("limitPrice", ifPresent: entry.limitPrice)
        member("activation", ifPresent: entry.activation)
        member("callbackRate", ifPresent: entry.callbackRate)
        member("expiresAt", ifPresent: entry.expiresAt)
        member("reduceOnly", entry.reduceOnly)
        member("venueOrder", ifPresent: entry.venueOrder)
        endObject()
    }

    /// The price of a percent target is left out: it depends on the average entry.
    mutating func takeProfitMembers(_ plan: TakeProfitPlan) {
        switch plan.target {
        case .price(let price): member("price", price)
        case .percent(let percent): member("pricePct", percent)
        }
        member("sizePct", plan.sizePercent)
        member("exec", plan.execution)
        member("limitPrice", ifPresent: plan.limitPrice)
        member("trailingRate", ifPresent: plan.trailingRate)
    }

    mutating func stopLoss(_ stop: StopLossPlan) {
        beginObject()
        member("price", stop.price)
        member("exec", stop.execution)
        member("limitPrice", ifPresent: stop.limitPrice)
        member("fallbackMs", ifPresent: stop.fallbackMs)
        member("timeoutMs", ifPresent: stop.timeoutMs)
        member("emergencyPrice", ifPresent: stop.emergencyPrice)
        endObject()
    }

    mutating func callbackMember(_ callback: Callback) {
        switch callback {
        case .rate(let rate): member("callbackRate", rate)
        case .amount(let amount): member("callbackAmount", amount)
        }
    }

    mutating func trailingMembers(_ plan: TrailingPlan) {
        callbackMember(plan.callback)
        member("activationPrice", ifPresent: plan.activationPrice)
    }

    mutating func breakEvenMembers(_ plan: BreakEvenPlan) {
        member("enabled", plan.enabled)
        member("mode", plan.mode)
        member("offsetPct", ifPresent: plan.offsetPercent)
        member("onFirstTp", plan.onFirstTakeProfit)
        member("armPrice", ifPresent: plan.armPrice)
        member("armPct", ifPresent: plan.armPercent)
    }

    mutating func stepLockMembers(_ lock: StepLockPlan) {
        switch lock {
        case .percent(let at, let lock):
            member("atPct", at)
            member("lockPct", lock)
        case .price(let at, let lock):
            member("atPrice", at)
            member("lockPrice", lock)
        }
    }

    mutating func partialStopMembers(_ plan: PartialStopPlan) {
        switch plan.distance {
        case .price(let price): member("price", price)
        case .callback(let callback): callbackMember(callback)
        }
        member("sizePct", plan.sizePercent)
    }

    mutating func printGuardMembers(_ plan: PrintGuardPlan) {
        member("bandPct", plan.bandPercent)
    }

    mutating func backstopMembers(_ plan: BackstopPlan) {
        member("enabled", plan.enabled)
        member("distancePct", plan.distancePercent)
    }
}
