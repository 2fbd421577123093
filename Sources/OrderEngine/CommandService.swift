// What a trader asks: validate, decide, commit, tell. The venue's work follows as jobs of a worker. A process that can
// read the venue checks what is asked against it (PositionView.swift); one that cannot leaves that to the exits.
public import SmartOrders

/// Why a command was not carried out.
public enum CommandError: Error, Sendable {
    /// A rule refuses it; nothing changed. All failing checks, the first one names the answer.
    case refused([Refusal])
    /// The version that the caller saw is not the present one.
    case versionMismatch(present: SmartOrder)
    /// The idempotency key belongs to another request.
    case keyReused
    /// No price is known that a check needs.
    case priceUnavailable
    case unavailable(String)
}

/// What a command came to.
public struct CommandAnswer: Sendable {
    /// The order as it stands.
    public let order: SmartOrder
    /// Whether this call committed a version. False: the work was done already, or this request was answered before.
    public let isCommitted: Bool
    /// The idempotency key and body were seen before.
    public let isReplay: Bool
}

/// Commands on smart orders.
public struct CommandService: Sendable {
    let context: EngineContext
    private let history: PriceHistory

    public init(context: EngineContext, history: PriceHistory) {
        self.context = context
        self.history = history
    }

    /// Creates an order. The same idempotency key and body gives the same order again.
    public func create(
        _ draft: Draft,
        market: MarketID,
        account: AccountID,
        actor: Actor,
        idempotency: IdempotencyRecord?,
        requestID: String? = nil,
    ) async throws(CommandError) -> CommandAnswer {
        do {
            if let idempotency, let known = try await replay(idempotency) { return known }
            guard let owner = try await context.accounts.account(account) else {
                throw CommandError.refused([Refusal(.notFound, field: "accountId", "There is no such account.")])
            }
            guard let instrument = try await context.accounts.instrument(market) else {
                throw CommandError.refused([
                    Refusal(.instrumentUnknown, field: "market", "\(market) is not in the catalogue.")
                ])
            }
            guard owner.venue == market.venue, owner.product == market.product else {
                throw CommandError.refused([
                    Refusal(
                        .instrumentUnknown,
                        field: "market",
                        "Account \(owner.name) trades \(owner.venue):\(owner.product), not \(market).",
                    )
                ])
            }
            let source = draft.triggerSource ?? instrument.defaultTriggerSource
            guard var moment = try await present(PriceSeries(market: market, source: source), instrument) else {
                throw CommandError.priceUnavailable
            }
            var bounds = CreationBounds(
                maxConditionals: owner.maximumConditionals,
                activeConditionals: try await context.orders.activeLegs(account: account, market: market),
            )
            let view = try await PositionView.read(for: draft, instrument: instrument, account: account, context)
            view.bound(&bounds)
            moment = view.placed(moment)
            let failures = SmartOrder.check(draft, instrument: instrument, bounds: bounds, at: moment)
            guard failures.isEmpty else { throw CommandError.refused(failures) }
            var random = InjectedRandom(next: context.random)
            let id = OrderID(UniqueID(unixMilliseconds: context.clock.now().milliseconds, random: &random))
            let decision = try SmartOrder.create(
                draft,
                id: id,
                account: account,
                instrument: instrument,
                bounds: bounds,
                at: moment,
            )
            var transition = Transition(created: decision, bounds: bounds, at: moment)
            // Ticks from before it do not touch it, whatever its entry waits for.
            transition.reach(moment.position)
            view.follow(&transition, at: moment)
            let rights = view.adoptedRight(random: context.random, at: moment.now).map { [$0] } ?? []
            let outcome = try await commit(
                &transition,
                actor: actor,
                rights: rights,
                idempotency: idempotency,
                requestID: requestID,
            )
            switch outcome {
            case .committed: return CommandAnswer(order: transition.order, isCommitted: true, isReplay: false)
            case .keyUsed(let order, let hash): return try await replayed(order, hash, idempotency)
            case .lost, .blocked: throw CommandError.unavailable("The store did not take the order; try again.")
            case .refused where !rights.isEmpty: throw CommandError.refused([PositionView.isManaged])
            case .refused(let constraint):
                throw CommandError.unavailable("The database refused the order: \(constraint).")
            }
        } catch {
            throw Self.commandError(error)
        }
    }

