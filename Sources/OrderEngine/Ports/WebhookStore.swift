// Endpoints that are told of events (INTERFACES.md 1.16), and what was sent to them.
//
// The event log is the outbox: an event is stored in the transaction of its commit, and each endpoint has a lane per
// account with the number up to which deliveries were made. Making deliveries and moving the lane on is one
// transaction, so no event is left out and none is made twice. Who holds a lane's lease sends its deliveries one after
// the other; what is sent twice, because a sender died or lost its lease, has the same id twice.
public import SmartOrders

/// An endpoint as its owner sees it.
public struct Webhook: Hashable, Sendable {
    public enum Format: String, Hashable, Sendable, CaseIterable { case standard, telegram }

    public let id: UniqueID
    public let user: UniqueID
    public var url: String
    public var format: Format
    /// Empty: all.
    public var types: [String]
    /// Nil: all accounts of the user.
    public var accounts: [AccountID]?
    public var isEnabled: Bool
    public var disabledReason: String?
    public var lastSuccessAt: Timestamp?
    public let createdAt: Timestamp

    public init(
        id: UniqueID,
        user: UniqueID,
        url: String,
        format: Format,
        types: [String],
        accounts: [AccountID]?,
        isEnabled: Bool = true,
        disabledReason: String? = nil,
        lastSuccessAt: Timestamp? = nil,
        createdAt: Timestamp,
    ) {
        self.id = id
        self.user = user
        self.url = url
        self.format = format
        self.types = types
        self.accounts = accounts
        self.isEnabled = isEnabled
        self.disabledReason = disabledReason
        self.lastSuccessAt = lastSuccessAt
        self.createdAt = createdAt
    }
}

/// One event on its way to one endpoint.
public struct WebhookDelivery: Hashable, Sendable {
    public enum State: String, Hashable, Sendable { case pending = "PENDING", delivered = "DELIVERED", dead = "DEAD" }

    public struct Attempt: Hashable, Sendable {
        public let at: Timestamp
        /// Nil: no answer.
        public let status: Int?
        public let milliseconds: Int64
        public let error: String

        public init(at: Timestamp, status: Int?, milliseconds: Int64, error: String) {
            self.at = at
            self.status = status
            self.milliseconds = milliseconds
            self.error = error
        }
    }

    /// `webhook-id`: the same in every try.
    public let id: UniqueID
    public let webhook: UniqueID
    public let account: AccountID
    /// Nil: `data` is told, no event.
    public let sequence: Int64?
    public let type: String
    /// JSON; nil where `sequence` says what.
    public let data: [UInt8]?
    public var state: State
    public var tries: Int
    /// When it is tried next, or was to be.
    public var nextAt: Timestamp
    public let createdAt: Timestamp
    public var attempts: [Attempt]

    public init(
        id: UniqueID,
        webhook: UniqueID,
        account: AccountID,
        sequence: Int64?,
        type: String,
        data: [UInt8]?,
        state: State = .pending,
        tries: Int = 0,
        nextAt: Timestamp,
        createdAt: Timestamp,
        attempts: [Attempt] = [],
    ) {
        self.id = id
        self.webhook = webhook
        self.account = account
        self.sequence = sequence
        self.type = type
        self.data = data
        self.state = state
        self.tries = tries
        self.nextAt = nextAt
        self.createdAt = createdAt
        self.attempts = attempts
    }
}

/// A lane whose deliveries are to be made, or sent.
public struct WebhookLane: Hashable, Sendable {
    public let webhook: Webhook
    public let account: AccountID
    public let mode: Account.Mode
    /// Events up to here have their deliveries.
    public let sequence: Int64

    public init(webhook: Webhook, account: AccountID, mode: Account.Mode, sequence: Int64) {
        self.webhook = webhook
        self.account = account
        self.mode = mode
        self.sequence = sequence
    }
}

/// A lane that is leased to be sent, with what its requests are signed with: sealed, newest first.
public struct WebhookSending: Sendable {
    public let lane: WebhookLane
    public let secrets: [[UInt8]]

    public init(lane: WebhookLane, secrets: [[UInt8]]) {
        self.lane = lane
        self.secrets = secrets
    }
}

/// What a try came to.
public struct WebhookResult: Sendable {
    public enum Next: Hashable, Sendable {
        case delivered
        /// Tried again after so many milliseconds.
        case again(afterMs: Int64)
        case dead
    }

