// Tells endpoints what happened (INTERFACES.md 1.16): makes deliveries of events, sends them, writes down what came of it.
//
// Any number of processes may run it: a lane (endpoint and account) is worked on by whoever has its lease, so requests
// of one lane come one after the other and in the order of the events while all is well. A delivery that failed waits
// for its next try and the others go on: consumers drop what is older than what they hold. A process that dies leaves
// what it had not written down to the next one, which sends it again under the same id.
// Limits: 16 lanes at a time, 64 deliveries a look. Only workers run it: they alone open the secrets.

internal import JSONText
public import Logging
public import OrderEngine
internal import OrderJSON
internal import OwnerThread
public import SmartOrders

public final class WebhookDuty: Sendable {
    public struct Configuration: Sendable {
        /// Number of the database's history, as events show it.
        public var epoch: @Sendable () -> Int64 = { 1 }
        /// How often it looks for something to do.
        public var pollMs: Int64 = 250
        /// Where messages for Telegram go.
        public var telegram = "https://api.telegram.org"
        public init() {}
    }

    private static let width = 16
    private static let page = 64
    /// Milliseconds after the first try, the second ...
    static let delaysMs: [Int64] = [
        5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000,
    ]
    private static let answerBytes = 4 << 10

    private let outbox: any WebhookOutbox
    private let orders: any OrderStore
    private let transport: any WebhookTransport
    private let open: @Sendable (_ sealed: [UInt8], _ webhook: UniqueID) throws -> [UInt8]
    private let clock: any EngineClock
    private let random: @Sendable () -> UInt64
    private let configuration: Configuration
    private let logger: Logger
    private let busy = Locked(0)

    /// - Parameter open: what an API process sealed for an endpoint.
    public init(
        outbox: any WebhookOutbox,
        orders: any OrderStore,
        transport: any WebhookTransport,
        open: @escaping @Sendable (_ sealed: [UInt8], _ webhook: UniqueID) throws -> [UInt8],
        clock: any EngineClock,
        random: @escaping @Sendable () -> UInt64,
        configuration: Configuration = Configuration(),
        logger: Logger,
    ) {
        self.outbox = outbox
        self.orders = orders
        self.transport = transport
        self.open = open
        self.clock = clock
        self.random = random
        self.configuration = configuration
        self.logger = logger
    }

