// Brings the schema to what this binary expects, and says when it is something else (INTERFACES.md 5.8).
//
// Each migration is one transaction together with its line in `schema_migrations`. An advisory lock keeps two migrators
// apart, and the line's key keeps them right without it. Checksums are computed by the server, so this module needs no
// cryptography.

public import OrderEngine
public import PostgresClient
public import SmartOrders

/// One migration that this binary knows.
struct Migration: Sendable {
    let version: Int
    let name: String
    let up: [UInt8]
    let down: [UInt8]

    static let all: [Migration] = [
        Migration(
            version: 1,
            name: "control",
            up: PackageResources._001_control_up_sql,
            down: PackageResources._001_control_down_sql,
        ),
        Migration(
            version: 2,
            name: "accounts",
            up: PackageResources._002_accounts_up_sql,
            down: PackageResources._002_accounts_down_sql,
        ),
        Migration(
            version: 3,
            name: "orders",
            up: PackageResources._003_orders_up_sql,
            down: PackageResources._003_orders_down_sql,
        ),
        Migration(
            version: 4,
            name: "cluster",
            up: PackageResources._004_cluster_up_sql,
            down: PackageResources._004_cluster_down_sql,
        ),
        Migration(
            version: 5,
            name: "explain",
            up: PackageResources._005_explain_up_sql,
            down: PackageResources._005_explain_down_sql,
        ),
        Migration(
            version: 6,
            name: "native",
            up: PackageResources._006_native_up_sql,
            down: PackageResources._006_native_down_sql,
        ),
        Migration(
            version: 7,
            name: "traders",
            up: PackageResources._007_traders_up_sql,
            down: PackageResources._007_traders_down_sql,
        ),
        Migration(
            version: 8,
            name: "positions",
            up: PackageResources._008_positions_up_sql,
            down: PackageResources._008_positions_down_sql,
        ),
        Migration(
            version: 9,
            name: "conditional",
            up: PackageResources._009_conditional_up_sql,
            down: PackageResources._009_conditional_down_sql,
        ),
        Migration(
            version: 10,
            name: "operations",
            up: PackageResources._010_operations_up_sql,
            down: PackageResources._010_operations_down_sql,
        ),
        Migration(
            version: 11,
            name: "tenants",
            up: PackageResources._011_tenants_up_sql,
            down: PackageResources._011_tenants_down_sql,
        ),
        Migration(
            version: 12,
            name: "panel",
            up: PackageResources._012_panel_up_sql,
            down: PackageResources._012_panel_down_sql,
        ),
        Migration(
            version: 13,
            name: "credentials",
            up: PackageResources._013_credentials_up_sql,
            down: PackageResources._013_credentials_down_sql,
        ),
        Migration(
            version: 14,
            name: "position_orders",
            up: PackageResources._014_position_orders_up_sql,
            down: PackageResources._014_position_orders_down_sql,
        ),
        Migration(
            version: 15,
            name: "queue",
            up: PackageResources._015_queue_up_sql,
            down: PackageResources._015_queue_down_sql,
        ),
        Migration(
            version: 16,
            name: "answers",
            up: PackageResources._016_answers_up_sql,
            down: PackageResources._016_answers_down_sql,
        ),
        Migration(
            version: 17,
            name: "hooks",
            up: PackageResources._017_hooks_up_sql,
            down: PackageResources._017_hooks_down_sql,
        ),
        Migration(
            version: 18,
            name: "venue_readings",
            up: PackageResources._018_venue_readings_up_sql,
            down: PackageResources._018_venue_readings_down_sql,
        ),
        Migration(
            version: 19,
            name: "stream_tickets",
            up: PackageResources._019_stream_tickets_up_sql,
            down: PackageResources._019_stream_tickets_down_sql,
        ),
        Migration(
            version: 21,
            name: "position_shares",
            up: PackageResources._021_position_shares_up_sql,
            down: PackageResources._021_position_shares_down_sql,
        ),
        Migration(
            version: 22,
            name: "desk",
            up: PackageResources._022_desk_up_sql,
            down: PackageResources._022_desk_down_sql,
        ),
        Migration(
            version: 23,
            name: "recovery",
            up: PackageResources._023_recovery_up_sql,
            down: PackageResources._023_recovery_down_sql,
        ),
        Migration(
            version: 24,
            name: "sealed_answers",
            up: PackageResources._024_sealed_answers_up_sql,
            down: PackageResources._024_sealed_answers_down_sql,
        ),
        Migration(
            version: 25,
            name: "operators",
            up: PackageResources._025_operators_up_sql,
            down: PackageResources._025_operators_down_sql,
        ),
        Migration(
            version: 26,
            name: "told",
            up: PackageResources._026_told_up_sql,
            down: PackageResources._026_told_down_sql,
        ),
        Migration(
            version: 27,
            name: "late_facts",
            up: PackageResources._027_late_facts_up_sql,
            down: PackageResources._027_late_facts_down_sql,
        ),
        Migration(
            version: 28,
            name: "open_orders",
            up: PackageResources._028_open_orders_up_sql,
            down: PackageResources._028_open_orders_down_sql,
        ),
        Migration(
            version: 30,
            name: "reading",
            up: PackageResources._030_reading_up_sql,
            down: PackageResources._030_reading_down_sql,
        ),
        Migration(
            version: 32,
            name: "heard",
            up: PackageResources._032_heard_up_sql,
            down: PackageResources._032_heard_down_sql,
        ),
        Migration(
            version: 38,
            name: "told_gaps",
            up: PackageResources._038_told_gaps_up_sql,
            down: PackageResources._038_told_gaps_down_sql,
        ),
        Migration(
            version: 39,
            name: "api_secret",
            up: PackageResources._039_api_secret_up_sql,
            down: PackageResources._039_api_secret_down_sql,
        ),
        Migration(
            version: 40,
            name: "hook_modes",
            up: PackageResources._040_hook_modes_up_sql,
            down: PackageResources._040_hook_modes_down_sql,
        ),
        Migration(
            version: 41,
            name: "hook_crashes",
            up: PackageResources._041_hook_crashes_up_sql,
            down: PackageResources._041_hook_crashes_down_sql,
        ),
        Migration(
            version: 42,
            name: "due_work",
            up: PackageResources._042_due_work_up_sql,
            down: PackageResources._042_due_work_down_sql,
        ),
        Migration(
            version: 43,
            name: "feeds",
            up: PackageResources._043_feeds_up_sql,
            down: PackageResources._043_feeds_down_sql,
        ),
        Migration(
            version: 44,
            name: "account_events",
            up: PackageResources._044_account_events_up_sql,
            down: PackageResources._044_account_events_down_sql,
        ),
        Migration(
            version: 45,
            name: "operator_reach",
            up: PackageResources._045_operator_reach_up_sql,
            down: PackageResources._045_operator_reach_down_sql,
        ),
        Migration(
            version: 46,
            name: "present_history",
            up: PackageResources._046_present_history_up_sql,
            down: PackageResources._046_present_history_down_sql,
        ),
        Migration(
            version: 47,
            name: "backfills",
            up: PackageResources._047_backfills_up_sql,
            down: PackageResources._047_backfills_down_sql,
        ),
        Migration(
            version: 48,
            name: "gap_events",
            up: PackageResources._048_gap_events_up_sql,
            down: PackageResources._048_gap_events_down_sql,
        ),
    ]
}

