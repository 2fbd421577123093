// One reader for all subscribers: reads each subscribed account's events once, encodes each once, keeps the newest in
// memory, and wakes who waits for them.
//
// Invariants: a feed's entries are consecutive in sequence and end at its head; the head only grows. The store's
// sequence has no holes, so nobody waits for a missing number. Order: a subscriber that asks for what follows its
// cursor sees every event once, in order, from the ring or from the store.
// Limits: `StreamLimits.ring` entries per subscribed account; a feed lives while somebody listens to it.
// Cost: one query per subscribed account and wake-up, at most 16 at a time; a wake-up comes with each commit that this
// process makes, with each change notice from outside, and every `pollMs` in any case. An event goes to the sockets of
// one event loop in a few turns of that loop, without a task or a hop of its own for each.

internal import JSONText
internal import Logging
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// One event, encoded.
struct EncodedEvent: Sendable {
    let sequence: Int64
    /// The stream's frame, as it goes over the wire.
    let frame: ByteBuffer
    /// The Event object alone; shares memory with `frame`.
    let data: ByteBuffer
    /// In an event source.
    let name: String
}

/// What a subscriber finds after its cursor.
enum EventPage: Sendable {
    /// Empty: it is at the head.
    case events([EncodedEvent])
    /// The ring begins later: the store has to be read.
    case behind
}

/// Somebody who is told when there is something new. Must not block.
protocol StreamListener: Sendable {
    func wake()
    /// Where `push` is to be called; nil: it wants to be woken.
    var eventLoop: (any EventLoop)? { get }
    /// There are new events of a feed, which follow each other: sends them at once where it can, else as if woken.
    /// - Parameter now: monotonic nanoseconds.
    func push(_ events: [EncodedEvent], of account: AccountID, now: Int64)
    /// Looks at its deadlines.
    func tick(now: Int64)
    /// The server goes away.
    func drain()
}

extension StreamListener {
    var eventLoop: (any EventLoop)? { nil }
    func push(_ events: [EncodedEvent], of account: AccountID, now: Int64) { wake() }
}

final class EventHub: Sendable {
    private struct Feed {
        /// Of the account as the newest follower saw it.
        var mode: OrderContext.Mode
        var entries: [EncodedEvent] = []
        /// Sequence of the newest event known.
        var head: Int64
        var listeners: Set<UInt64> = []
        /// Since when the store does not answer for this feed, in monotonic nanoseconds.
        var awaySince: Int64?
    }

    private struct State {
        var feeds: [AccountID: Feed] = [:]
        var listeners: [UInt64: any StreamListener] = [:]
        /// Streams per key hash.
        var perKey: [String: Int] = [:]
        var nextID: UInt64 = 0
        var isDraining = false
        var encoded = 0
    }

    private static let pageSize = 500
    private static let width = 16
    /// Sockets written to in one turn of an event loop, so that others get theirs in between.
    private static let pushesPerTurn = 128

    private let orders: any OrderStore
    private let clock: any EngineClock
    private let limits: APIConfiguration.StreamLimits
    private let epoch: StreamEpoch
    private let presentEpoch: (@Sendable () async throws -> Int64)?
    private let changes: (@Sendable () async throws -> Void)?
    private let logger: Logger
    private let state = Locked(State())
    private let addresses = AddressBook()
    private let bell = Bell()

    /// - Parameters:
    ///   - presentEpoch: asks the database whose history it is; nil: it stays.
    ///   - changes: returns when orders may have changed; nil: only the poll and this process's own commits.
    init(
        orders: any OrderStore,
        clock: any EngineClock,
        limits: APIConfiguration.StreamLimits,
        epoch: StreamEpoch,
        presentEpoch: (@Sendable () async throws -> Int64)?,
        changes: (@Sendable () async throws -> Void)?,
        logger: Logger,
    ) {
        self.orders = orders
        self.clock = clock
        self.limits = limits
        self.epoch = epoch
        self.presentEpoch = presentEpoch
        self.changes = changes
        self.logger = logger
    }

    /// Events encoded so far: once each, however many listen.
    var encodedCount: Int { state.withLock { $0.encoded } }
    var isDraining: Bool { state.withLock { $0.isDraining } }

    /// Something was committed: look now.
    func poke() { bell.ring() }

    // MARK: Listeners

    /// Nil while draining.
    func register(_ listener: any StreamListener) -> UInt64? {
        state.withLock { state in
            guard !state.isDraining else { return nil }
            state.nextID += 1
            state.listeners[state.nextID] = listener
            return state.nextID
        }
    }

    func unregister(_ id: UInt64) {
        state.withLock { state in
            state.listeners[id] = nil
            for account in Array(state.feeds.keys) { Self.leave(&state, account, id) }
        }
    }

