// What the HTTP API keeps beside orders: who may ask, notes, share links, batches, the trader's halt.
//
// Every call that concerns an account names it, or the set of accounts that the caller has: what is not in the set is
// not there.
public import SmartOrders

/// A person.
public struct User: Hashable, Sendable {
    public enum Role: String, Hashable, Sendable, CaseIterable {
        case trader = "TRADER"
        case viewer = "VIEWER"
        case `operator` = "OPERATOR"
        case admin = "ADMIN"
    }
    public let id: UniqueID
    public let name: String
    public let tier: AccountStanding.Tier
    public let roles: [Role]

    public init(id: UniqueID, name: String, tier: AccountStanding.Tier, roles: [Role]) {
        self.id = id
        self.name = name
        self.tier = tier
        self.roles = roles
    }
}

/// An API key as stored: never the key itself.
public struct APIKeyRecord: Hashable, Sendable {
    public enum Scope: String, Hashable, Sendable, CaseIterable { case read, trade, operate, admin }
    /// The public part: 12 characters.
    public let id: String
    /// SHA-256 of the whole key in lower-case hexadecimal.
    public let hash: String
    public let user: UniqueID
    public var label: String
    public let scopes: [Scope]
    /// Nil: all accounts of the user.
    public let accounts: [AccountID]?
    public let mode: Account.Mode
    /// CIDR blocks; empty: any address.
    public var ipAllow: [String]
    public var expiresAt: Timestamp?
    public var revokedAt: Timestamp?
    public let createdAt: Timestamp
    /// To the minute.
    public var lastUsedAt: Timestamp?

    public init(
        id: String,
        hash: String,
        user: UniqueID,
        label: String,
        scopes: [Scope],
        accounts: [AccountID]?,
        mode: Account.Mode,
        ipAllow: [String] = [],
        expiresAt: Timestamp? = nil,
        revokedAt: Timestamp? = nil,
        createdAt: Timestamp,
        lastUsedAt: Timestamp? = nil,
    ) {
        self.id = id
        self.hash = hash
        self.user = user
        self.label = label
        self.scopes = scopes
        self.accounts = accounts
        self.mode = mode
        self.ipAllow = ipAllow
        self.expiresAt = expiresAt
        self.revokedAt = revokedAt
        self.createdAt = createdAt
        self.lastUsedAt = lastUsedAt
    }
}

/// Whom a key stands for.
public struct KeyHolder: Hashable, Sendable {
    public let key: APIKeyRecord
    public let user: User
    /// The accounts that the key reaches, of either mode.
    public let accounts: [Account]

    public init(key: APIKeyRecord, user: User, accounts: [Account]) {
        self.key = key
        self.user = user
        self.accounts = accounts
    }
}

/// The stored answer of a command that is not on one order (INTERFACES.md 1.4).
public struct StoredAnswer: Hashable, Sendable {
    public let record: IdempotencyRecord
    public let status: Int
    /// Values of the headers that belong to the answer.
    public let entityTag: String?
    public let location: String?
    public let body: [UInt8]

    public init(
        record: IdempotencyRecord,
        status: Int,
        entityTag: String? = nil,
        location: String? = nil,
        body: [UInt8],
    ) {
        self.record = record
        self.status = status
        self.entityTag = entityTag
        self.location = location
        self.body = body
    }
}

/// A share link as stored: never its token.
public struct Share: Hashable, Sendable {
    public let id: UniqueID
    public let account: AccountID
    /// SHA-256 of the token in lower-case hexadecimal.
    public let tokenHash: String
    /// A draft without account, client order id and note; without quantity unless asked for.
    public let draft: [UInt8]
    public let market: MarketID
    public let referencePrice: Price?
    public let createdAt: Timestamp
    public let expiresAt: Timestamp
    public let isRevoked: Bool

    public init(
        id: UniqueID,
        account: AccountID,
        tokenHash: String,
        draft: [UInt8],
        market: MarketID,
        referencePrice: Price?,
        createdAt: Timestamp,
        expiresAt: Timestamp,
        isRevoked: Bool = false,
    ) {
        self.id = id
        self.account = account
        self.tokenHash = tokenHash
        self.draft = draft
        self.market = market
        self.referencePrice = referencePrice
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.isRevoked = isRevoked
    }
}

