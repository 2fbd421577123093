// Which orders of a lost history were compared with their venue.
public import OrderEngine
internal import OwnerThread
internal import PostgresClient
public import SmartOrders

private enum RecoverySQL {
    static let file = StatementFile(PackageResources.recovery_sql, prefix: "recovery")
    static let state = file["state"]
    static let set = file["set"]
    static let unrecovered = file["unrecovered"]
    static let finish = file["finish"]
    static let status = file["status"]
    static let confirm = file["confirm"]
}

/// How far the present history of the database is.
public struct RecoveryStatus: Hashable, Sendable {
    public let incarnation: Int64
    /// Nil: it is the first history.
    public let began: Timestamp?
    /// Every order that is older was compared with its venue.
    public let isComplete: Bool
    public let database: String
    public let compared: Int
    /// Attempts that the venues knew and the orders did not.
    public let found: Int
    /// Live accounts that are held because this may be a copy beside its original.
    public let held: Int
}

extension PostgresOrderStore: RecoveryStore {
    public func recoveryState(of order: OrderID, fenceMs: Int64) async throws(StoreError) -> RecoveryState {
        if recoveredOrders.withLock({ $0.contains(order) }) { return .recovered }
        let state = try await reading { () -> RecoveryState in
            let row = try await pool.query(RecoverySQL.state, [.uuid(order.value), .int8(fenceMs)])[0]
            return try row.bool(0) ? .recovered : try row.bool(1) ? .due : .waiting
        }
        if state == .recovered { recoveredOrders.withLock { _ = $0.insert(order) } }
        return state
    }

    public func setRecovered(_ order: OrderID, of account: AccountID, found: Int) async throws(StoreError) {
        try await writing {
            _ = try await pool.query(
                RecoverySQL.set,
                [.uuid(order.value), .uuid(account.value), .int8(Int64(found))],
            )
        }
    }

    public func unrecovered(limit: Int) async throws(StoreError) -> [Job] {
        let jobs = try await reading {
            try await pool.query(RecoverySQL.unrecovered, [.int8(Int64(limit))]).map { row in
                let id = OrderID(try row.id(0))
                return Job(
                    id: JobID(order: id, leg: .reconcile, attempt: 1, check: Int(try row.int64(4))),
                    name: .reconcile,
                    jobClass: .housekeeping,
                    version: try row.int64(3),
                    account: AccountID(try row.id(1)),
                    market: try row.market(2),
                )
            }
        }
        if jobs.isEmpty, historyBegan != nil { try await writing { _ = try await pool.query(RecoverySQL.finish) } }
        return jobs
    }

    public func recoveryStatus() async throws(StoreError) -> RecoveryStatus {
        try await reading {
            let row = try await pool.query(RecoverySQL.status)[0]
            return RecoveryStatus(
                incarnation: try row.int64(0),
                began: try row.momentOrNil(1),
                isComplete: try row.bool(2),
                database: try row.string(3),
                compared: Int(try row.int64(4)),
                found: Int(try row.int64(5)),
                held: Int(try row.int64(6)),
            )
        }
    }

    /// Ends what holds the accounts of a copied database; how many there were.
    public func confirmRecovery(_ note: OperatorNote) async throws(StoreError) -> Int {
        try await writing {
            Int(try await pool.query(RecoverySQL.confirm, [.text(note.actor), .text(note.reason)])[0].int64(0))
        }
    }
}
