// Jobs on orders: decide, commit, act, record, tell. Every step may run twice; the effect happens once.
//
// A worker that dies between two steps leaves a row that the next one can finish: the commit carries the intent with
// its client order id and the right to send it once. Correctness rests on the version, never on who holds the job.
internal import OwnerThread
internal import SmartOrders

/// Does the work of jobs.
public struct OrderWorker: Sendable {
    let context: EngineContext
    let history: PriceHistory
    let committer: CommitBatcher
    let halts: HaltWatch
    /// A conflict is decided again this often before the job goes back.
    static let maximumConflicts = 5

    public init(context: EngineContext, history: PriceHistory, committer: CommitBatcher) {
        self.context = context
        self.history = history
        self.committer = committer
        halts = HaltWatch(context: context)
    }

    /// Handles a batch: rows in one query, orders side by side, the jobs of one order in turn.
    /// Outcomes in any order, one per job.
    public func handle(_ jobs: [TakenJob]) async -> [(job: TakenJob, outcome: JobOutcome)] {
        let outcomes = Locked<[(job: TakenJob, outcome: JobOutcome)]>([])
        await handle(jobs) { some in outcomes.withLock { $0 += some } }
        return outcomes.withLock { $0 }
    }

    /// The same; `ended` is told of the jobs of an order as soon as they have ended.
    func handle(
        _ jobs: [TakenJob],
        ended: @escaping @Sendable ([(job: TakenJob, outcome: JobOutcome)]) async -> Void,
    ) async {
        var byOrder: [OrderID: [(TakenJob, JobID)]] = [:]
        var inOrder: [OrderID] = []
        for taken in jobs {
            // The id names the work; a body that says otherwise is not ours.
            guard let id = JobID(taken.rawID), taken.job.map({ $0.id == id }) ?? true else {
                await ended([(taken, .dead(reason: "BADID: \(taken.rawID.prefix(64))"))])
                continue
            }
            if byOrder[id.order] == nil { inOrder.append(id.order) }
            byOrder[id.order, default: []].append((taken, id))
        }
        let rows: [OrderID: StoredOrder]
        do throws(StoreError) {
            rows = Dictionary(
                try await context.orders.load(inOrder).map { ($0.id, $0) },
                uniquingKeysWith: { first, _ in first },
            )
        } catch {
            // A row that cannot be read harms nobody but itself (RELIABILITY.md 3.1.2).
            if error.code == .corruptRow, inOrder.count > 1 {
                for order in inOrder { await handle((byOrder[order] ?? []).map(\.0), ended: ended) }
                return
            }
            await ended(inOrder.flatMap { byOrder[$0] ?? [] }.map { ($0.0, retry($0.0, error)) })
            return
        }
        await withTaskGroup { group in
            for order in inOrder {
                let work = byOrder[order] ?? []
                let row = rows[order]
                group.addTask { await ended(self.handle(work, of: row)) }
            }
        }
    }