/// One line of `smartorders migrate status`.
public struct MigrationStatus: Hashable, Sendable {
    public enum State: String, Hashable, Sendable {
        case applied = "APPLIED"
        case pending = "PENDING"
        /// Applied from a file with other content.
        case edited = "EDITED"
        /// Applied by a newer binary.
        case unknown = "UNKNOWN"
    }
    public let version: Int
    public let name: String
    public let state: State
    public let appliedAt: Timestamp?
}

/// Applies and checks migrations.
public struct Migrator: Sendable {
    private static let file = StatementFile(PackageResources.migrations_sql, prefix: "migrations")
    /// Any fixed number: names the lock of this program's migrators.
    private static let lock: Int64 = 0x736d_6172_746f
    private static let maximumTries = 10

    private let pool: PostgresPool
    private let binaryVersion: String
    private let migrations: [Migration]

    public init(pool: PostgresPool, binaryVersion: String = "dev") {
        self.init(pool: pool, binaryVersion: binaryVersion, migrations: Migration.all)
    }

    init(pool: PostgresPool, binaryVersion: String, migrations: [Migration]) {
        precondition(!binaryVersion.contains("'"))
        self.pool = pool
        self.binaryVersion = binaryVersion
        self.migrations = migrations
    }

    /// Known and applied migrations, ascending.
    public func status() async throws(StoreError) -> [MigrationStatus] {
        let known = try await checksums()
        let applied = try await self.applied()
        var lines = migrations.map { migration in
            let line = applied[migration.version]
            let state: MigrationStatus.State =
                switch line {
                case nil: .pending
                case let line? where line.sha256 == known[migration.version] && line.name == migration.name: .applied
                case .some: .edited
                }
            return MigrationStatus(
                version: migration.version,
                name: migration.name,
                state: state,
                appliedAt: line?.at,
            )
        }
        for (version, line) in applied where !migrations.contains(where: { $0.version == version }) {
            lines.append(MigrationStatus(version: version, name: line.name, state: .unknown, appliedAt: line.at))
        }
        return lines.sorted { $0.version < $1.version }
    }

