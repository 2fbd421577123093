import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// RELIABILITY.md 3.1.2: what another transaction's timing breaks is tried again, three times.
@Suite(.serialized) struct `Transactions that collide` {
    /// Makes the first `count` updates of orders fail, whoever makes them.
    private func collide(_ pool: PostgresPool, _ state: String, times count: Int) async throws {
        try await pool.simple(
            """
            CREATE SEQUENCE collisions;
            CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('collisions') <= \(count) THEN
                    RAISE EXCEPTION 'another transaction' USING ERRCODE = '\(state)';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER collide BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION collide();
            """
        )
    }

    @Test(arguments: ["40P01", "40001"])
    func `a deadlock or a serialization failure is tried again, and takes effect once`(state: String) async throws {
        try await withStores { stores, pool in
            let account = try await stores.account()
            let order = try await stores.order(1, account)
            try await collide(pool, state, times: 3)
            let next = order.exiting(1)
            #expect(try await stores.orders.commit([.sampleExit(next, token: 1)])[0].isCommitted)
            #expect(try await stores.orders.load([order.id]) == [.smart(next)])
            #expect(try await stores.orders.events(order: order.id, after: 1, limit: 10).map(\.version) == [2])
        }
    }

    @Test func `a collision that does not end is told as transient, and nothing is stored`() async throws {
        try await withStores { stores, pool in
            let account = try await stores.account()
            let order = try await stores.order(1, account)
            try await collide(pool, "40P01", times: 1_000)
            let error = await #expect(throws: StoreError.self) {
                _ = try await stores.orders.commit([.sampleExit(order.exiting(1), token: 1)])
            }
            #expect(error?.isTransient == true)
            #expect(try await stores.orders.load([order.id]) == [.smart(order)])
        }
    }
}
