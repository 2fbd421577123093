import LocalServers
import RedisClient
import TestKit
import Testing

@Suite(.timeLimit(.minutes(1))) struct RedisSubscriberTests {
    @Test func `messages arrive in order, from channels and patterns`() async throws {
        try await RedisServer.withServer { server in
            let subscriber = RedisSubscriber(
                try RedisServer.options(server),
                channels: ["a", "b"],
                patterns: ["p.*"],
            )
            let redis = RedisConnection(try RedisServer.options(server))
            var events = subscriber.events.makeAsyncIterator()
            #expect(await events.next() == .subscribed)
            for number in 0..<1_000 {
                _ = try await redis.send(RedisCommand("PUBLISH", number % 2 == 0 ? "a" : "p.x", "\(number)"))
            }
            for number in 0..<1_000 {
                let expected = RedisMessage(
                    channel: number % 2 == 0 ? "a" : "p.x",
                    pattern: number % 2 == 0 ? nil : "p.*",
                    payload: Array("\(number)".utf8),
                )
                #expect(await events.next() == .message(expected))
            }
            #expect(subscriber.droppedEvents == 0)
        }
    }

    @Test func `subscriptions survive the connection and the loss is marked`() async throws {
        try await RedisServer.withServer { server in
            var options = try RedisServer.options(server)
            options.idlePing = .milliseconds(100)
            options.requestTimeout = .milliseconds(300)
            let subscriber = RedisSubscriber(options, channels: ["a"])
            let redis = RedisConnection(try RedisServer.options(server))
            var events = subscriber.events.makeAsyncIterator()
            #expect(await events.next() == .subscribed)
            for round in 0..<3 {
                if round == 1 {
                    server.suspend()
                    try await eventually { !subscriber.status.isReady }
                    server.resume()
                } else {
                    try await server.kill()
                    try await server.start()
                }
                // Published until it is heard: what comes before `subscribed` is lost, and a server that was suspended
                // still counts the connection that we gave up meanwhile as a receiver.
                await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        while true {
                            try await Task.sleep(for: .milliseconds(10))
                            do {
                                _ = try await redis.send(RedisCommand("PUBLISH", "a", "\(round)"))
                            } catch {}  // The killed server's connection; the next one works.
                        }
                    }
                    var isMarked = false
                    while let event = await events.next() {
                        if event == .subscribed { isMarked = true }
                        if case .message(let message) = event, message.payload == Array("\(round)".utf8) { break }
                    }
                    #expect(isMarked)
                    group.cancelAll()
                }
            }
        }
    }

    @Test func `channels come and go`() async throws {
        try await RedisServer.withServer { server in
            let subscriber = RedisSubscriber(try RedisServer.options(server))
            let redis = RedisConnection(try RedisServer.options(server))
            var events = subscriber.events.makeAsyncIterator()
            try subscriber.subscribe(["a", "b"], patterns: ["c*"])
            #expect(await events.next() == .subscribed)
            try subscriber.unsubscribe(["a"])
            #expect(await events.next() == .subscribed)
            var batch = RedisBatch()
            batch.add(RedisCommand("PUBLISH", "a", "1"))
            batch.add(RedisCommand("PUBLISH", "b", "2"))
            batch.add(RedisCommand("PUBLISH", "c", "3"))
            #expect(try await redis.send(batch, timeout: .seconds(5)) == [.integer(0), .integer(1), .integer(1)])
            #expect(await events.next() == .message(RedisMessage(channel: "b", pattern: nil, payload: [50])))
            #expect(await events.next() == .message(RedisMessage(channel: "c", pattern: "c*", payload: [51])))
        }
    }

    @Test func `a slow consumer loses the oldest, and the loss is counted`() async throws {
        try await RedisServer.withServer { server in
            let subscriber = RedisSubscriber(try RedisServer.options(server), channels: ["a"], capacity: 10)
            let redis = RedisConnection(try RedisServer.options(server))
            try await eventually { subscriber.status.isReady }
            var batch = RedisBatch()
            for number in 0..<100 { batch.add(RedisCommand("PUBLISH", "a", "\(number)")) }
            _ = try await redis.send(batch, timeout: .seconds(5))
            // `subscribed` and 100 messages into ten places.
            try await eventually { subscriber.droppedEvents == 91 }
            var events = subscriber.events.makeAsyncIterator()
            let first = await events.next()
            #expect(first == .message(RedisMessage(channel: "a", pattern: nil, payload: Array("90".utf8))))
        }
    }

    @Test func `closing ends the stream`() async throws {
        try await RedisServer.withServer { server in
            let subscriber = RedisSubscriber(try RedisServer.options(server), channels: ["a"])
            try await eventually { subscriber.status.isReady }
            subscriber.close()
            var events = 0
            for await _ in subscriber.events { events += 1 }
            #expect(events == 1)
        }
    }
}
