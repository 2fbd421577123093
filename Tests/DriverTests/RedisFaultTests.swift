import LocalServers
import OwnerThread
import RedisClient
import TestKit
import Testing

/// What a request ends with when the server, the connection or the caller's patience fails.
@Suite(.timeLimit(.minutes(1))) struct RedisFaultTests {
    private func kind(
        _ redis: RedisConnection,
        _ command: RedisCommand,
        timeout: Duration,
    ) async -> RedisError.Kind? {
        do throws(RedisError) {
            _ = try await redis.send(command, timeout: timeout)
            return nil
        } catch {
            return error.kind
        }
    }

    @Test func `without a server the deadline ends a request as not sent`() async throws {
        let redis = RedisConnection(RedisOptions(address: try RedisAddress(url: "unix:///nowhere/redis.sock")))
        let clock = ContinuousClock()
        let start = clock.now
        let error = await #expect(throws: RedisError.self) {
            try await redis.send(RedisCommand("PING"), timeout: .milliseconds(300))
        }
        #expect(error?.kind == .notSent)
        #expect(error?.isTransient == true)
        #expect(error?.detail.contains("No such file") == true)
        #expect((.milliseconds(300) ... .seconds(3)).contains(clock.now - start))
        #expect(redis.status.lastFailure.contains("No such file"))
    }

    @Test func `who has another way of working is refused at once while there is no server`() async throws {
        var options = RedisOptions(address: try RedisAddress(url: "unix:///nowhere/redis.sock"))
        options.refusesAfter = .milliseconds(100)
        let redis = RedisConnection(options)
        #expect(await kind(redis, RedisCommand("PING"), timeout: .milliseconds(300)) == .notSent)
        let clock = ContinuousClock()
        let start = clock.now
        #expect(await kind(redis, RedisCommand("PING"), timeout: .seconds(40)) == .notSent)
        #expect(clock.now - start < .seconds(30))
    }

    @Test(arguments: [false, true])
    func `a silent server gives an unknown outcome by the deadline and is used again when it wakes`(
        overTCP: Bool
    ) async throws {
        let port: UInt16? = overTCP ? RedisServer.freePort() : nil
        try await RedisServer.withServer(tcpPort: port) { server in
            var options = try RedisServer.options(server)
            if let port { options.address = try RedisAddress(url: "redis://localhost:\(port)/0") }
            let redis = RedisConnection(options)
            _ = try await redis.send(RedisCommand("PING"), timeout: .seconds(5))

            server.suspend()
            let clock = ContinuousClock()
            let start = clock.now
            async let patient = kind(redis, RedisCommand("INCR", "n"), timeout: .seconds(60))
            async let late = kind(redis, RedisCommand("INCR", "n"), timeout: .milliseconds(300))
            #expect(await late == .outcomeUnknown)
            // It shares the connection, which is gone.
            #expect(await patient == .outcomeUnknown)
            #expect((.milliseconds(300) ... .seconds(3)).contains(clock.now - start))

            // The kernel still accepts connections for the stopped process; nothing may be sent over one.
            #expect(await kind(redis, RedisCommand("INCR", "n"), timeout: .milliseconds(700)) == .notSent)
            #expect(redis.status.isReady == false)

            server.resume()
            let count = try await redis.send(RedisCommand("GET", "n"), timeout: .seconds(10)).integer ?? 0
            #expect(count <= 2, "what was reported as not sent has run")
            #expect(redis.status.isReady)
        }
    }

    @Test func `an idle connection to a silent server is noticed`() async throws {
        try await RedisServer.withServer { server in
            var options = try RedisServer.options(server)
            options.idlePing = .milliseconds(100)
            options.requestTimeout = .milliseconds(200)
            let redis = RedisConnection(options)
            _ = try await redis.send(RedisCommand("PING"), timeout: .seconds(5))
            server.suspend()
            try await eventually { !redis.status.isReady }
            server.resume()
            try await eventually { redis.status.isReady }
            #expect(redis.status.outstanding == 0)
        }
    }

    /// 230 kB and the request behind it share the write buffer and overflow the socket's; behind 8 MB it waits outside.
    @Test(arguments: [230_000, 8 << 20])
    func `what was not yet written survives the loss of the connection`(size: Int) async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            _ = try await redis.send(RedisCommand("PING"), timeout: .seconds(5))
            let plug = RedisBatch(RedisCommand("SET", "plug", String(repeating: "x", count: size)))
            let behind = RedisBatch(RedisCommand("INCR", "n"))
            let plugged = Locked<RedisError.Kind?>(nil)
            let count = Locked<RedisValue?>(nil)
            server.suspend()
            redis.submit(plug, timeout: .seconds(1), shape: .values) { result in
                if case .failure(let error) = result { plugged.withLock { $0 = error.kind } }
            }
            redis.submit(behind, timeout: .seconds(30), shape: .values) { result in
                if case .success(let replies) = result { count.withLock { $0 = replies.values.first } }
            }
            try await eventually { plugged.withLock { $0 } == .outcomeUnknown }
            server.resume()
            try await eventually { count.withLock { $0 } == .integer(1) }
        }
    }

    @Test func `a full connection refuses at once`() async throws {
        try await RedisServer.withServer { server in
            var options = try RedisServer.options(server)
            options.capacity = 4
            let redis = RedisConnection(options)
            _ = try await redis.send(RedisCommand("PING"), timeout: .seconds(5))
            server.suspend()
            try await withThrowingTaskGroup(of: RedisError.Kind?.self) { group in
                for _ in 0..<4 {
                    group.addTask { await kind(redis, RedisCommand("INCR", "n"), timeout: .seconds(2)) }
                }
                try await eventually { redis.status.outstanding == 4 }
                let clock = ContinuousClock()
                let start = clock.now
                #expect(await kind(redis, RedisCommand("INCR", "n"), timeout: .seconds(60)) == .notSent)
                #expect(clock.now - start < .seconds(1))
                for try await kind in group { #expect(kind == .outcomeUnknown) }
            }
            server.resume()
            #expect(try await redis.send(RedisCommand("PING"), timeout: .seconds(10)) == .status("PONG"))
            #expect(redis.status.outstanding == 0)
        }
    }

    @Test func `a large request is bounded by bytes, alone it passes`() async throws {
        try await RedisServer.withServer { server in
            var options = try RedisServer.options(server)
            options.capacityBytes = 1_000
            let redis = RedisConnection(options)
            let big = RedisCommand("SET", "k", String(repeating: "x", count: 5_000))
            #expect(try await redis.send(big, timeout: .seconds(5)) == .status("OK"))
            server.suspend()
            async let first = kind(redis, big, timeout: .seconds(1))
            try await eventually { redis.status.outstanding == 1 }
            #expect(await kind(redis, big, timeout: .seconds(60)) == .notSent)
            #expect(await first == .outcomeUnknown)
        }
    }

    @Test func `a closed connection ends what was not sent as closed`() async throws {
        let redis = RedisConnection(RedisOptions(address: try RedisAddress(url: "unix:///nowhere/redis.sock")))
        async let waiting = kind(redis, RedisCommand("PING"), timeout: .seconds(60))
        try await eventually { redis.status.outstanding == 1 }
        redis.close()
        #expect(await waiting == .closed)
        #expect(await kind(redis, RedisCommand("PING"), timeout: .seconds(60)) == .closed)
    }

    /// Each INCR is acknowledged, unknown or not sent. A durable server therefore holds at least what was acknowledged
    /// and at most that and the unknown: the last bound fails when a single `notSent` was sent.
    @Test(arguments: 0..<3)
    func `killed and suspended, nothing acknowledged is lost and nothing not sent has run`(round: Int) async throws {
        try await RedisServer.withServer(isDurable: true, settings: [("appendfsync", "always")]) { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let (acknowledged, unknown, notSent) = try await withThrowingTaskGroup(of: (Int, Int, Int).self) { group in
                for _ in 0..<16 {
                    group.addTask {
                        var (acknowledged, unknown, notSent) = (0, 0, 0)
                        while !Task.isCancelled {
                            switch await kind(redis, RedisCommand("INCR", "n"), timeout: .milliseconds(100)) {
                            case nil: acknowledged += 1
                            case .outcomeUnknown: unknown += 1
                            case .notSent: notSent += 1
                            // A server that reads its file again answers LOADING: it has not run the command.
                            case .server: break
                            case .closed: Issue.record("nobody closed it")
                            }
                        }
                        return (acknowledged, unknown, notSent)
                    }
                }
                for step in 0..<4 {
                    try await eventually { redis.status.isReady }
                    try await Task.sleep(for: .milliseconds(50))
                    if (step + round) % 2 == 0 {
                        try await server.kill()
                        try await Task.sleep(for: .milliseconds(150))
                        try await server.start()
                    } else {
                        server.suspend()
                        try await Task.sleep(for: .milliseconds(250))
                        server.resume()
                    }
                }
                try await eventually { redis.status.isReady }
                group.cancelAll()
                return try await group.reduce((0, 0, 0)) { ($0.0 + $1.0, $0.1 + $1.1, $0.2 + $1.2) }
            }
            let stored = try await redis.send(RedisCommand("GET", "n"), timeout: .seconds(10)).integer ?? 0
            #expect(stored >= Int64(acknowledged))
            #expect(stored <= Int64(acknowledged + unknown))
            #expect(acknowledged > 0)
            #expect(unknown > 0)
            #expect(notSent > 0)
            #expect(redis.status.connects >= 3)
        }
    }

    @Test func `a connection that the server closes comes back`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server, name: "victim"))
            let other = RedisConnection(try RedisServer.options(server, name: "other"))
            for round in 1...5 {
                let id = try await redis.send(RedisCommand("CLIENT", "ID"), timeout: .seconds(5)).integer ?? 0
                #expect(try await other.send(RedisCommand("CLIENT", "KILL", "ID", "\(id)")) == .integer(1))
                try await eventually { redis.status.connects == round + 1 && redis.status.isReady }
                #expect(try await redis.send(RedisCommand("CLIENT", "GETNAME")).text == "victim")
            }
        }
    }

    @Test func `flushing everything harms no connection`() async throws {
        try await RedisServer.withServer { server in
            let script = RedisScript(name: "one", source: "return 1")
            var options = try RedisServer.options(server)
            options.scripts = [script]
            let redis = RedisConnection(options)
            _ = try await redis.send(RedisCommand("FLUSHALL"), timeout: .seconds(5))
            #expect(try await redis.send(RedisCommand(script, keys: [])) == .integer(1))
            #expect(redis.status.connects == 1)
        }
    }

    @Test func `a full server is a transient error with its code`() async throws {
        try await RedisServer.withServer(settings: [("maxmemory", "3mb")]) { server in
            let redis = RedisConnection(try RedisServer.options(server))
            let error = await #expect(throws: RedisError.self) {
                for number in 0..<100_000 {
                    _ = try await redis.send(
                        RedisCommand("SET", "k\(number)", String(repeating: "v", count: 100_000))
                    )
                }
            }
            #expect(error?.code == "OOM")
            #expect(error?.isTransient == true)
            #expect(error?.description == "redis: server OOM")
        }
    }

    @Test func `a server that became a replica is left and found again as master`() async throws {
        try await RedisServer.withServer { server in
            let redis = RedisConnection(try RedisServer.options(server))
            var options = try RedisServer.options(server, name: "operator")
            options.requiresMaster = false
            let operatorsOwn = RedisConnection(options)
            _ = try await redis.send(RedisCommand("SET", "k", "v"), timeout: .seconds(5))
            _ = try await operatorsOwn.send(RedisCommand("REPLICAOF", "127.0.0.1", "1"), timeout: .seconds(5))
            let error = await #expect(throws: RedisError.self) { try await redis.send(RedisCommand("SET", "k", "w")) }
            #expect(error?.code == "READONLY")
            #expect(await kind(redis, RedisCommand("SET", "k", "w"), timeout: .milliseconds(300)) == .notSent)
            try await eventually { redis.status.lastFailure.contains("no master") }
            _ = try await operatorsOwn.send(RedisCommand("REPLICAOF", "NO", "ONE"), timeout: .seconds(5))
            #expect(try await redis.send(RedisCommand("SET", "k", "w"), timeout: .seconds(10)) == .status("OK"))
        }
    }

    @Test func `a wrong password is told, the right one works`() async throws {
        try await RedisServer.withServer(settings: [("requirepass", "s3 cret")]) { server in
            let wrong = RedisConnection(
                RedisOptions(address: try RedisAddress(url: "unix://:wrong@\(server.socketPath)"))
            )
            let error = await #expect(throws: RedisError.self) {
                try await wrong.send(RedisCommand("PING"), timeout: .milliseconds(300))
            }
            #expect(error?.kind == .notSent)
            #expect(error?.detail.contains("WRONGPASS") == true)
            for login in [":s3%20cret", "default:s3%20cret"] {
                let address = try RedisAddress(url: "unix://\(login)@\(server.socketPath)?db=3")
                let redis = RedisConnection(RedisOptions(address: address))
                let list = try await redis.send(RedisCommand("CLIENT", "INFO"), timeout: .seconds(5)).text ?? ""
                #expect(list.contains(" db=3 "))
            }
        }
    }

    @Test func `a name that does not resolve keeps the deadline`() async throws {
        let address = try RedisAddress(url: "redis://no-such-host.invalid:6379")
        let redis = RedisConnection(RedisOptions(address: address))
        #expect(await kind(redis, RedisCommand("PING"), timeout: .milliseconds(300)) == .notSent)
    }
}

/// Waits for a condition that nothing announces; fails after ten seconds.
func eventually(
    _ isTrue: () -> Bool,
    sourceLocation: SourceLocation = #_sourceLocation,
) async throws {
    for _ in 0..<2_000 {
        if isTrue() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("did not become true", sourceLocation: sourceLocation)
}
