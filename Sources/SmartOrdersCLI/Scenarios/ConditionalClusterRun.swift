// One conditional-order scenario on the cluster, with the market to itself (ORDERS.md R19). See ClusterRun.swift for what
// "settled" means.
import Exchanges
import JSONText
import OrderEngine
import OrderJSON
import OrderStorage
import PaperVenue
import Replay
import SmartOrders

struct ConditionalClusterRun: Sendable {
    let scenario: Scenario
    let market: PaperMarket
    private let draft: ConditionalDraft
    private let initialMark: Price
    private let events: [ScenarioEvent]
    private let seed: UInt64

    /// - Parameter number: unique in a run.
    init(_ scenario: Scenario, number: Int) throws {
        self.scenario = scenario
        seed = UInt64(number)
        let body = scenario.body
        let fees = try ScenarioFees(json: nil)
        let instrument = try InstrumentBlock(json: body.required("instrument", expected: "an instrument")).instrument
        let request = try ScenarioRequest.conditional(body.required("request", expected: "a request"))
        draft = request.draft
        initialMark = request.mark
        events = try ScenarioEvent.timeline(body)
        market = PaperMarket(
            product: instrument.kind.isDerivative ? .linear : .spot,
            symbol: "S\(number)",
            base: "C\(number)",
            quote: "USDT",
            tickSize: instrument.tickSize,
            stepSize: instrument.stepSize,
            minQuantity: instrument.minQuantity,
            minNotional: instrument.minNotional,
            makerFee: fees.maker,
            takerFee: fees.taker,
            liquidity: .tick,
        )
    }

    private var series: PriceSeries {
        let source = draft.triggerSource ?? (market.product == .linear ? .mark : .last)
        return PriceSeries(market: market.id, source: source)
    }

    /// Plays it and tells what came of it.
    func play(on cluster: ScenarioCluster, restarts: Bool) async throws -> JSONObject {
        cluster.clock.set(ScenarioEvent.origin)
        let start = TickPosition(venueTime: ScenarioEvent.origin.microseconds, sequence: 0)
        try await price(initialMark, initialMark, nil, at: start, on: cluster)
        let created: OrderID
        switch try await create(on: cluster) {
        case .created(let id): created = id
        case .refused(let sentence): return ["condition": .string(sentence)]
        }
        try await settle(created, start, on: cluster)
        var position = start
        var firedAt: Int?
        for (index, event) in events.enumerated() {
            if restarts { try await cluster.restartWorkers() }
            cluster.clock.set(event.time)
            if case .price = event.what {
                position = TickPosition(venueTime: event.time.microseconds, sequence: Int64(index) + 1)
            }
            try await happen(event.what, to: created, at: position, on: cluster)
            try await settle(created, position, on: cluster)
            let row = try await row(created, cluster)
            if firedAt == nil, row.triggeredAt != nil { firedAt = index }
        }
        return try await outcome(created, firedAt, on: cluster)
    }

    private enum Creation { case created(OrderID), refused(String) }

    private func create(on cluster: ScenarioCluster) async throws -> Creation {
        guard let account = cluster.accounts[market.product] else {
            preconditionFailure("every product has an account")
        }
        do throws(CommandError) {
            let answer = try await cluster.commands(seed: seed).create(
                draft,
                market: market.id,
                account: account,
                actor: Actor(kind: .user, id: scenario.id),
                idempotency: nil,
            )
            return .created(answer.stored.id)
        } catch {
            guard case .refused(let refusals) = error, let first = refusals.first else { throw error }
            return .refused("REFUSED \(first.code.httpStatus) \(first.code.rawValue)")
        }
    }

