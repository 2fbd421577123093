// Whether a plan may be created or edited as asked (ORDERS.md R12, 5.4).
//
// Every check adds its refusals to one list; `sorted` brings them into the documented order, which is the order of
// `RefusalCode`. So a form can show all of them and an API answers with the first.

/// A plan under examination.
struct PlanCheck {
    let draft: Draft
    let instrument: Instrument
    let bounds: CreationBounds
    let now: Timestamp
    /// Side checks compare with it; equal is the wrong side (R12.1).
    let reference: Price
    /// What percentages refer to: the reference at creation, the average entry of an order that holds something.
    let average: AverageEntry
    var failures: [Refusal] = []

    init(
        _ draft: Draft,
        instrument: Instrument,
        bounds: CreationBounds,
        now: Timestamp,
        reference: Price,
        average: AverageEntry? = nil,
    ) {
        self.draft = draft
        self.instrument = instrument
        self.bounds = bounds
        self.now = now
        self.reference = reference
        self.average = average ?? AverageEntry(cost: reference * Quantity(.one), quantity: Quantity(.one))
    }

    var side: Side { draft.side }
    var tickSize: Price { instrument.tickSize }
    private var atMost: String { side == .buy ? "below" : "above" }
    private var atLeast: String { side == .buy ? "above" : "below" }

    /// All failures, in the order in which they are to be told.
    var sorted: [Refusal] {
        let order = Dictionary(uniqueKeysWithValues: RefusalCode.allCases.enumerated().map { ($1, $0) })
        return failures.enumerated().sorted { left, right in
            (order[left.element.code] ?? 0, left.offset) < (order[right.element.code] ?? 0, right.offset)
        }.map(\.element)
    }

    mutating func fail(
        _ code: RefusalCode,
        _ field: String? = nil,
        _ detail: String,
        _ members: RefusalMembers = [:],
    ) {
        failures.append(Refusal(code, field: field, detail, members))
    }

    // MARK: Numbers

    mutating func checkTick(_ price: Price?, _ field: String) {
        guard let price, !instrument.isOnTick(price) else { return }
        failures.append(instrument.offTick(price, field: field))
    }

    mutating func checkTicks() {
        for (index, level) in draft.takeProfits.enumerated() {
            if case .price(let price) = level.target { checkTick(price, "takeProfits[\(index)].price") }
            checkTick(level.limitPrice, "takeProfits[\(index)].limitPrice")
        }
        checkTick(draft.stopLoss?.price, "stopLoss.price")
        checkTick(draft.stopLoss?.limitPrice, "stopLoss.limitPrice")
        checkTick(draft.stopLoss?.emergencyPrice, "stopLoss.emergencyPrice")
        switch draft.entry.mode {
        case .attach: break
        case .market, .limit, .conditional, .trailing:
            checkTick(draft.entry.price, "entry.price")
            checkTick(draft.entry.trigger, "entry.trigger")
            checkTick(draft.entry.limitPrice, "entry.limitPrice")
            checkTick(draft.entry.activation, "entry.activation")
        }
        checkTick(draft.trailing?.activationPrice, "trailing.activationPrice")
        checkTick(draft.breakEven?.armPrice, "breakEven.armPrice")
        for (index, step) in draft.stepLocks.enumerated() {
            guard case .price(let at, let lock) = step else { continue }
            checkTick(at, "stepLocks[\(index)].atPrice")
            checkTick(lock, "stepLocks[\(index)].lockPrice")
        }
        for (index, partial) in draft.partialStops.enumerated() {
            if case .price(let price) = partial.distance { checkTick(price, "partialStops[\(index)].price") }
        }
    }

    // MARK: Levels

    func price(of level: TakeProfitPlan) -> Price {
        switch level.target {
        case .price(let price): price
        case .percent(let percent):
            Pricing.gain(side: side, average: average, percent: percent, tickSize: tickSize)
        }
    }

