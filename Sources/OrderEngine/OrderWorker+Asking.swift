// What a worker asks of a venue after a commit, and before one.
internal import SmartOrders

extension OrderWorker {
    /// An answer, with the place of its request in their order.
    private typealias Answer = (place: Int, reply: VenueReply?, exchange: VenueExchange)

    /// Asks the venue: cancels and placements side by side, because an exit does not wait for a cancel (ORDERS.md R25).
    func act(
        _ effects: [Effect],
        placing: [VenueOrder],
        rights: [SendRight],
        of order: StoredOrder,
        venue: any Venue,
        t0: Timestamp,
        begun: Int64,
    ) async -> (replies: [(VenueOrderKey, VenueReply)], exchanges: [VenueExchange]) {
        let asked = zip(placing, rights).enumerated().map { index, pair in
            Asked(
                place: index + 1,
                one: pair.0,
                placement: placement(pair.0, pair.1.clientOrderID, of: order, venue: venue, t0: t0),
            )
        }
        return await withTaskGroup { group in
            for effect in effects {
                guard case .cancel(let key) = effect, let known = order.venueOrders.first(where: { $0.key == key })
                else { continue }
                group.addTask { [await self.cancel(known, of: order, venue: venue)] }
            }
            let list = order.listLegs(in: placing)
            for (index, asked) in asked.enumerated() where index != list?.target && index != list?.stop {
                group.addTask { await self.send([asked], begun, of: order, venue: venue) }
            }
            if let list {
                let legs = [asked[list.target], asked[list.stop]]
                group.addTask { await self.send(legs, begun, of: order, venue: venue) }
            }
            var answers: [Answer] = []
            for await some in group { answers += some }
            // In the order in which they were asked: a simulation with the same seed gives the same trace.
            answers.sort { ($0.place, "\($0.exchange.key.leg)") < ($1.place, "\($1.exchange.key.leg)") }
            let replies = answers.compactMap { answer in answer.reply.map { (answer.exchange.key, $0) } }
            return (replies, answers.map(\.exchange))
        }
    }

    private struct Asked: Sendable {
        let place: Int
        let one: VenueOrder
        let placement: Placement
    }

    /// One placement, or the two legs of a list: the take-profit, then the stop.
    private func send(_ asked: [Asked], _ begun: Int64, of order: StoredOrder, venue: any Venue) async -> [Answer] {
        let sentAt = context.clock.now()
        if let known = await askedBefore(asked.map { ($0.one, $0.placement.clientOrderID) }, of: order, venue: venue) {
            let exchange = { (asked: Asked) in
                VenueExchange(key: asked.one.key, sentAt: sentAt, answeredAt: context.clock.now())
            }
            return zip(asked, known).map { ($0.place, $1, exchange($0)) }
        }
        // The last look at the kill switch is right before the send (RELIABILITY.md 11.1).
        var isAllowed = isInTime(begun, venue)
        for one in asked where isAllowed { isAllowed = await halts.allows(one.one, of: order) }
        guard isAllowed else {
            return asked.map { asked in
                let nothing = VenueExchange(key: asked.one.key, sentAt: sentAt, answeredAt: sentAt)
                return (asked.place, .news([.notSent]), nothing)
            }
        }
        let answers =
            asked.count == 2
            ? await venue.placeList(asked[0].placement, asked[1].placement)
            : [await venue.place(asked[0].placement)]
        measure(begun)
        let answeredAt = context.clock.now()
        var told: [Answer] = []
        for (asked, answer) in zip(asked, answers) {
            let reply = await reply(answer, to: asked.one, asked.placement, of: order, venue: venue)
            var exchange = VenueExchange(key: asked.one.key, sentAt: sentAt, answeredAt: answeredAt)
            if case .refused(_, let code, let detail) = answer {
                exchange = VenueExchange(
                    key: asked.one.key,
                    sentAt: sentAt,
                    answeredAt: answeredAt,
                    code: code,
                    detail: String(detail.prefix(200)),
                )
            }
            told.append((asked.place, reply, exchange))
        }
        return told
    }

    private func isInTime(_ begun: Int64, _ venue: any Venue) -> Bool {
        (context.clock.monotonicNanoseconds() - begun) / 1_000_000 <= venue.patienceMs - 200
    }

    private func measure(_ begun: Int64) {
        context.observer.measure(
            "placement_duration_seconds",
            milliseconds: Double(context.clock.monotonicNanoseconds() - begun) / 1e6,
        )
    }

