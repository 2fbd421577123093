// Making an order agree with the venue: its venue orders first, then the position (ORDERS.md R16, 5.3 `refresh`,
// RELIABILITY.md 2.6). Changes only what the venue proves.
//
// A position that is read before a fill of ours was made says nothing: the reading counts only if it is newer than every
// fill that the order knows (`Holding.knows`). Fills that the order does not know yet are looked up first; what is in
// flight after that the core takes into account (PositionChanges.swift).
internal import SmartOrders

extension OrderWorker {
    /// Looks up what was sent, reads the position, decides on both in one version.
    /// - Parameter isPatient: comes back when the position cannot be judged yet.
    func reconcile(
        _ row: StoredOrder,
        venue: any Venue,
        isPatient: Bool,
        _ origin: DecisionRecord,
    ) async throws -> Step {
        guard !row.isTerminal else { return .obsolete }
        var origin = origin
        var (replies, _) = try await lookUp(asked(of: row), of: row, venue: venue, &origin)
        replies += try await lateOnes(of: row, venue: venue) { _ in true }
        let reading =
            row.followsPosition
            ? await venue.holding(market: row.instrument.market, side: row.positionSide, fresh: true) : nil
        var (transition, present) = try await record(replies, on: row, seen: knownFills(row), venue: venue)
        var isEarly = false
        if let reading, present.tick == nil {
            let standing = try await context.orders.standing(of: row)
            if reading.knows(standing, transition) {
                try await apply(reading, to: &transition, at: present.moment)
            } else {
                isEarly = isPatient
            }
        }
        // Whoever asked for the comparison has looked.
        for cause in [Attention.historyRewound, .feedGapUnfilled]
        where !isPatient && row.smart?.attention.contains(cause) == true {
            _ = try transition.apply(.attention(cause, isRaised: false), at: present.moment)
        }
        let cause: EventCause = present.tick != nil ? .tick : replies.isEmpty ? .position : .reconcile
        let step = try await finish(
            &transition,
            cause: cause,
            tick: present.tick,
            at: present.moment,
            venue: venue,
            origin,
        )
        switch step {
        case .done(let next) where isEarly || present.tick != nil: return again(next)
        case .obsolete where isEarly: return again(row)
        case .done(let next): return .done(next)
        // Looked at, and nothing new.
        case .obsolete: return .done(row)
        case .later(let delayMs, let reason): return .later(delayMs: delayMs, reason: reason)
        case .conflict: return .conflict
        }
    }

    private func again(_ order: StoredOrder) -> Step {
        guard order.followsPosition else { return .done(order) }
        return .later(delayMs: 2_000, reason: "POSITION_EARLY: the position may not show the last fill yet")
    }

    private func apply(_ reading: Holding, to transition: inout Transition, at moment: Moment) async throws {
        _ = try transition.apply(.position(net: reading.quantity, average: reading.average), at: moment)
        guard let order = transition.order.smart, order.status.isOpen, order.goal == .none,
            order.instrument.kind.isDerivative
        else { return }
        let isWrong = try await exceeds(reading, order)
        if isWrong != order.attention.contains(.positionMismatch) {
            _ = try transition.apply(.attention(.positionMismatch, isRaised: isWrong), at: moment)
        }
    }

    /// Whether the orders on this position own more than there is, with nothing under way that explains it. An order
    /// that follows the position owns what there is.
    private func exceeds(_ reading: Holding, _ order: SmartOrder) async throws -> Bool {
        let there = Quantity(order.draft.side.quantity(ofPosition: reading.quantity))
        guard there.isPositive, order.draft.sizeMode == .fixed else { return false }
        var owned = order.remaining
        var isMoving = !order.claimed.isZero
        let others = try await context.orders.shares(
            account: order.account,
            market: order.instrument.market,
            except: order.id,
        )
        for share in others where share.side == order.draft.side {
            if !share.isWhole { owned += share.remaining }
            if share.isClaimed { isMoving = true }
        }
        if owned <= there { return false }
        return isMoving ? order.attention.contains(.positionMismatch) : true
    }
}
