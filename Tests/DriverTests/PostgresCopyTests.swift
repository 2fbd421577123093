import PostgresClient
import TestKit
import Testing

@Suite struct PostgresCopyTests {
    @Test func `a million rows stream out in order`() async throws {
        try await withPool(connections: 1) { pool in
            var (count, sum, chunks, texts) = (Int64(0), Int64(0), 0, 0)
            let query = "SELECT n, 'note ' || n, NULL::bytea FROM generate_series(1::bigint, 1000000) AS n"
            for try await rows in pool.copyOut(query) {
                chunks += 1
                for row in rows {
                    let number = try row.int64(0)
                    #expect(number == count + 1)
                    count = number
                    sum += number
                    if number % 1_000 == 0 {
                        #expect(try row.string(1) == "note \(number)")
                        #expect(row.isNull(2))
                        texts += 1
                    }
                }
            }
            #expect(count == 1_000_000 && sum == 500_000_500_000 && texts == 1_000)
            #expect(chunks > 10)
        }
    }

    @Test func `variables stand in for parameters`() async throws {
        try await withPool(connections: 1) { pool in
            var found: [Int64] = []
            let query = """
                SELECT n FROM generate_series(1::bigint, 10) AS n
                WHERE n = ANY (current_setting('copy.shards')::bigint[]) ORDER BY n
                """
            for try await rows in pool.copyOut(query, variables: [("copy.shards", "{3,7}")]) {
                for row in rows { found.append(try row.int64(0)) }
            }
            #expect(found == [3, 7])
        }
    }

    @Test func `nothing is no chunk, an error is the server's`() async throws {
        try await withPool(connections: 1) { pool in
            for try await _ in pool.copyOut("SELECT 1 WHERE false") { Issue.record("a chunk of nothing") }
            let early = await #expect(throws: PostgresError.self) {
                for try await _ in pool.copyOut("SELECT no_such_column") {}
            }
            #expect(early?.sqlState == "42703")
            // Fails after chunks were delivered.
            let late = await #expect(throws: PostgresError.self) {
                for try await _ in pool.copyOut("SELECT 1 / (500000 - n) FROM generate_series(1, 600000) AS n") {}
            }
            #expect(late?.sqlState == "22012")
        }
    }

    @Test func `a reader that stops ends the operation`() async throws {
        try await withPool(connections: 1, { $0.exclusiveConnections = 1 }) { pool in
            for _ in 0..<3 {
                var rows = 0
                // Room for one operation only: the second pass needs the first one's place.
                while rows == 0 {
                    do throws(PostgresError) {
                        for try await chunk in pool.copyOut("SELECT n FROM generate_series(1, 10000000) AS n") {
                            rows += chunk.count
                            break
                        }
                    } catch {
                        #expect(error.kind == .notSent && error.isTransient)
                        await Task.yield()
                    }
                }
            }
        }
    }

    @Test func `a deadline ends a slow copy`() async throws {
        try await withPool(connections: 1) { pool in
            let error = await #expect(throws: PostgresError.self) {
                let query = "SELECT pg_sleep(0.01) FROM generate_series(1, 10000)"
                for try await _ in pool.copyOut(query, deadline: .now + .milliseconds(200)) {}
            }
            // Ours or the server's, whichever comes first; both say that nothing was done.
            #expect(error?.delivery == .notSent || error?.sqlState == "57014")
            #expect(error?.isTransient == true)
        }
    }

    @Test func `rows are copied in whole or not at all`() async throws {
        try await withPool(connections: 1) { pool in
            try await pool.simple("CREATE TABLE loaded (id bigint PRIMARY KEY, note text)")
            let copied = try await pool.copyIn("COPY loaded FROM STDIN") { number in
                guard number < 20 else { return nil }
                let lines = (0..<5_000).map { "\(number * 5_000 + $0)\tnote \($0)\n" }
                return Array(lines.joined().utf8)
            }
            #expect(copied == 100_000)
            let error = await #expect(throws: PostgresError.self) {
                try await pool.copyIn("COPY loaded FROM STDIN") { number in
                    number < 2 ? Array("\(200_000 * (1 - number))\tx\n".utf8) : nil
                }
            }
            #expect(error?.sqlState == "23505")
            #expect(try await pool.query(Statement(sql: "SELECT count(*) FROM loaded"))[0].int64(0) == 100_000)
            let refused = await #expect(throws: PostgresError.self) {
                try await pool.copyIn("SELECT 1") { _ in nil }
            }
            #expect(refused?.kind == .refused)
        }
    }
}
