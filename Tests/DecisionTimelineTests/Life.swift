import DecisionTimeline
import OrderEngine
import Simulation
import SmartOrders

// Lives of orders as the engine leads them: transitions with their steps, one version per commit.

extension ExactDecimal {
    init(_ text: String) {
        guard let value = ExactDecimal(text[...]) else { preconditionFailure("no decimal: \(text)") }
        self = value
    }
}

func price(_ text: String) -> Price { Price(ExactDecimal(text)) }
func quantity(_ text: String) -> Quantity { Quantity(ExactDecimal(text)) }

/// One order, and the prices and answers that it lives on.
struct Life {
    static let begin: Int64 = 1_790_000_000_000_000
    static let account = AccountID(UniqueID(high: 7, low: 1))
    static let market = MarketID(venue: "paper", product: "linear", symbol: "DEMO")
    static let instrument = Instrument(
        market: market,
        kind: .perpetual,
        tickSize: Price(ExactDecimal("0.01")),
        stepSize: Quantity(ExactDecimal("0.1")),
        baseAsset: "DEMO",
        quoteAsset: "USDT",
        takerFee: Rate(ExactDecimal("0.001")),
    )

    private(set) var versions: [StoredVersion] = []
    private(set) var points: [PricePoint] = []
    private(set) var order: SmartOrder
    private var clock: Int64
    private var sequence: Int64 = 1
    private var fillCount = 0
    /// Quiet ticks since the last version, for the extremes.
    private var quiet: [PricePoint] = []
    /// The number of milliseconds between two ticks.
    var pace: Int64 = 1_000
    /// What a guard against false prints judges by.
    var reference: Price?

    init(_ draft: Draft, at start: Price) throws(Refusal) {
        clock = Self.begin
        let position = TickPosition(venueTime: clock, sequence: 0)
        let moment = Moment(now: Timestamp(microseconds: clock), price: start, position: position)
        let decision = try SmartOrder.create(
            draft,
            id: OrderID(UniqueID(high: 0x0197_0000_0000_7000, low: 0x8000_0000_0000_0001)),
            account: Self.account,
            instrument: Self.instrument,
            at: moment,
        )
        order = decision.next
        var transition = Transition(created: StoredDecision(decision), bounds: CreationBounds(), at: moment)
        transition.reach(position)
        store(&transition, .command, nil)
    }

    var evidence: PriceEvidence {
        PriceEvidence(points: points, ticksFrom: .start, end: points.last?.position ?? .start)
    }

    private mutating func store(
        _ transition: inout Transition,
        _ cause: EventCause,
        _ tick: Tick?,
        exchanges: [VenueExchange] = [],
    ) {
        let sent = transition.submit { _ in true }
        _ = transition.takeEffects()
        guard transition.isChanged else { return }
        let commit = transition.commit(
            id: Int64(versions.count),
            cause: cause,
            actor: Actor(kind: cause == .command ? .key : .worker, id: "w-2"),
            tick: tick,
            sendRights: sent.map {
                SendRight(key: $0.key, clientOrderID: "c", token: 1, t0: Timestamp(microseconds: clock), fenceMs: 0)
            },
            record: DecisionRecord(
                job: cause == .tick ? "\(order.id)-sl-1" : nil,
                crossing: tick.map { _ in
                    CrossingTimes(
                        receivedAt: Timestamp(microseconds: clock + 8_000),
                        crossedAt: Timestamp(microseconds: clock + 9_000),
                    )
                },
                exchanges: exchanges,
            ),
        )
        order = commit.next.smart ?? order
        quiet = []
        versions.append(
            StoredVersion(
                order: .smart(order),
                sequence: Int64(versions.count + 1),
                at: order.updatedAt,
                committedAt: Timestamp(microseconds: clock + 13_000),
                cause: cause,
                actor: commit.actor,
                tick: tick,
                facts: commit.facts,
                record: commit.record,
            )
        )
    }

    /// One price: decided on, or quiet.
    mutating func tick(_ text: String) { tick(price(text)) }

    mutating func tick(_ price: Price) {
        clock += pace * 1_000
        sequence += 1
        let position = TickPosition(venueTime: clock, sequence: sequence)
        points.append(PricePoint(position, price))
        var transition = Transition(.smart(order))
        absorb(&transition)
        let moment = Moment(
            now: Timestamp(microseconds: clock),
            price: price,
            position: position,
            reference: reference,
        )
        guard apply(&transition, .tick, moment) else {
            quiet.append(PricePoint(position, price))
            return
        }
        transition.reach(position)
        transition.begin(exitsAt: Timestamp(microseconds: clock + 1))
        store(
            &transition,
            .tick,
            Tick(market: Self.market, source: order.triggerSource, price: price, position: position),
        )
    }

