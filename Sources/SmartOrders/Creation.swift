// How a smart order comes to be: checks, plan, first state (ORDERS.md T1..T3, R12).

/// What an account allows, and what of it is used already (R12.4, R3.5, 6.1).
public struct CreationBounds: Hashable, Sendable {
    /// Legs allowed on this market and account.
    public var maxConditionals: Int
    /// Legs active already.
    public var activeConditionals: Int
    /// Range of a callback rate, inclusive.
    public var minimumCallback: Rate
    public var maximumCallback: Rate
    /// Trigger sources that the market publishes; nil: all of them.
    public var sources: [TriggerSource]?
    /// Average of the account's open position, for an `attach` without a price.
    public var positionAverage: Price?
    /// Quantity that other orders of the account manage in this market and direction.
    public var managedElsewhere: Quantity
    /// What an adopted resting order (`entry.venueOrder`) is at the venue.
    public var adopted: AdoptedOrder?
    /// An order of the other direction lives on this netted position (R16.4).
    public var hasOpposite: Bool
    /// The position has an order that follows its size (5.2).
    public var hasPositionOrder: Bool
    /// Spot: free balance of the coin that an entry pays with; nil: not known.
    public var freeBalance: ExactDecimal?

    public init(
        maxConditionals: Int = 20,
        activeConditionals: Int = 0,
        minimumCallback: Rate = Rate(ExactDecimal(mantissa: 1, scale: 3)),
        maximumCallback: Rate = Rate(ExactDecimal(mantissa: 5, scale: 1)),
        sources: [TriggerSource]? = nil,
        positionAverage: Price? = nil,
        managedElsewhere: Quantity = .zero,
        adopted: AdoptedOrder? = nil,
        hasOpposite: Bool = false,
        hasPositionOrder: Bool = false,
        freeBalance: ExactDecimal? = nil,
    ) {
        self.maxConditionals = maxConditionals
        self.activeConditionals = activeConditionals
        self.minimumCallback = minimumCallback
        self.maximumCallback = maximumCallback
        self.sources = sources
        self.positionAverage = positionAverage
        self.managedElsewhere = managedElsewhere
        self.adopted = adopted
        self.hasOpposite = hasOpposite
        self.hasPositionOrder = hasPositionOrder
        self.freeBalance = freeBalance
    }
}

/// A resting limit order, placed elsewhere, as the venue shows it (6.1).
public struct AdoptedOrder: Hashable, Sendable {
    public let venueOrderID: String
    public let side: Side
    public let quantity: Quantity
    public let limit: Price
    public let reduceOnly: Bool
    /// Fills so far, oldest first.
    public let fills: [Fill]

    public init(
        venueOrderID: String,
        side: Side,
        quantity: Quantity,
        limit: Price,
        reduceOnly: Bool = false,
        fills: [Fill] = [],
    ) {
        self.venueOrderID = venueOrderID
        self.side = side
        self.quantity = quantity
        self.limit = limit
        self.reduceOnly = reduceOnly
        self.fills = fills
    }
}

extension SmartOrder {
    /// Makes the first version of an order and what has to be done for it.
    ///
    /// `moment.price` is the current price of the order's trigger source and has to be known.
    /// - Throws: the first failing check in the order of R12.
    public static func create(
        _ draft: Draft,
        id: OrderID,
        account: AccountID,
        instrument: Instrument,
        bounds: CreationBounds = .init(),
        at moment: Moment,
    ) throws(Refusal) -> Decision {
        if let refusal = check(draft, instrument: instrument, bounds: bounds, at: moment).first { throw refusal }
        guard let price = moment.price else { throw Refusal(.sourceUnavailable, "No current price is known.") }
        let order = SmartOrder(
            id: id,
            account: account,
            instrument: instrument,
            version: 0,
            createdAt: moment.now,
            updatedAt: moment.now,
            draft: draft,
            triggerSource: draft.triggerSource ?? instrument.defaultTriggerSource,
        )
        var deciding = Deciding(order, at: moment)
        deciding.facts.append(.created)
        deciding.makeLegs(reference: reference(of: draft, bounds: bounds, current: price))
        switch draft.entry.mode {
        case .attach: deciding.attach(bounds: bounds, price: price)
        case .market, .limit:
            deciding.order.entryTriggered = true
            deciding.sendEntry()
        case .conditional: deciding.order.entryRises = (draft.entry.trigger ?? price) > price
        case .trailing:
            if let activation = draft.entry.activation {
                deciding.order.entryRises = activation > price
            } else {
                deciding.order.entryExtreme = price
                deciding.order.extremePosition = moment.position
            }
        }
        // `finish` cannot be nil: the order was created.
        return deciding.finish() ?? Decision(next: order, effects: [], facts: [])
    }