    /// Carries out a command on an order; answers with the order as it stands afterwards.
    /// - Parameters:
    ///   - version: what the caller saw (`If-Match`); nil: whatever is there.
    ///   - idempotency: the same key and body does nothing twice.
    public func execute(
        _ command: Command,
        on id: OrderID,
        version: Int64?,
        actor: Actor,
        idempotency: IdempotencyRecord? = nil,
        requestID: String? = nil,
    ) async throws(CommandError) -> CommandAnswer {
        do {
            if let idempotency, let known = try await replay(idempotency) { return known }
            for _ in 0..<5 {
                guard let row = try await context.orders.load([id]).first else {
                    throw CommandError.refused([Refusal(.notFound, "There is no such order.")])
                }
                if let version, version != row.version { throw CommandError.versionMismatch(present: row) }
                var (transition, tick, isNew) = try await decide(command, on: row)
                guard isNew else { return CommandAnswer(order: row, isCommitted: false, isReplay: false) }
                let outcome = try await commit(
                    &transition,
                    actor: actor,
                    tick: tick,
                    idempotency: idempotency,
                    requestID: requestID,
                )
                switch outcome {
                case .committed: return CommandAnswer(order: transition.order, isCommitted: true, isReplay: false)
                case .lost: continue
                case .keyUsed(let order, let hash): return try await replayed(order, hash, idempotency)
                case .blocked:
                    throw CommandError.unavailable("The store did not take the command; try again.")
                case .refused(let constraint):
                    throw CommandError.unavailable("The database refused the command: \(constraint).")
                }
            }
            throw CommandError.unavailable("The order changes faster than the command; try again.")
        } catch {
            throw Self.commandError(error)
        }
    }

    /// Decides; what asks for an exit is decided again on what is there (R16.2, R17).
    private func decide(
        _ command: Command,
        on row: SmartOrder,
    ) async throws -> (transition: Transition, tick: Tick?, isNew: Bool) {
        let first = try await decide(command, on: row, .unknown)
        guard first.isNew, first.transition.wantsExit else { return first }
        let venue: any Venue
        do throws(VenueError) {
            venue = try await context.venues.venue(for: row.account)
        } catch {
            return first
        }
        let holdings = await Holdings.read(for: first.transition, venue: venue, context: context)
        return holdings == .unknown ? first : try await decide(command, on: row, holdings)
    }

    private func decide(
        _ command: Command,
        on row: SmartOrder,
        _ holdings: Holdings,
    ) async throws -> (transition: Transition, tick: Tick?, isNew: Bool) {
        var transition = Transition(row)
        // Crossings that nobody has decided on yet go first, so that no command overtakes a trigger (R21.4).
        let now = context.clock.now()
        let present = try await CatchUp.bring(&transition, history: history, now: now, holdings: holdings)
        let moment = try await standing(present.moment, of: row)
        let isNew = try transition.apply(.command(command), at: moment)
        return (transition, present.tick, isNew)
    }

    private func present(_ series: PriceSeries, _ instrument: Instrument) async throws -> Moment? {
        guard let latest = try await newest(series) else { return nil }
        return Moment(
            now: max(context.clock.now(), Timestamp(microseconds: latest.position.venueTime)),
            price: Price(units: latest.price, decimals: instrument.priceDecimals),
            position: latest.position,
        )
    }

    /// Where no tick came after the order's position, the price that stands is still the newest tick's.
    private func standing(_ moment: Moment, of row: SmartOrder) async throws -> Moment {
        let series = PriceSeries(market: row.instrument.market, source: row.triggerSource)
        guard moment.price == nil, let latest = try await newest(series), latest.position <= moment.position else {
            return moment
        }
        let price = Price(units: latest.price, decimals: row.instrument.priceDecimals)
        return Moment(
            now: moment.now,
            price: price,
            position: moment.position,
            held: moment.held,
            claimedElsewhere: moment.claimedElsewhere,
            standing: moment.standing,
        )
    }

