import DecisionTimeline
import OrderEngine
import SmartOrders
import Testing

@Suite struct `What has not fired` {
    private static let stop = Draft.held { $0.stopLoss = StopLossPlan(price: price("97")) }

    private func answers(
        _ life: Life,
        prices: [TriggerSource: PriceEvidence] = [:],
        gaps: [FeedGap] = [],
        halts: [StandingHalt] = [],
    ) -> [NotFired] {
        var prices = prices
        if prices[.mark] == nil { prices[.mark] = life.evidence }
        return NotFired.all(.init(versions: life.versions, prices: prices, gaps: gaps, halts: halts))
    }

    // MARK: Reasons

    struct Case: Sendable {
        let reason: NotFired.Reason
        let leg: String
        let text: String
        let draft: @Sendable (inout Draft) -> Void
        let live: @Sendable (inout Life) -> Void
    }

    @Test(arguments: [
        Case(reason: .notReached, leg: "SL", text: "Mark came no closer than 97.03 to the stop 97.00 (3 ticks).") {
            $0.stopLoss = StopLossPlan(price: price("97"))
        } live: {
            $0.ticks("99", "97.03", "98")
        },
        Case(
            reason: .notReached,
            leg: "TP1",
            text: "Mark came no closer than 104.99 to target 1 at 105.00 (1 tick).",
        ) {
            $0.takeProfits = [TakeProfitPlan(target: .price(price("105")), sizePercent: ExactDecimal("100"))]
        } live: {
            $0.ticks("99", "104.99", "98")
        },
        Case(reason: .notArmed, leg: "SL", text: "The stop waits for the first fill of the entry.") {
            $0.entry = EntryPlan(mode: .conditional, trigger: price("102"))
            $0.stopLoss = StopLossPlan(price: price("97"))
        } live: {
            $0.ticks("101")
        },
        Case(
            reason: .notArmed,
            leg: "SL",
            text: "The trailing stop follows nothing yet: its activation price was not reached.",
        ) {
            $0.trailing = TrailingPlan(callback: .amount(price("2")), activationPrice: price("105"))
        } live: {
            $0.ticks("101")
        },
        Case(
            reason: .timeoutRunning,
            leg: "SL",
            text: "The price has been beyond the stop since 2026-09-21T14:13:22.000000Z; it fires at "
                + "2026-09-21T14:13:27.000000Z unless the price comes back (0 resets so far).",
        ) {
            $0.stopLoss = StopLossPlan(price: price("97"), timeoutMs: 5_000)
        } live: {
            $0.ticks("99", "96.5", "96.7")
        },
        Case(
            reason: .blockedUnresolved,
            leg: "TP2",
            text: "Target 2 waits until the venue's answer is known: the target 1 order, attempt 1, since "
                + "2026-09-21T14:13:21.000000Z.",
        ) {
            $0.takeProfits = [
                TakeProfitPlan(target: .price(price("105")), sizePercent: ExactDecimal("50")),
                TakeProfitPlan(target: .price(price("110")), sizePercent: ExactDecimal("50")),
            ]
        } live: { life in
            life.ticks("105")
            if let key = life.order.venueOrders.first?.key { life.answer(key, [.unknown]) }
        },
        Case(
            reason: .latchedWaitingVenue,
            leg: "SL",
            text: "The stop fired; the venue has not filled it yet (1 attempt, now SUBMITTED).",
        ) {
            $0.stopLoss = StopLossPlan(price: price("97"))
        } live: {
            $0.ticks("96")
        },
        Case(reason: .superseded, leg: "TP1", text: "The stop fired before target 1.") {
            $0.stopLoss = StopLossPlan(price: price("97"))
            $0.takeProfits = [TakeProfitPlan(target: .price(price("105")), sizePercent: ExactDecimal("100"))]
        } live: { life in
            life.ticks("96")
            life.fillAll(at: "96")
        },
        Case(
            reason: .superseded,
            leg: "SL",
            text: "The stop is looser than the trailing stop at 98.00, which binds.",
        ) {
            $0.stopLoss = StopLossPlan(price: price("97"))
            $0.trailing = TrailingPlan(callback: .amount(price("2")))
        } live: {
            $0.ticks("99")
        },
        Case(
            reason: .positionGone,
            leg: "SL",
            text: "The stop had nothing left to act on: the position was closed or turned elsewhere.",
        ) {
            $0.stopLoss = StopLossPlan(price: price("97"))
        } live: {
            $0.ticks("99")
            $0.position("0")
        },
    ])
    func `has a reason`(_ one: Case) throws {
        var life = try Life(.held(one.draft), at: price("100"))
        one.live(&life)
        let all = answers(life)
        let answer = try #require(
            all.first { $0.leg == one.leg && $0.reason == one.reason },
            "\(all.map { "\($0.leg) \($0.reason) \($0.text)" })",
        )
        #expect(answer.text == one.text)
    }

    @Test func `because the print was ignored`() throws {
        var life = try Life(
            .held {
                $0.stopLoss = StopLossPlan(price: price("97"))
                $0.printGuard = PrintGuardPlan()
            },
            at: price("100"),
        )
        life.reference = price("100")
        life.ticks("99", "1", "99.5")
        let answer = try #require(answers(life).first)
        #expect(answer.reason == .printIgnored)
        #expect(
            answer.text
                == "Mark 1.00 would have reached the stop and was ignored as a false print: nothing confirmed it "
                + "within a second."
        )
        #expect(life.order.latch == nil)
    }

    @Test func `because another price crossed`() throws {
        var life = try Life(Self.stop, at: price("100"))
        life.ticks("99", "97.03", "98")
        let at = TickPosition(venueTime: Life.begin + 2_000_000, sequence: 900)
        let last = PriceEvidence(points: [PricePoint(at, price("96.9"))], ticksFrom: .start, end: at)
        let answer = try #require(answers(life, prices: [.last: last]).first)
        #expect(answer.reason == .otherSourceCrossed)
        #expect(answer.otherSource?.source == .last)
        #expect(answer.otherSource?.extreme == price("96.9"))
        #expect(answer.text == "Last traded at 96.90, but this stop watches mark, whose low was 97.03.")
        #expect(answer.stretches.first?.miss?.price == price("97.03"))
        #expect(answer.stretches.first?.coverage == .ticks)
    }

    @Test func `because there were no prices`() throws {
        let life = try Life(Self.stop, at: price("100"))
        let gap = FeedGap(
            series: PriceSeries(market: Life.market, source: .mark),
            from: Life.begin,
            to: Life.begin + 5_000_000,
            reason: "socket lost",
            isBackfilled: false,
        )
        let end = TickPosition(venueTime: Life.begin + 6_000_000, sequence: 9)
        let answer = try #require(
            answers(life, prices: [.mark: PriceEvidence(points: [], end: end)], gaps: [gap]).first
        )
        #expect(answer.reason == .feedGap)
        #expect(answer.gaps == [gap])
        #expect(answer.stretches.first?.coverage == Coverage.none)
    }

    @Test func `because sending is halted`() throws {
        var life = try Life(Self.stop, at: price("100"))
        life.ticks("96")
        if let key = life.order.venueOrders.first?.key { life.answer(key, [.notSent]) }
        let halt = StandingHalt(
            scope: "account",
            level: "sends",
            reason: "maintenance",
            since: Timestamp(microseconds: Life.begin),
        )
        let answer = try #require(answers(life, halts: [halt]).first)
        #expect(answer.reason == .halted)
        #expect(answer.text.hasPrefix("The stop fired, but nothing is sent: account is halted (sends) since"))
        // A halt of entries does not hold exits back.
        let entries = StandingHalt(scope: "cluster", level: "entries", reason: "", since: halt.since)
        #expect(answers(life, halts: [entries]).first?.reason == .latchedWaitingVenue)
    }

    // MARK: Nearness

    @Test func `one nearest miss per stretch of a threshold`() throws {
        var life = try Life(Self.stop, at: price("100"))
        life.ticks("98", "97.5", "99")
        var edit = OrderEdit()
        edit.stopLoss = .some(StopLossPlan(price: price("98")))
        life.command(.edit(edit))
        life.ticks("98.7", "98.2", "99")
        let answer = try #require(answers(life).first)
        #expect(answer.stretches.map { $0.needed } == [price("98"), price("97")])
        #expect(answer.stretches.map { $0.miss?.price } == [price("98.2"), price("97.5")])
        #expect(answer.stretches.map { $0.miss?.distance } == [price("0.2"), price("0.5")])
        #expect(answer.stretches.map { $0.stretch.sinceVersion } == [2, 1])
        #expect(answer.stretches.map { $0.miss?.percent } == [ExactDecimal("0.2041"), ExactDecimal("0.5155")])
    }

    @Test func `a trailing stop is compared with where it stood at each tick`() throws {
        let draft = Draft.held { $0.trailing = TrailingPlan(callback: .amount(price("2"))) }
        var life = try Life(draft, at: price("100"))
        // Stops: 98, 98, 103, 103, 108. Distances: 1, 5, 0.5, 7, 1.
        life.ticks("99", "105", "103.5", "110", "109")
        let answer = try #require(answers(life).first)
        #expect(answer.stretches.count == 1)
        let miss = try #require(answer.stretches.first?.miss)
        #expect(miss.price == price("103.5"))
        #expect(miss.threshold == price("103"))
        #expect(miss.ticks(Life.instrument.tickSize) == 50)
    }

    @Test func `a candle is judged both ways`() throws {
        let draft = Draft.held { $0.trailing = TrailingPlan(callback: .amount(price("2"))) }
        let life = try Life(draft, at: price("100"))
        let at = TickPosition(venueTime: Life.begin + 60_000_000, sequence: 9)
        // Low first: the stop stands at 98, missed by 1.5. High first: at 99, missed by 0.5.
        let candle = PricePoint(position: at, high: price("101"), low: price("99.5"))
        let answer = try #require(answers(life, prices: [.mark: PriceEvidence(points: [candle], end: at)]).first)
        let near = try #require(answer.stretches.first)
        #expect(near.coverage == .candles)
        #expect(near.miss?.distance == price("1.5"))
        #expect(near.miss?.otherDistance == price("0.5"))
        #expect(near.miss?.isRange == true)
        #expect(answer.text.hasSuffix("(150 ticks, or 0.5 if the high came first)."))
    }

    @Test func `evidence is as fine as it is, never finer`() throws {
        var life = try Life(Self.stop, at: price("100"))
        life.ticks("99", "98")
        let end = life.points.last?.position ?? .start
        let points = life.points
        let middle = points.first?.position ?? .start
        func coverage(_ ticksFrom: TickPosition?) -> Coverage? {
            let prices = PriceEvidence(points: points, ticksFrom: ticksFrom, extremesFrom: .start, end: end)
            return answers(life, prices: [.mark: prices]).first?.stretches.first?.coverage
        }
        #expect(coverage(.start) == .ticks)
        #expect(coverage(middle) == .extremes)
        #expect(coverage(nil) == .extremes)
    }

    /// What the naive reading of the ticks says.
    @Test(arguments: 0..<100 as Range<UInt64>)
    func `no price of a stretch is nearer than its nearest miss`(seed: UInt64) throws {
        guard let life = Life.random(seed) else { return }
        for answer in answers(life) {
            for near in answer.stretches {
                guard let miss = near.miss else { continue }
                let stretch = near.stretch
                var threshold = stretch.threshold
                for point in life.points where point.position > stretch.after && point.position <= stretch.through {
                    let stood = try #require(threshold.price)
                    let isLow = threshold.comparison == .atOrBelow
                    if !threshold.comparison.holds(point.high, stood) {
                        #expect((isLow ? point.high - stood : stood - point.high) >= miss.distance, "seed \(seed)")
                    }
                    threshold = threshold.following(point.high, tickSize: Life.instrument.tickSize)
                }
                #expect(miss.distance.isPositive, "seed \(seed)")
                #expect(!miss.isRange, "seed \(seed)")
            }
        }
    }

    /// A leg that waits for nothing but its price was not reached in its stretch, unless something else went first.
    @Test(arguments: 0..<100 as Range<UInt64>)
    func `NOT_REACHED means that no tick reached it`(seed: UInt64) throws {
        guard let life = Life.random(seed) else { return }
        for answer in answers(life) where answer.reason == .notReached {
            guard let stretch = answer.stretches.first?.stretch, stretch.untilVersion == life.order.version else {
                continue
            }
            var threshold = stretch.threshold
            for point in life.points where point.position > stretch.after {
                if let stood = threshold.price {
                    #expect(!threshold.comparison.holds(point.high, stood), "seed \(seed) \(answer.leg) \(point)")
                }
                threshold = threshold.following(point.high, tickSize: Life.instrument.tickSize)
            }
        }
    }
}
