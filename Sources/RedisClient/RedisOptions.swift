/// How a connection behaves. The defaults are those of QUEUE.md 13.2.
public struct RedisOptions: Sendable {
    public var address: RedisAddress
    /// Shown by CLIENT LIST; no spaces.
    public var name: String
    /// Loaded after every connect. A script that is not here still works, at the price of a repeat.
    public var scripts: [RedisScript] = []
    /// On a cluster: all keys of this connection lie in the slot of this one, and it talks to the owner of that slot. Not
    /// needed by a `RedisRouter`.
    public var slotKey: String?
    /// Whether a replica is refused, at connect and when it answers READONLY.
    public var requiresMaster = true

    /// The most requests waiting or in flight together; the next one is `notSent`.
    public var capacity = 8_192
    /// The most bytes of arguments waiting or in flight together; a request alone may be larger.
    public var capacityBytes = 64 << 20
    /// The most requests in flight; 1 for blocking calls.
    package var depth = Int.max

    /// The deadline of connecting and greeting together.
    public var connectTimeout: Duration = .milliseconds(500)
    /// The deadline of a request that brings none.
    public var requestTimeout: Duration = .milliseconds(500)
    /// After so long without a link a request is refused at once; nil: it waits for a link until its deadline. Callers
    /// with another way of working (RELIABILITY.md 3.3) must not wait half a second for each thing that cannot be done.
    public var refusesAfter: Duration?
    /// A connection silent for so long is asked with PING.
    public var idlePing: Duration = .seconds(1)
    /// The first pause between attempts to connect; it doubles up to `longestPause`, and 25 % either way is chance.
    public var shortestPause: Duration = .milliseconds(50)
    public var longestPause: Duration = .seconds(1)

    public init(address: RedisAddress, name: String = "so") {
        self.address = address
        self.name = name
    }
}

extension Duration {
    /// Whole nanoseconds, from zero to about 30 years.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        return UInt64(min(seconds, 1_000_000_000)) * 1_000_000_000 + UInt64(attoseconds) / 1_000_000_000
    }
}