    /// `already`: percentages of levels that are not listed because they are done or under way.
    mutating func checkLevels(already: ExactDecimal = .zero, quantity: Quantity) {
        let levels = draft.takeProfits
        guard !levels.isEmpty else { return }
        var sum = already
        var sizesAreRight = true
        var misfits: [Int] = []
        for (index, level) in levels.enumerated() {
            sum += level.sizePercent
            if !level.sizePercent.isPositive || level.sizePercent.scale > 4 {
                sizesAreRight = false
                misfits.append(index)
            }
        }
        for index in misfits {
            fail(
                .tpSizeSum,
                "takeProfits[\(index)].sizePct",
                "A size is positive with at most 4 decimals.",
                ["sum": .number(sum)],
            )
        }
        if sizesAreRight, sum != ExactDecimal(100) {
            sizesAreRight = false
            fail(.tpSizeSum, "takeProfits", "The sizes sum to \(sum)%, not to 100%.", ["sum": .number(sum)])
        }
        let prices = levels.map(price)
        // A price that follows from a percentage can be longer than both: nothing is computed with it.
        if let index = prices.firstIndex(where: { !$0.value.isShort }) {
            fail(.tpWrongSide, "takeProfits[\(index)].pricePct", "The price has more than 15 significant digits.")
            return
        }
        for (index, price) in prices.enumerated() where !side.favours(price, over: reference) {
            fail(
                .tpWrongSide,
                "takeProfits[\(index)].price",
                "\(price) is not \(atLeast) the reference \(reference).",
                ["reference": .price(reference), "level": .count(index + 1)],
            )
        }
        for index in prices.indices.dropFirst() where !side.favours(prices[index], over: prices[index - 1]) {
            fail(
                .tpNotMonotone,
                "takeProfits[\(index)].price",
                "Levels go strictly away from the entry.",
                ["level": .count(index + 1)],
            )
        }
        if sizesAreRight { checkMinimums(prices, quantity) }
        for (index, level) in levels.enumerated() where level.trailingRate != nil && index != levels.count - 1 {
            fail(
                .trailingTPNotLast,
                "takeProfits[\(index)].trailingRate",
                "Only the last level can trail.",
                ["level": .count(index + 1)],
            )
        }
    }

    private mutating func checkMinimums(_ prices: [Price], _ quantity: Quantity) {
        let shares = zip(draft.takeProfits, prices).map { PlanShare(percent: $0.sizePercent, price: $1) }
        let plan = Planner.plan(quantity, over: shares, of: instrument, merging: false)
        for (index, amount) in plan.enumerated() where !instrument.takes(amount, at: prices[index]) {
            fail(
                .tpBelowMin,
                "takeProfits[\(index)].sizePct",
                "The level would close \(amount), which is below the venue's minimum. Use fewer or larger levels.",
                [
                    "level": .count(index + 1), "plannedQty": .quantity(amount),
                    "minQty": .quantity(instrument.minQuantity), "minNotional": .number(instrument.minNotional.value),
                ],
            )
        }
    }

    // MARK: Stops

    mutating func checkStop() {
        guard let stop = draft.stopLoss else { return }
        if !side.favours(reference, over: stop.price) {
            fail(
                .slWrongSide,
                "stopLoss.price",
                "\(stop.price) is not \(atMost) the reference \(reference).",
                ["reference": .price(reference)],
            )
        }
        if stop.execution == .limit, stop.limitPrice == nil {
            fail(.limitPriceRequired, "stopLoss.limitPrice", "A limit stop needs a limit price.")
        }
        if let emergency = stop.emergencyPrice {
            if stop.timeoutMs == nil || !side.favours(stop.price, over: emergency) {
                fail(
                    .emergencyWrongSide,
                    "stopLoss.emergencyPrice",
                    "The emergency price is \(atMost) the stop and needs a timeout.",
                )
            }
        }
    }

    mutating func checkCallbacks() {
        if let trailing = draft.trailing {
            switch trailing.callback {
            case .rate: checkCallback(trailing.callback, "trailing.callbackRate")
            case .amount: checkCallback(trailing.callback, "trailing.callbackAmount")
            }
        }
        if let rate = draft.entry.callbackRate { checkCallback(.rate(rate), "entry.callbackRate") }
        for (index, level) in draft.takeProfits.enumerated() {
            if let rate = level.trailingRate { checkCallback(.rate(rate), "takeProfits[\(index)].trailingRate") }
        }
        for (index, partial) in draft.partialStops.enumerated() {
            if case .callback(let callback) = partial.distance { checkCallback(callback, "partialStops[\(index)]") }
        }
        if draft.entry.mode == .trailing, draft.entry.callbackRate == nil {
            fail(
                .callbackOutOfRange,
                "entry.callbackRate",
                "A trailing entry needs a callback rate.",
                ["min": .number(bounds.minimumCallback.value), "max": .number(bounds.maximumCallback.value)],
            )
        }
    }

