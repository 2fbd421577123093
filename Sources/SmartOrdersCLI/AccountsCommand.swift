// `smartorders accounts`: what a deployment needs before its first order.
import ArgumentParser
import Exchanges
import OrderEngine
import OrderStorage
import SmartOrders

struct AccountsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accounts",
        abstract: "Accounts and their keys.",
        subcommands: [Create.self, List.self],
    )

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Creates an account at the paper venue, reads its markets, and prints an API key once.",
            discussion: """
                EXAMPLES
                  smartorders accounts create --name demo
                  SMARTORDERS_VENUE_SECRET=demo-secret smartorders accounts create --name spot --product spot
                """,
        )
        @OptionGroup var options: ServeCommand.RoleOptions
        @Option(help: "Name of the account.")
        var name: String
        @Option(help: "spot or linear.")
        var product = "linear"
        @Option(help: "Key at the paper venue; its secret comes from SMARTORDERS_VENUE_SECRET.")
        var venueKey = "demo"

        func run() async throws {
            guard ["spot", "linear"].contains(product) else {
                throw Failure(
                    .usage,
                    "PRODUCT",
                    "\(product) is no product of the paper venue.",
                    hint: "spot or linear",
                )
            }
            guard try options.deployment().masterKey != nil else {
                throw Failure(
                    .usage,
                    "MASTER_KEY_REQUIRED",
                    "venue keys are stored sealed: SMARTORDERS_MASTER_KEY is needed.",
                    hint: "the same 64 hexadecimal digits as the workers have",
                )
            }
            let backend = try await options.backend("accounts")
            var random = SystemRandomNumberGenerator()
            let id = AccountID(UniqueID(unixMilliseconds: backend.clock.now().milliseconds, random: &random))
            let secret = environment("SMARTORDERS_VENUE_SECRET") ?? "demo-secret"
            let key = APIKeys.make()
            do {
                try await backend.accounts.create(
                    Account(id: id, name: name, venue: "paper", product: product, mode: .paper),
                    credentials: Credentials(key: venueKey, secret: secret),
                )
                try await backend.accounts.addAPIKey(hash: APIKeys.hash(key), account: id)
                try await backend.accounts.save(try await backend.venues.venue(for: id).instruments())
            } catch let error as VenueError {
                await backend.close()
                throw Failure(
                    .unreachable,
                    "VENUE_UNREACHABLE",
                    error.detail,
                    hint: "is the paper venue running? --paper-venue",
                )
            } catch {
                await backend.close()
                throw Backend.databaseFailure(error)
            }
            await backend.close()
            show("account \(id)")
            show("key \(key)")
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Every account.")
        @OptionGroup var options: ServeCommand.RoleOptions

        func run() async throws {
            let backend = try await options.backend("accounts")
            var table = Table(header: ["id", "name", "venue", "product", "mode"])
            for account in try await backend.accounts.accounts() {
                table.rows.append([
                    "\(account.id)", account.name, account.venue, account.product, account.mode.rawValue,
                ])
            }
            await backend.close()
            for line in table.lines { show(line) }
        }
    }
}

/// API keys: shown once, stored as a hash.
enum APIKeys {
    static func make() -> String {
        var random = SystemRandomNumberGenerator()
        return "so_paper_" + (0..<3).map { _ in String(random.next(), radix: 36) }.joined()
    }

    static func hash(_ key: String) -> String { hexadecimal(sha256(Array(key.utf8))) }
}
