// The way in for venue keys: an API process hands over what it sealed to the workers and cannot read itself
// (RELIABILITY.md 10.3).
public import SmartOrders

public enum IntakeOutcome: Hashable, Sendable {
    case stored
    /// By the venue, or because the key may do what it must not.
    case refused(String)
    case unreachable(String)
}

/// What may be shown of a venue key.
public struct CredentialStatus: Hashable, Sendable {
    /// Of the public part.
    public let last4: String
    public let permissions: [String]
    /// When the venue was asked last.
    public let checkedAt: Timestamp?

    public init(last4: String, permissions: [String], checkedAt: Timestamp?) {
        self.last4 = last4
        self.permissions = permissions
        self.checkedAt = checkedAt
    }
}

public protocol CredentialIntake: Sendable {
    /// Hands over sealed bytes, or none to have the stored key checked. False: the account has another version.
    func submit(
        _ id: UniqueID,
        sealed: [UInt8],
        account: AccountID,
        version: Int64,
        audit: AuditLine,
    ) async throws(StoreError) -> Bool
    /// Nil: no worker has looked at it yet.
    func outcome(of id: UniqueID, account: AccountID) async throws(StoreError) -> IntakeOutcome?
    func status(of accounts: [AccountID]) async throws(StoreError) -> [AccountID: CredentialStatus]
    /// False: another version, or the account has open orders.
    func remove(_ account: AccountID, version: Int64, audit: AuditLine) async throws(StoreError) -> Bool
}
