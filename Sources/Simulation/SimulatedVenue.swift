// The exchange of a simulation: an append-only log of what it accepted, with the habits and the trouble of real ones.
//
// Invariants: what is in the log happened; the oracle is told of every entry as it is made. Orders of one account and
// market trade at the price of the moment. Ids, deadlines, the engine's queue and the lag of look-ups follow `Habits`.
internal import OrderEngine
internal import OwnerThread
internal import SmartOrders

/// Whether a client order id may be used again (RELIABILITY.md 2.7).
package enum IDRule: Hashable, Sendable, CaseIterable { case uniqueWhileOpen, uniqueForEver, notChecked }

/// How a venue behaves when nothing is wrong.
package struct VenueHabits: Hashable, Sendable {
    package var ids = IDRule.uniqueWhileOpen
    /// The deadline is checked again by the engine.
    package var checksTwice = true
    package var windowMs: Int64 = 2_000
    package var futureToleranceMs: Int64 = 1_000
    package var engineBoundMs: Int64 = 1_000
    package var queryLagMs: Int64 = 2_000
    package var clockSkewMs: Int64 = 0
    /// The venue tells only the cumulative quantity at once; single fills come with a look-up.
    package var answersWithoutFills = false

    /// RELIABILITY.md 2.4.
    package var fenceMs: Int64 { windowMs + futureToleranceMs + engineBoundMs + queryLagMs + 500 }
}

final class SimulatedVenue: Sendable {
    struct Entry {
        let account: AccountID
        let placement: Placement
        let id: String
        let acceptedAt: Int64
        /// Look-ups do not find it before.
        let visibleAt: Int64
        /// A look-up was answered by a replica that did not know it; never twice.
        var wasHidden = false
        var state: VenueSnapshot.State = .open
        var filled: Quantity = .zero
        var fills: [Fill] = []

        var snapshot: VenueSnapshot {
            VenueSnapshot(
                venueOrderID: id,
                clientOrderID: placement.clientOrderID,
                state: state,
                filled: filled,
                fills: fills,
            )
        }
    }

    private struct State {
        var prices: [MarketID: Price] = [:]
        var entries: [Entry] = []
        var byClientID: [String: [Int]] = [:]
        /// Resting orders by market.
        var open: [MarketID: [Int]] = [:]
        var nextFill = 0
        var isAway = false
        var isDumb = false
        var listeners: [UInt64: (account: AccountID, stream: AsyncStream<VenueStreamEvent>.Continuation)] = [:]
        var nextListener: UInt64 = 0
    }

    let habits: VenueHabits
    private let simulator: Simulator
    private let faults: FaultSwitch
    private let oracle: Oracle
    private let state = Locked(State())

    init(simulator: Simulator, habits: VenueHabits, faults: FaultSwitch, oracle: Oracle) {
        self.simulator = simulator
        self.habits = habits
        self.faults = faults
        self.oracle = oracle
    }

    /// Milliseconds of the venue's clock.
    var now: Timestamp {
        Timestamp(
            microseconds: ProcessClock.epoch + simulator.nanoseconds / 1_000 + habits.clockSkewMs * 1_000
        )
    }

    var isAway: Bool { state.withLock { $0.isAway } }
    /// Placements and cancels arrive, look-ups do not.
    var isDumb: Bool { state.withLock { $0.isDumb } }
    func setAway(_ isAway: Bool, dumb: Bool = false) {
        state.withLock { state in
            state.isAway = isAway && !dumb
            state.isDumb = isAway && dumb
        }
    }

    // MARK: Market

    func setPrice(_ price: Price, of market: MarketID) {
        let told = state.withLock { state in
            state.prices[market] = price
            var told: [(AccountID, VenueSnapshot)] = []
            for index in state.open[market] ?? [] where match(index, asMaker: true, &state) {
                told.append((state.entries[index].account, state.entries[index].snapshot))
            }
            state.open[market]?.removeAll { state.entries[$0].state != .open }
            return told
        }
        for (account, snapshot) in told { tell(account, market, snapshot) }
    }

