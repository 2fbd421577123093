// What operators read and do beside the cluster itself (INTERFACES.md 4.12; ClusterControl.swift): of every account, never
// a secret.
//
// A list is JSON text, one object per row, in the words of the API. An action stands in one transaction with its line of
// the audit and the answer that is kept for its idempotency key.
public import SmartOrders

public enum OperatorList: String, Hashable, Sendable, CaseIterable {
    case feeds, gaps, outbox, accounts, orders, audit, users, keys, batches, stores, recovery, overview, venues
    case deadDeliveries = "dead_deliveries"
}

/// One row of a list.
public struct OperatorRow: Hashable, Sendable {
    /// An object.
    public let json: [UInt8]
    /// Its place: what comes after it in the list is read with this.
    public let key: String
    public init(json: [UInt8], key: String) {
        self.json = json
        self.key = key
    }
}

/// Who did what, why.
public struct OperatorAudit: Hashable, Sendable {
    public enum Door: String, Hashable, Sendable { case cli, api, board }

    public let actor: String
    public let door: Door
    public let action: String
    public let target: String
    public var count: Int64
    public let reason: String
    /// JSON; nil: nothing to say.
    public var before: [UInt8]?
    public var after: [UInt8]?
    public let requestID: String

    public init(
        actor: String,
        door: Door,
        action: String,
        target: String,
        count: Int64 = 1,
        reason: String,
        before: [UInt8]? = nil,
        after: [UInt8]? = nil,
        requestID: String,
    ) {
        self.actor = actor
        self.door = door
        self.action = action
        self.target = target
        self.count = count
        self.reason = reason
        self.before = before
        self.after = after
        self.requestID = requestID
    }
}

public enum OperatorAction: Hashable, Sendable {
    case flushOutbox
    /// Nil: of all endpoints.
    case resendDead(webhook: UniqueID?)
    case addUser(User)
    case changeUser(UniqueID, AccountStanding.Tier?, [User.Role]?)
    case noteDeadGroup(code: String, note: String)
    case cancelBatch(String)
    /// The accounts of a copied database trade again.
    case confirmRecovery
    /// Nothing of its own: what was done stands elsewhere.
    case note
}

/// What recomputing the audit's chain came to.
public struct AuditVerdict: Hashable, Sendable {
    public let lines: Int64
    /// Place of the first line that does not fit; nil: all do.
    public let broken: Int64?
    public init(lines: Int64, broken: Int64?) {
        self.lines = lines
        self.broken = broken
    }
}

public protocol OperatorStore: Sendable {
    /// - Parameters:
    ///   - subject: an id or a word that the list is about; nil: all.
    ///   - after: key of the row that the page before ended with; nil: from the beginning.
    func rows(
        _ list: OperatorList,
        subject: String?,
        after: String?,
        limit: Int,
    ) async throws(StoreError) -> [OperatorRow]
    func act(
        _ action: OperatorAction,
        audit: OperatorAudit,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome
    /// The same without an answer that is kept.
    func act(_ action: OperatorAction, audit: OperatorAudit) async throws(StoreError)
    /// Keeps the answer of something that was done already, and that may be done twice.
    func keep(_ answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome
    func verifyAudit() async throws(StoreError) -> AuditVerdict
    func account(of order: OrderID) async throws(StoreError) -> AccountID?
    func account(_ id: AccountID) async throws(StoreError) -> Account?
    /// The version for which an account waits for approval.
    func liveRequest(of account: AccountID) async throws(StoreError) -> Int64?
}
