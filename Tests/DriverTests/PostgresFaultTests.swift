import LocalServers
import OwnerThread
import PostgresClient
import TestKit
import Testing

#if canImport(Glibc)
import Glibc
#endif

private let sleep = Statement(sql: "SELECT pg_sleep($1::double precision)")
private let one = Statement(name: "one", sql: "SELECT 1::bigint")

private func outcome<Value>(_ body: () async throws(PostgresError) -> Value) async -> Result<Value, PostgresError> {
    do throws(PostgresError) { return .success(try await body()) } catch { return .failure(error) }
}

extension Result where Failure == PostgresError {
    fileprivate var error: PostgresError? {
        switch self {
        case .success: nil
        case .failure(let error): error
        }
    }
}

/// Asks until the server answers; the deadline of the last question bounds the wait.
private func awaitRecovery(_ pool: PostgresPool) async throws {
    let limit = ContinuousClock.now + .seconds(20)
    while true {
        let answer = await outcome { () throws(PostgresError) in try await pool.query(one, deadline: limit) }
        switch answer {
        case .success: return
        case .failure(let error): if ContinuousClock.now >= limit { throw error }
        }
    }
}

/// Returns when a `sleep` is under way on one of the pool's connections.
private func awaitSleeping(_ pool: PostgresPool) async throws {
    let query = """
        SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
            AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()
        """
    while true {
        for try await rows in pool.copyOut(query) where !rows.isEmpty { return }
    }
}

@Suite struct PostgresDeadlineTests {
    @Test func `without a server the deadline says notSent and why`() async throws {
        let pool = try PostgresPool(configuration: PostgresConfiguration(conninfo: "host=/nowhere dbname=x"))
        let start = ContinuousClock.now
        let error = await outcome { () throws(PostgresError) in
            try await pool.query(one, deadline: .now + .milliseconds(150))
        }.error
        #expect(error?.kind == .deadlineExceeded(.notSent) && error?.isTransient == true)
        #expect(error?.detail.contains("/nowhere") == true)
        #expect(error?.description.contains("\n") == false)
        #expect(start.duration(to: .now) < .seconds(2))
        await pool.close()
    }

    @Test func `a request behind a full pipeline is notSent at its deadline, one in flight outcomeUnknown`()
        async throws
    {
        try await withPool(connections: 1, { ($0.pipelineDepth, $0.statementTimeoutMs) = (1, 5_000) }) { pool in
            _ = try await pool.query(one)
            async let sent = outcome { () throws(PostgresError) in
                try await pool.query(sleep, [.text("3")], deadline: .now + .milliseconds(1_800))
            }
            try await awaitSleeping(pool)
            async let behind = outcome { () throws(PostgresError) in
                try await pool.query(one, deadline: .now + .milliseconds(200))
            }
            async let patient = outcome { () throws(PostgresError) in try await pool.query(one) }
            #expect(await behind.error?.kind == .deadlineExceeded(.notSent))
            #expect(await sent.error?.kind == .deadlineExceeded(.outcomeUnknown))
            // It was never sent, so it simply goes over the next connection.
            #expect(try await patient.get()[0].int64(0) == 1)
        }
    }

    @Test func `the late one takes its neighbours in flight along, as outcomeUnknown`() async throws {
        try await withPool(connections: 1, { $0.statementTimeoutMs = 5_000 }) { pool in
            _ = try await pool.query(one)
            async let late = outcome { () throws(PostgresError) in
                try await pool.query(sleep, [.text("3")], deadline: .now + .milliseconds(1_200))
            }
            try await awaitSleeping(pool)
            async let neighbour = outcome { () throws(PostgresError) in try await pool.query(one) }
            #expect(await late.error?.kind == .deadlineExceeded(.outcomeUnknown))
            #expect(await neighbour.error?.kind == .outcomeUnknown)
            #expect(try await pool.query(one)[0].int64(0) == 1)
        }
    }

