// One WebSocket: who it is, what it follows, and what it is sent (INTERFACES.md 2).
//
// Invariants: a followed account has one cursor; what is sent has cursor + 1, so every event goes out once and in
// order, from the hub's ring or, when the connection is behind it, from the store at the connection's own pace. There
// is no queue of events: memory is the socket's write buffer, one page, and bounded replies. While its writer has nothing
// to do (it is parked), new events are written by the event loop itself; whoever moves the cursor, under the lock, writes.
// The close handshake: open, close sent (a second close is not sent), gone.

internal import JSONText
internal import Logging
internal import NIOCore
internal import NIOWebSocket
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// Close codes of INTERFACES.md 2.5.
enum CloseCode {
    static let normal: UInt16 = 1000
    static let goingAway: UInt16 = 1001
    static let protocolError: UInt16 = 1002
    static let tooBig: UInt16 = 1009
    static let internalError: UInt16 = 1011
    static let slowConsumer: UInt16 = 4008
    static let badFrame: UInt16 = 4400
    static let unauthenticated: UInt16 = 4401
    static let forbidden: UInt16 = 4403
    static let silent: UInt16 = 4408
    static let tooMany: UInt16 = 4429
    static let storeAway: UInt16 = 4503
}

/// Frames come in one by one; out goes what `WireFrame` made.
typealias StreamChannel = NIOAsyncChannel<WebSocketFrame, ByteBuffer>

final class StreamSession: StreamListener {
    /// One followed account.
    struct Follow {
        let account: Account
        /// Sequence of the last event sent.
        var cursor: Int64
        /// A snapshot goes first; events follow from its sequence.
        var needsSnapshot: Bool
        /// Tells this subscription from an earlier one of the account.
        let stamp: UInt64
    }

    struct State {
        var id: UInt64 = 0
        var caller: Caller?
        var follows: [Follow] = []
        /// Counts the subscriptions to accounts.
        var followStamp: UInt64 = 0
        /// Accounts whose derived values it wants, and the newest that it was sent.
        var derived: [AccountID: UInt64] = [:]
        var markets: Set<MarketID> = []
        var priceStamp: UInt64 = 0
        /// Of the notices that it was told; nil: none yet.
        var noticeStamp: UInt64?
        /// Of the operators' numbers that it was sent; nil: it does not follow them.
        var operatorStamp: UInt64?
        var replies: [ByteBuffer] = []
        var pong: [UInt8]?
        /// What the connection is to be closed with.
        var closing: UInt16?
        var isCloseSent = false
        var isPeerGone = false
        /// The writer waits for the socket.
        var isWriting = false
        var heartbeatDue = false
        var pingDue = false
        var checkDue = false
        // Monotonic nanoseconds.
        var openedAt: Int64 = 0
        var sentAt: Int64 = 0
        var pingedAt: Int64 = 0
        var pongedAt: Int64 = 0
        var checkedAt: Int64 = 0
        var storeAwaySince: Int64?
        /// The writer waits, and what it wrote is before whatever is written now.
        var isParked = false
        /// Counts the writer's works: one that began since makes a parking void.
        var parkStamp: UInt64 = 0
        var storeTriedAt: Int64 = 0
        /// GCRA of the client's frames.
        var arrival: Int64 = 0

        /// A store that did not answer is left alone for 200 ms.
        func isStoreResting(_ now: Int64) -> Bool { storeAwaySince != nil && now - storeTriedAt < 200_000_000 }
    }

    /// Something to do for the writer.
    private enum Work {
        case frames([ByteBuffer])
        case snapshot(Follow)
        case events(Account, after: Int64)
        case check(Caller)
        case close(UInt16)
        case wait
        case end
    }

    private static let eventsPerWrite = 64
    /// More at once are for the writer, who goes at the socket's pace.
    private static let eventsPerPush = 16
    private static let eventsPerRead = 100
    private static let maximumReplies = 256

    let backend: Backend
    let hub: EventHub
    let boards: StreamBoards
    let tickets: TicketBook
    private let channel: StreamChannel
    let eventLoop: (any EventLoop)?
    private let authorization: String?
    private let progress: WriteProgress
    /// The client's, as the connection or a proxy of ours shows it.
    let address: String?
    private let bell = Bell()
    let state = Locked(State())