    mutating func ticks(_ texts: String...) { for text in texts { tick(text) } }

    private func absorb(_ transition: inout Transition) {
        for point in quiet {
            let units = point.high.value.units(decimals: Self.instrument.priceDecimals) ?? 0
            transition.absorb(
                ExtremeBucket.Point(position: point.position, price: units),
                decimals: Self.instrument.priceDecimals,
            )
        }
        if let last = quiet.last { transition.reach(last.position) }
    }

    private func apply(_ transition: inout Transition, _ event: OrderEvent, _ moment: Moment) -> Bool {
        do throws(Refusal) { return try transition.apply(event, at: moment) } catch { return false }
    }

    private var present: Moment {
        Moment(
            now: Timestamp(microseconds: clock),
            price: points.last?.high,
            position: points.last?.position ?? order.extremePosition,
        )
    }

    /// A command; nothing when it is refused.
    mutating func command(_ command: Command) {
        clock += 1_000
        var transition = Transition(.smart(order))
        absorb(&transition)
        guard apply(&transition, .command(command), present) else { return }
        store(&transition, .command, nil)
    }

    mutating func timer() {
        clock += 1_000_000
        var transition = Transition(.smart(order))
        absorb(&transition)
        guard apply(&transition, .timer, present) else { return }
        store(&transition, .timer, nil)
    }

    mutating func position(_ net: String) {
        var transition = Transition(.smart(order))
        guard apply(&transition, .position(net: ExactDecimal(net), average: nil), present) else { return }
        store(&transition, .position, nil)
    }

    /// What the venue says of an order, by one answer.
    mutating func answer(_ key: VenueOrderKey, _ news: [VenueNews], code: String? = nil) {
        let sent = clock + 14_000
        clock += 41_000
        var transition = Transition(.smart(order))
        absorb(&transition)
        transition.learn(key, news, at: present)
        let exchange = VenueExchange(
            key: key,
            sentAt: Timestamp(microseconds: sent),
            answeredAt: Timestamp(microseconds: clock),
            code: code,
            detail: code.map { _ in "no" },
        )
        store(&transition, .venueAnswer, nil, exchanges: [exchange])
    }

    /// Fills everything that was sent, at its limit or the newest price.
    mutating func fillAll(at text: String? = nil) {
        while let sent = order.venueOrders.first(where: { $0.state == .submitted || $0.state == .open }) {
            fill(sent.key, sent.unfilled, at: text.map { price($0) } ?? points.last?.high ?? sent.limit)
        }
    }

    mutating func fill(_ key: VenueOrderKey, _ amount: Quantity, at price: Price?) {
        fillCount += 1
        let fill = Fill(
            venueFillID: "f\(fillCount)",
            quantity: amount,
            price: price ?? DecisionTimelineTests.price("100"),
            fee: ExactDecimal("0.01"),
            time: Timestamp(microseconds: clock + 40_000),
        )
        let isWhole = order.venueOrders.first { $0.key == key }.map { $0.unfilled == amount } ?? true
        answer(key, [.accepted(venueOrderID: "v\(fillCount)"), .fill(fill)] + (isWhole ? [.ended(.filled)] : []))
    }
}

extension Draft {
    /// A long of 10 held at 100.
    static func held(_ change: (inout Draft) -> Void) -> Draft {
        var draft = Draft(
            side: .buy,
            quantity: Quantity(ExactDecimal("10")),
            entry: EntryPlan(mode: .attach, price: price("100")),
        )
        change(&draft)
        return draft
    }
}

// MARK: Random lives

extension Life {
    /// A life that a seed chooses; nil where its plan is refused.
    static func random(_ seed: UInt64) -> Life? {
        var random = SeededRandom(seed: seed)
        let life: Life
        do throws(Refusal) { life = try Life(draft(&random), at: DecisionTimelineTests.price("100")) } catch {
            return nil
        }
        var lived = life
        lived.pace = Int64.random(in: 100...4_000, using: &random)
        var cents = 10_000
        for _ in 0..<Int.random(in: 10...80, using: &random) where !lived.order.status.isTerminal {
            lived.step(&cents, &random)
        }
        return lived
    }

    private mutating func step(_ cents: inout Int, _ random: inout SeededRandom) {
        switch Int.random(in: 0..<12, using: &random) {
        case 0: timer()
        case 1: command(Self.command(cents, &random))
        case 2:
            if Int.random(in: 0..<6, using: &random) == 0 { position("\(Int.random(in: -3...12, using: &random))") }
        case 3, 4, 5: answer(&random)
        case _:
            cents = max(100, cents + Int.random(in: -150...150, using: &random))
            tick(Price(ExactDecimal(mantissa: Int128(cents), scale: 2)))
        }
    }