    @Test func `a full queue refuses as notSent`() async throws {
        try await withPool(connections: 1, { $0.requestsPerConnection = 8 }) { pool in
            _ = try await pool.query(one)
            let errors = await withTaskGroup(of: PostgresError?.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        await outcome { () throws(PostgresError) in try await pool.query(sleep, [.text("0.05")]) }.error
                    }
                }
                return await group.reduce(into: [PostgresError]()) { if let error = $1 { $0.append(error) } }
            }
            #expect(errors.count >= 1 && errors.count <= 32)
            for error in errors { #expect(error.kind == .notSent && error.isTransient) }
            #expect(try await pool.query(one)[0].int64(0) == 1)
        }
    }

    @Test func `closing answers everybody, within its time`() async throws {
        let conninfo = try await PostgresServer.freshDatabase()
        var configuration = PostgresConfiguration(conninfo: conninfo, connections: 2)
        configuration.pipelineDepth = 2
        let pool = try PostgresPool(configuration: configuration)
        _ = try await pool.query(one)
        let results = await withTaskGroup(of: PostgresError?.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    await outcome { () throws(PostgresError) in try await pool.query(sleep, [.text("0.2")]) }.error
                }
            }
            try? await Task.sleep(for: .milliseconds(100))
            let start = ContinuousClock.now
            await pool.close(within: .milliseconds(300))
            #expect(start.duration(to: .now) < .seconds(2))
            return await group.reduce(into: [PostgresError?]()) { $0.append($1) }
        }
        #expect(results.count == 100)
        #expect(results.contains { $0 == nil })
        #expect(results.contains { $0?.kind == .notSent })
        #expect(results.contains { $0?.kind == .outcomeUnknown })
        let after = await outcome { () throws(PostgresError) in try await pool.query(one) }.error
        #expect(after?.kind == .notSent)
        let copy = await outcome { () throws(PostgresError) in try await pool.simple("SELECT 1") }.error
        #expect(copy?.kind == .notSent)
        await pool.close()
    }

    @Test func `an orderly close finishes what was asked`() async throws {
        let conninfo = try await PostgresServer.freshDatabase()
        let pool = try PostgresPool(configuration: PostgresConfiguration(conninfo: conninfo, connections: 2))
        try await withThrowingTaskGroup(of: Int64.self) { group in
            for _ in 0..<200 { group.addTask { try await pool.query(one)[0].int64(0) } }
            var answers = 0
            var isClosing = false
            while let value = try await group.next() {
                answers += Int(value)
                if answers == 150, !isClosing {
                    isClosing = true
                    await pool.close()
                }
            }
            #expect(answers == 200)
        }
    }
}

@Suite struct PostgresSessionTests {
    @Test func `sessions are in UTC, READ COMMITTED and wait for nothing without end`() async throws {
        try await withPool(connections: 1, { $0.statementTimeoutMs = 1_234 }) { pool in
            let names = [
                "TimeZone", "default_transaction_isolation", "lock_timeout", "statement_timeout",
                "idle_in_transaction_session_timeout",
            ]
            let columns = names.map { "current_setting('\($0)')" }.joined(separator: ", ")
            let row = try await pool.query(Statement(sql: "SELECT \(columns)"))[0]
            let values = try (0..<names.count).map { try row.string($0) }
            #expect(values == ["UTC", "read committed", "1s", "1234ms", "5s"])
        }
    }

    @Test func `an old server is refused in one clear line, at once`() async throws {
        let conninfo = try await PostgresServer.freshDatabase()
        var configuration = PostgresConfiguration(conninfo: conninfo)
        configuration.minimumServerVersion = 990_000
        let pool = try PostgresPool(configuration: configuration)
        let start = ContinuousClock.now
        let error = await outcome { () throws(PostgresError) in try await pool.query(one) }.error
        #expect(error?.kind == .refused && error?.isTransient == false)
        #expect(error?.detail.hasPrefix("PostgreSQL 99 or newer is needed, the server runs 1") == true)
        #expect(start.duration(to: .now) < .seconds(3))
        await pool.close()
    }

    @Test func `a database in another encoding is refused`() async throws {
        let server = try await PostgresServer.shared()
        try await withPool { pool in
            try await pool.simple("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        }
        let pool = try PostgresPool(configuration: PostgresConfiguration(conninfo: server.conninfo(database: "latin")))
        let error = await outcome { () throws(PostgresError) in try await pool.query(one) }.error
        #expect(error?.kind == .refused && error?.detail.contains("LATIN1") == true)
        await pool.close()
    }

    @Test func `a malformed connection string is refused at the start`() {
        let error = #expect(throws: PostgresError.self) {
            try PostgresPool(configuration: PostgresConfiguration(conninfo: "host"))
        }
        #expect(error?.kind == .refused && error?.description.contains("\n") == false)
    }

    @Test func `a connection URI does as well`() async throws {
        let server = try await PostgresServer.shared()
        let host = server.socketDirectory.split(separator: "/").joined(separator: "%2F")
        let uri = "postgresql://postgres@%2F\(host):5432/postgres?application_name=mine"
        let pool = try PostgresPool(configuration: PostgresConfiguration(conninfo: uri, connections: 1))
        let row = try await pool.query(Statement(sql: "SELECT current_setting('application_name')"))[0]
        #expect(try row.string(0) == "mine")
        await pool.close()
    }

    @Test func `a missing database is told by the server's words`() async throws {
        let server = try await PostgresServer.shared()
        let pool = try PostgresPool(configuration: PostgresConfiguration(conninfo: server.conninfo(database: "nope")))
        let error = await outcome { () throws(PostgresError) in
            try await pool.query(one, deadline: .now + .seconds(2))
        }.error
        #expect(error?.delivery == .notSent && error?.detail.contains("\"nope\" does not exist") == true)
        await pool.close()
    }
}

@Suite struct PostgresCommitTests {
    private static let schema = """
        CREATE TABLE t (id bigint PRIMARY KEY);
        CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.id < 0 THEN RAISE EXCEPTION 'negative' USING ERRCODE = '23514', CONSTRAINT = 'not_negative'; END IF;
            IF NEW.id > 100 THEN RAISE WARNING 'as if a standby had not confirmed'; END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER warns AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION warn();
        CREATE FUNCTION loud() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'loud'; RETURN 1; END $$;
        """
    private static let insert = Statement(name: "insert", sql: "INSERT INTO t VALUES ($1)")
    private static let count = Statement(name: "count", sql: "SELECT count(*) FROM t")