    private mutating func checkCallback(_ callback: Callback, _ field: String) {
        let low = bounds.minimumCallback
        let high = bounds.maximumCallback
        let range: RefusalMembers
        switch callback {
        case .rate(let rate):
            range = ["min": .number(low.value), "max": .number(high.value)]
            let isInside = rate >= low && rate <= high && rate.value.scale <= 6
            if isInside, rate.value * reference.value >= tickSize.value { return }
        case .amount(let amount):
            // The largest rate bounds an amount too; the smallest is one tick size.
            let widest = high.value * reference.value
            range = ["min": .price(tickSize), "max": .number(widest)]
            if amount >= tickSize, amount.value <= widest { return }
        }
        fail(
            .callbackOutOfRange,
            field,
            "A callback is \(low) to \(high) of the price with at most 6 decimals, and at least one tick size.",
            range,
        )
    }

    mutating func checkExit() {
        if draft.takeProfits.isEmpty, draft.stopLoss == nil, draft.trailing == nil, draft.exitAt == nil {
            fail(.noExit, nil, "Add a take-profit, a stop, a trailing stop or an exit time.")
        }
    }

    mutating func checkTimes() {
        if let exitAt = draft.exitAt, exitAt <= now {
            fail(.timeInPast, "exitAt", "The exit time is in the past.")
        }
        if let expiry = draft.entry.expiresAt, expiry <= now {
            fail(.timeInPast, "entry.expiresAt", "The expiry is in the past.")
        }
    }

    // MARK: Further features

    mutating func checkSteps() {
        let steps = draft.stepLocks.map { step -> (at: Price, lock: Price) in
            switch step {
            case .price(let at, let lock): (at, lock)
            case .percent(let at, let lock):
                (
                    Pricing.gain(side: side, average: average, percent: at, tickSize: tickSize),
                    Pricing.gain(side: side, average: average, percent: lock, tickSize: tickSize),
                )
            }
        }
        if steps.count > 10 {
            fail(.stepLockInvalid, "stepLocks", "There are at most 10 steps.", ["step": .count(11)])
        }
        for (index, step) in steps.enumerated() {
            let gap = side == .buy ? step.at - step.lock : step.lock - step.at
            if gap < tickSize {
                fail(
                    .stepLockInvalid,
                    "stepLocks[\(index)]",
                    "A lock is at least one tick size \(atMost) its step.",
                    ["step": .count(index + 1)],
                )
            }
            guard index > 0 else { continue }
            let before = steps[index - 1]
            if !side.favours(step.at, over: before.at) || !side.favours(step.lock, over: before.lock) {
                fail(
                    .stepLockInvalid,
                    "stepLocks[\(index)]",
                    "Steps and locks rise strictly.",
                    ["step": .count(index + 1)],
                )
            }
        }
    }

    /// `extreme`: what callbacks of partial stops are measured from; the reference at creation.
    mutating func checkPartialStops(extreme: Price? = nil) {
        let partials = draft.partialStops
        guard !partials.isEmpty else { return }
        if draft.stopLoss == nil, draft.trailing == nil {
            fail(.partialStopInvalid, "partialStops", "Partial stops need a full stop.", ["partialStop": .none])
        }
        if partials.count > 5 {
            fail(.partialStopInvalid, "partialStops", "There are at most 5 partial stops.", ["partialStop": .count(6)])
        }
        var sum = ExactDecimal.zero
        var before: Price?
        for (index, partial) in partials.enumerated() {
            let field = "partialStops[\(index)]"
            let number: RefusalMembers = ["partialStop": .count(index + 1)]
            sum += partial.sizePercent
            if !partial.sizePercent.isPositive || partial.sizePercent.scale > 4 {
                fail(.partialStopInvalid, field, "A size is positive with at most 4 decimals.", number)
            }
            let threshold: Price
            switch partial.distance {
            case .price(let price): threshold = price
            case .callback(let callback):
                threshold = Pricing.trailingStop(
                    side: side,
                    extreme: extreme ?? reference,
                    callback: callback,
                    tickSize: tickSize,
                )
            }
            if !side.favours(reference, over: threshold) {
                fail(.partialStopInvalid, field, "\(threshold) is not \(atMost) the reference \(reference).", number)
            }
            if let before, !side.favours(before, over: threshold) {
                fail(.partialStopInvalid, field, "Partial stops are ordered, the nearest first.", number)
            }
            if let stop = draft.stopLoss, !side.favours(threshold, over: stop.price) {
                fail(.partialStopInvalid, field, "A partial stop is tighter than the full stop.", number)
            }
            before = threshold
        }
        if sum >= ExactDecimal(100) {
            fail(
                .partialStopInvalid,
                "partialStops",
                "The sizes sum to less than 100%; the full stop takes the rest.",
                ["partialStop": .none],
            )
        }
    }

