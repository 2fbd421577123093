// Edits of a living order: all fields of one edit apply together, or none (ORDERS.md R8, 5.3, INTERFACES.md 1.11).
//
// The order of work: the plan as it would be, its checks against the market as it is, then the change.

extension Deciding {
    mutating func edit(_ change: OrderEdit) throws(Refusal) -> Bool {
        try refuseIfLeaving()
        var draft = order.draft
        change.apply(to: &draft)
        if let long = PlanCheck.longNumbers(draft).first { throw long }
        try checkEntryChange(change, draft)
        try checkEdit(change, draft)
        let before = order.draft
        order.draft = draft
        order.draft.takeProfits = before.takeProfits
        order.draft.partialStops = before.partialStops
        try editLevels(change)
        editPartialStops(change)
        editSource(change)
        try editStops(change)
        try checkExitsLeft()
        editEntry(change, before: before)
        if change.placement != nil {
            order.lostLegs = []
            order.nativeRetry = .none
        }
        if change.backstop != nil { renewBackstop() }
        if change.printGuard != nil {
            order.printCentre = order.draft.printGuard == nil ? nil : moment.price
            if order.draft.printGuard == nil { order.suspect = nil }
        }
        for path in change.paths { facts.append(.modified(path: path)) }
        return !change.paths.isEmpty
    }

    // MARK: Checks

    /// What side checks compare with: the current price once something is held (R8), else as at creation (R12.1).
    private func editReference(_ draft: Draft) throws(Refusal) -> Price {
        if order.status == .pending, order.isAdopted, let limit = draft.entry.price { return limit }
        guard let price = moment.price else { throw Refusal(.sourceUnavailable, "No current price is known.") }
        return order.status.isOpen ? price : SmartOrder.reference(of: draft, bounds: CreationBounds(), current: price)
    }

    private func checkEdit(_ change: OrderEdit, _ draft: Draft) throws(Refusal) {
        let isPending = order.status == .pending
        // What the edit does not name is checked again only where its reference may have moved with the edit: not because
        // the market did.
        let isWhole = isPending && (change.touchesEntry || change.triggerSource != nil)
        let reference = try editReference(draft)
        var checked = draft
        if change.takeProfits == nil, !isPending { checked.takeProfits = [] }
        if change.partialStops == nil {
            checked.partialStops = order.partialStops.filter { $0.state == .pending }.map(\.plan)
        }
        var check = PlanCheck(
            checked,
            instrument: order.instrument,
            bounds: CreationBounds(),
            now: now,
            reference: reference,
            average: order.averageEntry,
        )
        check.checkTicks()
        // What the edit does not name may stand on a grid that the venue has left.
        check.failures.removeAll { off in !change.paths.contains { off.field?.hasPrefix($0) ?? false } }
        if isWhole || change.takeProfits != nil {
            check.checkLevels(already: sizesInUse, quantity: isPending ? draft.quantity : plannable)
        }
        let touchesStops = change.stopLoss != nil || change.trailing != nil
        if isWhole || change.stopLoss != nil { check.checkStop() }
        if isWhole || change.trailing != nil || change.partialStops != nil || change.takeProfits != nil {
            check.checkCallbacks()
        }
        if change.exitAt != nil || change.entry != nil { check.checkTimes() }
        if isWhole || change.stepLocks != nil { check.checkSteps() }
        if isWhole || change.partialStops != nil || touchesStops {
            check.checkPartialStops(extreme: order.extreme)
            checkPartialSizes(change, &check)
        }
        if change.breakEven != nil, order.breakEvenPrice == nil { check.checkBreakEven() }
        check.checkPlacement()
        if let refusal = check.sorted.first { throw refusal }
    }

    /// Original sizes of levels that are done or under way: they are not listed, and count (INTERFACES.md 1.11).
    private var sizesInUse: ExactDecimal {
        order.levels.reduce(into: .zero) { sum, level in
            switch level.state {
            case .filled, .triggered: sum += level.plan.sizePercent
            case .pending, .cancelled: break
            }
        }
    }

    /// Quantity that PENDING levels share.
    private var plannable: Quantity {
        order.levels.reduce(into: order.remaining) { left, level in
            if level.state == .triggered { left -= level.planned - level.filled }
        }
    }

