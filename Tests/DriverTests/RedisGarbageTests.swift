import OwnerThread
import RedisClient
import TestKit
import Testing

/// A server that greets as Redis does and answers each `GET` as it is told, then with `good`.
private func oddServer(_ answers: [[[UInt8]]]) throws -> RawServer {
    let left = Locked(answers)
    return try RawServer { peer in
        var held: [UInt8] = []
        while let part = peer.receive() {
            held += part
            while let words = takeCommand(&held) {
                switch words[0] {
                case "ROLE": peer.send("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".utf8)
                case "GET":
                    let pieces = left.withLock { $0.isEmpty ? [Array("$4\r\ngood\r\n".utf8)] : $0.removeFirst() }
                    for piece in pieces { peer.send(piece) }
                default: peer.send("+OK\r\n".utf8)
                }
            }
        }
    }
}

/// The next whole command; none of a test's has a line break in it.
private func takeCommand(_ held: inout [UInt8]) -> [String]? {
    let lines = String(decoding: held, as: UTF8.self).split(separator: "\r\n", omittingEmptySubsequences: false)
    guard let first = lines.first, first.hasPrefix("*"), let count = Int(first.dropFirst()) else { return nil }
    // Its last line ends when another follows.
    guard lines.count > 1 + 2 * count else { return nil }
    held.removeFirst(lines[...(2 * count)].reduce(0) { $0 + $1.utf8.count + 2 })
    return stride(from: 2, through: 2 * count, by: 2).map { lines[$0].uppercased() }
}

/// FA43: what a server, or something between, makes of an answer.
@Suite(.timeLimit(.minutes(1))) struct RedisGarbageTests {
    private func redis(_ server: RawServer) throws -> RedisConnection {
        RedisConnection(RedisOptions(address: RedisAddress(.tcp(name: "127.0.0.1", port: server.port))))
    }

    static let garbage: [String] = [
        "*9999999999\r\n", "*-7\r\n", "$-7\r\n", "$99999999999999999999\r\n", "$536870912000\r\n", ":12x\r\n",
        "?what\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n", "\r\n\r\n", "\0\0\0\0", "*1\r\n*1\r\n?\r\n",
        String(repeating: "*1\r\n", count: 100_000), String(repeating: "x", count: 1 << 20),
    ]

    @Test(arguments: garbage)
    func `an answer that is none is an unknown outcome, and the next connection works`(_ answer: String) async throws {
        let server = try oddServer([[Array(answer.utf8)]])
        defer { server.close() }
        let redis = try redis(server)
        defer { redis.close() }
        let error = await #expect(throws: RedisError.self) {
            try await redis.send(RedisCommand("GET", "k"), timeout: .seconds(2))
        }
        #expect(error?.kind == .outcomeUnknown)
        #expect(try await redis.send(RedisCommand("GET", "k"), timeout: .seconds(20)).text == "good")
        #expect(redis.status.connects == 2)
    }

    @Test func `an answer that is cut is an unknown outcome at every byte`() async throws {
        let whole = Array("*2\r\n$3\r\nabc\r\n*1\r\n:12\r\n".utf8)
        for length in 0..<whole.count {
            // What is missing never comes: the deadline ends it.
            let server = try oddServer([[Array(whole[..<length])]])
            defer { server.close() }
            let redis = try redis(server)
            defer { redis.close() }
            _ = try await redis.send(RedisCommand("ECHO", "x"), timeout: .seconds(20))
            let error = await #expect(throws: RedisError.self, "\(length)") {
                try await redis.send(RedisCommand("GET", "k"), timeout: .milliseconds(400))
            }
            #expect(error?.kind == .outcomeUnknown, "\(length)")
            #expect(
                try await redis.send(RedisCommand("GET", "k"), timeout: .seconds(20)).text == "good",
                "\(length)",
            )
        }
    }

    @Test func `an answer that comes byte by byte is read`() async throws {
        let whole = Array("*2\r\n$3\r\nabc\r\n*1\r\n:12\r\n".utf8)
        let server = try oddServer([whole.map { [$0] }])
        defer { server.close() }
        let redis = try redis(server)
        defer { redis.close() }
        let answer = try await redis.send(RedisCommand("GET", "k"), timeout: .seconds(20))
        #expect(answer.array?.first?.text == "abc")
        #expect(answer.array?.last?.array?.first?.integer == 12)
        #expect(redis.status.connects == 1)
    }
}
