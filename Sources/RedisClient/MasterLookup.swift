// Asking sentinels for the address of a master, or nodes of a cluster for the owner of a slot. It has a thread of its own,
// so that the owner of the connection keeps its deadlines. Nothing is subscribed: every connect asks again, so nobody
// stays with a demoted master (QUEUE.md 13.4).

internal import CHiredis
internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// One question, under way or answered.
final class MasterLookup: Sendable {
    enum Question: Sendable {
        case master(named: String)
        case owner(ofSlot: Int, RedisAddress)
    }

    private let answer = Locked<Result<RedisAddress.Host, LinkFailure>?>(nil)

    /// Starts asking, one node after the other; `wake` is called when it is done.
    init(_ nodes: [RedisAddress.Node], _ question: Question, wake: @escaping @Sendable () -> Void) {
        OwnerThread.start(name: "redis-lookup") { [self] in
            blockBrokenPipeSignal()
            var result: Result<RedisAddress.Host, LinkFailure> = .failure(LinkFailure(text: "lookup: no node is named"))
            for node in nodes {
                do throws(LinkFailure) {
                    result = .success(try ask(node, question))
                    break
                } catch {
                    result = .failure(error)
                }
            }
            answer.withLock { $0 = result }
            wake()
        }
    }

    var result: Result<RedisAddress.Host, LinkFailure>? { answer.withLock { $0 } }
}

/// The longest time for one node.
private let patienceMs: Int32 = 500

private func ask(
    _ node: RedisAddress.Node,
    _ question: MasterLookup.Question,
) throws(LinkFailure) -> RedisAddress.Host {
    let address = try resolvedAddress(node.name)
    let link = try RedisLink(.tcp(name: address, port: node.port))
    try wait(link, POLLOUT)
    try link.checkConnected()
    var batch = RedisBatch()
    switch question {
    case .master(let name):
        batch.begin("SENTINEL")
        batch.append("GET-MASTER-ADDR-BY-NAME")
        batch.append(name)
    case .owner(_, let login):
        if let password = login.password {
            batch.begin("AUTH")
            if let user = login.user { batch.append(user) }
            batch.append(password)
        }
        batch.begin("CLUSTER")
        batch.append("SLOTS")
    }
    _ = try link.append(batch, from: 0, limit: .max)
    try link.flush()
    var replies: [RedisValue] = []
    while replies.count < batch.count {
        try wait(link, POLLIN)
        _ = try link.read()
        while let reply = try link.nextReply({ RedisValue($0) }) { replies.append(reply) }
    }
    switch question {
    case .master:
        if let parts = replies[0].array?.compactMap(\.text), parts.count == 2, let port = UInt16(parts[1]) {
            return .tcp(name: parts[0], port: port)
        }
        throw LinkFailure(text: "sentinel: it knows no such master")
    case .owner(let slot, _):
        for (range, owner) in RedisClusterMap.ranges(replies[replies.count - 1]) where range.contains(slot) {
            return .tcp(name: owner.name, port: owner.port)
        }
        throw LinkFailure(text: "cluster: nobody owns the slot")
    }
}

private func wait(_ link: RedisLink, _ events: Int32) throws(LinkFailure) {
    var watched = pollfd(fd: link.descriptor, events: Int16(events), revents: 0)
    guard poll(&watched, 1, patienceMs) > 0 else { throw LinkFailure(text: "lookup: no answer") }
}
