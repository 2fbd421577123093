import OrderEngine
import PostgresClient
import SmartOrders
import TestKit
import Testing

@Suite struct `Change log` {
    /// The transaction that began first ends last: by its number it lies before what the reader has seen already. What
    /// was read may be read once more: never less.
    @Test(.timeLimit(.minutes(2))) func `what commits late is not missed`() async throws {
        try await withStores { stores, pool in
            let account = try await stores.account()
            let slow = try await stores.order(1, account)
            let quick = try await stores.order(2, try await stores.account(2))
            let shards = Array(0..<OrderID.shardCount)
            let start = try await stores.orders.changes(shards: shards, since: nil).next

            try await pool.simple("CREATE TABLE signals (name text)")
            // Its transaction ends when it is told to, or after a minute.
            async let late: Void = pool.simple(
                """
                UPDATE orders SET version = 2 WHERE id = '\(slow.id)';
                INSERT INTO events (
                    account_id, seq, order_id, version, commit_id, at, cause, actor_kind, actor_id, facts, state
                )
                SELECT account_id, 2, order_id, 2, 1, at, cause, actor_kind, actor_id, facts, state FROM events
                WHERE order_id = '\(slow.id)';
                DO $$ BEGIN
                    FOR turn IN 1..3000 LOOP
                        EXIT WHEN EXISTS (SELECT FROM signals);
                        PERFORM pg_sleep(0.02);
                    END LOOP;
                END $$
                """
            )
            let begun = Statement(
                sql: """
                    SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event = 'PgSleep'
                    """
            )
            while try await pool.query(begun)[0].int64(0) == 0 { try await Task.sleep(for: .milliseconds(5)) }
            #expect(try await stores.orders.commit([.sample(quick.next())]) == [.committed(sequence: 2)])
            let first = try await stores.orders.changes(shards: shards, since: start)
            #expect(first.orders.contains { $0.id == quick.id && $0.version == 2 })
            #expect(!first.orders.contains { $0.id == slow.id && $0.version == 2 })
            try await pool.simple("INSERT INTO signals VALUES ('go on')")
            try await late
            let second = try await stores.orders.changes(shards: shards, since: first.next)
            #expect(second.orders.contains { $0.id == slow.id && $0.version == 2 })
            // Any transaction of the server holds the horizon back, an autovacuum's too: wait until all have ended.
            var cursor = second.next
            while true {
                let more = try await stores.orders.changes(shards: shards, since: cursor)
                if more.orders.isEmpty { break }
                cursor = more.next
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }
}
