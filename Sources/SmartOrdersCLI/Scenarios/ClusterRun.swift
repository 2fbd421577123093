// One scenario on the cluster: what the market, the venue and the trader do, one event at a time, and what came of it as
// the stores tell it.
//
// An event ends when everything that it causes is done: the evaluators have seen the tick and the newest version of the
// row, no crossing is open, the venue has answered whatever was asked, its resting orders are as the row has them, and the
// pure core says that a timer would change nothing. An answer that the scenario withholds is not waited for.
import Exchanges
import JSONText
import OrderEngine
import OrderJSON
import OrderStorage
import PaperVenue
import Replay
import SmartOrders
import TriggerQueue

struct ClusterRun: Sendable {
    let plan: ClusterPlan
    private let cluster: ScenarioCluster
    private let commands: CommandService
    private let account: AccountID
    private let id: OrderID
    private var record = ScenarioRecord()
    /// What went wrong with the run itself; the rest of the scenario is left out.
    private(set) var failure: String?
    /// Set when the order was refused at creation.
    private var refusal: Refusal?
    /// The order was terminal at the end of an event: later ones are ignored, commands refused.
    private var isClosed = false
    private var mark: Price
    private var position: TickPosition
    private var published: [(price: Price, position: TickPosition)] = []
    /// The newest trade price, told to a venue that was down.
    private var trades: [PaperTick] = []
    private var isVenueUp = true
    private var venueReturns = false
    private var seenVersion: Int64 = 0
    /// Venue orders in the order in which they were decided.
    private var keys: [VenueOrderKey] = []
    private var faults: [ScenarioFault]
    private var redeliveries = 0

    init(_ plan: ClusterPlan, on cluster: ScenarioCluster) {
        self.plan = plan
        self.cluster = cluster
        let seed = UInt64(plan.number)
        commands = cluster.commands(seed: seed)
        var random = ScenarioRandom(seed: seed)
        id = OrderID(UniqueID(unixMilliseconds: ScenarioEvent.origin.milliseconds, random: &random))
        guard let account = cluster.accounts[plan.market.product] else {
            preconditionFailure("every product has an account")
        }
        self.account = account
        faults = plan.faults
        mark = plan.request.initialMark
        position = TickPosition(venueTime: ScenarioEvent.origin.microseconds, sequence: 0)
    }

    private var actor: Actor { Actor(kind: .user, id: plan.scenario.id) }

    private func attempt(_ body: () async throws -> Void) async -> String? {
        do {
            try await body()
            return nil
        } catch let failure as Failure {
            return failure.sentence
        } catch {
            return "\(error)"
        }
    }

    // MARK: Creation

    mutating func create() async {
        do {
            try await trade(at: mark, liquidity: nil)
            try await publish()
            try await hold()
            try await setRules()
            _ = try await commands.create(
                plan.request.draft,
                market: plan.market.id,
                account: account,
                actor: actor,
                idempotency: nil,
            )
            try await settle()
            try await observe(-1)
        } catch CommandError.refused(let refusals) {
            refusal = refusals.first
        } catch {
            fail(error, at: -1)
        }
    }

    /// What an attached order is about is on the account.
    private func hold() async throws {
        guard plan.request.draft.entry.mode == .attach else { return }
        let draft = plan.request.draft
        let key = ScenarioCluster.keys[plan.market.product] ?? ""
        switch plan.market.product {
        case .linear:
            let quantity = draft.side == .buy ? draft.quantity.value : -draft.quantity.value
            try await setPosition(quantity, average: draft.entry.price)
        case .spot:
            try await cluster.control([
                "deposits": [
                    [
                        "account": .string(key), "product": "spot", "asset": .string(plan.market.base),
                        "amount": .string("\(draft.quantity)"),
                    ]
                ]
            ])
        }
    }

