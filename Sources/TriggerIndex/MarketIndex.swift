// The watches of one market and one price source: which of them does this tick cross?
//
// Invariants: a watch fires at the first tick after it was armed that reaches its threshold, once, and leaves; arming it
// again is the caller's decision. Every tick is compared, also one that repeats the last price, so a watch armed at a
// price that is already crossed fires at the next tick. A trailing watch is tested with its old threshold, then its
// extreme moves: a tick never moves a stop and fires it (ORDERS.md R3.3).
// Order: the crossings of one tick come class by class; fixed ones nearest first, of equal thresholds the first armed
// first; trailing ones in an order that is a function of the calls so far. The index reads no clock and no randomness.
// Late ticks: the index knows only "from the next tick on". To put a late tick (RELIABILITY.md 4.6.2) to the watches that
// were armed before its time alone, the caller disarms the younger ones, keeping their extremes, advances to the late
// price, arms them again and advances to the current price.
// Limits: prices, thresholds and extremes 1..<Int64.max, 2^29 watches per class; a violation traps.
// Cost: a tick that crosses nothing and is no new extreme: two comparisons. Otherwise O(log n) per crossing and per
// group of trailing watches that merges; watches that share an extreme are never visited one by one. Nothing is
// allocated per tick once `crossings` has its capacity. Memory: see `footprint`.

/// An index over the armed watches of one market and price source. A plain value for one owner.
public struct MarketIndex: Sendable {
    /// The market's tick grid, in price units.
    public let rule: TrailingRule

    private var falling = FixedWatches()
    private var rising = FixedWatches()
    private var rateBelowHigh: TrailingWatches
    private var rateAboveLow: TrailingWatches
    private var amountBelowHigh: TrailingWatches
    private var amountAboveLow: TrailingWatches
    /// A price strictly between these two changes nothing.
    private var quietAbove = Int64(0)
    private var quietBelow = Int64.max

    /// - Parameter tickUnits: the tick size in units of the market's prices, at least 1. Trailing thresholds are
    ///   rounded to it towards the market.
    public init(tickUnits: Int64) {
        rule = TrailingRule(tickUnits: tickUnits)
        rateBelowHigh = TrailingWatches(rule: rule, isRate: true)
        rateAboveLow = TrailingWatches(rule: rule, isRate: true)
        amountBelowHigh = TrailingWatches(rule: rule, isRate: false)
        amountAboveLow = TrailingWatches(rule: rule, isRate: false)
    }

    // MARK: Ticks

    /// Takes the next tick: appends what it crosses to `crossings`, then lets the trailing extremes follow it.
    @inlinable
    public mutating func advance(to price: Int64, _ crossings: inout [Crossing]) {
        if isQuiet(price) { return }
        evaluate(price, &crossings)
    }

    /// True when a tick at `price` would change nothing.
    public func isQuiet(_ price: Int64) -> Bool { price > quietAbove && price < quietBelow }

    @inline(never)
    @usableFromInline
    mutating func evaluate(_ price: Int64, _ crossings: inout [Crossing]) {
        Self.check(price)
        if falling.bound >= price { falling.fire(at: price, .falling, &crossings) }
        if rising.bound >= -price { rising.fire(at: -price, .rising, &crossings) }
        rateBelowHigh.advance(to: price, .rateBelowHigh, &crossings)
        rateAboveLow.advance(to: -price, .rateAboveLow, &crossings)
        amountBelowHigh.advance(to: price, .amountBelowHigh, &crossings)
        amountAboveLow.advance(to: -price, .amountAboveLow, &crossings)
        refreshBounds()
    }

    private mutating func refreshBounds() {
        // A falling price matters from the highest threshold on, and where it is a new low for someone.
        let crossedBelow = max(falling.bound, max(rateBelowHigh.bound, amountBelowHigh.bound))
        let newLow = max(-rateAboveLow.lowestExtreme, -amountAboveLow.lowestExtreme)
        quietAbove = max(0, max(crossedBelow, newLow - 1))
        let crossedAbove = max(rising.bound, max(rateAboveLow.bound, amountAboveLow.bound))
        let newHigh = min(rateBelowHigh.lowestExtreme, amountBelowHigh.lowestExtreme)
        quietBelow = min(crossedAbove == .min ? .max : -crossedAbove, newHigh == .max ? .max : newHigh + 1)
    }

