// The stream's twin for curl and scripts (SSE), its polling form, and tickets (INTERFACES.md 2.2, 2.6).

internal import HTTPTypes
internal import HummingbirdCore
internal import JSONText
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

struct StreamRoutes: Sendable {
    let backend: Backend
    let hub: EventHub
    let boards: StreamBoards
    let tickets: TicketBook

    private static let eventStream = "text/event-stream"

    var routes: [Route] {
        [
            Route(method: .post, pattern: "/v1/stream-tickets", bodyTypes: ["application/json"], handler: ticket),
            // Only requests without an upgrade, or on a connection that served others, come here.
            Route(method: .get, pattern: "/v1/stream", access: .open, answers: ["application/json"]) { _ in
                throw Problem(.upgradeRequired, "Open this address as a WebSocket, on a connection of its own.")
            },
            Route(
                method: .get,
                pattern: "/v1/events",
                isLong: true,
                answers: [Self.eventStream, "application/json"],
                handler: events,
            ),
        ]
    }

    private func ticket(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        let ticket = try await tickets.issue(to: caller)
        let expiry = backend.clock.now().advanced(milliseconds: TicketBook.lifeMs)
        return .json(.created) { writer in
            writer.member("ticket", ticket)
            writer.member("expiresAt", expiry)
        }
    }

    private func events(_ call: Call) async throws -> Reply {
        let caller = try call.requireCaller()
        try call.query.check(known: ["account", "since", "derived"])
        guard let account = call.query["account"] else { throw Problem(.badQuery, "account is required.") }
        let followed = try caller.account(account)
        let accept = call.headers[.accept] ?? Self.eventStream
        let isStream = !accept.contains("application/json") || accept.contains(Self.eventStream)
        let since = isStream ? call.headers[.lastEventID] ?? call.query["since"] : call.query["since"]
        var from: (epoch: Int64, sequence: Int64)?
        if let since {
            let parts = since.split(separator: "-", omittingEmptySubsequences: false)
            guard parts.count == 2, let epoch = Int64(parts[0]), let sequence = Int64(parts[1]), sequence >= 0 else {
                throw Problem(.badQuery, "since is <epoch>-<seq>.")
            }
            from = (epoch, sequence)
        }
        let wantsDerived: Bool
        switch call.query["derived"] {
        case nil, "false": wantsDerived = false
        case "true": wantsDerived = true
        case _: throw Problem(.badQuery, "derived is true or false.")
        }
        guard isStream else { return try await page(followed, from) }
        return try await stream(call, followed, from, wantsDerived)
    }

    /// The polling form: at most 500 events after `since`.
    private func page(_ account: Account, _ from: (epoch: Int64, sequence: Int64)?) async throws -> Reply {
        let epoch = backend.epoch.now
        let after = from.map { $0.epoch == epoch ? $0.sequence : 0 } ?? 0
        let head = try await backend.orders.lastSequence(account: account.id)
        let events = try await hub.read(account, after: after, limit: 500)
        let next = events.last?.sequence ?? after
        return .json { writer in
            writer.key("items")
            writer.beginArray()
            for event in events { writer.raw(event.data.readableBytesView) }
            writer.endArray()
            writer.member("nextSince", "\(epoch)-\(next)")
            writer.member("head", head)
        }
    }

    private func stream(
        _ call: Call,
        _ account: Account,
        _ from: (epoch: Int64, sequence: Int64)?,
        _ wantsDerived: Bool,
    ) async throws -> Reply {
        let caller = try call.requireCaller()
        guard !hub.isDraining else { throw Problem(.draining, "The server is going away.") }
        guard hub.admit(key: caller.keyHash) else {
            throw Problem(
                .tooManyStreams,
                "A key has at most \(backend.configuration.stream.connectionsPerKey) streams.",
            )
        }
        guard hub.admit(address: call.address) else {
            hub.release(key: caller.keyHash)
            throw Problem(
                .tooManyStreams,
                "An address has at most \(backend.configuration.stream.connectionsPerAddress) streams.",
            )
        }
        let reader = EventSource(
            backend: backend,
            hub: hub,
            derived: wantsDerived ? boards.derived : nil,
            notices: boards.notices,
            caller: caller,
            address: call.address,
            account: account,
            from: from,
        )
        return Reply(
            status: .ok,
            headers: [.contentType: Self.eventStream, .accelBuffering: "no"],
            body: .stream { writer in try await reader.run(&writer) },
        )
    }
}

/// One SSE connection. Memory is the socket's write buffer and one part or page; a socket that takes nothing is closed.
final class EventSource: StreamListener {
    private struct State {
        var isDraining = false
        var checkedAt: Int64 = 0
        var heartbeatAt: Int64 = 0
    }

    private let backend: Backend
    private let hub: EventHub
    private let derived: DerivedBoard?
    private let notices: NoticeBoard
    private let caller: Caller
    private let address: String?
    private let account: Account
    private let from: (epoch: Int64, sequence: Int64)?
    private let bell = Bell()
    private let state = Locked(State())

    init(
        backend: Backend,
        hub: EventHub,
        derived: DerivedBoard?,
        notices: NoticeBoard,
        caller: Caller,
        address: String?,
        account: Account,
        from: (epoch: Int64, sequence: Int64)?,
    ) {
        self.backend = backend
        self.hub = hub
        self.derived = derived
        self.notices = notices
        self.caller = caller
        self.address = address
        self.account = account
        self.from = from
    }

    /// The places among the key's and the address's streams: also of one whose client was gone before the first byte.
    deinit {
        hub.release(key: caller.keyHash)
        hub.release(address: address)
    }