    private func setPosition(_ net: ExactDecimal, average: Price?) async throws {
        try await cluster.control([
            "positions": [
                [
                    "account": .string(ScenarioCluster.keys[plan.market.product] ?? ""),
                    "market": .string("\(plan.market.id)"), "qty": .string("\(net)"),
                    "price": .string("\(average ?? mark)"),
                ]
            ]
        ])
    }

    // MARK: Events

    /// Whether the event at `index` moves the clock. What happens to the venue is noticed by nobody.
    func movesClock(_ index: Int) -> Bool {
        if case .venue = plan.events[index].what { false } else { true }
    }

    private var isOver: Bool { failure != nil || refusal != nil }

    /// The market's part of an event, at the time of the event before it.
    mutating func begin(_ index: Int) async {
        guard !isOver, !isClosed else { return }
        do {
            switch plan.events[index].what {
            case .price(let mark, let fill, let liquidity, let queryFails):
                try await trade(at: fill, liquidity: liquidity)
                try await returnVenue()
                if !queryFails { try await resolve() }
                try await settle()
                self.mark = mark
                position = TickPosition(
                    venueTime: plan.events[index].time.microseconds,
                    sequence: Int64(index) + 1,
                )
                try await publish()
                try await settle()
            case .timer:
                try await returnVenue()
                try await resolve()
            case .entryFill, .entryEnd, .position, .venue, .restart, .duplicateTrigger, .command: break
            }
        } catch {
            fail(error, at: index)
        }
    }

    /// The rest of it, at its own time.
    mutating func finish(_ index: Int) async {
        guard !isOver else { return }
        do {
            let event = plan.events[index].what
            if isClosed {
                if case .command(let command) = event { try await execute(command, at: index) }
                return
            }
            switch event {
            case .price, .timer, .restart: break
            case .position(let net, let average): try await move(to: net, average)
            case .entryFill(let quantity, let price):
                if let entry = try await restingEntry() {
                    try await cluster.control([
                        "fills": [
                            ["order": entry, "qty": .string("\(quantity)"), "price": .string("\(price)")]
                        ]
                    ])
                }
            case .entryEnd(let end):
                if let entry = try await restingEntry() {
                    try await cluster.control([end == .expired ? "expire" : "cancel": [entry]])
                }
            case .venue(let isUp):
                if isUp {
                    // "Nothing is sent until the next price or timer": until then it stays away.
                    venueReturns = true
                } else {
                    isVenueUp = false
                    await cluster.stopVenue()
                }
            case .duplicateTrigger(let leg): try await redeliver(leg)
            case .command(let command): try await execute(command, at: index)
            }
            try await settle()
            try await observe(index)
        } catch {
            fail(error, at: index)
        }
    }

    private mutating func fail(_ error: any Error, at index: Int) {
        let reason = (error as? Failure)?.sentence ?? "\(error)"
        failure = "event \(index): \(reason)"
    }

    private mutating func trade(at price: Price, liquidity: Quantity?) async throws {
        trades = [(TriggerSource.last, price), (.mark, price)].map { source, price in
            PaperTick(
                market: plan.market.id,
                source: source,
                price: price,
                quantity: liquidity,
                position: position,
            )
        }
        if isVenueUp { await cluster.trade(trades) }
    }

    private mutating func publish() async throws {
        try await cluster.publish(plan.series, mark, decimals: plan.decimals, at: position)
        published.append((mark, position))
    }

    private mutating func returnVenue() async throws {
        guard venueReturns else { return }
        venueReturns = false
        try await cluster.startVenue()
        isVenueUp = true
        await cluster.trade(trades)
    }

    private mutating func execute(_ command: TimelineCommand, at index: Int) async throws {
        do {
            _ = try await commands.execute(
                command.command(for: row().draft),
                on: id,
                version: nil,
                actor: actor,
            )
        } catch CommandError.refused(let refusals) {
            guard let first = refusals.first else { throw CommandError.refused(refusals) }
            record.note(first, at: index)
        }
    }

