// Several decisions on one order that become one version: decide, and decide on what came of it, before one commit.
public import SmartOrders

/// An order on its way from a stored version to the next one.
public struct Transition: Sendable {
    /// As stored; nil: the order is new.
    public let stored: StoredOrder?
    public private(set) var order: StoredOrder
    public private(set) var facts: [Fact] = []
    public private(set) var effects: [Effect] = []
    public private(set) var fills: [(key: VenueOrderKey, fill: Fill)] = []
    /// Whether there is something to commit.
    public private(set) var isChanged = false
    /// Everything that went into it; repeating the steps on `stored` gives `order` again.
    public private(set) var steps: [DecisionStep] = []

    public init(_ stored: StoredOrder) {
        self.stored = stored
        order = stored
    }

    /// A new order: nothing is stored yet.
    /// - Parameter bounds: what the plan was checked against, with `moment`.
    public init(created decision: StoredDecision, bounds: CreationBounds, at moment: Moment) {
        stored = nil
        order = decision.next
        steps = [.create(bounds, moment)]
        accept(decision)
        // What an adopted order had filled already (ORDERS.md 6.1).
        for case .fill(let key, let fill) in decision.facts { fills.append((key, fill)) }
    }

    /// Lets the order take quiet ticks into its extremes. No version by itself.
    public mutating func absorb(_ context: TickContext, decimals: Int) {
        for quiet in [context.low, context.high] {
            guard let quiet else { continue }
            absorb(Price(units: quiet, decimals: decimals), upTo: context.before)
        }
    }

    /// The same for one quiet tick.
    public mutating func absorb(_ point: ExtremeBucket.Point, decimals: Int) {
        absorb(Price(units: point.price, decimals: decimals), upTo: point.position)
    }

    private mutating func absorb(_ price: Price, upTo position: TickPosition) {
        order.absorb(extreme: price, upTo: position)
        steps.append(.absorb(price, upTo: position))
    }

    /// Ticks up to here are decided on. No version by itself.
    public mutating func reach(_ position: TickPosition) {
        guard position > order.position else { return }
        order.position = position
        steps.append(.reach(position))
    }

    /// Decides. False: the event changes nothing.
    @discardableResult
    public mutating func apply(_ event: OrderEvent, at moment: Moment) throws(Refusal) -> Bool {
        guard let decision = try order.decide(event, at: moment) else { return false }
        steps.append(.decide(event, moment))
        accept(decision)
        return true
    }

    /// Changes a conditional order. False: nothing is different.
    /// - Throws: the refusal; also for a smart order, whose plan is edited by a command.
    public mutating func apply(_ change: ConditionalChange, at moment: Moment) throws(Refusal) -> Bool {
        guard case .conditional(let order) = order else {
            throw Refusal(.notFound, "There is no such conditional order.")
        }
        guard let decision = try order.edit(change, at: moment) else { return false }
        steps.append(.change(change, moment))
        accept(StoredDecision(decision))
        return true
    }

    /// Does a recorded step again.
    /// - Throws: a command that is refused now, though it was not when the step was recorded.
    public mutating func `repeat`(_ step: DecisionStep) throws(Refusal) {
        switch step {
        // The order that `create` made is the first value of a transition.
        case .create: break
        case .absorb(let price, let position): absorb(price, upTo: position)
        case .reach(let position): reach(position)
        case .decide(let event, let moment): try apply(event, at: moment)
        case .change(let change, let moment): _ = try apply(change, at: moment)
        case .begin(let now): begin(exitsAt: now)
        case .submit(let keys): _ = submit { keys.contains($0.key) }
        }
    }

    /// News of a venue order: facts are never refused. The caller leaves out fills that the row knows.
    public mutating func learn(_ key: VenueOrderKey, _ news: [VenueNews], at moment: Moment) {
        for item in news {
            if case .fill(let fill) = item, fills.contains(where: { $0.fill.venueFillID == fill.venueFillID }) {
                continue
            }
            do throws(Refusal) {
                if try apply(.venue(key, item), at: moment), case .fill(let fill) = item {
                    fills.append((key, fill))
                }
            } catch {
                preconditionFailure("a fact was refused: \(error.code.rawValue)")
            }
        }
    }

