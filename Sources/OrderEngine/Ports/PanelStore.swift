// What the panel keeps beside orders: sign-ins, preferences, presets, and the settings of accounts.
//
// Every call names the user or the account that it is for. Changes of accounts leave a line of the audit in the same
// transaction.
public import SmartOrders

/// A browser that is signed in. The cookie's value is never stored.
public struct SignIn: Hashable, Sendable {
    /// SHA-256 of the cookie's value in lower-case hexadecimal.
    public let tokenHash: String
    public let user: UniqueID
    /// The key that it began with and whose rights it has; nil: it began with a code and has those of the user's roles.
    public let keyHash: String?
    public let createdAt: Timestamp
    /// To the minute.
    public let usedAt: Timestamp

    public init(tokenHash: String, user: UniqueID, keyHash: String?, createdAt: Timestamp, usedAt: Timestamp) {
        self.tokenHash = tokenHash
        self.user = user
        self.keyHash = keyHash
        self.createdAt = createdAt
        self.usedAt = usedAt
    }
}

/// Opens one stream within 30 s, with the rights of whoever asked for it.
public struct StreamTicket: Hashable, Sendable {
    public enum Proof: String, Hashable, Sendable { case key, signIn }
    /// SHA-256 of the ticket in lower-case hexadecimal.
    public let hash: String
    public let proof: Proof
    /// Hash of the key or of the sign-in.
    public let proofHash: String

    public init(hash: String, proof: Proof, proofHash: String) {
        self.hash = hash
        self.proof = proof
        self.proofHash = proofHash
    }
}

/// A sign-in with whom it stands for.
public struct SignedIn: Hashable, Sendable {
    public let signIn: SignIn
    public let user: User
    /// All of the user's.
    public let accounts: [Account]

    public init(signIn: SignIn, user: User, accounts: [Account]) {
        self.signIn = signIn
        self.user = user
        self.accounts = accounts
    }
}

/// A named draft (INTERFACES.md 1.10).
public struct Preset: Hashable, Sendable {
    public let id: UniqueID
    public let user: UniqueID
    public var name: String
    /// A draft without account, market optional.
    public var draft: [UInt8]
    public let createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: UniqueID,
        user: UniqueID,
        name: String,
        draft: [UInt8],
        createdAt: Timestamp,
        updatedAt: Timestamp,
    ) {
        self.id = id
        self.user = user
        self.name = name
        self.draft = draft
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// What a trader sets of an account.
public struct AccountSettings: Hashable, Sendable {
    public let account: AccountID
    public var version: Int64
    public var name: String
    /// Of orders that name none; nil: the market's own default.
    public var triggerSource: TriggerSource?
    /// Most conditional legs per market (ORDERS.md R12.4).
    public var maximumConditionals: Int
    public let createdAt: Timestamp
    /// Callback rates that the account takes; nil: as wide as any (`Account.callbacks`).
    public var minimumCallback: Rate?
    public var maximumCallback: Rate?
    /// Whether dialogs ask before they do anything.
    public var isConfirmedByDefault = true
    /// Orders of it that a lost history left have not all been compared with their venue yet. Told, never set.
    public var isRecovering = false

    public init(
        account: AccountID,
        version: Int64,
        name: String,
        triggerSource: TriggerSource?,
        maximumConditionals: Int,
        createdAt: Timestamp,
    ) {
        self.account = account
        self.version = version
        self.name = name
        self.triggerSource = triggerSource
        self.maximumConditionals = maximumConditionals
        self.createdAt = createdAt
    }
}

/// Who changed an account, for the audit.
public struct AuditLine: Hashable, Sendable {
    public let actor: String
    public let action: String
    public let reason: String

    public init(actor: String, action: String, reason: String = "") {
        self.actor = actor
        self.action = action
        self.reason = reason
    }
}

public protocol PanelStore: Sendable {
    // Sign-ins.
    func begin(_ signIn: SignIn) async throws(StoreError)
    /// Nil: unknown, ended, 12 h without use, or 7 days old.
    func signedIn(tokenHash: String) async throws(StoreError) -> SignedIn?
    func end(signIn tokenHash: String) async throws(StoreError)
    func noteUse(ofSignIns tokenHashes: [String]) async throws(StoreError)
    /// Uses a one-time code up; nil: unknown, used, or older than 10 minutes.
    func redeem(codeHash: String) async throws(StoreError) -> UniqueID?

    // Stream tickets.
    func add(_ ticket: StreamTicket) async throws(StoreError)
    /// Uses a ticket up; nil: unknown, used, or older than 30 s.
    func redeem(ticketHash: String) async throws(StoreError) -> StreamTicket?

    // Preferences: a JSON object.
    func preferences(of user: UniqueID) async throws(StoreError) -> [UInt8]?
    func save(preferences: [UInt8], of user: UniqueID) async throws(StoreError)

    // Presets, newest first; at most 200 a user: nil beyond.
    func presets(of user: UniqueID) async throws(StoreError) -> [Preset]
    func add(_ preset: Preset, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome?
    /// Name and draft. False: no such preset of the user.
    func update(_ preset: Preset) async throws(StoreError) -> Bool
    func deletePreset(_ id: UniqueID, of user: UniqueID) async throws(StoreError) -> Bool

    // Accounts.
    func settings(of accounts: [AccountID]) async throws(StoreError) -> [AccountID: AccountSettings]
    /// A paper account of the user, without a venue key.
    func create(
        _ account: Account,
        of user: UniqueID,
        audit: AuditLine,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome
    /// Stores name, source and bound, if the version is still the one of `settings`. False: it is not.
    func update(_ settings: AccountSettings, audit: AuditLine) async throws(StoreError) -> Bool
    /// False: another version, or the account has open orders.
    func set(
        _ mode: Account.Mode,
        of account: AccountID,
        version: Int64,
        audit: AuditLine,
    ) async throws(StoreError) -> Bool
    /// Notes that the account waits for an administrator to let it trade live. False: another version.
    func requestLive(_ account: AccountID, version: Int64, audit: AuditLine) async throws(StoreError) -> Bool
    /// False: another version, or the account has open orders.
    func delete(_ account: AccountID, version: Int64, audit: AuditLine) async throws(StoreError) -> Bool
}