    /// The account's position changes elsewhere; done when the order has nothing more to say to it.
    private func move(to net: ExactDecimal, _ average: Price?) async throws {
        try await setPosition(net, average: average)
        try await cluster.wait("the order knows of the position \(net)") {
            let moment = Moment(now: cluster.clock.now(), price: mark, position: position)
            return try await row().decide(.position(net: net, average: average), at: moment) == nil
        }
    }

    /// The venue's id of the entry that rests.
    private func restingEntry() async throws -> JSONValue? {
        let entry = try await row().venueOrders.first { $0.leg == .entry && $0.state.isLive }
        return entry?.venueOrderID.flatMap { Int($0) }.map { .integer($0) }
    }

    /// The job of the leg's last attempt comes again: under its own id, which the queue knows, and under another one, as a
    /// queue that forgot everything would deliver it.
    private mutating func redeliver(_ leg: Leg) async throws {
        let last = keys.filter { $0.leg == leg }.map(\.attempt).max() ?? 1
        let version = try await row().version
        redeliveries += 1
        let jobs = [nil, 700_000_000 + redeliveries].map { check in
            Job(
                id: JobID(order: id, leg: leg, attempt: last, check: check),
                name: .trigger,
                jobClass: JobClass(leg: leg),
                version: version,
                account: account,
                market: plan.market.id,
                source: plan.series.source,
                position: position,
            )
        }
        try await cluster.offer(jobs)
        guard cluster.usesRedis else { return }
        let queue = cluster.backend.queue
        try await cluster.wait("the repeated job of \(leg) is done") {
            try await queue.offer([jobs[1]], verify: false) == [.completed]
        }
    }

    // MARK: Faults

    private func clientID(_ fault: ScenarioFault) -> String {
        let leg = Leg(fault.purpose.hasPrefix("cancel:") ? fault.purpose.dropFirst(7) : fault.purpose[...])
        guard let leg else { preconditionFailure("checked when it was read") }
        return cluster.backend.context.identity.clientOrderID(id, VenueOrderKey(leg: leg, attempt: fault.attempt))
    }

    /// What the venue does to the attempts that the scenario names.
    private func setRules() async throws {
        guard !plan.faults.isEmpty else { return }
        var rules: [JSONValue] = []
        for fault in faults {
            func rule(_ action: String, on operations: JSONValue, _ more: JSONObject = [:]) {
                var rule: JSONObject = [
                    "do": .string(action), "on": operations, "clientOrderId": .string(clientID(fault)),
                ]
                for member in more.members { rule[member.key] = member.value }
                rules.append(.object(rule))
            }
            let isLinear = plan.market.product == .linear
            switch fault.result {
            case .reject:
                rule("reject", on: "place", ["code": -1111, "message": "Precision is over the maximum defined."])
            case .insufficient:
                rule(
                    "reject",
                    on: "place",
                    isLinear
                        ? ["code": -2019, "message": "Margin is insufficient."]
                        : ["code": -2010, "message": "Account has insufficient balance for requested action."],
                )
            // The scenario says nothing of patience: the next touch may be asked for at once.
            case .rateLimited: rule("rateLimit", on: "place", ["retryAfter": 0])
            case .unknownFilled:
                rule("closeAfter", on: "place")
                rule("errorBefore", on: ["lookup", "cancel"])
            case .unknownNotPlaced:
                rule("closeBefore", on: "place")
                rule("errorBefore", on: ["lookup", "cancel"])
            case .filledBeforeCancel:
                rule(
                    "fillFirst",
                    on: "cancel",
                    ["qty": .string("\(fault.quantity)"), "price": .string("\(fault.price ?? mark)")],
                )
            }
        }
        try await cluster.setRules(rules, of: plan.scenario.id)
    }

    private func isWithheld(_ key: VenueOrderKey) -> Bool {
        faults.contains { fault in
            switch fault.result {
            case .unknownFilled, .unknownNotPlaced: Leg(fault.purpose) == key.leg && fault.attempt == key.attempt
            case .reject, .insufficient, .rateLimited, .filledBeforeCancel: false
            }
        }
    }