    /// The newest tick; while the stream is away, what the feed stored in the last minute.
    private func newest(_ series: PriceSeries) async throws -> ExtremeBucket.Point? {
        do throws(TickLogError) {
            let tick = try await context.ticks.latest(series)
            return tick.map { ExtremeBucket.Point(position: $0.position, price: $0.price) }
        } catch {
            let minuteAgo = TickPosition(venueTime: context.clock.now().microseconds - 60_000_000, sequence: 0)
            return try await history.catchUp(series, after: max(minuteAgo, .start))
        }
    }

    /// Stores the decision with a job for each venue order that waits, offers the jobs, and tells.
    private func commit(
        _ transition: inout Transition,
        actor: Actor,
        tick: Tick? = nil,
        rights: [SendRight] = [],
        idempotency: IdempotencyRecord?,
        requestID: String?,
    ) async throws(StoreError) -> CommitOutcome {
        let order = transition.order
        var keys: [VenueOrderKey] = []
        for effect in transition.takeEffects() {
            switch effect {
            case .place(let key), .cancel(let key): if !keys.contains(key) { keys.append(key) }
            }
        }
        // Numbers of their own: the sweep counts look-ups from 1, and the queue remembers ids that are done.
        let jobs = keys.map { Job.check(order, $0, number: 3_000_000_000 + Int(order.version)) }
        let commit = transition.commit(
            id: Int64(bitPattern: context.random()),
            cause: .command,
            actor: actor,
            tick: tick,
            sendRights: rights,
            jobs: jobs,
            idempotency: idempotency,
            record: DecisionRecord(requestID: requestID),
        )
        var outcomes: [CommitOutcome] = []
        for attempt in 0..<5 {
            do throws(StoreError) {
                outcomes = try await context.orders.commit([commit])
                break
            } catch {
                // The same commit again concludes what became of it (RELIABILITY.md 3.1.5).
                guard error.code == .outcomeUnknown, attempt < 4 else { throw error }
            }
        }
        guard let outcome = outcomes.first else { throw StoreError(.unavailable, "no outcome") }
        if case .committed = outcome {
            if !jobs.isEmpty {
                do throws(QueueError) {
                    _ = try await context.queue.offer(jobs, verify: false)
                } catch {
                    // They are in the outbox: the relay or a polling worker has them.
                    context.observer.count("queue_errors_total", 1)
                }
            }
            await context.tell([order.id])
        }
        return outcome
    }

    private func replay(_ record: IdempotencyRecord) async throws -> CommandAnswer? {
        guard let known = try await context.orders.outcome(owner: record.owner, key: record.key) else { return nil }
        return try await replayed(known.order, known.requestHash, record)
    }

    private func replayed(
        _ order: OrderID,
        _ requestHash: String,
        _ record: IdempotencyRecord?,
    ) async throws -> CommandAnswer {
        guard requestHash == record?.requestHash, let known = try await context.orders.load([order]).first else {
            throw CommandError.keyReused
        }
        return CommandAnswer(order: known, isCommitted: false, isReplay: true)
    }

    private static func commandError(_ error: any Error) -> CommandError {
        switch error {
        case let error as CommandError: error
        case let error as Refusal: .refused([error])
        case let error as StoreError: .unavailable(error.detail)
        case let error as TickLogError: .unavailable(error.detail)
        default: .unavailable("\(error)")  // tidy-ok: errors of other modules
        }
    }
}

/// The injected generator, as the standard library wants it.
private struct InjectedRandom: RandomNumberGenerator {
    let make: @Sendable () -> UInt64
    init(next: @escaping @Sendable () -> UInt64) { make = next }
    mutating func next() -> UInt64 { make() }
}
