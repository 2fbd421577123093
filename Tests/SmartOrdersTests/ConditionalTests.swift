import SmartOrders
import Testing

struct ConditionalTests {
    static let instrument = Instrument.test(stepSize: "0.0001")

    static func order(
        _ kind: ConditionalDraft.Kind,
        _ side: Side,
        trigger: String,
        limit: String? = nil,
        mark: String,
        edit: (inout ConditionalDraft) -> Void = { _ in },
    ) throws(Refusal) -> ConditionalOrder {
        var draft = ConditionalDraft(
            kind: kind,
            side: side,
            quantity: quantity("1"),
            trigger: price(trigger),
            limit: limit.map { price($0) },
        )
        edit(&draft)
        return try ConditionalOrder.create(
            draft,
            id: testOrder,
            account: testAccount,
            instrument: instrument,
            at: moment(mark),
        ).next
    }

    static func moment(_ at: String, after milliseconds: Int64 = 0, held: ExactDecimal? = nil) -> Moment {
        Moment(now: Timestamp(milliseconds: 1_000_000 + milliseconds), price: price(at), held: held)
    }

    struct Sample: Sendable {
        let kind: ConditionalDraft.Kind
        let side: Side
        let mark: String
        let trigger: String
        let limit: String?
        let quiet: String
        let condition: ConditionalOrder.Condition
        let venueLimit: String
    }