    /// Counts a stream of a key. False: it has as many as it may.
    func admit(key: String) -> Bool {
        state.withLock { state in
            guard state.perKey[key, default: 0] < limits.connectionsPerKey else { return false }
            state.perKey[key, default: 0] += 1
            return true
        }
    }

    /// Counts a stream of a client's address; nil: it is not known, and not counted. False: it has as many as it may.
    func admit(address: String?) -> Bool {
        address.map { addresses.admit($0, limit: limits.connectionsPerAddress) } ?? true
    }

    func release(address: String?) {
        if let address { addresses.release(address) }
    }

    func release(key: String) {
        state.withLock { state in
            let left = state.perKey[key, default: 1] - 1
            state.perKey[key] = left > 0 ? left : nil
        }
    }

    /// Begins to follow an account; returns the newest sequence of the store.
    func follow(_ account: Account, listener: UInt64) async throws(StoreError) -> Int64 {
        let head = try await reading(account.id) { () async throws(StoreError) in
            try await orders.lastSequence(account: account.id)
        }
        state.withLock { state in
            guard state.listeners[listener] != nil else { return }
            var feed = state.feeds[account.id] ?? Feed(mode: account.orderMode, head: head)
            if feed.mode != account.orderMode {
                // What is kept says the mode that was.
                feed.entries = []
                feed.mode = account.orderMode
            }
            feed.listeners.insert(listener)
            state.feeds[account.id] = feed
        }
        bell.ring()
        return head
    }

    func unfollow(_ account: AccountID, listener: UInt64) {
        state.withLock { Self.leave(&$0, account, listener) }
    }

    private static func leave(_ state: inout State, _ account: AccountID, _ listener: UInt64) {
        guard state.feeds[account]?.listeners.remove(listener) != nil else { return }
        if state.feeds[account]?.listeners.isEmpty == true { state.feeds[account] = nil }
    }

    /// What follows `cursor`, at most `limit` events.
    func page(_ account: AccountID, after cursor: Int64, limit: Int) -> EventPage {
        state.withLock { state in
            guard let feed = state.feeds[account] else { return .behind }
            guard cursor < feed.head else { return .events([]) }
            guard let first = feed.entries.first?.sequence, cursor + 1 >= first else { return .behind }
            let start = Int(cursor + 1 - first)
            return .events(Array(feed.entries[start..<min(start + limit, feed.entries.count)]))
        }
    }

    /// The newest sequence known, and for how long the store has been away (nanoseconds).
    func standing(_ account: AccountID, now: Int64) -> (head: Int64, awayFor: Int64)? {
        state.withLock { state in
            state.feeds[account].map { ($0.head, $0.awaySince.map { now - $0 } ?? 0) }
        }
    }

    /// Events of the store after `cursor`, for one subscriber that is behind the ring.
    func read(_ account: Account, after cursor: Int64, limit: Int) async throws(StoreError) -> [EncodedEvent] {
        let events = try await reading(account.id) { () async throws(StoreError) in
            try await orders.events(account: account.id, after: cursor, limit: limit)
        }
        var encoded: [EncodedEvent] = []
        let epoch = epoch.now
        for event in events { encoded.append(try encode(event, account.orderMode, epoch)) }
        return encoded
    }

    /// Reads of one account, as that account.
    private func reading<Value: Sendable>(
        _ account: AccountID,
        _ read: () async throws(StoreError) -> Value,
    ) async throws(StoreError) -> Value {
        do {
            return try await Tenancy.$accounts.withValue([account]) { try await read() }
        } catch let error as StoreError {
            throw error
        } catch {
            throw StoreError(.unavailable, "\(error)")
        }
    }

    private func encode(
        _ event: StoredEvent,
        _ mode: OrderContext.Mode,
        _ epoch: Int64,
    ) throws(StoreError) -> EncodedEvent {
        let told = try EventText(event)
        let data = told.encoded(mode: mode, epoch: epoch)
        var writer = JSONWriter(reserving: data.count + 160)
        writer.beginObject()
        writer.member("type", "event")
        writer.member("account", event.account.description)
        writer.member("epoch", epoch)
        writer.member("seq", event.sequence)
        writer.key("data")
        let start = writer.bytes.count
        writer.raw(data)
        writer.endObject()
        let text = writer.take()
        let frame = WireFrame.text(text)
        let header = frame.readableBytes - text.count
        let slice = frame.getSlice(at: header + start, length: data.count) ?? ByteBuffer(bytes: data)
        return EncodedEvent(
            sequence: event.sequence,
            frame: frame,
            data: slice,
            name: told.name,
        )
    }

    // MARK: Duty

