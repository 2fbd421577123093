// `smartorders orders list|get|cancel|close|reconcile|resolve`: what an operator does with orders. Commands are the
// trader's own, with the operator as actor.
import ArgumentParser
import JSONText
import OrderEngine
import OrderJSON
import OrderStorage
import SmartOrders

extension OrdersCommand {
    static func orderID(_ text: String) throws -> OrderID {
        guard let id = OrderID(text) else {
            throw Failure(.usage, "ORDER_ID", "\(text) is no order id.", hint: "36 characters, lower case")
        }
        return id
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Orders of an account, newest first, or all that need a look.",
            discussion: """
                EXAMPLES
                  smartorders orders list --attention
                  smartorders orders list --account ID --status ACTIVE,PARTIALLY_CLOSED
                """,
        )
        @OptionGroup var connections: ConnectionOptions
        @Option(help: "Id of the account.")
        var account: String?
        @Option(help: "Statuses, separated by commas.")
        var status: String?
        @Option(help: "Only this market.")
        var market: String?
        @Flag(help: "Orders of any account whose health is NEEDS_ATTENTION.")
        var attention = false
        @Option(help: "At most so many.")
        var limit = 200
        @OptionGroup var output: OutputOptions

        func validate() throws {
            if attention == (account != nil) { throw ValidationError("say --account ID or --attention") }
            if !(1...10_000).contains(limit) { throw ValidationError("--limit is 1 to 10000") }
        }

        func run() async throws {
            try await ClusterDesk.with(connections) { desk in
                let columns: [Listing.Column] = [
                    .init("id"), .init("account", isWide: true), .init("market"), .init("side"), .init("status"),
                    .init("health"), .init("detail"), .init("remaining"), .init("version", isWide: true),
                ]
                var listing = Listing(columns, output)
                for order in try await found(desk) { listing.add(order.row) }
                listing.tellAll()
            }
        }

