// What the panel keeps, on PostgreSQL.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum PanelSQL {
    static let file = StatementFile(PackageResources.panel_sql, prefix: "panel")
    static let beginSignIn = file["begin_sign_in"]
    static let signedIn = file["signed_in"]
    static let signedInAccounts = file["signed_in_accounts"]
    static let endSignIn = file["end_sign_in"]
    static let noteSignIns = file["note_sign_ins"]
    static let redeemCode = file["redeem_code"]
    static let addCode = file["add_code"]
    static let preferences = file["preferences"]
    static let savePreferences = file["save_preferences"]
    static let presets = file["presets"]
    static let countPresets = file["count_presets"]
    static let addPreset = file["add_preset"]
    static let updatePreset = file["update_preset"]
    static let deletePreset = file["delete_preset"]
    static let settings = file["settings"]
    static let createAccount = file["create_account"]
    static let audit = file["audit"]
    static let updateAccount = file["update_account"]
    static let setMode = file["set_mode"]
    static let requestLive = file["request_live"]
    static let deleteAccount = file["delete_account"]
    static let addTicket = file["add_ticket"]
    static let redeemTicket = file["redeem_ticket"]
}

/// Sign-ins, preferences, presets and account settings in PostgreSQL.
public final class PostgresPanelStore: PanelStore {
    private let pool: PostgresPool
    private let traders: PostgresTraderStore
    private static let maximumPresets: Int64 = 200

    public init(pool: PostgresPool) {
        self.pool = pool
        traders = PostgresTraderStore(pool: pool)
    }

    // MARK: Sign-ins

    public func begin(_ signIn: SignIn) async throws(StoreError) {
        let parameters: [Parameter] = [
            .text(signIn.tokenHash), .uuid(signIn.user), signIn.keyHash.map { .text($0) } ?? .null,
            .timestamp(microseconds: signIn.createdAt.microseconds),
        ]
        try await writing { _ = try await pool.query(PanelSQL.beginSignIn, parameters) }
    }

    public func signedIn(tokenHash: String) async throws(StoreError) -> SignedIn? {
        try await reading {
            let found = try await pool.transaction([
                (PanelSQL.signedIn, [.text(tokenHash)]), (PanelSQL.signedInAccounts, [.text(tokenHash)]),
            ])
            guard let row = found[0].first else { return nil }
            let signIn = SignIn(
                tokenHash: try row.string(0),
                user: try row.id(1),
                keyHash: row.isNull(2) ? nil : try row.string(2),
                createdAt: try row.moment(3),
                usedAt: try row.moment(4),
            )
            let roles = try row.string(7).split(separator: ",").compactMap { User.Role(rawValue: String($0)) }
            let user = User(id: signIn.user, name: try row.string(5), tier: try row.word(6), roles: roles)
            return SignedIn(signIn: signIn, user: user, accounts: try found[1].map { try Account($0) })
        }
    }

    public func end(signIn tokenHash: String) async throws(StoreError) {
        try await writing { _ = try await pool.query(PanelSQL.endSignIn, [.text(tokenHash)]) }
    }

    public func noteUse(ofSignIns tokenHashes: [String]) async throws(StoreError) {
        try await writing { _ = try await pool.query(PanelSQL.noteSignIns, [.textArray(tokenHashes)]) }
    }

    public func redeem(codeHash: String) async throws(StoreError) -> UniqueID? {
        try await writing {
            guard let row = try await pool.query(PanelSQL.redeemCode, [.text(codeHash)]).first, try row.bool(1) else {
                return nil
            }
            return try row.id(0)
        }
    }

    /// A one-time code for a user by name, valid for 10 minutes. False: no such user.
    public func add(codeHash: String, userName: String) async throws(StoreError) -> Bool {
        try await writing {
            try await !pool.query(PanelSQL.addCode, [.text(codeHash), .text(userName)]).isEmpty
        }
    }

    public func add(_ ticket: StreamTicket) async throws(StoreError) {
        let parameters: [Parameter] = [
            .text(ticket.hash), .text(ticket.proof.rawValue), .text(ticket.proofHash),
        ]
        try await writing { _ = try await pool.query(PanelSQL.addTicket, parameters) }
    }

    public func redeem(ticketHash: String) async throws(StoreError) -> StreamTicket? {
        try await writing {
            guard let row = try await pool.query(PanelSQL.redeemTicket, [.text(ticketHash)]).first,
                try row.bool(2)
            else { return nil }
            return StreamTicket(hash: ticketHash, proof: try row.word(0), proofHash: try row.string(1))
        }
    }

    // MARK: Preferences, presets

    public func preferences(of user: UniqueID) async throws(StoreError) -> [UInt8]? {
        try await reading { try await pool.query(PanelSQL.preferences, [.uuid(user)]).first?.bytes(0) }
    }

