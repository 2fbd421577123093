// Which node of a Redis Cluster owns which slot (QUEUE.md 13.5). Shared by everything of a process that calls the cluster.
//
// Learnt from CLUSTER SLOTS when an owner is unknown or out of reach, at most once per 100 ms, and from MOVED.
internal import OwnerThread

public final class RedisClusterMap: Sendable {
    private struct State {
        /// Owner of each slot; empty until it is known.
        var owners: [RedisAddress.Node?] = []
        var known: [RedisAddress.Node]
        var connections: [RedisAddress.Node: RedisConnection] = [:]
        var lastRefresh: UInt64 = 0
    }

    private let options: RedisOptions
    private let state: Locked<State>

    /// - Parameter options: their address names the seeds of a cluster.
    public init?(_ options: RedisOptions) {
        guard case .cluster(let seeds) = options.address.host else { return nil }
        var options = options
        options.scripts = []
        options.requiresMaster = false
        self.options = options
        state = Locked(State(known: seeds))
    }

    public func close() {
        let connections = state.withLock { state in
            defer { state.connections = [:] }
            return state.connections.values
        }
        for connection in connections { connection.close() }
    }

    /// The slot of a key: CRC16 of its hash tag, or of all of it.
    public static func slot(of key: String) -> Int {
        var bytes = Array(key.utf8)[...]
        if let open = bytes.firstIndex(of: UInt8(ascii: "{")),
            let end = bytes[(open + 1)...].firstIndex(of: UInt8(ascii: "}")), end > open + 1
        {
            bytes = bytes[(open + 1)..<end]
        }
        var crc: UInt16 = 0
        for byte in bytes {
            crc ^= UInt16(byte) << 8
            for _ in 0..<8 { crc = crc & 0x8000 != 0 ? crc << 1 ^ 0x1021 : crc << 1 }
        }
        return Int(crc) % 16_384
    }

    public func owner(of slot: Int) -> RedisAddress.Node? {
        state.withLock { $0.owners.isEmpty ? nil : $0.owners[slot] }
    }

    /// Every master that owns something.
    public var masters: Set<RedisAddress.Node> { state.withLock { Set($0.owners.compactMap { $0 }) } }

    func note(_ slot: Int, _ node: RedisAddress.Node) {
        state.withLock { state in
            if state.owners.isEmpty { state.owners = Array(repeating: nil, count: 16_384) }
            state.owners[slot] = node
            if !state.known.contains(node) { state.known.append(node) }
        }
    }

    /// Asks the known nodes in turn until one says who owns what.
    func refresh() async {
        for connection in candidates() {
            do throws(RedisError) {
                if learn(try await connection.send(RedisCommand("CLUSTER", "SLOTS"))) { return }
            } catch { continue }
        }
    }

    /// The same from a thread that may block.
    func refreshBlocking() {
        for connection in candidates() {
            do throws(RedisError) {
                if learn(try connection.sendBlocking(RedisCommand("CLUSTER", "SLOTS").batch)[0]) { return }
            } catch { continue }
        }
    }

    private func candidates() -> [RedisConnection] {
        let now = monotonicNow()
        return state.withLock { state in
            guard now - state.lastRefresh >= 100_000_000 else { return [] }
            state.lastRefresh = now
            return state.known.map { node in
                if let known = state.connections[node] { return known }
                let made = RedisConnection(options.on(node))
                state.connections[node] = made
                return made
            }
        }
    }

    /// The slots and their masters, as CLUSTER SLOTS answers.
    static func ranges(_ reply: RedisValue) -> [(ClosedRange<Int>, RedisAddress.Node)] {
        (reply.array ?? []).compactMap { range in
            guard let parts = range.array, parts.count >= 3, let first = parts[0].integer, let last = parts[1].integer,
                first >= 0, last < 16_384, first <= last, let node = parts[2].array, node.count >= 2,
                let name = node[0].text, let port = node[1].integer.flatMap({ UInt16(exactly: $0) }), !name.isEmpty
            else { return nil }
            return (Int(first)...Int(last), RedisAddress.Node(name: name, port: port))
        }
    }

    private func learn(_ reply: RedisValue) -> Bool {
        let ranges = Self.ranges(reply)
        guard !ranges.isEmpty else { return false }
        var owners = [RedisAddress.Node?](repeating: nil, count: 16_384)
        for (range, node) in ranges { for slot in range { owners[slot] = node } }
        state.withLock { state in
            state.owners = owners
            for node in Set(owners.compactMap { $0 }) where !state.known.contains(node) { state.known.append(node) }
        }
        return true
    }
}

extension RedisOptions {
    /// The same on one node of the cluster.
    func on(_ node: RedisAddress.Node) -> RedisOptions {
        var options = self
        options.address = RedisAddress(
            .tcp(name: node.name, port: node.port),
            user: address.user,
            password: address.password,
        )
        return options
    }
}