    @Test(arguments: [true, false])
    func `a warning that comes with the commit makes it unconfirmed`(inTransaction: Bool) async throws {
        try await withPool(connections: 1) { pool in
            try await pool.simple(PostgresCommitTests.schema)
            func insert(_ id: Int64) async -> PostgresError? {
                await outcome { () throws(PostgresError) in
                    let step = (PostgresCommitTests.insert, [Parameter.int8(id)])
                    if inTransaction {
                        _ = try await pool.transaction([step])
                    } else {
                        _ = try await pool.query(step.0, step.1)
                    }
                }.error
            }
            // Neighbours before and behind in the same pipeline are confirmed.
            async let before = insert(1)
            async let warned = insert(101)
            async let behind = insert(2)
            #expect(await before == nil)
            #expect(await behind == nil)
            let error = await warned
            #expect(error?.kind == .unconfirmedCommit && error?.delivery == .outcomeUnknown)
            #expect(error?.isTransient == false)
            #expect(try await pool.query(PostgresCommitTests.count)[0].int64(0) == 3)
        }
    }

    @Test(arguments: [true, false])
    func `a commit that fails is an error of its unit alone`(inTransaction: Bool) async throws {
        try await withPool(connections: 1) { pool in
            try await pool.simple(PostgresCommitTests.schema)
            func insert(_ id: Int64) async -> PostgresError? {
                await outcome { () throws(PostgresError) in
                    let step = (PostgresCommitTests.insert, [Parameter.int8(id)])
                    if inTransaction {
                        _ = try await pool.transaction([step])
                    } else {
                        _ = try await pool.query(step.0, step.1)
                    }
                }.error
            }
            for round in 0..<20 as Range<Int64> {
                async let before = insert(3 * round + 1)
                async let failing = insert(-1)
                async let behind = insert(3 * round + 2)
                #expect(await before == nil)
                let error = await failing
                #expect(error?.sqlState == "23514" && error?.constraint == "not_negative")
                #expect(await behind == nil)
            }
            #expect(try await pool.query(PostgresCommitTests.count)[0].int64(0) == 40)
        }
    }

    @Test func `a warning of a statement inside a transaction does not touch its commit`() async throws {
        try await withPool(connections: 1) { pool in
            try await pool.simple(PostgresCommitTests.schema)
            let loud = Statement(name: "loud", sql: "SELECT loud()")
            let rows = try await pool.transaction([(PostgresCommitTests.insert, [.int8(1)]), (loud, [])])
            #expect(try rows[1][0].int64(0) == 1)
            // Alone its warning cannot be told from one of its commit.
            let error = await outcome { () throws(PostgresError) in try await pool.query(loud) }.error
            #expect(error?.kind == .unconfirmedCommit)
        }
    }
}

@Suite struct PostgresCrashTests {
    /// Runs inserts from several tasks while `fault` happens; every confirmed row must be there afterwards, and what
    /// was refused as `notSent` or by the server must not.
    ///
    /// Repeated when the fault happened to hit nothing in flight, four times at most.
    private func survives(_ server: LocalPostgres, _ fault: (PostgresPool) async throws -> Void) async throws {
        var unknown = 0
        for _ in 0..<4 where unknown == 0 { unknown = try await survivesOnce(server, fault) }
        #expect(unknown > 0, "the fault hit nothing in flight")
    }

