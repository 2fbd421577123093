// Calls to wherever their slots live: one server, or the masters of a cluster (QUEUE.md 13.5).
//
// On one server a batch goes out as it is. On a cluster each command goes to the owner of its slot: MOVED is followed and
// remembered, ASK followed once, TRYAGAIN, CLUSTERDOWN and LOADING are repeated after 50 ms * 2^k; after five rounds a
// command ends with the error it has. A node out of reach ends its own commands only, with an error reply whose code is
// NOTSENT or UNKNOWN.
internal import OwnerThread

public final class RedisRouter: Sendable {
    private static let rounds = 5

    private let options: RedisOptions
    private let map: RedisClusterMap?
    private let single: RedisConnection?
    private let nodes = Locked<[RedisAddress.Node: RedisConnection]>([:])

    /// - Parameter map: needed when the address names a cluster, and shared by the routers of a process.
    public init(_ options: RedisOptions, map: RedisClusterMap?) {
        self.options = options
        self.map = map
        single = map == nil ? RedisConnection(options) : nil
    }

    deinit { close() }

    public func close() {
        single?.close()
        let connections = nodes.withLock { nodes in
            defer { nodes = [:] }
            return nodes.values
        }
        for connection in connections { connection.close() }
    }

    /// Whether every connection that was needed so far stands. A node that owns nothing any more does not count.
    public var isReady: Bool {
        if let single { return single.status.isReady }
        let masters = map?.masters ?? []
        let used = nodes.withLock { nodes in nodes.filter { masters.contains($0.key) }.map(\.value) }
        return !used.isEmpty && used.allSatisfy(\.status.isReady)
    }

    private func connection(_ node: RedisAddress.Node) -> RedisConnection {
        nodes.withLock { nodes in
            if let known = nodes[node] { return known }
            let made = RedisConnection(options.on(node))
            nodes[node] = made
            return made
        }
    }

    /// - Parameters:
    ///   - isPartial: a command whose slot cannot be served now is not waited for when others were answered.
    ///   - followUp: makes commands of the replies that are sent right behind them, before the caller resumes on a single
    ///     server; nobody waits for their replies. The first argument of each is its one key. Must not block.
    ///   - slotOf: the slot of each command's keys; not asked on a single server.
    public func send(
        _ batch: RedisBatch,
        isPartial: Bool = false,
        followUp: (@Sendable ([RedisValue]) -> RedisBatch)? = nil,
        slotOf: (Int) -> Int,
    ) async throws(RedisError) -> [RedisValue] {
        if let single {
            guard let followUp else { return try await single.send(batch) }
            return try await single.send(batch, followUp: followUp)
        }
        let replies = try await sendToNodes(batch, isPartial: isPartial, slotOf: slotOf)
        if let more = followUp?(replies) {
            for command in 0..<more.count {
                var one = RedisBatch()
                one.add(more, commands: command..<(command + 1))
                let key = more.arguments(of: command).lowerBound + 1
                let name = more.bytes[more.start(ofArgument: key)..<more.argumentEnds[key]]
                submit(one, slot: RedisClusterMap.slot(of: String(decoding: name, as: UTF8.self)), timeout: nil) { _ in
                }
            }
        }
        return replies
    }

    private func sendToNodes(
        _ batch: RedisBatch,
        isPartial: Bool,
        slotOf: (Int) -> Int,
    ) async throws(RedisError) -> [RedisValue] {
        var replies = [RedisValue](repeating: .null, count: batch.count)
        var plan = Plan(batch: batch, slotOf)
        while true {
            if let map, plan.open.contains(where: { map.owner(of: plan.slots[$0]) == nil }) { await map.refresh() }
            let parts = self.parts(of: &plan, &replies)
            await withTaskGroup { group in
                for (connection, part) in parts {
                    group.addTask { () -> (Part, Result<[RedisValue], RedisError>) in
                        do throws(RedisError) {
                            return (part, .success(try await connection.send(part.batch)))
                        } catch { return (part, .failure(error)) }
                    }
                }
                for await (part, result) in group { settle(part, result, &plan, &replies) }
            }
            let isAnswered = isPartial && plan.open.count < batch.count
            guard let pause = plan.nextPause(limit: Self.rounds) else { return replies }
            if plan.needsMap { await map?.refresh() }
            if isAnswered, pause > 0 { return replies }
            do { try await Task.sleep(for: .milliseconds(pause)) } catch { return replies }
        }
    }

    /// The same from a thread that may block.
    public func sendBlocking(_ batch: RedisBatch, slotOf: (Int) -> Int) throws(RedisError) -> [RedisValue] {
        if let single { return try single.sendBlocking(batch) }
        var replies = [RedisValue](repeating: .null, count: batch.count)
        var plan = Plan(batch: batch, slotOf)
        while true {
            if let map, plan.open.contains(where: { map.owner(of: plan.slots[$0]) == nil }) { map.refreshBlocking() }
            for (connection, part) in parts(of: &plan, &replies) {
                do throws(RedisError) {
                    settle(part, .success(try connection.sendBlocking(part.batch)), &plan, &replies)
                } catch {
                    settle(part, .failure(error), &plan, &replies)
                }
            }
            guard plan.nextPause(limit: Self.rounds) != nil else { return replies }
            if plan.needsMap { map?.refreshBlocking() }
        }
    }

