// A small deterministic exchange: fills what crosses the price it is told, keeps every accepted order for ever, and
// misbehaves as a script says.
package import OrderEngine
internal import OwnerThread
package import SmartOrders

/// The exchange that all processes of a test trade at.
package final class FakeVenue: Venue {
    /// What happens to one placement.
    package enum Answer: Sendable {
        /// By the rules of the market.
        case honest
        case refuse(VenueNews.RefusalKind)
        /// Executed, and the answer is lost.
        case loseAnswer
        /// Never arrives, and the caller cannot know.
        case loseRequest
        /// Arrives so many milliseconds later, and the caller cannot know.
        case late(Int64)
        /// Arrives when the test says so (`release`), and the caller cannot know.
        case parked
        /// Does not leave, and the caller knows.
        case keepBack
    }

    /// What kind of exchange it is.
    package struct Rules: Sendable {
        package enum IDs: String, Sendable { case openOrders, forever, notEnforced, returnsFirst }
        package var venueClass: VenueClass
        package var ids = IDs.openOrders
        package var windowMs: Int64 = 2_000
        package var fenceMs: Int64 = 200
        /// Refuses what comes after its window.
        package var keepsDeadlines = true
        /// Reduce-only orders take no more than the position has.
        package var clampsReduceOnly = false
        /// Orders that are not open are not found by their ids.
        package var forgetsEnded = false

        package init(_ venueClass: VenueClass = .deadline()) { self.venueClass = venueClass }
    }

    struct Placed {
        let placement: Placement
        let id: String
        var state: VenueSnapshot.State
        var filled: Quantity
        var fills: [Fill]
    }

    private struct State {
        var price: Price?
        var placed: [Placed] = []
        var script: [Answer] = []
        var requests = 0
        var markets: [Instrument] = []
        var isBlind = false
        var trouble: Set<Attention> = []
        /// On their way, with the time of their arrival.
        var underWay: [(placement: Placement, at: Timestamp)] = []
        var nextFill = 0
        var position: ExactDecimal?
        var average: Price?
        var asOf: Timestamp?
        var balance: ExactDecimal?
        var readings = 0
        var listeners: [AsyncStream<VenueStreamEvent>.Continuation] = []

        mutating func move(_ side: Side, _ quantity: Quantity) {
            guard let position else { return }
            self.position = side == .buy ? position + quantity.value : position - quantity.value
        }
    }

    private let state = Locked(State())
    private let clock: any EngineClock
    private let rules: Rules
    package var fenceMs: Int64 { rules.fenceMs }
    package var windowMs: Int64 { rules.windowMs }
    package var venueClass: VenueClass { rules.venueClass }
    package var trouble: Set<Attention> { state.withLock { $0.trouble } }

    package init(clock: any EngineClock, rules: Rules = Rules()) {
        self.clock = clock
        self.rules = rules
    }

    package func setTrouble(_ trouble: Set<Attention>) { state.withLock { $0.trouble = trouble } }

    /// Takes in what has arrived by now.
    private func receive(_ state: inout State) {
        let now = clock.now()
        while let index = state.underWay.firstIndex(where: { $0.at <= now }) {
            let placement = state.underWay.remove(at: index).placement
            let before = state.placed.count
            _ = admit(placement, &state)
            if state.placed.count > before { tell(state.placed[before], state) }
        }
    }

    /// Whether questions about orders stay without an answer.
    package func setBlind(_ isBlind: Bool) { state.withLock { $0.isBlind = isBlind } }

    /// What happens to the next placements, in turn; honest when the list is used up.
    package func script(_ answers: [Answer]) { state.withLock { $0.script += answers } }
    package func setPrice(_ price: Price) {
        state.withLock { state in
            state.price = price
            for index in state.placed.indices where state.placed[index].state == .open {
                match(index, &state)
                // Its stream tells of what slept; the sweep finds the rest.
                let slept = state.placed[index].placement.type.isConditional
                if slept, state.placed[index].state != .open { tell(state.placed[index], state) }
            }
        }
    }

    /// The signed position that the venue tells of; nil: it does not answer.
    package func setHeld(_ held: ExactDecimal?) { setPosition(held) }

    /// Ends an open order as the venue's own doing.
    package func expire(_ clientOrderID: String) {
        state.withLock { state in
            guard let index = state.placed.lastIndex(where: { $0.placement.clientOrderID == clientOrderID }) else {
                return
            }
            state.placed[index].state = .expired
            tell(state.placed[index], state)
        }
    }

    private func tell(_ placed: Placed, _ state: State) {
        let event = VenueStreamEvent.order(
            clientOrderID: placed.placement.clientOrderID,
            market: placed.placement.market,
            snapshot: placed.snapshot,
        )
        for listener in state.listeners { listener.yield(event) }
    }

    /// Client order ids of what is open.
    package var open: [String] {
        state.withLock { $0.placed.filter { $0.state == .open }.map(\.placement.clientOrderID) }
    }

    /// Executes a part of whatever rests, at its limit.
    package func fillPart(_ quantity: Quantity) {
        state.withLock { state in
            for index in state.placed.indices where state.placed[index].state == .open {
                guard let limit = state.placed[index].placement.limit else { continue }
                state.nextFill += 1
                state.move(state.placed[index].placement.side, quantity)
                state.placed[index].filled += quantity
                state.placed[index].fills.append(
                    Fill(venueFillID: "f\(state.nextFill)", quantity: quantity, price: limit, time: clock.now())
                )
            }
        }
    }

    /// What was asked for and accepted, in order.
    package var placements: [Placement] { state.withLock { $0.placed.map(\.placement) } }
    /// Client order ids of everything that was ever accepted, in order.
    package var accepted: [String] {
        state.withLock { state in
            receive(&state)
            return state.placed.map(\.placement.clientOrderID)
        }
    }
    /// What is on its way arrives.
    package func release() {
        state.withLock { state in
            for index in state.underWay.indices { state.underWay[index].at = clock.now() }
            receive(&state)
        }
    }
    /// How many requests are still on their way.
    package var underWay: Int { state.withLock { $0.underWay.count } }
    /// What left through accepted orders of one side.
    package func executed(_ side: Side, ids: Set<String>) -> Quantity {
        state.withLock { state in
            state.placed.filter { $0.placement.side == side && ids.contains($0.placement.clientOrderID) }
                .reduce(.zero) { $0 + $1.filled }
        }
    }
    package func placement(_ id: String) -> Placement? {
        state.withLock { state in state.placed.first { $0.placement.clientOrderID == id }?.placement }
    }
    package func state(of id: String) async -> VenueSnapshot.State? {
        state.withLock { state in state.placed.last { $0.placement.clientOrderID == id }?.state }
    }
    package var requests: Int { state.withLock { $0.requests } }

    package func venueTime() -> Timestamp { clock.now() }

    package func place(_ placement: Placement) async -> PlacementAnswer {
        state.withLock { state in
            state.requests += 1
            let answer = state.script.isEmpty ? .honest : state.script.removeFirst()
            if case .refuse(let kind) = answer { return .refused(kind, code: "-1", detail: "scripted") }
            if case .loseRequest = answer { return .unknown("scripted: the request was lost") }
            if case .keepBack = answer { return .notSent("scripted: it did not leave") }
            let arrival: Timestamp? =
                switch answer {
                case .late(let delay): clock.now().advanced(milliseconds: delay)
                case .parked: Timestamp(microseconds: .max)
                case .honest, .refuse, .loseAnswer, .loseRequest, .keepBack: nil
                }
            if let arrival {
                state.underWay.append((placement, arrival))
                return .unknown("scripted: the request is on its way")
            }
            receive(&state)
            let told = admit(placement, &state)
            if case .loseAnswer = answer { return .unknown("scripted: the answer was lost") }
            return told
        }
    }

    private func admit(_ placement: Placement, _ state: inout State) -> PlacementAnswer {
        if rules.keepsDeadlines, rules.venueClass.kind != .neither,
            clock.now() > placement.t0.advanced(milliseconds: placement.windowMs)
        {
            return .refused(.rejected, code: "-1021", detail: "outside the window")
        }
        let known = state.placed.first { $0.placement.clientOrderID == placement.clientOrderID }
        switch rules.ids {
        // Ids are unique among open orders only, as at most venues.
        case .openOrders:
            let isTaken = state.placed.contains {
                $0.placement.clientOrderID == placement.clientOrderID && $0.state == .open
            }
            if isTaken { return .duplicate }
        case .forever: if known != nil { return .duplicate }
        case .returnsFirst: if let known { return .accepted(known.snapshot) }
        case .notEnforced: break
        }
        if rules.clampsReduceOnly, placement.reduceOnly, let position = state.position, !position.isPositive {
            return .refused(.rejected, code: "-2022", detail: "nothing to reduce")
        }
        state.placed.append(
            Placed(placement: placement, id: "v\(state.placed.count + 1)", state: .open, filled: .zero, fills: [])
        )
        match(state.placed.count - 1, &state)
        return .accepted(state.placed[state.placed.count - 1].snapshot)
    }

    package func executions(market: MarketID, since: Timestamp) async -> [VenueExecution]? {
        state.withLock { state in
            receive(&state)
            if state.isBlind { return nil }
            return state.placed.flatMap { placed in
                placed.fills.filter { $0.time >= since }.map {
                    VenueExecution(venueOrderID: placed.id, side: placed.placement.side, quantity: $0.quantity)
                }
            }
        }
    }

    private func match(_ index: Int, _ state: inout State) {
        let placement = state.placed[index].placement
        guard let price = state.price else { return }
        // What sleeps wakes at its trigger: a stop on the far side of the market, a take-profit on the near one.
        if placement.type.isConditional, let trigger = placement.trigger {
            let isTarget = placement.type == .takeProfitMarket
            guard (placement.side == .sell) == isTarget ? price >= trigger : price <= trigger else { return }
        }
        let crosses: Bool
        switch (placement.limit, placement.side) {
        case (nil, _): crosses = true
        case (let limit?, .buy): crosses = limit >= price
        case (let limit?, .sell): crosses = limit <= price
        }
        if crosses {
            state.nextFill += 1
            state.move(placement.side, placement.quantity - state.placed[index].filled)
            state.placed[index].fills.append(
                Fill(
                    venueFillID: "f\(state.nextFill)",
                    quantity: placement.quantity - state.placed[index].filled,
                    price: price,
                    time: clock.now(),
                )
            )
            state.placed[index].filled = placement.quantity
            state.placed[index].state = .filled
        } else if !placement.type.rests {
            state.placed[index].state = .expired
        }
    }

    package func cancel(market: MarketID, clientOrderID: String) async -> CancelAnswer {
        state.withLock { state in
            guard let index = state.placed.lastIndex(where: { $0.placement.clientOrderID == clientOrderID }),
                state.placed[index].state == .open
            else { return .notOpen }
            state.placed[index].state = .cancelled
            return .cancelled(state.placed[index].snapshot)
        }
    }

    package func lookUp(market: MarketID, clientOrderID: String) async -> LookUpAnswer {
        state.withLock { state in
            if state.isBlind { return .failed("nobody answers") }
            receive(&state)
            guard let found = state.placed.last(where: { $0.placement.clientOrderID == clientOrderID }),
                !rules.forgetsEnded || found.state == .open
            else { return .notFound }
            return .found(found.snapshot)
        }
    }

    package var isHedged: Bool { false }

    package func holding(market: MarketID, side: Side, fresh: Bool) async -> Holding? {
        state.withLock { state in
            state.readings += 1
            guard let position = state.position else { return nil }
            return Holding(quantity: position, average: state.average, asOf: state.asOf ?? clock.now())
        }
    }

    package func freeBalance(asset: String) async -> ExactDecimal? { state.withLock { $0.balance } }

    package func resting(market: MarketID, venueOrderID: String) async throws(VenueError) -> RestingOrder? {
        state.withLock { state in
            guard let found = state.placed.first(where: { $0.id == venueOrderID && $0.state == .open }),
                let limit = found.placement.limit
            else { return nil }
            return RestingOrder(
                clientOrderID: found.placement.clientOrderID,
                order: AdoptedOrder(
                    venueOrderID: venueOrderID,
                    side: found.placement.side,
                    quantity: found.placement.quantity,
                    limit: limit,
                    reduceOnly: found.placement.reduceOnly,
                    fills: found.fills,
                ),
            )
        }
    }

    package func instruments() async throws(VenueError) -> [Instrument] { state.withLock { $0.markets } }
    /// What it says of its markets from now on.
    package func list(_ markets: [Instrument]) { state.withLock { $0.markets = markets } }

    /// Balances in USDT; the position as one of the market that was named.
    package func read(_ question: VenueQuestion) async throws(VenueError) -> VenueReading {
        if case .resting(let market, let id) = question {
            return .resting(try await resting(market: market, venueOrderID: id))
        }
        let told: VenueReading? = state.withLock { state in
            state.readings += 1
            switch question {
            case .balances:
                return state.balance.map { .balances([VenueBalance(asset: "USDT", free: $0, locked: .one)]) }
            case .positions:
                guard let position = state.position else { return nil }
                let market = Instrument.sample().market
                let one = VenuePosition(market: market, side: nil, quantity: position, average: state.average)
                return .positions(position.isZero ? [] : [one], isHedged: false)
            case .openOrders:
                return .openOrders(state.placed.filter { $0.state == .open }.map(\.listed))
            case .resting: return nil
            }
        }
        guard let told else { throw VenueError("nobody can say") }
        return told
    }

    package func events() -> AsyncStream<VenueStreamEvent> {
        AsyncStream { continuation in
            state.withLock { $0.listeners.append(continuation) }
            continuation.yield(.interrupted)
        }
    }

    // MARK: Positions

    /// The account's position is this from now on; own executions move it. Nil: nobody can say.
    package func setPosition(_ position: ExactDecimal?, average: Price? = nil, asOf: Timestamp? = nil) {
        state.withLock { state in
            state.position = position
            state.average = average
            state.asOf = asOf
        }
    }

    package var position: ExactDecimal? { state.withLock { $0.position } }
    /// How often somebody asked for it.
    package var readings: Int { state.withLock { $0.readings } }
    /// Free balance of every coin; nil: nobody can say.
    package func setBalance(_ balance: ExactDecimal?) { state.withLock { $0.balance = balance } }

    /// Tells all listeners.
    package func tell(_ event: VenueStreamEvent) {
        for listener in state.withLock({ $0.listeners }) { listener.yield(event) }
    }

    /// How many streams were opened so far.
    package var streams: Int { state.withLock { $0.listeners.count } }
}

extension FakeVenue.Placed {
    fileprivate var listed: VenueOpenOrder {
        VenueOpenOrder(
            market: placement.market,
            venueOrderID: id,
            clientOrderID: placement.clientOrderID,
            side: placement.side,
            type: placement.type.rawValue,
            quantity: placement.quantity,
            filled: filled,
            prices: VenueOpenOrder.Prices(limit: placement.limit, trigger: placement.trigger),
            reduceOnly: placement.reduceOnly,
            isPlainLimit: placement.type == .goodTillCancelled,
        )
    }

    fileprivate var snapshot: VenueSnapshot {
        VenueSnapshot(
            venueOrderID: id,
            clientOrderID: placement.clientOrderID,
            state: state,
            filled: filled,
            fills: fills,
        )
    }
}

/// One exchange for all accounts.
package struct FakeVenues: VenueDirectory {
    private let venue: any Venue
    package init(_ venue: any Venue) { self.venue = venue }
    package func venue(for account: AccountID) async throws(VenueError) -> any Venue { venue }
}
