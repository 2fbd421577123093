// `smartorders users`: who may sign in.
import ArgumentParser
import HTTPAPI
import OrderStorage

struct UsersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "users",
        abstract: "Users and their sign-ins.",
        subcommands: [SignInLink.self],
    )

    struct SignInLink: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "sign-in-link",
            abstract: "Prints a one-time code, valid for 10 minutes, with which a user signs a browser in.",
            discussion: """
                EXAMPLES
                  smartorders users sign-in-link trader
                """,
        )
        @OptionGroup var options: ServeCommand.RoleOptions
        @Argument(help: "Name of the user.")
        var user: String

        func run() async throws {
            let backend = try await options.backend("users")
            var random = SystemRandomNumberGenerator()
            // The form of a key: as random, and as easily copied.
            let code = APIKey.make(isLive: false) { random.next() }.replacing("so_paper_", with: "so_code_")
            let isKnown: Bool
            do {
                isKnown = try await backend.panel.add(codeHash: APIKey.hash(code), userName: user)
            } catch {
                await backend.close()
                throw Backend.databaseFailure(error)
            }
            await backend.close()
            guard isKnown else {
                throw Failure(.usage, "USER_UNKNOWN", "there is no user \(user).", hint: "the first one is `trader`")
            }
            show("code \(code)")
        }
    }
}