    var limits: APIConfiguration.StreamLimits { backend.configuration.stream }

    init(
        backend: Backend,
        hub: EventHub,
        boards: StreamBoards,
        tickets: TicketBook,
        channel: StreamChannel,
        head: StreamHead,
        progress: WriteProgress,
    ) {
        self.backend = backend
        self.hub = hub
        self.boards = boards
        self.tickets = tickets
        self.channel = channel
        eventLoop = channel.channel.eventLoop
        authorization = head.authorization
        self.progress = progress
        let proxies = TrustedProxies(backend.configuration.trustedProxies)
        address = proxies.client(of: channel.channel.remoteAddress?.ipAddress, forwarded: head.forwarded)
    }

    /// Runs until the connection is gone.
    func run() async {
        let now = backend.clock.monotonicNanoseconds()
        state.withLock { state in
            (state.openedAt, state.sentAt, state.pingedAt) = (now, now, now)
            (state.pongedAt, state.checkedAt, state.arrival) = (now, now, now)
        }
        if let id = hub.register(self) {
            state.withLock { $0.id = id }
        } else {
            close(CloseCode.goingAway)
        }
        let isAdmitted = hub.admit(address: address)
        if !isAdmitted { close(CloseCode.tooMany) }
        reply(hello())
        if let authorization, isAdmitted {
            await authenticate {
                try await self.backend.keys.caller(authorization: authorization, address: self.address)
            }
        }
        do {
            try await channel.executeThenClose { inbound, outbound in
                await withTaskGroup(of: Void.self) { group in
                    group.addTask {
                        await self.read(inbound)
                        self.state.withLock { $0.isPeerGone = true }
                        self.bell.ring()
                    }
                    group.addTask { await self.write(outbound) }
                }
            }
        } catch {
            // The peer is gone, which is how connections end.
        }
        let (id, key) = state.withLock { ($0.id, $0.caller?.keyHash) }
        hub.unregister(id)
        boards.prices.remove(id)
        boards.derived.remove(id)
        boards.notices.remove(id)
        boards.operators.remove(id)
        if let key { hub.release(key: key) }
        if isAdmitted { hub.release(address: address) }
    }

    // MARK: Told by others

    func wake() { bell.ring() }
    func drain() { close(CloseCode.goingAway) }

    /// On the event loop: writes events that follow the cursor, if nothing of the writer can come before them.
    func push(_ events: [EncodedEvent], of account: AccountID, now: Int64) {
        enum Verdict { case nothing, wake, write(from: Int) }
        let channel = channel.channel
        let isFree = channel.isWritable && events.count <= Self.eventsPerPush
        let verdict = state.withLock { state -> Verdict in
            guard isFree, state.isParked, state.replies.isEmpty, state.closing == nil, !state.isCloseSent,
                let index = state.follows.firstIndex(where: { $0.account.id == account }),
                !state.follows[index].needsSnapshot, let first = events.first, let last = events.last
            else { return .wake }
            let cursor = state.follows[index].cursor
            guard cursor < last.sequence else { return .nothing }
            guard first.sequence <= cursor + 1 else { return .wake }
            state.follows[index].cursor = last.sequence
            state.sentAt = now
            return .write(from: Int(cursor + 1 - first.sequence))
        }
        switch verdict {
        case .nothing: break
        case .wake: bell.ring()
        case .write(let start):
            for event in events[start...] { channel.write(event.frame, promise: nil) }
            channel.flush()
        }
    }

    /// From the next turn of the event loop on, which comes after all that the writer wrote, events may be pushed.
    private func park() {
        let stamp = state.withLock { $0.isParked ? nil : $0.parkStamp }
        guard let stamp else { return }
        channel.channel.eventLoop.execute {
            self.state.withLock { if $0.parkStamp == stamp { $0.isParked = true } }
        }
    }

    /// Asks for the connection to be closed; the first code counts.
    func close(_ code: UInt16) {
        state.withLock { if $0.closing == nil { $0.closing = code } }
        bell.ring()
    }

