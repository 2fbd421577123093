// Keeps one link to a server alive: resolve, connect, greet, and after a failure again, for ever.
//
//   pausing --due--> (asking) --> resolving --> connecting --> greeting --> ready --fail()--> pausing
//                        \___________\______________\____________\___ deadline or failure ___/
//
// Asking is for the address of a master, of sentinels or of nodes of a cluster, and happens before every connect.
//
// Greeting is one pipeline: AUTH, SELECT, CLIENT SETNAME, ROLE (must say master), SCRIPT LOAD of each script. Until it
// is answered in full nobody else's command goes out. The first attempt after a link that lived is made at once, then
// after 50 ms * 2^k up to 1 s, 25 % either way, so that a fleet does not come back in step.

internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// The connecting half of an owner thread. Used by that thread only.
final class LinkKeeper {
    private enum Phase {
        case pausing(until: UInt64)
        case asking(MasterLookup, deadline: UInt64)
        case resolving(NameLookup, port: UInt16, deadline: UInt64)
        case connecting(RedisLink, deadline: UInt64)
        case greeting(RedisLink, deadline: UInt64, replies: [RedisValue])
        case ready(RedisLink, since: UInt64)
    }

    private let options: RedisOptions
    private let greeting: RedisBatch
    private let wake: @Sendable () -> Void
    private var phase = Phase.pausing(until: 0)
    /// Failures since the last link that lived.
    private var failures = 0
    private var attempts = 0
    /// Why the last attempt or link ended, for the log; empty if none did.
    private(set) var lastFailure = ""
    /// Links that reached `ready`.
    private(set) var connects = 0

    init(options: RedisOptions, wake: @escaping @Sendable () -> Void) {
        self.options = options
        self.wake = wake
        greeting = Self.greeting(options)
    }

    /// The link when commands may go out.
    var link: RedisLink? {
        if case .ready(let link, _) = phase { link } else { nil }
    }

    /// What to watch beside the wake descriptor while there is no ready link.
    var watched: pollfd? {
        switch phase {
        case .connecting(let link, _):
            pollfd(fd: link.descriptor, events: Int16(POLLOUT), revents: 0)
        case .greeting(let link, _, _):
            pollfd(fd: link.descriptor, events: Int16(link.unsent > 0 ? POLLIN | POLLOUT : POLLIN), revents: 0)
        case .pausing, .asking, .resolving, .ready: nil
        }
    }

    /// When `advance` has something to do even if nothing happens.
    var nextTime: UInt64 {
        switch phase {
        case .pausing(let until): until
        case .asking(_, let deadline), .resolving(_, _, let deadline), .connecting(_, let deadline),
            .greeting(_, let deadline, _):
            deadline
        case .ready: .max
        }
    }

    /// Goes as far as it can without waiting. `descriptorIsReady` says whether `poll` reported the watched one.
    func advance(now: UInt64, descriptorIsReady: Bool) {
        do throws(LinkFailure) {
            try step(now: now, descriptorIsReady: descriptorIsReady)
        } catch {
            fail(error.text, now: now)
        }
    }

    /// Gives the link up. The next attempt is due at once if the link lived for a second, else after a pause.
    func fail(_ reason: String, now: UInt64) {
        lastFailure = reason
        if case .ready(_, let since) = phase, now >= since + 1_000_000_000 { failures = 0 }
        let pause: UInt64
        if failures == 0 {
            pause = 0
        } else {
            let doubled = options.shortestPause.nanoseconds << UInt64(min(failures - 1, 16))
            pause = min(doubled, options.longestPause.nanoseconds) / 100 * .random(in: 75...125)
        }
        failures += 1
        phase = .pausing(until: now + pause)
    }