    // MARK: Arming

    /// Arms one watch. It takes part from the next tick on.
    /// - Parameter tag: the caller's number for it, handed back in the crossing.
    public mutating func arm(_ watch: WatchRule, tag: UInt64) -> WatchHandle {
        let kind = Self.kind(of: watch)
        let sign = kind.sign
        let place =
            switch watch {
            case .falling(let threshold): falling.arm(Self.checked(threshold) * sign, tag: tag)
            case .rising(let threshold): rising.arm(Self.checked(threshold) * sign, tag: tag)
            case .followsHigh(.rate(let rate), let extreme):
                rateBelowHigh.arm(Self.checked(rate), extreme: Self.checked(extreme) * sign, tag: tag)
            case .followsHigh(.amount(let amount), let extreme):
                amountBelowHigh.arm(Self.checked(amount: amount), extreme: Self.checked(extreme) * sign, tag: tag)
            case .followsLow(.rate(let rate), let extreme):
                rateAboveLow.arm(Self.checked(rate), extreme: Self.checked(extreme) * sign, tag: tag)
            case .followsLow(.amount(let amount), let extreme):
                amountAboveLow.arm(Self.checked(amount: amount), extreme: Self.checked(extreme) * sign, tag: tag)
            }
        refreshBounds()
        return WatchHandle(kind: kind, slot: place.slot, generation: place.generation)
    }

    /// Arms many watches, sorted once: several times faster than one by one. The handles are in the order given.
    public mutating func arm(contentsOf watches: [(rule: WatchRule, tag: UInt64)]) -> [WatchHandle] {
        var handles = [WatchHandle](
            repeating: WatchHandle(kind: .falling, slot: 0, generation: 0),
            count: watches.count,
        )
        for kind in WatchClass.allCases {
            let members = watches.indices.filter { Self.kind(of: watches[$0].rule) == kind }
            if members.isEmpty { continue }
            let places = arm(kind, members.map { watches[$0] })
            for (member, place) in zip(members, places) {
                handles[member] = WatchHandle(kind: kind, slot: place.slot, generation: place.generation)
            }
        }
        refreshBounds()
        return handles
    }

    private mutating func arm(
        _ kind: WatchClass,
        _ watches: [(rule: WatchRule, tag: UInt64)],
    ) -> [(slot: Int, generation: UInt32)] {
        let starts = watches.map { watch in
            switch watch.rule {
            case .falling(let threshold), .rising(let threshold):
                TrailingWatches.Start(callback: 0, extreme: Self.checked(threshold) * kind.sign, tag: watch.tag)
            case .followsHigh(.rate(let rate), let extreme), .followsLow(.rate(let rate), let extreme):
                TrailingWatches.Start(
                    callback: Self.checked(rate),
                    extreme: Self.checked(extreme) * kind.sign,
                    tag: watch.tag,
                )
            case .followsHigh(.amount(let amount), let extreme), .followsLow(.amount(let amount), let extreme):
                TrailingWatches.Start(
                    callback: Self.checked(amount: amount),
                    extreme: Self.checked(extreme) * kind.sign,
                    tag: watch.tag,
                )
            }
        }
        return switch kind {
        case .falling: falling.arm(starts.map(\.extreme), tags: starts.map(\.tag))
        case .rising: rising.arm(starts.map(\.extreme), tags: starts.map(\.tag))
        case .rateBelowHigh: rateBelowHigh.arm(starts)
        case .rateAboveLow: rateAboveLow.arm(starts)
        case .amountBelowHigh: amountBelowHigh.arm(starts)
        case .amountAboveLow: amountAboveLow.arm(starts)
        }
    }

    /// Takes a watch out. False when it has fired or was disarmed before.
    @discardableResult
    public mutating func disarm(_ handle: WatchHandle) -> Bool {
        guard isArmed(handle) else { return false }
        switch handle.kind {
        case .falling: falling.disarm(handle.slot)
        case .rising: rising.disarm(handle.slot)
        case .rateBelowHigh: rateBelowHigh.disarm(handle.slot)
        case .rateAboveLow: rateAboveLow.disarm(handle.slot)
        case .amountBelowHigh: amountBelowHigh.disarm(handle.slot)
        case .amountAboveLow: amountAboveLow.disarm(handle.slot)
        }
        refreshBounds()
        return true
    }

    // MARK: Reading