    /// Returns how many requests were in flight.
    private func survivesOnce(
        _ server: LocalPostgres,
        _ fault: (PostgresPool) async throws -> Void,
    ) async throws -> Int {
        let conninfo = try await PostgresServer.freshDatabase(on: server)
        var configuration = PostgresConfiguration(conninfo: conninfo, connections: 2)
        configuration.requestTimeout = .seconds(10)
        let pool = try PostgresPool(configuration: configuration)
        try await pool.simple("CREATE TABLE t (id bigint PRIMARY KEY)")
        let insert = Statement(name: "insert", sql: "INSERT INTO t VALUES ($1)")
        let isOver = Locked(false)
        let (confirmed, absent, unknown) = try await withThrowingTaskGroup(of: (Set<Int64>, Set<Int64>, Int).self) {
            group in
            for task in 0..<16 as Range<Int64> {
                group.addTask {
                    var (confirmed, absent, unknown): (Set<Int64>, Set<Int64>, Int) = ([], [], 0)
                    var id = task * 1_000_000
                    while !isOver.withLock({ $0 }) {
                        id += 1
                        let number = id
                        let error = await outcome { () throws(PostgresError) in
                            if number % 2 == 0 {
                                _ = try await pool.query(insert, [.int8(number)])
                            } else {
                                // Never an instant with nothing in flight.
                                _ = try await pool.transaction([(insert, [.int8(number)]), (sleep, [.text("0.005")])])
                            }
                        }.error
                        switch error?.delivery {
                        case nil: confirmed.insert(number)
                        case .outcomeUnknown?: unknown += 1
                        case .notSent?, .answered?: absent.insert(number)
                        }
                    }
                    return (confirmed, absent, unknown)
                }
            }
            // Also when the fault could not be made: the group waits for its tasks.
            defer { isOver.withLock { $0 = true } }
            try await Task.sleep(for: .milliseconds(300))
            try await fault(pool)
            try await awaitRecovery(pool)
            try await Task.sleep(for: .milliseconds(200))
            isOver.withLock { $0 = true }
            return try await group.reduce(into: (Set<Int64>(), Set<Int64>(), 0)) {
                $0.0.formUnion($1.0)
                $0.1.formUnion($1.1)
                $0.2 += $1.2
            }
        }
        let rows = try await pool.query(Statement(sql: "SELECT id FROM t"), deadline: .now + .seconds(20))
        let found = Set(try rows.map { try $0.int64(0) })
        #expect(confirmed.isSubset(of: found), "lost \(confirmed.subtracting(found).count) confirmed rows")
        #expect(absent.isDisjoint(with: found))
        #expect(confirmed.count > 20)
        await pool.close()
        return unknown
    }

    @Test func `kill -9 of the server loses nothing confirmed, and the pool recovers`() async throws {
        try await PostgresServer.withPrivateServer { server in
            try await survives(server) { _ in
                try await server.kill()
                try await server.start()
            }
        }
    }

    @Test func `kill -9 of one backend loses nothing confirmed, and the pool recovers`() async throws {
        try await PostgresServer.withPrivateServer { server in
            try await survives(server) { pool in
                let pid = try await pool.query(Statement(sql: "SELECT pg_backend_pid()"))[0].int64(0)
                #expect(kill(pid_t(pid), SIGKILL) == 0)
            }
        }
    }

    @Test func `a terminated session says outcomeUnknown, a restart is survived`() async throws {
        try await PostgresServer.withPrivateServer(isDurable: false) { server in
            try await survives(server) { pool in
                _ = try await pool.query(
                    Statement(
                        sql: """
                            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                            WHERE datname = current_database() AND pid <> pg_backend_pid()
                            """
                    )
                )
                try await server.restart()
            }
        }
    }

    @Test func `a suspended server holds nobody beyond the deadline`() async throws {
        try await PostgresServer.withPrivateServer(isDurable: false) { server in
            let conninfo = try await PostgresServer.freshDatabase(on: server)
            let pool = try PostgresPool(configuration: PostgresConfiguration(conninfo: conninfo, connections: 1))
            let backend = pid_t(try await pool.query(Statement(sql: "SELECT pg_backend_pid()"))[0].int64(0))
            kill(backend, SIGSTOP)
            defer { kill(backend, SIGCONT) }
            let start = ContinuousClock.now
            let error = await outcome { () throws(PostgresError) in
                try await pool.query(one, deadline: .now + .milliseconds(300))
            }.error
            #expect(error?.kind == .deadlineExceeded(.outcomeUnknown))
            #expect(start.duration(to: .now) < .seconds(2))
            // The postmaster still runs: the next connection works.
            #expect(try await pool.query(one)[0].int64(0) == 1)
            await pool.close()
        }
    }
}