    @Test(arguments: [
        Sample(
            kind: .stopLoss,
            side: .sell,
            mark: "25000",
            trigger: "20000",
            limit: "19000",
            quiet: "20000.01",
            condition: .atOrBelow,
            venueLimit: "19000",
        ),
        Sample(
            kind: .stopLoss,
            side: .buy,
            mark: "25000",
            trigger: "50000",
            limit: nil,
            quiet: "49999.99",
            condition: .atOrAbove,
            venueLimit: "55000",
        ),
        Sample(
            kind: .takeProfit,
            side: .buy,
            mark: "20000",
            trigger: "19000",
            limit: "18000",
            quiet: "19000.01",
            condition: .atOrBelow,
            venueLimit: "18000",
        ),
        Sample(
            kind: .takeProfit,
            side: .sell,
            mark: "20000",
            trigger: "25000",
            limit: nil,
            quiet: "24999.99",
            condition: .atOrAbove,
            venueLimit: "22500",
        ),
    ])
    func `the four samples of the product`(_ sample: Sample) throws {
        let order = try Self.order(
            sample.kind,
            sample.side,
            trigger: sample.trigger,
            limit: sample.limit,
            mark: sample.mark,
        )
        #expect(order.condition == sample.condition)
        #expect(try order.decide(.tick, at: Self.moment(sample.quiet)) == nil)
        let fired = try #require(try order.decide(.tick, at: Self.moment(sample.trigger)))
        let placed = try #require(fired.next.venueOrders.first)
        #expect(fired.next.status == .triggered)
        #expect(placed.type == (sample.limit == nil ? .immediateOrCancel : .goodTillCancelled))
        #expect(placed.limit == price(sample.venueLimit))
        let fill = Fill(
            venueFillID: "f",
            quantity: quantity("1"),
            price: price(sample.trigger),
            time: Timestamp(milliseconds: 1),
        )
        let done = try #require(
            try fired.next.decide(.venue(placed.key, .fill(fill)), at: Self.moment(sample.trigger))
        )
        #expect(done.next.status == .filled)
        #expect(try done.next.decide(.tick, at: Self.moment(sample.trigger)) == nil)
    }

    struct Refused: Sendable {
        let kind: ConditionalDraft.Kind
        let side: Side
        let trigger: String
        var limit: String?
        var mark = "100"
        let code: RefusalCode
    }

    @Test(arguments: [
        Refused(kind: .stopLoss, side: .sell, trigger: "99.995", code: .priceNotOnTick),
        Refused(kind: .stopLoss, side: .sell, trigger: "0.01", code: .triggerTooLow),
        Refused(kind: .stopLoss, side: .buy, trigger: "200.01", code: .triggerTooHigh),
        Refused(kind: .stopLoss, side: .sell, trigger: "100", code: .triggerWrongSide),
        Refused(kind: .stopLoss, side: .buy, trigger: "100", code: .triggerWrongSide),
        Refused(kind: .stopLoss, side: .buy, trigger: "99", code: .triggerWrongSide),
        Refused(kind: .takeProfit, side: .buy, trigger: "101", code: .triggerWrongSide),
        Refused(kind: .takeProfit, side: .sell, trigger: "99", code: .triggerWrongSide),
        Refused(kind: .stopLoss, side: .sell, trigger: "90", limit: "85.495", code: .priceNotOnTick),
        Refused(kind: .stopLoss, side: .sell, trigger: "90", limit: "85.49", code: .limitOutOfBand),
        Refused(kind: .stopLoss, side: .sell, trigger: "90", limit: "135.01", code: .limitOutOfBand),
    ])
    func `refused with the first failing check`(_ row: Refused) {
        do {
            _ = try Self.order(row.kind, row.side, trigger: row.trigger, limit: row.limit, mark: row.mark)
            Issue.record("accepted")
        } catch {
            #expect(error.code == row.code)
        }
    }

    @Test(arguments: [("0.02", "0.03"), ("90", "100")])
    func `the bounds of a trigger are where the table says`(_ row: (String, String)) throws {
        _ = try Self.order(.stopLoss, .sell, trigger: row.0, mark: row.1)
    }

    private func fired(
        _ edit: (inout ConditionalDraft) -> Void = { _ in },
        limit: String? = nil,
    ) throws -> ConditionalOrder {
        let order = try Self.order(.stopLoss, .sell, trigger: "90", limit: limit, mark: "100", edit: edit)
        return try #require(try order.decide(.tick, at: Self.moment("90", held: nil))).next
    }

    private func news(_ order: ConditionalOrder, _ news: VenueNews, _ attempt: Int = 1) throws -> ConditionalOrder {
        try #require(
            try order.decide(.venue(key(.conditional, attempt), news), at: Self.moment("89"))
        ).next
    }

    @Test func `an order of its own ends with what it got`() throws {
        let expired = try news(fired(), .ended(.expired))
        #expect(expired.status == .cancelled)
        #expect(expired.reason == .iocExpired)
        let refused = try news(fired(), .refused(.rejected, venueCode: "x"))
        #expect(refused.reason == .orderRejected)
    }

    @Test func `a reduce-only stop-loss is protection: retried at the current price`() throws {
        var order = try news(fired { $0.reduceOnly = true }, .ended(.expired))
        #expect(order.status == .triggered)
        #expect(order.wantsEveryTick)
        order = try #require(try order.decide(.tick, at: Self.moment("80"))).next
        #expect(order.venueOrders.first?.limit == price("72"))
        #expect(order.venueOrders.first?.reduceOnly == true)
        #expect(order.attempts == 2)
        order = try news(order, .refused(.rejected, venueCode: "x"), 2)
        #expect(order.health == .retrying)
        // The position is gone: nothing is left to protect.
        order = try #require(try order.decide(.timer, at: Self.moment("80", after: 60_000, held: .zero))).next
        #expect(order.status == .cancelled)
        #expect(order.reason == .positionClosedExternally)
    }

    @Test func `a flip ends reduce-only orders, and no others`() throws {
        let guarding = try Self.order(.stopLoss, .sell, trigger: "90", mark: "100") { $0.reduceOnly = true }
        let flipped = try #require(try guarding.decide(.position(net: "-5", average: nil), at: Self.moment("100")))
        #expect(flipped.next.reason == .positionFlipped)
        let free = try Self.order(.stopLoss, .sell, trigger: "90", mark: "100")
        #expect(try free.decide(.position(net: "-5", average: nil), at: Self.moment("100")) == nil)
    }

    @Test func `cancel waits for the proof of a resting order`() throws {
        var order = try news(fired(limit: "89"), .accepted(venueOrderID: "v"))
        let asked = try #require(try order.decide(.command(.cancel), at: Self.moment("89")))
        #expect(asked.effects == [.cancel(key(.conditional))])
        #expect(asked.next.status == .triggered)
        order = try news(asked.next, .ended(.cancelled))
        #expect(order.reason == .userCancel)
        #expect(throws: Refusal.self) { try order.decide(.command(.cancel), at: Self.moment("89")) }
    }

    @Test func `an expiry ends what waits`() throws {
        let order = try Self.order(.stopLoss, .sell, trigger: "90", mark: "100") {
            $0.expiresAt = Timestamp(milliseconds: 1_000_500)
        }
        #expect(order.nextTimer == Timestamp(milliseconds: 1_000_500))
        let ended = try #require(try order.decide(.timer, at: Self.moment("100", after: 500)))
        #expect(ended.next.reason == .expired)
    }

    @Test func `trigger, limit and quantity change while it waits, under the same checks`() throws {
        let order = try Self.order(.stopLoss, .sell, trigger: "90", limit: "89", mark: "100")
        let changed = try #require(
            try order.edit(ConditionalChange(trigger: price("95"), limit: .some(nil)), at: Self.moment("100"))
        )
        #expect(changed.next.draft.trigger == price("95"))
        #expect(changed.next.draft.limit == nil)
        #expect(changed.next.version == 2)
        #expect(throws: Refusal.self) {
            try order.edit(ConditionalChange(trigger: price("100")), at: Self.moment("100"))
        }
        #expect(try order.edit(ConditionalChange(), at: Self.moment("100")) == nil)
    }

    @Test func `an outcome that is unknown is placed again only after its absence is proven`() throws {
        var order = try news(fired(), .unknown)
        #expect(order.health == .unknown)
        #expect(try order.decide(.tick, at: Self.moment("88")) == nil)
        order = try news(order, .absent)
        #expect(order.venueOrders.first?.attempt == 2)
    }
}