    /// Executes what the price allows. True: something was filled or ended.
    private func match(_ index: Int, asMaker: Bool, _ state: inout State) -> Bool {
        let entry = state.entries[index]
        let placement = entry.placement
        guard entry.state == .open, let price = state.prices[placement.market] else { return false }
        let crosses =
            switch (placement.limit, placement.side) {
            case (nil, _): true
            case (let limit?, .buy): limit >= price
            case (let limit?, .sell): limit <= price
            }
        let rests = placement.type == .goodTillCancelled
        var changed = false
        if crosses {
            var quantity = placement.quantity - entry.filled
            if happens(0.1, .venuePartial) {
                // A part of it, on a step of a tenth; perhaps nothing.
                let tenths = Int64(quantity.value.units(decimals: 1) ?? 0)
                let part = tenths > 0 ? Int64(simulator.random() % UInt64(tenths + 1)) : 0
                quantity = min(quantity, Quantity(ExactDecimal(mantissa: Int128(part), scale: 1)))
            }
            if quantity.isPositive {
                state.nextFill += 1
                let at = asMaker ? placement.limit ?? price : price
                let fill = Fill(venueFillID: "f\(state.nextFill)", quantity: quantity, price: at, time: now)
                state.entries[index].fills.append(fill)
                state.entries[index].filled += quantity
                oracle.filled(placement.clientOrderID, quantity, venueTime: fill.time, at: simulator.milliseconds)
                changed = true
            }
        }
        if state.entries[index].filled == placement.quantity {
            end(index, .filled, &state)
            changed = true
        } else if !rests {
            end(index, .expired, &state)
            changed = true
        }
        return changed
    }

    private func end(_ index: Int, _ end: VenueSnapshot.State, _ state: inout State) {
        state.entries[index].state = end
        oracle.ended(state.entries[index].placement.clientOrderID, at: simulator.milliseconds)
    }

    private func tell(_ account: AccountID, _ market: MarketID, _ snapshot: VenueSnapshot) {
        guard !happens(0.05, .venueStream) else { return }
        let streams = state.withLock { state in
            state.listeners.sorted { $0.key < $1.key }.filter { $0.value.account == account }.map(\.value.stream)
        }
        for stream in streams {
            stream.yield(.order(clientOrderID: snapshot.clientOrderID, market: market, snapshot: snapshot))
        }
    }

    func listen(_ account: AccountID, _ stream: AsyncStream<VenueStreamEvent>.Continuation) -> UInt64 {
        state.withLock { state in
            state.nextListener += 1
            state.listeners[state.nextListener] = (account, stream)
            return state.nextListener
        }
    }

    func stopListening(_ listener: UInt64) {
        _ = state.withLock { $0.listeners.removeValue(forKey: listener) }
    }

    private func happens(_ rate: Double, _ fault: FaultClass) -> Bool {
        let chance = rate * faults[fault]
        return chance > 0 && simulator.draw { $0.happens(chance) }
    }

    /// Milliseconds, as often near the most that is promised as anywhere: margins are there for that.
    private func delay(upTo most: Int64) -> Int64 {
        simulator.draw { random in
            let part = Int64(random.next() % UInt64(most))
            return random.next() % 2 == 0 ? part : most - part / 20 - 1
        }
    }

    // MARK: Requests

    /// A request that arrived: the gateway checks it, the engine takes it.
    func place(_ placement: Placement, of account: AccountID) async -> PlacementAnswer {
        if let refusal = checkTime(placement) { return refusal }
        if happens(0.02, .venueRefusal) {
            faults.mark("venue refused at random")
            let kinds: [VenueNews.RefusalKind] = [.rejected, .insufficientBalance, .rateLimited]
            return .refused(kinds[Int(simulator.random() % 3)], code: "-2010", detail: "by chance")
        }
        if happens(0.05, .venueQueue) {
            await simulator.pass(nanoseconds: delay(upTo: habits.engineBoundMs) * 1_000_000)
            if habits.checksTwice, let refusal = checkTime(placement) { return refusal }
        }
        let lag = happens(0.2, .venueLag) ? delay(upTo: habits.queryLagMs) : 0
        let snapshot: VenueSnapshot? = state.withLock { state in
            let known = state.byClientID[placement.clientOrderID] ?? []
            let isTaken =
                switch habits.ids {
                case .uniqueWhileOpen: known.contains { state.entries[$0].state == .open }
                case .uniqueForEver: !known.isEmpty
                case .notChecked: false
                }
            if isTaken { return nil }
            let index = state.entries.count
            let now = simulator.milliseconds
            state.entries.append(
                Entry(
                    account: account,
                    placement: placement,
                    id: "v\(index + 1)",
                    acceptedAt: now,
                    visibleAt: now + lag,
                )
            )
            state.byClientID[placement.clientOrderID, default: []].append(index)
            oracle.accepted(placement, venueTime: self.now, habits: habits, at: now)
            _ = match(index, asMaker: false, &state)
            if state.entries[index].state == .open { state.open[placement.market, default: []].append(index) }
            return state.entries[index].snapshot
        }
        guard let snapshot else {
            faults.mark("duplicate-id answer")
            return .duplicate
        }
        tell(account, placement.market, snapshot)
        guard habits.answersWithoutFills else { return .accepted(snapshot) }
        return .accepted(
            VenueSnapshot(
                venueOrderID: snapshot.venueOrderID,
                clientOrderID: snapshot.clientOrderID,
                state: snapshot.state,
                filled: snapshot.filled,
                fills: [],
            )
        )
    }