    /// Runs until the task is cancelled.
    public func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.planning() }
            group.addTask { try await self.sending() }
            try await group.next()
            group.cancelAll()
        }
    }

    // MARK: Planning

    private func planning() async throws {
        var round = 0
        while true {
            do throws(StoreError) {
                if round % 4 == 0 { try await outbox.openLanes() }
                if round % 14_400 == 0 { try await outbox.pruneDeliveries() }
                try await planAll()
            } catch {
                note(error)
            }
            round += 1
            try await clock.sleep(milliseconds: configuration.pollMs)
        }
    }

    /// Makes deliveries until every lane is as far as its account.
    private func planAll() async throws(StoreError) {
        while !Task.isCancelled {
            let lanes = try await outbox.behind(limit: Self.page)
            guard !lanes.isEmpty else { return }
            for lane in lanes { try await plan(lane) }
        }
    }

    private func plan(_ lane: WebhookLane) async throws(StoreError) {
        let events = try await orders.events(account: lane.account, after: lane.sequence, limit: Self.page)
        guard let last = events.last else { return }
        var deliveries: [(id: UniqueID, sequence: Int64, type: String)] = []
        // Changes of the account itself are told by themselves (`account.halted` and others).
        for event in events where event.order != nil {
            let types = WebhookType.all(of: try EventText(event).facts)
            guard lane.webhook.types.isEmpty || types.contains(where: { lane.webhook.types.contains($0.rawValue) })
            else { continue }
            deliveries.append((newID(), event.sequence, WebhookType.mostImportant(types).rawValue))
        }
        _ = try await outbox.plan(lane, to: last.sequence, deliveries)
    }

    private func newID() -> UniqueID {
        var generator = Generator(make: random)
        return UniqueID(unixMilliseconds: clock.now().milliseconds, random: &generator)
    }

    private struct Generator: RandomNumberGenerator {
        let make: @Sendable () -> UInt64
        mutating func next() -> UInt64 { make() }
    }

    // MARK: Sending

    private func sending() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            while true {
                let free = Self.width - busy.withLock { $0 }
                var taken: [WebhookSending] = []
                do throws(StoreError) {
                    if free > 0 { taken = try await outbox.takeLanes(limit: free) }
                } catch {
                    note(error)
                }
                for sending in taken {
                    busy.withLock { $0 += 1 }
                    group.addTask {
                        defer { self.busy.withLock { $0 -= 1 } }
                        await self.work(sending)
                    }
                }
                if taken.isEmpty { try await clock.sleep(milliseconds: configuration.pollMs) }
            }
        }
    }

    private func work(_ sending: WebhookSending) async {
        do throws(StoreError) {
            var isOpen = true
            while isOpen, !Task.isCancelled {
                let due = try await outbox.due(sending.lane, limit: Self.page)
                if due.isEmpty { break }
                let events = try await self.events(due, sending.lane)
                for delivery in due {
                    if Task.isCancelled { return }
                    isOpen = try await tell(delivery, event: delivery.sequence.flatMap { events[$0] }, sending)
                    guard isOpen else { break }
                }
            }
            try await outbox.release(sending.lane)
        } catch {
            // Its lease lapses; somebody goes on.
            note(error)
        }
    }

    /// The events of deliveries, by their numbers.
    private func events(
        _ due: [WebhookDelivery],
        _ lane: WebhookLane,
    ) async throws(StoreError) -> [Int64: StoredEvent] {
        var found: [Int64: StoredEvent] = [:]
        for delivery in due {
            guard let sequence = delivery.sequence, found[sequence] == nil else { continue }
            let page = try await orders.events(account: lane.account, after: sequence - 1, limit: Self.page)
            for event in page { found[event.sequence] = event }
        }
        return found
    }

    /// Tries once. False: the endpoint is gone or off.
    private func tell(
        _ delivery: WebhookDelivery,
        event: StoredEvent?,
        _ sending: WebhookSending,
    ) async throws(StoreError) -> Bool {
        let at = clock.now()
        let begun = clock.monotonicNanoseconds()
        var status: Int?
        var retryAfter: String?
        var answer = ""
        var error = ""
        do {
            let request = try request(delivery, event, sending, at)
            let told = try await transport.post(request)
            status = told.status
            retryAfter = told.retryAfter
            answer = Self.text(told.body)
            if !(200...299).contains(told.status) { error = "answered \(told.status)" }
        } catch let failure as WebhookFailure {
            error = failure.description
        } catch let failure as StoreError {
            throw failure
        } catch {
            // What cannot be opened says something of the bytes; that it cannot is all there is to know.
            return try await outbox.record(
                WebhookResult(
                    attempt: .init(at: at, status: nil, milliseconds: 0, error: "the secret cannot be opened"),
                    answer: "",
                    next: .dead,
                    disables: "the secret cannot be opened: rotate it",
                ),
                of: delivery,
            )
        }
        // A process that stops has not been refused anything.
        if Task.isCancelled, status == nil { return false }
        let result = WebhookResult(
            attempt: .init(
                at: at,
                status: status,
                milliseconds: (clock.monotonicNanoseconds() - begun) / 1_000_000,
                error: error,
            ),
            answer: answer,
            next: next(status, retryAfter, tries: delivery.tries),
            disables: status == 410 ? "it answered 410 Gone" : nil,
        )
        return try await outbox.record(result, of: delivery)
    }

    /// What follows from an answer, after `tries` tries before it.
    private func next(_ status: Int?, _ retryAfter: String?, tries: Int) -> WebhookResult.Next {
        if let status, (200...299).contains(status) { return .delivered }
        guard status != 410, tries < Self.delaysMs.count else { return .dead }
        if status == 429 || status == 503, let seconds = retryAfter.flatMap({ Int64($0) }),
            (0...36_000).contains(seconds)
        {
            return .again(afterMs: seconds * 1_000)
        }
        // Give or take 20 %.
        let delay = Self.delaysMs[tries]
        return .again(afterMs: delay * 4 / 5 + Int64(random() % UInt64(delay * 2 / 5 + 1)))
    }

    // MARK: Requests

    private func request(
        _ delivery: WebhookDelivery,
        _ event: StoredEvent?,
        _ sending: WebhookSending,
        _ at: Timestamp,
    ) throws -> WebhookRequest {
        let webhook = sending.lane.webhook
        switch webhook.format {
        case .standard:
            let body = try body(delivery, event, sending.lane)
            let secrets = try sending.secrets.map { try open($0, webhook.id) }
            let signed = WebhookSecret.headers(
                id: "msg_\(delivery.id)",
                seconds: at.milliseconds / 1_000,
                body: body,
                secrets: secrets,
            )
            var headers: [(name: String, value: String)] = [
                ("content-type", "application/json"), ("user-agent", "smartorders"),
            ]
            headers += signed
            return WebhookRequest(url: webhook.url, headers: headers, body: body)
        case .telegram:
            let bot = try TelegramBot(opened: open(sending.secrets[0], webhook.id))
            var writer = JSONWriter()
            writer.beginObject()
            writer.member("chat_id", bot.chat)
            writer.member("text", try message(delivery, event, sending.lane))
            writer.endObject()
            return WebhookRequest(
                url: "\(configuration.telegram)/bot\(bot.token)/sendMessage",
                headers: [("content-type", "application/json")],
                body: writer.take(),
            )
        }
    }

    /// The same bytes in every try.
    private func body(_ delivery: WebhookDelivery, _ event: StoredEvent?, _ lane: WebhookLane) throws -> [UInt8] {
        var writer = JSONWriter(reserving: 4_096)
        writer.beginObject()
        writer.member("type", delivery.type)
        writer.member("timestamp", event?.at ?? delivery.createdAt)
        writer.key("data")
        if let event {
            writer.raw(try EventText(event).encoded(mode: mode(of: lane), epoch: configuration.epoch()))
        } else {
            writer.raw(delivery.data ?? Array("null".utf8))
        }
        writer.endObject()
        return writer.take()
    }

    /// One line for a person.
    private func message(_ delivery: WebhookDelivery, _ event: StoredEvent?, _ lane: WebhookLane) throws -> String {
        let mode = mode(of: lane).rawValue
        guard let event else { return "[\(mode)] \(delivery.type)" }
        switch try EventText(event).subject {
        case .order(.smart(let order)):
            let market = order.instrument.market
            return "[\(mode)] \(delivery.type): \(order.side.rawValue) \(market) is \(order.status.rawValue)"
        case .order(.conditional(let order)):
            let market = order.instrument.market
            return "[\(mode)] \(delivery.type): \(order.draft.side.rawValue) \(market) is \(order.status.rawValue)"
        case .account: return "[\(mode)] \(delivery.type)"
        }
    }

    private func mode(of lane: WebhookLane) -> OrderContext.Mode {
        switch lane.mode {
        case .paper: .paper
        case .live: .live
        }
    }

    /// What was answered, as text that a database takes.
    private static func text(_ bytes: [UInt8]) -> String {
        String(decoding: bytes.prefix(answerBytes).filter { $0 >= 0x20 || $0 == 0x0A }, as: UTF8.self)
    }

    private func note(_ error: StoreError) {
        logger.debug("Webhooks wait", metadata: ["error": "\(error.detail)"])
    }
}

/// Where a message for Telegram goes: the sealed part of such an endpoint.
struct TelegramBot {
    let token: String
    let chat: String

    init(token: String, chat: String) {
        self.token = token
        self.chat = chat
    }

    /// The token, a line's end, the chat.
    init(opened bytes: [UInt8]) throws {
        let parts = bytes.split(separator: 10, maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { throw WebhookFailure("no bot") }
        token = String(decoding: parts[0], as: UTF8.self)
        chat = String(decoding: parts[1], as: UTF8.self)
    }

    var sealable: [UInt8] { Array("\(token)\n\(chat)".utf8) }
}
