import Simulation
import SmartOrders
import TestKit
import Testing

@testable import OrderEngine

/// Prices that nobody will ever know of (RELIABILITY.md 4.4).
@Suite(.serialized) struct `Gaps that no history fills` {
    @Test func `who was armed is told once, who came later is not, and a refresh confirms`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let timeline = MemoryTimelineStore(cluster.database)
        try await cluster.run(["w1"]) {
            let armed = try await cluster.create(.held(stop: 50)).id
            try await cluster.settle()
            try await cluster.tick(101)
            let end = cluster.clock.now().microseconds
            try await Task.sleep(for: .milliseconds(5))
            try await cluster.tick(102)
            let later = try await cluster.create(.held(stop: 50)).id
            func gap(_ from: Int64, isBackfilled: Bool) -> FeedGap {
                FeedGap(series: cluster.series, from: from, to: end, reason: "lost", isBackfilled: isBackfilled)
            }
            try await timeline.add(gap(end - 2_000, isBackfilled: true))
            try await timeline.add(gap(end - 1_000, isBackfilled: false))
            let told = try await cluster.wait(for: armed) { !$0.attention.isEmpty }
            #expect(told.attention == [.feedGapUnfilled] && told.health == .needsAttention)
            #expect(told.status == .active)
            // A trader's `refresh`.
            let job = Job.reconcile(.smart(told), number: 1, isAwaited: true)
            _ = try await MemoryQueue(cluster.queue, worker: WorkerID("api")).offer([job], verify: false)
            _ = try await cluster.wait(for: armed) { $0.attention.isEmpty }
            // Long enough for a duty that would tell it again.
            let other = cluster.clock.monotonicNanoseconds() + 5_000_000_000
            while cluster.clock.monotonicNanoseconds() < other { try await Task.sleep(for: .milliseconds(20)) }
            #expect(try await cluster.order(armed).attention.isEmpty)
            #expect(try await cluster.order(later).attention.isEmpty)
            #expect(try await timeline.untoldGap() == nil)
        }
    }

    @Test func `who was told is told too when the history answers after all`() async throws {
        let cluster = Cluster()
        try await cluster.setUp()
        let timeline = MemoryTimelineStore(cluster.database)
        try await cluster.run(["w1"]) {
            let armed = try await cluster.create(.held(stop: 50)).id
            try await cluster.settle()
            try await cluster.tick(101)
            let end = cluster.clock.now().microseconds
            func gap(isBackfilled: Bool) -> FeedGap {
                FeedGap(series: cluster.series, from: end - 1_000, to: end, reason: "lost", isBackfilled: isBackfilled)
            }
            try await timeline.add(gap(isBackfilled: false))
            _ = try await cluster.wait(for: armed) { $0.attention == [.feedGapUnfilled] }
            try await timeline.add(gap(isBackfilled: true))
            let later = try await cluster.wait(for: armed) { $0.attention.isEmpty }
            #expect(later.health == .ok && later.status == .active)
            while try await timeline.untoldGap() != nil { try await Task.sleep(for: .milliseconds(20)) }
        }
    }
}
