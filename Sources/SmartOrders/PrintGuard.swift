// The guard against false prints, per order and off by default (RELIABILITY.md 4.7, FA106).
//
// A price is judged before anything is compared with it. One outside `Moment.reference` x (1 +- band) is suspect: it moves
// an extreme to the edge of the band and no further, and what it crosses acts only when the next tick of the source, or the
// reference itself, is beyond the same threshold within a second. Meanwhile the row stands at the suspect tick and waits
// for every tick: whoever takes the order over decides on the same next one.
//
// Invariants: without a reference the price is good, so nobody loses protection because nobody can judge. Between two
// versions no tick is suspect: the order also watches the edges of a third of its band around the last price that moved
// them (`printCentre`), and prices within those are no further apart than the band (Watch.swift).
// Left out: an exit under way is not guarded (its limit bounds it), nor is the price that a command is checked with; a
// price within a third of the band around the last one that was judged is not judged by another source.

/// `printGuard` of a plan.
public struct PrintGuardPlan: Hashable, Sendable {
    /// Percent of the reference either way, 1 ... 50 with at most 4 decimals.
    public var bandPercent: ExactDecimal
    public init(bandPercent: ExactDecimal = ExactDecimal(10)) { self.bandPercent = bandPercent }

    public static func isInRange(_ percent: ExactDecimal) -> Bool {
        percent >= .one && percent <= ExactDecimal(50) && percent.scale <= 4
    }

    /// Prices `part` of the band below and above `centre`.
    func edges(around centre: Price, part: Int = 1) -> (low: Price, high: Price) {
        let step = ExactDecimal(mantissa: 1, scale: 12)
        let distance = ExactDecimal.quotient(
            centre.value,
            times: bandPercent,
            over: ExactDecimal(100 * part),
            step: step,
            .floor,
        )
        return (Price(centre.value - distance), Price(centre.value + distance))
    }
}

/// A print that waits for a second witness, or had none.
public struct SuspectPrint: Hashable, Sendable {
    public let price: Price
    public let position: TickPosition
    /// Nobody is waited for after this moment.
    public let until: Timestamp
    /// It counts as a price no more, though it may still be the newest.
    public var isIgnored: Bool

    public init(price: Price, position: TickPosition, until: Timestamp, isIgnored: Bool = false) {
        self.price = price
        self.position = position
        self.until = until
        self.isIgnored = isIgnored
    }
}

extension SmartOrder {
    /// Whether it waits for a price, which the guard is for.
    fileprivate var isGuarded: Bool {
        guard draft.printGuard != nil, !plainWatches.isEmpty else { return false }
        return status == .pending ? entryWaits && goal == .none : status.isOpen && isUndisturbed
    }

    /// The watches of a guarded order: its own with the edges that keep quiet ticks unsuspicious, or every tick while a
    /// print waits for its witness.
    func guarded(_ watches: [Watch]) -> [Watch] {
        guard let plan = draft.printGuard, isGuarded else { return watches }
        let attempt = Int(clamping: version)
        guard let centre = printCentre, suspect?.isIgnored ?? true else {
            let least = Price(ExactDecimal(mantissa: 1, scale: instrument.priceDecimals))
            return [Watch(leg: .timer, attempt: attempt, condition: .atOrAbove(least))]
        }
        let (low, high) = plan.edges(around: centre, part: 3)
        return watches + [
            Watch(leg: .timer, attempt: attempt, condition: .atOrBelow(low)),
            Watch(leg: .timer, attempt: attempt, condition: .atOrAbove(high)),
        ]
    }

    /// Whether one of its thresholds is beyond both prices.
    fileprivate func acts(on price: Price, and other: Price) -> Bool {
        plainWatches.contains {
            $0.isCrossed(by: price, on: instrument.armedTick) && $0.isCrossed(by: other, on: instrument.armedTick)
        }
    }
}

extension Deciding {
    private static let patience: Int64 = 1_000

    /// Judges the present price; one that does not count is taken out of the moment.
    mutating func judgePrint(isTick: Bool) {
        guard let plan = order.draft.printGuard, order.isGuarded else {
            // No tick is waited for any more; the timer that was set for it has nothing to do.
            if !isTick { order.suspect = nil }
            return
        }
        guard let price = moment.price else { return }
        if let suspect = order.suspect, judge(suspect, price, isTick: isTick) { return }
        guard isTick else { return }
        if let centre = order.printCentre {
            // Near the last one that was judged, as every quiet tick is.
            let near = plan.edges(around: centre, part: 3)
            if price > near.low, price < near.high { return }
        }
        guard let reference = moment.reference, reference.isPositive else { return settle(on: price) }
        let edges = plan.edges(around: reference)
        if price >= edges.low, price <= edges.high { return settle(on: price) }
        // The second source may say the same already.
        let actsOnIt = order.acts(on: price, and: price)
        if actsOnIt, order.acts(on: price, and: reference) { return settle(on: price) }
        let edge = (price < edges.low ? edges.low : edges.high).value.rounded(decimals: order.instrument.priceDecimals)
        order.absorb(extreme: Price(edge), upTo: moment.position)
        order.suspect = SuspectPrint(
            price: price,
            position: moment.position,
            until: now.advanced(milliseconds: Self.patience),
            isIgnored: !actsOnIt,
        )
        facts.append(actsOnIt ? .printSuspected(price, reference: reference) : .printIgnored(price))
        moment = moment.with(price: nil)
    }

    /// What the present price says of the suspect one. True: the present price needs no judgement of its own.
    private mutating func judge(_ suspect: SuspectPrint, _ price: Price, isTick: Bool) -> Bool {
        let isSame = moment.position <= suspect.position
        if suspect.isIgnored {
            // It may be the newest price that there is; it is none.
            if isSame { moment = moment.with(price: nil) }
            return isSame
        }
        let isInTime = now <= suspect.until
        let nextAgrees = !isSame && order.acts(on: suspect.price, and: price)
        let referenceAgrees = moment.reference.map { order.acts(on: suspect.price, and: $0) } ?? false
        if isInTime, nextAgrees || referenceAgrees {
            order.suspect = nil
            facts.append(.printConfirmed(suspect.price))
            let counts = nextAgrees ? price : suspect.price
            settle(on: counts)
            moment = moment.with(price: counts)
            return true
        }
        if isSame, isInTime {
            moment = moment.with(price: nil)
            return true
        }
        facts.append(.printIgnored(suspect.price))
        if isSame {
            order.suspect?.isIgnored = true
            moment = moment.with(price: nil)
            return true
        }
        order.suspect = nil
        return false
    }

    /// The price counts; the edges that are watched go with it.
    private mutating func settle(on price: Price) { order.printCentre = price }
}
