// What a command would come to: the checks and the decision, without a commit. Carrying it out and previewing it are the
// same code up to here, so a preview never promises what the command refuses.
public import SmartOrders

/// A creation, judged.
struct CreationPlan {
    let instrument: Instrument
    let bounds: CreationBounds
    let moment: Moment
    /// What the venue said of the place where it is to be.
    let view: PositionView
    /// In the order in which they are told; empty: it would be accepted.
    let failures: [Refusal]
}

/// A command on an order, decided on.
struct DecidedCommand {
    let transition: Transition
    /// The price that it was decided at.
    let moment: Moment
    /// The tick of a crossing that went first.
    let tick: Tick?
    /// False: there is nothing to do.
    let isChanged: Bool
}

/// What a command would do. Nothing was stored.
public struct CommandPreview: Sendable {
    /// As it stands; nil: it would be created.
    public let before: SmartOrder?
    /// As it would stand; nil: refused.
    public let after: SmartOrder?
    /// What the command would be refused for, the first one names the answer.
    public let refusals: [Refusal]
    public let facts: [Fact]
    public let effects: [Effect]
    /// The price that it was judged at.
    public let price: Price?
    public let instrument: Instrument
}

extension CommandService {
    /// What creating an order would come to.
    public func preview(
        creating draft: Draft,
        market: MarketID,
        account: AccountID,
    ) async throws(CommandError) -> CommandPreview {
        do {
            let plan = try await plan(draft, market: market, account: account)
            var transition: Transition?
            // What the order would be is shown even where only the account stands in its way.
            let isPlannable = !plan.failures.contains { $0.code.isAboutThePlan }
            if isPlannable { transition = try created(draft, plan, account: account) }
            return CommandPreview(
                before: nil,
                after: transition?.order.smart,
                refusals: plan.failures,
                facts: transition?.facts ?? [],
                effects: transition?.effects ?? [],
                price: plan.moment.price,
                instrument: plan.instrument,
            )
        } catch {
            throw Self.commandError(error)
        }
    }

    /// What a command on an order would come to.
    public func preview(_ command: Command, on id: OrderID) async throws(CommandError) -> CommandPreview {
        do {
            guard let row = try await context.orders.load([id]).first?.smart else {
                throw CommandError.refused([Refusal(.notFound, "There is no such order.")])
            }
            do {
                let decided = try await decide(command, on: .smart(row))
                return CommandPreview(
                    before: row,
                    after: decided.isChanged ? decided.transition.order.smart : row,
                    refusals: [],
                    facts: decided.transition.facts,
                    effects: decided.transition.effects,
                    price: decided.moment.price,
                    instrument: row.instrument,
                )
            } catch let refusal as Refusal {
                return CommandPreview(
                    before: row,
                    after: nil,
                    refusals: [refusal],
                    facts: [],
                    effects: [],
                    price: nil,
                    instrument: row.instrument,
                )
            }
        } catch {
            throw Self.commandError(error)
        }
    }

    // MARK: Create

