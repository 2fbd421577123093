import LocalServers
import RedisClient
import TestKit
import Testing

@Suite(.timeLimit(.minutes(1))) struct RedisStreamTests {
    private func add(_ count: Int, to key: String, _ redis: RedisConnection) async throws -> [RedisStreamID] {
        var batch = RedisBatch()
        for number in 0..<count {
            batch.beginXADD(key)
            batch.append("n")
            batch.append(number)
            batch.append("text")
            batch.append("\(key)-\(number)")
        }
        return try await redis.send(batch, timeout: .seconds(5)).compactMap { RedisStreamID($0.bytes ?? []) }
    }

    @Test func `entries of several streams come back in order and in their stream`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let keys = ["s0", "empty", "s2"]
            let ids = [try await add(500, to: "s0", redis), [], try await add(700, to: "s2", redis)]
            #expect(ids.map(\.count) == [500, 0, 700])
            let entries = try await redis.readStreams(keys.map { ($0, .zero) }, count: 600)
            #expect(entries.count == 1_100)
            var seen = [0, 0, 0]
            for entry in entries.entries {
                let number = seen[entry.stream]
                #expect(entry.id == ids[entry.stream][number])
                #expect(entries.value("n", of: entry).map { Array($0) } == Array("\(number)".utf8))
                #expect(
                    entries.value("text", of: entry).map { Array($0) } == Array("\(keys[entry.stream])-\(number)".utf8)
                )
                #expect(entries.value("none", of: entry) == nil)
                seen[entry.stream] += 1
            }
            #expect(seen == [500, 0, 600])
        }
    }

    @Test func `a range is read page by page`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let ids = try await add(250, to: "s", redis)
            var read: [RedisStreamID] = []
            while true {
                let page = try await redis.readRange("s", after: read.last ?? .zero, count: 100)
                if page.isEmpty { break }
                read += page.entries.map(\.id)
            }
            #expect(read == ids)
            let part = try await redis.readRange("s", after: ids[9], through: ids[19], count: 100)
            #expect(part.entries.map(\.id) == Array(ids[10...19]))
        }
    }

    @Test func `a stream is trimmed to about its length`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            var batch = RedisBatch()
            for number in 0..<5_000 {
                batch.beginXADD("s", id: RedisStreamID(milliseconds: 1, sequence: UInt64(number + 1)), maxLength: 100)
                batch.append("n")
                batch.append(number)
            }
            _ = try await redis.send(batch, timeout: .seconds(5))
            let length = try await redis.send(RedisCommand("XLEN", "s")).integer ?? 0
            #expect((100...300).contains(length))
        }
    }

    @Test func `a wrong type is an error and no empty answer`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            _ = try await redis.send(RedisCommand("SET", "s", "x"), timeout: .seconds(5))
            let error = await #expect(throws: RedisError.self) {
                try await redis.readStreams([("s", .zero)], count: 1)
            }
            #expect(error?.code == "WRONGTYPE")
        }
    }

    @Test(arguments: ["1-2", "0-0", "1700000000000-18", "9999999999999999999-1", "1", "-1", "1-", "a-1", "", "1-2-3"])
    func `ids are read strictly`(text: String) {
        let id = RedisStreamID(text.utf8)
        let isRight = ["1-2", "0-0", "1700000000000-18", "9999999999999999999-1"].contains(text)
        #expect((id?.description == text) == isRight)
        #expect((id == nil) == !isRight)
    }

    @Test func `a blocking read wakes for the first entry and ends without one`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let blocking = RedisBlockingConnection(try RedisServer.options(server))
            let none = try await blocking.readStreams([("s", .zero)], count: 10, wait: .milliseconds(50))
            #expect(none.isEmpty)
            async let first = blocking.readStreams([("other", .zero), ("s", .zero)], count: 10, wait: .seconds(10))
            let ids = try await add(1, to: "s", redis)
            let entries = try await first
            #expect(entries.entries.map(\.id) == ids)
            #expect(entries.entries.first?.stream == 1)
        }
    }

    @Test func `blocking pops lose no element, however short they wait`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let blocking = RedisBlockingConnection(try RedisServer.options(server))
            let total = 2_000
            async let popped = {
                var members: Set<[UInt8]> = []
                var idle = 0
                while members.count < total, idle < 2_000 {
                    guard let element = try await blocking.popMin(["z1", "z2"], wait: .milliseconds(2)) else {
                        idle += 1
                        continue
                    }
                    idle = 0
                    members.insert(element.member)
                }
                return members.count
            }()
            for number in 0..<total {
                _ = try await redis.send(RedisCommand("ZADD", number % 2 == 0 ? "z1" : "z2", "1", "\(number)"))
                if number % 50 == 0 { try await Task.sleep(for: .milliseconds(5)) }
            }
            #expect(try await popped == total)
        }
    }

    @Test func `a blocking call to a silent server ends half a second after its time`() async throws {
        try await RedisServer.withServer { server in
            let blocking = RedisBlockingConnection(try RedisServer.options(server))
            _ = try await blocking.popMin(["z"], wait: .milliseconds(1))
            server.suspend()
            let clock = ContinuousClock()
            let start = clock.now
            let error = await #expect(throws: RedisError.self) {
                try await blocking.popMin(["z"], wait: .milliseconds(200))
            }
            #expect(error?.kind == .outcomeUnknown)
            #expect((.milliseconds(700) ... .seconds(3)).contains(clock.now - start))
            server.resume()
            try await eventually { blocking.status.isReady }
            #expect(try await blocking.popMin(["z"], wait: .milliseconds(1)) == nil)
        }
    }

    @Test func `a server's facts are read`() async throws {
        try await RedisServer.withServer(settings: [("maxmemory", "100mb")]) { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let info = try await redis.info(timeout: .seconds(5))
            #expect(info.version >= (6, 2))
            #expect(info.hasNoEviction)
            #expect(info.isMaster)
            #expect(!info.isAppendOnly)
            #expect(info.processID == server.pid)
            #expect(info.maxMemory == 100 << 20)
            _ = try await redis.send(RedisCommand("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"))
            #expect(try await redis.info().hasNoEviction == false)
        }
    }
}
