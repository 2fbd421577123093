// Looking up what became of a request (RELIABILITY.md 2.6, 2.7), by the class of the venue.
//
// Presence is believed at once, absence only as the class allows: behind the fence and twice at a venue with a deadline,
// never for spot and entries at one that has neither deadline nor repeatable requests. What is in doubt keeps its claim.
// Cost: one request per look-up; where a second witness is asked for, three more once the fence has passed.
internal import SmartOrders

extension OrderWorker {
    /// - Parameter isNews: the venue's stream said something of them; what a look-up does not show yet is looked for soon.
    /// - Returns: what was learnt, and in how many milliseconds the first one that stays in doubt is to be looked up again:
    ///   as soon as the fence lets an absence count. Nil: the sweep's time is soon enough.
    func lookUp(
        _ intents: [StoredIntent],
        of row: StoredOrder,
        venue: any Venue,
        _ origin: inout DecisionRecord,
        isNews: Bool = false,
    ) async throws -> (replies: [(VenueOrderKey, VenueReply)], againMs: Int64?) {
        var replies: [(VenueOrderKey, VenueReply)] = []
        var againMs: Int64?
        for intent in intents {
            let sentAt = context.clock.now()
            let (reply, delay) = try await lookUp(intent, of: row, venue: venue, isNews: isNews)
            guard let reply else {
                if let delay { againMs = min(againMs ?? delay, delay) }
                continue
            }
            replies.append((intent.venueOrder.key, reply))
            origin.exchanges.append(
                VenueExchange(key: intent.venueOrder.key, sentAt: sentAt, answeredAt: context.clock.now())
            )
        }
        return (replies, againMs)
    }

    /// What an answer "unknown" says.
    private enum Absence {
        /// Nothing yet, or nothing at all: the venue once confirmed it.
        case meaningless
        /// The fence has passed, and at this venue that is no proof.
        case undecidable
        case conclusive
    }

    /// Looks one venue order up. Nil: nothing was learnt; then when to look again, where that cannot wait for the sweep.
    private func lookUp(
        _ intent: StoredIntent,
        of row: StoredOrder,
        venue: any Venue,
        isNews: Bool,
    ) async throws -> (VenueReply?, againMs: Int64?) {
        let market = row.instrument.market
        var snapshot: VenueSnapshot?
        if intent.venueOrder.cancelWanted {
            let type = intent.venueOrder.type
            switch await venue.cancel(market: market, clientOrderID: intent.clientOrderID, type: type) {
            case .cancelled(let found): snapshot = found
            case .notOpen, .failed: break
            }
        }
        var absence = Absence.meaningless
        if snapshot == nil {
            switch await ask(intent, of: row, venue: venue) {
            case .found(let found): snapshot = found
            case .notFound: absence = try await judge(intent, of: row, venue: venue)
            case .failed: break
            }
        }
        let isAbsent = absence == .conclusive
        let isResting = snapshot?.state == .open && !intent.venueOrder.cancelWanted && !isNews
        // A minute past the fence without a proof: somebody should look, and the look-ups go on (RELIABILITY.md 2.6).
        let overdue = intent.venueOrder.createdAt.advanced(milliseconds: venue.fenceMs + 60_000)
        let isOverdue = snapshot == nil && !isAbsent && context.clock.now() >= overdue
        var delay: Int64 =
            isAbsent
            ? 500 : isOverdue ? 10_000 : intent.checks < 3 ? 500 << Int64(intent.checks) : isResting ? 60_000 : 2_000
        // Doubt ends behind the fence: nobody looks later than that.
        let fenceMs = snapshot == nil ? fenceLeft(intent, venue) : nil
        if let fenceMs { delay = min(delay, fenceMs) }
        _ = try await context.orders.noteCheck(intent, absent: isAbsent, delayMs: delay)
        if let snapshot { return (.snapshot(snapshot), nil) }
        if absence == .undecidable, venue.venueClass.kind == .neither { return (.noDeadline, nil) }
        guard isAbsent else { return (isOverdue ? .unresolved : nil, fenceMs == nil ? nil : delay) }
        // The store counts absences after the fence that lie 500 ms apart: two of them are proof.
        let now = try await context.orders.intents(of: [intent.order], ended: false)
        let isProven = now.contains {
            $0.venueOrder.key == intent.venueOrder.key && $0.token == intent.token && $0.absences >= 2
        }
        return isProven ? (.news([.absent]), nil) : (nil, delay)
    }