    private func checkTime(_ placement: Placement) -> PlacementAnswer? {
        let now = now
        if now > placement.t0.advanced(milliseconds: placement.windowMs) {
            faults.mark(.venueRefusedLateRequest)
            return .refused(.rejected, code: "-1021", detail: "outside the window")
        }
        if placement.t0 > now.advanced(milliseconds: habits.futureToleranceMs) {
            faults.mark("venue refused early request")
            return .refused(.rejected, code: "-1021", detail: "ahead of the venue's time")
        }
        return nil
    }

    func cancel(_ clientOrderID: String, of market: MarketID) -> CancelAnswer {
        let (account, snapshot): (AccountID?, VenueSnapshot?) = state.withLock { state in
            guard
                let index = state.byClientID[clientOrderID]?.last(where: { state.entries[$0].state == .open }),
                state.entries[index].visibleAt <= simulator.milliseconds
            else { return (nil, nil) }
            end(index, .cancelled, &state)
            state.open[market]?.removeAll { $0 == index }
            return (state.entries[index].account, state.entries[index].snapshot)
        }
        guard let account, let snapshot else { return .notOpen }
        tell(account, market, snapshot)
        return .cancelled(snapshot)
    }

    func lookUp(_ clientOrderID: String) -> LookUpAnswer {
        state.withLock { state in
            let now = simulator.milliseconds
            guard let index = state.byClientID[clientOrderID]?.last(where: { state.entries[$0].visibleAt <= now })
            else { return .notFound }
            if !state.entries[index].wasHidden, happens(0.05, .venueLag) {
                state.entries[index].wasHidden = true
                faults.mark(.lookUpMissedOnce)
                return .notFound
            }
            return .found(state.entries[index].snapshot)
        }
    }

    /// Client order ids of orders that rest now.
    var resting: [String] {
        state.withLock { state in state.entries.filter { $0.state == .open }.map(\.placement.clientOrderID) }
    }

    var acceptedCount: Int { state.withLock { $0.entries.count } }
}

/// One process's connection to the venue, for one account.
struct SimulatedConnection: Venue {
    let world: World
    let process: SimulatedProcess
    let account: AccountID
    /// Error of the measured offset between this process's clock and the venue's.
    let offsetErrorMs: Int64
    private static let timeoutMs: Int64 = 3_000

    private var venue: SimulatedVenue { world.venue }
    var fenceMs: Int64 { world.flaws.contains(.fenceWithoutMargin) ? venue.habits.windowMs : venue.habits.fenceMs }
    var windowMs: Int64 { venue.habits.windowMs }
    func venueTime() -> Timestamp { venue.now.advanced(milliseconds: offsetErrorMs) }

    /// How a message fares: nil: it never arrives.
    private func way(_ lossRate: Double) -> Int64? {
        let delayRate = 0.05 * world.faults[.venueDelay]
        return world.simulator.draw { random in
            if random.happens(lossRate) { return nil }
            if random.happens(delayRate) {
                return 500_000_000 + Int64(random.next() % 19_500_000_000)
            }
            return 2_000_000 + random.exponential(mean: 20_000_000)
        }
    }