    /// All checks of a creation, against the market and the account as they are.
    func plan(_ draft: Draft, market: MarketID, account: AccountID) async throws -> CreationPlan {
        let opening = try await context.accounts.opening(account, market: market, clientOrderID: draft.clientOrderID)
        guard let opening else {
            throw CommandError.refused([Refusal(.notFound, field: "accountId", "There is no such account.")])
        }
        let (owner, standing) = (opening.account, opening.standing)
        guard !standing.isRecovering else { throw CommandError.recovering }
        guard let instrument = opening.instrument else {
            throw CommandError.refused([
                Refusal(.instrumentUnknown, field: "market", "\(market) is not in the catalogue.")
            ])
        }
        guard owner.venue == market.venue, owner.product == market.product else {
            throw CommandError.refused([
                Refusal(
                    .instrumentUnknown,
                    field: "market",
                    "Account \(owner.name) trades \(owner.venue):\(owner.product), not \(market).",
                )
            ])
        }
        // With a source that is not published the rest is still checked, at the market's own.
        let published = instrument.publishedSources
        let asked = draft.triggerSource ?? instrument.defaultTriggerSource
        let source = published.contains(asked) ? asked : instrument.defaultTriggerSource
        guard var moment = try await present(PriceSeries(market: market, source: source), instrument) else {
            // Nobody waits for the price of a market that does not trade.
            guard instrument.status == .trading else {
                let refusal = Refusal(.instrumentNotTrading, field: "market", "It is \(instrument.status.rawValue).")
                throw CommandError.refused([refusal])
            }
            throw CommandError.priceUnavailable
        }
        var activeLegs = standing.activeLegs
        if activeLegs == nil {
            activeLegs = try await context.orders.activeLegs(account: account, market: market)
        }
        var bounds = CreationBounds(
            maxConditionals: owner.maximumConditionals,
            activeConditionals: activeLegs ?? 0,
            minimumCallback: owner.callbacks.lowerBound,
            maximumCallback: owner.callbacks.upperBound,
            sources: published,
        )
        let view = try await PositionView.read(
            for: draft,
            instrument: instrument,
            account: account,
            sides: opening.sides,
            context,
        )
        view.bound(&bounds)
        moment = view.placed(moment)
        let failures =
            SmartOrder.check(draft, instrument: instrument, bounds: bounds, at: moment).map { view.naming($0) }
            + standing.refusals(opening: draft.clientOrderID, on: owner, isLiveEnabled: isLiveEnabled)
        return CreationPlan(
            instrument: instrument,
            bounds: bounds,
            moment: moment,
            view: view,
            failures: failures.inTableOrder(),
        )
    }

    /// The first version of an order whose plan passed.
    func created(_ draft: Draft, _ plan: CreationPlan, account: AccountID) throws -> Transition {
        var random = InjectedRandom(next: context.random)
        let id = OrderID(UniqueID(unixMilliseconds: context.clock.now().milliseconds, random: &random))
        let decision = try SmartOrder.create(
            draft,
            id: id,
            account: account,
            instrument: plan.instrument,
            bounds: plan.bounds,
            at: plan.moment,
        )
        var transition = Transition(created: StoredDecision(decision), bounds: plan.bounds, at: plan.moment)
        // Ticks from before it do not touch it, whatever its entry waits for.
        transition.reach(plan.moment.position)
        plan.view.follow(&transition, at: plan.moment)
        return transition
    }

    // MARK: Commands

    /// What the order does with a command, at the present price; what asks for an exit is decided again on what is there
    /// (R16.2, R17).
    /// - Throws: the `Refusal`.
    func decide(_ command: Command, on row: StoredOrder) async throws -> DecidedCommand {
        let first = try await decide(command, on: row, .unknown)
        guard first.isChanged, first.transition.wantsExit else { return first }
        let venue: any Venue
        do throws(VenueError) {
            venue = try await context.venues.venue(for: row.account)
        } catch {
            return first
        }
        let holdings = await Holdings.read(for: first.transition, venue: venue, context: context)
        return holdings == .unknown ? first : try await decide(command, on: row, holdings)
    }

    private func decide(_ command: Command, on row: StoredOrder, _ holdings: Holdings) async throws -> DecidedCommand {
        var transition = Transition(row)
        let limits = try await exposureLimits(command, on: row)
        // Its thresholds do not depend on them, so ticks that nobody has decided on yet may come after.
        if let terms = await context.markets.news(for: row) {
            _ = try transition.apply(
                .market(terms),
                at: Moment(now: context.clock.now(), price: nil, position: row.position),
            )
        }
        // Crossings that nobody has decided on yet go first, so that no command overtakes a trigger (R21.4).
        let present = try await CatchUp.bring(
            &transition,
            history: history,
            now: context.clock.now(),
            holdings: holdings,
        )
        var moment = try await standing(present.moment, of: row)
        if case .edit(let change) = command, let source = change.triggerSource, source != row.triggerSource {
            moment = try await standing(moment, of: row, switchingTo: source)
        }
        let isChanged = try transition.apply(.command(command), at: moment)
        if isChanged, let limits, let before = row.smart, let after = transition.order.smart {
            try limits.check(before, after, command)
            if limits.isRecovering, ExposureLimits.addsExposure(before, after, command) {
                throw CommandError.recovering
            }
            try limits.checkCallbacks(of: command, at: moment.price)
        }
        return DecidedCommand(transition: transition, moment: moment, tick: present.tick, isChanged: isChanged)
    }

