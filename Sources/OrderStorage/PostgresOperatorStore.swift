// What operators read and do, on PostgreSQL (SQL/admin.sql).

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum AdminSQL {
    static let file = StatementFile(PackageResources.admin_sql, prefix: "admin")
    static let lists = Dictionary(uniqueKeysWithValues: OperatorList.allCases.map { ($0, file[$0.rawValue]) })
    static let line = file["line"]
    static let flush = file["flush"]
    static let resendDead = file["resend_dead"]
    static let addUser = file["add_user"]
    static let changeUser = file["change_user"]
    static let noteGroup = file["note_group"]
    static let cancelBatch = file["cancel_batch"]
    static let confirmRecovery = file["confirm_recovery"]
    static let verify = file["verify"]
    static let accountOfOrder = file["account_of_order"]
    static let account = file["account"]
    static let liveRequest = file["live_request"]
}

/// Rows of every account. An API process gives it sessions of the operators' role, which see no secret.
public final class PostgresOperatorStore: OperatorStore {
    private let pool: PostgresPool
    private let traders: PostgresTraderStore

    public init(pool: PostgresPool) {
        self.pool = pool
        traders = PostgresTraderStore(pool: pool)
    }

    public func rows(
        _ list: OperatorList,
        subject: String?,
        after: String?,
        limit: Int,
    ) async throws(StoreError) -> [OperatorRow] {
        try await reading {
            guard let statement = AdminSQL.lists[list] else { return [] }
            let parameters: [Parameter] = [.optional(subject), .optional(after), .int8(Int64(limit))]
            return try await pool.query(statement, parameters).map { row in
                OperatorRow(json: Array(try row.string(0).utf8), key: try row.string(1))
            }
        }
    }

    public func act(
        _ action: OperatorAction,
        audit: OperatorAudit,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome {
        try await traders.store(statements(action, audit), answer)
    }

    public func act(_ action: OperatorAction, audit: OperatorAudit) async throws(StoreError) {
        try await writing { _ = try await pool.transaction(statements(action, audit)) }
    }

    public func keep(_ answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome {
        try await traders.store([], answer)
    }

    private func statements(_ action: OperatorAction, _ audit: OperatorAudit) -> [(Statement, [Parameter])] {
        func json(_ bytes: [UInt8]?) -> Parameter { .optional(bytes.map { String(decoding: $0, as: UTF8.self) }) }
        let line: [Parameter] = [
            .text(audit.actor), .text(audit.door.rawValue), .text(audit.action), .text(audit.target),
            .int8(audit.count), .text(audit.reason), json(audit.before), json(audit.after), .text(audit.requestID),
        ]
        return changes(action, audit) + [(AdminSQL.line, line)]
    }

    private func changes(_ action: OperatorAction, _ audit: OperatorAudit) -> [(Statement, [Parameter])] {
        switch action {
        case .flushOutbox: return [(AdminSQL.flush, [])]
        case .resendDead(let webhook): return [(AdminSQL.resendDead, [.optional(webhook?.description)])]
        case .addUser(let user):
            let roles = user.roles.map(\.rawValue)
            return [
                (
                    AdminSQL.addUser,
                    [.uuid(user.id), .text(user.name), .text(user.tier.rawValue), .textArray(roles)],
                )
            ]
        case .changeUser(let id, let tier, let roles):
            let words: Parameter = roles.map { .textArray($0.map(\.rawValue)) } ?? .null
            return [(AdminSQL.changeUser, [.uuid(id), .optional(tier?.rawValue), words])]
        case .noteDeadGroup(let code, let note):
            return [(AdminSQL.noteGroup, [.text(code), .text(note), .text(audit.actor)])]
        case .cancelBatch(let id): return [(AdminSQL.cancelBatch, [.text(id)])]
        case .confirmRecovery: return [(AdminSQL.confirmRecovery, [])]
        case .note: return []
        }
    }

    public func verifyAudit() async throws(StoreError) -> AuditVerdict {
        try await reading {
            let row = try await pool.query(AdminSQL.verify)[0]
            return AuditVerdict(lines: try row.int64(0), broken: try row.int64OrNil(1))
        }
    }

    public func account(of order: OrderID) async throws(StoreError) -> AccountID? {
        try await reading {
            try await pool.query(AdminSQL.accountOfOrder, [.uuid(order.value)]).first.map { AccountID(try $0.id(0)) }
        }
    }

    public func account(_ id: AccountID) async throws(StoreError) -> Account? {
        try await reading {
            try await pool.query(AdminSQL.account, [.uuid(id.value)]).first.map { try Account($0) }
        }
    }

    public func liveRequest(of account: AccountID) async throws(StoreError) -> Int64? {
        try await reading { try await pool.query(AdminSQL.liveRequest, [.uuid(account.value)]).first?.int64(0) }
    }
}
