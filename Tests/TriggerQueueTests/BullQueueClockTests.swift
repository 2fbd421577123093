import LocalServers
import OrderEngine
import OwnerThread
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

/// A machine whose clocks are wrong by hours.
private struct WrongClock: EngineClock {
    let hours: Int64
    private let real = RealClock()

    init(hours: Int64) { self.hours = hours }

    func now() -> Timestamp { real.now().advanced(milliseconds: hours * 3_600_000) }
    func monotonicNanoseconds() -> Int64 { real.monotonicNanoseconds() + hours * 3_600_000_000_000 }
    func sleep(milliseconds: Int64) async throws { try await real.sleep(milliseconds: milliseconds) }
}

extension BullQueueTests {
    @Suite struct BullQueueClockTests {
        @Test(arguments: [1, -1] as [Int64])
        func `a worker's clock that is an hour off changes nothing (21, 22)`(hours: Int64) async throws {
            try await BullRig.with(leaseMs: 3_000) { rig in
                let queue = try await rig.bull("right")
                let wrong = try await rig.bull("wrong", clock: WrongClock(hours: hours))
                // Retention is not wiped.
                _ = try await queue.offer([.sample(1)], verify: false)
                _ = try await queue.finish(try await queue.take(.all).map { ($0, .done(version: 1)) })
                _ = try await wrong.offer([.sample(2)], verify: false)
                _ = try await wrong.finish(try await wrong.take(.all).map { ($0, .done(version: 1)) })
                try await wrong.reclaim(dead: [WorkerID("nobody")])
                #expect(try await wrong.offer([.sample(1), .sample(2)], verify: true) == [.completed, .completed])
                // No lease is stolen.
                _ = try await queue.offer([.sample(3)], verify: false)
                let held = try await queue.take(.all)
                try await wrong.reclaim(dead: [WorkerID("nobody")])
                #expect(try await wrong.take(.all).isEmpty)
                #expect(try await queue.finish(held.map { ($0, .done(version: 1)) }) == [.done])
                // Nothing comes early, whoever offers and whoever takes; and it comes.
                for (offering, taking) in [(queue, wrong), (wrong, queue)] {
                    let number = offering === queue ? 4 : 5
                    let offered = RealClock().monotonicNanoseconds()
                    _ = try await offering.offer([.sample(number)], delayMs: 400, verify: false)
                    #expect(try await taking.take(.all).isEmpty)
                    let taken = try await eventually("the delayed job is due") { () -> [TakenJob]? in
                        let taken = try await taking.take(.all)
                        return taken.isEmpty ? nil : taken
                    }
                    #expect(RealClock().monotonicNanoseconds() - offered >= 400_000_000)
                    #expect(taken.map(\.job) == [.sample(number)])
                    #expect(try await taking.finish(taken.map { ($0, .done(version: 1)) }) == [.done])
                }
            }
        }

        @Test func `a connection that is half open is noticed, shown, and replaced (17)`() async throws {
            let port = RedisServer.freePort()
            try await RedisServer.withServer(tcpPort: port) { server in
                let rig = try BullRig(server) { options in
                    options.address = RedisAddress(.tcp(name: "127.0.0.1", port: port))
                }
                let queue = try await rig.bull("a")
                try await queue.open()
                let seen = Locked<[String]>([])
                let worker = Task {
                    while !Task.isCancelled {
                        await queue.waitForWork()
                        do {
                            let taken = try await queue.take(.all)
                            seen.withLock { $0 += taken.map(\.rawID) }
                            _ = try await queue.finish(taken.map { ($0, .done(version: 1)) })
                        } catch { try? await Task.sleep(for: .milliseconds(20)) }
                    }
                }
                _ = try await eventually("connected") { queue.isConnected ? true : nil }
                // The kernel answers for the stopped process: nothing is refused, nothing is said.
                server.suspend()
                _ = try await eventually("the silence is noticed") { queue.isConnected ? nil : true }
                server.resume()
                _ = try await eventually("it is connected again") { queue.isConnected ? true : nil }
                _ = try await eventually("an offer passes") { () -> Bool? in
                    do {
                        _ = try await queue.offer([.sample(1)], verify: false)
                        return true
                    } catch { return nil }
                }
                _ = try await eventually("the worker takes it") {
                    seen.withLock { $0.contains(Job.sample(1).id.description) } ? true : nil
                }
                worker.cancel()
                await worker.value
                rig.close()
            }
        }
    }
}
