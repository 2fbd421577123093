// Jobs on orders: decide, commit, act, record, tell. Every step may run twice; the effect happens once.
//
// A worker that dies between two steps leaves a row that the next one can finish: the commit carries the intent with
// its client order id and the right to send it once. Correctness rests on the version, never on who holds the job.
internal import SmartOrders

/// Does the work of jobs.
public struct OrderWorker: Sendable {
    private let context: EngineContext
    private let history: PriceHistory
    private let committer: CommitBatcher
    /// A conflict is decided again this often before the job goes back.
    private static let maximumConflicts = 5

    public init(context: EngineContext, history: PriceHistory, committer: CommitBatcher) {
        self.context = context
        self.history = history
        self.committer = committer
    }

    /// Handles a batch: rows in one query, orders side by side, the jobs of one order in turn.
    /// Outcomes in any order, one per job.
    public func handle(_ jobs: [TakenJob]) async -> [(job: TakenJob, outcome: JobOutcome)] {
        var byOrder: [OrderID: [(TakenJob, JobID)]] = [:]
        var inOrder: [OrderID] = []
        var outcomes: [(job: TakenJob, outcome: JobOutcome)] = []
        for taken in jobs {
            guard let id = taken.job?.id ?? JobID(taken.rawID) else {
                outcomes.append((taken, .dead(reason: "BADID: \(taken.rawID.prefix(64))")))
                continue
            }
            if byOrder[id.order] == nil { inOrder.append(id.order) }
            byOrder[id.order, default: []].append((taken, id))
        }
        let rows: [OrderID: SmartOrder]
        do throws(StoreError) {
            rows = Dictionary(
                try await context.orders.load(inOrder).map { ($0.id, $0) },
                uniquingKeysWith: { first, _ in first },
            )
        } catch {
            return outcomes + jobs.filter { JobID($0.rawID) != nil }.map { ($0, retry($0, error)) }
        }
        return await withTaskGroup { group in
            for order in inOrder {
                let work = byOrder[order] ?? []
                let row = rows[order]
                group.addTask { await self.handle(work, of: row) }
            }
            for await some in group { outcomes += some }
            return outcomes
        }
    }

    private func handle(
        _ work: [(TakenJob, JobID)],
        of row: SmartOrder?,
    ) async -> [(job: TakenJob, outcome: JobOutcome)] {
        var row = row
        var outcomes: [(job: TakenJob, outcome: JobOutcome)] = []
        for (taken, id) in work {
            guard let present = row else {
                outcomes.append((taken, .dead(reason: "UNKNOWN_ORDER: \(id.order)")))
                continue
            }
            do {
                let (next, outcome) = try await handle(taken, id, of: present)
                row = next
                outcomes.append((taken, outcome))
            } catch let error as StoreError {
                outcomes.append((taken, retry(taken, error)))
            } catch {
                outcomes.append((taken, .retry(delayMs: 250, reason: "\(error)")))
            }
        }
        return outcomes
    }

    /// One job, decided again on the row as it is whenever another writer was faster.
    private func handle(
        _ taken: TakenJob,
        _ id: JobID,
        of row: SmartOrder,
    ) async throws -> (SmartOrder, JobOutcome) {
        var row = row
        for _ in 0..<Self.maximumConflicts {
            switch try await attempt(taken, id, of: row) {
            case .done(let next): return (next, .done(version: next.version))
            case .obsolete: return (row, .obsolete(version: row.version))
            case .later(let delayMs, let reason): return (row, .retry(delayMs: delayMs, reason: reason))
            case .conflict:
                guard let fresh = try await context.orders.load([row.id]).first else {
                    return (row, .dead(reason: "UNKNOWN_ORDER: \(id.order)"))
                }
                row = fresh
            }
        }
        return (row, .retry(delayMs: 50, reason: "VERSION_CONFLICT: others were faster five times"))
    }

    private enum Step {
        case done(SmartOrder)
        case obsolete
        case later(delayMs: Int64, reason: String)
        case conflict
    }

    private func attempt(_ taken: TakenJob, _ id: JobID, of row: SmartOrder) async throws -> Step {
        let venue = try await context.venues.venue(for: row.account)
        var transition = Transition(row)
        switch taken.job?.name ?? .check {
        case .trigger:
            guard let job = taken.job else { break }
            switch try await TriggerDecision.make(job, on: row, history: history) {
            case .stale: break
            case .unavailable:
                return .later(delayMs: 250, reason: "TICK_UNAVAILABLE: the tick of \(id) is not to be had")
            case .decided(let decided, let tick):
                transition = decided
                return try await finish(&transition, cause: .tick, tick: tick, venue: venue)
            }
        case .timer:
            _ = try transition.apply(.timer, at: moment(of: row))
            return try await finish(&transition, cause: .timer, tick: nil, venue: venue)
        case .check, .reconcile: break
        }
        return try await settle(&transition, venue: venue)
    }

