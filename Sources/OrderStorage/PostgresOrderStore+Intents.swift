// Venue orders as stored, and the right to send them.

public import OrderEngine
internal import PostgresClient
public import SmartOrders

private enum IntentSQL {
    static let file = StatementFile(PackageResources.intents_sql, prefix: "intents")
    static let ofOrders = file["of_orders"]
    static let byClientOrderID = file["by_client_order_id"]
    static let byClientOrderIDs = file["by_client_order_ids"]
    static let claimSend = file["claim_send"]
    static let token = file["token"]
    static let noteCheck = file["note_check"]
}

extension PostgresOrderStore {
    public func intents(of orders: [OrderID], ended: Bool) async throws(StoreError) -> [StoredIntent] {
        guard !orders.isEmpty else { return [] }
        return try await reading {
            let rows = try await pool.query(IntentSQL.ofOrders, [.uuids(orders.lazy.map(\.value)), .bool(ended)])
            return try rows.map { try intent($0) }
        }
    }

    public func intent(account: AccountID, clientOrderID: String) async throws(StoreError) -> StoredIntent? {
        try await reading {
            let parameters: [Parameter] = [.uuid(account.value), .text(clientOrderID)]
            return try await pool.query(IntentSQL.byClientOrderID, parameters).first.map { try intent($0) }
        }
    }

    public func intents(account: AccountID, clientOrderIDs: [String]) async throws(StoreError) -> [StoredIntent] {
        guard !clientOrderIDs.isEmpty else { return [] }
        return try await reading {
            let parameters: [Parameter] = [.uuid(account.value), .texts(clientOrderIDs)]
            return try await pool.query(IntentSQL.byClientOrderIDs, parameters).map { try intent($0) }
        }
    }

    public func claimSend(_ intent: StoredIntent, _ right: SendRight) async throws(StoreError) -> Bool {
        let key = self.key(intent)
        return try await writing {
            let rows = try await pool.query(
                IntentSQL.claimSend,
                key + [
                    .optional(intent.token), .int8(right.token), .text(right.clientOrderID), .moment(right.t0),
                    .int8(right.fenceMs), .int8(presentIncarnation),
                ],
            )
            if rows.count == 1 { return true }
            // A repeat of a claim whose answer was lost finds its own token.
            return try await pool.query(IntentSQL.token, key).first?.int64OrNil(0) == right.token
        }
    }

    public func noteCheck(_ intent: StoredIntent, absent: Bool, delayMs: Int64) async throws(StoreError) -> Bool {
        try await writing {
            let parameters =
                key(intent) + [
                    .int8(Int64(intent.checks)), .bool(absent), .int8(delayMs), .optional(leastServerTime),
                ]
            return try await pool.query(IntentSQL.noteCheck, parameters).count == 1
        }
    }

    private func key(_ intent: StoredIntent) -> [Parameter] {
        [
            .uuid(intent.order.value), .text(intent.venueOrder.leg.description),
            .int8(Int64(intent.venueOrder.attempt)), .uuid(intent.account.value),
        ]
    }

    private func intent(_ row: Row) throws -> StoredIntent {
        let order = VenueOrder(
            leg: try row.leg(2),
            attempt: Int(try row.int64(3)),
            side: try row.word(4),
            type: try row.word(5),
            quantity: Quantity(try row.exact(6)),
            limit: try row.exactOrNil(7).map { Price($0) },
            reduceOnly: try row.bool(8),
            state: try row.word(9),
            filled: Quantity(try row.exact(10)),
            venueOrderID: try row.stringOrNil(11),
            createdAt: try row.moment(12),
            cancelWanted: try row.bool(13),
        )
        return StoredIntent(
            order: OrderID(try row.id(0)),
            account: AccountID(try row.id(1)),
            venueOrder: order,
            clientOrderID: try row.stringOrNil(14) ?? "",
            token: try row.int64OrNil(15),
            sends: Int(try row.int64(16)),
            checks: Int(try row.int64(17)),
            fencePassed: try row.bool(19),
            absences: Int(try row.int64(18)),
            t0: try row.momentOrNil(20),
        )
    }
}
