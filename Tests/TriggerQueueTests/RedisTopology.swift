// Redis servers that know each other, on loopback ports: a cluster of three masters, a master with its replica.
import LocalServers
import OwnerThread
import RedisClient
import TestKit
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// One server of a test's topology.
struct TopologyNode: Sendable {
    let server: LocalRedis
    let port: UInt16
    let redis: RedisConnection

    @discardableResult
    func send(_ words: String...) async throws -> RedisValue {
        var batch = RedisBatch()
        for (index, word) in words.enumerated() { if index == 0 { batch.begin(word) } else { batch.append(word) } }
        return try await redis.send(batch)[0].orThrow()
    }

    var node: RedisAddress.Node { RedisAddress.Node(name: "127.0.0.1", port: port) }
}

enum RedisTopology {
    private static func start(
        _ folder: String,
        _ name: String,
        settings: [(name: String, value: String)],
    )
        async throws -> TopologyNode
    {
        let port = RedisServer.freePort()
        let server = try await LocalServers.redis(
            directory: "\(folder)/\(name)",
            tcpPort: port,
            settings: settings + [("repl-diskless-sync-delay", "0")],
        )
        var options = try RedisServer.options(server)
        options.requiresMaster = false
        return TopologyNode(server: server, port: port, redis: RedisConnection(options))
    }

    private static func withNodes(_ body: (String, Locked<[TopologyNode]>) async throws -> Void) async throws {
        let folder = try LocalFiles.temporaryFolder("so-topo")
        defer { LocalFiles.removeTree(folder) }
        let nodes = Locked<[TopologyNode]>([])
        defer {
            for node in nodes.withLock({ $0 }) {
                node.redis.close()
                node.server.endBlocking()
            }
        }
        try await body(folder, nodes)
    }

    /// Three masters that own a third of the slots each, and a replica of the first.
    static func withCluster(_ body: ([TopologyNode], TopologyNode) async throws -> Void) async throws {
        try await withNodes { folder, nodes in
            for number in 0..<4 {
                let node = try await start(
                    folder,
                    "n\(number)",
                    settings: [("cluster-enabled", "yes"), ("cluster-node-timeout", "1000")],
                )
                nodes.withLock { $0.append(node) }
            }
            let all = nodes.withLock { $0 }
            let (masters, replica) = (Array(all[..<3]), all[3])
            for (number, node) in masters.enumerated() {
                let first = number * 16_384 / 3
                let last = (number + 1) * 16_384 / 3 - 1
                var batch = RedisBatch()
                batch.begin("CLUSTER")
                batch.append("ADDSLOTS")
                for slot in first...last { batch.append(slot) }
                _ = try await node.redis.send(batch)[0].orThrow()
                try await node.send("CLUSTER", "SET-CONFIG-EPOCH", "\(number + 1)")
            }
            for node in all.dropFirst() { try await node.send("CLUSTER", "MEET", "127.0.0.1", "\(all[0].port)") }
            _ = try await eventually("all nodes know each other") { () -> Bool? in
                for node in all {
                    let info = try await node.send("CLUSTER", "INFO").text ?? ""
                    guard info.contains("cluster_state:ok"), info.contains("cluster_known_nodes:4") else { return nil }
                }
                return true
            }
            let id = try await masters[0].send("CLUSTER", "MYID").text ?? ""
            _ = try await eventually("the replica follows") { () -> Bool? in
                let info = try await replica.send("INFO", "replication").text ?? ""
                // Not again once it follows: that would start the copy anew.
                if !info.contains("role:slave") { do { try await replica.send("CLUSTER", "REPLICATE", id) } catch {} }
                return info.contains("master_link_status:up") ? true : nil
            }
            try await body(masters, replica)
        }
    }

    /// Moves a slot from one master to another, as an operator's tool does; `halfway` runs while keys are on both.
    static func migrate(
        _ slot: Int,
        from source: TopologyNode,
        to target: TopologyNode,
        all: [TopologyNode],
        halfway: () async throws -> Void,
    ) async throws {
        let (sourceID, targetID) = try await (
            source.send("CLUSTER", "MYID").text ?? "", target.send("CLUSTER", "MYID").text ?? "",
        )
        try await target.send("CLUSTER", "SETSLOT", "\(slot)", "IMPORTING", sourceID)
        try await source.send("CLUSTER", "SETSLOT", "\(slot)", "MIGRATING", targetID)
        var isFirst = true
        while true {
            // Few at first, so that the halves are on both sides.
            let count = isFirst ? "5" : "200"
            let keys = try await source.send("CLUSTER", "GETKEYSINSLOT", "\(slot)", count).array ?? []
            if keys.isEmpty { break }
            var batch = RedisBatch()
            batch.begin("MIGRATE")
            for word in ["127.0.0.1", "\(target.port)", "", "0", "5000", "KEYS"] { batch.append(word) }
            for key in keys { if let text = key.text { batch.append(text) } }
            _ = try await source.redis.send(batch, timeout: .seconds(20))[0].orThrow()
            if isFirst { try await halfway() }
            isFirst = false
        }
        for node in [target, source] + all.filter({ $0.port != source.port && $0.port != target.port }) {
            try await node.send("CLUSTER", "SETSLOT", "\(slot)", "NODE", targetID)
        }
    }

