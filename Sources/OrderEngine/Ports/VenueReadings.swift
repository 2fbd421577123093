// What a venue says of an account, for processes that hold no venue key (RELIABILITY.md 10.3): they store a question, a
// worker asks the venue and stores the answer.
//
// One row per account and question, so what was last known stays, with its time. Invariant: an answer of number n was
// begun after the n-th asking, so whoever asked n never sees anything older than his request, however many ask at once.
// Losing all of it costs one more question.
public import SmartOrders

public enum VenueQuestion: Hashable, Sendable {
    case balances
    case positions
    case openOrders
    /// An open limit order by the venue's own id.
    case resting(MarketID, venueOrderID: String)
}

public struct VenueBalance: Hashable, Sendable {
    public let asset: String
    public let free: ExactDecimal
    public let locked: ExactDecimal
    public init(asset: String, free: ExactDecimal, locked: ExactDecimal) {
        self.asset = asset
        self.free = free
        self.locked = locked
    }
}

public struct VenuePosition: Hashable, Sendable {
    /// What the venue tells beside quantity and average; nil: it does not.
    public struct Marks: Hashable, Sendable {
        public let mark: Price?
        public let unrealized: ExactDecimal?
        public let liquidation: Price?
        public init(mark: Price? = nil, unrealized: ExactDecimal? = nil, liquidation: Price? = nil) {
            self.mark = mark
            self.unrealized = unrealized
            self.liquidation = liquidation
        }
    }

    public let market: MarketID
    /// Nil: both directions are netted.
    public let side: Side?
    /// Signed.
    public let quantity: ExactDecimal
    public let average: Price?
    public let marks: Marks
    public init(market: MarketID, side: Side?, quantity: ExactDecimal, average: Price?, marks: Marks = Marks()) {
        self.market = market
        self.side = side
        self.quantity = quantity
        self.average = average
        self.marks = marks
    }
}

public struct VenueOpenOrder: Hashable, Sendable {
    public struct Prices: Hashable, Sendable {
        public let limit: Price?
        public let trigger: Price?
        public init(limit: Price? = nil, trigger: Price? = nil) {
            self.limit = limit
            self.trigger = trigger
        }
    }

    public let market: MarketID
    public let venueOrderID: String
    public let clientOrderID: String
    public let side: Side
    /// In the venue's word.
    public let type: String
    public let quantity: Quantity
    public let filled: Quantity
    public let prices: Prices
    public let reduceOnly: Bool
    /// A plain limit order that rests until it is cancelled: it can become an entry (ORDERS.md 6.1).
    public let isPlainLimit: Bool
    public init(
        market: MarketID,
        venueOrderID: String,
        clientOrderID: String,
        side: Side,
        type: String,
        quantity: Quantity,
        filled: Quantity,
        prices: Prices,
        reduceOnly: Bool,
        isPlainLimit: Bool,
    ) {
        self.market = market
        self.venueOrderID = venueOrderID
        self.clientOrderID = clientOrderID
        self.side = side
        self.type = type
        self.quantity = quantity
        self.filled = filled
        self.prices = prices
        self.reduceOnly = reduceOnly
        self.isPlainLimit = isPlainLimit
    }
}

public enum VenueReading: Hashable, Sendable {
    case balances([VenueBalance])
    /// Those that are not flat.
    case positions([VenuePosition], isHedged: Bool)
    case openOrders([VenueOpenOrder])
    case resting(RestingOrder?)
}

/// How far a question was answered.
public struct VenueAnswer: Hashable, Sendable {
    /// Of the newest asking that was answered, well or not; 0: none was.
    public let number: Int64
    /// Why that one has no reading of its own.
    public let failure: String?
    /// The last reading that there was, and the venue's time when it was begun.
    public let reading: VenueReading?
    public let asOf: Timestamp?
    public init(number: Int64, failure: String?, reading: VenueReading?, asOf: Timestamp?) {
        self.number = number
        self.failure = failure
        self.reading = reading
        self.asOf = asOf
    }
}

/// A question that waits for a worker.
public struct AskedVenue: Hashable, Sendable {
    public let account: AccountID
    public let question: VenueQuestion
    public let number: Int64
    public init(account: AccountID, question: VenueQuestion, number: Int64) {
        self.account = account
        self.question = question
        self.number = number
    }
}

/// The asking half.
public protocol VenueReadings: Sendable {
    /// Asks, and returns the asking's number.
    func ask(_ question: VenueQuestion, of account: AccountID) async throws(StoreError) -> Int64
    /// Nil: it was never asked.
    func answer(to question: VenueQuestion, of account: AccountID) async throws(StoreError) -> VenueAnswer?
}

/// The answering half.
public protocol VenueReadingWork: Sendable {
    /// Questions that wait, the oldest first, each leased for 5 s.
    func take(limit: Int) async throws(StoreError) -> [AskedVenue]
    func settle(_ asked: AskedVenue, _ reading: VenueReading, asOf: Timestamp) async throws(StoreError)
    func settle(_ asked: AskedVenue, failure: String) async throws(StoreError)
    /// Forgets what nobody asked for within a day.
    func purge() async throws(StoreError)
}
