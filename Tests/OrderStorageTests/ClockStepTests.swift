// PostgreSQL's clock jumps (RELIABILITY.md 3.4.6, HO33, FA73). The database's clock is one that the test sets: a function of
// that name, which its sessions find before the built-in one.
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit
import Testing

@Suite struct `The server's clock as a process knows it` {
    /// One reading: monotonic milliseconds of question and answer, and what the server showed, in milliseconds.
    private typealias Reading = (asked: Int64, answered: Int64, shown: Int64)

    /// Steps in milliseconds that are noticed with each reading after the first.
    private static func steps(_ readings: [Reading]) -> [Int64?] {
        func at(_ ms: Int64) -> Int64 { ms * 1_000_000 }
        let first = readings[0]
        var clock = ServerClock(
            reading: Timestamp(milliseconds: first.shown),
            askedAt: at(first.asked),
            answeredAt: at(first.answered),
        )
        return readings.dropFirst().map { reading in
            clock.note(
                reading: Timestamp(milliseconds: reading.shown),
                askedAt: at(reading.asked),
                answeredAt: at(reading.answered),
            ).map { $0 / 1_000 }
        }
    }

    @Test func `runs on`() {
        #expect(Self.steps([(0, 2, 1_000_001), (500, 502, 1_000_501), (1_000, 1_002, 1_001_001)]) == [nil, nil])
        // Slewed by half a part in a thousand for an hour.
        #expect(Self.steps([(0, 2, 1_000_001), (3_600_000, 3_600_002, 4_601_801)]) == [nil])
    }

    @Test func `jumps ahead and back`() {
        #expect(Self.steps([(0, 0, 1_000_000), (500, 500, 4_600_500), (1_000, 1_000, 4_601_000)])[0] == 3_599_998)
        #expect(Self.steps([(0, 0, 1_000_000), (500, 500, 4_600_500), (1_000, 1_000, 4_601_000)])[1] == nil)
        #expect(Self.steps([(0, 0, 9_000_000), (500, 500, 5_400_500)])[0] == -3_599_998)
        #expect(Self.steps([(0, 0, 1_000_000), (500, 500, 1_000_740)]) == [nil], "less than a quarter of a second")
        #expect(Self.steps([(0, 0, 1_000_000), (500, 500, 1_000_760)])[0] != nil)
    }

    @Test func `answers slowly`() {
        // An answer that took 3 s proves nothing, and does not make the bounds wider.
        let readings: [Reading] = [(0, 1, 1_000_000), (500, 3_500, 1_000_600), (4_000, 4_001, 1_004_400)]
        #expect(Self.steps(readings)[0] == nil)
        #expect(Self.steps(readings)[1] != nil)
    }

    @Test func `shows at least what it must`() {
        let clock = ServerClock(reading: Timestamp(milliseconds: 1_000), askedAt: 0, answeredAt: 4_000_000)
        let least = clock.least(at: 1_004_000_000)
        #expect(least <= Timestamp(milliseconds: 2_000) && least >= Timestamp(milliseconds: 1_990))
    }
}

@Suite(.serialized) struct `A database whose clock jumps` {
    /// Stores whose sessions take the time from `step`.
    private func withClock(
        _ body: (StoresUnderTest, (String) async throws -> Void, PostgresPool) async throws -> Void
    ) async throws {
        let conninfo = try await PostgresServer.freshDatabase()
        let plain = try PostgresPool(configuration: .stores(conninfo: conninfo, connections: 1))
        try await Migrator(pool: plain).up()
        try await plain.simple(
            """
            CREATE SCHEMA faked;
            CREATE TABLE faked.step AS SELECT interval '0' AS step;
            CREATE FUNCTION faked.clock_timestamp() RETURNS timestamptz LANGUAGE sql
                AS 'SELECT pg_catalog.clock_timestamp() + (SELECT step FROM faked.step)';
            DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET search_path = faked, public, pg_catalog', current_database());
            END $$;
            """
        )
        let pool = try PostgresPool(configuration: .stores(conninfo: conninfo, connections: 2))
        let stores = try await stores(on: pool)
        func jump(to step: String) async throws { try await plain.simple("UPDATE faked.step SET step = '\(step)'") }
        do {
            try await body(stores, jump, pool)
        } catch {
            Issue.record(error)
        }
        await pool.close()
        await plain.close()
    }

    /// An exit that was sent behind a fence of 5 s, and a worker that has read the clock.
    private func sent(_ stores: StoresUnderTest, _ worker: WorkerID) async throws -> StoredIntent {
        let (waiting, key) = try await IntentContract.waiting(stores)
        try await stores.cluster.register(worker)
        #expect(try await stores.cluster.heartbeat(worker).clockStepMs == nil)
        let right = SendRight.sample(waiting.order, key, token: 1, fenceMs: 5_000)
        #expect(try await stores.orders.claimSend(waiting, right))
        return waiting
    }

    private func look(_ stores: StoresUnderTest, _ intent: StoredIntent) async throws -> StoredIntent {
        let now = try await IntentContract.only(stores, intent.order)
        #expect(try await stores.orders.noteCheck(now, absent: true, delayMs: 0))
        return try await IntentContract.only(stores, intent.order)
    }

    @Test func `FA73 ahead: no absence is concluded early, and fences begin anew`() async throws {
        try await withClock { stores, jump, _ in
            let worker = WorkerID("w1")
            let intent = try await sent(stores, worker)
            try await jump("1 hour")
            // Nobody has noticed yet.
            for _ in 0..<3 {
                #expect(try await look(stores, intent).absences == 0)
                try await Task.sleep(for: .milliseconds(510))
            }
            let reply = try await stores.cluster.heartbeat(worker)
            #expect((3_590_000...3_600_500).contains(try #require(reply.clockStepMs)))
            #expect(!reply.leaseHeld, "a lease by the old time is over")
            let known = try await look(stores, intent)
            #expect(known.absences == 0 && !known.fencePassed)
            // Told once; and work goes on by the new time.
            #expect(try await stores.cluster.heartbeat(worker).clockStepMs == nil)
            try await stores.cluster.register(worker)
            #expect(try await stores.cluster.heartbeat(worker).leaseHeld)
        }
    }

    @Test func `FA73 back: nothing waits for the old time`() async throws {
        try await withClock { stores, jump, pool in
            let worker = WorkerID("w1")
            let intent = try await sent(stores, worker)
            try await stores.cluster.register(WorkerID("dead"))
            try await jump("-1 hour")
            let reply = try await stores.cluster.heartbeat(worker)
            #expect((-3_600_500 ... -3_590_000).contains(try #require(reply.clockStepMs)))
            let rows = try await pool.query(
                Statement(
                    sql: """
                        SELECT (SELECT max(fence_until) <= clock_timestamp() + interval '60 s' FROM intents),
                            (SELECT max(next_check_at) <= clock_timestamp() + interval '1 s' FROM intents),
                            (SELECT max(lease_until) <= clock_timestamp() + interval '2 s' FROM workers),
                            (SELECT count(*) FROM audit WHERE action = 'clock.step')
                        """
                )
            )
            #expect(try rows[0].bool(0) && rows[0].bool(1) && rows[0].bool(2))
            #expect(try rows[0].int64(3) == 1)
            #expect(try await look(stores, intent).absences == 0)
        }
    }
}
