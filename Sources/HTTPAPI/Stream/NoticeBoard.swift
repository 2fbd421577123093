// What streams tell of the system itself: notices to everybody, and the board's numbers to operators (INTERFACES.md 2.3).
//
// Invariants: of a notice only the newest state is kept; whoever comes later is told what holds then, whoever was told of
// its beginning is told of its end. The numbers are read once a second for all who watch, and not at all for nobody.

internal import JSONText
internal import Logging
internal import NIOCore
internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import SmartOrders

/// What is told.
enum NoticeCode: String, Sendable, CaseIterable {
    case deploy = "DEPLOY"
    case feedStale = "FEED_STALE"
    case venueDown = "VENUE_DOWN"
    case recovering = "RECOVERING"
}

final class NoticeBoard: Sendable {
    private struct Name: Hashable {
        let code: NoticeCode
        /// A venue; empty: the whole deployment.
        let subject: String
    }

    private struct Entry {
        let stamp: UInt64
        let isActive: Bool
        let frame: ByteBuffer
    }

    private struct State {
        var listeners: [UInt64: any StreamListener] = [:]
        var entries: [Name: Entry] = [:]
        var stamp: UInt64 = 0
    }

    private static let pauseMs: Int64 = 1_000

    private let backend: Backend
    private let operators: any OperatorStore
    private let state = Locked(State())

    init(backend: Backend, operators: any OperatorStore) {
        self.backend = backend
        self.operators = operators
    }

    func add(_ id: UInt64, _ listener: any StreamListener) {
        state.withLock { state in
            state.listeners[id] = listener
        }
        listener.wake()
    }

    func remove(_ id: UInt64) {
        state.withLock { state in
            state.listeners[id] = nil
        }
    }

    /// Notices that are newer than `stamp`, oldest first, and the newest stamp. Nil: what holds now.
    func frames(after stamp: UInt64?) -> (frames: [ByteBuffer], stamp: UInt64) {
        state.withLock { state in
            guard state.stamp > stamp ?? 0 else { return ([], state.stamp) }
            let newer = state.entries.values.filter { entry in
                if let stamp { return entry.stamp > stamp }
                return entry.isActive
            }
            return (newer.sorted { $0.stamp < $1.stamp }.map(\.frame), state.stamp)
        }
    }

    /// Said to each connection before it is closed.
    static var deploy: ByteBuffer {
        frame(.deploy, "", isActive: true, "The server goes away: connect again and go on after your last event.")
    }

    private static func frame(_ code: NoticeCode, _ subject: String, isActive: Bool, _ text: String) -> ByteBuffer {
        var writer = JSONWriter(reserving: 256)
        writer.beginObject()
        writer.member("type", "notice")
        writer.member("code", code)
        writer.member("subject", orNull: subject.isEmpty ? nil : subject)
        writer.member("active", isActive)
        writer.member("text", text)
        writer.endObject()
        return ByteBuffer(bytes: writer.take())
    }

    /// Runs until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            do { try await backend.clock.sleep(milliseconds: Self.pauseMs) } catch { return }
            guard !state.withLock({ $0.listeners.isEmpty }) else { continue }
            do throws(StoreError) {
                try await look()
            } catch {
                // The store is away, which streams notice by themselves.
                backend.logger.debug("Notices wait", metadata: ["error": "\(error.detail)"])
            }
        }
    }

    private func look() async throws(StoreError) {
        var active: [Name: String] = [:]
        for venue in try await backend.venueStandings() {
            switch venue.state {
            case .up: break
            case .degraded:
                active[Name(code: .feedStale, subject: venue.id)] =
                    "No price of \(venue.id) has come for 10 s; stops there wait for one."
            case .down: active[Name(code: .venueDown, subject: venue.id)] = "\(venue.id) tells no price."
            }
        }
        if let row = try await operators.rows(.recovery, subject: nil, after: nil, limit: 1).first,
            Self.isRecovering(row.json)
        {
            active[Name(code: .recovering, subject: "")] =
                "The database was restored or promoted: orders are compared with their venues before they go on."
        }
        settle(active)
    }

    private static func isRecovering(_ row: [UInt8]) -> Bool {
        do throws(JSONError) {
            return try JSONValue(parsing: row)["complete"] == .bool(false)
        } catch {
            return false
        }
    }

    private func settle(_ active: [Name: String]) {
        let listeners = state.withLock { state -> [any StreamListener] in
            let before = state.stamp
            for (name, text) in active.sorted(by: {
                ($0.key.code.rawValue, $0.key.subject) < ($1.key.code.rawValue, $1.key.subject)
            })
            where state.entries[name]?.isActive != true {
                state.stamp += 1
                let frame = Self.frame(name.code, name.subject, isActive: true, text)
                state.entries[name] = Entry(stamp: state.stamp, isActive: true, frame: frame)
            }
            for (name, entry) in state.entries where entry.isActive && active[name] == nil {
                state.stamp += 1
                let frame = Self.frame(name.code, name.subject, isActive: false, "It is over.")
                state.entries[name] = Entry(stamp: state.stamp, isActive: false, frame: frame)
            }
            return state.stamp > before ? Array(state.listeners.values) : []
        }
        for listener in listeners { listener.wake() }
    }
}

/// The first page of the operators' board, once a second.
final class OperatorBoard: Sendable {
    private struct State {
        var listeners: [UInt64: any StreamListener] = [:]
        var frame = ByteBuffer()
        var stamp: UInt64 = 0
    }

    private static let pauseMs: Int64 = 1_000

    private let backend: Backend
    private let operators: any OperatorStore
    private let state = Locked(State())

    init(backend: Backend, operators: any OperatorStore) {
        self.backend = backend
        self.operators = operators
    }

    func follow(_ id: UInt64, _ listener: any StreamListener) {
        state.withLock { state in
            state.listeners[id] = listener
        }
    }

    func remove(_ id: UInt64) {
        state.withLock { state in
            state.listeners[id] = nil
        }
    }

    /// The newest numbers, if they are newer than `stamp`.
    func frame(after stamp: UInt64) -> (frame: ByteBuffer, stamp: UInt64)? {
        state.withLock { $0.stamp > stamp ? ($0.frame, $0.stamp) : nil }
    }

    /// Runs until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            do { try await backend.clock.sleep(milliseconds: Self.pauseMs) } catch { return }
            guard !state.withLock({ $0.listeners.isEmpty }) else { continue }
            do throws(StoreError) {
                guard let row = try await operators.rows(.overview, subject: nil, after: nil, limit: 1).first else {
                    continue
                }
                tell(row.json)
            } catch {
                backend.logger.debug("The board waits", metadata: ["error": "\(error.detail)"])
            }
        }
    }

    private func tell(_ overview: [UInt8]) {
        var writer = JSONWriter(reserving: 1_024)
        writer.beginObject()
        writer.member("type", "operator")
        writer.member("at", backend.clock.now())
        writer.key("overview")
        writer.raw(overview)
        writer.endObject()
        let frame = ByteBuffer(bytes: writer.take())
        let listeners = state.withLock { state in
            state.stamp += 1
            state.frame = frame
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.wake() }
    }
}