    func placement(
        _ one: VenueOrder,
        _ clientOrderID: String,
        of order: StoredOrder,
        venue: any Venue,
        t0: Timestamp,
    ) -> Placement {
        let isDerivative = order.instrument.kind.isDerivative
        return Placement(
            market: order.instrument.market,
            clientOrderID: clientOrderID,
            side: one.side,
            type: one.type,
            quantity: one.quantity,
            limit: one.limit,
            trigger: one.trigger,
            callback: one.callback,
            triggerSource: order.triggerSource,
            closesPosition: one.leg == .backstop && isDerivative,
            reduceOnly: one.reduceOnly && isDerivative,
            isExit: order.isExit(one),
            t0: t0,
            windowMs: venue.windowMs,
        )
    }

    private func cancel(_ known: VenueOrder, of order: StoredOrder, venue: any Venue) async -> Answer {
        let market = order.instrument.market
        let sentAt = context.clock.now()
        guard let id = await name(of: known, of: order) else {
            return (0, nil, VenueExchange(key: known.key, sentAt: sentAt, answeredAt: sentAt))
        }
        let answer = await venue.cancel(market: market, clientOrderID: id, type: known.type)
        let exchange = VenueExchange(key: known.key, sentAt: sentAt, answeredAt: context.clock.now())
        switch answer {
        case .cancelled(let snapshot): return (0, .snapshot(snapshot), exchange)
        case .notOpen:
            guard case .found(let snapshot) = await venue.lookUp(market: market, clientOrderID: id, type: known.type)
            else { return (0, nil, exchange) }
            return (0, .snapshot(snapshot), exchange)
        // The sweep asks again.
        case .failed: return (0, nil, exchange)
        }
    }

    /// An adopted entry has the name that somebody else gave it; nil: it cannot be read now, the sweep asks again.
    private func name(of known: VenueOrder, of order: StoredOrder) async -> String? {
        guard order.smart?.isAdopted == true, known.key == VenueOrderKey(leg: .entry, attempt: 1) else {
            return context.identity.clientOrderID(order.id, known.key)
        }
        do throws(StoreError) {
            return try await context.orders.intents(of: [order.id], ended: false)
                .first { $0.venueOrder.key == known.key }?.clientOrderID
        } catch {
            context.observer.count("store_errors_total", 1)
            return nil
        }
    }

    private func reply(
        _ answer: PlacementAnswer,
        to one: VenueOrder,
        _ placement: Placement,
        of order: StoredOrder,
        venue: any Venue,
    ) async -> VenueReply {
        switch answer {
        case .accepted(let snapshot):
            // Some venues answer with the sum alone: the executions come with a look-up.
            guard snapshot.lacksFills else { return .snapshot(snapshot) }
            let found = await venue.lookUp(
                market: placement.market,
                clientOrderID: placement.clientOrderID,
                type: one.type,
            )
            if case .found(let whole) = found { return .snapshot(whole) }
            return .snapshot(snapshot)
        case .duplicate:
            let found = await venue.lookUp(
                market: placement.market,
                clientOrderID: placement.clientOrderID,
                type: one.type,
            )
            if case .found(let snapshot) = found { return .snapshot(snapshot) }
        case .refused(_, let code, let detail):
            context.observer.note(
                .warning,
                "Venue refused an order",
                [("order_id", "\(order.id)"), ("leg", "\(one.leg)"), ("code", code), ("detail", detail)],
            )
        case .notSent, .unknown: break
        }
        return .news(answer.news(known: one))
    }

    /// The position and who shares it, for an order whose backstop is due (ORDERS.md F11.2); nil: nobody can say now.
    func standing(_ row: StoredOrder, venue: any Venue, now: Timestamp) async throws(StoreError) -> PositionStanding? {
        guard let row = row.smart, let due = row.backstopDue, due <= now,
            let net = await venue.holding(market: row.instrument.market, side: row.draft.side, fresh: true)?.quantity
        else { return nil }
        let open = OrderFilter(
            account: row.account,
            kind: .smart,
            statuses: [OrderStatus.active, .partiallyClosed].map(\.rawValue),
            market: row.instrument.market,
            limit: 200,
        )
        let others = try await context.orders.list(open)
            .count { $0.id != row.id && $0.smart?.draft.side == row.draft.side }
        return PositionStanding(net: net, otherOrders: others)
    }
}

extension StoredOrder {
    /// The two legs that go as one order list: places in `placing`.
    fileprivate func listLegs(in placing: [VenueOrder]) -> (target: Int, stop: Int)? {
        guard instrument.native.contains(.list),
            let stop = placing.firstIndex(where: { $0.isNative && $0.leg == .stop }),
            let target = placing.firstIndex(where: { $0.isNative && $0.leg != .stop })
        else { return nil }
        return (target, stop)
    }
}
