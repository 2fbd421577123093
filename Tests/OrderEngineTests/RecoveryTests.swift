import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// The contract of `RecoveryStore` in memory.
struct MemoryRecovery: RecoveryStore {
    private let began: Timestamp
    private let fence: Int64
    private let clock: any EngineClock
    private let orders: MemoryOrderStore
    private let done = Locked<[OrderID: Int]>([:])

    init(began: Timestamp, fenceMs: Int64, clock: any EngineClock, _ database: MemoryDatabase) {
        self.began = began
        fence = fenceMs
        self.clock = clock
        orders = MemoryOrderStore(database)
    }

    var historyBegan: Timestamp? { began }
    /// What was found, by order.
    var found: [OrderID: Int] { done.withLock { $0 } }

    func recoveryState(of order: OrderID, fenceMs: Int64) async throws(StoreError) -> RecoveryState {
        if done.withLock({ $0[order] != nil }) { return .recovered }
        return clock.now() >= began.advanced(milliseconds: fenceMs) ? .due : .waiting
    }

    func setRecovered(_ order: OrderID, of account: AccountID, found: Int) async throws(StoreError) {
        done.withLock { $0[order] = found }
    }

    func unrecovered(limit: Int) async throws(StoreError) -> [Job] {
        guard clock.now() >= began.advanced(milliseconds: fence) else { return [] }
        let open = try await orders.list(OrderFilter(account: .sample(1), limit: limit))
        return open.filter { order in !order.isTerminal && done.withLock { $0[order.id] == nil } }
            .map { Job.reconcile($0, number: Int(clock.now().milliseconds / 1_000)) }
    }
}

/// RELIABILITY.md 2.10: a database that was restored does not know what it sent.
@Suite struct RecoveryTests {
    /// Runs an order to `last` and hands over the database as it was before, in a new cluster at the same venue.
    private func restored(_ draft: Draft, after last: [Int]) async throws -> (Cluster, OrderID) {
        let first = Cluster()
        try await first.setUp()
        let copy = Locked<MemoryDatabase?>(nil)
        let id = try await first.create(draft).id
        try await first.run(["w1"]) {
            try await first.settle()
            copy.withLock { $0 = first.database.copy() }
            for price in last {
                let before = first.venue.accepted.count
                try await first.tick(price)
                for _ in 0..<20_000 where first.venue.accepted.count == before {
                    try await Task.sleep(for: .milliseconds(2))
                }
            }
            _ = try await first.wait(for: id) { order in
                !order.venueOrders.contains { $0.state == .submitted || $0.state == .intent }
            }
        }
        let backup = try #require(copy.withLock { $0 })
        return (Cluster(restoring: first, from: backup), id)
    }

    /// What a lost history asked for.
    private func stop(_ attempt: Int, of id: OrderID, in cluster: Cluster) -> Placement {
        Placement(
            market: cluster.instrument.market,
            clientOrderID: cluster.identity.clientOrderID(id, VenueOrderKey(leg: .stop, attempt: attempt)),
            side: .sell,
            type: .market,
            quantity: Quantity(ExactDecimal(10)),
            limit: nil,
            reduceOnly: true,
            isExit: true,
            t0: cluster.clock.now(),
            windowMs: 2_000,
        )
    }

    @Test func `an exit of the lost history is found and counted, not sent again`() async throws {
        let (cluster, id) = try await restored(.held([(105, 40), (110, 60)], stop: 95), after: [105])
        #expect(cluster.venue.accepted.count == 1)
        // On a slow machine the lost history may have asked more than once: the venue refuses what comes late.
        let asked = cluster.venue.requests
        #expect(try await cluster.order(id).exited == .zero, "the backup is older")
        try await cluster.run(["w2"]) {
            // Its price never comes again.
            try await cluster.tick(101)
            let known = try await cluster.wait(for: id) { $0.exited.isPositive }
            #expect(known.exited == Quantity(ExactDecimal(4)) && known.attempts[.takeProfit(1)] ?? 0 >= 1)
            #expect(cluster.venue.requests == asked)
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.exited == Quantity(ExactDecimal(10)))
            #expect(cluster.venue.accepted.count == 2)
            let sold = cluster.venue.executed(.sell, ids: Set(cluster.venue.accepted))
            #expect(sold == Quantity(ExactDecimal(10)), "sold \(sold) of 10")
        }
    }

    @Test func `a stop of the lost history that fires again is not sent again`() async throws {
        let (cluster, id) = try await restored(.held(stop: 95), after: [94])
        let asked = cluster.venue.requests
        try await cluster.run(["w2"]) {
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.exited == Quantity(ExactDecimal(10)))
            #expect(cluster.venue.requests == asked && cluster.venue.accepted.count == 1)
        }
    }

    @Test func `a first send of an old order asks the venue before`() async throws {
        let (cluster, id) = try await restored(.held(stop: 95), after: [])
        try await cluster.run(["w2"]) {
            try await cluster.tick(99)
            for _ in 0..<20_000 where try await cluster.isUnrecovered(id) {
                try await Task.sleep(for: .milliseconds(2))
            }
            try #require(await !cluster.isUnrecovered(id))
            // Somebody of the lost history wakes only now.
            _ = await cluster.venue.place(stop(1, of: id, in: cluster))
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && ended.exited == Quantity(ExactDecimal(10)))
            #expect(cluster.venue.accepted.count == 1)
        }
    }

    @Test func `while the venue does not answer nothing is sent`() async throws {
        let (cluster, id) = try await restored(.held(stop: 95), after: [])
        cluster.venue.setBlind(true)
        try await cluster.run(["w2"]) {
            try await cluster.tick(94)
            try await cluster.clock.sleep(milliseconds: 3_000)
            #expect(cluster.venue.requests == 0)
            cluster.venue.setBlind(false)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.status == .stopped && cluster.venue.accepted.count == 1)
        }
    }

    @Test func `an attempt behind one that the venue does not know is found`() async throws {
        let (cluster, id) = try await restored(.held(stop: 95), after: [])
        // The lost history was refused once; what the second attempt sold is known to the venue alone.
        _ = await cluster.venue.place(stop(2, of: id, in: cluster))
        try await cluster.run(["w2"]) {
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
            #expect(ended.exited == Quantity(ExactDecimal(10)) && ended.attempts[.stop] == 2)
            #expect(cluster.venue.accepted.count == 1)
        }
    }

    /// FA62: the worker lived through the promotion, with its lease; what it watches is newer than what is stored.
    @Test func `a promotion without the last commits makes workers watch what is stored`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let order = try await cluster.create(.held(stop: 95))
        try await cluster.run(["w1"]) {
            try await cluster.settle()
            let backup = cluster.database.copy()
            var edit = OrderEdit()
            edit.stopLoss = StopLossPlan(price: Price(ExactDecimal(90)))
            _ = try await cluster.service().execute(
                .edit(edit),
                on: order.id,
                version: order.version,
                actor: Actor(kind: .user, id: "u"),
            )
            try await cluster.tick(99)
            try await cluster.settle()
            cluster.database.rewind(to: backup)
            let stored = try await cluster.order(order.id)
            #expect(stored.effectiveStop?.price == Price(ExactDecimal(95)))
            try await cluster.clock.sleep(milliseconds: 1_500)
            try await cluster.tick(94)
            let ended = try await cluster.wait(for: order.id, seconds: 20) { $0.status.isTerminal }
            #expect(ended.status == .stopped && cluster.venue.accepted.count == 1)
        }
    }
}
