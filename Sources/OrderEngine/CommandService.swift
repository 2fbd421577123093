// What a trader asks: validate, decide, commit, tell. The venue's work follows as jobs of a worker. A process that can
// read the venue checks what is asked against it (PositionView.swift); one that cannot leaves that to the exits.
public import SmartOrders

/// Why a command was not carried out.
public enum CommandError: Error, Sendable {
    /// A rule refuses it; nothing changed. All failing checks, the first one names the answer.
    case refused([Refusal])
    /// The version that the caller saw is not the present one.
    case versionMismatch(present: StoredOrder)
    /// The idempotency key belongs to another request.
    case keyReused
    /// The request with this key is being carried out.
    case keyBusy
    /// No price is known that a check needs.
    case priceUnavailable
    case unavailable(String)
    /// The venue does not say what is held.
    case venueUnavailable
    /// The database went back in time, and the account's orders were not all compared with their venue yet: new exposure
    /// waits (RELIABILITY.md 2.10).
    case recovering
}

/// What a command came to.
public struct CommandAnswer: Sendable {
    /// The order as it stands.
    public let stored: StoredOrder
    /// Whether this call committed a version. False: the work was done already, or this request was answered before.
    public let isCommitted: Bool
    /// The idempotency key and body were seen before.
    public let isReplay: Bool
    /// What was told, or is to be told, word for word; nil: nothing is kept, the order as it stands is shown.
    public var kept: KeptAnswer?

    public init(stored: StoredOrder, isCommitted: Bool, isReplay: Bool, kept: KeptAnswer? = nil) {
        self.stored = stored
        self.isCommitted = isCommitted
        self.isReplay = isReplay
        self.kept = kept
    }

    /// The answer to a command on a smart order: an order keeps its kind.
    public var order: SmartOrder {
        guard case .smart(let order) = stored else { preconditionFailure("a conditional order was asked for") }
        return order
    }

    static func committed(_ order: StoredOrder, _ record: IdempotencyRecord?) -> CommandAnswer {
        CommandAnswer(stored: order, isCommitted: true, isReplay: false, kept: record?.answer)
    }

    /// The answer to a command on a conditional order.
    public var conditional: ConditionalOrder {
        guard case .conditional(let order) = stored else { preconditionFailure("a smart order was asked for") }
        return order
    }
}

/// Commands on smart orders.
public struct CommandService: Sendable {
    let context: EngineContext
    let history: PriceHistory
    /// Whether accounts of mode LIVE may take new exposure (INTERFACES.md 1.3). Off for who knows an account as paper.
    public var isLiveEnabled: Bool
    /// Joins the commits of concurrent commands; nil: each has a transaction of its own.
    let committer: CommitBatcher?
    /// Shares their looks at prices; nil: each has its own.
    let looks: PriceLooks?

    public init(
        context: EngineContext,
        history: PriceHistory,
        isLiveEnabled: Bool = false,
        committer: CommitBatcher? = nil,
    ) {
        self.context = context
        self.history = history
        self.isLiveEnabled = isLiveEnabled
        self.committer = committer
        looks = committer == nil ? nil : PriceLooks()
    }

    /// Forgets the prices it knows whenever some became known late; until the task is cancelled. A worker hears of it with
    /// its heartbeat.
    public func followPriceRevision() async {
        var known: Int64?
        while !Task.isCancelled {
            do {
                let revision = try await context.backfills?.priceRevision()
                if revision != known ?? revision { history.forget() }
                known = revision
            } catch {
                context.observer.count("store_errors_total", 1)
            }
            do { try await context.clock.sleep(milliseconds: 500) } catch { return }
        }
    }

    /// Creates an order. The same idempotency key and body gives the same order again.
    public func create(
        _ draft: Draft,
        market: MarketID,
        account: AccountID,
        actor: Actor,
        idempotency: IdempotencyRecord?,
        requestID: String? = nil,
        answering: Answering? = nil,
    ) async throws(CommandError) -> CommandAnswer {
        do {
            return try await createOnce(
                draft,
                market: market,
                account: account,
                actor: actor,
                idempotency: idempotency,
                requestID: requestID,
                answering: answering,
            )
        } catch let refused {
            // The key is looked up only now: a first request, which is nearly every one, meets it in its commit alone. One
            // that was carried out before gets its answer again, whatever stands in its way by now.
            do {
                if let idempotency, let known = try await replay(idempotency) { return known }
            } catch {
                throw Self.commandError(error)
            }
            throw refused
        }
    }

