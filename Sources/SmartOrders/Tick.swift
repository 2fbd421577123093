// Prices of a market, and where in the market's history they stand.

/// Which price of a market a trigger compares with (ORDERS.md 4.3).
public enum TriggerSource: String, Hashable, Sendable, CaseIterable {
    case last, mark, index, bid, ask
}

/// A point in the price history of one market and source. Made by the feed, not by Redis, so it survives both.
///
/// Ordered by venue time, then by sequence (trade id, row number, or a counter of the feed).
public struct TickPosition: Hashable, Comparable, Sendable {
    /// Microseconds since 1970, the venue's clock.
    public let venueTime: Int64
    public let sequence: Int64

    public static let start = TickPosition(venueTime: 0, sequence: -1)

    public init(venueTime: Int64, sequence: Int64) {
        self.venueTime = venueTime
        self.sequence = sequence
    }

    /// Behind every tick before that venue time and before every tick at it: no tick's own place.
    public static func before(ticksAt venueTime: Int64) -> TickPosition {
        TickPosition(venueTime: venueTime, sequence: -1)
    }

    /// A moment that was given as a time, such as a fill's: ticks may be on both sides of it, none is there.
    public var isBetweenTicks: Bool { sequence < 0 && self > .start }

    public static func < (left: TickPosition, right: TickPosition) -> Bool {
        (left.venueTime, left.sequence) < (right.venueTime, right.sequence)
    }
}

/// One price update.
public struct Tick: Hashable, Sendable {
    public let market: MarketID
    public let source: TriggerSource
    public let price: Price
    public let position: TickPosition

    public init(market: MarketID, source: TriggerSource, price: Price, position: TickPosition) {
        self.market = market
        self.source = source
        self.price = price
        self.position = position
    }
}

/// A moment of the system's time: microseconds since 1970. The core reads no clock; moments come in as arguments.
public struct Timestamp: Hashable, Comparable, Sendable {
    public let microseconds: Int64
    public init(microseconds: Int64) { self.microseconds = microseconds }
    public init(milliseconds: Int64) { microseconds = milliseconds * 1000 }
    public var milliseconds: Int64 { microseconds / 1000 }
    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.microseconds < right.microseconds }
    public func advanced(milliseconds: Int64) -> Timestamp {
        Timestamp(microseconds: microseconds + milliseconds * 1000)
    }
}