    private func step(now: UInt64, descriptorIsReady: Bool) throws(LinkFailure) {
        if case .pausing(let until) = phase, now >= until {
            let deadline = now + options.connectTimeout.nanoseconds
            switch options.address.host {
            case .tcp(let name, let port):
                phase = .resolving(NameLookup(name, wake: wake), port: port, deadline: deadline)
            case .unix: phase = .connecting(try RedisLink(options.address.host), deadline: deadline)
            case .sentinel(let sentinels, let master):
                // Each has a patience of its own.
                let all = now + UInt64(sentinels.count + 1) * 1_000_000_000
                phase = .asking(MasterLookup(sentinels, .master(named: master), wake: wake), deadline: all)
            case .cluster(let seeds):
                guard let key = options.slotKey else {
                    throw LinkFailure(text: "connect: a cluster has no one address")
                }
                let all = now + UInt64(seeds.count + 1) * 1_000_000_000
                let question = MasterLookup.Question.owner(
                    ofSlot: RedisClusterMap.slot(of: key),
                    options.address,
                )
                phase = .asking(MasterLookup(seeds, question, wake: wake), deadline: all)
            }
        }
        if case .asking(let lookup, _) = phase, let result = lookup.result,
            case .tcp(let name, let port) = try result.get()
        {
            let deadline = now + options.connectTimeout.nanoseconds
            phase = .resolving(NameLookup(name, wake: wake), port: port, deadline: deadline)
        }
        if case .resolving(let lookup, let port, let deadline) = phase, let result = lookup.result {
            let addresses = try result.get()
            // A name with several addresses: the next attempt takes the next one.
            let name = addresses[attempts % addresses.count]
            attempts += 1
            phase = .connecting(try RedisLink(.tcp(name: name, port: port)), deadline: deadline)
            return
        }
        if case .connecting(let link, let deadline) = phase, descriptorIsReady {
            try link.checkConnected()
            _ = try link.append(greeting, from: 0, limit: .max)
            try link.flush()
            phase = .greeting(link, deadline: deadline, replies: [])
            return
        }
        if case .greeting(let link, let deadline, var replies) = phase, descriptorIsReady {
            try link.flush()
            _ = try link.read()
            while replies.count < greeting.count, let reply = try link.nextReply({ RedisValue($0) }) {
                replies.append(reply)
            }
            if replies.count == greeting.count {
                try check(replies)
                connects += 1
                phase = .ready(link, since: now)
            } else {
                phase = .greeting(link, deadline: deadline, replies: replies)
            }
        }
        switch phase {
        case .pausing, .ready: break
        case .asking(_, let deadline):
            if now >= deadline { throw LinkFailure(text: "lookup: no answer by the deadline") }
        case .resolving(_, _, let deadline):
            if now >= deadline { throw LinkFailure(text: "resolve: no answer by the deadline") }
        case .connecting(_, let deadline):
            if now >= deadline { throw LinkFailure(text: "connect: no answer by the deadline") }
        case .greeting(_, let deadline, _):
            if now >= deadline { throw LinkFailure(text: "greeting: no answer by the deadline") }
        }
    }

    private static func greeting(_ options: RedisOptions) -> RedisBatch {
        var batch = RedisBatch()
        if let password = options.address.password {
            batch.begin("AUTH")
            // Without a user the form of servers before 6, which all servers know.
            if let user = options.address.user { batch.append(user) }
            batch.append(password)
        }
        if options.address.database != 0 {
            batch.begin("SELECT")
            batch.append(options.address.database)
        }
        batch.begin("CLIENT")
        batch.append("SETNAME")
        batch.append(options.name)
        batch.begin("ROLE")
        for script in options.scripts {
            batch.begin("SCRIPT")
            batch.append("LOAD")
            batch.append(script.source)
        }
        return batch
    }

    private func check(_ replies: [RedisValue]) throws(LinkFailure) {
        for reply in replies {
            if let error = reply.error { throw LinkFailure(text: "greeting: \(error.code)") }
        }
        let role = replies[replies.count - options.scripts.count - 1].array?.first?.text
        if options.requiresMaster, role != "master" { throw LinkFailure(text: "greeting: the server is no master") }
    }
}