    private func checkPartialSizes(_ change: OrderEdit, _ check: inout PlanCheck) {
        guard let listed = change.partialStops else { return }
        var sum = listed.reduce(into: ExactDecimal.zero) { $0 += $1.sizePercent }
        for partial in order.partialStops where partial.state != .pending { sum += partial.plan.sizePercent }
        if sum >= ExactDecimal(100) {
            check.fail(
                .partialStopInvalid,
                "partialStops",
                "With those that fired the sizes reach 100%.",
                ["partialStop": .none],
            )
        }
    }

    private func checkExitsLeft() throws(Refusal) {
        let hasLevel = order.levels.contains { $0.state == .pending || $0.state == .triggered }
        let draft = order.draft
        guard hasLevel || draft.stopLoss != nil || draft.trailing != nil || draft.exitAt != nil else {
            throw Refusal(.noExit, "The order would have no exit left.")
        }
    }

    // MARK: Levels

    private mutating func editLevels(_ change: OrderEdit) throws(Refusal) {
        if let listed = change.takeProfits { replaceLevels(listed) }
        if let number = change.cancelLevel {
            let index = try levelIndex(number)
            guard order.levels[index].state == .pending else { throw levelNotPending(order.levels[index]) }
            cancelLevel(index)
        }
        if let limit = change.restingLimit { try moveRestingLimit(limit) }
        order.draft.takeProfits = order.levels.map(\.plan)
        if order.status.isOpen, change.takeProfits != nil || change.cancelLevel != nil { replan() }
    }

    private func levelIndex(_ number: Int) throws(Refusal) -> Int {
        guard let index = order.levels.firstIndex(where: { $0.number == number }) else {
            throw Refusal(.notFound, field: "level", "The order has no level \(number).")
        }
        return index
    }

    /// The list takes the place of the PENDING levels, under the numbers that are free.
    private mutating func replaceLevels(_ listed: [TakeProfitPlan]) {
        var levels = order.levels.filter { $0.state != .pending }
        var number = 0
        for plan in listed {
            repeat { number += 1 } while levels.contains { $0.number == number }
            levels.append(Level(number: number, plan: plan, price: price(of: plan), planned: .zero))
        }
        order.levels = levels.sorted { $0.number < $1.number }
    }

    private func price(of plan: TakeProfitPlan) -> Price {
        switch plan.target {
        case .price(let price): return price
        case .percent(let percent):
            let reference = (try? editReference(order.draft)) ?? .zero
            let average =
                order.averageEntry ?? AverageEntry(cost: reference * Quantity(.one), quantity: Quantity(.one))
            return Pricing.gain(side: side, average: average, percent: percent, tickSize: tickSize)
        }
    }

    /// A resting level gets another limit: cancelled, proven gone, placed again (2.8.3).
    private mutating func moveRestingLimit(_ limit: OrderEdit.RestingLimit) throws(Refusal) {
        let index = try levelIndex(limit.level)
        guard order.instrument.isOnTick(limit.price) else {
            throw order.instrument.offTick(limit.price, field: "limitPrice")
        }
        let leg = Leg.takeProfit(limit.level)
        let rests = order.venueOrders.contains { $0.leg == leg && $0.type == .goodTillCancelled && !$0.cancelWanted }
        guard order.levels[index].state == .triggered, rests else { throw levelNotPending(order.levels[index]) }
        order.levels[index].plan.limitPrice = limit.price
        order.levels[index].replaceRequested = true
        cancelResting { $0.leg == leg }
    }

    // MARK: Stops

    private mutating func editPartialStops(_ change: OrderEdit) {
        guard let listed = change.partialStops else { return }
        var partials = order.partialStops.filter { $0.state != .pending }
        var number = 0
        for plan in listed {
            repeat { number += 1 } while partials.contains { $0.number == number }
            partials.append(PartialStop(number: number, plan: plan))
        }
        order.partialStops = partials.sorted { $0.number < $1.number }
        order.draft.partialStops = order.partialStops.map(\.plan)
    }

