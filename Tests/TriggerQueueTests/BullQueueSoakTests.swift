import OrderEngine
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

extension BullQueueTests {
    @Suite struct BullQueueSoakTests {
        private func memory(_ rig: BullRig) async throws -> Int {
            let info = try await rig.send("INFO", "memory").text ?? ""
            let line = info.split(whereSeparator: \.isNewline).first { $0.hasPrefix("used_memory:") }
            return try #require(line.flatMap { Int($0.dropFirst("used_memory:".count)) })
        }

        /// A day in small: what a day makes pass is kept for a moment, so that whatever grows shows within seconds.
        @Test func `memory stays, events are capped, and each hash is in one state (41)`() async throws {
            try await BullRig.with(leaseMs: 5_000) { options in
                options.keepCompletedMs = 1
                options.keepCompletedMax = 200
            } _: { rig in
                let queue = try await rig.bull("a")
                for address in queue.queues {
                    let tag = QueuePartitions.tags[address.partition]
                    try await rig.send(
                        "HSET",
                        "bull:{\(tag)}-\(address.jobClass.rawValue):meta",
                        "opts.maxLenEvents",
                        "500",
                    )
                }
                var early = 0
                for round in 0..<60 {
                    let jobs = (0..<256).map { Job.sample(round * 256 + $0, JobClass.allCases[$0 % 3]) }
                    _ = try await queue.offer(jobs, verify: round % 2 == 0)
                    var open = Set(jobs.map(\.id))
                    while !open.isEmpty {
                        let taken = try await queue.take(.all)
                        if taken.isEmpty { await queue.waitForWork() }
                        var ends: [(job: TakenJob, outcome: JobOutcome)] = []
                        for job in taken {
                            let id = try #require(job.job?.id)
                            // Every seventh fails once, and every fiftieth is given up by an operator.
                            if job.attemptsMade == 0, id.order.shard % 7 == 0 {
                                ends.append((job, .retry(delayMs: id.order.shard % 2 == 0 ? 0 : 5, reason: "X: y")))
                            } else {
                                open.remove(id)
                                let isDead = id.order.shard % 50 == 0
                                ends.append((job, isDead ? .dead(reason: "X: y") : .done(version: 1)))
                            }
                        }
                        #expect(try await queue.finish(ends).allSatisfy { $0 == .done })
                    }
                    try await queue.reclaim(dead: [WorkerID("nobody")])
                    if round % 10 == 9 {
                        for address in queue.queues {
                            let dead = try await queue.ids(in: address, .dead, limit: 500)
                            _ = try await queue.discard(dead, .dead, in: address)
                        }
                    }
                    if round == 29 { early = try await memory(rig) }
                }
                let late = try await memory(rig)
                #expect(late < early + early / 10 + 300_000, "\(early) bytes, then \(late)")

                var cursor = "0"
                var hashes = 0
                repeat {
                    let page = try await rig.send("SCAN", cursor, "COUNT", "1000").array ?? []
                    cursor = page[0].text ?? "0"
                    for key in (page[1].array ?? []).compactMap(\.text) where key.hasSuffix(":events") {
                        #expect(try await rig.send("XLEN", key).integer ?? 0 <= 700, "\(key)")
                    }
                    for key in (page[1].array ?? []).compactMap(\.text) where JobID(Self.lastPart(key)) != nil {
                        let address = try #require(queue.queues.first { key.hasPrefix(Self.base($0)) })
                        let words = try await queue.audit([Self.lastPart(key)], in: address)
                        #expect(words == ["completed"] || words == ["dead"], "\(key): \(words)")
                        hashes += 1
                    }
                } while cursor != "0"
                let counts = try await queue.counts().values
                #expect(hashes == counts.reduce(0) { $0 + $1.completed + $1.dead })
                #expect(counts.allSatisfy { $0.waiting + $0.active + $0.delayed + $0.retry == 0 })
            }
        }

        private static func lastPart(_ key: String) -> String { String(key.split(separator: ":").last ?? "") }
        private static func base(_ queue: QueueAddress) -> String {
            "bull:{\(QueuePartitions.tags[queue.partition])}-\(queue.jobClass.rawValue):"
        }
    }
}
