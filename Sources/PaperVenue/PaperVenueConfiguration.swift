// How a paper venue is set up. Everything here is fixed for the life of the process; what changes while it runs goes
// through the control endpoint (`PaperControl`).

internal import JSONText
public import SmartOrders

public struct PaperVenueConfiguration: Sendable {
    /// An API key that the venue knows.
    public struct Credential: Hashable, Sendable {
        public var key: String
        public var secret: String
        /// Such keys exist, and no program that trades should hold one.
        public var mayWithdraw: Bool
        public init(key: String, secret: String, mayWithdraw: Bool = false) {
            self.key = key
            self.secret = secret
            self.mayWithdraw = mayWithdraw
        }
    }

    /// When a client order id may be used again.
    public enum ClientIDRule: String, Hashable, Sendable {
        /// As Binance: refused while an order with it is open.
        case openOrders
        case forever
        case notEnforced
        /// As Coinbase: a repeated id answers with the first order and makes no second one.
        case returnsFirst
    }

    /// What a request's window is good for.
    public enum DeadlineRule: String, Hashable, Sendable {
        /// Refused when it is over, at the gateway and before the engine.
        case enforced
        /// Nothing: a late order is taken.
        case ignored
    }

    /// What happens to a reduce-only order that is larger than the position.
    public enum ReduceOnlyRule: String, Hashable, Sendable {
        /// It executes up to the position; the rest expires.
        case clamp
        /// Refused with -4118, counting the reduce-only orders that rest already.
        case refuse
    }

    /// Which codes the filters of linear markets answer with.
    public enum FilterCodes: String, Hashable, Sendable {
        /// -1013 with the filter's name on both products, as FACTS.md 8 lists them.
        case filterName
        /// USD-M's own -4xxx codes.
        case native
    }

    /// In which coin a spot buy pays its fee.
    public enum SpotFeeAsset: String, Hashable, Sendable {
        /// The coin received, as Binance without a fee coin.
        case received
        case quote
    }

    /// When the log reaches the disk. It reaches the kernel before the answer leaves, in every mode.
    public enum Durability: String, Hashable, Sendable {
        /// Survives the end of the process.
        case write
        /// Survives the end of the machine: one fsync per batch of answers.
        case fsync
    }

    public var host = "127.0.0.1"
    /// 0 takes a free port.
    public var port = 0
    public var markets: [PaperMarket] = PaperMarket.demo
    public var credentials: [Credential] = [Credential(key: "demo", secret: "demo-secret")]
    /// The secret of every key that `credentials` does not name; nil refuses unknown keys (-2015).
    public var defaultSecret: String?
    /// What each account starts with.
    public var spotBalances: [String: ExactDecimal] = ["USDT": ExactDecimal(1_000_000)]
    public var linearBalances: [String: ExactDecimal] = ["USDT": ExactDecimal(1_000_000)]
    public var leverage = 20
    /// Accounts start with a position for each side.
    public var hedgeMode = false
    public var clientIDs = ClientIDRule.openOrders
    /// Of orders; other requests always have a window.
    public var deadlines = DeadlineRule.enforced
    public var reduceOnly = ReduceOnlyRule.clamp
    public var filterCodes = FilterCodes.filterName
    public var spotFeeAsset = SpotFeeAsset.received
    /// The append-only log; nil keeps nothing and starts empty.
    public var logPath: String?
    /// A file for every tick that is fed, beside the log; nil keeps none.
    public var ticksPath: String?
    public var durability = Durability.write
    /// Whether requests that change nothing are logged too.
    public var logsReads = true
    /// A JSON file of control settings, read again whenever it changes.
    public var controlPath: String?
    /// Of the latencies and of the faults.
    public var seed: UInt64 = 1
    /// Median of the time from arrival to the matching engine, microseconds; 0 is at once. Spread is log-normal-like.
    public var latencyMicroseconds: Int64 = 0
    /// Requests of one key per minute before -1003; 0 is unlimited.
    public var requestsPerMinute = 0

    public init() {}
}

extension PaperVenueConfiguration {
    private static let keys: Set<String> = [
        "host", "port", "markets", "credentials", "defaultSecret", "spotBalances", "linearBalances", "leverage",
        "hedgeMode", "clientIds", "deadlines", "reduceOnly", "filterCodes", "spotFeeAsset", "logPath", "durability",
        "logReads",
        "controlPath", "ticksPath", "seed", "latencyUs", "requestsPerMinute",
    ]

    /// Reads a configuration; absent keys keep their defaults, unknown keys are refused.
    public init(json bytes: [UInt8]) throws {
        let field = JSONField(try JSONValue(parsing: bytes))
        try field.refuseUnknownKeys(except: Self.keys)
        if let value = try field.optional("host") { host = try value.string() }
        if let value = try field.optional("port") { port = try value.int() }
        if let value = try field.optional("markets") {
            markets = []
            for element in try value.elements() { markets.append(try PaperMarket(element)) }
        }
        if let value = try field.optional("credentials") {
            credentials = []
            for element in try value.elements() {
                credentials.append(
                    Credential(
                        key: try element.string("key"),
                        secret: try element.string("secret"),
                        mayWithdraw: try element.optional("mayWithdraw")?.bool() ?? false,
                    )
                )
            }
        }
        if let value = try field.optional("defaultSecret") { defaultSecret = try value.string() }
        if let value = try field.optional("spotBalances") { spotBalances = try Self.amounts(value) }
        if let value = try field.optional("linearBalances") { linearBalances = try Self.amounts(value) }
        if let value = try field.optional("leverage") { leverage = try value.int() }
        if let value = try field.optional("hedgeMode") { hedgeMode = try value.bool() }
        if let value = try field.optional("clientIds") { clientIDs = try value.choice() }
        if let value = try field.optional("deadlines") { deadlines = try value.choice() }
        if let value = try field.optional("reduceOnly") { reduceOnly = try value.choice() }
        if let value = try field.optional("filterCodes") { filterCodes = try value.choice() }
        if let value = try field.optional("spotFeeAsset") { spotFeeAsset = try value.choice() }
        if let value = try field.optional("logPath") { logPath = try value.string() }
        if let value = try field.optional("ticksPath") { ticksPath = try value.string() }
        if let value = try field.optional("durability") { durability = try value.choice() }
        if let value = try field.optional("logReads") { logsReads = try value.bool() }
        if let value = try field.optional("controlPath") { controlPath = try value.string() }
        if let value = try field.optional("seed") { seed = UInt64(bitPattern: try value.int64()) }
        if let value = try field.optional("latencyUs") { latencyMicroseconds = try value.int64() }
        if let value = try field.optional("requestsPerMinute") { requestsPerMinute = try value.int() }
    }

    private static func amounts(_ field: JSONField) throws(JSONError) -> [String: ExactDecimal] {
        var amounts: [String: ExactDecimal] = [:]
        for member in try field.object().members { amounts[member.key] = try field.decimal(member.key) }
        return amounts
    }
}