    private func handle(
        _ work: [(TakenJob, JobID)],
        of row: StoredOrder?,
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
        of row: StoredOrder,
    ) async throws -> (StoredOrder, JobOutcome) {
        var row = row
        for _ in 0..<Self.maximumConflicts {
            guard let job = taken.job else { return (row, try await derive(taken, row)) }
            switch try await attempt(job, id, of: row) {
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

    enum Step {
        case done(StoredOrder)
        case obsolete
        case later(delayMs: Int64, reason: String)
        case conflict
    }

    /// A job whose body Redis lost or somebody garbled is dead, and its order is looked at from its row and the stored
    /// prices instead (QUEUE.md 9.4): no trigger is lost to a bad body.
    private func derive(_ taken: TakenJob, _ row: StoredOrder) async throws -> JobOutcome {
        if !row.isTerminal {
            let job = Job.look(row, second: Int(context.clock.now().milliseconds / 1_000))
            do throws(QueueError) {
                _ = try await context.queue.offer([job], verify: false)
            } catch {
                try await context.orders.storeJobs([job])
            }
        }
        return .dead(reason: "\(taken.token.isEmpty ? "BODY_MISSING" : "UNDECODABLE"): \(taken.rawID)")
    }

    private func attempt(_ job: Job, _ id: JobID, of row: StoredOrder) async throws -> Step {
        let venue = try await context.venues.venue(for: row.account)
        guard var row = try await recovered(row, venue: venue) else {
            return .later(
                delayMs: 1_000,
                reason: "RECOVERING: what a lost history asked of the venue is not known yet",
            )
        }
        let origin = DecisionRecord(
            job: id.description,
            crossing: job.times,
            takenAt: context.clock.now(),
        )
        if let terms = await context.markets.news(for: row) {
            switch try await goOn(row, with: terms, venue: venue, origin) {
            case .done(let next): row = next
            case .obsolete: break
            case .later(let delayMs, let reason): return .later(delayMs: delayMs, reason: reason)
            case .conflict: return .conflict
            }
        }
        var transition = Transition(row)
        switch job.name {
        case .trigger:
            switch try await TriggerDecision.make(job, on: row, history: history) {
            case .stale: return try await sendWaiting(row, venue: venue, origin)
            case .unavailable:
                return .later(delayMs: 250, reason: "TICK_UNAVAILABLE: the tick of \(id) is not to be had")
            case .decided(let decided, let tick):
                transition = decided
                let holdings = await holdings(for: decided, venue)
                if holdings != .unknown,
                    case .decided(let again, _) = try await TriggerDecision.make(
                        job,
                        on: row,
                        history: history,
                        holdings: holdings,
                    )
                {
                    transition = again
                }
                let moment = Moment(
                    now: Timestamp(microseconds: tick.position.venueTime),
                    price: tick.price,
                    position: tick.position,
                ).with(holdings)
                return try await finish(&transition, cause: .tick, tick: tick, at: moment, venue: venue, origin)
            }
        case .timer:
            let present: CatchUp.Present
            (transition, present) = try await fitted(row, venue) { holdings in
                var transition = Transition(row)
                let present = try await CatchUp.bring(
                    &transition,
                    history: history,
                    now: context.clock.now(),
                    holdings: holdings,
                )
                if present.tick == nil {
                    let standing = try await standing(row, venue: venue, now: present.moment.now)
                    let reference = await witness(for: transition.order, at: present.moment)
                    _ = try transition.apply(.timer, at: present.moment.with(standing).with(reference: reference))
                }
                return (transition, present)
            }
            let cause: EventCause = present.tick == nil ? .timer : .tick
            return try await finish(
                &transition,
                cause: cause,
                tick: present.tick,
                at: present.moment,
                venue: venue,
                origin,
            )
        case .reconcile: return try await reconcile(row, venue: venue, isPatient: id.attempt == 1, origin)
        case .check: break
        }
        return try await settle(id, row, venue: venue, origin)
    }

    /// What a print that waits for its second witness is judged by now; nil: none waits.
    private func witness(for order: StoredOrder, at moment: Moment) async -> Price? {
        guard let suspect = order.smart?.suspect, !suspect.isIgnored else { return nil }
        // It is no witness for itself: the median of its own source is not asked.
        let now = TickPosition(venueTime: moment.now.microseconds, sequence: .max)
        return await PrintWitness.otherSource(for: order, at: now, history)
    }

    /// What a decision that asks for an exit has to be made again with; unknown for every other one.
    private func holdings(for transition: Transition, _ venue: any Venue) async -> Holdings {
        guard transition.wantsExit else { return .unknown }
        return await Holdings.read(for: transition, venue: venue, context: context)
    }

    /// Decides; what asks for an exit is decided again on what is there.
    private func fitted(
        _ row: StoredOrder,
        _ venue: any Venue,
        _ decide: (Holdings) async throws -> (Transition, CatchUp.Present),
    ) async throws -> (Transition, CatchUp.Present) {
        let first = try await decide(.unknown)
        let holdings = await holdings(for: first.0, venue)
        return holdings == .unknown ? first : try await decide(holdings)
    }

    /// Sends what an order wished for while it could not be sent.
    private func sendWaiting(
        _ row: StoredOrder,
        venue: any Venue,
        _ origin: DecisionRecord,
    ) async throws -> Step {
        guard row.venueOrders.contains(where: { $0.state == .intent }) else { return .obsolete }
        var (transition, present) = try await record([], on: row, seen: [], venue: venue)
        let cause: EventCause = present.tick == nil ? .venueAnswer : .tick
        return try await finish(
            &transition,
            cause: cause,
            tick: present.tick,
            at: present.moment,
            venue: venue,
            origin,
        )
    }

    /// Later work: sends what waits, looks up what is unknown, asks again for cancels that are not confirmed.
    /// - Parameter id: names the attempt to look up.
    private func settle(
        _ id: JobID,
        _ row: StoredOrder,
        venue: any Venue,
        _ origin: DecisionRecord,
    ) async throws -> Step {
        let intents = try await asked(of: row).filter {
            id.leg == $0.venueOrder.leg && id.attempt == $0.venueOrder.attempt
        }
        var origin = origin
        let isNews = id.check.map { $0 >= VenueListener.leastNumber } ?? false
        var (replies, againMs) = try await lookUp(intents, of: row, venue: venue, &origin, isNews: isNews)
        if intents.isEmpty {
            replies = try await lateOnes(of: row, venue: venue) { $0.leg == id.leg && $0.attempt == id.attempt }
            if replies.isEmpty { return try await sendWaiting(row, venue: venue, origin) }
        }
        var (transition, present) = try await record(replies, on: row, seen: knownFills(row), venue: venue)
        let cause: EventCause = present.tick == nil ? .venueAnswer : .tick
        let step = try await finish(
            &transition,
            cause: cause,
            tick: present.tick,
            at: present.moment,
            venue: venue,
            origin,
        )
        switch step {
        // Looked at, and nothing new. What stays in doubt is looked at again when that can end it (RELIABILITY.md GA11).
        case .obsolete:
            guard let againMs else { return .done(row) }
            return .later(delayMs: againMs, reason: "IN_DOUBT: looked up again when an absence counts")
        case .done(let next): return .done(next)
        case .later(let delayMs, let reason): return .later(delayMs: delayMs, reason: reason)
        case .conflict: return .conflict
        }
    }

    /// What a venue said of an order of ours.
    enum VenueReply: Sendable {
        case snapshot(VenueSnapshot)
        case news([VenueNews])
        /// Nobody can say, and it takes too long.
        case unresolved
        /// It is not there, and where it was sent that proves nothing.
        case noDeadline

        /// The venue does not take what it was asked, as it is.
        var isRefusal: Bool {
            guard case .news(let news) = self else { return false }
            return news.contains { item in
                if case .refused(let kind, _) = item { kind == .rejected || kind == .priceOutOfBand } else { false }
            }
        }
    }

    /// Venue orders of this order that were sent and have not ended.
    func asked(of row: StoredOrder) async throws -> [StoredIntent] {
        try await context.orders.intents(of: [row.id], ended: false).filter { intent in
            guard intent.token != nil else { return false }
            return switch intent.venueOrder.state {
            case .submitted, .unknown, .cancelRequested, .open, .partial: true
            case .intent, .filled, .cancelled, .expired, .rejected, .notSent, .absent: false
            }
        }
    }

    func knownFills(_ row: StoredOrder) async throws -> Set<String> {
        Set(try await context.orders.fills(order: row.id).map(\.fill.venueFillID))
    }

    /// Brings the row up to the present and lets it learn what the venue said.
    /// - Parameter seen: fills that were stored when `row` was read, or later: a later one costs a lost race.
    func record(
        _ replies: [(VenueOrderKey, VenueReply)],
        on row: StoredOrder,
        seen: Set<String>,
        venue: any Venue,
    ) async throws -> (Transition, CatchUp.Present) {
        let trouble = venue.trouble
        return try await fitted(row, venue) {
            try await recorded(replies, on: row, seen: seen, holdings: $0, trouble: trouble)
        }
    }

    private func recorded(
        _ replies: [(VenueOrderKey, VenueReply)],
        on row: StoredOrder,
        seen: Set<String>,
        holdings: Holdings,
        trouble: Set<Attention>,
    ) async throws -> (Transition, CatchUp.Present) {
        var transition = Transition(row)
        let now = context.clock.now()
        let present = try await CatchUp.bring(&transition, history: history, now: now, holdings: holdings)
        // Facts are learnt now, whatever tick was decided on before them.
        let moment = Moment(
            now: max(now, present.moment.now),
            price: present.moment.price,
            position: present.moment.position,
        ).with(holdings)
        for (key, reply) in replies {
            switch (reply, transition.order.venueOrders.first { $0.key == key }) {
            case (.snapshot(let snapshot), let known?):
                transition.learn(key, snapshot.news(known: known, seen: seen), at: moment)
            case (.snapshot(let snapshot), nil):
                // The attempt is over for the row; only an execution can be new.
                let fills = snapshot.fills.filter { !seen.contains($0.venueFillID) }
                transition.learn(key, fills.map(VenueNews.fill), at: moment)
            case (.news(let news), .some): transition.learn(key, news, at: moment)
            case (.unresolved, .some):
                _ = try transition.apply(.attention(.exitUnresolved, isRaised: true), at: moment)
            case (.noDeadline, .some):
                _ = try transition.apply(.attention(.venueNoDeadline, isRaised: true), at: moment)
            case (.news, nil), (.unresolved, nil), (.noDeadline, nil): break
            }
        }
        // Said of orders whose requests do not leave because of it.
        let isStuck = replies.contains { if case .news([.notSent]) = $0.1 { true } else { false } }
        for cause in [Attention.venueTLS, .venueClock] {
            let isRaised = trouble.contains(cause)
            guard let known = transition.order.smart?.attention.contains(cause), known != isRaised,
                isStuck || !isRaised
            else { continue }
            _ = try transition.apply(.attention(cause, isRaised: isRaised), at: moment)
        }
        return (transition, CatchUp.Present(moment: moment, tick: present.tick))
    }

    /// From the venue's time of the tick to the venue's answer. Meaningless for recorded prices, which are left out.
    private func measure(since tick: Tick) {
        let elapsed = context.clock.now().microseconds - tick.position.venueTime
        guard elapsed >= 0, elapsed < 3_600_000_000 else { return }
        context.observer.measure("trigger_to_venue_ack_seconds", milliseconds: Double(elapsed) / 1_000)
    }

    /// Commit, act, record, until nothing is left to do now; then tell.
    func finish(
        _ transition: inout Transition,
        cause: EventCause,
        tick: Tick?,
        at moment: Moment,
        venue: any Venue,
        _ origin: DecisionRecord,
    ) async throws -> Step {
        var origin = origin
        var cause = cause
        var tick = tick
        var moment = moment
        var isFirst = true
        var maySend = true
        var conflicts = 0
        var replies: [(VenueOrderKey, VenueReply)] = []
        while true {
            transition.dropUnsent(at: moment)
            transition.begin(exitsAt: context.clock.now())
            // Before the commit: a process that sleeps in between wakes with a request that the venue refuses.
            let t0 = venue.venueTime()
            let begun = context.clock.monotonicNanoseconds()
            let unsent = transition
            let sent = maySend ? transition.submit { _ in true } : []
            let effects = transition.takeEffects()
            // The next job starts from what is stored: quiet ticks that were only looked at are in no version.
            guard transition.isChanged else {
                return isFirst ? .obsolete : .done(transition.stored ?? transition.order)
            }
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
                    record: origin,
                )
            )
            switch outcome {
            case .committed: break
            case .lost:
                if isFirst { return .conflict }
                // Somebody was faster while the venue was asked. What it said is still evidence.
                conflicts += 1
                guard conflicts <= Self.maximumConflicts,
                    let fresh = try await context.orders.load([transition.order.id]).first
                else { return .later(delayMs: 50, reason: "VERSION_CONFLICT: the answers are looked up again") }
                let (next, present) = try await record(replies, on: fresh, seen: knownFills(fresh), venue: venue)
                (transition, moment, tick) = (next, present.moment, present.tick)
                cause = tick == nil ? .venueAnswer : .tick
                continue
            case .blocked:
                // The decision counts, the wish waits as INTENT; the sweep brings it back (RELIABILITY.md 11.1).
                guard !sent.isEmpty else { return .later(delayMs: 1_000, reason: "HALTED: nothing is stored now") }
                maySend = false
                transition = unsent
                if transition.order.smart?.latch != nil {
                    _ = try transition.apply(.attention(.stopHeld, isRaised: true), at: moment)
                }
                continue
            case .refused(let constraint):
                context.observer.note(
                    .error,
                    "Database refused a decision",
                    [("order_id", "\(transition.order.id)"), ("constraint", constraint)],
                )
                return .later(delayMs: 5_000, reason: "REFUSED_BY_DATABASE: \(constraint)")
            case .keyUsed: preconditionFailure("workers use no idempotency keys")
            }
            isFirst = false

            let stored = transition.order
            if sent.isEmpty, effects.isEmpty {
                await context.tell([stored.id])
                return .done(stored)
            }
            let answers = await act(
                effects,
                placing: sent,
                rights: rights,
                of: stored,
                venue: venue,
                t0: t0,
                begun: begun,
            )
            replies = answers.replies
            if replies.contains(where: { $0.1.isRefusal }) { context.markets.doubt() }
            // The crossing and the job were told of with the version that they made.
            origin = DecisionRecord(job: origin.job, exchanges: answers.exchanges)
            if let tick { measure(since: tick) }
            // After the request: an exit does not wait for anybody to be told.
            await context.tell([stored.id])
            // A request that was just made for the first time has no fills that anybody knows.
            let isNew = replies.allSatisfy { key, _ in sent.contains { $0.key == key } }
            let seen = isNew ? [] : try await knownFills(stored)
            let (next, present) = try await record(replies, on: stored, seen: seen, venue: venue)
            (transition, moment, tick) = (next, present.moment, present.tick)
            cause = tick == nil ? .venueAnswer : .tick
            conflicts = 0
            if !transition.isChanged, !transition.order.venueOrders.contains(where: { $0.state == .intent }) {
                return .done(stored)
            }
        }
    }

    private func retry(_ taken: TakenJob, _ error: StoreError) -> JobOutcome {
        let attempts = taken.attemptsMade + 1
        // Nothing was sent on it: the store says committed only when a later commit came back clean (RELIABILITY.md 3.1.6).
        if error.detail.hasPrefix("commit unconfirmed") {
            context.observer.note(
                .error,
                "COMMIT_UNCONFIRMED: a commit did not wait for its standby",
                [("job_id", taken.rawID), ("error", error.detail)],
            )
        }
        if !error.isTransient {
            context.observer.note(
                .error,
                "The store cannot be read for a job",
                [("job_id", taken.rawID), ("error", "\(error.code.rawValue): \(error.detail)")],
            )
        }
        if let most = taken.jobClass.maximumAttempts, attempts >= most {
            return .dead(reason: "\(error.code.rawValue): \(error.detail)")
        }
        return .retry(
            delayMs: taken.jobClass.retryDelay(attempts, noise: context.random()),
            reason: "\(error.code.rawValue): \(error.detail)",
        )
    }
}