    /// Queues a text frame.
    func reply(_ text: [UInt8]) {
        let isFull = state.withLock { state in
            state.replies.append(ByteBuffer(bytes: text))
            return state.replies.count > Self.maximumReplies
        }
        if isFull { close(CloseCode.slowConsumer) } else { bell.ring() }
    }

    func tick(now: Int64) {
        func passed(_ since: Int64, _ milliseconds: Int64) -> Bool { now - since >= milliseconds * 1_000_000 }
        enum Verdict { case nothing, wake, stuck, gone }
        let limits = limits
        let verdict = state.withLock { state -> Verdict in
            guard !state.isCloseSent else { return .nothing }
            if state.isWriting {
                guard progress.isStuck else { return .nothing }
                state.isCloseSent = true
                return .stuck
            }
            if state.closing != nil { return .wake }
            if state.pingedAt > state.pongedAt, passed(state.pingedAt, limits.pingMs) { return .gone }
            var isDue = false
            if state.caller == nil, passed(state.openedAt, limits.authenticateMs) {
                state.closing = CloseCode.silent
                isDue = true
            }
            if passed(state.sentAt, limits.heartbeatMs) {
                state.heartbeatDue = true
                isDue = true
            }
            if passed(max(state.pingedAt, state.pongedAt), limits.pingMs) {
                state.pingDue = true
                isDue = true
            }
            if state.caller != nil, passed(state.checkedAt, limits.recheckMs) {
                state.checkedAt = now
                state.checkDue = true
                isDue = true
            }
            // A store that did not answer is asked again.
            if state.storeAwaySince != nil { isDue = true }
            return isDue ? .wake : .nothing
        }
        switch verdict {
        case .nothing: break
        case .wake: bell.ring()
        case .gone: channel.channel.close(promise: nil)
        case .stuck:
            // The writer waits for the socket; the frame goes behind what waits already.
            channel.channel.writeAndFlush(WireFrame.close(CloseCode.slowConsumer), promise: nil)
            closeLater()
        }
        watchStore(now: now)
    }

    private func watchStore(now: Int64) {
        let accounts = state.withLock { $0.follows.map(\.account.id) }
        for account in accounts {
            guard let standing = hub.standing(account, now: now) else { continue }
            if standing.awayFor > limits.storeAwayMs * 1_000_000 { close(CloseCode.storeAway) }
        }
    }

    /// Ends the connection if the peer does not.
    private func closeLater() {
        let channel = channel.channel
        channel.eventLoop.scheduleTask(in: .milliseconds(limits.closeGraceMs)) { channel.close(promise: nil) }
    }

    // MARK: Reading

    private func read(_ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>) async {
        var reader = FrameReader(limit: limits.clientFrameBytes)
        var isFailed = false
        do {
            for try await frame in inbound {
                // After a failure the rest is read and dropped, so that the peer gets to see why.
                if isFailed, frame.opcode != .connectionClose { continue }
                switch reader.read(frame) {
                case .none: break
                case .message(let text):
                    guard !state.withLock({ $0.isCloseSent }) else { continue }
                    guard takeToken() else {
                        close(CloseCode.tooMany)
                        isFailed = true
                        continue
                    }
                    await obey(text)
                case .ping(let payload):
                    state.withLock { $0.pong = payload }
                    bell.ring()
                case .pong:
                    let now = backend.clock.monotonicNanoseconds()
                    state.withLock { $0.pongedAt = now }
                case .close(let code):
                    close(code ?? CloseCode.normal)
                    return
                case .fail(let code):
                    close(code)
                    isFailed = true
                }
            }
        } catch let error as NIOWebSocketError {
            switch error {
            case .invalidFrameLength: close(CloseCode.tooBig)
            case .fragmentedControlFrame, .multiByteControlFrameLength: close(CloseCode.protocolError)
            }
        } catch {
            // The connection broke.
        }
    }

    private func takeToken() -> Bool {
        let now = backend.clock.monotonicNanoseconds()
        let step = 1_000_000_000 / Int64(limits.framesPerSecond)
        let burst = step * Int64(limits.frameBurst)
        return state.withLock { state in
            let next = max(state.arrival, now) + step
            guard next - now <= burst else { return false }
            state.arrival = next
            return true
        }
    }