    private mutating func answer(_ random: inout SeededRandom) {
        let live = order.venueOrders
        guard !live.isEmpty else { return }
        let asked = live[Int.random(in: 0..<live.count, using: &random)]
        switch Int.random(in: 0..<9, using: &random) {
        case 0: answer(asked.key, [.refused(.rejected, venueCode: "-2010")], code: "-2010")
        case 1: answer(asked.key, [.unknown])
        case 2: answer(asked.key, [.notSent])
        case 3: answer(asked.key, [.ended(asked.cancelWanted ? .cancelled : .expired)])
        case 4: if asked.state == .unknown { answer(asked.key, [.absent]) }
        case 5: answer(asked.key, [.accepted(venueOrderID: "v")])
        case _:
            let steps = Int(asked.unfilled.value.units(decimals: 1) ?? 1)
            let part = Quantity(
                ExactDecimal(mantissa: Int128(Int.random(in: 1...max(1, steps), using: &random)), scale: 1)
            )
            fill(asked.key, min(part, asked.unfilled), at: points.last?.high)
        }
    }

    private static func command(_ cents: Int, _ random: inout SeededRandom) -> Command {
        func near(_ away: Int) -> Price { Price(ExactDecimal(mantissa: Int128(cents + away), scale: 2)) }
        switch Int.random(in: 0..<10, using: &random) {
        case 0: return .cancel
        case 1: return .closeMarket
        case 2: return .closeLevel(1)
        case 3: return .addFunds(quantity("1.5"), limitPrice: nil)
        case 4: return .reduceFunds(quantity("0.7"))
        case 5: return .openNow
        case _:
            var edit = OrderEdit()
            edit.stopLoss = .some(StopLossPlan(price: near(-Int.random(in: 100...500, using: &random))))
            if Bool.random(using: &random) {
                edit.trailing = .some(TrailingPlan(callback: .rate(Rate(ExactDecimal("0.02")))))
            }
            return .edit(edit)
        }
    }

    private static func draft(_ random: inout SeededRandom) -> Draft {
        let isLong = Bool.random(using: &random)
        func away(_ cents: Int) -> Price {
            Price(ExactDecimal(mantissa: Int128(10_000 + (isLong ? cents : -cents)), scale: 2))
        }
        func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
        var draft = Draft(
            side: isLong ? .buy : .sell,
            quantity: Quantity(ExactDecimal(mantissa: Int128(Int.random(in: 10...200, using: &random)), scale: 1)),
            entry: EntryPlan(mode: .attach, price: price("100")),
        )
        if chance(20) { draft.entry = EntryPlan(mode: .market) }
        if chance(15) { draft.entry = EntryPlan(mode: .conditional, trigger: away(chance(50) ? 150 : -150)) }
        if chance(15) {
            draft.entry = EntryPlan(mode: .trailing, activation: away(-100), callbackRate: Rate(ExactDecimal("0.01")))
        }
        let sizes = [[], ["100"], ["60", "40"], ["40", "35", "25"]][Int.random(in: 0..<4, using: &random)]
        for (index, size) in sizes.enumerated() {
            let cents = 120 + 170 * index
            draft.takeProfits.append(
                TakeProfitPlan(
                    target: chance(25)
                        ? .percent(ExactDecimal(mantissa: Int128(cents), scale: 2)) : .price(away(cents)),
                    sizePercent: ExactDecimal(size),
                    execution: chance(30) ? .limit : .market,
                    trailingRate: index == sizes.count - 1 && chance(25) ? Rate(ExactDecimal("0.01")) : nil,
                )
            )
        }
        if chance(75) || sizes.isEmpty { draft.stopLoss = StopLossPlan(price: away(-300)) }
        if chance(25) {
            draft.stopLoss?.timeoutMs = 5_000
            if chance(50) { draft.stopLoss?.emergencyPrice = away(-500) }
        }
        if chance(50) {
            draft.trailing = TrailingPlan(
                callback: chance(70) ? .rate(Rate(ExactDecimal("0.02"))) : .amount(price("1.5")),
                activationPrice: chance(40) ? away(100) : nil,
            )
        }
        if chance(40) {
            draft.breakEven = BreakEvenPlan(
                enabled: true,
                mode: [.entry, .fees, .offset][Int.random(in: 0..<3, using: &random)],
                offsetPercent: ExactDecimal("0.1"),
                armPercent: chance(40) ? ExactDecimal("1.2") : nil,
            )
        }
        if chance(30) { draft.stopFollow = .followTP }
        if chance(25) { draft.stepLocks = [.percent(at: ExactDecimal("1"), lock: ExactDecimal("0.2"))] }
        if chance(25) {
            draft.partialStops = [PartialStopPlan(distance: .price(away(-100)), sizePercent: ExactDecimal("30"))]
        }
        return draft
    }
}