    private func createOnce(
        _ draft: Draft,
        market: MarketID,
        account: AccountID,
        actor: Actor,
        idempotency: IdempotencyRecord?,
        requestID: String?,
        answering: Answering?,
    ) async throws(CommandError) -> CommandAnswer {
        do {
            let plan = try await plan(draft, market: market, account: account)
            guard plan.failures.isEmpty else { throw CommandError.refused(plan.failures) }
            var transition = try created(draft, plan, account: account)
            let rights = plan.view.adoptedRight(random: context.random, at: plan.moment.now).map { [$0] } ?? []
            let idempotency = try await Self.keeping(idempotency, transition.order, answering)
            let outcome = try await commit(
                &transition,
                actor: actor,
                rights: rights,
                idempotency: idempotency,
                requestID: requestID,
            )
            switch outcome {
            case .committed: return .committed(transition.order, idempotency)
            case .refused(Self.keyWaitConstraint): throw CommandError.keyBusy
            case .keyUsed(let order, let hash): return try await replayed(order, hash, idempotency)
            case .lost, .blocked: throw CommandError.unavailable("The store did not take the order; try again.")
            case .refused(Self.clientOrderIDConstraint):
                throw CommandError.refused([.sameClientOrderID(draft.clientOrderID, nil)])
            case .refused(Self.wholePositionConstraint): throw CommandError.refused([Self.positionIsTaken])
            case .refused where !rights.isEmpty: throw CommandError.refused([PositionView.isManaged])
            case .refused(let constraint):
                throw CommandError.unavailable("The database refused the order: \(constraint).")
            }
        } catch {
            throw Self.commandError(error)
        }
    }

    /// Open orders of an account have different client order ids; the store keeps it so.
    static let clientOrderIDConstraint = "orders_client_order_id"

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
        answering: Answering? = nil,
    ) async throws(CommandError) -> CommandAnswer {
        do {
            if let idempotency, let known = try await replay(idempotency) { return known }
            for _ in 0..<5 {
                guard let row = try await context.orders.load([id]).first else {
                    throw CommandError.refused([Refusal(.notFound, "There is no such order.")])
                }
                if let version, version != row.version { throw CommandError.versionMismatch(present: row) }
                let decided = try await decide(command, on: row)
                guard decided.isChanged else { return CommandAnswer(stored: row, isCommitted: false, isReplay: false) }
                var transition = decided.transition
                let idempotency = try await Self.keeping(idempotency, transition.order, answering)
                let outcome = try await commit(
                    &transition,
                    actor: actor,
                    tick: decided.tick,
                    idempotency: idempotency,
                    requestID: requestID,
                )
                switch outcome {
                case .committed: return .committed(transition.order, idempotency)
                case .refused(Self.keyWaitConstraint): throw CommandError.keyBusy
                case .lost: continue
                case .keyUsed(let order, let hash): return try await replayed(order, hash, idempotency)
                case .blocked:
                    throw CommandError.unavailable("The store did not take the command; try again.")
                case .refused(Self.wholePositionConstraint): throw CommandError.refused([Self.positionIsTaken])
                case .refused(let constraint):
                    throw CommandError.unavailable("The database refused the command: \(constraint).")
                }
            }
            throw CommandError.unavailable("The order changes faster than the command; try again.")
        } catch {
            throw Self.commandError(error)
        }
    }

    /// Writes what a commit will answer, before it: both take effect together (INTERFACES.md 1.4).
    public typealias Answering = @Sendable (_ order: StoredOrder) async throws -> KeptAnswer

    /// The record of a request with the answer that `order` will be told with.
    static func keeping(
        _ record: IdempotencyRecord?,
        _ order: StoredOrder,
        _ answering: Answering?,
    ) async throws -> IdempotencyRecord? {
        guard var record, let answering else { return record }
        record.answer = try await answering(order)
        return record
    }

    /// The key's first request has not ended yet.
    static let keyWaitConstraint = "idempotency_wait"

    /// Stores the decision with a job for each venue order that waits, offers the jobs, and tells.
    func commit(
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
        let outcome = try await store(commit)
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

    private func store(_ commit: Commit) async throws(StoreError) -> CommitOutcome {
        if let committer { return try await committer.commit(commit) }
        for attempt in 0..<5 {
            do throws(StoreError) {
                if let outcome = try await context.orders.commit([commit]).first { return outcome }
                break
            } catch {
                // The same commit again concludes what became of it (RELIABILITY.md 3.1.5).
                guard error.code == .outcomeUnknown, attempt < 4 else { throw error }
            }
        }
        throw StoreError(.unavailable, "no outcome")
    }

    func replay(_ record: IdempotencyRecord) async throws -> CommandAnswer? {
        guard let known = try await context.orders.outcome(owner: record.owner, key: record.key) else { return nil }
        return try await replayed(known.order, known.requestHash, record)
    }

    func replayed(
        _ order: OrderID,
        _ requestHash: String,
        _ record: IdempotencyRecord?,
    ) async throws -> CommandAnswer {
        guard requestHash == record?.requestHash, let known = try await context.orders.load([order]).first else {
            throw CommandError.keyReused
        }
        var answer = CommandAnswer(stored: known, isCommitted: false, isReplay: true)
        if let record { answer.kept = try await context.orders.keptAnswer(owner: record.owner, key: record.key) }
        return answer
    }

    static func commandError(_ error: any Error) -> CommandError {
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
struct InjectedRandom: RandomNumberGenerator {
    let make: @Sendable () -> UInt64
    init(next: @escaping @Sendable () -> UInt64) { make = next }
    mutating func next() -> UInt64 { make() }
}