    /// Later work: sends what waits, looks up what is unknown, asks again for cancels that are not confirmed.
    private func settle(_ transition: inout Transition, venue: any Venue) async throws -> Step {
        let intents = try await context.orders.intents(of: [transition.order.id], ended: false)
        var looked = false
        for intent in intents {
            switch intent.venueOrder.state {
            case .submitted, .unknown, .cancelRequested, .open, .partial:
                guard intent.token != nil else { continue }
                looked = true
                try await lookUp(intent, &transition, venue: venue)
            case .intent, .filled, .cancelled, .expired, .rejected, .notSent, .absent: continue
            }
        }
        let hasWaiting = transition.order.venueOrders.contains { $0.state == .intent }
        guard transition.isChanged || hasWaiting || looked else { return .obsolete }
        return try await finish(&transition, cause: .venueAnswer, tick: nil, venue: venue)
    }

    /// Looks one venue order up and lets the order learn the answer (RELIABILITY.md 2.6).
    private func lookUp(_ intent: StoredIntent, _ transition: inout Transition, venue: any Venue) async throws {
        let market = transition.order.instrument.market
        if intent.venueOrder.cancelWanted {
            switch await venue.cancel(market: market, clientOrderID: intent.clientOrderID) {
            case .cancelled(let snapshot):
                transition.learn(
                    intent.venueOrder.key,
                    snapshot.news(known: intent.venueOrder),
                    at: moment(of: transition.order),
                )
                return
            case .notOpen, .failed: break
            }
        }
        let answer = await venue.lookUp(market: market, clientOrderID: intent.clientOrderID)
        var isAbsent = false
        switch answer {
        case .found(let snapshot):
            transition.learn(
                intent.venueOrder.key,
                snapshot.news(known: intent.venueOrder),
                at: moment(of: transition.order),
            )
        case .notFound:
            isAbsent = intent.fencePassed
            // Two look-ups after the fence, at least 500 ms apart: this one and one before it.
            if isAbsent, intent.absences >= 1 {
                transition.learn(intent.venueOrder.key, [.absent], at: moment(of: transition.order))
            }
        case .failed: break
        }
        let delay: Int64 =
            isAbsent
            ? 500 : intent.checks < 3 ? 500 << Int64(intent.checks) : intent.venueOrder.state == .open ? 60_000 : 2_000
        _ = try await context.orders.noteCheck(intent, absent: isAbsent, delayMs: delay)
    }

    /// Commit, act, record, until nothing is left to do now; then tell.
    private func finish(
        _ transition: inout Transition,
        cause: EventCause,
        tick: Tick?,
        venue: any Venue,
    ) async throws -> Step {
        var cause = cause
        var tick = tick
        var isFirst = true
        while true {
            let t0 = venue.venueTime()
            let begun = context.clock.monotonicNanoseconds()
            let sent = transition.submit { _ in true }
            let effects = transition.takeEffects()
            guard transition.isChanged else { return isFirst ? .obsolete : .done(transition.order) }
            let rights = sent.map { order in
                SendRight(
                    key: order.key,
                    clientOrderID: context.identity.clientOrderID(transition.order.id, order.key),
                    token: Int64(bitPattern: context.random()),
                    t0: t0,
                    fenceMs: venue.fenceMs,
                )
            }
            let outcome = try await committer.commit(
                transition.commit(
                    id: Int64(bitPattern: context.random()),
                    cause: cause,
                    actor: context.actor,
                    tick: tick,
                    sendRights: rights,
                )
            )
            switch outcome {
            case .committed: break
            case .lost: return .conflict
            case .blocked: return .later(delayMs: 1_000, reason: "HALTED: no order is sent now")
            case .refused(let constraint):
                context.observer.note(
                    .error,
                    "Database refused a decision",
                    [("order_id", "\(transition.order.id)"), ("constraint", constraint)],
                )
                return .later(delayMs: 5_000, reason: "REFUSED_BY_DATABASE: \(constraint)")
            case .keyUsed: preconditionFailure("workers use no idempotency keys")
            }
            await context.tell([transition.order.id])
            isFirst = false

            let stored = transition.order
            var next = Transition(stored)
            let answers = await act(
                effects,
                placing: sent,
                rights: rights,
                of: stored,
                venue: venue,
                t0: t0,
                begun: begun,
            )
            let now = moment(of: stored)
            for (key, news) in answers { next.learn(key, news, at: now) }
            transition = next
            cause = .venueAnswer
            tick = nil
            if !transition.isChanged, !transition.order.venueOrders.contains(where: { $0.state == .intent }) {
                return .done(stored)
            }
        }
    }