    /// The venue answers about submits that had no answer.
    private mutating func resolve() async throws {
        let open = try await row().venueOrders.filter { isWithheld($0.key) && $0.state == .unknown }.map(\.key)
        guard !open.isEmpty, isVenueUp else { return }
        faults.removeAll { fault in
            open.contains { Leg(fault.purpose) == $0.leg && fault.attempt == $0.attempt }
        }
        try await setRules()
        var number = 600_000_000
        var sinceOffer = 0
        try await cluster.wait("the venue's answers about \(open) are recorded") {
            let row = try await row()
            let left = row.venueOrders.filter { open.contains($0.key) && $0.state == .unknown }
            if left.isEmpty { return true }
            if sinceOffer % 10 == 0 {
                try await cluster.passFences(of: id)
                number += 1
                try await cluster.offer(left.map { .check(.smart(row), $0.key, number: number) })
            }
            sinceOffer += 1
            return false
        }
    }

    // MARK: Settled

    private func row() async throws -> SmartOrder {
        guard let row = try await cluster.backend.orders.load([id]).first?.smart else {
            throw Failure(.failed, "NO_ROW", "the order is not stored")
        }
        return row
    }

    /// Waits until nothing is under way; see the head of this file.
    private func settle() async throws {
        var last = ""
        do {
            try await cluster.wait("") {
                guard let reason = try await unsettled() else { return true }
                last = reason
                return false
            }
        } catch let failure as Failure where failure.code == "NOT_SETTLED" {
            throw Failure(.failed, "NOT_SETTLED", "not settled within 60 s: \(last)")
        }
    }

    /// What is under way; nil: nothing.
    private func unsettled() async throws -> String? {
        let watchers = cluster.board.watchers(of: plan.series)
        let row = try await row()
        var isWithheld = !isVenueUp
        for one in row.venueOrders {
            switch one.state {
            case .intent, .submitted: return "\(one.leg) \(one.attempt) is \(one.state)"
            case .unknown:
                guard self.isWithheld(one.key) else { return "\(one.leg) \(one.attempt) is unknown" }
                isWithheld = true
            case .cancelRequested:
                if isVenueUp, !self.isWithheld(one.key) { return "\(one.leg) \(one.attempt) is being cancelled" }
            case .open, .partial:
                guard isVenueUp else { continue }
                if one.cancelWanted { return "\(one.leg) \(one.attempt) is to be cancelled" }
                guard try await isAsStored(one, of: row) else {
                    return "\(one.leg) \(one.attempt) changed at the venue"
                }
            case .filled, .cancelled, .expired, .rejected, .notSent, .absent: break
            }
        }
        if row.status.isTerminal { return watchers.isEmpty ? nil : "a closed order is watched" }
        guard let watcher = watchers.first, watchers.count == 1 else { return "\(watchers.count) workers watch it" }
        guard watcher.versions == row.version else { return "version \(row.version) is known as \(watcher.versions)" }
        guard watcher.position >= position else { return "the tick is not evaluated" }
        guard watcher.open == 0 || (isWithheld && watcher.open == watcher.unanswered) else {
            return "a crossing is open"
        }
        let now = Moment(
            now: max(cluster.clock.now(), Timestamp(microseconds: position.venueTime)),
            price: mark,
            position: position,
        )
        if let due = row.nextTimer, due <= cluster.clock.now(), try row.decide(.timer, at: now) != nil {
            return "a timer is due"
        }
        return nil
    }

    private func isAsStored(_ one: VenueOrder, of row: SmartOrder) async throws -> Bool {
        let venue = try await cluster.backend.venues.venue(for: account)
        let clientID = cluster.backend.context.identity.clientOrderID(id, one.key)
        switch await venue.lookUp(market: plan.market.id, clientOrderID: clientID) {
        case .found(let snapshot): return snapshot.state == .open && snapshot.filled == one.filled
        case .notFound, .failed: return false
        }
    }