    /// Water marks of one source mean nothing for another: they restart at its current price (R3.4).
    private mutating func editSource(_ change: OrderEdit) {
        guard let source = change.triggerSource, source != order.triggerSource, let price = moment.price else { return }
        order.triggerSource = source
        endDelay(isReset: true)
        order.suspect = nil
        if order.draft.printGuard != nil { order.printCentre = price }
        order.extreme = order.extreme.map { _ in price }
        order.trailingExtreme = order.trailingExtreme.map { _ in price }
        order.entryExtreme = order.entryExtreme.map { _ in price }
        for index in order.levels.indices {
            order.levels[index].trailingExtreme = order.levels[index].trailingExtreme.map { _ in price }
        }
        order.extremePosition = moment.position
    }

    private mutating func editStops(_ change: OrderEdit) throws(Refusal) {
        if change.stopLoss != nil { endDelay(isReset: true) }
        if change.stepLocks != nil { order.locksReached = 0 }
        guard order.status.isOpen else { return }
        if change.trailing != nil { try editTrailing() }
        if change.breakEven != nil { try switchBreakEven() }
        if change.stopFollow != nil { try switchFollow() }
    }

    private mutating func editTrailing() throws(Refusal) {
        guard let trailing = order.draft.trailing else {
            order.trailingActive = false
            order.trailingExtreme = nil
            return
        }
        if let activation = trailing.activationPrice {
            // A new activation price starts over; the same one keeps what it has.
            if activation != before.draft.trailing?.activationPrice {
                order.trailingActive = false
                order.trailingExtreme = nil
            }
        } else {
            order.trailingActive = true
            order.trailingExtreme = nil
        }
        guard let stop = order.trailingStopPrice else { return }
        guard isProtective(stop) else {
            throw Refusal(
                .slWrongSide,
                field: "trailing",
                "The trailing stop would stand at \(stop), beyond the market.",
                referenceMembers,
            )
        }
    }

    /// After the first level is FILLED the switch acts at once, or is refused (R6.4).
    private mutating func switchBreakEven() throws(Refusal) {
        guard let plan = order.draft.breakEven, plan.enabled, plan.onFirstTakeProfit, order.breakEvenPrice == nil,
            order.levels.contains(where: { $0.state == .filled }), let price = breakEvenPrice()
        else { return }
        guard isProtective(price) else {
            throw Refusal(
                .breakEvenWouldTrigger,
                field: "breakEven.enabled",
                "The price is at or beyond break-even \(price): it would close the order at once.",
                ["breakEvenPrice": .price(price), "reference": moment.price.map { .price($0) } ?? .none],
            )
        }
        armBreakEven(onlyIfProtective: false)
    }

    private mutating func switchFollow() throws(Refusal) {
        guard order.draft.stopFollow == .followTP, order.followPrice == nil,
            let last = order.levels.lastIndex(where: { $0.state == .filled }), let price = followCandidate(filled: last)
        else { return }
        guard isProtective(price) else {
            throw Refusal(
                .slWrongSide,
                field: "stopFollow",
                "The stop would follow to \(price), beyond the market.",
                referenceMembers,
            )
        }
        order.followPrice = price
    }

    private var referenceMembers: RefusalMembers { ["reference": moment.price.map { .price($0) } ?? .none] }

    // MARK: Entry

    private func checkEntryChange(_ change: OrderEdit, _ draft: Draft) throws(Refusal) {
        guard change.touchesEntry else { return }
        let inFlight = order.venueOrders.contains { $0.leg == .entry && $0.type != .goodTillCancelled }
        guard order.entryHasRest, !inFlight else {
            throw Refusal(.entryAlreadyFilled, "Nothing of the entry is left to be changed.")
        }
        if draft.entry.mode == .attach, order.draft.entry.mode != .attach {
            throw Refusal(.entryNotAdoptable, field: "entry.mode", "An order cannot turn into an attached one.")
        }
        guard order.instrument.isOnStep(draft.quantity) else { throw order.instrument.offStep(draft.quantity) }
        guard draft.quantity > order.entryFilled else {
            throw Refusal(
                .qtyNotOnStep,
                field: "qty",
                "\(order.entryFilled) is filled already; cancel the entry instead.",
                [
                    "step": .quantity(order.instrument.stepSize),
                    "nearest": .quantity(
                        order.entryFilled.floored(to: order.instrument.stepSize) + order.instrument.stepSize
                    ),
                ],
            )
        }
        if draft.entry.mode == .conditional, let price = moment.price, draft.entry.trigger == price, order.entryWaits {
            throw Refusal(
                .triggerWrongSide,
                field: "entry.trigger",
                "The trigger differs from the current price.",
                ["reference": .price(price)],
            )
        }
        if draft.entry.mode == .limit, draft.entry.price == nil {
            throw Refusal(.limitPriceRequired, field: "entry.price", "A limit entry needs its price.")
        }
    }