    /// What the account's standing forbids the command; nil: the command cannot add risk.
    private func exposureLimits(_ command: Command, on row: StoredOrder) async throws -> ExposureLimits? {
        switch command {
        case .cancel, .cancelLeavingEntry, .cancelEntry, .closeMarket, .closeLevel, .reduceFunds: return nil
        case .openNow, .addFunds, .edit: break
        }
        // An order that has ended says so, whatever its account may do.
        guard !row.isTerminal, let owner = try await context.accounts.account(row.account),
            let standing = try await context.accounts.standing(
                row.account,
                market: row.instrument.market,
                clientOrderID: nil,
            )
        else { return nil }
        return ExposureLimits(
            refusals: standing.refusals(of: owner, isLiveEnabled: isLiveEnabled).inTableOrder(),
            callbacks: owner.callbacks,
            isRecovering: standing.isRecovering,
        )
    }

    /// A source has positions of its own: extremes and thresholds go on from the present of the new one (R3.4).
    private func standing(
        _ moment: Moment,
        of row: StoredOrder,
        switchingTo source: TriggerSource,
    ) async throws -> Moment {
        guard row.instrument.publishedSources.contains(source) else {
            throw source.unavailable(row.instrument.publishedSources)
        }
        let series = PriceSeries(market: row.instrument.market, source: source)
        guard let latest = try await newest(series) else { throw CommandError.priceUnavailable }
        return Moment(
            now: max(moment.now, Timestamp(microseconds: latest.position.venueTime)),
            price: Price(units: latest.price, decimals: row.instrument.priceDecimals),
            position: latest.position,
            held: moment.held,
            claimedElsewhere: moment.claimedElsewhere,
        )
    }

    // MARK: Prices

    func present(_ series: PriceSeries, _ instrument: Instrument) async throws -> Moment? {
        guard let latest = try await newest(series) else { return nil }
        return Moment(
            now: max(context.clock.now(), Timestamp(microseconds: latest.position.venueTime)),
            price: Price(units: latest.price, decimals: instrument.priceDecimals),
            position: latest.position,
        )
    }

    /// Where no tick came after the order's position, the price that stands is still the newest tick's.
    func standing(_ moment: Moment, of row: StoredOrder) async throws -> Moment {
        let series = PriceSeries(market: row.instrument.market, source: row.triggerSource)
        guard moment.price == nil, let latest = try await newest(series), latest.position <= moment.position else {
            return moment
        }
        let price = Price(units: latest.price, decimals: row.instrument.priceDecimals)
        return Moment(
            now: moment.now,
            price: price,
            position: moment.position,
            held: moment.held,
            claimedElsewhere: moment.claimedElsewhere,
        )
    }

    /// The newest tick.
    func newest(_ series: PriceSeries) async throws(StoreError) -> ExtremeBucket.Point? {
        guard let looks else { return try await Self.newest(series, context) }
        return try await looks.newest(series) { [context] series throws(StoreError) in
            try await Self.newest(series, context)
        }
    }

    /// Where the stream is away, or shows nothing of the last two seconds, what the feed stored in the last minute may be
    /// newer: after an outage the stream still ends where that began (RELIABILITY.md 4.5).
    private static func newest(
        _ series: PriceSeries,
        _ context: EngineContext,
    ) async throws(StoreError) -> ExtremeBucket.Point? {
        let now = context.clock.now().microseconds
        var newest: ExtremeBucket.Point?
        do throws(TickLogError) {
            newest = try await context.ticks.latest(series).map { .init(position: $0.position, price: $0.price) }
        } catch {
            context.observer.count("ticklog_errors_total", 1)
        }
        if let newest, newest.position.venueTime >= now - 2_000_000 { return newest }
        let minuteAgo = TickPosition(venueTime: now - 60_000_000, sequence: 0)
        var page: [ExtremeBucket.Point]
        repeat {
            page = try await context.cluster.extremes(
                market: series.market,
                source: series.source,
                after: max(newest?.position ?? .start, minuteAgo),
                limit: 10_000,
            )
            newest = page.last ?? newest
        } while page.count >= 10_000
        return newest
    }
}