    // MARK: What came of it

    /// Notes what the stored events say since the last call.
    private mutating func observe(_ index: Int) async throws {
        let events = try await cluster.backend.orders.events(order: id, after: seenVersion, limit: 200)
        for event in events {
            seenVersion = event.version ?? seenVersion
            for fact in try JSONField(try JSONValue(parsing: event.json)).elements("facts") {
                try note(fact, at: index)
            }
        }
        var row = try await row()
        // Quiet ticks are in no row (DESIGN.md 4): its extremes are those of the row and of the ticks after it.
        for tick in published where tick.position > row.extremePosition {
            row.absorb(extreme: tick.price, upTo: tick.position)
        }
        record.noteStop(of: row, at: index)
        isClosed = row.status.isTerminal
    }

    private mutating func note(_ fact: JSONField, at index: Int) throws {
        func level(_ state: LevelState) throws { record.note(try fact.int("level"), state, at: index) }
        switch try fact.string("type") {
        case "statusChanged":
            if let status = OrderStatus(rawValue: try fact.string("to")) { record.note(status) }
        case "levelTriggered": try level(.triggered)
        case "levelFilled": try level(.filled)
        case "levelRearmed": try level(.pending)
        case "levelCancelled": try level(.cancelled)
        case "venueOrder":
            guard let leg = Leg(try fact.string("purpose")) else { return }
            let key = VenueOrderKey(leg: leg, attempt: try fact.int("attempt"))
            if !keys.contains(key) { keys.append(key) }
        default: break  // tidy-ok: facts that no expectation names
        }
    }

    /// What the stored events say, one line for each, for whoever has to explain a difference.
    func story() async throws -> [String] {
        try await cluster.backend.orders.events(order: id, after: 0, limit: 200).map {
            try JSONValue(parsing: $0.json)["facts"]?.description ?? ""
        }
    }

    /// Everything that an expectation may name.
    func outcome() async throws -> JSONObject {
        if let failure { return ["stateSequence": .string(failure)] }
        if let refusal {
            return ["stateSequence": [.string("REFUSED \(refusal.code.httpStatus) \(refusal.code.rawValue)")]]
        }
        let row = try await row()
        let intents = try await cluster.backend.orders.intents(of: [id], ended: true)
        let fills = try await cluster.backend.orders.fills(order: id)
        var attempts: [ScenarioAttempt] = []
        var resting: [ScenarioAttempt] = []
        for key in keys {
            guard let intent = intents.first(where: { $0.venueOrder.key == key }) else { continue }
            let attempt = ScenarioAttempt(
                order: intent.venueOrder,
                outcome: outcome(of: intent.venueOrder),
                fills: fills.filter { $0.key == key }.map { ($0.fill.quantity, $0.fill.price) },
            )
            attempts.append(attempt)
            if attempt.outcome == .open { resting.append(attempt) }
        }
        return record.outcome(of: row, attempts: attempts, resting: resting, asObjects: plan.asksObjects)
    }

    private func outcome(of order: VenueOrder) -> ScenarioAttempt.Outcome {
        switch order.state {
        case .filled: .filled
        case .expired: order.type == .goodTillCancelled || order.filled.isZero ? .expired : .partialExpired
        case .cancelled: .cancelled
        case .open, .partial, .cancelRequested: .open
        case .notSent: .notSent
        case .absent: .notFound
        case .intent, .submitted, .unknown: .unknown
        // The row keeps no reason of a refusal: it is the one that this venue was told to give.
        case .rejected:
            switch plan.faults.first(where: { Leg($0.purpose) == order.leg && $0.attempt == order.attempt })?.result {
            case .insufficient: .rejectedInsufficient
            case .rateLimited: .rateLimited
            case .reject, .unknownFilled, .unknownNotPlaced, .filledBeforeCancel, nil: .rejected
            }
        }
    }
}