    // MARK: Writing

    private func write(_ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>) async {
        do {
            while !Task.isCancelled {
                switch nextWork() {
                case .frames(let frames): try await send(frames, outbound)
                case .snapshot(let follow): try await sendSnapshot(follow, outbound)
                case .events(let account, let cursor): try await sendEvents(account, after: cursor, outbound)
                case .check(let caller): try await check(caller)
                case .close(let code):
                    let notice = code == CloseCode.goingAway ? [Self.text(NoticeBoard.deploy)] : []
                    try await send(notice + [WireFrame.close(code)], outbound)
                    closeLater()
                case .wait:
                    park()
                    await bell.wait()
                case .end: return
                }
            }
        } catch {
            // The connection broke.
        }
    }

    /// Whether it is still who it was, and may still see what it follows, in the mode in which it was told of it.
    private func check(_ caller: Caller) async throws {
        do {
            let renewed = try await backend.keys.renewed(caller, address: address)
            let mayStay = state.withLock { state in
                state.caller = renewed
                state.storeAwaySince = nil
                guard state.operatorStamp == nil || Self.mayOperate(renewed) else { return false }
                let derived = state.derived.keys
                return state.follows.allSatisfy { renewed.reaches($0.account) }
                    && derived.allSatisfy { renewed.accountIDs.contains($0) }
            }
            if !mayStay { close(CloseCode.forbidden) }
        } catch let problem as Problem {
            close(problem.document.status == 403 ? CloseCode.forbidden : CloseCode.unauthenticated)
        } catch let error as StoreError {
            storeFailed(error)
        }
    }

    private func nextWork() -> Work {
        let events = state.withLock { $0.follows }
        let due = events.first { follow in
            if follow.needsSnapshot { return true }
            switch hub.page(follow.account.id, after: follow.cursor, limit: 1) {
            case .behind: return true
            case .events(let events): return !events.isEmpty
            }
        }
        let now = backend.clock.monotonicNanoseconds()
        return state.withLock { state in
            let work = takeWork(&state, due, now)
            if case .wait = work { return work }
            state.isParked = false
            state.parkStamp += 1
            return work
        }
    }

    private func takeWork(_ state: inout State, _ due: Follow?, _ now: Int64) -> Work {
        if let code = state.closing, !state.isCloseSent {
            state.isCloseSent = true
            return .close(code)
        }
        if state.isPeerGone { return .end }
        if state.isCloseSent { return .wait }
        var frames: [ByteBuffer] = []
        if let payload = state.pong {
            state.pong = nil
            frames.append(WireFrame.make(.pong, payload))
        }
        if state.pingDue {
            state.pingDue = false
            state.pingedAt = now
            frames.append(WireFrame.make(.ping, []))
        }
        frames += state.replies.map(Self.text)
        state.replies = []
        if !frames.isEmpty { return .frames(frames) }
        if state.checkDue, let caller = state.caller {
            state.checkDue = false
            return .check(caller)
        }
        if let due, state.follows.contains(where: { $0.stamp == due.stamp }), !state.isStoreResting(now) {
            return due.needsSnapshot ? .snapshot(due) : .events(due.account, after: due.cursor)
        }
        let latest = takeLatest(&state)
        if !latest.isEmpty { return .frames(latest.map(Self.text)) }
        if state.heartbeatDue {
            state.heartbeatDue = false
            let heads = state.follows.map {
                ($0.account.id, hub.standing($0.account.id, now: now)?.head ?? $0.cursor)
            }
            return .frames([Self.text(ByteBuffer(bytes: heartbeat(heads)))])
        }
        return .wait
    }

