import OwnerThread
import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// Prices of the cluster, whose progress report never returns while the gate is closed.
private final class GatedTickLog: TickLog {
    private let base: any TickLog
    private let isClosed = Locked(false)

    init(_ base: any TickLog) { self.base = base }

    func close() { isClosed.withLock { $0 = true } }
    func open() { isClosed.withLock { $0 = false } }

    func append(_ ticks: [RawTick], to series: PriceSeries) async throws(TickLogError) {
        try await base.append(ticks, to: series)
    }
    func read(
        _ after: [PriceSeries: TickPosition],
        limit: Int,
        waitMs: Int64,
    ) async throws(TickLogError) -> [PriceSeries: TickBatch] {
        try await base.read(after, limit: limit, waitMs: waitMs)
    }
    func drop(through position: TickPosition, of series: PriceSeries) async throws(TickLogError) {
        try await base.drop(through: position, of: series)
    }
    func latest(_ series: PriceSeries) async throws(TickLogError) -> RawTick? { try await base.latest(series) }
    func notifyChanged(_ orders: [OrderID]) async throws(TickLogError) { try await base.notifyChanged(orders) }
    func changedOrders(waitMs: Int64) async throws(TickLogError) -> [OrderID] {
        try await base.changedOrders(waitMs: waitMs)
    }
    func reportProgress(
        _ progress: [EvaluationProgress],
        shards: Int,
        worker: WorkerID,
    ) async throws(TickLogError) {
        while isClosed.withLock({ $0 }), !Task.isCancelled {
            do { try await Task.sleep(for: .milliseconds(5)) } catch { break }
        }
        try await base.reportProgress(progress, shards: shards, worker: worker)
    }
    func progress(_ series: PriceSeries) async throws(TickLogError) -> [EvaluationProgress] {
        try await base.progress(series)
    }
}

@Suite struct `A loop that is stuck` {
    /// RELIABILITY.md 6.3, FA34.
    @Test func `hands its shards to others, though its process lives`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let id = try await cluster.create(.held(stop: 95)).id
        let context = cluster.context("w1")
        let gate = GatedTickLog(context.ticks)
        let first = WorkerDuty(context: EngineContext(context, ticks: gate))
        try await cluster.run([]) {
            try await withThrowingTaskGroup { group in
                group.addTask { try await first.run() }
                try await cluster.settle()
                gate.close()
                group.addTask { try await WorkerDuty(context: cluster.context("w2")).run() }
                while !cluster.observer.errors.contains(where: { $0.contains("Evaluation is stuck") }) {
                    try await cluster.clock.sleep(milliseconds: 200)
                }
                try await cluster.tick(94)
                let ended = try await cluster.wait(for: id) { $0.status.isTerminal }
                #expect(ended.status == .stopped && cluster.venue.accepted.count == 1)
                gate.open()
                group.cancelAll()
                do { while try await group.next() != nil {} } catch is CancellationError {}
            }
        }
    }

    @Test func `is known by the time since it began`() async throws {
        let clock = FastClock(speed: 1_000)
        let pulse = Pulse(clock: clock)
        #expect(!pulse.isStuck)
        pulse.begin()
        try await clock.sleep(milliseconds: Pulse.limitMs + 1_000)
        #expect(pulse.isStuck)
        pulse.end()
        #expect(!pulse.isStuck)
    }
}
