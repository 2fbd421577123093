import DecisionTimeline
import JSONText
import OrderEngine
import OrderJSON
import SmartOrders
import Testing

@Suite struct `A conditional order is told` {
    private func notFired(
        _ life: ConditionalLife,
        prices: [TriggerSource: PriceEvidence] = [:],
        gaps: [FeedGap] = [],
        halts: [StandingHalt] = [],
    ) -> [NotFired] {
        var prices = prices
        if prices[.mark] == nil { prices[.mark] = life.evidence }
        return NotFired.all(.init(versions: life.versions, prices: prices, gaps: gaps, halts: halts))
    }

    // MARK: Timeline

    @Test func `from its creation to its fill`() throws {
        var life = try ConditionalLife(.sell())
        life.ticks("96", "94.8")
        life.fill("2", at: "94.7", ends: [.ended(.filled)])
        let entries = TimelineBuilder.timeline(life.versions)
        #expect(
            entries.map(\.text) == [
                "The stop-loss was created: sells 2 at market once mark is at or below 95.00.",
                "Mark 94.80 was at or below the trigger 95.00.",
                "The order sold 2 at 94.7 (taker).",
            ]
        )
        #expect(entries.map(\.kind) == [.armed, .fired, .filled])
        let fired = entries[1]
        #expect(fired.leg == "COND" && fired.version == 2)
        #expect(fired.rule?["id"] == "R19" && fired.rule?["comparison"] == "<=" && fired.rule?["threshold"] == "95")
        #expect(fired.rule?["basis"]?["sinceVersion"] == 1)
        #expect(fired.tick?.price == price("94.8"))
        #expect(fired.quantity?["wanted"] == "2" && fired.quantity?["bound"] == "wanted")
        let request = try #require(fired.orders.first)
        // 10% through the trigger (R19.2).
        #expect(request["limitPrice"] == "85.5" && request["anchor"] == "95" && request["raw"] == "85.5")
        #expect(
            fired.choice?["legs"] == [
                ["leg": "COND", "kind": "TRIGGER", "comparison": "<=", "threshold": "95", "verdict": "FIRED"]
            ]
        )
        #expect(fired.times.answeredAt != nil && fired.times.filledAt != nil)
        #expect(entries[2].fills.first?["slippage"] == "-0.3")
        #expect(entries[2].also.contains("The order is filled: 2 of 2."))
        #expect(notFired(life).isEmpty)
    }

    struct Told: Sendable {
        let name: String
        let texts: [String]
        let draft: @Sendable (inout ConditionalDraft) -> Void
        let live: @Sendable (inout ConditionalLife) -> Void
    }

    @Test(arguments: [
        Told(
            name: "changed and cancelled",
            texts: [
                "The take-profit was created: buys 2 with limit 94.00 once mark is at or below 95.00.",
                "The trigger moved from 95.00 to 94.00.", "The quantity changed from 2 to 1.5.",
                "It will be a market order.", "The order ended: cancelled by command.",
            ],
        ) {
            $0.kind = .takeProfit
            $0.side = .buy
            $0.limit = price("94")
        } live: {
            $0.ticks("96")
            $0.change(ConditionalChange(trigger: price("94")))
            $0.change(ConditionalChange(quantity: quantity("1.5")))
            $0.change(ConditionalChange(limit: .some(nil)))
            $0.cancel()
        },
        Told(
            name: "refused by the venue",
            texts: [
                "The stop-loss was created: sells 2 at market once mark is at or below 95.00.",
                "Mark 95.00 was at or below the trigger 95.00.", "The order ended: the venue refused it.",
            ],
        ) { _ in
        } live: {
            $0.ticks("95")
            $0.answer([.refused(.rejected, venueCode: "-2010")])
        },
        Told(
            name: "expired",
            texts: [
                "The stop-loss was created: sells 2 at market once mark is at or below 95.00, until "
                    + "\(Timestamp(microseconds: Life.begin + 5_000_000).rfc3339).",
                "The order ended: it expired.",
            ],
        ) {
            $0.expiresAt = Timestamp(microseconds: Life.begin + 5_000_000)
        } live: {
            $0.ticks("96")
            $0.wait(5_000)
        },
        Told(
            name: "its position was gone when it fired",
            texts: [
                "The stop-loss was created: sells 2 at market, only to reduce once mark is at or below 95.00.",
                "Mark 94.00 was at or below the trigger 95.00.",
            ],
        ) {
            $0.reduceOnly = true
        } live: {
            $0.tick(price("94"), held: "0")
        },
    ])
    func `in sentences`(_ told: Told) throws {
        var life = try ConditionalLife(.sell(told.draft))
        told.live(&life)
        #expect(TimelineBuilder.timeline(life.versions).map(\.text) == told.texts, "\(told.name)")
    }

    @Test(arguments: 0..<120 as Range<UInt64>)
    func `with one entry per version, and every decision can be made again`(seed: UInt64) {
        guard let life = ConditionalLife.random(seed) else { return }
        let entries = TimelineBuilder.timeline(life.versions)
        #expect(entries.map(\.version) == life.versions.map(\.version), "seed \(seed)")
        for entry in entries {
            #expect(!entry.text.isEmpty, "seed \(seed)")
            if entry.kind == .fired { #expect(entry.rule != nil && entry.tick != nil, "seed \(seed)") }
        }
        #expect(
            ReplayFinding.replay(life.versions) == .same(versions: life.versions.count, unrecorded: 0),
            "seed \(seed)",
        )
        // It fired, or something is said of why not; once over, one of the two.
        let answers = notFired(life)
        let hasFired = entries.contains { $0.kind == .fired }
        #expect(hasFired || answers.count == 1, "seed \(seed)")
        if life.order.status.isTerminal { #expect(hasFired == answers.isEmpty, "seed \(seed)") }
    }

    @Test func `replay finds a forged change`() throws {
        var life = try ConditionalLife(.sell())
        life.ticks("96")
        life.change(ConditionalChange(trigger: price("94")))
        var versions = life.versions
        let last = versions.removeLast()
        var forged = try #require(last.order.conditional)
        forged.draft.trigger = price("93")
        versions.append(last.with(.conditional(forged)))
        #expect(
            ReplayFinding.replay(versions)
                == .differs(version: 2, path: "draft.trigger", stored: "93", repeated: "94")
        )
    }

    // MARK: Not fired

    struct Case: Sendable {
        let reason: NotFired.Reason
        let text: String
        let draft: @Sendable (inout ConditionalDraft) -> Void
        let live: @Sendable (inout ConditionalLife) -> Void
        init(
            _ reason: NotFired.Reason,
            _ text: String,
            draft: @escaping @Sendable (inout ConditionalDraft) -> Void = { _ in },
            live: @escaping @Sendable (inout ConditionalLife) -> Void,
        ) {
            self.reason = reason
            self.text = text
            self.draft = draft
            self.live = live
        }
    }

    @Test(arguments: [
        Case(.notReached, "Mark came no closer than 95.03 to the trigger 95.00 (3 ticks).") {
            $0.ticks("99", "95.03", "98")
        },
        Case(.notReached, "Mark came no closer than 104.99 to the trigger 105.00 (1 tick).") {
            $0.side = .buy
            $0.trigger = price("105")
        } live: {
            $0.ticks("99", "104.99", "98")
        },
        Case(
            .notReached,
            "Mark came no closer than 95.50 to the trigger 95.00 (50 ticks); then it ended: cancelled by command.",
        ) {
            $0.ticks("99", "95.5", "98")
            $0.cancel()
        },
        Case(.positionGone, "The order had nothing left to act on: the position was turned elsewhere.") {
            $0.reduceOnly = true
        } live: {
            $0.ticks("99")
            $0.position("-1")
        },
        Case(.latchedWaitingVenue, "The order fired; the venue has not filled it yet (1 attempt, now SUBMITTED).") {
            $0.ticks("94")
        },
        Case(.latchedWaitingVenue, "The order fired and rests at the venue: 0.5 of 2 is filled (1 attempt).") {
            $0.limit = price("94.5")
        } live: {
            $0.ticks("94")
            $0.fill("0.5", at: "94.5")
        },
    ])
    func `it says why it has not fired`(_ row: Case) throws {
        var life = try ConditionalLife(.sell(row.draft))
        row.live(&life)
        let answers = notFired(life)
        #expect(answers.map(\.reason) == [row.reason])
        #expect(answers.map(\.text) == [row.text])
        #expect(answers.map(\.leg) == ["COND"])
    }

    @Test func `each trigger has its own nearest miss`() throws {
        var life = try ConditionalLife(.sell())
        life.ticks("99", "95.2", "97")
        life.change(ConditionalChange(trigger: price("94")))
        life.ticks("94.4", "96")
        let answer = try #require(notFired(life).first)
        #expect(answer.stretches.map(\.needed) == [price("94"), price("95")])
        #expect(answer.stretches.map { $0.miss?.price } == [price("94.4"), price("95.2")])
        #expect(answer.stretches.map { $0.miss?.distance } == [price("0.4"), price("0.2")])
        #expect(answer.stretches.map { $0.stretch.sinceVersion } == [2, 1])
    }

    @Test func `another price crossed, a feed was away, a halt stood in the way`() throws {
        var life = try ConditionalLife(.sell())
        life.ticks("99", "95.03", "98")
        let last = PriceEvidence(
            points: [PricePoint(life.points[1].position, price("94.6"))],
            ticksFrom: .start,
            end: life.points[2].position,
        )
        let crossed = try #require(notFired(life, prices: [.last: last]).first)
        #expect(crossed.reason == .otherSourceCrossed)
        #expect(crossed.text == "Last traded at 94.60, but this order watches mark, whose low was 95.03.")

        let gap = FeedGap(
            series: PriceSeries(market: Life.market, source: .mark),
            from: Life.begin + 1_000_000,
            to: Life.begin + 2_000_000,
            reason: "socket lost",
            isBackfilled: false,
        )
        let blind = try #require(notFired(life, gaps: [gap]).first)
        #expect(blind.reason == .feedGap)
        #expect(blind.text.hasSuffix("what is known: Mark came no closer than 95.03 to the trigger 95.00 (3 ticks)."))

        life.ticks("94")
        let halt = StandingHalt(
            scope: "account",
            level: "entries",
            reason: "holiday",
            since: Timestamp(microseconds: Life.begin),
        )
        #expect(notFired(life, halts: [halt]).map(\.reason) == [.latchedWaitingVenue])
        life.answer([.refused(.rateLimited, venueCode: "-1003")])
        #expect(notFired(life, halts: [halt]).map(\.reason) == [.halted])
    }
}