    /// Milliseconds until the store takes an absence for one, by the venue's time at the send and with some for the commit;
    /// at least 250: the store may count a little longer. Nil: it does by now, or nobody knows.
    private func fenceLeft(_ intent: StoredIntent, _ venue: any Venue) -> Int64? {
        guard !intent.fencePassed, let t0 = intent.t0 else { return nil }
        return max(250, t0.advanced(milliseconds: venue.fenceMs + 50).milliseconds - venue.venueTime().milliseconds)
    }

    /// Asks for the order; where its request may be repeated, by repeating it.
    private func ask(_ intent: StoredIntent, of row: StoredOrder, venue: any Venue) async -> LookUpAnswer {
        let known = intent.venueOrder
        let market = row.instrument.market
        let listed = await venue.lookUp(market: market, clientOrderID: intent.clientOrderID, type: known.type)
        guard listed == .notFound, venue.venueClass.kind == .repeatable, known.venueOrderID == nil, !intent.fencePassed,
            let t0 = intent.t0, row.stillWants(known)
        else { return listed }
        // The authentication is as old as the first one: whatever is under way dies with it, and the fence holds.
        guard venue.venueTime() < t0.advanced(milliseconds: venue.windowMs) else { return listed }
        guard await halts.allows(known, of: row) else { return listed }
        switch await venue.place(placement(known, intent.clientOrderID, of: row, venue: venue, t0: t0)) {
        case .accepted(let snapshot) where !snapshot.lacksFills: return .found(snapshot)
        case .accepted, .duplicate:
            return await venue.lookUp(market: market, clientOrderID: intent.clientOrderID, type: known.type)
        // A refusal is of this copy: an earlier one may still be on its way.
        case .refused(_, let code, let detail): return .failed("\(code): \(detail)")
        case .notSent(let reason), .unknown(let reason): return .failed(reason)
        }
    }

    /// What it means that the venue does not know the order.
    private func judge(_ intent: StoredIntent, of row: StoredOrder, venue: any Venue) async throws -> Absence {
        // What the venue once confirmed is never concluded to be absent.
        guard intent.fencePassed, intent.venueOrder.venueOrderID == nil else { return .meaningless }
        switch venue.venueClass.kind {
        case .deadline, .repeatable: break
        case .neither:
            guard row.instrument.kind.isDerivative, intent.venueOrder.reduceOnly else { return .undecidable }
        }
        guard venue.venueClass.needsWitness else { return .conclusive }
        return try await isWitnessed(intent, of: row, venue: venue) ? .conclusive : .undecidable
    }

    // MARK: Late acceptances

