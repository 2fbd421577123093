import JSONText
import OrderEngine
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

extension BullQueueTests {
    @Suite struct BullQueueLayoutTests {
        private let base = "bull:{so-01ba}-stops:"

        @Test func `each tag lies in its sixteenth of the slots, in bit-reversed order (42)`() {
            let expected = [
                742, 8325, 4903, 12343, 2493, 10870, 6578, 14814, 1047, 9634, 5136, 13939, 3937, 11522, 7824, 15744,
            ]
            let tags = QueuePartitions.tags
            #expect(tags.map { slot($0) } == expected)
            for (partition, slot) in expected.enumerated() {
                let reversed = (0..<4).reduce(0) { $0 | (partition >> $1 & 1) << (3 - $1) }
                #expect(slot / 1_024 == reversed, "partition \(partition)")
            }
            // Any count of partitions spreads evenly over the nodes.
            for partitions in QueuePartitions.allowedCounts {
                for nodes in [2, 3, 4, 6, 8] where partitions >= nodes {
                    let shares = Dictionary(grouping: expected.prefix(partitions)) { $0 * nodes / 16_384 }.values.map(
                        \.count
                    )
                    #expect(shares.count == nodes, "\(partitions) partitions on \(nodes) nodes")
                    #expect(
                        (shares.max() ?? 0) - (shares.min() ?? 0) <= 1,
                        "\(partitions) partitions on \(nodes) nodes",
                    )
                }
            }
        }

