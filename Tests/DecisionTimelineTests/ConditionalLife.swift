import DecisionTimeline
import OrderEngine
import Simulation
import SmartOrders

/// One conditional order as the engine leads it, and the prices and answers that it lives on.
struct ConditionalLife {
    private(set) var versions: [StoredVersion] = []
    private(set) var points: [PricePoint] = []
    private(set) var order: ConditionalOrder
    private var clock = Life.begin
    private var sequence: Int64 = 1
    private var fillCount = 0

    init(_ draft: ConditionalDraft, at start: Price = price("100")) throws(Refusal) {
        let moment = Moment(
            now: Timestamp(microseconds: clock),
            price: start,
            position: TickPosition(venueTime: clock, sequence: 0),
        )
        let decision = try ConditionalOrder.create(
            draft,
            id: OrderID(UniqueID(high: 0x0197_0000_0000_7000, low: 0x8000_0000_0000_0002)),
            account: Life.account,
            instrument: Life.instrument,
            at: moment,
        )
        order = decision.next
        var transition = Transition(created: StoredDecision(decision), bounds: CreationBounds(), at: moment)
        transition.reach(moment.position)
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
        _ = transition.submit { _ in true }
        _ = transition.takeEffects()
        guard transition.isChanged else { return }
        let commit = transition.commit(
            id: Int64(versions.count),
            cause: cause,
            actor: Actor(kind: cause == .command ? .key : .worker, id: "w-2"),
            tick: tick,
            record: DecisionRecord(exchanges: exchanges),
        )
        order = commit.next.conditional ?? order
        versions.append(
            StoredVersion(
                order: commit.next,
                sequence: Int64(versions.count + 1),
                at: commit.next.updatedAt,
                committedAt: Timestamp(microseconds: clock + 13_000),
                cause: cause,
                actor: commit.actor,
                tick: tick,
                facts: commit.facts,
                record: commit.record,
            )
        )
    }

    private func present(held: String? = nil) -> Moment {
        Moment(
            now: Timestamp(microseconds: clock),
            price: points.last?.high,
            position: points.last?.position ?? order.position,
            held: held.map { ExactDecimal($0) },
        )
    }

    private mutating func apply(_ event: OrderEvent, _ cause: EventCause, _ moment: Moment, _ tick: Tick? = nil) {
        var transition = Transition(.conditional(order))
        do throws(Refusal) { guard try transition.apply(event, at: moment) else { return } } catch { return }
        transition.reach(moment.position)
        store(&transition, cause, tick)
    }

    mutating func ticks(_ texts: String...) { for text in texts { tick(price(text)) } }

    /// - Parameter held: the position, for a reduce-only order.
    mutating func tick(_ price: Price, held: String? = nil) {
        clock += 1_000_000
        sequence += 1
        let position = TickPosition(venueTime: clock, sequence: sequence)
        points.append(PricePoint(position, price))
        let tick = Tick(market: Life.market, source: order.triggerSource, price: price, position: position)
        apply(.tick, .tick, present(held: held), tick)
    }

    mutating func cancel() {
        clock += 1_000
        apply(.command(.cancel), .command, present())
    }

    /// Time passes without a price.
    mutating func wait(_ milliseconds: Int64) {
        clock += milliseconds * 1_000
        apply(.timer, .timer, present())
    }

    mutating func position(_ net: String) {
        apply(.position(net: ExactDecimal(net), average: nil), .position, present())
    }

    mutating func change(_ change: ConditionalChange) {
        clock += 1_000
        var transition = Transition(.conditional(order))
        do throws(Refusal) { guard try transition.apply(change, at: present()) else { return } } catch { return }
        transition.reach(present().position)
        store(&transition, .command, nil)
    }

    /// What the venue says of the newest order, by one answer.
    mutating func answer(_ news: [VenueNews]) {
        guard let key = order.venueOrders.last?.key else { return }
        clock += 41_000
        var transition = Transition(.conditional(order))
        transition.learn(key, news, at: present())
        let exchange = VenueExchange(
            key: key,
            sentAt: Timestamp(microseconds: clock - 27_000),
            answeredAt: Timestamp(microseconds: clock),
        )
        store(&transition, .venueAnswer, nil, exchanges: [exchange])
    }

    mutating func fill(_ amount: String, at text: String, ends: [VenueNews] = []) {
        fillCount += 1
        let fill = Fill(
            venueFillID: "c\(fillCount)",
            quantity: quantity(amount),
            price: price(text),
            fee: ExactDecimal("0.01"),
            time: Timestamp(microseconds: clock + 40_000),
        )
        answer([.accepted(venueOrderID: "v\(fillCount)"), .fill(fill)] + ends)
    }
}

extension ConditionalDraft {
    /// A stop-loss that sells 2 at or below 95.
    static func sell(_ change: (inout ConditionalDraft) -> Void = { _ in }) -> ConditionalDraft {
        var draft = ConditionalDraft(
            kind: .stopLoss,
            side: .sell,
            quantity: DecisionTimelineTests.quantity("2"),
            trigger: price("95"),
        )
        change(&draft)
        return draft
    }
}

// MARK: Random lives

extension ConditionalLife {
    /// A life that a seed chooses; nil where its plan is refused.
    static func random(_ seed: UInt64) -> ConditionalLife? {
        var random = SeededRandom(seed: seed)
        var draft = ConditionalDraft.sell {
            $0.kind = Bool.random(using: &random) ? .stopLoss : .takeProfit
            $0.side = Bool.random(using: &random) ? .sell : .buy
            $0.trigger = price(Bool.random(using: &random) ? "98.5" : "101.5")
            $0.reduceOnly = Bool.random(using: &random)
        }
        if Bool.random(using: &random) { draft.limit = draft.trigger }
        if Int.random(in: 0..<4, using: &random) == 0 {
            draft.expiresAt = Timestamp(microseconds: Life.begin + 20_000_000)
        }
        var life: ConditionalLife
        do throws(Refusal) { life = try ConditionalLife(draft) } catch { return nil }
        var cents = 10_000
        for _ in 0..<40 where !life.order.status.isTerminal { life.step(&cents, &random) }
        return life
    }

    private mutating func step(_ cents: inout Int, _ random: inout SeededRandom) {
        func near(_ away: Int) -> Price { Price(ExactDecimal(mantissa: Int128(cents + away), scale: 2)) }
        switch Int.random(in: 0..<12, using: &random) {
        case 0: wait(Int64.random(in: 100...9_000, using: &random))
        case 1:
            let sign = order.condition == .atOrBelow ? -1 : 1
            var change = ConditionalChange(trigger: near(sign * Int.random(in: 20...200, using: &random)))
            if Bool.random(using: &random) { change.limit = .some(nil) }
            if Bool.random(using: &random) { change.quantity = quantity("\(Int.random(in: 1...3, using: &random))") }
            self.change(change)
        case 2: if Int.random(in: 0..<5, using: &random) == 0 { cancel() }
        case 3: if Int.random(in: 0..<5, using: &random) == 0 { position("\(Int.random(in: -2...2, using: &random))") }
        case 4: answer([.refused(.rejected, venueCode: "-2010")])
        case 5: answer([.unknown])
        case 6: answer([.ended(.expired)])
        case 7: answer([.notSent])
        case 8: fill("0.5", at: near(0).description)
        case _:
            cents = max(100, cents + Int.random(in: -60...60, using: &random))
            tick(near(0), held: order.draft.reduceOnly ? (order.draft.side == .sell ? "5" : "-5") : nil)
        }
    }
}
