// What an account may do now: whose it is, whether it is halted, whether the venue takes its key.
public import SmartOrders

/// What stands between an account and new exposure. Nothing of it ever stands between a trader and less risk.
public struct AccountStanding: Hashable, Sendable {
    public enum Tier: String, Hashable, Sendable, CaseIterable { case free = "FREE", pro = "PRO" }
    public enum VenueKey: String, Hashable, Sendable {
        case usable
        case missing
        /// The venue refused it, or it may withdraw.
        case refused
    }

    /// The strictest halt that applies.
    public struct Halt: Hashable, Sendable {
        public enum Level: String, Hashable, Sendable { case entries, sends }
        public let level: Level
        /// `cluster`, `venue`, `market`, `account` or `order`.
        public let scope: String
        public let reason: String
        public let since: Timestamp

        public init(level: Level, scope: String, reason: String, since: Timestamp) {
            self.level = level
            self.scope = scope
            self.reason = reason
            self.since = since
        }
    }

    public var tier: Tier
    public var venueKey: VenueKey
    public var openOrders: Int
    public var maximumOpenOrders: Int
    public var halt: Halt?
    /// The open order that has the client order id that was asked about.
    public var sameClientOrderID: OrderID?
    /// Conditional legs of live orders in the market that was asked about; nil: the store of orders has to be asked. This and
    /// `openOrders` may be more than there are, where that is still less than an account may have.
    public var activeLegs: Int?
    /// A lost history left orders of it that were not all compared with their venue yet: nothing new is taken meanwhile.
    public var isRecovering = false

    public init(
        tier: Tier = .pro,
        venueKey: VenueKey = .usable,
        openOrders: Int = 0,
        maximumOpenOrders: Int = 10_000,
        halt: Halt? = nil,
        sameClientOrderID: OrderID? = nil,
        activeLegs: Int? = nil,
    ) {
        self.tier = tier
        self.venueKey = venueKey
        self.openOrders = openOrders
        self.maximumOpenOrders = maximumOpenOrders
        self.halt = halt
        self.sameClientOrderID = sameClientOrderID
        self.activeLegs = activeLegs
    }
}

/// What is read of an account and a market before an order is created there.
public struct AccountOpening: Sendable {
    public let account: Account
    public let standing: AccountStanding
    /// Nil: it is not in the catalogue.
    public let instrument: Instrument?
    /// Whose the market's position is; nil: the store of orders has to be asked.
    public let sides: PositionSides?

    public init(
        account: Account,
        standing: AccountStanding,
        instrument: Instrument?,
        sides: PositionSides? = nil,
    ) {
        self.account = account
        self.standing = standing
        self.instrument = instrument
        self.sides = sides
    }
}

extension AccountStanding {
    /// Why the account may not take new exposure now; all reasons.
    func refusals(of account: Account, isLiveEnabled: Bool, tierIsNeeded: Bool = true) -> [Refusal] {
        var refusals: [Refusal] = []
        if tierIsNeeded, tier == .free {
            refusals.append(Refusal(.tierRequired, "Smart orders need the PRO tier."))
        }
        if account.mode == .live, !isLiveEnabled {
            refusals.append(Refusal(.liveDisabled, "This server does not trade live: set `live.enabled`."))
        }
        if let halt { refusals.append(halt.refusal) }
        switch venueKey {
        case .usable: break
        case .missing:
            refusals.append(Refusal(.credentialsMissing, "The account has no venue key: store one first."))
        case .refused:
            refusals.append(Refusal(.credentialsRefused, "The venue refuses the account's key: store another one."))
        }
        return refusals
    }

    /// Why the account may not be switched to live trading (INTERFACES.md 1.3).
    public func refusals(goingLive account: Account, isLiveEnabled: Bool) -> [Refusal] {
        var live = self
        live.halt = nil
        let wanted = Account(
            id: account.id,
            name: account.name,
            venue: account.venue,
            product: account.product,
            mode: .live,
        )
        return live.refusals(of: wanted, isLiveEnabled: isLiveEnabled)
    }

    /// Why one more order may not be opened.
    /// - Parameter tierIsNeeded: conditional orders need none (INTERFACES.md 1.3).
    func refusals(
        opening name: String?,
        on account: Account,
        isLiveEnabled: Bool,
        tierIsNeeded: Bool = true,
    ) -> [Refusal] {
        var refusals = refusals(of: account, isLiveEnabled: isLiveEnabled, tierIsNeeded: tierIsNeeded)
        if openOrders >= maximumOpenOrders {
            refusals.append(
                Refusal(
                    .orderLimit,
                    "The account has \(openOrders) open orders, which is its limit.",
                    ["limit": .count(maximumOpenOrders)],
                )
            )
        }
        if let sameClientOrderID {
            refusals.append(.sameClientOrderID(name, sameClientOrderID))
        }
        return refusals
    }
}

extension AccountStanding.Halt {
    var refusal: Refusal {
        Refusal(
            .accountHalted,
            "A halt (\(level.rawValue), \(scope)) since \(since): \(reason).",
            [
                "level": .text(level.rawValue), "scope": .text(scope), "since": .time(since), "reason": .text(reason),
            ],
        )
    }
}

extension Refusal {
    static func sameClientOrderID(_ name: String?, _ order: OrderID?) -> Refusal {
        let holder = order.map { ": order \($0)" } ?? ""
        return Refusal(
            .clientOrderIDInUse,
            field: "clientOrderId",
            "An open order of the account has the id \(name ?? "") already\(holder).",
            ["orderId": order.map { .text($0.description) } ?? .none],
        )
    }
}

extension [Refusal] {
    /// In the order in which they are told: that of the table of codes (ORDERS.md 5.4).
    func inTableOrder() -> [Refusal] {
        let places = Dictionary(uniqueKeysWithValues: RefusalCode.allCases.enumerated().map { ($1, $0) })
        return enumerated().sorted { left, right in
            (places[left.element.code] ?? 0, left.offset) < (places[right.element.code] ?? 0, right.offset)
        }.map(\.element)
    }
}

extension Instrument {
    /// Sources that the market can publish: spot has neither a mark nor an index price (ORDERS.md 4.3).
    public var publishedSources: [TriggerSource] { kind.isDerivative ? TriggerSource.allCases : [.last, .bid, .ask] }
}
