// Orders of a history that was lost: restored from a backup, or promoted without the last commits (RELIABILITY.md 2.10).
//
// Invariant: for an order that is older than the present history nothing is sent before the venue was asked, under the
// deterministic ids of its next attempts, what the lost history had sent; and later each attempt is looked up before
// its first send, because ids are unique only while an order is open at most venues.
internal import SmartOrders

extension OrderWorker {
    /// Orders are dated by workers, histories by PostgreSQL: one look-up too many costs nothing.
    private static let clockErrorMs: Int64 = 60_000
    /// More attempts of one leg than any lost window holds at one per 250 ms.
    private static let maximumAttempts = 500
    /// A refused attempt is not known at the venue, one behind it may be: so many unknown ones in a row end a search.
    private static let maximumHoles = 3

    private func isOld(_ row: StoredOrder) -> Bool {
        guard let began = context.recovery?.historyBegan else { return false }
        return row.createdAt < began.advanced(milliseconds: Self.clockErrorMs)
    }

    /// The row, after it learnt what a lost history did; nil: that cannot be known yet.
    func recovered(_ row: StoredOrder, venue: any Venue) async throws -> StoredOrder? {
        guard isOld(row), !row.isTerminal, let recovery = context.recovery else { return row }
        switch try await recovery.recoveryState(of: row.id, fenceMs: venue.fenceMs) {
        case .recovered: return row
        case .waiting: return nil
        case .due: break
        }
        var row = row
        for _ in 0..<Self.maximumConflicts {
            guard let found = await askedInVain(of: row, venue: venue) else { return nil }
            if found.isEmpty {
                try await recovery.setRecovered(row.id, of: row.account, found: 0)
                return row
            }
            // What has left before the prices since then: a stop that they would latch would ask for the same coins again. An
            // entry comes after them, they were not its own.
            let isHeld = row.smart?.entered.isPositive ?? false
            var (transition, present) =
                isHeld
                ? (Transition(row), CatchUp.Present(moment: Moment(now: context.clock.now(), price: nil), tick: nil))
                : try await record([], on: row, seen: [], venue: venue)
            let seen = try await knownFills(row)
            for (key, snapshot) in found {
                _ = try transition.apply(.recovered(key), at: present.moment)
                let fills = snapshot.fills.filter { !seen.contains($0.venueFillID) }
                transition.learn(key, fills.map(VenueNews.fill), at: present.moment)
            }
            // Commands of the lost time cannot be found: the trader compares (RELIABILITY.md 2.10.5).
            _ = try transition.apply(.attention(.historyRewound, isRaised: true), at: present.moment)
            let outcome = try await committer.commit(
                transition.commit(
                    id: Int64(bitPattern: context.random()),
                    cause: .recovery,
                    actor: context.actor,
                    tick: present.tick,
                )
            )
            guard case .committed = outcome else {
                guard let fresh = try await context.orders.load([row.id]).first else { return nil }
                row = fresh
                continue
            }
            context.observer.count("lost_placements_found_total", found.count)
            context.observer.note(
                .warning,
                "A lost history had asked the venue",
                [("order_id", "\(row.id)"), ("attempts", "\(found.count)")],
            )
            await context.tell([row.id])
            try await recovery.setRecovered(row.id, of: row.account, found: found.count)
            return transition.order
        }
        return nil
    }

    /// Attempts that the venue knows and the row does not, ended; nil: the venue does not answer.
    private func askedInVain(of row: StoredOrder, venue: any Venue) async -> [(VenueOrderKey, VenueSnapshot)]? {
        var found: [(VenueOrderKey, VenueSnapshot)] = []
        for leg in row.recoverableLegs {
            var attempt = row.lastAttempt(of: leg) + 1
            let last = attempt + Self.maximumAttempts
            var holes = 0
            while attempt < last, holes < Self.maximumHoles {
                let key = VenueOrderKey(leg: leg, attempt: attempt)
                switch await ended(key, of: row, venue: venue) {
                // An end whose executions are not all told yet would count too little: it is asked again.
                case .found(let snapshot) where snapshot.lacksFills: return nil
                case .found(let snapshot):
                    found.append((key, snapshot))
                    holes = 0
                case .notFound: holes += 1
                case .failed: return nil
                }
                attempt += 1
            }
        }
        return found
    }

    /// What the venue says of an attempt. One that rests is taken down first: nobody would watch over it, and the plan
    /// places what it wants again.
    private func ended(_ key: VenueOrderKey, of row: StoredOrder, venue: any Venue) async -> LookUpAnswer {
        let market = row.instrument.market
        let id = context.identity.clientOrderID(row.id, key)
        for type in row.recoverableTypes {
            let answer = await venue.lookUp(market: market, clientOrderID: id, type: type)
            switch answer {
            case .notFound: continue
            case .failed: return answer
            case .found(let snapshot) where snapshot.state != .open: return answer
            case .found: break
            }
            switch await venue.cancel(market: market, clientOrderID: id, type: type) {
            case .cancelled(let snapshot): return .found(snapshot)
            case .failed: return .failed("it rests and cannot be cancelled")
            case .notOpen: return await venue.lookUp(market: market, clientOrderID: id, type: type)
            }
        }
        return .notFound
    }

    /// For an old order: what a venue says of requests that are about to be made for the first time. Nil: none of them
    /// is known there, so they are made.
    func askedBefore(
        _ asked: [(order: VenueOrder, clientOrderID: String)],
        of row: StoredOrder,
        venue: any Venue,
    ) async -> [VenueReply]? {
        guard isOld(row) else { return nil }
        var answers: [LookUpAnswer] = []
        for one in asked {
            answers.append(
                await venue.lookUp(
                    market: row.instrument.market,
                    clientOrderID: one.clientOrderID,
                    type: one.order.type,
                )
            )
        }
        guard answers.contains(where: { $0 != .notFound }) else { return nil }
        context.observer.count(
            "lost_placements_found_total",
            answers.count { if case .found = $0 { true } else { false } },
        )
        return answers.map { answer in
            switch answer {
            case .found(let snapshot): .snapshot(snapshot)
            case .notFound, .failed: .news([.notSent])
            }
        }
    }
}

extension StoredOrder {
    /// Legs that can have been asked for without a command.
    fileprivate var recoverableLegs: [Leg] {
        switch self {
        case .smart(let order):
            // In a fixed order, so that a seed replays it. A close stands for time exits and lost commands.
            [.entry, .stop, .close, .backstop] + order.draft.takeProfits.indices.map { .takeProfit($0 + 1) }
                + order.draft.partialStops.indices.map { .partialStop($0 + 1) }
        case .conditional: [.conditional]
        }
    }

    /// As which types the venue may know them: some keep conditional orders in a list of their own.
    fileprivate var recoverableTypes: [VenueOrderType] {
        instrument.native.isEmpty ? [.immediateOrCancel] : [.immediateOrCancel, .stopMarket]
    }
}
