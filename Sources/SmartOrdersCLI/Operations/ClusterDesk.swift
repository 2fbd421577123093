// What operators' commands on the cluster have in common. They need PostgreSQL alone: halting and looking must work with
// Redis away.
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage
import PostgresClient
import SmartOrders

/// An operator's view of the cluster.
struct ClusterDesk: Sendable {
    let control: PostgresClusterControl
    let orders: PostgresOrderStore
    let pool: PostgresPool
    let name: String

    /// Runs `body` with a connection that ends with it.
    static func with<Result: Sendable>(
        _ connections: ConnectionOptions,
        _ body: (ClusterDesk) async throws -> Result,
    ) async throws -> Result {
        let pool = try Backend.pool(try connections.databaseURL())
        do {
            try await Migrator(pool: pool, binaryVersion: Backend.version).validate()
            let history = try await DatabaseHistory.check(pool)
            let result = try await body(
                ClusterDesk(
                    control: PostgresClusterControl(pool: pool),
                    orders: PostgresOrderStore(pool: pool, incarnation: history.incarnation, began: history.began),
                    pool: pool,
                    name: Operator.presentName,
                )
            )
            await pool.close()
            return result
        } catch {
            await pool.close()
            switch error {
            case is StoreError: throw Backend.databaseFailure(error)
            default: throw error
            }
        }
    }

    /// Whether an account trades with money.
    func isLive(_ account: AccountID) async throws(StoreError) -> Bool {
        // It reads no venue key, so any box will do.
        guard let secrets = SealedSecrets(hexadecimal: SealedSecrets.makeKey()) else { return false }
        return try await PostgresAccountStore(pool: pool, secrets: secrets).account(account)?.mode == .live
    }

    func note(_ reason: String) -> OperatorNote { OperatorNote(actor: name, reason: reason) }
}

/// What is dangerous is said twice: the first call shows what would happen and a code, the second names the code. The
/// code is made of what was seen, so it is void when that has changed since.
enum TwoSteps {
    static func code(_ seen: [String]) -> String {
        String(hexadecimal(sha256(Array(seen.joined(separator: "\u{1f}").utf8))).prefix(8))
    }

    /// True: go on. Otherwise it was told how.
    static func confirm(_ given: String?, of seen: [String], _ sentence: String) throws -> Bool {
        let code = code(seen)
        guard let given else {
            show(sentence)
            show("nothing was changed; to do it, say the same again with --code \(code)")
            return false
        }
        guard given == code else {
            throw Failure(
                .conflict,
                "CODE_MISMATCH",
                "\(given) is not the code of what is there now: something changed, or it is misspelt.",
                hint: "without --code the present one is shown",
            )
        }
        return true
    }
}
