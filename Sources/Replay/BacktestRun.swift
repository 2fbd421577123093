// One smart order on recorded prices: the real core, the trigger index and the paper venue's matching rules.
//
// Every tick counts, in the order of the file. A tick that crosses none of the order's watches costs a few comparisons
// of whole numbers; `decide` is asked only at crossings, at due timers, and at each tick while a retry waits for one.
// The venue answers at once and has unlimited liquidity at the price of the tick. A timer that is due between two ticks
// fires at its moment, at the price before it; nothing fires after the last tick.

internal import OrderJSON
package import SmartOrders
internal import TriggerIndex

package struct BacktestRun {
    /// What a version changed.
    package struct Change {
        /// 0-based data row of the tick that was current.
        package let tick: Int64
        package let time: Timestamp
        package let price: Price
        package let order: SmartOrder
        package let facts: [Fact]
    }

    package private(set) var changes: [Change] = []
    package private(set) var order: SmartOrder
    /// Ticks so far, the first included.
    package private(set) var ticks: Int64 = 1

    private let decimals: Int
    private let isLong: Bool
    private var market: ScenarioMarket
    private var index: MarketIndex
    private var effects: [Effect] = []
    private var crossings: [Crossing] = []

    // The current tick.
    private var number: Int64
    private var time: Int64
    private var units: Int64
    /// Best price of the ticks that nobody decided on; nil: none since the last decision.
    private var best: Int64?
    /// Whether `best` is the highest (else the lowest).
    private var trailsHighs = true

    // What the order waits for besides its watches.
    private var wantsEveryTick = false
    private var nextTimer = Int64.max
    private var hasResting = false
    private var isOver = false

    /// Creates the order at the first tick of its series.
    package init(_ input: BacktestInput, number: Int64, time: Int64, units: Int64) throws {
        let instrument = input.block.instrument
        decimals = input.decimals
        isLong = input.draft.side == .buy
        self.number = number
        self.time = time
        self.units = units
        guard let tickUnits = instrument.tickSize.value.units(decimals: decimals) else {
            throw BacktestError("the tick size does not fit the prices of the file")
        }
        index = MarketIndex(tickUnits: tickUnits)
        let price = Price(ExactDecimal(mantissa: Int128(units), scale: decimals))
        let now = Timestamp(microseconds: time)
        var bounds = CreationBounds(positionAverage: price)
        if let maximum = input.block.maxConditionals { bounds.maxConditionals = maximum }
        if let active = input.block.activeConditionals { bounds.activeConditionals = active }
        var draft = input.draft
        if let milliseconds = input.exitAfterMs { draft.exitAt = now.advanced(milliseconds: milliseconds) }
        // What is held was entered at the first tick, unless the order says otherwise: also on spot, where a live order
        // has to name its cost.
        if draft.entry.mode == .attach, draft.entry.price == nil, draft.entry.venueOrder == nil {
            draft.entry.price = price
        }
        do {
            let decision = try SmartOrder.create(
                draft,
                id: OrderID(UniqueID(high: 0x7000, low: 1 << 63)),
                account: AccountID(UniqueID(high: 0x7000, low: 1 << 63 | 1)),
                instrument: instrument,
                bounds: bounds,
                at: Moment(now: now, price: price, position: TickPosition(venueTime: time, sequence: number)),
            )
            order = decision.next
            market = ScenarioMarket(mark: price, fees: input.fees, faults: [], net: nil, now: now)
            record(decision.facts)
            effects = decision.effects
        } catch let refusal {
            let place = refusal.field.map { " (\($0))" } ?? ""
            throw BacktestError("the order is refused: \(refusal.code.rawValue)\(place): \(refusal.detail)")
        }
        work()
        rearm()
    }

    /// The next tick of the series.
    @inline(__always)
    package mutating func tick(number: Int64, time: Int64, units: Int64) {
        ticks += 1
        if isOver { return }
        if index.isQuiet(units), !wantsEveryTick, !hasResting, time < nextTimer {
            take(number, time, units)
            if let known = best, trailsHighs ? known >= units : known <= units { return }
            best = units
            return
        }
        evaluate(number, time, units)
    }

    @inline(__always)
    private mutating func take(_ number: Int64, _ time: Int64, _ units: Int64) {
        self.number = number
        self.time = time
        self.units = units
    }

    @inline(never)
    private mutating func evaluate(_ number: Int64, _ time: Int64, _ units: Int64) {
        fireTimers(before: time)
        if isOver { return }
        let last = position
        take(number, time, units)
        market.now = Timestamp(microseconds: time)
        let version = order.version
        tell(market.price(fill: price, liquidity: nil))
        crossings.removeAll(keepingCapacity: true)
        index.advance(to: units, &crossings)
        guard !crossings.isEmpty || wantsEveryTick || nextTimer <= time || order.version != version else {
            if let known = best, trailsHighs ? known >= units : known <= units { return }
            best = units
            return
        }
        absorbQuietTicks(upTo: last)
        if !decide(.tick) { order.absorb(extreme: price, upTo: position) }
        work()
        rearm()
    }

    /// Timers that are due before the next tick.
    private mutating func fireTimers(before limit: Int64) {
        while nextTimer < limit, !isOver {
            market.now = Timestamp(microseconds: max(nextTimer, market.now.microseconds))
            absorbQuietTicks(upTo: position)
            tell(market.price(fill: price, liquidity: nil))
            let due = nextTimer
            let version = order.version
            decide(.timer)
            work()
            rearm()
            // A timer that changed nothing is not asked again before a tick.
            if order.version == version, nextTimer <= due { nextTimer = limit }
        }
    }

    private var price: Price { Price(ExactDecimal(mantissa: Int128(units), scale: decimals)) }
    private var position: TickPosition { TickPosition(venueTime: time, sequence: number) }

    private mutating func absorbQuietTicks(upTo position: TickPosition) {
        guard let best else { return }
        order.absorb(extreme: Price(ExactDecimal(mantissa: Int128(best), scale: decimals)), upTo: position)
        self.best = nil
    }

    // MARK: Decide, act, record

    @discardableResult
    private mutating func decide(_ event: OrderEvent) -> Bool {
        let moment = Moment(now: market.now, price: price, position: position, cancelsAnswerAtOnce: true)
        // Only commands are refused.
        guard let decision = try? order.decide(event, at: moment) else { return false }
        order = decision.next
        record(decision.facts)
        effects += decision.effects
        return true
    }

    private mutating func record(_ facts: [Fact]) {
        changes.append(Change(tick: number, time: market.now, price: price, order: order, facts: facts))
    }

    private mutating func tell(_ reports: [ScenarioMarket.Report]) {
        for report in reports { decide(.venue(report.key, report.news)) }
    }

    private mutating func work() {
        while !effects.isEmpty {
            switch effects.removeFirst() {
            case .place(let key):
                guard let venueOrder = order.venueOrders.first(where: { $0.key == key }) else { continue }
                tell(market.place(venueOrder))
            case .cancel(let key):
                if let reports = market.cancel(key) { tell(reports) } else { decide(.cancelFailed(key)) }
            }
        }
    }

    /// Arms the index with what the order waits for now.
    private mutating func rearm() {
        isOver = order.status.isTerminal
        trailsHighs = order.trailsHighs
        wantsEveryTick = order.wantsEveryTick
        nextTimer = order.nextTimer?.microseconds ?? .max
        hasResting = market.hasResting
        index = MarketIndex(tickUnits: index.rule.tickUnits)
        for (number, watch) in order.watches.enumerated() {
            guard let rule = WatchRule(watch.condition, priceDecimals: decimals) else {
                // A threshold that the index cannot hold: the order looks at every tick itself.
                wantsEveryTick = true
                continue
            }
            _ = index.arm(rule, tag: UInt64(number))
        }
    }
}