    private mutating func editEntry(_ change: OrderEdit, before: Draft) {
        guard change.touchesEntry else { return }
        var old = before.entry
        old.expiresAt = order.draft.entry.expiresAt
        guard old != order.draft.entry || before.quantity != order.draft.quantity else { return }
        if order.hasLive(.entry) {
            order.entryGoal = .replace
            cancelResting { $0.leg == .entry }
        } else {
            order.entryDue = false
            order.entryGoal = .none
            restartEntry(onlyIfPlanned: before.entry)
        }
    }

    /// Starts the entry again as the plan says now.
    mutating func restartEntry(onlyIfPlanned old: EntryPlan? = nil) {
        let entry = order.draft.entry
        let price = moment.price
        switch entry.mode {
        case .attach, .market, .limit:
            order.entryTriggered = true
            sendEntry()
        case .conditional:
            order.entryTriggered = false
            if old?.mode != .conditional || old?.trigger != entry.trigger, let price, let trigger = entry.trigger {
                order.entryRises = trigger > price
            }
        case .trailing:
            order.entryTriggered = false
            if let old, old.mode == .trailing, old.activation == entry.activation { return }
            order.entryExtreme = entry.activation == nil ? price : nil
            if let price, let activation = entry.activation { order.entryRises = activation > price }
            order.extremePosition = moment.position
        }
    }
}

extension OrderEdit {
    /// Writes the change into a plan; lists of levels and partial stops stand for the pending ones.
    func apply(to draft: inout Draft) {
        if let stopLoss { draft.stopLoss = stopLoss }
        if let trailing { draft.trailing = trailing }
        if let breakEven { draft.breakEven = breakEven }
        if let stopFollow { draft.stopFollow = stopFollow }
        if let stepLocks { draft.stepLocks = stepLocks }
        if let partialStops { draft.partialStops = partialStops }
        if let takeProfits { draft.takeProfits = takeProfits }
        if let entry { draft.entry = entry }
        if let entryPrice {
            switch draft.entry.mode {
            case .attach, .market, .limit: draft.entry.price = entryPrice
            case .conditional:
                if draft.entry.limitPrice == nil {
                    draft.entry.trigger = entryPrice
                } else {
                    draft.entry.limitPrice = entryPrice
                }
            case .trailing: draft.entry.activation = entryPrice
            }
        }
        if let quantity { draft.quantity = quantity }
        if let triggerSource { draft.triggerSource = triggerSource }
        if let exitAt { draft.exitAt = exitAt }
        if let backstop { draft.backstop = backstop }
        if let sizeMode { draft.sizeMode = sizeMode }
        if let placement { draft.placement = placement }
        if let printGuard { draft.printGuard = printGuard }
    }

    var touchesEntry: Bool { entry != nil || entryPrice != nil || quantity != nil }

    /// The fields that change, in the spelling of INTERFACES.md 1.10.
    var paths: [String] {
        let all: [(Bool, String)] = [
            (stopLoss != nil, "stopLoss"), (trailing != nil, "trailing"), (breakEven != nil, "breakEven"),
            (stopFollow != nil, "stopFollow"), (stepLocks != nil, "stepLocks"), (partialStops != nil, "partialStops"),
            (takeProfits != nil || cancelLevel != nil || restingLimit != nil, "takeProfits"),
            (entry != nil || entryPrice != nil, "entry"), (quantity != nil, "qty"),
            (triggerSource != nil, "triggerSource"), (exitAt != nil, "exitAt"), (backstop != nil, "backstop"),
            (sizeMode != nil, "sizeMode"), (placement != nil, "placement"), (printGuard != nil, "printGuard"),
        ]
        return all.compactMap { $0 ? $1 : nil }
    }
}
