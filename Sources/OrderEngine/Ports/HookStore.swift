// Secret links by which alerts come in, and the calls that came (INTERFACES.md 1.15).
//
// A call is a row before it is answered: whoever has its lease carries it out, so it survives the process that took it.
// Carrying it out twice does nothing the second time: its commands have idempotency keys made of its id.
public import SmartOrders

/// A link, bound to one account and one action.
public struct Hook: Hashable, Sendable {
    public enum Action: String, Hashable, Sendable, CaseIterable { case create, close, cancel, openNow, moveStop }

    public let id: UniqueID
    public let account: AccountID
    /// The account's when the link was made: in the other one it does nothing (INTERFACES.md 1.2).
    public let mode: Account.Mode
    public let user: UniqueID
    /// SHA-256 of the token in lower-case hexadecimal.
    public let tokenHash: String
    public var label: String
    public let action: Action
    /// Of `create`.
    public let preset: UniqueID?
    /// Of the others: one order, or every order of a market.
    public let order: OrderID?
    public let market: MarketID?
    public var isEnabled: Bool
    /// CIDR blocks; empty: any address.
    public var ipAllow: [String]
    /// Nil: only the rate of the route bounds it.
    public var maximumPerHour: Int?
    public var expiresAt: Timestamp?
    /// SHA-256 of what the body must say; nil: nothing.
    public var passphraseHash: String?
    public let createdAt: Timestamp
    public let lastCallAt: Timestamp?
    public let isDeleted: Bool

    public init(
        id: UniqueID,
        account: AccountID,
        mode: Account.Mode,
        user: UniqueID,
        tokenHash: String,
        label: String,
        action: Action,
        preset: UniqueID?,
        order: OrderID?,
        market: MarketID?,
        isEnabled: Bool = true,
        ipAllow: [String] = [],
        maximumPerHour: Int? = nil,
        expiresAt: Timestamp? = nil,
        passphraseHash: String? = nil,
        createdAt: Timestamp,
        lastCallAt: Timestamp? = nil,
        isDeleted: Bool = false,
    ) {
        self.id = id
        self.account = account
        self.mode = mode
        self.user = user
        self.tokenHash = tokenHash
        self.label = label
        self.action = action
        self.preset = preset
        self.order = order
        self.market = market
        self.isEnabled = isEnabled
        self.ipAllow = ipAllow
        self.maximumPerHour = maximumPerHour
        self.expiresAt = expiresAt
        self.passphraseHash = passphraseHash
        self.createdAt = createdAt
        self.lastCallAt = lastCallAt
        self.isDeleted = isDeleted
    }
}

/// One call of a link.
public struct HookCall: Hashable, Sendable {
    public enum Outcome: String, Hashable, Sendable {
        /// Not carried out yet.
        case received = "RECEIVED"
        case done = "DONE"
        /// A rule refused it.
        case refused = "REFUSED"
        /// It could not be carried out.
        case failed = "FAILED"
    }

    public let id: UniqueID
    public let hook: UniqueID
    public let account: AccountID
    public let at: Timestamp
    public let address: String
    /// Text, at most 16 KiB.
    public let body: String
    public var outcome: Outcome
    public var code: String?
    public var detail: String
    /// The order that it made or touched, when it is one.
    public var order: OrderID?
    public let tries: Int

    public init(
        id: UniqueID,
        hook: UniqueID,
        account: AccountID,
        at: Timestamp,
        address: String,
        body: String,
        outcome: Outcome = .received,
        code: String? = nil,
        detail: String = "",
        order: OrderID? = nil,
        tries: Int = 0,
    ) {
        self.id = id
        self.hook = hook
        self.account = account
        self.at = at
        self.address = address
        self.body = body
        self.outcome = outcome
        self.code = code
        self.detail = detail
        self.order = order
        self.tries = tries
    }
}

/// What became of a call at the door.
public enum HookReceipt: Hashable, Sendable { case taken, duplicate, tooMany }

public protocol HookStore: Sendable {
    /// Those that are not deleted, newest first.
    func hooks(of accounts: [AccountID]) async throws(StoreError) -> [Hook]
    /// At most 100 a user: nil beyond.
    func add(_ hook: Hook, audit: AuditLine, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome?
    /// What is variable of it. False: no such link.
    func update(_ hook: Hook, audit: AuditLine) async throws(StoreError) -> Bool
    func deleteHook(_ id: UniqueID, of accounts: [AccountID], audit: AuditLine) async throws(StoreError) -> Bool
    /// Also one that is deleted: the caller says so.
    func hook(tokenHash: String) async throws(StoreError) -> Hook?
    /// Takes a call once.
    /// - Parameters:
    ///   - name: calls of one name are one call: for ever, or within 60 s.
    ///   - isForEver: the caller named it.
    func receive(
        _ call: HookCall,
        of hook: Hook,
        name: String,
        isForEver: Bool,
    ) async throws(StoreError) -> HookReceipt
    /// Newest first.
    func calls(
        of hook: UniqueID,
        accounts: [AccountID],
        before: UniqueID?,
        limit: Int,
    ) async throws(StoreError) -> [HookCall]
    /// A call that nobody works on, leased for 10 s.
    func takeCall() async throws(StoreError) -> HookCall?
    /// The link of a call.
    func hook(_ id: UniqueID, of account: AccountID) async throws(StoreError) -> Hook?
    /// Stores what became of it; one that is still `received` is free again after a second.
    func settle(_ call: HookCall) async throws(StoreError)
}