/// What of a command the account's standing forbids.
private struct ExposureLimits {
    let refusals: [Refusal]
    let callbacks: ClosedRange<Rate>
    let isRecovering: Bool

    static func addsExposure(_ before: SmartOrder, _ after: SmartOrder, _ command: Command) -> Bool {
        switch command {
        case .openNow, .addFunds: true
        case .edit: after.draft.quantity > before.draft.quantity
        case .cancel, .cancelLeavingEntry, .cancelEntry, .closeMarket, .closeLevel, .reduceFunds: false
        }
    }

    /// What an edit names anew is within what the account takes; what stands already stays.
    /// - Parameter price: bounds an amount, as at creation; nil: amounts are not bounded.
    func checkCallbacks(of command: Command, at price: Price?) throws(Refusal) {
        guard case .edit(let change) = command else { return }
        var named: [(Callback, String)] = []
        if let trailing = change.trailing ?? nil { named.append((trailing.callback, "trailing")) }
        if let rate = change.entry?.callbackRate { named.append((.rate(rate), "entry.callbackRate")) }
        for (index, level) in (change.takeProfits ?? []).enumerated() {
            if let rate = level.trailingRate { named.append((.rate(rate), "takeProfits[\(index)].trailingRate")) }
        }
        for (index, stop) in (change.partialStops ?? []).enumerated() {
            if case .callback(let callback) = stop.distance { named.append((callback, "partialStops[\(index)]")) }
        }
        for (callback, field) in named {
            let isInside =
                switch callback {
                case .rate(let rate): callbacks.contains(rate)
                case .amount(let amount): price.map { amount.value <= callbacks.upperBound.value * $0.value } ?? true
                }
            guard !isInside else { continue }
            throw Refusal(
                .callbackOutOfRange,
                field: field,
                "The account takes callbacks of \(callbacks.lowerBound) to \(callbacks.upperBound).",
                ["min": .number(callbacks.lowerBound.value), "max": .number(callbacks.upperBound.value)],
            )
        }
    }

    /// - Throws: the first refusal of new exposure, and of loosening a stop where that needs a tier.
    func check(_ before: SmartOrder, _ after: SmartOrder, _ command: Command) throws(Refusal) {
        if Self.addsExposure(before, after, command), let refusal = refusals.first { throw refusal }
        // Who lost his tier keeps what protects him, and tightens it.
        guard let tier = refusals.first(where: { $0.code == .tierRequired }), before.status.isOpen,
            let old = before.effectiveStop?.price
        else { return }
        let isLooser = after.effectiveStop.map { before.draft.side == .buy ? $0.price < old : $0.price > old } ?? true
        if isLooser { throw tier }
    }
}

extension RefusalCode {
    /// Whether the plan itself is at fault: then there is no order to show.
    fileprivate var isAboutThePlan: Bool {
        switch self {
        case .qtyNotOnStep, .tpslOnReduceOnly, .conditionalLimit, .priceNotOnTick, .tpSizeSum, .tpWrongSide,
            .tpNotMonotone, .tpBelowMin, .slWrongSide, .callbackOutOfRange, .noExit, .triggerTooLow, .triggerTooHigh,
            .triggerWrongSide, .limitOutOfBand, .breakEvenWouldTrigger, .limitPriceRequired, .emergencyWrongSide,
            .timeInPast, .trailingTPNotLast, .stepLockInvalid, .partialStopInvalid, .breakEvenArmInvalid,
            .backstopNotSupported, .nativeNotPossible, .entryNotAdoptable, .instrumentUnknown, .instrumentNotTrading,
            .sourceUnavailable, .noPosition, .reduceTooLarge, .notFound, .orderTerminal, .stopAlreadyTriggered,
            .entryAlreadyFilled, .levelNotPending, .notReducible, .positionSideConflict, .positionTPSLExists:
            true
        case .insufficientBalance, .tierRequired, .liveDisabled, .clientOrderIDInUse, .orderLimit, .accountHalted,
            .credentialsMissing, .credentialsRefused:
            false
        }
    }
}
