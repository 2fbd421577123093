// `smartorders secrets`: what belongs to the master key.
import ArgumentParser
import JSONText
import OrderEngine
import OrderStorage

struct SecretsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "secrets",
        abstract: "The keys of a deployment.",
        subcommands: [IntakeKey.self, Rotate.self, Check.self],
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

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Asks the workers to seal every secret with their newest master key, and waits for it.",
            discussion: """
                First every worker is started with the new key in SMARTORDERS_MASTER_KEY and the present one in
                SMARTORDERS_OLD_MASTER_KEY, and api processes with the new intake key. When this has ended without
                failures, workers are started without the old key: what it sealed is refused from then on.

                EXAMPLES
                  smartorders secrets rotate --reason "yearly"
                  smartorders secrets rotate --reason "a host was lost" --no-wait
                """,
        )
        @OptionGroup var connections: ConnectionOptions
        @Option(help: "Why; goes into the audit row.")
        var reason: String
        @Flag(help: "Does not wait for its end.")
        var noWait = false
        @Option(help: "Seconds to wait at most.")
        var timeout = 300

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                let secrets = PostgresSecretStore(pool: desk.pool)
                let id = try await secrets.request(desk.note(reason))
                if noWait { return show("rotation \(id)") }
                for _ in 0..<(max(1, timeout) * 5) {
                    guard let rotation = try await secrets.rotation(id) else { break }
                    if rotation.hasEnded {
                        show("rotation \(id): moved \(rotation.moved) failed \(rotation.failed)")
                        if rotation.failed > 0 { throw ExitCode(5) }
                        return
                    }
                    try await Task.sleep(nanoseconds: 200_000_000)
                }
                throw Failure(
                    .unreachable,
                    "NO_WORKER_ROTATES",
                    "rotation \(id) has not ended: no worker holds both keys, or none runs.",
                    hint: "start workers with SMARTORDERS_OLD_MASTER_KEY",
                )
            }
        }
    }

    struct Check: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "With which master keys venue keys are sealed, by the keys' names; and the last rotation.",
            discussion: """
                With SMARTORDERS_MASTER_KEY set it says which of the names is that key's.

                EXAMPLES
                  smartorders secrets check
                  smartorders secrets check -o json
                """,
        )
        @OptionGroup var connections: ConnectionOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let own = environment("SMARTORDERS_MASTER_KEY").flatMap { SealedSecrets(hexadecimal: $0)?.keyName }
            try await ClusterDesk.with(connections) { desk in
                let secrets = PostgresSecretStore(pool: desk.pool)
                var listing = Listing(["key", "venueKeys", "present"].map { .init($0) }, output)
                for (key, count) in try await secrets.seals() {
                    listing.add([
                        "key": .string(key.isEmpty ? "older form" : key), "venueKeys": .integer(count),
                        "present": own.map { .bool($0 == key) } ?? .null,
                    ])
                }
                listing.tellAll()
                if let last = try await secrets.rotation() {
                    tell(
                        "rotation \(last.id): moved \(last.moved) failed \(last.failed)"
                            + (last.hasEnded ? "" : ", under way")
                    )
                }
            }
        }
    }
}