        private func found(_ desk: ClusterDesk) async throws -> [StoredOrder] {
            if attention {
                return try await desk.orders.load(try await desk.control.attention(after: nil, limit: limit))
            }
            guard let id = account.flatMap(AccountID.init) else {
                throw Failure(
                    .usage,
                    "ACCOUNT_ID",
                    "\(account ?? "") is no account id.",
                    hint: "smartorders accounts list",
                )
            }
            let wanted = try market.map { text in
                guard let market = MarketID(text) else { throw Failure(.usage, "MARKET", "\(text) is no market.") }
                return market
            }
            let statuses = (status ?? "").split(separator: ",").map { $0.uppercased() }
            var found: [StoredOrder] = []
            while found.count < limit {
                let page = try await desk.orders.list(
                    OrderFilter(
                        account: id,
                        statuses: statuses,
                        market: wanted,
                        before: found.last?.id,
                        limit: min(200, limit - found.count),
                    )
                )
                if page.isEmpty { break }
                found += page
            }
            return found
        }
    }

    struct Get: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "One order, as the object of the API.")
        @OptionGroup var connections: ConnectionOptions
        @Argument(help: "Id of the order.")
        var order: String

        func run() async throws {
            let id = try OrdersCommand.orderID(order)
            try await ClusterDesk.with(connections) { desk in
                guard let found = try await desk.orders.load([id]).first else {
                    throw Failure(.notFound, "NOT_FOUND", "there is no order \(order).")
                }
                show(
                    String(
                        decoding: found.object(try await desk.isLive(found.account) ? .live : .paper),
                        as: UTF8.self,
                    )
                )
            }
        }
    }

    /// One order, changed by a command.
    struct Change: ParsableArguments {
        @OptionGroup var options: ServeCommand.RoleOptions
        @Argument(help: "Id of the order.")
        var order: String
        @Option(help: "Why; goes into the audit row.")
        var reason: String

        func run(
            _ action: String,
            _ body: (CommandService, OrderID, Actor) async throws -> StoredOrder,
        ) async throws {
            let id = try OrdersCommand.orderID(order)
            let backend = try await options.backend("orders")
            let result: Result<StoredOrder, any Error>
            do {
                let stored = try await body(backend.commands, id, Actor(kind: .operator, id: Operator.presentName))
                try await PostgresOperationStore(pool: backend.pool).audit(
                    actor: Operator.presentName,
                    action: "orders.\(action)",
                    subject: "\(id)",
                    reason: reason,
                    detail: "{}",
                )
                result = .success(stored)
            } catch {
                result = .failure(error)
            }
            await backend.close()
            do {
                let stored = try result.get()
                show("\(action) \(id) version \(stored.version) status \(stored.statusName)")
            } catch let error as CommandError {
                throw Self.failure(error, order)
            } catch is StoreError {
                throw Backend.databaseFailure(StoreError(.unavailable, "the database went away"))
            }
        }

        static func failure(_ error: CommandError, _ order: String) -> Failure {
            switch error {
            case .refused(let refusals):
                Failure(
                    refusals.first?.code == .notFound ? .notFound : .refused,
                    refusals.first?.code.rawValue ?? "REFUSED",
                    refusals.first?.detail ?? "a rule refuses it",
                )
            case .versionMismatch, .keyReused, .keyBusy:
                Failure(.conflict, "VERSION_MISMATCH", "the order changed meanwhile.")
            case .priceUnavailable: Failure(.refused, "PRICE_UNAVAILABLE", "no price is known that a check needs.")
            case .unavailable(let detail): Failure(.unreachable, "UNAVAILABLE", detail)
            case .venueUnavailable: Failure(.unreachable, "VENUE_UNAVAILABLE", "the venue does not say what is held.")
            case .recovering: Failure(.unreachable, "RECOVERING", "the account is not reconciled yet.")
            }
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ends an order without closing what it holds: that is unprotected then."
        )
        @OptionGroup var change: Change
        func run() async throws {
            try await change.run("cancel") { commands, id, actor in
                try await commands.execute(.cancel, on: id, version: nil, actor: actor).stored
            }
        }
    }

    struct Close: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Closes what the order holds at the market.")
        @OptionGroup var change: Change
        func run() async throws {
            try await change.run("close") { commands, id, actor in
                try await commands.execute(.closeMarket, on: id, version: nil, actor: actor).stored
            }
        }
    }

    struct Reconcile: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compares the order with the venue now; prints what was different."
        )
        @OptionGroup var change: Change
        func run() async throws {
            try await change.run("reconcile") { commands, id, _ in
                let (order, differences) = try await commands.refresh(id, version: nil)
                for difference in differences {
                    let subject = difference.subject.map { " \($0)" } ?? ""
                    show("\(difference.kind.rawValue)\(subject): was \(difference.expected), is \(difference.found)")
                }
                return .smart(order)
            }
        }
    }

    struct Resolve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ends an attempt whose fate nothing proves, by an operator's word; in two steps.",
            discussion: """
                Look at the venue's own list of orders first. The first call shows the attempt and a code, the second names \
                the code. An execution that shows up later still counts.

                EXAMPLES
                  smartorders orders resolve ID
                  smartorders orders resolve ID --intent SL-1 --as absent --evidence "not in the venue's history, ticket 4711"
                  smartorders orders resolve ID --intent TP1-2 --as filled --price 105.20 --evidence "trade 99 in its app"
                """,
        )
        enum Verdict: String, ExpressibleByArgument, CaseIterable { case absent, filled, cancelled }

        @OptionGroup var options: ServeCommand.RoleOptions
        @Argument(help: "Id of the order.")
        var order: String
        @Option(help: "Leg and attempt, such as SL-1; without it the open attempts are listed.")
        var intent: String?
        @Option(name: .customLong("as"), help: "absent, filled or cancelled.")
        var verdict: Verdict?
        @Option(help: "Price of the fill, with --as filled.")
        var price: String?
        @Option(help: "What proves it; goes into the audit row.")
        var evidence: String?
        @Option(help: "The code that the first step showed.")
        var code: String?

        func run() async throws {
            let id = try OrdersCommand.orderID(order)
            let backend = try await options.backend("orders")
            do {
                try await resolve(id, backend)
                await backend.close()
            } catch {
                await backend.close()
                switch error {
                case let error as ResolveError: throw Self.failure(error, order)
                case is StoreError: throw Backend.databaseFailure(error)
                default: throw error
                }
            }
        }

        private func resolve(_ id: OrderID, _ backend: Backend) async throws {
            let open = try await backend.commands.openIntents(of: id)
            guard let intent else {
                for one in open { show(Self.sentence(one)) }
                if open.isEmpty { show("nothing is open") }
                return
            }
            guard let found = open.first(where: { Self.name($0).lowercased() == intent.lowercased() }) else {
                throw ResolveError.noIntent
            }
            guard let verdict, let evidence, !evidence.isEmpty else {
                throw Failure(
                    .usage,
                    "EVIDENCE_REQUIRED",
                    "say what became of it and what proves it.",
                    hint: "--as absent|filled|cancelled --evidence TEXT",
                )
            }
            let word = try word(verdict)
            let seen = ["\(id)", Self.name(found), verdict.rawValue, price ?? "", "\(found.token ?? 0)"]
            let sentence =
                "\(Self.sentence(found)); it would end as \(verdict.rawValue), and the plan goes on from there"
            guard try TwoSteps.confirm(code, of: seen, sentence) else { return }
            let operatorName = Operator.presentName
            let stored = try await backend.commands.resolve(
                id,
                found.venueOrder.key,
                as: word,
                actor: Actor(kind: .operator, id: operatorName),
            )
            try await PostgresOperationStore(pool: backend.pool).audit(
                actor: operatorName,
                action: "orders.resolve",
                subject: "\(id)",
                reason: evidence,
                detail: "\(JSONValue.object(["intent": .string(Self.name(found)), "as": .string(verdict.rawValue)]))",
            )
            show("resolved \(Self.name(found)) of \(id) as \(verdict.rawValue), version \(stored.version)")
        }

        private func word(_ verdict: Verdict) throws -> IntentVerdict {
            switch verdict {
            case .absent: return .absent
            case .cancelled: return .cancelled
            case .filled:
                guard let price = price.flatMap({ Price($0) }), price.value.isPositive else {
                    throw Failure(.usage, "PRICE", "a fill has a price.", hint: "--price 105.20")
                }
                return .filled(at: price)
            }
        }

        private static func name(_ intent: StoredIntent) -> String {
            "\(intent.venueOrder.leg)-\(intent.venueOrder.attempt)"
        }

        private static func sentence(_ intent: StoredIntent) -> String {
            let order = intent.venueOrder
            return
                "\(name(intent)) \(order.state.rawValue) \(order.side.rawValue) \(order.quantity), filled \(order.filled), "
                + "client order id \(intent.clientOrderID), looked up \(intent.checks) times, fence "
                + (intent.fencePassed ? "passed" : "not passed")
        }

        private static func failure(_ error: ResolveError, _ order: String) -> Failure {
            switch error {
            case .noOrder: Failure(.notFound, "NOT_FOUND", "there is no order \(order).")
            case .noIntent:
                Failure(.notFound, "NOT_FOUND", "no such attempt is open.", hint: "without --intent they are listed")
            case .confirmed:
                Failure(
                    .refused,
                    "VENUE_CONFIRMED",
                    "the venue confirmed it: it was there.",
                    hint: "--as cancelled or filled",
                )
            case .tooEarly:
                Failure(
                    .refused,
                    "FENCE_OPEN",
                    "its request may still arrive at the venue.",
                    hint: "wait; look-ups go on",
                )
            case .unavailable(let detail): Failure(.unreachable, "UNAVAILABLE", detail)
            }
        }
    }
}

extension StoredOrder {
    /// A line of `orders list`.
    fileprivate var row: JSONObject {
        var row: JSONObject = [
            "id": .string("\(id)"), "account": .string("\(account)"), "market": .string("\(instrument.market)"),
            "status": .string(statusName), "version": .integer(Int(version)),
        ]
        switch self {
        case .smart(let order):
            row["side"] = .string(order.side.rawValue)
            row["health"] = .string(order.health.rawValue)
            row["detail"] = .string(order.attention.map(\.rawValue).sorted().joined(separator: " "))
            row["remaining"] = .string("\(order.remaining)")
        case .conditional(let order):
            row["side"] = .string(order.draft.side.rawValue)
            row["health"] = .string(order.health.rawValue)
            row["detail"] = .string("")
            row["remaining"] = .string("")
        }
        return row
    }

    fileprivate func object(_ mode: OrderContext.Mode) -> [UInt8] {
        var writer = JSONWriter(reserving: 4_096)
        switch self {
        case .smart(let order): writer.order(order, context: OrderContext(mode: mode))
        case .conditional(let order): writer.conditionalOrder(order, mode: mode)
        }
        return writer.take()
    }
}