    /// Asks the venue: cancels and placements side by side, because an exit does not wait for a cancel (ORDERS.md R25).
    private func act(
        _ effects: [Effect],
        placing: [VenueOrder],
        rights: [SendRight],
        of order: SmartOrder,
        venue: any Venue,
        t0: Timestamp,
        begun: Int64,
    ) async -> [(VenueOrderKey, [VenueNews])] {
        let context = context
        let market = order.instrument.market
        return await withTaskGroup { group in
            for effect in effects {
                guard case .cancel(let key) = effect else { continue }
                let id = context.identity.clientOrderID(order.id, key)
                let known = order.venueOrders.first { $0.key == key }
                group.addTask { () -> (Int, VenueOrderKey, [VenueNews]) in
                    guard let known else { return (0, key, []) }
                    switch await venue.cancel(market: market, clientOrderID: id) {
                    case .cancelled(let snapshot): return (0, key, snapshot.news(known: known))
                    case .notOpen:
                        guard case .found(let snapshot) = await venue.lookUp(market: market, clientOrderID: id) else {
                            return (0, key, [])
                        }
                        return (0, key, snapshot.news(known: known))
                    // The sweep asks again.
                    case .failed: return (0, key, [])
                    }
                }
            }
            for (index, (one, right)) in zip(placing, rights).enumerated() {
                group.addTask { () -> (Int, VenueOrderKey, [VenueNews]) in
                    let waited = (context.clock.monotonicNanoseconds() - begun) / 1_000_000
                    guard waited <= venue.windowMs - 200 else { return (index + 1, one.key, [.notSent]) }
                    let answer = await venue.place(
                        Placement(
                            market: market,
                            clientOrderID: right.clientOrderID,
                            side: one.side,
                            type: one.type,
                            quantity: one.quantity,
                            limit: one.limit,
                            reduceOnly: one.reduceOnly && order.instrument.kind.isDerivative,
                            isExit: one.side != order.draft.side,
                            t0: t0,
                            windowMs: venue.windowMs,
                        )
                    )
                    context.observer.measure(
                        "placement_duration_seconds",
                        milliseconds: Double(context.clock.monotonicNanoseconds() - begun) / 1e6,
                    )
                    if case .duplicate = answer,
                        case .found(let snapshot) = await venue.lookUp(
                            market: market,
                            clientOrderID: right.clientOrderID,
                        )
                    {
                        return (index + 1, one.key, snapshot.news(known: one))
                    }
                    if case .refused(_, let code, let detail) = answer {
                        context.observer.note(
                            .warning,
                            "Venue refused an order",
                            [
                                ("order_id", "\(order.id)"), ("leg", "\(one.leg)"), ("code", code), ("detail", detail),
                            ],
                        )
                    }
                    return (index + 1, one.key, answer.news(known: one))
                }
            }
            var answers: [(Int, VenueOrderKey, [VenueNews])] = []
            for await answer in group { answers.append(answer) }
            // In the order in which they were asked: a simulation with the same seed gives the same trace.
            return answers.sorted { ($0.0, "\($0.1.leg)") < ($1.0, "\($1.1.leg)") }.map { ($0.1, $0.2) }
        }
    }

    /// The present, for news and timers. The row's position stays where it is, because the ticks behind it are not
    /// decided on yet; only an entry that is being filled starts to count ticks from now.
    private func moment(of order: SmartOrder) -> Moment {
        let series = PriceSeries(market: order.instrument.market, source: order.triggerSource)
        guard let latest = history.latest(series) else {
            return Moment(now: context.clock.now(), price: nil, position: order.extremePosition)
        }
        let starts = order.status == .pending && order.phase == .entryWorking
        return Moment(
            now: max(context.clock.now(), Timestamp(microseconds: latest.position.venueTime)),
            price: Price(units: latest.price, decimals: order.instrument.priceDecimals),
            position: starts ? max(order.extremePosition, latest.position) : order.extremePosition,
        )
    }

    private func retry(_ taken: TakenJob, _ error: StoreError) -> JobOutcome {
        let attempts = taken.attemptsMade + 1
        if let most = taken.jobClass.maximumAttempts, attempts >= most {
            return .dead(reason: "\(error.code.rawValue): \(error.detail)")
        }
        return .retry(
            delayMs: taken.jobClass.retryDelay(attempts, noise: context.random()),
            reason: "\(error.code.rawValue): \(error.detail)",
        )
    }
}
