// How near a threshold was without being reached, per stretch in which it stood as it was made (ORDERS.md 9.2). Pure.
//
// A threshold that follows the price is compared with where it stood at each tick: the tick is tested first, then it
// moves the threshold (R10). Cost: linear in the points of the stretch.
public import OrderEngine
public import SmartOrders

/// A stretch of prices for which a threshold stood as it was made.
public struct Stretch: Sendable {
    public let threshold: LegThreshold
    /// Versions of the order for which it held.
    public let sinceVersion: Int64
    public internal(set) var untilVersion: Int64
    /// Prices after the first, up to and including the second position.
    public let after: TickPosition
    public internal(set) var through: TickPosition
    public let source: TriggerSource
    public let since: Timestamp

    var isFixed: Bool { threshold.callback == nil }

    /// Whether another row's threshold is the same one, further on.
    func isContinued(by other: LegThreshold, source: TriggerSource) -> Bool {
        guard threshold.role == other.role, threshold.idle == other.idle, source == self.source,
            threshold.comparison == other.comparison, threshold.callback == other.callback
        else { return false }
        guard threshold.callback != nil else { return threshold.price == other.price }
        guard let was = threshold.extreme, let now = other.extreme else { return threshold.extreme == other.extreme }
        // A water mark only moves with the price; a jump back begins anew.
        return threshold.comparison == .atOrBelow ? now >= was : now <= was
    }
}

/// The closest that a price came.
public struct NearestMiss: Hashable, Sendable {
    public let price: Price
    public let position: TickPosition
    /// The threshold at that moment.
    public let threshold: Price
    /// Positive: what was missing.
    public let distance: Price
    /// The distance if the unknown order of high and low is taken the other way; equal where it is known.
    public let otherDistance: Price

    public var isRange: Bool { distance != otherDistance }

    /// In steps of the grid, rounded up: what would have been needed.
    public func ticks(_ tickSize: Price) -> Int64 {
        let steps = ExactDecimal.quotient(distance.value, over: tickSize.value, step: .one, .ceiling)
        return Int64(clamping: steps.mantissa)
    }

    /// Of the threshold, 4 decimals, half-even.
    public var percent: ExactDecimal {
        guard !threshold.isZero else { return .zero }
        return .quotient(
            distance.value * ExactDecimal(100),
            over: threshold.value.magnitude,
            step: ExactDecimal(mantissa: 1, scale: 4),
            .halfEven,
        )
    }
}

extension Stretch {
    /// Every stretch of every threshold of these rows, in order.
    ///
    /// - Parameter end: how far prices are known; the last row's thresholds stood until then.
    public static func all(of versions: [StoredVersion], end: TickPosition) -> [Stretch] {
        var done: [Stretch] = []
        var open: [Stretch] = []
        for (index, version) in versions.enumerated() {
            let row = version.order
            let isLast = index + 1 == versions.count
            let through = isLast ? max(end, row.position) : versions[index + 1].order.position
            var now: [Stretch] = []
            for threshold in row.thresholds {
                let known = open.firstIndex { $0.isContinued(by: threshold, source: row.triggerSource) }
                if let known {
                    var stretch = open.remove(at: known)
                    stretch.through = max(stretch.through, through)
                    stretch.untilVersion = version.version
                    now.append(stretch)
                } else {
                    now.append(
                        Stretch(
                            threshold: threshold,
                            sinceVersion: version.version,
                            untilVersion: version.version,
                            after: row.position,
                            through: through,
                            source: row.triggerSource,
                            since: version.at,
                        )
                    )
                }
            }
            done += open
            open = now
        }
        return (done + open).sorted { ($0.sinceVersion, $0.after) < ($1.sinceVersion, $1.after) }
    }

    /// The price that came closest without reaching the threshold; nil without prices, or without a threshold.
    public func nearestMiss(in points: ArraySlice<PricePoint>, tickSize: Price) -> NearestMiss? {
        let usual = walk(points, tickSize, extremesFirst: false)
        guard points.contains(where: { !$0.isExact }), !isFixed else { return usual }
        let other = walk(points, tickSize, extremesFirst: true)
        guard let usual, let other else { return usual ?? other }
        return NearestMiss(
            price: usual.price,
            position: usual.position,
            threshold: usual.threshold,
            distance: usual.distance,
            otherDistance: other.distance,
        )
    }

    /// - Parameter extremesFirst: in a range, the price that moves the threshold comes before the one that nears it.
    private func walk(_ points: ArraySlice<PricePoint>, _ tickSize: Price, extremesFirst: Bool) -> NearestMiss? {
        var threshold = threshold
        var nearest: NearestMiss?
        for point in points {
            // A range reaches for a falling threshold with its low, and moves it with its high.
            let falls = threshold.comparison == .atOrBelow
            let near = falls ? point.low : point.high
            let far = falls ? point.high : point.low
            if extremesFirst { threshold = threshold.following(far, tickSize: tickSize) }
            if let stood = threshold.price, !threshold.comparison.holds(near, stood) {
                let distance = falls ? near - stood : stood - near
                if nearest.map({ distance < $0.distance }) ?? true {
                    nearest = NearestMiss(
                        price: near,
                        position: point.position,
                        threshold: stood,
                        distance: distance,
                        otherDistance: distance,
                    )
                }
            }
            if !extremesFirst { threshold = threshold.following(far, tickSize: tickSize) }
        }
        return nearest
    }

    /// The most extreme price that would have reached the threshold, had it been of the watched source.
    func crossing(in points: ArraySlice<PricePoint>, tickSize: Price) -> (price: Price, position: TickPosition)? {
        // A follower of another source's prices would be another stop: it is compared as it stood at first.
        guard let stood = threshold.price else { return nil }
        var best: (price: Price, position: TickPosition)?
        for point in points {
            let near = threshold.comparison == .atOrBelow ? point.low : point.high
            guard threshold.comparison.holds(near, stood) else { continue }
            let isFarther =
                threshold.comparison == .atOrBelow
                ? best.map { near < $0.price } ?? true : best.map { near > $0.price } ?? true
            if isFarther { best = (near, point.position) }
        }
        return best
    }
}
