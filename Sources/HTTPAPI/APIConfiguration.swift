// What an API process is told, and what it asks others about itself.

public import OrderEngine
public import SmartOrders

/// Settings of one API process. The defaults are those of INTERFACES.md 1.8, 2.5 and 4.6.
public struct APIConfiguration: Sendable {
    public struct Version: Sendable {
        public var version: String
        public var commit: String
        public var swift: String
        public var builtAt: String

        public init(version: String, commit: String = "", swift: String = "", builtAt: String = "") {
            self.version = version
            self.commit = commit
            self.swift = swift
            self.builtAt = builtAt
        }
    }

    public var host: String
    /// 0: any free port.
    public var port: Int
    /// Origin under which browsers reach this server, for example `https://orders.example`; nil: no browser does.
    public var publicURL: String?
    /// Further origins whose pages may use API keys here and open the stream; never with cookies.
    public var corsOrigins: [String] = []
    /// Addresses (CIDR) of proxies that are believed about whom they serve.
    public var trustedProxies: [String] = []
    public var version: Version
    /// Number of the database's history as the process begins; part of every stream position.
    public var epoch: Int64
    /// Asks the database for it: a restore or a failover begins another. Nil: it stays.
    public var presentEpoch: (@Sendable () async throws -> Int64)?
    /// Signs list cursors. All API processes of a deployment have the same; at least 32 bytes.
    public var cursorKey: [UInt8]
    /// Whether `/metrics`, `/startupz`, `/version` and the details of `/readyz` are on this port too.
    public var showsOperations: Bool
    /// Whether `/readyz` and `/startupz` say what is wrong, in the words of the database: not to everybody.
    public var showsDetails = true

    /// Seals a venue key for an account to the workers' public key; nil: this process takes none.
    public var sealIntake: (@Sendable (_ credentials: Credentials, _ account: AccountID) throws -> [UInt8])?

    /// Seals a webhook's secret to the workers' public key; nil: this process makes none.
    public var sealSecret: (@Sendable (_ secret: [UInt8], _ webhook: UniqueID) throws -> [UInt8])?
    /// Whether webhooks without TLS and at private addresses are taken: the workers may ask those on an allow-list.
    public var webhooksMayBePlain = false

    /// One effective setting of the process, as administrators see it: secrets are `***`.
    public struct Setting: Hashable, Sendable {
        public let name: String
        public let value: String
        /// `default`, `environment`, `flag`.
        public let origin: String
        public init(name: String, value: String, origin: String) {
            self.name = name
            self.value = value
            self.origin = origin
        }
    }
    public var settings: [Setting] = []

    /// An administrator must let an account trade live (`live.approval`).
    public var liveNeedsApproval = false

    public var limits = Limits()
    public var stream = StreamLimits()
    /// How long `/readyz` answers 503 before connections are refused.
    public var drainDelayMs: Int64 = 2_000
    /// How long requests in work may take after that.
    public var drainLimitMs: Int64 = 5_000

    public init(
        host: String = "127.0.0.1",
        port: Int = 8080,
        publicURL: String? = nil,
        version: Version = Version(version: "0"),
        epoch: Int64 = 1,
        cursorKey: [UInt8],
        showsOperations: Bool = false,
    ) {
        precondition(cursorKey.count >= 32, "the cursor key has at least 32 bytes")
        self.host = host
        self.port = port
        self.publicURL = publicURL
        self.version = version
        self.epoch = epoch
        self.cursorKey = cursorKey
        self.showsOperations = showsOperations
    }

    /// Bounds of plain requests.
    public struct Limits: Sendable {
        public var bodyBytes = 64 << 10
        public var bodyDepth = 16
        /// Of one array in a body.
        public var bodyElements = 100
        public var targetBytes = 8 << 10
        public var headerBytes = 16 << 10
        public var headerFields = 100
        /// A request that takes longer is answered with `TIMEOUT`.
        public var deadlineMs: Int64 = 5_000
        public var maximumInFlight = 1_024
        /// Places beyond that, for requests that only take risk away.
        public var reservedForProtection = 128
        public var maximumConnections = 10_000
        /// Of one client address. Of a client behind a proxy of ours its requests in work count: a proxy's connections
        /// serve many.
        public var connectionsPerAddress = 200
        public var idleMs: Int64 = 30_000
        /// How long the body of a refused request is read over; one that goes on ends its connection.
        public var leftoverMs: Int64 = 1_000
        /// A connection that has not shown its first request's header by then is closed, and one of whose next request's
        /// header only a part has come for so long.
        public var headerMs: Int64 = 10_000
        /// How long a verified key is believed; with `recheckMs` of the stream less than 5 s, after which a revoked one has
        /// no effect anywhere.
        public var keyCacheMs: Int64 = 2_000
        /// How long after a halt an order that was on its way may still appear among the open ones.
        public var haltLookMs: Int64 = 2_000
        public var rates = RatePolicy.allCases.map(\.quota)
        public init() {}
    }

    /// Bounds of the stream (INTERFACES.md 2.5).
    public struct StreamLimits: Sendable {
        public var pollMs: Int64 = 250
        public var heartbeatMs: Int64 = 5_000
        public var authenticateMs: Int64 = 10_000
        /// A socket that took nothing of what was written for so long is closed, a stream with 4008.
        public var stuckMs: Int64 = 10_000
        public var pingMs: Int64 = 20_000
        public var storeAwayMs: Int64 = 10_000
        public var recheckMs: Int64 = 2_500
        /// How often the database is asked whose history it is.
        public var epochMs: Int64 = 1_000
        public var closeGraceMs: Int64 = 1_000
        public var clientFrameBytes = 4 << 10
        public var framesPerSecond = 20
        public var frameBurst = 40
        public var subscriptions = 32
        public var connectionsPerKey = 20
        /// Streams of one client address, also of one behind a proxy of ours.
        public var connectionsPerAddress = 100
        /// Events that a reader may be behind.
        public var window: Int64 = 100_000
        /// Events in memory per subscribed account.
        public var ring = 1_000
        public var writeBufferBytes = 64 << 10
        /// Socket send buffer; nil: the system's. For tests of slow readers.
        public var socketBufferBytes: Int?
        public init() {}
    }
}

/// What one check of `/readyz` found.
public struct ReadinessCheck: Sendable {
    public var name: String
    public var isOK: Bool
    public var milliseconds: Int64
    public var detail: String
    public var fix: String
    /// A failing check that is not fatal makes the answer `degraded`, not 503.
    public var isFatal: Bool

    public init(
        name: String,
        isOK: Bool,
        milliseconds: Int64 = 0,
        detail: String = "",
        fix: String = "",
        isFatal: Bool = true,
    ) {
        self.name = name
        self.isOK = isOK
        self.milliseconds = milliseconds
        self.detail = detail
        self.fix = fix
        self.isFatal = isFatal
    }
}
