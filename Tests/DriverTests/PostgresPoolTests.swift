import PostgresClient
import TestKit
import Testing

/// Runs `body` with a pool on a new database and closes it afterwards.
func withPool<Value>(
    connections: Int = 2,
    _ change: (inout PostgresConfiguration) -> Void = { _ in },
    _ body: (PostgresPool) async throws -> Value,
) async throws -> Value {
    var configuration = PostgresConfiguration(
        conninfo: try await PostgresServer.freshDatabase(),
        connections: connections,
    )
    change(&configuration)
    let pool = try PostgresPool(configuration: configuration)
    do {
        let value = try await body(pool)
        await pool.close()
        return value
    } catch {
        await pool.close()
        throw error
    }
}

@Suite struct PostgresPoolTests {
    @Test func `a thousand concurrent queries each get their own answer`() async throws {
        try await withPool { pool in
            let double = Statement(name: "double", sql: "SELECT $1::bigint * 2")
            let sum = try await withThrowingTaskGroup(of: Int64.self) { group in
                for number in 1...1_000 {
                    group.addTask {
                        let rows = try await pool.query(double, [.int8(Int64(number))])
                        let value = try rows[0].int64(0)
                        #expect(value == Int64(number) * 2)
                        return value
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(sum == 1_001_000)
        }
    }

    @Test func `an error harms only the statement that caused it`() async throws {
        try await withPool(connections: 1) { pool in
            let divide = Statement(name: "divide", sql: "SELECT 10 / $1::bigint")
            let nonsense = Statement(name: "nonsense", sql: "SELECT no_such_column")
            let answers = await withTaskGroup(of: (Int, Result<Int64, PostgresError>).self) { group in
                for number in 0..<90 {
                    group.addTask {
                        do throws(PostgresError) {
                            let rows =
                                number % 3 == 2
                                ? try await pool.query(nonsense)
                                : try await pool.query(divide, [.int8(Int64(number % 3))])
                            return (number, .success((try? rows[0].int64(0)) ?? -1))
                        } catch {
                            return (number, .failure(error))
                        }
                    }
                }
                return await group.reduce(into: [Int: Result<Int64, PostgresError>]()) { $0[$1.0] = $1.1 }
            }
            for (number, answer) in answers {
                switch (number % 3, answer) {
                case (0, .failure(let error)): #expect(error.sqlState == "22012" && error.delivery == .answered)
                case (1, .success(let value)): #expect(value == 10)
                case (2, .failure(let error)): #expect(error.sqlState == "42703")
                default: Issue.record("\(number): \(answer)")
                }
            }
        }
    }

    @Test func `a statement that cannot be prepared spoils none that a neighbour shares`() async throws {
        let nonsense = Statement(name: "nonsense", sql: "SELECT no_such_column")
        for _ in 0..<5 {
            try await withPool(connections: 1) { pool in
                // All are posted while the connection opens, so they share a pipeline in which nothing is prepared yet.
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    for number in 0..<20 as Range<Int64> {
                        let shared = Statement(name: "shared\(number)", sql: "SELECT $1::bigint + \(number)")
                        group.addTask {
                            let error = await #expect(throws: PostgresError.self) {
                                try await pool.transaction([(nonsense, []), (shared, [.int8(1)])])
                            }
                            return error?.sqlState == "42703"
                        }
                        group.addTask { try await pool.query(shared, [.int8(1)])[0].int64(0) == 1 + number }
                    }
                    for try await isRight in group { #expect(isRight) }
                }
            }
        }
    }

    @Test func `a transaction takes effect as a whole or not at all`() async throws {
        try await withPool(connections: 1) { pool in
            try await pool.simple("CREATE TABLE t (id bigint PRIMARY KEY, note text)")
            let insert = Statement(name: "insert", sql: "INSERT INTO t VALUES ($1, $2)")
            let count = Statement(name: "count", sql: "SELECT count(*) FROM t")
            let results = try await pool.transaction([
                (insert, [.int8(1), .text("a")]), (insert, [.int8(2), .null]), (count, []),
            ])
            #expect(results.map(\.affected) == [1, 1, 1])
            #expect(try results[2][0].int64(0) == 2)

            async let neighbour = pool.query(count)
            let error = await #expect(throws: PostgresError.self) {
                try await pool.transaction([
                    (insert, [.int8(3), .null]), (insert, [.int8(1), .null]), (insert, [.int8(4), .null]),
                ])
            }
            #expect(error?.sqlState == "23505" && error?.constraint == "t_pkey")
            if case .server(let server)? = error?.kind { #expect(server.statement == 1) }
            #expect(try await neighbour[0].int64(0) == 2)
            // The same session goes on as if nothing had happened.
            #expect(try await pool.query(count)[0].int64(0) == 2)
            #expect(try await pool.query(insert, [.int8(3), .null]).affected == 1)
        }
    }
}