    public let attempt: WebhookDelivery.Attempt
    /// The beginning of the answer.
    public let answer: String
    public let next: Next
    /// The endpoint is not asked any more, for this reason.
    public let disables: String?

    public init(attempt: WebhookDelivery.Attempt, answer: String, next: Next, disables: String? = nil) {
        self.attempt = attempt
        self.answer = answer
        self.next = next
        self.disables = disables
    }
}

/// What the owner of endpoints asks.
public protocol WebhookStore: Sendable {
    func webhooks(of user: UniqueID) async throws(StoreError) -> [Webhook]
    /// At most 20 a user: nil beyond. It is told of what happens from now on.
    func add(_ webhook: Webhook, sealed: [UInt8], answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome?
    /// Address, format, types, accounts. False: no such endpoint of the user.
    func update(_ webhook: Webhook) async throws(StoreError) -> Bool
    func deleteWebhook(_ id: UniqueID, of user: UniqueID) async throws(StoreError) -> Bool
    /// The old secret counts for another 24 h.
    func rotate(
        _ id: UniqueID,
        of user: UniqueID,
        sealed: [UInt8],
        answer: StoredAnswer,
    ) async throws(StoreError)
        -> AnswerOutcome
    /// It is told of what happens from now on, and of what still waited for it.
    func enable(_ id: UniqueID, of user: UniqueID, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome
    /// Deliveries to endpoints of these accounts, newest first.
    func deliveries(
        of webhook: UniqueID,
        accounts: [AccountID],
        before: UniqueID?,
        limit: Int,
    ) async throws(StoreError) -> [WebhookDelivery]
    func delivery(
        _ id: UniqueID,
        of webhook: UniqueID,
        accounts: [AccountID],
    ) async throws(StoreError)
        -> WebhookDelivery?
    func add(_ delivery: WebhookDelivery, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome
    /// Sent again, whatever became of it, with all its tries before it.
    func resend(_ delivery: WebhookDelivery, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome
}

/// What the sender of deliveries asks.
public protocol WebhookOutbox: Sendable {
    /// Lanes of endpoints for accounts that were made since.
    func openLanes() async throws(StoreError)
    /// Lanes behind their account's events, at most `limit`.
    func behind(limit: Int) async throws(StoreError) -> [WebhookLane]
    /// Makes deliveries of events and moves the lane from where it was seen to `sequence`. False: somebody else did.
    func plan(
        _ lane: WebhookLane,
        to sequence: Int64,
        _ deliveries: [(id: UniqueID, sequence: Int64, type: String)],
    ) async throws(StoreError) -> Bool
    /// Leases lanes with something due to the caller for 30 s, at most `limit`.
    func takeLanes(limit: Int) async throws(StoreError) -> [WebhookSending]
    /// What is due in a lane, oldest first.
    func due(_ lane: WebhookLane, limit: Int) async throws(StoreError) -> [WebhookDelivery]
    /// Stores what a try came to, and leases the lane on. False: the endpoint is gone or disabled.
    func record(_ result: WebhookResult, of delivery: WebhookDelivery) async throws(StoreError) -> Bool
    func release(_ lane: WebhookLane) async throws(StoreError)
    /// Deletes deliveries older than 30 days that do not wait.
    func pruneDeliveries() async throws(StoreError)
}

/// A request to an endpoint.
public struct WebhookRequest: Sendable {
    public let url: String
    public let headers: [(name: String, value: String)]
    public let body: [UInt8]

    public init(url: String, headers: [(name: String, value: String)], body: [UInt8]) {
        self.url = url
        self.headers = headers
        self.body = body
    }
}

/// What an endpoint answered.
public struct WebhookAnswer: Hashable, Sendable {
    public let status: Int
    /// Value of the header, if any.
    public let retryAfter: String?
    /// At most 4 KiB of it.
    public let body: [UInt8]

    public init(status: Int, retryAfter: String?, body: [UInt8]) {
        self.status = status
        self.retryAfter = retryAfter
        self.body = body
    }
}

/// There was no answer, or there was no request. `description` names no address of this network.
public struct WebhookFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// Sends requests to addresses that users gave: never to one that is not public, unless the operator allows it.
public protocol WebhookTransport: Sendable {
    /// Answers within 15 s; follows no redirect.
    func post(_ request: WebhookRequest) async throws(WebhookFailure) -> WebhookAnswer
}
