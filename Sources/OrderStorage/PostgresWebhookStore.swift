// Endpoints and their deliveries on PostgreSQL (SQL/webhooks.sql).
//
// The owner's half works on a pool of an API process, which cannot read a secret; the sender's half on a worker's.

public import OrderEngine
public import PostgresClient
public import SmartOrders

private enum WebhookSQL {
    static let file = StatementFile(PackageResources.webhooks_sql, prefix: "webhooks")
    static let ofUser = file["of_user"]
    static let count = file["count"]
    static let add = file["add"]
    static let openLanes = file["open_lanes"]
    static let closeLanes = file["close_lanes"]
    static let update = file["update"]
    static let delete = file["delete"]
    static let rotate = file["rotate"]
    static let enable = file["enable"]
    static let skip = file["skip"]
    static let wake = file["wake"]
    static let deliveries = file["deliveries"]
    static let delivery = file["delivery"]
    static let attempts = file["attempts"]
    static let addDelivery = file["add_delivery"]
    static let resend = file["resend"]
    static let behind = file["behind"]
    static let plan = file["plan"]
    static let takeLanes = file["take_lanes"]
    static let due = file["due"]
    static let record = file["record"]
    static let release = file["release"]
    static let prune = file["prune"]
}

/// The rows of `webhooks`, their lanes and deliveries.
public final class PostgresWebhookStore: WebhookStore, WebhookOutbox {
    private let pool: PostgresPool
    private let traders: PostgresTraderStore
    private static let maximumWebhooks: Int64 = 20

    public init(pool: PostgresPool) {
        self.pool = pool
        traders = PostgresTraderStore(pool: pool)
    }

    // MARK: The owner's half

    public func webhooks(of user: UniqueID) async throws(StoreError) -> [Webhook] {
        try await reading { try await pool.query(WebhookSQL.ofUser, [.uuid(user)]).map { try webhook($0) } }
    }

