// When "the venue does not know this order" is a proof (RELIABILITY.md 2.7).
//
// The class is a property of venue and product, known before anything is sent there: window and fence follow from it.
public import SmartOrders

/// What a venue does with a request that comes late, or twice.
public struct VenueClass: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// It refuses a request after its signed window: absence is conclusive after the fence.
        case deadline = "D"
        /// The same id returns the first order: the same request again is the look-up, until its authentication expires.
        case repeatable = "R"
        /// Neither. Absence counts for reduce-only exits on derivatives alone, with a second witness: a late twin cannot
        /// take more than the position has.
        case neither = "N"
    }
    public let kind: Kind
    /// Look-ups by id may miss orders that were executed: executions and holdings have to agree with an absence.
    public let needsWitness: Bool
    /// How long after T0 the venue can take a request.
    public let windowMs: Int64
    /// How long the engine may hold what it took.
    public let engineBoundMs: Int64

    private init(_ kind: Kind, windowMs: Int64, engineBoundMs: Int64, needsWitness: Bool) {
        self.kind = kind
        self.windowMs = windowMs
        self.engineBoundMs = engineBoundMs
        self.needsWitness = needsWitness
    }

    public static func deadline(engineBoundMs: Int64 = 10_000, needsWitness: Bool = false) -> VenueClass {
        VenueClass(.deadline, windowMs: 2_000, engineBoundMs: engineBoundMs, needsWitness: needsWitness)
    }

    /// - Parameter expiryMs: how long its authentication makes a request valid.
    public static func repeatable(expiryMs: Int64 = 120_000) -> VenueClass {
        VenueClass(.repeatable, windowMs: expiryMs, engineBoundMs: 10_000, needsWitness: false)
    }

    /// The client's timeout and 30 s take the place of a window.
    public static let neither = VenueClass(.neither, windowMs: 33_000, engineBoundMs: 10_000, needsWitness: true)

    private static let futureToleranceMs: Int64 = 1_000
    private static let queryLagMs: Int64 = 2_000
    private static let clockUncertaintyMs: Int64 = 500

    /// From the commit until an absence can count (2.4).
    public var fenceMs: Int64 {
        windowMs + Self.futureToleranceMs + engineBoundMs + Self.queryLagMs + Self.clockUncertaintyMs
    }
}

/// One execution of the account, whoever asked for it.
public struct VenueExecution: Hashable, Sendable {
    public let venueOrderID: String
    public let side: Side
    public let quantity: Quantity

    public init(venueOrderID: String, side: Side, quantity: Quantity) {
        self.venueOrderID = venueOrderID
        self.side = side
        self.quantity = quantity
    }
}

extension Venue {
    /// What most venues are.
    public var venueClass: VenueClass { .deadline() }
    /// Nobody can say.
    public func executions(market: MarketID, since: Timestamp) async -> [VenueExecution]? { nil }
    /// Nothing.
    public var trouble: Set<Attention> { [] }
    /// A request leaves this long after its T0 at most, whatever the venue would still take.
    var patienceMs: Int64 { min(windowMs, 2_000) }
}
