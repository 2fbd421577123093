// `smartorders secrets`: what belongs to the master key.
import ArgumentParser

struct SecretsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "secrets",
        abstract: "The keys of a deployment.",
        subcommands: [IntakeKey.self],
    )

    struct IntakeKey: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "intake-key",
            abstract: "Prints the public key with which api processes seal venue keys for the workers.",
            discussion: """
                EXAMPLES
                  SMARTORDERS_MASTER_KEY=... smartorders secrets intake-key
                """,
        )

        func run() async throws {
            guard let key = environment("SMARTORDERS_MASTER_KEY"), SealedSecrets(hexadecimal: key) != nil else {
                throw Failure(
                    .usage,
                    "MASTER_KEY_REQUIRED",
                    "the intake key is made from SMARTORDERS_MASTER_KEY.",
                    hint: "the same 64 hexadecimal digits as the workers have",
                )
            }
            show(try IntakeSeal.publicKey(masterKey: key))
        }
    }
}
