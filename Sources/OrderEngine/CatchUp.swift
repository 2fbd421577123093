// Brings an order up to the newest tick before it hears anything but a tick: a command, a timer, news of the venue.
//
// Invariant: ticks are decided on in their order and before whatever was learnt after them. A crossing that nobody has
// decided on yet goes first (ORDERS.md R21.4); quiet ticks move the extremes; the row's position moves with them, so a
// threshold that the event makes is never compared with a tick from before it (RELIABILITY.md 4.6.3).
// Cost: one range extreme; the ticks are walked only where they could cross something.
internal import SmartOrders
internal import TriggerIndex

enum CatchUp {
    /// The present of an order: the newest tick that is known without a gap, or the crossing that was decided on.
    struct Present {
        let moment: Moment
        /// The tick of the crossing.
        let tick: Tick?
    }

    /// - Throws: `StoreError` when prices can be read nowhere.
    /// - Parameter holdings: what exits are fitted to; part of the present.
    static func bring(
        _ transition: inout Transition,
        history: PriceHistory,
        now: Timestamp,
        holdings: Holdings = .unknown,
    ) async throws -> Present {
        let row = transition.order
        let series = PriceSeries(market: row.instrument.market, source: row.triggerSource)
        let decimals = row.instrument.priceDecimals
        guard let newest = try await history.catchUp(series, after: row.position) else {
            // A process that has just begun knows no price, and none may come: a retry is anchored at the one that stands.
            let standing = try await history.standing(series, at: row.position)
            let price = standing.map { Price(units: $0.price, decimals: decimals) }
            return Present(
                moment: Moment(now: now, price: price, position: row.position).with(holdings),
                tick: nil,
            )
        }
        if newest.position > row.position,
            let crossed = try await firstCrossing(of: row, in: series, through: newest.position, history: history)
        {
            let (moment, isDecided) = await decide(&transition, on: crossed, history, holdings)
            if isDecided {
                let price = Price(units: crossed.price, decimals: decimals)
                let tick = Tick(market: series.market, source: series.source, price: price, position: crossed.position)
                return Present(moment: moment, tick: tick)
            }
            // A rule answers the crossing with nothing: the ticks go on from there.
            return try await bring(&transition, history: history, now: now, holdings: holdings)
        }
        // A row may stand at the newest tick: what that did to its extremes was decided with it.
        if newest.position > row.position,
            let found = history.context(series, after: row.position, at: newest.position)
        {
            transition.absorb(found, decimals: decimals)
            transition.absorb(newest, decimals: decimals)
        }
        transition.reach(newest.position)
        return Present(
            moment: Moment(
                now: max(now, Timestamp(microseconds: newest.position.venueTime)),
                price: Price(units: newest.price, decimals: decimals),
                position: transition.order.position,
            ).with(holdings),
            tick: nil,
        )
    }

    /// Whether a tick before `last` could cross something: what the row waits for may have come before a crossing of one
    /// of its stops. False is certain. O(1).
    static func mayCross(_ row: StoredOrder, before last: TickPosition, _ history: PriceHistory) -> Bool {
        let series = PriceSeries(market: row.instrument.market, source: row.triggerSource)
        let decimals = row.instrument.priceDecimals
        guard let found = history.context(series, after: row.position, at: last),
            let tickUnits = row.instrument.armedTick.value.units(decimals: decimals)
        else { return true }
        guard let high = found.high, let low = found.low else { return false }
        let rules = row.watches.compactMap { WatchRule($0.condition, priceDecimals: decimals) }
        return WatchSet(rules: rules, tickUnits: tickUnits).mayCross(high: high, low: low)
    }

    /// Decides on the first tick before `last` that crosses something and is not answered with nothing; crossings that are
    /// move the row on. Nil: there is none, and the row stands before `last`.
    /// - Parameter isInclusive: `last` itself counts too.
    static func firstDecision(
        _ transition: inout Transition,
        before last: TickPosition,
        _ history: PriceHistory,
        holdings: Holdings,
        isInclusive: Bool = false,
    ) async throws -> Tick? {
        let row = transition.order
        let series = PriceSeries(market: row.instrument.market, source: row.triggerSource)
        while let crossed = try await firstCrossing(of: transition.order, in: series, through: last, history: history),
            isInclusive || crossed.position < last
        {
            let price = Price(units: crossed.price, decimals: row.instrument.priceDecimals)
            guard await decide(&transition, on: crossed, history, holdings).isDecided else { continue }
            return Tick(market: series.market, source: series.source, price: price, position: crossed.position)
        }
        return nil
    }

    /// Puts one tick to the row, with the quiet ones before it.
    private static func decide(
        _ transition: inout Transition,
        on crossed: TickContext,
        _ history: PriceHistory,
        _ holdings: Holdings,
    ) async -> (moment: Moment, isDecided: Bool) {
        let decimals = transition.order.instrument.priceDecimals
        transition.absorb(crossed, decimals: decimals)
        let moment = Moment(
            now: Timestamp(microseconds: crossed.position.venueTime),
            price: Price(units: crossed.price, decimals: decimals),
            position: crossed.position,
        ).with(holdings).with(
            reference: await PrintWitness.reference(for: transition.order, at: crossed.position, history)
        )
        let isDecided = apply(&transition, moment)
        // A tick that a rule answers with nothing still counts as a price (ORDERS.md R10).
        if !isDecided {
            let point = ExtremeBucket.Point(position: crossed.position, price: crossed.price)
            transition.absorb(point, decimals: decimals)
        }
        transition.reach(crossed.position)
        return (moment, isDecided)
    }

    private static func apply(_ transition: inout Transition, _ moment: Moment) -> Bool {
        do throws(Refusal) {
            return try transition.apply(.tick, at: moment)
        } catch {
            preconditionFailure("a tick was refused: \(error.code.rawValue)")
        }
    }

    /// The first tick after the row that crosses one of its watches, with what lies between: it may be older than what is
    /// in memory.
    private static func firstCrossing(
        of row: StoredOrder,
        in series: PriceSeries,
        through last: TickPosition,
        history: PriceHistory,
    ) async throws -> TickContext? {
        let decimals = row.instrument.priceDecimals
        let rules = row.watches.compactMap { WatchRule($0.condition, priceDecimals: decimals) }
        guard !rules.isEmpty, let tickUnits = row.instrument.armedTick.value.units(decimals: decimals) else {
            return nil
        }
        var set = WatchSet(rules: rules, tickUnits: tickUnits)
        if let range = history.extremes(series, after: row.position, through: last),
            range.isEmpty || !set.mayCross(high: range.high, low: range.low)
        {
            return nil
        }
        var crossed: TickContext?
        var (high, low) = (Int64?.none, Int64?.none)
        var before = row.position
        let isComplete = try await history.walk(series, after: row.position, through: last) { point in
            if set.cross(point.price) != nil {
                crossed = TickContext(
                    price: point.price,
                    position: point.position,
                    high: high,
                    low: low,
                    before: before,
                )
                return false
            }
            high = max(high ?? point.price, point.price)
            low = min(low ?? point.price, point.price)
            before = point.position
            return true
        }
        guard isComplete || crossed != nil else {
            throw StoreError(.unavailable, "prices of \(series) since the last version are not stored yet")
        }
        return crossed
    }
}
