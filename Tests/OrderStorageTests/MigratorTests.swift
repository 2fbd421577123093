import OrderEngine
import PostgresClient
import SmartOrders
import TestKit
import Testing

@testable import OrderStorage

@Suite(.serialized) struct `Migrations` {
    @Test func `a second run finds nothing to do`() async throws {
        try await withDatabase { pool in
            let migrator = Migrator(pool: pool)
            await #expect(throws: StoreError.self) { try await migrator.validate() }
            #expect(try await migrator.up() == Migration.all.map(\.version))
            #expect(try await migrator.up() == [])
            try await migrator.validate()
            #expect(try await migrator.status().allSatisfy { $0.state == .applied && $0.appliedAt != nil })
        }
    }

    @Test func `migrators that run at once do each step once`() async throws {
        try await withDatabase { pool in
            let done = try await withThrowingTaskGroup(of: [Int].self) { group in
                for _ in 0..<4 { group.addTask { try await Migrator(pool: pool).up() } }
                return try await group.reduce(into: [Int]()) { $0 += $1 }
            }
            #expect(done.sorted() == Migration.all.map(\.version))
        }
    }

    @Test func `an edited file is noticed`() async throws {
        try await withDatabase { pool in
            try await Migrator(pool: pool).up()
            var migrations = Migration.all
            let last = migrations.removeLast()
            let edited = last.up + Array("-- a late idea".utf8)
            migrations.append(Migration(version: last.version, name: last.name, up: edited, down: last.down))
            let migrator = Migrator(pool: pool, binaryVersion: "test", migrations: migrations)
            let error = await #expect(throws: StoreError.self) { try await migrator.validate() }
            #expect(error?.code == .incompatible)
            let digits = "\(last.version)"
            let name = String(repeating: "0", count: 4 - digits.count) + "\(digits)_\(last.name)"
            #expect(error?.detail == "migration \(name) was applied with another content than it has here")
            await #expect(throws: StoreError.self) { try await migrator.up() }
        }
    }

    @Test func `a newer schema is refused`() async throws {
        try await withDatabase { pool in
            let newer =
                Migration.all + [
                    Migration(version: 99, name: "tomorrow", up: Array("SELECT 1".utf8), down: Array("SELECT 1".utf8))
                ]
            try await Migrator(pool: pool, binaryVersion: "next", migrations: newer).up()
            let error = await #expect(throws: StoreError.self) { try await Migrator(pool: pool).up() }
            #expect(error?.code == .incompatible)
            #expect(error?.detail == "the schema is newer than this binary: migration 0099_tomorrow is not known here")
        }
    }

    @Test func `a migration that fails leaves nothing behind`() async throws {
        try await withDatabase { pool in
            let broken = Migration(
                version: 99,
                name: "broken",
                up: Array("CREATE TABLE half (a integer); SELECT 1 / 0".utf8),
                down: [],
            )
            let migrator = Migrator(pool: pool, binaryVersion: "test", migrations: Migration.all + [broken])
            await #expect(throws: StoreError.self) { try await migrator.up() }
            try await Migrator(pool: pool).validate()
            let half = try await pool.query(Statement(sql: "SELECT to_regclass('half') IS NULL"))
            #expect(try half[0].bool(0))
        }
    }

    @Test func `down and up again make the same schema`() async throws {
        try await withDatabase { pool in
            let migrator = Migrator(pool: pool)
            try await migrator.up()
            let before = try await columns(pool)
            while try await migrator.down() != nil {}
            #expect(try await columns(pool).allSatisfy { $0.hasPrefix("schema_migrations ") })
            try await migrator.up()
            #expect(try await columns(pool) == before)
        }
    }

    private func columns(_ pool: PostgresPool) async throws -> [String] {
        let statement = Statement(
            sql: """
                SELECT c.table_name || ' ' || c.column_name || ' ' || c.data_type || ' ' || coalesce(c.column_default, '')
                FROM information_schema.columns AS c WHERE c.table_schema = 'public' ORDER BY 1
                """
        )
        return try await pool.query(statement).map { try $0.string(0) }
    }
}
