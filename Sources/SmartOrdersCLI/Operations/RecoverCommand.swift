// `smartorders recover`: after a restore, a copy or a promotion (RELIABILITY.md 2.10).
import ArgumentParser
import JSONText
import OrderEngine
import OrderJSON
import OrderStorage
import SmartOrders

struct RecoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recover",
        abstract: "How far a restored or promoted database is; --confirm lets the live accounts of a copy trade again.",
        discussion: """
            A database that was restored or promoted does not know what it sent. By itself it waits for the venues' fences, \
            then compares each order with its venue. One that was copied to another server might run beside its original, \
            with the same ids: its live accounts are held until --confirm names the database.

            EXAMPLES
              smartorders recover
              smartorders recover --confirm smartorders --reason "the old server is gone for good"
            """,
    )
    @OptionGroup var connections: ConnectionOptions
    @Option(help: "Name of the database: this is the only one that trades.")
    var confirm: String?
    @Option(help: "Why; goes into the audit row.")
    var reason = ""
    @OptionGroup var output: OutputOptions

    func validate() throws {
        if confirm != nil, reason.isEmpty { throw ValidationError("--confirm needs --reason TEXT") }
    }

    func run() async throws {
        try await ClusterDesk.with(connections) { desk in
            let status = try await desk.orders.recoveryStatus()
            guard let confirm else { return tellAll(status) }
            guard confirm == status.database else {
                throw Failure(
                    .refused,
                    "NAME_MISMATCH",
                    "this database is called \(status.database), not \(confirm).",
                    hint: "look which one you are connected to",
                )
            }
            let count = try await desk.orders.confirmRecovery(desk.note(reason))
            show("confirmed \(status.database): \(count) accounts trade again")
        }
    }

    private func tellAll(_ status: RecoveryStatus) {
        let columns = ["database", "incarnation", "began", "complete", "compared", "found", "held"]
        var listing = Listing(columns.map { .init($0) }, output)
        listing.add([
            "database": .string(status.database), "incarnation": .integer(Int(status.incarnation)),
            "began": status.began.map { .string($0.rfc3339) } ?? .null, "complete": .bool(status.isComplete),
            "compared": .integer(status.compared), "found": .integer(status.found), "held": .integer(status.held),
        ])
        listing.tellAll()
    }
}
