// Links for alerts and their calls on PostgreSQL (SQL/hooks.sql).

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum HookSQL {
    static let file = StatementFile(PackageResources.hooks_sql, prefix: "hooks")
    static let ofAccounts = file["of_accounts"]
    static let ofToken = file["of_token"]
    static let hook = file["hook"]
    static let count = file["count"]
    static let add = file["add"]
    static let audit = file["audit"]
    static let update = file["update"]
    static let delete = file["delete"]
    static let lock = file["lock"]
    static let seen = file["seen"]
    static let receive = file["receive"]
    static let called = file["called"]
    static let calls = file["calls"]
    static let take = file["take"]
    static let settle = file["settle"]
}

/// The rows of `hooks` and `hook_calls`.
public final class PostgresHookStore: HookStore {
    private let pool: PostgresPool
    private let traders: PostgresTraderStore
    private static let maximumHooks: Int64 = 100

    public init(pool: PostgresPool) {
        self.pool = pool
        traders = PostgresTraderStore(pool: pool)
    }

    // MARK: Links

    public func hooks(of accounts: [AccountID]) async throws(StoreError) -> [Hook] {
        try await reading {
            try await pool.query(HookSQL.ofAccounts, [.uuids(accounts.lazy.map(\.value))]).map { try hook($0) }
        }
    }

    public func add(
        _ hook: Hook,
        audit: AuditLine,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome? {
        let count = try await reading { try await pool.query(HookSQL.count, [.uuid(hook.user)])[0].int64(0) }
        guard count < Self.maximumHooks else { return nil }
        let parameters: [Parameter] = [
            .uuid(hook.id), .uuid(hook.account.value), .uuid(hook.user), .text(hook.tokenHash), .text(hook.label),
            .text(hook.action.rawValue), hook.preset.map { .uuid($0) } ?? .null,
            hook.order.map { .uuid($0.value) } ?? .null, .optional(hook.market?.description), .bool(hook.isEnabled),
            .textArray(hook.ipAllow), .optional(hook.maximumPerHour.map { Int64($0) }),
            hook.expiresAt.map { .moment($0) } ?? .null, .optional(hook.passphraseHash), .moment(hook.createdAt),
            .text(hook.mode.rawValue),
        ]
        let line: [Parameter] = [
            .text(audit.actor), .text(audit.action), .text("hook \(hook.id)"), .text(audit.reason),
        ]
        return try await traders.store([(HookSQL.add, parameters), (HookSQL.audit, line)], answer)
    }

    public func update(_ hook: Hook, audit: AuditLine) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(hook.id), .uuid(hook.account.value), .text(hook.label), .bool(hook.isEnabled),
            .textArray(hook.ipAllow), .optional(hook.maximumPerHour.map { Int64($0) }),
            hook.expiresAt.map { .moment($0) } ?? .null, .optional(hook.passphraseHash), .text(audit.actor),
            .text(audit.action), .text(audit.reason),
        ]
        return try await writing { try await !pool.query(HookSQL.update, parameters).isEmpty }
    }

    public func deleteHook(
        _ id: UniqueID,
        of accounts: [AccountID],
        audit: AuditLine,
    ) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(id), .uuids(accounts.lazy.map(\.value)), .text(audit.actor), .text(audit.action),
            .text(audit.reason),
        ]
        return try await writing { try await !pool.query(HookSQL.delete, parameters).isEmpty }
    }

    public func hook(tokenHash: String) async throws(StoreError) -> Hook? {
        try await reading { try await pool.query(HookSQL.ofToken, [.text(tokenHash)]).first.map { try hook($0) } }
    }

    public func hook(_ id: UniqueID, of account: AccountID) async throws(StoreError) -> Hook? {
        try await reading {
            try await pool.query(HookSQL.hook, [.uuid(id), .uuid(account.value)]).first.map { try hook($0) }
        }
    }

    private func hook(_ row: Row) throws -> Hook {
        Hook(
            id: try row.id(0),
            account: AccountID(try row.id(1)),
            mode: try row.word(17),
            user: try row.id(2),
            tokenHash: try row.string(3),
            label: try row.string(4),
            action: try row.word(5),
            preset: try row.idOrNil(6),
            order: try row.idOrNil(7).map { OrderID($0) },
            market: row.isNull(8) ? nil : try row.market(8),
            isEnabled: try row.bool(9),
            ipAllow: try row.string(10).split(separator: ",").map(String.init),
            maximumPerHour: try row.int64OrNil(11).map { Int($0) },
            expiresAt: try row.momentOrNil(12),
            passphraseHash: try row.stringOrNil(13),
            createdAt: try row.moment(14),
            lastCallAt: try row.momentOrNil(15),
            isDeleted: try row.bool(16),
        )
    }

    // MARK: Calls

    public func receive(
        _ call: HookCall,
        of hook: Hook,
        name: String,
        isForEver: Bool,
    ) async throws(StoreError) -> HookReceipt {
        let (id, account): (Parameter, Parameter) = (.uuid(hook.id), .uuid(hook.account.value))
        let parameters: [Parameter] = [
            .uuid(call.id), account, id, .text(call.address), .text(call.body), .text(name), .bool(isForEver),
            .optional(hook.maximumPerHour.map { Int64($0) }),
        ]
        return try await writing {
            let found = try await pool.transaction([
                (HookSQL.lock, [id, account]), (HookSQL.seen, [id, account, .text(name), .bool(isForEver)]),
                (HookSQL.receive, parameters), (HookSQL.called, [id, account]),
            ])
            if try found[1][0].bool(0) { return .duplicate }
            return found[2].isEmpty ? .tooMany : .taken
        }
    }

    public func calls(
        of hook: UniqueID,
        accounts: [AccountID],
        before: UniqueID?,
        limit: Int,
    ) async throws(StoreError) -> [HookCall] {
        try await reading {
            let parameters: [Parameter] = [
                .uuid(hook), .uuids(accounts.lazy.map(\.value)), before.map { .uuid($0) } ?? .null,
                .int8(Int64(limit)),
            ]
            return try await pool.query(HookSQL.calls, parameters).map { try call($0) }
        }
    }

    public func takeCall() async throws(StoreError) -> HookCall? {
        try await writing { try await pool.query(HookSQL.take).first.map { try call($0) } }
    }

    public func settle(_ call: HookCall) async throws(StoreError) {
        let parameters: [Parameter] = [
            .uuid(call.id), .uuid(call.account.value), .text(call.outcome.rawValue), .optional(call.code),
            .text(call.detail), call.order.map { .uuid($0.value) } ?? .null,
        ]
        try await writing { _ = try await pool.query(HookSQL.settle, parameters) }
    }

    private func call(_ row: Row) throws -> HookCall {
        HookCall(
            id: try row.id(0),
            hook: try row.id(1),
            account: AccountID(try row.id(2)),
            at: try row.moment(3),
            address: try row.string(4),
            body: try row.string(5),
            outcome: try row.word(6),
            code: try row.stringOrNil(7),
            detail: try row.string(8),
            order: try row.idOrNil(9).map { OrderID($0) },
            tries: Int(try row.int64(10)),
        )
    }
}