    /// Prices and derived values that are newer than what was sent: only the newest of each, however slow the reader is.
    private func takeLatest(_ state: inout State) -> [ByteBuffer] {
        var frames: [ByteBuffer] = []
        if !state.markets.isEmpty {
            let (newer, stamp) = boards.prices.frames(state.markets, after: state.priceStamp)
            state.priceStamp = stamp
            frames = newer
        }
        if state.caller != nil {
            let (newer, stamp) = boards.notices.frames(after: state.noticeStamp)
            state.noticeStamp = stamp
            frames += newer
        }
        if let sent = state.operatorStamp, let (frame, stamp) = boards.operators.frame(after: sent) {
            state.operatorStamp = stamp
            frames.append(frame)
        }
        for (account, sent) in state.derived.sorted(by: { $0.key < $1.key }) {
            let (items, stamp) = boards.derived.items(account, after: sent)
            state.derived[account] = stamp
            guard !items.isEmpty else { continue }
            frames.append(ByteBuffer(bytes: DerivedBoard.frame(account, at: backend.clock.now(), items)))
        }
        return frames
    }

    private static func text(_ buffer: ByteBuffer) -> ByteBuffer { WireFrame.text(buffer.readableBytesView) }

    /// Writes, and says so: a socket that takes nothing meanwhile is noticed by `tick`.
    private func send(
        _ frames: [ByteBuffer],
        _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>,
    ) async throws {
        state.withLock { $0.isWriting = true }
        try await outbound.write(contentsOf: frames)
        let now = backend.clock.monotonicNanoseconds()
        state.withLock { state in
            state.isWriting = false
            state.sentAt = now
        }
    }

    private func sendEvents(
        _ account: Account,
        after cursor: Int64,
        _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>,
    ) async throws {
        var events: [EncodedEvent]
        switch hub.page(account.id, after: cursor, limit: Self.eventsPerWrite) {
        case .events(let page): events = page
        case .behind:
            do throws(StoreError) {
                events = try await hub.read(account, after: cursor, limit: Self.eventsPerRead)
                state.withLock { $0.storeAwaySince = nil }
            } catch {
                storeFailed(error)
                return
            }
            if let head = hub.standing(account.id, now: 0)?.head, head - cursor > limits.window {
                close(CloseCode.slowConsumer)
                return
            }
        }
        guard let last = events.last else { return }
        let isCurrent = state.withLock { state in
            // A new subscription moved the cursor meanwhile: it counts.
            guard let index = state.follows.firstIndex(where: { $0.account.id == account.id }),
                state.follows[index].cursor == cursor, !state.follows[index].needsSnapshot
            else { return false }
            state.follows[index].cursor = last.sequence
            return true
        }
        guard isCurrent else { return }
        // In pieces of the write buffer's size: a reader is stuck when one of them does not go out in time.
        var frames: [ByteBuffer] = []
        var bytes = 0
        for event in events {
            frames.append(event.frame)
            bytes += event.frame.readableBytes
            guard bytes >= limits.writeBufferBytes else { continue }
            try await send(frames, outbound)
            frames = []
            bytes = 0
        }
        if !frames.isEmpty { try await send(frames, outbound) }
    }

    /// Ends early when the subscription has ended, or another took its place: that one is owed what it asked for.
    private func sendSnapshot(
        _ follow: Follow,
        _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>,
    ) async throws {
        var snapshot = SnapshotReader(of: follow.account, backend)
        do {
            while let part = try await snapshot.next() {
                guard state.withLock({ $0.follows.contains { $0.stamp == follow.stamp } }) else { return }
                try await send([Self.text(ByteBuffer(bytes: part.text))], outbound)
            }
            let sequence = snapshot.sequence
            state.withLock { state in
                state.storeAwaySince = nil
                guard let index = state.follows.firstIndex(where: { $0.stamp == follow.stamp }) else { return }
                state.follows[index].needsSnapshot = false
                state.follows[index].cursor = sequence
            }
        } catch let error as StoreError {
            storeFailed(error)
        }
    }

    /// Tries again at the next tick, for as long as the store may be away.
    private func storeFailed(_ error: StoreError) {
        guard error.isTransient else { return close(CloseCode.internalError) }
        let now = backend.clock.monotonicNanoseconds()
        let limit = limits.storeAwayMs * 1_000_000
        let isOver = state.withLock { state in
            let since = state.storeAwaySince ?? now
            state.storeAwaySince = since
            state.storeTriedAt = now
            return now - since > limit
        }
        if isOver { close(CloseCode.storeAway) }
    }
}