    /// All failing checks, in the order of R12 and then of 5.4; empty: `create` accepts the draft.
    public static func check(
        _ draft: Draft,
        instrument: Instrument,
        bounds: CreationBounds = .init(),
        at moment: Moment,
    ) -> [Refusal] {
        guard let current = moment.price else { return [Refusal(.sourceUnavailable, "No current price is known.")] }
        let long = PlanCheck.longNumbers(draft)
        guard long.isEmpty else { return long }
        var check = PlanCheck(
            draft,
            instrument: instrument,
            bounds: bounds,
            now: moment.now,
            reference: reference(of: draft, bounds: bounds, current: current),
        )
        if !instrument.isOnStep(draft.quantity) {
            check.failures.append(instrument.offStep(draft.quantity))
            // Nothing about sizes can be said.
        } else {
            check.checkLevels(quantity: draft.quantity)
        }
        check.checkReduceOnly()
        if bounds.activeConditionals + draft.legCount > bounds.maxConditionals {
            check.fail(
                .conditionalLimit,
                nil,
                "\(draft.legCount) legs and \(bounds.activeConditionals) active ones exceed \(bounds.maxConditionals).",
                bounds.limitMembers,
            )
        }
        check.checkTicks()
        check.checkStop()
        check.checkCallbacks()
        check.checkExit()
        check.checkEntry(current: current)
        check.checkTimes()
        check.checkSteps()
        check.checkPartialStops()
        check.checkBreakEven()
        check.checkPlacement()
        check.checkMarket(held: moment.held)
        check.checkPosition(current: current)
        return check.sorted
    }

    /// What side checks compare with (R12.1).
    static func reference(of draft: Draft, bounds: CreationBounds, current: Price) -> Price {
        let entry = draft.entry
        switch entry.mode {
        case .market: return current
        case .attach: return bounds.adopted?.limit ?? current
        case .limit: return entry.price ?? current
        case .conditional: return entry.limitPrice ?? entry.trigger ?? current
        case .trailing: return entry.activation ?? current
        }
    }
}

extension PlanCheck {
    mutating func checkReduceOnly() {
        let isReduceOnly = draft.entry.reduceOnly || bounds.adopted?.reduceOnly == true
        let hasExits =
            !draft.takeProfits.isEmpty || draft.stopLoss != nil || draft.trailing != nil || !draft.partialStops.isEmpty
        if isReduceOnly, hasExits {
            fail(.tpslOnReduceOnly, "entry.reduceOnly", "A reduce-only entry has no exits of its own.")
        }
    }

    mutating func checkEntry(current: Price) {
        let entry = draft.entry
        switch entry.mode {
        case .market, .trailing: break
        case .limit:
            if entry.price == nil { fail(.limitPriceRequired, "entry.price", "A limit entry needs its price.") }
        case .conditional:
            if entry.trigger == nil || entry.trigger == current {
                fail(
                    .triggerWrongSide,
                    "entry.trigger",
                    "The trigger differs from the current price \(current).",
                    ["reference": .price(current)],
                )
            }
        case .attach:
            if entry.venueOrder != nil || bounds.adopted != nil {
                let adopted = bounds.adopted
                if adopted == nil || adopted?.side != draft.side || adopted?.venueOrderID != entry.venueOrder {
                    fail(.entryNotAdoptable, "entry.venueOrder", "It is no open limit order of this market and side.")
                }
            } else if entry.price == nil, !instrument.kind.isDerivative || bounds.positionAverage == nil {
                fail(.limitPriceRequired, "entry.price", "The average entry price of what is held is needed.")
            } else if let price = entry.price, !price.isPositive {
                fail(.priceNotOnTick, "entry.price", "The average entry price is positive.")
            }
        }
    }