    mutating func checkBreakEven(at breakEven: Price? = nil) {
        guard let plan = draft.breakEven, plan.enabled else { return }
        let arming: Price
        let field: String
        if let price = plan.armPrice {
            (arming, field) = (price, "breakEven.armPrice")
        } else if let percent = plan.armPercent {
            arming = Pricing.gain(side: side, average: average, percent: percent, tickSize: tickSize)
            field = "breakEven.armPct"
        } else {
            return
        }
        let fee = draft.entry.mode == .limit ? instrument.makerFee : instrument.takerFee
        let target =
            breakEven
            ?? Pricing.breakEven(
                side: side,
                mode: plan.mode,
                average: average,
                feeIn: fee,
                feeOut: instrument.takerFee,
                offsetPercent: plan.offsetPercent ?? .zero,
                tickSize: tickSize,
            )
        let gap = side == .buy ? arming - target : target - arming
        if gap < tickSize {
            fail(
                .breakEvenArmInvalid,
                field,
                "\(arming) is not beyond the break-even price \(target) by a tick size.",
                ["breakEvenPrice": .price(target)],
            )
        }
    }
}

extension ExactDecimal {
    /// Longer numbers than any market has are refused before anything is computed: products have to stay in range.
    var isShort: Bool { mantissa.magnitude < 1_000_000_000_000_000 && scale <= 18 }

    /// The same for a percentage of a price: prices that follow from it stay in range.
    var isShortPercentage: Bool { mantissa.magnitude < 10_000_000_000 && scale <= 10 }
}

extension PlanCheck {
    /// Numbers that are too long to be computed with. When there are any, nothing else is checked.
    static func longNumbers(_ draft: Draft) -> [Refusal] {
        var failures: [Refusal] = []
        func check(_ value: ExactDecimal?, _ code: RefusalCode, _ field: String) {
            guard let value, !value.isShort else { return }
            failures.append(Refusal(code, field: field, "A number has at most 15 significant digits."))
        }
        func check(percent: ExactDecimal?, _ code: RefusalCode, _ field: String) {
            guard let percent, !percent.isShortPercentage else { return }
            failures.append(Refusal(code, field: field, "A percentage has at most 10 significant digits."))
        }
        check(draft.quantity.value, .qtyNotOnStep, "qty")
        let entry = draft.entry
        check(entry.price?.value, .priceNotOnTick, "entry.price")
        check(entry.trigger?.value, .priceNotOnTick, "entry.trigger")
        check(entry.limitPrice?.value, .priceNotOnTick, "entry.limitPrice")
        check(entry.activation?.value, .priceNotOnTick, "entry.activation")
        check(entry.callbackRate?.value, .callbackOutOfRange, "entry.callbackRate")
        for (index, level) in draft.takeProfits.enumerated() {
            switch level.target {
            case .price(let price): check(price.value, .priceNotOnTick, "takeProfits[\(index)].price")
            case .percent(let percent): check(percent: percent, .tpWrongSide, "takeProfits[\(index)].pricePct")
            }
            check(level.sizePercent, .tpSizeSum, "takeProfits[\(index)].sizePct")
            check(level.limitPrice?.value, .priceNotOnTick, "takeProfits[\(index)].limitPrice")
            check(level.trailingRate?.value, .callbackOutOfRange, "takeProfits[\(index)].trailingRate")
        }
        check(draft.stopLoss?.price.value, .priceNotOnTick, "stopLoss.price")
        check(draft.stopLoss?.limitPrice?.value, .priceNotOnTick, "stopLoss.limitPrice")
        check(draft.stopLoss?.emergencyPrice?.value, .priceNotOnTick, "stopLoss.emergencyPrice")
        check(draft.trailing?.callback.number, .callbackOutOfRange, "trailing")
        check(draft.trailing?.activationPrice?.value, .priceNotOnTick, "trailing.activationPrice")
        check(percent: draft.breakEven?.offsetPercent, .breakEvenArmInvalid, "breakEven.offsetPct")
        check(draft.breakEven?.armPrice?.value, .priceNotOnTick, "breakEven.armPrice")
        check(percent: draft.breakEven?.armPercent, .breakEvenArmInvalid, "breakEven.armPct")
        for (index, step) in draft.stepLocks.enumerated() {
            let field = "stepLocks[\(index)]"
            switch step {
            case .price(let at, let lock): for price in [at, lock] { check(price.value, .stepLockInvalid, field) }
            case .percent(let at, let lock): for one in [at, lock] { check(percent: one, .stepLockInvalid, field) }
            }
        }
        for (index, partial) in draft.partialStops.enumerated() {
            switch partial.distance {
            case .price(let price): check(price.value, .priceNotOnTick, "partialStops[\(index)].price")
            case .callback(let callback): check(callback.number, .callbackOutOfRange, "partialStops[\(index)]")
            }
            check(partial.sizePercent, .partialStopInvalid, "partialStops[\(index)].sizePct")
        }
        return failures
    }
}

