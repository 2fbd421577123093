// What is sealed with the workers' master key, for whoever changes that key (SQL/secrets.sql). For sessions of workers and
// of the operator's commands.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum SecretSQL {
    static let file = StatementFile(PackageResources.secrets_sql, prefix: "secrets")
    static let request = file["request"]
    static let rotation = file["rotation"]
    static let credentials = file["credentials"]
    static let replaceCredentials = file["replace_credentials"]
    static let webhooks = file["webhooks"]
    static let replaceWebhook = file["replace_webhook"]
    static let progress = file["progress"]
    static let finish = file["finish"]
    static let seals = file["seals"]
}

/// A change of the master key, and how far it is.
public struct SecretRotation: Hashable, Sendable {
    public let id: Int64
    /// Secrets that are sealed with the new key now.
    public let moved: Int64
    /// What no key of the workers opened.
    public let failed: Int64
    public let hasEnded: Bool
}

public struct PostgresSecretStore: Sendable {
    public struct SealedCredential: Sendable {
        public let name: CredentialName
        public let sealed: [UInt8]
    }

    public struct SealedWebhook: Sendable {
        public let id: UniqueID
        public let secret: [UInt8]
        /// Signs as well for a day.
        public let old: [UInt8]?
    }

    private let pool: PostgresPool

    public init(pool: PostgresPool) {
        self.pool = pool
    }

    /// Asks the workers; the id of the rotation.
    public func request(_ note: OperatorNote) async throws(StoreError) -> Int64 {
        try await writing {
            try await pool.query(SecretSQL.request, [.text(note.actor), .text(note.reason)])[0].int64(0)
        }
    }

    /// - Parameter id: nil: the newest.
    public func rotation(_ id: Int64? = nil) async throws(StoreError) -> SecretRotation? {
        try await reading {
            try await pool.query(SecretSQL.rotation, [.optional(id)]).first.map { row in
                SecretRotation(
                    id: try row.int64(0),
                    moved: try row.int64(1),
                    failed: try row.int64(2),
                    hasEnded: try row.bool(3),
                )
            }
        }
    }

    /// Venue keys in the order of their accounts.
    public func credentials(after: AccountID?, limit: Int) async throws(StoreError) -> [SealedCredential] {
        try await reading {
            let parameters: [Parameter] = [after.map { .uuid($0.value) } ?? .null, .int8(Int64(limit))]
            return try await pool.query(SecretSQL.credentials, parameters).map { row in
                let name = CredentialName(
                    account: AccountID(try row.id(0)),
                    venue: try row.string(1),
                    id: try row.id(2),
                    version: try row.int64(3),
                )
                return SealedCredential(name: name, sealed: try row.bytes(4))
            }
        }
    }

    /// False: another one stands there by now.
    public func replace(_ old: SealedCredential, by sealed: [UInt8]) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [.uuid(old.name.account.value), .bytes(old.sealed), .bytes(sealed)]
        return try await writing { try await !pool.query(SecretSQL.replaceCredentials, parameters).isEmpty }
    }

    public func webhooks(after: UniqueID?, limit: Int) async throws(StoreError) -> [SealedWebhook] {
        try await reading {
            let parameters: [Parameter] = [after.map { .uuid($0) } ?? .null, .int8(Int64(limit))]
            return try await pool.query(SecretSQL.webhooks, parameters).map { row in
                SealedWebhook(
                    id: try row.id(0),
                    secret: try row.bytes(1),
                    old: row.isNull(2) ? nil : try row.bytes(2),
                )
            }
        }
    }

    public func replace(
        _ webhook: SealedWebhook,
        by secret: [UInt8],
        old: [UInt8]?,
    ) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(webhook.id), .bytes(webhook.secret), .bytes(secret), old.map { .bytes($0) } ?? .null,
        ]
        return try await writing { try await !pool.query(SecretSQL.replaceWebhook, parameters).isEmpty }
    }

    public func note(moved: Int, in rotation: Int64) async throws(StoreError) {
        try await writing { _ = try await pool.query(SecretSQL.progress, [.int8(rotation), .int8(Int64(moved))]) }
    }

    public func finish(_ rotation: Int64, failed: Int) async throws(StoreError) {
        try await writing { _ = try await pool.query(SecretSQL.finish, [.int8(rotation), .int8(Int64(failed))]) }
    }

    /// How many venue keys are sealed with which master key, by the name that a row carries of it; empty: an older form.
    public func seals() async throws(StoreError) -> [(key: String, count: Int)] {
        try await reading {
            try await pool.query(SecretSQL.seals, []).map { (key: try $0.string(0), count: Int(try $0.int64(1))) }
        }
    }
}
