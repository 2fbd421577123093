import OrderEngine
import OrderStorage
import OwnerThread
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

/// Adds up what is counted.
private final class CountingObserver: EngineObserver {
    private let state = Locked<[String: Int]>([:])
    var counts: [String: Int] { state.withLock { $0 } }

    func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {}
    func count(_ name: StaticString, _ amount: Int) { state.withLock { $0["\(name)", default: 0] += amount } }
    func measure(_ name: StaticString, milliseconds: Double) {}
}

@Suite(.serialized) struct `A row that cannot be read` {
    @Test func `is left out, told, and keeps nobody else from being watched`() async throws {
        try await withStores { stores, pool in
            let account = try await stores.account()
            let (broken, whole) = (try await stores.order(1, account), try await stores.order(2, account))
            let history = try await DatabaseHistory.check(pool)
            let observer = CountingObserver()
            let store = PostgresOrderStore(pool: pool, incarnation: history.incarnation, observer: observer)
            try await pool.simple(
                "UPDATE orders SET watches = '\\x00', version = version + 1 WHERE id = '\(broken.id)'"
            )
            let loaded = Locked<[OrderID]>([])
            try await store.loadArmed(shards: [broken.id.shard, whole.id.shard]) { page in
                loaded.withLock { $0 += page.map(\.id) }
            }
            #expect(loaded.withLock { $0 } == [whole.id])
            #expect(try await store.armed([broken.id, whole.id]).map(\.id) == [whole.id])
            #expect(observer.counts["unreadable_rows_total"] == 2)
            // Jobs, too.
            try await store.storeJobs([.sample(1), .sample(2)])
            try await pool.simple("UPDATE outbox SET job_id = 'x' WHERE job_id = '\(Job.sample(1).id)'")
            #expect(try await store.unofferedJobs(limit: 10).map(\.id) == [Job.sample(2).id])
            #expect(try await store.takeUnoffered(limit: 10).map(\.id) == [Job.sample(2).id])
            #expect(observer.counts["unreadable_rows_total"] == 4)
        }
    }
}
