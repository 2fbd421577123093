import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

/// Commits that share a transaction: each keeps its own outcome.
@Suite(.serialized) struct `Commits in one batch` {
    private static func record(_ number: Int) -> IdempotencyRecord {
        IdempotencyRecord(owner: "key-1", key: "k\(number)", requestHash: "hash \(number)")
    }

    private static func sequences(_ outcomes: [CommitOutcome]) -> [Int64] {
        outcomes.compactMap { outcome in
            guard case .committed(let sequence) = outcome else { return nil }
            return sequence
        }
    }

    @Test func `one that is refused harms no other`() async throws {
        try await withStores { stores, _ in
            let account = try await stores.account()
            let commits = (1...20).map { number -> Commit in
                var order = SmartOrder.sample(number, account)
                // Two want the same name.
                if number == 7 || number == 12 { order.draft.clientOrderID = "mine" }
                return .sample(order, idempotency: Self.record(number))
            }
            let outcomes = try await stores.orders.commit(commits)
            let refused = outcomes.indices.filter { outcomes[$0] == .refused(constraint: "orders_client_order_id") }
            #expect(refused == [11])
            #expect(Self.sequences(outcomes).sorted() == Array(1...19))
            // What was refused left nothing behind, not even its key.
            #expect(try await stores.orders.outcome(owner: "key-1", key: "k12") == nil)
            #expect(try await stores.orders.load([commits[11].next.id]).isEmpty)
            #expect(try await stores.orders.lastSequence(account: account) == 19)
        }
    }

    @Test func `used keys are told, and the rest takes effect in one transaction`() async throws {
        try await withStores { stores, pool in
            let accounts = [try await stores.account(1), try await stores.account(2)]
            let first = (1...10).map { SmartOrder.sample($0, accounts[0]) }
            for (index, order) in first.enumerated() {
                let outcome = try await stores.orders.commit([.sample(order, idempotency: Self.record(index))])[0]
                #expect(outcome.isCommitted)
            }
            let commits = (0..<20).map { number in
                Commit.sample(.sample(100 + number, accounts[number % 2]), idempotency: Self.record(number))
            }
            let outcomes = try await stores.orders.commit(commits)
            for number in 0..<10 {
                #expect(outcomes[number] == .keyUsed(order: first[number].id, requestHash: "hash \(number)"))
            }
            #expect(outcomes[10...].allSatisfy { $0.isCommitted })
            let ids = commits.map { "'\($0.next.id)'" }.joined(separator: ",")
            let found = try await pool.query(
                Statement(sql: "SELECT count(*), count(DISTINCT xid) FROM events WHERE order_id IN (\(ids))")
            )[0]
            #expect(try found.int64(0) == 10 && found.int64(1) == 1)
        }
    }

    @Test func `a batch whose connection dies is looked up, not guessed`() async throws {
        try await withStores { stores, pool in
            let account = try await stores.account()
            // Twice at the end of a transaction with everything in it.
            try await pool.simple(
                """
                CREATE SEQUENCE deaths;
                CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF nextval('deaths') <= 2 THEN
                        PERFORM pg_terminate_backend(pg_backend_pid());
                        PERFORM pg_sleep(10);
                    END IF;
                    RETURN NULL;
                END $$;
                CREATE CONSTRAINT TRIGGER die AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW EXECUTE FUNCTION die();
                """
            )
            let batcher = CommitBatcher(store: stores.orders, clock: RealClock())
            let commits = (1...30).map { Commit.sample(.sample($0, account), idempotency: Self.record($0)) }
            let outcomes = try await withThrowingTaskGroup(of: CommitOutcome.self) { group in
                for commit in commits { group.addTask { try await batcher.commit(commit) } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(Self.sequences(outcomes).sorted() == Array(1...30))
            #expect(try await stores.orders.lastSequence(account: account) == 30)
            // Whoever did not hear the answer asks again, and hears the same.
            let again = try await stores.orders.commit(commits)
            #expect(Self.sequences(again).sorted() == Array(1...30))
            #expect(try await stores.orders.lastSequence(account: account) == 30)
        }
    }

    @Test func `of many requests with one key one makes the order`() async throws {
        try await withStores { stores, _ in
            let account = try await stores.account()
            let batcher = CommitBatcher(store: stores.orders, clock: RealClock())
            let outcomes = try await withThrowingTaskGroup(of: CommitOutcome.self) { group in
                for number in 0..<300 {
                    let commit = Commit.sample(.sample(number, account), idempotency: Self.record(number % 30))
                    group.addTask { try await batcher.commit(commit) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(Self.sequences(outcomes).sorted() == Array(1...30))
            let told = outcomes.filter { outcome in
                if case .keyUsed = outcome { true } else { false }
            }
            #expect(told.count == 270)
            #expect(try await stores.orders.lastSequence(account: account) == 30)
        }
    }

    @Test func `tenants share a batch, and nobody writes for another`() async throws {
        let conninfo = try await PostgresServer.freshDatabase()
        let pool = try PostgresPool(configuration: .stores(conninfo: conninfo))
        let bounded = try PostgresPool(configuration: .tenants(conninfo: conninfo))
        try await Migrator(pool: pool).up()
        let history = try await DatabaseHistory.check(pool)
        let all = PostgresOrderStore(pool: pool, incarnation: history.incarnation)
        let stores = StoresUnderTest(
            orders: all,
            accounts: PostgresAccountStore(pool: pool, secrets: InvertingBox()),
            cluster: PostgresClusterStore(pool: pool, orders: all),
        )
        let (owner, stranger) = (try await stores.account(1), try await stores.account(2))
        let batcher = CommitBatcher(
            store: PostgresOrderStore(pool: bounded, incarnation: history.incarnation),
            clock: RealClock(),
        )
        let orders = (0..<90).map { SmartOrder.sample($0, $0 % 3 == 0 ? stranger : owner) }
        await withTaskGroup(of: Void.self) { group in
            for (number, order) in orders.enumerated() {
                // Every third is the stranger's own, every third he writes for the owner.
                let caller = number % 3 == 1 ? owner : stranger
                group.addTask {
                    do {
                        let commit = Commit.sample(order, idempotency: Self.record(number))
                        let outcome = try await Tenancy.$accounts.withValue([caller]) {
                            try await batcher.commit(commit)
                        }
                        #expect(outcome.isCommitted == (number % 3 != 2), "\(number): \(outcome)")
                    } catch {
                        #expect(number % 3 == 2, "\(number): \(error)")
                    }
                }
            }
        }
        #expect(try await all.load(orders.map(\.id)).count == 60)
        #expect(try await all.lastSequence(account: owner) == 30)
        #expect(try await all.lastSequence(account: stranger) == 30)
        #expect(try await all.outcome(owner: "key-1", key: "k2") == nil)
        await bounded.close()
        await pool.close()
    }
}