    /// Carries a request to the venue and its answer back. Nil: no answer came in time.
    private func exchange<Answer: Sendable>(
        _ call: StaticString,
        isLookUp: Bool = false,
        _ body: @escaping @Sendable () async -> Answer,
    ) async -> Answer? {
        do {
            try await world.step(process, isTrading: true)
        } catch {
            return nil
        }
        let simulator = world.simulator
        let begun = simulator.milliseconds
        simulator.note("\(process.id) \(call)")
        let turn = world.script?.next(call, of: process) ?? .passes
        if turn == .diesBefore {
            process.kill()
            return nil
        }
        var answer: Answer?
        if turn != .fails, !venue.isAway, !(isLookUp && venue.isDumb), let there = way(0.02 * world.faults[.venueLoss])
        {
            if there > Self.timeoutMs * 1_000_000 {
                // It arrives when nobody waits for it any more.
                world.spawn {
                    await simulator.pass(nanoseconds: there)
                    _ = await body()
                }
            } else {
                await simulator.pass(nanoseconds: there)
                let given = await body()
                if let back = way(0.05 * world.faults[.venueAnswer]) {
                    await simulator.pass(nanoseconds: min(back, Self.timeoutMs * 1_000_000))
                    answer = given
                }
            }
        }
        switch turn {
        case .passes, .diesBefore, .fails: break
        case .losesAnswer: answer = nil
        case .diesAfter:
            process.kill()
            return nil
        }
        if answer == nil || simulator.milliseconds - begun >= Self.timeoutMs {
            // A connection that is reset says so at once, another one after the client's time.
            if world.script == nil, simulator.random() % 2 == 0 {
                await simulator.pass(nanoseconds: (Self.timeoutMs - (simulator.milliseconds - begun)) * 1_000_000)
            }
            world.faults.mark(.venueGaveNoAnswer)
            answer = nil
        }
        do {
            try await world.step(process, isTrading: true)
        } catch {
            return nil
        }
        return answer
    }

    func place(_ placement: Placement) async -> PlacementAnswer {
        guard !process.isDead else { return .notSent("the process is dead") }
        let venue = venue
        let account = account
        let flaws = world.flaws
        let send = { @Sendable in await venue.place(flaws.change(placement, now: venue.now), of: account) }
        let answer = await exchange("place", send)
        if answer == nil, flaws.contains(.clientRepeats) { _ = await exchange("place", send) }
        switch answer {
        case let answer?: return answer
        case nil:
            if world.flaws.contains(.timeoutTakenAsRefused) { return .refused(.rejected, code: "timeout", detail: "") }
            if world.flaws.contains(.timeoutTakenAsNotSent) { return .notSent("timeout") }
            return .unknown("no answer")
        }
    }

    func cancel(market: MarketID, clientOrderID: String) async -> CancelAnswer {
        if world.flaws.contains(.cancelNotSent) { return .failed("not sent") }
        let venue = venue
        let answer = await exchange("cancel") { venue.cancel(clientOrderID, of: market) }
        let nothing = VenueSnapshot(
            venueOrderID: "v",
            clientOrderID: clientOrderID,
            state: .cancelled,
            filled: .zero,
            fills: [],
        )
        if answer == nil, world.flaws.contains(.cancelTakenAsDone) { return .cancelled(nothing) }
        if case .cancelled = answer, world.flaws.contains(.fillAfterCancelDropped) { return .cancelled(nothing) }
        return answer ?? .failed("no answer")
    }

    func lookUp(market: MarketID, clientOrderID: String) async -> LookUpAnswer {
        let venue = venue
        let answer = await exchange("lookUp", isLookUp: true) { venue.lookUp(clientOrderID) }
        if answer == nil, world.flaws.contains(.failedLookUpIsAbsence) { return .notFound }
        if case .found = answer { world.faults.mark(.reconcileFound) }
        return answer ?? .failed("no answer")
    }

    var isHedged: Bool { true }
    // Nobody else trades here, so nothing is fitted to a position.
    func holding(market: MarketID, side: Side, fresh: Bool) async -> Holding? { nil }
    func freeBalance(asset: String) async -> ExactDecimal? { nil }
    func resting(market: MarketID, venueOrderID: String) async throws(VenueError) -> RestingOrder? { nil }
    func instruments() async throws(VenueError) -> [Instrument] { [] }

    func events() -> AsyncStream<VenueStreamEvent> {
        let venue = venue
        let account = account
        let process = process
        return AsyncStream { continuation in
            let listener = venue.listen(account, continuation)
            continuation.onTermination = { _ in venue.stopListening(listener) }
            process.atDeath { continuation.finish() }
        }
    }
}

/// Connections of one process.
struct SimulatedVenues: VenueDirectory {
    let world: World
    let process: SimulatedProcess
    let offsetErrorMs: Int64

    func venue(for account: AccountID) async throws(VenueError) -> any Venue {
        SimulatedConnection(world: world, process: process, account: account, offsetErrorMs: offsetErrorMs)
    }
}