    public func add(
        _ webhook: Webhook,
        sealed: [UInt8],
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome? {
        let count = try await reading { try await pool.query(WebhookSQL.count, [.uuid(webhook.user)])[0].int64(0) }
        guard count < Self.maximumWebhooks else { return nil }
        let parameters: [Parameter] = [
            .uuid(webhook.id), .uuid(webhook.user), .text(webhook.url), .text(webhook.format.rawValue),
            .textArray(webhook.types), accounts(webhook), .bytes(sealed), .moment(webhook.createdAt),
        ]
        return try await traders.store(
            [(WebhookSQL.add, parameters), (WebhookSQL.openLanes, [.uuid(webhook.id)])],
            answer,
        )
    }

    public func update(_ webhook: Webhook) async throws(StoreError) -> Bool {
        let parameters: [Parameter] = [
            .uuid(webhook.id), .uuid(webhook.user), .text(webhook.url), .text(webhook.format.rawValue),
            .textArray(webhook.types), accounts(webhook),
        ]
        return try await writing {
            let found = try await pool.transaction([
                (WebhookSQL.update, parameters), (WebhookSQL.closeLanes, [.uuid(webhook.id)]),
                (WebhookSQL.openLanes, [.uuid(webhook.id)]),
            ])
            return !found[0].isEmpty
        }
    }

    public func deleteWebhook(_ id: UniqueID, of user: UniqueID) async throws(StoreError) -> Bool {
        try await writing { try await !pool.query(WebhookSQL.delete, [.uuid(id), .uuid(user)]).isEmpty }
    }

    public func rotate(
        _ id: UniqueID,
        of user: UniqueID,
        sealed: [UInt8],
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome {
        try await traders.store([(WebhookSQL.rotate, [.uuid(id), .uuid(user), .bytes(sealed)])], answer)
    }

    public func enable(
        _ id: UniqueID,
        of user: UniqueID,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome {
        try await traders.store(
            [
                (WebhookSQL.enable, [.uuid(id), .uuid(user)]), (WebhookSQL.skip, [.uuid(id)]),
                (WebhookSQL.wake, [.uuid(id)]),
            ],
            answer,
        )
    }

    public func deliveries(
        of webhook: UniqueID,
        accounts: [AccountID],
        before: UniqueID?,
        limit: Int,
    ) async throws(StoreError) -> [WebhookDelivery] {
        try await reading {
            let parameters: [Parameter] = [
                .uuid(webhook), .uuids(accounts.lazy.map(\.value)), before.map { .uuid($0) } ?? .null,
                .int8(Int64(limit)),
            ]
            return try await attempted(
                try await pool.query(WebhookSQL.deliveries, parameters).map { try delivery($0) }
            )
        }
    }

    public func delivery(
        _ id: UniqueID,
        of webhook: UniqueID,
        accounts: [AccountID],
    ) async throws(StoreError) -> WebhookDelivery? {
        try await reading {
            let parameters: [Parameter] = [.uuid(id), .uuid(webhook), .uuids(accounts.lazy.map(\.value))]
            return try await attempted(
                try await pool.query(WebhookSQL.delivery, parameters).map { try delivery($0) }
            ).first
        }
    }

    private func attempted(_ deliveries: [WebhookDelivery]) async throws -> [WebhookDelivery] {
        guard !deliveries.isEmpty else { return [] }
        var attempts: [UniqueID: [WebhookDelivery.Attempt]] = [:]
        let parameters: [Parameter] = [
            .uuids(deliveries.map(\.id)), .uuids(Set(deliveries.map(\.account.value)).sorted()),
        ]
        for row in try await pool.query(WebhookSQL.attempts, parameters) {
            attempts[try row.id(0), default: []].append(
                WebhookDelivery.Attempt(
                    at: try row.moment(1),
                    status: try row.int64OrNil(2).map { Int($0) },
                    milliseconds: try row.int64(3),
                    error: try row.string(4),
                )
            )
        }
        return deliveries.map { delivery in
            var delivery = delivery
            delivery.attempts = attempts[delivery.id] ?? []
            return delivery
        }
    }

    public func add(_ delivery: WebhookDelivery, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome {
        let parameters: [Parameter] = [
            .uuid(delivery.id), .uuid(delivery.account.value), .uuid(delivery.webhook), .optional(delivery.sequence),
            .text(delivery.type), .optional(delivery.data.map { String(decoding: $0, as: UTF8.self) }),
        ]
        return try await traders.store([(WebhookSQL.addDelivery, parameters)], answer)
    }

    public func resend(_ delivery: WebhookDelivery, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome {
        try await traders.store(
            [(WebhookSQL.resend, [.uuid(delivery.id), .uuid(delivery.account.value)])],
            answer,
        )
    }

    // MARK: The sender's half

    public func openLanes() async throws(StoreError) {
        try await writing { _ = try await pool.query(WebhookSQL.openLanes, [.null]) }
    }

    public func behind(limit: Int) async throws(StoreError) -> [WebhookLane] {
        try await reading { try await pool.query(WebhookSQL.behind, [.int8(Int64(limit))]).map { try lane($0) } }
    }

    public func plan(
        _ lane: WebhookLane,
        to sequence: Int64,
        _ deliveries: [(id: UniqueID, sequence: Int64, type: String)],
    ) async throws(StoreError) -> Bool {
        var sequences = ArrayColumn(.int8)
        for delivery in deliveries { sequences.append(delivery.sequence) }
        let parameters: [Parameter] = [
            .uuid(lane.webhook.id), .uuid(lane.account.value), .int8(lane.sequence), .int8(sequence),
            .uuids(deliveries.map(\.id)), sequences.parameter(), .texts(deliveries.map(\.type)),
        ]
        return try await writing { try await !pool.query(WebhookSQL.plan, parameters).isEmpty }
    }

    public func takeLanes(limit: Int) async throws(StoreError) -> [WebhookSending] {
        try await writing {
            try await pool.query(WebhookSQL.takeLanes, [.int8(Int64(limit))]).map { row in
                var secrets = [try row.bytes(13)]
                if !row.isNull(14) { secrets.append(try row.bytes(14)) }
                return WebhookSending(lane: try lane(row), secrets: secrets)
            }
        }
    }

    public func due(_ lane: WebhookLane, limit: Int) async throws(StoreError) -> [WebhookDelivery] {
        try await reading {
            let parameters: [Parameter] = [.uuid(lane.webhook.id), .uuid(lane.account.value), .int8(Int64(limit))]
            return try await pool.query(WebhookSQL.due, parameters).map { try delivery($0) }
        }
    }

    public func record(
        _ result: WebhookResult,
        of delivery: WebhookDelivery,
    ) async throws(StoreError) -> Bool {
        let state: WebhookDelivery.State
        var againMs: Int64 = 0
        switch result.next {
        case .delivered: state = .delivered
        case .dead: state = .dead
        case .again(let afterMs): (state, againMs) = (.pending, afterMs)
        }
        let attempt = result.attempt
        let parameters: [Parameter] = [
            .uuid(delivery.id), .uuid(delivery.account.value), .uuid(delivery.webhook), .moment(attempt.at),
            .optional(attempt.status.map { Int64($0) }), .int8(attempt.milliseconds), .text(attempt.error),
            .text(result.answer), .text(state.rawValue), .int8(againMs), .optional(result.disables),
        ]
        return try await writing { try await pool.query(WebhookSQL.record, parameters).first?.bool(0) ?? false }
    }

    public func release(_ lane: WebhookLane) async throws(StoreError) {
        let parameters: [Parameter] = [.uuid(lane.webhook.id), .uuid(lane.account.value)]
        try await writing { _ = try await pool.query(WebhookSQL.release, parameters) }
    }

    public func pruneDeliveries() async throws(StoreError) {
        try await writing { _ = try await pool.query(WebhookSQL.prune) }
    }

    // MARK: Values

    private func accounts(_ webhook: Webhook) -> Parameter {
        webhook.accounts.map { .uuids($0.lazy.map(\.value)) } ?? .null
    }

    private func webhook(_ row: Row) throws -> Webhook {
        Webhook(
            id: try row.id(0),
            user: try row.id(1),
            url: try row.string(2),
            format: try row.word(3),
            types: try row.string(4).split(separator: ",").map(String.init),
            accounts: row.isNull(5)
                ? nil
                : try row.string(5).split(separator: ",").map { text in
                    guard let id = AccountID(String(text)) else { throw CorruptValue("account \(text)") }
                    return id
                },
            isEnabled: try row.bool(6),
            disabledReason: try row.stringOrNil(7),
            lastSuccessAt: try row.momentOrNil(8),
            createdAt: try row.moment(9),
        )
    }

    private func lane(_ row: Row) throws -> WebhookLane {
        WebhookLane(
            webhook: try webhook(row),
            account: AccountID(try row.id(10)),
            mode: try row.word(11),
            sequence: try row.int64(12),
        )
    }

    private func delivery(_ row: Row) throws -> WebhookDelivery {
        WebhookDelivery(
            id: try row.id(0),
            webhook: try row.id(1),
            account: AccountID(try row.id(2)),
            sequence: try row.int64OrNil(3),
            type: try row.string(4),
            data: row.isNull(5) ? nil : try row.bytes(5),
            state: try row.word(6),
            tries: Int(try row.int64(7)),
            nextAt: try row.moment(8),
            createdAt: try row.moment(9),
        )
    }
}
