import OwnerThread
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// Looks at prices that wait until they are let go.
private final class GatedLooks: Sendable {
    private struct State {
        var price: Int64 = 1
        var begun = 0
        var held: [CheckedContinuation<Void, Never>] = []
        var waiters: [(count: Int, resume: CheckedContinuation<Void, Never>)] = []
    }

    private let state = Locked(State())

    var begun: Int { state.withLock { $0.begun } }

    func set(_ price: Int64) { state.withLock { $0.price = price } }

    /// What stands when the look begins, told when it is let go.
    func look() async -> ExtremeBucket.Point {
        let price = state.withLock { $0.price }
        await withCheckedContinuation { held in
            let awaited = state.withLock { state in
                state.begun += 1
                state.held.append(held)
                let awaited = state.waiters.filter { $0.count <= state.begun }
                state.waiters.removeAll { $0.count <= state.begun }
                return awaited
            }
            for one in awaited { one.resume.resume() }
        }
        return ExtremeBucket.Point(position: TickPosition(venueTime: price, sequence: 0), price: price)
    }

    func wait(for count: Int) async {
        await withCheckedContinuation { resume in
            let isThere = state.withLock { state in
                if state.begun >= count { return true }
                state.waiters.append((count, resume))
                return false
            }
            if isThere { resume.resume() }
        }
    }

    func letGo() {
        let held = state.withLock { state in
            defer { state.held = [] }
            return state.held
        }
        for one in held { one.resume() }
    }
}

@Suite(.timeLimit(.minutes(1)))
struct PriceLooksTests {
    private func series(_ market: String) throws -> PriceSeries {
        PriceSeries(market: try #require(MarketID(market)), source: .last)
    }

    @Test func `who asks while a look is under way is told what stands since`() async throws {
        let (looks, gate, demo) = (PriceLooks(), GatedLooks(), try series("paper:linear:DEMO"))
        let ask: @Sendable () async throws -> Int64? = {
            try await looks.newest(demo) { _ throws(StoreError) in await gate.look() }?.price
        }
        async let first = ask()
        await gate.wait(for: 1)
        gate.set(2)
        let others = try await withThrowingTaskGroup(of: Int64?.self) { group in
            for _ in 0..<20 { group.addTask { try await ask() } }
            group.addTask {
                while !Task.isCancelled {
                    gate.letGo()
                    await Task.yield()
                }
                return nil
            }
            var prices: [Int64] = []
            while prices.count < 20, let price = try await group.next() { prices.append(price ?? 0) }
            group.cancelAll()
            return prices
        }
        #expect(try await first == 1)
        #expect(others == [Int64](repeating: 2, count: 20))
        #expect(gate.begun <= 21)
    }

    @Test func `series do not wait for each other`() async throws {
        let (looks, gate) = (PriceLooks(), GatedLooks())
        let (demo, other) = (try series("paper:linear:DEMO"), try series("paper:linear:OTHER"))
        async let slow = looks.newest(demo) { _ throws(StoreError) in await gate.look() }
        await gate.wait(for: 1)
        let quick = try await looks.newest(other) { _ throws(StoreError) in
            ExtremeBucket.Point(position: TickPosition(venueTime: 7, sequence: 0), price: 7)
        }
        #expect(quick?.price == 7)
        gate.letGo()
        #expect(try await slow?.price == 1)
    }
}
