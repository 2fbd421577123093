// What every `TimelineStore` must do.
package import OrderEngine
internal import SmartOrders
internal import Testing

package enum TimelineStoreContract {
    package static func versionsAreWhatWasCommitted(
        _ stores: StoresUnderTest,
        _ timeline: any TimelineStore,
    ) async throws {
        let account = try await stores.account()
        var order = try await stores.order(1, account)
        let key = VenueOrderKey(leg: .stop, attempt: 1)
        let tick = Tick(
            market: order.instrument.market,
            source: .mark,
            price: Price(ExactDecimal(mantissa: 9_495, scale: 2)),
            position: TickPosition(venueTime: 1_790_000_000_000_000, sequence: 7),
        )
        let record = DecisionRecord(
            steps: [
                .absorb(tick.price, upTo: tick.position),
                .decide(.tick, Moment(now: order.updatedAt, price: tick.price)),
                .submit([key]),
            ],
            job: "\(order.id)-sl-1",
            requestID: "r-1",
            crossing: CrossingTimes(receivedAt: nil, crossedAt: Timestamp(microseconds: 5)),
            takenAt: Timestamp(microseconds: 6),
            exchanges: [
                VenueExchange(
                    key: key,
                    sentAt: Timestamp(microseconds: 7),
                    answeredAt: Timestamp(microseconds: 9),
                    code: "-2010",
                    detail: "no",
                )
            ],
        )
        order = order.next()
        _ = try await stores.orders.commit([.sample(order, facts: [.replanned], tick: tick, record: record)])
        // Many in one batch take another statement than one alone.
        let others = [try await stores.order(2, account), try await stores.order(3, account)].map { $0.next() }
        _ = try await stores.orders.commit(others.map { .sample($0, record: record) })
        let versions = try await timeline.versions(of: order.id, after: 0, limit: 10)
        #expect(versions.map(\.version) == [1, 2])
        #expect(versions.first?.record == nil)
        let last = try #require(versions.last)
        #expect(last.order == .smart(order))
        #expect(last.record == record)
        #expect(last.facts == [.replanned])
        #expect(last.tick == tick)
        #expect(last.actor == Actor(kind: .worker, id: "w1"))
        #expect(last.committedAt != nil)
        #expect(try await timeline.versions(of: order.id, after: 1, limit: 10).map(\.version) == [2])
        #expect(try await timeline.versions(of: others[1].id, after: 1, limit: 10).map(\.record) == [record])
    }

    package static func versionsOfConditionalOrders(
        _ stores: StoresUnderTest,
        _ timeline: any TimelineStore,
    ) async throws {
        let account = try await stores.account()
        let order = ConditionalOrder.sample(1, account)
        let change = ConditionalChange(trigger: Price(ExactDecimal(94)), limit: .some(nil))
        let moment = Moment(now: order.updatedAt, price: Price(ExactDecimal(100)))
        var created = Transition(
            created: StoredDecision(ConditionalDecision(next: order, effects: [], facts: [.created])),
            bounds: CreationBounds(),
            at: moment,
        )
        created.reach(TickPosition(venueTime: 5, sequence: 5))
        var changed = Transition(created.order)
        let isChanged = try changed.apply(change, at: moment)
        #expect(isChanged)
        for (number, transition) in [created, changed].enumerated() {
            let commit = transition.commit(
                id: Int64(900 + number),
                cause: .command,
                actor: Actor(kind: .user, id: "u"),
                record: DecisionRecord(requestID: "r"),
            )
            let outcome = try await stores.orders.commit([commit])[0]
            guard case .committed = outcome else { throw UnexpectedOutcome(outcome) }
        }
        let versions = try await timeline.versions(of: order.id, after: 0, limit: 10)
        #expect(versions.map(\.order) == [created.order, changed.order])
        #expect(versions.map(\.facts) == [created.facts, changed.facts])
        #expect(versions.last?.record?.steps == [.change(change, moment)])
        #expect(try await timeline.versions(of: order.id, after: 1, limit: 10).map(\.version) == [2])
    }

    package static func notesAreCounted(_ stores: StoresUnderTest, _ timeline: any TimelineStore) async throws {
        let order = try await stores.order(1, try await stores.account())
        func note(_ subject: String, _ kind: OrderNote.Kind, at time: Int64) -> OrderNote {
            OrderNote(
                order: order.id,
                kind: kind,
                subject: subject,
                actor: Actor(kind: .key, id: "k"),
                code: kind == .refused ? "NO_EXIT" : nil,
                detail: kind == .refused ? "No exit." : nil,
                firstAt: Timestamp(microseconds: time),
            )
        }
        try await timeline.add([note("b", .obsolete, at: 2), note("a", .refused, at: 1)])
        try await timeline.add([note("b", .obsolete, at: 9)])
        let unknown = OrderNote(
            order: .sample(9_999),
            kind: .refused,
            subject: "x",
            actor: Actor(kind: .key, id: "k"),
            firstAt: Timestamp(microseconds: 1),
        )
        try await timeline.add([unknown])
        let notes = try await timeline.notes(of: order.id)
        #expect(notes.map(\.subject) == ["a", "b"])
        #expect(notes.first == note("a", .refused, at: 1))
        #expect(notes.last?.count == 2)
        #expect(notes.last?.firstAt == Timestamp(microseconds: 2))
        #expect(notes.last?.lastAt == Timestamp(microseconds: 9))
        #expect(try await timeline.notes(of: unknown.order).isEmpty)
    }

    package static func gapsTouchTheStretch(_ stores: StoresUnderTest, _ timeline: any TimelineStore) async throws {
        let order = try await stores.order(1, try await stores.account())
        let series = PriceSeries(market: order.instrument.market, source: .mark)
        func gap(_ from: Int64, _ to: Int64, _ isBackfilled: Bool = false) -> FeedGap {
            FeedGap(series: series, from: from, to: to, reason: "socket lost", isBackfilled: isBackfilled)
        }
        for one in [gap(30, 40), gap(10, 20)] { try await timeline.add(one) }
        try await timeline.add(gap(30, 45, true))
        #expect(try await timeline.gaps(series, from: 0, to: 100) == [gap(10, 20), gap(30, 45, true)])
        #expect(try await timeline.gaps(series, from: 21, to: 30) == [gap(30, 45, true)])
        #expect(try await timeline.gaps(PriceSeries(market: series.market, source: .last), from: 0, to: 99).isEmpty)
        // Who has to be told of those that stay.
        try await timeline.add(gap(50, 60))
        #expect(try await timeline.untoldGap() == gap(10, 20))
        try await timeline.setTold(gap(10, 20))
        #expect(try await timeline.untoldGap() == gap(50, 60))
        try await timeline.add(gap(50, 60, true))
        #expect(try await timeline.untoldGap() == nil)
        // And who has to be told that one was filled later: once none of the series stands.
        try await timeline.add(gap(70, 80))
        try await timeline.setTold(gap(70, 80))
        try await timeline.add(gap(10, 20, true))
        #expect(try await timeline.untoldGap() == nil)
        try await timeline.add(gap(70, 80, true))
        #expect(try await timeline.untoldGap() == gap(10, 20, true))
        try await timeline.setTold(gap(10, 20, true))
        #expect(try await timeline.untoldGap() == gap(70, 80, true))
        try await timeline.setTold(gap(70, 80, true))
        #expect(try await timeline.untoldGap() == nil)
    }

    package static func ordersStandAcrossAGap(_ stores: StoresUnderTest, _ timeline: any TimelineStore) async throws {
        let account = try await stores.account()
        var orders: [SmartOrder] = []
        for number in 1...3 { orders.append(try await stores.order(number, account)) }
        let ids = orders.map(\.id).sorted()
        let armed = ArmedOrder(.smart(orders[0]))
        func across(
            _ source: TriggerSource,
            end: Int64,
            after: OrderID? = nil,
            limit: Int = 9,
        ) async throws -> [OrderID] {
            let series = PriceSeries(market: armed.market, source: source)
            let gap = FeedGap(series: series, from: 0, to: end, reason: "lost", isBackfilled: false)
            return try await timeline.orders(across: gap, after: after, limit: limit)
        }
        let source = armed.source
        #expect(try await across(source, end: .max) == ids)
        #expect(try await across(source, end: .max, limit: 2) == Array(ids.prefix(2)))
        #expect(try await across(source, end: .max, after: ids[1]) == [ids[2]])
        #expect(try await across(source, end: orders[0].createdAt.microseconds - 1_000_000).isEmpty, "made behind it")
        #expect(try await across(source == .bid ? .ask : .bid, end: .max).isEmpty)
    }
}
