// A crossing, decided on a row: the same for the handler of its job and for the evaluator that asks whether it is moot.
internal import SmartOrders

enum TriggerDecision {
    enum Result {
        /// The crossing is no longer awaited, or was decided on already.
        case stale
        /// The tick cannot be found now.
        case unavailable
        /// The transition as decided, perhaps unchanged, with the tick.
        case decided(Transition, Tick)
    }

    /// Decides what the crossing `job` means for `row`.
    static func make(
        _ job: Job,
        on row: StoredOrder,
        history: PriceHistory,
        holdings: Holdings = .unknown,
    ) async throws -> Result {
        guard row.awaitsTick(of: job), let position = job.position, job.source == row.triggerSource,
            position > row.position
        else { return .stale }
        let series = PriceSeries(market: row.instrument.market, source: row.triggerSource)
        guard try await history.load(series, after: row.position, through: position) else { return .unavailable }
        var transition = Transition(row)
        // Who found the crossing watched another version, perhaps long ago, or a stop while something else of the order is
        // decided on: what it waits for may have come first.
        let isAlone = job.version == row.version && !(job.id.leg.isStop && row.watches.contains { !$0.leg.isStop })
        if !isAlone, job.version != row.version || CatchUp.mayCross(row, before: position, history),
            let earlier = try await CatchUp.firstDecision(&transition, before: position, history, holdings: holdings)
        {
            return .decided(transition, earlier)
        }
        guard let found = history.context(series, after: transition.order.position, at: position) else {
            return try await makeOfStored(transition, through: position, history, holdings)
        }
        let decimals = row.instrument.priceDecimals
        let tick = Tick(
            market: series.market,
            source: series.source,
            price: Price(units: found.price, decimals: decimals),
            position: found.position,
        )
        transition.absorb(found, decimals: decimals)
        let reference = await PrintWitness.reference(for: transition.order, at: found.position, history)
        _ = try transition.apply(
            .tick,
            at: Moment(
                now: Timestamp(microseconds: found.position.venueTime),
                price: tick.price,
                position: found.position,
            ).with(holdings).with(reference: reference),
        )
        // A latched order keeps no extremes, but it has had this tick: one attempt per tick (ORDERS.md R10).
        transition.reach(found.position)
        return .decided(transition, tick)
    }

    /// The same for a tick that is too old for the memory: the stored prices are walked.
    private static func makeOfStored(
        _ transition: Transition,
        through position: TickPosition,
        _ history: PriceHistory,
        _ holdings: Holdings,
    ) async throws -> Result {
        var transition = transition
        let tick = try await CatchUp.firstDecision(
            &transition,
            before: position,
            history,
            holdings: holdings,
            isInclusive: true,
        )
        // Where nothing is decided, whoever awaits the crossing goes on behind it.
        return tick.map { .decided(transition, $0) } ?? .stale
    }

    /// Whether a rule answers the crossing with nothing on the row as it is.
    static func isMoot(_ job: Job, on row: StoredOrder, history: PriceHistory) async throws -> Bool {
        switch try await make(job, on: row, history: history) {
        case .stale: true
        case .unavailable: false
        case .decided(let transition, _): !transition.isChanged
        }
    }
}

extension StoredOrder {
    /// Whether the crossing that `job` is about is still awaited.
    fileprivate func awaitsTick(of job: Job) -> Bool {
        // Whoever wants every tick is armed with a watch of its own (ArmedOrders.swift).
        if job.id.leg == .timer, wantsEveryTick { return job.id.attempt == Int(version) }
        return awaits(job.id.leg, attempt: job.id.attempt)
    }
}

extension Job {
    /// The same work under an id that the queue has not seen: a crossing at another tick, or offered more often, has
    /// another number; two evaluators of one shard find the same.
    func again(_ number: Int) -> Job {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for part in [position?.venueTime ?? 0, position?.sequence ?? 0, version, Int64(number)] {
            hash = (hash ^ UInt64(bitPattern: part)) &* 0x0000_0100_0000_01b3
            hash ^= hash >> 29
        }
        return with(check: 1_000_000_000 + Int(hash % 1_000_000_000))
    }

    private func with(check number: Int) -> Job {
        Job(
            id: JobID(order: id.order, leg: id.leg, attempt: id.attempt, check: number),
            name: name,
            jobClass: jobClass,
            version: version,
            account: account,
            market: market,
            source: source,
            position: position,
            times: times,
        )
    }
}
