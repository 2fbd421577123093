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
}