    /// Runs until the task is cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.poll() }
            group.addTask { await self.watch() }
            group.addTask { await self.readOnRings() }
            group.addTask { await self.watchHistory() }
        }
    }

    /// Every listener is told to go; new ones are refused.
    func drain() {
        let listeners = state.withLock { state in
            state.isDraining = true
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.drain() }
    }

    /// A database that was restored goes on from somewhere else: what is known of the old history is dropped, and who
    /// listens comes again with a position that is told to be of another.
    private func watchHistory() async {
        guard let presentEpoch else { return }
        while !Task.isCancelled {
            do {
                try await clock.sleep(milliseconds: limits.epochMs)
                let present = try await presentEpoch()
                guard epoch.raise(to: present) else { continue }
                let listeners = state.withLock { state in
                    state.feeds = [:]
                    return Array(state.listeners.values)
                }
                logger.notice(
                    "The database has another history: streams begin again",
                    metadata: ["epoch": "\(present)"],
                )
                for listener in listeners { listener.drain() }
            } catch {
                // Away: asked again.
            }
        }
    }

    private func poll() async {
        while !Task.isCancelled {
            do {
                try await clock.sleep(milliseconds: limits.pollMs)
            } catch {
                return
            }
            bell.ring()
            let listeners = state.withLock { Array($0.listeners.values) }
            let now = clock.monotonicNanoseconds()
            for listener in listeners { listener.tick(now: now) }
        }
    }

    private func watch() async {
        guard let changes else { return }
        while !Task.isCancelled {
            do {
                try await changes()
                bell.ring()
            } catch {
                // The poll goes on; a notice is only faster.
                do { try await clock.sleep(milliseconds: limits.pollMs) } catch { return }
            }
        }
    }

    private func readOnRings() async {
        while !Task.isCancelled {
            await bell.wait()
            let accounts = state.withLock { Array($0.feeds.keys) }
            var next = accounts.startIndex
            await withTaskGroup(of: Void.self) { group in
                while next < min(Self.width, accounts.count) {
                    let account = accounts[next]
                    group.addTask { await self.advance(account) }
                    next += 1
                }
                while await group.next() != nil, next < accounts.count {
                    let account = accounts[next]
                    group.addTask { await self.advance(account) }
                    next += 1
                }
            }
        }
    }

    /// Brings one feed up to the store.
    private func advance(_ account: AccountID) async {
        while let (head, mode) = state.withLock({ state in state.feeds[account].map { ($0.head, $0.mode) } }) {
            let epoch = epoch.now
            do throws(StoreError) {
                let events = try await reading(account) { () async throws(StoreError) in
                    try await orders.events(account: account, after: head, limit: Self.pageSize)
                }
                var encoded: [EncodedEvent] = []
                for event in events { encoded.append(try encode(event, mode, epoch)) }
                accept(encoded, of: account, mode, epoch)
                if events.count < Self.pageSize { return }
            } catch {
                let now = clock.monotonicNanoseconds()
                let isNew = state.withLock { state in
                    guard let feed = state.feeds[account], feed.awaySince == nil else { return false }
                    state.feeds[account]?.awaySince = now
                    return true
                }
                if isNew {
                    logger.warning(
                        "Event stream cannot be read",
                        metadata: ["account_id": "\(account)", "code": "\(error.code.rawValue)"],
                    )
                }
                return
            }
        }
    }

    private func accept(
        _ events: [EncodedEvent],
        of account: AccountID,
        _ mode: OrderContext.Mode,
        _ epoch: Int64,
    ) {
        let listeners = state.withLock { state -> [any StreamListener] in
            // Read before another history or mode began: it has no place after what is read now.
            guard epoch == self.epoch.now, state.feeds[account]?.mode == mode else { return [] }
            guard var feed = state.feeds.removeValue(forKey: account) else { return [] }
            defer { state.feeds[account] = feed }
            feed.awaySince = nil
            guard let last = events.last, last.sequence > feed.head else { return [] }
            feed.entries += events
            if feed.entries.count > 2 * limits.ring { feed.entries.removeFirst(feed.entries.count - limits.ring) }
            feed.head = last.sequence
            state.encoded += events.count
            return feed.listeners.compactMap { state.listeners[$0] }
        }
        push(events, of: account, to: listeners)
    }

    private func push(_ events: [EncodedEvent], of account: AccountID, to listeners: [any StreamListener]) {
        let now = clock.monotonicNanoseconds()
        var byLoop: [ObjectIdentifier: (loop: any EventLoop, listeners: [any StreamListener])] = [:]
        for listener in listeners {
            guard let loop = listener.eventLoop else {
                listener.wake()
                continue
            }
            byLoop[ObjectIdentifier(loop), default: (loop, [])].listeners.append(listener)
        }
        for (loop, listeners) in byLoop.values {
            for start in stride(from: 0, to: listeners.count, by: Self.pushesPerTurn) {
                let part = listeners[start..<min(start + Self.pushesPerTurn, listeners.count)]
                loop.execute { for listener in part { listener.push(events, of: account, now: now) } }
            }
        }
    }
}