    /// Whom a server lets in that can be split: its clients, and sentinels and replicas.
    static let client = (name: "orders", password: "o")
    private static let keeper = (name: "keeper", password: "k")

    /// Sentinels and replicas lose a master that its clients keep.
    static func split(_ master: TopologyNode) async throws {
        _ = try await asClient(master, ["ACL", "SETUSER", keeper.name, "off"])
        for kind in [["USER", keeper.name], ["TYPE", "replica"]] {
            _ = try await asClient(master, ["CLIENT", "KILL"] + kind)
        }
    }

    static func mend(_ master: TopologyNode) async throws {
        _ = try await asClient(master, ["ACL", "SETUSER", keeper.name, "on"])
    }

    static func isMaster(_ node: TopologyNode) async throws -> Bool {
        try await asClient(node, ["ROLE"]).array?.first?.text == "master"
    }

    private static func asClient(_ node: TopologyNode, _ words: [String]) async throws -> RedisValue {
        var options = RedisOptions(
            address: RedisAddress(
                .tcp(name: "127.0.0.1", port: node.port),
                user: client.name,
                password: client.password,
            )
        )
        options.requiresMaster = false
        let redis = RedisConnection(options)
        defer { redis.close() }
        return try await redis.send(command(words), timeout: .seconds(10))[0].orThrow()
    }

    private static func command(_ words: [String]) -> RedisBatch {
        var batch = RedisBatch()
        for (index, word) in words.enumerated() { if index == 0 { batch.begin(word) } else { batch.append(word) } }
        return batch
    }

    /// Clients and keepers get names of their own, and nobody else comes in.
    private static func prepareSplit(_ nodes: [TopologyNode]) async throws {
        for node in nodes {
            for user in [client, keeper] {
                try await node.send("ACL", "SETUSER", user.name, "on", ">\(user.password)", "~*", "&*", "+@all")
            }
            try await node.send("CONFIG", "SET", "masteruser", keeper.name)
            try await node.send("CONFIG", "SET", "masterauth", keeper.password)
            // Whoever is in stays in.
            try await node.send("ACL", "SETUSER", "default", "off")
        }
    }

    /// A master, its replica, and two sentinels that agree on its death alone.
    /// - Parameter canSplit: for `split`; clients say `client`'s name and password.
    static func withSentinels(
        canSplit: Bool = false,
        _ body: (TopologyNode, TopologyNode, [RedisAddress.Node]) async throws -> Void,
    ) async throws {
        try await withNodes { folder, nodes in
            let master = try await start(folder, "m", settings: [])
            nodes.withLock { $0.append(master) }
            let replica = try await start(folder, "r", settings: [("replicaof", "127.0.0.1 \(master.port)")])
            nodes.withLock { $0.append(replica) }
            _ = try await eventually("the replica follows") {
                try await replica.send("INFO", "replication").text?.contains("master_link_status:up") ?? false
                    ? true : nil
            }
            if canSplit { try await prepareSplit([master, replica]) }
            let names = "sentinel auth-user orders \(keeper.name)\nsentinel auth-pass orders \(keeper.password)"
            let program = try #require(LocalFiles.program("redis-server"))
            var sentinels: [OwnedProcess] = []
            var addresses: [RedisAddress.Node] = []
            defer { for sentinel in sentinels { sentinel.killBlocking() } }
            for number in 0..<2 {
                let port = RedisServer.freePort()
                let file = "\(folder)/sentinel-\(number).conf"
                let handle = try #require(fopen(file, "w"))
                fputs(
                    """
                    port \(port)
                    bind 127.0.0.1
                    dir \(folder)
                    sentinel monitor orders 127.0.0.1 \(master.port) 2
                    sentinel down-after-milliseconds orders 500
                    sentinel failover-timeout orders 3000
                    \(canSplit ? names : "")

                    """,
                    handle,
                )
                fclose(handle)
                sentinels.append(
                    try await OwnedProcess.start(
                        [program, file, "--sentinel"],
                        log: "\(folder)/sentinel-\(number).log",
                    )
                )
                addresses.append(RedisAddress.Node(name: "127.0.0.1", port: port))
            }
            for address in addresses {
                let options = RedisOptions(address: RedisAddress(.tcp(name: address.name, port: address.port)))
                var patient = options
                patient.requiresMaster = false
                let sentinel = RedisConnection(patient)
                defer { sentinel.close() }
                _ = try await eventually("the sentinel knows master, replica and the other sentinel") { () -> Bool? in
                    do {
                        let reply = try await sentinel.send(RedisCommand("SENTINEL", "MASTER", "orders")).array ?? []
                        let words = reply.compactMap(\.text)
                        func value(_ name: String) -> String? {
                            words.firstIndex(of: name).map { words[$0 + 1] }
                        }
                        return value("num-slaves") == "1" && value("num-other-sentinels") == "1" ? true : nil
                    } catch { return nil }
                }
            }
            try await body(master, replica, addresses)
        }
    }
}