    /// One try of commands of one slot; redirections are remembered for the next one. `completion` must not block.
    package func submit(
        _ batch: RedisBatch,
        slot: Int,
        timeout: Duration?,
        completion: @escaping @Sendable (Result<RedisReplies, RedisError>) -> Void,
    ) {
        if let single { return single.submit(batch, timeout: timeout, shape: .values, completion: completion) }
        guard let node = map?.owner(of: slot) else {
            return completion(.failure(RedisError(.notSent, "the owner of the slot is not known")))
        }
        connection(node).submit(batch, timeout: timeout, shape: .values) { [map] result in
            if case .success(let replies) = result, let error = replies.values.first?.error,
                let moved = Redirection(error), !moved.isOnce
            {
                map?.note(slot, moved.node)
            }
            completion(result)
        }
    }

    // MARK: Plans

    private struct Part: Sendable {
        let node: RedisAddress.Node
        let commands: [Int]
        let batch: RedisBatch
        /// Replies in front that belong to nobody.
        let isAsking: Bool
    }

    private struct Plan {
        let batch: RedisBatch
        let slots: [Int]
        var open: [Int]
        var asked: [Int: RedisAddress.Node] = [:]
        var round = 0
        var needsMap = false
        var mustWait = false

        init(batch: RedisBatch, _ slotOf: (Int) -> Int) {
            self.batch = batch
            slots = (0..<batch.count).map(slotOf)
            open = Array(0..<batch.count)
        }

        /// Milliseconds until the next round; nil: there is none.
        mutating func nextPause(limit: Int) -> Int? {
            round += 1
            if open.isEmpty || round > limit { return nil }
            defer { mustWait = false }
            return mustWait ? 50 << (round - 1) : 0
        }
    }

    private func parts(of plan: inout Plan, _ replies: inout [RedisValue]) -> [(RedisConnection, Part)] {
        var byNode: [RedisAddress.Node: [Int]] = [:]
        var parts: [Part] = []
        plan.needsMap = false
        for command in plan.open {
            if let node = plan.asked[command] {
                var batch = RedisBatch(RedisCommand("ASKING"))
                batch.add(plan.batch, commands: command..<(command + 1))
                parts.append(Part(node: node, commands: [command], batch: batch, isAsking: true))
            } else if let node = map?.owner(of: plan.slots[command]) {
                byNode[node, default: []].append(command)
            } else {
                plan.needsMap = true
                plan.mustWait = true
                replies[command] = .error(RedisServerError(text: "NOTSENT the owner of the slot is not known"))
            }
        }
        for (node, commands) in byNode {
            var batch = RedisBatch()
            for command in commands { batch.add(plan.batch, commands: command..<(command + 1)) }
            parts.append(Part(node: node, commands: commands, batch: batch, isAsking: false))
        }
        plan.open = plan.open.filter { plan.asked[$0] == nil && map?.owner(of: plan.slots[$0]) == nil }
        plan.asked = [:]
        return parts.map { (connection($0.node), $0) }
    }

    private func settle(
        _ part: Part,
        _ result: Result<[RedisValue], RedisError>,
        _ plan: inout Plan,
        _ replies: inout [RedisValue],
    ) {
        let values: [RedisValue]
        switch result {
        case .success(let all): values = part.isAsking ? Array(all.dropFirst()) : all
        case .failure(let error):
            plan.needsMap = true
            for command in part.commands {
                let code = error.kind == .outcomeUnknown ? "UNKNOWN" : "NOTSENT"
                replies[command] = .error(RedisServerError(text: "\(code) \(error.detail)"))
                // Another node may own it by now.
                if error.kind == .notSent { plan.open.append(command) }
            }
            plan.mustWait = true
            return
        }
        for (command, value) in zip(part.commands, values) {
            replies[command] = value
            guard let error = value.error else { continue }
            if let redirection = Redirection(error) {
                if redirection.isOnce {
                    plan.asked[command] = redirection.node
                } else {
                    map?.note(plan.slots[command], redirection.node)
                }
                plan.open.append(command)
            } else if ["TRYAGAIN", "CLUSTERDOWN", "LOADING", "BUSY"].contains(error.code) {
                plan.mustWait = true
                if error.code == "CLUSTERDOWN" { plan.needsMap = true }
                plan.open.append(command)
            }
        }
    }
}

/// `MOVED 3999 127.0.0.1:6381` or `ASK 3999 127.0.0.1:6381`.
struct Redirection {
    let isOnce: Bool
    let node: RedisAddress.Node

    init?(_ error: RedisServerError) {
        let words = error.text.split(separator: " ")
        guard words.count >= 3, words[0] == "MOVED" || words[0] == "ASK", let colon = words[2].lastIndex(of: ":"),
            let port = UInt16(words[2][words[2].index(after: colon)...]), colon > words[2].startIndex
        else { return nil }
        isOnce = words[0] == "ASK"
        node = RedisAddress.Node(name: String(words[2][..<colon]), port: port)
    }
}
