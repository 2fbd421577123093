// What the index watches for, and what it says when a price gets there.
//
// Prices are whole units of 10^-d of their market (`Instrument.priceDecimals`). Comparisons are inclusive (ORDERS.md
// R2), trailing thresholds are exact and rounded towards the market (R5).

/// How far a trailing threshold stays behind its extreme: `Callback` in the units of the hot path.
public enum CallbackUnits: Hashable, Sendable {
    /// A share of the extreme in millionths, 0...1_000_000: 20_000 is 2%.
    case rate(millionths: UInt32)
    /// A distance in price units, 0 or more.
    case amount(Int64)
}

/// The condition of one watch.
public enum WatchRule: Hashable, Sendable {
    /// Fires when price <= threshold: the stop of a long, the target of a short.
    case falling(threshold: Int64)
    /// Fires when price >= threshold: the target of a long, the stop of a short.
    case rising(threshold: Int64)
    /// Follows the highest price since `extreme` and fires when the price falls to the threshold: a long's trailing stop.
    case followsHigh(CallbackUnits, extreme: Int64)
    /// Follows the lowest price since `extreme` and fires when the price rises to the threshold: a short's.
    case followsLow(CallbackUnits, extreme: Int64)
}

/// One armed watch. A handle whose watch has fired or was disarmed is stale and stays so; it means nothing to another
/// index.
public struct WatchHandle: Hashable, Sendable {
    // Class in bits 29..<32 of the place, slot below.
    let place: UInt32
    let generation: UInt32

    static let slotBits: UInt32 = 29

    init(kind: WatchClass, slot: Int, generation: UInt32) {
        place = UInt32(kind.rawValue) << Self.slotBits | UInt32(slot)
        self.generation = generation
    }

    var slot: Int { Int(place & ((1 << Self.slotBits) - 1)) }
    var kind: WatchClass {
        guard let kind = WatchClass(rawValue: UInt8(place >> Self.slotBits)) else {
            preconditionFailure("no such class")
        }
        return kind
    }

    /// True when the watch fires on a falling price.
    public var firesFalling: Bool { kind.sign > 0 }
}

/// The six structures of an index. Those that fire on a rising price are kept mirrored: with all prices negated they
/// are those that fire on a falling one, so every algorithm exists once.
enum WatchClass: UInt8, Sendable, CaseIterable {
    case falling, rising, rateBelowHigh, rateAboveLow, amountBelowHigh, amountAboveLow

    var sign: Int64 {
        switch self {
        case .falling, .rateBelowHigh, .amountBelowHigh: 1
        case .rising, .rateAboveLow, .amountAboveLow: -1
        }
    }
}

/// A watch that a tick reached. It has left the index.
public struct Crossing: Hashable, Sendable {
    /// The caller's number, as armed.
    public let tag: UInt64
    /// Stale by now; names the watch.
    public let handle: WatchHandle
    /// The threshold that the price reached.
    public let threshold: Int64
    /// The extreme before this tick. Nil for a fixed watch.
    public let extreme: Int64?
}

/// Exact thresholds of trailing watches on the price grid of one market.
public struct TrailingRule: Hashable, Sendable {
    /// The tick size in price units, at least 1.
    public let tickUnits: Int64

    public init(tickUnits: Int64) {
        precondition(tickUnits > 0, "the tick size is positive")
        self.tickUnits = tickUnits
    }

    /// The threshold below a high: extreme less callback, up to the tick. May be 0 or less, which no price reaches.
    public func threshold(below extreme: Int64, _ callback: CallbackUnits) -> Int64 {
        switch callback {
        case .rate(let millionths): mirroredThreshold(extreme, rate: Int64(millionths))
        case .amount(let amount): mirroredThreshold(extreme, amount: amount)
        }
    }

    /// The threshold above a low: extreme plus callback, down to the tick. `Int64.max` when it is beyond all prices.
    public func threshold(above extreme: Int64, _ callback: CallbackUnits) -> Int64 {
        switch callback {
        case .rate(let millionths): -mirroredThreshold(-extreme, rate: Int64(millionths))
        case .amount(let amount): -mirroredThreshold(-extreme, amount: amount)
        }
    }

    /// ceil(extreme - |extreme| x rate) to the tick. For a low the caller negates extreme and result:
    /// -ceil(-low - low x rate) = floor(low x (1 + rate)).
    @inline(__always)
    func mirroredThreshold(_ extreme: Int64, rate: Int64) -> Int64 {
        let (product, overflows) = abs(extreme).multipliedReportingOverflow(by: rate)
        guard !overflows else { return wideThreshold(extreme, rate: rate) }
        // The floor of what is taken off is the ceiling of what stays, and ceilings nest.
        let (level, underflows) = extreme.subtractingReportingOverflow(product / 1_000_000)
        return underflows ? -Int64.max : ceilingToTick(level)
    }

    @inline(__always)
    func mirroredThreshold(_ extreme: Int64, amount: Int64) -> Int64 {
        let (level, underflows) = extreme.subtractingReportingOverflow(amount)
        return underflows ? -Int64.max : ceilingToTick(level)
    }

    @inline(never)
    private func wideThreshold(_ extreme: Int64, rate: Int64) -> Int64 {
        let distance = Int128(abs(extreme)) * Int128(rate) / 1_000_000
        let level = Int128(extreme) - distance
        return level < Int128(-Int64.max) ? -Int64.max : ceilingToTick(Int64(level))
    }

    /// Up to a multiple of the tick. A level so low that its multiple is out of range is reached by no price anyway,
    /// and one so high cannot come from a price in range.
    @inline(__always)
    private func ceilingToTick(_ level: Int64) -> Int64 {
        if tickUnits == 1 { return level }
        let remainder = level % tickUnits
        return remainder > 0 ? level + (tickUnits - remainder) : level - remainder
    }
}