    /// A venue that breaks its own deadline may accept what was proven absent: it is asked once a minute for ten (jobs.sql
    /// `due_work`), also when the order has ended. Nobody asks for it any more: it is taken down, what it executed is booked, and somebody should look (RELIABILITY.md 6.7, FA99).
    func lateOnes(
        of row: StoredOrder,
        venue: any Venue,
        where fits: (VenueOrder) -> Bool,
    ) async throws -> [(VenueOrderKey, VenueReply)] {
        let recently = context.clock.now().advanced(milliseconds: -venue.fenceMs - 600_000)
        let ended = try await context.orders.intents(of: [row.id], ended: true).filter {
            $0.venueOrder.state == .absent && $0.venueOrder.createdAt > recently && fits($0.venueOrder)
        }
        let market = row.instrument.market
        var replies: [(VenueOrderKey, VenueReply)] = []
        for intent in ended {
            let (id, type) = (intent.clientOrderID, intent.venueOrder.type)
            _ = try await context.orders.noteCheck(intent, absent: false, delayMs: 60_000)
            guard case .found(var snapshot) = await venue.lookUp(market: market, clientOrderID: id, type: type) else {
                continue
            }
            if snapshot.state == .open,
                case .cancelled(let ended) = await venue.cancel(market: market, clientOrderID: id, type: type)
            {
                snapshot = ended
            }
            context.observer.note(
                .error,
                "Venue accepted a request after its deadline",
                [("order_id", "\(row.id)"), ("leg", "\(intent.venueOrder.leg)"), ("filled", "\(snapshot.filled)")],
            )
            replies.append((intent.venueOrder.key, .snapshot(snapshot)))
        }
        return replies
    }

    /// How far before its T0 an execution is asked for: clocks differ.
    private static let witnessMarginMs: Int64 = 5_000

    /// Whether executions and holdings agree that it was never executed. False also when nobody can say.
    private func isWitnessed(_ intent: StoredIntent, of row: StoredOrder, venue: any Venue) async throws -> Bool {
        let market = row.instrument.market
        let asked = intent.venueOrder
        guard let since = intent.t0?.advanced(milliseconds: -Self.witnessMarginMs) else { return false }
        guard let executions = await venue.executions(market: market, since: since) else { return false }
        if executions.contains(where: { $0.side == asked.side }) {
            var quantities: [String: Quantity] = [:]
            let known = try await knownVenueOrders(row)
            for one in executions where one.side == asked.side && !known.contains(one.venueOrderID) {
                quantities[one.venueOrderID, default: .zero] += one.quantity
            }
            // One of that side that is not larger may be this one.
            if quantities.values.contains(where: { $0 <= asked.quantity }) { return false }
        }
        guard let order = row.smart, row.isExit(asked), order.draft.sizeMode == .fixed else { return true }
        guard let holding = await venue.holding(market: market, side: order.draft.side, fresh: true) else {
            return false
        }
        return try await !isMissing(holding, order)
    }

    /// Whether less is there than the orders on the position own.
    private func isMissing(_ holding: Holding, _ order: SmartOrder) async throws -> Bool {
        let there =
            order.instrument.kind.isDerivative
            ? Quantity(order.draft.side.quantity(ofPosition: holding.quantity)) : Quantity(holding.quantity)
        let shares = try await context.orders.shares(
            account: order.account,
            market: order.instrument.market,
            except: order.id,
        )
        let others = shares.filter { $0.side == order.draft.side && !$0.isWhole }
        return there < others.reduce(order.remaining) { $0 + $1.remaining }
    }

    /// The venue's ids of what the account's orders on this market asked for, as far back as a fence reaches.
    private func knownVenueOrders(_ row: StoredOrder) async throws -> Set<String> {
        let filter = OrderFilter(account: row.account, market: row.instrument.market, limit: 200)
        let orders = try await context.orders.list(filter).map(\.id)
        let intents = try await context.orders.intents(
            of: orders.contains(row.id) ? orders : orders + [row.id],
            ended: true,
        )
        return Set(intents.compactMap(\.venueOrder.venueOrderID))
    }
}

extension StoredOrder {
    /// Whether the plan still wants what was asked for: only then may a request be repeated.
    fileprivate func stillWants(_ asked: VenueOrder) -> Bool {
        guard !asked.cancelWanted, !asked.type.isConditional, !isTerminal else { return false }
        switch self {
        case .conditional(let order): return order.endReason == nil
        case .smart(let order):
            switch order.goal {
            case .cancelling: return false
            case .closing: return asked.leg == .close || asked.leg == .stop
            case .none: return order.latch == nil || asked.leg == .stop
            }
        }
    }
}