/// One command on many orders, each its own decision (ORDERS.md 5.3 `cancelAll`).
public struct Batch: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable { case cancelAll, halt, flatten, reconcile }
    public enum State: String, Hashable, Sendable { case running = "RUNNING", done = "DONE", cancelled = "CANCELLED" }

    public struct Failure: Hashable, Sendable {
        public let id: String
        public let code: String
        public init(id: String, code: String) {
            self.id = id
            self.code = code
        }
    }

    public let id: UniqueID
    public let account: AccountID
    public let kind: Kind
    /// What is still to be done. Ids, so that orders opened after the command are not touched by it.
    public var orders: [OrderID]
    public var state: State
    public var total: Int
    public var done: Int
    public var failures: [Failure]
    public let actor: Actor
    public let reason: String
    public let startedAt: Timestamp
    public var endedAt: Timestamp?

    public init(
        id: UniqueID,
        account: AccountID,
        kind: Kind,
        orders: [OrderID] = [],
        total: Int? = nil,
        actor: Actor,
        reason: String = "",
        startedAt: Timestamp,
    ) {
        self.id = id
        self.account = account
        self.kind = kind
        self.orders = orders
        state = .running
        self.total = total ?? orders.count
        done = 0
        failures = []
        self.actor = actor
        self.reason = reason
        self.startedAt = startedAt
    }
}

/// What became of a change that carries an answer.
public enum AnswerOutcome: Hashable, Sendable {
    case stored
    /// The key was used before: nothing changed, this is what was answered then.
    case known(StoredAnswer)
    /// The key's first request has not ended yet.
    case busy
}

public protocol TraderStore: Sendable {
    // Who.
    /// Also a key that is revoked or expired: the caller says so.
    func holder(keyHash: String) async throws(StoreError) -> KeyHolder?
    func keys(of user: UniqueID) async throws(StoreError) -> [APIKeyRecord]
    /// At most 50 living keys a user: nil beyond.
    func add(_ key: APIKeyRecord, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome?
    /// Label, addresses, expiry. False: no such key of the user.
    func update(_ key: APIKeyRecord) async throws(StoreError) -> Bool
    func revokeKey(_ id: String, of user: UniqueID) async throws(StoreError) -> Bool
    func noteUse(ofKeys hashes: [String]) async throws(StoreError)
    func accounts(of user: UniqueID) async throws(StoreError) -> [Account]

    // Answers.
    func answer(owner: String, key: String) async throws(StoreError) -> StoredAnswer?
    /// Keeps the answer of something that was done already, and that may be done twice.
    func keep(_ answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome

    // Notes: free text, no version. Those of orders that have none are left out.
    func notes(of orders: [OrderID]) async throws(StoreError) -> [OrderID: String]
    func setNote(_ text: String, order: OrderID, account: AccountID) async throws(StoreError)

    // Share links.
    func add(_ share: Share, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome
    /// Those that neither ended nor were revoked, newest first.
    func shares(of accounts: [AccountID]) async throws(StoreError) -> [Share]
    func share(tokenHash: String) async throws(StoreError) -> Share?
    func revokeShare(_ id: UniqueID, of accounts: [AccountID]) async throws(StoreError) -> Bool

    // Batches.
    func add(_ batch: Batch, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome
    func batch(_ id: UniqueID, of accounts: [AccountID]) async throws(StoreError) -> Batch?
    /// A running batch that nobody works on, leased for 5 s.
    func takeBatch() async throws(StoreError) -> Batch?
    /// Stores how far it is, and leases it on.
    /// False: it was ended meanwhile, and stays as it is.
    func save(_ batch: Batch) async throws(StoreError) -> Bool
    /// Ids of the account's orders that have not ended, oldest first, at most 10,000.
    func openOrders(of account: AccountID, market: MarketID?) async throws(StoreError) -> [OrderID]

    // The trader's halt.
    func halt(of account: AccountID) async throws(StoreError) -> AccountStanding.Halt?
    /// Sets a halt of level `entries`, stores the batch that goes with it and a line of the audit.
    func halt(
        _ account: AccountID,
        reason: String,
        actor: String,
        batch: Batch,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome
    /// Lifts the trader's own halt, with a line of the audit. An operator's stays.
    func resume(_ account: AccountID, actor: String) async throws(StoreError)

    /// How many orders of the accounts are in each status.
    func counts(of accounts: [AccountID]) async throws(StoreError) -> [OrderStatus: Int]
}
