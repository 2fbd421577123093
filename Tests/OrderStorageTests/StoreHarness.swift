import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders
import TestKit

/// Turns every bit: enough to see that nothing is stored plain.
struct InvertingBox: SecretBox {
    func seal(_ secret: [UInt8], as name: CredentialName) throws -> [UInt8] { secret.map { ~$0 } }
    func open(_ sealed: [UInt8], as name: CredentialName) throws -> [UInt8] { sealed.map { ~$0 } }
}

/// Stores on a new database with the present schema, and the pool under them.
func withStores<Value>(_ body: (StoresUnderTest, PostgresPool) async throws -> Value) async throws -> Value {
    try await withDatabase { pool in
        try await Migrator(pool: pool).up()
        return try await body(try await stores(on: pool), pool)
    }
}

/// The stores of a database that has the present schema.
func stores(on pool: PostgresPool) async throws -> StoresUnderTest {
    let history = try await DatabaseHistory.check(pool)
    let orders = PostgresOrderStore(pool: pool, incarnation: history.incarnation)
    return StoresUnderTest(
        orders: orders,
        accounts: PostgresAccountStore(pool: pool, secrets: InvertingBox()),
        cluster: PostgresClusterStore(pool: pool, orders: orders),
    )
}

/// A new empty database.
func withDatabase<Value>(_ body: (PostgresPool) async throws -> Value) async throws -> Value {
    let configuration = PostgresConfiguration.stores(
        conninfo: try await PostgresServer.freshDatabase(),
        connections: 8,
    )
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