    public func save(preferences: [UInt8], of user: UniqueID) async throws(StoreError) {
        let text = String(decoding: preferences, as: UTF8.self)
        try await writing { _ = try await pool.query(PanelSQL.savePreferences, [.uuid(user), .text(text)]) }
    }

    public func presets(of user: UniqueID) async throws(StoreError) -> [Preset] {
        try await reading {
            try await pool.query(PanelSQL.presets, [.uuid(user)]).map { row in
                Preset(
                    id: try row.id(0),
                    user: try row.id(1),
                    name: try row.string(2),
                    draft: try row.bytes(3),
                    createdAt: try row.moment(4),
                    updatedAt: try row.moment(5),
                )
            }
        }
    }

    public func add(_ preset: Preset, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome? {
        let count = try await reading { try await pool.query(PanelSQL.countPresets, [.uuid(preset.user)])[0].int64(0) }
        guard count < Self.maximumPresets else { return nil }
        let parameters: [Parameter] = [
            .uuid(preset.id), .uuid(preset.user), .text(preset.name),
            .text(String(decoding: preset.draft, as: UTF8.self)),
            .timestamp(microseconds: preset.createdAt.microseconds),
        ]
        return try await traders.store([(PanelSQL.addPreset, parameters)], answer)
    }

    public func update(_ preset: Preset) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(preset.id), .uuid(preset.user), .text(preset.name),
            .text(String(decoding: preset.draft, as: UTF8.self)),
            .timestamp(microseconds: preset.updatedAt.microseconds),
        ]
        return try await writing { try await !pool.query(PanelSQL.updatePreset, parameters).isEmpty }
    }

    public func deletePreset(_ id: UniqueID, of user: UniqueID) async throws(StoreError) -> Bool {
        try await writing { try await !pool.query(PanelSQL.deletePreset, [.uuid(id), .uuid(user)]).isEmpty }
    }

    // MARK: Accounts

    public func settings(of accounts: [AccountID]) async throws(StoreError) -> [AccountID: AccountSettings] {
        try await reading {
            var settings: [AccountID: AccountSettings] = [:]
            for row in try await pool.query(PanelSQL.settings, [.uuids(accounts.lazy.map(\.value))]) {
                let account = AccountID(try row.id(0))
                var found = AccountSettings(
                    account: account,
                    version: try row.int64(1),
                    name: try row.string(2),
                    triggerSource: row.isNull(3) ? nil : try row.word(3),
                    maximumConditionals: Int(try row.int64(4)),
                    createdAt: try row.moment(5),
                )
                found.minimumCallback = try row.exactOrNil(6).map { Rate($0) }
                found.maximumCallback = try row.exactOrNil(7).map { Rate($0) }
                found.isConfirmedByDefault = try row.bool(8)
                found.isRecovering = try row.bool(9)
                settings[account] = found
            }
            return settings
        }
    }

    public func create(
        _ account: Account,
        of user: UniqueID,
        audit: AuditLine,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome {
        let parameters: [Parameter] = [
            .uuid(account.id.value), .uuid(user), .text(account.name), .text(account.venue), .text(account.product),
        ]
        let line: [Parameter] = [
            .text(audit.actor), .text(audit.action), .text("account \(account.id)"), .text(audit.reason),
        ]
        return try await traders.store([(PanelSQL.createAccount, parameters), (PanelSQL.audit, line)], answer)
    }

    public func update(_ settings: AccountSettings, audit: AuditLine) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(settings.account.value), .int8(settings.version), .text(settings.name),
            settings.triggerSource.map { .text($0.rawValue) } ?? .null, .int8(Int64(settings.maximumConditionals)),
            settings.minimumCallback.map { .numeric($0.value.description) } ?? .null,
            settings.maximumCallback.map { .numeric($0.value.description) } ?? .null,
            .bool(settings.isConfirmedByDefault),
        ]
        return try await change(PanelSQL.updateAccount, parameters, audit)
    }

    public func set(
        _ mode: Account.Mode,
        of account: AccountID,
        version: Int64,
        audit: AuditLine,
    ) async throws(StoreError) -> Bool {
        try await change(PanelSQL.setMode, [.uuid(account.value), .int8(version), .text(mode.rawValue)], audit)
    }

    public func requestLive(
        _ account: AccountID,
        version: Int64,
        audit: AuditLine,
    ) async throws(StoreError) -> Bool {
        try await change(PanelSQL.requestLive, [.uuid(account.value), .int8(version)], audit)
    }

    public func delete(_ account: AccountID, version: Int64, audit: AuditLine) async throws(StoreError) -> Bool {
        try await change(PanelSQL.deleteAccount, [.uuid(account.value), .int8(version)], audit)
    }

    private func change(
        _ statement: Statement,
        _ parameters: [Parameter],
        _ audit: AuditLine,
    ) async throws(StoreError) -> Bool {
        let line: [Parameter] = [.text(audit.actor), .text(audit.action), .text(audit.reason)]
        return try await writing { try await !pool.query(statement, parameters + line).isEmpty }
    }
}
