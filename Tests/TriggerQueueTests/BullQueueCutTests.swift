import LocalServers
import OrderEngine
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

extension BullQueueTests {
    /// Calls that were done and whose replies were lost on the way. Numbers are those of QUEUE.md 18.
    @Suite struct BullQueueCutTests {
        private let base = "bull:{so-01ba}-stops:"

        /// A queue that reaches the rig's server through `proxy` alone.
        private func queue(_ worker: String, through proxy: CuttingProxy, _ rig: BullRig) -> BullQueue {
            var options = BullQueueOptions(
                address: RedisAddress(.tcp(name: "127.0.0.1", port: proxy.port)),
                worker: WorkerID(worker),
                deployment: "test",
                generation: 1,
            )
            options.leaseMs = Int(rig.leaseMs)
            options.heartbeatMs = 60_000
            return BullQueue(options, clock: RealClock())
        }

        private func withProxy(
            leaseMs: Int64,
            _ body: (BullRig, CuttingProxy, BullQueue) async throws -> Void,
        ) async throws {
            try await BullRig.with(leaseMs: leaseMs) { rig in
                let proxy = try CuttingProxy(to: rig.server.socketPath)
                let queue = queue("a", through: proxy, rig)
                defer {
                    queue.close()
                    proxy.close()
                }
                _ = try await eventually("connected through the proxy") { () -> Bool? in
                    do {
                        _ = try await queue.serverTime()
                        return true
                    } catch is QueueError { return nil }
                }
                try await body(rig, proxy, queue)
            }
        }

        @Test func `a finish whose reply is cut off is repeated with success (14)`() async throws {
            try await withProxy(leaseMs: 60_000) { rig, proxy, queue in
                _ = try await queue.offer([.sample(1)], verify: false)
                let taken = try await queue.take(.all)
                proxy.cut("\"outcome\":\"done\"")
                #expect(try await queue.finish([(taken[0], .done(version: 1))]) == [.repeated])
                #expect(proxy.cuts == 1)
                #expect(try await rig.send("ZCARD", "\(base)completed").integer == 1)
                #expect(try await rig.send("HGET", "\(base)metrics:completed", "count").text == "1")
                #expect(queue.heldCount == 0)
            }
        }

        @Test func `a take whose reply is cut off brings the same jobs again (15)`() async throws {
            try await withProxy(leaseMs: 60_000) { rig, proxy, queue in
                _ = try await queue.offer([.sample(1), .sample(9)], verify: false)
                proxy.cut("-housekeeping:")
                let taken = try await queue.take(.all)
                #expect(proxy.cuts == 1)
                #expect(taken.map(\.job) == [.sample(1), .sample(9)])
                #expect(taken.allSatisfy { $0.deliveries == 1 && $0.crashes == 0 })
                #expect(queue.counters.takesReplayed == 0)
                #expect(try await queue.finish(taken.map { ($0, .done(version: 1)) }) == [.done, .done])
            }
        }

        @Test func `a take whose reply never arrives is somebody else's, and no crash (15)`() async throws {
            try await withProxy(leaseMs: 600) { rig, proxy, queue in
                _ = try await queue.offer([.sample(1)], verify: false)
                proxy.cut("-housekeeping:", thenRefuses: true)
                await #expect(throws: QueueError.self) { _ = try await queue.take(.all) }
                #expect(proxy.cuts == 1)
                #expect(try await rig.send("LLEN", "\(base)active").integer == 1)
                let other = try await rig.bull("b")
                let taken = try await eventually("the job is back") { () -> [TakenJob]? in
                    try await other.reclaim(dead: [])
                    let taken = try await other.take(.all)
                    return taken.isEmpty ? nil : taken
                }
                #expect(taken.map(\.job) == [.sample(1)])
                #expect(taken.map(\.crashes) == [0])
                #expect(taken.map(\.deliveries) == [2])
            }
        }
    }
}
