// Conditional orders: create, preview, change (ORDERS.md R19). Cancelling them is the command of every order.
public import SmartOrders

extension CommandService {
    /// A conditional creation, judged at the present price.
    private struct Judged {
        let instrument: Instrument
        let bounds: CreationBounds
        let moment: Moment
        let failures: [Refusal]
    }

    /// Creates a conditional order. The same idempotency key and body gives the same order again.
    public func create(
        _ draft: ConditionalDraft,
        market: MarketID,
        account: AccountID,
        actor: Actor,
        idempotency: IdempotencyRecord?,
        requestID: String? = nil,
        answering: Answering? = nil,
    ) async throws(CommandError) -> CommandAnswer {
        do {
            if let idempotency, let known = try await replay(idempotency) { return known }
            let judged = try await judge(draft, market: market, account: account)
            guard judged.failures.isEmpty else {
                // The same request may have been carried out since: its order has this client order id.
                if judged.failures.contains(where: { $0.code == .clientOrderIDInUse }), let idempotency,
                    let known = try await replay(idempotency)
                {
                    return known
                }
                throw CommandError.refused(judged.failures)
            }
            var transition = try created(draft, judged, account: account)
            let idempotency = try await Self.keeping(idempotency, transition.order, answering)
            let outcome = try await commit(
                &transition,
                actor: actor,
                idempotency: idempotency,
                requestID: requestID,
            )
            switch outcome {
            case .committed: return .committed(transition.order, idempotency)
            case .refused(Self.keyWaitConstraint): throw CommandError.keyBusy
            case .keyUsed(let order, let hash): return try await replayed(order, hash, idempotency)
            case .lost, .blocked: throw CommandError.unavailable("The store did not take the order; try again.")
            case .refused(Self.clientOrderIDConstraint):
                if let idempotency, let known = try await replay(idempotency) { return known }
                throw CommandError.refused([.sameClientOrderID(draft.clientOrderID, nil)])
            case .refused(let constraint):
                throw CommandError.unavailable("The database refused the order: \(constraint).")
            }
        } catch {
            throw Self.commandError(error)
        }
    }

    /// What creating it would come to; the order is nil where its plan is refused.
    public func preview(
        creating draft: ConditionalDraft,
        market: MarketID,
        account: AccountID,
    ) async throws(CommandError) -> (order: ConditionalOrder?, refusals: [Refusal]) {
        do {
            let judged = try await judge(draft, market: market, account: account)
            let order = judged.failures.isEmpty ? try created(draft, judged, account: account).order.conditional : nil
            return (order, judged.failures)
        } catch {
            throw Self.commandError(error)
        }
    }

    /// Changes a conditional order that waits, all or nothing.
    public func change(
        _ change: ConditionalChange,
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
                guard let row = try await context.orders.load([id]).first, row.kind == .conditional else {
                    throw CommandError.refused([Refusal(.notFound, "There is no such order.")])
                }
                if let version, version != row.version { throw CommandError.versionMismatch(present: row) }
                var transition = Transition(row)
                // A crossing that nobody has decided on yet goes first: then it is too late (R21.4).
                let present = try await CatchUp.bring(&transition, history: history, now: context.clock.now())
                let moment = try await standing(present.moment, of: row)
                guard try transition.apply(change, at: moment) else {
                    return CommandAnswer(stored: row, isCommitted: false, isReplay: false)
                }
                let idempotency = try await Self.keeping(idempotency, transition.order, answering)
                let outcome = try await commit(
                    &transition,
                    actor: actor,
                    tick: present.tick,
                    idempotency: idempotency,
                    requestID: requestID,
                )
                switch outcome {
                case .committed: return .committed(transition.order, idempotency)
                case .refused(Self.keyWaitConstraint): throw CommandError.keyBusy
                case .lost: continue
                case .keyUsed(let order, let hash): return try await replayed(order, hash, idempotency)
                case .blocked:
                    throw CommandError.unavailable("The store did not take the change; try again.")
                case .refused(let constraint):
                    throw CommandError.unavailable("The database refused the change: \(constraint).")
                }
            }
            throw CommandError.unavailable("The order changes faster than the command; try again.")
        } catch {
            throw Self.commandError(error)
        }
    }

    private func created(_ draft: ConditionalDraft, _ judged: Judged, account: AccountID) throws -> Transition {
        var random = InjectedRandom(next: context.random)
        let decision = try ConditionalOrder.create(
            draft,
            id: OrderID(UniqueID(unixMilliseconds: context.clock.now().milliseconds, random: &random)),
            account: account,
            instrument: judged.instrument,
            bounds: judged.bounds,
            at: judged.moment,
        )
        var transition = Transition(created: StoredDecision(decision), bounds: judged.bounds, at: judged.moment)
        // Ticks from before it do not touch it.
        transition.reach(judged.moment.position)
        return transition
    }

    private func judge(_ draft: ConditionalDraft, market: MarketID, account: AccountID) async throws -> Judged {
        guard let owner = try await context.accounts.account(account),
            let standing = try await context.accounts.standing(
                account,
                market: market,
                clientOrderID: draft.clientOrderID,
            )
        else {
            throw CommandError.refused([Refusal(.notFound, field: "accountId", "There is no such account.")])
        }
        guard let instrument = try await context.accounts.instrument(market),
            owner.venue == market.venue, owner.product == market.product
        else {
            throw CommandError.refused([
                Refusal(.instrumentUnknown, field: "market", "\(owner.name) cannot trade \(market).")
            ])
        }
        guard draft.reduceOnly || !standing.isRecovering else { throw CommandError.recovering }
        let published = instrument.publishedSources
        let asked = draft.triggerSource ?? instrument.defaultTriggerSource
        let source = published.contains(asked) ? asked : instrument.defaultTriggerSource
        guard let moment = try await present(PriceSeries(market: market, source: source), instrument) else {
            guard instrument.status == .trading else {
                let refusal = Refusal(.instrumentNotTrading, field: "market", "It is \(instrument.status.rawValue).")
                throw CommandError.refused([refusal])
            }
            throw CommandError.priceUnavailable
        }
        let bounds = CreationBounds(
            maxConditionals: owner.maximumConditionals,
            activeConditionals: try await context.orders.activeLegs(account: account, market: market),
            sources: published,
        )
        // A conditional order that only reduces adds no exposure: a halt of entries lets it pass.
        let opening = standing.refusals(
            opening: draft.clientOrderID,
            on: owner,
            isLiveEnabled: isLiveEnabled,
            tierIsNeeded: false,
        ).filter { !(draft.reduceOnly && $0.code == .accountHalted) }
        return Judged(
            instrument: instrument,
            bounds: bounds,
            moment: moment,
            failures: ConditionalOrder.check(draft, instrument: instrument, bounds: bounds, at: moment) + opening,
        )
    }
}
