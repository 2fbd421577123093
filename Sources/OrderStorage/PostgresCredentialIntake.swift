// Venue keys on their way in. An API process submits what it sealed and cannot read; a worker takes, checks, settles.
//
// A row holds its bytes until it is settled, at most 15 minutes. Only the worker's half works on a pool of the owner.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum IntakeSQL {
    static let file = StatementFile(PackageResources.credentials_sql, prefix: "credentials")
    static let submit = file["submit"]
    static let outcome = file["outcome"]
    static let status = file["status"]
    static let remove = file["remove"]
    static let take = file["take"]
    static let settle = file["settle"]
    static let checked = file["checked"]
    static let describe = file["describe"]
    static let raiseVersion = file["raise_version"]
    static let purge = file["purge"]
    static let changed = file["changed"]
}

/// What became of a venue key that was sent in.
public enum IntakeState: String, Hashable, Sendable {
    case waiting = "WAITING"
    case stored = "STORED"
    case refused = "REFUSED"
    case unreachable = "UNREACHABLE"
}

/// The rows of `credential_intakes`.
public final class PostgresCredentialIntake: CredentialIntake {
    private let pool: PostgresPool

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    // MARK: The API's half

    public func submit(
        _ id: UniqueID,
        sealed: [UInt8],
        account: AccountID,
        version: Int64,
        audit: AuditLine,
    ) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(id), .uuid(account.value), .bytes(sealed), .int8(version), .text(audit.actor), .text(audit.action),
            .text(audit.reason),
        ]
        return try await writing { try await !pool.query(IntakeSQL.submit, parameters).isEmpty }
    }

    public func outcome(of id: UniqueID, account: AccountID) async throws(StoreError) -> IntakeOutcome? {
        try await reading {
            let parameters: [Parameter] = [.uuid(id), .uuid(account.value)]
            guard let row = try await pool.query(IntakeSQL.outcome, parameters).first else { return nil }
            let detail = try row.string(1)
            return switch try row.word(0, IntakeState.self) {
            case .waiting: nil
            case .stored: .stored
            case .refused: .refused(detail)
            case .unreachable: .unreachable(detail)
            }
        }
    }

    public func status(of accounts: [AccountID]) async throws(StoreError) -> [AccountID: CredentialStatus] {
        try await reading {
            var found: [AccountID: CredentialStatus] = [:]
            for row in try await pool.query(IntakeSQL.status, [.uuids(accounts.lazy.map(\.value))]) {
                found[AccountID(try row.id(0))] = CredentialStatus(
                    last4: try row.string(1),
                    permissions: try row.string(2).split(separator: ",").map(String.init),
                    checkedAt: try row.momentOrNil(3),
                )
            }
            return found
        }
    }

    public func remove(_ account: AccountID, version: Int64, audit: AuditLine) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(account.value), .int8(version), .text(audit.actor), .text(audit.action), .text(audit.reason),
        ]
        return try await writing { try await !pool.query(IntakeSQL.remove, parameters).isEmpty }
    }

    // MARK: The worker's half

    /// A key that waits, leased for 10 s. Empty bytes ask for a check of the one that is stored.
    public func take() async throws(StoreError) -> (id: UniqueID, account: AccountID, sealed: [UInt8])? {
        try await writing {
            try await pool.query(IntakeSQL.take, []).first.map { row in
                (try row.id(0), AccountID(try row.id(1)), try row.bytes(2))
            }
        }
    }

    public func settle(
        _ id: UniqueID,
        account: AccountID,
        _ state: IntakeState,
        detail: String = "",
    ) async throws(StoreError) {
        let parameters: [Parameter] = [.uuid(id), .uuid(account.value), .text(state.rawValue), .text(detail)]
        try await writing { _ = try await pool.query(IntakeSQL.settle, parameters) }
    }

    /// What is shown of a key that was stored just now.
    public func describe(_ account: AccountID, last4: String, permissions: [String]) async throws(StoreError) {
        let described: [Parameter] = [
            .uuid(account.value), .text(last4), .text(permissions.joined(separator: ",")),
        ]
        try await writing {
            _ = try await pool.transaction([
                (IntakeSQL.describe, described), (IntakeSQL.raiseVersion, [.uuid(account.value)]),
            ])
        }
    }

    /// What the venue says of the stored key now; `refusal` nil: it may be used.
    public func note(
        _ account: AccountID,
        refusal: String?,
        permissions: [String],
    ) async throws(StoreError) {
        let parameters: [Parameter] = [
            .uuid(account.value), refusal.map { .text($0) } ?? .null, .text(permissions.joined(separator: ",")),
        ]
        try await writing { _ = try await pool.query(IntakeSQL.checked, parameters) }
    }

    /// Forgets what waited for too long.
    public func purge() async throws(StoreError) {
        try await writing { _ = try await pool.query(IntakeSQL.purge, []) }
    }

    /// Accounts whose key was replaced within 30 s, with its version.
    public func changed() async throws(StoreError) -> [AccountID: Int64] {
        try await reading {
            var found: [AccountID: Int64] = [:]
            for row in try await pool.query(IntakeSQL.changed, []) {
                found[AccountID(try row.id(0))] = try row.int64(1)
            }
            return found
        }
    }
}