    mutating func checkMarket(held: ExactDecimal?) {
        if instrument.status != .trading {
            fail(.instrumentNotTrading, "market", "The market is \(instrument.status.rawValue).")
        }
        let source = draft.triggerSource ?? instrument.defaultTriggerSource
        if let sources = bounds.sources, !sources.contains(source) {
            failures.append(source.unavailable(sources))
        }
        guard draft.entry.mode == .attach, bounds.adopted == nil, let held else { return }
        // Coins sold are bought back from the quote balance; there is nothing to compare with.
        if !instrument.kind.isDerivative, side == .sell { return }
        // The position has its order: that is said instead.
        if draft.sizeMode == .position, bounds.hasPositionOrder { return }
        // What follows the position has all of it, whoever else manages a part (6.1).
        let managed = draft.sizeMode == .position ? .zero : bounds.managedElsewhere.value
        let there = side.quantity(ofPosition: held) - managed
        if draft.quantity.value > there {
            fail(
                .noPosition,
                "qty",
                "\(max(there, .zero)) is held and not managed by another order.",
                [
                    "heldQty": .number(side.quantity(ofPosition: held)),
                    "managedQty": .quantity(bounds.managedElsewhere),
                ],
            )
        }
    }
}

extension PlanCheck {
    /// What else lives on the position, and what an entry costs (R16.4, 5.2, 4.9).
    mutating func checkPosition(current: Price) {
        if bounds.hasOpposite {
            fail(
                .positionSideConflict,
                "side",
                "An order of the other direction lives on this position; close it first.",
            )
        }
        if draft.sizeMode == .position, bounds.hasPositionOrder {
            fail(
                .positionTPSLExists,
                "sizeMode",
                "The position has its take-profit and stop already; edit that order.",
            )
        }
        guard let free = bounds.freeBalance, !instrument.kind.isDerivative else { return }
        let price: Price
        switch draft.entry.mode {
        case .attach, .conditional, .trailing: return
        case .market: price = current
        case .limit: price = draft.entry.price ?? current
        }
        let needed = side == .buy ? (price * draft.quantity).value : draft.quantity.value
        if needed > free {
            fail(.insufficientBalance, "qty", "The entry needs \(needed), and \(free) is free.")
        }
    }
}

extension Deciding {
    mutating func makeLegs(reference: Price) {
        if order.draft.printGuard != nil { order.printCentre = moment.price }
        let average = AverageEntry(cost: reference * Quantity(.one), quantity: Quantity(.one))
        order.levels = order.draft.takeProfits.enumerated().map { index, plan in
            let price: Price
            switch plan.target {
            case .price(let typed): price = typed
            case .percent(let percent):
                price = Pricing.gain(side: side, average: average, percent: percent, tickSize: tickSize)
            }
            return Level(number: index + 1, plan: plan, price: price, planned: .zero)
        }
        order.partialStops = order.draft.partialStops.enumerated().map { PartialStop(number: $0 + 1, plan: $1) }
    }

    /// T1: what is there already is the order's from now on; the extreme starts at the current price (R3.2).
    mutating func attach(bounds: CreationBounds, price: Price) {
        order.entryTriggered = true
        if let adopted = bounds.adopted {
            adopt(adopted)
            return
        }
        let quantity = order.draft.quantity
        let cost = (order.draft.entry.price ?? bounds.positionAverage?.shortened ?? price) * quantity
        order.receive(quantity, net: quantity, cost: cost)
        order.entryFilled = quantity
        order.entryCost = order.heldCost
        activate(at: price)
        entryChanged()
    }

    /// A resting limit order placed elsewhere becomes the entry (6.1); what it filled counts at once.
    private mutating func adopt(_ adopted: AdoptedOrder) {
        order.isAdopted = true
        order.draft.quantity = adopted.quantity
        order.draft.entry.price = adopted.limit
        order.attempts[.entry] = 1
        var entry = VenueOrder(
            leg: .entry,
            attempt: 1,
            side: side,
            type: .goodTillCancelled,
            quantity: adopted.quantity,
            limit: adopted.limit,
            reduceOnly: false,
            state: .open,
            venueOrderID: adopted.venueOrderID,
            createdAt: now,
        )
        entry.state = adopted.fills.isEmpty ? .open : .partial
        order.venueOrders.append(entry)
        facts.append(.venueOrder(entry.key, entry.state))
        for fill in adopted.fills { learn(entry.key, .fill(fill)) }
    }
}