        @Test func `a job's hash, step by step`() async throws {
            try await BullRig.with { rig in
                let queue = try await rig.bull("a")
                let job = Job.sample(1)
                func hash() async throws -> [String: String] {
                    let flat = try await rig.send("HGETALL", "\(base)\(job.id)").array ?? []
                    var fields: [String: String] = [:]
                    for at in stride(from: 0, to: flat.count, by: 2) {
                        fields[flat[at].text ?? ""] = flat[at + 1].text ?? ""
                    }
                    return fields
                }
                _ = try await queue.offer([job], verify: false)
                var fields = try await hash()
                #expect(Set(fields.keys) == ["name", "data", "opts", "timestamp", "delay", "priority"])
                #expect(fields["name"] == "trigger")
                #expect(fields["delay"] == "0")
                let data = JSONField(try JSONValue(parsing: fields["data"] ?? ""))
                #expect(try data.int("v") == 1)
                #expect(try data.string("order") == job.id.order.description)
                #expect(try data.string("leg") == "sl")
                #expect(try data.int("attempt") == 1)
                #expect(try data.required("tick").string("source") == "mark")
                #expect(try JSONValue(parsing: fields["opts"] ?? "")["backoff"]?["delay"]?.int64 == 250)
                #expect(
                    try await rig.send("LRANGE", "\(base)wait", "0", "-1").array?.compactMap(\.text) == ["\(job.id)"]
                )
                #expect(try await rig.send("ZSCORE", "\(base)marker", "0").text == "0")
                #expect(try await rig.send("HGET", "\(base)meta", "version").text == "bullmq:6.0.0")
                #expect(try await rig.send("GET", "\(base)id").text == "1")

                let taken = try await queue.take(.all)
                fields = try await hash()
                #expect(fields["pb"] == "a:1")
                #expect(fields["ats"] == "1")
                #expect(Int64(fields["processedOn"] ?? "") ?? 0 >= Int64(fields["timestamp"] ?? "") ?? .max)
                #expect(try await rig.send("GET", "\(base)\(job.id):lock").text == "a:1")
                #expect(try await rig.send("LRANGE", "\(base)active", "0", "-1").array?.count == 1)

                _ = try await queue.finish([(taken[0], .retry(delayMs: 30, reason: "STORE: away"))])
                fields = try await hash()
                #expect(fields["failedReason"] == "STORE: away")
                #expect(fields["stacktrace"] == "[\"STORE: away\"]")
                #expect(fields["atm"] == "1")
                #expect(try await rig.send("SMEMBERS", "so:{so-01ba}:retry:stops").array?.count == 1)
                #expect(try await rig.send("EXISTS", "\(base)\(job.id):lock").integer == 0)
                let counts = try await queue.counts()
                #expect(counts[QueueAddress(partition: 1, jobClass: .stops)] == QueueCounts(retry: 1))

                try await rig.pass(milliseconds: 40)
                let again = try await queue.take(.all)
                _ = try await queue.finish([(again[0], .done(version: 18))])
                fields = try await hash()
                #expect(fields["returnvalue"] == "{\"outcome\":\"done\",\"version\":18}")
                #expect(fields["atm"] == "2")
                #expect(fields["failedReason"] == nil)
                #expect(fields["stacktrace"] == nil)
                #expect(try await rig.send("ZSCORE", "\(base)completed", "\(job.id)").text == fields["finishedOn"])
                #expect(try await rig.send("SCARD", "so:{so-01ba}:retry:stops").integer == 0)
                #expect(try await rig.send("HGET", "\(base)metrics:completed", "count").text == "1")
                let events = try await rig.send("XRANGE", "\(base)events", "-", "+").array ?? []
                let names = events.compactMap { $0.array?.last?.array?.dropFirst().first?.text }
                #expect(names == ["waiting", "active", "delayed", "waiting", "active", "completed", "drained"])
            }
        }

        @Test func `fewer events leave out what comes with every job`() async throws {
            try await BullRig.with {
                $0.events = .ends
            } _: { rig in
                let queue = try await rig.bull("a")
                _ = try await queue.offer([.sample(1)], verify: false)
                _ = try await queue.finish(try await queue.take(.all).map { ($0, .done(version: 1)) })
                let events = try await rig.send("XRANGE", "\(base)events", "-", "+").array ?? []
                let names = events.compactMap { $0.array?.last?.array?.dropFirst().first?.text }
                #expect(names == ["completed", "drained"])
            }
        }

        @Test func `any job survives its payload`() {
            for jobClass in JobClass.allCases {
                for name in [Job.Name.trigger, .check, .timer, .reconcile] {
                    let sample = Job.sample(77, jobClass)
                    let bare = Job(id: sample.id, name: name, jobClass: jobClass, version: .max)
                    let full = Job(
                        id: sample.id,
                        name: name,
                        jobClass: jobClass,
                        version: 0,
                        account: sample.account,
                        market: sample.market,
                        source: .last,
                        position: TickPosition(venueTime: .max, sequence: -1),
                    )
                    for job in [bare, full] {
                        let data = JobText.payload(job)
                        #expect(data.count < 400)
                        let read = JobText.job(id: "\(job.id)", name: name.rawValue, data: data, jobClass: jobClass)
                        #expect(read == job)
                    }
                }
            }
        }

        @Test(arguments: [
            "", "{}", "[]", "{\"v\":2}", "{\"v\":1,\"order\":\"x\"}", "null",
            "{\"v\":1,\"order\":\"0197f6c2-8d1e-7000-8000-000000000001\",\"leg\":\"sl\",\"attempt\":2,\"version\":1}",
            "{\"v\":1,\"order\":\"0197f6c2-8d1e-7000-8000-000000000001\",\"leg\":\"sl\",\"attempt\":1}",
        ])
        func `a payload that is not ours is undecodable`(text: String) {
            #expect(
                JobText.job(id: "\(Job.sample(1).id)", name: "trigger", data: Array(text.utf8), jobClass: .stops) == nil
            )
        }

        @Test func `unknown keys of a payload are ignored`() {
            let text = """
                {"v":1,"order":"0197f6c2-8d1e-7000-8000-000000000001","leg":"sl","attempt":1,"version":3,"traceparent":"00-1",
                 "more":{"x":[1]}}
                """
            let job = JobText.job(id: "\(Job.sample(1).id)", name: "check", data: Array(text.utf8), jobClass: .targets)
            #expect(job?.version == 3)
            #expect(job?.name == .check)
            let other = JobText.job(id: "\(Job.sample(1).id)", name: "x", data: Array(text.utf8), jobClass: .targets)
            #expect(other == nil)
        }

        /// CRC16/XMODEM, as Redis Cluster hashes a tag.
        private func slot(_ tag: String) -> Int {
            var crc: UInt16 = 0
            for byte in tag.utf8 {
                crc ^= UInt16(byte) << 8
                for _ in 0..<8 { crc = crc & 0x8000 != 0 ? crc << 1 ^ 0x1021 : crc << 1 }
            }
            return Int(crc) % 16_384
        }
    }
}
