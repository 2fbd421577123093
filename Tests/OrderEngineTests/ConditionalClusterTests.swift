// Conditional orders through the whole cluster in memory: store, evaluator, queue, worker, venue (ORDERS.md R19).
import OrderEngine
import SmartOrders
import TestKit
import Testing

@Suite struct `Conditional orders in a cluster` {
    private func draft(
        _ kind: ConditionalDraft.Kind,
        _ side: Side,
        trigger: Int,
        limit: Int? = nil,
        reduceOnly: Bool = false,
    ) -> ConditionalDraft {
        ConditionalDraft(
            kind: kind,
            side: side,
            quantity: Quantity(ExactDecimal(10)),
            trigger: Price(ExactDecimal(trigger)),
            limit: limit.map { Price(ExactDecimal($0)) },
            reduceOnly: reduceOnly,
        )
    }

    @Test func `each kind and side fires at its condition, places one order and ends FILLED`() async throws {
        let rows: [(ConditionalDraft.Kind, Side, Int, quiet: Int, fires: Int)] = [
            (.stopLoss, .sell, 95, 96, 95), (.stopLoss, .buy, 105, 104, 105),
            (.takeProfit, .buy, 95, 96, 95), (.takeProfit, .sell, 105, 104, 105),
        ]
        for row in rows {
            let cluster = Cluster()
            try await cluster.setUp()
            try await cluster.run(["w1"]) {
                let created = try await cluster.create(conditional: draft(row.0, row.1, trigger: row.2))
                #expect(created.status == .pending)
                try await cluster.tick(row.quiet)
                try await cluster.settle()
                #expect(try await cluster.conditional(created.id).status == .pending)
                try await cluster.tick(row.fires)
                let ended = try await cluster.end(ofConditional: created.id)
                #expect(ended.status == .filled)
                #expect(ended.filled == Quantity(ExactDecimal(10)))
                let placed = cluster.venue.placements
                #expect(placed.count == 1)
                #expect(placed.first?.side == row.1)
                #expect(placed.first?.type == .immediateOrCancel)
            }
        }
    }

    @Test func `another worker goes on with what waits`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let created = try await cluster.create(conditional: draft(.stopLoss, .sell, trigger: 95))
        try await cluster.run(["w1"]) { try await cluster.settle() }
        try await cluster.run(["w2"]) {
            try await cluster.tick(94)
            #expect(try await cluster.end(ofConditional: created.id).status == .filled)
        }
        #expect(cluster.venue.placements.count == 1)
    }

    @Test func `cancelled, it fires no more`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            let created = try await cluster.create(conditional: draft(.stopLoss, .sell, trigger: 95))
            let other = try await cluster.create(conditional: draft(.stopLoss, .sell, trigger: 94))
            let actor = Actor(kind: .user, id: "u")
            _ = try await cluster.service().execute(.cancel, on: created.id, version: nil, actor: actor)
            let ended = try await cluster.end(ofConditional: created.id)
            #expect(ended.status == .cancelled && ended.reason == .userCancel)
            try await cluster.tick(94)
            #expect(try await cluster.end(ofConditional: other.id).status == .filled)
        }
        #expect(cluster.venue.placements.count == 1)
    }

    @Test func `a change of the trigger counts from now on`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            let created = try await cluster.create(conditional: draft(.stopLoss, .sell, trigger: 95))
            let changed = try await cluster.service().change(
                ConditionalChange(trigger: Price(ExactDecimal(90))),
                on: created.id,
                version: created.version,
                actor: Actor(kind: .user, id: "u"),
            )
            #expect(changed.conditional.draft.trigger == Price(ExactDecimal(90)))
            try await cluster.tick(94)
            try await cluster.settle()
            #expect(try await cluster.conditional(created.id).status == .pending)
            try await cluster.tick(90)
            #expect(try await cluster.end(ofConditional: created.id).status == .filled)
        }
    }

    @Test func `an expiry ends it, at the venue nothing was asked`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        try await cluster.run(["w1"]) {
            var plan = draft(.stopLoss, .sell, trigger: 95)
            plan.expiresAt = cluster.clock.now().advanced(milliseconds: 3_000)
            let created = try await cluster.create(conditional: plan)
            let ended = try await cluster.end(ofConditional: created.id)
            #expect(ended.status == .cancelled && ended.reason == .expired)
        }
        #expect(cluster.venue.placements.isEmpty)
    }
}