    public func isArmed(_ handle: WatchHandle) -> Bool {
        let slots =
            switch handle.kind {
            case .falling: falling.slots
            case .rising: rising.slots
            case .rateBelowHigh: rateBelowHigh.slots
            case .rateAboveLow: rateAboveLow.slots
            case .amountBelowHigh: amountBelowHigh.slots
            case .amountAboveLow: amountAboveLow.slots
            }
        return slots.isCurrent(handle.slot, handle.generation)
    }

    /// The extreme that a trailing watch has seen. Nil for a fixed watch and for a stale handle. O(log n).
    public func extreme(of handle: WatchHandle) -> Int64? {
        guard isArmed(handle) else { return nil }
        return switch handle.kind {
        case .falling, .rising: nil
        case .rateBelowHigh: rateBelowHigh.extreme(of: handle.slot)
        case .rateAboveLow: -rateAboveLow.extreme(of: handle.slot)
        case .amountBelowHigh: amountBelowHigh.extreme(of: handle.slot)
        case .amountAboveLow: -amountAboveLow.extreme(of: handle.slot)
        }
    }

    /// The price that fires the watch now. Nil for a stale handle. At most 0, or `Int64.max`, when no price does.
    public func threshold(of handle: WatchHandle) -> Int64? {
        guard isArmed(handle) else { return nil }
        return switch handle.kind {
        case .falling: falling.threshold(of: handle.slot)
        case .rising: -rising.threshold(of: handle.slot)
        case .rateBelowHigh: rateBelowHigh.threshold(of: handle.slot)
        case .rateAboveLow: -rateAboveLow.threshold(of: handle.slot)
        case .amountBelowHigh: amountBelowHigh.threshold(of: handle.slot)
        case .amountAboveLow: -amountAboveLow.threshold(of: handle.slot)
        }
    }

    /// Watches that are armed.
    public var count: Int {
        falling.slots.count + rising.slots.count + rateBelowHigh.slots.count + rateAboveLow.slots.count
            + amountBelowHigh.slots.count + amountAboveLow.slots.count
    }

    public var isEmpty: Bool { count == 0 }

    /// Bytes that the index holds, tags included: 28 to 34 per fixed watch, 37 per trailing watch and 70 per distinct
    /// extreme, plus what its arrays hold in reserve (up to a quarter while watches are armed one by one).
    public var footprint: Int {
        falling.footprint + rising.footprint + rateBelowHigh.footprint + rateAboveLow.footprint
            + amountBelowHigh.footprint + amountAboveLow.footprint
    }

    /// Groups of trailing watches: each holds those that share an extreme.
    public var groupCount: Int {
        rateBelowHigh.groupCount + rateAboveLow.groupCount + amountBelowHigh.groupCount + amountAboveLow.groupCount
    }

    /// What is wrong with the structures, for tests; nil: nothing. O(n).
    package func brokenInvariant() -> String? {
        var refreshed = self
        refreshed.refreshBounds()
        guard refreshed.quietAbove == quietAbove, refreshed.quietBelow == quietBelow else { return "quiet bounds" }
        return falling.brokenInvariant() ?? rising.brokenInvariant() ?? rateBelowHigh.brokenInvariant()
            ?? rateAboveLow.brokenInvariant() ?? amountBelowHigh.brokenInvariant() ?? amountAboveLow.brokenInvariant()
    }

    // MARK: Checks

    private static func kind(of watch: WatchRule) -> WatchClass {
        switch watch {
        case .falling: .falling
        case .rising: .rising
        case .followsHigh(.rate, _): .rateBelowHigh
        case .followsHigh(.amount, _): .amountBelowHigh
        case .followsLow(.rate, _): .rateAboveLow
        case .followsLow(.amount, _): .amountAboveLow
        }
    }

    @inline(__always)
    private static func check(_ price: Int64) {
        precondition(price > 0 && price < .max, "a price is 1..<Int64.max units")
    }

    private static func checked(_ price: Int64) -> Int64 {
        check(price)
        return price
    }

    private static func checked(_ rate: UInt32) -> Int64 {
        precondition(rate <= 1_000_000, "a callback rate is at most 1,000,000 millionths")
        return Int64(rate)
    }

    private static func checked(amount: Int64) -> Int64 {
        precondition(amount >= 0, "a callback amount is not negative")
        return amount
    }
}
