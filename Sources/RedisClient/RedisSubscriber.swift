// Publish and subscribe. A subscription survives the connection: after each reconnect everything is subscribed again.
//
// Pub/sub has no memory. Messages sent while there was no connection are lost, and when the consumer is slower than the
// senders the oldest undelivered ones are dropped and counted. `subscribed` marks each point after which nothing is
// missed: a consumer reads the authority there.

internal import CHiredis
internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

public struct RedisMessage: Hashable, Sendable {
    public let channel: String
    /// The pattern that matched; nil for a plain subscription.
    public let pattern: String?
    public let payload: [UInt8]

    public init(channel: String, pattern: String?, payload: [UInt8]) {
        self.channel = channel
        self.pattern = pattern
        self.payload = payload
    }
}

public enum RedisSubscriptionEvent: Hashable, Sendable {
    /// The server has confirmed everything asked for. Comes after each connect and after each change; whatever was
    /// published between a loss of the connection and this was missed.
    case subscribed
    case message(RedisMessage)
}

/// A connection that receives messages. Closed with the object or with the end of its consumer.
public final class RedisSubscriber: Sendable {
    /// For one consumer. Ends after `close()`.
    public let events: AsyncStream<RedisSubscriptionEvent>
    private let mailbox: Mailbox<SubscriptionChange>
    private let shared: SubscriberShared

    /// - Parameter capacity: undelivered events; one more drops the oldest.
    public init(_ options: RedisOptions, channels: [String] = [], patterns: [String] = [], capacity: Int = 4_096) {
        let (events, sink) = AsyncStream.makeStream(
            of: RedisSubscriptionEvent.self,
            bufferingPolicy: .bufferingNewest(capacity),
        )
        let mailbox = Mailbox<SubscriptionChange>(capacity: 1_024)
        let shared = SubscriberShared()
        self.events = events
        self.mailbox = mailbox
        self.shared = shared
        // The consumer is gone: so is the purpose.
        sink.onTermination = { _ in mailbox.close() }
        OwnerThread.start(name: options.name) {
            let loop = SubscriberLoop(options: options, mailbox: mailbox, shared: shared, sink: sink)
            loop.want(channels: channels, patterns: patterns)
            loop.run()
        }
    }

    deinit { mailbox.close() }

    public func close() { mailbox.close() }

    public var status: RedisConnectionStatus { shared.state.withLock { $0.status } }
    /// Events that were dropped because the consumer was behind.
    public var droppedEvents: Int { shared.state.withLock { $0.dropped } }

    /// Adds channels. `subscribed` follows when the server has confirmed them.
    public func subscribe(_ channels: [String], patterns: [String] = []) throws(RedisError) {
        try change(SubscriptionChange(isWanted: true, channels: channels, patterns: patterns))
    }

    public func unsubscribe(_ channels: [String], patterns: [String] = []) throws(RedisError) {
        try change(SubscriptionChange(isWanted: false, channels: channels, patterns: patterns))
    }

    private func change(_ change: SubscriptionChange) throws(RedisError) {
        do throws(MailboxError) {
            try mailbox.post(change)
        } catch {
            switch error {
            case .full: throw RedisError(.notSent, "too many changes outstanding")
            case .closed: throw RedisError(.closed)
            }
        }
    }
}

struct SubscriptionChange: Sendable {
    let isWanted: Bool
    let channels: [String]
    let patterns: [String]
}

final class SubscriberShared: Sendable {
    struct State {
        var status = RedisConnectionStatus()
        var dropped = 0
    }

    let state = Locked(State())
}

/// The owner thread of a subscriber.
private final class SubscriberLoop {
    private let options: RedisOptions
    private let mailbox: Mailbox<SubscriptionChange>
    private let shared: SubscriberShared
    private let sink: AsyncStream<RedisSubscriptionEvent>.Continuation
    private let keeper: LinkKeeper
    private var channels: Set<String> = []
    private var patterns: Set<String> = []
    /// The connect after which everything was subscribed.
    private var servedConnect = 0
    /// Confirmations still to come.
    private var unconfirmed = 0
    private var isPinging = false
    /// By when the server must have answered what is outstanding.
    private var answerBy = UInt64.max
    private var lastActivity: UInt64 = 0
    private var dropped = 0
    private var shown = RedisConnectionStatus()

    init(
        options: RedisOptions,
        mailbox: Mailbox<SubscriptionChange>,
        shared: SubscriberShared,
        sink: AsyncStream<RedisSubscriptionEvent>.Continuation,
    ) {
        self.options = options
        self.mailbox = mailbox
        self.shared = shared
        self.sink = sink
        keeper = LinkKeeper(options: options) { mailbox.wake() }
    }

    func want(channels: [String], patterns: [String]) {
        self.channels.formUnion(channels)
        self.patterns.formUnion(patterns)
    }

    func run() {
        blockBrokenPipeSignal()
        var isReady = false
        while true {
            let (changes, isClosed) = mailbox.drain()
            if isClosed { break }
            let now = monotonicNow()
            keeper.advance(now: now, descriptorIsReady: isReady)
            do throws(LinkFailure) {
                try transmit(changes, now: now)
            } catch {
                drop(error.text, now: now)
            }
            publish()
            isReady = sleep(atMost: changes.isEmpty ? timeUntilNextTime(now: now) : 0)
        }
        sink.finish()
    }