    /// Throws `incompatible` with one clear line unless every known migration is applied as it is here, and no other.
    public func validate() async throws(StoreError) {
        try Self.check(try await status())
    }

    /// Applies what is missing; the versions that it applied. Throws as `validate` for a schema that it must not touch.
    @discardableResult
    public func up() async throws(StoreError) -> [Int] {
        try await script(Self.file["create"].sql)
        var done: [Int] = []
        let checksums = try await self.checksums()
        while true {
            let status = try await status()
            try Self.check(status.filter { $0.state != .pending })
            guard let next = status.first(where: { $0.state == .pending }),
                let migration = migrations.first(where: { $0.version == next.version })
            else { return done }
            let line = """
                INSERT INTO schema_migrations (version, name, sha256, binary_version) VALUES (\(migration.version), \
                '\(migration.name)', '\(checksums[migration.version] ?? "")', '\(binaryVersion)')
                """
            // The line first: a second migrator fails on its key and does nothing.
            if try await script("\(line);\n\(String(decoding: migration.up, as: UTF8.self))") {
                done.append(migration.version)
            }
        }
    }

    /// Takes the last migration back; its version, nil when there is none.
    @discardableResult
    public func down() async throws(StoreError) -> Int? {
        let status = try await status()
        try Self.check(status.filter { $0.state != .pending })
        guard let last = status.last(where: { $0.state == .applied }),
            let migration = migrations.first(where: { $0.version == last.version })
        else { return nil }
        let line = "DELETE FROM schema_migrations WHERE version = \(migration.version)"
        try await script("\(String(decoding: migration.down, as: UTF8.self));\n\(line)")
        return migration.version
    }

    private static func check(_ status: [MigrationStatus]) throws(StoreError) {
        func file(_ line: MigrationStatus) -> String {
            let digits = String(line.version)
            return String(repeating: "0", count: max(0, 4 - digits.count)) + digits + "_" + line.name
        }
        if let line = status.last(where: { $0.state == .unknown }) {
            throw StoreError(
                .incompatible,
                "the schema is newer than this binary: migration \(file(line)) is not known here",
            )
        }
        if let line = status.first(where: { $0.state == .edited }) {
            throw StoreError(
                .incompatible,
                "migration \(file(line)) was applied with another content than it has here",
            )
        }
        if let line = status.first(where: { $0.state == .pending }) {
            throw StoreError(.incompatible, "migration \(file(line)) is pending: run `smartorders migrate up`")
        }
    }

    /// Runs statements in one transaction under the migrators' lock. False: another migrator was faster.
    @discardableResult
    private func script(_ sql: String) async throws(StoreError) -> Bool {
        var tries = 0
        while true {
            tries += 1
            do throws(PostgresError) {
                // Short lock waits, so that a migration never queues the traffic behind itself.
                try await pool.simple(
                    """
                    BEGIN;
                    SET LOCAL lock_timeout = '2s';
                    SET LOCAL statement_timeout = '600s';
                    SELECT pg_advisory_xact_lock(\(Self.lock));
                    \(sql);
                    COMMIT
                    """
                )
                return true
            } catch {
                if error.constraint == "schema_migrations_pkey" { return false }
                guard error.isTransient, tries < Self.maximumTries else { throw StoreError(error) }
            }
        }
    }

    private func checksums() async throws(StoreError) -> [Int: String] {
        var files = ArrayColumn(.bytea)
        for migration in migrations { files.append(migration.up) }
        let parameter = files.parameter()
        return try await reading {
            let rows = try await pool.query(Self.file["checksums"], [parameter])
            let pairs = try zip(migrations, rows).map { ($0.version, try $1.string(0)) }
            return Dictionary(uniqueKeysWithValues: pairs)
        }
    }

    private func applied() async throws(StoreError) -> [Int: (name: String, sha256: String, at: Timestamp)] {
        try await reading {
            guard try await pool.query(Self.file["exists"])[0].bool(0) else { return [:] }
            var lines: [Int: (name: String, sha256: String, at: Timestamp)] = [:]
            for row in try await pool.query(Self.file["applied"]) {
                lines[Int(try row.int64(0))] = (try row.string(1), try row.string(2), try row.moment(3))
            }
            return lines
        }
    }
}