    private func happen(
        _ event: ScenarioEvent.What,
        to id: OrderID,
        at position: TickPosition,
        on cluster: ScenarioCluster,
    ) async throws {
        switch event {
        case .price(let mark, let fill, let liquidity, _):
            try await price(mark, fill, liquidity, at: position, on: cluster)
        case .restart: try await cluster.restartWorkers()
        case .command(.plain(let command)):
            let actor = Actor(kind: .user, id: scenario.id)
            _ = try await cluster.commands(seed: seed + 1).execute(command, on: id, version: nil, actor: actor)
        case .timer: break
        case .command(.modify), .entryFill, .entryEnd, .position, .venue, .duplicateTrigger:
            throw Failure(.failed, "NOT_PLAYABLE", "the event is not known for conditional orders")
        }
    }

    private func price(
        _ mark: Price,
        _ fill: Price,
        _ liquidity: Quantity?,
        at position: TickPosition,
        on cluster: ScenarioCluster,
    ) async throws {
        await cluster.trade(
            [(TriggerSource.last, fill), (.mark, fill)].map { source, price in
                PaperTick(market: market.id, source: source, price: price, quantity: liquidity, position: position)
            }
        )
        let decimals = max(Int(market.tickSize.value.scale), 8)
        try await cluster.publish(series, mark, decimals: decimals, at: position)
    }

    private func row(_ id: OrderID, _ cluster: ScenarioCluster) async throws -> ConditionalOrder {
        guard let row = try await cluster.backend.orders.load([id]).first?.conditional else {
            throw Failure(.failed, "NO_ROW", "the order is not stored")
        }
        return row
    }

    private func settle(_ id: OrderID, _ position: TickPosition, on cluster: ScenarioCluster) async throws {
        try await cluster.wait("\(scenario.id) is settled") {
            let row = try await row(id, cluster)
            let watchers = cluster.board.watchers(of: series)
            if row.status.isTerminal { return watchers.isEmpty }
            guard row.venueOrders.allSatisfy({ $0.state == .open || $0.state == .partial }), watchers.count == 1,
                let watcher = watchers.first
            else { return false }
            guard watcher.versions == row.version, watcher.position >= position, watcher.open == 0 else { return false }
            for one in row.venueOrders where try await !isAsStored(one, of: row, on: cluster) { return false }
            return true
        }
    }

    /// Whether the venue has it as the row has it: an execution that is not recorded yet is something under way.
    private func isAsStored(
        _ one: VenueOrder,
        of row: ConditionalOrder,
        on cluster: ScenarioCluster,
    ) async throws -> Bool {
        let venue = try await cluster.backend.venues.venue(for: row.account)
        let name = cluster.backend.context.identity.clientOrderID(row.id, one.key)
        switch await venue.lookUp(market: market.id, clientOrderID: name) {
        case .found(let snapshot): return snapshot.state == .open && snapshot.filled == one.filled
        case .notFound, .failed: return false
        }
    }

    private func outcome(_ id: OrderID, _ firedAt: Int?, on cluster: ScenarioCluster) async throws -> JSONObject {
        let orders = cluster.backend.orders
        var states: [String] = []
        for event in try await orders.events(order: id, after: 0, limit: 200) {
            let state = try JSONField(try JSONValue(parsing: event.json)).required("state", expected: "a state")
            let status = try state.string("status")
            if states.last != status { states.append(status) }
        }
        let fills = try await orders.fills(order: id)
        let intents = try await orders.intents(of: [id], ended: true)
            .sorted { $0.venueOrder.attempt < $1.venueOrder.attempt }
        return [
            "condition": .string(try await row(id, cluster).condition.rawValue),
            "firedAt": firedAt.map { .integer($0) } ?? .null,
            "stateSequence": .array(states.map { .string($0) }),
            "orders": .array(
                intents.map { intent in
                    let one = intent.venueOrder
                    var object: JSONObject = [
                        "side": .string(one.side.rawValue), "type": .string(one.type.rawValue),
                        "qty": .string("\(one.quantity)"), "outcome": .string(one.state.rawValue),
                    ]
                    object["limitPrice"] = one.limit.map { .string("\($0)") }
                    object["fill"] = fills.first { $0.key == one.key }.map { .string("\($0.fill.price)") }
                    return .object(object)
                }
            ),
        ]
    }
}