    private func sleep(atMost milliseconds: Int32) -> Bool {
        var watched = [pollfd(fd: mailbox.wakeDescriptor, events: Int16(POLLIN), revents: 0)]
        if let link = keeper.link {
            let events = link.unsent > 0 ? POLLIN | POLLOUT : POLLIN
            watched.append(pollfd(fd: link.descriptor, events: Int16(events), revents: 0))
        } else if let other = keeper.watched {
            watched.append(other)
        }
        _ = poll(&watched, nfds_t(watched.count), milliseconds)
        let isReady = watched.count == 2 && watched[1].revents != 0
        let now = monotonicNow()
        if let link = keeper.link {
            do throws(LinkFailure) {
                let mayHaveMore = isReady ? try receive(link, now: now) : false
                if now >= answerBy, !mayHaveMore { throw LinkFailure(text: "no answer by the deadline") }
            } catch {
                drop(error.text, now: now)
            }
        }
        return isReady
    }

    private func timeUntilNextTime(now: UInt64) -> Int32 {
        var next = min(answerBy, keeper.nextTime)
        if keeper.link != nil, !isPinging { next = min(next, lastActivity + options.idlePing.nanoseconds) }
        if next <= now { return 0 }
        return Int32(min((next - now + 999_999) / 1_000_000, 60_000))
    }

    private func transmit(_ changes: [SubscriptionChange], now: UInt64) throws(LinkFailure) {
        var batch = RedisBatch()
        for change in changes {
            if change.isWanted {
                want(channels: change.channels, patterns: change.patterns)
            } else {
                channels.subtract(change.channels)
                patterns.subtract(change.patterns)
            }
            add(change.isWanted ? "SUBSCRIBE" : "UNSUBSCRIBE", change.channels, to: &batch)
            add(change.isWanted ? "PSUBSCRIBE" : "PUNSUBSCRIBE", change.patterns, to: &batch)
        }
        guard let link = keeper.link else { return }
        if keeper.connects != servedConnect {
            // A new connection knows nothing: the changes are in what is wanted.
            servedConnect = keeper.connects
            lastActivity = now
            batch = RedisBatch()
            unconfirmed = 0
            add("SUBSCRIBE", channels.sorted(), to: &batch)
            add("PSUBSCRIBE", patterns.sorted(), to: &batch)
        } else if !isPinging, now >= lastActivity + options.idlePing.nanoseconds {
            isPinging = true
            batch.begin("PING")
        }
        if !batch.isEmpty {
            answerBy = min(answerBy, now + options.requestTimeout.nanoseconds)
            _ = try link.append(batch, from: 0, limit: .max)
        }
        try link.flush()
    }

    private func add(_ verb: String, _ names: [String], to batch: inout RedisBatch) {
        if names.isEmpty { return }
        batch.begin(verb)
        for name in names { batch.append(name) }
        unconfirmed += names.count
    }

    private func receive(_ link: RedisLink, now: UInt64) throws(LinkFailure) -> Bool {
        lastActivity = now
        let mayHaveMore = try link.read()
        while let reply = try link.nextReply({ RedisValue($0) }) {
            if let error = reply.error { throw LinkFailure(text: "subscribe: \(error.code)") }
            take(reply)
        }
        if unconfirmed == 0, !isPinging { answerBy = .max }
        return mayHaveMore
    }

    private func take(_ reply: RedisValue) {
        guard let parts = reply.array, let kind = parts.first?.text else {
            isPinging = false  // The simple PONG of a connection without subscriptions.
            return
        }
        switch (kind, parts.count) {
        case ("message", 3):
            tell(parts[1].text, pattern: nil, parts[2].bytes)
        case ("pmessage", 4):
            tell(parts[2].text, pattern: parts[1].text, parts[3].bytes)
        case ("subscribe", _), ("psubscribe", _):
            unconfirmed -= 1
            if unconfirmed == 0 { deliver(.subscribed) }
        case ("unsubscribe", _), ("punsubscribe", _):
            unconfirmed -= 1
            if unconfirmed == 0, !channels.isEmpty || !patterns.isEmpty { deliver(.subscribed) }
        case ("pong", _):
            isPinging = false
        default:
            break
        }
    }

    private func tell(_ channel: String?, pattern: String?, _ payload: [UInt8]?) {
        guard let channel, let payload else { return }
        deliver(.message(RedisMessage(channel: channel, pattern: pattern, payload: payload)))
    }

    private func deliver(_ event: RedisSubscriptionEvent) {
        if case .dropped = sink.yield(event) { dropped += 1 }
    }

    private func drop(_ reason: String, now: UInt64) {
        keeper.fail(reason, now: now)
        isPinging = false
        unconfirmed = 0
        answerBy = .max
    }

    private func publish() {
        let status = RedisConnectionStatus(
            isReady: keeper.link != nil && unconfirmed == 0,
            connects: keeper.connects,
            lastFailure: keeper.lastFailure,
            outstanding: unconfirmed,
        )
        if status == shown, dropped == 0 { return }
        shown = status
        shared.state.withLock { state in
            state.status = status
            state.dropped += dropped
        }
        dropped = 0
    }
}
