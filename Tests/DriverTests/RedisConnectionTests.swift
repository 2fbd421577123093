import LocalServers
import RedisClient
import TestKit
import Testing

@Suite(.timeLimit(.minutes(1))) struct RedisConnectionTests {
    @Test func `answers a command`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            #expect(try await redis.send(RedisCommand("SET", "k", "v")) == .status("OK"))
            #expect(try await redis.send(RedisCommand("GET", "k")).text == "v")
            #expect(try await redis.send(RedisCommand("GET", "none")).isNull)
        }
    }

    @Test func `answers 100,000 pipelined commands in order`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            var batch = RedisBatch()
            for number in 0..<100_000 {
                batch.begin("ECHO")
                batch.append(number)
            }
            let replies = try await redis.send(batch, timeout: .seconds(30))
            #expect(replies.count == 100_000)
            #expect(replies.enumerated().allSatisfy { $1.integer == Int64($0) })
        }
    }

    @Test func `keeps the order of replies for many callers`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let wrong = try await withThrowingTaskGroup(of: Int.self) { group in
                for caller in 0..<64 {
                    group.addTask {
                        var wrong = 0
                        for round in 0..<200 {
                            var batch = RedisBatch()
                            for item in 0..<(round % 7 + 1) {
                                batch.begin("ECHO")
                                batch.append("\(caller)-\(round)-\(item)")
                            }
                            let replies = try await redis.send(batch, timeout: .seconds(30))
                            for (item, reply) in replies.enumerated() where reply.text != "\(caller)-\(round)-\(item)" {
                                wrong += 1
                            }
                        }
                        return wrong
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(wrong == 0)
            #expect(redis.status.connects == 1)
        }
    }

    @Test func `carries any bytes`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let all = (0..<1_024).map { UInt8(truncatingIfNeeded: $0) } + Array("\r\n$3\r\n\0".utf8)
            var set = RedisCommand("SET")
            set.append(bytes: all)
            set.append(bytes: all)
            _ = try await redis.send(set)
            var get = RedisCommand("GET")
            get.append(bytes: all)
            #expect(try await redis.send(get).bytes == all)
            var empty = RedisCommand("SET", "empty")
            empty.append(bytes: [])
            _ = try await redis.send(empty)
            #expect(try await redis.send(RedisCommand("GET", "empty")).bytes == [])
        }
    }

    @Test func `carries values of a megabyte, many at once`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let big = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            var batch = RedisBatch()
            for number in 0..<16 {
                batch.begin("SET")
                batch.append("big-\(number)")
                batch.append(bytes: big)
            }
            for number in 0..<16 {
                batch.begin("GET")
                batch.append("big-\(number)")
            }
            let replies = try await redis.send(batch, timeout: .seconds(20))
            #expect(replies[16...].allSatisfy { $0.bytes == big })
        }
    }

    @Test func `an error is the value of its own command only`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            var batch = RedisBatch()
            batch.add(RedisCommand("SET", "text", "x"))
            batch.add(RedisCommand("LPUSH", "text", "y"))
            batch.add(RedisCommand("INCR", "number"))
            batch.add(RedisCommand("NOSUCH"))
            let replies = try await redis.send(batch)
            #expect(replies[0] == .status("OK"))
            #expect(replies[1].error?.code == "WRONGTYPE")
            #expect(replies[2] == .integer(1))
            #expect(replies[3].error?.code == "ERR")
            let error = await #expect(throws: RedisError.self) { try await redis.send(RedisCommand("NOSUCH")) }
            #expect(error?.code == "ERR")
            #expect(error?.isTransient == false)
        }
    }

    @Test func `nested replies arrive whole`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let source = "return {1, {'a', {false, redis.status_reply('FINE'), {}}}, redis.error_reply('ODD x')}"
            let reply = try await redis.send(RedisCommand("EVAL", source, "0"))
            #expect(
                reply
                    == .array([
                        .integer(1), .array([.bytes(Array("a".utf8)), .array([.null, .status("FINE"), .array([])])]),
                        .error(RedisServerError(text: "ODD x")),
                    ])
            )
        }
    }

    @Test func `a plain thread may wait for the answer`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let replies = try redis.sendBlocking(RedisBatch(RedisCommand("ECHO", "x")), timeout: .seconds(5))
            #expect(replies.first?.text == "x")
        }
    }
}