    func wake() { bell.ring() }

    func tick(now: Int64) {
        let limits = backend.configuration.stream
        let isDue = state.withLock { state in
            now - state.heartbeatAt >= limits.heartbeatMs * 1_000_000
                || now - state.checkedAt >= limits.recheckMs * 1_000_000
        }
        if isDue { bell.ring() }
    }

    func drain() {
        state.withLock { $0.isDraining = true }
        bell.ring()
    }

    @concurrent
    func run(_ writer: inout any ResponseBodyWriter) async throws {
        guard let id = hub.register(self) else { return try await writer.finish(nil) }
        defer { hub.unregister(id) }
        let head = try await hub.follow(account, listener: id)
        derived?.follow(account, for: id, self)
        defer { derived?.remove(id) }
        notices.add(id, self)
        defer { notices.remove(id) }
        var derivedStamp: UInt64 = 0
        var noticeStamp: UInt64?
        try await send([ByteBuffer(string: "retry: 2000\n\n")], &writer)
        var cursor = try await begin(head, &writer)
        let limits = backend.configuration.stream
        state.withLock { state in
            state.checkedAt = backend.clock.monotonicNanoseconds()
            state.heartbeatAt = state.checkedAt
        }
        while !Task.isCancelled, !state.withLock({ $0.isDraining }) {
            let now = backend.clock.monotonicNanoseconds()
            if now - state.withLock({ $0.checkedAt }) >= limits.recheckMs * 1_000_000 {
                state.withLock { $0.checkedAt = now }
                guard try await isAllowed() else { break }
            }
            let events: [EncodedEvent]
            switch hub.page(account.id, after: cursor, limit: 64) {
            case .events(let page): events = page
            case .behind: events = try await hub.read(account, after: cursor, limit: 100)
            }
            if let last = events.last {
                try await send(events.map { line($0.name, $0) }, &writer)
                cursor = last.sequence
                state.withLock { $0.heartbeatAt = now }
                continue
            }
            let (told, newest) = notices.frames(after: noticeStamp)
            noticeStamp = newest
            if !told.isEmpty {
                try await send(told.map { Self.event("notice", id: nil, Array($0.readableBytesView)) }, &writer)
                continue
            }
            if let (items, stamp) = derived?.items(account.id, after: derivedStamp), !items.isEmpty {
                derivedStamp = stamp
                let text = DerivedBoard.frame(account.id, at: backend.clock.now(), items)
                try await send([Self.event("derived", id: nil, text)], &writer)
                continue
            }
            if now - state.withLock({ $0.heartbeatAt }) >= limits.heartbeatMs * 1_000_000 {
                state.withLock { $0.heartbeatAt = now }
                try await send([ByteBuffer(string: ": hb\n\n")], &writer)
            }
            await bell.wait()
        }
        if state.withLock({ $0.isDraining }) {
            try await send([Self.event("notice", id: nil, Array(NoticeBoard.deploy.readableBytesView))], &writer)
        }
        try await writer.finish(nil)
    }

    /// Whether the caller still sees the account, in the mode in which he was told of it.
    private func isAllowed() async throws -> Bool {
        do {
            return try await backend.keys.renewed(caller, address: address).reaches(account)
        } catch is Problem {
            return false
        }
    }

    /// Where to go on from: a position that can be resumed, else after a snapshot; what cannot be resumed is told.
    @concurrent
    private func begin(_ head: Int64, _ writer: inout any ResponseBodyWriter) async throws -> Int64 {
        let epoch = backend.epoch.now
        if let from {
            let reason =
                if from.epoch != epoch {
                    "EPOCH"
                } else if from.sequence > head {
                    "FUTURE"
                } else if head - from.sequence > backend.configuration.stream.window {
                    "TOO_OLD"
                } else { "" }
            guard !reason.isEmpty else { return from.sequence }
            var gap = JSONWriter()
            gap.beginObject()
            gap.member("account", account.id.description)
            gap.member("reason", reason)
            gap.member("oldest", max(0, head - backend.configuration.stream.window) + 1)
            gap.member("head", head)
            gap.member("epoch", epoch)
            gap.endObject()
            try await send([Self.event("gap", id: nil, gap.take())], &writer)
        }
        var snapshot = SnapshotReader(of: account, backend)
        while let part = try await snapshot.next() {
            // Resumed from only when it is whole.
            let id = part.isLast ? "\(epoch)-\(snapshot.sequence)" : nil
            try await send([Self.event("snapshot", id: id, part.text)], &writer)
        }
        return snapshot.sequence
    }

    /// A socket that takes nothing is closed by its connection (`WriteWatch`).
    @concurrent
    private func send(_ parts: [ByteBuffer], _ writer: inout any ResponseBodyWriter) async throws {
        try await writer.write(contentsOf: parts)
    }

    private static func event(_ name: String, id: String?, _ data: [UInt8]) -> ByteBuffer {
        var buffer = ByteBuffer()
        if let id { buffer.writeString("id: \(id)\n") }
        buffer.writeString("event: \(name)\ndata: ")
        buffer.writeBytes(data)
        buffer.writeString("\n\n")
        return buffer
    }

    private func line(_ name: String, _ event: EncodedEvent) -> ByteBuffer {
        let epoch = backend.epoch.now
        var buffer = ByteBuffer()
        buffer.writeString("id: \(epoch)-\(event.sequence)\nevent: \(name)\ndata: ")
        var data = event.data
        buffer.writeBuffer(&data)
        buffer.writeString("\n\n")
        return buffer
    }
}