    private mutating func accept(_ decision: StoredDecision) {
        order = decision.next
        // Versions count commits, not decisions.
        order.version = (stored?.version ?? 0) + 1
        facts += decision.facts
        effects += decision.effects
        isChanged = true
    }

    /// The effects so far, to be done after the commit.
    public mutating func takeEffects() -> [Effect] {
        defer { effects = [] }
        return effects
    }

    /// An exit that begins with this version begins now, however old its tick is: what is counted is how long the venue
    /// has been asked (ORDERS.md R15.2).
    public mutating func begin(exitsAt now: Timestamp) {
        guard let since = order.exitingSince, since != stored?.exitingSince, since < now else { return }
        order.exitingSince = now
        steps.append(.begin(now))
    }

    /// Ends venue orders that are to be cancelled and were never sent: nobody but this row knows them.
    public mutating func dropUnsent(at moment: Moment) {
        while let unsent = order.venueOrders.first(where: { $0.state == .intent && $0.cancelWanted }) {
            learn(unsent.key, [.ended(.cancelled)], at: moment)
        }
    }

    /// Marks venue orders that wait as sent with the commit that follows; returns their keys.
    public mutating func submit(_ wanted: (VenueOrder) -> Bool) -> [VenueOrder] {
        var sent: [VenueOrder] = []
        for index in order.venueOrders.indices
        where order.venueOrders[index].state == .intent && wanted(order.venueOrders[index]) {
            order.venueOrders[index].state = .submitted
            sent.append(order.venueOrders[index])
            facts.append(.venueOrder(order.venueOrders[index].key, .submitted))
        }
        if !sent.isEmpty {
            order.version = (stored?.version ?? 0) + 1
            isChanged = true
            steps.append(.submit(sent.map(\.key)))
        }
        return sent
    }

    /// Every venue order that this transition made, changed or ended, as it is now.
    private var venueOrders: [VenueOrder] {
        let before = stored?.venueOrders ?? []
        var changed = order.venueOrders.filter { now in before.first { $0.key == now.key } != now }
        for old in before where !order.venueOrders.contains(where: { $0.key == old.key }) { changed.append(ended(old)) }
        return changed
    }

    /// An ended order left the row; its last state and quantity are in the facts.
    private func ended(_ old: VenueOrder) -> VenueOrder {
        var order = old
        for fact in facts {
            if case .venueOrder(old.key, let state) = fact { order.state = state }
            if case .fill(old.key, let fill) = fact { order.filled += fill.quantity }
        }
        return order
    }

    /// The commit of everything so far.
    /// - Parameters:
    ///   - id: random; names this decision in the store.
    ///   - record: the times around it; its steps are filled in here.
    public func commit(
        id: Int64,
        cause: EventCause,
        actor: Actor,
        tick: Tick? = nil,
        sendRights: [SendRight] = [],
        jobs: [Job] = [],
        idempotency: IdempotencyRecord? = nil,
        record: DecisionRecord = DecisionRecord(),
    ) -> Commit {
        var record = record
        record.steps = steps
        var commit = Commit(
            id: id,
            next: order,
            cause: cause,
            actor: actor,
            tick: tick,
            facts: facts,
            venueOrders: venueOrders,
            sendRights: sendRights,
            fills: fills,
            jobs: jobs,
            idempotency: idempotency,
            record: record,
        )
        commit.previous = stored
        return commit
    }
}

extension Price {
    /// A price from the hot path: `units` of 10^-`decimals`.
    public init(units: Int64, decimals: Int) {
        self.init(ExactDecimal(mantissa: Int128(units), scale: decimals))
    }
}
