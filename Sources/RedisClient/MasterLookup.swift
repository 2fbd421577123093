// Asking sentinels for the address of a master. It has a thread of its own, so that the owner of the connection keeps its
// deadlines. Nothing is subscribed: every connect asks again, so nobody stays with a demoted master (QUEUE.md 13.4).

internal import CHiredis
internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// One question to the sentinels, under way or answered.
final class MasterLookup: Sendable {
    private let answer = Locked<Result<RedisAddress.Host, LinkFailure>?>(nil)

    /// Starts asking, one after the other; `wake` is called when it is done.
    init(_ sentinels: [RedisAddress.Node], master: String, wake: @escaping @Sendable () -> Void) {
        OwnerThread.start(name: "redis-sentinel") { [self] in
            blockBrokenPipeSignal()
            var result: Result<RedisAddress.Host, LinkFailure> = .failure(LinkFailure(text: "sentinel: none is named"))
            for sentinel in sentinels {
                do throws(LinkFailure) {
                    result = .success(try ask(sentinel, master))
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

/// The longest time for one sentinel.
private let patienceMs: Int32 = 500

private func ask(_ sentinel: RedisAddress.Node, _ master: String) throws(LinkFailure) -> RedisAddress.Host {
    let address = try resolvedAddress(sentinel.name)
    let link = try RedisLink(.tcp(name: address, port: sentinel.port))
    try wait(link, POLLOUT)
    try link.checkConnected()
    var batch = RedisBatch()
    batch.begin("SENTINEL")
    batch.append("GET-MASTER-ADDR-BY-NAME")
    batch.append(master)
    _ = try link.append(batch, from: 0, limit: .max)
    try link.flush()
    var reply: RedisValue?
    while reply == nil {
        try wait(link, POLLIN)
        _ = try link.read()
        reply = try link.nextReply { RedisValue($0) }
    }
    guard let parts = reply?.array?.compactMap(\.text), parts.count == 2, let port = UInt16(parts[1]) else {
        throw LinkFailure(text: "sentinel: it knows no such master")
    }
    return .tcp(name: parts[0], port: port)
}

private func wait(_ link: RedisLink, _ events: Int32) throws(LinkFailure) {
    var watched = pollfd(fd: link.descriptor, events: Int16(events), revents: 0)
    guard poll(&watched, 1, patienceMs) > 0 else { throw LinkFailure(text: "sentinel: no answer") }
}