extension CreationBounds {
    var limitMembers: RefusalMembers { ["limit": .count(maxConditionals), "active": .count(activeConditionals)] }
}

extension TriggerSource {
    /// - Parameter published: what the market has instead.
    public func unavailable(_ published: [TriggerSource]) -> Refusal {
        Refusal(
            .sourceUnavailable,
            field: "triggerSource",
            "The market does not publish a \(rawValue) price.",
            ["available": .texts(published.map(\.rawValue))],
        )
    }
}

extension Callback {
    var number: ExactDecimal {
        switch self {
        case .rate(let rate): rate.value
        case .amount(let amount): amount.value
        }
    }
}

extension Instrument {
    func isOnTick(_ price: Price) -> Bool {
        price.isPositive && price.value.isShort && price.value.isMultiple(of: tickSize.value)
    }

    func offTick(_ price: Price, field: String) -> Refusal {
        guard price.value.isShort else {
            return Refusal(
                .priceNotOnTick,
                field: field,
                "A number has at most 15 significant digits.",
                ["tick": .price(tickSize)],
            )
        }
        let low = price.value.rounded(toMultipleOf: tickSize.value, .floor)
        let high = price.value.rounded(toMultipleOf: tickSize.value, .ceiling)
        return Refusal(
            .priceNotOnTick,
            field: field,
            "\(price) is not a multiple of \(tickSize); nearest are \(low) and \(high).",
            [
                "tick": .price(tickSize),
                "nearest": .numbers([max(low, tickSize.value), max(high, tickSize.value)]),
            ],
        )
    }

    /// A whole number of steps, and not more digits than exact products can hold.
    func isOnStep(_ quantity: Quantity) -> Bool {
        quantity.isPositive && quantity.value.isShort && quantity.value.mantissa < 10_000_000_000_000
            && quantity.value.isMultiple(of: stepSize.value)
    }

    func offStep(_ quantity: Quantity, field: String = "qty") -> Refusal {
        guard quantity.value.isShort else {
            return Refusal(
                .qtyNotOnStep,
                field: field,
                "A quantity has at most 13 significant digits.",
                ["step": .quantity(stepSize)],
            )
        }
        let nearest = quantity.value.rounded(toMultipleOf: stepSize.value, .floor)
        return Refusal(
            .qtyNotOnStep,
            field: field,
            "\(quantity) is not a positive multiple of \(stepSize); below it is \(nearest).",
            ["step": .quantity(stepSize), "nearest": .number(max(nearest, stepSize.value))],
        )
    }
}
