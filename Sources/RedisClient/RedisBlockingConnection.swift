// Calls that wait on the server: BZPOPMIN, XREAD BLOCK. They have a connection of their own, because whatever is behind
// them in a pipeline waits too.
//
// The client's deadline is the server's timeout and `patience`: a healthy server always answers first, so silence means
// a fault and an element is never popped into a connection that was just given up, except when the fault is real.

/// An element popped from a sorted set.
public struct RedisPopped: Hashable, Sendable {
    public let key: String
    public let member: [UInt8]
    /// As the server writes it.
    public let score: String
}

/// A connection for one blocking call at a time. A second call waits behind the first, inside its own deadline.
public final class RedisBlockingConnection: Sendable {
    /// How much longer than the server the client waits.
    static let patience = Duration.milliseconds(500)

    let connection: RedisConnection

    public init(_ options: RedisOptions) {
        var options = options
        options.depth = 1
        connection = RedisConnection(options)
    }

    public var status: RedisConnectionStatus { connection.status }

    /// Takes no more calls; one in flight ends as usual.
    public func close() { connection.close() }

    /// Sends one command which the server answers within `wait`.
    public func send(_ command: RedisCommand, wait: Duration) async throws(RedisError) -> RedisValue {
        try await connection.send(command, timeout: wait + Self.patience)
    }

    /// Takes the element with the smallest score of the first of `keys` that has one; nil when none came in `wait`.
    public func popMin(_ keys: [String], wait: Duration) async throws(RedisError) -> RedisPopped? {
        var command = RedisCommand("BZPOPMIN")
        for key in keys { command.append(key) }
        // In seconds with a fraction. Zero would wait for ever.
        let milliseconds = max(1, wait.wholeMilliseconds)
        let fraction = String(milliseconds % 1_000 + 1_000).dropFirst()
        command.append("\(milliseconds / 1_000).\(fraction)")
        guard let parts = try await send(command, wait: wait).array, parts.count == 3,
            let key = parts[0].text, let member = parts[1].bytes, let score = parts[2].text
        else { return nil }
        return RedisPopped(key: key, member: member, score: score)
    }
}

extension Duration {
    var wholeMilliseconds: Int64 { Int64(nanoseconds / 1_000_000) }
}
