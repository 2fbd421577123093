import LocalServers
import RedisClient
import TestKit
import Testing

@Suite(.timeLimit(.minutes(1))) struct RedisScriptTests {
    private let double = RedisScript(name: "double", source: "return tonumber(ARGV[1]) * 2")
    private let push = RedisScript(name: "push", source: "return redis.call('RPUSH', KEYS[1], ARGV[1])")

    @Test func `our digest is the server's`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            // Around the block boundaries of SHA-1.
            for length in [0, 1, 30, 31, 32, 46, 47, 48, 55, 56, 63, 64, 65, 119, 120, 1_000] {
                let script = RedisScript(name: "s", source: "return 1 --" + String(repeating: "é", count: length))
                let digest = try await redis.send(RedisCommand("SCRIPT", "LOAD", script.source), timeout: .seconds(5))
                #expect(digest.text == script.digest)
            }
        }
    }

    @Test func `a registered script is on the server before the first call`() async throws {
        try await RedisServer.withServer { server in
            var options = try RedisServer.options(server)
            options.scripts = [double, push]
            let redis = RedisConnection(options)
            let known = try await redis.send(
                RedisCommand("SCRIPT", "EXISTS", double.digest, push.digest),
                timeout: .seconds(5),
            )
            #expect(known == .array([.integer(1), .integer(1)]))
        }
    }

    @Test(arguments: [true, false])
    func `a script that the server forgot is loaded and called once more`(isRegistered: Bool) async throws {
        try await RedisServer.withServer { server in
            var options = try RedisServer.options(server)
            if isRegistered { options.scripts = [double, push] }
            let redis = RedisConnection(options)
            for round in 1...3 {
                _ = try await redis.send(RedisCommand("SCRIPT", "FLUSH"), timeout: .seconds(5))
                var batch = RedisBatch()
                batch.add(RedisCommand("SET", "a", "\(round)"))
                batch.begin(double, keyCount: 0)
                batch.append(round)
                batch.add(RedisCommand("GET", "a"))
                batch.begin(push, keyCount: 1)
                batch.append("list")
                batch.append("x")
                batch.begin(double, keyCount: 0)
                batch.append(100)
                let replies = try await redis.send(batch, timeout: .seconds(5))
                #expect(
                    replies == [
                        .status("OK"), .integer(Int64(round * 2)), .bytes(Array("\(round)".utf8)),
                        .integer(Int64(round)), .integer(200),
                    ]
                )
            }
            #expect(redis.status.outstanding == 0)
            #expect(redis.status.connects == 1)
        }
    }

    @Test func `a script's own error is not repeated`() async throws {
        try await RedisServer.withServer { server in
            let failing = RedisScript(
                name: "failing",
                source: "redis.call('INCR', 'n'); return redis.error_reply('CLOSED no open key')",
            )
            let redis = RedisConnection(try RedisServer.options(server))
            let error = await #expect(throws: RedisError.self) {
                try await redis.send(RedisCommand(failing, keys: []), timeout: .seconds(5))
            }
            #expect(error?.code == "CLOSED")
            #expect(try await redis.send(RedisCommand("GET", "n")).integer == 1)
        }
    }
}
