// `smartorders orders`: what an operator asks of orders.
import ArgumentParser
import DecisionTimeline
import OrderEngine
import OrderJSON
import OrderStorage
import SmartOrders

struct OrdersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "orders",
        abstract: "Orders and their histories.",
        subcommands: [
            List.self, Get.self, Explain.self, Cancel.self, Close.self, Reconcile.self, Resolve.self,
        ],
    )

    struct Explain: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Why an order did what it did, and why not.",
            discussion: """
                With --replay every stored decision is made again, from the row before it and what was known then, with \
                the code of this program; the first difference is printed. Exit status 1: there is one. 3: there is no \
                such order.

                EXAMPLES
                  smartorders orders explain 01979d3a-0000-7000-8000-000000000001
                  smartorders orders explain 01979d3a-0000-7000-8000-000000000001 --replay
                """,
        )
        @OptionGroup var options: ServeCommand.RoleOptions
        @Argument(help: "Id of the order.")
        var order: String
        @Flag(help: "Make every decision again and compare.")
        var replay = false
        @Flag(help: "The document of GET /v1/orders/{id}/explain; of a conditional order the one of its own route.")
        var json = false
        @Option(help: ArgumentHelp("Only what concerns this leg.", valueName: "SL|TP1|PS1|ENTRY|COND|..."))
        var leg: String?

        func run() async throws {
            guard let id = OrderID(order) else {
                throw Failure(.usage, "ORDER_ID", "\(order) is no order id.", hint: "36 characters, lower case")
            }
            let unknown = Failure(.notFound, "NOT_FOUND", "there is no order \(order).")
            let backend = try await options.backend("orders")
            let explainer = Explainer(
                orders: backend.orders,
                timeline: backend.timeline,
                ticks: backend.ticks,
                cluster: backend.cluster,
            )
            do {
                if replay {
                    let versions = try await explainer.versions(of: id)
                    await backend.close()
                    guard !versions.isEmpty else { throw unknown }
                    try report(ReplayFinding.replay(versions))
                } else {
                    let found = try await explainer.explain(id)
                    await backend.close()
                    guard let found else { throw unknown }
                    print(found)
                }
            } catch let error as StoreError {
                await backend.close()
                throw Backend.databaseFailure(error)
            }
        }

        private func report(_ finding: ReplayFinding) throws {
            switch finding {
            case .same(let versions, 0): show("same \(versions) versions")
            case .same(let versions, let unrecorded):
                show("same \(versions - unrecorded) versions, \(unrecorded) without a record")
            case .differs(let version, let path, let stored, let repeated):
                show("differs v\(version) \(path) stored \(stored ?? "-") repeated \(repeated ?? "-")")
                throw ExitCode(1)
            case .refused(let version, let code, let detail):
                show("refused v\(version) \(code.rawValue) \(detail)")
                throw ExitCode(1)
            }
        }

        private func print(_ found: Explanation) {
            let filter = Explanation.Filter(leg: leg?.uppercased())
            if json { return show(String(decoding: found.encoded(filter), as: UTF8.self)) }
            for entry in found.timeline where filter.leg == nil || entry.leg == filter.leg {
                let version = entry.version.map { "v\($0)" } ?? "-"
                show("\(entry.at.rfc3339)  \(version)  \(entry.kind.rawValue)  \(entry.leg ?? "-")  \(entry.text)")
                for text in entry.also { show("    \(text)") }
            }
            for answer in found.notFired where filter.leg == nil || answer.leg == filter.leg {
                show("not fired  \(answer.leg)  \(answer.reason.rawValue)  \(answer.text)")
            }
        }
    }
}
