// A real PostgreSQL for tests: one private server per test process, started at the first use, ended with the process;
// a database of its own for each suite that wants one, copied from a template in a few milliseconds.

internal import Foundation
package import LocalServers
internal import OwnerThread
internal import PostgresClient

/// The test process's server.
package enum PostgresServer {
    /// Starts the server if needed. Every caller waits for the same one.
    package static func shared() async throws -> LocalPostgres { try await SharedPostgres.instance.server() }

    /// A new empty database, a copy of `template`, on the shared server; its connection string.
    package static func freshDatabase(template: String = "template1") async throws -> String {
        let server = try await shared()
        return try await freshDatabase(on: server, template: template)
    }

    /// The same on a server that a fault test started for itself.
    package static func freshDatabase(on server: LocalPostgres, template: String = "template1") async throws -> String {
        let name = "test_\(SharedPostgres.instance.nextNumber())"
        let pool = try PostgresPool(
            configuration: PostgresConfiguration(
                conninfo: server.conninfo(database: "postgres"),
                connections: 1,
                statementTimeoutMs: 30_000,
            )
        )
        do {
            try await checkOwnership(of: server, pool)
            try await pool.simple("CREATE DATABASE \(name) TEMPLATE \(template) STRATEGY file_copy")
            await pool.close()
        } catch {
            await pool.close()
            throw error
        }
        return server.conninfo(database: name)
    }

    /// A server of its own, for tests that kill it. `body` may stop, kill and restart it.
    package static func withPrivateServer<Value: Sendable>(
        isDurable: Bool = true,
        settings: [String] = [],
        _ body: (LocalPostgres) async throws -> Value,
    ) async throws -> Value {
        let directory = try LocalFiles.temporaryFolder("so-pg")
        defer { LocalFiles.removeTree(directory) }
        let server = try await LocalServers.postgres(directory: directory, isDurable: isDurable, settings: settings)
        SharedPostgres.instance.endAtExit(server)
        defer { server.endBlocking() }
        return try await body(server)
    }

    /// Throws unless the server that answers keeps its data where ours does.
    private static func checkOwnership(of server: LocalPostgres, _ pool: PostgresPool) async throws {
        let rows = try await pool.query(Statement(sql: "SELECT current_setting('data_directory')"))
        let directory = try rows.first?.string(0)
        guard directory == "\(server.directory)/data" else {
            throw LocalServerError(.state, "a foreign server answers in \(server.directory)")
        }
    }
}

/// Starts the server once, and ends every server with the process.
private actor SharedPostgres {
    static let instance = SharedPostgres()

    private var starting: Task<LocalPostgres, any Error>?
    private nonisolated let number = Locked(0)
    private nonisolated let owned = Locked<[LocalPostgres]>([])

    func server() async throws -> LocalPostgres {
        if let starting { return try await starting.value }
        let task = Task {
            let directory = try LocalFiles.temporaryFolder("so-pg")
            let server = try await LocalServers.postgres(directory: directory, isDurable: false)
            endAtExit(server)
            return server
        }
        starting = task
        return try await task.value
    }

    nonisolated func nextNumber() -> Int {
        number.withLock { number in
            number += 1
            return number
        }
    }

    nonisolated func endAtExit(_ server: LocalPostgres) {
        let isFirst = owned.withLock { owned in
            owned.append(server)
            return owned.count == 1
        }
        if isFirst { atexit { SharedPostgres.instance.endAll() } }
    }

    private nonisolated func endAll() {
        for server in owned.withLock({ $0 }) {
            server.endBlocking()
            LocalFiles.removeTree(server.directory)
        }
    }
}
